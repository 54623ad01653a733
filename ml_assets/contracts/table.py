"""The table contract: one object that yields the Arrow schema, the checks and the documentation of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
import pyarrow as pa

DType = Literal["text", "integer", "number", "boolean", "date", "timestamp"]

_ARROW: dict[DType, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
_POLARS: dict[DType, Any] = {
    "text": pl.String,
    "integer": pl.Int64,
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "date": pl.Date,
    "timestamp": pl.Datetime("us"),
}


class ContractError(ValueError):
    """A frame does not have the columns its contract promises."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : column name, unit last (``p1_outflow_sum_30d_base``).
    dtype : one of text, integer, number, boolean, date, timestamp.
    description : what it means, in one sentence an analyst understands.
    unit : ``base`` money, ``ratio`` 0-1, ``score`` 0-100, ``count``, ``days``, ``zscore``, ... or ``-``.
    formula : how it is computed, for feature columns.
    null_rule : when it is null; None means never.
    source : paper, regulation or alert number behind the formula.
    minimum, maximum : allowed range, inclusive; None means open.
    allowed : closed set of values, for text.
    requires : input columns (of the contract in ``data/README.md``) without which it is null.
    """

    name: str
    dtype: DType
    description: str
    unit: str = "-"
    formula: str = ""
    null_rule: str | None = None
    source: str = ""
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @property
    def is_nullable(self) -> bool:
        """True where the column has a null rule."""
        return self.null_rule is not None


@dataclass(frozen=True)
class TableContract:
    """What a table holds: address, grain and columns.

    ``schema`` and ``name`` are the DuckDB address and the Dagster asset key at once.
    """

    schema: str
    name: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ContractError(f"{self.address}: columns declared twice: {', '.join(doubled)}")
        missing = [g for g in self.grain if g not in names]
        if missing:
            raise ContractError(f"{self.address}: grain columns not declared: {', '.join(missing)}")

    @property
    def address(self) -> str:
        """``schema.name``, as SQL writes it."""
        return f"{self.schema}.{self.name}"

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns that are not part of the grain."""
        return tuple(c for c in self.columns if c.name not in self.grain)

    def arrow_schema(self) -> pa.Schema:
        """Arrow schema with descriptions as field metadata."""
        return pa.schema(
            [
                pa.field(c.name, _ARROW[c.dtype], nullable=c.is_nullable, metadata={"description": c.description})
                for c in self.columns
            ]
        )

    def empty(self) -> pl.DataFrame:
        """A frame of this shape without rows."""
        return pl.DataFrame(schema={c.name: _POLARS[c.dtype] for c in self.columns})

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame`` with exactly the contract's columns, order and types, sorted by grain.

        NaN and infinities in number columns become null: they mean "not computable" and only null says so.

        Raises
        ------
        ContractError : a column is missing or not declared.
        """
        missing = [n for n in self.names if n not in frame.columns]
        extra = [n for n in frame.columns if n not in self.names]
        if missing or extra:
            raise ContractError(
                f"{self.address}: missing columns {missing or 'none'}, undeclared columns {extra or 'none'}. "
                "Change the contract and the function that fulfils it together."
            )
        exprs = []
        for c in self.columns:
            e = pl.col(c.name).cast(_POLARS[c.dtype])
            if c.dtype == "number":
                e = pl.when(e.is_finite()).then(e)
            exprs.append(e.alias(c.name))
        return frame.select(exprs).sort(list(self.grain))
