"""Monitoring on a finished run: marts cover the weeks, agree with the features, and a changed unit trips them."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chain import Run, bcrs

from ml_assets.config import MonitoringConfig, ThresholdConfig
from ml_assets.evaluation import drift

CONFIG = MonitoringConfig()


def checks() -> dict[str, bool]:
    """Monitoring checks of the wiring: name -> blocking."""
    from orchestration.defs.monitoring import MONITORING_ASSETS

    return {spec.name: spec.blocking for asset in MONITORING_ASSETS for spec in asset.check_specs}


def test_checks_warn_and_never_block() -> None:
    assert set(checks()) == {
        "features_like_in_training",
        "amounts_keep_their_unit",
        "scores_like_on_validation",
        "alerts_for_the_same_reasons",
        "reports_arrive",
    }
    assert not any(checks().values())


@pytest.mark.parametrize(
    ("status", "passed", "severity"), [("watch", True, "WARN"), ("drift", False, "WARN"), ("gross", False, "ERROR")]
)
def test_severity_follows_the_verdict_of_the_newest_week(status: str, passed: bool, severity: str) -> None:
    from orchestration.defs.monitoring import _verdict

    rows = [
        (date(2024, 9, 2), "EUR", "m", 9, 2.0, 2.0, 0.0, 0.0, "gross"),
        (date(2024, 9, 9), "EUR", "m", 9, 2.0, 2.0, 0.0, 0.0, status),
    ]
    frame = pl.DataFrame(rows, schema=drift.AMOUNT_DRIFT.empty().schema, orient="row")
    result = _verdict(
        drift.AMOUNT_DRIFT, "amounts_keep_their_unit", frame, ["currency", "status"], [CONFIG.amount_drift]
    )
    assert (result.passed, result.severity.name) == (passed, severity)


@pytest.mark.slow
def test_every_scored_week_is_watched(tiny_run: Run) -> None:
    weeks = tiny_run.marts("select count(distinct as_of_date) from marts.fct_client_scores").item()
    for name in ("families", "features", "amounts", "scores", "explanations", "labels"):
        assert tiny_run.marts(f"select count(distinct as_of_date) from marts.rpt_monitoring_{name}").item() == weeks, (
            name
        )


@pytest.mark.slow
def test_training_weeks_do_not_drift_from_themselves(tiny_run: Run) -> None:
    found = tiny_run.marts(
        "select f.status, count(*) as n from marts.rpt_monitoring_families as f join marts.fct_client_scores as s "
        "using (as_of_date) where s.split = 'train' and s.rank_in_week_count = 1 group by all"
    )
    counts = dict(found.iter_rows())
    assert counts.get("gross", 0) == 0
    assert counts.get("drift", 0) <= 0.05 * sum(counts.values())


@pytest.mark.slow
def test_means_and_missing_shares_are_those_of_the_features(tiny_run: Run) -> None:
    mart = tiny_run.marts(
        "select as_of_date, mean_value, null_ratio, rows_count from marts.rpt_monitoring_features "
        "where feature = 'p1_inflow_max_30d_base' order by 1"
    )
    own = tiny_run.warehouse(
        "select as_of_date, avg(p1_inflow_max_30d_base) as mean_value, "
        "1 - count(p1_inflow_max_30d_base) / count(*) as null_ratio, count(*) as rows_count "
        "from features.feat_p1_volume_velocity group by 1 order by 1"
    )
    assert mart["rows_count"].to_list() == own["rows_count"].to_list()
    assert mart["mean_value"].to_list() == pytest.approx(own["mean_value"].to_list())
    assert mart["null_ratio"].to_list() == pytest.approx(own["null_ratio"].to_list())


def reference(run: Run, table: str) -> pl.DataFrame:
    return run.warehouse(
        f"from monitoring.{table} where model_id = "
        "(select model_id from scores.client_scores order by as_of_date desc limit 1)"
    )


@pytest.mark.slow
def test_a_changed_unit_in_the_features_trips(tiny_run: Run) -> None:
    frame = tiny_run.warehouse(
        "from features.feat_p1_volume_velocity where as_of_date = (select max(as_of_date) from scores.client_scores)"
    )
    bins, levels = reference(tiny_run, "reference_bins"), reference(tiny_run, "reference_levels")
    money = [c for c in frame.columns if c.endswith("_base")]
    families = {
        factor: drift.family_drift(
            drift.feature_drift(frame.with_columns(pl.col(money) * factor), bins, levels, "m", CONFIG), CONFIG
        )
        for factor in (1.0, 100.0)
    }
    inflow = {f: t.filter(pl.col("family") == "p1 inflow")["status"].item() for f, t in families.items()}
    assert inflow[1.0] in ("stable", "watch")
    assert inflow[100.0] in ("drift", "gross")


@pytest.mark.slow
def test_a_changed_unit_of_one_currency_trips(tiny_run: Run) -> None:
    payments = tiny_run.warehouse(
        "select currency, amount_base::double as amount from intermediate.int_transactions, "
        "(select max(as_of_date) as week from scores.client_scores) where txn_date >= week - 7 and txn_date < week "
        "and known_date < week and amount_base > 0"
    )
    counts = dict(payments.group_by("currency").len().iter_rows())
    # the most frequent foreign currency: a handful of payments among thousands in the base currency
    currency = sorted(counts, key=lambda c: counts[c])[-2]
    assert CONFIG.amount_minimum_count <= counts[currency] < 0.1 * payments.height
    levels = reference(tiny_run, "reference_levels")
    for factor, wanted in ((1.0, "stable"), (100.0, "gross")):
        changed = payments.with_columns(
            log10=pl.when(pl.col("currency") == currency).then(pl.col("amount") * factor).otherwise("amount").log10()
        )
        level = changed.group_by("currency").agg(txn_count=pl.len().cast(pl.Int64), mean_log10=pl.col("log10").mean())
        judged = drift.amount_drift(level.with_columns(as_of_date=pl.lit(date(2024, 9, 2))), levels, "m", CONFIG)
        assert judged.filter(pl.col("currency") == currency)["status"].item() == wanted
        others = judged.filter(pl.col("currency") != currency)["status"]
        assert not set(others) & {"drift", "gross"}


@pytest.mark.slow
def test_shares_of_the_pillars_add_up(tiny_run: Run) -> None:
    sums = tiny_run.marts(
        "select as_of_date, sum(share_ratio) as total, min(alerts_count) as alerts "
        "from marts.rpt_monitoring_explanations group by 1"
    )
    known = sums.filter(pl.col("alerts") > 0)
    assert known.height > 0
    assert np.allclose(known["total"].to_numpy(), 1.0)


@pytest.mark.slow
def test_the_page_is_there(tiny_run: Run) -> None:
    page = (tiny_run.folder / "reports" / "monitoring.html").read_text(encoding="utf-8")
    newest = tiny_run.marts("select max(as_of_date)::varchar from marts.rpt_monitoring_families").item()
    assert newest in page


@pytest.fixture(scope="module")
def copy(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without Dagster's home, for commands that write."""
    target = tmp_path_factory.mktemp("thresholds") / "data"
    return Path(
        shutil.copytree(tiny_run.folder, target, ignore=shutil.ignore_patterns("dagster_home", "landing", "logs"))
    )


