"""Killed in the middle of dbt, of a feature asset and of training: marts go on answering, the next run completes.

The bank's folder is copied, the record of what was done is emptied, and four runs follow: three are killed with
SIGKILL, process group and all, the moment a step of theirs is at work; the fourth is left alone. It has computed
everything anew from the same files, so its scores must be byte-equal to those of the run nobody disturbed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
from chain import BCRS, ROOT, Run, bcrs, environment

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 300


@dataclass
class Killed:
    """What was seen of the three killed runs and of the last one."""

    outputs: dict[str, str] = field(default_factory=dict)
    answered: dict[str, bool] = field(default_factory=dict)
    statuses: dict[str, list[str]] = field(default_factory=dict)
    last: Run | None = None


def run_and_kill(folder: Path, is_time: Callable[[str, Path], bool]) -> str:
    """Start ``bcrs run``, kill its process group once ``is_time`` says so, return what it had printed."""
    shown = folder / "killed_run.txt"
    words = folder / "logs" / "main_job.log"
    words.unlink(missing_ok=True)
    with shown.open("w") as out:
        process = subprocess.Popen(
            [str(BCRS), "run", "--profile", "tiny"],
            cwd=ROOT,
            env=environment(folder),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_time(shown.read_text(), words):
            assert process.poll() is None, f"ended before it could be killed: {shown.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"never got there: {shown.read_text()[-2000:]}"
            time.sleep(0.05)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_for_group(process.pid)
    assert process.returncode == -signal.SIGKILL
    return shown.read_text()


def wait_for_group(group: int) -> None:
    """Wait until nothing of the process group is left: dbt's process holds the warehouse file too."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes of the killed run are still there")


def in_dbt(shown: str, words: Path) -> bool:
    """A model of dbt's build has been made and others follow."""
    return "✓ raw_tables" in shown and words.exists() and "OK created sql incremental model" in words.read_text()


def in_feature(shown: str, words: Path) -> bool:
    """P1 is written, the pillar after it has begun."""
    return "✓ feat_p1_volume_velocity" in shown


def in_training(shown: str, words: Path) -> bool:
    """The first pillar's model is there, the second is being fitted."""
    return "✓ oof_p1_volume_velocity" in shown


STAGES = {"dbt": in_dbt, "feature": in_feature, "training": in_training}


def run_statuses(folder: Path) -> list[str]:
    """Status of every Dagster run, oldest first."""
    with sqlite3.connect(folder / "dagster_home" / "history" / "runs.db") as con:
        return [row[0] for row in con.execute("select status from runs order by id")]


@pytest.fixture(scope="module")
def killed(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed") / "data"
    shutil.copytree(tiny_run.folder, folder)
    (folder / "warehouse" / "stages.json").unlink()
    good = tiny_run.scores()
    seen = Killed()
    for name, is_time in STAGES.items():
        seen.outputs[name] = run_and_kill(folder, is_time)
        after = Run(folder, 0, "")
        seen.answered[name] = after.scores().equals(good)
        seen.statuses[name] = run_statuses(folder)
    seen.last = bcrs(folder, "run", "--profile", "tiny")
    seen.statuses["end"] = run_statuses(folder)
    return seen


@pytest.mark.parametrize("stage", list(STAGES))
def test_marts_answer_with_the_last_good_week(killed: Killed, stage: str) -> None:
    assert killed.answered[stage]


@pytest.mark.parametrize(
    ("stage", "unfinished"),
    [("dbt", "dbt_staging"), ("feature", "feat_p6_scheme"), ("training", "aggregation")],
)
def test_the_kill_came_in_the_middle(killed: Killed, stage: str, unfinished: str) -> None:
    assert f"✓ {unfinished}" not in killed.outputs[stage]
    assert "where to look next" not in killed.outputs[stage]


def test_stages_before_the_kill_are_not_repeated(killed: Killed) -> None:
    # the run killed in training had found the features missing and made them; the last one finds them there
    assert killed.last is not None
    assert "✓ feat_p1_volume_velocity" in killed.outputs["training"]
    assert killed.last.output.count("nothing to do") == 2, killed.last.output
    assert "✓ feat_p1_volume_velocity" not in killed.last.output


def test_the_next_run_completes(killed: Killed) -> None:
    assert killed.last is not None
    assert killed.last.code == 0, killed.last.output[-4000:]
    assert "where to look next" in killed.last.output


def test_dead_runs_are_marked_failed(killed: Killed) -> None:
    for stage in STAGES:
        assert killed.statuses[stage].count("STARTED") == 1, "a killed run cannot have said that it ended"
    assert "STARTED" not in killed.statuses["end"]
    assert killed.statuses["end"].count("FAILURE") == 3


def test_scores_computed_twice_are_byte_equal(killed: Killed, tiny_run: Run) -> None:
    assert killed.last is not None
    assert killed.last.scores().equals(tiny_run.scores())
    for table, order in (("fct_pillar_scores", "client_id, as_of_date, pillar"), ("fct_alerts", "alert_id")):
        query = f"from marts.{table} order by {order}"
        assert killed.last.marts(query).equals(tiny_run.marts(query), null_equal=True), table
    assert killed.last.summary()["models"] == tiny_run.summary()["models"]


def test_no_row_was_lost_or_doubled(killed: Killed, tiny_run: Run) -> None:
    assert killed.last is not None
    query = "select count(*), count(distinct txn_id), sum(amount_base) from intermediate.int_transactions"
    assert killed.last.warehouse(query).row(0) == tiny_run.warehouse(query).row(0)


def test_readers_are_not_locked_out_by_a_writer(tiny_run: Run) -> None:
    """Two readers at once, in two processes: the serving file never has a writer."""
    with duckdb.connect(str(tiny_run.serving), read_only=True):
        other = bcrs(tiny_run.folder, "sql", "select count(*) from marts.fct_alerts")
    assert other.code == 0, other.output
