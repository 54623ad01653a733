from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import ModelConfig
from ml_assets.models.bands import Cuts, assign_bands

CUTS = Cuts(low=20.0, medium=50.0, high=80.0, hysteresis_ratio=0.8, capacity_ratio=0.5)
WEEKS = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(8)]


def frame(paths: dict[str, list[float | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"client_id": c, "as_of_date": WEEKS[i], "bcrs_score": s}
            for c, path in paths.items()
            for i, s in enumerate(path)
        ],
        schema_overrides={"bcrs_score": pl.Float64},
    )


def bands(path: list[float | None], previous: str | None = None) -> list[str]:
    before = None if previous is None else pl.DataFrame({"client_id": ["A"], "band": [previous]})
    return assign_bands(frame({"A": path}), before, CUTS)["band"].to_list()


def test_a_band_is_entered_at_its_cut_and_left_under_its_share():
    # HIGH is left under 64, MEDIUM under 40, LOW under 16
    assert bands([79.99, 80, 64, 63.9, 40, 39.9, 16, 15.9]) == [
        "MEDIUM", "HIGH", "HIGH", "MEDIUM", "MEDIUM", "LOW", "LOW", "MINIMAL",
    ]  # fmt: skip


def test_falling_through_several_bands_at_once():
    assert bands([90, 45]) == ["HIGH", "MEDIUM"]
    assert bands([90, 30]) == ["HIGH", "LOW"]
    assert bands([90, 5]) == ["HIGH", "MINIMAL"]


def test_up_needs_the_full_cut():
    assert bands([45, 79]) == ["LOW", "MEDIUM"]


def test_the_week_before_is_given_for_the_first_week():
    assert bands([70], "HIGH") == ["HIGH"]
    assert bands([70], "MEDIUM") == ["MEDIUM"]
    assert bands([70]) == ["MEDIUM"]


def test_no_score_is_minimal_without_rank_or_alert():
    got = assign_bands(frame({"A": [90.0, None, 70.0]}), None, CUTS)
    assert got["band"].to_list() == ["HIGH", "MINIMAL", "MEDIUM"]
    assert got["rank_in_week_count"].to_list() == [1, None, 1]
    assert got["is_alert"].to_list() == [True, False, False]


def test_alerts_are_high_and_within_capacity_with_ties_by_client():
    got = assign_bands(frame({"B": [90.0], "A": [90.0], "D": [99.0], "C": [10.0]}), None, CUTS).sort("client_id")
    assert got["rank_in_week_count"].to_list() == [2, 3, 4, 1]
    # capacity is half of four; B is as high as A but comes later
    assert got["is_alert"].to_list() == [True, False, False, True]
    calm = assign_bands(frame({"A": [30.0], "B": [20.0]}), None, CUTS)
    assert not calm["is_alert"].any()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.floats(0, 100), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_week_by_week_equals_all_weeks_at_once(paths, split):
    whole = frame({f"C{i}": p for i, p in enumerate(paths)})
    at_once = assign_bands(whole, None, CUTS)
    first = assign_bands(whole.filter(pl.col("as_of_date") < WEEKS[split]), None, CUTS)
    before = first.filter(pl.col("as_of_date") == WEEKS[split - 1]).select("client_id", "band")
    second = assign_bands(whole.filter(pl.col("as_of_date") >= WEEKS[split]), before, CUTS)
    assert pl.concat([first, second]).sort("client_id", "as_of_date").equals(at_once)


def test_default_policy_is_the_configured_one():
    config = ModelConfig()
    assert 0 < config.alert_capacity_ratio < config.medium_ratio < config.low_ratio < 1
