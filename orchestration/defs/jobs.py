"""The jobs people, schedules and the command line start: the four stages of the main job.

In-process on purpose: a subprocess per step costs seconds of imports, and DuckDB has one writer anyway.
"""

from __future__ import annotations

import dagster as dg

from orchestration.defs.catalogue import CATALOGUE_ASSETS, planted_scheme_ranks
from orchestration.defs.dossier import PAGE_ASSETS
from orchestration.defs.evidence import REPORT_ASSETS
from orchestration.defs.features import FEATURE_ASSETS, calendar
from orchestration.defs.monitoring import MONITORING_ASSETS, monitoring_reference
from orchestration.defs.raw import delivery, raw_tables
from orchestration.defs.scores import SCORE_ASSETS
from orchestration.defs.scoring_gate import published_scores
from orchestration.defs.segments import segments_job
from orchestration.defs.serving import serving_file
from orchestration.defs.training import MODEL_ASSETS, tsfresh_selection
from orchestration.defs.warehouse import dbt_evaluation, dbt_marts, dbt_staging, dbt_weekly

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(delivery, raw_tables, dbt_staging, calendar),
    description="Read new deliveries, clean and quarantine, extend the calendar of as-of weeks.",
    executor_def=dg.in_process_executor,
)
backfill_job = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.assets(dbt_weekly, tsfresh_selection, *FEATURE_ASSETS, *CATALOGUE_ASSETS),
    description="Windows, labels and all features of one week or a range of weeks, in a single run.",
    executor_def=dg.in_process_executor,
)
retrain_job = dg.define_asset_job(
    "weekly_retrain",
    selection=dg.AssetSelection.assets(*MODEL_ASSETS, monitoring_reference),
    description="Fit both tiers, the aggregations and the baselines; choose, calibrate and test the champion.",
    executor_def=dg.in_process_executor,
)
score_job = dg.define_asset_job(
    "weekly_score",
    selection=dg.AssetSelection.assets(
        *SCORE_ASSETS, planted_scheme_ranks, *MONITORING_ASSETS, dbt_marts, serving_file, *PAGE_ASSETS, published_scores
    ),
    description="Score one week or a range of weeks with the champion and publish the marts.",
    executor_def=dg.in_process_executor,
)
new_week_job = dg.define_asset_job(
    "new_week",
    selection=dg.AssetSelection.assets(
        dbt_weekly,
        tsfresh_selection,
        *FEATURE_ASSETS,
        *CATALOGUE_ASSETS,
        *SCORE_ASSETS,
        planted_scheme_ranks,
        *MONITORING_ASSETS,
        dbt_marts,
        serving_file,
        *PAGE_ASSETS,
        published_scores,
    ),
    description="Everything one new as-of week needs after ingestion: windows, features, scores, marts.",
    executor_def=dg.in_process_executor,
)
report_job = dg.define_asset_job(
    "report",
    selection=dg.AssetSelection.assets(*REPORT_ASSETS, dbt_evaluation, serving_file),
    description="The evidence: test weeks, ablation, refits, parity, as marts, as a page and as JSON.",
    executor_def=dg.in_process_executor,
)
JOBS = [ingest_job, backfill_job, retrain_job, score_job, new_week_job, report_job, segments_job]
