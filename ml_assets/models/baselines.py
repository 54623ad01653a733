"""What every result table carries beside B-CRS: simpler ways to rank clients.

Rule of this file: a baseline gets the same rows and the same weeks as B-CRS and no help. A baseline whose inputs a
source does not have scores null: unavailable, never zero.

* flat XGBoost: one booster on all features of P1-P5, same depth, sampling, folds, stopping and tuning as a pillar's.
* static KYC: what the file says, no behaviour.
* volume only: money in and out in 30 days.
* fixed rules: how many of three classic rules fire.
* rule-based risk score: points for pass-through, income discrepancy and salary portability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from ml_assets.config import ModelConfig, RuleScoreConfig
from ml_assets.models.boosting import Boost, fit_grouped
from ml_assets.models.matrix import GRAIN, numeric_columns, to_matrix, unusable_columns
from ml_assets.models.names import PILLARS
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import Files, pack_boost, pack_json, unpack_boost, unpack_json
from ml_assets.models.tier1 import training_rows

BASELINES = ("flat_xgboost", "static_kyc", "volume_only", "fixed_rules", "rule_risk_score")
"""Names as in ``models.metrics``."""

KYC_POINTS = {
    "risk_rating": 30.0,
    "is_pep": 20.0,
    "is_sanctioned": 20.0,
    "country_risk_score": 15.0,
    "industry_risk_score": 15.0,
}
"""Points of the static score: this project's judgement of a common scorecard (rating first, then list hits, then
country and industry); 100 in all. Components that are null give their points to the others."""


@dataclass(frozen=True)
class FlatModel:
    """The flat baseline; ``boost`` is None where it could not be fitted, ``reasons`` says why."""

    features: tuple[str, ...]
    boost: Boost | None
    reasons: tuple[str, ...]

    def files(self) -> Files:
        """The model as named bytes."""
        numbers = {"features": list(self.features), "reasons": list(self.reasons)}
        return {"flat.json": pack_json(numbers), **pack_boost("flat", self.boost)}

    @classmethod
    def from_files(cls, files: Files) -> FlatModel:
        """Inverse of :meth:`files`."""
        n = unpack_json(files["flat.json"])
        return cls(tuple(n["features"]), unpack_boost("flat", files), tuple(n["reasons"]))


def join_features(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """All features side by side, one row per client and as-of date of the first frame, sorted.

    Parameters
    ----------
    frames : feature frames of P1-P5 in pillar order; an iterator is asked for one at a time, since all features side
        by side are the widest table of a retraining.
    """
    wide: pl.DataFrame | None = None
    for frame in frames:
        part = frame.select(*GRAIN, *numeric_columns(frame))
        wide = part if wide is None else wide.join(part, on=list(GRAIN), how="left")
    if wide is None:
        raise ValueError(f"No feature frames given: at least one of {', '.join(PILLARS)} is needed.")
    return wide.sort(list(GRAIN))


def in_order(features: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames of P1-P5 by pillar key, in pillar order."""
    return [features[p] for p in PILLARS if p in features]


_COLUMNS_AT_ONCE = 32


def fit_flat(
    wide: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    settings: Mapping[str, float] | None = None,
) -> FlatModel:
    """Fit the flat baseline on training weeks.

    Parameters
    ----------
    wide : of :func:`join_features` (P1-P5; P6 is left out, it is not a feature family of a flat model), any weeks.
    settings : of the booster, in place of configured ones: the baseline is tuned with the same effort as a pillar.
    """
    # only training rows are seen, so nothing that stands in validation weeks can decide which columns are used
    data = training_rows(wide.filter(pl.col("as_of_date").is_in(list(plan.train_weeks))), labels, plan, config)
    if not data.can_supervise:
        return FlatModel((), None, (data.reason,))
    names = numeric_columns(data.rows)
    eligible = data.rows.filter(pl.Series(data.is_eligible))
    kept: list[str] = []
    # a few columns at a time: as one matrix they are as large as the table again
    for at in range(0, len(names), _COLUMNS_AT_ONCE):
        some = names[at : at + _COLUMNS_AT_ONCE]
        dropped = unusable_columns(to_matrix(eligible, some), some)
        kept += [n for n in some if n not in dropped]
    if not kept:
        return FlatModel((), None, ("No feature is usable.",))
    fit = data.is_fit
    boost, _ = fit_grouped(
        to_matrix(data.rows.filter(pl.Series(fit)), kept),
        data.is_positive[fit],
        data.fold[fit],
        fit[fit],
        data.log_rate,
        tuple(kept),
        config.model_copy(update=dict(settings or {})),
        score_held_out=False,
    )
    return FlatModel(tuple(kept), boost, ())


def _frame(rows: pl.DataFrame, score: pl.Expr) -> pl.DataFrame:
    return rows.select(*GRAIN, score=score.cast(pl.Float64).fill_nan(None)).sort(list(GRAIN))


