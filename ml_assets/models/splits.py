"""Which as-of weeks train, validate and test, and which rows may be used at all.

Rule of this file: splits are cut by time only. Between two splits as many whole as-of weeks are left out as the
embargo is long, so the label window of the last week before the gap ends before the first week after it.
A row is eligible if its label is complete and its client had no STR before the as-of date.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from ml_assets.config import CalendarConfig
from ml_assets.models.calendar import FEWEST_MODELLING_WEEKS, CalendarPlan

SplitName = Literal["train", "embargo", "validation", "test", "live"]

LABEL_COLUMNS = ("client_id", "as_of_date", "is_str_within_horizon", "has_prior_str", "is_label_complete")
"""Columns of ``intermediate.int_client_labels`` that models use."""


class SplitPlan(BaseModel):
    """Weeks by split, JSON-serialisable.

    ``rows`` and ``positives`` count eligible rows per split (train, validation, test). ``is_supervised`` is False
    where labels cannot be used (one class only, too few weeks); ``reasons`` says why, in words.
    """

    model_config = ConfigDict(frozen=True)

    train_weeks: tuple[date, ...]
    embargo_weeks: tuple[date, ...]
    validation_weeks: tuple[date, ...]
    test_weeks: tuple[date, ...]
    live_weeks: tuple[date, ...]
    horizon_days: int
    embargo_days: int
    rows: dict[str, int]
    positives: dict[str, int]
    is_supervised: bool
    reasons: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_temporal(self) -> Self:
        everything = [
            *self.train_weeks,
            *self.embargo_weeks,
            *self.validation_weeks,
            *self.test_weeks,
            *self.live_weeks,
        ]
        if len(everything) != len(set(everything)):
            raise ValueError("A week belongs to two splits.")
        ordered = [w for w in (self.train_weeks, self.validation_weeks, self.test_weeks) if w]
        for earlier, later in pairwise(ordered):
            gap = (min(later) - max(earlier)).days
            if gap < max(self.embargo_days, self.horizon_days):
                raise ValueError(
                    f"{gap} days between splits at {max(earlier)} and {min(later)}; the embargo asks for "
                    f"{self.embargo_days}, the label horizon for {self.horizon_days}."
                )
        return self

    def fit_weeks(self, stride: int = 1) -> tuple[date, ...]:
        """Every ``stride``-th training week, counted back from the newest."""
        return self.train_weeks[::-1][::stride][::-1]

    @property
    def passed_weeks(self) -> tuple[date, ...]:
        """Embargo weeks before the last validation week: scored for the memory of later weeks, never measured."""
        last = max(self.validation_weeks, default=None)
        return tuple(w for w in self.embargo_weeks if last is not None and w < last)

    def has_both_classes(self, split: str) -> bool:
        """True where the split's eligible rows hold positives and negatives."""
        return 0 < self.positives.get(split, 0) < self.rows.get(split, 0)

    def frame(self) -> pl.DataFrame:
        """One row per as-of date: as_of_date, split; sorted by date."""
        pairs: list[tuple[date, str]] = []
        for name, weeks in (
            ("train", self.train_weeks),
            ("embargo", self.embargo_weeks),
            ("validation", self.validation_weeks),
            ("test", self.test_weeks),
            ("live", self.live_weeks),
        ):
            pairs += [(w, name) for w in weeks]
        return pl.DataFrame(pairs, schema={"as_of_date": pl.Date, "split": pl.String}, orient="row").sort("as_of_date")


def is_eligible() -> pl.Expr:
    """Expression on a label frame: True where a row may train or be measured."""
    return pl.col("is_label_complete") & ~pl.col("has_prior_str")


def eligible_labels(labels: pl.DataFrame, weeks: Iterable[date]) -> pl.DataFrame:
    """Eligible rows of ``labels`` in ``weeks``.

    Parameters
    ----------
    labels : columns :data:`LABEL_COLUMNS`, one row per client and as-of date.

    Returns
    -------
    frame : client_id, as_of_date, is_positive; sorted by client and date.
    """
    return (
        labels.select(LABEL_COLUMNS)
        .filter(pl.col("as_of_date").is_in(list(weeks)) & is_eligible())
        .select("client_id", "as_of_date", is_positive=pl.col("is_str_within_horizon").fill_null(False))
        .sort("client_id", "as_of_date")
    )


