"""SAML-D: countries, currencies, payment types."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import SourceConfig
from ml_assets.sources import adapt

CONFIG = SourceConfig(reporting_delay_days=10)
HEADER = (
    "Time,Date,Sender_account,Receiver_account,Amount,Payment_currency,Received_currency,Sender_bank_location,"
    "Receiver_bank_location,Payment_type,Is_laundering,Laundering_type\n"
)
ROWS = """10:35:19,2022-10-07,8724731955,2769355426,1459.15,UK pounds,UK pounds,UK,UK,Cash Deposit,0,Normal_Cash
10:35:20,2022-10-07,1491989064,8401255335,6019.64,UK pounds,Dirham,UK,UAE,Cross-border,1,Smurfing
09:00:00,2022-10-08,8401255335,1491989064,10.00,Dirham,UK pounds,UAE,UK,Debit card,1,Layered_Fan_In
09:00:01,2022-10-08,8401255335,42,10.00,Dirham,Turkish lira,UAE,Atlantis,ACH,0,Normal_Group
"""


def test_countries_currencies_and_channels_become_codes(write: Callable[..., Path], tmp_path: Path) -> None:
    adapt(f"saml_d:{write('in', {'SAML-D.csv': HEADER + ROWS})}", tmp_path / "landing", CONFIG)
    frame = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    assert frame.height == 8
    assert frame.filter(pl.col("txn_id").str.starts_with("0000000002")).select(pl.exclude("txn_id")).rows() == [
        (
            "8401255335",
            datetime(2022, 10, 7, 10, 35, 20),
            Decimal("6019.64"),
            "inbound",
            "1491989064",
            "GB",
            "wire",
            "GBP",
        ),
        (
            "1491989064",
            datetime(2022, 10, 7, 10, 35, 20),
            Decimal("6019.64"),
            "outbound",
            "8401255335",
            "AE",
            "wire",
            "GBP",
        ),
    ]
    # a place without a code stays as published, for staging to report
    assert frame.filter(pl.col("counterparty_id") == "42")["counterparty_country"].to_list() == ["Atlantis"]
    assert frame.filter(pl.col("client_id") == "42")["currency"].to_list() == ["AED"]


def test_labels_profiles_and_truth(write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path) -> None:
    adapt(f"SAML-D:{write('in', {'SAML-D.csv': HEADER + ROWS})}", tmp_path / "landing", CONFIG)
    landing = tmp_path / "landing"
    assert rows(landing / "client_profiles.parquet")[:2] == [("1491989064", "GB"), ("2769355426", "GB")]
    assert [row for row in rows(landing / "str_labels.parquet") if row[1] == 1] == [
        ("1491989064", 1, date(2022, 10, 17)),
        ("8401255335", 1, date(2022, 10, 17)),
    ]
    assert rows(landing / "truth" / "launderers.parquet")[0][:2] == ("1491989064", "Layered_Fan_In,Smurfing")


@pytest.mark.parametrize(("yen", "has_rates"), [("100.00", True), ("18000.00", False)])
def test_rates_are_written_only_where_amounts_lie_on_one_scale(
    write: Callable[..., Path], tmp_path: Path, yen: str, has_rates: bool
) -> None:
    pounds = "10:00:00,2022-10-07,1,2,{},{},UK pounds,UK,Japan,ACH,0,Normal\n"
    text = HEADER + pounds.format("100.00", "UK pounds") * 40 + pounds.format(yen, "Yen") * 40
    adapt(f"saml_d:{write('in', {'SAML-D.csv': text})}", tmp_path / "landing", CONFIG)
    said = json.loads((tmp_path / "landing" / "source.json").read_text())
    assert ("fx_rates" not in said["not_available"]) is has_rates
    assert (tmp_path / "landing" / "fx_rates.parquet").exists() is has_rates
