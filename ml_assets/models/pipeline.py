"""The steps an orchestrator calls one at a time, in order, on frames.

Rule of this file: it joins the other modules and computes nothing of its own.

Training: ``plan_splits`` -> ``fit_tier1`` per pillar -> :func:`widen` -> :func:`tier2_inputs` -> ``fit_tier2`` ->
:func:`add_scheme_score` -> ``fit_aggregation``; ``fit_flat``; ``registry.save_bundle``.
Scoring: ``score_tier1`` per pillar -> :func:`widen` -> :func:`tier2_inputs` -> ``score_tier2`` ->
:func:`add_scheme_score` -> :func:`score_clients`; or all at once, :func:`score_weeks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ml_assets.config import ModelConfig
from ml_assets.features.p6_scheme import interactions, similarity
from ml_assets.features.scheme_templates import TEMPLATES
from ml_assets.models.aggregation import SCORES_CONTRACT, AggregationModel, apply_aggregation
from ml_assets.models.bands import assign_bands
from ml_assets.models.matrix import GRAIN
from ml_assets.models.memory import remember
from ml_assets.models.names import PILLARS, SCHEME_PILLAR, SCORE_OF
from ml_assets.models.registry import ModelBundle
from ml_assets.models.splits import SplitPlan
from ml_assets.models.tier1 import score_tier1
from ml_assets.models.tier2 import build_design, scheme_scores, score_tier2


def widen(tier1: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Put pillar scores side by side.

    Parameters
    ----------
    tier1 : pillar key -> frame with client_id, as_of_date, pillar_score (out-of-fold or scored).

    Returns
    -------
    frame : client_id, as_of_date, ``s_p1_score`` .. ``s_p5_score``, one row per pair that any pillar has, sorted by
        grain; a pillar that is not given, or has no score, is null.
    """
    wide: pl.DataFrame | None = None
    for pillar in PILLARS:
        if pillar in tier1:
            part = tier1[pillar].select(*GRAIN, pl.col("pillar_score").cast(pl.Float64).alias(SCORE_OF[pillar]))
            wide = part if wide is None else wide.join(part, on=list(GRAIN), how="full", coalesce=True)
    if wide is None:
        raise ValueError("No pillar scores given.")
    missing = [pl.lit(None, pl.Float64).alias(SCORE_OF[p]) for p in PILLARS if p not in tier1]
    return wide.with_columns(missing).select(*GRAIN, *(SCORE_OF[p] for p in PILLARS)).sort(list(GRAIN))


def tier2_inputs(
    wide: pl.DataFrame,
    indicators: pl.DataFrame,
    config: ModelConfig,
    features: Mapping[str, pl.DataFrame] | None = None,
    raw: Mapping[str, Sequence[str]] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Design matrix and scheme scores of tier 2.

    Parameters
    ----------
    wide : of :func:`widen`: the rows wanted and those of the ``memory_weeks`` weeks before them, by the same model; an
        earlier week that is not there is not remembered.
    indicators : ``features.feat_p6_scheme``; sets the rows.
    features : pillar key -> feature frame of the rows (P1-P5). raw : pillar key -> its features tier 2 sees
        (``leading_features`` in training, ``Tier2Model.raw_features`` in scoring); None for none.

    Returns
    -------
    (design, schemes) : what ``fit_tier2`` and ``score_tier2`` take.
    """
    here = wide.join(indicators.select(GRAIN), on=list(GRAIN), how="semi", maintain_order="left")
    memory = remember(wide, config.memory_weeks).join(here.select(GRAIN), on=list(GRAIN), how="semi")
    alike = similarity(here, TEMPLATES)
    schemes = scheme_scores(alike, indicators, config)
    sizes = alike.select(*GRAIN, "pillar_norm_score")
    design = build_design(
        here,
        interactions(here),
        schemes.join(sizes, on=list(GRAIN), how="left"),
        indicators,
        memory,
        *((features or {})[pillar].select(*GRAIN, *names) for pillar, names in (raw or {}).items()),
    )
    return design, schemes


def add_scheme_score(wide: pl.DataFrame, tier2: pl.DataFrame) -> pl.DataFrame:
    """``wide`` with ``s_p6_score`` from tier 2's ``scheme_score``; rows and order of ``wide``."""
    s_p6 = tier2.select(*GRAIN, pl.col("scheme_score").cast(pl.Float64).alias(SCORE_OF[SCHEME_PILLAR]))
    return wide.join(s_p6, on=list(GRAIN), how="left", maintain_order="left")


def score_clients(
    model: AggregationModel, wide: pl.DataFrame, plan: SplitPlan, previous: pl.DataFrame | None, model_id: str
) -> pl.DataFrame:
    """Aggregate, calibrate and band.

    Parameters
    ----------
    wide : of :func:`add_scheme_score`, whole weeks.
    previous : client_id and band of the week before the first one in ``wide``; None at the start.

    Returns
    -------
    frame : as ``SCORES_CONTRACT``.
    """
    banded = assign_bands(apply_aggregation(model, wide), previous, model.cuts)
    return SCORES_CONTRACT.conform(
        banded.join(plan.frame(), on="as_of_date", how="left")
        .with_columns(pl.col("split").fill_null("live"), model_id=pl.lit(model_id))
        .drop("champion_raw")
    )


@dataclass(frozen=True)
class ScoredWeeks:
    """All score tables of some weeks: ``tier1`` by pillar key, ``wide`` with S_P1..S_P6."""

    tier1: dict[str, pl.DataFrame]
    tier2: pl.DataFrame
    wide: pl.DataFrame
    scores: pl.DataFrame


def score_weeks(
    bundle: ModelBundle, features: Mapping[str, pl.DataFrame], previous: pl.DataFrame | None = None
) -> ScoredWeeks:
    """Score whole weeks with a saved model.

    Parameters
    ----------
    features : pillar key (``p1_volume_velocity`` .. ``p6_scheme``) -> feature frame. P6 holds the weeks to score, P1-P5
        those and the ``memory_weeks`` weeks before them (:func:`ml_assets.models.memory.earlier_weeks`); without
        them the first weeks have no memory and score otherwise than they would in a longer run.
    previous : client_id and band of the week before.

    Returns
    -------
    ScoredWeeks : of the weeks of P6.
    """
    tier1 = {p: score_tier1(bundle.tier1[p], features[p], bundle.model_id) for p in PILLARS if p in bundle.tier1}
    narrow = widen(tier1)
    indicators = features[SCHEME_PILLAR]
    design, schemes = tier2_inputs(narrow, indicators, bundle.config.models, features, bundle.tier2.raw_features)
    tier2 = score_tier2(bundle.tier2, design, schemes, bundle.model_id)
    asked = indicators.select(GRAIN)
    tier1 = {p: f.join(asked, on=list(GRAIN), how="semi", maintain_order="left") for p, f in tier1.items()}
    wide = add_scheme_score(narrow.join(asked, on=list(GRAIN), how="semi", maintain_order="left"), tier2)
    scores = score_clients(bundle.aggregation, wide, bundle.plan, previous, bundle.model_id)
    return ScoredWeeks(tier1, tier2, wide, scores)
