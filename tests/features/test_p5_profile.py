"""P5 on hand-computed clients, against scikit-learn, and under the point-in-time law."""

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
from scipy.stats import chi2
from sklearn.covariance import LedoitWolf

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import ContractError
from ml_assets.features import p5_profile as p5
from ml_assets.features.history import build_history, build_spine
from ml_assets.features.peers import MEMBERSHIPS
from ml_assets.segmentation.measures import CLIENT_MEASURES

D = date(2024, 3, 4)  # a Monday; the 90 days before it hold 29 February 2024
MIDNIGHT = datetime(2024, 3, 4)
CONFIG = FeatureConfig(peer_minimum_clients=5)
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
PROFILE: Row = {
    "industry": "retail",
    "occupation": None,
    "geography": "FR",
    "size_bucket": "small",
    "expected_turnover": Decimal("36500.00"),
    "account_age_days": 1000,
}
PROFILE_SCHEMA: dict[str, Any] = {
    "client_id": pl.String,
    "as_of_date": pl.Date,
    "industry": pl.String,
    "occupation": pl.String,
    "geography": pl.String,
    "size_bucket": pl.String,
    "expected_turnover": pl.Decimal(18, 2),
    "account_age_days": pl.Int32,
    "history_days": pl.Int32,
}


def txn(days_ago: float, amount: str, direction: str = "inbound", **other: Any) -> Row:
    at = MIDNIGHT - timedelta(days=days_ago)
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


def windows_of(rows: Sequence[Row], at: Sequence[tuple[str, date]]) -> pl.DataFrame:
    """What the warehouse's window table says of ``rows``, computed plainly."""
    out = []
    for client, day in at:
        row: Row = {"client_id": client, "as_of_date": day}
        for w in (30, 90):
            mine = [
                r
                for r in rows
                if r["client_id"] == client
                and day - timedelta(days=w) <= r["txn_at"].date() < day
                and r["known_date"] < day
            ]
            for name, direction in (("inflow", "inbound"), ("outflow", "outbound")):
                amounts = [r["amount_base"] for r in mine if r["direction"] == direction]
                row[f"{name}_count_{w}d"] = len(amounts)
                row[f"{name}_sum_{w}d_base"] = sum(amounts, Decimal("0.00"))
                row[f"{name}_max_{w}d_base"] = max(amounts, default=None)
            row[f"active_days_{w}d_count"] = len({r["txn_at"].date() for r in mine})
        out.append(row)
    money = [f"{d}_{m}_{w}d_base" for d in ("inflow", "outflow") for m in ("sum", "max") for w in (30, 90)]
    return pl.DataFrame(out, schema_overrides=dict.fromkeys(money, pl.Decimal(18, 2)))


def profiles_of(rows: Sequence[Row], at: Sequence[tuple[str, date]], of: dict[str, Row]) -> pl.DataFrame:
    out = []
    for client, day in at:
        days = [
            (day - r["txn_at"].date()).days
            for r in rows
            if r["client_id"] == client and r["txn_at"].date() < day and r["known_date"] < day
        ]
        entry = PROFILE | of.get(client, {})
        out.append({"client_id": client, "as_of_date": day, "history_days": max(days, default=None), **entry})
    return pl.DataFrame(out, schema=PROFILE_SCHEMA)


def built(
    rows: Sequence[Row],
    at: Sequence[tuple[str, date]] = (("A", D),),
    config: FeatureConfig = CONFIG,
    memberships: pl.DataFrame | None = None,
    **of: Row,
) -> pl.DataFrame:
    history = build_history(frame(rows))
    spine = build_spine(history, pl.DataFrame(list(at), schema=["client_id", "as_of_date"], orient="row"))
    frames = {"profiles": profiles_of(rows, at, of), "windows": windows_of(rows, at)}
    return p5.build(history, spine, config, **frames, memberships=memberships)


