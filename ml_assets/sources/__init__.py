"""Where data come from: one adapter per published format, the user's folder, the simulated bank, raw ingestion.

The room's rule: everything in here knows formats and files and nothing of features or models; they see
only the input contract (:mod:`ml_assets.sources.input_contract`). A source becomes a landing folder
(:func:`deliver`), a landing folder becomes schema ``raw`` (:func:`ingest`). What a source does not have
is named with a reason and never invented; what cannot be read is set aside with a reason and never lost;
what its owner must mend is an :class:`InputError` that says how. Known leaks of simulators (account
numbering, initial balances, pattern and alert ids, days after the end of normal traffic) stop here.
Ground truth goes to the landing folder's ``truth/`` and is read by evaluation only.
"""

from ml_assets.sources.delivery import check_source, deliver, input_listing
from ml_assets.sources.errors import InputError
from ml_assets.sources.ingest import IngestReport, ingest, landing_files
from ml_assets.sources.registry import ADAPTERS, adapt
from ml_assets.sources.user_folder import check_folder, stage_folder

__all__ = [
    "ADAPTERS",
    "IngestReport",
    "InputError",
    "adapt",
    "check_folder",
    "check_source",
    "deliver",
    "ingest",
    "input_listing",
    "landing_files",
    "stage_folder",
]
