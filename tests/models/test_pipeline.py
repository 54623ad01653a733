import numpy as np
import polars as pl
import pytest
from modelling_world import SMALL, World, all_features, train

from ml_assets.config import FeatureConfig
from ml_assets.evaluation.final_test import evaluate_test_weeks
from ml_assets.explain.decomposition import pillar_contributions, tier2_parts
from ml_assets.explain.reasons import REASONS_CONTRACT, explain_alerts
from ml_assets.features.peers import normals as peer_normals
from ml_assets.features.peers import peer_groups
from ml_assets.models import pipeline
from ml_assets.models.aggregation import SCORES_CONTRACT, raw_scores, score_matrix
from ml_assets.models.baselines import score_flat
from ml_assets.models.memory import earlier_weeks
from ml_assets.models.names import SCHEME_PILLAR
from ml_assets.models.splits import plan_splits


@pytest.fixture(scope="module")
def world() -> World:
    return World(clients=200)


@pytest.fixture(scope="module")
def bundle(world):
    return train(world)


def auroc(world, bundle, labels):
    scored = pipeline.score_weeks(bundle, all_features(world))
    metrics = evaluate_test_weeks(
        scored.scores, {"flat_xgboost": score_flat(bundle.flat, world.features)}, labels, bundle.plan, "test", SMALL
    )
    return {r["model"]: r for r in metrics.filter(pl.col("metric") == "auroc").iter_rows(named=True)}


def test_the_chain_ranks_unseen_weeks(world, bundle):
    found = auroc(world, bundle, world.labels)
    assert found["bcrs"]["low"] > 0.6
    assert found["flat_xgboost"]["value"] > 0.6


def test_shuffled_labels_teach_nothing(world):
    """Labels handed to other clients: every interval must cover a coin's AUROC."""
    people = world.labels.select(pl.col("client_id").unique().sort())
    handed = people.with_columns(other=people["client_id"].sample(fraction=1, shuffle=True, seed=11))
    labels = (
        world.labels.rename({"client_id": "other"})
        .join(handed, on="other")
        .select(world.labels.columns)
        .sort("client_id", "as_of_date")
    )
    assert plan_splits(labels, world.calendar, world.config).is_supervised
    for model, row in auroc(world, train(world, labels), labels).items():
        assert row["low"] <= 0.5 <= row["high"], (model, row)


def test_two_runs_give_equal_bytes(world, bundle):
    again = train(World(clients=200))
    assert again.files() == bundle.files()
    first, second = (pipeline.score_weeks(b, all_features(world)) for b in (bundle, again))
    assert first.scores.equals(second.scores)
    assert first.tier2.equals(second.tier2)


def test_scores_follow_the_contract(world, bundle):
    scores = pipeline.score_weeks(bundle, all_features(world)).scores
    assert scores.columns == SCORES_CONTRACT.names
    assert scores.height == world.labels.height
    splits = dict(scores.select("as_of_date", "split").unique().iter_rows())
    assert {d for d, s in splits.items() if s == "test"} == set(bundle.plan.test_weeks)
    assert {d for d, s in splits.items() if s == "live"} == set(bundle.plan.live_weeks)
    per_week = scores.group_by("as_of_date").agg(pl.col("is_alert").sum())
    assert per_week["is_alert"].max() <= max(1, int(SMALL.alert_capacity_ratio * 200))


def test_one_week_alone_equals_the_week_in_the_batch(world, bundle):
    features = all_features(world)
    batch = pipeline.score_weeks(bundle, features).scores
    before, week = bundle.plan.test_weeks[0], bundle.plan.test_weeks[1]
    previous = batch.filter(pl.col("as_of_date") == before).select("client_id", "band")
    remembered = [*earlier_weeks([week], SMALL.memory_weeks), week]
    alone = pipeline.score_weeks(
        bundle,
        {
            p: f.filter(pl.col("as_of_date").is_in([week] if p == SCHEME_PILLAR else remembered))
            for p, f in features.items()
        },
        previous,
    )
    assert alone.scores.equals(batch.filter(pl.col("as_of_date") == week))
    assert all(set(f["as_of_date"]) == {week} for f in (alone.wide, alone.tier2, *alone.tier1.values()))


def test_a_week_after_the_plan_is_live(world, bundle):
    week = max(world.calendar.as_of_dates)
    moved = {
        p: f.filter(pl.col("as_of_date") == week).with_columns(pl.col("as_of_date").dt.offset_by("7d"))
        for p, f in all_features(world).items()
    }
    assert set(pipeline.score_weeks(bundle, moved).scores["split"]) == {"live"}


def test_widening_keeps_missing_pillars_null(world):
    frame = pl.DataFrame({"client_id": ["A"], "as_of_date": [world.plan.train_weeks[0]], "pillar_score": [40.0]})
    wide = pipeline.widen({"p3_temporal": frame})
    assert wide.columns == ["client_id", "as_of_date", *(f"s_p{i}_score" for i in range(1, 6))]
    assert wide.row(0)[2:] == (None, None, 40.0, None, None)
    with pytest.raises(ValueError, match="No pillar scores"):
        pipeline.widen({})


@pytest.mark.parametrize("strategy", ["linear", "bayesian", "boosting"])
def test_contributions_sum_to_the_score_when_tier_2_hands_on(world, bundle, strategy):
    features = all_features(world)
    scored = pipeline.score_weeks(bundle, features)
    narrow = scored.wide.drop("s_p6_score")
    design, _ = pipeline.tier2_inputs(
        narrow, world.indicators, bundle.config.models, features, bundle.tier2.raw_features
    )
    inside = tier2_parts(bundle.tier2, design)
    whole = pillar_contributions(bundle.aggregation, scored.wide, strategy)
    handed = pillar_contributions(bundle.aggregation, scored.wide, strategy, inside)
    sums = [
        f.group_by("client_id", "as_of_date", maintain_order=True).agg(pl.col("contribution").sum())
        for f in (whole, handed)
    ]
    np.testing.assert_allclose(sums[0]["contribution"], sums[1]["contribution"], atol=1e-9)
    raw = raw_scores(bundle.aggregation, score_matrix(scored.wide, bundle.aggregation.columns))[strategy]
    np.testing.assert_allclose(sums[1].sort("client_id", "as_of_date")["contribution"], raw, atol=1e-9)
    moved = not whole.equals(handed)
    assert moved == (strategy != "boosting")


def test_alerts_are_explained_from_what_scoring_has(world, bundle):
    features = all_features(world)
    scored = pipeline.score_weeks(bundle, features)
    alerts = scored.scores.filter(pl.col("is_alert"))
    groups = peer_groups(world.profiles, FeatureConfig())
    normals = pl.concat([peer_normals(f, world.profiles, groups) for f in features.values()])
    reasons = explain_alerts(bundle, alerts, scored.wide, features, {}, groups, normals)
    assert reasons.columns == REASONS_CONTRACT.names
    assert reasons.group_by("client_id", "as_of_date").len().height == alerts.height > 0
    assert reasons["reason_rank"].max() <= SMALL.reasons_per_alert
    # only pillars two and four, and tier 2 on top of them, know anything
    strongest = reasons.filter(pl.col("reason_rank") == 1)["pillar"]
    assert strongest.is_in(["p2_network", "p4_typology", "p6_scheme"]).mean() > 0.8
    assert explain_alerts(bundle, alerts.clear(), scored.wide, features, {}, groups, normals).is_empty()
