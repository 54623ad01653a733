"""The evidence as assets: tables on the test weeks, experiments, their marts, and the report page.

Nothing here changes a model or a score. The tables on test weeks come from the one function that reads them;
refits are made on training weeks and measured on validation weeks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.evaluation.evidence import PROBABILITIES, TEST_TABLES, Subject, assess, unexplained
from ml_assets.evaluation.experiments import ABLATION, BLEND, EXPERIMENT_TABLES, LEARNING, ROBUSTNESS, TSFRESH
from ml_assets.evaluation.final_test import BCRS_COLUMNS, compare_variants, evaluate_test_weeks
from ml_assets.features.tsfresh_engine import SLOTS
from ml_assets.files import replace_file
from ml_assets.models import ablation
from ml_assets.models.aggregation import SCORES_CONTRACT
from ml_assets.models.names import PILLARS, SCHEME_PILLAR
from ml_assets.models.pipeline import ScoredWeeks, add_scheme_score, score_weeks, widen
from ml_assets.models.registry import ModelBundle, load_champion, read_folder
from ml_assets.models.tier1 import TIER1_CONTRACTS
from ml_assets.models.tier2 import TIER2_CONTRACT
from ml_assets.reports.evidence import MARTS, build_page, exhibits, page_problems, results
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.reading import LABELS_KEY, SPINE_KEY, WINDOWS_KEY, read_weeks
from orchestration.defs.resources import CONFIG, SETTINGS, Warehouse
from orchestration.defs.scores import METRICS_KEY, SCORES_KEY, TIER1_KEYS, TIER2_KEY
from orchestration.defs.serving import serving_file
from orchestration.defs.training import (
    CONTRACTS,
    FEATURE_HASH,
    TIER1_OOF,
    TIER2_OOF,
    WORK,
    baseline_scores,
    feature_keys,
    modelling_weeks,
    scoring_features,
    weekly,
)

GROUP = "evaluation"
KEEPS_CONTRACT = "contract_holds"
LABEL_COLUMNS = "client_id, as_of_date, is_str_within_horizon, has_prior_str, is_label_complete, next_str_date"
OOF_KEYS = [dg.AssetKey(["models", c.name]) for c in (*TIER1_OOF.values(), TIER2_OOF)]
TRUTH = SETTINGS.landing / "truth" / "launderers.parquet"
"""Who launders and how, where the source says so: for evaluation only, never ingested."""
GRAIN = ["client_id", "as_of_date"]


def _key(contract: TableContract) -> dg.AssetKey:
    return dg.AssetKey([contract.schema, contract.name])


def _champion() -> ModelBundle:
    return load_champion(SETTINGS.models, FEATURE_HASH)


def _labels(warehouse: Warehouse) -> pl.DataFrame:
    return warehouse.read(f"select {LABEL_COLUMNS} from intermediate.int_client_labels order by client_id, as_of_date")


def read_truth() -> pl.DataFrame | None:
    """client_id, kind, pattern of the planted launderers; None where the source has no such file."""
    if not TRUTH.is_file():
        return None
    frame = pl.read_parquet(TRUTH)
    kind = pl.col("kind") if "kind" in frame.columns else pl.lit("typology")
    return frame.select("client_id", kind=kind, pattern=pl.col("pattern").cast(pl.String))


def _spec(contract: TableContract, deps: Sequence[Any]) -> dg.AssetSpec:
    return dg.AssetSpec(
        _key(contract),
        deps=list(deps),
        group_name=GROUP,
        kinds={"python", "duckdb"},
        description=contract.description,
        metadata=definition_metadata(contract),
    )


def _check(contract: TableContract) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        KEEPS_CONTRACT,
        asset=_key(contract),
        blocking=True,
        description="Unique grain, nulls only where allowed and then with a reason, ranges kept.",
    )


def _write(
    warehouse: Warehouse, contract: TableContract, frame: pl.DataFrame, more: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Replace the table, report it, check it."""
    rows = warehouse.replace_table(contract, frame)
    yield dg.MaterializeResult(
        asset_key=_key(contract), metadata=run_metadata(rows, {"rows": markdown_table(frame, 12), **(more or {})})
    )
    # a light check: the marts' dbt tests follow, and the suites of Great Expectations take longer than the report
    failures = unexplained(frame, contract)
    yield dg.AssetCheckResult(
        check_name=KEEPS_CONTRACT,
        asset_key=_key(contract),
        passed=not failures,
        metadata={"rows": rows, "failed": "; ".join(failures) or "none"},
    )


