"""Cleaned transactions as sorted arrays, and the window slices every pillar works on.

The point-in-time law lives here: ``History.window`` gives, for each (client, as-of date), the range of
rows with ``as_of - days <= txn_at < as_of``. A row in that range still has to satisfy
``known_day[row] < as_of_day``; kernels check it with :attr:`History.known_day` because late rows are
rare and a second sort for them would cost more than the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
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
    values = column.drop_nulls().unique().sort()
    # through an enumeration: half the time of a join, a quarter where values are few
    codes = column.cast(pl.Enum(values)).to_physical().cast(pl.Int32).fill_null(-1)
    return Codes(codes.to_numpy(), values.to_numpy().astype(object))


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
        ids = client_ids.to_numpy()
        if not len(self.clients):
            return np.full(len(ids), -1, dtype=np.int32)
        at = np.searchsorted(self.clients, ids)
        at = np.minimum(at, len(self.clients) - 1)
        return np.where(self.clients[at] == ids, at, -1).astype(np.int32)

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
    client = _encode(frame["client_id"])
    at = frame["txn_at"].cast(pl.Datetime("us")).to_physical().to_numpy().astype(np.int64)
    order = _order(client.codes, at, frame, len(client.values))
    starts = np.concatenate([[0], np.cumsum(np.bincount(client.codes, minlength=len(client.values)))]).astype(np.int64)
    at = at[order]
    listed = frame["counterparty_listed_date"].cast(pl.Date).to_physical().fill_null(2**31 - 1)

    def coded(column: str) -> Codes:
        found = _encode(frame[column])
        return Codes(found.codes[order], found.values)

    return History(
        txn_id=Texts(frame["txn_id"], order),
        clients=client.values,
        starts=starts,
        client=client.codes[order],
        at=at,
        day=np.floor_divide(at, DAY_US).astype(np.int32),
        known_day=frame["known_date"].cast(pl.Date).to_physical().to_numpy().astype(np.int32)[order],
        amount=frame["amount_base"].cast(pl.Float64).to_numpy()[order],
        is_inbound=(frame["direction"] == "inbound").to_numpy()[order],
        is_counterparty_client=frame["is_counterparty_client"].fill_null(False).to_numpy()[order],
        is_time_known=frame["is_time_known"].fill_null(False).to_numpy()[order],
        listed_day=listed.to_numpy().astype(np.int32)[order],
        counterparty=coded("counterparty_id"),
        country=coded("counterparty_country"),
        sector=coded("counterparty_sector"),
        channel=coded("channel"),
        currency=coded("currency"),
    )


def _order(client: NDArray[np.int32], at: NDArray[np.int64], frame: pl.DataFrame, clients: int) -> NDArray[np.int64]:
    """Row numbers sorted by client, time, transaction id and direction.

    Sorting the texts themselves takes three times as long: rows mostly arrive in time order, which the stable sort by
    time uses, and ids are compared at equal times only.
    """
    order = sorted_by_group(client, np.argsort(at, kind="stable"), clients)
    same = (client[order[1:]] == client[order[:-1]]) & (at[order[1:]] == at[order[:-1]])
    if same.any():
        tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
        rows = order[tied]
        equal = frame.select("txn_id", "direction")[rows].with_columns(
            row=pl.Series(rows), client=pl.Series(client[rows]), at=pl.Series(at[rows])
        )
        order[tied] = equal.sort("client", "at", "txn_id", "direction")["row"].to_numpy()
    return order


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
