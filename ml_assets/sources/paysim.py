"""PaySim (mobile money): customers are clients, merchants are counterparties only.

Money of a ``CASH_IN`` flows to ``nameOrig`` (its balance rises), that of every other type to ``nameDest``.
Steps are hours. An account's event is its first payment with ``isFraud``; balances and ``isFlaggedFraud``
are not used.

Source: Lopez-Rojas et al. 2016, "PaySim: A financial mobile money simulator for fraud detection".
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ml_assets.config import SourceConfig
from ml_assets.sources.adapter import (
    EPOCH,
    Adapter,
    csv_source,
    files_in,
    value_map,
    write_labels,
    write_laundering,
    write_sides,
)
from ml_assets.sources.errors import InputError
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import csv_header, require_columns

COLUMNS = ["step", "type", "amount", "nameOrig", "nameDest", "isFraud"]

CHANNELS = {
    "cash_in": "cash",
    "cash_out": "cash",
    "debit": "transfer",
    "payment": "online",
    "transfer": "transfer",
}
"""DEBIT moves money from the wallet to a bank account; PAYMENT pays a merchant from the wallet."""


def find(folder: Path) -> dict[str, Path]:
    """Files by role: the published file has several names, so the first CSV with PaySim's columns is taken."""
    found = [path for path in files_in(folder) if path.name.lower().endswith((".csv", ".csv.gz"))]
    for path in found:
        if path.stat().st_size and {"step", "nameorig", "namedest"} <= {c.strip().lower() for c in csv_header(path)[0]}:
            require_columns(path, COLUMNS)
            return {"transactions": path}
    there = ", ".join(p.name for p in found) or "no CSV file"
    raise InputError(f"no CSV file with the columns {', '.join(COLUMNS)} (found {there})", "Add it.", file=folder)


def build(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig) -> None:
    """Write the landing folder."""
    draft.source = "paysim"
    con.execute(f"""
        create temp table payments as
        select row_number() over () as n, lpad((row_number() over ())::varchar, 10, '0') as ref,
               timestamp '{EPOCH} 00:00:00' + to_hours(step::integer) as "at",
               case upper("type") when 'CASH_IN' then nameDest else nameOrig end as sender,
               case upper("type") when 'CASH_IN' then nameOrig else nameDest end as receiver,
               amount::decimal(18, 2) as sender_amount, amount::decimal(18, 2) as receiver_amount,
               {value_map('"type"', CHANNELS, "'other'")} as channel, isFraud::integer = 1 as is_fraud
        from {csv_source(files["transactions"])}""")
    con.execute("""
        create temp table clients as
        select client_id from (select sender as client_id from payments union select receiver from payments)
        where starts_with(client_id, 'C')""")
    con.execute("""
        create temp table laundering as
        select ref, sender, receiver, null::varchar as typology from payments where is_fraud""")
    con.execute("""
        create temp table events as
        select client_id, min("at")::date as event_date, null::varchar as typology
        from (select sender as client_id, "at" from payments where is_fraud
              union all select receiver, "at" from payments where is_fraud)
        where client_id in (select client_id from clients)
        group by client_id""")
    con.execute("create temp table undated (client_id varchar)")
    write_sides(con, draft, channel=True)
    draft.write(con, "client_profiles", "select client_id from clients", "client_id")
    write_labels(con, draft, config.reporting_delay_days)
    write_laundering(con, draft)
    draft.not_available |= {
        "counterparty_country": "PaySim has no countries",
        "counterparty_sector": "PaySim has no sectors of economy",
        "currency": "PaySim names no currency",
        "blacklist": "PaySim has no lists of sanctioned or blocked parties",
        "fx_rates": "PaySim pays in one currency",
        "dispositions": "PaySim has no worked alerts",
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
            "PaySim customers carry no such attribute",
        ),
    }
    draft.notes += [
        f"Steps are hours; step 0 is {EPOCH} 00:00 UTC.",
        "Customers (C...) are clients, merchants (M...) are not. Money of a CASH_IN flows to nameOrig.",
        "Event of a client: its first payment with isFraud, as sender or receiver.",
    ]


ADAPTER = Adapter("paysim", "PaySim mobile money", find, build)
