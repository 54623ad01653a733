"""Tier 1: one pillar's supervised and unsupervised score, and their blend.

Rule of this file: one pillar at a time, from its features and the labels; no pillar sees another. Everything is
fitted on training weeks; validation weeks decide the blend only; other weeks are never read while fitting.

``S_P = alpha * supervised + (1 - alpha) * unsupervised``. Supervised is XGBoost on the pillar's features,
unsupervised an Isolation Forest (Liu, Ting and Zhou 2008); both are on the scale of
:mod:`ml_assets.models.scaling`. The forest sees no label, so its training rows need no out-of-fold score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ml_assets.config import ModelConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.boosting import Boost, fit_grouped
from ml_assets.models.isolation import Forest, fit_forest
from ml_assets.models.matrix import numeric_columns, to_matrix, unusable_columns
from ml_assets.models.names import PILLARS
from ml_assets.models.sampling import client_folds, kept_negative_ratio, uniform_draws
from ml_assets.models.scaling import Scaler, fit_scaler
from ml_assets.models.splits import SplitPlan, eligible_labels
from ml_assets.models.store import Files, pack_arrays, pack_boost, pack_json, unpack_arrays, unpack_boost, unpack_json

_SCALE = "50 is the median training row, 70 the top 1 %, 80 the top 0.1 %"


def tier1_contract(pillar: str) -> TableContract:
    """Contract of ``tier1.tier1_<pillar>``."""
    return TableContract(
        schema="tier1",
        name=f"tier1_{pillar}",
        description=f"One row per client and as-of date: the tier-1 scores of pillar {pillar}.",
        grain=("client_id", "as_of_date"),
        columns=(
            Column("client_id", "text", "Client the score belongs to."),
            Column("as_of_date", "date", "Monday the score looks back from."),
            Column("model_id", "text", "Model bundle that scored the row."),
            Column(
                "supervised_score",
                "number",
                f"XGBoost score of the pillar; {_SCALE}.",
                unit="score",
                null_rule="no labels of both classes, or no usable feature",
                minimum=0,
                maximum=100,
            ),
            Column(
                "unsupervised_score",
                "number",
                f"Isolation Forest score of the pillar; {_SCALE}.",
                unit="score",
                null_rule="no usable feature",
                minimum=0,
                maximum=100,
            ),
            Column(
                "pillar_score",
                "number",
                "Blend of both halves with the pillar's alpha.",
                unit="score",
                null_rule="no usable feature",
                minimum=0,
                maximum=100,
            ),
        ),
    )


TIER1_CONTRACTS = {pillar: tier1_contract(pillar) for pillar in PILLARS}
"""Contracts of all five tier-1 tables by pillar key."""


@dataclass(frozen=True)
class Tier1Model:
    """A fitted pillar.

    ``features`` are the columns used, in order; ``dropped`` says why others were not. ``boost`` and
    ``supervised_scale`` are None without a supervised half, ``forest`` and ``unsupervised_scale`` where no feature
    is usable: then the pillar has no score. ``validation_ap`` holds the average precision on validation weeks of
    each half and of the blend, empty where it cannot be measured.
    """

    pillar: str
    features: tuple[str, ...]
    dropped: dict[str, str]
    boost: Boost | None
    forest: Forest | None
    supervised_scale: Scaler | None
    unsupervised_scale: Scaler | None
    alpha: float
    validation_ap: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def is_available(self) -> bool:
        """True where the pillar gives a score."""
        return self.forest is not None

    def files(self) -> Files:
        """The model as named bytes."""
        prefix = f"tier1_{self.pillar}"
        scales = {"supervised": self.supervised_scale, "unsupervised": self.unsupervised_scale}
        numbers = {
            "pillar": self.pillar,
            "features": list(self.features),
            "dropped": self.dropped,
            "alpha": self.alpha,
            "validation_ap": self.validation_ap,
            "reasons": list(self.reasons),
            "scales": {k: v.state() if v else None for k, v in scales.items()},
        }
        files = {f"{prefix}.json": pack_json(numbers), **pack_boost(prefix, self.boost)}
        if self.forest:
            files[f"{prefix}.npz"] = pack_arrays(self.forest.arrays())
        return files

    @classmethod
    def from_files(cls, pillar: str, files: Files) -> Tier1Model:
        """Inverse of :meth:`files`."""
        prefix = f"tier1_{pillar}"
        numbers = unpack_json(files[f"{prefix}.json"])
        scales = {k: Scaler.from_state(v) if v else None for k, v in numbers["scales"].items()}
        arrays = files.get(f"{prefix}.npz")
        return cls(
            pillar=pillar,
            features=tuple(numbers["features"]),
            dropped=numbers["dropped"],
            boost=unpack_boost(prefix, files),
            forest=Forest.from_arrays(unpack_arrays(arrays)) if arrays else None,
            supervised_scale=scales["supervised"],
            unsupervised_scale=scales["unsupervised"],
            alpha=numbers["alpha"],
            validation_ap=numbers["validation_ap"],
            reasons=tuple(numbers["reasons"]),
        )


@dataclass(frozen=True)
class TrainingRows:
    """Rows of training and validation weeks that a model may look at, sorted by client and date.

    ``rows`` holds the input's columns; the arrays have one element per row. ``fold`` is -1 outside training weeks.
    ``is_fit`` marks the sampled training rows, whose negatives stand for ``exp(-log_rate)`` rows each.
    """

    rows: pl.DataFrame
    is_train: NDArray[np.bool_]
    is_eligible: NDArray[np.bool_]
    is_positive: NDArray[np.bool_]
    fold: NDArray[np.int32]
    is_fit: NDArray[np.bool_]
    log_rate: float
    can_supervise: bool
    reason: str

    @property
    def is_validation(self) -> NDArray[np.bool_]:
        """Eligible rows of validation weeks."""
        return ~self.is_train & self.is_eligible


def training_rows(frame: pl.DataFrame, labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig) -> TrainingRows:
    """Cut ``frame`` to training and validation weeks and put labels, folds and sampling beside it.

    Parameters
    ----------
    frame : one row per client and as-of date, any weeks; rows without a label row are left out.
    labels : columns of ``intermediate.int_client_labels``.
    """
    weeks = [*plan.train_weeks, *plan.validation_weeks]
    wanted = (
        frame.select("client_id", "as_of_date")
        .with_row_index("row")
        .filter(pl.col("as_of_date").is_in(weeks))
        .join(labels.select("client_id", "as_of_date"), on=["client_id", "as_of_date"], how="semi")
        .sort("client_id", "as_of_date")["row"]
    )
    # one copy of a wide table at most, and none where it holds these rows in this order already
    is_all = len(wanted) == frame.height and bool((wanted == pl.int_range(frame.height, eager=True)).all())
    rows = frame if is_all else frame[wanted]
    folds = client_folds(labels, plan, config)
    beside = (
        rows.select("client_id", "as_of_date")
        .join(eligible_labels(labels, weeks), on=["client_id", "as_of_date"], how="left", maintain_order="left")
        .join(folds, on="client_id", how="left", maintain_order="left")
    )
    is_train = beside["as_of_date"].is_in(list(plan.train_weeks)).to_numpy()
    is_eligible = beside["is_positive"].is_not_null().to_numpy()
    is_positive = beside["is_positive"].fill_null(False).to_numpy()
    fold = np.where(is_train, beside["fold"].fill_null(-1).to_numpy(), -1).astype(np.int32)
    usable = is_eligible & beside["as_of_date"].is_in(list(plan.fit_weeks(config.train_week_stride))).to_numpy()
    rate = kept_negative_ratio(is_positive[usable], config.negative_ratio)
    draws = uniform_draws(beside["client_id"], beside["as_of_date"], config.seed)
    is_fit = usable & (is_positive | (draws < rate))
    reason = ""
    if not plan.is_supervised:
        reason = " ".join(plan.reasons) or "The split plan has no supervised half."
    elif folds.is_empty():
        reason = "Fewer than two positive or two negative clients in training: nothing can be held out."
    elif not (0 < is_positive[is_fit].sum() < is_fit.sum()):
        reason = "One class only among the training rows."
    return TrainingRows(
        rows=rows,
        is_train=is_train,
        is_eligible=is_eligible,
        is_positive=is_positive,
        fold=fold,
        is_fit=is_fit,
        log_rate=math.log(rate),
        can_supervise=not reason,
        reason=reason,
    )


def tune_alpha(
    supervised: NDArray[np.float64],
    unsupervised: NDArray[np.float64],
    target: NDArray[np.bool_],
    config: ModelConfig,
) -> tuple[float, dict[str, float]]:
    """Weight of the supervised half with the best average precision on the rows given.

    Ties go to the weight nearest the configured one. With one class only the configured weight is returned, and no
    measurement.
    """
    if not 0 < target.sum() < len(target):
        return config.alpha, {}
    measured = {
        a: float(average_precision_score(target, a * supervised + (1 - a) * unsupervised)) for a in config.alpha_grid
    }
    best = min(measured, key=lambda a: (-round(measured[a], 9), abs(a - config.alpha), a))
    return best, {
        "supervised": float(average_precision_score(target, supervised)),
        "unsupervised": float(average_precision_score(target, unsupervised)),
        "blend": measured[best],
    }


def fit_tier1(
    pillar: str,
    features: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    settings: Mapping[str, float] | None = None,
) -> tuple[Tier1Model, pl.DataFrame]:
    """Fit one pillar.

    Parameters
    ----------
    pillar : key of the pillar (``p1_volume_velocity``).
    features : client_id, as_of_date and feature columns; the model sees training and validation weeks only. Rows of
        the embargo before validation are scored, because tier 2 remembers them; their labels are not read.
    labels : columns of ``intermediate.int_client_labels``.
    settings : of the booster, in place of configured ones (:mod:`ml_assets.models.tuning`).

    Returns
    -------
    (Tier1Model, scores) : the model; scores that the model did not train on, one row per client and week of
        training (out-of-fold), embargo and validation (the final model): client_id, as_of_date, split, fold (null
        after training), supervised_score, unsupervised_score, pillar_score.
    """
    data = training_rows(features, labels, plan, config)
    train = data.is_train
    names = numeric_columns(data.rows)
    whole = to_matrix(data.rows, names)
    fitting = train & data.is_eligible if (train & data.is_eligible).sum() >= 2 else train
    dropped = unusable_columns(whole[fitting], names) if fitting.any() else {}
    kept = [n for n in names if n not in dropped]
    reasons: list[str] = []
    if fitting.sum() < 2 or not kept:
        reasons.append(
            f"Pillar {pillar} has no score: "
            + ("fewer than two training rows." if fitting.sum() < 2 else "none of its features is usable.")
        )
        model = Tier1Model(pillar, (), dropped, None, None, None, None, 0.0, {}, tuple(reasons))
        return model, _with_passed(_out_of_sample(data, None, None, 0.0), model, features, plan)
    matrix = whole if len(kept) == len(names) else whole[:, [names.index(n) for n in kept]]
    del whole

    forest, _ = fit_forest(matrix[fitting], config)
    strange = forest.score(matrix)
    unsupervised_scale = fit_scaler(strange[fitting])
    unsupervised = unsupervised_scale.transform(strange)

    boost, supervised_scale, supervised, alpha = None, None, None, 0.0
    measured: dict[str, float] = {}
    if data.can_supervise:
        boost, margin = fit_grouped(
            matrix[train],
            data.is_positive[train],
            data.fold[train],
            data.is_fit[train],
            data.log_rate,
            tuple(kept),
            config.model_copy(update=dict(settings or {})),
        )
        probability = np.empty(len(matrix))
        probability[train] = 1.0 / (1.0 + np.exp(-margin))
        probability[~train] = boost.probability(matrix[~train])
        supervised_scale = fit_scaler(probability[fitting])
        supervised = supervised_scale.transform(probability)
        seen = data.is_validation
        alpha, measured = tune_alpha(supervised[seen], unsupervised[seen], data.is_positive[seen], config)
        if not measured:
            reasons.append(f"Validation holds one class only: alpha stays at {config.alpha:g}.")
    else:
        reasons.append(f"Unsupervised half only: {data.reason}")
    model = Tier1Model(
        pillar=pillar,
        features=tuple(kept),
        dropped=dropped,
        boost=boost,
        forest=forest,
        supervised_scale=supervised_scale,
        unsupervised_scale=unsupervised_scale,
        alpha=alpha,
        validation_ap=measured,
        reasons=tuple(reasons),
    )
    return model, _with_passed(_out_of_sample(data, supervised, unsupervised, alpha), model, features, plan)


def _with_passed(scores: pl.DataFrame, model: Tier1Model, features: pl.DataFrame, plan: SplitPlan) -> pl.DataFrame:
    """``scores`` with those of the embargo weeks the memory of validation weeks needs."""
    rows = features.filter(pl.col("as_of_date").is_in(list(plan.passed_weeks)))
    if not rows.height:
        return scores
    passed = score_tier1(model, rows, "").with_columns(split=pl.lit("embargo"), fold=pl.lit(None, pl.Int32))
    return pl.concat([scores, passed.select(scores.columns)]).sort("client_id", "as_of_date")


def _blend(
    supervised: NDArray[np.float64] | None, unsupervised: NDArray[np.float64] | None, alpha: float, rows: int
) -> dict[str, pl.Series]:
    nothing = pl.Series([None] * rows, dtype=pl.Float64)
    if unsupervised is None:
        return {"supervised_score": nothing, "unsupervised_score": nothing, "pillar_score": nothing}
    blend = unsupervised if supervised is None else alpha * supervised + (1 - alpha) * unsupervised
    return {
        "supervised_score": nothing if supervised is None else pl.Series(supervised),
        "unsupervised_score": pl.Series(unsupervised),
        "pillar_score": pl.Series(blend),
    }


def _out_of_sample(
    data: TrainingRows,
    supervised: NDArray[np.float64] | None,
    unsupervised: NDArray[np.float64] | None,
    alpha: float,
) -> pl.DataFrame:
    fold = pl.Series(data.fold)
    return data.rows.select("client_id", "as_of_date").with_columns(
        split=pl.Series(np.where(data.is_train, "train", "validation").astype(object), dtype=pl.String),
        fold=pl.select(pl.when(fold >= 0).then(fold)).to_series(),
        **_blend(supervised, unsupervised, alpha, len(fold)),
    )


def score_tier1(model: Tier1Model, features: pl.DataFrame, model_id: str) -> pl.DataFrame:
    """Score rows with a fitted pillar.

    Parameters
    ----------
    features : client_id, as_of_date and at least the model's features, any weeks.
    model_id : id of the bundle the model belongs to.

    Returns
    -------
    frame : as :func:`tier1_contract`, sorted by client and date; scores null where the pillar has none.

    Raises
    ------
    FeatureMismatchError : a feature the model uses is missing.
    """
    rows = features.sort("client_id", "as_of_date")
    supervised = unsupervised = None
    if model.forest is not None and model.unsupervised_scale is not None:
        matrix = to_matrix(rows, list(model.features))
        unsupervised = model.unsupervised_scale.transform(model.forest.score(matrix))
        if model.boost is not None and model.supervised_scale is not None:
            supervised = model.supervised_scale.transform(model.boost.probability(matrix))
    return tier1_contract(model.pillar).conform(
        rows.select("client_id", "as_of_date").with_columns(
            model_id=pl.lit(model_id), **_blend(supervised, unsupervised, model.alpha, rows.height)
        )
    )
