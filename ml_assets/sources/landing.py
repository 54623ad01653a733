"""Building a landing folder: Parquet files of the input contract, a description, and the truth beside them.

A folder is built under a temporary name next to its place and renamed when it is whole, so a crash
leaves either the old folder or the new one. A folder whose inputs and maker have not changed is left
as it is, and files that somebody else put there are never removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.sources.errors import InputError
from ml_assets.sources.input_contract import ENTITIES, entity_of

DESCRIPTION = "source.json"
"""Name of the file that describes a landing folder."""

TRUTH = "truth"
"""Sub-folder for ground truth: never ingested, for evaluation only."""


class LandingDraft:
    """A landing folder under construction.

    Attributes
    ----------
    folder : where files go; write nothing outside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = ""
        self.base_currency: str | None = None
        self.reporting_delay_days = 0
        self.not_available: dict[str, str] = {}
        self.notes: list[str] = []

    def write(self, con: duckdb.DuckDBPyConnection, entity: str, query: str, order: str) -> int:
        """Write one entity's Parquet file from a query, in a stated order; returns its rows.

        Errors
        ------
        ValueError : the query yields a column that the contract does not have.
        """
        names = [name for name, *_ in con.execute(f"describe {query}").fetchall()]
        foreign = [name for name in names if name not in ENTITIES[entity].columns]
        if foreign:
            raise ValueError(f"{entity}: not in the input contract: {', '.join(foreign)}")
        return write_parquet(con, self.folder / f"{entity}.parquet", query, order)

    def write_truth(self, con: duckdb.DuckDBPyConnection, name: str, query: str, order: str) -> int:
        """Write one table of ground truth into ``truth/``; returns its rows."""
        (self.folder / TRUTH).mkdir(exist_ok=True)
        return write_parquet(con, self.folder / TRUTH / f"{name}.parquet", query, order)


def write_parquet(con: duckdb.DuckDBPyConnection, path: Path, query: str, order: str) -> int:
    """Write ``query`` sorted by ``order`` into a Parquet file; returns its rows."""
    target = str(path).replace("'", "''")
    row = con.execute(
        f"copy (select * from ({query}) order by {order}) to '{target}' (format parquet, compression zstd)"
    ).fetchone()
    return int(row[0]) if row else 0


def describe(landing: Path) -> dict[str, Any]:
    """Content of a landing folder's ``source.json``; empty where there is none.

    Errors
    ------
    InputError : the file is not a JSON object.
    """
    path = landing / DESCRIPTION
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"not readable as JSON ({error})", "Mend or remove it.", file=path) from error
    if not isinstance(found, dict):
        raise InputError("not a JSON object", 'It must look like {"source": "...", ...}.', file=path)
    return found


def fingerprint(parts: Iterable[str | Path]) -> str:
    """SHA-256 over texts and the contents of files, in order: equal only if all of them are."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest.update(part.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def is_current(landing: Path, made_from: str) -> bool:
    """True where ``landing`` was made from inputs of this fingerprint and its files are all there."""
    try:
        found = describe(landing)
    except InputError:
        return False
    return found.get("made_from") == made_from and all((landing / name).is_file() for name in found.get("files", [""]))


def foreign_files(landing: Path) -> list[str]:
    """Input files in ``landing`` that its description does not list: put there by somebody else."""
    if not landing.is_dir():
        return []
    listed = set(describe(landing).get("files", []))
    return sorted(p.name for p in landing.iterdir() if p.is_file() and entity_of(p) and p.name not in listed)


@contextmanager
def drafted(landing: Path, made_from: str) -> Iterator[LandingDraft]:
    """Build a landing folder and put it in place at the end; on an error the old one stays.

    Hidden files and a README of the old folder are carried over.

    Errors
    ------
    InputError : the folder in place holds input files that no adapter wrote.
    """
    landing = landing.resolve()
    strangers = foreign_files(landing)
    if strangers:
        raise InputError(
            f"the landing folder holds files that this source did not write: {', '.join(strangers)}",
            "Move them away, or run with DATA=<that folder>, before changing the source.",
            file=landing,
        )
    landing.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{landing.name}.new-", dir=landing.parent))
    old = landing.with_name(f".{landing.name}.old")
    try:
        # readable by whoever could read an ordinary folder: mkdtemp closes it to everybody else
        folder.chmod(0o755)
        draft = LandingDraft(folder)
        yield draft
        description = {
            "source": draft.source,
            "base_currency": draft.base_currency,
            "reporting_delay_days": draft.reporting_delay_days,
            "not_available": dict(sorted(draft.not_available.items())),
            "notes": draft.notes,
            "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()),
            "made_from": made_from,
        }
        (folder / DESCRIPTION).write_text(
            json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        if landing.is_dir():
            for kept in landing.iterdir():
                if kept.is_file() and (kept.name.startswith(".") or kept.name.upper().startswith("README")):
                    shutil.copy2(kept, folder / kept.name)
            shutil.rmtree(old, ignore_errors=True)
            os.replace(landing, old)
        os.replace(folder, landing)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if old.is_dir() and not landing.exists():
            os.replace(old, landing)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def clean_leftovers(landing: Path) -> None:
    """Undo what a killed build left: bring the old folder back if its place is empty, drop half-built ones."""
    landing = landing.resolve()
    old = landing.with_name(f".{landing.name}.old")
    if old.is_dir():
        if landing.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, landing)
    if landing.parent.is_dir():
        for half in landing.parent.glob(f".{landing.name}.new-*"):
            shutil.rmtree(half, ignore_errors=True)
