"""Search for a booster's settings: seeded, pruned, resumable, bounded, and frozen once found.

Rule of this file: settings are searched inside the training weeks only and accepted on validation weeks; no other week
is read, and settings never depend on the clock once they are found.

* Search (Optuna's TPE: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"): average precision of
  held-out clients within the training weeks, mean over the first ``tuning_folds`` folds. Validation weeks hold too few
  reported clients to search on: the best of many noisy trials there is the luckiest, not the best.
* Pruning: after each fold a trial below the median of its predecessors stops (MedianPruner).
* Acceptance: what was found replaces the configured settings only where it ranks the validation weeks better.
* Bounds: ``tuning_trials`` and ``tuning_minutes`` a model. A study is written trial by trial to a journal file and goes
  on from there after a crash; the sampler is seeded by the number of finished trials, so an interrupted search ends
  where an uninterrupted one does. Only the bound in minutes depends on the machine; it is a brake, meant not to be
  reached, and a search it cut says so.
* Freezing: the result lies beside the models and is used by every later retraining until another search is asked for
  or its key (features, source, configuration) changes. A retraining thus never searches twice and gives the same
  bytes; the settings are saved within each booster as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import optuna.storages.journal
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ml_assets.config import ModelConfig
from ml_assets.files import replace_file
from ml_assets.models.boosting import fit_rounds, score_margin
from ml_assets.models.matrix import numeric_columns, to_matrix, unusable_columns
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import pack_json, unpack_json
from ml_assets.models.tier1 import TrainingRows, training_rows

Settings = dict[str, float | int]
"""Field of :class:`~ml_assets.config.ModelConfig` -> value; ``depth`` is the tree depth of the tuned model."""

TRIALS_SCHEMA = {"trial": pl.Int64, "state": pl.String, "folds": pl.Int64, "average_precision": pl.Float64}


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    ``settings`` are empty where the configured ones stay; ``trials`` has one row per trial (state COMPLETE or PRUNED,
    folds looked at, mean average precision of them, the settings tried); ``note`` says what was decided and why.
    """

    settings: Settings
    trials: pl.DataFrame
    note: str

    def apply(self, config: ModelConfig) -> ModelConfig:
        """The configuration with the settings in place."""
        return with_settings(config, self.settings)


def with_settings(config: ModelConfig, settings: Mapping[str, float | int]) -> ModelConfig:
    """The configuration with some knobs replaced, validated."""
    return ModelConfig.model_validate(config.model_dump() | dict(settings)) if settings else config


def tuning_key(*parts: str, config: ModelConfig) -> str:
    """What a frozen result holds for: the configuration and whatever else the caller names (features, source)."""
    return hashlib.sha256(pack_json([*parts, config.model_dump(mode="json")])).hexdigest()


def _suggest(trial: optuna.Trial) -> Settings:
    return {
        "depth": trial.suggest_int("depth", 2, 4),
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.2, log=True),
        "minimum_child_weight": trial.suggest_float("minimum_child_weight", 0.5, 20.0, log=True),
        "l2_penalty": trial.suggest_float("l2_penalty", 0.5, 30.0, log=True),
        "row_sample_ratio": trial.suggest_float("row_sample_ratio", 0.5, 1.0),
        "column_sample_ratio": trial.suggest_float("column_sample_ratio", 0.3, 1.0),
    }


def _configured(config: ModelConfig, depth: int) -> Settings:
    return {
        # the search goes no deeper than explanations can pay for
        "depth": min(max(depth, 2), 4),
        "learning_rate": min(max(config.learning_rate, 0.03), 0.2),
        "minimum_child_weight": min(max(config.minimum_child_weight, 0.5), 20.0),
        "l2_penalty": min(max(config.l2_penalty, 0.5), 30.0),
        "row_sample_ratio": min(max(config.row_sample_ratio, 0.5), 1.0),
        "column_sample_ratio": min(max(config.column_sample_ratio, 0.3), 1.0),
    }


@dataclass(frozen=True)
class _Rows:
    matrix: NDArray[np.float32]
    data: TrainingRows

    def fold_precision(self, fold: int, config: ModelConfig) -> tuple[float, int]:
        """Average precision on a held-out fold (NaN without positives) and the rounds found on the next fold."""
        d, count = self.data, int(self.data.fold.max()) + 1
        inner = d.is_fit & (d.fold == (fold + 1) % count)
        rest = d.is_fit & (d.fold != fold) & ~inner
        booster, rounds = fit_rounds(
            self.matrix[rest], d.is_positive[rest], self.matrix[inner], d.is_positive[inner], config
        )
        held = d.is_eligible & (d.fold == fold)
        if not 0 < d.is_positive[held].sum() < held.sum():
            return float("nan"), rounds
        margin = score_margin(booster, self.matrix[held], rounds)
        return float(average_precision_score(d.is_positive[held], margin)), rounds

    def validation_precision(self, rounds: int, config: ModelConfig) -> float:
        """Average precision on the validation weeks of a booster on all training rows."""
        d = self.data
        booster, _ = fit_rounds(self.matrix[d.is_fit], d.is_positive[d.is_fit], None, None, config, rounds)
        seen = d.is_validation
        return float(average_precision_score(d.is_positive[seen], score_margin(booster, self.matrix[seen], rounds)))


