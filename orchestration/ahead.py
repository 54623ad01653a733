"""What one main job gets ready while it waits for another process: slow imports, the record of models.

Rule of this file: it saves time and decides nothing. A module that was not imported here is imported where it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from ml_assets.contracts.expectations import great_expectations
from ml_assets.features.tsfresh_engine import tsfresh_library
from ml_assets.garbage import kept_for_good
from ml_assets.models.tracking import import_mlflow, open_record
from orchestration.defs.resources import SETTINGS

IMPORTS: Final[tuple[Callable[[], object], ...]] = (
    great_expectations,
    partial(importlib.import_module, "matplotlib.figure"),
    partial(importlib.import_module, "networkit"),
    tsfresh_library,
    import_mlflow,
)
"""What later steps import where they need it, a second or more each: together as long as staging takes."""

RECORD: Final[tuple[Callable[[], object], ...]] = (partial(open_record, SETTINGS.models),)
"""The record of models, made where there is none: as long as the weekly windows take."""


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
    def doing(self, what: Sequence[Callable[[], object]]) -> Iterator[None]:
        """Do ``what`` in a thread while this one waits for another process; ends when both are done."""
        if not self._is_at_work:
            yield
            return
        thread = threading.Thread(target=_each, args=(what,), daemon=True)
        with kept_for_good():
            thread.start()
            try:
                yield
            finally:
                # two threads that import the same packages in different orders may meet half-made modules
                thread.join()


def _each(what: Sequence[Callable[[], object]]) -> None:
    for one in what:
        # whoever needs it reports what is wrong with it
        with contextlib.suppress(Exception):
            one()


AHEAD = Ahead()
"""The one of this process."""
