"""The page of segments: exploration, choice of k, personas, migration, policy, credit customers; and its facts as JSON.

Rule of this file: figures from frames, the page from figures; it computes no statistic that a table does not hold,
but percentiles to place a median on a radar. Words say what the numbers show, and what they do not.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from ml_assets.files import replace_file
from ml_assets.reports.layout import PALETTE, figure, page, table, tiles
from ml_assets.segmentation.credit import CREDIT_MEASURES, CreditResult
from ml_assets.segmentation.eda import histogram, missing_by_group
from ml_assets.segmentation.measures import CLIENT_MEASURES, Measure

BAND_COLOURS = {"HIGH": "#a01c2c", "MEDIUM": "#c0561f", "LOW": "#d9b24c", "MINIMAL": "#b8c4ce"}
TREATMENT_WORDS = {
    "straight_through": "straight-through",
    "standard_review": "standard review",
    "enhanced_review": "enhanced due diligence",
}
CREDIT_WORDS = {
    "straight_through": "decided without a person",
    "standard_review": "standard review",
    "enhanced_review": "decided by a person",
}
SPLIT_WORDS = {"train": "training weeks", "validation": "validation weeks", "test": "test weeks"}


@dataclass(frozen=True)
class SegmentReport:
    """What the page shows.

    Attributes
    ----------
    frames : table name -> rows, as in :mod:`ml_assets.segmentation.tables`.
    inputs : clients of the newest training week. migrations : rows of ``marts.rpt_segment_migration``.
    weekly : as_of_date, segment_id, clients_count, unusual_count. rule_score : rows of ``models.metrics``.
    credit : None where no credit customers were given. source : name of the data set.
    """

    frames: Mapping[str, pl.DataFrame]
    inputs: pl.DataFrame
    migrations: pl.DataFrame
    weekly: pl.DataFrame
    rule_score: pl.DataFrame
    credit: CreditResult | None
    source: str


def _short(label: str) -> str:
    return label.split(":")[0].split(",")[0]


def _colours(segments: Sequence[str]) -> dict[str, str]:
    return {s: PALETTE[i % len(PALETTE)] for i, s in enumerate(sorted(segments))}


def distributions(inputs: pl.DataFrame, summary: pl.DataFrame, measures: Sequence[Measure]) -> go.Figure:
    """A histogram of every numeric measure, on the logarithm where preparation takes it."""
    logged = dict(summary.select("measure", "is_logged").rows())
    shown = [m for m in measures if m.column in logged and m.column in inputs.columns]
    across = 4
    titles = [_short(m.label) + (" (log)" if logged[m.column] else "") for m in shown]
    drawing = make_subplots(max(1, -(-len(shown) // across)), across, subplot_titles=titles, vertical_spacing=0.13)
    for i, m in enumerate(shown):
        bins = histogram(inputs, m, logged[m.column])
        middle = (bins["bin_low"] + bins["bin_high"]) / 2
        bar = go.Bar(x=middle, y=bins["clients_count"], marker_color=PALETTE[0], name=m.label, showlegend=False)
        drawing.add_trace(bar, row=i // across + 1, col=i % across + 1)
    drawing.update_annotations(font_size=11)
    drawing.update_layout(bargap=0.02)
    return drawing


def boxes(summary: pl.DataFrame) -> go.Figure:
    """Box plots on one axis: distance from the median in interquartile ranges."""
    rows = [r for r in summary.to_dicts() if r["median"] is not None and r["quartile_3"] > r["quartile_1"]][::-1]
    drawing = go.Figure()
    for r in rows:
        scale = r["quartile_3"] - r["quartile_1"]
        at = {k: [(r[k] - r["median"]) / scale] for k in ("quartile_1", "quartile_3", "lower_whisker", "upper_whisker")}
        name = f"{_short(r['label'])} ({r['outliers_count'] / max(r['clients_count'], 1):.1%} outliers)"
        drawing.add_trace(
            go.Box(
                y=[name],
                q1=at["quartile_1"],
                median=[0.0],
                q3=at["quartile_3"],
                lowerfence=at["lower_whisker"],
                upperfence=at["upper_whisker"],
                orientation="h",
                marker_color=PALETTE[0],
                showlegend=False,
            )
        )
    drawing.update_xaxes(title="distance from the median, in interquartile ranges")
    drawing.update_yaxes(automargin=True)
    return drawing


def _heat(
    z: list[list[float | None]],
    x: Sequence[str],
    y: Sequence[str],
    limit: float,
    colours: str = "RdBu_r",
    low: float | None = None,
) -> go.Figure:
    words = [["" if v is None else f"{v:.2f}" for v in row] for row in z]
    drawing = go.Figure(
        go.Heatmap(
            z=z,
            x=list(x),
            y=list(y),
            zmin=-limit if low is None else low,
            zmax=limit,
            colorscale=colours,
            text=words,
            texttemplate="%{text}",
            textfont={"size": 10},
            xgap=1,
            ygap=1,
        )
    )
    drawing.update_yaxes(autorange="reversed", automargin=True)
    drawing.update_xaxes(automargin=True, tickangle=-35)
    return drawing


def correlation_map(correlations: pl.DataFrame, labels: Mapping[str, str]) -> go.Figure:
    """Spearman's correlations as a heat map."""
    names = [m for m in labels if m in set(correlations["measure"])]
    value = {(a, b): r for a, b, r in correlations.select("measure", "other_measure", "correlation").rows()}
    words = [_short(labels[n]) for n in names]
    return _heat([[value[(a, b)] for b in names] for a in names], words, words, 1.0)


