"""The bank's week: new data on Monday morning is scored, then the models are trained again."""

from collections.abc import Iterator

import dagster as dg

from orchestration.defs.jobs import ingest_job, new_week_job, retrain_job
from orchestration.defs.partitions import AS_OF_WEEKS

# Monday: the as-of date is Monday 00:00 UTC; deliveries of Sunday night are in by six.
weekly_ingest = dg.ScheduleDefinition(
    name="weekly_ingest",
    job=ingest_job,
    cron_schedule="0 6 * * 1",
    execution_timezone="UTC",
    description="Mondays 06:00 UTC: take in what arrived and open the new as-of week.",
)


@dg.schedule(
    job=new_week_job,
    cron_schedule="30 6 * * 1",
    execution_timezone="UTC",
    name="weekly_score",
    description="Mondays 06:30 UTC: features, scores and marts of the newest as-of week.",
)
def weekly_score(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ask for the newest as-of week, once per week."""
    weeks = context.instance.get_dynamic_partitions(AS_OF_WEEKS.name or "")
    if not weeks:
        yield dg.SkipReason("No as-of week exists yet: run the ingest job first.")
        return
    newest = max(weeks)
    yield dg.RunRequest(run_key=f"score-{newest}", partition_key=newest)


weekly_retrain = dg.ScheduleDefinition(
    name="weekly_retrain",
    job=retrain_job,
    cron_schedule="0 8 * * 1",
    execution_timezone="UTC",
    description="Mondays 08:00 UTC: train again on the weeks whose labels are complete.",
)
SCHEDULES = [weekly_ingest, weekly_score, weekly_retrain]