def plan_splits(labels: pl.DataFrame, calendar: CalendarPlan, config: CalendarConfig) -> SplitPlan:
    """Cut the labelled weeks into train, validation and test with embargoes between.

    The shares of the configuration apply to the labelled weeks less the two embargoes. If a split would hold one
    class only, the nearest other cut (fewest weeks moved, then the longer training part) in which all three hold
    both is taken; where none exists the nominal cut stands and the reason is recorded.

    Parameters
    ----------
    labels : columns :data:`LABEL_COLUMNS`, one row per client and as-of date.
    calendar : the data set's calendar.

    Returns
    -------
    SplitPlan : with empty validation and test weeks where the calendar is not trainable.
    """
    labelled = calendar.labelled_dates
    live = tuple(d for d in calendar.as_of_dates if d not in set(labelled))
    counts = (
        eligible_labels(labels, labelled)
        .group_by("as_of_date")
        .agg(rows=pl.len(), positives=pl.col("is_positive").sum())
        .sort("as_of_date")
    )
    rows = dict(zip(counts["as_of_date"], counts["rows"], strict=True))
    positives = dict(zip(counts["as_of_date"], counts["positives"], strict=True))

    def tally(weeks: tuple[date, ...]) -> tuple[int, int]:
        return sum(rows.get(w, 0) for w in weeks), sum(positives.get(w, 0) for w in weeks)

    def has_both(weeks: tuple[date, ...]) -> bool:
        n, p = tally(weeks)
        return 0 < p < n

    if not calendar.is_trainable:
        train = labelled or calendar.as_of_dates
        n, p = tally(train)
        return SplitPlan(
            train_weeks=train,
            embargo_weeks=(),
            validation_weeks=(),
            test_weeks=(),
            live_weeks=live if labelled else (),
            horizon_days=calendar.horizon_days,
            embargo_days=calendar.embargo_days,
            rows={"train": n, "validation": 0, "test": 0},
            positives={"train": p, "validation": 0, "test": 0},
            is_supervised=False,
            reasons=(
                f"{len(labelled)} labelled weeks, less two embargoes of {calendar.embargo_weeks}, leave fewer than "
                f"{FEWEST_MODELLING_WEEKS} to train, validate and test: labels are not used.",
            ),
        )

    gap, total = calendar.embargo_weeks, calendar.modelling_weeks
    test = max(1, round(total * config.test_ratio))
    validation = max(1, round(total * config.validation_ratio))
    test, validation = min(test, total - 2), min(validation, total - 1 - min(test, total - 2))

    def cut(n_validation: int, n_test: int) -> tuple[tuple[date, ...], ...]:
        n_train = total - n_validation - n_test
        a, b = n_train, n_train + gap
        c, d = b + n_validation, b + n_validation + gap
        return labelled[:a], labelled[b:c], labelled[d:], labelled[a:b] + labelled[c:d]

    options = sorted(
        ((v, t) for v in range(1, total - 1) for t in range(1, total - v)),
        key=lambda o: (abs(o[0] - validation) + abs(o[1] - test), o[0] + o[1], o),
    )
    chosen = next((o for o in options if all(has_both(w) for w in cut(*o)[:3])), None)
    reasons: list[str] = []
    parts = cut(*(chosen or (validation, test)))
    if chosen and chosen != (validation, test):
        reasons.append(
            f"Validation has {chosen[0]} and test {chosen[1]} weeks instead of {validation} and {test}: with those, "
            "a split would hold one class only."
        )
    if chosen is None:
        reasons += [
            f"The {name} weeks hold one class only ({tally(weeks)[1]} positives in {tally(weeks)[0]} eligible rows)."
            for name, weeks in zip(("train", "validation", "test"), parts[:3], strict=True)
            if not has_both(weeks)
        ]
    is_supervised = has_both(parts[0])
    if not is_supervised:
        reasons.append(
            "Without both classes in training the supervised half is unavailable; unsupervised alone is used."
        )
    return SplitPlan(
        train_weeks=parts[0],
        embargo_weeks=parts[3],
        validation_weeks=parts[1],
        test_weeks=parts[2],
        live_weeks=live,
        horizon_days=calendar.horizon_days,
        embargo_days=calendar.embargo_days,
        rows={n: tally(w)[0] for n, w in zip(("train", "validation", "test"), parts[:3], strict=True)},
        positives={n: tally(w)[1] for n, w in zip(("train", "validation", "test"), parts[:3], strict=True)},
        is_supervised=is_supervised,
        reasons=tuple(reasons),
    )
