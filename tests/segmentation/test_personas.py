from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from segment_world import MEASURES, SMALL, planted

from ml_assets.segmentation.eda import correlate_measures, histogram, missing_by_group, summarise_measures
from ml_assets.segmentation.personas import (
    client_noun,
    client_outcomes,
    cliffs_delta,
    cohens_d,
    describe_categories,
    describe_traits,
    grade_segments,
    name_personas,
    risk_profiles,
    suggest_treatment,
    wilson,
)

WEEKS = ["2024-01-01", "2024-01-08"]


def test_effect_sizes_by_hand() -> None:
    assert cohens_d(np.array([1.0, 3.0]), np.array([5.0, 7.0])) == pytest.approx(-4 / np.sqrt(2))
    assert np.isnan(cohens_d(np.array([1.0]), np.array([1.0, 2.0])))
    assert np.isnan(cohens_d(np.array([1.0, 1.0]), np.array([1.0, 1.0])))
    # nine pairs: six above, two under, one tie
    assert cliffs_delta(np.array([2.0, 5.0, 6.0]), np.array([1.0, 4.0, 5.0])) == pytest.approx((6 - 2) / 9)


def test_wilson_is_honest_at_none_and_all() -> None:
    assert wilson(0, 20)[0] == 0.0
    assert wilson(0, 20)[1] == pytest.approx(0.161, abs=1e-3)
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) == (None, None)


def test_traits_name_what_sets_a_segment_apart() -> None:
    frame, group = planted(2, 40)
    traits = describe_traits(frame, [f"S{g + 1:02d}" for g in group], MEASURES, ("turnover",), SMALL)
    words = {s: set(traits.filter(pl.col("segment_id") == s)["trait"].drop_nulls()) for s in ("S01", "S02")}
    # group 1 has more turnover and age, the same share
    assert words == {"S01": {"poor", "young"}, "S02": {"rich", "old"}}
    first = traits.filter(pl.col("segment_id") == "S02")
    assert first["cohens_d"].abs().to_list() == sorted(first["cohens_d"].abs().to_list(), reverse=True)


def test_one_segment_has_no_rest_and_no_trait() -> None:
    frame, _ = planted(1, 10)
    traits = describe_traits(frame, ["S01"] * 10, MEASURES, (), SMALL)
    assert traits["trait"].null_count() == traits["cohens_d"].null_count() == len(MEASURES)
    assert name_personas(traits, {"S01": "clients"}) == {"S01": "Average clients"}


def test_names_are_unique() -> None:
    rows = {
        "segment_id": ["S01"] * 3 + ["S02"] * 3 + ["S03", "S04"],
        "trait": ["a", "b", "c", "a", "b", "d", None, None],
    }
    names = name_personas(pl.DataFrame(rows), dict.fromkeys(["S01", "S02", "S03", "S04"], "clients"))
    assert names["S01"] == "A, b, c clients"
    assert names["S02"] == "A, b, d clients"
    assert names["S03"] == "Average clients (S03)"


def test_noun_follows_the_share_of_households() -> None:
    frame = pl.DataFrame({"industry": ["household"] * 9 + ["retail"] + ["retail"] * 4 + ["household"] * 4 + [None]})
    segment = ["S01"] * 10 + ["S02"] * 4 + ["S03"] * 4 + ["S04"]
    categories = describe_categories(frame, segment, ["industry"])
    assert [client_noun(categories, s) for s in ("S01", "S02", "S03", "S04")] == [
        "private clients",
        "business clients",
        "private clients",
        "clients",
    ]
    mine = categories.filter((pl.col("segment_id") == "S01") & (pl.col("value") == "retail")).row(0, named=True)
    assert mine["share_ratio"] == pytest.approx(0.1)
    assert mine["rest_share_ratio"] == pytest.approx(4 / 9)


def outcomes() -> pl.DataFrame:
    members = pl.DataFrame(
        {
            "client_id": ["A", "A", "B", "B", "C", "D"],
            "as_of_date": [*WEEKS, *WEEKS, WEEKS[0], WEEKS[0]],
            "segment_id": ["S01", "S02", "S01", "S01", "S02", "S02"],
            "is_unusual": [False, True, False, False, False, False],
        }
    )
    scores = members.select("client_id", "as_of_date").with_columns(
        band=pl.Series(["HIGH", "LOW", "MINIMAL", "LOW", "MEDIUM", "HIGH"]), split=pl.lit("test")
    )
    labels = members.select("client_id", "as_of_date").with_columns(
        is_str_within_horizon=pl.Series([True, False, False, False, True, True]),
        has_prior_str=pl.Series([False, False, False, False, False, True]),
        is_label_complete=pl.Series([True] * 6),
    )
    return client_outcomes(members, scores, labels)


