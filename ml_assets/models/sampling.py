"""Seeded, order-independent draws over clients and client-weeks: folds and the sampling of negatives.

Rule of this file: a draw depends on the ids, the dates and the seed only, never on row order or on which other
rows are present, so that a retraining on more weeks keeps the draws of the old ones.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from ml_assets.config import ModelConfig
from ml_assets.models.splits import SplitPlan, eligible_labels


def uniform_draws(client_id: pl.Series, as_of_date: pl.Series, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) per client and week, from SipHash of the id and a SplitMix64 step (Steele et al. 2014).

    Shapes ``(n,)`` in and out. The same pair always gets the same number for a seed.
    """
    key = f"{seed % 10**16:016d}"
    values, position = np.unique(client_id.to_numpy().astype(object), return_inverse=True)
    hashed = np.asarray(pd.util.hash_array(values, hash_key=key, categorize=False), dtype=np.uint64)[position]
    day = as_of_date.cast(pl.Date).to_physical().to_numpy().astype(np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = hashed + (day + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def kept_negative_ratio(is_positive: NDArray[np.bool_], negative_ratio: int) -> float:
    """Share of negatives to keep so that about ``negative_ratio`` remain per positive; 1 where there are fewer."""
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    return 1.0 if positives == 0 or negatives == 0 else min(1.0, positives * negative_ratio / negatives)


def client_folds(labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig) -> pl.DataFrame:
    """Assign every client of the training weeks to one fold, stratified by whether it is ever positive there.

    All weeks of a client share its fold. One row per client stands for StratifiedGroupKFold over its rows, at a
    fraction of the cost. Every pillar, tier 2 and the aggregation use the same folds.

    Parameters
    ----------
    labels : columns of ``intermediate.int_client_labels``.
    plan : only its training weeks are read.

    Returns
    -------
    frame : client_id, fold (0..k-1), sorted by client; k is at most the number of positive clients. Empty where
        fewer than two clients of either class exist: then nothing can be held out.
    """
    rows = labels.filter(pl.col("as_of_date").is_in(list(plan.train_weeks)))
    positive = (
        eligible_labels(labels, plan.train_weeks).group_by("client_id").agg(is_positive=pl.col("is_positive").any())
    )
    clients = (
        rows.select(pl.col("client_id").unique())
        .join(positive, on="client_id", how="left")
        .with_columns(pl.col("is_positive").fill_null(False))
        .sort("client_id")
    )
    target = clients["is_positive"].to_numpy()
    smallest = int(min(target.sum(), (~target).sum())) if len(target) else 0
    if smallest < 2:
        return pl.DataFrame(schema={"client_id": pl.String, "fold": pl.Int32})
    folds = StratifiedKFold(min(config.folds, smallest), shuffle=True, random_state=config.seed)
    fold = np.zeros(len(target), dtype=np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for k, (_, held_out) in enumerate(folds.split(np.zeros(len(target)), target)):
            fold[held_out] = k
    return clients.select("client_id", fold=pl.Series(fold))
