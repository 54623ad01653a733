"""What Dagster's UI shows beside an asset: row counts, schema, tables and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from ml_assets.contracts import TableContract


def table_schema(contract: TableContract) -> dg.TableSchema:
    """Dagster's schema of a contract, shown on the asset's page."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.dtype,
                description=c.description
                + (f" Unit: {c.unit}." if c.unit != "-" else "")
                + (f" Null: {c.null_rule}." if c.null_rule else ""),
                constraints=dg.TableColumnConstraints(nullable=c.is_nullable),
            )
            for c in contract.columns
        ]
    )


def definition_metadata(contract: TableContract) -> dict[str, Any]:
    """Metadata known before any run: schema and table name."""
    return {
        "dagster/column_schema": table_schema(contract),
        "dagster/table_name": contract.address,
        "grain": ", ".join(contract.grain),
    }


def markdown_table(frame: pl.DataFrame, rows: int = 20) -> dg.MetadataValue:
    """The first ``rows`` of a frame as a Markdown table."""
    with pl.Config(
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_rows=rows,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
        float_precision=3,
    ):
        return dg.MetadataValue.md(str(frame.head(rows)))


def distribution_picture(frame: pl.DataFrame, columns: Sequence[str], title: str) -> dg.MetadataValue:
    """Small histograms of up to eight numeric columns, as an inline picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    shown = [c for c in columns if frame[c].drop_nulls().len()][:8]
    if not shown:
        return dg.MetadataValue.md("*every column is null on this run*")
    across = 4
    down = -(-len(shown) // across)
    # fixed margins: a computed layout takes ten times as long as the drawing
    figure = Figure(figsize=(12, 2.3 * down))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.25 / down, top=1 - 0.35 / down, hspace=0.5, wspace=0.2)
    figure.suptitle(title, fontsize=10)
    for at, name in enumerate(shown):
        axes = figure.add_subplot(down, across, at + 1)
        values = frame[name].drop_nulls().cast(pl.Float64).to_numpy()
        # one filled outline and no minor ticks: forty bars and their ticks take most of the drawing
        axes.stairs(*np.histogram(values[np.isfinite(values)], bins=40), fill=True, color="#3b6ea5")
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
    return picture(figure)


def picture(figure: Any) -> dg.MetadataValue:
    """A matplotlib figure as an inline Markdown image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def run_metadata(rows: int, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Metadata of one materialisation."""
    return {"dagster/row_count": rows, **(more or {})}
