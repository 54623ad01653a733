"""Monitoring as assets: the frozen reference of a model, and what moved in each week since.

Every table holds one row per week and subject and is replaced by weeks, so a new week reads its own rows, the week
before it and the small frozen reference, however many weeks lie behind. The checks never stop a run: a person reads
them, and publishing a suspect week with its warning is better than publishing nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.config import Threshold
from ml_assets.contracts import TableContract
from ml_assets.evaluation.drift import (
    AMOUNT_DRIFT,
    EXPLANATION_DRIFT,
    FAMILY_DRIFT,
    FEATURE_DRIFT,
    LABEL_ARRIVAL,
    REFERENCE_BINS,
    REFERENCE_LEVELS,
    SCORE_DRIFT,
    amount_drift,
    amount_levels,
    explanation_drift,
    family_drift,
    feature_drift,
    freeze,
    label_arrival,
    label_levels,
    sample_clients,
    score_drift,
    worst_status,
)
from ml_assets.explain.decomposition import CONTRIBUTIONS_CONTRACT
from ml_assets.models.aggregation import SCORES_CONTRACT
from ml_assets.models.names import PILLARS, SCHEME_PILLAR, SCORE_OF
from ml_assets.models.pipeline import score_weeks
from ml_assets.models.registry import ModelBundle
from ml_assets.models.splits import SplitPlan
from ml_assets.models.tier1 import TIER1_CONTRACTS
from ml_assets.models.tier2 import TIER2_CONTRACT
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.partitions import AS_OF_WEEKS, weeks_of
from orchestration.defs.reading import TRANSACTIONS_KEY, read_weeks, week_batches
from orchestration.defs.resources import CONFIG, Warehouse
from orchestration.defs.scores import SCORES_KEY, TIER1_KEYS, TIER2_KEY
from orchestration.defs.scoring_gate import scoring_model
from orchestration.defs.training import CONTRACTS, PROMOTIONS_KEY, feature_keys, scoring_features, weekly

TRAINING_WEEKS_AT_MOST = 12
"""Training weeks the bins are made from at most, evenly spread: neighbouring weeks share most of their windows."""

ALERT_LOOKBACK_DAYS = 182
"""How far before a report its client's first alert is looked for: half a year."""

WEEKLY: dict[str, Any] = {
    "group_name": "monitoring",
    "partitions_def": AS_OF_WEEKS,
    "backfill_policy": dg.BackfillPolicy.single_run(),
}
LABELS_KEY = dg.AssetKey(["staging", "stg_str_labels"])
CONTRIBUTIONS_KEY = dg.AssetKey([CONTRIBUTIONS_CONTRACT.schema, CONTRIBUTIONS_CONTRACT.name])


def _key(contract: TableContract) -> dg.AssetKey:
    return dg.AssetKey([contract.schema, contract.name])


REFERENCE_KEYS = [_key(REFERENCE_BINS), _key(REFERENCE_LEVELS)]