def one(rows: Sequence[Row], **profile: Any) -> Row:
    return built(rows, A=profile).row(0, named=True)


def test_contract_holds_at_least_eight_described_features_and_peer_deviation() -> None:
    assert len(p5.CONTRACT.features) >= 9
    assert "p5_peer_mahalanobis_90d_distance" in p5.CONTRACT.names
    for c in p5.CONTRACT.features:
        assert c.formula
        assert c.source


def test_other_windows_and_missing_columns_are_refused() -> None:
    with pytest.raises(ContractError, match="names its windows"):
        built([txn(1, "1.00")], config=FeatureConfig(fund_through_hours=(12, 72)))
    history = build_history(frame([txn(1, "1.00")]))
    spine = build_spine(history, pl.DataFrame({"client_id": ["A"], "as_of_date": [D]}))
    profiles = profiles_of([], [("A", D)], {}).drop("geography")
    with pytest.raises(ContractError, match="profiles lack the columns geography"):
        p5.build(history, spine, CONFIG, profiles=profiles, windows=windows_of([], [("A", D)]))


def test_turnover_over_declared_by_hand() -> None:
    rows = [txn(200, "1.00"), txn(60, "9000.00"), txn(10, "3000.00", channel="cash"), txn(9, "1800.00", "outbound")]
    row = one(rows)  # 36,500 a year is 100 a day
    assert row["p5_inflow_over_declared_90d_factor"] == pytest.approx(12000 / 90 / 100)
    assert row["p5_inflow_over_declared_30d_factor"] == pytest.approx(3000 / 30 / 100)
    assert row["p5_outflow_over_declared_90d_factor"] == pytest.approx(1800 / 90 / 100)
    assert row["p5_cash_inflow_over_declared_90d_factor"] == pytest.approx(3000 / 90 / 100)
    assert row["p5_largest_over_declared_90d_factor"] == pytest.approx(9000 / 36500)
    assert row["p5_income_discrepancy_90d_value"] == pytest.approx(math.log10((1 + 12000 * 365 / 90) / 36501))


@pytest.mark.parametrize(("first_day", "observed"), [(5, 30), (30, 30), (60, 60), (90, 90), (300, 90)])
def test_young_client_is_annualised_on_the_days_it_had(first_day: int, observed: int) -> None:
    rows = [txn(first_day, "0.01"), txn(3, "3000.00")]
    expected = (3000 + (0.01 if first_day <= 90 else 0)) * 365 / observed / 36500
    assert one(rows)["p5_inflow_over_declared_90d_factor"] == pytest.approx(expected)


@pytest.mark.parametrize("declared", [None, Decimal("0.00")])
def test_without_declared_turnover_only_its_features_are_null(declared: Decimal | None) -> None:
    row = one([txn(3, "30.00", channel="cash")], expected_turnover=declared)
    for c in p5.CONTRACT.features:
        if "expected_turnover" in c.requires:
            assert row[c.name] is None, c.name
    assert row["p5_turnover_per_age_90d_base"] is not None


def test_sector_mismatch_of_companies() -> None:
    rows = [
        txn(9, "60.00", counterparty_sector="retail"),
        txn(8, "40.00", counterparty_sector="casino"),
        txn(8, "500.00"),
        txn(7, "10.00", "outbound", counterparty_sector="casino"),
    ]
    row = one(rows)
    assert row["p5_sector_mismatch_inflow_90d_ratio"] == pytest.approx(0.4)
    assert row["p5_sector_mismatch_outflow_90d_ratio"] == 1.0
    assert one(rows, industry="household")["p5_sector_mismatch_inflow_90d_ratio"] is None
    assert one(rows, industry=None)["p5_sector_mismatch_inflow_90d_ratio"] is None
    assert one(rows, industry="legal")["p5_sector_mismatch_inflow_90d_ratio"] == 1.0  # no row is of its sector


