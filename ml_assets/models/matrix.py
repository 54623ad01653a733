"""From a feature frame to a matrix: one place that decides order, type and missing values.

Rule of this file: columns are taken by name in the model's own order; null, NaN and infinities become NaN, which
XGBoost treats as missing and which the Isolation Forest gets imputed.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

GRAIN = ("client_id", "as_of_date")


class FeatureMismatchError(ValueError):
    """A frame lacks columns a model was trained on."""


def numeric_columns(frame: pl.DataFrame) -> list[str]:
    """Names of the columns that can be features: numbers and booleans outside the grain, in frame order."""
    return [
        name
        for name, dtype in frame.schema.items()
        if name not in GRAIN and (dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null)
    ]


def to_matrix(frame: pl.DataFrame, names: list[str]) -> NDArray[np.float32]:
    """Columns ``names`` of ``frame`` as a matrix of shape (rows, len(names)), NaN where not finite.

    Raises
    ------
    FeatureMismatchError : a column is missing.
    """
    missing = [n for n in names if n not in frame.columns]
    if missing:
        raise FeatureMismatchError(
            f"The model needs {len(missing)} columns the frame does not have: {', '.join(missing[:8])}. "
            "Rebuild the features or retrain."
        )
    matrix = np.empty((frame.height, len(names)), dtype=np.float32)
    # column by column: what is needed besides the matrix is one column
    for i, name in enumerate(names):
        column = frame[name].cast(pl.Float32).to_numpy()
        matrix[:, i] = np.where(np.isfinite(column), column, np.float32("nan"))
    return matrix


def unusable_columns(matrix: NDArray[np.float32], names: list[str]) -> dict[str, str]:
    """Columns that say nothing on these rows, with the reason: all null, or one value and never null."""
    unusable = {}
    for i, name in enumerate(names):
        column = matrix[:, i]
        null = np.isnan(column)
        if null.all():
            unusable[name] = "null on every training row: its input is not available"
        elif not null.any() and column.min() == column.max():
            unusable[name] = f"constant on every training row ({float(column[0]):g})"
    return unusable
