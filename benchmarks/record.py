"""Rows of the benchmark: one measured thing, its peer, and whether both gave the same values."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from rich.table import Table

T = TypeVar("T")

GIB: Final = 2**30
MEMORY_GIB: Final = 8
"""What the product may hold at any size of the benchmark."""


COLOURS: Final = {True: "green", False: "red", None: "default"}
"""Colour on the terminal by whether a target is met."""

PARTS_BY_SIZE: Final = ("additive", "windows", "networks", "series")
"""Parts that measure the made transactions."""
PARTS_ONCE: Final = ("compile", "explanations", "weeks")
"""Parts measured at the first size only."""


@dataclass
class Row:
    """One line of ``benchmark.json``.

    Attributes
    ----------
    name, size : what was measured, and on how many transactions (or nodes, series) as text.
    seconds : of the product, compiled code warm; None where only the peer was run.
    peer, peer_seconds : the other way, and its seconds; an extrapolated value is named as such in ``note``.
    ratio : ``peer_seconds / seconds``: how many times faster the product is.
    equal : do both give the same values; None where they are not comparable.
    target : least (or, with ``most``, greatest) ratio asked for; None where none was set.
    gib : memory of the process, GiB, in rows that measure it; the target is then a number of GiB.
    most : the target is an upper bound.
    met : whether the target is met; None without one.
    note : samples, extrapolations, what differs.
    """

    name: str
    size: str
    seconds: float | None
    peer: str = ""
    peer_seconds: float | None = None
    ratio: float | None = None
    equal: bool | None = None
    target: float | None = None
    gib: float | None = None
    most: bool = False
    met: bool | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.ratio is None and self.seconds and self.peer_seconds is not None:
            self.ratio = self.peer_seconds / self.seconds
        measured = self.ratio if self.gib is None else self.gib
        if self.target is not None and measured is not None:
            self.met = measured <= self.target if self.most else measured >= self.target

    def as_json(self) -> dict[str, Any]:
        """The row with rounded seconds."""
        content = asdict(self)
        for key in ("seconds", "peer_seconds"):
            if content[key] is not None:
                content[key] = round(content[key], 6)
        for key in ("ratio", "gib"):
            if content[key] is not None:
                content[key] = round(content[key], 3)
        return content


class Recorder:
    """Collects rows and hands each to ``show`` as soon as it is known."""

    def __init__(self, show: Callable[[Row], None]) -> None:
        self.rows: list[Row] = []
        self._show = show

    def add(self, row: Row) -> Row:
        """Keep the row and show it."""
        self.rows.append(row)
        self._show(row)
        return row

    def memory(self, what: str, size: str) -> Row:
        """Add what this process has held at most until now; to be asked before a peer runs in it."""
        note = "greatest resident set of a process that has done nothing else, before any peer ran in it"
        return self.add(Row(f"memory: {what}", size, None, target=MEMORY_GIB, gib=peak_gib(), most=True, note=note))


def timed(work: Callable[[], T], repeat: int = 1) -> tuple[T, float]:
    """Result of ``work`` and its least wall seconds over ``repeat`` calls."""
    best = float("inf")
    result: T
    for _ in range(max(repeat, 1)):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best


def peak_gib() -> float:
    """Greatest memory this process has held so far, GiB (resident set)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


GROWN: Final = (
    "additive windows with the 12-month baseline",
    "all window features of P1, P3 and degrees, HHI of P2",
    "building the week's graph",
    "P2 of one week, all features",
)
"""Rows whose seconds are compared between sizes."""


def growth(rows: list[dict[str, Any]], sizes: list[int]) -> list[dict[str, Any]]:
    """How the product's seconds grow from the smallest size to the largest: one row each, asked for at most 1.1 times.

    ``ratio`` is seconds at the largest size over seconds at the smallest; empty where one size was measured.
    """
    if len(set(sizes)) < 2:
        return []
    low, high = min(sizes), max(sizes)
    found = []
    for name in GROWN:
        seconds = {
            size: [r["seconds"] for r in rows if r["name"] == name and r["size"] == f"{size:,} transactions"]
            for size in (low, high)
        }
        if seconds[low] and seconds[high]:
            small, large = seconds[low][0], seconds[high][0]
            target = 1.1 * high / low
            found.append(
                Row(
                    f"growth of: {name}",
                    f"{low:,} to {high:,} transactions",
                    large,
                    f"itself on {low:,}",
                    small,
                    large / small,
                    target=target,
                    most=True,
                    note="ratio is the larger size's seconds over the smaller's",
                ).as_json()
            )
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a table for the terminal."""
    shown = Table(title="benchmark", title_justify="left", show_lines=False)
    for heading in ("what", "on", "seconds", "GiB", "peer", "peer seconds", "ratio", "asked", "values"):
        shown.add_column(heading, overflow="fold")
    for r in rows:
        colour = COLOURS[r["met"]]
        asked = "" if r["target"] is None else f"{'≤' if r['most'] else '≥'} {r['target']:.3g}"
        shown.add_row(
            r["name"],
            r["size"],
            "" if r["seconds"] is None else f"{r['seconds']:.3f}",
            "" if r["gib"] is None else f"[{colour}]{r['gib']:.1f}[/{colour}]",
            r["peer"],
            "" if r["peer_seconds"] is None else f"{r['peer_seconds']:.3f}",
            "" if r["ratio"] is None else f"[{colour}]{r['ratio']:.2f}[/{colour}]",
            asked,
            {True: "equal", False: "[red]differ[/red]"}.get(r["equal"], ""),
        )
    return shown
