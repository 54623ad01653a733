"""The page agrees with its marts, and a page that does not is caught."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.evaluation.evidence import PROBABILITIES, Subject, assess
from ml_assets.evaluation.experiments import EXPERIMENT_TABLES, measure_variants
from ml_assets.models.ablation import Variant
from ml_assets.reports.evidence import build_page, exhibits, results
from ml_assets.reports.exhibits import drawn_numbers, page_problems, read_page

WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(3)]


def make_marts(positives: bool = True) -> dict[str, pl.DataFrame]:
    """Marts of a small invented bank, as the report job would leave them."""
    rng = np.random.default_rng(9)
    n = 60 * len(WEEKS)
    positive = (rng.random(n) < 0.1) & positives
    score = rng.random(n) * 0.4 + 0.5 * positive
    rows = pl.DataFrame(
        {
            "client_id": [f"C{i:02d}" for i in range(60) for _ in WEEKS],
            "as_of_date": WEEKS * 60,
            "is_positive": positive,
            "bcrs_score": score * 100,
            "bcrs_probability_ratio": score,
            "flat_xgboost": rng.normal(size=n) + positive,
            "fixed_rules": rng.integers(0, 3, n).astype(float),
            "another_score": rng.random(n),
        }
    )
    context = rows.select(
        "client_id",
        "as_of_date",
        band=pl.when(pl.col("bcrs_score") > 60).then(pl.lit("HIGH")).otherwise(pl.lit("LOW")),
        geography=pl.lit("NL"),
        occupation=pl.lit(None, pl.String),
        account_age_days=pl.lit(100),
    )
    truth = pl.DataFrame({"client_id": ["C01", "C02"], "kind": ["scheme", "typology"], "pattern": ["trade", "cycle"]})
    models = {"bcrs": "bcrs_score"} | {m: m for m in ("flat_xgboost", "fixed_rules", "another_score")}
    subject = Subject(models, PROBABILITIES, context, truth)
    config = EvaluationConfig(bootstrap_samples=30, experiment_samples=20)
    tables = assess(rows, subject, ModelConfig(precision_at=(5,)), config)
    names = {
        "ablation": [("combination", v) for v in ("P1+P2+P3+P4+P5+P6", "P1+P2+P3+P4+P5", "P1")],
        "blend": [("p1_volume_velocity", "blend"), ("p1_volume_velocity", "supervised only")],
        "tsfresh": [("blend", "without tsfresh"), ("blend", "with tsfresh")],
        "learning_curve": [("both tiers", "10 weeks"), ("both tiers", "5 weeks")],
        "robustness": [("both tiers", "nothing changed"), ("both tiers", "label noise 5%")],
    }
    columns = ["bcrs_score", "flat_xgboost", "another_score"]
    for name, contract in EXPERIMENT_TABLES.items():
        pairs = names[name]
        variants = [
            Variant(part, v, columns[i], reference=None if i == 0 else pairs[0][1], value=float(i))
            for i, (part, v) in enumerate(pairs)
        ]
        tables[name] = measure_variants(rows, variants, contract, "validation", 20, 1)
    return {f"rpt_{k}": v for k, v in tables.items()}


@pytest.fixture(scope="module")
def marts() -> dict[str, pl.DataFrame]:
    return make_marts()


@pytest.fixture(scope="module")
def page(marts) -> str:
    return build_page("invented", "tiny", marts, exhibits(marts))


def test_page_agrees_with_its_marts(page, marts):
    assert page_problems(page, marts) == []


def test_page_opens_offline_and_has_the_headline_first(page):
    body = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href)\s*=\s*['\"](https?:)?//", body)
    assert page.count("Plotly.newPlot(") >= 1
    assert body.index("<h1>") < body.index("Recall against alert capacity") < body.index("Main table")


def test_every_mart_is_shown_and_every_figure_draws_something(page, marts):
    found, figures, numbers = read_page(page)
    assert {e["mart"] for e in found.values()} == set(marts)
    assert len(figures) >= 9
    assert all(drawn_numbers(f) for f in figures.values())
    assert len(numbers) > 200


def test_models_follow_from_the_marts(page):
    assert "another score" in page


@pytest.mark.parametrize(
    ("mart", "column"),
    [
        ("rpt_performance", "metric_value"),
        ("rpt_capacity_curve", "recall_ratio"),
        ("rpt_parity", "false_positive_high"),
        ("rpt_robustness", "difference"),
    ],
)
def test_a_changed_mart_is_caught(page, marts, mart, column):
    other = {**marts, mart: marts[mart].with_columns(pl.col(column) + 0.001)}
    assert page_problems(page, other)


def test_a_changed_number_in_the_page_is_caught(page, marts):
    shown = re.search(r"<data data-exhibit='performance'[^>]*data-style='three'[^>]*>([0-9.]+)</data>", page)
    assert shown
    forged = page.replace(shown.group(0), shown.group(0).replace(f">{shown.group(1)}<", ">0.999<"))
    assert any("is written as" in p for p in page_problems(forged, marts))


def test_a_changed_figure_is_caught(page, marts):
    start = page.index("class='figure-data' data-exhibit='capacity'>")
    end = page.index("</script>", start)
    figure = json.loads(page[page.index(">", start) + 1 : end])
    figure["data"][-1]["y"][0] = 0.123456
    forged = page[: page.index(">", start) + 1] + json.dumps(figure) + page[end:]
    assert any("drawn numbers" in p for p in page_problems(forged, marts))


def test_without_positives_the_page_says_so():
    marts = make_marts(positives=False)
    page = build_page("invented", "tiny", marts, exhibits(marts))
    assert page_problems(page, marts) == []
    assert "Nothing could be measured on the test weeks" in page
    assert "One class only" in page


def test_results_have_the_agreed_shape(marts):
    first = results("invented", marts, {})
    assert first["invented"]["bcrs"]["auroc_ci"][0] <= first["invented"]["bcrs"]["auroc"]
    assert {"auroc", "auroc_ci", "ap", "ap_ci", "brier", "recall_at_capacity", "precision_at_5"} <= set(
        first["invented"]["bcrs"]
    )
    assert first["invented"]["fixed_rules"]["brier"] is None
    assert "ranking" in first["invented"]["fixed_rules"]["brier_reason"]
    performance = marts["rpt_performance"]
    gain = performance.filter((pl.col("model") == "flat_xgboost") & (pl.col("metric") == "average_precision"))
    assert first["paired"]["invented"]["flat_xgboost"]["ap"] == gain["gain_of_bcrs"].item()
    again = results("other", marts, first)
    assert set(again) == {"invented", "other", "paired"}
    assert set(again["paired"]) == {"invented", "other"}
