"""The summary of a run: what went in, what came out, where the time went, for the terminal and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.features.catalogue import NO_INPUT
from ml_assets.files import replace_file
from orchestration.defs.resources import SETTINGS

TOP = 10


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return con.sql(sql).pl().to_dicts()


def weakened_pillars(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pillars that lost features, from rows of ``marts.rpt_weakened_pillars``, with one line of text each.

    >>> row = {"pillar": "p4_typology", "column_name": "counterparty_country", "reason": "the file has none"}
    >>> row |= {"null_count": 12, "pillar_null_count": 12, "feature_count": 46}
    >>> weakened_pillars([row])["p4_typology"]["text"]
    '12 of 46 features null: no counterparty_country (12)'
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = found.setdefault(
            row["pillar"],
            {"null_features": row["pillar_null_count"], "features": row["feature_count"], "missing": {}, "text": ""},
        )
        entry["missing"][row["column_name"]] = {"null_features": row["null_count"], "reason": row["reason"]}
    for entry in found.values():
        lacks = [
            f"no {name} ({m['null_features']})"
            if name != NO_INPUT
            else f"no client meets the rule ({m['null_features']})"
            for name, m in entry["missing"].items()
        ]
        entry["text"] = f"{entry['null_features']} of {entry['features']} features null: {', '.join(lacks)}"
    return found


def build_summary(serving: Path) -> dict[str, Any]:
    """The run's figures, all from the published marts."""
    with duckdb.connect(str(serving), read_only=True) as con:
        quality = _rows(
            con,
            "select sum(rows_in)::bigint as rows_in, sum(rows_kept)::bigint as rows_kept, "
            "sum(rows_quarantined)::bigint as rows_quarantined from marts.rpt_data_quality",
        )[0]
        clients = con.sql("select count(*) from marts.dim_clients").fetchone()
        weeks = con.sql("select count(*), max(as_of_date) from marts.dim_as_of_weeks where is_scored").fetchone()
        metrics = _rows(
            con,
            "select m.* from marts.rpt_model_metrics as m where m.split = 'test' and m.model_id = "
            "(select model_id from marts.fct_client_scores order by as_of_date desc limit 1) order by model, metric",
        )
        top = _rows(
            con,
            "select client_id, bcrs_score, band, main_reason from marts.rpt_top_clients "
            f"order by rank_in_week_count limit {TOP}",
        )
        missing = _rows(con, "select * from marts.rpt_not_available order by column_name")
        weakened = _rows(
            con,
            "select pillar, column_name, reason, null_count, pillar_null_count, feature_count "
            "from marts.rpt_weakened_pillars order by pillar, null_count desc, column_name",
        )
        notes = _rows(con, "select notes from marts.rpt_calendar")[0]["notes"]
        decision = _rows(
            con,
            "select p.model_id as challenger, p.is_promoted, p.explanation as decision, (select model_id from "
            "marts.fct_client_scores order by as_of_date desc limit 1) as champion from marts.rpt_promotions as p "
            "where p.gate = 'decision' order by p.decision_number desc limit 1",
        )
    models: dict[str, dict[str, Any]] = {}
    reasons = {notes} if notes else set()
    for m in metrics:
        if m["model"] == "all":
            # counts of the measured rows, no model
            continue
        entry = models.setdefault(m["model"], {"auroc": None, "auroc_ci": None, "ap": None, "ap_ci": None})
        name = {"auroc": "auroc", "average_precision": "ap"}.get(m["metric"])
        if name is None:
            continue
        if m["metric_value"] is None:
            reasons.add(f"{m['model']}: {m['reason']}")
            continue
        entry[name] = m["metric_value"]
        if m["interval_low"] is not None:
            entry[f"{name}_ci"] = [m["interval_low"], m["interval_high"]]
    return {
        "source": SETTINGS.source,
        "profile": SETTINGS.profile.value,
        "rows_in": quality["rows_in"],
        "rows_kept": quality["rows_kept"],
        "rows_quarantined": quality["rows_quarantined"],
        "clients": clients[0] if clients else 0,
        "weeks": weeks[0] if weeks else 0,
        "as_of_date": str(weeks[1]) if weeks else None,
        "model": decision[0] if decision else None,
        "models": models,
        "reasons": sorted(reasons),
        "top_clients": top,
        "not_available": {m["column_name"]: m["reason"] for m in missing},
        "weakened_pillars": weakened_pillars(weakened),
    }


def write_summary(reports: Path, seconds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Write ``summary.json`` (atomically) and return its content.

    ``seconds`` holds stages and steps that ran now; steps that were skipped keep the time of their last run.
    """
    target = reports / "summary.json"
    earlier = json.loads(target.read_text(encoding="utf-8"))["seconds"] if target.exists() else {}
    seconds = {kind: {**earlier.get(kind, {}), **taken} for kind, taken in seconds.items()}
    summary = {**build_summary(SETTINGS.serving), "seconds": seconds}
    replace_file(target, json.dumps(summary, indent=2, ensure_ascii=False))
    return summary
