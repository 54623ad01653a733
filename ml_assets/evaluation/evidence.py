"""The tables a validator asks for, all measured on the same eligible rows and the same resamples.

Rule of this file: rows come in with labels and scores side by side; every table goes out as a frame of a contract.
It knows no model by name but the reference and the fixed rules; whatever else is handed in is measured too. What
cannot be measured is a row with nulls and the reason in words, never a zero and never an error.

Intervals are 95 %. Where the unit is a client, counted once, they are Wilson's (1927); elsewhere they come from the
bootstrap by client of :mod:`ml_assets.evaluation.metrics`. A week's alerts are the highest scores of its eligible
rows; equal scores by client id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint

from ml_assets.config import EvaluationConfig, ModelConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.evaluation.metrics import (
    REFERENCE,
    Sample,
    brier,
    divide,
    draw,
    interval,
    model_metrics,
    rank_in_week,
    ties_at_cut,
)

RULES = "fixed_rules"
"""Model whose alerts the false positives saved are counted against."""

MODEL = Column("model", "text", "bcrs, one of its aggregations, or a baseline; all where the row is about no model.")
REASON = Column(
    "reason", "text", "Why a value is missing, or what to know about it, in words.", null_rule="nothing to say"
)
_MISSING = "cannot be measured; see reason"


def _number(name: str, text: str, unit: str = "ratio", null: str = _MISSING) -> Column:
    bounds: dict[str, float] = {"minimum": 0, "maximum": 1} if unit == "ratio" else {}
    return Column(name, "number", text, unit, null_rule=null, **bounds)  # type: ignore[arg-type]


def _count(name: str, text: str) -> Column:
    return Column(name, "integer", text, "count", null_rule=_MISSING, minimum=0)


def interval_columns(of: str) -> tuple[Column, Column]:
    """Columns ``interval_low`` and ``interval_high``."""
    return (
        Column("interval_low", "number", f"Lower end of the 95 % interval of {of}.", null_rule="no interval"),
        Column("interval_high", "number", f"Upper end of the 95 % interval of {of}.", null_rule="no interval"),
    )


def _table(name: str, description: str, grain: tuple[str, ...], *columns: Column) -> TableContract:
    return TableContract("evaluation", name, description, grain, (*columns, REASON))


PERFORMANCE = _table(
    "performance",
    "One row per model and metric: value on the test weeks with interval, and B-CRS's gain over the model.",
    ("model", "metric"),
    MODEL,
    Column("metric", "text", "Name of the metric; counts of the measured rows have model all."),
    Column("metric_value", "number", "Point estimate.", null_rule=_MISSING),
    *interval_columns("the value"),
    Column(
        "gain_of_bcrs",
        "number",
        "B-CRS's value less the model's, on the same rows; for Brier, where less is better, the other way round.",
        null_rule="the reference itself, or not measured",
    ),
    Column("gain_low", "number", "Lower end of the gain's 95 % interval, on the same resamples.", null_rule="no gain"),
    Column("gain_high", "number", "Upper end of the gain's 95 % interval.", null_rule="no gain"),
)
CAPACITY = _table(
    "capacity_curve",
    "One row per model and alert capacity: recall and precision if that share of clients were alerted every week.",
    ("model", "capacity_ratio"),
    MODEL,
    Column("capacity_ratio", "number", "Share of the week's clients alerted.", "ratio", minimum=0, maximum=1),
    _number("alerts_per_week", "Mean alerts a week at this capacity.", "count"),
    _number("recall_ratio", "Share of positive client-weeks among the alerts."),
    *interval_columns("recall"),
    _number("precision_ratio", "Share of the alerts that are positive."),
)
PATTERNS = _table(
    "pattern_recall",
    "One row per laundering pattern planted by the source and model: positive clients found at alert capacity.",
    ("kind", "pattern", "model"),
    Column("kind", "text", "typology, scheme, none (the report was wrong), or not available."),
    Column("pattern", "text", "Pattern as the source names it; a client with several counts in each."),
    MODEL,
    _count("positive_clients_count", "Clients with a positive test week."),
    _count("found_clients_count", "Of these, clients alerted in one of their positive weeks."),
    _number("client_recall_ratio", "Share of the clients found."),
    *interval_columns("client recall (Wilson)"),
    _number("week_recall_ratio", "Share of their positive client-weeks that were alerted."),
)
SAVINGS = _table(
    "rule_savings",
    "One row per number of rules that fire and model: false positives at the recall the rules reach.",
    ("rules_fired_count", "model"),
    Column("rules_fired_count", "integer", "The rules alert where at least so many fire.", "count", minimum=0),
    MODEL,
    _number("recall_ratio", "Recall of the rules, which the model is set to reach."),
    _count("rules_false_positives_count", "False positives of the rules, client-weeks."),
    _count("model_false_positives_count", "False positives of the model at that recall, whole ties counted."),
    Column(
        "saved_ratio",
        "number",
        "Share of the rules' false positives the model saves; negative where it makes more.",
        "ratio",
        null_rule=_MISSING,
        maximum=1,
    ),
    *interval_columns("the share saved"),
)
CALIBRATION = _table(
    "calibration",
    "One row per risk band, and per bin of the predicted probability: predicted against observed.",
    ("kind", "bin_order"),
    Column("kind", "text", "band or probability.", allowed=("band", "probability")),
    Column("bin_order", "integer", "Order of the bin, the riskiest is 1.", "count", minimum=0),
    Column("bin_name", "text", "Band, or range of ranks by probability."),
    _count("rows_count", "Client-weeks in the bin."),
    _count("positives_count", "Of these, positive."),
    _number("predicted_ratio", "Mean predicted probability."),
    _number("observed_ratio", "Share that was positive."),
    *interval_columns("the observed share (Wilson; a client's weeks are alike, so the truth is wider)"),
)
TIES = _table(
    "ties",
    "One row per model: equal scores at the cut between alert and no alert.",
    ("model",),
    MODEL,
    _count("cut_off_rows_count", "Client-weeks left out although their score equals the last one let in."),
    _count("weeks_with_ties_count", "Test weeks in which that happens."),
    _count("weeks_count", "Test weeks."),
    _count("distinct_scores_count", "Different scores among all measured rows."),
    _count("rows_count", "Measured client-weeks."),
)
PARITY = _table(
    "parity",
    "One row per attribute, group and model: clients alerted at capacity, without and with an STR.",
    ("attribute", "group_name", "model"),
    Column("attribute", "text", "geography, occupation, account_age, or all."),
    Column("group_name", "text", "Value of the attribute; unknown where the source does not say."),
    MODEL,
    _count("negative_clients_count", "Clients of the group without a positive test week."),
    _count("alerted_negative_clients_count", "Of these, clients alerted at least once."),
    _number("false_positive_ratio", "Share of negative clients alerted at least once in the test weeks."),
    Column("false_positive_low", "number", "Lower end of its 95 % interval (Wilson).", null_rule="no interval"),
    Column("false_positive_high", "number", "Upper end of its 95 % interval (Wilson).", null_rule="no interval"),
    _count("positive_clients_count", "Clients with a positive test week."),
    _count("found_clients_count", "Of these, clients alerted in one of their positive weeks."),
    _number("recall_ratio", "Share of the positive clients found."),
    Column("recall_low", "number", "Lower end of its 95 % interval (Wilson).", null_rule="no interval"),
    Column("recall_high", "number", "Upper end of its 95 % interval (Wilson).", null_rule="no interval"),
    Column("is_few_clients", "boolean", "Too few clients for the false-positive share to say much."),
    Column("is_few_positive_clients", "boolean", "Too few clients with an STR for recall to say much."),
)
TEST_TABLES = {t.name: t for t in (PERFORMANCE, CAPACITY, PATTERNS, SAVINGS, CALIBRATION, TIES, PARITY)}
"""Contracts of the tables :func:`assess` makes, by name."""

PROBABILITIES: dict[str, Callable[[pl.DataFrame], pl.Series]] = {
    "bcrs": lambda rows: rows["bcrs_probability_ratio"].cast(pl.Float64).fill_nan(None),
    "bcrs_boosting": lambda rows: rows["boosting_score"].cast(pl.Float64).fill_nan(None) / 100.0,
    "bcrs_bayesian": lambda rows: rows["bayesian_score"].cast(pl.Float64).fill_nan(None) / 100.0,
    "flat_xgboost": lambda rows: pl.Series(expit(rows["flat_xgboost"].cast(pl.Float64).to_numpy())).fill_nan(None),
}
"""Model -> its scores as probabilities; the flat baseline's score is log-odds. Only B-CRS's are calibrated."""

NOT_A_PROBABILITY = "Its score is a ranking, not a probability."
AGE_BANDS = ((180, "under 6 months"), (365, "6 to 12 months"), (3 * 365, "1 to 3 years"))
OLDEST = "over 3 years"


@dataclass(frozen=True)
class Subject:
    """What is measured and what is known besides.

    Parameters
    ----------
    models : model -> its score column, higher is riskier.
    probabilities : model -> function from its scores to probabilities; models without one have no Brier score.
    context : client_id, as_of_date, band, geography, occupation, account_age_days of the rows; columns may be null.
    truth : client_id, kind, pattern of the planted launderers; None where the source names none.
    """

    models: Mapping[str, str]
    probabilities: Mapping[str, Callable[[pl.DataFrame], pl.Series]]
    context: pl.DataFrame
    truth: pl.DataFrame | None


def wilson(hits: int, of: int) -> tuple[float | None, float | None]:
    """95 % interval of a share by Wilson (1927); nulls where there is nothing to take a share of.

    >>> [round(v, 4) for v in wilson(0, 10)]
    [0.0, 0.2775]
    >>> wilson(0, 0)
    (None, None)
    """
    if not of:
        return None, None
    low, high = proportion_confint(hits, of, alpha=0.05, method="wilson")
    return float(low), float(high)


def unexplained(frame: pl.DataFrame, contract: TableContract) -> list[str]:
    """What a table of evidence breaks, in words; empty where it holds.

    Rows there; grain unique; no null where the contract allows none; numbers in their range; and, where
    a row has no number at all, a reason.
    """
    if frame.is_empty():
        return ["no rows"]
    problems = []
    if frame.select(contract.grain).is_duplicated().any():
        problems.append(f"rows with the same {', '.join(contract.grain)}")
    for column in contract.columns:
        values = frame[column.name]
        if not column.is_nullable and values.null_count():
            problems.append(f"{column.name}: {values.null_count()} nulls")
        if column.minimum is not None and (values < column.minimum).any():
            problems.append(f"{column.name} under {column.minimum}")
        if column.maximum is not None and (values > column.maximum).any():
            problems.append(f"{column.name} over {column.maximum}")
    numbers = [c.name for c in contract.columns if c.dtype in ("number", "integer") and c.is_nullable]
    silent = frame.filter(pl.all_horizontal(pl.col(numbers).is_null()) & pl.col("reason").is_null()).height
    if silent:
        problems.append(f"{silent} rows without a number and without a reason")
    return problems


def _frame(contract: TableContract, rows: list[dict[str, Any]]) -> pl.DataFrame:
    empty = contract.empty()
    return contract.conform(pl.DataFrame([{c: r.get(c) for c in contract.names} for r in rows], schema=empty.schema))


@dataclass(frozen=True)
class _Scored:
    """The models that have scores, ranked once; ``absent`` says why the others have none."""

    score: dict[str, NDArray[np.float64]]
    rank: dict[str, NDArray[np.int64]]
    note: dict[str, str | None]
    absent: dict[str, str]


def _rank_all(sample: Sample, models: Mapping[str, str]) -> _Scored:
    out = _Scored({}, {}, {}, {})
    for model, column in models.items():
        score, note = sample.score(column)
        if score is None:
            out.absent[model] = str(note)
        else:
            out.score[model], out.note[model] = score, note
            out.rank[model] = rank_in_week(sample.rows, score)
    return out


def assess(
    rows: pl.DataFrame, subject: Subject, policy: ModelConfig, config: EvaluationConfig
) -> dict[str, pl.DataFrame]:
    """Every table of :data:`TEST_TABLES` on one set of eligible rows.

    Parameters
    ----------
    rows : client_id, as_of_date, is_positive and the score columns; one row per eligible client and week.
    policy : alert capacity, k of precision at k, seed. config : resamples and points.

    Returns
    -------
    frames : table name -> frame as its contract.
    """
    sample = draw(rows, config.bootstrap_samples, policy.seed)
    scored = _rank_all(sample, subject.models)
    capacity = sample.capacity(policy.alert_capacity_ratio)
    alerted = {model: rank <= capacity for model, rank in scored.rank.items()}
    context = sample.rows.select("client_id", "as_of_date").join(
        subject.context, on=["client_id", "as_of_date"], how="left", maintain_order="left"
    )
    return {
        "performance": performance(sample, subject, policy),
        "capacity_curve": _capacity_curve(sample, scored, config.capacity_ratios),
        "pattern_recall": _pattern_recall(sample, scored, alerted, subject.truth),
        "rule_savings": _rule_savings(sample, scored),
        "calibration": _calibration(sample, context, subject),
        "ties": _ties(sample, scored, capacity),
        "parity": _parity(sample, scored, alerted, context, config),
    }


def performance(sample: Sample, subject: Subject, policy: ModelConfig) -> pl.DataFrame:
    """The main table: every metric of every model, and B-CRS's gain over each on the same resamples."""
    out: list[dict[str, Any]] = [
        {"model": "all", "metric": name, "metric_value": float(value)}
        for name, value in (
            ("rows_count", sample.rows.height),
            ("positives_count", sample.positive.sum()),
            ("clients_count", sample.clients),
            ("weeks_count", sample.rows["as_of_date"].n_unique()),
        )
    ]
    names = ["auroc", "average_precision", "brier"]
    names += [f"{m}_at_{k}" for k in (*policy.precision_at, "capacity") for m in ("precision", "recall")]
    measured: dict[str, dict[str, NDArray[np.float64]]] = {}
    notes: dict[str, str | None] = {}
    for model, column in subject.models.items():
        score, note = sample.score(column)
        if score is None or sample.one_class:
            out += [{"model": model, "metric": n, "reason": sample.one_class or note} for n in names]
            continue
        notes[model] = note
        measured[model] = model_metrics(sample, score, policy.precision_at, policy.alert_capacity_ratio)
        probability = subject.probabilities[model](sample.rows) if model in subject.probabilities else None
        if probability is None or probability.null_count():
            why = NOT_A_PROBABILITY if probability is None else "There were no labels to make its score a probability."
            out.append({"model": model, "metric": "brier", "reason": why})
        else:
            # less is better: turned over, so that a gain is a gain
            measured[model]["brier"] = -brier(sample, probability.to_numpy().astype(np.float64))
    for model, metrics in measured.items():
        for name, values in metrics.items():
            sign = -1.0 if name == "brier" else 1.0
            value, low, high = interval(sign * values)
            row = {"model": model, "metric": name, "metric_value": value, "interval_low": low, "interval_high": high}
            reference = measured.get(REFERENCE, {}).get(name)
            if model != REFERENCE and reference is not None:
                gain = interval(reference - values)
                row |= {"gain_of_bcrs": gain[0], "gain_low": gain[1], "gain_high": gain[2]}
            out.append(row | {"reason": notes[model]})
    return _frame(PERFORMANCE, out)


