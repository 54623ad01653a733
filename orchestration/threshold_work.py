"""The threshold pack: reads one scored week, plans the test of its line, writes the folder ``threshold_pack``.

Rule of this file: a read, calls into ``ml_assets``, a write. Scores come from the published marts, reasons from the
scoring model and the warehouse, outcomes from a file or from delivered dispositions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from ml_assets.config import ThresholdConfig
from ml_assets.evaluation.thresholds import (
    COST_RATIOS,
    DISPOSITION_COLUMNS,
    Cut,
    Finding,
    build_strata,
    capacity_cut,
    cost_curve,
    cost_cut,
    cost_table,
    draw_sample,
    judge_outcomes,
    outcome_template,
)
from ml_assets.explain.reasons import REASONS_CONTRACT
from ml_assets.files import replace_file
from ml_assets.models.registry import RegistryError
from ml_assets.reports.threshold_pack import threshold_page
from orchestration.defs.resources import SETTINGS, Warehouse
from orchestration.defs.scores import explain_clients
from orchestration.defs.scoring_gate import scoring_model

FOLDER = "threshold_pack"


class ThresholdError(ValueError):
    """The pack cannot be made; says why and what to do."""


@dataclass(frozen=True)
class Pack:
    """What was planned, and what outcomes say where there are any."""

    as_of: date
    cut: Cut
    strata: pl.DataFrame
    sample: pl.DataFrame
    finding: Finding | None
    folder: Path


def make_pack(
    config: ThresholdConfig,
    capacity: int | None = None,
    cost_ratio: float | None = None,
    as_of: date | None = None,
    outcomes: Path | None = None,
) -> Pack:
    """Plan the test of the line of one week and write it to ``reports/threshold_pack``.

    Parameters
    ----------
    capacity, cost_ratio : how to set the line; where neither is given, the week's number of alerts is the capacity.
    as_of : a scored week; the newest where None.
    outcomes : filled-in ``outcomes.csv``; delivered dispositions where None.

    Raises
    ------
    ThresholdError : nothing is scored, the week is not, the scores are no probabilities, or a file cannot be read.
    """
    if capacity is not None and cost_ratio is not None:
        raise ThresholdError("Give --capacity or --cost-ratio, not both: each sets the line by itself.")
    scores = _week(as_of)
    week = scores["as_of_date"][0]
    if scores["probability"].null_count() == scores.height:
        raise ThresholdError(
            f"The scores of {week} are not calibrated: without labels there is no probability to cut or to price."
        )
    try:
        if cost_ratio is not None:
            cut = cost_cut(scores, cost_ratio)
        else:
            cut = capacity_cut(scores, capacity if capacity is not None else max(1, int(scores["is_alert"].sum())))
    except ValueError as error:
        raise ThresholdError(str(error)) from error
    strata, placed = build_strata(scores, cut, config)
    sample = draw_sample(placed, strata, week, config)
    evidence = _evidence(sample, week)
    decided = _outcomes(outcomes)
    finding = judge_outcomes(strata, sample, decided, scores, cut, config) if _concern(decided, sample) else None
    folder = SETTINGS.reports / FOLDER
    page = threshold_page(
        scores,
        cut,
        strata,
        sample,
        evidence,
        cost_table(scores, COST_RATIOS, config),
        cost_curve(scores, cost_ratio) if cost_ratio is not None else None,
        finding,
        config,
        week.isoformat(),
        str(scores["model_id"][0]),
    )
    _write(folder, strata, sample, evidence, finding, page)
    return Pack(week, cut, strata, sample, finding, folder)


def _week(as_of: date | None) -> pl.DataFrame:
    if not SETTINGS.serving.exists():
        raise ThresholdError(f"There are no published marts yet ({SETTINGS.serving}). Run `make run` first.")
    with duckdb.connect(str(SETTINGS.serving), read_only=True) as con:
        wanted = con.execute("select coalesce(?::date, max(as_of_date)) from marts.fct_client_scores", [as_of])
        found = wanted.fetchone()
        week = found[0] if found else None
        con.execute("set variable week = ?", [week])
        scores = con.sql(
            "select client_id, as_of_date, model_id, bcrs_probability_ratio as probability, rank_in_week_count, "
            "is_alert, columns('p[1-6]_.*_score') from marts.fct_client_scores "
            "where as_of_date = getvariable('week') order by client_id"
        ).pl()
        if not scores.height:
            weeks = con.sql("select min(as_of_date), max(as_of_date) from marts.fct_client_scores").fetchone()
            raise ThresholdError(f"{week} is no scored week; scored are Mondays from {weeks[0]} to {weeks[1]}.")  # type: ignore[index]
    return scores


def _evidence(sample: pl.DataFrame, week: date) -> pl.DataFrame:
    """Reasons of the sampled clients: client_id, rank, pillar, feature, value, reason_text; typologies after them."""
    warehouse = Warehouse(path=str(SETTINGS.warehouse))
    clients = sample.select("client_id", "as_of_date")
    try:
        reasons = explain_clients(warehouse, scoring_model(), clients, [week])
    except (RegistryError, duckdb.CatalogException):
        # a warehouse or model of an earlier version: what was explained when the week was scored is still there
        reasons = warehouse.read(f"from {REASONS_CONTRACT.address} where as_of_date = ?", [week])
    columns = ["client_id", "rank", "pillar", "feature", "value", "reason_text"]
    told = reasons.join(clients, on=["client_id", "as_of_date"], how="semi").rename({"reason_rank": "rank"})
    hits = warehouse.read(
        "select client_id, 100 + row_number() over (partition by client_id order by strength_ratio desc, typology) "
        "as rank, 'p4_typology' as pillar, measure as feature, value, concat('Pattern ', replace(typology, '_', ' '), "
        "', strength ', round(strength_ratio, 2)::varchar, ', transactions ', txn_count::varchar, ': ', "
        "array_to_string(string_split(txn_ids, ';')[:5], ', '), case when txn_count > 5 then ', ...' else '' end) "
        "as reason_text from features.typology_hits "
        "where as_of_date = ? and client_id in (select unnest(?::varchar[]))",
        [week, sample["client_id"].to_list()],
    )
    return pl.concat([told.select(columns), hits.select(columns)], how="vertical_relaxed").sort("client_id", "rank")


def _outcomes(path: Path | None) -> pl.DataFrame:
    """Outcomes from a file, or from the dispositions delivered so far: alert_id, outcome, decided_at."""
    if path is None:
        warehouse = Warehouse(path=str(SETTINGS.warehouse))
        if not warehouse.exists("staging.stg_dispositions"):
            return pl.DataFrame(schema={"alert_id": pl.String, "outcome": pl.String, "decided_at": pl.String})
        return warehouse.read(
            "select alert_id, outcome, decided_at::varchar as decided_at from staging.stg_dispositions order by all"
        )
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ThresholdError(f"{path} cannot be read as CSV: {error}") from error
    missing = [c for c in ("alert_id", "outcome") if c not in frame.columns]
    if missing:
        raise ThresholdError(
            f"{path} lacks the columns {', '.join(missing)}. It has to look like outcomes.csv of the pack: "
            f"{', '.join(DISPOSITION_COLUMNS)}."
        )
    if "decided_at" not in frame.columns:
        frame = frame.with_columns(decided_at=pl.lit(None, pl.String))
    return frame.select("alert_id", "outcome", "decided_at")


def _concern(outcomes: pl.DataFrame, sample: pl.DataFrame) -> bool:
    """True where an outcome of a sampled client is there."""
    filled = outcomes.filter(pl.col("outcome").is_not_null() & (pl.col("outcome").str.strip_chars() != ""))
    return bool(filled.join(sample, on="alert_id", how="semi").height)


def _write(
    folder: Path,
    strata: pl.DataFrame,
    sample: pl.DataFrame,
    evidence: pl.DataFrame,
    finding: Finding | None,
    page: str,
) -> None:
    """Write the pack; an ``outcomes.csv`` in which someone has begun to write is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    strata.write_csv(folder / "strata.csv")
    sample.write_csv(folder / "sample.csv")
    evidence.write_csv(folder / "evidence.csv")
    if finding is not None:
        finding.strata.write_csv(folder / "result.csv")
    template = folder / "outcomes.csv"
    if not _is_filled(template):
        outcome_template(sample).write_csv(template)
    replace_file(folder / "threshold_pack.html", page)


def _is_filled(template: Path) -> bool:
    if not template.exists():
        return False
    frame = pl.read_csv(template, infer_schema=False)
    return "outcome" in frame.columns and bool(frame["outcome"].str.strip_chars().replace("", None).count())
