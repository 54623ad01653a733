import numpy as np
import polars as pl
import pytest
from modelling_world import SMALL, World

from ml_assets.models.aggregation import (
    AggregationModel,
    apply_aggregation,
    effective_weights,
    fit_aggregation,
    linear_score,
    raw_scores,
    towards_scheme,
)
from ml_assets.models.names import SCORE_OF
from ml_assets.models.splits import plan_splits

COLUMNS = tuple(SCORE_OF.values())


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def scores(world: World) -> pl.DataFrame:
    """Six pillar scores of which only the second and the sixth know something."""
    rng = np.random.default_rng(8)
    hot = (world.labels["is_str_within_horizon"] & ~world.labels["has_prior_str"]).to_numpy()
    values = rng.normal(50, 8, size=(len(hot), 6)).clip(0, 100)
    values[:, 1] += 12 * hot
    values[:, 5] += 6 * hot
    return world.labels.select("client_id", "as_of_date").with_columns(
        [pl.Series(c, values[:, i].clip(0, 100)) for i, c in enumerate(COLUMNS)]
    )


@pytest.fixture(scope="module")
def fitted(world, scores):
    return fit_aggregation(scores, world.labels, world.plan, SMALL)


def test_weights_lie_on_the_simplex_and_go_where_the_signal_is(fitted):
    model, _ = fitted
    weights = np.array(model.weights)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert weights.argmax() == 1
    assert weights[1] + weights[5] > 0.6
    assert model.slope > 0


def test_linear_score_is_the_weighted_sum(fitted, scores):
    model, _ = fitted
    got = apply_aggregation(model, scores)
    by_hand = sum(w * scores.sort("client_id", "as_of_date")[c] for w, c in zip(model.weights, COLUMNS, strict=True))
    np.testing.assert_allclose(got["linear_score"], by_hand, atol=1e-9)


def test_champion_has_the_best_average_precision_on_validation(fitted):
    model, validation = fitted
    assert set(model.validation_ap) == {"linear", "bayesian", "boosting"}
    assert model.validation_ap[model.champion] == max(model.validation_ap.values())
    assert validation["bcrs_probability_ratio"].is_between(0, 1).all()
    assert (validation["champion"] == model.champion).all()


def test_calibration_keeps_the_order_and_hits_the_level(world, fitted):
    _, validation = fitted
    ordered = validation.sort("champion_raw")
    assert ordered["bcrs_probability_ratio"].is_sorted()
    assert ordered["bcrs_probability_ratio"].n_unique() == ordered["champion_raw"].n_unique()
    eligible = validation.join(world.labels.filter(~pl.col("has_prior_str")), on=["client_id", "as_of_date"])
    assert eligible["bcrs_probability_ratio"].mean() == pytest.approx(eligible["is_str_within_horizon"].mean(), rel=0.3)


def test_a_missing_pillars_weight_is_shared_among_the_others(fitted):
    model, _ = fitted
    full, part = np.full((1, 6), 50.0), np.full((1, 6), 50.0)
    part[0, 1] = np.nan
    weights = effective_weights(model, part)
    assert weights[0, 1] == 0
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[0, 2] / weights[0, 5], model.weights[2] / model.weights[5])
    # with all others at 50 the score stays 50: nothing is treated as zero
    assert linear_score(model, part)[0] == pytest.approx(linear_score(model, full)[0])


def test_bayesian_counts_a_missing_pillar_as_ratio_one(fitted):
    model, _ = fitted
    nothing_but = np.full((1, 6), np.nan)
    nothing_but[0, 1] = 75.0
    ratio = np.interp(75.0, np.arange(0.125, 100, 0.25), model.log_ratios[1])
    assert raw_scores(model, nothing_but)["bayesian"][0] == pytest.approx(model.prior + ratio)
    assert ratio > 0


