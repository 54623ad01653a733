"""The monitoring page and the frame of pages: whole, escaped, and saying what the frames say."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from plotly.offline import get_plotlyjs

from ml_assets.config import MonitoringConfig
from ml_assets.evaluation import drift
from ml_assets.models.names import PILLARS, SCHEME_PILLAR
from ml_assets.reports import layout
from ml_assets.reports.monitoring_page import MARTS, monitoring_page

CONFIG = MonitoringConfig()
WEEKS = [date(2024, 9, 2) + timedelta(days=7 * n) for n in range(3)]


def rows(contract: drift.TableContract, values: list[dict]) -> pl.DataFrame:
    empty = contract.empty()
    return pl.DataFrame([{c: row.get(c) for c in empty.columns} for row in values], schema=empty.schema, orient="row")


@pytest.fixture(scope="module")
def marts() -> dict[str, pl.DataFrame]:
    common = {"model_id": "m<1>", "status": "stable"}
    families, amounts, scores, explanations, labels, features = [], [], [], [], [], []
    for week in WEEKS:
        base = {**common, "as_of_date": week}
        worst = "gross" if week == WEEKS[-1] else "stable"
        families.append(
            {**base, "family": "p1 inflow", "pillar": PILLARS[0], "features_count": 24, "drifted_count": 0}
            | {"psi_mean": 0.0123, "psi_max": 0.2, "worst_feature": "p1_inflow_sum_30d_base", "null_ratio": 0.0}
            | {"reference_null_ratio": 0.0}
        )
        features.append(
            {**base, "feature": "p1_inflow_sum_30d_base", "pillar": PILLARS[0], "family": "p1 inflow"}
            | {"psi_value": 0.2, "null_ratio": 0.0, "reference_null_ratio": 0.0, "rows_count": 10, "status": "watch"}
        )
        amounts.append({**base, "currency": "USD", "txn_count": 50, "shift_log10": 2.0, "status": worst})
        scores += [
            {
                **base,
                "score": s,
                "psi_value": 0.01,
                "mean_score": 2.0,
                "reference_mean_score": 2.0,
                "null_ratio": 0.0,
                "rows_count": 10,
            }
            for s in ("bcrs", *PILLARS, SCHEME_PILLAR)
        ]
        explanations += [
            {
                **base,
                "pillar": p,
                "share_ratio": 1 / 6,
                "distance_value": 0.05,
                "alerts_count": 12,
                "previous_alerts_count": 12,
            }
            for p in (*PILLARS, SCHEME_PILLAR)
        ]
        labels.append(
            {
                **base,
                "reported_count": 3,
                "reported_known_count": 30,
                "late_count": 0,
                "clients_count": 100,
                "arrival_ratio": 0.9,
            }
        )
    made = (families, features, amounts, scores, explanations, labels)
    contracts = (
        drift.FAMILY_DRIFT,
        drift.FEATURE_DRIFT,
        drift.AMOUNT_DRIFT,
        drift.SCORE_DRIFT,
        drift.EXPLANATION_DRIFT,
        drift.LABEL_ARRIVAL,
    )
    return {name: rows(contract, values) for name, contract, values in zip(MARTS, contracts, made, strict=True)}


def test_the_page_says_the_newest_verdicts(marts: dict[str, pl.DataFrame]) -> None:
    page = monitoring_page(marts, CONFIG, "a <bank>")
    assert page.count("● gross") >= 2, "tile and table of amounts"
    assert "0.0123" in page
    assert "2024-09-16" in page
    assert "a &lt;bank&gt;" in page
    assert "m&lt;1&gt;" in page
    assert "Lewis (1994)" in page


def test_the_page_is_whole(marts: dict[str, pl.DataFrame]) -> None:
    page = monitoring_page(marts, CONFIG, "bank")
    assert page.startswith("<!doctype html>")
    own = page.replace(get_plotlyjs(), "")
    assert own.count("Plotly.newPlot(") == 6
    for outside in ('src="http', "src='http", 'href="http', "<link"):
        assert outside not in own
    assert page == monitoring_page(marts, CONFIG, "bank"), "two pages of the same frames differ"


def test_without_weeks_the_page_says_what_to_do(marts: dict[str, pl.DataFrame]) -> None:
    empty = {name: frame.clear() for name, frame in marts.items()}
    assert "make run" in monitoring_page(empty, CONFIG, "bank")


def test_tables_escape_and_align() -> None:
    made = layout.table(pl.DataFrame({"name": ["<b>"], "value": [1234.5], "status": ["drift"]}))
    assert "&lt;b&gt;" in made
    assert '<td class="number">1,234.5</td>' in made
    assert layout.COLOURS["drift"] in made
