"""AMLGentex (AI Sweden with Handelsbanken and Swedbank): ``tx_log.parquet`` and ``accounts.csv``.

Rows of type ``INITALBALANCE`` set balances and are no payments. The ids -2 (source) and -1 (sink) stand for
everybody outside the simulated banks; they are no clients, and because they are no single party either, a
payment from or to them has no counterparty id. Steps are days from 2023-01-01. An account's event is its
first payment with ``isSAR``.

Known leaks, not used: account numbers, initial balances, ``patternID``, ``modelType``. ``AGE`` is a person's
age, not an account's; ``daysInBank`` is 1 at the start for everybody and says nothing; ``CITY`` is invented.

Source: https://github.com/aidotse/AMLGentex (Apache-2.0).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

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
from ml_assets.sources.landing import LandingDraft
from ml_assets.sources.readers import require_columns

FIRST_DAY = date(2023, 1, 1)
"""Date of step 0, as the data set states it."""

CHANNELS = {"transfer": "transfer", "cash": "cash"}


def find(folder: Path) -> dict[str, Path]:
    """Files by role."""
    files = {
        "transactions": need(folder, ("tx_log.parquet",), "the transaction log"),
        "accounts": need(folder, ("accounts.csv", "accounts.csv.gz"), "the accounts file"),
    }
    require_columns(files["transactions"], ["step", "type", "amount", "nameOrig", "nameDest", "isSAR"])
    require_columns(files["accounts"], ["ACCOUNT_ID", "SALARY", "IS_SAR"])
    models = pick(folder, ("alert_models.csv", "alert_models.csv.gz"))
    if models is not None:
        require_columns(models, ["type", "accountID"])
        files["alert_models"] = models
    return files


def build(con: duckdb.DuckDBPyConnection, files: dict[str, Path], draft: LandingDraft, config: SourceConfig) -> None:
    """Write the landing folder."""
    draft.source = "amlgentex"
    log = str(files["transactions"]).replace("'", "''")
    con.execute(f"""
        create temp table accounts as
        select ACCOUNT_ID as client_id, SALARY::decimal(18, 2) as salary, upper(trim(IS_SAR)) = 'TRUE' as is_sar
        from {csv_source(files["accounts"])}""")
    con.execute("create temp table clients as select distinct client_id from accounts")
    con.execute(f"""
        create temp table payments as
        select n, lpad(n::varchar, 9, '0') as ref, "at", sender, receiver, amount as sender_amount,
               amount as receiver_amount, channel, is_sar
        from (
            select file_row_number + 1 as n, date '{FIRST_DAY}' + step::integer as "at",
                   case when nameOrig::bigint >= 0 then nameOrig::varchar end as sender,
                   case when nameDest::bigint >= 0 then nameDest::varchar end as receiver,
                   amount::decimal(18, 2) as amount, isSAR::integer = 1 as is_sar,
                   {value_map('"type"', CHANNELS, "'other'")} as channel
            from read_parquet('{log}', file_row_number=true)
            where "type" <> 'INITALBALANCE'
        )""")
    typology = "null::varchar"
    if "alert_models" in files:
        con.execute(f"""
            create temp table patterns as
            select accountID as client_id, string_agg(distinct "type", ',' order by "type") as typology
            from {csv_source(files["alert_models"])} group by accountID""")
        typology = "(select p.typology from patterns p where p.client_id = e.client_id)"
    con.execute("""
        create temp table laundering as
        select ref, sender, receiver, null::varchar as typology from payments where is_sar""")
    con.execute("""
        create temp table first_events as
        select client_id, min("at") as event_date
        from (select sender as client_id, "at" from payments where is_sar
              union all select receiver, "at" from payments where is_sar)
        where client_id in (select client_id from clients)
        group by client_id""")
    con.execute(f"create temp table events as select client_id, event_date, {typology} as typology from first_events e")
    con.execute("""
        create temp table undated as
        select client_id from accounts where is_sar and client_id not in (select client_id from events)""")
    write_sides(con, draft, channel=True)
    draft.write(
        con,
        "client_profiles",
        "select client_id, 'household' as industry, 'individual' as size_bucket, "
        "(salary * 12)::decimal(18, 2) as expected_turnover from accounts",
        "client_id",
    )
    write_labels(con, draft, config.reporting_delay_days)
    write_laundering(con, draft)
    no_profile = "AMLGentex accounts carry no such attribute"
    draft.not_available |= {
        "counterparty_country": "AMLGentex has no countries",
        "counterparty_sector": "AMLGentex has no sectors of economy",
        "currency": "AMLGentex names no currency",
        "geography": "the cities of AMLGentex are invented",
        "onboarding_date": "daysInBank starts at 1 for every account: the start of the simulation",
        "account_age_months": "AGE is the age of a person, not of an account",
        "blacklist": "AMLGentex has no lists of sanctioned or blocked parties",
        "fx_rates": "AMLGentex pays in one currency",
        "dispositions": "AMLGentex has no worked alerts",
        **dict.fromkeys(
            (
                "occupation",
                "risk_rating",
                "pep_flag",
                "sanctions_flag",
                "country_risk_score",
                "industry_risk_score",
            ),
            no_profile,
        ),
    }
    left_out = con.execute(f"select count(*) from read_parquet('{log}') where \"type\" = 'INITALBALANCE'").fetchone()
    draft.notes += [
        f"Steps are days; step 0 is {FIRST_DAY}. The log has no time of day.",
        f"{left_out[0] if left_out else 0} INITALBALANCE rows set balances and are left out: they are no payments.",
        "Payments from the source (-2) or to the sink (-1) have no counterparty id: these stand for the world outside.",
        "Amounts are rounded to cents. Accounts have a salary and an age: they are private persons.",
        "Expected turnover is 12 monthly salaries; the simulation pays one every 28 days.",
        "Event of an account: its first payment with isSAR, as sender or receiver.",
    ]


ADAPTER = Adapter("amlgentex", "AMLGentex transaction log and accounts", find, build)
