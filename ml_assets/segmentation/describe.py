"""From fits to the rows of the segmentation tables.

Rule of this file: arranges what the other modules found; finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from sklearn.decomposition import PCA

from ml_assets.config import SegmentConfig
from ml_assets.segmentation import tables
from ml_assets.segmentation.clustering import SELECTION_SCHEMA, sample_rows, steepest_bend
from ml_assets.segmentation.personas import suggest_treatment
from ml_assets.segmentation.weeks import Fit, SegmentHistory


def selection_rows(history: SegmentHistory) -> pl.DataFrame:
    """Rows of :data:`tables.SELECTION`, all fits."""
    parts = [
        (fit.choice.table if fit.choice else pl.DataFrame(schema=SELECTION_SCHEMA)).with_columns(
            fit_date=pl.lit(fit.week)
        )
        for fit in history.fits
    ]
    return tables.SELECTION.conform(pl.concat(parts))


def fit_rows(history: SegmentHistory) -> pl.DataFrame:
    """Rows of :data:`tables.FITS`: segments of every fit with their size in its week."""
    rows = []
    for number, fit in enumerate(history.fits):
        here = history.memberships.filter(pl.col("as_of_date") == fit.week)
        sizes = dict(here.group_by("segment_id").len().rows())
        jaccard = fit.choice.jaccard if fit.choice else np.full(len(fit.ids), np.nan)
        for i, segment in enumerate(fit.ids):
            rows.append(
                {
                    "fit_date": fit.week,
                    "segment_id": segment,
                    "clients_count": sizes.get(segment, 0),
                    "share_ratio": sizes.get(segment, 0) / max(here.height, 1),
                    "stability": float(jaccard[i]),
                    "match_distance": float(fit.match_distance[i]),
                    "is_new": number > 0 and bool(np.isnan(fit.match_distance[i])) and fit.choice is not None,
                    "reason": fit.reason,
                }
            )
    return tables.FITS.conform(pl.DataFrame(rows))


def method_rows(fit: Fit) -> pl.DataFrame:
    """Rows of :data:`tables.METHODS`: what other methods find on the same clients."""
    parts = [] if fit.alternatives is None else [fit.alternatives]
    if fit.density is not None:
        note = (
            f"radius {fit.density.radius:.2f} at the bend of the {fit.density.neighbours}-distance. {fit.density.note}"
        )
        parts.append(
            pl.DataFrame(
                {
                    "method": ["dbscan"],
                    "clusters_count": [fit.density.clusters],
                    "noise_share_ratio": [fit.density.noise_share],
                    "agreement": [None],
                    "note": [note.strip()],
                },
                schema_overrides={"agreement": pl.Float64},
            )
        )
    return tables.METHODS.conform(pl.concat(parts)) if parts else tables.METHODS.empty()


def map_rows(fit: Fit, frame: pl.DataFrame, config: SegmentConfig) -> tuple[pl.DataFrame, tuple[float, ...]]:
    """Clients of the fit's week on its first two principal components, at most ``sample_rows`` of them.

    Returns
    -------
    frame : rows of :data:`tables.MAP`. shares : variance each component explains; empty where there is one segment
        without a matrix.
    """
    if fit.preparation is None:
        return tables.MAP.empty(), ()
    frame = frame.sort("client_id")
    frame = frame[sample_rows(frame.height, config.sample_rows, config.seed)]
    matrix = fit.preparation.transform(frame)
    components = min(2, *matrix.shape)
    pca = PCA(components, svd_solver="full").fit(matrix)
    # the sign of a component is arbitrary: the heaviest loading points up
    sign = np.sign(pca.components_[np.arange(components), np.abs(pca.components_).argmax(axis=1)])
    place = pca.transform(matrix) * sign
    assigned = fit.assign(frame)
    rows = assigned.select("client_id", "segment_id", "is_unusual").with_columns(
        x=pl.Series(place[:, 0]), y=pl.Series(place[:, 1] if components > 1 else np.zeros(len(place)))
    )
    return tables.MAP.conform(rows), tuple(float(v) for v in pca.explained_variance_ratio_)


def density_rows(fit: Fit) -> pl.DataFrame:
    """Rows of :data:`tables.DENSITY`."""
    if fit.density is None or not len(fit.density.k_distance):
        return tables.DENSITY.empty()
    curve = fit.density.k_distance
    rank = np.arange(len(curve))
    rows = pl.DataFrame({"rank": rank, "distance": curve, "is_radius": rank == steepest_bend(curve)})
    return tables.DENSITY.conform(rows)


def persona_rows(
    names: Mapping[str, str], traits: pl.DataFrame, grades: Mapping[str, str], lift: Mapping[str, float]
) -> pl.DataFrame:
    """Rows of :data:`tables.PERSONAS`."""
    words = {s: traits.filter(pl.col("segment_id") == s)["trait"].drop_nulls().to_list() for s in names}
    rows = [
        {
            "segment_id": s,
            "persona": name,
            "traits": ", ".join(words[s]),
            "grade": grades[s],
            "lift": lift.get(s),
            "treatment": suggest_treatment(grades[s], words[s]),
        }
        for s, name in names.items()
    ]
    return tables.PERSONAS.conform(pl.DataFrame(rows, schema_overrides={"lift": pl.Float64}))
