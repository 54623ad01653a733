"""The evidence report: one self-contained page, and the same numbers as JSON, from the marts of the last report run.

Rule of this file: it draws and words what the marts hold and computes nothing. Which models appear follows from the
marts; names for people are in :data:`NAMES`. How a number on the page is tied to its mart is in
:mod:`ml_assets.reports.exhibits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.offline import get_plotlyjs

from ml_assets.reports.exhibits import (
    Exhibit,
    escape,
    interval_cell,
    number,
    number_cell,
    page_problems,
    section,
    select,
    table,
    text_cell,
    with_interval,
)

__all__ = ["MARTS", "build_page", "exhibits", "page_problems", "results"]

MARTS = (
    "rpt_performance",
    "rpt_capacity_curve",
    "rpt_pattern_recall",
    "rpt_rule_savings",
    "rpt_calibration",
    "rpt_ties",
    "rpt_parity",
    "rpt_ablation",
    "rpt_blend",
    "rpt_tsfresh",
    "rpt_learning_curve",
    "rpt_robustness",
    "rpt_scheme_ranks",
    "rpt_calendar",
    "rpt_not_available",
    "dim_as_of_weeks",
)
"""Marts the page is made from."""

NAMES = {
    "bcrs": "B-CRS (champion)",
    "bcrs_linear": "B-CRS, linear",
    "bcrs_boosting": "B-CRS, boosting",
    "bcrs_bayesian": "B-CRS, Bayesian",
    "flat_xgboost": "flat XGBoost",
    "static_kyc": "static KYC",
    "volume_only": "volume only",
    "fixed_rules": "fixed rules",
    "rule_risk_score": "rule-based risk score",
}
"""Models in the order of the tables, with the words shown; others follow under their own names."""

COLOURS = {
    "bcrs": "#0b5394",
    "bcrs_linear": "#6fa8dc",
    "bcrs_boosting": "#9fc5e8",
    "bcrs_bayesian": "#3d85c6",
    "flat_xgboost": "#e69138",
    "static_kyc": "#8e7cc3",
    "volume_only": "#6aa84f",
    "fixed_rules": "#cc4125",
    "rule_risk_score": "#a64d79",
}
PILLAR_NAMES = {
    "p1_volume_velocity": "P1 volume & velocity",
    "p2_network": "P2 network",
    "p3_temporal": "P3 temporal",
    "p4_typology": "P4 typology",
    "p5_profile": "P5 profile",
    "p6_scheme": "P6 scheme",
}
METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision (AUPRC)",
    "brier": "Brier",
    "precision_at_capacity": "precision at capacity",
    "recall_at_capacity": "recall at capacity",
}
FEW_POSITIVES = 30
"""Positive client-weeks under which the headline warns: the bootstrap itself is unreliable there."""
SHOWN_MODELS = ("bcrs", "flat_xgboost", "fixed_rules")
"""Models of figures that would be unreadable with all of them; the mart holds all."""


def _order(models: list[str]) -> list[str]:
    known = [m for m in NAMES if m in models]
    return known + sorted(m for m in models if m not in NAMES and m != "all")


def _by_model(frame: pl.DataFrame) -> pl.DataFrame:
    order = {m: i for i, m in enumerate(_order(frame["model"].unique().to_list()))}
    return frame.with_columns(_o=pl.col("model").replace_strict(order, default=99, return_dtype=pl.Int64))


def _name(model: str) -> str:
    return NAMES.get(model, model.replace("_", " "))


def _layout(figure: go.Figure, height: int, **axes: Any) -> go.Figure:
    figure.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"namelength": -1},
        **axes,
    )
    figure.update_xaxes(automargin=True, gridcolor="#eee", showgrid=True)
    figure.update_yaxes(automargin=True, gridcolor="#eee", showgrid=True)
    return figure


def _segments(lows: list[Any], highs: list[Any], at: list[Any]) -> tuple[list[Any], list[Any]]:
    """Interval lines: values and positions, broken by nulls; drawn from the ends themselves, nothing derived."""
    values: list[Any] = []
    positions: list[Any] = []
    for low, high, position in zip(lows, highs, at, strict=True):
        if low is not None and high is not None:
            values += [low, high, None]
            positions += [position, position, None]
    return values, positions


def _dots(
    figure: go.Figure,
    frame: pl.DataFrame,
    label: str,
    value: str,
    low: str,
    high: str,
    name: str,
    colour: str,
    names: Mapping[str, str] | None = None,
) -> None:
    """Points with horizontal intervals, one line per row."""
    labels = [(names or {}).get(v, v) for v in frame[label].to_list()]
    xs, ys = _segments(frame[low].to_list(), frame[high].to_list(), labels)
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines+markers",
        marker={"symbol": "line-ns-open", "size": 7, "color": colour},
        line={"color": colour, "width": 2},
        showlegend=False,
        hoverinfo="skip",
        legendgroup=name,
    )
    figure.add_scatter(
        x=frame[value].to_list(),
        y=labels,
        mode="markers",
        marker={"color": colour, "size": 8},
        name=name,
        legendgroup=name,
    )


def _capacity(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    frame = _by_model(select(marts, "rpt_capacity_curve", {})).sort("_o", "capacity_ratio").drop("_o")
    figure = go.Figure()
    for model in _order(frame["model"].unique().to_list()):
        part = frame.filter((pl.col("model") == model) & pl.col("recall_ratio").is_not_null())
        if part.is_empty():
            continue
        colour = COLOURS.get(model, "#666666")
        xs = part["capacity_ratio"].to_list()
        if model == "bcrs" and part["interval_low"].null_count() == 0:
            figure.add_scatter(
                x=xs,
                y=part["interval_high"].to_list(),
                mode="lines",
                line={"width": 0},
                showlegend=False,
                hoverinfo="skip",
            )
            figure.add_scatter(
                x=xs,
                y=part["interval_low"].to_list(),
                mode="lines",
                line={"width": 0},
                fill="tonexty",
                fillcolor="rgba(11,83,148,0.12)",
                name="95 % interval of B-CRS",
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=xs,
            y=part["recall_ratio"].to_list(),
            mode="lines+markers",
            marker={"size": 5},
            line={
                "color": colour,
                "width": 3 if model == "bcrs" else 1.6,
                "dash": "solid" if model in SHOWN_MODELS else "dot",
            },
            name=_name(model),
            visible=True if model in (*SHOWN_MODELS, "volume_only", "static_kyc", "rule_risk_score") else "legendonly",
        )
    _layout(
        figure,
        460,
        xaxis={"title": "share of clients alerted each week", "type": "log", "tickformat": ".1%"},
        yaxis={"title": "recall: share of positive client-weeks found", "tickformat": ".0%", "rangemode": "tozero"},
    )
    key = "capacity"
    return Exhibit(
        key,
        "Recall against alert capacity",
        "At 21 capacities, from one client in a thousand to every second one. A week's alerts are its highest scores. "
        "Click a name to show or hide a model.",
        "rpt_capacity_curve",
        {},
        frame,
        tuple(frame.columns),
        figure if figure.data else None,
        table(
            frame,
            [
                ("model", text_cell("model", NAMES)),
                ("capacity", number_cell(key, "capacity_ratio", "percent")),
                ("alerts a week", number_cell(key, "alerts_per_week", "count")),
                ("recall [95 %]", interval_cell(key, "recall_ratio", "percent")),
                ("precision", number_cell(key, "precision_ratio", "percent")),
            ],
        ),
        is_folded=True,
    )


def _performance(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    frame = _by_model(select(marts, "rpt_performance", {})).sort("_o", "metric").drop("_o")
    at = {(r["model"], r["metric"]): i for i, r in enumerate(frame.iter_rows(named=True))}
    rows = frame.to_dicts()
    models = _order([m for m in frame["model"].unique().to_list() if m != "all"])
    ks = sorted(
        {
            int(m.rsplit("_", 1)[1])
            for m in frame["metric"].to_list()
            if m.startswith("precision_at_") and m[-1].isdigit()
        }
    )
    metrics = ["auroc", "average_precision", "brier"]
    cut = [f"{what}_at_{k}" for k in (*ks, "capacity") for what in ("precision", "recall")]

    def pivot(key: str, columns: list[str], value: str, style: str, low: str) -> str:
        head = "".join(f"<th scope='col'>{escape(METRIC_NAMES.get(c, c.replace('_', ' ')))}</th>" for c in columns)
        lines = []
        for model in models:
            cells = [
                with_interval(key, at[model, c], rows[at[model, c]], value, "four" if c == "brier" else style, low)
                if (model, c) in at and not (value == "gain_of_bcrs" and rows[at[model, c]][value] is None)
                else "<span class='none'>–</span>"
                for c in columns
            ]
            marked = " class='marked'" if model == "bcrs" else ""
            lines.append(
                f"<tr{marked}><th scope='row'>{escape(_name(model))}</th>"
                + "".join(f"<td>{c}</td>" for c in cells)
                + "</tr>"
            )
        top = f"<thead><tr><th>model</th>{head}</tr></thead>"
        return f"<div class='scroll'><table>{top}<tbody>{''.join(lines)}</tbody></table></div>"

    ap = _by_model(frame.filter((pl.col("metric") == "average_precision") & pl.col("metric_value").is_not_null()))
    figure = go.Figure()
    _dots(
        figure,
        ap.sort("_o", descending=True),
        "model",
        "metric_value",
        "interval_low",
        "interval_high",
        "average precision",
        COLOURS["bcrs"],
        NAMES,
    )
    _layout(
        figure, 90 + 34 * max(1, ap.height), xaxis={"title": "average precision on the test weeks"}, showlegend=False
    )
    columns = tuple(frame.columns)
    main = Exhibit(
        "performance",
        "Main table",
        "Test weeks only. Brackets are 95 % intervals from a bootstrap that draws clients, not rows. Brier needs a "
        "probability; only B-CRS's is calibrated.",
        "rpt_performance",
        {},
        frame,
        columns,
        figure if ap.height else None,
        pivot("performance", metrics, "metric_value", "three", "interval_low")
        + pivot("performance", cut, "metric_value", "three", "interval_low"),
    )
    gain = _by_model(frame.filter((pl.col("metric") == "average_precision") & pl.col("gain_of_bcrs").is_not_null()))
    drawn = go.Figure()
    _dots(
        drawn,
        gain.sort("_o", descending=True),
        "model",
        "gain_of_bcrs",
        "gain_low",
        "gain_high",
        "gain",
        COLOURS["bcrs"],
        NAMES,
    )
    drawn.add_vline(x=0, line={"color": "#888", "dash": "dash", "width": 1.5}, opacity=1)
    _layout(
        drawn,
        90 + 34 * max(1, gain.height),
        xaxis={"title": "average precision of B-CRS less the model's"},
        showlegend=False,
    )
    paired = Exhibit(
        "paired",
        "B-CRS against each model, paired",
        "Differences on the same resamples of clients: above zero B-CRS is better, for Brier too. An interval that "
        "excludes zero is a difference that another draw of clients would not turn over.",
        "rpt_performance",
        {},
        frame,
        columns,
        drawn if gain.height else None,
        pivot("paired", [*metrics, *cut[-2:]], "gain_of_bcrs", "signed", "gain_low"),
    )
    return [main, paired]


def _patterns(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    frame = _by_model(select(marts, "rpt_pattern_recall", {})).sort("kind", "pattern", "_o").drop("_o")
    shown = frame.filter(pl.col("client_recall_ratio").is_not_null())
    figure = go.Figure()
    for model in [m for m in SHOWN_MODELS if m in shown["model"].to_list()]:
        part = shown.filter(pl.col("model") == model).sort("kind", "pattern", descending=True)
        if model == "bcrs":
            _dots(
                figure,
                part,
                "pattern",
                "client_recall_ratio",
                "interval_low",
                "interval_high",
                _name(model),
                COLOURS[model],
            )
        else:
            figure.add_scatter(
                x=part["client_recall_ratio"].to_list(),
                y=part["pattern"].to_list(),
                mode="markers",
                marker={"color": COLOURS[model], "size": 8, "symbol": "diamond-open"},
                name=_name(model),
            )
    patterns = shown["pattern"].n_unique()
    _layout(
        figure,
        120 + 30 * max(1, patterns),
        xaxis={"title": "share of clients found", "tickformat": ".0%", "range": [-0.02, 1.02]},
    )
    key = "patterns"
    return Exhibit(
        key,
        "Recall by typology and scheme",
        "Clients with a positive test week, by the pattern the source planted: how many are among the alerts of one "
        "of their positive weeks. The truth serves evaluation alone. Few clients stand behind most points.",
        "rpt_pattern_recall",
        {},
        frame,
        tuple(frame.columns),
        figure if patterns else None,
        table(
            frame,
            [
                ("kind", text_cell("kind")),
                ("pattern", text_cell("pattern")),
                ("model", text_cell("model", NAMES)),
                ("clients", number_cell(key, "positive_clients_count", "count")),
                ("found", number_cell(key, "found_clients_count", "count")),
                ("client recall [Wilson]", interval_cell(key, "client_recall_ratio", "percent")),
                ("client-week recall", number_cell(key, "week_recall_ratio", "percent")),
            ],
        ),
        is_folded=bool(patterns),
    )


def _savings(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    frame = _by_model(select(marts, "rpt_rule_savings", {})).sort("rules_fired_count", "_o").drop("_o")
    key = "savings"
    first = frame.filter(pl.col("saved_ratio").is_not_null())
    lowest = first["rules_fired_count"].to_list()[0] if first.height else 1
    drawn = _by_model(first.filter(pl.col("rules_fired_count") == lowest)).sort("_o", descending=True)
    figure = go.Figure()
    _dots(figure, drawn, "model", "saved_ratio", "interval_low", "interval_high", "saved", COLOURS["bcrs"], NAMES)
    figure.add_vline(x=0, line={"color": "#888", "dash": "dash", "width": 1.5}, opacity=1)
    _layout(
        figure,
        90 + 34 * max(1, drawn.height),
        xaxis={
            "title": f"share of the rules' false positives saved, rules alerting where {lowest} or more fire",
            "tickformat": ".0%",
        },
        showlegend=False,
    )
    return Exhibit(
        key,
        "False positives saved against the fixed rules, at equal recall",
        "Each model is cut where it finds as many positives as the rules do; counted are client-weeks alerted for "
        "nothing. Negative: more false positives than the rules.",
        "rpt_rule_savings",
        {},
        frame,
        tuple(frame.columns),
        figure if drawn.height else None,
        table(
            frame,
            [
                ("rules that fire, at least", number_cell(key, "rules_fired_count", "count")),
                ("model", text_cell("model", NAMES)),
                ("recall equalled", number_cell(key, "recall_ratio", "percent")),
                ("false positives, rules", number_cell(key, "rules_false_positives_count", "count")),
                ("false positives, model", number_cell(key, "model_false_positives_count", "count")),
                ("saved [95 %]", interval_cell(key, "saved_ratio", "percent")),
            ],
            lambda row: row["model"] == "bcrs",
        ),
    )


def _calibration(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    out = []
    for key, kind, title in (
        ("bands", "band", "Calibration by band"),
        ("reliability", "probability", "Reliability"),
    ):
        frame = select(marts, "rpt_calibration", {"kind": kind}).sort("bin_order")
        shown = frame.filter(pl.col("observed_ratio").is_not_null())
        figure = None
        if kind == "probability" and shown.height:
            figure = go.Figure()
            ys, xs = _segments(
                shown["interval_low"].to_list(), shown["interval_high"].to_list(), shown["predicted_ratio"].to_list()
            )
            figure.add_scatter(
                x=xs,
                y=ys,
                mode="lines",
                line={"color": COLOURS["bcrs"], "width": 2},
                showlegend=False,
                hoverinfo="skip",
            )
            figure.add_scatter(
                x=shown["predicted_ratio"].to_list(),
                y=shown["observed_ratio"].to_list(),
                mode="markers",
                marker={"size": 9, "color": COLOURS["bcrs"]},
                text=shown["bin_name"].to_list(),
                name="observed",
                hovertemplate="%{text}<br>predicted %{x:.4f}<br>observed %{y:.4f}<extra></extra>",
            )
            figure.add_shape(
                type="line", x0=0, y0=0, x1=1, y1=1, line={"color": "#888", "dash": "dash", "width": 1.5}, opacity=1
            )
            ends = [v for v in (*shown["predicted_ratio"], *shown["interval_high"]) if v is not None]
            limit = 1.1 * max(ends)
            _layout(
                figure,
                420,
                xaxis={"title": "mean predicted probability of an STR", "range": [0, limit]},
                yaxis={"title": "share that was positive", "range": [0, limit]},
                showlegend=False,
            )
        out.append(
            Exhibit(
                key,
                title,
                "Mean predicted probability beside the share that was positive. Intervals are Wilson's over "
                "client-weeks; a client's weeks are alike, so the truth is wider."
                + (" On the dashed line prediction and observation agree." if figure is not None else ""),
                "rpt_calibration",
                {"kind": kind},
                frame,
                tuple(frame.columns),
                figure,
                table(
                    frame,
                    [
                        ("band" if kind == "band" else "rank by probability", text_cell("bin_name")),
                        ("client-weeks", number_cell(key, "rows_count", "count")),
                        ("positive", number_cell(key, "positives_count", "count")),
                        ("predicted", number_cell(key, "predicted_ratio", "four")),
                        ("observed [Wilson]", interval_cell(key, "observed_ratio", "four")),
                    ],
                ),
            )
        )
    return out


def _ties(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    frame = _by_model(select(marts, "rpt_ties", {})).sort("_o").drop("_o")
    key = "ties"
    return Exhibit(
        key,
        "Ties at the cut",
        "Client-weeks left out of the alerts although their score equals the last one let in: there the order, and so "
        "who is looked at, is by client id alone.",
        "rpt_ties",
        {},
        frame,
        tuple(frame.columns),
        None,
        table(
            frame,
            [
                ("model", text_cell("model", NAMES)),
                ("left out at equal score", number_cell(key, "cut_off_rows_count", "count")),
                ("weeks with ties", number_cell(key, "weeks_with_ties_count", "count")),
                ("weeks", number_cell(key, "weeks_count", "count")),
                ("different scores", number_cell(key, "distinct_scores_count", "count")),
                ("client-weeks", number_cell(key, "rows_count", "count")),
                ("note", text_cell("reason")),
            ],
        ),
    )


def _experiment_cells(key: str, names: Mapping[str, str] | None = None) -> list[tuple[str, Any]]:
    return [
        ("part", text_cell("part", names)),
        ("variant", text_cell("variant")),
        ("split", text_cell("split")),
        ("value [95 %]", interval_cell(key, "metric_value", "three")),
        ("less the reference [95 %]", _difference(key)),
        ("what was set", text_cell("setting_note")),
    ]


def _difference(key: str) -> Any:
    def cell(at: int, row: Mapping[str, Any]) -> str:
        if row["difference"] is None:
            return "reference" if row["reference"] is None else "<span class='none'>–</span>"
        return with_interval(key, at, row, "difference", "signed", "difference_low")

    return cell


def _experiment(
    marts: Mapping[str, pl.DataFrame],
    key: str,
    mart: str,
    title: str,
    words: str,
    filters: Mapping[str, Any],
    figure: go.Figure | None = None,
    names: Mapping[str, str] | None = None,
    is_folded: bool = False,
) -> Exhibit:
    frame = select(marts, mart, filters).sort("part", "setting_value", "variant", "split", nulls_last=False)
    return Exhibit(
        key,
        title,
        words,
        mart,
        filters,
        frame,
        tuple(frame.columns),
        figure,
        table(frame, _experiment_cells(key, names)),
        is_folded=is_folded,
    )


AP = {"metric": "average_precision"}
FULL = "P1+P2+P3+P4+P5+P6"


def _ablation(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    everything = select(marts, "rpt_ablation", AP)
    has_test = "test" in everything["split"].to_list()
    split = "test" if has_test else "validation"
    frame = select(marts, "rpt_ablation", {**AP, "split": split}).filter(pl.col("metric_value").is_not_null())
    out = []
    figure = None
    if frame.height:
        shown = frame.sort("metric_value", "variant")
        figure = go.Figure()
        for name, has, colour in (("with P6", True, COLOURS["bcrs"]), ("without P6", False, COLOURS["flat_xgboost"])):
            part = shown.filter(pl.col("variant").str.contains("P6") == has)
            _dots(figure, part, "variant", "metric_value", "interval_low", "interval_high", name, colour)
        order = shown["variant"].to_list()
        _layout(
            figure,
            120 + 15 * len(order),
            xaxis={"title": f"average precision, {split} weeks"},
            yaxis={"categoryorder": "array", "categoryarray": order, "tickfont": {"size": 10}},
        )
    one_out = ["+".join(f"P{i}" for i in range(1, 7) if i != left) for left in range(1, 7)]
    wanted = [FULL, *one_out]
    less = select(marts, "rpt_ablation", AP).filter(pl.col("variant").is_in(wanted))
    order_of = {v: i for i, v in enumerate(wanted)}
    less = less.with_columns(_o=pl.col("variant").replace_strict(order_of, default=99, return_dtype=pl.Int64))
    less = less.sort("split", "_o", descending=[False, False]).drop("_o")
    key = "leave-one-out"

    def left_out(_: int, row: Mapping[str, Any]) -> str:
        if row["variant"] == FULL:
            return "all six"
        missing = [p for p in FULL.split("+") if p not in row["variant"].split("+")]
        return f"without {', '.join(missing)}"

    drawn = less.filter((pl.col("split") == split) & pl.col("difference").is_not_null()).reverse()
    small = go.Figure()
    if drawn.height:
        _dots(small, drawn, "variant", "difference", "difference_low", "difference_high", "difference", COLOURS["bcrs"])
        small.add_vline(x=0, line={"color": "#888", "dash": "dash", "width": 1.5}, opacity=1)
        _layout(
            small,
            90 + 34 * drawn.height,
            xaxis={"title": f"average precision less that of all six, {split} weeks"},
            showlegend=False,
        )
    # the exhibit's filters cannot say "one of seven", so its rows are those of the metric and the table shows seven
    rows = select(marts, "rpt_ablation", AP)
    index = {(r["variant"], r["split"]): i for i, r in enumerate(rows.iter_rows(named=True))}

    def cell(column: str, style: str, low: str) -> Any:
        def made(_: int, row: Mapping[str, Any]) -> str:
            if row[column] is None:
                return (
                    "reference" if column == "difference" and row["reference"] is None else escape(row["reason"] or "–")
                )
            return with_interval(key, index[row["variant"], row["split"]], row, column, style, low)

        return made

    out.append(
        Exhibit(
            key,
            "Leaving one pillar out, with and without P6",
            "The weighted linear aggregation refitted without one pillar score, on what the champion's aggregation was "
            "fitted on. Below zero the pillar earns its place. S_P6 has itself seen S_P1 to S_P5, so leaving out one "
            "of these leaves a trace of it in P6.",
            "rpt_ablation",
            AP,
            rows,
            tuple(rows.columns),
            small if drawn.height else None,
            table(
                less,
                [
                    ("pillars", left_out),
                    ("split", text_cell("split")),
                    ("average precision [95 %]", cell("metric_value", "three", "interval_low")),
                    ("less all six [95 %]", cell("difference", "signed", "difference_low")),
                    ("what was set", text_cell("setting_note")),
                ],
            ),
        )
    )
    out.append(
        _experiment(
            marts,
            "ablation",
            "rpt_ablation",
            "All 63 combinations of the pillar scores",
            "Each combination under the weighted linear aggregation, refitted, best at the top.",
            {**AP, "split": split},
            figure,
            is_folded=True,
        )
    )
    return out


def _blend(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    split = "test" if "test" in select(marts, "rpt_blend", AP)["split"].to_list() else "validation"
    frame = select(marts, "rpt_blend", {**AP, "split": split})
    shown = frame.filter(pl.col("metric_value").is_not_null()).sort("part", descending=True)
    figure = go.Figure()
    for variant, colour in (
        ("blend", COLOURS["bcrs"]),
        ("supervised only", COLOURS["flat_xgboost"]),
        ("unsupervised only", COLOURS["volume_only"]),
        ("scheme templates only", COLOURS["volume_only"]),
    ):
        part = shown.filter(pl.col("variant") == variant)
        if part.height:
            _dots(figure, part, "part", "metric_value", "interval_low", "interval_high", variant, colour, PILLAR_NAMES)
    _layout(figure, 140 + 40 * shown["part"].n_unique(), xaxis={"title": f"average precision, {split} weeks"})
    return _experiment(
        marts,
        "blend",
        "rpt_blend",
        "Each pillar's blend against its halves",
        "A pillar's score is alpha times the supervised half plus the rest times the unsupervised one; alpha was "
        "chosen on validation weeks.",
        {**AP, "split": split},
        figure if shown.height else None,
        PILLAR_NAMES,
        is_folded=True,
    )


def _learning(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    shown = select(marts, "rpt_learning_curve", AP).filter(pl.col("metric_value").is_not_null())
    figure = go.Figure()
    for part, colour in (("both tiers", COLOURS["bcrs"]), ("flat XGBoost", COLOURS["flat_xgboost"])):
        rows = shown.filter(pl.col("part") == part).sort("setting_value")
        if rows.is_empty():
            continue
        ys, xs = _segments(
            rows["interval_low"].to_list(), rows["interval_high"].to_list(), rows["setting_value"].to_list()
        )
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": colour, "width": 1}, showlegend=False, hoverinfo="skip"
        )
        figure.add_scatter(
            x=rows["setting_value"].to_list(),
            y=rows["metric_value"].to_list(),
            mode="lines+markers",
            line={"color": colour, "width": 3},
            name=part,
        )
    _layout(
        figure,
        360,
        xaxis={"title": "training weeks, the newest ones", "rangemode": "tozero"},
        yaxis={"title": "average precision, validation weeks", "rangemode": "tozero"},
    )
    return _experiment(
        marts,
        "learning",
        "rpt_learning_curve",
        "Learning curve",
        "Both tiers and the flat baseline refitted on fewer training weeks at reduced effort (every positive client "
        "and a sample of the others, fewer rounds and folds), measured on the same clients' validation weeks. Read "
        "the shape, not the level: positives are more frequent among these clients than in the bank.",
        AP,
        figure if shown.height else None,
    )


def _robustness(marts: Mapping[str, pl.DataFrame]) -> Exhibit:
    shown = select(marts, "rpt_robustness", AP).filter(pl.col("difference").is_not_null())
    figure = go.Figure()
    for part, colour in (("both tiers", COLOURS["bcrs"]), ("flat XGBoost", COLOURS["flat_xgboost"])):
        kind = pl.col("variant").str.contains("noise")
        rows = shown.filter(pl.col("part") == part).sort(kind, "setting_value", descending=True)
        if rows.height:
            _dots(figure, rows, "variant", "difference", "difference_low", "difference_high", part, colour)
    figure.add_vline(x=0, line={"color": "#888", "dash": "dash", "width": 1.5}, opacity=1)
    _layout(
        figure,
        140 + 34 * max(1, shown["variant"].n_unique()),
        xaxis={"title": "average precision less that with all labels, validation weeks"},
    )
    return _experiment(
        marts,
        "robustness",
        "rpt_robustness",
        "Robustness to label delay and label noise",
        "Refits at reduced effort on worse training labels: reports that come later (what is not yet known when "
        "training takes place counts as negative), and reports taken away from a share of the positive clients. "
        "Measured on the true labels of the same clients' validation weeks.",
        AP,
        figure if shown.height else None,
    )


def _parity(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    out = []
    words = {
        "geography": "geography",
        "occupation": "occupation",
        "account_age": "age of the account",
    }
    for attribute, name in words.items():
        filters = {"attribute": attribute, "model": "bcrs"}
        frame = select(marts, "rpt_parity", filters).sort("negative_clients_count", descending=True)
        shown = frame.filter(pl.col("false_positive_ratio").is_not_null()).reverse()
        figure = go.Figure()
        for flag, label, colour in ((False, "enough clients", COLOURS["bcrs"]), (True, "few clients", "#b7b7b7")):
            part = shown.filter(pl.col("is_few_clients") == flag)
            if part.height:
                _dots(
                    figure,
                    part,
                    "group_name",
                    "false_positive_ratio",
                    "false_positive_low",
                    "false_positive_high",
                    label,
                    colour,
                )
        _layout(
            figure,
            120 + 26 * max(1, shown.height),
            xaxis={"title": "negative clients alerted at least once", "tickformat": ".0%", "rangemode": "tozero"},
            yaxis={"categoryorder": "array", "categoryarray": shown["group_name"].to_list()},
        )
        key = f"parity-{attribute.replace('_', '-')}"
        out.append(
            Exhibit(
                key,
                f"Parity of false positives and recall by {name}",
                "B-CRS at alert capacity; the unit is the client, counted once over the test weeks, intervals are "
                "Wilson's. Grey or marked groups hold too few clients to say much. The mart has the other models.",
                "rpt_parity",
                filters,
                frame,
                tuple(frame.columns),
                figure if shown.height else None,
                table(
                    frame,
                    [
                        ("group", text_cell("group_name")),
                        ("negative clients", number_cell(key, "negative_clients_count", "count")),
                        ("alerted", number_cell(key, "alerted_negative_clients_count", "count")),
                        (
                            "false positives [Wilson]",
                            interval_cell(key, "false_positive_ratio", "percent", "false_positive_low"),
                        ),
                        ("positive clients", number_cell(key, "positive_clients_count", "count")),
                        ("recall [Wilson]", interval_cell(key, "recall_ratio", "percent", "recall_low")),
                        ("note", _parity_note),
                    ],
                    lambda row: bool(row["is_few_clients"]),
                ),
                is_folded=attribute != "account_age" and frame.height > 8,
            )
        )
    return out


def _parity_note(_: int, row: Mapping[str, Any]) -> str:
    notes = []
    if row["is_few_clients"]:
        notes.append("few clients")
    if row["is_few_positive_clients"]:
        notes.append("few with an STR")
    return escape(", ".join(notes) or "–")


def _scheme_ranks(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    frame = select(marts, "rpt_scheme_ranks", {})
    if frame.is_empty():
        return []
    key = "scheme-ranks"
    cells = []
    for column, dtype in frame.schema.items():
        if dtype.is_numeric():
            style = "count" if dtype.is_integer() else "three"
            cells.append((column.replace("_", " "), number_cell(key, column, style)))
        else:
            cells.append((column.replace("_", " "), text_cell(column)))
    return [
        Exhibit(
            key,
            "Planted schemes and their rank under each scheme's score",
            "Clients the simulation planted with a scheme: a good template ranks them top for their own scheme and "
            "not for the others.",
            "rpt_scheme_ranks",
            {},
            frame,
            tuple(frame.columns),
            None,
            table(frame, cells, lambda row: row.get("is_own") is True),
            is_folded=frame.height > 20,
        )
    ]


def exhibits(marts: Mapping[str, pl.DataFrame]) -> list[Exhibit]:
    """Every exhibit of the page, in order.

    Parameters
    ----------
    marts : mart name -> all its rows, of :data:`MARTS`; a mart that is missing leaves its exhibit out.
    """
    makers = (
        ("rpt_capacity_curve", lambda m: [_capacity(m)]),
        ("rpt_performance", _performance),
        ("rpt_rule_savings", lambda m: [_savings(m)]),
        ("rpt_pattern_recall", lambda m: [_patterns(m)]),
        ("rpt_scheme_ranks", _scheme_ranks),
        ("rpt_calibration", _calibration),
        ("rpt_ties", lambda m: [_ties(m)]),
        ("rpt_ablation", _ablation),
        ("rpt_blend", lambda m: [_blend(m)]),
        (
            "rpt_tsfresh",
            lambda m: [
                _experiment(
                    m,
                    "tsfresh",
                    "rpt_tsfresh",
                    "What tsfresh adds to P3",
                    "Pillar P3 refitted at reduced effort with and without the characteristics tsfresh's relevance "
                    "test chose on training weeks, measured on the same clients' validation weeks.",
                    AP,
                )
            ],
        ),
        ("rpt_learning_curve", lambda m: [_learning(m)]),
        ("rpt_robustness", lambda m: [_robustness(m)]),
        ("rpt_parity", _parity),
    )
    return [e for mart, make in makers if mart in marts for e in make(marts)]


def _headline(performance: Exhibit) -> tuple[str, str]:
    """The result in words: a title and a paragraph; every number in it names its row."""
    key = performance.key
    rows = performance.frame.to_dicts()
    at = {(r["model"], r["metric"]): i for i, r in enumerate(rows)}

    def tell(model: str, metric: str, style: str, column: str = "metric_value", low: str = "interval_low") -> str:
        i = at[model, metric]
        return with_interval(key, i, rows[i], column, style, low)

    counts = {
        m: number(key, at["all", m], "metric_value", rows[at["all", m]]["metric_value"], "count")
        for m in ("rows_count", "positives_count", "clients_count", "weeks_count")
    }
    seen = (
        f"Measured once on {counts['weeks_count']} test weeks: {counts['rows_count']} client-weeks of "
        f"{counts['clients_count']} clients, {counts['positives_count']} of them positive."
    )
    if (rows[at["all", "positives_count"]]["metric_value"] or 0) < FEW_POSITIVES:
        seen += " So few positives let chance decide most comparisons, whatever their intervals say."
    bcrs = rows[at["bcrs", "average_precision"]] if ("bcrs", "average_precision") in at else None
    if bcrs is None or bcrs["metric_value"] is None:
        why = escape((bcrs or {}).get("reason") or "there are no scores")
        return "Nothing could be measured on the test weeks", f"<p>{seen}</p><p>{why}</p>"
    flat = rows[at["flat_xgboost", "average_precision"]] if ("flat_xgboost", "average_precision") in at else None
    verdict = "B-CRS on weeks it had never seen"
    words = ""
    if flat is not None and flat["gain_of_bcrs"] is not None and flat["gain_low"] is not None:
        if flat["gain_low"] > 0:
            verdict = "B-CRS ranks better than one flat model on the same features"
        elif flat["gain_high"] < 0:
            verdict = "B-CRS ranks worse than one flat model on the same features"
        else:
            verdict = "B-CRS and one flat model on the same features cannot be told apart"
        gain = tell("flat_xgboost", "average_precision", "signed", "gain_of_bcrs", "gain_low")
        reached = tell("flat_xgboost", "average_precision", "three")
        words = f" Flat XGBoost reaches {reached}; the paired difference is {gain}."
    return verdict, (
        f"<p>{seen}</p><p>Average precision of B-CRS: {tell('bcrs', 'average_precision', 'three')}, AUROC "
        f"{tell('bcrs', 'auroc', 'three')}.{words} At alert capacity B-CRS finds "
        f"{tell('bcrs', 'recall_at_capacity', 'percent')} of the positive client-weeks, and "
        f"{tell('bcrs', 'precision_at_capacity', 'percent')} of its alerts are positive. Brackets are 95 % intervals, "
        "resampled by client.</p>"
    )


STYLE = """
:root{--ink:#1c2430;--soft:#5b6673;--line:#e3e7ec;--mark:#eef4fb;--accent:#0b5394}
*{box-sizing:border-box}body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:#fff}
main{max-width:1080px;margin:0 auto;padding:24px 20px 80px}
header p{max-width:76ch}h1{font-size:1.9rem;line-height:1.2;margin:.2em 0}h2{font-size:1.25rem;margin:0 0 .2em}
.kicker{color:var(--accent);font-weight:600;letter-spacing:.02em}
section{border-top:1px solid var(--line);padding:26px 0 10px}.words{color:var(--soft);max-width:80ch;margin:.2em 0 1em}
.source{font-size:.78rem;color:var(--soft);margin:.6em 0 0}.source::before{content:"every number: "}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;margin:.6em 0}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;white-space:nowrap}
td .reason{white-space:normal;display:inline-block;min-width:16ch;max-width:34ch}
thead th{color:var(--soft);font-weight:600;white-space:normal}
tr.marked{background:var(--mark)}tbody th{font-weight:500}.interval{color:var(--soft)}.reason,.none{color:var(--soft)}
td:last-child:not(:has(data)){white-space:normal}.reason{font-size:.82rem}data{font-variant-numeric:tabular-nums}
summary{cursor:pointer;color:var(--accent);margin:.5em 0}
nav{columns:2;font-size:.9rem;margin:8px 0 20px}nav a{color:var(--accent);text-decoration:none;display:block}
@media(max-width:720px){nav{columns:1}}@media print{details{display:block}}
"""

DRAW = """
for (const source of document.querySelectorAll("script.figure-data")) {
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot("figure-" + source.dataset.exhibit, figure.data, figure.layout,
    {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"]});
}
"""


def build_page(dataset: str, profile: str, marts: Mapping[str, pl.DataFrame], shown: list[Exhibit]) -> str:
    """The whole page as HTML: headline in words and one picture first, then every exhibit; opens offline."""
    performance = next((e for e in shown if e.key == "performance"), None)
    title, words = (
        _headline(performance) if performance is not None else ("No evidence yet", "<p>No mart was found.</p>")
    )
    links = "".join(f"<a href='#{e.key}'>{escape(e.title)}</a>" for e in shown)
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>",
            f"<title>Evidence on B-CRS: {escape(dataset)}</title><style>{STYLE}</style>",
            f"<script>{get_plotlyjs()}</script></head><body><main>",
            f"<header><p class='kicker'>B-CRS, evidence for validation · data set {escape(dataset)} · effort "
            f"{escape(profile)}</p><h1>{escape(title)}</h1>{words}</header>",
            section(shown[0]) if shown else "",
            f"<nav aria-label='contents'>{links}</nav>",
            *(section(e) for e in shown[1:]),
            _method(marts),
            f"</main><script>{DRAW}</script></body></html>",
        ]
    )


def _method(marts: Mapping[str, pl.DataFrame]) -> str:
    """How it was measured and what the source does not have, in words."""
    out = [
        "<section id='method'><h2>How this was measured</h2><ul>",
        "<li>Weeks are split by time, with an embargo as long as the label horizon between training, validation and "
        "test. Test weeks were read once, by one function; nothing was chosen by what it returned.</li>",
        "<li>A client whose report was filed before the as-of date is not measured.</li>",
        "<li>Intervals resample clients with all their weeks; every model sees the same resamples.</li>",
        "<li>Experiments that refit on other data are measured on validation weeks only.</li>",
    ]
    notes = marts["rpt_calendar"]["notes"].to_list() if "rpt_calendar" in marts else []
    out += [f"<li>{escape(str(n))}</li>" for n in notes if n]
    missing = marts.get("rpt_not_available", pl.DataFrame())
    for row in missing.iter_rows(named=True):
        out.append(
            f"<li>Not in this source: {escape(str(row['column_name']))}. {escape(str(row['reason'] or ''))}</li>"
        )
    return "".join([*out, "</ul></section>"])


SHORT = {"average_precision": "ap"}


def results(dataset: str, marts: Mapping[str, pl.DataFrame], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers as ``{dataset: {model: {auroc, auroc_ci, ap, ap_ci, brier, ...}}, paired: {dataset: {model: ...}}}``.

    Parameters
    ----------
    dataset : key of this run's data. earlier : content of the file so far; other data sets in it stay.

    Values that could not be measured are null, with ``<metric>_reason`` in words. ``paired`` holds B-CRS's value less
    the model's, on the same resamples of clients (for Brier the other way round: above zero B-CRS is better).
    """
    models: dict[str, dict[str, Any]] = {}
    paired: dict[str, dict[str, Any]] = {}
    for row in marts["rpt_performance"].iter_rows(named=True):
        if row["model"] == "all":
            continue
        entry = models.setdefault(row["model"], {})
        name = SHORT.get(row["metric"], row["metric"])
        entry[name] = row["metric_value"]
        if row["metric_value"] is None:
            entry[f"{name}_reason"] = row["reason"]
        elif row["interval_low"] is not None:
            entry[f"{name}_ci"] = [row["interval_low"], row["interval_high"]]
        if row["gain_of_bcrs"] is not None:
            against = paired.setdefault(row["model"], {})
            against[name] = row["gain_of_bcrs"]
            if row["gain_low"] is not None:
                against[f"{name}_ci"] = [row["gain_low"], row["gain_high"]]
    others = {k: v for k, v in earlier.items() if k not in (dataset, "paired")}
    gains = {k: v for k, v in earlier.get("paired", {}).items() if k != dataset}
    return {**others, dataset: models, "paired": {**gains, dataset: paired}}
