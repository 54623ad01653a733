"""Level 2 of explanation: the features behind an alert, in words.

Rule of this file: only alerts are explained; what is said of a feature comes from its contract (description, unit),
its value, the client's own normal and its peers' normal.

A pillar's contribution to the champion is shared out among its features: the supervised part (alpha) by exact
TreeSHAP values, the unsupervised part (1 - alpha) by how far the anomaly score falls when a feature is put back to
its training median. Only features that raise the risk get a share, so a pillar's shares sum to its contribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.config import ModelConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.explain.decomposition import SPLIT_STRATEGIES, pillar_contributions, tier2_parts
from ml_assets.features.peers import beside
from ml_assets.models.matrix import GRAIN, numeric_columns, to_matrix
from ml_assets.models.memory import earlier_weeks
from ml_assets.models.names import BASE, PILLARS, SCHEME_PILLAR, SCHEME_TITLE, SCORE_OF, TITLE_OF
from ml_assets.models.pipeline import tier2_inputs, widen
from ml_assets.models.registry import ModelBundle
from ml_assets.models.tier1 import Tier1Model, score_tier1
from ml_assets.models.tier2 import Tier2Model, pillars_of_input

NORMAL_DAYS = 364
"""Days before an alert whose as-of dates make the client's own normal: 52 whole weeks."""

REASONS_CONTRACT = TableContract(
    schema="scores",
    name="alert_reasons",
    description="One row per alert or top client and reason: the feature that raised the score, in words.",
    grain=("client_id", "as_of_date", "reason_rank"),
    columns=(
        Column("client_id", "text", "Client the alert is about."),
        Column("as_of_date", "date", "Monday the score looks back from."),
        Column("reason_rank", "integer", "1 is the strongest reason.", unit="count", minimum=1),
        Column("pillar", "text", "Pillar of the feature.", allowed=(*PILLARS, SCHEME_PILLAR)),
        Column("feature", "text", "Name of the feature."),
        Column("value", "number", "Its value.", null_rule="the feature is missing, and that raises the score"),
        Column(
            "own_normal",
            "number",
            "Mean of the client's own as-of dates in the year before.",
            null_rule="no as-of date with a value in the year before",
        ),
        Column("peer_normal", "number", "Median of the client's peers on the same date.", null_rule="no peer value"),
        Column("contribution", "number", "Part of the pillar's contribution to the champion, log-odds."),
        Column("reason_text", "text", "The reason in one sentence."),
    ),
)
"""Contract of ``scores.alert_reasons``."""


@dataclass(frozen=True)
class Explained:
    """What one pillar needs to be explained: its model's inputs for the alerts.

    ``frame`` has the feature columns; ``columns`` the contract's columns by name (missing ones are named plainly);
    ``own`` and ``peers`` have the same columns as ``frame``, for the same alerts.
    """

    frame: pl.DataFrame
    columns: Mapping[str, Column]
    own: pl.DataFrame | None = None
    peers: pl.DataFrame | None = None


def normals(
    features: pl.DataFrame, alerts: pl.DataFrame, groups: pl.DataFrame, peer_normals: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The client's own normal and its peers' normal of every numeric feature.

    Parameters
    ----------
    features : feature rows of the alerts' clients, earlier weeks included.
    alerts : client_id, as_of_date.
    groups, peer_normals : rows of ``features.peer_groups`` and ``features.peer_normals``, at least for the alerts.

    Returns
    -------
    (own, peers) : one row per alert, sorted by grain: means over the client's as-of dates in the year before (null
        without one), and medians over the peer group on the same date (:mod:`ml_assets.features.peers`).
    """
    keys = alerts.select(GRAIN).sort(list(GRAIN))
    names = numeric_columns(features)
    values = features.select(*GRAIN, *(pl.col(n).cast(pl.Float64) for n in names))
    earlier = (
        keys.rename({"as_of_date": "_alert"})
        .join(values, on="client_id")
        .filter(
            (pl.col("as_of_date") < pl.col("_alert"))
            & (pl.col("as_of_date") >= pl.col("_alert") - pl.duration(days=NORMAL_DAYS))
        )
    )
    own = keys.join(
        earlier.sort("client_id", "_alert", "as_of_date")
        .group_by("client_id", as_of_date="_alert", maintain_order=True)
        .agg(pl.col(n).mean() for n in names),
        on=list(GRAIN),
        how="left",
        maintain_order="left",
    )
    return own, beside(keys, groups, peer_normals.filter(pl.col("feature").is_in(names)))


def _positive_shares(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of the positive parts, each summing to 1; a row without any stays 0."""
    positive = np.maximum(parts, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(positive, total, out=np.zeros_like(positive), where=total > 0))


