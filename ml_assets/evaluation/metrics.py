"""Ranking and probability metrics with 95 % intervals from a bootstrap over clients.

Rule of this file: it measures scores it is handed and knows neither models nor splits. Clients are drawn with
replacement and bring all their weeks along, because a client's weeks are no independent evidence (Field and Welsh
2007, cluster bootstrap). Every model is measured on the same draws, so differences are paired.

A resample is a vector of client multiplicities. AUROC and average precision are read off scores sorted once, in one
compiled pass per resample; everything additive (Brier, precision, recall) is a matrix product of multiplicities
with sums per client. Tied scores count half in AUROC and enter average precision together, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import ModelConfig
from ml_assets.contracts.table import Column, TableContract

METRICS_CONTRACT = TableContract(
    schema="models",
    name="metrics",
    description="One row per model bundle, model, split and metric: value and 95 % interval.",
    grain=("model_id", "model", "split", "metric"),
    columns=(
        Column("model_id", "text", "Bundle the measurement belongs to."),
        Column("model", "text", "What is measured: bcrs, one of its aggregations, or a baseline."),
        Column("split", "text", "Part of the calendar measured on.", allowed=("validation", "test")),
        Column("metric", "text", "Name of the metric."),
        Column("value", "number", "Point estimate.", null_rule="cannot be measured; see reason"),
        Column("low", "number", "2.5 % quantile of the bootstrap by client.", null_rule="no interval"),
        Column("high", "number", "97.5 % quantile of the bootstrap by client.", null_rule="no interval"),
        Column("reason", "text", "Why a value is missing, or what to know about it.", null_rule="nothing to say"),
    ),
)
"""Contract of ``models.metrics``."""

REFERENCE = "bcrs"
"""Model the others are compared with."""


@njit(cache=True)
def _curve(positive, client, ends, multiplicity):  # type: ignore[no-untyped-def]
    """AUROC and average precision of every resample; rows sorted by falling score, O(resamples x rows).

    ``ends`` is True on the last row of a run of equal scores; ``multiplicity`` is (resamples, clients).
    """
    samples = multiplicity.shape[0]
    auroc = np.full(samples, np.nan)
    average = np.full(samples, np.nan)
    for b in range(samples):
        weight = multiplicity[b]
        above_positive = 0.0
        above_negative = 0.0
        group_positive = 0.0
        group_negative = 0.0
        area = 0.0
        precision = 0.0
        for i in range(len(positive)):
            w = weight[client[i]]
            if positive[i]:
                group_positive += w
            else:
                group_negative += w
            if ends[i]:
                area += group_negative * (above_positive + 0.5 * group_positive)
                above_positive += group_positive
                above_negative += group_negative
                if group_positive > 0:
                    precision += group_positive * above_positive / (above_positive + above_negative)
                group_positive = 0.0
                group_negative = 0.0
        if above_positive > 0:
            average[b] = precision / above_positive
            if above_negative > 0:
                auroc[b] = area / (above_positive * above_negative)
                continue
        average[b] = np.nan
    return auroc, average


def resamples(clients: int, samples: int, seed: int) -> NDArray[np.float32]:
    """Multiplicity of every client in every resample, shape (samples + 1, clients); row 0 is the sample itself."""
    generator = np.random.default_rng(seed)
    out = np.ones((samples + 1, clients), dtype=np.float32)
    for b in range(1, samples + 1) if clients else ():
        out[b] = np.bincount(generator.integers(0, clients, clients), minlength=clients)
    return out


def ranking_metrics(
    score: NDArray[np.float64],
    positive: NDArray[np.bool_],
    client: NDArray[np.int64],
    multiplicity: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC and average precision of each resample.

    Parameters
    ----------
    score, positive, client : shape (rows,); ``client`` indexes the columns of ``multiplicity``.
    multiplicity : of :func:`resamples`.

    Returns
    -------
    (auroc, average_precision) : shape (samples + 1,); NaN where a resample holds one class only.
    """
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.append(ordered[1:] != ordered[:-1], True)
    return _curve(positive[order], client[order], ends, multiplicity)  # type: ignore[no-any-return]


