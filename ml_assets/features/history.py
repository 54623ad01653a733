"""Cleaned transactions as sorted arrays, and the window slices every pillar works on.

The point-in-time law lives here: ``History.window`` gives, for each (client, as-of date), the range of
rows with ``as_of - days <= txn_at < as_of``. A row in that range still has to satisfy
``known_day[row] < as_of_day``; kernels check it with :attr:`History.known_day` because late rows are
rare and a second sort for them would cost more than the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import numpy as np
import polars as pl
from joblib import Parallel, cpu_count, delayed
from numba import njit
from numpy.typing import NDArray

DAY_US = 86_400_000_000
"""Microseconds in a day."""

TRANSACTION_COLUMNS = (
    "txn_id",
    "client_id",
    "counterparty_id",
    "counterparty_country",
    "counterparty_sector",
    "channel",
    "currency",
    "direction",
    "amount_base",
    "is_counterparty_client",
    "is_time_known",
    "txn_at",
    "known_date",
    "counterparty_listed_date",
)
"""Columns of ``intermediate.int_transactions`` that pillars may use."""

_CODED: Final = {
    "client": "client_id",
    "counterparty": "counterparty_id",
    "country": "counterparty_country",
    "sector": "counterparty_sector",
    "channel": "channel",
    "currency": "currency",
}
"""Text columns that a history holds as codes, by the name it gives them."""


@dataclass(frozen=True)
class Codes:
    """Integer codes of a text column; code -1 is null and has no entry in ``values`` (sorted text)."""

    codes: NDArray[np.int32]
    values: NDArray[np.object_]

    def code_of(self, value: str) -> int:
        """Code of ``value``, or -2 (matches no row) if it does not occur."""
        at = int(np.searchsorted(self.values, value)) if len(self.values) else 0
        return at if at < len(self.values) and self.values[at] == value else -2

    def mask_of(self, values: set[str] | frozenset[str] | list[str]) -> NDArray[np.bool_]:
        """Boolean per row: is the row's value one of ``values``; null rows are False."""
        wanted = np.array([self.code_of(v) for v in sorted(values)], dtype=np.int32)
        return np.isin(self.codes, wanted)


def _encode(column: pl.Series) -> Codes:
    """Codes of a text column: equal texts meet in a hash table, and only the distinct ones are sorted."""
    # a join, or the enumeration polars offers, takes three times as long where texts are many
    for seed in count():
        codes, first = _groups(column.hash(seed).to_numpy())
        distinct = column.gather(first)
        # two texts of one hash are the rarest of events; another seed then tells them apart
        if _is_text(column, distinct, codes):
            break
    order = distinct.arg_sort().to_numpy()  # a null comes first
    nulls = distinct.null_count()
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32) - nulls
    _renumber(codes, rank)
    return Codes(codes, distinct.gather(order[nulls:]).to_numpy().astype(object))


def _is_text(column: pl.Series, distinct: pl.Series, group: NDArray[np.int32]) -> bool:
    """Is every row of ``column`` the text of its group."""
    # a million rows at a time: the texts of all rows once more would be fresh memory, which costs more than comparing
    parts = range(0, len(column), 1_000_000)
    return all(
        distinct.gather(group[at : at + 1_000_000]).eq_missing(column.slice(at, 1_000_000)).all() for at in parts
    )


@njit(cache=True, nogil=True)
def _renumber(codes, number):  # type: ignore[no-untyped-def]
    """Replace each of ``codes`` by its ``number``, in place."""
    for row in range(len(codes)):
        codes[row] = number[codes[row]]


