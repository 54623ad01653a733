"""The frame of the generated pages: one style, tables from frames, tiles, figures with plotly.js embedded once.

Rule of this file: it turns what it is handed into HTML and escapes it; it knows no mart, threshold or path. Pages
are whole: no network, no other file.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.offline import get_plotlyjs

COLOURS = {
    "stable": "#2e7d5b",
    "watch": "#b98900",
    "drift": "#c0561f",
    "gross": "#a01c2c",
    "not judged": "#7b8794",
}
"""Colour of each verdict; the word always stands beside it."""

PALETTE = ("#2f6690", "#c0561f", "#2e7d5b", "#7a4f9a", "#b98900", "#4f9aa8", "#8c5a3c", "#a01c2c", "#5b6b7a", "#6a8f2f")

STYLE = """
:root { --ink: #1c2733; --soft: #56646f; --line: #d9dfe5; --back: #f5f7f9; --blue: #2f6690; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", sans-serif; margin: 0; color: var(--ink); background: #fff; }
main { max-width: 1180px; margin: 0 auto; padding: 1.4rem 1.6rem 5rem; }
h1 { font-size: 1.7rem; margin: .2rem 0 .3rem; } h2 { font-size: 1.3rem; margin: 2.6rem 0 .5rem; padding-top: .4rem;
  border-top: 1px solid var(--line); } h3 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
p, ul, ol { max-width: 82ch; } p.lead { color: var(--soft); margin-top: 0; }
nav { font-size: .92rem; margin: .8rem 0; } nav a { margin-right: 1rem; } a { color: var(--blue); }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; min-width: 40%; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { border-bottom: 1px solid var(--line); padding: .32rem .65rem; text-align: left; vertical-align: top; }
th { background: var(--back); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.short { white-space: nowrap; } td.wide { min-width: 22rem; max-width: 40rem;
  overflow-wrap: anywhere; } td details { margin: 0; }
code { font: .86em ui-monospace, monospace; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1rem 0; }
.tile { border: 1px solid var(--line); border-left: 6px solid var(--soft); border-radius: 4px; padding: .5rem .9rem;
  min-width: 11rem; background: #fff; } .tile b { display: block; font-size: 1.25rem; }
.tile span { color: var(--soft); font-size: .85rem; display: block; max-width: 17rem; }
.status { font-weight: 600; white-space: nowrap; } .note { background: var(--back); border-left: 4px solid var(--line);
  padding: .5rem .9rem; max-width: 82ch; } details { margin: .4rem 0; } summary { cursor: pointer; color: var(--blue); }
.missing { color: #8a4b00; font-style: italic; }
@media print { nav { display: none; } h2 { break-after: avoid; } }
"""


def text(value: object) -> str:
    """A value as escaped text; numbers short, missing ones as a dash.

    >>> text(None), text(0.123456), text(1234567), text("a<b"), text(2.0), text(True)
    ('–', '0.123', '1,234,567', 'a&lt;b', '2', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return html.escape(str(value))


def number(value: float | None) -> str:
    """A number with three significant digits at least, integers whole.

    >>> number(0.00012345), number(123.456), number(0.0), number(None)
    ('0.000123', '123.5', '0', '–')
    """
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def status(word: str) -> str:
    """A verdict, coloured and in words."""
    return f'<span class="status" style="color:{COLOURS.get(word, "#1c2733")}">● {html.escape(word)}</span>'


def table(
    frame: pl.DataFrame,
    headings: Mapping[str, str] | None = None,
    caption: str = "",
    wide: Iterable[str] = (),
    raw: Iterable[str] = (),
) -> str:
    """A frame as an HTML table.

    Parameters
    ----------
    headings : column -> heading, in the order shown; all columns under their names where None.
    wide : columns of running text. raw : columns that hold HTML already.
    """
    headings = headings or {c: c.replace("_", " ") for c in frame.columns}
    wide, raw = set(wide), set(raw)
    is_number = {c: frame[c].dtype.is_numeric() for c in headings}
    is_short = {
        c: frame[c].dtype == pl.Date
        or (frame[c].dtype == pl.String and not (frame[c].str.len_chars().fill_null(0) > 30).any())
        for c in headings
    }

    def cell(column: str, value: Any) -> str:
        kind = "number" if is_number[column] else "wide" if column in wide else "short" if is_short[column] else ""
        shown = status(str(value)) if column == "status" and value else value if column in raw else text(value)
        return f'<td class="{kind}">{shown}</td>' if kind else f"<td>{shown}</td>"

    head = "".join(
        f'<th scope="col"{" class=number" if is_number[c] else ""}>{html.escape(h)}</th>' for c, h in headings.items()
    )
    rows = "".join("<tr>" + "".join(cell(c, row[c]) for c in headings) + "</tr>" for row in frame.iter_rows(named=True))
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def tiles(entries: Sequence[tuple[str, str, str, str]]) -> str:
    """Tiles of (heading, value, note, colour); value and note are HTML already."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile" style="border-left-color:{colour or "#2f6690"}"><span>{html.escape(heading)}</span>'
            f"<b>{value}</b><span>{note}</span></div>"
            for heading, value, note, colour in entries
        )
        + "</div>"
    )


def figure(drawing: go.Figure, title: str, height: int = 380) -> str:
    """A Plotly figure; needs a page with ``has_figures``."""
    drawing.update_layout(
        title={"text": title, "font": {"size": 15}, "x": 0, "xanchor": "left"},
        height=height,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        template="plotly_white",
        colorway=PALETTE,
        font={"family": "system-ui, Segoe UI, sans-serif", "size": 12, "color": "#1c2733"},
        legend={"orientation": "h", "y": -0.18},
    )
    # Plotly's own ids are random, and a page made twice from the same frames is to be the same
    name = "figure-" + "".join(c if c.isalnum() else "-" for c in title.lower())
    inner = drawing.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displaylogo": False, "responsive": True}
    )
    return f'<figure role="img" aria-label="{html.escape(title)}" style="margin:1rem 0">{inner}</figure>'


def page(title: str, lead: str, body: str, has_figures: bool = False) -> str:
    """A whole page; ``lead`` and ``body`` are HTML."""
    script = f"<script>{get_plotlyjs()}</script>" if has_figures else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>{script}</head>"
        f'<body><main><h1>{html.escape(title)}</h1><p class="lead">{lead}</p>{body}</main></body></html>'
    )
