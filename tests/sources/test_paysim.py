"""PaySim: hours, customers and merchants, and which way the money flows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import SourceConfig
from ml_assets.sources import InputError, adapt

HEADER = (
    "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,"
    "isFlaggedFraud\n"
)
ROWS = """1,PAYMENT,9839.64,C1,170136.0,160296.36,M1979787155,0.0,0.0,0,0
2,CASH_IN,50.00,C2,0.0,50.00,C9,100.0,50.0,0,0
25,TRANSFER,181.00,C1,181.0,0.0,C3,0.0,0.0,1,0
25,CASH_OUT,181.00,C3,181.0,0.0,C9,0.0,181.0,1,0
"""


def test_customers_are_clients_and_money_flows_the_right_way(
    write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path
) -> None:
    source = write("in", {"PS_20174392719_1491204439457_log.csv": HEADER + ROWS})
    adapt(f"paysim:{source}", tmp_path / "landing", SourceConfig(reporting_delay_days=10))
    landing = tmp_path / "landing"
    frame = pl.read_parquet(landing / "transactions.parquet").select(pl.exclude("txn_id"))
    assert frame.rows() == [
        ("C1", datetime(2023, 1, 2, 1), Decimal("9839.64"), "outbound", "M1979787155", "online"),
        ("C2", datetime(2023, 1, 2, 2), Decimal("50.00"), "inbound", "C9", "cash"),
        ("C9", datetime(2023, 1, 2, 2), Decimal("50.00"), "outbound", "C2", "cash"),
        ("C3", datetime(2023, 1, 3, 1), Decimal("181.00"), "inbound", "C1", "transfer"),
        ("C1", datetime(2023, 1, 3, 1), Decimal("181.00"), "outbound", "C3", "transfer"),
        ("C9", datetime(2023, 1, 3, 1), Decimal("181.00"), "inbound", "C3", "cash"),
        ("C3", datetime(2023, 1, 3, 1), Decimal("181.00"), "outbound", "C9", "cash"),
    ]
    assert rows(landing / "str_labels.parquet") == [
        ("C1", 1, date(2023, 1, 13)),
        ("C2", 0, None),
        ("C3", 1, date(2023, 1, 13)),
        ("C9", 1, date(2023, 1, 13)),
    ]


def test_a_folder_without_such_a_file_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no CSV file with the columns step.*found other\.csv"):
        adapt(f"paysim:{write('in', {'other.csv': 'a,b'})}", tmp_path / "landing", SourceConfig())
