"""Threshold work: cuts, sample sizes and bounds by hand, the walk of the line, and the sample's repeatability."""

from __future__ import annotations

from datetime import date
from math import comb

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import ThresholdConfig
from ml_assets.evaluation import thresholds

CONFIG = ThresholdConfig()
MONDAY = date(2025, 6, 30)


def week(probabilities: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "client_id": [f"C{n:05d}" for n in range(len(probabilities))],
            "as_of_date": [MONDAY] * len(probabilities),
            "probability": probabilities,
        }
    )


def ladder(clients: int = 2000) -> pl.DataFrame:
    """Clients whose probability falls from 0.5 by a little each."""
    return week([0.5 * 0.995**n for n in range(clients)])


def test_capacity_sets_the_line_under_the_last_client() -> None:
    cut = thresholds.capacity_cut(week([0.1, 0.4, 0.2, 0.3]), 2)
    assert (cut.probability, cut.clients) == (0.3, 2)
    # clients that are equal at the line are on the same side of it
    assert thresholds.capacity_cut(week([0.4, 0.3, 0.3, 0.1]), 2).clients == 3
    with pytest.raises(ValueError, match="at least 1"):
        thresholds.capacity_cut(week([0.1]), 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0001, 0.9999), min_size=1, max_size=60), st.floats(1.5, 500))
def test_cost_line_is_where_the_expected_cost_is_least(probabilities: list[float], ratio: float) -> None:
    scores = week(probabilities)
    cut = thresholds.cost_cut(scores, ratio)
    curve = thresholds.cost_curve(scores, ratio)
    at_line = curve.filter(pl.col("reviews_count") == cut.clients)["expected_cost_reviews"].item()
    assert at_line <= curve["expected_cost_reviews"].min() + 1e-6 * ratio


