"""The dossier and the monitoring page: reads from the published marts and the model's card, one call, one write.

Rule of this file: every statement reads published marts; what a mart does not hold (asset graph, contracts, card) comes
from the object itself and never from a copy of it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ml_assets.config import Threshold
from ml_assets.files import replace_file
from ml_assets.models.registry import CARD, read_card
from ml_assets.reports.dossier import Dossier, Fact, Mart, dossier_page
from ml_assets.reports.monitoring_page import MARTS, monitoring_page
from ml_assets.sources.input_contract import ENTITIES
from orchestration.defs.resources import CONFIG, DBT_PROJECT, SETTINGS
from orchestration.defs.training import CONTRACTS

NEWEST = "(select max(as_of_date) from marts.fct_client_scores)"
MODEL = "(select model_id from marts.fct_client_scores order by as_of_date desc limit 1)"

FACTS = {
    "rows_in": "select sum(rows_in)::bigint from marts.rpt_data_quality",
    "rows_kept": "select sum(rows_kept)::bigint from marts.rpt_data_quality",
    "rows_quarantined": "select sum(rows_quarantined)::bigint from marts.rpt_data_quality",
    "clients": "select count(*) from marts.dim_clients",
    "weeks": "select count(distinct as_of_date) from marts.fct_client_scores",
    "first_week": "select min(as_of_date)::varchar from marts.fct_client_scores",
    "newest_week": "select max(as_of_date)::varchar from marts.fct_client_scores",
    "model_id": "select model_id from marts.fct_client_scores order by as_of_date desc limit 1",
    "newest_clients": f"select count(*) from marts.fct_client_scores where as_of_date = {NEWEST}",
    "newest_alerts": f"select count(*) from marts.fct_alerts where as_of_date = {NEWEST}",
}
"""One value each, all from published marts."""

_METRICS = (
    "select model, metric, metric_value, interval_low, interval_high, reason from marts.rpt_model_metrics "
    f"where model_id = {MODEL} and split = '%s' and model <> 'all' "
    "and metric in ('auroc', 'average_precision', 'brier', 'client_recall_at_capacity') order by metric, model"
)
_VERDICT = (
    "select '{0}' as watched, case max(case status when 'gross' then 4 when 'drift' then 3 when 'watch' then 2 "
    "when 'stable' then 1 else 0 end) when 4 then 'gross' when 3 then 'drift' when 2 then 'watch' when 1 then 'stable' "
    "else 'not judged' end as status, count(*) as judged_count, "
    "count(case when status in ('drift', 'gross') then 1 end) as moved_count from marts.rpt_monitoring_{0} "
    "where as_of_date = (select max(as_of_date) from marts.rpt_monitoring_{0})"
)
_WATCHED = ("families", "amounts", "scores", "explanations", "labels")

TABLES = {
    "bands": (
        "marts.fct_client_scores",
        "select band, count(*) as clients_count, min(bcrs_score) as lowest_score, max(bcrs_score) as highest_score "
        f"from marts.fct_client_scores where as_of_date = {NEWEST} group by band order by highest_score desc",
    ),
    "quality": ("marts.rpt_data_quality", "from marts.rpt_data_quality order by 1"),
    "not_available": ("marts.rpt_not_available", "from marts.rpt_not_available order by 1"),
    "calendar": ("marts.rpt_calendar", "from marts.rpt_calendar"),
    "test": ("marts.rpt_model_metrics", _METRICS % "test"),
    "validation": ("marts.rpt_model_metrics", _METRICS % "validation"),
    "main": ("marts.rpt_performance", "from marts.rpt_performance order by metric, model"),
    "calibration": ("marts.rpt_calibration", "from marts.rpt_calibration order by kind, bin_order"),
    "capacity": (
        "marts.rpt_capacity_curve",
        "from marts.rpt_capacity_curve where model in ('bcrs', 'flat_xgboost') order by model, capacity_ratio",
    ),
    "savings": ("marts.rpt_rule_savings", "from marts.rpt_rule_savings order by model, rules_fired_count"),
    "patterns": (
        "marts.rpt_pattern_recall",
        "from marts.rpt_pattern_recall where model = 'bcrs' order by kind, pattern",
    ),
    "ablation": ("marts.rpt_ablation", "from marts.rpt_ablation order by all"),
    "parity": ("marts.rpt_parity", "from marts.rpt_parity where model = 'bcrs' order by attribute, group_name"),
    "robustness": ("marts.rpt_robustness", "from marts.rpt_robustness order by all"),
    "ties": ("marts.rpt_ties", "from marts.rpt_ties order by model"),
    "support": (
        "marts.rpt_input_support",
        "select as_of_date, outside_ratio, missing_ratio, clients_outside_ratio, worst_feature, problems "
        "from marts.rpt_input_support order by as_of_date desc limit 4",
    ),
    "promotions": (
        "marts.rpt_promotions",
        "select model_id, gate, is_passed, is_promoted, measured_value, limit_value, explanation "
        "from marts.rpt_promotions order by decision_number desc, gate limit 40",
    ),
    "verdicts": ("marts.rpt_monitoring_families", " union all ".join(_VERDICT.format(name) for name in _WATCHED)),
    "moved": (
        "marts.rpt_monitoring_families",
        "select family, status, psi_mean, psi_max, worst_feature, null_ratio, reference_null_ratio "
        "from marts.rpt_monitoring_families where as_of_date = (select max(as_of_date) from "
        "marts.rpt_monitoring_families) order by psi_mean desc nulls last, family limit 10",
    ),
}
"""Name -> (mart it stands or falls with, statement). A mart that is not there is named as not built."""

EVIDENCE = ("main", "calibration", "capacity", "savings", "patterns", "ablation", "parity", "robustness", "ties")
"""Tables that the evidence report makes."""

_HOLDS = {
    "p1_volume_velocity": "amounts and counts in and out, against the client's own year",
    "p2_network": "counterparties, centrality, money that comes back, listed parties",
    "p3_temporal": "hours, rhythm, bursts, dormancy, change points",
    "p4_typology": "structuring, pass-through, funnel accounts, round and mirrored amounts",
    "p5_profile": "activity against declared turnover, occupation, sector and peers",
    "p6_scheme": "indicators of three laundering schemes, read by the second tier",
}
_ELSEWHERE = {"txn_time": "txn_date", "txn_date with time of day": "txn_date"}
"""Words of contracts for a column that the input contract names otherwise."""


class DossierError(ValueError):
    """The page cannot be made; says why and what to do."""


def read_published(statements: Mapping[str, tuple[str, str]]) -> dict[str, Mart]:
    """Rows of statements on the published marts; None where the mart is not there.

    Raises
    ------
    DossierError : nothing is published yet.
    """
    if not SETTINGS.serving.exists():
        raise DossierError(f"There are no published marts yet ({SETTINGS.serving}). Run `make run` first.")
    with duckdb.connect(str(SETTINGS.serving), read_only=True) as con:
        con.execute("set python_enable_replacements = false")
        there = {
            f"{schema}.{name}"
            for schema, name in con.execute("select table_schema, table_name from information_schema.tables").fetchall()
        }
        return {
            name: Mart(
                _plain(con.sql(sql).pl()) if address in there else None,
                sql,
                address,
                "make report" if name in EVIDENCE else "make run",
            )
            for name, (address, sql) in statements.items()
        }


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Decimals as floats: a page and JSON know no other numbers."""
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def asset_parents() -> dict[str, set[str]]:
    """Asset -> the assets it reads, all as ``schema/table``."""
    # here and not above: the definitions hold the asset that calls this
    from orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }


