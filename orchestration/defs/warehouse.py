"""dbt's models as assets: staging (unpartitioned), weekly windows and marts, each in one dbt call.

Python and dbt meet only in tables. The weeks a call shall replace are handed over in
``intermediate.requested_weeks`` and not as dbt variables: different variables would make dbt parse the
whole project again.
"""

import hashlib
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliInvocation, dbt_assets

from ml_assets.contracts.tables import REQUESTED_WEEKS
from orchestration.ahead import AHEAD, IMPORTS, RECORD
from orchestration.defs.partitions import AS_OF_WEEKS, weeks_of
from orchestration.defs.resources import DBT_PROJECT, DbtCommand, Warehouse, WarehouseBusyError, release_files


def ensure_manifest() -> Path:
    """Parse the dbt project if its files changed since the last parse; returns the manifest's path."""
    digest = hashlib.sha256()
    root = DBT_PROJECT.project_dir
    for path in sorted(root.rglob("*")):
        if path.is_file() and not {"target", "logs"} & set(path.relative_to(root).parts):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    stamp = root / "target" / "parsed.sha256"
    if not DBT_PROJECT.manifest_path.exists() or not stamp.exists() or stamp.read_text() != digest.hexdigest():
        DBT_PROJECT.preparer.prepare(DBT_PROJECT)
        stamp.write_text(digest.hexdigest())
    return DBT_PROJECT.manifest_path


class Translator(DagsterDbtTranslator):
    """Asset key = schema/table = DuckDB address: dbt's default key, said here so that it cannot drift."""

    def __init__(self) -> None:
        # with source tests as checks, a blocking Python check ran after dbt had already read its table
        super().__init__(
            settings=DagsterDbtTranslatorSettings(enable_asset_checks=True, enable_source_tests_as_checks=False)
        )

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """``[schema, name]``."""
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition | None:
        """As-of weeks for models replaced week by week; none for tables that a run makes anew as a whole."""
        is_weekly = dbt_resource_props.get("config", {}).get("incremental_strategy") == "replace_weeks"
        # labels are made anew as a whole, because an STR of today labels weeks of the past, but are read by week
        return AS_OF_WEEKS if is_weekly or "labels" in dbt_resource_props.get("tags", []) else None


TRANSLATOR = Translator()
MANIFEST = ensure_manifest()
RETRY = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)
PROBLEMS = 10
"""Rows of a failed test that its check result tells."""
PROBLEM_LENGTH = 300
"""Characters of one such row."""


