from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from segment_world import FIRST, SMALL, bank

from ml_assets.reports.segments_page import SegmentReport, write_segments_report
from ml_assets.segmentation import tables
from ml_assets.segmentation.describe import (
    density_rows,
    fit_rows,
    map_rows,
    method_rows,
    persona_rows,
    selection_rows,
)
from ml_assets.segmentation.eda import correlate_measures, summarise_measures
from ml_assets.segmentation.measures import CLIENT_MEASURES, PROFILE_COLUMNS
from ml_assets.segmentation.personas import (
    client_noun,
    client_outcomes,
    describe_categories,
    describe_traits,
    grade_segments,
    name_personas,
    risk_profiles,
)
from ml_assets.segmentation.policy import policy_cells, shrunken_lift, simulate
from ml_assets.segmentation.weeks import segment_history

CONFIG = SMALL.model_copy(update={"segments_maximum": 4, "bootstrap_samples": 20})


@pytest.fixture(scope="module")
def report() -> SegmentReport:
    """A small bank through the whole room: three weeks, one of each split."""
    weeks = [FIRST + timedelta(weeks=w) for w in range(3)]
    inputs = pl.concat([bank(240, seed=1).with_columns(as_of_date=pl.lit(w)) for w in weeks])
    history = segment_history(inputs, weeks[:1], CLIENT_MEASURES, CONFIG)
    newest, members = history.newest, history.memberships
    frame = inputs.filter(pl.col("as_of_date") == newest.week)
    segment = newest.assign(frame)["segment_id"].to_list()
    number = pl.col("client_id").str.tail(3).cast(pl.Int64)
    scores = members.select("client_id", "as_of_date").with_columns(
        band=pl.when(number < 12)
        .then(pl.lit("HIGH"))
        .when(number < 60)
        .then(pl.lit("LOW"))
        .otherwise(pl.lit("MINIMAL")),
        split=pl.col("as_of_date").replace_strict(dict(zip(weeks, ["train", "validation", "test"], strict=True))),
        bcrs_probability_ratio=1 / (number + 10),
    )
    labels = members.select("client_id", "as_of_date").with_columns(
        is_str_within_horizon=number % 20 == 0, has_prior_str=pl.lit(False), is_label_complete=pl.lit(True)
    )
    assert newest.preparation is not None
    traits = describe_traits(frame, segment, CLIENT_MEASURES, newest.preparation.logged, CONFIG)
    categories = describe_categories(frame, segment, PROFILE_COLUMNS)
    risk = risk_profiles(client_outcomes(members, scores, labels))
    grades, lift = grade_segments(risk, newest.ids), shrunken_lift(risk, 50.0)
    names = name_personas(traits, {s: client_noun(categories, s) for s in newest.ids})
    rows = members.join(scores, on=["client_id", "as_of_date"]).filter(pl.col("split") != "train")
    results, curve = simulate(rows, labels, grades, lift, ("validation", "test"), CONFIG)
    frames = {
        tables.SUMMARY: summarise_measures(frame, CLIENT_MEASURES, CONFIG),
        tables.CORRELATIONS: correlate_measures(frame, CLIENT_MEASURES),
        tables.SELECTION: selection_rows(history),
        tables.FITS: fit_rows(history),
        tables.METHODS: method_rows(newest),
        tables.MAP: map_rows(newest, frame, CONFIG)[0],
        tables.DENSITY: density_rows(newest),
        tables.TRAITS: traits,
        tables.CATEGORIES: categories,
        tables.RISK: risk,
        tables.PERSONAS: persona_rows(names, traits, grades, lift),
        tables.POLICY_RESULTS: results,
        tables.POLICY_CURVE: curve,
        tables.POLICY_CELLS: policy_cells(rows, grades, CONFIG.policy),
    }
    return SegmentReport(
        frames={c.name: c.conform(f) for c, f in frames.items()},
        inputs=frame,
        migrations=pl.DataFrame(
            {
                "segment_before": list(newest.ids),
                "segment_after": list(newest.ids),
                "clients_count": [80] * len(newest.ids),
                "is_refit": [False] * len(newest.ids),
            }
        ),
        weekly=members.group_by("as_of_date", "segment_id").agg(
            clients_count=pl.len(), unusual_count=pl.col("is_unusual").sum()
        ),
        rule_score=pl.DataFrame(
            {
                "model": ["rule_risk_score"],
                "split": ["test"],
                "metric": ["auroc"],
                "value": [0.61],
                "low": [0.55],
                "high": [0.67],
            }
        ),
        credit=None,
        source="constructed <bank>",
    )


def test_page_is_whole_and_repeats_to_the_byte(report: SegmentReport, tmp_path: Path) -> None:
    page, facts = write_segments_report(report, tmp_path / "a", 0.8)
    again, facts_again = write_segments_report(report, tmp_path / "b", 0.8)
    text = page.read_text(encoding="utf-8")
    assert facts.read_bytes() == facts_again.read_bytes()
    assert text == again.read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text)
    assert "constructed &lt;bank&gt;" in text
    # two figures in one place would draw one over the other
    places = re.findall(r'<div id="([^"]+)" class="plotly-graph-div"', text)
    assert len(places) == len(set(places)) > 10
    for persona in report.frames["segment_personas"]["persona"]:
        assert persona in text
    assert "0.610 [0.550, 0.670]" in text
    assert "No file was given" in text


def test_facts_carry_the_tables(report: SegmentReport, tmp_path: Path) -> None:
    facts = json.loads(write_segments_report(report, tmp_path, 0.8)[1].read_text(encoding="utf-8"))
    assert facts["stayed_in_segment_ratio"] == 1.0
    assert len(facts["personas"]) == report.frames["segment_personas"].height
    assert facts["rule_risk_score"][0]["value"] == 0.61
    assert facts["credit"] is None
    assert {r["split"] for r in facts["policy"]} == {"validation", "test"}
