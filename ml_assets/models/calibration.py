"""From a champion's log-odds to the probability of an STR within the horizon.

Rule of this file: the map is strictly increasing, so calibration never changes a ranking.

Platt scaling on log-odds (Platt 1999, with his smoothed targets, which keep the slope finite when validation is
separable): ``p = 1 / (1 + exp(-(slope * raw + intercept)))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Calibration:
    """``probability = expit(slope * raw + intercept)``, slope above 0; ``reason`` says why it was not fitted."""

    slope: float = 1.0
    intercept: float = 0.0
    reason: str = ""

    def probability(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of an STR within the horizon, shape kept; NaN stays NaN."""
        return np.asarray(expit(self.slope * raw + self.intercept))


def fit_calibration(raw: NDArray[np.float64], target: NDArray[np.bool_]) -> Calibration:
    """Fit the calibration on validation rows.

    Parameters
    ----------
    raw : champion's log-odds, shape (rows,). target : True where an STR followed, shape (rows,).

    Returns
    -------
    Calibration : identity, with the reason, where validation holds one class only; the slope stays 1 and only the
        level is corrected where a fitted slope would turn the ranking over.
    """
    known = np.isfinite(raw)
    raw, target = raw[known], target[known]
    positives, negatives = int(target.sum()), int((~target).sum())
    if not positives or not negatives:
        return Calibration(reason="Validation holds one class only: the champion's own probability is used.")
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    soft = np.where(target, high, low)
    centre, spread = float(raw.mean()), float(raw.std())
    if spread > 0:
        scaled = ((raw - centre) / spread).reshape(-1, 1)
        with threadpool_limits(1):
            fitted = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(
                np.concatenate([scaled, scaled]),
                np.concatenate([np.ones(len(raw)), np.zeros(len(raw))]),
                sample_weight=np.concatenate([soft, 1 - soft]),
            )
        slope = float(fitted.coef_[0, 0]) / spread
        if slope > 1e-6:
            return Calibration(slope, float(fitted.intercept_[0]) - slope * centre)
    level = np.log(soft.mean() / (1 - soft.mean())) - np.log(expit(raw).mean() / (1 - expit(raw).mean()))
    return Calibration(1.0, float(level), "The champion does not rank validation: only the level is corrected.")
