"""Writes replace exactly what they name, in one transaction; readers see a whole generation."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from ml_assets.contracts import Column, TableContract
from orchestration.defs.partitions import AS_OF_WEEKS, register_weeks
from orchestration.defs.resources import Warehouse, _OpenFile, release_files
from orchestration.defs.serving import publish

MONDAY = date(2024, 1, 1)
WEEKS = [MONDAY + timedelta(days=7 * i) for i in range(3)]
CONTRACT = TableContract(
    "features",
    "feat_test",
    "One row per client and as-of date; made for this test.",
    ("client_id", "as_of_date"),
    (
        Column("client_id", "text", "Client."),
        Column("as_of_date", "date", "As-of Monday."),
        Column("p1_test_ratio", "number", "A number.", "ratio", null_rule="where unknown"),
    ),
)
MODEL_CONTRACT = TableContract(
    "models",
    "by_model",
    "One row per model; made for this test.",
    ("model_id",),
    (Column("model_id", "text", "Model."), Column("metric_value", "number", "A number.", "score")),
)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse" / "bcrs.duckdb"))


def rows(weeks: list[date], value: float | None, clients: tuple[str, ...] = ("a", "b")) -> pl.DataFrame:
    return pl.DataFrame(
        [{"client_id": c, "as_of_date": w, "p1_test_ratio": value} for w in weeks for c in clients],
        schema={"client_id": pl.String, "as_of_date": pl.Date, "p1_test_ratio": pl.Float64},
    )


def read(warehouse: Warehouse) -> list[tuple]:
    return warehouse.read("from features.feat_test order by as_of_date, client_id").rows()


def test_replaces_exactly_the_named_week(warehouse: Warehouse) -> None:
    assert warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS) == 6
    # one client less and another value: nothing of the old week may survive, nothing of other weeks may change
    warehouse.replace_weeks(CONTRACT, rows([WEEKS[1]], 2.0, ("b",)), [WEEKS[1]])
    assert read(warehouse) == [
        ("a", WEEKS[0], 1.0),
        ("b", WEEKS[0], 1.0),
        ("b", WEEKS[1], 2.0),
        ("a", WEEKS[2], 1.0),
        ("b", WEEKS[2], 1.0),
    ]


def test_a_named_week_without_rows_is_emptied(warehouse: Warehouse) -> None:
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    warehouse.replace_weeks(CONTRACT, rows([], 1.0), [WEEKS[0]])
    assert {r[1] for r in read(warehouse)} == set(WEEKS[1:])


def test_twice_is_the_same_as_once(warehouse: Warehouse) -> None:
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    once = read(warehouse)
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    assert read(warehouse) == once


def test_unasked_week_is_refused_and_nothing_is_written(warehouse: Warehouse) -> None:
    warehouse.replace_weeks(CONTRACT, rows([WEEKS[0]], 1.0), [WEEKS[0]])
    with pytest.raises(ValueError, match="not asked for"):
        warehouse.replace_weeks(CONTRACT, rows(WEEKS[:2], 2.0), [WEEKS[0]])
    assert read(warehouse) == [("a", WEEKS[0], 1.0), ("b", WEEKS[0], 1.0)]


class Refusing:
    """A connection that fails at the insert, after the delete of the same transaction has run."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.deleted = False

    def execute(self, sql: str, *more: object) -> object:
        if sql.startswith("delete from"):
            self.deleted = True
        if sql.startswith("insert into"):
            raise RuntimeError("the disk is full")
        return self.con.execute(sql, *more)

    def __getattr__(self, name: str) -> object:
        return getattr(self.con, name)


