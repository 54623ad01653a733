"""Compilation: what the first run on a machine pays once, and warming up before anything is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.record import Recorder, Row, timed
from ml_assets.kernels import PARTS, compile_part

_SCRIPT = "import benchmarks.cold as c; c.report_compilation()"


def all_kernels() -> None:
    """Build every part that has kernels once on a few transactions: each is compiled or loaded."""
    for name in PARTS:
        compile_part(name)


def report_compilation() -> None:
    """Run :func:`all_kernels` and print, as JSON, what numba compiled: kernel, seconds without callees, signatures."""
    from numba.core import event

    spent: dict[str, list[float]] = {}
    open_: list[tuple[str, float, list[float]]] = []
    with event.install_recorder("numba:compile") as recorder:
        all_kernels()
    for moment, happened in recorder.buffer:
        if happened.is_start:
            function = happened.data["dispatcher"].py_func
            open_.append((f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}", moment, [0.0]))
        else:
            name, start, inner = open_.pop()
            spent.setdefault(name, []).append(moment - start - inner[0])
            if open_:
                open_[-1][2][0] += moment - start
    print(json.dumps({name: [sum(seconds), len(seconds)] for name, seconds in sorted(spent.items())}))


def compile_seconds(record: Recorder, folder: Path) -> None:
    """Seconds a fresh cache costs: the same small build in two new processes, the cache empty and then filled."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "numba")}

    def run() -> dict[str, list[float]]:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            check=True,
            env=environment,
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
        return found

    compiled, cold = timed(run)
    _, warm = timed(run)
    slowest = sorted(compiled.items(), key=lambda item: -item[1][0])[:8]
    several = {name: int(count) for name, (_, count) in compiled.items() if count > 1}
    record.add(
        Row("every kernel once in a new process, cached", "3,000 transactions", warm, "the same, cache empty", cold,
            note=f"compiling costs {cold - warm:.0f} s once, for {len(compiled)} kernels; slowest: "
            + ", ".join(f"{name} {seconds:.1f} s" for name, (seconds, _) in slowest)
            + "; compiled for several signatures: "
            + (", ".join(f"{name} ({count})" for name, count in sorted(several.items())) or "none"))
    )  # fmt: skip
