"""What is made ready ahead is there when asked for, once, and gone afterwards."""

import threading
import time

from ml_assets.config import dbt_stand_by
from orchestration.ahead import Ahead


def wait_for(is_true, seconds=60):
    until = time.monotonic() + seconds
    while not is_true() and time.monotonic() < until:
        time.sleep(0.05)
    assert is_true()


def test_outside_a_main_job_nothing_is_started():
    ahead = Ahead()
    threads = threading.active_count()
    ahead.renew_dbt()
    assert dbt_stand_by() is None
    with ahead.importing():
        assert threading.active_count() == threads


def test_one_process_waits_until_it_is_used_and_none_is_left():
    ahead = Ahead()
    with ahead.at_work():
        ahead.renew_dbt()
        first = dbt_stand_by()
        wait_for(lambda: first.exists())
        # one is waiting: it stays
        ahead.renew_dbt()
        assert dbt_stand_by() == first
        # its socket is gone as after a call: another one comes, at another place
        first.unlink()
        ahead.renew_dbt()
        second = dbt_stand_by()
        assert second != first
        wait_for(lambda: second.exists())
    assert dbt_stand_by() is None
    assert not second.exists()
    assert not first.parent.parent.exists()


def test_imports_are_done_when_the_wait_is_over():
    ahead = Ahead()
    with ahead.at_work():
        with ahead.importing():
            assert any(t.name != "MainThread" for t in threading.enumerate())
        import sys

        assert {"great_expectations", "mlflow", "tsfresh", "networkit"} <= set(sys.modules)
