"""Who the clients are: archetype, income or revenue, place, age of the account, and the KYC file.

Rule of this file: what is true of a client before the first payment. Nothing here depends on laundering
but one weak, noisy pull in the KYC ratings, which is applied in :func:`build_profiles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.sources.simulated_bank.counterparties import HOME_SHARE, draw_country
from ml_assets.sources.simulated_bank.ledger import quota
from ml_assets.sources.simulated_bank.vocabulary import COUNTRIES, HOME, RATINGS, SECTORS, SIZES, Array, code


@dataclass(frozen=True)
class Archetype:
    """A way of living or of doing business.

    ``weight`` is the share of clients (relative), ``occupation`` None for companies, ``income`` the median
    annual income or revenue in base currency, ``industry`` None where a company draws one.
    ``is_lookalike`` marks honest behaviour that resembles laundering (``lookalikes.py`` pays it out).
    """

    name: str
    weight: float
    occupation: str | None
    income: float
    industry: str | None = "household"
    is_lookalike: bool = False


ARCHETYPES = (
    Archetype("salaried", 37.5, "employed", 36_000),
    Archetype("professional", 4.0, "professional", 68_000),
    Archetype("self_employed", 5.5, "self_employed", 42_000),
    Archetype("business_owner", 2.5, "business_owner", 75_000),
    Archetype("student", 7.0, "student", 11_000),
    Archetype("retired", 12.5, "retired", 22_000),
    Archetype("homemaker", 5.5, "homemaker", 14_000),
    Archetype("unemployed", 3.8, "unemployed", 13_000),
    Archetype("student_paid_from_abroad", 1.4, "student", 16_000, is_lookalike=True),
    Archetype("remittance_sender", 2.0, "employed", 28_000, is_lookalike=True),
    Archetype("marketplace_seller", 1.3, "self_employed", 30_000, is_lookalike=True),
    Archetype("crypto_investor", 1.2, "employed", 45_000, is_lookalike=True),
    Archetype("casino_player", 0.6, "employed", 38_000, is_lookalike=True),
    Archetype("company", 11.0, None, 260_000, None),
    Archetype("restaurant", 1.4, None, 380_000, "restaurant", is_lookalike=True),
    Archetype("payroll_firm", 0.25, None, 2_500_000, "payroll_services", is_lookalike=True),
    Archetype("notary", 0.5, None, 450_000, "legal", is_lookalike=True),
    Archetype("car_dealer", 0.6, None, 900_000, "automotive", is_lookalike=True),
    Archetype("import_export_firm", 1.2, None, 900_000, "import_export", is_lookalike=True),
    Archetype("money_service", 0.25, None, 900_000, "msb", is_lookalike=True),
)
NAMES = tuple(a.name for a in ARCHETYPES)
IS_COMPANY = np.array([a.occupation is None for a in ARCHETYPES])
IS_LOOKALIKE = np.array([a.is_lookalike for a in ARCHETYPES])

_COMPANY_SECTORS = {
    "retail": 17, "construction": 12, "consulting": 10, "technology": 8, "healthcare": 7, "hospitality": 4,
    "transport": 6, "logistics": 4, "manufacturing": 7, "agriculture": 5, "real_estate": 6, "automotive": 3,
    "textiles": 2, "electronics": 2.5, "jewellery": 1, "education": 2, "charity": 2.5, "legal": 1.5,
    "financial_services": 1, "insurance": 1, "investment": 1, "telecom": 0.5, "utilities": 0.5, "government": 0.4,
    "casino": 0.2, "crypto_exchange": 0.2, "import_export": 1.5,
}  # fmt: skip
_SECTOR_RISK = {
    "casino": 80, "crypto_exchange": 82, "msb": 85, "jewellery": 68, "import_export": 62, "real_estate": 52,
    "automotive": 50, "restaurant": 48, "hospitality": 42, "charity": 48, "construction": 45, "legal": 45,
    "investment": 45, "financial_services": 42, "payroll_services": 38, "electronics": 40, "textiles": 40,
}  # fmt: skip
_COUNTRY_RISK = {"DE": 18, "FR": 20, "NL": 22, "BE": 22, "AT": 19}
_ACCOUNT_YEARS = 15
_NEW_CLIENT_SHARE = 0.09
_MEAN_ACTIVITY = 0.62
"""Scale of all habits; gives about 230 payments a client in 546 days with standing orders and wages."""


@dataclass(frozen=True)
class Population:
    """The clients, one element per client, all arrays of shape ``(clients,)``.

    ``archetype`` position in ``ARCHETYPES``; ``income`` true annual income or revenue, base currency;
    ``activity`` factor on how often the client pays; ``onboard_day`` days from the first simulated day
    (negative: before it); ``origin`` country code of the family; ``payday`` 0-27; ``size`` position in
    ``SIZES``.
    """

    archetype: Array
    is_company: Array
    industry: Array
    geography: Array
    size: Array
    income: Array
    activity: Array
    onboard_day: Array
    origin: Array
    payday: Array

    def __len__(self) -> int:
        return len(self.archetype)

    def who(self, *names: str) -> Array:
        """Positions of the clients of the named archetypes, ascending."""
        return np.flatnonzero(np.isin(self.archetype, [NAMES.index(n) for n in names]))

    def rates(self, by_archetype: dict[str, float], default: float = 0.0) -> Array:
        """Spread a table archetype → number over the clients, shape ``(clients,)``."""
        return np.array([by_archetype.get(n, default) for n in NAMES])[self.archetype]


def build_population(rng: np.random.Generator, clients: int, days: int) -> Population:
    """Draw the clients of the bank. Every archetype has at least one client."""
    archetype = quota(rng, np.array([a.weight for a in ARCHETYPES]), clients)
    is_company = IS_COMPANY[archetype]
    sector_weights = np.array(list(_COMPANY_SECTORS.values()))
    sector_codes = np.array([code("sector", s) for s in _COMPANY_SECTORS])
    drawn = sector_codes[rng.choice(len(sector_codes), clients, p=sector_weights / sector_weights.sum())]
    fixed = np.array([-1 if a.industry is None else code("sector", a.industry) for a in ARCHETYPES])[archetype]
    industry = np.where(fixed >= 0, fixed, drawn).astype(np.int8)
    geography = rng.choice(len(HOME), clients, p=np.array(HOME_SHARE)).astype(np.int8)

    size = np.where(is_company, 1 + rng.choice(4, clients, p=[0.55, 0.31, 0.11, 0.03]), 0).astype(np.int8)
    size_factor = np.array([1.0, 0.45, 1.6, 7.0, 40.0])[size]
    spread = np.where(is_company, 0.55, 0.38)
    income = (
        np.array([a.income for a in ARCHETYPES])[archetype]
        * size_factor
        * np.exp(spread * rng.standard_normal(clients))
    )
    activity = _MEAN_ACTIVITY * np.exp(0.42 * rng.standard_normal(clients))

    # accounts were opened ever more often, and some during the simulated days
    old = -np.rint(_ACCOUNT_YEARS * 365.25 * rng.random(clients) ** 1.3).astype(np.int64) - 1
    new = rng.integers(1, max(2, int(days * 0.8)), clients)
    onboard_day = np.where(rng.random(clients) < _NEW_CLIENT_SHARE, new, old)

    return Population(
        archetype=archetype,
        is_company=is_company,
        industry=industry,
        geography=geography,
        size=size,
        income=income,
        activity=activity,
        onboard_day=onboard_day,
        origin=draw_country(rng, "family", clients).astype(np.int8),
        payday=rng.choice([0, 14, 24, 25, 26, 27], clients, p=[0.22, 0.12, 0.16, 0.16, 0.17, 0.17]),
    )


def _round_like_a_form(amount: Array) -> Array:
    """Two leading digits, as people fill in forms."""
    step = 10.0 ** np.maximum(np.floor(np.log10(np.maximum(amount, 1.0))) - 1, 2)
    return np.maximum(np.rint(amount / step) * step, 500.0)


def build_profiles(
    rng: np.random.Generator, population: Population, ids: pl.Series, is_launderer: Array, start: date, days: int
) -> pl.DataFrame:
    """The KYC file with its history: one row per client and ``valid_from``, sorted by both.

    Parameters
    ----------
    ids : public client ids, shape ``(clients,)``.
    is_launderer : pulls risk rating and PEP flag a little; real files know a little, not much.

    Returns
    -------
    The columns of ``client_profiles`` in the input contract. ``expected_turnover`` is the declared annual
    income or turnover, base currency; ``account_age_months`` whole months on the last simulated day.
    """
    n = len(population)
    sector_risk = np.array([_SECTOR_RISK.get(s, 28) for s in SECTORS], dtype=np.float64)[population.industry]
    country_risk = np.array([_COUNTRY_RISK[c] for c in HOME], dtype=np.float64)[population.geography]
    industry_score = np.clip(sector_risk + 6 * rng.standard_normal(n), 0, 100)
    # persons whose family lives abroad are scored by both countries; this hits honest and dishonest alike
    country_score = np.clip(country_risk + rng.gamma(1.2, 9.0, n), 0, 100)
    latent = 0.02 * (industry_score - 30) + 0.015 * (country_score - 25) + 0.22 * is_launderer + rng.standard_normal(n)
    rating = np.digitize(latent, [0.55, 1.65])
    pep = rng.random(n) < np.where(is_launderer, 0.012, 0.006)
    sanctions = rng.random(n) < 0.0006
    declared = _round_like_a_form(
        population.income
        * np.exp(0.28 * rng.standard_normal(n))
        * np.where(rng.random(n) < 0.06, rng.uniform(0.2, 0.6, n), 1.0)
    )

    onboarding = np.datetime64(start, "D") + population.onboard_day
    last = start + timedelta(days=days - 1)
    age = (
        (last.year - onboarding.astype("datetime64[Y]").astype(int) - 1970) * 12
        + last.month
        - (onboarding.astype("datetime64[M]").astype(int) % 12 + 1)
    )
    day_of_month = (onboarding - onboarding.astype("datetime64[M]")).astype(int) + 1
    age = np.maximum(age - (day_of_month > last.day), 0)

    occupations = [a.occupation for a in ARCHETYPES]
    current = pl.DataFrame(
        {
            "client_id": ids,
            "industry": pl.Series(np.array(SECTORS, dtype=object)[population.industry], dtype=pl.String),
            "occupation": pl.Series([occupations[a] for a in population.archetype.tolist()], dtype=pl.String),
            "expected_turnover": declared,
            "geography": pl.Series(np.array(COUNTRIES, dtype=object)[population.geography], dtype=pl.String),
            "size_bucket": pl.Series(np.array(SIZES, dtype=object)[population.size], dtype=pl.String),
            "onboarding_date": onboarding,
            "risk_rating": pl.Series(np.array(RATINGS, dtype=object)[rating], dtype=pl.String),
            "pep_flag": pep,
            "sanctions_flag": sanctions,
            "country_risk_score": np.round(country_score, 1),
            "industry_risk_score": np.round(industry_score, 1),
            "account_age_months": age,
            "valid_from": onboarding,
        }
    )
    # a periodic review replaced the file of some: the older version holds from onboarding, the newer from then on
    review_day = rng.integers(1, days, n)
    reviewed = (rng.random(n) < 0.14) & (review_day > population.onboard_day + 30)
    older_rating = np.clip(rating + rng.choice([-1, 0, 0, 1], n), 0, 2)
    older = current.with_columns(
        pl.Series("expected_turnover", _round_like_a_form(declared * np.exp(0.25 * rng.standard_normal(n)))),
        pl.Series("risk_rating", np.array(RATINGS, dtype=object)[older_rating], dtype=pl.String),
    ).filter(pl.Series(reviewed))
    newer = current.with_columns(
        pl.when(pl.Series(reviewed))
        .then(pl.Series(np.datetime64(start, "D") + review_day))
        .otherwise(pl.col("valid_from"))
        .alias("valid_from")
    )
    return pl.concat([older, newer]).sort("client_id", "valid_from")
