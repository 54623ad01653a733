import math
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from ml_assets.config import ModelConfig
from ml_assets.explain.decomposition import CONTRIBUTIONS_CONTRACT, pillar_contributions, pillar_shares
from ml_assets.models.aggregation import AggregationModel, apply_aggregation
from ml_assets.models.bands import fit_cuts
from ml_assets.models.boosting import fit_grouped
from ml_assets.models.calibration import Calibration

CALIBRATION = Calibration(0.9, -0.1)
COLUMNS = ("s_p1_score", "s_p2_score", "s_p6_score")


def model(champion: str, calibration: Calibration | None = CALIBRATION) -> AggregationModel:
    rng = np.random.default_rng(0)
    x = rng.uniform(20, 90, (400, 3)).astype(np.float32)
    y = rng.random(400) < 1 / (1 + np.exp(-(x[:, 0] - 70) / 8))
    fold = (np.arange(400) % 3).astype(np.int32)
    config = ModelConfig(trees=15, parallel_fits=1)
    boost, _ = fit_grouped(x, y, fold, np.ones(400, dtype=bool), -0.3, COLUMNS, config)
    grid = np.arange(0.125, 100, 0.25)
    return AggregationModel(
        columns=COLUMNS,
        weights=(0.5, 0.3, 0.2),
        means=(50.0, 40.0, 30.0),
        slope=12.0,
        intercept=-9.0,
        boost=boost,
        log_ratios=tuple(tuple((grid / k - 20 / k).tolist()) for k in (20, 30, 40)),
        prior=-4.0,
        champion=champion,
        calibration=calibration,
        cuts=fit_cuts(np.arange(100.0), config),
        validation_ap={},
        reasons=("no labels",),
    )


WIDE = pl.DataFrame(
    {
        "client_id": ["A", "B", "C", "D"],
        "as_of_date": [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(4)],
        "s_p1_score": [60.0, 20.0, None, None],
        "s_p2_score": [70.0, 50.0, 90.0, None],
        "s_p6_score": [30.0, None, 80.0, None],
    }
)


@pytest.mark.parametrize("strategy", ["linear", "boosting", "bayesian"])
def test_contributions_sum_to_the_champions_raw_score(strategy):
    fitted = model(strategy)
    got = pillar_contributions(fitted, WIDE)
    assert got.columns == CONTRIBUTIONS_CONTRACT.names
    total = got.group_by("client_id", maintain_order=True).agg(pl.col("contribution").sum())
    raw = apply_aggregation(fitted, WIDE).filter(pl.col("champion_raw").is_not_null())
    assert total["client_id"].to_list() == ["A", "B", "C"]
    np.testing.assert_allclose(total["contribution"], raw["champion_raw"], atol=1e-9)
    assert got.filter(pl.col("client_id") == "A")["pillar"].to_list() == [
        "base", "p1_volume_velocity", "p2_network", "p6_scheme",
    ]  # fmt: skip


def of(frame: pl.DataFrame, client: str, pillar: str) -> float:
    return frame.row(by_predicate=(pl.col("client_id") == client) & (pl.col("pillar") == pillar), named=True)[
        "contribution"
    ]


def test_linear_by_hand():
    got = pillar_contributions(model("linear"), WIDE)
    # 12 * 0.5 * (60 - 50) / 100
    assert of(got, "A", "p1_volume_velocity") == pytest.approx(0.6)
    assert of(got, "A", "p6_scheme") == pytest.approx(0.0)
    # an average client: -9 + 12 * (0.5 * 50 + 0.3 * 40 + 0.2 * 30) / 100
    assert of(got, "A", "base") == pytest.approx(-9 + 12 * 0.43)
    # B lacks P6: weights 0.625 and 0.375
    assert of(got, "B", "p1_volume_velocity") == pytest.approx(12 * 0.625 * (20 - 50) / 100)
    assert of(got, "B", "p6_scheme") == 0


def test_bayesian_by_hand():
    got = pillar_contributions(model("bayesian"), WIDE)
    assert of(got, "A", "base") == pytest.approx(-4)
    assert of(got, "A", "p1_volume_velocity") == pytest.approx((60 - 20) / 20)
    assert of(got, "C", "p1_volume_velocity") == 0


def test_without_labels_points_become_log_odds():
    unlabelled = model("linear", None)
    got = pillar_contributions(unlabelled, WIDE)
    total = got.filter(pl.col("client_id") == "A")["contribution"].sum()
    assert total == pytest.approx((0.5 * 60 + 0.3 * 70 + 0.2 * 30 - 50) * math.log(10) / 10)
    with pytest.raises(ValueError, match="was not fitted: no labels"):
        pillar_contributions(unlabelled, WIDE, "boosting")


def test_inputs_made_from_several_pillars_are_shared_among_them():
    names = ("s_p4_1w_ago_score", "p1_x_p3_ratio", "pillar_norm_score", "trade_based_score")
    # 10 and 20 points over the median: 100 and 400 of 500 in the norm's square; at or under the median nothing
    scores = {"s_p1_score": [60.0, 50.0], "s_p2_score": [70.0, 40.0], "s_p3_score": [None, 50.0]}
    design = pl.DataFrame(scores).with_columns(s_p4_score=pl.lit(50.0), s_p5_score=pl.lit(10.0))
    shares = pillar_shares(SimpleNamespace(features=names), design)
    expected = {
        "p1_volume_velocity": [0, 0.5, 0.2, 0],
        "p2_network": [0, 0, 0.8, 0],
        "p3_temporal": [0, 0.5, 0, 0],
        "p4_typology": [1, 0, 0, 0],
        "p5_profile": [0, 0, 0, 0],
    }
    for pillar, row in expected.items():
        np.testing.assert_allclose(shares[pillar][0], row)
    assert all(shares[p][1, 2] == 0 for p in expected)
