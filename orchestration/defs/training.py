"""Training as assets: split plan, one model per pillar, tier 2, aggregation, baselines, champion.

Each step leaves its part of the model as files in the work folder and its out-of-sample scores as a
table, so that the next step reads them and a failed step can be run again alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from ml_assets.contracts import TableContract
from ml_assets.contracts.tables import SPLIT_PLAN, TSFRESH_SELECTION, out_of_sample_table
from ml_assets.evaluation.final_test import evaluate_test_weeks, evaluate_validation_weeks
from ml_assets.evaluation.metrics import METRICS_CONTRACT
from ml_assets.features import p1_volume_velocity, p2_network, p3_temporal, p4_typology, p5_profile, p6_scheme
from ml_assets.features.history import build_spine
from ml_assets.features.tsfresh_engine import FrozenSelection, daily_series, discover, sample_training_pairs
from ml_assets.models.aggregation import AggregationModel, fit_aggregation
from ml_assets.models.baselines import (
    FlatModel,
    fit_flat,
    fixed_rules_score,
    join_features,
    rule_risk_score,
    score_flat,
    static_kyc_score,
    volume_only_score,
)
from ml_assets.models.calendar import CalendarPlan, plan_calendar
from ml_assets.models.matrix import FeatureMismatchError
from ml_assets.models.memory import earlier_weeks
from ml_assets.models.names import PILLARS, SCHEME_PILLAR
from ml_assets.models.pipeline import add_scheme_score, score_weeks, tier2_inputs, widen
from ml_assets.models.promotion import PROMOTIONS, Verdict, judge, unseen_weeks
from ml_assets.models.registry import (
    CARD,
    ModelBundle,
    RegistryError,
    add_metrics,
    feature_contract_hash,
    hash_files,
    load_bundle,
    read_card,
    read_folder,
    save_bundle,
    write_folder,
)
from ml_assets.models.splits import SplitPlan, eligible_labels, plan_splits
from ml_assets.models.support import Range, Support, fit_support, support_weeks
from ml_assets.models.tier1 import Tier1Model, fit_tier1
from ml_assets.models.tier2 import Tier2Model, fit_tier2, is_raw, leading_features
from ml_assets.models.tracking import champion_id, record_training
from ml_assets.models.tuning import Tuning, tune, tuning_key
from orchestration.defs.metadata import definition_metadata, markdown_table, run_metadata
from orchestration.defs.reading import LABELS_KEY, SPINE_KEY, TRANSACTIONS_KEY, WINDOWS_KEY, read_history, read_weeks
from orchestration.defs.resources import CONFIG, PROJECT_ROOT, SETTINGS, Warehouse

MODULES = {
    "p1_volume_velocity": p1_volume_velocity,
    "p2_network": p2_network,
    "p3_temporal": p3_temporal,
    "p4_typology": p4_typology,
    "p5_profile": p5_profile,
    "p6_scheme": p6_scheme,
}
CONTRACTS: dict[str, TableContract] = {pillar: module.CONTRACT for pillar, module in MODULES.items()}
"""Feature contract by pillar key."""

FEATURE_HASH = feature_contract_hash(CONTRACTS.values(), CONFIG.features.meaning())
WORK = SETTINGS.models / "work"
"""Parts of the model under training; a saved model never changes, this folder does."""

SELECTION_FILE = "selection.json"
LABEL_COLUMNS = "client_id, as_of_date, is_str_within_horizon, has_prior_str, is_label_complete"
EVERY_WEEK = dg.AllPartitionMapping()
"""Training looks at all weeks, whatever week the run is for."""


def feature_keys(*pillars: str) -> list[dg.AssetKey]:
    """Asset keys of feature tables."""
    return [dg.AssetKey(["features", CONTRACTS[p].name]) for p in pillars]


def weekly(*keys: dg.AssetKey) -> list[dg.AssetDep]:
    """Dependencies on every week of weekly tables."""
    return [dg.AssetDep(key, partition_mapping=EVERY_WEEK) for key in keys]


def read_calendar(warehouse: Warehouse) -> CalendarPlan:
    """The calendar of the data in the warehouse, planned again from its dates."""
    row = warehouse.read("from intermediate.calendar_plan").row(0, named=True)
    return plan_calendar(row["first_date"], row["last_date"], row["label_end_date"], CONFIG.calendar)


def read_labels(warehouse: Warehouse) -> pl.DataFrame:
    """Labels of all weeks."""
    return warehouse.read(f"select {LABEL_COLUMNS} from intermediate.int_client_labels order by client_id, as_of_date")


def read_plan() -> SplitPlan:
    """The split plan of the training under way."""
    return SplitPlan.model_validate_json(read_folder(WORK / "split_plan")["splits.json"])


def read_selection() -> FrozenSelection | None:
    """The frozen tsfresh selection; None before discovery."""
    path = WORK / "tsfresh" / SELECTION_FILE
    return FrozenSelection.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def modelling_weeks(plan: SplitPlan) -> list[date]:
    """Weeks that get scores before the final test: training (all of it, whatever the stride), embargo, validation."""
    return sorted({*plan.train_weeks, *plan.passed_weeks, *plan.validation_weeks})


def scoring_features(warehouse: Warehouse, weeks: list[date], memory_weeks: int) -> dict[str, pl.DataFrame]:
    """Feature tables by pillar as ``score_weeks`` takes them: P6 of the weeks, P1-P5 also of the weeks remembered."""
    remembered = [*earlier_weeks(weeks, memory_weeks), *weeks]
    return {
        p: read_weeks(warehouse, c.address, weeks if p == SCHEME_PILLAR else remembered) for p, c in CONTRACTS.items()
    }


class SelectionConfig(dg.Config):
    """Whether to keep the frozen selection."""

    reselect: bool = False


@dg.asset(
    key=["models", "tsfresh_selection"],
    deps=[TRANSACTIONS_KEY, *weekly(SPINE_KEY, LABELS_KEY)],
    group_name="models",
    kinds={"python", "tsfresh"},
    description=(
        "The tsfresh characteristics P3 computes: chosen once by tsfresh's relevance test on training weeks, then "
        "frozen, because another choice means other features. Launch with `reselect: true` to choose again, and "
        "backfill P3 afterwards."
    ),
    metadata=definition_metadata(TSFRESH_SELECTION),
)
def tsfresh_selection(
    context: dg.AssetExecutionContext, config: SelectionConfig, warehouse: Warehouse
) -> dg.MaterializeResult:
    """Choose characteristics on a sample of training clients, unless a choice is frozen for this warehouse."""
    selection = read_selection()
    is_frozen = selection is not None and warehouse.exists("models.tsfresh_selection") and not config.reselect
    if not is_frozen or selection is None:
        labels = read_labels(warehouse)
        plan = plan_splits(labels, read_calendar(warehouse), CONFIG.calendar)
        usable = labels.filter(
            pl.col("as_of_date").is_in(list(plan.train_weeks)) & pl.col("is_label_complete") & ~pl.col("has_prior_str")
        )
        pairs = sample_training_pairs(usable, CONFIG.features, CONFIG.models.seed)
        weeks = sorted(pairs["as_of_date"].unique().to_list())
        history = read_history(warehouse, weeks or [read_calendar(warehouse).as_of_dates[-1]])
        series = daily_series(history, build_spine(history, pairs))
        selection = discover(series, pairs["is_positive"].to_numpy(), CONFIG.features)
        write_folder(WORK / "tsfresh", {SELECTION_FILE: selection.to_json().encode()})
    slots = {slot: c.name for slot, c in selection.slots().items()}
    table = pl.DataFrame(
        {"slot": list(slots), "characteristic": list(slots.values())},
        schema={"slot": pl.String, "characteristic": pl.String},
    )
    warehouse.replace_table(TSFRESH_SELECTION, table)
    return dg.MaterializeResult(
        metadata=run_metadata(table.height, {"characteristics": markdown_table(table), "note": selection.note or "–"})
    )


@dg.asset(
    key=["models", "split_plan"],
    deps=[dg.AssetKey(["intermediate", "as_of_weeks"]), *weekly(LABELS_KEY)],
    group_name="models",
    kinds={"python"},
    description=SPLIT_PLAN.description,
    metadata=definition_metadata(SPLIT_PLAN),
)
def split_plan(warehouse: Warehouse) -> dg.MaterializeResult:
    """Cut the labelled weeks into train, validation and test with embargoes between."""
    plan = plan_splits(read_labels(warehouse), read_calendar(warehouse), CONFIG.calendar)
    write_folder(WORK / "split_plan", {"splits.json": plan.model_dump_json().encode()})
    warehouse.replace_table(SPLIT_PLAN, plan.frame())
    counts = pl.DataFrame(
        {
            "split": ["train", "validation", "test"],
            "weeks": [len(plan.train_weeks), len(plan.validation_weeks), len(plan.test_weeks)],
            "rows": [plan.rows[s] for s in ("train", "validation", "test")],
            "positives": [plan.positives[s] for s in ("train", "validation", "test")],
        }
    )
    return dg.MaterializeResult(
        metadata=run_metadata(
            plan.frame().height,
            {"splits": markdown_table(counts), "reasons": "; ".join(plan.reasons) or "none"},
        )
    )


class TuningConfig(dg.Config):
    """Whether to keep the frozen settings of the boosters."""

    retune: bool = False


def _tuned(
    name: str, frame: pl.DataFrame, labels: pl.DataFrame, plan: SplitPlan, is_search_wanted: bool, depth: int = 0
) -> Tuning:
    """Settings of one model, frozen beside the models of this data folder."""
    key = tuning_key(FEATURE_HASH, source_name(), config=CONFIG.models)
    return tune(
        name, frame, labels, plan, CONFIG.models, SETTINGS.models / "tuning", key, depth or None, is_search_wanted
    )


def _tuning_metadata(tuning: Tuning) -> dict[str, Any]:
    return {
        "settings": markdown_table(_pairs(tuning.settings, "setting", "value")) if tuning.settings else "as configured",
        "trials": markdown_table(tuning.trials, rows=60),
        "tuning": tuning.note,
    }


def tier1_model_asset(pillar: str) -> dg.AssetsDefinition:
    """The training asset of one pillar."""
    contract = out_of_sample_table(pillar, "pillar_score", is_tier1=True)

    @dg.asset(
        key=["models", contract.name],
        deps=[["models", "split_plan"], *weekly(*feature_keys(pillar), LABELS_KEY)],
        group_name="models",
        kinds={"python", "xgboost", "scikitlearn"},
        description=f"Tier-1 model of {pillar}: XGBoost blended with an Isolation Forest. {contract.description}",
        metadata=definition_metadata(contract),
    )
    def tier1_model(config: TuningConfig, warehouse: Warehouse) -> dg.MaterializeResult:
        plan, labels = read_plan(), read_labels(warehouse)
        features = read_weeks(warehouse, CONTRACTS[pillar].address, modelling_weeks(plan))
        tuning = _tuned(f"tier1_{pillar}", features, labels, plan, config.retune)
        model, scores = fit_tier1(pillar, features, labels, plan, CONFIG.models, tuning.settings)
        write_folder(WORK / f"tier1_{pillar}", model.files())
        rows = warehouse.replace_table(contract, scores)
        return dg.MaterializeResult(
            metadata=run_metadata(
                rows,
                {
                    "alpha": model.alpha,
                    "features": len(model.features),
                    **_tuning_metadata(tuning),
                    "validation average precision": markdown_table(_pairs(model.validation_ap, "half", "value")),
                    "dropped": markdown_table(_pairs(model.dropped, "feature", "reason"), rows=60),
                    "reasons": "; ".join(model.reasons) or "none",
                },
            )
        )

    return tier1_model


def _pairs(values: dict[str, Any], key: str, value: str) -> pl.DataFrame:
    return pl.DataFrame({key: list(values), value: list(values.values())}, strict=False)


TIER1_OOF = {p: out_of_sample_table(p, "pillar_score", is_tier1=True) for p in PILLARS}
TIER2_OOF = out_of_sample_table("p6_scheme", "scheme_score", is_tier1=False)
TIER1_MODELS = [tier1_model_asset(pillar) for pillar in PILLARS]


def read_columns(warehouse: Warehouse, pillar: str, names: Sequence[str], weeks: list[date]) -> pl.DataFrame:
    """Some columns of a feature table."""
    return read_weeks(warehouse, CONTRACTS[pillar].address, weeks, ", ".join(["client_id", "as_of_date", *names]))


def _out_of_sample_wide(warehouse: Warehouse) -> pl.DataFrame:
    return widen({p: warehouse.read(f"from {c.address}") for p, c in TIER1_OOF.items()})


def _tier2_design(warehouse: Warehouse, weeks: list[date]) -> tuple[pl.DataFrame, pl.DataFrame, list[set[str]]]:
    """Tier 2's inputs, scheme scores, and the features of P1-P5 in each committee's view.

    In a function of its own, so that the tables it reads do not stand in memory beside their sum while tier 2 trains.
    """
    indicators = read_weeks(warehouse, CONTRACTS[SCHEME_PILLAR].address, weeks)
    tier1 = {p: Tier1Model.from_files(p, read_folder(WORK / f"tier1_{p}")) for p in PILLARS}
    leading = [leading_features(tier1, count) for count in sorted(set(CONFIG.models.scheme_raw_features))]
    raw = leading[-1]
    features = {p: read_columns(warehouse, p, names, weeks) for p, names in raw.items()}
    design, schemes = tier2_inputs(_out_of_sample_wide(warehouse), indicators, CONFIG.models, features, raw)
    return design, schemes, [{name for names in some.values() for name in names} for some in leading]


@dg.asset(
    key=["models", TIER2_OOF.name],
    deps=[*(["models", c.name] for c in TIER1_OOF.values()), *weekly(*feature_keys(*CONTRACTS), LABELS_KEY)],
    group_name="models",
    kinds={"python", "xgboost"},
    description=(
        "Tier-2 model P6 on out-of-fold pillar scores, their memory, scheme indicators and the pillars' leading "
        f"features. {TIER2_OOF.description}"
    ),
    metadata=definition_metadata(TIER2_OOF),
)
def tier2_model(config: TuningConfig, warehouse: Warehouse) -> dg.MaterializeResult:
    """Fit tier 2."""
    plan, labels = read_plan(), read_labels(warehouse)
    design, schemes, views = _tier2_design(warehouse, [*plan.train_weeks, *plan.validation_weeks])
    smallest = design.select(c for c in design.columns if not is_raw(c) or c in views[0])
    tuning = _tuned("tier2", smallest, labels, plan, config.retune, CONFIG.models.scheme_depth)
    model, scores = fit_tier2(design, schemes, labels, plan, CONFIG.models, tuning.settings, views)
    write_folder(WORK / "tier2", model.files())
    rows = warehouse.replace_table(TIER2_OOF, scores)
    return dg.MaterializeResult(
        metadata=run_metadata(
            rows,
            {
                "alpha": model.alpha,
                "features": len(model.features),
                **_tuning_metadata(tuning),
                "features of P1-P5": markdown_table(
                    pl.DataFrame(
                        [(p, n) for p, names in model.raw_features.items() for n in names],
                        schema={"pillar": pl.String, "feature": pl.String},
                        orient="row",
                    ),
                    rows=100,
                ),
                "validation average precision": markdown_table(_pairs(model.validation_ap, "half", "value")),
                "reasons": "; ".join(model.reasons) or "none",
            },
        )
    )


@dg.asset(
    key=["models", "aggregation"],
    deps=[["models", TIER2_OOF.name], *(["models", c.name] for c in TIER1_OOF.values()), *weekly(LABELS_KEY)],
    group_name="models",
    kinds={"python", "scikitlearn"},
    description=(
        "Weighted linear, boosted and Bayesian aggregation of S_P1..S_P6; champion by average precision on "
        "validation weeks, calibrated, with band cuts."
    ),
)
def aggregation_model(warehouse: Warehouse) -> dg.MaterializeResult:
    """Fit the three aggregations and choose."""
    plan = read_plan()
    wide = add_scheme_score(_out_of_sample_wide(warehouse), warehouse.read(f"from {TIER2_OOF.address}"))
    model, _ = fit_aggregation(wide, read_labels(warehouse), plan, CONFIG.models)
    write_folder(WORK / "aggregation", model.files())
    return dg.MaterializeResult(
        metadata={
            "champion": model.champion,
            "validation average precision": markdown_table(_pairs(model.validation_ap, "strategy", "value")),
            "weights": markdown_table(
                pl.DataFrame({"score": list(model.columns), "weight": list(model.weights)}, strict=False)
            ),
            "reasons": "; ".join(model.reasons) or "none",
        }
    )


@dg.asset(
    key=["models", "flat_baseline"],
    deps=[["models", "split_plan"], *weekly(*feature_keys(*PILLARS), LABELS_KEY)],
    group_name="models",
    kinds={"python", "xgboost"},
    description="Baseline: one XGBoost on all features of P1-P5, without tiers.",
)
def flat_baseline(config: TuningConfig, warehouse: Warehouse) -> dg.MaterializeResult:
    """Fit the flat baseline."""
    plan, labels = read_plan(), read_labels(warehouse)
    weeks = [*plan.fit_weeks(CONFIG.models.train_week_stride), *plan.validation_weeks]
    # models see 32-bit numbers anyway, and all features side by side are the widest table of a retraining
    wide = join_features(
        read_weeks(warehouse, CONTRACTS[p].address, weeks).with_columns(pl.selectors.float().cast(pl.Float32))
        for p in PILLARS
    )
    tuning = _tuned("flat", wide, labels, plan, config.retune)
    model = fit_flat(wide, labels, plan, CONFIG.models, tuning.settings)
    write_folder(WORK / "flat", model.files())
    return dg.MaterializeResult(
        metadata={
            "features": len(model.features),
            **_tuning_metadata(tuning),
            "reasons": "; ".join(model.reasons) or "none",
        }
    )


def code_hash() -> str:
    """Hash of the code scores depend on."""
    rooms = ("features", "models", "contracts")
    paths = [p for room in rooms for p in sorted((PROJECT_ROOT / "ml_assets" / room).rglob("*.py"))]
    return hash_files(paths, PROJECT_ROOT)


def baseline_scores(
    warehouse: Warehouse, flat: FlatModel, features: dict[str, pl.DataFrame], weeks: list[date]
) -> dict[str, pl.DataFrame]:
    """Scores of the baselines on whole weeks."""
    windows = read_weeks(warehouse, "intermediate.int_client_windows", weeks)
    rule_columns = windows.select("client_id", "as_of_date", "inflow_max_30d_base", "outflow_max_30d_base").join(
        features["p4_typology"].select("client_id", "as_of_date", "p4_burst_max_30d_count"),
        on=["client_id", "as_of_date"],
        how="left",
    )
    rule_columns = rule_columns.join(
        features["p2_network"].select("client_id", "as_of_date", "p2_blacklist_1hop_90d_count"),
        on=["client_id", "as_of_date"],
        how="left",
    )
    return {
        "flat_xgboost": score_flat(flat, features),
        "static_kyc": static_kyc_score(read_weeks(warehouse, "intermediate.int_client_weeks", weeks)),
        "volume_only": volume_only_score(windows),
        "fixed_rules": fixed_rules_score(
            rule_columns,
            ("inflow_max_30d_base", "outflow_max_30d_base"),
            "p4_burst_max_30d_count",
            "p2_blacklist_1hop_90d_count",
            CONFIG.features.reporting_threshold_base,
            # a burst is at least this many payments, each within a minute of the one before
            burst_minimum=3.0,
        ),
        "rule_risk_score": rule_risk_score(
            features["p4_typology"]
            .select("client_id", "as_of_date", "p4_fund_through_72h_90d_ratio")
            .join(
                features["p5_profile"].select(
                    "client_id", "as_of_date", "p5_income_discrepancy_90d_value", "p5_salary_left_72h_90d_ratio"
                ),
                on=["client_id", "as_of_date"],
                how="left",
            ),
            CONFIG.models.rule_score,
        ),
    }


def source_name() -> str:
    """What models of this data folder learn from: models of other data are no opponents."""
    size = f":{SETTINGS.profile.value}" if SETTINGS.source == "simulated" else ""
    return f"{SETTINGS.source}{size}"


def _support(warehouse: Warehouse, bundle: ModelBundle) -> Support:
    """Training support of every feature the model uses, one pillar at a time."""
    weeks = support_weeks(bundle.plan, CONFIG.governance)
    used = {p: list(m.features) for p, m in bundle.tier1.items()}
    used[SCHEME_PILLAR] = [c for c in bundle.tier2.features if c in CONTRACTS[SCHEME_PILLAR].names]
    ranges: dict[str, dict[str, Range]] = {}
    for pillar, names in used.items():
        if names and weeks:
            columns = ", ".join(["client_id", "as_of_date", *names])
            frame = read_weeks(warehouse, CONTRACTS[pillar].address, weeks, columns)
            ranges[pillar] = fit_support(frame, names, CONFIG.governance)
    return Support(ranges)


def _opponent(challenger: ModelBundle) -> tuple[str | None, ModelBundle | None, str]:
    """The champion's id, its model where it can be compared with the challenger, and why not."""
    champion = champion_id(SETTINGS.models)
    if champion is None:
        return None, None, ""
    alone = "Judged by the absolute gates alone."
    try:
        bundle = load_bundle(SETTINGS.models, champion, FEATURE_HASH, challenger.selection)
    except RegistryError as error:
        return champion, None, f"The champion cannot be compared: {error} {alone}"
    if bundle.source != challenger.source:
        return champion, None, f"The champion learned from other data ({bundle.source or 'unnamed'}). {alone}"
    return champion, bundle, ""


