"""P6: every indicator on a hand-computed client at its threshold and a cent (or one) below it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.config import FeatureConfig
from ml_assets.features import p6_scheme
from ml_assets.features.history import build_history, build_spine
from ml_assets.features.scheme_templates import (
    FULL_WEIGHT,
    INDICATORS,
    PREFIXES,
    SCORE_COLUMNS,
    TEMPLATES,
    WEIGHTS,
    Scheme,
)

D = date(2024, 7, 1)
CONFIG = FeatureConfig()

COUNTRIES = {
    "underground_banking_corridor": ["CN", "HK"],
    "trade_corridor": ["US", "CN", "MX"],
    "shell_jurisdictions": ["VG"],
    "msb_corridor": ["AE"],
}
SECTORS = {
    "underground_banking_exit": ["real_estate", "investment", "automotive", "legal"],
    "casino_sectors": ["casino"],
    "msb_sectors": ["msb"],
    "deposit_product_sectors": ["investment", "insurance"],
    "trade_exposed_sectors": ["import_export", "textiles"],
    "trade_atypical_sectors": ["casino", "legal"],
    "domestic_operating_sectors": ["utilities", "payroll_services"],
    "legal_sectors": ["legal"],
    "business_flow_sectors": ["logistics"],
}


def _seed(lists: dict[str, list[str]], column: str, schemes: dict[str, Scheme]) -> pl.DataFrame:
    rows = [{"scheme": schemes[k].value, "list_name": k, column: v} for k, values in lists.items() for v in values]
    decoys = [{"scheme": "all", "list_name": k, column: "CA" if column == "iso2" else "retail"} for k in lists]
    return pl.DataFrame(rows + decoys)


def row(
    days_before: float,
    amount: float,
    direction: str,
    party: str | None = "shop",
    *,
    country: str | None = "CA",
    sector: str | None = "retail",
    channel: str | None = "transfer",
    currency: str | None = "CAD",
    client: str = "A",
    known: date | None = None,
    txn_id: str | None = None,
) -> dict[str, Any]:
    """One transaction ``days_before`` the as-of date's midnight; every optional column is filled by default."""
    at = datetime(D.year, D.month, D.day) - timedelta(days=days_before)
    return {
        "txn_id": txn_id,
        "client_id": client,
        "counterparty_id": party,
        "counterparty_country": country,
        "counterparty_sector": sector,
        "channel": channel,
        "currency": currency,
        "direction": direction,
        "amount_base": amount,
        "is_counterparty_client": False,
        "is_time_known": True,
        "txn_at": at,
        "known_date": known or at.date(),
        "counterparty_listed_date": None,
    }


SCHEMA = {
    "txn_id": pl.String,
    "client_id": pl.String,
    "counterparty_id": pl.String,
    "counterparty_country": pl.String,
    "counterparty_sector": pl.String,
    "channel": pl.String,
    "currency": pl.String,
    "direction": pl.String,
    "amount_base": pl.Float64,
    "is_counterparty_client": pl.Boolean,
    "is_time_known": pl.Boolean,
    "txn_at": pl.Datetime("us"),
    "known_date": pl.Date,
    "counterparty_listed_date": pl.Date,
}


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    named = [{**r, "txn_id": r["txn_id"] or f"t{n:04d}"} for n, r in enumerate(rows)]
    return pl.DataFrame(named, schema=SCHEMA)


PERSON = {
    "industry": "household",
    "occupation": "employed",
    "size_bucket": "individual",
    "expected_turnover": 36_500.0,
    "account_age_days": 1_000,
}
TRADER = {**PERSON, "industry": "import_export", "occupation": None, "size_bucket": "small"}
QUIET = {
    "inflow_sum_30d_base": 0.0,
    "inflow_sum_90d_base": 0.0,
    "baseline_weeks_count": 48,
    "baseline_inflow_sum_base": 0.0,
}
PROFILE_SCHEMA = {
    "client_id": pl.String,
    "as_of_date": pl.Date,
    "industry": pl.String,
    "occupation": pl.String,
    "size_bucket": pl.String,
    "expected_turnover": pl.Float64,
    "account_age_days": pl.Int64,
}
WINDOW_SCHEMA = {
    "client_id": pl.String,
    "as_of_date": pl.Date,
    "inflow_sum_30d_base": pl.Float64,
    "inflow_sum_90d_base": pl.Float64,
    "baseline_weeks_count": pl.Int64,
    "baseline_inflow_sum_base": pl.Float64,
}


def inputs(
    rows: list[dict[str, Any]],
    profile: dict[str, Any] | None = None,
    windows: dict[str, Any] | None = None,
    pairs: list[tuple[str, date]] | None = None,
) -> tuple[tuple[Any, ...], dict[str, pl.DataFrame]]:
    pairs = pairs or [("A", D)]
    ids = [{"client_id": c, "as_of_date": d} for c, d in pairs]
    history = build_history(frame_of(rows))
    spine = build_spine(history, pl.DataFrame(ids, schema={"client_id": pl.String, "as_of_date": pl.Date}))
    return (history, spine, CONFIG), {
        "profiles": pl.DataFrame([{**i, **(profile or PERSON)} for i in ids], schema=PROFILE_SCHEMA),
        "windows": pl.DataFrame([{**i, **QUIET, **(windows or {})} for i in ids], schema=WINDOW_SCHEMA),
        "scheme_countries": _seed(COUNTRIES, "iso2", p6_scheme.COUNTRY_LISTS),
        "scheme_sectors": _seed(SECTORS, "sector", p6_scheme.SECTOR_LISTS),
    }


def build(rows: list[dict[str, Any]], *args: Any, **kwargs: Any) -> pl.DataFrame:
    positional, named = inputs(rows, *args, **kwargs)
    return p6_scheme.build(*positional, **named)


def hits(rows: list[dict[str, Any]], *args: Any, **kwargs: Any) -> pl.DataFrame:
    positional, named = inputs(rows, *args, **kwargs)
    return p6_scheme.hits(*positional, **named)


