"""Window features: the dbt model and the compiled passes against other SQL and pandas; one new week.

Additive windows are the model ``int_client_windows`` as dbt builds it (see ``models.py``). Everything that does not
add up (medians, deviations, concentration, distinct counterparties, entropies) is read into Python by the same
functions the assets use and computed by the pillars' code; that reading is part of the measured time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import models, world
from benchmarks.record import Recorder, Row, timed
from ml_assets.config import FeatureConfig
from ml_assets.features import graph as graphs
from ml_assets.features import p1_volume_velocity as p1
from ml_assets.features import p2_network as p2
from ml_assets.features import p3_temporal as p3
from ml_assets.features.history import History, Spine
from orchestration.defs import reading
from orchestration.defs.resources import Warehouse

WEEKS: Final = 26
LAST_WEEK: Final = date(2023, 12, 25)
ALL: Final = "all window features of P1, P3 and degrees, HHI of P2"
PANDAS_CLIENTS: Final = 100
"""Clients of the pandas sample: a groupby with rolling windows takes hours on all of them."""

JURISDICTIONS: Final = pl.DataFrame({"iso2": ["IR", "MM", "PA"], "fatf_black": [True, True, False]})


def backfill_weeks() -> list[date]:
    """The as-of dates of the backfill, oldest first."""
    return [LAST_WEEK - timedelta(days=7 * k) for k in reversed(range(WEEKS))]


def request(warehouse: Warehouse, weeks: list[date]) -> None:
    """Say which weeks the weekly models compute."""
    with warehouse.connect() as con:
        con.execute("create or replace table intermediate.requested_weeks (as_of_date date)")
        con.executemany("insert into intermediate.requested_weeks values (?)", [[w] for w in weeks])


def create(warehouse: Warehouse, target: str, sql: str) -> None:
    """Replace a table by the result of ``sql``, as dbt's first run does."""
    with warehouse.connect() as con:
        con.execute(f"create or replace table {target} as {sql}")


def prepare(path: Path, rows: int, days: int = 365) -> Warehouse:
    """A warehouse with the world, the daily table, first transactions and the spine; made unless it is there."""
    warehouse = Warehouse(path=str(path))
    if warehouse.exists(models.address("int_client_weeks")):
        request(warehouse, backfill_weeks())
        return warehouse
    with warehouse.connect() as con:
        world.fill(con, rows, days)
    request(warehouse, backfill_weeks())
    for model in ("int_client_days", "int_client_first_txns", "int_client_weeks"):
        create(warehouse, models.address(model), models.render(model))
    return warehouse


def _additive(condition: Callable[[int], str], windows: tuple[int, ...] = (7, 30, 90)) -> str:
    """Counts, sums, largest amounts and cash sums, both directions, for each window; money in cents."""
    parts = []
    for w in windows:
        inside = condition(w)
        for d, way in (("inflow", "inbound"), ("outflow", "outbound")):
            there = f"{inside} and direction = '{way}'"
            parts += [
                f"sum(case when {there} then 1 else 0 end) as {d}_count_{w}d",
                f"sum(case when {there} then cents else 0 end) as {d}_sum_{w}d_base",
                f"max(case when {there} then cents end) as {d}_max_{w}d_base",
                f"sum(case when {there} and is_cash then cents else 0 end) as cash_{d}_sum_{w}d_base",
            ]
    return ",\n".join(parts)


_RAW: Final = """
    select t.client_id, t.direction, t.txn_date, t.known_date, coalesce(t.channel in ('cash', 'atm'), false) as is_cash,
           cast(t.amount_base * 100 as bigint) as cents
    from intermediate.int_transactions t"""

INTERVAL_JOIN: Final = f"""
    with raw as ({_RAW})
    select client_id, as_of_date, {_additive(lambda w: f"txn_date >= as_of_date - {w}")}
    from raw join intermediate.requested_weeks
      on txn_date >= as_of_date - 90 and txn_date < as_of_date and known_date < as_of_date
    group by client_id, as_of_date"""

