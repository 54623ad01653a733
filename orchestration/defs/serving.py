"""Publishing: marts and data quality of a good run, copied to the file analysts and pages read.

Readers never open the warehouse: a DuckDB writer excludes them. They open the serving file per query; it
is replaced as a whole by a rename, so a reader sees the old generation or the new one and never a mixture.
"""

from pathlib import Path

import dagster as dg
import duckdb

from ml_assets.files import replacing
from orchestration.defs.metadata import markdown_table, run_metadata
from orchestration.defs.resources import SETTINGS, Warehouse
from orchestration.defs.warehouse import dbt_evaluation, dbt_marts

PUBLISHED_SCHEMAS = ("marts", "quality")


def publish(warehouse: Warehouse, target: Path) -> dict[str, int]:
    """Copy the published schemas to ``target`` in one rename; returns rows by table."""
    rows: dict[str, int] = {}
    with replacing(target) as partial, warehouse.connect() as con:
        tables = con.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_catalog = current_database() and table_schema in (select unnest(?)) order by all",
            [list(PUBLISHED_SCHEMAS)],
        ).fetchall()
        # readable by DuckDB 1.5 and 2.0 alike
        con.execute(f"attach '{partial}' as published (storage_version 'v1.5.0')")
        for schema, name in tables:
            con.execute(f"create schema if not exists published.{schema}")
            con.execute(f'create table published.{schema}."{name}" as from {schema}."{name}"')
            found = con.execute(f'select count(*) from published.{schema}."{name}"').fetchone()
            rows[f"{schema}.{name}"] = found[0] if found else 0
        _copy_comments(con)
        con.execute("detach published")
    return rows


def _copy_comments(con: duckdb.DuckDBPyConnection) -> None:
    comments = con.execute(
        "select schema_name, table_name, column_name, replace(comment, '''', '''''') from duckdb_columns() "
        "where database_name = current_database() and schema_name in (select unnest(?)) and comment is not null",
        [list(PUBLISHED_SCHEMAS)],
    ).fetchall()
    # in one call: a call each takes twice as long
    con.execute(";".join(f'comment on column published.{s}."{t}"."{c}" is \'{text}\'' for s, t, c, text in comments))


@dg.asset(
    key=["serving", "marts_serving"],
    deps=[*dbt_marts.keys, *dbt_evaluation.keys],
    group_name="serving",
    kinds={"duckdb"},
    description="The file analysts, reports and pages open: all marts and data quality of the last good run.",
)
def serving_file(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Replace the serving file."""
    import polars as pl

    rows = publish(warehouse, SETTINGS.serving)
    table = pl.DataFrame({"table": list(rows), "rows": list(rows.values())})
    return dg.MaterializeResult(
        metadata=run_metadata(sum(rows.values()), {"path": str(SETTINGS.serving), "tables": markdown_table(table, 60)})
    )
