"""The three planted schemes, each as a set of indicators that really occur.

Rule of this file: one pattern per indicator of a scheme, with the weight of the launderer's payments and
money it takes. A launderer shows some of the indicators, more of them the stronger it is. Sources:
FINTRAC Project ATHENA (underground banking, casinos), FINTRAC alert 18/19-SIDEL-025 (trade-based
and professional laundering through money services businesses).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.sources.simulated_bank.launderers import Plan
from ml_assets.sources.simulated_bank.ledger import Payments
from ml_assets.sources.simulated_bank.patterns import Leg, Pattern, World, play


@dataclass(frozen=True)
class Indicator:
    """A pattern and its weight among the indicators of its scheme."""

    name: str
    pattern: Pattern
    weight: float = 1.0


SCHEME_INDICATORS: dict[str, tuple[Indicator, ...]] = {
    "underground_banking": (
        Indicator(
            "corridor wires to property and investment",
            Pattern(
                Leg((1, 3), ("person_abroad", "trader_abroad"), corridor=True, spread_days=4.0),
                Leg((1, 2), ("realty", "broker", "garage", "lawyer"), "transfer", spread_days=2.0),
                lag_days=(0.5, 5.0),
            ),
            1.5,
        ),
        Indicator(
            "foreign money services pay in",
            Pattern(
                Leg((1, 3), ("msb_abroad",), corridor=True, spread_days=4.0),
                Leg((1, 2), ("person", "lawyer", "garage")),
            ),
        ),
        Indicator(
            "cash to bank draft",
            Pattern(
                Leg((2, 4), ("branch",), "cash", spread_days=2.0),
                Leg((1, 1), ("realty", "garage", "lawyer"), "draft"),
                lag_days=(0.2, 3.0),
            ),
        ),
        Indicator(
            "casino", Pattern(Leg((2, 5), ("casino",), "card", spread_days=6.0), None, is_first_inbound=False), 0.7
        ),
        Indicator(
            "first-seen depositors",
            Pattern(
                Leg((4, 8), ("person",), spread_days=6.0, fresh=True), Leg((1, 2), ("person", "realty"), "transfer")
            ),
        ),
        Indicator(
            "deposit product and back",
            Pattern(
                Leg((1, 1), ("broker",), "transfer", spread_days=0.5, sums="round"),
                Leg((1, 1), ("broker",), "transfer", spread_days=1.0),
                is_first_inbound=False,
                lag_days=(8.0, 30.0),
                keep=(0.97, 1.0),
            ),
            0.6,
        ),
    ),
    "trade_based": (
        Indicator(
            "large dollar wires that flow through",
            Pattern(
                Leg((1, 2), ("trader_abroad", "shell"), "wire", spread_days=3.0, currency="USD"),
                Leg((1, 3), ("trader_abroad", "shell"), "wire", spread_days=3.0, currency="USD"),
                lag_days=(0.5, 5.0),
                keep=(0.955, 0.99),
            ),
            1.5,
        ),
        Indicator(
            "round sums and multiples of 50,000",
            Pattern(
                Leg((1, 2), ("shell", "trader_abroad"), "wire", sums="fifty", currency="EUR", fresh=True),
                Leg((1, 2), ("trader_abroad", "shell"), "wire", sums="fifty", currency="EUR"),
                lag_days=(1.0, 6.0),
            ),
        ),
        Indicator(
            "sectors that do not fit the trade",
            Pattern(
                Leg((1, 3), ("shell", "adviser", "jeweller", "garage"), fresh=True),
                Leg((1, 3), ("realty", "jeweller", "broker", "adviser"), "transfer"),
                lag_days=(1.0, 6.0),
            ),
        ),
        Indicator(
            "many unrelated partners",
            Pattern(
                Leg((3, 6), ("trader_abroad",), fresh=True, spread_days=8.0),
                Leg((2, 5), ("trader_abroad",), fresh=True, spread_days=6.0),
            ),
        ),
    ),
    "msb_professional": (
        Indicator(
            "inflow scattered to new payees",
            Pattern(
                Leg((1, 2), ("msb", "msb_abroad"), spread_days=1.0),
                Leg((4, 8), ("person", "person_abroad", "adviser"), spread_days=3.0, fresh=True),
                keep=(0.92, 0.99),
            ),
            1.4,
        ),
        Indicator(
            "exchange just under the limit",
            Pattern(Leg((2, 3), ("branch",), "fx", 2.0, "near"), None, is_first_inbound=False),
            0.7,
        ),
        Indicator(
            "personal account as a money service",
            Pattern(
                Leg((3, 6), ("person", "person_abroad"), spread_days=4.0, fresh=True),
                Leg((3, 6), ("person", "person_abroad"), spread_days=4.0, fresh=True),
                lag_days=(0.1, 1.5),
                keep=(0.93, 0.99),
            ),
            1.2,
        ),
        Indicator(
            "wires from many sources into drafts",
            Pattern(
                Leg((2, 4), ("trader_abroad", "person_abroad", "msb_abroad"), "wire", fresh=True, spread_days=4.0),
                Leg((1, 2), ("lender", "realty", "garage"), "draft"),
            ),
            0.8,
        ),
        Indicator(
            "several cash deposits on a day",
            Pattern(Leg((2, 3), ("branch",), "cash", 0.3), Leg((1, 2), ("person", "msb")), lag_days=(0.3, 3.0)),
            0.8,
        ),
        Indicator(
            "business money on the account",
            Pattern(Leg((1, 3), ("supplier", "adviser"), fresh=True), Leg((1, 3), ("trader_abroad", "person"))),
            0.6,
        ),
    ),
}
_MORE_MONEY = {"underground_banking": 2.2, "trade_based": 0.9, "msb_professional": 1.8}


def plant_schemes(rng: np.random.Generator, world: World, plan: Plan) -> list[Payments]:
    """The payments of every planted scheme."""
    blocks = []
    for scheme, indicators in SCHEME_INDICATORS.items():
        who = plan.who(scheme)
        weight = np.array([i.weight for i in indicators])
        shown = rng.random((len(who), len(indicators))) < (0.3 + 0.55 * plan.strength[who])[:, None]
        shown[:, 0] |= shown.sum(axis=1) == 0
        share = shown * weight * rng.uniform(0.5, 1.5, shown.shape)
        share = share / share.sum(axis=1, keepdims=True) if len(who) else share
        for position, indicator in enumerate(indicators):
            use = np.flatnonzero(shown[:, position])
            part = share[use, position]
            block = play(
                rng,
                world,
                plan,
                who[use],
                indicator.pattern,
                plan.rows[who[use]] * part,
                plan.volume[who[use]] * part * _MORE_MONEY[scheme],
            )
            if block is not None:
                blocks.append(block)
    return blocks
