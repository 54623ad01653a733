"""Generated temporal characteristics: compiled twins against tsfresh itself, on the daily series of real windows."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks import windows
from benchmarks.record import Recorder, Row, timed
from ml_assets.features import tsfresh_engine as engine
from orchestration.defs import reading
from orchestration.defs.resources import Warehouse

CHOSEN: Final = (
    ("count", "energy_ratio_by_chunks", (("num_segments", 3), ("segment_focus", 0))),
    ("count", "linear_trend", (("attr", "slope"),)),
    ("count", "index_mass_quantile", (("q", 0.5),)),
    ("count", "index_mass_quantile", (("q", 0.2),)),
    ("outflow", "mean_n_absolute_max", (("number_of_maxima", 5),)),
    ("inflow", "fft_aggregated", (("aggtype", "centroid"),)),
    ("outflow", "energy_ratio_by_chunks", (("num_segments", 3), ("segment_focus", 0))),
    ("inflow", "count_above_mean", ()),
    ("outflow", "linear_trend", (("attr", "slope"),)),
    ("count", "first_location_of_maximum", ()),
    ("outflow", "longest_strike_below_mean", ()),
    ("count", "longest_strike_above_mean", ()),
)
"""What the relevance test chose on the simulated bank of the demo profile."""

SAMPLE: Final = 400
"""Series plain tsfresh is measured on; the rest is extrapolated linearly."""


def selection() -> engine.FrozenSelection:
    """The chosen characteristics as a frozen selection."""
    chosen = tuple(engine.Characteristic(kind, calculator, p, 0.0) for kind, calculator, p in CHOSEN)
    return engine.FrozenSelection(chosen, 0, 0, 0, 0, 0.05, "benchmark")


def characteristics(record: Recorder, warehouse: Warehouse, size: str) -> None:
    """The chosen calculators for one week's clients: what P3 calls, against tsfresh on a sample."""
    weeks = [windows.LAST_WEEK]
    windows.request(warehouse, weeks)
    reading._CACHE.clear()
    history = reading.read_history(warehouse, weeks)
    spine = reading.read_spine(warehouse, history, weeks)
    frozen = selection()
    series, filled = timed(lambda: engine.daily_series(history, spine), 2)
    frame, seconds = timed(lambda: engine.compute(frozen, series), 2)
    record.memory(f"{len(CHOSEN)} chosen temporal characteristics", size)
    at = np.arange(0, len(series), max(1, len(series) // SAMPLE))[:SAMPLE]
    wanted = [(c.kind, c.calculator, dict(c.parameters)) for c in frozen.characteristics]
    plain, taken = timed(lambda: engine._with_tsfresh(series[at], wanted))
    worst, equal = 0.0, True
    for slot, c in frozen.slots().items():
        own = frame[slot].fill_null(np.nan).to_numpy()[at]
        theirs = np.where(np.isfinite(plain[c.name]), plain[c.name], np.nan)
        equal &= bool((np.isnan(own) == np.isnan(theirs)).all())
        worst = max(worst, float(np.nanmax(np.abs(own - theirs) / np.maximum(1.0, np.abs(theirs)), initial=0.0)))
    record.add(
        Row(f"{len(CHOSEN)} chosen temporal characteristics", f"{len(series):,} clients, {size}", seconds,
            "plain tsfresh", taken / len(at) * len(series), equal=equal and worst <= 1e-8, target=40,
            note=f"tsfresh on {len(at)} clients took {taken:.1f} s, extrapolated linearly; largest difference "
            f"{worst:.0e}; making the daily series takes {filled:.2f} s for both")
    )  # fmt: skip