def test_geography_of_flows() -> None:
    rows = [
        txn(9, "60.00", counterparty_country="FR"),
        txn(8, "30.00", counterparty_country="DE"),
        txn(8, "10.00", counterparty_country="AE"),
        txn(7, "10.00", "outbound", counterparty_country="FR"),
        txn(7, "500.00", "outbound"),
    ]
    row = one(rows)
    assert row["p5_foreign_inflow_share_90d_ratio"] == pytest.approx(0.4)
    assert row["p5_foreign_outflow_share_90d_ratio"] == 0.0
    assert row["p5_foreign_country_90d_count"] == 2
    nowhere = one(rows, geography=None)
    assert nowhere["p5_foreign_inflow_share_90d_ratio"] is None
    assert nowhere["p5_foreign_country_90d_count"] is None
    assert one(rows[4:])["p5_foreign_country_90d_count"] is None


def test_new_sectors_and_countries() -> None:
    rows = [
        txn(300, "5.00", counterparty_sector="retail", counterparty_country="FR"),
        txn(9, "75.00", counterparty_sector="retail", counterparty_country="AE"),
        txn(8, "25.00", counterparty_sector="casino", counterparty_country="FR"),
    ]
    row = one(rows)
    assert row["p5_new_sector_share_30d_ratio"] == pytest.approx(0.25)
    assert row["p5_new_country_share_30d_ratio"] == pytest.approx(0.75)
    assert one(rows[1:])["p5_new_sector_share_30d_ratio"] is None  # no year before to compare with


def test_salary_that_leaves_at_once() -> None:
    rows = [
        txn(70, "2000.00", counterparty_id="firm"),
        txn(40, "2100.00", counterparty_id="firm"),
        txn(39.5, "1100.00", "outbound"),  # 12 hours
        txn(38, "500.00", "outbound"),  # 48 hours
        txn(10, "2000.00", counterparty_id="firm"),
        txn(7, "900.00", "outbound"),  # exactly 72 hours
        txn(6, "900.00", "outbound"),  # too late
        txn(5, "3900.00", counterparty_id="aunt"),
    ]
    row = one(rows, industry="household")
    assert row["p5_salary_90d_count"] == 3
    assert row["p5_salary_share_90d_ratio"] == pytest.approx(6100 / 10000)
    assert row["p5_salary_left_24h_90d_ratio"] == pytest.approx(1100 / 6100)
    assert row["p5_salary_left_72h_90d_ratio"] == pytest.approx(2500 / 6100)
    assert one(rows)["p5_salary_90d_count"] is None  # a company


@pytest.mark.parametrize(
    ("gap", "second", "count"),
    [(25, "100.00", 2), (24, "100.00", 0), (35, "100.00", 2), (36, "100.00", 0), (30, "80.00", 2), (30, "79.99", 0)],
)
def test_salary_edges(gap: int, second: str, count: int) -> None:
    rows = [txn(5 + gap, "100.00", counterparty_id="firm"), txn(5, second, counterparty_id="firm")]
    row = one(rows, industry="household")
    assert row["p5_salary_90d_count"] == count
    assert (row["p5_salary_left_24h_90d_ratio"] is None) is (count == 0)


def test_salary_needs_the_same_payer_who_pays_rarely() -> None:
    rows = [txn(35, "100.00", counterparty_id="x"), txn(5, "100.00", counterparty_id="y")]
    assert one(rows, industry="household")["p5_salary_90d_count"] == 0
    weekly = [txn(5 + 6 * k, "100.00", counterparty_id="x") for k in range(13)]
    assert one(weekly, industry="household")["p5_salary_90d_count"] == 0
    assert one([txn(5, "100.00")], industry="household")["p5_salary_90d_count"] is None


def test_salary_over_the_leap_day() -> None:
    rows = [
        txn(0, "9.00", counterparty_id="x", txn_at=datetime(2024, m, 1), known_date=date(2024, m, 1)) for m in (2, 3)
    ]
    assert one(rows, industry="household")["p5_salary_90d_count"] == 2  # 29 days apart