def shortest_path(parents: Mapping[str, Iterable[str]], start: str, end: str) -> list[str]:
    """Assets from ``start`` to ``end``, following what reads what; empty where nothing leads there.

    >>> shortest_path({"b": ["a"], "c": ["b"], "d": ["c", "a"]}, "a", "d")
    ['a', 'd']
    """
    came: dict[str, str | None] = {end: None}
    queue = deque([end])
    while queue:
        here = queue.popleft()
        if here == start:
            path = [here]
            while (following := came[path[-1]]) is not None:
                path.append(following)
            return path
        for parent in sorted(parents.get(here, ())):
            if parent not in came:
                came[parent] = here
                queue.append(parent)
    return []


def lineage(parents: Mapping[str, Iterable[str]], meanings: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    """One row per input column and pillar that needs it, from the column to the alert.

    Parameters
    ----------
    parents : of :func:`asset_parents`. meanings : (entity, column) -> description.

    Returns
    -------
    frame : input_column, entity, meaning, pillar, path, features_count, features; sorted by entity, column, pillar.
    """
    rows = []
    for pillar, contract in CONTRACTS.items():
        features_table = f"{contract.schema}/{contract.name}"
        score = "tier2/tier2_scheme" if pillar == "p6_scheme" else f"tier1/tier1_{pillar}"
        to_alert = [*shortest_path(parents, score, "scores/client_scores"), "marts/fct_alerts"]
        needing: dict[tuple[str, str], list[str]] = {}
        for column in contract.features:
            # a feature that names no column needs only what every transaction has
            for required in column.requires or ("txn_date",):
                needing.setdefault(_input_column(required), []).append(column.name)
        for (entity, name), features in needing.items():
            path = shortest_path(parents, f"raw/{entity}", features_table)
            rows.append(
                {
                    "input_column": name,
                    "entity": entity,
                    "meaning": meanings.get((entity, name), ""),
                    "pillar": pillar,
                    "path": " → ".join([*path, *to_alert]),
                    "features_count": len(features),
                    "features": ", ".join(features),
                }
            )
    for name in ENTITIES["str_labels"].columns:
        path = shortest_path(parents, "raw/str_labels", "models/metrics")
        rows.append(
            {
                "input_column": name,
                "entity": "str_labels",
                "meaning": meanings.get(("str_labels", name), ""),
                "pillar": "target",
                "path": " → ".join(path),
                "features_count": 0,
                "features": "no feature: labels train and measure, they are never an input of a score",
            }
        )
    return pl.DataFrame(rows).sort("entity", "input_column", "pillar")


def _input_column(required: str) -> tuple[str, str]:
    """Entity and column of the input contract that a feature's ``requires`` names."""
    entity, _, name = required.rpartition(".")
    name = _ELSEWHERE.get(name, name)
    found = entity or next((e.name for e in ENTITIES.values() if name in e.columns), "")
    if not found:
        raise DossierError(f"A feature requires {required!r}, which is no column of the input contract.")
    return found, name


def raw_meanings() -> dict[tuple[str, str], str]:
    """Description of every raw column by (entity, column), from dbt's manifest."""
    manifest = json.loads(DBT_PROJECT.manifest_path.read_text(encoding="utf-8"))
    return {
        (source["name"], column["name"]): column["description"]
        for source in manifest["sources"].values()
        if source["schema"] == "raw"
        for column in source["columns"].values()
    }


def _feature_table() -> pl.DataFrame:
    return pl.DataFrame(
        [
            (pillar, _HOLDS[pillar], len(c.features), sum(bool(f.requires) for f in c.features), f"{c.schema}.{c.name}")
            for pillar, c in CONTRACTS.items()
        ],
        schema=["pillar", "what it holds", "features", "of which need a column", "table"],
        orient="row",
    )


def _limit_table() -> pl.DataFrame:
    limits = [(n, v) for n, v in CONFIG.monitoring if isinstance(v, Threshold)]
    return pl.DataFrame(
        [(n.replace("_", " "), t.value, t.unit, t.reason, t.source, t.decided.isoformat()) for n, t in limits],
        schema=["limit", "value", "unit", "reason", "source", "set on"],
        orient="row",
    )


def _saved_models() -> pl.DataFrame:
    cards: list[Mapping[str, Any]] = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(SETTINGS.models.glob(f"*/{CARD}"))
    ]
    return pl.DataFrame(
        [
            (
                card["model_id"],
                f"{card['splits']['train_weeks'][0]} to {card['splits']['train_weeks'][-1]}"
                if card["splits"]["train_weeks"]
                else "none",
                card["aggregation"]["champion"],
                str(card["config_hash"])[:12],
                str(card["feature_hash"])[:12],
                str(card["code_hash"])[:12],
            )
            for card in cards
        ],
        schema=dict.fromkeys(
            ["model", "training weeks", "aggregation", "configuration", "features", "code"], pl.String
        ),
        orient="row",
    )


