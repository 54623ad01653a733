"""The record of training and the name of the champion: MLflow with its embedded store.

Rule of this file: it is the only one that knows MLflow, and what it writes is a record, never an input of training.

The store is one SQLite file beside the models; artifacts lie in a folder beside it. Every training is a run with its
parameters, metrics, data weeks, hashes and card. Every saved model is a version of the registered model ``bcrs``; the
alias ``champion`` names the version that scores, and moving it is one transaction: a process that dies before it
leaves the old champion in office.

Importing MLflow takes seconds, so only writing does. Reading the alias is one query on the same SQLite file; a test
holds it equal to MLflow's own answer. MLflow stores absolute paths: where the folder was moved or copied they are put
right before anything is written, so that a copy never writes into the original.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = "mlflow.db"
ARTIFACTS = "artifacts"
REGISTERED = "bcrs"
"""Name of the experiment and of the registered model."""
CHAMPION = "champion"
"""Alias of the version that scores."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_PARAMETERS_AT_ONCE = 100
_METRICS_AT_ONCE = 1000
_LONGEST_PARAMETER = 500


class TrackingError(RuntimeError):
    """The record of models cannot be read or does not hold what is asked for."""


def champion_id(models: Path) -> str | None:
    """Model id behind the alias ``champion``; None before the first promotion.

    Raises
    ------
    TrackingError : the store is damaged or in use by a writer that does not let go.
    """
    return _ask(
        models,
        "select t.value from registered_model_aliases as a join model_version_tags as t "
        "on t.name = a.name and t.version = a.version "
        "where a.name = ? and a.alias = ? and t.key = 'model_id'",
        (REGISTERED, CHAMPION),
    )


def _ask(models: Path, sql: str, parameters: tuple[str, ...]) -> str | None:
    path = models / STORE
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as con:
            row = con.execute(sql, parameters).fetchone()
    except sqlite3.Error as error:
        raise TrackingError(
            f"The record of models {path} cannot be read ({error}). Put it back from a copy, or remove it and retrain."
        ) from error
    return None if row is None else str(row[0])


def _relocate(path: Path, artifacts: str) -> None:
    """Put absolute paths right where the store was moved or copied; one transaction."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as con, con:
        row = con.execute("select artifact_location from experiments where name = ?", (REGISTERED,)).fetchone()
        if row is None or row[0] == artifacts:
            return
        old, new = str(row[0]).removesuffix(ARTIFACTS), artifacts.removesuffix(ARTIFACTS)
        columns = (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        )
        for table, column in columns:
            con.execute(f"update {table} set {column} = replace({column}, ?, ?)", (old, new))


def import_mlflow() -> ModuleType:
    """MLflow, imported when first needed: it takes two seconds. No telemetry, no complaint about git."""
    os.environ.update(_QUIET)
    import mlflow

    # after the import: MLflow sets its own level while it loads
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@contextlib.contextmanager
def _client(models: Path) -> Iterator[MlflowClient]:
    """MLflow on the store of ``models``; a new store is made under another name first, so it is whole or not there."""
    new_client = import_mlflow().MlflowClient
    models = models.resolve()
    models.mkdir(parents=True, exist_ok=True)
    path, artifacts = models / STORE, (models / ARTIFACTS).as_uri()

    def open_store(at: Path) -> MlflowClient:
        return new_client(tracking_uri=f"sqlite:///{at}", registry_uri=f"sqlite:///{at}")

    if not path.is_file():
        partial = models / f".{STORE}.partial"
        partial.unlink(missing_ok=True)
        fresh = open_store(partial)
        fresh.create_experiment(REGISTERED, artifact_location=artifacts)
        fresh.create_registered_model(REGISTERED, description="Behavioural client risk score: whole bundles.")
        partial.replace(path)
    else:
        _relocate(path, artifacts)
    yield open_store(path)


def open_record(models: Path) -> None:
    """Import MLflow and open the record, made where there is none: seconds that need not be spent in a training."""
    with _client(models):
        pass


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested knobs as ``part.knob`` -> text, sorted.

    >>> flatten({"b": {"c": [1, 2]}, "a": None})
    {'a': 'None', 'b.c': '[1, 2]'}
    """
    out: dict[str, str] = {}
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = str(value)[:_LONGEST_PARAMETER]
    return out