def _baselines(warehouse: Warehouse, bundle: ModelBundle, weeks: Sequence[date]) -> dict[str, pl.DataFrame]:
    """Baseline scores, week by week: the features of all weeks at once would not fit a small machine."""
    parts: dict[str, list[pl.DataFrame]] = {}
    for week in weeks:
        features = {p: read_weeks(warehouse, c.address, [week]) for p, c in CONTRACTS.items()}
        for name, frame in baseline_scores(warehouse, bundle.flat, features, [week]).items():
            parts.setdefault(name, []).append(frame)
    return {name: pl.concat(frames) for name, frames in parts.items()}


def _scored(warehouse: Warehouse, bundle: ModelBundle, weeks: list[date]) -> ScoredWeeks:
    """Scores of the champion: the stored ones where it made them, else made anew.

    After a promotion, weeks already published keep the scores of the model that published them.
    """
    contracts = [*TIER1_CONTRACTS.values(), TIER2_CONTRACT, SCORES_CONTRACT]
    stored = [read_weeks(warehouse, c.address, weeks) for c in contracts]
    if any(set(frame["model_id"].unique()) - {bundle.model_id} for frame in stored):
        return score_weeks(bundle, scoring_features(warehouse, weeks, bundle.config.models.memory_weeks))
    tier1 = dict(zip(TIER1_CONTRACTS, stored, strict=False))
    return ScoredWeeks(tier1, stored[-2], add_scheme_score(widen(tier1), stored[-2]), stored[-1])


BETTER = "bcrs_not_below_flat"


@dg.multi_asset(
    name="test_week_tables",
    specs=[
        _spec(
            c,
            [
                *weekly(
                    *TIER1_KEYS, TIER2_KEY, SCORES_KEY, LABELS_KEY, SPINE_KEY, WINDOWS_KEY, *feature_keys(*PILLARS)
                ),
                METRICS_KEY,
            ],
        )
        for c in TEST_TABLES.values()
    ],
    check_specs=[
        *(_check(c) for c in TEST_TABLES.values()),
        dg.AssetCheckSpec(
            BETTER,
            asset=_key(TEST_TABLES["performance"]),
            description=(
                "B-CRS's average precision on the test weeks is not below the flat baseline's with an interval that "
                "excludes zero."
            ),
        ),
    ],
)
def test_week_tables(warehouse: Warehouse) -> Iterator[Any]:
    """Everything that is read off the test weeks, in one look."""
    bundle = _champion()
    weeks = list(bundle.plan.test_weeks)
    scores = _scored(warehouse, bundle, weeks).scores
    baselines = _baselines(warehouse, bundle, weeks)
    context = read_weeks(
        warehouse,
        "intermediate.int_client_weeks",
        weeks,
        "client_id, as_of_date, geography, occupation, account_age_days",
    ).join(scores.select(*GRAIN, "band"), on=GRAIN, how="left")
    subject = Subject(BCRS_COLUMNS | {name: name for name in baselines}, PROBABILITIES, context, read_truth())
    tables = evaluate_test_weeks(
        scores.select(*GRAIN, *BCRS_COLUMNS.values(), "bcrs_probability_ratio"),
        baselines,
        _labels(warehouse),
        bundle.plan,
        bundle.model_id,
        CONFIG.models,
        measured_by=lambda rows: assess(rows, subject, CONFIG.models, CONFIG.evaluation),
    )
    for name, contract in TEST_TABLES.items():
        yield from _write(warehouse, contract, tables[name], {"model_id": bundle.model_id})
    flat = tables["performance"].filter((pl.col("model") == "flat_xgboost") & (pl.col("metric") == "average_precision"))
    high = flat["gain_high"].item() if flat.height else None
    yield dg.AssetCheckResult(
        check_name=BETTER,
        asset_key=_key(TEST_TABLES["performance"]),
        passed=high is None or high >= 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"gain over flat XGBoost": markdown_table(flat)},
    )


