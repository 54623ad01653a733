"""The command line: run the main job, open the UI, the marts and the docs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from ml_assets.garbage import kept_for_good

if TYPE_CHECKING:
    from ml_assets.explain.replay import Replay

app = typer.Typer(add_completion=False, no_args_is_help=True, help="B-CRS: a behavioural client risk score.")
# bound to the real stdout: the main job sends what dbt prints elsewhere
console = Console(file=sys.stdout, highlight=False)
ROOT = Path(__file__).resolve().parents[1]
BINARIES = Path(sys.executable).parent


def _environment(profile: str | None = None, source: str | None = None) -> None:
    """Set what the wiring reads when it is imported: ``BCRS_*`` and Dagster's home."""
    if profile is not None:
        os.environ["BCRS_PROFILE"] = profile
    if source is not None:
        os.environ["BCRS_SOURCE"] = source
    from ml_assets.config import Settings

    settings = Settings()
    # children (dbt, Dagster's servers) start in other folders: hand them the absolute path
    os.environ["BCRS_DATA_DIR"] = str(settings.root)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["BCRS_DAGSTER_EVENTS"] = str(settings.dagster_home / "events")
    # idle threads must not spin: two cores are shared by DuckDB, polars and the fits
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # the weeks of one asset, and what a run plans, reach the event log in one transaction
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "orchestration" / "dagster.yaml", settings.dagster_home / "dagster.yaml")
    if source is not None:
        settings.remember()


class _Terminal:
    """Progress on the terminal, one line per step."""

    def stage(self, name: str, note: str) -> None:
        console.print(f"[bold]{name}[/bold]  [dim]{note}[/dim]")

    def step(self, name: str, seconds: float | None) -> None:
        readable = name.split("__")[-1]
        if seconds is None:
            if console.is_terminal:
                console.print(f"  [dim]· {readable} ...[/dim]", end="\r")
        else:
            console.print(f"  [green]✓[/green] {readable:<42} {seconds:8.1f} s")

    def skip(self, name: str, note: str) -> None:
        console.print(f"[bold]{name}[/bold]  [dim]nothing to do: {note}[/dim]")


@app.command()
def run(
    profile: Annotated[str, typer.Option(help="tiny, demo or bank")] = "demo",
    source: Annotated[str, typer.Option(help="simulated, folder:<path> or <format>:<path>")] = "simulated",
) -> None:
    """Run the main job and print its summary; does only what has changed."""
    _main_job(profile, source)


@app.command()
def report(
    profile: Annotated[str, typer.Option(help="tiny, demo or bank")] = "demo",
    source: Annotated[str, typer.Option(help="simulated, folder:<path> or <format>:<path>")] = "simulated",
) -> None:
    """Run the main job where it is not up to date, then measure the evidence and write its page and JSON."""
    _main_job(profile, source, job="report", note="test weeks, ablation, refits, parity, page")


def _main_job(profile: str, source: str, job: str | None = None, note: str = "") -> None:
    """The main job under its lock and, after it, ``job``."""
    from ml_assets.config import Profile

    if profile not in set(Profile):
        _fail(f"PROFILE={profile} is unknown. Choose one of: {', '.join(Profile)}.")
    from ml_assets.sources import InputError, check_source

    try:
        source = check_source(source)
    except InputError as error:
        _fail(str(error))
    _environment(profile, source)
    from filelock import FileLock, Timeout

    from ml_assets.config import Settings

    settings = Settings()
    try:
        with FileLock(settings.root / ".main_job.lock", timeout=0):
            _run_locked(settings.reports, job, note)
    except Timeout:
        _fail(
            f"Another main job is at work in {settings.root}. Wait for it, or use another folder: BCRS_DATA_DIR=... ."
        )


def _run_locked(reports: Path, job: str | None, note: str) -> None:
    from apps.dbt_command import standing_by

    # before the definitions: dbt gets ready on another core while they load
    with standing_by(ROOT / "dbt_project"):
        _run_stages(reports, job, note)


