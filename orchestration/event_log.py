"""Dagster's event log in one SQLite file, through one engine instead of a new one per event.

A backfill writes an event per asset and week. Dagster's consolidated SQLite log makes an engine, a connection and a
freshly compiled statement for each of them, which costs more than the week's features of a small bank. This class
changes only how connections are made and that a batch is one transaction; tables, migrations and queries are Dagster's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from dagster import EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine, event


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """One SQLite file for all runs, with pooled connections.

    A commit is handed to the operating system and not forced to disk: a killed process loses nothing, a power cut
    may lose the newest events of the log. Tables of the warehouse are written by DuckDB and do not depend on it.
    """

    @cached_property
    def _engine(self) -> Engine:
        engine = create_engine(
            self._conn_string,
            # Dagster's UI reads the log in threads of its own
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _write_ahead)
        return engine

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that belong together in one transaction, as ``store_event`` would one after the other.

        Dagster hands over the weeks of one asset, or what a run plans, where ``DAGSTER_EVENT_BATCH_SIZE`` is set. It
        does so in no order; here the newest week comes last and is what the asset's page shows. The table of assets
        holds one row an asset with its newest event, so only the last event of each is written there.
        """
        events = sorted(events, key=lambda e: e.get_dagster_event().partition or "")
        rows = SqlEventLogStorageTable
        with self._connect() as conn:
            numbered = conn.execute(
                rows.insert().returning(rows.c.id, sort_by_parameter_order=True),
                [self._event_to_row(e) for e in events],
            )
            ids: list[int] = list(numbered.scalars())
            of_assets = [
                (e, i)
                for e, i in zip(events, ids, strict=True)
                if e.dagster_event_type in ASSET_EVENTS and e.get_dagster_event().asset_key
            ]
            self._store_asset_event_tags(conn, [e for e, _ in of_assets], [i for _, i in of_assets])
            newest = {(e.dagster_event_type, e.get_dagster_event().asset_key): (e, i) for e, i in of_assets}
            for event, number in newest.values():
                self._store_asset_event(conn, event, number)
        for event, number in zip(events, ids, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, number)

    def has_table(self, table_name: str) -> bool:
        """Is the table there; asked of the file once, because Dagster asks with every event and tables stay."""
        if table_name not in self._tables:
            if not super().has_table(table_name):
                return False
            self._tables.add(table_name)
        return True

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        # asked of the file with every materialisation otherwise; columns stay, too
        if column_name not in self._columns:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._columns.add(column_name)
        return True

    @cached_property
    def _columns(self) -> set[str]:
        return set()

    @cached_property
    def _tables(self) -> set[str]:
        return set()

    def dispose(self) -> None:
        """Close the pooled connections."""
        super().dispose()
        if "_engine" in self.__dict__:
            self._engine.dispose()


def _write_ahead(connection: Any, _: Any) -> None:
    # safe in write-ahead mode, which the file has had since it was made
    connection.execute("pragma synchronous = normal")
