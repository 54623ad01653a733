"""The planted typologies.

Rule of this file: one entry per typology. Most are rounds of money in and money out
(``patterns.py``); cycles, which need a ring, and scatter-gather, which needs two ends, are made here.
"""

from __future__ import annotations

import numpy as np

from ml_assets.sources.simulated_bank.launderers import Plan
from ml_assets.sources.simulated_bank.ledger import AUTO, DAY, Payments, payments
from ml_assets.sources.simulated_bank.patterns import Leg, Pattern, World, parties_for, play, rounds_of, waking
from ml_assets.sources.simulated_bank.vocabulary import Array

_STRANGERS = ("person", "person", "adviser")

PATTERNS: dict[str, Pattern] = {
    # several deposits just under the limit, at more than one branch, often on one day; on by transfer
    "structuring": Pattern(
        Leg((2, 4), ("branch",), "cash", 1.5, "near"), Leg((1, 2), ("person", "supplier")), lag_days=(0.5, 6.0)
    ),
    # many small deposits by many people
    "smurfing": Pattern(
        Leg((5, 10), ("person", "branch"), "cash", 8.0, fresh=True), Leg((1, 2), _STRANGERS, spread_days=1.0)
    ),
    "fan_in": Pattern(
        Leg((6, 12), _STRANGERS, spread_days=7.0, fresh=True), Leg((1, 1), ("supplier", "person_abroad"))
    ),
    "fan_out": Pattern(
        Leg((1, 2), ("supplier", "person_abroad")), Leg((6, 12), _STRANGERS, spread_days=4.0, fresh=True)
    ),
    "gather_scatter": Pattern(
        Leg((4, 8), _STRANGERS, spread_days=6.0, fresh=True), Leg((4, 8), _STRANGERS, spread_days=4.0, fresh=True)
    ),
    "rapid_fund_through": Pattern(
        Leg((1, 2), _STRANGERS, spread_days=0.2),
        Leg((1, 2), _STRANGERS, spread_days=0.3),
        lag_days=(0.05, 1.6),
        keep=(0.9, 0.99),
    ),
    "funnel_account": Pattern(
        Leg((4, 9), ("person", "person_abroad", "branch", "trader_abroad"), spread_days=7.0, fresh=True),
        Leg((1, 2), ("trader_abroad", "supplier"), spread_days=1.0),
    ),
    "round_amounts": Pattern(
        Leg((1, 3), _STRANGERS, sums="round"), Leg((1, 3), ("supplier", "person"), sums="round"), lag_days=(0.5, 6.0)
    ),
    "burst": Pattern(
        Leg((1, 2), _STRANGERS, spread_days=1.0), Leg((4, 8), _STRANGERS, spread_days=0.0), lag_days=(0.1, 3.0)
    ),
    "dormant_then_active": Pattern(
        Leg((1, 3), _STRANGERS, spread_days=2.0), Leg((1, 3), _STRANGERS, spread_days=2.0), lag_days=(0.1, 2.0)
    ),
    "mirror_transactions": Pattern(
        Leg((1, 1), ("supplier", "broker", "person"), sums="equal", spread_days=0.1),
        Leg((1, 1), ("trader_abroad", "broker_abroad", "person"), sums="equal", spread_days=0.1),
        lag_days=(0.01, 0.4),
        keep=(1.0, 1.0),
    ),
}
_MORE_MONEY = {"structuring": 1.6, "dormant_then_active": 1.2}


def dormancy_before(rng: np.random.Generator, plan: Plan, clients: int) -> tuple[Array, Array]:
    """First day and day after the last of the quiet stretch before dormant accounts wake, shape ``(clients,)``."""
    start = np.full(clients, -1, dtype=np.int64)
    end = start.copy()
    who = plan.who("dormant_then_active")
    start[plan.client[who]] = plan.start_day[who] - rng.integers(60, 170, len(who))
    end[plan.client[who]] = plan.start_day[who]
    return start, end


