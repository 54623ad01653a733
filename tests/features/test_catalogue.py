"""The catalogue says what the contracts say, and the profile what the rows say."""

from __future__ import annotations

import polars as pl
import pytest

from ml_assets.contracts.table import Column, TableContract
from ml_assets.features import catalogue as c
from ml_assets.features import p4_typology, p5_profile
from ml_assets.features.columns import feature, pillar_contract

SMALL = pillar_contract(
    "p1_small",
    "a small table.",
    [
        feature(
            "p1_inflow_sum_30d_base",
            "Money <in> | received.",
            "sum of amount",
            null_rule="null where nothing came",
            source="a book",
            requires=("amount", "direction"),
        ),
        feature("p1_acceleration_7d_90d_factor", "Short over long rate.", "rate 7d / rate 90d"),
        feature("p1_is_new", "New client.", "age < 180"),
    ],
)
FRAME = pl.DataFrame(
    {
        "client_id": list("abcde"),
        "p1_inflow_sum_30d_base": [1.0, 2.0, 3.0, 4.0, None],
        "p1_acceleration_7d_90d_factor": [None] * 5,
        "p1_is_new": [True, False, False, False, True],
    },
    schema_overrides={"p1_acceleration_7d_90d_factor": pl.Float64},
)


def test_catalogue_repeats_the_contract() -> None:
    out = c.catalogue([SMALL])
    assert out.height == 3
    row = out.row(0, named=True)
    assert row == {
        "feature": "p1_inflow_sum_30d_base",
        "pillar": "p1_small",
        "meaning": "Money <in> | received.",
        "formula": "sum of amount",
        "window_days": 30,
        "unit": "base",
        "dtype": "number",
        "null_rule": "null where nothing came",
        "source": "a book",
        "requires": "amount, direction",
    }
    assert out["window_days"].to_list() == [30, 90, None]
    assert out["requires"].to_list()[1] is None


def test_catalogue_covers_every_feature_of_every_contract() -> None:
    contracts = [p4_typology.CONTRACT, p5_profile.CONTRACT]
    out = c.catalogue(contracts)
    assert out["feature"].to_list() == [f.name for contract in contracts for f in contract.features]
    assert out["pillar"].unique().sort().to_list() == ["p4_typology", "p5_profile"]
    assert out.select(pl.col("meaning", "formula", "unit", "source").is_null().any()).row(0) == (False,) * 4


def test_profile_by_hand() -> None:
    rows = {r["feature"]: r for r in c.profile(FRAME, SMALL).iter_rows(named=True)}
    inflow = rows["p1_inflow_sum_30d_base"]
    assert (inflow["row_count"], inflow["null_ratio"]) == (5, 0.2)
    assert (inflow["minimum"], inflow["median"], inflow["maximum"], inflow["mean"]) == (1.0, 2.5, 4.0, 2.5)
    assert inflow["p05"] == pytest.approx(1.15)
    assert inflow["p95"] == pytest.approx(3.85)
    nothing = rows["p1_acceleration_7d_90d_factor"]
    assert nothing["null_ratio"] == 1.0
    assert nothing["minimum"] is None
    assert nothing["mean"] is None
    assert rows["p1_is_new"]["mean"] == pytest.approx(0.4)


def test_profile_of_no_rows() -> None:
    out = c.profile(FRAME.clear(), SMALL)
    assert out["row_count"].to_list() == [0, 0, 0]
    assert out["null_ratio"].null_count() == 3


def test_text_columns_are_counted_only() -> None:
    columns = (Column("client_id", "text", "x"), Column("word", "text", "x"))
    contract = TableContract("features", "feat_p9_words", "x", ("client_id",), columns)
    out = c.profile(pl.DataFrame({"client_id": ["a", "b"], "word": ["x", None]}), contract).row(0, named=True)
    assert out["null_ratio"] == 0.5
    assert out["median"] is None


def test_describe_lists_tables_without_rows_too() -> None:
    out = c.describe([SMALL, p5_profile.CONTRACT], {SMALL.address: FRAME})
    assert out.columns == c.CATALOGUE_CONTRACT.names
    assert out.height == 3 + len(p5_profile.CONTRACT.features)
    assert out.filter(pl.col("pillar") == "p1_small")["row_count"].to_list() == [5, 5, 5]
    assert out.filter(pl.col("pillar") == "p5_profile")["row_count"].null_count() == len(p5_profile.CONTRACT.features)