def value_of(name: str, rows: list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:
    return build(rows, *args, **kwargs)[name][0]


@dataclass
class Case:
    """A client at the threshold (``rows``) and one just below (``below``), with both values."""

    rows: list[dict[str, Any]]
    value: float
    below: list[dict[str, Any]]
    value_below: float
    profile: dict[str, Any] = field(default_factory=lambda: PERSON)
    windows: dict[str, Any] = field(default_factory=dict)
    windows_below: dict[str, Any] | None = None
    evidence: set[str] | None = None


STUDENT = {**PERSON, "occupation": "student"}
ORDINARY = [row(5, 10, "inbound")]


def parties(n: int, days: float, amount: float, direction: str, prefix: str, **kwargs: Any) -> list[dict[str, Any]]:
    return [row(days, amount, direction, f"{prefix}{k}", **kwargs) for k in range(n)]


def loop(back: float) -> list[dict[str, Any]]:
    return [
        row(20, 10_000, "outbound", "B", txn_id="a1"),
        row(19, 9_000, "outbound", "C", client="B"),
        row(18, back, "inbound", "C", txn_id="a2"),
        row(17, 500, "outbound", "shop", txn_id="a3"),
    ]


CASES: dict[str, Case] = {
    "p6_ub_pass_through_30d_ratio": Case(
        [row(20, 10_000, "inbound"), row(15, 9_000, "outbound")],
        0.9,
        [row(20, 10_000, "inbound"), row(15, 8_999.99, "outbound")],
        0.899999,
    ),
    "p6_ub_corridor_exit_30d_base": Case(
        [
            row(20, 10_000, "inbound", country="CN", channel="wire", txn_id="in"),
            row(19, 10, "outbound", txn_id="shop"),
            row(12, 10_000, "outbound", sector="real_estate", txn_id="out"),
        ],
        10_000,
        [
            row(20, 10_000, "inbound", country="CN", channel="wire"),
            row(12, 9_999.99, "outbound", sector="real_estate"),
        ],
        9_999.99,
        evidence={"in", "out"},
    ),
    "p6_ub_corridor_onward_30d_ratio": Case(
        [row(20, 10_000, "inbound", country="HK", channel="wire"), row(17, 8_000, "outbound")],
        0.8,
        [row(20, 10_000, "inbound", country="HK", channel="wire"), row(17, 7_999.99, "outbound")],
        0.799999,
    ),
    "p6_ub_msb_sender_30d_base": Case(
        [row(20, 10_000, "inbound", sector="msb", channel="wire"), row(15, 10_000, "outbound")],
        10_000,
        [row(20, 10_000, "inbound", sector="msb", channel="wire"), row(15, 9_999.99, "outbound")],
        9_999.99,
    ),
    "p6_ub_cash_to_draft_30d_base": Case(
        [row(20, 5_000, "inbound", channel="cash"), row(15, 6_000, "outbound", channel="draft")],
        5_000,
        [row(20, 4_999.99, "inbound", channel="atm"), row(15, 6_000, "outbound", channel="draft")],
        4_999.99,
        profile=STUDENT,
    ),
    "p6_ub_casino_over_turnover_90d_factor": Case(  # 4,500 x 365/90 = 18,250, half of 36,500
        [row(80, 4_500, "outbound", sector="casino")],
        0.5,
        [row(80, 4_499.99, "outbound", sector="casino")],
        449_999 / 900_000,
    ),
    "p6_ub_first_seen_depositors_30d_count": Case(
        [
            *parties(10, 20, 100, "inbound", "new"),
            *parties(3, 10, 100, "inbound", "old"),
            *parties(3, 40, 5, "outbound", "old"),
        ],
        10,
        [
            *parties(9, 20, 100, "inbound", "new"),
            *parties(3, 10, 100, "inbound", "old"),
            *parties(3, 40, 5, "outbound", "old"),
        ],
        9,
        evidence={f"t{n:04d}" for n in range(10)},
    ),
    "p6_ub_deposit_round_trip_90d_base": Case(
        [
            row(60, 10_000, "outbound", "fund", sector="investment"),
            row(10, 12_000, "inbound", "fund", sector="investment"),
        ],
        10_000,
        [
            row(60, 10_000, "outbound", "fund", sector="investment"),
            row(10, 9_999.99, "inbound", "fund", sector="investment"),
        ],
        9_999.99,
    ),
    "p6_ub_loop_value_30d_base": Case(loop(10_000), 10_000, loop(9_999.99), 9_999.99, evidence={"a1", "a2"}),
    "p6_ub_volume_over_profile_90d_factor": Case(
        ORDINARY,
        3.0,
        ORDINARY,
        2_699_999 / 900_000,
        windows={"inflow_sum_90d_base": 27_000.0},
        windows_below={"inflow_sum_90d_base": 26_999.99},
    ),
    "p6_ub_draft_to_casino_90d_base": Case(
        [row(80, 10_000, "outbound", sector="casino", channel="draft")],
        10_000,
        [row(80, 9_999.99, "outbound", sector="casino", channel="draft")],
        9_999.99,
    ),
    "p6_tb_small_exposed_wires_90d_factor": Case(  # 13,500 / 9,000
        [row(80, 13_500, "inbound", channel="wire"), row(70, 1_000, "outbound", channel="wire")],
        1.5,
        [row(80, 13_499.99, "inbound", channel="wire"), row(70, 1_000, "outbound", channel="wire")],
        1_349_999 / 900_000,
        profile=TRADER,
    ),
    "p6_tb_sudden_wires_30d_ratio": Case(  # own mean per 30 days: 224,000 x 30 / 336 = 20,000
        [row(10, 60_000, "inbound", channel="wire", txn_id="now"), row(100, 224_000, "inbound", channel="wire")],
        0.75,
        [row(10, 60_000, "inbound", channel="wire"), row(100, 224_000.01, "inbound", channel="wire")],
        60_000 / (60_000 + 224_000.01 * 30 / 336),
        evidence={"now"},
    ),
    "p6_tb_corridor_mismatch_90d_ratio": Case(
        [
            row(20, 50_000, "inbound", country="US", channel="wire"),
            row(10, 40_000, "outbound", country="CN", channel="wire"),
        ],
        0.8,
        [
            row(20, 50_000, "inbound", country="US", channel="wire"),
            row(10, 39_999.99, "outbound", country="CN", channel="wire"),
        ],
        0.7999998,
        profile=TRADER,
    ),
    "p6_tb_shell_share_90d_ratio": Case(
        [
            row(20, 60_000, "inbound", country="US", channel="wire"),
            row(15, 30_000, "outbound", country="VG", channel="wire", txn_id="shell"),
            row(14, 30_000, "outbound", country="DE", channel="wire"),
        ],
        0.25,
        [
            row(20, 60_000, "inbound", country="US", channel="wire"),
            row(15, 29_999.99, "outbound", country="VG", channel="wire"),
            row(14, 30_000.01, "outbound", country="DE", channel="wire"),
        ],
        2_999_999 / 12_000_000,
        evidence={"shell"},
    ),
    "p6_tb_round_wires_90d_ratio": Case(
        [row(9, a, "inbound", channel="wire") for a in (10_000, 49_500, 100_500, 12_345.67, 12_345.67, 49_499.99)],
        0.5,
        [row(9, a, "inbound", channel="wire") for a in (10_000, 49_500, 100_500, 100_500.01, 10_500, 10_001, 10_002)],
        3 / 7,
        evidence={"t0000", "t0001", "t0002"},
    ),
    "p6_tb_atypical_sectors_90d_ratio": Case(
        [row(9, 12_500, "outbound", sector="casino"), row(9, 37_500, "inbound", sector="textiles")],
        0.25,
        [row(9, 12_499.99, "outbound", sector="casino"), row(9, 37_500.01, "inbound", sector="textiles")],
        1_249_999 / 5_000_000,
        profile=TRADER,
    ),
    "p6_tb_no_running_costs_90d_ratio": Case(
        [row(9, 500, "outbound", sector="utilities"), row(8, 49_500, "outbound", sector="textiles", channel="wire")],
        0.99,
        [
            row(9, 500.01, "outbound", sector="utilities"),
            row(8, 49_499.99, "outbound", sector="textiles", channel="wire"),
        ],
        4_949_999 / 5_000_000,
        profile=TRADER,
    ),
    "p6_tb_usd_flow_through_30d_ratio": Case(
        [
            row(9, 50_000, "inbound", channel="wire", currency="USD"),
            row(8, 47_500, "outbound", channel="wire", currency="USD"),
        ],
        0.95,
        [
            row(9, 50_000, "inbound", channel="wire", currency="USD"),
            row(8, 47_499.99, "outbound", channel="wire", currency="USD"),
        ],
        4_749_999 / 5_000_000,
    ),
    "p6_tb_one_off_partners_90d_count": Case(
        [
            *parties(10, 60, 9, "outbound", "p", channel="wire"),
            *parties(4, 200, 9, "inbound", "q", channel="wire"),
            *parties(4, 60, 9, "outbound", "q", channel="wire"),
        ],
        10,
        [
            *parties(9, 60, 9, "outbound", "p", channel="wire"),
            row(50, 9, "outbound", "r", channel="wire"),
            row(40, 9, "outbound", "r", channel="wire"),
        ],
        9,
        profile=TRADER,
        evidence={f"t{n:04d}" for n in range(10)},
    ),
    "p6_tb_legal_settlement_90d_base": Case(
        [row(60, 50_000, "outbound", sector="legal", channel="draft"), row(9, 700, "outbound", sector="legal")],
        50_000,
        [row(60, 49_999.99, "inbound", sector="legal", channel="cheque")],
        49_999.99,
        profile=TRADER,
    ),
    "p6_tb_cash_to_corridor_30d_base": Case(
        [row(20, 10_000, "inbound", channel="cash"), row(10, 10_000, "outbound", country="MX", channel="wire")],
        10_000,
        [row(20, 9_999.99, "inbound", channel="cash"), row(10, 10_000, "outbound", country="MX", channel="wire")],
        9_999.99,
    ),
    "p6_msb_jump_scatter_30d_count": Case(
        [*parties(5, 9, 50, "outbound", "n"), row(9, 50, "outbound", "o"), row(60, 50, "inbound", "o")],
        5,
        parties(4, 9, 50, "outbound", "n"),
        4,
        windows={"inflow_sum_30d_base": 60_000.0, "baseline_inflow_sum_base": 224_000.0},
        evidence={f"t{n:04d}" for n in range(5)},
    ),
    "p6_msb_fan_out_30d_count": Case(
        [*parties(10, 9, 50, "outbound", "n", channel="cheque"), row(9, 5, "outbound", "A", channel="draft")],
        10,
        [*parties(9, 9, 50, "outbound", "n", channel="cheque"), row(9, 5, "outbound", "A", channel="draft")],
        9,
        evidence={f"t{n:04d}" for n in range(10)},
    ),
    "p6_msb_currency_churn_30d_count": Case(
        [row(k + 1, 50, "outbound", channel="fx") for k in range(8)],
        8,
        [row(k + 1, 50, "outbound", channel="fx") for k in range(7)],
        7,
    ),
    "p6_msb_currency_entropy_90d_bits": Case(
        [
            *(row(k, 100, "inbound", channel="fx", currency="USD") for k in (1, 2)),
            row(3, 200, "outbound", channel="fx"),
        ],
        1.0,
        [
            *(row(k, 100, "inbound", channel="fx", currency="USD") for k in (1, 2)),
            row(3, 210, "outbound", channel="fx"),
        ],
        -(200 / 410) * np.log2(200 / 410) - (210 / 410) * np.log2(210 / 410),
    ),
    "p6_msb_personal_as_msb_30d_ratio": Case(
        [*parties(10, 20, 1_000, "inbound", "i"), *parties(10, 18, 900, "outbound", "o")],
        0.9,
        [
            *parties(10, 20, 1_000, "inbound", "i"),
            *parties(9, 18, 900, "outbound", "o"),
            row(18, 899.99, "outbound", "o9"),
        ],
        0.899999,
    ),
    "p6_msb_structured_exchange_30d_count": Case(
        [row(9, 9_000, "inbound", channel="fx"), row(8, 9_999.99, "outbound", channel="fx")],
        2,
        [
            row(9, 8_999.99, "inbound", channel="fx"),
            row(8, 9_999.99, "outbound", channel="fx"),
            row(7, 10_000, "outbound", channel="fx"),
            row(7, 9_500, "outbound"),
        ],
        1,
    ),
    "p6_msb_weak_profile_volume_90d_factor": Case(
        ORDINARY,
        2.0,
        ORDINARY,
        1_799_999 / 900_000,
        profile=STUDENT,
        windows={"inflow_sum_90d_base": 18_000.0},
        windows_below={"inflow_sum_90d_base": 17_999.99},
    ),
    "p6_msb_wires_to_drafts_30d_base": Case(
        [*parties(3, 20, 4_000, "inbound", "w", channel="wire"), row(10, 10_000, "outbound", channel="draft")],
        10_000,
        [*parties(3, 20, 4_000, "inbound", "w", channel="wire"), row(10, 9_999.99, "outbound", channel="draft")],
        9_999.99,
    ),
    "p6_msb_self_drafts_90d_base": Case(
        [row(60, 5_000, "outbound", "A", channel="draft"), row(9, 5_000, "outbound", "A", channel="draft")],
        10_000,
        [
            row(60, 5_000, "outbound", "A", channel="draft"),
            row(9, 4_999.99, "outbound", "A", channel="draft"),
            row(9, 5_000, "outbound", "A"),
            row(9, 5_000, "outbound", "B", channel="draft"),
        ],
        9_999.99,
    ),
    "p6_msb_same_day_cash_30d_count": Case(
        [
            row(9.6, 5_000, "inbound", channel="cash"),
            row(9.4, 5_000, "inbound", channel="cash"),
            row(5, 9_000, "inbound", channel="cash"),
        ],
        2,
        [
            row(9.6, 5_000, "inbound", channel="cash"),
            row(9.4, 4_999.99, "inbound", channel="cash"),
            row(9.5, 10_000, "inbound", channel="cash"),
            row(8.9, 5_000, "inbound", channel="cash"),
        ],
        0,
        evidence={"t0000", "t0001"},
    ),
    "p6_msb_mixed_flows_90d_ratio": Case(
        [*parties(3, 60, 1_000, "inbound", "b", sector="logistics"), row(9, 9_000, "inbound")],
        0.5,
        [*parties(3, 60, 1_000, "inbound", "b", sector="logistics"), row(9, 9_000.04, "inbound")],
        2 * 3_000 / 12_000.04,
    ),
    "p6_msb_new_account_volume_90d_factor": Case(
        ORDINARY,
        2.0,
        ORDINARY,
        1_799_999 / 900_000,
        profile={**PERSON, "account_age_days": 180},
        windows={"inflow_sum_90d_base": 18_000.0},
        windows_below={"inflow_sum_90d_base": 17_999.99},
    ),
    "p6_msb_corridor_payout_30d_base": Case(
        [
            row(20, 10_000, "inbound", country="AE", channel="wire"),
            *parties(5, 12, 2_000, "outbound", "p", channel="draft"),
        ],
        10_000,
        [
            row(20, 10_000, "inbound", country="AE", channel="wire"),
            *parties(5, 12, 1_999.99, "outbound", "p", channel="draft"),
        ],
        9_999.95,
    ),
}


def test_every_indicator_has_a_hand_computed_case() -> None:
    assert set(CASES) == {i.name for i in INDICATORS} == set(p6_scheme._MEASURES)


@pytest.mark.parametrize("name", CASES)
def test_at_the_threshold_it_fires(name: str) -> None:
    case = CASES[name]
    assert value_of(name, case.rows, case.profile, case.windows) == pytest.approx(case.value, abs=1e-12)
    found = hits(case.rows, case.profile, case.windows).filter(pl.col("indicator") == name)
    assert len(found) == 1
    assert found["value"][0] >= found["threshold"][0]
    ids = found["txn_ids"][0].split(";")
    assert found["txn_count"][0] == len(ids) > 0
    if case.evidence is not None:
        assert set(ids) == case.evidence


@pytest.mark.parametrize("name", CASES)
def test_below_the_threshold_it_does_not(name: str) -> None:
    case = CASES[name]
    windows = case.windows if case.windows_below is None else case.windows_below
    assert value_of(name, case.below, case.profile, windows) == pytest.approx(case.value_below, abs=1e-12)
    assert name not in hits(case.below, case.profile, windows)["indicator"].to_list()


@pytest.mark.parametrize("name", CASES)
def test_fired_count_counts_the_hits(name: str) -> None:
    case = CASES[name]
    built = build(case.rows, case.profile, case.windows)
    found = hits(case.rows, case.profile, case.windows)
    for scheme, prefix in PREFIXES.items():
        assert built[f"p6_{prefix}_fired_count"][0] == len(found.filter(pl.col("scheme") == scheme.value))


def test_a_corridor_alone_fires_nothing() -> None:
    """A student kept by a family abroad, an importer with a margin: listed origins, ordinary behaviour."""
    home = [row(d, 3_000, "inbound", "parents", country="CN", channel="wire", sector="household") for d in (80, 50, 20)]
    spent = [row(d - k, 90, "outbound", f"shop{k % 4}") for d in (80, 50, 20) for k in range(1, 15)]
    windows = {"inflow_sum_30d_base": 3_000.0, "inflow_sum_90d_base": 9_000.0, "baseline_inflow_sum_base": 30_000.0}
    assert hits(home + spent, STUDENT, windows).is_empty()
    every = sorted({c for members in COUNTRIES.values() for c in members})
    kept = [row(20 - k, 40_000, "inbound", "payer", country=c, channel="wire") for k, c in enumerate(every)]
    trader = {**TRADER, "expected_turnover": 5_000_000.0}
    past = [row(60 + 28 * k, 200_000, "inbound", "payer", channel="wire", sector="textiles") for k in range(10)]
    fired = hits(kept + past, trader)["indicator"].to_list()
    assert fired == ["p6_tb_round_wires_90d_ratio"]  # round amounts are behaviour, wherever they come from
    built = build(kept + past, trader)
    for name in (
        "p6_ub_corridor_exit_30d_base",
        "p6_ub_corridor_onward_30d_ratio",
        "p6_tb_corridor_mismatch_90d_ratio",
        "p6_tb_shell_share_90d_ratio",
        "p6_tb_cash_to_corridor_30d_base",
        "p6_msb_corridor_payout_30d_base",
    ):
        assert built[name][0] == 0.0


def test_reach_of_first_in_first_out_is_inclusive() -> None:
    late = row(15, 10_000, "outbound")
    late["txn_at"] += timedelta(microseconds=1)
    assert value_of("p6_ub_pass_through_30d_ratio", [row(20, 10_000, "inbound"), late]) == 0.0


def test_dates_without_times_match_on_the_same_midnight() -> None:
    rows = [row(20, 10_000, "outbound", txn_id="a"), row(20, 10_000, "inbound", txn_id="b")]
    assert value_of("p6_ub_pass_through_30d_ratio", rows) == 1.0


def test_conditions_that_do_not_hold_give_zero() -> None:
    def zero(name: str, rows: list[dict[str, Any]] | None = None, profile: Any = None, windows: Any = None) -> None:
        case = CASES[name]
        got = value_of(name, rows or case.rows, profile or case.profile, case.windows if windows is None else windows)
        assert got == 0.0, name

    small = [row(20, 9_999.99, "inbound"), row(19, 9_999.99, "outbound")]
    zero("p6_ub_pass_through_30d_ratio", small)
    zero("p6_ub_cash_to_draft_30d_base", profile=PERSON)
    zero("p6_ub_first_seen_depositors_30d_count", profile=TRADER)
    zero("p6_tb_small_exposed_wires_90d_factor", profile={**TRADER, "size_bucket": "large"})
    zero("p6_tb_small_exposed_wires_90d_factor", profile={**TRADER, "industry": "restaurant"})
    zero("p6_tb_corridor_mismatch_90d_ratio", profile=PERSON)
    zero("p6_tb_round_wires_90d_ratio", [row(9, 50_000, "inbound", channel="wire")] * 2)
    large = {**TRADER, "expected_turnover": 600_000.0}
    zero("p6_tb_sudden_wires_30d_ratio", [row(10, 49_999.99, "inbound", channel="wire")], profile=large)
    zero(
        "p6_msb_jump_scatter_30d_count",
        windows={"inflow_sum_30d_base": 59_999.0, "baseline_inflow_sum_base": 224_000.0},
    )
    zero("p6_msb_jump_scatter_30d_count", profile=large, windows={"inflow_sum_30d_base": 49_999.99})
    zero("p6_tb_one_off_partners_90d_count", profile=PERSON)
    zero("p6_tb_no_running_costs_90d_ratio", profile=PERSON)
    zero("p6_msb_currency_entropy_90d_bits", CASES["p6_msb_currency_entropy_90d_bits"].rows[:2])
    zero("p6_msb_personal_as_msb_30d_ratio", profile=TRADER)
    zero("p6_msb_weak_profile_volume_90d_factor", profile=PERSON)
    zero("p6_msb_wires_to_drafts_30d_base", CASES["p6_msb_wires_to_drafts_30d_base"].rows[1:])
    zero("p6_msb_self_drafts_90d_base", [row(9, 10_000, "outbound", "A", channel="draft")])
    zero("p6_msb_mixed_flows_90d_ratio", CASES["p6_msb_mixed_flows_90d_ratio"].rows[1:])
    zero("p6_msb_new_account_volume_90d_factor", profile={**PERSON, "account_age_days": 181})
    zero("p6_msb_corridor_payout_30d_base", CASES["p6_msb_corridor_payout_30d_base"].rows[:5])


@pytest.mark.parametrize(
    ("declared", "least"),
    [
        (None, 50_000.0),  # nothing declared: five reporting thresholds
        (600_000.0, 50_000.0),  # a sixth would be 100,000: still five thresholds
        (300_000.0, 50_000.0),
        (240_000.0, 40_000.0),  # two months of the turnover
        (12_000.0, 5_000.0),  # never under half a threshold
        (0.0, 5_000.0),
    ],
)
def test_what_is_large_depends_on_the_size_of_the_firm(declared: float | None, least: float) -> None:
    name, profile = "p6_tb_usd_flow_through_30d_ratio", {**TRADER, "expected_turnover": declared}
    both = [
        row(9, least, "inbound", channel="wire", currency="USD"),
        row(8, least, "outbound", channel="wire", currency="USD"),
    ]
    assert value_of(name, both, profile) == 1.0
    cent_less = [{**r, "amount_base": least - 0.01} for r in both]
    assert value_of(name, cent_less, profile) == 0.0


def test_evidence_weighs_what_is_specific_and_half_of_what_nearly_fired() -> None:
    name = "p6_ub_evidence_ratio"
    casino = [row(5, 36_500 * 0.5 * 90 / 365 / 2, "outbound", sector="casino", channel="card")]
    assert value_of("p6_ub_casino_over_turnover_90d_factor", casino) == pytest.approx(0.25)
    # specific (3 of 6), half way to its threshold: half of half of a half; ordinary rows add nothing
    assert value_of(name, casino) == pytest.approx(1 - (1 - 0.5 * 0.25))
    twice = [{**casino[0], "amount_base": casino[0]["amount_base"] * 2}]
    assert value_of(name, twice) == pytest.approx(0.5)
    # far over the threshold says no more than over it
    assert value_of(name, [{**casino[0], "amount_base": 9_000.0}]) == pytest.approx(0.5)
    assert build([], pairs=[("A", D)])[name].to_list() == [None]


def test_every_indicator_has_a_weight_of_the_catalogue() -> None:
    for i in INDICATORS:
        assert i.weight is not None
        assert i.weight.value == WEIGHTS[i.name] <= FULL_WEIGHT / 2


@pytest.mark.parametrize(
    "column", ["counterparty_id", "counterparty_country", "counterparty_sector", "channel", "currency"]
)
def test_a_column_missing_from_the_window_is_null_and_counted_as_such(column: str) -> None:
    rows = [row(d, 100.0, "inbound", country="CN", channel="wire") for d in (1, 2, 60)]
    older = [row(200, 100.0, "inbound")]  # has everything, but lies in no window of an indicator
    full = build([*rows, *older], TRADER | {"occupation": "student"})
    lacking = build([{**r, column: None} for r in rows] + older, TRADER | {"occupation": "student"})
    for i in INDICATORS:
        assert full[i.name][0] is not None, i.name
        assert (lacking[i.name][0] is None) == (column in i.requires), i.name
    for scheme, prefix in PREFIXES.items():
        lost = sum(column in i.requires for i in INDICATORS if i.scheme == scheme)
        name = f"p6_{prefix}_computable_count"
        assert lacking[name][0] == full[name][0] - lost


@pytest.mark.parametrize("column", ["industry", "occupation", "size_bucket", "expected_turnover", "onboarding_date"])
def test_an_unknown_profile_is_null(column: str) -> None:
    name = p6_scheme.PROFILE_COLUMNS[column]
    profile = TRADER | {"occupation": "student", name: None}
    built = build(ORDINARY, profile)
    for i in INDICATORS:
        assert (built[i.name][0] is None) == (column in i.requires), i.name


def test_windows_and_profiles_that_are_absent_are_null_not_zero() -> None:
    positional, named = inputs(ORDINARY)
    named["profiles"] = named["profiles"].clear().select("client_id", "as_of_date")
    named["windows"] = named["windows"].clear().select("client_id", "as_of_date")
    built = p6_scheme.build(*positional, **named)
    for name in (
        "p6_ub_volume_over_profile_90d_factor",
        "p6_tb_sudden_wires_30d_ratio",
        "p6_msb_jump_scatter_30d_count",
        "p6_msb_new_account_volume_90d_factor",
    ):
        assert built[name][0] is None
    assert p6_scheme.hits(*positional, **named).is_empty()


def test_too_short_a_baseline_is_null() -> None:
    case = CASES["p6_tb_sudden_wires_30d_ratio"]
    assert value_of("p6_tb_sudden_wires_30d_ratio", case.rows, windows={"baseline_weeks_count": 7}) is None
    assert value_of("p6_tb_sudden_wires_30d_ratio", case.rows, windows={"baseline_weeks_count": 8}) is not None


def test_a_client_without_rows_is_null_throughout() -> None:
    built = build([row(200, 5, "inbound"), row(1, 5, "inbound", client="B")], pairs=[("A", D), ("nobody", D)])
    for i in INDICATORS:
        assert built[i.name].is_null().all(), i.name
    for prefix in PREFIXES.values():
        assert built[f"p6_{prefix}_fired_count"].is_null().all()
        assert built[f"p6_{prefix}_computable_count"].to_list() == [0, 0]


def test_a_missing_list_is_refused() -> None:
    positional, named = inputs(ORDINARY)
    named["scheme_sectors"] = named["scheme_sectors"].filter(
        (pl.col("list_name") != "legal_sectors") | (pl.col("scheme") == "all")
    )
    with pytest.raises(ValueError, match="scheme_sectors has no rows for trade_based/legal_sectors"):
        p6_scheme.build(*positional, **named)


def test_evidence_is_newest_first_and_capped() -> None:
    many = [row(1 + k / 10, 50, "outbound", channel="fx", txn_id=f"x{k:03d}") for k in range(60)]
    found = hits(many).filter(pl.col("indicator") == "p6_msb_currency_churn_30d_count")
    assert found["txn_count"][0] == 60
    assert found["txn_ids"][0].split(";") == [f"x{k:03d}" for k in range(p6_scheme.EVIDENCE_CAP)]


def test_a_hub_is_not_followed() -> None:
    crowd = [row(19, 5, "outbound", "B", client=f"c{k:02d}") for k in range(51)]
    assert value_of("p6_ub_loop_value_30d_base", [*loop(10_000), *crowd[:49]]) == 10_000
    assert value_of("p6_ub_loop_value_30d_base", [*loop(10_000), *crowd]) == 0.0


PARTIES = ["A", "B", "C", "E", "x", "y"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PARTIES[:4]), st.sampled_from(PARTIES), st.booleans(), st.integers(1, 9)),
        min_size=1,
        max_size=12,
    )
)
def test_loops_equal_a_plain_search(payments: list[tuple[str, str, bool, int]]) -> None:
    rows = [
        row(9, cents / 100, "inbound" if inbound else "outbound", party, client=client)
        for client, party, inbound, cents in payments
    ]
    graph = nx.DiGraph()
    for client, party, inbound, _ in payments:
        if client != party:
            graph.add_edge(*((party, client) if inbound else (client, party)))
    sent = received = 0
    for client, party, inbound, cents in payments:
        if client != "A" or party == "A":
            continue
        start, end = ("A", party) if inbound else (party, "A")
        near = nx.has_path(graph, start, end) and nx.shortest_path_length(graph, start, end) <= 3
        sent += cents * (near and not inbound)
        received += cents * (near and inbound)
    expected = min(sent, received) / 100
    assert (value_of("p6_ub_loop_value_30d_base", [*rows, row(9, 1, "inbound", "z")])) == pytest.approx(expected)