@dg.asset(
    key=_key(ABLATION),
    deps=[*OOF_KEYS, *weekly(LABELS_KEY, *TIER1_KEYS, TIER2_KEY, SCORES_KEY), METRICS_KEY],
    group_name=GROUP,
    kinds={"python", "duckdb"},
    description=ABLATION.description,
    metadata=definition_metadata(ABLATION),
    check_specs=[_check(ABLATION)],
)
def ablation_table(warehouse: Warehouse) -> Iterator[Any]:
    """Refit the weighted linear aggregation on every combination, on what the champion's was fitted on."""
    bundle, labels = _champion(), _labels(warehouse)
    fitted_on = add_scheme_score(
        widen({p: warehouse.read(f"from {c.address}") for p, c in TIER1_OOF.items()}),
        warehouse.read(f"from {TIER2_OOF.address}"),
    )
    subsets, reason = ablation.fit_subsets(
        fitted_on, labels, bundle.plan, CONFIG.models, CONFIG.evaluation.ablation_rows
    )
    is_champions = read_folder(WORK / "aggregation") == bundle.aggregation.files()
    if is_champions:
        weeks = [*bundle.plan.validation_weeks, *bundle.plan.test_weeks]
        wide = _scored(warehouse, bundle, weeks).wide
    else:
        # the newest training was not promoted: its pillars scored no test week
        wide = fitted_on
    variants, columns = ablation.subset_variants(subsets, wide, reason)
    frame = compare_variants(
        wide.select(GRAIN).with_columns(columns),
        labels,
        bundle.plan,
        variants,
        ABLATION,
        ("validation", "test") if is_champions else ("validation",),
        CONFIG.models,
        CONFIG.evaluation,
    )
    yield from _write(warehouse, ABLATION, frame, {"model_id": bundle.model_id, "combinations": len(subsets)})


@dg.asset(
    key=_key(BLEND),
    deps=[*weekly(LABELS_KEY, *TIER1_KEYS, TIER2_KEY, SCORES_KEY), METRICS_KEY],
    group_name=GROUP,
    kinds={"python", "duckdb"},
    description=BLEND.description,
    metadata=definition_metadata(BLEND),
    check_specs=[_check(BLEND)],
)
def blend_table(warehouse: Warehouse) -> Iterator[Any]:
    """Measure every pillar's halves beside its blend."""
    bundle = _champion()
    weeks = [*bundle.plan.validation_weeks, *bundle.plan.test_weeks]
    scored = _scored(warehouse, bundle, weeks)
    tables = {**scored.tier1, SCHEME_PILLAR: scored.tier2}
    alphas = {p: m.alpha for p, m in bundle.tier1.items()} | {SCHEME_PILLAR: bundle.tier2.alpha}
    variants, scores = ablation.blend_variants(tables, alphas)
    frame = compare_variants(
        scores,
        _labels(warehouse),
        bundle.plan,
        variants,
        BLEND,
        ("validation", "test"),
        CONFIG.models,
        CONFIG.evaluation,
    )
    yield from _write(warehouse, BLEND, frame, {"model_id": bundle.model_id})