def _run_stages(reports: Path, job: str | None, note: str) -> None:
    with console.status("loading definitions ..."), kept_for_good():
        import dagster as dg

        from orchestration.main_job import StageFailedError, run_job, run_main_job
        from orchestration.summary import write_summary
    with dg.DagsterInstance.get() as instance:
        try:
            seconds = run_main_job(instance, _Terminal())
            if job is not None:
                write_summary(reports, seconds)
                seconds = run_job(instance, job, note, _Terminal())
        except StageFailedError as error:
            _fail(
                f"{error.message}\n\n[dim]stage {error.stage}, step {error.step}, run {error.run_id}[/dim]\n"
                "Results of the last good run stay readable (make sql). "
                "Put right what the message says and run the same command again: it goes on from here. "
                "The full trace is in Dagster's UI (make ui)."
            )
        summary = write_summary(reports, seconds)
    _print_summary(summary, reports)
    if job == "report":
        console.print(f"[bold]evidence[/bold]   {reports / 'report.html'}  (numbers: {reports / 'results.json'})")


def _print_summary(summary: dict, reports: Path) -> None:
    console.print()
    console.print(
        f"[bold]{summary['source']}[/bold]  rows in {summary['rows_in']:,} = kept {summary['rows_kept']:,} "
        f"+ quarantined {summary['rows_quarantined']:,}   clients {summary['clients']:,}   "
        f"as-of weeks {summary['weeks']}"
    )
    if summary["model"]:
        console.print(f"[bold]model[/bold] {summary['model']['champion']}   {summary['model']['decision']}")
    models = Table(title="test weeks, 95 % intervals resampled by client", title_justify="left")
    for heading in ("model", "AUROC", "average precision"):
        models.add_column(heading)
    for name, m in summary["models"].items():
        models.add_row(name, _interval(m["auroc"], m["auroc_ci"]), _interval(m["ap"], m["ap_ci"]))
    console.print(models)
    for reason in summary["reasons"]:
        console.print(f"[yellow]note[/yellow] {reason}")
    clients = Table(title=f"riskiest clients as of {summary['as_of_date']}", title_justify="left")
    for heading in ("client", "B-CRS", "band", "main reason"):
        clients.add_column(heading)
    for c in summary["top_clients"]:
        score = "–" if c["bcrs_score"] is None else f"{c['bcrs_score']:.1f}"
        clients.add_row(c["client_id"], score, c["band"], c["main_reason"] or "–")
    console.print(clients)
    if summary["not_available"]:
        missing = ", ".join(sorted(summary["not_available"]))
        console.print(f"[yellow]not available in this source[/yellow]: {missing}")
    for pillar, weakened in summary["weakened_pillars"].items():
        console.print(f"[yellow]weakened[/yellow] {pillar}: {weakened['text']}")
    console.print(
        Panel(
            f"summary    {reports / 'summary.json'}\n"
            "marts      make sql      (DuckDB shell on the published marts, also while a run goes on)\n"
            "lineage    make ui       (Dagster: assets, checks, runs)\n"
            f"features   {reports / 'catalogue.html'}\n"
            "columns    make docs     (dbt docs)",
            title="where to look next",
            title_align="left",
        )
    )


