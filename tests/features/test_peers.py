"""Peer groups and normals on hand-made weeks."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.features import peers

D = date(2024, 3, 4)
CONFIG = FeatureConfig(peer_minimum_clients=5)
BY_SEGMENT = FeatureConfig(peer_minimum_clients=5, peers_by_segment=True)
WEEK = timedelta(weeks=1)


def profiles(*groups: tuple[str | None, str | None, int], week: date = D) -> pl.DataFrame:
    rows = [(industry, size) for industry, size, count in groups for _ in range(count)]
    return pl.DataFrame(
        [(f"c{i:03d}", week, industry, size) for i, (industry, size) in enumerate(rows)],
        schema={"client_id": pl.String, "as_of_date": pl.Date, "industry": pl.String, "size_bucket": pl.String},
        orient="row",
    )


def levels(frame: pl.DataFrame) -> list[tuple[str, str, int]]:
    return [(r["peer_group"], r["peer_level"], r["peer_count"]) for r in frame.iter_rows(named=True)]


def test_group_of_exactly_the_minimum_stands_and_one_less_falls_back() -> None:
    out = levels(peers.peer_groups(profiles(("retail", "small", 5), ("legal", "small", 4)), CONFIG))
    assert out[0] == ("retail, small", "industry_size", 5)
    assert out[5] == ("size small", "size", 9)  # compared with all nine small clients, the retailers included


def test_falls_back_to_the_industry_before_the_size() -> None:
    frame = profiles(("retail", "small", 5), ("retail", "large", 2), ("legal", "large", 4), ("legal", "micro", 1))
    out = levels(peers.peer_groups(frame, CONFIG))
    assert out[0] == ("retail, small", "industry_size", 5)
    assert out[5] == ("industry retail", "industry", 7)  # two large retailers: with all retailers
    assert out[7] == (
        "industry legal",
        "industry",
        5,
    )  # four large law firms: with all five, not with six large clients
    assert out[11] == ("industry legal", "industry", 5)


def test_falls_back_to_all_and_keeps_that_however_small() -> None:
    out = levels(peers.peer_groups(profiles(("retail", "small", 2), ("legal", "large", 1)), CONFIG))
    assert set(out) == {("all clients", "all", 3)}


def test_missing_profile_entries_fall_back() -> None:
    frame = profiles((None, "small", 5), ("retail", None, 6), (None, None, 1))
    out = levels(peers.peer_groups(frame, CONFIG))
    assert set(out[:5]) == {("size small", "size", 5)}
    assert set(out[5:11]) == {("industry retail", "industry", 6)}
    assert set(out[11:]) == {("all clients", "all", 12)}


def test_groups_of_a_week_need_no_other_week() -> None:
    last = profiles(("retail", "small", 5))
    before = profiles(("retail", "small", 3), ("legal", "small", 3), week=D - timedelta(weeks=1))
    both = peers.peer_groups(pl.concat([before, last]), CONFIG)
    assert_frame_equal(both.filter(pl.col("as_of_date") == D), peers.peer_groups(last, CONFIG))


def test_members_hold_the_whole_level() -> None:
    frame = profiles(("retail", "small", 5), ("legal", "small", 4))
    groups = peers.peer_groups(frame, CONFIG)
    out = peers.members(frame, groups)
    assert out.filter(pl.col("peer_group") == "retail, small").height == 5
    assert out.filter(pl.col("peer_group") == "size small").height == 9
    assert out.filter(pl.col("peer_group") == "all clients").height == 0  # nobody is compared with it


def test_normals_by_hand() -> None:
    frame = profiles(("retail", "small", 5), ("legal", "small", 4))
    groups = peers.peer_groups(frame, CONFIG)
    values = frame.select("client_id", "as_of_date").with_columns(
        pl.Series("x", [1.0, 2.0, 3.0, 4.0, 10.0, None, 100.0, 100.0, 100.0]),
        pl.Series("is_y", [True, False, False, False, False, True, True, True, True]),
    )
    out = peers.normals(values, frame, groups)
    assert out.columns == peers.NORMALS_CONTRACT.names

    def of(group: str, feature: str) -> tuple[float, float, int]:
        row = out.filter(pl.col("peer_group") == group, pl.col("feature") == feature).row(0, named=True)
        return row["peer_median"], row["peer_mad"], row["peer_value_count"]

    # 1 2 3 4 10: distances from 3 are 0 1 1 2 7
    assert of("retail, small", "x") == (3.0, 1.0, 5)
    # 1 2 3 4 10 100 100 100: median 7; distances 3 3 4 5 6 93 93 93, median 5.5
    assert of("size small", "x") == (7.0, 5.5, 8)
    assert of("retail, small", "is_y") == (0.0, 0.0, 5)


def test_feature_null_for_everybody_has_a_null_normal() -> None:
    frame = profiles(("retail", "small", 5))
    values = frame.select("client_id", "as_of_date").with_columns(pl.lit(None, pl.Float64).alias("x"))
    out = peers.normals(values, frame, peers.peer_groups(frame, CONFIG)).row(0, named=True)
    assert out["peer_median"] is None
    assert out["peer_mad"] is None
    assert out["peer_value_count"] == 0


def test_normals_do_not_depend_on_row_order_or_other_weeks() -> None:
    weeks = [profiles(("retail", "small", 6), ("legal", "large", 7), week=D - timedelta(weeks=k)) for k in (1, 0)]
    frame = pl.concat(weeks)
    values = frame.select("client_id", "as_of_date").with_columns(
        (pl.int_range(pl.len()).cast(pl.Float64) * 0.1).sin().alias("x")
    )
    groups = peers.peer_groups(frame, CONFIG)
    out = peers.normals(values, frame, groups)
    turned = peers.normals(values.reverse(), frame.reverse(), groups.reverse())
    assert_frame_equal(out, turned, check_exact=True)
    now = pl.col("as_of_date") == D
    alone = peers.normals(values.filter(now), frame.filter(now), groups.filter(now))
    assert_frame_equal(out.filter(now), alone, check_exact=True)


def test_no_features_no_normals() -> None:
    frame = profiles(("retail", "small", 5))
    out = peers.normals(frame.select("client_id", "as_of_date"), frame, peers.peer_groups(frame, CONFIG))
    assert out.height == 0


def test_normals_stand_beside_each_client() -> None:
    frame = profiles(("retail", "small", 5), ("legal", "small", 4), (None, None, 1))
    groups = peers.peer_groups(frame, CONFIG)
    grain = frame.select("client_id", "as_of_date")
    values = grain.with_columns(pl.Series("x", [1.0, 2.0, 3.0, 4.0, 10.0, None, 100.0, 100.0, 100.0, 0.0]))
    out = peers.beside(grain.reverse(), groups, peers.normals(values, frame, groups))
    assert out["client_id"].to_list() == grain["client_id"].to_list()
    assert out["x"].to_list() == [3.0] * 5 + [7.0] * 4 + [4.0]  # 0 1 2 3 4 10 100 100 100
    stranger = pl.DataFrame({"client_id": ["z"], "as_of_date": [D]})
    assert peers.beside(stranger, groups, peers.normals(values, frame, groups))["x"].to_list() == [None]


def found(*rows: tuple[str, date, date, str]) -> pl.DataFrame:
    """Memberships: client, week, week of the fit, segment."""
    return pl.DataFrame(list(rows), schema=peers.MEMBERSHIPS, orient="row")


def test_segment_comes_before_industry_and_size() -> None:
    frame = profiles(("retail", "small", 6), ("legal", "large", 5))
    # S01: three retailers and two lawyers, S02: four lawyers and lawyers of no segment
    ids = {"S01": ["c000", "c001", "c002", "c006", "c007"], "S02": ["c003", "c008", "c009", "c010"]}
    before = found(*((c, D - WEEK, D - WEEK, s) for s, clients in ids.items() for c in clients))
    out = levels(peers.peer_groups(peers.with_segments(frame, before), BY_SEGMENT))
    for k in (0, 1, 2, 6, 7):
        assert out[k] == ("segment S01", "segment", 5)
    for k in (3, 4, 5):  # four clients of S02 are too few, and two retailers have no segment: all six retailers
        assert out[k] == ("retail, small", "industry_size", 6)
    for k in (8, 9, 10):  # with all five lawyers, the two of S01 included
        assert out[k] == ("legal, large", "industry_size", 5)


def test_members_and_normals_of_a_segment() -> None:
    frame = profiles(("retail", "small", 4), ("legal", "large", 2))
    before = found(*((f"c{k:03d}", D - WEEK, D - WEEK, "S07") for k in (0, 1, 2, 3, 4)))
    frame = peers.with_segments(frame, before)
    groups = peers.peer_groups(frame, BY_SEGMENT)
    belongs = peers.members(frame, groups)
    segment = belongs.filter(pl.col("peer_group") == "segment S07")
    assert segment["client_id"].to_list() == [f"c{k:03d}" for k in range(5)]
    values = frame.select("client_id", "as_of_date").with_columns(pl.Series("x", [1.0, 2.0, 3.0, 4.0, 10.0, 99.0]))
    out = {r["peer_group"]: r for r in peers.normals(values, frame, groups).iter_rows(named=True)}
    # 1 2 3 4 10: distances from 3 are 0 1 1 2 7; the sixth client is compared with all: 1 2 3 4 10 99
    assert (out["segment S07"]["peer_median"], out["segment S07"]["peer_mad"]) == (3.0, 1.0)
    assert (out["all clients"]["peer_median"], out["all clients"]["peer_value_count"]) == (3.5, 6)


def test_newest_membership_of_an_earlier_week_counts() -> None:
    frame = pl.concat([profiles(("retail", "small", 3), week=D), profiles(("retail", "small", 3), week=D - WEEK)])
    known = found(
        ("c000", D, D - WEEK, "S03"),  # of the week itself: too late for D
        ("c000", D - 3 * WEEK, D - 4 * WEEK, "S01"),
        ("c000", D - WEEK, D - 4 * WEEK, "S02"),
        ("c001", D - 2 * WEEK, D, "S04"),  # a fit later than its week
        ("c001", D - 5 * WEEK, D - 5 * WEEK, "S05"),
    )
    assert peers.with_segments(frame, known)["segment_id"].to_list() == ["S02", "S05", None, "S01", "S05", None]
    assert peers.with_segments(frame.reverse(), known.reverse())["segment_id"].to_list() == [
        *(None, "S05", "S01"),
        *(None, "S05", "S02"),
    ]


def test_without_memberships_groups_are_those_of_the_flag_off() -> None:
    frame = profiles(("retail", "small", 5), ("legal", "small", 4), (None, None, 1))
    off = peers.peer_groups(frame, CONFIG)
    for none in (None, found()):
        assert_frame_equal(peers.peer_groups(peers.with_segments(frame, none), BY_SEGMENT), off)
    everyone = peers.with_segments(frame, found(*((c, D - WEEK, D - WEEK, "S01") for c in frame["client_id"])))
    assert_frame_equal(peers.peer_groups(everyone, CONFIG), off)
    assert_frame_equal(peers.members(everyone, off), peers.members(frame, off))
    assert set(levels(peers.peer_groups(everyone, BY_SEGMENT))) == {("segment S01", "segment", 10)}


membership_rows = st.lists(
    st.tuples(st.integers(0, 7), st.integers(-4, 4), st.integers(-6, 4), st.sampled_from(["S01", "S02", "S03"])),
    max_size=40,
    unique_by=lambda row: (row[0], row[1]),
)


@given(membership_rows)
@settings(max_examples=60, deadline=None)
def test_later_memberships_and_later_fits_change_nothing(rows: list[tuple[int, int, int, str]]) -> None:
    frame = profiles(("retail", "small", 5), ("legal", "large", 3))
    dated = [(f"c{c:03d}", D + week * WEEK, D + fit * WEEK, segment) for c, week, fit, segment in rows]
    everything = found(*dated)
    allowed = found(*(row for row in dated if row[1] < D and row[2] <= row[1]))
    of_all, of_allowed = peers.with_segments(frame, everything), peers.with_segments(frame, allowed)
    assert_frame_equal(of_all, of_allowed)
    assert_frame_equal(peers.peer_groups(of_all, BY_SEGMENT), peers.peer_groups(of_allowed, BY_SEGMENT))
    assert peers.memberships_hash(everything, D) == peers.memberships_hash(allowed)


def test_hash_of_memberships_is_that_of_their_values() -> None:
    rows = [("a", D, D, "S01"), ("b", D, D, "S02"), ("a", D + WEEK, D, "S01")]
    whole = peers.memberships_hash(found(*rows))
    assert whole is not None
    assert peers.memberships_hash(found(*rows[::-1]).with_columns(is_unusual=True)) == whole
    assert peers.memberships_hash(found(*rows[:2], ("a", D + WEEK, D, "S02"))) != whole
    assert peers.memberships_hash(found(*rows), D + WEEK) == peers.memberships_hash(found(*rows[:2])) != whole
    assert peers.memberships_hash(None) is peers.memberships_hash(found(*rows), D) is None


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_normals_agree_with_numpy(values: list[float | None], groups_count: int) -> None:
    frame = profiles(*[(f"i{k}", "small", len(values)) for k in range(groups_count)])
    groups = peers.peer_groups(frame, FeatureConfig.model_construct(peer_minimum_clients=1))
    column = pl.Series("x", values * groups_count, dtype=pl.Float64)
    out = peers.normals(frame.select("client_id", "as_of_date").with_columns(column), frame, groups)
    known = np.array([v for v in values if v is not None])
    assert out.height == groups_count
    for row in out.iter_rows(named=True):
        assert row["peer_value_count"] == len(known)
        if len(known):
            assert row["peer_median"] == np.median(known)
            assert row["peer_mad"] == np.median(np.abs(known - np.median(known)))
        else:
            assert row["peer_median"] is None
