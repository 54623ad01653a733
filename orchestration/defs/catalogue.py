"""The catalogue as assets: what features and schemes mean, how they are distributed, and which pillars are weakened.

All of it is made anew as a whole from the contracts and the newest weeks; and, where the source is a simulated bank,
the ranks of planted clients under each scheme's score.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.contracts.dictionary import data_dictionary
from ml_assets.contracts.tables import AS_OF_WEEKS_TABLE, CALENDAR_PLAN, SPLIT_PLAN, TSFRESH_SELECTION
from ml_assets.evaluation import scheme_ranks
from ml_assets.evaluation.metrics import METRICS_CONTRACT
from ml_assets.explain.decomposition import CONTRIBUTIONS_CONTRACT
from ml_assets.explain.reasons import REASONS_CONTRACT
from ml_assets.features import blacklist_paths, catalogue, p4_typology, p6_scheme, peers, scheme_catalogue
from ml_assets.features.tsfresh_engine import SLOTS
from ml_assets.files import replace_file
from ml_assets.models.aggregation import SCORES_CONTRACT
from ml_assets.models.names import SCHEME_PILLAR, SCHEMES
from ml_assets.models.tier1 import TIER1_CONTRACTS
from ml_assets.models.tier2 import TIER2_CONTRACT
from ml_assets.reports.catalogue_page import catalogue_page
from orchestration.defs.checks import check_result, check_spec
from orchestration.defs.features import FEATURE_KEYS
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.reading import read_weeks
from orchestration.defs.resources import CONFIG, SETTINGS, Warehouse
from orchestration.defs.scores import TIER2_KEY
from orchestration.defs.training import CONTRACTS, read_selection, weekly

NEWEST_WEEKS = 4
"""Weeks profiled: a month, so that what pays once a month is seen."""

TABLES = (catalogue.CATALOGUE_CONTRACT, catalogue.WEAKENED_CONTRACT, scheme_catalogue.CONTRACT)
KEYS = {c.name: dg.AssetKey([c.schema, c.name]) for c in TABLES}
PAGE_KEY = dg.AssetKey(["reports", "catalogue"])
PAGE = SETTINGS.reports / "catalogue.html"
DICTIONARY = SETTINGS.reports / "data_dictionary.md"
DICTIONARY_OF = (
    AS_OF_WEEKS_TABLE,
    CALENDAR_PLAN,
    SPLIT_PLAN,
    TSFRESH_SELECTION,
    *CONTRACTS.values(),
    p4_typology.HITS_CONTRACT,
    p6_scheme.HITS_CONTRACT,
    peers.GROUPS_CONTRACT,
    peers.NORMALS_CONTRACT,
    blacklist_paths.CONTRACT,
    *TABLES,
    *TIER1_CONTRACTS.values(),
    TIER2_CONTRACT,
    SCORES_CONTRACT,
    CONTRIBUTIONS_CONTRACT,
    REASONS_CONTRACT,
    METRICS_CONTRACT,
    scheme_ranks.CONTRACT,
)
"""Tables whose columns the data dictionary lists; dbt's docs hold the others."""
TRUTH = SETTINGS.landing / "truth" / "launderers.parquet"


def catalogue_contracts() -> list[TableContract]:
    """Feature contracts of this run: slots of P3 bear the names of their characteristics, unused ones are left out."""
    selection = read_selection()
    names = {slot: c.name for slot, c in selection.slots().items()} if selection else {}
    out = []
    for contract in CONTRACTS.values():
        columns = tuple(
            replace(c, description=f"{c.description.rstrip('.')}: {names[c.name]}.") if c.name in names else c
            for c in contract.columns
            if c.name not in SLOTS or c.name in names
        )
        out.append(replace(contract, columns=columns))
    return out


@dg.multi_asset(
    name="feature_catalogue",
    specs=[
        *(
            dg.AssetSpec(
                KEYS[c.name],
                deps=[*weekly(*FEATURE_KEYS), dg.AssetKey(["raw", "not_available"])],
                group_name="catalogue",
                kinds={"python", "polars", "duckdb"},
                description=c.description,
                metadata=definition_metadata(c),
            )
            for c in TABLES
        ),
        dg.AssetSpec(
            PAGE_KEY,
            deps=list(KEYS.values()),
            group_name="catalogue",
            kinds={"python", "html"},
            description="The catalogue as one searchable page, and the data dictionary of the tables made in Python.",
        ),
    ],
    check_specs=[check_spec(key) for key in KEYS.values()],
)
def feature_catalogue(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Describe every feature on the newest weeks, and say what the source's missing columns take away."""
    weeks = warehouse.read("select as_of_date from intermediate.as_of_weeks order by 1 desc").to_series().to_list()
    weeks = sorted(weeks[:NEWEST_WEEKS])
    contracts = catalogue_contracts()
    frames = {c.address: read_weeks(warehouse, c.address, weeks) for c in contracts}
    table = catalogue.describe(contracts, frames)
    lacking = dict(warehouse.read("select column_name, reason from raw.not_available order by all").iter_rows())
    weakened = catalogue.weakened(table, lacking)
    schemes = scheme_catalogue.scheme_catalogue(
        frames[CONTRACTS[SCHEME_PILLAR].address], CONFIG.features.reporting_threshold_base
    )
    for contract, frame in zip(TABLES, (table, weakened, schemes), strict=True):
        warehouse.replace_table(contract, frame)
        shown = {"table": markdown_table(weakened.drop("features"), 60)} if frame is weakened else {}
        yield dg.MaterializeResult(asset_key=KEYS[contract.name], metadata=run_metadata(frame.height, shown))
        # that no pillar is weakened is good news
        yield check_result(frame, contract, allows_empty=frame is weakened)
    note = f"Source: {SETTINGS.source.split(':')[0]}. As-of dates profiled: {', '.join(map(str, weeks))}."
    replace_file(PAGE, catalogue_page(table, weakened, schemes, note))
    replace_file(DICTIONARY, data_dictionary(DICTIONARY_OF))
    paths = {"page": dg.MetadataValue.path(str(PAGE)), "data dictionary": dg.MetadataValue.path(str(DICTIONARY))}
    yield dg.MaterializeResult(asset_key=PAGE_KEY, metadata=paths)


@dg.asset(
    key=[scheme_ranks.CONTRACT.schema, scheme_ranks.CONTRACT.name],
    deps=[*weekly(TIER2_KEY), dg.AssetKey(["landing", "delivery"])],
    group_name="evaluation",
    kinds={"python", "polars", "duckdb"},
    description=scheme_ranks.CONTRACT.description + " Empty where the source has no truth.",
    metadata=definition_metadata(scheme_ranks.CONTRACT),
)
def planted_scheme_ranks(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Rank planted clients under every scheme's score."""
    truth = pl.read_parquet(TRUTH) if TRUTH.is_file() else None
    columns = ", ".join(f"{s}_score, {s}_fired_count" for s in SCHEMES)
    scores = warehouse.read(f"select client_id, as_of_date, {columns} from tier2.tier2_scheme order by all")
    ranks = scheme_ranks.scheme_ranks(scores, truth, SCHEMES)
    warehouse.replace_table(scheme_ranks.CONTRACT, ranks)
    return dg.MaterializeResult(
        metadata=run_metadata(ranks.height, {"ranks": markdown_table(scheme_ranks.rank_table(ranks))})
    )


CATALOGUE_ASSETS = [feature_catalogue]