def test_a_ratio_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="over 1"):
        thresholds.cost_cut(week([0.5]), 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.sampled_from([0.8, 0.9, 0.95, 0.99]), st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_sample_size_is_the_least_that_suffices(population: int, confidence: float, tolerable: float) -> None:
    productive = max(1, -(-round(tolerable * population * 1e6) // 1_000_000))

    def missed(n: int) -> float:
        return comb(population - productive, n) / comb(population, n) if n <= population - productive else 0.0

    n = thresholds.sample_size(population, confidence, tolerable)
    assert missed(n) <= 1 - confidence + 1e-9
    assert n == 1 or missed(n - 1) > 1 - confidence - 1e-9


def test_upper_bound_by_enumeration() -> None:
    def chance(found: int, productive: int) -> float:
        return sum(comb(productive, x) * comb(30 - productive, 10 - x) for x in range(found + 1)) / comb(30, 10)

    for found in (0, 1, 3):
        by_hand = max(k for k in range(found, 30 - (10 - found) + 1) if chance(found, k) > 0.05)
        assert thresholds.upper_bound(30, 10, found, 0.95) == by_hand


def test_strata_lie_on_their_side_and_hold_each_client_once() -> None:
    scores = ladder()
    cut = thresholds.capacity_cut(scores, 100)
    strata, placed = thresholds.build_strata(scores, cut, CONFIG)
    assert strata["stratum"].to_list() == ["above 3", "above 2", "above 1", "below 1", "below 2", "below 3"]
    above = placed.filter(pl.col("stratum").str.starts_with("above"))
    assert above.height == cut.clients == 100
    assert (above["probability"] >= cut.probability).all()
    assert placed["client_id"].is_unique().all()
    assert strata["population_count"].sum() == placed.height
    lows = dict(zip(strata["stratum"], strata["low_probability"], strict=True))
    assert lows["above 1"] == cut.probability
    assert (placed["probability"] >= lows["below 3"]).all()
    assert (strata["sample_count"] <= strata["population_count"]).all()


def test_the_sample_is_the_same_again_and_stands_for_its_stratum() -> None:
    scores = ladder()
    cut = thresholds.capacity_cut(scores, 100)
    strata, placed = thresholds.build_strata(scores, cut, CONFIG)
    sample = thresholds.draw_sample(placed, strata, MONDAY, CONFIG)
    assert sample.equals(thresholds.draw_sample(placed.reverse(), strata, MONDAY, CONFIG))
    assert sample["client_id"].is_unique().all()
    weights = sample.group_by("stratum").agg(pl.col("weight_ratio").sum())
    wanted = dict(zip(strata["stratum"], strata["population_count"], strict=True))
    for stratum, total in weights.iter_rows():
        assert total == pytest.approx(wanted[stratum])
    other = thresholds.draw_sample(placed, strata, MONDAY, CONFIG.model_copy(update={"seed": 1}))
    assert not sample.equals(other)
    assert sample["alert_id"][0] == f"{sample['client_id'][0]}|2025-06-30"


def test_the_template_has_the_columns_of_dispositions() -> None:
    from ml_assets.sources.input_contract import ENTITIES

    assert set(thresholds.DISPOSITION_COLUMNS) == set(ENTITIES["dispositions"].columns)
    scores = ladder()
    strata, placed = thresholds.build_strata(scores, thresholds.capacity_cut(scores, 100), CONFIG)
    sample = thresholds.draw_sample(placed, strata, MONDAY, CONFIG)
    template = thresholds.outcome_template(sample)
    assert template.columns == list(thresholds.DISPOSITION_COLUMNS)
    assert template["outcome"].null_count() == sample.height > 0


def judged(outcome_of: dict[str, str]) -> tuple[thresholds.Cut, thresholds.Finding]:
    """Outcomes by stratum: every sampled client of a stratum gets the same; others stay open."""
    scores = ladder()
    cut = thresholds.capacity_cut(scores, 100)
    strata, placed = thresholds.build_strata(scores, cut, CONFIG)
    sample = thresholds.draw_sample(placed, strata, MONDAY, CONFIG)
    outcomes = sample.filter(pl.col("stratum").is_in(list(outcome_of))).select(
        "alert_id", outcome=pl.col("stratum").replace(outcome_of), decided_at=pl.lit("2025-07-04")
    )
    return cut, thresholds.judge_outcomes(strata, sample, outcomes, scores, cut, CONFIG)


ABOVE = {f"above {n}": " STR_filed " for n in (1, 2, 3)}


def test_finds_below_the_line_move_it_down_past_them() -> None:
    cut, finding = judged({**ABOVE, "below 1": "str_filed", "below 2": "no action", "below 3": "no action"})
    rows = {r["stratum"]: r for r in finding.strata.to_dicts()}
    assert finding.cut.probability == rows["below 1"]["low_probability"] < cut.probability
    assert finding.cut.clients == 100 + rows["below 1"]["population_count"]
    assert finding.analyst_days == pytest.approx(finding.cut.clients * CONFIG.review_hours / CONFIG.day_hours)
    assert finding.analyst_days > finding.analyst_days_before
    assert rows["below 1"]["productive_ratio"] == 1.0
    assert rows["below 2"]["upper_ratio"] < CONFIG.tolerable_ratio


def test_nothing_below_and_productive_alerts_leave_the_line() -> None:
    cut, finding = judged({**ABOVE, "below 1": "no action", "below 2": "no action", "below 3": "no action"})
    assert finding.cut.probability == cut.probability
    assert finding.analyst_days == finding.analyst_days_before


def test_unproductive_alerts_at_the_line_move_it_up() -> None:
    cut, finding = judged({**ABOVE, "above 1": "no action", "below 1": "no action"})
    assert finding.cut.probability > cut.probability
    assert finding.cut.clients < 100


def test_what_was_not_reviewed_moves_no_line() -> None:
    cut, finding = judged({"above 3": "str_filed"})
    assert finding.cut.probability == cut.probability
    assert "not reviewed as planned" in finding.strata["verdict"].to_list()
    assert any("reviewed, line stays" in reason for reason in finding.reasons)


def test_the_newest_decision_on_an_alert_counts() -> None:
    scores = ladder()
    cut = thresholds.capacity_cut(scores, 100)
    strata, placed = thresholds.build_strata(scores, cut, CONFIG)
    sample = thresholds.draw_sample(placed, strata, MONDAY, CONFIG)
    first = sample["alert_id"][0]
    outcomes = pl.DataFrame(
        {
            "alert_id": [first, first, "stranger|2025-06-30"],
            "outcome": ["no action", "escalated", "escalated"],
            "decided_at": ["2025-07-01", "2025-07-09", "2025-07-09"],
        }
    )
    finding = thresholds.judge_outcomes(strata, sample, outcomes, scores, cut, CONFIG)
    assert finding.strata["reviewed_count"].sum() == 1
    assert finding.strata["productive_count"].sum() == 1


def test_cost_table_adds_up() -> None:
    scores = ladder()
    table = thresholds.cost_table(scores, (10, 100), CONFIG)
    total = scores["probability"].sum()
    assert (table["expected_found_count"] + table["expected_missed_count"]).to_list() == pytest.approx([total, total])
    assert table["reviews_count"].to_list() == [(scores["probability"] >= r).sum() for r in (0.1, 0.01)]


def test_edges_without_the_line_are_refused() -> None:
    with pytest.raises(ValueError, match="line itself"):
        ThresholdConfig(strata_edges=(0.5, 0.9, 1.2))