def feature_shares(model: Tier1Model | Tier2Model, frame: pl.DataFrame) -> NDArray[np.float64]:
    """Share of each feature in its pillar's risk, shape (rows, features), rows summing to 1 (0 if nothing raises it).

    Parameters
    ----------
    frame : rows with the model's features.
    """
    matrix = to_matrix(frame, list(model.features))
    supervised = np.zeros(matrix.shape)
    strange = np.zeros(matrix.shape)
    alpha = model.alpha
    if model.boost is not None:
        supervised = _positive_shares(model.boost.contributions(matrix)[:, :-1])
    if isinstance(model, Tier1Model) and model.forest is not None:
        here = model.forest.score(matrix)
        for i in range(matrix.shape[1]):
            usual = matrix.copy()
            usual[:, i] = model.forest.medians[i]
            strange[:, i] = here - model.forest.score(usual)
        strange = _positive_shares(strange)
    else:
        # the template half of tier 2 has no features of its own: its evidence is the fired indicators
        alpha = 1.0
    return _positive_shares(alpha * supervised + (1 - alpha) * strange)


def format_value(value: float | None, unit: str) -> str:
    """A value in words.

    >>> format_value(12345.6, "base"), format_value(0.853, "ratio"), format_value(None, "count")
    ('12,346', '85 %', 'not available')
    """
    if value is None or not np.isfinite(value):
        return "not available"
    if unit == "ratio":
        return f"{100 * value:.0f} %"
    if unit in ("base", "count") and abs(value) >= 10:
        return f"{value:,.0f}"
    suffix = {
        "zscore": " standard deviations",
        "days": " days",
        "hours": " hours",
        "seconds": " seconds",
        "bits": " bits",
        "score": " of 100",
    }.get(unit, "")
    return f"{value:,.3g}{suffix}" if abs(value) < 1000 else f"{value:,.0f}{suffix}"


def reason_text(column: Column | None, name: str, value: float | None, own: float | None, peer: float | None) -> str:
    """One sentence: what the feature is, its value, the client's own normal and the peers' normal.

    >>> reason_text(None, "s_p4_score", 91.0, 60.0, 50.0)
    'Score of typologies: 91 of 100 (own normal 60 of 100, peers 50 of 100).'
    """
    if column is None:
        unit = name.rsplit("_", 1)[-1]
        if name in SCORE_OF.values():
            what = f"Score of {TITLE_OF[name[2:4]]}"
        elif "_x_" in name:
            first, second = (TITLE_OF[part] for part in name.split("_")[0:3:2])
            what = f"Unusual at once in {first} and in {second}, as a share of the most there can be"
        else:
            what = name.rsplit("_", 1)[0].replace("_", " ").capitalize()
            for scheme, title in SCHEME_TITLE.items():
                if name.startswith(scheme):
                    what = f"Likeness to {title}" if unit == "score" else f"Pillars in the proportions of {title}"
    else:
        what, unit = column.description.rstrip("."), column.unit
    if column is not None and column.dtype == "boolean":
        shown = "not available" if value is None else ("yes" if value >= 0.5 else "no")
        return f"{what}: {shown}."
    known = [f"{k} {format_value(v, unit)}" for k, v in (("own normal", own), ("peers", peer)) if v is not None]
    return f"{what}: {format_value(value, unit)}{' (' + ', '.join(known) + ')' if known else ''}."


