import math

import numpy as np
import pytest

from ml_assets.config import ModelConfig
from ml_assets.models import parts
from ml_assets.models.boosting import fit_grouped, merge
from ml_assets.models.store import pack_boost, unpack_boost

CONFIG = ModelConfig(trees=30, parallel_fits=1)


def data(rows: int = 1200, rate: float = 0.1):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = rng.random(rows) < 1 / (1 + np.exp(-(np.log(rate) + 1.5 * x[:, 0])))
    fold = (np.arange(rows) // 4 % 4).astype(np.int32)
    return x, y, fold


def fit(x, y, fold, keep=None, log_rate=0.0, config=CONFIG, **kwargs):
    keep = np.ones(len(y), dtype=bool) if keep is None else keep
    return fit_grouped(x, y, fold, keep, log_rate, ("a", "b", "c"), config, **kwargs)


def test_scores_of_a_fold_do_not_depend_on_its_own_labels_or_features():
    x, y, fold = data()
    _, before = fit(x, y, fold)
    for k in range(4):
        flipped, moved = y.copy(), x.copy()
        flipped[fold == k] = ~flipped[fold == k]
        _, after = fit(x, flipped, fold)
        assert (after[fold == k] == before[fold == k]).all()
        # the other folds did learn from fold k
        assert (after[fold != k] != before[fold != k]).any()
        # a row's features matter for itself only
        rows = np.flatnonzero(fold == k)
        moved[rows[0]] += 1
        _, after = fit(moved, y, fold)
        assert (after[rows[1:]] == before[rows[1:]]).all()


def test_rows_that_may_not_train_are_scored_but_not_learned_from():
    x, y, fold = data()
    keep = np.arange(len(y)) % 3 > 0
    boost, margin = fit(x, y, fold, keep)
    other = y.copy()
    other[~keep] = ~other[~keep]
    again, margin_again = fit(x, other, fold, keep)
    assert pack_boost("m", boost) == pack_boost("m", again)
    assert (margin == margin_again).all()
    assert np.isfinite(margin).all()


def test_clients_that_train_nowhere_are_scored_and_are_no_fold():
    x, y, fold = data()
    keep = np.ones(len(y), dtype=bool)
    boost, margin = fit(x, y, fold, keep)
    strangers = x[:50] + 0.1
    more = np.concatenate([x, strangers])
    nowhere = np.concatenate([fold, np.full(50, -1, dtype=np.int32)])
    is_fit = np.concatenate([keep, np.zeros(50, dtype=bool)])
    again, margins = fit(more, np.concatenate([y, np.zeros(50, dtype=bool)]), nowhere, is_fit)
    assert pack_boost("m", again) == pack_boost("m", boost)
    assert (margins[: len(y)] == margin).all()
    assert np.isfinite(margins[len(y) :]).all()


def test_sampling_of_negatives_is_undone():
    x, y, fold = data(8000, 0.02)
    draws = np.random.default_rng(0).random(len(y))
    keep = y | (draws < 0.25)
    _, margin = fit(x, y, fold, keep, math.log(0.25))
    assert (1 / (1 + np.exp(-margin))).mean() == pytest.approx(y.mean(), rel=0.15)


def test_same_input_gives_the_same_bytes_whatever_the_number_of_parallel_fits():
    x, y, fold = data()
    one, margin_one = fit(x, y, fold)
    two, margin_two = fit(x, y, fold, config=ModelConfig(trees=30, parallel_fits=2))
    assert pack_boost("m", one) == pack_boost("m", two)
    assert margin_one.tobytes() == margin_two.tobytes()


def test_contributions_sum_to_the_margin_and_survive_saving():
    x, y, fold = data()
    x[::9, 1] = np.nan
    boost, _ = fit(x, y, fold, log_rate=-0.5)
    parts = boost.contributions(x)
    np.testing.assert_allclose(parts.sum(axis=1), boost.margin(x), rtol=0, atol=1e-12)
    again = unpack_boost("m", pack_boost("m", boost))
    assert again is not None
    assert (again.margin(x) == boost.margin(x)).all()
    assert (again.features, again.log_rate) == (boost.features, boost.log_rate)


def test_monotone_boosting_never_falls():
    x, y, fold = data()
    boost, _ = fit(x, y, fold, monotone=1)
    line = np.zeros((200, 3), dtype=np.float32)
    line[:, 0] = np.linspace(-3, 3, 200)
    assert (np.diff(boost.margin(line)) >= 0).all()


def test_two_folds_work_without_early_stopping():
    x, y, fold = data()
    boost, margin = fit(x, y, fold % 2)
    assert boost.rounds == CONFIG.trees // 2
    assert np.isfinite(margin).all()


def test_merged_committees_are_the_mean_of_both():
    x, y, fold = data()
    half = x.copy()
    half[:, 0] = np.nan
    first, _ = fit(x, y, fold, is_committee=True)
    second, margin = fit(x, y, fold, is_committee=True, hidden=[0])
    _, without = fit(half, y, fold, is_committee=True)
    assert (margin == without).all()
    both = merge([first, second])
    assert len(both.members) == 8
    # who never saw a column does not read it
    np.testing.assert_array_equal(second.margin(x), second.margin(half))
    assert (second.margin(x) != first.margin(x)).any()
    np.testing.assert_allclose(both.margin(x), (first.margin(x) + second.margin(x)) / 2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        both.contributions(x), (first.contributions(x) + second.contributions(x)) / 2, rtol=0, atol=1e-6
    )
    assert pack_boost("m", merge([first])) == pack_boost("m", first)


def test_scores_are_the_same_bytes_in_parts(monkeypatch):
    x, y, fold = data()
    boost, _ = fit(x, y, fold, is_committee=True)
    rows = np.tile(x, (20, 1))
    monkeypatch.setattr(parts, "cpu_count", lambda: 1)
    whole = boost.margin(rows), boost.contributions(rows)
    monkeypatch.setattr(parts, "cpu_count", lambda: 3)
    assert len(rows) // parts.SMALLEST >= 3
    cut = boost.margin(rows), boost.contributions(rows)
    assert all((a == b).all() for a, b in zip(whole, cut, strict=True))


def test_a_committee_is_the_mean_of_its_members_and_saves_whole():
    x, y, fold = data()
    single, margin = fit(x, y, fold)
    committee, margin_too = fit(x, y, fold, is_committee=True)
    assert (margin == margin_too).all()
    assert len(committee.members) == 4
    # on rows of one fold, three members saw them and the one that did not gave the out-of-fold margin
    by_hand = np.mean([m.inplace_predict(x, predict_type="margin") for m in committee.members], axis=0)
    np.testing.assert_allclose(committee.margin(x), by_hand, atol=1e-6)
    assert (committee.margin(x) != single.margin(x)).any()
    np.testing.assert_allclose(committee.contributions(x).sum(axis=1), committee.margin(x), rtol=0, atol=1e-12)
    again = unpack_boost("m", pack_boost("m", committee))
    assert again is not None
    assert (again.margin(x) == committee.margin(x)).all()
    gain = committee.total_gain()
    assert gain.argmax() == 0
    assert gain.shape == (3,)
