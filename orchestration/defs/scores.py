"""Scoring of whole weeks with the champion: tier 1, tier 2, aggregation with bands, contributions and reasons."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.explain.decomposition import CONTRIBUTIONS_CONTRACT, pillar_contributions, tier2_parts
from ml_assets.explain.reasons import NORMAL_DAYS, REASONS_CONTRACT, explain_alerts
from ml_assets.features.peers import GROUPS_CONTRACT, NORMALS_CONTRACT
from ml_assets.models.aggregation import SCORES_CONTRACT
from ml_assets.models.memory import earlier_weeks
from ml_assets.models.names import PILLARS, SCHEME_PILLAR
from ml_assets.models.pipeline import add_scheme_score, score_clients, tier2_inputs, widen
from ml_assets.models.registry import ModelBundle
from ml_assets.models.tier1 import TIER1_CONTRACTS, score_tier1
from ml_assets.models.tier2 import TIER2_CONTRACT, score_tier2
from orchestration.defs.checks import check_result, check_spec
from orchestration.defs.metadata import definition_metadata, distribution_picture, markdown_table, run_metadata
from orchestration.defs.partitions import AS_OF_WEEKS, weeks_of
from orchestration.defs.reading import read_weeks, week_batches
from orchestration.defs.resources import CONFIG, Warehouse
from orchestration.defs.scoring_gate import SUPPORT_KEY, input_support, scoring_model
from orchestration.defs.training import CONTRACTS, PROMOTIONS_KEY, feature_keys, read_columns, read_selection
from orchestration.defs.warehouse import RETRY

METRICS_KEY = dg.AssetKey(["models", "metrics"])
WEEKLY: dict[str, Any] = {
    "partitions_def": AS_OF_WEEKS,
    "backfill_policy": dg.BackfillPolicy.single_run(),
    "retry_policy": RETRY,
}


def _finish(
    warehouse: Warehouse,
    contract: TableContract,
    frame: pl.DataFrame,
    weeks: list[date],
    model_id: str,
    expected_rows: int | None,
    more: dict[str, Any] | None = None,
) -> Iterator[Any]:
    """Write the weeks, report them, check them."""
    rows = warehouse.replace_weeks(contract, frame, weeks)
    yield dg.MaterializeResult(
        asset_key=[contract.schema, contract.name],
        metadata=run_metadata(rows, {"model_id": model_id, "weeks": len(weeks), **(more or {})}),
    )
    if expected_rows is not None:
        yield check_result(frame, contract, expected_rows=expected_rows)


def _spine_rows(warehouse: Warehouse, weeks: list[date]) -> int:
    return read_weeks(warehouse, "intermediate.int_client_weeks", weeks, "client_id, as_of_date").height


def tier1_asset(pillar: str) -> dg.AssetsDefinition:
    """The weekly scoring asset of one pillar."""
    contract = TIER1_CONTRACTS[pillar]
    key = dg.AssetKey([contract.schema, contract.name])

    @dg.asset(
        key=key,
        deps=[*feature_keys(pillar), PROMOTIONS_KEY, SUPPORT_KEY],
        group_name="tier1",
        kinds={"python", "xgboost", "duckdb"},
        description=contract.description,
        metadata=definition_metadata(contract),
        check_specs=[check_spec(key)],
        **WEEKLY,
    )
    def tier1_scores(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
        weeks, bundle = weeks_of(context), scoring_model()
        frame = score_tier1(
            bundle.tier1[pillar], read_weeks(warehouse, CONTRACTS[pillar].address, weeks), bundle.model_id
        )
        picture = distribution_picture(
            frame.filter(pl.col("as_of_date") == weeks[-1]),
            ["supervised_score", "unsupervised_score", "pillar_score"],
            f"{contract.address}, {weeks[-1]}",
        )
        yield from _finish(
            warehouse, contract, frame, weeks, bundle.model_id, _spine_rows(warehouse, weeks), {"distribution": picture}
        )

    return tier1_scores


TIER1_ASSETS = [tier1_asset(pillar) for pillar in PILLARS]
TIER1_KEYS = [dg.AssetKey([c.schema, c.name]) for c in TIER1_CONTRACTS.values()]
TIER2_KEY = dg.AssetKey([TIER2_CONTRACT.schema, TIER2_CONTRACT.name])
SCORES_KEY = dg.AssetKey([SCORES_CONTRACT.schema, SCORES_CONTRACT.name])


def _pillar_scores(warehouse: Warehouse, weeks: list[date]) -> pl.DataFrame:
    return widen({p: read_weeks(warehouse, c.address, weeks) for p, c in TIER1_CONTRACTS.items()})


def _all_scores(warehouse: Warehouse, weeks: list[date]) -> pl.DataFrame:
    return add_scheme_score(_pillar_scores(warehouse, weeks), read_weeks(warehouse, TIER2_CONTRACT.address, weeks))


def _remembered_scores(warehouse: Warehouse, bundle: ModelBundle, weeks: list[date]) -> pl.DataFrame:
    """S_P1..S_P5 of the weeks the memory looks back on, by the model that scores now.

    A week whose tier-1 table holds another model's scores (published scores are kept when a new model takes over) is
    scored again from its features: a week's score must not depend on who scored the weeks before.
    """
    past = earlier_weeks(weeks, bundle.config.models.memory_weeks)
    columns = ["client_id", "as_of_date", "pillar_score"]
    scored = {}
    for pillar, model in bundle.tier1.items():
        stored = read_weeks(warehouse, TIER1_CONTRACTS[pillar].address, past, ", ".join([*columns, "model_id"]))
        stored = stored.filter(pl.col("model_id") == bundle.model_id).select(columns)
        rest = sorted(set(past) - set(stored["as_of_date"].unique()))
        again = score_tier1(model, read_columns(warehouse, pillar, model.features, rest), bundle.model_id)
        scored[pillar] = pl.concat([stored, again.select(columns)])
    return widen(scored)


def _tier2_inputs(warehouse: Warehouse, bundle: ModelBundle, weeks: list[date]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Design and scheme scores of whole weeks."""
    indicators = read_weeks(warehouse, CONTRACTS[SCHEME_PILLAR].address, weeks)
    raw = bundle.tier2.raw_features
    features = {p: read_columns(warehouse, p, names, weeks) for p, names in raw.items()}
    wide = pl.concat([_remembered_scores(warehouse, bundle, weeks), _pillar_scores(warehouse, weeks)])
    return tier2_inputs(wide, indicators, bundle.config.models, features, raw)


