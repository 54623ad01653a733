"""Level 1 of explanation: how much each pillar adds to the champion's log-odds.

Rule of this file: contributions are parts of the score that was computed, and with the base they sum to the
champion's raw score (log-odds before calibration).

* Linear: ``slope * w_i * (S_i - mean_i) / 100``, ``mean_i`` being the training mean; the base is what an average
  client gets.
* Boosting: exact TreeSHAP (Lundberg et al. 2020); the base is the booster's expectation.
* Bayesian: the pillar's log likelihood ratio; the base is the prior log-odds.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.aggregation import (
    AggregationModel,
    bayesian_parts,
    effective_weights,
    raw_scores,
    score_matrix,
)
from ml_assets.models.matrix import GRAIN
from ml_assets.models.names import BASE, PILLAR_OF, PILLARS, SCHEME_PILLAR

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


def pillar_contributions(model: AggregationModel, wide: pl.DataFrame, strategy: str | None = None) -> pl.DataFrame:
    """Split the raw score into pillars.

    Parameters
    ----------
    wide : client_id, as_of_date, ``s_p1_score`` .. ``s_p6_score``, the rows that were scored.
    strategy : linear, boosting or bayesian; the champion where None.

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
