"""Which published formats there are, and the way from ``<format>:<folder>`` to a landing folder."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

import duckdb

from ml_assets.config import SourceConfig
from ml_assets.sources import adapter as adapter_module
from ml_assets.sources import amlgentex, amlsim, amlworld, landing, paysim, saml_d
from ml_assets.sources.adapter import Adapter, Progress
from ml_assets.sources.errors import InputError
from ml_assets.sources.input_contract import nearest

ADAPTERS: dict[str, Adapter] = {
    module.ADAPTER.name: module.ADAPTER for module in (amlsim, amlgentex, amlworld, saml_d, paysim)
}
"""Adapters by the word before the colon."""

MEMORY_LIMIT = "4GB"
"""DuckDB spills to disk above this while it sorts; enough for ten million payments without spilling."""


def find_adapter(source: str) -> tuple[Adapter, Path]:
    """Adapter and folder of ``<format>:<folder>``.

    Errors
    ------
    InputError : no such format, or no folder after the colon.

    >>> find_adapter("amlsimm:somewhere")
    Traceback (most recent call last):
    ...
    ml_assets.sources.errors.InputError: 'amlsimm' is no known data set format. Did you mean amlsim? ...
    """
    name, _, folder = source.partition(":")
    found = ADAPTERS.get(name.strip().lower().replace("-", "_"))
    if found is None:
        close = nearest(name, list(ADAPTERS))
        raise InputError(
            f"{name!r} is no known data set format",
            f"{f'Did you mean {close}? ' if close else ''}Known: {', '.join(ADAPTERS)}.",
        )
    if not folder.strip():
        raise InputError(f"no folder after {name!r}", f"Write {name}:<folder>.")
    return found, Path(folder.strip()).expanduser()


def adapt(source: str, landing_folder: Path, config: SourceConfig, progress: Progress | None = None) -> bool:
    """Turn a published data set into a landing folder, unless that has been done with the same files and code.

    Parameters
    ----------
    source : ``<format>:<folder>``, for example ``amlsim:downloads/20k``.
    landing_folder : where the result goes; replaced as a whole, or left as it is on any error.
    config : reporting delay and default currency.
    progress : called with a line of text now and then.

    Returns
    -------
    True where the folder was (re)built, False where it was current.

    Errors
    ------
    InputError : unknown format, missing file or column, unreadable file, or a value that is not what the format says.
    """
    found, folder = find_adapter(source)
    landing.clean_leftovers(landing_folder)
    files = found.find(folder)
    modules = [
        Path(inspect.getfile(module))
        for module in (adapter_module, landing, inspect.getmodule(found.build))
        if module is not None
    ]
    made_from = landing.fingerprint(
        [found.name, config.model_dump_json(), *modules, *(files[role] for role in sorted(files))]
    )
    if landing.is_current(landing_folder, made_from):
        return False
    if progress:
        size = sum(path.stat().st_size for path in files.values()) / 1e6
        progress(f"{found.description}: {len(files)} files, {size:.0f} MB")
    with tempfile.TemporaryDirectory(prefix="adapt-") as spill, duckdb.connect() as con:
        con.execute("set python_enable_replacements = false")
        con.execute("set TimeZone = 'UTC'")
        con.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
        con.execute("set temp_directory = ?", [spill])
        with landing.drafted(landing_folder, made_from) as draft:
            draft.reporting_delay_days = config.reporting_delay_days
            try:
                found.build(con, files, draft, config)
            except duckdb.Error as error:
                raise InputError(
                    f"a value is not what the {found.name} format says: {str(error).splitlines()[0]}",
                    "Check that the files are complete and unchanged; download them again.",
                    file=folder,
                ) from error
            if progress:
                progress("; ".join(draft.notes))
    return True
