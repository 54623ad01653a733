"""The scheme catalogue as a table: every number the scheme indicators use, and what the schemes are not covered by.

Rule of this file: :mod:`ml_assets.features.scheme_templates` says it, this file puts it into rows; no number stands
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.scheme_templates import (
    INDICATORS,
    NOT_COVERED,
    SCORE_COLUMNS,
    TEMPLATES,
    Indicator,
    Limit,
    Scheme,
)

KINDS: Final = ("threshold", "condition", "weight", "signature", "not_covered")
"""What a row is: the number at which an indicator fires, a further number of its formula, the weight of the indicator
among those of its scheme, the weight of a pillar in the scheme's signature, or an indicator our columns cannot show."""

CONTRACT: Final = TableContract(
    schema="features",
    name="scheme_catalogue",
    description=(
        "One row per scheme, entry and number: thresholds, conditions and signature weights with value, unit, reason, "
        "source and date; and the indicators that are not covered."
    ),
    grain=("scheme", "entry", "limit_name"),
    columns=(
        Column("scheme", "text", "Scheme it speaks for.", allowed=tuple(s.value for s in Scheme)),
        Column("entry", "text", "Indicator, pillar of the signature, or name of what is not covered."),
        Column("limit_name", "text", "Number of the entry; 'needs' where it is not covered."),
        Column("kind", "text", "What the row is.", allowed=KINDS),
        Column("meaning", "text", "What the entry means; what it would need, where it is not covered."),
        Column("formula", "text", "How the indicator is computed.", null_rule="null where the row is no indicator"),
        Column("window_days", "integer", "Window of the indicator.", "days", null_rule="as formula"),
        Column("limit_value", "number", "The number.", "see limit_unit", null_rule="null where not covered"),
        Column("limit_unit", "text", "Unit of the number.", null_rule="null where not covered"),
        Column(
            "resolved_value",
            "number",
            "The number as compared: reporting thresholds turned into base money.",
            "see limit_unit",
            null_rule="null where not covered",
        ),
        Column("reason", "text", "Why this number.", null_rule="null where not covered"),
        Column("requires", "text", "Input columns without which it is null.", null_rule="as formula"),
        Column("evidence", "text", "Transactions handed to the investigator.", null_rule="as formula"),
        Column("source", "text", "Alert or advisory that describes the behaviour."),
        Column("source_date", "date", "Its date of publication; the newest where the signature rests on several."),
        Column(
            "fired_ratio",
            "number",
            "Share of the clients of the newest weeks for which it fired, of those it could be computed for.",
            "ratio",
            null_rule="null where the row is no threshold, or it could be computed for nobody",
            minimum=0,
            maximum=1,
        ),
    ),
)
"""``features.scheme_catalogue``."""


def _number(entry: Indicator, limit: Limit, kind: str, reporting_threshold_base: float) -> dict[str, Any]:
    return {
        "scheme": entry.scheme.value,
        "entry": entry.name,
        "limit_name": limit.name,
        "kind": kind,
        "meaning": entry.meaning,
        "formula": entry.formula,
        "window_days": entry.window_days,
        "limit_value": limit.value,
        "limit_unit": limit.unit,
        "resolved_value": limit.resolve(reporting_threshold_base),
        "reason": limit.reason,
        "requires": ", ".join(entry.requires),
        "evidence": entry.evidence,
        "source": limit.source.reference,
        "source_date": limit.source.published,
    }


def _rows(reporting_threshold_base: float) -> Iterator[dict[str, Any]]:
    for i in INDICATORS:
        yield _number(i, i.threshold, "threshold", reporting_threshold_base)
        for condition in i.conditions:
            yield _number(i, condition, "condition", reporting_threshold_base)
        if i.weight is not None:
            yield _number(i, i.weight, "weight", reporting_threshold_base)
    for template in TEMPLATES.values():
        for column, weight, reason in zip(SCORE_COLUMNS, template.weights, template.reasons, strict=True):
            yield {
                "scheme": template.scheme.value,
                "entry": column,
                "limit_name": "signature_weight",
                "kind": "signature",
                "meaning": f"How strongly pillar {column[2:4].upper()} shows the scheme, 0 to 5.",
                "limit_value": weight,
                "limit_unit": "weight",
                "resolved_value": weight,
                "reason": reason,
                "source": "; ".join(s.reference for s in template.sources),
                "source_date": max(s.published for s in template.sources),
            }
    for missing in NOT_COVERED:
        yield {
            "scheme": missing.scheme.value,
            "entry": missing.name,
            "limit_name": "needs",
            "kind": "not_covered",
            "meaning": missing.needs,
            "source": missing.source.reference,
            "source_date": missing.source.published,
        }


def scheme_catalogue(indicators: pl.DataFrame, reporting_threshold_base: float) -> pl.DataFrame:
    """The catalogue with the base rate of every indicator.

    Parameters
    ----------
    indicators : rows of ``features.feat_p6_scheme`` of the newest weeks; may be empty.
    reporting_threshold_base : what ``reporting_thresholds`` are multiples of.

    Returns
    -------
    Rows of :data:`CONTRACT`. Money is compared in cents, as where the indicators fire.
    """
    empty = {n: t for n, t in CONTRACT.empty().schema.items() if n != "fired_ratio"}
    table = pl.DataFrame(list(_rows(reporting_threshold_base)), schema=empty)
    rates: dict[str, float | None] = {}
    for i in INDICATORS:
        values = indicators[i.name].cast(pl.Float64).drop_nulls()
        limit = i.threshold.resolve(reporting_threshold_base)
        fired = (values * 100).round() >= round(limit * 100) if i.name.endswith("_base") else values >= limit
        rates[i.name] = int(fired.sum()) / len(fired) if len(fired) else None
    rated = pl.DataFrame(
        {"entry": list(rates), "limit_name": "fires", "fired_ratio": list(rates.values())},
        schema_overrides={"fired_ratio": pl.Float64},
    )
    return CONTRACT.conform(table.join(rated, on=["entry", "limit_name"], how="left"))
