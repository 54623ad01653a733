"""Finding segments: k-means over a range of k, density and mixtures beside it.

Rule of this file: matrices in, labels and tables out; nothing knows what a column means. Every fit runs on one thread
with a seed from the configuration, so that a repetition gives the same bytes.

How k is chosen (:func:`choose_k`): among the numbers of segments whose bootstrap stability reaches
``stability_minimum`` and whose smallest segment holds ``smallest_share_ratio`` of the clients, the best mean rank over
four judges: silhouette (Rousseeuw 1987), Calinski-Harabasz (1974), Davies-Bouldin (1979), and nearness to the knee of
the inertia curve found by Kneedle (Satopaa et al. 2011). Ties go to fewer segments. Where none qualifies, all compete
and the choice says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    pairwise_distances_argmin_min,
    silhouette_score,
)
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from ml_assets.config import SegmentConfig

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]

STABILITY_STARTS = 2
"""k-means++ starts of a bootstrap fit: fewer than the real fit's, so stability errs on the low side."""

KEPT_STABILITY_LOSS = 0.05
"""How much less stable than the rule's choice the earlier number of segments may be and still be kept."""


@contextmanager
def _quietly() -> Iterator[None]:
    """One thread, and no warning for fewer distinct points than clusters: it is handled."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def knee(x: NDArray[Any], y: NDArray[Any], curve: str, direction: str) -> float | None:
    """Where the curve bends most, by Kneedle; None where it has no knee or fewer than three points."""
    if len(x) < 3 or np.ptp(y) == 0:
        return None
    # brings a plotting library along, which takes longer to import than anything a main job needs of this file
    from kneed import KneeLocator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KneeLocator(x, y, curve=curve, direction=direction).knee
    return None if found is None else float(found)


def steepest_bend(curve: NDArray[np.float64]) -> int:
    """Index at which a rising convex curve bends most: the greatest value of Kneedle's difference curve.

    The first local maximum, which Kneedle returns by default, is the very last client where the far end is ragged.
    A straight or constant curve bends nowhere: its last index.

    >>> steepest_bend(np.array([1.0, 1.1, 1.2, 1.3, 5.0]))
    3
    """
    span = curve[-1] - curve[0]
    if len(curve) < 3 or span <= 0:
        return len(curve) - 1
    difference = np.linspace(0.0, 1.0, len(curve)) - (curve - curve[0]) / span
    return int(np.argmax(difference)) if difference.max() > 1e-9 else len(curve) - 1


def sample_rows(rows: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most ``most`` row numbers, ascending, without repetition."""
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False)).astype(np.int64)


def fit_centroids(matrix: Matrix, k: int, config: SegmentConfig, seed: int, starts: int | None = None) -> Matrix:
    """Centroids of k-means, one row per segment, in the order the algorithm left them.

    Above ``mini_batch_rows`` rows mini-batch k-means stands in, started from a full fit on ``sample_rows`` rows.
    """
    starts = starts or config.starts
    with _quietly():
        if len(matrix) > config.mini_batch_rows:
            # started anywhere, mini-batches stay in poor minima; from the best of several fits on a sample they do not
            sample = matrix[sample_rows(len(matrix), config.sample_rows, seed)]
            start = KMeans(k, random_state=seed, n_init=starts).fit(sample).cluster_centers_
            model: Any = MiniBatchKMeans(
                k,
                init=start,
                n_init=1,
                random_state=seed,
                batch_size=4096,
                max_no_improvement=20,
                reassignment_ratio=0.0,
            )
        else:
            model = KMeans(k, random_state=seed, n_init=starts)
        model.fit(matrix)
    return np.ascontiguousarray(model.cluster_centers_, dtype=np.float64)


def nearest(matrix: Matrix, centroids: Matrix) -> tuple[Labels, NDArray[np.float64]]:
    """Nearest centroid of every row and the distance to it (root mean square per column)."""
    if not len(matrix):
        return np.zeros(0, np.int64), np.zeros(0)
    with threadpool_limits(1):
        index, distance = pairwise_distances_argmin_min(matrix, centroids)
    return index.astype(np.int64), distance / np.sqrt(matrix.shape[1])


