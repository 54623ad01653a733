"""The transaction graph of one as-of week, and its static measures.

Rule of this file: who paid whom in the window, and what follows from that alone; the order of payments
belongs to ``temporal_patterns.py``, clients and features to ``p2_network.py``. Nothing here knows weeks other
than the one it is given.

* **Nodes** are parties: clients and counterparties, one node per text id, so a counterparty that is a client is
  the same node. Nodes are numbered within the window by sorted id: no later row can renumber them in a way that
  shows in a result.
* **Edges** run from payer to payee. A payment between two clients of the bank usually appears twice, once on
  each side. Rule: for each ordered pair of parties the side that reported more rows is taken (outbound rows of
  the payer against inbound rows of the payee; equal: outbound) and the other side is dropped. The rule needs no
  knowledge of who becomes a client later, and sides that differ by exchange rate or booking day do not count
  twice. Payments of a party to itself are left out.
* **Money** is in integer cents of the base currency, so that sums do not depend on order.

:meth:`WeekGraph.to_networkx` is the graph object people see; measures over whole graphs run in scipy, numba
and networkit, and the tests hold them to networkx.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import networkx as nx
import numpy as np
import polars as pl
from joblib import Parallel, cpu_count, delayed
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from ml_assets.features.history import DAY_US, History, sorted_by_group

NEVER_DAY = 2**31 - 1
"""Day number that stands for "not on a blacklist"."""


@dataclass(frozen=True)
class NodeIndex:
    """All parties of a history: sorted text ids, and the id number of each client and counterparty code.

    ``ids`` has shape (parties,), ``client_node`` (clients of the history,), ``counterparty_node``
    (counterparty codes,).
    """

    ids: NDArray[np.object_]
    client_node: NDArray[np.int64]
    counterparty_node: NDArray[np.int64]


def index_nodes(history: History) -> NodeIndex:
    """Merge client and counterparty ids of ``history`` into one sorted index of parties."""
    clients = pl.Series("id", list(history.clients), dtype=pl.String)
    counterparties = pl.Series("id", list(history.counterparty.values), dtype=pl.String)
    ids = pl.concat([clients, counterparties]).unique().sort()
    numbered = pl.DataFrame({"id": ids, "node": pl.Series(np.arange(len(ids), dtype=np.int64))})

    def numbers(of: pl.Series) -> NDArray[np.int64]:
        found = pl.DataFrame({"id": of}).join(numbered, on="id", how="left", maintain_order="left")["node"]
        return found.to_numpy().astype(np.int64)

    return NodeIndex(ids.to_numpy().astype(object), numbers(clients), numbers(counterparties))


def window_rows(history: History, as_of_day: int, days: int) -> NDArray[np.int64]:
    """Rows of all clients with ``as_of - days <= txn_at < as_of`` that were known before the as-of day.

    The cost is that of the rows in the window and one binary search per client, however long the history is.
    """
    clients = np.arange(len(history.clients), dtype=np.int32)
    low, high = history.window(clients, np.full(len(clients), as_of_day, dtype=np.int32), days)
    return _visible_rows(low, high, history.known_day, as_of_day)


@njit(cache=True, nogil=True)
def _visible_rows(low, high, known_day, as_of_day):  # type: ignore[no-untyped-def]
    """Row numbers of all ranges ``[low, high)`` with ``known_day < as_of_day``, in order."""
    rows = np.empty(np.sum(high - low), dtype=np.int64)
    n = 0
    for i in range(len(low)):
        for r in range(low[i], high[i]):
            if known_day[r] < as_of_day:
                rows[n] = r
                n += 1
    return rows[:n]


@dataclass(frozen=True)
class Payments:
    """Rows with a known other party, arranged once for all the weeks that look at them.

    ``source``, ``target`` and ``start`` are the ordered pairs of parties, sorted (numbers of :class:`NodeIndex`), and
    the offsets of their rows; the rows of a pair are those of one side, then those of the other, each sorted by time
    and amount. ``listed_day`` is that of the other party of the row's client.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    start: NDArray[np.int64]
    at: NDArray[np.int64]
    known_day: NDArray[np.int32]
    cents: NDArray[np.int64]
    is_inbound: NDArray[np.bool_]
    listed_day: NDArray[np.int32]


def arrange_payments(history: History, nodes: NodeIndex, from_day: int, to_day: int) -> Payments:
    """The rows with ``from_day <= txn_at < to_day`` and known before ``to_day``, own transfers left out."""
    rows = window_rows(history, to_day, to_day - from_day)
    rows, source, target = _payer_and_payee(
        rows, history.client, history.counterparty.codes, history.is_inbound, nodes.client_node, nodes.counterparty_node
    )
    at, cents = history.at[rows], np.rint(history.amount[rows] * 100).astype(np.int64)
    is_inbound = history.is_inbound[rows]
    order = sorted_by_group(target, np.arange(len(rows)), len(nodes.ids))
    order = sorted_by_group(source, order, len(nodes.ids))
    start = _pairs(source, target, is_inbound, at, cents, order)
    first, rows = order[start[:-1]], rows[order]
    at, cents, is_inbound, known_day, listed_day = Parallel(n_jobs=cpu_count(), prefer="threads")(
        delayed(np.take)(column, of)
        for column, of in (
            (at, order),
            (cents, order),
            (is_inbound, order),
            (history.known_day, rows),
            (history.listed_day, rows),
        )
    )
    return Payments(
        source=source[first],
        target=target[first],
        start=start,
        at=at,
        known_day=known_day,
        cents=cents,
        is_inbound=is_inbound,
        listed_day=listed_day,
    )


