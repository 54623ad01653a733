"""From the landing folder into schema ``raw``: everything as received, all text, nothing lost.

A record is either in ``raw.<entity>`` or, where it cannot be split into columns, in ``raw.rejects`` with its
line and reason. Values are not judged here; that is staging's work. A call is one transaction: a crash
leaves the state of the call before.

``raw`` mirrors the folder. A file is known by its content, so new files are added alone, and a byte-equal
copy is not loaded twice; a changed or removed file, or a changed ``source.json``, reloads everything.

Each transactions file is a delivery, numbered in order of arrival (by name where several arrive together).
A row of a later delivery without ``ingested_at`` cannot have been known before the newest transaction of
the deliveries before it: ``_known_floor`` is the day after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from ml_assets.sources.adapter import files_in
from ml_assets.sources.careful_csv import kept_schema, read_batches
from ml_assets.sources.errors import InputError
from ml_assets.sources.input_contract import ENTITIES, InputEntity, entity_of
from ml_assets.sources.landing import DESCRIPTION, describe, fingerprint
from ml_assets.sources.readers import TableFile, content_hash, explained, probe, scan_text

OUTLIER_GAP_DAYS = 366
"""Dates separated from the main body of dates by more than this are typing errors, not the newest transaction."""

_BOOKKEEPING = {
    "deliveries": (
        "_delivery_id integer, entity varchar, file varchar, content_hash varchar, rows bigint, rejects bigint, "
        "columns varchar, _known_floor date"
    ),
    "dataset": (
        "source varchar, base_currency varchar, reporting_delay_days integer, notes varchar, source_hash varchar"
    ),
    "not_available": "column_name varchar, reason varchar",
    "rejects": (
        "_file varchar, _row bigint, entity varchar, column_name varchar, value varchar, reason varchar, "
        "_delivery_id integer"
    ),
}


@dataclass
class IngestReport:
    """What a call did.

    Attributes
    ----------
    source, base_currency, reporting_delay_days : as now in ``raw.dataset``.
    is_reload : earlier content was dropped, or the base currency or delay changed: nothing computed from it holds.
    is_unchanged : nothing was loaded and nothing changed.
    loaded : files loaded by this call, by name.
    skipped : files whose content was there already.
    rows_in : records in the files loaded by this call, by entity.
    rows_kept : of these, records in ``raw.<entity>``.
    rows_rejected : of these, records in ``raw.rejects``; rows_in = rows_kept + rows_rejected.
    ignored_columns : header names outside the contract, by file.
    not_available : contract columns without data, with the reason.
    """

    source: str = ""
    base_currency: str = ""
    reporting_delay_days: int = 0
    is_reload: bool = False
    is_unchanged: bool = False
    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    rows_in: dict[str, int] = field(default_factory=dict)
    rows_kept: dict[str, int] = field(default_factory=dict)
    rows_rejected: dict[str, int] = field(default_factory=dict)
    ignored_columns: dict[str, list[str]] = field(default_factory=dict)
    not_available: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Landed:
    """A file in the landing folder with its entity and content hash."""

    path: Path
    entity: InputEntity
    content_hash: str

    @property
    def key(self) -> tuple[str, str]:
        return self.entity.name, self.content_hash


class _NeedsCareError(Exception):
    """The fast reader cannot be trusted with this file."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


def landing_files(landing: Path) -> list[Path]:
    """Input files and ``source.json`` of a landing folder, sorted by name; other files are not ours."""
    return [path for path in files_in(landing) if entity_of(path) or path.name == DESCRIPTION]


def ingest(
    con: duckdb.DuckDBPyConnection,
    landing: Path,
    *,
    default_currency: str = "EUR",
    default_delay_days: int = 30,
) -> IngestReport:
    """Bring schema ``raw`` up to date with the landing folder, in one transaction.

    Parameters
    ----------
    con : connection to the warehouse, not inside a transaction.
    landing : folder with the files of the input contract and, if an adapter wrote it, ``source.json``.
    default_currency : base currency where ``source.json`` names none and the data hold none or several.
    default_delay_days : reporting delay where ``source.json`` names none.

    Returns
    -------
    IngestReport : what was loaded, skipped, rejected.

    Errors
    ------
    InputError : folder or required file missing, unreadable, empty or damaged file, required column missing. The
        tables are then as before the call.
    """
    careful: set[Path] = set()
    landed = _landed(landing)
    tables = {item.path: probe(item.path, item.entity) for item in landed}
    while True:
        con.begin()
        try:
            report = _ingest(con, landing, landed, tables, careful, default_currency, default_delay_days)
            con.commit()
            return report
        except _NeedsCareError as doubt:
            con.rollback()
            if doubt.path in careful:
                raise
            careful.add(doubt.path)
        except BaseException:
            con.rollback()
            raise


