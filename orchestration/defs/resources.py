"""What assets talk to: the warehouse file, the folders, dbt.

One process writes the DuckDB file at a time and a writer excludes every reader, so the file is held for moments
only and opening it is retried; analysts read the published serving file instead.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
from dagster_dbt import DbtCliResource, DbtProject
from packaging.version import Version
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from ml_assets.config import Settings, search_path
from ml_assets.contracts import TableContract

SETTINGS = Settings()
"""The settings of this process: the one place where wiring learns its folders and knobs."""

CONFIG = SETTINGS.config()

PROJECT_ROOT = Path(__file__).resolve().parents[2]

MEMORY_LIMIT = "8GB"
"""DuckDB spills to disk above this; leaves room for Python on a 16 GB machine."""

_SQL_TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


def dbt_environment() -> dict[str, str]:
    """Environment variables dbt needs: its profile's, and where its command is."""
    return {
        "BCRS_WAREHOUSE": str(SETTINGS.warehouse),
        "PATH": search_path(),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }


os.environ.update(dbt_environment())

DBT_PROJECT = DbtProject(project_dir=PROJECT_ROOT / "dbt_project", profiles_dir=PROJECT_ROOT / "dbt_project")


class DbtCommand(DbtCliResource):
    """dbt's command line, without what dagster-dbt starts beside each call and this project does not use.

    Before every call dagster-dbt asks the command for its version in a process of its own, and loads dbt's adapter and
    macros into this process for ``fetch_row_counts``. Row counts are read through :class:`Warehouse` here, so both
    are left out: some three seconds a call.

    Every call works in a folder of its own under ``<data folder>/dbt``.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None

    def _get_unique_target_path(self, *, context: Any) -> Path:
        SETTINGS.dbt.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="call-", dir=SETTINGS.dbt))


def dbt_resource() -> DbtCommand:
    """dbt's command line on this project."""
    return DbtCommand(
        project_dir=os.fspath(DBT_PROJECT.project_dir),
        profiles_dir=os.fspath(DBT_PROJECT.profiles_dir),
        dbt_executable="bcrs-dbt",
        # nobody reads the manifest and the log file of a call, whose words go to Dagster: seconds in a small build
        global_config_flags=["--no-write-json", "--log-level-file", "none"],
    )


class WarehouseBusyError(RuntimeError):
    """Another process holds the warehouse file."""


