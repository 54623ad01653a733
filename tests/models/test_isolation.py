import numpy as np
import pytest

from ml_assets.config import ModelConfig
from ml_assets.models.isolation import Forest, fit_forest
from ml_assets.models.store import pack_arrays, unpack_arrays

CONFIG = ModelConfig(isolation_trees=20, isolation_sample=64)


def data(rows: int = 300) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    x[:, 2] = np.round(x[:, 2])
    return x


def test_scores_equal_scikit_learn():
    x = data()
    forest, grown = fit_forest(x, CONFIG)
    np.testing.assert_allclose(forest.score(x), -grown.score_samples(x), rtol=0, atol=1e-12)


def test_missing_values_score_as_the_training_median():
    x = data()
    x[::7, 1] = np.nan
    forest, _ = fit_forest(x, CONFIG)
    assert forest.medians[1] == np.nanmedian(x[:, 1]).astype(np.float32)
    filled = np.where(np.isnan(x), forest.medians, x).astype(np.float32)
    assert (forest.score(x) == forest.score(filled)).all()


def test_an_outlier_is_stranger_than_the_crowd():
    x = data()
    forest, _ = fit_forest(x, CONFIG)
    assert forest.score(np.full((1, 4), 9, dtype=np.float32))[0] > np.quantile(forest.score(x), 0.99)


def test_same_seed_same_bytes_and_exact_round_trip():
    x = data()
    first, second = fit_forest(x, CONFIG)[0], fit_forest(x, CONFIG)[0]
    assert pack_arrays(first.arrays()) == pack_arrays(second.arrays())
    again = Forest.from_arrays(unpack_arrays(pack_arrays(first.arrays())))
    assert (again.score(x) == first.score(x)).all()


def test_a_row_scores_the_same_alone():
    x = data()
    forest, _ = fit_forest(x, CONFIG)
    assert forest.score(x[5:6])[0] == forest.score(x)[5]


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="two rows"):
        fit_forest(data(1), CONFIG)
