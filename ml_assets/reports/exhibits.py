"""Exhibits: a figure or a table that carries the mart it was made from, so that a page can be checked against it.

Rule of this file: an exhibit shows rows of one mart under equality filters. Its page part embeds the name of the
mart, the filters, the columns and the rows as JSON; every number written in a table or in words is a ``data``
element that points at one of these rows; every number drawn is one of their values. :func:`page_problems` reads a
finished page and compares all of that with the marts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape as _escape
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import polars as pl


def escape(text: str) -> str:
    """Text for HTML, quotes of both kinds included."""
    return _escape(text, quote=True)


FORMATS: dict[str, Callable[[float], str]] = {
    "three": lambda v: f"{v:.3f}",
    "four": lambda v: f"{v:.4f}",
    "percent": lambda v: f"{100 * v:.1f} %",
    "signed": lambda v: f"{v:+.3f}",
    "count": lambda v: f"{v:,.0f}",
    "plain": lambda v: f"{v:g}",
}
"""How a number is written; named in the page, so that the writing can be checked too."""


@dataclass(frozen=True)
class Exhibit:
    """Rows of a mart with what is made of them.

    Parameters
    ----------
    key : id on the page. mart : table in schema marts. filters : column -> value, all equal.
    frame : the mart's rows under the filters, in the order shown; ``columns`` of them are embedded.
    figure : drawn from the rows, or None. table : HTML made by :func:`table`, or empty.
    """

    key: str
    title: str
    words: str
    mart: str
    filters: Mapping[str, Any]
    frame: pl.DataFrame
    columns: tuple[str, ...]
    figure: go.Figure | None = None
    table: str = ""
    is_folded: bool = False

    def data(self) -> dict[str, Any]:
        """What the page embeds."""
        rows = [[_plain(v) for v in row] for row in self.frame.select(self.columns).iter_rows()]
        return {"mart": self.mart, "filters": dict(self.filters), "columns": list(self.columns), "rows": rows}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def select(marts: Mapping[str, pl.DataFrame], mart: str, filters: Mapping[str, Any]) -> pl.DataFrame:
    """The mart's rows that equal the filters; an empty frame without columns where there is no such mart."""
    if mart not in marts:
        return pl.DataFrame()
    frame = marts[mart].with_columns(pl.selectors.decimal().cast(pl.Float64))
    for column, value in filters.items():
        frame = frame.filter(pl.col(column) == value)
    return frame


def number(key: str, row: int, column: str, value: Any, style: str) -> str:
    """A number on the page that names where it comes from; a dash where it is null."""
    if value is None:
        return "<span class='none'>–</span>"
    shown = FORMATS[style](float(value))
    return (
        f"<data data-exhibit='{key}' data-row='{row}' data-column='{column}' data-style='{style}' "
        f"value='{value!r}'>{shown}</data>"
    )


def with_interval(
    key: str, at: int, row: Mapping[str, Any], column: str, style: str, low: str = "interval_low", high: str = ""
) -> str:
    """``value [low, high]``; the reason in words where the value is null."""
    if row[column] is None:
        return f"<span class='reason'>{escape(str(row.get('reason') or 'not measured'))}</span>"
    high = high or low.replace("_low", "_high")
    out = number(key, at, column, row[column], style)
    if row.get(low) is not None:
        limits = ", ".join(number(key, at, c, row[c], style) for c in (low, high))
        out += f" <span class='interval'>[{limits}]</span>"
    return out


Cell = Callable[[int, Mapping[str, Any]], str]


def text_cell(column: str, names: Mapping[str, str] | None = None) -> Cell:
    """A cell with a text column, through ``names`` where given."""
    return lambda _, row: escape(str((names or {}).get(row[column], row[column]) if row[column] is not None else "–"))


def number_cell(key: str, column: str, style: str) -> Cell:
    """A cell with a number."""
    return lambda at, row: number(key, at, column, row[column], style)


def interval_cell(key: str, column: str, style: str, low: str = "interval_low") -> Cell:
    """A cell with a number and its interval."""
    return lambda at, row: with_interval(key, at, row, column, style, low)


def table(
    frame: pl.DataFrame, cells: Sequence[tuple[str, Cell]], mark: Callable[[Mapping[str, Any]], bool] | None = None
) -> str:
    """An HTML table, one row per row of ``frame``; rows for which ``mark`` holds stand out."""
    head = "".join(f"<th scope='col'>{escape(h)}</th>" for h, _ in cells)
    body = []
    for at, row in enumerate(frame.iter_rows(named=True)):
        marked = " class='marked'" if mark and mark(row) else ""
        body.append(f"<tr{marked}>" + "".join(f"<td>{cell(at, row)}</td>" for _, cell in cells) + "</tr>")
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"


def figure_json(figure: go.Figure) -> str:
    """The figure as JSON with plain lists; safe inside a script element."""
    return json.dumps(figure.to_plotly_json(), default=_listed, allow_nan=False).replace("</", "<\\/")


