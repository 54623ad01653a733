"""The input contract: entities, their columns, and which of them a run cannot do without.

The same list serves adapters, the check of a user's folder and raw ingestion, so that a column is
named in one place.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".parquet", ".csv", ".csv.gz")
"""File formats that are read, by the end of the name."""


@dataclass(frozen=True)
class InputEntity:
    """One kind of input file.

    Attributes
    ----------
    name : start of the file's name and name of the table in schema ``raw``.
    columns : all contract columns, in order.
    required : columns without which no row of it means anything.
    is_required : the run stops where no such file is found.
    bookkeeping : optional columns whose absence weakens no feature and is therefore not reported.
    """

    name: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    is_required: bool = False
    bookkeeping: tuple[str, ...] = ()


ENTITIES: dict[str, InputEntity] = {
    entity.name: entity
    for entity in (
        InputEntity(
            "transactions",
            (
                "txn_id",
                "client_id",
                "txn_date",
                "amount",
                "direction",
                "counterparty_id",
                "counterparty_country",
                "counterparty_sector",
                "channel",
                "currency",
                "ingested_at",
            ),
            required=("client_id", "txn_date", "amount", "direction"),
            is_required=True,
            bookkeeping=("txn_id", "ingested_at"),
        ),
        InputEntity(
            "client_profiles",
            (
                "client_id",
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
                "valid_from",
            ),
            required=("client_id",),
            is_required=True,
            bookkeeping=("valid_from",),
        ),
        InputEntity(
            "str_labels",
            ("client_id", "str_flag", "str_date"),
            required=("client_id", "str_flag", "str_date"),
            is_required=True,
        ),
        InputEntity(
            "blacklist",
            ("entity_id", "entity_type", "list_name", "reason", "listed_date"),
            required=("entity_id",),
        ),
        InputEntity(
            "fx_rates",
            ("currency", "rate_date", "rate_to_base"),
            required=("currency", "rate_date", "rate_to_base"),
        ),
        InputEntity(
            "dispositions",
            ("alert_id", "client_id", "outcome", "decided_at", "decided_by"),
            required=("alert_id", "client_id", "outcome"),
        ),
    )
}


def entity_of(path: Path) -> InputEntity | None:
    """Entity a file belongs to by its name; None for files that are none of ours.

    >>> entity_of(Path("transactions_2024-07.csv.gz")).name
    'transactions'
    >>> entity_of(Path("notes.csv")) is None
    True
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        return None
    return next((entity for entity in ENTITIES.values() if name.startswith(entity.name)), None)


def nearest(name: str, candidates: list[str]) -> str | None:
    """The candidate that looks most like ``name``, or None if none is close.

    >>> nearest("client_id", ["Client-Number", "clientid", "amount"])
    'clientid'
    """
    plain = {candidate.lower().replace(" ", "_").replace("-", "_"): candidate for candidate in candidates}
    found = difflib.get_close_matches(name, list(plain), n=1, cutoff=0.6)
    return plain[found[0]] if found else None