def _plain_match(rows: list[tuple[int, int, bool]], reach: int) -> int:
    """First-in-first-out over (hour, cents, is_inbound), credits of an instant before its debits."""
    lots: deque[list[int]] = deque()
    matched = 0
    for hour, cents, inbound in sorted(rows, key=lambda r: (r[0], not r[2])):
        if inbound:
            lots.append([hour, cents])
            continue
        while lots and cents:
            if lots[0][0] < hour - reach or not lots[0][1]:
                lots.popleft()
                continue
            take = min(cents, lots[0][1])
            lots[0][1] -= take
            cents -= take
            matched += take
    return matched


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 5_000_000), st.booleans()), min_size=1, max_size=20))
def test_matching_equals_a_plain_queue(rows: list[tuple[int, int, bool]]) -> None:
    """Only the order among credits of one instant may differ, and that changes no total."""
    frame = [row(d, 0, "inbound") for d in ()]
    for hours_before, cents, inbound in rows:
        frame.append(row(hours_before / 24, cents / 100, "inbound" if inbound else "outbound"))
    inflow = sum(c for _, c, inbound in rows if inbound)
    plain = _plain_match([(-h, c, inbound) for h, c, inbound in rows], 120)
    expected = plain / inflow if inflow >= 1_000_000 else 0.0
    assert value_of("p6_ub_pass_through_30d_ratio", frame) == pytest.approx(expected)


