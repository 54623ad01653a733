"""The weekly calendar of a data set: as-of dates, label completeness, and what gives way when history is short.

Rule of this file: it decides dates only, from three dates and the configuration; it sees no rows.

An as-of date is a Monday 00:00 UTC and sees rows strictly before itself, so the newest one is the last Monday
not later than the day after the newest transaction. Its label covers ``[D, D + horizon)`` and is complete once
``D + horizon`` is not later than the day after the last day for which STRs are known.

The shrinking rule, in this order:

1. The nominal warm-up, horizon and embargo are kept if the labelled weeks, less the two embargoes, are at least
   a third of the weeks there are (12 are always enough, fewer than 3 never).
2. Otherwise the horizon loses a week at a time, down to one; the embargo equals it; the warm-up shrinks in the
   same proportion, in whole weeks, down to one.
3. At a horizon of one week the warm-up loses a week at a time.
4. If nothing reaches the third, the first combination that leaves three modelling weeks is taken.
5. If even that is out of reach, the smallest combination stands and the models are fitted without labels.

Windows keep their nominal names; in a short history they see only the days there are.
"""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil

import polars as pl
from pydantic import BaseModel, ConfigDict

from ml_assets.config import CalendarConfig

WEEK = 7
ENOUGH_MODELLING_WEEKS = 12
"""Modelling weeks that always suffice: about seven to train, two to validate, three to test."""
FEWEST_MODELLING_WEEKS = 3
"""One week each to train, validate and test."""


class AsOfWeek(BaseModel):
    """One as-of date: its place in the calendar and whether its label can no longer change."""

    model_config = ConfigDict(frozen=True)

    as_of_date: date
    week_index: int
    is_label_complete: bool


class CalendarPlan(BaseModel):
    """The calendar of one data set, JSON-serialisable.

    ``horizon_days``, ``embargo_days`` and ``warmup_days`` are the effective ones; ``notes`` says in words what
    was shrunk and why, empty where nothing was.
    """

    model_config = ConfigDict(frozen=True)

    first_date: date
    last_date: date
    label_end_date: date
    horizon_days: int
    embargo_days: int
    warmup_days: int
    weeks: tuple[AsOfWeek, ...]
    notes: tuple[str, ...] = ()

    @property
    def as_of_dates(self) -> tuple[date, ...]:
        """All as-of dates, oldest first."""
        return tuple(w.as_of_date for w in self.weeks)

    @property
    def labelled_dates(self) -> tuple[date, ...]:
        """As-of dates with a complete label, oldest first."""
        return tuple(w.as_of_date for w in self.weeks if w.is_label_complete)

    @property
    def embargo_weeks(self) -> int:
        """Whole as-of weeks left out between two splits."""
        return ceil(self.embargo_days / WEEK)

    @property
    def modelling_weeks(self) -> int:
        """Labelled weeks that remain for training, validation and test once both embargoes are taken out."""
        return len(self.labelled_dates) - 2 * self.embargo_weeks

    @property
    def is_trainable(self) -> bool:
        """True where at least one week each is left to train, validate and test."""
        return self.modelling_weeks >= FEWEST_MODELLING_WEEKS

    def frame(self) -> pl.DataFrame:
        """One row per as-of date: as_of_date, week_index, is_label_complete (``intermediate.as_of_weeks``)."""
        return pl.DataFrame(
            {
                "as_of_date": [w.as_of_date for w in self.weeks],
                "week_index": [w.week_index for w in self.weeks],
                "is_label_complete": [w.is_label_complete for w in self.weeks],
            },
            schema={"as_of_date": pl.Date, "week_index": pl.Int32, "is_label_complete": pl.Boolean},
        )

    def plan_frame(self) -> pl.DataFrame:
        """One row: dates, effective days and notes joined by a blank (``intermediate.calendar_plan``)."""
        return pl.DataFrame(
            {
                "first_date": [self.first_date],
                "last_date": [self.last_date],
                "label_end_date": [self.label_end_date],
                "horizon_days": [self.horizon_days],
                "embargo_days": [self.embargo_days],
                "warmup_days": [self.warmup_days],
                "notes": [" ".join(self.notes)],
            },
            schema={
                "first_date": pl.Date,
                "last_date": pl.Date,
                "label_end_date": pl.Date,
                "horizon_days": pl.Int32,
                "embargo_days": pl.Int32,
                "warmup_days": pl.Int32,
                "notes": pl.String,
            },
        )


def _monday_on_or_after(day: date) -> date:
    return day + timedelta(days=-day.weekday() % WEEK)