def test_dormancy_and_silence() -> None:
    rows = [txn(200, "5.00"), txn(20, "5.00"), txn(12.5, "5.00")]
    row = one(rows)
    assert row["p5_dormancy_364d_days"] == 13  # the day of D - 12.5 days
    assert row["p5_silence_before_30d_days"] == 180
    assert one([txn(1, "5.00")])["p5_dormancy_364d_days"] == 1
    assert one([txn(1, "5.00")])["p5_silence_before_30d_days"] is None
    asleep = one([txn(390, "5.00")])
    assert asleep["p5_dormancy_364d_days"] == 364
    assert asleep["p5_silence_before_30d_days"] is None
    woken = one([txn(390, "5.00"), txn(3, "5.00")])
    assert woken["p5_silence_before_30d_days"] == 364
    assert one([])["p5_dormancy_364d_days"] is None


@pytest.mark.parametrize(("age", "factor"), [(179, 0.3), (180, 0.0), (0, 0.3)])
def test_new_account(age: int, factor: float) -> None:
    rows = [txn(3, "2000.00"), txn(2, "1000.00", "outbound"), txn(60, "600.00")]
    row = one(rows, account_age_days=age)
    assert row["p5_new_account_volume_30d_factor"] == pytest.approx(factor)
    assert row["p5_turnover_per_age_90d_base"] == pytest.approx(3600 / max(age, 1))


def test_unknown_age_is_null() -> None:
    row = one([txn(3, "2000.00")], account_age_days=None)
    assert row["p5_new_account_volume_30d_factor"] is None
    assert row["p5_turnover_per_age_90d_base"] is None


@pytest.mark.parametrize(("occupation", "value"), [("student", 500.0), ("employed", 0.0), (None, None)])
def test_inflow_without_income(occupation: str | None, value: float | None) -> None:
    assert one([txn(3, "500.00")], occupation=occupation)["p5_no_income_inflow_90d_base"] == value


def test_single_client_has_no_peers() -> None:
    row = one([txn(3, "500.00", channel="cash")], occupation="student")
    for name in p5.CONTRACT.names:
        if "peer" in name or name.endswith("zscore"):
            assert row[name] is None, name


NAMES = [f"c{k}" for k in range(12)]


def crowd(extra: str = "100.00") -> list[Row]:
    """Twelve clients with a few payments each; c0's inflow is ``extra``."""
    rows: list[Row] = []
    for k, name in enumerate(NAMES):
        amount = extra if k == 0 else f"{90 + 7 * k}.50"
        rows.append(txn(20 + k % 4, amount, client_id=name, channel="cash" if k % 3 == 0 else "card"))
        rows.append(txn(10 + k % 5, f"{40 + (5 * k) % 11}.00", "outbound", client_id=name, channel="card"))
        if k % 2:
            rows.append(txn(2, f"{5 + k}.00", client_id=name, channel="card"))
    return rows


def test_distance_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    peers = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4)) + 5
    clients = np.vstack([peers[:7], peers[:2] + 30])
    got, freedom = p5.mahalanobis(peers, clients)
    center = np.median(peers, axis=0)
    scale = 1.4826 * np.median(np.abs(peers - center), axis=0)
    oracle = LedoitWolf(assume_centered=True).fit(np.clip((peers - center) / scale, -6, 6))
    z = (clients - center) / scale
    assert freedom == 4
    np.testing.assert_allclose(got**2, oracle.mahalanobis(z), rtol=1e-9)