INTERVAL_JOIN_BY_DAY: Final = f"""
    with raw as ({_RAW}),
    days as (
        select client_id, as_of_date, txn_date, as_of_date - txn_date as age,
            count(case when direction = 'inbound' then 1 end) as inflow_count,
            count(case when direction = 'outbound' then 1 end) as outflow_count,
            sum(case when direction = 'inbound' then cents else 0 end) as inflow_sum,
            sum(case when direction = 'outbound' then cents else 0 end) as outflow_sum,
            max(case when direction = 'inbound' then cents end) as inflow_max,
            max(case when direction = 'outbound' then cents end) as outflow_max,
            sum(case when direction = 'inbound' and is_cash then cents else 0 end) as cash_inflow_sum,
            sum(case when direction = 'outbound' and is_cash then cents else 0 end) as cash_outflow_sum
        from raw join intermediate.requested_weeks
          on txn_date >= as_of_date - 90 and txn_date < as_of_date and known_date < as_of_date
        group by client_id, as_of_date, txn_date
    )
    select client_id, as_of_date, {
    ", ".join(
        part
        for w in (7, 30, 90)
        for part in (
            *(
                f"sum(case when age <= {w} then {c} else 0 end) as {c}_{w}d{unit}"
                for c, unit in (
                    ("inflow_count", ""),
                    ("outflow_count", ""),
                    ("inflow_sum", "_base"),
                    ("outflow_sum", "_base"),
                    ("cash_inflow_sum", "_base"),
                    ("cash_outflow_sum", "_base"),
                )
            ),
            *(f"max(case when age <= {w} then {d}_max end) as {d}_max_{w}d_base" for d in ("inflow", "outflow")),
            f"count(case when age <= {w} then 1 end) as active_days_{w}d_count",
            f"max(case when age <= {w} then inflow_sum + outflow_sum else 0 end) as busiest_day_sum_{w}d_base",
        )
    )
}
    from days group by client_id, as_of_date"""

SCAN: Final = f"""
    with raw as ({_RAW})
    select client_id, {_additive(lambda _: "true")} from raw group by client_id"""


def additive(record: Recorder, warehouse: Warehouse, size: str) -> None:
    """Backfill of the additive windows against an interval join and against one plain scan of the same table."""
    sql = models.render("int_client_windows")
    target = models.address("int_client_windows")
    repeat = 2 if " 1,000,000 " in f" {size} " else 1
    _, whole = timed(lambda: create(warehouse, target, sql), repeat)
    # the windows without the 12-month baseline: the model's own text, read up to its CTE `windowed`; what is not
    # selected DuckDB does not compute
    windowed = sql.replace("select * from final", "select * from windowed")
    _, narrow = timed(lambda: create(warehouse, "intermediate.bench_windowed", windowed), repeat)
    days = models.render("int_client_days")
    _, daily = timed(lambda: create(warehouse, "intermediate.bench_days", days))
    record.memory("additive windows and the daily table", size)
    _, interval = timed(lambda: create(warehouse, "intermediate.bench_interval", INTERVAL_JOIN))
    _, scan = timed(lambda: create(warehouse, "intermediate.bench_scan", SCAN), repeat)
    _, by_day = timed(lambda: create(warehouse, "intermediate.bench_by_day", INTERVAL_JOIN_BY_DAY))
    equal, equal_by_day = (_same_cents(warehouse, peer, target) for peer in ("bench_interval", "bench_by_day"))
    record.add(
        Row(f"additive windows, backfill of {WEEKS} weeks", size, narrow,
            "SQL interval join on raw rows, the same 30 columns", by_day, equal=equal_by_day, target=2,
            note="counts, sums, largest, cash, active days, busiest day; the model up to its CTE windowed")
    )  # fmt: skip
    record.add(
        Row(f"additive windows, backfill of {WEEKS} weeks", size, narrow,
            "SQL interval join on raw rows, 24 of the columns", interval, equal=equal, target=2,
            note="the peer leaves out active days and the busiest day, which need a second grouping")
    )  # fmt: skip
    record.add(
        Row("additive windows with the 12-month baseline", size, whole,
            "SQL interval join on raw rows, the same 30 columns", by_day, equal=equal_by_day,
            note="the whole model int_client_windows; the peer has no baseline")
    )  # fmt: skip
    record.add(
        Row("additive windows and building the daily table", size, narrow + daily,
            "SQL interval join on raw rows, the same 30 columns", by_day, equal=equal_by_day,
            note="the daily table is built once per delivery, whatever weeks follow")
    )  # fmt: skip
    added = warehouse.read(
        f"select count(*) from {models.address('int_client_days')} join intermediate.requested_weeks "
        "on txn_date >= as_of_date - 90 and txn_date < as_of_date"
    ).item()
    record.add(
        Row(f"additive windows, backfill of {WEEKS} weeks", size, narrow, "plain scan and group of the same table",
            scan, target=1 / 15, note=f"{narrow / scan:.1f} times a scan of all rows; asked for: at most 15; a day "
            f"lies in up to 13 windows, so {added:,} client-days are added up in 30 columns, the scan has rows in 24")
    )  # fmt: skip
    with warehouse.connect() as con:
        for name in ("bench_windowed", "bench_days", "bench_interval", "bench_by_day", "bench_scan"):
            con.execute(f"drop table intermediate.{name}")


