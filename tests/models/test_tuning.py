from dataclasses import replace
from pathlib import Path

import optuna
import optuna.storages.journal
import polars as pl
import pytest
from modelling_world import SMALL, World

from ml_assets.models import tuning
from ml_assets.models.baselines import fit_flat, in_order, join_features
from ml_assets.models.matrix import numeric_columns
from ml_assets.models.store import unpack_json
from ml_assets.models.tier1 import fit_tier1
from ml_assets.models.tuning import tune, tuning_key, with_settings

PILLAR = "p2_network"
CONFIG = SMALL.model_copy(update={"tuning_trials": 4, "trees": 16})
KEY = tuning_key("features", config=CONFIG)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def search(world: World, folder: Path, config=CONFIG, key=KEY, labels=None, frame=None, **more):
    return tune(
        "pillar",
        world.features[PILLAR] if frame is None else frame,
        world.labels if labels is None else labels,
        world.plan,
        config,
        folder,
        key,
        **more,
    )


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    return search(world, tmp_path_factory.mktemp("tuning"))


def test_trials_are_bounded_and_start_as_configured(found):
    assert found.trials.height == 4
    first = found.trials.row(0, named=True)
    assert first["state"] == "COMPLETE"
    assert (first["depth"], first["learning_rate"]) == (SMALL.depth, SMALL.learning_rate)
    assert set(found.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert found.trials["folds"].is_between(1, CONFIG.tuning_folds).all()
    assert found.note


def test_a_second_search_gives_the_same_and_a_frozen_one_is_not_repeated(world, found, tmp_path, monkeypatch):
    again = search(world, tmp_path)
    assert again.trials.equals(found.trials)
    assert again.settings == found.settings

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a frozen result was searched again")

    monkeypatch.setattr(tuning, "_search", never)
    frozen = search(world, tmp_path)
    assert (frozen.settings, frozen.note) == (again.settings, again.note)
    assert frozen.trials.equals(again.trials)
    with pytest.raises(AssertionError):
        search(world, tmp_path, key=tuning_key("other features", config=CONFIG))
    with pytest.raises(AssertionError):
        search(world, tmp_path, is_search_wanted=True)


def test_an_interrupted_search_goes_on_and_ends_where_a_whole_one_does(world, found, tmp_path):
    # the study is killed after two trials: the journal has them, nothing is frozen
    search(world, tmp_path, config=CONFIG.model_copy(update={"tuning_trials": 2}))
    (tmp_path / "pillar.json").unlink()
    resumed = search(world, tmp_path)
    assert resumed.trials.equals(found.trials)
    assert resumed.settings == found.settings
    study = optuna.load_study(
        study_name=f"pillar {KEY}",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "pillar.journal"))
        ),
    )
    assert len(study.trials) == 4


def test_weeks_outside_training_and_validation_change_nothing(world, found, tmp_path):
    outside = ~pl.col("as_of_date").is_in([*world.plan.train_weeks, *world.plan.validation_weeks])
    frame = world.features[PILLAR]
    frame = frame.with_columns(pl.when(outside).then(9.0).otherwise(pl.col(c)).alias(c) for c in numeric_columns(frame))
    labels = world.labels.with_columns(
        is_str_within_horizon=pl.col("is_str_within_horizon") ^ outside,
        has_prior_str=pl.col("has_prior_str") & ~outside,
    )
    moved = search(world, tmp_path, frame=frame, labels=labels)
    assert moved.trials.equals(found.trials)
    assert moved.settings == found.settings


def test_validation_decides_whether_what_was_found_is_used(world, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning._Rows, "validation_precision", lambda *_: 0.5)
    kept = search(world, tmp_path)
    assert kept.settings == {}
    assert "configured" in kept.note


def test_settings_reach_the_booster_and_are_saved_with_it(world):
    settings = {"depth": 2, "learning_rate": 0.2, "l2_penalty": 9.0}
    model, _ = fit_tier1(PILLAR, world.features[PILLAR], world.labels, world.plan, SMALL, settings)
    stored = unpack_json(model.files()[f"tier1_{PILLAR}.boost.json"])["settings"]
    assert (stored["depth"], stored["learning_rate"], stored["l2_penalty"]) == (2, 0.2, 9.0)
    plain, _ = fit_tier1(PILLAR, world.features[PILLAR], world.labels, world.plan, SMALL)
    assert plain.files() != model.files()
    flat = fit_flat(join_features(in_order(world.features)), world.labels, world.plan, SMALL, settings)
    assert dict(flat.boost.settings)["depth"] == 2


def test_nothing_to_search_with_is_said(world, tmp_path):
    honest = world.labels.with_columns(is_str_within_horizon=pl.lit(False))
    got = search(world, tmp_path / "a", labels=honest)
    assert (got.settings, got.trials.height) == ({}, 0)
    assert "labels" in got.note
    none = search(world, tmp_path / "b", config=CONFIG.model_copy(update={"tuning_trials": 0}))
    assert (none.settings, none.trials.height) == ({}, 0)


def test_settings_are_validated():
    assert with_settings(SMALL, {}) == SMALL
    with pytest.raises(ValueError, match="depth"):
        with_settings(SMALL, {"depth": 99})
    assert replace(tuning.Tuning({"depth": 3}, pl.DataFrame(), "")).apply(SMALL).depth == 3
