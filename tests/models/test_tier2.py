from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from modelling_world import SMALL, World

from ml_assets.models import pipeline
from ml_assets.models.names import PILLARS, SCHEMES
from ml_assets.models.splits import plan_splits
from ml_assets.models.tier1 import fit_tier1
from ml_assets.models.tier2 import (
    TIER2_CONTRACT,
    Tier2Model,
    build_design,
    fit_tier2,
    is_raw,
    scheme_scores,
    score_tier2,
)

DAY = date(2024, 1, 1)


def similarity_row(**values) -> pl.DataFrame:
    row = {"client_id": ["A"], "as_of_date": [DAY], "pillar_norm_score": [values.pop("norm", 50.0)]}
    row |= {f"{s}_cosine_ratio": [values.get("cosine", 0.8)] for s in SCHEMES}
    return pl.DataFrame(
        row, schema_overrides={f"{s}_cosine_ratio": pl.Float64 for s in SCHEMES} | {"pillar_norm_score": pl.Float64}
    )


def indicator_row(fired, computable) -> pl.DataFrame:
    row = {"client_id": ["A"], "as_of_date": [DAY]}
    for prefix in ("ub", "tb", "msb"):
        row |= {f"p6_{prefix}_fired_count": [fired], f"p6_{prefix}_computable_count": [computable]}
    return pl.DataFrame(row, schema_overrides={f"p6_{p}_fired_count": pl.Int64 for p in ("ub", "tb", "msb")})


@pytest.mark.parametrize(
    ("similar", "fired", "computable", "score"),
    [
        # 0.4 * 0.8 * 0.5 + 0.6 * 3 / 10 = 0.34
        ({}, 3, 10, 34.0),
        ({}, 0, 10, 16.0),
        # nothing computable: similarity alone, 0.8 * 0.5
        ({}, None, 0, 40.0),
        # no angle: indicators alone
        ({"cosine": None}, 3, 10, 30.0),
        ({"cosine": None}, None, 0, None),
    ],
)
def test_scheme_score_by_hand(similar, fired, computable, score):
    got = scheme_scores(similarity_row(**similar), indicator_row(fired, computable), SMALL)
    for scheme in SCHEMES:
        assert got[f"{scheme}_score"][0] == (pytest.approx(score) if score is not None else None)
    assert got["trade_based_fired_count"][0] == (fired if computable else None)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def inputs(world):
    wide = pipeline.widen({p: fit_tier1(p, world.features[p], world.labels, world.plan, SMALL)[1] for p in PILLARS[:3]})
    return pipeline.tier2_inputs(wide, world.indicators, SMALL)


def test_design_holds_scores_interactions_similarity_and_indicators(inputs):
    design, _ = inputs
    for column in ("s_p1_score", "p1_x_p2_ratio", "trade_based_cosine_ratio", "pillar_norm_score", "p6_ub_fired_count"):
        assert column in design.columns
    assert "s_p4_score" in design.columns
    assert design["s_p4_score"].null_count() == design.height


def test_a_column_is_taken_once(inputs):
    design, schemes = inputs
    again = build_design(design, schemes, schemes, schemes)
    assert len(again.columns) == len(set(again.columns))


def test_fit_and_score(world, inputs):
    design, schemes = inputs
    model, scores = fit_tier2(design, schemes, world.labels, world.plan, SMALL)
    assert "s_p4_score" in model.dropped
    assert set(scores["split"]) == {"train", "validation"}
    scored = score_tier2(model, design, schemes, "m")
    assert scored.columns == TIER2_CONTRACT.names
    assert scored["scheme_score"].null_count() == 0
    again = Tier2Model.from_files(model.files())
    assert score_tier2(again, design, schemes, "m").equals(scored)
    both = scores.filter(pl.col("split") == "validation").join(scored, on=["client_id", "as_of_date"], suffix="_final")
    assert (both["scheme_score"] == both["scheme_score_final"]).all()
    shuffled, _ = fit_tier2(
        design.sample(fraction=1, shuffle=True, seed=1), schemes.reverse(), world.labels, world.plan, SMALL
    )
    assert shuffled.files() == model.files()


def test_every_view_has_a_committee_and_one_sees_features_alone(world, inputs):
    design, schemes = inputs
    raw = [f"p1_noise_{i}_value" for i in range(3)]
    draws = np.random.default_rng(3).normal(size=(3, design.height))
    label = design.join(world.labels, on=["client_id", "as_of_date"], how="left")["is_str_within_horizon"]
    telling = label.fill_null(False).cast(pl.Float64) + pl.Series(draws[2] / 4)
    noisy = design.with_columns(pl.Series(raw[0], draws[0]), pl.Series(raw[1], draws[1]), telling.alias(raw[2]))
    args = (schemes, world.labels, world.plan, SMALL)
    one, _ = fit_tier2(noisy, *args)
    model, scores = fit_tier2(noisy, *args, views=[set(raw[:2]), set(raw)])
    assert model.boost is not None
    assert one.boost is not None
    assert one.features == model.features
    assert not one.reasons
    size = len(one.boost.members)
    assert len(model.boost.members) == 3 * size
    gains = [
        set(replace(model.boost, booster=part[0], others=tuple(part[1:])).total_gain().nonzero()[0])
        for part in (model.boost.members[at : at + size] for at in range(0, 3 * size, size))
    ]
    used = [{model.features[i] for i in some} for some in gains]
    assert [raw[2] in names for names in used] == [False, True, True]
    assert [all(is_raw(n) for n in names) for names in used] == [False, False, True]
    assert "scores and 2 features" in model.reasons[0]
    assert "3 features alone" in model.reasons[0]
    # what the model says of validation weeks is what it says of them later; training weeks are out of sample
    scored = score_tier2(model, noisy, schemes, "m")
    both = scores.join(scored, on=["client_id", "as_of_date"], suffix="_final")
    is_equal = both["scheme_score"] == both["scheme_score_final"]
    assert is_equal.filter(both["split"] == "validation").all()
    assert not is_equal.filter(both["split"] == "train").all()


def test_without_labels_the_templates_stand_alone(world, inputs):
    design, schemes = inputs
    honest = world.labels.with_columns(is_str_within_horizon=pl.lit(False))
    plan = plan_splits(honest, world.calendar, world.config)
    model, scores = fit_tier2(design, schemes, honest, plan, SMALL)
    assert model.boost is None
    assert scores["supervised_score"].null_count() == scores.height
    # the highest scheme score decides, and the scale keeps its order
    best = scores.join(schemes, on=["client_id", "as_of_date"]).with_columns(
        best=pl.max_horizontal([f"{s}_score" for s in SCHEMES])
    )
    ordered = best.sort("best")["scheme_score"]
    assert ordered.is_sorted()
