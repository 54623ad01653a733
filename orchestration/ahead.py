"""What one main job gets ready while it waits for something else: the next dbt process, slow imports.

Rule of this file: it saves time and decides nothing. Whatever happens to the waiting process, the call is made; a
module that was not imported here is imported where it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_assets.contracts.expectations import great_expectations
from ml_assets.models.tracking import quiet_mlflow
from orchestration.defs.resources import DBT_PROJECT

_VARIABLE = "BCRS_DBT_STAND_BY"


_SLOW = ("mlflow.store.tracking.sqlalchemy_store", "tsfresh.feature_extraction", "networkit")
"""Modules that later steps import where they need them, and that take a second or more each."""


class Ahead:
    """Keeps at most one waiting dbt process; :meth:`renew_dbt` as soon as it is known that a call will come.

    Outside :meth:`at_work`, as in a step's own process under Dagster's UI, where no step follows, it does nothing.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._at: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within this context things are made ready; at its end no process is left."""
        # a short path: sockets have names of a hundred characters at most, data folders any
        self._folder = Path(tempfile.mkdtemp(prefix="bcrs-dbt-"))
        try:
            yield
        finally:
            os.environ.pop(_VARIABLE, None)
            self._end()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._at = None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Import slow modules in a thread while this one waits for another process; ends when both are done."""
        if self._folder is None:
            yield
            return
        thread = threading.Thread(target=_import_slow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            # two threads that import the same packages in different orders may meet half-made modules
            thread.join()

    def renew_dbt(self) -> None:
        """Start a process for the next call, unless one is waiting."""
        if self._folder is None:
            return
        if self._at is not None and self._at.exists() and self._process is not None and self._process.poll() is None:
            return
        self._end()
        # a name of its own, so that a call never meets the socket of a process that has ended
        self._at = at = Path(tempfile.mkdtemp(dir=self._folder)) / "call"
        os.environ[_VARIABLE] = str(at)
        self._process = subprocess.Popen(
            ["bcrs-dbt", "--stand-by", str(at), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=DBT_PROJECT.project_dir,
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self._process = None


def _import_slow() -> None:
    # whoever needs a module reports what is wrong with it
    with contextlib.suppress(Exception):
        great_expectations()
    quiet_mlflow()
    for name in _SLOW:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


AHEAD = Ahead()
"""The one of this process."""
