"""Python's search for garbage, kept away from what a program loads once and never drops.

Imports and definitions make a million objects that live as long as the process. The collector goes through all of them
again and again while they are made, a quarter of the time a start takes, and every time it looks through the whole
heap afterwards.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_for_good() -> Iterator[None]:
    """Within this context nothing is searched for garbage, and what it has made never is.

    For what stays until the process ends. Objects that count their last reference are freed all the same, here as
    everywhere; only cycles made in the context are kept, garbage or not.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
