"""The catalogue, the evidence rows and the ranks of planted clients of a finished run of the tiny bank."""

from __future__ import annotations

import polars as pl
import pytest
from chain import Run

pytestmark = pytest.mark.slow


def test_every_feature_of_the_warehouse_is_in_the_catalogue_or_an_unused_slot(tiny_run: Run) -> None:
    catalogue = tiny_run.marts("from marts.rpt_feature_catalogue")
    columns = tiny_run.warehouse(
        "select column_name from information_schema.columns where table_schema = 'features' "
        "and table_name like 'feat_p%' and column_name not in ('client_id', 'as_of_date')"
    )["column_name"]
    missing = set(columns) - set(catalogue["feature"])
    used = set(tiny_run.warehouse("select slot from models.tsfresh_selection")["slot"])
    assert not missing & used
    assert all("tsfresh" in name for name in missing), missing
    assert set(catalogue["feature"]) <= set(columns)
    assert catalogue["row_count"].n_unique() == 1
    page = (tiny_run.folder / "reports" / "catalogue.html").read_text(encoding="utf-8")
    assert all(f in page for f in catalogue["feature"])
    assert (tiny_run.folder / "reports" / "data_dictionary.md").stat().st_size > 10_000


@pytest.mark.parametrize("mart", ["fct_typology_hits", "fct_scheme_hits", "fct_blacklist_paths"])
def test_evidence_is_made_of_the_clients_own_transactions_before_the_as_of_date(tiny_run: Run, mart: str) -> None:
    hits = tiny_run.marts(f"select client_id, as_of_date, txn_count, txn_ids from marts.{mart}")
    assert hits.height > 100
    listed = hits.drop_nulls("txn_ids").with_columns(pl.col("txn_ids").str.split(";").alias("txn_id")).explode("txn_id")
    rows = tiny_run.warehouse("select txn_id, client_id, txn_date, known_date from intermediate.int_transactions")
    found = listed.join(rows, on=["txn_id", "client_id"], how="left")
    assert found["txn_date"].null_count() == 0
    assert (found["txn_date"] < found["as_of_date"]).all()
    assert (found["known_date"] < found["as_of_date"]).all()


def test_paths_begin_at_the_client_and_end_at_a_party_listed_before_the_date(tiny_run: Run) -> None:
    paths = tiny_run.marts("from marts.fct_blacklist_paths")
    ids = paths["path_ids"].str.split(";")
    assert (ids.list.first() == paths["client_id"]).all()
    assert (ids.list.last() == paths["entity_id"]).all()
    assert (ids.list.len() == paths["path_hops"] + 1).all()
    assert (paths["listed_date"] < paths["as_of_date"]).all()
    # the network pillar's distance is the shortest of the paths
    shortest = paths.group_by("client_id", "as_of_date").agg(pl.col("path_hops").min())
    near = tiny_run.warehouse(
        "select client_id, as_of_date, p2_blacklist_distance_90d_hops as hops from features.feat_p2_network "
        f"where p2_blacklist_distance_90d_hops <= {paths['path_hops'].max()}"
    )
    both = shortest.join(near, on=["client_id", "as_of_date"], how="full")
    assert both.null_count().sum_horizontal().item() == 0
    assert (both["path_hops"] == both["hops"]).all()


def test_every_alert_has_the_normal_of_its_peers(tiny_run: Run) -> None:
    reasons = tiny_run.warehouse(
        "select feature, peer_normal from scores.alert_reasons "
        "where feature in (select distinct feature from features.peer_normals)"
    )
    assert reasons.height > 50
    # null only where no peer has a value at all
    assert reasons["peer_normal"].is_not_null().mean() > 0.95


def test_planted_clients_are_ranked_under_every_scheme(tiny_run: Run) -> None:
    ranks = tiny_run.marts("from marts.rpt_scheme_ranks")
    assert ranks.height == 3 * ranks.select("client_id", "planted_scheme").n_unique() > 0
    weeks = tiny_run.marts("select max(clients) as n from (select count(*) as clients from marts.fct_client_scores "
                           "group by as_of_date)")  # fmt: skip
    assert ranks["best_rank_count"].is_between(1, weeks.item()).all()


def test_a_full_source_weakens_no_pillar(tiny_run: Run) -> None:
    lacking = tiny_run.marts("select column_name from marts.rpt_weakened_pillars where column_name <> 'none'")
    assert lacking.height == 0
    assert set(tiny_run.summary()["weakened_pillars"]) == set(
        tiny_run.marts("select distinct pillar from marts.rpt_weakened_pillars")["pillar"]
    )
