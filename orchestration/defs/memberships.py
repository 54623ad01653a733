"""Segment memberships as one file: the segments job leaves them there, peer groups pick them up.

A file and not the warehouse's table, because the main job starts a new warehouse where code, configuration or input
changed, and computes peers before segments can be found in it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ml_assets.features.peers import MEMBERSHIPS, known_memberships
from ml_assets.files import replacing
from orchestration.defs.resources import CONFIG, SETTINGS

MISSING = "peers_by_segment is on, but no segments were found yet: nobody has one. Run make segments first, then again."
"""What a step says that wanted memberships and found no file."""


def write_memberships(memberships: pl.DataFrame, target: Path) -> None:
    """Write memberships to ``target``, atomically.

    Parameters
    ----------
    memberships : columns of ``peers.MEMBERSHIPS``, others are left out; one row per client and as-of date. Rows of a
        fit later than their week are left out.
    """
    with replacing(target) as partial:
        known_memberships(memberships).write_parquet(partial, compression="zstd")


def read_memberships(source: Path) -> pl.DataFrame | None:
    """Columns of ``peers.MEMBERSHIPS``, sorted by client and as-of date; None where there is no file."""
    return pl.read_parquet(source).select(MEMBERSHIPS.names()) if source.exists() else None


def memberships_in_use() -> pl.DataFrame | None:
    """The memberships peer groups may use; None where ``peers_by_segment`` is off or no segments were found yet."""
    return read_memberships(SETTINGS.memberships) if CONFIG.features.peers_by_segment else None


def segments_note() -> str:
    """What to tell a person about segments as peers; empty where there is nothing to tell."""
    return MISSING if CONFIG.features.peers_by_segment and not SETTINGS.memberships.exists() else ""
