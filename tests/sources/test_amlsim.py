"""AMLSim's two formats: sides, events, STR dates, by hand and on the published runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ml_assets.config import SourceConfig
from ml_assets.sources import InputError, adapt

CONFIG = SourceConfig(reporting_delay_days=10)

NODES = """nodeid,isFraud,init_balance,fraudStep
1,1,100.00,5
2,1,100.00,-1
3,0,100.00,-1
4,1,100.00,-1
"""
# step 3: fraud account to fraud account, but not on the sender's fraudStep: ordinary. Step 5: twice the same
# laundering payment, and an ordinary one to an honest account
PAYMENTS = """sourceNodeId,targetNodeId,value,time
1,2,100.5,3
3,1,7.25,4
1,2,4.1,5
1,2,4.1,5
1,3,20,5
99,3,1.00,6
"""


def test_sample_format_gives_a_row_per_client_side(
    write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path
) -> None:
    source = write("in", {"nodes.csv": NODES, "transactions.csv": PAYMENTS})
    assert adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG) is True
    frame = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    # 6 payments, two sides each, but 99 is no client
    assert frame.height == 11
    assert frame.columns == ["txn_id", "client_id", "txn_date", "amount", "direction", "counterparty_id"]
    assert frame["txn_id"].n_unique() == 11
    assert frame.row(0) == ("000000001-in", "2", date(2023, 1, 5), Decimal("100.50"), "inbound", "1")
    assert frame.row(1) == ("000000001-out", "1", date(2023, 1, 5), Decimal("100.50"), "outbound", "2")
    assert frame.row(10) == ("000000006-in", "3", date(2023, 1, 8), Decimal("1.00"), "inbound", "99")


def test_sample_format_dates_strs_from_the_first_laundering_payment(
    write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path
) -> None:
    source = write("in", {"nodes.csv": NODES, "transactions.csv": PAYMENTS})
    adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    # step 5 is 2023-01-07, plus 10 days; 4 is called a launderer and never launders, so nothing is known of it
    assert rows(tmp_path / "landing" / "str_labels.parquet") == [
        ("1", 1, date(2023, 1, 17)),
        ("2", 1, date(2023, 1, 17)),
        ("3", 0, None),
    ]
    assert rows(tmp_path / "landing" / "truth" / "laundering_transactions.parquet") == [
        ("000000003-in", "2", None),
        ("000000003-out", "1", None),
        ("000000004-in", "2", None),
        ("000000004-out", "1", None),
    ]
    said = json.loads((tmp_path / "landing" / "source.json").read_text())
    assert said["source"] == "amlsim"
    assert said["reporting_delay_days"] == 10
    assert any(note.startswith("1 clients are called launderers") for note in said["notes"])
    assert any("step 0 is 2023-01-02" in note for note in said["notes"])
    assert {"counterparty_country", "channel", "currency", "counterparty_sector"} <= set(said["not_available"])


def test_a_receiver_that_sends_later_is_dated_by_what_it_received(
    write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path
) -> None:
    nodes = "nodeid,isFraud,init_balance,fraudStep\n1,1,1,5\n2,1,1,9\n"
    payments = "sourceNodeId,targetNodeId,value,time\n1,2,1,5\n2,1,1,9\n"
    source = write("in", {"nodes.csv": nodes, "transactions.csv": payments})
    adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    assert rows(tmp_path / "landing" / "str_labels.parquet") == [
        ("1", 1, date(2023, 1, 17)),
        ("2", 1, date(2023, 1, 17)),
    ]


ACCOUNTS = """acct_id,dsply_nm,type,acct_stat,acct_rptng_crncy,prior_sar_count,open_dt,initial_deposit,bank_id,country
7,C_7,I,A,USD,true,{open7},10.00,bank_a,US
8,C_8,O,A,USD,false,0,10.00,bank_b,DE
"""
CURRENT = """tran_id,orig_acct,bene_acct,tx_type,base_amt,tran_timestamp,is_sar,alert_id
1,7,8,TRANSFER,422.29,2017-01-01T00:00:00Z,False,-1
2,8,7,CASH-IN,10.00,2017-01-03T00:00:00Z,True,0
"""
SARS = """ALERT_ID,ACCOUNT_ID,CUSTOMER_ID,EVENT_DATE,ALERT_TYPE,ACCOUNT_TYPE,IS_SAR
0,7,C_7,20170103,fan_in,INDIVIDUAL,YES
0,8,C_8,20170103,cycle,INDIVIDUAL,NO
"""


def test_current_format(write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path) -> None:
    source = write(
        "in",
        {
            "accounts.csv": ACCOUNTS.format(open7=0),
            "transactions.csv": CURRENT,
            "sar_accounts.csv": SARS,
            # a file whose name ends like the transactions file must not be taken for it
            "alert_transactions.csv": "alert_id,tran_id\n0,2\n",
        },
    )
    adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    frame = pl.read_parquet(tmp_path / "landing" / "transactions.parquet")
    assert frame.select("txn_id", "client_id", "counterparty_country", "channel", "currency").rows() == [
        ("1-in", "8", "US", "transfer", "USD"),
        ("1-out", "7", "DE", "transfer", "USD"),
        ("2-in", "7", "DE", "cash", "USD"),
        ("2-out", "8", "US", "cash", "USD"),
    ]
    assert frame.schema["txn_date"] == pl.Date
    assert rows(tmp_path / "landing" / "client_profiles.parquet") == [
        ("7", "household", "individual", "US"),
        ("8", None, None, "DE"),
    ]
    assert rows(tmp_path / "landing" / "str_labels.parquet") == [("7", 1, date(2017, 1, 13)), ("8", 0, None)]
    said = json.loads((tmp_path / "landing" / "source.json").read_text())
    assert said["base_currency"] == "USD"
    assert "open_dt is the same step" in said["not_available"]["onboarding_date"]


def test_opening_dates_are_used_where_accounts_differ_in_them(
    write: Callable[..., Path], rows: Callable[[Path], list], tmp_path: Path
) -> None:
    source = write(
        "in", {"accounts.csv": ACCOUNTS.format(open7=3), "transactions.csv": CURRENT, "sar_accounts.csv": SARS}
    )
    adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    profiles = pl.read_parquet(tmp_path / "landing" / "client_profiles.parquet")
    assert profiles["onboarding_date"].to_list() == [date(2017, 1, 4), date(2017, 1, 1)]


def test_missing_files_and_columns_are_named(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"transactions file is missing .*found nodes\.csv"):
        adapt(f"amlsim:{write('a', {'nodes.csv': NODES})}", tmp_path / "landing", CONFIG)
    source = write("b", {"nodes.csv": NODES, "transactions.csv": PAYMENTS.replace("targetNodeId", "targetNode")})
    with pytest.raises(InputError, match=r"column targetNodeId: .*Did you mean 'targetNode'"):
        adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    assert not (tmp_path / "landing").exists()


def test_a_value_that_is_no_number_stops_and_leaves_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    source = write("in", {"nodes.csv": NODES, "transactions.csv": PAYMENTS.replace("7.25", "lots")})
    with pytest.raises(InputError, match="lots"):
        adapt(f"amlsim:{source}", tmp_path / "landing", CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("name", "payments", "reported", "unknown"),
    [("20k_fan_in_200", 118_250, 657, 297), ("20k_cycle_200", 117_805, 616, 329)],
)
def test_published_samples(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str, payments: int, reported: int, unknown: int
) -> None:
    adapt(f"amlsim:{shared_data(f'amlsim/{name}')}", tmp_path / "landing", SourceConfig(reporting_delay_days=30))
    landing = tmp_path / "landing"
    assert pl.read_parquet(landing / "transactions.parquet", columns=["txn_id"])["txn_id"].n_unique() == 2 * payments
    assert pl.read_parquet(landing / "client_profiles.parquet").height == 20_000
    labels = pl.read_parquet(landing / "str_labels.parquet")
    assert labels.height == 20_000 - unknown
    assert labels["str_flag"].sum() == reported
    # nothing that is called laundering lies outside the log's days (steps 1 to 149, plus the delay)
    assert labels["str_date"].min() > date(2023, 2, 2)  # type: ignore[operator]
    assert labels["str_date"].max() <= date(2023, 6, 30)  # type: ignore[operator]


def test_published_current_run(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared_data("amlsim/10k_accounts_360_days")
    adapt(f"amlsim:{folder}", tmp_path / "landing", SourceConfig(reporting_delay_days=30))
    landing = tmp_path / "landing"
    frame = pl.read_parquet(landing / "transactions.parquet")
    assert frame.height == 2 * 439_634
    assert set(frame["currency"].unique()) == {"USD"}
    labels = pl.read_parquet(landing / "str_labels.parquet")
    assert (labels.height, labels["str_flag"].sum()) == (12_043, 615)
    # the published event date is the date of the account's first payment marked as laundering
    first = duckdb.sql(f"""
        select client_id, min(txn_date) + 30 as expected from '{landing}/transactions.parquet'
        where txn_id in (select txn_id from '{landing}/truth/laundering_transactions.parquet') group by 1""").pl()
    both = labels.filter(pl.col("str_flag") == 1).join(first, on="client_id")
    assert both.height == 615
    assert (both["str_date"] == both["expected"].cast(pl.Date)).all()
