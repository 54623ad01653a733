from datetime import date

import polars as pl
import pytest
from modelling_world import SMALL, World

from ml_assets.config import RuleScoreConfig
from ml_assets.models.baselines import (
    FlatModel,
    fit_flat,
    fixed_rules_score,
    in_order,
    join_features,
    rule_risk_score,
    score_flat,
    static_kyc_score,
    volume_only_score,
)
from ml_assets.models.splits import plan_splits

DAY = date(2024, 1, 1)


def rows(**columns) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    return pl.DataFrame({"client_id": [f"C{i}" for i in range(n)], "as_of_date": [DAY] * n, **columns})


def test_static_kyc_by_hand():
    got = static_kyc_score(
        rows(
            risk_rating=["high", "low", "medium", None, None],
            is_pep=[True, False, None, False, True],
            is_sanctioned=[True, False, None, False, None],
            country_risk_score=[100.0, 0.0, 40.0, None, None],
            industry_risk_score=[100.0, 0.0, None, None, None],
        )
    )["score"].to_list()
    # third: (30 * 0.5 + 15 * 0.4) of 45 points; fourth knows nothing; fifth: listed, 20 of 20
    assert got == [100.0, 0.0, pytest.approx(100 * 21 / 45), None, 100.0]


def test_static_kyc_without_any_profile_column_is_unavailable():
    assert static_kyc_score(rows(industry=["retail"]))["score"].to_list() == [None]
    assert static_kyc_score(rows(is_pep=[False], is_sanctioned=[False]))["score"].to_list() == [None]


def test_volume_is_money_in_and_out():
    got = volume_only_score(rows(inflow_sum_30d_base=[10.0, None], outflow_sum_30d_base=[5.5, 1.0]))
    assert got["score"].to_list() == [15.5, None]


def test_fixed_rules_count_what_fires_on_the_boundary():
    got = fixed_rules_score(
        rows(
            inflow=[10_000.0, 9_999.99, None, 0.0],
            outflow=[0.0, 0.0, None, 20_000.0],
            burst=[2.0, 0.0, None, 1.0],
            listed=[0.0, 1.0, None, 3.0],
        ),
        ("inflow", "outflow"),
        "burst",
        "listed",
        10_000.0,
    )
    assert got["score"].to_list() == [2.0, 1.0, 0.0, 3.0]


def test_fixed_rules_without_inputs_are_unavailable():
    assert fixed_rules_score(rows(a=[1.0]), (), None, None, 10_000.0)["score"].to_list() == [None]


def test_rule_risk_score_gives_points_of_the_highest_step_reached():
    got = rule_risk_score(
        rows(
            p4_fund_through_72h_90d_ratio=[0.8, 0.79, 0.0, None, None],
            p5_income_discrepancy_90d_value=[0.48, 0.2, -2.0, 0.5, None],
            p5_salary_left_72h_90d_ratio=[0.5, 0.1, 0.0, None, None],
        ),
        RuleScoreConfig(),
    )
    # 30 + 40 + 15 of 100; 15 + 20 of 100; nothing; 40 of the 40 its one measure can give; nothing known
    assert got["score"].to_list() == [85.0, 35.0, 0.0, 100.0, None]


def test_rule_risk_score_takes_its_points_from_configuration():
    config = RuleScoreConfig(pass_through_steps=((0.1, 1.0), (0.2, 2.0)), income_discrepancy_steps=())
    got = rule_risk_score(
        rows(p4_fund_through_72h_90d_ratio=[0.1, 0.2], p5_income_discrepancy_90d_value=[9.0, 9.0]), config
    )
    assert got["score"].to_list() == [50.0, 100.0]


def test_rule_risk_score_without_its_measures_is_unavailable():
    assert rule_risk_score(rows(other=[1.0]), RuleScoreConfig())["score"].to_list() == [None]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_flat_model_learns_scores_and_survives_saving(world):
    model = fit_flat(join_features(in_order(world.features)), world.labels, world.plan, SMALL)
    scored = score_flat(model, world.features)
    assert scored.columns == ["client_id", "as_of_date", "score"]
    assert len(model.features) == 20
    assert score_flat(FlatModel.from_files(model.files()), world.features).equals(scored)
    hot = scored.join(world.labels, on=["client_id", "as_of_date"]).filter(
        pl.col("as_of_date").is_in(world.plan.test_weeks)
    )
    means = hot.group_by("is_str_within_horizon").agg(pl.col("score").mean()).sort("is_str_within_horizon")
    assert means["score"][1] > means["score"][0]


def test_flat_model_sees_training_weeks_only(world):
    model = fit_flat(join_features(in_order(world.features)), world.labels, world.plan, SMALL)
    train = {p: f.filter(pl.col("as_of_date").is_in(world.plan.train_weeks)) for p, f in world.features.items()}
    again = fit_flat(
        join_features(in_order(train)),
        world.labels.filter(pl.col("as_of_date").is_in(world.plan.train_weeks)),
        world.plan,
        SMALL,
    )
    assert again.files() == model.files()


def test_flat_model_without_labels_scores_null(world):
    honest = world.labels.with_columns(is_str_within_horizon=pl.lit(False))
    model = fit_flat(
        join_features(in_order(world.features)), honest, plan_splits(honest, world.calendar, world.config), SMALL
    )
    assert model.boost is None
    assert model.reasons
    assert score_flat(model, world.features)["score"].null_count() == world.labels.height


def test_joining_nothing_is_refused():
    with pytest.raises(ValueError, match="No feature frames"):
        join_features([])
