"""The feature catalogue: what every feature means and how it is distributed, generated from the contracts.

Rule of this file: it reads contracts and frames and writes a table or a page; it defines no feature and knows no
pillar by name, so that a new feature or pillar appears here by itself.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import polars as pl

from ml_assets.contracts.table import Column, TableContract

_WINDOW = re.compile(r"_(\d+)d(?=_|$)")

CATALOGUE_CONTRACT: Final = TableContract(
    schema="features",
    name="feature_catalogue",
    description="One row per feature: what it means, how it is computed, and its distribution in the last run.",
    grain=("feature",),
    columns=(
        Column("feature", "text", "Column name of the feature."),
        Column("pillar", "text", "Key of the pillar whose table holds it, as in p1_volume_velocity."),
        Column("meaning", "text", "What it means, in one sentence."),
        Column("formula", "text", "How it is computed.", null_rule="null where the contract gives none"),
        Column("window_days", "integer", "Longest window in its name.", "days", null_rule="null without a window"),
        Column("unit", "text", "Unit, the last part of the name; '-' for booleans."),
        Column("dtype", "text", "Type in the contract."),
        Column("null_rule", "text", "When it is null.", null_rule="null where it never is"),
        Column("source", "text", "Paper, regulation or indicator list.", null_rule="null where none is needed"),
        Column("requires", "text", "Input columns without which it is null.", null_rule="null where it needs none"),
        Column("row_count", "integer", "Rows profiled.", "count", null_rule="null where not profiled", minimum=0),
        Column(
            "null_ratio", "number", "Share of the rows in which it is null.", "ratio",
            null_rule="null where no row was profiled", minimum=0, maximum=1,
        ),
        *(
            Column(name, "number", f"{about} of the non-null values; booleans count as 0 and 1.", "see unit",
                   null_rule="null where no row has a value")
            for name, about in (
                ("minimum", "Least"),
                ("p05", "5th percentile"),
                ("median", "Median"),
                ("p95", "95th percentile"),
                ("maximum", "Greatest"),
                ("mean", "Mean"),
            )
        ),
    ),
)  # fmt: skip
"""``features.feature_catalogue``, the table :func:`describe` fills."""

_DECLARED: Final = CATALOGUE_CONTRACT.names[: CATALOGUE_CONTRACT.names.index("row_count")]
_PROFILED: Final = ["feature", *CATALOGUE_CONTRACT.names[CATALOGUE_CONTRACT.names.index("row_count") :]]
_SCHEMA: Final = dict(CATALOGUE_CONTRACT.empty().schema)


def _entry(contract: TableContract, column: Column) -> dict[str, str | int | None]:
    windows = [int(days) for days in _WINDOW.findall(column.name)]
    return {
        "feature": column.name,
        "pillar": contract.name.removeprefix("feat_"),
        "meaning": column.description,
        "formula": column.formula or None,
        "window_days": max(windows, default=None),
        "unit": column.unit,
        "dtype": column.dtype,
        "null_rule": column.null_rule,
        "source": column.source or None,
        "requires": ", ".join(column.requires) or None,
    }


def catalogue(contracts: Iterable[TableContract]) -> pl.DataFrame:
    """What the contracts say of their features.

    Parameters
    ----------
    contracts : feature tables; grain columns are left out.

    Returns
    -------
    One row per feature: feature, pillar, meaning, formula, window_days, unit, dtype, null_rule, source, requires; in
    the order of the contracts.
    """
    rows = [_entry(contract, column) for contract in contracts for column in contract.features]
    return pl.DataFrame(rows, schema={n: _SCHEMA[n] for n in _DECLARED})


def profile(frame: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """How the contract's features are distributed in ``frame``.

    Parameters
    ----------
    frame : rows of the contract's table.
    contract : names the features; text, date and timestamp columns are only counted.

    Returns
    -------
    One row per feature: feature, row_count, null_ratio, minimum, p05, median, p95, maximum, mean. Percentiles are
    interpolated linearly. Null where no value is.
    """
    rows = []
    for column in contract.features:
        values = frame[column.name]
        row: dict[str, object] = {
            "feature": column.name,
            "row_count": len(values),
            "null_ratio": values.null_count() / len(values) if len(values) else None,
        }
        if column.dtype in ("integer", "number", "boolean"):
            numbers = values.cast(pl.Float64).drop_nulls().drop_nans().sort()
            row |= {
                "minimum": numbers.min(),
                "p05": numbers.quantile(0.05, "linear"),
                "median": numbers.median(),
                "p95": numbers.quantile(0.95, "linear"),
                "maximum": numbers.max(),
                "mean": numbers.mean(),
            }
        rows.append(row)
    return pl.DataFrame(rows, schema={n: _SCHEMA[n] for n in _PROFILED})


def describe(contracts: Sequence[TableContract], frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Catalogue and distribution in one table, rows of :data:`CATALOGUE_CONTRACT`.

    Parameters
    ----------
    contracts : feature tables.
    frames : rows by contract address (``features.feat_p1_volume_velocity``); a table without a frame is listed
        without a distribution.
    """
    profiles = [profile(frames[c.address], c) for c in contracts if c.address in frames]
    empty = pl.DataFrame(schema={n: _SCHEMA[n] for n in _PROFILED})
    distributions = pl.concat([empty, *profiles])
    return CATALOGUE_CONTRACT.conform(catalogue(contracts).join(distributions, on="feature", how="left"))


