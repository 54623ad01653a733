"""Level 1 of explanation: how much each pillar adds to the champion's log-odds.

Rule of this file: contributions are parts of the score that was computed, and with the base they sum to the
champion's raw score (log-odds before calibration).

* Linear: ``slope * w_i * (S_i - mean_i) / 100``, ``mean_i`` being the training mean; the base is what an average
  client gets.
* Boosting: exact TreeSHAP (Lundberg et al. 2020); the base is the booster's expectation.
* Bayesian: the pillar's log likelihood ratio; the base is the prior log-odds.

P6 is a stacked model: most of what it says comes from the pillars' scores of this and earlier weeks and from their
features. That part is handed on to those pillars, so that P6 keeps what is tier 2's own (schemes, indicators,
interactions): exact TreeSHAP values of tier 2 in log-odds, carried through the scale to S_P6 and on to the raw score
by the rescale rule (Shrikumar, Greenside and Kundaje 2017, "Learning important features through propagating activation
differences", 3.5.1): the difference that tier 2 makes against its own base, divided in proportion to the parts. The
sum stays what it was. With the boosted aggregation, where P6 acts through splits shared with other pillars, P6 keeps
its contribution whole.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.p6_scheme import MEDIAN_SCORE
from ml_assets.models.aggregation import (
    AggregationModel,
    bayesian_parts,
    effective_weights,
    raw_scores,
    score_matrix,
)
from ml_assets.models.matrix import GRAIN, to_matrix
from ml_assets.models.names import BASE, PILLAR_OF, PILLARS, SCHEME_PILLAR, SCORE_OF
from ml_assets.models.tier2 import NORM, Tier2Model, pillars_of_input

CONTRIBUTIONS_CONTRACT = TableContract(
    schema="scores",
    name="pillar_contributions",
    description="One row per client, as-of date and pillar: its share of the champion's log-odds; they sum to it.",
    grain=("client_id", "as_of_date", "pillar"),
    columns=(
        Column("client_id", "text", "Client the score belongs to."),
        Column("as_of_date", "date", "Monday the score looks back from."),
        Column(
            "pillar",
            "text",
            "Pillar key, or base: what a client gets before any pillar speaks.",
            allowed=(*PILLARS, SCHEME_PILLAR, BASE),
        ),
        Column("contribution", "number", "Part of the champion's raw score, natural log-odds before calibration."),
    ),
)
"""Contract of ``scores.pillar_contributions``."""

_POINT = np.log(10.0) / 10.0
SPLIT_STRATEGIES = ("linear", "bayesian")
"""Aggregations in which P6 adds a term of its own, which can be handed on to the pillars behind it."""
_WITHOUT = "_without_score"


def tier2_parts(model: Tier2Model, design: pl.DataFrame) -> pl.DataFrame | None:
    """What each pillar adds to S_P6 through tier 2's supervised half, in points of the 0-100 scale.

    Parameters
    ----------
    design : tier 2's inputs (``pipeline.tier2_inputs``) of the rows to explain.

    Returns
    -------
    frame : client_id, as_of_date, a column per pillar of P1-P5 and ``_without_score``, how much the supervised half
        as a whole adds against its base; None where tier 2 has no supervised half. A pillar may lower S_P6.
    """
    if model.boost is None or model.supervised_scale is None:
        return None
    matrix = to_matrix(design, list(model.features))
    parts = model.boost.contributions(matrix)
    base, total = parts[:, -1], parts[:, :-1].sum(axis=1)
    scale = model.supervised_scale
    with np.errstate(over="ignore"):
        reached = scale.transform(1.0 / (1.0 + np.exp(-(base + total))))
        usual = scale.transform(1.0 / (1.0 + np.exp(-base)))
    gain = model.alpha * (reached - usual) if model.template_scale is not None else reached - usual
    slope = np.divide(gain, total, out=np.zeros_like(gain), where=np.abs(total) > 1e-9)
    share = pillar_shares(model, design)
    return (
        design.select(GRAIN)
        .with_columns([pl.Series(p, slope * (parts[:, :-1] * share[p]).sum(axis=1)) for p in PILLARS])
        .with_columns(pl.Series(_WITHOUT, gain))
    )


def pillar_shares(model: Tier2Model, design: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Pillar -> share of each tier-2 input that is its, shape (rows, features).

    An input made from two pillars belongs to both by halves. The norm of the pillar vector is the root of a sum of
    squares of what lies above the median score, so a pillar's share in it is its square.
    """
    columns = [SCORE_OF[p] for p in PILLARS]
    known = [pl.col(c) if c in design.columns else pl.lit(None, dtype=pl.Float64).alias(c) for c in columns]
    squares = np.maximum(to_matrix(design.select(known), columns) - MEDIAN_SCORE, 0.0) ** 2
    squares = np.nan_to_num(squares)
    total = squares.sum(axis=1, keepdims=True)
    of_norm = np.divide(squares, total, out=np.zeros_like(squares), where=total > 0)
    shares = {p: np.zeros((design.height, len(model.features))) for p in PILLARS}
    for at, name in enumerate(model.features):
        owners = pillars_of_input(name)
        for pillar in owners:
            shares[pillar][:, at] = of_norm[:, PILLARS.index(pillar)] if name == NORM else 1 / len(owners)
    return shares


