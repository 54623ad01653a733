"""Wiring: what runs when, on which data. An asset's body is a read, one call into ``ml_assets``, a write.

Rule of this room: nothing here computes; what is computed lives in ``ml_assets`` and ``dbt_project``.
"""

import warnings

from dagster import BetaWarning, PreviewWarning

# single-run backfills and partitioned checks are marked beta; a warning per asset would bury the run's own lines
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)