def _listed(value: Any) -> Any:
    return (
        value.tolist()
        if hasattr(value, "tolist")
        else value.to_plotly_json()
        if hasattr(value, "to_plotly_json")
        else str(value)
    )


def section(exhibit: Exhibit) -> str:
    """An exhibit as a section of the page."""
    data = json.dumps(exhibit.data(), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    out = [
        f"<section id='{exhibit.key}' aria-labelledby='{exhibit.key}-title'>",
        f"<h2 id='{exhibit.key}-title'>{escape(exhibit.title)}</h2>",
        f"<p class='words'>{exhibit.words}</p>" if exhibit.words else "",
    ]
    if exhibit.figure is not None:
        out.append(
            f"<div class='figure' id='figure-{exhibit.key}' role='img' aria-label='{escape(exhibit.title)}'></div>"
        )
        out.append(
            f"<script type='application/json' class='figure-data' data-exhibit='{exhibit.key}'>"
            f"{figure_json(exhibit.figure)}</script>"
        )
    if exhibit.table:
        out.append(
            f"<details><summary>Numbers</summary>{exhibit.table}</details>" if exhibit.is_folded else exhibit.table
        )
    filters = "".join(f", {c} = {v}" for c, v in exhibit.filters.items())
    out.append(f"<p class='source'>marts.{exhibit.mart}{escape(filters)}</p>")
    out.append(f"<script type='application/json' class='exhibit-data' data-exhibit='{exhibit.key}'>{data}</script>")
    return "\n".join([*out, "</section>"])


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.exhibits: dict[str, dict[str, Any]] = {}
        self.figures: dict[str, dict[str, Any]] = {}
        self.numbers: list[tuple[dict[str, str], str]] = []
        self._script: tuple[str, str] | None = None
        self._number: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        if tag == "script" and "data-exhibit" in given:
            self._script = given["class"], given["data-exhibit"]
        elif tag == "data":
            self._number = given

    def handle_data(self, data: str) -> None:
        if self._script:
            into = self.exhibits if self._script[0] == "exhibit-data" else self.figures
            into[self._script[1]] = json.loads(data)
            self._script = None
        elif self._number is not None:
            self.numbers.append((self._number, data))
            self._number = None


def read_page(page: str) -> tuple[dict[str, Any], dict[str, Any], list[tuple[dict[str, str], str]]]:
    """Exhibits and figures by key, and the numbers written on a page: (attributes, text)."""
    parser = _Page()
    parser.feed(page)
    return parser.exhibits, parser.figures, parser.numbers


def drawn_numbers(figure: Mapping[str, Any]) -> list[float]:
    """Every number a figure draws: x, y and error bars of all traces."""
    out: list[float] = []
    for trace in figure["data"]:
        arrays = [trace.get("x"), trace.get("y")]
        arrays += [
            e[k] for e in (trace.get("error_x"), trace.get("error_y")) if e for k in ("array", "arrayminus") if k in e
        ]
        for values in arrays:
            out += [float(v) for v in values or [] if isinstance(v, int | float) and not isinstance(v, bool)]
    return out


def page_problems(page: str, marts: Mapping[str, pl.DataFrame]) -> list[str]:
    """What a finished page says that its marts do not; empty where everything agrees.

    Compared are the embedded rows with the mart under the same filters, every number written with the row it names
    and with its writing, and every number drawn with the values of the exhibit's rows.
    """
    problems: list[str] = []
    exhibits, figures, numbers = read_page(page)
    if not exhibits:
        return ["The page holds no exhibit."]
    for key, data in exhibits.items():
        found = select(marts, data["mart"], data["filters"])
        if found.is_empty() and data["rows"]:
            problems.append(f"{key}: marts.{data['mart']} has no such rows")
            continue
        wanted = [[_plain(v) for v in row] for row in found.select(data["columns"]).iter_rows()] if found.width else []
        if sorted(map(repr, wanted)) != sorted(map(repr, data["rows"])):
            problems.append(f"{key}: embedded rows differ from marts.{data['mart']}")
    for attributes, shown in numbers:
        data = exhibits.get(attributes["data-exhibit"])
        if data is None:
            problems.append(f"a number names an exhibit that is not there: {attributes['data-exhibit']}")
            continue
        value = data["rows"][int(attributes["data-row"])][data["columns"].index(attributes["data-column"])]
        if value is None or float(attributes["value"]) != float(value):
            problems.append(f"{attributes['data-exhibit']}: {attributes['value']} is not {value}")
        elif FORMATS[attributes["data-style"]](float(value)) != shown:
            problems.append(f"{attributes['data-exhibit']}: {value} is written as {shown}")
    for key, figure in figures.items():
        there = {float(v) for row in exhibits[key]["rows"] for v in row if isinstance(v, int | float)}
        strange = [v for v in drawn_numbers(figure) if v not in there]
        if strange:
            problems.append(f"{key}: {len(strange)} drawn numbers are not in its rows, such as {strange[0]}")
    return problems
