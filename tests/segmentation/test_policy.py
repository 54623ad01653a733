from __future__ import annotations

import polars as pl
import pytest

from ml_assets.config import PolicyConfig, SegmentConfig
from ml_assets.segmentation.policy import CURVE_SHARES, decide, policy_cells, risk_order, shrunken_lift, simulate

CONFIG = SegmentConfig(bootstrap_samples=50)


def rows(**columns: list[object]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    given = {
        "client_id": [f"C{i:03d}" for i in range(n)],
        "as_of_date": ["2024-01-01"] * n,
        "split": ["test"] * n,
        "segment_id": ["S01"] * n,
        "band": ["MINIMAL"] * n,
        "is_unusual": [False] * n,
        "bcrs_probability_ratio": [i / n for i in range(n)],
    }
    return pl.DataFrame(given | columns)


def labels(frame: pl.DataFrame, positive: set[str]) -> pl.DataFrame:
    return frame.select("client_id", "as_of_date").with_columns(
        is_str_within_horizon=pl.col("client_id").is_in(list(positive)),
        has_prior_str=pl.lit(False),
        is_label_complete=pl.lit(True),
    )


def test_grade_and_band_decide_and_a_person_overrules() -> None:
    frame = rows(segment_id=["S01", "S02", "S01", "S02", "S03"], band=["LOW", "LOW", "HIGH", "MEDIUM", None])
    config = PolicyConfig(by_segment={"S01": {"LOW": "enhanced_review"}})
    got = decide(frame, {"S01": "low", "S02": "elevated"}, config)["treatment"].to_list()
    assert got == ["enhanced_review", "standard_review", "enhanced_review", "enhanced_review", "standard_review"]


def test_unusual_clients_are_reviewed_from_low_on() -> None:
    frame = rows(band=["LOW", "MINIMAL", "HIGH"], is_unusual=[True, True, True])
    assert decide(frame, {}, PolicyConfig())["treatment"].to_list() == [
        "standard_review",
        "straight_through",
        "enhanced_review",
    ]
    off = PolicyConfig(reviews_unusual=False)
    assert decide(frame, {}, off)["treatment"].to_list()[0] == "straight_through"


def test_simulation_by_hand() -> None:
    # ten clients: two STRs, one let through (MINIMAL), one in enhanced review
    frame = rows(band=["MINIMAL"] * 8 + ["MEDIUM", "HIGH"])
    results, curve = simulate(frame, labels(frame, {"C003", "C009"}), {"S01": "ordinary"}, {}, ["test"], CONFIG)
    value = dict(results.filter(pl.col("policy") == "configured").select("measure", "value").rows())
    assert value == {
        "straight_through_ratio": 0.8,
        "standard_review_ratio": 0.1,
        "enhanced_review_ratio": 0.1,
        "strs_unseen_ratio": 0.5,
        "strs_standard_ratio": 0.0,
        "strs_enhanced_ratio": 0.5,
    }
    unseen = dict(curve.filter(pl.col("ordering") == "bcrs").select("automated_ratio", "unseen_ratio").rows())
    assert (unseen[0.0], unseen[0.35], unseen[0.94], unseen[1.0]) == (0.0, 0.5, 0.5, 1.0)
    assert curve.filter(pl.col("ordering") == "bcrs").height == len(CURVE_SHARES)


def test_an_str_is_seen_if_one_of_its_weeks_was() -> None:
    frame = rows(
        client_id=["A", "A", "B"],
        as_of_date=["2024-01-01", "2024-01-08", "2024-01-08"],
        band=["MINIMAL", "HIGH", "MINIMAL"],
    )
    results, _ = simulate(frame, labels(frame, {"A"}), {}, {}, ["test"], CONFIG)
    unseen = results.filter((pl.col("policy") == "configured") & (pl.col("measure") == "strs_unseen_ratio"))
    assert unseen["value"].to_list() == [0.0]


def test_rows_without_known_outcome_or_with_an_earlier_str_are_not_counted() -> None:
    frame = rows(band=["MINIMAL", "MINIMAL", "HIGH", "HIGH"])
    known = labels(frame, {"C000", "C001"}).with_columns(
        has_prior_str=pl.col("client_id") == "C000", is_label_complete=pl.col("client_id") != "C003"
    )
    results, _ = simulate(frame, known, {}, {}, ["test"], CONFIG)
    value = dict(results.filter(pl.col("policy") == "configured").select("measure", "count").rows())
    assert (value["straight_through_ratio"], value["enhanced_review_ratio"], value["strs_unseen_ratio"]) == (1, 1, 1)


def test_split_without_str_or_without_rows() -> None:
    frame = rows(band=["MINIMAL", "HIGH"])
    results, curve = simulate(frame, labels(frame, set()), {}, {}, ["validation", "test"], CONFIG)
    assert set(results["split"]) == {"test"}
    assert results.filter(pl.col("measure") == "strs_unseen_ratio")["value"].null_count() == 2
    assert curve["unseen_ratio"].null_count() == curve.height


def test_simulation_repeats_to_the_byte() -> None:
    frame = rows(band=["MINIMAL"] * 30 + ["HIGH"] * 10)
    once, twice = (
        simulate(frame, labels(frame, {"C002", "C035"}), {}, {"S01": 2.0}, ["test"], CONFIG) for _ in range(2)
    )
    assert once[0].equals(twice[0])
    assert once[1].equals(twice[1])


def test_lift_moves_a_segment_up_and_unknown_scores_come_last() -> None:
    frame = rows(segment_id=["S01", "S02", "S01"], bcrs_probability_ratio=[0.02, 0.015, None])
    assert risk_order(frame, {}).argsort().tolist() == [1, 0, 2]
    assert risk_order(frame, {"S02": 4.0}).argsort().tolist() == [0, 1, 2]
    assert (
        shrunken_lift(
            pl.DataFrame({"split": ["test"], "grouping": ["all"], "clients_count": [5], "str_count": [1]}), 10
        )
        == {}
    )


def test_cells_hold_every_band_of_every_segment() -> None:
    cells = policy_cells(rows(band=["LOW", "HIGH"]), {"S01": "low", "S02": "elevated"}, PolicyConfig())
    assert cells.height == 8
    assert cells["client_weeks_count"].sum() == 2
    assert (
        cells.filter((pl.col("segment_id") == "S02") & (pl.col("band") == "LOW"))["treatment"].item()
        == "standard_review"
    )


def test_published_split_takes_its_shares() -> None:
    frame = rows(band=["MINIMAL"] * 100)
    results, _ = simulate(frame, labels(frame, {"C099"}), {}, {}, ["test"], CONFIG)
    value = dict(results.filter(pl.col("policy") == "published_split").select("measure", "value").rows())
    assert value["straight_through_ratio"] == pytest.approx(0.80)
    assert value["enhanced_review_ratio"] == pytest.approx(0.13)
    assert value["strs_enhanced_ratio"] == 1.0
