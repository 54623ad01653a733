"""Memberships as a file: written whole, read as written, part of what a warehouse and a replay depend on."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ml_assets.config import Settings
from ml_assets.features.peers import memberships_hash
from orchestration import main_job, replay
from orchestration.defs import memberships as rooms
from orchestration.defs.memberships import MISSING, read_memberships, write_memberships

D = date(2024, 3, 4)
WEEK = timedelta(weeks=1)


def found(segment: str = "S01", late: str = "S02") -> pl.DataFrame:
    """As the segments job finds them: two clients in one week, one of them again in the next."""
    return pl.DataFrame(
        {
            "client_id": ["b", "a", "a"],
            "as_of_date": [D, D, D + WEEK],
            "fit_date": [D - WEEK] * 3,
            "segment_id": ["S02", segment, late],
            "centroid_distance": [0.5, 0.25, 0.75],
            "is_unusual": [False, True, False],
        }
    )


@pytest.fixture
def by_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The wiring as it is where the flag was chosen, in an empty data folder."""
    chosen = Settings(data_dir=tmp_path, peers_by_segment=True)
    for room in (rooms, main_job, replay):
        monkeypatch.setattr(room, "SETTINGS", chosen)
        monkeypatch.setattr(room, "CONFIG", chosen.config())
    return chosen


def test_file_holds_what_peers_read(tmp_path: Path) -> None:
    target = tmp_path / "segments" / "memberships.parquet"
    assert read_memberships(target) is None
    later_fit = found().head(1).with_columns(client_id=pl.lit("c"), fit_date=pl.lit(D + WEEK))
    write_memberships(pl.concat([found(), later_fit]), target)
    read = read_memberships(target)
    assert read is not None
    assert read.rows() == [
        ("a", D, D - WEEK, "S01"),
        ("a", D + WEEK, D - WEEK, "S02"),
        ("b", D, D - WEEK, "S02"),
    ]
    assert [p.name for p in target.parent.iterdir()] == ["memberships.parquet"]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "memberships.parquet"
    write_memberships(found(), target)
    before = target.read_bytes()
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        write_memberships(found().drop("segment_id"), target)
    assert target.read_bytes() == before
    write_memberships(found().reverse(), target)
    assert target.read_bytes() == before


def test_off_by_default_and_remembered_where_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCRS_DATA_DIR", str(tmp_path))
    assert not Settings().config().features.peers_by_segment
    monkeypatch.setenv("BCRS_PEERS_BY_SEGMENT", "1")
    chosen = Settings()
    assert chosen.config().features.peers_by_segment
    assert chosen.config().features.model_dump(exclude={"peers_by_segment"}) == Settings(
        peers_by_segment=False
    ).config().features.model_dump(exclude={"peers_by_segment"})
    chosen.remember()
    assert json.loads((tmp_path / "settings.json").read_text())["peers_by_segment"] is True
    monkeypatch.delenv("BCRS_PEERS_BY_SEGMENT")
    assert Settings().peers_by_segment
    monkeypatch.setenv("BCRS_PEERS_BY_SEGMENT", "0")
    assert not Settings().peers_by_segment


def test_file_is_not_looked_at_where_the_flag_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    off = Settings(data_dir=tmp_path)
    for room in (rooms, main_job):
        monkeypatch.setattr(room, "SETTINGS", off)
        monkeypatch.setattr(room, "CONFIG", off.config())
    base = main_job._base_fingerprint()
    write_memberships(found(), off.memberships)
    assert rooms.memberships_in_use() is None
    assert rooms.segments_note() == ""
    assert main_job._base_fingerprint() == base


def test_other_memberships_start_a_new_warehouse(by_segment: Settings) -> None:
    assert rooms.segments_note() == MISSING
    assert rooms.memberships_in_use() is None
    seen = [main_job._base_fingerprint()]
    for members in (found(), found("S02")):
        write_memberships(members, by_segment.memberships)
        seen.append(main_job._base_fingerprint())
    assert rooms.segments_note() == ""
    assert len(set(seen)) == 3
    write_memberships(found("S02").reverse(), by_segment.memberships)
    assert main_job._base_fingerprint() == seen[-1]


def test_replay_takes_the_memberships_of_then_or_refuses(by_segment: Settings) -> None:
    write_memberships(found(), by_segment.memberships)
    known = read_memberships(by_segment.memberships)
    week = pl.DataFrame({"segments_hash": [memberships_hash(known, D + WEEK)]})
    without = pl.DataFrame({"segments_hash": [None]}, schema={"segments_hash": pl.String})
    assert known is not None
    assert replay._memberships_of(without, D + WEEK) is None
    # a later week's membership is no matter
    write_memberships(found(late="S01"), by_segment.memberships)
    taken = replay._memberships_of(week, D + WEEK)
    assert taken is not None
    assert_frame_equal(taken.filter(pl.col("as_of_date") == D), known.filter(pl.col("as_of_date") == D))
    write_memberships(found("S02"), by_segment.memberships)
    with pytest.raises(replay.ReplayError, match="segments were found anew since"):
        replay._memberships_of(week, D + WEEK)
    by_segment.memberships.unlink()
    with pytest.raises(replay.ReplayError, match="cannot be rebuilt"):
        replay._memberships_of(week, D + WEEK)
