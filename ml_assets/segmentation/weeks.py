"""Segments over the weeks: fits on training weeks, everyone assigned every week, ids kept from fit to fit.

Rule of this file: a week is assigned by the newest fit made at or before it, so that no week is judged by a later one;
fits use training weeks only, so that later weeks are held out. Labels play no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.clustering import Choice, Density, alternatives, choose_k, fit_density, nearest
from ml_assets.segmentation.matching import group_means, match_segments, new_ids
from ml_assets.segmentation.measures import Measure
from ml_assets.segmentation.preparation import Preparation, SegmentationError, fit_preparation


@dataclass(frozen=True)
class Fit:
    """One fit: how clients are prepared and cut, and the ids its segments bear.

    ``preparation``, ``choice`` and ``density`` are None where nothing tells clients apart: then all are one segment,
    and ``reason`` says why. ``match_distance`` is NaN for a segment without predecessor.
    """

    week: date
    ids: tuple[str, ...]
    match_distance: NDArray[np.float64]
    reason: str
    preparation: Preparation | None = None
    choice: Choice | None = None
    density: Density | None = None
    alternatives: pl.DataFrame | None = None

    def labels(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        """Row number of the segment of every row of ``frame``."""
        if self.preparation is None or self.choice is None:
            return np.zeros(frame.height, np.int64)
        return nearest(self.preparation.transform(frame), self.choice.centroids)[0]

    def assign(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Segment of every client.

        Parameters
        ----------
        frame : client_id, as_of_date and the measures; one row per client and as-of date.

        Returns
        -------
        frame : client_id, as_of_date, fit_date, segment_id, centroid_distance (root mean square per scaled measure),
            is_unusual; rows as given.
        """
        if self.preparation is None or self.choice is None or self.density is None:
            labels, distance = np.zeros(frame.height, np.int64), np.zeros(frame.height)
            unusual = np.zeros(frame.height, bool)
        else:
            matrix = self.preparation.transform(frame)
            labels, distance = nearest(matrix, self.choice.centroids)
            unusual = self.density.is_unusual(matrix)
        ids = pl.Series(list(self.ids))
        return frame.select("client_id", "as_of_date").with_columns(
            fit_date=pl.lit(self.week),
            segment_id=ids.gather(pl.Series(labels)),
            centroid_distance=pl.Series(distance),
            is_unusual=pl.Series(unusual),
        )


@dataclass(frozen=True)
class SegmentHistory:
    """All fits, oldest first, and the membership of every client in every week."""

    fits: tuple[Fit, ...]
    memberships: pl.DataFrame

    @property
    def newest(self) -> Fit:
        """The fit in force."""
        return self.fits[-1]


def fit_schedule(train_weeks: Sequence[date], refit_weeks: int) -> tuple[date, ...]:
    """Training weeks in which segments are fitted: the first, and every ``refit_weeks``-th back from the newest.

    >>> [w.day for w in fit_schedule([date(2024, 1, d) for d in (1, 8, 15, 22)], 2)]
    [1, 8, 22]
    """
    weeks = sorted(train_weeks)
    return tuple(sorted({*weeks[:1], *weeks[::-1][::refit_weeks]}))


def fit_segments(
    frame: pl.DataFrame,
    week: date,
    measures: Sequence[Measure],
    config: SegmentConfig,
    earlier: Fit | None = None,
    used: int = 0,
    is_newest: bool = True,
) -> Fit:
    """Fit segments on the clients of one week and match them to an earlier fit.

    Parameters
    ----------
    frame : one row per client with the measures' columns.
    earlier : fit whose ids continue; None for the first. used : ids given out so far.
    is_newest : True for the fit that stays in force: it alone is compared with other methods.
    """
    frame = frame.sort("client_id")
    try:
        preparation = fit_preparation(frame, measures, config)
    except SegmentationError as error:
        ids = earlier.ids[:1] if earlier else new_ids(1, used)
        return Fit(week, ids, np.full(1, np.nan), f"All clients are one segment. {error}")
    matrix = preparation.transform(frame)
    choice = choose_k(matrix, config, len(earlier.ids) if earlier else None)
    others = None
    if is_newest:
        choice, others = alternatives(matrix, choice, config)
    density = fit_density(matrix, config)
    if earlier is None:
        ids, distance = new_ids(choice.k, used), np.full(choice.k, np.nan)
    else:
        before = group_means(matrix, earlier.labels(frame), len(earlier.ids))
        ids, distance = match_segments(before, earlier.ids, choice.centroids, used, config.match_distance)
    return Fit(week, ids, distance, choice.reason, preparation, choice, density, others)


def segment_history(
    inputs: pl.DataFrame, train_weeks: Sequence[date], measures: Sequence[Measure], config: SegmentConfig
) -> SegmentHistory:
    """Fit on the schedule, then assign every client in every week.

    Parameters
    ----------
    inputs : client_id, as_of_date and the measures, one row per client and as-of date; whole weeks. Weeks before the
        first fit are left out: no fit existed then.
    train_weeks : weeks fits may use.

    Returns
    -------
    SegmentHistory : memberships sorted by client and date.

    Raises
    ------
    SegmentationError : no row lies in a training week.
    """
    weeks = sorted(inputs["as_of_date"].unique().to_list())
    by_week = {key[0]: part for key, part in inputs.partition_by("as_of_date", as_dict=True).items()}
    schedule = fit_schedule([w for w in train_weeks if w in by_week], config.refit_weeks)
    if not schedule:
        raise SegmentationError("No client in any training week: there is nothing to fit segments on.")
    fits: list[Fit] = []
    parts: list[pl.DataFrame] = []
    used = 0
    for week in weeks:
        if week in schedule:
            before, is_last = (fits[-1] if fits else None), week == schedule[-1]
            fits.append(fit_segments(by_week[week], week, measures, config, before, used, is_last))
            used = max(used, *(int(i[1:]) for i in fits[-1].ids))
        if fits:
            parts.append(fits[-1].assign(by_week[week]))
    return SegmentHistory(tuple(fits), pl.concat(parts).sort("client_id", "as_of_date"))
