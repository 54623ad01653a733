"""P3, temporal behaviour: when money moves, how regularly, and whether that has changed.

What belongs here: the distribution over hours, weekdays, days of the month and sizes; gaps between transactions;
the shape of the daily series (autocorrelation, change point, periods); silence and what follows it; the generated
characteristics that :mod:`ml_assets.features.tsfresh_engine` selected. What does not: amounts as such (P1),
counterparties (P2), typologies such as bursts within a minute (P4).

Hours and weekdays are UTC. Times are used only of rows whose source gives a time; a source that gives dates only
leaves the hourly features null, and its gaps are whole days. Money enters sums as integer cents, so that equal days
are exactly equal and no result depends on the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, ContractError
from ml_assets.features.columns import feature, pillar_contract
from ml_assets.features.history import DAY_US, History, Spine, in_parts
from ml_assets.features.tsfresh_engine import SLOTS, FrozenSelection, compute, daily_series

AMOUNT_EDGES_CENTS: Final = np.rint(100.0 * 10.0 ** (np.arange(13) / 2.0)).astype(np.int64)
"""Edges of the amount classes: half powers of ten from 1 to 1,000,000 base units, fixed so that entropies compare."""

SEGMENT_DAYS: Final = 7
"""Days on either side of a change point at least: one whole week, or a weekend would be a change."""

_DAYS: Final = 90
_HOUR_US: Final = 3_600_000_000
_SHANNON: Final = "Shannon, Bell Syst. Tech. J. 27, 1948"
_GOH: Final = "Goh & Barabási, EPL 81, 48002, 2008"
_KIM: Final = "Kim & Jo, Phys. Rev. E 94, 032311, 2016"
_CIRCULAR: Final = "Mardia & Jupp, Directional Statistics, 2000, section 2.3"
_LIN: Final = "Lin, IEEE Trans. Inf. Theory 37(1), 1991"
_BOX: Final = "Box & Jenkins, Time Series Analysis, 1976, section 2.1.5"
_HAWKINS: Final = "Hawkins, J. Am. Stat. Assoc. 72, 1977; Page's cumulative sum, Biometrika 41, 1954"
_FISHER: Final = "Fisher, Proc. R. Soc. A 125, 1929 (share of the largest periodogram ordinate)"
_NO_ROW: Final = "null where the 90 days hold no transaction"
_NO_TIME: Final = "null where no transaction of the 90 days has a known time"
_TIME: Final = ("txn_time",)
_AMOUNT: Final = ("amount",)
_NO_SERIES: Final = (
    "null where fewer than daily_minimum_days lie between the first known transaction and D, "
    "or all days of the series are equal (none in the window included)"
)
_NO_GAP: Final = "null where the last 30 days hold no transaction, or none precedes it within 364 days"
_SERIES: Final = "daily turnover s_t, in + out, over the up to 90 days from the first known transaction to D"


def _rhythm_features() -> Iterator[Column]:
    yield feature(
        "p3_hour_entropy_90d_bits",
        "Spread of transactions over the hours of the day: 0 always the same hour, 4.58 evenly over all 24.",
        "-sum p_h log2 p_h over 24 UTC hours, rows with known time in [D-90d, D)",
        null_rule=_NO_TIME,
        source=_SHANNON,
        maximum=4.585,
        requires=_TIME,
    )
    yield feature(
        "p3_weekday_entropy_90d_bits",
        "Spread of transactions over the days of the week: 0 always the same weekday, 2.81 evenly.",
        "-sum p_d log2 p_d over 7 UTC weekdays in [D-90d, D)",
        null_rule=_NO_ROW,
        source=_SHANNON,
        maximum=2.8074,
    )
    yield feature(
        "p3_amount_entropy_90d_bits",
        "Spread of transactions over size classes: 0 always the same size, 3.81 evenly over all 14.",
        "-sum p_k log2 p_k over 14 classes with edges 10^(k/2), k = 0..12, in [D-90d, D); an edge opens its class",
        null_rule=_NO_ROW,
        source=_SHANNON,
        maximum=3.8074,
        requires=_AMOUNT,
    )
    yield feature(
        "p3_hour_concentration_90d_ratio",
        "How much transactions gather around one time of day: 1 one hour, 0 no preferred time.",
        "|sum exp(2 pi i hour / 24)| / n, rows with known time in [D-90d, D)",
        null_rule=_NO_TIME,
        source=_CIRCULAR,
        requires=_TIME,
    )
    yield feature(
        "p3_month_day_concentration_90d_ratio",
        "How much transactions gather around one day of the month: near 1 for salaries and rents alone.",
        "|sum exp(2 pi i (day - 1) / days of that month)| / n in [D-90d, D)",
        null_rule="null where the 90 days hold fewer than two transactions",
        source=_CIRCULAR,
    )
    for what, base in (("hour", "24 UTC hours, rows with known time"), ("amount", "14 size classes")):
        noun = "times of day" if what == "hour" else "sizes"
        yield feature(
            f"p3_{what}_shift_30d_bits",
            f"How much the {noun} of the last 30 days differ from those of the 60 days before: 0 not, 1 wholly.",
            f"Jensen-Shannon divergence, log2, of the shares over {base}: [D-30d, D) against [D-90d, D-30d)",
            null_rule="null where either period has fewer such transactions than shift_minimum_count",
            source=_LIN,
            maximum=1.0,
            requires=_TIME if what == "hour" else _AMOUNT,
        )
    for what, when, rule, needs in (
        ("night", "at night (22:00 to 05:59 UTC unless configured)", _NO_TIME, _TIME),
        ("weekend", "on Saturday or Sunday, UTC", _NO_ROW, ()),
    ):
        yield feature(
            f"p3_{what}_share_90d_ratio",
            f"Share of transactions made {when}.",
            f"rows {when} / rows{' with known time' if what == 'night' else ''} in [D-90d, D)",
            null_rule=rule,
            requires=needs,
        )
        yield feature(
            f"p3_{what}_turnover_share_90d_ratio",
            f"Share of the turnover made {when}.",
            f"amount {when} / amount{' of rows with known time' if what == 'night' else ''} in [D-90d, D)",
            null_rule=rule + ", or its turnover is 0",
            requires=(*needs, *_AMOUNT),
        )


def _gap_features() -> Iterator[Column]:
    gaps = "gaps g between neighbouring transactions in [D-90d, D)"
    yield feature(
        "p3_interarrival_mean_90d_hours",
        "Average time between transactions.",
        f"mean m of {gaps}",
        null_rule="null where the 90 days hold fewer than two transactions",
    )
    yield feature(
        "p3_interarrival_variation_90d_factor",
        "Irregularity of the time between transactions: 0 clockwork, 1 random, above it bursts.",
        f"s / m, s population standard deviation and m mean of {gaps}",
        null_rule="null where the 90 days hold fewer than three transactions, or all at one moment",
    )
    yield feature(
        "p3_burstiness_90d_index",
        "Burstiness of activity: -1 regular, 0 random, towards 1 bursts with long silences.",
        f"(s - m) / (s + m), s population standard deviation and m mean of {gaps}",
        null_rule="null where the 90 days hold fewer than three transactions, or all at one moment",
        source=_GOH,
    )
    yield feature(
        "p3_burstiness_adjusted_90d_index",
        "Burstiness corrected for few transactions, so that it compares across clients.",
        "(sqrt(n+1) r - sqrt(n-1)) / ((sqrt(n+1) - 2) r + sqrt(n-1)), r = s / m, n transactions",
        null_rule="null where the 90 days hold fewer than three transactions, or all at one moment",
        source=_KIM,
    )
    yield feature(
        "p3_memory_90d_correlation",
        "Whether short gaps follow short gaps: above 0 trains of activity, below 0 alternation.",
        f"Pearson correlation of neighbouring {gaps}",
        null_rule="null where the 90 days hold fewer than five transactions, or either side's gaps are all equal",
        source=_GOH,
    )


def _series_features() -> Iterator[Column]:
    for lag in (1, 7, 30):
        yield feature(
            f"p3_turnover_autocorrelation_lag{lag}_90d_correlation",
            f"How much the turnover of a day resembles that of {lag} day{'s' if lag > 1 else ''} earlier.",
            f"sum (s_t - m)(s_(t+{lag}) - m) / sum (s_t - m)^2; {_SERIES}",
            null_rule=f"{_NO_SERIES}; or the series has fewer than {2 * lag} days",
            source=_BOX,
            requires=_AMOUNT,
        )
    about = f"k = day of the largest |mean shift|, at least {SEGMENT_DAYS} days on either side; {_SERIES}"
    yield feature(
        "p3_change_point_shift_90d_zscore",
        "Largest shift of the daily turnover's level, in standard errors; positive where it rose.",
        f"(mean after k - mean before k) sqrt(k (n-k) / n) / s, s population deviation of the series; {about}",
        null_rule=_NO_SERIES,
        source=_HAWKINS,
        requires=_AMOUNT,
    )
    yield feature(
        "p3_change_point_age_90d_days",
        "Days since the level of the daily turnover shifted most.",
        f"n - k; {about}",
        null_rule=_NO_SERIES,
        source=_HAWKINS,
        maximum=float(_DAYS - SEGMENT_DAYS),
        requires=_AMOUNT,
    )
    yield feature(
        "p3_change_point_level_90d_index",
        "Size of that shift: 1 from nothing to something, -1 the reverse, 0.33 doubled.",
        f"(mean after - mean before) / (mean after + mean before); {about}",
        null_rule=_NO_SERIES,
        requires=_AMOUNT,
    )
    yield feature(
        "p3_spectral_peak_share_90d_ratio",
        "Share of the daily turnover's variation that one period explains.",
        "largest I_j, j >= 2, over sum of I_j, j = 1 .. (n-1)/2; I_j = |sum s_t exp(-2 pi i j t / n)|^2; " + _SERIES,
        null_rule=_NO_SERIES,
        source=_FISHER,
        requires=_AMOUNT,
    )
    yield feature(
        "p3_spectral_peak_period_90d_days",
        "Length of that period; 7 is a weekly rhythm.",
        "n / j of the largest I_j, j >= 2 (seen at least twice), ties to the longest",
        null_rule=_NO_SERIES,
        source=_FISHER,
        maximum=_DAYS / 2.0,
        requires=_AMOUNT,
    )


def _dormancy_features() -> Iterator[Column]:
    yield feature(
        "p3_recency_364d_days",
        "Days since the last transaction; 1 is yesterday.",
        "D - day of the last transaction in [D-364d, D)",
        null_rule="null where the 364 days hold no transaction",
        minimum=1.0,
        maximum=364.0,
    )
    yield feature(
        "p3_longest_gap_90d_days",
        "Longest silence within 90 days.",
        "largest difference in days between neighbouring transactions of [D-90d, D), or from the last one to D",
        null_rule=_NO_ROW,
        maximum=90.0,
    )
    about = "the longest gap within 364 days that a transaction of the last 30 days ended; ties: the earliest"
    yield feature(
        "p3_dormancy_gap_30d_days",
        "Longest silence that ended within the last 30 days.",
        f"days of {about}",
        null_rule=_NO_GAP,
        maximum=363.0,
    )
    yield feature(
        "p3_post_dormancy_turnover_30d_base",
        "Money moved since the end of that silence.",
        f"sum of amount, in + out, from the transaction that ended {about}",
        null_rule=_NO_GAP,
        minimum=0.0,
        requires=_AMOUNT,
    )
    yield feature(
        "p3_post_dormancy_share_364d_ratio",
        "Share of the year's turnover that moved since the end of that silence.",
        "turnover since the gap / turnover of [D-364d, D)",
        null_rule=_NO_GAP + ", or the year's turnover is 0",
        requires=_AMOUNT,
    )
    yield feature(
        "p3_dormancy_burst_30d_factor",
        "Daily turnover since the end of that silence over the year's daily turnover.",
        "(turnover since the gap / days since its end) / (turnover / days since the first row of [D-364d, D))",
        null_rule=_NO_GAP + ", or the year's turnover is 0",
        requires=_AMOUNT,
    )


def _slot_features() -> Iterator[Column]:
    for i, slot in enumerate(SLOTS, start=1):
        yield feature(
            slot,
            f"Generated characteristic {i} of a daily series; the model's frozen selection names it.",
            f"characteristic in slot {i} of the selection, over the daily inflow, outflow or count of [D-90d, D)",
            null_rule="null without a selection, where it has fewer characteristics, or undefined for the series",
            source="Christ et al., Neurocomputing 307, 2018 (tsfresh)",
            requires=_AMOUNT,
        )


_RHYTHM: Final = tuple(_rhythm_features())
_GAPS: Final = tuple(_gap_features())
_SHAPE: Final = tuple(_series_features())
_DORMANCY: Final = tuple(_dormancy_features())

CONTRACT = pillar_contract(
    "p3_temporal",
    "when money moved, how regularly, and whether that changed.",
    (*_RHYTHM, *_GAPS, *_SHAPE, *_DORMANCY, *_slot_features()),
)
"""Contract of ``features.feat_p3_temporal``."""


@njit(cache=True)
def _entropy(counts):  # type: ignore[no-untyped-def]
    """Shannon entropy in bits of non-negative weights with a positive sum."""
    total = np.sum(counts)
    bits = 0.0
    for c in counts:
        if c > 0:
            p = c / total
            bits -= p * np.log2(p)
    return max(bits, 0.0)


@njit(cache=True)
def _divergence(a, b):  # type: ignore[no-untyped-def]
    """Jensen-Shannon divergence in bits of two count vectors with positive sums; within 0 and 1."""
    p = a / np.sum(a)
    q = b / np.sum(b)
    bits = _entropy((p + q) / 2.0) - (_entropy(p) + _entropy(q)) / 2.0
    return min(max(bits, 0.0), 1.0)


@njit(cache=True, nogil=True)
def _row_classes(at, day, cents, has_time, edges):  # type: ignore[no-untyped-def]
    """Of each row, once for all the pairs that see it: hour (-1 without a time), weekday (Monday 0), size class."""
    hour = np.full(len(at), -1, dtype=np.int8)
    weekday = np.empty(len(at), dtype=np.int8)
    size = np.empty(len(at), dtype=np.int8)
    for row in range(len(at)):
        weekday[row] = (day[row] + 3) % 7  # 1970-01-01 was a Thursday
        if has_time[row]:
            hour[row] = (at[row] - np.int64(day[row]) * DAY_US) // _HOUR_US
        k = 0
        while k < len(edges) and cents[row] >= edges[k]:
            k += 1
        size[row] = k
    return hour, weekday, size


@njit(cache=True, nogil=True)
def _rhythm(  # type: ignore[no-untyped-def]
    day,
    known_day,
    cents,
    hour,
    weekday,
    size,
    as_of_day,
    low,
    middle,
    high,
    first_day,
    cosine,
    sine,
    classes,
    night,
    least,
):
    """Features ``_RHYTHM`` in order, shape (n, 11); one pass over the 90 days, ``middle`` is the first row of 30.

    ``hour``, ``weekday`` and ``size`` are the classes of each row, see :func:`_row_classes`; ``cosine`` and ``sine``
    hold the angle of the day of the month, one element per day from ``first_day`` on.
    """
    n = len(as_of_day)
    out = np.full((n, 11), np.nan)
    clock = 2.0 * np.pi * np.arange(24) / 24.0
    clock_cosine, clock_sine = np.cos(clock), np.sin(clock)
    is_dark = np.zeros(24, dtype=np.bool_)
    for h in range(24):
        is_dark[h] = h >= night[0] or h < night[1] if night[0] > night[1] else night[0] <= h < night[1]
    hours = np.empty((2, 24))
    sizes = np.empty((2, classes))
    weekdays = np.empty(7)
    for i in range(n):
        hours[:] = 0.0
        sizes[:] = 0.0
        weekdays[:] = 0.0
        rows = 0
        month_x = 0.0
        month_y = 0.0
        total = 0
        timed = 0
        weekend = 0
        dark = 0
        dark_count = 0
        for row in range(low[i], high[i]):
            if known_day[row] >= as_of_day[i]:
                continue
            period = 1 if row >= middle[i] else 0
            rows += 1
            total += cents[row]
            weekdays[weekday[row]] += 1.0
            if weekday[row] >= 5:
                weekend += cents[row]
            sizes[period, size[row]] += 1.0
            month_x += cosine[day[row] - first_day]
            month_y += sine[day[row] - first_day]
            if hour[row] >= 0:
                hours[period, hour[row]] += 1.0
                timed += cents[row]
                if is_dark[hour[row]]:
                    dark += cents[row]
                    dark_count += 1
        if rows == 0:
            continue
        with_time = np.sum(hours)
        if with_time > 0:
            day_hours = hours[0] + hours[1]
            out[i, 0] = _entropy(day_hours)
            x = np.sum(day_hours * clock_cosine)
            y = np.sum(day_hours * clock_sine)
            out[i, 3] = min(np.sqrt(x * x + y * y) / with_time, 1.0)
            out[i, 7] = dark_count / with_time
            if timed > 0:
                out[i, 8] = dark / timed
        out[i, 1] = _entropy(weekdays)
        out[i, 2] = _entropy(sizes[0] + sizes[1])
        if rows > 1:
            out[i, 4] = min(np.sqrt(month_x * month_x + month_y * month_y) / rows, 1.0)
        if np.sum(hours[0]) >= least and np.sum(hours[1]) >= least:
            out[i, 5] = _divergence(hours[0], hours[1])
        if np.sum(sizes[0]) >= least and np.sum(sizes[1]) >= least:
            out[i, 6] = _divergence(sizes[0], sizes[1])
        out[i, 9] = (weekdays[5] + weekdays[6]) / rows
        if total > 0:
            out[i, 10] = weekend / total
    return out


@njit(cache=True)
def _correlation(x, y):  # type: ignore[no-untyped-def]
    """Pearson correlation from deviations; NaN where either side is constant."""
    if np.min(x) == np.max(x) or np.min(y) == np.max(y):
        return np.nan
    mean_x, mean_y = np.mean(x), np.mean(y)
    xy = 0.0
    xx = 0.0
    yy = 0.0
    for i in range(len(x)):
        a, b = x[i] - mean_x, y[i] - mean_y
        xy += a * b
        xx += a * a
        yy += b * b
    return min(max(xy / np.sqrt(xx * yy), -1.0), 1.0)


@njit(cache=True, nogil=True)
def _gaps(at, known_day, as_of_day, low, high, room):  # type: ignore[no-untyped-def]
    """Features ``_GAPS`` in order, shape (n, 5): moments of the times between neighbouring known rows."""
    n = len(as_of_day)
    out = np.full((n, 5), np.nan)
    gap = np.empty(room)
    for i in range(n):
        count = 0
        previous = np.int64(-1)
        seen = False
        total = np.int64(0)
        for row in range(low[i], high[i]):
            if known_day[row] >= as_of_day[i]:
                continue
            if seen:
                gap[count] = (at[row] - previous) / _HOUR_US
                total += at[row] - previous
                count += 1
            previous = at[row]
            seen = True
        if count == 0:
            continue
        # from whole microseconds: the exact mean, so that equal gaps deviate by nothing
        mean = total / count / _HOUR_US
        out[i, 0] = mean
        if count < 2 or total == 0:
            continue
        squares = 0.0
        for k in range(count):
            squares += (gap[k] - mean) ** 2
        ratio = np.sqrt(squares / count) / mean
        out[i, 1] = ratio
        out[i, 2] = (ratio - 1.0) / (ratio + 1.0)
        events = count + 1
        root, less = np.sqrt(events + 1.0), np.sqrt(events - 1.0)
        adjusted = (root * ratio - less) / ((root - 2.0) * ratio + less)
        out[i, 3] = min(max(adjusted, -1.0), 1.0)
        if count >= 4:
            out[i, 4] = _correlation(gap[: count - 1], gap[1:count])
    return out


@njit(cache=True, nogil=True)
def _shape(day, known_day, cents, client_start, as_of_day, low, high, cosine, sine, minimum_days, segment_days):  # type: ignore[no-untyped-def]
    """Features ``_SHAPE`` in order, shape (n, 8), of the daily turnover in cents since the first known row.

    ``cosine[n, t, j - 1]`` is cos(2 pi j t / n); days of 0 add nothing to a Fourier sum and are skipped.
    """
    pairs = len(as_of_day)
    longest = cosine.shape[1]
    out = np.full((pairs, 8), np.nan)
    daily = np.empty(longest, dtype=np.int64)
    deviation = np.empty(longest)
    real = np.empty(cosine.shape[2])
    imaginary = np.empty(cosine.shape[2])
    lags = (1, 7, 30)
    for i in range(pairs):
        first = client_start[i]
        while first < high[i] and known_day[first] >= as_of_day[i]:
            first += 1
        if first >= high[i]:
            continue
        n = min(longest, as_of_day[i] - day[first])
        if n < max(minimum_days, 2 * segment_days):
            continue
        start = as_of_day[i] - n
        daily[:n] = 0
        for row in range(max(low[i], first), high[i]):
            if known_day[row] < as_of_day[i]:
                daily[day[row] - start] += cents[row]
        least, most, total = daily[0], daily[0], np.int64(0)
        for t in range(n):
            least = min(least, daily[t])
            most = max(most, daily[t])
            total += daily[t]
        if least == most:
            continue
        mean = total / n
        power = 0.0
        for t in range(n):
            deviation[t] = daily[t] - mean
            power += deviation[t] * deviation[t]
        for k in range(3):
            lag = lags[k]
            if n >= 2 * lag:
                product = 0.0
                for t in range(n - lag):
                    product += deviation[t] * deviation[t + lag]
                out[i, k] = min(max(product / power, -1.0), 1.0)
        # change point: n C_k - k S in whole cents is exactly 0 where the level does not shift
        before = np.int64(0)
        best = -1.0
        best_k = 0
        best_before = np.int64(0)
        for k in range(1, n - segment_days + 1):
            before += daily[k - 1]
            if k >= segment_days:
                shift = abs(n * before - k * total) / np.sqrt(float(k * (n - k)))
                if shift > best:
                    best, best_k, best_before = shift, k, before
        mean_before = best_before / best_k
        mean_after = (total - best_before) / (n - best_k)
        spread = np.sqrt(power / n)
        out[i, 3] = (mean_after - mean_before) * np.sqrt(best_k * (n - best_k) / n) / spread
        out[i, 4] = n - best_k
        out[i, 5] = (mean_after - mean_before) / (mean_after + mean_before)
        # periodogram; the least day is taken off, which no coefficient from j = 1 on sees
        m = (n - 1) // 2
        real[:m] = 0.0
        imaginary[:m] = 0.0
        for t in range(n):
            value = float(daily[t] - least)
            if value != 0.0:
                for j in range(m):
                    real[j] += value * cosine[n, t, j]
                    imaginary[j] += value * sine[n, t, j]
        whole = 0.0
        peak = -1.0
        peak_j = 0
        for j in range(m):
            ordinate = real[j] * real[j] + imaginary[j] * imaginary[j]
            whole += ordinate
            # a margin over rounding: equal ordinates, as of a single spike, go to the longest period everywhere
            if j >= 1 and ordinate > peak * (1.0 + 1e-9):
                peak, peak_j = ordinate, j + 1
        if whole > 0.0:
            out[i, 6] = min(peak / whole, 1.0)
            out[i, 7] = n / peak_j
    return out


@njit(cache=True, nogil=True)
def _dormancy(day, known_day, cents, as_of_day, low, quarter, month, high):  # type: ignore[no-untyped-def]
    """Features ``_DORMANCY`` in order, shape (n, 6); ``low``, ``quarter``, ``month``: first row of 364, 90, 30 days."""
    n = len(as_of_day)
    out = np.full((n, 6), np.nan)
    for i in range(n):
        first_day = -1
        last_day = -1
        last_quarter = -1
        silence = 0
        gap = -1
        gap_end = 0
        total = np.int64(0)
        since = np.int64(0)
        seen = False
        seen_quarter = False
        for row in range(low[i], high[i]):
            if known_day[row] >= as_of_day[i]:
                continue
            total += cents[row]
            since += cents[row]
            if not seen:
                first_day = day[row]
            elif row >= month[i] and day[row] - last_day > gap:
                gap = day[row] - last_day
                gap_end = day[row]
                since = cents[row]
            last_day = day[row]
            seen = True
            if row >= quarter[i]:
                if seen_quarter:
                    silence = max(silence, day[row] - last_quarter)
                last_quarter = day[row]
                seen_quarter = True
        if not seen:
            continue
        out[i, 0] = as_of_day[i] - last_day
        if seen_quarter:
            out[i, 1] = max(silence, as_of_day[i] - last_quarter)
        if gap < 0:
            continue
        out[i, 2] = gap
        out[i, 3] = since / 100.0
        if total > 0:
            out[i, 4] = since / total
            out[i, 5] = (since / (as_of_day[i] - gap_end)) / (total / (as_of_day[i] - first_day))
    return out


@lru_cache(maxsize=1)
def _fourier_tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine of 2 pi j t / n at [n, t, j - 1] for series of up to 90 days; 3 MB each, made once."""
    n = np.arange(_DAYS + 1).reshape(-1, 1, 1)
    t = np.arange(_DAYS).reshape(1, -1, 1)
    j = np.arange(1, (_DAYS - 1) // 2 + 1).reshape(1, 1, -1)
    length = np.maximum(n, 1)
    angle = 2.0 * np.pi * (j * t % length) / length
    return np.cos(angle), np.sin(angle)


def _month_angles(first_day: int, last_day: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine of the day of the month as an angle, per day since 1970 from ``first_day`` to ``last_day``."""
    days = np.arange(first_day, last_day + 1).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    start = months.astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[D]") - start).astype(np.int64)
    angle = 2.0 * np.pi * (days - start).astype(np.int64) / length
    return np.cos(angle), np.sin(angle)


def rhythm(history: History, spine: Spine, config: FeatureConfig) -> NDArray[np.float64]:
    """Entropies, concentration in time and shifts: features ``_RHYTHM`` in order, one row per pair of the spine."""
    cents = _cents(history)
    first_day = int(history.day.min()) if len(history) else 0
    month_cosine, month_sine = _month_angles(first_day, int(history.day.max()) if len(history) else 0)

    def classes(part: slice) -> tuple[NDArray[np.int8], ...]:
        found: tuple[NDArray[np.int8], ...] = _row_classes(
            history.at[part], history.day[part], cents[part], history.is_time_known[part], AMOUNT_EDGES_CENTS
        )
        return found

    hour, weekday, size = in_parts(classes, len(history))

    def some(part: slice) -> tuple[NDArray[np.float64]]:
        client, as_of_day = spine.client[part], spine.as_of_day[part]
        low, high = history.window(client, as_of_day, _DAYS)
        month, _ = history.window(client, as_of_day, 30)
        found = _rhythm(
            history.day,
            history.known_day,
            cents,
            hour,
            weekday,
            size,
            as_of_day,
            low,
            month,
            high,
            first_day,
            month_cosine,
            month_sine,
            len(AMOUNT_EDGES_CENTS) + 1,
            config.night_hours,
            config.shift_minimum_count,
        )
        return (found,)

    return in_parts(some, len(spine))[0]


def _cents(history: History) -> NDArray[np.int64]:
    """Amounts of the rows in whole cents."""
    return np.rint(history.amount * 100.0).astype(np.int64)


def _hand_written(history: History, spine: Spine, config: FeatureConfig) -> pl.DataFrame:
    """The features with a formula in this file, one row per pair in the spine's order."""
    cents = _cents(history)
    cosine, sine = _fourier_tables()

    def some(part: slice) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        client, as_of_day = spine.client[part], spine.as_of_day[part]
        low, high = history.window(client, as_of_day, _DAYS)
        month, _ = history.window(client, as_of_day, 30)
        year, _ = history.window(client, as_of_day, 364)
        room = int(np.max(high - low, initial=0))
        # an unknown client (-1) has the empty range [0, 0): start 0 is where its search ends at once
        starts = history.starts[np.maximum(client, 0)]
        return (
            _gaps(history.at, history.known_day, as_of_day, low, high, room),
            _shape(
                history.day,
                history.known_day,
                cents,
                starts,
                as_of_day,
                low,
                high,
                cosine,
                sine,
                config.daily_minimum_days,
                SEGMENT_DAYS,
            ),
            _dormancy(history.day, history.known_day, cents, as_of_day, year, low, month, high),
        )

    gaps, shape, dormancy = in_parts(some, len(spine))
    parts = ((_RHYTHM, rhythm(history, spine, config)), (_GAPS, gaps), (_SHAPE, shape), (_DORMANCY, dormancy))
    return pl.DataFrame({c.name: values[:, i] for columns, values in parts for i, c in enumerate(columns)})


def _generated(
    history: History, spine: Spine, config: FeatureConfig, selection: FrozenSelection | None
) -> pl.DataFrame:
    """The slots of the selection, computed in chunks of pairs so that the daily series never exist all at once."""
    if selection is None or not selection.characteristics or not len(spine):
        return pl.DataFrame({s: pl.Series([None] * len(spine), dtype=pl.Float64) for s in SLOTS})
    step = config.tsfresh_chunk_rows
    return pl.concat(
        [compute(selection, daily_series(history, spine, at, at + step)) for at in range(0, len(spine), step)]
    )


def build(
    history: History, spine: Spine, config: FeatureConfig, *, selection: FrozenSelection | None = None
) -> pl.DataFrame:
    """P3 features of every pair of the spine.

    Parameters
    ----------
    history : sorted transactions; rows at or after D, or known at or after D, are ignored for D.
    spine : pairs asked for.
    config : ``night_hours``, ``shift_minimum_count``, ``daily_minimum_days``, ``tsfresh_chunk_rows`` are used.
    selection : characteristics frozen with the model; None leaves their slots null.

    Returns
    -------
    One row per pair, columns of :data:`CONTRACT`, sorted by grain.

    Raises
    ------
    ContractError : the configured windows are not those of the column names.
    """
    if tuple(config.window_days[1:]) != (30, _DAYS):
        raise ContractError(f"P3's columns are named for 30 and 90 days, configured {config.window_days[1:]}")
    parts = [spine.frame(), _hand_written(history, spine, config), _generated(history, spine, config, selection)]
    return CONTRACT.conform(pl.concat(parts, how="horizontal"))
