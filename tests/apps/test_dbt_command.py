"""A dbt call made by a process that stands by is the call itself: same output, same exit code, same folder."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from apps.dbt_command import standing_by
from ml_assets.config import search_path
from ml_assets.dbt_environment import DBT_PARSE, dbt_stand_by

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
COMMAND = str(Path(sys.executable).parent / "bcrs-dbt")


def wait_for(is_true):
    until = time.monotonic() + 60
    while not is_true() and time.monotonic() < until:
        time.sleep(0.05)
    assert is_true()


def forks(at):
    """Processes at work on a call: forks of the one that waits at ``at`` have its command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            state = (place / "stat").read_text().rpartition(")")[2].split()
            if str(at).encode() in words and state[0] != "Z" and int(state[1]) != os.getpid():
                found.append(int(place.name))
    return found


@pytest.fixture
def waiting():
    """The socket at which a process waits."""
    if sys.platform != "linux":
        pytest.skip("calls are forks of a waiting process on Linux only")
    with standing_by(PROJECT):
        at = dbt_stand_by()
        wait_for(at.exists)
        yield at
    assert dbt_stand_by() is None
    assert not at.parent.exists()


def call(arguments, folder, at=None, parse=PROJECT / "target" / DBT_PARSE, log_format="text"):
    (folder / "target").mkdir(exist_ok=True)
    # as Dagster does: a call works in a folder of its own, on the project's parse
    shutil.copy(parse, folder / "target" / DBT_PARSE)
    environment = {
        **os.environ,
        "PATH": search_path(),
        "BCRS_WAREHOUSE": str(folder / "bcrs.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "target"),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_LOG_FORMAT": log_format,
    }
    environment.pop("BCRS_DBT_STAND_BY", None)
    if at is not None:
        environment["BCRS_DBT_STAND_BY"] = str(at)
    options = {"cwd": PROJECT, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([COMMAND, *arguments], **options)


def test_every_call_is_made_by_who_waits_and_ends_with_its_code(tmp_path, waiting):
    for _ in range(2):
        good = call(["seed", "--select", "risk_aliases"], tmp_path, waiting)
        said, _ = good.communicate(timeout=120)
        assert good.returncode == 0, said
        assert "risk_aliases" in said
        assert (tmp_path / "bcrs.duckdb").exists()
    # the model's source is not there: dbt runs, the node fails
    bad = call(["run", "--select", "stg_blacklist_parsed"], tmp_path, waiting)
    said, _ = bad.communicate(timeout=120)
    assert bad.returncode == 1, said
    assert waiting.exists()


def test_a_call_says_what_happens_in_lines_of_json_or_in_words(tmp_path, waiting):
    asked = call(["seed", "--select", "risk_aliases"], tmp_path, waiting, log_format="json")
    said, _ = asked.communicate(timeout=120)
    events = [json.loads(line) for line in said.splitlines()]
    assert {event["info"]["level"] for event in events} == {"info"}
    made = [event for event in events if event["info"]["name"] == "LogSeedResult"]
    assert [event["data"]["node_info"]["unique_id"] for event in made] == ["seed.bcrs.risk_aliases"]

    asked = call(["seed", "--select", "risk_aliases"], tmp_path, waiting)
    said, _ = asked.communicate(timeout=120)
    assert made[0]["info"]["msg"].split(" in ")[0].split("[")[0] in said
    assert "{" not in said


def test_a_call_on_another_parse_is_not_made_with_the_one_made_ready(tmp_path, waiting):
    broken = tmp_path / "broken"
    broken.write_bytes(b"no parse")
    asked = call(["list", "--resource-type", "seed"], tmp_path, waiting, broken)
    said, _ = asked.communicate(timeout=120)
    assert asked.returncode != 0, said
    # and says why
    assert "Traceback" in said


def test_a_call_is_made_all_the_same_where_nobody_waits(tmp_path):
    alone = call(["seed", "--select", "risk_aliases"], tmp_path, tmp_path / "nobody")
    said, _ = alone.communicate(timeout=120)
    assert alone.returncode == 0, said
    assert (tmp_path / "bcrs.duckdb").exists()


def test_the_call_stops_when_the_caller_is_killed(tmp_path, waiting):
    # all seeds take long enough to be interrupted
    killed = call(["seed"], tmp_path, waiting)
    wait_for((tmp_path / "bcrs.duckdb").exists)
    assert forks(waiting)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_for(lambda: not forks(waiting))
    assert waiting.exists()


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_the_call_ends_when_nobody_reads_what_it_says(tmp_path, waiting, is_waited_for):
    asked = call(["seed"], tmp_path, waiting if is_waited_for else tmp_path / "nobody")
    wait_for((tmp_path / "bcrs.duckdb").exists)
    # the process that reads was killed, the call was not
    asked.stdout.close()
    assert asked.wait(60) != 0
    wait_for(lambda: not forks(waiting))
    assert waiting.exists()


def test_who_waits_ends_with_the_process_that_asked_for_it():
    with tempfile.TemporaryDirectory(prefix="bcrs-") as folder:
        at = Path(folder) / "call"
        code = (
            "import os, subprocess\n"
            f"command = [{COMMAND!r}, '--stand-by', {str(at)!r}, str(os.getpid())]\n"
            "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
        )
        asked = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True, timeout=60
        )
        pid = int(asked.stdout)
        # a zombie has no file behind it
        wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())
