from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from modelling_world import SMALL, World, all_features

from ml_assets.config import EvaluationConfig
from ml_assets.models import ablation
from ml_assets.models.names import SCORE_OF
from ml_assets.models.splits import eligible_labels

EFFORT = EvaluationConfig(
    refit_clients=60, refit_trees=12, learning_points=2, label_delay_days=(30,), label_noise_ratios=(0.2,)
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def labels(world: World) -> pl.DataFrame:
    """Labels with the date of the next STR: at the end of its horizon, which is late enough to be delayed."""
    horizon = world.plan.horizon_days
    return world.labels.with_columns(
        next_str_date=pl.when(pl.col("is_str_within_horizon")).then(
            pl.col("as_of_date") + pl.lit(timedelta(days=horizon - 1))
        )
    )


@pytest.fixture(scope="module")
def scores(world: World, labels: pl.DataFrame) -> pl.DataFrame:
    rng = np.random.default_rng(2)
    known = labels.select("client_id", "as_of_date", up=pl.col("is_str_within_horizon").cast(pl.Float64) * 25)
    noise = {c: pl.Series(50 + rng.normal(0, 8, known.height)) for c in SCORE_OF.values()}
    # S_P1 knows the label, the others are noise
    columns = [(noise[c] + (known["up"] if c == "s_p1_score" else 0)).clip(0, 100).alias(c) for c in SCORE_OF.values()]
    return known.select("client_id", "as_of_date").with_columns(columns)


def test_all_63_combinations_are_refitted(world, labels, scores):
    subsets, reason = ablation.fit_subsets(scores, labels, world.plan, SMALL, 100_000)
    assert (len(subsets), reason) == (63, "")
    assert len({s.name for s in subsets}) == 63
    assert all(sum(s.weights) == pytest.approx(1) and min(s.weights) >= 0 for s in subsets)
    full = subsets[-1]
    assert full.name == "P1+P2+P3+P4+P5+P6"
    assert full.weights[0] > 0.6
    variants, columns = ablation.subset_variants(subsets, scores, reason)
    assert [v.column for v in variants] == [c.name for c in columns]
    assert {v.reference for v in variants} == {None, full.name}


def test_missing_pillars_leave_fewer_combinations(world, labels, scores):
    less = scores.with_columns(s_p5_score=pl.lit(None, pl.Float64))
    subsets, _ = ablation.fit_subsets(less, labels, world.plan, SMALL, 100_000)
    assert len(subsets) == 31
    assert not any("P5" in s.name for s in subsets)


def test_without_labels_there_is_one_row_with_the_reason(world, labels, scores):
    blind = labels.with_columns(is_str_within_horizon=pl.lit(False))
    subsets, reason = ablation.fit_subsets(scores, blind, world.plan, SMALL, 100_000)
    variants, columns = ablation.subset_variants(subsets, scores, reason)
    assert (len(variants), columns) == (1, [])
    assert variants[0].column is None
    assert variants[0].reason


def test_a_missing_pillar_shares_its_weight():
    subset = ablation.Subset(("s_p1_score", "s_p2_score"), (0.75, 0.25))
    frame = pl.DataFrame({"s_p1_score": [40.0, None, None, 10.0], "s_p2_score": [80.0, 80.0, None, None]})
    assert ablation.score_subset(subset, frame).to_list() == [50.0, 80.0, None, 10.0]


def test_delay_turns_only_late_training_positives(world, labels):
    plan = world.plan
    days = 30
    late = ablation.delay_labels(labels, plan, days)
    changed = labels.filter(labels["is_str_within_horizon"] != late["is_str_within_horizon"])
    assert changed.height
    assert set(changed["as_of_date"]) <= set(plan.train_weeks)
    cutoff = min(plan.validation_weeks)
    assert (changed["next_str_date"] > cutoff - timedelta(days=days)).all()
    kept = late.filter(pl.col("as_of_date").is_in(list(plan.train_weeks)) & pl.col("is_str_within_horizon"))
    assert (kept["next_str_date"] <= cutoff - timedelta(days=days)).all()


def test_noise_takes_whole_clients_and_grows(world, labels):
    def positives(frame: pl.DataFrame) -> set[str]:
        return set(eligible_labels(frame, world.plan.train_weeks).filter("is_positive")["client_id"])

    before = positives(labels)
    lost = {r: before - positives(ablation.drop_labels(labels, world.plan, r, 1)) for r in (0.0, 0.1, 0.5)}
    assert lost[0.0] == set()
    assert lost[0.1] < lost[0.5]
    assert len(lost[0.5]) == -(-len(before) // 2)
    noisy = ablation.drop_labels(labels, world.plan, 0.5, 1)
    outside = ~pl.col("as_of_date").is_in(list(world.plan.train_weeks))
    assert noisy.filter(outside).equals(labels.filter(outside))


def test_refit_clients_hold_every_positive(world, labels):
    weeks = [*world.plan.train_weeks, *world.plan.validation_weeks]
    chosen = ablation.refit_clients(labels, weeks, 10, 4)
    positive = set(eligible_labels(labels, weeks).filter("is_positive")["client_id"])
    assert positive <= set(chosen)
    assert len(chosen) == len(positive) + 10
    # a draw belongs to the client: fewer of them are a part of more
    assert set(chosen) <= set(ablation.refit_clients(labels, weeks, 20, 4))


def test_refits_cover_curve_and_robustness(world, labels):
    found = ablation.refit_experiments(all_features(world), labels, world.plan, SMALL, EFFORT)
    variants, scores = found["learning_curve"]
    assert {v.part for v in variants} == {"both tiers", "flat XGBoost"}
    assert [v.value for v in variants if v.part == "both tiers"] == [
        float(len(world.plan.train_weeks)),
        float(ablation.learning_weeks(world.plan, 2)[0]),
    ]
    robust = [v.name for v in found["robustness"][0] if v.part == "both tiers"]
    assert robust == ["nothing changed", "label delay 30 days", "label noise 20%"]
    assert set(scores["as_of_date"]) == set(world.plan.validation_weeks)
    assert all(scores[v.column].null_count() == 0 for v in variants if v.column)


def test_refits_without_labels_say_why(world, labels):
    plan = world.plan.model_copy(update={"is_supervised": False, "reasons": ("One class only.",)})
    found = ablation.refit_experiments(all_features(world), labels, plan, SMALL, EFFORT)
    assert all(v.column is None and v.reason == "One class only." for v in found["learning_curve"][0])


def test_pillar_without_columns(world, labels):
    frame = world.features["p3_temporal"]
    names = [c for c in frame.columns if c.startswith("p3_")]
    variants, scores = ablation.without_columns("p3_temporal", frame, names[:2], labels, world.plan, SMALL)
    assert [v.name for v in variants] == ["with tsfresh", "without tsfresh"] * 2
    assert scores["blend:with tsfresh"].to_list() != scores["blend:without tsfresh"].to_list()
    empty = frame.with_columns(pl.lit(None, pl.Float64).alias(names[0]))
    variants, scores = ablation.without_columns("p3_temporal", empty, names[:1], labels, world.plan, SMALL)
    assert all(v.column is None and "No characteristic" in (v.reason or "") for v in variants)
    assert scores.is_empty()
