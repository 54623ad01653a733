"""Patterns in time against brute force and networkx on small random graphs."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from itertools import combinations, pairwise, permutations

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.features import temporal_patterns as patterns
from ml_assets.features.graph import WeekGraph, build_week_graph, index_nodes
from ml_assets.features.history import DAY_US, build_history

AS_OF = date(2024, 4, 1)
DAY = (AS_OF - date(1970, 1, 1)).days


def graph_of(payer: list, payee: list, at_us: list, amount: list, as_of_day: int = DAY) -> WeekGraph:
    """Week graph of payments given as columns; every payer is a client, ``at_us`` in microseconds since 1970."""
    frame = pl.DataFrame(
        {
            "client_id": pl.Series(payer, dtype=pl.String),
            "counterparty_id": pl.Series(payee, dtype=pl.String),
            "txn_at": pl.Series(at_us, dtype=pl.Int64).cast(pl.Datetime("us")),
            "amount_base": pl.Series(amount, dtype=pl.Float64),
        }
    ).with_columns(
        txn_id=pl.format("t{}", pl.int_range(pl.len())),
        counterparty_country=pl.lit(None, dtype=pl.String),
        counterparty_sector=pl.lit(None, dtype=pl.String),
        channel=pl.lit("transfer"),
        currency=pl.lit("EUR"),
        direction=pl.lit("outbound"),
        is_counterparty_client=pl.lit(True),
        is_time_known=pl.lit(True),
        known_date=pl.col("txn_at").cast(pl.Date),
        counterparty_listed_date=pl.lit(None, dtype=pl.Date),
    )
    history = build_history(frame)
    return build_week_graph(history, index_nodes(history), as_of_day, 90)


Payment = tuple[str, str, int, int]  # payer, payee, days before the as-of date, cents


def small_graph(made: list[Payment]) -> WeekGraph:
    return graph_of(
        [p[0] for p in made], [p[1] for p in made], [(DAY - p[2]) * DAY_US for p in made], [p[3] / 100 for p in made]
    )


def payments(parties: int, most: int) -> st.SearchStrategy[list[Payment]]:
    party = st.sampled_from([f"n{i}" for i in range(parties)])
    one = st.tuples(party, party, st.integers(1, 14), st.sampled_from([900, 1000, 1100, 5000]))
    return st.lists(one.filter(lambda p: p[0] != p[1]), min_size=1, max_size=most)


def brute_cycles(made: list[Payment], span: int, longest: int) -> tuple[dict, dict]:
    counts: dict[tuple[int, str], int] = defaultdict(int)
    kept: dict[str, float] = {}

    def follow(sequence: list[Payment]) -> None:
        if sequence[-1][1] == sequence[0][0]:
            cents = [p[3] for p in sequence]
            for p in sequence:
                counts[len(sequence), p[0]] += 1
                kept[p[0]] = max(kept.get(p[0], 0.0), min(cents) / max(cents))
            return
        if len(sequence) == longest:
            return
        seen = {p[0] for p in sequence[1:]} | {sequence[-1][1]}
        for following in made:
            in_time = following[2] < sequence[-1][2] and sequence[0][2] - following[2] <= span
            if following[0] == sequence[-1][1] and in_time and following[1] not in seen:
                follow([*sequence, following])

    for first in made:
        follow([first])
    return counts, kept


@settings(max_examples=60, deadline=None)
@given(payments(6, 30), st.integers(2, 10), st.integers(2, 6))
def test_cycles_equal_brute_force(made: list[Payment], span: int, longest: int) -> None:
    graph = small_graph(made)
    found = patterns.temporal_cycles(graph, span, longest, 10**9)
    counts, kept = brute_cycles(made, span, longest)
    for k in range(2, 7):
        assert found[f"cycle_{k}"].to_list() == [counts[k, v] for v in graph.ids]
    np.testing.assert_allclose(found["cycle_retained"].to_numpy(), [kept.get(v, np.nan) for v in graph.ids])
    assert found["cycle_capped"].sum() == 0


@settings(max_examples=40, deadline=None)
@given(payments(6, 30), st.integers(2, 12))
def test_cycles_equal_ordered_simple_cycles_of_networkx(made: list[Payment], span: int) -> None:
    """Where each ordered pair pays once, temporal cycles are networkx's simple cycles with rising times."""
    made = list({p[:2]: p for p in made}.values())
    graph = small_graph(made)
    found = patterns.temporal_cycles(graph, span, 6, 10**9)
    moment = {p[:2]: -p[2] for p in made}
    expected: dict[tuple[int, str], int] = defaultdict(int)
    for parties in nx.simple_cycles(graph.to_networkx(), length_bound=6):
        k = len(parties)
        for turn in range(k):
            around = parties[turn:] + parties[:turn]
            times = [moment[around[i], around[(i + 1) % k]] for i in range(k)]
            if all(a < b for a, b in pairwise(times)) and times[-1] - times[0] <= span:
                for party in parties:
                    expected[k, party] += 1
    for k in range(2, 7):
        assert found[f"cycle_{k}"].to_list() == [expected[k, v] for v in graph.ids]