def test_a_row_without_any_pillar_has_no_score(fitted, scores):
    model, _ = fitted
    nobody = scores.head(1).with_columns([pl.lit(None, pl.Float64).alias(c) for c in COLUMNS])
    got = apply_aggregation(model, nobody)
    for column in ("linear_score", "boosting_score", "bayesian_score", "bcrs_score", "bcrs_probability_ratio"):
        assert got[column][0] is None


def test_a_null_pillar_is_left_out_and_named(world, scores):
    without = scores.with_columns(s_p3_score=pl.lit(None, pl.Float64)).drop("s_p5_score")
    model, _ = fit_aggregation(without, world.labels, world.plan, SMALL)
    assert model.columns == ("s_p1_score", "s_p2_score", "s_p4_score", "s_p6_score")
    assert any("s_p3_score is not available" in r for r in model.reasons)
    assert apply_aggregation(model, without)["bcrs_score"].null_count() == 0


def test_without_labels_the_pillars_are_averaged_and_no_probability_is_claimed(world, scores):
    honest = world.labels.with_columns(is_str_within_horizon=pl.lit(False))
    plan = plan_splits(honest, world.calendar, world.config)
    model, validation = fit_aggregation(scores, honest, plan, SMALL)
    assert not model.is_supervised
    assert model.champion == "linear"
    assert validation["bcrs_probability_ratio"].null_count() == validation.height
    assert validation["boosting_score"].null_count() == validation.height
    mean = scores.sort("client_id", "as_of_date").select(pl.mean_horizontal(COLUMNS)).to_series()
    np.testing.assert_allclose(apply_aggregation(model, scores)["bcrs_score"], mean, atol=1e-9)


def test_cuts_come_from_validation_rows(fitted):
    model, validation = fitted
    share = (validation["bcrs_score"] >= model.cuts.medium).mean()
    assert share == pytest.approx(SMALL.medium_ratio, abs=0.02)
    assert model.cuts.low <= model.cuts.medium <= model.cuts.high


def test_same_input_same_bytes_and_exact_round_trip(world, scores, fitted):
    model, _ = fitted
    again, _ = fit_aggregation(scores.reverse(), world.labels, world.plan, SMALL)
    assert again.files() == model.files()
    loaded = AggregationModel.from_files(model.files())
    assert apply_aggregation(loaded, scores).equals(apply_aggregation(model, scores))
    week = scores.filter(pl.col("as_of_date") == world.plan.test_weeks[0])
    alone = apply_aggregation(model, week)
    assert alone.equals(apply_aggregation(model, scores).filter(pl.col("as_of_date") == world.plan.test_weeks[0]))


def test_linear_weights_move_to_p6_where_held_out_rows_say_so():
    columns, weights = ("s_p1_score", "s_p6_score"), np.array([0.5, 0.5])
    target = np.array([True, False, False, True])
    # P1 puts the second row above the first; P6 alone gets all right, and from 3 : 1 on it prevails
    matrix = np.array([[40.0, 60.0], [70.0, 45.0], [30.0, 30.0], [50.0, 70.0]])
    grid = SMALL.model_copy(update={"scheme_weight_grid": (0.0, 0.5, 1.0)})
    part = np.ones(4, dtype=bool)
    moved, share = towards_scheme(weights, columns, matrix, target, (part,), grid)
    assert share == 0.5
    np.testing.assert_allclose(moved, [0.25, 0.75])
    # without a better place they stay; without P6 or with one class there is none
    assert towards_scheme(weights, columns, matrix, ~target, (part,), grid)[1] == 0.0
    assert towards_scheme(weights, ("s_p1_score", "s_p2_score"), matrix, target, (part,), grid)[1] == 0.0
    assert towards_scheme(weights, columns, matrix, np.ones(4, dtype=bool), (part,), grid)[1] == 0.0
    # a row P6 is missing in counts as a median one
    matrix[2, 1] = np.nan
    assert towards_scheme(weights, columns, matrix, target, (part,), grid)[1] == 0.5
