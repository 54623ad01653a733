"""What is made ready ahead is there when the wait is over, and only within a main job."""

import sys
import threading

from orchestration.ahead import FOR_FEATURES, FOR_TRAINING, Ahead


def test_outside_a_main_job_nothing_is_started():
    ahead = Ahead()
    threads = threading.active_count()
    with ahead.importing(FOR_FEATURES):
        assert threading.active_count() == threads


def test_imports_are_done_when_the_wait_is_over():
    ahead = Ahead()
    with ahead.at_work():
        with ahead.importing((*FOR_FEATURES, *FOR_TRAINING)):
            assert any(t.name != "MainThread" for t in threading.enumerate())
        assert {"great_expectations", "mlflow", "tsfresh", "networkit"} <= set(sys.modules)
