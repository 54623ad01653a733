from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import CalendarConfig
from ml_assets.models.calendar import CalendarPlan, plan_calendar

NOMINAL = CalendarConfig()


def test_long_history_keeps_nominal_days():
    plan = plan_calendar(date(2024, 1, 1), date(2025, 6, 29), date(2025, 6, 29), NOMINAL)
    assert (plan.horizon_days, plan.embargo_days, plan.warmup_days, plan.notes) == (28, 28, 90, ())
    assert len(plan.weeks) == 40
    assert [w.week_index for w in plan.weeks] == list(range(40))
    # newest Monday is the day after the last transaction; its label window would end four weeks later
    assert plan.as_of_dates[-1] == date(2025, 6, 30)
    assert plan.labelled_dates[-1] == date(2025, 6, 2)


def test_label_is_complete_exactly_when_its_window_ends_by_the_day_after_the_last_label():
    last = date(2025, 6, 29)
    complete = plan_calendar(date(2024, 1, 1), last, date(2025, 6, 29), NOMINAL).labelled_dates[-1]
    one_day_less = plan_calendar(date(2024, 1, 1), last, date(2025, 6, 28), NOMINAL).labelled_dates[-1]
    assert complete + timedelta(days=28) == date(2025, 6, 30)
    assert one_day_less == complete - timedelta(days=7)


def test_six_weeks_leave_one_week_for_each_split():
    plan = plan_calendar(date(2024, 1, 1), date(2024, 2, 11), date(2024, 2, 11), NOMINAL)
    assert (plan.horizon_days, plan.embargo_days, plan.warmup_days) == (7, 7, 7)
    assert plan.modelling_weeks == 3
    assert plan.is_trainable
    assert len(plan.notes) == 4


def test_amlsim_length_shrinks_in_proportion():
    plan = plan_calendar(date(2017, 1, 1), date(2017, 5, 30), date(2017, 5, 30), NOMINAL)
    assert plan.horizon_days == plan.embargo_days == 14
    assert plan.warmup_days == 42
    assert plan.modelling_weeks >= 7
    assert any("label horizon is 14 days instead of 28" in n for n in plan.notes)


@pytest.mark.parametrize("days", [1, 2, 5, 12])
def test_a_few_days_still_give_a_week_and_a_note(days: int):
    first = date(2024, 1, 2)
    plan = plan_calendar(first, first + timedelta(days=days - 1), first + timedelta(days=days - 1), NOMINAL)
    assert len(plan.weeks) >= 1
    assert all(d.weekday() == 0 and d > first for d in plan.as_of_dates)
    assert not plan.is_trainable
    assert any("fitted without labels" in n for n in plan.notes)


def test_no_history_is_refused():
    with pytest.raises(ValueError, match="no history to plan on"):
        plan_calendar(date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 1), NOMINAL)


@settings(deadline=None, max_examples=60)
@given(
    start=st.integers(0, 13), days=st.integers(1, 800), late=st.integers(0, 40), weeks=st.sampled_from([4, 12, 30, 52])
)
def test_every_history_gets_a_sound_calendar(start: int, days: int, late: int, weeks: int):
    first = date(2024, 1, 1) + timedelta(days=start)
    last = first + timedelta(days=days - 1)
    plan = plan_calendar(first, last, last + timedelta(days=late), CalendarConfig(max_weeks=weeks))
    dates = plan.as_of_dates
    assert dates
    assert all(d.weekday() == 0 for d in dates)
    assert all((b - a).days == 7 for a, b in pairwise(dates))
    assert plan.horizon_days >= 7
    assert plan.embargo_days >= plan.horizon_days
    if plan.horizon_days < 28:
        assert plan.embargo_days == plan.horizon_days
        assert plan.notes
    for week in plan.weeks:
        covered = week.as_of_date + timedelta(days=plan.horizon_days) <= plan.label_end_date + timedelta(days=1)
        assert week.is_label_complete == covered
    if days >= 49 and weeks >= 12:
        assert plan.is_trainable
    assert CalendarPlan.model_validate_json(plan.model_dump_json()) == plan


def test_frames_have_the_tables_columns():
    plan = plan_calendar(date(2024, 1, 1), date(2024, 8, 1), date(2024, 8, 1), NOMINAL)
    assert plan.frame().columns == ["as_of_date", "week_index", "is_label_complete"]
    assert plan.frame().height == len(plan.weeks)
    assert plan.plan_frame().height == 1
