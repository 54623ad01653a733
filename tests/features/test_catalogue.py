"""The catalogue says what the contracts say, and the profile what the rows say."""

from __future__ import annotations

from html.parser import HTMLParser

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


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.resources: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.resources += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("#")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def test_page_holds_every_cell_and_nothing_from_outside() -> None:
    table = c.describe([SMALL], {SMALL.address: FRAME})
    page = _Cells()
    page.feed(c.to_html(table))
    assert page.resources == []
    assert len(page.rows) == 1 + table.height
    assert {len(row) for row in page.rows} == {len(table.columns) - 1}
    by_name = {row[0]: row for row in page.rows[1:]}
    assert "Money <in> | received." in by_name["p1_inflow_sum_30d_base"]