def missing_map(missing: pl.DataFrame, labels: Mapping[str, str]) -> go.Figure:
    """Share missing by measure and group."""
    groups = sorted(missing["group"].unique().to_list())
    names = [m for m in labels if m in set(missing["measure"])]
    value = {(g, m): r for g, m, r in missing.select("group", "measure", "missing_ratio").rows()}
    return _heat(
        [[value.get((g, m)) for m in names] for g in groups],
        [_short(labels[n]) for n in names],
        groups,
        1.0,
        "Blues",
        0.0,
    )


def selection_figure(selection: pl.DataFrame) -> go.Figure:
    """What each judge says over the numbers of segments; the chosen one is marked."""
    panels = {
        "inertia": "Inertia (knee marked)",
        "silhouette": "Silhouette (more is better)",
        "calinski_harabasz": "Calinski-Harabasz (more is better)",
        "davies_bouldin": "Davies-Bouldin (less is better)",
        "stability": "Bootstrap stability, adjusted Rand index",
        "mixture_bic": "Gaussian mixture, BIC (less is better)",
    }
    drawing = make_subplots(2, 3, subplot_titles=list(panels.values()), vertical_spacing=0.18)
    table_ = selection.sort("k")
    for i, column in enumerate(panels):
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        line = {"color": PALETTE[0]}
        drawing.add_trace(
            go.Scatter(x=table_["k"], y=table_[column], mode="lines+markers", line=line, showlegend=False), **place
        )
        if column == "stability":
            low = {"color": PALETTE[0], "dash": "dot"}
            drawing.add_trace(
                go.Scatter(
                    x=table_["k"],
                    y=table_["stability_low"],
                    mode="lines",
                    line=low,
                    name="5th percentile",
                    showlegend=False,
                ),
                **place,
            )
        chosen = table_.filter(pl.col("is_chosen"))
        mark = {"color": PALETTE[1], "size": 11}
        drawing.add_trace(
            go.Scatter(x=chosen["k"], y=chosen[column], mode="markers", marker=mark, name="chosen", showlegend=i == 0),
            **place,
        )
        if column == "inertia":
            bend = table_.filter(pl.col("is_knee"))
            open_mark = {"color": PALETTE[2], "size": 15, "symbol": "circle-open", "line": {"width": 2}}
            drawing.add_trace(
                go.Scatter(x=bend["k"], y=bend[column], mode="markers", marker=open_mark, name="knee"), **place
            )
    drawing.update_annotations(font_size=12)
    drawing.update_xaxes(dtick=1)
    return drawing