def _version_of(client: MlflowClient, model_id: str) -> str | None:
    for version in client.search_model_versions(f"name = '{REGISTERED}'"):
        if version.tags.get("model_id") == model_id:
            return str(version.version)
    return None


def record_training(
    models: Path,
    card_path: Path,
    card: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    gates: Mapping[str, float],
    tags: Mapping[str, str],
    is_promoted: bool,
) -> str:
    """Record one training, register its model, and make it champion where it was promoted.

    The alias is moved last: until then the old champion scores, whatever happens here.

    Parameters
    ----------
    models : folder of all models. card_path : the saved card, kept as artifact. card : its content.
    metrics : rows of ``models.metrics``; null values are left out.
    gates : gate -> measured value. tags : further words, such as the decision.

    Returns
    -------
    MLflow's run id.
    """
    from_card = {
        "model_id": card["model_id"],
        "code_hash": card["code_hash"],
        "config_hash": card["config_hash"],
        "feature_hash": card["feature_hash"],
        "source": card["source"],
        **{
            f"{split}_weeks": f"{weeks[0]} to {weeks[-1]} ({len(weeks)})" if weeks else "none"
            for split in ("train", "validation", "test")
            for weeks in [card["splits"][f"{split}_weeks"]]
        },
    }
    with _client(models) as client:
        from mlflow.entities import Metric, Param, RunTag

        experiment = client.get_experiment_by_name(REGISTERED)
        assert experiment is not None
        run = client.create_run(experiment.experiment_id, run_name=str(card["model_id"]))
        run_id, at = run.info.run_id, run.info.start_time
        try:
            words = [RunTag(k, str(v)) for k, v in {**from_card, **tags}.items()]
            client.log_batch(run_id, tags=words)
            parameters = [Param(k, v) for k, v in flatten(card["parameters"]).items()]
            for first in range(0, len(parameters), _PARAMETERS_AT_ONCE):
                client.log_batch(run_id, params=parameters[first : first + _PARAMETERS_AT_ONCE])
            measured = [
                Metric(f"{m['split']}.{m['model']}.{m['metric']}{suffix}", float(m[column]), at, 0)
                for m in metrics
                for column, suffix in (("value", ""), ("low", ".low"), ("high", ".high"))
                if m[column] is not None
            ]
            measured += [Metric(f"gate.{name}", value, at, 0) for name, value in gates.items()]
            for first in range(0, len(measured), _METRICS_AT_ONCE):
                client.log_batch(run_id, metrics=measured[first : first + _METRICS_AT_ONCE])
            client.log_artifact(run_id, str(card_path))
            version = _version_of(client, str(card["model_id"]))
            if version is None:
                version = client.create_model_version(
                    REGISTERED, source=str(card_path.parent), run_id=run_id, tags=from_card
                ).version
            client.set_terminated(run_id)
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        if is_promoted:
            client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    return str(run_id)


def appoint(models: Path, model_id: str, because: str) -> None:
    """Make a registered model champion by hand; the reason is kept on its version.

    Raises
    ------
    TrackingError : no such model was recorded.
    """
    if not (models / STORE).is_file():
        raise TrackingError("No training was recorded here yet: run the retraining job first.")
    with _client(models) as client:
        version = _version_of(client, model_id)
        if version is None:
            known = sorted(v.tags.get("model_id", "?") for v in client.search_model_versions(f"name = '{REGISTERED}'"))
            raise TrackingError(f"Model {model_id!r} was never recorded. Recorded: {', '.join(known) or 'none'}.")
        client.set_model_version_tag(REGISTERED, version, "appointed_because", because)
        client.set_registered_model_alias(REGISTERED, CHAMPION, version)