def _capacity_curve(sample: Sample, scored: _Scored, ratios: tuple[float, ...]) -> pl.DataFrame:
    out: list[dict[str, Any]] = []
    weeks = sample.rows["as_of_date"].n_unique()
    positives = sample.sums(sample.positive.astype(np.float64))
    sizes = [sample.capacity(ratio) for ratio in ratios]
    for model, rank in scored.rank.items():
        for ratio, size in zip(ratios, sizes, strict=True):
            flagged = rank <= size
            row: dict[str, Any] = {"model": model, "capacity_ratio": ratio, "reason": scored.note[model]}
            row["alerts_per_week"] = float(flagged.sum()) / weeks if weeks else None
            if sample.one_class:
                row["reason"] = sample.one_class
            else:
                hits = flagged & sample.positive
                value, low, high = interval(divide(sample.sums(hits.astype(np.float64)), positives))
                row |= {"recall_ratio": value, "interval_low": low, "interval_high": high}
                row["precision_ratio"] = float(hits.sum() / flagged.sum())
            out.append(row)
    out += [{"model": m, "capacity_ratio": r, "reason": why} for m, why in scored.absent.items() for r in ratios]
    return _frame(CAPACITY, out)


def _pattern_recall(
    sample: Sample, scored: _Scored, alerted: Mapping[str, NDArray[np.bool_]], truth: pl.DataFrame | None
) -> pl.DataFrame:
    def nothing(reason: str) -> pl.DataFrame:
        return _frame(
            PATTERNS, [{"kind": "not available", "pattern": "not available", "model": "all", "reason": reason}]
        )

    if truth is None or not truth["pattern"].drop_nulls().len():
        return nothing("The source does not say by which pattern a client laundered.")
    if not sample.positive.any():
        return nothing("There is no positive row in the test weeks.")
    known = truth.with_columns(pl.col("pattern").str.split(",")).explode("pattern").drop_nulls("pattern")
    positive = pl.DataFrame({"client_id": sample.rows["client_id"], "is_positive": sample.positive}).with_columns(
        **{m: pl.Series(flag) for m, flag in alerted.items()}
    )
    rows = (
        positive.filter("is_positive")
        .join(known.select("client_id", "kind", "pattern").unique(), on="client_id", how="left")
        .with_columns(pl.col("kind").fill_null("none"), pl.col("pattern").fill_null("honest client, wrong report"))
    )
    out: list[dict[str, Any]] = []
    for model in alerted:
        found = (
            rows.group_by("kind", "pattern", "client_id")
            .agg(found=pl.col(model).any(), hits=pl.col(model).sum(), weeks=pl.len())
            .group_by("kind", "pattern")
            .agg(pl.len(), pl.col("found").sum(), pl.col("hits").sum(), pl.col("weeks").sum())
            .sort("kind", "pattern")
        )
        for kind, pattern, clients, hit, hits, weeks in found.iter_rows():
            low, high = wilson(hit, clients)
            out.append(
                {
                    "kind": kind,
                    "pattern": pattern,
                    "model": model,
                    "positive_clients_count": clients,
                    "found_clients_count": hit,
                    "client_recall_ratio": hit / clients,
                    "interval_low": low,
                    "interval_high": high,
                    "week_recall_ratio": hits / weeks,
                    "reason": scored.note[model],
                }
            )
    return _frame(PATTERNS, out)


