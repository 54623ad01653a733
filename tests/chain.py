"""Running the chain as a user does and reading what it leaves; used by the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import yaml

ROOT = Path(__file__).resolve().parents[1]
BCRS = Path(sys.executable).parent / "bcrs"
TIMEOUT_SECONDS = 800


@dataclass(frozen=True)
class Run:
    """A finished command and the data folder it worked in."""

    folder: Path
    code: int
    output: str

    @property
    def serving(self) -> Path:
        """The published file."""
        return self.folder / "serving" / "marts_serving.duckdb"

    def marts(self, sql: str) -> pl.DataFrame:
        """Rows from the published marts."""
        with duckdb.connect(str(self.serving), read_only=True) as con:
            return con.sql(sql).pl()

    def columns(self) -> dict[str, list[str]]:
        """Columns, sorted, of every published mart."""
        found = self.marts(
            "select table_name, list(column_name order by column_name) as names "
            "from information_schema.columns where table_schema = 'marts' group by 1"
        )
        return dict(found.iter_rows())

    def warehouse(self, sql: str) -> pl.DataFrame:
        """Rows from the warehouse, between runs."""
        with duckdb.connect(str(self.folder / "warehouse" / "bcrs.duckdb"), read_only=True) as con:
            return con.sql(sql).pl()

    def summary(self) -> dict[str, Any]:
        """The summary as JSON."""
        found: dict[str, Any] = json.loads((self.folder / "reports" / "summary.json").read_text(encoding="utf-8"))
        return found

    def scores(self) -> pl.DataFrame:
        """Every published score, in a fixed order."""
        return self.marts("from marts.fct_client_scores order by client_id, as_of_date")


def documented_marts(*rooms: str) -> dict[str, list[str]]:
    """Columns, sorted, of every mart documented in ``rooms``: folders of dbt's marts, "" for the marts' own."""
    found: dict[str, list[str]] = {}
    for room in rooms:
        for path in (ROOT / "dbt_project" / "models" / "marts" / room).glob("*__models.yml"):
            for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
                found[model["name"]] = sorted(c["name"] for c in model["columns"])
    return found


def environment(folder: Path) -> dict[str, str]:
    """The test's environment with the data folder set and colours off."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BCRS_", "DAGSTER_"))}
    return {
        **kept,
        "BCRS_DATA_DIR": str(folder),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "200",
    }


def call(folder: Path, *command: str) -> Run:
    """Run a command to its end with ``folder`` as data folder."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout + done.stderr)


def make_run(folder: Path, *arguments: str) -> Run:
    """``make run`` as a user types it, in ``folder``."""
    return call(folder, "make", "--no-print-directory", "run", *arguments)


def bcrs(folder: Path, *arguments: str) -> Run:
    """The command line without make."""
    return call(folder, str(BCRS), *arguments)
