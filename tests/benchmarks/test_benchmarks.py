"""The benchmark's own logic: rows and targets, the rendered models, the made world, the counting rules of cycles."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the room is no installed package

from benchmarks import models, networks, record, world
from ml_assets.features import temporal_patterns as patterns
from ml_assets.features.history import DAY_US, TRANSACTION_COLUMNS


def test_a_row_knows_its_ratio_and_whether_the_target_is_met() -> None:
    row = record.Row("a", "10", 2.0, "b", 6.0, target=3)
    assert (row.ratio, row.met) == (3.0, True)
    assert record.Row("a", "10", 2.0, "b", 5.0, target=3).met is False
    assert record.Row("a", "10", 12.0, "itself", 1.0, 12.0, target=11, most=True).met is False
    assert record.Row("a", "10", None, "b").met is None
    assert record.Row("memory: a", "10", None, target=8, gib=7.9, most=True).met is True
    assert record.Row("memory: a", "10", None, target=8, gib=8.1, most=True).met is False
    assert set(row.as_json()) >= {"name", "size", "seconds", "peer", "peer_seconds", "ratio", "equal"}


def test_growth_compares_the_smallest_and_the_largest_size() -> None:
    name = record.GROWN[0]
    rows = [
        record.Row(name, f"{size:,} transactions", seconds).as_json() for size, seconds in ((1_000, 1.0), (10_000, 9.0))
    ]
    (found,) = record.growth(rows, [1_000, 10_000])
    assert (found["ratio"], found["target"], found["met"]) == (9.0, 11.0, True)
    assert record.growth(rows, [1_000]) == []
    assert record.table([*rows, found]).row_count == 3


def test_rendered_models_run_on_the_made_world() -> None:
    con = duckdb.connect()
    world.fill(con, 5_000)
    con.execute("create table intermediate.requested_weeks as select date '2023-12-25' as as_of_date")
    for model in ("int_client_days", "int_client_first_txns", "int_client_weeks", "int_client_windows"):
        con.execute(f"create table {models.address(model)} as {models.render(model)}")
    found = con.execute(
        "select sum(inflow_count_90d + outflow_count_90d) from intermediate.int_client_windows"
    ).fetchone()
    expected = con.execute(
        "select count(*) from intermediate.int_transactions "
        "where txn_date >= date '2023-12-25' - 90 and txn_date < date '2023-12-25' and known_date < date '2023-12-25'"
    ).fetchone()
    assert found == expected
    with pytest.raises(FileNotFoundError, match="int_nothing"):
        models.render("int_nothing")


def test_the_world_is_the_same_each_time_and_books_payments_between_clients_twice() -> None:
    first = world.transactions(2_000)
    assert first.equals(world.transactions(2_000))
    assert set(TRANSACTION_COLUMNS) <= set(first.columns)
    assert first["txn_id"].n_unique() == first.height == 2_000
    both = first.filter("is_counterparty_client")
    sides = both.group_by("direction").len()
    assert sides["len"].n_unique() == 1
    mirrored = both.select(
        client_id="counterparty_id", counterparty_id="client_id", txn_at="txn_at", amount_base="amount_base"
    )
    assert both.join(mirrored, on=mirrored.columns).height >= both.height


payment = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 12)).filter(lambda p: p[0] != p[1])


@settings(max_examples=40, deadline=None)
@given(st.lists(payment, min_size=1, max_size=18), st.integers(1, 10))
def test_both_rules_of_counting_cycles(made: list[networks.Payment], span: int) -> None:
    """The product counts sequences of payments; where no ordered pair pays twice, GFP's rule gives the same."""
    made = sorted(made, key=lambda p: p[2])
    sequences, bundles = networks.enumerate_cycles(made, span, 6)
    graph = networks.graph_of(
        np.array([p[0] for p in made]),
        np.array([p[1] for p in made]),
        np.array([(networks._DAY - 20 + p[2]) * DAY_US for p in made]),
        np.full(len(made), 100),
        networks._DAY,
    )
    found = patterns.temporal_cycles(graph, span, 6, 10**9)
    for k in range(2, 7):
        assert found[f"cycle_{k}"].to_list() == [sequences.get((int(v[1:]), k), 0) for v in graph.ids]
    by_payer: dict[tuple[int, int], int] = {}
    for (i, k), count in bundles.items():
        by_payer[made[i][0], k] = by_payer.get((made[i][0], k), 0) + count
    if len({p[:2] for p in made}) == len(made):
        assert by_payer == {key: n for key, n in sequences.items() if n}
    else:
        assert set(by_payer) == {key for key, n in sequences.items() if n}


def test_parallel_payments_are_where_the_rules_differ() -> None:
    made = [(0, 1, 1), (1, 2, 2), (1, 2, 3), (2, 0, 4)]
    sequences, bundles = networks.enumerate_cycles(made, 10, 6)
    assert sequences[1, 3] == 2  # two sequences of payments
    assert bundles[3, 3] == bundles[0, 3] == 1  # one bundle of parallel payments in the middle
    closing = [(0, 1, 1), (1, 0, 2), (1, 0, 3)]
    sequences, bundles = networks.enumerate_cycles(closing, 10, 6)
    assert sequences[0, 2] == bundles[0, 2] == 2  # each closing payment counts by both rules


@pytest.mark.skipif(not networks.HAS_GFP, reason="snapml is not installed (extra `bench`)")
def test_snap_ml_follows_the_rule_we_say_it_follows() -> None:
    mine, theirs, differ = networks.reconcile_cycles(40)
    assert mine
    assert theirs
    assert differ > 0


def test_dense_graph_pays_each_pair_once() -> None:
    graph = networks.dense_graph(2_000, 200, 30)
    assert len(graph.event_at) == len(graph.pair_source) == 2_000
    assert isinstance(patterns.temporal_cycles(graph, 7, 6, 10**9), pl.DataFrame)
