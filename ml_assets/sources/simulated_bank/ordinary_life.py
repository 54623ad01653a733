"""What clients pay and receive in the course of their lives and businesses.

Rule of this file: behaviour every client of an archetype shows, in and out of season. Amounts are base
currency. Behaviour that resembles laundering is in ``lookalikes.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.sources.simulated_bank.counterparties import Directory, draw_country
from ml_assets.sources.simulated_bank.ledger import DAY, Calendar, Payments, payments
from ml_assets.sources.simulated_bank.population import Population
from ml_assets.sources.simulated_bank.vocabulary import SECTORS, Array, code

CARD, CASH, ATM, DEBIT = (code("channel", c) for c in ("card", "cash", "atm", "direct_debit"))
TRANSFER, DRAFT, ONLINE, FX, CHEQUE = (code("channel", c) for c in ("transfer", "draft", "online", "fx", "cheque"))
AUTO = -1
_REGIME_DAYS = 49
"""Habits strengthen and weaken over stretches of seven weeks: people are not stationary."""


@dataclass(frozen=True)
class Habit:
    """Something private clients do again and again.

    ``rate`` events per month for an archetype not named in ``by_archetype``; ``median`` amount at an annual
    income of 30,000; ``sigma`` spread of its logarithm; ``elasticity`` how the amount grows with income;
    ``slots`` favourite parties kept; ``loyal`` share of payments to them; ``skew`` see ``Directory.pick``.
    """

    name: str
    pool: str
    channel: int
    rate: float
    median: float
    sigma: float
    rhythm: str
    by_archetype: dict[str, float]
    elasticity: float = 0.45
    slots: int = 5
    loyal: float = 0.75
    skew: float = 2.5
    is_inbound: bool = False


_FEW = {"student": 0.7, "retired": 0.7, "unemployed": 0.6, "homemaker": 0.9, "student_paid_from_abroad": 0.7}


def _scaled(rate: float, extra: dict[str, float] | None = None) -> dict[str, float]:
    return {k: rate * v for k, v in _FEW.items()} | (extra or {})


PERSON_HABITS = (
    Habit("groceries", "shop", CARD, 3.6, 34.0, 0.75, "shop", _scaled(3.6)),
    Habit("eating_out", "eatery", CARD, 0.9, 27.0, 0.6, "leisure", _scaled(0.9, {"student": 1.3, "retired": 0.5})),
    Habit("getting_about", "carrier", CARD, 0.5, 22.0, 0.8, "office", _scaled(0.5, {"student": 0.9})),
    Habit("buying_online", "platform", ONLINE, 0.6, 38.0, 0.9, "private", _scaled(0.6, {"student": 0.9})),
    Habit("buying_online_abroad", "platform_abroad", CARD, 0.15, 30.0, 0.9, "private", {}),
    Habit("withdrawing", "branch", ATM, 0.9, 110.0, 0.55, "shop", {"retired": 1.5, "homemaker": 1.2}, slots=2),
    Habit("health", "clinic", CARD, 0.15, 60.0, 0.9, "office", {"retired": 0.5}),
    Habit("travelling", "hotel", CARD, 0.12, 260.0, 0.8, "leisure", _scaled(0.12), loyal=0.1),
    Habit("giving", "charity", TRANSFER, 0.06, 40.0, 0.9, "private", {"retired": 0.15}, slots=2),
    Habit("advice", "adviser", TRANSFER, 0.03, 300.0, 0.9, "office", {"self_employed": 0.25, "business_owner": 0.3}),
    Habit("paying_in_cash", "branch", CASH, 0.10, 420.0, 1.0, "till", {"self_employed": 0.7, "business_owner": 0.4,
          "retired": 0.06, "student": 0.08, "homemaker": 0.12, "marketplace_seller": 0.3}, slots=2, is_inbound=True),
    Habit("changing_money", "branch", FX, 0.035, 480.0, 0.8, "office", {"business_owner": 0.08}, slots=1),
    Habit("investing", "broker", TRANSFER, 0.10, 400.0, 1.1, "office", {"professional": 0.4, "business_owner": 0.4,
          "retired": 0.12, "student": 0.02}, elasticity=0.9, slots=1, loyal=0.95),
    Habit("divesting", "broker", TRANSFER, 0.03, 1300.0, 1.2, "office", {"professional": 0.12, "retired": 0.08},
          elasticity=0.9, slots=1, loyal=0.95, is_inbound=True),
    Habit("playing", "casino", CARD, 0.02, 90.0, 1.0, "leisure", {}, slots=1),
    Habit("buying_coins", "crypto", TRANSFER, 0.025, 200.0, 1.1, "private", {"student": 0.05}, slots=1),
    Habit("remitting", "msb", CASH, 0.05, 180.0, 0.7, "private", {"retired": 0.01}, slots=2),
)  # fmt: skip


def _regimes(rng: np.random.Generator, owners: int, days: int) -> Array:
    """Share of habits kept per client and stretch of weeks, shape ``(owners, stretches)``."""
    return np.clip(0.75 + 0.22 * rng.standard_normal((owners, days // _REGIME_DAYS + 1)), 0.1, 1.0).astype(np.float32)


def person_habits(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """Shops, cash, travel, small savings: one block per habit."""
    persons = np.flatnonzero(~population.is_company)
    wealth = population.income[persons] / 30_000.0
    geography = population.geography[persons]
    first_day = population.onboard_day[persons]
    regimes = _regimes(rng, len(persons), calendar.days)
    blocks = []
    for habit in PERSON_HABITS:
        # regimes keep three quarters on average; the rate is raised by as much
        rate = population.rates(habit.by_archetype, habit.rate)[persons] * population.activity[persons] / 0.75
        owner, at = calendar.scatter(rng, rate, first_day, habit.rhythm)
        kept = rng.random(len(owner), dtype=np.float32) < regimes[owner, at // (DAY * _REGIME_DAYS)]
        owner, at = owner[kept], at[kept]
        favourites = directory.favourites(rng, habit.pool, geography, habit.slots, habit.skew)
        slot = (rng.random(len(owner), dtype=np.float32) ** 2 * habit.slots).astype(np.int32)
        party = favourites[owner, slot]
        explores = np.flatnonzero(rng.random(len(owner), dtype=np.float32) >= habit.loyal)
        party[explores] = directory.pick(rng, habit.pool, geography[owner[explores]], habit.skew)
        level = (habit.median * wealth**habit.elasticity).astype(np.float32)
        amount = level[owner] * np.exp(np.float32(habit.sigma) * rng.standard_normal(len(owner), dtype=np.float32))
        step = 10.0 if habit.channel in (ATM, CASH) else 0.0
        blocks.append(
            payments(persons[owner], party, at, np.maximum(amount, step or 1.0), habit.is_inbound, habit.channel,
                     0 if habit.channel != FX else AUTO, step)
        )  # fmt: skip
    return blocks


def wages_and_pensions(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """Monthly income: salaries from firms in and outside the bank, pensions, benefits, own drawings, with a
    thirteenth salary for some in December, and the pay of firms' employees who bank elsewhere."""
    blocks = []
    n = len(population)
    companies = np.flatnonzero(population.is_company)
    # salaries: a third comes from firms that are clients too, big firms employ more
    earners = population.who("salaried", "professional", "remittance_sender", "crypto_investor", "casino_player")
    employer = directory.pick(rng, "employer", population.geography[earners], 2.0)
    weight = np.array([0.0, 1.0, 4.0, 16.0, 70.0])[population.size[companies]]
    inside = rng.random(len(earners)) < 0.33
    chosen = companies[rng.choice(len(companies), len(earners), p=weight / weight.sum())]
    # a firm cannot pay wages before it is a client
    inside &= population.onboard_day[chosen] <= np.maximum(population.onboard_day[earners], 0)
    employer = np.where(inside, chosen, employer)
    payday = np.where(inside, population.payday[chosen], population.payday[employer % n])
    owner, at, month = calendar.monthly(rng, population.onboard_day[earners], payday, "night_run")
    net = (population.income[earners] / 12.0 * 0.94)[owner] * np.exp(0.03 * rng.standard_normal(len(owner)))
    has_bonus = rng.random(len(earners)) < 0.45
    net = np.where(has_bonus[owner] & (month == 12), net * 1.7, net)
    blocks.append(payments(earners[owner], employer[owner], at, net, True, TRANSFER, 0))

    # the state and relatives
    for archetype, pool, channel, share in (
        ("retired", "office", TRANSFER, 0.95),
        ("unemployed", "office", TRANSFER, 0.85),
        ("homemaker", "person", TRANSFER, 0.8),
        ("student", "person", TRANSFER, 0.6),
        ("business_owner", "employer", TRANSFER, 0.5),
    ):
        who = population.who(archetype)
        payer = directory.pick(rng, pool, population.geography[who], 1.5)
        owner, at, _ = calendar.monthly(rng, population.onboard_day[who], population.payday[who], "office", 2)
        amount = (population.income[who] / 12.0 * share)[owner] * np.exp(0.06 * rng.standard_normal(len(owner)))
        blocks.append(payments(who[owner], payer[owner], at, amount, True, channel, 0))
    # students work at times; self-employed are paid by their customers
    for archetype, pool, rate, share in (
        ("student", "eatery", 0.5, 0.4),
        ("self_employed", "person", 2.2, 0.35),
        ("self_employed", "adviser", 1.6, 0.55),
        ("business_owner", "adviser", 1.0, 0.5),
        ("marketplace_seller", "adviser", 0.5, 0.3),
        ("homemaker", "shop", 0.25, 0.2),
        ("unemployed", "shop", 0.2, 0.15),
    ):
        who = population.who(archetype)
        own_rate = rate * population.activity[who]
        owner, at = calendar.scatter(rng, own_rate, population.onboard_day[who], "office")
        level = population.income[who] / 12.0 * share / own_rate
        amount = level[owner] * np.exp(0.7 * rng.standard_normal(len(owner)) - 0.25)
        regulars = directory.favourites(rng, pool, population.geography[who], 6)
        party = np.where(
            rng.random(len(owner)) < 0.6,
            regulars[owner, rng.integers(0, 6, len(owner))],
            directory.pick(rng, pool, population.geography[who][owner]),
        )
        blocks.append(payments(who[owner], party, at, amount, True, TRANSFER, 0))

    # employees who bank elsewhere
    staff = rng.poisson(np.array([0.0, 0.7, 2.2, 5.0, 12.0])[population.size[companies]])
    firm = np.repeat(companies, staff)
    employee = directory.pick(rng, "person", population.geography[firm])
    wage = 2_300 * np.exp(0.3 * rng.standard_normal(len(firm)))
    owner, at, month = calendar.monthly(rng, population.onboard_day[firm], population.payday[firm], "night_run")
    blocks.append(
        payments(firm[owner], employee[owner], at, wage[owner] * np.where(month == 12, 1.4, 1.0), False, TRANSFER, 0)
    )
    return blocks