@dg.asset(
    key=TIER2_KEY,
    deps=[*TIER1_KEYS, *feature_keys(*CONTRACTS), PROMOTIONS_KEY],
    group_name="tier2",
    kinds={"python", "xgboost", "duckdb"},
    description=TIER2_CONTRACT.description,
    metadata=definition_metadata(TIER2_CONTRACT),
    check_specs=[check_spec(TIER2_KEY)],
    **WEEKLY,
)
def tier2_scheme(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Score the schemes."""
    weeks, bundle = weeks_of(context), scoring_model()
    parts = [
        score_tier2(bundle.tier2, *_tier2_inputs(warehouse, bundle, batch), bundle.model_id)
        for batch in week_batches(warehouse, weeks)
    ]
    frame = pl.concat(parts).sort("client_id", "as_of_date")
    yield from _finish(warehouse, TIER2_CONTRACT, frame, weeks, bundle.model_id, _spine_rows(warehouse, weeks))


@dg.asset(
    key=SCORES_KEY,
    deps=[*TIER1_KEYS, TIER2_KEY, PROMOTIONS_KEY],
    group_name="scores",
    kinds={"python", "duckdb"},
    description=SCORES_CONTRACT.description,
    metadata=definition_metadata(SCORES_CONTRACT),
    check_specs=[check_spec(SCORES_KEY)],
    **WEEKLY,
)
def client_scores(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Aggregate, calibrate, band and rank; the band of the week before decides what holds on the way down."""
    weeks, bundle = weeks_of(context), scoring_model()
    previous = None
    if warehouse.exists(SCORES_CONTRACT.address):
        before = read_weeks(
            warehouse, SCORES_CONTRACT.address, [weeks[0] - timedelta(days=7)], "client_id, as_of_date, band"
        )
        previous = before.select("client_id", "band") if before.height else None
    frame = score_clients(bundle.aggregation, _all_scores(warehouse, weeks), bundle.plan, previous, bundle.model_id)
    newest = frame.filter(pl.col("as_of_date") == weeks[-1])
    shown = {
        "bands": markdown_table(newest.group_by("band").len("clients").sort("clients")),
        "riskiest": markdown_table(
            newest.sort("rank_in_week_count", nulls_last=True).select("client_id", "bcrs_score", "band"), rows=10
        ),
        "distribution": distribution_picture(
            newest, ["bcrs_score", "linear_score", "boosting_score", "bayesian_score"], f"scores, {weeks[-1]}"
        ),
    }
    yield from _finish(warehouse, SCORES_CONTRACT, frame, weeks, bundle.model_id, _spine_rows(warehouse, weeks), shown)


@dg.asset(
    key=[CONTRIBUTIONS_CONTRACT.schema, CONTRIBUTIONS_CONTRACT.name],
    deps=[SCORES_KEY, *TIER1_KEYS, TIER2_KEY, *feature_keys(*CONTRACTS)],
    group_name="scores",
    kinds={"python", "duckdb"},
    description=CONTRIBUTIONS_CONTRACT.description,
    metadata=definition_metadata(CONTRIBUTIONS_CONTRACT),
    **WEEKLY,
)
def contributions(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Split the champion's raw score into pillars, for clients above MINIMAL."""
    weeks, bundle = weeks_of(context), scoring_model()
    above = read_weeks(warehouse, SCORES_CONTRACT.address, weeks, "client_id, as_of_date, band").filter(
        pl.col("band") != "MINIMAL"
    )
    parts = []
    for batch in week_batches(warehouse, weeks):
        wide = _all_scores(warehouse, batch).join(above, on=["client_id", "as_of_date"], how="semi")
        design = _tier2_inputs(warehouse, bundle, batch)[0]
        design = design.join(above, on=["client_id", "as_of_date"], how="semi", maintain_order="left")
        parts.append(pillar_contributions(bundle.aggregation, wide, inside=tier2_parts(bundle.tier2, design)))
    frame = pl.concat(parts)
    yield from _finish(warehouse, CONTRIBUTIONS_CONTRACT, frame, weeks, bundle.model_id, None)


@dg.asset(
    key=[REASONS_CONTRACT.schema, REASONS_CONTRACT.name],
    deps=[
        SCORES_KEY,
        dg.AssetKey([CONTRIBUTIONS_CONTRACT.schema, CONTRIBUTIONS_CONTRACT.name]),
        *feature_keys(*CONTRACTS),
        *(dg.AssetKey([c.schema, c.name]) for c in (GROUPS_CONTRACT, NORMALS_CONTRACT)),
    ],
    group_name="scores",
    kinds={"python", "xgboost", "duckdb"},
    description=REASONS_CONTRACT.description,
    metadata=definition_metadata(REASONS_CONTRACT),
    **WEEKLY,
)
def reasons(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """The strongest reasons of every alert, with the client's own normal and its peers' normal."""
    weeks, bundle = weeks_of(context), scoring_model()
    parts = [_explain(warehouse, bundle, batch) for batch in week_batches(warehouse, weeks)]
    yield from _finish(warehouse, REASONS_CONTRACT, pl.concat(parts), weeks, bundle.model_id, None)


def _explain(warehouse: Warehouse, bundle: ModelBundle, weeks: list[date]) -> pl.DataFrame:
    # the riskiest clients of a week are shown with their reason even where they are no alert
    alerts = (
        read_weeks(warehouse, SCORES_CONTRACT.address, weeks, "client_id, as_of_date, is_alert, rank_in_week_count")
        .filter(pl.col("is_alert") | (pl.col("rank_in_week_count") <= CONFIG.models.explained_clients))
        .select("client_id", "as_of_date")
    )
    return explain_clients(warehouse, bundle, alerts, weeks)


def explain_clients(warehouse: Warehouse, bundle: ModelBundle, alerts: pl.DataFrame, weeks: list[date]) -> pl.DataFrame:
    """Reasons of the given clients (client_id, as_of_date) in the given weeks, alerts or not."""
    groups = read_weeks(warehouse, GROUPS_CONTRACT.address, weeks)
    normals = warehouse.read(
        f"from {NORMALS_CONTRACT.address} where as_of_date in (select unnest(?::date[])) order by all", [weeks]
    )
    features = {p: _alert_features(warehouse, c.address, alerts, weeks) for p, c in CONTRACTS.items()}
    return explain_alerts(
        bundle,
        alerts,
        _all_scores(warehouse, weeks),
        features,
        _worded_contracts(),
        groups,
        normals,
    )


def _worded_contracts() -> dict[str, TableContract]:
    """Feature contracts in which the slots of P3 bear the names of the characteristics they hold."""
    selection = read_selection()
    names = {slot: c.name for slot, c in selection.slots().items()} if selection else {}
    p3 = CONTRACTS["p3_temporal"]
    columns = tuple(
        replace(c, description=f"Daily series characteristic {names[c.name]}") if c.name in names else c
        for c in p3.columns
    )
    return {**CONTRACTS, "p3_temporal": replace(p3, columns=columns)}


def _alert_features(warehouse: Warehouse, address: str, alerts: pl.DataFrame, weeks: list[date]) -> pl.DataFrame:
    """Feature rows of the alerts' clients in the alerts' weeks and in the year before them."""
    return warehouse.read(
        f"select * from {address} where as_of_date <= ? and as_of_date >= ? "
        "and client_id in (select unnest(?::varchar[])) order by client_id, as_of_date",
        [weeks[-1], weeks[0] - timedelta(days=NORMAL_DAYS), alerts["client_id"].unique().sort().to_list()],
    )


SCORE_ASSETS = [input_support, *TIER1_ASSETS, tier2_scheme, client_scores, contributions, reasons]
