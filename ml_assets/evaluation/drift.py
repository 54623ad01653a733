"""Monitoring: how far a week has moved from the weeks its model was trained on.

Rule of this file: a week is compared with a *frozen* reference (bin edges, shares, levels of the training weeks), so
a new week costs the same however many weeks lie behind it, and nothing that comes later changes what was said of a
week. It fits nothing, reads nothing and knows no client: counts per week, feature and bin are all that leaves it.

* PSI = sum_b (a_b - e_b) ln(a_b / e_b), e the share of training rows and a the share of the week's rows in bin b,
  each with half a count added per bin, so that an empty bin is rare and not infinitely surprising. Missing values
  are left out of it and measured as a share of their own.
* Equal distributions give a PSI above 0 by chance: chi2(B - 1) x (1/n + 1/m) (Yurdakul & Naranjo 2020). Weeks share
  most of their clients, so m counts clients of the reference and not rows. Under that bound a PSI says nothing.
* Amounts are watched by currency, before any feature: the mean of log10(amount in base currency) of a week's
  payments. A changed unit moves it by a whole number of decades even where the currency is too rare to move a
  feature of the bank's clients.
* Explanation: shares of the pillars in what raised the week's alerts (positive contributions, log-odds), compared
  with the week before by the Jensen-Shannon distance, base 2, 0-1 (Endres & Schindelin 2003).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import chi2

from ml_assets.config import MonitoringConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.names import BASE, PILLARS, SCHEME_PILLAR

Status = Literal["stable", "watch", "drift", "gross", "not judged"]
STATUSES: tuple[Status, ...] = ("not judged", "stable", "watch", "drift", "gross")
"""Verdicts in ascending order of concern."""

MEASURE_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "p1": {
        "inflow": ("inflow",),
        "outflow": ("outflow",),
        "turnover": ("turnover", "net_flow"),
        "activity": ("active", "txn", "count", "peak"),
        "concentration": ("busiest", "largest"),
    },
    "p2": {
        "degree and strength": ("degree", "strength", "neighbour", "payment"),
        "counterparties": ("counterparty", "reciprocal", "client_flow", "first_seen"),
        "centrality": ("pagerank", "betweenness", "clustering", "triangle", "core", "community"),
        "countries": ("country",),
        "blacklist": ("blacklist",),
        "motifs": ("cycle", "fan", "gather", "scatter", "bipartite", "stack", "chain"),
    },
    "p3": {
        "clock": ("hour", "weekday", "month_day", "night", "weekend"),
        "amounts": ("amount",),
        "rhythm": ("interarrival", "burstiness", "memory", "turnover_autocorrelation", "spectral"),
        "change": ("change_point",),
        "dormancy": ("recency", "longest_gap", "dormancy", "post_dormancy"),
        "series": ("tsfresh",),
    },
    "p4": {
        "thresholds": ("near_threshold", "sub_threshold", "over_threshold", "max"),
        "amount patterns": ("round", "whole", "below_round", "ending", "repeat", "benford"),
        "pass-through": ("fund_through", "cash_placed", "mirror", "u_turn"),
        "funnel and smurfing": ("funnel", "smurf"),
        "cash": ("cash",),
        "bursts": ("burst", "reactivation"),
    },
    "p5": {
        "declared": (
            "inflow_over",
            "outflow_over",
            "income",
            "largest",
            "cash_inflow_over",
            "no_income",
        ),
        "sectors and countries": ("sector", "foreign", "new_sector", "new_country"),
        "salary": ("salary",),
        "age and silence": ("dormancy", "silence", "turnover_per_age", "new_account"),
        "peers": ("peer", "occupation", "size", "cash_over_peers"),
    },
    "p6": {
        "underground banking": ("ub",),
        "trade-based": ("tb",),
        "professional, MSB": ("msb",),
    },
}
"""Pillar prefix -> measure group -> beginnings of the measure. A measure of none of them is its own group."""

_WEEK = Column("as_of_date", "date", "Monday the week looks back from.")
_MODEL = Column("model_id", "text", "Model whose training weeks are the reference.")
_STATUS = Column("status", "text", "Verdict of the dated limits of MonitoringConfig.", allowed=STATUSES)
_TOO_FEW = "no value to compare"

REFERENCE_BINS = TableContract(
    "monitoring",
    "reference_bins",
    "One row per model, subject and bin: the frozen distribution of the training weeks.",
    ("model_id", "subject", "bin_number"),
    (
        _MODEL,
        Column("subject", "text", "Feature, or score prefixed by score:."),
        Column("bin_number", "integer", "Bin, ascending from 0.", "count", minimum=0),
        Column("upper_edge", "number", "Largest value of the bin.", null_rule="last bin: open"),
        Column("rows_count", "integer", "Rows of the reference in the bin.", "count", minimum=0),
    ),
)
REFERENCE_LEVELS = TableContract(
    "monitoring",
    "reference_levels",
    "One row per model and subject: size, missing share, mean and spread in the reference.",
    ("model_id", "subject"),
    (
        _MODEL,
        Column("subject", "text", "Feature, or prefixed by score:, amount: (log10, by currency) or labels:."),
        Column("rows_count", "integer", "Rows of the reference.", "count", minimum=0),
        Column("clients_count", "integer", "Distinct clients (payments for amount:).", "count", minimum=0),
        Column("null_ratio", "number", "Share of missing values.", "ratio", minimum=0, maximum=1),
        Column("mean_value", "number", "Mean of the values.", null_rule=_TOO_FEW),
        Column("std_value", "number", "Standard deviation of the values.", null_rule=_TOO_FEW),
    ),
)
FEATURE_DRIFT = TableContract(
    "monitoring",
    "feature_drift",
    "One row per as-of date and feature: distance from the training weeks.",
    ("as_of_date", "feature"),
    (
        _WEEK,
        Column("feature", "text", "Feature."),
        Column("pillar", "text", "Pillar of the feature.", allowed=(*PILLARS, SCHEME_PILLAR)),
        Column("family", "text", "Pillar and measure group."),
        _MODEL,
        Column("psi_value", "number", "Population stability index.", "PSI", null_rule=_TOO_FEW, minimum=0),
        Column("psi_noise", "number", "PSI that chance alone reaches.", "PSI", null_rule=_TOO_FEW, minimum=0),
        Column("null_ratio", "number", "Share of missing values.", "ratio", minimum=0, maximum=1),
        Column("reference_null_ratio", "number", "The same in the training weeks.", "ratio", minimum=0, maximum=1),
        Column("mean_value", "number", "Mean of the week.", null_rule=_TOO_FEW),
        Column("reference_mean", "number", "Mean of the training weeks.", null_rule=_TOO_FEW),
        Column("rows_count", "integer", "Clients of the week.", "count", minimum=0),
        _STATUS,
    ),
)
FAMILY_DRIFT = TableContract(
    "monitoring",
    "family_drift",
    "One row per as-of date and feature family: distance from the training weeks.",
    ("as_of_date", "family"),
    (
        _WEEK,
        Column("family", "text", "Pillar and measure group."),
        Column("pillar", "text", "Pillar.", allowed=(*PILLARS, SCHEME_PILLAR)),
        _MODEL,
        Column("features_count", "integer", "Features of the family.", "count", minimum=1),
        Column("drifted_count", "integer", "Features with the status drift or gross.", "count", minimum=0),
        Column(
            "psi_mean",
            "number",
            "Mean PSI of its features, each beyond noise and up to gross.",
            "PSI",
            null_rule=_TOO_FEW,
            minimum=0,
        ),
        Column("psi_max", "number", "Largest PSI of its features.", "PSI", null_rule=_TOO_FEW, minimum=0),
        Column("worst_feature", "text", "Feature with the largest PSI.", null_rule=_TOO_FEW),
        Column("null_ratio", "number", "Mean share of missing values.", "ratio", minimum=0, maximum=1),
        Column("reference_null_ratio", "number", "The same in the training weeks.", "ratio", minimum=0, maximum=1),
        _STATUS,
    ),
)
AMOUNT_DRIFT = TableContract(
    "monitoring",
    "amount_drift",
    "One row per as-of date and currency: level of the payments of the week before it.",
    ("as_of_date", "currency"),
    (
        _WEEK,
        Column("currency", "text", "ISO 4217 code, or none."),
        _MODEL,
        Column("txn_count", "integer", "Payments in [D - 7d, D).", "count", minimum=0),
        Column("level_log10", "number", "Mean of log10 of the amount in base currency.", "log10", null_rule=_TOO_FEW),
        Column("reference_level_log10", "number", "The same in training weeks.", "log10", null_rule=_TOO_FEW),
        Column("shift_log10", "number", "Difference: 2 is a factor of 100.", "log10", null_rule=_TOO_FEW),
        Column("shift_sigma", "number", "Shift in standard errors.", "zscore", null_rule=_TOO_FEW),
        _STATUS,
    ),
)
SCORE_DRIFT = TableContract(
    "monitoring",
    "score_drift",
    "One row per as-of date and score: B-CRS and the six pillars, against validation weeks of the same model.",
    ("as_of_date", "score"),
    (
        _WEEK,
        Column("score", "text", "bcrs, or the pillar.", allowed=("bcrs", *PILLARS, SCHEME_PILLAR)),
        _MODEL,
        Column("psi_value", "number", "Population stability index.", "PSI", null_rule=_TOO_FEW, minimum=0),
        Column("psi_noise", "number", "PSI that chance alone reaches.", "PSI", null_rule=_TOO_FEW, minimum=0),
        Column("mean_score", "number", "Mean of the week.", "score", null_rule=_TOO_FEW, minimum=0, maximum=100),
        Column("reference_mean_score", "number", "Mean of the reference.", "score", null_rule=_TOO_FEW),
        Column("null_ratio", "number", "Share of clients without the score.", "ratio", minimum=0, maximum=1),
        Column("rows_count", "integer", "Clients of the week.", "count", minimum=0),
        _STATUS,
    ),
)
EXPLANATION_DRIFT = TableContract(
    "monitoring",
    "explanation_drift",
    "One row per as-of date and pillar: its share in what raised the week's alerts.",
    ("as_of_date", "pillar"),
    (
        _WEEK,
        Column("pillar", "text", "Pillar.", allowed=(*PILLARS, SCHEME_PILLAR)),
        Column("share_ratio", "number", "Share of positive contributions.", "ratio", null_rule="no alert", minimum=0),
        Column("previous_share_ratio", "number", "The week before.", "ratio", null_rule="no alert", minimum=0),
        Column(
            "distance_value",
            "number",
            "Jensen-Shannon distance of the whole mix to the week before, base 2.",
            "-",
            null_rule="no alert in one of the two weeks",
            minimum=0,
            maximum=1,
        ),
        Column("alerts_count", "integer", "Alerts of the week.", "count", minimum=0),
        Column("previous_alerts_count", "integer", "Alerts of the week before.", "count", minimum=0),
        _STATUS,
    ),
)
LABEL_ARRIVAL = TableContract(
    "monitoring",
    "label_arrival",
    "One row per as-of date: suspicious transaction reports that arrived, and how long after the first alert.",
    ("as_of_date",),
    (
        _WEEK,
        _MODEL,
        Column("reported_count", "integer", "Reports dated in [D - 7d, D).", "count", minimum=0),
        Column("reported_known_count", "integer", "Reports dated before D in all.", "count", minimum=0),
        Column("late_count", "integer", "Of the week's reports, delivered after D.", "count", minimum=0),
        Column(
            "delivery_delay_days", "number", "Median days from report to delivery.", "days", null_rule="one delivery"
        ),
        Column(
            "alert_lead_days",
            "number",
            "Median days from a client's first alert in the 26 weeks before to the report.",
            "days",
            null_rule="no reported client had an alert",
        ),
        Column("clients_count", "integer", "Clients of the week.", "count", minimum=0),
        Column(
            "arrival_ratio",
            "number",
            "Reports per client and week over the trailing weeks, as a multiple of the training weeks'.",
            "ratio",
            null_rule="no report in the training weeks, or no full trailing span",
            minimum=0,
        ),
        _STATUS,
    ),
)
CONTRACTS = (FEATURE_DRIFT, FAMILY_DRIFT, AMOUNT_DRIFT, SCORE_DRIFT, EXPLANATION_DRIFT, LABEL_ARRIVAL)
"""Tables made for every week."""


def family_of(feature: str) -> str:
    """Family of a feature: its pillar and the group of its measure.

    >>> family_of("p1_inflow_sum_30d_base")
    'p1 inflow'
    >>> family_of("p2_country_distinct_90d_count")
    'p2 countries'
    >>> family_of("p4_unheard_of_30d_ratio")
    'p4 unheard'
    """
    pillar, _, measure = feature.partition("_")
    groups = MEASURE_GROUPS.get(pillar, {})
    fits = [(len(begin), group) for group, begins in groups.items() for begin in begins if measure.startswith(begin)]
    return f"{pillar} {max(fits)[1] if fits else measure.split('_')[0]}"


def pillar_of(feature: str) -> str:
    """Pillar key of a feature.

    >>> pillar_of("p6_ub_fired_count")
    'p6_scheme'
    """
    return next(p for p in (*PILLARS, SCHEME_PILLAR) if p.startswith(feature.split("_")[0] + "_"))


def bin_edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Upper edges of equal-count bins; the last bin is open.

    Where more than half of the values are one and the same (mostly zero), that value is a bin of its own and the
    rest is cut in three, or everything that happens would lie in one bin.

    >>> bin_edges(np.arange(10.0), 5)
    array([1., 3., 5., 7.])
    >>> bin_edges(np.array([0.0] * 90 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]), 5)
    array([0., 3., 6.])
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return np.empty(0)
    edges = _quantiles(values, bins)
    middle = np.quantile(values, 0.5, method="inverted_cdf")
    rest = values[values != middle]
    if 0 < len(rest) < len(values) / 2:
        edges = np.concatenate([edges, [middle], _quantiles(rest, 3)])
    return np.unique(edges)


def _quantiles(values: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    return np.asarray(np.quantile(values, np.arange(1, parts) / parts, method="inverted_cdf"))


def psi(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Population stability index along the last axis, from counts; half a count is added per bin.

    >>> counts = np.array([50.0, 50.0])
    >>> float(psi(counts, counts))
    0.0
    >>> round(float(psi(np.array([5e5, 5e5]), np.array([9e5, 1e5]))), 3)
    0.879
    """
    e, a = expected + 0.5, actual + 0.5
    e = e / e.sum(axis=-1, keepdims=True)
    a = a / a.sum(axis=-1, keepdims=True)
    return np.asarray(((a - e) * np.log(a / e)).sum(axis=-1))