def _interval(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "not computable"
    return f"{value:.3f}" + (f"  [{interval[0]:.3f}, {interval[1]:.3f}]".replace("[", r"\[") if interval else "")


@app.command()
def segments(
    profile: Annotated[str, typer.Option(help="of the main job, where none has run yet")] = "demo",
    source: Annotated[str, typer.Option(help="of the main job, where none has run yet")] = "simulated",
    credit: Annotated[Path | None, typer.Option(help="folder of the German credit customers")] = None,
) -> None:
    """Find segments and personas, simulate the policy, write the page; runs the main job first if there is none."""
    if credit is not None and not credit.exists():
        _fail(f"CREDIT={credit}: there is no such folder.")
    from ml_assets.config import Settings

    if not (Settings().warehouse.exists() and (Settings().warehouse.parent / "stages.json").exists()):
        _main_job(profile, source)
    _environment()
    from filelock import FileLock, Timeout

    settings = Settings()
    try:
        with FileLock(settings.root / ".main_job.lock", timeout=0):
            _segments_locked(settings.reports, credit)
    except Timeout:
        _fail(f"A job is at work in {settings.root}. Wait for it, or use another folder: BCRS_DATA_DIR=... .")


def _segments_locked(reports: Path, credit: Path | None) -> None:
    with console.status("loading definitions ..."), kept_for_good():
        import dagster as dg

        from orchestration.main_job import StageFailedError, is_scored, run_job
    if not is_scored():
        _fail("The main job has not come to its end here. Run `make run` first: it goes on from where it stopped.")
    folder = str(credit.resolve()) if credit else ""
    ops = {name: {"config": {"folder": folder}} for name in ("credit_personas", "reports__segments_page")}
    with dg.DagsterInstance.get() as instance:
        try:
            run_job(instance, "segments", "inputs, fits, personas, policy, marts, page", _Terminal(), ops)
        except StageFailedError as error:
            _fail(f"{error.message}\n\n[dim]stage {error.stage}, step {error.step}, run {error.run_id}[/dim]")
    console.print(f"[bold]segments[/bold]   {reports / 'segments.html'}  (numbers: {reports / 'segments.json'})")


@app.command()
def prepare() -> None:
    """Parse the dbt project and compile the kernels, so that the first run waits for neither."""
    _environment()
    from orchestration.defs.warehouse import ensure_manifest

    with console.status("parsing the dbt project ..."):
        console.print(f"dbt manifest: {ensure_manifest()}")
    from rich.progress import track

    from ml_assets.kernels import PARTS, compile_all

    for name in track(compile_all(), "compiling kernels", total=len(PARTS), console=console):
        console.print(f"compiled: {name}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="port of the web server")] = 3000,
    host: Annotated[str, typer.Option(help="address the web server listens on")] = "127.0.0.1",
) -> None:
    """Open Dagster's UI, with the daemon for schedules and the sensor."""
    _environment()
    console.print(f"Dagster on http://{host}:{port} (Ctrl-C stops it)")
    os.chdir(ROOT)
    command = str(BINARIES / "dagster")
    os.execv(command, [command, "dev", "-w", "workspace.yaml", "-h", host, "-p", str(port)])


@app.command()
def sql(query: Annotated[str | None, typer.Argument(help="one statement; without it a shell opens")] = None) -> None:
    """Open the published marts in the DuckDB shell, read-only."""
    from ml_assets.config import Settings

    serving = Settings().serving
    if not serving.exists():
        _fail(f"There are no published marts yet ({serving}). Run `make run` first.")
    command = str(BINARIES / "duckdb")
    arguments = [command, "-readonly", str(serving)]
    os.execv(command, [*arguments, "-c", query] if query else arguments)


@app.command()
def results(
    runs: Annotated[list[str], typer.Argument(help="<name>=<data folder of a finished run>, several")],
) -> None:
    """Print what several finished runs measured as Markdown: quality, size, and where the time went.

    The paired gains come from ``results.json``, so they are there for runs that have had their report.
    """
    import json

    from ml_assets.reports.results import quality_table, size_table, time_table

    summaries, paired = {}, {}
    for run_name in runs:
        name, _, folder = run_name.partition("=")
        path = Path(folder) / "reports" / "summary.json"
        if not path.is_file():
            _fail(f"{run_name}: there is no finished run ({path} is missing). Write <name>=<data folder>.")
        summaries[name] = json.loads(path.read_text(encoding="utf-8"))
        evidence = path.with_name("results.json")
        if evidence.is_file():
            # the file keeps what earlier sources of the same folder gave; the newest stands last
            paired[name] = list(json.loads(evidence.read_text(encoding="utf-8"))["paired"].values())[-1]
    print(quality_table(summaries, paired), size_table(summaries), time_table(summaries), sep="\n\n")


@app.command()
def replay(
    client: Annotated[str, typer.Option(help="client id")],
    as_of: Annotated[str, typer.Option(help="as-of date, a Monday, YYYY-MM-DD")],
    generation: Annotated[int | None, typer.Option(help="publication of the week, newest by default")] = None,
    json: Annotated[bool, typer.Option("--json", help="print the finding as JSON")] = False,
) -> None:
    """Rebuild a published score from what was known then; exit code 1 where it is not equal byte for byte."""
    from datetime import date

    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        _fail(f"AS_OF={as_of} is no date. Write YYYY-MM-DD, a Monday.")
    _environment()
    from filelock import FileLock, Timeout

    from ml_assets.config import Settings
    from ml_assets.models.registry import RegistryError

    folder = Settings().replay
    folder.mkdir(parents=True, exist_ok=True)
    from orchestration.replay import ReplayError
    from orchestration.replay import replay as rebuild

    try:
        with FileLock(folder / ".lock", timeout=0), console.status(f"rebuilding {day} ..."):
            found = rebuild(client, day, generation)
    except (ReplayError, RegistryError) as error:
        _fail(str(error))
    except Timeout:
        _fail(f"Another replay is at work in {folder}. Wait for it.")
    if json:
        print(found.to_json())
    else:
        _print_replay(found)
    if not found.is_equal:
        raise typer.Exit(1)


def _print_replay(found: Replay) -> None:
    for number, sentence in enumerate(found.sentences()):
        console.print(f"[bold]{sentence}[/bold]" if number == 0 else sentence)
    made = found.provenance
    facts = Table(title="what made the score", title_justify="left", show_header=False)
    facts.add_row("model", made.model_id)
    facts.add_row("publication", str(found.generation))
    facts.add_row("trained on", f"{made.train_weeks}, {made.source or 'source not recorded'}")
    facts.add_row("chosen and calibrated on", made.validation_weeks)
    for name, value in made.stored.items():
        shown = value if name != "tsfresh selection" else f"{len(value)} characters"
        facts.add_row(name, shown + ("" if made.present.get(name) == value else "  [yellow](another one now)[/yellow]"))
    console.print(facts)
    if found.pillars_moved is not None and found.features_moved is not None:
        moved = Table(title="what the late transactions would have moved", title_justify="left")
        for heading in ("pillar", "feature", "as known then", "with them"):
            moved.add_column(heading)
        for row in found.pillars_moved.iter_rows(named=True):
            moved.add_row(row["pillar"], "[bold]pillar score[/bold]", _figure(row["before"]), _figure(row["after"]))
        for row in found.features_moved.head(15).iter_rows(named=True):
            moved.add_row(row["pillar"], row["feature"], _figure(row["before"]), _figure(row["after"]))
        console.print(moved)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.6g}"


