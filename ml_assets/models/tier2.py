"""Tier 2: S_P6, alignment with strategic schemes, on out-of-fold pillar scores.

Rule of this file: it sees pillar scores of this week and of earlier ones, their interactions, their similarity to the
scheme templates, the scheme indicators and the pillars' leading features, as frames built elsewhere; it knows no
indicator and no feature by name.

Supervised tier 2 is a stacked model (Wolpert 1992, "Stacked generalization"): it learns from out-of-fold scores of the
first level and, as Wolpert allows, from part of the first level's own inputs, so that what two pillars say only
together is not lost between them. It is the mean of several committees of the folds' boosters (see
:mod:`ml_assets.models.boosting`), each with another view of the same rows: pillar scores beside few leading features,
beside many, and the many features without any score. Which view tells most differs from bank to bank, and members
that read different columns err differently (Ho 1998, "The random subspace method for constructing decision forests").

A scheme's score is ``100 * (v * cosine * norm + (1 - v) * fired)``: cosine of the client's pillar vector with the
scheme's signature; norm, the root mean square of what the pillar scores lie above their median, over 100 (a cosine is
blind to size); fired, the weighed evidence of the scheme's indicators (without weights, the share of the computable
ones that fired); v is ``scheme_similarity_ratio``. A missing part leaves the other.

``S_P6 = alpha * supervised + (1 - alpha) * template``: supervised is XGBoost, out-of-fold by client, template the
highest scheme score; both are on the common scale, alpha is tuned on validation weeks as in tier 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score

from ml_assets.config import ModelConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.boosting import Boost, fit_grouped, merge
from ml_assets.models.matrix import GRAIN, numeric_columns, to_matrix, unusable_columns
from ml_assets.models.names import PILLAR_OF_PREFIX, PILLARS, SCHEME_PREFIXES, SCHEMES, SCORE_OF
from ml_assets.models.scaling import Scaler, fit_scaler
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import Files, pack_boost, pack_json, unpack_boost, unpack_json
from ml_assets.models.tier1 import Tier1Model, TrainingRows, training_rows, tune_alpha


def _scheme_columns(scheme: str) -> tuple[Column, ...]:
    words = scheme.replace("_", " ")
    return (
        Column(
            f"{scheme}_cosine_ratio",
            "number",
            f"Cosine of the client's pillar vector with the signature of {words}.",
            unit="ratio",
            null_rule="no pillar score",
            minimum=0,
            maximum=1,
        ),
        Column(
            f"{scheme}_fired_count",
            "integer",
            f"Indicators of {words} at or above their threshold.",
            unit="count",
            null_rule="none of the scheme's indicators is computable",
            minimum=0,
        ),
        Column(
            f"{scheme}_score",
            "number",
            f"Alignment with {words}: cosine times norm, blended with the weighed evidence of its indicators.",
            unit="score",
            null_rule="neither a cosine nor an indicator",
            minimum=0,
            maximum=100,
        ),
    )


TIER2_CONTRACT = TableContract(
    schema="tier2",
    name="tier2_scheme",
    description="One row per client and as-of date: alignment with each scheme, and the tier-2 score S_P6.",
    grain=GRAIN,
    columns=(
        Column("client_id", "text", "Client the score belongs to."),
        Column("as_of_date", "date", "Monday the score looks back from."),
        Column("model_id", "text", "Model bundle that scored the row."),
        *(c for s in SCHEMES for c in _scheme_columns(s)),
        Column(
            "supervised_score",
            "number",
            "XGBoost score of tier 2; 50 is the median training row, 70 the top 1 %.",
            unit="score",
            null_rule="no labels of both classes, or no usable column",
            minimum=0,
            maximum=100,
        ),
        Column(
            "scheme_score",
            "number",
            "S_P6: blend of the supervised score and the highest scheme score.",
            unit="score",
            null_rule="neither half is available",
            minimum=0,
            maximum=100,
        ),
    ),
)
"""Contract of ``tier2.tier2_scheme``."""

_SCHEME_FRAME = [*GRAIN, *(c.name for s in SCHEMES for c in _scheme_columns(s))]


@dataclass(frozen=True)
class Tier2Model:
    """Fitted tier 2; ``boost`` is None without a supervised half, ``template_scale`` without any scheme score."""

    features: tuple[str, ...]
    dropped: dict[str, str]
    boost: Boost | None
    supervised_scale: Scaler | None
    template_scale: Scaler | None
    alpha: float
    validation_ap: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def is_available(self) -> bool:
        """True where tier 2 gives a score."""
        return self.boost is not None or self.template_scale is not None

    @property
    def raw_features(self) -> dict[str, list[str]]:
        """Features of P1-P5 the model uses, by pillar."""
        by_pillar: dict[str, list[str]] = {p: [] for p in PILLARS}
        for name in self.features:
            if is_raw(name):
                by_pillar[PILLAR_OF_PREFIX[name[:2]]].append(name)
        return {p: names for p, names in by_pillar.items() if names}

    def files(self) -> Files:
        """The model as named bytes."""
        numbers = {
            "features": list(self.features),
            "dropped": self.dropped,
            "alpha": self.alpha,
            "validation_ap": self.validation_ap,
            "reasons": list(self.reasons),
            "supervised_scale": self.supervised_scale.state() if self.supervised_scale else None,
            "template_scale": self.template_scale.state() if self.template_scale else None,
        }
        return {"tier2.json": pack_json(numbers), **pack_boost("tier2", self.boost)}

    @classmethod
    def from_files(cls, files: Files) -> Tier2Model:
        """Inverse of :meth:`files`."""
        n = unpack_json(files["tier2.json"])
        return cls(
            features=tuple(n["features"]),
            dropped=n["dropped"],
            boost=unpack_boost("tier2", files),
            supervised_scale=Scaler.from_state(n["supervised_scale"]) if n["supervised_scale"] else None,
            template_scale=Scaler.from_state(n["template_scale"]) if n["template_scale"] else None,
            alpha=n["alpha"],
            validation_ap=n["validation_ap"],
            reasons=tuple(n["reasons"]),
        )


def scheme_scores(similarity: pl.DataFrame, indicators: pl.DataFrame, config: ModelConfig) -> pl.DataFrame:
    """Score every client against every scheme.

    Parameters
    ----------
    similarity : client_id, as_of_date, ``<scheme>_cosine_ratio`` and ``pillar_norm_score`` (0-100); sets the rows.
    indicators : client_id, as_of_date, ``p6_<prefix>_fired_count`` and ``p6_<prefix>_computable_count``; where there,
        ``p6_<prefix>_evidence_ratio`` takes the place of the share of computable indicators that fired.

    Returns
    -------
    frame : client_id, as_of_date and per scheme ``_cosine_ratio``, ``_fired_count``, ``_score``; sorted by grain.
        An indicator that is not computable neither fires nor counts in the share; a score is null where neither a
        cosine nor an indicator is there.
    """
    counts = [f"p6_{prefix}_{what}_count" for prefix in SCHEME_PREFIXES.values() for what in ("fired", "computable")]
    evidence = [
        n for n in (f"p6_{prefix}_evidence_ratio" for prefix in SCHEME_PREFIXES.values()) if n in indicators.columns
    ]
    cosines = [f"{s}_cosine_ratio" for s in SCHEMES]
    rows = similarity.select(*GRAIN, *cosines, "pillar_norm_score").join(
        indicators.select(*GRAIN, *counts, *evidence), on=list(GRAIN), how="left"
    )
    share = config.scheme_similarity_ratio
    columns: list[pl.Expr] = []
    for scheme, prefix in SCHEME_PREFIXES.items():
        cosine = pl.col(f"{scheme}_cosine_ratio").cast(pl.Float64).fill_nan(None).clip(0.0, 1.0)
        alike = cosine * pl.col("pillar_norm_score").cast(pl.Float64).fill_nan(None).clip(0.0, 100.0) / 100.0
        fired, known = pl.col(f"p6_{prefix}_fired_count"), pl.col(f"p6_{prefix}_computable_count")
        weighed = f"p6_{prefix}_evidence_ratio"
        hit = pl.when(known > 0).then(pl.col(weighed) if weighed in evidence else fired / known)
        either = pl.when(alike.is_null()).then(hit).when(hit.is_null()).then(alike)
        columns += [
            cosine,
            pl.when(known > 0).then(fired.cast(pl.Int64)).alias(f"{scheme}_fired_count"),
            (100.0 * either.otherwise(share * alike + (1 - share) * hit)).alias(f"{scheme}_score"),
        ]
    return rows.select(*GRAIN, *columns).sort(list(GRAIN)).select(_SCHEME_FRAME)


def is_raw(name: str) -> bool:
    """True for a feature of P1-P5, false for a score, an interaction, an indicator.

    >>> [is_raw(n) for n in ("p3_entropy_hour_30d_bits", "p1_x_p3_ratio", "s_p3_score", "p6_ub_fired_count")]
    [True, False, False, False]
    """
    return name[:2] in PILLAR_OF_PREFIX and name[2:5] != "_x_"


NORM = "pillar_norm_score"
"""The input that says how far above the median all pillars together lie."""


def pillars_of_input(name: str) -> tuple[str, ...]:
    """The pillars of P1-P5 an input of tier 2 is made from; empty where it is tier 2's own (schemes).

    >>> pillars_of_input("p3_entropy_hour_30d_bits"), pillars_of_input("s_p4_2w_ago_score")
    (('p3_temporal',), ('p4_typology',))
    >>> pillars_of_input("p1_x_p3_ratio"), len(pillars_of_input(NORM)), pillars_of_input("p6_ub_fired_count")
    (('p1_volume_velocity', 'p3_temporal'), 5, ())
    """
    if name == NORM:
        return PILLARS
    if name[2:5] == "_x_":
        return PILLAR_OF_PREFIX[name[:2]], PILLAR_OF_PREFIX[name[5:7]]
    prefix = name[2:4] if name.startswith("s_") else name[:2]
    return (PILLAR_OF_PREFIX[prefix],) if prefix in PILLAR_OF_PREFIX else ()


def leading_features(models: Mapping[str, Tier1Model], limit: int) -> dict[str, list[str]]:
    """The features of P1-P5 that took away most loss in their pillar's own training.

    Parameters
    ----------
    models : pillar key -> fitted pillar. limit : how many in all; equal gains go by name.

    Returns
    -------
    dict : pillar key -> feature names, sorted; pillars without any are absent.
    """
    gains = [
        (-gain, name, pillar)
        for pillar, m in models.items()
        if m.boost is not None
        for name, gain in zip(m.features, m.boost.total_gain().tolist(), strict=True)
        if gain > 0
    ]
    chosen = sorted(gains)[:limit]
    by_pillar = {p: sorted(name for _, name, pillar in chosen if pillar == p) for p in PILLARS}
    return {p: names for p, names in by_pillar.items() if names}


def build_design(pillar_scores: pl.DataFrame, *parts: pl.DataFrame) -> pl.DataFrame:
    """Put everything tier 2 learns from side by side.

    Parameters
    ----------
    pillar_scores : client_id, as_of_date and S_P1..S_P5; sets the rows.
    parts : frames by client and as-of date. Columns already taken from an earlier frame are not taken again.

    Returns
    -------
    frame : client_id, as_of_date and all numeric columns, sorted by grain.
    """
    design = pillar_scores.select(*GRAIN, *(SCORE_OF[p] for p in PILLARS if SCORE_OF[p] in pillar_scores.columns))
    for part in parts:
        new = [c for c in numeric_columns(part) if c not in design.columns]
        # 32 bits are what a booster reads, and the design is the widest table of tier 2
        narrow = part.select(*GRAIN, *new).with_columns(pl.selectors.float().cast(pl.Float32))
        design = design.join(narrow, on=list(GRAIN), how="left")
    return design.sort(list(GRAIN))


def _highest(schemes: pl.DataFrame) -> NDArray[np.float64]:
    best = schemes.select(pl.max_horizontal([pl.col(f"{s}_score").cast(pl.Float64) for s in SCHEMES])).to_series()
    return best.to_numpy().astype(np.float64)


def fit_tier2(
    design: pl.DataFrame,
    schemes: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    config: ModelConfig,
    settings: Mapping[str, float] | None = None,
    views: Sequence[Collection[str]] = (),
) -> tuple[Tier2Model, pl.DataFrame]:
    """Fit tier 2.

    Parameters
    ----------
    design : of :func:`build_design`; in training weeks its pillar scores are out-of-fold.
    schemes : of :func:`scheme_scores`, for the same rows.
    labels : columns of ``intermediate.int_client_labels``.
    settings : of the boosters, in place of configured ones (:mod:`ml_assets.models.tuning`).
    views : sets of features of P1-P5, each within the next. A committee for each sees it beside everything else, and
        one more sees the last set and nothing else. None given: one committee that sees the whole design.

    Returns
    -------
    (Tier2Model, scores) : scores the model did not train on, one row per client and week of training (out-of-fold)
        and validation: client_id, as_of_date, split, supervised_score, scheme_score.
    """
    data = training_rows(design, labels, plan, config)
    beside = data.rows.select(GRAIN).join(schemes, on=list(GRAIN), how="left", maintain_order="left")
    train = data.is_train
    names = numeric_columns(data.rows)
    matrix = to_matrix(data.rows, names)
    fitting = train & data.is_eligible if (train & data.is_eligible).any() else train
    dropped = unusable_columns(matrix[fitting], names) if fitting.any() else {}
    kept = [n for n in names if n not in dropped]
    reasons: list[str] = []

    raw = _highest(beside)
    template_scale, template = None, None
    if np.isfinite(raw[fitting]).any():
        template_scale = fit_scaler(raw[fitting], 0.0, 100.0)
        template = template_scale.transform(raw)
    else:
        reasons.append("No scheme score is computable.")

    boost, supervised_scale, supervised, alpha = None, None, None, 0.0
    measured: dict[str, float] = {}
    if data.can_supervise and kept:
        knobs = config.model_copy(update={"depth": config.scheme_depth, **(settings or {})})
        if dropped:
            matrix = matrix[:, [i for i, n in enumerate(names) if n not in dropped]]
        boost, margin, told = _fit_committees(data, matrix, kept, views, knobs)
        reasons += told
        probability = expit(margin)
        supervised_scale = fit_scaler(probability[fitting])
        supervised = supervised_scale.transform(probability)
        seen = data.is_validation
        if template is None:
            alpha = 1.0
        else:
            # a row without any scheme score is blended with the median, which says nothing
            alpha, measured = tune_alpha(
                supervised[seen], np.nan_to_num(template[seen], nan=50.0), data.is_positive[seen], config
            )
    else:
        kept = []
        reasons.append(f"Template half only: {data.reason or 'no usable column.'}")
    model = Tier2Model(
        features=tuple(kept),
        dropped=dropped,
        boost=boost,
        supervised_scale=supervised_scale,
        template_scale=template_scale,
        alpha=alpha,
        validation_ap=measured,
        reasons=tuple(reasons),
    )
    split = pl.Series(np.where(train, "train", "validation").astype(object), dtype=pl.String)
    return model, data.rows.select(GRAIN).with_columns(split=split, **_blend(supervised, template, alpha, len(raw)))


def _fit_committees(
    data: TrainingRows,
    matrix: NDArray[np.float32],
    names: Sequence[str],
    views: Sequence[Collection[str]],
    config: ModelConfig,
) -> tuple[Boost, NDArray[np.float64], list[str]]:
    """A committee for every view, as one model, its log-odds, and what each came to alone.

    Log-odds, shape (rows,), are out-of-fold in training weeks and the whole model's after them.
    """
    sets: dict[str, set[str]] = {}
    for view in views:
        seen = {n for n in names if not is_raw(n) or n in view}
        # where few features are left, a wider view is the narrower one again: one committee for both
        sets[f"scores and {sum(map(is_raw, seen))} features"] = seen
    alone = {n for n in names if views and is_raw(n) and n in views[-1]}
    if alone:
        sets[f"{len(alone)} features alone"] = alone
    train = data.is_train
    committees, margins, told = [], [], []
    for name, seen in (sets or {"all inputs": set(names)}).items():
        committee, margin = fit_grouped(
            matrix,
            data.is_positive,
            data.fold,
            data.is_fit,
            data.log_rate,
            tuple(names),
            config,
            is_committee=True,
            hidden=[i for i, n in enumerate(names) if n not in seen],
        )
        margin[~train] = committee.margin(matrix[~train])
        committees.append(committee)
        margins.append(margin)
        told.append(f"{_out_of_sample_precision(data, margin):.4f} from {name}")
    if len(committees) == 1:
        return committees[0], margins[0], []
    model, mean = merge(committees), np.mean(margins, axis=0)
    # the model's own sum, whose last digit is another than that of a mean of means
    mean[~train] = model.margin(matrix[~train])
    together = _out_of_sample_precision(data, mean)
    told = [f"Average precision out of sample: {', '.join(told)}; {together:.4f} from their mean."]
    return model, mean, told


def _out_of_sample_precision(data: TrainingRows, margin: NDArray[np.float64]) -> float:
    """Mean average precision over the parts that hold both classes, to nine digits; 0 where none does."""
    parts = (data.is_train & data.is_eligible, data.is_validation)
    found = [
        average_precision_score(data.is_positive[p], margin[p])
        for p in parts
        if 0 < data.is_positive[p].sum() < p.sum()
    ]
    return round(float(np.mean(found)), 9) if found else 0.0


def _blend(
    supervised: NDArray[np.float64] | None, template: NDArray[np.float64] | None, alpha: float, rows: int
) -> dict[str, pl.Series]:
    nothing = pl.Series([None] * rows, dtype=pl.Float64)
    if supervised is None and template is None:
        return {"supervised_score": nothing, "scheme_score": nothing}
    if supervised is None:
        return {"supervised_score": nothing, "scheme_score": pl.Series(template).fill_nan(None)}
    blend = supervised if template is None else alpha * supervised + (1 - alpha) * np.nan_to_num(template, nan=50.0)
    return {"supervised_score": pl.Series(supervised), "scheme_score": pl.Series(blend)}


def score_tier2(model: Tier2Model, design: pl.DataFrame, schemes: pl.DataFrame, model_id: str) -> pl.DataFrame:
    """Score rows with fitted tier 2.

    Parameters
    ----------
    design, schemes : as for :func:`fit_tier2`, with the final models' pillar scores, any weeks.

    Returns
    -------
    frame : as :data:`TIER2_CONTRACT`, sorted by client and date.

    Raises
    ------
    FeatureMismatchError : a column the model uses is missing.
    """
    rows = design.sort(list(GRAIN))
    beside = rows.select(GRAIN).join(schemes, on=list(GRAIN), how="left", maintain_order="left")
    supervised = template = None
    if model.boost is not None and model.supervised_scale is not None:
        matrix = to_matrix(rows, list(model.features))
        supervised = model.supervised_scale.transform(model.boost.probability(matrix))
    if model.template_scale is not None:
        template = model.template_scale.transform(_highest(beside))
    return TIER2_CONTRACT.conform(
        beside.with_columns(model_id=pl.lit(model_id), **_blend(supervised, template, model.alpha, rows.height))
    )
