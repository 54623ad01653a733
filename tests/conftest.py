"""Shared fixtures: an empty data folder for the tests' own process, and one finished run of the tiny bank."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from chain import Run, make_run

# wiring imported by the tests' own process looks into an empty folder, never into the user's data
_SANDBOX = tempfile.mkdtemp(prefix="bcrs-tests-")
atexit.register(shutil.rmtree, _SANDBOX, ignore_errors=True)
os.environ["BCRS_DATA_DIR"] = _SANDBOX


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``make run PROFILE=tiny`` into an empty folder; read only, tests must not change it.

    For work on a single test, BCRS_TINY_RUN names a folder to keep the run in between sessions.
    """
    kept = os.environ.get("BCRS_TINY_RUN")
    run = make_run(Path(kept) if kept else tmp_path_factory.mktemp("tiny"), "PROFILE=tiny")
    assert run.code == 0, run.output[-4000:]
    return run
