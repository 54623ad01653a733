"""The dictionary holds every column of every table once, and stays a Markdown table whatever a description says."""

from __future__ import annotations

from ml_assets.contracts.dictionary import data_dictionary
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features import p4_typology, p6_scheme


def test_every_column_of_every_table() -> None:
    tables = [p6_scheme.CONTRACT, p4_typology.CONTRACT, p4_typology.HITS_CONTRACT]
    lines = data_dictionary(tables).splitlines()
    assert [x for x in lines if x.startswith("## ")] == sorted(f"## {t.address}" for t in tables)
    assert sum(x.startswith("| `") for x in lines) == sum(len(t.columns) for t in tables)


def test_bars_and_ranges() -> None:
    columns = (
        Column("a_id", "text", "One | two.", allowed=("x", "y")),
        Column("b_count", "integer", "Count.", "count", minimum=0),
        Column("c_ratio", "number", "Share.", "ratio", maximum=1, null_rule="null where empty"),
    )
    text = data_dictionary([TableContract("s", "t", "One row per a.", ("a_id",), columns)])
    assert "| `a_id` | text | One \\| two. | - | x, y | never |" in text
    assert "| `b_count` | integer | Count. | count | from 0 | never |" in text
    assert "| `c_ratio` | number | Share. | ratio | up to 1 | where empty |" in text