def alert_reasons(
    alerts: pl.DataFrame,
    contributions: pl.DataFrame,
    models: Mapping[str, Tier1Model | Tier2Model],
    explained: Mapping[str, Explained],
    config: ModelConfig,
    is_handed_on: bool = False,
) -> pl.DataFrame:
    """The strongest feature reasons of each alert.

    Parameters
    ----------
    alerts : client_id, as_of_date.
    contributions : of :func:`ml_assets.explain.decomposition.pillar_contributions`, at least for the alerts.
    models : pillar key -> fitted model (P6: tier 2).
    explained : pillar key -> its inputs for the alerts; pillars without one are left out.
    is_handed_on : True where ``contributions`` gave the pillars their part of tier 2: P6's reasons are then chosen
        among its own inputs.

    Returns
    -------
    frame : as :data:`REASONS_CONTRACT`, at most ``reasons_per_alert`` rows an alert. Pillars that lower the score
        give no reason.
    """
    keys = alerts.select(GRAIN).unique().sort(list(GRAIN))
    pieces: list[pl.DataFrame] = []
    for pillar, inputs in explained.items():
        model = models.get(pillar)
        if model is None or not model.features:
            continue
        part = contributions.filter(
            (pl.col("pillar") == pillar) & (pl.col("pillar") != BASE) & (pl.col("contribution") > 0)
        )
        rows = keys.join(part.select(*GRAIN, "contribution"), on=list(GRAIN)).sort(list(GRAIN))
        names = list(model.features)
        frame = rows.select(GRAIN).join(inputs.frame, on=list(GRAIN), how="inner", maintain_order="left")
        rows = rows.join(frame.select(GRAIN), on=list(GRAIN), how="semi", maintain_order="left")
        if not rows.height:
            continue
        shares = feature_shares(model, frame)
        if is_handed_on and pillar == SCHEME_PILLAR:
            shares = _positive_shares(shares * np.array([not pillars_of_input(n) for n in names]))
        weight = shares * rows["contribution"].to_numpy()[:, None]
        kept = np.argsort(-weight, axis=1, kind="stable")[:, : config.reasons_per_alert]
        at = np.repeat(np.arange(rows.height), kept.shape[1])
        which = kept.ravel()

        def pick(
            source: pl.DataFrame | None,
            names: list[str] = names,
            frame: pl.DataFrame = frame,
            at: NDArray[np.int64] = at,
            which: NDArray[np.int64] = which,
        ) -> pl.Series:
            if source is None:
                return pl.Series([None] * len(at), dtype=pl.Float64)
            beside = frame.select(GRAIN).join(source, on=list(GRAIN), how="left", maintain_order="left")
            have = [n if n in beside.columns else None for n in names]
            values = np.column_stack(
                [
                    beside[n].cast(pl.Float64).to_numpy() if n is not None else np.full(beside.height, np.nan)
                    for n in have
                ]
            )
            return pl.Series(values[at, which]).fill_nan(None)

        pieces.append(
            rows.select(GRAIN)[at].with_columns(
                pillar=pl.lit(pillar),
                feature=pl.Series([names[i] for i in which], dtype=pl.String),
                value=pick(inputs.frame),
                own_normal=pick(inputs.own),
                peer_normal=pick(inputs.peers),
                contribution=pl.Series(weight[at, which]),
            )
        )
    if not pieces:
        return REASONS_CONTRACT.empty()
    ranked = (
        pl.concat(pieces)
        .filter(pl.col("contribution") > 0)
        .sort(
            ["client_id", "as_of_date", "contribution", "pillar", "feature"],
            descending=[False, False, True, False, False],
        )
        .with_columns(reason_rank=pl.int_range(1, pl.len() + 1).over(list(GRAIN)))
        .filter(pl.col("reason_rank") <= config.reasons_per_alert)
    )
    # a few sentences per alert: words are put together row by row
    texts = [
        reason_text(
            explained[r["pillar"]].columns.get(r["feature"]),
            r["feature"],
            r["value"],
            r["own_normal"],
            r["peer_normal"],
        )
        for r in ranked.iter_rows(named=True)
    ]
    return REASONS_CONTRACT.conform(ranked.with_columns(reason_text=pl.Series(texts, dtype=pl.String)))


def explain_alerts(
    bundle: ModelBundle,
    alerts: pl.DataFrame,
    wide: pl.DataFrame,
    features: Mapping[str, pl.DataFrame],
    contracts: Mapping[str, TableContract],
    groups: pl.DataFrame,
    peer_normals: pl.DataFrame,
) -> pl.DataFrame:
    """Reasons of alerts from the frames a scoring run has at hand.

    Parameters
    ----------
    alerts : client_id, as_of_date; no row is fine.
    wide : ``s_p1_score`` .. ``s_p6_score``, at least for the alerts (``ScoredWeeks.wide``).
    features : pillar key -> feature rows of the alerts' clients: the alerts' weeks and earlier ones (own normal, and
        the memory of tier 2; without them it is null).
    contracts : pillar key -> contract of its feature table, for words and units.
    groups, peer_normals : as for :func:`normals`.

    Returns
    -------
    frame : as :data:`REASONS_CONTRACT`.
    """
    keys = alerts.select(GRAIN).unique().sort(list(GRAIN))
    rows = wide.join(keys, on=list(GRAIN), how="semi")
    if not rows.height:
        return REASONS_CONTRACT.empty()
    memory = bundle.config.models.memory_weeks
    explained: dict[str, Explained] = {}
    design: pl.DataFrame | None = None
    for pillar, frame in features.items():
        here = frame.join(keys, on=list(GRAIN), how="semi")
        own, peers = normals(frame, keys, groups, peer_normals)
        columns = {c.name: c for c in contracts[pillar].columns} if pillar in contracts else {}
        if pillar == SCHEME_PILLAR:
            weeks = sorted({*keys["as_of_date"], *earlier_weeks(keys["as_of_date"].unique().to_list(), memory)})
            recent = {p: f.filter(pl.col("as_of_date").is_in(weeks)) for p, f in features.items() if p in bundle.tier1}
            scores = widen({p: score_tier1(bundle.tier1[p], f, bundle.model_id) for p, f in recent.items()})
            here, _ = tier2_inputs(scores, here, bundle.config.models, recent, bundle.tier2.raw_features)
            design = here
        explained[pillar] = Explained(here, columns, own, peers)
    models: dict[str, Tier1Model | Tier2Model] = {**bundle.tier1, SCHEME_PILLAR: bundle.tier2}
    inside = tier2_parts(bundle.tier2, design) if design is not None else None
    contributions = pillar_contributions(bundle.aggregation, rows, inside=inside)
    # what tier 2 owes to a pillar's own inputs was handed to that pillar, so P6 is explained by the rest
    handed = bundle.aggregation.champion in SPLIT_STRATEGIES and inside is not None
    return alert_reasons(keys, contributions, models, explained, bundle.config.models, handed)
