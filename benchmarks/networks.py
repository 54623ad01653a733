"""Graph measures against networkx and Snap ML's Graph Feature Preprocessor (GFP), on one week's graph.

The graph is the one P2 reads: 90 days of payments before the last as-of date of the world. networkx runs on it where
it has at most :data:`PEER_PAIRS` ordered pairs, else on the newest days that hold so many; then both sides are
measured there, and the row of the whole graph extrapolates the peer linearly by pairs. GFP gets every payment in one
call, in time order, with a window longer than the data, because it forgets edges older than its window even while it
is still being asked about them.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any, Final

import networkx as nx
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks import windows
from benchmarks.record import Recorder, Row, timed
from ml_assets.config import FeatureConfig
from ml_assets.features import graph as graphs
from ml_assets.features import p2_network as p2
from ml_assets.features import temporal_patterns as patterns
from ml_assets.features.graph import WeekGraph
from ml_assets.features.history import DAY_US, History, build_history
from orchestration.defs import reading
from orchestration.defs.resources import Warehouse

PEER_PAIRS: Final = 250_000
"""Ordered pairs of the newest days on which networkx, and GFP for fans, run where the week has more."""
GFP_PAYMENTS: Final = 40_000
"""Ordered pairs of the newest days on which GFP looks for cycles: it knows no longest length, hubs cost it minutes."""

HAS_GFP: Final = importlib.util.find_spec("snapml") is not None
GFP: Final = "Snap ML Graph Feature Preprocessor"
_DAY: Final = (windows.LAST_WEEK - date(1970, 1, 1)).days


def graph_of(
    payer: NDArray[np.int64], payee: NDArray[np.int64], at_us: NDArray[np.int64], cents: NDArray[np.int64], day: int
) -> WeekGraph:
    """The product's graph of payments given as arrays, seen from ``day`` (days since 1970), 90 days back."""
    frame = pl.DataFrame({"payer": payer, "payee": payee, "at": at_us, "cents": cents})
    rows = frame.with_row_index("number").select(
        txn_id=pl.col("number").cast(pl.String),
        client_id=pl.format("N{}", pl.col("payer").cast(pl.String).str.zfill(7)),
        counterparty_id=pl.format("N{}", pl.col("payee").cast(pl.String).str.zfill(7)),
        counterparty_country=pl.lit(None, pl.String),
        counterparty_sector=pl.lit(None, pl.String),
        channel=pl.lit("transfer"),
        currency=pl.lit("EUR"),
        direction=pl.lit("outbound"),
        amount_base=pl.col("cents") / 100.0,
        is_counterparty_client=pl.lit(True),
        is_time_known=pl.lit(True),
        txn_at=pl.col("at").cast(pl.Datetime("us")),
        known_date=pl.col("at").cast(pl.Datetime("us")).cast(pl.Date),
        counterparty_listed_date=pl.lit(None, pl.Date),
    )
    history = build_history(rows)
    return graphs.build_week_graph(history, graphs.index_nodes(history), day, 90)


def newest(graph: WeekGraph, history: Any, nodes: Any, pairs: int) -> WeekGraph:
    """The graph over the longest window that holds at most ``pairs`` ordered pairs."""
    days = graph.days
    while len(graph.pair_source) > pairs and days > 1:
        days = max(1, int(days * min(0.9, pairs / len(graph.pair_source))))
        graph = graphs.build_week_graph(history, nodes, graph.as_of_day, days)
    return graph


def _describe(graph: WeekGraph) -> str:
    return f"{len(graph):,} parties, {len(graph.pair_source):,} pairs, {len(graph.event_at):,} payments"


def exact_pagerank(graph: WeekGraph, damping: float) -> NDArray[np.float64]:
    """PageRank iterated until nothing moves: the vector the others are held to."""
    n = len(graph)
    paid = np.bincount(graph.pair_source, weights=graph.pair_cents, minlength=n)
    share = graph.pair_cents / paid[graph.pair_source]
    follow = sparse.coo_array((share, (graph.pair_target, graph.pair_source)), shape=(n, n)).tocsr()
    rank = np.full(n, 1.0 / n)
    for _ in range(400):
        rank = damping * (follow @ rank + rank[paid == 0].sum() / n) + (1 - damping) / n
    return rank / rank.sum()