def write_dossier() -> Path:
    """Write ``reports/dossier.html``; returns its path.

    Raises
    ------
    DossierError : nothing is published yet.
    """
    marts = read_published(TABLES)
    facts = read_published({name: (sql.split("from ")[1].split()[0], sql) for name, sql in FACTS.items()})
    model_id = str(facts["model_id"].frame.item()) if facts["model_id"].frame is not None else ""
    page = dossier_page(
        Dossier(
            source=SETTINGS.source,
            profile=SETTINGS.profile.value,
            facts={n: Fact(m.frame.item() if m.frame is not None else None, m.sql) for n, m in facts.items()},
            marts=marts,
            card=read_card(SETTINGS.models, model_id),
            lineage=lineage(asset_parents(), raw_meanings()),
            features=_feature_table(),
            limits=_limit_table(),
            models=_saved_models(),
        )
    )
    return replace_file(SETTINGS.reports / "dossier.html", page)


def write_monitoring() -> Path:
    """Write ``reports/monitoring.html``; returns its path.

    Raises
    ------
    DossierError : nothing is published yet, or it was by a version without monitoring.
    """
    marts = read_published(
        {name: (f"marts.rpt_monitoring_{name}", f"from marts.rpt_monitoring_{name} order by all") for name in MARTS}
    )
    missing = [m.address for m in marts.values() if m.frame is None]
    if missing:
        raise DossierError(f"The published marts lack {', '.join(missing)}. Run `make run` first.")
    frames = {name: m.frame for name, m in marts.items() if m.frame is not None}
    return replace_file(
        SETTINGS.reports / "monitoring.html", monitoring_page(frames, CONFIG.monitoring, SETTINGS.source)
    )
