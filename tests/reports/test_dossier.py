"""The dossier: every number in it is what its query or its place in the card yields; every feature has a way back."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Run

from ml_assets.reports.dossier import SECTIONS, Fact, Mart, fact, from_card, mart_table
from orchestration.defs.training import CONTRACTS
from orchestration.dossier import EVIDENCE, TABLES, asset_parents, lineage, raw_meanings, shortest_path


class Numbers(HTMLParser):
    """Facts (sql, value), card values (place, value) and tables (sql, rows of column -> value) of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[tuple[str, Any]] = []
        self.card: list[tuple[str, Any]] = []
        self.tables: list[tuple[str, list[dict[str, Any]]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "table":
            self.tables.append((found.get("data-sql", ""), []))
        elif tag == "tr" and self.tables:
            self.tables[-1][1].append({})
        elif tag == "data":
            value = json.loads(found["value"])
            if found.get("class") == "fact":
                self.facts.append((found["data-sql"], value))
            elif found.get("class") == "card":
                self.card.append((found["data-card"], value))
            else:
                self.tables[-1][1][-1][found["data-column"]] = value

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def numbers_of(page: str) -> Numbers:
    parser = Numbers()
    parser.feed(page)
    return parser


def test_facts_keep_value_and_query() -> None:
    found = numbers_of(fact(Fact(1234567, "select count(*) from marts.x where a <> 'b'")))
    assert found.facts == [("select count(*) from marts.x where a <> 'b'", 1234567)]
    assert "".join(found.text) == "1,234,567"


def test_tables_keep_exact_values() -> None:
    frame = pl.DataFrame({"model": ["bcrs", "flat"], "metric_value": [0.123456789, None]})
    found = numbers_of(mart_table(Mart(frame, "from marts.x", "marts.x")))
    assert found.tables[0][0] == "from marts.x"
    assert [row for row in found.tables[0][1] if row] == [{"metric_value": 0.123456789}, {"metric_value": None}]


def test_a_mart_that_is_not_there_says_how_to_make_it() -> None:
    said = mart_table(Mart(None, "from marts.rpt_parity", "marts.rpt_parity", "make report"))
    assert "not built yet" in said
    assert "make report" in said


def test_values_of_the_card_name_their_place() -> None:
    found = numbers_of(from_card({"a": {"b": 0.5}}, "a", "b") + from_card({}, "a", "c"))
    assert found.card == [("a/b", 0.5), ("a/c", None)]


def test_evidence_tables_are_among_the_tables() -> None:
    assert set(EVIDENCE) <= set(TABLES)


def test_every_required_column_leads_to_its_features_and_the_alert() -> None:
    table = lineage(asset_parents(), raw_meanings())
    assert table["input_column"].null_count() == 0
    assert (table["meaning"].str.len_chars() > 0).all(), "a source column has no description"
    features = table.filter(pl.col("pillar") != "target")
    assert features["path"].str.starts_with("raw/").all()
    assert features["path"].str.ends_with("scores/client_scores → marts/fct_alerts").all()
    for pillar, contract in CONTRACTS.items():
        needing = {c.name for c in contract.features}
        told = {n for t in features.filter(pl.col("pillar") == pillar)["features"] for n in t.split(", ")}
        assert told == needing, pillar
    target = table.filter(pl.col("pillar") == "target")
    assert target["path"].str.ends_with("models/metrics").all()
    assert target["path"].str.contains("intermediate/int_client_labels").all()


def test_no_way_is_no_path() -> None:
    assert shortest_path({"b": ["a"]}, "c", "b") == []


@pytest.fixture(scope="module")
def dossier(tiny_run: Run) -> Numbers:
    page = (tiny_run.folder / "reports" / "dossier.html").read_text(encoding="utf-8")
    found = numbers_of(page)
    words = "".join(found.text)
    for _, heading, _, _ in SECTIONS:
        assert heading in words
    return found


@pytest.mark.slow
def test_every_fact_equals_its_query(dossier: Numbers, tiny_run: Run) -> None:
    assert len(dossier.facts) >= 8
    for sql, value in dossier.facts:
        assert tiny_run.marts(sql).item() == value, sql


@pytest.mark.slow
def test_every_table_equals_its_query(dossier: Numbers, tiny_run: Run) -> None:
    tables = [(sql, [r for r in rows if r]) for sql, rows in dossier.tables if sql]
    assert len(tables) >= 6
    checked = 0
    for sql, rows in tables:
        frame = tiny_run.marts(sql).with_columns(pl.selectors.decimal().cast(pl.Float64))
        wanted = [{c: row[c] for c in frame.columns if frame[c].dtype.is_numeric()} for row in frame.to_dicts()]
        if not any(wanted):
            continue
        shown = set(rows[0])
        assert rows == [{c: v for c, v in row.items() if c in shown} for row in wanted], sql
        checked += len(rows)
    assert checked > 40


@pytest.mark.slow
def test_every_card_value_stands_in_the_card(dossier: Numbers, tiny_run: Run) -> None:
    model = tiny_run.marts("select model_id from marts.fct_client_scores order by as_of_date desc limit 1").item()
    card = json.loads((Path(tiny_run.folder) / "models" / model / "card.json").read_text(encoding="utf-8"))
    assert len(dossier.card) > 20
    for place, value in dossier.card:
        found: Any = card
        for step in place.split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        assert found == value, place