def _judge(
    warehouse: Warehouse,
    bundle: ModelBundle,
    opponent: tuple[str | None, ModelBundle | None, str],
    scores: pl.DataFrame,
    features: dict[str, pl.DataFrame],
    weeks: list[date],
) -> Verdict:
    """Champion and challenger, whose ``scores`` these are, on the same held-out weeks."""
    champion, rival, note = opponent
    theirs = None
    if rival is not None and champion != bundle.model_id:
        fair = unseen_weeks(weeks, rival.plan.train_weeks[-1] if rival.plan.train_weeks else None)
        if fair:
            try:
                theirs = score_weeks(rival, features).scores.filter(pl.col("as_of_date").is_in(fair))
            except (FeatureMismatchError, KeyError) as error:
                note = f"The champion cannot score with this version ({error}): judged by the absolute gates alone."
        else:
            note = "The champion was trained on every held-out week: judged by the absolute gates alone."
    return judge(
        bundle.model_id,
        champion,
        scores,
        theirs,
        # without a supervised half there is no probability to calibrate, whatever labels there are
        eligible_labels(read_labels(warehouse), bundle.plan.validation_weeks if bundle.plan.is_supervised else ()),
        bundle.aggregation.calibration is not None,
        CONFIG.governance,
        CONFIG.models.seed,
        note,
    )


