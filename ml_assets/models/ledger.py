"""Scores as they were published, kept for good: what a replay is held against.

Rule of this file: files are added and never changed. ``scores.client_scores`` holds what a client's score *is*; after
a rescoring it no longer holds what it *was* when somebody acted on it.

One Parquet file per as-of week and generation, beside the warehouse and not in it, because the warehouse is built anew
when code or data change. What is kept, so that the folder grows by about one week a week:

* every week when it is first published (generation 1);
* the newest week again whenever its scores change (another champion, corrected data): it is the one people act on.

An older week that is scored again is *restated*: the new scores are in ``scores.client_scores``, the ledger keeps the
ones that were acted on.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl

from ml_assets.contracts.table import Column, TableContract
from ml_assets.files import replacing
from ml_assets.models.names import BANDS

PUBLISHED = TableContract(
    "scores",
    "published_scores",
    "One row per client, as-of date and generation: the score as it was published. Files, only added to.",
    ("client_id", "as_of_date", "generation_number"),
    (
        Column("client_id", "text", "Client the score belongs to."),
        Column("as_of_date", "date", "Monday the score looks back from."),
        Column("generation_number", "integer", "1 for the first publication of the week.", "count", minimum=1),
        Column("model_id", "text", "Model bundle that scored the row."),
        Column("bcrs_score", "number", "B-CRS.", "score", null_rule="no pillar score", minimum=0, maximum=100),
        Column("band", "text", "Risk band.", allowed=BANDS),
        Column(
            "previous_band",
            "text",
            "Band of the week before that hysteresis started from.",
            null_rule="not scored the week before",
            allowed=BANDS,
        ),
        Column("rank_in_week_count", "integer", "Rank in the week, 1 is the riskiest.", "count", null_rule="no score"),
        Column(
            "segments_hash",
            "text",
            "Hash of the segment memberships the week's peer groups could use, of earlier weeks.",
            null_rule="peer groups without segments",
        ),
    ),
)
"""Contract of a ledger file."""

FROM_SCORES = tuple(c for c in PUBLISHED.names if c not in {"generation_number", "previous_band", "segments_hash"})
"""Columns taken from ``scores.client_scores`` as they are."""

_NAME = re.compile(r"(?P<as_of>\d{4}-\d{2}-\d{2})\.(?P<generation>\d{3,})\.parquet")


def generations(folder: Path, as_of: date) -> list[Path]:
    """Files of one week, oldest first."""
    found = [p for p in folder.glob(f"{as_of}.*.parquet") if _NAME.fullmatch(p.name)]
    return sorted(found, key=lambda p: int(p.name.split(".")[1]))


def _read(path: Path) -> pl.DataFrame:
    """Rows of one file; files from before segments could make peers say nothing of them."""
    frame = pl.read_parquet(path)
    return frame if "segments_hash" in frame.columns else frame.with_columns(segments_hash=pl.lit(None, pl.String))


def read_published(folder: Path, as_of: date) -> pl.DataFrame:
    """All generations of one week; empty where it was never published."""
    parts = [_read(p) for p in generations(folder, as_of)]
    return PUBLISHED.conform(pl.concat(parts)) if parts else PUBLISHED.empty()


def as_published(scores: pl.DataFrame, before: pl.DataFrame, segments_hash: str | None = None) -> pl.DataFrame:
    """Ledger rows without their generation.

    Parameters
    ----------
    scores : rows of ``scores.client_scores`` of one week.
    before : client_id and band of the week before; may be empty.
    segments_hash : of the memberships the week's peer groups could use; None where they used none.
    """
    earlier = before.select("client_id", previous_band=pl.col("band"))
    rows = scores.select(FROM_SCORES).join(earlier, on="client_id", how="left")
    return rows.with_columns(segments_hash=pl.lit(segments_hash, pl.String)).sort("client_id")


def record(folder: Path, week: pl.DataFrame, is_newest: bool) -> str:
    """Add one published week to the ledger.

    Parameters
    ----------
    week : of :func:`as_published`, one as-of date.
    is_newest : it is the newest scored week.

    Returns
    -------
    ``recorded``, ``unchanged`` (equal to the newest generation) or ``restated`` (an older week that differs: kept as
    it was).
    """
    as_of = week["as_of_date"][0]
    known = generations(folder, as_of)
    if known:
        newest = _read(known[-1]).drop("generation_number")
        if newest.select(week.columns).equals(week, null_equal=True):
            return "unchanged"
        if not is_newest:
            return "restated"
    number = len(known) + 1
    rows = PUBLISHED.conform(week.with_columns(generation_number=pl.lit(number, pl.Int64)))
    with replacing(folder / f"{as_of}.{number:03d}.parquet") as partial:
        rows.write_parquet(partial, compression="zstd")
    return "recorded"
