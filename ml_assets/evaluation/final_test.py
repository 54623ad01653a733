"""The one look at the test weeks.

Rule of this file: :func:`evaluate_test_weeks` is the only function of the project that reads test weeks' labels
beside their scores. Nothing is chosen by what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, overload

import polars as pl

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.contracts.table import TableContract
from ml_assets.evaluation.experiments import measure_variants
from ml_assets.evaluation.metrics import measure
from ml_assets.models.ablation import Variant
from ml_assets.models.splits import SplitPlan, eligible_labels

T = TypeVar("T")

BCRS_COLUMNS = {
    "bcrs": "bcrs_score",
    "bcrs_linear": "linear_score",
    "bcrs_boosting": "boosting_score",
    "bcrs_bayesian": "bayesian_score",
}
"""Model name in ``models.metrics`` -> column of ``scores.client_scores``."""


def _beside(eligible: pl.DataFrame, scores: pl.DataFrame, baselines: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    keys = ["client_id", "as_of_date"]
    rows = eligible.join(scores, on=keys, how="left")
    for name, frame in baselines.items():
        rows = rows.join(frame.select(*keys, pl.col("score").alias(name)), on=keys, how="left")
    return rows


def _measure(
    eligible: pl.DataFrame,
    scores: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    split: str,
    model_id: str,
    config: ModelConfig,
) -> pl.DataFrame:
    return measure(
        _beside(eligible, scores, baselines),
        BCRS_COLUMNS | {name: name for name in baselines},
        {"bcrs": "bcrs_probability_ratio"},
        split,
        model_id,
        config,
    )


@overload
def evaluate_test_weeks(
    scores: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    plan: SplitPlan,
    model_id: str,
    config: ModelConfig,
) -> pl.DataFrame: ...


@overload
def evaluate_test_weeks(
    scores: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    plan: SplitPlan,
    model_id: str,
    config: ModelConfig,
    *,
    measured_by: Callable[[pl.DataFrame], T],
) -> T: ...


def evaluate_test_weeks(
    scores: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    plan: SplitPlan,
    model_id: str,
    config: ModelConfig,
    *,
    measured_by: Callable[[pl.DataFrame], T] | None = None,
) -> pl.DataFrame | T:
    """Measure B-CRS, its aggregations and the baselines on the test weeks.

    Parameters
    ----------
    scores : rows of ``scores.client_scores`` (other weeks are ignored).
    baselines : name (flat_xgboost, static_kyc, volume_only, fixed_rules, or any other score to be compared) ->
        client_id, as_of_date, score.
    labels : columns of ``intermediate.int_client_labels``.
    plan : the plan the model was trained under, from its card.
    measured_by : what to measure instead of the metrics; gets the eligible test rows with is_positive and a column
        per score. The evidence report asks for its tables this way, so that no second function reads these labels.

    Returns
    -------
    frame : as ``METRICS_CONTRACT`` with split ``test``, or what ``measured_by`` returns. Rows of clients with a prior
        STR are not measured. Without test weeks, or with one class in them, values are null and the reason says so.
    """
    eligible = eligible_labels(labels, plan.test_weeks)
    if measured_by is not None:
        return measured_by(_beside(eligible, scores, baselines))
    return _measure(eligible, scores, baselines, "test", model_id, config)


def evaluate_validation_weeks(
    scores: pl.DataFrame,
    baselines: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    plan: SplitPlan,
    model_id: str,
    config: ModelConfig,
) -> pl.DataFrame:
    """The same on validation weeks: what the champion was chosen by, so optimistic. Split ``validation``."""
    return _measure(eligible_labels(labels, plan.validation_weeks), scores, baselines, "validation", model_id, config)


def compare_variants(
    scores: pl.DataFrame,
    labels: pl.DataFrame,
    plan: SplitPlan,
    variants: Sequence[Variant],
    contract: TableContract,
    splits: Sequence[str],
    policy: ModelConfig,
    config: EvaluationConfig,
) -> pl.DataFrame:
    """Variants of a score on validation weeks, test weeks or both.

    Parameters
    ----------
    scores : client_id, as_of_date and the variants' columns, rows of the weeks to be measured (others are ignored).
    splits : ``validation``, ``test`` or both. What is to be *chosen* by the comparison sees validation only.

    Returns
    -------
    frame : as the contract, one of ``experiments.EXPERIMENT_TABLES``.
    """
    samples = config.experiment_samples
    measured = []
    if "validation" in splits:
        rows = _beside(eligible_labels(labels, plan.validation_weeks), scores, {})
        measured.append(measure_variants(rows, variants, contract, "validation", samples, policy.seed))
    if "test" in splits:
        measured.append(
            evaluate_test_weeks(
                scores,
                {},
                labels,
                plan,
                "",
                policy,
                measured_by=lambda rows: measure_variants(rows, variants, contract, "test", samples, policy.seed),
            )
        )
    return contract.conform(pl.concat(measured)) if measured else contract.empty()