def whole_graphs(record: Recorder, warehouse: Warehouse, size: str) -> tuple[WeekGraph, History]:
    """PageRank, communities, clustering and cores against networkx; returns the week's graph and its history."""
    config = FeatureConfig()
    weeks = [windows.LAST_WEEK]
    windows.request(warehouse, weeks)
    reading._CACHE.clear()
    history = reading.read_history(warehouse, weeks)
    nodes = graphs.index_nodes(history)
    graph, built = timed(lambda: graphs.build_week_graph(history, nodes, _DAY, 90), 2)
    record.add(Row("building the week's graph", size, built, note=_describe(graph)))
    _, seconds = timed(lambda: _whole_week(warehouse, history), 2)
    through = np.diff(graph.in_start) @ np.diff(graph.out_start) / max(1, len(graph.pair_source))
    note = f"{_describe(graph)}; on average {through:.0f} ways lead on from a pair to a next one"
    record.add(Row("P2 of one week, all features", size, seconds, note=note))
    record.memory("P2 of one week, all features", size)
    small = newest(graph, history, nodes, PEER_PAIRS)
    directed, undirected = small.to_networkx(), nx.Graph()
    undirected.add_nodes_from(directed)
    for u, v, d in directed.edges(data=True):
        before = undirected.get_edge_data(u, v, {"amount": 0.0})["amount"]
        undirected.add_edge(u, v, amount=before + d["amount"])
    sampled = len(small.pair_source) < len(graph.pair_source)
    scale = len(graph.pair_source) / max(1, len(small.pair_source))
    where = f"the {small.days} newest days: {_describe(small)}" if sampled else _describe(small)

    def add(name: str, run: Any, peer: str, peer_seconds: float, equal: bool, target: float, note: str) -> None:
        _, seconds = timed(lambda: run(replace(small)), 3)
        record.add(Row(name, where, seconds, peer, peer_seconds, equal=equal, target=target, note=note))
        if sampled:
            _, whole = timed(lambda: run(replace(graph)), 2)
            record.add(
                Row(name, size, whole, peer, peer_seconds * scale, target=target,
                    note=f"{_describe(graph)}; the peer's seconds extrapolated linearly by pairs from the row above")
            )  # fmt: skip

    damping, tolerance = config.pagerank_damping_ratio, config.pagerank_tolerance
    rank, taken = timed(lambda: nx.pagerank(directed, damping, tol=1e-8 / len(small), weight="amount", max_iter=1000))
    exact = exact_pagerank(small, damping)
    mine = graphs.pagerank(small, damping, tolerance)
    error = float(np.abs(mine - exact).sum())
    theirs = float(np.abs(np.array([rank[v] for v in small.ids]) - exact).sum())
    add("PageRank", lambda g: graphs.pagerank(g, damping, tolerance), "networkx", taken, error <= 1e-8, 30,
        f"L1 distance to the exact vector {error:.0e}, networkx (tolerance 1e-8/N) {theirs:.0e}")  # fmt: skip

    parts, taken = timed(lambda: nx.community.louvain_communities(undirected, weight="amount", seed=config.graph_seed))
    found = graphs.communities(small, config.graph_seed)
    groups: dict[int, set[str]] = defaultdict(set)
    for party, label in zip(small.ids, found["community"], strict=True):
        groups[label].add(party)
    own = nx.community.modularity(undirected, list(groups.values()), weight="amount")
    other = nx.community.modularity(undirected, parts, weight="amount")
    add("communities (Louvain)", lambda g: graphs.communities(g, config.graph_seed), "networkx", taken,
        own >= other - 0.01, 20,
        f"labels cannot be equal; modularity within 0.01 counts: {own:.4f}, networkx {other:.4f}")  # fmt: skip

    coefficient, taken = timed(lambda: nx.clustering(undirected))
    cluster = graphs.clustering(small)["clustering"].to_numpy()
    expected = np.array([coefficient[v] for v in small.ids])
    equal = bool(np.allclose(np.nan_to_num(cluster), expected, rtol=0, atol=1e-12))
    add("local clustering", graphs.clustering, "networkx", taken, equal, 20, "triangles included")

    core, taken = timed(lambda: nx.core_number(undirected))
    equal = bool((graphs.core_number(small) == np.array([core[v] for v in small.ids])).all())
    add("k-core", graphs.core_number, "networkx", taken, equal, 20, "")
    return graph, history


def _whole_week(warehouse: Warehouse, history: Any) -> None:
    weeks = [windows.LAST_WEEK]
    spine = reading.read_spine(warehouse, history, weeks)
    first_seen = pl.DataFrame(
        schema={"client_id": pl.String, "counterparty_id": pl.String, "first_known_date": pl.Date}
    )
    p2.build(history, spine, FeatureConfig(), first_seen=first_seen, jurisdictions=windows.JURISDICTIONS)


# --- Graph Feature Preprocessor ---------------------------------------------------------------------------------


