"""Before scores: may this model score these weeks? And after: what was published, kept for good."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.features.peers import memberships_hash
from ml_assets.models.aggregation import SCORES_CONTRACT
from ml_assets.models.ledger import FROM_SCORES, PUBLISHED, as_published, record
from ml_assets.models.registry import ModelBundle, RegistryError, load_champion
from ml_assets.models.support import INPUT_SUPPORT, judge_week, measure_week
from orchestration.defs.memberships import memberships_in_use
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.partitions import AS_OF_WEEKS, weeks_of
from orchestration.defs.reading import read_weeks, week_batches
from orchestration.defs.resources import CONFIG, SETTINGS, Warehouse
from orchestration.defs.training import CONTRACTS, FEATURE_HASH, PROMOTIONS_KEY, feature_keys, read_selection

SUPPORT_KEY = dg.AssetKey([INPUT_SUPPORT.schema, INPUT_SUPPORT.name])
PUBLISHED_KEY = dg.AssetKey([PUBLISHED.schema, PUBLISHED.name])
SCORES_KEY = dg.AssetKey([SCORES_CONTRACT.schema, SCORES_CONTRACT.name])
WEEKLY: dict[str, Any] = {"partitions_def": AS_OF_WEEKS, "backfill_policy": dg.BackfillPolicy.single_run()}


def scoring_model() -> ModelBundle:
    """The champion, refused where features or tsfresh characteristics are others than it was trained on."""
    selection = read_selection()
    return load_champion(SETTINGS.models, FEATURE_HASH, selection.to_json() if selection else "")


@dg.asset(
    key=SUPPORT_KEY,
    deps=[*feature_keys(*CONTRACTS), PROMOTIONS_KEY],
    group_name="scores",
    kinds={"python", "duckdb"},
    description=f"The gate before scoring. {INPUT_SUPPORT.description} Weeks the model was trained on have no row.",
    metadata=definition_metadata(INPUT_SUPPORT),
    check_specs=[
        dg.AssetCheckSpec(
            "model_may_score",
            asset=SUPPORT_KEY,
            blocking=True,
            description="The champion is young enough and the weeks' inputs lie inside its training support.",
        )
    ],
    **WEEKLY,
)
def input_support(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[Any]:
    """Measure the weeks' inputs against the champion's training support, one week at a time."""
    weeks, bundle = weeks_of(context), scoring_model()
    support = bundle.support
    if support is None:
        raise RegistryError(f"Model {bundle.model_id!r} was saved without its training support: retrain.")
    rows = []
    later = [week for week in weeks if week not in bundle.plan.train_weeks]
    for batch in week_batches(warehouse, later) if later else []:
        features = {
            pillar: read_weeks(
                warehouse, CONTRACTS[pillar].address, batch, ", ".join(["client_id", "as_of_date", *ranges])
            )
            for pillar, ranges in support.ranges.items()
        }
        for week in batch:
            measured = measure_week(support, features, week, CONFIG.governance)
            rows.append(judge_week(measured, bundle.plan, bundle.model_id, CONFIG.governance))
    frame = INPUT_SUPPORT.conform(pl.DataFrame(rows, schema=INPUT_SUPPORT.empty().schema, orient="row"))
    warehouse.replace_weeks(INPUT_SUPPORT, frame, weeks)
    problems = frame["problems"].drop_nulls().to_list()
    yield dg.MaterializeResult(
        asset_key=SUPPORT_KEY,
        metadata=run_metadata(
            frame.height, {"model_id": bundle.model_id, "weeks": markdown_table(frame.drop("model_id"), rows=120)}
        ),
    )
    yield dg.AssetCheckResult(
        check_name="model_may_score",
        asset_key=SUPPORT_KEY,
        passed=not problems,
        metadata={
            "problems": " ".join(problems[:3]) or "none",
            "weeks refused": len(problems),
            "model_id": bundle.model_id,
            "largest outside_ratio": _largest(frame, "outside_ratio"),
            "largest clients_outside_ratio": _largest(frame, "clients_outside_ratio"),
            "largest model_age_days": int(_largest(frame, "model_age_days")),
            "allowed values outside": CONFIG.governance.support_values_ratio,
            "allowed clients outside": CONFIG.governance.support_clients_ratio,
            "allowed age in days": CONFIG.governance.model_age_days,
        },
    )


def _largest(frame: pl.DataFrame, column: str) -> float:
    known = frame[column].drop_nulls().cast(pl.Float64)
    return float(known.to_numpy().max()) if known.len() else 0.0


@dg.asset(
    key=PUBLISHED_KEY,
    deps=[SCORES_KEY, dg.AssetKey(["serving", "marts_serving"])],
    group_name="scores",
    kinds={"python", "parquet"},
    description=f"The ledger of published scores, what a replay is held against. {PUBLISHED.description}",
    metadata=definition_metadata(PUBLISHED),
    **WEEKLY,
)
def published_scores(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Add the weeks just published to the ledger."""
    weeks = weeks_of(context)
    newest = warehouse.read(f"select max(as_of_date) from {SCORES_CONTRACT.address}").item()
    earlier = {week - timedelta(days=7) for week in weeks}
    scores = read_weeks(warehouse, SCORES_CONTRACT.address, sorted(earlier | set(weeks)), ", ".join(FROM_SCORES))
    memberships = memberships_in_use()
    outcomes: dict[str, list[date]] = {}
    rows = 0
    for week in weeks:
        now, before = (scores.filter(pl.col("as_of_date") == day) for day in (week, week - timedelta(days=7)))
        if now.height:
            published = as_published(now, before, memberships_hash(memberships, week))
            outcome = record(SETTINGS.published, published, week == newest)
            outcomes.setdefault(outcome, []).append(week)
            rows += now.height if outcome == "recorded" else 0
    table = pl.DataFrame(
        {"outcome": list(outcomes), "weeks": [len(w) for w in outcomes.values()]},
        schema={"outcome": pl.String, "weeks": pl.Int64},
    )
    return dg.MaterializeResult(
        metadata=run_metadata(rows, {"folder": str(SETTINGS.published), "outcomes": markdown_table(table)})
    )
