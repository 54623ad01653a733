"""P4 on hand-computed clients, on the thresholds' edges, with its evidence, and under the point-in-time law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import ContractError
from ml_assets.features import p4_typology as p4
from ml_assets.features.history import build_history, build_spine

D = date(2024, 3, 4)  # a Monday; the 90 days before it hold 29 February 2024
MIDNIGHT = datetime(2024, 3, 4)
CONFIG = FeatureConfig()
Row = dict[str, Any]
SCHEMA: dict[str, Any] = {
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


def txn(days_ago: float, amount: str, direction: str = "inbound", **other: Any) -> Row:
    """A payment ``days_ago`` days before midnight of D; known on its day unless ``known_date`` says otherwise."""
    at = other.pop("at", MIDNIGHT - timedelta(days=days_ago))
    return {
        "client_id": "A",
        "txn_at": at,
        "known_date": at.date(),
        "amount_base": Decimal(amount),
        "direction": direction,
        "is_counterparty_client": False,
        "is_time_known": True,
    } | other


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    full = [dict.fromkeys(SCHEMA) | {"txn_id": f"t{i:03d}"} | row for i, row in enumerate(rows)]
    return pl.DataFrame(full, schema=SCHEMA)


def pairs(*of: tuple[str, date]) -> pl.DataFrame:
    return pl.DataFrame(list(of), schema={"client_id": pl.String, "as_of_date": pl.Date}, orient="row")


def one(rows: Sequence[Row], config: FeatureConfig = CONFIG, day: date = D) -> dict[str, Any]:
    history = build_history(frame(rows))
    return p4.build(history, build_spine(history, pairs(("A", day))), config).row(0, named=True)


def found(rows: Sequence[Row], config: FeatureConfig = CONFIG) -> dict[str, Row]:
    history = build_history(frame(rows))
    out = p4.hits(history, build_spine(history, pairs(("A", D))), config)
    return {row["typology"]: row for row in out.iter_rows(named=True)}


def test_contract_holds_at_least_eleven_described_features() -> None:
    assert len(p4.CONTRACT.features) >= 11
    for c in p4.CONTRACT.features:
        assert c.formula
        assert c.source


def test_rules_name_measures_that_exist_and_levels_in_order() -> None:
    internal = {r for rule in p4.RULES for r in (rule.measure, rule.second) if r.startswith("_")}
    named = {r for rule in p4.RULES for r in (rule.measure, rule.second) if r and not r.startswith("_")}
    assert named <= set(p4.CONTRACT.names)
    history = build_history(frame([txn(1, "5.00")]))
    spine = build_spine(history, pairs(("A", D)))
    assert internal <= set(p4._measure(p4._Rows(history, CONFIG), spine))
    assert all(0 < r.fires_at <= r.saturates_at for r in p4.RULES)


def test_other_windows_than_the_names_are_refused() -> None:
    with pytest.raises(ContractError, match="names its windows"):
        one([txn(1, "1.00")], FeatureConfig(window_days=(7, 14, 28)))


@pytest.mark.parametrize(
    ("amount", "near", "over"),
    [
        ("8999.99", 0, 0),
        ("9000.00", 1, 0),
        ("9999.99", 1, 0),
        ("10000.00", 0, 1),
        ("10000.01", 0, 1),
    ],
)
def test_structuring_band_is_closed_below_and_open_above_to_the_cent(amount: str, near: int, over: int) -> None:
    row = one([txn(3, amount, channel="cash")])
    assert row["p4_near_threshold_30d_count"] == near
    assert row["p4_near_threshold_cash_90d_count"] == near
    assert row["p4_near_threshold_share_90d_ratio"] == near
    assert row["p4_over_threshold_90d_count"] == over
    assert row["p4_over_threshold_cash_90d_count"] == over


def test_band_edge_that_floats_miss() -> None:
    # 0.7 x 1,000.10 = 700.07 exactly; in floats 0.7 * 1000.1 = 700.0699999999999
    config = FeatureConfig(reporting_threshold_base=1000.10, near_threshold_ratio=0.7)
    assert one([txn(3, "700.07")], config)["p4_near_threshold_30d_count"] == 1
    assert one([txn(3, "700.06")], config)["p4_near_threshold_30d_count"] == 0


@pytest.mark.parametrize(("second", "days"), [("4999.99", 0), ("5000.00", 1)])
def test_same_day_sum_reaches_the_threshold_to_the_cent(second: str, days: int) -> None:
    rows = [txn(2.5, "5000.00", channel="cash"), txn(2.2, second, channel="cash")]
    row = one(rows)
    assert row["p4_sub_threshold_day_30d_count"] == days
    assert row["p4_sub_threshold_cash_day_90d_count"] == days
    assert row["p4_sub_threshold_day_max_90d_factor"] == pytest.approx((5000 + float(second)) / 10_000)


def test_same_day_sum_needs_one_day_one_direction_and_two_payments_under_the_threshold() -> None:
    other_day = [txn(2.5, "6000.00"), txn(1.5, "6000.00")]
    other_direction = [txn(2.5, "6000.00"), txn(2.4, "6000.00", "outbound")]
    one_is_reported = [txn(2.5, "10000.00"), txn(2.4, "6000.00")]
    for rows in (other_day, other_direction, one_is_reported):
        assert one(rows)["p4_sub_threshold_day_30d_count"] == 0
    mixed = one([txn(2.5, "6000.00", channel="cash"), txn(2.4, "6000.00", channel="wire")])
    assert mixed["p4_sub_threshold_day_30d_count"] == 1
    assert mixed["p4_sub_threshold_cash_day_30d_count"] == 0


def test_cluster_counts_band_rows_within_seven_days() -> None:
    rows = [txn(d + 0.5, "9500.00") for d in (1, 7, 8, 20)]  # days 1..7 span 7 calendar days: 1 and 7, or 7 and 8
    assert one(rows)["p4_near_threshold_cluster_90d_count"] == 2
    rows = [txn(d + 0.5, "9500.00") for d in (2, 7, 8, 20)]
    assert one(rows)["p4_near_threshold_cluster_90d_count"] == 3


def test_cluster_forgets_rows_known_too_late() -> None:
    rows = [txn(9.5, "9500.00", known_date=D), txn(5.5, "9500.00"), txn(1.5, "9500.00")]
    assert one(rows)["p4_near_threshold_cluster_90d_count"] == 2


def test_amount_endings() -> None:
    rows = [txn(d, a) for d, a in enumerate(["1000.00", "300.00", "950.00", "1999.99", "12.99", "899.00"], 1)]
    row = one(rows)
    assert row["p4_round_thousand_share_90d_ratio"] == pytest.approx(1 / 6)
    assert row["p4_round_hundred_share_90d_ratio"] == pytest.approx(2 / 6)
    assert row["p4_whole_amount_share_90d_ratio"] == pytest.approx(4 / 6)
    assert row["p4_below_round_share_90d_ratio"] == pytest.approx(2 / 6)  # 950.00 and 1,999.99
    assert row["p4_ending_mode_share_90d_ratio"] == pytest.approx(2 / 6)  # .99
    assert row["p4_round_thousand_volume_share_90d_ratio"] == pytest.approx(1000 / 5161.98)


def test_repeated_amounts_need_three() -> None:
    rows = [txn(d, a) for d, a in enumerate(["50.00", "50.00", "50.00", "70.00", "70.00"], 1)]
    assert one(rows)["p4_repeat_amount_share_90d_ratio"] == pytest.approx(0.6)


def test_fund_through_by_hand() -> None:
    rows = [
        txn(10, "100.00"),
        txn(10 - 12 / 24, "40.00", "outbound"),  # 12 h: of the first 100
        txn(9, "50.00"),  # 24 h after the first
        txn(9 - 1 / 24, "80.00", "outbound"),  # 25 h after the first: its 60 are too old for 24 h
        txn(5, "10.00", "outbound"),  # 5 days: of nobody
    ]
    row = one(rows)
    assert row["p4_fund_through_24h_30d_ratio"] == pytest.approx((40 + 50) / 150)
    assert row["p4_fund_through_72h_30d_ratio"] == pytest.approx((40 + 80) / 150)
    assert row["p4_fund_through_72h_90d_ratio"] == pytest.approx((40 + 80) / 150)


@pytest.mark.parametrize(("seconds", "share"), [(86_400, 1.0), (86_401, 0.0)])
def test_fund_through_ends_at_exactly_24_hours(seconds: int, share: float) -> None:
    came = datetime(2024, 2, 28, 9)
    rows = [txn(0, "100.00", at=came), txn(0, "100.00", "outbound", at=came + timedelta(seconds=seconds))]
    assert one(rows)["p4_fund_through_24h_30d_ratio"] == share


def test_outflow_before_the_inflow_takes_nothing_but_at_the_same_moment_it_does() -> None:
    assert one([txn(5, "100.00", "outbound"), txn(4, "100.00")])["p4_fund_through_72h_30d_ratio"] == 0.0
    # the outflow's id sorts first; money still comes in before it goes out
    dates = {"at": datetime(2024, 2, 29), "is_time_known": False}
    rows = [txn(0, "100.00", "outbound", txn_id="a", **dates), txn(0, "100.00", txn_id="b", **dates)]
    assert one(rows)["p4_fund_through_24h_30d_ratio"] == 1.0


def test_late_outflow_takes_nothing() -> None:
    rows = [txn(5, "100.00"), txn(4.5, "100.00", "outbound", known_date=D)]
    assert one(rows)["p4_fund_through_24h_30d_ratio"] == 0.0


def test_cash_placed_counts_cash_in_and_other_out() -> None:
    rows = [
        txn(5, "100.00", channel="cash"),
        txn(5, "500.00", channel="wire"),
        txn(4.9, "30.00", "outbound", channel="atm"),  # cash again
        txn(4.8, "60.00", "outbound", channel="wire"),
        txn(4.7, "99.00", "outbound"),  # channel unknown
    ]
    row = one(rows)
    assert row["p4_cash_placed_72h_30d_ratio"] == pytest.approx(0.6)
    assert row["p4_cash_inflow_share_30d_ratio"] == pytest.approx(100 / 600)
    assert row["p4_cash_outflow_share_90d_ratio"] == pytest.approx(30 / 90)


def test_funnel_by_hand() -> None:
    rows = [txn(9, "100.00", counterparty_id=f"p{k}", counterparty_country=c) for k, c in enumerate("ABCC")]
    rows += [txn(8, "100.00", counterparty_id="p0", counterparty_country="A")]
    rows += [txn(7, "400.00", "outbound", counterparty_id="boss", counterparty_country="Z")]
    row = one(rows)
    assert row["p4_funnel_sender_30d_count"] == 4
    assert row["p4_funnel_payee_30d_count"] == 1
    assert row["p4_funnel_sender_country_30d_count"] == 3
    assert row["p4_funnel_30d_ratio"] == pytest.approx((1 - 1 / 4) * (400 / 500))


def test_funnel_is_zero_where_payees_outnumber_payers() -> None:
    rows = [txn(9, "90.00", counterparty_id="x")]
    rows += [txn(8, "10.00", "outbound", counterparty_id=f"p{k}") for k in range(3)]
    assert one(rows)["p4_funnel_30d_ratio"] == 0.0


def test_smurfing_by_hand() -> None:
    amounts = ["800.00", "1000.00", "1200.00", "1200.01", "50.00", "12000.00"]
    rows = [txn(k + 1, a, counterparty_id=f"p{k}") for k, a in enumerate(amounts)]
    row = one(rows)
    # rows under T: 50, 800, 1000, 1200, 1200.01; median 1000; similar within 20 %: 800, 1000, 1200
    assert row["p4_smurf_sender_30d_count"] == 3
    assert row["p4_smurf_share_30d_ratio"] == pytest.approx(3000 / 16250.01)


def test_two_like_payers_are_no_smurfs() -> None:
    rows = [txn(k + 1, "500.00", counterparty_id=f"p{k % 2}") for k in range(6)]
    row = one(rows)
    assert row["p4_smurf_sender_30d_count"] == 2
    assert row["p4_smurf_share_30d_ratio"] == 0.0


def test_u_turn_counts_what_came_back_to_the_payer_once() -> None:
    rows = [
        txn(50, "100.00", counterparty_id="x"),
        txn(40, "50.00", counterparty_id="x"),
        txn(30, "120.00", "outbound", counterparty_id="x"),
        txn(20, "50.00", counterparty_id="y"),
        txn(10, "999.00", "outbound", counterparty_id="z"),
        txn(5, "700.00"),  # payer unknown
    ]
    assert one(rows)["p4_u_turn_90d_ratio"] == pytest.approx(120 / 200)


@pytest.mark.parametrize(("gap", "largest", "share"), [(60, 2, 1.0), (61, 1, 0.0)])
def test_burst_ends_at_exactly_sixty_seconds(gap: int, largest: int, share: float) -> None:
    at = datetime(2024, 2, 29, 10)
    rows = [txn(0, "5.00", at=at), txn(0, "5.00", at=at + timedelta(seconds=gap))]
    row = one(rows)
    assert row["p4_burst_max_30d_count"] == largest
    assert row["p4_burst_share_90d_ratio"] == share


def test_burst_is_a_window_of_time_not_a_chain() -> None:
    at = datetime(2024, 2, 29, 10)
    rows = [txn(0, "5.00", at=at + timedelta(seconds=40 * k)) for k in range(4)]
    row = one(rows)
    assert row["p4_burst_max_30d_count"] == 2
    assert row["p4_burst_share_90d_ratio"] == 1.0


def test_burst_is_null_without_times_of_day() -> None:
    row = one([txn(2, "5.00", is_time_known=False), txn(2, "5.00", is_time_known=False)])
    assert row["p4_burst_max_90d_count"] is None
    assert row["p4_burst_share_90d_ratio"] is None


def test_single_large_amount_against_the_own_median() -> None:
    rows = [txn(60, "10.00"), txn(50, "20.00"), txn(40, "30.00"), txn(3, "5000.00")]
    row = one(rows)
    assert row["p4_max_over_median_30d_factor"] == pytest.approx(5000 / 25)
    assert row["p4_max_over_threshold_30d_factor"] == pytest.approx(0.5)
    assert one(rows[:3])["p4_max_over_median_30d_factor"] is None  # nothing in 30 days
    assert one(rows[2:])["p4_max_over_median_30d_factor"] is None  # fewer than three in 90


def test_benford_by_hand() -> None:
    config = FeatureConfig(benford_minimum_count=10)
    rows = [txn(k + 1, "9.50") for k in range(10)]
    law = [math.log10(1 + 1 / d) for d in range(1, 10)]
    mad = (sum(law[:8]) + 1 - law[8]) / 9
    chance = sum(math.sqrt(2 * p * (1 - p) / (math.pi * 10)) for p in law) / 9
    row = one(rows, config)
    assert row["p4_benford_mad_364d_ratio"] == pytest.approx(mad)
    assert row["p4_benford_excess_364d_statistic"] == pytest.approx(mad - chance)
    assert one(rows[1:], config)["p4_benford_mad_364d_ratio"] is None
    assert one([*rows[1:], txn(1, "0.00")], config)["p4_benford_mad_364d_ratio"] is None  # zero has no first digit


def test_first_digits_are_exact() -> None:
    cents = np.array([0, 1, 9, 10, 99, 100, 999, 1000, 10**15, 10**15 - 1, 3 * 10**17], dtype=np.int64)
    assert p4._first_digit(cents).tolist() == [0, 1, 9, 1, 9, 1, 9, 1, 1, 9, 3]


def test_benford_law_itself_shows_no_excess() -> None:
    amounts = [f"{10 ** (2 + (k + 0.5) / 360):.2f}" for k in range(360)]  # log-uniform over one decade
    rows = [txn(k + 1, a) for k, a in enumerate(amounts)]
    row = one(rows)
    assert row["p4_benford_mad_364d_ratio"] < 0.006  # Nigrini's close conformity
    assert row["p4_benford_excess_364d_statistic"] < 0


def test_mirror_pairs_are_one_to_one_exact_and_near_in_time() -> None:
    rows = [
        txn(20, "700.00"),
        txn(18, "700.00", "outbound"),  # pairs with the first
        txn(17.5, "700.00", "outbound"),  # nothing left to pair with
        txn(10, "300.00", "outbound"),
        txn(7, "300.00"),  # exactly three days after: still a pair
        txn(5, "100.00"),
        txn(5, "100.01", "outbound"),  # a cent off
    ]
    row = one(rows)
    assert row["p4_mirror_90d_count"] == 2
    assert row["p4_mirror_share_90d_ratio"] == pytest.approx(1000 / 1100)


def test_mirror_beyond_three_days_is_none() -> None:
    rows = [txn(20, "700.00"), txn(17, "700.00", "outbound", at=MIDNIGHT - timedelta(days=16, hours=23))]
    assert one(rows)["p4_mirror_90d_count"] == 0


def test_reactivation() -> None:
    rows = [txn(200, "5.00"), txn(20, "300.00"), txn(10, "200.00", "outbound")]
    row = one(rows)
    assert row["p4_reactivation_gap_30d_days"] == 180
    assert row["p4_reactivation_volume_30d_base"] == pytest.approx(500.0)
    awake = one([txn(60, "5.00"), *rows[1:]])
    assert awake["p4_reactivation_gap_30d_days"] == 40
    assert awake["p4_reactivation_volume_30d_base"] == 0.0
    assert one(rows[1:2])["p4_reactivation_gap_30d_days"] is None  # a first payment ends no silence


def test_reactivation_over_the_leap_day_counts_real_days() -> None:
    rows = [txn(0, "5.00", at=datetime(2023, 12, 1)), txn(0, "5.00", at=datetime(2024, 3, 1))]
    assert one(rows)["p4_reactivation_gap_30d_days"] == 91


def test_one_transaction_and_none() -> None:
    single = one([txn(1, "10.00")])
    assert single["p4_near_threshold_share_30d_ratio"] == 0.0
    assert single["p4_fund_through_24h_30d_ratio"] == 0.0
    assert single["p4_burst_max_30d_count"] == 1
    none = one([txn(400, "10.00")])
    for name, value in none.items():
        c = next(c for c in p4.CONTRACT.columns if c.name == name)
        assert value in (None, 0) or c.name in ("client_id", "as_of_date")
        assert value is not None or c.is_nullable, name


def test_client_without_history() -> None:
    history = build_history(frame([txn(1, "10.00")]))
    out = p4.build(history, build_spine(history, pairs(("A", D), ("nobody", D))), CONFIG)
    assert out["client_id"].to_list() == ["A", "nobody"]
    assert out["p4_near_threshold_30d_count"].to_list() == [0, 0]


def test_no_transactions_at_all() -> None:
    history = build_history(frame([]))
    spine = build_spine(history, pairs(("A", D)))
    assert p4.build(history, spine, CONFIG).height == 1
    assert p4.hits(history, spine, CONFIG).height == 0
    assert p4.hits(history, spine, CONFIG).columns == p4.HITS_CONTRACT.names


def test_missing_columns_make_their_features_null_and_no_others() -> None:
    row = one([txn(k + 1, "9500.00", is_time_known=False) for k in range(3)])
    for c in p4.CONTRACT.features:
        if set(c.requires) & {"channel", "counterparty_id", "counterparty_country", "txn_date with time of day"}:
            assert row[c.name] is None, c.name
    assert row["p4_near_threshold_30d_count"] == 3


@pytest.mark.parametrize(
    ("day", "near30", "near90"),
    [(0, 0, 0), (1, 1, 1), (30, 1, 1), (31, 0, 1), (90, 0, 1), (91, 0, 0)],
)
def test_windows_begin_with_their_day_and_end_before_d(day: int, near30: int, near90: int) -> None:
    row = one([txn(day, "9500.00")])
    assert (row["p4_near_threshold_30d_count"], row["p4_near_threshold_90d_count"]) == (near30, near90)


def test_row_known_on_d_is_not_known_before_d() -> None:
    assert one([txn(5, "9500.00", known_date=D)])["p4_near_threshold_30d_count"] == 0
    assert one([txn(5, "9500.00", known_date=D - timedelta(days=1))])["p4_near_threshold_30d_count"] == 1


def test_structuring_hit_lists_the_band_rows() -> None:
    rows = [txn(3, "9500.00", txn_id="c"), txn(9, "9100.00", txn_id="a"), txn(1, "20.00", txn_id="z")]
    hit = found(rows)["structuring"]
    assert hit["txn_ids"] == "a;c"
    assert hit["txn_count"] == 2
    assert hit["strength_ratio"] == pytest.approx(2 / 6)
    assert hit["measure"] == "p4_near_threshold_30d_count"
    assert "structuring" not in found(rows[1:])


def test_same_day_structuring_hit_lists_the_days_cash() -> None:
    rows = [
        txn(2.9, "4000.00", txn_id="a", channel="cash"),
        txn(2.8, "6000.00", txn_id="b", channel="cash"),
        txn(2.7, "6000.00", txn_id="c", channel="wire"),
        txn(2.6, "1000.00", "outbound", txn_id="d", channel="cash"),
        txn(6.6, "1000.00", txn_id="e", channel="cash"),
    ]
    assert found(rows)["same_day_structuring"]["txn_ids"] == "a;b"


def test_evidence_of_every_typology() -> None:
    at = datetime(2024, 2, 20, 10)
    cases: dict[str, tuple[list[Row], str]] = {
        "round_amounts": ([txn(k + 1, "3000.00", txn_id=f"r{k}") for k in range(4)] + [txn(9, "17.00")], "r3;r2;r1;r0"),
        "cash_intensity": ([txn(5, "10000.00", channel="cash", txn_id="c"), txn(4, "9.00", channel="card")], "c"),
        "fund_through": (
            [txn(9, "10000.00", txn_id="i"), txn(8, "8000.00", "outbound", txn_id="o"), txn(2, "1.00", "outbound")],
            "i;o",
        ),
        "cash_placement": (
            [
                txn(9, "10000.00", txn_id="i", channel="cash"),
                txn(8, "8000.00", "outbound", txn_id="o", channel="draft"),
                txn(8, "1.00", "outbound", channel="atm"),
            ],
            "i;o",
        ),
        "funnel_account": (
            [txn(9, "10.00", counterparty_id=f"p{k}", txn_id=f"i{k}") for k in range(5)]
            + [txn(8, "50.00", "outbound", counterparty_id="boss", txn_id="o"), txn(7, "1.00")],
            "i0;i1;i2;i3;i4;o",
        ),
        "smurfing": (
            [txn(9, "10.00", counterparty_id=f"p{k}", txn_id=f"i{k}") for k in range(5)]
            + [txn(8, "30.00", counterparty_id="q")],
            "i0;i1;i2;i3;i4",
        ),
        "u_turn": (
            [
                txn(80, "10000.00", counterparty_id="x", txn_id="i"),
                txn(50, "6000.00", "outbound", counterparty_id="x", txn_id="o"),
                txn(50, "6000.00", "outbound", counterparty_id="y"),
            ],
            "i;o",
        ),
        "burst": (
            [txn(0, "1.00", at=at + timedelta(seconds=9 * k), txn_id=f"b{k}") for k in range(4)] + [txn(5, "1.00")],
            "b0;b1;b2;b3",
        ),
        "single_large_amount": ([*(txn(k + 2, "5.00") for k in range(3)), txn(1, "10000.00", txn_id="big")], "big"),
        "benford_deviation": ([txn(k / 2 + 1, "9.00", txn_id=f"n{k:02d}") for k in range(50)], ""),
        "mirror_transactions": (
            [
                txn(60, "700.00", txn_id="i1"),
                txn(59, "700.00", "outbound", txn_id="o1"),
                txn(50, "800.00", txn_id="i2"),
                txn(49, "800.00", "outbound", txn_id="o2"),
                txn(40, "5.00"),
            ],
            "i1;o1;i2;o2",
        ),
        "dormant_reactivation": (
            [txn(200, "1.00"), txn(20, "9000.00", txn_id="w1"), txn(3, "1000.00", "outbound", txn_id="w2")],
            "w1;w2",
        ),
    }
    assert set(cases) == {r.typology for r in p4.RULES} - {"structuring", "same_day_structuring"}
    for typology, (rows, ids) in cases.items():
        hit = found(rows)[typology]
        if ids:
            assert hit["txn_ids"] == ids, typology
            assert hit["txn_count"] == ids.count(";") + 1, typology
        else:
            assert hit["txn_count"] == 50
        assert 0 < hit["strength_ratio"] <= 1


@pytest.mark.parametrize(("amount", "fires"), [("9999.99", False), ("10000.00", True)])
def test_hits_that_need_the_threshold_need_it_to_the_cent(amount: str, fires: bool) -> None:
    assert ("cash_intensity" in found([txn(5, amount, channel="cash")])) is fires
    assert ("dormant_reactivation" in found([txn(200, "1.00"), txn(5, amount)])) is fires


def test_evidence_is_capped_to_the_newest() -> None:
    rows = [txn(20 - k, "9500.00", txn_id=f"t{k:02d}") for k in range(8)]
    hit = found(rows, FeatureConfig(evidence_transactions=3))["structuring"]
    assert hit["txn_ids"] == "t05;t06;t07"
    assert hit["txn_count"] == 8
    assert hit["strength_ratio"] == 1.0


def test_evidence_leaves_late_rows_out() -> None:
    rows = [txn(3, "9500.00"), txn(4, "9500.00"), txn(5, "9500.00", txn_id="late", known_date=D)]
    assert "late" not in found(rows)["structuring"]["txn_ids"]


def test_build_with_hits_is_both() -> None:
    history = build_history(frame([txn(k + 1, "9500.00") for k in range(3)]))
    spine = build_spine(history, pairs(("A", D)))
    features, hits = p4.build_with_hits(history, spine, CONFIG)
    assert_frame_equal(features, p4.build(history, spine, CONFIG))
    assert_frame_equal(hits, p4.hits(history, spine, CONFIG))


amounts = st.sampled_from(
    ["1.00", "9.99", "1000.00", "3333.33", "5000.00", "9000.00", "9999.99", "10000.00", "25000.00"]
)
payments = st.lists(
    st.builds(
        lambda client, minutes, late, amount, direction, other, country, channel, timed: txn(
            minutes / 1440,
            amount,
            direction,
            client_id=client,
            known_date=(MIDNIGHT - timedelta(minutes=minutes)).date() + timedelta(days=late),
            counterparty_id=other,
            counterparty_country=country,
            channel=channel,
            is_time_known=timed,
        ),
        st.sampled_from("AB"),
        st.integers(-30 * 1440, 120 * 1440) | st.integers(0, 40).map(lambda m: 1440 + m),
        st.sampled_from([0, 0, 0, 1, 9, 40]),
        amounts,
        st.sampled_from(["inbound", "outbound"]),
        st.sampled_from([None, "m", "n", "o", "p"]),
        st.sampled_from([None, "FR", "DE"]),
        st.sampled_from([None, "cash", "wire", "atm"]),
        st.booleans(),
    ),
    max_size=25,
)
WEEKS = [D - timedelta(weeks=k) for k in (4, 1, 0)]
PAIRS = pairs(*[(c, d) for c in "AB" for d in WEEKS])
EAGER = FeatureConfig(benford_minimum_count=3)


def both(rows: pl.DataFrame, at: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    history = build_history(rows)
    return p4.build_with_hits(history, build_spine(history, at), EAGER)


@settings(deadline=None, max_examples=40)
@given(payments)
def test_the_future_changes_nothing(rows: list[Row]) -> None:
    everything = frame(rows)
    past = everything.filter(pl.col("txn_at") < MIDNIGHT, pl.col("known_date") < D)
    now = PAIRS.filter(pl.col("as_of_date") == D)
    for full, cut in zip(both(everything, now), both(past, now), strict=True):
        assert_frame_equal(full, cut, check_exact=True)


@settings(deadline=None, max_examples=30)
@given(payments)
def test_many_weeks_equal_each_week_alone(rows: list[Row]) -> None:
    everything = frame(rows)
    batch = both(everything, PAIRS)
    for week in WEEKS:
        alone = both(everything, PAIRS.filter(pl.col("as_of_date") == week))
        for many, single in zip(batch, alone, strict=True):
            assert_frame_equal(many.filter(pl.col("as_of_date") == week), single, check_exact=True)


@settings(deadline=None, max_examples=40)
@given(payments)
def test_features_stay_in_their_ranges_and_hits_follow_from_them(rows: list[Row]) -> None:
    features, hits = both(frame(rows), PAIRS)
    for c in p4.CONTRACT.features:
        values = features[c.name].drop_nulls()
        assert c.is_nullable or len(values) == len(features), c.name
        assert c.minimum is None or (values >= c.minimum - 1e-12).all(), c.name
        assert c.maximum is None or (values <= c.maximum + 1e-12).all(), c.name
    assert (hits["txn_count"] >= 1).all()
    fired = hits.filter(~pl.col("measure").str.starts_with("_"))
    joined = fired.join(features, on=["client_id", "as_of_date"], how="left")
    for row in joined.iter_rows(named=True):
        assert row[row["measure"]] == row["value"]


@settings(deadline=None, max_examples=40)
@given(payments)
def test_fund_through_equals_a_plain_queue(rows: list[Row]) -> None:
    built = both(frame(rows), PAIRS.filter(pl.col("as_of_date") == D))[0]
    for client in "AB":
        low = MIDNIGHT - timedelta(days=30)
        mine = [r for r in rows if r["client_id"] == client and low <= r["txn_at"] < MIDNIGHT and r["known_date"] < D]
        mine.sort(key=lambda r: (r["txn_at"], r["direction"] == "outbound"))
        queue: list[list[Any]] = []
        received = through = Decimal(0)
        for r in mine:
            if r["direction"] == "inbound":
                queue.append([r["txn_at"], r["amount_base"]])
                received += r["amount_base"]
                continue
            wanted = r["amount_base"]
            for entry in queue:
                if r["txn_at"] - entry[0] <= timedelta(hours=72):
                    taken = min(wanted, entry[1])
                    entry[1] -= taken
                    wanted -= taken
                    through += taken
        got = built.filter(pl.col("client_id") == client)["p4_fund_through_72h_30d_ratio"].item()
        assert got == (pytest.approx(float(through / received)) if received else None)


# --- edges: all on one day, equal amounts, one counterparty, a client younger than the window ---------------


def test_everything_on_one_day() -> None:
    got = one(
        [
            txn(0.9, "4000.00", channel="cash", counterparty_id="x"),
            txn(0.8, "6000.00", channel="cash", counterparty_id="y"),
            txn(0.2, "9000.00", "outbound", channel="wire", counterparty_id="z"),
        ]
    )
    assert got["p4_sub_threshold_day_30d_count"] == 1  # 4,000 + 6,000 in; the single payment out is no pair
    assert got["p4_sub_threshold_cash_day_30d_count"] == 1
    assert got["p4_sub_threshold_day_max_90d_factor"] == 1.0
    assert got["p4_near_threshold_cluster_90d_count"] == 1
    assert got["p4_fund_through_24h_30d_ratio"] == 0.9
    assert got["p4_cash_placed_72h_30d_ratio"] == 0.9
    assert got["p4_reactivation_gap_30d_days"] == 0.0
    assert got["p4_max_over_median_30d_factor"] == 1.5


def test_equal_amounts() -> None:
    rows = [txn(d, "250.00", counterparty_id=f"p{d}", channel="transfer") for d in range(1, 6)]
    got = one([*rows, txn(0.5, "250.00", "outbound", counterparty_id="q", channel="transfer")])
    assert got["p4_repeat_amount_share_90d_ratio"] == 1.0
    assert got["p4_max_over_median_30d_factor"] == 1.0
    assert (got["p4_smurf_sender_30d_count"], got["p4_smurf_share_30d_ratio"]) == (5, 1.0)
    # one outflow can mirror one inflow only, however many have its amount
    assert (got["p4_mirror_90d_count"], got["p4_mirror_share_90d_ratio"]) == (1, 0.2)
    assert got["p4_ending_mode_share_90d_ratio"] == 0.0
    assert got["p4_whole_amount_share_90d_ratio"] == 1.0


def test_one_counterparty() -> None:
    rows = [txn(9, "1000.00"), txn(8, "600.00", "outbound"), txn(7, "300.00"), txn(6, "150.00", "outbound")]
    got = one([r | {"counterparty_id": "x", "counterparty_country": "FR"} for r in rows])
    assert (got["p4_funnel_sender_30d_count"], got["p4_funnel_payee_30d_count"]) == (1, 1)
    assert got["p4_funnel_sender_country_30d_count"] == 1
    assert got["p4_funnel_30d_ratio"] == 0.0  # as many payees as payers
    assert got["p4_u_turn_90d_ratio"] == pytest.approx(750 / 1300)
    assert got["p4_smurf_sender_30d_count"] == 1
    assert got["p4_smurf_share_30d_ratio"] == 0.0


def test_client_younger_than_the_windows_has_the_values_of_the_days_it_had() -> None:
    rows = [
        txn(3, "9500.00", channel="cash"),
        txn(2, "9500.00", channel="cash"),
        txn(1, "20.00", "outbound", channel="card"),
    ]
    got = one(rows)
    assert got["p4_near_threshold_30d_count"] == got["p4_near_threshold_90d_count"] == 2
    assert got["p4_near_threshold_share_90d_ratio"] == pytest.approx(2 / 3)
    assert got["p4_cash_inflow_share_30d_ratio"] == got["p4_cash_inflow_share_90d_ratio"] == 1.0
    assert got["p4_benford_mad_364d_ratio"] is None  # too few amounts, not a wrong shape
    assert got["p4_reactivation_volume_30d_base"] == 0.0  # nothing slept: it was not there yet
    assert set(found(rows)) >= {"structuring", "cash_intensity"}


@pytest.mark.parametrize(
    ("amount", "fires"), [("8999.99", False), ("9000.00", True), ("9999.99", True), ("10000.00", False)]
)
def test_structuring_hit_at_both_ends_of_the_band_to_the_cent(amount: str, fires: bool) -> None:
    hit = found([txn(5, amount, channel="cash"), txn(3, amount, channel="cash")])
    assert ("structuring" in hit) == fires
    if fires:
        assert hit["structuring"]["txn_ids"] == "t000;t001"
