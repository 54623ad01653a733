"""Shared fixtures: where the repository and outside data are, and one finished run of the tiny bank."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[1]

# wiring imported by the tests' own process looks into an empty folder, never into the user's data
_SANDBOX = tempfile.mkdtemp(prefix="bcrs-tests-")
atexit.register(shutil.rmtree, _SANDBOX, ignore_errors=True)
os.environ["BCRS_DATA_DIR"] = _SANDBOX


@dataclass(frozen=True)
class Run:
    """A finished command and the data folder it worked in."""

    folder: Path
    code: int
    output: str

    def marts(self, sql: str) -> pl.DataFrame:
        """Rows from the published marts."""
        with duckdb.connect(str(self.folder / "serving" / "marts_serving.duckdb"), read_only=True) as con:
            return con.sql(sql).pl()

    def warehouse(self, sql: str) -> pl.DataFrame:
        """Rows from the warehouse, between runs."""
        with duckdb.connect(str(self.folder / "warehouse" / "bcrs.duckdb"), read_only=True) as con:
            return con.sql(sql).pl()


def environment(folder: Path) -> dict[str, str]:
    """The test's environment with the data folder set and colours off."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BCRS_", "DAGSTER_"))}
    return {**kept, "BCRS_DATA_DIR": str(folder), "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


def make_run(folder: Path, *arguments: str) -> Run:
    """``make run`` as a user types it, in ``folder``."""
    done = subprocess.run(
        ["make", "--no-print-directory", "run", *arguments],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout + done.stderr)


def bcrs(folder: Path, *arguments: str) -> Run:
    """The command line without make."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "bcrs"), *arguments],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``make run PROFILE=tiny`` into an empty folder; read only, tests must not change it."""
    run = make_run(tmp_path_factory.mktemp("tiny"), "PROFILE=tiny")
    assert run.code == 0, run.output[-4000:]
    return run