def payments_of(graph: WeekGraph) -> NDArray[np.float64]:
    """GFP's input: number, payer, payee, seconds, amount; one row per payment in time order."""
    order = np.argsort(graph.event_at, kind="stable")
    return np.column_stack(
        [
            np.arange(len(order)),
            graph.pair_source[graph.event_pair][order],
            graph.pair_target[graph.event_pair][order],
            # GFP keeps windows in 32 bits: seconds, and the world's moments are whole seconds
            (graph.event_at[order] - graph.event_at.min(initial=2**62)) // 1_000_000,
            graph.event_cents[order] / 100.0,
        ]
    ).astype(np.float64)


def gfp(payments: NDArray[np.float64], **wanted: Any) -> NDArray[np.float64]:
    """Features GFP adds to each payment, one thread, nothing forgotten."""
    from snapml import GraphFeaturePreprocessor

    preprocessor = GraphFeaturePreprocessor()
    off = dict.fromkeys(("vertex_stats", "fan", "degree", "scatter-gather", "temp-cycle", "lc-cycle"), False)
    preprocessor.set_params({"num_threads": 1, "time_window": 10**9, **off, **wanted})
    added: NDArray[np.float64] = preprocessor.transform(payments)[:, payments.shape[1] :]
    return added


def _per_node(payments: NDArray[np.float64], values: NDArray[np.float64], party: int, n: int) -> NDArray[np.float64]:
    """Each node's values from any payment in which it is the ``party`` (1 payer, 2 payee); NaN where in none."""
    out = np.full((n, values.shape[1]), np.nan)
    out[payments[:, party].astype(np.int64)] = values
    return out


_STATISTICS: Final = (
    "fan",
    "degree",
    "ratio",
    "mean",
    "sum",
    "min",
    "max",
    "median",
    "variance",
    "skewness",
    "kurtosis",
)


def vertex_and_fans(record: Recorder, graph: WeekGraph, history: History, size: str) -> None:
    """Vertex statistics and fans against GFP on the same payments, with equal values.

    GFP was still looking for the fans of two million payments after ten minutes, so both look for them in at most
    :data:`PEER_PAIRS` pairs of the newest days.
    """
    config = FeatureConfig()
    n = len(graph)

    def statistics() -> tuple[pl.DataFrame, pl.DataFrame]:
        fresh = replace(graph)  # without what earlier measures have cached in it
        return graphs.vertex_statistics(fresh), graphs.payment_statistics(fresh)

    vertex, seconds = timed(statistics, 3)
    span = config.pattern_window_days * 86_400
    some = newest(graph, history, graphs.index_nodes(history), PEER_PAIRS)
    where = size if some is graph else f"{_describe(some)} of the newest {some.days} days"
    fans, fan_seconds = timed(lambda: patterns.fans(replace(some), config.pattern_window_days), 3)
    if some is not graph:
        _, whole = timed(lambda: patterns.fans(replace(graph), config.pattern_window_days), 3)
        record.add(Row("fans, all of the week's graph", size, whole, note=_describe(graph)))
    if not HAS_GFP:
        for name, on, taken in (("vertex statistics", size, seconds), ("fans", where, fan_seconds)):
            record.add(Row(name, on, taken, GFP, note="snapml is not installed: no peer"))
        return
    payments = payments_of(graph)
    added, taken = timed(
        lambda: gfp(payments, vertex_stats=True, vertex_stats_tw=10**9, vertex_stats_cols=[4],
                    vertex_stats_feats=list(range(len(_STATISTICS))))
    )  # fmt: skip
    k = len(_STATISTICS)
    one, single = vertex
    worst, flattened = 0.0, 0
    for side, place, party in (("out", 0, 1), ("in", 3 * k, 2)):
        theirs = _per_node(payments, added[:, place : place + k], party, n)
        there = ~np.isnan(theirs[:, 0])
        payment = {name: single[f"{side}_payment_{name}"].to_numpy() for name in _STATISTICS[7:]}
        own = [
            one[f"{side}_degree"].to_numpy(),
            single[f"{side}_payments"].to_numpy(),
            single[f"{side}_payments"].to_numpy() / np.maximum(one[f"{side}_degree"].to_numpy(), 1),
            single[f"{side}_payment_mean"].to_numpy(),
            one[f"{side}_sum"].to_numpy(),
            single[f"{side}_payment_min"].to_numpy(),
            single[f"{side}_payment_max"].to_numpy(),
            payment["median"],
            payment["variance"],
            payment["skewness"],
            payment["kurtosis"],
        ]
        # GFP takes a small spread for none (seen: 42.92 and 43.13); its moments are then 0 though amounts differ
        flat = there & (theirs[:, 8] == 0) & (payment["variance"] > 0)
        flattened += int(flat.sum())
        for j, values in enumerate(own):
            # of equal amounts the product gives no skewness or kurtosis, GFP zero or what rounding leaves
            both = there & ~np.isnan(values) & ~(flat & (j >= 8))
            gap = np.abs(values[both] - theirs[both, j]) / np.maximum(1.0, np.abs(theirs[both, j]))
            worst = max(worst, float(gap.max(initial=0.0)))
    record.add(
        Row("vertex statistics (degree, strength, moments, shares)", size, seconds, GFP, taken, equal=worst <= 1e-6,
            target=10, note=f"11 statistics of payments in and out, largest relative difference {worst:.0e}; left out: "
            f"spread of {flattened} parties that GFP rounds to 0 though their amounts differ; the product adds HHI, "
            "shares, recent degrees and neighbours' degrees")
    )  # fmt: skip
    most = 60
    bins = list(range(2, most + 1))
    payments = payments_of(some)
    added, taken = timed(lambda: gfp(payments, fan=True, fan_tw=span, fan_bins=bins))
    equal = True
    for name, place, party in (("fan_in", 0, 2), ("fan_out", len(bins), 1)):
        histogram = added[:, place : place + len(bins)]
        widest = np.where(histogram.any(axis=1), most - np.argmax(histogram[:, ::-1] > 0, axis=1), 0)
        theirs = np.zeros(len(some), dtype=np.int64)
        np.maximum.at(theirs, payments[:, party].astype(np.int64), widest)
        own = np.minimum(fans[name].to_numpy(), most)
        equal &= bool((np.where(own >= 2, own, 0) == theirs).all())
    record.add(
        Row("fans (widest fan-in and fan-out in 7 days, gather-scatter)", where, fan_seconds, GFP, taken, equal=equal,
            target=10, note=f"widths 2 to {most} compared per party; GFP's histogram read at its widest bin; "
            "gather-scatter is the product's alone")
    )  # fmt: skip


