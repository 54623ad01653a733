"""P1, volume and velocity: how much money moves, how often, and how unlike the client's own past that is.

What belongs here: counts, sums, means, medians, maxima and deviations over 7, 30 and 90 days in and out, net
flow, rates against the client's own trailing year, concentration in one day or one payment, peak load. What does
not: when in the day or week money moves (P3), with whom (P2), in what form (P4), against what was declared (P5).

Two sources, each used for what only it can do. Sums, counts, maxima, days and the weekly baseline are additive and
come from the warehouse's window table, so that SQL and Python cannot disagree about them. Medians, deviations, the
busiest 24 hours and the former record are not additive and come from one compiled pass over the sorted rows.
Moments are Welford's (Technometrics 4(3), 1962), never differences of float power sums; the baseline's variance,
which SQL delivers as sums of squares, is taken in exact integer cents before the first division.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, ContractError
from ml_assets.features.columns import GRAIN, feature, pillar_contract
from ml_assets.features.history import DAY_US, History, Spine, in_parts

WINDOWS: Final = (7, 30, 90)
"""Days of the three windows; they are part of the column names, so the configuration must say the same."""

_DIRECTIONS: Final = ("inflow", "outflow")
_NOUN: Final = {"inflow": "received", "outflow": "sent"}
_WELFORD: Final = "Welford, Technometrics 4(3), 1962"
_AMOUNT: Final = ("amount",)
_BASELINE_RULE: Final = (
    "null where the client has fewer whole baseline weeks than baseline_minimum_weeks or moved nothing in them"
)

WINDOW_COLUMNS: Final = (
    *(f"{d}_{m}" for d in _DIRECTIONS for w in WINDOWS for m in (f"count_{w}d", f"sum_{w}d_base", f"max_{w}d_base")),
    *(m for w in WINDOWS for m in (f"active_days_{w}d_count", f"busiest_day_sum_{w}d_base")),
    "baseline_weeks_count",
    *(f"baseline_{d}_{m}" for d in _DIRECTIONS for m in ("sum_base", "sumsq_base2")),
    "baseline_txn_count",
    "baseline_txn_sumsq_count2",
)
"""Columns of ``intermediate.int_client_windows`` that this pillar reads, beside the grain."""


def _window_features() -> Iterator[Column]:
    for d in _DIRECTIONS:
        for w in WINDOWS:
            none = f"null where nothing was {_NOUN[d]} in the window"
            yield feature(f"p1_{d}_count_{w}d_count", f"Transactions {_NOUN[d]} in {w} days.", f"rows in [D-{w}d, D)")
            yield feature(
                f"p1_{d}_sum_{w}d_base",
                f"Money {_NOUN[d]} in {w} days.",
                f"sum of amount in [D-{w}d, D)",
                requires=_AMOUNT,
            )
            yield feature(
                f"p1_{d}_mean_{w}d_base",
                f"Average amount {_NOUN[d]} in {w} days.",
                "sum / count",
                null_rule=none,
                requires=_AMOUNT,
            )
            yield feature(
                f"p1_{d}_median_{w}d_base",
                f"Middle amount {_NOUN[d]} in {w} days.",
                "middle of the sorted amounts; mean of the two middle ones where their number is even",
                null_rule=none,
                requires=_AMOUNT,
            )
            yield feature(
                f"p1_{d}_std_{w}d_base",
                f"Spread of the amounts {_NOUN[d]} in {w} days.",
                "sample standard deviation, divisor n - 1",
                null_rule=f"null where fewer than two payments were {_NOUN[d]} in the window",
                source=_WELFORD,
                minimum=0.0,
                requires=_AMOUNT,
            )
            yield feature(
                f"p1_{d}_max_{w}d_base",
                f"Largest amount {_NOUN[d]} in {w} days.",
                "maximum of amount",
                null_rule=none,
                requires=_AMOUNT,
            )


def _flow_features() -> Iterator[Column]:
    for w in WINDOWS:
        silent = f"null where no money moved in {w} days"
        yield feature(
            f"p1_turnover_sum_{w}d_base",
            f"Money received and sent in {w} days.",
            "inflow + outflow",
            requires=_AMOUNT,
        )
        yield feature(
            f"p1_net_flow_sum_{w}d_base",
            f"Money that stayed (positive) or left the account (negative) in {w} days.",
            "inflow - outflow",
            requires=_AMOUNT,
        )
        yield feature(
            f"p1_net_flow_{w}d_index",
            f"Net flow of {w} days as a share of what moved: 1 only in, -1 only out, 0 all that came left.",
            "(inflow - outflow) / (inflow + outflow)",
            null_rule=silent,
            requires=_AMOUNT,
        )
        yield feature(
            f"p1_active_days_{w}d_count", f"Days with a transaction in {w} days.", "distinct days", maximum=float(w)
        )
        yield feature(
            f"p1_txn_per_active_day_{w}d_mean",
            f"Transactions per day on which there was one, in {w} days.",
            "(inflow count + outflow count) / active days",
            null_rule=f"null where there is no transaction in {w} days",
        )
        yield feature(
            f"p1_busiest_day_share_{w}d_ratio",
            f"Share of the turnover of {w} days that moved on one day.",
            "largest daily turnover / turnover",
            null_rule=silent,
            requires=_AMOUNT,
        )
        yield feature(
            f"p1_largest_txn_share_{w}d_ratio",
            f"Share of the turnover of {w} days that was one payment.",
            "largest amount / turnover",
            null_rule=silent,
            requires=_AMOUNT,
        )


_ACCELERATIONS: Final = (("turnover", 7), ("inflow", 7), ("outflow", 7), ("count", 7), ("turnover", 30))


def _velocity_features() -> Iterator[Column]:
    for measure, w in _ACCELERATIONS:
        what = "number of transactions" if measure == "count" else measure
        yield feature(
            f"p1_{measure}_acceleration_{w}d_factor",
            f"Daily {what} of the last {w} days over that of 90 days: 1 steady, above 1 speeding up.",
            f"(sum of {w}d / {w}) / (sum of 90d / 90)",
            null_rule="null where the 90 days hold nothing",
            maximum=90.0 / w,
            requires=() if measure == "count" else _AMOUNT,
        )
    for measure in (*_DIRECTIONS, "count"):
        what = "number of transactions" if measure == "count" else measure
        for w in (7, 30):
            yield feature(
                f"p1_{measure}_baseline_{w}d_zscore",
                f"How far the weekly {what} of the last {w} days lies above the client's own trailing year.",
                f"(sum of {w}d x 7/{w} - m) / (s / sqrt({w}/7)); m, s mean and sample deviation of the weekly sums "
                "in [D-364d, D-28d), s at least baseline_std_floor_ratio x m",
                null_rule=_BASELINE_RULE,
                source="standard score; weeks taken as independent",
                requires=() if measure == "count" else _AMOUNT,
            )
    yield feature(
        "p1_turnover_over_baseline_30d_factor",
        "Weekly turnover of the last 30 days over the client's own weekly mean of the trailing year.",
        "(turnover of 30d x 7/30) / mean weekly turnover in [D-364d, D-28d)",
        null_rule=_BASELINE_RULE,
        requires=_AMOUNT,
    )
    yield feature(
        "p1_peak_24h_count_30d_count",
        "Most transactions within any 24 hours of the last 30 days.",
        "largest number of rows with txn_at in [t, t + 24 h), t a row of the window",
    )
    yield feature(
        "p1_peak_24h_sum_30d_base",
        "Most money moved, in and out, within any 24 hours of the last 30 days.",
        "largest sum of amount over rows with txn_at in [t, t + 24 h), t a row of the window",
        requires=_AMOUNT,
    )
    for d in _DIRECTIONS:
        for w in (30, 90):
            yield feature(
                f"p1_{d}_variation_{w}d_factor",
                f"Spread of the amounts {_NOUN[d]} in {w} days relative to their mean; 0 where all are equal.",
                "sample standard deviation / mean",
                null_rule=f"null where fewer than two payments were {_NOUN[d]} or their mean is not positive",
                source=_WELFORD,
                requires=_AMOUNT,
            )
        yield feature(
            f"p1_{d}_record_30d_factor",
            f"Largest amount {_NOUN[d]} in 30 days over the largest of the 334 days before: above 1 is a new record.",
            "max of [D-30d, D) / max of [D-364d, D-30d)",
            null_rule="null where either period has no such payment, or the earlier maximum is not positive",
            requires=_AMOUNT,
        )


CONTRACT = pillar_contract(
    "p1_volume_velocity",
    "how much money moved, how often, and how that compares with the client's own past.",
    (*_window_features(), *_flow_features(), *_velocity_features()),
)
"""Contract of ``features.feat_p1_volume_velocity``."""


@njit(cache=True)
def _median(values, n):  # type: ignore[no-untyped-def]
    """Median of ``values[:n]`` (n >= 1), reordering them: Hoare's quickselect, expected O(n)."""
    k = n // 2
    low, high = 0, n - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    if n % 2 == 1:
        return values[k]
    below = values[0]
    for i in range(1, k):
        below = max(below, values[i])
    return (below + values[k]) / 2.0