def _hand_on(
    model: AggregationModel,
    strategy: str,
    matrix: NDArray[np.float64],
    parts: NDArray[np.float64],
    rows: pl.DataFrame,
    inside: pl.DataFrame,
) -> NDArray[np.float64]:
    """``parts`` with the pillars' share of P6's contribution moved to the pillars that are in use."""
    sixth = SCORE_OF[SCHEME_PILLAR]
    if sixth not in model.columns or strategy not in SPLIT_STRATEGIES:
        return parts
    at = model.columns.index(sixth)
    points = rows.select(GRAIN).join(inside, on=list(GRAIN), how="left", maintain_order="left")
    gain = points[_WITHOUT].cast(pl.Float64).fill_null(0.0).to_numpy()
    without = matrix.copy()
    without[:, at] -= gain
    if strategy == "linear":
        weights = effective_weights(model, matrix)
        made = (model.slope / 100.0 if model.is_supervised else _POINT) * weights[:, at] * gain
    else:
        made = bayesian_parts(model, matrix)[:, at] - bayesian_parts(model, without)[:, at]
    per_point = np.divide(made, gain, out=np.zeros_like(made), where=np.abs(gain) > 1e-9)
    per_point = np.where(np.isnan(matrix[:, at]) | np.isnan(per_point), 0.0, per_point)
    out = parts.copy()
    for i, column in enumerate(model.columns):
        pillar = PILLAR_OF[column]
        if pillar != SCHEME_PILLAR:
            moved = per_point * points[pillar].cast(pl.Float64).fill_null(0.0).to_numpy()
            out[:, i] += moved
            out[:, at] -= moved
    return out


def pillar_contributions(
    model: AggregationModel, wide: pl.DataFrame, strategy: str | None = None, inside: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Split the raw score into pillars.

    Parameters
    ----------
    wide : client_id, as_of_date, ``s_p1_score`` .. ``s_p6_score``, the rows that were scored.
    strategy : linear, boosting or bayesian; the champion where None.
    inside : of :func:`tier2_parts`, to hand P6's contribution on to the pillars behind it; None leaves it with P6.

    Returns
    -------
    frame : as :data:`CONTRIBUTIONS_CONTRACT`; one row per pillar in use and one for the base. A missing pillar
        contributes 0 to linear and Bayesian, and what its absence tells the trees to boosting. Rows without any
        pillar score have no contributions.

    Raises
    ------
    ValueError : the strategy was not fitted.
    """
    strategy = strategy or model.champion
    rows = wide.sort(list(GRAIN))
    matrix = score_matrix(rows, model.columns)
    raw = raw_scores(model, matrix).get(strategy)
    if raw is None:
        raise ValueError(f"The {strategy} aggregation was not fitted: {' '.join(model.reasons)}")
    if strategy == "linear":
        weights = effective_weights(model, matrix)
        slope = model.slope / 100.0 if model.is_supervised else _POINT
        parts = slope * weights * np.nan_to_num(matrix - np.array(model.means))
    elif strategy == "boosting":
        assert model.boost is not None
        parts = model.boost.contributions(matrix.astype(np.float32))[:, :-1]
    else:
        parts = bayesian_parts(model, matrix)
    if inside is not None:
        parts = _hand_on(model, strategy, matrix, parts, rows, inside)
    base = raw - parts.sum(axis=1)
    known = ~np.isnan(raw)
    names = [*(PILLAR_OF[c] for c in model.columns), BASE]
    wide_parts = rows.select(GRAIN).with_columns(
        [pl.Series(n, v) for n, v in zip(names, [*parts.T, base], strict=True)]
    )
    return CONTRIBUTIONS_CONTRACT.conform(
        wide_parts.filter(pl.Series(known)).unpivot(
            on=names, index=list(GRAIN), variable_name="pillar", value_name="contribution"
        )
    )
