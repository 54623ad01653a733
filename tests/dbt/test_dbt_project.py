"""The dbt project stands on its own: it parses, its unit tests pass, its documentation is complete and builds."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from chain import ROOT, Run, environment

PROJECT = ROOT / "dbt_project"
ARTIFACTS = ("manifest.json", "catalog.json", "index.html")


def dbt(target: Path, warehouse: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dbt on the project, its artifacts in ``target`` so that the project's own stay as they are."""
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "dbt"),
            "--no-use-colors",
            *arguments,
            *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
            *("--target-path", str(target), "--log-path", str(target / "logs")),
        ],
        cwd=PROJECT,
        env={
            **environment(target),
            "BCRS_WAREHOUSE": str(warehouse),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def warehouse(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished warehouse; the file's name is the database's name in every address."""
    target = tmp_path_factory.mktemp("dbt_warehouse") / "bcrs.duckdb"
    shutil.copyfile(tiny_run.folder / "warehouse" / "bcrs.duckdb", target)
    return target


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the manifest of a full parse."""
    target = tmp_path_factory.mktemp("dbt_parse")
    done = dbt(target, target / "bcrs.duckdb", "parse", "--no-partial-parse", "--warn-error")
    assert done.returncode == 0, done.stdout[-4000:]
    return target


@pytest.fixture(scope="module")
def manifest(parsed: Path) -> dict:
    return json.loads((parsed / "manifest.json").read_text())


def models(manifest: dict) -> list[dict]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def test_every_model_and_column_is_described(manifest: dict) -> None:
    assert len(models(manifest)) > 30
    silent = [m["name"] for m in models(manifest) if not m["description"].strip()]
    for model in models(manifest):
        silent += [f"{model['name']}.{c['name']}" for c in model["columns"].values() if not c["description"].strip()]
    assert not silent


def test_every_model_has_a_test(manifest: dict) -> None:
    tested = {
        parent
        for node in [*manifest["nodes"].values(), *manifest["unit_tests"].values()]
        if node["resource_type"] in ("test", "unit_test")
        for parent in node["depends_on"]["nodes"]
    }
    assert not [m["name"] for m in models(manifest) if m["unique_id"] not in tested]


def test_marts_have_enforced_contracts(manifest: dict) -> None:
    marts = [m for m in models(manifest) if m["schema"] == "marts"]
    assert len(marts) >= 10
    assert not [m["name"] for m in marts if not m["config"]["contract"]["enforced"]]


def test_seeds_of_judgement_name_source_and_vintage(manifest: dict) -> None:
    seeds = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "seed"}
    assert all(seed["description"] for seed in seeds.values())
    for name, vintage in (
        ("jurisdictions", "vintage_date"),
        ("scheme_countries", "source_date"),
        ("scheme_sectors", "source_date"),
    ):
        with (PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row["source"].strip() and date.fromisoformat(row[vintage]) for row in rows), name


def test_exposures_say_who_reads_the_marts(manifest: dict) -> None:
    assert manifest["exposures"]
    for exposure in manifest["exposures"].values():
        assert exposure["depends_on"]["nodes"], exposure["name"]


@pytest.mark.slow
def test_unit_tests_pass(warehouse: Path, parsed: Path, manifest: dict) -> None:
    done = dbt(parsed, warehouse, "test", "--select", "test_type:unit")
    assert done.returncode == 0, done.stdout[-4000:]
    results = json.loads((parsed / "run_results.json").read_text())["results"]
    assert len(results) == len(manifest["unit_tests"]) > 10
    assert {r["status"] for r in results} == {"pass"}


@pytest.mark.slow
def test_docs_generate(warehouse: Path, parsed: Path, manifest: dict) -> None:
    done = dbt(parsed, warehouse, "docs", "generate")
    assert done.returncode == 0, done.stdout[-4000:]
    assert all((parsed / name).stat().st_size > 0 for name in ARTIFACTS)
    catalog = json.loads((parsed / "catalog.json").read_text())
    # marts of other jobs than the main one are not in this warehouse
    made = [m for m in models(manifest) if not {"segments", "evaluation"} & set(m["tags"])]
    undocumented = {m["unique_id"] for m in made} - set(catalog["nodes"])
    assert not undocumented, "the warehouse lacks these models"
