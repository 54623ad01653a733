"""Discovery and computation of generated time-series characteristics: tsfresh finds them, compiled twins compute them.

What belongs here: three daily series per client (inflow, outflow, count) over 90 days, the list of candidate
calculators, the relevance test, the frozen outcome, and its computation for a new week. What does not: hand-written
temporal features (P3) and any choice of weeks; the caller passes training pairs and nothing else.

The calculators are tsfresh's (Christ, Braun, Neuffer & Kempa-Liehr, Neurocomputing 307, 2018), the selection is its
test of each characteristic against the label with Benjamini & Yekutieli's control of the false discovery rate
(Ann. Statist. 29(4), 2001). Plain tsfresh costs milliseconds a client; each twin below does the same arithmetic in
microseconds and is tested equal to it to 1e-8, constants and ties included: sums follow numpy's order of additions,
so that ``x > mean`` cannot fall on different sides. A chosen calculator without twin goes through tsfresh itself.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml_assets.config import FeatureConfig
from ml_assets.features.history import History, Spine

SERIES_DAYS: Final = 90
"""Days of a daily series; part of the slot names, and under the 128 up to which numpy sums without recursion."""

KINDS: Final = ("inflow", "outflow", "count")
"""The daily series: money received, money sent (base currency), number of transactions."""

MAX_SLOTS: Final = 12
"""Columns reserved for characteristics in P3's table, used or not, so that its shape never changes."""

SLOTS: Final = tuple(f"p3_tsfresh_{i:02d}_90d_value" for i in range(1, MAX_SLOTS + 1))
"""Names of the reserved columns."""

Parameters = dict[str, Any]

# only calculators with a compiled twin: one without, if chosen, is computed by tsfresh itself, which took minutes on
# fifteen weeks of 20,000 clients
CANDIDATES: Final[tuple[tuple[str, Parameters], ...]] = (
    ("root_mean_square", {}),
    ("standard_deviation", {}),
    ("variation_coefficient", {}),
    ("skewness", {}),
    ("kurtosis", {}),
    ("quantile", {"q": 0.8}),
    ("mean_n_absolute_max", {"number_of_maxima": 5}),
    ("mean_abs_change", {}),
    ("mean_second_derivative_central", {}),
    ("cid_ce", {"normalize": True}),
    ("autocorrelation", {"lag": 1}),
    ("autocorrelation", {"lag": 7}),
    ("autocorrelation", {"lag": 14}),
    ("autocorrelation", {"lag": 28}),
    ("agg_autocorrelation", {"f_agg": "mean", "maxlag": 40}),
    ("agg_autocorrelation", {"f_agg": "var", "maxlag": 40}),
    ("c3", {"lag": 1}),
    ("c3", {"lag": 7}),
    ("time_reversal_asymmetry_statistic", {"lag": 1}),
    ("longest_strike_above_mean", {}),
    ("longest_strike_below_mean", {}),
    ("count_above_mean", {}),
    ("first_location_of_maximum", {}),
    ("last_location_of_maximum", {}),
    ("linear_trend", {"attr": "slope"}),
    ("energy_ratio_by_chunks", {"num_segments": 3, "segment_focus": 0}),
    ("energy_ratio_by_chunks", {"num_segments": 3, "segment_focus": 2}),
    ("index_mass_quantile", {"q": 0.2}),
    ("index_mass_quantile", {"q": 0.5}),
    ("index_mass_quantile", {"q": 0.8}),
    ("number_peaks", {"n": 1}),
    ("number_peaks", {"n": 3}),
    ("number_crossing_m", {"m": 0}),
    ("value_count", {"value": 0}),
    ("ratio_beyond_r_sigma", {"r": 1}),
    ("ratio_beyond_r_sigma", {"r": 2}),
    ("ratio_beyond_r_sigma", {"r": 3}),
    ("large_standard_deviation", {"r": 0.25}),
    ("symmetry_looking", {"r": 0.1}),
    ("percentage_of_reoccurring_datapoints_to_all_datapoints", {}),
    ("ratio_value_number_to_time_series_length", {}),
    ("sum_of_reoccurring_values", {}),
    ("binned_entropy", {"max_bins": 10}),
    ("fft_coefficient", {"attr": "abs", "coeff": 3}),
    ("fft_coefficient", {"attr": "abs", "coeff": 13}),
    ("fft_aggregated", {"aggtype": "centroid"}),
    ("spkt_welch_density", {"coeff": 2}),
    ("spkt_welch_density", {"coeff": 5}),
)
"""Cheap calculators and parameters tried on each series. Coefficients 3 and 13 of 90 days are the month and week."""


