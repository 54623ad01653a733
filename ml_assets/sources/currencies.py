"""ISO 4217 and ISO 3166 codes for the names that published data sets use."""

from __future__ import annotations

import pycountry

CURRENCIES = {
    "us dollar": "USD",
    "us dollars": "USD",
    "euro": "EUR",
    "yuan": "CNY",
    "yen": "JPY",
    "swiss franc": "CHF",
    "shekel": "ILS",
    "canadian dollar": "CAD",
    "rupee": "INR",
    "indian rupee": "INR",
    "pakistani rupee": "PKR",
    "ruble": "RUB",
    "uk pound": "GBP",
    "uk pounds": "GBP",
    "australian dollar": "AUD",
    "saudi riyal": "SAR",
    "mexican peso": "MXN",
    "brazil real": "BRL",
    "dirham": "AED",
    "moroccan dirham": "MAD",
    "naira": "NGN",
    "turkish lira": "TRY",
    "albanian lek": "ALL",
    "bitcoin": "BTC",
}
"""Currency names in lower case. Bitcoin has no ISO code; BTC is the one in common use."""

_COUNTRY_ALIASES = {"uk": "GB", "usa": "US", "uae": "AE", "turkey": "TR"}


def country_code(name: str) -> str | None:
    """ISO 3166 alpha-2 code of a country's name, or None if it is not known.

    >>> country_code("UK"), country_code("Pakistan"), country_code("Atlantis")
    ('GB', 'PK', None)
    """
    plain = name.strip().lower()
    if plain in _COUNTRY_ALIASES:
        return _COUNTRY_ALIASES[plain]
    try:
        return str(pycountry.countries.lookup(plain).alpha_2)
    except LookupError:
        return None
