"""Great Expectations suites of the Python-made tables as blocking asset checks.

dbt's own tests become asset checks by themselves; the suites here follow from the table contracts. A
check is part of the step that wrote the table, so it sees exactly the weeks just replaced.
"""

from __future__ import annotations

import dagster as dg
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.contracts.expectations import profile_table, validate_profile
from orchestration.defs.metadata import markdown_table

CHECK = "contract_holds"


def check_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The blocking check that a table keeps its contract."""
    return dg.AssetCheckSpec(
        CHECK,
        asset=key,
        blocking=True,
        description="Great Expectations: unique grain, no empty week, nulls only where allowed, ranges kept.",
    )


def check_result(
    frame: pl.DataFrame, contract: TableContract, expected_rows: int | None = None, allows_empty: bool = False
) -> dg.AssetCheckResult:
    """Validate ``frame``.

    ``expected_rows`` adds that every row of the spine is there, once; ``allows_empty`` is for findings: a run without
    one is no failure.
    """
    return check_profile(profile_table(frame, contract), contract, expected_rows, allows_empty)


def check_profile(
    profile: pl.DataFrame, contract: TableContract, expected_rows: int | None = None, allows_empty: bool = False
) -> dg.AssetCheckResult:
    """Validate a table by its :func:`profile_table`, for tables whose weeks are not held together; see check_result."""
    rows = int(profile["rows"].sum())
    result = validate_profile(profile, contract)
    failures = [] if allows_empty and not rows else list(result.failures)
    if expected_rows is not None and rows != expected_rows:
        failures.append(f"{rows} rows, but the spine has {expected_rows}")
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=dg.AssetKey([contract.schema, contract.name]),
        passed=not failures,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "expectations": result.evaluated,
            "failed": "; ".join(failures) or "none",
            "profile": markdown_table(profile.transpose(include_header=True, column_names=None), 60)
            if profile.height
            else "empty",
        },
    )
