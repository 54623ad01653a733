import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from modelling_world import World, all_features, train

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models import pipeline, registry
from ml_assets.models.registry import RegistryError


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def bundle(world):
    return train(world, model_id="")


@pytest.fixture(scope="module")
def saved(bundle, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("models")
    return folder, registry.save_bundle(folder, bundle)


@pytest.fixture
def copy(saved, tmp_path) -> tuple[Path, str]:
    shutil.copytree(saved[0], tmp_path / "models")
    return tmp_path / "models", saved[1]


def test_a_loaded_model_scores_as_the_one_that_was_saved(world, bundle, saved):
    loaded = registry.load_bundle(*saved, "features")
    features = all_features(world)
    fresh = pipeline.score_weeks(bundle, features).scores.drop("model_id")
    again = pipeline.score_weeks(loaded, features).scores
    assert again.drop("model_id").equals(fresh)
    assert set(again["model_id"]) == {saved[1]}
    assert loaded.plan == bundle.plan
    assert loaded.config == bundle.config


def test_training_twice_gives_the_same_model_id(world, saved):
    again = train(World(), model_id="")
    assert registry.save_bundle(saved[0], again) == saved[1]
    assert saved[1].startswith(f"{world.plan.train_weeks[-1]:%Y%m%d}-")


def test_the_card_says_what_a_reader_must_know(saved):
    card = registry.read_card(*saved)
    assert card["splits"]["train_weeks"]
    assert card["parameters"]["models"]["trees"] == 24
    assert card["pillars"]["p2_network"]["features"]
    assert card["versions"]["numpy"]
    assert set(card["files"]) == {p.name for p in (saved[0] / saved[1]).iterdir()} - {"card.json"}


@pytest.mark.parametrize("name", ["aggregation.json", "tier1_p2_network.npz", "tier1_p2_network.ubj", "splits.json"])
def test_a_changed_file_is_refused(copy, name):
    path = copy[0] / copy[1] / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RegistryError, match=f"file {name} is not the one that was saved"):
        registry.load_bundle(*copy)


def test_a_missing_file_is_refused(copy):
    (copy[0] / copy[1] / "tier2.json").unlink()
    with pytest.raises(RegistryError, match=r"tier2\.json is missing"):
        registry.load_bundle(*copy)


def test_a_card_rewritten_to_match_a_changed_file_is_refused(copy):
    path = copy[0] / copy[1] / "card.json"
    card = json.loads(path.read_text())
    card["files"]["tier2.json"] = "0" * 64
    path.write_text(json.dumps(card))
    with pytest.raises(RegistryError, match="changed by hand"):
        registry.load_bundle(*copy)


def test_a_broken_card_is_refused(copy):
    (copy[0] / copy[1] / "card.json").write_text("{")
    with pytest.raises(RegistryError, match="cannot be read"):
        registry.load_bundle(*copy)


def test_other_feature_definitions_are_refused(saved):
    with pytest.raises(RegistryError, match="other feature definitions"):
        registry.load_bundle(*saved, feature_hash="others")


def test_a_damaged_model_is_replaced_by_saving_again(copy, bundle):
    (copy[0] / copy[1] / "tier2.json").write_text("")
    assert registry.save_bundle(copy[0], bundle) == copy[1]
    registry.load_bundle(*copy)
    assert [p.name for p in copy[0].iterdir()] == [copy[1]]


def test_without_a_record_there_is_no_champion(copy):
    with pytest.raises(RegistryError, match="There is no champion: run the retraining job"):
        registry.load_champion(copy[0])


def test_other_tsfresh_characteristics_are_refused(bundle, tmp_path):
    chosen = replace(bundle, selection='["mean"]')
    model_id = registry.save_bundle(tmp_path, chosen)
    assert registry.load_bundle(tmp_path, model_id, selection='["mean"]').selection == '["mean"]'
    with pytest.raises(RegistryError, match="chosen again"):
        registry.load_bundle(tmp_path, model_id, selection='["median"]')


