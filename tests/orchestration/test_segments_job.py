"""The segments job on a copy of a finished run: tables, marts, page, and again the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from chain import BCRS, Run, call, documented_marts
from polars.testing import assert_frame_equal

from ml_assets.features.peers import MEMBERSHIPS


@pytest.fixture(scope="module")
def segmented(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``bcrs segments`` in a copy of the tiny run."""
    folder = tmp_path_factory.mktemp("segments") / "run"
    shutil.copytree(tiny_run.folder, folder, ignore=shutil.ignore_patterns("*.lock"))
    run = call(folder, str(BCRS), "segments")
    assert run.code == 0, run.output[-4000:]
    return run


@pytest.mark.slow
def test_everyone_is_in_one_segment_every_week_since_the_first_fit(segmented: Run) -> None:
    odd = segmented.warehouse(
        "select count(*) as n from intermediate.int_client_weeks w left join segments.segment_memberships m "
        "using (client_id, as_of_date) where as_of_date >= (select min(fit_date) from segments.segment_fits) "
        "and m.segment_id is null"
    )
    assert odd["n"].item() == 0
    late = segmented.warehouse(
        "select count(*) as n from segments.segment_memberships where fit_date > as_of_date or fit_date not in "
        "(select as_of_date from models.split_plan where split = 'train')"
    )
    assert late["n"].item() == 0, "a week was assigned by a later fit, or a fit used a held-out week"


@pytest.mark.slow
def test_memberships_are_left_for_peer_groups(segmented: Run) -> None:
    left = pl.read_parquet(segmented.folder / "segments" / "memberships.parquet")
    table = segmented.warehouse(f"select {', '.join(MEMBERSHIPS)} from segments.segment_memberships order by all")
    assert_frame_equal(left.sort(list(MEMBERSHIPS)), table.sort(list(MEMBERSHIPS)))
    assert left.height > 0


@pytest.mark.slow
def test_marts_are_published_beside_those_of_the_main_job(segmented: Run) -> None:
    documented = documented_marts("segments")
    assert {name: columns for name, columns in segmented.columns().items() if name in documented} == documented
    clients = segmented.marts(
        "select count(*) as n, count(s.segment_id) as with_segment from marts.dim_clients c "
        "left join marts.dim_client_segments s using (client_id)"
    ).row(0, named=True)
    assert clients["n"] == clients["with_segment"] > 0
    moves = segmented.marts("select sum(clients_count) as n from marts.rpt_segment_migration").item()
    assert moves > 0
    results = segmented.marts("from marts.rpt_segment_results")
    assert results.height > 0
    assert (results["true_alerts_count"] <= results["alerts_count"]).all()


@pytest.mark.slow
def test_page_and_facts_are_written(segmented: Run) -> None:
    reports: Path = segmented.folder / "reports"
    facts = json.loads((reports / "segments.json").read_text(encoding="utf-8"))
    assert facts["personas"]
    assert facts["credit"] is None
    assert (reports / "segments.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_missing_credit_folder_is_refused_before_anything_runs(segmented: Run) -> None:
    run = call(segmented.folder, str(BCRS), "segments", "--credit", str(segmented.folder / "nowhere"))
    assert run.code == 1
    assert "no such folder" in run.output