@settings(max_examples=20, deadline=None)
@given(payments(5, 40), st.integers(1, 30))
def test_a_cut_search_is_a_lower_bound_and_says_so(made: list[Payment], steps: int) -> None:
    graph = small_graph(made)
    full = patterns.temporal_cycles(graph, 14, 6, 10**9)
    cut = patterns.temporal_cycles(graph, 14, 6, steps)
    for k in range(2, 7):
        assert (cut[f"cycle_{k}"] <= full[f"cycle_{k}"]).all()
    assert cut["cycle_2"].equals(full["cycle_2"])
    if cut["cycle_capped"].sum() == 0:
        assert cut.equals(full)


def test_a_cycle_needs_time_order() -> None:
    ordered = small_graph([("a", "b", 9, 1000), ("b", "c", 8, 900), ("c", "a", 7, 800)])
    found = patterns.temporal_cycles(ordered, 14, 6, 1000)
    assert found["cycle_3"].to_list() == [1, 1, 1]
    assert found["cycle_retained"].to_list() == pytest.approx([0.8] * 3)
    same_day = small_graph([("a", "b", 9, 1000), ("b", "c", 9, 900), ("c", "a", 7, 800)])
    assert patterns.temporal_cycles(same_day, 14, 6, 1000)["cycle_3"].sum() == 0
    assert patterns.temporal_cycles(ordered, 1, 6, 1000)["cycle_3"].sum() == 0
    assert patterns.temporal_cycles(ordered, 2, 6, 1000)["cycle_3"].sum() == 3
    with pytest.raises(ValueError, match="2 to 6"):
        patterns.temporal_cycles(ordered, 14, 7, 1000)


@settings(max_examples=60, deadline=None)
@given(payments(7, 40), st.integers(1, 9))
def test_fans_equal_brute_force(made: list[Payment], span: int) -> None:
    graph = small_graph(made)
    found = patterns.fans(graph, span)
    for i, v in enumerate(graph.ids):
        received = [(-p[2], p[0]) for p in made if p[1] == v]
        paid = [(-p[2], p[1]) for p in made if p[0] == v]
        for name, events in (("fan_in", received), ("fan_out", paid)):
            widest = max((len({o for s, o in events if t - span <= s <= t}) for t, _ in events), default=0)
            assert found[name][i] == widest
        both = [
            min(len({o for s, o in received if t - span <= s <= t}), len({o for s, o in paid if t < s <= t + span}))
            for t, _ in received
        ]
        assert found["gather_scatter"][i] == max(both, default=0)


