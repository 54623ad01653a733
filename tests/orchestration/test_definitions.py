"""Everything Dagster loads is there, described, checked, and wired as the reviewed graph says.

The reviewed graph is ``tests/asset_graph.txt``. After a wanted change write it anew and read the difference:

    .venv/bin/python tests/orchestration/test_definitions.py
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestration.definitions import defs
from orchestration.defs import sensors
from orchestration.defs.partitions import AS_OF_WEEKS, register_weeks
from orchestration.defs.schedules import weekly_score
from orchestration.defs.warehouse import RETRY

SNAPSHOT = Path(__file__).resolve().parents[1] / "asset_graph.txt"
HEADER = """\
# Asset <- the assets it reads, as reviewed. Compared by tests/orchestration/test_definitions.py; write it anew with
#   .venv/bin/python tests/orchestration/test_definitions.py
"""
WEEKLY_LAYERS = ("features", "tier1", "tier2")


def graph_text() -> str:
    graph = defs.resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        parents = sorted(parent.to_user_string() for parent in node.parent_keys)
        lines.append(f"{key.to_user_string()} <- {', '.join(parents) or '-'}")
    return HEADER + "\n".join(lines) + "\n"


def executable() -> list[dg.AssetsDefinition]:
    found = [a for a in defs.assets or [] if isinstance(a, dg.AssetsDefinition)]
    assert found
    return found


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)


def test_graph_is_the_reviewed_one() -> None:
    assert graph_text() == SNAPSHOT.read_text(encoding="utf-8"), "see the header of tests/asset_graph.txt"


def test_every_asset_has_group_description_and_kinds() -> None:
    graph = defs.resolve_asset_graph()
    poor = []
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        # dbt's default group name says nothing
        if node.group_name in (None, "", "default") or not (node.description or "").strip() or not node.kinds:
            poor.append((key.to_user_string(), node.group_name, bool(node.description), sorted(node.kinds)))
    assert len(graph.materializable_asset_keys) > 60
    assert not poor


def test_weekly_assets_are_partitioned_with_single_run_backfill() -> None:
    weekly = [a for a in executable() if a.partitions_def is not None]
    assert weekly
    assert all(a.partitions_def == AS_OF_WEEKS for a in weekly)
    assert all(a.backfill_policy == dg.BackfillPolicy.single_run() for a in weekly)
    layers = {key.path[0] for a in weekly for key in a.keys}
    assert {*WEEKLY_LAYERS, "scores", "marts"} <= layers


def test_blocking_check_on_every_feature_tier_and_score_table() -> None:
    blocking = {spec.asset_key for a in executable() for spec in a.check_specs if spec.blocking}
    wanted = {
        key
        for a in executable()
        for key in a.keys
        if key.path[0] in WEEKLY_LAYERS and not key.path[-1].endswith("_hits")
    } | {dg.AssetKey(["scores", "client_scores"]), dg.AssetKey(["models", "metrics"])}
    assert len(wanted) >= 14
    assert not wanted - blocking


def test_dbt_tests_block_what_reads_their_model() -> None:
    checks = [spec for a in executable() for spec in a.check_specs if a.op.name.startswith("dbt_")]
    tested = {spec.asset_key.to_user_string() for spec in checks if spec.blocking}
    assert {"marts/fct_client_scores", "staging/stg_transactions_parsed", "intermediate/int_client_windows"} <= tested


def test_heavy_steps_are_retried() -> None:
    retried = {a.op.name for a in executable() if a.op.retry_policy == RETRY}
    assert {"dbt_staging", "dbt_weekly", "dbt_marts", "feat_p1_volume_velocity"} <= retried


@pytest.mark.parametrize(
    ("job", "has", "lacks"),
    [
        ("ingest", "raw/transactions", "features/feat_p1_volume_velocity"),
        ("backfill", "features/feat_p6_scheme", "scores/client_scores"),
        ("weekly_retrain", "models/metrics", "scores/client_scores"),
        ("weekly_score", "serving/marts_serving", "features/feat_p1_volume_velocity"),
        ("new_week", "features/feat_p1_volume_velocity", "models/metrics"),
        ("report", "reports/evidence", "scores/client_scores"),
    ],
)
def test_jobs_select_their_layers(job: str, has: str, lacks: str) -> None:
    selected = {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys}
    assert has in selected
    assert lacks not in selected


def test_schedules_and_sensor_are_there() -> None:
    repository = defs.get_repository_def()
    assert {s.name for s in repository.schedule_defs} == {"weekly_ingest", "weekly_score", "weekly_retrain"}
    assert [s.name for s in repository.sensor_defs] == ["landing_folder"]


def test_weekly_score_asks_for_the_newest_week(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        waiting = weekly_score.evaluate_tick(dg.build_schedule_context(instance=instance))
        assert not waiting.run_requests
        assert "ingest" in (waiting.skip_message or "")
        # text order and date order must agree across a year's end
        register_weeks(instance, [date(2024, 12, 30), date(2025, 1, 6), date(2024, 12, 23)])
        asked = weekly_score.evaluate_tick(
            dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def())
        )
        assert [r.partition_key for r in asked.run_requests or []] == ["2025-01-06"]


def test_sensor_asks_once_per_state_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = tmp_path / "landing"
    monkeypatch.setattr(sensors, "SETTINGS", SimpleNamespace(landing=landing))

    def tick(cursor: str | None) -> tuple[dg.RunRequest | dg.SkipReason, str | None]:
        with dg.build_sensor_context(cursor=cursor) as context:
            answer = sensors.landing_folder(context)
            assert isinstance(answer, dg.RunRequest | dg.SkipReason)
            return answer, context.cursor

    answer, cursor = tick(None)
    assert isinstance(answer, dg.SkipReason)
    landing.mkdir()
    (landing / "notes.txt").write_text("no input file")
    assert isinstance(tick(cursor)[0], dg.SkipReason)
    (landing / "transactions.csv").write_text("client_id\n")
    first, cursor = tick(cursor)
    assert isinstance(first, dg.RunRequest)
    again, cursor = tick(cursor)
    assert isinstance(again, dg.SkipReason)
    (landing / "transactions_2.csv").write_text("client_id\n")
    second, _ = tick(cursor)
    assert isinstance(second, dg.RunRequest)
    assert second.run_key != first.run_key


if __name__ == "__main__":
    SNAPSHOT.write_text(graph_text(), encoding="utf-8")
    print(f"wrote {SNAPSHOT.name}: read the difference before committing it")
