"""Nothing that happens on or after an as-of date, or becomes known from then on, changes a result of that date.

The whole chain up to the features runs a second time on a copy of the tiny bank's files in which the future of one
as-of date was rewritten in every way there is. Features, windows, labels and scores up to that date must be equal to
the last bit. The calendar's weeks are kept the same (the first and the last day keep their rows), so both runs
compute all weeks and the later ones do differ.

The tsfresh characteristics of P3 are chosen by a test on training weeks and then frozen with the model; the second
run is given the choice of the first, as a bank's second run would be, because a choice made anew from other labels
means other columns, not other values.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from chain import Run, call

pytestmark = pytest.mark.slow

CUT = date(2024, 10, 28)
"""The as-of date whose future is rewritten: late enough for full windows, early enough for weeks after it."""

PROGRAM = """
import shutil, sys
from pathlib import Path
from apps.cli import _environment
source, reference = sys.argv[1], Path(sys.argv[2])
_environment("tiny", source)
import dagster as dg, duckdb
from ml_assets.contracts.tables import TSFRESH_SELECTION
from orchestration.definitions import defs
from orchestration.defs.partitions import AS_OF_WEEKS
from orchestration.defs.resources import SETTINGS, Warehouse
from orchestration.defs.training import WORK

def run(instance, job, **tags):
    assert defs.resolve_job_def(job).execute_in_process(instance=instance, tags=tags).success

with dg.DagsterInstance.get() as instance:
    run(instance, "ingest")
    shutil.copytree(reference / "models" / "work" / "tsfresh", WORK / "tsfresh")
    with duckdb.connect(str(reference / "warehouse" / "bcrs.duckdb"), read_only=True) as con:
        frozen = con.sql("from models.tsfresh_selection order by slot").pl()
    Warehouse(path=str(SETTINGS.warehouse)).replace_table(TSFRESH_SELECTION, frozen)
    weeks = list(instance.get_dynamic_partitions(AS_OF_WEEKS.name))
    span = {"dagster/asset_partition_range_start": weeks[0], "dagster/asset_partition_range_end": weeks[-1]}
    run(instance, "backfill", **span)
"""

FEATURES = ("p1_volume_velocity", "p2_network", "p3_temporal", "p4_typology", "p5_profile", "p6_scheme")


def rewrite_future(transactions: pl.DataFrame) -> pl.DataFrame:
    """Delete, change and add rows on or after the cut, and add older rows that became known only then."""
    cut = datetime(CUT.year, CUT.month, CUT.day)
    last_day = transactions["txn_date"].max().date()
    rows = transactions.with_row_index("n")
    is_late = pl.col("txn_date") >= cut
    # every fourth late row goes, but not on the last day: it decides which weeks there are
    kept = rows.filter(~(is_late & (pl.col("n") % 4 == 0) & (pl.col("txn_date").dt.date() < last_day)))
    changed = kept.with_columns(
        amount=pl.when(is_late & (pl.col("n") % 5 == 0)).then((pl.col("amount") * 7.31).round(2)).otherwise("amount"),
        counterparty_country=pl.when(is_late & (pl.col("n") % 7 == 0))
        .then(pl.lit("AF"))
        .otherwise("counterparty_country"),
        direction=pl.when(is_late & (pl.col("n") % 11 == 0)).then(pl.lit("inbound")).otherwise("direction"),
    )
    source = rows.filter(pl.col("n") % 17 == 0)
    # names that sort before and between the old ones, so that every integer code in memory shifts
    renamed = source.with_columns(
        txn_id=pl.format("A{}", "txn_id"),
        counterparty_id=pl.format("A{}", pl.col("counterparty_id").fill_null("x")),
        counterparty_country=pl.lit("AD"),
        counterparty_sector=pl.lit("agriculture"),
    )
    added = renamed.filter(is_late)
    strangers = added.head(40).with_columns(txn_id=pl.format("N{}", "txn_id"), client_id=pl.lit("A0000000"))
    early = renamed.filter(~is_late)
    # known exactly at the cut is too late as well: a row counts where known_date < D
    arrived_late = early.with_columns(
        ingested_at=pl.lit(cut) + pl.duration(days=(pl.col("n") % 3).cast(pl.Int64)),
        amount=(pl.col("amount") + 9_000).round(2),
    )
    # a conflicting copy of a known id that arrives later must not push the first one out
    copies = source.filter(~is_late & (pl.col("ingested_at") < cut)).with_columns(
        amount=(pl.col("amount") * 3).round(2), ingested_at=pl.lit(cut + timedelta(days=1))
    )
    parts = [changed, added, strangers, arrived_late, copies]
    assert all(part.height > 30 for part in parts)
    return pl.concat([part.select(transactions.columns).cast(transactions.schema) for part in parts])


def rewrite_profiles(profiles: pl.DataFrame) -> pl.DataFrame:
    """Other lives from the cut on, for every third client."""
    newest = profiles.sort("client_id", "valid_from").unique("client_id", keep="last", maintain_order=True)
    later = newest.gather_every(3).with_columns(
        industry=pl.lit("casino"),
        size_bucket=pl.lit("large"),
        risk_rating=pl.lit("high"),
        expected_turnover=pl.col("expected_turnover") * 50,
        valid_from=pl.lit(CUT),
    )
    before = profiles.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") < CUT))
    return pl.concat([before, later.select(profiles.columns).cast(profiles.schema)])


def rewrite_labels(labels: pl.DataFrame) -> pl.DataFrame:
    """Reports after the cut disappear and others appear, the newest day's included so that the calendar stays."""
    kept = labels.with_columns(
        str_flag=pl.when(pl.col("str_date") >= CUT).then(0).otherwise("str_flag"),
        str_date=pl.when(pl.col("str_date") < CUT).then("str_date"),
    )
    new = labels.gather_every(13).with_columns(str_flag=1, str_date=pl.lit(CUT + timedelta(days=2)))
    return pl.concat([kept, new.select(labels.columns).cast(labels.schema)])


