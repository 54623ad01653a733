"""Assembles the simulated bank and writes it as a landing folder.

Rule of this file: the rules every payment obeys whoever makes it (channel, currency, opening hours, the
second side, late arrival, ids), and the files. They are applied to honest and illicit payments alike, after
both are made, so that nothing but behaviour tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from ml_assets.config import SimulationConfig
from ml_assets.sources.simulated_bank import labels, lookalikes, ordinary_life, schemes, typologies
from ml_assets.sources.simulated_bank.counterparties import Directory, build_directory, enter_clients
from ml_assets.sources.simulated_bank.launderers import METHODS, TYPOLOGIES, Plan, plan_launderers
from ml_assets.sources.simulated_bank.ledger import AUTO, DAY, HONEST, MONTH_DAYS, Calendar, Payments, join
from ml_assets.sources.simulated_bank.lookalikes import EPISODE_NAMES, NO_EPISODE, Episodes
from ml_assets.sources.simulated_bank.patterns import World
from ml_assets.sources.simulated_bank.population import (
    IS_LOOKALIKE,
    NAMES,
    Population,
    build_population,
    build_profiles,
)
from ml_assets.sources.simulated_bank.vocabulary import (
    CHANNELS,
    COUNTRIES,
    CURRENCIES,
    HOME,
    LOCAL_CURRENCY,
    SECTORS,
    START_RATE,
    Array,
    code,
)

_PARTS = ("population", "directory", "episodes", "habits", "wages", "costs", "large", "business", "lookalikes",
          "honest_episodes", "plan", "typologies", "schemes", "dormancy", "labels", "rules", "ids", "profiles",
          "rates", "blacklist", "arrival", "working_days")  # fmt: skip
_COUNTER = [code("channel", c) for c in ("cash", "draft", "cheque", "fx")]
_LATE_SHARE = 0.018
_QUIET_SHARE = 0.04
_BLACKLIST_SHARE = 0.0015


def simulate(config: SimulationConfig, folder: Path, progress: Callable[[str], None] | None = None) -> None:
    """Write the simulated bank into ``folder``.

    Files: ``transactions.parquet`` (one row per payment and client side), ``client_profiles.parquet`` (one row
    per client and ``valid_from``), ``str_labels.parquet`` (one row per client), ``blacklist.parquet``,
    ``fx_rates.parquet`` (one row per currency and day), ``source.json``; in ``truth/``, for evaluation only,
    ``launderers.parquet`` (one row per launderer), ``laundering_transactions.parquet`` (one row per illicit
    payment and client side) and ``archetypes.parquet`` (one row per client).

    Parameters
    ----------
    config : size, period, shares and seed; equal configurations give byte-equal files.
    folder : created where absent; files of the same names are replaced.
    progress : called with one line before each stage.
    """
    say = progress or (lambda _: None)
    streams = np.random.SeedSequence(config.seed).spawn(len(_PARTS))
    rng = {part: np.random.Generator(np.random.PCG64(s)) for part, s in zip(_PARTS, streams, strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth").mkdir(exist_ok=True)

    say(f"drawing {config.clients:,} clients")
    calendar = Calendar(config.start_date, config.days)
    population = build_population(rng["population"], config.clients, config.days)
    directory = build_directory(rng["directory"], config.clients)
    enter_clients(directory, population.industry, population.geography)

    say("living ordinary lives")
    drawn = lookalikes.draw_episodes(rng["episodes"], population, config.days)
    honest = join(
        ordinary_life.person_habits(rng["habits"], population, directory, calendar)
        + ordinary_life.wages_and_pensions(rng["wages"], population, directory, calendar)
        + ordinary_life.standing_costs(rng["costs"], population, directory, calendar)
        + ordinary_life.friends_and_large_purchases(rng["large"], population, directory, calendar)
        + ordinary_life.business(rng["business"], population, directory, calendar)
        + lookalikes.ways_of_life(rng["lookalikes"], population, directory, calendar)
        + lookalikes.episodes(rng["honest_episodes"], population, directory, drawn)
    )
    honest = _within_accounts(_at_the_counter(honest, calendar), population, config.days)
    honest = _quieten(rng["dormancy"], honest, *lookalikes.dormant_stretches(rng["dormancy"], drawn))

    say("planting typologies and schemes")
    plan = plan_launderers(rng["plan"], population, *_ordinary_life_of(honest, population, config.days), config)
    honest = _quieten(rng["dormancy"], honest, *typologies.dormancy_before(rng["dormancy"], plan, len(population)))
    world = World(population, directory, _parties_with_honest_clients(honest, plan, directory))
    illicit = join(
        typologies.plant_typologies(rng["typologies"], world, plan) + schemes.plant_schemes(rng["schemes"], world, plan)
    )
    illicit = _on_working_days(rng["working_days"], illicit, population, calendar)
    illicit = _within_accounts(_at_the_counter(illicit, calendar), population, config.days)
    illicit = _within_plan(illicit, plan, directory)

    planted = _with_payments(plan, illicit, len(population))

    say("booking both sides")
    rates = _exchange_rates(rng["rates"], config.days)
    booked = _book(rng["rules"], join([honest, illicit]), directory, rates)
    del honest
    ids = _public_ids(rng["ids"], directory)
    client_ids = ids.head(len(population))

    say(f"writing {len(booked):,} transactions")
    _transactions(rng["arrival"], booked, directory, ids, config).write_parquet(
        folder / "transactions.parquet", compression_level=1
    )
    report = labels.report_days(rng["labels"], population, drawn, planted, config)
    is_launderer = np.zeros(len(population), dtype=bool)
    is_launderer[planted.client] = True
    profiles = build_profiles(rng["profiles"], population, client_ids, is_launderer, config.start_date, config.days)
    profiles.write_parquet(folder / "client_profiles.parquet")
    _labels(report, client_ids, config.start_date).write_parquet(folder / "str_labels.parquet")
    _fx_rates(rates, config.start_date).write_parquet(folder / "fx_rates.parquet")
    _blacklist(rng["blacklist"], world, illicit, ids, config).write_parquet(folder / "blacklist.parquet")
    truth = folder / "truth"
    _launderers(planted, client_ids, config.start_date).write_parquet(truth / "launderers.parquet")
    _illicit_rows(booked, plan, client_ids).write_parquet(truth / "laundering_transactions.parquet")
    _archetypes(population, drawn, client_ids).write_parquet(truth / "archetypes.parquet")
    (folder / "source.json").write_text(json.dumps(_source(), indent=2) + "\n", encoding="utf-8")


def _within_accounts(block: Payments, population: Population, days: int) -> Payments:
    """Drop payments outside the simulated days or before a client side was onboarded."""
    day = block.at // DAY
    opened = population.onboard_day
    is_client = block.party < len(population)
    party_opened = np.where(is_client, opened[np.where(is_client, block.party, 0)], -(10**6))
    inside = (block.at >= 0) & (day < days) & (day >= opened[block.client]) & (day >= party_opened)
    return block.take(np.flatnonzero(inside & (block.client != block.party)))


def _quieten(rng: np.random.Generator, block: Payments, first_day: Array, end_day: Array) -> Payments:
    """Drop all but a few payments of clients (on either side) during their quiet stretches."""
    day = block.at // DAY
    quiet = (day >= first_day[block.client]) & (day < end_day[block.client])
    party = np.where(block.party < len(first_day), block.party, 0)
    quiet |= (block.party < len(first_day)) & (day >= first_day[party]) & (day < end_day[party])
    return block.take(np.flatnonzero(~quiet | (rng.random(len(block), dtype=np.float32) < _QUIET_SHARE)))


def _ordinary_life_of(block: Payments, population: Population, days: int) -> tuple[Array, Array]:
    """Payments per client (either side) and money received per month of membership, shape ``(clients,)``."""
    n = len(population)
    inside = np.flatnonzero(block.party < n)
    rows = np.bincount(block.client, minlength=n) + np.bincount(block.party[inside], minlength=n)
    received = np.bincount(block.client, np.where(block.is_inbound, block.amount, 0.0), n)
    received += np.bincount(block.party[inside], np.where(block.is_inbound[inside], 0.0, block.amount[inside]), n)
    months = (days - np.clip(population.onboard_day, 0, days - 1)) / MONTH_DAYS
    # a house sold once is no monthly income
    return rows, np.minimum(received / months, 1.6 * population.income / 12.0)


def _parties_with_honest_clients(block: Payments, plan: Plan, directory: Directory) -> Array:
    """True for parties that at least one honest client pays or is paid by, shape ``(parties,)``."""
    is_honest = np.ones(directory.clients, dtype=bool)
    is_honest[plan.client] = False
    known = np.zeros(len(directory), dtype=bool)
    known[block.party[is_honest[block.client]]] = True
    return known


def _at_the_counter(block: Payments, calendar: Calendar) -> Payments:
    """Cash over the counter, drafts, cheques and exchanges happen in opening hours, and not on a Sunday."""
    counter = np.isin(block.channel, _COUNTER)
    day, second = np.divmod(block.at, DAY)
    hour = second // 3_600
    sunday = counter & (calendar.weekday[np.clip(day, 0, calendar.days - 1)] == 6)
    closed = counter & ((hour < 8) | (hour > 17))
    at = block.at - np.where(sunday, DAY, 0) + np.where(closed, (9 + hour % 8 - hour) * 3_600, 0)
    return replace(block, at=at)


def _on_working_days(rng: np.random.Generator, block: Payments, population: Population, calendar: Calendar) -> Payments:
    """Firms hardly pay at weekends or after hours, whatever for, and persons a little less at weekends: the rest
    waits for Monday, or is paid at the same minute of an office hour."""
    day = np.clip(block.at // DAY, 0, calendar.days - 1)
    wait = np.maximum(7 - calendar.weekday[day].astype(np.int32), 0)
    weekend = calendar.weekday[day] >= 5
    firm = population.is_company[block.client]
    patient = rng.random(len(block)) < np.where(firm, 0.94, 0.25)
    hour = block.at % DAY // 3_600
    closed = firm & ((hour < 7) | (hour > 18)) & (rng.random(len(block)) < 0.9)
    shift = np.where(closed, (8 + hour % 10 - hour) * 3_600, 0)
    return replace(block, at=block.at + np.where(weekend & patient, wait, 0) * DAY + shift)


def _within_plan(block: Payments, plan: Plan, directory: Directory) -> Payments:
    """Drop illicit payments outside the time of the launderers on either side."""
    place = np.full(len(directory), -1, dtype=np.int64)
    place[plan.client] = np.arange(len(plan))
    day = block.at // DAY
    inside = np.ones(len(block), dtype=bool)
    for side in (block.client, block.party):
        member = place[side]
        inside &= (member < 0) | ((day >= plan.start_day[member]) & (day <= plan.end_day[member]))
    return block.take(np.flatnonzero(inside))


def _exchange_rates(rng: np.random.Generator, days: int) -> Array:
    """Euros for one unit of each currency on each day, shape ``(currencies, days)``; a random walk."""
    steps = 0.0045 * rng.standard_normal((len(CURRENCIES), days))
    steps[0] = 0.0
    steps[:, 0] = 0.0
    return np.array(START_RATE)[:, None] * np.exp(np.cumsum(steps, axis=1))


def _mix(a: Array, b: Array) -> Array:
    """A number 0-99 that is fixed for each pair: two parties keep to one currency."""
    mixed = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ (
        b.astype(np.uint64) + np.uint64(0x7F4A7C15)
    ) * np.uint64(0xC2B2AE3D27D4EB4F)
    return ((mixed >> np.uint64(33)) % np.uint64(100)).astype(np.int64)


def _settle(block: Payments, directory: Directory) -> Payments:
    """Fill in what follows from the two sides: wires cross a border, and a pair keeps to one currency."""
    transfer, wire, fx = (code("channel", c) for c in ("transfer", "wire", "fx"))
    payer_country, country = directory.country[block.client], directory.country[block.party]
    crosses = payer_country != country
    plain = (block.channel == AUTO) | (block.channel == transfer)
    channel = np.where(plain, np.where(crosses, wire, transfer), block.channel).astype(np.int8)

    away = np.where(LOCAL_CURRENCY[country] != 0, country, payer_country)
    pair = _mix(np.minimum(block.client, block.party), np.maximum(block.client, block.party))
    local = LOCAL_CURRENCY[away]
    of_wire = np.select([(local == 0) & (pair < 85), pair < 45, pair < 75], [0, 0, 1], local)
    abroad = np.maximum(country, payer_country) >= len(HOME)
    exchange = np.array([1] * 42 + [2] * 20 + [3] * 16 + [4] * 8 + [7] * 6 + [10] * 4 + [9] * 4, dtype=np.int8)
    of_exchange = exchange[_mix(block.client, block.at // (9 * DAY))]
    decided = np.where(channel == fx, of_exchange, np.where((channel == wire) & abroad, of_wire, 0))
    currency = np.where(block.currency == AUTO, decided, block.currency).astype(np.int8)
    return replace(block, channel=channel, currency=currency)


def _book(rng: np.random.Generator, block: Payments, directory: Directory, rates: Array) -> Payments:
    """All rows of the bank in order of time: amounts in their own currency, and the second side of payments
    between two clients. Rows of the same second are in random order."""
    block = _settle(block, directory)
    amount = block.amount / rates[block.currency, block.at // DAY]
    step = np.maximum(block.round_to, np.float32(0.01)).astype(np.float64)
    step = np.where(block.round_to > 0, step, 0.01)
    amount = np.maximum(np.rint(amount / step) * step, step)
    block = replace(block, amount=np.round(amount, 2))
    inside = np.flatnonzero(block.party < directory.clients)
    second = block.take(inside)
    second = replace(second, client=second.party, party=second.client, is_inbound=~second.is_inbound)
    both = join([block, second])
    tie = rng.integers(0, 1 << 31, len(both), dtype=np.int64)
    return both.take(np.argsort((both.at.astype(np.int64) << 31) | tie))


def _public_ids(rng: np.random.Generator, directory: Directory) -> pl.Series:
    """Shuffled text ids of all parties, clients first, shape ``(parties,)``: numbers say nothing."""
    clients, others = directory.clients, len(directory) - directory.clients
    numbers = np.concatenate([rng.permutation(clients), rng.permutation(others)]) + 1
    letter = np.repeat(["C", "X"], [clients, others])
    frame = pl.DataFrame({"letter": letter, "number": numbers})
    return frame.select(pl.col("letter") + pl.col("number").cast(pl.String).str.zfill(7))["letter"]


def _words(words: tuple[str, ...], codes: Array) -> pl.Series:
    return pl.Series(list(words), dtype=pl.String).gather(pl.Series(codes.astype(np.uint32)))


def _txn_ids(places: Array) -> pl.Series:
    """Text ids of the rows at ``places`` in order of time, shape of ``places``."""
    return pl.select("T" + (pl.Series(places) + 1).cast(pl.String).str.zfill(9))["literal"]


def _transactions(
    rng: np.random.Generator, booked: Payments, directory: Directory, ids: pl.Series, config: SimulationConfig
) -> pl.DataFrame:
    """One row per payment and client side, in order of time. A row is learned the same day or in the next night's
    run; a few come days late, whoever they belong to."""
    rows = len(booked)
    midnight = np.datetime64(config.start_date, "us")
    day = booked.at // DAY
    night = (day.astype(np.int64) + 1) * DAY + 7_200 + rng.integers(0, 5_400, rows)
    soon = booked.at + rng.integers(120, 3 * 3_600, rows)
    known = np.where(rng.random(rows, dtype=np.float32) < 0.35, soon, night)
    late = rng.random(rows, dtype=np.float32) < _LATE_SHARE
    known += np.where(late, (1 + rng.geometric(0.4, rows)) * DAY, 0)

    def moment(seconds: Array) -> Array:
        return midnight + (seconds.astype(np.int64) * 1_000_000).astype("timedelta64[us]")

    return pl.DataFrame(
        {
            "txn_id": _txn_ids(np.arange(rows)),
            "client_id": ids.gather(pl.Series(booked.client.astype(np.uint32))),
            "txn_date": moment(booked.at),
            "amount": booked.amount,
            "direction": _words(("outbound", "inbound"), booked.is_inbound),
            "counterparty_id": ids.gather(pl.Series(booked.party.astype(np.uint32))),
            "counterparty_country": _words(COUNTRIES, directory.country[booked.party]),
            "counterparty_sector": _words(SECTORS, directory.sector[booked.party]),
            "channel": _words(CHANNELS, booked.channel),
            "currency": _words(CURRENCIES, booked.currency),
            "ingested_at": moment(known),
        }
    )


def _with_payments(plan: Plan, illicit: Payments, clients: int) -> Plan:
    """The launderers who have at least one illicit payment: a plan that found no time was never carried out."""
    active = np.zeros(max(clients, int(illicit.party.max(initial=0)) + 1), dtype=bool)
    active[illicit.client] = True
    active[illicit.party] = True
    keep = np.flatnonzero(active[plan.client])
    return Plan(**{name: values[keep] for name, values in vars(plan).items()})


def _days(start: date, offsets: Array) -> pl.Series:
    """Dates of day offsets; negative offsets are null. Shape of ``offsets``."""
    dates = pl.Series(np.datetime64(start, "D") + offsets)
    return pl.select(pl.when(pl.Series(offsets >= 0)).then(dates).alias("date"))["date"]


def _labels(report: Array, client_ids: pl.Series, start: date) -> pl.DataFrame:
    """One row per client: flag and date of its report, date null for clients without one."""
    return pl.DataFrame(
        {"client_id": client_ids, "str_flag": (report >= 0).astype(np.int64), "str_date": _days(start, report)}
    ).sort("client_id")


def _fx_rates(rates: Array, start: date) -> pl.DataFrame:
    """One row per currency and day: base currency for one unit."""
    currencies, days = rates.shape
    return pl.DataFrame(
        {
            "currency": _words(CURRENCIES, np.repeat(np.arange(currencies), days)),
            "rate_date": np.datetime64(start, "D") + np.tile(np.arange(days), currencies),
            "rate_to_base": np.round(rates.ravel(), 8),
        }
    ).sort("currency", "rate_date")


def _blacklist(
    rng: np.random.Generator, world: World, illicit: Payments, ids: pl.Series, config: SimulationConfig
) -> pl.DataFrame:
    """One row per listed party. A third comes from parties launderers use, the rest from anywhere; all have honest
    customers too, and some were listed only during the simulated days."""
    known = np.flatnonzero(world.has_honest)
    known = known[known >= config.clients]
    used = np.unique(illicit.party[illicit.party >= config.clients])
    used = used[world.has_honest[used]]
    total = max(6, round(_BLACKLIST_SHARE * len(known)))
    listed = np.unique(
        np.concatenate([rng.choice(known, min(total, len(known)), replace=False),
                        rng.choice(used, min(total // 2, len(used)), replace=False)])
    )  # fmt: skip
    day = rng.integers(-1_500, config.days, len(listed))
    lists = np.array(["internal_watchlist", "adverse_media", "sanctions_screening"], dtype=object)
    reasons = np.array(["reported by another bank", "named in the press", "name match under review"], dtype=object)
    kind = rng.choice(3, len(listed), p=[0.5, 0.35, 0.15])
    person = world.directory.sector[listed] == code("sector", "household")
    return pl.DataFrame(
        {
            "entity_id": ids.gather(pl.Series(listed.astype(np.uint32))),
            "entity_type": _words(("company", "person"), person),
            "list_name": pl.Series(lists[kind], dtype=pl.String),
            "reason": pl.Series(reasons[kind], dtype=pl.String),
            "listed_date": np.datetime64(config.start_date, "D") + day,
        }
    ).sort("entity_id")


def _launderers(plan: Plan, client_ids: pl.Series, start: date) -> pl.DataFrame:
    """Truth: one row per launderer; dates of the laundering inclusive, report date null for the undetected."""
    return pl.DataFrame(
        {
            "client_id": client_ids.gather(pl.Series(plan.client.astype(np.uint32))),
            "kind": _words(("typology", "scheme"), plan.method >= len(TYPOLOGIES)),
            "pattern": _words(METHODS, plan.method),
            "strength": np.round(plan.strength, 4),
            "start_date": _days(start, plan.start_day),
            "end_date": _days(start, plan.end_day),
            "is_detected": plan.str_day >= 0,
            "str_date": _days(start, plan.str_day),
            "network_id": plan.network,
        }
    ).sort("client_id")


def _illicit_rows(booked: Payments, plan: Plan, client_ids: pl.Series) -> pl.DataFrame:
    """Truth: one row per illicit payment and client side, with the pattern it belongs to."""
    rows = np.flatnonzero(booked.case != HONEST)
    return pl.DataFrame(
        {
            "txn_id": _txn_ids(rows),
            "client_id": client_ids.gather(pl.Series(booked.client[rows].astype(np.uint32))),
            "pattern": _words(METHODS, plan.method[booked.case[rows]]),
        }
    )


def _archetypes(population: Population, episodes: Episodes, client_ids: pl.Series) -> pl.DataFrame:
    """Truth: one row per client: its way of life, and its honest episode, null for most."""
    names = pl.Series([*EPISODE_NAMES, None], dtype=pl.String)
    place = np.where(episodes.kind == NO_EPISODE, len(EPISODE_NAMES), episodes.kind).astype(np.uint32)
    return pl.DataFrame(
        {
            "client_id": client_ids,
            "archetype": _words(NAMES, population.archetype),
            "is_lookalike": IS_LOOKALIKE[population.archetype],
            "episode": names.gather(pl.Series(place)),
        }
    ).sort("client_id")


def _source() -> dict[str, object]:
    """Content of ``source.json``."""
    return {
        "source": "simulated",
        "base_currency": "EUR",
        "reporting_delay_days": 0,
        "not_available": {},
        "notes": [
            "Simulated: no person or firm in it exists.",
            "Report dates come from the simulation: mostly two to ten weeks after laundering begins, some after it "
            "ended; some launderers are never reported and some honest clients are.",
            "Cash, drafts and exchanges name the branch, or the depositor, as counterparty.",
            "truth/ names the planted launderers; it is for evaluation only and is never ingested.",
        ],
    }
