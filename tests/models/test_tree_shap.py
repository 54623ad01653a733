"""TreeSHAP tables against XGBoost's own values and against Shapley's formula on a tree worked out by hand."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.models.tree_shap import DEEPEST, tables_of


def booster(depth: int, seed: int, rows: int = 600, features: int = 5, rounds: int = 12, **more: object) -> xgb.Booster:
    x, y = world(rows, features, seed)
    parameters = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.3, "nthread": 1, "seed": seed, **more}
    return xgb.train(parameters, xgb.DMatrix(x, y), rounds)


def world(rows: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # few different values, so that rows fall exactly on thresholds and a feature is asked for twice on a path
    x = rng.integers(-6, 7, (rows, features)).astype(np.float32) / 2
    x[rng.random(x.shape) < 0.15] = np.nan
    z = np.nan_to_num(x)
    return x, (z[:, 0] * z[:, 1] + z[:, 2] + rng.normal(size=rows) > 1).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, DEEPEST), st.integers(0, 10_000))
def test_values_are_those_of_xgboost(depth: int, seed: int) -> None:
    model = booster(depth, seed)
    x, _ = world(700, 5, seed + 1)
    x[:3] = np.nan
    theirs = model.predict(xgb.DMatrix(x), pred_contribs=True)[:, :-1]
    np.testing.assert_allclose(tables_of([model]).contributions(x), theirs, rtol=0, atol=2e-5)


def test_several_boosters_add_up_and_rows_do_not_see_each_other() -> None:
    first, second = booster(3, 1), booster(4, 2, rounds=5)
    x, _ = world(1_000, 5, 3)
    both = tables_of([first, second]).contributions(x)
    np.testing.assert_allclose(
        both, tables_of([first]).contributions(x) + tables_of([second]).contributions(x), rtol=0, atol=1e-12
    )
    tables = tables_of([first])
    assert (tables.contributions(x[::-1])[::-1] == tables.contributions(x)).all()
    assert tables.contributions(x[:0]).shape == (0, 5)


def test_one_tree_by_shapleys_formula() -> None:
    model = booster(3, 7, features=4, rounds=1)
    tree = json.loads(bytes(model.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"][0]

    def expected(row: np.ndarray, known: set[int], node: int = 0) -> float:
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left < 0:
            return float(tree["split_conditions"][node])
        feature = tree["split_indices"][node]
        if feature in known:
            value = row[feature]
            goes = bool(tree["default_left"][node]) if np.isnan(value) else value < tree["split_conditions"][node]
            return expected(row, known, left if goes else right)
        cover = tree["sum_hessian"]
        return sum(cover[child] / cover[node] * expected(row, known, child) for child in (left, right))

    x, _ = world(20, 4, 8)
    found = tables_of([model]).contributions(x)
    for row, values in zip(x, found, strict=True):
        for i in range(4):
            others = [j for j in range(4) if j != i]
            shapley = sum(
                math.factorial(len(s)) * math.factorial(3 - len(s)) / math.factorial(4)
                * (expected(row, {*s, i}) - expected(row, set(s)))
                for size in range(4)
                for s in itertools.combinations(others, size)
            )  # fmt: skip
            assert values[i] == pytest.approx(shapley, abs=1e-9)


def test_a_tree_without_a_split_contributes_nothing() -> None:
    stump = booster(4, 1, rounds=2, gamma=1e9)
    x, _ = world(10, 5, 1)
    assert (tables_of([stump]).contributions(x) == 0).all()


def test_trees_that_are_too_deep_are_refused() -> None:
    deep = booster(9, 1, rows=5_000, rounds=1, min_child_weight=0)
    with pytest.raises(ValueError, match="depth 6"):
        tables_of([deep])
