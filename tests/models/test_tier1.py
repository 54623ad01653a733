import numpy as np
import polars as pl
import pytest
from modelling_world import SMALL, World

from ml_assets.models.matrix import FeatureMismatchError
from ml_assets.models.splits import plan_splits
from ml_assets.models.tier1 import Tier1Model, fit_tier1, score_tier1, tier1_contract, tune_alpha

PILLAR = "p2_network"
KEYS = ["client_id", "as_of_date"]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def fitted(world: World) -> tuple[Tier1Model, pl.DataFrame]:
    return fit_tier1(PILLAR, world.features[PILLAR], world.labels, world.plan, SMALL)


def test_a_pillar_with_signal_finds_it(fitted):
    model, _ = fitted
    assert model.is_available
    assert model.validation_ap["blend"] >= max(model.validation_ap["supervised"], model.validation_ap["unsupervised"])
    assert 0 <= model.alpha <= 1


def test_out_of_sample_rows_are_training_and_validation_weeks_only(world, fitted):
    _, scores = fitted
    assert set(scores.filter(pl.col("split") == "train")["as_of_date"]) == set(world.plan.train_weeks)
    assert set(scores.filter(pl.col("split") == "validation")["as_of_date"]) == set(world.plan.validation_weeks)
    assert scores.filter(pl.col("split") == "train")["fold"].null_count() == 0
    assert scores.group_by("client_id").agg(pl.col("fold").drop_nulls().n_unique())["fold"].max() == 1


def test_same_input_in_another_order_gives_the_same_bytes(world, fitted):
    model, scores = fitted
    again, scores_again = fit_tier1(
        PILLAR,
        world.features[PILLAR].sample(fraction=1, shuffle=True, seed=1),
        world.labels.sample(fraction=1, shuffle=True, seed=2),
        world.plan,
        SMALL,
    )
    assert model.files() == again.files()
    assert scores.equals(scores_again)


def test_other_weeks_do_not_matter(world, fitted):
    model, _ = fitted
    used = [*world.plan.train_weeks, *world.plan.validation_weeks]
    noise = world.features[PILLAR].with_columns(
        [
            pl.when(pl.col("as_of_date").is_in(used)).then(pl.col(c)).otherwise(99.0)
            for c in world.features[PILLAR].columns
            if c not in KEYS
        ]
    )
    upside_down = world.labels.with_columns(
        is_str_within_horizon=pl.when(pl.col("as_of_date").is_in(used))
        .then(pl.col("is_str_within_horizon"))
        .otherwise(~pl.col("is_str_within_horizon"))
    )
    again, _ = fit_tier1(PILLAR, noise, upside_down, world.plan, SMALL)
    assert model.files() == again.files()


def test_rows_after_an_str_do_not_train(world, fitted):
    model, _ = fitted
    flipped = world.labels.with_columns(is_str_within_horizon=pl.col("is_str_within_horizon") ^ pl.col("has_prior_str"))
    assert not flipped.equals(world.labels)
    again, _ = fit_tier1(PILLAR, world.features[PILLAR], flipped, world.plan, SMALL)
    assert model.files() == again.files()


def test_validation_scores_are_the_final_models(world, fitted):
    model, scores = fitted
    scored = score_tier1(model, world.features[PILLAR], "m")
    both = scores.filter(pl.col("split") == "validation").join(scored, on=KEYS, suffix="_final")
    assert both.height == len(world.plan.validation_weeks) * 120
    assert (both["pillar_score"] == both["pillar_score_final"]).all()
    # and training scores are not: the final model has seen those clients
    train = scores.filter(pl.col("split") == "train").join(scored, on=KEYS, suffix="_final")
    assert (train["supervised_score"] != train["supervised_score_final"]).any()


def test_scores_follow_the_contract_and_do_not_depend_on_the_batch(world, fitted):
    model, _ = fitted
    scored = score_tier1(model, world.features[PILLAR], "m")
    assert scored.columns == tier1_contract(PILLAR).names
    for column in ("supervised_score", "unsupervised_score", "pillar_score"):
        assert scored[column].null_count() == 0
        assert 0 <= scored[column].min() <= scored[column].max() <= 100
    week = world.plan.test_weeks[0]
    alone = score_tier1(model, world.features[PILLAR].filter(pl.col("as_of_date") == week), "m")
    assert alone.equals(scored.filter(pl.col("as_of_date") == week))


def test_round_trip_scores_equal(world, fitted):
    model, _ = fitted
    again = Tier1Model.from_files(PILLAR, model.files())
    assert score_tier1(again, world.features[PILLAR], "m").equals(score_tier1(model, world.features[PILLAR], "m"))


def test_a_pillar_without_inputs_has_no_score_and_says_why(world):
    empty = world.features[PILLAR].with_columns(
        [pl.lit(None, pl.Float64).alias(c) for c in world.features[PILLAR].columns if c not in KEYS]
    )
    model, scores = fit_tier1(PILLAR, empty, world.labels, world.plan, SMALL)
    assert not model.is_available
    assert "none of its features is usable" in model.reasons[0]
    assert all("null on every training row" in r for r in model.dropped.values())
    assert scores["pillar_score"].null_count() == scores.height
    scored = score_tier1(Tier1Model.from_files(PILLAR, model.files()), empty, "m")
    assert scored["pillar_score"].null_count() == scored.height > 0


def test_one_class_leaves_the_unsupervised_half(world):
    honest = world.labels.with_columns(is_str_within_horizon=pl.lit(False), has_prior_str=pl.lit(False))
    plan = plan_splits(honest, world.calendar, world.config)
    model, scores = fit_tier1(PILLAR, world.features[PILLAR], honest, plan, SMALL)
    assert model.boost is None
    assert model.alpha == 0
    assert any("Unsupervised half only" in r for r in model.reasons)
    assert (scores["pillar_score"] == scores["unsupervised_score"]).all()
    assert scores["supervised_score"].null_count() == scores.height


def test_one_client_gives_no_model_but_no_error(world):
    one = world.labels.filter(pl.col("client_id") == "C00000")
    features = world.features[PILLAR].filter(pl.col("client_id") == "C00000")
    plan = plan_splits(one, world.calendar, world.config)
    model, scores = fit_tier1(PILLAR, features, one, plan, SMALL)
    assert model.boost is None
    assert model.reasons
    assert scores.height == len(plan.train_weeks) + len(plan.passed_weeks) + len(plan.validation_weeks)


def test_a_lost_feature_is_an_error(world, fitted):
    model, _ = fitted
    with pytest.raises(FeatureMismatchError, match=model.features[0]):
        score_tier1(model, world.features[PILLAR].drop(model.features[0]), "m")


def test_alpha_is_the_best_on_the_rows_given_and_ties_stay_near_the_default():
    target = np.array([True, False, False, False])
    good, bad = np.array([4.0, 3, 2, 1]), np.array([1.0, 2, 3, 40])
    assert tune_alpha(bad, good, target, SMALL)[0] == 0.0
    alpha, measured = tune_alpha(good, good, target, SMALL)
    assert alpha == SMALL.alpha
    assert measured == {"supervised": 1.0, "unsupervised": 1.0, "blend": 1.0}
    assert tune_alpha(good, bad, ~target | target, SMALL) == (SMALL.alpha, {})