@settings(max_examples=60, deadline=None)
@given(payments(7, 40), st.integers(0, 9), st.integers(2, 6))
def test_scatter_gather_equals_brute_force(made: list[Payment], span: int, hub: int) -> None:
    graph = small_graph(made)
    found = patterns.scatter_gather(graph, span, hub)
    small = {
        v
        for v in graph.ids
        if len({p[1] for p in made if p[0] == v}) <= hub and len({p[0] for p in made if p[1] == v}) <= hub
    }
    between = defaultdict(set)
    for first in made:
        for second in made:
            u, m, w = first[0], first[1], second[1]
            if second[0] == m and w != u and abs(first[2] - second[2]) <= span and {u, m, w} <= small:
                between[u, w].add(m)
    for i, v in enumerate(graph.ids):
        widths = [(u, w, len(m), m) for (u, w), m in between.items()]
        assert found["scatter_gather_source"][i] == max((k for u, _, k, _ in widths if u == v), default=0)
        assert found["scatter_gather_sink"][i] == max((k for _, w, k, _ in widths if w == v), default=0)
        assert found["scatter_gather_middle"][i] == max((k for *_, k, m in widths if v in m), default=0)


@settings(max_examples=40, deadline=None)
@given(payments(8, 45), st.integers(3, 14), st.integers(2, 7))
def test_layers_equal_brute_force(made: list[Payment], recent: int, hub: int) -> None:
    graph = small_graph(made)
    found = patterns.layers(graph, recent, hub)
    edges = {(p[0], p[1]) for p in made if p[2] <= recent}
    pays = {v: sum(a == v for a, _ in edges) for v in graph.ids}
    paid = {v: sum(b == v for _, b in edges) for v in graph.ids}
    edges = {(a, b) for a, b in edges if pays[a] <= hub and paid[b] <= hub}

    def joined(sources: tuple, sinks: tuple) -> bool:
        return all((s, t) in edges for s in sources for t in sinks)

    bipartite: dict[str, int] = defaultdict(int)
    stack: dict[str, int] = defaultdict(int)
    twos = list(combinations(graph.ids, 2))
    bicliques = [(s, t) for s in twos for t in twos if not set(s) & set(t) and joined(s, t)]
    for s, t in bicliques:
        for v in (*s, *t):
            bipartite[v] += 1
    for (s, m), (again, t) in permutations(bicliques, 2):
        if m == again and not set(s) & set(t):
            for v in (*s, *m, *t):
                stack[v] += 1
    assert found["bipartite"].to_list() == [bipartite[v] for v in graph.ids]
    assert found["stack"].to_list() == [stack[v] for v in graph.ids]


def test_a_full_stack_by_hand() -> None:
    made = [(s, m, 9, 100) for s in "ab" for m in "mn"] + [(m, t, 8, 100) for m in "mn" for t in "xyz"]
    graph = small_graph(made)
    found = patterns.layers(graph, 30, 50)
    # two payers × two of two middles below, three choices of two sinks above
    assert dict(zip(graph.ids, found["stack"], strict=True)) == {
        "a": 3, "b": 3, "m": 3, "n": 3, "x": 2, "y": 2, "z": 2,
    }  # fmt: skip
    assert dict(zip(graph.ids, found["bipartite"], strict=True))["m"] == 1 + 3
    assert patterns.layers(graph, 30, 2)["stack"].sum() == 0


@settings(max_examples=60, deadline=None)
@given(payments(6, 25), st.integers(1, 9))
def test_chains_equal_brute_force(made: list[Payment], span: int) -> None:
    graph = small_graph(made)
    found = patterns.chains(graph, span, 0.2, 20, 10**6)
    longest: dict[str, int] = defaultdict(int)

    def follow(sequence: list[Payment]) -> None:
        for p in sequence:
            longest[p[0]] = max(longest[p[0]], len(sequence))
            longest[p[1]] = max(longest[p[1]], len(sequence))
        last = sequence[-1]
        for p in made:
            passes_on = p[0] == last[1] and p[1] != last[0] and 0 < last[2] - p[2] <= span
            if passes_on and abs(p[3] - last[3]) * 5 <= last[3]:
                follow([*sequence, p])

    for first in made:
        follow([first])
    assert found["chain"].to_list() == [longest[v] for v in graph.ids]
