"""Run parts of the benchmark at one size in this process: ``python -m benchmarks --size 1000000 --out rows.json``.

A table grows on the terminal while it runs; the rows are written as JSON when all are there. ``bcrs bench`` calls it
once for each part, so that the memory a part reports is its own; ``--parts ""`` only makes the transactions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.record import COLOURS, PARTS_BY_SIZE, PARTS_ONCE, Recorder, Row

PARTS = (*PARTS_BY_SIZE, *PARTS_ONCE)


def line(row: Row) -> str:
    """One row as text for the terminal."""
    seconds = "" if row.seconds is None else f"{row.seconds:9.3f} s"
    colour = COLOURS[row.met]
    if row.gib is not None:
        bound = "" if row.target is None else f" (asked ≤ {row.target:g})"
        seconds = f"[{colour}]{row.gib:9.2f} GiB[/{colour}]{bound}"
    against = ""
    if row.peer_seconds is not None and row.ratio is not None:
        bound = "" if row.target is None else f" (asked {'≤' if row.most else '≥'} {row.target:.3g})"
        against = f"  [{colour}]{row.ratio:8.2f}×[/{colour}]{bound} {row.peer} {row.peer_seconds:.3f} s"
    elif row.peer:
        against = f"  {row.peer}"
    values = {True: "  values equal", False: "  [red]values differ[/red]", None: ""}[row.equal]
    note = f"\n      [dim]{row.note}[/dim]" if row.note else ""
    return f"{row.name}  [dim]{row.size}[/dim]\n   {seconds}{against}{values}{note}"


def main() -> None:
    """Parse arguments, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="transactions")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the rows")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--keep", type=Path, help="folder to keep the made transactions in for another call")
    arguments = parser.parse_args()
    parts = [p for p in arguments.parts.split(",") if p]
    if set(parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(set(parts) - set(PARTS)))}. Choose among {', '.join(PARTS)}.")
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    record = Recorder(lambda row: console.print(line(row)))
    # the slow imports after the arguments are known to be right
    from benchmarks import cold, explanations, networks, series, windows

    size = f"{arguments.size:,} transactions"
    with tempfile.TemporaryDirectory(prefix="bcrs-bench-") as folder:
        root = Path(folder)
        if "compile" in parts:
            cold.compile_seconds(record, root)
        if not parts or set(PARTS_BY_SIZE) & set(parts):
            place = arguments.keep or root
            place.mkdir(parents=True, exist_ok=True)
            file = place / f"bench_{arguments.size}.duckdb"
            if not file.exists():
                console.print(f"[dim]making {size} ...[/dim]")
            start = time.perf_counter()
            warehouse = windows.prepare(file, arguments.size)
            console.print(f"[dim]there in {time.perf_counter() - start:.0f} s[/dim]")
            if parts:
                console.print("[dim]compiling on a small world ...[/dim]")
                cold.all_kernels()
            if "additive" in parts:
                windows.additive(record, warehouse, size)
            if "windows" in parts:
                windows.everything(record, warehouse, size)
            if "networks" in parts:
                graph, history = networks.whole_graphs(record, warehouse, size)
                networks.vertex_and_fans(record, graph, history, size)
                networks.cycles(record, graph, history, size)
            if "series" in parts:
                series.characteristics(record, warehouse, size)
        if "explanations" in parts:
            explanations.committee_contributions(record)
        if "weeks" in parts:
            windows.new_week(record, root, min(arguments.size, 1_000_000))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps([row.as_json() for row in record.rows], indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