def test_same_rows_in_another_order_give_the_same_catalogue() -> None:
    turned = c.describe([SMALL], {SMALL.address: FRAME.reverse()})
    assert c.describe([SMALL], {SMALL.address: FRAME}).equals(turned)


def test_markdown_keeps_one_line_per_feature_and_escapes_bars() -> None:
    text = c.to_markdown(c.describe([SMALL], {SMALL.address: FRAME}))
    lines = text.splitlines()
    assert "## p1_small (3 features)" in lines
    (line,) = [x for x in lines if x.startswith("| p1_inflow_sum_30d_base |")]
    assert "Money <in> \\| received." in line
    assert "20.0%" in line
    width = next(x for x in lines if x.startswith("| feature |")).count("|")
    assert line.count("|") - line.count("\\|") == width


def test_histogram_counts_every_value_and_keeps_outliers_in_the_end_bins() -> None:
    values = [*range(100), 10**9]
    frame = pl.DataFrame({"client_id": [str(i) for i in values], "p1_is_new": [v == 0 for v in values]}).with_columns(
        pl.Series("p1_inflow_sum_30d_base", values, dtype=pl.Float64),
        pl.lit(7.0).alias("p1_acceleration_7d_90d_factor"),
    )
    rows = {r["feature"]: r for r in c.profile(frame, SMALL).iter_rows(named=True)}
    inflow = rows["p1_inflow_sum_30d_base"]
    counts = [int(n) for n in inflow["histogram_counts"].split(",")]
    assert (len(counts), sum(counts)) == (c.HISTOGRAM_BINS, 101)
    assert (inflow["histogram_low"], inflow["histogram_high"]) == (1.0, 99.0)
    constant = rows["p1_acceleration_7d_90d_factor"]
    assert (constant["histogram_counts"], constant["histogram_low"]) == ("101", 7.0)
    nothing = c.profile(FRAME, SMALL).filter(pl.col("feature") == "p1_acceleration_7d_90d_factor").row(0, named=True)
    assert nothing["histogram_counts"] is None


def described(**null_ratios: float) -> pl.DataFrame:
    needs = {"p4_a": "amount, channel", "p4_b": "amount, counterparty_country, channel", "p4_c": "amount", "p5_d": None}
    return pl.DataFrame(
        [(n[:2], n, needs[n], null_ratios.get(n, 0.0)) for n in needs],
        schema={"pillar": pl.String, "feature": pl.String, "requires": pl.String, "null_ratio": pl.Float64},
        orient="row",
    )


def test_weakened_names_each_missing_input_of_a_feature() -> None:
    out = c.weakened(described(p4_a=1.0, p4_b=1.0), {"channel": "no channels", "counterparty_country": "no countries"})
    assert out.columns == c.WEAKENED_CONTRACT.names
    rows = {r["column_name"]: r for r in out.iter_rows(named=True)}
    assert set(rows) == {"channel", "counterparty_country"}
    assert (rows["channel"]["null_count"], rows["channel"]["features"]) == (2, "p4_a, p4_b")
    assert (rows["counterparty_country"]["null_count"], rows["counterparty_country"]["reason"]) == (1, "no countries")
    # a feature that lacks two inputs is one null feature of the pillar
    assert rows["channel"]["feature_count"] == 3
    assert rows["channel"]["pillar_null_count"] == rows["counterparty_country"]["pillar_null_count"] == 2


def test_weakened_tells_a_missing_input_from_a_rule_nobody_meets() -> None:
    out = c.weakened(described(p4_c=1.0, p5_d=1.0, p4_a=0.999), {"channel": "no channels"})
    assert out["column_name"].to_list() == [c.NO_INPUT, c.NO_INPUT]
    assert out["pillar"].to_list() == ["p4", "p5"]


def test_nothing_null_nothing_weakened() -> None:
    assert c.weakened(described(), {"channel": "no channels"}).height == 0


def test_time_of_day_is_named_where_features_need_it() -> None:
    table = described(p4_c=1.0).with_columns(requires=pl.lit("txn_date with time of day"))
    assert c.weakened(table, {})["column_name"].to_list() == [c.TIME_OF_DAY]