ROW = st.builds(
    row,
    st.integers(-20, 400).map(lambda n: n / 2),
    st.sampled_from([50.0, 900.0, 5_000.0, 9_500.0, 10_000.0, 50_000.0, 60_000.0]),
    st.sampled_from(["inbound", "outbound"]),
    st.sampled_from(["A", "B", "C", "shop", None]),
    country=st.sampled_from(["CA", "CN", "US", "VG", "AE", None]),
    sector=st.sampled_from(["retail", "casino", "legal", "msb", "investment", "logistics", None]),
    channel=st.sampled_from(["cash", "wire", "draft", "fx", "transfer", None]),
    currency=st.sampled_from(["CAD", "USD", None]),
    client=st.sampled_from(["A", "B"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=25), st.lists(ROW, max_size=10), st.data())
def test_later_or_later_known_rows_change_nothing(
    rows: list[dict[str, Any]], extra: list[dict[str, Any]], data: st.DataObject
) -> None:
    past = [r for r in rows if r["txn_at"] < datetime(D.year, D.month, D.day)]
    later = []
    for n, r in enumerate([*[r for r in rows if r not in past], *extra]):
        r = {**r, "txn_id": f"z{n}"}
        for column in ("counterparty_id", "counterparty_country", "counterparty_sector", "channel", "currency"):
            if data.draw(st.booleans()):  # new words, before and after the old ones, shift every code
                r[column] = data.draw(st.sampled_from(["0", "zz"]))
        if r["txn_at"] < datetime(D.year, D.month, D.day):
            r["known_date"] = D + timedelta(days=data.draw(st.integers(0, 30)))
        later.append(r)
    past = [{**r, "txn_id": f"m{n}"} for n, r in enumerate(past)]
    profile = TRADER | {"occupation": "student"}
    windows = {"inflow_sum_30d_base": 60_000.0, "inflow_sum_90d_base": 90_000.0}
    pairs = [("A", D), ("B", D)]
    assert_frame_equal(
        build(past, profile, windows, pairs), build(past + later, profile, windows, pairs), check_exact=True
    )
    assert_frame_equal(
        hits(past, profile, windows, pairs), hits(past + later, profile, windows, pairs), check_exact=True
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30))
def test_one_pair_alone_equals_the_batch(rows: list[dict[str, Any]]) -> None:
    weeks = [D - timedelta(days=7 * k) for k in range(4)]
    pairs = [(c, d) for c in ("A", "B", "nobody") for d in weeks]
    batch, batch_hits = build(rows, STUDENT, pairs=pairs), hits(rows, STUDENT, pairs=pairs)
    alone = [build(rows, STUDENT, pairs=[p]) for p in sorted(pairs)]
    alone_hits = [hits(rows, STUDENT, pairs=[p]) for p in sorted(pairs)]
    assert_frame_equal(batch, pl.concat(alone), check_exact=True)
    assert_frame_equal(batch_hits, pl.concat(alone_hits), check_exact=True)
    positional, named = inputs(rows, STUDENT, pairs=pairs)
    both = p6_scheme.build_with_hits(*positional, **named)
    assert_frame_equal(both[0], batch, check_exact=True)
    assert_frame_equal(both[1], batch_hits, check_exact=True)


