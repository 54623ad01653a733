"""How many published laundering attempts each pattern detector finds, and how often it fires on ordinary traffic.

The attempts (AMLworld, Altman et al. 2023) come without their background, so one is made: everybody takes part, a few
shops and employers take most of the payments. Attempts and background are put into one week's graph, the detectors of
``temporal_patterns.py`` run with the configuration's knobs, and each attempt is looked up at its parties. An attempt
counts as found when its central party reaches the width the attempt really has (cycles: every member is on a cycle of
that length). Nothing is fitted; the background is seeded.

Two shapes are reported for what they are. AMLworld's ``bipartite`` attempts are mostly disjoint single payments and
its ``stack`` attempts disjoint chains of two payments: no detector of full layers can tell them from the background,
so those are measured per party as published, and the detector of full layers is measured once more on full layers
planted here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from ml_assets.config import FeatureConfig
from ml_assets.features import temporal_patterns as patterns
from ml_assets.features.graph import WeekGraph, build_week_graph, index_nodes
from ml_assets.features.history import build_history

Payment = tuple[str, str, datetime, float]
"""Payer, payee, moment (UTC), amount in the base currency."""

RATES: Final = {
    "US Dollar": 1.0, "Euro": 1.0, "UK Pound": 1.15, "Swiss Franc": 1.03, "Yuan": 0.144, "Yen": 0.007, "Rupee": 0.0125,
    "Ruble": 0.0166, "Shekel": 0.29, "Saudi Riyal": 0.266, "Mexican Peso": 0.05, "Brazil Real": 0.19,
    "Canadian Dollar": 0.76, "Australian Dollar": 0.68, "Bitcoin": 20_000.0,
}  # fmt: skip
"""Rough September 2022 rates to the US dollar: only chains compare amounts, and they do across currencies."""

SMALLEST_FAN: Final = 8
"""Payers (payees) from which a published fan is looked for: narrower ones are everyday."""

SMALLEST_WIDTH: Final = 3
"""Width from which gather-scatter and scatter-gather are looked for: of width 2 ordinary traffic is full."""

PLANTED: Final = 20
"""Full layers planted to measure what the published attempts do not hold."""


@dataclass(frozen=True)
class Attempt:
    """One laundering attempt: its typology as published (lower case, underscores) and its payments."""

    typology: str
    payments: tuple[Payment, ...]


def attempts_of(published: pl.DataFrame) -> list[Attempt]:
    """Attempts of a published pattern file.

    Parameters
    ----------
    published : as :func:`ml_assets.sources.amlworld.read_patterns` returns it: one row per transaction of an attempt.

    Returns
    -------
    One attempt per block, payments of an account to itself left out, amounts in dollars.

    Raises
    ------
    ValueError : a currency without a rate.
    """
    unknown = sorted(set(published["payment_currency"]) - set(RATES))
    if unknown:
        raise ValueError(f"no rate for {', '.join(unknown)}: add it to RATES")
    attempts = []
    for rows in published.partition_by("attempt_id", maintain_order=True):
        made = []
        for r in rows.iter_rows(named=True):
            payer, payee = f"{r['from_bank']}/{r['from_account']}", f"{r['to_bank']}/{r['to_account']}"
            if payer != payee:
                at = datetime.strptime(r["timestamp"], "%Y/%m/%d %H:%M")
                made.append((payer, payee, at, float(r["amount_paid"]) * RATES[r["payment_currency"]]))
        attempts.append(Attempt(rows["typology"][0], tuple(made)))
    return attempts


def full_layers(number: int, first: date) -> list[Attempt]:
    """Planted attempts whose layers are complete: 3 × 3 bicliques and 2 × 2 × 2 stacks, within a week."""
    planted = []
    for i in range(number):
        start = datetime(first.year, first.month, first.day) + timedelta(days=i % 10)
        names = [[f"planted/{i}-{layer}{j}" for j in range(3)] for layer in "abc"]
        wide = [
            (u, v, start + timedelta(hours=j), 900.0 + j) for j, (u, v) in enumerate(_all_pairs(names[0], names[1]))
        ]
        planted.append(Attempt("full_bipartite", tuple(wide)))
        names = [[f"planted/{i}-{layer}{j}" for j in range(2)] for layer in "xyz"]
        steps = [*_all_pairs(names[0], names[1]), *_all_pairs(names[1], names[2])]
        stack = [(u, v, start + timedelta(hours=6 * j), 800.0 + j) for j, (u, v) in enumerate(steps)]
        planted.append(Attempt("full_stack", tuple(stack)))
    return planted


def _all_pairs(left: list[str], right: list[str]) -> list[tuple[str, str]]:
    return [(u, v) for u in left for v in right]


def place(attempts: list[Attempt], config: FeatureConfig, *, parties: int, payments: int, seed: int) -> WeekGraph:
    """The week's graph of the attempts among ordinary traffic.

    ``parties`` ordinary parties (ids ``bg…``) beside the members of attempts; ``payments`` ordinary payments over the
    18 days from the attempts' first day, between anybody, half of them to a few popular payees.
    """
    made = [p for a in attempts for p in a.payments]
    first = min(p[2] for p in made).replace(hour=0, minute=0)
    names = np.array(sorted({v for p in made for v in p[:2]}) + [f"bg{i:05d}" for i in range(parties)], dtype=object)
    rng = np.random.default_rng(seed)
    payer = rng.integers(0, len(names), payments)
    popular = 1.0 / (1.0 + rng.permutation(len(names)))
    payee = np.where(
        rng.random(payments) < 0.5,
        rng.integers(0, len(names), payments),
        rng.choice(len(names), payments, p=popular / popular.sum()),
    )
    seconds = rng.integers(0, 18 * 86_400, payments)
    start = int((first - datetime(1970, 1, 1)).total_seconds())
    at = [int((p[2] - datetime(1970, 1, 1)).total_seconds()) for p in made] + (seconds + start).tolist()
    rows = pl.DataFrame(
        {
            "client_id": [p[0] for p in made] + names[payer].tolist(),
            "counterparty_id": [p[1] for p in made] + names[payee].tolist(),
            "txn_at": pl.Series(np.array(at, dtype=np.int64) * 1_000_000).cast(pl.Datetime("us")),
            "amount_base": [p[3] for p in made] + np.round(rng.lognormal(5, 1.5, payments), 2).tolist(),
        }
    ).with_columns(
        txn_id=pl.format("t{}", pl.int_range(pl.len())),
        counterparty_country=pl.lit(None, dtype=pl.String),
        counterparty_sector=pl.lit(None, dtype=pl.String),
        channel=pl.lit("transfer"),
        currency=pl.lit("USD"),
        direction=pl.lit("outbound"),
        is_counterparty_client=pl.lit(True),
        is_time_known=pl.lit(True),
        known_date=pl.col("txn_at").cast(pl.Date),
        counterparty_listed_date=pl.lit(None, dtype=pl.Date),
    )
    history = build_history(rows)
    last = history.day.max()
    as_of_day = int(last + 1 + (3 - last) % 7)  # the Monday after the last payment; day 4 of the epoch was one
    return build_week_graph(history, index_nodes(history), as_of_day, config.window_days[2])


def detect(graph: WeekGraph, config: FeatureConfig) -> pl.DataFrame:
    """All pattern measures of a graph as P2 computes them: one row per party, with ``party``."""
    return pl.concat(
        [
            patterns.temporal_cycles(
                graph, config.cycle_window_days, config.cycle_max_length, config.cycle_steps_per_start
            ),
            patterns.fans(graph, config.pattern_window_days),
            patterns.scatter_gather(graph, config.pattern_window_days, config.pattern_hub_degree),
            patterns.layers(graph, config.window_days[1], config.pattern_hub_degree),
            patterns.chains(
                graph, config.cycle_window_days, config.chain_amount_tolerance_ratio, config.chain_max_length,
                config.chain_steps_per_payment,
            ),
        ],
        how="horizontal",
    ).with_columns(party=pl.Series(list(graph.ids), dtype=pl.String))  # fmt: skip


def _centre(rows: tuple[Payment, ...]) -> tuple[str, int, int]:
    """Party with the widest narrower side (then the widest side), and its distinct payers and payees."""
    payers, payees = defaultdict(set), defaultdict(set)
    for a, b, *_ in rows:
        payers[b].add(a)
        payees[a].add(b)
    sides = {v: (len(payers[v]), len(payees[v])) for v in sorted({*payers, *payees})}
    best = max(sides, key=lambda v: (min(sides[v]), max(sides[v])))
    return best, *sides[best]


def _judge(attempt: Attempt, at: dict[str, dict[str, Any]]) -> list[tuple[str, str, int, bool]]:
    """Detector, column and threshold that fires it, and whether the attempt (or each of its parties) was found."""
    rows, kind = attempt.payments, attempt.typology
    members = sorted({v for p in rows for v in p[:2]})
    if not rows:
        return []
    if kind in {"fan_in", "fan_out"}:
        side = 1 if kind == "fan_in" else 0
        hub = (rows[0][0], rows[0][1])[side]
        width = len({(p[0], p[1])[1 - side] for p in rows})
        return [(kind, kind, SMALLEST_FAN, at[hub][kind] >= width)] if width >= SMALLEST_FAN else []
    if kind == "gather_scatter":
        hub, payers, payees = _centre(rows)
        width = min(payers, payees)
        return [(kind, kind, SMALLEST_WIDTH, at[hub][kind] >= width)] if width >= SMALLEST_WIDTH else []
    if kind == "scatter_gather":
        source = max(sorted({p[0] for p in rows}), key=lambda v: len({p[1] for p in rows if p[0] == v}))
        middles = {p[1] for p in rows if p[0] == source}
        sinks = {p[1] for p in rows if p[0] in middles}
        found = (
            at[source]["scatter_gather_source"] >= len(middles)
            and all(at[s]["scatter_gather_sink"] >= len(middles) for s in sinks)
            and all(at[m]["scatter_gather_middle"] >= len(middles) for m in middles)
        )
        wide = len(middles) >= SMALLEST_WIDTH
        return [(kind, "scatter_gather_source", SMALLEST_WIDTH, found)] if wide else []
    if kind == "cycle":
        if not 2 <= len(rows) <= patterns.LONGEST_CYCLE:
            return [("cycle longer than 6 (not looked for)", "cycle", 1, False)] if len(rows) > 6 else []
        return [("cycle", "cycle", 1, all(at[p[0]][f"cycle_{len(rows)}"] > 0 for p in rows))]
    if kind == "stack":
        chained = bool(np.mean([at[p[0]]["chain"] >= 2 for p in rows]) >= 0.5)
        as_chain = [("stack, as chains of 2", "chain", 2, chained)] if len(rows) >= 4 else []
        return as_chain + [("stack, per party in full layers", "stack", 1, at[v]["stack"] > 0) for v in members]
    if kind == "random" and len(rows) >= 3:
        return [("random, as chains of 3", "chain", 3, max(at[p[0]]["chain"] for p in rows) >= 3)]
    if kind == "bipartite" and len(rows) >= 2:
        return [("bipartite, per party in full layers", "bipartite", 1, at[v]["bipartite"] > 0) for v in members]
    if kind == "full_bipartite":
        return [("planted 3×3 bipartite", "bipartite", 1, all(at[v]["bipartite"] >= 4 for v in members))]
    if kind == "full_stack":
        return [("planted 2×2×2 stack", "stack", 1, all(at[v]["stack"] >= 1 for v in members))]
    return []


def measure(
    attempts: list[Attempt], config: FeatureConfig, *, parties: int = 6_000, payments: int = 60_000, seed: int = 5
) -> pl.DataFrame:
    """Recall of each detector and how often it fires on the background.

    Returns
    -------
    One row per detector, sorted: detector, typology (published), published_count (attempts of the typology),
    looked_for_count (attempts, or parties where the detector says so, of a width it is made for), found_count,
    recall_ratio (of those looked for), recall_of_published_ratio (of all published, narrow ones counted as missed;
    null per party), fires_at (threshold on the measure), background_ratio (share of ordinary parties that reach it).

    Raises
    ------
    ValueError : there is no payment in the attempts.
    """
    if not any(a.payments for a in attempts):
        raise ValueError("the attempts hold no payment between two accounts")
    first = min(p[2] for a in attempts for p in a.payments).date()
    planted = [*attempts, *full_layers(PLANTED, first)]
    graph = place(planted, config, parties=parties, payments=payments, seed=seed)
    found = detect(graph, config).with_columns(
        cycle=pl.sum_horizontal([f"cycle_{k}" for k in range(2, patterns.LONGEST_CYCLE + 1)])
    )
    ordinary = found.filter(pl.col("party").str.starts_with("bg"))
    at = {r["party"]: r for r in found.iter_rows(named=True)}
    hits: dict[tuple[str, str, str, int], list[bool]] = defaultdict(list)
    for attempt in planted:
        for detector, column, threshold, is_found in _judge(attempt, at):
            hits[detector, attempt.typology, column, threshold].append(bool(is_found))
    published = pl.Series([a.typology for a in planted]).value_counts(sort=False)
    count = dict(published.iter_rows())
    return pl.DataFrame(
        [
            {
                "detector": detector,
                "typology": typology,
                "published_count": count[typology],
                "looked_for_count": len(cases),
                "found_count": sum(cases),
                "recall_ratio": sum(cases) / len(cases),
                "recall_of_published_ratio": None if "party" in detector else sum(cases) / count[typology],
                "fires_at": f"{column} ≥ {threshold}",
                "background_ratio": ordinary.filter(pl.col(column) >= threshold).height / max(1, ordinary.height),
            }
            for (detector, typology, column, threshold), cases in sorted(hits.items())
        ]
    )
