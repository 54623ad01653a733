"""What a dbt call is told by its environment.

Apart from :mod:`ml_assets.config`, whose libraries take longer to import than such a call takes to hand itself over.
"""

from __future__ import annotations

import os
from pathlib import Path

DBT_PARSE = "partial_parse.msgpack"
"""dbt's name for what it keeps of a parsed project, in its target folder."""


def dbt_target() -> Path:
    """Folder in which the running dbt works: ``DBT_TARGET_PATH``, as dbt reads it."""
    return Path(os.environ.get("DBT_TARGET_PATH", "target"))


def dbt_writes_json() -> bool:
    """Is the running dbt asked for JSON on its output: ``DBT_LOG_FORMAT``, as dbt reads it."""
    return os.environ.get("DBT_LOG_FORMAT") == "json"


DBT_STAND_BY = "BCRS_DBT_STAND_BY"
"""Environment variable that names the socket of a process that waits for dbt calls."""


def dbt_stand_by() -> Path | None:
    """Socket of a process that waits for dbt calls (:data:`DBT_STAND_BY`); None where nobody waits."""
    named = os.environ.get(DBT_STAND_BY)
    return Path(named) if named else None
