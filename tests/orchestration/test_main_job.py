"""One command from nothing to marts: what it leaves behind, and that a second one has nothing to do.

That the same input gives byte-equal scores a second time is shown in ``test_crash.py``, whose last run
computes everything anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chain import Run, bcrs, documented_marts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def summary(tiny_run: Run) -> dict:
    return tiny_run.summary()


def test_rows_in_are_kept_or_quarantined(summary: dict, tiny_run: Run) -> None:
    assert summary["rows_in"] > 10_000
    assert summary["rows_in"] == summary["rows_kept"] + summary["rows_quarantined"]
    raw = tiny_run.warehouse("select sum(rows)::bigint from raw.deliveries").item()
    assert summary["rows_in"] == raw


def test_counts_are_those_of_the_marts(summary: dict, tiny_run: Run) -> None:
    clients = tiny_run.marts("select count(*) from marts.dim_clients").item()
    weeks = tiny_run.marts("select count(distinct as_of_date) from marts.fct_client_scores").item()
    assert summary["clients"] == clients > 0
    assert summary["weeks"] == weeks > 0
    newest = tiny_run.marts("select max(as_of_date)::varchar from marts.fct_client_scores").item()
    assert summary["as_of_date"] == newest


def test_every_model_is_measured_with_intervals(summary: dict) -> None:
    wanted = {"bcrs", "bcrs_linear", "bcrs_boosting", "bcrs_bayesian"}
    wanted |= {"flat_xgboost", "static_kyc", "volume_only", "fixed_rules", "rule_risk_score"}
    assert set(summary["models"]) == wanted
    for name, model in summary["models"].items():
        for metric in ("auroc", "ap"):
            low, high = model[f"{metric}_ci"]
            assert 0 <= low <= model[metric] <= high <= 1, (name, metric)


def test_ten_riskiest_clients_in_order(summary: dict, tiny_run: Run) -> None:
    top = summary["top_clients"]
    assert len(top) == 10
    assert {"client_id", "bcrs_score", "band", "main_reason"} <= set(top[0])
    best = tiny_run.marts(
        "select client_id from marts.fct_client_scores "
        "where as_of_date = (select max(as_of_date) from marts.fct_client_scores) "
        "order by rank_in_week_count limit 10"
    )
    assert [c["client_id"] for c in top] == best["client_id"].to_list()
    assert all(c["main_reason"] for c in top if c["band"] == "HIGH")


def test_what_the_source_lacks_is_said(summary: dict) -> None:
    assert set(summary["not_available"]) == {"dispositions"}
    assert all(reason.strip() for reason in summary["not_available"].values())


def test_terminal_shows_what_json_says(summary: dict, tiny_run: Run) -> None:
    assert f"rows in {summary['rows_in']:,}" in tiny_run.output
    assert f"clients {summary['clients']:,}" in tiny_run.output
    assert summary["top_clients"][0]["client_id"] in tiny_run.output
    for hint in ("where to look next", "make sql", "make ui"):
        assert hint in tiny_run.output


def test_published_marts_have_exactly_the_documented_columns(tiny_run: Run) -> None:
    """Those of the report and of the segments are made by their own jobs."""
    assert tiny_run.columns() == documented_marts("", "weekly", "features", "governance", "monitoring")


def test_pillar_scores_and_alerts_belong_to_scores(tiny_run: Run) -> None:
    counts = tiny_run.marts(
        "select (select count(*) from marts.fct_client_scores) as scores, "
        "(select count(*) from marts.fct_pillar_scores) as pillars, "
        "(select count(*) from marts.fct_alerts) as alerts, "
        "(select count(*) from marts.fct_client_scores where is_alert) as flagged"
    ).row(0, named=True)
    assert counts["pillars"] == 6 * counts["scores"] > 0
    assert counts["alerts"] == counts["flagged"] > 0


def test_a_second_run_does_nothing(tiny_run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_run.folder, tmp_path / "copy")
    before = (copy / "serving" / "marts_serving.duckdb").stat().st_mtime_ns
    again = bcrs(copy, "run", "--profile", "tiny")
    assert again.code == 0, again.output[-3000:]
    assert again.output.count("nothing to do") == 4, again.output
    assert "✓" not in again.output
    assert (copy / "serving" / "marts_serving.duckdb").stat().st_mtime_ns == before
    assert again.scores().equals(tiny_run.scores())


def test_the_marts_open_with_one_command(tiny_run: Run) -> None:
    answer = bcrs(tiny_run.folder, "sql", "select count(*) as scored from marts.fct_client_scores")
    assert answer.code == 0
    assert str(tiny_run.marts("select count(*) from marts.fct_client_scores").item()) in answer.output


def test_without_a_run_sql_says_what_to_do(tmp_path: Path) -> None:
    answer = bcrs(tmp_path / "nothing", "sql", "select 1")
    assert answer.code == 1
    assert "make run" in answer.output
    assert "Traceback" not in answer.output


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    answer = bcrs(tmp_path / "nothing", "run", "--profile", "huge")
    assert answer.code == 1
    assert "tiny, demo, bank" in answer.output
