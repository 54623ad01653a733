"""Words of the simulated bank and their integer codes.

Rule of this file: only lists of names. Everything else in this package works on positions in these lists
and turns them into text once, when the files are written. The words are the canonical ones of the input
contract (``data/README.md``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Any numpy array; the docstring of each function gives shape and meaning."""

CHANNELS = ("cash", "atm", "card", "transfer", "wire", "direct_debit", "cheque", "draft", "online", "fx", "other")
SECTORS = (
    "agriculture", "automotive", "casino", "charity", "construction", "consulting", "crypto_exchange", "education",
    "electronics", "financial_services", "government", "healthcare", "hospitality", "household", "import_export",
    "insurance", "investment", "jewellery", "legal", "logistics", "manufacturing", "msb", "payroll_services",
    "real_estate", "restaurant", "retail", "technology", "telecom", "textiles", "transport", "utilities",
)  # fmt: skip
SIZES = ("individual", "micro", "small", "medium", "large")
RATINGS = ("low", "medium", "high")

HOME = ("DE", "FR", "NL", "BE", "AT")
"""Countries in which the bank has clients; all of them use the euro."""
FOREIGN = (
    "GB", "CH", "US", "PL", "IT", "ES", "RO", "TR", "CN", "HK", "IN", "VN", "AE", "PK", "NG", "MA", "UA", "SG",
    "JP", "PH", "SN", "LB", "BR", "MX", "PA", "CY", "VG", "KY",
)  # fmt: skip
COUNTRIES = HOME + FOREIGN
FOREIGN_TRADE_WEIGHT = (
    9, 6, 8, 8, 8, 7, 3, 5, 12, 6, 4, 3, 3, 1, 1, 2, 1, 3, 3, 1, 1, 1, 2, 2, 1, 1, 1, 1,
)  # fmt: skip
"""Relative weight of each foreign country in goods trade, in the order of ``FOREIGN``."""
FOREIGN_FAMILY_WEIGHT = (
    4, 2, 2, 9, 5, 4, 8, 12, 7, 2, 6, 4, 1, 4, 5, 8, 6, 1, 1, 4, 4, 3, 2, 1, 1, 1, 0.2, 0.2,
)  # fmt: skip
"""Relative weight of each foreign country as a family's country of origin, in the order of ``FOREIGN``."""
SHELL = ("HK", "AE", "PA", "CY", "VG", "KY", "SG")
"""Countries in which many companies without local business are registered."""
CORRIDOR = ("CN", "HK")
"""Senders of the corridor that FINTRAC's Project ATHENA describes; honest families and firms use it as well."""

CURRENCIES = ("EUR", "USD", "GBP", "CHF", "PLN", "CNY", "HKD", "TRY", "INR", "AED", "JPY", "SEK")
START_RATE = (1.0, 0.92, 1.16, 1.05, 0.23, 0.128, 0.118, 0.030, 0.011, 0.25, 0.0063, 0.088)
"""Euros for one unit of each currency on the first day; the daily rates walk from here."""
_LOCAL = {
    "US": "USD", "GB": "GBP", "CH": "CHF", "PL": "PLN", "CN": "CNY", "HK": "HKD", "TR": "TRY", "IN": "INR",
    "AE": "AED", "JP": "JPY", "IT": "EUR", "ES": "EUR", "CY": "EUR",
}  # fmt: skip
LOCAL_CURRENCY = np.array(
    [0 if c in HOME else CURRENCIES.index(_LOCAL.get(c, "USD")) for c in COUNTRIES], dtype=np.int8
)
"""Currency code that a payee in each country invoices in."""

_CODES = {
    "channel": {name: i for i, name in enumerate(CHANNELS)},
    "sector": {name: i for i, name in enumerate(SECTORS)},
    "country": {name: i for i, name in enumerate(COUNTRIES)},
    "currency": {name: i for i, name in enumerate(CURRENCIES)},
}


def code(kind: str, name: str) -> int:
    """Position of ``name`` in the list of its kind (channel, sector, country or currency).

    >>> code("channel", "wire")
    4
    """
    return _CODES[kind][name]
