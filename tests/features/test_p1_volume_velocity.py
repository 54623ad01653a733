"""P1 on hand-computed clients, at the window's edges, and under the point-in-time law."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import ContractError
from ml_assets.features import history as history_module
from ml_assets.features import p1_volume_velocity as p1
from ml_assets.features.history import build_history, build_spine

D = date(2024, 3, 4)  # a Monday; the 90 days before it hold 29 February 2024
CONFIG = FeatureConfig()
Row = dict[str, Any]


def txn(when: date | datetime, amount: str, direction: str = "inbound", client: str = "A", **other: Any) -> Row:
    at = when if isinstance(when, datetime) else datetime(when.year, when.month, when.day, 12)
    return {"client_id": client, "txn_at": at, "amount": Decimal(amount), "direction": direction, **other}


def transactions(rows: list[Row]) -> pl.DataFrame:
    full = [
        {
            "txn_id": row.get("txn_id", f"t{i:04d}"),
            "client_id": row["client_id"],
            "counterparty_id": "x",
            "counterparty_country": None,
            "counterparty_sector": None,
            "channel": None,
            "currency": None,
            "direction": row["direction"],
            "amount_base": row["amount"],
            "is_counterparty_client": False,
            "is_time_known": True,
            "txn_at": row["txn_at"],
            "known_date": row.get("known", row["txn_at"].date()),
            "counterparty_listed_date": None,
        }
        for i, row in enumerate(rows)
    ]
    text = ("counterparty_country", "counterparty_sector", "channel", "currency", "client_id", "txn_id", "direction")
    schema: dict[str, Any] = {
        **dict.fromkeys(text, pl.String),
        "amount_base": pl.Decimal(18, 2),
        "txn_at": pl.Datetime("us"),
        "known_date": pl.Date,
        "counterparty_listed_date": pl.Date,
    }
    names = list(full[0]) if full else [*schema, "counterparty_id", "is_counterparty_client", "is_time_known"]
    return pl.DataFrame(full, schema_overrides=schema, schema=None if full else names)


def window_table(frame: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Plain-Python oracle of int_client_windows: every number from the definition, no shared code."""
    out = []
    for client, day in pairs.select("client_id", "as_of_date").iter_rows():
        rows = [
            r
            for r in frame.iter_rows(named=True)
            if r["client_id"] == client and r["txn_at"].date() < day and r["known_date"] < day
        ]
        record: Row = {"client_id": client, "as_of_date": day}
        for w in (7, 30, 90):
            inside = [r for r in rows if r["txn_at"].date() >= day - timedelta(days=w)]
            for name, direction in (("inflow", "inbound"), ("outflow", "outbound")):
                amounts = [r["amount_base"] for r in inside if r["direction"] == direction]
                record[f"{name}_count_{w}d"] = len(amounts)
                record[f"{name}_sum_{w}d_base"] = sum(amounts, Decimal("0.00"))
                record[f"{name}_max_{w}d_base"] = max(amounts, default=None)
            daily: dict[date, Decimal] = {}
            for r in inside:
                daily[r["txn_at"].date()] = daily.get(r["txn_at"].date(), Decimal(0)) + r["amount_base"]
            record[f"active_days_{w}d_count"] = len(daily)
            record[f"busiest_day_sum_{w}d_base"] = max(daily.values(), default=Decimal(0))
        first = min((r["txn_at"].date() for r in rows), default=day)
        start, stop = max(first, day - timedelta(days=364)), day - timedelta(days=28)
        weeks = max(0, (stop - start).days // 7)
        record["baseline_weeks_count"] = weeks
        bins: dict[str, list[Decimal]] = {n: [Decimal(0)] * weeks for n in ("inflow", "outflow", "count")}
        for r in rows:
            back = (stop - r["txn_at"].date()).days - 1
            if back >= 0 and back // 7 < weeks:
                bins["inflow" if r["direction"] == "inbound" else "outflow"][back // 7] += r["amount_base"]
                bins["count"][back // 7] += 1
        for name in ("inflow", "outflow"):
            record[f"baseline_{name}_sum_base"] = sum(bins[name], Decimal("0.00"))
            record[f"baseline_{name}_sumsq_base2"] = sum((v * v for v in bins[name]), Decimal("0.0000"))
        record["baseline_txn_count"] = int(sum(bins["count"]))
        record["baseline_txn_sumsq_count2"] = int(sum(v * v for v in bins["count"]))
        out.append(record)
    money = {
        name: pl.Decimal(38, 4) if name.endswith("base2") else pl.Decimal(38, 2)
        for name in p1.WINDOW_COLUMNS
        if "_base" in name
    }
    return pl.DataFrame(out, schema_overrides={**money, "as_of_date": pl.Date})


def run(rows: list[Row], days: list[date] | None = None, clients: tuple[str, ...] = ("A",)) -> pl.DataFrame:
    frame = transactions(rows)
    pairs = pl.DataFrame(
        [(c, d) for c in clients for d in days or [D]], schema=["client_id", "as_of_date"], orient="row"
    )
    history = build_history(frame)
    return p1.build(history, build_spine(history, pairs), CONFIG, windows=window_table(frame, pairs))


def one(rows: list[Row]) -> Row:
    return run(rows).row(0, named=True)


def days_before(n: int) -> date:
    return D - timedelta(days=n)


def test_hand_computed_client() -> None:
    got = one(
        [
            txn(days_before(1), "100.00"),
            txn(days_before(2), "300.00"),
            txn(days_before(2), "50.00", "outbound"),
            txn(days_before(20), "200.00"),
            txn(days_before(80), "1000.00", "outbound"),
        ]
    )
    assert got["p1_inflow_count_7d_count"] == 2
    assert got["p1_inflow_sum_7d_base"] == 400.0
    assert got["p1_inflow_mean_7d_base"] == 200.0
    assert got["p1_inflow_median_7d_base"] == 200.0
    assert got["p1_inflow_median_30d_base"] == 200.0
    assert got["p1_inflow_std_7d_base"] == pytest.approx(stdev([100, 300]))
    assert got["p1_inflow_std_30d_base"] == pytest.approx(100.0)
    assert got["p1_inflow_variation_30d_factor"] == pytest.approx(0.5)
    assert got["p1_outflow_std_7d_base"] is None
    assert got["p1_outflow_max_90d_base"] == 1000.0
    assert got["p1_outflow_median_90d_base"] == 525.0
    assert got["p1_turnover_sum_30d_base"] == 650.0
    assert got["p1_net_flow_sum_90d_base"] == 600.0 - 1050.0
    assert got["p1_net_flow_7d_index"] == pytest.approx(350 / 450)
    assert got["p1_active_days_90d_count"] == 4
    assert got["p1_txn_per_active_day_7d_mean"] == 1.5
    assert got["p1_busiest_day_share_7d_ratio"] == pytest.approx(350 / 450)
    assert got["p1_largest_txn_share_90d_ratio"] == pytest.approx(1000 / 1650)
    assert got["p1_inflow_acceleration_7d_factor"] == pytest.approx((400 / 7) / (600 / 90))
    assert got["p1_count_acceleration_7d_factor"] == pytest.approx((3 / 7) / (5 / 90))
    assert got["p1_turnover_acceleration_30d_factor"] == pytest.approx((650 / 30) / (1650 / 90))
    assert got["p1_outflow_record_30d_factor"] == pytest.approx(0.05)
    assert got["p1_inflow_record_30d_factor"] is None


def test_one_transaction() -> None:
    got = one([txn(days_before(3), "12.34")])
    assert got["p1_inflow_median_90d_base"] == 12.34
    assert got["p1_inflow_std_90d_base"] is None
    assert got["p1_busiest_day_share_7d_ratio"] == 1.0
    assert got["p1_net_flow_90d_index"] == 1.0
    assert got["p1_peak_24h_count_30d_count"] == 1
    assert got["p1_peak_24h_sum_30d_base"] == 12.34
    assert got["p1_inflow_baseline_7d_zscore"] is None


def test_nothing_in_window_is_zero_counts_and_null_averages() -> None:
    got = one([txn(days_before(200), "5.00")])
    assert got["p1_inflow_count_90d_count"] == 0
    assert got["p1_turnover_sum_90d_base"] == 0.0
    for name in ("p1_inflow_mean_90d_base", "p1_inflow_median_90d_base", "p1_net_flow_90d_index"):
        assert got[name] is None, name
    assert got["p1_turnover_acceleration_7d_factor"] is None
    assert got["p1_peak_24h_count_30d_count"] == 0


def test_client_without_history_has_a_row() -> None:
    got = run([txn(days_before(3), "1.00")], clients=("A", "nobody"))
    assert got["client_id"].to_list() == ["A", "nobody"]
    row = got.row(1, named=True)
    assert row["p1_inflow_count_90d_count"] == 0
    assert row["p1_inflow_median_90d_base"] is None


def test_the_leap_day_is_a_day_of_its_windows() -> None:
    # 4 March 2024: 30 days back is 3 February because of 29 February
    got = one([txn(date(2024, 2, 29), "10.00"), txn(date(2024, 2, 3), "20.00"), txn(date(2024, 2, 2), "40.00")])
    assert got["p1_inflow_count_7d_count"] == 1
    assert got["p1_inflow_sum_30d_base"] == 30.0
    assert got["p1_inflow_sum_90d_base"] == 70.0
    assert got["p1_inflow_median_30d_base"] == 15.0
    assert got["p1_active_days_30d_count"] == 2


def test_a_client_younger_than_every_window() -> None:
    got = one([txn(days_before(2), "10.00"), txn(days_before(1), "30.00", "outbound")])
    for w in (7, 30, 90):
        assert got[f"p1_turnover_sum_{w}d_base"] == 40.0
    # rates are per day of the window, whatever the client's age: 7 days hold all that 90 hold
    assert got["p1_turnover_acceleration_7d_factor"] == pytest.approx(90 / 7)
    for name in ("p1_inflow_baseline_7d_zscore", "p1_count_baseline_30d_zscore", "p1_outflow_record_30d_factor"):
        assert got[name] is None, name


def test_all_on_one_day_with_equal_amounts() -> None:
    got = one([txn(datetime(2024, 2, 29, h), "0.10") for h in range(10)])
    assert got["p1_active_days_7d_count"] == 1
    assert got["p1_txn_per_active_day_30d_mean"] == 10.0
    assert got["p1_inflow_std_30d_base"] == 0.0
    assert got["p1_inflow_variation_30d_factor"] == 0.0
    assert got["p1_busiest_day_share_90d_ratio"] == 1.0
    assert got["p1_peak_24h_sum_30d_base"] == 1.0


@pytest.mark.parametrize("w", [7, 30, 90])
def test_rows_exactly_at_the_edges(w: int) -> None:
    start, stop = datetime(D.year, D.month, D.day) - timedelta(days=w), datetime(D.year, D.month, D.day)
    microsecond = timedelta(microseconds=1)
    got = one(
        [
            txn(start - microsecond, "1.00"),
            txn(start, "10.00"),
            txn(stop - microsecond, "20.00"),
            txn(stop, "10000.00"),
        ]
    )
    assert got[f"p1_inflow_count_{w}d_count"] == 2
    assert got[f"p1_inflow_median_{w}d_base"] == 15.0
    assert got[f"p1_inflow_std_{w}d_base"] == pytest.approx(stdev([10, 20]))


def test_late_known_rows_count_only_once_known() -> None:
    rows = [txn(days_before(3), "10.00"), txn(days_before(5), "90.00", known=D)]
    now, later = run(rows, [D, D + timedelta(days=7)]).rows(named=True)
    assert now["p1_inflow_median_7d_base"] == 10.0
    assert now["p1_peak_24h_sum_30d_base"] == 10.0
    assert later["p1_inflow_median_30d_base"] == 50.0
    assert later["p1_inflow_std_30d_base"] == pytest.approx(stdev([10, 90]))


def test_peak_24_hours_is_half_open_and_crosses_midnight() -> None:
    day = datetime(2024, 2, 28, 18)
    got = one(
        [
            txn(day, "1.00"),
            txn(day + timedelta(hours=20), "2.00", "outbound"),
            txn(day + timedelta(hours=24), "4.00"),  # exactly 24 h after the first: not with it
        ]
    )
    assert got["p1_peak_24h_count_30d_count"] == 2
    assert got["p1_peak_24h_sum_30d_base"] == 6.0


def test_baseline_zscore_by_hand() -> None:
    # twenty baseline weeks of 100 and 300 in turn, ending 28 days before D, then 900 in the last 7 days
    weekly = [100 if i % 2 else 300 for i in range(20)]
    rows = [txn(days_before(28 + 7 * (i + 1)), f"{a}.00") for i, a in enumerate(weekly)]
    got = one([*rows, txn(days_before(1), "900.00")])
    m, s = mean(weekly), stdev(weekly)
    assert got["p1_inflow_baseline_7d_zscore"] == pytest.approx((900 - m) / s)
    assert got["p1_inflow_baseline_30d_zscore"] == pytest.approx((900 * 7 / 30 - m) / (s / (30 / 7) ** 0.5))
    assert got["p1_outflow_baseline_7d_zscore"] is None
    assert got["p1_turnover_over_baseline_30d_factor"] == pytest.approx(210 / m)


def test_equal_baseline_weeks_use_the_floor_not_rounding_noise() -> None:
    rows = [txn(days_before(28 + 7 * (i + 1)), "1234.56") for i in range(20)]
    got = one([*rows, txn(days_before(1), "1234.57")])
    assert got["p1_inflow_baseline_7d_zscore"] == pytest.approx(0.01 / 123.456)


def test_baseline_needs_its_weeks() -> None:
    def baseline(weeks: int) -> object:
        rows = [txn(days_before(28 + 7 * (i + 1)), "10.00") for i in range(weeks)]
        return one([*rows, txn(days_before(1), "10.00")])["p1_inflow_baseline_7d_zscore"]

    assert baseline(CONFIG.baseline_minimum_weeks - 1) is None
    assert baseline(CONFIG.baseline_minimum_weeks) == 0.0


def test_windows_without_a_spine_row_are_refused() -> None:
    frame = transactions([txn(days_before(3), "1.00")])
    pairs = pl.DataFrame({"client_id": ["A"], "as_of_date": [D]})
    history = build_history(frame)
    windows = window_table(frame, pairs)
    with pytest.raises(ContractError, match="no row for 1 pairs"):
        p1.build(history, build_spine(history, pairs), CONFIG, windows=windows.clear())
    with pytest.raises(ContractError, match="lacks inflow_sum_7d_base"):
        p1.build(history, build_spine(history, pairs), CONFIG, windows=windows.drop("inflow_sum_7d_base"))
    other = FeatureConfig(window_days=(7, 28, 90))
    with pytest.raises(ContractError, match="named for windows"):
        p1.build(history, build_spine(history, pairs), other, windows=windows)


def test_contract_is_documented_and_deep_enough() -> None:
    assert len(p1.CONTRACT.features) >= 18
    for column in p1.CONTRACT.features:
        assert column.description, column.name
        assert column.formula, column.name
        assert column.unit, column.name


def test_values_stay_in_their_declared_range() -> None:
    rng = np.random.default_rng(3)
    rows = [
        txn(days_before(int(b)), f"{a:.2f}", "inbound" if d else "outbound", client=c)
        for b, a, d, c in zip(
            rng.integers(1, 400, 300),
            rng.lognormal(4, 2, 300),
            rng.integers(0, 2, 300),
            rng.choice(["A", "B"], 300),
            strict=True,
        )
    ]
    got = run(rows, [D - timedelta(days=7 * i) for i in range(5)], ("A", "B"))
    for column in p1.CONTRACT.features:
        values = got[column.name].drop_nulls()
        assert column.minimum is None or (values >= column.minimum).all(), column.name
        assert column.maximum is None or (values <= column.maximum + 1e-12).all(), column.name
        assert column.is_nullable or got[column.name].null_count() == 0, column.name


ROW = st.builds(
    lambda back, hour, cents, inbound, late, client: txn(
        datetime(D.year, D.month, D.day, hour) - timedelta(days=back),
        str(Decimal(cents) / 100),
        "inbound" if inbound else "outbound",
        client,
        known=D - timedelta(days=back) + timedelta(days=late),
    ),
    st.integers(-20, 130),
    st.integers(0, 23),
    st.integers(1, 2_000_000),
    st.booleans(),
    st.sampled_from([0, 0, 0, 3, 40]),
    st.sampled_from(["A", "B"]),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(ROW, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_point_in_time_law(rows: list[Row], random: Any) -> None:
    for i, row in enumerate(rows):
        row["txn_id"] = f"t{i:04d}"
    allowed = [r for r in rows if r["txn_at"].date() < D and r["known"] < D]
    changed = [
        {**r, "amount": r["amount"] * 3, "direction": "inbound"}
        for r in rows
        if not (r["txn_at"].date() < D and r["known"] < D) and random.random() < 0.6
    ]
    before = run(rows, clients=("A", "B"))
    after = run([*allowed, *changed, txn(D, "7.77", txn_id="new")], clients=("A", "B"))
    assert_frame_equal(before, after, check_exact=True)


@settings(deadline=None, max_examples=10)
@given(st.lists(ROW, min_size=1, max_size=25))
def test_batch_of_weeks_equals_single_weeks(rows: list[Row]) -> None:
    weeks = [D - timedelta(days=14), D - timedelta(days=7), D]
    batch = run(rows, weeks, ("A", "B"))
    single = pl.concat([run(rows, [w], ("A", "B")) for w in weeks]).sort("client_id", "as_of_date")
    assert_frame_equal(batch, single, check_exact=True)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_median_against_the_standard_library(values: list[int]) -> None:
    got = one([txn(days_before(1), f"{v}.00") for v in values])["p1_inflow_median_7d_base"]
    assert got == median(values)


@pytest.mark.parametrize("pairs_a_part", [1, 2, 5])
def test_parts_side_by_side_change_no_byte(pairs_a_part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        txn(
            D - timedelta(days=1 + 7 * k % 120),
            f"{10 + k * k % 37}.{k:02d}",
            ("inbound", "outbound")[k % 2],
            "ABC"[k % 3],
        )
        for k in range(60)
    ]
    rows.append(txn(D - timedelta(days=3), "5000.00", known=D))  # known on D only: in no part
    weeks = [D - timedelta(days=7 * k) for k in range(3)]
    whole = run(rows, weeks, clients=("A", "B", "C", "nobody"))
    monkeypatch.setattr(history_module, "ROWS_A_PART", pairs_a_part)
    assert_frame_equal(run(rows, weeks, clients=("A", "B", "C", "nobody")), whole, check_exact=True)
