"""Saved models: one folder per model id, a card beside the files.

Rule of this file: a model is either whole or not there, and a model that is not what it says is refused.

A bundle is written to a temporary folder and renamed. The model id is the last training week and ten digits of the
hash over every file, the configuration, the feature contracts and the code: loading recomputes it, so neither a
changed file nor a changed card goes unnoticed. Only ``metrics`` in the card may be added later. Files are JSON,
``.npz`` without objects and XGBoost's UBJSON: nothing is pickled, loading a model runs no code from it.

Which model is champion is an alias in MLflow's store and stands nowhere else (:mod:`ml_assets.models.tracking`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ml_assets.config import Config
from ml_assets.contracts.table import TableContract
from ml_assets.files import replace_file
from ml_assets.models.aggregation import AggregationModel
from ml_assets.models.baselines import FlatModel
from ml_assets.models.names import PILLARS
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import Files, pack_json, unpack_json
from ml_assets.models.support import Support
from ml_assets.models.tier1 import Tier1Model
from ml_assets.models.tier2 import Tier2Model
from ml_assets.models.tracking import champion_id

CARD = "card.json"
SELECTION = "tsfresh_selection.json"
MODEL_SECTIONS = ("calendar", "features", "models", "source")
"""Parts of the configuration that features, training and scoring read; a saved model knows these and no others."""
_LIBRARIES = ("xgboost-cpu", "xgboost", "scikit-learn", "numpy", "scipy", "polars", "numba")


class RegistryError(ValueError):
    """A model is missing, damaged, or made for other features."""


@dataclass(frozen=True)
class ModelBundle:
    """Everything scoring needs.

    ``tier1`` by pillar key; ``feature_hash`` of :func:`feature_contract_hash`; ``code_hash`` is passed in by the
    caller. ``model_id`` is empty until saved. ``support`` is the training support, None in models saved without;
    ``config`` is whole when training and, when loaded, holds defaults outside :data:`MODEL_SECTIONS`;
    ``selection`` the frozen tsfresh characteristics behind P3's numbered columns, as JSON, empty where there are none;
    ``source`` names the data the model learned from.
    """

    tier1: dict[str, Tier1Model]
    tier2: Tier2Model
    aggregation: AggregationModel
    flat: FlatModel
    plan: SplitPlan
    config: Config
    feature_hash: str
    code_hash: str
    model_id: str = ""
    support: Support | None = None
    selection: str = ""
    source: str = ""

    def files(self) -> Files:
        """All parts as named bytes."""
        files: Files = {"splits.json": pack_json(self.plan.model_dump(mode="json"))}
        for pillar in PILLARS:
            if pillar in self.tier1:
                files.update(self.tier1[pillar].files())
        files.update(self.tier2.files())
        files.update(self.aggregation.files())
        files.update(self.flat.files())
        if self.support is not None:
            files.update(self.support.files())
        if self.selection:
            files[SELECTION] = self.selection.encode()
        return files


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def config_hash(config: Config) -> str:
    """Hash of the knobs a model's scores depend on: a report's knob makes no other model."""
    return _sha(pack_json(config.model_dump(mode="json", include=set(MODEL_SECTIONS))))


def feature_contract_hash(contracts: Iterable[TableContract], knobs: Mapping[str, Any]) -> str:
    """Hash of what features mean: address, name, type, unit and formula of every column, in table order, and knobs.

    Wording of descriptions does not count; a changed formula does, and so does a changed window, threshold or choice
    of peers.

    Parameters
    ----------
    knobs : :meth:`ml_assets.config.FeatureConfig.meaning`.
    """
    meaning = [
        [c.address, [[f.name, f.dtype, f.unit, f.formula, f.null_rule or ""] for f in c.features]]
        for c in sorted(contracts, key=lambda c: c.address)
    ]
    return _sha(pack_json([meaning, dict(knobs)]))


def hash_files(paths: Sequence[Path], root: Path) -> str:
    """Hash of files' names (relative to ``root``) and contents, for instance of the code a model was made by."""
    return _sha(pack_json([[p.relative_to(root).as_posix(), _sha(p.read_bytes())] for p in sorted(paths)]))


