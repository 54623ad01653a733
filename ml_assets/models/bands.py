"""Bands and alerts: cut points from validation weeks, hysteresis on the way down, capacity on alerts.

Rule of this file: a band depends on the client's score, the cuts and the client's own band in the previous week,
nothing else; an alert also on the client's rank in its week.

A client enters a band at its cut and leaves it only under ``hysteresis_ratio`` of the cut. An alert is a client in
HIGH whose rank in the week is within the capacity; equal scores are ordered by client id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.config import ModelConfig
from ml_assets.models.names import BANDS


@dataclass(frozen=True)
class Cuts:
    """Lowest score (0-100) of each band, ascending, with the policy that reads them."""

    low: float
    medium: float
    high: float
    hysteresis_ratio: float
    capacity_ratio: float

    def state(self) -> dict[str, float]:
        """JSON-serialisable form."""
        return asdict(self)


def fit_cuts(scores: NDArray[np.float64], config: ModelConfig) -> Cuts:
    """Cut points such that the configured shares of ``scores`` lie at or above them.

    Parameters
    ----------
    scores : B-CRS 0-100 of all scored rows of validation weeks, shape (rows,); NaN are left out.

    >>> cuts = fit_cuts(np.arange(1000) / 10, ModelConfig())
    >>> cuts.low, cuts.medium, cuts.high
    (80.0, 95.0, 99.0)
    """
    ordered = np.sort(scores[~np.isnan(scores)])[::-1]
    if not len(ordered):
        return Cuts(100.0, 100.0, 100.0, config.hysteresis_ratio, config.alert_capacity_ratio)

    def cut(ratio: float) -> float:
        return float(ordered[min(len(ordered), max(1, int(ratio * len(ordered) + 1e-9))) - 1])

    return Cuts(
        cut(config.low_ratio),
        cut(config.medium_ratio),
        cut(config.alert_capacity_ratio),
        config.hysteresis_ratio,
        config.alert_capacity_ratio,
    )


def assign_bands(scores: pl.DataFrame, previous: pl.DataFrame | None, cuts: Cuts) -> pl.DataFrame:
    """Put band, rank and alert beside scores, week after week.

    Parameters
    ----------
    scores : client_id, as_of_date, bcrs_score and any other columns, one row per client and week.
    previous : client_id, band of the week before the first one in ``scores``; None at the very start.

    Returns
    -------
    frame : ``scores`` with band, rank_in_week_count and is_alert, sorted by client and date. A row without a score
        is MINIMAL, has no rank and is no alert.
    """
    level_of = {band: number for number, band in enumerate(BANDS)}
    before = (
        previous.select("client_id", _before=pl.col("band").replace_strict(level_of, return_dtype=pl.Int64))
        if previous is not None
        else pl.DataFrame(schema={"client_id": pl.String, "_before": pl.Int64})
    )
    keep = cuts.hysteresis_ratio
    score = pl.col("bcrs_score").cast(pl.Float64).fill_nan(None)
    level = pl.lit(0, pl.Int64)
    for number, cut in enumerate((cuts.low, cuts.medium, cuts.high), start=1):
        was_here = pl.col("_before").fill_null(0) >= number
        reached = pl.when(was_here).then(score >= cut * keep).otherwise(score >= cut)
        level = pl.when(reached.fill_null(False)).then(pl.lit(number, pl.Int64)).otherwise(level)
    weeks = []
    for _, week in scores.sort("as_of_date", "client_id").group_by("as_of_date", maintain_order=True):
        ranked = week.join(before, on="client_id", how="left", maintain_order="left").with_columns(_level=level)
        # sorted by client id already, and the sort is stable: that breaks ties
        order = (
            ranked.filter(score.is_not_null())
            .sort(score, descending=True, maintain_order=True)
            .select("client_id", rank_in_week_count=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
        )
        capacity = max(1, int(cuts.capacity_ratio * order.height + 1e-9))
        ranked = ranked.join(order, on="client_id", how="left", maintain_order="left").with_columns(
            is_alert=((pl.col("_level") == 3) & (pl.col("rank_in_week_count") <= capacity)).fill_null(False)
        )
        before = ranked.select("client_id", _before="_level")
        weeks.append(ranked.drop("_before"))
    if not weeks:
        return scores.with_columns(
            band=pl.lit(None, pl.String),
            rank_in_week_count=pl.lit(None, pl.Int64),
            is_alert=pl.lit(None, pl.Boolean),
        )
    return (
        pl.concat(weeks)
        .with_columns(band=pl.col("_level").replace_strict(dict(enumerate(BANDS)), return_dtype=pl.String))
        .drop("_level")
        .select(*scores.columns, "band", "rank_in_week_count", "is_alert")
        .sort("client_id", "as_of_date")
    )
