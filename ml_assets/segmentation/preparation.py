"""From measures to a matrix: impute, logarithm where skew asks for it, scale, clip, optionally reduce.

Rule of this file: everything is learned from the frame handed to :func:`fit_preparation` (clients of one training
week) and only applied afterwards. What is left out is named with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata, skew
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.measures import Measure

Matrix = NDArray[np.float64]

LOG_GAIN = 0.9
"""A logarithm is kept where it brings the skew to this share or less: a share of 0-1 barely changes under it."""


class SegmentationError(ValueError):
    """Nothing to segment by: no client, or no measure that tells clients apart."""


def signed_log(values: Matrix) -> Matrix:
    """Sign-preserving ``log(1 + |x|)``: a logarithm for money that may be zero or negative."""
    return np.sign(values) * np.log1p(np.abs(values))


def skewness(values: Matrix) -> float:
    """Fisher-Pearson skewness of the finite values; 0 where all are equal."""
    known = values[np.isfinite(values)]
    if known.size < 3 or np.ptp(known) == 0:
        return 0.0
    return float(skew(known))


class CategoryWeight(TransformerMixin, BaseEstimator):
    """Centre dummies and give one category as a whole the variance ``weight`` squared, however many values it has.

    In: 0/1 columns of one category; out: the same shape. Without it a category of ten values would outweigh a number.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def fit(self, X: Matrix, y: Any = None) -> Self:
        """Learn the shares of the values."""
        X = np.asarray(X, dtype=np.float64)
        self.mean_ = X.mean(axis=0)
        variance = float(X.var(axis=0).sum())
        self.factor_ = self.weight / np.sqrt(variance) if variance > 0 else 0.0
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Matrix) -> Matrix:
        """Apply centre and weight."""
        return (np.asarray(X, dtype=np.float64) - self.mean_) * self.factor_


@dataclass(frozen=True)
class Preparation:
    """A fitted preparation.

    Attributes
    ----------
    used : measures that form the matrix, numbers first.
    dropped : column -> why it is left out.
    logged : columns that go through the logarithm.
    categories : values of each category column, in the order of their codes.
    pipeline : the fitted scikit-learn pipeline, from :meth:`raw` to the matrix.
    """

    used: tuple[Measure, ...]
    dropped: dict[str, str]
    logged: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    pipeline: Pipeline

    def raw(self, frame: pl.DataFrame) -> Matrix:
        """Numbers as they are, categories as codes (unknown values: -1), nulls as NaN; one row per row of ``frame``."""
        columns = []
        for m in self.used:
            if m.is_category:
                codes = {v: float(i) for i, v in enumerate(self.categories[m.column])}
                column = frame[m.column].cast(pl.String).fill_null(MISSING)
                columns.append(column.replace_strict(codes, default=-1.0, return_dtype=pl.Float64).to_numpy())
            else:
                columns.append(_numbers(frame, m.column))
        return np.column_stack(columns)

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """The matrix segments are found in; rows as in ``frame``."""
        return np.ascontiguousarray(self.pipeline.transform(self.raw(frame)), dtype=np.float64)


MISSING = "(missing)"
"""Stands for null in a category: not knowing is a value of its own there."""


