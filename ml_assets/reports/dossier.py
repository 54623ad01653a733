"""The model dossier: what a validator reads, in the order it is read, every number with its origin.

Rule of this file: it queries nothing and computes nothing. A number comes as a :class:`Fact` or a :class:`Mart` (value
and the query that yields it, kept in the page as ``data-sql``) or from the model's card (its place there kept as
``data-card``); a test runs every one of them again. Prose says what is done and why, never how much.

Headings: SR 11-7 (Board of Governors of the Federal Reserve System and OCC, Supervisory Guidance on Model Risk
Management, 2011) and Part 504 of the New York Superintendent's Regulations (3 NYCRR 504, 2016).
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ml_assets.reports.layout import page, status, table, text


@dataclass(frozen=True)
class Fact:
    """One value and the statement on the published marts that yields it."""

    value: Any
    sql: str


@dataclass(frozen=True)
class Mart:
    """Rows and the statement that yields them; ``frame`` is None where the mart has not been built by ``made_by``."""

    frame: pl.DataFrame | None
    sql: str
    address: str
    made_by: str = "make run"


@dataclass(frozen=True)
class Dossier:
    """What the page is made from.

    Attributes
    ----------
    source, profile : name of the data and of the profile.
    facts, marts : by name; the names the sections use are those of ``orchestration.dossier``.
    card : the champion's card.
    lineage : one row per input column and pillar (with its path and its features).
    features : one row per pillar: pillar, description, features_count, needs_count.
    limits : one row per monitoring limit. missing : column -> why the source lacks it.
    models : one row per saved model, oldest first.
    """

    source: str
    profile: str
    facts: Mapping[str, Fact]
    marts: Mapping[str, Mart]
    card: Mapping[str, Any]
    lineage: pl.DataFrame
    features: pl.DataFrame
    limits: pl.DataFrame
    models: pl.DataFrame


SECTIONS: tuple[tuple[str, str, str, str], ...] = (
    (
        "purpose",
        "1 Purpose and use",
        "IV Model development, implementation and use: statement of purpose",
        "504.3(a)(3)",
    ),
    ("data", "2 Data", "IV: data quality and relevance; V: process verification", "504.3(a)(5), 504.3(c)(1)–(3)"),
    ("design", "3 Design", "IV: design, theory and logic; V.1 Conceptual soundness", "504.3(a)(4), (6)"),
    ("assumptions", "4 Assumptions", "V.1 Conceptual soundness: key assumptions", "504.3(a)(6)"),
    ("limits", "5 Limits", "IV: limitations and uncertainty; VI: use constraints", "504.3(a)(6), (8)"),
    ("performance", "6 Performance", "V.3 Outcomes analysis, back-testing; V.2 Benchmarking", "504.3(a)(5)"),
    ("monitoring", "7 Monitoring", "V.2 Ongoing monitoring", "504.3(a)(2), (8)"),
    (
        "lineage",
        "8 Lineage: from source column to alert",
        "VI: documentation; V.2 Process verification",
        "504.3(a)(5), 504.3(c)(3)",
    ),
    ("changes", "9 Change log", "VI Governance, policies and controls: inventory, change control", "504.3(c)(4)"),
    ("map", "10 Where a supervisor's headings are answered", "all", "all"),
)
"""Anchor, heading, place in SR 11-7, place in Part 504."""


def fact(item: Fact) -> str:
    """A number from a mart, with the query behind it."""
    value = item.value
    return (
        f'<data class="fact" value="{html.escape(json.dumps(value, default=str))}" data-sql="{html.escape(item.sql)}" '
        f'title="{html.escape(item.sql)}">{text(value)}</data>'
    )


def from_card(card: Mapping[str, Any], *place: str) -> str:
    """A value of the model's card, with its place in it; a dash where the card has none."""
    value: Any = card
    for step in place:
        value = value.get(step) if isinstance(value, Mapping) else None
    shown = ", ".join(str(v) for v in value) if isinstance(value, list | tuple) else text(value)
    return (
        f'<data class="card" value="{html.escape(json.dumps(value))}" data-card="{html.escape("/".join(place))}">'
        f"{shown}</data>"
    )


