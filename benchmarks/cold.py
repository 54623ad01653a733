"""Compilation: what the first run on a machine pays once, and warming up before anything is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import series, windows, world
from benchmarks.record import Recorder, Row, timed
from ml_assets.config import FeatureConfig
from ml_assets.features import p1_volume_velocity as p1
from ml_assets.features import p2_network as p2
from ml_assets.features import p3_temporal as p3
from ml_assets.features import p4_typology as p4
from ml_assets.features.history import TRANSACTION_COLUMNS, build_history, build_spine

_SCRIPT = "import benchmarks.cold as c; c.report_compilation()"


def all_kernels() -> None:
    """Build P1 to P4 once on a thousand transactions: every kernel they use is compiled or loaded."""
    import polars as pl

    frame = world.transactions(5_000).select(TRANSACTION_COLUMNS).with_columns(pl.col("amount_base") / 100)
    history = build_history(frame)
    ids = pl.DataFrame({"client_id": frame["client_id"].unique().sort()})
    spine = build_spine(history, ids.with_columns(as_of_date=pl.lit(windows.LAST_WEEK)))
    config = FeatureConfig()
    p1._history_statistics(history, spine)
    first_seen = pl.DataFrame(
        schema={"client_id": pl.String, "counterparty_id": pl.String, "first_known_date": pl.Date}
    )
    p2.build(history, spine, config, first_seen=first_seen, jurisdictions=windows.JURISDICTIONS)
    p3.build(history, spine, config, selection=series.selection())
    p4.build_with_hits(history, spine, config)


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


def warm_up(folder: Path) -> None:
    """Compile or load everything that will be timed."""
    all_kernels()


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
        Row("P1 to P4 in a new process, kernels cached", "5,000 transactions", warm, "the same, cache empty", cold,
            note=f"compiling costs {cold - warm:.0f} s once, for {len(compiled)} kernels; slowest: "
            + ", ".join(f"{name} {seconds:.1f} s" for name, (seconds, _) in slowest)
            + "; compiled for several signatures: "
            + (", ".join(f"{name} ({count})" for name, count in sorted(several.items())) or "none"))
    )  # fmt: skip
