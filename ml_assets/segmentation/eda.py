"""What the clients look like before they are segmented: distributions, outliers, correlation, missingness.

Rule of this file: describes, decides nothing; outliers are counted by Tukey's fences (1.5 interquartile ranges beyond
the quartiles), as a box plot draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.measures import Measure
from ml_assets.segmentation.preparation import choose_measures, rank_correlation, signed_log, skewness, wants_log

FENCE = 1.5
"""Interquartile ranges beyond a quartile at which a value is an outlier (Tukey 1977)."""

BINS = 30
"""Bins of a histogram: enough to see two peaks, few enough to read."""


def _values(frame: pl.DataFrame, column: str) -> np.ndarray:
    if column not in frame.columns:
        return np.full(frame.height, np.nan)
    values = frame[column].cast(pl.Float64).to_numpy().astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def summarise_measures(frame: pl.DataFrame, measures: Sequence[Measure], config: SegmentConfig) -> pl.DataFrame:
    """One row per numeric measure: size, moments, quartiles, Tukey's fences and what preparation does with it.

    Parameters
    ----------
    frame : one row per client of one week.

    Returns
    -------
    frame : columns of ``segments.measure_summary``, in the order of ``measures``; statistics are null where no client
        has a value.
    """
    used, dropped = choose_measures(frame, measures, config) if frame.height else ([], {})
    names = {m.column for m in used}
    rows = []
    for m in measures:
        if m.is_category:
            continue
        all_values = _values(frame, m.column)
        v = all_values[~np.isnan(all_values)]
        row: dict[str, object] = {
            "measure": m.column,
            "label": m.label,
            "clients_count": int(v.size),
            "missing_ratio": float(np.isnan(all_values).mean()) if frame.height else None,
            "is_used": m.column in names,
            "is_logged": m.column in names and wants_log(all_values, config),
            "left_out_because": dropped.get(m.column),
        }
        if v.size:
            q1, median, q3 = np.quantile(v, [0.25, 0.5, 0.75])
            low, high = q1 - FENCE * (q3 - q1), q3 + FENCE * (q3 - q1)
            inside = v[(v >= low) & (v <= high)]
            row |= {
                "minimum": v.min(),
                "lower_whisker": inside.min(),
                "quartile_1": q1,
                "median": median,
                "quartile_3": q3,
                "upper_whisker": inside.max(),
                "maximum": v.max(),
                "mean": v.mean(),
                "std": v.std(),
                "outliers_count": int(v.size - inside.size),
                "skewness": skewness(v),
                "skewness_logged": skewness(signed_log(v)),
            }
        rows.append(row)
    return pl.DataFrame(rows, schema=SUMMARY_SCHEMA)


SUMMARY_SCHEMA = {
    "measure": pl.String,
    "label": pl.String,
    "clients_count": pl.Int64,
    "missing_ratio": pl.Float64,
    "minimum": pl.Float64,
    "lower_whisker": pl.Float64,
    "quartile_1": pl.Float64,
    "median": pl.Float64,
    "quartile_3": pl.Float64,
    "upper_whisker": pl.Float64,
    "maximum": pl.Float64,
    "mean": pl.Float64,
    "std": pl.Float64,
    "outliers_count": pl.Int64,
    "skewness": pl.Float64,
    "skewness_logged": pl.Float64,
    "is_used": pl.Boolean,
    "is_logged": pl.Boolean,
    "left_out_because": pl.String,
}


def correlate_measures(frame: pl.DataFrame, measures: Sequence[Measure]) -> pl.DataFrame:
    """Spearman's rank correlation of every pair, over clients where both are known.

    Returns
    -------
    frame : measure, other_measure, correlation (null where not computable); both orders and the diagonal, so that it
        is the heat map's matrix.
    """
    numbers = [m.column for m in measures if not m.is_category]
    values = {c: _values(frame, c) for c in numbers}
    rows: list[dict[str, Any]] = []
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            # the lower half mirrors the upper one, which is there already
            r = rows[j * len(numbers) + i]["correlation"] if j < i else rank_correlation(values[a], values[b])
            rows.append({"measure": a, "other_measure": b, "correlation": r})
    schema = {"measure": pl.String, "other_measure": pl.String, "correlation": pl.Float64}
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("correlation").fill_nan(None))


def histogram(frame: pl.DataFrame, measure: Measure, is_logged: bool) -> pl.DataFrame:
    """Counts of one measure in equal bins, of its signed logarithm where ``is_logged``.

    Returns
    -------
    frame : measure, bin_low, bin_high, clients_count; no row where no client has a value.
    """
    v = _values(frame, measure.column)
    v = v[~np.isnan(v)]
    v = signed_log(v) if is_logged else v
    schema = {"measure": pl.String, "bin_low": pl.Float64, "bin_high": pl.Float64, "clients_count": pl.Int64}
    if not v.size:
        return pl.DataFrame(schema=schema)
    counts, edges = np.histogram(v, bins=BINS if np.ptp(v) > 0 else 1)
    return pl.DataFrame(
        {
            "measure": [measure.column] * len(counts),
            "bin_low": edges[:-1],
            "bin_high": edges[1:],
            "clients_count": counts,
        },
        schema=schema,
    )


def missing_by_group(frame: pl.DataFrame, measures: Sequence[Measure], group: str) -> pl.DataFrame:
    """Share of nulls of every measure by a profile column; null values of the column are a group ``(missing)``.

    Returns
    -------
    frame : group, measure, missing_ratio, clients_count; sorted.
    """
    if group not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias(group))
    known = [m.column for m in measures if m.column in frame.columns]
    return (
        frame.group_by(pl.col(group).fill_null("(missing)").alias("group"))
        .agg(pl.len().cast(pl.Int64).alias("clients_count"), *(pl.col(c).is_null().mean() for c in known))
        .unpivot(index=["group", "clients_count"], variable_name="measure", value_name="missing_ratio")
        .select("group", "measure", "missing_ratio", "clients_count")
        .sort("group", "measure")
    )
