"""Everything Dagster loads: assets, checks, jobs, schedules, the sensor and resources."""

from __future__ import annotations

import dagster as dg

from orchestration.defs.catalogue import CATALOGUE_ASSETS, planted_scheme_ranks
from orchestration.defs.dossier import PAGE_ASSETS
from orchestration.defs.evidence import REPORT_ASSETS
from orchestration.defs.features import FEATURE_ASSETS, calendar
from orchestration.defs.jobs import JOBS
from orchestration.defs.monitoring import MONITORING_ASSETS, monitoring_reference
from orchestration.defs.raw import delivery, raw_tables
from orchestration.defs.resources import SETTINGS, Warehouse, dbt_resource
from orchestration.defs.schedules import SCHEDULES
from orchestration.defs.scores import SCORE_ASSETS
from orchestration.defs.scoring_gate import published_scores
from orchestration.defs.segments import SEGMENT_ASSETS
from orchestration.defs.sensors import SENSORS
from orchestration.defs.serving import serving_file
from orchestration.defs.training import MODEL_ASSETS, tsfresh_selection
from orchestration.defs.warehouse import dbt_evaluation, dbt_marts, dbt_staging, dbt_weekly

defs = dg.Definitions(
    assets=[
        delivery,
        raw_tables,
        dbt_staging,
        calendar,
        dbt_weekly,
        tsfresh_selection,
        *FEATURE_ASSETS,
        *CATALOGUE_ASSETS,
        *MODEL_ASSETS,
        *SCORE_ASSETS,
        planted_scheme_ranks,
        monitoring_reference,
        *MONITORING_ASSETS,
        dbt_marts,
        dbt_evaluation,
        serving_file,
        *PAGE_ASSETS,
        *REPORT_ASSETS,
        published_scores,
        *SEGMENT_ASSETS,
    ],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources={"warehouse": Warehouse(path=str(SETTINGS.warehouse)), "dbt": dbt_resource()},
    executor=dg.in_process_executor,
)
