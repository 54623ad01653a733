"""Raw ingestion: everything as received, every record kept or rejected, new files alone, one transaction."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_assets.sources import InputError, ingest
from ml_assets.sources import ingest as ingest_function
from ml_assets.sources.input_contract import ENTITIES

ROOT = Path(__file__).resolve().parents[2]
TRANSACTIONS = "client_id,txn_date,amount,direction\nC1,2024-01-01,10.00,inbound\nC1,2024-01-02,5.00,outbound\n"
GOOD = {
    "transactions.csv": TRANSACTIONS,
    "client_profiles.csv": "client_id,industry\nC1,retail\n",
    "str_labels.csv": "client_id,str_flag,str_date\nC1,1,2024-02-01\n",
}


@pytest.fixture
def landing(write: Callable[..., Path]) -> Path:
    return write("landing", GOOD)


def state(con: duckdb.DuckDBPyConnection) -> dict[str, list]:
    names = [*ENTITIES, "deliveries", "dataset", "not_available", "rejects"]
    return {name: con.execute(f"select * from raw.{name} order by all").fetchall() for name in names}


def test_everything_arrives_as_text_with_its_place(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    report = ingest(con, landing)
    assert report.rows_in == report.rows_kept == {"transactions": 2, "client_profiles": 1, "str_labels": 1}
    assert (report.is_reload, report.is_unchanged) == (False, False)
    columns = con.execute("describe raw.transactions").fetchall()
    assert [name for name, *_ in columns] == [
        *ENTITIES["transactions"].columns,
        "_file",
        "_row",
        "_delivery_id",
        "_known_floor",
    ]
    assert {kind for name, kind, *_ in columns if not name.startswith("_")} == {"VARCHAR"}
    assert con.execute("""
        select client_id, txn_date, amount, direction, currency, _file, _row, _delivery_id, _known_floor
        from raw.transactions order by _row""").fetchall() == [
        ("C1", "2024-01-01", "10.00", "inbound", None, "transactions.csv", 1, 1, None),
        ("C1", "2024-01-02", "5.00", "outbound", None, "transactions.csv", 2, 1, None),
    ]
    # a folder without source.json
    assert con.execute("select source, base_currency, reporting_delay_days from raw.dataset").fetchall() == [
        ("folder", "EUR", 30)
    ]
    missing = dict(con.execute("from raw.not_available").fetchall())
    assert missing["counterparty_country"] == "the transactions files have no such column"
    assert missing["blacklist"] == "no blacklist file was delivered"
    assert "txn_id" not in missing


def test_twice_the_same_folder_changes_nothing(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    ingest(con, landing)
    before = state(con)
    report = ingest(con, landing)
    assert report.is_unchanged
    assert not report.loaded
    assert len(report.skipped) == 3
    assert state(con) == before


def test_a_new_delivery_is_loaded_alone_and_cannot_have_been_known_earlier(
    con: duckdb.DuckDBPyConnection, landing: Path
) -> None:
    ingest(con, landing)
    (landing / "transactions_2.csv").write_text(
        "client_id,txn_date,amount,direction\nC2,2023-12-30,1,inbound\nC2,2024-01-09,2,inbound\n"
    )
    (landing / "str_labels_2.csv").write_text("client_id,str_flag,str_date\nC2,0,\n")
    report = ingest(con, landing)
    assert sorted(report.loaded) == ["str_labels_2.csv", "transactions_2.csv"]
    assert not report.is_reload
    assert con.execute(
        "select _delivery_id, entity, file, rows, rejects, _known_floor from raw.deliveries order by all"
    ).fetchall() == [
        (1, "client_profiles", "client_profiles.csv", 1, 0, None),
        (1, "str_labels", "str_labels.csv", 1, 0, None),
        (1, "transactions", "transactions.csv", 2, 0, None),
        (2, "str_labels", "str_labels_2.csv", 1, 0, date(2024, 1, 3)),
        (2, "transactions", "transactions_2.csv", 2, 0, date(2024, 1, 3)),
    ]
    # a third one: the floor follows the newest transaction so far, wherever it came from
    (landing / "client_profiles_3.csv").write_text("client_id,industry\nC9,retail\n")
    ingest(con, landing)
    assert con.execute(
        "select _delivery_id, _known_floor from raw.client_profiles where client_id = 'C9'"
    ).fetchall() == [(3, date(2024, 1, 10))]


def test_files_that_arrive_together_are_deliveries_in_order_of_name(
    con: duckdb.DuckDBPyConnection, landing: Path
) -> None:
    (landing / "transactions_b.csv").write_text(TRANSACTIONS.replace("2024-01", "2024-02"))
    ingest(con, landing)
    assert con.execute(
        "select distinct _file, _delivery_id, _known_floor from raw.transactions order by 2"
    ).fetchall() == [
        ("transactions.csv", 1, None),
        ("transactions_b.csv", 2, date(2024, 1, 3)),
    ]


def test_one_mistyped_year_does_not_make_later_deliveries_unknowable(
    con: duckdb.DuckDBPyConnection, landing: Path
) -> None:
    (landing / "transactions.csv").write_text(TRANSACTIONS + "C1,2924-01-02,5.00,outbound\nC1,1024-01-02,5,outbound\n")
    (landing / "transactions_b.csv").write_text(TRANSACTIONS.replace("2024-01", "2024-02"))
    ingest(con, landing)
    assert con.execute("select _known_floor from raw.deliveries where _delivery_id = 2").fetchall() == [
        (date(2024, 1, 3),)
    ]


def test_a_copy_under_another_name_is_not_loaded_twice(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    (landing / "transactions_copy.csv").write_text(TRANSACTIONS)
    report = ingest(con, landing)
    assert report.rows_in["transactions"] == 2
    assert report.skipped == ["transactions_copy.csv"]


@pytest.mark.parametrize("change", ["content", "removed", "source.json"])
def test_a_change_reloads_everything(con: duckdb.DuckDBPyConnection, landing: Path, change: str) -> None:
    (landing / "transactions_2.csv").write_text(TRANSACTIONS.replace("2024-01", "2024-02"))
    ingest(con, landing)
    if change == "content":
        (landing / "transactions.csv").write_text(TRANSACTIONS.replace("10.00", "11.00"))
    elif change == "removed":
        (landing / "transactions_2.csv").unlink()
    else:
        (landing / "source.json").write_text(json.dumps({"source": "mine", "base_currency": "CHF"}))
    report = ingest(con, landing)
    assert report.is_reload
    fresh = duckdb.connect()
    ingest(fresh, landing)
    got, expected = state(con), state(fresh)
    if change == "content":
        # the untouched file keeps its place in the order of arrival; the changed one arrives anew, after it
        order = dict(
            con.execute("select file, _delivery_id from raw.deliveries where entity = 'transactions'").fetchall()
        )
        assert order["transactions_2.csv"] < order["transactions.csv"]
        assert con.execute("select count(*) from raw.transactions where amount = '11.00'").fetchone() == (1,)
        assert con.execute("select count(*) from raw.transactions").fetchone() == (4,)
    else:
        assert got == expected


def test_a_crash_in_the_middle_leaves_the_state_before(
    con: duckdb.DuckDBPyConnection, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(con, landing)
    before = state(con)
    (landing / "transactions_2.csv").write_text(TRANSACTIONS.replace("2024-01", "2024-02"))
    module = sys.modules[ingest_function.__module__]

    def crash(*_: object) -> None:
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr(module, "_describe_dataset", crash)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        ingest(con, landing)
    assert state(con) == before
    monkeypatch.undo()
    assert ingest(con, landing).loaded == ["transactions_2.csv"]


def test_kill_in_the_middle_leaves_the_state_before(landing: Path, tmp_path: Path) -> None:
    """A process that dies inside the transaction: the file opens with the old state and the next call completes."""
    warehouse = tmp_path / "w.duckdb"
    with duckdb.connect(str(warehouse)) as con:
        ingest(con, landing)
        before = state(con)
    (landing / "transactions_2.csv").write_text(TRANSACTIONS.replace("2024-01", "2024-02"))
    code = (
        "import sys, os, signal, duckdb; from pathlib import Path; import importlib\n"
        "m = importlib.import_module('ml_assets.sources.ingest')\n"
        "m._describe_dataset = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "m.ingest(duckdb.connect(sys.argv[1]), Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(warehouse), str(landing)], cwd=ROOT, check=False)
    assert done.returncode == -9
    with duckdb.connect(str(warehouse)) as con:
        assert state(con) == before
        assert ingest(con, landing).loaded == ["transactions_2.csv"]


BAD = (
    b"client_id,txn_date,amount,direction\n"
    b"C1,2024-01-01,1,inbound\n"  # row 1
    b"C2,2024-01-01,2\n"  # row 2: too few
    b"C3,2024-01-01,3,inbound,extra\n"  # row 3: too many
    b"\n"  # no record
    b'"C4,2024-01-01,4,inbound\n'  # row 4, line 6: quote never closed
    b"C5,2024-01-01,5,inbound\n"  # row 5
    b"C\xff6,2024-01-01,6,inbound\n"  # row 6, line 8: not UTF-8
    b'"C""7","2024-01-01",7,"in\nbound"\n'  # row 7: sound, although it spans lines
    b'"C8"x,2024-01-01,8,inbound\n'  # row 8: text after a closed quote
    b"C9,2024-01-01,not a number,inbound"  # row 9: bad value, good record; no line end
)
EXPECTED_REJECTS = [
    (2, "line 3: 3 columns where the header has 4"),
    (3, "line 4: 5 columns where the header has 4"),
    (4, "line 6: a double quote is opened and not closed"),
    (6, "line 8: not UTF-8: byte 0xff at position 2 of the line"),
    (8, "line 11: broken quotes (',' expected after '\"')"),
]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_malformed_lines_are_set_aside_with_line_and_reason(
    con: duckdb.DuckDBPyConnection, landing: Path, suffix: str
) -> None:
    (landing / "transactions.csv").unlink()
    (landing / f"transactions.{suffix}").write_bytes(gzip.compress(BAD) if suffix == "csv.gz" else BAD)
    report = ingest(con, landing)
    assert con.execute("select _row, reason from raw.rejects order by _row").fetchall() == EXPECTED_REJECTS
    assert con.execute("select distinct entity, _file, _delivery_id from raw.rejects").fetchall() == [
        ("transactions", f"transactions.{suffix}", 1)
    ]
    assert con.execute("select value from raw.rejects where _row = 6").fetchall() == [("C\\xff6,2024-01-01,6,inbound",)]
    assert con.execute("select _row, client_id, direction from raw.transactions order by 1").fetchall() == [
        (1, "C1", "inbound"),
        (5, "C5", "inbound"),
        (7, 'C"7', "in\nbound"),
        (9, "C9", "inbound"),
    ]
    assert (report.rows_in["transactions"], report.rows_kept["transactions"], report.rows_rejected["transactions"]) == (
        9,
        4,
        5,
    )


def test_two_broken_quotes_do_not_swallow_the_records_between(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    lines = [
        "client_id,txn_date,amount,direction",
        'C1,2024-01-01,1,"inbound',
        "C2,2024-01-01,2,inbound",
        "C3,2024-01-01,3,inbound",
        'C4",2024-01-01,4,inbound',
        "C5,2024-01-01,5,inbound",
    ]
    (landing / "transactions.csv").write_text("\n".join(lines) + "\n")
    ingest(con, landing)
    kept = con.execute("select client_id from raw.transactions order by _row").fetchall()
    assert ("C2",) in kept
    assert ("C3",) in kept
    assert ("C5",) in kept
    total = con.execute(
        "select (select count(*) from raw.transactions) + (select count(*) from raw.rejects)"
    ).fetchone()
    assert total == (5,)


FIELD = st.text(alphabet='ab",;\n é\t', max_size=4)


@given(
    lines=st.lists(
        st.one_of(
            st.lists(FIELD, min_size=1, max_size=6).map(",".join),
            st.just("C1,2024-01-01,1,inbound"),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_record_is_lost_whatever_the_lines(tmp_path: Path, lines: list[str]) -> None:
    """Rows in the file = kept + rejected, numbered without a gap, and sound lines without quotes always survive."""
    folder = tmp_path / "any"
    folder.mkdir(exist_ok=True)
    for name, text in GOOD.items():
        (folder / name).write_text(text)
    text = "client_id,txn_date,amount,direction\n" + "\n".join(["C0,2024-01-01,0,inbound", *lines]) + "\n"
    (folder / "transactions.csv").write_text(text, newline="")
    con = duckdb.connect()
    report = ingest(con, folder)
    numbers = con.execute(
        "select _row from raw.transactions union all select _row from raw.rejects order by 1"
    ).fetchall()
    assert [n for (n,) in numbers] == list(range(1, report.rows_in["transactions"] + 1))
    if '"' not in text:
        physical = [line.split(",") for line in text.split("\n")[1:] if line.strip(" ")]
        # empty fields after the last column hold nothing and are let pass
        sound = sum(len(fields) >= 4 and not any(fields[4:]) for fields in physical)
        assert report.rows_kept["transactions"] == sound
        assert report.rows_in["transactions"] == len(physical)
    con.close()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_delimiters_and_line_ends(con: duckdb.DuckDBPyConnection, landing: Path, delimiter: str, line_end: str) -> None:
    text = TRANSACTIONS.replace(",", delimiter).replace("\n", line_end)
    (landing / "transactions.csv").write_text(text, newline="")
    ingest(con, landing)
    assert con.execute("select client_id, amount, direction from raw.transactions order by _row").fetchall() == [
        ("C1", "10.00", "inbound"),
        ("C1", "5.00", "outbound"),
    ]


def test_parquet_values_become_text_that_reads_back_exactly(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    (landing / "transactions.csv").unlink()
    moments = [datetime(2024, 2, 29, 23, 59, 59, 123456), datetime(2024, 1, 1), None]
    frame = pl.DataFrame(
        {
            "client_id": ["é1", "", "C3"],
            "txn_date": moments,
            "amount": [Decimal("12345678901234.56"), Decimal("0.10"), Decimal("-3.00")],
            "direction": ["inbound", "outbound", None],
            "ingested_at": [date(2024, 3, 1), None, date(2024, 3, 2)],
            "shoe_size": [1, 2, 3],
        },
        schema_overrides={"amount": pl.Decimal(18, 2)},
    ).with_columns(pl.col("txn_date").dt.replace_time_zone("Europe/Berlin"), pl.col("direction").cast(pl.Categorical))
    frame.write_parquet(landing / "transactions.parquet")
    pl.DataFrame(
        {"currency": ["USD", "JPY"], "rate_date": [date(2024, 1, 1)] * 2, "rate_to_base": [0.1 + 0.2, 1e-7]}
    ).write_parquet(landing / "fx_rates.parquet")
    report = ingest(con, landing)
    assert con.execute(
        "select client_id, txn_date, amount, direction, ingested_at, _row from raw.transactions order by _row"
    ).fetchall() == [
        ("é1", "2024-02-29 22:59:59.123456", "12345678901234.56", "inbound", "2024-03-01", 1),
        (None, "2023-12-31 23:00:00", "0.10", "outbound", None, 2),
        ("C3", None, "-3.00", None, "2024-03-02", 3),
    ]
    assert con.execute("select rate_to_base::double from raw.fx_rates order by _row").fetchall() == [
        (0.1 + 0.2,),
        (1e-7,),
    ]
    assert report.ignored_columns == {"transactions.parquet": ["shoe_size"]}


def test_base_currency_is_stated_or_the_only_one_or_the_default(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    header, one, two = (
        "client_id,txn_date,amount,direction,currency\n",
        "C1,2024-01-01,1,inbound,sek\n",
        "C1,2024-01-01,1,inbound,NOK\n",
    )
    (landing / "transactions.csv").write_text(header + one + one)
    assert ingest(con, landing, default_currency="USD").base_currency == "SEK"
    (landing / "transactions_2.csv").write_text(header + two)
    report = ingest(con, landing, default_currency="USD")
    assert (report.base_currency, report.is_reload) == ("USD", True)
    (landing / "source.json").write_text(
        json.dumps({"base_currency": "NOK", "reporting_delay_days": 0, "not_available": {"channel": "not kept"}})
    )
    report = ingest(con, landing)
    assert (report.base_currency, report.reporting_delay_days) == ("NOK", 0)
    assert report.not_available["channel"] == "not kept"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("transactions.csv", None, "no file for transactions"),
        ("transactions.csv", b"", "0 bytes"),
        ("transactions.parquet", b"", "0 bytes"),
        ("transactions.parquet", b"PAR1 and then nothing", "no intact Parquet"),
        (
            "transactions.csv",
            b"client_id,txn_date,amount\nC1,2024-01-01,1\n",
            "direction: the required column is missing",
        ),
        ("transactions.csv", b"client_id,txn_date,amount,direction\n", "a header and no rows"),
        ("transactions.csv.gz", gzip.compress(TRANSACTIONS.encode() * 400)[:60], "ends too early"),
        ("source.json", b"{", "not readable as JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_and_leaves_the_state_before(
    con: duckdb.DuckDBPyConnection, landing: Path, name: str, content: bytes | None, message: str
) -> None:
    ingest(con, landing)
    before = state(con)
    if name.startswith("transactions"):
        (landing / "transactions.csv").unlink()
    if content is not None:
        (landing / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        ingest(con, landing)
    assert state(con) == before


def test_tables_of_an_older_version_are_replaced(con: duckdb.DuckDBPyConnection, landing: Path) -> None:
    con.execute("create schema raw")
    con.execute("create table raw.transactions (client_id varchar)")
    assert ingest(con, landing).rows_in["transactions"] == 2