def radar(traits: pl.DataFrame, values: pl.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Every segment's median as a percentile of all clients."""
    drawing = go.Figure()
    colours = _colours(list(names))
    order = traits["measure"].unique(maintain_order=True).sort().to_list()
    known = {m: np.sort(values[m].drop_nulls().cast(pl.Float64).to_numpy()) for m in order}
    label = dict(traits.select("measure", "label").rows())
    for s, name in names.items():
        median = dict(traits.filter(pl.col("segment_id") == s).select("measure", "median").rows())
        r = [_percentile(known[m], median.get(m)) for m in order]
        drawing.add_trace(
            go.Scatterpolar(
                r=[*r, r[0]],
                theta=[*(_short(label[m]) for m in order), _short(label[order[0]])],
                name=f"{s} {name}",
                line={"color": colours[s]},
                opacity=0.85,
            )
        )
    drawing.update_polars(radialaxis={"range": [0, 100], "tickvals": [25, 50, 75, 100]})
    return drawing


def _percentile(known: np.ndarray, median: float | None) -> float | None:
    """Middle of the places the value takes: with many ties, a share at or under it would flatter."""
    if median is None or not known.size:
        return None
    return float(
        (np.searchsorted(known, median, "left") + np.searchsorted(known, median, "right")) / 2 / known.size * 100
    )


def effects(traits: pl.DataFrame) -> go.Figure:
    """Cohen's d of every segment and measure."""
    segments = sorted(traits["segment_id"].unique().to_list())
    order = traits["measure"].unique(maintain_order=True).sort().to_list()
    label = dict(traits.select("measure", "label").rows())
    value = {(s, m): d for s, m, d in traits.select("segment_id", "measure", "cohens_d").rows()}
    return _heat(
        [[value.get((s, m)) for m in order] for s in segments], [_short(label[m]) for m in order], segments, 2.0
    )


def segment_map(places: pl.DataFrame, names: Mapping[str, str]) -> go.Figure:
    """Clients on the first two principal components, by segment; unusual ones as crosses."""
    drawing = go.Figure()
    colours = _colours(list(names))
    for s, name in names.items():
        here = places.filter((pl.col("segment_id") == s) & ~pl.col("is_unusual"))
        mark = {"color": colours[s], "size": 4, "opacity": 0.55}
        drawing.add_trace(go.Scattergl(x=here["x"], y=here["y"], mode="markers", marker=mark, name=f"{s} {name}"))
    odd = places.filter(pl.col("is_unusual"))
    cross = {"color": "#1c2733", "size": 7, "symbol": "x-thin", "line": {"width": 1.5, "color": "#1c2733"}}
    drawing.add_trace(go.Scattergl(x=odd["x"], y=odd["y"], mode="markers", marker=cross, name="unusual"))
    drawing.update_layout(legend={"itemsizing": "constant"})
    drawing.update_xaxes(title="first principal component")
    drawing.update_yaxes(title="second principal component")
    return drawing


def density_figure(curve: pl.DataFrame) -> go.Figure:
    """The k-distance curve with the radius taken."""
    at = curve.filter(pl.col("is_radius"))
    drawing = go.Figure(
        go.Scatter(x=curve["rank"], y=curve["distance"], mode="lines", name="distance", line={"color": PALETTE[0]})
    )
    mark = {"color": PALETTE[1], "size": 10}
    drawing.add_trace(go.Scatter(x=at["rank"], y=at["distance"], mode="markers", marker=mark, name="radius"))
    drawing.update_xaxes(title="clients of the sample, by rising distance")
    drawing.update_yaxes(title="distance to the n-th neighbour")
    return drawing


def risk_figure(risk: pl.DataFrame, segments: Sequence[str]) -> go.Figure:
    """STR rate of every segment and split with Wilson's interval."""
    drawing = go.Figure()
    for i, split in enumerate(("train", "validation", "test")):
        rows = risk.filter((pl.col("split") == split) & (pl.col("grouping") == "segment")).sort("group")
        value = (rows["str_ratio"] * 100).to_list()
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [h * 100 - v for h, v in zip(rows["str_high_ratio"], value, strict=True)],
            "arrayminus": [v - lo * 100 for lo, v in zip(rows["str_low_ratio"], value, strict=True)],
        }
        drawing.add_trace(
            go.Scatter(
                x=[segments.index(g) + (i - 1) * 0.18 for g in rows["group"] if g in segments],
                y=[v for v, g in zip(value, rows["group"], strict=True) if g in segments],
                error_y=bars,
                mode="markers",
                marker={"size": 9, "color": PALETTE[i]},
                name=SPLIT_WORDS[split],
            )
        )
    drawing.update_xaxes(tickvals=list(range(len(segments))), ticktext=list(segments))
    drawing.update_yaxes(title="clients with an STR, %", rangemode="tozero")
    return drawing


def band_figure(risk: pl.DataFrame, split: str) -> go.Figure:
    """Share of every segment's clients in each band."""
    rows = risk.filter((pl.col("split") == split) & pl.col("grouping").is_in(["segment", "density"])).sort(
        "grouping", "group", descending=[True, False]
    )
    drawing = go.Figure()
    for band, colour in BAND_COLOURS.items():
        drawing.add_trace(
            go.Bar(x=rows["group"], y=rows[f"{band.lower()}_ratio"] * 100, name=band, marker_color=colour)
        )
    drawing.update_layout(barmode="stack")
    drawing.update_yaxes(title="share of clients, %")
    return drawing


def sizes_figure(weekly: pl.DataFrame, fits: Sequence[Any]) -> go.Figure:
    """Clients of every segment over the weeks; dotted lines are fits."""
    colours = _colours(weekly["segment_id"].unique().to_list())
    drawing = go.Figure()
    for s, colour in colours.items():
        rows = weekly.filter(pl.col("segment_id") == s).sort("as_of_date")
        drawing.add_trace(
            go.Scatter(
                x=rows["as_of_date"],
                y=rows["clients_count"],
                name=s,
                stackgroup="all",
                line={"color": colour, "width": 0.5},
            )
        )
    for fit in fits:
        drawing.add_vline(x=str(fit), line_dash="dot", line_color="#1c2733", line_width=1)
    drawing.update_yaxes(title="clients")
    return drawing


