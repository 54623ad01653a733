"""The page holds every feature and every number of the schemes, and nothing from outside."""

from __future__ import annotations

from html.parser import HTMLParser

import polars as pl
import pytest

from ml_assets.config import FeatureConfig
from ml_assets.features import catalogue, p4_typology, p6_scheme
from ml_assets.features.scheme_catalogue import scheme_catalogue
from ml_assets.features.scheme_templates import INDICATORS, NOT_COVERED
from ml_assets.reports.catalogue_page import catalogue_page, sparkline


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.resources: list[str] = []
        self.pictures = 0
        self._table = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.resources += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("#")]
        if tag == "table":
            self._table = values["id"] or ""
            self.rows[self._table] = []
        if tag == "tr":
            self.rows[self._table].append("")
        self.pictures += tag == "svg"

    def handle_data(self, data: str) -> None:
        if self._table and self.rows[self._table]:
            self.rows[self._table][-1] += data


@pytest.fixture(scope="module")
def page() -> _Page:
    contract = p4_typology.CONTRACT
    names = [f.name for f in contract.features]
    frame = pl.DataFrame({n: [0.0, 1.0, 3.0] if n != names[0] else [None] * 3 for n in names}, strict=False)
    table = catalogue.describe([contract], {contract.address: frame}).with_columns(
        pl.when(pl.col("feature") == names[1]).then(pl.lit("<b>bold</b>")).otherwise("meaning").alias("meaning")
    )
    weakened = catalogue.weakened(table, {"amount": "no amounts & <no> sums"})
    schemes = scheme_catalogue(p6_scheme.CONTRACT.empty(), FeatureConfig().reporting_threshold_base)
    out = _Page()
    out.feed(catalogue_page(table, weakened, schemes, "Two weeks."))
    return out


def test_nothing_is_fetched(page: _Page) -> None:
    assert page.resources == []


def test_every_feature_has_a_row_and_a_picture_where_it_has_values(page: _Page) -> None:
    rows = page.rows["features"][1:]
    features = [f.name for f in p4_typology.CONTRACT.features]
    assert len(rows) == len(features)
    assert all(any(r.startswith(f) for r in rows) for f in features)
    assert page.pictures == len(features) - 1
    assert any("<b>bold</b>" in r for r in rows)  # shown, not obeyed


def test_missing_input_and_its_reason_are_shown(page: _Page) -> None:
    assert any("1 of" in r and "no amounts & <no> sums" in r for r in page.rows["weakened"])


def test_every_indicator_with_its_threshold_and_everything_not_covered(page: _Page) -> None:
    for i in INDICATORS:
        (row,) = [r for r in page.rows[f"indicators_{i.scheme.value}"] if r.startswith(i.name)]
        assert i.threshold.reason in row
        assert all(c.reason in row for c in i.conditions)
        assert i.source.published.isoformat() in row
        if i.threshold.unit == "reporting_thresholds":
            assert f"= {i.threshold.value * 10_000:,.0f}" in row or i.threshold.value * 10_000 < 1000
    for n in NOT_COVERED:
        assert any(r.startswith(n.name) and n.needs in r for r in page.rows[f"missing_{n.scheme.value}"])


def test_bars_are_as_high_as_the_square_root_of_their_counts() -> None:
    picture = sparkline("9,0,36", "x")
    assert picture.count("<rect") == 2
    assert 'height="13.5"' in picture
    assert 'height="27.0"' in picture
