"""A dbt call made by a process that stood by is the call itself: same output, same exit code, same folder."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ml_assets.config import search_path

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
COMMAND = str(Path(sys.executable).parent / "bcrs-dbt")


def wait_for(is_true):
    until = time.monotonic() + 60
    while not is_true() and time.monotonic() < until:
        time.sleep(0.05)
    assert is_true()


@pytest.fixture
def waiting():
    """A socket in a short folder and the process that waits there."""
    with tempfile.TemporaryDirectory(prefix="bcrs-") as folder:
        at = Path(folder) / "call"
        process = subprocess.Popen([COMMAND, "--stand-by", str(at), str(os.getpid())], cwd=PROJECT)
        wait_for(at.exists)
        yield at, process
        process.kill()
        process.wait()


def call(arguments, folder, at=None, **kwargs):
    environment = {
        **os.environ,
        "PATH": search_path(),
        "BCRS_WAREHOUSE": str(folder / "bcrs.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "target"),
        "DBT_PROFILES_DIR": str(PROJECT),
    }
    environment.pop("BCRS_DBT_STAND_BY", None)
    if at is not None:
        environment["BCRS_DBT_STAND_BY"] = str(at)
    options = {"cwd": PROJECT, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([COMMAND, *arguments], **options, **kwargs)


def test_the_call_is_made_in_the_waiting_process_and_ends_with_its_code(tmp_path, waiting):
    at, process = waiting
    good = call(["seed", "--select", "risk_aliases"], tmp_path, at)
    said, _ = good.communicate(timeout=120)
    assert good.returncode == 0, said
    assert "risk_aliases" in said
    assert (tmp_path / "bcrs.duckdb").exists()
    assert process.wait(30) == 0
    assert not at.exists()


def test_a_failed_call_says_so_by_its_code(tmp_path, waiting):
    at, process = waiting
    # the model's source is not there: dbt runs, the node fails
    bad = call(["run", "--select", "stg_blacklist_parsed"], tmp_path, at)
    said, _ = bad.communicate(timeout=120)
    assert bad.returncode == 1, said
    assert process.wait(30) == 1


def test_a_call_is_made_all_the_same_where_nobody_waits(tmp_path):
    alone = call(["seed", "--select", "risk_aliases"], tmp_path, tmp_path / "nobody")
    said, _ = alone.communicate(timeout=120)
    assert alone.returncode == 0, said
    assert (tmp_path / "bcrs.duckdb").exists()


def test_who_waits_stops_when_the_caller_is_killed(tmp_path, waiting):
    at, process = waiting
    # all seeds take long enough to be interrupted
    killed = call(["seed"], tmp_path, at)
    # the call has been taken on when its socket is gone
    wait_for(lambda: not at.exists())
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    process.wait(60)
    assert process.returncode is not None


def test_who_waits_ends_with_the_process_that_asked_for_it():
    with tempfile.TemporaryDirectory(prefix="bcrs-") as folder:
        at = Path(folder) / "call"
        code = (
            "import os, subprocess\n"
            f"command = [{COMMAND!r}, '--stand-by', {str(at)!r}, str(os.getpid())]\n"
            "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
        )
        asked = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True, timeout=60
        )
        pid = int(asked.stdout)
        # a zombie has no file behind it
        wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())
