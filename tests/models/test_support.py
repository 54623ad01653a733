from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from modelling_world import World, all_features, train

from ml_assets.config import GovernanceConfig
from ml_assets.models.registry import load_bundle, save_bundle
from ml_assets.models.splits import SplitPlan
from ml_assets.models.support import (
    INPUT_SUPPORT,
    Range,
    Support,
    fit_support,
    is_outside,
    judge_week,
    learned_until,
    measure_week,
    support_weeks,
)

CONFIG = GovernanceConfig()
DAY = date(2024, 6, 3)


def rows(**columns: list[float | None]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    return pl.DataFrame(
        {"client_id": [f"C{i:03d}" for i in range(n)], "as_of_date": [DAY] * n, **columns}, strict=False
    )


def plan(train_weeks: list[date], validation: list[date]) -> SplitPlan:
    return SplitPlan(
        train_weeks=tuple(train_weeks),
        embargo_weeks=(),
        validation_weeks=tuple(validation),
        test_weeks=(),
        live_weeks=(),
        horizon_days=28,
        embargo_days=28,
        rows={},
        positives={},
        is_supervised=True,
    )


def test_ranges_are_outer_quantiles_of_training() -> None:
    frame = rows(a=[float(i) for i in range(1001)], b=[None, *[5.0] * 1000], c=[None] * 1001)
    ranges = fit_support(frame, ["a", "b", "c", "a_score_of_another_model"], CONFIG)
    # 0.1 % of 1001 values cut off at either end
    assert ranges == {"a": Range(1.0, 999.0, False), "b": Range(5.0, 5.0, True), "c": Range(None, None, True)}


@pytest.mark.parametrize(
    ("value", "outside"),
    [(-5.0, False), (-5.1, True), (15.0, False), (15.1, True), (np.nan, True)],
)
def test_half_the_width_beyond_either_end_is_still_inside(value: float, outside: bool) -> None:
    assert is_outside(np.array([value]), Range(0.0, 10.0, False), 0.5).tolist() == [outside]


def test_null_is_outside_only_where_training_never_had_it() -> None:
    assert not is_outside(np.array([np.nan]), Range(0.0, 1.0, True), 0.5)[0]
    assert not is_outside(np.array([np.nan, 7.0]), Range(None, None, True), 0.5).any()


def test_a_week_is_counted_by_values_and_by_clients() -> None:
    support = Support(
        {
            "p1_volume_velocity": {"a": Range(0.0, 1.0, False), "b": Range(0.0, 1.0, False)},
            "p2_network": {"c": Range(0.0, 1.0, True), "d": Range(0.0, 1.0, False)},
        }
    )
    features = {
        "p1_volume_velocity": rows(a=[0.5, 9.0, 0.5, 0.5], b=[0.5, 9.0, None, 0.5]),
        "p2_network": rows(c=[0.5, 9.0, None, 0.5], d=[0.5, 0.5, 0.5, 0.5]),
    }
    # the second client has three values outside and is the one left away, the third has one
    week = measure_week(support, features, DAY, CONFIG.model_copy(update={"support_minimum_clients": 1}))
    assert week == {
        "as_of_date": DAY,
        "values_count": 16,
        "outside_ratio": 1 / 16,
        "missing_ratio": 1 / 16,
        "clients_outside_ratio": 2 / 4,
        "clients_outside_count": 2,
        "clients_touched_count": 2,
        "worst_feature": "b",
        "worst_feature_ratio": 2 / 4,
    }
    assert INPUT_SUPPORT.conform(pl.DataFrame([judge_week(week, plan([DAY], []), "m", CONFIG)])).height == 1


def test_other_clients_in_another_pillar_are_an_error() -> None:
    support = Support({p: {"a": Range(0.0, 1.0, False)} for p in ("p1_volume_velocity", "p2_network")})
    features = {"p1_volume_velocity": rows(a=[0.1, 0.2]), "p2_network": rows(a=[0.1])}
    with pytest.raises(ValueError, match="other clients"):
        measure_week(support, features, DAY, CONFIG)


def week_of(values: float, clients: float, as_of: date = DAY, count: int = 500) -> dict[str, object]:
    return {
        "as_of_date": as_of,
        "values_count": 1000,
        "outside_ratio": values,
        "missing_ratio": 0.0,
        "clients_outside_ratio": clients,
        "clients_outside_count": count,
        "clients_touched_count": count,
        "worst_feature": "p1_outflow_sum_30d_base",
        "worst_feature_ratio": 0.1,
    }


@pytest.mark.parametrize(
    ("values", "clients", "says"),
    [(0.005, 0.015, None), (0.0051, 0.0, "of the values"), (0.0, 0.016, "of the clients")],
)
def test_limits_are_inclusive_and_reasons_say_what_to_do(values: float, clients: float, says: str | None) -> None:
    problems = judge_week(week_of(values, clients), plan([DAY], []), "m1", CONFIG)["problems"]
    if says is None:
        assert problems is None
    else:
        assert says in str(problems)
        assert "p1_outflow_sum_30d_base" in str(problems)
        assert "look at the newest delivery" in str(problems)


def test_a_handful_of_odd_clients_is_no_broken_feed() -> None:
    few = CONFIG.support_minimum_clients - 1
    assert judge_week(week_of(0.0, 0.5, count=few), plan([DAY], []), "m1", CONFIG)["problems"] is None
    assert judge_week(week_of(0.0, 0.5, count=few + 1), plan([DAY], []), "m1", CONFIG)["problems"] is not None
    support = Support({"p1_volume_velocity": {"a": Range(0.0, 1.0, False)}})
    handful = [9.0] * CONFIG.support_minimum_clients
    for outside, share in ((handful, 0.0), ([*handful, 9.0], 1 / 100)):
        features = {"p1_volume_velocity": rows(a=[*outside, *[0.5] * (100 - len(outside))])}
        assert measure_week(support, features, DAY, CONFIG)["outside_ratio"] == share


def test_age_counts_from_the_last_labels_learned_from() -> None:
    learned = plan([DAY], [DAY + timedelta(days=56)])
    assert learned_until(learned) == DAY + timedelta(days=56)
    last = DAY + timedelta(days=56 + CONFIG.model_age_days)
    assert judge_week(week_of(0, 0, last), learned, "m1", CONFIG)["problems"] is None
    older = judge_week(week_of(0, 0, last + timedelta(days=1)), learned, "m1", CONFIG)
    assert older["model_age_days"] == CONFIG.model_age_days + 1
    assert "too old" in str(older["problems"])
    assert "Retrain" in str(older["problems"])
    assert judge_week(week_of(0, 0), plan([], []), "m1", CONFIG)["model_age_days"] is None


def test_weeks_of_the_support_are_spread_with_both_ends() -> None:
    weeks = [DAY + timedelta(days=7 * i) for i in range(20)]
    chosen = support_weeks(plan(weeks, []), CONFIG)
    assert len(chosen) == CONFIG.support_weeks
    assert (chosen[0], chosen[-1]) == (weeks[0], weeks[-1])
    assert support_weeks(plan(weeks[:2], []), CONFIG) == weeks[:2]
    assert support_weeks(plan([], []), CONFIG) == []


def test_the_support_is_saved_with_the_model(tmp_path) -> None:
    from dataclasses import replace

    world = World(clients=40, weeks=40)
    bundle = train(world, model_id="")
    features = all_features(world)
    chosen = support_weeks(bundle.plan, CONFIG)
    ranges = {
        p: fit_support(features[p].filter(pl.col("as_of_date").is_in(chosen)), m.features, CONFIG)
        for p, m in bundle.tier1.items()
    }
    saved = replace(bundle, support=Support(ranges))
    loaded = load_bundle(tmp_path, save_bundle(tmp_path, saved))
    assert loaded.support == saved.support
    assert load_bundle(tmp_path, save_bundle(tmp_path, bundle)).support is None
    newest = features["p1_volume_velocity"]["as_of_date"].max()
    assert measure_week(loaded.support, features, newest, CONFIG)["outside_ratio"] < CONFIG.support_values_ratio
    # the unit of one pillar changes for three clients in ten
    changed = features["p2_network"].with_columns(
        pl.when(pl.col("client_id").str.contains("[789]$"))
        .then(pl.selectors.float() * 100)
        .otherwise(pl.selectors.float())
        .name.keep()
    )
    week = measure_week(loaded.support, {**features, "p2_network": changed}, newest, CONFIG)
    assert judge_week(week, bundle.plan, "m", CONFIG)["problems"] is not None
