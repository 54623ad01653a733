import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.models.calibration import Calibration, fit_calibration


def test_it_finds_the_map_the_labels_were_drawn_with():
    rng = np.random.default_rng(2)
    raw = rng.normal(-2, 2, 40_000)
    target = rng.random(len(raw)) < 1 / (1 + np.exp(-(0.5 * raw - 1)))
    fitted = fit_calibration(raw, target)
    assert fitted.slope == pytest.approx(0.5, rel=0.05)
    assert fitted.intercept == pytest.approx(-1, abs=0.05)


@settings(deadline=None, max_examples=30)
@given(
    raw=st.lists(st.floats(-8, 8), min_size=3, max_size=40),
    flags=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_strictly_increasing_whatever_the_labels(raw, flags):
    fitted = fit_calibration(np.array(raw), np.array(flags[: len(raw)]))
    assert fitted.slope > 0
    assert np.isfinite(fitted.intercept)


def test_separable_validation_keeps_a_finite_slope():
    fitted = fit_calibration(np.array([-3.0, -2, -1, 2]), np.array([False, False, False, True]))
    assert 0 < fitted.slope < 100
    assert fitted.probability(np.array([50.0]))[0] <= 1


def test_one_class_leaves_the_champions_own_probability():
    fitted = fit_calibration(np.array([0.0, 1.0]), np.array([False, False]))
    assert (fitted.slope, fitted.intercept) == (1, 0)
    assert "one class only" in fitted.reason


def test_a_reversed_ranking_only_gets_its_level_corrected():
    raw = np.array([3.0] * 50 + [-3.0] * 50)
    fitted = fit_calibration(raw, raw < 0)
    assert fitted.slope == 1
    assert "does not rank" in fitted.reason


def test_unknown_stays_unknown():
    assert np.isnan(Calibration().probability(np.array([np.nan]))[0])
