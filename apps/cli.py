"""The command line: run the main job, open the UI, the marts and the docs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

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
            _run_locked(settings.reports)
    except Timeout:
        _fail(
            f"Another main job is at work in {settings.root}. Wait for it, or use another folder: BCRS_DATA_DIR=... ."
        )


def _run_locked(reports: Path) -> None:
    import dagster as dg

    with console.status("loading definitions ..."):
        from orchestration.main_job import StageFailedError, run_main_job
        from orchestration.summary import write_summary
    with dg.DagsterInstance.get() as instance:
        try:
            seconds = run_main_job(instance, _Terminal())
        except StageFailedError as error:
            _fail(
                f"{error.message}\n\n[dim]stage {error.stage}, step {error.step}, run {error.run_id}[/dim]\n"
                "Results of the last good run stay readable (make sql). "
                "Put right what the message says and run the same command again: it goes on from here. "
                "The full trace is in Dagster's UI (make ui)."
            )
        summary = write_summary(reports, seconds)
    _print_summary(summary, reports)


def _print_summary(summary: dict, reports: Path) -> None:
    console.print()
    console.print(
        f"[bold]{summary['source']}[/bold]  rows in {summary['rows_in']:,} = kept {summary['rows_kept']:,} "
        f"+ quarantined {summary['rows_quarantined']:,}   clients {summary['clients']:,}   "
        f"as-of weeks {summary['weeks']}"
    )
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
    console.print(
        Panel(
            f"summary    {reports / 'summary.json'}\n"
            "marts      make sql      (DuckDB shell on the published marts, also while a run goes on)\n"
            "lineage    make ui       (Dagster: assets, checks, runs)\n"
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
def prepare() -> None:
    """Parse the dbt project, so that definitions load and tests find the manifest."""
    _environment()
    from orchestration.defs.warehouse import ensure_manifest

    console.print(f"dbt manifest: {ensure_manifest()}")


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
    """Print the quality table and the time table of several finished runs as Markdown."""
    import json

    from ml_assets.reports.results import quality_table, time_table

    summaries = {}
    for run_name in runs:
        name, _, folder = run_name.partition("=")
        path = Path(folder) / "reports" / "summary.json"
        if not path.is_file():
            _fail(f"{run_name}: there is no finished run ({path} is missing). Write <name>=<data folder>.")
        summaries[name] = json.loads(path.read_text(encoding="utf-8"))
    print(quality_table(summaries), time_table(summaries), sep="\n\n")


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


def _fail(message: str) -> None:
    console.print(f"[red bold]stopped[/red bold] {message}")
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
