"""P3 on hand-computed clients, at its edges, and under the point-in-time law."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from math import hypot, log2, sqrt
from statistics import mean, pstdev
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
from ml_assets.features import p3_temporal as p3
from ml_assets.features import tsfresh_engine as engine
from ml_assets.features.history import build_history, build_spine

D = date(2024, 3, 4)  # a Monday; the 90 days before it hold 29 February 2024
NOON = datetime(D.year, D.month, D.day, 12)
CONFIG = FeatureConfig()
HAND_WRITTEN = [c.name for c in p3.CONTRACT.features if c.name not in engine.SLOTS]
SELECTION = engine.FrozenSelection(
    (
        engine.Characteristic("inflow", "autocorrelation", (("lag", 7),), 0.001),
        engine.Characteristic("count", "longest_strike_above_mean", (), 0.002),
    ),
    sampled_rows=10,
    positive_rows=4,
    tested=150,
    relevant=2,
    fdr_ratio=0.05,
    tsfresh_version="0.21.2",
)
Row = dict[str, Any]


def txn(days_back: float, amount: float = 10.0, direction: str = "inbound", client: str = "A", **other: Any) -> Row:
    """A row ``days_back`` days before noon of D."""
    return {
        "client_id": client,
        "txn_at": NOON - timedelta(days=days_back),
        "amount_base": amount,
        "direction": direction,
        **other,
    }


def transactions(rows: list[Row]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "txn_id": [r.get("txn_id", f"t{i:04d}") for i, r in enumerate(rows)],
            "client_id": [r["client_id"] for r in rows],
            "direction": [r["direction"] for r in rows],
            "amount_base": [r["amount_base"] for r in rows],
            "txn_at": [r["txn_at"] for r in rows],
            "known_date": [r.get("known", r["txn_at"].date()) for r in rows],
            "is_time_known": [r.get("timed", True) for r in rows],
        },
        schema={
            "txn_id": pl.String,
            "client_id": pl.String,
            "direction": pl.String,
            "amount_base": pl.Float64,
            "txn_at": pl.Datetime("us"),
            "known_date": pl.Date,
            "is_time_known": pl.Boolean,
        },
    )
    text = ("counterparty_id", "counterparty_country", "counterparty_sector", "channel", "currency")
    return frame.with_columns(
        *(pl.lit(None, pl.String).alias(c) for c in text),
        is_counterparty_client=pl.lit(False),
        counterparty_listed_date=pl.lit(None, pl.Date),
    )


def run(
    rows: list[Row],
    days: list[date] | None = None,
    clients: tuple[str, ...] = ("A",),
    selection: engine.FrozenSelection | None = None,
    config: FeatureConfig = CONFIG,
) -> pl.DataFrame:
    history = build_history(transactions(rows))
    pairs = pl.DataFrame(
        [(c, d) for c in clients for d in days or [D]], schema=["client_id", "as_of_date"], orient="row"
    )
    return p3.build(history, build_spine(history, pairs), config, selection=selection)


def one(rows: list[Row], **other: Any) -> Row:
    return run(rows, **other).row(0, named=True)


def old(days: float = 300, **other: Any) -> Row:
    """A transaction long before the window: it makes the client older than 90 days and nothing else."""
    return txn(days, **other)


def test_entropies_by_hand() -> None:
    # Mondays at noon and one Tuesday at 18:00; amounts in two half decades, an edge opens its class
    got = one([txn(7, 99.99), txn(14, 50.0), txn(21, 100.0), txn(5.75, 100.0)])
    three_one = -(0.75 * log2(0.75) + 0.25 * log2(0.25))
    assert got["p3_hour_entropy_90d_bits"] == pytest.approx(three_one)
    assert got["p3_weekday_entropy_90d_bits"] == pytest.approx(three_one)
    assert got["p3_amount_entropy_90d_bits"] == pytest.approx(1.0)
    assert got["p3_hour_concentration_90d_ratio"] == pytest.approx(hypot(3, 1) / 4)
    assert got["p3_weekend_share_90d_ratio"] == 0.0


def test_one_transaction() -> None:
    got = one([txn(3)])
    assert got["p3_hour_entropy_90d_bits"] == 0.0
    assert got["p3_amount_entropy_90d_bits"] == 0.0
    assert got["p3_interarrival_mean_90d_hours"] is None
    assert got["p3_month_day_concentration_90d_ratio"] is None
    assert got["p3_recency_364d_days"] == 3
    assert got["p3_longest_gap_90d_days"] == 3
    assert got["p3_dormancy_gap_30d_days"] is None
    assert got["p3_turnover_autocorrelation_lag1_90d_correlation"] is None  # three days of history


def test_nothing_in_the_window_and_unknown_client() -> None:
    got = run([old(200)], clients=("A", "nobody"))
    known, unknown = got.rows(named=True)
    assert known["p3_recency_364d_days"] == 200
    for name in HAND_WRITTEN:
        assert unknown[name] is None, name
        assert known[name] is None or name == "p3_recency_364d_days", name


def test_dates_without_times_leave_hours_null() -> None:
    got = one([txn(3.5, timed=False), txn(10.5, timed=False)])
    for name in ("p3_hour_entropy_90d_bits", "p3_night_share_90d_ratio", "p3_hour_concentration_90d_ratio"):
        assert got[name] is None, name
    assert got["p3_weekday_entropy_90d_bits"] == 0.0
    assert got["p3_interarrival_mean_90d_hours"] == 168.0
    some = one([txn(3.5, timed=False), txn(10.25)])
    assert some["p3_hour_entropy_90d_bits"] == 0.0


def test_night_and_weekend() -> None:
    saturday = datetime(2024, 3, 2)
    rows = [
        txn(0, 30.0) | {"txn_at": saturday + timedelta(hours=21, minutes=59)},
        txn(0, 10.0) | {"txn_at": saturday + timedelta(hours=22)},
        txn(0, 20.0) | {"txn_at": saturday + timedelta(days=-1, hours=5, minutes=59)},
        txn(0, 40.0) | {"txn_at": saturday + timedelta(days=-1, hours=6)},
    ]
    got = one(rows)
    assert got["p3_night_share_90d_ratio"] == 0.5
    assert got["p3_night_turnover_share_90d_ratio"] == pytest.approx(0.3)
    assert got["p3_weekend_share_90d_ratio"] == 0.5
    assert got["p3_weekend_turnover_share_90d_ratio"] == pytest.approx(0.4)
    early = one(rows, config=FeatureConfig(night_hours=(5, 7)))
    assert early["p3_night_share_90d_ratio"] == 0.5
    assert early["p3_night_turnover_share_90d_ratio"] == pytest.approx(0.6)


def test_leap_day_is_the_last_day_of_its_month() -> None:
    # 29 of 29 days and 1 of 31: angles 2 pi 28/29 and 0
    got = one([txn(0) | {"txn_at": datetime(2024, 2, 29, 12)}, txn(0) | {"txn_at": datetime(2024, 3, 1, 12)}])
    angle = 2 * np.pi * 28 / 29
    assert got["p3_month_day_concentration_90d_ratio"] == pytest.approx(hypot(1 + np.cos(angle), np.sin(angle)) / 2)
    assert got["p3_interarrival_mean_90d_hours"] == 24.0
    same = one([txn(0) | {"txn_at": datetime(2024, m, 1, 9)} for m in (1, 2, 3)])
    assert same["p3_month_day_concentration_90d_ratio"] == 1.0


def test_regular_gaps() -> None:
    got = one([txn(3 + 7 * i) for i in range(8)])
    assert got["p3_interarrival_mean_90d_hours"] == 168.0
    assert got["p3_interarrival_variation_90d_factor"] == 0.0
    assert got["p3_burstiness_90d_index"] == -1.0
    assert got["p3_burstiness_adjusted_90d_index"] == pytest.approx(-1.0)
    assert got["p3_memory_90d_correlation"] is None
    assert got["p3_weekday_entropy_90d_bits"] == 0.0


@pytest.mark.parametrize("minutes", [7, 20, 100])
def test_equal_gaps_that_are_no_whole_hours_deviate_by_nothing(minutes: int) -> None:
    got = one([txn(2 + i * minutes / 1440) for i in range(9)])
    assert got["p3_interarrival_variation_90d_factor"] == 0.0


def test_irregular_gaps_by_hand() -> None:
    days = [40.0, 39.0, 36.0, 35.0, 30.0]
    got = one([txn(d) for d in days])
    gaps = [24.0, 72.0, 24.0, 120.0]
    r = pstdev(gaps) / mean(gaps)
    assert got["p3_interarrival_mean_90d_hours"] == pytest.approx(mean(gaps))
    assert got["p3_interarrival_variation_90d_factor"] == pytest.approx(r)
    assert got["p3_burstiness_90d_index"] == pytest.approx((r - 1) / (r + 1))
    adjusted = (sqrt(6) * r - sqrt(4)) / ((sqrt(6) - 2) * r + sqrt(4))
    assert got["p3_burstiness_adjusted_90d_index"] == pytest.approx(adjusted)
    assert got["p3_memory_90d_correlation"] == pytest.approx(np.corrcoef(gaps[:-1], gaps[1:])[0, 1])


def test_all_at_one_moment() -> None:
    got = one([txn(5)] * 6)
    assert got["p3_interarrival_mean_90d_hours"] == 0.0
    assert got["p3_interarrival_variation_90d_factor"] is None
    assert got["p3_burstiness_90d_index"] is None
    assert got["p3_weekday_entropy_90d_bits"] == 0.0


def test_shift_of_hours_and_sizes() -> None:
    calm = [txn(40 + i, 50.0) for i in range(5)]
    assert one([*calm, *(txn(2 + i, 50.0) for i in range(5))])["p3_hour_shift_30d_bits"] == 0.0
    moved = one([*calm, *(txn(2.25 + i, 5000.0) for i in range(5))])
    assert moved["p3_hour_shift_30d_bits"] == pytest.approx(1.0)
    assert moved["p3_amount_shift_30d_bits"] == pytest.approx(1.0)
    few = one([*calm, *(txn(2 + i) for i in range(4))])
    assert few["p3_hour_shift_30d_bits"] is None
    assert few["p3_amount_shift_30d_bits"] is None


def oracle_series(daily: list[float]) -> tuple[list[float], np.ndarray]:
    """Autocorrelations by definition and periodogram ordinates j = 1.. by numpy's FFT."""
    x = np.array(daily) - np.mean(daily)
    r = [float(np.sum(x[: len(x) - k] * x[k:]) / np.sum(x * x)) for k in (1, 7, 30)]
    return r, (np.abs(np.fft.rfft(x)) ** 2)[1 : (len(x) - 1) // 2 + 1]


@pytest.mark.parametrize("age", [90, 61, 60, 59, 15, 14])
def test_daily_series_against_numpy(age: int) -> None:
    rng = np.random.default_rng(age)
    daily = np.round(rng.lognormal(4, 1, age), 2) * (rng.random(age) < 0.6)
    daily[0] = 12.5  # the first known transaction: the client is this young
    rows = [txn(age - t, a, "inbound" if t % 2 else "outbound") for t, a in enumerate(daily) if a > 0]
    got = one(rows)
    r, power = oracle_series(list(daily))
    for lag, expected in zip((1, 7, 30), r, strict=True):
        value = got[f"p3_turnover_autocorrelation_lag{lag}_90d_correlation"]
        assert value == (pytest.approx(expected) if age >= 2 * lag else None)
    j = int(np.argmax(power[1:])) + 2
    assert got["p3_spectral_peak_share_90d_ratio"] == pytest.approx(power[j - 1] / power.sum())
    assert got["p3_spectral_peak_period_90d_days"] == pytest.approx(age / j)
    shifts = {
        k: (daily[k:].mean() - daily[:k].mean()) * sqrt(k * (age - k) / age) / daily.std() for k in range(7, age - 6)
    }
    k = max(shifts, key=lambda at: abs(shifts[at]))
    assert got["p3_change_point_shift_90d_zscore"] == pytest.approx(shifts[k])
    assert got["p3_change_point_age_90d_days"] == age - k


def test_client_younger_than_the_least_series_has_none() -> None:
    got = one([txn(13), txn(3, 500.0)])
    for name in [c.name for c in p3._SHAPE]:
        assert got[name] is None, name


def test_equal_days_have_no_shape() -> None:
    got = one([txn(1 + t, 0.1) for t in range(90)] + [old(amount=5.0)])
    for name in [c.name for c in p3._SHAPE]:
        assert got[name] is None, name
    assert got["p3_interarrival_variation_90d_factor"] == 0.0


def test_step_is_found_where_it_is() -> None:
    got = one([old(), *(txn(1 + t, 100.0) for t in range(20))])
    assert got["p3_change_point_age_90d_days"] == 20
    assert got["p3_change_point_level_90d_index"] == 1.0
    assert got["p3_change_point_shift_90d_zscore"] == pytest.approx(sqrt(90))
    down = one([old(), *(txn(1 + t, 100.0) for t in range(20, 90)), *(txn(1 + t, 50.0) for t in range(20))])
    assert down["p3_change_point_age_90d_days"] == 20
    assert down["p3_change_point_level_90d_index"] == pytest.approx(-1 / 3)
    assert down["p3_change_point_shift_90d_zscore"] == pytest.approx(-sqrt(90))


def test_rhythm_of_ten_days_is_found() -> None:
    got = one([old(), *(txn(1 + t, 100.0 + 50.0 * np.cos(2 * np.pi * t / 10)) for t in range(90))])
    assert got["p3_spectral_peak_period_90d_days"] == pytest.approx(10.0)
    assert got["p3_spectral_peak_share_90d_ratio"] == pytest.approx(1.0, abs=1e-6)


def test_single_spike_goes_to_the_longest_period() -> None:
    got = one([old(), txn(31, 700.0)])
    assert got["p3_spectral_peak_share_90d_ratio"] == pytest.approx(1 / 44)
    assert got["p3_spectral_peak_period_90d_days"] == 45.0


def test_dormancy_then_burst() -> None:
    got = one([txn(300, 100.0), txn(110, 100.0), txn(10, 400.0, "outbound"), txn(5, 400.0)])
    assert got["p3_dormancy_gap_30d_days"] == 100
    assert got["p3_post_dormancy_turnover_30d_base"] == 800.0
    assert got["p3_post_dormancy_share_364d_ratio"] == pytest.approx(0.8)
    assert got["p3_dormancy_burst_30d_factor"] == pytest.approx((800 / 10) / (1000 / 300))
    assert got["p3_longest_gap_90d_days"] == 5
    assert got["p3_recency_364d_days"] == 5


def test_of_equal_gaps_the_earliest_counts() -> None:
    got = one([txn(43, 100.0), txn(28, 100.0), txn(13, 100.0)])
    assert got["p3_dormancy_gap_30d_days"] == 15
    assert got["p3_post_dormancy_turnover_30d_base"] == 200.0


def test_dormancy_reaches_back_364_days_and_no_further() -> None:
    reached = one([txn(364), txn(5)])
    assert reached["p3_dormancy_gap_30d_days"] == 359
    assert one([txn(365), txn(5)])["p3_dormancy_gap_30d_days"] is None
    assert one([txn(100), txn(31)])["p3_dormancy_gap_30d_days"] is None
    assert one([txn(100), txn(30)])["p3_dormancy_gap_30d_days"] == 70


def test_rows_exactly_at_the_edges() -> None:
    stop = datetime(D.year, D.month, D.day)
    start, microsecond = stop - timedelta(days=90), timedelta(microseconds=1)
    inside = [txn(0) | {"txn_at": start}, txn(0) | {"txn_at": stop - microsecond}]
    outside = [txn(0) | {"txn_at": start - microsecond}, txn(0) | {"txn_at": stop}]
    got = one(inside + outside)
    assert got["p3_interarrival_mean_90d_hours"] == pytest.approx(90 * 24)
    assert got["p3_recency_364d_days"] == 1
    assert got["p3_longest_gap_90d_days"] == 89
    assert got["p3_hour_entropy_90d_bits"] == pytest.approx(1.0)  # 00:00 and 23:59:59.999999


def test_late_known_rows_count_only_once_known() -> None:
    rows = [txn(3), txn(13, known=D - timedelta(days=1)), txn(23, known=D)]
    now, later = run(rows, [D, D + timedelta(days=7)]).rows(named=True)
    assert now["p3_interarrival_mean_90d_hours"] == 240.0
    assert now["p3_interarrival_variation_90d_factor"] is None
    assert later["p3_interarrival_variation_90d_factor"] == 0.0


def test_late_first_row_does_not_make_the_client_older() -> None:
    rows = [txn(200, known=D), *(txn(1 + t, 1.0 + t) for t in range(20))]
    young, grown = run(rows, [D, D + timedelta(days=7)]).rows(named=True)
    assert young["p3_change_point_age_90d_days"] <= 13
    assert young["p3_turnover_autocorrelation_lag30_90d_correlation"] is None
    assert grown["p3_turnover_autocorrelation_lag30_90d_correlation"] is not None


def test_generated_slots() -> None:
    rows = [old(), *(txn(1 + t, 100.0 if t % 7 else 900.0) for t in range(90))]
    none, some = one(rows), one(rows, selection=SELECTION)
    assert [none[s] for s in engine.SLOTS] == [None] * engine.MAX_SLOTS
    assert some["p3_tsfresh_01_90d_value"] > 0.9
    assert some["p3_tsfresh_02_90d_value"] == 0.0  # one transaction a day: never above the mean
    assert [some[s] for s in engine.SLOTS[2:]] == [None] * (engine.MAX_SLOTS - 2)
    for name in HAND_WRITTEN:
        assert none[name] == some[name]


def test_chunks_do_not_change_slots() -> None:
    rows = [txn(1 + 3 * t, 10.0 + t, client=c) for t in range(40) for c in ("A", "B", "C")]
    weeks = [D - timedelta(days=7 * i) for i in range(3)]
    whole = run(rows, weeks, ("A", "B", "C"), SELECTION)
    chunked = run(rows, weeks, ("A", "B", "C"), SELECTION, FeatureConfig(tsfresh_chunk_rows=2))
    assert_frame_equal(whole, chunked, check_exact=True)


def test_other_windows_are_refused() -> None:
    with pytest.raises(ContractError, match="named for 30 and 90"):
        run([txn(1)], config=FeatureConfig(window_days=(7, 30, 60)))


def test_contract_is_documented_and_deep_enough() -> None:
    assert len(HAND_WRITTEN) >= 12
    for column in p3.CONTRACT.features:
        assert column.description, column.name
        assert column.formula, column.name
        assert column.null_rule, column.name


def test_empty_history_and_empty_spine() -> None:
    assert run([], clients=("A",)).select(HAND_WRITTEN).null_count().sum_horizontal().item() == len(HAND_WRITTEN)
    history = build_history(transactions([txn(1)]))
    nobody = pl.DataFrame(schema={"client_id": pl.String, "as_of_date": pl.Date})
    assert p3.build(history, build_spine(history, nobody), CONFIG, selection=SELECTION).is_empty()


ROW = st.builds(
    lambda back, hour, cents, inbound, late, timed, client: {
        **txn(0, cents / 100, "inbound" if inbound else "outbound", client),
        "txn_at": datetime(D.year, D.month, D.day, hour) - timedelta(days=back),
        "known": D - timedelta(days=back) + timedelta(days=late),
        "timed": timed,
    },
    st.integers(-20, 400),
    st.integers(0, 23),
    st.integers(1, 2_000_000),
    st.booleans(),
    st.sampled_from([0, 0, 0, 3, 40]),
    st.booleans(),
    st.sampled_from(["A", "B"]),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_point_in_time_law(rows: list[Row], random: Any) -> None:
    for i, row in enumerate(rows):
        row["txn_id"] = f"t{i:04d}"

    def is_known(row: Row) -> bool:
        return bool(row["txn_at"].date() < D and row["known"] < D)

    changed = [
        {**r, "amount_base": r["amount_base"] * 3, "direction": "inbound", "timed": True}
        for r in rows
        if not is_known(r) and random.random() < 0.6
    ]
    before = run(rows, clients=("A", "B"), selection=SELECTION)
    after = run([*filter(is_known, rows), *changed, txn(-1, 7.77)], clients=("A", "B"), selection=SELECTION)
    assert_frame_equal(before, after, check_exact=True)
    for column in p3.CONTRACT.features:
        values = before[column.name].drop_nulls()
        assert column.minimum is None or (values >= column.minimum).all(), column.name
        assert column.maximum is None or (values <= column.maximum).all(), column.name


@settings(deadline=None, max_examples=15)
@given(st.lists(ROW, min_size=1, max_size=40))
def test_batch_of_weeks_equals_single_weeks(rows: list[Row]) -> None:
    weeks = [D - timedelta(days=14), D - timedelta(days=7), D]
    batch = run(rows, weeks, ("A", "B"), SELECTION)
    single = pl.concat([run(rows, [w], (c,), SELECTION) for c in ("A", "B") for w in weeks])
    assert_frame_equal(batch, single, check_exact=True)


@pytest.mark.parametrize("rows_a_part", [1, 2, 5])
def test_parts_side_by_side_change_no_byte(rows_a_part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [txn(1 + 7 * k % 120, 10.0 + k * k % 37, ("inbound", "outbound")[k % 2], "ABC"[k % 3]) for k in range(60)]
    rows.append(txn(3, 5000.0, known_date=D))  # known on D only: in no part
    weeks = [D - timedelta(days=7 * k) for k in range(3)]
    whole = run(rows, weeks, clients=("A", "B", "C", "nobody"))
    monkeypatch.setattr(history_module, "ROWS_A_PART", rows_a_part)
    assert_frame_equal(run(rows, weeks, clients=("A", "B", "C", "nobody")), whole, check_exact=True)
