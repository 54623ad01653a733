"""From contract to Great Expectations suite.

A suite runs on a *profile* of the table: one row per as-of week (or one row for a table without
weeks) with counts, minima and maxima per column. That keeps Great Expectations on a small pandas
frame however large the table is, covers every week of a backfill, and never shows a client's value.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

import polars as pl

from ml_assets.contracts.table import TableContract

WEEK = "as_of_date"


@dataclass(frozen=True)
class SuiteResult:
    """Outcome of a suite: ``failures`` holds one sentence per expectation that did not hold."""

    passed: bool
    evaluated: int
    failures: tuple[str, ...]


def profile_table(frame: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """Counts, minima and maxima per column: one row per as-of week, or one row if the table has no weeks.

    Columns out: ``as_of_date`` (text), ``rows``, ``duplicates`` and, as far as the contract limits the column,
    ``<column>__nulls``, ``<column>__min``, ``<column>__max``, ``<column>__not_allowed``.
    """
    aggregates = [
        pl.len().cast(pl.Int64).alias("rows"),
        (pl.len() - pl.struct(contract.grain).n_unique()).cast(pl.Int64).alias("duplicates"),
    ]
    for c in contract.columns:
        column = pl.col(c.name)
        if not c.is_nullable:
            aggregates.append(column.null_count().cast(pl.Int64).alias(f"{c.name}__nulls"))
        if c.minimum is not None:
            aggregates.append(column.min().cast(pl.Float64).alias(f"{c.name}__min"))
        if c.maximum is not None:
            aggregates.append(column.max().cast(pl.Float64).alias(f"{c.name}__max"))
        if c.allowed:
            bad = ~column.drop_nulls().is_in(list(c.allowed))
            aggregates.append(bad.sum().cast(pl.Int64).alias(f"{c.name}__not_allowed"))
    if WEEK in contract.grain:
        return frame.group_by(pl.col(WEEK).cast(pl.String)).agg(aggregates).sort(WEEK)
    return frame.select(pl.lit("all").alias(WEEK), *aggregates)


@functools.cache
def great_expectations() -> Any:
    """The library, imported when first needed: it takes three seconds."""
    # Analytics posts to the internet from a bank's network: off before the first import.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    return gx


def expectation_suite(contract: TableContract) -> Any:
    """The Great Expectations suite of a contract, to be run on :func:`profile_table`'s frame."""
    gx = great_expectations()
    between = gx.expectations.ExpectColumnValuesToBeBetween
    # tolerance: sums of 64-bit floats may pass a bound by rounding in the last digits
    slack = 1e-9
    expectations = [
        between(column="duplicates", max_value=0, meta={"says": f"one row per {' and '.join(contract.grain)}"}),
        between(column="rows", min_value=1, meta={"says": "no empty week"}),
    ]
    for c in contract.columns:
        if not c.is_nullable:
            says = {"says": f"{c.name} is never null"}
            expectations.append(between(column=f"{c.name}__nulls", max_value=0, meta=says))
        if c.minimum is not None:
            says = {"says": f"{c.name} >= {c.minimum:g} {c.unit}"}
            expectations.append(between(column=f"{c.name}__min", min_value=c.minimum - slack, meta=says))
        if c.maximum is not None:
            says = {"says": f"{c.name} <= {c.maximum:g} {c.unit}"}
            expectations.append(between(column=f"{c.name}__max", max_value=c.maximum + slack, meta=says))
        if c.allowed:
            says = {"says": f"{c.name} is one of {', '.join(c.allowed)}"}
            expectations.append(between(column=f"{c.name}__not_allowed", max_value=0, meta=says))
    return gx.ExpectationSuite(name=contract.address, expectations=expectations)


def validate(frame: pl.DataFrame, contract: TableContract) -> SuiteResult:
    """Run the contract's suite on ``frame``: :func:`validate_profile` of its :func:`profile_table`."""
    return validate_profile(profile_table(frame, contract), contract)


def validate_profile(profile: pl.DataFrame, contract: TableContract) -> SuiteResult:
    """Run the contract's suite on a table's profile and say in words what failed.

    An empty profile fails ("no empty week"). An expectation that could not be evaluated counts as failed.
    """
    gx = great_expectations()
    if not profile.height:
        return SuiteResult(False, 1, (f"{contract.address} is empty",))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch_definition = (
        context.data_sources.add_pandas("frame")
        .add_dataframe_asset(contract.name)
        .add_batch_definition_whole_dataframe("profile")
    )
    batch = batch_definition.get_batch(batch_parameters={"dataframe": profile.to_pandas()})
    result = batch.validate(expectation_suite(contract), result_format="BOOLEAN_ONLY")
    failures = []
    for r in result.results:
        if r.success:
            continue
        config = r.expectation_config
        weeks = _weeks_outside(profile, config.kwargs)
        raised = "; could not be evaluated" if (r.exception_info or {}).get("raised_exception") else ""
        failures.append(f"{(config.meta or {}).get('says', config.type)}: fails in {weeks}{raised}")
    return SuiteResult(bool(result.success), len(result.results), tuple(failures))


def _weeks_outside(profile: pl.DataFrame, kwargs: dict[str, Any]) -> str:
    column = pl.col(kwargs["column"])
    outside = pl.lit(False)
    if kwargs.get("min_value") is not None:
        outside = outside | (column < kwargs["min_value"])
    if kwargs.get("max_value") is not None:
        outside = outside | (column > kwargs["max_value"])
    weeks = profile.filter(outside)[WEEK].to_list()
    return ", ".join(weeks[:5]) + (f" and {len(weeks) - 5} more weeks" if len(weeks) > 5 else "") or "no week"
