from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ml_assets.config import FeatureConfig, ModelConfig
from ml_assets.contracts.table import Column
from ml_assets.explain.reasons import (
    REASONS_CONTRACT,
    Explained,
    alert_reasons,
    feature_shares,
    format_value,
    normals,
    reason_text,
)
from ml_assets.features.peers import normals as peers_normals
from ml_assets.features.peers import peer_groups
from ml_assets.models.boosting import fit_grouped
from ml_assets.models.isolation import fit_forest
from ml_assets.models.scaling import fit_scaler
from ml_assets.models.tier1 import Tier1Model

DAY = date(2024, 2, 5)
NAMES = ("p2_a_30d_ratio", "p2_b_30d_base", "p2_c_30d_count")
CONFIG = ModelConfig(trees=30, parallel_fits=1, isolation_trees=20, reasons_per_alert=2)


def matrix(rows: int = 600) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(rows, 3)).astype(np.float32)


def model(alpha: float = 0.7, supervised: bool = True) -> Tier1Model:
    x = matrix()
    forest, _ = fit_forest(x, CONFIG)
    boost = None
    if supervised:
        y = x[:, 0] + 0.3 * np.random.default_rng(1).normal(size=len(x)) > 1
        boost, _ = fit_grouped(
            x, y, (np.arange(len(x)) % 3).astype(np.int32), np.ones(len(x), dtype=bool), 0.0, NAMES, CONFIG
        )
    scale = fit_scaler(forest.score(x))
    return Tier1Model("p2_network", NAMES, {}, boost, forest, scale, scale, alpha, {}, ())


def frame(values: list[list[float | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"client_id": [f"C{i}" for i in range(len(values))], "as_of_date": [DAY] * len(values)}
    ).with_columns([pl.Series(n, [v[i] for v in values], dtype=pl.Float64) for i, n in enumerate(NAMES)])


def test_shares_sum_to_one_and_point_at_the_cause():
    shares = feature_shares(model(), frame([[2.5, 0.0, 0.0], [2.5, 0.1, 6.0]]))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[0].argmax() == 0
    # the third feature is unknown to the labels but strange to the forest
    assert shares[1, 2] > shares[0, 2]


def test_unsupervised_shares_come_from_the_median_alone():
    shares = feature_shares(model(0.0, supervised=False), frame([[0.0, 0.0, 7.0]]))
    assert shares[0].argmax() == 2
    assert shares[0, 2] > 0.8


def test_supervised_shares_are_the_exact_tree_contributions():
    fitted = model(1.0)
    rows = frame([[2.0, -1.0, 0.5]])
    parts = np.maximum(fitted.boost.contributions(rows.select(NAMES).to_numpy().astype(np.float32))[0, :-1], 0)
    np.testing.assert_allclose(feature_shares(fitted, rows)[0], parts / parts.sum(), atol=1e-12)


def contributions(values: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"client_id": "C0", "as_of_date": DAY, "pillar": p, "contribution": v} for p, v in values.items()]
    )


def test_reasons_are_ranked_scaled_and_put_into_words():
    alerts = pl.DataFrame({"client_id": ["C0"], "as_of_date": [DAY]})
    inputs = frame([[2.5, 0.3, 4.0]])
    own = frame([[0.5, None, 0.0]])
    column = Column(NAMES[0], "number", "Share of new payees.", unit="ratio")
    got = alert_reasons(
        alerts,
        contributions({"p2_network": 2.0, "base": -5.0, "p3_temporal": -1.0}),
        {"p2_network": model()},
        {"p2_network": Explained(inputs, {NAMES[0]: column}, own=own, peers=frame([[0.2, 0.0, 1.0]]))},
        CONFIG,
    )
    assert got.columns == REASONS_CONTRACT.names
    assert got["reason_rank"].to_list() == [1, 2]
    assert got["contribution"].is_sorted(descending=True)
    shares = np.sort(feature_shares(model(), inputs)[0])[::-1]
    np.testing.assert_allclose(got["contribution"], 2.0 * shares[:2])
    first = got.row(by_predicate=pl.col("feature") == NAMES[0], named=True)
    assert first["reason_text"] == "Share of new payees: 250 % (own normal 50 %, peers 20 %)."
    assert (first["value"], first["own_normal"], first["peer_normal"]) == (2.5, 0.5, 0.2)


def test_pillars_that_lower_the_score_give_no_reason():
    alerts = pl.DataFrame({"client_id": ["C0"], "as_of_date": [DAY]})
    got = alert_reasons(
        alerts,
        contributions({"p2_network": -0.5, "base": 1.0}),
        {"p2_network": model()},
        {"p2_network": Explained(frame([[2.5, 0.3, 4.0]]), {})},
        CONFIG,
    )
    assert got.is_empty()
    assert got.columns == REASONS_CONTRACT.names


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.5, "ratio", "50 %"),
        (1234567.8, "base", "1,234,568"),
        (3.0, "count", "3"),
        (2.345, "zscore", "2.35 standard deviations"),
        (None, "base", "not available"),
        (float("nan"), "ratio", "not available"),
        (5000.0, "days", "5,000 days"),
    ],
)
def test_values_in_words(value, unit, words):
    assert format_value(value, unit) == words


def test_flags_and_unknown_columns_in_words():
    flag = Column("p4_is_funnel", "boolean", "Acts as a funnel account.")
    assert reason_text(flag, flag.name, 1.0, 0.0, 0.0) == "Acts as a funnel account: yes."
    assert reason_text(None, "p1_x_p4_ratio", 0.81, None, None) == (
        "Unusual at once in volume and velocity and in typologies, as a share of the most there can be: 81 %."
    )
    assert reason_text(None, "trade_based_cosine_ratio", None, None, 0.5) == (
        "Pillars in the proportions of trade-based laundering: not available (peers 50 %)."
    )


def test_normals_by_hand():
    # A's rows: one too old to count, two earlier weeks, the alert's week, the future
    weeks = [DAY - timedelta(days=371), DAY - timedelta(days=14), DAY - timedelta(days=7), DAY, DAY + timedelta(days=7)]
    features = pl.DataFrame(
        {
            "client_id": ["A"] * 5 + ["B", "C", "D", "E"],
            "as_of_date": [*weeks, DAY, DAY, DAY, DAY],
            "x": [1000.0, 1.0, 3.0, 9.0, 100.0, 2.0, 4.0, 50.0, None],
        }
    )
    profiles = pl.DataFrame(
        {
            "client_id": ["A", "B", "C", "D", "E"],
            "as_of_date": [DAY] * 5,
            "industry": ["retail", "retail", "retail", "msb", "msb"],
            "size_bucket": ["small", "small", "large", "small", None],
        }
    )
    groups = peer_groups(profiles, FeatureConfig.model_construct(peer_minimum_clients=3))
    peer_normals = peers_normals(features.filter(pl.col("as_of_date") == DAY), profiles, groups)
    alerts = pl.DataFrame({"client_id": ["A", "D", "E"], "as_of_date": [DAY] * 3})
    own, peers = normals(features, alerts, groups, peer_normals)
    # A: mean of the two earlier weeks; D and E have no past
    assert own["x"].to_list() == [2.0, None, None]
    # retail has three clients (9, 2, 4); D's trade has two, so the three small clients (9, 2, 50); E gets everyone
    assert peers["x"].to_list() == [4.0, 9.0, 6.5]