def tune(
    name: str,
    frame: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    folder: Path,
    key: str,
    depth: int | None = None,
    is_search_wanted: bool = False,
) -> Tuning:
    """The frozen settings of a model, searched for where there are none for this key.

    Parameters
    ----------
    name : of the model; names its files in ``folder``: ``<name>.json`` (frozen) and ``<name>.journal`` (the study).
    frame : client_id, as_of_date and the model's inputs; training and validation weeks are used.
    labels : columns of ``intermediate.int_client_labels``.
    key : of :func:`tuning_key`; a result frozen under another key is not used.
    depth : configured tree depth of the model; the configuration's where None.
    is_search_wanted : True searches again although a result is frozen.

    Returns
    -------
    Tuning : without labels of both classes in training and validation, or with no trial allowed, no settings.
    """
    frozen = folder / f"{name}.json"
    journal = folder / f"{name}.journal"
    if frozen.is_file() and not is_search_wanted:
        known = unpack_json(frozen.read_bytes())
        if known["key"] == key:
            return _thaw(known)
    if is_search_wanted and frozen.is_file():
        # a finished study would only be read back
        journal.unlink(missing_ok=True)
    depth = depth or config.depth
    tuning = _search(frame, labels, plan, config, depth, journal, f"{name} {key}")
    found = {"key": key, "settings": tuning.settings, "note": tuning.note, "trials": tuning.trials.to_dicts()}
    replace_file(frozen, pack_json(found))
    return tuning


def _thaw(known: Mapping[str, Any]) -> Tuning:
    columns = [c for row in known["trials"][:1] for c in row if c not in TRIALS_SCHEMA]
    schema = TRIALS_SCHEMA | {c: pl.Float64() for c in columns}
    return Tuning(
        dict(known["settings"]),
        pl.DataFrame(known["trials"], schema=schema),
        known["note"],
    )


def _search(
    frame: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    depth: int,
    journal: Path,
    study_name: str,
) -> Tuning:
    data = training_rows(frame, labels, plan, config)
    seen = data.is_validation
    folds = int(data.fold.max(initial=-1)) + 1
    nothing = pl.DataFrame(schema=TRIALS_SCHEMA)
    if config.tuning_trials < 1:
        return Tuning({}, nothing, "No trials are allowed: configured settings.")
    if not data.can_supervise or folds < 3 or not 0 < data.is_positive[seen].sum() < seen.sum():
        return Tuning({}, nothing, "Too few labels to search with: configured settings.")
    names = numeric_columns(data.rows)
    matrix = to_matrix(data.rows, names)
    dropped = unusable_columns(matrix[data.is_train & data.is_eligible], names)
    kept = [i for i, n in enumerate(names) if n not in dropped]
    if not kept:
        return Tuning({}, nothing, "No usable column.")
    rows = _Rows(matrix if len(kept) == len(names) else matrix[:, kept], data)
    looked_at = range(min(folds, config.tuning_folds))

    def objective(trial: optuna.Trial) -> float:
        tried = with_settings(config, _suggest(trial))
        found: list[float] = []
        rounds: list[int] = []
        for step, fold in enumerate(looked_at):
            precision, best = rows.fold_precision(fold, tried)
            rounds.append(best)
            if np.isfinite(precision):
                found.append(precision)
            trial.set_user_attr("folds", step + 1)
            if found:
                trial.report(float(np.mean(found)), step)
            if step + 1 < len(looked_at) and trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("rounds", int(np.median(rounds)))
        return float(np.mean(found)) if found else 0.0

    journal.parent.mkdir(parents=True, exist_ok=True)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal))),
            study_name=study_name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        )
        _reseed(study, config)
        start = _configured(config, depth)
        study.enqueue_trial(start, skip_if_exists=True)
        left = config.tuning_trials - len(_finished(study))
        if left > 0:
            study.optimize(
                objective,
                n_trials=left,
                timeout=60.0 * config.tuning_minutes,
                callbacks=[lambda study, _: _reseed(study, config)],
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    done = _finished(study)
    table = pl.DataFrame(
        [
            {
                "trial": i,
                "state": t.state.name,
                "folds": t.user_attrs.get("folds", 0),
                "average_precision": t.value
                if t.value is not None
                else max(t.intermediate_values.values(), default=None),
                **{k: float(v) for k, v in t.params.items()},
            }
            for i, t in enumerate(done)
        ],
        schema=TRIALS_SCHEMA | {k: pl.Float64() for k in sorted(start)},
    )
    complete = [t for t in done if t.state == optuna.trial.TrialState.COMPLETE]
    cut = "" if len(done) >= config.tuning_trials else f" Stopped by the clock after {len(done)} trials."
    if not complete:
        return Tuning({}, table, f"No trial was finished: configured settings.{cut}")
    best = max(complete, key=lambda t: (round(float(t.value or 0.0), 9), -t.number))
    first = next((t for t in complete if t.params == start), None)
    if first is None or best.params == first.params:
        return Tuning({}, table, f"The configured settings ranked held-out training clients best.{cut}")
    usual = rows.validation_precision(first.user_attrs["rounds"], with_settings(config, start))
    found = rows.validation_precision(best.user_attrs["rounds"], with_settings(config, best.params))
    words = f"average precision on validation {found:.4f} against {usual:.4f} as configured"
    if found > usual:
        return Tuning(dict(best.params), table, f"Settings found: {words}.{cut}")
    return Tuning({}, table, f"Settings found were not better, configured ones stay: {words}.{cut}")


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Complete and pruned trials in order; what a killed process left running does not count."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return sorted(study.get_trials(deepcopy=False, states=states), key=lambda t: t.number)


def _reseed(study: optuna.Study, config: ModelConfig) -> None:
    study.sampler = optuna.samplers.TPESampler(
        seed=(config.seed + 7919 * len(_finished(study))) % 2**32, n_startup_trials=3
    )