def psi_noise(bins: int, actual: NDArray[np.float64], expected: float, confidence: float) -> NDArray[np.float64]:
    """PSI that equal distributions stay under with ``confidence``, for ``actual`` and ``expected`` rows."""
    if bins < 2:
        return np.zeros_like(actual)
    return np.asarray(_chi2_quantile(confidence, bins - 1) * (1.0 / actual + 1.0 / max(expected, 1.0)))


@lru_cache
def _chi2_quantile(confidence: float, degrees: int) -> float:
    return float(chi2.ppf(confidence, degrees))


def js_distance(left: Sequence[float], right: Sequence[float]) -> float:
    """Jensen-Shannon distance of two mixes, base 2: 0 for equal ones, 1 where they have nothing in common.

    >>> js_distance([0.5, 0.5], [5.0, 5.0]), js_distance([1.0, 0.0], [0.0, 1.0])
    (0.0, 1.0)
    """
    p, q = np.asarray(left, float), np.asarray(right, float)
    p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2

    def to_middle(x: NDArray[np.float64]) -> float:
        kept = x > 0
        return float((x[kept] * np.log2(x[kept] / m[kept])).sum())

    return float(np.sqrt(max((to_middle(p) + to_middle(q)) / 2, 0.0)))


def freeze(
    frame: pl.DataFrame, names: Iterable[str], model_id: str, config: MonitoringConfig, prefix: str = ""
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Freeze bins and levels of the reference.

    Parameters
    ----------
    frame : client_id and the columns ``names``, one row per client and week of the reference.
    prefix : put before the names, to tell scores (``score:``) from features.

    Returns
    -------
    (bins, levels) : as :data:`REFERENCE_BINS` and :data:`REFERENCE_LEVELS`.
    """
    clients = frame["client_id"].n_unique()
    bins, levels = [], []
    for name in names:
        values = frame[name].cast(pl.Float64).to_numpy()
        known = values[~np.isnan(values)]
        edges = bin_edges(known, config.psi_bins)
        counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
        uppers: list[float | None] = [*edges.tolist(), None]
        bins += [(model_id, prefix + name, b, uppers[b], int(c)) for b, c in enumerate(counts)]
        levels.append(
            (
                model_id,
                prefix + name,
                len(values),
                clients,
                1 - len(known) / len(values) if len(values) else 1.0,
                float(known.mean()) if len(known) else None,
                float(known.std()) if len(known) else None,
            )
        )
    return (
        REFERENCE_BINS.conform(pl.DataFrame(bins, schema=REFERENCE_BINS.empty().schema, orient="row")),
        REFERENCE_LEVELS.conform(pl.DataFrame(levels, schema=REFERENCE_LEVELS.empty().schema, orient="row")),
    )


def sample_clients(clients: pl.Series, config: MonitoringConfig) -> pl.Series:
    """Every n-th client by id, so that at most the configured number is left: the same ones every time."""
    ordered = clients.unique().sort()
    return ordered.gather_every(max(1, -(-len(ordered) // config.reference_clients)))


def _distances(
    frame: pl.DataFrame,
    names: Sequence[str],
    bins: pl.DataFrame,
    levels: pl.DataFrame,
    config: MonitoringConfig,
    prefix: str = "",
) -> pl.DataFrame:
    """One row per week and name: psi, noise, missing shares, means. Loops over names, never over rows."""
    weeks = frame["as_of_date"].unique().sort()
    at = frame["as_of_date"].replace_strict(weeks, np.arange(len(weeks)), return_dtype=pl.Int64).to_numpy()
    sizes = np.bincount(at, minlength=len(weeks)).astype(float)
    known_names = set(bins["subject"].unique().to_list())
    names = [n for n in names if prefix + n in known_names]
    wanted = bins.filter(pl.col("subject").is_in([prefix + n for n in names])).sort("subject", "bin_number")
    frozen = {
        subject: (np.array([e for e in edges if e is not None]), np.array(counts, float))
        for subject, edges, counts in wanted.group_by("subject", maintain_order=True)
        .agg("upper_edge", "rows_count")
        .iter_rows()
    }
    level_of = {row["subject"]: row for row in levels.iter_rows(named=True)}
    shape = (len(names), len(weeks))
    measured = {
        column: np.full(shape, np.nan)
        for column in ("psi_value", "psi_noise", "null_ratio", "reference_null_ratio", "mean_value", "reference_mean")
    }
    for row, name in enumerate(names):
        level, (edges, expected) = level_of[prefix + name], frozen[prefix + name]
        values = frame[name].cast(pl.Float64).to_numpy()
        known = ~np.isnan(values)
        values, week = values[known], at[known]
        code = week * len(expected) + np.searchsorted(edges, values, side="left")
        counts = np.bincount(code, minlength=len(weeks) * len(expected)).reshape(len(weeks), -1).astype(float)
        present = counts.sum(axis=1)
        measured["null_ratio"][row] = 1 - present / sizes
        measured["reference_null_ratio"][row] = level["null_ratio"]
        measured["reference_mean"][row] = np.nan if level["mean_value"] is None else level["mean_value"]
        full = present > 0
        measured["mean_value"][row, full] = _steady(
            np.bincount(week, weights=values, minlength=len(weeks))[full] / present[full]
        )
        if expected.sum() > 0:
            effective = level["clients_count"] * (1 - level["null_ratio"])
            measured["psi_value"][row, full] = np.maximum(psi(expected, counts[full]), 0.0)
            measured["psi_noise"][row, full] = psi_noise(
                len(expected), present[full], effective, config.noise_confidence
            )
    return pl.DataFrame(
        {
            "as_of_date": pl.concat([weeks] * len(names)) if names else weeks.clear(),
            "name": pl.Series(np.repeat(names, len(weeks)).tolist(), dtype=pl.String),
            **{column: values.ravel() for column, values in measured.items()},
            "rows_count": np.tile(sizes.astype(np.int64), len(names)),
        }
    ).fill_nan(None)


def _steady(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ten significant digits: the last ones of a sum depend on the order of its rows."""
    return np.array([float(f"{v:.10g}") for v in values])


def _psi_status(config: MonitoringConfig) -> pl.Expr:
    value = pl.when(pl.col("psi_value") > pl.col("psi_noise")).then("psi_value").otherwise(0.0)
    return (
        pl.when(pl.col("psi_value").is_null())
        .then(pl.lit("not judged"))
        .when(value >= config.psi_gross.value)
        .then(pl.lit("gross"))
        .when(value >= config.psi_drift.value)
        .then(pl.lit("drift"))
        .when(value >= config.psi_watch.value)
        .then(pl.lit("watch"))
        .otherwise(pl.lit("stable"))
    )


def _null_status(config: MonitoringConfig) -> pl.Expr:
    moved = (pl.col("null_ratio") - pl.col("reference_null_ratio")).abs()
    # a share of missing values in few clients jumps by chance: four standard errors of a share
    share = pl.col("reference_null_ratio")
    noise = 4 * (share * (1 - share) / pl.col("rows_count")).sqrt()
    return (
        pl.when((moved >= config.null_gross.value) & (moved > noise))
        .then(pl.lit("gross"))
        .when((moved >= config.null_drift.value) & (moved > noise))
        .then(pl.lit("drift"))
        .otherwise(pl.lit("stable"))
    )


def _worse(*verdicts: pl.Expr) -> pl.Expr:
    order = {status: number for number, status in enumerate(STATUSES)}
    numbers = [v.replace_strict(order, return_dtype=pl.Int64) for v in verdicts]
    return pl.max_horizontal(numbers).replace_strict(dict(enumerate(STATUSES)), return_dtype=pl.String)


def feature_drift(
    features: pl.DataFrame, bins: pl.DataFrame, levels: pl.DataFrame, model_id: str, config: MonitoringConfig
) -> pl.DataFrame:
    """Compare the features of some weeks with the frozen reference.

    Parameters
    ----------
    features : client_id, as_of_date and feature columns, whole weeks.
    bins, levels : of :func:`freeze` on training weeks, of this model.

    Returns
    -------
    frame : as :data:`FEATURE_DRIFT`, one row per week and feature that the reference knows.
    """
    names = [c for c in features.columns if c not in ("client_id", "as_of_date")]
    measured = _distances(features, names, bins, levels, config)
    known = {n: (pillar_of(n), family_of(n)) for n in names}
    return FEATURE_DRIFT.conform(
        measured.with_columns(
            pillar=pl.col("name").replace_strict({n: v[0] for n, v in known.items()}, return_dtype=pl.String),
            family=pl.col("name").replace_strict({n: v[1] for n, v in known.items()}, return_dtype=pl.String),
            model_id=pl.lit(model_id),
            status=_worse(_psi_status(config), _null_status(config)),
        ).rename({"name": "feature"})
    )


def family_drift(drift: pl.DataFrame, config: MonitoringConfig) -> pl.DataFrame:
    """Sum features up into families.

    A family has drifted where the mean PSI of its features reaches the limit, or where its missing values moved. Each
    feature counts only beyond its noise and no more than a gross one, so that a single one (the size of a community,
    which is the same number for a thousand clients) does not carry a family. One drifted feature among stable ones is
    a matter to watch.

    Parameters
    ----------
    drift : of :func:`feature_drift`.

    Returns
    -------
    frame : as :data:`FAMILY_DRIFT`.
    """
    capped = pl.min_horizontal("psi_value", pl.lit(config.psi_gross.value))
    beyond = pl.when(pl.col("psi_value") > pl.col("psi_noise")).then(capped).otherwise(0.0)
    beyond = pl.when(pl.col("psi_value").is_not_null()).then(beyond)
    psi_known = pl.col("psi_value").is_not_null()
    grouped = (
        drift.sort("feature")
        .group_by("as_of_date", "family", "pillar", "model_id")
        .agg(
            features_count=pl.len(),
            drifted_count=pl.col("status").is_in(["drift", "gross"]).sum(),
            psi_mean=beyond.mean(),
            psi_max=pl.col("psi_value").max(),
            worst_feature=pl.col("feature").filter(psi_known).sort_by(pl.col("psi_value").filter(psi_known)).last(),
            null_ratio=pl.col("null_ratio").mean(),
            reference_null_ratio=pl.col("reference_null_ratio").mean(),
            rows_count=pl.col("rows_count").max(),
        )
        .with_columns(psi_value=pl.col("psi_mean"), psi_noise=pl.lit(-1.0))
    )
    watched = pl.when(pl.col("drifted_count") > 0).then(pl.lit("watch")).otherwise(pl.lit("not judged"))
    return FAMILY_DRIFT.conform(
        grouped.with_columns(status=_worse(_psi_status(config), _null_status(config), watched)).drop(
            "psi_value", "psi_noise", "rows_count"
        )
    )


def amount_levels(payments: pl.DataFrame, model_id: str) -> pl.DataFrame:
    """Freeze the level of payments by currency.

    Parameters
    ----------
    payments : currency, txn_count, mean_log10, std_log10 of the training weeks' payments, one row per currency.

    Returns
    -------
    frame : as :data:`REFERENCE_LEVELS`, subjects ``amount:<currency>``.
    """
    return REFERENCE_LEVELS.conform(
        payments.select(
            model_id=pl.lit(model_id),
            subject=pl.format("amount:{}", pl.col("currency").fill_null("none")),
            rows_count="txn_count",
            clients_count="txn_count",
            null_ratio=pl.lit(0.0),
            mean_value="mean_log10",
            std_value="std_log10",
        )
    )


def amount_drift(payments: pl.DataFrame, levels: pl.DataFrame, model_id: str, config: MonitoringConfig) -> pl.DataFrame:
    """Compare the level of a week's payments by currency with the training weeks'.

    Parameters
    ----------
    payments : as_of_date, currency, txn_count, mean_log10 (mean of log10 of the amount in base currency).
    levels : of :func:`amount_levels`.

    Returns
    -------
    frame : as :data:`AMOUNT_DRIFT`. A currency with too few payments, or unknown to the training weeks, is not judged.
    """
    joined = payments.with_columns(pl.col("currency").fill_null("none")).join(
        levels.filter(pl.col("subject").str.starts_with("amount:")).select(
            currency=pl.col("subject").str.strip_prefix("amount:"),
            reference_level_log10="mean_value",
            _std="std_value",
            _count="rows_count",
        ),
        on="currency",
        how="left",
    )
    shift = pl.col("mean_log10") - pl.col("reference_level_log10")
    # one reference payment has no spread, and equal amounts a spread of zero: a tenth of a decade at least
    error = pl.max_horizontal(pl.col("_std"), pl.lit(0.1)) * (1 / pl.col("txn_count") + 1 / pl.col("_count")).sqrt()
    joined = joined.with_columns(level_log10="mean_log10", shift_log10=shift, shift_sigma=shift / error)
    enough = (
        (pl.col("txn_count") >= config.amount_minimum_count)
        & (pl.col("_count") >= config.amount_minimum_count)
        & pl.col("shift_log10").is_not_null()
    )
    moved = pl.col("shift_log10").abs()
    clear = pl.col("shift_sigma").abs() > config.amount_sigma
    return AMOUNT_DRIFT.conform(
        joined.with_columns(
            model_id=pl.lit(model_id),
            status=pl.when(~enough)
            .then(pl.lit("not judged"))
            .when(clear & (moved >= config.amount_gross.value))
            .then(pl.lit("gross"))
            .when(clear & (moved >= config.amount_drift.value))
            .then(pl.lit("drift"))
            .otherwise(pl.lit("stable")),
        ).select(AMOUNT_DRIFT.names)
    )


def score_drift(
    scores: pl.DataFrame, bins: pl.DataFrame, levels: pl.DataFrame, model_id: str, config: MonitoringConfig
) -> pl.DataFrame:
    """Compare scores of some weeks with the reference.

    The reference of scores is the validation weeks scored by the same model: on its training weeks a model is surer
    than it ever is again, and every new week would seem to drift.

    Parameters
    ----------
    scores : client_id, as_of_date, ``bcrs`` and the pillar keys, 0-100, whole weeks.
    bins, levels : of :func:`freeze` with the prefix ``score:``.

    Returns
    -------
    frame : as :data:`SCORE_DRIFT`.
    """
    names = [c for c in scores.columns if c not in ("client_id", "as_of_date")]
    measured = _distances(scores, names, bins, levels, config, prefix="score:")
    return SCORE_DRIFT.conform(
        measured.with_columns(
            score="name",
            model_id=pl.lit(model_id),
            mean_score="mean_value",
            reference_mean_score="reference_mean",
            status=_psi_status(config),
        ).select(SCORE_DRIFT.names)
    )


def explanation_drift(
    contributions: pl.DataFrame, alerts: pl.DataFrame, weeks: Sequence[object], config: MonitoringConfig
) -> pl.DataFrame:
    """Compare the mix of pillars behind the alerts of each week with the week before.

    Parameters
    ----------
    contributions : client_id, as_of_date, pillar, contribution of the alerts of ``weeks`` and of the week before
        each; the base is left out.
    alerts : client_id, as_of_date of those alerts.
    weeks : as-of dates to report.

    Returns
    -------
    frame : as :data:`EXPLANATION_DRIFT`, six rows a week.
    """
    pillars = (*PILLARS, SCHEME_PILLAR)
    sums = (
        contributions.filter(pl.col("pillar") != BASE)
        .join(alerts, on=["client_id", "as_of_date"], how="semi")
        .group_by("as_of_date", "pillar")
        # in a fixed order: sums of floats depend on it
        .agg(raised=pl.col("contribution").clip(lower_bound=0.0).sort().sum())
    )
    counts = alerts.group_by("as_of_date").agg(alerts_count=pl.len())
    grid = (
        pl.DataFrame({"as_of_date": [*weeks]}, schema={"as_of_date": pl.Date})
        .with_columns(previous=pl.col("as_of_date") - pl.duration(days=7))
        .join(pl.DataFrame({"pillar": list(pillars), "order": list(range(len(pillars)))}), how="cross")
    )
    before = sums.rename({"as_of_date": "previous", "raised": "raised_before"})
    counts_before = counts.rename({"as_of_date": "previous", "alerts_count": "previous_alerts_count"})
    wide = (
        grid.join(sums, on=["as_of_date", "pillar"], how="left")
        .join(before, on=["previous", "pillar"], how="left")
        .join(counts, on="as_of_date", how="left")
        .join(counts_before, on="previous", how="left")
        .with_columns(pl.col("raised", "raised_before", "alerts_count", "previous_alerts_count").fill_null(0))
        .sort("as_of_date", "order")
        .with_columns(
            share_ratio=pl.col("raised") / pl.col("raised").sum().over("as_of_date"),
            previous_share_ratio=pl.col("raised_before") / pl.col("raised_before").sum().over("as_of_date"),
        )
        .with_columns(pl.col("share_ratio", "previous_share_ratio").fill_nan(None))
    )
    distances = []
    for key, part in wide.group_by("as_of_date", maintain_order=True):
        mixes = part["share_ratio"].drop_nulls().to_list(), part["previous_share_ratio"].drop_nulls().to_list()
        distances.append((key[0], js_distance(*mixes) if len(mixes[0]) == len(mixes[1]) == len(pillars) else None))
    distance = pl.DataFrame(distances, schema={"as_of_date": pl.Date, "distance_value": pl.Float64}, orient="row")
    fewest = pl.min_horizontal("alerts_count", "previous_alerts_count")
    return EXPLANATION_DRIFT.conform(
        wide.join(distance, on="as_of_date", how="left")
        .with_columns(
            status=pl.when((fewest < config.explanation_minimum_alerts) | pl.col("distance_value").is_null())
            .then(pl.lit("not judged"))
            .when(pl.col("distance_value") >= config.explanation_gross.value)
            .then(pl.lit("gross"))
            .when(pl.col("distance_value") >= config.explanation_drift.value)
            .then(pl.lit("drift"))
            .otherwise(pl.lit("stable"))
        )
        .select(EXPLANATION_DRIFT.names)
    )


def label_levels(rows: int, reports: int, clients: int, model_id: str) -> pl.DataFrame:
    """Freeze the usual number of reports.

    Parameters
    ----------
    rows : client-weeks of the training weeks. reports : reports dated in the seven days before each of those weeks.

    Returns
    -------
    frame : as :data:`REFERENCE_LEVELS`, subject ``labels:reported``, mean = reports per client and week.
    """
    mean = reports / rows if rows else None
    values = [(model_id, "labels:reported", rows, clients, 0.0, mean, None)]
    return REFERENCE_LEVELS.conform(pl.DataFrame(values, schema=REFERENCE_LEVELS.empty().schema, orient="row"))


def label_arrival(weeks: pl.DataFrame, levels: pl.DataFrame, model_id: str, config: MonitoringConfig) -> pl.DataFrame:
    """Judge how reports arrive.

    Parameters
    ----------
    weeks : as_of_date, reported_count, reported_known_count, late_count, delivery_delay_days, alert_lead_days,
        clients_count, and of the trailing ``label_weeks``: trailing_reported_count, trailing_client_weeks_count.
    levels : of :func:`label_levels`.

    Returns
    -------
    frame : as :data:`LABEL_ARRIVAL`. Where fewer than five reports were to be expected the week is not judged.
    """
    found = levels.filter(pl.col("subject") == "labels:reported")["mean_value"]
    usual = found[0] if len(found) and found[0] else None
    expected = pl.col("trailing_client_weeks_count") * pl.lit(usual, pl.Float64)
    return LABEL_ARRIVAL.conform(
        weeks.with_columns(
            model_id=pl.lit(model_id),
            arrival_ratio=pl.when(expected > 0).then(pl.col("trailing_reported_count") / expected),
        )
        .with_columns(
            status=pl.when(pl.col("arrival_ratio").is_null() | (expected < 5))
            .then(pl.lit("not judged"))
            .when(pl.col("arrival_ratio") < config.label_drift.value)
            .then(pl.lit("drift"))
            .otherwise(pl.lit("stable"))
        )
        .select(LABEL_ARRIVAL.names)
    )


def worst_status(statuses: pl.Series) -> Status:
    """The most concerning of some verdicts; ``not judged`` where there is none.

    >>> worst_status(pl.Series(["stable", "drift", "not judged"]))
    'drift'
    """
    present = set(statuses.to_list())
    return next((s for s in reversed(STATUSES) if s in present), "not judged")
