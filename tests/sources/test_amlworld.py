"""AMLworld: two currencies a payment, rates from the data, the tail cut off, the attempts read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import SourceConfig
from ml_assets.sources import InputError, adapt
from ml_assets.sources.amlworld import read_patterns

CONFIG = SourceConfig(reporting_delay_days=10)
HEADER = (
    "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,Payment Currency,"
    "Payment Format,Is Laundering\n"
)
ROWS = [
    "2022/09/01 00:20,010,8000EBD30,010,8000EBD30,3697.34,US Dollar,3697.34,US Dollar,Reinvestment,0",
    "2022/09/01 10:00,010,8000EBD30,0012,A1,200.00,Euro,220.00,US Dollar,ACH,0",
    "2022/09/01 11:00,0012,A1,010,8000EBD30,120.00,US Dollar,100.00,Euro,Wire,0",
    "2022/09/01 12:00,0012,A1,010,8000EBD30,130.00,US Dollar,100.00,Euro,Cheque,0",
    "2022/09/02 12:00,0012,A1,003,B9,0.500000,Bitcoin,0.500000,Bitcoin,Bitcoin,1",
    "2022/09/02 13:00,0012,A1,003,B9,10.00,Yen,10.00,Yen,Cash,0",
]
TAIL = "2022/09/05 01:00,0012,A1,003,B9,10.00,Yen,10.00,Yen,ACH,1"
PATTERNS = """BEGIN LAUNDERING ATTEMPT - GATHER-SCATTER:  Max 2-degree Fan-In
2022/09/02 12:00,0012,A1,003,B9,0.500000,Bitcoin,0.500000,Bitcoin,Bitcoin,1
END LAUNDERING ATTEMPT - GATHER-SCATTER

BEGIN LAUNDERING ATTEMPT - STACK
2022/09/05 01:00,0012,A1,003,B9,10.00,Yen,10.00,Yen,ACH,1
END LAUNDERING ATTEMPT - STACK
"""


@pytest.fixture
def published(write: Callable[..., Path]) -> Path:
    text = HEADER + "\n".join([*ROWS, TAIL]) + "\n"
    return write("in", {"HI-Small_Trans.csv": text, "HI-Small_Patterns.txt": PATTERNS})


def test_each_side_keeps_its_amount_and_currency(published: Path, tmp_path: Path) -> None:
    adapt(f"amlworld:{published}", tmp_path / "landing", CONFIG)
    frame = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    assert frame.height == 2 * len(ROWS)
    second = frame.filter(pl.col("txn_id").str.starts_with("0000000002"))
    assert second.select(pl.exclude("txn_id")).rows() == [
        ("0012_A1", datetime(2022, 9, 1, 10), Decimal("200"), "inbound", "010_8000EBD30", "transfer", "EUR"),
        ("010_8000EBD30", datetime(2022, 9, 1, 10), Decimal("220"), "outbound", "0012_A1", "transfer", "USD"),
    ]
    assert frame["channel"].unique().sort().to_list() == ["cash", "cheque", "online", "other", "transfer", "wire"]


def test_rates_are_medians_of_the_payments_against_the_dollar(
    published: Path, rows: Callable[[Path], list], tmp_path: Path
) -> None:
    adapt(f"amlworld:{published}", tmp_path / "landing", CONFIG)
    # dollars per euro: 220/200, 120/100, 130/100; no payment between dollars and yen or bitcoin
    assert rows(tmp_path / "landing" / "fx_rates.parquet") == [
        ("EUR", date(2022, 9, 1), pytest.approx(1.2)),
        ("USD", date(2022, 9, 1), 1.0),
    ]
    said = json.loads((tmp_path / "landing" / "source.json").read_text())
    assert said["base_currency"] == "USD"
    assert any(note.endswith("No such payment for: BTC, JPY.") for note in said["notes"])


def test_days_after_the_end_of_normal_traffic_are_dropped_and_counted(
    published: Path, rows: Callable[[Path], list], tmp_path: Path
) -> None:
    adapt(f"amlworld:{published}", tmp_path / "landing", CONFIG)
    landing = tmp_path / "landing"
    said = json.loads((landing / "source.json").read_text())
    assert any(
        note.startswith("1 payments after 2022-09-02 are left out (1 of them laundering)") for note in said["notes"]
    )
    assert rows(landing / "str_labels.parquet") == [
        ("0012_A1", 1, date(2022, 9, 12)),
        ("003_B9", 1, date(2022, 9, 12)),
        ("010_8000EBD30", 0, None),
    ]
    assert rows(landing / "truth" / "laundering_transactions.parquet") == [
        ("0000000005-in", "003_B9", "gather_scatter"),
        ("0000000005-out", "0012_A1", "gather_scatter"),
    ]


def test_published_attempts(shared_data: Callable[[str], Path]) -> None:
    frame = read_patterns(shared_data("amlworld_patterns") / "HI-Small_Patterns.txt.gz")
    assert frame.height == 3_209
    assert frame["attempt_id"].n_unique() == 370
    assert frame["typology"].n_unique() == 8
    assert set(frame["is_laundering"].unique()) == {"1"}


def test_published_attempts_run_through_the_adapter(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """The attempts have the columns of the transactions file; alone they have no normal traffic to end."""
    frame = read_patterns(shared_data("amlworld_patterns") / "HI-Small_Patterns.txt.gz")
    source = tmp_path / "in"
    source.mkdir()
    lines = [",".join(row) for row in frame.select(pl.nth(range(3, 14))).rows()]
    (source / "HI-Small_Trans.csv").write_text(HEADER + "\n".join(lines) + "\n")
    adapt(f"amlworld:{source}", tmp_path / "landing", CONFIG)
    landed = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    assert landed.height == 2 * 3_209
    assert landed["currency"].str.len_chars().unique().to_list() == [3]
    labels = pl.read_parquet(tmp_path / "landing" / "str_labels.parquet")
    assert labels["str_flag"].unique().to_list() == [1]


def test_a_line_outside_a_block_is_an_error(write: Callable[..., Path]) -> None:
    folder = write("p", {"x_Patterns.txt": "2022/09/05 01:00,1,2\n"})
    with pytest.raises(InputError, match="row 1"):
        read_patterns(folder / "x_Patterns.txt")