def _landed(landing: Path) -> list[_Landed]:
    found = []
    for path in landing_files(landing):
        entity = entity_of(path)
        if entity is not None:
            with explained(path):
                if path.stat().st_size == 0:
                    raise InputError("the file is empty (0 bytes)", "Deliver it again or remove it.", file=path)
            found.append(_Landed(path, entity, content_hash(path)))
    for entity in ENTITIES.values():
        if entity.is_required and not any(item.entity is entity for item in found):
            there = ", ".join(p.name for p in files_in(landing)) or "nothing"
            raise InputError(
                f"no file for {entity.name} (found {there})",
                f"Add {entity.name}.csv, {entity.name}.csv.gz or {entity.name}.parquet.",
                file=landing,
            )
    return found


def _ingest(
    con: duckdb.DuckDBPyConnection,
    landing: Path,
    landed: list[_Landed],
    tables: dict[Path, TableFile],
    careful: set[Path],
    default_currency: str,
    default_delay_days: int,
) -> IngestReport:
    """The body of :func:`ingest`, inside its transaction."""
    report = IngestReport()
    description = describe(landing)
    source_path = landing / DESCRIPTION
    source_hash = fingerprint([source_path]) if source_path.is_file() else ""
    arrived: dict[tuple[str, str], int] = {}
    before: tuple[object, ...] | None = None
    if _has_tables(con):
        for name, digest, delivery in con.execute(
            "select entity, content_hash, _delivery_id from raw.deliveries"
        ).fetchall():
            arrived[name, digest] = delivery
        before = con.execute("select base_currency, reporting_delay_days, source_hash from raw.dataset").fetchone()
        gone = set(arrived) - {item.key for item in landed}
        report.is_reload = bool(gone) or before is None or before[2] != source_hash
    if report.is_reload or not _has_tables(con):
        _create_tables(con)

    # files known from before keep their order of arrival when everything is reloaded
    queue = sorted(landed, key=lambda item: (arrived.get(item.key, 1 << 30), item.path.name))
    seen = set() if report.is_reload else set(arrived)
    todo = []
    for item in queue:
        if item.key in seen:
            report.skipped.append(item.path.name)
        else:
            seen.add(item.key)
            todo.append(item)
    for item, delivery in _numbered(con, todo, arrived if report.is_reload else {}):
        _load(con, item, tables[item.path], delivery, item.path in careful, report)
    for entity in ENTITIES.values():
        count = con.execute(f"select count(*) from raw.{entity.name}").fetchone()
        rejected = con.execute("select count(*) from raw.rejects where entity = ?", [entity.name]).fetchone()
        if entity.is_required and count == (0,) and rejected == (0,):
            raise InputError(
                f"the files for {entity.name} have a header and no rows", "Export them again.", file=landing
            )

    _describe_dataset(con, description, source_hash, default_currency, default_delay_days, report)
    if before is not None and before[:2] != (report.base_currency, report.reporting_delay_days):
        report.is_reload = True
    report.is_unchanged = not todo and not report.is_reload
    return report


def _has_tables(con: duckdb.DuckDBPyConnection) -> bool:
    """True where all raw tables are there with the columns of this version."""
    found = con.execute("""
        select table_name, string_agg(column_name, ',' order by column_index) from duckdb_columns()
        where schema_name = 'raw' and database_name = current_database() group by table_name""").fetchall()
    present = dict(found)
    wanted = {name: ",".join(part.split()[0] for part in text.split(", ")) for name, text in _BOOKKEEPING.items()}
    wanted |= {
        e.name: ",".join((*e.columns, "_file", "_row", "_delivery_id", "_known_floor")) for e in ENTITIES.values()
    }
    return all(present.get(name) == columns for name, columns in wanted.items())


