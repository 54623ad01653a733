"""Gradient boosting with out-of-fold scores, shared by both tiers, the aggregation and the flat baseline.

Rule of this file: no row is ever scored by a booster that saw its client, and the number of rounds is found inside
the training folds only.

For each fold k the rounds are found by early stopping on fold k+1, then a booster is refitted on all folds but k
with that many rounds and scores fold k. The final booster trains on everything with the median of the rounds.
With ``is_committee`` the boosters of the folds are the model and their mean margin is its score: each saw another
part of the clients, which is what bagging averages over (Breiman 1996, "Bagging predictors"; with the folds as parts:
Parmanto, Munro and Doyle 1996), and no further fit is needed. Committees that saw different columns are one model by
:func:`merge`.

Negatives are sampled; the log of the sampling rate is added to every margin, which undoes it exactly for odds
(prior correction: King and Zeng 2001, "Logistic regression in rare events data", eq. 7). One thread per fit, fits
in parallel: a fit then does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xgboost as xgb
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import expit

from ml_assets.config import ModelConfig
from ml_assets.models.parts import in_parts
from ml_assets.models.tree_shap import TreeTables, tables_of


@dataclass(frozen=True)
class Boost:
    """A booster with the log of its negatives' sampling rate and the rounds it was given.

    ``settings`` are what it was grown with (depth, learning rate, samples, penalties).
    ``others`` are further members of a committee: margins and contributions are then means over all members.
    """

    booster: xgb.Booster
    log_rate: float
    rounds: int
    features: tuple[str, ...]
    others: tuple[xgb.Booster, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def members(self) -> tuple[xgb.Booster, ...]:
        """All boosters whose mean margin is the score."""
        return (self.booster, *self.others)

    def margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds corrected for sampling, shape (rows,); columns in the order of ``features``."""
        return in_parts(self._margin, matrix)

    def _margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        total = np.zeros(len(matrix))
        if len(matrix):
            data = xgb.DMatrix(matrix, missing=np.nan, nthread=1)
            for member in self.members:
                total += np.asarray(member.predict(data, output_margin=True), dtype=np.float64)
        return total / len(self.members) + self.log_rate

    def total_gain(self) -> NDArray[np.float64]:
        """Loss that splits on each feature took away in training, shape (features,); 0 where it is never split on."""
        gain = np.zeros(len(self.features))
        for member in self.members:
            for name, value in member.get_score(importance_type="total_gain").items():
                gain[int(name[1:])] += float(np.asarray(value).item())
        return gain

    def probability(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability corrected for sampling, in double precision, so that it does not saturate early."""
        return np.asarray(expit(self.margin(matrix)))

    def contributions(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Exact TreeSHAP values in log-odds (:mod:`ml_assets.models.tree_shap`), shape (rows, features + 1).

        The last column is the base, set so that each row sums to :meth:`margin` exactly.
        """
        parts = in_parts(self._tables.contributions, matrix) / len(self.members)
        return np.column_stack([parts, self.margin(matrix) - parts.sum(axis=1)])

    @cached_property
    def _tables(self) -> TreeTables:
        # weeks are explained a few at a time, and the members' trees are the same for all of them
        return tables_of(self.members)


_SETTINGS = ("learning_rate", "minimum_child_weight", "l2_penalty", "row_sample_ratio", "column_sample_ratio")


def _margin(booster: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(matrix):
        return np.zeros(0)
    data = xgb.DMatrix(matrix, missing=np.nan, nthread=1)
    return np.asarray(booster.predict(data, output_margin=True), dtype=np.float64)


def _parameters(config: ModelConfig, depth: int, monotone: int, features: int, base: float) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": depth,
        "eta": config.learning_rate,
        "subsample": config.row_sample_ratio,
        "colsample_bytree": config.column_sample_ratio,
        "min_child_weight": config.minimum_child_weight,
        "lambda": config.l2_penalty,
        "max_bin": config.histogram_bins,
        "eval_metric": "logloss",
        "base_score": min(max(base, 1e-6), 1 - 1e-6),
        "seed": config.seed % 2**31,
        "nthread": 1,
        "verbosity": 0,
    }
    if monotone:
        parameters["monotone_constraints"] = "(" + ",".join([str(monotone)] * features) + ")"
    return parameters


def _fit(
    matrix: NDArray[np.float32],
    target: NDArray[np.bool_],
    rounds: int,
    config: ModelConfig,
    depth: int,
    monotone: int,
    stop_on: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None,
) -> tuple[xgb.Booster, int]:
    """Train one booster; with ``stop_on`` stop early on it. Returns the booster and its best number of rounds."""
    parameters = _parameters(config, depth, monotone, matrix.shape[1], float(target.mean()))
    data = xgb.QuantileDMatrix(
        matrix, target.astype(np.float32), missing=np.nan, max_bin=config.histogram_bins, nthread=1
    )
    if stop_on is None:
        return xgb.train(parameters, data, rounds), rounds
    watch = xgb.DMatrix(stop_on[0], stop_on[1].astype(np.float32), missing=np.nan, nthread=1)
    booster = xgb.train(
        parameters,
        data,
        rounds,
        evals=[(watch, "stop")],
        early_stopping_rounds=config.stopping_rounds,
        verbose_eval=False,
    )
    return booster, int(booster.best_iteration) + 1


def fit_rounds(
    matrix: NDArray[np.float32],
    target: NDArray[np.bool_],
    stop_matrix: NDArray[np.float32] | None,
    stop_target: NDArray[np.bool_] | None,
    config: ModelConfig,
    rounds: int | None = None,
) -> tuple[xgb.Booster, int]:
    """One booster and its rounds: found by early stopping on the second pair where given and of both classes.

    Parameters
    ----------
    matrix, target : rows that train, shapes (rows, features) and (rows,).
    rounds : rounds without early stopping; half the configured ones where None.
    """
    can_stop = stop_matrix is not None and stop_target is not None and _has_both(stop_target) and _has_both(target)
    stop_on = (stop_matrix, stop_target) if can_stop else None
    most = config.trees if can_stop else rounds or max(1, config.trees // 2)
    return _fit(matrix, target, most, config, config.depth, 0, stop_on)  # type: ignore[arg-type]


def score_margin(booster: xgb.Booster, matrix: NDArray[np.float32], rounds: int) -> NDArray[np.float64]:
    """Margins of the first ``rounds`` rounds, shape (rows,), not corrected for sampling."""
    if not len(matrix):
        return np.zeros(0)
    data = xgb.DMatrix(matrix, missing=np.nan, nthread=1)
    return np.asarray(booster.predict(data, output_margin=True, iteration_range=(0, rounds)), dtype=np.float64)


def fit_grouped(
    matrix: NDArray[np.float32],
    target: NDArray[np.bool_],
    fold: NDArray[np.int32],
    is_fit: NDArray[np.bool_],
    log_rate: float,
    features: tuple[str, ...],
    config: ModelConfig,
    depth: int | None = None,
    monotone: int = 0,
    score_held_out: bool = True,
    is_committee: bool = False,
    hidden: Sequence[int] = (),
) -> tuple[Boost, NDArray[np.float64]]:
    """Fit a booster and the out-of-fold margins of its rows.

    Parameters
    ----------
    matrix : shape (rows, features), NaN where missing; every row gets an out-of-fold margin.
    target : shape (rows,), True where positive; read only where ``is_fit``.
    fold : shape (rows,), the row's fold, the same for all rows of a client; -1 where the client trains nowhere.
    is_fit : shape (rows,), rows that may train (eligible and kept by sampling).
    log_rate : log of the share of negatives kept.
    depth : tree depth; the configuration's where None.
    monotone : 1 forces the score to rise with every feature.
    score_held_out : False spares the out-of-fold boosters where only the final one is wanted; margins are NaN then.
    is_committee : the folds' boosters together are the model; needs ``score_held_out``.
    hidden : columns no booster may read. They are without any value in training, and what is never split on is not
        read in scoring, so that models with other hidden columns share one table.

    Returns
    -------
    (Boost, margins) : the booster on all ``is_fit`` rows, or the committee of those on all folds but one;
        out-of-fold log-odds, shape (rows,).
    """
    depth = depth or config.depth
    settings = (("depth", float(depth)), *((name, float(getattr(config, name))) for name in _SETTINGS))
    numbers, held_out = _folds(fold, is_fit)
    count = len(numbers)

    def of(rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        part = matrix[rows]
        part[:, list(hidden)] = np.nan
        return part

    def one(k: int) -> tuple[int, NDArray[np.float64], xgb.Booster | None]:
        train = is_fit & (fold != numbers[k])
        rounds = max(1, config.trees // 2)
        inner = is_fit & (fold == numbers[(k + 1) % count])
        rest = train & ~inner
        # with two folds nothing is left to stop on: half the rounds then
        if count > 2 and _has_both(target[rest]) and _has_both(target[inner]):
            stop_on = of(inner), target[inner]
            _, rounds = _fit(of(rest), target[rest], config.trees, config, depth, monotone, stop_on)
        if not score_held_out:
            return rounds, np.full(int(held_out[k].sum()), np.nan), None
        booster, _ = _fit(of(train), target[train], rounds, config, depth, monotone)
        return rounds, _margin(booster, matrix[held_out[k]]), booster

    results = Parallel(n_jobs=config.parallel_fits, prefer="threads")(delayed(one)(k) for k in range(count))
    margins = np.full(len(fold), np.nan)
    for k, (_, values, _) in enumerate(results):
        margins[held_out[k]] = values
    rounds = max(1, round(float(np.median([r for r, _, _ in results]))))
    if is_committee:
        members = [b for _, _, b in results if b is not None]
        return Boost(members[0], log_rate, rounds, features, tuple(members[1:]), settings), margins + log_rate
    booster, _ = _fit(of(is_fit), target[is_fit], rounds, config, depth, monotone)
    return Boost(booster, log_rate, rounds, features, (), settings), margins + log_rate


def merge(committees: Sequence[Boost]) -> Boost:
    """One committee of the members of several, which read the same features and are equally many: their mean margin.

    ``rounds`` is the median of the committees'; the settings are the first one's.
    """
    first = committees[0]
    members = [member for committee in committees for member in committee.members]
    rounds = max(1, round(float(np.median([c.rounds for c in committees]))))
    return replace(first, booster=members[0], others=tuple(members[1:]), rounds=rounds)


def _folds(fold: NDArray[np.int32], is_fit: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[NDArray[np.bool_]]]:
    """Numbers of the folds that train, and the rows each one's booster scores.

    Rows of clients that train in no fold are unseen by every booster; the first fold's scores them.
    """
    numbers = np.unique(fold[is_fit])
    held_out = [fold == number for number in numbers]
    held_out[0] |= ~np.isin(fold, numbers)
    return numbers, held_out


def _has_both(target: NDArray[np.bool_]) -> bool:
    return bool(target.any() and not target.all())