def test_outcome_is_one_row_per_client_at_its_positive_week() -> None:
    found = {r["client_id"]: r for r in outcomes().to_dicts()}
    # A: the positive week counts, not the newest; D had an STR before and is not measured
    assert (found["A"]["segment_id"], found["A"]["band"], found["A"]["has_str"]) == ("S01", "HIGH", True)
    assert (found["B"]["segment_id"], found["B"]["band"], found["B"]["has_str"]) == ("S01", "LOW", False)
    assert "D" not in found


def test_risk_profile_counts_clients_with_intervals() -> None:
    risk = risk_profiles(outcomes())
    first = risk.filter((pl.col("grouping") == "segment") & (pl.col("group") == "S01")).row(0, named=True)
    assert (first["clients_count"], first["str_count"], first["high_ratio"], first["low_ratio"]) == (2, 1, 0.5, 0.5)
    assert first["str_low_ratio"] < 0.5 < first["str_high_ratio"]
    everyone = risk.filter(pl.col("grouping") == "all").row(0, named=True)
    assert (everyone["clients_count"], everyone["str_count"]) == (3, 2)


def test_grades_need_an_interval_that_excludes_the_overall_rate() -> None:
    rows = [
        ("all", "all", 4000, 40),
        ("segment", "S01", 500, 25),
        ("segment", "S02", 3000, 5),
        ("segment", "S03", 500, 10),
    ]
    risk = pl.DataFrame(
        [
            {
                "split": "train",
                "grouping": g,
                "group": n,
                "clients_count": c,
                "str_count": s,
                "str_ratio": s / c,
                "str_low_ratio": wilson(s, c)[0],
                "str_high_ratio": wilson(s, c)[1],
            }
            for g, n, c, s in rows
        ]
    )
    grades = grade_segments(risk, ["S01", "S02", "S03", "S09"])
    assert grades == {"S01": "elevated", "S02": "low", "S03": "elevated", "S09": "ordinary"}
    assert set(grade_segments(risk.with_columns(split=pl.lit("test")), ["S01"]).values()) == {"ordinary"}


def test_treatment_in_words() -> None:
    assert suggest_treatment("elevated", ["cash-heavy", "quiet"]) == (
        "Review by a person before the regular cycle; ask for the origin of cash."
    )


def test_summary_counts_outliers_by_tukeys_fences() -> None:
    values = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 100]
    summary = summarise_measures(pl.DataFrame({"turnover": values}), MEASURES, SMALL)
    row = summary.row(0, named=True)
    assert (row["quartile_1"], row["median"], row["quartile_3"]) == (3.25, 5.5, 7.75)
    assert (row["lower_whisker"], row["upper_whisker"], row["outliers_count"]) == (1.0, 9.0, 1)
    assert summary["left_out_because"].to_list()[1:] == ["all values are null"] * 2


def test_correlations_are_symmetric_and_null_where_not_computable() -> None:
    frame = pl.DataFrame({"turnover": [1.0, 2, 3, 4], "share": [1.0, 4, 9, 2], "age": [5.0] * 4})
    found = {(a, b): r for a, b, r in correlate_measures(frame, MEASURES).rows()}
    assert found[("turnover", "share")] == found[("share", "turnover")] == pytest.approx(0.4)
    assert found[("turnover", "turnover")] == pytest.approx(1.0)
    assert found[("age", "age")] is None


def test_histogram_and_missing() -> None:
    frame = pl.DataFrame(
        {"turnover": [0.0, 1, 2, None], "share": [None, None, 1.0, 2.0], "kind": ["a", "a", "b", None]}
    )
    assert histogram(frame, MEASURES[0], False)["clients_count"].sum() == 3
    assert histogram(frame, MEASURES[2], False).height == 0
    missing = missing_by_group(frame, MEASURES, "kind")
    assert dict(missing.filter(pl.col("measure") == "share").select("group", "missing_ratio").rows()) == {
        "(missing)": 0.0,
        "a": 1.0,
        "b": 0.0,
    }