# --- temporal cycles: two rules, one enumerator -----------------------------------------------------------------

Payment = tuple[int, int, int]  # payer, payee, moment


def enumerate_cycles(made: list[Payment], span: int, longest: int) -> tuple[dict, dict]:
    """All temporal cycles of a small list of payments by plain recursion, counted by both rules.

    Returns
    -------
    By (party, length): sequences of payments the party is on, the product's rule. By (payment's number, length):
    GFP's rule, the number of different (closing payment, sequence of parties) among the cycles the payment is on.
    """
    sequences: dict[tuple[int, int], int] = defaultdict(int)
    bundles: dict[tuple[int, int], set[tuple[int, tuple[int, ...]]]] = defaultdict(set)

    def follow(path: list[int]) -> None:
        first, last = made[path[0]], made[path[-1]]
        if last[1] == first[0]:
            parties = tuple(made[i][0] for i in path)
            for i in path:
                sequences[made[i][0], len(path)] += 1
                bundles[i, len(path)].add((path[-1], parties))
            return
        if len(path) == longest:
            return
        seen = {made[i][0] for i in path[1:]} | {last[1]}
        for j, (payer, payee, moment) in enumerate(made):
            if payer == last[1] and last[2] < moment <= first[2] + span and payee not in seen:
                follow([*path, j])

    for i in range(len(made)):
        follow([i])
    return sequences, {key: len(found) for key, found in bundles.items()}


def reconcile_cycles(graphs_made: int, seed: int = 5) -> tuple[bool, bool, int]:
    """Do the product and GFP each follow their own rule on random small multigraphs, and how often do these differ.

    Returns
    -------
    Product equals the enumerator, GFP equals the enumerator, graphs on which the totals of both rules differ.
    """
    rng = np.random.default_rng(seed)
    mine, theirs, differ = True, True, 0
    for _ in range(graphs_made):
        parties, count, span = int(rng.integers(3, 6)), int(rng.integers(3, 16)), int(rng.integers(2, 11))
        made: list[Payment] = []
        for _ in range(count):
            payer, payee = rng.choice(parties, 2, replace=False).tolist()
            made.append((payer, payee, int(rng.integers(1, 13))))
        made.sort(key=lambda p: p[2])
        sequences, bundles = enumerate_cycles(made, span, 6)
        graph = graph_of(
            np.array([p[0] for p in made]),
            np.array([p[1] for p in made]),
            np.array([(_DAY - 20 + p[2]) * DAY_US for p in made]),
            np.full(count, 100),
            _DAY,
        )
        found = patterns.temporal_cycles(graph, span, 6, 10**9)
        for k in range(2, 7):
            expected = [sequences.get((int(v[1:]), k), 0) for v in graph.ids]
            mine &= found[f"cycle_{k}"].to_list() == expected
        rows = np.array([[i, *p, 1.0] for i, p in enumerate(made)], dtype=np.float64)
        added = gfp(rows, **_cycle_parameters(span))[:, :5]
        theirs &= bool((added == [[bundles.get((i, k), 0) for k in range(2, 7)] for i in range(count)]).all())
        differ += int(added.sum()) != sum(sequences.values())
    return mine, theirs, differ


