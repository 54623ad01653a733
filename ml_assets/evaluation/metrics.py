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
from functools import cached_property

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
class Sample:
    """Eligible rows with the resamples everything on them is measured by.

    ``positive``, ``client`` (index into the columns of ``multiplicity``) and ``week_size`` (rows of the row's week)
    have one element per row of ``rows``.
    """

    rows: pl.DataFrame
    positive: NDArray[np.bool_]
    client: NDArray[np.int64]
    week_size: NDArray[np.int64]
    multiplicity: NDArray[np.float32]

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return self.multiplicity.astype(np.float64)

    @property
    def clients(self) -> int:
        """Number of clients."""
        return int(self.multiplicity.shape[1])

    @property
    def one_class(self) -> str | None:
        """Why nothing can be measured, where the rows hold one class only."""
        positives = int(self.positive.sum())
        if 0 < positives < self.rows.height:
            return None
        return f"One class only: {positives} positives in {self.rows.height} eligible rows."

    def sums(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of ``value`` over the rows of each resample, shape (samples + 1,)."""
        return np.asarray(self._weights @ np.bincount(self.client, weights=value, minlength=self.clients))

    def client_sums(self, by_client: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the clients of each resample of values by client, shape (clients,) or (clients, k)."""
        return np.asarray(self._weights @ by_client)

    def capacity(self, ratio: float) -> NDArray[np.int64]:
        """Alerts of the row's week at a capacity of ``ratio`` of its rows, at least one; shape (rows,)."""
        return np.maximum(1, (ratio * self.week_size + 1e-9).astype(np.int64))

    def score(self, column: str) -> tuple[NDArray[np.float64] | None, str | None]:
        """A model's scores, rows without one last; None with the reason where it has none at all."""
        series = self.rows[column].cast(pl.Float64).fill_nan(None) if column in self.rows.columns else None
        if series is None or series.null_count() == self.rows.height:
            return None, "Unavailable: its inputs are not in the source, so it has no score."
        unscored = series.null_count()
        note = f"{unscored} of {self.rows.height} rows have no score and rank last." if unscored else None
        return series.fill_null(-np.inf).to_numpy().astype(np.float64), note


def draw(rows: pl.DataFrame, samples: int, seed: int) -> Sample:
    """Sort eligible rows by client and date and draw the resamples.

    Parameters
    ----------
    rows : client_id, as_of_date, is_positive and any score columns, one row per eligible client and week.
    """
    rows = rows.sort("client_id", "as_of_date")
    clients, client = np.unique(rows["client_id"].to_numpy().astype(str), return_inverse=True)
    return Sample(
        rows=rows,
        positive=rows["is_positive"].to_numpy(),
        client=client.astype(np.int64),
        week_size=rows.select(pl.len().over("as_of_date")).to_series().to_numpy().astype(np.int64),
        multiplicity=resamples(len(clients), samples, seed),
    )


def divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """``part / whole``, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def flagged_metrics(sample: Sample, flagged: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and share of positive clients found, of the flagged rows, per resample."""
    hits = sample.sums((flagged & sample.positive).astype(np.float64))
    found = np.bincount(sample.client[flagged & sample.positive], minlength=sample.clients) > 0
    there = np.bincount(sample.client[sample.positive], minlength=sample.clients) > 0
    return {
        "precision": divide(hits, sample.sums(flagged.astype(np.float64))),
        "recall": divide(hits, sample.sums(sample.positive.astype(np.float64))),
        "client_recall": divide(sample.client_sums(found.astype(float)), sample.client_sums(there.astype(float))),
    }


def model_metrics(
    sample: Sample, score: NDArray[np.float64], at: tuple[int, ...], capacity_ratio: float
) -> dict[str, NDArray[np.float64]]:
    """Every ranking metric of one model per resample: metric -> shape (samples + 1,).

    auroc, average_precision; precision and recall at each of ``at`` alerts a week and at capacity;
    client_recall_at_capacity.
    """
    auroc, average = ranking_metrics(score, sample.positive, sample.client, sample.multiplicity)
    out = {"auroc": auroc, "average_precision": average}
    rank = rank_in_week(sample.rows, score)
    cuts = {f"at_{k}": np.full(sample.rows.height, k) for k in at} | {"at_capacity": sample.capacity(capacity_ratio)}
    for cut, size in cuts.items():
        found = flagged_metrics(sample, rank <= size)
        out[f"precision_{cut}"], out[f"recall_{cut}"] = found["precision"], found["recall"]
        if cut == "at_capacity":
            out["client_recall_at_capacity"] = found["client_recall"]
    return out


def brier(sample: Sample, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brier score per resample, shape (samples + 1,)."""
    return divide(sample.sums((probability - sample.positive) ** 2), sample.sums(np.ones(sample.rows.height)))


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

    sample = draw(rows, config.bootstrap_samples, config.seed)
    add("all", "rows_count", float(rows.height))
    add("all", "positives_count", float(sample.positive.sum()))
    add("all", "clients_count", float(sample.clients))
    add("all", "weeks_count", float(rows["as_of_date"].n_unique()))
    measured: dict[str, dict[str, NDArray[np.float64]]] = {}
    capacity = sample.capacity(config.alert_capacity_ratio)
    cuts = [*(f"at_{k}" for k in config.precision_at), "at_capacity"]
    names = ["auroc", "average_precision", *(f"{m}_{c}" for c in cuts for m in ("precision", "recall"))]
    for model, column in models.items():
        score, note = sample.score(column)
        if score is None or sample.one_class:
            for name in names:
                add(model, name, None, sample.one_class or note)
            continue
        measured[model] = model_metrics(sample, score, config.precision_at, config.alert_capacity_ratio)
        for name, values in measured[model].items():
            add(model, name, values, note)
        rank = rank_in_week(sample.rows, score)
        add(model, "ties_at_cut_count", float(ties_at_cut(sample.rows, score, rank, capacity).height), note)
        if model in probabilities:
            probability = sample.rows[probabilities[model]].cast(pl.Float64).fill_nan(None)
            if probability.null_count():
                add(model, "brier", None, "Not a probability on every row: there were no labels to calibrate on.")
            else:
                add(model, "brier", brier(sample, probability.to_numpy().astype(np.float64)))
    for model in models:
        if model != REFERENCE and model in measured and REFERENCE in measured:
            for name in ("auroc", "average_precision"):
                gain = measured[REFERENCE][name] - measured[model][name]
                add(model, f"{name}_gain_of_bcrs", gain, "paired by client")
    # the whole list is read for types: a reason first appears after any number of rows without one
    frame = pl.DataFrame(
        out,
        schema_overrides={"value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "reason": pl.String},
        infer_schema_length=None,
    )
    return METRICS_CONTRACT.conform(frame)


def ties_at_cut(
    rows: pl.DataFrame, score: NDArray[np.float64], rank: NDArray[np.int64], capacity: NDArray[np.int64]
) -> pl.DataFrame:
    """Rows left out of the alerts although their score equals the last one let in: week, score, rank."""
    frame = pl.DataFrame({"week": rows["as_of_date"], "score": score, "rank": rank, "capacity": capacity})
    last = frame.filter(pl.col("rank") == pl.col("capacity")).select("week", cut="score")
    return (
        frame.join(last, on="week")
        .filter((pl.col("score") == pl.col("cut")) & (pl.col("rank") > pl.col("capacity")))
        .select("week", "score", "rank")
    )
