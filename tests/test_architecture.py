"""The rooms' rules, held by reading imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ml_assets", "orchestration", "apps")


def modules(room: str) -> list[Path]:
    """Python files of a room."""
    path = ROOT / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names a module imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(room: str, forbidden: tuple[str, ...]) -> Iterator[str]:
    for path in modules(room):
        for name in imports(path):
            if any(name == f or name.startswith(f + ".") for f in forbidden):
                yield f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("ml_assets", ("dagster", "dagster_dbt", "orchestration", "apps")),
        ("ml_assets/contracts", ("duckdb", "dagster", "ml_assets.features", "ml_assets.models", "ml_assets.sources")),
        ("ml_assets/features", ("duckdb", "os", "pathlib", "time", "random", "ml_assets.sources", "ml_assets.models")),
        ("ml_assets/models", ("duckdb", "ml_assets.sources", "ml_assets.evaluation.final_test")),
        ("ml_assets/evaluation", ("duckdb", "ml_assets.sources")),
        ("ml_assets/explain", ("duckdb", "ml_assets.sources")),
        (
            "ml_assets/segmentation",
            ("duckdb", "os", "pathlib", "time", "random", "ml_assets.sources", "ml_assets.reports"),
        ),
        ("ml_assets/reports", ("duckdb", "ml_assets.sources")),
        ("orchestration", ("apps", "benchmarks", "snapml")),
        ("ml_assets", ("benchmarks", "snapml")),
        ("benchmarks", ("apps",)),
    ],
)
def test_room_does_not_import(room: str, forbidden: tuple[str, ...]) -> None:
    assert modules(room), f"{room} holds no module: the rule would hold vacuously"
    assert list(offenders(room, forbidden)) == []


def test_pillars_do_not_import_each_other() -> None:
    pillars = sorted(p.stem for p in (ROOT / "ml_assets/features").glob("p[1-6]_*.py"))
    assert len(pillars) == 6
    for pillar in pillars:
        others = {f"ml_assets.features.{p}" for p in pillars if p != pillar}
        assert not others & imports(ROOT / f"ml_assets/features/{pillar}.py"), pillar


def test_environment_is_read_where_settings_are() -> None:
    readers = set()
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    name = ast.unparse(node.func)
                    if name in {"os.getenv", "os.environ.get"}:
                        readers.add(path.relative_to(ROOT).as_posix())
                if (
                    isinstance(node, ast.Subscript)
                    and isinstance(node.ctx, ast.Load)
                    and ast.unparse(node.value) == "os.environ"
                ):
                    readers.add(path.relative_to(ROOT).as_posix())
    assert readers <= {"ml_assets/config.py", "ml_assets/dbt_environment.py"}


def test_clock_is_not_read_in_computing_code() -> None:
    calls = {"datetime.now", "datetime.utcnow", "date.today", "dt.date.today", "dt.datetime.now", "time.time"}
    for path in modules("ml_assets"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, f"{path.relative_to(ROOT)} reads the clock"


def test_evaluation_fits_nothing() -> None:
    for path in modules("ml_assets/evaluation"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {"fit", "fit_transform", "fit_predict"}, path.name