@njit(cache=True, nogil=True)
def _groups(hashed):  # type: ignore[no-untyped-def]
    """Number of each row's hash in order of first sight, and the row where each was seen first; expected O(rows)."""
    size = 1 << 12
    slot_hash = np.empty(size, dtype=np.uint64)
    slot_group = np.full(size, -1, dtype=np.int32)  # -1: free; at most half of the slots are taken
    first = np.empty(size // 2, dtype=np.int64)
    group = np.empty(len(hashed), dtype=np.int32)
    found = 0
    for row in range(len(hashed)):
        if found == len(first):
            size *= 2
            slot_hash = np.empty(size, dtype=np.uint64)
            slot_group = np.full(size, -1, dtype=np.int32)
            first = np.concatenate((first, np.empty(found, dtype=np.int64)))
            for g in range(found):
                slot = _slot(slot_hash, slot_group, hashed[first[g]])
                slot_hash[slot], slot_group[slot] = hashed[first[g]], g
        slot = _slot(slot_hash, slot_group, hashed[row])
        if slot_group[slot] < 0:
            slot_hash[slot], slot_group[slot] = hashed[row], found
            first[found] = row
            found += 1
        group[row] = slot_group[slot]
    return group, first[:found].copy()


@njit(cache=True, nogil=True)
def _slot(slot_hash, slot_group, wanted):  # type: ignore[no-untyped-def]
    """Slot that holds ``wanted``, or the free one where it belongs: open addressing, linear probing."""
    mask = np.uint64(len(slot_group) - 1)
    slot = wanted & mask
    while slot_group[slot] >= 0 and slot_hash[slot] != wanted:
        slot = (slot + np.uint64(1)) & mask
    return slot


@dataclass(frozen=True)
class Texts:
    """A text column of a history, one element per row, made into Python text only where evidence asks for it.

    ``column[rows]`` (a slice or row numbers) gives an array of text; ``received`` is the column in the order the rows
    came in, ``order`` the history's rows in it.
    """

    received: pl.Series
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[np.object_]:
        return self.received.gather(self.order[rows]).to_numpy().astype(object)


@dataclass(frozen=True)
class History:
    """Transactions of all clients, one element per transaction, sorted by client, time, id and direction.

    Shapes are ``(rows,)``. ``at`` is UTC microseconds since 1970, ``day`` and ``known_day`` days since
    1970, ``amount`` base-currency units, ``listed_day`` the day the counterparty came on a blacklist
    (``2**31 - 1`` if never). ``starts`` has one element more than ``clients`` and holds row offsets.
    """

    txn_id: Texts
    clients: NDArray[np.object_]
    starts: NDArray[np.int64]
    client: NDArray[np.int32]
    at: NDArray[np.int64]
    day: NDArray[np.int32]
    known_day: NDArray[np.int32]
    amount: NDArray[np.float64]
    is_inbound: NDArray[np.bool_]
    is_counterparty_client: NDArray[np.bool_]
    is_time_known: NDArray[np.bool_]
    listed_day: NDArray[np.int32]
    counterparty: Codes
    country: Codes
    sector: Codes
    channel: Codes
    currency: Codes

    def __len__(self) -> int:
        return len(self.at)

    def client_codes(self, client_ids: pl.Series) -> NDArray[np.int32]:
        """Codes of ``client_ids`` in this history; -1 for clients without a transaction. Shape as given."""
        wanted = _encode(client_ids)  # an id has many weeks, and comparing texts is what takes the time
        found = np.full(len(wanted.values) + 1, -1, dtype=np.int32)  # the last element is what a null reads
        if len(self.clients):
            at = np.minimum(np.searchsorted(self.clients, wanted.values), len(self.clients) - 1)
            found[:-1] = np.where(self.clients[at] == wanted.values, at, -1)
        return found[wanted.codes]

    def window(
        self, client_codes: NDArray[np.int32], as_of_day: NDArray[np.int32], days: int, gap_days: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row ranges ``[low, high)`` with ``as_of - days <= txn_at < as_of - gap_days``, per (client, as-of).

        Shapes ``(n,)`` in and out; an unknown client (-1) gets an empty range. Rows in the range may still
        be learned late: compare ``known_day`` with the as-of day.
        """
        low = _bound(self.starts, self.at, client_codes, (as_of_day.astype(np.int64) - days) * DAY_US)
        high = _bound(self.starts, self.at, client_codes, (as_of_day.astype(np.int64) - gap_days) * DAY_US)
        return low, high


@njit(cache=True, nogil=True)
def _bound(starts, at, client_codes, moments):  # type: ignore[no-untyped-def]
    """First row of each client with ``at >= moment``: one binary search per pair, O(n log m)."""
    n = len(client_codes)
    out = np.empty(n, dtype=np.int64)
    for i in range(n):
        c = client_codes[i]
        if c < 0:
            out[i] = 0
            continue
        low, high = starts[c], starts[c + 1]
        while low < high:
            middle = (low + high) // 2
            if at[middle] < moments[i]:
                low = middle + 1
            else:
                high = middle
        out[i] = low
    return out


def build_history(transactions: pl.DataFrame) -> History:
    """Sort and encode cleaned transactions.

    Parameters
    ----------
    transactions : columns :data:`TRANSACTION_COLUMNS`, one row per transaction and client side, any order.

    Returns
    -------
    History : the same rows as arrays, sorted by client, time, transaction id and direction.
    """
    frame = transactions.select(TRANSACTION_COLUMNS)
    # a column looks at no other, and nearly all the time is in code that lets go of the interpreter's lock
    with Parallel(n_jobs=cpu_count(), prefer="threads") as parallel:
        at = frame["txn_at"].cast(pl.Datetime("us")).to_physical().to_numpy().astype(np.int64)
        # rows mostly arrive in time order, which the stable sort by time uses; sorting texts takes three times as long
        by_time, *found = parallel(
            [delayed(np.argsort)(at, kind="stable"), *(delayed(_encode)(frame[column]) for column in _CODED.values())]
        )
        coded: dict[str, Codes] = dict(zip(_CODED, found, strict=True))
        client = coded.pop("client")
        starts = np.concatenate([[0], np.cumsum(np.bincount(client.codes, minlength=len(client.values)))])
        client_of_row = np.repeat(np.arange(len(client.values), dtype=np.int32), np.diff(starts))
        order = sorted_by_group(client.codes, by_time, len(client.values))
        at = at.take(order)
        _sort_equal_times(order, client_of_row, at, frame)
        received = {
            "known_day": frame["known_date"].cast(pl.Date).to_physical().to_numpy().astype(np.int32),
            "amount": frame["amount_base"].cast(pl.Float64).to_numpy(),
            "is_inbound": (frame["direction"] == "inbound").to_numpy(),
            "is_counterparty_client": frame["is_counterparty_client"].fill_null(False).to_numpy(),
            "is_time_known": frame["is_time_known"].fill_null(False).to_numpy(),
            "listed_day": frame["counterparty_listed_date"].cast(pl.Date).to_physical().fill_null(2**31 - 1).to_numpy(),
            **{name: found.codes for name, found in coded.items()},
        }
        sorted_columns = parallel(delayed(np.take)(column, order) for column in received.values())
    columns: dict[str, Any] = dict(zip(received, sorted_columns, strict=True))
    columns |= {name: Codes(columns[name], found.values) for name, found in coded.items()}
    return History(
        # a copy: columns that came from the warehouse together are held in memory as long as one of them is
        txn_id=Texts(pl.Series(values=frame["txn_id"].to_arrow()), order),
        clients=client.values,
        starts=starts.astype(np.int64),
        client=client_of_row,
        at=at,
        day=np.floor_divide(at, DAY_US).astype(np.int32),
        **columns,
    )


def _sort_equal_times(
    order: NDArray[np.int64], client: NDArray[np.int32], at: NDArray[np.int64], frame: pl.DataFrame
) -> None:
    """Sort those of the rows ``order`` that have one client and time by transaction id and direction, in place.

    ``client`` and ``at`` are those of the ordered rows.
    """
    same = (client[1:] == client[:-1]) & (at[1:] == at[:-1])
    if same.any():
        tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
        rows = order[tied]
        equal = frame.select("txn_id", "direction")[rows].with_columns(
            row=pl.Series(rows), client=pl.Series(client[tied]), at=pl.Series(at[tied])
        )
        order[tied] = equal.sort("client", "at", "txn_id", "direction")["row"].to_numpy()


@njit(cache=True, nogil=True)
def sorted_by_group(group, order, groups):  # type: ignore[no-untyped-def]
    """``order`` sorted stably by ``group[order]``, numbers under ``groups``: a counting sort, O(rows + groups)."""
    place = np.zeros(groups + 1, dtype=np.int64)
    for row in order:
        place[group[row] + 1] += 1
    for g in range(groups):
        place[g + 1] += place[g]
    out = np.empty(len(order), dtype=np.int64)
    for row in order:
        out[place[group[row]]] = row
        place[group[row]] += 1
    return out


ROWS_A_PART: Final = 20_000
"""Rows a thread takes at a time: they take far longer than handing them over, and busy clients spread over threads."""


def in_parts(work: Callable[[slice], tuple[NDArray[Any], ...]], rows: int) -> tuple[NDArray[Any], ...]:
    """What ``work`` gives for rows ``0 .. rows - 1``, computed on consecutive parts of them side by side.

    Parameters
    ----------
    work : arrays whose first axis is the rows of the slice it is given, an empty one included; it must let go of the
        interpreter's lock to gain anything, and give a row the same values whatever rows stand beside it.
    rows : pairs of a spine or transactions of a history.

    Returns
    -------
    The arrays of all parts put together, the same bytes however many threads.
    """
    if rows <= ROWS_A_PART:
        return work(slice(0, rows))
    # written where they belong part by part: all parts held and then put together would need the memory twice
    whole = tuple(np.empty((rows, *array.shape[1:]), array.dtype) for array in work(slice(0, 0)))

    def write(part: slice) -> None:
        for to, made in zip(whole, work(part), strict=True):
            to[part] = made

    parts = (slice(low, min(low + ROWS_A_PART, rows)) for low in range(0, rows, ROWS_A_PART))
    Parallel(n_jobs=cpu_count(), prefer="threads")(delayed(write)(part) for part in parts)
    return whole


@dataclass(frozen=True)
class Spine:
    """The (client, as-of date) pairs a build is asked for, as arrays of one element per pair, sorted by pair."""

    client_id: pl.Series
    as_of_date: pl.Series
    client: NDArray[np.int32]
    as_of_day: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.client)

    def frame(self) -> pl.DataFrame:
        """Columns client_id and as_of_date, in the spine's order: what features are put beside."""
        return pl.DataFrame({"client_id": self.client_id, "as_of_date": self.as_of_date})


def build_spine(history: History, pairs: pl.DataFrame) -> Spine:
    """Encode ``pairs`` (client_id, as_of_date; one row per pair) against ``history``, sorted by client and date."""
    pairs = pairs.select("client_id", pl.col("as_of_date").cast(pl.Date)).sort("client_id", "as_of_date")
    return Spine(
        client_id=pairs["client_id"],
        as_of_date=pairs["as_of_date"],
        client=history.client_codes(pairs["client_id"]),
        as_of_day=pairs["as_of_date"].to_physical().to_numpy().astype(np.int32),
    )