def _create_tables(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create schema if not exists raw")
    for name, columns in _BOOKKEEPING.items():
        con.execute(f"create or replace table raw.{name} ({columns})")
    for entity in ENTITIES.values():
        text = ", ".join(f"{column} varchar" for column in entity.columns)
        con.execute(
            f"create or replace table raw.{entity.name} "
            f"({text}, _file varchar, _row bigint, _delivery_id integer, _known_floor date)"
        )


def _numbered(
    con: duckdb.DuckDBPyConnection, todo: list[_Landed], earlier: dict[tuple[str, str], int]
) -> list[tuple[_Landed, int]]:
    """Delivery number of each file, in loading order: each transactions file a new one.

    Other files belong to the first delivery of this call; where there are no transactions in the call they
    form a delivery of their own. On a reload, files keep the numbers they had.
    """
    found = con.execute("select coalesce(max(_delivery_id), 0) from raw.deliveries").fetchone()
    following = max([found[0] if found else 0, *earlier.values()]) + 1
    first = following
    numbered = []
    for item in todo:
        if item.key in earlier:
            numbered.append((item, earlier[item.key]))
        elif item.entity.name == "transactions":
            numbered.append((item, following))
            following += 1
        else:
            numbered.append((item, first))
    return sorted(numbered, key=lambda pair: (pair[1], pair[0].entity.name != "transactions", pair[0].path.name))


def _load(
    con: duckdb.DuckDBPyConnection,
    item: _Landed,
    table: TableFile,
    delivery: int,
    is_careful: bool,
    report: IngestReport,
) -> None:
    """Load one file, record its delivery, and count."""
    name = item.entity.name
    floor = _known_floor(con, delivery)
    before = _count(con, f"raw.{name}"), _count(con, "raw.rejects")
    if table.kind == "parquet":
        _load_parquet(con, item, table, delivery, floor)
    elif is_careful:
        _load_carefully(con, item, table, delivery, floor)
    else:
        _load_csv(con, item, table, delivery, floor)
    kept, rejected = _count(con, f"raw.{name}") - before[0], _count(con, "raw.rejects") - before[1]
    con.execute(
        "insert into raw.deliveries values (?, ?, ?, ?, ?, ?, ?, ?)",
        [delivery, name, item.path.name, item.content_hash, kept + rejected, rejected, ",".join(table.columns), floor],
    )
    report.loaded.append(item.path.name)
    report.rows_in[name] = report.rows_in.get(name, 0) + kept + rejected
    report.rows_kept[name] = report.rows_kept.get(name, 0) + kept
    report.rows_rejected[name] = report.rows_rejected.get(name, 0) + rejected
    if table.ignored:
        report.ignored_columns[item.path.name] = list(table.ignored)


def _count(con: duckdb.DuckDBPyConnection, address: str) -> int:
    row = con.execute(f"select count(*) from {address}").fetchone()
    return int(row[0]) if row else 0


def _known_floor(con: duckdb.DuckDBPyConnection, delivery: int) -> date | None:
    """Day after the newest transaction of earlier deliveries; None for the first delivery.

    Days more than :data:`OUTLIER_GAP_DAYS` away from the stretch of days that holds most rows do not count.
    """
    row = con.execute(
        f"""
        with days as (
            select coalesce(try_cast(txn_date as timestamp), try_strptime(txn_date, ['%Y%m%d', '%d.%m.%Y', '%d/%m/%Y']))
                   ::date as day, count(*) as rows
            from raw.transactions where _delivery_id < ? group by 1 having day is not null
        ), stretches as (
            select *, sum(is_start::integer) over (order by day) as stretch
            from (
                select *, coalesce(day - lag(day) over (order by day) > {OUTLIER_GAP_DAYS}, true) as is_start from days
            )
        )
        select max(day) + 1 from stretches group by stretch order by sum(rows) desc, stretch desc limit 1""",
        [delivery],
    ).fetchone()
    return row[0] if row else None


def _literal(value: object) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tail(item: _Landed, row: str, delivery: int, floor: date | None) -> str:
    return f"{_literal(item.path.name)}, {row}, {delivery}, {_literal(floor)}::date"


def _load_parquet(
    con: duckdb.DuckDBPyConnection, item: _Landed, table: TableFile, delivery: int, floor: date | None
) -> None:
    """Insert a Parquet file, each value as the text that reads back to the same value."""
    source = f"read_parquet({_literal(item.path)}, file_row_number=true, binary_as_string=true)"
    try:
        types = {name: kind for name, kind, *_ in con.execute(f"describe select * from {source}").fetchall()}
        values = []
        for column in item.entity.columns:
            if column not in table.columns:
                values.append("null")
                continue
            name = table.header[table.columns[column]]
            values.append(_as_text(_identifier(name), str(types[name])))
        con.execute(
            f"insert into raw.{item.entity.name} "
            f"select {', '.join(values)}, {_tail(item, 'file_row_number + 1', delivery, floor)} from {source}"
        )
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
        raise InputError(
            f"the Parquet file cannot be read ({str(error).splitlines()[0]})", "Write it again.", file=item.path
        ) from error


def _as_text(expression: str, kind: str) -> str:
    """SQL for the text of a typed value: ISO dates, UTC timestamps, exact decimals, shortest floats."""
    if kind == "VARCHAR":
        return f"nullif({expression}, '')"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({expression}))::varchar"
    if kind.startswith("TIMESTAMP"):
        return f"{expression}::timestamp::varchar"
    return f"{expression}::varchar"