def test_distance_leaves_out_measures_that_do_not_vary() -> None:
    peers = np.column_stack([np.arange(9.0), np.full(9, 3.0)])
    got, freedom = p5.mahalanobis(peers, np.array([[4.0, 3.0], [8.0, 99.0]]))
    assert freedom == 1
    assert got[0] == 0.0
    # MAD of 0..8 is 2; z-scores (k - 4) / 2.9652; mean square 60/9 / 2.9652**2; one measure is not shrunk
    assert got[1] == pytest.approx((4 / 2.9652) / math.sqrt(60 / 9 / 2.9652**2))
    nothing, none = p5.mahalanobis(np.full((5, 2), 1.0), np.full((1, 2), 7.0))
    assert none == 0
    assert nothing.tolist() == [0.0]


def test_distance_uses_the_deviation_where_half_of_the_peers_are_alike() -> None:
    peers = np.array([[0.0], [0.0], [0.0], [0.0], [5.0]])
    got, _ = p5.mahalanobis(peers, peers)
    assert got[0] == 0.0
    assert got[4] == pytest.approx(math.sqrt(5))  # the root mean square is sqrt(5): z = sqrt(5), variance 1


def test_outlier_is_far_and_its_peers_stay_near() -> None:
    at = [(name, D) for name in NAMES]
    calm = built(crowd(), at).select("p5_peer_mahalanobis_90d_distance").to_series()
    loud = built(crowd("2000000.00"), at)
    distance = loud["p5_peer_mahalanobis_90d_distance"]
    assert distance[0] == distance.max()
    assert distance[0] > 3 * calm[0]
    tail = loud["p5_peer_tail_90d_statistic"]
    varies = [6]
    expected = [-math.log10(chi2.sf(d**2, varies[0])) for d in distance.to_list()[1:]]
    assert tail.to_list()[1:] == pytest.approx(expected)
    assert tail[0] > 3


def test_client_without_transactions_is_no_peer() -> None:
    at = [(name, D) for name in [*NAMES, "silent"]]
    out = built(crowd(), at)
    silent = out.filter(pl.col("client_id") == "silent").row(0, named=True)
    assert silent["p5_peer_mahalanobis_90d_distance"] is None
    assert silent["p5_size_volume_90d_zscore"] is None
    assert silent["p5_inflow_over_declared_90d_factor"] == 0.0
    assert_frame_equal(out.filter(pl.col("client_id") != "silent"), built(crowd(), at[:-1]), check_exact=True)


def test_small_groups_fall_back_to_wider_ones() -> None:
    at = [(name, D) for name in NAMES]
    of: dict[str, Row] = {name: {"industry": "legal"} for name in NAMES[:4]}
    legal = built(crowd(), at, **of).filter(pl.col("client_id").is_in(NAMES[:4]))
    everyone = built(crowd(), at).filter(pl.col("client_id").is_in(NAMES[:4]))
    columns = ["p5_peer_mahalanobis_90d_distance", "p5_peer_turnover_90d_zscore", "p5_cash_over_peers_90d_index"]
    assert_frame_equal(legal.select(columns), everyone.select(columns), check_exact=True)
    five = built(crowd(), at, **of, c4={"industry": "legal"}).filter(pl.col("client_id").is_in(NAMES[:4]))
    assert five["p5_peer_mahalanobis_90d_distance"].to_list() != legal["p5_peer_mahalanobis_90d_distance"].to_list()


