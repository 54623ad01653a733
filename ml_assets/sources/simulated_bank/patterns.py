"""How money is passed on in rounds: the engine behind most typologies and all schemes.

Rule of this file: turn a :class:`Pattern` (what comes in, what goes out, how soon, in which sums) into
payments of the launderers that use it. Counterparties are drawn from parties that honest clients pay as
well, and the partner of a network now and then takes the place of a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.sources.simulated_bank.counterparties import POOLS, Directory, draw_country
from ml_assets.sources.simulated_bank.launderers import Plan
from ml_assets.sources.simulated_bank.ledger import AUTO, DAY, Payments, join, payments
from ml_assets.sources.simulated_bank.population import Population
from ml_assets.sources.simulated_bank.vocabulary import CORRIDOR, Array, code

NEAR_LIMIT = 10_000.0
"""The reporting limit that structured sums stay under, base currency (see ``reporting_threshold_base``)."""
_PARTICIPANTS = 12
_PARTNER_SHARE = 0.15


@dataclass(frozen=True)
class Leg:
    """One side of a round.

    ``legs`` least and greatest number of payments; ``pools`` kinds of parties, one drawn per payment;
    ``channel`` name or ``auto`` (transfer or wire, by country); ``spread_days`` over which the payments lie;
    ``sums``: ``split`` (uneven parts), ``equal``, ``near`` (just under the limit), ``round``, ``fifty`` (near
    multiples of 50,000 where they are that large); ``currency`` name or ``auto``; ``corridor`` draws foreign
    parties from the corridor; ``fresh`` draws a new party each time.
    """

    legs: tuple[int, int]
    pools: tuple[str, ...]
    channel: str = "auto"
    spread_days: float = 3.0
    sums: str = "split"
    currency: str = "auto"
    corridor: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Pattern:
    """A first and a second side; the second passes on the share ``keep`` of the first after ``lag_days``."""

    first: Leg
    second: Leg | None
    is_first_inbound: bool = True
    lag_days: tuple[float, float] = (0.3, 3.0)
    keep: tuple[float, float] = (0.85, 0.98)


@dataclass(frozen=True)
class World:
    """What patterns draw from: the clients, the parties, and which of these have honest customers."""

    population: Population
    directory: Directory
    has_honest: Array

    def known(self, rng: np.random.Generator, pool: str, country: Array) -> Array:
        """Draw parties of ``pool`` in ``country`` that honest clients pay too, shape of ``country``."""
        party = self.directory.pick(rng, pool, country)
        for _ in range(8):
            strangers = np.flatnonzero(~self.has_honest[party])
            if not len(strangers):
                return party
            party[strangers] = self.directory.pick(rng, pool, country[strangers])
        strangers = np.flatnonzero(~self.has_honest[party])
        low = int(self.directory.first[pool].min())
        familiar = low + np.flatnonzero(self.has_honest[low : low + int(self.directory.size[pool].sum())])
        if not len(familiar):  # a tiny bank may know nobody of this kind: a person will do
            return self.known(rng, "person", country) if pool != "person" else party
        party[strangers] = familiar[rng.integers(0, len(familiar), len(strangers))]
        return party


def parties_for(rng: np.random.Generator, world: World, client: Array, leg: Leg) -> Array:
    """One party per element of ``client``, by the pools of ``leg``."""
    out = np.empty(len(client), dtype=np.int32)
    which = rng.integers(0, len(leg.pools), len(client))
    for position, pool in enumerate(leg.pools):
        at = np.flatnonzero(which == position)
        where = POOLS[pool].where
        if where == "home":
            country = world.population.geography[client[at]].astype(np.int64)
        elif leg.corridor:
            country = rng.choice(np.array([code("country", c) for c in CORRIDOR]), len(at), p=[0.65, 0.35])
        else:
            country = draw_country(rng, where, len(at))
        out[at] = world.known(rng, pool, country)
    return out


def waking(rng: np.random.Generator, at: Array) -> Array:
    """Move most moments between midnight and six into the morning of the same day. Seconds in and out."""
    hour = at % DAY // 3_600
    return np.where((hour < 6) & (rng.random(len(at)) < 0.85), at + 8 * 3_600, at)


def _sums(rng: np.random.Generator, leg: Leg, total: Array, turn: Array, strength: Array) -> tuple[Array, Array]:
    """Amount and rounding step of each payment: ``total`` per round, ``turn`` the round of each payment."""
    if leg.sums == "near":
        near = rng.random(len(turn)) < (0.35 + 0.55 * strength[turn])
        amount = NEAR_LIMIT * np.where(near, rng.uniform(0.9, 0.9995, len(turn)), rng.uniform(0.3, 0.9, len(turn)))
        step = rng.choice([10.0, 50.0, 0.01], len(turn))
        return np.floor(amount / step) * step, np.zeros(len(turn))
    parts = np.ones(len(turn)) if leg.sums == "equal" else rng.gamma(4.0, size=len(turn))
    whole = np.bincount(turn, parts, len(total))
    amount = total[turn] * parts / whole[turn]
    step = np.zeros(len(turn))
    if leg.sums == "round":
        step = np.select([amount > 20_000, amount > 4_000, amount > 900], [5_000.0, 1_000.0, 500.0], 100.0)
    elif leg.sums == "fifty":
        step = np.select([amount > 30_000, amount > 9_000, amount > 900], [50_000.0, 5_000.0, 500.0], 100.0)
        amount = np.maximum(amount, step)
    elif leg.sums == "split":
        step = rng.choice([0.0, 10.0, 50.0, 100.0], len(turn), p=[0.45, 0.2, 0.15, 0.2])
        step = np.where(amount > 4 * step, step, 0.0)
    return amount, step


def _side(
    rng: np.random.Generator,
    world: World,
    plan: Plan,
    case: Array,
    leg: Leg,
    total: Array,
    opens: Array,
    is_inbound: bool,
    burst: bool,
    stretch: Array,
) -> tuple[Payments, Array]:
    """The payments of one side of all rounds, and the money each round moved.

    ``case`` plan position, ``total`` money, ``opens`` first second and ``stretch`` time scale of each round.
    """
    turn = np.repeat(np.arange(len(case)), rng.integers(leg.legs[0], leg.legs[1] + 1, len(case)))
    owner = case[turn]
    client = plan.client[owner]
    if leg.fresh:
        party = parties_for(rng, world, client, leg)
    else:
        cases, local = np.unique(owner, return_inverse=True)
        circle = parties_for(rng, world, np.repeat(plan.client[cases], _PARTICIPANTS), leg)
        slot = (rng.random(len(owner)) ** 1.3 * _PARTICIPANTS).astype(np.int64)
        party = circle[local * _PARTICIPANTS + slot]
    if burst:
        place = np.arange(len(turn)) - np.searchsorted(turn, turn)
        at = opens[turn] + place * rng.integers(4, 26, len(turn))
    else:
        at = waking(rng, opens[turn] + (rng.random(len(turn)) * leg.spread_days * stretch[turn] * DAY).astype(np.int64))
    if leg.channel in ("auto", "transfer"):
        partner = plan.partner[owner]
        helps = (at // DAY >= plan.start_day[partner]) & (at // DAY <= plan.end_day[partner])
        swaps = np.flatnonzero((partner >= 0) & helps & (rng.random(len(owner)) < _PARTNER_SHARE))
        party[swaps] = plan.client[partner[swaps]]
    amount, step = _sums(rng, leg, total, turn, plan.strength[case])
    amount = np.maximum(amount, 15.0)
    channel = AUTO if leg.channel == "auto" else code("channel", leg.channel)
    currency = AUTO if leg.currency == "auto" else code("currency", leg.currency)
    block = payments(client, party, at, amount, is_inbound, channel, currency, step, owner)
    return block, np.bincount(turn, amount, len(case))


def rounds_of(
    rng: np.random.Generator, plan: Plan, who: Array, rounds: Array, reach_days: float
) -> tuple[Array, Array, Array]:
    """Spread rounds evenly, with jitter, over each launderer's time.

    Returns
    -------
    plan position, first second and time scale of each round; the scale shrinks rounds that would otherwise
    last longer than the laundering.
    """
    case = np.repeat(who, rounds)
    place = np.arange(len(case)) - np.repeat(np.cumsum(rounds) - rounds, rounds)
    room = (plan.end_day - plan.start_day - 2)[case].astype(np.float64)
    stretch = np.minimum(1.0, (room - 1.0) / max(reach_days, 0.1))
    free = room - np.minimum(reach_days, room - 1.0)
    at = (plan.start_day[case] + 1 + free * (place + rng.random(len(case)) ** 1.5) / np.repeat(rounds, rounds)) * DAY
    return case, waking(rng, at.astype(np.int64)), stretch


def play(
    rng: np.random.Generator, world: World, plan: Plan, who: Array, pattern: Pattern, rows: Array, volume: Array
) -> Payments | None:
    """Payments of the launderers ``who`` (plan positions) that use ``pattern``; None for nobody.

    Parameters
    ----------
    rows, volume : payments to make and base currency to move, per element of ``who``.
    """
    if not len(who):
        return None
    first, second = pattern.first, pattern.second
    per_round = sum(first.legs) / 2 + (sum(second.legs) / 2 if second else 0)
    rounds = np.maximum(1, np.rint(rows / per_round)).astype(np.int64)
    if first.sums == "near":  # structured sums are what they are: money decides how often
        rounds = np.clip(rounds, 1, np.maximum(1, np.rint(volume / (sum(first.legs) / 2 * 8_000)))).astype(np.int64)
    reach = first.spread_days + (pattern.lag_days[1] + second.spread_days if second else 0)
    case, opens, stretch = rounds_of(rng, plan, who, rounds, reach + 0.4)
    total = np.repeat(volume / rounds, rounds) * np.exp(0.35 * rng.standard_normal(len(case)))
    burst = second is not None and second.spread_days == 0.0
    block, moved = _side(rng, world, plan, case, first, total, opens, pattern.is_first_inbound, False, stretch)
    if second is None:
        return block
    keep = rng.uniform(*pattern.keep, len(case))
    lag = rng.uniform(*pattern.lag_days, len(case))
    after = opens + ((first.spread_days + lag) * stretch * DAY).astype(np.int64)
    other, _ = _side(
        rng, world, plan, case, second, moved * keep, waking(rng, after), not pattern.is_first_inbound, burst, stretch
    )
    return join([block, other])