def stability(
    matrix: Matrix, centroids: Matrix, config: SegmentConfig, seed: int
) -> tuple[float, float, NDArray[np.float64]]:
    """How far the cut survives resampling of clients.

    Returns
    -------
    mean : mean adjusted Rand index (Hubert & Arabie 1985) between the cut and the cuts of bootstrap resamples, read
        on the same clients. low : 5th percentile of it. jaccard : per segment, the mean greatest Jaccard overlap with
        a segment of the resample (Hennig 2007).
    """
    k = len(centroids)
    rng = np.random.default_rng(seed)
    labels, _ = nearest(matrix, centroids)
    sizes = np.bincount(labels, minlength=k).astype(np.float64)
    scores, overlaps = [], []
    for b in range(config.stability_resamples):
        drawn = matrix[rng.integers(0, len(matrix), len(matrix))]
        other, _ = nearest(matrix, fit_centroids(drawn, k, config, seed + b + 1, STABILITY_STARTS))
        scores.append(adjusted_rand_score(labels, other))
        shared = np.zeros((k, k))
        np.add.at(shared, (labels, other), 1.0)
        union = sizes[:, None] + np.bincount(other, minlength=k)[None, :] - shared
        overlaps.append((shared / np.maximum(union, 1.0)).max(axis=1))
    return float(np.mean(scores)), float(np.quantile(scores, 0.05)), np.mean(overlaps, axis=0)


@dataclass(frozen=True)
class Choice:
    """Outcome of the search over k.

    Attributes
    ----------
    k : segments chosen. reason : why, in words.
    table : one row per k tried, columns of ``segments.segment_selection`` from ``k`` on; empty where nothing was tried.
    centroids : of the chosen k, largest segment first. jaccard : stability of each, NaN where it was not measured.
    """

    k: int
    reason: str
    table: pl.DataFrame
    centroids: Matrix
    jaccard: NDArray[np.float64]


SELECTION_SCHEMA = {
    "k": pl.Int64,
    "inertia": pl.Float64,
    "silhouette": pl.Float64,
    "calinski_harabasz": pl.Float64,
    "davies_bouldin": pl.Float64,
    "stability": pl.Float64,
    "stability_low": pl.Float64,
    "smallest_share_ratio": pl.Float64,
    "mixture_bic": pl.Float64,
    "mean_rank": pl.Float64,
    "is_knee": pl.Boolean,
    "is_qualified": pl.Boolean,
    "is_chosen": pl.Boolean,
}


def _one_segment(matrix: Matrix, reason: str) -> Choice:
    return Choice(
        1, reason, pl.DataFrame(schema=SELECTION_SCHEMA), matrix.mean(axis=0, keepdims=True), np.full(1, np.nan)
    )


