"""The training support: which values of which features a model has seen, and how much of a week lies outside.

Rule of this file: a value is judged by its own feature's training values only, and nothing is repaired. A model
answers to any input; outside what it was trained on the answer means nothing, and only the input shows it.

A value is outside where it lies under ``low - widening * (high - low)`` or over ``high + widening * (high - low)``,
low and high being the outer quantiles of the training weeks, or where it is null though training values never were.
A week is outside where too many of its values are, or where too many clients are: a currency few clients use moves
the second figure and hardly the first. A handful of unusual clients is no changed feed, however small the bank: the
first figure leaves that many clients with the most values outside away, the second asks for more of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml_assets.config import GovernanceConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.models.matrix import GRAIN
from ml_assets.models.splits import SplitPlan
from ml_assets.models.store import Files, pack_json, unpack_json

SUPPORT_FILE = "support.json"

INPUT_SUPPORT = TableContract(
    "scores",
    "input_support",
    "One row per as-of date: how far its inputs lie from what the scoring model was trained on, and how old it is.",
    ("as_of_date",),
    (
        Column("as_of_date", "date", "Monday the week's scores look back from."),
        Column("model_id", "text", "Model that scores the week."),
        Column(
            "model_age_days",
            "integer",
            "Days from the last week whose labels the model learned from to the as-of date; negative before it.",
            "days",
            null_rule="the model learned from no week",
        ),
        Column("values_count", "integer", "Values of features the model uses: clients times features.", "count"),
        Column(
            "outside_ratio",
            "number",
            "Share of values outside the training support, not counting those of the few clients with most of them.",
            "ratio",
            minimum=0,
            maximum=1,
        ),
        Column(
            "missing_ratio",
            "number",
            "Share of values null though never null in training, of all clients.",
            "ratio",
            minimum=0,
            maximum=1,
        ),
        Column(
            "clients_outside_ratio",
            "number",
            "Share of clients too many of whose values are outside.",
            "ratio",
            minimum=0,
            maximum=1,
        ),
        Column("clients_outside_count", "integer", "Number of those clients.", "count", minimum=0),
        Column("clients_touched_count", "integer", "Clients with any value outside.", "count", minimum=0),
        Column("worst_feature", "text", "Feature with the largest share outside.", null_rule="nothing is outside"),
        Column(
            "worst_feature_ratio",
            "number",
            "Share of clients whose value of that feature is outside.",
            "ratio",
            null_rule="nothing is outside",
            minimum=0,
            maximum=1,
        ),
        Column("problems", "text", "Why the model may not score the week.", null_rule="it may"),
    ),
)
"""Contract of ``scores.input_support``."""


@dataclass(frozen=True)
class Range:
    """What training values of one feature were: outer quantiles (None where all were null), and ever null or not."""

    low: float | None
    high: float | None
    is_ever_null: bool


@dataclass(frozen=True)
class Support:
    """Ranges by pillar key and feature, for the features a model uses."""

    ranges: dict[str, dict[str, Range]]

    def files(self) -> Files:
        """The support as a named file."""
        state = {
            pillar: {name: [r.low, r.high, r.is_ever_null] for name, r in ranges.items()}
            for pillar, ranges in self.ranges.items()
        }
        return {SUPPORT_FILE: pack_json(state)}

    @classmethod
    def from_files(cls, files: Files) -> Support | None:
        """Inverse of :meth:`files`; None where the model was saved without one."""
        if SUPPORT_FILE not in files:
            return None
        state = unpack_json(files[SUPPORT_FILE])
        return cls({p: {name: Range(*parts) for name, parts in ranges.items()} for p, ranges in state.items()})


def support_weeks(plan: SplitPlan, config: GovernanceConfig) -> list[date]:
    """Training weeks whose values make the support: evenly spaced, first and last among them."""
    weeks = plan.train_weeks
    if not weeks:
        return []
    at = np.linspace(0, len(weeks) - 1, min(config.support_weeks, len(weeks)))
    return [weeks[i] for i in sorted({round(float(a)) for a in at})]


def _floats(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    # nulls become NaN on the way out
    return frame[name].cast(pl.Float64).to_numpy().astype(np.float64)


def fit_support(frame: pl.DataFrame, features: Sequence[str], config: GovernanceConfig) -> dict[str, Range]:
    """Ranges of one pillar's features.

    Parameters
    ----------
    frame : feature rows of the weeks of :func:`support_weeks`.
    features : names a model uses; those that are no column of ``frame`` (scores of other models) are left out.
    """
    ranges = {}
    for name in features:
        if name not in frame.columns:
            continue
        values = _floats(frame, name)
        known = values[~np.isnan(values)]
        tails = [config.support_tail_ratio, 1 - config.support_tail_ratio]
        low, high = np.quantile(known, tails, method="inverted_cdf") if len(known) else (None, None)
        ranges[name] = Range(
            None if low is None else float(low), None if high is None else float(high), len(known) < len(values)
        )
    return ranges


def is_outside(values: NDArray[np.float64], seen: Range, widening: float) -> NDArray[np.bool_]:
    """True where a value (NaN is null) is outside; a feature that was always null in training has no outside."""
    missing = np.isnan(values)
    if seen.low is None or seen.high is None:
        return np.zeros(len(values), dtype=bool)
    margin = widening * (seen.high - seen.low)
    beyond = (values < seen.low - margin) | (values > seen.high + margin)
    return beyond | missing if not seen.is_ever_null else beyond


def measure_week(
    support: Support, features: Mapping[str, pl.DataFrame], as_of: date, config: GovernanceConfig
) -> dict[str, object]:
    """How much of one week lies outside.

    Parameters
    ----------
    features : pillar key -> feature rows of the week, one per client, all of the same clients.

    Returns
    -------
    the measured columns of :data:`INPUT_SUPPORT`: all but model, age and problems.

    Raises
    ------
    ValueError : the pillars do not hold the same clients.
    """
    first: pl.Series | None = None
    outside = np.zeros(0, dtype=np.int64)
    used = missing = 0
    worst: tuple[float, str | None] = (0.0, None)
    for pillar, ranges in support.ranges.items():
        rows = features[pillar].filter(pl.col("as_of_date") == as_of).sort(list(GRAIN))
        if first is None:
            first, outside = rows["client_id"], np.zeros(rows.height, dtype=np.int64)
        elif not rows["client_id"].equals(first):
            raise ValueError(f"{pillar} has other clients than the other pillars on {as_of}: rebuild the week.")
        for name, seen in ranges.items():
            values = _floats(rows, name)
            flagged = is_outside(values, seen, config.support_widening)
            outside += flagged
            used += 1
            missing += int((flagged & np.isnan(values)).sum())
            share = float(flagged.mean()) if len(flagged) else 0.0
            if share > worst[0]:
                worst = (share, name)
    count = used * len(outside)
    # two clients without any history are half outside each, and in a bank of eighty that is 1 % of all values
    usual = np.sort(outside)[: max(0, len(outside) - config.support_minimum_clients)]
    far = outside > config.support_client_ratio * used
    return {
        "as_of_date": as_of,
        "values_count": count,
        "outside_ratio": int(usual.sum()) / count if count else 0.0,
        "missing_ratio": missing / count if count else 0.0,
        "clients_outside_ratio": float(far.mean()) if count else 0.0,
        "clients_outside_count": int(far.sum()),
        "clients_touched_count": int((outside > 0).sum()),
        "worst_feature": worst[1],
        "worst_feature_ratio": worst[0] if worst[1] else None,
    }


def learned_until(plan: SplitPlan) -> date | None:
    """The last week whose labels a model under ``plan`` learned from: validation chooses and calibrates."""
    weeks = plan.validation_weeks or plan.train_weeks
    return weeks[-1] if weeks else None


def model_age_days(plan: SplitPlan, as_of: date) -> int | None:
    """Age of a model in the data's own time, in days; negative for weeks before the end of its training."""
    last = learned_until(plan)
    return None if last is None else (as_of - last).days