def mart_table(mart: Mart, headings: Mapping[str, str] | None = None, caption: str = "") -> str:
    """Rows of a mart as a table whose number cells carry their exact value and whose element carries the query."""
    if mart.frame is None:
        return f'<p class="missing">{mart.address} is not built yet: <code>{mart.made_by}</code></p>'
    if not mart.frame.height:
        return f'<p class="missing">{mart.address} has no rows.</p>'
    headings = headings or {c: c.removesuffix("_count").replace("_", " ") for c in mart.frame.columns}
    is_number = {c: mart.frame[c].dtype.is_numeric() for c in headings}

    def cell(column: str, value: Any) -> str:
        if is_number[column]:
            exact = html.escape(json.dumps(value))
            return f'<td class="number"><data value="{exact}" data-column="{column}">{text(value)}</data></td>'
        return f"<td>{status(str(value)) if column == 'status' and value else text(value)}</td>"

    head = "".join(
        f'<th scope="col"{" class=number" if is_number[c] else ""}>{html.escape(h)}</th>' for c, h in headings.items()
    )
    rows = "".join(
        "<tr>" + "".join(cell(c, r[c]) for c in headings) + "</tr>" for r in mart.frame.iter_rows(named=True)
    )
    title = f"<caption>{html.escape(caption or mart.address)}</caption>"
    return (
        f'<div class="scroll"><table class="mart" data-sql="{html.escape(mart.sql)}">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def dossier_page(dossier: Dossier) -> str:
    """The page as HTML."""
    bodies = {
        "purpose": _purpose,
        "data": _data,
        "design": _design,
        "assumptions": _assumptions,
        "limits": _limits,
        "performance": _performance,
        "monitoring": _monitoring,
        "lineage": _lineage,
        "changes": _changes,
        "map": _map,
    }
    links = "".join(f'<a href="#{anchor}">{html.escape(heading)}</a>' for anchor, heading, _, _ in SECTIONS)
    parts = [f"<nav>{links}</nav>"]
    for anchor, heading, supervisor, state in SECTIONS:
        parts.append(f'<h2 id="{anchor}">{html.escape(heading)}</h2>')
        if anchor != "map":
            parts.append(f'<p class="lead">SR 11-7 {html.escape(supervisor)} · 3 NYCRR {html.escape(state)}</p>')
        parts.append(bodies[anchor](dossier))
    lead = (
        f"Model <code>{from_card(dossier.card, 'model_id')}</code>, data {html.escape(dossier.source)}, profile "
        f"{html.escape(dossier.profile)}. Generated from the published marts, the model's card, the table "
        "contracts and "
        "the asset graph; hover over a number for its query."
    )
    return page("Model dossier: B-CRS, a behavioural client risk score", lead, "".join(parts))


def _purpose(d: Dossier) -> str:
    f = d.facts
    return (
        "<p>B-CRS ranks a bank's clients each Monday by the calibrated probability that a suspicious "
        "transaction report "
        f"is filed on them within the next {from_card(d.card, 'splits', 'horizon_days')} days, and says why. "
        "It decides "
        "which clients investigators look at first; it neither files a report nor closes, refuses or restricts an "
        "account, and a person decides on every alert.</p>"
        "<p>Users: investigators (alerts with reasons), the head of financial crime (capacity and cut), model "
        "validation (this document). Out of use: credit, pricing, hiring, sanctions screening, and any client of whom "
        "the bank sees no transactions.</p>"
        f"<p>In the week of {fact(f['newest_week'])} it scored {fact(f['newest_clients'])} clients and raised "
        f"{fact(f['newest_alerts'])} alerts.</p>" + mart_table(d.marts["bands"], caption="Clients by band, newest week")
    )


def _data(d: Dossier) -> str:
    f = d.facts
    return (
        f"<p>{fact(f['rows_in'])} rows came in: {fact(f['rows_kept'])} were kept, {fact(f['rows_quarantined'])} "
        "quarantined, each with file, row, column and reason; nothing is dropped in silence and a check "
        "holds rows in = "
        f"kept + quarantined on every run. {fact(f['clients'])} clients, {fact(f['weeks'])} scored weeks from "
        f"{fact(f['first_week'])} to {fact(f['newest_week'])}.</p>"
        + mart_table(d.marts["quality"], caption="Rows by kind of input (marts.rpt_data_quality)")
        + "<h3>What this source does not have</h3>"
        + mart_table(d.marts["not_available"], caption="Columns without data; features that need them are null")
        + "<h3>Target</h3><p>A client-week is positive if a report is dated within the horizon after the as-of date. "
        "Clients with an earlier report are no new positives and are left out of training and measurement. Weeks whose "
        "horizon is not over are live: scored, never measured.</p>"
        + mart_table(d.marts["calendar"], caption="Calendar of the data (marts.rpt_calendar)")
        + "<p>Point in time: a row counts for an as-of date only if it happened before that Monday, 00:00 UTC, and was "
        "known by then.</p>"
    )


def _design(d: Dossier) -> str:
    card = d.card
    splits = pl.DataFrame(
        [
            (
                name,
                from_card(card, "splits", "rows", name),
                from_card(card, "splits", "positives", name),
                _span(card, f"{name}_weeks"),
            )
            for name in ("train", "validation", "test")
        ],
        schema=["part", "eligible client-weeks", "positives", "weeks"],
        orient="row",
    )
    pillars = pl.DataFrame(
        [
            (
                pillar,
                text(len(entry["features"])),
                from_card(card, "pillars", pillar, "alpha"),
                from_card(card, "pillars", pillar, "rounds"),
                "; ".join(entry["reasons"]) or "–",
            )
            for pillar, entry in card["pillars"].items()
        ],
        schema=["pillar", "features used", "alpha", "rounds", "remarks"],
        orient="row",
    )
    weights = pl.DataFrame(
        [(name, from_card(card, "aggregation", "weights", name)) for name in card["aggregation"]["weights"]],
        schema=["score", "weight of the linear aggregation"],
        orient="row",
    )
    chosen = pl.DataFrame(
        [
            (name, from_card(card, "aggregation", "validation_average_precision", name))
            for name in card["aggregation"]["validation_average_precision"]
        ],
        schema=["aggregation", "average precision on validation weeks"],
        orient="row",
    )
    raw = ["eligible client-weeks", "positives", "weeks", "alpha", "rounds"]
    return (
        "<p>Two tiers. Five pillars look at a client independently (volume and velocity, network, time, typologies, "
        "consistency with the profile); each blends gradient boosting with an isolation forest, S = α · supervised + "
        "(1 − α) · unsupervised. A sixth reads their out-of-fold scores and the indicators of three "
        "laundering schemes. "
        "Three aggregations of the six compete on validation weeks; the best by average precision is champion and is "
        "calibrated (Platt 1999) into a probability.</p>"
        + table(d.features, wide=["what it holds"])
        + "<h3>Splits by time, with an embargo as long as the horizon between them</h3>"
        + table(splits, raw=raw)
        + "<h3>Pillars</h3>"
        + table(pillars, raw=raw, wide=["remarks"])
        + f"<h3>Aggregation: champion {from_card(card, 'aggregation', 'champion')}</h3>"
        + table(chosen, raw=["average precision on validation weeks"])
        + table(weights, raw=["weight of the linear aggregation"])
        + "<p>Bands: HIGH from B-CRS "
        + from_card(card, "aggregation", "cuts", "high")
        + ", MEDIUM from "
        + from_card(card, "aggregation", "cuts", "medium")
        + ", LOW from "
        + from_card(card, "aggregation", "cuts", "low")
        + ", set on validation weeks; a client leaves a band only under "
        + from_card(card, "aggregation", "cuts", "hysteresis_ratio")
        + " of its cut. Alerts: the riskiest "
        + from_card(card, "aggregation", "cuts", "capacity_ratio")
        + " of clients, in HIGH.</p>"
        "<h3>Explanation</h3><p>Pillar contributions sum to the champion's log-odds; within a pillar exact TreeSHAP "
        "values and the fall of the anomaly score are shared out among features, told with the client's own normal and "
        "the peers' normal. Evidence lists the transactions behind typologies and scheme indicators.</p>"
    )


def _span(card: Mapping[str, Any], name: str) -> str:
    weeks = card["splits"][name]
    if not weeks:
        return "none"
    listed = html.escape(json.dumps(weeks))
    return (
        f'<data class="card" value="{listed}" data-card="splits/{name}">{len(weeks)}: {weeks[0]} to {weeks[-1]}</data>'
    )


def _assumptions(d: Dossier) -> str:
    items = (
        "A report is the best available sign of laundering. It is not laundering itself: reports follow what the bank "
        "already looks at, launderers never reported teach the model that they are harmless, and honest clients get "
        "reports.",
        "What led to reports in training weeks leads to them in the weeks scored; monitoring watches where that ends.",
        "Reports are dated when filed. The delay from behaviour to report is part of what is learned.",
        "Delivered rows are complete for the weeks they cover, or arrive later and then count only from that day on.",
        "Clients of one peer group (industry and size, or segment) behave alike enough for a deviation to mean "
        "something.",
        "Country and sector lists of the schemes are those of the sources named in the seeds, at the date "
        "named there. An "
        "origin never counts by itself, only together with behaviour.",
        "A review costs the same whatever its outcome, where the cut is set by cost.",
    )
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _limits(d: Dossier) -> str:
    reasons = [*d.card["splits"].get("reasons", []), *d.card["aggregation"].get("reasons", [])]
    dropped = pl.DataFrame(
        [
            (pillar, feature, reason)
            for pillar, entry in d.card["pillars"].items()
            for feature, reason in sorted(entry["dropped"].items())
        ],
        schema=["pillar", "feature", "reason"],
        orient="row",
    )
    items = (
        "New clients have little history; features over long windows are null for them and the score leans "
        "on the rest.",
        "Over- and under-invoicing and phantom shipments need invoices: not covered.",
        "Only the bank's own side of a payment is seen; paths through other banks end at its edge.",
        "Probabilities are calibrated on validation weeks; where base rates move they are off until retraining.",
        "A row without a channel, country or sector weakens the features that need it; they are null, never zero.",
        "On simulated data performance shows that the method works as built, not that it works on a given "
        "bank's clients.",
    )
    said = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    listing = (
        f"<details><summary>Features the model left out, with the reason: {dropped.height}</summary>{table(dropped)}"
        "</details>"
        if dropped.height
        else ""
    )
    return (
        "<ul>"
        + "".join(f"<li>{html.escape(item)}</li>" for item in items)
        + "</ul>"
        + (f"<p>What this training says of itself:</p><ul>{said}</ul>" if said else "")
        + listing
        + mart_table(d.marts["support"], caption="Inputs of the newest weeks against the training support")
    )


def _performance(d: Dossier) -> str:
    metrics = {
        "model": "model",
        "metric": "metric",
        "metric_value": "value",
        "interval_low": "95 % from",
        "interval_high": "to",
        "reason": "remark",
    }
    optional = (
        ("main", "Main table: each model and metric on test weeks, and what B-CRS gains over it"),
        ("calibration", "Calibration: predicted against observed, by band and by bin"),
        ("capacity", "Recall and precision at alert capacity"),
        ("savings", "False positives saved against the fixed rules at equal recall"),
        ("patterns", "Recall by planted typology and scheme"),
        ("ablation", "Ablation"),
        ("parity", "Parity across geography, occupation and age of account"),
        ("robustness", "Robustness to late and wrong labels"),
        ("ties", "Ties at the cut"),
    )
    return (
        "<p>Test weeks are read once, by one function, after every choice has been made. Intervals are 95 % bootstrap, "
        "resampled by client.</p>"
        + mart_table(d.marts["test"], metrics, "Test weeks: B-CRS and every baseline (marts.rpt_model_metrics)")
        + "<details><summary>Validation weeks: what the champion was chosen on</summary>"
        + mart_table(d.marts["validation"], metrics, "Validation weeks (marts.rpt_model_metrics)")
        + "</details><h3>Evidence</h3>"
        + "".join(
            f"<details><summary>{html.escape(heading)}</summary>{mart_table(d.marts[name])}</details>"
            if d.marts[name].frame is not None
            else mart_table(d.marts[name])
            for name, heading in optional
        )
    )


def _monitoring(d: Dossier) -> str:
    return (
        "<p>Each week is compared with the frozen training weeks before its alerts are worked: features by "
        "family (PSI, "
        "missing values), amounts by currency, scores against validation weeks, the mix of pillars behind "
        "alerts against "
        "the week before, and the arrival of reports. Checks warn and never stop a run; the page "
        "<code>monitoring.html</code> shows every week.</p>"
        + mart_table(d.marts["verdicts"], caption="Verdicts of the newest week")
        + mart_table(d.marts["moved"], caption="Families of features that moved most, newest week")
        + "<h3>Limits, each with reason, source and date</h3>"
        + table(d.limits, wide=["reason"])
        + "<h3>Alert line</h3><p><code>bcrs thresholds</code> plans the above/below-the-line test (strata around the "
        "line, hypergeometric sample sizes, seeded sample) and reads the line and the analyst-days that "
        "follow from its "
        "outcomes.</p>"
    )


def _lineage(d: Dossier) -> str:
    shown = d.lineage.with_columns(
        features=pl.Series(
            [
                ""
                f"<details><summary>{row['features_count']}</summary><code>{html.escape(row['features'])}</code></details>"
                for row in d.lineage.iter_rows(named=True)
            ],
            dtype=pl.String,
        )
    )
    headings = {
        "input_column": "source column",
        "entity": "input",
        "meaning": "meaning",
        "path": "tables on the way (shortest path of the asset graph)",
        "features": "features",
    }
    return (
        "<p>From the columns of the input contract to the alert: which features a column feeds follows from "
        "the feature "
        "contracts (<code>requires</code>), the tables on the way from the asset graph, which holds dbt's models and "
        "Python's tables alike, and what a column means from dbt's manifest.</p>"
        + table(shown, headings, wide=["path"], raw=["features"])
    )


def _changes(d: Dossier) -> str:
    return (
        "<p>Models on record, oldest first. A model's id is its last training week and a hash over every file, the "
        "configuration, the feature contracts and the code: two models with one id are the same model.</p>"
        + table(d.models)
        + mart_table(d.marts["promotions"], caption="Decisions on challengers (marts.rpt_promotions)")
        + f"<p>This model: code <code>{html.escape(str(d.card['code_hash'])[:12])}</code>, configuration "
        f"<code>{html.escape(str(d.card['config_hash'])[:12])}</code>, features "
        f"<code>{html.escape(str(d.card['feature_hash'])[:12])}</code>; "
        + ", ".join(f"{html.escape(k)} {html.escape(str(v))}" for k, v in d.card["versions"].items())
        + ". Changes of code are in the repository's history.</p>"
    )


def _map(d: Dossier) -> str:
    rows: Sequence[tuple[str, str, str]] = [
        (f'<a href="#{a}">{html.escape(h)}</a>', s, n) for a, h, s, n in SECTIONS if a != "map"
    ]
    frame = pl.DataFrame(rows, schema=["section", "SR 11-7", "3 NYCRR Part 504"], orient="row")
    return table(frame, raw=["section"]) + (
        "<p>Not answered here, because they are the institution's: its risk assessment (504.3(a)(1)), protocols of "
        "investigation (504.3(a)(7)), oversight, funding and training (504.3(c)(4)–(8)), the annual finding "
        "(504.4), and "
        "independence of the validator (SR 11-7 VI).</p>"
    )