def choose_k(matrix: Matrix, config: SegmentConfig, keep: int | None = None) -> Choice:
    """Cut the rows into the number of segments the stated rule chooses (see the module).

    Parameters
    ----------
    matrix : prepared clients, one row each.
    keep : number of segments of an earlier fit; kept as long as it qualifies and is about as stable as the rule's
        choice, so that segments do not come and go because two judges swapped places.

    Returns
    -------
    Choice : one segment where there are too few different clients to cut.
    """
    distinct = len(np.unique(matrix, axis=0))
    most = min(config.segments_maximum, distinct - 1)
    if most < config.segments_minimum:
        return _one_segment(
            matrix, f"{distinct} different clients are too few for {config.segments_minimum} segments: all are one."
        )
    ks = np.arange(config.segments_minimum, most + 1)
    sample = matrix[sample_rows(len(matrix), config.sample_rows, config.seed)]
    rows, fits = [], {}
    for k in ks.tolist():
        centroids = fit_centroids(matrix, k, config, config.seed)
        labels, distance = nearest(matrix, centroids)
        order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
        centroids = centroids[order]
        labels = np.argsort(order)[labels]
        sampled, _ = nearest(sample, centroids)
        mean, low, jaccard = stability(sample, centroids, config, config.seed)
        fits[k] = (centroids, jaccard)
        can_judge = 1 < len(np.unique(sampled)) < len(sample)
        rows.append(
            {
                "k": k,
                "inertia": float((distance**2).sum() * matrix.shape[1]),
                "silhouette": float(silhouette_score(sample, sampled)) if can_judge else None,
                "calinski_harabasz": float(calinski_harabasz_score(sample, sampled)) if can_judge else None,
                "davies_bouldin": float(davies_bouldin_score(sample, sampled)) if can_judge else None,
                "stability": mean,
                "stability_low": low,
                "smallest_share_ratio": float(np.bincount(labels, minlength=k).min() / len(matrix)),
                "mixture_bic": None,
            }
        )
    table = pl.DataFrame(rows, schema={c: t for c, t in SELECTION_SCHEMA.items() if c in rows[0]})
    bend = knee(ks, table["inertia"].to_numpy(), "convex", "decreasing")
    qualified = (table["stability"].to_numpy() >= config.stability_minimum) & (
        table["smallest_share_ratio"].to_numpy() >= config.smallest_share_ratio
    )
    competing = qualified if qualified.any() else np.ones(len(ks), bool)
    rank = _mean_rank(table, ks, bend, competing)
    chosen = int(ks[int(np.nanargmin(rank))])
    reason = (
        f"{chosen} segments: best mean rank of silhouette, Calinski-Harabasz, Davies-Bouldin and nearness to the knee"
    )
    reason += f" (at {bend:.0f})" if bend is not None else " (no knee)"
    reason += (
        f" among the {int(competing.sum())} stable cuts of {len(ks)} tried."
        if qualified.any()
        else (
            f" among all {len(ks)} tried: none is stable (index {config.stability_minimum:g}) and without "
            "tiny segments."
        )
    )
    if keep is not None and keep != chosen and keep in ks:
        there, ruled = (int(np.flatnonzero(ks == n)[0]) for n in (keep, chosen))
        if qualified[there] and table["stability"][there] >= table["stability"][ruled] - KEPT_STABILITY_LOSS:
            reason = (
                f"{keep} segments, kept from the fit before: still a stable cut. The rule alone would take {chosen}."
            )
            chosen = keep
    table = table.with_columns(
        mean_rank=pl.Series(rank).fill_nan(None),
        is_knee=pl.col("k") == (bend if bend is not None else -1),
        is_qualified=pl.Series(qualified),
        is_chosen=pl.col("k") == chosen,
    ).select(list(SELECTION_SCHEMA))
    return Choice(chosen, reason, table, *fits[chosen])


