"""The feature catalogue: what every feature means, how it is distributed, and what a missing column takes away.

Rule of this file: it reads contracts and frames and gives tables; it defines no feature and knows no pillar by name,
so that a new feature or pillar appears here by itself. The page is made of these tables in
:mod:`ml_assets.reports.catalogue_page`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
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
                ("histogram_low", "Lower end of the histogram: 1st percentile"),
                ("histogram_high", "Upper end of the histogram: 99th percentile"),
            )
        ),
        Column(
            "histogram_counts", "text", "Rows in equal-width bins from lower to upper end, joined by ','; what lies "
            "outside is counted in the end bins; one number where both ends are equal.",
            null_rule="null where no row has a value",
        ),
    ),
)  # fmt: skip
"""``features.feature_catalogue``, the table :func:`describe` fills."""

HISTOGRAM_BINS: Final = 24
"""Bins of the histogram: as many bars as a cell of the page can show."""

WEAKENED_CONTRACT: Final = TableContract(
    schema="features",
    name="weakened_pillars",
    description=(
        "One row per pillar and missing input: features that are null for every client of the newest weeks, and why."
    ),
    grain=("pillar", "column_name"),
    columns=(
        Column("pillar", "text", "Key of the pillar, as in p1_volume_velocity."),
        Column("column_name", "text", "Input the features need and the source lacks; 'none' where another rule holds."),
        Column("reason", "text", "Why the source lacks it."),
        Column("feature_count", "integer", "Features of the pillar.", "count", minimum=1),
        Column("pillar_null_count", "integer", "Of these, null for every client, whatever the reason.", "count",
               minimum=1),
        Column("null_count", "integer", "Of these, null where this input is missing; one may need several.", "count",
               minimum=1),
        Column("features", "text", "Names of these, joined by ', '."),
    ),
)  # fmt: skip
"""``features.weakened_pillars``, the table :func:`weakened` fills."""

TIME_OF_DAY: Final = "time of day"
"""What a feature requires beyond the date of a payment; dates alone are allowed, so no column is missing."""
_INPUT_OF: Final = {
    "txn_time": TIME_OF_DAY,
    "txn_date with time of day": TIME_OF_DAY,
    "blacklist.entity_id": "blacklist",
}
NO_INPUT: Final = "none"
"""Stands for a missing input where the features have all they need and are null by another rule."""

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


def _histogram(numbers: pl.Series) -> dict[str, object]:
    """Ends and counts of the histogram of sorted numbers without null; empty without a number."""
    if not len(numbers):
        return {}
    low, high = numbers.quantile(0.01, "linear"), numbers.quantile(0.99, "linear")
    assert low is not None
    assert high is not None
    if not low < high:
        counts = np.array([len(numbers)])
    else:
        counts, _ = np.histogram(np.clip(numbers.to_numpy(), low, high), HISTOGRAM_BINS, (low, high))
    return {"histogram_low": low, "histogram_high": high, "histogram_counts": ",".join(map(str, counts.tolist()))}


def profile(frame: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """How the contract's features are distributed in ``frame``.

    Parameters
    ----------
    frame : rows of the contract's table.
    contract : names the features; text, date and timestamp columns are only counted.

    Returns
    -------
    One row per feature: feature, row_count, null_ratio, minimum, p05, median, p95, maximum, mean, histogram.
    Percentiles are interpolated linearly. Null where no value is.
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
            } | _histogram(numbers)
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


def weakened(table: pl.DataFrame, not_available: Mapping[str, str]) -> pl.DataFrame:
    """Which pillars are weakened, and by which missing input.

    Parameters
    ----------
    table : rows of :data:`CATALOGUE_CONTRACT` with a distribution.
    not_available : input column (or whole file, as ``blacklist``) -> why the source lacks it.

    Returns
    -------
    Rows of :data:`WEAKENED_CONTRACT`. A feature that needs several missing inputs counts under each of them; one that
    is null for everybody although its inputs are there counts under :data:`NO_INPUT`. Empty where every feature has
    a value for somebody.

    >>> few = {"feature": ["p4_a", "p4_b"], "pillar": ["p4"] * 2, "requires": ["amount, channel", "amount"]}
    >>> weakened(pl.DataFrame(few).with_columns(null_ratio=pl.Series([1.0, 0.2])), {"channel": "none given"}).row(0)
    ('p4', 'channel', 'none given', 2, 1, 1, 'p4_a')
    """
    reasons = {
        **not_available,
        TIME_OF_DAY: not_available.get("txn_time", "payments bear a date without a time of day"),
    }
    null = table.filter(pl.col("null_ratio") == 1)
    rows = []
    for r in null.select("pillar", "feature", "requires").iter_rows(named=True):
        needs = [_INPUT_OF.get(n, n) for n in (r["requires"] or "").split(", ")]
        missing = sorted({n for n in needs if n in reasons}) or [NO_INPUT]
        rows += [{"pillar": r["pillar"], "feature": r["feature"], "column_name": n} for n in missing]
    found = pl.DataFrame(rows, schema={"pillar": pl.String, "feature": pl.String, "column_name": pl.String})
    whys = [reasons.get(n, "no client of the newest weeks meets the rule") for n in found["column_name"]]
    per_pillar = table.group_by("pillar").agg(
        pl.len().alias("feature_count"), (pl.col("null_ratio") == 1).sum().alias("pillar_null_count")
    )
    return WEAKENED_CONTRACT.conform(
        found.with_columns(pl.Series("reason", whys, dtype=pl.String))
        .group_by("pillar", "column_name", "reason")
        .agg(pl.len().alias("null_count"), pl.col("feature").sort().str.join(", ").alias("features"))
        .join(per_pillar, on="pillar")
    )


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
