"""Monitoring: distances by hand, silence on equal weeks, alarm on a changed unit, and independence of the past."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import MonitoringConfig, Threshold
from ml_assets.evaluation import drift
from ml_assets.features import p1_volume_velocity, p2_network, p3_temporal, p4_typology, p5_profile, p6_scheme

CONFIG = MonitoringConfig()
MONDAY = date(2024, 9, 2)
PILLAR_MODULES = (p1_volume_velocity, p2_network, p3_temporal, p4_typology, p5_profile, p6_scheme)


def weeks_frame(weeks: int, clients: int, seed: int, start: date = MONDAY, factor: float = 1.0) -> pl.DataFrame:
    """Rows of two features: one dense and skewed, one mostly zero; ``factor`` multiplies every second client's."""
    rng = np.random.default_rng(seed)
    parts = []
    for week in range(weeks):
        dense = rng.lognormal(6, 1, clients)
        sparse = np.where(rng.random(clients) < 0.1, rng.lognormal(4, 1, clients), 0.0)
        dense[::2] *= factor
        sparse[::2] *= factor
        parts.append(
            pl.DataFrame(
                {
                    "client_id": [f"C{c:04d}" for c in range(clients)],
                    "as_of_date": [start + timedelta(days=7 * week)] * clients,
                    "p1_inflow_sum_30d_base": dense,
                    "p1_inflow_max_30d_base": sparse,
                }
            )
        )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def reference() -> tuple[pl.DataFrame, pl.DataFrame]:
    names = ["p1_inflow_sum_30d_base", "p1_inflow_max_30d_base"]
    return drift.freeze(weeks_frame(10, 400, seed=1), names, "m1", CONFIG)


def test_psi_by_hand() -> None:
    # (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5), counts so large that half a count is nothing
    expected = 0.3 * np.log(1.6) - 0.3 * np.log(0.4)
    assert drift.psi(np.array([5e8, 5e8]), np.array([8e8, 2e8])) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=2, max_size=12), st.lists(st.integers(0, 500), min_size=2, max_size=12))
def test_psi_is_never_negative_and_symmetric(left: list[int], right: list[int]) -> None:
    size = min(len(left), len(right))
    a, b = np.array(left[:size], float), np.array(right[:size], float)
    assert drift.psi(a, b) >= -1e-12
    assert drift.psi(a, b) == pytest.approx(drift.psi(b, a))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(3, 12))
def test_every_value_has_one_bin_and_counts_add_up(values: list[float], bins: int) -> None:
    array = np.array(values)
    edges = drift.bin_edges(array, bins)
    assert (np.diff(edges) > 0).all()
    frame = pl.DataFrame({"client_id": [str(n) for n in range(len(values))], "x": array})
    counts, levels = drift.freeze(frame, ["x"], "m", CONFIG)
    assert counts["rows_count"].sum() == len(values) == levels["rows_count"].item()


