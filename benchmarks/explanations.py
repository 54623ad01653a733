"""Exact TreeSHAP values of a committee: the product's tables against XGBoost's own walk through every tree."""

from __future__ import annotations

from typing import Final

import numpy as np
import xgboost as xgb

from benchmarks.record import Recorder, Row, timed
from ml_assets.config import ModelConfig
from ml_assets.models.boosting import fit_grouped

FEATURES: Final = 150
TRAINED_ON: Final = 20_000
ROWS: Final = 20_000
PEER_ROWS: Final = 4_000
"""Rows XGBoost explains; the rest is extrapolated linearly."""


def committee_contributions(record: Recorder) -> None:
    """One committee of a booster per fold, of the configured depth, on made-up rows with missing values."""
    config = ModelConfig()
    rng = np.random.default_rng(config.seed)
    matrix = rng.normal(size=(TRAINED_ON, FEATURES)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    known = np.nan_to_num(matrix)
    positive = known[:, 0] + known[:, 1] * known[:, 2] + rng.normal(size=TRAINED_ON) > 2.5
    fold = (np.arange(TRAINED_ON) % config.folds).astype(np.int32)
    names = tuple(f"f{i}" for i in range(FEATURES))
    boost, _ = fit_grouped(
        matrix, positive, fold, np.ones(TRAINED_ON, dtype=bool), 0.0, names, config, is_committee=True
    )
    rows = matrix[:ROWS]
    boost.contributions(rows)
    own, seconds = timed(lambda: boost.contributions(rows), 2)
    data = xgb.DMatrix(rows[:PEER_ROWS], missing=np.nan)
    theirs, taken = timed(lambda: np.mean([m.predict(data, pred_contribs=True) for m in boost.members], axis=0))
    gap = float(np.abs(own[:PEER_ROWS, :-1] - theirs[:, :-1]).max())
    trees = sum(m.num_boosted_rounds() for m in boost.members)
    record.add(
        Row("TreeSHAP values of a committee", f"{ROWS:,} rows, {trees} trees of depth {config.depth}", seconds,
            "XGBoost pred_contribs", taken * ROWS / PEER_ROWS, equal=gap <= 1e-5,
            note=f"leaf tables made before, once a model; both on all cores; XGBoost on {PEER_ROWS:,} rows took "
            f"{taken:.1f} s, extrapolated linearly; largest difference {gap:.0e} (XGBoost sums in single precision)")
    )  # fmt: skip