def _number(value: float | None) -> str:
    """Four significant digits, thousands separated; an empty cell for null.

    >>> _number(1234567.0), _number(0.000123456), _number(0.5), _number(None)
    ('1,234,567', '0.0001235', '0.5', '')
    """
    if value is None:
        return ""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _cells(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headers and cells as text, in the table's order."""
    names = table.columns
    rows = []
    for row in table.iter_rows(named=True):
        cells = []
        for name in names:
            value = row[name]
            if name == "null_ratio" and value is not None:
                cells.append(f"{value:.1%}")
            elif isinstance(value, (int, float)):
                cells.append(_number(value))
            else:
                cells.append("" if value is None else str(value))
        rows.append(cells)
    return [name.replace("_", " ") for name in names], rows


def _by_pillar(table: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Parts of the table by pillar, in order of the pillar's key."""
    parts = table.partition_by("pillar", as_dict=True, maintain_order=True)
    return [(str(key[0]), parts[key].drop("pillar")) for key in sorted(parts, key=str)]


def to_markdown(table: pl.DataFrame) -> str:
    """The catalogue as Markdown: one heading and one table per pillar. ``table`` has a column ``pillar``."""
    out = ["# Feature catalogue", ""]
    for pillar, part in _by_pillar(table):
        headers, rows = _cells(part)
        out += [f"## {pillar} ({part.height} features)", ""]
        out += ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
        for row in rows:
            out.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |")
        out.append("")
    return "\n".join(out)


_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; color: #1c2733; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #d9dfe5; padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: #f3f5f7; white-space: nowrap; }
td:first-child { font-family: ui-monospace, monospace; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
"""


def to_html(table: pl.DataFrame, title: str = "Feature catalogue") -> str:
    """The catalogue as one self-contained page: no script, no outside resource. ``table`` has a column ``pillar``."""
    parts = _by_pillar(table)
    links = "".join(f'<a href="#{html.escape(p)}">{html.escape(p)} ({t.height})</a>' for p, t in parts)
    body = []
    for pillar, part in parts:
        headers, rows = _cells(part)
        is_number = [dtype.is_numeric() for dtype in part.dtypes]
        head = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in headers)
        lines = []
        for row in rows:
            marks = [' class="number"' if numeric else "" for numeric in is_number]
            cells = "".join(f"<td{mark}>{html.escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
            lines.append(f"<tr>{cells}</tr>")
        body.append(
            f'<h2 id="{html.escape(pillar)}">{html.escape(pillar)}</h2>\n<div class="scroll"><table>'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
        )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        f"<p>{table.height} features in {len(parts)} pillars, generated from the contracts in the code.</p>\n"
        f"<nav>{links}</nav>\n" + "\n".join(body) + "\n</body></html>\n"
    )