def test_no_transactions_at_all() -> None:
    built = build([], pairs=[("A", D)])
    assert built["p6_ub_computable_count"].to_list() == [0]
    assert hits([], pairs=[("A", D)]).is_empty()


def _scores(**scores: float | None) -> pl.DataFrame:
    data = {"client_id": ["A"], "as_of_date": [D], **{k: [v] for k, v in scores.items()}}
    return pl.DataFrame(data, schema_overrides={k: pl.Float64 for k in scores})


def test_similarity_is_one_along_the_signature_and_ignores_size() -> None:
    for scheme, template in TEMPLATES.items():
        for size in (1.0, 10.0):
            scores = dict(zip(SCORE_COLUMNS, (50.0 + size * w for w in template.weights), strict=True))
            got = p6_scheme.similarity(_scores(**scores), TEMPLATES)
            assert got[f"{scheme.value}_cosine_ratio"][0] == pytest.approx(1.0)
            for other in TEMPLATES:
                assert (got[f"{other.value}_cosine_ratio"][0] > 0.9999) == (other == scheme)
    small, large = (p6_scheme.similarity(_scores(**dict.fromkeys(SCORE_COLUMNS, s)), TEMPLATES) for s in (55.0, 90.0))
    assert small["pillar_norm_score"][0] == pytest.approx(10)
    assert large["pillar_norm_score"][0] == pytest.approx(80)


