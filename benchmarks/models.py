"""The SQL of the dbt models, rendered from their own files: what is measured is what dbt builds.

dbt itself would spend seconds on parsing and connections. The model files are Jinja; here ``ref`` and ``source``
become the DuckDB address (schema by folder, as in ``dbt_project.yml``), ``config`` nothing, and the project's own
macros are used as they are. What dbt adds, deleting and inserting the requested weeks, is left out.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import jinja2

PROJECT: Final = Path(__file__).resolve().parents[1] / "dbt_project"
_MACROS: Final = ("money", "incremental")


@lru_cache
def _file_of(model: str) -> Path:
    found = sorted((PROJECT / "models").rglob(f"{model}.sql"))
    if len(found) != 1:
        raise FileNotFoundError(f"{model}: {len(found)} files in dbt_project/models")
    return found[0]


def address(model: str) -> str:
    """``schema.table`` of a model: its schema is the first folder under ``models``."""
    return f"{_file_of(model).relative_to(PROJECT / 'models').parts[0]}.{model}"


def render(model: str) -> str:
    """SQL of a model on its first run (nothing built before).

    Raises
    ------
    FileNotFoundError : there is no such model.
    """
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined, autoescape=False)
    known: dict[str, Any] = {
        "ref": address,
        "source": lambda schema, table: f"{schema}.{table}",
        "config": lambda **_: "",
        "is_incremental": lambda: False,
        "this": address(model),
    }
    environment.globals.update(known)
    for name in _MACROS:
        macros = environment.from_string((PROJECT / "macros" / f"{name}.sql").read_text()).make_module(known)
        known |= {k: v for k, v in vars(macros).items() if not k.startswith("_")}
    environment.globals.update(known)
    return environment.from_string(_file_of(model).read_text()).render()