def migration_figure(migrations: pl.DataFrame) -> go.Figure:
    """Where clients of a segment are a week later, on average over weeks without a refit."""
    moves = migrations.filter(~pl.col("is_refit") & (pl.col("segment_before") != "NEW"))
    total = moves.group_by("segment_before").agg(total=pl.col("clients_count").sum())
    share = (
        moves.group_by("segment_before", "segment_after")
        .agg(n=pl.col("clients_count").sum())
        .join(total, on="segment_before")
        .with_columns(share=pl.col("n") / pl.col("total") * 100)
    )
    segments = sorted({*share["segment_before"].to_list(), *share["segment_after"].to_list()})
    value = {(a, b): s for a, b, s in share.select("segment_before", "segment_after", "share").rows()}
    drawing = _heat(
        [[value.get((a, b), 0.0) for b in segments] for a in segments], segments, segments, 100.0, "Blues", 0.0
    )
    drawing.update_xaxes(title="segment a week later", tickangle=0)
    drawing.update_yaxes(title="segment")
    return drawing


def policy_figure(curve: pl.DataFrame, results: pl.DataFrame, split: str, published: float) -> go.Figure:
    """STRs unseen over the share automated, with intervals, the configured policy and the published share."""
    drawing = go.Figure()
    words = {"bcrs": "by B-CRS", "bcrs_and_segment": "by B-CRS and the segment's lift"}
    for i, (ordering, word) in enumerate(words.items()):
        rows = curve.filter((pl.col("ordering") == ordering) & (pl.col("split") == split)).sort("automated_ratio")
        x = rows["automated_ratio"] * 100
        if i == 0:
            band = {
                "x": [*x, *x[::-1]],
                "y": [*(rows["unseen_high_ratio"] * 100), *(rows["unseen_low_ratio"] * 100)[::-1]],
            }
            drawing.add_trace(
                go.Scatter(
                    **band,
                    fill="toself",
                    fillcolor="rgba(47,102,144,0.15)",
                    line={"width": 0},
                    name="95 % interval",
                    hoverinfo="skip",
                )
            )
        drawing.add_trace(
            go.Scatter(
                x=x,
                y=rows["unseen_ratio"] * 100,
                mode="lines+markers",
                marker={"size": 4},
                line={"color": PALETTE[i]},
                name=word,
            )
        )
    at = {
        r["measure"]: r
        for r in results.filter((pl.col("policy") == "configured") & (pl.col("split") == split)).to_dicts()
    }
    if at and at["strs_unseen_ratio"]["value"] is not None:
        unseen = at["strs_unseen_ratio"]
        drawing.add_trace(
            go.Scatter(
                x=[at["straight_through_ratio"]["value"] * 100],
                y=[unseen["value"] * 100],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [(unseen["high"] - unseen["value"]) * 100],
                    "arrayminus": [(unseen["value"] - unseen["low"]) * 100],
                },
                mode="markers",
                marker={"size": 13, "symbol": "diamond", "color": PALETTE[7]},
                name="configured policy",
            )
        )
    drawing.add_vline(
        x=published * 100,
        line_dash="dot",
        line_color="#56646f",
        annotation_text=f"published: {published:.0%} automated",
    )
    drawing.update_xaxes(title="client-weeks let through without a person, %")
    drawing.update_yaxes(title="STRs unseen, %", rangemode="tozero")
    return drawing


def _section(name: str, title: str, *parts: str) -> str:
    return f'<h2 id="{name}">{html.escape(title)}</h2>' + "".join(parts)


def _p(words: str) -> str:
    return f"<p>{words}</p>"