def test_zscores_and_cash_share_against_peers_by_hand() -> None:
    amounts = [9, 99, 999, 9999, 99999]  # log10(1 + x) = 1..5: median 3, quartiles 2 and 4
    rows = [txn(5, f"{a}.00", client_id=f"c{k}", channel="cash" if k < 2 else "card") for k, a in enumerate(amounts)]
    at = [(f"c{k}", D) for k in range(5)]
    of: dict[str, Row] = {f"c{k}": {"occupation": "student"} for k in range(4)}
    out = built(rows, at, **of)
    z = [(k - 3) / (2 / 1.349) for k in range(1, 6)]
    assert out["p5_size_volume_90d_zscore"].to_list() == pytest.approx(z)
    assert out["p5_peer_turnover_90d_zscore"].to_list() == pytest.approx(z)
    occupation = out["p5_occupation_volume_90d_zscore"].to_list()
    assert occupation[:4] == pytest.approx(z[:4])  # four students are too few: all clients
    assert occupation[4] is None
    assert out["p5_cash_over_peers_90d_index"].to_list() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_empty_profile_makes_only_dependent_features_null() -> None:
    at = [(name, D) for name in NAMES]
    nothing = dict.fromkeys(PROFILE)
    full = built(crowd(), at)
    bare = built(crowd(), at, **{name: nothing for name in NAMES})
    dependent = {"industry", "geography", "expected_turnover", "onboarding_date", "occupation", "size_bucket"}
    for c in p5.CONTRACT.features:
        if dependent & set(c.requires):
            assert bare[c.name].null_count() == len(NAMES), c.name
    independent = ["p5_dormancy_364d_days", "p5_peer_mahalanobis_90d_distance", "p5_cash_over_peers_90d_index"]
    assert_frame_equal(full.select(independent), bare.select(independent), check_exact=True)


def test_no_transactions_and_empty_spine() -> None:
    assert built([]).height == 1
    history = build_history(frame([]))
    spine = build_spine(history, pl.DataFrame(schema={"client_id": pl.String, "as_of_date": pl.Date}))
    some = profiles_of([], [("A", D)], {}).clear(), windows_of([], [("A", D)]).clear()
    assert p5.build(history, spine, CONFIG, profiles=some[0], windows=some[1]).height == 0


payments = st.lists(
    st.builds(
        lambda client, hours, late, amount, direction, other, country, sector, channel: txn(
            hours / 24,
            amount,
            direction,
            client_id=client,
            known_date=(MIDNIGHT - timedelta(hours=hours)).date() + timedelta(days=late),
            counterparty_id=other,
            counterparty_country=country,
            counterparty_sector=sector,
            channel=channel,
        ),
        st.sampled_from([f"c{k}" for k in range(7)]),
        st.integers(-30 * 24, 120 * 24) | st.sampled_from([100, 100 + 30 * 24, 90]),
        st.sampled_from([0, 0, 0, 1, 9, 40]),
        st.sampled_from(["1.00", "950.00", "1000.00", "10000.00", "77.70"]),
        st.sampled_from(["inbound", "outbound"]),
        st.sampled_from([None, "m", "n"]),
        st.sampled_from([None, "FR", "DE"]),
        st.sampled_from([None, "retail", "casino"]),
        st.sampled_from([None, "cash", "wire"]),
    ),
    min_size=5,
    max_size=40,
)
OF: dict[str, Row] = {
    **{f"c{k}": {"industry": "household", "occupation": "student"} for k in range(3)},
    "c6": dict.fromkeys(PROFILE),
}
CLIENTS = [f"c{k}" for k in range(7)]
WEEKS = [D - timedelta(weeks=k) for k in (3, 1, 0)]


@settings(deadline=None, max_examples=30)
@given(payments)
def test_the_future_changes_nothing(rows: list[Row]) -> None:
    at = [(c, D) for c in CLIENTS]
    past = [r for r in rows if r["txn_at"] < MIDNIGHT and r["known_date"] < D]
    assert_frame_equal(built(rows, at, **OF), built(past, at, **OF), check_exact=True)


@settings(deadline=None, max_examples=25)
@given(payments)
def test_many_weeks_equal_each_week_alone(rows: list[Row]) -> None:
    batch = built(rows, [(c, d) for c in CLIENTS for d in WEEKS], **OF)
    for week in WEEKS:
        alone = built(rows, [(c, week) for c in CLIENTS], **OF)
        assert_frame_equal(batch.filter(pl.col("as_of_date") == week), alone, check_exact=True)


