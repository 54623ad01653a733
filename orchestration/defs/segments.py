"""Segments as assets: inputs, exploration, fits and memberships, personas, policy, credit customers, marts, page.

A job of its own on top of a finished main job: nothing in the main job waits for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster_dbt import dbt_assets

from ml_assets.contracts import TableContract
from ml_assets.reports.segments_page import SegmentReport, write_segments_report
from ml_assets.segmentation import tables
from ml_assets.segmentation.credit import CreditResult, segment_credit
from ml_assets.segmentation.describe import (
    density_rows,
    fit_rows,
    map_rows,
    method_rows,
    persona_rows,
    selection_rows,
)
from ml_assets.segmentation.eda import correlate_measures, summarise_measures
from ml_assets.segmentation.measures import CLIENT_MEASURES, P1, P4, P5, PROFILE_COLUMNS, SPINE
from ml_assets.segmentation.personas import (
    client_noun,
    client_outcomes,
    describe_categories,
    describe_traits,
    grade_segments,
    name_personas,
    risk_profiles,
)
from ml_assets.segmentation.policy import policy_cells, shrunken_lift, simulate
from ml_assets.segmentation.weeks import segment_history
from ml_assets.sources.german_credit import read_german_credit
from orchestration.defs.checks import check_result, check_spec
from orchestration.defs.memberships import write_memberships
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.reading import LABELS_KEY, SPINE_KEY
from orchestration.defs.resources import CONFIG, SETTINGS, DbtCommand, Warehouse
from orchestration.defs.scores import SCORES_KEY
from orchestration.defs.serving import publish
from orchestration.defs.training import read_labels, weekly
from orchestration.defs.warehouse import MANIFEST, RETRY, TRANSLATOR, build_dbt

HELD_OUT = ("validation", "test")
SPLIT_PLAN_KEY = dg.AssetKey(["models", "split_plan"])


def _key(contract: TableContract) -> dg.AssetKey:
    return dg.AssetKey([contract.schema, contract.name])


def _spec(contract: TableContract, deps: list[Any]) -> dg.AssetSpec:
    return dg.AssetSpec(
        _key(contract),
        deps=deps,
        group_name="segments",
        kinds={"python", "scikitlearn", "duckdb"},
        description=contract.description,
        metadata=definition_metadata(contract),
    )


def _keep(
    warehouse: Warehouse, contract: TableContract, frame: pl.DataFrame, more: dict[str, Any] | None = None
) -> dg.MaterializeResult:
    rows = warehouse.replace_table(contract, frame)
    return dg.MaterializeResult(asset_key=_key(contract), metadata=run_metadata(rows, more))


def _train_weeks(warehouse: Warehouse) -> list[Any]:
    plan = warehouse.read("select as_of_date from models.split_plan where split = 'train' order by as_of_date")
    return plan["as_of_date"].to_list()


def _fit_week(warehouse: Warehouse) -> pl.DataFrame:
    """Inputs of the newest training week."""
    return warehouse.read(
        "select * from segments.segment_inputs where as_of_date = "
        "(select max(as_of_date) from models.split_plan where split = 'train') order by client_id"
    )


@dg.asset(
    key=_key(tables.INPUTS),
    deps=[*weekly(*(dg.AssetKey(a.split(".")) for a in (P1, P4, P5)), SPINE_KEY), SPLIT_PLAN_KEY],
    group_name="segments",
    kinds={"python", "duckdb"},
    description=tables.INPUTS.description,
    metadata=definition_metadata(tables.INPUTS),
    check_specs=[check_spec(_key(tables.INPUTS))],
)
def segment_inputs(warehouse: Warehouse) -> Iterator[Any]:
    """Put the measures of the feature tables side by side."""
    columns = ", ".join([*PROFILE_COLUMNS, *(m.column for m in CLIENT_MEASURES)])
    frame = warehouse.read(
        f"select client_id, as_of_date, {columns} from {SPINE} join {P1} using (client_id, as_of_date) "
        f"join {P4} using (client_id, as_of_date) join {P5} using (client_id, as_of_date) where as_of_date >= "
        "(select min(as_of_date) from models.split_plan where split = 'train') order by client_id, as_of_date"
    )
    yield _keep(warehouse, tables.INPUTS, frame, {"weeks": frame["as_of_date"].n_unique()})
    newest = frame.filter(pl.col("as_of_date") == frame["as_of_date"].max())
    yield check_result(tables.INPUTS.conform(newest), tables.INPUTS)


@dg.multi_asset(
    name="segment_exploration",
    specs=[_spec(c, [_key(tables.INPUTS), SPLIT_PLAN_KEY]) for c in (tables.SUMMARY, tables.CORRELATIONS)],
    check_specs=[check_spec(_key(tables.SUMMARY))],
)
def segment_exploration(warehouse: Warehouse) -> Iterator[Any]:
    """Distributions, outliers, missingness and correlation of the measures."""
    frame = _fit_week(warehouse)
    summary = summarise_measures(frame, CLIENT_MEASURES, CONFIG.segments)
    shown = summary.select("measure", "median", "outliers_count", "missing_ratio", "skewness", "is_used", "is_logged")
    yield _keep(warehouse, tables.SUMMARY, summary, {"measures": markdown_table(shown)})
    yield _keep(warehouse, tables.CORRELATIONS, correlate_measures(frame, CLIENT_MEASURES))
    yield check_result(tables.SUMMARY.conform(summary), tables.SUMMARY)


FIT_TABLES = (
    tables.SELECTION,
    tables.FITS,
    tables.MEMBERSHIPS,
    tables.METHODS,
    tables.MAP,
    tables.DENSITY,
    tables.TRAITS,
    tables.CATEGORIES,
)


@dg.multi_asset(
    name="segment_fit",
    specs=[_spec(c, [_key(tables.INPUTS), SPLIT_PLAN_KEY]) for c in FIT_TABLES],
    check_specs=[
        check_spec(_key(tables.MEMBERSHIPS)),
        dg.AssetCheckSpec(
            "segments_are_stable",
            asset=_key(tables.SELECTION),
            description="The cut in force survives resampling of clients and has no tiny segment.",
        ),
        dg.AssetCheckSpec(
            "everyone_has_a_segment",
            asset=_key(tables.MEMBERSHIPS),
            blocking=True,
            description="Every client of every week since the first fit is in exactly one segment.",
        ),
    ],
)
def segment_fit(warehouse: Warehouse) -> Iterator[Any]:
    """Fit on training weeks, match refits, assign every client in every week."""
    inputs = warehouse.read("from segments.segment_inputs order by client_id, as_of_date")
    history = segment_history(inputs, _train_weeks(warehouse), CLIENT_MEASURES, CONFIG.segments)
    newest, members = history.newest, history.memberships
    frame = inputs.filter(pl.col("as_of_date") == newest.week)
    segment = newest.assign(frame)["segment_id"].to_list()
    logged = newest.preparation.logged if newest.preparation else ()
    selection, fits = selection_rows(history), fit_rows(history)
    places, shares = map_rows(newest, frame, CONFIG.segments)
    yield _keep(warehouse, tables.SELECTION, selection, {"why": newest.reason, "cuts": markdown_table(selection, 40)})
    yield _keep(warehouse, tables.FITS, fits, {"fits": markdown_table(fits.drop("reason"), 40)})
    yield _keep(warehouse, tables.MEMBERSHIPS, members, {"weeks": members["as_of_date"].n_unique()})
    yield _keep(warehouse, tables.METHODS, method_rows(newest))
    yield _keep(warehouse, tables.MAP, places, {"explained variance": ", ".join(f"{s:.1%}" for s in shares)})
    yield _keep(warehouse, tables.DENSITY, density_rows(newest))
    traits = describe_traits(frame, segment, CLIENT_MEASURES, logged, CONFIG.segments)
    yield _keep(warehouse, tables.TRAITS, traits, {"traits": markdown_table(traits.drop_nulls("trait"), 60)})
    yield _keep(warehouse, tables.CATEGORIES, describe_categories(frame, segment, PROFILE_COLUMNS))
    expected = inputs.filter(pl.col("as_of_date") >= history.fits[0].week).height
    yield check_result(members.filter(pl.col("as_of_date") == members["as_of_date"].max()), tables.MEMBERSHIPS)
    is_whole = members.height == expected and members["segment_id"].null_count() == 0
    if is_whole:
        # for peer groups: the table goes when the main job starts a new warehouse
        write_memberships(members, SETTINGS.memberships)
    yield dg.AssetCheckResult(
        check_name="everyone_has_a_segment",
        asset_key=_key(tables.MEMBERSHIPS),
        passed=is_whole,
        metadata={"rows": members.height, "expected": expected},
    )
    chosen = selection.filter(pl.col("is_chosen") & (pl.col("fit_date") == newest.week))
    yield dg.AssetCheckResult(
        check_name="segments_are_stable",
        asset_key=_key(tables.SELECTION),
        passed=bool(chosen.height and chosen["is_qualified"][0]),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"why": newest.reason, "cut in force": markdown_table(chosen)},
    )


@dg.multi_asset(
    name="segment_risk",
    specs=[
        _spec(c, [_key(tables.MEMBERSHIPS), _key(tables.TRAITS), *weekly(SCORES_KEY, LABELS_KEY)])
        for c in (tables.RISK, tables.PERSONAS)
    ],
    check_specs=[check_spec(_key(tables.RISK)), check_spec(_key(tables.PERSONAS))],
)
def segment_risk(warehouse: Warehouse) -> Iterator[Any]:
    """Risk by segment and by unusual or not; names, grades and suggested treatment."""
    members = warehouse.read(
        "select client_id, as_of_date, segment_id, is_unusual from segments.segment_memberships order by all"
    )
    scores = warehouse.read("select client_id, as_of_date, band, split from scores.client_scores order by all")
    risk = risk_profiles(client_outcomes(members, scores, read_labels(warehouse)))
    traits = warehouse.read("from segments.segment_traits order by segment_id, abs(cohens_d) desc nulls last, measure")
    categories = warehouse.read("from segments.segment_categories order by all")
    ids = sorted(traits["segment_id"].unique().to_list())
    personas = persona_rows(
        name_personas(traits, {s: client_noun(categories, s) for s in ids}),
        traits,
        grade_segments(risk, ids),
        shrunken_lift(risk, CONFIG.segments.policy.prior_clients),
    )
    yield _keep(warehouse, tables.RISK, risk, {"risk": markdown_table(risk, 60)})
    yield _keep(warehouse, tables.PERSONAS, personas, {"personas": markdown_table(personas)})
    yield check_result(tables.RISK.conform(risk), tables.RISK)
    yield check_result(personas, tables.PERSONAS)


@dg.multi_asset(
    name="segment_policy",
    specs=[
        _spec(c, [_key(tables.MEMBERSHIPS), _key(tables.PERSONAS), *weekly(SCORES_KEY, LABELS_KEY)])
        for c in (tables.POLICY_RESULTS, tables.POLICY_CURVE, tables.POLICY_CELLS)
    ],
    check_specs=[check_spec(_key(tables.POLICY_CELLS))],
)
def segment_policy(warehouse: Warehouse) -> Iterator[Any]:
    """Simulate the configured policy and the curve of all others on validation and test weeks."""
    rows = warehouse.read(
        "select client_id, as_of_date, split, segment_id, band, is_unusual, bcrs_probability_ratio "
        "from segments.segment_memberships join scores.client_scores using (client_id, as_of_date) "
        "where split in ('validation', 'test') order by client_id, as_of_date"
    )
    personas = warehouse.read("from segments.segment_personas order by segment_id")
    grades = dict(personas.select("segment_id", "grade").rows())
    lift = dict(personas.select("segment_id", "lift").drop_nulls().rows())
    results, curve = simulate(rows, read_labels(warehouse), grades, lift, HELD_OUT, CONFIG.segments)
    cells = policy_cells(rows, grades, CONFIG.segments.policy)
    yield _keep(warehouse, tables.POLICY_RESULTS, results, {"results": markdown_table(results, 40)})
    yield _keep(warehouse, tables.POLICY_CURVE, curve)
    yield _keep(warehouse, tables.POLICY_CELLS, cells, {"cells": markdown_table(cells, 60)})
    yield check_result(tables.POLICY_CELLS.conform(cells), tables.POLICY_CELLS)


class CreditConfig(dg.Config):
    """Where the credit customers are; empty: none were given."""

    folder: str = ""


@dg.multi_asset(
    name="credit_personas",
    specs=[_spec(c, []) for c in (tables.CREDIT_SEGMENTS, tables.CREDIT_CUSTOMERS)],
)
def credit_personas(config: CreditConfig, warehouse: Warehouse) -> Iterator[Any]:
    """Segment the credit customers of the given folder; the tables are empty where none is given."""
    result = _credit(config.folder)
    note = result.reason if result else "No folder was given (make segments CREDIT=<folder>)."
    segments = result.segments if result else tables.CREDIT_SEGMENTS.empty()
    customers = result.customers if result else tables.CREDIT_CUSTOMERS.empty()
    more = {"note": note, "segments": markdown_table(segments)}
    if result:
        more["published personas"] = markdown_table(result.published)
    yield _keep(warehouse, tables.CREDIT_SEGMENTS, segments, more)
    yield _keep(warehouse, tables.CREDIT_CUSTOMERS, customers)


def _credit(folder: str) -> CreditResult | None:
    return segment_credit(read_german_credit(Path(folder)), CONFIG.segments) if folder else None


@dbt_assets(
    manifest=MANIFEST,
    select="tag:segments",
    name="dbt_segments",
    dagster_dbt_translator=TRANSLATOR,
    retry_policy=RETRY,
)
def dbt_segments(context: dg.AssetExecutionContext, dbt: DbtCommand, warehouse: Warehouse) -> Iterator[Any]:
    """Marts of segments, memberships, migrations, results and policy."""
    yield from build_dbt(context, dbt, warehouse)


PAGE_TABLES = (
    tables.SUMMARY,
    tables.CORRELATIONS,
    tables.SELECTION,
    tables.FITS,
    tables.METHODS,
    tables.MAP,
    tables.DENSITY,
    tables.TRAITS,
    tables.CATEGORIES,
    tables.RISK,
    tables.PERSONAS,
    tables.POLICY_RESULTS,
    tables.POLICY_CURVE,
    tables.POLICY_CELLS,
)


@dg.asset(
    key=["reports", "segments_page"],
    deps=[*map(_key, PAGE_TABLES), _key(tables.INPUTS), _key(tables.CREDIT_SEGMENTS), *dbt_segments.keys],
    group_name="segments",
    kinds={"python", "plotly"},
    description="The page people read: exploration, segments, personas, migration, policy, credit; and as JSON.",
)
def segments_page(config: CreditConfig, warehouse: Warehouse) -> dg.MaterializeResult:
    """Write ``segments.html`` and ``segments.json``."""
    frames = {c.name: warehouse.read(f"from {c.address} order by all") for c in PAGE_TABLES}
    report = SegmentReport(
        frames=frames,
        inputs=_fit_week(warehouse),
        migrations=warehouse.read("from marts.rpt_segment_migration order by all"),
        weekly=warehouse.read(
            "select as_of_date, segment_id, count(*) as clients_count, sum(is_unusual::int)::bigint as unusual_count "
            "from segments.segment_memberships group by all order by all"
        ),
        rule_score=warehouse.read(
            "select model, split, metric, value, low, high from models.metrics where model_id = "
            "(select max(model_id) from scores.client_scores) and metric in ('auroc', 'average_precision') order by all"
        ),
        credit=_credit(config.folder),
        source=str(warehouse.read("select source from raw.dataset").item()),
    )
    page, facts = write_segments_report(report, SETTINGS.reports, CONFIG.segments.policy.published_automated_ratio)
    return dg.MaterializeResult(metadata={"page": str(page), "facts": str(facts), "bytes": page.stat().st_size})


@dg.asset(
    key=["serving", "segment_marts"],
    deps=list(dbt_segments.keys),
    group_name="segments",
    kinds={"duckdb"},
    description="The serving file with the segment marts in it: all marts of the last good run, published anew.",
)
def segment_serving(warehouse: Warehouse) -> dg.MaterializeResult:
    """Replace the serving file."""
    rows = publish(warehouse, SETTINGS.serving)
    return dg.MaterializeResult(metadata=run_metadata(sum(rows.values()), {"tables": len(rows)}))


SEGMENT_ASSETS = [
    segment_inputs,
    segment_exploration,
    segment_fit,
    segment_risk,
    segment_policy,
    credit_personas,
    dbt_segments,
    segments_page,
    segment_serving,
]
segments_job = dg.define_asset_job(
    "segments",
    selection=dg.AssetSelection.assets(*SEGMENT_ASSETS),
    description="Segments, personas, policy, their marts and page, on top of a finished main job.",
    executor_def=dg.in_process_executor,
)
