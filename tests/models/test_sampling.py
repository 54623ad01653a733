import numpy as np
import polars as pl
from modelling_world import SMALL, World

from ml_assets.models.sampling import client_folds, kept_negative_ratio, uniform_draws
from ml_assets.models.splits import eligible_labels


def test_a_draw_depends_on_client_week_and_seed_only():
    world = World(clients=40, weeks=30)
    rows = world.labels
    draws = uniform_draws(rows["client_id"], rows["as_of_date"], 1)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=4)
    again = uniform_draws(shuffled["client_id"], shuffled["as_of_date"], 1)
    joined = rows.with_columns(a=pl.Series(draws)).join(
        shuffled.with_columns(b=pl.Series(again)), on=["client_id", "as_of_date"]
    )
    assert (joined["a"] == joined["b"]).all()
    assert (draws != uniform_draws(rows["client_id"], rows["as_of_date"], 2)).mean() > 0.99
    assert np.abs(draws.mean() - 0.5) < 0.05
    assert draws.min() >= 0
    assert draws.max() < 1


def test_share_of_negatives_kept():
    assert kept_negative_ratio(np.array([True] + [False] * 99), 10) == 10 / 99
    assert kept_negative_ratio(np.array([True, False]), 10) == 1
    assert kept_negative_ratio(np.array([False, False]), 10) == 1


def test_every_client_has_one_fold_and_folds_share_the_positives():
    world = World()
    folds = client_folds(world.labels, world.plan, SMALL)
    assert folds["client_id"].n_unique() == folds.height == 120
    assert set(folds["fold"]) == {0, 1, 2}
    positive = eligible_labels(world.labels, world.plan.train_weeks).filter("is_positive")["client_id"].unique()
    per_fold = folds.filter(pl.col("client_id").is_in(positive.to_list())).group_by("fold").len()["len"]
    assert per_fold.max() - per_fold.min() <= 1


def test_one_positive_client_cannot_be_held_out():
    world = World()
    lonely = world.labels.with_columns(
        is_str_within_horizon=pl.col("client_id") == "C00000", has_prior_str=pl.lit(False)
    )
    assert client_folds(lonely, world.plan, SMALL).is_empty()
