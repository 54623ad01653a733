"""Honest behaviour that resembles laundering.

Rule of this file: every payment here has a lawful reason, named beside it. Two kinds: clients whose whole
life looks unusual (``ways_of_life``), and episodes in otherwise plain lives (``draw_episodes``,
``episodes``). Episodes fall on clients whatever else they do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.sources.simulated_bank.counterparties import Directory, draw_country
from ml_assets.sources.simulated_bank.ledger import DAY, Calendar, Payments, payments
from ml_assets.sources.simulated_bank.ordinary_life import AUTO, CARD, CASH, DRAFT, FX, TRANSFER
from ml_assets.sources.simulated_bank.population import Population
from ml_assets.sources.simulated_bank.vocabulary import Array, code

EPISODES = {
    # name: share of private clients, share of firms
    "house_seller": (0.014, 0.0),
    "collector": (0.022, 0.010),
    "returner": (0.018, 0.015),
    "family_loan": (0.045, 0.020),
    "cash_saver": (0.030, 0.030),
    "term_saver": (0.035, 0.020),
    "pass_through": (0.032, 0.045),
    "big_order": (0.0, 0.09),
    "bill_batcher": (0.030, 0.050),
    "mover_abroad": (0.015, 0.0),
}
"""One-off honest episodes: sale of a home; collecting for a trip or a wedding; long absence and return; loans
among relatives, paid back in round sums; savings or sold goods paid in as cash; a deposit product and back;
money received for somebody else and handed on; an exceptionally large order; settling many bills at one
sitting; funds from a former home country."""
EPISODE_NAMES = tuple(EPISODES)
NO_EPISODE = -1


@dataclass(frozen=True)
class Episodes:
    """The episode of each client, shape ``(clients,)``: position in ``EPISODE_NAMES`` or -1, and its first day."""

    kind: Array
    day: Array

    def who(self, name: str) -> Array:
        """Positions of the clients with the named episode, ascending."""
        return np.flatnonzero(self.kind == EPISODE_NAMES.index(name))


def draw_episodes(rng: np.random.Generator, population: Population, days: int) -> Episodes:
    """Give some clients one honest episode. Every kind falls on at least one client where the bank allows."""
    n = len(population)
    kind = np.full(n, NO_EPISODE, dtype=np.int8)
    for of_firms in (False, True):
        group = rng.permutation(np.flatnonzero(population.is_company == of_firms))
        at = 0
        for position, name in enumerate(EPISODE_NAMES):
            share = EPISODES[name][int(of_firms)]
            count = max(1, round(share * len(group))) if share else 0
            kind[group[at : at + count]] = position
            at += count
    low = np.clip(population.onboard_day + 7, 7, max(days - 14, 8))
    high = max(days - 7, 9)
    day = low + (rng.random(n) * np.maximum(high - low, 1)).astype(np.int64)
    return Episodes(kind, day)


def dormant_stretches(rng: np.random.Generator, episodes: Episodes) -> tuple[Array, Array]:
    """First day and day after the last of each client's absence, shape ``(clients,)``; -1, -1 for most."""
    start = np.full(len(episodes.kind), -1, dtype=np.int64)
    end = start.copy()
    who = episodes.who("returner")
    start[who] = episodes.day[who] - rng.integers(60, 170, len(who))
    end[who] = episodes.day[who]
    return start, end


def _repeat(rng: np.random.Generator, who: Array, low: int, high: int) -> Array:
    """Position in ``who`` for each of a random number of payments, ``low`` to ``high`` (inclusive) per client."""
    return np.repeat(np.arange(len(who)), rng.integers(low, high + 1, len(who)))


