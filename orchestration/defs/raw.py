"""From files to ``raw`` tables: the delivery in the landing folder, then every entity as received."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ml_assets.sources import deliver, ingest
from orchestration.defs.metadata import markdown_table, run_metadata
from orchestration.defs.resources import CONFIG, SETTINGS, Warehouse

ENTITIES = ("transactions", "client_profiles", "str_labels", "blacklist", "fx_rates", "dispositions")
BOOKKEEPING = ("deliveries", "dataset", "not_available", "rejects")


@dg.asset(
    key=["landing", "delivery"],
    group_name="landing",
    kinds={"python", "parquet"},
    description=(
        "The landing folder in the form of the input contract, filled from the run's source: the simulated bank, "
        "the user's own folder, or a published data set through its adapter."
    ),
)
def delivery(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Fill the landing folder."""
    deliver(SETTINGS.source, SETTINGS.landing, CONFIG, progress=context.log.info)
    files = sorted(p for p in SETTINGS.landing.rglob("*") if p.is_file())
    return dg.MaterializeResult(
        metadata={
            "source": SETTINGS.source,
            "files": len(files),
            "megabytes": round(sum(p.stat().st_size for p in files) / 1e6, 2),
        }
    )


@dg.multi_asset(
    name="raw_tables",
    specs=[
        dg.AssetSpec(
            ["raw", name],
            deps=[["landing", "delivery"]],
            group_name="raw",
            kinds={"python", "duckdb"},
            description=f"One row per record of {name} as received, all text, with file, row and delivery.",
        )
        for name in ENTITIES
    ]
    + [
        dg.AssetSpec(
            ["raw", name],
            deps=[["landing", "delivery"]],
            group_name="raw",
            kinds={"python", "duckdb"},
            description={
                "deliveries": "One row per ingested file: content hash, rows, delivery number.",
                "dataset": "One row: what the source says of itself, base currency and reporting delay.",
                "not_available": "One row per input column the source lacks, with the reason.",
                "rejects": "One row per record the file reader could not split into columns, with the reason.",
            }[name],
        )
        for name in BOOKKEEPING
    ],
)
def raw_tables(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Load new deliveries; a changed file reloads everything."""
    with warehouse.connect() as con:
        report = ingest(
            con,
            SETTINGS.landing,
            default_currency=CONFIG.source.base_currency,
            default_delay_days=CONFIG.source.reporting_delay_days,
        )
        deliveries = markdown_table(con.sql("from raw.deliveries").pl())
        for name in ENTITIES + BOOKKEEPING:
            found = con.execute(f"select count(*) from raw.{name}").fetchone()
            more = {"deliveries": deliveries} if name == "deliveries" else {}
            yield dg.MaterializeResult(asset_key=["raw", name], metadata=run_metadata(found[0] if found else 0, more))
    context.log.info(f"ingested: {report}")