@pytest.mark.slow
def test_threshold_pack_from_plan_to_line(copy: Path) -> None:
    planned = bcrs(copy, "thresholds", "--capacity", "12", "--confidence", "0.9")
    assert planned.code == 0, planned.output
    folder = copy / "reports" / "threshold_pack"
    sample = pl.read_csv(folder / "sample.csv")
    strata = pl.read_csv(folder / "strata.csv")
    assert sample.height == strata["sample_count"].sum() > 0
    assert strata.filter(pl.col("side") == "above")["population_count"].sum() >= 12
    evidence = pl.read_csv(folder / "evidence.csv")
    explained = set(evidence["client_id"]) & set(sample["client_id"])
    assert len(explained) >= 0.8 * sample.height, "sampled clients without evidence"
    template = pl.read_csv(folder / "outcomes.csv", infer_schema=False)
    assert template["alert_id"].to_list() == sample["alert_id"].to_list()
    # the same outcome for everyone: nothing below the line is productive, everything above is
    side = dict(zip(sample["alert_id"], sample["side"], strict=True))
    filled = template.with_columns(
        outcome=pl.Series(["str_filed" if side[a] == "above" else "no action" for a in template["alert_id"]]),
        decided_at=pl.lit("2025-01-10"),
        decided_by=pl.lit("team 1"),
    )
    filled.write_csv(folder / "outcomes.csv")
    judged = bcrs(
        copy, "thresholds", "--capacity", "12", "--confidence", "0.9", "--outcomes", str(folder / "outcomes.csv")
    )
    assert judged.code == 0, judged.output
    assert "analyst-days a week" in judged.output
    result = pl.read_csv(folder / "result.csv")
    assert result["reviewed_count"].to_list() == strata["sample_count"].to_list()
    assert pl.read_csv(folder / "outcomes.csv", infer_schema=False).equals(filled), (
        "filled-in outcomes were overwritten"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as-of", "2031-01-06"), "no scored week"),
        (("--as-of", "soon"), "YYYY-MM-DD"),
        (("--confidence", "2"), "confidence"),
    ],
)
def test_bad_requests_are_refused_in_words(copy: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = bcrs(copy, "thresholds", *arguments)
    assert answer.code == 1
    assert said in " ".join(answer.output.split())
    assert "Traceback" not in answer.output


def test_two_ways_to_set_the_line_are_refused() -> None:
    from orchestration.threshold_work import ThresholdError, make_pack

    with pytest.raises(ThresholdError, match="not both"):
        make_pack(ThresholdConfig(), capacity=5, cost_ratio=50.0)


def test_outcomes_that_are_no_outcomes_are_refused(tmp_path: Path) -> None:
    from orchestration.threshold_work import ThresholdError, _outcomes

    with pytest.raises(ThresholdError, match="cannot be read"):
        _outcomes(tmp_path / "nowhere.csv")
    other = tmp_path / "other.csv"
    other.write_text("client,verdict\nC1,fine\n")
    with pytest.raises(ThresholdError, match="alert_id, outcome"):
        _outcomes(other)


def test_without_a_run_the_commands_say_what_to_do(tmp_path: Path) -> None:
    for command in ("thresholds", "dossier"):
        answer = bcrs(tmp_path / "nothing", command)
        assert answer.code == 1
        assert "make run" in answer.output
        assert "Traceback" not in answer.output


def test_limits_are_in_the_configuration_as_json() -> None:
    stored = json.loads(CONFIG.model_dump_json())
    assert stored["psi_drift"]["value"] == 0.25
    assert stored["psi_drift"]["decided"] == "2026-11-21"
