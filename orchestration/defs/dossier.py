"""The pages made after publishing: monitoring and the model dossier."""

from pathlib import Path

import dagster as dg

from orchestration.defs.partitions import AS_OF_WEEKS
from orchestration.defs.serving import serving_file
from orchestration.dossier import write_dossier, write_monitoring


def _written(path: Path) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(str(path)), "bytes": path.stat().st_size, "url": path.as_uri()}
    )


@dg.asset(
    key=["reports", "monitoring_page"],
    deps=[serving_file],
    group_name="monitoring",
    kinds={"python", "plotly"},
    partitions_def=AS_OF_WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    description="What moved since training, by week: a self-contained page from the monitoring marts.",
)
def monitoring_page_file() -> dg.MaterializeResult:
    """Write ``monitoring.html``."""
    return _written(write_monitoring())


@dg.asset(
    key=["reports", "dossier"],
    deps=[serving_file],
    group_name="monitoring",
    kinds={"python"},
    partitions_def=AS_OF_WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    description="The model document in the order a validator reads, every number with the query that yields it.",
)
def dossier_file() -> dg.MaterializeResult:
    """Write ``dossier.html``."""
    return _written(write_dossier())


PAGE_ASSETS = [monitoring_page_file, dossier_file]