def ways_of_life(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """The clients whose archetype is a look-alike: what they pay and receive beyond ordinary life."""
    blocks: list[Payments] = []

    def stream(
        name: str,
        pool: str,
        rate: float,
        yearly: float,
        is_inbound: bool,
        channel: int = AUTO,
        rhythm: str = "office",
        sigma: float = 0.6,
        slots: int = 0,
        step: float = 0.0,
        country: str = "home",
        cap: float = np.inf,
    ) -> None:
        """``rate`` payments a month that make ``yearly`` of the annual income; ``slots`` regular parties (0: new)."""
        who = population.who(name)
        own_rate = rate * population.activity[who]
        owner, at = calendar.scatter(rng, own_rate, population.onboard_day[who], rhythm)
        places = {
            "home": population.geography[who],
            "origin": population.origin[who],
            "corridor": np.where(
                rng.random(len(who)) < 0.45, code("country", "CN"), population.origin[who].astype(np.int64)
            ),
        }
        if country == "world":
            party = directory.pick(rng, pool, draw_country(rng, "trade", len(owner)))
        elif slots:
            regulars = directory.favourites(rng, pool, places[country], slots)
            party = regulars[owner, rng.integers(0, slots, len(owner))]
        else:
            party = directory.pick(rng, pool, places[country][owner])
        level = population.income[who] * yearly / 12.0 / np.maximum(own_rate, 1e-6)
        amount = level[owner] * np.exp(sigma * rng.standard_normal(len(owner)) - sigma**2 / 2)
        amount = np.clip(amount, 5.0, cap)
        blocks.append(payments(who[owner], party, at, amount, is_inbound, channel, AUTO, step))

    # the family abroad pays for the studies: wires in, tuition, rent and now and then a draft out
    student = "student_paid_from_abroad"
    stream(student, "person_abroad", 0.8, 0.75, True, country="corridor", slots=2, step=100.0, sigma=0.4)
    stream(student, "msb_abroad", 0.25, 0.2, True, country="corridor", slots=2)
    stream(student, "branch", 0.15, 0.12, True, CASH, "till", step=50.0)
    stream(student, "school", 0.14, 0.2, False, DRAFT, slots=1, sigma=0.2)
    stream(student, "realty", 0.5, 0.25, False, TRANSFER, slots=1, sigma=0.1)
    # support for the family at home, partly with cash earned on the side
    stream("remittance_sender", "msb", 1.2, 0.14, False, CASH, "private", slots=2, step=10.0)
    stream("remittance_sender", "person_abroad", 0.9, 0.12, False, country="origin", slots=3, step=10.0)
    stream("remittance_sender", "branch", 0.6, 0.12, True, CASH, "till", step=10.0)
    # many small sales to strangers, goods bought in bulk
    stream("marketplace_seller", "person", 14.0, 0.7, True, TRANSFER, "private", sigma=0.9)
    stream("marketplace_seller", "platform", 1.6, 0.4, True, TRANSFER, slots=2)
    stream("marketplace_seller", "trader_abroad", 0.7, 0.25, False, country="world")
    stream("marketplace_seller", "carrier", 3.0, 0.08, False, CARD, slots=3)
    # in and out of exchanges, often within days
    for pool, place, rate, share in (("crypto", "home", 1.3, 0.5), ("crypto_abroad", "world", 0.7, 0.3)):
        stream("crypto_investor", pool, rate, share, False, rhythm="private", slots=2, sigma=1.1, country=place)
        stream("crypto_investor", pool, rate * 0.6, share, True, rhythm="private", slots=2, sigma=1.2, country=place)
    # gambling out of income, wins at times
    stream("casino_player", "casino", 4.0, 0.35, False, CARD, "leisure", sigma=0.9, slots=2)
    stream("casino_player", "casino", 0.6, 0.2, True, TRANSFER, "leisure", sigma=1.0, slots=2)
    # a till full of notes; suppliers paid in cash
    stream("restaurant", "branch", 5.0, 0.22, True, CASH, "till", sigma=0.4, slots=2, step=5.0, cap=9_990.0)
    stream("restaurant", "branch", 0.8, 0.05, False, CASH, "till", step=10.0, slots=1)
    # wages of other firms: large sums in, fanned out on the same days
    firm = population.who("payroll_firm")
    staff = np.repeat(np.arange(len(firm)), rng.integers(25, 90, len(firm)))
    employee = directory.pick(rng, "person", population.geography[firm][staff])
    owner, at, _ = calendar.monthly(
        rng, population.onboard_day[firm][staff], rng.integers(24, 28, len(staff)), "office"
    )
    wage = 2_200 * np.exp(0.3 * rng.standard_normal(len(staff)))
    blocks.append(payments(firm[staff][owner], employee[owner], at, wage[owner], False, TRANSFER, 0))
    stream("payroll_firm", "supplier", 8.0, 0.8, True, TRANSFER, slots=12)
    # clients' money: purchase prices in, to the seller within days
    who = population.who("notary")
    owner, at = calendar.scatter(rng, 1.6 * population.activity[who], population.onboard_day[who], "office")
    price = 190_000 * np.exp(0.7 * rng.standard_normal(len(owner)))
    where = population.geography[who][owner]
    blocks.append(payments(who[owner], directory.pick(rng, "person", where), at, price, True, TRANSFER, 0, 500.0))
    later = at + (rng.uniform(0.3, 9.0, len(owner)) * DAY).astype(np.int64)
    blocks.append(payments(who[owner], directory.pick(rng, "person", where), later, price * 0.985, False, TRANSFER, 0))
    # cars: large cash, trade-ins, price tags just under round sums
    stream("car_dealer", "branch", 2.2, 0.16, True, CASH, "till", sigma=0.5, slots=2, step=50.0, cap=30_000.0)
    who = population.who("car_dealer")
    owner, at = calendar.scatter(rng, 2.5 * population.activity[who], population.onboard_day[who], "shop", "office")
    tag = rng.choice(
        np.array([4_990, 5_900, 6_990, 7_900, 8_990, 9_490, 9_900, 9_990, 11_900, 14_900, 18_500]), len(owner)
    )
    buyer = directory.pick(rng, "person", population.geography[who][owner])
    cash_buyer = rng.random(len(owner)) < 0.35
    blocks.append(payments(who[owner], buyer, at, tag, True, np.where(cash_buyer, CASH, TRANSFER), 0))
    stream("car_dealer", "person", 1.5, 0.15, False, TRANSFER, sigma=0.5, step=100.0)
    # goods across borders: large wires, dollars, round prepayments, new partners, free-zone addresses
    stream("import_export_firm", "trader_abroad", 1.6, 0.35, True, country="world", step=1_000.0, sigma=0.9)
    stream("import_export_firm", "trader_abroad", 1.6, 0.33, False, country="world", step=500.0, sigma=0.9)
    who = population.who("import_export_firm")
    for is_inbound in (True, False):
        owner, at = calendar.scatter(rng, 0.35 * population.activity[who], population.onboard_day[who], "office")
        party = directory.pick(rng, "shell", draw_country(rng, "shell", len(owner)))
        amount = (population.income[who] * 0.02)[owner] * np.exp(0.9 * rng.standard_normal(len(owner)))
        amount = np.where(amount > 35_000, np.rint(amount / 50_000).clip(1) * 50_000, amount)
        blocks.append(payments(who[owner], party, at, np.maximum(amount, 500.0), is_inbound, AUTO, AUTO, 100.0))
    # a licensed money service: many in, many out, currencies, cash
    stream("money_service", "person", 14.0, 0.3, True, TRANSFER, "private", sigma=0.8)
    stream("money_service", "branch", 6.0, 0.3, True, CASH, "till", step=10.0, slots=3, cap=30_000.0)
    stream("money_service", "person_abroad", 12.0, 0.45, False, rhythm="private", country="origin")
    stream("money_service", "msb_abroad", 2.0, 0.2, False, country="origin", slots=4)
    stream("money_service", "branch", 2.0, 0.1, False, FX, slots=2)
    return blocks


def episodes(rng: np.random.Generator, population: Population, directory: Directory, drawn: Episodes) -> list[Payments]:
    """Pay out the honest episodes of :func:`draw_episodes`: one or more blocks per kind."""
    blocks: list[Payments] = []
    income = population.income
    geography = population.geography

    def moment(day: Array, spread: float = 1.0) -> Array:
        """Seconds at some hour of the day or up to ``spread`` days later."""
        return ((day + rng.random(len(day)) * spread) * DAY).astype(np.int64)

    def pay(
        who: Array,
        pool: str,
        at: Array,
        amount: Array,
        is_inbound: bool,
        channel: int | Array = AUTO,
        step: float | Array = 0.0,
        country: Array | None = None,
    ) -> None:
        party = directory.pick(rng, pool, geography[who] if country is None else country)
        blocks.append(payments(who, party, at, amount, is_inbound, channel, AUTO, step))

    who = drawn.who("house_seller")  # price in through the notary, into the next home soon after
    price = np.clip(income[who] * rng.uniform(3, 9, len(who)), 90_000, 900_000)
    pay(who, "lawyer", moment(drawn.day[who]), price, True, TRANSFER, 500.0)
    pay(
        who,
        "lawyer",
        moment(drawn.day[who] + rng.integers(1, 25, len(who))),
        price * rng.uniform(0.5, 1.0, len(who)),
        False,
        np.where(rng.random(len(who)) < 0.3, DRAFT, TRANSFER),
        1_000.0,
    )
    pay(who, "lender", moment(drawn.day[who] + 3), price * rng.uniform(0.05, 0.3, len(who)), False, TRANSFER)

    who = drawn.who("collector")  # shares of a trip, a wedding, a club: many small in, few large out
    leg = _repeat(rng, who, 8, 32)
    share = np.clip(income[who] / 12 * rng.uniform(0.06, 0.4, len(who)), 30, 2_500)
    pay(
        who[leg],
        "person",
        moment(drawn.day[who][leg], 21.0),
        share[leg] * rng.choice([1.0, 1.0, 1.0, 2.0, 0.5], len(leg)),
        True,
        np.where(rng.random(len(leg)) < 0.12, CASH, TRANSFER),
        10.0,
    )
    total = np.bincount(leg, minlength=len(who)) * share
    out = _repeat(rng, who, 1, 3)
    pay(
        who[out],
        "hotel",
        moment(drawn.day[who][out] + 14, 14.0),
        (total * 0.9 / np.bincount(out, minlength=len(who)))[out],
        False,
        TRANSFER,
    )

    who = drawn.who("returner")  # back from a long stay: arrears are settled, savings come along
    leg = _repeat(rng, who, 6, 16)
    pay(
        who[leg],
        "shop",
        moment(drawn.day[who][leg], 12.0),
        (income[who] / 12 * 0.12)[leg] * np.exp(0.8 * rng.standard_normal(len(leg))),
        False,
        CARD,
    )
    leg = _repeat(rng, who, 1, 4)
    pay(
        who[leg],
        "person_abroad",
        moment(drawn.day[who][leg], 14.0),
        (income[who] / 12 * 1.1)[leg] * np.exp(0.8 * rng.standard_normal(len(leg))),
        True,
        AUTO,
        50.0,
        population.origin[who[leg]],
    )

    who = drawn.who("family_loan")  # lent and paid back in round sums, at times through a third relative
    leg = _repeat(rng, who, 1, 3)
    loan = np.maximum(np.rint(income[who] / 12 * rng.uniform(0.5, 4, len(who)) / 500), 1) * 500
    lender = directory.pick(rng, "person", geography[who])
    blocks.append(
        payments(who[leg], lender[leg], moment(drawn.day[who][leg], 20.0), loan[leg], True, TRANSFER, 0, 100.0)
    )
    leg = _repeat(rng, who, 2, 6)
    part = (loan / np.bincount(leg, minlength=len(who)))[leg]
    back = moment(drawn.day[who][leg] + 3, 70.0)
    blocks.append(payments(who[leg], lender[leg], back, part, False, TRANSFER, 0, 100.0))

    who = drawn.who("cash_saver")  # a sold car, a flea market, notes from under the mattress; paid in bit by bit
    leg = _repeat(rng, who, 2, 9)
    size = np.clip(income[who] / 12 * rng.uniform(0.4, 3.0, len(who)), 400, 9_900)
    amount = np.minimum(
        size[leg] * np.exp(0.35 * rng.standard_normal(len(leg))), rng.choice([9_500, 9_900, 9_990], len(leg))
    )
    pay(who[leg], "branch", moment(drawn.day[who][leg], 35.0), amount, True, CASH, 50.0)
    out = _repeat(rng, who, 0, 2)
    pool_amount = np.bincount(leg, amount, len(who))
    pay(
        who[out],
        "garage",
        moment(drawn.day[who][out] + 10, 30.0),
        0.6 * pool_amount[out],
        False,
        np.where(rng.random(len(out)) < 0.4, DRAFT, TRANSFER),
        100.0,
    )

    who = drawn.who("term_saver")  # a deposit product and back, with a little interest
    house = directory.pick(rng, "broker", geography[who])
    amount = income[who] * rng.uniform(0.2, 1.6, len(who))
    blocks.append(payments(who, house, moment(drawn.day[who]), amount, False, TRANSFER, 0, 500.0))
    back = moment(drawn.day[who] + rng.integers(20, 95, len(who)))
    blocks.append(payments(who, house, back, amount * 1.008, True, TRANSFER, 0))

    who = drawn.who("pass_through")  # a purchase for a friend, an estate, a subcontractor: in and on within days
    leg = _repeat(rng, who, 1, 7)
    amount = np.maximum(
        (income[who] / 12 * rng.uniform(0.4, 3.5, len(who)))[leg] * np.exp(0.5 * rng.standard_normal(len(leg))), 100
    )
    at = moment(drawn.day[who][leg], 60.0)
    step = rng.choice([0.0, 50.0, 500.0], len(leg))
    pay(who[leg], "person", at, amount, True, AUTO, np.where(step > amount, 0.0, step))
    lag = (rng.exponential(1.5, len(leg)) * DAY).astype(np.int64) + 3_600
    pay(who[leg], "adviser", at + lag, amount * rng.uniform(0.88, 1.0, len(leg)), False)

    who = drawn.who("big_order")  # the order of the decade: prepayments in, many new suppliers out
    leg = _repeat(rng, who, 1, 4)
    amount = (income[who] * rng.uniform(0.06, 0.4, len(who)))[leg] * np.exp(0.4 * rng.standard_normal(len(leg)))
    abroad = rng.random(len(leg)) < 0.5
    world = np.where(abroad, draw_country(rng, "trade", len(leg)), geography[who[leg]])
    party = np.where(
        abroad, directory.pick(rng, "trader_abroad", world), directory.pick(rng, "supplier", geography[who[leg]])
    )
    blocks.append(payments(who[leg], party, moment(drawn.day[who][leg], 25.0), amount, True, AUTO, AUTO, 1_000.0))
    out = _repeat(rng, who, 4, 14)
    total = np.bincount(leg, amount, len(who)) * 0.85 / np.bincount(out, minlength=len(who))
    world = draw_country(rng, "trade", len(out))
    party = np.where(
        rng.random(len(out)) < 0.4,
        directory.pick(rng, "trader_abroad", world),
        directory.pick(rng, "supplier", geography[who[out]]),
    )
    blocks.append(
        payments(
            who[out],
            party,
            moment(drawn.day[who][out] + 2, 40.0),
            total[out] * np.exp(0.6 * rng.standard_normal(len(out))),
            False,
            AUTO,
        )
    )

    who = drawn.who("bill_batcher")  # an evening with the pile of bills, some times
    sitting = _repeat(rng, who, 2, 5)
    start = moment(drawn.day[who][sitting], 80.0) // DAY * DAY + rng.integers(17 * 3600, 22 * 3600, len(sitting))
    leg = np.repeat(np.arange(len(sitting)), rng.integers(4, 10, len(sitting)))
    gap = np.arange(len(leg)) - np.searchsorted(leg, leg)
    owner = who[sitting[leg]]
    pay(
        owner,
        "adviser",
        start[leg] + gap * rng.integers(8, 45, len(leg)),
        income[owner] / 12 * 0.05 * np.exp(0.7 * rng.standard_normal(len(leg))),
        False,
    )

    who = drawn.who("mover_abroad")  # savings follow from the former home: wires in, home and car bought
    leg = _repeat(rng, who, 2, 6)
    amount = (income[who] * rng.uniform(0.1, 0.6, len(who)))[leg]
    pay(
        who[leg],
        "person_abroad",
        moment(drawn.day[who][leg], 28.0),
        amount,
        True,
        AUTO,
        100.0,
        population.origin[who[leg]],
    )
    out = _repeat(rng, who, 1, 3)
    total = np.bincount(leg, amount, len(who)) * 0.7 / np.maximum(np.bincount(out, minlength=len(who)), 1)
    pay(
        who[out],
        "realty",
        moment(drawn.day[who][out] + 4, 30.0),
        total[out],
        False,
        np.where(rng.random(len(out)) < 0.25, DRAFT, TRANSFER),
        100.0,
    )
    return blocks