def _refit_features(
    warehouse: Warehouse, bundle: ModelBundle, labels: pl.DataFrame, pillars: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Features refits learn from and are measured on: all weeks up to validation of a sample of clients."""
    plan = bundle.plan
    measured = [*plan.train_weeks, *plan.validation_weeks]
    clients = ablation.refit_clients(labels, measured, CONFIG.evaluation.refit_clients, CONFIG.models.seed)
    frames = {}
    for pillar in pillars:
        frames[pillar] = warehouse.read(
            f"select * from {CONTRACTS[pillar].address} where as_of_date in (select unnest(?::date[])) "
            "and client_id in (select unnest(?::varchar[])) order by client_id, as_of_date",
            [measured if pillar == SCHEME_PILLAR else modelling_weeks(plan), clients],
        ).with_columns(pl.selectors.decimal().cast(pl.Float64))
    return frames


@dg.asset(
    key=_key(TSFRESH),
    deps=[["models", "tsfresh_selection"], *weekly(LABELS_KEY, *feature_keys("p3_temporal")), METRICS_KEY],
    group_name=GROUP,
    kinds={"python", "tsfresh", "xgboost"},
    description=TSFRESH.description,
    metadata=definition_metadata(TSFRESH),
    check_specs=[_check(TSFRESH)],
)
def tsfresh_table(warehouse: Warehouse) -> Iterator[Any]:
    """Refit P3 with and without the slots that hold chosen characteristics."""
    bundle, labels = _champion(), _labels(warehouse)
    features = _refit_features(warehouse, bundle, labels, ["p3_temporal"])["p3_temporal"]
    variants, scores = ablation.without_columns(
        "p3_temporal",
        features,
        [c for c in SLOTS if c in features.columns],
        labels,
        bundle.plan,
        ablation.refit_config(CONFIG.models, CONFIG.evaluation),
    )
    frame = compare_variants(
        scores, labels, bundle.plan, variants, TSFRESH, ("validation",), CONFIG.models, CONFIG.evaluation
    )
    yield from _write(warehouse, TSFRESH, frame, {"model_id": bundle.model_id})


@dg.multi_asset(
    name="refit_tables",
    specs=[_spec(c, [*weekly(LABELS_KEY, *feature_keys(*CONTRACTS)), METRICS_KEY]) for c in (LEARNING, ROBUSTNESS)],
    check_specs=[_check(c) for c in (LEARNING, ROBUSTNESS)],
)
def refit_tables(warehouse: Warehouse) -> Iterator[Any]:
    """Refit both tiers and the flat baseline on fewer weeks and on worse labels."""
    bundle, labels = _champion(), _labels(warehouse)
    features = _refit_features(warehouse, bundle, labels, list(CONTRACTS))
    experiments = ablation.refit_experiments(features, labels, bundle.plan, CONFIG.models, CONFIG.evaluation)
    for contract in (LEARNING, ROBUSTNESS):
        variants, scores = experiments[contract.name]
        frame = compare_variants(
            scores, labels, bundle.plan, variants, contract, ("validation",), CONFIG.models, CONFIG.evaluation
        )
        yield from _write(warehouse, contract, frame, {"model_id": bundle.model_id})


REPORT_KEY = dg.AssetKey(["reports", "evidence"])
FIGURES = "figures_equal_marts"


def dataset_name() -> str:
    """Name of the data set in ``results.json``: simulated, or format and folder (``amlsim:20k_fan_in_200``)."""
    kind, _, path = SETTINGS.source.partition(":")
    return f"{kind}:{path.rstrip('/').rsplit('/', 1)[-1]}" if path else kind


def read_marts(path: Path, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Published marts by name; those that do not exist are left out. Analysts may have the file open meanwhile."""
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute("set python_enable_replacements = false")
        found = con.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall()
        there = {name for (name,) in found}
        return {n: con.sql(f"from marts.{n} order by all").pl() for n in names if n in there}


@dg.asset(
    key=REPORT_KEY,
    deps=[serving_file],
    group_name=GROUP,
    kinds={"python", "plotly"},
    description=(
        "The evidence report: data/reports/report.html, one self-contained page made from the marts, and the same "
        "numbers in data/reports/results.json."
    ),
    check_specs=[
        dg.AssetCheckSpec(
            FIGURES,
            asset=REPORT_KEY,
            blocking=True,
            description="Every number written on the page is the number its mart holds.",
        )
    ],
)
def evidence_report(warehouse: Warehouse) -> Iterator[Any]:
    """Build the page from the published marts."""
    marts = read_marts(SETTINGS.serving, MARTS)
    shown = exhibits(marts)
    page = build_page(dataset_name(), SETTINGS.profile.value, marts, shown)
    replace_file(SETTINGS.reports / "report.html", page)
    target = SETTINGS.reports / "results.json"
    earlier = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    content = results(dataset_name(), marts, earlier)
    replace_file(target, json.dumps(content, indent=2, ensure_ascii=False))
    yield dg.MaterializeResult(
        asset_key=REPORT_KEY,
        metadata={
            "path": str(SETTINGS.reports / "report.html"),
            "exhibits": len(shown),
            "bytes": len(page.encode()),
        },
    )
    problems = page_problems(page, marts)
    yield dg.AssetCheckResult(
        check_name=FIGURES,
        asset_key=REPORT_KEY,
        passed=not problems,
        metadata={"problems": "; ".join(problems[:20]) or "none"},
    )


EVIDENCE_TABLES = {**TEST_TABLES, **EXPERIMENT_TABLES}
EVIDENCE_ASSETS = [test_week_tables, ablation_table, blend_table, tsfresh_table, refit_tables]
REPORT_ASSETS = [*EVIDENCE_ASSETS, evidence_report]
