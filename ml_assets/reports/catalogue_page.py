"""The catalogue as one self-contained page: features with their distribution, schemes with their numbers.

Rule of this file: it draws tables it is handed and queries nothing. The page opens from disk without a network: styles
and the few lines of script for searching and sorting stand in it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

import polars as pl

_PILLARS: Final = {
    "p1_volume_velocity": "P1 Volume & velocity",
    "p2_network": "P2 Network & counterparty",
    "p3_temporal": "P3 Temporal behaviour",
    "p4_typology": "P4 Typology alignment",
    "p5_profile": "P5 Profile consistency",
    "p6_scheme": "P6 Scheme alignment",
}

_STYLE: Final = """
:root { --ink: #1c2733; --soft: #5b6b7a; --line: #d9dfe5; --back: #f5f7f9; --blue: #2f6690; --warn: #9a4b00; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 0; color: var(--ink); background: #fff; }
main { max-width: 1500px; margin: 0 auto; padding: 1.2rem 1.6rem 4rem; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; }
p.lead { color: var(--soft); max-width: 75ch; margin: .2rem 0 .8rem; }
.tools { position: sticky; top: 0; background: #fff; padding: .6rem 0; z-index: 2; display: flex; gap: .6rem;
  align-items: center; flex-wrap: wrap; border-bottom: 1px solid var(--line); }
.tools input { font: inherit; padding: .4rem .6rem; width: 26rem; max-width: 100%; border: 1px solid #9fb0bf;
  border-radius: 4px; }
.tools button { font: inherit; padding: .3rem .7rem; border: 1px solid #9fb0bf; border-radius: 99px; background: #fff;
  cursor: pointer; }
.tools button[aria-pressed=true] { background: var(--blue); color: #fff; border-color: var(--blue); }
.tools output { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }
th { background: var(--back); font-weight: 600; }
th.sortable { cursor: pointer; white-space: nowrap; } th.sortable::after { content: " \\2195"; color: #9fb0bf; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td .name { font-family: ui-monospace, monospace; font-size: 12.5px; overflow-wrap: anywhere; }
#features td:first-child { min-width: 13rem; } #features th { white-space: normal; }
td .small { color: var(--soft); font-size: 12.5px; display: block; margin-top: .15rem; }
tr.null td { background: #fbf3ea; }
.chip { display: inline-block; background: var(--back); border: 1px solid var(--line); border-radius: 3px;
  padding: 0 .35rem; margin: .1rem .2rem 0 0; font-size: 12px; }
svg { display: block; } svg rect { fill: var(--blue); }
td.hist { width: 124px; } td.hist .small { white-space: nowrap; }
.warn { color: var(--warn); }
@media print { .tools { display: none; } }
"""

_SCRIPT: Final = """
const box = document.getElementById('search'), out = document.getElementById('found');
const rows = [...document.querySelectorAll('#features tbody tr')];
rows.forEach(r => r.dataset.text = r.textContent.toLowerCase());
let pillar = '';
function show() {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let n = 0;
  for (const r of rows) {
    const on = (!pillar || r.dataset.pillar === pillar) && words.every(w => r.dataset.text.includes(w));
    r.hidden = !on; n += on;
  }
  out.textContent = n + ' of ' + rows.length + ' features';
}
box.addEventListener('input', show);
document.querySelectorAll('.tools button').forEach(b => b.addEventListener('click', () => {
  pillar = b.getAttribute('aria-pressed') === 'true' ? '' : b.dataset.pillar;
  document.querySelectorAll('.tools button').forEach(o => o.setAttribute('aria-pressed', o.dataset.pillar === pillar));
  show();
}));
document.querySelectorAll('th.sortable').forEach(h => h.addEventListener('click', () => {
  const body = h.closest('table').tBodies[0], at = h.cellIndex, down = h.dataset.down !== '1';
  h.dataset.down = down ? '1' : '0';
  const value = r => { const c = r.cells[at]; return c.dataset.value ?? c.textContent; };
  const number = [...body.rows].every(r => value(r) === '' || !isNaN(value(r)));
  const sorted = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    const order = number ? (x === '' ? -Infinity : +x) - (y === '' ? -Infinity : +y) : x.localeCompare(y);
    return down ? -order : order;
  });
  body.append(...sorted);
}));
show();
"""


def format_number(value: float | None) -> str:
    """Four significant digits, thousands separated; an empty text for null.

    >>> format_number(1234567.0), format_number(0.000123456), format_number(0.5), format_number(None)
    ('1,234,567', '0.0001235', '0.5', '')
    """
    if value is None:
        return ""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def sparkline(counts: str | None, label: str) -> str:
    """A histogram as an inline picture with a title for screen readers; a dash where there are no counts.

    Heights are square roots of the counts: most features have one tall bar and a long tail that matters.

    >>> sparkline(None, "no value")
    '<span class="small">no value</span>'
    """
    if counts is None:
        return f'<span class="small">{html.escape(label)}</span>'
    numbers = [int(c) for c in counts.split(",")]
    top = max(numbers) ** 0.5 or 1.0
    width = 120 / len(numbers)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{28 - 27 * n**0.5 / top:.1f}" width="{max(width - 0.6, 0.8):.1f}" '
        f'height="{27 * n**0.5 / top:.1f}"/>'
        for i, n in enumerate(numbers)
        if n
    )
    return (
        f'<svg role="img" width="120" height="28" viewBox="0 0 120 28"><title>{html.escape(label)}</title>{bars}</svg>'
    )


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value))


def _small(label: str, value: Any) -> str:
    return f'<span class="small">{label}: {_text(value)}</span>' if value else ""


def _feature_row(r: dict[str, Any]) -> str:
    ends = f"{format_number(r['histogram_low'])} to {format_number(r['histogram_high'])}"
    picture = sparkline(r["histogram_counts"], f"{r['feature']}: {ends}" if r["histogram_counts"] else "no value")
    chips = "".join(f'<span class="chip">{_text(n)}</span>' for n in (r["requires"] or "").split(", ") if n)
    null = "" if r["null_ratio"] is None else f"{r['null_ratio']:.1%}"
    cells = [
        f'<td><span class="name">{_text(r["feature"])}</span>'
        f'<span class="small">{_text(_PILLARS.get(r["pillar"], r["pillar"]))}</span></td>',
        f"<td>{_text(r['meaning'])}{_small('formula', r['formula'])}{_small('null', r['null_rule'])}</td>",
        f'<td class="number" data-value="{r["window_days"] or ""}">{_text(r["window_days"])}</td>',
        f"<td>{_text(r['unit'])}</td>",
        f'<td class="number" data-value="{"" if r["null_ratio"] is None else r["null_ratio"]}">{null}</td>',
        f'<td class="number" data-value="{"" if r["median"] is None else r["median"]}">{format_number(r["median"])}'
        f'<span class="small">{format_number(r["p05"])} – {format_number(r["p95"])}</span></td>',
        f'<td class="hist">{picture}{f"<span class=small>{ends}</span>" if r["histogram_counts"] else ""}</td>',
        f"<td>{_text(r['source'])}</td>",
        f"<td>{chips}</td>",
    ]
    is_null = ' class="null"' if r["null_ratio"] == 1 else ""
    return f'<tr data-pillar="{_text(r["pillar"])}"{is_null}>{"".join(cells)}</tr>'


def _table(headings: Sequence[str], rows: Sequence[str], name: str, is_sortable: bool = False) -> str:
    mark = ' class="sortable"' if is_sortable else ""
    head = "".join(f'<th scope="col"{mark}>{html.escape(h)}</th>' for h in headings)
    return (
        f'<div class="scroll"><table id="{name}"><thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _weakened_section(weakened: pl.DataFrame) -> str:
    if not weakened.height:
        return "<p>Every feature has a value for some client of the newest weeks.</p>"
    rows = [
        f"<tr><td>{_text(_PILLARS.get(r['pillar'], r['pillar']))}</td><td>{_text(r['column_name'])}</td>"
        f'<td class="number">{r["null_count"]} of {r["feature_count"]}</td><td>{_text(r["reason"])}</td>'
        f'<td><span class="name">{_text(r["features"])}</span></td></tr>'
        for r in weakened.sort("pillar", "column_name").iter_rows(named=True)
    ]
    return _table(("pillar", "missing input", "features null", "why", "which"), rows, "weakened")


def _limit(r: dict[str, Any]) -> str:
    unit = r["limit_unit"].replace("_", " ")
    value = f"{format_number(r['limit_value'])} {_text(unit)}"
    if r["resolved_value"] != r["limit_value"]:
        value += f" = {format_number(r['resolved_value'])}"
    return value


def _scheme_section(schemes: pl.DataFrame) -> str:
    parts = []
    for scheme in schemes["scheme"].unique(maintain_order=True):
        of_scheme = schemes.filter(pl.col("scheme") == scheme)
        indicators = []
        for r in of_scheme.filter(pl.col("kind") == "threshold").iter_rows(named=True):
            more = of_scheme.filter((pl.col("entry") == r["entry"]) & pl.col("kind").is_in(["condition", "weight"]))
            further = "".join(
                _small(f"{m['limit_name'].replace('_', ' ')} {_limit(m)}", m["reason"])
                for m in more.iter_rows(named=True)
            )
            fired = "" if r["fired_ratio"] is None else f"{r['fired_ratio']:.2%}"
            indicators.append(
                f'<tr><td><span class="name">{_text(r["entry"])}</span></td>'
                f"<td>{_text(r['meaning'])}{_small('formula', r['formula'])}{_small('evidence', r['evidence'])}</td>"
                f'<td class="number">{_text(r["window_days"])}</td>'
                f"<td>{_limit(r)}<span class=small>{_text(r['reason'])}</span>{further}</td>"
                f'<td class="number">{fired}</td>'
                f"<td>{_text(r['source'])}<span class=small>{_text(r['source_date'])}</span></td></tr>"
            )
        signature = [
            f"<tr><td>{_text(r['entry'][2:4].upper())}</td><td class=number>{format_number(r['limit_value'])}</td>"
            f"<td>{_text(r['reason'])}</td></tr>"
            for r in of_scheme.filter(pl.col("kind") == "signature").iter_rows(named=True)
        ]
        missing = [
            f"<tr><td>{_text(r['entry'])}</td><td>{_text(r['meaning'])}</td>"
            f"<td>{_text(r['source'])}<span class=small>{_text(r['source_date'])}</span></td></tr>"
            for r in of_scheme.filter(pl.col("kind") == "not_covered").iter_rows(named=True)
        ]
        headings = ("indicator", "meaning", "days", "fires at, and why", "fired", "source")
        parts.append(
            f"<h2>{html.escape(scheme.replace('_', ' ').capitalize())}</h2>\n"
            + _table(headings, indicators, f"indicators_{scheme}")
            + "<h3>Signature over the pillars</h3>"
            + _table(("pillar", "weight", "reason"), signature, f"signature_{scheme}")
            + "<h3>Named by the alerts, not covered by our columns</h3>"
            + _table(("indicator", "needs", "source"), missing, f"missing_{scheme}")
        )
    return "\n".join(parts)


def catalogue_page(features: pl.DataFrame, weakened: pl.DataFrame, schemes: pl.DataFrame, note: str) -> str:
    """The page as text.

    Parameters
    ----------
    features : rows of ``features.feature_catalogue``.
    weakened : rows of ``features.weakened_pillars``.
    schemes : rows of ``features.scheme_catalogue``.
    note : one sentence on the run: source and weeks profiled.
    """
    ordered = features.sort("pillar", "feature")
    counts = ordered.group_by("pillar", maintain_order=True).len()
    buttons = "".join(
        f'<button type="button" data-pillar="{_text(p)}" aria-pressed="false">'
        f"{_text(_PILLARS.get(p, p))} ({n})</button>"
        for p, n in counts.iter_rows()
    )
    headings = ("feature", "meaning", "days", "unit", "null", "median (5–95 %)", "distribution", "source", "requires")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>B-CRS feature catalogue</title>'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>Feature catalogue</h1>\n"
        f'<p class="lead">{ordered.height} features in {counts.height} pillars, generated from the contracts in the '
        f"code and from the last run. {html.escape(note)} Bars: 24 equal bins from the 1st to the 99th percentile, "
        "heights are square roots of counts.</p>\n"
        '<p><a href="#weakened_pillars">Weakened pillars</a> · <a href="#schemes">Schemes</a></p>\n'
        '<div class="tools"><input id="search" type="search" placeholder="Search name, meaning, source, input column" '
        f'aria-label="Search features">{buttons}<output id="found"></output></div>\n'
        + _table(headings, [_feature_row(r) for r in ordered.iter_rows(named=True)], "features", is_sortable=True)
        + '\n<h2 id="weakened_pillars">Weakened pillars</h2>\n<p class="lead">Features that are null for every client '
        "of the newest weeks, and the input this source lacks.</p>\n"
        + _weakened_section(weakened)
        + '\n<h2 id="schemes">Scheme indicators</h2>\n<p class="lead">Every number with its unit, reason, source and '
        "date. Multiples of the reporting threshold are shown with the amount they stand for. Fired: share of the "
        "clients of the newest weeks for which the indicator fired.</p>\n"
        + _scheme_section(schemes)
        + f"\n</main><script>{_SCRIPT}</script></body></html>\n"
    )