class Warehouse(dg.ConfigurableResource):
    """The DuckDB warehouse file: short connections, whole-table and whole-week writes in one transaction."""

    path: str

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for a few statements; retried while another process holds the file.

        Raises
        ------
        WarehouseBusyError : the file stayed locked; says which process holds it.
        """
        file = _OPEN_FILES.setdefault(self.path, _OpenFile(self.path))
        with file.connection() as con:
            yield con

    def read(self, sql: str, parameters: Sequence[Any] | None = None) -> pl.DataFrame:
        """Rows of ``sql`` as a polars frame; ``?`` stand for ``parameters``, decimals stay decimals."""
        with self.connect() as con:
            # as variables: a relation with bound parameters is fetched twenty times slower than the same without
            for number, value in enumerate(parameters or []):
                con.execute(f"set variable parameter_{number} = ?", [value])
                sql = sql.replace("?", f"getvariable('parameter_{number}')", 1)
            return con.sql(sql).pl()

    def exists(self, address: str) -> bool:
        """Is there a table or view at ``schema.name``."""
        if not Path(self.path).exists():
            return False
        schema, name = address.split(".")
        with self.connect() as con:
            found = con.execute(
                "select count(*) from information_schema.tables where table_schema = ? and table_name = ?",
                [schema, name],
            ).fetchone()
        return bool(found and found[0])

    def replace_table(self, contract: TableContract, frame: pl.DataFrame) -> int:
        """Replace the whole table by ``frame`` in one transaction; returns rows written."""
        return self._write(contract, frame, None, [])

    def replace_weeks(self, contract: TableContract, frame: pl.DataFrame, weeks: Sequence[date]) -> int:
        """Replace exactly ``weeks`` by ``frame`` in one transaction; returns rows written.

        Raises
        ------
        ValueError : ``frame`` holds a week that was not asked for.
        """
        strangers = sorted(set(frame["as_of_date"].unique().to_list()) - set(weeks))
        if strangers:
            raise ValueError(f"{contract.address}: rows of weeks that were not asked for: {strangers[:3]}")
        return self._write(contract, frame, "as_of_date", weeks)

    def replace_model(self, contract: TableContract, frame: pl.DataFrame, model_id: str) -> int:
        """Replace the rows of one model in one transaction; rows of other models stay."""
        return self._write(contract, frame, "model_id", [model_id])

    def _write(self, contract: TableContract, frame: pl.DataFrame, key: str | None, values: Sequence[Any]) -> int:
        columns = ", ".join(f'"{c.name}" {_SQL_TYPES[c.dtype]}' for c in contract.columns)
        frame = contract.conform(frame)
        with self.connect() as con:
            con.execute("begin")
            try:
                con.execute(f"create schema if not exists {contract.schema}")
                if key is None or not _has_columns(con, contract):
                    # changed columns: a table of other columns cannot take these rows, and is rebuilt by a backfill
                    con.execute(f"drop table if exists {contract.address}")
                con.execute(f"create table if not exists {contract.address} ({columns})")
                _comment(con, contract)
                if key is not None:
                    # as text, so that one statement serves dates and ids
                    wanted = [str(value) for value in values]
                    con.execute(
                        f"delete from {contract.address} where {key}::varchar in (select unnest(?::varchar[]))",
                        [wanted],
                    )
                con.register("_incoming", frame.to_arrow())
                con.execute(f"insert into {contract.address} by name select * from _incoming")
                con.unregister("_incoming")
                con.execute("commit")
            except BaseException:
                con.execute("rollback")
                raise
        return frame.height


class _OpenFile:
    """A warehouse file as this process holds it, shared by connections that follow each other closely.

    Opening and closing a file of some hundred tables takes 80 ms, and a run of a small bank asks for hundreds of
    connections. An open file keeps every other process out, so it is closed when nobody has asked for two seconds:
    an eighth of what others wait for it (see :func:`_open`).
    """

    IDLE_SECONDS = 2.0

    def __init__(self, path: str) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._users = 0
        self._used = 0.0

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._guard:
            if self._database is None:
                self._database = _open(self.path)
                threading.Thread(target=self._close_when_idle, args=(self._database,), daemon=True).start()
            self._users += 1
            con = self._database.cursor()
        try:
            yield con
        finally:
            con.close()
            with self._guard:
                self._users -= 1
                self._used = time.monotonic()

    def _close_when_idle(self, database: duckdb.DuckDBPyConnection) -> None:
        # one thread for as long as the file is open: a timer for each connection takes as long as opening one
        left = self.IDLE_SECONDS
        while True:
            time.sleep(left)
            with self._guard:
                if self._database is not database:
                    return
                left = self.IDLE_SECONDS - (0.0 if self._users else time.monotonic() - self._used)
                if left <= 0:
                    self._close()
                    return

    def release(self) -> None:
        """Close the file unless a connection is in use."""
        with self._guard:
            if self._users == 0:
                self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


_OPEN_FILES: dict[str, _OpenFile] = {}

_SETTINGS_OF_A_FILE: dict[str, Any] = {
    # a missing table must be an error, not whatever Python object bears its name
    "python_enable_replacements": False,
    "memory_limit": MEMORY_LIMIT,
    # text goes to polars in the form polars holds it in, not through one it has to be copied from
    "arrow_output_version": "1.4",
    "produce_arrow_string_view": True,
}
"""For the whole file and every connection to it: set for each connection, they would be half of what one costs."""


def release_files() -> None:
    """Close every warehouse file this process holds idle: before another process, or its removal, needs it."""
    for file in _OPEN_FILES.values():
        file.release()


atexit.register(release_files)


@retry(
    retry=retry_if_exception_type(WarehouseBusyError),
    stop=stop_after_attempt(8),
    wait=wait_exponential_jitter(multiplier=0.2, max=5),
    reraise=True,
)
def _open(path: str) -> duckdb.DuckDBPyConnection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        database = duckdb.connect(path, config=_SETTINGS_OF_A_FILE)
        database.execute("set global TimeZone = 'UTC'")
        return database
    except duckdb.IOException as error:
        if "lock" not in str(error).lower():
            raise
        raise WarehouseBusyError(
            f"The warehouse {path} is in use by another process ({str(error).splitlines()[0]}). "
            "Wait for the other run to end, or stop it; to look at results meanwhile use `make sql`."
        ) from error


def _has_columns(con: duckdb.DuckDBPyConnection, contract: TableContract) -> bool:
    present = con.execute(
        "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
        "order by ordinal_position",
        [contract.schema, contract.name],
    ).fetchall()
    return [p[0] for p in present] == contract.names


def _comment(con: duckdb.DuckDBPyConnection, contract: TableContract) -> None:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    # in one call: a call each takes twice as long
    con.execute(
        f"comment on table {contract.address} is {quoted(contract.description)};"
        + ";".join(
            f'comment on column {contract.address}."{c.name}" is {quoted(f"{c.description} [{c.unit}]")}'
            for c in contract.columns
        )
    )
