"""The catalogue: complete, consistent with its column names, sourced; signatures are unit vectors."""

from __future__ import annotations

import re
from datetime import date
from itertools import combinations

import pytest

from ml_assets.features import p6_scheme
from ml_assets.features.scheme_templates import (
    INDICATORS,
    NOT_COVERED,
    PREFIXES,
    ROW_COLUMNS,
    SCORE_COLUMNS,
    TEMPLATES,
    Limit,
    Scheme,
    Source,
    indicators_of,
)

CONTRACT_COLUMNS = {
    "amount",
    "direction",
    "txn_date",
    *ROW_COLUMNS,
    "industry",
    "occupation",
    "size_bucket",
    "expected_turnover",
    "onboarding_date",
}


@pytest.mark.parametrize("scheme", Scheme)
def test_each_scheme_has_ten_or_more_indicators(scheme: Scheme) -> None:
    assert len(indicators_of(scheme)) >= 10


@pytest.mark.parametrize("indicator", INDICATORS, ids=lambda i: i.name)
def test_an_indicator_says_everything(indicator) -> None:  # type: ignore[no-untyped-def]
    match = re.fullmatch(r"p6_(ub|tb|msb)_[a-z_]+_(\d+)d_(ratio|base|count|factor|bits)", indicator.name)
    assert match is not None
    assert match[1] == PREFIXES[indicator.scheme]
    assert int(match[2]) == indicator.window_days
    money = indicator.threshold.unit == "reporting_thresholds"
    assert money == (match[3] == "base")
    assert money or indicator.threshold.unit == match[3]
    assert set(indicator.requires) <= CONTRACT_COLUMNS
    for text in (indicator.meaning, indicator.formula, indicator.evidence, indicator.null_rule):
        assert text.strip()
    for limit in (indicator.threshold, *indicator.conditions):
        assert limit.value > 0
        assert limit.reason.strip()
        assert date(2018, 1, 1) <= limit.source.published <= date(2026, 12, 31)
        assert "FINTRAC" in limit.source.reference
    names = [c.name for c in indicator.conditions]
    assert len(names) == len(set(names))
    if match[3] == "ratio":
        assert indicator.threshold.value <= 1.0


def test_names_are_unique_and_are_the_contract() -> None:
    names = [i.name for i in INDICATORS]
    assert len(names) == len(set(names))
    assert [c.name for c in p6_scheme.CONTRACT.features][: len(names)] == names
    for column in p6_scheme.CONTRACT.features:
        assert column.description
        assert column.formula


def test_an_origin_is_always_joined_with_behaviour() -> None:
    """Whatever reads a country also asks what became of the money, and says so."""
    readers = [i for i in INDICATORS if "counterparty_country" in i.requires]
    assert len(readers) >= 5
    for i in readers:
        assert "first-in-first-out" in i.formula
        assert any(c.name == "reach" for c in i.conditions)


def test_limits_resolve_to_money_or_stay() -> None:
    source = Source("x", date(2020, 1, 1))
    assert Limit("a", 2.5, "reporting_thresholds", "r", source).resolve(10_000.0) == 25_000.0
    assert Limit("a", 2.5, "factor", "r", source).resolve(10_000.0) == 2.5
    with pytest.raises(KeyError, match="no condition 'nothing'"):
        INDICATORS[0].condition("nothing")


def test_signatures_are_unit_vectors_that_tell_schemes_apart() -> None:
    assert set(TEMPLATES) == set(Scheme)
    for scheme, template in TEMPLATES.items():
        assert template.scheme == scheme
        assert len(template.signature) == len(SCORE_COLUMNS) == len(template.reasons)
        assert sum(x * x for x in template.signature) == pytest.approx(1.0)
        assert all(reason.strip() for reason in template.reasons)
    for a, b in combinations(TEMPLATES.values(), 2):
        assert sum(x * y for x, y in zip(a.signature, b.signature, strict=True)) < 0.9


def test_what_needs_invoices_is_listed_as_not_covered() -> None:
    names = {n.name for n in NOT_COVERED}
    assert {"over- and under-invoicing", "phantom shipment"} <= names
    assert {n.scheme for n in NOT_COVERED} == set(Scheme)
    assert all(n.needs.strip() for n in NOT_COVERED)
