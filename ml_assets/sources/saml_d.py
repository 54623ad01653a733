"""SAML-D (``SAML-D.csv``): synthetic transaction monitoring with countries, currencies and payment types.

Every account is a client. A payment has one amount and two currencies; the amount is taken in the payment
currency on both sides, because the received amount is not published. Where the amounts of all currencies lie
on one scale (see :data:`SCALE_FACTOR`), the data set did not convert, and rates of 1 say so; otherwise no
rates are written and other currencies than the base stay without a base amount.

Source: Oztas et al. 2023, "Enhancing Anti-Money Laundering: Development of a Synthetic Transaction
Monitoring Dataset".
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ml_assets.config import SourceConfig
from ml_assets.sources.adapter import Adapter, csv_source, need, value_map, write_labels, write_laundering, write_sides
from ml_assets.sources.currencies import CURRENCIES, country_code
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import require_columns

COLUMNS = [
    "Time",
    "Date",
    "Sender_account",
    "Receiver_account",
    "Amount",
    "Payment_currency",
    "Received_currency",
    "Sender_bank_location",
    "Receiver_bank_location",
    "Payment_type",
    "Is_laundering",
    "Laundering_type",
]

CHANNELS = {
    "cash deposit": "cash",
    "cash withdrawal": "cash",
    "cheque": "cheque",
    "ach": "transfer",
    "credit card": "card",
    "debit card": "card",
    "cross-border": "wire",
}

BASE_CURRENCY = "GBP"

SCALE_FACTOR = 3.0
"""Medians of amounts by currency that differ by less than this factor lie on one scale: true rates against the
pound run from about 1 (euro) to 180 (yen, 2022-2023), so converted amounts would differ far more."""

SCALE_ROWS = 30
"""Payments a currency needs before its median says anything."""


def find(folder: Path) -> dict[str, Path]:
    """Files by role."""
    path = need(folder, ("saml-d.csv", "saml-d.csv.gz", "saml_d.csv"), "the transactions file")
    require_columns(path, COLUMNS[:-1])
    return {"transactions": path}


def build(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig) -> None:
    """Write the landing folder."""
    draft.source = "saml_d"
    draft.base_currency = BASE_CURRENCY
    source = csv_source(files["transactions"])
    con.execute(f"""
        create temp table payments as
        select row_number() over () as n, lpad((row_number() over ())::varchar, 10, '0') as ref,
               "Date"::date + "Time"::time as "at", Sender_account as sender, Receiver_account as receiver,
               Amount::decimal(18, 2) as sender_amount, Amount::decimal(18, 2) as receiver_amount,
               trim(Sender_bank_location) as sender_country, trim(Receiver_bank_location) as receiver_country,
               {value_map("Payment_type", CHANNELS, "'other'")} as channel,
               {value_map("Payment_currency", CURRENCIES, "trim(Payment_currency)")} as sender_currency,
               {value_map("Payment_currency", CURRENCIES, "trim(Payment_currency)")} as receiver_currency,
               Is_laundering::integer = 1 as is_laundering,
               {"Laundering_type" if _has(con, source, "Laundering_type") else "null::varchar"} as typology
        from {source}""")
    names = con.execute("select sender_country from payments union select receiver_country from payments").fetchall()
    codes = [(name, country_code(name)) for (name,) in names if name]
    con.execute("create temp table locations (name varchar, code varchar)")
    if codes:
        con.executemany("insert into locations values (?, ?)", codes)
    # a name without a code stays as published: staging says what it cannot read, we do not hide it
    con.execute("""
        create temp table located as
        select p.* replace (coalesce(s.code, p.sender_country) as sender_country,
                            coalesce(r.code, p.receiver_country) as receiver_country)
        from payments p
        left join locations s on s.name = p.sender_country
        left join locations r on r.name = p.receiver_country""")
    con.execute("drop table payments")
    con.execute("alter table located rename to payments")
    con.execute("""
        create temp table clients as
        select client_id, arg_min(country, (n, side)) as geography
        from (select sender as client_id, sender_country as country, n, 0 as side from payments
              union all select receiver, receiver_country, n, 1 from payments)
        group by client_id""")
    con.execute("""
        create temp table laundering as
        select ref, sender, receiver, typology from payments where is_laundering""")
    con.execute("""
        create temp table events as
        select client_id, min("at")::date as event_date,
               string_agg(distinct typology, ',' order by typology) as typology
        from (select sender as client_id, "at", typology from payments where is_laundering
              union all select receiver, "at", typology from payments where is_laundering)
        group by client_id""")
    con.execute("create temp table undated (client_id varchar)")
    write_sides(con, draft, country=True, channel=True, currency=True)
    draft.write(con, "client_profiles", "select client_id, geography from clients", "client_id")
    write_labels(con, draft, config.reporting_delay_days)
    write_laundering(con, draft)
    _write_rates(con, draft)
    draft.not_available |= {
        "counterparty_sector": "SAML-D has no sectors of economy",
        "blacklist": "SAML-D has no lists of sanctioned or blocked parties",
        "dispositions": "SAML-D has no worked alerts",
        **dict.fromkeys(
            (
                "industry",
                "occupation",
                "expected_turnover",
                "size_bucket",
                "onboarding_date",
                "risk_rating",
                "pep_flag",
                "sanctions_flag",
                "country_risk_score",
                "industry_risk_score",
                "account_age_months",
            ),
            "SAML-D accounts carry no such attribute",
        ),
    }
    draft.notes += [
        "Every account is a client; its geography is the bank location of its first payment.",
        "The published amount is taken in the payment currency on both sides; the received amount is not published.",
        "Event of an account: its first payment with Is_laundering, as sender or receiver.",
    ]


def _has(con: duckdb.DuckDBPyConnection, source: str, column: str) -> bool:
    names = {name.lower() for name, *_ in con.execute(f"describe select * from {source}").fetchall()}
    return column.lower() in names


def _write_rates(con: duckdb.DuckDBPyConnection, draft: LandingDraft) -> None:
    """Write rates of 1 where the data show that amounts were not converted, and say what was seen."""
    medians = con.execute(f"""
        select sender_currency, median(sender_amount)::double from payments
        group by 1 having count(*) >= {SCALE_ROWS} and median(sender_amount) > 0 order by 2""").fetchall()
    others = [currency for currency, _ in medians if currency != BASE_CURRENCY]
    if not others:
        draft.not_available["fx_rates"] = "SAML-D publishes no exchange rates"
        return
    (lowest, low), (highest, high) = medians[0], medians[-1]
    seen = f"median amounts run from {low:.2f} ({lowest}) to {high:.2f} ({highest})"
    if high / low >= SCALE_FACTOR:
        draft.not_available["fx_rates"] = (
            f"SAML-D publishes no exchange rates, and {seen}: amounts are on several scales"
        )
        return
    draft.write(
        con,
        "fx_rates",
        'select distinct sender_currency as currency, (select min("at")::date from payments) as rate_date, '
        "1.0::double as rate_to_base from payments where sender_currency is not null",
        "currency",
    )
    draft.notes.append(
        f"Amounts of all currencies lie on one scale ({seen}), so the data set did not convert; rates of 1 are written."
    )


ADAPTER = Adapter("saml_d", "SAML-D synthetic transaction monitoring", find, build)
