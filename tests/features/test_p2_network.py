"""P2 at the client and as-of grain: values by hand, nulls, and the point-in-time law."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.features import p2_network as p2
from ml_assets.features.history import build_history, build_spine

AS_OF = date(2024, 4, 1)
CONFIG = FeatureConfig()
JURISDICTIONS = pl.DataFrame(
    {
        "iso2": ["IR", "SE", "SY", "DZ"],
        "fatf_black": [True, False, False, False],
        "fatf_grey": [False, False, True, True],
        "eu_high_risk": [True, False, True, False],
        "ofac": [True, False, True, False],
    }
)
SCHEMA = {
    "txn_id": pl.String,
    "client_id": pl.String,
    "counterparty_id": pl.String,
    "counterparty_country": pl.String,
    "counterparty_sector": pl.String,
    "channel": pl.String,
    "currency": pl.String,
    "direction": pl.String,
    "amount_base": pl.Float64,
    "is_counterparty_client": pl.Boolean,
    "is_time_known": pl.Boolean,
    "txn_at": pl.Datetime("us"),
    "known_date": pl.Date,
    "counterparty_listed_date": pl.Date,
}


def row(client: str, other: str | None, amount: float = 100.0, ago: float = 5, **more: object) -> dict:
    at = datetime(2024, 4, 1) - timedelta(days=ago)
    return {
        "txn_id": f"{client}-{other}-{amount}-{ago}-{more}",
        "client_id": client,
        "counterparty_id": other,
        "amount_base": amount,
        "direction": "outbound",
        "channel": "transfer",
        "currency": "EUR",
        "is_counterparty_client": False,
        "is_time_known": True,
        "txn_at": at,
        "known_date": at.date(),
    } | more


def frame(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def build(transactions: pl.DataFrame, pairs: list[tuple[str, date]], **more: object) -> pl.DataFrame:
    history = build_history(transactions)
    spine = build_spine(history, pl.DataFrame(pairs, schema=["client_id", "as_of_date"], orient="row"))
    first_seen = (
        transactions.drop_nulls("counterparty_id")
        .group_by("client_id", "counterparty_id")
        .agg(first_known_date=pl.col("known_date").min())
    )
    arguments = {"first_seen": first_seen, "jurisdictions": JURISDICTIONS} | more
    return p2.build(history, spine, CONFIG, **arguments)  # type: ignore[arg-type]


def one(transactions: list[dict], client: str = "c", as_of: date = AS_OF, **more: object) -> dict:
    return build(frame(transactions), [(client, as_of)], **more).row(0, named=True)


def test_a_client_by_hand() -> None:
    found = one(
        [
            row("c", "x", 30.0, 40, counterparty_country="IR"),
            row("c", "y", 10.0, 5, counterparty_country="SE"),
            row("c", "x", 60.0, 10, direction="inbound", counterparty_country="SY"),
            row("x", "v", 5.0, 12, counterparty_listed_date=date(2020, 1, 1)),
            row("c", "x", 1.0, 200),
        ]
    )
    assert (found["p2_degree_in_90d_count"], found["p2_degree_out_90d_count"]) == (1, 2)
    assert (found["p2_degree_out_7d_count"], found["p2_degree_out_30d_count"]) == (1, 1)
    assert (found["p2_strength_in_sum_90d_base"], found["p2_strength_out_sum_90d_base"]) == (60.0, 40.0)
    assert found["p2_counterparty_out_hhi_90d_ratio"] == pytest.approx(0.625)
    assert found["p2_counterparty_in_std_90d_base"] is None
    assert found["p2_reciprocal_share_90d_ratio"] == 0.5
    # x has been known since day 200, y is new
    assert found["p2_first_seen_30d_count"] == 1
    assert found["p2_first_seen_share_30d_ratio"] == 0.5
    assert found["p2_first_seen_share_90d_ratio"] == 0.5
    assert found["p2_first_seen_amount_share_30d_ratio"] == pytest.approx(10 / 70)
    # points: IR 3 (black counts over EU and OFAC), SY 2 (EU over grey), SE 0
    assert found["p2_country_distinct_90d_count"] == 3
    assert found["p2_country_risk_weighted_90d_value"] == 5.0
    assert found["p2_country_risk_mean_90d_value"] == pytest.approx((30 * 3 + 60 * 2) / 100)
    assert found["p2_country_high_risk_amount_share_90d_ratio"] == pytest.approx(0.9)
    assert (found["p2_blacklist_1hop_90d_count"], found["p2_blacklist_2hop_90d_count"]) == (0, 1)
    assert found["p2_blacklist_2hop_share_90d_ratio"] == pytest.approx(0.9)
    assert found["p2_blacklist_2hop_flow_90d_ratio"] == pytest.approx(0.9 * 5 / 95)
    assert found["p2_blacklist_distance_90d_hops"] == 2
    assert found["p2_pagerank_relative_90d_factor"] == pytest.approx(4 * found["p2_pagerank_90d_ratio"])
    assert found["p2_clustering_90d_ratio"] == 0.0
    assert found["p2_cycle_length2_90d_count"] == 0


def test_a_cycle_among_clients_is_counted_for_each() -> None:
    transactions = frame([row("c", "d", 100.0, 9), row("d", "e", 90.0, 8), row("e", "c", 80.0, 7)])
    found = build(transactions, [(v, AS_OF) for v in "cde"])
    assert found["p2_cycle_length3_90d_count"].to_list() == [1, 1, 1]
    assert found["p2_cycle_retained_max_90d_ratio"].to_list() == pytest.approx([0.8] * 3)
    assert found["p2_chain_length_max_90d_count"].to_list() == [3, 3, 3]
    assert found["p2_triangle_90d_count"].to_list() == [1, 1, 1]
    assert found["p2_client_flow_share_90d_ratio"].to_list() == [1.0] * 3


def test_silence_is_zero_and_ignorance_is_null() -> None:
    quiet = one([row("c", "x", ago=200), row("d", "e")])
    assert quiet["p2_degree_in_90d_count"] == 0
    assert quiet["p2_strength_out_sum_90d_base"] == 0.0
    assert quiet["p2_first_seen_30d_count"] == 0
    for name in ("p2_pagerank_90d_ratio", "p2_counterparty_in_hhi_90d_ratio", "p2_country_distinct_90d_count"):
        assert quiet[name] is None

    blind = one([row("c", None, counterparty_country="DZ"), row("d", "e")])
    network = {c.name for c in p2.CONTRACT.features if not c.name.startswith("p2_country_")}
    assert {name for name in network if blind[name] is not None} == set()
    assert blind["p2_country_risk_weighted_90d_value"] == 1.0

    # a stranger to the data, and a client known only as somebody's counterparty
    assert one([row("d", "e")], client="zz")["p2_degree_in_90d_count"] == 0
    assert one([row("d", "e")], client="e")["p2_degree_in_90d_count"] == 1


def test_unlisted_country_codes_are_not_safe_ones() -> None:
    found = one([row("c", "x", counterparty_country="ZZ")])
    assert found["p2_country_distinct_90d_count"] == 1
    assert found["p2_country_risk_weighted_90d_value"] is None
    assert found["p2_country_high_risk_amount_share_90d_ratio"] is None


def test_without_a_blacklist_exposure_is_null() -> None:
    found = one([row("c", "x")], has_blacklist=False)
    assert {v for k, v in found.items() if k.startswith("p2_blacklist_")} == {None}
    assert one([row("c", "x")])["p2_blacklist_1hop_90d_count"] == 0


def test_jurisdictions_are_checked() -> None:
    with pytest.raises(ValueError, match="iso2 and flags"):
        p2.jurisdiction_points(pl.DataFrame({"iso2": ["SE"]}), CONFIG)
    with pytest.raises(ValueError, match="twice: SE"):
        p2.jurisdiction_points(pl.DataFrame({"iso2": ["SE", "SE"], "is_fatf_grey": [False, True]}), CONFIG)
    points = p2.jurisdiction_points(JURISDICTIONS, CONFIG)
    assert dict(points.select("iso2", "points").rows()) == {"IR": 3.0, "SE": 0.0, "SY": 2.0, "DZ": 1.0}


def test_an_empty_history_gives_a_row_per_pair() -> None:
    found = build(frame([]), [("c", AS_OF)])
    assert found.height == 1
    assert found["p2_degree_in_90d_count"].to_list() == [0]


# --- edges --------------------------------------------------------------------------------------------------------


def test_one_transaction() -> None:
    found = one([row("c", "x", 12.34)])
    assert (found["p2_degree_out_90d_count"], found["p2_degree_in_90d_count"]) == (1, 0)
    assert found["p2_strength_out_sum_90d_base"] == 12.34
    assert found["p2_counterparty_out_hhi_90d_ratio"] == 1.0
    assert found["p2_counterparty_in_hhi_90d_ratio"] is None
    assert found["p2_counterparty_out_std_90d_base"] is None
    assert found["p2_payment_out_skewness_90d_value"] is None
    assert found["p2_clustering_90d_ratio"] is None
    assert found["p2_fan_out_width_90d_count"] == 1
    assert found["p2_gather_scatter_width_90d_count"] == 0
    assert found["p2_chain_length_max_90d_count"] == 1
    assert [found[f"p2_cycle_length{k}_90d_count"] for k in range(2, 7)] == [0] * 5
    assert found["p2_pagerank_90d_ratio"] + one([row("c", "x", 12.34)], "x")["p2_pagerank_90d_ratio"] == pytest.approx(
        1
    )


def test_none_in_the_window() -> None:
    found = one([row("c", "x", 50.0, 90.5), row("d", "y", 1.0, 3)])
    for name in ("degree_in_90d_count", "degree_out_90d_count", "triangle_90d_count", "fan_in_width_90d_count"):
        assert found[f"p2_{name}"] == 0, name
    for name in ("pagerank_90d_ratio", "counterparty_out_hhi_90d_ratio", "first_seen_share_90d_ratio"):
        assert found[f"p2_{name}"] is None, name


def test_all_on_one_day_with_equal_amounts() -> None:
    found = one([row("c", f"x{i}", 100.0, 5) for i in range(4)] + [row("c", "x0", 100.0, 5, txn_id="again")])
    assert found["p2_degree_out_7d_count"] == 4
    assert found["p2_counterparty_out_hhi_90d_ratio"] == pytest.approx((4 + 1 + 1 + 1) / 25)
    assert found["p2_fan_out_width_90d_count"] == 4
    # equal amounts have no shape
    assert found["p2_payment_out_skewness_90d_value"] is None
    assert found["p2_payment_out_kurtosis_90d_value"] is None
    # all at one moment: nothing comes after anything
    both_ways = one([row("c", "d", 100.0, 5), row("d", "c", 100.0, 5)])
    assert both_ways["p2_reciprocal_share_90d_ratio"] == 1.0
    assert both_ways["p2_cycle_length2_90d_count"] == 0


def test_one_counterparty() -> None:
    found = one([row("c", "x", float(amount), ago) for ago, amount in enumerate((10, 20, 60), start=1)])
    assert found["p2_degree_out_90d_count"] == 1
    assert found["p2_counterparty_out_share_max_90d_ratio"] == 1.0
    assert found["p2_counterparty_out_mean_90d_base"] == 90.0
    assert found["p2_counterparty_out_std_90d_base"] is None
    # payments 10, 20, 60 around 30: deviations -20, -10, 30
    second, third, fourth = 1400 / 3, (-8000 - 1000 + 27000) / 3, (160_000 + 10_000 + 810_000) / 3
    assert found["p2_payment_out_skewness_90d_value"] == pytest.approx(third / second**1.5)
    assert found["p2_payment_out_kurtosis_90d_value"] == pytest.approx(fourth / second**2)
    assert found["p2_first_seen_share_30d_ratio"] == 1.0


def test_the_leap_day_is_a_day_like_any_other() -> None:
    # 90 days before Monday 27 May 2024 is 27 February: 29 February lies inside, and takes the place of 1 March
    monday = date(2024, 5, 27)
    inside = row("c", "x", 10.0) | {"txn_at": datetime(2024, 2, 29, 12), "known_date": date(2024, 2, 29)}
    edge = row("c", "y", 10.0) | {"txn_at": datetime(2024, 2, 27), "known_date": date(2024, 2, 27)}
    before = row("c", "z", 10.0) | {"txn_at": datetime(2024, 2, 26, 23, 59), "known_date": date(2024, 2, 26)}
    assert one([inside, edge, before], as_of=monday)["p2_degree_out_90d_count"] == 2
    # a cycle over the leap day lasts two days from 28 February to 1 March
    cycle = [
        row("c", "d", 10.0) | {"txn_at": datetime(2024, 2, 28), "known_date": date(2024, 2, 28)},
        row("d", "c", 10.0) | {"txn_at": datetime(2024, 3, 1), "known_date": date(2024, 3, 1)},
    ]
    assert one(cycle, as_of=monday)["p2_cycle_length2_90d_count"] == 1


def test_a_client_younger_than_the_window_is_measured_on_what_there_is() -> None:
    young = [row("c", "x", 10.0, 3), row("c", "y", 10.0, 2)]
    found = one([*young, row("old", "x", 5.0, 80)])
    assert found["p2_degree_out_90d_count"] == found["p2_degree_out_7d_count"] == 2
    assert found["p2_first_seen_share_90d_ratio"] == 1.0
    assert one(young, as_of=AS_OF - timedelta(weeks=1))["p2_degree_out_90d_count"] == 0


party = st.sampled_from([f"n{i}" for i in range(8)])
made_row = st.builds(
    lambda c, o, cents, ago, direction, country, listed, late: row(
        c,
        o,
        cents / 100,
        ago,
        direction=direction,
        counterparty_country=country,
        counterparty_listed_date=date(2024, 3, 1) if listed and o == "n2" else None,
        known_date=(datetime(2024, 4, 1) - timedelta(days=ago)).date() + timedelta(days=late),
    ),
    party,
    st.one_of(party, st.none()),
    st.integers(1, 100_000),
    st.integers(-20, 60),
    st.sampled_from(["inbound", "outbound"]),
    st.sampled_from([None, "SE", "IR", "DZ"]),
    st.booleans(),
    st.sampled_from([0, 0, 0, 12]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(made_row, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_nothing_at_or_after_the_as_of_date_matters(rows: list[dict], shuffled: object) -> None:
    pairs = [(f"n{i}", AS_OF) for i in range(8)]
    rows = [r | {"txn_id": f"t{i}"} for i, r in enumerate(rows)]
    visible = [r for r in rows if r["txn_at"] < datetime(2024, 4, 1) and r["known_date"] < AS_OF]
    # the future brings ids that sort before, between and after the known ones, as client and as counterparty
    future = [row(a, b, 7.0, -1, counterparty_country="AA") for a, b in (("a", "n1"), ("n11", "m"), ("z", "n3"))]
    shuffled.shuffle(rows)  # type: ignore[attr-defined]
    assert_frame_equal(build(frame(visible), pairs), build(frame(rows + future), pairs), check_exact=True)


@settings(max_examples=10, deadline=None)
@given(st.lists(made_row, min_size=1, max_size=40))
def test_a_batch_equals_single_weeks(rows: list[dict]) -> None:
    transactions = frame([r | {"txn_id": f"t{i}"} for i, r in enumerate(rows)])
    weeks = [AS_OF - timedelta(weeks=4), AS_OF, AS_OF + timedelta(weeks=1)]
    together = build(transactions, [(f"n{i}", week) for i in range(8) for week in weeks])
    for week in weeks:
        for client in ("n0", "n5"):
            alone = build(transactions, [(client, week)])
            same = together.filter((pl.col("client_id") == client) & (pl.col("as_of_date") == week))
            assert_frame_equal(alone, same, check_exact=True)


def test_values_are_within_their_declared_ranges() -> None:
    generated = [
        row(f"n{i * 7 % 11}", f"n{i * i % 11}", 10.0 + i % 5, 1 + i % 60, counterparty_country=["SE", "IR"][i % 2])
        for i in range(200)
    ]
    found = build(
        frame([r | {"txn_id": f"t{i}"} for i, r in enumerate(generated)]), [(f"n{i}", AS_OF) for i in range(11)]
    )
    for column in p2.CONTRACT.features:
        values = found[column.name].drop_nulls()
        if column.minimum is not None and len(values):
            assert values.min() >= column.minimum, column.name
        if column.maximum is not None and len(values):
            assert values.max() <= column.maximum, column.name
        assert column.is_nullable
        assert column.formula