def _spread(weeks: Sequence[date], at_most: int) -> list[date]:
    """At most so many of ``weeks``, evenly spread, the newest among them."""
    step = max(1, -(-len(weeks) // at_most))
    return list(weeks[::-1][::step][::-1])


def _rows(warehouse: Warehouse, address: str, weeks: Sequence[date]) -> pl.DataFrame:
    """Rows of the weeks in no particular order: sorting three hundred columns would take longer than counting them."""
    return warehouse.read(f"from {address} where as_of_date in (select unnest(?::date[]))", [list(weeks)])


def _payments(warehouse: Warehouse, weeks: Sequence[date], by_week: bool) -> pl.DataFrame:
    """Level of payments by currency, of each week or of all weeks together.

    As-of dates are Mondays, so the seven days before one are a calendar week. Rounded: sums of floats depend on the
    order of the threads.
    """
    keys = "as_of_date, currency" if by_week else "currency"
    return warehouse.read(
        f"select {keys}, count(*)::bigint as txn_count, round(avg(log10(amount)), 9) as mean_log10, "
        "round(stddev_pop(log10(amount)), 9) as std_log10 from ("
        "select (date_trunc('week', txn_date) + interval 7 day)::date as as_of_date, currency, known_date, "
        "amount_base::double as amount from intermediate.int_transactions "
        "where txn_date >= ? and txn_date < ? and amount_base > 0) "
        "where as_of_date in (select unnest(?::date[])) and known_date < as_of_date group by all order by all",
        [min(weeks) - timedelta(days=7), max(weeks), list(weeks)],
    )


def _reports(warehouse: Warehouse, weeks: Sequence[date]) -> pl.DataFrame:
    """Arrival of reports in each week, with the trailing span the check looks at."""
    span = CONFIG.monitoring.label_weeks
    return warehouse.read(
        "with weeks as (select as_of_date, count(*) as clients_count from intermediate.int_client_weeks "
        "  where as_of_date > ? and as_of_date <= ? group by all), "
        "reports as (select l.client_id, l.str_date, min(d._known_floor) as floor_date "
        "  from staging.stg_str_labels as l left join raw.deliveries as d using (_delivery_id) "
        "  where l.is_str and coalesce(d.entity, 'str_labels') = 'str_labels' group by all), "
        "placed as (select (date_trunc('week', str_date) + interval 7 day)::date as as_of_date, * from reports), "
        "leads as (select p.client_id, p.str_date, p.as_of_date, p.str_date - min(s.as_of_date) as lead_days "
        "  from placed as p inner join scores.client_scores as s on p.client_id = s.client_id "
        "  where s.is_alert and s.as_of_date <= p.str_date and s.as_of_date > ? and s.as_of_date <= ? "
        f"  and s.as_of_date >= p.str_date - {ALERT_LOOKBACK_DAYS} group by p.client_id, p.str_date, p.as_of_date), "
        "lead_weeks as (select as_of_date, median(lead_days) as alert_lead_days from leads group by all), "
        "counted as (select as_of_date, count(*) as reported_count, "
        "  count(case when floor_date > as_of_date then 1 end) as late_count, "
        "  median(case when floor_date > str_date then floor_date - str_date end) as delivery_delay_days "
        "  from placed group by all), "
        "joined as (select w.as_of_date, w.clients_count, coalesce(c.reported_count, 0) as reported_count, "
        "  coalesce(c.late_count, 0) as late_count, c.delivery_delay_days::double as delivery_delay_days, "
        "  l.alert_lead_days::double as alert_lead_days from weeks as w left join counted as c using (as_of_date) "
        "  left join lead_weeks as l using (as_of_date)), "
        "final as (select *, (select count(*) from reports as r where r.str_date < joined.as_of_date) "
        "  as reported_known_count, "
        "  (sum(reported_count) over latest_weeks)::bigint as trailing_reported_count, "
        "  (sum(clients_count) over latest_weeks)::bigint as trailing_client_weeks_count from joined "
        f"  window latest_weeks as (order by as_of_date rows between {span - 1} preceding and current row)) "
        "select * from final where as_of_date in (select unnest(?::date[])) order by as_of_date",
        [
            min(weeks) - timedelta(days=7 * span),
            max(weeks),
            min(weeks) - timedelta(days=7 + ALERT_LOOKBACK_DAYS),
            max(weeks),
            list(weeks),
        ],
    )


def _usual_reports(warehouse: Warehouse, weeks: Sequence[date]) -> pl.DataFrame:
    """Client-weeks of some weeks, and reports dated in the seven days before each of them: one row."""
    return warehouse.read(
        "select (select count(*) from intermediate.int_client_weeks where as_of_date in (select unnest(?::date[]))) "
        "as client_weeks_count, count(distinct (client_id, str_date)) as reported_count "
        "from staging.stg_str_labels where is_str "
        "and (date_trunc('week', str_date) + interval 7 day)::date in (select unnest(?::date[]))",
        [list(weeks), list(weeks)],
    )


def freeze_reference(warehouse: Warehouse, bundle: ModelBundle) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bins and levels of a model's training weeks; scores from its validation weeks."""
    config, plan, model_id = CONFIG.monitoring, bundle.plan, bundle.model_id
    weeks = _spread(plan.train_weeks, TRAINING_WEEKS_AT_MOST)
    chosen = sample_clients(
        read_weeks(warehouse, "intermediate.int_client_weeks", weeks, "client_id, as_of_date")["client_id"], config
    )
    parts = []
    for contract in CONTRACTS.values():
        frame = _rows(warehouse, contract.address, weeks).filter(pl.col("client_id").is_in(chosen.implode()))
        parts.append(freeze(frame, [c.name for c in contract.features], model_id, config))
    held_out = _reference_weeks(plan)
    scored = score_weeks(bundle, scoring_features(warehouse, held_out, bundle.config.models.memory_weeks))
    scores = scored.wide.join(
        scored.scores.select("client_id", "as_of_date", bcrs="bcrs_score"), on=["client_id", "as_of_date"]
    ).rename({column: pillar for pillar, column in SCORE_OF.items()})
    parts.append(freeze(scores, ["bcrs", *PILLARS, SCHEME_PILLAR], model_id, config, prefix="score:"))
    usual = _usual_reports(warehouse, plan.train_weeks)
    levels = [levels for _, levels in parts]
    levels.append(amount_levels(_payments(warehouse, plan.train_weeks, by_week=False), model_id))
    levels.append(
        label_levels(usual["client_weeks_count"].item(), usual["reported_count"].item(), chosen.len(), model_id)
    )
    return pl.concat([bins for bins, _ in parts]), pl.concat(levels)


def _reference_weeks(plan: SplitPlan) -> list[date]:
    """Weeks whose scores are the reference: the newest validation weeks, or training weeks where there are none."""
    return list(plan.validation_weeks or plan.train_weeks)[-CONFIG.monitoring.score_reference_weeks :]


def _reference(warehouse: Warehouse, bundle: ModelBundle) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The frozen reference of a model; made now for a model that was promoted before there was one."""
    if not _is_frozen(warehouse, bundle.model_id):
        _write_reference(warehouse, bundle)
    return tuple(
        warehouse.read(f"from {c.address} where model_id = ?", [bundle.model_id])
        for c in (REFERENCE_BINS, REFERENCE_LEVELS)
    )  # type: ignore[return-value]


def _is_frozen(warehouse: Warehouse, model_id: str) -> bool:
    return warehouse.exists(REFERENCE_LEVELS.address) and bool(
        warehouse.read(f"select count(*) as n from {REFERENCE_LEVELS.address} where model_id = ?", [model_id]).item()
    )


def _write_reference(warehouse: Warehouse, bundle: ModelBundle) -> None:
    bins, levels = freeze_reference(warehouse, bundle)
    warehouse.replace_model(REFERENCE_BINS, bins, bundle.model_id)
    # last: where its levels are, a model's reference is whole
    warehouse.replace_model(REFERENCE_LEVELS, levels, bundle.model_id)


@dg.multi_asset(
    name="monitoring_reference",
    group_name="monitoring",
    specs=[
        dg.AssetSpec(
            _key(contract),
            deps=[PROMOTIONS_KEY, TRANSACTIONS_KEY, LABELS_KEY, *weekly(*feature_keys(*CONTRACTS))],
            description=contract.description + " Written once per model and never changed.",
            metadata=definition_metadata(contract),
            kinds={"python", "duckdb"},
        )
        for contract in (REFERENCE_BINS, REFERENCE_LEVELS)
    ],
)
def monitoring_reference(warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """Freeze what the champion's training weeks looked like."""
    bundle = scoring_model()
    tables = _reference(warehouse, bundle)
    for contract, table in zip((REFERENCE_BINS, REFERENCE_LEVELS), tables, strict=True):
        yield dg.MaterializeResult(
            asset_key=_key(contract),
            metadata=run_metadata(table.height, {"model_id": bundle.model_id, "subjects": table["subject"].n_unique()}),
        )


def _check(contract: TableContract, name: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=_key(contract), description=description)


def _limits(limits: Sequence[Threshold]) -> dg.MetadataValue:
    table = pl.DataFrame(
        [(t.value, t.unit, t.reason, t.source, t.decided.isoformat()) for t in limits],
        schema=["value", "unit", "reason", "source", "decided"],
        orient="row",
    )
    return markdown_table(table)


def _verdict(
    contract: TableContract, name: str, frame: pl.DataFrame, shown: Sequence[str], limits: Sequence[Threshold]
) -> dg.AssetCheckResult:
    """Judge the newest week of a table: WARN where something drifted, ERROR where it is gross."""
    newest = frame.filter(pl.col("as_of_date") == pl.col("as_of_date").max())
    status = worst_status(newest["status"])
    offenders = newest.filter(pl.col("status").is_in(["watch", "drift", "gross"])).select(shown)
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=_key(contract),
        passed=status not in ("drift", "gross"),
        severity=dg.AssetCheckSeverity.ERROR if status == "gross" else dg.AssetCheckSeverity.WARN,
        metadata={
            "status": status,
            "as_of_date": str(newest["as_of_date"].max()) if newest.height else "none",
            "what moved": markdown_table(offenders, 40) if offenders.height else "nothing",
            "weeks judged drift or gross in this run": ", ".join(
                str(d) for d in frame.filter(pl.col("status").is_in(["drift", "gross"]))["as_of_date"].unique().sort()
            )
            or "none",
            "limits": _limits(limits),
        },
    )


def _write(
    warehouse: Warehouse, contract: TableContract, frame: pl.DataFrame, weeks: list[date], more: dict[str, Any]
) -> dg.MaterializeResult:
    rows = warehouse.replace_weeks(contract, frame, weeks)
    return dg.MaterializeResult(asset_key=_key(contract), metadata=run_metadata(rows, {"weeks": len(weeks), **more}))


FEATURES_CHECK = "features_like_in_training"
AMOUNTS_CHECK = "amounts_keep_their_unit"
SCORES_CHECK = "scores_like_on_validation"
EXPLANATION_CHECK = "alerts_for_the_same_reasons"
LABELS_CHECK = "reports_arrive"


@dg.multi_asset(
    name="monitoring_features",
    specs=[
        dg.AssetSpec(
            _key(contract),
            deps=[*REFERENCE_KEYS, *feature_keys(*CONTRACTS)],
            description=contract.description,
            metadata=definition_metadata(contract),
            group_name="monitoring",
            kinds={"python", "duckdb"},
        )
        for contract in (FEATURE_DRIFT, FAMILY_DRIFT)
    ],
    check_specs=[
        _check(
            FAMILY_DRIFT,
            FEATURES_CHECK,
            "No family of features has a mean PSI beyond noise, or a change of its missing values, over the limits.",
        )
    ],
    partitions_def=AS_OF_WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def monitoring_features(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """PSI and missing values of every feature and family."""
    weeks, bundle, config = weeks_of(context), scoring_model(), CONFIG.monitoring
    bins, levels = _reference(warehouse, bundle)
    parts = []
    for batch in week_batches(warehouse, weeks):
        for contract in CONTRACTS.values():
            frame = _rows(warehouse, contract.address, batch)
            parts.append(feature_drift(frame, bins, levels, bundle.model_id, config))
    features = pl.concat(parts)
    families = family_drift(features, config)
    newest = families.filter(pl.col("as_of_date") == weeks[-1]).sort("psi_mean", descending=True, nulls_last=True)
    shown = ["family", "psi_mean", "psi_max", "worst_feature", "null_ratio", "reference_null_ratio", "status"]
    yield _write(warehouse, FEATURE_DRIFT, features, weeks, {"model_id": bundle.model_id})
    yield _write(warehouse, FAMILY_DRIFT, families, weeks, {"newest week": markdown_table(newest.select(shown), 40)})
    yield _verdict(
        FAMILY_DRIFT,
        FEATURES_CHECK,
        families,
        shown,
        [config.psi_watch, config.psi_drift, config.psi_gross, config.null_drift, config.null_gross],
    )


@dg.asset(
    key=_key(AMOUNT_DRIFT),
    deps=[*REFERENCE_KEYS, TRANSACTIONS_KEY],
    kinds={"python", "duckdb"},
    description=AMOUNT_DRIFT.description,
    metadata=definition_metadata(AMOUNT_DRIFT),
    check_specs=[
        _check(AMOUNT_DRIFT, AMOUNTS_CHECK, "No currency's payments have moved by a factor that only a unit explains.")
    ],
    **WEEKLY,
)
def monitoring_amounts(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Level of payments by currency."""
    weeks, bundle, config = weeks_of(context), scoring_model(), CONFIG.monitoring
    _, levels = _reference(warehouse, bundle)
    frame = amount_drift(_payments(warehouse, weeks, by_week=True), levels, bundle.model_id, config)
    newest = frame.filter(pl.col("as_of_date") == weeks[-1]).sort("txn_count", descending=True)
    shown = ["currency", "txn_count", "level_log10", "reference_level_log10", "shift_log10", "shift_sigma", "status"]
    yield _write(warehouse, AMOUNT_DRIFT, frame, weeks, {"newest week": markdown_table(newest.select(shown), 40)})
    yield _verdict(AMOUNT_DRIFT, AMOUNTS_CHECK, frame, shown, [config.amount_drift, config.amount_gross])


@dg.asset(
    key=_key(SCORE_DRIFT),
    deps=[*REFERENCE_KEYS, SCORES_KEY, *TIER1_KEYS, TIER2_KEY],
    kinds={"python", "duckdb"},
    description=SCORE_DRIFT.description,
    metadata=definition_metadata(SCORE_DRIFT),
    check_specs=[_check(SCORE_DRIFT, SCORES_CHECK, "B-CRS and pillar scores are distributed as on validation weeks.")],
    **WEEKLY,
)
def monitoring_scores(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """PSI and mean of the scores."""
    weeks, bundle, config = weeks_of(context), scoring_model(), CONFIG.monitoring
    bins, levels = _reference(warehouse, bundle)
    tables = {**{p: (c.address, "pillar_score") for p, c in TIER1_CONTRACTS.items()}}
    tables[SCHEME_PILLAR] = (TIER2_CONTRACT.address, "scheme_score")
    scores = read_weeks(warehouse, SCORES_CONTRACT.address, weeks, "client_id, as_of_date, bcrs_score as bcrs")
    for pillar, (address, column) in tables.items():
        part = read_weeks(warehouse, address, weeks, f"client_id, as_of_date, {column} as {pillar}")
        scores = scores.join(part, on=["client_id", "as_of_date"], how="left", maintain_order="left")
    frame = score_drift(scores, bins, levels, bundle.model_id, config)
    newest = frame.filter(pl.col("as_of_date") == weeks[-1])
    shown = ["score", "psi_value", "psi_noise", "mean_score", "reference_mean_score", "null_ratio", "status"]
    yield _write(warehouse, SCORE_DRIFT, frame, weeks, {"newest week": markdown_table(newest.select(shown), 40)})
    yield _verdict(SCORE_DRIFT, SCORES_CHECK, frame, shown, [config.psi_watch, config.psi_drift, config.psi_gross])


@dg.asset(
    key=_key(EXPLANATION_DRIFT),
    deps=[SCORES_KEY, CONTRIBUTIONS_KEY],
    kinds={"python", "duckdb"},
    description=EXPLANATION_DRIFT.description,
    metadata=definition_metadata(EXPLANATION_DRIFT),
    check_specs=[
        _check(EXPLANATION_DRIFT, EXPLANATION_CHECK, "The mix of pillars behind alerts is that of the week before.")
    ],
    **WEEKLY,
)
def monitoring_explanations(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Shares of the pillars in what raised the alerts."""
    weeks, config = weeks_of(context), CONFIG.monitoring
    looked_at = sorted({*weeks, *(week - timedelta(days=7) for week in weeks)})
    alerts = read_weeks(warehouse, SCORES_CONTRACT.address, looked_at, "client_id, as_of_date, is_alert").filter(
        "is_alert"
    )
    contributions = read_weeks(
        warehouse, CONTRIBUTIONS_CONTRACT.address, looked_at, "client_id, as_of_date, pillar, contribution"
    )
    frame = explanation_drift(contributions, alerts.select("client_id", "as_of_date"), weeks, config)
    newest = frame.filter(pl.col("as_of_date") == weeks[-1])
    shown = ["pillar", "share_ratio", "previous_share_ratio", "distance_value", "alerts_count", "status"]
    yield _write(warehouse, EXPLANATION_DRIFT, frame, weeks, {"newest week": markdown_table(newest.select(shown))})
    yield _verdict(
        EXPLANATION_DRIFT, EXPLANATION_CHECK, frame, shown, [config.explanation_drift, config.explanation_gross]
    )


@dg.asset(
    key=_key(LABEL_ARRIVAL),
    deps=[*REFERENCE_KEYS, SCORES_KEY, LABELS_KEY, dg.AssetKey(["raw", "deliveries"])],
    kinds={"python", "duckdb"},
    description=LABEL_ARRIVAL.description,
    metadata=definition_metadata(LABEL_ARRIVAL),
    check_specs=[_check(LABEL_ARRIVAL, LABELS_CHECK, "Reports arrive at no less than a share of the usual rate.")],
    **WEEKLY,
)
def monitoring_labels(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Arrival of suspicious transaction reports."""
    weeks, bundle, config = weeks_of(context), scoring_model(), CONFIG.monitoring
    _, levels = _reference(warehouse, bundle)
    frame = label_arrival(_reports(warehouse, weeks), levels, bundle.model_id, config)
    shown = ["as_of_date", "reported_count", "reported_known_count", "alert_lead_days", "arrival_ratio", "status"]
    yield _write(warehouse, LABEL_ARRIVAL, frame, weeks, {"newest weeks": markdown_table(frame.select(shown).tail(8))})
    yield _verdict(LABEL_ARRIVAL, LABELS_CHECK, frame, shown, [config.label_drift])


MONITORING_ASSETS = [
    monitoring_features,
    monitoring_amounts,
    monitoring_scores,
    monitoring_explanations,
    monitoring_labels,
]
"""Assets of every week, between scores and marts."""