def test_similarity_leaves_missing_pillars_out() -> None:
    a, b = TEMPLATES[Scheme.UNDERGROUND_BANKING].weights[:2]
    got = p6_scheme.similarity(_scores(s_p1_score=65.0, s_p2_score=70.0, s_p3_score=None), TEMPLATES)
    assert got["present_pillars_count"][0] == 2
    assert got["pillar_norm_score"][0] == pytest.approx(50 / np.sqrt(2))
    expected = (30 * a + 40 * b) / (50 * np.hypot(a, b))
    assert got["underground_banking_cosine_ratio"][0] == pytest.approx(expected)
    none = p6_scheme.similarity(_scores(s_p1_score=None), TEMPLATES)
    assert none["underground_banking_cosine_ratio"][0] is None
    assert none["pillar_norm_score"][0] is None


def test_scores_at_or_under_the_median_point_nowhere() -> None:
    quiet = p6_scheme.similarity(_scores(**dict.fromkeys(SCORE_COLUMNS, 50.0)), TEMPLATES)
    assert quiet["trade_based_cosine_ratio"][0] == 0.0
    assert quiet["pillar_norm_score"][0] == 0.0
    # a pillar under the median is neither for nor against: as if it stood at the median
    one, low = (
        p6_scheme.similarity(_scores(s_p1_score=80.0, s_p2_score=other), TEMPLATES).drop("client_id")
        for other in (50.0, 3.0)
    )
    assert_frame_equal(one, low, check_exact=True)


