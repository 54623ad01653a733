"""Paths to listed parties: on a hand-made bank, against networkx, and blind to what came later."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise

import networkx as nx
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.features import blacklist_paths as b
from ml_assets.features.graph import blacklist_exposure, build_week_graph, index_nodes
from ml_assets.features.history import TRANSACTION_COLUMNS, build_history, build_spine

D = date(2024, 6, 3)
CONFIG = FeatureConfig()
Row = tuple[str, str, str, float, int, int | None]


def bank(*rows: Row, listed: dict[str, date]) -> pl.DataFrame:
    """client, counterparty, direction, amount, days before D, days before D on which it was known (as it happened)."""
    out = []
    for n, (client, other, direction, amount, ago, known_ago) in enumerate(rows):
        at = datetime(D.year, D.month, D.day) - timedelta(days=ago) + timedelta(hours=1)
        out.append(
            {
                "txn_id": f"T{n:03d}",
                "client_id": client,
                "counterparty_id": other,
                "direction": direction,
                "amount_base": amount,
                "txn_at": at,
                "known_date": D - timedelta(days=ago if known_ago is None else known_ago),
                "counterparty_listed_date": listed.get(other),
                "is_counterparty_client": other.startswith("C"),
                "is_time_known": True,
            }
        )
    text = {c: pl.String for c in TRANSACTION_COLUMNS}
    types = text | {
        "amount_base": pl.Float64,
        "txn_at": pl.Datetime("us"),
        "known_date": pl.Date,
        "counterparty_listed_date": pl.Date,
        "is_counterparty_client": pl.Boolean,
        "is_time_known": pl.Boolean,
    }
    return pl.DataFrame(out, schema=types)


def blacklist(listed: dict[str, date]) -> pl.DataFrame:
    return pl.DataFrame(
        [(e, "internal_watchlist", d) for e, d in listed.items()],
        schema={"entity_id": pl.String, "list_name": pl.String, "listed_date": pl.Date},
        orient="row",
    )


def paths(rows: list[Row], listed: dict[str, date], clients: str = "ABC", config: FeatureConfig = CONFIG):  # type: ignore[no-untyped-def]
    history = build_history(bank(*rows, listed=listed))
    pairs = pl.DataFrame({"client_id": [f"C{c}" for c in clients], "as_of_date": [D] * len(clients)})
    return b.build(history, build_spine(history, pairs), config, blacklist=blacklist(listed))


LISTED = {"X1": D - timedelta(days=400)}


def test_direct_and_shared_party_with_the_payments_that_show_it() -> None:
    out = paths(
        [
            ("CA", "X1", "outbound", 100.10, 3, None),
            ("CA", "X1", "inbound", 0.20, 2, None),
            ("CB", "CA", "outbound", 50.0, 5, None),
            ("CC", "P9", "outbound", 50.0, 5, None),
        ],
        LISTED,
    )
    assert out.columns == b.CONTRACT.names
    rows = {r["client_id"]: r for r in out.iter_rows(named=True)}
    assert set(rows) == {"CA", "CB"}
    assert (rows["CA"]["path_hops"], rows["CA"]["path_ids"], rows["CA"]["busiest_partner_count"]) == (1, "CA;X1", None)
    assert (rows["CA"]["txn_count"], rows["CA"]["txn_sum_base"], rows["CA"]["txn_ids"]) == (2, 100.3, "T000;T001")
    assert (rows["CB"]["path_hops"], rows["CB"]["path_ids"], rows["CB"]["busiest_partner_count"]) == (2, "CB;CA;X1", 2)
    assert (rows["CB"]["txn_ids"], rows["CB"]["list_names"]) == ("T002", "internal_watchlist")
    assert rows["CB"]["listed_date"] == LISTED["X1"]


def test_the_quietest_shared_party_is_named() -> None:
    shop = [("CC", "SHOP", "outbound", 1.0, 9, None), ("CD", "SHOP", "outbound", 1.0, 9, None)]
    through = [(c, p, "outbound", 1.0, 9, None) for c in ("CA",) for p in ("SHOP", "ZACK")]
    # the listed party is a client too: its own account shows its payments
    own = [("CX", p, "outbound", 1.0, 9, None) for p in ("SHOP", "ZACK")]
    seen = [("CE", "CX", "outbound", 1.0, 9, None)]
    out = paths([*shop, *through, *own, *seen], {"CX": LISTED["X1"]}, clients="A")
    assert out["path_ids"].to_list() == ["CA;ZACK;CX"]
    assert out["busiest_partner_count"].to_list() == [2]


def test_a_listed_client_is_its_own_evidence() -> None:
    out = paths([("CB", "CA", "outbound", 9.0, 4, None)], {"CA": LISTED["X1"]}, clients="AB")
    rows = {r["client_id"]: r for r in out.iter_rows(named=True)}
    assert (rows["CA"]["path_hops"], rows["CA"]["path_ids"], rows["CA"]["txn_ids"]) == (0, "CA", None)
    assert (rows["CB"]["path_hops"], rows["CB"]["path_ids"]) == (1, "CB;CA")


def test_listed_or_known_on_the_day_does_not_count() -> None:
    payment: list[Row] = [("CA", "X1", "outbound", 1.0, 1, None)]
    assert paths(payment, {"X1": D - timedelta(days=1)}).height == 1
    assert paths(payment, {"X1": D}).height == 0
    assert paths([("CA", "X1", "outbound", 1.0, 1, 0)], LISTED).height == 0  # learned on D
    assert paths([("CA", "X1", "outbound", 1.0, 0, 1)], LISTED).height == 0  # happened on D
    assert paths([("CA", "X1", "outbound", 1.0, 90, None)], LISTED).height == 1
    assert paths([("CA", "X1", "outbound", 1.0, 91, None)], LISTED).height == 0


def test_nothing_listed_nothing_found() -> None:
    assert paths([("CA", "X1", "outbound", 1.0, 1, None)], {}).height == 0
    assert paths([("CA", "P1", "outbound", 1.0, 1, None)], LISTED).height == 0


EDGES = st.lists(
    st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(["CA", "CB", "CC", "P1", "P2", "P3", "X1", "X2"])),
    min_size=1,
    max_size=25,
)


@given(EDGES, st.integers(1, 4))
@example([("B", "CA"), ("B", "CB")], 1)
@settings(max_examples=60, deadline=None)
def test_paths_agree_with_networkx_and_with_the_exposure_of_the_network_pillar(
    edges: list[tuple[str, str]], hops: int
) -> None:
    listed = {e: D - timedelta(days=30) for e in ("X1", "X2", "CB")}
    rows: list[Row] = [(f"C{c}", o, "outbound", 1.0, 5, None) for c, o in edges]
    config = CONFIG.model_copy(update={"blacklist_path_hops": hops})
    out = paths(rows, listed, clients="ABCDEF", config=config)
    graph = nx.Graph()
    graph.add_edges_from((f"C{c}", o) for c, o in edges if f"C{c}" != o)
    # a party is known as listed where somebody else's payment names it
    named = {o for c, o in edges if f"C{c}" != o} & set(listed)
    expected = {}
    for entity in sorted(named):
        for party, length in nx.single_source_shortest_path_length(graph, entity, cutoff=hops).items():
            if party.startswith("C"):
                expected[party, entity] = length
    assert {(r["client_id"], r["entity_id"]): r["path_hops"] for r in out.iter_rows(named=True)} == expected
    for r in out.iter_rows(named=True):
        path = r["path_ids"].split(";")
        assert (path[0], path[-1], len(path)) == (r["client_id"], r["entity_id"], r["path_hops"] + 1)
        assert all(graph.has_edge(x, y) for x, y in pairwise(path))
        if len(path) > 2:
            through = [max(graph.degree(v) for v in p[1:-1]) for p in nx.all_shortest_paths(graph, path[0], path[-1])]
            assert r["busiest_partner_count"] == max(graph.degree(v) for v in path[1:-1]) == min(through)
    if graph.number_of_edges():
        history = build_history(bank(*rows, listed=listed))
        week = build_week_graph(history, index_nodes(history), (D - date(1970, 1, 1)).days, 90)
        exposure = blacklist_exposure(week, 4)
        for k in (1, 2):
            if hops >= k:
                want = {i: n for i, n in zip(week.ids, exposure[f"listed_{k}hop"], strict=True) if n and i[0] == "C"}
                got = out.filter(pl.col("path_hops") == k)["client_id"].value_counts()
                assert dict(got.iter_rows()) == want


def test_one_week_alone_equals_the_same_week_among_many() -> None:
    rows: list[Row] = [
        ("CA", "P1", "outbound", 3.0, 20, None),
        ("CB", "P1", "outbound", 4.0, 10, None),
        ("CB", "X1", "outbound", 5.0, 12, None),
        ("CA", "X1", "outbound", 5.0, 1, None),
        ("CA", "A0", "outbound", 5.0, -3, None),
    ]
    history = build_history(bank(*rows, listed=LISTED | {"A0": D}))
    weeks = [D - timedelta(weeks=k) for k in (2, 1, 0)] + [D + timedelta(weeks=1)]
    pairs = pl.DataFrame({"client_id": ["CA", "CB"]}).join(pl.DataFrame({"as_of_date": weeks}), how="cross")
    every = b.build(history, build_spine(history, pairs), CONFIG, blacklist=blacklist(LISTED))
    before = build_history(bank(*rows[:3], listed=LISTED))
    early = pairs.filter(pl.col("as_of_date") == weeks[1])
    alone = b.build(before, build_spine(before, early), CONFIG, blacklist=blacklist(LISTED))
    assert alone.height == 1
    assert_frame_equal(every.filter(pl.col("as_of_date") == weeks[1]), alone, check_exact=True)