@settings(deadline=None, max_examples=25)
@given(payments)
def test_features_stay_in_their_ranges(rows: list[Row]) -> None:
    out = built(rows, [(c, d) for c in CLIENTS for d in WEEKS], **OF)
    for c in p5.CONTRACT.features:
        values = out[c.name].drop_nulls()
        assert c.is_nullable, c.name
        assert c.minimum is None or (values >= c.minimum - 1e-12).all(), c.name
        assert c.maximum is None or (values <= c.maximum + 1e-12).all(), c.name


# --- edges: one transaction, all on one day, equal amounts, one counterparty ----------------------------------


def test_one_transaction() -> None:
    row = one([txn(3, "500.00", counterparty_id="x", counterparty_country="DE", counterparty_sector="retail")])
    # three days of history count as minimum_observed_days
    assert row["p5_inflow_over_declared_90d_factor"] == pytest.approx(500 * 365 / 30 / 36_500)
    assert row["p5_largest_over_declared_90d_factor"] == pytest.approx(500 / 36_500)
    assert row["p5_dormancy_364d_days"] == 3
    assert row["p5_silence_before_30d_days"] is None  # nothing ever came before it
    assert row["p5_new_country_share_30d_ratio"] is None  # no year to compare with
    assert row["p5_foreign_inflow_share_90d_ratio"] == 1.0
    assert row["p5_foreign_outflow_share_90d_ratio"] is None
    assert row["p5_salary_90d_count"] is None  # a company has no salary
    assert one([txn(3, "500.00", counterparty_id="x")], industry="household")["p5_salary_90d_count"] == 0


def test_everything_on_one_day() -> None:
    rows = [txn(2 + k / 10, "100.00", counterparty_country=c) for k, c in enumerate(("FR", "DE", "DE", "IT"))]
    row = one([*rows, txn(2, "50.00", "outbound", counterparty_country="FR")])
    assert row["p5_foreign_inflow_share_90d_ratio"] == 0.75
    assert row["p5_foreign_country_90d_count"] == 2
    assert row["p5_dormancy_364d_days"] == 2
    assert row["p5_turnover_per_age_90d_base"] == pytest.approx(450 / 1000)


def test_one_counterparty_that_pays_every_month_is_an_employer() -> None:
    rows = [txn(d, "2000.00", counterparty_id="x", counterparty_sector="retail") for d in (80, 50, 20)]
    row = one(rows, industry="household")
    assert row["p5_salary_90d_count"] == 3
    assert row["p5_salary_share_90d_ratio"] == 1.0
    assert row["p5_new_sector_share_30d_ratio"] == 0.0


def test_peers_that_are_all_alike_have_no_spread_to_measure_by() -> None:
    rows = [txn(5, "100.00", client_id=name, channel="card") for name in NAMES]
    out = built(rows, [(name, D) for name in NAMES])
    assert out["p5_peer_mahalanobis_90d_distance"].to_list() == [0.0] * len(NAMES)
    assert out["p5_peer_tail_90d_statistic"].to_list() == [0.0] * len(NAMES)
    assert out["p5_size_volume_90d_zscore"].null_count() == len(NAMES)
    assert out["p5_cash_over_peers_90d_index"].to_list() == [0.0] * len(NAMES)


def test_falls_back_to_the_industry_before_the_size() -> None:
    rows = [txn(5, f"{100 + 10 * k}.00", client_id=n, channel="cash" if k < 3 else "card") for k, n in enumerate(NAMES)]
    # three small and three large retailers: neither is a group of five, but the trade is; six small law firms
    of = {n: {"industry": "retail" if k < 6 else "legal", "size_bucket": "small" if k % 2 or k >= 6 else "large"}
          for k, n in enumerate(NAMES)}  # fmt: skip
    out = built(rows, [(n, D) for n in NAMES], **of)
    # half of the six retailers take cash only: the median share is 0.5; with the small ones it would be 0
    cash = dict(out.select("client_id", "p5_cash_over_peers_90d_index").iter_rows())
    assert (cash["c0"], cash["c3"], cash["c6"]) == (0.5, -0.5, 0.0)


