"""Keeping a segment's identity from one fit to the next.

Rule of this file: centroids in, ids out. Two fits are compared on the same clients in the newer fit's scale, and
matched as a whole by the Hungarian method (Kuhn 1955), so that no segment is claimed twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Matrix = NDArray[np.float64]


def segment_name(number: int) -> str:
    """Id of the n-th segment ever found, from 1: ``S01``."""
    return f"S{number:02d}"


def new_ids(count: int, used: int = 0) -> tuple[str, ...]:
    """Ids of ``count`` new segments after ``used`` earlier ones."""
    return tuple(segment_name(used + i + 1) for i in range(count))


def group_means(matrix: Matrix, labels: NDArray[np.int64], groups: int) -> Matrix:
    """Mean of every group, one row each; NaN for a group nobody is in."""
    out = np.full((groups, matrix.shape[1]), np.nan)
    for g in range(groups):
        if (labels == g).any():
            out[g] = matrix[labels == g].mean(axis=0)
    return out


def match_segments(
    earlier: Matrix, earlier_ids: Sequence[str], now: Matrix, used: int, limit: float
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Give every segment of the newer fit the id of the earlier one it continues, or a new id.

    Parameters
    ----------
    earlier, now : centroids in one scale, one row per segment; an earlier row of NaN has no client left.
    earlier_ids : ids of the rows of ``earlier``.
    used : ids given out so far.
    limit : greatest root mean square difference per column of a match; farther pairs are different segments.

    Returns
    -------
    ids : one per row of ``now``. distance : to the matched predecessor; NaN for a new segment.

    >>> match_segments(np.array([[0.0], [9.0]]), ["S01", "S02"], np.array([[9.1], [0.1], [4.0]]), 2, 1.0)[0]
    ('S02', 'S01', 'S03')
    """
    distance = np.sqrt(((now[:, None, :] - earlier[None, :, :]) ** 2).mean(axis=2))
    # beyond the limit all pairs are equally impossible: they must not push a possible pair out
    impossible = ~(distance <= limit)
    cost = np.where(impossible, 1e6, distance)
    rows, columns = linear_sum_assignment(cost)
    ids: list[str | None] = [None] * len(now)
    kept = np.full(len(now), np.nan)
    for r, c in zip(rows, columns, strict=True):
        if not impossible[r, c]:
            ids[r], kept[r] = earlier_ids[c], distance[r, c]
    out = []
    for known in ids:
        if known is None:
            used += 1
            known = segment_name(used)
        out.append(known)
    return tuple(out), kept
