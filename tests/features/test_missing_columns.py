"""A source without countries, sectors and channels: what needs them is null with its reason, the rest is untouched."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from ml_assets.config import FeatureConfig
from ml_assets.features import catalogue, p4_typology, p5_profile, p6_scheme
from ml_assets.features.history import TRANSACTION_COLUMNS, build_history, build_spine

D = date(2024, 7, 1)
CLIENTS = [f"C{k:02d}" for k in range(12)]
MISSING = {
    "counterparty_country": "the file has no countries",
    "counterparty_sector": "the file has no sectors",
    "channel": "the file has no channels",
}
CONTRACTS = [p4_typology.CONTRACT, p5_profile.CONTRACT, p6_scheme.CONTRACT]


def transactions() -> pl.DataFrame:
    rows = []
    for k, client in enumerate(CLIENTS):
        for n in range(24):
            at = datetime(D.year, D.month, D.day) - timedelta(days=3.7 * n + 0.3 * k + 0.2)
            rows.append(
                {
                    "txn_id": f"T{k:02d}{n:02d}",
                    "client_id": client,
                    "counterparty_id": f"P{(k + n) % 7}",
                    "counterparty_country": ("NL", "DE", "HK")[n % 3],
                    "counterparty_sector": ("retail", "real_estate", "casino")[n % 3],
                    "channel": ("wire", "cash", "card", "draft")[n % 4],
                    "currency": "EUR",
                    "direction": "inbound" if n % 2 else "outbound",
                    "amount_base": Decimal(300 + 37 * n + 11 * k),
                    "is_counterparty_client": False,
                    "is_time_known": True,
                    "txn_at": at,
                    "known_date": at.date(),
                    "counterparty_listed_date": None,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"counterparty_listed_date": pl.Date}).select(TRANSACTION_COLUMNS)


def build(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The three pillars on one week, by contract address."""
    grain = pl.DataFrame({"client_id": CLIENTS, "as_of_date": [D] * len(CLIENTS)})
    profiles = grain.with_columns(
        industry=pl.Series(["household", "import_export"] * 6),
        occupation=pl.Series(["student", None] * 6),
        geography=pl.lit("NL"),
        size_bucket=pl.lit("small"),
        expected_turnover=pl.lit(30_000.0),
        account_age_days=pl.lit(400),
        history_days=pl.lit(90),
    )
    sums = {f"{d}_sum_{w}d_base": pl.lit(9_000.0) for d in ("inflow", "outflow") for w in (30, 90)}
    windows = grain.with_columns(
        **sums,
        **{f"{d}_count_90d": pl.lit(12) for d in ("inflow", "outflow")},
        **{f"{d}_max_90d_base": pl.lit(900.0) for d in ("inflow", "outflow")},
        active_days_90d_count=pl.lit(20),
        baseline_weeks_count=pl.lit(40),
        baseline_inflow_sum_base=pl.lit(20_000.0),
    )
    countries = pl.DataFrame(
        [(s.value, name, "HK") for name, s in p6_scheme.COUNTRY_LISTS.items()],
        schema=["scheme", "list_name", "iso2"],
        orient="row",
    )
    sectors = pl.DataFrame(
        [(s.value, name, "casino") for name, s in p6_scheme.SECTOR_LISTS.items()],
        schema=["scheme", "list_name", "sector"],
        orient="row",
    )
    config = FeatureConfig(peer_minimum_clients=5)
    history = build_history(frame)
    spine = build_spine(history, grain)
    p6 = {"scheme_countries": countries, "scheme_sectors": sectors}
    return {
        p4_typology.CONTRACT.address: p4_typology.build(history, spine, config),
        p5_profile.CONTRACT.address: p5_profile.build(history, spine, config, profiles=profiles, windows=windows),
        p6_scheme.CONTRACT.address: p6_scheme.build(history, spine, config, profiles=profiles, windows=windows, **p6),
    }


@pytest.fixture(scope="module")
def full() -> pl.DataFrame:
    return catalogue.describe(CONTRACTS, build(transactions()))


@pytest.fixture(scope="module")
def lacking() -> pl.DataFrame:
    return catalogue.describe(CONTRACTS, build(transactions().with_columns(pl.lit(None).alias(c) for c in MISSING)))


def needs_missing() -> pl.Expr:
    needs = pl.col("requires").fill_null("").str.split(", ")
    return pl.any_horizontal([needs.list.contains(c) for c in MISSING])


def test_what_needs_a_missing_column_is_null_and_nothing_else_is_lost(
    full: pl.DataFrame, lacking: pl.DataFrame
) -> None:
    both = full.join(lacking, on="feature", suffix="_lacking")
    assert both.filter(needs_missing()).height > 30
    assert both.filter(needs_missing() & (pl.col("null_ratio_lacking") < 1))["feature"].to_list() == []
    # what does not need one has the same values as before; counts of computable indicators fall, as they must
    rest = both.filter(
        ~needs_missing() & ~pl.col("feature").str.contains("_computable_count|_fired_count|_evidence_ratio")
    )
    changed = rest.filter(
        pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_lacking")) for c in ("null_ratio", "mean", "median"))
    )
    assert rest.height > 60
    assert changed["feature"].to_list() == []


def test_a_feature_that_is_there_with_the_columns_is_not_null_for_everybody(full: pl.DataFrame) -> None:
    # the test above would hold vacuously where everything is null anyway
    assert full.filter(needs_missing() & (pl.col("null_ratio") < 1)).height > 30


def test_the_report_names_the_weakened_pillars_and_why(lacking: pl.DataFrame) -> None:
    out = catalogue.weakened(lacking, MISSING)
    by_reason = out.filter(pl.col("column_name").is_in(list(MISSING)))
    assert set(by_reason["pillar"]) == {"p4_typology", "p5_profile", "p6_scheme"}
    assert dict(by_reason.select("column_name", "reason").iter_rows()) == MISSING
    channels = by_reason.filter((pl.col("pillar") == "p4_typology") & (pl.col("column_name") == "channel")).row(
        0, named=True
    )
    assert channels["null_count"] == sum("channel" in c.requires for c in p4_typology.CONTRACT.features)
    assert channels["feature_count"] == len(p4_typology.CONTRACT.features)
    countries = by_reason.filter(
        (pl.col("pillar") == "p4_typology") & (pl.col("column_name") == "counterparty_country")
    )
    assert countries["features"].to_list() == ["p4_funnel_sender_country_30d_count"]
