"""From S_P1..S_P6 to one score: three strategies, the champion among them, its calibration and its cuts.

Rule of this file: strategies are fitted on out-of-fold scores of training weeks; validation weeks choose the
champion (highest average precision; equal ones to nine digits go to the simpler: linear, then Bayesian, then
boosting), calibrate it and set the cuts.

* Linear: ``sum w_i S_i`` with weights on the simplex. Fitted as a logistic regression with non-negative
  coefficients (log loss, L-BFGS-B); their shares are the weights, their sum the slope of the log-odds.
  S_P6 has already been told what the pillars say, so how far the weights go on from there towards P6 alone is read
  on out-of-fold training and validation scores (``scheme_weight_grid``). A missing pillar's weight is shared out among
  the others.
* Boosting: shallow XGBoost, forced to rise with every pillar. A missing pillar is missing to XGBoost.
* Bayesian: prior log-odds plus, per pillar, the log ratio of kernel densities (positives over negatives; Gaussian,
  Silverman 1986 bandwidth on the number of *clients*, reflected at 0 and 100, mixed with a uniform floor). Pillars
  are taken as independent given the class; calibration repairs the level, not the ranking. A missing pillar counts
  as ratio 1.

Every strategy yields log-odds ("raw"); contributions sum to them and calibration starts from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from ml_assets.config import ModelConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.bands import Cuts, fit_cuts
from ml_assets.models.boosting import Boost, fit_grouped
from ml_assets.models.calibration import Calibration, fit_calibration
from ml_assets.models.matrix import GRAIN
from ml_assets.models.names import BANDS, SCHEME_PILLAR, SCORE_OF, STRATEGIES
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import Files, pack_boost, pack_json, unpack_boost, unpack_json
from ml_assets.models.tier1 import training_rows

_STEP = 0.25
_CENTRES = np.arange(_STEP / 2, 100.0, _STEP)
_PER_POINT = math.log(10.0) / 10.0
"""Natural log-odds per point of the common scale (see :mod:`ml_assets.models.scaling`)."""


def _strategy_column(name: str, what: str) -> Column:
    return Column(
        f"{name}_score",
        "number",
        what,
        unit="score",
        null_rule="the strategy could not be fitted, or no pillar score",
        minimum=0,
        maximum=100,
    )


SCORES_CONTRACT = TableContract(
    schema="scores",
    name="client_scores",
    description="One row per client and as-of date: the three aggregations, the calibrated B-CRS, band and alert.",
    grain=GRAIN,
    columns=(
        Column("client_id", "text", "Client the score belongs to."),
        Column("as_of_date", "date", "Monday the score looks back from."),
        Column("model_id", "text", "Model bundle that scored the row."),
        _strategy_column("linear", "Weighted mean of the pillar scores, weights on the simplex."),
        _strategy_column("boosting", "100 x probability of the boosted aggregation, before calibration."),
        _strategy_column("bayesian", "100 x posterior of the Bayesian aggregation, before calibration."),
        Column("champion", "text", "Strategy the B-CRS comes from.", allowed=STRATEGIES),
        Column(
            "bcrs_probability_ratio",
            "number",
            "Calibrated probability of an STR within the label horizon.",
            unit="ratio",
            null_rule="no labels to calibrate on, or no pillar score",
            minimum=0,
            maximum=1,
        ),
        Column(
            "bcrs_score",
            "number",
            "B-CRS: 100 x the calibrated probability; without labels, the weighted mean of the pillar scores.",
            unit="score",
            null_rule="no pillar score",
            minimum=0,
            maximum=100,
        ),
        Column("band", "text", "Risk band, with hysteresis on the way down.", allowed=BANDS),
        Column(
            "rank_in_week_count",
            "integer",
            "Rank by B-CRS among the clients of the week, 1 is the riskiest; equal scores by client id.",
            unit="count",
            null_rule="no score",
            minimum=1,
        ),
        Column("is_alert", "boolean", "In HIGH and ranked within the week's alert capacity."),
        Column(
            "split",
            "text",
            "Part of the calendar the week belonged to when the model was trained.",
            allowed=("train", "embargo", "validation", "test", "live"),
        ),
    ),
)
"""Contract of ``scores.client_scores``."""


@dataclass(frozen=True)
class AggregationModel:
    """The three strategies and what validation decided about them.

    ``columns`` are the score columns in use. Linear: ``weights`` (on the simplex), ``means`` (training means, the
    reference of contributions), ``slope`` and ``intercept`` of the log-odds per 100 points. Bayesian:
    ``log_ratios`` at 400 points of the scale per column, ``prior`` log-odds; empty and NaN where not fitted.
    ``validation_ap`` is empty where validation could not choose.
    """

    columns: tuple[str, ...]
    weights: tuple[float, ...]
    means: tuple[float, ...]
    slope: float
    intercept: float
    boost: Boost | None
    log_ratios: tuple[tuple[float, ...], ...]
    prior: float
    champion: str
    calibration: Calibration | None
    cuts: Cuts
    validation_ap: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def is_supervised(self) -> bool:
        """True where the strategies learned from labels and the B-CRS is a probability."""
        return self.calibration is not None

    def files(self) -> Files:
        """The model as named bytes."""
        c = self.calibration
        numbers = {
            "columns": list(self.columns),
            "weights": list(self.weights),
            "means": list(self.means),
            "slope": self.slope,
            "intercept": self.intercept,
            "log_ratios": [list(r) for r in self.log_ratios],
            "prior": self.prior,
            "champion": self.champion,
            "calibration": {"slope": c.slope, "intercept": c.intercept, "reason": c.reason} if c else None,
            "cuts": self.cuts.state(),
            "validation_ap": self.validation_ap,
            "reasons": list(self.reasons),
        }
        return {"aggregation.json": pack_json(numbers), **pack_boost("aggregation", self.boost)}

    @classmethod
    def from_files(cls, files: Files) -> AggregationModel:
        """Inverse of :meth:`files`."""
        n = unpack_json(files["aggregation.json"])
        return cls(
            columns=tuple(n["columns"]),
            weights=tuple(n["weights"]),
            means=tuple(n["means"]),
            slope=n["slope"],
            intercept=n["intercept"],
            boost=unpack_boost("aggregation", files),
            log_ratios=tuple(tuple(r) for r in n["log_ratios"]),
            prior=n["prior"],
            champion=n["champion"],
            calibration=Calibration(**n["calibration"]) if n["calibration"] else None,
            cuts=Cuts(**n["cuts"]),
            validation_ap=n["validation_ap"],
            reasons=tuple(n["reasons"]),
        )


def score_matrix(scores: pl.DataFrame, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """Columns of a wide score frame as doubles, shape (rows, columns), NaN where null."""
    if not columns:
        return np.empty((scores.height, 0))
    return np.column_stack([scores[c].cast(pl.Float64).to_numpy().astype(np.float64) for c in columns])


def effective_weights(model: AggregationModel, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear weights per row, shape of ``matrix``: a missing pillar's weight is shared among the others.

    Rows whose known pillars all weigh nothing get equal weights on them; rows without any pillar get NaN.
    """
    known = ~np.isnan(matrix)
    weights = known * np.array(model.weights)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights, known.astype(np.float64))
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(weights / np.where(total > 0, total, np.nan))


