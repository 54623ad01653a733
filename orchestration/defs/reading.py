"""What weekly steps read from the warehouse: the history their weeks may see, and rows of their weeks."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.features.history import TRANSACTION_COLUMNS, History, Spine, build_history, build_spine
from orchestration.defs.resources import Warehouse

ROWS_AT_ONCE = 400_000
"""Client-weeks held with all their features at once: about 1 GB, eight weeks of a bank of 50,000 clients."""

LOOKBACK_DAYS = 400
"""History a week may need: the 364-day baseline and a margin, whatever lies further back."""

SPINE_KEY = dg.AssetKey(["intermediate", "int_client_weeks"])
WINDOWS_KEY = dg.AssetKey(["intermediate", "int_client_windows"])
LABELS_KEY = dg.AssetKey(["intermediate", "int_client_labels"])
TRANSACTIONS_KEY = dg.AssetKey(["intermediate", "int_transactions"])

_CACHE: dict[Any, History] = {}


def read_history(warehouse: Warehouse, weeks: list[date]) -> History:
    """Transactions the weeks may see, as sorted arrays; the last one read is kept for the next pillar of the run."""
    low, high = weeks[0] - timedelta(days=LOOKBACK_DAYS), weeks[-1]
    state = warehouse.read("select count(*) as n, sum(rows)::bigint as r, max(content_hash) as h from raw.deliveries")
    key = (warehouse.path, low, high, state.row(0))
    if key not in _CACHE:
        frame = warehouse.read(
            f"select {', '.join(TRANSACTION_COLUMNS)} from intermediate.int_transactions "
            "where txn_date >= ? and txn_date < ? and known_date < ?",
            [low, high, high],
        )
        _CACHE.clear()
        _CACHE[key] = build_history(frame)
    return _CACHE[key]


def forget_history() -> None:
    """Drop the kept history: the file at the same path is another one now."""
    _CACHE.clear()


def read_weeks(warehouse: Warehouse, address: str, weeks: list[date], columns: str = "*") -> pl.DataFrame:
    """Rows of the given as-of weeks, decimals as 64-bit floats, sorted by client and week."""
    frame = warehouse.read(
        f"select {columns} from {address} where as_of_date in (select unnest(?::date[])) "
        "order by client_id, as_of_date",
        [weeks],
    )
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def week_batches(warehouse: Warehouse, weeks: list[date]) -> list[list[date]]:
    """The weeks in order, cut so that a batch has about :data:`ROWS_AT_ONCE` client-weeks and at least one week."""
    low, high = weeks[0], weeks[-1]
    counted = warehouse.read(
        "select count(*) as n from intermediate.int_client_weeks where as_of_date between ? and ?", [low, high]
    )
    size = max(1, int(ROWS_AT_ONCE * len(weeks) / max(1, counted.item())))
    return [weeks[at : at + size] for at in range(0, len(weeks), size)]


def read_spine(warehouse: Warehouse, history: History, weeks: list[date]) -> Spine:
    """The (client, as-of date) pairs of the weeks."""
    return build_spine(history, read_weeks(warehouse, "intermediate.int_client_weeks", weeks, "client_id, as_of_date"))