@app.command()
def promote(
    model: Annotated[str, typer.Option(help="model id, a folder in models/")],
    because: Annotated[str, typer.Option(help="the reason, kept beside the model")],
) -> None:
    """Make a saved model champion by hand, past the gates; the next `bcrs run` of new weeks scores with it."""
    _environment()
    from ml_assets.config import Settings
    from ml_assets.models.registry import RegistryError, load_bundle
    from ml_assets.models.tracking import TrackingError, appoint

    models = Settings().models
    try:
        load_bundle(models, model)
        appoint(models, model, because)
    except (RegistryError, TrackingError) as error:
        _fail(str(error))
    console.print(f"Model [bold]{model}[/bold] is champion: {because}")


@app.command()
def dossier() -> None:
    """Write the model dossier and the monitoring page from the published marts."""
    _environment()
    _need_marts()
    with console.status("loading definitions ..."):
        from orchestration.dossier import DossierError, write_dossier, write_monitoring
    try:
        console.print(f"dossier     {write_dossier()}")
        console.print(f"monitoring  {write_monitoring()}")
    except DossierError as error:
        _fail(str(error))


@app.command()
def thresholds(
    capacity: Annotated[int | None, typer.Option(help="reviews a week: the line lies under the last of them")] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="cost of a missed report over the cost of a review: the line is its inverse")
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="of sample sizes and bounds, e.g. 0.95")] = None,
    tolerable: Annotated[
        float | None, typer.Option(help="productive share tolerable below the line, e.g. 0.05")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="scored Monday, YYYY-MM-DD; the newest without it")] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="filled-in outcomes.csv; delivered dispositions without it")
    ] = None,
) -> None:
    """Plan the above/below-the-line test of the alert line, or read the line from its outcomes."""
    from datetime import date

    from pydantic import ValidationError

    _environment()
    _need_marts()
    from ml_assets.config import Settings, ThresholdConfig

    given = {"confidence_ratio": confidence, "tolerable_ratio": tolerable}
    try:
        config = ThresholdConfig.model_validate(
            Settings().config().thresholds.model_dump() | {k: v for k, v in given.items() if v is not None}
        )
        week = date.fromisoformat(as_of) if as_of else None
    except ValidationError as error:
        _fail("; ".join(f"--{str(e['loc'][0]).removesuffix('_ratio')}: {e['msg']}" for e in error.errors()))
    except ValueError:
        _fail(f"--as-of {as_of} is no date: write YYYY-MM-DD.")
    from orchestration.threshold_work import ThresholdError, make_pack

    try:
        pack = make_pack(config, capacity, cost_ratio, week, outcomes)
    except ThresholdError as error:
        _fail(str(error))
    plan = Table(
        title=f"week {pack.as_of}: line at B-CRS {100 * pack.cut.probability:.3g} ({pack.cut.reason}), "
        f"{pack.cut.clients} clients at or above",
        title_justify="left",
    )
    shown = pack.finding.strata if pack.finding else pack.strata
    columns = ["stratum", "population_count", "sample_count"]
    columns += ["reviewed_count", "productive_count", "verdict"] if pack.finding else []
    for column in columns:
        plan.add_column(column.removesuffix("_count"))
    for row in shown.select(columns).iter_rows():
        plan.add_row(*(str(value) for value in row))
    console.print(plan)
    if pack.finding:
        for reason in pack.finding.reasons:
            console.print(f"  {reason}")
        console.print(
            f"line that follows: B-CRS {100 * pack.finding.cut.probability:.3g}, {pack.finding.cut.clients} clients, "
            f"{pack.finding.analyst_days:.1f} analyst-days a week (were {pack.finding.analyst_days_before:.1f})"
        )
    console.print(f"pack  {pack.folder}")