@njit(cache=True)
def _std(values, start, stop):  # type: ignore[no-untyped-def]
    """Sample standard deviation of ``values[start:stop]``, NaN under two values: Welford's stable update."""
    mean = 0.0
    m2 = 0.0
    for i in range(start, stop):
        delta = values[i] - mean
        mean += delta / (i - start + 1)
        m2 += delta * (values[i] - mean)
    n = stop - start
    return np.sqrt(m2 / (n - 1)) if n > 1 else np.nan


@njit(cache=True, nogil=True)
def _statistics(at, known_day, amount, is_inbound, as_of_day, year_low, lows, high, room):  # type: ignore[no-untyped-def]
    """Non-additive statistics per pair, O(rows of the year) each; rows are known if ``known_day < as_of_day``.

    ``lows`` has shape (n, 3): first row of the 7, 30 and 90-day window. Returns

    - median, std : shape (n, 2, 3), direction (inbound first) by window; NaN where too few rows,
    - peak_count, peak_sum : shape (n,), busiest 24 hours of the 30 days, 0 where none,
    - record : shape (n, 2), largest amount of [D-364d, D-30d); NaN where none.
    """
    n = len(as_of_day)
    median = np.full((n, 2, 3), np.nan)
    std = np.full((n, 2, 3), np.nan)
    peak_count = np.zeros(n, dtype=np.int64)
    peak_sum = np.zeros(n)
    record = np.full((n, 2), np.nan)
    kept = np.empty((2, room))
    scratch = np.empty(room)
    month_at = np.empty(room, dtype=np.int64)
    month_cents = np.empty(room, dtype=np.int64)
    first = np.empty((2, 3), dtype=np.int64)
    for i in range(n):
        for row in range(year_low[i], lows[i, 1]):
            if known_day[row] < as_of_day[i]:
                d = 0 if is_inbound[row] else 1
                if not amount[row] <= record[i, d]:
                    record[i, d] = amount[row]
        size = np.zeros(2, dtype=np.int64)
        month = 0
        # windows from the longest to the shortest: when the pass reaches a window's first row, all kept so far is older
        w = 2
        for row in range(lows[i, 2], high[i]):
            while w >= 0 and row >= lows[i, w]:
                first[0, w] = size[0]
                first[1, w] = size[1]
                w -= 1
            if known_day[row] >= as_of_day[i]:
                continue
            d = 0 if is_inbound[row] else 1
            kept[d, size[d]] = amount[row]
            size[d] += 1
            if row >= lows[i, 1]:
                month_at[month] = at[row]
                month_cents[month] = np.int64(np.rint(amount[row] * 100.0))
                month += 1
        while w >= 0:
            first[0, w] = size[0]
            first[1, w] = size[1]
            w -= 1
        for d in range(2):
            for w in range(3):
                count = size[d] - first[d, w]
                if count > 0:
                    for j in range(count):
                        scratch[j] = kept[d, first[d, w] + j]
                    median[i, d, w] = _median(scratch, count)
                    std[i, d, w] = _std(kept[d], first[d, w], size[d])
        # two pointers in integer cents, so that leaving rows are subtracted without residue
        end = 0
        cents = 0
        best = 0
        for begin in range(month):
            while end < month and month_at[end] < month_at[begin] + DAY_US:
                cents += month_cents[end]
                end += 1
            peak_count[i] = max(peak_count[i], end - begin)
            best = max(best, cents)
            cents -= month_cents[begin]
        peak_sum[i] = best / 100.0
    return median, std, peak_count, peak_sum, record


