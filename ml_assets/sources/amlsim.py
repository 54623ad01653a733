"""IBM AMLSim, both published formats, told apart by their files.

**Sample format** (``nodes.csv``, ``transactions.csv``): accounts and payments with integer steps (days).
What the data show, on both published samples: ``fraudStep`` is the day on which an account *sent* its
laundering payments, and all of them go to another account with ``isFraud`` = 1; it is -1 for accounts that
only received them, and for accounts whose pattern was never carried out. A laundering payment is therefore
one sent on the sender's ``fraudStep`` to an ``isFraud`` account, and an account's event is the first such
payment it sent or received. ``init_balance`` is a known leak and is not used.

**Current format** (``accounts``, ``transactions``, ``sar_accounts``; plain or gzip): dated payments. The
event is ``EVENT_DATE``, which is the account's first payment with ``is_sar``. ``prior_sar_count`` is true for
members of alert patterns, ``alert_id`` names them, ``initial_deposit`` and account numbers are known leaks:
none of them is used. Names, addresses and birth dates are random and not used either.

Source: https://github.com/IBM/AMLSim (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ml_assets.config import SourceConfig
from ml_assets.sources.adapter import (
    EPOCH,
    Adapter,
    csv_source,
    need,
    pick,
    value_map,
    write_labels,
    write_laundering,
    write_sides,
)
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import csv_header, require_columns

CHANNELS = {
    "transfer": "transfer",
    "payment": "transfer",
    "credit": "transfer",
    "debit": "direct_debit",
    "cash": "cash",
    "cash-in": "cash",
    "cash-out": "cash",
    "deposit": "cash",
    "withdrawal": "cash",
    "check": "cheque",
    "wire": "wire",
}
"""Published ``tx_type`` (lower case) to channel."""

_NO_SECTORS = "AMLSim has no sectors of economy"
_NO_PROFILE = "AMLSim accounts carry no such attribute"


def find(folder: Path) -> dict[str, Path]:
    """Files by role; the sample format is recognised by ``nodes.csv``."""
    nodes = pick(folder, ("nodes.csv", "nodes.csv.gz"))
    transactions = need(folder, ("transactions.csv", "transactions.csv.gz"), "the transactions file")
    if nodes is not None:
        require_columns(nodes, ["nodeid", "isFraud", "fraudStep"])
        require_columns(transactions, ["sourceNodeId", "targetNodeId", "value", "time"])
        return {"nodes": nodes, "transactions": transactions}
    files = {
        "accounts": need(folder, ("accounts.csv", "accounts.csv.gz"), "the accounts file (or nodes.csv)"),
        "transactions": transactions,
        "sar_accounts": need(folder, ("sar_accounts.csv", "sar_accounts.csv.gz"), "the file of SAR accounts"),
    }
    require_columns(files["accounts"], ["acct_id"])
    require_columns(transactions, ["tran_id", "orig_acct", "bene_acct", "base_amt", "tran_timestamp"])
    require_columns(files["sar_accounts"], ["ACCOUNT_ID", "EVENT_DATE", "ALERT_TYPE"])
    return files


def build(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig) -> None:
    """Write the landing folder of either format."""
    draft.source = "amlsim"
    draft.not_available |= {
        "counterparty_sector": _NO_SECTORS,
        "blacklist": "AMLSim has no lists of sanctioned or blocked parties",
        "fx_rates": "AMLSim pays in one currency",
        "dispositions": "AMLSim has no worked alerts",
        **dict.fromkeys(
            (
                "occupation",
                "expected_turnover",
                "risk_rating",
                "pep_flag",
                "sanctions_flag",
                "country_risk_score",
                "industry_risk_score",
                "account_age_months",
            ),
            _NO_PROFILE,
        ),
    }
    if "nodes" in files:
        _build_sample(con, files, draft, config)
    else:
        _build_current(con, files, draft, config)


def _build_sample(
    con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig
) -> None:
    draft.not_available |= {
        "counterparty_country": "the AMLSim sample has no countries",
        "channel": "the AMLSim sample does not say how a payment was made",
        "currency": "the AMLSim sample names no currency",
        **dict.fromkeys(("industry", "geography", "size_bucket", "onboarding_date"), _NO_PROFILE),
    }
    draft.notes += [
        f"Integer steps are days; step 0 is {EPOCH}.",
        "Event of an account: its first payment sent on the sender's fraudStep to an isFraud account, as sender or "
        "receiver. An STR follows it by the reporting delay.",
    ]
    con.execute(f"""
        create temp table nodes as
        select nodeid as client_id, isFraud::integer = 1 as is_fraud, fraudStep::integer as fraud_step
        from {csv_source(files["nodes"])}""")
    con.execute("create temp table clients as select distinct client_id from nodes")
    con.execute(f"""
        create temp table payments as
        select row_number() over () as n, lpad((row_number() over ())::varchar, 9, '0') as ref,
               date '{EPOCH}' + "time"::integer as "at", sourceNodeId as sender, targetNodeId as receiver,
               "value"::decimal(18, 2) as sender_amount, "value"::decimal(18, 2) as receiver_amount
        from {csv_source(files["transactions"])}""")
    con.execute(f"""
        create temp table laundering as
        select p.ref, p.sender, p.receiver, p."at", null::varchar as typology
        from payments p
        join nodes s on s.client_id = p.sender and s.is_fraud and p."at" = date '{EPOCH}' + s.fraud_step
        join nodes r on r.client_id = p.receiver and r.is_fraud""")
    con.execute("""
        create temp table events as
        select client_id, min("at") as event_date, null::varchar as typology
        from (select sender as client_id, "at" from laundering union all select receiver, "at" from laundering)
        group by client_id""")
    con.execute("""
        create temp table undated as
        select client_id from nodes where is_fraud and client_id not in (select client_id from events)""")
    write_sides(con, draft)
    draft.write(con, "client_profiles", "select client_id from clients", "client_id")
    write_labels(con, draft, config.reporting_delay_days)
    write_laundering(con, draft)


def _build_current(
    con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig
) -> None:
    account_columns = {name.strip().lower() for name in csv_header(files["accounts"])[0]}
    transaction_columns = {name.strip().lower() for name in csv_header(files["transactions"])[0]}

    def account(name: str) -> str:
        return f"nullif(trim(\"{name}\"), '')" if name in account_columns else "null::varchar"

    con.execute(f"""
        create temp table accounts as
        select acct_id as client_id, {account("country")} as country, {account("acct_rptng_crncy")} as currency,
               upper({account("type")}) as account_type, {account("open_dt")} as open_dt
        from {csv_source(files["accounts"])}""")
    con.execute("create temp table clients as select distinct client_id from accounts")
    channel = value_map("tx_type", CHANNELS, "'other'") if "tx_type" in transaction_columns else "null::varchar"
    con.execute(f"""
        create temp table payments as
        select row_number() over () as n, tran_id as ref, (tran_timestamp::timestamp)::date as "at",
               orig_acct as sender, bene_acct as receiver, base_amt::decimal(18, 2) as sender_amount,
               base_amt::decimal(18, 2) as receiver_amount, {channel} as channel, s.country as sender_country,
               r.country as receiver_country, s.currency as sender_currency, s.currency as receiver_currency
        from {csv_source(files["transactions"])} t
        left join accounts s on s.client_id = orig_acct
        left join accounts r on r.client_id = bene_acct""")
    con.execute(f"""
        create temp table events as
        select ACCOUNT_ID as client_id, min(strptime(EVENT_DATE, '%Y%m%d')::date) as event_date,
               arg_min(ALERT_TYPE, (EVENT_DATE, ALERT_TYPE)) as typology
        from {csv_source(files["sar_accounts"])}
        where upper(trim(IS_SAR)) in ('YES', 'TRUE', '1')
        group by ACCOUNT_ID""")
    con.execute("create temp table undated (client_id varchar)")
    has = {
        name: con.execute(f"select count({name}) from accounts").fetchone() != (0,)
        for name in ("country", "currency", "account_type")
    }
    opened = con.execute("select count(distinct open_dt) from accounts").fetchone()
    has_opened = bool(opened and opened[0] > 1)
    first = con.execute('select min("at") from payments').fetchone()
    write_sides(con, draft, country=has["country"], channel="tx_type" in transaction_columns, currency=has["currency"])
    profile = ["client_id"]
    if has["account_type"]:
        profile += [
            "case account_type when 'I' then 'household' end as industry",
            "case account_type when 'I' then 'individual' end as size_bucket",
        ]
    if has["country"]:
        profile.append("country as geography")
    if has_opened and first:
        profile.append(f"date '{first[0]}' + open_dt::integer as onboarding_date")
    draft.write(con, "client_profiles", f"select {', '.join(profile)} from accounts", "client_id")
    write_labels(con, draft, config.reporting_delay_days)
    if "is_sar" in transaction_columns:
        con.execute(f"""
            create temp table laundering as
            select tran_id as ref, orig_acct as sender, bene_acct as receiver, null::varchar as typology
            from {csv_source(files["transactions"])}
            where upper(trim(is_sar)) in ('TRUE', 'YES', '1')""")
        write_laundering(con, draft)
    currencies = con.execute("select distinct currency from accounts where currency is not null").fetchall()
    draft.base_currency = currencies[0][0] if len(currencies) == 1 else None
    draft.notes += [
        "Payments carry dates only; the published midnight is not a time of day.",
        "Event of an account: EVENT_DATE of sar_accounts, the date of its first payment with is_sar.",
        "A counterparty's country is the country of its account. Account type I is a private person.",
    ]
    for name, columns in (
        ("country", ("counterparty_country", "geography")),
        ("currency", ("currency",)),
        ("account_type", ("industry", "size_bucket")),
    ):
        if not has[name]:
            draft.not_available |= dict.fromkeys(columns, f"the accounts file has no {name}")
    if "tx_type" not in transaction_columns:
        draft.not_available["channel"] = "the transactions file has no tx_type"
    if not has_opened:
        draft.not_available["onboarding_date"] = (
            "open_dt is the same step for every account: the start of the simulation, not an opening date"
        )


ADAPTER = Adapter("amlsim", "IBM AMLSim, sample format or current format", find, build)