def _same_cents(warehouse: Warehouse, peer: str, target: str) -> bool:
    """Does every pair of the peer agree with the model's table in every column it has (the peer's money in cents)."""
    names = warehouse.read(f"select * exclude (client_id, as_of_date) from intermediate.{peer} limit 0").columns
    same = " and ".join(
        f"a.{c} is not distinct from " + (f"cast(b.{c} * 100 as bigint)" if c.endswith("base") else f"b.{c}")
        for c in names
    )
    pairs, agree = warehouse.read(f"""
        select count(*) as pairs, count(*) filter (b.client_id is not null and {same}) as agree
        from intermediate.{peer} a left join {target} b using (client_id, as_of_date)""").row(0)
    return bool(pairs) and pairs == agree


# --- what does not add up ---------------------------------------------------------------------------------------

_EXPANDED: Final = """
    with pairs as (
        select as_of_date, cast(as_of_date - age as date) as txn_date, age
        from intermediate.requested_weeks cross join (select cast(unnest(range(1, 91)) as integer) as age)
    ), seen as (
        select t.client_id, p.as_of_date, p.age, t.direction = 'inbound' as is_inbound, t.counterparty_id, t.txn_at,
               t.txn_date, t.amount_base::double as amount, cast(t.amount_base * 100 as bigint) as cents
        from intermediate.int_transactions t join pairs p on t.txn_date = p.txn_date and t.known_date < p.as_of_date
    )"""

SQL_ORDER: Final = (
    _EXPANDED
    + "select client_id, as_of_date, "
    + ", ".join(
        f"{f}(case when age <= {w} and is_inbound = {d == 'inflow'} then amount end) as p1_{d}_{n}_{w}d_base"
        for f, n in (("median", "median"), ("stddev_samp", "std"))
        for d in ("inflow", "outflow")
        for w in (7, 30, 90)
    )
    + " from seen group by client_id, as_of_date"
)

SQL_CONCENTRATION: Final = (
    _EXPANDED
    + """, flows as (
        select client_id, as_of_date, is_inbound, counterparty_id, sum(cents)::double as flow
        from seen group by all
    )
    select client_id, as_of_date,
        count(case when is_inbound then 1 end) as p2_degree_in_90d_count,
        count(case when not is_inbound then 1 end) as p2_degree_out_90d_count,
        sum(case when is_inbound then flow * flow end) / pow(sum(case when is_inbound then flow end), 2)
            as p2_counterparty_in_hhi_90d_ratio,
        sum(case when not is_inbound then flow * flow end) / pow(sum(case when not is_inbound then flow end), 2)
            as p2_counterparty_out_hhi_90d_ratio
    from flows group by client_id, as_of_date"""
)


