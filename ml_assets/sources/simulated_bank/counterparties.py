"""The parties that are not clients: shops, firms, offices, families abroad, the bank's own branches.

Rule of this file: which parties exist, where and in which sector. A party keeps country and sector for
good. Parties of one pool and country lie side by side in the directory, so that one can be drawn by a
position in a range; their public ids are shuffled when the files are written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.sources.simulated_bank.vocabulary import (
    COUNTRIES,
    FOREIGN,
    FOREIGN_FAMILY_WEIGHT,
    FOREIGN_TRADE_WEIGHT,
    HOME,
    SHELL,
    Array,
    code,
)

HOME_SHARE = (0.48, 0.20, 0.15, 0.10, 0.07)
"""Share of clients and of local parties in each country of ``HOME``."""


@dataclass(frozen=True)
class PoolSpec:
    """One kind of party: sectors drawn evenly, number per client of the bank, least number per country."""

    sectors: tuple[str, ...]
    per_client: float
    least: int
    where: str = "home"


POOLS: dict[str, PoolSpec] = {
    "shop": PoolSpec(("retail",), 0.05, 8),
    "eatery": PoolSpec(("restaurant",), 0.03, 6),
    "hotel": PoolSpec(("hospitality",), 0.008, 3),
    "carrier": PoolSpec(("transport",), 0.005, 3),
    "platform": PoolSpec(("technology",), 0.004, 3),
    "platform_abroad": PoolSpec(("technology",), 0.002, 2, "trade"),
    "clinic": PoolSpec(("healthcare",), 0.012, 4),
    "school": PoolSpec(("education",), 0.004, 3),
    "telecom": PoolSpec(("telecom",), 0.0004, 3),
    "utility": PoolSpec(("utilities",), 0.001, 4),
    "insurer": PoolSpec(("insurance",), 0.001, 4),
    "office": PoolSpec(("government",), 0.0005, 2),
    "acquirer": PoolSpec(("financial_services",), 0.0003, 3),
    "lender": PoolSpec(("financial_services",), 0.001, 4),
    "branch": PoolSpec(("financial_services",), 0.003, 5),
    "broker": PoolSpec(("investment",), 0.002, 3),
    "broker_abroad": PoolSpec(("investment",), 0.001, 2, "trade"),
    "realty": PoolSpec(("real_estate",), 0.012, 5),
    "builder": PoolSpec(("construction",), 0.012, 4),
    "garage": PoolSpec(("automotive",), 0.008, 4),
    "jeweller": PoolSpec(("jewellery",), 0.003, 2),
    "lawyer": PoolSpec(("legal",), 0.008, 4),
    "casino": PoolSpec(("casino",), 0.0006, 2),
    "crypto": PoolSpec(("crypto_exchange",), 0.0004, 2),
    "crypto_abroad": PoolSpec(("crypto_exchange",), 0.0004, 1, "trade"),
    "msb": PoolSpec(("msb",), 0.0015, 3),
    "msb_abroad": PoolSpec(("msb",), 0.004, 2, "family"),
    "charity": PoolSpec(("charity",), 0.002, 2),
    "adviser": PoolSpec(("consulting",), 0.010, 4),
    "supplier": PoolSpec(
        ("manufacturing", "textiles", "electronics", "agriculture", "logistics", "import_export", "technology"),
        0.04,
        10,
    ),
    "employer": PoolSpec(
        ("manufacturing", "retail", "technology", "healthcare", "government", "logistics", "construction", "education"),
        0.02,
        6,
    ),
    "trader_abroad": PoolSpec(
        ("manufacturing", "textiles", "electronics", "agriculture", "logistics", "import_export", "automotive"),
        0.06,
        4,
        "trade",
    ),
    "shell": PoolSpec(("consulting", "import_export", "investment", "real_estate"), 0.012, 3, "shell"),
    "person": PoolSpec(("household",), 1.1, 60),
    "person_abroad": PoolSpec(("household",), 0.30, 5, "family"),
}


@dataclass(frozen=True)
class Directory:
    """All parties: the clients at positions below ``clients``, everybody else above.

    ``sector`` and ``country`` have one element per party (clients included once the population is known).
    ``first`` and ``size`` give, per pool, the range of each country, shape ``(countries,)``.
    """

    clients: int
    sector: Array
    country: Array
    first: dict[str, Array]
    size: dict[str, Array]

    def __len__(self) -> int:
        return len(self.sector)

    def pick(self, rng: np.random.Generator, pool: str, country: Array, skew: float = 1.0) -> Array:
        """Draw one party of ``pool`` for each element of ``country`` (codes), shape of ``country``.

        Popularity falls with position like a power law: the share of the first x of a range is
        ``x ** (1 / skew)``. Where the pool has nobody in the country, the whole pool is drawn from.
        """
        first, size = self.first[pool], self.size[pool]
        here = size[country]
        low = np.where(here > 0, first[country], int(first.min())).astype(np.int64)
        span = np.where(here > 0, here, int(size.sum()))
        u = rng.random(len(country))
        return (low + (span * (u**skew if skew != 1.0 else u)).astype(np.int64)).astype(np.int32)

    def favourites(self, rng: np.random.Generator, pool: str, country: Array, slots: int, skew: float = 1.0) -> Array:
        """The parties each owner keeps coming back to: shape ``(owners, slots)``."""
        return self.pick(rng, pool, np.repeat(country, slots), skew).reshape(len(country), slots)


def draw_country(rng: np.random.Generator, kind: str, rows: int) -> Array:
    """Codes of foreign countries, shape ``(rows,)``; ``kind`` is ``trade``, ``family`` or ``shell``."""
    if kind == "shell":
        return np.array([code("country", c) for c in SHELL])[rng.integers(0, len(SHELL), rows)]
    weights = np.array(FOREIGN_TRADE_WEIGHT if kind == "trade" else FOREIGN_FAMILY_WEIGHT, dtype=np.float64)
    return len(HOME) + rng.choice(len(FOREIGN), rows, p=weights / weights.sum())


def build_directory(rng: np.random.Generator, clients: int) -> Directory:
    """Create every party that is not a client, in numbers that grow with the bank.

    The entries of clients are filled with -1; :func:`enter_clients` sets them.
    """
    sectors = [np.full(clients, -1, dtype=np.int8)]
    countries = [np.full(clients, -1, dtype=np.int8)]
    first: dict[str, Array] = {}
    size: dict[str, Array] = {}
    at = clients
    for name, spec in POOLS.items():
        share = np.zeros(len(COUNTRIES))
        if spec.where == "home":
            share[: len(HOME)] = HOME_SHARE
        elif spec.where == "shell":
            share[[code("country", c) for c in SHELL]] = 1.0
        else:
            share[len(HOME) :] = FOREIGN_TRADE_WEIGHT if spec.where == "trade" else FOREIGN_FAMILY_WEIGHT
        counts = np.where(
            share > 0, np.maximum(spec.least, np.rint(share / share.sum() * spec.per_client * clients)), 0
        ).astype(np.int64)
        size[name] = counts
        first[name] = at + np.concatenate([[0], np.cumsum(counts)[:-1]])
        # a country without a member must not pull the pool's start down
        first[name] = np.where(counts > 0, first[name], int(np.iinfo(np.int32).max))
        total = int(counts.sum())
        codes = np.array([code("sector", s) for s in spec.sectors], dtype=np.int8)
        sectors.append(codes[rng.integers(0, len(codes), total)])
        countries.append(np.repeat(np.arange(len(COUNTRIES), dtype=np.int8), counts))
        at += total
    return Directory(clients, np.concatenate(sectors), np.concatenate(countries), first, size)


def enter_clients(directory: Directory, industry: Array, geography: Array) -> None:
    """Write the clients' own sector and country, shape ``(clients,)`` each, into the directory."""
    directory.sector[: directory.clients] = industry
    directory.country[: directory.clients] = geography
