"""What dbt's test of values finds, and how it reaches the person: on hand-made tables in a project of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from chain import ROOT
from dagster_dbt import dbt_assets

from orchestration.defs.resources import DbtCommand, Warehouse
from orchestration.defs.warehouse import TRANSLATOR, build_dbt

FILES = {
    "dbt_project.yml": """
name: small
version: "1.0.0"
config-version: 2
profile: small
flags: {send_anonymous_usage_stats: false, require_generic_test_arguments_property: true}
""",
    "models/clean.sql": """
select * from (values
    ('a', 0.0, 1, 120, 'HIGH', 'it''s', date '2024-01-01'),
    ('b', 1.0, 2, -5, 'LOW', 'plain', date '2024-01-08'),
    ('c', null, null, null, null, null, null)
) as t(client_id, share_ratio, txn_count, age, band, word, as_of_date)
""",
    "models/broken.sql": """
select * from (values
    (null, -0.1, 0, 121, 'low', 'its', date '2024-01-02'),
    (null, 1.1, -1, 122, 'HIGH', 'it''s', date '2024-01-07'),
    ('c', 0.5, 1, 120, null, null, date '2024-01-08')
) as t(client_id, share_ratio, txn_count, age, band, word, as_of_date)
""",
    "models/many.sql": "select 'word' as word, number, null as nothing from range(12) as t(number)",
    "tests/three_is_not_there.sql": "select * from {{ ref('many') }} where number = 3",
    "models/_models.yml": """
version: 2
models:
  - name: clean
    data_tests:
      - values_allowed:
          name: clean_values
          arguments: &rules
            keys: [[client_id, age], [client_id]]
            never_null: [client_id]
            between:
              - {columns: [share_ratio], minimum: 0, maximum: 1}
              - {columns: [txn_count], minimum: 1}
              - {columns: [age], maximum: 120}
            one_of:
              band: [HIGH, LOW]
              word: ["it's", plain]
            mondays: [as_of_date]
  - name: broken
    data_tests:
      - values_allowed:
          name: broken_values
          arguments: *rules
  - name: many
    data_tests:
      - holds:
          name: numbers_are_negative
          arguments:
            condition: "number < 0"
""",
}
BROKEN = [
    # column, rule, rows, example: the smallest value that breaks the rule
    ("client_id", "never null", 2, None),
    ("share_ratio", "from 0 to 1", 2, "-0.1"),
    ("txn_count", "at least 1", 2, "-1"),
    ("age", "at most 120", 2, "121"),
    ("band", "one of HIGH, LOW", 1, "low"),
    ("word", "one of it's, plain", 1, "its"),
    ("as_of_date", "a Monday", 2, "2024-01-02"),
    # null is a value here as any other
    ("client_id", "no two rows alike", 2, "null"),
]


def dbt(project: Path, code: int, *arguments: str) -> str:
    """What dbt says in a call that has to end with ``code``: 1 a test failed, 2 dbt itself did."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "--no-use-colors", *arguments],
        cwd=project,
        env={**os.environ, "DBT_PROFILES_DIR": str(project), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of three tables with the real project's generic tests, built once; rows that failed are stored."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(ROOT / "dbt_project" / "tests" / "generic", folder / "tests" / "generic")
    (folder / "models").mkdir()
    output = {"type": "duckdb", "path": str(folder / "bcrs.duckdb"), "schema": "main", "threads": 1}
    profiles = {"small": {"target": "warehouse", "outputs": {"warehouse": output}}}
    for name, text in {**FILES, "profiles.yml": json.dumps(profiles)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    dbt(folder, 1, "build", "--store-failures")
    return folder


def stored(project: Path, test: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project / "bcrs.duckdb"), read_only=True) as con:
        return con.sql(f"from main_dbt_test__audit.{test}").fetchall()


def test_every_broken_rule_is_found_with_an_example(project: Path) -> None:
    assert stored(project, "broken_values") == BROKEN


def test_ends_quotes_and_nulls_pass(project: Path) -> None:
    assert stored(project, "clean_values") == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("maximum: 120", "maximun: 120"),
        (", maximum: 120", ""),
        ("mondays:", "monday:"),
        ("keys: [[client_id, age], [client_id]]", "keys: [client_id]"),
    ],
)
def test_a_misspelt_rule_is_an_error_and_not_a_rule_less(project: Path, tmp_path: Path, right: str, wrong: str) -> None:
    copy = shutil.copytree(project, tmp_path / "small", ignore=shutil.ignore_patterns("target"))
    (copy / "models" / "_models.yml").write_text(FILES["models/_models.yml"].replace(right, wrong), encoding="utf-8")
    assert "Compilation Error in test clean_values" in dbt(copy, 2, "parse")


def test_rows_that_failed_reach_the_check_and_the_terminal(project: Path) -> None:
    from orchestration.main_job import _first_failure

    @dbt_assets(manifest=project / "target" / "manifest.json", dagster_dbt_translator=TRANSLATOR)
    def small(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse):
        yield from build_dbt(context, dbt, warehouse)

    command = DbtCommand(project_dir=str(project), profiles_dir=str(project), dbt_executable="bcrs-dbt")
    result = dg.materialize(
        [small],
        resources={"dbt": command, "warehouse": Warehouse(path=str(project / "bcrs.duckdb"))},
        raise_on_error=False,
    )
    assert not result.success
    checks: dict[str, Mapping[str, Any]] = {
        c.check_name: c.metadata for c in result.get_asset_check_evaluations() if not c.passed
    }
    problems = {name: str(metadata["problems"].value) for name, metadata in checks.items()}
    assert set(problems) == {"broken_values", "numbers_are_negative", "three_is_not_there"}
    assert "problems" not in next(c for c in result.get_asset_check_evaluations() if c.passed).metadata
    told = problems["broken_values"].split("; ")
    assert len(told) == len(BROKEN)
    assert told[0] == "age: at most 120, broken in 2 rows, for example by 121"
    assert told[2] == "band: one of HIGH, LOW, broken in 1 row, for example by low"
    assert told[3] == "client_id: never null, broken in 2 rows"
    # a row of another test begins with the column its condition names; what is left out is counted
    told = problems["numbers_are_negative"].split("; ")
    assert told[0] == "number 0, word word, nothing None"
    assert (len(told), told[-1]) == (11, "and 2 more")
    assert problems["three_is_not_there"] == "number 3, word word, nothing None"
    where, message = _first_failure(result)
    assert where == "main/broken (broken_values)"
    assert message == problems["broken_values"]