def _entropy_sql(name: str, key: str) -> str:
    return (
        _EXPANDED
        + f""", counts as (
            select client_id, as_of_date, {key} as k, count(*)::double as c from seen group by all
        )
        select client_id, as_of_date, greatest(0, log2(sum(c)) - sum(c * log2(c)) / sum(c)) as {name}
        from counts group by client_id, as_of_date"""
    )


SQL_ENTROPIES: Final = (
    _entropy_sql("p3_hour_entropy_90d_bits", "hour(txn_at)"),
    _entropy_sql("p3_weekday_entropy_90d_bits", "isodow(txn_date)"),
    # the same classes: half powers of ten, edges rounded to cents
    _entropy_sql("p3_amount_entropy_90d_bits", " + ".join(f"(cents >= {e})::integer" for e in p3.AMOUNT_EDGES_CENTS)),
)


def _vertex(history: History, spine: Spine) -> pl.DataFrame:
    """Degrees and concentration of every pair: the graph of each week and its statistics, as P2 takes them."""
    nodes = graphs.index_nodes(history)
    node = p2._party_numbers(nodes, spine.client_id)
    wanted = {
        "p2_degree_in_90d_count": "in_degree",
        "p2_degree_out_90d_count": "out_degree",
        "p2_counterparty_in_hhi_90d_ratio": "in_hhi",
        "p2_counterparty_out_hhi_90d_ratio": "out_hhi",
    }

    def week(graph: graphs.WeekGraph, at: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        sides = graphs.side_statistics(graph, recent_days=())
        position = graph.positions(node[at])
        return {
            name: p2._read(sides[column].to_numpy().astype(np.float64), position, np.nan)
            for name, column in wanted.items()
        }

    return pl.DataFrame(p2.week_by_week(history, spine, nodes, 90, list(wanted), week))


def _close(found: pl.DataFrame, peer: pl.DataFrame, tolerance: float = 1e-9) -> tuple[bool, str]:
    """Whether two frames by client and week hold the same values (null and NaN alike), and the worst difference."""
    names = [c for c in peer.columns if c not in ("client_id", "as_of_date")]
    both = peer.join(found.select("client_id", "as_of_date", *names), on=["client_id", "as_of_date"], suffix="_found")
    if both.height != peer.height:
        return False, f"{peer.height - both.height} pairs missing"
    worst = 0.0
    for name in names:
        a = both[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        b = both[f"{name}_found"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        if (np.isnan(a) != np.isnan(b)).any():
            return False, f"{name}: null on one side only"
        gap = np.abs(a - b) / np.maximum(1.0, np.abs(a))
        worst = max(worst, float(np.nanmax(gap, initial=0.0)))
    return worst <= tolerance, f"largest difference {worst:.0e}"


def _pandas(frame: pl.DataFrame, weeks: list[date]) -> tuple[int, pl.DataFrame]:
    """The groupby and rolling form: rolling sums by client, then each week's window grouped and applied.

    ``frame`` holds the transactions of a few clients. Returns the number of (client, week) pairs done and a frame of
    entropy of the hour and concentration to compare.
    """
    import pandas as pd

    data = frame.to_pandas()
    data["cents"] = np.rint(data["amount_base"].astype(float) * 100)
    data = data.sort_values("txn_at").set_index("txn_at")
    for direction in ("inbound", "outbound"):
        one = data[data["direction"] == direction].groupby("client_id")["cents"]
        for window in ("7D", "30D", "90D"):
            rolling = one.rolling(window)
            for statistic in (rolling.count, rolling.sum, rolling.max, rolling.median, rolling.std):
                statistic()

    def entropy(values: Any) -> float:
        p = values.value_counts(normalize=True)
        return float(-(p * np.log2(p)).sum())

    def hhi(group: Any) -> float:
        flow = group.groupby("counterparty_id")["cents"].sum()
        return float(((flow / flow.sum()) ** 2).sum())

    parts = []
    for week in weeks:
        end = pd.Timestamp(week)
        seen = data[(data.index >= end - pd.Timedelta(days=90)) & (data.index < end)]
        seen = seen[pd.to_datetime(seen["known_date"]) < end]
        by_client = seen.groupby("client_id")
        sizes = np.searchsorted(p3.AMOUNT_EDGES_CENTS, seen["cents"], side="right")
        parts.append(
            pd.DataFrame(
                {
                    "as_of_date": week,
                    "p3_hour_entropy_90d_bits": pd.Series(pd.DatetimeIndex(seen.index).hour, seen.index)
                    .groupby(seen["client_id"].to_numpy())
                    .apply(entropy),
                    "p3_weekday_entropy_90d_bits": pd.Series(pd.DatetimeIndex(seen.index).weekday, seen.index)
                    .groupby(seen["client_id"].to_numpy())
                    .apply(entropy),
                    "p3_amount_entropy_90d_bits": pd.Series(sizes, seen.index)
                    .groupby(seen["client_id"].to_numpy())
                    .apply(entropy),
                    "p2_counterparty_out_hhi_90d_ratio": seen[seen["direction"] == "outbound"]
                    .groupby("client_id")
                    .apply(hhi),
                    "p2_counterparty_in_hhi_90d_ratio": seen[seen["direction"] == "inbound"]
                    .groupby("client_id")
                    .apply(hhi),
                    "distinct": by_client["counterparty_id"].nunique(),
                }
            )
        )
    made = pd.concat(parts).rename_axis("client_id").reset_index()
    return len(made), pl.from_pandas(made.drop(columns="distinct")).with_columns(pl.col("as_of_date").cast(pl.Date))


def everything(record: Recorder, warehouse: Warehouse, size: str) -> None:
    """All window features, the ones that do not add up included: reading and compiled passes against SQL and pandas."""
    weeks = backfill_weeks()
    config = FeatureConfig()
    model, target = models.render("int_client_windows"), models.address("int_client_windows")
    # what takes a second or two varies by half from call to call: the product and SQL each twice there
    repeat = 2 if " 1,000,000 " in f" {size} " else 1
    _, additive_seconds = timed(lambda: create(warehouse, target, model), repeat)

    def read() -> tuple[History, Spine]:
        reading._CACHE.clear()
        history = reading.read_history(warehouse, weeks)
        return history, reading.read_spine(warehouse, history, weeks)

    (history, spine), history_seconds = timed(read, repeat)
    windows, windows_seconds = timed(lambda: reading.read_weeks(warehouse, target, weeks), repeat)
    read_seconds = history_seconds + windows_seconds
    first, first_seconds = timed(lambda: p1.build(history, spine, config, windows=windows), repeat)
    third, third_seconds = timed(lambda: p3.build(history, spine, config), repeat)
    vertex, vertex_seconds = timed(lambda: _vertex(history, spine), repeat)
    _, alone = timed(lambda: (p1._history_statistics(history, spine), p3.rhythm(history, spine, config)), repeat)
    mine = additive_seconds + read_seconds + first_seconds + third_seconds + vertex_seconds
    split = (
        f"additive SQL {additive_seconds:.1f} s, reading and sorting {read_seconds:.1f} s, P1 {first_seconds:.1f} s, "
        f"P3 {third_seconds:.1f} s, {WEEKS} week graphs with degrees and HHI {vertex_seconds:.1f} s"
    )
    made = pl.concat(
        [
            spine.frame(),
            vertex,
            first.select(pl.col("^p1_.*(median|std)_.*$")),
            third.select(pl.col("^p3_.*entropy.*$")),
        ],
        how="horizontal",
    )
    record.memory(f"{ALL}, {WEEKS} weeks", size)
    seconds, worst = [additive_seconds], []
    for sql in (SQL_CONCENTRATION, *SQL_ENTROPIES, SQL_ORDER):
        peer, taken = timed(lambda sql=sql: warehouse.read(sql), repeat)  # type: ignore[misc]
        seconds.append(taken)
        worst.append(_close(made, peer))
    difference = ", ".join(sorted({w[1] for w in worst}))
    equal = all(w[0] for w in worst)
    record.add(
        Row("medians, deviations, degrees, HHI, entropies", size, history_seconds + alone + vertex_seconds,
            "best SQL for these columns", sum(seconds[1:]), equal=equal, target=5,
            note=f"the columns that do not add up, on both sides alone: reading and sorting {history_seconds:.1f} s, "
            f"passes of P1 and P3 {alone:.1f} s, {WEEKS} week graphs {vertex_seconds:.1f} s; {difference}")
    )  # fmt: skip
    record.add(
        Row(ALL, size, mine, "best SQL for the compared columns", sum(seconds), equal=equal, target=5,
            note=f"{split}; both sides contain the additive SQL; the product's have some 100 columns more")
    )  # fmt: skip
    ids = history.clients[:: max(1, len(history.clients) // PANDAS_CLIENTS)][:PANDAS_CLIENTS].tolist()
    sample = warehouse.read(
        "select client_id, counterparty_id, direction, amount_base, txn_at, known_date "
        "from intermediate.int_transactions where client_id in (select unnest(?::varchar[]))",
        [ids],
    ).with_columns(pl.col("amount_base").cast(pl.Float64))
    (pairs, compared), taken = timed(lambda: _pandas(sample, weeks))
    peer_seconds = taken / pairs * len(spine)
    equal, gap = _close(made, compared)
    sampled = (
        f"pandas on {len(ids)} clients × {WEEKS} weeks took {taken:.1f} s, extrapolated linearly to {len(spine):,} "
        f"pairs; {gap}"
    )
    compared_seconds = additive_seconds + history_seconds + alone + vertex_seconds
    record.add(
        Row("counts to entropies: the columns pandas was asked for", size, compared_seconds,
            "pandas groupby and rolling", peer_seconds, equal=equal, target=100,
            note=f"additive SQL, reading, passes of P1 and P3, week graphs; {sampled}")
    )  # fmt: skip
    record.add(
        Row(ALL, size, mine, "pandas groupby and rolling", peer_seconds, equal=equal,
            note=f"some 100 columns more than pandas was asked for; {sampled}")
    )  # fmt: skip


# --- one new week -----------------------------------------------------------------------------------------------


def new_week(record: Recorder, folder: Path, rows: int) -> None:
    """One more week after 4, 26 and 52 computed ones: the steps of P1, P2 and P3, on a bank two years old."""
    days = 7 * 110
    total = rows * days // 365
    warehouse = Warehouse(path=str(folder / "weeks.duckdb"))
    with warehouse.connect() as con:
        world.fill(con, total, days)
    for model in ("int_client_days", "int_client_first_txns", "int_edge_days", "int_counterparty_first_seen"):
        create(warehouse, models.address(model), models.render(model))
    config = FeatureConfig()
    first_week = world.FIRST_DAY + timedelta(days=57 * 7)  # the first with a whole year and the margin behind it
    jurisdictions = JURISDICTIONS

    def step(week: date) -> None:
        request(warehouse, [week])
        for model in ("int_client_weeks", "int_client_windows"):
            create(warehouse, models.address(model), models.render(model))
        reading._CACHE.clear()
        history = reading.read_history(warehouse, [week])
        spine = reading.read_spine(warehouse, history, [week])
        windows = reading.read_weeks(warehouse, "intermediate.int_client_windows", [week])
        first_seen = warehouse.read(
            "select client_id, counterparty_id, first_known_date from intermediate.int_counterparty_first_seen "
            "where first_known_date < ? order by all",
            [week],
        )
        p1.build(history, spine, config, windows=windows)
        p2.build(history, spine, config, first_seen=first_seen, jurisdictions=jurisdictions)
        p3.build(history, spine, config)

    step(first_week)
    seconds = {}
    for behind in (4, 26, 52):
        week = first_week + timedelta(days=7 * behind)
        _, seconds[behind] = timed(lambda week=week: step(week), 2)  # type: ignore[misc]
    for behind in (26, 52):
        record.add(
            Row(f"one new week, {behind} weeks behind it", f"{rows:,} transactions a year", seconds[behind],
                "the same with 4 weeks behind it", seconds[4], target=0.8,
                note="P1, P2, P3 with their SQL; every week reads 400 days; a ratio of 1 is no growth, 0.8 the noise "
                "allowed")
        )  # fmt: skip
