"""The user's own folder: is everything there and readable, and if so, put it into the landing folder.

Whatever would stop a run is said before anything is touched, with what to do about it. Single bad lines
and bad values are not looked for here: ingestion and staging set them aside with a reason each.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_assets.config import SourceConfig
from ml_assets.sources import landing as landing_module
from ml_assets.sources.adapter import Progress, files_in
from ml_assets.sources.errors import InputError
from ml_assets.sources.input_contract import ENTITIES, SUFFIXES, InputEntity, entity_of
from ml_assets.sources.landing import DESCRIPTION, describe
from ml_assets.sources.readers import CONVERT, TableFile, explained, probe, scan_text


@dataclass(frozen=True)
class CheckedFile:
    """A file of the user's folder that can be read: its entity and its header."""

    entity: InputEntity
    table: TableFile


def check_folder(folder: Path, *, is_thorough: bool = True) -> list[CheckedFile]:
    """Check that a folder holds readable input, required files and columns included.

    Parameters
    ----------
    folder : the user's folder.
    is_thorough : read CSV files to their end (intact gzip, UTF-8, at least one row); otherwise headers only.

    Returns
    -------
    The files that will be read, sorted by name.

    Errors
    ------
    InputError : folder missing or closed; required file missing; file closed, empty, damaged, not UTF-8 or without
        rows; required column missing. One class only and one client only are no errors.
    """
    _check_access(folder)
    found = [(path, entity) for path in files_in(folder) if (entity := entity_of(path))]
    for entity in ENTITIES.values():
        if entity.is_required and not any(e is entity for _, e in found):
            raise InputError(f"no file for {entity.name} ({_there(folder)})", _how_to_add(folder, entity), file=folder)
    checked = []
    for path, entity in found:
        if not os.access(path, os.R_OK):
            raise InputError(
                "no permission to read it", "Give the user that runs this read access (chmod u+r).", file=path
            )
        table = probe(path, entity)
        if is_thorough:
            _check_content(path, table, entity)
        checked.append(CheckedFile(entity, table))
    return checked


def _check_access(folder: Path) -> None:
    with explained(folder):
        exists, is_folder = folder.exists(), folder.is_dir()
    if exists and is_folder and not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(
            "no permission to open this folder", "Give the user that runs this access (chmod u+rx).", file=folder
        )


def _there(folder: Path) -> str:
    names = [p.name for p in files_in(folder)]
    return f"found {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "the folder is empty"


def _how_to_add(folder: Path, entity: InputEntity) -> str:
    alike = [p.name for p in files_in(folder) if p.name.lower().startswith(entity.name[:8])]
    if alike and not alike[0].lower().endswith(SUFFIXES):
        return f"Save {alike[0]} as {entity.name}.csv (UTF-8) or {entity.name}.parquet."
    if alike:
        return f"Rename {alike[0]} so that its name begins with {entity.name}."
    return f"Add {entity.name}.csv, {entity.name}.csv.gz or {entity.name}.parquet with {', '.join(entity.required)}."


def _check_content(path: Path, table: TableFile, entity: InputEntity) -> None:
    if table.kind == "parquet":
        with explained(path):
            try:
                rows = pq.read_metadata(path).num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"this is no intact Parquet file ({error})", "Write it again.", file=path) from error
        if rows == 0 and entity.is_required:
            raise InputError("the file has no rows", "Export it again.", file=path)
        return
    facts = scan_text(path)
    if facts.undecodable is not None:
        line, offset, found = facts.undecodable
        raise InputError(
            f"the text is not UTF-8: byte 0x{found[0]:02x} on line {line}, byte offset {offset}",
            CONVERT,
            file=path,
            row=line - 1,
        )
    if facts.lines < 2 and entity.is_required:
        raise InputError("the file has a header and no rows", "Export it again.", file=path)


def stage_folder(folder: Path, landing: Path, config: SourceConfig, progress: Progress | None = None) -> bool:
    """Check the user's folder and put its files into the landing folder, by hard link where that works.

    A ``source.json`` of the user's (base currency, reporting delay, reasons) is honoured.

    Returns
    -------
    True where the landing folder was (re)built, False where it held exactly these files already or is the folder
    itself.

    Errors
    ------
    InputError : see :func:`check_folder`.
    """
    landing_module.clean_leftovers(landing)
    if folder.resolve() == landing.resolve():
        check_folder(folder)
        return False
    checked = check_folder(folder, is_thorough=False)
    paths = [item.table.path for item in checked]
    said = describe(folder)
    extra = [folder / DESCRIPTION] if said else []
    with explained(folder):
        made_from = landing_module.fingerprint(["folder", config.model_dump_json(), *paths, *extra])
    if landing_module.is_current(landing, made_from):
        return False
    check_folder(folder)
    with landing_module.drafted(landing, made_from) as draft:
        draft.source = str(said.get("source") or "folder")
        draft.base_currency = said.get("base_currency")
        draft.reporting_delay_days = int(said.get("reporting_delay_days", config.reporting_delay_days))
        draft.not_available = {str(k): str(v) for k, v in (said.get("not_available") or {}).items()}
        draft.notes = [str(note) for note in said.get("notes") or []]
        for path in paths:
            _link(path.resolve(), draft.folder / path.name)
        if progress:
            progress(f"{len(paths)} files: {', '.join(path.name for path in paths)}")
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # another file system, or one without hard links
        with explained(source):
            shutil.copyfile(source, target)
