"""The common 0-100 scale of pillar scores.

Rule of this file: a scale is fitted on training rows once and is strictly increasing ever after, so it never makes
two different raw scores equal and never reorders them.

The scale is the log-odds of the training percentile: ``S = 50 + 10 * log10(p / (1 - p))`` where ``p`` is the
mid-rank share of training rows below. 50 is the median training row, 60 about the top 9 %, 70 the top 1 %, 80 the
top 0.1 %: ten points per factor of ten in the odds, so the tail that alerts live in is not squeezed into the last
point as it is with a plain percentile. Between training quantiles the scale is linear; beyond the extremes it runs
on to the theoretical bounds of the raw score, which get 0 and 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TAIL = np.concatenate([np.linspace(0.0, 0.9, 10), np.linspace(0.91, 0.99, 9), np.linspace(0.991, 0.999, 9)])
_LEVELS = np.unique(np.round(np.concatenate([_TAIL, 1.0 - _TAIL, np.linspace(0, 1, 101), [0.0005, 0.9995, 1.0]]), 6))
_TOP = 99.0
"""Score of the largest training value at most; the rest up to 100 is for values never seen."""


@dataclass(frozen=True)
class Scaler:
    """Knots of a strictly increasing piecewise-linear map; ``raw`` and ``score`` have equal shapes, both ascending."""

    raw: NDArray[np.float64]
    score: NDArray[np.float64]

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores 0-100 of raw values, shape kept; values outside the bounds get the bound's, NaN stays NaN."""
        return np.interp(values, self.raw, self.score)

    def state(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {"raw": self.raw.tolist(), "score": self.score.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Scaler:
        """Inverse of :meth:`state`."""
        return cls(np.array(state["raw"], dtype=np.float64), np.array(state["score"], dtype=np.float64))


def fit_scaler(values: NDArray[np.float64], lower: float = 0.0, upper: float = 1.0) -> Scaler:
    """Fit the scale on raw training scores.

    Parameters
    ----------
    values : raw scores of training rows within ``[lower, upper]``, shape (rows,); NaN are left out.
    lower, upper : theoretical bounds of the raw score; they are mapped to 0 and 100.

    Returns
    -------
    Scaler : without any value, the straight line from the lower to the upper bound.

    Raises
    ------
    ValueError : a value outside the bounds.

    >>> s = fit_scaler(np.linspace(0.1, 0.2, 999))
    >>> s.transform(np.array([0.0, 0.15, 1.0])).round(6).tolist()
    [0.0, 50.0, 100.0]
    """
    values = np.sort(np.asarray(values, dtype=np.float64)[~np.isnan(values)])
    if not len(values):
        return Scaler(np.array([lower, upper]), np.array([0.0, 100.0]))
    if values[0] < lower or values[-1] > upper:
        raise ValueError(f"Raw scores {values[0]:g} to {values[-1]:g} lie outside their bounds {lower:g} to {upper:g}.")
    knots = np.unique(values[np.round(_LEVELS * (len(values) - 1)).astype(np.int64)])
    knots = knots[(knots > lower) & (knots < upper)]
    below = np.searchsorted(values, knots, side="left")
    upto = np.searchsorted(values, knots, side="right")
    share = (below + upto) / (2.0 * len(values))
    score = 50.0 + 10.0 * np.log10(share / (1.0 - share))
    # a training set of more than 80,000 rows would run past the ends: squeeze both tails, keeping the order
    over, under = score > _TOP - 4, score < 104 - _TOP
    score[over] = _TOP - 4 * np.exp(-(score[over] - (_TOP - 4)) / 4)
    score[under] = (100 - _TOP) + 4 * np.exp(-((104 - _TOP) - score[under]) / 4)
    # knots closer than the scale can tell apart would make it flat: keep the first of each such run
    raw = np.concatenate([[lower], knots, [upper]])
    mapped = np.concatenate([[0.0], score, [100.0]])
    keep = np.concatenate([[True], np.diff(mapped) > 0])
    return Scaler(raw[keep], mapped[keep])
