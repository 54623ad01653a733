"""A policy on segments and bands, simulated on weeks it was not made on.

Rule of this file: decides by what is known in the week (segment, its grade from training weeks, band, unusual or not)
and counts afterwards what the labels say. Choosing a policy is a person's work: the curve shows what each choice
would have cost.

Shares of clients are over client-weeks, because reviews are done weekly. STRs are counted once per client and split:
one goes *unseen* where every week of the split that led up to it was straight-through. Shares of client-weeks carry a
95 % bootstrap resampled by client, shares of STRs (independent clients, few) Wilson's interval, which stays honest at
none out of twenty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.config import PolicyConfig, SegmentConfig
from ml_assets.segmentation.personas import wilson

TREATMENTS = ("straight_through", "standard_review", "enhanced_review")

CURVE_SHARES = tuple(np.round(np.concatenate([np.arange(0.0, 0.90, 0.05), np.arange(0.90, 1.0001, 0.01)]), 2).tolist())
"""Shares automated at which the curve is read: denser where banks choose."""


def decide(rows: pl.DataFrame, grades: Mapping[str, str], config: PolicyConfig) -> pl.DataFrame:
    """What happens to every client in every week.

    Parameters
    ----------
    rows : client_id, as_of_date, segment_id, band, is_unusual. grades : segment id -> low, ordinary or elevated;
        a segment without grade is ordinary.

    Returns
    -------
    frame : ``rows`` with ``treatment``. A person's decision for a segment wins over its grade's; an unusual client at
        LOW or above is never straight-through where ``reviews_unusual`` is set. A client without band is reviewed:
        not knowing is no reason to let through.
    """
    segments = rows["segment_id"].unique().to_list()
    table = [
        (s, band, treatment)
        for s in sorted(segments)
        for band, treatment in (config.by_grade[grades.get(s, "ordinary")] | config.by_segment.get(s, {})).items()  # type: ignore[index]
    ]
    schema = {"segment_id": pl.String, "band": pl.String, "treatment": pl.String}
    decided = rows.join(
        pl.DataFrame(table, schema=schema, orient="row"), on=["segment_id", "band"], how="left", maintain_order="left"
    )
    treatment = pl.col("treatment").fill_null("standard_review")
    if config.reviews_unusual:
        needs_person = pl.col("is_unusual") & (pl.col("band") != "MINIMAL") & (treatment == "straight_through")
        treatment = pl.when(needs_person).then(pl.lit("standard_review")).otherwise(treatment)
    return decided.with_columns(treatment=treatment)


def shrunken_lift(risk: pl.DataFrame, prior_clients: float) -> dict[str, float]:
    """STR rate of every segment over the overall rate, in training weeks, shrunk towards 1 by ``prior_clients``.

    >>> rows = {"split": ["train"] * 2, "grouping": ["all", "segment"], "group": ["all", "S01"]}
    >>> shrunken_lift(pl.DataFrame(rows | {"clients_count": [1000, 200], "str_count": [10, 6]}), 200.0)
    {'S01': 2.0}
    """
    train = risk.filter(pl.col("split") == "train")
    overall = train.filter(pl.col("grouping") == "all")
    if not overall.height or not overall["str_count"][0]:
        return {}
    rate = overall["str_count"][0] / overall["clients_count"][0]
    return {
        r["group"]: (r["str_count"] + prior_clients * rate) / (r["clients_count"] + prior_clients) / rate
        for r in train.filter(pl.col("grouping") == "segment").to_dicts()
    }


def risk_order(rows: pl.DataFrame, lift: Mapping[str, float]) -> NDArray[np.float64]:
    """Odds of the B-CRS times the segment's lift: what the curve with segments sorts by; nulls come last (riskiest)."""
    p = rows["bcrs_probability_ratio"].cast(pl.Float64).to_numpy().astype(np.float64)
    factor = rows["segment_id"].replace_strict(dict(lift), default=1.0, return_dtype=pl.Float64).to_numpy()
    odds = p / np.maximum(1.0 - p, 1e-12) * factor
    return np.where(np.isnan(odds), np.inf, odds)


