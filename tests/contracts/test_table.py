from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from ml_assets.contracts import Column, ContractError, TableContract

CONTRACT = TableContract(
    "features",
    "feat_x",
    "One row per client and as-of date.",
    ("client_id", "as_of_date"),
    (
        Column("client_id", "text", "Client."),
        Column("as_of_date", "date", "Week."),
        Column("x_ratio", "number", "Share.", "ratio", null_rule="no row", minimum=0, maximum=1),
    ),
)


def test_conform_orders_columns_and_rows_and_turns_nan_into_null() -> None:
    frame = pl.DataFrame(
        {"x_ratio": [float("nan"), 0.5], "client_id": ["b", "a"], "as_of_date": [date(2025, 1, 6)] * 2}
    )
    out = CONTRACT.conform(frame)
    assert out.columns == CONTRACT.names
    assert out["client_id"].to_list() == ["a", "b"]
    assert out["x_ratio"].to_list() == [0.5, None]


@pytest.mark.parametrize("change", [{"drop": "x_ratio"}, {"add": "y_ratio"}])
def test_conform_refuses_other_columns(change: dict[str, str]) -> None:
    frame = CONTRACT.empty()
    frame = frame.drop(change["drop"]) if "drop" in change else frame.with_columns(pl.lit(1.0).alias(change["add"]))
    with pytest.raises(ContractError, match=r"x_ratio|y_ratio"):
        CONTRACT.conform(frame)


def test_contract_refuses_doubled_columns_and_missing_grain() -> None:
    with pytest.raises(ContractError, match="declared twice"):
        TableContract("s", "t", "One row.", ("a",), (Column("a", "text", ""), Column("a", "text", "")))
    with pytest.raises(ContractError, match="grain"):
        TableContract("s", "t", "One row.", ("b",), (Column("a", "text", ""),))


def test_arrow_schema_carries_nullability_and_description() -> None:
    schema = CONTRACT.arrow_schema()
    assert not schema.field("client_id").nullable
    assert schema.field("x_ratio").nullable
    assert schema.field("x_ratio").metadata == {b"description": b"Share."}