@njit(cache=True, nogil=True)
def _payer_and_payee(rows, client, counterparty, is_inbound, client_node, counterparty_node):  # type: ignore[no-untyped-def]
    """Those of ``rows`` whose other party is known and not the client itself, and who paid whom in them."""
    kept = np.empty(len(rows), dtype=np.int64)
    source = np.empty(len(rows), dtype=np.int32)
    target = np.empty(len(rows), dtype=np.int32)
    n = 0
    for row in rows:
        if counterparty[row] < 0:
            continue
        own, other = client_node[client[row]], counterparty_node[counterparty[row]]
        if own == other:
            continue
        kept[n] = row
        source[n] = other if is_inbound[row] else own
        target[n] = own if is_inbound[row] else other
        n += 1
    return kept[:n], source[:n], target[:n]


@njit(cache=True, nogil=True)
def _pairs(source, target, is_inbound, at, cents, order):  # type: ignore[no-untyped-def]
    """Offsets in ``order``, sorted by pair, of the ordered pairs; sorts it, in place, by amount at equal times.

    The rows came sorted by client and time, so after a stable sort by pair each side of it, the rows of one client,
    is together and in time order.
    """
    start = np.empty(len(order) + 1, dtype=np.int64)
    pairs = 0
    for i in range(len(order)):
        row = order[i]
        if i == 0 or source[row] != source[order[i - 1]] or target[row] != target[order[i - 1]]:
            start[pairs] = i
            pairs += 1
            continue
        # insertion among the side's rows of the same moment: few, and numba's sort takes seconds to compile
        place = i
        while place > start[pairs - 1]:
            before = order[place - 1]
            if is_inbound[before] != is_inbound[row] or at[before] != at[row] or cents[before] <= cents[row]:
                break
            order[place] = before
            place -= 1
        order[place] = row
    start[pairs] = len(order)
    return start[: pairs + 1]


@dataclass(frozen=True)
class Events:
    """Payments grouped by one party and sorted by time within it.

    ``start[v]:start[v + 1]`` are the payments of node v; ``at`` UTC microseconds, ``other`` the party at the
    other end, ``pair`` the ordered pair, ``cents`` the amount, ``event`` the payment's number in the graph.
    """

    start: NDArray[np.int64]
    at: NDArray[np.int64]
    other: NDArray[np.int32]
    pair: NDArray[np.int32]
    cents: NDArray[np.int64]
    event: NDArray[np.int32]


