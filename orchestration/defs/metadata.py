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
    """Small histograms of up to eight numeric columns, heights as log(1 + count), as an inline picture."""
    from matplotlib.figure import Figure

    shown = [c for c in columns if frame[c].drop_nulls().len()][:8]
    if not shown:
        return dg.MetadataValue.md("*every column is null on this run*")
    across, width, height = 4, 0.85, 0.62
    down = -(-len(shown) // across)
    # all in one axes without ticks: an axes of its own for each histogram takes six times as long
    figure = Figure(figsize=(12, 2.3 * down))
    axes = figure.add_axes((0.01, 0.0, 0.98, 1 - 0.3 / down), xlim=(0, across), ylim=(-down, 0))
    axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
    for at, name in enumerate(shown):
        left, floor = at % across, -(at // across) - 0.85
        values = frame[name].drop_nulls().cast(pl.Float64).to_numpy()
        counts, edges = np.histogram(values[np.isfinite(values)], bins=40)
        heights = floor + height * np.log1p(counts) / np.log1p(max(1, counts.max()))
        axes.stairs(heights, np.linspace(left, left + width, len(edges)), baseline=floor, fill=True, color="#3b6ea5")
        axes.plot([left, left + width], [floor, floor], color="black", linewidth=0.6)
        axes.text(
            left + width / 2, floor + height + 0.06, f"{name}  (highest {counts.max():,})", fontsize=7, ha="center"
        )
        for x, side, end in ((left, "left", edges[0]), (left + width, "right", edges[-1])):
            axes.text(x, floor - 0.09, f"{end:.4g}", fontsize=6, ha=side)
    return picture(figure)


def picture(figure: Any) -> dg.MetadataValue:
    """A matplotlib figure as an inline Markdown image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def run_metadata(rows: int, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Metadata of one materialisation."""
    return {"dagster/row_count": rows, **(more or {})}
