"""A batch of events in the log is what the same events are one by one, with the newest week last."""

import dagster as dg
import pytest

WEEKS = ["2025-01-06", "2025-01-13", "2025-01-20"]


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(WEEKS),
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("holds", asset="weekly")],
)
def weekly():
    yield dg.MaterializeResult(metadata={"rows": 3}, tags={"kept": "yes"})
    yield dg.AssetCheckResult(passed=True, check_name="holds")


@pytest.fixture(params=["0", "2", "1000"])
def instance(request, tmp_path, monkeypatch):
    """An instance on the project's event log, for three sizes of batches: none, smaller and larger than the weeks."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", request.param)
    log = {
        "module": "orchestration.event_log",
        "class": "PooledSqliteEventLogStorage",
        "config": {"base_dir": str(tmp_path / "events")},
    }
    with dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"event_log_storage": log, "telemetry": {"enabled": False}}
    ) as found:
        yield found


def run(instance):
    tags = {"dagster/asset_partition_range_start": WEEKS[0], "dagster/asset_partition_range_end": WEEKS[-1]}
    return dg.materialize([weekly], instance=instance, tags=tags)


def test_every_week_the_check_and_the_plan_are_in_the_log(instance):
    result = run(instance)
    assert result.success
    key = dg.AssetKey("weekly")
    assert instance.get_materialized_partitions(key) == set(WEEKS)
    records = instance.fetch_materializations(key, limit=10).records
    assert {r.asset_materialization.tags["kept"] for r in records} == {"yes"}
    kinds = [e.dagster_event_type.value for e in instance.all_logs(result.run_id) if e.is_dagster_event]
    assert kinds.count("ASSET_MATERIALIZATION") == 3
    assert kinds.count("ASSET_MATERIALIZATION_PLANNED") == 3
    assert kinds.count("ASSET_CHECK_EVALUATION_PLANNED") == 1
    check = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, "holds"), limit=1)
    assert check[0].status.value == "SUCCEEDED"


def test_the_newest_week_of_a_batch_is_the_latest(instance, request):
    run(instance)
    run(instance)
    latest = instance.get_latest_materialization_event(dg.AssetKey("weekly"))
    (record,) = instance.get_asset_records([dg.AssetKey("weekly")])
    shown = record.asset_entry.last_materialization
    assert shown.dagster_event.partition == latest.asset_materialization.partition
    if request.node.callspec.params["instance"] == "1000":
        assert shown.dagster_event.partition == WEEKS[-1]
