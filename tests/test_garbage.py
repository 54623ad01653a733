"""What is loaded for good is not searched for garbage, and the search goes on for everything else."""

import gc
import weakref

from ml_assets.garbage import kept_for_good


class Node:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.self = self


def test_cycles_made_within_are_kept_and_those_made_after_are_freed():
    before = gc.get_freeze_count()
    try:
        with kept_for_good():
            assert not gc.isenabled()
            kept = weakref.ref(Node())
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
        freed = weakref.ref(Node())
        gc.collect()
        assert kept() is not None
        assert freed() is None
    finally:
        gc.unfreeze()


def test_the_search_stays_off_where_it_was_off():
    gc.disable()
    try:
        with kept_for_good():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
