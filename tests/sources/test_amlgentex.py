"""AMLGentex: what is a payment, who is a client, when is an STR."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import SourceConfig
from ml_assets.sources import adapt

CONFIG = SourceConfig(reporting_delay_days=10)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    pl.DataFrame(
        {
            "step": [0, 0, 1, 2, 25, 30],
            "type": ["INITALBALANCE", "TRANSFER", "TRANSFER", "CASH", "TRANSFER", "TRANSFER"],
            "amount": [500.0, 10.126, 20.0, 30.0, 1000.0, 5.0],
            "nameOrig": [-2, 0, 0, 1, -2, 1],
            "nameDest": [0, 1, -1, -1, 2, 0],
            "isSAR": [0, 0, 0, 0, 0, 1],
            "patternID": [-1, -1, -1, -1, -1, 4],
            "modelType": [0, 0, 0, 0, 0, 2],
        },
        schema_overrides={"step": pl.Int32, "nameOrig": pl.Int32, "nameDest": pl.Int32, "isSAR": pl.Int8},
    ).write_parquet(folder / "tx_log.parquet")
    (folder / "accounts.csv").write_text(
        "ACCOUNT_ID,CUSTOMER_ID,INIT_BALANCE,SALARY,AGE,CITY,IS_SAR,BANK_ID\n"
        "0,C_0,500.0,1000.50,57,city_4,true,bank_a\n"
        "1,C_1,1.0,200.00,18,city_5,true,bank_a\n"
        "2,C_2,1.0,300.00,70,city_9,true,bank_a\n"
        "3,C_3,1.0,300.00,70,city_9,false,bank_a\n"
    )
    (folder / "alert_models.csv").write_text(
        "modelID,type,accountID,isMain,sourceType,phase\n0,fan_in,0,true,TRANSFER,0\n1,cycle,0,true,TRANSFER,0\n"
    )
    return folder


def test_balances_are_no_payments_and_the_outside_is_no_client(published: Path, tmp_path: Path) -> None:
    adapt(f"amlgentex:{published}", tmp_path / "landing", CONFIG)
    frame = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    assert frame.select(pl.exclude("txn_id")).rows() == [
        ("1", date(2023, 1, 1), Decimal("10.13"), "inbound", "0", "transfer"),
        ("0", date(2023, 1, 1), Decimal("10.13"), "outbound", "1", "transfer"),
        ("0", date(2023, 1, 2), Decimal("20.00"), "outbound", None, "transfer"),
        ("1", date(2023, 1, 3), Decimal("30.00"), "outbound", None, "cash"),
        ("2", date(2023, 1, 26), Decimal("1000.00"), "inbound", None, "transfer"),
        ("0", date(2023, 1, 31), Decimal("5.00"), "inbound", "1", "transfer"),
        ("1", date(2023, 1, 31), Decimal("5.00"), "outbound", "0", "transfer"),
    ]


def test_salaries_labels_and_truth(published: Path, rows: Callable[[Path], list], tmp_path: Path) -> None:
    adapt(f"amlgentex:{published}", tmp_path / "landing", CONFIG)
    landing = tmp_path / "landing"
    profiles = pl.read_parquet(landing / "client_profiles.parquet")
    assert profiles.columns == ["client_id", "industry", "size_bucket", "expected_turnover"]
    assert profiles.row(0) == ("0", "household", "individual", Decimal("12006.00"))
    # account 2 is called a launderer and has no laundering payment: not known, hence no row
    assert rows(landing / "str_labels.parquet") == [
        ("0", 1, date(2023, 2, 10)),
        ("1", 1, date(2023, 2, 10)),
        ("3", 0, None),
    ]
    assert rows(landing / "truth" / "launderers.parquet") == [
        ("0", "cycle,fan_in", date(2023, 1, 31)),
        ("1", None, date(2023, 1, 31)),
    ]
    said = json.loads((landing / "source.json").read_text())
    assert "account_age_months" in said["not_available"]
    assert any(note.startswith("1 INITALBALANCE") for note in said["notes"])


def test_published_run(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    adapt(f"amlgentex:{shared_data('amlgentex/10k_accounts_364_days')}", tmp_path / "landing", CONFIG)
    landing = tmp_path / "landing"
    frame = pl.read_parquet(landing / "transactions.parquet", columns=["client_id", "counterparty_id", "txn_date"])
    # 2,111,095 payments: 112,056 between two clients, 1,869,039 to the outside, 130,000 from it
    assert frame.height == 2 * 112_056 + 1_869_039 + 130_000
    assert frame["counterparty_id"].null_count() == 1_869_039 + 130_000
    assert frame["client_id"].n_unique() == 10_000
    assert (frame["txn_date"].min(), frame["txn_date"].max()) == (date(2023, 1, 1), date(2023, 12, 30))
    labels = pl.read_parquet(landing / "str_labels.parquet")
    assert (labels.height, labels["str_flag"].sum()) == (10_000 - 67, 622 - 67)
