from datetime import date

import numpy as np
import polars as pl
import pytest

from ml_assets.models.matrix import FeatureMismatchError, numeric_columns, to_matrix, unusable_columns

FRAME = pl.DataFrame(
    {
        "client_id": ["A", "B", "C"],
        "as_of_date": [date(2024, 1, 1)] * 3,
        "a": [1.0, None, float("inf")],
        "b": [True, False, None],
        "c": [None, None, None],
        "d": [2, 2, 2],
        "e": [2, 2, None],
        "words": ["x", "y", "z"],
    }
)


def test_only_numbers_and_booleans_are_features():
    assert numeric_columns(FRAME) == ["a", "b", "c", "d", "e"]


def test_everything_unknown_becomes_nan():
    matrix = to_matrix(FRAME, ["b", "a"])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[1, 1], [0, np.nan], [np.nan, np.nan]])


def test_a_missing_column_is_named():
    with pytest.raises(FeatureMismatchError, match="gone"):
        to_matrix(FRAME, ["a", "gone"])


def test_null_and_constant_columns_are_dropped_but_not_those_whose_absence_speaks():
    names = numeric_columns(FRAME)
    dropped = unusable_columns(to_matrix(FRAME, names), names)
    assert set(dropped) == {"c", "d"}
    assert "null" in dropped["c"]
    assert "constant" in dropped["d"]
