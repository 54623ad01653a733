"""A published score is rebuilt to the last bit, and what arrives later changes the next score, never that one.

A second delivery reaches a copy of the tiny bank: a week of ordinary payments, so that there is a new as-of week, and
for one client large payments of weeks ago that the bank learned of only now. The main job takes it in; then the score
of the week before is rebuilt from a warehouse that holds both deliveries.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from chain import Run, bcrs, call

pytestmark = pytest.mark.slow

LATE_PAYMENTS = 6


@dataclass(frozen=True)
class Late:
    """The bank before and after the second delivery, and what it was about."""

    before: Run
    after: Run
    client: str
    day: date
    output: str


def second_delivery(transactions: pl.DataFrame, client: str, day: date) -> pl.DataFrame:
    """The last week again, a week later; and six large payments of ``client`` of three weeks before ``day``."""
    last = transactions["txn_date"].max()
    assert isinstance(last, datetime)
    week = transactions.filter(pl.col("txn_date") > last - timedelta(days=7)).with_columns(
        txn_id=pl.format("L{}", "txn_id"),
        txn_date=pl.col("txn_date") + timedelta(days=7),
        ingested_at=pl.col("ingested_at") + timedelta(days=7),
    )
    one = transactions.filter((pl.col("client_id") == client) & (pl.col("direction") == "outbound")).head(1)
    start = datetime(day.year, day.month, day.day) - timedelta(days=21)
    forgotten = pl.concat([one] * LATE_PAYMENTS).with_columns(
        txn_id=pl.Series([f"F{i}" for i in range(LATE_PAYMENTS)]),
        amount=pl.lit(9_500.0).cast(transactions.schema["amount"]),
        txn_date=pl.Series([start + timedelta(days=i) for i in range(LATE_PAYMENTS)]),
        ingested_at=pl.lit(last + timedelta(days=2)),
    )
    return pl.concat([part.select(transactions.columns).cast(transactions.schema) for part in (week, forgotten)])


@pytest.fixture(scope="module")
def late(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Late:
    folder = tmp_path_factory.mktemp("late") / "data"
    shutil.copytree(tiny_run.folder, folder)
    newest = tiny_run.scores()["as_of_date"].max()
    assert isinstance(newest, date)
    transactions = pl.read_parquet(folder / "landing" / "transactions.parquet")
    # somebody ordinary in the middle of the list, who has paid before and whose payments the bank knew at once
    ranked = tiny_run.scores().filter(pl.col("as_of_date") == newest).sort("rank_in_week_count")
    paying = transactions.filter(pl.col("direction") == "outbound")["client_id"].unique().to_list()
    waiting = transactions.filter(pl.col("ingested_at") >= newest)["client_id"].unique().to_list()
    fitting = ranked.filter(pl.col("client_id").is_in(paying), ~pl.col("client_id").is_in(waiting))["client_id"]
    client = fitting[len(fitting) // 2]
    second_delivery(transactions, client, newest).write_parquet(folder / "landing" / "transactions_late.parquet")
    run = bcrs(folder, "run", "--profile", "tiny")
    assert run.code == 0, run.output[-4000:]
    return Late(tiny_run, run, client, newest, run.output)


def replayed(run: Run, client: str, day: date) -> dict[str, Any]:
    answer = bcrs(run.folder, "replay", "--client", client, "--as-of", str(day), "--json")
    assert answer.code == 0, answer.output[-3000:]
    found: dict[str, Any] = json.loads(answer.output[answer.output.index("{") :])
    return found


def test_late_rows_leave_every_old_score_as_it_was(late: Late) -> None:
    old = late.before.warehouse("from scores.client_scores order by client_id, as_of_date")
    new = late.after.warehouse("from scores.client_scores order by client_id, as_of_date")
    assert new["as_of_date"].max() == late.day + timedelta(days=7)
    assert new.filter(pl.col("as_of_date") <= late.day).equals(old, null_equal=True)
    arrived = late.after.warehouse("select count(*) from intermediate.int_transactions where txn_id like '%F_'")
    assert arrived.item() >= LATE_PAYMENTS


def test_a_week_later_the_old_score_is_rebuilt_to_the_last_bit_and_the_late_rows_are_explained(late: Late) -> None:
    found = replayed(late.after, late.client, late.day)
    assert found["is_equal"]
    assert found["equal_clients"] == found["clients"] > 200
    stored = late.before.warehouse(
        f"select bcrs_score from scores.client_scores where client_id = '{late.client}' and as_of_date = '{late.day}'"
    ).item()
    assert found["published"]["bcrs_score"] == found["rebuilt"]["bcrs_score"] == stored
    assert found["changed"] == []
    assert found["late_transactions"] == LATE_PAYMENTS
    assert found["late_amount_base"] > 9_000 * LATE_PAYMENTS * 0.5
    moved = {m["feature"]: m for m in found["features_moved"]}
    total = moved["p1_outflow_sum_30d_base"]
    assert total["after"] - total["before"] == pytest.approx(found["late_amount_base"], rel=1e-6)
    assert found["pillars_moved"]


def test_the_new_week_counts_the_late_rows(late: Late) -> None:
    week = late.day + timedelta(days=7)
    found = replayed(late.after, late.client, week)
    assert found["is_equal"]
    assert found["equal_clients"] == found["clients"]
    assert found["late_transactions"] == 0
    total = late.after.warehouse(
        "select p1_outflow_sum_30d_base from features.feat_p1_volume_velocity "
        f"where client_id = '{late.client}' and as_of_date = '{week}'"
    ).item()
    assert total > 9_000 * LATE_PAYMENTS * 0.5


def test_the_ledger_keeps_what_was_published(late: Late) -> None:
    before = {p.name: p.read_bytes() for p in (late.before.folder / "published").glob("*.parquet")}
    after = {p.name: p.read_bytes() for p in (late.after.folder / "published").glob("*.parquet")}
    assert before
    assert set(after) - set(before) == {f"{late.day + timedelta(days=7)}.001.parquet"}
    assert {name: after[name] for name in before} == before


def test_the_second_training_was_judged_against_the_champion(late: Late) -> None:
    record = late.after.warehouse("from models.promotions order by decision_number, gate")
    assert record["decision_number"].unique().sort().to_list() == [1, 2]
    first = late.before.warehouse("select distinct model_id from scores.client_scores").item()
    second = record.filter(pl.col("decision_number") == 2)
    assert set(second["champion_before"]) == {first}
    assert {"not_worse", "stable_distribution", "stable_ranking"} <= set(second["gate"])
    decision = second.filter(pl.col("gate") == "decision").row(0, named=True)
    scoring = late.after.marts("select model_id from marts.fct_client_scores order by as_of_date desc limit 1").item()
    assert scoring == (decision["model_id"] if decision["is_promoted"] else first)
    assert late.after.summary()["model"]["decision"] == decision["explanation"]
    assert "champion" in late.output.lower()


def test_a_score_changed_by_hand_is_found(late: Late) -> None:
    path = late.after.folder / "published" / f"{late.day}.001.parquet"
    kept = path.read_bytes()
    rows = pl.read_parquet(path)
    rows.with_columns(
        bcrs_score=pl.when(pl.col("client_id") == late.client).then(pl.col("bcrs_score") + 1e-9).otherwise("bcrs_score")
    ).write_parquet(path)
    try:
        answer = bcrs(late.after.folder, "replay", "--client", late.client, "--as-of", str(late.day))
    finally:
        path.write_bytes(kept)
    assert answer.code == 1
    assert "published as" in answer.output
    assert "rebuilt as" in answer.output


@pytest.mark.parametrize(
    ("client", "day", "says"),
    [("nobody", None, "had no score"), ("C1", "2019-01-07", "No scores were published"), ("C1", "x", "is no date")],
)
def test_what_cannot_be_replayed_is_refused_in_words(late: Late, client: str, day: str | None, says: str) -> None:
    answer = bcrs(late.before.folder, "replay", "--client", client, "--as-of", day or str(late.day))
    assert answer.code == 1
    assert says in answer.output
    assert "Traceback" not in answer.output


UNIT_CHANGE = """
import sys
from pathlib import Path
from apps.cli import _environment
_environment("tiny")
import duckdb
from datetime import date
import orchestration.replay as replay
from ml_assets.models.support import judge_week, measure_week
from orchestration.defs.resources import CONFIG
from orchestration.defs.scoring_gate import scoring_model