def standing_costs(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """Rents, energy, telephone, insurance, loans and taxes of persons and firms."""
    blocks = []
    n = len(population)
    person = ~population.is_company
    monthly_income = population.income / 12.0
    young = np.isin(population.archetype, population.archetype[population.who("student", "student_paid_from_abroad")])
    # pool, channel, share who pay it, amount per month, months between payments
    rent = np.where(person, np.clip(monthly_income * 0.27, 280, 2_400), np.clip(monthly_income * 0.05, 350, 25_000))
    energy = np.where(person, 95 * (monthly_income / 2500) ** 0.3, np.clip(monthly_income * 0.015, 80, 9_000))
    bills: tuple[tuple[str, int, Array, Array, int], ...] = (
        ("realty", TRANSFER, np.where(person, 0.42, 0.75), rent, 1),
        ("person", TRANSFER, np.where(person, 0.14, 0.08), rent * 0.95, 1),
        ("utility", DEBIT, np.where(young, 0.3, 0.85), energy, 1),
        ("telecom", DEBIT, np.full(n, 0.8), np.where(person, 36.0, 90.0), 1),
        ("insurer", DEBIT, np.full(n, 0.7), np.where(person, 130.0, np.clip(monthly_income * 0.02, 150, 8_000)), 3),
        ("lender", DEBIT, np.where(young, 0.04, 0.24), monthly_income * 0.14, 1),
        ("office", TRANSFER, np.where(person, 0.08, 0.92), monthly_income * np.where(person, 0.25, 0.16), 3),
        ("school", TRANSFER, np.where(young, 0.75, 0.03), np.where(young, 450.0, 180.0), 6),
    )
    # firms whose business lies wholly abroad have no local costs
    is_local = person | (rng.random(n) > np.where(population.industry == code("sector", "import_export"), 0.25, 0.03))
    for pool, channel, share, level, every in bills:
        who = np.flatnonzero((rng.random(n) < share) & is_local)
        payee = directory.pick(rng, pool, population.geography[who], 2.0)
        due = rng.integers(0, 28, len(who))
        phase = rng.integers(0, every, len(who))
        owner, at, month = calendar.monthly(rng, population.onboard_day[who], due, "night_run", 1)
        keep = (month - 1 + phase[owner]) % every == 0
        owner, at = owner[keep], at[keep]
        own_level = level[who] * np.exp(0.25 * rng.standard_normal(len(who)))
        noise = 0.0 if pool in ("realty", "person", "lender") else 0.12
        amount = own_level[owner] * np.exp(noise * rng.standard_normal(len(owner)))
        step = 5.0 if pool in ("realty", "person") else 0.0
        blocks.append(payments(who[owner], payee[owner], at, amount, False, channel, 0, step))
    return blocks


def friends_and_large_purchases(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """Money between private persons in and outside the bank, and now and then something large: a car, a
    kitchen, a gift, a tax refund, a bonus. The large ones come by every channel and in every size."""
    blocks = []
    persons = np.flatnonzero(~population.is_company)
    geography = population.geography[persons]
    wealth = population.income[persons] / 30_000.0
    slots = 6
    friends = directory.favourites(rng, "person", geography, slots)
    # a third of friends bank here; a half of them in the same country
    client_friends = rng.choice(persons, (len(persons), slots))
    friends = np.where(rng.random((len(persons), slots)) < 0.30, client_friends, friends)
    for rate, is_inbound in ((0.62, False), (0.34, True)):
        owner, at = calendar.scatter(
            rng, rate * population.activity[persons], population.onboard_day[persons], "private"
        )
        slot = (rng.random(len(owner)) ** 1.6 * slots).astype(np.int32)
        party = friends[owner, slot]
        new = np.flatnonzero(rng.random(len(owner)) < 0.18)
        party[new] = directory.pick(rng, "person", geography[owner[new]])
        amount = 42 * wealth[owner] ** 0.4 * np.exp(1.0 * rng.standard_normal(len(owner)))
        step = rng.choice([0.0, 1.0, 5.0, 10.0, 50.0], len(owner), p=[0.3, 0.15, 0.2, 0.25, 0.1])
        amount = np.maximum(amount, np.maximum(step, 1.0))
        distinct = party != persons[owner]
        blocks.append(
            payments(persons[owner], party, at, amount, is_inbound, TRANSFER, 0, step).take(np.flatnonzero(distinct))
        )
    large: tuple[tuple[str, int, float, bool, float], ...] = (
        # pool, channel, rate per month, direction, median in monthly incomes
        ("garage", TRANSFER, 0.030, False, 1.6),
        ("garage", DRAFT, 0.006, False, 3.5),
        ("builder", TRANSFER, 0.035, False, 1.2),
        ("jeweller", CARD, 0.010, False, 0.6),
        ("realty", TRANSFER, 0.010, False, 2.5),
        ("lawyer", TRANSFER, 0.012, False, 0.8),
        ("shop", CARD, 0.06, False, 0.7),
        ("office", TRANSFER, 0.045, True, 0.5),
        ("person", TRANSFER, 0.045, True, 1.1),
        ("person", TRANSFER, 0.040, False, 1.1),
        ("person", CASH, 0.010, True, 0.9),
        ("branch", CASH, 0.022, True, 1.3),
        ("branch", CASH, 0.016, False, 1.0),
        ("branch", FX, 0.006, False, 1.0),
        ("lender", TRANSFER, 0.010, True, 3.0),
        ("lender", DRAFT, 0.005, False, 2.2),
        ("insurer", TRANSFER, 0.010, True, 1.4),
        ("person_abroad", AUTO, 0.020, True, 0.9),
        ("person_abroad", AUTO, 0.028, False, 0.5),
        ("platform", CHEQUE, 0.006, True, 0.4),
    )
    for pool, channel, rate, is_inbound, months in large:
        owner, at = calendar.scatter(
            rng, np.full(len(persons), rate), population.onboard_day[persons], "office" if channel != CASH else "till"
        )
        country = population.origin[persons[owner]] if pool == "person_abroad" else geography[owner]
        party = directory.pick(rng, pool, country)
        level = (population.income[persons] / 12.0)[owner] ** 0.7 * 2_500**0.3
        amount = np.minimum(months * level * np.exp(0.9 * rng.standard_normal(len(owner))), 400_000)
        # people think in round sums and stay a little under a limit: 9,500 rather than 10,000
        step = rng.choice([0.0, 10.0, 100.0, 500.0, 1000.0], len(owner), p=[0.35, 0.15, 0.25, 0.17, 0.08])
        near = (amount > 9_000) & (amount < 13_000) & (rng.random(len(owner)) < 0.3)
        amount = np.where(near, rng.choice([9_000.0, 9_500.0, 9_800.0, 9_900.0, 9_990.0], len(owner)), amount)
        step = np.where(near, 0.0, np.where(step > amount, 0.0, step))
        blocks.append(payments(persons[owner], party, at, amount, is_inbound, channel, AUTO, step))
    return blocks


_SELLS_BY_CARD = {"retail": 0.6, "restaurant": 0.5, "hospitality": 0.6, "healthcare": 0.4, "automotive": 0.15,
                  "jewellery": 0.4, "transport": 0.3, "casino": 0.5, "telecom": 0.3, "education": 0.1}  # fmt: skip
_SELLS_FOR_CASH = {"retail": 0.18, "restaurant": 0.30, "hospitality": 0.12, "automotive": 0.10, "jewellery": 0.12,
                   "agriculture": 0.12, "transport": 0.14, "construction": 0.04, "casino": 0.3, "charity": 0.12,
                   "msb": 0.30}  # fmt: skip
_SELLS_ABROAD = {"import_export": 0.45, "manufacturing": 0.22, "textiles": 0.25, "electronics": 0.28,
                 "technology": 0.15, "logistics": 0.2, "agriculture": 0.08, "jewellery": 0.1, "consulting": 0.08,
                 "automotive": 0.08, "investment": 0.15, "crypto_exchange": 0.3, "msb": 0.15}  # fmt: skip
_BUYS_ABROAD = {"import_export": 0.5, "manufacturing": 0.2, "textiles": 0.35, "electronics": 0.4, "retail": 0.08,
                "automotive": 0.15, "jewellery": 0.2, "technology": 0.1, "logistics": 0.1}  # fmt: skip


def _by_sector(table: dict[str, float], industry: Array) -> Array:
    return np.array([table.get(s, 0.0) for s in SECTORS])[industry]


def _habitual_partners(
    rng: np.random.Generator, population: Population, directory: Directory, firms: Array, pools: tuple[str, ...]
) -> Array:
    """Sixteen trading partners per firm, a quarter of them clients of the bank. Shape ``(firms, 16)``."""
    per_pool = 16 // len(pools)
    partners = np.concatenate(
        [directory.favourites(rng, pool, population.geography[firms], per_pool, 1.5) for pool in pools], axis=1
    )
    inside = rng.choice(firms, partners.shape)
    return np.where(rng.random(partners.shape) < 0.22, inside, partners)


def business(
    rng: np.random.Generator, population: Population, directory: Directory, calendar: Calendar
) -> list[Payments]:
    """What firms sell and buy: invoices, card takings, till cash, suppliers at home and abroad."""
    firms = np.flatnonzero(population.is_company)
    revenue = population.income[firms]
    industry = population.industry[firms]
    geography = population.geography[firms]
    first_day = population.onboard_day[firms]
    rate = np.array([0.0, 5.5, 9.0, 17.0, 36.0])[population.size[firms]] * population.activity[firms]
    regimes = _regimes(rng, len(firms), calendar.days)
    card, cash = _by_sector(_SELLS_BY_CARD, industry), _by_sector(_SELLS_FOR_CASH, industry)
    abroad = _by_sector(_SELLS_ABROAD, industry)
    customers = _habitual_partners(rng, population, directory, firms, ("supplier", "adviser", "builder", "person"))
    suppliers = _habitual_partners(rng, population, directory, firms, ("supplier", "supplier", "adviser", "carrier"))
    foreign = draw_country(rng, "trade", len(firms) * 8)
    partners_abroad = directory.pick(rng, "trader_abroad", foreign, 1.5).reshape(len(firms), 8)
    invoice = np.maximum(1.0 - card - cash - abroad, 0.0)
    blocks = []

    def trade(share: Array, per_month: Array, partners: Array, is_inbound: bool, sigma: float, new: float) -> None:
        """One stream of invoices: ``share`` of the revenue in ``per_month`` payments."""
        owner, at = calendar.scatter(rng, np.where(share > 0, per_month, 0.0) / 0.75, first_day, "office")
        kept = rng.random(len(owner)) < regimes[owner, at // (DAY * _REGIME_DAYS)]
        owner, at = owner[kept], at[kept]
        slot = (rng.random(len(owner)) ** 1.5 * partners.shape[1]).astype(np.int32)
        party = partners[owner, slot]
        explores = np.flatnonzero(rng.random(len(owner)) < new)
        # someone else's partner: firms of one bank trade with the same circles
        party[explores] = partners[rng.integers(0, len(firms), len(explores)), slot[explores]]
        level = revenue * share / 12.0 / np.maximum(per_month, 1e-6)
        amount = level[owner] * np.exp(sigma * rng.standard_normal(len(owner)) - sigma**2 / 2)
        step = rng.choice([0.0, 10.0, 100.0, 500.0, 1000.0], len(owner), p=[0.72, 0.08, 0.12, 0.05, 0.03])
        near_50k = (amount > 35_000) & (amount < 250_000) & (rng.random(len(owner)) < 0.05)
        amount = np.where(near_50k, np.maximum(np.rint(amount / 50_000), 1) * 50_000, amount)
        step = np.where(step > amount, 0.0, step)
        block = payments(firms[owner], party, at, np.maximum(amount, 5.0), is_inbound, AUTO, AUTO, step)
        blocks.append(block.take(np.flatnonzero(block.client != block.party)))

    trade(invoice, rate, customers, True, 0.9, 0.15)
    trade(abroad, 0.35 * rate * (abroad > 0), partners_abroad, True, 0.8, 0.12)
    buys_abroad = _by_sector(_BUYS_ABROAD, industry)
    trade(0.52 * (1 - buys_abroad), 0.85 * rate, suppliers, False, 0.9, 0.12)
    trade(0.62 * buys_abroad, 0.35 * rate, partners_abroad, False, 0.8, 0.12)

    # card takings come from the acquirer, till cash goes to the branch
    for share, per_month, pool, channel, rhythm, step in (
        (card, np.array([0, 4.3, 6.5, 13.0, 21.0])[population.size[firms]], "acquirer", CARD, "office", 0.0),
        (cash, np.array([0, 2.0, 4.0, 7.0, 10.0])[population.size[firms]], "branch", CASH, "till", 5.0),
    ):
        owner, at = calendar.scatter(rng, np.where(share > 0, per_month, 0.0), first_day, rhythm)
        party = directory.favourites(rng, pool, geography, 1)[:, 0]
        level = revenue * share / 12.0 / np.maximum(per_month, 1e-6)
        amount = level[owner] * np.exp(0.45 * rng.standard_normal(len(owner)) - 0.1)
        # insured transport and the firm's own rules keep most deposits under ten thousand
        over = (amount > 10_000) & (channel == CASH)
        amount = np.where(over & (rng.random(len(owner)) < 0.5), rng.uniform(8_000, 10_000, len(owner)), amount)
        blocks.append(payments(firms[owner], party[owner], at, np.maximum(amount, 20.0), True, channel, 0, step))

    # small costs and the owner's drawings
    for pool, channel, every_month, median in (
        ("shop", CARD, 1.2, 70.0),
        ("eatery", CARD, 0.5, 60.0),
        ("platform", ONLINE, 0.7, 110.0),
        ("carrier", CARD, 0.5, 90.0),
        ("branch", ATM, 0.25, 250.0),
        ("person", TRANSFER, 0.5, 900.0),
        ("lawyer", TRANSFER, 0.08, 1_500.0),
        ("branch", CASH, 0.08, 2_500.0),
        ("branch", FX, 0.04, 2_500.0),
        ("broker", TRANSFER, 0.04, 6_000.0),
        ("lender", TRANSFER, 0.03, 15_000.0),
    ):
        owner, at = calendar.scatter(rng, every_month * population.activity[firms], first_day, "office")
        party = directory.pick(rng, pool, geography[owner], 2.0)
        scale = (revenue[owner] / 250_000.0) ** 0.45
        amount = median * scale * np.exp(0.8 * rng.standard_normal(len(owner)))
        notes = 10.0 if channel in (ATM, CASH) else 0.0
        blocks.append(payments(firms[owner], party, at, np.maximum(amount, 10.0), False, channel, AUTO, notes))
    return blocks