def rewrite_rates(rates: pl.DataFrame) -> pl.DataFrame:
    late = pl.col("rate_date") >= CUT
    return rates.with_columns(rate_to_base=pl.when(late).then(pl.col("rate_to_base") * 2).otherwise("rate_to_base"))


@dataclass(frozen=True)
class Pair:
    """The same bank twice: as it was, and with another future."""

    original: Run
    rewritten: Run

    def rows(self, sql: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of both warehouses."""
        return self.original.warehouse(sql), self.rewritten.warehouse(sql)


@pytest.fixture(scope="module")
def pair(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    source = tmp_path_factory.mktemp("rewritten_source")
    landing = tiny_run.folder / "landing"
    shutil.copyfile(landing / "source.json", source / "source.json")

    def write(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        change(pl.read_parquet(landing / f"{name}.parquet")).write_parquet(source / f"{name}.parquet")

    write("transactions", rewrite_future)
    write("client_profiles", rewrite_profiles)
    write("str_labels", rewrite_labels)
    write("fx_rates", rewrite_rates)
    listed = pl.read_parquet(source / "transactions.parquet")["counterparty_id"].drop_nulls().unique().sort()

    def list_more(blacklist: pl.DataFrame) -> pl.DataFrame:
        more = pl.DataFrame({"entity_id": listed.gather_every(9)}).with_columns(
            entity_type=pl.lit("person"), list_name=pl.lit("later"), reason=pl.lit("later"), listed_date=pl.lit(CUT)
        )
        known = set(blacklist["entity_id"])
        return pl.concat([blacklist, more.filter(~pl.col("entity_id").is_in(known)).cast(blacklist.schema)])

    write("blacklist", list_more)
    run = call(
        tmp_path_factory.mktemp("rewritten"), sys.executable, "-c", PROGRAM, f"folder:{source}", str(tiny_run.folder)
    )
    assert run.code == 0, run.output[-4000:]
    return Pair(tiny_run, run)


def assert_same(original: pl.DataFrame, rewritten: pl.DataFrame, what: str) -> None:
    assert original.height > 0, what
    assert original.columns == rewritten.columns, what
    keys = ["client_id", "as_of_date"]
    assert original.select(keys).equals(rewritten.select(keys)), f"{what}: other clients or weeks"
    differing = [c for c in original.columns if not original[c].equals(rewritten[c], null_equal=True)]
    assert not differing, f"{what}: {differing}"


def until_cut(address: str) -> str:
    return f"from {address} where as_of_date <= date '{CUT}' order by client_id, as_of_date"


def test_the_future_was_rewritten(pair: Pair) -> None:
    count = f"select count(*) from intermediate.int_transactions where txn_date >= date '{CUT}'"
    original, rewritten = pair.rows(count)
    assert original.item() != rewritten.item()
    weeks, same_weeks = pair.rows("select as_of_date from intermediate.as_of_weeks order by 1")
    assert weeks.equals(same_weeks)
    late = pair.rows("select count(*) from intermediate.int_transactions where txn_at < known_date - 30")
    assert late[0].item() < late[1].item()


@pytest.mark.parametrize("pillar", FEATURES)
def test_the_rewritten_future_shows_in_later_weeks(pair: Pair, pillar: str) -> None:
    original, rewritten = pair.rows(
        f"from features.feat_{pillar} where as_of_date > date '{CUT}' and client_id in "
        "(select client_id from intermediate.int_client_days) order by client_id, as_of_date"
    )
    assert not original.equals(rewritten, null_equal=True)


@pytest.mark.parametrize("pillar", FEATURES)
def test_features_of_earlier_dates_are_unchanged(pair: Pair, pillar: str) -> None:
    assert_same(*pair.rows(until_cut(f"features.feat_{pillar}")), pillar)


@pytest.mark.parametrize("table", ["int_client_windows", "int_client_weeks"])
def test_windows_and_profiles_of_earlier_dates_are_unchanged(pair: Pair, table: str) -> None:
    assert_same(*pair.rows(until_cut(f"intermediate.{table}")), table)


@pytest.mark.parametrize("table", ["typology_hits", "scheme_hits", "blacklist_paths", "peer_groups", "peer_normals"])
def test_evidence_of_earlier_dates_is_unchanged(pair: Pair, table: str) -> None:
    original, rewritten = pair.rows(f"from features.{table} where as_of_date <= date '{CUT}' order by all")
    assert original.height > 0
    assert original.equals(rewritten, null_equal=True)


def test_labels_known_at_the_cut_are_unchanged(pair: Pair) -> None:
    horizon = pair.original.warehouse("select horizon_days from intermediate.calendar_plan").item()
    known = (
        "select client_id, as_of_date, is_str_within_horizon, has_prior_str from intermediate.int_client_labels "
        f"where as_of_date <= date '{CUT}' - {horizon} order by 1, 2"
    )
    original, rewritten = pair.rows(known)
    assert original["is_str_within_horizon"].sum() > 0
    assert_same(original, rewritten, "labels")
    changed = pair.rows(f"from intermediate.int_client_labels where as_of_date = date '{CUT}' order by client_id")
    assert not changed[0].equals(changed[1], null_equal=True)


def test_scores_at_the_cut_are_unchanged_under_the_same_champion(pair: Pair) -> None:
    from ml_assets.models.pipeline import score_weeks
    from ml_assets.models.registry import load_champion

    champion = load_champion(pair.original.folder / "models")
    query = "from features.feat_{} where as_of_date between date '{}' - {} and date '{}' order by client_id, as_of_date"
    memory = 7 * champion.config.models.memory_weeks
    both = [
        score_weeks(
            champion,
            {p: run.warehouse(query.format(p, CUT, 0 if p == "p6_scheme" else memory, CUT)) for p in FEATURES},
        )
        for run in (pair.original, pair.rewritten)
    ]
    assert_same(both[0].wide, both[1].wide, "pillar scores")
    assert_same(both[0].scores, both[1].scores, "scores")
    stored = pair.original.warehouse(
        f"select client_id, as_of_date, bcrs_score from scores.client_scores where as_of_date = date '{CUT}' order by 1"
    )
    assert_same(stored, both[1].scores.sort("client_id").select(stored.columns), "stored scores")