@dataclass(frozen=True)
class WeekGraph:
    """Directed graph of the payments visible at one as-of date.

    Node arrays have shape (nodes,), sorted by id; pair arrays (ordered pairs,), sorted by payer and payee;
    event arrays (payments,), sorted by pair, time and amount. ``is_client`` says that the party has a visible
    row of its own in the window; ``is_listed`` that it stood on a blacklist before the as-of date.
    ``pair_start`` has one element more than there are pairs and holds offsets into the events.
    """

    as_of_day: int
    days: int
    ids: NDArray[np.object_]
    node: NDArray[np.int64]
    is_client: NDArray[np.bool_]
    is_listed: NDArray[np.bool_]
    pair_source: NDArray[np.int32]
    pair_target: NDArray[np.int32]
    pair_cents: NDArray[np.int64]
    pair_start: NDArray[np.int64]
    event_pair: NDArray[np.int32]
    event_at: NDArray[np.int64]
    event_cents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def pair_count(self) -> NDArray[np.int64]:
        """Payments per ordered pair."""
        return np.diff(self.pair_start)

    @cached_property
    def out_start(self) -> NDArray[np.int64]:
        """Offsets of each payer's pairs; the pairs are sorted by payer already."""
        return _offsets(self.pair_source, len(self))

    @cached_property
    def in_order(self) -> NDArray[np.int64]:
        """Pair numbers sorted by payee, then payer."""
        return sorted_by_group(self.pair_target, np.arange(len(self.pair_target)), len(self))

    @cached_property
    def in_start(self) -> NDArray[np.int64]:
        """Offsets of each payee's pairs in :attr:`in_order`."""
        return _offsets(self.pair_target, len(self))

    @cached_property
    def time_order(self) -> NDArray[np.int64]:
        """Numbers of the payments in time order, those of one moment in the graph's order."""
        # a counting sort of 16 bits at a time: a third of the time of a stable argsort
        since = self.event_at - (self.as_of_day - self.days) * DAY_US
        order = np.arange(len(since))
        for shift in range(0, int(np.max(since, initial=0)).bit_length(), 16):
            order = sorted_by_group((since >> shift & 0xFFFF).astype(np.int32), order, 1 << 16)
        return order

    @cached_property
    def out_events(self) -> Events:
        """Payments by payer and time."""
        return self._events(by_source=True)

    @cached_property
    def in_events(self) -> Events:
        """Payments by payee and time."""
        return self._events(by_source=False)

    def _events(self, by_source: bool) -> Events:
        source, target = self.pair_source[self.event_pair], self.pair_target[self.event_pair]
        party, other = (source, target) if by_source else (target, source)
        order = sorted_by_group(party, self.time_order, len(self))
        return Events(
            start=_offsets(party, len(self)),
            at=self.event_at[order],
            other=other[order],
            pair=self.event_pair[order],
            cents=self.event_cents[order],
            event=order.astype(np.int32),
        )

    @cached_property
    def undirected(self) -> sparse.csr_array:
        """Symmetric matrix of cents flowed between two parties, either way; sorted rows, shape (nodes, nodes)."""
        n = len(self)
        indptr, indices, cents = _either_way(
            self.out_start, self.pair_target, self.in_start, self.in_order, self.pair_source, self.pair_cents
        )
        return sparse.csr_array((cents, indices, indptr), shape=(n, n))

    def positions(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position in this graph of nodes numbered as in :class:`NodeIndex`; -1 where absent. Shape as given."""
        if not len(self):
            return np.full(len(nodes), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.node, nodes), len(self) - 1)
        return np.where(self.node[at] == nodes, at, -1)

    def position(self, party: str) -> int:
        """Position of the party with id ``party``; -1 where it has no edge in the window."""
        at = int(np.searchsorted(self.ids, party)) if len(self) else 0
        return at if at < len(self) and self.ids[at] == party else -1

    def to_networkx(self, *, temporal: bool = False) -> nx.DiGraph | nx.MultiDiGraph:
        """The graph as people see it.

        Nodes are ids with ``is_client`` and ``is_listed``. Edges carry ``amount`` (base currency) and
        ``payments`` (count); with ``temporal`` there is one edge per payment, carrying ``amount`` and ``at``
        (UTC microseconds).
        """
        graph: nx.DiGraph | nx.MultiDiGraph = nx.MultiDiGraph() if temporal else nx.DiGraph()
        for i, party in enumerate(self.ids):
            graph.add_node(party, is_client=bool(self.is_client[i]), is_listed=bool(self.is_listed[i]))
        if temporal:
            for pair, at, cents in zip(self.event_pair, self.event_at, self.event_cents, strict=True):
                source, target = self.ids[self.pair_source[pair]], self.ids[self.pair_target[pair]]
                graph.add_edge(source, target, amount=int(cents) / 100, at=int(at))
        else:
            for source, target, cents, count in zip(
                self.pair_source, self.pair_target, self.pair_cents, self.pair_count, strict=True
            ):
                graph.add_edge(self.ids[source], self.ids[target], amount=int(cents) / 100, payments=int(count))
        return graph


def _offsets(party: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(party, minlength=n))]).astype(np.int64)


@njit(cache=True, nogil=True)
def _either_way(out_start, target, in_start, in_order, source, cents):  # type: ignore[no-untyped-def]
    """Offsets, sorted neighbours and cents of each party's dealings, both directions of a pair added up."""
    n = len(out_start) - 1
    indptr = np.zeros(n + 1, dtype=np.int32)
    indices = np.empty(2 * len(target), dtype=np.int32)
    total = np.empty(2 * len(target), dtype=np.int64)
    m = 0
    for v in range(n):
        i, k = out_start[v], in_start[v]
        while i < out_start[v + 1] or k < in_start[v + 1]:
            # n stands for the end of either list: no party has that number
            payee = target[i] if i < out_start[v + 1] else n
            payer = source[in_order[k]] if k < in_start[v + 1] else n
            indices[m] = min(payee, payer)
            total[m] = 0
            if payee <= payer:
                total[m] += cents[i]
                i += 1
            if payer <= payee:
                total[m] += cents[in_order[k]]
                k += 1
            m += 1
        indptr[v + 1] = m
    return indptr, indices[:m].copy(), total[:m].copy()


def build_week_graph(
    history: History, nodes: NodeIndex, as_of_day: int, days: int, payments: Payments | None = None
) -> WeekGraph:
    """Graph of the payments with a known counterparty in ``[as_of - days, as_of)``, known before the as-of day.

    Parameters
    ----------
    history, nodes : cleaned transactions and :func:`index_nodes` of them.
    as_of_day : as-of date, in days since 1970.
    days : length of the window.
    payments : :func:`arrange_payments` of them over at least the window; whoever builds several weeks makes them once.
    """
    if payments is None:
        payments = arrange_payments(history, nodes, as_of_day - days, as_of_day)
    seen, listed, pairs, start, taken = _visible_pairs(
        payments.source,
        payments.target,
        payments.start,
        payments.at,
        payments.known_day,
        payments.is_inbound,
        payments.listed_day,
        as_of_day,
        (as_of_day - days) * DAY_US,
        as_of_day * DAY_US,
        len(nodes.ids),
    )
    node = np.flatnonzero(seen)
    compact = (np.cumsum(seen > 0) - 1).astype(np.int32)
    cents = payments.cents[taken]
    return WeekGraph(
        as_of_day=as_of_day,
        days=days,
        ids=nodes.ids[node],
        node=node,
        is_client=seen[node] == _IS_CLIENT,
        is_listed=listed[node],
        pair_source=compact[payments.source[pairs]],
        pair_target=compact[payments.target[pairs]],
        pair_cents=np.add.reduceat(cents, start[:-1]) if len(pairs) else np.empty(0, np.int64),
        pair_start=start,
        event_pair=np.repeat(np.arange(len(pairs), dtype=np.int32), np.diff(start)),
        event_at=payments.at[taken],
        event_cents=cents,
    )


_IS_CLIENT = 2
"""Mark of a party with a visible row of its own; 1 is that of any other party, 0 of none."""


@njit(cache=True, nogil=True)
def _visible_pairs(  # type: ignore[no-untyped-def]
    source, target, start, at, known_day, is_inbound, listed_day, as_of_day, low, high, parties
):
    """What one week sees of :class:`Payments`: marks and listings of parties, pairs, their offsets, and rows.

    A row is visible with ``low <= at < high`` and known before the as-of day. Of each ordered pair the side with more
    visible rows is kept, the outbound one on a tie.
    """
    seen = np.zeros(parties, dtype=np.int8)
    listed = np.zeros(parties, dtype=np.bool_)
    pairs = np.empty(len(source), dtype=np.int64)
    offset = np.empty(len(source) + 1, dtype=np.int64)
    taken = np.empty(len(at), dtype=np.int64)
    offset[0] = 0
    found, count = 0, 0
    for p in range(len(source)):
        payer, payee = source[p], target[p]
        received = 0
        # the visible rows of both sides first; the kept ones among them move together when the side is known
        visible = count
        for row in range(start[p], start[p + 1]):
            if low <= at[row] < high and known_day[row] < as_of_day:
                taken[visible] = row
                visible += 1
                received += is_inbound[row]
                if listed_day[row] < as_of_day:
                    listed[payer if is_inbound[row] else payee] = True
        if visible == count:
            continue
        sent = visible - count - received
        seen[payer] = max(seen[payer], _IS_CLIENT if sent > 0 else 1)
        seen[payee] = max(seen[payee], _IS_CLIENT if received > 0 else 1)
        if sent > 0 and received > 0:
            kept = count
            for i in range(count, visible):
                if is_inbound[taken[i]] == (received > sent):
                    taken[kept] = taken[i]
                    kept += 1
            visible = kept
        count = visible
        pairs[found] = p
        found += 1
        offset[found] = count
    return seen, listed, pairs[:found].copy(), offset[: found + 1].copy(), taken[:count].copy()


# --- one-hop statistics -------------------------------------------------------------------------------------


def side_statistics(graph: WeekGraph, recent_days: tuple[int, ...] = (7, 30)) -> pl.DataFrame:
    """Degree, strength and the spread of money over the parties at the other end, on either side of a party.

    One row per node in the graph's order. For side s in ``in``, ``out``: ``s_degree`` (distinct parties),
    ``s_degree_{d}d`` for each of ``recent_days`` (distinct parties with a payment in the newest d days),
    ``s_sum`` (base currency), ``s_mean`` and ``s_std`` (mean and population standard deviation of the total per
    counterparty, base currency; std NaN under two), ``s_hhi`` (Herfindahl-Hirschman index of the shares,
    Rhoades 1993), ``s_max_share``; NaN where there is no flow.
    """
    pairs = len(graph.pair_source)
    last_at = graph.event_at[graph.pair_start[1:] - 1] if pairs else np.empty(0, np.int64)
    since = np.array([(graph.as_of_day - days) * DAY_US for days in recent_days], dtype=np.int64)
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {}
    for side, start, order in (
        ("in", graph.in_start, graph.in_order),
        ("out", graph.out_start, np.arange(pairs)),
    ):
        degree, recent, total, std, hhi, top = _side(start, order, graph.pair_cents, last_at, since)
        columns[f"{side}_degree"] = degree
        for i, days in enumerate(recent_days):
            columns[f"{side}_degree_{days}d"] = recent[i]
        columns[f"{side}_sum"] = total / 100.0
        with np.errstate(divide="ignore", invalid="ignore"):
            columns[f"{side}_mean"] = np.where(degree > 0, total / 100.0 / degree, np.nan)
        columns[f"{side}_std"] = std / 100.0
        columns[f"{side}_hhi"] = hhi
        columns[f"{side}_max_share"] = top
    return pl.DataFrame(columns)


def vertex_statistics(graph: WeekGraph, recent_days: tuple[int, ...] = (7, 30)) -> pl.DataFrame:
    """:func:`side_statistics`, and who the parties at the other end are.

    One row per node in the graph's order. Beside the columns of :func:`side_statistics`: ``neighbours`` (distinct
    parties either way), ``mutual`` (parties paid and paid by), ``client_share`` (share of flow with parties that are
    clients; NaN where there is no flow) and ``neighbour_degree`` (mean number of parties its neighbours have).
    """
    sides = side_statistics(graph, recent_days)
    matrix = graph.undirected
    neighbours = np.diff(matrix.indptr)
    flow, client_flow, around = _around(matrix.indptr, matrix.indices, matrix.data, graph.is_client)
    with np.errstate(divide="ignore", invalid="ignore"):
        client_share = np.where(flow > 0, client_flow / flow.astype(np.float64), np.nan)
        neighbour_degree = np.where(neighbours > 0, around / neighbours, np.nan)
    return sides.with_columns(
        neighbours=pl.Series(neighbours),
        mutual=pl.Series((sides["in_degree"] + sides["out_degree"]).to_numpy() - neighbours),
        client_share=pl.Series(client_share),
        neighbour_degree=pl.Series(neighbour_degree),
    )


@njit(cache=True, nogil=True)
def _around(indptr, indices, cents, is_client):  # type: ignore[no-untyped-def]
    """Per party: its flow, its flow with clients, and the sum over its neighbours of their number of neighbours."""
    n = len(indptr) - 1
    flow = np.zeros(n, dtype=np.int64)
    client_flow = np.zeros(n, dtype=np.int64)
    around = np.zeros(n, dtype=np.int64)
    for v in range(n):
        for e in range(indptr[v], indptr[v + 1]):
            w = indices[e]
            flow[v] += cents[e]
            if is_client[w]:
                client_flow[v] += cents[e]
            around[v] += indptr[w + 1] - indptr[w]
    return flow, client_flow, around


@njit(cache=True, nogil=True)
def _side(start, order, cents, last_at, since):  # type: ignore[no-untyped-def]
    """Per party, over its pairs ``order[start[v]:start[v + 1]]``: their number, and that of those with a payment at or
    after each of ``since``, total cents, population std of cents per counterparty, HHI and largest share of cents."""
    n = len(start) - 1
    degree = np.zeros(n, dtype=np.int64)
    recent = np.zeros((len(since), n), dtype=np.int64)
    total = np.zeros(n, dtype=np.int64)
    std = np.full(n, np.nan)
    hhi = np.full(n, np.nan)
    top = np.full(n, np.nan)
    held = np.empty(max(0, np.max(start[1:] - start[:-1])) if n else 0, dtype=np.int64)
    for v in range(n):
        low, high = start[v], start[v + 1]
        count = high - low
        if count == 0:
            continue
        whole, largest = np.int64(0), np.int64(0)
        for i in range(count):
            pair = order[low + i]
            value = cents[pair]
            held[i] = value  # the pairs of a payee lie apart: read them once
            whole += value
            largest = max(largest, value)
            for k in range(len(since)):
                if last_at[pair] >= since[k]:
                    recent[k, v] += 1
        mean = whole / count
        squares = 0.0
        shares = 0.0
        for i in range(count):
            squares += (held[i] - mean) ** 2
            if whole > 0:
                shares += (held[i] / whole) ** 2
        degree[v], total[v] = count, whole
        if count > 1:
            std[v] = np.sqrt(squares / count)
        if whole > 0:
            hhi[v] = min(1.0, shares)
            top[v] = largest / whole
    return degree, recent, total, std, hhi, top


def payment_statistics(graph: WeekGraph) -> pl.DataFrame:
    """Moments of single payments per party, the vertex statistics of Blanuša et al. 2024.

    One row per node in the graph's order. For side s in ``in``, ``out``: ``s_payments`` (count), ``s_payment_mean``,
    ``_min``, ``_max``, ``_median`` (base currency; NaN without a payment), ``_variance`` (population, base currency
    squared), ``_skewness`` (third standardised moment) and ``_kurtosis`` (fourth; 3 for a normal law), both NaN
    where all payments are equal. Deviations are summed around the mean, not as power sums, which lose their digits.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for side, events in (("in", graph.in_events), ("out", graph.out_events)):
        found = _payment_moments(events.start, events.cents)
        for i, name in enumerate(("mean", "min", "max", "median", "variance", "skewness", "kurtosis")):
            columns[f"{side}_payment_{name}"] = found[i]
    counts = {f"{s}_payments": np.diff(e.start) for s, e in (("in", graph.in_events), ("out", graph.out_events))}
    return pl.DataFrame(counts | columns)


@njit(cache=True, nogil=True)
def _sort(values):  # type: ignore[no-untyped-def]
    """Sort in place by Shell's method: most parties have few payments, and it compiles at once."""
    for gap in (90_927, 40_412, 17_961, 7_983, 3_548, 1_577, 701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, len(values)):
            value = values[i]
            j = i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value


@njit(cache=True, nogil=True)
def _payment_moments(start, cents):  # type: ignore[no-untyped-def]
    """Mean, min, max, median, variance, skewness and kurtosis (rows) of each party's cents, as money."""
    n = len(start) - 1
    out = np.full((7, n), np.nan)
    most = 0
    for v in range(n):
        most = max(most, start[v + 1] - start[v])
    scratch = np.empty(most, dtype=np.int64)
    for v in range(n):
        low, high = start[v], start[v + 1]
        count = high - low
        if count == 0:
            continue
        ordered = scratch[:count]
        ordered[:] = cents[low:high]
        _sort(ordered)
        total = 0
        for c in ordered:
            total += c
        mean = total / count
        second, third, fourth = 0.0, 0.0, 0.0
        for c in ordered:
            gap = c - mean
            square = gap * gap
            second += square
            third += square * gap
            fourth += square * square
        out[0, v] = mean / 100.0
        out[1, v] = ordered[0] / 100.0
        out[2, v] = ordered[count - 1] / 100.0
        out[3, v] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 200.0
        out[4, v] = second / count / 10_000.0
        if ordered[0] < ordered[count - 1]:
            spread = second / count
            out[5, v] = third / count / (spread * np.sqrt(spread))
            out[6, v] = fourth / count / (spread * spread)
    return out


# --- centrality ---------------------------------------------------------------------------------------------


def pagerank(graph: WeekGraph, damping: float, tolerance: float, *, reverse: bool = False) -> NDArray[np.float64]:
    """PageRank of each party, weighted by money (Brin & Page 1998); sums to one. Shape (nodes,).

    ``reverse`` follows money back to where it comes from. Parties that pay nobody spread evenly, as in
    networkx. Power iteration stops once the step is small enough that the L1 distance to the exact vector is
    below ``tolerance``: that distance is at most ``damping / (1 - damping)`` times the last step.
    """
    n = len(graph)
    if not n:
        return np.empty(0)
    source, target = graph.pair_source, graph.pair_target
    if reverse:
        source, target = target, source
    paid = np.bincount(source, weights=graph.pair_cents, minlength=n)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(paid[source] > 0, graph.pair_cents / paid[source], 0.0)
    follow = sparse.coo_array((share, (target, source)), shape=(n, n)).tocsr()
    is_end = paid == 0
    rank = np.full(n, 1.0 / n)
    step = tolerance * (1.0 - damping) / max(damping, 1e-12)
    for _ in range(10_000):
        following = damping * (follow @ rank + rank[is_end].sum() / n) + (1.0 - damping) / n
        following /= following.sum()
        moved = np.abs(following - rank).sum()
        rank = following
        if moved <= step:
            break
    return rank


def betweenness(graph: WeekGraph, pivots: int, seed: int) -> NDArray[np.float64]:
    """Betweenness on the directed graph, estimated from sampled sources. Shape (nodes,), values 0-1.

    An approximation, and said so: Brandes' dependency accumulation (2001) from ``pivots`` sources drawn
    uniformly without replacement among parties that pay somebody, scaled by sources over pivots (Brandes & Pich
    2007), then divided by (n-1)(n-2) as networkx does. Unbiased; exact where there are no more sources than
    pivots. The standard error falls with the square root of ``pivots``, so low values are noisy.
    """
    n = len(graph)
    if n < 3:
        return np.zeros(n)
    sources = np.flatnonzero(np.diff(graph.out_start) > 0)
    chosen = sources
    if len(sources) > pivots:
        generator = np.random.default_rng([seed, graph.as_of_day])
        chosen = np.sort(generator.choice(sources, size=pivots, replace=False))
    dependency = _brandes(graph.out_start, graph.pair_target, chosen, n)
    estimate: NDArray[np.float64] = dependency * (len(sources) / len(chosen)) / ((n - 1.0) * (n - 2.0))
    return np.minimum(estimate, 1.0)


@njit(cache=True, nogil=True)
def _brandes(start, target, pivots, n):  # type: ignore[no-untyped-def]
    """Sum over pivots of Brandes' dependencies on unweighted shortest paths."""
    total = np.zeros(n)
    distance = np.full(n, -1, dtype=np.int32)
    # of each party side by side: shortest paths to it, and its dependency
    found = np.zeros((n, 2))
    queue = np.empty(n, dtype=np.int32)
    # the targets one step farther, of one party of the queue after the other
    successor = np.empty(len(target), dtype=np.int32)
    until = np.empty(n + 1, dtype=np.int64)
    until[0] = 0
    for p in range(len(pivots)):
        source = pivots[p]
        head, tail, count = 0, 1, 0
        queue[0] = source
        distance[source] = 0
        found[source, 0] = 1.0
        while head < tail:
            v = queue[head]
            head += 1
            farther = distance[v] + 1
            for e in range(start[v], start[v + 1]):
                w = target[e]
                if distance[w] < 0:
                    distance[w] = farther
                    queue[tail] = w
                    tail += 1
                if distance[w] == farther:
                    found[w, 0] += found[v, 0]
                    successor[count] = w
                    count += 1
            until[head] = count
        # backwards over the queue: the successors of v are complete before v
        for i in range(tail - 1, -1, -1):
            v = queue[i]
            dependency = 0.0
            for k in range(until[i], until[i + 1]):
                w = successor[k]
                dependency += found[v, 0] / found[w, 0] * (1.0 + found[w, 1])
            found[v, 1] = dependency
            if v != source:
                total[v] += dependency
        for i in range(tail):
            v = queue[i]
            distance[v] = -1
            found[v, 0] = 0.0
            found[v, 1] = 0.0
    return total


# --- cohesion -----------------------------------------------------------------------------------------------


def clustering(graph: WeekGraph) -> pl.DataFrame:
    """Triangles and local clustering coefficient (Watts & Strogatz 1998), direction and amounts ignored.

    One row per node: ``triangles`` (count), ``clustering`` (share of its pairs of neighbours that deal with
    each other; NaN with fewer than two neighbours).
    """
    matrix = graph.undirected
    triangles = _triangles(matrix.indptr, matrix.indices)
    degree = np.diff(matrix.indptr).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(degree > 1, 2.0 * triangles / (degree * (degree - 1.0)), np.nan)
    return pl.DataFrame({"triangles": triangles, "clustering": value})


@njit(cache=True, nogil=True)
def _triangles(indptr, indices):  # type: ignore[no-untyped-def]
    """Triangles through each node: edges run from lower to higher degree, so hubs are never expanded."""
    n = len(indptr) - 1
    count = np.zeros(n, dtype=np.int64)
    start = np.zeros(n + 1, dtype=np.int64)
    forward = np.empty(len(indices) // 2, dtype=np.int32)
    m = 0
    for u in range(n):
        du = indptr[u + 1] - indptr[u]
        for e in range(indptr[u], indptr[u + 1]):
            v = indices[e]
            dv = indptr[v + 1] - indptr[v]
            if dv > du or (dv == du and v > u):
                forward[m] = v
                m += 1
        start[u + 1] = m
    mark = np.full(n, -1, dtype=np.int32)
    for u in range(n):
        for e in range(start[u], start[u + 1]):
            mark[forward[e]] = u
        for e in range(start[u], start[u + 1]):
            v = forward[e]
            for f in range(start[v], start[v + 1]):
                w = forward[f]
                if mark[w] == u:
                    count[u] += 1
                    count[v] += 1
                    count[w] += 1
    return count


def core_number(graph: WeekGraph) -> NDArray[np.int64]:
    """Largest k for which the party is in the k-core (Batagelj & Zaversnik 2003), direction ignored."""
    matrix = graph.undirected
    return _cores(matrix.indptr, matrix.indices)


@njit(cache=True, nogil=True)
def _cores(indptr, indices):  # type: ignore[no-untyped-def]
    """Bucket algorithm of Batagelj and Zaversnik: repeatedly take out a node of least remaining degree."""
    n = len(indptr) - 1
    degree = np.empty(n, dtype=np.int64)
    most = 0
    for v in range(n):
        degree[v] = indptr[v + 1] - indptr[v]
        most = max(most, degree[v])
    bucket = np.zeros(most + 2, dtype=np.int64)
    for v in range(n):
        bucket[degree[v] + 1] += 1
    for d in range(most + 1):
        bucket[d + 1] += bucket[d]
    place = np.empty(n, dtype=np.int64)
    order = np.empty(n, dtype=np.int64)
    fill = bucket.copy()
    for v in range(n):
        place[v] = fill[degree[v]]
        order[place[v]] = v
        fill[degree[v]] += 1
    for i in range(n):
        v = order[i]
        for e in range(indptr[v], indptr[v + 1]):
            w = indices[e]
            if degree[w] > degree[v]:
                # move w to the front of its bucket, then shrink its degree by one
                front = bucket[degree[w]]
                u = order[front]
                if u != w:
                    order[front], order[place[w]] = w, u
                    place[u], place[w] = place[w], front
                bucket[degree[w]] += 1
                degree[w] -= 1
    return degree


_NETWORKIT = threading.Lock()
"""networkit keeps its seed and its number of threads for the whole process: one graph at a time."""


def communities(graph: WeekGraph, seed: int) -> pl.DataFrame:
    """Communities of the money-weighted undirected graph by Louvain (Blondel et al. 2008).

    One row per node: ``community`` (label, numbered by the first member in id order), ``community_size``
    (parties in it), ``within_share`` (share of the party's flow that stays in it; NaN without flow).
    networkit's PLM runs sequentially in a fixed order, so equal graphs give equal labels.
    """
    # imported here: networkit takes seconds to load, and only this measure needs it
    import networkit as nk

    n = len(graph)
    if not n:
        return pl.DataFrame(schema={"community": pl.Int64, "community_size": pl.Int64, "within_share": pl.Float64})
    matrix = graph.undirected
    upper = sparse.triu(matrix, k=1, format="coo")
    with _NETWORKIT:
        threads = nk.getMaxNumberOfThreads()
        nk.setNumberOfThreads(1)
        try:
            nk.setSeed(seed, False)
            net = nk.GraphFromCoo(
                (
                    upper.data.astype(np.float64) / 100.0,
                    (upper.row.astype(np.uint64), upper.col.astype(np.uint64)),
                ),
                n=n,
                weighted=True,
            )
            louvain = nk.community.PLM(net, refine=False, par="none")
            louvain.run()
            raw = np.asarray(louvain.getPartition().getVector(), dtype=np.int64)
        finally:
            nk.setNumberOfThreads(threads)
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    label = np.argsort(np.argsort(first, kind="stable"), kind="stable")[inverse]
    size = np.bincount(label)[label]
    party = np.repeat(np.arange(n), np.diff(matrix.indptr))
    inside = np.zeros(n, dtype=np.int64)
    same = label[party] == label[matrix.indices]
    np.add.at(inside, party[same], matrix.data[same])
    flow = matrix.sum(axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(flow > 0, inside / flow, np.nan)
    return pl.DataFrame({"community": label, "community_size": size, "within_share": share})


# --- blacklist ----------------------------------------------------------------------------------------------


def blacklist_exposure(graph: WeekGraph, max_hops: int) -> pl.DataFrame:
    """How near blacklisted parties are, over payments in either direction.

    One row per node: ``hops`` (length of the shortest path to a listed party; 0 where the party itself is
    listed, -1 where none lies within ``max_hops``), ``listed_1hop`` and ``listed_2hop`` (listed parties, itself
    left out, at a distance of exactly one and exactly two), ``share_1hop`` (share of its flow with listed
    parties), ``share_2hop`` (share of its flow with parties that are not listed but deal with a listed party
    other than itself), ``flow_2hop`` (the same, each party counted with the share of its own flow that touches
    listed parties: near zero where the shared party is a utility that half the town pays). Shares are NaN
    without flow.
    """
    matrix = graph.undirected
    hops = _hops(matrix.indptr, matrix.indices, graph.is_listed, max_hops)
    one, two = _listed_around(matrix.indptr, matrix.indices, graph.is_listed)
    share_1, share_2, flow_2 = _listed_flow(matrix.indptr, matrix.indices, matrix.data, graph.is_listed, one)
    return pl.DataFrame(
        {
            "hops": hops,
            "listed_1hop": one,
            "listed_2hop": two,
            "share_1hop": share_1,
            "share_2hop": share_2,
            "flow_2hop": flow_2,
        }
    )


@njit(cache=True, nogil=True)
def _hops(indptr, indices, listed, max_hops):  # type: ignore[no-untyped-def]
    """Breadth-first distance to the nearest listed node, -1 beyond ``max_hops``."""
    n = len(indptr) - 1
    hops = np.full(n, -1, dtype=np.int64)
    queue = np.empty(n, dtype=np.int64)
    head, tail = 0, 0
    for v in range(n):
        if listed[v]:
            hops[v] = 0
            queue[tail] = v
            tail += 1
    while head < tail:
        v = queue[head]
        head += 1
        if hops[v] == max_hops:
            break
        for e in range(indptr[v], indptr[v + 1]):
            w = indices[e]
            if hops[w] < 0:
                hops[w] = hops[v] + 1
                queue[tail] = w
                tail += 1
    return hops


@njit(cache=True, nogil=True)
def _listed_around(indptr, indices, listed):  # type: ignore[no-untyped-def]
    """Listed nodes at distance exactly one and exactly two, found outward from each listed node."""
    n = len(indptr) - 1
    one = np.zeros(n, dtype=np.int64)
    two = np.zeros(n, dtype=np.int64)
    near = np.full(n, -1, dtype=np.int64)
    counted = np.full(n, -1, dtype=np.int64)
    for b in range(n):
        if not listed[b]:
            continue
        near[b] = b
        for e in range(indptr[b], indptr[b + 1]):
            near[indices[e]] = b
            one[indices[e]] += 1
        for e in range(indptr[b], indptr[b + 1]):
            x = indices[e]
            for f in range(indptr[x], indptr[x + 1]):
                y = indices[f]
                if near[y] != b and counted[y] != b:
                    counted[y] = b
                    two[y] += 1
    return one, two


@njit(cache=True, nogil=True)
def _listed_flow(indptr, indices, cents, listed, listed_around):  # type: ignore[no-untyped-def]
    """Shares of flow with listed nodes, with their neighbours, and the latter weighted by how listed their flow is."""
    n = len(indptr) - 1
    flow = np.zeros(n, dtype=np.int64)
    tainted = np.zeros(n, dtype=np.int64)
    for v in range(n):
        for e in range(indptr[v], indptr[v + 1]):
            flow[v] += cents[e]
            if listed[indices[e]]:
                tainted[v] += cents[e]
    direct = np.full(n, np.nan)
    through = np.full(n, np.nan)
    weighted = np.full(n, np.nan)
    for v in range(n):
        if flow[v] == 0:
            continue
        near = 0
        damped = 0.0
        for e in range(indptr[v], indptr[v + 1]):
            x = indices[e]
            own = 1 if listed[v] else 0
            if listed[x] or listed_around[x] - own <= 0:
                continue
            near += cents[e]
            if flow[x] > 0:
                damped += cents[e] / flow[v] * ((tainted[x] - own * cents[e]) / flow[x])
        direct[v] = tainted[v] / flow[v]
        through[v] = near / flow[v]
        weighted[v] = min(1.0, damped)
    return direct, through, weighted


def exposure_path(graph: WeekGraph, client: str, max_hops: int = 4) -> list[str] | None:
    """Shortest path from a client to a blacklisted party, as evidence: ids from client to listed party.

    Direction of payments is ignored, as in :func:`blacklist_exposure`, and the length of the path is its
    ``hops``. Among equally near listed parties, and among equally short paths, the first in id order is taken.
    None where the client has no payment in the window or no listed party lies within ``max_hops``. Works on
    the client's surroundings only, as a networkx graph.
    """
    origin = graph.position(client)
    if origin < 0:
        return None
    matrix = graph.undirected
    around = nx.Graph()
    around.add_node(client)
    ring, reached = {origin}, {origin}
    for _ in range(max_hops):
        if any(graph.is_listed[v] for v in ring):
            break
        following: set[int] = set()
        for v in sorted(ring):
            for w in matrix.indices[matrix.indptr[v] : matrix.indptr[v + 1]]:
                around.add_edge(graph.ids[v], graph.ids[w])
                following.add(int(w))
        ring = following - reached
        reached |= ring
    listed = sorted(graph.ids[v] for v in ring if graph.is_listed[v])
    if not listed:
        return None
    before = nx.predecessor(around, client)
    path = [listed[0]]
    while path[-1] != client:
        path.append(min(before[path[-1]]))
    return path[::-1]


def exposure_evidence(graph: WeekGraph, path: list[str]) -> pl.DataFrame:
    """Payments summed along an :func:`exposure_path`: one row per ordered pair that paid on it.

    Columns ``step`` (1 = nearest the client), ``payer``, ``payee``, ``payments`` (count), ``amount_base``,
    ``first_at``, ``last_at`` (UTC), sorted by step and payer. Empty for a path of one party.

    Raises
    ------
    ValueError : two neighbours on the path have no payment in the graph.
    """
    rows = []
    for step, (near, far) in enumerate(pairwise(path), start=1):
        found = [(a, b) for a, b in sorted([(near, far), (far, near)]) if _pair(graph, a, b) >= 0]
        if not found:
            raise ValueError(f"{near} and {far} have no payment in the window: not a path of this graph")
        for payer, payee in found:
            pair = _pair(graph, payer, payee)
            low, high = graph.pair_start[pair], graph.pair_start[pair + 1]
            rows.append(
                {
                    "step": step,
                    "payer": payer,
                    "payee": payee,
                    "payments": int(high - low),
                    "amount_base": int(graph.pair_cents[pair]) / 100,
                    "first_at": int(graph.event_at[low]),
                    "last_at": int(graph.event_at[high - 1]),
                }
            )
    schema = {
        "step": pl.Int64,
        "payer": pl.String,
        "payee": pl.String,
        "payments": pl.Int64,
        "amount_base": pl.Float64,
        "first_at": pl.Int64,
        "last_at": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("first_at", "last_at").cast(pl.Datetime("us")))


def _pair(graph: WeekGraph, payer: str, payee: str) -> int:
    source, target = graph.position(payer), graph.position(payee)
    if source < 0 or target < 0:
        return -1
    low, high = graph.out_start[source], graph.out_start[source + 1]
    at = int(low + np.searchsorted(graph.pair_target[low:high], target))
    return at if at < high and graph.pair_target[at] == target else -1
