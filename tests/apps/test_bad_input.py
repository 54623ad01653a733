"""Bad input as a person meets it: what stops a run says which file and what to do; what does not, loses nothing."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from chain import ROOT, Run, bcrs, environment

Spoil = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small good files."""
    target = tmp_path / "mine"
    target.mkdir()
    rows = [f"C{i % 5},2024-01-{1 + i % 28:02d},{10 + i}.00,{'inbound' if i % 2 else 'outbound'}" for i in range(60)]
    (target / "transactions.csv").write_text("client_id,txn_date,amount,direction\n" + "\n".join(rows) + "\n")
    (target / "client_profiles.csv").write_text("client_id,industry\n" + "".join(f"C{i},retail\n" for i in range(5)))
    (target / "str_labels.csv").write_text("client_id,str_flag,str_date\nC1,1,2024-01-20\n")
    return target


def without_labels(folder: Path) -> None:
    (folder / "str_labels.csv").unlink()


def without_amount(folder: Path) -> None:
    text = (folder / "transactions.csv").read_text()
    (folder / "transactions.csv").write_text(text.replace("amount", "note", 1))


def empty_parquet(folder: Path) -> None:
    (folder / "transactions.csv").unlink()
    (folder / "transactions.parquet").touch()


def truncated_gzip(folder: Path) -> None:
    whole = gzip.compress((folder / "transactions.csv").read_bytes())
    (folder / "transactions.csv").unlink()
    (folder / "transactions.csv.gz").write_bytes(whole[: len(whole) // 2])


def not_utf8(folder: Path) -> None:
    with (folder / "client_profiles.csv").open("ab") as out:
        out.write("C9,bijouterie fermée\n".encode("latin-1"))


def zero_bytes(folder: Path) -> None:
    (folder / "str_labels.csv").write_bytes(b"")


def header_only(folder: Path) -> None:
    (folder / "transactions.csv").write_text("client_id,txn_date,amount,direction\n")


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "names", "advice"),
    [
        (without_labels, "str_labels", "Add str_labels.csv"),
        (without_amount, "amount", "column"),
        (empty_parquet, "transactions.parquet", "again"),
        (truncated_gzip, "transactions.csv.gz", "again"),
        (not_utf8, "client_profiles.csv", "UTF-8"),
        (zero_bytes, "str_labels.csv", "again"),
        (header_only, "transactions.csv", "again"),
        (no_folder, "mine", "exist"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_refused_with_the_files_name_and_what_to_do(
    folder: Path, tmp_path: Path, spoil: Spoil, names: str, advice: str
) -> None:
    spoil(folder)
    run = bcrs(tmp_path / "data", "run", "--profile", "tiny", "--source", f"folder:{folder}")
    said = " ".join(run.output.split())
    assert run.code == 1, said
    assert "stopped" in said
    assert names in said
    assert advice in said
    assert "Traceback" not in said
    assert not (tmp_path / "data" / "serving").exists()


def test_folder_without_permission(folder: Path) -> None:
    """As the user nobody where root runs the tests: root may open everything."""
    # pytest's own folders are closed to other users
    home = Path(tempfile.mkdtemp(prefix="closed-"))
    try:
        home.chmod(0o755)
        closed = Path(shutil.copytree(folder, home / "mine"))
        closed.chmod(0o000)
        # everything is imported first, because nobody may not be able to read the interpreter's own folders
        code = (
            "import os, sys\n"
            "import apps.cli, ml_assets.sources, ml_assets.sources.delivery\n"
            "from typer.main import get_command\n"
            "command = get_command(apps.cli.app)\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "command(sys.argv[1:])\n"
        )
        arguments = ["run", "--profile", "tiny", "--source", f"folder:{closed}"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env=environment(home / "data"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 1, said
        assert str(closed) in said
        assert "no permission" in said
        assert "chmod" in said
        assert "Traceback" not in said
    finally:
        (home / "mine").chmod(0o755)
        shutil.rmtree(home)


def test_unknown_kind_of_source(tmp_path: Path) -> None:
    run = bcrs(tmp_path / "data", "run", "--profile", "tiny", "--source", f"amlsimm:{tmp_path}")
    assert run.code == 1
    assert "amlsim" in run.output
    assert "Traceback" not in run.output


# --- input that is bad in places: the run completes ---------------------------------------------------------------

BAD_ROWS: list[tuple[str, dict[str, str], str]] = [
    ("X_amount_word", {"amount": "twelve"}, "unparsable_amount"),
    ("X_amount_missing", {"amount": ""}, "missing_amount"),
    ("X_amount_negative", {"amount": "-50.00"}, "non_positive_amount"),
    ("X_amount_zero", {"amount": "0"}, "non_positive_amount"),
    ("X_amount_absurd", {"amount": "99999999999999"}, "absurd_amount"),
    ("X_amount_nan", {"amount": "nan"}, "non_finite_amount"),
    ("X_date_word", {"txn_date": "last tuesday"}, "unparsable_txn_date"),
    ("X_date_none", {"txn_date": "2024-02-31 10:00:00"}, "unparsable_txn_date"),
    ("X_date_far", {"txn_date": "9024-03-01 10:00:00"}, "implausible_txn_date"),
    ("X_date_missing", {"txn_date": ""}, "missing_txn_date"),
    ("X_direction", {"direction": "sideways"}, "unknown_direction"),
    ("X_currency", {"currency": "QQQ"}, "unknown_currency"),
    ("X_client", {"client_id": ""}, "missing_client_id"),
]
TWO_FAULTS = ("X_two_faults", {"amount": "-1", "currency": "QQQ"}, {"non_positive_amount", "unknown_currency"})


def text_of(path: Path) -> pl.DataFrame:
    """A landing file as the text a bank's export would hold."""
    frame = pl.read_parquet(path)
    return frame.with_columns(
        pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M:%S"), pl.selectors.date().dt.strftime("%Y-%m-%d")
    ).with_columns(pl.all().cast(pl.String))


def user_folder(landing: Path, target: Path, clients: list[str]) -> dict[str, pl.DataFrame]:
    """The files of a few of the tiny bank's clients as CSV; returns them for spoiling."""
    target.mkdir()
    shutil.copyfile(landing / "source.json", target / "source.json")
    files = {}
    for name in ("transactions", "client_profiles", "str_labels"):
        files[name] = text_of(landing / f"{name}.parquet").filter(pl.col("client_id").is_in(clients))
    files["fx_rates"] = text_of(landing / "fx_rates.parquet")
    for name, frame in files.items():
        frame.write_csv(target / f"{name}.csv")
    return files


def clients_of(landing: Path, count: int) -> list[str]:
    return pl.read_parquet(landing / "client_profiles.parquet")["client_id"].unique().sort().head(count).to_list()


@pytest.fixture(scope="module")
def spoilt(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, pl.DataFrame]:
    """Eighty clients, nobody ever reported, bad rows among the good ones: the finished run and the file's rows."""
    landing = tiny_run.folder / "landing"
    source = tmp_path_factory.mktemp("spoilt") / "mine"
    files = user_folder(landing, source, clients_of(landing, 80))
    good = files["transactions"]
    pattern = good.row(100, named=True)
    faults = [(name, change) for name, change, _ in BAD_ROWS] + [TWO_FAULTS[:2]]
    bad = pl.DataFrame([{**pattern, "txn_id": name, **change} for name, change in faults], schema=good.schema)
    twice = good.slice(200, 3)
    conflicting = good.slice(300, 2).with_columns(amount=pl.lit("77777.77"))
    rows = pl.concat([good.head(500), bad, good.slice(500), twice, conflicting])
    rows.write_csv(source / "transactions.csv")
    # a record that cannot be split into columns at all
    with (source / "transactions.csv").open("a") as out:
        out.write("X_too_short,C0000001\n")
    files["str_labels"].with_columns(str_flag=pl.lit("0"), str_date=pl.lit(None, pl.String)).write_csv(
        source / "str_labels.csv"
    )
    run = bcrs(tmp_path_factory.mktemp("spoilt_data"), "run", "--profile", "tiny", "--source", f"folder:{source}")
    return run, rows


@pytest.mark.slow
def test_bad_rows_do_not_stop_the_run(spoilt: tuple[Run, pl.DataFrame]) -> None:
    run, _ = spoilt
    assert run.code == 0, run.output[-4000:]
    assert "Traceback" not in run.output


@pytest.mark.slow
def test_no_row_is_lost(spoilt: tuple[Run, pl.DataFrame]) -> None:
    run, rows = spoilt
    balance = run.marts("from marts.rpt_data_quality where entity = 'transactions'").row(0, named=True)
    assert balance["rows_in"] == rows.height + 1
    assert balance["rows_in"] == balance["rows_kept"] + balance["rows_quarantined"]
    assert balance["rows_quarantined"] == len(BAD_ROWS) + 1 + 3 + 2 + 1
    assert run.warehouse("select count(*) from intermediate.int_transactions").item() == balance["rows_kept"]
    summary = run.summary()
    assert summary["rows_in"] == summary["rows_kept"] + summary["rows_quarantined"]


@pytest.mark.slow
@pytest.mark.parametrize(("txn_id", "reason"), [(name, reason) for name, _, reason in BAD_ROWS])
def test_every_bad_row_is_in_quarantine_with_its_reason(
    spoilt: tuple[Run, pl.DataFrame], txn_id: str, reason: str
) -> None:
    found = spoilt[0].marts(
        "select reason, column_name from quality.quarantine_transactions "
        f"where json_extract_string(raw_record, '$.txn_id') = '{txn_id}'"
    )
    assert found["reason"].to_list() == [reason]


@pytest.mark.slow
def test_every_reason_of_a_row_is_told(spoilt: tuple[Run, pl.DataFrame]) -> None:
    found = spoilt[0].marts(
        "select reason from quality.quarantine_transactions "
        f"where json_extract_string(raw_record, '$.txn_id') = '{TWO_FAULTS[0]}'"
    )
    assert set(found["reason"]) == TWO_FAULTS[2]


@pytest.mark.slow
def test_duplicate_ids_and_unreadable_records(spoilt: tuple[Run, pl.DataFrame]) -> None:
    run, rows = spoilt
    counts = dict(run.marts("select reason, count(*) from quality.quarantine_transactions group by 1").iter_rows())
    assert counts["duplicate_txn_id_identical"] == 3
    assert counts["duplicate_txn_id_conflicting"] == 2
    unreadable = run.marts("from quality.quarantine_transactions where is_unreadable")
    assert unreadable.height == 1
    assert unreadable["_row"].item() == rows.height + 1
    # the first of the conflicting copies is the one that was kept
    conflicting = rows.tail(2)["txn_id"].to_list()
    kept = run.warehouse(
        f"select count(*) from intermediate.int_transactions where txn_id in {tuple(conflicting)} and amount = 77777.77"
    )
    assert kept.item() == 0


def assert_scored_without_labels(run: Run) -> None:
    summary = run.summary()
    assert summary["models"]["bcrs"]["auroc"] is None
    assert summary["reasons"], "no reason why nothing was measured"
    assert any("bcrs" in reason for reason in summary["reasons"]), summary["reasons"]
    scores = run.scores()
    assert scores.height > 0
    assert scores["bcrs_score"].null_count() == 0
    assert scores["bcrs_score"].is_between(0, 100).all()


@pytest.mark.slow
def test_one_class_only_is_scored_and_the_reason_said(spoilt: tuple[Run, pl.DataFrame]) -> None:
    run, _ = spoilt
    assert run.warehouse("select count(*) from intermediate.int_client_labels where is_str_within_horizon").item() == 0
    assert_scored_without_labels(run)
    assert "not computable" in run.output


@pytest.mark.slow
def test_one_client_only(tiny_run: Run, tmp_path: Path) -> None:
    landing = tiny_run.folder / "landing"
    user_folder(landing, tmp_path / "mine", clients_of(landing, 1))
    run = bcrs(tmp_path / "data", "run", "--profile", "tiny", "--source", f"folder:{tmp_path / 'mine'}")
    assert run.code == 0, run.output[-4000:]
    assert "Traceback" not in run.output
    assert run.summary()["clients"] == 1
    assert_scored_without_labels(run)