def linear_score(model: AggregationModel, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of the pillar scores, 0-100, shape (rows,); NaN where a row has no pillar."""
    return np.asarray((effective_weights(model, matrix) * np.nan_to_num(matrix)).sum(axis=1))


def bayesian_parts(model: AggregationModel, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log likelihood ratio per pillar, shape of ``matrix``; 0 where the pillar is missing."""
    parts = np.zeros_like(matrix)
    for i, ratio in enumerate(model.log_ratios):
        values = np.interp(matrix[:, i], _CENTRES, np.array(ratio))
        parts[:, i] = np.where(np.isnan(matrix[:, i]), 0.0, values)
    return parts


def raw_scores(model: AggregationModel, matrix: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Log-odds of every fitted strategy, each of shape (rows,); NaN where a row has no pillar at all.

    Without labels only ``linear`` exists: the weighted mean put back into log-odds of the training percentile.
    """
    nothing = np.isnan(matrix).all(axis=1) if matrix.shape[1] else np.ones(len(matrix), dtype=bool)
    mean = linear_score(model, matrix)
    if not model.is_supervised:
        return {"linear": (mean - 50.0) * _PER_POINT}
    out = {"linear": model.intercept + model.slope * mean / 100.0}
    if model.log_ratios:
        out["bayesian"] = model.prior + bayesian_parts(model, matrix).sum(axis=1)
    if model.boost is not None:
        out["boosting"] = model.boost.margin(matrix.astype(np.float32))
    return {k: np.where(nothing, np.nan, v) for k, v in out.items()}


def fit_linear(
    matrix: NDArray[np.float64], target: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Non-negative logistic regression; returns weights on the simplex, means, slope and intercept."""
    with np.errstate(invalid="ignore"):
        row_mean = np.nanmean(matrix, axis=1, keepdims=True)
    x = np.where(np.isnan(matrix), row_mean, matrix) / 100.0
    means = x.mean(axis=0)
    centred = x - means
    y = target.astype(np.float64)
    base = math.log(y.mean() / (1 - y.mean()))

    def loss(b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = b[0] + centred @ b[1:]
        value = float(np.mean(np.logaddexp(0.0, z) - y * z)) + 1e-6 * float(b[1:] @ b[1:])
        error = expit(z) - y
        slope = centred.T @ error / len(y) + 2e-6 * b[1:]
        return value, np.concatenate([[error.mean()], slope])

    start = np.concatenate([[base], np.full(x.shape[1], 1.0)])
    bounds = [(None, None)] + [(0.0, None)] * x.shape[1]
    options = {"maxiter": 500, "ftol": 1e-12}
    # one thread: sums then do not depend on how many cores the machine has
    with threadpool_limits(1):
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    beta = found.x[1:]
    total = float(beta.sum())
    if total <= 1e-9:
        # no pillar ranks training rows: equal weights, and a slope that keeps the score increasing
        beta, total = np.full(len(beta), 1e-3), 1e-3 * len(beta)
    return beta / total, means * 100.0, total, float(found.x[0] - beta @ means)


def towards_scheme(
    weights: NDArray[np.float64],
    columns: tuple[str, ...],
    matrix: NDArray[np.float64],
    target: NDArray[np.bool_],
    parts: Sequence[NDArray[np.bool_]],
    config: ModelConfig,
) -> tuple[NDArray[np.float64], float]:
    """Move linear weights towards S_P6 as far as held-out rows ask for.

    Parameters
    ----------
    weights : on the simplex, shape (columns,). matrix, target : scores, NaN where missing, and labels of all rows.
    parts : sets of rows whose scores are out of sample (training weeks out-of-fold, validation weeks), as masks.
        The mean of their average precisions decides: validation alone holds few reported clients. A part with one
        class is left out.

    Returns
    -------
    (weights, share) : ``(1 - share) * weights + share`` on S_P6; the smallest share of the grid among equals, 0 where
        there is no S_P6 or nothing to decide by.
    """
    sixth = SCORE_OF[SCHEME_PILLAR]
    usable = [p for p in parts if 0 < target[p].sum() < p.sum()]
    if sixth not in columns or not usable:
        return weights, 0.0
    alone = np.array([c == sixth for c in columns], dtype=np.float64)
    filled = np.nan_to_num(matrix, nan=50.0)

    def precision(share: float) -> float:
        # rounded: the order of rows must not depend on how a processor adds up six products
        mean = np.round(filled @ ((1 - share) * weights + share * alone), 9)
        return float(np.mean([average_precision_score(target[p], mean[p]) for p in usable]))

    measured = {share: round(precision(share), 9) for share in config.scheme_weight_grid}
    best = min(measured, key=lambda share: (-measured[share], share))
    return (1 - best) * weights + best * alone, best


def _density(values: NDArray[np.float64], clients: int, floor: float) -> NDArray[np.float64]:
    """Kernel density on the scale's 400 bins; ``clients`` sets the bandwidth, since a client's weeks are no sample."""
    counts = np.histogram(values, bins=len(_CENTRES), range=(0.0, 100.0))[0].astype(np.float64)
    quartiles = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(), (quartiles[1] - quartiles[0]) / 1.34) or values.std() or 1.0
    bandwidth = max(0.9 * spread * max(clients, 2) ** -0.2, 1.0)
    smooth = gaussian_filter1d(counts, bandwidth / _STEP, mode="reflect", truncate=6.0)
    return np.asarray((1 - floor) * smooth / smooth.sum() + floor / len(smooth))


def fit_aggregation(
    scores: pl.DataFrame, labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig
) -> tuple[AggregationModel, pl.DataFrame]:
    """Fit the three strategies, choose the champion, calibrate it, set the cuts.

    Parameters
    ----------
    scores : client_id, as_of_date, ``s_p1_score`` .. ``s_p6_score`` of training weeks (out-of-fold) and validation
        weeks (final models); columns may be missing or null throughout, such pillars are left out.
    labels : columns of ``intermediate.int_client_labels``.

    Returns
    -------
    (AggregationModel, validation) : the second, one row per client and validation week: client_id, as_of_date and
        the columns of :func:`apply_aggregation`.
    """
    data = training_rows(scores, labels, plan, config)
    train = data.is_train
    usable = data.is_eligible & train
    reasons: list[str] = []
    candidates = [c for c in SCORE_OF.values() if c in data.rows.columns]
    columns = tuple(c for c in candidates if data.rows.filter(pl.Series(train))[c].is_not_null().any())
    reasons += [f"{c} is not available and left out." for c in SCORE_OF.values() if c not in columns]
    matrix = score_matrix(data.rows, columns)
    has_any = ~np.isnan(matrix).all(axis=1) if columns else np.zeros(len(matrix), dtype=bool)
    usable &= has_any
    width = len(columns)
    model = AggregationModel(
        columns=columns,
        weights=tuple([1.0 / width] * width),
        means=tuple(float(np.nanmean(matrix[train, i])) for i in range(width)),
        slope=1.0,
        intercept=0.0,
        boost=None,
        log_ratios=(),
        prior=math.nan,
        champion="linear",
        calibration=None,
        cuts=fit_cuts(np.empty(0), config),
        validation_ap={},
        reasons=(),
    )
    if data.can_supervise and width and 0 < data.is_positive[usable].sum() < usable.sum():
        weights, means, slope, intercept = fit_linear(matrix[usable], data.is_positive[usable])
        seen = data.is_validation & has_any
        weights, moved = towards_scheme(weights, columns, matrix, data.is_positive, (usable, seen), config)
        if moved:
            reasons.append(
                f"Linear weights go {moved:.0%} of the way to P6 alone, by out-of-fold and validation scores."
            )
            model = _with(model, weights=tuple(float(w) for w in weights))
            # the level of the log-odds belongs to the weights, so it is fitted again to the mean they give
            _, _, slope, intercept = fit_linear(linear_score(model, matrix[usable])[:, None], data.is_positive[usable])
        boost, _ = fit_grouped(
            matrix[train].astype(np.float32),
            data.is_positive[train],
            data.fold[train],
            (data.is_fit & has_any)[train],
            data.log_rate,
            columns,
            config,
            depth=config.aggregation_depth,
            monotone=1,
            score_held_out=False,
        )
        ratios = []
        client = data.rows["client_id"].to_numpy()
        for i in range(width):
            parts = []
            for value in (True, False):
                chosen = usable & (data.is_positive == value) & ~np.isnan(matrix[:, i])
                people = len(np.unique(client[chosen].astype(str))) if value else int(chosen.sum())
                flat = np.full(len(_CENTRES), 1.0 / len(_CENTRES))
                has_rows = bool(chosen.any())
                parts.append(_density(matrix[chosen, i], people, config.density_floor_ratio) if has_rows else flat)
            ratios.append(tuple(float(v) for v in np.log(parts[0] / parts[1])))
        share = float(data.is_positive[usable].mean())
        model = _with(
            model,
            weights=tuple(float(w) for w in weights),
            means=tuple(float(m) for m in means),
            slope=slope,
            intercept=intercept,
            boost=boost,
            log_ratios=tuple(ratios),
            prior=math.log(share / (1 - share)),
            calibration=Calibration(),
        )
        model = _choose(model, matrix, data.is_validation & has_any, data.is_positive, reasons)
    else:
        reasons.append(f"Equal weights and no probability: {data.reason or 'one class only among the training rows.'}")
    decided = ~train if (~train).any() else train
    applied = apply_aggregation(model, data.rows.filter(pl.Series(decided)))
    cuts = fit_cuts(applied["bcrs_score"].cast(pl.Float64).to_numpy().astype(np.float64), config)
    if decided is train:
        reasons.append("No validation weeks: cuts come from training weeks.")
    return _with(model, cuts=cuts, reasons=tuple(reasons)), applied


def _choose(
    model: AggregationModel,
    matrix: NDArray[np.float64],
    seen: NDArray[np.bool_],
    target: NDArray[np.bool_],
    reasons: list[str],
) -> AggregationModel:
    """Champion and calibration from the validation rows ``seen``."""
    raw = raw_scores(model, matrix[seen])
    truth = target[seen]
    if 0 < truth.sum() < len(truth):
        measured = {s: float(average_precision_score(truth, raw[s])) for s in STRATEGIES}
        champion = min(STRATEGIES, key=lambda s: (-round(measured[s], 9), STRATEGIES.index(s)))
        calibration = fit_calibration(raw[champion], truth)
    else:
        measured, champion = {}, "linear"
        calibration = fit_calibration(raw[champion], truth)
        reasons.append("Validation holds one class only: the simplest strategy is champion.")
    if calibration.reason:
        reasons.append(calibration.reason)
    return _with(model, champion=champion, calibration=calibration, validation_ap=measured)


def _with(model: AggregationModel, **changes: object) -> AggregationModel:
    return AggregationModel(**{**model.__dict__, **changes})


def apply_aggregation(model: AggregationModel, scores: pl.DataFrame) -> pl.DataFrame:
    """Aggregate pillar scores.

    Parameters
    ----------
    scores : client_id, as_of_date and the model's score columns, any weeks.

    Returns
    -------
    frame : client_id, as_of_date, linear_score, boosting_score, bayesian_score (0-100), champion, champion_raw
        (log-odds), bcrs_probability_ratio, bcrs_score; sorted by grain. Null where a strategy was not fitted or the
        row has no pillar score.
    """
    rows = scores.sort(list(GRAIN))
    matrix = score_matrix(rows, model.columns)
    raw = raw_scores(model, matrix)
    nothing = np.full(rows.height, np.nan)
    mean = linear_score(model, matrix)
    champion = raw[model.champion]
    probability = model.calibration.probability(champion) if model.calibration else nothing
    shown = {
        "linear_score": np.clip(mean, 0.0, 100.0),
        "boosting_score": 100.0 * expit(raw.get("boosting", nothing)),
        "bayesian_score": 100.0 * expit(raw.get("bayesian", nothing)),
        "champion_raw": champion,
        "bcrs_probability_ratio": probability,
        "bcrs_score": 100.0 * probability if model.calibration else np.clip(mean, 0.0, 100.0),
    }
    return (
        rows.select(GRAIN)
        .with_columns(champion=pl.lit(model.champion), **{k: pl.Series(v).fill_nan(None) for k, v in shown.items()})
        .select(
            *GRAIN,
            "linear_score",
            "boosting_score",
            "bayesian_score",
            "champion",
            "champion_raw",
            "bcrs_probability_ratio",
            "bcrs_score",
        )
    )
