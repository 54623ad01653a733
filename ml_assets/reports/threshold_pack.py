"""The threshold pack's page: the line, the strata around it, the sample with its evidence, and what outcomes say.

Rule of this file: figures from frames; it decides nothing.
"""

from __future__ import annotations

import html

import numpy as np
import plotly.graph_objects as go
import polars as pl

from ml_assets.config import ThresholdConfig
from ml_assets.evaluation.thresholds import Cut, Finding, analyst_days
from ml_assets.reports.layout import figure, number, page, table, text, tiles


def threshold_page(
    scores: pl.DataFrame,
    cut: Cut,
    strata: pl.DataFrame,
    sample: pl.DataFrame,
    evidence: pl.DataFrame,
    costs: pl.DataFrame,
    curve: pl.DataFrame | None,
    finding: Finding | None,
    config: ThresholdConfig,
    as_of: str,
    model_id: str,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    scores : client_id, probability of the week. strata, sample : of ``evaluation.thresholds``.
    evidence : client_id, rank, reason_text: what speaks for each sampled client.
    costs : of ``cost_table``. curve : of ``cost_curve``, where the line was set by cost.
    finding : of ``judge_outcomes``; None before any outcome is there.
    """
    planned = int(strata["sample_count"].sum())
    top = [
        ("the line", f"B-CRS {number(100 * cut.probability)}", html.escape(cut.reason), ""),
        ("clients at or above it", text(cut.clients), f"of {text(scores.height)} scored this week", ""),
        (
            "analyst-days a week",
            number(analyst_days(cut.clients, config)),
            f"{number(config.review_hours)} hours a review, {number(config.day_hours)} a day",
            "",
        ),
        ("reviews this test takes", text(planned), f"{number(analyst_days(planned, config))} analyst-days, once", ""),
    ]
    body = [tiles(top)]
    body.append("<h2>Strata around the line</h2>" + _ranks(scores, strata, cut) + _strata(strata, config))
    body.append("<h2>What a line costs</h2>" + _costs(costs, curve, cut))
    body.append("<h2>Sampled clients</h2>" + _sample(sample, evidence))
    body.append("<h2>Outcomes</h2>" + (_finding(finding, cut, config) if finding else _how_to(as_of)))
    lead = (
        f"Above/below-the-line test for the week of {html.escape(as_of)}, model <code>{html.escape(model_id)}</code>; "
        f"confidence {100 * config.confidence_ratio:g} %, tolerable share {100 * config.tolerable_ratio:g} %."
    )
    return page("Threshold pack", lead, "".join(body), has_figures=True)


def _ranks(scores: pl.DataFrame, strata: pl.DataFrame, cut: Cut) -> str:
    ordered = 100 * np.sort(scores["probability"].drop_nulls().to_numpy())[::-1]
    lowest = 100 * float(strata["low_probability"].to_numpy().min())
    shown = min(len(ordered), max(20, int((ordered >= 0.7 * lowest).sum())))
    drawing = go.Figure(
        go.Scatter(x=np.arange(1, shown + 1), y=ordered[:shown], mode="lines+markers", marker={"size": 4})
    )
    top = max(float(ordered[0]), 100 * cut.probability) * 1.1
    for at, row in enumerate(strata.iter_rows(named=True)):
        low = 100 * row["low_probability"]
        high = min(top, 100 * row["high_probability"] if row["high_probability"] is not None else top)
        if low >= high:
            continue
        colour = "#c0561f" if row["side"] == "above" else "#2f6690"
        drawing.add_hrect(y0=low, y1=high, fillcolor=colour, opacity=0.08 + 0.08 * (at % 2), line_width=0)
        # on a logarithmic axis annotations are placed by exponent
        drawing.add_annotation(
            x=1, xref="paper", xanchor="right", y=np.log10(np.sqrt(low * high)), text=row["stratum"], showarrow=False
        )
    drawing.add_hline(y=100 * cut.probability, line={"color": "#1c2733", "width": 2})
    drawing.update_yaxes(title="B-CRS", type="log", range=[np.log10(0.7 * lowest), np.log10(top)])
    drawing.update_xaxes(title="rank in the week")
    return figure(drawing, "Clients of the week by rank; bands are the strata, the dark line is the line", height=460)


def _strata(strata: pl.DataFrame, config: ThresholdConfig) -> str:
    shown = strata.with_columns(low=100 * pl.col("low_probability"), high=100 * pl.col("high_probability"))
    note = (
        "<p>Sample size: the least n with C(N − K, n) / C(N, n) ≤ 1 − confidence, where N is the stratum's clients and "
        f"K = ⌈{100 * config.tolerable_ratio:g} % × N⌉, at least 1: the hypergeometric chance of meeting none of K "
        "productive clients. A sample without a find shows that fewer than K are there.</p>"
    )
    headings = {
        "stratum": "stratum",
        "low": "B-CRS from",
        "high": "to under",
        "population_count": "clients",
        "sample_count": "to review",
        "share_ratio": "share",
    }
    return note + table(shown, headings)


def _costs(costs: pl.DataFrame, curve: pl.DataFrame | None, cut: Cut) -> str:
    note = (
        "<p>Where a missed report costs R reviews, a review pays from a probability of 1/R on. Expected numbers are "
        "sums of calibrated probabilities of a report within the label horizon.</p>"
    )
    headings = {
        "cost_ratio": "missed report, in reviews",
        "cut_probability": "line (probability)",
        "reviews_count": "reviews",
        "expected_found_count": "expected reports found",
        "expected_missed_count": "expected reports missed",
        "analyst_days": "analyst-days",
    }
    drawn = ""
    if curve is not None:
        curve = curve.filter(pl.col("reviews_count") <= max(100, 8 * cut.clients))
        drawing = go.Figure(
            go.Scatter(x=curve["reviews_count"], y=curve["expected_cost_reviews"], name="expected cost")
        )
        drawing.add_vline(x=cut.clients, line={"color": "#1c2733", "width": 2}, annotation_text="line")
        drawing.update_xaxes(title="clients reviewed")
        drawing.update_yaxes(title="expected cost, in reviews")
        drawn = figure(drawing, "Expected cost of the week by number of reviews", height=320)
    return note + drawn + table(costs, headings)


def _sample(sample: pl.DataFrame, evidence: pl.DataFrame) -> str:
    listed = (
        evidence.sort("client_id", "rank")
        .group_by("client_id", maintain_order=True)
        .agg(reasons=pl.col("reason_text").drop_nulls())
    )
    reasons = {c: r for c, r in listed.iter_rows()}
    shown = sample.with_columns(
        score=100 * pl.col("probability"),
        evidence=pl.Series([_bullets(reasons.get(c, [])) for c in sample["client_id"].to_list()], dtype=pl.String),
    )
    headings = {
        "alert_id": "alert id",
        "stratum": "stratum",
        "score": "B-CRS",
        "rank_in_week_count": "rank",
        "weight_ratio": "stands for",
        "evidence": "evidence",
    }
    return table(shown, headings, wide=["evidence"], raw=["evidence"])


def _bullets(reasons: list[str]) -> str:
    if not reasons:
        return '<span class="missing">no reason on record</span>'
    first, *rest = [html.escape(r) for r in reasons]
    if not rest:
        return first
    return f"<details><summary>{first}</summary>{''.join(f'<div>{r}</div>' for r in rest)}</details>"


def _how_to(as_of: str) -> str:
    return (
        "<p>No outcomes yet. Fill in <code>outcomes.csv</code> (outcome, decided_at as ISO date, decided_by) and "
        "either run <code>bcrs thresholds</code> again with <code>--outcomes outcomes.csv</code>, or put it into the "
        f"landing folder as <code>dispositions_{html.escape(as_of)}.csv</code>: it is a delivery of dispositions like "
        "any other and is read from there on the next run.</p>"
    )


def _finding(finding: Finding, cut: Cut, config: ThresholdConfig) -> str:
    moved = "stays" if finding.cut.probability == cut.probability else "moves"
    top = [
        (
            "the line " + moved,
            f"B-CRS {number(100 * finding.cut.probability)}",
            f"was {number(100 * cut.probability)}",
            "",
        ),
        ("clients at or above it", text(finding.cut.clients), f"were {text(cut.clients)}", ""),
        (
            "analyst-days a week",
            number(finding.analyst_days),
            f"were {number(finding.analyst_days_before)}",
            "",
        ),
    ]
    headings = {
        "stratum": "stratum",
        "population_count": "clients",
        "sample_count": "planned",
        "reviewed_count": "reviewed",
        "productive_count": "productive",
        "productive_ratio": "share",
        "upper_ratio": f"upper bound, {100 * config.confidence_ratio:g} %",
        "verdict": "verdict",
    }
    steps = "".join(f"<li>{html.escape(reason)}</li>" for reason in finding.reasons)
    return tiles(top) + table(finding.strata, headings) + f"<ol>{steps}</ol>"