def _print_wide(shown: Table) -> None:
    """Print a table of many columns: on a terminal at its width, into a file or pipe without folding."""
    (console if console.is_terminal else Console(file=sys.stdout, highlight=False, width=190)).print(shown)


@app.command()
def bench(
    sizes: Annotated[str, typer.Option(help="transactions, several separated by commas")] = "1000000,10000000",
    parts: Annotated[
        str, typer.Option(help="additive, windows, networks, series, explanations, weeks, compile; empty: all")
    ] = "",
) -> None:
    """Measure speed against peers on the same data; write reports/benchmark.json."""
    import json
    import subprocess
    import tempfile

    wanted = [int(s) for s in sizes.replace("_", "").split(",") if s.strip().isdigit()]
    if not wanted:
        _fail(f"SIZES={sizes} names no number of transactions. Example: SIZES=1000000,10000000")
    _environment()
    # the room is no installed package: it measures the product and is no part of it
    sys.path.insert(0, str(ROOT))
    from benchmarks.record import PARTS_BY_SIZE, PARTS_ONCE, growth, table
    from ml_assets.config import Settings
    from ml_assets.files import replace_file

    named = [p for p in parts.split(",") if p]
    if unknown := set(named) - {*PARTS_BY_SIZE, *PARTS_ONCE}:
        _fail(f"PARTS: unknown {', '.join(sorted(unknown))}. Choose among {', '.join((*PARTS_BY_SIZE, *PARTS_ONCE))}.")
    reports = Settings().reports
    rows: list[dict] = []
    for place, size in enumerate(wanted):
        console.print(f"[bold]{size:,} transactions[/bold]")
        chosen = named or [*(PARTS_ONCE if place == 0 else ()), *PARTS_BY_SIZE]
        # the transactions first, then a process for each part, so that its memory is its own
        first = [""] if set(chosen) & set(PARTS_BY_SIZE) else []
        with tempfile.TemporaryDirectory(prefix="bcrs-bench-") as folder:
            for part in (*first, *chosen):
                out = Path(folder) / "rows.json"
                command = [sys.executable, "-m", "benchmarks", "--size", str(size), "--out", str(out)]
                command += ["--parts", part, "--keep", folder]
                if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
                    what = f"part {part} of the benchmark" if part else "making the transactions"
                    _fail(f"{what} with {size:,} did not end; see above. Smaller: make bench SIZES=1000000")
                rows += json.loads(out.read_text())
    rows += growth(rows, wanted)
    target = replace_file(reports / "benchmark.json", json.dumps(rows, indent=2, ensure_ascii=False))
    _print_wide(table(rows))
    console.print(f"rows  {target}")


