"""What one main job gets ready while it waits for another process: slow imports, the record of models.

Rule of this file: it saves time and decides nothing. A module that was not imported here is imported where it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ml_assets.contracts.expectations import great_expectations
from ml_assets.models.tracking import open_record
from orchestration.defs.resources import SETTINGS

_SLOW = ("matplotlib.figure", "tsfresh.feature_extraction", "networkit")
"""Modules that later steps import where they need them, and that take a second or more each."""


class Ahead:
    """Does nothing outside :meth:`at_work`, as in a step's own process under Dagster's UI, where no step follows."""

    def __init__(self) -> None:
        self._is_at_work = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within this context things are made ready."""
        self._is_at_work = True
        try:
            yield
        finally:
            self._is_at_work = False

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Import slow modules in a thread while this one waits for another process; ends when both are done."""
        if not self._is_at_work:
            yield
            return
        thread = threading.Thread(target=_import_slow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            # two threads that import the same packages in different orders may meet half-made modules
            thread.join()


def _import_slow() -> None:
    # whoever needs a module, or the record, reports what is wrong with it
    with contextlib.suppress(Exception):
        great_expectations()
    with contextlib.suppress(Exception):
        open_record(SETTINGS.models)
    for name in _SLOW:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


AHEAD = Ahead()
"""The one of this process."""