def test_failure_between_delete_and_insert_leaves_the_old_rows(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    before = read(warehouse)
    opened: list[Refusing] = []
    plain = Warehouse.connect

    @contextmanager
    def refusing(self: Warehouse) -> Iterator[Refusing]:
        with plain(self) as con:
            opened.append(Refusing(con))
            yield opened[-1]

    with monkeypatch.context() as patched:
        patched.setattr(Warehouse, "connect", refusing)
        with pytest.raises(RuntimeError, match="disk is full"):
            warehouse.replace_weeks(CONTRACT, rows([WEEKS[1]], 9.0), [WEEKS[1]])
    assert opened[0].deleted
    assert read(warehouse) == before


OTHER_PROCESS = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('select 1')"


def is_free(path: str) -> bool:
    """Can another process open the file."""
    return subprocess.run([sys.executable, "-c", OTHER_PROCESS, path], capture_output=True, check=False).returncode == 0


def test_file_is_shared_by_connections_and_free_for_others_when_released(warehouse: Warehouse) -> None:
    with warehouse.connect() as one, warehouse.connect() as two:
        one.execute("create table t as select 1 as n")
        one.execute("begin transaction")
        one.execute("insert into t values (2)")
        assert two.execute("select count(*) from t").fetchone() == (1,), "a transaction is seen before its end"
        one.execute("rollback")
        release_files()
        assert two.execute("select count(*) from t").fetchone() == (1,), "closed while in use"
        assert not is_free(warehouse.path)
    release_files()
    assert is_free(warehouse.path)


def test_file_is_free_for_others_soon_after_the_last_connection(warehouse: Warehouse) -> None:
    with warehouse.connect() as con:
        con.execute("create table t as select 1 as n")
    deadline = time.monotonic() + 60
    while not is_free(warehouse.path):
        assert time.monotonic() < deadline, "the file stays locked"


def test_a_failed_statement_leaves_no_transaction_open(warehouse: Warehouse) -> None:
    def fail() -> None:
        with warehouse.connect() as con:
            con.execute("begin transaction")
            con.execute("create table lost as select 1")
            con.execute("from missing_table")

    with pytest.raises(duckdb.CatalogException):
        fail()
    assert not warehouse.exists("main.lost")


def test_changed_columns_make_the_table_anew(warehouse: Warehouse) -> None:
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    wider = TableContract(
        CONTRACT.schema,
        CONTRACT.name,
        CONTRACT.description,
        CONTRACT.grain,
        (*CONTRACT.columns, Column("p1_more_count", "integer", "A count.", "count", null_rule="where unknown")),
    )
    more = rows([WEEKS[2]], 3.0).with_columns(p1_more_count=pl.lit(1, pl.Int64))
    warehouse.replace_weeks(wider, more, [WEEKS[2]])
    assert {r[1] for r in read(warehouse)} == {WEEKS[2]}


def test_a_model_replaces_only_its_own_rows(warehouse: Warehouse) -> None:
    for model, value in (("m1", 1.0), ("m2", 2.0), ("m1", 3.0)):
        frame = pl.DataFrame({"model_id": [model], "metric_value": [value]})
        warehouse.replace_model(MODEL_CONTRACT, frame, model)
    assert warehouse.read("from models.by_model order by model_id").rows() == [("m1", 3.0), ("m2", 2.0)]


def test_columns_carry_their_description(warehouse: Warehouse) -> None:
    warehouse.replace_weeks(CONTRACT, rows(WEEKS, 1.0), WEEKS)
    found = warehouse.read("select comment from duckdb_columns() where column_name = 'p1_test_ratio'").item()
    assert found == "A number. [ratio]"


def test_partitions_are_ascending_whatever_the_order_of_arrival() -> None:
    name = AS_OF_WEEKS.name or ""
    text = [w.isoformat() for w in WEEKS]
    with dg.DagsterInstance.ephemeral() as instance:
        register_weeks(instance, [WEEKS[1]])
        register_weeks(instance, [WEEKS[2], WEEKS[1]])
        assert list(instance.get_dynamic_partitions(name)) == text[1:]
        # an older week appears, then the newest goes: ranges follow insertion order, so keys are written anew
        register_weeks(instance, WEEKS)
        assert list(instance.get_dynamic_partitions(name)) == text
        register_weeks(instance, WEEKS[:2])
        assert list(instance.get_dynamic_partitions(name)) == text[:2]


def fill(warehouse: Warehouse, generation: int) -> None:
    with warehouse.connect() as con:
        for table in ("marts.fct_one", "quality.row_balance", "features.not_for_readers"):
            con.execute(f"create schema if not exists {table.split('.')[0]}")
            con.execute(f"create or replace table {table} as select {generation} as generation")
            con.execute(f"comment on column {table}.generation is 'whose ''one'''")


def generations(con: duckdb.DuckDBPyConnection) -> tuple:
    return con.sql("select a.generation, b.generation from marts.fct_one a cross join quality.row_balance b").fetchall()


def test_a_reader_sees_the_old_generation_or_the_new_one(warehouse: Warehouse, tmp_path: Path) -> None:
    target = tmp_path / "serving" / "marts_serving.duckdb"
    fill(warehouse, 1)
    assert publish(warehouse, target) == {"marts.fct_one": 1, "quality.row_balance": 1}
    # what a reader holds open is not what its path says after the rename; another process opens it, as analysts do
    copy = tmp_path / "held.duckdb"
    copy.hardlink_to(target)
    fill(warehouse, 2)
    with duckdb.connect(str(copy), read_only=True) as held:
        publish(warehouse, target)
        assert generations(held) == [(1, 1)]
        with duckdb.connect(str(target), read_only=True) as fresh:
            assert generations(fresh) == [(2, 2)]
            comment = fresh.sql("select comment from duckdb_columns() where table_name = 'fct_one'").fetchone()
            assert comment == ("whose 'one'",)
            schemas = fresh.sql("select distinct schema_name from duckdb_tables()").fetchall()
            assert ("features",) not in schemas
    assert not target.with_suffix(".partial").exists()


def test_a_failed_publication_leaves_the_old_file(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "marts_serving.duckdb"
    fill(warehouse, 1)
    publish(warehouse, target)
    fill(warehouse, 2)

    def broken(*_: object) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", broken)
        with pytest.raises(OSError, match="killed here"):
            publish(warehouse, target)
    with duckdb.connect(str(target), read_only=True) as con:
        assert generations(con) == [(1, 1)]
    publish(warehouse, target)
    with duckdb.connect(str(target), read_only=True) as con:
        assert generations(con) == [(2, 2)]


def test_a_file_stays_open_in_use_and_is_closed_when_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_OpenFile, "IDLE_SECONDS", 0.3)
    path = str(tmp_path / "bcrs.duckdb")
    file = _OpenFile(path)

    def is_open() -> bool:
        # a writer keeps every other process out
        code = f"import duckdb; duckdb.connect({path!r})"
        return (
            subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode != 0
        )

    with file.connection() as con:
        con.execute("create table seen as select 1 as number")
        time.sleep(1.0)
        assert is_open()
    until = time.monotonic() + 30
    while is_open() and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_open()
    # the next one opens it again and finds what was written
    with file.connection() as con:
        assert con.sql("from seen").fetchall() == [(1,)]
    file.release()
    assert not is_open()
