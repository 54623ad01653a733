from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelling_world import SMALL, World, all_features, train

from ml_assets.models import pipeline
from ml_assets.models.memory import earlier_weeks, memory_column, remember
from ml_assets.models.names import PILLARS, SCORE_OF

MONDAY = date(2024, 1, 1)


def weeks_of(client: str, scores: dict[int, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "client_id": [client] * len(scores),
            "as_of_date": [MONDAY + timedelta(days=7 * w) for w in scores],
            "s_p1_score": list(scores.values()),
        },
        schema_overrides={"s_p1_score": pl.Float64},
    )


def test_scores_of_earlier_weeks_by_hand():
    # B is new in week 2; A has no row in week 3 and no score in week 1
    wide = pl.concat([weeks_of("A", {0: 40.0, 1: None, 2: 60.0, 4: 70.0}), weeks_of("B", {2: 55.0, 3: 56.0})])
    got = remember(wide, 2)
    assert got.columns == ["client_id", "as_of_date", "s_p1_1w_ago_score", "s_p1_2w_ago_score"]
    assert got.select("client_id", "as_of_date").equals(wide.select("client_id", "as_of_date"))
    assert got["s_p1_1w_ago_score"].to_list() == [None, 40.0, None, None, None, 55.0]
    assert got["s_p1_2w_ago_score"].to_list() == [None, None, 40.0, 60.0, None, None]


def test_no_memory_adds_no_column():
    wide = weeks_of("A", {0: 40.0})
    assert remember(wide, 0).columns == ["client_id", "as_of_date"]
    assert earlier_weeks([MONDAY], 0) == []


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.floats(0, 100), min_size=3, max_size=9),
    cut=st.integers(0, 8),
    later=st.floats(0, 100),
    memory=st.integers(1, 4),
)
def test_a_later_week_changes_nothing_before_it(values, cut, later, memory):
    cut = min(cut, len(values) - 1)
    wide = weeks_of("A", dict(enumerate(values)))
    until = wide["as_of_date"] <= wide["as_of_date"][cut]
    changed = wide.with_columns(s_p1_score=pl.when(until).then(pl.col("s_p1_score")).otherwise(later))
    assert remember(changed, memory).filter(until).equals(remember(wide.filter(until), memory))
    for k in range(1, memory + 1):
        expected = [values[i - k] if i >= k else None for i in range(len(values))]
        assert remember(wide, memory)[memory_column("p1_volume_velocity", k)].to_list() == expected


@pytest.fixture(scope="module")
def world() -> World:
    return World(clients=160)


@pytest.fixture(scope="module")
def bundle(world):
    return train(world)


def test_tier_2_uses_the_memory_and_leading_features(bundle):
    used = set(bundle.tier2.features)
    assert {memory_column(p, SMALL.memory_weeks) for p in PILLARS} <= used
    assert 0 < sum(len(names) for names in bundle.tier2.raw_features.values()) <= SMALL.scheme_raw_features[0]
    assert {n[:2] for names in bundle.tier2.raw_features.values() for n in names} <= {p[:2] for p in PILLARS}


def test_later_weeks_change_no_score_of_earlier_ones(world, bundle):
    """The whole chain: every feature of the weeks after a cut is replaced, every score up to the cut stays."""
    rng = np.random.default_rng(0)
    dates = sorted(world.labels["as_of_date"].unique())
    cut = dates[-5]
    features = all_features(world)
    moved = {}
    for p, f in features.items():
        after = f["as_of_date"] > cut
        noise = rng.normal(size=f.height)
        numbers = [c for c, t in f.schema.items() if t == pl.Float64]
        moved[p] = f.with_columns(
            pl.when(after).then(pl.lit(pl.Series(noise))).otherwise(pl.col(c)).alias(c) for c in numbers
        )
    before, after = pipeline.score_weeks(bundle, features), pipeline.score_weeks(bundle, moved)
    until = pl.col("as_of_date") <= cut
    assert before.scores.filter(until).equals(after.scores.filter(until))
    assert before.tier2.filter(until).equals(after.tier2.filter(until))
    assert not before.tier2.filter(~until).equals(after.tier2.filter(~until))


def test_the_memory_of_validation_is_out_of_sample(world):
    """Embargo weeks are scored, so that the first validation week remembers; and they are never measured."""
    from ml_assets.models.tier1 import fit_tier1
    from ml_assets.models.tier2 import fit_tier2

    fitted = {p: fit_tier1(p, world.features[p], world.labels, world.plan, SMALL) for p in PILLARS}
    wide = pipeline.widen({p: scores for p, (_, scores) in fitted.items()})
    assert set(world.plan.passed_weeks) <= set(wide["as_of_date"])
    assert not set(world.plan.test_weeks) & set(wide["as_of_date"])
    design, schemes = pipeline.tier2_inputs(wide, world.indicators, SMALL)
    first = design.filter(pl.col("as_of_date") == world.plan.validation_weeks[0])
    assert first[memory_column(PILLARS[0], 1)].null_count() == 0
    _, scores = fit_tier2(design, schemes, world.labels, world.plan, SMALL)
    assert not set(scores["as_of_date"]) & set(world.plan.passed_weeks)
    assert SCORE_OF[PILLARS[0]] in design.columns
