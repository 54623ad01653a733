"""The main job: ingest → backfill → retrain → score, each a Dagster run, each skipped where nothing changed.

What has been done is kept beside the warehouse in ``stages.json`` and written only after a stage has
succeeded, so a run that was killed repeats the stage it died in and nothing before it.

- *base* covers code, configuration and the choice of source: a change starts a new warehouse, because
  incremental tables of other code or data cannot be trusted. Where peers are formed by segment, it covers the
  memberships as well: segments found anew make other features of every week.
- *inputs* are the landing files: new ones are ingested alone and only new weeks are computed; a changed
  or removed one starts a new warehouse.

The published serving file and the champion stay readable throughout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
from pydantic import BaseModel

from ml_assets.features.peers import memberships_hash
from ml_assets.files import replace_file
from ml_assets.sources import input_listing
from orchestration.ahead import AHEAD
from orchestration.definitions import defs
from orchestration.defs.memberships import memberships_in_use
from orchestration.defs.partitions import AS_OF_WEEKS
from orchestration.defs.resources import CONFIG, PROJECT_ROOT, SETTINGS, release_files

PROCESS_TAG = "bcrs/process"

DATA_CODE = (
    "ml_assets/contracts",
    "ml_assets/features",
    "ml_assets/sources",
    "ml_assets/models/calendar.py",
    "dbt_project",
)
MODEL_CODE = ("ml_assets/models", "ml_assets/evaluation", "ml_assets/explain", "orchestration/defs")


class Listener(Protocol):
    """What shows progress to the person at the terminal."""

    def stage(self, name: str, note: str) -> None:
        """A stage begins."""

    def step(self, name: str, seconds: float | None) -> None:
        """A step begins (``seconds`` None) or ended after ``seconds``."""

    def skip(self, name: str, note: str) -> None:
        """A stage has nothing to do."""


class Stages(BaseModel):
    """What has been done, by fingerprint and week."""

    base: str = ""
    inputs: dict[str, str] = {}
    featured: list[str] = []
    trained: str = ""
    scored: list[str] = []
    scored_with: str = ""

    @classmethod
    def path(cls) -> Path:
        """The file beside the warehouse."""
        return SETTINGS.warehouse.parent / "stages.json"

    @classmethod
    def load(cls) -> Stages:
        """The last state; empty where there is none or the warehouse is gone."""
        if not cls.path().exists() or not SETTINGS.warehouse.exists():
            return cls()
        return cls.model_validate_json(cls.path().read_text())

    def save(self) -> None:
        """Write atomically."""
        replace_file(self.path(), self.model_dump_json(indent=2))


class StageFailedError(RuntimeError):
    """A stage's run failed; carries the step and the message of the error behind it."""

    def __init__(self, stage: str, step: str, message: str, run_id: str) -> None:
        super().__init__(f"{stage} failed at {step}: {message}")
        self.stage, self.step, self.message, self.run_id = stage, step, message, run_id


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()


def code_fingerprint(rooms: Iterable[str]) -> str:
    """Hash of the source files of some rooms and of the pinned dependencies."""
    parts: list[str | bytes] = [(PROJECT_ROOT / "constraints.txt").read_bytes()]
    for room in rooms:
        root = PROJECT_ROOT / room
        files = [root] if root.is_file() else sorted(root.rglob("*"))
        for path in files:
            relative = path.relative_to(PROJECT_ROOT)
            if path.suffix in {".py", ".sql", ".yml", ".csv"} and not {"target", "logs"} & set(relative.parts):
                parts += [relative.as_posix(), path.read_bytes()]
    return _digest(parts)


def _base_fingerprint() -> str:
    data_config: dict[str, Any] = {
        "source": SETTINGS.source,
        "calendar": CONFIG.calendar.model_dump(mode="json"),
        "features": CONFIG.features.model_dump(mode="json"),
        "adapter": CONFIG.source.model_dump(mode="json"),
        "simulation": CONFIG.simulation.model_dump(mode="json") if SETTINGS.source == "simulated" else None,
    }
    if CONFIG.features.peers_by_segment:
        data_config["memberships"] = memberships_hash(memberships_in_use())
    return _digest([code_fingerprint(DATA_CODE), json.dumps(data_config, sort_keys=True)])


def _training_fingerprint(base: str, weeks: list[str], inputs: dict[str, str]) -> str:
    return _digest(
        [
            base,
            code_fingerprint(MODEL_CODE),
            CONFIG.models.model_dump_json(),
            json.dumps(weeks),
            json.dumps(inputs, sort_keys=True),
        ]
    )


