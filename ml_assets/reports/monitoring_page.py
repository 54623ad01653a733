"""The monitoring page: what moved since training, from the monitoring marts.

Rule of this file: figures from frames; every number shown is a cell of a mart, every limit one of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from ml_assets.config import MonitoringConfig, Threshold
from ml_assets.evaluation.drift import worst_status
from ml_assets.reports.layout import COLOURS, figure, number, page, status, table, text, tiles

MARTS = ("families", "features", "amounts", "scores", "explanations", "labels")
"""Frames the page is made from: ``marts.rpt_monitoring_<name>``, all weeks."""

_QUESTIONS = {
    "families": "Are the features what the model was trained on?",
    "amounts": "Do amounts still have their unit?",
    "scores": "Are the scores distributed as on held-out weeks?",
    "explanations": "Are alerts raised for the same reasons?",
    "labels": "Do reports arrive?",
}


def monitoring_page(marts: Mapping[str, pl.DataFrame], config: MonitoringConfig, source: str) -> str:
    """The page as HTML.

    Parameters
    ----------
    marts : by name of :data:`MARTS`.
    source : name of the data, for the heading.
    """
    families = marts["families"]
    if not families.height:
        return page("Monitoring", "No week has been scored yet.", "<p>Run <code>make run</code>.</p>")
    newest = families["as_of_date"].sort()[-1]
    model = families.filter(pl.col("as_of_date") == newest)["model_id"][0]
    verdicts = {name: worst_status(marts[name].filter(pl.col("as_of_date") == newest)["status"]) for name in _QUESTIONS}
    answers = [
        (question, status(verdicts[name]), _offenders(name, marts[name], newest), COLOURS[verdicts[name]])
        for name, question in _QUESTIONS.items()
    ]
    body = [
        tiles(answers),
        "<h2>Features by family</h2>",
        _heatmap(families),
        _family_table(families, newest),
        _feature_table(marts["features"], newest),
        "<h2>Amounts by currency</h2>",
        "<p>Mean of log10 of the week's payments in base currency, less its value in the training weeks: 2 is a factor "
        "of 100. Currencies with too few payments in a week are not judged and not drawn.</p>",
        _amounts(marts["amounts"], config),
        "<h2>Scores</h2>",
        _scores(marts["scores"], config),
        "<h2>Reasons of alerts</h2>",
        _explanations(marts["explanations"], config),
        "<h2>Reports</h2>",
        _labels(marts["labels"], config),
        "<h2>Limits</h2>",
        "<p>Each limit with its reason, source and the day it was set. A PSI counts only beyond what equal "
        f"distributions reach by chance ({100 * config.noise_confidence:g} % quantile).</p>",
        _limits(config),
    ]
    lead = (
        f"{text(source)}, week of {newest} (transactions and profiles known before that Monday), against the training "
        f"weeks of model <code>{text(model)}</code>."
    )
    return page("Monitoring: what moved since training", lead, "".join(body), has_figures=True)


def _offenders(name: str, frame: pl.DataFrame, newest: object) -> str:
    """What the tile says under the verdict: the subjects that are not stable."""
    subject = {"families": "family", "amounts": "currency", "scores": "score"}.get(name)
    week = frame.filter(pl.col("as_of_date") == newest)
    if name == "explanations" and week.height:
        distance = week["distance_value"].to_list()[0]
        return f"distance to the week before {number(distance)}, {week['alerts_count'].to_list()[0]} alerts"
    if name == "labels" and week.height:
        row = week.row(0, named=True)
        return f"{row['reported_count']} this week, {number(row['arrival_ratio'])} × the usual rate lately"
    moved = week.filter(pl.col("status").is_in(["watch", "drift", "gross"]))
    if subject is None or not moved.height:
        judged = week.filter(pl.col("status") != "not judged").height
        return f"{judged} of {week.height} judged, none moved"
    return text(", ".join(moved[subject].to_list()[:6]))


def _heatmap(families: pl.DataFrame) -> str:
    wide = (
        families.sort("family").pivot("as_of_date", index="family", values="psi_mean").sort("family", descending=True)
    )
    weeks = sorted(wide.columns[1:])
    drawing = go.Figure(
        go.Heatmap(
            z=wide.select(weeks).to_numpy(),
            x=weeks,
            y=wide["family"].to_list(),
            zmin=0,
            zmax=0.5,
            colorscale=[(0, "#f5f7f9"), (0.2, "#f3e2b3"), (0.5, "#dd8a4f"), (1, "#a01c2c")],
            colorbar={"title": "PSI", "thickness": 12},
            hovertemplate="%{y}<br>%{x}<br>PSI %{z:.3f}<extra></extra>",
        )
    )
    drawing.update_xaxes(title="as-of date")
    return figure(drawing, "Mean PSI of each family against the training weeks", height=40 + 20 * wide.height)


def _family_table(families: pl.DataFrame, newest: object) -> str:
    week = families.filter(pl.col("as_of_date") == newest).sort("psi_mean", descending=True, nulls_last=True)
    return table(
        week,
        {
            "family": "family",
            "status": "verdict",
            "psi_mean": "mean PSI",
            "psi_max": "largest PSI",
            "worst_feature": "of feature",
            "drifted_count": "drifted",
            "features_count": "of",
            "null_ratio": "missing",
            "reference_null_ratio": "in training",
        },
        f"Families in the week of {newest}",
    )


def _feature_table(features: pl.DataFrame, newest: object) -> str:
    moved = features.filter(
        (pl.col("as_of_date") == newest) & pl.col("status").is_in(["watch", "drift", "gross"])
    ).sort("psi_value", descending=True, nulls_last=True)
    shown = {
        "feature": "feature",
        "status": "verdict",
        "psi_value": "PSI",
        "psi_noise": "chance",
        "mean_value": "mean",
        "reference_mean": "mean in training",
        "null_ratio": "missing",
        "reference_null_ratio": "missing in training",
    }
    listing = table(moved, shown) if moved.height else "<p>None.</p>"
    return f"<details><summary>Features that moved: {moved.height}</summary>{listing}</details>"


def _amounts(amounts: pl.DataFrame, config: MonitoringConfig) -> str:
    drawing = go.Figure()
    judged = amounts.filter(pl.col("status") != "not judged").sort("as_of_date")
    order = judged.group_by("currency").agg(pl.col("txn_count").sum()).sort("txn_count", "currency", descending=True)
    for currency in order["currency"].to_list()[:10]:
        part = judged.filter(pl.col("currency") == currency)
        drawing.add_scatter(x=part["as_of_date"], y=part["shift_log10"], name=currency, mode="lines+markers")
    for limit in (config.amount_drift, config.amount_gross):
        for sign in (1, -1):
            drawing.add_hline(y=sign * limit.value, line={"dash": "dot", "color": "#a01c2c", "width": 1})
    drawing.update_yaxes(title="shift, log10")
    newest = amounts.filter(pl.col("as_of_date") == pl.col("as_of_date").max()).sort("txn_count", descending=True)
    shown = {
        "currency": "currency",
        "status": "verdict",
        "txn_count": "payments",
        "shift_log10": "shift, log10",
        "shift_sigma": "standard errors",
    }
    return figure(drawing, "Shift of each currency's payments (dotted: limits)") + table(newest, shown)


def _scores(scores: pl.DataFrame, config: MonitoringConfig) -> str:
    drawing = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for name in scores["score"].unique(maintain_order=True).sort().to_list():
        part = scores.filter(pl.col("score") == name).sort("as_of_date")
        line = {"width": 3 if name == "bcrs" else 1.4}
        drawing.add_scatter(
            x=part["as_of_date"], y=part["psi_value"], name=name, legendgroup=name, line=line, row=1, col=1
        )
        relative = part["mean_score"] / part["reference_mean_score"]
        drawing.add_scatter(
            x=part["as_of_date"],
            y=relative,
            name=name,
            legendgroup=name,
            showlegend=False,
            line={**line, "color": None},
            row=2,
            col=1,
        )
    drawing.add_hline(y=config.psi_drift.value, line={"dash": "dot", "color": "#a01c2c", "width": 1}, row=1, col=1)
    for at, trace in enumerate(drawing.data):
        trace.line.color = ("#1c2733", "#2f6690", "#c0561f", "#2e7d5b", "#7a4f9a", "#b98900", "#4f9aa8")[at // 2 % 7]
    drawing.update_yaxes(title="PSI", row=1, col=1)
    drawing.update_yaxes(title="mean / reference", row=2, col=1)
    newest = scores.filter(pl.col("as_of_date") == pl.col("as_of_date").max())
    shown = {
        "score": "score",
        "status": "verdict",
        "psi_value": "PSI",
        "psi_noise": "chance",
        "mean_score": "mean",
        "reference_mean_score": "reference mean",
        "null_ratio": "without score",
    }
    return figure(
        drawing, "B-CRS and pillar scores against validation weeks: PSI, and mean over its reference", height=520
    ) + table(newest, shown)


def _explanations(explanations: pl.DataFrame, config: MonitoringConfig) -> str:
    drawing = go.Figure()
    for pillar in explanations["pillar"].unique().sort().to_list():
        part = explanations.filter(pl.col("pillar") == pillar).sort("as_of_date")
        drawing.add_bar(x=part["as_of_date"], y=part["share_ratio"], name=pillar)
    drawing.update_layout(barmode="stack", bargap=0.05)
    drawing.update_yaxes(title="share of what raised alerts", range=[0, 1])
    weeks = explanations.unique("as_of_date").sort("as_of_date")
    distance = go.Figure(
        go.Scatter(
            x=weeks["as_of_date"], y=weeks["distance_value"], mode="lines+markers", name="distance to the week before"
        )
    )
    distance.add_hline(y=config.explanation_drift.value, line={"dash": "dot", "color": "#a01c2c", "width": 1})
    distance.update_yaxes(title="Jensen-Shannon distance", rangemode="tozero")
    note = (
        f"<p>Weeks with fewer than {config.explanation_minimum_alerts} alerts, or after such a week, are drawn but not "
        "judged.</p>"
    )
    return (
        figure(drawing, "Share of each pillar in what raised the week's alerts")
        + figure(distance, "Change of that mix from week to week (dotted: limit)", height=280)
        + note
    )


def _labels(labels: pl.DataFrame, config: MonitoringConfig) -> str:
    labels = labels.sort("as_of_date")
    drawing = make_subplots(specs=[[{"secondary_y": True}]])
    drawing.add_bar(x=labels["as_of_date"], y=labels["reported_count"], name="reports of the week")
    drawing.add_scatter(
        x=labels["as_of_date"], y=labels["arrival_ratio"], name="× usual rate", secondary_y=True, line={"width": 2}
    )
    drawing.add_hline(
        y=config.label_drift.value, line={"dash": "dot", "color": "#a01c2c", "width": 1}, secondary_y=True
    )
    drawing.update_yaxes(title="reports", secondary_y=False)
    drawing.update_yaxes(
        title=f"rate over {config.label_weeks} weeks",
        secondary_y=True,
        rangemode="tozero",
        tickformat=".1f",
        showgrid=False,
    )
    shown = {
        "as_of_date": "as-of date",
        "status": "verdict",
        "reported_count": "reports of the week",
        "reported_known_count": "reports so far",
        "late_count": "delivered later",
        "alert_lead_days": "median days from first alert",
        "arrival_ratio": "× usual rate",
    }
    return figure(drawing, "Suspicious transaction reports by week", height=320) + table(labels.tail(8), shown)


def _limits(config: MonitoringConfig) -> str:
    limits: Sequence[tuple[str, Threshold]] = [(n, v) for n, v in config if isinstance(v, Threshold)]
    frame = pl.DataFrame(
        [(n.replace("_", " "), t.value, t.unit, t.reason, t.source, t.decided.isoformat()) for n, t in limits],
        schema=["limit", "value", "unit", "reason", "source", "set on"],
        orient="row",
    )
    return table(frame, wide=["reason"])