day, factor = date.fromisoformat(sys.argv[1]), float(sys.argv[2])
run_dbt = replay._run_dbt

def with_another_unit(warehouse):
    with duckdb.connect(str(warehouse)) as con:
        con.execute(
            "update staging.stg_transactions set amount = amount * ?, amount_base = amount_base * ? "
            "where currency = 'USD' and txn_date >= ?::date - 28", [factor, factor, day])
    run_dbt(warehouse)

replay._run_dbt = with_another_unit
model = scoring_model()
week = replay.rebuild_week(model, day, None)
measured = measure_week(model.support, week.features, day, CONFIG.governance)
judged = judge_week(measured, model.plan, model.model_id, CONFIG.governance)
print("OUTSIDE", measured["outside_ratio"], measured["clients_outside_ratio"], judged["problems"] is None)
"""


@pytest.mark.parametrize(("factor", "may_score"), [(1, True), (100, False)])
def test_a_unit_change_of_one_currency_stops_the_score(tiny_run: Run, tmp_path, factor: int, may_score: bool) -> None:
    import sys

    copy = shutil.copytree(tiny_run.folder, tmp_path / "copy")
    day = tiny_run.scores()["as_of_date"].max()
    done = call(copy, sys.executable, "-c", UNIT_CHANGE, str(day), str(factor))
    assert done.code == 0, done.output[-3000:]
    line = next(line for line in done.output.splitlines() if line.startswith("OUTSIDE"))
    assert line.split()[-1] == str(may_score), line
