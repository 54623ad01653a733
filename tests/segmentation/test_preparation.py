from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from segment_world import MEASURES, SMALL, planted

from ml_assets.segmentation.measures import Measure
from ml_assets.segmentation.preparation import (
    CategoryWeight,
    SegmentationError,
    choose_measures,
    fit_preparation,
    rank_correlation,
    signed_log,
    skewness,
    wants_log,
)

A, B = Measure("a", "A"), Measure("b", "B")


def test_signed_log_keeps_the_sign_and_zero() -> None:
    assert signed_log(np.array([-np.e + 1, 0.0, np.e - 1])) == pytest.approx([-1.0, 0.0, 1.0])


def test_log_is_chosen_by_skew_and_only_where_it_helps() -> None:
    rng = np.random.default_rng(1)
    money = np.exp(rng.normal(8, 1.5, 500))
    assert skewness(money) > 1
    assert wants_log(money, SMALL)
    assert not wants_log(rng.normal(0, 1, 500), SMALL)
    # skewed, but a logarithm of values near zero changes next to nothing
    assert not wants_log(0.001 * money / money.max(), SMALL)


def test_measures_are_left_out_with_their_reason() -> None:
    n = 50
    frame = pl.DataFrame(
        {
            "a": np.arange(n, dtype=float),
            "twin": np.arange(n, dtype=float) ** 3,
            "constant": [4.0] * n,
            "empty": pl.Series([None] * n, dtype=pl.Float64),
            "sparse": [1.0, 2.0] + [None] * (n - 2),
            "spare": np.sin(np.arange(n)),
            "other": np.cos(np.arange(n)),
        }
    )
    measures = [
        Measure("a", "A"),
        Measure("twin", "T"),
        Measure("constant", "C"),
        Measure("empty", "E"),
        Measure("sparse", "S"),
        Measure("absent", "X"),
        Measure("spare", "Y", stands_in_for="a"),
        Measure("other", "Z", stands_in_for="absent"),
    ]
    used, dropped = choose_measures(frame, measures, SMALL)
    assert [m.column for m in used] == ["a", "other"]
    assert "rank correlation with a" in dropped["twin"]
    assert dropped["constant"] == "all clients have the same value"
    assert dropped["empty"] == dropped["absent"] == "all values are null"
    assert dropped["sparse"].startswith("missing for 96%")
    assert dropped["spare"] == "stands in for a, which is there"


def test_matrix_is_standardised_clipped_and_imputed_with_the_median() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, None] + [2.0] * 200 + [500.0], "b": np.arange(205.0)})
    config = SMALL.model_copy(update={"skew_limit": 1e9})
    matrix = fit_preparation(frame, [A, B], config).transform(frame)
    assert matrix[3, 0] == matrix[1, 0]
    assert matrix[-1, 0] == config.clip_zscore
    assert matrix[:, 1].mean() == pytest.approx(0, abs=1e-12)
    assert matrix[:, 1].std() == pytest.approx(1)


def test_learned_values_are_applied_to_other_clients_as_they_are() -> None:
    frame, _ = planted(3, 40)
    preparation = fit_preparation(frame, MEASURES, SMALL)
    assert preparation.logged == ("turnover",)
    assert np.array_equal(preparation.transform(frame)[:5], preparation.transform(frame[:5]))


def test_reduction_keeps_the_asked_share_of_variance() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=300)
    frame = pl.DataFrame({"a": base, "b": base + rng.normal(0, 0.4, 300)})
    reduced = fit_preparation(frame, [A, B], SMALL.model_copy(update={"variance_kept_ratio": 0.9})).transform(frame)
    assert reduced.shape == (300, 1)


def test_category_has_its_weight_as_a_whole_whatever_its_values() -> None:
    rng = np.random.default_rng(3)
    for values in (2, 7):
        dummies = np.eye(values)[rng.integers(0, values, 400)]
        out = CategoryWeight(0.5).fit(dummies).transform(dummies)
        assert out.var(axis=0).sum() == pytest.approx(0.25)
        assert out.mean(axis=0) == pytest.approx(np.zeros(values), abs=1e-12)


def test_categories_take_missing_as_a_value_and_unknown_ones_as_none_of_them() -> None:
    frame = pl.DataFrame({"c": ["x", None, "y", "x"]})
    preparation = fit_preparation(frame, [Measure("c", "C", is_category=True)], SMALL)
    assert preparation.categories["c"] == ("(missing)", "x", "y")
    assert preparation.raw(pl.DataFrame({"c": ["y", "new", None]}))[:, 0].tolist() == [2.0, -1.0, 0.0]
    assert np.isfinite(preparation.transform(pl.DataFrame({"c": ["new"]}))).all()


def test_nothing_to_segment_by_is_refused_with_reasons() -> None:
    with pytest.raises(SegmentationError, match="no client"):
        fit_preparation(pl.DataFrame({"a": []}, schema={"a": pl.Float64}), [A], SMALL)
    with pytest.raises(SegmentationError, match="a: all clients have the same value"):
        fit_preparation(pl.DataFrame({"a": [1.0, 1.0]}), [A], SMALL)


def test_rank_correlation_ignores_missing_and_knows_when_it_cannot() -> None:
    assert rank_correlation(np.array([1.0, 2, 3, np.nan]), np.array([10.0, 20, 400, 0])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.array([1.0, np.nan]), np.array([1.0, 2.0])))