def fail_dead_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs of killed command-line processes as failed; returns how many."""
    dead = 0
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process and not _is_alive(int(process)):
            instance.report_run_failed(run, "The process that executed this run was killed.")
            dead += 1
    return dead


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _execute(
    instance: dg.DagsterInstance,
    job_name: str,
    listener: Listener,
    steps: dict[str, float],
    weeks: list[str] | None = None,
    ops: dict[str, Any] | None = None,
) -> None:
    job = defs.resolve_job_def(job_name)
    tags = {PROCESS_TAG: str(os.getpid())}
    if weeks:
        tags |= {"dagster/asset_partition_range_start": weeks[0], "dagster/asset_partition_range_end": weeks[-1]}
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, partial(_show, listener, steps, {}))
    log = SETTINGS.root / "logs" / "main_job.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # dbt talks at length; its words go to a file and the terminal keeps one line per step
    with log.open("a", encoding="utf-8") as words, contextlib.redirect_stdout(words):
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, "ops": ops or {}},
        )
    if not result.success:
        step, message = _first_failure(result)
        raise StageFailedError(job_name, step, message, result.run_id)


def _first_failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    # a blocking check stops the run with an error that only names it: its own words say what to do
    refused = [e for e in result.get_asset_check_evaluations() if not e.passed and e.blocking]
    for check in refused:
        words = check.metadata.get("problems") or check.metadata.get("failed")
        if words is not None:
            return f"{check.asset_key.to_user_string()} ({check.check_name})", str(words.value)
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            # past Dagster's wrapping only: what an error was raised from is the library's word, not the person's
            while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
                error = error.cause
            message = error.message.strip() if error else "no error message was recorded"
            description = getattr(event.step_failure_data, "user_failure_data", None)
            if description is not None and description.description:
                message = description.description
            return event.step_key or "?", message
    checks = [e for e in result.get_asset_check_evaluations() if not e.passed]
    if checks:
        failed = checks[0]
        return str(failed.asset_key.to_user_string()), f"check {failed.check_name} did not pass: {failed.metadata}"
    return "?", "the run failed before its first step; see the run's log in Dagster's UI"


def _show(listener: Listener, steps: dict[str, float], started: dict[str, float], entry: dg.EventLogEntry) -> None:
    """Turn one event of the run into progress; a failed step has its say when the run has ended."""
    event = entry.dagster_event
    if event is None or event.step_key is None:
        return
    if event.is_step_start:
        started[event.step_key] = entry.timestamp
        listener.step(event.step_key, None)
    elif event.is_step_success:
        took = entry.timestamp - started.get(event.step_key, entry.timestamp)
        steps[event.step_key.split("__")[-1]] = round(took, 2)
        listener.step(event.step_key, took)


def run_main_job(instance: dg.DagsterInstance, listener: Listener) -> dict[str, dict[str, float]]:
    """Bring warehouse, models, scores and marts up to date; returns seconds by stage and by step.

    Raises
    ------
    StageFailedError : a stage failed; earlier results stay readable and the next call goes on from there.
    """
    with AHEAD.at_work():
        return _run_stages(instance, listener)


def _run_stages(instance: dg.DagsterInstance, listener: Listener) -> dict[str, dict[str, float]]:
    fail_dead_runs(instance)
    seconds: dict[str, float] = {}
    steps: dict[str, float] = {}

    def timed(name: str, note: str, action: Callable[[], None]) -> None:
        listener.stage(name, note)
        started = time.perf_counter()
        action()
        seconds[name] = round(time.perf_counter() - started, 2)

    stages = Stages.load()
    base = _base_fingerprint()
    listing = input_listing(SETTINGS.source, SETTINGS.landing)
    is_new_base = stages.base != base
    is_changed = any(listing.get(name) != state for name, state in stages.inputs.items())
    if is_new_base or is_changed:
        release_files()
        shutil.rmtree(SETTINGS.warehouse.parent, ignore_errors=True)
        stages = Stages()
    if stages.base == base and stages.inputs == listing:
        listener.skip("ingest", "input, configuration and code are unchanged")
    else:
        timed("ingest", "raw files, staging, calendar", lambda: _execute(instance, "ingest", listener, steps))
        stages.base, stages.inputs = base, input_listing(SETTINGS.source, SETTINGS.landing)
        stages.save()

    weeks = list(instance.get_dynamic_partitions(AS_OF_WEEKS.name or ""))
    missing = _range_covering(weeks, stages.featured)
    if missing:
        note = f"windows and features of {len(missing)} as-of weeks, {missing[0]} to {missing[-1]}"
        timed("backfill", note, lambda: _execute(instance, "backfill", listener, steps, missing))
        stages.featured = sorted({*stages.featured, *missing})
        stages.save()
    else:
        listener.skip("backfill", f"all {len(weeks)} as-of weeks are there")

    training = _training_fingerprint(base, weeks, stages.inputs)
    if stages.trained != training:
        timed(
            "retrain",
            "both tiers, aggregations, baselines",
            lambda: _execute(instance, "weekly_retrain", listener, steps),
        )
        stages.trained = training
        stages.save()
    else:
        listener.skip("retrain", "the champion was trained on exactly this")

    scoring = _digest([base, code_fingerprint(MODEL_CODE), CONFIG.models.model_dump_json()])
    if stages.scored_with != scoring:
        # other code or configuration: every week is scored again; new weeks alone leave old scores as they were
        stages.scored = []
    missing = _range_covering(weeks, stages.scored)
    if missing:
        note = f"{len(missing)} as-of weeks, marts"
        timed("score", note, lambda: _execute(instance, "weekly_score", listener, steps, missing))
        stages.scored, stages.scored_with = sorted({*stages.scored, *missing}), scoring
        stages.save()
    else:
        listener.skip("score", "all weeks are scored and published")
    return {"stages": seconds, "steps": steps}


def is_scored() -> bool:
    """True where a main job has come to its end in this data folder, whatever code it ran."""
    return bool(Stages.load().scored)


def run_job(
    instance: dg.DagsterInstance, name: str, note: str, listener: Listener, ops: dict[str, Any] | None = None
) -> dict[str, dict[str, float]]:
    """Run one job that needs no partition, after the main job; returns seconds by stage and by step.

    ``ops`` is Dagster's configuration by op name, empty for a job that asks for none.

    Raises
    ------
    StageFailedError : the job failed.
    """
    steps: dict[str, float] = {}
    listener.stage(name, note)
    started = time.perf_counter()
    _execute(instance, name, listener, steps, ops=ops)
    return {"stages": {name: round(time.perf_counter() - started, 2)}, "steps": steps}


def _range_covering(weeks: list[str], done: list[str]) -> list[str]:
    """The shortest run of consecutive weeks that holds every week not done."""
    missing = [week for week in weeks if week not in set(done)]
    if not missing:
        return []
    return weeks[weeks.index(missing[0]) : weeks.index(missing[-1]) + 1]
