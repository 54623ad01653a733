"""A small invented bank in feature space: what the model tests train on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.config import CalendarConfig, Config, ModelConfig
from ml_assets.models import pipeline
from ml_assets.models.aggregation import fit_aggregation
from ml_assets.models.baselines import fit_flat, in_order, join_features
from ml_assets.models.calendar import CalendarPlan, plan_calendar
from ml_assets.models.names import PILLARS, SCHEME_PREFIXES
from ml_assets.models.registry import ModelBundle
from ml_assets.models.splits import SplitPlan, plan_splits
from ml_assets.models.tier1 import fit_tier1
from ml_assets.models.tier2 import fit_tier2, leading_features

FIRST = date(2024, 1, 1)
SMALL = ModelConfig(
    trees=24,
    folds=3,
    isolation_trees=15,
    isolation_sample=64,
    bootstrap_samples=60,
    parallel_fits=1,
    negative_ratio=20,
    scheme_raw_features=(8,),
)
"""Least effort that still learns something."""


class World:
    """Features, labels, calendar and splits of ``clients`` clients over ``weeks`` weeks of history.

    A launderer behaves strangely in two pillars for some weeks and gets an STR about four weeks later.
    """

    def __init__(self, clients: int = 120, weeks: int = 48, features: int = 4, seed: int = 3, ratio: float = 0.15):
        rng = np.random.default_rng(seed)
        self.config = CalendarConfig(warmup_days=28, max_weeks=200)
        last = FIRST + timedelta(days=7 * weeks - 1)
        self.calendar: CalendarPlan = plan_calendar(FIRST, last, last, self.config)
        dates = self.calendar.as_of_dates
        ids = np.array([f"C{i:05d}" for i in range(clients)])
        bad = rng.random(clients) < ratio
        bad[:4] = True
        start = rng.integers(0, max(1, len(dates) - 4), clients)
        filed = np.array([(dates[s] + timedelta(days=30 - 2)).toordinal() for s in start])
        n = len(dates)
        client = np.repeat(np.arange(clients), n)
        week = np.tile(np.arange(n), clients)
        day = np.array([d.toordinal() for d in dates])[week]
        strange = bad[client] & (week >= start[client]) & (week < start[client] + 5)
        horizon = self.calendar.horizon_days
        grain = pl.DataFrame({"client_id": ids[client], "as_of_date": [dates[w] for w in week]})
        complete = np.array([w.is_label_complete for w in self.calendar.weeks])[week]
        gap = filed[client] - day
        self.labels = grain.with_columns(
            is_str_within_horizon=pl.Series(bad[client] & (gap >= 0) & (gap < horizon)),
            has_prior_str=pl.Series(bad[client] & (gap < 0)),
            is_label_complete=pl.Series(complete),
        )
        personal = rng.normal(size=(clients, len(PILLARS), features))
        self.features: dict[str, pl.DataFrame] = {}
        for p, pillar in enumerate(PILLARS):
            values = personal[client, p] + 0.5 * rng.normal(size=(len(client), features))
            if p in (1, 3):
                values[:, 0] += 2.2 * strange
                values[:, 1] += 1.2 * strange
            values[rng.random(values.shape) < 0.02] = np.nan
            names = [f"{pillar[:2]}_thing{i}_30d_ratio" for i in range(features)]
            self.features[pillar] = grain.with_columns(
                [pl.Series(name, values[:, i]).fill_nan(None) for i, name in enumerate(names)]
            )
        counts = {}
        for prefix in SCHEME_PREFIXES.values():
            counts[f"p6_{prefix}_fired_count"] = rng.poisson(0.3 + 1.5 * strange).clip(0, 10).astype(np.int64)
            counts[f"p6_{prefix}_computable_count"] = np.full(len(client), 10, dtype=np.int64)
        self.indicators = grain.with_columns([pl.Series(k, v) for k, v in counts.items()])
        self.plan: SplitPlan = plan_splits(self.labels, self.calendar, self.config)
        self.profiles = grain.with_columns(
            industry=pl.Series(np.where(client % 2 == 0, "retail", "household")), size_bucket=pl.lit("small")
        )


def train(world: World, labels: pl.DataFrame | None = None, model_id: str = "test") -> ModelBundle:
    """The whole training sequence, as an orchestrator runs it."""
    labels = world.labels if labels is None else labels
    plan = plan_splits(labels, world.calendar, world.config)
    fitted = {p: fit_tier1(p, world.features[p], labels, plan, SMALL) for p in PILLARS}
    wide = pipeline.widen({p: scores for p, (_, scores) in fitted.items()})
    raw = leading_features({p: model for p, (model, _) in fitted.items()}, SMALL.scheme_raw_features[0])
    design, schemes = pipeline.tier2_inputs(wide, world.indicators, SMALL, world.features, raw)
    tier2, tier2_scores = fit_tier2(design, schemes, labels, plan, SMALL)
    aggregation, _ = fit_aggregation(pipeline.add_scheme_score(wide, tier2_scores), labels, plan, SMALL)
    bundle = ModelBundle(
        tier1={p: model for p, (model, _) in fitted.items()},
        tier2=tier2,
        aggregation=aggregation,
        flat=fit_flat(join_features(in_order(world.features)), labels, plan, SMALL),
        plan=plan,
        config=Config(models=SMALL),
        feature_hash="features",
        code_hash="code",
    )
    return replace(bundle, model_id=model_id)


def all_features(world: World) -> dict[str, pl.DataFrame]:
    """Feature frames of all six pillars."""
    return {**world.features, "p6_scheme": world.indicators}
