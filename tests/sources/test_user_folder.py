"""The user's own folder: every way it can be wrong has its message, and a good one is staged unchanged."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import Config, SourceConfig
from ml_assets.sources import InputError, check_folder, check_source, deliver, input_listing, stage_folder

ROOT = Path(__file__).resolve().parents[2]
TRANSACTIONS = "client_id,txn_date,amount,direction\nC1,2024-01-01,10.00,inbound\nC1,2024-01-02,5.00,outbound\n"
PROFILES = "client_id,industry\nC1,retail\n"
LABELS = "client_id,str_flag,str_date\nC1,1,2024-02-01\n"
GOOD = {"transactions.csv": TRANSACTIONS, "client_profiles.csv": PROFILES, "str_labels.csv": LABELS}


@pytest.fixture
def good(write: Callable[..., Path]) -> Path:
    return write("mine", GOOD)


def refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    assert caught.value.next_step, "an error without advice"
    return caught.value


def test_one_client_and_one_class_are_no_errors(good: Path) -> None:
    assert [item.entity.name for item in check_folder(good)] == ["client_profiles", "str_labels", "transactions"]


def test_missing_folder(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error)
    assert "does not exist" in str(error)


def test_file_instead_of_folder(good: Path) -> None:
    assert "a file where a folder was expected" in str(refusal(good / "transactions.csv"))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_missing_file_names_it_and_what_is_there(good: Path, name: str) -> None:
    (good / name).unlink()
    error = refusal(good)
    assert f"no file for {name.removesuffix('.csv')}" in str(error)
    assert all(other in str(error) for other in GOOD if other != name)


def test_spreadsheet_instead_of_csv(good: Path) -> None:
    (good / "transactions.csv").rename(good / "transactions.xlsx")
    assert "Save transactions.xlsx as transactions.csv" in str(refusal(good))


def test_empty_folder(tmp_path: Path) -> None:
    assert "the folder is empty" in str(refusal(tmp_path))


def test_missing_column_names_those_found_and_the_nearest(good: Path) -> None:
    (good / "transactions.csv").write_text(TRANSACTIONS.replace("client_id", "clientid"))
    error = refusal(good)
    assert error.column == "client_id"
    assert "columns found: clientid, txn_date, amount, direction" in str(error)
    assert "Did you mean 'clientid'?" in error.next_step


def test_missing_column_without_a_near_one(good: Path) -> None:
    (good / "str_labels.csv").write_text("client_id,str_date\nC1,2024-02-01\n")
    assert refusal(good).next_step == "Add the column str_flag."


def test_missing_column_of_a_parquet_file(good: Path) -> None:
    (good / "transactions.csv").unlink()
    pl.DataFrame({"client_id": ["C1"], "txn_date": ["2024-01-01"], "amount": [1.0]}).write_parquet(
        good / "transactions.parquet"
    )
    assert refusal(good).column == "direction"


def test_header_twice_the_same_column(good: Path) -> None:
    (good / "client_profiles.csv").write_text("client_id,industry,Industry\nC1,retail,retail\n")
    assert "this column twice" in str(refusal(good))


def test_header_names_match_without_case_and_blanks(good: Path) -> None:
    (good / "transactions.csv").write_text("Client ID; Txn-Date ;AMOUNT;Direction\nC1;2024-01-01;1;inbound\n")
    table = next(i.table for i in check_folder(good) if i.entity.name == "transactions")
    assert table.delimiter == ";"
    assert table.columns == {"client_id": 0, "txn_date": 1, "amount": 2, "direction": 3}


@pytest.mark.parametrize("name", ["transactions.csv", "transactions.parquet", "transactions.csv.gz"])
def test_zero_bytes(good: Path, name: str) -> None:
    (good / "transactions.csv").unlink()
    (good / name).touch()
    error = refusal(good)
    assert "0 bytes" in str(error)
    assert name in str(error)


def test_header_without_rows(good: Path) -> None:
    (good / "str_labels.csv").write_text("client_id,str_flag,str_date\n")
    assert "a header and no rows" in str(refusal(good))


def test_parquet_without_rows(good: Path) -> None:
    (good / "str_labels.csv").unlink()
    schema = {"client_id": pl.String, "str_flag": pl.Int64, "str_date": pl.Date}
    pl.DataFrame(schema=schema).write_parquet(good / "str_labels.parquet")
    assert "the file has no rows" in str(refusal(good))


def test_parquet_that_is_none(good: Path) -> None:
    (good / "str_labels.csv").rename(good / "str_labels.parquet")
    assert "no intact Parquet file" in str(refusal(good))


def test_truncated_gzip(good: Path) -> None:
    whole = gzip.compress((TRANSACTIONS + "C1,2024-01-03,5.00,outbound\n" * 5000).encode())
    (good / "transactions.csv").unlink()
    (good / "transactions.csv.gz").write_bytes(whole[: len(whole) // 2])
    error = refusal(good)
    assert "ends too early" in str(error)
    assert "gzip -t" in error.next_step


def test_gzip_that_is_none(good: Path) -> None:
    (good / "transactions.csv").rename(good / "transactions.csv.gz")
    assert "no intact gzip file" in str(refusal(good))


def test_text_that_is_not_utf8_is_placed_by_row_and_byte(good: Path) -> None:
    text = "client_id,industry\nC1,retail\nC2,caf\xe9\n"
    (good / "client_profiles.csv").write_bytes(text.encode("latin-1"))
    error = refusal(good)
    assert "byte 0xe9 on line 3, byte offset 35" in str(error)
    assert text.encode("latin-1")[35] == 0xE9
    assert error.row == 2
    assert "iconv" in error.next_step


def test_text_that_is_not_utf8_far_into_a_file(good: Path) -> None:
    body = b"client_id,industry\n" + "C1,café\n".encode() * 200_000
    (good / "client_profiles.csv").write_bytes(body + b"C1,\xff\n")
    assert f"line 200002, byte offset {len(body) + 3}" in str(refusal(good))


def test_utf16(good: Path) -> None:
    (good / "client_profiles.csv").write_text(PROFILES, encoding="utf-16")
    assert "UTF-16" in str(refusal(good))


def test_byte_order_mark_is_welcome(good: Path) -> None:
    (good / "client_profiles.csv").write_text(PROFILES, encoding="utf-8-sig")
    assert len(check_folder(good)) == 3


def test_old_macintosh_line_ends(good: Path) -> None:
    (good / "client_profiles.csv").write_bytes(PROFILES.replace("\n", "\r").encode())
    assert "carriage return" in str(refusal(good))


def test_folder_and_file_without_permission(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access

    def closed(name: str) -> Callable[..., bool]:
        return lambda path, mode, **kw: Path(path).name != name and real(path, mode, **kw)

    monkeypatch.setattr(os, "access", closed("mine"))
    assert "no permission to open this folder" in str(refusal(good))
    monkeypatch.setattr(os, "access", closed("transactions.csv"))
    error = refusal(good)
    assert "no permission to read it" in str(error)
    assert str(error.file).endswith("transactions.csv")


@pytest.mark.parametrize("closed", ["", "transactions.csv"])
def test_permission_as_another_user(closed: str) -> None:
    """The real thing: a process of the user nobody, because root may read everything."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp(prefix="closed-"))
    try:
        for name, text in GOOD.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
        (folder / closed).chmod(0o000)
        code = (
            "import os, sys; from pathlib import Path; from ml_assets.sources.user_folder import check_folder\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: check_folder(Path(sys.argv[1]))\n"
            "except ValueError as error: print(type(error).__name__, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith("InputError"), done.stdout + done.stderr
        assert "no permission" in done.stdout
        assert "chmod" in done.stdout
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_staging_links_files_and_does_nothing_twice(good: Path, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    assert stage_folder(good, landing, SourceConfig(reporting_delay_days=7)) is True
    for name in GOOD:
        assert (landing / name).samefile(good / name)
    said = json.loads((landing / "source.json").read_text())
    assert (said["source"], said["reporting_delay_days"], said["base_currency"]) == ("folder", 7, None)
    assert stage_folder(good, landing, SourceConfig(reporting_delay_days=7)) is False
    (good / "transactions_2.csv").write_text(TRANSACTIONS)
    assert stage_folder(good, landing, SourceConfig(reporting_delay_days=7)) is True
    assert (landing / "transactions_2.csv").exists()


def test_staging_honours_the_users_source_json(good: Path, tmp_path: Path) -> None:
    (good / "source.json").write_text(json.dumps({"base_currency": "CHF", "reporting_delay_days": 0}))
    stage_folder(good, tmp_path / "landing", SourceConfig())
    said = json.loads((tmp_path / "landing" / "source.json").read_text())
    assert (said["base_currency"], said["reporting_delay_days"]) == ("CHF", 0)


def test_a_refused_folder_leaves_the_landing_folder_alone(good: Path, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    stage_folder(good, landing, SourceConfig())
    before = {p.name: p.read_bytes() for p in landing.iterdir() if p.name != "client_profiles.csv"}
    (good / "client_profiles.csv").unlink()
    (good / "client_profiles.csv").write_bytes(b"client_id,industry\nC1,\xff\n")
    with pytest.raises(InputError):
        stage_folder(good, landing, SourceConfig())
    assert {p.name: p.read_bytes() for p in landing.iterdir() if p.name in before} == before
    assert (landing / "client_profiles.csv").read_text() == PROFILES


def test_landing_folder_as_the_users_folder(good: Path) -> None:
    assert stage_folder(good, good, SourceConfig()) is False
    assert sorted(p.name for p in good.iterdir()) == sorted(GOOD)


def test_sources_by_name(good: Path, tmp_path: Path) -> None:
    assert check_source(f"folder:{good}") == f"folder:{good}"
    for wrong in ("folder:", "nonsense", "nonsense:/x", "simulated:x", "amlsim:"):
        with pytest.raises(InputError):
            check_source(wrong)
    landing = tmp_path / "landing"
    assert deliver(f"folder:{good}", landing, Config()) is True
    assert deliver(f"folder:{good}", landing, Config()) is False
    before = input_listing(f"folder:{good}", landing)
    assert set(before) == set(GOOD)
    (landing / "transactions_x.csv").write_text(TRANSACTIONS)
    after = input_listing(f"folder:{good}", landing)
    assert set(after) - set(before) == {"landing/transactions_x.csv"}