def measurable(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Rows whose outcome is known and not already reported, with ``is_positive``; sorted by client and week."""
    return (
        rows.join(
            labels.filter(pl.col("is_label_complete") & ~pl.col("has_prior_str")).select(
                "client_id", "as_of_date", is_positive=pl.col("is_str_within_horizon").fill_null(False)
            ),
            on=["client_id", "as_of_date"],
        )
        .sort("client_id", "as_of_date")
        .with_columns(client=pl.col("client_id").rle_id())
    )


def _weights(clients: int, samples: int, seed: int) -> NDArray[np.float64]:
    """How often every client is drawn; the first row is the data as it is."""
    rng = np.random.default_rng(seed)
    drawn = (
        rng.multinomial(clients, np.full(clients, 1.0 / clients), size=samples) if clients else np.zeros((samples, 0))
    )
    weights: NDArray[np.float64] = np.vstack([np.ones((1, clients)), drawn]).astype(np.float64)
    return weights


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Value and 95 % interval of a ratio of bootstrap sums (first row: the data); None where the data has no whole."""
    if not whole[0]:
        return None, None, None
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = part[1:] / whole[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return float(part[0] / whole[0]), None, None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(part[0] / whole[0]), float(low), float(high)


class _Outcomes:
    """Per-client counts of one split, ready for weighting."""

    def __init__(self, rows: pl.DataFrame, samples: int, seed: int) -> None:
        self.client = rows["client"].rle_id().to_numpy().astype(np.int64)
        self.clients = int(self.client.max(initial=-1) + 1)
        self.is_positive = rows["is_positive"].to_numpy()
        self.weight = _weights(self.clients, samples, seed)
        self.rows = self._sum(np.ones(len(self.client)))
        self.has_str = self._sum(self.is_positive.astype(float)) > 0

    def _sum(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.client, weights=value, minlength=self.clients).astype(np.float64)

    def share(self, chosen: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
        """Share of client-weeks that are ``chosen``."""
        return _share(self.weight @ self._sum(chosen.astype(float)), self.weight @ self.rows)

    def all_in(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Clients with an STR all of whose positive weeks are ``chosen``."""
        return self.has_str & (self._sum((self.is_positive & ~chosen).astype(float)) == 0)

    def any_in(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Clients with an STR one of whose positive weeks is ``chosen``."""
        return self._sum((self.is_positive & chosen).astype(float)) > 0

    def str_share(self, clients: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
        """Share of the STRs that are those of ``clients``."""
        hits, total = int(clients.sum()), int(self.has_str.sum())
        return (hits / total, *wilson(hits, total)) if total else (None, None, None)


RESULT_SCHEMA = {
    "policy": pl.String,
    "split": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "count": pl.Int64,
}
CURVE_SCHEMA = {
    "ordering": pl.String,
    "split": pl.String,
    "automated_ratio": pl.Float64,
    "unseen_ratio": pl.Float64,
    "unseen_low_ratio": pl.Float64,
    "unseen_high_ratio": pl.Float64,
    "unseen_count": pl.Int64,
    "str_count": pl.Int64,
}


def _measure(outcomes: _Outcomes, treatment: NDArray[np.str_], policy: str, split: str) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for t in TREATMENTS:
        chosen = treatment == t
        out.append((policy, split, f"{t}_ratio", *outcomes.share(chosen), int(chosen.sum())))
    unseen = outcomes.all_in(treatment == "straight_through")
    out.append((policy, split, "strs_unseen_ratio", *outcomes.str_share(unseen), int(unseen.sum())))
    # the strictest treatment a client had before its report
    enhanced = outcomes.any_in(treatment == "enhanced_review")
    standard = outcomes.has_str & ~unseen & ~enhanced
    out.append((policy, split, "strs_standard_ratio", *outcomes.str_share(standard), int(standard.sum())))
    out.append((policy, split, "strs_enhanced_ratio", *outcomes.str_share(enhanced), int(enhanced.sum())))
    return out


def simulate(
    rows: pl.DataFrame,
    labels: pl.DataFrame,
    grades: Mapping[str, str],
    lift: Mapping[str, float],
    splits: Sequence[str],
    config: SegmentConfig,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Simulate the configured policy and every other share of automation on held-out weeks.

    Parameters
    ----------
    rows : client_id, as_of_date, split, segment_id, band, is_unusual, bcrs_probability_ratio.
    labels : client_id, as_of_date, is_str_within_horizon, has_prior_str, is_label_complete.
    grades, lift : of the segments, from training weeks.
    splits : held-out parts to measure, each on its own.

    Returns
    -------
    results : columns :data:`RESULT_SCHEMA`; policies *configured* and *published_split* (safest 80 % automated,
        riskiest 13 % to a person, the rest standard, by B-CRS alone); ratios are null where a split has no
        STR. curve : columns :data:`CURVE_SCHEMA`; orderings *bcrs* and *bcrs_and_segment*.
    """
    decided = decide(rows, grades, config.policy)
    results: list[tuple[object, ...]] = []
    curve: list[tuple[object, ...]] = []
    for split in splits:
        part = measurable(decided.filter(pl.col("split") == split), labels)
        if not part.height:
            continue
        outcomes = _Outcomes(part, config.bootstrap_samples, config.seed)
        results += _measure(outcomes, part["treatment"].to_numpy().astype(str), "configured", split)
        for ordering, used in (("bcrs", {}), ("bcrs_and_segment", dict(lift))):
            order = np.argsort(risk_order(part, used), kind="stable")
            place = np.empty(len(order))
            place[order] = (np.arange(len(order)) + 0.5) / len(order)
            for share in CURVE_SHARES:
                unseen = outcomes.all_in(place <= share)
                counts = (int(unseen.sum()), int(outcomes.has_str.sum()))
                curve.append((ordering, split, share, *outcomes.str_share(unseen), *counts))
            if ordering == "bcrs":
                p = config.policy
                treatment = np.where(
                    place <= p.published_automated_ratio,
                    TREATMENTS[0],
                    np.where(place > 1 - p.published_manual_ratio, TREATMENTS[2], TREATMENTS[1]),
                )
                results += _measure(outcomes, treatment, "published_split", split)
    return (
        pl.DataFrame(results, schema=RESULT_SCHEMA, orient="row").sort("policy", "split", "measure"),
        pl.DataFrame(curve, schema=CURVE_SCHEMA, orient="row").sort("ordering", "split", "automated_ratio"),
    )


def policy_cells(rows: pl.DataFrame, grades: Mapping[str, str], config: PolicyConfig) -> pl.DataFrame:
    """The policy as a table people read: treatment of every segment and band, and the client-weeks it falls on.

    Returns
    -------
    frame : segment_id, grade, band, treatment (of usual clients), client_weeks_count; every band of every segment.
    """
    segments = sorted({*rows["segment_id"].unique().to_list(), *grades})
    table = [
        (s, grades.get(s, "ordinary"), band, treatment)
        for s in segments
        for band, treatment in (config.by_grade[grades.get(s, "ordinary")] | config.by_segment.get(s, {})).items()  # type: ignore[index]
    ]
    schema = {"segment_id": pl.String, "grade": pl.String, "band": pl.String, "treatment": pl.String}
    counts = rows.group_by("segment_id", "band").len("client_weeks_count")
    return (
        pl.DataFrame(table, schema=schema, orient="row")
        .join(counts, on=["segment_id", "band"], how="left", maintain_order="left")
        .with_columns(pl.col("client_weeks_count").fill_null(0).cast(pl.Int64))
    )