def _load_csv(
    con: duckdb.DuckDBPyConnection, item: _Landed, table: TableFile, delivery: int, floor: date | None
) -> None:
    """Insert a well-formed CSV file with DuckDB's reader.

    Errors
    ------
    _NeedsCareError : the file has a malformed record, or quoted line ends, or text that is not UTF-8.
    """
    facts = scan_text(item.path)
    if facts.undecodable is not None:
        raise _NeedsCareError(item.path)
    position = {column: f"c{index}" for column, index in table.columns.items()}
    values = [f"nullif({position[c]}, '')" if c in position else "null" for c in item.entity.columns]
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(table.header)))
    compression = "gzip" if item.path.name.lower().endswith(".gz") else "none"
    # every option is stated: nothing about the file is guessed twice
    source = (
        f"read_csv({_literal(item.path)}, auto_detect=false, header=true, delim={_literal(table.delimiter)}, "
        f"quote='\"', escape='\"', columns={{{columns}}}, strict_mode=true, null_padding=false, "
        f"ignore_errors=false, compression='{compression}')"
    )
    try:
        # counting first costs a tenth of loading, and a damaged file is then not loaded twice
        records = _count(con, source)
        if facts.has_quotes and records != facts.lines - 1:
            # either a value spans lines or a broken quote has swallowed some: only a second look can tell
            raise _NeedsCareError(item.path)
        con.execute(
            f"insert into raw.{item.entity.name} "
            f"select {', '.join(values)}, {_tail(item, 'row_number() over ()', delivery, floor)} from {source}"
        )
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise _NeedsCareError(item.path) from error


def _load_carefully(
    con: duckdb.DuckDBPyConnection, item: _Landed, table: TableFile, delivery: int, floor: date | None
) -> None:
    """Insert a damaged CSV file, streaming; what cannot be split goes to ``raw.rejects``."""
    position = {column: f"c{index}" for column, index in table.columns.items()}
    values = [f"nullif({position[c]}, '')" if c in position else "null" for c in item.entity.columns]
    rejects: list[pa.Table] = []

    def kept() -> Iterator[pa.RecordBatch]:
        for batch in read_batches(table):
            for part in batch.kept:
                yield from part.to_batches()
            if batch.rejects:
                columns = zip(*((r.row, r.value, r.reason) for r in batch.rejects), strict=True)
                rejects.append(
                    pa.table(dict(zip(("record_number", "line", "reason"), map(list, columns), strict=True)))
                )

    con.register("careful_rows", pa.RecordBatchReader.from_batches(kept_schema(table), kept()))
    con.execute(
        f"insert into raw.{item.entity.name} "
        f"select {', '.join(values)}, {_tail(item, 'record_number', delivery, floor)} from careful_rows"
    )
    con.unregister("careful_rows")
    if rejects:
        con.register("careful_rejects", pa.concat_tables(rejects))
        con.execute(
            f"insert into raw.rejects select {_literal(item.path.name)}, record_number, "
            f"{_literal(item.entity.name)}, null, line, reason, {delivery} from careful_rejects"
        )
        con.unregister("careful_rejects")


def _describe_dataset(
    con: duckdb.DuckDBPyConnection,
    description: dict[str, object],
    source_hash: str,
    default_currency: str,
    default_delay_days: int,
    report: IngestReport,
) -> None:
    """Write ``raw.dataset`` and ``raw.not_available`` anew from the description and from what was loaded."""
    report.source = str(description.get("source") or "folder")
    delay = description.get("reporting_delay_days")
    report.reporting_delay_days = int(str(delay)) if delay is not None else default_delay_days
    currency = description.get("base_currency")
    if not currency:
        seen = con.execute(
            "select distinct upper(trim(currency)) from raw.transactions where trim(currency) <> '' limit 2"
        ).fetchall()
        currency = seen[0][0] if len(seen) == 1 else default_currency
    report.base_currency = str(currency)
    notes = description.get("notes") or []
    con.execute("delete from raw.dataset")
    con.execute(
        "insert into raw.dataset values (?, ?, ?, ?, ?)",
        [
            report.source,
            report.base_currency,
            report.reporting_delay_days,
            "\n".join(str(note) for note in notes) if isinstance(notes, list) else str(notes),
            source_hash,
        ],
    )
    stated = description.get("not_available") or {}
    reasons = {str(k): str(v) for k, v in stated.items()} if isinstance(stated, dict) else {}
    loaded: dict[str, set[str]] = {}
    for name, columns in con.execute("select entity, columns from raw.deliveries").fetchall():
        loaded.setdefault(name, set()).update(columns.split(","))
    for entity in ENTITIES.values():
        if entity.name not in loaded:
            reasons.setdefault(entity.name, f"no {entity.name} file was delivered")
            continue
        for column in entity.columns:
            if column not in loaded[entity.name] and column not in entity.bookkeeping:
                reasons.setdefault(column, f"the {entity.name} files have no such column")
    report.not_available = dict(sorted(reasons.items()))
    con.execute("delete from raw.not_available")
    if reasons:
        con.executemany("insert into raw.not_available values (?, ?)", sorted(reasons.items()))
