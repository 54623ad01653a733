"""Transactions to measure on: many, with the skew of a real bank, and nothing to find in them.

One client per hundred transactions, activity by a power law (a few companies make most of the traffic), payments
between clients reported by both sides as banks book them, the rest with outside parties of which a few shops and
utilities take most. One row in a hundred becomes known up to ten days late. The same rows for the same size and seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

import duckdb
import numpy as np
import polars as pl

FIRST_DAY: Final = date(2023, 1, 2)
"""A Monday."""

SEED: Final = 20_260_101
CHUNK: Final = 1_000_000
"""Transactions made at a time."""

_CHANNELS: Final = np.array(
    ["card", "transfer", "cash", "atm", "wire", "direct_debit", "online", "cheque"], dtype=object
)
_CHANNEL_SHARE: Final = np.array([0.34, 0.24, 0.05, 0.08, 0.05, 0.13, 0.10, 0.01])
_COUNTRIES: Final = np.array(
    ["GB", "DE", "FR", "US", "ES", "IT", "NL", "PL", "SE", "AE", "TR", "CN", "HK", "IR", "MM", "PA"], dtype=object
)
_SECTORS: Final = np.array(
    ["retail", "household", "utilities", "restaurant", "real_estate", "legal", "logistics", "msb"], dtype=object
)


def clients_of(rows: int) -> int:
    """Clients of a world of ``rows`` transactions: one per hundred."""
    return max(50, rows // 100)


def _popularity(count: int, exponent: float, shift: float) -> np.ndarray:
    weight = (np.arange(count) + shift) ** -exponent
    return np.cumsum(weight / weight.sum())


def _draw(rng: np.random.Generator, cumulative: np.ndarray, n: int) -> np.ndarray:
    return np.minimum(np.searchsorted(cumulative, rng.random(n)), len(cumulative) - 1)


def transactions(rows: int, days: int = 365, seed: int = SEED, part: int = 0, parts: int = 1) -> pl.DataFrame:
    """Rows of ``intermediate.int_transactions`` for one of ``parts`` equal, disjoint slices of the days.

    Returns
    -------
    About ``rows / parts`` rows with the columns of :data:`ml_assets.features.history.TRANSACTION_COLUMNS`, txn_date
    and _delivery_id, sorted by time.
    """
    rng = np.random.default_rng([seed, rows, part])
    clients = clients_of(rows)
    outside = clients * 2
    n = rows // parts
    between = int(n * 0.2 / 1.2)  # payments between clients make two rows each
    single = n - 2 * between
    first, last = days * part // parts, days * (part + 1) // parts
    client_cdf, outside_cdf = _popularity(clients, 0.75, 20.0), _popularity(outside, 0.9, 5.0)

    def common(count: int) -> dict[str, np.ndarray]:
        at = rng.integers(first * 86_400, last * 86_400, count) * 1_000_000
        late = np.where(rng.random(count) < 0.01, rng.integers(1, 11, count), 0)
        return {
            "at": at,
            "late": late,
            "cents": np.maximum(1, np.rint(np.exp(rng.normal(4.2, 1.5, count)) * 100)).astype(np.int64),
            "channel": rng.choice(len(_CHANNELS), count, p=_CHANNEL_SHARE),
            "country": rng.integers(0, len(_COUNTRIES), count),
            "sector": rng.integers(0, len(_SECTORS), count),
        }

    one = common(single)
    one["client"] = _draw(rng, client_cdf, single)
    one["other"] = clients + _draw(rng, outside_cdf, single)
    one["inbound"] = rng.random(single) < 0.35
    two = common(between)
    payer, payee = _draw(rng, client_cdf, between), rng.integers(0, clients, between)
    payee = np.where(payee == payer, (payee + 1) % clients, payee)
    columns = {k: np.concatenate([one[k], two[k], two[k]]) for k in two}
    client = np.concatenate([one["client"], payer, payee])
    other = np.concatenate([one["other"], payee, payer])
    inbound = np.concatenate([one["inbound"], np.zeros(between, np.bool_), np.ones(between, np.bool_)])
    start = (FIRST_DAY - date(1970, 1, 1)).days
    frame = pl.DataFrame(
        {
            "number": np.arange(len(client)) + part * n,
            "client": client,
            "other": other,
            "inbound": inbound,
            "cents": columns["cents"],
            "channel": _CHANNELS[columns["channel"]],
            "country": _COUNTRIES[columns["country"]],
            "sector": _SECTORS[columns["sector"]],
            "late": columns["late"],
            "at": columns["at"] + start * 86_400_000_000,
        }
    )
    party = (
        pl.when(pl.col("other") < clients)
        .then(pl.format("C{}", pl.col("other").cast(pl.String).str.zfill(7)))
        .otherwise(pl.format("X{}", pl.col("other").cast(pl.String).str.zfill(7)))
    )
    return frame.sort("at", "number").select(
        txn_id=pl.format("T{}", pl.col("number").cast(pl.String).str.zfill(9)),
        client_id=pl.format("C{}", pl.col("client").cast(pl.String).str.zfill(7)),
        counterparty_id=party,
        counterparty_country="country",
        counterparty_sector="sector",
        channel="channel",
        currency=pl.lit("EUR"),
        direction=pl.when("inbound").then(pl.lit("inbound")).otherwise(pl.lit("outbound")),
        amount_base=pl.col("cents"),
        is_counterparty_client=pl.col("other") < clients,
        is_time_known=pl.lit(True),
        txn_at=pl.col("at").cast(pl.Datetime("us")),
        txn_date=pl.col("at").cast(pl.Datetime("us")).cast(pl.Date),
        known_date=pl.col("at").cast(pl.Datetime("us")).cast(pl.Date) + pl.duration(days=pl.col("late")),
        # one outside party in a thousand has stood on a blacklist since before the first day
        counterparty_listed_date=pl.when((pl.col("other") >= clients) & (pl.col("other") % 1000 == 7)).then(
            pl.lit(FIRST_DAY - timedelta(days=100))
        ),
        _delivery_id=pl.lit(1, pl.Int32),
    )


def slices(rows: int, days: int = 365, seed: int = SEED) -> Iterator[pl.DataFrame]:
    """The world in time order, at most about a million rows at a time."""
    parts = max(1, -(-rows // CHUNK))
    for part in range(parts):
        yield transactions(rows, days, seed, part, parts)


def fill(con: duckdb.DuckDBPyConnection, rows: int, days: int = 365, seed: int = SEED) -> None:
    """Write the world and what the weekly models read beside it into a fresh warehouse.

    Tables ``intermediate.int_transactions`` (in time order, as deliveries arrive), ``intermediate.int_client_starts``,
    an empty ``intermediate.int_profile_versions`` and ``raw.deliveries``.
    """
    con.execute("create schema if not exists intermediate")
    con.execute("create schema if not exists raw")
    con.execute("""
        create table intermediate.int_transactions (
            txn_id varchar, client_id varchar, counterparty_id varchar, counterparty_country varchar,
            counterparty_sector varchar, channel varchar, currency varchar, direction varchar,
            amount decimal(18, 2), amount_base decimal(18, 2), is_counterparty_client boolean, is_time_known boolean,
            txn_at timestamp, txn_date date, known_date date, counterparty_listed_date date, _delivery_id integer)""")
    for frame in slices(rows, days, seed):
        con.register("made", frame.to_arrow())
        con.execute("""
            insert into intermediate.int_transactions by name
            select * replace (cast(amount_base as decimal(18, 0)) * cast(0.01 as decimal(2, 2)) as amount_base)
            from made""")
        con.unregister("made")
    con.execute("""
        create table intermediate.int_client_starts as
        select client_id, min(greatest(txn_date, known_date)) as spine_from_date, spine_from_date as client_from_date
        from intermediate.int_transactions group by client_id""")
    con.execute("""
        create table intermediate.int_profile_versions (
            client_id varchar, industry varchar, occupation varchar, geography varchar, size_bucket varchar,
            risk_rating varchar, expected_turnover decimal(18, 2), country_risk_score double,
            industry_risk_score double, onboarding_date date, is_pep boolean, is_sanctioned boolean,
            known_from date, superseded_from date)""")
    con.execute("create table raw.deliveries as select 1::bigint as rows, 'made' as content_hash")
