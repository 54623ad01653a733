"""Every number of the schemes stands in the table once, with value, unit, reason, source and date."""

from __future__ import annotations

import polars as pl
import pytest

from ml_assets.features import p6_scheme
from ml_assets.features.scheme_catalogue import CONTRACT, KINDS, scheme_catalogue
from ml_assets.features.scheme_templates import INDICATORS, NOT_COVERED, SCORE_COLUMNS, TEMPLATES, Scheme, indicators_of


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return scheme_catalogue(p6_scheme.CONTRACT.empty(), 10_000.0)


def test_every_number_is_a_row(table: pl.DataFrame) -> None:
    assert table.columns == CONTRACT.names
    numbers = sum(1 + len(i.conditions) + (i.weight is not None) for i in INDICATORS)
    assert table.height == numbers + len(TEMPLATES) * len(SCORE_COLUMNS) + len(NOT_COVERED)
    assert table.select(pl.struct(CONTRACT.grain).is_duplicated().any()).item() is False
    assert set(table["kind"]) <= set(KINDS)


def test_numbers_have_value_unit_reason_source_and_date(table: pl.DataFrame) -> None:
    numbers = table.filter(pl.col("kind") != "not_covered")
    wanted = ["limit_value", "limit_unit", "resolved_value", "reason", "source", "source_date"]
    assert numbers.select(pl.col(wanted).is_null().any()).row(0) == (False,) * len(wanted)
    assert (numbers["reason"].str.len_chars() > 10).all()


def test_ten_indicators_or_more_per_scheme() -> None:
    assert all(len(indicators_of(s)) >= 10 for s in Scheme)


def test_money_limits_move_with_the_reporting_threshold() -> None:
    other = scheme_catalogue(p6_scheme.CONTRACT.empty(), 2_000.0).filter(pl.col("limit_unit") == "reporting_thresholds")
    assert other.height > 5
    assert (other["resolved_value"] == other["limit_value"] * 2_000.0).all()


def test_fired_ratio_counts_only_where_it_is_computable() -> None:
    money = "p6_ub_corridor_exit_30d_base"  # fires at one reporting threshold, compared in cents
    count = "p6_ub_first_seen_depositors_30d_count"
    rows = pl.DataFrame(
        {i.name: [None] * 5 for i in INDICATORS}, schema={i.name: pl.Float64 for i in INDICATORS}
    ).with_columns(
        pl.Series(money, [10_000.0, 9_999.99, 0.0, 10_000.01, None]), pl.Series(count, [None, None, None, 0.0, None])
    )
    out = scheme_catalogue(rows, 10_000.0)
    fired = dict(out.filter(pl.col("kind") == "threshold").select("entry", "fired_ratio").iter_rows())
    assert fired[money] == 0.5
    assert fired[count] == 0.0
    assert fired["p6_ub_pass_through_30d_ratio"] is None
    assert out.filter(pl.col("kind") != "threshold")["fired_ratio"].null_count() == (out["kind"] != "threshold").sum()
