"""Adapter of the German credit customers (UCI Statlog, in the nine-column form often used for segmentation).

Rule of this file: reads and names, judges nothing. The file has no payments and no dates, so it does not go through
the landing contract; it holds no outcome either, so nothing about defaults can be said from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from ml_assets.sources.errors import InputError

FILE: Final = "german_credit_data.csv"

COLUMNS: Final = {
    "Age": "age_years",
    "Sex": "sex",
    "Job": "job",
    "Housing": "housing",
    "Saving accounts": "savings",
    "Checking account": "checking",
    "Credit amount": "credit_amount_dm",
    "Duration": "duration_months",
    "Purpose": "purpose",
}
"""Header in the file -> name here. Amounts are Deutsche Mark of the early 1990s."""

NUMBERS: Final = ("age_years", "credit_amount_dm", "duration_months")

JOBS: Final = {"0": "unskilled, not resident", "1": "unskilled", "2": "skilled", "3": "highly skilled"}
"""Codes of the file, from the Statlog description."""


def read_german_credit(folder: Path) -> pl.DataFrame:
    """The credit customers, one row each.

    Parameters
    ----------
    folder : the folder with ``german_credit_data.csv``, or the file itself.

    Returns
    -------
    frame : customer_id (row number as text), age_years, sex, job, housing, savings, checking, credit_amount_dm,
        duration_months, purpose. ``NA`` is null: an unknown or missing account.

    Raises
    ------
    InputError : no such file, a column is missing, or a number cannot be read; names it.
    """
    path = folder / FILE if folder.is_dir() else folder
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. CREDIT= takes the folder that holds {FILE}.")
    raw = pl.read_csv(path, infer_schema=False, null_values=["NA", ""])
    missing = [c for c in COLUMNS if c not in raw.columns]
    if missing:
        raise InputError(f"{path}: columns are missing: {', '.join(missing)}.")
    frame = raw.select(pl.col(c).alias(n) for c, n in COLUMNS.items())
    for name in NUMBERS:
        wrong = frame.filter(pl.col(name).is_not_null() & pl.col(name).cast(pl.Float64, strict=False).is_null())
        if wrong.height:
            raise InputError(f"{path}: {name} holds {wrong[name][0]!r}, which is not a number.")
    return (
        frame.with_columns(
            *(pl.col(n).cast(pl.Float64) for n in NUMBERS),
            job=pl.col("job").replace_strict(JOBS, default=pl.col("job"), return_dtype=pl.String),
        )
        .with_row_index("customer_id", 1)
        .with_columns(pl.col("customer_id").cast(pl.String).str.zfill(5))
    )
