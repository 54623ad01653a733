import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.models.scaling import Scaler, fit_scaler


def test_points_mean_what_the_module_says():
    values = (np.arange(100_000) + 0.5) / 100_000
    scale = fit_scaler(values)
    at = scale.transform(np.array([0.0, 0.5, 10 / 11, 0.99, 0.999, 1.0]))
    assert at[0] == 0
    assert at[-1] == 100
    np.testing.assert_allclose(at[1:5], [50, 60, 70, 80], atol=0.1)


@settings(deadline=None, max_examples=60)
@given(
    training=st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=60),
    probes=st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True),
)
def test_strictly_increasing_everywhere(training: list[float], probes: list[int]):
    scale = fit_scaler(np.array(training))
    assert (np.diff(scale.raw) > 0).all()
    assert (np.diff(scale.score) > 0).all()
    assert (scale.score[0], scale.score[-1]) == (0, 100)
    scored = scale.transform(np.sort(np.array(probes) / 1e6))
    assert (np.diff(scored) > 0).all()


def test_no_ties_above_the_training_maximum():
    scale = fit_scaler(np.linspace(0.001, 0.2, 200_000))
    top = scale.transform(np.array([0.19, 0.2, 0.2000001, 0.5, 0.9999, 1.0]))
    assert (np.diff(top) > 0).all()
    assert top[1] <= 99


def test_equal_training_values_share_their_middle_rank():
    scale = fit_scaler(np.array([0.2] * 9 + [0.4]))
    share = 4.5 / 10
    assert scale.transform(np.array([0.2]))[0] == pytest.approx(50 + 10 * np.log10(share / (1 - share)))


def test_without_values_the_scale_is_the_straight_line():
    assert fit_scaler(np.array([np.nan])).transform(np.array([0.25]))[0] == 25


def test_values_out_of_bounds_are_refused():
    with pytest.raises(ValueError, match="outside their bounds"):
        fit_scaler(np.array([0.5, 1.5]))


def test_round_trip_is_exact():
    scale = fit_scaler(np.random.default_rng(0).random(500))
    again = Scaler.from_state(scale.state())
    x = np.linspace(0, 1, 777)
    assert (scale.transform(x) == again.transform(x)).all()
