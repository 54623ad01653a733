"""Who launders, by which method, when, how strongly and together with whom.

Rule of this file: the plan of every laundering, before a single payment of it is made, and nothing a
feature could see. Launderers are drawn over all archetypes with mild preferences and only among clients
whose ordinary life is long enough to hide in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.config import SimulationConfig
from ml_assets.sources.simulated_bank.ledger import MONTH_DAYS, quota
from ml_assets.sources.simulated_bank.population import Population
from ml_assets.sources.simulated_bank.vocabulary import Array, code

TYPOLOGIES = (
    "structuring", "smurfing", "fan_in", "fan_out", "cycle", "gather_scatter", "scatter_gather",
    "rapid_fund_through", "funnel_account", "round_amounts", "burst", "dormant_then_active", "mirror_transactions",
)  # fmt: skip
SCHEMES = ("underground_banking", "trade_based", "msb_professional")
METHODS = TYPOLOGIES + SCHEMES

_WEIGHTS = {
    # method: weight among persons, weight among firms; cycles are planned by ring, not drawn here
    "structuring": (7, 7), "smurfing": (6, 3), "fan_in": (6, 4), "fan_out": (6, 5), "cycle": (0, 0),
    "gather_scatter": (6, 4), "scatter_gather": (6, 5), "rapid_fund_through": (10, 7), "funnel_account": (5, 4),
    "round_amounts": (5, 5), "burst": (4, 3), "dormant_then_active": (6, 4), "mirror_transactions": (4, 5),
    "underground_banking": (17, 0), "trade_based": (0, 30), "msb_professional": (12, 10),
}  # fmt: skip
_PREFERENCE = {"retired": 0.6, "student": 1.2, "self_employed": 1.3, "business_owner": 1.4, "company": 1.2,
               "import_export_firm": 1.3, "money_service": 1.5, "salaried": 0.9}  # fmt: skip
LEAST_ORDINARY_ROWS_PER_YEAR = 50
"""Ordinary payments a client needs before it is drawn: fewer could not outnumber the illicit ones."""
GREATEST_ILLICIT_SHARE = 0.34
"""Illicit payments planned per ordinary one, at most; what partners add stays far under a half."""
_LEAST_DAYS = 21
_CYCLE_SHARE = 0.06
_LATE_SHARE = 0.12


@dataclass(frozen=True)
class Plan:
    """One element per launderer, all arrays of shape ``(launderers,)``; order carries no meaning.

    ``client`` position of the client; ``method`` position in ``METHODS``; ``strength`` 0.2-1; ``start_day``
    and ``end_day`` first and last day, both inclusive; ``str_day`` day of the report or -1; ``network`` group that
    works together; ``partner`` position in the plan of the next member of the group, -1 for loners; ``rows``
    payments to make; ``volume`` base currency to move in all.
    """

    client: Array
    method: Array
    strength: Array
    start_day: Array
    end_day: Array
    str_day: Array
    network: Array
    partner: Array
    rows: Array
    volume: Array

    def __len__(self) -> int:
        return len(self.client)

    def who(self, method: str) -> Array:
        """Positions in the plan of those who use ``method``, ascending."""
        return np.flatnonzero(self.method == METHODS.index(method))


def choose(rng: np.random.Generator, weights: Array, count: int) -> Array:
    """``count`` positions without replacement, with odds by weight; zero weights never. In drawing order."""
    keys = np.where(weights > 0, rng.exponential(size=len(weights)) / np.maximum(weights, 1e-12), np.inf)
    return np.argsort(keys, kind="stable")[: min(count, int((weights > 0).sum()))]


def _assign_methods(rng: np.random.Generator, population: Population, client: Array, network: Array) -> Array:
    """Method of each launderer: some networks of three and more are rings of cycles, the rest is drawn by kind of
    client; underground banking leans to students, homemakers and unemployed, trade to exposed trades."""
    method = np.full(len(client), -1)
    members = np.bincount(network)
    rings = rng.permutation(np.flatnonzero(members >= 3))[: max(1, round(_CYCLE_SHARE * len(client) / 3.4))]
    in_ring = np.isin(network, rings)
    method[in_ring] = METHODS.index("cycle")
    leaning = {
        False: ("underground_banking", np.isin(population.archetype[client], population.archetype[population.who(
            "student", "student_paid_from_abroad", "homemaker", "unemployed")])),
        True: ("trade_based", np.isin(population.industry[client], [code("sector", s) for s in (
            "import_export", "agriculture", "textiles", "electronics", "automotive", "manufacturing", "jewellery")])),
    }  # fmt: skip
    for is_company, (scheme, leans) in leaning.items():
        free = np.flatnonzero(~in_ring & (population.is_company[client] == is_company))
        if not len(free):
            continue
        drawn = quota(rng, np.array([_WEIGHTS[m][int(is_company)] for m in METHODS], dtype=np.float64), len(free))
        wanted = METHODS.index(scheme)
        count = int((drawn == wanted).sum())
        order = np.argsort(rng.random(len(free)) - 0.6 * leans[free], kind="stable")
        method[free[order[:count]]] = wanted
        method[free[order[count:]]] = drawn[drawn != wanted]
    return method


def plan_launderers(
    rng: np.random.Generator,
    population: Population,
    ordinary_rows: Array,
    monthly_inflow: Array,
    config: SimulationConfig,
) -> Plan:
    """Draw the plan.

    Reports are spread evenly over history: each launderer gets a reference day from its own slice of time,
    which is the report day of those who are detected; networks are neighbours in that order, so that
    members start together and are found at different times.

    Parameters
    ----------
    ordinary_rows, monthly_inflow : payments over all days, and base currency received per month; shape
        ``(clients,)``. They bound how much can hide in a client's life.
    """
    days = config.days
    weights = population.rates(_PREFERENCE, 1.0)
    usable = ordinary_rows >= min(LEAST_ORDINARY_ROWS_PER_YEAR * days / 364.0, LEAST_ORDINARY_ROWS_PER_YEAR)
    usable &= population.onboard_day < days * 0.6
    if not usable.any():
        msg = f"No client has enough ordinary payments in {days} days to hide laundering in. Raise clients or days."
        raise ValueError(msg)
    client = choose(rng, np.where(usable, weights, 0.0), round(config.launderer_ratio * len(population)))
    total = len(client)
    strength = rng.uniform(0.2, 1.0, total)
    # the weak stay undetected a little more often
    undetected = np.zeros(total, dtype=bool)
    hidden = round(config.undetected_ratio * total)
    undetected[np.argsort(strength + rng.uniform(0, 1.6, total), kind="stable")[:hidden]] = True

    low = min(30, days // 3)
    slice_of = np.empty(total)
    for group in (undetected, ~undetected):
        count = int(group.sum())
        slice_of[group] = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    reference = low + slice_of * (days - 1 - low)
    order = np.argsort(reference, kind="stable")
    client, strength, undetected, reference = client[order], strength[order], undetected[order], reference[order]

    sizes = rng.choice([1, 2, 3, 4, 5], total, p=[0.42, 0.24, 0.18, 0.10, 0.06])
    network = np.repeat(np.arange(total), sizes)[:total]
    method = _assign_methods(rng, population, client, network)

    first = np.searchsorted(network, network)
    networks = int(network.max(initial=-1)) + 1
    is_late = (rng.random(networks) < _LATE_SHARE)[network]
    # the bold are found sooner: after two weeks at best, ten or so at worst
    caution = 1.25 - strength[first]
    delay = 14.0 + (40.0 + 22.0 * caution) * rng.beta(2.4, 2.0, networks)[network]
    delay = np.where(is_late, rng.uniform(75, 150, networks)[network], delay)
    length = (_LEAST_DAYS + 160 * rng.random(networks) ** 1.3)[network]
    length = np.where(is_late, np.minimum(length, 60.0), length)
    start = np.maximum(reference[first] - delay, 1.0)
    start = np.maximum(start, population.onboard_day[client] + 4)
    start = np.rint(np.minimum(start, days - _LEAST_DAYS - 2)).astype(np.int64)
    end = np.minimum(start + np.rint(length).astype(np.int64), days - 1)
    # who became a client late was found late as well
    report = np.maximum(np.rint(reference), np.minimum(start + 14, days - 1)).astype(np.int64)

    last = np.append(network[1:] != network[:-1], [True])[:total]
    following = np.where(last, first, np.arange(total) + 1)
    partner = np.where(following == np.arange(total), -1, following)

    least = np.full(networks, np.iinfo(np.int64).max)
    np.minimum.at(least, network, ordinary_rows[client].astype(np.int64))
    room = least[network] * GREATEST_ILLICIT_SHARE
    pace = np.clip((end - start) / 90.0, 0.5, 1.3)
    rows = np.clip(least[network] * (0.07 + 0.28 * strength) * pace, 4, np.minimum(room, 220)).astype(np.int64)
    volume = monthly_inflow[client] * (0.4 + 2.6 * strength) * rng.uniform(0.6, 1.4, total)
    volume = np.maximum(volume * (end - start) / MONTH_DAYS, 6_000.0)
    shuffle = rng.permutation(total)
    back = np.argsort(shuffle, kind="stable")
    plan = Plan(client, method, strength, start, end, np.where(undetected, -1, report), network, partner, rows, volume)
    return Plan(
        **{
            name: values[shuffle] if name != "partner" else np.where(values < 0, -1, back[values])[shuffle]
            for name, values in vars(plan).items()
        }
    )