def test_interactions_are_products_of_ratios() -> None:
    got = p6_scheme.interactions(_scores(s_p1_score=50.0, s_p2_score=20.0, s_p3_score=None, s_p4_score=100.0))
    assert len(got.columns) == 12
    assert got["p1_x_p2_ratio"][0] == pytest.approx(0.1)
    assert got["p2_x_p4_ratio"][0] == pytest.approx(0.2)
    assert got["p1_x_p3_ratio"][0] is None
    assert got["p4_x_p5_ratio"][0] is None


# --- edges: one transaction, all on one day, equal amounts, one counterparty, leap day, young client ----------


def test_one_transaction_fires_only_what_one_can_show() -> None:
    wire = [row(3, 60_000, "inbound", "P", country="CN", channel="wire", currency="USD")]
    built = build(wire, TRADER)
    zero = ("p6_ub_pass_through_30d_ratio", "p6_ub_corridor_exit_30d_base", "p6_tb_corridor_mismatch_90d_ratio",
            "p6_tb_usd_flow_through_30d_ratio", "p6_tb_round_wires_90d_ratio", "p6_msb_fan_out_30d_count")  # fmt: skip
    assert [built[n][0] for n in zero] == [0.0] * len(zero)
    assert built["p6_tb_one_off_partners_90d_count"][0] == 1
    assert built["p6_tb_sudden_wires_30d_ratio"][0] == 1.0  # no wire in the baseline's 48 weeks


