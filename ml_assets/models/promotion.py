"""The gate between a newly trained model and the champion.

Rule of this file: it judges frames it is handed; it trains, loads and promotes nothing. A challenger passes every gate
that applies or the champion stays, and every gate leaves its figure, its limit and a sentence.

Both models score the same rows of the challenger's validation weeks. They are no test weeks: both models were tuned
near them, the challenger on exactly these, which flatters it a little; the paired interval resamples whole clients and
asks only whether the challenger is *worse*. Weeks the champion learned from are left out; the test weeks are for the
final measurement alone.

Gates: finite (every client has a score), varied (they differ), calibrated (expected over observed reports), and
against a champion of the same feature definitions: not worse (average precision), stable distribution (PSI) and
stable ranking (Spearman).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml_assets.config import GovernanceConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.evaluation.drift import bin_edges, psi
from ml_assets.evaluation.metrics import interval, ranking_metrics, resamples

PROMOTIONS = TableContract(
    "models",
    "promotions",
    "One row per trained model and gate: what the gate measured, its limit, and whether the model became champion.",
    ("model_id", "gate"),
    (
        Column("model_id", "text", "Challenger: the model that was judged."),
        Column("gate", "text", "Gate, or decision: the outcome over all gates."),
        Column("decision_number", "integer", "Order of the decisions in this warehouse, from 1.", "count", minimum=1),
        Column("champion_before", "text", "Champion it was judged against.", null_rule="there was none"),
        Column("is_promoted", "boolean", "True where the challenger became champion."),
        Column("is_passed", "boolean", "True where the gate let it pass.", null_rule="the gate does not apply"),
        Column("measured_value", "number", "What the gate measured.", null_rule="nothing to measure"),
        Column("interval_low", "number", "2.5 % quantile of the bootstrap by client.", null_rule="no interval"),
        Column("interval_high", "number", "97.5 % quantile of the bootstrap by client.", null_rule="no interval"),
        Column("limit_value", "number", "Limit of the measured value.", null_rule="no numeric limit"),
        Column("explanation", "text", "The gate's finding in a sentence."),
    ),
)
"""Contract of ``models.promotions``."""

DECISION = "decision"


@dataclass(frozen=True)
class Gate:
    """One gate's finding; ``is_passed`` is None where the gate does not apply."""

    name: str
    is_passed: bool | None
    explanation: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The decision on a challenger and how it came about."""

    challenger_id: str
    champion_id: str | None
    is_promoted: bool
    gates: tuple[Gate, ...]
    note: str = ""

    @property
    def is_same(self) -> bool:
        """True where training gave the champion again."""
        return self.challenger_id == self.champion_id

    @property
    def failures(self) -> list[str]:
        """Sentences of the gates that did not let it pass."""
        return [g.explanation for g in self.gates if g.is_passed is False]

    @property
    def sentence(self) -> str:
        """The decision in words."""
        if self.is_same:
            return f"Training gave the champion {self.challenger_id} again."
        if self.is_promoted:
            before = f" in place of {self.champion_id}" if self.champion_id else ", the first one"
            return f"Model {self.challenger_id} is champion{before}. {self.note}".strip()
        stays = f"Champion {self.champion_id} stays" if self.champion_id else "There is no champion"
        return f"{stays}; {self.challenger_id} was not promoted: {' '.join(self.failures)} {self.note}".strip()

    def frame(self, decision_number: int) -> pl.DataFrame:
        """Rows of :data:`PROMOTIONS`."""
        summary = Gate(DECISION, self.is_promoted or self.is_same, self.sentence)
        rows = [
            {
                "model_id": self.challenger_id,
                "gate": g.name,
                "decision_number": decision_number,
                "champion_before": self.champion_id,
                "is_promoted": self.is_promoted,
                "is_passed": g.is_passed,
                "measured_value": g.value,
                "interval_low": g.low,
                "interval_high": g.high,
                "limit_value": g.limit,
                "explanation": g.explanation,
            }
            for g in (*self.gates, summary)
        ]
        schema = {name: PROMOTIONS.empty().schema[name] for name in PROMOTIONS.names}
        return PROMOTIONS.conform(pl.DataFrame(rows, schema=schema, orient="row"))


def _scores(frame: pl.DataFrame) -> NDArray[np.float64]:
    return frame["bcrs_score"].cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _finite(scores: pl.DataFrame) -> Gate:
    bad = int((~np.isfinite(_scores(scores))).sum())
    words = f"{bad} of {scores.height} clients and weeks have no finite score." if bad else "Every score is finite."
    if not scores.height:
        return Gate("finite", None, "There is no held-out week: nothing can be said of the model.")
    return Gate("finite", bad == 0, words, float(bad), limit=0.0)


def _varied(scores: pl.DataFrame) -> Gate:
    newest = scores.filter(pl.col("as_of_date") == pl.col("as_of_date").max())
    values = int(newest["bcrs_score"].n_unique())
    is_varied = values > 1 or newest.height <= 1
    words = f"{values} different scores in the last held-out week." if is_varied else "All clients have the same score."
    return Gate("varied", is_varied, words, float(values), limit=2.0)


def _calibrated(rows: pl.DataFrame, is_calibrated: bool, config: GovernanceConfig, seed: int) -> Gate:
    """Expected against observed reports on eligible held-out rows."""
    positives = int(rows["is_positive"].sum()) if rows.height else 0
    if not 0 < positives < rows.height:
        return Gate("calibrated", None, "Held-out weeks hold one class only: calibration cannot be judged.")
    if not is_calibrated or not rows["bcrs_probability_ratio"].is_finite().fill_null(False).all():
        return Gate("calibrated", False, "Labels exist but the score is not calibrated.")
    clients, client = np.unique(rows["client_id"].to_numpy().astype(str), return_inverse=True)
    draws = resamples(len(clients), config.promotion_samples, seed).astype(np.float64)
    expected = draws @ np.bincount(client, rows["bcrs_probability_ratio"].to_numpy(), len(clients))
    observed = draws @ np.bincount(client, rows["is_positive"].to_numpy().astype(np.float64), len(clients))
    ratio = np.divide(expected, observed, out=np.full(len(observed), np.nan), where=observed > 0)
    value, low, high = interval(ratio)
    assert value is not None
    factor = config.calibration_factor
    holds_one = low is not None and high is not None and low <= 1 <= high
    is_near = 1 / factor <= value <= factor
    words = (
        f"{value:.2f} reports expected per report observed on held-out weeks (allowed {1 / factor:.2f}-{factor:.2f})."
    )
    return Gate("calibrated", is_near or holds_one, words, value, low, high, factor)


def _not_worse(rows: pl.DataFrame, config: GovernanceConfig, seed: int) -> Gate:
    positives = int(rows["is_positive"].sum())
    if not 0 < positives < rows.height:
        return Gate("not_worse", None, "Held-out weeks hold one class only: average precision cannot be compared.")
    clients, client = np.unique(rows["client_id"].to_numpy().astype(str), return_inverse=True)
    draws = resamples(len(clients), config.promotion_samples, seed)
    positive, index = rows["is_positive"].to_numpy(), client.astype(np.int64)
    average = []
    for column in ("bcrs_score", "champion_score"):
        score = rows[column].fill_null(-np.inf).to_numpy().astype(np.float64)
        average.append(ranking_metrics(score, positive, index, draws)[1])
    value, low, high = interval(average[0] - average[1])
    assert value is not None
    is_passed = value >= 0 if high is None else high >= 0
    shown = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    words = (
        f"Average precision {average[0][0]:.3f} against the champion's {average[1][0]:.3f} on the same held-out rows, "
        f"difference {value:+.3f}{shown}: {'not worse' if is_passed else 'worse'}."
    )
    return Gate("not_worse", is_passed, words, value, low, high, 0.0)


def _stable(rows: pl.DataFrame, config: GovernanceConfig) -> list[Gate]:
    known = rows.filter(pl.col("bcrs_score").is_finite() & pl.col("champion_score").is_finite())
    if known.height < 2:
        words = "Too few clients have a score by both models."
        return [Gate("stable_distribution", None, words), Gate("stable_ranking", None, words)]
    new, old = known["bcrs_score"].to_numpy(), known["champion_score"].to_numpy()
    edges = bin_edges(old, 10)

    def counts(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)

    shift = float(psi(counts(old), counts(new)))
    limit = config.promotion_psi
    moved = f"PSI of the scores against the champion's is {shift:.3f}, up to {limit:.2f} is allowed."
    ranks = [rankdata(v) for v in (new, old)]
    spread = min(float(r.std()) for r in ranks)
    floor = config.promotion_rank_correlation
    if spread == 0:
        ranking = Gate("stable_ranking", None, "One of the models gives every client the same score.")
    else:
        alike = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
        words = f"Rank correlation with the champion's scores is {alike:.3f}, at least {floor:.2f} is asked for."
        ranking = Gate("stable_ranking", alike >= floor, words, alike, limit=floor)
    return [Gate("stable_distribution", shift <= limit, moved, shift, limit=limit), ranking]


def unseen_weeks(weeks: Sequence[date], champion_learned_until: date | None) -> list[date]:
    """Weeks after the last one the champion was *fitted* on: on the others it would be flattered."""
    return [w for w in weeks if champion_learned_until is None or w > champion_learned_until]


def judge(
    challenger_id: str,
    champion_id: str | None,
    challenger: pl.DataFrame,
    champion: pl.DataFrame | None,
    labels: pl.DataFrame,
    is_calibrated: bool,
    config: GovernanceConfig,
    seed: int,
    note: str = "",
) -> Verdict:
    """Decide on a challenger.

    Parameters
    ----------
    challenger : rows of ``scores.client_scores`` by the challenger on its held-out weeks.
    champion : the same rows by the champion; None where there is none or it cannot be compared (say why in ``note``).
    labels : client_id, as_of_date, is_positive of the eligible held-out rows; may be empty.
    is_calibrated : the challenger has a calibration that was fitted.
    seed : seed of the bootstrap.

    Returns
    -------
    Verdict : promoted where no gate that applies was failed and it is not the champion itself.
    """
    keys = ["client_id", "as_of_date"]
    eligible = challenger.join(labels, on=keys, how="inner").sort(keys)
    gates = [_finite(challenger), _varied(challenger), _calibrated(eligible, is_calibrated, config, seed)]
    if champion is not None:
        beside = champion.select(*keys, champion_score=pl.col("bcrs_score"))
        gates.append(_not_worse(eligible.join(beside, on=keys, how="inner").sort(keys), config, seed))
        gates += _stable(challenger.join(beside, on=keys, how="inner").sort(keys), config)
    passed = all(g.is_passed is not False for g in gates)
    return Verdict(challenger_id, champion_id, passed and challenger_id != champion_id, tuple(gates), note)
