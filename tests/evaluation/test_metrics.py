from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ml_assets.config import ModelConfig
from ml_assets.evaluation.metrics import (
    METRICS_CONTRACT,
    interval,
    measure,
    rank_in_week,
    ranking_metrics,
    resamples,
)

CONFIG = ModelConfig(bootstrap_samples=80, precision_at=(1, 3), alert_capacity_ratio=0.2)
WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(6)]


def sample(clients: int = 40, seed: int = 0, rate: float = 0.15) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = clients * len(WEEKS)
    positive = rng.random(n) < rate
    return pl.DataFrame(
        {
            "client_id": [f"C{i:03d}" for i in range(clients) for _ in WEEKS],
            "as_of_date": WEEKS * clients,
            "is_positive": positive,
            # one decimal: many ties
            "bcrs_score": np.round(rng.normal(size=n) + 1.2 * positive, 1),
            "probability": rng.random(n),
            "weak": np.round(rng.normal(size=n) + 0.2 * positive, 1),
        }
    )


def look(frame: pl.DataFrame, model: str, metric: str) -> dict:
    return frame.row(by_predicate=(pl.col("model") == model) & (pl.col("metric") == metric), named=True)


@settings(deadline=None, max_examples=60)
@given(
    scores=st.lists(st.integers(0, 6), min_size=4, max_size=40),
    flags=st.lists(st.booleans(), min_size=40, max_size=40),
    weights=st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_weighted_metrics_equal_scikit_learn_with_ties(scores, flags, weights):
    score, positive = np.array(scores, dtype=float), np.array(flags[: len(scores)])
    client = (np.arange(len(score)) % 5).astype(np.int64)
    multiplicity = np.array([np.ones(5), weights], dtype=np.float32)
    auroc, average = ranking_metrics(score, positive, client, multiplicity)
    for b in range(2):
        w = multiplicity[b][client]
        if 0 < (w * positive).sum() < w.sum():
            assert auroc[b] == pytest.approx(roc_auc_score(positive, score, sample_weight=w), abs=1e-9)
            assert average[b] == pytest.approx(average_precision_score(positive, score, sample_weight=w), abs=1e-9)
        else:
            assert np.isnan(auroc[b])
            assert np.isnan(average[b])


def test_interval_equals_the_naive_bootstrap_that_copies_rows():
    rows = sample()
    clients = rows["client_id"].unique().sort().to_list()
    multiplicity = resamples(len(clients), CONFIG.bootstrap_samples, CONFIG.seed)
    aurocs, averages, precisions = [], [], []
    rank = rank_in_week(rows, rows["bcrs_score"].to_numpy())
    rows = rows.with_columns(flag=pl.Series(rank <= int(0.2 * len(clients))))
    for b in range(1, len(multiplicity)):
        drawn = pl.DataFrame({"client_id": np.repeat(clients, multiplicity[b].astype(int))})
        copy = drawn.join(rows, on="client_id")
        assert copy.height == len(clients) * len(WEEKS)
        aurocs.append(roc_auc_score(copy["is_positive"], copy["bcrs_score"]))
        averages.append(average_precision_score(copy["is_positive"], copy["bcrs_score"]))
        precisions.append(copy.filter("flag")["is_positive"].mean())
    got = measure(rows, {"bcrs": "bcrs_score"}, {}, "test", "m", CONFIG)
    for metric, naive in (("auroc", aurocs), ("average_precision", averages), ("precision_at_capacity", precisions)):
        row = look(got, "bcrs", metric)
        np.testing.assert_allclose([row["low"], row["high"]], np.quantile(naive, [0.025, 0.975]), atol=1e-9)
        assert row["low"] <= row["value"] <= row["high"]


def test_point_estimates_equal_scikit_learn():
    rows = sample()
    got = measure(rows, {"bcrs": "bcrs_score"}, {"bcrs": "probability"}, "test", "m", CONFIG)
    y, s = rows["is_positive"].to_numpy(), rows["bcrs_score"].to_numpy()
    assert look(got, "bcrs", "auroc")["value"] == pytest.approx(roc_auc_score(y, s))
    assert look(got, "bcrs", "average_precision")["value"] == pytest.approx(average_precision_score(y, s))
    assert look(got, "bcrs", "brier")["value"] == pytest.approx(brier_score_loss(y, rows["probability"].to_numpy()))
    assert got.columns == METRICS_CONTRACT.names


def test_precision_and_recall_by_hand():
    # two weeks of five clients: capacity of a fifth is one alert a week
    rows = pl.DataFrame(
        {
            "client_id": list("ABCDE") * 2,
            "as_of_date": [WEEKS[0]] * 5 + [WEEKS[1]] * 5,
            "is_positive": [True, False, True, False, False, False, True, False, False, False],
            "bcrs_score": [9.0, 8.0, 7.0, 1.0, 1.0, 5.0, 5.0, 5.0, 1.0, 0.0],
        }
    )
    got = measure(rows, {"bcrs": "bcrs_score"}, {}, "test", "m", CONFIG)
    # alerts: A in week one (hit), A in week two (tied with B and C, first by id; miss)
    assert look(got, "bcrs", "precision_at_capacity")["value"] == 0.5
    assert look(got, "bcrs", "recall_at_capacity")["value"] == pytest.approx(1 / 3)
    assert look(got, "bcrs", "client_recall_at_capacity")["value"] == pytest.approx(1 / 3)
    assert look(got, "bcrs", "ties_at_cut_count")["value"] == 2
    # three alerts a week: A B C each time, three hits of six alerts, all three positives found
    assert look(got, "bcrs", "precision_at_3")["value"] == 0.5
    assert look(got, "bcrs", "recall_at_3")["value"] == 1
    assert look(got, "all", "rows_count")["value"] == 10
    assert look(got, "all", "positives_count")["value"] == 3


def test_differences_are_paired():
    rows = sample().with_columns(same=pl.col("bcrs_score") * 2)
    got = measure(rows, {"bcrs": "bcrs_score", "twin": "same", "weak": "weak"}, {}, "test", "m", CONFIG)
    twin = look(got, "twin", "auroc_gain_of_bcrs")
    assert (twin["value"], twin["low"], twin["high"]) == (0, 0, 0)
    weak = look(got, "weak", "average_precision_gain_of_bcrs")
    bcrs, other = (look(got, m, "average_precision")["value"] for m in ("bcrs", "weak"))
    assert weak["value"] == pytest.approx(bcrs - other)
    assert weak["low"] > 0


def test_noise_covers_a_half():
    rows = sample().with_columns(bcrs_score=pl.col("probability"))
    row = look(measure(rows, {"bcrs": "bcrs_score"}, {}, "test", "m", CONFIG), "bcrs", "auroc")
    assert row["low"] <= 0.5 <= row["high"]


def test_a_baseline_without_scores_is_unavailable_and_not_zero():
    rows = sample().with_columns(nothing=pl.lit(None, pl.Float64))
    got = measure(rows, {"bcrs": "bcrs_score", "kyc": "nothing"}, {}, "test", "m", CONFIG)
    row = look(got, "kyc", "auroc")
    assert row["value"] is row["low"] is row["high"] is None
    assert row["reason"].startswith("Unavailable")
    assert "auroc_gain_of_bcrs" not in got.filter(pl.col("model") == "kyc")["metric"].to_list()


def test_rows_without_a_score_rank_last_and_are_counted():
    rows = sample().with_columns(
        part=pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("bcrs_score")), filled=pl.col("bcrs_score")
    )
    got = measure(rows, {"bcrs": "bcrs_score", "part": "part"}, {}, "test", "m", CONFIG)
    row = look(got, "part", "auroc")
    assert row["reason"] == "60 of 240 rows have no score and rank last."
    filled = rows["part"].fill_null(-99).to_numpy()
    assert row["value"] == pytest.approx(roc_auc_score(rows["is_positive"], filled))


