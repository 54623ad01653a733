from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from segment_world import FIRST, MEASURES, SMALL, planted, weeks_of

from ml_assets.segmentation import tables
from ml_assets.segmentation.describe import density_rows, fit_rows, map_rows, method_rows, selection_rows
from ml_assets.segmentation.matching import match_segments
from ml_assets.segmentation.preparation import SegmentationError
from ml_assets.segmentation.weeks import fit_schedule, segment_history

CONFIG = SMALL.model_copy(update={"refit_weeks": 2})


def train(count: int) -> list[date]:
    return [FIRST + timedelta(weeks=w) for w in range(count)]


def test_matching_is_the_best_as_a_whole_not_pair_by_pair() -> None:
    # greedily, the first would take the nearest (0.4) and push the second beyond the limit
    earlier, now = np.array([[0.0], [1.0]]), np.array([[0.6], [1.5]])
    ids, distance = match_segments(earlier, ["S01", "S02"], now, 2, 1.0)
    assert ids == ("S01", "S02")
    assert distance == pytest.approx([0.6, 0.5])


def test_new_and_retired_segments() -> None:
    ids, distance = match_segments(
        np.array([[0.0], [50.0], [np.nan]]), ["S01", "S04", "S02"], np.array([[20.0], [0.1]]), 4, 1.0
    )
    assert ids == ("S05", "S01")
    assert np.isnan(distance[0])


def test_ids_survive_refits_and_shuffled_rows() -> None:
    frame, group = planted(4, 50)
    inputs = weeks_of(frame, 6)
    history = segment_history(inputs.sample(fraction=1, shuffle=True, seed=3), train(5), MEASURES, CONFIG)
    assert [f.week for f in history.fits] == [FIRST + timedelta(weeks=w) for w in (0, 2, 4)]
    # the same clients in the same place: nobody moves, whatever order k-means left its centroids in
    assert history.memberships.group_by("client_id").agg(pl.col("segment_id").n_unique())["segment_id"].max() == 1
    by_group = dict(zip(frame["client_id"], group.tolist(), strict=True))
    seen = history.memberships.with_columns(group=pl.col("client_id").replace_strict(by_group))
    assert seen.group_by("group").agg(pl.col("segment_id").n_unique())["segment_id"].max() == 1
    assert history.memberships.equals(segment_history(inputs, train(5), MEASURES, CONFIG).memberships)


def test_client_that_changes_group_migrates() -> None:
    frame, group = planted(3, 40)
    other = frame.filter(pl.Series(group == 1))[0]
    later = frame.with_columns(
        *(
            pl.when(pl.col("client_id") == "C00000").then(pl.lit(other[c][0])).otherwise(pl.col(c)).alias(c)
            for c in ("turnover", "share", "age")
        ),
        as_of_date=pl.lit(FIRST + timedelta(weeks=1)),
    )
    history = segment_history(pl.concat([weeks_of(frame, 1), later]), train(1), MEASURES, CONFIG)
    mine = history.memberships.filter(pl.col("client_id") == "C00000")["segment_id"].to_list()
    theirs = history.memberships.filter(pl.col("client_id") == other["client_id"][0])["segment_id"].to_list()
    assert mine[0] != mine[1] == theirs[1]


def test_later_weeks_change_neither_fits_nor_earlier_memberships() -> None:
    frame, _ = planted(3, 40)
    inputs = weeks_of(frame, 4)
    cut = FIRST + timedelta(weeks=2)
    wild = inputs.with_columns(
        share=pl.when(pl.col("as_of_date") > cut).then(pl.col("share") * -50).otherwise(pl.col("share"))
    )
    plain, changed = (segment_history(i, train(3), MEASURES, CONFIG).memberships for i in (inputs, wild))
    until = pl.col("as_of_date") <= cut
    assert plain.filter(until).equals(changed.filter(until))
    assert not plain.filter(~until).equals(changed.filter(~until))


def test_weeks_before_the_first_fit_are_left_out() -> None:
    frame, _ = planted(3, 30)
    history = segment_history(weeks_of(frame, 3), train(3)[1:2], MEASURES, CONFIG)
    assert sorted(history.memberships["as_of_date"].unique()) == train(3)[1:]


def test_schedule() -> None:
    weeks = train(22)
    assert [weeks.index(w) for w in fit_schedule(weeks, 8)] == [0, 5, 13, 21]
    assert fit_schedule(weeks[:1], 8) == (weeks[0],)
    assert fit_schedule([], 8) == ()


def test_one_client_and_equal_clients_are_one_segment() -> None:
    frame, _ = planted(1, 1)
    for few in (frame, pl.concat([frame.with_columns(client_id=pl.lit(f"C{i}")) for i in range(5)])):
        history = segment_history(weeks_of(few, 2), train(2), MEASURES, CONFIG)
        assert set(history.memberships["segment_id"]) == {"S01"}
        assert "one segment" in history.newest.reason
        assert history.memberships["is_unusual"].sum() == 0
        assert fit_rows(history)["share_ratio"].to_list() == [1.0] * len(history.fits)
        assert selection_rows(history).height == method_rows(history.newest).height == 0


def test_no_training_week_is_refused() -> None:
    frame, _ = planted(3, 10)
    with pytest.raises(SegmentationError, match="training week"):
        segment_history(weeks_of(frame, 2), [], MEASURES, CONFIG)


def test_rows_of_the_tables_keep_their_contracts() -> None:
    frame, _ = planted(4, 40)
    inputs = weeks_of(frame, 3)
    history = segment_history(inputs, train(3), MEASURES, CONFIG)
    assert selection_rows(history).filter(pl.col("is_chosen")).height == len(history.fits)
    assert set(method_rows(history.newest)["method"]) == {"gaussian_mixture", "hdbscan", "dbscan"}
    places, shares = map_rows(history.newest, inputs.filter(pl.col("as_of_date") == history.newest.week), CONFIG)
    assert places.height == 160
    assert shares == tuple(sorted(shares, reverse=True))
    assert density_rows(history.newest)["is_radius"].sum() == 1
    assert tables.MEMBERSHIPS.conform(history.memberships).height == 480
