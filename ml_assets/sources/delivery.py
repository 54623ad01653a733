"""From the name of a source to a filled landing folder, whatever the source is.

A source is ``simulated``, ``folder:<path>`` or ``<format>:<path>``.
"""

from __future__ import annotations

from pathlib import Path

from ml_assets.config import Config
from ml_assets.sources import landing as landing_module
from ml_assets.sources.adapter import Progress
from ml_assets.sources.errors import InputError
from ml_assets.sources.ingest import landing_files
from ml_assets.sources.registry import ADAPTERS, adapt, find_adapter
from ml_assets.sources.user_folder import check_folder, stage_folder

SIMULATED = "simulated"
FOLDER = "folder"


def check_source(source: str) -> str:
    """Check quickly (names and headers only) that a source can be read; returns it with an absolute path.

    Errors
    ------
    InputError : unknown kind of source, missing folder, file or column.

    >>> check_source("simulated")
    'simulated'
    """
    kind, _, path = source.strip().partition(":")
    kind = kind.strip().lower()
    if kind == SIMULATED and not path:
        return SIMULATED
    if kind == FOLDER:
        folder = _folder(path)
        check_folder(folder, is_thorough=False)
        return f"{FOLDER}:{folder}"
    if kind == SIMULATED or kind.replace("-", "_") not in ADAPTERS:
        known = f"{SIMULATED}, {FOLDER}:<path>, " + ", ".join(f"{name}:<path>" for name in ADAPTERS)
        raise InputError(f"{source!r} is no known source", f"Known: {known}.")
    adapter, folder = find_adapter(source)
    adapter.find(folder)
    return f"{adapter.name}:{folder.resolve()}"


def _folder(path: str) -> Path:
    if not path.strip():
        raise InputError("no folder named", "Write folder:<path>, or make run DATA=<path>.")
    return Path(path.strip()).expanduser().resolve()


def deliver(source: str, landing: Path, config: Config, progress: Progress | None = None) -> bool:
    """Fill the landing folder from a source; a folder that is current is left as it is.

    Parameters
    ----------
    source : ``simulated``, ``folder:<path>`` or ``<format>:<path>``.
    landing : the folder to fill; it is replaced as a whole, or stays as it is on any error.
    config : the simulation's knobs and what adapters assume.
    progress : called with a line of text now and then.

    Returns
    -------
    True where the folder was (re)built.

    Errors
    ------
    InputError : the source cannot be read.
    """
    source = check_source(source)
    if source == SIMULATED:
        return _simulate(landing, config, progress)
    if source.startswith(f"{FOLDER}:"):
        return stage_folder(_folder(source.partition(":")[2]), landing, config.source, progress)
    return adapt(source, landing, config.source, progress)


def _simulate(landing: Path, config: Config, progress: Progress | None) -> bool:
    # imported here: the simulation is large, and most callers of this room do not need it
    from ml_assets.sources import simulated_bank

    landing_module.clean_leftovers(landing)
    code = sorted(Path(simulated_bank.__path__[0]).glob("*.py"))
    made_from = landing_module.fingerprint([SIMULATED, config.simulation.model_dump_json(), *code])
    if landing_module.is_current(landing, made_from):
        return False
    with landing_module.drafted(landing, made_from) as draft:
        simulated_bank.simulate(config.simulation, draft.folder, progress)
        said = landing_module.describe(draft.folder)
        draft.source = str(said.get("source", SIMULATED))
        draft.base_currency = said.get("base_currency", config.source.base_currency)
        draft.reporting_delay_days = int(said.get("reporting_delay_days", config.source.reporting_delay_days))
        draft.not_available = dict(said.get("not_available", {}))
        draft.notes = list(said.get("notes", []))
    return True


def input_listing(source: str, landing: Path) -> dict[str, str]:
    """Names of the files a run would read, each with a text that changes when the file does (size and time).

    For a published format these are the published files, for a folder the user's, for the simulation the landing
    files it wrote; files that somebody else put into the landing folder always count.

    Errors
    ------
    InputError : see :func:`check_source`.
    """
    source = check_source(source)
    if source == SIMULATED:
        files = landing_files(landing) if landing.is_dir() else []
    elif source.startswith(f"{FOLDER}:"):
        files = landing_files(_folder(source.partition(":")[2]))
    else:
        adapter, folder = find_adapter(source)
        files = sorted(adapter.find(folder).values())
    listing = {path.name: _state(path) for path in files}
    if source != SIMULATED:
        listing |= {f"landing/{name}": _state(landing / name) for name in landing_module.foreign_files(landing)}
    return listing


def _state(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"