@app.command()
def patterns(
    folder: Annotated[Path, typer.Option(help="folder with a published ..._Patterns.txt (AMLworld), plain or gzip")],
) -> None:
    """Recall of each pattern detector on published laundering attempts; write reports/pattern_recall.json."""
    import json

    found = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(("patterns.txt", "patterns.txt.gz")))
    if not found:
        _fail(f"{folder} holds no ..._Patterns.txt. AMLworld publishes one beside each of its transaction files.")
    from ml_assets.config import Settings
    from ml_assets.evaluation.pattern_recall import attempts_of, measure
    from ml_assets.files import replace_file
    from ml_assets.sources import InputError
    from ml_assets.sources.amlworld import read_patterns

    settings = Settings()
    try:
        attempts = attempts_of(read_patterns(found[0]))
    except (InputError, ValueError) as error:
        _fail(str(error))
    measured = measure(attempts, settings.config().features)
    shown = Table(title=f"{len(attempts)} published attempts among ordinary traffic", title_justify="left")
    for heading in ("detector", "published", "looked for", "found", "recall", "fires at", "ordinary parties firing"):
        shown.add_column(heading)
    for r in measured.iter_rows(named=True):
        counts = [f"{r[c]}" for c in ("published_count", "looked_for_count", "found_count")]
        shown.add_row(r["detector"], *counts, f"{r['recall_ratio']:.2f}", r["fires_at"], f"{r['background_ratio']:.2%}")
    _print_wide(shown)
    rows = json.dumps(measured.to_dicts(), indent=2, ensure_ascii=False)
    target = replace_file(settings.reports / "pattern_recall.json", rows)
    console.print(f"rows  {target}")


@app.command()
def docs(port: Annotated[int, typer.Option(help="port of the docs server")] = 8080) -> None:
    """Generate and serve dbt's documentation of the warehouse."""
    import subprocess

    _environment()
    from orchestration.defs.resources import DBT_PROJECT

    dbt = [str(BINARIES / "dbt")]
    place = ["--project-dir", str(DBT_PROJECT.project_dir), "--profiles-dir", str(DBT_PROJECT.profiles_dir)]
    subprocess.run([*dbt, "docs", "generate", *place], check=True)
    subprocess.run([*dbt, "docs", "serve", "--port", str(port), *place], check=False)


def _need_marts() -> None:
    """Stop with what to do where nothing is published yet, before anything slow is imported."""
    from ml_assets.config import Settings

    serving = Settings().serving
    if not serving.exists():
        _fail(f"There are no published marts yet ({serving}). Run `make run` first.")


def _fail(message: str) -> None:
    console.print(f"[red bold]stopped[/red bold] {message}")
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
