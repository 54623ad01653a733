"""Threshold work: where the alert line should lie, and the sample that tests it from both sides.

Rule of this file: clients are ranked by what was scored; nothing is fitted and nothing is read. The line is a
calibrated probability, set by capacity or by cost; strata are bands of it just above and just below.

* **Cost ratio.** With a review costing c_r whatever its outcome and a missed report costing c_m, a client is worth a
  review where p x c_m > c_r, so the cut is p* = c_r / c_m = 1 / ratio (Elkan 2001, The Foundations of Cost-Sensitive
  Learning, IJCAI, eq. 2, with a reviewed launderer costing c_r).
* **Capacity.** The N riskiest clients; the cut is the N-th probability, equal ones ordered by client id.
* **Sample size** (discovery sampling, the usual above/below-the-line test). A stratum holds N clients. Were K = the
  least integer not under rate x N of them productive, a sample of n without replacement holds none of them with
  probability C(N - K, n) / C(N, n), the hypergeometric P(X = 0). The size is the least n that brings this to 1 -
  confidence or under: a sample without a find then shows, with that confidence, that fewer than K are productive.
* **Bound from outcomes.** With x productive among n reviewed, the largest K with P(X <= x | N, K, n) > 1 - confidence
  is the upper bound on productive clients (the exact one-sided test turned round, after Clopper & Pearson 1934).
* **Recommendation.** Below the line: it goes down past every stratum, from the line on, whose upper bound exceeds the
  tolerable rate. Above: it goes up past the strata, from the line on, whose upper bound does not. A stratum that has
  not been reviewed as planned stops the walk: what was not looked at moves no line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from scipy.stats import hypergeom

from ml_assets.config import ThresholdConfig

DISPOSITION_COLUMNS = ("alert_id", "client_id", "outcome", "decided_at", "decided_by")
"""The input contract's dispositions, so that filled-in outcomes can be delivered like any other file."""

COST_RATIOS = (10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000)
"""Cost of a missed report over the cost of a review: ratios the pack's table shows."""


@dataclass(frozen=True)
class Cut:
    """The line: clients at or above ``probability`` are reviewed; ``clients`` of them in this week."""

    probability: float
    clients: int
    reason: str


def capacity_cut(scores: pl.DataFrame, capacity: int) -> Cut:
    """The line that leaves ``capacity`` clients above it (more where the last ones are equal).

    Parameters
    ----------
    scores : client_id, probability of one week.

    Raises
    ------
    ValueError : the capacity is under 1.
    """
    if capacity < 1:
        raise ValueError(f"A capacity of {capacity} reviews a week leaves nothing to cut: give at least 1.")
    ordered = np.sort(scores["probability"].drop_nulls().to_numpy())[::-1]
    probability = float(ordered[min(capacity, len(ordered)) - 1])
    return Cut(probability, int((ordered >= probability).sum()), f"capacity of {capacity} reviews a week")


def cost_cut(scores: pl.DataFrame, ratio: float) -> Cut:
    """The line at which a review costs what it is expected to save: 1 / ``ratio``.

    Raises
    ------
    ValueError : a missed report costs no more than a review.

    >>> week = pl.DataFrame({"client_id": ["A", "B", "C"], "probability": [0.001, 0.02, 0.3]})
    >>> cost_cut(week, 50).probability, cost_cut(week, 50).clients
    (0.02, 2)
    """
    if ratio <= 1:
        raise ValueError(f"A cost ratio of {ratio:g} says that a review costs as much as a missed report: give over 1.")
    probability = 1.0 / ratio
    clients = int((scores["probability"].drop_nulls().to_numpy() >= probability).sum())
    return Cut(probability, clients, f"a missed report costs {ratio:g} reviews")


