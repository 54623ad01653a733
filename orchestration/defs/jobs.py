"""The jobs people and schedules start. Each is one stage of the main job."""

from __future__ import annotations

import dagster as dg

from orchestration.defs.partitions import AS_OF_WEEKS

_RAW = dg.AssetSelection.groups("landing", "raw")
_STAGING = dg.AssetSelection.assets(["intermediate", "as_of_weeks"]).upstream() - _RAW
_WEEKLY_FEATURES = (
    dg.AssetSelection.groups("features")
    | dg.AssetSelection.assets(
        ["intermediate", "int_client_weeks"],
        ["intermediate", "int_client_windows"],
        ["intermediate", "int_client_labels"],
        ["models", "tsfresh_selection"],
    )
)
_MODELS = dg.AssetSelection.groups("models") - dg.AssetSelection.assets(["models", "tsfresh_selection"])
_SCORES = dg.AssetSelection.groups("tier1", "tier2", "scores")
_MARTS = dg.AssetSelection.groups("marts", "serving")

ingest_job = dg.define_asset_job(
    "ingest",
    selection=_RAW | dg.AssetSelection.tag("bcrs/stage", "ingest"),
    description="Read new deliveries, clean and quarantine, extend the calendar of as-of weeks.",
    executor_def=dg.in_process_executor,
)
backfill_job = dg.define_asset_job(
    "backfill",
    selection=_WEEKLY_FEATURES,
    partitions_def=AS_OF_WEEKS,
    description="Windows, labels and all features of one week or a range of weeks, in a single run.",
    executor_def=dg.in_process_executor,
)
retrain_job = dg.define_asset_job(
    "weekly_retrain",
    selection=_MODELS,
    description="Fit both tiers, the aggregations and the baselines; choose, calibrate and test the champion.",
    executor_def=dg.in_process_executor,
)
score_job = dg.define_asset_job(
    "weekly_score",
    selection=_SCORES | _MARTS,
    partitions_def=AS_OF_WEEKS,
    description="Score one week or a range of weeks with the champion, publish marts.",
    executor_def=dg.in_process_executor,
)
JOBS = [ingest_job, backfill_job, retrain_job, score_job]