def _cycle_parameters(span: int) -> dict[str, Any]:
    return {"temp-cycle": True, "temp-cycle_tw": span, "temp-cycle_bins": [2, 3, 4, 5, 6, 7]}


def dense_graph(payments: int, parties: int, days: int, seed: int = 11) -> WeekGraph:
    """Payments among few parties, each ordered pair at most once, so that both rules of counting must agree."""
    rng = np.random.default_rng(seed)
    pair = rng.choice(parties * parties, size=int(payments * 1.05), replace=False)
    payer, payee = pair // parties, pair % parties
    kept = np.flatnonzero(payer != payee)[:payments]
    at = (_DAY - days) * DAY_US + rng.permutation(days * 86_400)[: len(kept)].astype(np.int64) * 1_000_000
    return graph_of(payer[kept], payee[kept], at, rng.integers(100, 1_000_000, len(kept)), _DAY)


def cycles(record: Recorder, graph: WeekGraph, history: Any, size: str) -> None:
    """Temporal cycles against GFP: the rules on small graphs, equal counts on a dense graph, seconds on both."""
    config = FeatureConfig()
    longest, nodes = config.cycle_max_length, graphs.index_nodes(history)
    if HAS_GFP:
        mine, theirs, differ = reconcile_cycles(150)
        record.add(
            Row("temporal cycles, both rules of counting", "150 small multigraphs", None, GFP, equal=mine and theirs,
                note="the product counts sequences of payments; GFP counts, for each payment, closing payments × "
                "sequences of parties, parallel payments on the way being one bundle; a plain enumerator gives both "
                f"rules' numbers exactly; they differ on {differ} of the 150")
        )  # fmt: skip
    _, whole = timed(
        lambda: patterns.temporal_cycles(graph, config.cycle_window_days, longest, config.cycle_steps_per_start), 2
    )
    record.add(Row("temporal cycles, all of the week's graph", size, whole, note=f"as P2 calls it; {_describe(graph)}"))
    dense = dense_graph(30_000, 1_500, 30)
    week = newest(graph, history, nodes, GFP_PAYMENTS)
    for name, where, days, limit in (
        ("temporal cycles, dense", dense, 7, 10**9),
        ("temporal cycles of the week", week, config.cycle_window_days, config.cycle_steps_per_start),
    ):
        found, seconds = timed(partial(patterns.temporal_cycles, where, days, longest, limit), 2)
        count = {k: int(found[f"cycle_{k}"].sum()) for k in range(2, 7)}
        cut = int(found["cycle_capped"].sum())
        bounded = "" if limit > 10**6 else f"; at most {limit} steps per start as in P2, {cut} starts cut"
        label = f"{_describe(where)} of the newest {where.days} days, within {days} days, lengths 2 to {longest}"
        if not HAS_GFP:
            record.add(Row(name, label, seconds, GFP, note="snapml is not installed: no peer"))
            continue
        payments = payments_of(where)
        added, taken = timed(partial(gfp, payments, **_cycle_parameters(days * 86_400)))
        theirs_node = np.zeros((len(where), 5))
        np.add.at(theirs_node, payments[:, 1].astype(np.int64), added[:, :5])
        own_node = np.column_stack([found[f"cycle_{k}"].to_numpy() for k in range(2, 7)])
        total = {k: int(theirs_node[:, k - 2].sum()) for k in range(2, 7)}
        is_simple = len(where.event_at) == len(where.pair_source)
        equal = bool((own_node == theirs_node).all()) if is_simple else None
        note = (
            f"equal per party and length, memberships by length {count}"
            if is_simple
            else f"memberships by length {count}, by GFP's rule {total}: parallel payments{bounded}"
        )
        record.add(
            Row(name, label, seconds, GFP, taken, equal=equal, target=2,
                note=f"{note}; GFP has no limit of length: {int(added[:, 5].sum()):,} memberships of longer ones")
        )  # fmt: skip
