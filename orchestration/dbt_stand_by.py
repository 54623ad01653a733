"""A dbt process that gets ready while other steps are at work, so that a call of dbt begins with its first statement.

Rule of this file: it saves time and decides nothing. Whatever happens to the waiting process, the call is made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.defs.resources import DBT_PROJECT

_VARIABLE = "BCRS_DBT_STAND_BY"


class DbtStandBy:
    """Keeps at most one waiting dbt process; :meth:`renew` as soon as it is known that a call will come."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._at: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Within this context :meth:`renew` starts processes; at its end none is left."""
        # a short path: sockets have names of a hundred characters at most, data folders any
        self._folder = Path(tempfile.mkdtemp(prefix="bcrs-dbt-"))
        try:
            yield
        finally:
            os.environ.pop(_VARIABLE, None)
            self._end()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._at = None

    def renew(self) -> None:
        """Start a process for the next call; nothing outside :meth:`at_hand`, or where one is waiting."""
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


DBT_STAND_BY = DbtStandBy()
"""The one of this process."""