def _share(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return "not computable"
    return f"{value:.1%}" + ("" if low is None or high is None else f" [{low:.1%}, {high:.1%}]")


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"of those in test weeks; 95 % interval {low:.1%} to {high:.1%}"


def _result(results: pl.DataFrame, policy: str, split: str, measure: str) -> dict[str, Any]:
    rows = results.filter(
        (pl.col("policy") == policy) & (pl.col("split") == split) & (pl.col("measure") == measure)
    ).to_dicts()
    return rows[0] if rows else {"value": None, "low": None, "high": None, "count": 0}


def _policy_rows(results: pl.DataFrame) -> pl.DataFrame:
    measures = {
        "straight_through_ratio": "straight-through",
        "standard_review_ratio": "standard review",
        "enhanced_review_ratio": "enhanced due diligence",
        "strs_unseen_ratio": "STRs unseen",
        "strs_standard_ratio": "STRs seen in standard review",
        "strs_enhanced_ratio": "STRs seen in enhanced due diligence",
    }
    rows = []
    for measure, word in measures.items():
        cells = {
            f"{policy.replace('_', ' ')}, {split}": _share(
                *(_result(results, policy, split, measure)[k] for k in ("value", "low", "high"))
            )
            for policy in ("configured", "published_split")
            for split in ("validation", "test")
        }
        rows.append({"share": word, **cells})
    return pl.DataFrame(rows)


def persona_table(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Segments with name, size, stability, grade, STR rate and treatment."""
    risk = frames["segment_risk"].filter((pl.col("grouping") == "segment") & (pl.col("split") == "train"))
    newest = frames["segment_fits"].filter(pl.col("fit_date") == pl.col("fit_date").max())
    joined = (
        frames["segment_personas"]
        .join(newest.select("segment_id", "clients_count", "share_ratio", "stability"), on="segment_id", how="left")
        .join(
            risk.select(pl.col("group").alias("segment_id"), "str_ratio", "str_low_ratio", "str_high_ratio"),
            on="segment_id",
            how="left",
        )
        .sort("segment_id")
    )
    rates = [
        _share(r["str_ratio"], r["str_low_ratio"], r["str_high_ratio"]) if r["str_ratio"] is not None else "–"
        for r in joined.to_dicts()
    ]
    return joined.select(
        "segment_id",
        "persona",
        "clients_count",
        pl.Series("share", [_share(v) for v in joined["share_ratio"]]),
        "stability",
        "grade",
        pl.Series("str_rate", rates),
        "treatment",
    )


def _rule_table(metrics: pl.DataFrame) -> pl.DataFrame:
    rows = []
    test = metrics.filter(pl.col("split") == "test")
    for model in sorted(test["model"].unique().to_list()):
        one = {r["metric"]: r for r in test.filter(pl.col("model") == model).to_dicts()}
        cells = {}
        for metric, word in (("auroc", "AUROC"), ("average_precision", "average precision")):
            r = one.get(metric)
            known = r is not None and r["value"] is not None
            text = f"{r['value']:.3f}" if r is not None and known else "n/a"
            if r is not None and known and r["low"] is not None:
                text += f" [{r['low']:.3f}, {r['high']:.3f}]"
            cells[word] = text
        rows.append({"model": model.replace("_", " "), **cells})
    return pl.DataFrame(rows)


def _explored(report: SegmentReport) -> str:
    summary, labels = report.frames["measure_summary"], {m.column: m.label for m in CLIENT_MEASURES}
    left = summary.filter(pl.col("left_out_because").is_not_null())
    missing = missing_by_group(report.inputs, CLIENT_MEASURES, "size_bucket")
    note = "".join(
        f"<li>{html.escape(a)}: {html.escape(b)}</li>" for a, b in left.select("label", "left_out_because").rows()
    )
    return _section(
        "explore",
        "The clients before they are segmented",
        _p(
            "Clients of the newest training week. Measures are this warehouse's features, none computed twice. "
            "A logarithm is taken where the skew is beyond the limit and the logarithm clearly lessens it."
        ),
        figure(distributions(report.inputs, summary, CLIENT_MEASURES), "Distributions, clients per bin", 560),
        figure(boxes(summary), "Box plots on one axis; whiskers end within 1.5 interquartile ranges", 430),
        figure(correlation_map(report.frames["measure_correlations"], labels), "Spearman's rank correlation", 560),
        figure(missing_map(missing, labels), "Share of clients without a value, by size of client", 360),
        f"<p>Not used to form segments:</p><ul>{note}</ul>" if note else "",
    )


def _cut(report: SegmentReport) -> str:
    frames = report.frames
    newest = frames["segment_fits"].filter(pl.col("fit_date") == pl.col("fit_date").max())
    selection = frames["segment_selection"].filter(pl.col("fit_date") == newest["fit_date"].max())
    reason = newest["reason"][0] if newest.height else ""
    parts = [
        _p(
            "The rule: among cuts that survive bootstrap resampling and have no tiny segment, the best mean rank of "
            "silhouette, Calinski-Harabasz, Davies-Bouldin and nearness to the inertia's knee (Kneedle); a refit keeps "
            f"the earlier number while it is about as stable. <b>{html.escape(reason)}</b>"
        )
    ]
    if selection.height:
        parts.append(figure(selection_figure(selection), "Judges of the number of segments, newest fit", 520))
    if frames["method_comparison"].height:
        parts.append(
            table(
                frames["method_comparison"],
                {
                    "method": "method",
                    "clusters_count": "groups",
                    "noise_share_ratio": "share in no group",
                    "agreement": "adjusted Rand index with the segments",
                    "note": "note",
                },
                "Other methods on the same clients",
                wide=["note"],
            )
        )
    return _section("cut", "How many segments", *parts)


def _personas(report: SegmentReport) -> str:
    frames = report.frames
    names = dict(frames["segment_personas"].select("segment_id", "persona").sort("segment_id").rows())
    risk = frames["segment_risk"]
    headings = {
        "segment_id": "segment",
        "persona": "persona",
        "clients_count": "clients",
        "share": "share",
        "stability": "stability",
        "grade": "grade",
        "str_rate": "STR rate, training",
        "treatment": "suggested treatment",
    }
    shown = "test" if "test" in set(risk["split"]) else risk["split"][0] if risk.height else ""
    return _section(
        "personas",
        "Personas",
        _p(
            "Names follow by rule from the strongest effect sizes against all other clients. Stability is the mean "
            "Jaccard overlap with bootstrap cuts (1: always found again). The grade compares the STR rate with the "
            "overall rate in training weeks by Wilson's interval; the figure of STR rates shows whether it held later."
        ),
        table(persona_table(frames), headings, wide=["treatment"]),
        figure(effects(frames["segment_traits"]), "What sets a segment apart: Cohen's d against the rest", 420),
        figure(radar(frames["segment_traits"], report.inputs, names), "The median client, as a percentile of all", 620),
        figure(segment_map(frames["segment_map"], names), "Map of the clients", 560),
        figure(risk_figure(risk, list(names)), "STR rate by segment, with Wilson's 95 % interval", 400),
        figure(band_figure(risk, shown), f"Bands by segment and density, {SPLIT_WORDS.get(shown, shown)}", 400),
    )


def _unusual(report: SegmentReport) -> str:
    curve = report.frames["density_curve"]
    if not curve.height:
        return ""
    rows = report.frames["segment_risk"].filter(pl.col("grouping") == "density")
    rate = [_share(r["str_ratio"], r["str_low_ratio"], r["str_high_ratio"]) for r in rows.to_dicts()]
    bands = [" / ".join(f"{r[f'{b.lower()}_ratio'] or 0:.1%}" for b in BAND_COLOURS) for r in rows.to_dicts()]
    shown = rows.select("split", "group", "clients_count", "str_count").with_columns(
        str_rate=pl.Series(rate, dtype=pl.String), bands=pl.Series(bands, dtype=pl.String)
    )
    return _section(
        "unusual",
        "Unusual clients",
        _p(
            "Clients without a thick region of others within the radius (DBSCAN's noise). They stay in their segment "
            "and are flagged. The table says whether being unusual agrees with the bands."
        ),
        figure(density_figure(curve), "Distance to the n-th neighbour; the radius is where the curve bends most", 360),
        table(
            shown.sort("split", "group"),
            {
                "split": "weeks",
                "group": "density",
                "clients_count": "clients",
                "str_count": "with STR",
                "str_rate": "STR rate",
                "bands": "HIGH / MEDIUM / LOW / MINIMAL",
            },
        ),
    )


def _stayed(calm: pl.DataFrame) -> float | None:
    """Share of clients who are in the same segment a week later; None without such weeks."""
    same = int(calm.filter(pl.col("segment_before") == pl.col("segment_after"))["clients_count"].sum())
    return same / int(calm["clients_count"].sum()) if calm.height else None


def _moves(report: SegmentReport) -> str:
    fits = sorted(report.frames["segment_fits"]["fit_date"].unique().to_list())
    lines = [figure(sizes_figure(report.weekly, fits), "Clients by segment over the weeks; dotted: a fit", 400)]
    calm = report.migrations.filter(~pl.col("is_refit") & (pl.col("segment_before") != "NEW"))
    if calm.height:
        lines.append(_p(f"In weeks without a refit {_share(_stayed(calm))} of clients stay in their segment."))
        lines.append(figure(migration_figure(calm), "Where the clients of a segment are a week later, %", 440))
    return _section("moves", "Migration", *lines)


def _ordering_words(curve: pl.DataFrame, share: float) -> str:
    """What the segment's lift adds to the score at one share automated, in numbers."""
    words = []
    for split in ("validation", "test"):
        at = curve.filter((pl.col("split") == split) & ((pl.col("automated_ratio") - share).abs() < 1e-9))
        count = dict(at.select("ordering", "unseen_count").rows())
        if len(count) == 2:
            total = at["str_count"][0]
            words.append(
                f"in {SPLIT_WORDS[split]} {count['bcrs']} of {total} STRs go unseen by the score alone and "
                f"{count['bcrs_and_segment']} with the segment's lift"
            )
    return f"At {share:.0%} automated, " + "; ".join(words) + "." if words else ""


def _policy(report: SegmentReport, published: float) -> str:
    results, curve = report.frames["policy_results"], report.frames["policy_curve"]
    if not results.height:
        return _section("policy", "Policy", _p("No held-out week has a known outcome: there is nothing to simulate."))
    cells = (
        report.frames["policy_cells"]
        .with_columns(pl.col("treatment").replace_strict(TREATMENT_WORDS, return_dtype=pl.String))
        .pivot("band", index=["segment_id", "grade"], values="treatment")
        .sort("segment_id")
    )
    cells = cells.select("segment_id", "grade", *(b for b in BAND_COLOURS if b in cells.columns))
    strs = curve.group_by("split").agg(pl.col("str_count").max()).sort("split")
    counts = ", ".join(f"{n} in {SPLIT_WORDS.get(s, s)}" for s, n in strs.rows())
    parts = [
        _p(
            "Configured in <code>SegmentConfig.policy</code>. Unusual clients at LOW or above are reviewed. Simulated "
            f"on weeks the models were not fitted on. STRs to be seen: {counts}: intervals are wide, read them first."
        ),
        table(cells, {c: c.replace("_id", "") for c in cells.columns}, "Treatment by segment and band"),
        table(_policy_rows(results), caption="What the policy would have done; intervals of 95 %"),
    ]
    for split in ("validation", "test"):
        if curve.filter(pl.col("split") == split).height:
            title = f"What letting through costs, {SPLIT_WORDS[split]}"
            parts.append(figure(policy_figure(curve, results, split, published), title, 460))
    parts.append(_p(_ordering_words(curve, published)))
    parts.append(
        _p(
            "An STR counts as unseen where every week of the split that led up to it was let through. Choose on "
            "validation weeks; test weeks are shown so that the choice can be checked. The published 80 % automated, "
            "13 % to a person is drawn to compare with: another bank's clients, and its cost is not published."
        )
    )
    return _section("policy", "Policy: who is worked by whom", *parts)


def _credit(credit: CreditResult | None) -> str:
    if credit is None:
        return _section(
            "credit", "Credit customers", _p("No file was given: <code>make segments CREDIT=&lt;folder&gt;</code>.")
        )
    found = credit.published.filter(pl.col("found_as").is_not_null())
    four = credit.selection.filter(pl.col("k") == 4)
    chosen = credit.selection.filter(pl.col("is_chosen"))
    words = f"{credit.reason} {found.height} of the four published personas are found by the stated rules. " + (
        f"A cut into four, as published, has a stability of {four['stability'][0]:.2f}, the chosen one of "
        f"{chosen['stability'][0]:.2f}."
        if four.height and chosen.height
        else ""
    )
    return _section(
        "credit",
        "Credit customers",
        _p(html.escape(words)),
        table(
            credit.segments.select(
                "segment_id",
                "persona",
                "clients_count",
                "median_age_years",
                "median_credit_amount_dm",
                "median_duration_months",
                "top_purpose",
                "stability",
            ),
            {
                "segment_id": "segment",
                "persona": "persona",
                "clients_count": "customers",
                "median_age_years": "median age",
                "median_credit_amount_dm": "median credit, DM",
                "median_duration_months": "median months",
                "top_purpose": "first purpose",
                "stability": "stability",
            },
        ),
        table(
            credit.published.with_columns(pl.col("found_as").fill_null("not found")),
            {"persona": "published persona", "rule": "counts as found where", "found_as": "found as"},
            wide=["rule"],
        ),
        figure(selection_figure(credit.selection), "Judges of the number of segments, credit customers", 520),
        figure(effects(credit.traits), "What sets credit customers apart: Cohen's d against the rest", 300),
        table(
            credit.policy.with_columns(
                pl.col("treatment").replace_strict(CREDIT_WORDS, return_dtype=pl.String),
                pl.col("policy").str.replace_all("_", " "),
            ),
            {
                "policy": "policy",
                "treatment": "treatment",
                "customers_count": "customers",
                "customers_ratio": "share of customers",
                "amount_ratio": "share of the money",
            },
            "Approval policy: segments of high stakes to a person, unusual customers to a standard review",
        ),
        table(
            credit.parity,
            {
                "sex": "sex",
                "customers_count": "customers",
                "automated_ratio": "decided without a person",
                "low": "from",
                "high": "to",
            },
            "How the decisions fall by sex, which is used nowhere",
        ),
        _p(
            "Limits: the file has no outcome, so nothing says whether a decision was right; purpose and age help to "
            "form segments, and using age to decide on credit is restricted in many countries; 1,000 customers of the "
            "early 1990s."
        ),
    )


def segments_html(report: SegmentReport, published: float) -> str:
    """The whole page."""
    frames = report.frames
    risk = frames["segment_risk"]
    overall = risk.filter((pl.col("grouping") == "all") & (pl.col("split") == "test")).to_dicts()
    results = frames["policy_results"]
    automated = _result(results, "configured", "test", "straight_through_ratio")
    unseen = _result(results, "configured", "test", "strs_unseen_ratio")
    newest = frames["segment_fits"].select(pl.col("fit_date").max()).item()
    chosen = frames["segment_selection"].filter(pl.col("is_chosen") & (pl.col("fit_date") == newest))
    stable = f"{chosen['stability'][0]:.2f}" if chosen.height else "–"
    count = frames["segment_personas"].height
    body = tiles(
        [
            ("segments", str(count), f"fitted on {newest}, {report.inputs.height:,} clients", ""),
            ("bootstrap stability", stable, "mean adjusted Rand index; 1 is always the same cut", ""),
            ("automated by the policy", _share(automated["value"]), "client-weeks of the test weeks", ""),
            ("STRs unseen", _share(unseen["value"]), _between(unseen["low"], unseen["high"]), ""),
            (
                "clients with STR, test weeks",
                str(overall[0]["str_count"]) if overall else "–",
                "everything about STRs rests on these",
                "",
            ),
        ]
    )
    nav = "".join(
        f'<a href="#{name}">{word}</a>'
        for name, word in (
            ("explore", "exploration"),
            ("cut", "number of segments"),
            ("personas", "personas"),
            ("unusual", "unusual"),
            ("moves", "migration"),
            ("policy", "policy"),
            ("rules", "rule-based score"),
            ("credit", "credit customers"),
        )
    )
    metrics = _rule_table(report.rule_score)
    rules = _section(
        "rules",
        "Rule-based risk score",
        _p(
            "Points for pass-through, income discrepancy and salary portability, beside the other models on test weeks."
        ),
        table(metrics) if metrics.height else _p("Not measured: the last training had no test weeks."),
    )
    body = (
        f"<nav>{nav}</nav>{body}{_explored(report)}{_cut(report)}{_personas(report)}{_unusual(report)}{_moves(report)}"
        f"{_policy(report, published)}{rules}{_credit(report.credit)}"
    )
    lead = (
        f"Data: {html.escape(report.source)}. Segments are fitted on training weeks without labels, matched from fit "
        "to fit so that they keep their identity, and every client is assigned every week."
    )
    return page("Client segments and personas", lead, body, has_figures=True)


def segments_facts(report: SegmentReport) -> dict[str, Any]:
    """The page's numbers, JSON-serialisable."""
    frames = report.frames
    newest = frames["segment_fits"].filter(pl.col("fit_date") == pl.col("fit_date").max())
    calm = report.migrations.filter(~pl.col("is_refit") & (pl.col("segment_before") != "NEW"))
    facts: dict[str, Any] = {
        "source": report.source,
        "fit_date": newest["fit_date"][0] if newest.height else None,
        "reason": newest["reason"][0] if newest.height else None,
        "clients": report.inputs.height,
        "fits": frames["segment_fits"].drop("reason").to_dicts(),
        "selection": frames["segment_selection"].to_dicts(),
        "measures": frames["measure_summary"].to_dicts(),
        "methods": frames["method_comparison"].to_dicts(),
        "personas": persona_table(frames).to_dicts(),
        "traits": frames["segment_traits"].drop_nulls("trait").to_dicts(),
        "risk": frames["segment_risk"].to_dicts(),
        "stayed_in_segment_ratio": _stayed(calm),
        "policy": frames["policy_results"].to_dicts(),
        "policy_curve": frames["policy_curve"].to_dicts(),
        "rule_risk_score": report.rule_score.filter(pl.col("model") == "rule_risk_score").to_dicts(),
        "credit": None,
    }
    if report.credit is not None:
        credit = report.credit
        facts["credit"] = {
            "reason": credit.reason,
            "segments": credit.segments.to_dicts(),
            "selection": credit.selection.to_dicts(),
            "methods": credit.methods.to_dicts(),
            "published_personas": credit.published.to_dicts(),
            "policy": credit.policy.to_dicts(),
            "parity": credit.parity.to_dicts(),
            "traits": credit.traits.to_dicts(),
            "measures": [m.column for m in CREDIT_MEASURES],
        }
    return facts


def write_segments_report(report: SegmentReport, folder: Path, published: float) -> tuple[Path, Path]:
    """Write ``segments.html`` and ``segments.json``, each in one rename; returns both paths."""
    facts = json.dumps(segments_facts(report), indent=2, default=str, sort_keys=True)
    page = replace_file(folder / "segments.html", segments_html(report, published))
    return page, replace_file(folder / "segments.json", facts)
