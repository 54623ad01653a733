"""What every adapter shares: its interface, and the step from payments to one row per client side.

An adapter reads the files of one published format and writes a landing folder. It renames, splits and
joins what is published; it derives nothing that the source does not say, and what a source lacks is
named with a reason instead of being filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from ml_assets.config import SourceConfig
from ml_assets.sources.errors import InputError
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import explained

EPOCH = date(2023, 1, 2)
"""Date given to step 0 of sources that count steps instead of naming dates: a Monday, so that weeks start whole."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Adapter:
    """One published format.

    Attributes
    ----------
    name : what stands before the colon in ``amlsim:<folder>``.
    description : the data set in one sentence.
    find : files of the format in a folder, by role; raises InputError naming what is missing.
    build : writes the landing folder from those files.
    """

    name: str
    description: str
    find: Callable[[Path], dict[str, Path]]
    build: Callable[[duckdb.DuckDBPyConnection, dict[str, Path], LandingDraft, SourceConfig], None]


def files_in(folder: Path) -> list[Path]:
    """Files of a folder, sorted by name.

    Errors
    ------
    InputError : no such folder, not a folder, or no permission.
    """
    if not folder.exists():
        raise InputError("the folder does not exist", "Check the path.", file=folder)
    if not folder.is_dir():
        raise InputError("this is a file where a folder was expected", "Name the folder it lies in.", file=folder)
    with explained(folder):
        return sorted(p for p in folder.iterdir() if p.is_file())


def pick(folder: Path, names: tuple[str, ...]) -> Path | None:
    """First file of ``folder`` that bears one of ``names``, case ignored; ``*x`` stands for any name that ends in x."""
    found = files_in(folder)
    for name in (name.lower() for name in names):
        for path in found:
            if path.name.lower() == name or (name.startswith("*") and path.name.lower().endswith(name[1:])):
                return path
    return None


def need(folder: Path, names: tuple[str, ...], what: str) -> Path:
    """As :func:`pick`, but a missing file is an error that lists what is there."""
    path = pick(folder, names)
    if path is None:
        there = ", ".join(p.name for p in files_in(folder)) or "nothing"
        raise InputError(f"{what} is missing (looked for {' or '.join(names)}; found {there})", "Add it.", file=folder)
    return path


def csv_source(path: Path, columns: list[str] | None = None) -> str:
    """SQL that reads a published CSV file as text, in file order; ``columns`` renames by position."""
    literal = str(path).replace("'", "''")
    names = "" if columns is None else ", names=[" + ", ".join(f"'{c}'" for c in columns) + "]"
    return f"read_csv('{literal}', header=true, all_varchar=true, delim=',', quote='\"', escape='\"'{names})"


def value_map(column: str, mapping: dict[str, str], default: str) -> str:
    """SQL that maps the lower-case text of ``column`` by ``mapping``; anything else gives the SQL ``default``."""
    cases = " ".join(f"when '{key}' then '{value}'" for key, value in sorted(mapping.items()))
    return f"case lower(trim({column})) {cases} else {default} end"


def write_sides(
    con: duckdb.DuckDBPyConnection,
    draft: LandingDraft,
    *,
    country: bool = False,
    channel: bool = False,
    currency: bool = False,
) -> int:
    """Write ``transactions``: a row for each side of a payment that is a client.

    Reads the tables ``payments`` (n, ref, at, sender, receiver, sender_amount, receiver_amount and, where
    asked for, sender_country, receiver_country, channel, sender_currency, receiver_currency; one row per
    payment, ``n`` its number in the source) and ``clients`` (client_id). Sorted by time, payment and side.
    A null sender or receiver is a party the source does not identify.
    """

    def side(client: str, other: str, direction: str, suffix: str) -> str:
        columns = [
            f"ref || '-{suffix}' as txn_id",
            f"{client} as client_id",
            '"at" as txn_date',
            f"{client}_amount as amount",
            f"'{direction}' as direction",
            f"{other} as counterparty_id",
        ]
        if country:
            columns.append(f"{other}_country as counterparty_country")
        if channel:
            columns.append("channel")
        if currency:
            columns.append(f"{client}_currency as currency")
        columns.append(f"n, '{suffix}' as side")
        return f"select {', '.join(columns)} from payments semi join clients on client_id = {client}"

    both = f"{side('sender', 'receiver', 'outbound', 'out')} union all {side('receiver', 'sender', 'inbound', 'in')}"
    con.execute(f"create or replace temp view sides as {both}")
    return draft.write(con, "transactions", "select * exclude (n, side) from sides", "txn_date, txn_id")


def write_laundering(con: duckdb.DuckDBPyConnection, draft: LandingDraft) -> int:
    """Write ``truth/laundering_transactions``: txn_id, client_id and pattern (or null), one row per client side.

    Reads ``laundering`` (ref, sender, receiver, typology) and ``clients``.
    """
    return draft.write_truth(
        con,
        "laundering_transactions",
        """select ref || '-out' as txn_id, sender as client_id, typology as pattern
           from laundering semi join clients on client_id = sender
           union all
           select ref || '-in', receiver, typology from laundering semi join clients on client_id = receiver""",
        "txn_id",
    )


def write_labels(con: duckdb.DuckDBPyConnection, draft: LandingDraft, delay_days: int) -> int:
    """Write ``str_labels``: one row per client whose state is known, STR date = event date + delay.

    Also ``truth/launderers``: client_id, pattern (or null), start_date; one row per client with an event.

    Reads ``events`` (client_id, event_date: the client's first laundering transaction, typology or null),
    ``clients`` and ``undated`` (client_id: called launderers by the source, but without a dated event in
    the published transactions; they get no row, because no report date can follow).
    """
    rows = draft.write(
        con,
        "str_labels",
        f"""select c.client_id, (e.client_id is not null)::integer as str_flag,
                   e.event_date + {int(delay_days)}::integer as str_date
            from clients c left join events e using (client_id)
            where e.client_id is not null or c.client_id not in (select client_id from undated)""",
        "client_id",
    )
    draft.write_truth(
        con,
        "launderers",
        "select client_id, typology as pattern, event_date as start_date from events",
        "client_id",
    )
    count = con.execute("select count(*) from undated").fetchone()
    if count and count[0]:
        draft.notes.append(
            f"{count[0]} clients are called launderers by the source but take part in no laundering transaction of "
            "the published log; without an event there is no report date, so they have no row in str_labels."
        )
    return rows