def sample_size(population: int, confidence: float, tolerable: float) -> int:
    """Least sample that, if it holds no find, shows with ``confidence`` that fewer than the tolerable are productive.

    >>> sample_size(1000, 0.95, 0.05), sample_size(20, 0.95, 0.05), sample_size(0, 0.95, 0.05)
    (57, 19, 0)
    """
    if population == 0:
        return 0
    productive = max(1, math.ceil(tolerable * population - 1e-9))
    sizes = np.arange(1, population + 1)
    enough = hypergeom.pmf(0, population, productive, sizes) <= 1 - confidence + 1e-12
    return int(sizes[enough.argmax()]) if enough.any() else population


def upper_bound(population: int, reviewed: int, productive: int, confidence: float) -> int:
    """Most productive clients the stratum can hold, with ``confidence``, given the finds among those reviewed.

    >>> upper_bound(1000, 57, 0, 0.95), upper_bound(40, 40, 3, 0.95), upper_bound(40, 0, 0, 0.95)
    (49, 3, 40)
    """
    possible = np.arange(productive, population - (reviewed - productive) + 1)
    kept = possible[hypergeom.cdf(productive, population, possible, reviewed) > 1 - confidence]
    return int(kept.max()) if len(kept) else productive


def build_strata(scores: pl.DataFrame, cut: Cut, config: ThresholdConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bands around the line with their sample sizes.

    Parameters
    ----------
    scores : client_id, probability of one week, one row per client.

    Returns
    -------
    (strata, placed) : one row per stratum, riskiest first (stratum, side, low_probability, high_probability,
        population_count, sample_count, share_ratio), and ``scores`` with the stratum of every client that has one;
        clients under the lowest edge have none.
    """
    edges = [e * cut.probability for e in config.strata_edges]
    names, sides, lows, highs = [], [], [], []
    line = config.strata_edges.index(1.0)
    for number, low in enumerate(edges):
        is_above = number >= line
        names.append(f"above {number - line + 1}" if is_above else f"below {line - number}")
        sides.append("above" if is_above else "below")
        lows.append(low)
        highs.append(edges[number + 1] if number + 1 < len(edges) else None)
    known = scores.filter(pl.col("probability").is_not_null()).sort("client_id")
    at = np.searchsorted(np.array(edges), known["probability"].to_numpy() * (1 + 1e-12), side="right") - 1
    placed = (
        known.with_columns(_at=pl.Series(at, dtype=pl.Int64))
        .filter(pl.col("_at") >= 0)
        .with_columns(stratum=pl.col("_at").replace_strict(dict(enumerate(names)), return_dtype=pl.String))
        .drop("_at")
    )
    counts = dict(placed.group_by("stratum").len().iter_rows())
    population = [counts.get(name, 0) for name in names]
    sizes = [sample_size(n, config.confidence_ratio, config.tolerable_ratio) for n in population]
    strata = pl.DataFrame(
        {
            "stratum": names,
            "side": sides,
            "low_probability": lows,
            "high_probability": highs,
            "population_count": population,
            "sample_count": sizes,
            "share_ratio": [s / n if n else None for s, n in zip(sizes, population, strict=True)],
        },
        schema_overrides={"high_probability": pl.Float64, "share_ratio": pl.Float64},
    ).reverse()
    return strata, placed


def draw_sample(placed: pl.DataFrame, strata: pl.DataFrame, as_of: date, config: ThresholdConfig) -> pl.DataFrame:
    """Draw the planned number of clients from each stratum, the same ones on every call.

    Parameters
    ----------
    placed, strata : of :func:`build_strata`.

    Returns
    -------
    frame : ``placed`` of the clients drawn, with alert_id (as of the alerts mart), side and weight_ratio (clients of
        the stratum that one sampled client stands for); riskiest first.
    """
    parts = []
    for number, row in enumerate(strata.iter_rows(named=True)):
        members = placed.filter(pl.col("stratum") == row["stratum"]).sort("client_id")
        rng = np.random.default_rng([config.seed, as_of.toordinal(), number])
        chosen = np.sort(rng.choice(members.height, size=min(row["sample_count"], members.height), replace=False))
        weight = members.height / len(chosen) if len(chosen) else None
        parts.append(
            members[chosen.tolist()].with_columns(side=pl.lit(row["side"]), weight_ratio=pl.lit(weight, pl.Float64))
        )
    return (
        pl.concat(parts)
        .with_columns(alert_id=pl.format("{}|{}", "client_id", pl.lit(as_of.isoformat())), as_of_date=pl.lit(as_of))
        .sort("probability", "client_id", descending=[True, False])
    )


def outcome_template(sample: pl.DataFrame) -> pl.DataFrame:
    """The empty dispositions of a sample, one row per client: filled in, delivered as ``dispositions_*.csv``."""
    return sample.select(
        "alert_id", "client_id", *(pl.lit(None, pl.String).alias(c) for c in ("outcome", "decided_at", "decided_by"))
    )


@dataclass(frozen=True)
class Finding:
    """What outcomes say: strata with bounds, the recommended line, why, and what it costs in analyst-days a week."""

    strata: pl.DataFrame
    cut: Cut
    reasons: tuple[str, ...]
    analyst_days: float
    analyst_days_before: float


def analyst_days(reviews: float, config: ThresholdConfig) -> float:
    """Days of one analyst that so many reviews take.

    >>> analyst_days(30, ThresholdConfig())
    16.0
    """
    return reviews * config.review_hours / config.day_hours


def judge_outcomes(
    strata: pl.DataFrame,
    sample: pl.DataFrame,
    outcomes: pl.DataFrame,
    scores: pl.DataFrame,
    cut: Cut,
    config: ThresholdConfig,
) -> Finding:
    """Turn reviewed samples into a recommended line.

    Parameters
    ----------
    strata, sample : of :func:`build_strata` and :func:`draw_sample`.
    outcomes : alert_id, outcome (any case) and decided_at (ISO text or null); rows without an outcome, and alerts that
        were not sampled, do not count; the newest decision on an alert does.
    scores : client_id, probability of the week, for the work that follows from the new line.

    Returns
    -------
    Finding : ``strata`` with reviewed_count, productive_count, productive_ratio, upper_ratio, is_complete, verdict.
    """
    decided = (
        outcomes.filter(pl.col("outcome").is_not_null() & (pl.col("outcome").str.strip_chars() != ""))
        .with_columns(
            is_productive=pl.col("outcome").str.strip_chars().str.to_lowercase().is_in(config.productive_outcomes)
        )
        .sort("alert_id", pl.col("decided_at").cast(pl.String), nulls_last=False)
        .unique("alert_id", keep="last", maintain_order=True)
    )
    reviewed = (
        sample.join(decided.select("alert_id", "is_productive"), on="alert_id", how="inner")
        .group_by("stratum")
        .agg(reviewed_count=pl.len().cast(pl.Int64), productive_count=pl.col("is_productive").sum().cast(pl.Int64))
    )
    judged = strata.join(reviewed, on="stratum", how="left", maintain_order="left").with_columns(
        pl.col("reviewed_count", "productive_count").fill_null(0)
    )
    bounds = [
        upper_bound(r["population_count"], r["reviewed_count"], r["productive_count"], config.confidence_ratio)
        for r in judged.iter_rows(named=True)
    ]
    tolerable = [max(1, math.ceil(config.tolerable_ratio * n - 1e-9)) for n in judged["population_count"]]
    judged = (
        judged.with_columns(_bound=pl.Series(bounds, dtype=pl.Int64), _tolerable=pl.Series(tolerable, dtype=pl.Int64))
        .with_columns(
            productive_ratio=pl.when(pl.col("reviewed_count") > 0).then(
                pl.col("productive_count") / pl.col("reviewed_count")
            ),
            upper_ratio=pl.when(pl.col("population_count") > 0).then(pl.col("_bound") / pl.col("population_count")),
            is_complete=pl.col("reviewed_count") >= pl.col("sample_count"),
            _is_low=pl.col("_bound") < pl.col("_tolerable"),
        )
        .with_columns(
            verdict=pl.when(~pl.col("is_complete"))
            .then(pl.lit("not reviewed as planned"))
            .when(pl.col("population_count") == 0)
            .then(pl.lit("empty"))
            .when("_is_low")
            .then(pl.lit("productive share under the tolerable rate"))
            .otherwise(pl.lit("productive share may exceed the tolerable rate"))
        )
    )
    probability, reasons = _walk(judged, cut, config)
    ordered = scores["probability"].drop_nulls().to_numpy()
    clients = int((ordered >= probability * (1 - 1e-12)).sum())
    return Finding(
        judged.drop("_bound", "_tolerable", "_is_low"),
        Cut(probability, clients, "; ".join(reasons)),
        tuple(reasons),
        analyst_days(clients, config),
        analyst_days(cut.clients, config),
    )


def _walk(judged: pl.DataFrame, cut: Cut, config: ThresholdConfig) -> tuple[float, list[str]]:
    """Move the line past strata, from the line on; first down, and only where it did not move, up."""
    rows = judged.to_dicts()
    below = [r for r in rows if r["side"] == "below"]
    above = [r for r in rows if r["side"] == "above"][::-1]
    probability, reasons = cut.probability, []
    for row in below:
        if not row["is_complete"]:
            reasons.append(f"{row['stratum']}: {row['reviewed_count']} of {row['sample_count']} reviewed, line stays")
            break
        if row["_is_low"] or not row["population_count"]:
            reasons.append(f"{row['stratum']}: {row['verdict']}, line stays above it")
            break
        probability = row["low_probability"]
        reasons.append(f"{row['stratum']}: {row['productive_count']} productive, line goes below it")
    if probability == cut.probability:
        # the topmost stratum is open above: the line never leaves all clients below it
        for row in above[:-1]:
            if not row["is_complete"] or not row["_is_low"]:
                reasons.append(f"{row['stratum']}: {row['verdict']}, line stays below it")
                break
            probability = row["high_probability"]
            reasons.append(f"{row['stratum']}: {row['verdict']}, line goes above it")
    return probability, reasons


def cost_table(scores: pl.DataFrame, ratios: Sequence[float], config: ThresholdConfig) -> pl.DataFrame:
    """What each cost ratio asks for: line, reviews, expected reports found and missed, analyst-days.

    Expected numbers are sums of calibrated probabilities; they are as good as the calibration.

    Parameters
    ----------
    scores : client_id, probability of one week.

    Returns
    -------
    frame : one row per ratio.
    """
    p = np.sort(scores["probability"].drop_nulls().to_numpy())
    cumulative = np.concatenate([[0.0], np.cumsum(p)])
    lines = np.array([1.0 / r for r in ratios])
    below = np.searchsorted(p, lines, side="left")
    reviews = len(p) - below
    return pl.DataFrame(
        {
            "cost_ratio": [float(r) for r in ratios],
            "cut_probability": lines,
            "reviews_count": reviews,
            "expected_found_count": cumulative[-1] - cumulative[below],
            "expected_missed_count": cumulative[below],
            "analyst_days": [analyst_days(float(n), config) for n in reviews],
        }
    )


def cost_curve(scores: pl.DataFrame, ratio: float) -> pl.DataFrame:
    """Expected cost of a week, in reviews, by number of clients reviewed: reviews + ratio x expected reports missed.

    Returns
    -------
    frame : reviews_count 0..clients, expected_cost_reviews. Its least value lies at the cut 1 / ratio.
    """
    p = np.sort(scores["probability"].drop_nulls().to_numpy())[::-1]
    found = np.concatenate([[0.0], np.cumsum(p)])
    reviews = np.arange(len(p) + 1)
    return pl.DataFrame({"reviews_count": reviews, "expected_cost_reviews": reviews + ratio * (found[-1] - found)})
