import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from ml_assets.models import tracking
from ml_assets.models.tracking import TrackingError, appoint, champion_id, flatten, record_training

METRICS = [
    {"split": "test", "model": "bcrs", "metric": "auroc", "value": 0.9, "low": 0.8, "high": 0.95},
    {"split": "test", "model": "bcrs", "metric": "brier", "value": None, "low": None, "high": None},
]


def card_of(model_id: str) -> dict:
    return {
        "model_id": model_id,
        "code_hash": "c0de",
        "config_hash": "c0f",
        "feature_hash": "fea",
        "source": "simulated:tiny",
        "splits": {
            "train_weeks": ["2024-01-01", "2024-01-08"],
            "validation_weeks": ["2024-03-04"],
            "test_weeks": [],
        },
        "parameters": {"models": {"trees": 40, "rule_score": {"steps": [1, 2]}}, "profile": "tiny"},
    }


def train(models: Path, model_id: str, is_promoted: bool) -> str:
    folder = models / model_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(f'{{"model_id": "{model_id}"}}')
    return record_training(
        models, folder / "card.json", card_of(model_id), METRICS, {"finite": 0.0}, {"decision": "words"}, is_promoted
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One champion, then a challenger that was not promoted."""
    models = tmp_path_factory.mktemp("record") / "models"
    run_id = train(models, "20240108-aaaaaaaaaa", is_promoted=True)
    train(models, "20240115-bbbbbbbbbb", is_promoted=False)
    return models, run_id


@pytest.fixture
def copy(recorded: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded[0], tmp_path / "models"))


def client(models: Path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{models / tracking.STORE}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_before_any_training_there_is_no_champion(tmp_path: Path) -> None:
    assert champion_id(tmp_path) is None


def test_a_model_that_was_not_promoted_leaves_the_champion(recorded: tuple[Path, str]) -> None:
    assert champion_id(recorded[0]) == "20240108-aaaaaaaaaa"


def test_the_alias_read_is_the_alias_mlflow_reads(recorded: tuple[Path, str]) -> None:
    version = client(recorded[0]).get_model_version_by_alias(tracking.REGISTERED, tracking.CHAMPION)
    assert version.tags["model_id"] == champion_id(recorded[0])


def test_a_run_holds_parameters_metrics_weeks_hashes_and_card(recorded: tuple[Path, str], tmp_path: Path) -> None:
    mlflow = client(recorded[0])
    run = mlflow.get_run(recorded[1])
    assert run.info.status == "FINISHED"
    assert run.data.params["models.trees"] == "40"
    assert run.data.params["models.rule_score.steps"] == "[1, 2]"
    assert run.data.metrics["test.bcrs.auroc"] == 0.9
    assert run.data.metrics["test.bcrs.auroc.high"] == 0.95
    assert "test.bcrs.brier" not in run.data.metrics
    assert run.data.tags["train_weeks"] == "2024-01-01 to 2024-01-08 (2)"
    assert run.data.tags["test_weeks"] == "none"
    assert {run.data.tags[k] for k in ("code_hash", "config_hash", "feature_hash")} == {"c0de", "c0f", "fea"}
    card = Path(mlflow.download_artifacts(recorded[1], "card.json", str(tmp_path)))
    assert "20240108-aaaaaaaaaa" in card.read_text()


def test_telemetry_is_off_and_nothing_is_written_elsewhere(recorded: tuple[Path, str]) -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not Path("mlruns").exists()
    assert {p.name for p in recorded[0].iterdir()} >= {tracking.STORE, tracking.ARTIFACTS}


def test_dying_before_the_alias_leaves_the_old_champion(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            train(copy, "20240122-cccccccccc", is_promoted=True)
    assert champion_id(copy) == "20240108-aaaaaaaaaa"
    train(copy, "20240122-cccccccccc", is_promoted=True)
    assert champion_id(copy) == "20240122-cccccccccc"
    # recorded twice, registered once
    assert len(client(copy).search_model_versions("name = 'bcrs'")) == 3


def test_a_training_that_fails_half_way_is_marked_failed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_artifact", fail)
    with pytest.raises(OSError, match="disk full"):
        train(copy, "20240122-cccccccccc", is_promoted=True)
    with sqlite3.connect(copy / tracking.STORE) as con:
        assert con.execute("select count(*) from runs where status = 'FAILED'").fetchone()[0] == 1
    assert champion_id(copy) == "20240108-aaaaaaaaaa"


def test_a_copied_folder_writes_into_itself(copy: Path, recorded: tuple[Path, str]) -> None:
    before = sorted(p for p in recorded[0].rglob("*") if p.is_file())
    run_id = train(copy, "20240122-cccccccccc", is_promoted=True)
    assert sorted(p for p in recorded[0].rglob("*") if p.is_file()) == before
    assert (copy / tracking.ARTIFACTS / run_id / "artifacts" / "card.json").is_file()
    assert champion_id(recorded[0]) == "20240108-aaaaaaaaaa"


def test_a_person_appoints_with_a_reason(copy: Path) -> None:
    appoint(copy, "20240115-bbbbbbbbbb", "the old one fails on a new product")
    assert champion_id(copy) == "20240115-bbbbbbbbbb"
    version = client(copy).get_model_version_by_alias("bcrs", "champion")
    assert version.tags["appointed_because"] == "the old one fails on a new product"
    with pytest.raises(TrackingError, match="never recorded"):
        appoint(copy, "nobody", "because")


def test_nothing_to_appoint_before_training(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="run the retraining job"):
        appoint(tmp_path, "anybody", "because")


def test_a_damaged_store_says_so(copy: Path) -> None:
    (copy / tracking.STORE).write_bytes(b"not a database, and long enough to be looked at" * 50)
    with pytest.raises(TrackingError, match="cannot be read"):
        champion_id(copy)


def test_knobs_are_flattened_in_order() -> None:
    assert list(flatten({"b": 1, "a": {"z": 2, "y": 3}})) == ["a.y", "a.z", "b"]
