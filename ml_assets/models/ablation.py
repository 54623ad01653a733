"""Refits that say what a part of the design is worth: other pillars, fewer weeks, worse labels.

Rule of this file: it fits on training weeks and scores validation weeks (or rows handed in); it measures nothing,
knows no test week, and nothing it fits is ever published. A refit uses the same public functions as training.

Refits are cheaper than training: they learn from every positive client and a sample of the others, with all their
weeks, with fewer rounds and folds, and are measured on the same clients' validation weeks, where positives are
therefore more frequent than in the bank. They are compared with a refit at the same effort with nothing changed,
never with the champion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations

import numpy as np
import polars as pl

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.models.aggregation import fit_aggregation, fit_linear, score_matrix
from ml_assets.models.baselines import fit_flat, in_order, join_features, score_flat
from ml_assets.models.matrix import GRAIN
from ml_assets.models.names import PILLARS, SCHEME_PILLAR, SCORE_OF
from ml_assets.models.pipeline import add_scheme_score, tier2_inputs, widen
from ml_assets.models.sampling import uniform_draws
from ml_assets.models.splits import SplitPlan, eligible_labels
from ml_assets.models.tier1 import fit_tier1, training_rows
from ml_assets.models.tier2 import fit_tier2, leading_features


@dataclass(frozen=True)
class Variant:
    """A score to be compared: ``column`` of a frame holds it; None where it could not be made, ``reason`` says why.

    ``reference`` names the variant of the same ``part`` it is compared with; ``value`` and ``note`` say what was set.
    """

    part: str
    name: str
    column: str | None
    reference: str | None = None
    value: float | None = None
    note: str | None = None
    reason: str | None = None


Compared = tuple[list[Variant], pl.DataFrame]
"""Variants, and the frame with client_id, as_of_date and their columns."""


@dataclass(frozen=True)
class Subset:
    """Some pillars under the weighted linear aggregation: ``columns`` with their ``weights`` on the simplex."""

    columns: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """``P1+P4`` for S_P1 and S_P4."""
        return subset_name(self.columns)


def subset_name(columns: Sequence[str]) -> str:
    """Pillars of score columns, as tables show them.

    >>> subset_name(["s_p1_score", "s_p6_score"])
    'P1+P6'
    """
    return "+".join(c[2:4].upper() for c in columns)


def fit_subsets(
    scores: pl.DataFrame, labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig, limit: int
) -> tuple[list[Subset], str]:
    """Refit the weighted linear aggregation on every combination of the pillar scores that exist.

    Parameters
    ----------
    scores : what the champion's aggregation was fitted on: client_id, as_of_date, ``s_p1_score`` .. ``s_p6_score``,
        out-of-fold in training weeks.
    limit : rows used per fit; above it negatives are sampled (seeded), which moves the intercept and not the weights.

    Returns
    -------
    (subsets, reason) : 63 subsets for six scores, smallest first, all six last; none, and why, without labels.
    """
    data = training_rows(scores, labels, plan, config)
    if not data.can_supervise:
        return [], data.reason
    columns = [c for c in SCORE_OF.values() if c in scores.columns and scores[c].is_not_null().any()]
    usable = data.is_train & data.is_eligible
    share = limit / max(1, int(usable.sum()))
    draws = uniform_draws(data.rows["client_id"], data.rows["as_of_date"], config.seed + 1)
    usable &= data.is_positive | (draws < share)
    matrix = score_matrix(data.rows, tuple(columns))[usable]
    target = data.is_positive[usable]
    subsets = []
    for size in range(1, len(columns) + 1):
        for chosen in combinations(range(len(columns)), size):
            part = matrix[:, chosen]
            known = ~np.isnan(part).all(axis=1)
            if not 0 < target[known].sum() < known.sum():
                continue
            weights, _, _, _ = fit_linear(part[known], target[known])
            subsets.append(Subset(tuple(columns[i] for i in chosen), tuple(float(w) for w in weights)))
    return subsets, "" if subsets else "No pillar has a score."


def score_subset(subset: Subset, scores: pl.DataFrame) -> pl.Series:
    """Weighted mean of the subset's pillar scores, 0-100, one per row; a missing pillar's weight goes to the others.

    Null where a row has none of the pillars.
    """
    matrix = score_matrix(scores, subset.columns)
    known = ~np.isnan(matrix)
    weights = known * np.array(subset.weights)
    # pillars that weigh nothing stand in only where no other is known
    weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, known.astype(np.float64))
    total = weights.sum(axis=1)
    mean = np.divide(
        (weights * np.nan_to_num(matrix)).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
    )
    return pl.Series(subset.name, mean).fill_nan(None)


def refit_config(config: ModelConfig, effort: EvaluationConfig) -> ModelConfig:
    """The knobs of refits: fewer rounds and folds, otherwise the champion's."""
    return config.model_copy(
        update={
            "trees": min(config.trees, effort.refit_trees),
            "folds": min(config.folds, effort.refit_folds),
            "negative_ratio": min(config.negative_ratio, effort.refit_negative_ratio),
            "isolation_trees": max(10, config.isolation_trees // 4),
        }
    )


def refit_clients(labels: pl.DataFrame, weeks: Sequence[date], count: int, seed: int) -> list[str]:
    """Every client positive in ``weeks`` and ``count`` of the others, sampled by a seeded hash; sorted.

    Parameters
    ----------
    labels : columns of ``intermediate.int_client_labels``.
    """
    clients = eligible_labels(labels, weeks).group_by("client_id").agg(pl.col("is_positive").any()).sort("client_id")
    # one date for all: the draw belongs to the client, not to a week
    day = pl.repeat(min(weeks) if weeks else None, clients.height, dtype=pl.Date, eager=True)
    draws = uniform_draws(clients["client_id"], day, seed)
    others = clients.with_columns(draw=pl.Series(draws)).filter(~pl.col("is_positive")).sort("draw").head(count)
    return sorted([*clients.filter("is_positive")["client_id"].to_list(), *others["client_id"].to_list()])


def with_newest_weeks(plan: SplitPlan, weeks: int) -> SplitPlan:
    """``plan`` with only the newest ``weeks`` training weeks; counts of rows and positives are not brought along."""
    return plan.model_copy(update={"train_weeks": plan.train_weeks[-weeks:]})


def learning_weeks(plan: SplitPlan, points: int) -> list[int]:
    """Numbers of training weeks of the learning curve, ascending, evenly spaced, the last one all.

    >>> plan = SplitPlan.model_construct(train_weeks=tuple(range(22)))
    >>> learning_weeks(plan, 4)
    [6, 11, 16, 22]
    """
    total = len(plan.train_weeks)
    return sorted({max(1, min(total, round(total * k / points + 1e-9))) for k in range(1, points + 1)})


def delay_labels(labels: pl.DataFrame, plan: SplitPlan, days: int) -> pl.DataFrame:
    """Labels of training weeks as known ``days`` later than they were: what is not yet known counts as negative.

    Training takes place at the first validation week; an STR with ``next_str_date + days`` after it is not known
    then. Validation labels stay.

    Parameters
    ----------
    labels : columns of ``intermediate.int_client_labels`` with next_str_date.
    """
    if not plan.validation_weeks:
        return labels
    cutoff = min(plan.validation_weeks)
    late = pl.col("as_of_date").is_in(list(plan.train_weeks)) & (
        pl.col("next_str_date").dt.offset_by(f"{days}d") > pl.lit(cutoff)
    )
    return labels.with_columns(is_str_within_horizon=pl.col("is_str_within_horizon") & ~late.fill_null(False))


def drop_labels(labels: pl.DataFrame, plan: SplitPlan, ratio: float, seed: int) -> pl.DataFrame:
    """Labels in which a share of the positive training clients lost its STR: their rows count as negative.

    A client that loses its STR at 5 % also loses it at 10 %. Validation labels stay.
    """
    positive = (
        eligible_labels(labels, plan.train_weeks)
        .filter("is_positive")
        .select(pl.col("client_id").unique().sort())
        .with_columns(as_of_date=pl.lit(min(plan.train_weeks) if plan.train_weeks else None, pl.Date))
    )
    draws = uniform_draws(positive["client_id"], positive["as_of_date"], seed)
    # by rank, so that the share is met even with few clients
    order = np.argsort(np.argsort(draws, kind="stable"), kind="stable")
    lost = positive.filter(pl.Series(order < math.ceil(ratio * positive.height - 1e-9)))["client_id"].to_list()
    hit = pl.col("client_id").is_in(lost) & pl.col("as_of_date").is_in(list(plan.train_weeks))
    return labels.with_columns(is_str_within_horizon=pl.col("is_str_within_horizon") & ~hit)


def refit_two_tier(
    features: Mapping[str, pl.DataFrame], labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig
) -> pl.DataFrame:
    """Fit both tiers, the second with one committee, and the aggregation, and score the validation weeks.

    Parameters
    ----------
    features : pillar key -> feature frame with rows of training and validation weeks.

    Returns
    -------
    frame : client_id, as_of_date, score (champion's log-odds) of validation weeks.
    """
    fitted = {p: fit_tier1(p, features[p], labels, plan, config) for p in PILLARS if p in features}
    wide = widen({p: scores for p, (_, scores) in fitted.items()})
    raw = leading_features({p: model for p, (model, _) in fitted.items()}, min(config.scheme_raw_features))
    design, schemes = tier2_inputs(wide, features[SCHEME_PILLAR], config, features, raw)
    _, tier2 = fit_tier2(design, schemes, labels, plan, config)
    _, validation = fit_aggregation(add_scheme_score(wide, tier2), labels, plan, config)
    return validation.select(*GRAIN, score="champion_raw")


def refit_flat(
    features: Mapping[str, pl.DataFrame], labels: pl.DataFrame, plan: SplitPlan, config: ModelConfig
) -> pl.DataFrame:
    """Fit the flat baseline and score the validation weeks: client_id, as_of_date, score."""
    model = fit_flat(join_features(in_order(features)), labels, plan, config)
    weeks = list(plan.validation_weeks)
    return score_flat(model, {p: features[p].filter(pl.col("as_of_date").is_in(weeks)) for p in PILLARS})


def refit_pillar(
    pillar: str,
    features: pl.DataFrame,
    without: Sequence[str],
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
) -> pl.DataFrame:
    """Fit one pillar without some of its columns; its validation scores.

    Returns
    -------
    frame : client_id, as_of_date, supervised_score, pillar_score; null where the half could not be fitted.
    """
    _, scores = fit_tier1(pillar, features.drop(list(without), strict=False), labels, plan, config)
    return scores.filter(pl.col("split") == "validation").select(*GRAIN, "supervised_score", "pillar_score")


def subset_variants(
    subsets: Sequence[Subset], scores: pl.DataFrame, reason: str
) -> tuple[list[Variant], list[pl.Series]]:
    """Score every subset on ``scores``; each is compared with all pillars together.

    Returns
    -------
    (variants, columns) : all of part ``combination``; a column per variant, in the order of ``scores``. One variant
        with the reason where there are no subsets.
    """
    if not subsets:
        return [Variant("combination", "P1+P2+P3+P4+P5+P6", None, reason=reason)], []
    full = max(subsets, key=lambda s: len(s.columns))
    variants, columns = [], []
    for subset in subsets:
        weights = ", ".join(f"{c[2:4].upper()} {w:.2f}" for c, w in zip(subset.columns, subset.weights, strict=True))
        variants.append(
            Variant(
                "combination",
                subset.name,
                subset.name,
                reference=None if subset is full else full.name,
                value=float(len(subset.columns)),
                note=f"weights: {weights}",
            )
        )
        columns.append(score_subset(subset, scores))
    return variants, columns


def blend_variants(tables: Mapping[str, pl.DataFrame], alphas: Mapping[str, float]) -> Compared:
    """Each pillar's blend and its two halves, from the score tables of tier 1 and tier 2.

    Parameters
    ----------
    tables : pillar key -> rows of ``tier1.tier1_<pillar>`` or ``tier2.tier2_scheme``. alphas : weight of the
        supervised half by pillar. Tier 2 has no unsupervised column: its other half is the highest scheme score.
    """
    variants: list[Variant] = []
    wide: pl.DataFrame | None = None
    for pillar, table in tables.items():
        blend = "pillar_score" if "pillar_score" in table.columns else "scheme_score"
        other = pl.col("unsupervised_score") if "unsupervised_score" in table.columns else None
        if other is None:
            other = pl.max_horizontal(
                c for c in table.columns if c.endswith("_score") and c not in ("supervised_score", "scheme_score")
            )
        name = "unsupervised only" if blend == "pillar_score" else "scheme templates only"
        part = table.select(
            *GRAIN,
            pl.col(blend).alias(f"{pillar}:blend"),
            pl.col("supervised_score").alias(f"{pillar}:supervised only"),
            other.alias(f"{pillar}:{name}"),
        )
        wide = part if wide is None else wide.join(part, on=list(GRAIN), how="full", coalesce=True)
        alpha = alphas.get(pillar)
        note = None if alpha is None else f"weight of the supervised half {alpha:g}"
        variants.append(Variant(pillar, "blend", f"{pillar}:blend", value=alpha, note=note))
        variants += [Variant(pillar, v, f"{pillar}:{v}", reference="blend") for v in ("supervised only", name)]
    if wide is None:
        raise ValueError("No score tables given.")
    return variants, wide.sort(list(GRAIN))


def _beside(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    wide: pl.DataFrame | None = None
    for name, frame in frames.items():
        part = frame.select(*GRAIN, pl.col("score").alias(name))
        wide = part if wide is None else wide.join(part, on=list(GRAIN), how="full", coalesce=True)
    if wide is None:
        return pl.DataFrame(schema={"client_id": pl.String, "as_of_date": pl.Date})
    return wide.sort(list(GRAIN))


def without_columns(
    pillar: str,
    features: pl.DataFrame,
    columns: Sequence[str],
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
) -> Compared:
    """One pillar refitted with all its features and without ``columns``: its blend and its supervised half."""
    filled = [c for c in columns if features[c].is_not_null().any()]
    if not filled or not plan.validation_weeks:
        why = "No characteristic was chosen by tsfresh." if not filled else "There are no validation weeks."
        nothing = [Variant("blend", v, None, reason=why) for v in ("with tsfresh", "without tsfresh")]
        return nothing, _beside({})
    whole = refit_pillar(pillar, features, (), labels, plan, config)
    less = refit_pillar(pillar, features, columns, labels, plan, config)
    variants, frames = [], {}
    for part, column in (("blend", "pillar_score"), ("supervised half", "supervised_score")):
        for name, scores, reference in (("with tsfresh", whole, "without tsfresh"), ("without tsfresh", less, None)):
            key = f"{part}:{name}"
            frames[key] = scores.select(*GRAIN, score=column)
            count = float(len(filled)) if reference else 0.0
            note = f"{len(filled)} chosen characteristics" if reference else "hand-written features alone"
            variants.append(Variant(part, name, key, reference=reference, value=count, note=note))
    return variants, _beside(frames)


def refit_experiments(
    features: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    effort: EvaluationConfig,
) -> dict[str, Compared]:
    """Learning curve and robustness: both tiers and the flat baseline refitted, and scored on validation weeks.

    Parameters
    ----------
    features : pillar key -> rows of training and validation weeks of some clients; P1-P5 also of the weeks between,
        which tier 2 remembers.
    labels : columns of ``intermediate.int_client_labels`` with next_str_date.

    Returns
    -------
    table name (learning_curve, robustness) -> variants and scores. The refit with nothing changed is made once and
    is the reference of both. A setting that leaves one class in training has no score, and the reason.
    """
    less = refit_config(config, effort)
    points = learning_weeks(plan, effort.learning_points)
    settings: list[tuple[str, str, float, str, pl.DataFrame, SplitPlan]] = [
        ("learning_curve", f"{n} weeks", float(n), f"newest {n} training weeks", labels, with_newest_weeks(plan, n))
        for n in points[:-1]
    ]
    for days in effort.label_delay_days:
        note = f"reports known {days} days later; unknown at training time counts as negative"
        settings.append(
            ("robustness", f"label delay {days} days", float(days), note, delay_labels(labels, plan, days), plan)
        )
    for ratio in effort.label_noise_ratios:
        note = f"{ratio:.0%} of the positive training clients lost their report"
        noisy = drop_labels(labels, plan, ratio, config.seed)
        settings.append(("robustness", f"label noise {ratio:.0%}", ratio, note, noisy, plan))
    functions = {"both tiers": refit_two_tier, "flat XGBoost": refit_flat}
    variants: dict[str, list[Variant]] = {"learning_curve": [], "robustness": []}
    frames: dict[str, pl.DataFrame] = {}
    everything = f"{len(plan.train_weeks)} weeks"
    for part, refit in functions.items():
        can = plan.is_supervised and bool(plan.validation_weeks)
        why = None if can else " ".join(plan.reasons) or "There are no validation weeks."
        key = f"{part}:reference"
        if can:
            frames[key] = refit(features, labels, plan, less)
        held = key if can else None
        total = float(len(plan.train_weeks))
        for table, name, value in (("learning_curve", everything, total), ("robustness", "nothing changed", None)):
            variants[table].append(Variant(part, name, held, value=value, note="all training weeks", reason=why))
        for table, name, value, note, changed, cut in settings:
            reason = why or _one_class(changed, cut)
            key = f"{part}:{name}"
            if reason is None:
                frames[key] = refit(features, changed, cut, less)
            reference = everything if table == "learning_curve" else "nothing changed"
            variants[table].append(Variant(part, name, None if reason else key, reference, value, note, reason))
    wide = _beside(frames)
    return {table: (found, wide) for table, found in variants.items()}


def _one_class(labels: pl.DataFrame, plan: SplitPlan) -> str | None:
    rows = eligible_labels(labels, plan.train_weeks)
    positives = rows.filter("is_positive")["client_id"].n_unique()
    if positives < 2:
        return f"{positives} positive clients are left in training: nothing can be learned."
    return None