def judge_week(
    week: Mapping[str, object], plan: SplitPlan, model_id: str, config: GovernanceConfig
) -> dict[str, object]:
    """Put the model, its age and the reasons not to score beside a measured week.

    Parameters
    ----------
    week : of :func:`measure_week`.

    Returns
    -------
    one row of :data:`INPUT_SUPPORT`.
    """
    as_of = week["as_of_date"]
    assert isinstance(as_of, date)
    age = model_age_days(plan, as_of)
    problems = []
    if age is not None and age > config.model_age_days:
        problems.append(
            f"model {model_id} is too old: its labels end {learned_until(plan)}, {age} days before {as_of}, and "
            f"{config.model_age_days} are allowed. Retrain, or promote a newer model (bcrs promote)."
        )
    values, clients = float(str(week["outside_ratio"])), float(str(week["clients_outside_ratio"]))
    where = f"worst is {week['worst_feature']}; look at the newest delivery (units, currencies, missing columns)"
    least = config.support_minimum_clients
    if values > config.support_values_ratio:
        problems.append(
            f"{values:.2%} of the values of {as_of} lie outside what model {model_id} was trained on, "
            f"{config.support_values_ratio:.2%} are allowed: {where}, or retrain if business has changed."
        )
    if clients > config.support_clients_ratio and int(str(week["clients_outside_count"])) >= least:
        problems.append(
            f"{clients:.2%} of the clients of {as_of} have over {config.support_client_ratio:.0%} of their values "
            f"outside what model {model_id} was trained on, {config.support_clients_ratio:.2%} are allowed: {where}, "
            "or retrain if business has changed."
        )
    return {**week, "model_id": model_id, "model_age_days": age, "problems": " ".join(problems) or None}