def score_flat(model: FlatModel, features: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Score rows: client_id, as_of_date, score (log-odds); null where the model was not fitted."""
    rows = join_features(in_order(features))
    if model.boost is None:
        return _frame(rows, pl.lit(None, pl.Float64))
    return _frame(rows, pl.lit(pl.Series(model.boost.margin(to_matrix(rows, list(model.features))))))


def static_kyc_score(profiles: pl.DataFrame) -> pl.DataFrame:
    """Points of :data:`KYC_POINTS`, rescaled to the components a client has.

    Parameters
    ----------
    profiles : rows of ``intermediate.int_client_weeks``; columns that are absent count as null.

    Returns
    -------
    frame : client_id, as_of_date, score 0-100; null where rating, lists and both risk scores are all null.

    A flag alone that is False says nothing: PEP and sanctions count only beside a rating or a risk score, or where
    one of them is True, so that a source without profiles scores null.
    """
    have = set(profiles.columns)
    shares = {
        "risk_rating": pl.col("risk_rating").replace_strict(
            {"low": 0.0, "medium": 0.5, "high": 1.0}, default=None, return_dtype=pl.Float64
        )
        if "risk_rating" in have
        else None,
        **{
            name: pl.col(name).cast(pl.Float64) / scale
            for name, scale in (
                ("is_pep", 1.0),
                ("is_sanctioned", 1.0),
                ("country_risk_score", 100.0),
                ("industry_risk_score", 100.0),
            )
            if name in have
        },
    }
    known = {k: v for k, v in shares.items() if v is not None}
    if not known:
        return _frame(profiles, pl.lit(None, pl.Float64))
    points = pl.sum_horizontal([(v * KYC_POINTS[k]).fill_null(0.0) for k, v in known.items()])
    weight = pl.sum_horizontal([v.is_not_null().cast(pl.Float64) * KYC_POINTS[k] for k, v in known.items()])
    graded = [v.is_not_null() for k, v in known.items() if k not in ("is_pep", "is_sanctioned")]
    says = pl.any_horizontal([*graded, (points > 0)])
    return _frame(profiles, pl.when(says & (weight > 0)).then(100.0 * points / weight))


def volume_only_score(windows: pl.DataFrame) -> pl.DataFrame:
    """Money in and out in the 30 days before the as-of date, base currency.

    Parameters
    ----------
    windows : rows of ``intermediate.int_client_windows`` (or any frame with ``inflow_sum_30d_base`` and
        ``outflow_sum_30d_base``).

    Returns
    -------
    frame : client_id, as_of_date, score.
    """
    return _frame(
        windows, pl.col("inflow_sum_30d_base").cast(pl.Float64) + pl.col("outflow_sum_30d_base").cast(pl.Float64)
    )


def fixed_rules_score(
    rows: pl.DataFrame,
    largest_amounts: tuple[str, ...],
    burst: str | None,
    blacklist: str | None,
    threshold_base: float,
    burst_minimum: float = 1.0,
) -> pl.DataFrame:
    """How many of three rules fire: amount at or over the threshold, burst within 60 s, blacklisted counterparty.

    Parameters
    ----------
    rows : client_id, as_of_date and the columns named below.
    largest_amounts : columns with the largest amounts of the window, base currency (null: no payment, does not fire).
    burst : column of the burst measure, fires at ``burst_minimum`` or above; None where the source has no times.
    blacklist : column of blacklist exposure, fires above 0; None where the source has no list.
    threshold_base : reporting threshold, base currency; compared in cents.

    Returns
    -------
    frame : client_id, as_of_date, score 0-3. Rules that are null for a client do not fire; ties are the rules' own.
    """
    cents = round(threshold_base * 100)
    over = [(pl.col(c).cast(pl.Float64) * 100).round() >= cents for c in largest_amounts]
    fired = [pl.any_horizontal([o.fill_null(False) for o in over])] if over else []
    if burst is not None:
        fired.append((pl.col(burst).cast(pl.Float64) >= burst_minimum).fill_null(False))
    if blacklist is not None:
        fired.append((pl.col(blacklist).cast(pl.Float64) > 0).fill_null(False))
    if not fired:
        return _frame(rows, pl.lit(None, pl.Float64))
    return _frame(rows, pl.sum_horizontal([f.cast(pl.Float64) for f in fired]))


RULE_MEASURES = {
    "p4_fund_through_72h_90d_ratio": "pass_through_steps",
    "p5_income_discrepancy_90d_value": "income_discrepancy_steps",
    "p5_salary_left_72h_90d_ratio": "salary_portability_steps",
}
"""Feature -> the field of :class:`RuleScoreConfig` with its points: pass-through, income discrepancy, portability."""


def rule_risk_score(rows: pl.DataFrame, config: RuleScoreConfig) -> pl.DataFrame:
    """Points for pass-through, income discrepancy and salary portability, as share of the points to be had.

    Parameters
    ----------
    rows : client_id, as_of_date and the columns of :data:`RULE_MEASURES`; columns that are absent count as null.
    config : steps (value, points); the highest step a value reaches gives its points, values at a step reach it.

    Returns
    -------
    frame : client_id, as_of_date, score 0-100; null where all three measures are null. A measure that is null gives
        its points to the others: a company without salaries is judged by what it has.
    """
    points, weight = [], []
    for measure, field in RULE_MEASURES.items():
        steps = sorted(getattr(config, field))
        if measure not in rows.columns or not steps:
            continue
        value = pl.col(measure).cast(pl.Float64)
        reached: pl.Expr = pl.lit(0.0)
        for at, given in steps:
            reached = pl.when(value >= at).then(pl.lit(float(given))).otherwise(reached)
        points.append(pl.when(value.is_not_null()).then(reached).otherwise(0.0))
        weight.append(value.is_not_null().cast(pl.Float64) * max(given for _, given in steps))
    if not points:
        return _frame(rows, pl.lit(None, pl.Float64))
    total = pl.sum_horizontal(weight)
    return _frame(rows, pl.when(total > 0).then(100.0 * pl.sum_horizontal(points) / total))