def _model_id(card: dict[str, Any]) -> str:
    content = pack_json([card["files"], card["config_hash"], card["feature_hash"], card["code_hash"], card["splits"]])
    weeks = card["splits"]["train_weeks"]
    return f"{str(weeks[-1]).replace('-', '') if weeks else 'none'}-{_sha(content)[:10]}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def build_card(bundle: ModelBundle, files: Files) -> dict[str, Any]:
    """What a reader must know of a model: data weeks, parameters, hashes, what each part uses and how it did."""
    card: dict[str, Any] = {
        "splits": bundle.plan.model_dump(mode="json"),
        "parameters": bundle.config.model_dump(mode="json"),
        "config_hash": config_hash(bundle.config),
        "feature_hash": bundle.feature_hash,
        "code_hash": bundle.code_hash,
        "source": bundle.source,
        "versions": _versions(),
        "files": {name: _sha(content) for name, content in sorted(files.items())},
        "pillars": {
            pillar: {
                "is_available": m.is_available,
                "features": list(m.features),
                "dropped": m.dropped,
                "alpha": m.alpha,
                "rounds": m.boost.rounds if m.boost else None,
                "validation_average_precision": m.validation_ap,
                "reasons": list(m.reasons),
            }
            for pillar, m in bundle.tier1.items()
        },
        "tier2": {
            "features": list(bundle.tier2.features),
            "dropped": bundle.tier2.dropped,
            "alpha": bundle.tier2.alpha,
            "validation_average_precision": bundle.tier2.validation_ap,
            "reasons": list(bundle.tier2.reasons),
        },
        "aggregation": {
            "weights": dict(zip(bundle.aggregation.columns, bundle.aggregation.weights, strict=True)),
            "champion": bundle.aggregation.champion,
            "validation_average_precision": bundle.aggregation.validation_ap,
            "cuts": bundle.aggregation.cuts.state(),
            "reasons": list(bundle.aggregation.reasons),
        },
        "metrics": [],
    }
    card["model_id"] = _model_id(card)
    return card


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def write_folder(folder: Path, files: Files) -> None:
    """Write ``files`` as a folder in one step; an older folder of that name is replaced.

    A process that dies in between leaves the old folder, or none, and a temporary one that is cleared next time.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, content in files.items():
        _write(temporary / name, content)
    if folder.exists():
        aside = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        temporary.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.rename(folder)


def read_folder(folder: Path) -> Files:
    """Files of a folder by name.

    Raises
    ------
    RegistryError : there is no such folder.
    """
    if not folder.is_dir():
        raise RegistryError(f"There is no model part {folder.name!r} in {folder.parent.name}/: train first.")
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def save_bundle(models: Path, bundle: ModelBundle) -> str:
    """Save a bundle and return its model id; saving the same model again keeps the folder and its metrics.

    Parameters
    ----------
    models : folder of all models.
    """
    files = bundle.files()
    card = build_card(bundle, files)
    folder = models / card["model_id"]
    try:
        read_card(models, card["model_id"])
    except RegistryError:
        write_folder(folder, {**files, CARD: pack_json(card)})
    return str(card["model_id"])


def read_card(models: Path, model_id: str) -> dict[str, Any]:
    """Card of a model, after checking every file against it and it against the id.

    Raises
    ------
    RegistryError : the folder or a file is missing, a file is not what the card says, or the card is not what the
        id says.
    """
    folder = models / model_id
    if not (folder / CARD).is_file():
        raise RegistryError(f"There is no model {model_id!r}: train one, or promote another (bcrs promote).")
    try:
        card: dict[str, Any] = unpack_json((folder / CARD).read_bytes())
        expected = _model_id(card)
        listed = dict(card["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"The card of model {model_id!r} cannot be read ({error}): retrain.") from error
    if expected != model_id:
        raise RegistryError(
            f"Model {model_id!r} is refused: its card describes {expected!r}. It was changed by hand: retrain."
        )
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            raise RegistryError(f"Model {model_id!r} is refused: file {name} is missing. Retrain.")
        if _sha(path.read_bytes()) != digest:
            raise RegistryError(f"Model {model_id!r} is refused: file {name} is not the one that was saved. Retrain.")
    return card


def load_bundle(
    models: Path, model_id: str, feature_hash: str | None = None, selection: str | None = None
) -> ModelBundle:
    """Load and check a model.

    Parameters
    ----------
    feature_hash : hash of the present feature contracts; None skips the comparison.
    selection : the present frozen tsfresh selection as JSON; None skips the comparison.

    Raises
    ------
    RegistryError : as :func:`read_card`, or the model was trained on other feature definitions, or its files are in
        a form this version does not read.
    """
    card = read_card(models, model_id)
    if feature_hash is not None and card["feature_hash"] != feature_hash:
        raise RegistryError(
            f"Model {model_id!r} is refused: it was trained on other feature definitions "
            f"({card['feature_hash'][:10]}, now {feature_hash[:10]}). Retrain before scoring."
        )
    files = read_folder(models / model_id)
    try:
        config = Config.model_validate({k: card["parameters"][k] for k in MODEL_SECTIONS if k in card["parameters"]})
    except ValueError as error:
        raise RegistryError(
            f"Model {model_id!r} is refused: its configuration has knobs this version does not know. Retrain."
        ) from error
    try:
        bundle = ModelBundle(
            tier1={p: Tier1Model.from_files(p, files) for p in PILLARS if f"tier1_{p}.json" in files},
            tier2=Tier2Model.from_files(files),
            aggregation=AggregationModel.from_files(files),
            flat=FlatModel.from_files(files),
            plan=SplitPlan.model_validate(card["splits"]),
            config=config,
            feature_hash=card["feature_hash"],
            code_hash=card["code_hash"],
            model_id=model_id,
            support=Support.from_files(files),
            selection=files.get(SELECTION, b"").decode(),
            source=card.get("source", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"Model {model_id!r} is refused: its files are in a form this version does not read ({error!r}). Retrain."
        ) from error
    if selection is not None and bundle.selection and bundle.selection != selection:
        raise RegistryError(
            f"Model {model_id!r} is refused: P3's tsfresh characteristics were chosen again since it was trained, so "
            "its numbered columns hold other things. Retrain before scoring."
        )
    return bundle


def add_metrics(models: Path, model_id: str, metrics: list[dict[str, Any]]) -> None:
    """Put measured metrics (rows of ``models.metrics``) into a saved card, replacing those of the same split."""
    card = read_card(models, model_id)
    splits = {m.get("split") for m in metrics}
    card["metrics"] = [m for m in card["metrics"] if m.get("split") not in splits] + metrics
    replace_file(models / model_id / CARD, pack_json(card))


def load_champion(models: Path, feature_hash: str | None = None, selection: str | None = None) -> ModelBundle:
    """Load the champion.

    Raises
    ------
    RegistryError : there is none, or :func:`load_bundle` refuses it.
    TrackingError : the store that names it cannot be read.
    """
    model_id = champion_id(models)
    if model_id is None:
        raise RegistryError("There is no champion: run the retraining job first.")
    return load_bundle(models, model_id, feature_hash, selection)