def _mean_rank(
    table: pl.DataFrame, ks: NDArray[np.int64], bend: float | None, competing: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean rank (1 best) over the judges that have a value; NaN for cuts that do not compete."""
    judges = [
        -table["silhouette"].to_numpy(),
        -table["calinski_harabasz"].to_numpy(),
        table["davies_bouldin"].to_numpy(),
    ]
    if bend is not None:
        judges.append(np.abs(ks - bend))
    ranks = [rankdata(j[competing]) for j in judges if np.isfinite(j[competing].astype(float)).all()]
    out = np.full(len(ks), np.nan)
    # without any judge, the fewest segments
    out[competing] = np.mean(ranks, axis=0) if ranks else ks[competing].astype(float)
    return out


@dataclass(frozen=True)
class Density:
    """What DBSCAN (Ester et al. 1996) learned: clients in thick regions (core) and the radius around them.

    A client is *unusual* where no core client lies within the radius: DBSCAN's own definition of noise, so that later
    weeks are judged without a new fit.
    """

    core: Matrix
    radius: float
    neighbours: int
    clusters: int
    noise_share: float
    k_distance: NDArray[np.float64]
    note: str

    def is_unusual(self, matrix: Matrix) -> NDArray[np.bool_]:
        """One flag per row; nobody is unusual where no thick region was found."""
        if not len(self.core) or not len(matrix):
            return np.zeros(len(matrix), bool)
        with threadpool_limits(1):
            _, distance = pairwise_distances_argmin_min(matrix, self.core)
        return distance > self.radius


def fit_density(matrix: Matrix, config: SegmentConfig) -> Density:
    """Fit DBSCAN on at most ``density_rows`` clients: radius at the knee of the k-distance curve.

    Neighbours are twice the columns (Sander et al. 1998). Fewer clients than that have no density: nobody is unusual.
    """
    sample = matrix[sample_rows(len(matrix), config.density_rows, config.seed)]
    neighbours = max(4, 2 * matrix.shape[1])
    if len(sample) <= neighbours:
        note = f"{len(sample)} clients are too few for a density of {neighbours} neighbours."
        return Density(sample[:0], 0.0, neighbours, 0, 0.0, np.zeros(0), note)
    with _quietly():
        distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(sample).kneighbors(sample)
        curve = np.sort(distances[:, -1])
        radius = float(curve[steepest_bend(curve)])
        if radius <= 0:
            return Density(sample[:0], 0.0, neighbours, 0, 0.0, curve, "Clients are duplicates of each other.")
        model = DBSCAN(eps=radius, min_samples=neighbours).fit(sample)
    return Density(
        np.ascontiguousarray(sample[model.core_sample_indices_]),
        radius,
        neighbours,
        int(model.labels_.max(initial=-1) + 1),
        float((model.labels_ < 0).mean()),
        curve,
        "",
    )


def alternatives(matrix: Matrix, choice: Choice, config: SegmentConfig) -> tuple[Choice, pl.DataFrame]:
    """Compare the cut with a Gaussian mixture (BIC over the same range) and with HDBSCAN (Campello et al. 2013).

    Returns
    -------
    choice : with ``mixture_bic`` filled in its table.
    frame : one row per method: method, clusters_count, noise_share_ratio, agreement (adjusted Rand index with the
        chosen k-means cut on the same clients), note.
    """
    sample = matrix[sample_rows(len(matrix), config.sample_rows, config.seed)]
    labels, _ = nearest(sample, choice.centroids)
    out: list[dict[str, Any]] = []
    if choice.table.height:
        bic, mixtures = {}, {}
        with _quietly():
            for k in choice.table["k"].to_list():
                mixture = GaussianMixture(k, covariance_type="full", reg_covar=1e-3, random_state=config.seed).fit(
                    sample
                )
                bic[k], mixtures[k] = float(mixture.bic(sample)), mixture
            best = min(bic, key=lambda k: (bic[k], k))
            found = mixtures[best].predict(sample)
            smallest = max(5, round(config.smallest_share_ratio * len(sample)))
            tree = (
                HDBSCAN(min_cluster_size=smallest, copy=True).fit(sample).labels_ if len(sample) > smallest else labels
            )
        at_end = best == max(bic)
        out.append(
            {
                "method": "gaussian_mixture",
                "clusters_count": best,
                "noise_share_ratio": 0.0,
                "agreement": adjusted_rand_score(labels, found),
                "note": "least BIC" + (", at the end of the range: more would fit better still" if at_end else ""),
            }
        )
        out.append(
            {
                "method": "hdbscan",
                "clusters_count": int(tree.max() + 1),
                "noise_share_ratio": float((tree < 0).mean()),
                "agreement": adjusted_rand_score(labels, tree),
                "note": f"least size {smallest}; noise counts as a group of its own in the agreement",
            }
        )
        table = choice.table.with_columns(
            mixture_bic=pl.col("k").replace_strict(bic, default=None, return_dtype=pl.Float64)
        )
        choice = replace(choice, table=table)
    schema = {
        "method": pl.String,
        "clusters_count": pl.Int64,
        "noise_share_ratio": pl.Float64,
        "agreement": pl.Float64,
        "note": pl.String,
    }
    return choice, pl.DataFrame(out, schema=schema)
