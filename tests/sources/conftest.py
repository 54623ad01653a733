"""Fixtures of this room: data sets made elsewhere (skipped where absent), published files written inline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A folder of the data sets made elsewhere; the test is skipped, with the reason, where it is absent."""
    root = Path(os.environ.get("BCRS_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"no data set made elsewhere at {path}; set BCRS_SHARED_DATA to the folder that holds it")
        return path

    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text files into a folder below the test's own: write("in", {"a.csv": "x\\n1\\n"})."""

    def writer(folder: str, files: dict[str, str]) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text, encoding="utf-8")
        return target

    return writer


@pytest.fixture
def rows() -> Callable[[Path], list[tuple[object, ...]]]:
    """Rows of a Parquet file, in order."""

    def reader(path: Path) -> list[tuple[object, ...]]:
        return pl.read_parquet(path).rows()

    return reader


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