def _monday_on_or_before(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _plan(
    first_date: date,
    last_date: date,
    label_end_date: date,
    days: tuple[int, int, int],
    max_weeks: int,
) -> CalendarPlan:
    horizon, embargo, warmup = days
    newest = _monday_on_or_before(last_date + timedelta(days=1))
    oldest = _monday_on_or_after(first_date + timedelta(days=warmup))
    count = max(0, (newest - oldest).days // WEEK + 1) if newest >= oldest else 0
    dates = [newest - timedelta(days=WEEK * i) for i in range(min(count, max_weeks))][::-1]
    complete_until = label_end_date + timedelta(days=1 - horizon)
    return CalendarPlan(
        first_date=first_date,
        last_date=last_date,
        label_end_date=label_end_date,
        horizon_days=horizon,
        embargo_days=embargo,
        warmup_days=warmup,
        weeks=tuple(
            AsOfWeek(as_of_date=d, week_index=i, is_label_complete=d <= complete_until) for i, d in enumerate(dates)
        ),
    )


def _candidates(config: CalendarConfig) -> list[tuple[int, int, int]]:
    """(horizon, embargo, warm-up) in days, in the order the shrinking rule tries them; the nominal one first."""
    nominal = (config.horizon_days, config.embargo_days, config.warmup_days)
    steps = [nominal]
    nominal_weeks = config.horizon_days / WEEK
    warmup = config.warmup_days
    for weeks in range(ceil(nominal_weeks) - 1, 0, -1):
        warmup = max(WEEK, int(config.warmup_days / WEEK * weeks / nominal_weeks) * WEEK)
        steps.append((weeks * WEEK, weeks * WEEK, warmup))
    smallest = min(WEEK, config.horizon_days) if config.horizon_days < WEEK else WEEK
    steps.extend(
        (smallest, max(smallest, WEEK), days) for days in range((warmup - 1) // WEEK * WEEK, 0, -WEEK) if days < warmup
    )
    return steps


def plan_calendar(first_date: date, last_date: date, label_end_date: date, config: CalendarConfig) -> CalendarPlan:
    """Lay the as-of weeks over a history, shrinking warm-up, horizon and embargo where it is short.

    Parameters
    ----------
    first_date, last_date : days of the oldest and the newest transaction.
    label_end_date : last day for which STRs are known.
    config : nominal days and the number of weeks to keep, counted back from the newest.

    Returns
    -------
    CalendarPlan : at least one week. With less than about seven weeks of history it may not be trainable
        (``is_trainable``); that is said in its notes and is no error.

    Raises
    ------
    ValueError : ``last_date`` before ``first_date``.

    >>> plan = plan_calendar(date(2024, 1, 1), date(2025, 6, 29), date(2025, 6, 29), CalendarConfig())
    >>> plan.as_of_dates[-1], len(plan.labelled_dates), plan.horizon_days, plan.notes
    (datetime.date(2025, 6, 30), 48, 28, ())
    >>> plan_calendar(date(2024, 1, 1), date(2024, 2, 11), date(2024, 2, 11), CalendarConfig()).modelling_weeks
    3
    >>> plan_calendar(date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 1), CalendarConfig())
    Traceback (most recent call last):
    ...
    ValueError: The newest transaction (2024-01-01) is older than the oldest (2024-01-02): no history to plan on.
    """
    if last_date < first_date:
        raise ValueError(
            f"The newest transaction ({last_date}) is older than the oldest ({first_date}): no history to plan on."
        )
    history_weeks = ((last_date - first_date).days + 1) // WEEK
    third = min(ENOUGH_MODELLING_WEEKS, history_weeks // 3, config.max_weeks // 3)
    plans = [_plan(first_date, last_date, label_end_date, days, config.max_weeks) for days in _candidates(config)]
    chosen = None
    for need in (max(FEWEST_MODELLING_WEEKS, third), FEWEST_MODELLING_WEEKS):
        chosen = next((p for p in plans if p.modelling_weeks >= need), None)
        if chosen:
            break
    notes: list[str] = []
    if chosen is None:
        chosen = plans[-1]
        notes.append(
            f"{history_weeks} whole weeks of history with labels up to {label_end_date} leave "
            f"{max(0, chosen.modelling_weeks)} modelling weeks; {FEWEST_MODELLING_WEEKS} are needed to train, validate "
            "and test, so models are fitted without labels and nothing is measured."
        )
    if not chosen.weeks:
        only = _monday_on_or_before(last_date + timedelta(days=1))
        if only <= first_date:
            only += timedelta(days=WEEK)
        covered = only + timedelta(days=chosen.horizon_days) <= label_end_date + timedelta(days=1)
        week = AsOfWeek(as_of_date=only, week_index=0, is_label_complete=covered)
        chosen = chosen.model_copy(update={"weeks": (week,)})
        notes.append(f"The history of {(last_date - first_date).days + 1} days yields the single as-of date {only}.")
    for name, nominal, effective in (
        ("label horizon", config.horizon_days, chosen.horizon_days),
        ("embargo", config.embargo_days, chosen.embargo_days),
        ("warm-up", config.warmup_days, chosen.warmup_days),
    ):
        if effective != nominal:
            notes.append(
                f"The {name} is {effective} days instead of {nominal}: history from {first_date} to {last_date} is "
                "too short for it."
            )
    longest = max(config.warmup_days, config.horizon_days)
    if chosen.warmup_days < longest:
        notes.append(
            f"Windows keep their names, but a window longer than {chosen.warmup_days} days sees only the history "
            "there is in the first weeks."
        )
    return chosen.model_copy(update={"notes": tuple(notes)})
