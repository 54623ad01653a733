"""Recall of the pattern detectors: on attempts made by hand, and on the published AMLworld ones."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ml_assets.config import FeatureConfig
from ml_assets.evaluation import pattern_recall as recall
from ml_assets.sources.amlworld import read_patterns

SHARED = Path(os.environ.get("BCRS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
PUBLISHED = SHARED / "amlworld_patterns" / "HI-Small_Patterns.txt.gz"
START = datetime(2022, 9, 5)


def attempt(typology: str, pairs: list[tuple[str, str]], hours: int = 5) -> recall.Attempt:
    return recall.Attempt(
        typology, tuple((a, b, START + timedelta(hours=hours * i), 500.0) for i, (a, b) in enumerate(pairs))
    )


def row(found: pl.DataFrame, detector: str) -> dict:
    return found.filter(pl.col("detector") == detector).row(0, named=True)


def test_whole_attempts_are_found_and_broken_ones_are_not() -> None:
    whole = [
        attempt("fan_in", [(f"p{i}", "hub") for i in range(9)]),
        attempt("cycle", [("a", "b"), ("b", "c"), ("c", "a")]),
        # the same three payments against the order of time
        attempt("cycle", [("f", "d"), ("e", "f"), ("d", "e")]),
        # too narrow to be looked for
        attempt("fan_in", [("q0", "small"), ("q1", "small")]),
    ]
    found = recall.measure(whole, FeatureConfig(), parties=300, payments=300, seed=1)
    fan, cycle = row(found, "fan_in"), row(found, "cycle")
    assert (fan["published_count"], fan["looked_for_count"], fan["found_count"]) == (2, 1, 1)
    assert fan["recall_of_published_ratio"] == 0.5
    assert (cycle["looked_for_count"], cycle["found_count"], cycle["recall_ratio"]) == (2, 1, 0.5)
    assert 0.0 <= fan["background_ratio"] < 0.01
    # a fan spread over more than the window is none
    slow = attempt("fan_in", [(f"p{i}", "hub") for i in range(9)], hours=48)
    assert row(recall.measure([slow], FeatureConfig(), parties=100, payments=100), "fan_in")["found_count"] == 0


def test_the_same_seed_gives_the_same_table_and_no_payment_is_refused() -> None:
    made = [attempt("cycle", [("a", "b"), ("b", "a")])]
    first = recall.measure(made, FeatureConfig(), parties=100, payments=200)
    assert first.equals(recall.measure(made, FeatureConfig(), parties=100, payments=200))
    with pytest.raises(ValueError, match="no payment"):
        recall.measure([recall.Attempt("cycle", ())], FeatureConfig())


@pytest.mark.skipif(
    not PUBLISHED.exists(), reason=f"published attempts not found at {PUBLISHED}; BCRS_SHARED_DATA names their folder"
)
def test_published_attempts_are_found_in_ordinary_traffic() -> None:
    attempts = recall.attempts_of(read_patterns(PUBLISHED))
    assert len(attempts) == 370
    found = recall.measure(attempts, FeatureConfig())
    least = {
        "fan_in": 0.95, "fan_out": 0.95, "gather_scatter": 0.8, "scatter_gather": 0.9, "cycle": 0.9,
        "stack, as chains of 2": 0.8, "planted 3×3 bipartite": 0.9, "planted 2×2×2 stack": 0.9,
    }  # fmt: skip
    for detector, ratio in least.items():
        assert row(found, detector)["recall_ratio"] >= ratio, detector
    assert row(found, "fan_out")["background_ratio"] <= 0.05
    assert row(found, "scatter_gather")["background_ratio"] <= 0.01
    assert row(found, "cycle")["background_ratio"] <= 0.15
    assert row(found, "planted 2×2×2 stack")["background_ratio"] <= 0.01