def test_everything_on_one_day() -> None:
    split = [row(1 - k / 10, 5_000, "inbound", channel="cash", txn_id=f"c{k}") for k in range(2)]
    drafts = [row(0.5, 9_000, "outbound", "Q", channel="draft")]
    assert value_of("p6_msb_same_day_cash_30d_count", split) == 2
    assert value_of("p6_ub_cash_to_draft_30d_base", [*split, *drafts], STUDENT) == 9_000.0
    assert value_of("p6_ub_pass_through_30d_ratio", [*split, *drafts]) == 0.9


def test_equal_amounts_are_matched_one_to_one() -> None:
    rows = [row(d, 5_000, "inbound", f"p{d}") for d in (9, 8, 7)] + [row(6, 5_000, "outbound", "q")]
    assert value_of("p6_ub_pass_through_30d_ratio", rows) == pytest.approx(1 / 3)
    (hit,) = hits([*rows, row(5.5, 10_000, "outbound", "q")]).filter(
        pl.col("indicator") == "p6_ub_pass_through_30d_ratio"
    )["txn_count"]
    assert hit == 5


def test_one_counterparty_in_and_out() -> None:
    rows = [row(d, 9_000, "inbound", "X", channel="wire") for d in (20, 18, 16)]
    rows += [row(d, 8_500, "outbound", "X", channel="wire") for d in (19, 17, 15)]
    built = build(rows, TRADER)
    assert built["p6_msb_fan_out_30d_count"][0] == 1
    assert built["p6_tb_one_off_partners_90d_count"][0] == 0  # six wires with one party
    assert built["p6_ub_loop_value_30d_base"][0] == 25_500.0  # there and back is a loop of two payments
    assert build(rows, PERSON)["p6_msb_personal_as_msb_30d_ratio"][0] == 0.0  # one payer is no counter


def test_the_leap_day_is_a_day() -> None:
    # D is 1 July: 90 days back is 2 April; as of 4 March 2024 they reach back over 29 February to 5 December 2023
    leap = date(2024, 3, 4)
    ago = (D - leap).days
    rows = [row(ago + d, 10_000.0, "outbound", sector="casino", channel="draft") for d in (4, 90, 91)]
    built = build(rows, pairs=[("A", leap)])
    assert rows[0]["txn_at"].date() == date(2024, 2, 29)
    assert built["p6_ub_draft_to_casino_90d_base"][0] == 20_000.0


def test_a_client_younger_than_the_window_is_measured_on_what_there_is() -> None:
    young = {**PERSON, "account_age_days": 10}
    rows = [row(5, 10_000, "inbound", "p"), row(4, 9_500, "outbound", "q")]
    windows = {"inflow_sum_30d_base": 10_000.0, "inflow_sum_90d_base": 10_000.0, "baseline_weeks_count": 0}
    built = build(rows, young, windows)
    assert built["p6_msb_new_account_volume_90d_factor"][0] == pytest.approx(10_000 * 365 / 90 / 36_500)
    assert built["p6_ub_pass_through_30d_ratio"][0] == 0.95
    assert built["p6_tb_sudden_wires_30d_ratio"][0] is None  # no own normal yet
    assert built["p6_msb_jump_scatter_30d_count"][0] is None
