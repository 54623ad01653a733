from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.evaluation.experiments import ABLATION, BLEND, measure_variants
from ml_assets.evaluation.final_test import compare_variants
from ml_assets.models.ablation import Variant
from ml_assets.models.splits import SplitPlan

WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(8)]


def frame(weeks=WEEKS, clients: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    n = clients * len(weeks)
    positive = rng.random(n) < 0.2
    return pl.DataFrame(
        {
            "client_id": [f"C{i:02d}" for i in range(clients) for _ in weeks],
            "as_of_date": weeks * clients,
            "is_positive": positive,
            "good": np.round(rng.normal(size=n) + 1.5 * positive, 1),
            "poor": rng.normal(size=n),
        }
    )


VARIANTS = [
    Variant("part", "good", "good", note="all of it"),
    Variant("part", "poor", "poor", reference="good", value=1.0),
    Variant("part", "absent", None, reference="good", reason="It was not made."),
]


def test_values_and_differences_equal_scikit_learn():
    rows = frame()
    got = measure_variants(rows, VARIANTS, ABLATION, "validation", 60, 1)
    at = {(r["variant"], r["metric"]): r for r in got.iter_rows(named=True)}
    for name in ("good", "poor"):
        assert at[name, "auroc"]["metric_value"] == pytest.approx(roc_auc_score(rows["is_positive"], rows[name]))
        assert at[name, "average_precision"]["metric_value"] == pytest.approx(
            average_precision_score(rows["is_positive"], rows[name])
        )
    poor = at["poor", "auroc"]
    assert poor["difference"] == pytest.approx(poor["metric_value"] - at["good", "auroc"]["metric_value"])
    assert poor["difference_low"] <= poor["difference"] <= poor["difference_high"] < 0
    assert at["good", "auroc"]["difference"] is None
    assert at["absent", "auroc"]["metric_value"] is None
    assert at["absent", "auroc"]["reason"] == "It was not made."


def test_one_class_is_a_reason_and_no_error():
    got = measure_variants(frame().with_columns(is_positive=pl.lit(False)), VARIANTS, ABLATION, "test", 20, 1)
    assert got["metric_value"].null_count() == got.height == 6
    assert got["reason"].null_count() == 0


def test_splits_are_measured_apart():
    plan = SplitPlan(
        train_weeks=(WEEKS[0],),
        embargo_weeks=(WEEKS[1], WEEKS[4]),
        validation_weeks=tuple(WEEKS[2:4]),
        test_weeks=tuple(WEEKS[5:7]),
        live_weeks=(WEEKS[7],),
        horizon_days=7,
        embargo_days=7,
        rows={},
        positives={},
        is_supervised=True,
    )
    rows = frame()
    labels = rows.select(
        "client_id",
        "as_of_date",
        is_str_within_horizon="is_positive",
        has_prior_str=pl.lit(False),
        is_label_complete=pl.lit(True),
    )
    scores = rows.drop("is_positive")
    config = EvaluationConfig(experiment_samples=30)
    both = compare_variants(scores, labels, plan, VARIANTS, BLEND, ("validation", "test"), ModelConfig(), config)
    assert set(both["split"]) == {"validation", "test"}
    test = rows.filter(pl.col("as_of_date").is_in(WEEKS[5:7]))
    got = both.filter((pl.col("split") == "test") & (pl.col("variant") == "good") & (pl.col("metric") == "auroc"))
    assert got["metric_value"].item() == pytest.approx(roc_auc_score(test["is_positive"], test["good"]))
    alone = compare_variants(scores, labels, plan, VARIANTS, BLEND, ("validation",), ModelConfig(), config)
    assert set(alone["split"]) == {"validation"}