@njit(cache=True)
def _false_positives_at(positive, client, ends, multiplicity, wanted):  # type: ignore[no-untyped-def]
    """Weighted negatives met until the weighted positives reach ``wanted``, per resample; whole ties are taken.

    Rows sorted by falling score, ``ends`` True on the last row of equal scores. NaN where ``wanted`` is 0.
    """
    out = np.full(multiplicity.shape[0], np.nan)
    for b in range(multiplicity.shape[0]):
        if wanted[b] <= 0:
            continue
        weight = multiplicity[b]
        hits = 0.0
        misses = 0.0
        for i in range(len(positive)):
            if positive[i]:
                hits += weight[client[i]]
            else:
                misses += weight[client[i]]
            if ends[i] and hits >= wanted[b] - 1e-6:
                out[b] = misses
                break
    return out


def false_positives_at(sample: Sample, score: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """False positives of a score at the cut where it first finds ``wanted`` positives, per resample.

    Parameters
    ----------
    score : shape (rows,). wanted : positives to be found, shape (samples + 1,).

    Returns
    -------
    counts : shape (samples + 1,); a run of equal scores is alerted as a whole. NaN where nothing is wanted.
    """
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.append(ordered[1:] != ordered[:-1], True)
    counts = _false_positives_at(sample.positive[order], sample.client[order], ends, sample.multiplicity, wanted)
    return np.asarray(counts)


def _rule_savings(sample: Sample, scored: _Scored) -> pl.DataFrame:
    def nothing(reason: str) -> pl.DataFrame:
        return _frame(SAVINGS, [{"rules_fired_count": 0, "model": "all", "reason": reason}])

    if RULES not in scored.score:
        return nothing(scored.absent.get(RULES, "The fixed rules were not scored."))
    if sample.one_class:
        return nothing(sample.one_class)
    fired = scored.score[RULES]
    out: list[dict[str, Any]] = []
    for level in sorted({int(v) for v in np.unique(fired) if np.isfinite(v) and v >= 1}):
        flagged = fired >= level
        hits = sample.sums((flagged & sample.positive).astype(np.float64))
        misses = sample.sums((flagged & ~sample.positive).astype(np.float64))
        base = {
            "rules_fired_count": level,
            "rules_false_positives_count": int(misses[0]),
            "recall_ratio": float(hits[0] / sample.positive.sum()),
        }
        for model, score in scored.score.items():
            if model == RULES:
                continue
            if not hits[0]:
                out.append(base | {"model": model, "reason": "The rules find no positive: no recall to equal."})
                continue
            counts = false_positives_at(sample, score, hits)
            value, low, high = interval(1.0 - divide(counts, np.where(np.isnan(counts), 0.0, misses)))
            out.append(
                base
                | {
                    "model": model,
                    "model_false_positives_count": int(counts[0]),
                    "saved_ratio": value,
                    "interval_low": low,
                    "interval_high": high,
                    "reason": scored.note[model],
                }
            )
    return _frame(SAVINGS, out) if out else nothing("No rule fires on any measured row.")


_BINS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Edges of the reliability bins as shares of rows, the riskiest first: positives are rare, so the top is cut finer."""


def _calibration(sample: Sample, context: pl.DataFrame, subject: Subject) -> pl.DataFrame:
    bands = ("HIGH", "MEDIUM", "LOW", "MINIMAL")
    predicted = subject.probabilities[REFERENCE](sample.rows) if REFERENCE in subject.probabilities else None
    if predicted is None or predicted.null_count() or not sample.rows.height:
        why = "No test rows." if not sample.rows.height else "There were no labels to calibrate on."
        return _frame(
            CALIBRATION,
            [{"kind": k, "bin_order": 0, "bin_name": "all", "reason": why} for k in ("band", "probability")],
        )
    p = predicted.to_numpy().astype(np.float64)
    out = []

    def add(kind: str, order: int, name: str, inside: NDArray[np.bool_]) -> None:
        rows, hits = int(inside.sum()), int((inside & sample.positive).sum())
        row: dict[str, Any] = {"kind": kind, "bin_order": order, "bin_name": name, "rows_count": rows}
        if rows:
            low, high = wilson(hits, rows)
            row |= {"positives_count": hits, "predicted_ratio": float(p[inside].mean()), "observed_ratio": hits / rows}
            row |= {"interval_low": low, "interval_high": high}
        else:
            row["reason"] = "No client-week in it."
        out.append(row)

    band = context["band"].fill_null("unknown").to_numpy()
    for order, name in enumerate(bands, start=1):
        add("band", order, name, band == name)
    rank = np.empty(len(p))
    rank[np.argsort(-p, kind="stable")] = np.arange(len(p)) / len(p)
    for order, (low, high) in enumerate(pairwise(_BINS), start=1):
        add("probability", order, f"top {100 * low:g} to {100 * high:g} %", (rank >= low) & (rank < high))
    return _frame(CALIBRATION, out)


def _ties(sample: Sample, scored: _Scored, capacity: NDArray[np.int64]) -> pl.DataFrame:
    out: list[dict[str, Any]] = [{"model": m, "reason": why} for m, why in scored.absent.items()]
    for model, score in scored.score.items():
        tied = ties_at_cut(sample.rows, score, scored.rank[model], capacity)
        out.append(
            {
                "model": model,
                "cut_off_rows_count": tied.height,
                "weeks_with_ties_count": tied["week"].n_unique(),
                "weeks_count": sample.rows["as_of_date"].n_unique(),
                "distinct_scores_count": len(np.unique(score)),
                "rows_count": len(score),
                "reason": scored.note[model],
            }
        )
    return _frame(TIES, out)


def age_band(days: pl.Expr) -> pl.Expr:
    """Account age in words; unknown where null."""
    banded = pl.lit(OLDEST)
    for limit, name in reversed(AGE_BANDS):
        banded = pl.when(days < limit).then(pl.lit(name)).otherwise(banded)
    return pl.when(days.is_null()).then(pl.lit("unknown")).otherwise(banded)


def _parity(
    sample: Sample,
    scored: _Scored,
    alerted: Mapping[str, NDArray[np.bool_]],
    context: pl.DataFrame,
    config: EvaluationConfig,
) -> pl.DataFrame:
    """A client counts in each group it belonged to; negative means negative in all test weeks."""
    attributes = {
        "all": pl.lit("all"),
        "geography": pl.col("geography").cast(pl.String).fill_null("unknown"),
        "occupation": pl.col("occupation").cast(pl.String).fill_null("unknown"),
        "account_age": age_band(pl.col("account_age_days")),
    }
    out: list[dict[str, Any]] = []
    if sample.rows.is_empty():
        row = {"attribute": "all", "group_name": "all", "model": "all", "reason": "No test rows."}
        return _frame(PARITY, [row | {"is_few_clients": True, "is_few_positive_clients": True}])
    rows = context.select("client_id", **attributes).with_columns(
        positive=pl.Series(sample.positive), **{f"alert:{m}": pl.Series(a) for m, a in alerted.items()}
    )
    rows = rows.with_columns(is_str=pl.col("positive").any().over("client_id"))
    for attribute in attributes:
        unknown = attribute != "all" and bool((rows[attribute] == "unknown").all())
        for model in alerted:
            alert = pl.col(f"alert:{model}")
            groups = (
                rows.group_by(group_name=attribute, client_id="client_id")
                .agg(
                    is_str=pl.col("is_str").first(),
                    alerted=alert.any(),
                    found=(alert & pl.col("positive")).any(),
                    positive=pl.col("positive").any(),
                )
                .group_by("group_name")
                .agg(
                    negatives=(~pl.col("is_str")).sum(),
                    wrong=(~pl.col("is_str") & pl.col("alerted")).sum(),
                    positives=pl.col("positive").sum(),
                    found=pl.col("found").sum(),
                )
                .sort("group_name")
            )
            for name, negatives, wrong, positives, found in groups.iter_rows():
                wide, long = wilson(wrong, negatives), wilson(found, positives)
                reasons = []
                if unknown:
                    reasons.append(f"The source does not give {attribute.replace('_', ' ')}.")
                if not positives:
                    reasons.append("No client of the group has an STR: recall is not defined.")
                out.append(
                    {
                        "attribute": attribute,
                        "group_name": name,
                        "model": model,
                        "negative_clients_count": negatives,
                        "alerted_negative_clients_count": wrong,
                        "false_positive_ratio": wrong / negatives if negatives else None,
                        "false_positive_low": wide[0],
                        "false_positive_high": wide[1],
                        "positive_clients_count": positives,
                        "found_clients_count": found,
                        "recall_ratio": found / positives if positives else None,
                        "recall_low": long[0],
                        "recall_high": long[1],
                        "is_few_clients": negatives < config.few_clients,
                        "is_few_positive_clients": positives < config.few_positive_clients,
                        "reason": " ".join(reasons) or scored.note[model],
                    }
                )
    return _frame(PARITY, out)