def interval(values: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Value (element 0) and 95 % interval (the rest); null where undefined, or undefined in half the resamples."""
    point = float(values[0])
    if np.isnan(point):
        return None, None, None
    rest = values[1:]
    if not len(rest) or np.isnan(rest).mean() > 0.5:
        return point, None, None
    low, high = np.nanquantile(rest, [0.025, 0.975])
    return point, float(low), float(high)


def rank_in_week(rows: pl.DataFrame, score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank from 1 by falling score within the week; equal scores by client id. Shape (rows,)."""
    return (
        rows.select("client_id", "as_of_date")
        .with_columns(_score=pl.Series(score), _row=pl.int_range(pl.len()))
        .sort(["as_of_date", "_score", "client_id"], descending=[False, True, False])
        .with_columns(_rank=pl.int_range(1, pl.len() + 1).over("as_of_date"))
        .sort("_row")["_rank"]
        .to_numpy()
        .astype(np.int64)
    )


@dataclass(frozen=True)
class _Sample:
    rows: pl.DataFrame
    positive: NDArray[np.bool_]
    client: NDArray[np.int64]
    week_size: NDArray[np.int64]
    multiplicity: NDArray[np.float32]

    def sums(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of ``value`` over the rows of each resample, shape (samples + 1,)."""
        by_client = np.bincount(self.client, weights=value, minlength=self.multiplicity.shape[1])
        return np.asarray(self.multiplicity.astype(np.float64) @ by_client)


def _sample(rows: pl.DataFrame, config: ModelConfig) -> _Sample:
    clients, client = np.unique(rows["client_id"].to_numpy().astype(str), return_inverse=True)
    return _Sample(
        rows=rows,
        positive=rows["is_positive"].to_numpy(),
        client=client.astype(np.int64),
        week_size=rows.select(pl.len().over("as_of_date")).to_series().to_numpy().astype(np.int64),
        multiplicity=resamples(len(clients), config.bootstrap_samples, config.seed),
    )


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _at(sample: _Sample, flagged: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and share of positive clients found, of the flagged rows, per resample."""
    hits = sample.sums((flagged & sample.positive).astype(np.float64))
    clients = sample.multiplicity.shape[1]
    found = np.bincount(sample.client[flagged & sample.positive], minlength=clients) > 0
    there = np.bincount(sample.client[sample.positive], minlength=clients) > 0
    multiplicity = sample.multiplicity.astype(np.float64)
    return {
        "precision": _divide(hits, sample.sums(flagged.astype(np.float64))),
        "recall": _divide(hits, sample.sums(sample.positive.astype(np.float64))),
        "client_recall": _divide(multiplicity @ found, multiplicity @ there),
    }


def measure(
    rows: pl.DataFrame,
    models: Mapping[str, str],
    probabilities: Mapping[str, str],
    split: str,
    model_id: str,
    config: ModelConfig,
) -> pl.DataFrame:
    """Measure models on the same rows and the same resamples.

    Parameters
    ----------
    rows : client_id, as_of_date, is_positive and the score columns, one row per eligible client and week.
    models : model name -> its score column, higher is riskier.
    probabilities : model name -> its probability column, for Brier; models without one have none.
    split : name written into the result.

    Returns
    -------
    frame : as :data:`METRICS_CONTRACT`. Per model: auroc, average_precision, brier, precision and recall at k
        alerts a week and at capacity, client_recall_at_capacity, ties_at_cut_count; for every model but B-CRS
        auroc_gain_of_bcrs and average_precision_gain_of_bcrs (paired). Model ``all`` carries the counts. A model
        whose scores are all null is unavailable: null with the reason. Where some are null, those rows rank last.
        Where only one class occurs every metric is null with the reason.
    """
    out: list[dict[str, object]] = []

    def add(model: str, metric: str, values: NDArray[np.float64] | float | None, reason: str | None = None) -> None:
        if values is None:
            value: tuple[float | None, float | None, float | None] = (None, None, None)
        elif isinstance(values, np.ndarray):
            value = interval(values)
        else:
            value = (float(values), None, None)
        out.append(
            {
                "model_id": model_id,
                "model": model,
                "split": split,
                "metric": metric,
                "value": value[0],
                "low": value[1],
                "high": value[2],
                "reason": reason,
            }
        )

    rows = rows.sort("client_id", "as_of_date")
    sample = _sample(rows, config)
    positives = int(sample.positive.sum())
    add("all", "rows_count", float(rows.height))
    add("all", "positives_count", float(positives))
    add("all", "clients_count", float(sample.multiplicity.shape[1]))
    add("all", "weeks_count", float(rows["as_of_date"].n_unique()))
    one_class = not 0 < positives < rows.height
    why = f"One class only: {positives} positives in {rows.height} eligible rows." if one_class else None
    measured: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    capacity = np.maximum(1, (config.alert_capacity_ratio * sample.week_size + 1e-9).astype(np.int64))
    cuts = {f"at_{k}": np.full(rows.height, k) for k in config.precision_at} | {"at_capacity": capacity}
    names = ["auroc", "average_precision", *(f"{m}_{c}" for c in cuts for m in ("precision", "recall"))]
    for model, column in models.items():
        series = rows[column].cast(pl.Float64).fill_nan(None) if column in rows.columns else None
        if one_class or series is None or series.null_count() == rows.height:
            reason = why or "Unavailable: its inputs are not in the source, so it has no score."
            for name in names:
                add(model, name, None, reason)
            continue
        unscored = series.null_count()
        note = f"{unscored} of {rows.height} rows have no score and rank last." if unscored else None
        score = series.fill_null(-np.inf).to_numpy().astype(np.float64)
        measured[model] = ranking_metrics(score, sample.positive, sample.client, sample.multiplicity)
        add(model, "auroc", measured[model][0], note)
        add(model, "average_precision", measured[model][1], note)
        rank = rank_in_week(rows, score)
        for cut, size in cuts.items():
            found = _at(sample, rank <= size)
            add(model, f"precision_{cut}", found["precision"], note)
            add(model, f"recall_{cut}", found["recall"], note)
            if cut == "at_capacity":
                add(model, "client_recall_at_capacity", found["client_recall"], note)
        add(model, "ties_at_cut_count", float(_ties(rows, score, rank, capacity)), note)
        if model in probabilities:
            probability = rows[probabilities[model]].cast(pl.Float64).fill_nan(None)
            if probability.null_count():
                add(model, "brier", None, "Not a probability on every row: there were no labels to calibrate on.")
            else:
                error = (probability.to_numpy() - sample.positive) ** 2
                add(model, "brier", sample.sums(error) / sample.sums(np.ones(rows.height)))
    for model in models:
        if model != REFERENCE and model in measured and REFERENCE in measured:
            add(model, "auroc_gain_of_bcrs", measured[REFERENCE][0] - measured[model][0], "paired by client")
            add(
                model, "average_precision_gain_of_bcrs", measured[REFERENCE][1] - measured[model][1], "paired by client"
            )
    # the whole list is read for types: a reason first appears after any number of rows without one
    frame = pl.DataFrame(
        out,
        schema_overrides={"value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "reason": pl.String},
        infer_schema_length=None,
    )
    return METRICS_CONTRACT.conform(frame)


def _ties(rows: pl.DataFrame, score: NDArray[np.float64], rank: NDArray[np.int64], capacity: NDArray[np.int64]) -> int:
    """Rows left out of the alerts although their score equals the last one let in, over all weeks."""
    frame = pl.DataFrame({"week": rows["as_of_date"], "score": score, "rank": rank, "capacity": capacity})
    last = frame.filter(pl.col("rank") == pl.col("capacity")).select("week", cut="score")
    return (
        frame.join(last, on="week")
        .filter((pl.col("score") == pl.col("cut")) & (pl.col("rank") > pl.col("capacity")))
        .height
    )
