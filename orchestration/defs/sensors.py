"""Watching the landing folder: a new or changed file starts an ingest run."""

import hashlib

import dagster as dg

from ml_assets.sources import landing_files
from orchestration.defs.jobs import ingest_job
from orchestration.defs.resources import SETTINGS


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Starts the ingest job when files in the landing folder are new or changed (name, size, time).",
)
def landing_folder(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Compare the folder's listing with the one of the last tick; contents are hashed only by the ingest itself."""
    files = landing_files(SETTINGS.landing) if SETTINGS.landing.is_dir() else []
    if not files:
        return dg.SkipReason(f"No input files in {SETTINGS.landing}.")
    listing = "\n".join(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files)
    state = hashlib.sha256(listing.encode()).hexdigest()
    if state == context.cursor:
        return dg.SkipReason("Nothing new in the landing folder.")
    context.update_cursor(state)
    return dg.RunRequest(run_key=f"landing-{state[:16]}")


SENSORS = [landing_folder]