PROMOTIONS_KEY = dg.AssetKey(["models", "promotions"])


@dg.multi_asset(
    name="champion",
    specs=[
        dg.AssetSpec(
            key,
            deps=[
                ["models", "aggregation"],
                ["models", "flat_baseline"],
                *weekly(*feature_keys(*CONTRACTS), WINDOWS_KEY),
            ],
            group_name="models",
            kinds=kinds,
            description=description,
            metadata=definition_metadata(contract),
        )
        for key, contract, kinds, description in (
            (
                dg.AssetKey(["models", "metrics"]),
                METRICS_CONTRACT,
                {"python", "duckdb"},
                "The trained model: all parts saved as one bundle with its card, measured on validation weeks and, "
                f"once, on test weeks. {METRICS_CONTRACT.description}",
            ),
            (
                PROMOTIONS_KEY,
                PROMOTIONS,
                {"python", "mlflow", "duckdb"},
                "Challenger against champion on the same held-out weeks, and who scores from now on: the alias "
                f"`champion` in MLflow's store. {PROMOTIONS.description}",
            ),
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "model_fit_to_publish",
            asset=["models", "metrics"],
            blocking=True,
            description="There is a champion: a model whose scores are finite, not all equal, and calibrated where "
            "labels exist.",
        ),
        dg.AssetCheckSpec(
            "challenger_promoted",
            asset=PROMOTIONS_KEY,
            description="The newly trained model became champion; where not, the old one stays and here is why.",
        ),
    ],
)
def champion(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Any:
    """Save, measure, compare with the champion, record, promote."""
    plan = read_plan()
    selection = read_selection()
    bundle = ModelBundle(
        tier1={p: Tier1Model.from_files(p, read_folder(WORK / f"tier1_{p}")) for p in PILLARS},
        tier2=Tier2Model.from_files(read_folder(WORK / "tier2")),
        aggregation=AggregationModel.from_files(read_folder(WORK / "aggregation")),
        flat=FlatModel.from_files(read_folder(WORK / "flat")),
        plan=plan,
        config=CONFIG,
        feature_hash=FEATURE_HASH,
        code_hash=code_hash(),
        selection=selection.to_json() if selection else "",
        source=source_name(),
    )
    bundle = replace(bundle, support=_support(warehouse, bundle))
    model_id = save_bundle(SETTINGS.models, bundle)
    bundle = load_bundle(SETTINGS.models, model_id, FEATURE_HASH, bundle.selection)
    frames = []
    held_out = list(plan.validation_weeks or plan.train_weeks[-1:])
    opponent = _opponent(bundle)
    remembered = max(b.config.models.memory_weeks for b in (bundle, opponent[1]) if b is not None)
    features = scoring_features(warehouse, held_out, remembered)
    scores = score_weeks(bundle, features).scores
    verdict = _judge(warehouse, bundle, opponent, scores, features, held_out)
    if plan.validation_weeks:
        frames.append(_measure(warehouse, bundle, scores, features, plan.validation_weeks, evaluate_validation_weeks))
    if plan.test_weeks:
        features = scoring_features(warehouse, list(plan.test_weeks), CONFIG.models.memory_weeks)
        scores = score_weeks(bundle, features).scores
        frames.append(_measure(warehouse, bundle, scores, features, plan.test_weeks, evaluate_test_weeks))
    metrics = pl.concat(frames) if frames else METRICS_CONTRACT.empty()
    warehouse.replace_model(METRICS_CONTRACT, metrics, model_id)
    add_metrics(SETTINGS.models, model_id, metrics.to_dicts())
    decision = _decided(warehouse, verdict)
    # last, and its last act moves the alias: whatever fails before leaves the old champion in office
    run_id = record_training(
        SETTINGS.models,
        SETTINGS.models / model_id / CARD,
        read_card(SETTINGS.models, model_id),
        metrics.to_dicts(),
        {g.name: g.value for g in verdict.gates if g.value is not None},
        {"decision": verdict.sentence},
        verdict.is_promoted,
    )
    shown = metrics.filter(pl.col("metric").is_in(["auroc", "average_precision"]))
    yield dg.MaterializeResult(
        asset_key=["models", "metrics"],
        metadata=run_metadata(
            metrics.height,
            {
                "model_id": model_id,
                "card": str(Path(SETTINGS.models) / model_id / CARD),
                "metrics": markdown_table(shown.drop("model_id", "reason"), rows=60),
            },
        ),
    )
    scoring = model_id if verdict.is_promoted or verdict.is_same else verdict.champion_id
    if scoring is not None and scoring != model_id:
        _recall(warehouse, scoring)
    yield dg.AssetCheckResult(
        check_name="model_fit_to_publish",
        asset_key=["models", "metrics"],
        passed=scoring is not None,
        metadata={"problems": " ".join(verdict.failures) or "none", "model_id": scoring or "none"},
    )
    yield dg.MaterializeResult(
        asset_key=PROMOTIONS_KEY,
        metadata=run_metadata(
            decision.height,
            {
                "decision": verdict.sentence,
                "gates": markdown_table(decision.drop("model_id", "decision_number", "champion_before")),
                "mlflow run": run_id,
            },
        ),
    )
    yield dg.AssetCheckResult(
        check_name="challenger_promoted",
        asset_key=PROMOTIONS_KEY,
        passed=verdict.is_promoted or verdict.is_same,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"decision": verdict.sentence, "failed gates": " ".join(verdict.failures) or "none"},
    )


