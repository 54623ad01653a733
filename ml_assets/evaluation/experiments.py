"""What a part of the design is worth: variants of one score measured on the same rows and the same resamples.

Rule of this file: variants come in as score columns, fitted elsewhere; here they are only measured, each beside the
reference of its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ml_assets.contracts.table import Column, TableContract
from ml_assets.evaluation.evidence import REASON, interval_columns
from ml_assets.evaluation.metrics import draw, interval, ranking_metrics
from ml_assets.models.ablation import Variant

METRICS = ("auroc", "average_precision")


def experiment_table(name: str, description: str) -> TableContract:
    """Contract of a table of variants."""
    return TableContract(
        "evaluation",
        name,
        f"One row per part, variant, split and metric: {description}",
        ("part", "variant", "split", "metric"),
        (
            Column("part", "text", "What is varied; every part has a reference of its own."),
            Column("variant", "text", "The variant measured."),
            Column("split", "text", "Part of the calendar measured on.", allowed=("validation", "test")),
            Column("metric", "text", "Name of the metric.", allowed=METRICS),
            Column("setting_value", "number", "The variant's setting as a number.", null_rule="it has none"),
            Column("setting_note", "text", "The variant in words.", null_rule="nothing to say"),
            Column("metric_value", "number", "Point estimate.", null_rule="cannot be measured; see reason"),
            *interval_columns("the value"),
            Column("reference", "text", "Variant it is compared with.", null_rule="it is the reference"),
            Column(
                "difference",
                "number",
                "Value less the reference's, on the same rows.",
                null_rule="the reference itself, or not measured",
            ),
            Column("difference_low", "number", "Lower end of its 95 % interval.", null_rule="no difference"),
            Column("difference_high", "number", "Upper end of its 95 % interval.", null_rule="no difference"),
            REASON,
        ),
    )


ABLATION = experiment_table(
    "ablation", "all 63 combinations of the pillar scores under the weighted linear aggregation, each refitted."
)
BLEND = experiment_table("blend", "a pillar's blend against its supervised and its unsupervised half alone.")
TSFRESH = experiment_table("tsfresh", "pillar P3 with and without the characteristics chosen by tsfresh.")
LEARNING = experiment_table("learning_curve", "both tiers and the flat baseline refitted on fewer training weeks.")
ROBUSTNESS = experiment_table(
    "robustness", "both tiers and the flat baseline refitted on labels that come later or are missing."
)
EXPERIMENT_TABLES = {t.name: t for t in (ABLATION, BLEND, TSFRESH, LEARNING, ROBUSTNESS)}
"""Contracts by table name."""


def measure_variants(
    rows: pl.DataFrame, variants: Sequence[Variant], contract: TableContract, split: str, samples: int, seed: int
) -> pl.DataFrame:
    """AUROC and average precision of every variant, and its difference from its part's reference, paired.

    Parameters
    ----------
    rows : client_id, as_of_date, is_positive and the variants' columns, one row per eligible client and week.
    variants : at most one per part and name; a reference is itself a variant of the part.

    Returns
    -------
    frame : as the contract. Where only one class occurs, or a variant has no score, nulls with the reason.
    """
    sample = draw(rows, samples, seed)
    measured: dict[tuple[str, str], dict[str, Any]] = {}
    reasons: dict[tuple[str, str], str | None] = {}
    for v in variants:
        score, note = sample.score(v.column) if v.column is not None else (None, v.reason)
        reasons[v.part, v.name] = v.reason or sample.one_class or note
        if score is not None and not sample.one_class:
            values = ranking_metrics(score, sample.positive, sample.client, sample.multiplicity)
            measured[v.part, v.name] = dict(zip(METRICS, values, strict=True))
    out = []
    for v in variants:
        for metric in METRICS:
            row: dict[str, Any] = {
                "part": v.part,
                "variant": v.name,
                "split": split,
                "metric": metric,
                "setting_value": v.value,
                "setting_note": v.note,
                "reference": v.reference,
                "reason": reasons[v.part, v.name],
            }
            own = measured.get((v.part, v.name))
            if own is not None:
                row["metric_value"], row["interval_low"], row["interval_high"] = interval(own[metric])
                other = measured.get((v.part, v.reference or ""))
                if other is not None:
                    gap = interval(own[metric] - other[metric])
                    row["difference"], row["difference_low"], row["difference_high"] = gap
            out.append(row)
    schema = contract.empty().schema
    return contract.conform(pl.DataFrame([{c: r.get(c) for c in schema} for r in out], schema=schema))
