"""Exact TreeSHAP values of shallow boosted trees, in one compiled pass.

Rule of this file: trees in, contributions out; it knows no feature by name and no model but XGBoost's trees.

The value is the path-dependent one of Lundberg et al. 2020 ("From local explanations to global understanding with
explainable AI for trees", algorithm 2), the same that XGBoost's ``pred_contribs`` gives: features that a coalition
lacks follow both branches, weighed by the training rows' Hessians. XGBoost walks every tree anew for every row. A
leaf, however, has only as many features on its path as the tree is deep, and of a row it asks of each just whether
the row goes the leaf's way. Its contributions for all answers (2 ** features of them) are computed once per leaf;
for a row the answers are looked up, as in Linear TreeShap's and Fast TreeSHAP's precomputation (Yang 2021, "Fast
TreeSHAP: accelerating SHAP value computation for trees", algorithm version 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numba import njit
from numpy.typing import NDArray

DEEPEST = 6
"""Greatest depth: a row's ways through the inner nodes of a tree are the bits of one 64-bit number."""
_ROWS_AT_ONCE = 128
"""Rows a block holds: their values and contributions stay in the processor's cache."""


@dataclass(frozen=True)
class TreeTables:
    """All trees of one or more boosters, flattened; what is asked of rows, and what each answer contributes.

    Inner nodes, one element each (``node_start`` marks the first of each tree): ``feature``, ``threshold`` (a value
    below it goes left), ``is_left_default`` (where a missing value goes).
    Leaves (``leaf_start`` marks the first of each tree, ``path_start`` the first path feature of each leaf,
    ``table_start`` its table). Path features: ``path_feature``; ``path_nodes`` and ``path_left``, as bits, the inner
    nodes on the path that ask for it and those of them that the path leaves to the left.
    ``table`` : for each leaf, answers x path features, row-major; bit j of an answer is set where the row goes the
    path's way at all nodes of feature j.
    """

    node_start: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    is_left_default: NDArray[np.bool_]
    leaf_start: NDArray[np.int64]
    path_start: NDArray[np.int64]
    path_feature: NDArray[np.int32]
    path_nodes: NDArray[np.uint64]
    path_left: NDArray[np.uint64]
    table_start: NDArray[np.int64]
    table: NDArray[np.float64]

    def contributions(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum of all trees' contributions in log-odds, shape of ``matrix`` (rows, features); NaN is missing."""
        out = np.zeros(matrix.shape)
        _add_contributions(
            np.ascontiguousarray(matrix, dtype=np.float32),
            self.node_start,
            self.feature,
            self.threshold,
            self.is_left_default,
            self.leaf_start,
            self.path_start,
            self.path_feature,
            self.path_nodes,
            self.path_left,
            self.table_start,
            self.table,
            out,
        )
        return out


def tables_of(boosters: Sequence[xgb.Booster]) -> TreeTables:
    """Flatten boosters of binary trees with numeric splits.

    Raises
    ------
    ValueError : a tree is deeper than :data:`DEEPEST`.
    """
    node_start, leaf_start, path_start, table_start = [0], [0], [0], [0]
    feature: list[int] = []
    threshold: list[float] = []
    default: list[bool] = []
    paths: list[tuple[int, int, int]] = []
    shares: list[NDArray[np.float64]] = []
    values: list[float] = []
    for booster in boosters:
        content = json.loads(bytes(booster.save_raw("json")))
        for tree in content["learner"]["gradient_booster"]["model"]["trees"]:
            left, right, cover = tree["left_children"], tree["right_children"], tree["sum_hessian"]
            inner = {n: i for i, n in enumerate(n for n in range(len(left)) if left[n] >= 0)}
            if len(inner) >= 2**DEEPEST:
                raise ValueError(f"A tree has {len(inner)} splits; TreeSHAP tables hold trees of depth {DEEPEST}.")
            # a node's way down: per feature the bits of its nodes, of those left to the left, and the rows' share
            stack: list[tuple[int, dict[int, tuple[int, int, float]]]] = [(0, {})]
            while stack:
                node, path = stack.pop()
                if node not in inner:
                    values.append(tree["split_conditions"][node])
                    paths += [(f, nodes, ways) for f, (nodes, ways, _) in path.items()]
                    shares.append(np.array([share for _, _, share in path.values()]))
                    path_start.append(len(paths))
                    continue
                f, bit = tree["split_indices"][node], 1 << inner[node]
                nodes, ways, share = path.get(f, (0, 0, 1.0))
                for child, is_left in ((left[node], True), (right[node], False)):
                    part = cover[child] / cover[node] if cover[node] > 0 else 0.0
                    stack.append((child, {**path, f: (nodes | bit, ways | (bit if is_left else 0), share * part)}))
            feature += [tree["split_indices"][n] for n in inner]
            threshold += [tree["split_conditions"][n] for n in inner]
            default += [bool(tree["default_left"][n]) for n in inner]
            node_start.append(len(feature))
            leaf_start.append(len(values))
    for share_of in shares:
        table_start.append(table_start[-1] + len(share_of) * 2 ** len(share_of))
    table = np.zeros(table_start[-1])
    flat = np.concatenate(shares) if shares else np.zeros(0)
    starts, ends = np.array(path_start, dtype=np.int64), np.array(table_start, dtype=np.int64)
    _fill_tables(np.array(values, dtype=np.float64), starts, flat.astype(np.float64), ends, table)
    return TreeTables(
        np.array(node_start, dtype=np.int64),
        np.array(feature, dtype=np.int32),
        np.array(threshold, dtype=np.float32),
        np.array(default, dtype=np.bool_),
        np.array(leaf_start, dtype=np.int64),
        starts,
        np.array([f for f, _, _ in paths], dtype=np.int32),
        np.array([n for _, n, _ in paths], dtype=np.uint64),
        np.array([w for _, _, w in paths], dtype=np.uint64),
        ends,
        table,
    )


@njit(cache=True)
def _fill_tables(values, path_start, shares, table_start, table):  # type: ignore[no-untyped-def]
    """Contributions of each leaf to each feature of its path, for every answer of a row."""
    coefficient = np.zeros(64)
    for leaf in range(len(values)):
        first = path_start[leaf]
        m = path_start[leaf + 1] - first
        for answer in range(1 << m):
            for i in range(m):
                # coefficients, by size of the coalition, of the product over the other features j of
                # (share_j where j is missing) + (answer_j where it is present)
                coefficient[:m] = 0.0
                coefficient[0] = 1.0
                size = 0
                for j in range(m):
                    if j != i:
                        is_there = float((answer >> j) & 1)
                        size += 1
                        for k in range(size, 0, -1):
                            coefficient[k] = coefficient[k] * shares[first + j] + coefficient[k - 1] * is_there
                        coefficient[0] *= shares[first + j]
                total = 0.0
                weight = 1.0 / m  # k! (m - k - 1)! / m! for a coalition of k = 0 features
                for k in range(m):
                    total += weight * coefficient[k]
                    weight *= (k + 1) / max(m - k - 1, 1)
                own = float((answer >> i) & 1)
                table[table_start[leaf] + answer * m + i] = values[leaf] * (own - shares[first + i]) * total


@njit(cache=True, nogil=True)
def _add_contributions(  # type: ignore[no-untyped-def]
    matrix, node_start, feature, threshold, is_left_default, leaf_start, path_start, path_feature, path_nodes,
    path_left, table_start, table, out,
):  # fmt: skip
    """Fill ``out``, shape of ``matrix``, with the trees' contributions: tree by tree for a block of rows."""
    rows, columns = matrix.shape
    block = max(1, min(_ROWS_AT_ONCE, rows))
    # columns first: a block's values of one feature then lie side by side, and so do its contributions
    seen = np.empty((columns, block), dtype=np.float32)
    made = np.empty((columns, block))
    ways = np.empty(block, dtype=np.uint64)
    answer = np.empty(block, dtype=np.int64)
    for top in range(0, rows, block):
        count = min(block, rows - top)
        for r in range(count):
            for c in range(columns):
                seen[c, r] = matrix[top + r, c]
        made[:] = 0.0
        for tree in range(len(node_start) - 1):
            ways[:] = 0
            for node in range(node_start[tree], node_start[tree + 1]):
                bit = np.uint64(1) << np.uint64(node - node_start[tree])
                limit = threshold[node]
                values = seen[feature[node]]
                if is_left_default[node]:
                    for r in range(count):
                        if not values[r] >= limit:
                            ways[r] |= bit
                else:
                    for r in range(count):
                        if values[r] < limit:
                            ways[r] |= bit
            for leaf in range(leaf_start[tree], leaf_start[tree + 1]):
                first = path_start[leaf]
                m = path_start[leaf + 1] - first
                answer[:] = 0
                for j in range(m):
                    nodes, wanted = path_nodes[first + j], path_left[first + j]
                    # answers count in steps of m: a row of the table each
                    step = m << j
                    for r in range(count):
                        if ways[r] & nodes == wanted:
                            answer[r] += step
                start = table_start[leaf]
                for j in range(m):
                    to = made[path_feature[first + j]]
                    part = table[start + j : table_start[leaf + 1]]
                    for r in range(count):
                        to[r] += part[answer[r]]
        for r in range(count):
            for c in range(columns):
                out[top + r, c] = made[c, r]