def build_dbt(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """Run ``dbt build`` on the step's selection, then add to what it reports: row counts, columns, rows that failed.

    Unit tests are left to the test suite: they test the SQL, not this run's data. Counting waits for dbt to end,
    because dbt's process holds the warehouse file until then.
    """
    release_files()
    invocation = dbt.cli(["build", "--exclude-resource-type", "unit_test"], context=context, raise_on_error=False)
    events = list(invocation.stream())
    tables = {e.output_name: e for e in events if isinstance(e, dg.Output)}
    measured = _measure(context, warehouse, list(tables)) if tables else {}
    for event in events:
        if isinstance(event, dg.Output) and event.output_name in measured:
            yield event.with_metadata({**(event.metadata or {}), **measured[event.output_name]})
        elif isinstance(event, dg.AssetCheckResult) and not event.passed:
            yield event.with_metadata({**event.metadata, **_problems(invocation, warehouse, event)})
        else:
            yield event
    error = invocation.get_error()
    if error is not None:
        raise error
    # a failed call's folder stays for whoever looks into it
    shutil.rmtree(invocation.target_path, ignore_errors=True)


def _measure(context: dg.AssetExecutionContext, warehouse: Warehouse, outputs: list[str]) -> dict[str, dict[str, Any]]:
    addresses = {output: ".".join(context.asset_key_for_output(output).path) for output in outputs}
    with warehouse.connect() as con:
        columns = dict(
            con.execute(
                "select schema_name || '.' || table_name, count(*) from duckdb_columns() "
                "where database_name = current_database() group by all"
            ).fetchall()
        )
        rows = {
            address: con.execute(f"select count(*) from {address}").fetchone()
            for address in addresses.values()
            if address in columns
        }
    return {
        output: {
            "dagster/row_count": found[0],
            "dagster/table_name": address,
            "columns": columns[address],
        }
        for output, address in addresses.items()
        if (found := rows.get(address)) is not None
    }


def _problems(invocation: DbtCliInvocation, warehouse: Warehouse, check: dg.AssetCheckResult) -> dict[str, str]:
    """The first rows that a failed test found, in words; dbt itself says only how many there are."""
    test = invocation.manifest["nodes"][check.metadata["unique_id"].value]
    written = invocation.target_path / "compiled" / test["package_name"] / test["original_file_path"]
    if written.name != test["path"]:
        # a test declared for a model has a file of its own in a folder named as the file that declares it
        written /= test["path"]
    if not written.exists():
        # dbt has failed before it had the statement, and says so itself
        return {}
    sql = written.read_text(encoding="utf-8")
    try:
        with warehouse.connect() as con:
            # in a fixed order, so that the same fault is told in the same words
            found = con.sql(f"select * from (\n{sql}\n) order by all limit {PROBLEMS}")
            problems = [_in_words(dict(zip(found.columns, row, strict=True)), sql) for row in found.fetchall()]
    except (duckdb.Error, WarehouseBusyError) as error:
        # the failed test is what has to be told, not that its rows could not be had
        problems = [f"its rows could not be read: {error}"]
    count = check.metadata.get("dagster_dbt/failed_row_count")
    left = (count.value or 0) - PROBLEMS if isinstance(count, dg.IntMetadataValue) else 0
    if left > 0:
        problems.append(f"and {left} more")
    return {"problems": "; ".join(problems)} if problems else {}


def _in_words(row: dict[str, Any], sql: str) -> str:
    if row.keys() == {"column_name", "rule", "rows_count", "example"}:
        rows = f"{row['rows_count']} {'row' if row['rows_count'] == 1 else 'rows'}"
        example = "" if row["example"] is None else f", for example by {row['example']}"
        return f"{row['column_name']}: {row['rule']}, broken in {rows}{example}"
    # columns that the test itself speaks of come first, as a row of fifty columns is cut
    named = sorted(row, key=lambda name: name not in sql)
    return textwrap.shorten(", ".join(f"{name} {row[name]}" for name in named), PROBLEM_LENGTH, placeholder=" ...")


def request_weeks(warehouse: Warehouse, weeks: list[date]) -> None:
    """Tell dbt's weekly models which as-of dates to replace."""
    warehouse.replace_table(REQUESTED_WEEKS, pl.DataFrame({"as_of_date": weeks}, schema={"as_of_date": pl.Date}))


@dbt_assets(
    manifest=MANIFEST,
    select="tag:unpartitioned",
    name="dbt_staging",
    dagster_dbt_translator=TRANSLATOR,
    retry_policy=RETRY,
)
def dbt_staging(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """Seeds, staging, quarantine and the unpartitioned intermediate tables."""
    with AHEAD.doing(IMPORTS):
        yield from build_dbt(context, dbt, warehouse)


@dbt_assets(
    manifest=MANIFEST,
    select="tag:weekly tag:labels",
    name="dbt_weekly",
    dagster_dbt_translator=TRANSLATOR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
)
def dbt_weekly(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """The spine, windows and labels of the requested weeks."""
    request_weeks(warehouse, weeks_of(context))
    with AHEAD.doing(RECORD):
        yield from build_dbt(context, dbt, warehouse)


@dbt_assets(
    manifest=MANIFEST,
    select="tag:marts",
    # built by the segments job and the report job, from tables the main job does not make
    exclude="tag:segments tag:evaluation",
    name="dbt_marts",
    dagster_dbt_translator=TRANSLATOR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
)
def dbt_marts(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """Marts of the requested weeks, from scores to what analysts read."""
    request_weeks(warehouse, weeks_of(context))
    yield from build_dbt(context, dbt, warehouse)


@dbt_assets(
    manifest=MANIFEST,
    select="tag:evaluation",
    name="dbt_evaluation",
    dagster_dbt_translator=TRANSLATOR,
    retry_policy=RETRY,
)
def dbt_evaluation(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """Marts of the evidence report."""
    yield from build_dbt(context, dbt, warehouse)
