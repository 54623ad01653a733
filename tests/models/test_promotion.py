from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ml_assets.config import GovernanceConfig
from ml_assets.models.promotion import DECISION, PROMOTIONS, Verdict, judge, unseen_weeks

CONFIG = GovernanceConfig(promotion_samples=60)
WEEKS = [date(2024, 6, 3) + timedelta(days=7 * i) for i in range(4)]
CLIENTS = 150


def world(seed: int = 1) -> tuple[pl.DataFrame, np.ndarray]:
    """Eligible rows, and a true risk between 0 and 1 the labels were drawn from."""
    rng = np.random.default_rng(seed)
    risk = np.repeat(rng.beta(0.6, 4.0, CLIENTS), len(WEEKS))
    frame = pl.DataFrame(
        {
            "client_id": np.repeat([f"C{i:04d}" for i in range(CLIENTS)], len(WEEKS)),
            "as_of_date": WEEKS * CLIENTS,
            "is_positive": rng.random(len(risk)) < risk,
        }
    )
    return frame, risk


def scored(rows: pl.DataFrame, probability: np.ndarray) -> pl.DataFrame:
    return rows.select("client_id", "as_of_date").with_columns(
        bcrs_score=pl.Series(100 * probability), bcrs_probability_ratio=pl.Series(probability)
    )


def decide(rows: pl.DataFrame, new: np.ndarray, old: np.ndarray | None, **changes: object) -> Verdict:
    arguments = {
        "challenger_id": "new",
        "champion_id": "old" if old is not None else None,
        "challenger": scored(rows, new),
        "champion": scored(rows, old) if old is not None else None,
        "labels": rows,
        "is_calibrated": True,
        "config": CONFIG,
        "seed": 5,
    }
    return judge(**(arguments | changes))


def gate(verdict: Verdict, name: str):
    return next(g for g in verdict.gates if g.name == name)


def test_the_first_model_needs_no_opponent() -> None:
    rows, risk = world()
    verdict = decide(rows, risk, None)
    assert verdict.is_promoted
    assert {g.name for g in verdict.gates} == {"finite", "varied", "calibrated"}
    assert verdict.sentence == "Model new is champion, the first one."


def test_an_equally_good_challenger_takes_over() -> None:
    rows, risk = world()
    jitter = np.random.default_rng(2).normal(0, 0.01, len(risk))
    verdict = decide(rows, np.clip(risk + jitter, 0, 1), risk)
    assert verdict.is_promoted, verdict.sentence
    assert all(g.is_passed for g in verdict.gates)
    assert gate(verdict, "not_worse").low <= gate(verdict, "not_worse").value <= gate(verdict, "not_worse").high


def test_a_worse_challenger_stays_out_and_the_run_says_why() -> None:
    rows, risk = world()
    shuffled = np.random.default_rng(3).permutation(risk)
    verdict = decide(rows, shuffled, risk)
    assert not verdict.is_promoted
    assert gate(verdict, "not_worse").is_passed is False
    assert gate(verdict, "not_worse").high < 0
    assert verdict.sentence.startswith("Champion old stays; new was not promoted: Average precision")


def test_another_distribution_is_not_stable() -> None:
    rows, risk = world()
    # the same order, so as good; but everything lies elsewhere
    verdict = decide(rows, 0.3 + 0.2 * risk, risk)
    assert gate(verdict, "not_worse").value == pytest.approx(0.0)
    assert gate(verdict, "stable_ranking").value == pytest.approx(1.0)
    assert gate(verdict, "stable_distribution").is_passed is False
    assert not verdict.is_promoted


def test_another_client_list_is_not_stable() -> None:
    rows, risk = world()
    verdict = decide(rows, risk[::-1].copy(), risk)
    assert gate(verdict, "stable_ranking").is_passed is False
    assert gate(verdict, "stable_distribution").is_passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    rows, risk = world()
    broken = risk.copy()
    broken[7] = bad
    verdict = decide(rows, broken, None)
    assert not verdict.is_promoted
    assert "1 of 600 clients and weeks have no finite score." in verdict.sentence
    assert verdict.sentence.startswith("There is no champion")


def test_equal_scores_are_refused() -> None:
    rows, risk = world()
    verdict = decide(rows, np.full(len(risk), rows["is_positive"].mean()), None)
    assert verdict.failures == ["All clients have the same score."]


def test_one_client_over_several_weeks_may_have_one_score() -> None:
    rows, _ = world()
    alone = rows["client_id"] == "C0000"
    verdict = decide(rows.filter(alone), np.full(len(WEEKS), 0.5), None, labels=rows.head(0))
    assert verdict.is_promoted


def test_without_a_held_out_week_nothing_stands_against_the_first_model() -> None:
    rows, risk = world()
    verdict = decide(rows.head(0), risk[:0], None)
    assert verdict.is_promoted
    assert gate(verdict, "finite").is_passed is None


def test_twice_the_reports_expected_is_uncalibrated() -> None:
    rows, risk = world()
    verdict = decide(rows, np.clip(3 * risk, 0, 1), None)
    assert gate(verdict, "calibrated").is_passed is False
    assert gate(verdict, "calibrated").value > 2
    assert decide(rows, risk, None, is_calibrated=False).failures == ["Labels exist but the score is not calibrated."]


def test_without_both_classes_only_scores_are_judged() -> None:
    rows, risk = world()
    verdict = decide(rows, risk, risk, labels=rows.with_columns(is_positive=pl.lit(False)))
    assert gate(verdict, "calibrated").is_passed is None
    assert gate(verdict, "not_worse").is_passed is None
    assert verdict.is_promoted
    assert decide(rows, risk, None, labels=rows.head(0)).is_promoted


def test_the_champion_trained_again_is_no_promotion() -> None:
    rows, risk = world()
    verdict = decide(rows, risk, None, champion_id="new")
    assert verdict.is_same
    assert not verdict.is_promoted
    assert verdict.sentence == "Training gave the champion new again."


def test_the_note_says_why_there_was_no_comparison() -> None:
    rows, risk = world()
    verdict = decide(rows, risk, None, champion_id="old", note="The champion learned from other data.")
    assert verdict.is_promoted
    assert verdict.sentence == "Model new is champion in place of old. The champion learned from other data."


def test_the_record_holds_every_gate_and_the_decision() -> None:
    rows, risk = world()
    verdict = decide(rows, np.random.default_rng(3).permutation(risk), risk)
    frame = verdict.frame(4)
    assert frame.columns == PROMOTIONS.names
    assert set(frame["gate"]) == {g.name for g in verdict.gates} | {DECISION}
    decision = frame.filter(pl.col("gate") == DECISION).row(0, named=True)
    assert decision["is_promoted"] is False
    assert decision["champion_before"] == "old"
    assert decision["decision_number"] == 4
    assert frame.equals(decide(rows, np.random.default_rng(3).permutation(risk), risk).frame(4), null_equal=True)


def test_weeks_the_champion_learned_from_are_left_out() -> None:
    assert unseen_weeks(WEEKS, WEEKS[1]) == WEEKS[2:]
    assert unseen_weeks(WEEKS, None) == WEEKS
    assert unseen_weeks(WEEKS, WEEKS[-1]) == []
