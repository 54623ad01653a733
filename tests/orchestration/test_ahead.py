"""What is made ready ahead is there when the wait is over, and only within a main job."""

import sys
import threading

from orchestration.ahead import IMPORTS, RECORD, Ahead


def test_outside_a_main_job_nothing_is_started():
    ahead = Ahead()
    threads = threading.active_count()
    with ahead.doing(IMPORTS):
        assert threading.active_count() == threads


def test_imports_are_done_when_the_wait_is_over():
    ahead = Ahead()
    with ahead.at_work():
        with ahead.doing((*IMPORTS, *RECORD)):
            assert any(t.name != "MainThread" for t in threading.enumerate())
        assert {"great_expectations", "mlflow", "tsfresh", "networkit"} <= set(sys.modules)
