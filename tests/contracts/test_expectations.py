from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from ml_assets.contracts import Column, TableContract
from ml_assets.contracts.expectations import validate

WEEK = date(2025, 1, 6)
CONTRACT = TableContract(
    "features",
    "feat_x",
    "One row per client and as-of date.",
    ("client_id", "as_of_date"),
    (
        Column("client_id", "text", "Client."),
        Column("as_of_date", "date", "Week."),
        Column("x_ratio", "number", "Share.", "ratio", null_rule="no row", minimum=0, maximum=1),
        Column("band", "text", "Band.", allowed=("HIGH", "LOW")),
    ),
)
GOOD = pl.DataFrame(
    {"client_id": ["a", "b"], "as_of_date": [WEEK, WEEK], "x_ratio": [0.0, 1.0], "band": ["HIGH", "LOW"]}
)


def test_good_table_passes() -> None:
    result = validate(GOOD, CONTRACT)
    assert result.passed
    assert result.evaluated == 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pl.lit("a").alias("client_id"), "one row per client_id and as_of_date"),
        (pl.Series("x_ratio", [0.5, 1.0001]), "x_ratio <= 1"),
        (pl.Series("x_ratio", [-0.1, 1.0]), "x_ratio >= 0"),
        (pl.Series("band", ["HIGH", "high"]), "band is one of HIGH, LOW"),
        (pl.Series("band", ["HIGH", None]), "band is never null"),
    ],
)
def test_each_broken_rule_is_named_with_its_week(change: pl.Expr | pl.Series, says: str) -> None:
    result = validate(GOOD.with_columns(change), CONTRACT)
    assert not result.passed
    assert any(f.startswith(says) and "2025-01-06" in f for f in result.failures), result.failures


def test_allowed_null_passes_and_empty_fails() -> None:
    assert validate(GOOD.with_columns(pl.lit(None, dtype=pl.Float64).alias("x_ratio")), CONTRACT).passed
    assert not validate(GOOD.clear(), CONTRACT).passed


def test_one_bad_week_among_good_ones_is_found() -> None:
    late = GOOD.with_columns(pl.lit(date(2025, 1, 13)).alias("as_of_date"), pl.lit(7.0).alias("x_ratio"))
    result = validate(pl.concat([GOOD, late]), CONTRACT)
    assert result.failures == ("x_ratio <= 1 ratio: fails in 2025-01-13",)
