"""Evidence tables on rows whose answers are counted by hand."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.evaluation.evidence import (
    PROBABILITIES,
    TEST_TABLES,
    Subject,
    age_band,
    assess,
    false_positives_at,
    unexplained,
    wilson,
)
from ml_assets.evaluation.metrics import draw

WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(2)]
POLICY = ModelConfig(precision_at=(1, 2), alert_capacity_ratio=0.2)
CONFIG = EvaluationConfig(bootstrap_samples=40, capacity_ratios=(0.1, 0.2, 0.5, 1.0), few_clients=3)
CLIENTS = [f"C{i}" for i in range(10)]


def rows() -> pl.DataFrame:
    """Ten clients, two weeks; C0 and C1 are positive in both; bcrs ranks C0 first, C5 second, C1 third."""
    order = ["C0", "C5", "C1", "C2", "C3", "C4", "C6", "C7", "C8", "C9"]
    score = {c: float(10 - i) for i, c in enumerate(order)}
    return pl.DataFrame(
        {
            "client_id": [c for c in CLIENTS for _ in WEEKS],
            "as_of_date": WEEKS * 10,
            "is_positive": [c in ("C0", "C1") for c in CLIENTS for _ in WEEKS],
            "bcrs_score": [score[c] for c in CLIENTS for _ in WEEKS],
            "bcrs_probability_ratio": [score[c] / 20 for c in CLIENTS for _ in WEEKS],
            # the rules fire for five clients, of whom one is positive
            "fixed_rules": [float(c in ("C0", "C6", "C7", "C8", "C9")) for c in CLIENTS for _ in WEEKS],
            "static_kyc": [None] * 20,
        },
        schema_overrides={"static_kyc": pl.Float64},
    )


def context() -> pl.DataFrame:
    return rows().select(
        "client_id",
        "as_of_date",
        band=pl.when(pl.col("bcrs_score") > 8).then(pl.lit("HIGH")).otherwise(pl.lit("MINIMAL")),
        geography=pl.when(pl.col("client_id") < "C5").then(pl.lit("NL")).otherwise(None),
        occupation=pl.lit(None, pl.String),
        account_age_days=pl.lit(400),
    )


TRUTH = pl.DataFrame(
    {"client_id": ["C0", "C5"], "kind": ["typology", "typology"], "pattern": ["cycle,fan_in", "fan_in"]}
)
MODELS = {"bcrs": "bcrs_score", "fixed_rules": "fixed_rules", "static_kyc": "static_kyc"}
SUBJECT = Subject(MODELS, {"bcrs": PROBABILITIES["bcrs"]}, context(), TRUTH)


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return assess(rows(), SUBJECT, POLICY, CONFIG)


def one(frame: pl.DataFrame, **where: object) -> dict:
    for column, value in where.items():
        frame = frame.filter(pl.col(column) == value)
    assert frame.height == 1, frame
    return frame.row(0, named=True)


def test_every_table_is_there_and_says_why_values_are_missing(tables):
    assert set(tables) == set(TEST_TABLES)
    kyc = tables["performance"].filter(pl.col("model") == "static_kyc")
    assert kyc["metric_value"].null_count() == kyc.height > 0
    assert kyc["reason"].str.contains("Unavailable").all()
    assert one(tables["ties"], model="static_kyc")["rows_count"] is None


def test_performance_by_hand(tables):
    performance = tables["performance"]
    assert one(performance, model="all", metric="positives_count")["metric_value"] == 4
    assert one(performance, model="bcrs", metric="precision_at_2")["metric_value"] == 0.5
    assert one(performance, model="bcrs", metric="recall_at_1")["metric_value"] == 0.5
    # hits at ranks 1 and 3 of ten, the same in both weeks: rows come in pairs
    assert one(performance, model="bcrs", metric="average_precision")["metric_value"] == pytest.approx((1 + 4 / 6) / 2)
    gain = one(performance, model="fixed_rules", metric="auroc")
    assert gain["gain_of_bcrs"] == pytest.approx(
        one(performance, model="bcrs", metric="auroc")["metric_value"] - gain["metric_value"]
    )
    brier = one(performance, model="bcrs", metric="brier")["metric_value"]
    frame = rows()
    assert brier == pytest.approx(
        ((frame["bcrs_probability_ratio"] - frame["is_positive"].cast(pl.Float64)) ** 2).mean()
    )
    assert "ranking" in one(performance, model="fixed_rules", metric="brier")["reason"]


def test_capacity_curve_by_hand(tables):
    curve = tables["capacity_curve"]
    assert [one(curve, model="bcrs", capacity_ratio=r)["recall_ratio"] for r in CONFIG.capacity_ratios] == [
        0.5,
        0.5,
        1.0,
        1.0,
    ]
    assert one(curve, model="bcrs", capacity_ratio=0.5)["alerts_per_week"] == 5
    assert one(curve, model="bcrs", capacity_ratio=0.5)["precision_ratio"] == pytest.approx(0.4)


def test_rule_savings_at_equal_recall(tables):
    saved = one(tables["rule_savings"], rules_fired_count=1, model="bcrs")
    # rules: C0 of two positives in both weeks, four clients wrong; bcrs finds C0 first
    assert (saved["recall_ratio"], saved["rules_false_positives_count"]) == (0.5, 8)
    assert (saved["model_false_positives_count"], saved["saved_ratio"]) == (0, 1.0)


def test_patterns_split_and_wrong_reports_are_named(tables):
    patterns = tables["pattern_recall"].filter(pl.col("model") == "bcrs")
    assert one(patterns, pattern="cycle")["client_recall_ratio"] == 1.0
    # C5 is planted but has no report: not positive, so not counted
    assert one(patterns, pattern="fan_in")["positive_clients_count"] == 1
    honest = one(patterns, kind="none")
    assert (honest["pattern"], honest["found_clients_count"]) == ("honest client, wrong report", 0)


def test_parity_counts_clients_once(tables):
    parity = tables["parity"].filter(pl.col("model") == "bcrs")
    nl = one(parity, attribute="geography", group_name="NL")
    assert (nl["negative_clients_count"], nl["alerted_negative_clients_count"], nl["positive_clients_count"]) == (
        3,
        0,
        2,
    )
    # capacity is two a week: C0 and C5
    assert (nl["found_clients_count"], nl["recall_ratio"]) == (1, 0.5)
    unknown = one(parity, attribute="geography", group_name="unknown")
    assert unknown["false_positive_ratio"] == pytest.approx(0.2)
    assert (unknown["false_positive_low"], unknown["false_positive_high"]) == wilson(1, 5)
    assert unknown["recall_ratio"] is None
    assert "recall is not defined" in unknown["reason"]
    nobody = one(parity, attribute="occupation")
    assert "does not give occupation" in nobody["reason"]
    assert one(parity, attribute="account_age")["group_name"] == "1 to 3 years"


def test_calibration_by_band(tables):
    high = one(tables["calibration"], kind="band", bin_name="HIGH")
    assert (high["rows_count"], high["positives_count"], high["observed_ratio"]) == (4, 2, 0.5)
    assert high["predicted_ratio"] == pytest.approx(9.5 / 20)
    assert one(tables["calibration"], kind="band", bin_name="LOW")["reason"] == "No client-week in it."
    bins = tables["calibration"].filter(pl.col("kind") == "probability")
    assert bins["rows_count"].sum() == 20


def test_ties_of_the_rules(tables):
    # two alerts a week, five clients at the same score
    assert one(tables["ties"], model="fixed_rules")["cut_off_rows_count"] == 6
    assert one(tables["ties"], model="bcrs")["cut_off_rows_count"] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.with_columns(is_positive=pl.lit(False)),
        lambda f: f.with_columns(is_positive=pl.lit(True)),
        lambda f: f.clear(),
        lambda f: f.with_columns(bcrs_probability_ratio=pl.lit(None, pl.Float64), fixed_rules=pl.lit(None, pl.Float64)),
    ],
    ids=["no positives", "no negatives", "no rows", "no probability, no rules"],
)
def test_what_cannot_be_measured_is_null_with_a_reason(change):
    frame = change(rows())
    subject = Subject(MODELS, SUBJECT.probabilities, context(), None)
    tables = assess(frame, subject, POLICY, CONFIG)
    main = {
        "performance": "metric_value",
        "capacity_curve": "recall_ratio",
        "pattern_recall": "client_recall_ratio",
        "rule_savings": "saved_ratio",
        "calibration": "observed_ratio",
        "ties": "rows_count",
        "parity": "recall_ratio",
    }
    for name, column in main.items():
        missing = tables[name].filter(pl.col(column).is_null())
        assert tables[name].height, name
        assert missing["reason"].null_count() == 0, name
        assert unexplained(tables[name], TEST_TABLES[name]) == [], name


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=2, max_size=30), st.integers(1, 4)
)
def test_false_positives_at_equals_a_plain_loop(drawn, wanted):
    frame = pl.DataFrame(
        {
            "client_id": [f"C{c}" for _, _, c in drawn],
            "as_of_date": [WEEKS[0] + timedelta(days=7 * i) for i in range(len(drawn))],
            "is_positive": [p for _, p, _ in drawn],
            "score": [float(s) for s, _, _ in drawn],
        }
    )
    sample = draw(frame, 5, 3)
    score = sample.rows["score"].to_numpy()
    got = false_positives_at(sample, score, np.full(6, float(wanted)))
    for b in range(6):
        weight = sample.multiplicity[b][sample.client]
        expected = np.nan
        for cut in sorted(set(score), reverse=True):
            inside = score >= cut
            if weight[inside & sample.positive].sum() >= wanted:
                expected = weight[inside & ~sample.positive].sum()
                break
        assert np.array_equal([got[b]], [expected], equal_nan=True)


def test_age_bands():
    days = pl.DataFrame({"d": [None, 0, 179, 180, 364, 365, 1094, 1095]}, schema={"d": pl.Int64})
    assert days.select(age_band(pl.col("d"))).to_series().to_list() == [
        "unknown",
        "under 6 months",
        "under 6 months",
        "6 to 12 months",
        "6 to 12 months",
        "1 to 3 years",
        "1 to 3 years",
        "over 3 years",
    ]


def test_a_table_that_breaks_its_contract_is_told(tables):
    ties, contract = tables["ties"], TEST_TABLES["ties"]
    assert unexplained(ties, contract) == []
    assert unexplained(ties.clear(), contract) == ["no rows"]
    assert "same model" in unexplained(pl.concat([ties, ties]), contract)[0]
    assert "under 0" in unexplained(ties.with_columns(rows_count=pl.lit(-1)), contract)[0]
    assert "without a reason" in unexplained(ties.with_columns(reason=pl.lit(None, pl.String)), contract)[0]
    assert "model: " in unexplained(ties.with_columns(model=pl.lit(None, pl.String)).head(1), contract)[0]
