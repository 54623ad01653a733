"""The week's graph and its static measures, against hand-computed rows and networkx."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import sparse, stats

from ml_assets.features import graph as graphs
from ml_assets.features.history import build_history

AS_OF = date(2024, 4, 1)
DAY = (AS_OF - date(1970, 1, 1)).days


def rows(payments: list[dict]) -> pl.DataFrame:
    """Transactions from (client, other, direction, amount, days before the as-of date) and overrides."""
    filled = []
    for i, p in enumerate(payments):
        at = p.get("at", datetime(2024, 4, 1) - timedelta(days=p.get("ago", 5)))
        filled.append(
            {
                "txn_id": p.get("txn_id", f"t{i:05d}"),
                "client_id": p["client"],
                "counterparty_id": p.get("other"),
                "counterparty_country": p.get("country"),
                "counterparty_sector": None,
                "channel": "transfer",
                "currency": "EUR",
                "direction": p.get("direction", "outbound"),
                "amount_base": p.get("amount", 100.0),
                "is_counterparty_client": False,
                "is_time_known": True,
                "txn_at": at,
                "known_date": p.get("known", at.date()),
                "counterparty_listed_date": p.get("listed"),
            }
        )
    schema = {
        "txn_id": pl.String,
        "client_id": pl.String,
        "counterparty_id": pl.String,
        "counterparty_country": pl.String,
        "counterparty_sector": pl.String,
        "channel": pl.String,
        "currency": pl.String,
        "direction": pl.String,
        "amount_base": pl.Float64,
        "is_counterparty_client": pl.Boolean,
        "is_time_known": pl.Boolean,
        "txn_at": pl.Datetime("us"),
        "known_date": pl.Date,
        "counterparty_listed_date": pl.Date,
    }
    return pl.DataFrame(filled, schema=schema)


def week_graph(payments: list[dict], days: int = 90) -> graphs.WeekGraph:
    history = build_history(rows(payments))
    return graphs.build_week_graph(history, graphs.index_nodes(history), DAY, days)


payment = st.fixed_dictionaries(
    {
        "client": st.sampled_from([f"n{i}" for i in range(9)]),
        "other": st.sampled_from([f"n{i}" for i in range(9)]),
        "amount": st.integers(1, 50_000).map(lambda c: c / 100),
        "ago": st.integers(1, 20),
    }
)
payments = st.lists(payment, min_size=1, max_size=40)


def test_the_window_is_half_open_and_late_rows_are_unseen() -> None:
    graph = week_graph(
        [
            {"client": "a", "other": "first", "at": datetime(2024, 1, 2)},
            {"client": "a", "other": "too_old", "at": datetime(2024, 1, 1, 23, 59)},
            {"client": "a", "other": "last", "at": datetime(2024, 3, 31, 23, 59), "known": date(2024, 3, 31)},
            {"client": "a", "other": "as_of", "at": datetime(2024, 4, 1)},
            {"client": "a", "other": "late", "ago": 9, "known": AS_OF},
            {"client": "a", "other": None, "ago": 9},
            {"client": "a", "other": "a", "ago": 9},
        ]
    )
    assert list(graph.ids) == ["a", "first", "last"]
    assert list(graph.is_client) == [True, False, False]


def test_a_payment_between_clients_counts_once() -> None:
    both = [
        {"client": "a", "other": "b", "amount": 10.0},
        {"client": "a", "other": "b", "amount": 20.0, "ago": 3},
        {"client": "b", "other": "a", "amount": 10.0, "direction": "inbound"},
        {"client": "b", "other": "a", "amount": 20.0, "direction": "inbound", "ago": 3},
        {"client": "b", "other": "a", "amount": 7.0},
    ]
    edges = week_graph(both).to_networkx().edges(data=True)
    assert sorted((u, v, d["amount"], d["payments"]) for u, v, d in edges) == [("a", "b", 30.0, 2), ("b", "a", 7.0, 1)]


def test_the_side_with_more_rows_is_taken() -> None:
    graph = week_graph(
        [
            {"client": "a", "other": "b", "amount": 10.0},
            {"client": "b", "other": "a", "amount": 10.5, "direction": "inbound"},
            {"client": "b", "other": "a", "amount": 4.0, "direction": "inbound", "ago": 2},
        ]
    )
    assert [(u, v, d) for u, v, d in graph.to_networkx().edges(data=True)] == [
        ("a", "b", {"amount": 14.5, "payments": 2})
    ]


@given(payments, st.lists(st.integers(0, 30), min_size=40, max_size=40))
@settings(max_examples=40, deadline=None)
def test_weeks_from_payments_arranged_once_equal_weeks_alone(made: list[dict], late: list[int]) -> None:
    known = [AS_OF - timedelta(days=p["ago"] - days) for p, days in zip(made, late, strict=False)]
    sides = ["inbound" if days % 2 else "outbound" for days in late]
    history = build_history(
        rows([p | {"known": k, "direction": d} for p, k, d in zip(made, known, sides, strict=False)])
    )
    nodes = graphs.index_nodes(history)
    arranged = graphs.arrange_payments(history, nodes, DAY - 30, DAY + 30)
    for day in (DAY - 14, DAY - 7, DAY, DAY + 7):
        alone = graphs.build_week_graph(history, nodes, day, 14)
        graph = graphs.build_week_graph(history, nodes, day, 14, arranged)
        for name in ("node", "is_client", "is_listed", "pair_source", "pair_target", "pair_cents", "pair_start"):
            assert np.array_equal(getattr(alone, name), getattr(graph, name)), name
        assert np.array_equal(alone.event_at, graph.event_at)
        assert np.array_equal(alone.event_cents, graph.event_cents)
        # plain oracle: visible rows by ordered pair, the side with more rows
        seen: dict[tuple[str, str], dict[str, list[int]]] = {}
        for p, k, d in zip(made, known, sides, strict=False):
            at = DAY - p["ago"]
            if p["client"] != p["other"] and day - 14 <= at < day and (k - date(1970, 1, 1)).days < day:
                pair = (p["client"], p["other"]) if d == "outbound" else (p["other"], p["client"])
                seen.setdefault(pair, {"outbound": [], "inbound": []})[d].append(round(p["amount"] * 100))
        taken = {k: v["inbound"] if len(v["inbound"]) > len(v["outbound"]) else v["outbound"] for k, v in seen.items()}
        made_here = zip(graph.pair_source, graph.pair_target, graph.pair_cents, graph.pair_count, strict=True)
        found = {(graph.ids[s], graph.ids[t]): (c, n) for s, t, c, n in made_here}
        assert found == {k: (sum(v), len(v)) for k, v in taken.items()}


@given(payments)
@settings(max_examples=30, deadline=None)
def test_orders_and_dealings_equal_numpy_and_scipy(made: list[dict]) -> None:
    graph = week_graph(made)
    n = len(graph)
    assert np.array_equal(graph.time_order, np.argsort(graph.event_at, kind="stable"))
    assert np.array_equal(graph.in_order, np.argsort(graph.pair_target, kind="stable"))
    one_way = sparse.coo_array((graph.pair_cents, (graph.pair_source, graph.pair_target)), shape=(n, n)).toarray()
    assert np.array_equal(graph.undirected.toarray(), one_way + one_way.T)
    assert graph.undirected.nnz == np.count_nonzero(one_way + one_way.T)
    assert all(np.all(np.diff(row) > 0) for row in np.split(graph.undirected.indices, graph.undirected.indptr[1:-1]))


@given(st.lists(st.integers(-50, 10**15), max_size=1000))
@settings(max_examples=30, deadline=None)
def test_shell_sort_sorts(values: list[int]) -> None:
    found = np.array(values, dtype=np.int64)
    graphs._sort(found)
    assert found.tolist() == sorted(values)


def test_vertex_statistics_by_hand() -> None:
    graph = week_graph(
        [
            {"client": "c", "other": "x", "amount": 30.0, "ago": 40},
            {"client": "c", "other": "y", "amount": 10.0, "ago": 5},
            {"client": "c", "other": "x", "amount": 60.0, "ago": 10, "direction": "inbound"},
            {"client": "x", "other": "q", "amount": 1.0, "ago": 10},
        ]
    )
    row = graphs.vertex_statistics(graph).row(graph.position("c"), named=True)
    assert row["out_degree"] == 2
    assert (row["out_degree_7d"], row["out_degree_30d"], row["in_degree_7d"], row["in_degree_30d"]) == (1, 1, 0, 1)
    assert (row["out_sum"], row["out_mean"], row["out_std"]) == (40.0, 20.0, 10.0)
    assert row["out_hhi"] == pytest.approx(0.75**2 + 0.25**2)
    assert (row["out_max_share"], row["in_hhi"], row["in_max_share"]) == (0.75, 1.0, 1.0)
    assert np.isnan(row["in_std"])
    assert (row["neighbours"], row["mutual"]) == (2, 1)
    assert row["client_share"] == pytest.approx(0.9)  # x has rows of its own, y has not
    assert row["neighbour_degree"] == 1.5


@settings(deadline=None, max_examples=30)
@given(payments)
def test_sides_are_those_of_the_vertex_statistics(some: list[dict]) -> None:
    graph = week_graph(some)
    whole = graphs.vertex_statistics(graph)
    sides = graphs.side_statistics(graph)
    assert whole.columns[: sides.width] == sides.columns
    assert_frame_equal(whole.select(sides.columns), sides, check_exact=True)
    alone = graphs.side_statistics(graph, recent_days=())
    assert_frame_equal(sides.select(alone.columns), alone, check_exact=True)
    assert set(sides.columns) - set(alone.columns) == {f"{s}_degree_{d}d" for s in ("in", "out") for d in (7, 30)}


@settings(max_examples=40, deadline=None)
@given(payments)
def test_measures_equal_networkx(made: list[dict]) -> None:
    graph = week_graph(made)
    peer = graph.to_networkx()
    if not len(graph):
        return
    order = list(graph.ids)
    exact = nx.pagerank(peer, alpha=0.85, weight="amount", tol=1e-14, max_iter=2000)
    assert np.abs(graphs.pagerank(graph, 0.85, 1e-8) - [exact[v] for v in order]).sum() <= 1e-8
    back = nx.pagerank(peer.reverse(), alpha=0.85, weight="amount", tol=1e-14, max_iter=2000)
    assert np.abs(graphs.pagerank(graph, 0.85, 1e-8, reverse=True) - [back[v] for v in order]).sum() <= 1e-8

    between = nx.betweenness_centrality(peer)
    np.testing.assert_allclose(graphs.betweenness(graph, 100, 1), [between[v] for v in order], atol=1e-12)

    plain = nx.Graph(peer)
    found = graphs.clustering(graph)
    triangles, coefficient = nx.triangles(plain), nx.clustering(plain)
    assert found["triangles"].to_list() == [triangles[v] for v in order]
    expected = [coefficient[v] if plain.degree(v) > 1 else np.nan for v in order]
    np.testing.assert_allclose(found["clustering"].to_numpy(), expected)

    core = nx.core_number(plain)
    assert graphs.core_number(graph).tolist() == [core[v] for v in order]

    statistics = graphs.vertex_statistics(graph)
    assert statistics["in_degree"].to_list() == [peer.in_degree(v) for v in order]
    np.testing.assert_allclose(statistics["out_sum"].to_numpy(), [peer.out_degree(v, weight="amount") for v in order])


def test_sampled_betweenness_is_unbiased() -> None:
    generator = np.random.default_rng(3)
    made = [{"client": f"n{a}", "other": f"n{b}"} for a, b in generator.integers(0, 30, (120, 2)) if a != b]
    graph = week_graph(made)
    exact = graphs.betweenness(graph, 1000, 0)
    mean = np.mean([graphs.betweenness(graph, 6, seed) for seed in range(400)], axis=0)
    assert np.abs(mean - exact).max() < 0.1 * exact.max()
    assert not np.array_equal(graphs.betweenness(graph, 6, 1), exact)
    np.testing.assert_array_equal(graphs.betweenness(graph, 6, 1), graphs.betweenness(graph, 6, 1))


def test_communities_find_two_cliques_and_their_shares() -> None:
    made = [
        {"client": f"{side}{i}", "other": f"{side}{j}", "amount": 100.0}
        for side in "pq"
        for i in range(5)
        for j in range(i)
    ]
    made.append({"client": "p0", "other": "q0", "amount": 10.0})
    graph = week_graph(made)
    found = graphs.communities(graph, 1)
    assert found["community"].to_list() == [0] * 5 + [1] * 5
    assert found["community_size"].to_list() == [5] * 10
    assert found["within_share"][0] == pytest.approx(400 / 410)
    assert found["within_share"][1] == 1.0
    assert found.equals(graphs.communities(graph, 1))


listed_payment = st.tuples(payment, st.booleans()).map(
    lambda t: t[0] | {"listed": date(2024, 3, 31) if t[0]["other"] in {"n1", "n5"} and t[1] else None}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(listed_payment, min_size=1, max_size=30))
def test_exposure_equals_shortest_paths(made: list[dict]) -> None:
    graph = week_graph(made)
    plain = nx.Graph(graph.to_networkx())
    found = graphs.blacklist_exposure(graph, 4)
    listed = {v for v, d in plain.nodes(data=True) if d["is_listed"]}
    flow = graph.undirected.toarray() / 100
    for i, v in enumerate(graph.ids):
        near = nx.single_source_shortest_path_length(plain, v, cutoff=4)
        distances = {w: d for w, d in near.items() if w in listed}
        row = found.row(i, named=True)
        assert row["hops"] == min(distances.values(), default=-1)
        assert row["listed_1hop"] == sum(d == 1 for d in distances.values())
        assert row["listed_2hop"] == sum(d == 2 for d in distances.values())
        weights = dict(zip(graph.ids, flow[i], strict=True))
        total = sum(weights.values())
        shared = [x for x in plain[v] if x not in listed and set(plain[x]) & (listed - {v})]
        assert row["share_1hop"] == pytest.approx(sum(weights[x] for x in plain[v] if x in listed) / total)
        assert row["share_2hop"] == pytest.approx(sum(weights[x] for x in shared) / total)
        expected = 0.0
        for x in shared:
            at = graph.position(x)
            touched = sum(flow[at, graph.position(b)] for b in set(plain[x]) & (listed - {v}))
            expected += weights[x] / total * touched / flow[at].sum()
        assert row["flow_2hop"] == pytest.approx(expected)

        path = graphs.exposure_path(graph, v, 4)
        if row["hops"] < 0:
            assert path is None
            continue
        assert path is not None
        assert (path[0], len(path) - 1) == (v, row["hops"])
        assert path[-1] in listed
        assert all(plain.has_edge(a, b) for a, b in pairwise(path))


def test_a_listing_on_the_as_of_date_is_not_known_yet() -> None:
    made = [{"client": "a", "other": "b", "listed": AS_OF}, {"client": "a", "other": "c", "listed": date(2024, 3, 31)}]
    graph = week_graph(made)
    assert dict(zip(graph.ids, graph.is_listed, strict=True)) == {"a": False, "b": False, "c": True}


def test_the_path_is_evidence_with_amounts() -> None:
    made = [
        {"client": "a", "other": "shared", "amount": 12.5, "ago": 9},
        {"client": "a", "other": "shared", "amount": 7.5, "ago": 2},
        {"client": "b", "other": "shared", "amount": 3.0, "direction": "inbound"},
        {"client": "b", "other": "villain", "amount": 99.0, "listed": date(2020, 1, 1)},
    ]
    graph = week_graph(made)
    path = graphs.exposure_path(graph, "a")
    assert path == ["a", "shared", "b", "villain"]
    evidence = graphs.exposure_evidence(graph, path)
    assert evidence.select("step", "payer", "payee", "payments", "amount_base").rows() == [
        (1, "a", "shared", 2, 20.0),
        (2, "shared", "b", 1, 3.0),
        (3, "b", "villain", 1, 99.0),
    ]
    assert evidence["first_at"][0] == datetime(2024, 3, 23)
    assert graphs.exposure_path(graph, "a", max_hops=2) is None
    assert graphs.exposure_path(graph, "nobody") is None
    with pytest.raises(ValueError, match="no payment"):
        graphs.exposure_evidence(graph, ["a", "villain"])


def test_an_empty_window_gives_an_empty_graph() -> None:
    graph = week_graph([{"client": "a", "other": "b", "ago": 200}])
    assert len(graph) == 0
    assert graphs.pagerank(graph, 0.85, 1e-8).shape == (0,)
    assert graphs.vertex_statistics(graph).height == 0
    assert graphs.communities(graph, 1).height == 0
    assert graphs.exposure_path(graph, "a") is None
    assert graph.to_networkx(temporal=True).number_of_nodes() == 0


def test_temporal_networkx_has_one_edge_per_payment() -> None:
    graph = week_graph([{"client": "a", "other": "b", "amount": 1.0}, {"client": "a", "other": "b", "amount": 2.0}])
    peer = graph.to_networkx(temporal=True)
    assert sorted(d["amount"] for *_, d in peer.edges(data=True)) == [1.0, 2.0]


@settings(max_examples=30, deadline=None)
@given(payments)
def test_payment_statistics_equal_scipy(made: list[dict]) -> None:
    graph = week_graph(made)
    found = graphs.payment_statistics(graph)
    for i, party in enumerate(graph.ids):
        for side, end in (("in", 1), ("out", 0)):
            amounts = [
                d["amount"] for *ends, d in graph.to_networkx(temporal=True).edges(data=True) if ends[end] == party
            ]
            assert found[f"{side}_payments"][i] == len(amounts)
            if not amounts:
                assert np.isnan(found[f"{side}_payment_mean"][i])
                continue
            expected = {
                "mean": np.mean(amounts), "min": min(amounts), "max": max(amounts), "median": np.median(amounts),
                "variance": np.var(amounts),
            }  # fmt: skip
            if len(set(amounts)) > 1:
                expected |= {"skewness": stats.skew(amounts), "kurtosis": stats.kurtosis(amounts, fisher=False)}
            else:
                assert np.isnan(found[f"{side}_payment_skewness"][i])
                assert np.isnan(found[f"{side}_payment_kurtosis"][i])
            for name, value in expected.items():
                assert found[f"{side}_payment_{name}"][i] == pytest.approx(value, rel=1e-9, abs=1e-9)
