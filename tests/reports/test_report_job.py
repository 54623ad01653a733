"""``make report`` after ``make run``: nothing is trained again, and the page is what its marts say."""

from __future__ import annotations

import json
import shutil

import duckdb
import pytest
from chain import Run, call, documented_marts

from ml_assets.reports.exhibits import drawn_numbers, read_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("reported") / "data"
    shutil.copytree(tiny_run.folder, folder)
    # somebody looks at the marts meanwhile
    with duckdb.connect(str(folder / "serving" / "marts_serving.duckdb"), read_only=True):
        run = call(folder, "make", "--no-print-directory", "report", "PROFILE=tiny")
    assert run.code == 0, run.output[-4000:]
    return run


def test_main_job_is_not_repeated(reported: Run) -> None:
    assert "nothing to do" in reported.output
    assert "report.html" in reported.output


def test_marts_have_exactly_the_documented_columns(reported: Run) -> None:
    documented = documented_marts("evaluation")
    assert {name: columns for name, columns in reported.columns().items() if name in documented} == documented


def test_every_number_of_the_page_equals_a_query_on_its_mart(reported: Run) -> None:
    page = (reported.folder / "reports" / "report.html").read_text(encoding="utf-8")
    exhibits, figures, numbers = read_page(page)
    assert len(exhibits) >= 15
    with duckdb.connect(str(reported.serving), read_only=True) as con:
        for key, data in exhibits.items():
            columns = ", ".join(f'"{c}"' for c in data["columns"])
            where = " and ".join(f'"{c}" = ?' for c in data["filters"]) or "true"
            rows = con.execute(
                f'select {columns} from marts."{data["mart"]}" where {where}', list(data["filters"].values())
            ).fetchall()
            plain = [[v if isinstance(v, str | int | float | bool | None) else str(v) for v in row] for row in rows]
            assert sorted(map(repr, plain)) == sorted(map(repr, data["rows"])), key
    for attributes, _ in numbers:
        data = exhibits[attributes["data-exhibit"]]
        row = data["rows"][int(attributes["data-row"])]
        assert float(row[data["columns"].index(attributes["data-column"])]) == float(attributes["value"])
    for key, figure in figures.items():
        there = {float(v) for row in exhibits[key]["rows"] for v in row if isinstance(v, int | float)}
        assert set(drawn_numbers(figure)) <= there, key


def test_results_equal_the_mart(reported: Run) -> None:
    content = json.loads((reported.folder / "reports" / "results.json").read_text(encoding="utf-8"))
    assert set(content) == {"simulated", "paired"}
    mart = reported.marts("from marts.rpt_performance where model <> 'all'")
    assert set(content["simulated"]) == set(mart["model"])
    for row in mart.iter_rows(named=True):
        name = {"average_precision": "ap"}.get(row["metric"], row["metric"])
        assert content["simulated"][row["model"]][name] == row["metric_value"]


def test_evidence_holds_what_a_validator_asks_for(reported: Run) -> None:
    curve = reported.marts("select model, count(*) as n from marts.rpt_capacity_curve group by all")
    assert set(curve["n"]) == {21}
    models = set(curve["model"])
    assert {"bcrs", "bcrs_linear", "bcrs_boosting", "bcrs_bayesian", "flat_xgboost", "static_kyc"} <= models
    assert {"volume_only", "fixed_rules"} <= models
    combinations = reported.marts(
        "select split, count(distinct variant) as n from marts.rpt_ablation where metric = 'auroc' group by all"
    )
    assert dict(combinations.iter_rows()) == {"validation": 63, "test": 63}
    assert reported.marts("select count(distinct attribute) as n from marts.rpt_parity")["n"].item() == 4
    # the same labels and scores, measured twice: once in training, once here
    both = reported.marts(
        "select p.metric_value as a, m.metric_value as b from marts.rpt_performance as p "
        "join marts.rpt_model_metrics as m on m.model = p.model and m.metric = p.metric and m.split = 'test' "
        "and m.model_id = (select model_id from marts.fct_client_scores order by as_of_date desc limit 1) "
        "where p.metric in ('auroc', 'average_precision') and p.metric_value is not null"
    )
    assert both.height >= 14
    assert (both["a"] - both["b"]).abs().max() < 1e-9
