"""The calendar and the five behavioural pillars plus the scheme indicators, one asset each.

Every weekly asset takes whole as-of weeks, reads the history those weeks may see, calls one
``build`` in ``ml_assets.features`` and replaces exactly those weeks.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.contracts.expectations import profile_table
from ml_assets.contracts.tables import AS_OF_WEEKS_TABLE, CALENDAR_PLAN
from ml_assets.features import (
    blacklist_paths,
    p1_volume_velocity,
    p2_network,
    p3_temporal,
    p4_typology,
    p5_profile,
    p6_scheme,
    peers,
)
from ml_assets.models.calendar import plan_calendar
from orchestration.defs.checks import check_profile, check_result, check_spec
from orchestration.defs.memberships import memberships_in_use, segments_note
from orchestration.defs.metadata import definition_metadata, distribution_picture, markdown_table, run_metadata
from orchestration.defs.partitions import AS_OF_WEEKS, register_weeks, weeks_of
from orchestration.defs.reading import (
    SPINE_KEY,
    TRANSACTIONS_KEY,
    WINDOWS_KEY,
    read_history,
    read_spine,
    read_weeks,
    week_batches,
)
from orchestration.defs.resources import CONFIG, Warehouse
from orchestration.defs.training import read_selection
from orchestration.defs.warehouse import RETRY


@dg.multi_asset(
    name="calendar",
    specs=[
        dg.AssetSpec(
            ["intermediate", contract.name],
            deps=[TRANSACTIONS_KEY, dg.AssetKey(["staging", "stg_str_labels"])],
            group_name="intermediate",
            kinds={"python", "duckdb"},
            description=contract.description,
            metadata=definition_metadata(contract),
        )
        for contract in (AS_OF_WEEKS_TABLE, CALENDAR_PLAN)
    ],
)
def calendar(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """Cut history into as-of weeks and register them as partitions."""
    bounds = warehouse.read(
        "select min(txn_date) as first_date, max(txn_date) as last_date from intermediate.int_transactions"
    ).row(0, named=True)
    last_str = warehouse.read("select max(str_date) as last_str from staging.stg_str_labels where is_str").item()
    if bounds["first_date"] is None:
        raise dg.Failure(
            "No transaction was kept: every row is in quarantine. "
            "Look at quality.quarantine_transactions (or `make sql`: rpt_data_quality) for the reasons."
        )
    # labels are known up to the newest STR, but one wild date far ahead must not complete every week's label
    horizon_end = bounds["last_date"] + timedelta(days=CONFIG.calendar.horizon_days)
    label_end = min(max(bounds["last_date"], last_str or bounds["last_date"]), horizon_end)
    plan = plan_calendar(bounds["first_date"], bounds["last_date"], label_end, CONFIG.calendar)
    weeks = plan.frame()
    warehouse.replace_table(AS_OF_WEEKS_TABLE, weeks)
    warehouse.replace_table(CALENDAR_PLAN, plan.plan_frame())
    register_weeks(context.instance, weeks["as_of_date"].to_list())
    yield dg.MaterializeResult(
        asset_key=["intermediate", AS_OF_WEEKS_TABLE.name],
        metadata=run_metadata(weeks.height, {"weeks": markdown_table(weeks, rows=80)}),
    )
    yield dg.MaterializeResult(
        asset_key=["intermediate", CALENDAR_PLAN.name],
        metadata=run_metadata(1, {"plan": markdown_table(plan.plan_frame())}),
    )


def _windows(warehouse: Warehouse, weeks: list[date]) -> dict[str, pl.DataFrame]:
    return {"windows": read_weeks(warehouse, "intermediate.int_client_windows", weeks)}


def _network(warehouse: Warehouse, weeks: list[date]) -> dict[str, Any]:
    return {
        "first_seen": warehouse.read(
            "select client_id, counterparty_id, first_known_date from intermediate.int_counterparty_first_seen "
            "where first_known_date < ? order by all",
            [weeks[-1]],
        ),
        "jurisdictions": warehouse.read("from seeds.jurisdictions order by iso2"),
        # a source without any blacklist knows nothing of exposure: null, not zero
        "has_blacklist": bool(warehouse.read("select count(*) from staging.stg_blacklist").item()),
    }


def _profiles(warehouse: Warehouse, weeks: list[date]) -> dict[str, pl.DataFrame]:
    return {"profiles": read_weeks(warehouse, "intermediate.int_client_weeks", weeks), **_windows(warehouse, weeks)}


def _peered(warehouse: Warehouse, weeks: list[date]) -> dict[str, Any]:
    return {**_profiles(warehouse, weeks), "memberships": memberships_in_use()}


def _schemes(warehouse: Warehouse, weeks: list[date]) -> dict[str, pl.DataFrame]:
    return {
        **_profiles(warehouse, weeks),
        "scheme_countries": warehouse.read("from seeds.scheme_countries order by all"),
        "scheme_sectors": warehouse.read("from seeds.scheme_sectors order by all"),
    }


def _selection(warehouse: Warehouse, weeks: list[date]) -> dict[str, Any]:
    return {"selection": read_selection()}


def _nothing(warehouse: Warehouse, weeks: list[date]) -> dict[str, Any]:
    return {}


def pillar_asset(
    contract: TableContract,
    build: Callable[..., Any],
    inputs: Callable[[Warehouse, list[date]], dict[str, Any]],
    deps: list[dg.AssetKey],
    hits_contract: TableContract | None = None,
    note: Callable[[], str] = str,
) -> dg.AssetsDefinition:
    """The weekly asset (or, with evidence rows, the pair of assets) of one pillar.

    ``note`` says what a person should know of a run beside its numbers; empty where there is nothing.
    """
    contracts = [contract] + ([hits_contract] if hits_contract else [])
    key = dg.AssetKey(["features", contract.name])

    @dg.multi_asset(
        name=contract.name,
        specs=[
            dg.AssetSpec(
                ["features", c.name],
                deps=[TRANSACTIONS_KEY, SPINE_KEY, *deps],
                group_name="features",
                kinds={"python", "polars", "duckdb"},
                description=c.description,
                metadata=definition_metadata(c),
                partitions_def=AS_OF_WEEKS,
            )
            for c in contracts
        ],
        check_specs=[check_spec(key)],
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=RETRY,
    )
    def pillar(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        weeks = weeks_of(context)
        history = read_history(warehouse, weeks)
        names = [c.name for c in contract.features]
        profiles, nulls, spine_rows, hits = [], [], 0, 0
        for batch in week_batches(warehouse, weeks):
            spine = read_spine(warehouse, history, batch)
            built = build(history, spine, CONFIG.features, **inputs(warehouse, batch))
            frame, found = built if isinstance(built, tuple) else (built, None)
            warehouse.replace_weeks(contract, frame, batch)
            if hits_contract is not None and found is not None:
                hits += warehouse.replace_weeks(hits_contract, found, batch)
            profiles.append(profile_table(frame, contract))
            nulls.append(frame.select(pl.col(names).null_count()))
            spine_rows += len(spine)
        profile = pl.concat(profiles)
        said = _said(context, note())
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=run_metadata(
                int(profile["rows"].sum()),
                {
                    "weeks": len(weeks),
                    "null ratio": markdown_table(_null_ratios(pl.concat(nulls), spine_rows), rows=len(names)),
                    "distribution": distribution_picture(
                        frame.filter(pl.col("as_of_date") == weeks[-1]), names, f"{contract.address}, {weeks[-1]}"
                    ),
                    **said,
                },
            ),
        )
        yield check_profile(profile, contract, expected_rows=spine_rows)
        if hits_contract is not None:
            yield dg.MaterializeResult(asset_key=["features", hits_contract.name], metadata=run_metadata(hits))

    return pillar


def _said(context: dg.AssetExecutionContext, note: str) -> dict[str, str]:
    """The note as metadata, and in the log."""
    if note:
        context.log.warning(note)
    return {"note": note} if note else {}


def _null_ratios(nulls: pl.DataFrame, rows: int) -> pl.DataFrame:
    return (
        nulls.select(pl.all().sum() / max(1, rows))
        .unpivot(variable_name="feature", value_name="null_ratio")
        .sort("null_ratio", "feature", descending=[True, False])
    )


FIRST_SEEN_KEY = dg.AssetKey(["intermediate", "int_counterparty_first_seen"])
JURISDICTIONS_KEY = dg.AssetKey(["seeds", "jurisdictions"])
SCHEME_KEYS = [dg.AssetKey(["seeds", "scheme_countries"]), dg.AssetKey(["seeds", "scheme_sectors"])]

BUILDS: dict[str, tuple[Callable[..., Any], Callable[[Warehouse, list[date]], dict[str, Any]]]] = {
    "p1_volume_velocity": (p1_volume_velocity.build, _windows),
    "p2_network": (p2_network.build, _network),
    "p3_temporal": (p3_temporal.build, _selection),
    "p4_typology": (p4_typology.build_with_hits, _nothing),
    "p5_profile": (p5_profile.build, _peered),
    "p6_scheme": (p6_scheme.build_with_hits, _schemes),
}
"""How each pillar is built: the function, and what it reads besides the history. A replay builds by the same."""

feat_p1 = pillar_asset(p1_volume_velocity.CONTRACT, *BUILDS["p1_volume_velocity"], [WINDOWS_KEY])
feat_p2 = pillar_asset(p2_network.CONTRACT, *BUILDS["p2_network"], [FIRST_SEEN_KEY, JURISDICTIONS_KEY])
feat_p3 = pillar_asset(p3_temporal.CONTRACT, *BUILDS["p3_temporal"], [dg.AssetKey(["models", "tsfresh_selection"])])
feat_p4 = pillar_asset(p4_typology.CONTRACT, *BUILDS["p4_typology"], [], p4_typology.HITS_CONTRACT)
feat_p5 = pillar_asset(p5_profile.CONTRACT, *BUILDS["p5_profile"], [WINDOWS_KEY], note=segments_note)
feat_p6 = pillar_asset(p6_scheme.CONTRACT, *BUILDS["p6_scheme"], [WINDOWS_KEY, *SCHEME_KEYS], p6_scheme.HITS_CONTRACT)
FEATURE_KEYS = [
    dg.AssetKey(["features", module.CONTRACT.name])
    for module in (p1_volume_velocity, p2_network, p3_temporal, p4_typology, p5_profile, p6_scheme)
]


def _weekly_spec(contract: TableContract, deps: list[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        ["features", contract.name],
        deps=deps,
        group_name="features",
        kinds={"python", "polars", "duckdb"},
        description=contract.description,
        metadata=definition_metadata(contract),
        partitions_def=AS_OF_WEEKS,
    )


GROUPS_KEY = dg.AssetKey(["features", peers.GROUPS_CONTRACT.name])
NORMALS_KEY = dg.AssetKey(["features", peers.NORMALS_CONTRACT.name])


@dg.multi_asset(
    name="peers",
    specs=[
        _weekly_spec(peers.GROUPS_CONTRACT, [SPINE_KEY]),
        _weekly_spec(peers.NORMALS_CONTRACT, [SPINE_KEY, *FEATURE_KEYS]),
    ],
    check_specs=[check_spec(GROUPS_KEY), check_spec(NORMALS_KEY)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
)
def peer_comparison(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """With whom every client is compared, and what is normal among them, for every feature."""
    weeks = weeks_of(context)
    profiles = read_weeks(
        warehouse, "intermediate.int_client_weeks", weeks, "client_id, as_of_date, industry, size_bucket"
    )
    if CONFIG.features.peers_by_segment:
        profiles = peers.with_segments(profiles, memberships_in_use())
    groups = peers.peer_groups(profiles, CONFIG.features)
    parts = [peers.NORMALS_CONTRACT.empty()]
    for batch in week_batches(warehouse, weeks):
        some = pl.col("as_of_date").is_in(batch)
        for key in FEATURE_KEYS:
            frame = read_weeks(warehouse, ".".join(key.path), batch)
            parts.append(peers.normals(frame, profiles.filter(some), groups.filter(some)))
    normals = peers.NORMALS_CONTRACT.conform(pl.concat(parts))
    newest = groups.filter(pl.col("as_of_date") == weeks[-1])
    levels = newest.group_by("peer_level").agg(
        pl.len().alias("clients"), pl.col("peer_group").n_unique().alias("groups"), pl.col("peer_count").min()
    )
    warehouse.replace_weeks(peers.GROUPS_CONTRACT, groups, weeks)
    warehouse.replace_weeks(peers.NORMALS_CONTRACT, normals, weeks)
    yield dg.MaterializeResult(
        asset_key=GROUPS_KEY,
        metadata=run_metadata(
            groups.height,
            {"newest week": markdown_table(levels.sort("peer_level")), **_said(context, segments_note())},
        ),
    )
    yield check_result(groups, peers.GROUPS_CONTRACT, expected_rows=profiles.height)
    yield dg.MaterializeResult(asset_key=NORMALS_KEY, metadata=run_metadata(normals.height))
    yield check_result(normals, peers.NORMALS_CONTRACT)


PATHS_KEY = dg.AssetKey(["features", blacklist_paths.CONTRACT.name])


@dg.multi_asset(
    name="blacklist_paths",
    specs=[
        _weekly_spec(blacklist_paths.CONTRACT, [TRANSACTIONS_KEY, SPINE_KEY, dg.AssetKey(["staging", "stg_blacklist"])])
    ],
    check_specs=[check_spec(PATHS_KEY)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
)
def paths_to_listed_parties(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """The shortest paths from clients to listed parties."""
    weeks = weeks_of(context)
    history = read_history(warehouse, weeks)
    blacklist = warehouse.read("select entity_id, list_name, listed_date from staging.stg_blacklist order by all")
    frame = blacklist_paths.build(history, read_spine(warehouse, history, weeks), CONFIG.features, blacklist=blacklist)
    warehouse.replace_weeks(blacklist_paths.CONTRACT, frame, weeks)
    hops = frame.filter(pl.col("as_of_date") == weeks[-1]).group_by("path_hops").len("paths").sort("path_hops")
    yield dg.MaterializeResult(
        asset_key=PATHS_KEY, metadata=run_metadata(frame.height, {"newest week": markdown_table(hops)})
    )
    # no path at all is a good week, not a missing one
    yield check_result(frame, blacklist_paths.CONTRACT, allows_empty=True)


FEATURE_ASSETS = [feat_p1, feat_p2, feat_p3, feat_p4, feat_p5, feat_p6, peer_comparison, paths_to_listed_parties]