class SelectionError(ValueError):
    """A stored selection does not fit this code."""


@dataclass(frozen=True)
class Characteristic:
    """One chosen calculator on one series.

    Attributes
    ----------
    kind : the series, one of :data:`KINDS`.
    calculator, parameters : as tsfresh names them; parameters as sorted pairs, so that the object is hashable.
    p_value : of the relevance test on training pairs.
    """

    kind: str
    calculator: str
    parameters: tuple[tuple[str, Any], ...]
    p_value: float

    @property
    def name(self) -> str:
        """Column name as tsfresh writes it: ``inflow__autocorrelation__lag_7``."""
        return _name(self.kind, self.calculator, dict(self.parameters))


@dataclass(frozen=True)
class FrozenSelection:
    """Characteristics chosen on training pairs, in slot order, with what the choice rests on.

    Attributes
    ----------
    characteristics : at most :data:`MAX_SLOTS`, the most relevant first; position i fills slot i + 1.
    sampled_rows, positive_rows : training pairs tested and how many of them are positive.
    tested, relevant : characteristics tested, and those that passed before redundant ones were dropped.
    fdr_ratio : false discovery rate of the test.
    tsfresh_version : version that defined the calculators.
    note : why the selection is empty, or an empty text.
    """

    characteristics: tuple[Characteristic, ...]
    sampled_rows: int
    positive_rows: int
    tested: int
    relevant: int
    fdr_ratio: float
    tsfresh_version: str
    note: str = ""

    def slots(self) -> dict[str, Characteristic]:
        """Column of P3's table -> characteristic it holds; unused columns are absent."""
        return dict(zip(SLOTS, self.characteristics, strict=False))

    def to_json(self) -> str:
        """The selection as text that :meth:`from_json` reads back equal; keys sorted, one form per content."""
        content = {
            "series_days": SERIES_DAYS,
            "kinds": list(KINDS),
            "characteristics": [
                {
                    "slot": slot,
                    "name": c.name,
                    "kind": c.kind,
                    "calculator": c.calculator,
                    "parameters": dict(c.parameters),
                    "p_value": c.p_value,
                }
                for slot, c in self.slots().items()
            ],
            "sampled_rows": self.sampled_rows,
            "positive_rows": self.positive_rows,
            "tested": self.tested,
            "relevant": self.relevant,
            "fdr_ratio": self.fdr_ratio,
            "tsfresh_version": self.tsfresh_version,
            "note": self.note,
        }
        return json.dumps(content, sort_keys=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> FrozenSelection:
        """Read a stored selection.

        Raises
        ------
        SelectionError : it was made on other series, or holds a calculator this code does not offer.

        >>> FrozenSelection.from_json('{"series_days": 60}')
        Traceback (most recent call last):
        ...
        ml_assets.features.tsfresh_engine.SelectionError: the selection was made on 60-day series, not on 90
        """
        content = json.loads(text)
        if content.get("series_days") != SERIES_DAYS:
            raise SelectionError(
                f"the selection was made on {content.get('series_days')}-day series, not on {SERIES_DAYS}"
            )
        chosen = tuple(
            Characteristic(c["kind"], c["calculator"], tuple(sorted(c["parameters"].items())), c["p_value"])
            for c in content["characteristics"]
        )
        offered = {_name(kind, calculator, p) for kind in KINDS for calculator, p in CANDIDATES}
        unknown = [c.name for c in chosen if c.name not in offered]
        if unknown or len(chosen) > MAX_SLOTS:
            raise SelectionError(
                f"the selection holds {len(chosen)} characteristics (at most {MAX_SLOTS}), unknown: {unknown or 'none'}"
            )
        return cls(
            characteristics=chosen,
            sampled_rows=content["sampled_rows"],
            positive_rows=content["positive_rows"],
            tested=content["tested"],
            relevant=content["relevant"],
            fdr_ratio=content["fdr_ratio"],
            tsfresh_version=content["tsfresh_version"],
            note=content["note"],
        )


def _name(kind: str, calculator: str, parameters: Parameters) -> str:
    """Tsfresh's own column name, parameters sorted by key, text values in double quotes."""
    parts = [f'{k}_"{v}"' if isinstance(v, str) else f"{k}_{v}" for k, v in sorted(parameters.items())]
    return "__".join([kind, calculator, *parts])


# --- daily series -----------------------------------------------------------------------------------------------


@njit(cache=True)
def _fill_daily(day, known_day, amount, is_inbound, as_of_day, low, high, out):  # type: ignore[no-untyped-def]
    """Add each known row to its day: cents first, so that a day's sum does not depend on the order of its rows."""
    for i in range(len(as_of_day)):
        start = as_of_day[i] - out.shape[2]
        for row in range(low[i], high[i]):
            if known_day[row] < as_of_day[i]:
                t = day[row] - start
                out[i, 0 if is_inbound[row] else 1, t] += np.rint(amount[row] * 100.0)
                out[i, 2, t] += 1.0
        for t in range(out.shape[2]):
            out[i, 0, t] /= 100.0
            out[i, 1, t] /= 100.0


def daily_series(history: History, spine: Spine, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
    """Daily series of the pairs ``start`` to ``stop`` of the spine over [D - 90d, D).

    Returns
    -------
    Shape (pairs, 3, 90), in the spine's order: :data:`KINDS`, oldest day first; base currency and counts. A day
    without a known row is 0, days before the client's first transaction included: calculators need one length.
    """
    stop = len(spine) if stop is None else min(stop, len(spine))
    client, as_of_day = spine.client[start:stop], spine.as_of_day[start:stop]
    low, high = history.window(client, as_of_day, SERIES_DAYS)
    out = np.zeros((stop - start, len(KINDS), SERIES_DAYS))
    _fill_daily(history.day, history.known_day, history.amount, history.is_inbound, as_of_day, low, high, out)
    return out


# --- twins: each fills out[i] for the series rows[i]; p and q are the calculator's parameters --------------------


@njit(cache=True)
def _sum(x):  # type: ignore[no-untyped-def]
    """Sum in numpy's order of additions (eight running sums), for up to 128 elements."""
    n = len(x)
    if n < 8:
        total = 0.0
        for i in range(n):
            total += x[i]
        return total
    r = x[:8].copy()
    whole = n - n % 8
    for i in range(8, whole, 8):
        for j in range(8):
            r[j] += x[i + j]
    total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    for i in range(whole, n):
        total += x[i]
    return total


@njit(cache=True)
def _mean(x):  # type: ignore[no-untyped-def]
    """Arithmetic mean, bit-equal to ``np.mean`` up to 128 elements."""
    return _sum(x) / len(x)


@njit(cache=True)
def _variance(x):  # type: ignore[no-untyped-def]
    """Population variance from deviations, bit-equal to ``np.var`` up to 128 elements."""
    d = x - _mean(x)
    return _sum(d * d) / len(x)


@njit(cache=True)
def _root_mean_square(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = np.sqrt(_mean(rows[i] * rows[i]))


@njit(cache=True)
def _standard_deviation(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = np.sqrt(_variance(rows[i]))


@njit(cache=True)
def _variation_coefficient(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        mean = _mean(rows[i])
        out[i] = np.sqrt(_variance(rows[i])) / mean if mean != 0.0 else np.nan


@njit(cache=True)
def _skewness(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Adjusted Fisher-Pearson coefficient G1 (pandas); NaN where all values are equal."""
    n = rows.shape[1]
    for i in range(len(rows)):
        x = rows[i]
        if np.min(x) == np.max(x):
            out[i] = np.nan
            continue
        d = x - _mean(x)
        m2, m3 = _sum(d * d), _sum(d * d * d)
        out[i] = n * np.sqrt(n - 1.0) / (n - 2.0) * m3 / m2**1.5


@njit(cache=True)
def _kurtosis(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Adjusted excess kurtosis G2 (pandas); NaN where all values are equal."""
    n = float(rows.shape[1])
    for i in range(len(rows)):
        x = rows[i]
        if np.min(x) == np.max(x):
            out[i] = np.nan
            continue
        d = x - _mean(x)
        m2, m4 = _sum(d * d), _sum(d * d * d * d)
        adjust = 3.0 * (n - 1.0) ** 2 / ((n - 2.0) * (n - 3.0))
        out[i] = n * (n + 1.0) * (n - 1.0) * m4 / ((n - 2.0) * (n - 3.0) * m2 * m2) - adjust


@njit(cache=True)
def _quantile(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Linear interpolation between order statistics at p (n - 1)."""
    n = rows.shape[1]
    at = p * (n - 1)
    k = int(np.floor(at))
    for i in range(len(rows)):
        x = np.sort(rows[i])
        above = x[min(k + 1, n - 1)]
        out[i] = x[k] + (above - x[k]) * (at - k)


@njit(cache=True)
def _mean_n_absolute_max(rows, p, q, out):  # type: ignore[no-untyped-def]
    k = int(p)
    for i in range(len(rows)):
        out[i] = _mean(np.sort(np.abs(rows[i]))[-k:]) if rows.shape[1] > k else np.nan


@njit(cache=True)
def _mean_abs_change(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = _mean(np.abs(rows[i][1:] - rows[i][:-1]))


@njit(cache=True)
def _mean_second_derivative_central(rows, p, q, out):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    for i in range(len(rows)):
        x = rows[i]
        out[i] = (x[n - 1] - x[n - 2] - x[1] + x[0]) / (2.0 * (n - 2))


@njit(cache=True)
def _cid_ce(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Length of the z-normalised line (Batista et al., Data Min. Knowl. Discov. 28, 2014)."""
    for i in range(len(rows)):
        s = np.sqrt(_variance(rows[i]))
        if s == 0.0:
            out[i] = 0.0
            continue
        z = (rows[i] - _mean(rows[i])) / s
        d = z[1:] - z[:-1]
        out[i] = np.sqrt(_sum(d * d))


@njit(cache=True)
def _autocorrelation(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Lagged products over (n - lag) times the variance; NaN where the variance is within 1e-8 of 0."""
    n = rows.shape[1]
    lag = int(p)
    for i in range(len(rows)):
        v = _variance(rows[i])
        if v <= 1e-8:
            out[i] = np.nan
            continue
        d = rows[i] - _mean(rows[i])
        out[i] = _sum(d[: n - lag] * d[lag:]) / ((n - lag) * v)


@njit(cache=True)
def _agg_autocorrelation(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Mean (p = 0) or variance (p = 1) of the adjusted autocorrelations at lags 1 to q; 0 where constant."""
    n = rows.shape[1]
    lags = int(q)
    r = np.empty(lags)
    for i in range(len(rows)):
        if _variance(rows[i]) < 1e-10:
            out[i] = 0.0
            continue
        d = rows[i] - _mean(rows[i])
        v = _sum(d * d) / n
        r[:] = 0.0
        # days outside, lags inside: the running sums are independent of each other and so run side by side
        for t in range(n):
            for k in range(1, min(lags, n - 1 - t) + 1):
                r[k - 1] += d[t] * d[t + k]
        for k in range(1, lags + 1):
            r[k - 1] /= (n - k) * v
        out[i] = _mean(r) if p == 0.0 else _variance(r)


@njit(cache=True)
def _c3(rows, p, q, out):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    lag = int(p)
    for i in range(len(rows)):
        x = rows[i]
        out[i] = _mean(x[2 * lag :] * x[lag : n - lag] * x[: n - 2 * lag])


@njit(cache=True)
def _time_reversal(rows, p, q, out):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    lag = int(p)
    for i in range(len(rows)):
        a, b, c = rows[i][: n - 2 * lag], rows[i][lag : n - lag], rows[i][2 * lag :]
        out[i] = _mean(c * c * b - b * a * a)


@njit(cache=True)
def _longest_strike(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Longest run of days above (p = 1) or below (p = -1) the mean."""
    for i in range(len(rows)):
        mean = _mean(rows[i])
        run = 0
        best = 0
        for value in rows[i]:
            run = run + 1 if (value > mean if p > 0 else value < mean) else 0
            best = max(best, run)
        out[i] = best


@njit(cache=True)
def _count_above_mean(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = np.sum(rows[i] > _mean(rows[i]))


@njit(cache=True)
def _first_location_of_maximum(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = np.argmax(rows[i]) / rows.shape[1]


@njit(cache=True)
def _last_location_of_maximum(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = 1.0 - np.argmax(rows[i][::-1]) / rows.shape[1]


@njit(cache=True)
def _linear_trend_slope(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Least-squares slope of the series on 0, 1, ..., n - 1."""
    n = rows.shape[1]
    t = np.arange(n) - (n - 1) / 2.0
    below = np.sum(t * t)
    for i in range(len(rows)):
        out[i] = _sum(t * (rows[i] - _mean(rows[i]))) / below


@njit(cache=True)
def _energy_ratio_by_chunks(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Share of the squared values in chunk q of p, chunks as ``np.array_split`` cuts them."""
    n = rows.shape[1]
    chunks, focus = int(p), int(q)
    each, extra = n // chunks, n % chunks
    start = focus * each + min(focus, extra)
    stop = start + each + (1 if focus < extra else 0)
    for i in range(len(rows)):
        squares = rows[i] * rows[i]
        energy = _sum(squares)
        out[i] = _sum(squares[start:stop]) / energy if energy != 0.0 else np.nan


@njit(cache=True)
def _index_mass_quantile(rows, p, q, out):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    for i in range(len(rows)):
        total = _sum(np.abs(rows[i]))
        out[i] = np.nan
        mass = 0.0
        if total != 0.0:
            out[i] = 1.0 / n
            for t in range(n):
                mass += abs(rows[i, t])
                if mass / total >= p:
                    out[i] = (t + 1) / n
                    break


@njit(cache=True)
def _number_peaks(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Values greater than their p neighbours on either side."""
    n = rows.shape[1]
    support = int(p)
    for i in range(len(rows)):
        x = rows[i]
        peaks = 0
        for t in range(support, n - support):
            is_peak = True
            for k in range(1, support + 1):
                is_peak = is_peak and x[t] > x[t - k] and x[t] > x[t + k]
            peaks += is_peak
        out[i] = peaks


@njit(cache=True)
def _number_crossing(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        crossings = 0
        for t in range(1, rows.shape[1]):
            crossings += (rows[i, t] > p) != (rows[i, t - 1] > p)
        out[i] = crossings


@njit(cache=True)
def _value_count(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = np.sum(rows[i] == p)


@njit(cache=True)
def _ratio_beyond_r_sigma(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        s = np.sqrt(_variance(rows[i]))
        out[i] = np.sum(np.abs(rows[i] - _mean(rows[i])) > p * s) / rows.shape[1]


@njit(cache=True)
def _large_standard_deviation(rows, p, q, out):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        out[i] = 1.0 if np.sqrt(_variance(rows[i])) > p * (np.max(rows[i]) - np.min(rows[i])) else 0.0


@njit(cache=True)
def _symmetry_looking(rows, p, q, out):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    for i in range(len(rows)):
        x = np.sort(rows[i])
        middle = x[n // 2] if n % 2 == 1 else (x[n // 2 - 1] + x[n // 2]) / 2.0
        out[i] = 1.0 if abs(_mean(rows[i]) - middle) < p * (x[n - 1] - x[0]) else 0.0


@njit(cache=True)
def _reoccurring(rows, p, q, out):  # type: ignore[no-untyped-def]
    """By p: 0 share of days whose value occurs again, 1 distinct values per day, 2 sum of values that occur again."""
    n = rows.shape[1]
    for i in range(len(rows)):
        x = np.sort(rows[i])
        distinct = 0
        again = 0
        total = 0.0
        start = 0
        for t in range(1, n + 1):
            if t == n or x[t] != x[start]:
                distinct += 1
                if t - start > 1:
                    again += t - start
                    total += x[start]
                start = t
        out[i] = again / n if p == 0.0 else (distinct / n if p == 1.0 else total)


@njit(cache=True)
def _binned_entropy(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Entropy (natural logarithm) of p equal bins; bin edges and ties as in ``np.histogram``."""
    n = rows.shape[1]
    bins = int(p)
    for i in range(len(rows)):
        x = rows[i]
        first, last = np.min(x), np.max(x)
        if first == last:
            first, last = first - 0.5, last + 0.5
        edges = np.linspace(first, last, bins + 1)
        counts = np.zeros(bins)
        for t in range(n):
            k = min(int((x[t] - first) / (last - first) * bins), bins - 1)
            if x[t] < edges[k]:
                k -= 1
            if k < bins - 1 and x[t] >= edges[k + 1]:
                k += 1
            counts[k] += 1.0
        entropy = 0.0
        for k in range(bins):
            if counts[k] > 0:
                entropy -= counts[k] / n * np.log(counts[k] / n)
        out[i] = entropy


@njit(cache=True)
def _fourier(x, coefficient, cosine, sine):  # type: ignore[no-untyped-def]
    """Real and imaginary part of one discrete Fourier coefficient; tables hold cos and sin of 2 pi k / n."""
    n = len(x)
    real = 0.0
    imaginary = 0.0
    for t in range(n):
        if x[t] != 0.0:
            k = coefficient * t % n
            real += x[t] * cosine[k]
            imaginary -= x[t] * sine[k]
    return real, imaginary


@njit(cache=True)
def _circle(n):  # type: ignore[no-untyped-def]
    """Cosine and sine of 2 pi k / n for k in 0 .. n - 1."""
    angle = 2.0 * np.pi * np.arange(n) / n
    return np.cos(angle), np.sin(angle)


@njit(cache=True)
def _fft_abs(rows, p, q, out):  # type: ignore[no-untyped-def]
    cosine, sine = _circle(rows.shape[1])
    for i in range(len(rows)):
        real, imaginary = _fourier(rows[i], int(p), cosine, sine)
        out[i] = np.hypot(real, imaginary)


@njit(cache=True)
def _fft_centroid(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Mean coefficient index, weighted by the coefficients' absolute values."""
    n = rows.shape[1]
    m = n // 2 + 1
    cosine, sine = _circle(n)
    turns = np.empty((2, n, m))
    for t in range(n):
        for k in range(m):
            turns[0, t, k] = cosine[k * t % n]
            turns[1, t, k] = sine[k * t % n]
    real = np.empty(m)
    imaginary = np.empty(m)
    for i in range(len(rows)):
        real[:] = 0.0
        imaginary[:] = 0.0
        for t in range(n):
            value = rows[i, t]
            if value != 0.0:
                for k in range(m):
                    real[k] += value * turns[0, t, k]
                    imaginary[k] += value * turns[1, t, k]
        total = 0.0
        moment = 0.0
        for k in range(m):
            size = np.sqrt(real[k] * real[k] + imaginary[k] * imaginary[k])
            total += size
            moment += k * size
        out[i] = moment / total if total != 0.0 else np.nan


@njit(cache=True)
def _welch_density(rows, p, q, out):  # type: ignore[no-untyped-def]
    """Power density at coefficient p (neither first nor last): one Hann-windowed segment, mean removed."""
    n = rows.shape[1]
    cosine, sine = _circle(n)
    window = 0.5 - 0.5 * cosine
    scale = 2.0 / np.sum(window * window)
    for i in range(len(rows)):
        real, imaginary = _fourier((rows[i] - _mean(rows[i])) * window, int(p), cosine, sine)
        out[i] = scale * (real * real + imaginary * imaginary)


Kernel = Callable[[NDArray[np.float64], float, float, NDArray[np.float64]], None]

_PLAIN: Final[dict[str, tuple[Kernel, float]]] = {
    "root_mean_square": (_root_mean_square, 0),
    "standard_deviation": (_standard_deviation, 0),
    "variation_coefficient": (_variation_coefficient, 0),
    "skewness": (_skewness, 0),
    "kurtosis": (_kurtosis, 0),
    "mean_abs_change": (_mean_abs_change, 0),
    "mean_second_derivative_central": (_mean_second_derivative_central, 0),
    "longest_strike_above_mean": (_longest_strike, 1),
    "longest_strike_below_mean": (_longest_strike, -1),
    "count_above_mean": (_count_above_mean, 0),
    "first_location_of_maximum": (_first_location_of_maximum, 0),
    "last_location_of_maximum": (_last_location_of_maximum, 0),
    "percentage_of_reoccurring_datapoints_to_all_datapoints": (_reoccurring, 0),
    "ratio_value_number_to_time_series_length": (_reoccurring, 1),
    "sum_of_reoccurring_values": (_reoccurring, 2),
}
"""Twins of calculators without parameters, and the constant they take as p."""

_WITH_PARAMETERS: Final[dict[str, tuple[Kernel, tuple[str, ...]]]] = {
    "quantile": (_quantile, ("q",)),
    "mean_n_absolute_max": (_mean_n_absolute_max, ("number_of_maxima",)),
    "autocorrelation": (_autocorrelation, ("lag",)),
    "c3": (_c3, ("lag",)),
    "time_reversal_asymmetry_statistic": (_time_reversal, ("lag",)),
    "energy_ratio_by_chunks": (_energy_ratio_by_chunks, ("num_segments", "segment_focus")),
    "index_mass_quantile": (_index_mass_quantile, ("q",)),
    "number_peaks": (_number_peaks, ("n",)),
    "number_crossing_m": (_number_crossing, ("m",)),
    "value_count": (_value_count, ("value",)),
    "ratio_beyond_r_sigma": (_ratio_beyond_r_sigma, ("r",)),
    "large_standard_deviation": (_large_standard_deviation, ("r",)),
    "symmetry_looking": (_symmetry_looking, ("r",)),
    "binned_entropy": (_binned_entropy, ("max_bins",)),
    "spkt_welch_density": (_welch_density, ("coeff",)),
}
"""Twins whose numeric parameters become p and q, in this order."""


def twin_of(calculator: str, parameters: Parameters) -> tuple[Kernel, float, float] | None:
    """The compiled twin with its p and q, or None where there is none for these parameters."""
    if calculator in _PLAIN:
        kernel, p = _PLAIN[calculator]
        return kernel, float(p), 0.0
    if calculator in _WITH_PARAMETERS:
        kernel, names = _WITH_PARAMETERS[calculator]
        values = [float(parameters[n]) for n in names] + [0.0]
        return kernel, values[0], values[1]
    if calculator == "cid_ce" and parameters["normalize"]:
        return _cid_ce, 0.0, 0.0
    if calculator == "agg_autocorrelation" and parameters["f_agg"] in ("mean", "var"):
        return _agg_autocorrelation, float(parameters["f_agg"] == "var"), float(parameters["maxlag"])
    if calculator == "linear_trend" and parameters["attr"] == "slope":
        return _linear_trend_slope, 0.0, 0.0
    if calculator == "fft_coefficient" and parameters["attr"] == "abs":
        return _fft_abs, float(parameters["coeff"]), 0.0
    if calculator == "fft_aggregated" and parameters["aggtype"] == "centroid":
        return _fft_centroid, 0.0, 0.0
    return None


# --- tsfresh itself ---------------------------------------------------------------------------------------------


@functools.cache
def tsfresh_library() -> Any:
    """The library, imported when first needed: it takes a second, and a week scored by twins alone needs it not.

    Stumpy, which takes three seconds more, loads when a series is searched for a query; no candidate does so.
    """
    sys.modules.setdefault("stumpy", _asleep("stumpy"))
    import tsfresh

    return tsfresh


def _asleep(name: str) -> ModuleType:
    """A module in whose place the one of that name is imported when something in it is asked for (PEP 562)."""
    module = ModuleType(name)

    def load(attribute: str) -> Any:
        if attribute.startswith("__"):
            # whoever looks through all modules asks for these
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    module.__getattr__ = load  # type: ignore[method-assign]
    return module


def _with_tsfresh(series: NDArray[np.float64], wanted: list[tuple[str, str, Parameters]]) -> dict[str, Any]:
    """Columns of plain tsfresh for (kind, calculator, parameters), one value per series; NaN where it has none."""
    import pandas as pd

    n = len(series)
    settings: dict[str, dict[str, list[Parameters] | None]] = {}
    for kind, calculator, parameters in wanted:
        of_kind = settings.setdefault(kind, {})
        if parameters:
            of_kind[calculator] = [*(of_kind.get(calculator) or []), parameters]
        else:
            of_kind[calculator] = None
    kinds = [k for k in KINDS if k in settings]
    long = pd.DataFrame(
        {
            "id": np.tile(np.repeat(np.arange(n), SERIES_DAYS), len(kinds)),
            "day": np.tile(np.arange(SERIES_DAYS), n * len(kinds)),
            "kind": np.repeat(np.array(kinds, dtype=object), n * SERIES_DAYS),
            "value": np.concatenate([series[:, KINDS.index(k), :].ravel() for k in kinds]),
        }
    )
    with np.errstate(all="ignore"):
        found = (
            tsfresh_library()
            .extract_features(
                long,
                column_id="id",
                column_sort="day",
                column_kind="kind",
                column_value="value",
                kind_to_fc_parameters=settings,
                n_jobs=0,
                disable_progressbar=True,
            )
            .reindex(range(n))
        )
    return {name: found[name].to_numpy(dtype=np.float64) for name in (_name(*w) for w in wanted)}


def compute(selection: FrozenSelection | None, series: NDArray[np.float64]) -> pl.DataFrame:
    """The chosen characteristics of each series, and nothing else.

    Parameters
    ----------
    selection : what to compute; None leaves every slot null.
    series : shape (n, 3, 90) as :func:`daily_series` makes it. Memory is that of the input plus n x 12 values
        (for calculators without twin also a long table of the input): pass chunks.

    Returns
    -------
    n rows in the order given, one nullable number column per slot of :data:`SLOTS`; null where the slot is unused
    or the calculator is undefined for the series.
    """
    n = len(series)
    columns: dict[str, NDArray[np.float64]] = {}
    slow: list[tuple[str, str, Parameters]] = []
    slots = selection.slots() if selection else {}
    contiguous = {c.kind: np.ascontiguousarray(series[:, KINDS.index(c.kind), :]) for c in slots.values()}
    for slot, c in slots.items():
        twin = twin_of(c.calculator, dict(c.parameters))
        if twin is None:
            slow.append((c.kind, c.calculator, dict(c.parameters)))
            continue
        kernel, p, q = twin
        columns[slot] = np.empty(n)
        kernel(contiguous[c.kind], p, q, columns[slot])
    if slow and n:
        found = _with_tsfresh(series, slow)
        columns.update({slot: found[c.name] for slot, c in slots.items() if slot not in columns})
    values = {s: pl.Series(s, columns[s]) if s in columns else pl.lit(None, pl.Float64).alias(s) for s in SLOTS}
    frame = pl.DataFrame({"row": np.arange(n)}).select("row", **values).drop("row")
    return frame.with_columns(pl.when(pl.all().is_finite()).then(pl.all()))


# --- discovery --------------------------------------------------------------------------------------------------


def sample_training_pairs(labels: pl.DataFrame, config: FeatureConfig, seed: int) -> pl.DataFrame:
    """Draw the pairs discovery looks at: one week per client, at most half of them positive.

    One row per client keeps the rows of the relevance test independent; neighbouring weeks of a client are not.

    Parameters
    ----------
    labels : client_id, as_of_date, is_str_within_horizon (not null) of **training weeks only**.
    config : ``tsfresh_sample_clients`` is the number of clients drawn at most.
    seed : of the draw; the same rows, in any order, and the same seed give the same sample.

    Returns
    -------
    client_id, as_of_date, is_positive; one row per drawn client, sorted by client.
    """
    rows = labels.select(
        "client_id", pl.col("as_of_date").cast(pl.Date), is_positive=pl.col("is_str_within_horizon")
    ).sort("client_id", "as_of_date")
    rng = np.random.default_rng(seed)
    drawn = (
        rows.with_columns(key=pl.Series(rng.random(len(rows))))
        # a client with a positive week is represented by one of those
        .sort("is_positive", "key", descending=[True, False])
        .unique("client_id", keep="first", maintain_order=True)
        .sort("is_positive", "key", descending=[True, False])
    )
    positive = drawn.filter("is_positive").head(config.tsfresh_sample_clients // 2)
    negative = drawn.filter(~pl.col("is_positive")).head(config.tsfresh_sample_clients - len(positive))
    return pl.concat([positive, negative]).drop("key").sort("client_id")


def discover(series: NDArray[np.float64], labels: NDArray[np.bool_], config: FeatureConfig) -> FrozenSelection:
    """Test every candidate on every series against the label and freeze the most relevant ones.

    Parameters
    ----------
    series : shape (n, 3, 90), daily series of sampled **training** pairs (:func:`sample_training_pairs`).
    labels : shape (n,), an STR within the horizon.
    config : ``tsfresh_max_features`` (at most :data:`MAX_SLOTS` are kept), ``tsfresh_fdr_ratio``,
        ``tsfresh_redundant_correlation``.

    Returns
    -------
    Relevant characteristics by rising p-value (ties by name), skipping any whose absolute rank correlation with a
    kept one exceeds the configured limit. Empty, with a note, where there is one class only or none is relevant.

    Raises
    ------
    ValueError : series and labels differ in length.
    """
    if len(series) != len(labels):
        raise ValueError(f"{len(series)} series but {len(labels)} labels")
    keep = min(config.tsfresh_max_features, MAX_SLOTS)
    wanted = [(kind, calculator, p) for kind in KINDS for calculator, p in CANDIDATES]

    def frozen(chosen: tuple[Characteristic, ...], tested: int, relevant: int, note: str) -> FrozenSelection:
        return FrozenSelection(
            characteristics=chosen,
            sampled_rows=len(labels),
            positive_rows=int(np.sum(labels)),
            tested=tested,
            relevant=relevant,
            fdr_ratio=config.tsfresh_fdr_ratio,
            tsfresh_version=version("tsfresh"),
            note=note,
        )

    if keep == 0 or not len(labels) or labels.all() or not labels.any():
        return frozen((), 0, 0, "discovery is off" if keep == 0 else "the sample holds one class only")
    import pandas as pd

    tsfresh = tsfresh_library()
    table = tsfresh.utilities.dataframe_functions.impute(pd.DataFrame(_with_tsfresh(series, wanted)))
    relevance = tsfresh.feature_selection.relevance.calculate_relevance_table(
        table,
        pd.Series(labels, index=table.index),
        ml_task="classification",
        fdr_level=config.tsfresh_fdr_ratio,
        n_jobs=0,
    )
    p_values = {
        str(name): float(p)
        for name, p, is_relevant in zip(relevance.index, relevance["p_value"], relevance["relevant"], strict=True)
        if is_relevant
    }
    by_name = {_name(*w): w for w in wanted}
    ranked = sorted(p_values, key=lambda name: (p_values[name], name))
    ranks = {name: rankdata(table[name].to_numpy()) for name in ranked}
    kept: list[str] = []
    for name in ranked:
        if len(kept) == keep:
            break
        limit = config.tsfresh_redundant_correlation
        if all(abs(np.corrcoef(ranks[name], ranks[other])[0, 1]) <= limit for other in kept):
            kept.append(name)
    chosen = tuple(
        Characteristic(by_name[n][0], by_name[n][1], tuple(sorted(by_name[n][2].items())), p_values[n]) for n in kept
    )
    return frozen(chosen, len(wanted), len(ranked), "" if chosen else "no characteristic passed the relevance test")
