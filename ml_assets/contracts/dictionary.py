"""The data dictionary of Python-made tables, written from their contracts; dbt's docs hold the SQL-made ones."""

from __future__ import annotations

from collections.abc import Iterable

from ml_assets.contracts.table import Column, TableContract


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _range(column: Column) -> str:
    if column.allowed:
        return ", ".join(column.allowed)
    if column.minimum is None and column.maximum is None:
        return ""
    low = "" if column.minimum is None else f"{column.minimum:g}"
    high = "" if column.maximum is None else f"{column.maximum:g}"
    return f"{low} to {high}" if low and high else (f"from {low}" if low else f"up to {high}")


def _null(column: Column) -> str:
    if column.null_rule is None:
        return "never"
    return column.null_rule.removeprefix("null ")


def data_dictionary(contracts: Iterable[TableContract]) -> str:
    """One Markdown section per table, sorted by address: grain, then every column with unit, range and null rule.

    >>> from ml_assets.contracts.table import Column, TableContract
    >>> column = Column("score", "number", "A score.", "score", null_rule="null without rows", minimum=0, maximum=100)
    >>> table = TableContract("scores", "small", "One row per score.", ("score",), (column,))
    >>> print(data_dictionary([table]).splitlines()[-1])
    | `score` | number | A score. | score | 0 to 100 | without rows |
    """
    lines = ["# Data dictionary of the tables made in Python", ""]
    for contract in sorted(contracts, key=lambda c: c.address):
        lines += [
            f"## {contract.address}",
            "",
            f"{contract.description} Grain: {', '.join(f'`{g}`' for g in contract.grain)}.",
            "",
            "| column | type | meaning | unit | range | null |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for c in contract.columns:
            cells = (f"`{c.name}`", c.dtype, c.description, c.unit, _range(c), _null(c))
            lines.append("| " + " | ".join(_cell(x) for x in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"
