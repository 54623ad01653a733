from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from segment_world import MEASURES, SMALL, planted
from sklearn.metrics import adjusted_rand_score

from ml_assets.segmentation.clustering import (
    alternatives,
    choose_k,
    fit_centroids,
    fit_density,
    knee,
    nearest,
    steepest_bend,
)
from ml_assets.segmentation.preparation import fit_preparation


def matrix_of(groups: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    frame, group = planted(groups, each, seed)
    return fit_preparation(frame, MEASURES, SMALL).transform(frame), group


@pytest.mark.parametrize("groups", [3, 4, 5])
def test_planted_groups_are_recovered_and_their_number_chosen(groups: int) -> None:
    matrix, group = matrix_of(groups, 60)
    choice = choose_k(matrix, SMALL)
    assert choice.k == groups
    assert adjusted_rand_score(group, nearest(matrix, choice.centroids)[0]) > 0.99
    assert choice.jaccard.min() > 0.95
    assert choice.table.filter(pl.col("is_chosen"))["k"].to_list() == [groups]


def test_mini_batch_recovers_planted_groups_too() -> None:
    matrix, group = matrix_of(4, 100)
    labels, _ = nearest(matrix, fit_centroids(matrix, 4, SMALL.model_copy(update={"mini_batch_rows": 100}), 1))
    assert adjusted_rand_score(group, labels) > 0.99


def test_mini_batch_is_nearly_as_tight_as_the_full_fit_without_clear_groups() -> None:
    rng = np.random.default_rng(6)
    matrix = np.concatenate([rng.normal(c, 1.0, (300, 6)) for c in (0.0, 1.5, 3.0)])
    full = nearest(matrix, fit_centroids(matrix, 5, SMALL, 1))[1]
    quick = nearest(matrix, fit_centroids(matrix, 5, SMALL.model_copy(update={"mini_batch_rows": 100}), 1))[1]
    assert (quick**2).sum() <= 1.03 * (full**2).sum()


def test_noise_without_groups_is_called_unstable() -> None:
    noise = np.random.default_rng(5).normal(size=(300, 6))
    choice = choose_k(noise, SMALL)
    assert not choice.table["is_qualified"].any()
    assert "none is stable" in choice.reason


def test_repetition_gives_the_same_bytes() -> None:
    matrix, _ = matrix_of(4, 50)
    one, two = choose_k(matrix, SMALL), choose_k(matrix, SMALL)
    assert one.centroids.tobytes() == two.centroids.tobytes()
    assert one.table.equals(two.table)


def test_largest_segment_comes_first() -> None:
    frame, group = planted(3, 40)
    matrix = fit_preparation(frame, MEASURES, SMALL).transform(frame)
    uneven = np.concatenate([matrix[group == 0][:10], matrix[group == 1], matrix[group == 2][:20]])
    choice = choose_k(uneven, SMALL)
    assert np.bincount(nearest(uneven, choice.centroids)[0]).tolist() == [40, 20, 10]


def test_earlier_number_is_kept_while_it_is_as_stable() -> None:
    rng = np.random.default_rng(8)
    # four tight groups in two pairs far apart: both three and four are cuts, four the stable one
    corners = np.array([[0, 0], [0, 4], [30, 0], [30, 4]])
    matrix = np.repeat(corners, 40, axis=0) + rng.normal(0, 0.3, (160, 2))
    free = choose_k(matrix, SMALL)
    assert free.k == 4
    assert choose_k(matrix, SMALL, keep=4).k == 4
    # a number that is not stable is given up
    assert choose_k(matrix, SMALL, keep=6).k == 4


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_fewer_clients_than_segments_are_one_segment(clients: int) -> None:
    matrix = np.arange(clients * 2, dtype=float).reshape(clients, 2)
    choice = choose_k(matrix, SMALL)
    assert choice.k == 1
    assert choice.table.height == 0
    assert "too few" in choice.reason


def test_duplicates_of_few_clients_do_not_count_as_different() -> None:
    assert choose_k(np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0), SMALL).k == 1


def test_knee_and_bend() -> None:
    k = np.arange(2, 9)
    assert knee(k, np.array([100.0, 50, 20, 18, 16, 15, 14]), "convex", "decreasing") == 4
    assert knee(k[:2], np.array([2.0, 1.0]), "convex", "decreasing") is None
    assert steepest_bend(np.array([1.0, 1, 1, 1, 2, 9])) == 4
    assert steepest_bend(np.array([1.0, 2, 3, 4])) == 3


def test_outliers_are_unusual_and_the_thick_region_is_not() -> None:
    rng = np.random.default_rng(4)
    thick = rng.normal(0, 1, (400, 2))
    far = np.array([[9.0, 9.0], [-9.0, 8.0], [8.0, -9.0]])
    density = fit_density(np.concatenate([thick, far]), SMALL)
    assert density.clusters >= 1
    assert density.is_unusual(far).all()
    assert density.is_unusual(thick).mean() < 0.1
    # new clients are judged without another fit
    assert density.is_unusual(np.array([[0.0, 0.0], [20.0, 20.0]])).tolist() == [False, True]


def test_density_of_very_few_or_equal_clients_finds_nobody_unusual() -> None:
    assert not fit_density(np.zeros((3, 2)), SMALL).is_unusual(np.ones((2, 2))).any()
    density = fit_density(np.zeros((50, 2)), SMALL)
    assert density.note
    assert not density.is_unusual(np.ones((2, 2))).any()


def test_other_methods_agree_on_planted_groups() -> None:
    matrix, _ = matrix_of(4, 60)
    choice, others = alternatives(matrix, choose_k(matrix, SMALL), SMALL)
    agreement = dict(others.select("method", "agreement").rows())
    assert agreement["gaussian_mixture"] > 0.9
    assert agreement["hdbscan"] > 0.9
    assert choice.table["mixture_bic"].null_count() == 0