def test_one_class_and_no_rows_are_null_with_a_reason():
    honest = sample().with_columns(is_positive=pl.lit(False))
    for rows in (honest, honest.clear()):
        row = look(measure(rows, {"bcrs": "bcrs_score"}, {}, "test", "m", CONFIG), "bcrs", "auroc")
        assert row["value"] is None
        assert row["reason"].startswith("One class only")


def test_same_input_same_numbers_in_any_order():
    rows = sample()
    first = measure(rows, {"bcrs": "bcrs_score"}, {"bcrs": "probability"}, "test", "m", CONFIG)
    second = measure(
        rows.sample(fraction=1, shuffle=True), {"bcrs": "bcrs_score"}, {"bcrs": "probability"}, "test", "m", CONFIG
    )
    assert first.equals(second)


def test_resamples_draw_as_many_clients_as_there_are():
    drawn = resamples(17, 30, 1)
    assert (drawn[0] == 1).all()
    assert (drawn.sum(axis=1) == 17).all()
    assert resamples(0, 3, 1).shape == (4, 0)


def test_interval_needs_half_of_the_resamples():
    assert interval(np.array([np.nan, 1.0])) == (None, None, None)
    assert interval(np.array([0.5, np.nan, np.nan, 1.0])) == (0.5, None, None)
    assert interval(np.array([0.5])) == (0.5, None, None)