def _history_statistics(history: History, spine: Spine) -> pl.DataFrame:
    """Statistics of :func:`_statistics` as columns, one row per pair of the spine, in its order."""

    def some(part: slice) -> tuple[NDArray[np.generic], ...]:
        client, as_of_day = spine.client[part], spine.as_of_day[part]
        ranges = [history.window(client, as_of_day, w) for w in WINDOWS]
        high = ranges[0][1]
        lows: NDArray[np.int64] = np.ascontiguousarray(np.stack([low for low, _ in ranges], axis=1))
        year_low, _ = history.window(client, as_of_day, 364)
        room = int(np.max(high - lows[:, 2], initial=0))
        found: tuple[NDArray[np.generic], ...] = _statistics(
            history.at,
            history.known_day,
            history.amount,
            history.is_inbound,
            as_of_day,
            year_low,
            lows,
            high,
            room,
        )
        return found

    median, std, peak_count, peak_sum, record = in_parts(some, len(spine))
    columns: dict[str, NDArray[np.generic]] = {
        "p1_peak_24h_count_30d_count": peak_count,
        "p1_peak_24h_sum_30d_base": peak_sum,
    }
    for i, d in enumerate(_DIRECTIONS):
        columns[f"{d}_record"] = record[:, i]
        for j, w in enumerate(WINDOWS):
            columns[f"p1_{d}_median_{w}d_base"] = median[:, i, j]
            columns[f"p1_{d}_std_{w}d_base"] = std[:, i, j]
    return pl.DataFrame(columns)