def test_equal_weeks_are_stable(reference: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    calm = drift.feature_drift(weeks_frame(12, 400, seed=2), *reference, "m1", CONFIG)
    assert calm.height == 24
    # at 99.9 % confidence a false alarm in 24 is possible, two are not
    assert (calm["status"] != "stable").sum() <= 1
    assert set(drift.family_drift(calm, CONFIG)["status"]) <= {"stable", "watch"}


def test_a_changed_unit_trips_features_and_family(reference: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    moved = drift.feature_drift(weeks_frame(1, 400, seed=3, factor=100.0), *reference, "m1", CONFIG)
    dense = moved.filter(pl.col("feature") == "p1_inflow_sum_30d_base")
    assert dense["status"].item() in ("drift", "gross")
    family = drift.family_drift(moved, CONFIG)
    assert family["family"].to_list() == ["p1 inflow"]
    assert family["drifted_count"].item() >= 1
    assert family["status"].item() in ("drift", "gross")
    assert family["worst_feature"].item() == "p1_inflow_sum_30d_base"


def payments(weeks: list[date], factor: float) -> pl.DataFrame:
    """Thousands of euro payments and nine dollar payments a week; ``factor`` on the dollars of the last week."""
    rng = np.random.default_rng(5)
    rows = []
    for week in weeks:
        for currency, count in (("EUR", 2000), ("USD", 9), ("JPY", 2)):
            amounts = rng.lognormal(6, 1.2, count) * (factor if currency == "USD" and week == weeks[-1] else 1.0)
            logs = np.log10(amounts)
            rows.append((week, currency, count, float(logs.mean()), float(logs.std())))
    return pl.DataFrame(rows, schema=["as_of_date", "currency", "txn_count", "mean_log10", "std_log10"], orient="row")


@pytest.mark.parametrize(("factor", "status"), [(1.0, "stable"), (100.0, "gross"), (0.01, "gross")])
def test_a_changed_unit_of_a_rare_currency_trips(factor: float, status: str) -> None:
    training = pl.DataFrame(
        [("EUR", 40_000, 2.6, 0.52), ("USD", 180, 2.6, 0.52), ("JPY", 40, 2.6, 0.52)],
        schema=["currency", "txn_count", "mean_log10", "std_log10"],
        orient="row",
    )
    weeks = [MONDAY, MONDAY + timedelta(days=7)]
    judged = drift.amount_drift(payments(weeks, factor), drift.amount_levels(training, "m1"), "m1", CONFIG)
    newest = {r["currency"]: r["status"] for r in judged.filter(pl.col("as_of_date") == weeks[-1]).to_dicts()}
    assert newest == {"EUR": "stable", "USD": status, "JPY": "not judged"}


def test_a_week_is_the_same_alone_and_among_many(reference: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    many = weeks_frame(6, 200, seed=4)
    last = many["as_of_date"].max()
    together = drift.feature_drift(many, *reference, "m1", CONFIG).filter(pl.col("as_of_date") == last)
    shuffled = many.filter(pl.col("as_of_date") == last).sample(fraction=1.0, shuffle=True, seed=9)
    assert together.equals(drift.feature_drift(shuffled, *reference, "m1", CONFIG))


def test_missing_values_trip_by_themselves(reference: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    frame = weeks_frame(1, 400, seed=6).with_columns(
        p1_inflow_sum_30d_base=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("p1_inflow_sum_30d_base")
    )
    found = drift.feature_drift(frame, *reference, "m1", CONFIG).filter(pl.col("feature") == "p1_inflow_sum_30d_base")
    assert found["null_ratio"].item() == pytest.approx(0.2)
    assert found["status"].item() == "drift"


def test_a_feature_that_is_null_everywhere_is_no_drift() -> None:
    frame = weeks_frame(1, 50, seed=7).with_columns(p1_inflow_sum_30d_base=pl.lit(None, pl.Float64))
    frozen = drift.freeze(frame, ["p1_inflow_sum_30d_base"], "m", CONFIG)
    found = drift.feature_drift(frame.drop("p1_inflow_max_30d_base"), *frozen, "m", CONFIG)
    assert found["psi_value"].null_count() == 1
    assert found["status"].item() == "stable"


def contribution_rows(week: date, p1: float, p2: float, clients: int) -> list[tuple[str, date, str, float]]:
    return [
        (f"C{c}", week, pillar, value)
        for c in range(clients)
        for pillar, value in (("p1_volume_velocity", p1), ("p2_network", p2), ("p4_typology", -1.0), ("base", -5.0))
    ]


def test_explanation_drift_by_hand() -> None:
    second = MONDAY + timedelta(days=7)
    rows = contribution_rows(MONDAY, 3.0, 1.0, 12) + contribution_rows(second, 0.0, 4.0, 12)
    contributions = pl.DataFrame(rows, schema=["client_id", "as_of_date", "pillar", "contribution"], orient="row")
    alerts = contributions.select("client_id", "as_of_date").unique()
    found = drift.explanation_drift(contributions, alerts, [MONDAY, second], CONFIG)
    assert found.height == 12
    first = found.filter(pl.col("as_of_date") == MONDAY)
    assert set(first["status"]) == {"not judged"}
    assert dict(zip(first["pillar"], first["share_ratio"], strict=True))["p1_volume_velocity"] == pytest.approx(0.75)
    newest = found.filter(pl.col("as_of_date") == second)
    # mixes (3/4, 1/4) and (0, 1): entropies with the middle (3/8, 5/8)
    middle = 0.5 * (0.75 * np.log2(2) + 0.25 * np.log2(0.25 / 0.625)) + 0.5 * np.log2(1 / 0.625)
    assert newest["distance_value"].unique().item() == pytest.approx(np.sqrt(middle))
    assert set(newest["status"]) == {"gross"}


def test_few_alerts_are_not_judged() -> None:
    second = MONDAY + timedelta(days=7)
    rows = contribution_rows(MONDAY, 3.0, 1.0, 3) + contribution_rows(second, 0.0, 4.0, 3)
    contributions = pl.DataFrame(rows, schema=["client_id", "as_of_date", "pillar", "contribution"], orient="row")
    alerts = contributions.select("client_id", "as_of_date").unique()
    found = drift.explanation_drift(contributions, alerts, [second], CONFIG)
    assert set(found["status"]) == {"not judged"}
    assert found["distance_value"].null_count() == 0


@pytest.mark.parametrize(("reported", "status"), [(8, "stable"), (3, "drift"), (0, "drift")])
def test_label_arrival_by_hand(reported: int, status: str) -> None:
    weeks = pl.DataFrame(
        {
            "as_of_date": [MONDAY],
            "reported_count": [0],
            "reported_known_count": [40],
            "late_count": [0],
            "delivery_delay_days": [None],
            "alert_lead_days": [12.0],
            "clients_count": [1000],
            "trailing_reported_count": [reported],
            "trailing_client_weeks_count": [8000],
        },
        schema_overrides={"delivery_delay_days": pl.Float64},
    )
    # one report per thousand client-weeks: eight were to be expected
    judged = drift.label_arrival(weeks, drift.label_levels(10_000, 10, 1000, "m"), "m", CONFIG)
    assert judged["arrival_ratio"].item() == pytest.approx(reported / 8)
    assert judged["status"].item() == status


def test_scores_are_compared_with_their_own_reference() -> None:
    rng = np.random.default_rng(8)
    base = pl.DataFrame(
        {
            "client_id": [f"C{c}" for c in range(500)],
            "as_of_date": [MONDAY] * 500,
            "bcrs": rng.beta(1, 50, 500) * 100,
            "p2_network": rng.random(500) * 100,
        }
    )
    frozen = drift.freeze(base, ["bcrs", "p2_network"], "m", CONFIG, prefix="score:")
    same = drift.score_drift(base, *frozen, "m", CONFIG)
    assert same["psi_value"].to_list() == pytest.approx([0.0, 0.0])
    assert same["mean_score"].to_list() == pytest.approx(same["reference_mean_score"].to_list())
    moved = drift.score_drift(base.with_columns(bcrs=(pl.col("bcrs") * 10).clip(0, 100)), *frozen, "m", CONFIG)
    assert dict(zip(moved["score"], moved["status"], strict=True)) == {"bcrs": "gross", "p2_network": "stable"}


def test_every_feature_has_a_declared_family() -> None:
    features = [c.name for m in PILLAR_MODULES for c in m.CONTRACT.features]
    declared = {f"{pillar} {group}" for pillar, groups in drift.MEASURE_GROUPS.items() for group in groups}
    strangers = {f: drift.family_of(f) for f in features if drift.family_of(f) not in declared}
    assert not strangers, "add the measure to MEASURE_GROUPS"
    assert {drift.family_of(f) for f in features} == declared
    assert len(features) > 250


def test_limits_say_why_and_since_when() -> None:
    limits = {name: value for name, value in CONFIG if isinstance(value, Threshold)}
    assert len(limits) >= 9
    for name, limit in limits.items():
        assert limit.unit, name
        assert len(limit.reason) > 10, name
        assert len(limit.source) > 10, name
        assert limit.decided.year >= 2026, name
