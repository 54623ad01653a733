"""Sorted history: order, codes, window edges and the spine."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.features import history as history_module
from ml_assets.features.history import DAY_US, TRANSACTION_COLUMNS, History, build_history, build_spine

D = date(2024, 3, 4)
MIDNIGHT = datetime(2024, 3, 4)
NEVER = 2**31 - 1


def transactions(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {
        "txn_id": pl.String,
        "client_id": pl.String,
        "counterparty_id": pl.String,
        "counterparty_country": pl.String,
        "counterparty_sector": pl.String,
        "channel": pl.String,
        "currency": pl.String,
        "direction": pl.String,
        "amount_base": pl.Decimal(18, 2),
        "is_counterparty_client": pl.Boolean,
        "is_time_known": pl.Boolean,
        "txn_at": pl.Datetime("us"),
        "known_date": pl.Date,
        "counterparty_listed_date": pl.Date,
    }
    return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema)


def row(txn_id: str, client: str, at: datetime, **other: Any) -> dict[str, Any]:
    return {
        "txn_id": txn_id,
        "client_id": client,
        "txn_at": at,
        "known_date": at.date(),
        "direction": "inbound",
        "amount_base": Decimal("1.00"),
        **other,
    }


def history_of(*rows: dict[str, Any]) -> History:
    return build_history(transactions(list(rows)))


def window(history: History, client: str, days: int, gap_days: int = 0, as_of: date = D) -> list[str]:
    spine = build_spine(history, pl.DataFrame({"client_id": [client], "as_of_date": [as_of]}))
    low, high = history.window(spine.client, spine.as_of_day, days, gap_days)
    return list(history.txn_id[low[0] : high[0]])


def test_rows_are_sorted_by_client_time_and_id() -> None:
    history = history_of(
        row("t3", "B", MIDNIGHT),
        row("t2", "A", MIDNIGHT),
        row("t1", "A", MIDNIGHT),
        row("t4", "A", MIDNIGHT - timedelta(days=1), direction="outbound", amount_base=Decimal("12.34")),
    )
    assert list(history.txn_id[:]) == ["t4", "t1", "t2", "t3"]
    assert list(history.clients) == ["A", "B"]
    assert list(history.starts) == [0, 3, 4]
    assert list(history.client) == [0, 0, 0, 1]
    assert list(history.is_inbound) == [False, True, True, True]
    assert history.amount[0] == 12.34
    assert len(history) == 4


@pytest.mark.parametrize("first", ["inbound", "outbound"])
def test_both_sides_of_a_transfer_between_own_accounts_have_one_order(first: str) -> None:
    second = {"inbound": "outbound", "outbound": "inbound"}[first]
    history = history_of(
        row("t1", "A", MIDNIGHT, direction=first),
        row("t1", "A", MIDNIGHT, direction=second),
    )
    assert list(history.is_inbound) == [True, False]


def test_days_are_counted_from_1970_also_before_it() -> None:
    history = history_of(
        row("old", "A", datetime(1969, 12, 31, 23, 59)),
        row("leap", "A", datetime(2024, 2, 29, 23, 59, 59), known_date=date(2024, 3, 1)),
    )
    assert list(history.day) == [-1, (date(2024, 2, 29) - date(1970, 1, 1)).days]
    assert history.known_day[1] == history.day[1] + 1
    assert history.at[0] == -60_000_000
    assert DAY_US == 24 * 3600 * 1_000_000


def test_codes_are_sorted_text_and_null_is_minus_one() -> None:
    history = history_of(
        row("t1", "A", MIDNIGHT, channel="wire", counterparty_listed_date=date(1970, 1, 3)),
        row("t2", "A", MIDNIGHT, channel=None),
        row("t3", "A", MIDNIGHT, channel="cash"),
    )
    assert list(history.channel.values) == ["cash", "wire"]
    assert list(history.channel.codes) == [1, -1, 0]
    assert history.channel.code_of("wire") == 1
    assert history.channel.code_of("card") == -2
    assert history.channel.code_of("zzz") == -2
    assert list(history.channel.mask_of({"wire", "card"})) == [True, False, False]
    assert not history.channel.mask_of({"card", "zzz"}).any()
    assert list(history.listed_day) == [2, NEVER, NEVER]
    assert history.country.code_of("FR") == -2
    assert list(history.country.codes) == [-1, -1, -1]
    assert not history.is_time_known.any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.text("aBéß€😀 ", max_size=3) | st.sampled_from(["same", "same start", "same end"])))
def test_codes_equal_a_dictionary(texts: list[str | None]) -> None:
    coded = history_module._encode(pl.Series(texts, dtype=pl.String))
    expected = sorted({t for t in texts if t is not None})
    assert list(coded.values) == expected
    assert list(coded.codes) == [-1 if t is None else expected.index(t) for t in texts]
    assert coded.codes.dtype == np.int32


def test_codes_of_more_texts_than_the_table_starts_with() -> None:
    numbers = np.random.default_rng(5).integers(0, 20_000, 60_000)
    coded = history_module._encode(pl.Series([f"{n:06d}" for n in numbers]))
    values, codes = np.unique(numbers, return_inverse=True)
    assert list(coded.values) == [f"{n:06d}" for n in values]
    assert np.array_equal(coded.codes, codes)


def test_texts_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hashed(column: pl.Series, seed: int) -> pl.Series:
        asked.append(seed)
        return pl.Series(np.full(len(column), 7) if seed == 0 else np.arange(len(column)) % 2, dtype=pl.UInt64)

    monkeypatch.setattr(pl.Series, "hash", hashed)
    coded = history_module._encode(pl.Series(["b", "a", "b"]))
    assert asked == [0, 1]
    assert list(coded.codes) == [1, 0, 1]
    assert list(coded.values) == ["a", "b"]


def test_codes_of_clients_in_any_order() -> None:
    history = history_of(row("t1", "B", MIDNIGHT), row("t2", "D", MIDNIGHT))
    ids = pl.Series(["D", "A", "B", None, "E", "D"], dtype=pl.String)
    assert list(history.client_codes(ids)) == [1, -1, 0, -1, -1, 1]
    assert history.client_codes(ids.clear()).dtype == np.int32


def test_window_is_closed_below_and_open_above() -> None:
    microsecond = timedelta(microseconds=1)
    history = history_of(
        row("before", "A", MIDNIGHT - timedelta(days=7) - microsecond),
        row("first", "A", MIDNIGHT - timedelta(days=7)),
        row("last", "A", MIDNIGHT - microsecond),
        row("at", "A", MIDNIGHT),
        row("other", "B", MIDNIGHT - timedelta(days=1)),
    )
    assert window(history, "A", 7) == ["first", "last"]
    assert window(history, "A", 8) == ["before", "first", "last"]
    assert window(history, "A", 8, gap_days=7) == ["before"]
    assert window(history, "A", 7, gap_days=7) == []
    assert window(history, "B", 7) == ["other"]
    assert window(history, "nobody", 7) == []


def test_empty_history_answers_every_client_with_nothing() -> None:
    history = build_history(transactions([]))
    assert len(history) == 0
    assert list(history.starts) == [0]
    assert window(history, "A", 90) == []


def test_spine_is_sorted_and_keeps_unknown_clients() -> None:
    history = history_of(row("t1", "B", MIDNIGHT), row("t2", "D", MIDNIGHT))
    pairs = pl.DataFrame(
        {
            "client_id": ["E", "D", "B", "A", "B"],
            "as_of_date": [D, D, D, D, D - timedelta(days=7)],
            "ignored": [1, 2, 3, 4, 5],
        }
    )
    spine = build_spine(history, pairs)
    assert len(spine) == 5
    assert spine.frame().rows() == [("A", D), ("B", D - timedelta(days=7)), ("B", D), ("D", D), ("E", D)]
    assert list(spine.client) == [-1, 0, 0, 1, -1]
    assert spine.as_of_day[2] == (D - date(1970, 1, 1)).days


def test_missing_column_is_named() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="known_date"):
        build_history(transactions([row("t1", "A", MIDNIGHT)]).drop("known_date"))
    assert set(transactions([]).columns) == set(TRANSACTION_COLUMNS)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(-100 * 24, 24)), max_size=40),
    st.integers(1, 100),
    st.integers(0, 40),
)
def test_window_equals_a_filter(rows: list[tuple[str, int]], days: int, gap: int) -> None:
    frame = [row(f"t{i:03d}", c, MIDNIGHT + timedelta(hours=h)) for i, (c, h) in enumerate(rows)]
    history = build_history(transactions(frame))
    for client in "ABC":
        expected = sorted(
            (r["txn_at"], r["txn_id"])
            for r in frame
            if r["client_id"] == client
            and MIDNIGHT - timedelta(days=days) <= r["txn_at"] < MIDNIGHT - timedelta(days=gap)
        )
        assert window(history, client, days, gap) == [t for _, t in expected]
    assert np.array_equal(np.diff(history.starts), np.bincount(history.client, minlength=len(history.clients)))


@pytest.mark.parametrize("rows", [0, 1, 19_999, 20_000, 20_001, 65_000])
def test_parts_are_put_together_in_order(rows: int) -> None:
    asked = []

    def work(part: slice) -> tuple[np.ndarray, np.ndarray]:
        asked.append((part.start, part.stop))
        at = np.arange(part.start, part.stop)
        return at.astype(np.int32), np.stack([at / 2.0, -at / 4.0], axis=1)

    whole, pair = history_module.in_parts(work, rows)
    assert whole.dtype == np.int32
    assert np.array_equal(whole, np.arange(rows))
    assert np.array_equal(pair, np.stack([np.arange(rows) / 2.0, -np.arange(rows) / 4.0], axis=1))
    assert sum(stop - start for start, stop in asked) == rows
    assert max(stop - start for start, stop in asked) <= history_module.ROWS_A_PART


def test_an_error_in_a_part_is_raised() -> None:
    def work(part: slice) -> tuple[np.ndarray]:
        if part.stop > history_module.ROWS_A_PART:
            raise ValueError("second part")
        return (np.zeros(part.stop - part.start),)

    with pytest.raises(ValueError, match="second part"):
        history_module.in_parts(work, 2 * history_module.ROWS_A_PART)