def _numbers(frame: pl.DataFrame, column: str) -> Matrix:
    values = frame[column].cast(pl.Float64).to_numpy().astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def rank_correlation(a: Matrix, b: Matrix) -> float:
    """Spearman's rank correlation over rows where both are known; NaN where fewer than three or one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a[both]), rankdata(b[both]))[0, 1])


def choose_measures(
    frame: pl.DataFrame, measures: Sequence[Measure], config: SegmentConfig
) -> tuple[list[Measure], dict[str, str]]:
    """Measures that can form segments, and for every other one why it cannot.

    Parameters
    ----------
    frame : one row per client; a column that is absent counts as all null.

    Returns
    -------
    used : in the order given. dropped : column -> reason.
    """
    used: list[Measure] = []
    dropped: dict[str, str] = {}
    kept: dict[str, Matrix] = {}
    for m in measures:
        if m.is_described_only:
            dropped[m.column] = "describes segments only"
            continue
        if m.stands_in_for in kept:
            dropped[m.column] = f"stands in for {m.stands_in_for}, which is there"
            continue
        if m.column not in frame.columns or frame[m.column].null_count() == frame.height:
            dropped[m.column] = "all values are null"
            continue
        if m.is_category:
            if frame[m.column].n_unique() < 2:
                dropped[m.column] = "all clients have the same value"
            else:
                used.append(m)
            continue
        values = _numbers(frame, m.column)
        missing = float(np.isnan(values).mean())
        if missing > config.missing_limit_ratio:
            dropped[m.column] = f"missing for {missing:.0%} of clients, more than {config.missing_limit_ratio:.0%}"
        elif np.nanmax(values) == np.nanmin(values):
            dropped[m.column] = "all clients have the same value"
        else:
            twin = next(
                (c for c, v in kept.items() if abs(rank_correlation(values, v)) > config.redundant_correlation), ""
            )
            if twin:
                dropped[m.column] = f"rank correlation with {twin} exceeds {config.redundant_correlation:g}"
            else:
                kept[m.column] = values
                used.append(m)
    return used, dropped


def wants_log(values: Matrix, config: SegmentConfig) -> bool:
    """True where the values are skewed beyond the limit and a logarithm clearly lessens it."""
    before = abs(skewness(values))
    return before > config.skew_limit and abs(skewness(signed_log(values))) <= LOG_GAIN * before


def fit_preparation(frame: pl.DataFrame, measures: Sequence[Measure], config: SegmentConfig) -> Preparation:
    """Learn imputation, logarithms, scales and, if configured, principal components.

    Parameters
    ----------
    frame : one row per client with the measures' columns; nulls are filled with the median of the known (numbers) or
        count as a value (categories).

    Raises
    ------
    SegmentationError : no client, or no usable measure; names what was left out and why.
    """
    if not frame.height:
        raise SegmentationError("There is no client to segment.")
    used, dropped = choose_measures(frame, measures, config)
    if not used:
        reasons = "; ".join(f"{c}: {r}" for c, r in dropped.items())
        raise SegmentationError(f"No measure tells clients apart ({reasons}).")
    numbers = [m for m in used if not m.is_category]
    texts = [m for m in used if m.is_category]
    logged = tuple(m.column for m in numbers if wants_log(_numbers(frame, m.column), config))
    categories = {
        m.column: tuple(sorted(frame[m.column].cast(pl.String).fill_null(MISSING).unique().to_list())) for m in texts
    }

    def number_steps(is_logged: bool) -> Pipeline:
        steps: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy="median"))]
        if is_logged:
            steps.append(("log", FunctionTransformer(signed_log)))
        limit = config.clip_zscore
        steps += [
            ("scale", StandardScaler()),
            ("clip", FunctionTransformer(np.clip, kw_args={"a_min": -limit, "a_max": limit})),
        ]
        return Pipeline(steps)

    # one transformer per column keeps the matrix in the order of the measures
    parts: list[tuple[str, Any, list[int]]] = [
        (m.column, number_steps(m.column in logged), [i]) for i, m in enumerate(numbers)
    ]
    for i, m in enumerate(texts, start=len(numbers)):
        codes = [np.arange(len(categories[m.column]), dtype=np.float64)]
        dummies = OneHotEncoder(categories=codes, handle_unknown="ignore", sparse_output=False)
        parts.append(
            (m.column, Pipeline([("dummies", dummies), ("weight", CategoryWeight(config.category_weight))]), [i])
        )
    steps: list[tuple[str, Any]] = [("columns", ColumnTransformer(parts))]
    if config.variance_kept_ratio < 1 and len(used) > 1 and frame.height > 1:
        steps.append(("reduce", PCA(n_components=config.variance_kept_ratio, svd_solver="full")))
    preparation = Preparation(tuple([*numbers, *texts]), dropped, logged, categories, Pipeline(steps))
    preparation.pipeline.fit(preparation.raw(frame))
    return preparation