# --- peers by segment -----------------------------------------------------------------------------------------

BY_SEGMENT = FeatureConfig(peer_minimum_clients=5, peers_by_segment=True)
PEER_COLUMNS = {
    "p5_peer_mahalanobis_90d_distance",
    "p5_peer_tail_90d_statistic",
    "p5_peer_turnover_90d_zscore",
    "p5_cash_over_peers_90d_index",
}


def in_segments(of: dict[str, str], week: date, fit: date) -> pl.DataFrame:
    rows = [(client, week, fit, segment) for client, segment in of.items()]
    return pl.DataFrame(rows, schema=MEMBERSHIPS, orient="row")


def test_peers_of_the_segment_by_hand() -> None:
    # five of one segment: log10(1 + x) = 1..5, median 3, quartiles 2 and 4; the other five move little, all in cash
    amounts = [9, 99, 999, 9999, 99999, 1, 2, 3, 4, 5]
    cash = ["cash", "cash", "card", "card", "card", *["cash"] * 5]
    rows = [txn(5, f"{a}.00", client_id=f"c{k}", channel=cash[k]) for k, a in enumerate(amounts)]
    at = [(f"c{k}", D) for k in range(10)]
    before = D - timedelta(weeks=1)
    known = in_segments({f"c{k}": "S01" if k < 5 else "S02" for k in range(9)}, before, before)
    out = built(rows, at, BY_SEGMENT, known)
    assert out["p5_peer_turnover_90d_zscore"].to_list()[:5] == pytest.approx(
        [(k - 3) / (2 / 1.349) for k in range(1, 6)]
    )
    # four of S02 and one of none fall back to all ten retailers, of whom seven take cash only
    assert out["p5_cash_over_peers_90d_index"].to_list() == [1.0, 1.0, 0.0, 0.0, 0.0, *[0.0] * 5]
    off = built(rows, at)
    assert off["p5_cash_over_peers_90d_index"].to_list() == [0.0, 0.0, -1.0, -1.0, -1.0, *[0.0] * 5]
    assert_frame_equal(out.tail(5), off.tail(5), check_exact=True)


def test_segments_move_the_peer_features_alone_and_none_of_these_forms_segments() -> None:
    at = [(name, D) for name in NAMES]
    before = D - timedelta(weeks=1)
    known = in_segments(
        {name: "S01" if k % 3 == 0 or k == 1 else "S02" for k, name in enumerate(NAMES)}, before, before
    )
    off, on = built(crowd(), at), built(crowd(), at, BY_SEGMENT, known)
    assert {c for c in p5.CONTRACT.names if not off[c].equals(on[c])} == PEER_COLUMNS
    # or segments found on top of peers by segment would be others every time
    assert not PEER_COLUMNS & {m.column for m in CLIENT_MEASURES}
    assert_frame_equal(built(crowd(), at, CONFIG, known), off, check_exact=True)
    assert_frame_equal(built(crowd(), at, BY_SEGMENT), off, check_exact=True)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(-3, 2), st.integers(-4, 3), st.sampled_from(["S01", "S02"])),
        unique_by=lambda row: row[:2],
        max_size=40,
    )
)
def test_memberships_of_the_week_and_of_later_fits_change_nothing(rows: list[tuple[str, int, int, str]]) -> None:
    week = timedelta(weeks=1)
    at = [(name, D) for name in NAMES]
    dated = [(c, D + k * week, D + fit * week, s) for c, k, fit, s in rows]
    known, allowed = (
        pl.DataFrame(some, schema=MEMBERSHIPS, orient="row")
        for some in (dated, [r for r in dated if r[1] < D and r[2] <= r[1]])
    )
    assert_frame_equal(built(crowd(), at, BY_SEGMENT, known), built(crowd(), at, BY_SEGMENT, allowed), check_exact=True)
