"""The Isolation Forest as plain arrays (Liu, Ting and Zhou 2008).

Rule of this file: scikit-learn grows the trees; here they are flattened, so that scoring is one compiled pass, a
saved model holds numbers instead of pickled objects, and scores equal scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from ml_assets.config import ModelConfig
from ml_assets.models.parts import in_parts


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees, one element per node; ``roots`` has one per tree.

    ``feature`` is -1 at a leaf; ``length`` is the leaf's depth plus the expected depth of the rows left in it.
    ``medians`` (one per feature) replace missing values. ``normal`` is the expected path length of a tree.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    length: NDArray[np.float64]
    medians: NDArray[np.float32]
    normal: float

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Anomaly score in (0, 1), higher is stranger, shape (rows,); NaN entries are imputed by training medians."""
        return in_parts(self._score, matrix)

    def _score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        filled = np.where(np.isnan(matrix), self.medians, matrix).astype(np.float32)
        depth = _total_depth(filled, self.roots, self.feature, self.threshold, self.left, self.right, self.length)
        return np.asarray(2.0 ** (-depth / (len(self.roots) * self.normal)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The model as named arrays."""
        return {
            "roots": self.roots,
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "length": self.length,
            "medians": self.medians,
            "normal": np.array([self.normal]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Forest:
        """Inverse of :meth:`arrays`."""
        values = dict(arrays)
        normal = float(np.asarray(values.pop("normal"))[0])
        return cls(**values, normal=normal)  # type: ignore[arg-type]


@njit(cache=True, nogil=True)
def _total_depth(matrix, roots, feature, threshold, left, right, length):  # type: ignore[no-untyped-def]
    """Sum of path lengths over trees, per row: tree by tree, so that one tree stays in the cache."""
    rows = matrix.shape[0]
    total = np.zeros(rows)
    for root in roots:
        for i in range(rows):
            node = root
            while feature[node] >= 0:
                node = left[node] if matrix[i, feature[node]] <= threshold[node] else right[node]
            total[i] += length[node]
    return total


def _average_path_length(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected depth of an unsuccessful search in a binary tree of so many rows; equation 1 of the paper."""
    rows = np.asarray(rows, dtype=np.float64)
    out = np.zeros_like(rows)
    out[rows == 2] = 1.0
    big = rows > 2
    out[big] = 2.0 * (np.log(rows[big] - 1.0) + np.euler_gamma) - 2.0 * (rows[big] - 1.0) / rows[big]
    return out


def fit_forest(matrix: NDArray[np.float32], config: ModelConfig) -> tuple[Forest, IsolationForest]:
    """Grow a seeded forest on training rows.

    Parameters
    ----------
    matrix : shape (rows, features), NaN where missing; no column may be NaN throughout.

    Returns
    -------
    (Forest, IsolationForest) : the flattened forest that scores, and scikit-learn's own, for comparison.

    Raises
    ------
    ValueError : fewer than two rows, or no column.
    """
    if matrix.shape[0] < 2 or matrix.shape[1] < 1:
        raise ValueError(f"An isolation forest needs two rows and a feature, got {matrix.shape[0]}x{matrix.shape[1]}.")
    medians = np.nanmedian(matrix, axis=0).astype(np.float32)
    filled = np.where(np.isnan(matrix), medians, matrix).astype(np.float32)
    grown = IsolationForest(
        n_estimators=config.isolation_trees,
        max_samples=min(config.isolation_sample, len(filled)),
        random_state=config.seed,
        n_jobs=1,
    ).fit(filled)
    parts: dict[str, list[NDArray[np.generic]]] = {k: [] for k in ("feature", "threshold", "left", "right", "length")}
    roots, offset = [], 0
    for estimator in grown.estimators_:
        tree = estimator.tree_
        left, right = tree.children_left.astype(np.int64), tree.children_right.astype(np.int64)
        is_leaf = left < 0
        depth = np.zeros(tree.node_count)
        # children come after their parent in scikit-learn's order
        for node in np.flatnonzero(~is_leaf):
            depth[left[node]] = depth[right[node]] = depth[node] + 1
        parts["feature"].append(np.where(is_leaf, -1, tree.feature).astype(np.int32))
        parts["threshold"].append(tree.threshold.astype(np.float64))
        parts["left"].append(np.where(is_leaf, 0, left + offset))
        parts["right"].append(np.where(is_leaf, 0, right + offset))
        parts["length"].append(np.where(is_leaf, depth + _average_path_length(tree.n_node_samples), 0.0))
        roots.append(offset)
        offset += tree.node_count
    forest = Forest(
        roots=np.array(roots, dtype=np.int64),
        **{k: np.concatenate(v) for k, v in parts.items()},  # type: ignore[arg-type]
        medians=medians,
        normal=float(_average_path_length(np.array([grown.max_samples_]))[0]) or 1.0,
    )
    return forest, grown
