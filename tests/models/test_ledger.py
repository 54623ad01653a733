from datetime import date
from pathlib import Path

import polars as pl

from ml_assets.models.ledger import PUBLISHED, as_published, generations, read_published, record

DAY = date(2024, 6, 3)


def scores(model_id: str = "m1", shift: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "client_id": ["B", "A"],
            "as_of_date": [DAY, DAY],
            "model_id": [model_id] * 2,
            "bcrs_score": [12.5 + shift, None],
            "band": ["HIGH", "MINIMAL"],
            "rank_in_week_count": [1, None],
            "linear_score": [3.0, 4.0],
        },
        schema_overrides={"rank_in_week_count": pl.Int64},
    )


BEFORE = pl.DataFrame({"client_id": ["B"], "band": ["MEDIUM"]})


def test_a_week_is_kept_as_first_published(tmp_path: Path) -> None:
    week = as_published(scores(), BEFORE)
    assert record(tmp_path, week, is_newest=False) == "recorded"
    kept = read_published(tmp_path, DAY)
    assert kept.columns == PUBLISHED.names
    assert kept.select("client_id", "bcrs_score", "previous_band", "generation_number").rows() == [
        ("A", None, None, 1),
        ("B", 12.5, "MEDIUM", 1),
    ]


def test_the_same_scores_are_not_kept_twice(tmp_path: Path) -> None:
    week = as_published(scores(), BEFORE)
    record(tmp_path, week, is_newest=True)
    before = generations(tmp_path, DAY)[0].read_bytes()
    assert record(tmp_path, week, is_newest=True) == "unchanged"
    assert [p.read_bytes() for p in generations(tmp_path, DAY)] == [before]


def test_an_older_week_scored_again_is_restated_not_rewritten(tmp_path: Path) -> None:
    record(tmp_path, as_published(scores(), BEFORE), is_newest=True)
    assert record(tmp_path, as_published(scores("m2", 1e-12), BEFORE), is_newest=False) == "restated"
    assert read_published(tmp_path, DAY)["model_id"].unique().to_list() == ["m1"]


def test_the_newest_week_gets_a_generation_more(tmp_path: Path) -> None:
    record(tmp_path, as_published(scores(), BEFORE), is_newest=True)
    first = generations(tmp_path, DAY)[0].read_bytes()
    assert record(tmp_path, as_published(scores("m2", 5.0), BEFORE), is_newest=True) == "recorded"
    kept = read_published(tmp_path, DAY)
    assert kept.filter(pl.col("generation_number") == 2)["bcrs_score"].to_list() == [None, 17.5]
    assert generations(tmp_path, DAY)[0].read_bytes() == first


def test_what_a_killed_process_left_is_no_publication(tmp_path: Path) -> None:
    (tmp_path / f"{DAY}.001.partial").write_bytes(b"half")
    assert generations(tmp_path, DAY) == []
    assert read_published(tmp_path, DAY).is_empty()
    assert record(tmp_path, as_published(scores(), BEFORE), is_newest=True) == "recorded"
    assert read_published(tmp_path, DAY).height == 2


def test_other_segments_make_another_generation(tmp_path: Path) -> None:
    record(tmp_path, as_published(scores(), BEFORE), is_newest=True)
    assert record(tmp_path, as_published(scores(), BEFORE, "abc"), is_newest=True) == "recorded"
    kept = read_published(tmp_path, DAY).sort("generation_number")
    assert kept["segments_hash"].to_list() == [None, None, "abc", "abc"]


def test_a_file_from_before_segments_is_read_on(tmp_path: Path) -> None:
    week = as_published(scores(), BEFORE)
    record(tmp_path, week, is_newest=True)
    file = generations(tmp_path, DAY)[0]
    pl.read_parquet(file).drop("segments_hash").write_parquet(file)
    assert record(tmp_path, week, is_newest=True) == "unchanged"
    assert read_published(tmp_path, DAY)["segments_hash"].to_list() == [None, None]
    assert record(tmp_path, as_published(scores(), BEFORE, "abc"), is_newest=True) == "recorded"