def test_a_knob_of_a_report_makes_no_other_model(bundle, tmp_path):
    other = bundle.config.model_copy(
        update={"evaluation": bundle.config.evaluation.model_copy(update={"refit_trees": 11})}
    )
    model_id = registry.save_bundle(tmp_path, bundle)
    assert registry.save_bundle(tmp_path, replace(bundle, config=other)) == model_id
    trees = bundle.config.models.model_copy(update={"trees": 11})
    another = replace(bundle, config=bundle.config.model_copy(update={"models": trees}))
    assert registry.save_bundle(tmp_path, another) != model_id


def test_a_knob_of_a_report_that_is_gone_refuses_no_model(bundle, tmp_path):
    model_id = registry.save_bundle(tmp_path, bundle)
    path = tmp_path / model_id / "card.json"
    card = json.loads(path.read_text())
    card["parameters"]["evaluation"]["a_knob_of_long_ago"] = 1
    path.write_text(json.dumps(card))
    assert registry.load_bundle(tmp_path, model_id).config.models == bundle.config.models
    card["parameters"]["models"]["a_knob_of_long_ago"] = 1
    path.write_text(json.dumps(card))
    with pytest.raises(RegistryError, match="knobs this version does not know"):
        registry.load_bundle(tmp_path, model_id)


def test_files_of_another_form_are_refused_in_words(bundle, tmp_path, monkeypatch):
    model_id = registry.save_bundle(tmp_path, bundle)

    def newer(files):
        raise KeyError("memory")

    monkeypatch.setattr(registry.AggregationModel, "from_files", newer)
    with pytest.raises(RegistryError, match="in a form this version does not read"):
        registry.load_bundle(tmp_path, model_id)


def test_metrics_are_added_and_replaced_by_split(copy):
    row = {"model": "bcrs", "split": "test", "metric": "auroc", "value": 0.9}
    registry.add_metrics(*copy, [row])
    registry.add_metrics(*copy, [row | {"value": 0.8}, row | {"split": "validation"}])
    metrics = registry.read_card(*copy)["metrics"]
    assert sorted((m["split"], m["value"]) for m in metrics) == [("test", 0.8), ("validation", 0.9)]


def test_half_written_folders_are_never_the_real_one(tmp_path):
    folder = tmp_path / "part"
    registry.write_folder(folder, {"a": b"1"})
    (tmp_path / ".part.tmp").mkdir()
    (tmp_path / ".part.tmp" / "junk").write_bytes(b"x")
    registry.write_folder(folder, {"b": b"2"})
    assert registry.read_folder(folder) == {"b": b"2"}
    assert [p.name for p in tmp_path.iterdir()] == ["part"]
    with pytest.raises(RegistryError, match="no model part"):
        registry.read_folder(tmp_path / "nothing")


def test_feature_hash_follows_meaning_not_wording():
    def contract(**changes):
        column = {"name": "f_ratio", "dtype": "number", "description": "d", "formula": "a / b"} | changes
        return TableContract("features", "feat", "One row.", (), (Column(**column),))

    knobs = FeatureConfig().meaning()
    plain = registry.feature_contract_hash([contract()], knobs)
    assert plain == registry.feature_contract_hash([contract(description="other words")], knobs)
    assert plain != registry.feature_contract_hash([contract(formula="b / a")], knobs)
    # a sample for finding tsfresh's characteristics changes no feature that is there; other peers do
    for changed, is_same in (({"tsfresh_sample_clients": 7}, True), ({"peers_by_segment": True}, False)):
        other = FeatureConfig().model_copy(update=changed).meaning()
        assert (plain == registry.feature_contract_hash([contract()], other)) is is_same


def test_code_hash_follows_content_and_name(tmp_path):
    (tmp_path / "a.py").write_text("1")
    one = registry.hash_files([tmp_path / "a.py"], tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert registry.hash_files([tmp_path / "a.py"], tmp_path) != one
