"""Scoring many rows in parts side by side.

Rule of this file: only for functions that score every row by itself, so that parts change nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray

SMALLEST: Final = 2_000
"""Rows in a part at least: with fewer, starting threads takes longer than the rows do."""


def in_parts(score: Callable[[NDArray[np.float32]], NDArray[np.float64]], matrix: NDArray[np.float32]) -> NDArray:  # type: ignore[type-arg]
    """``score(matrix)``, computed on consecutive parts of the rows, one thread per core.

    Parameters
    ----------
    score : from shape (rows, columns) to (rows,) or (rows, k); it must let go of the interpreter's lock to gain
        anything, be safe to call from several threads, and give a row the same value whatever rows stand beside it.
    matrix : shape (rows, columns).

    Returns
    -------
    array : ``score(matrix)``, the same bytes however many parts.
    """
    parts = min(cpu_count(), len(matrix) // SMALLEST)
    if parts < 2:
        return score(matrix)
    ends = np.linspace(0, len(matrix), parts + 1).astype(np.int64)
    done = Parallel(n_jobs=parts, prefer="threads")(delayed(score)(matrix[a:b]) for a, b in pairwise(ends))
    return np.concatenate(done)