def _measure(
    warehouse: Warehouse,
    bundle: ModelBundle,
    scores: pl.DataFrame,
    features: dict[str, pl.DataFrame],
    weeks: tuple[date, ...],
    evaluate: Callable[..., pl.DataFrame],
) -> pl.DataFrame:
    asked = {p: f.filter(pl.col("as_of_date").is_in(list(weeks))) for p, f in features.items()}
    baselines = baseline_scores(warehouse, bundle.flat, asked, list(weeks))
    return evaluate(scores, baselines, read_labels(warehouse), bundle.plan, bundle.model_id, CONFIG.models)


def _recall(warehouse: Warehouse, model_id: str) -> None:
    """Bring back, from its card, what a champion in office measured, where a new warehouse does not know it."""
    known = warehouse.read(f"select count(*) as n from {METRICS_CONTRACT.address} where model_id = ?", [model_id])
    rows = pl.DataFrame(read_card(SETTINGS.models, model_id)["metrics"], infer_schema_length=None)
    if not known["n"].item() and rows.height:
        warehouse.replace_model(METRICS_CONTRACT, METRICS_CONTRACT.conform(rows), model_id)


def _decided(warehouse: Warehouse, verdict: Verdict) -> pl.DataFrame:
    """Put the decision on record; a champion that was only trained again keeps the one that made it champion."""
    number = 0
    if warehouse.exists(PROMOTIONS.address):
        known = warehouse.read(f"from {PROMOTIONS.address} order by model_id, gate")
        number = int(known["decision_number"].cast(pl.Int64).max() or 0)  # type: ignore[arg-type]
        if verdict.is_same and verdict.challenger_id in known["model_id"]:
            return known.filter(pl.col("model_id") == verdict.challenger_id)
    decision = verdict.frame(number + 1)
    warehouse.replace_model(PROMOTIONS, decision, verdict.challenger_id)
    return decision


MODEL_ASSETS = [split_plan, *TIER1_MODELS, tier2_model, aggregation_model, flat_baseline, champion]
