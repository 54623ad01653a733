"""A person appoints a champion past the gates: with a reason, and only a whole model that was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from chain import bcrs

from ml_assets.models.registry import read_card, save_bundle
from ml_assets.models.tracking import champion_id, record_training
from tests.models.modelling_world import World, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one recorded model and no champion."""
    data = tmp_path_factory.mktemp("appointed")
    models = data / "models"
    model_id = save_bundle(models, train(World(clients=40, weeks=40), model_id=""))
    card = read_card(models, model_id)
    record_training(models, models / model_id / "card.json", card, [], {}, {"decision": "stays"}, is_promoted=False)
    return data, model_id


def test_an_unknown_model_is_refused(folder: tuple[Path, str]) -> None:
    answer = bcrs(folder[0], "promote", "--model", "nobody", "--because", "why not")
    assert answer.code == 1
    assert "There is no model 'nobody'" in answer.output
    assert "Traceback" not in answer.output


def test_a_recorded_model_becomes_champion_with_its_reason(folder: tuple[Path, str]) -> None:
    data, model_id = folder
    assert champion_id(data / "models") is None
    answer = bcrs(data, "promote", "--model", model_id, "--because", "a new product")
    assert answer.code == 0, answer.output
    assert "is champion: a new product" in answer.output
    assert champion_id(data / "models") == model_id