def _join_windows(spine: Spine, windows: pl.DataFrame) -> pl.DataFrame:
    """The spine with its :data:`WINDOW_COLUMNS`, in the spine's order; refuses a spine row without windows."""
    missing = [c for c in (*GRAIN, *WINDOW_COLUMNS) if c not in windows.columns]
    if missing:
        raise ContractError(f"int_client_windows lacks {', '.join(missing)}: rebuild it before P1.")
    wanted = windows.select("client_id", pl.col("as_of_date").cast(pl.Date), *WINDOW_COLUMNS, is_there=pl.lit(True))
    joined = spine.frame().join(wanted, on=list(GRAIN), how="left", maintain_order="left")
    if len(joined) != len(spine):
        raise ContractError("int_client_windows has a client and as-of date twice: its grain is broken.")
    absent = joined.filter(pl.col("is_there").is_null())
    if len(absent):
        client, day = absent.select(GRAIN).row(0)
        raise ContractError(
            f"int_client_windows has no row for {len(absent)} pairs of the spine, first {client} at {day}: "
            "build the windows of these weeks first."
        )
    return joined.drop("is_there")


def _fixed(column: str, scale: int) -> pl.Expr:
    """Column as exact Int128 in units of ``10**-scale``: money in cents at scale 2, its squares at scale 4."""
    return pl.col(column).cast(pl.Decimal(38, scale)).to_physical().cast(pl.Int128)


def _baseline_std(weeks: pl.Expr, sum_units: pl.Expr, sumsq_units: pl.Expr, unit: float) -> pl.Expr:
    """Sample deviation from integer sums: ``sqrt((n Q - S^2) / (n (n - 1)))``, exact up to the division."""
    weeks_wide = weeks.cast(pl.Int128)
    spread = (weeks_wide * sumsq_units - sum_units * sum_units).cast(pl.Float64)
    n = weeks.cast(pl.Float64)
    return (spread.clip(0.0) / (n * (n - 1.0))).sqrt() * unit


