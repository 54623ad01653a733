"""Twins equal tsfresh, the selection survives a round trip, discovery finds what was planted."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.features import tsfresh_engine as engine
from ml_assets.features.history import build_history, build_spine

D = date(2024, 3, 4)
CONFIG = FeatureConfig()


def sample_series() -> NDArray[np.float64]:
    """Forty clients x 3 series: money in cents, sparse days, and the degenerate shapes calculators trip over."""
    rng = np.random.default_rng(11)
    n = 40
    series = np.round(rng.lognormal(5, 1.5, (n, 3, engine.SERIES_DAYS)), 2)
    series *= rng.random(series.shape) < rng.uniform(0.02, 1.0, (n, 3, 1))
    series[:, 2, :] = rng.poisson(rng.uniform(0.05, 4, (n, 1)), (n, engine.SERIES_DAYS))
    series[0] = 0.0  # silence
    series[1] = 0.1  # equal values whose mean is not exact
    series[2] = 1234.56
    series[3] = 0.0
    series[3, :, 40] = 77.7  # one day only
    series[4] = 0.0
    series[4, :, 0] = 9.99  # the oldest day only
    series[5] = 0.0
    series[5, :, -1] = 9.99  # the newest day only
    series[6] = np.tile([0.0, 1.0], 45)  # |x - mean| equals the standard deviation everywhere
    series[7] = np.arange(engine.SERIES_DAYS)
    series[8] = np.tile([500.0] + [0.0] * 6, 13)[: engine.SERIES_DAYS]  # weekly
    series[9, :, 45:] = series[9, :, :45]
    return series


@pytest.fixture(scope="module")
def oracle() -> tuple[NDArray[np.float64], dict[str, Any]]:
    series = sample_series()
    wanted = [(kind, calculator, p) for kind in engine.KINDS for calculator, p in engine.CANDIDATES]
    return series, engine._with_tsfresh(series, wanted)


def test_every_candidate_has_a_twin() -> None:
    assert [(c, p) for c, p in engine.CANDIDATES if engine.twin_of(c, p) is None] == []


WITH_TWIN = [(c, p) for c, p in engine.CANDIDATES if engine.twin_of(c, p) is not None]


@pytest.mark.parametrize(
    ("calculator", "parameters"), WITH_TWIN, ids=[engine._name("x", c, p)[3:] for c, p in WITH_TWIN]
)
def test_twin_equals_tsfresh(
    calculator: str, parameters: dict[str, Any], oracle: tuple[NDArray[np.float64], dict[str, Any]]
) -> None:
    series, expected = oracle
    twin = engine.twin_of(calculator, parameters)
    assert twin is not None
    kernel, p, q = twin
    for i, kind in enumerate(engine.KINDS):
        got = np.empty(len(series))
        kernel(np.ascontiguousarray(series[:, i, :]), p, q, got)
        wanted = expected[engine._name(kind, calculator, parameters)]
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-8, equal_nan=True, err_msg=kind)


def test_most_candidates_have_a_twin_and_names_are_unique() -> None:
    names = [engine._name("count", c, p) for c, p in engine.CANDIDATES]
    assert len(set(names)) == len(names)
    assert len(WITH_TWIN) >= 40
    assert engine.twin_of("linear_trend", {"attr": "pvalue"}) is None
    assert engine.twin_of("cid_ce", {"normalize": False}) is None


def selection(*chosen: tuple[str, str, dict[str, Any]]) -> engine.FrozenSelection:
    return engine.FrozenSelection(
        tuple(engine.Characteristic(k, c, tuple(sorted(p.items())), 0.001) for k, c, p in chosen),
        sampled_rows=10,
        positive_rows=4,
        tested=150,
        relevant=9,
        fdr_ratio=0.05,
        tsfresh_version="0.21.2",
    )


THREE = (
    ("inflow", "autocorrelation", {"lag": 7}),
    ("count", "autocorrelation", {"lag": 1}),
    ("outflow", "fft_coefficient", {"attr": "abs", "coeff": 13}),
)


def test_round_trip_through_json() -> None:
    made = selection(*THREE)
    again = engine.FrozenSelection.from_json(made.to_json())
    assert again == made
    assert again.to_json() == made.to_json()
    content = json.loads(made.to_json())
    assert content["characteristics"][2]["name"] == 'outflow__fft_coefficient__attr_"abs"__coeff_13'
    assert content["characteristics"][0]["slot"] == "p3_tsfresh_01_90d_value"


def test_selection_of_other_code_is_refused() -> None:
    content = json.loads(selection(*THREE).to_json())
    content["characteristics"][0]["calculator"] = "sample_entropy"
    with pytest.raises(engine.SelectionError, match="unknown"):
        engine.FrozenSelection.from_json(json.dumps(content))


def test_compute_fills_chosen_slots_only(oracle: tuple[NDArray[np.float64], dict[str, Any]]) -> None:
    series, expected = oracle
    frame = engine.compute(selection(*THREE), series)
    assert frame.columns == list(engine.SLOTS)
    assert len(frame) == len(series)
    for slot, chosen in zip(engine.SLOTS, THREE, strict=False):
        wanted = expected[engine._name(*chosen)]
        np.testing.assert_allclose(frame[slot].to_numpy(), wanted, rtol=1e-8, atol=1e-8, equal_nan=True)
        assert frame[slot].is_nan().sum() == 0
    for slot in engine.SLOTS[3:]:
        assert frame[slot].null_count() == len(series)
    assert frame.schema == dict.fromkeys(engine.SLOTS, pl.Float64)


def test_compute_in_parts_is_byte_equal() -> None:
    series = sample_series()
    chosen = selection(
        THREE[0], THREE[2], ("inflow", "kurtosis", {}), ("count", "fft_aggregated", {"aggtype": "centroid"})
    )
    whole = engine.compute(chosen, series)
    parts = pl.concat([engine.compute(chosen, series[i : i + 1]) for i in range(len(series))])
    assert whole.equals(parts, null_equal=True)


def test_compute_without_selection_or_rows() -> None:
    series = sample_series()
    assert engine.compute(None, series[:3]).null_count().row(0) == (3,) * engine.MAX_SLOTS
    empty = engine.compute(selection(*THREE), series[:0])
    assert empty.shape == (0, engine.MAX_SLOTS)
    assert empty.schema == dict.fromkeys(engine.SLOTS, pl.Float64)


def history_of(rows: list[tuple[datetime, float, str, date]]) -> Any:
    frame = pl.DataFrame(
        {
            "txn_id": [f"t{i}" for i in range(len(rows))],
            "client_id": ["A"] * len(rows),
            "counterparty_id": ["x"] * len(rows),
            "direction": [r[2] for r in rows],
            "amount_base": [r[1] for r in rows],
            "txn_at": [r[0] for r in rows],
            "known_date": [r[3] for r in rows],
        }
    ).with_columns(
        pl.lit(None, pl.String).alias(c) for c in ("counterparty_country", "counterparty_sector", "channel", "currency")
    )
    return build_history(
        frame.with_columns(
            is_counterparty_client=pl.lit(False),
            is_time_known=pl.lit(True),
            counterparty_listed_date=pl.lit(None, pl.Date),
        )
    )


def test_daily_series_by_hand() -> None:
    stop = datetime(D.year, D.month, D.day)
    start = stop - timedelta(days=90)
    history = history_of(
        [
            (start - timedelta(microseconds=1), 1.0, "inbound", D - timedelta(days=91)),
            (start, 0.10, "inbound", D - timedelta(days=90)),
            (start + timedelta(hours=23), 0.20, "inbound", D - timedelta(days=90)),
            (stop - timedelta(microseconds=1), 5.0, "outbound", D - timedelta(days=1)),
            (stop - timedelta(days=4), 9.0, "inbound", D),  # learned too late
            (stop, 7.0, "inbound", D),
        ]
    )
    spine = build_spine(history, pl.DataFrame({"client_id": ["A", "B"], "as_of_date": [D, D]}))
    series = engine.daily_series(history, spine)
    assert series.shape == (2, 3, 90)
    assert series[0, 0, 0] == 0.3
    assert series[0, 1, 89] == 5.0
    assert series[0, 2].tolist() == [2.0] + [0.0] * 88 + [1.0]
    assert series[0, 0].sum() == 0.3
    assert not series[1].any()
    assert np.array_equal(engine.daily_series(history, spine, 1, 2), series[1:2])


def test_sample_takes_one_week_per_client_and_prefers_positive_ones() -> None:
    weeks = [D - timedelta(days=7 * i) for i in range(4)]
    labels = pl.DataFrame(
        [(f"c{i:02d}", w, i < 12 and w == weeks[1]) for i in range(60) for w in weeks],
        schema=["client_id", "as_of_date", "is_str_within_horizon"],
        orient="row",
    )
    config = FeatureConfig(tsfresh_sample_clients=20)
    drawn = engine.sample_training_pairs(labels, config, seed=5)
    assert len(drawn) == drawn["client_id"].n_unique() == 20
    assert drawn["is_positive"].sum() == 10
    assert (drawn.filter("is_positive")["as_of_date"] == weeks[1]).all()
    assert drawn.equals(engine.sample_training_pairs(labels.sample(fraction=1, shuffle=True, seed=1), config, seed=5))
    assert not drawn.equals(engine.sample_training_pairs(labels, config, seed=6))


def planted(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    series = np.round(rng.lognormal(4, 1, (n, 3, engine.SERIES_DAYS)), 2)
    labels = np.arange(n) % 3 == 0
    series[labels, 0, 70:] *= 6.0
    return series, labels


def test_discovery_finds_the_planted_series_and_nothing_in_noise() -> None:
    series, labels = planted(60, 2)
    config = FeatureConfig(tsfresh_max_features=4)
    found = engine.discover(series, labels, config)
    assert 1 <= len(found.characteristics) <= 4
    assert {c.kind for c in found.characteristics} == {"inflow"}
    assert found.sampled_rows == 60
    assert found.positive_rows == 20
    assert [c.p_value for c in found.characteristics] == sorted(c.p_value for c in found.characteristics)
    assert found == engine.FrozenSelection.from_json(found.to_json())
    shuffled = np.random.default_rng(0).permutation(labels)
    nothing = engine.discover(series, shuffled, config)
    assert nothing.characteristics == ()
    assert nothing.note == "no characteristic passed the relevance test"


def test_discovery_without_two_classes_or_switched_off() -> None:
    series, labels = planted(9, 2)
    assert engine.discover(series, np.zeros(9, dtype=bool), CONFIG).note == "the sample holds one class only"
    assert engine.discover(series, labels, FeatureConfig(tsfresh_max_features=0)).note == "discovery is off"
    assert engine.discover(series[:0], labels[:0], CONFIG).characteristics == ()
    with pytest.raises(ValueError, match="9 series but 8 labels"):
        engine.discover(series, labels[:8], CONFIG)


def test_stumpy_sleeps_until_a_series_is_searched() -> None:
    # a process of its own: in this one somebody may have woken it
    code = (
        "import sys\n"
        "from ml_assets.features.tsfresh_engine import tsfresh_library\n"
        "tsfresh = tsfresh_library()\n"
        # as tracebacks, warnings and debuggers do
        "for module in list(sys.modules.values()): getattr(module, '__file__', None)\n"
        "print('stumpy.core' in sys.modules)\n"
        "wanted = [{'query': [0.0, 1.0, 2.0, 3.0, 4.0], 'threshold': 0.01}]\n"
        "series = [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]\n"
        "found = tsfresh.feature_extraction.feature_calculators.query_similarity_count(series, wanted)\n"
        "print(found[0][1], 'stumpy.core' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    # the series holds the query once, at its start
    assert done.stdout.split() == ["False", "1", "True"]
