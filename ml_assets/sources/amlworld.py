"""IBM AMLworld (``HI-Small_Trans.csv`` and its sisters) and its file of laundering attempts.

Clients are accounts (bank and account number); an account is paid in its own currency, so each side keeps
its amount and currency. The data set has no exchange rates but converts: rates are the medians of what was
paid over what was received in its own payments between a currency and the US dollar.

The last days of the published files hold mostly laundering, because normal traffic has ended: a known leak.
They are cut off: trailing days with fewer than 1 % of the median day's normal payments are dropped.

Source: Altman et al. 2023, "Realistic Synthetic Financial Transactions for Anti-Money Laundering Models"
(CDLA-Sharing-1.0).
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import polars as pl

from ml_assets.config import SourceConfig
from ml_assets.sources.adapter import (
    Adapter,
    csv_source,
    need,
    pick,
    value_map,
    write_labels,
    write_laundering,
    write_sides,
)
from ml_assets.sources.currencies import CURRENCIES
from ml_assets.sources.errors import InputError
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import explained, open_bytes, require_columns

COLUMNS = [
    "timestamp",
    "from_bank",
    "from_account",
    "to_bank",
    "to_account",
    "amount_received",
    "receiving_currency",
    "amount_paid",
    "payment_currency",
    "payment_format",
    "is_laundering",
]
"""Our names for the published columns, two of which are both called Account, in order."""

CHANNELS = {
    "cheque": "cheque",
    "credit card": "card",
    "ach": "transfer",
    "cash": "cash",
    "wire": "wire",
    "bitcoin": "online",
    "reinvestment": "other",
}

TAIL_RATIO = 0.01
"""A trailing day with less than this share of the median day's normal payments is after the end of normal traffic.
On HI-Small it separates day 10 from day 11 (2022-09-11) by two orders of magnitude."""


def find(folder: Path) -> dict[str, Path]:
    """Files by role: the transactions, and the laundering attempts if they are there."""
    files = {"transactions": need(folder, ("*trans.csv", "*trans.csv.gz"), "the transactions file (…_Trans.csv)")}
    require_columns(
        files["transactions"],
        [
            "Timestamp",
            "From Bank",
            "To Bank",
            "Amount Received",
            "Receiving Currency",
            "Amount Paid",
            "Payment Currency",
            "Payment Format",
            "Is Laundering",
        ],
    )
    patterns = pick(folder, ("*patterns.txt", "*patterns.txt.gz"))
    if patterns is not None:
        files["patterns"] = patterns
    return files


def read_patterns(path: Path) -> pl.DataFrame:
    """Laundering attempts of a published ``…_Patterns.txt`` (plain or gzip).

    Returns
    -------
    One row per transaction of an attempt, in file order: attempt_id (1, 2, ...), typology (lower case with
    underscores: fan_out, gather_scatter, ...), detail (text after the colon) and :data:`COLUMNS` as text.

    Errors
    ------
    InputError : a line outside a block, or with another number of fields.
    """
    with explained(path), open_bytes(path) as file:
        lines = file.read().decode("utf-8").splitlines()
    rows: list[tuple[object, ...]] = []
    attempt, typology, detail, is_open = 0, "", "", False
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        begin = re.match(r"BEGIN LAUNDERING ATTEMPT - ([A-Z-]+)(?::\s*(.*))?$", text)
        if begin:
            attempt, is_open = attempt + 1, True
            typology, detail = begin[1].lower().replace("-", "_"), begin[2] or ""
        elif text.startswith("END LAUNDERING ATTEMPT"):
            is_open = False
        else:
            fields = text.split(",")
            if not is_open or len(fields) != len(COLUMNS):
                raise InputError(
                    f"not a transaction of {len(COLUMNS)} fields inside a BEGIN/END block",
                    "Download it again.",
                    file=path,
                    row=number,
                    value=text,
                )
            rows.append((attempt, typology, detail, *fields))
    schema = {"attempt_id": pl.Int64, "typology": pl.String, "detail": pl.String} | dict.fromkeys(COLUMNS, pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def build(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig) -> None:
    """Write the landing folder."""
    draft.source = "amlworld"
    draft.base_currency = "USD"
    con.execute(f"""
        create temp table all_payments as
        select row_number() over () as n, lpad((row_number() over ())::varchar, 10, '0') as ref,
               strptime("timestamp", ['%Y/%m/%d %H:%M', '%Y-%m-%d %H:%M', '%Y-%m-%d %H:%M:%S']) as "at",
               from_bank || '_' || from_account as sender, to_bank || '_' || to_account as receiver,
               amount_paid::decimal(20, 6) as sender_amount, amount_received::decimal(20, 6) as receiver_amount,
               {value_map("payment_currency", CURRENCIES, "trim(payment_currency)")} as sender_currency,
               {value_map("receiving_currency", CURRENCIES, "trim(receiving_currency)")} as receiver_currency,
               {value_map("payment_format", CHANNELS, "'other'")} as channel,
               is_laundering::integer = 1 as is_laundering
        from {csv_source(files["transactions"], COLUMNS)}""")
    last_day = _end_of_normal_traffic(con)
    trimmed = con.execute(
        'select count(*), count(*) filter (is_laundering) from all_payments where "at"::date > ?', [last_day]
    ).fetchone() or (0, 0)
    con.execute(f"""
        create temp table payments as select * from all_payments where "at"::date <= date '{last_day}'""")
    con.execute("drop table all_payments")
    con.execute("""
        create temp table clients as
        select sender as client_id from payments union select receiver from payments""")
    _write_truth_and_events(con, files, draft)
    write_sides(con, draft, channel=True, currency=True)
    draft.write(con, "client_profiles", "select client_id from clients", "client_id")
    write_labels(con, draft, config.reporting_delay_days)
    missing = _write_rates(con, draft)
    draft.not_available |= {
        "counterparty_country": "AMLworld has no countries",
        "counterparty_sector": "AMLworld has no sectors of economy",
        "blacklist": "AMLworld has no lists of sanctioned or blocked parties",
        "dispositions": "AMLworld has no worked alerts",
        **dict.fromkeys(
            (
                "industry",
                "occupation",
                "expected_turnover",
                "geography",
                "size_bucket",
                "onboarding_date",
                "risk_rating",
                "pep_flag",
                "sanctions_flag",
                "country_risk_score",
                "industry_risk_score",
                "account_age_months",
            ),
            "AMLworld accounts carry no such attribute",
        ),
    }
    draft.notes += [
        "Clients are accounts: bank number, underscore, account number.",
        f"{trimmed[0]} payments after {last_day} are left out ({trimmed[1]} of them laundering): normal traffic has "
        "ended by then, and keeping those days would leak the label.",
        "Exchange rates are medians of paid over received in the data's own payments against the US dollar, one per "
        "currency, dated the first day." + (f" No such payment for: {', '.join(missing)}." if missing else ""),
        "Event of an account: its first payment with Is Laundering, as sender or receiver.",
    ]


def _end_of_normal_traffic(con: duckdb.DuckDBPyConnection) -> str:
    """Last day that is not in the tail of days without normal traffic (ISO date)."""
    row = con.execute(f"""
        with days as (
            select "at"::date as day, count(*) filter (not is_laundering) as normal from all_payments group by 1
        )
        select coalesce(max(day) filter (normal >= {TAIL_RATIO} * (select median(normal) from days)), max(day))
        from days""").fetchone()
    if not row or row[0] is None:
        raise InputError("the transactions file has no rows", "Download it again.")
    return str(row[0])


def _write_truth_and_events(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft) -> None:
    if "patterns" in files:
        con.register("patterns_frame", read_patterns(files["patterns"]).to_arrow())
        con.execute("""
            create temp table patterns as
            select distinct strptime("timestamp", '%Y/%m/%d %H:%M') as "at", from_bank || '_' || from_account as sender,
                   to_bank || '_' || to_account as receiver, amount_paid::decimal(20, 6) as sender_amount, typology
            from patterns_frame""")
        con.unregister("patterns_frame")
    else:
        con.execute("""
            create temp table patterns (
                "at" timestamp, sender varchar, receiver varchar, sender_amount decimal(20, 6), typology varchar)""")
    con.execute("""
        create temp table laundering as
        select ref, any_value(p."at") as "at", any_value(p.sender) as sender, any_value(p.receiver) as receiver,
               min(typology) as typology
        from payments p left join patterns using ("at", sender, receiver, sender_amount)
        where is_laundering
        group by ref""")
    con.execute("""
        create temp table events as
        select client_id, min("at")::date as event_date,
               string_agg(distinct typology, ',' order by typology) as typology
        from (select sender as client_id, "at", typology from laundering
              union all select receiver, "at", typology from laundering)
        group by client_id""")
    con.execute("create temp table undated (client_id varchar)")
    write_laundering(con, draft)


def _write_rates(con: duckdb.DuckDBPyConnection, draft: LandingDraft) -> list[str]:
    """Write ``fx_rates``; returns the currencies for which the data hold no payment against the dollar."""
    con.execute("""
        create temp table rates as
        with pairs as (
            select sender_currency as currency, receiver_amount::double / sender_amount::double as rate from payments
            where receiver_currency = 'USD' and sender_currency <> 'USD' and sender_amount > 0
            union all
            select receiver_currency, sender_amount::double / receiver_amount::double from payments
            where sender_currency = 'USD' and receiver_currency <> 'USD' and receiver_amount > 0
        )
        select currency, median(rate) as rate_to_base from pairs group by currency
        union all select 'USD', 1.0""")
    draft.write(
        con,
        "fx_rates",
        'select currency, (select min("at")::date from payments) as rate_date, rate_to_base from rates',
        "currency",
    )
    return [
        row[0]
        for row in con.execute("""
            select sender_currency from payments union select receiver_currency from payments
            except select currency from rates order by 1""").fetchall()
    ]


ADAPTER = Adapter("amlworld", "IBM AMLworld transactions (HI/LI, Small/Medium/Large)", find, build)