def _ratio(top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
    """Quotient, null where the divisor is not positive."""
    return pl.when(bottom > 0).then(top / bottom)


def build(history: History, spine: Spine, config: FeatureConfig, *, windows: pl.DataFrame) -> pl.DataFrame:
    """P1 features of every pair of the spine.

    Parameters
    ----------
    history : sorted transactions; rows at or after D, or known at or after D, are ignored for D.
    spine : pairs asked for.
    config : ``baseline_minimum_weeks`` and ``baseline_std_floor_ratio`` are used.
    windows : ``intermediate.int_client_windows``, one row per client and as-of date, at least for the spine's
        pairs, with :data:`WINDOW_COLUMNS`; money as DECIMAL (exact) or floating point.

    Returns
    -------
    One row per pair, columns of :data:`CONTRACT`, sorted by grain; money in the base currency.

    Raises
    ------
    ContractError : windows lack a column or a pair, or the configured windows are not those of the names.
    """
    if tuple(config.window_days) != WINDOWS:
        raise ContractError(f"P1's columns are named for windows of {WINDOWS} days, configured {config.window_days}")
    frame = _join_windows(spine, windows).hstack(_history_statistics(history, spine))
    weeks = pl.col("baseline_weeks_count").cast(pl.Int64)
    has_baseline = weeks >= config.baseline_minimum_weeks
    n_weeks = weeks.cast(pl.Float64)
    mean = {d: _fixed(f"baseline_{d}_sum_base", 2).cast(pl.Float64) / 100.0 / n_weeks for d in _DIRECTIONS}
    mean["count"] = pl.col("baseline_txn_count").cast(pl.Float64) / n_weeks
    std = {
        d: _baseline_std(weeks, _fixed(f"baseline_{d}_sum_base", 2), _fixed(f"baseline_{d}_sumsq_base2", 4), 0.01)
        for d in _DIRECTIONS
    }
    std["count"] = _baseline_std(weeks, _fixed("baseline_txn_count", 0), _fixed("baseline_txn_sumsq_count2", 0), 1.0)

    def of(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64)

    total: dict[tuple[str, int], pl.Expr] = {}
    out: dict[str, pl.Expr] = {}
    for w in WINDOWS:
        for d in _DIRECTIONS:
            total[d, w] = of(f"{d}_sum_{w}d_base")
            count = of(f"{d}_count_{w}d")
            out[f"p1_{d}_count_{w}d_count"] = count
            out[f"p1_{d}_sum_{w}d_base"] = total[d, w]
            out[f"p1_{d}_mean_{w}d_base"] = _ratio(total[d, w], count)
            out[f"p1_{d}_max_{w}d_base"] = of(f"{d}_max_{w}d_base")
            if w != 7:
                out[f"p1_{d}_variation_{w}d_factor"] = _ratio(
                    pl.col(f"p1_{d}_std_{w}d_base").fill_nan(None), out[f"p1_{d}_mean_{w}d_base"]
                )
        # cents, so that the sum of the two directions is the same number whichever way it is reached
        turnover = (_fixed(f"inflow_sum_{w}d_base", 2) + _fixed(f"outflow_sum_{w}d_base", 2)).cast(pl.Float64) / 100.0
        net = (_fixed(f"inflow_sum_{w}d_base", 2) - _fixed(f"outflow_sum_{w}d_base", 2)).cast(pl.Float64) / 100.0
        total["turnover", w] = turnover
        total["count", w] = of(f"inflow_count_{w}d") + of(f"outflow_count_{w}d")
        out[f"p1_turnover_sum_{w}d_base"] = turnover
        out[f"p1_net_flow_sum_{w}d_base"] = net
        out[f"p1_net_flow_{w}d_index"] = _ratio(net, turnover)
        out[f"p1_active_days_{w}d_count"] = of(f"active_days_{w}d_count")
        out[f"p1_txn_per_active_day_{w}d_mean"] = _ratio(total["count", w], of(f"active_days_{w}d_count"))
        out[f"p1_busiest_day_share_{w}d_ratio"] = _ratio(of(f"busiest_day_sum_{w}d_base"), turnover)
        largest = pl.max_horizontal(of(f"inflow_max_{w}d_base"), of(f"outflow_max_{w}d_base"))
        out[f"p1_largest_txn_share_{w}d_ratio"] = _ratio(largest, turnover)
    for measure, w in _ACCELERATIONS:
        out[f"p1_{measure}_acceleration_{w}d_factor"] = _ratio(total[measure, w] / w, total[measure, 90] / 90.0)
    for measure in (*_DIRECTIONS, "count"):
        spread = pl.max_horizontal(std[measure], mean[measure] * config.baseline_std_floor_ratio)
        for w in (7, 30):
            distance = (total[measure, w] * (7.0 / w) - mean[measure]) * float(np.sqrt(w / 7.0))
            out[f"p1_{measure}_baseline_{w}d_zscore"] = pl.when(has_baseline & (mean[measure] > 0)).then(
                _ratio(distance, spread)
            )
    out["p1_turnover_over_baseline_30d_factor"] = pl.when(has_baseline).then(
        _ratio(total["turnover", 30] * (7.0 / 30.0), mean["inflow"] + mean["outflow"])
    )
    for d in _DIRECTIONS:
        out[f"p1_{d}_record_30d_factor"] = _ratio(of(f"{d}_max_30d_base"), pl.col(f"{d}_record").fill_nan(None))
    made = [c.name for c in CONTRACT.columns if c.name not in out]
    return CONTRACT.conform(frame.select(*made, **out))
