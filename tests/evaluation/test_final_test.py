import ast
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ml_assets.config import ModelConfig
from ml_assets.evaluation.final_test import evaluate_test_weeks, evaluate_validation_weeks
from ml_assets.models.splits import SplitPlan

ROOT = Path(__file__).resolve().parents[2]
WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(9)]
CONFIG = ModelConfig(bootstrap_samples=40)


@pytest.fixture(scope="module")
def plan() -> SplitPlan:
    return SplitPlan(
        train_weeks=tuple(WEEKS[:2]),
        embargo_weeks=(WEEKS[2], WEEKS[5]),
        validation_weeks=tuple(WEEKS[3:5]),
        test_weeks=tuple(WEEKS[6:8]),
        live_weeks=(WEEKS[8],),
        horizon_days=7,
        embargo_days=7,
        rows={},
        positives={},
        is_supervised=True,
    )


@pytest.fixture(scope="module")
def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    keys = [(f"C{i}", w) for i in range(10) for w in WEEKS]
    grain = pl.DataFrame(keys, schema=["client_id", "as_of_date"], orient="row")
    number = pl.col("client_id").str.slice(1).cast(pl.Float64)
    week = pl.col("as_of_date").rank("dense")
    scores = grain.with_columns(
        *[
            (number * 7 + week * 3).mod(11.0).alias(c)
            for c in ("bcrs_score", "linear_score", "boosting_score", "bayesian_score")
        ]
    ).with_columns(bcrs_probability_ratio=pl.col("bcrs_score") / 100)
    labels = grain.with_columns(
        is_str_within_horizon=number > 6, has_prior_str=number == 9, is_label_complete=pl.lit(True)
    )
    return scores, labels


def value(metrics: pl.DataFrame, model: str, metric: str) -> float | None:
    return metrics.row(by_predicate=(pl.col("model") == model) & (pl.col("metric") == metric), named=True)["value"]


def test_only_eligible_rows_of_test_weeks_are_measured(plan, frames):
    scores, labels = frames
    got = evaluate_test_weeks(scores, {}, labels, plan, "m", CONFIG)
    rows = labels.join(scores, on=["client_id", "as_of_date"]).filter(
        pl.col("as_of_date").is_in(WEEKS[6:8]) & ~pl.col("has_prior_str")
    )
    assert value(got, "all", "rows_count") == rows.height == 18
    assert value(got, "bcrs", "auroc") == pytest.approx(
        roc_auc_score(rows["is_str_within_horizon"], rows["bcrs_score"])
    )
    assert set(got["split"]) == {"test"}


def test_labels_and_scores_of_other_weeks_and_of_known_clients_do_not_matter(plan, frames):
    scores, labels = frames
    inside = pl.col("as_of_date").is_in(WEEKS[6:8])
    other_scores = scores.with_columns(bcrs_score=pl.when(inside).then(pl.col("bcrs_score")).otherwise(0.0))
    used = inside & ~pl.col("has_prior_str")
    other_labels = labels.with_columns(is_str_within_horizon=pl.col("is_str_within_horizon") ^ ~used)
    first = evaluate_test_weeks(scores, {}, labels, plan, "m", CONFIG)
    assert first.equals(evaluate_test_weeks(other_scores, {}, other_labels, plan, "m", CONFIG))


def test_baselines_stand_beside(plan, frames):
    scores, labels = frames
    keys = scores.select("client_id", "as_of_date")
    baselines = {
        "volume_only": scores.select("client_id", "as_of_date", score="bcrs_score"),
        "static_kyc": keys.with_columns(score=pl.lit(None, pl.Float64)),
    }
    got = evaluate_test_weeks(scores, baselines, labels, plan, "m", CONFIG)
    assert value(got, "volume_only", "auroc") == value(got, "bcrs", "auroc")
    assert value(got, "static_kyc", "auroc") is None
    assert {"bcrs", "bcrs_linear", "bcrs_boosting", "bcrs_bayesian", "volume_only", "static_kyc", "all"} == set(
        got["model"]
    )


def test_validation_weeks_are_measured_apart(plan, frames):
    scores, labels = frames
    got = evaluate_validation_weeks(scores, {}, labels, plan, "m", CONFIG)
    assert set(got["split"]) == {"validation"}


def test_no_test_weeks_is_said_and_not_an_error(plan, frames):
    scores, labels = frames
    short = plan.model_copy(update={"test_weeks": ()})
    got = evaluate_test_weeks(scores, {}, labels, short, "m", CONFIG)
    assert value(got, "bcrs", "auroc") is None
    assert value(got, "all", "rows_count") == 0


def test_test_weeks_are_named_in_two_files_only():
    """The plan that cuts them and the function that measures on them; nothing else may even mention them."""
    users = set()
    for path in sorted((ROOT / "ml_assets").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "test_weeks":
                users.add(path.relative_to(ROOT).as_posix())
    assert users == {"ml_assets/models/splits.py", "ml_assets/evaluation/final_test.py"}