def cycles(rng: np.random.Generator, world: World, plan: Plan) -> list[Payments]:
    """Rings: money runs through all members and comes back smaller, at times through an outsider between two."""
    who = plan.who("cycle")
    blocks: list[Payments] = []
    members = np.bincount(plan.network[who])
    for size in np.unique(members[members > 0]):
        rings = np.flatnonzero(members == size)
        mine = who[np.isin(plan.network[who], rings)]
        ring = mine[np.argsort(plan.network[mine], kind="stable")].reshape(len(rings), size)
        # a lap costs each member two payments
        laps = np.maximum(1, plan.rows[ring].min(axis=1) // 3)
        # the ring runs while all of its members are in it
        begins, ends = plan.start_day[ring].max(axis=1), plan.end_day[ring].min(axis=1)
        lap = np.repeat(np.arange(len(rings)), laps)
        place = np.arange(len(lap)) - np.repeat(np.cumsum(laps) - laps, laps)
        room = np.maximum((ends - begins - 2)[lap].astype(np.float64), 1.0)
        hop_days = np.minimum(rng.uniform(0.2, 1.8, len(lap)), (room - 0.5) / (size + 1))
        free = np.maximum(room - hop_days * (size + 1), 0.0)
        opens = begins[lap] + 1 + free * (place + rng.random(len(lap))) / laps[lap]
        money = (plan.volume[ring].mean(axis=1) / laps)[lap] * np.exp(0.4 * rng.standard_normal(len(lap)))
        turn = rng.integers(0, size, len(lap))
        for hop in range(int(size)):
            payer, payee = ring[lap, (turn + hop) % size], ring[lap, (turn + hop + 1) % size]
            at = waking(rng, ((opens + hop_days * (hop + 0.8 * rng.random(len(lap)))) * DAY).astype(np.int64))
            amount = money * 0.975**hop
            direct = rng.random(len(lap)) < 0.65 if size > 1 else np.zeros(len(lap), dtype=bool)
            blocks.append(
                payments(plan.client[payer], plan.client[payee], at, amount, False, AUTO, AUTO, 10.0, payer).take(
                    np.flatnonzero(direct)
                )
            )
            outside = np.flatnonzero(~direct)
            between = parties_for(rng, world, plan.client[payer[outside]], Leg((1, 1), ("person", "adviser")))
            later = at[outside] + (hop_days[outside] * 0.3 * DAY).astype(np.int64)
            blocks.append(
                payments(
                    plan.client[payer[outside]],
                    between,
                    at[outside],
                    amount[outside],
                    False,
                    AUTO,
                    AUTO,
                    10.0,
                    payer[outside],
                )
            )
            blocks.append(
                payments(
                    plan.client[payee[outside]],
                    between,
                    later,
                    amount[outside] * 0.985,
                    True,
                    AUTO,
                    AUTO,
                    10.0,
                    payee[outside],
                )
            )
    return blocks


def scatter_gather(rng: np.random.Generator, world: World, plan: Plan) -> list[Payments]:
    """One sum leaves to several intermediaries, who pay it to one account: the partner's, or a loner's own."""
    who = plan.who("scatter_gather")
    if not len(who):
        return []
    width = 4
    rounds = np.maximum(2, plan.rows[who] // (2 * width))
    case, opens, stretch = rounds_of(rng, plan, who, rounds, 9.0)
    total = np.repeat(plan.volume[who] / rounds, rounds) * np.exp(0.35 * rng.standard_normal(len(case)))
    turn = np.repeat(np.arange(len(case)), rng.integers(3, width + 1, len(case)))
    owner = case[turn]
    middle = parties_for(rng, world, plan.client[owner], Leg((1, 1), _STRANGERS))
    parts = rng.gamma(4.0, size=len(turn))
    amount = np.maximum(total[turn] * parts / np.bincount(turn, parts, len(case))[turn], 20.0)
    out_at = waking(rng, opens[turn] + (rng.random(len(turn)) * 2.5 * stretch[turn] * DAY).astype(np.int64))
    in_at = waking(rng, out_at + (rng.uniform(0.3, 4.5, len(turn)) * stretch[turn] * DAY).astype(np.int64))
    # the partner collects where it takes part at that time, else the money comes home
    partner = plan.partner[owner]
    day = in_at // DAY
    helps = (partner >= 0) & (day > plan.start_day[partner]) & (day < plan.end_day[partner])
    helps &= (np.bincount(turn, helps, len(case)) == np.bincount(turn, minlength=len(case)))[turn]
    collector = np.where(helps, partner, owner)
    return [
        payments(plan.client[owner], middle, out_at, amount, False, AUTO, AUTO, 10.0, owner),
        payments(plan.client[collector], middle, in_at, amount * 0.97, True, AUTO, AUTO, 10.0, collector),
    ]


def plant_typologies(rng: np.random.Generator, world: World, plan: Plan) -> list[Payments]:
    """The payments of every planted typology."""
    blocks = []
    for name, pattern in PATTERNS.items():
        who = plan.who(name)
        block = play(rng, world, plan, who, pattern, plan.rows[who], plan.volume[who] * _MORE_MONEY.get(name, 1.0))
        if block is not None:
            blocks.append(block)
    return blocks + cycles(rng, world, plan) + scatter_gather(rng, world, plan)
