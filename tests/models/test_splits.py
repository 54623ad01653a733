from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.config import CalendarConfig
from ml_assets.models.calendar import plan_calendar
from ml_assets.models.splits import SplitPlan, eligible_labels, plan_splits

CONFIG = CalendarConfig(warmup_days=28, max_weeks=200)


def calendar_of(weeks: int):
    first = date(2024, 1, 1)
    last = first + timedelta(days=7 * weeks - 1)
    return plan_calendar(first, last, last, CONFIG)


def labels_of(calendar, positive_weeks, clients: int = 3) -> pl.DataFrame:
    """Client 0 is positive in ``positive_weeks``; nobody else ever is."""
    complete = {w.as_of_date: w.is_label_complete for w in calendar.weeks}
    return pl.DataFrame(
        [
            {
                "client_id": f"C{c}",
                "as_of_date": d,
                "is_str_within_horizon": c == 0 and d in positive_weeks,
                "has_prior_str": False,
                "is_label_complete": complete[d],
            }
            for c in range(clients)
            for d in calendar.as_of_dates
        ]
    )


def test_shares_apply_to_what_the_embargoes_leave():
    calendar = calendar_of(52)
    labelled = calendar.labelled_dates
    plan = plan_splits(labels_of(calendar, set(labelled)), calendar, CONFIG)
    net = len(labelled) - 8
    assert len(plan.test_weeks) == round(net * 0.25)
    assert len(plan.validation_weeks) == round(net * 0.2)
    assert len(plan.train_weeks) == net - len(plan.test_weeks) - len(plan.validation_weeks)
    assert len(plan.embargo_weeks) == 8
    assert set(plan.live_weeks) == set(calendar.as_of_dates) - set(labelled)
    assert plan.is_supervised
    assert plan.reasons == ()


@settings(deadline=None, max_examples=40)
@given(weeks=st.integers(7, 90), picks=st.lists(st.integers(0, 89), max_size=8))
def test_splits_never_overlap_and_the_gap_covers_the_horizon(weeks: int, picks: list[int]):
    calendar = calendar_of(weeks)
    dates = calendar.as_of_dates
    plan = plan_splits(labels_of(calendar, {dates[i % len(dates)] for i in picks}), calendar, CONFIG)
    parts = [plan.train_weeks, plan.validation_weeks, plan.test_weeks, plan.embargo_weeks, plan.live_weeks]
    flat = [w for p in parts for w in p]
    assert sorted(flat) == sorted(dates)
    for earlier, later in ((plan.train_weeks, plan.validation_weeks), (plan.validation_weeks, plan.test_weeks)):
        if earlier and later:
            # labels of the earlier split end before the later split's first as-of date
            assert max(earlier) + timedelta(days=plan.horizon_days) <= min(later)
            left_out = [w for w in plan.embargo_weeks if max(earlier) < w < min(later)]
            assert 7 * len(left_out) >= plan.embargo_days >= plan.horizon_days
    assert SplitPlan.model_validate_json(plan.model_dump_json()) == plan


def test_the_cut_moves_so_that_every_split_holds_both_classes():
    calendar = calendar_of(52)
    labelled = calendar.labelled_dates
    nominal = plan_splits(labels_of(calendar, set(labelled)), calendar, CONFIG)
    # the only positive week between train and test falls into the nominal second embargo
    positive = {labelled[0], max(nominal.embargo_weeks), labelled[-1]}
    plan = plan_splits(labels_of(calendar, positive), calendar, CONFIG)
    assert all(plan.has_both_classes(s) for s in ("train", "validation", "test"))
    assert any("instead of" in r for r in plan.reasons)


def test_one_class_only_is_recorded():
    calendar = calendar_of(52)
    plan = plan_splits(labels_of(calendar, set()), calendar, CONFIG)
    assert not plan.is_supervised
    assert any("one class only" in r for r in plan.reasons)


def test_too_short_a_history_trains_without_labels():
    calendar = calendar_of(3)
    plan = plan_splits(labels_of(calendar, set(calendar.as_of_dates)), calendar, CONFIG)
    assert plan.train_weeks
    assert plan.validation_weeks == plan.test_weeks == ()
    assert not plan.is_supervised


def test_rows_after_an_str_and_open_labels_are_not_eligible():
    day = date(2024, 3, 4)
    labels = pl.DataFrame(
        {
            "client_id": ["A", "B", "C"],
            "as_of_date": [day] * 3,
            "is_str_within_horizon": [True, True, True],
            "has_prior_str": [False, True, False],
            "is_label_complete": [True, True, False],
        }
    )
    assert eligible_labels(labels, [day])["client_id"].to_list() == ["A"]


def test_overlapping_splits_are_refused():
    weeks = [date(2024, 1, 1) + timedelta(days=7 * i) for i in range(8)]
    common = {
        "live_weeks": (),
        "embargo_weeks": (),
        "horizon_days": 14,
        "embargo_days": 14,
        "rows": {},
        "positives": {},
    }
    with pytest.raises(ValueError, match="7 days between splits"):
        SplitPlan(
            train_weeks=tuple(weeks[:3]),
            validation_weeks=(weeks[3],),
            test_weeks=(weeks[7],),
            is_supervised=True,
            **common,
        )
    with pytest.raises(ValueError, match="two splits"):
        SplitPlan(
            train_weeks=tuple(weeks[:3]), validation_weeks=(weeks[2],), test_weeks=(), is_supervised=True, **common
        )


def test_every_nth_week_counts_back_from_the_newest():
    calendar = calendar_of(52)
    plan = plan_splits(labels_of(calendar, set(calendar.as_of_dates)), calendar, CONFIG)
    thinned = plan.fit_weeks(3)
    assert thinned[-1] == plan.train_weeks[-1]
    assert thinned == plan.train_weeks[::-1][::3][::-1]
