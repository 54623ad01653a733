"""From contract to Great Expectations suite.

The suite runs on a *profile* of the table: counts, minima and maxima per column and as-of week (or once for a table
without weeks), each beside what the contract allows. That keeps Great Expectations on a small pandas frame however
large the table is, covers every week of a backfill, and never shows a client's value.
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


def limits(contract: TableContract) -> pl.DataFrame:
    """What a contract asks of :func:`profile_table`'s columns: one row per rule.

    Columns out: ``measure`` (the profile's column), ``lowest`` and ``highest`` (both ends allowed; null: no limit) and
    ``says``, the rule in words.
    """
    # tolerance: sums of 64-bit floats may pass a bound by rounding in the last digits
    slack = 1e-9
    rules: list[tuple[str, float | None, float | None, str]] = [
        ("duplicates", None, 0, f"one row per {' and '.join(contract.grain)}"),
        ("rows", 1, None, "no empty week"),
    ]
    for c in contract.columns:
        if not c.is_nullable:
            rules.append((f"{c.name}__nulls", None, 0, f"{c.name} is never null"))
        if c.minimum is not None:
            rules.append((f"{c.name}__min", c.minimum - slack, None, f"{c.name} >= {c.minimum:g} {c.unit}"))
        if c.maximum is not None:
            rules.append((f"{c.name}__max", None, c.maximum + slack, f"{c.name} <= {c.maximum:g} {c.unit}"))
        if c.allowed:
            rules.append((f"{c.name}__not_allowed", None, 0, f"{c.name} is one of {', '.join(c.allowed)}"))
    schema = {"measure": pl.String, "lowest": pl.Float64, "highest": pl.Float64, "says": pl.String}
    return pl.DataFrame(rules, schema=schema, orient="row")


@functools.cache
def _suite() -> Any:
    """Every measure within its limits. Two expectations for all rules of a table: one a rule took ten times as long."""
    gx = great_expectations()
    at_least = functools.partial(
        gx.expectations.ExpectColumnPairValuesAToBeGreaterThanB, or_equal=True, ignore_row_if="either_value_is_missing"
    )
    return gx.ExpectationSuite(
        name="limits",
        expectations=[at_least(column_A="value", column_B="lowest"), at_least(column_A="highest", column_B="value")],
    )


def validate(frame: pl.DataFrame, contract: TableContract) -> SuiteResult:
    """Run the contract's suite on ``frame``: :func:`validate_profile` of its :func:`profile_table`."""
    return validate_profile(profile_table(frame, contract), contract)


def validate_profile(profile: pl.DataFrame, contract: TableContract) -> SuiteResult:
    """Hold a table's profile against the contract's :func:`limits` and say in words what failed.

    An empty profile fails ("no empty week"). An expectation that could not be evaluated counts as failed.
    """
    if not profile.height:
        return SuiteResult(False, 1, (f"{contract.address} is empty",))
    rules = limits(contract)
    measured = (
        profile.unpivot(index=WEEK, variable_name="measure", value_name="value")
        .with_columns(pl.col("value").cast(pl.Float64))
        .join(rules, on="measure", how="inner", maintain_order="right_left")
    )
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch_definition = (
        context.data_sources.add_pandas("frame")
        .add_dataframe_asset(contract.name)
        .add_batch_definition_whole_dataframe("profile")
    )
    batch = batch_definition.get_batch(batch_parameters={"dataframe": measured.to_pandas()})
    result = batch.validate(_suite(), result_format="BOOLEAN_ONLY")
    if result.success:
        return SuiteResult(True, rules.height, ())
    outside = measured.filter((pl.col("value") < pl.col("lowest")) | (pl.col("value") > pl.col("highest")))
    failures = [
        f"{says}: fails in {_named(weeks)}"
        for says, weeks in outside.group_by("says", maintain_order=True).agg(WEEK).iter_rows()
    ]
    if not failures or any((r.exception_info or {}).get("raised_exception") for r in result.results):
        failures.append(f"{contract.address}: the expectations could not be evaluated")
    return SuiteResult(False, rules.height, tuple(failures))


def _named(weeks: list[str]) -> str:
    return ", ".join(weeks[:5]) + (f" and {len(weeks) - 5} more weeks" if len(weeks) > 5 else "")
