"""How a pillar declares its table: the two grain columns, units with their natural range, and one constructor.

Rule of this file: only declarations shared by all pillars; no formula and no data. A feature's last name part
is its unit (``p1_outflow_sum_30d_base``), and the unit brings type and range, so that a declaration cannot say
``_ratio`` and mean something over 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ml_assets.contracts.table import Column, DType, TableContract

UNITS: Final[dict[str, tuple[DType, float | None, float | None]]] = {
    "base": ("number", None, None),  # money in the base currency
    "ratio": ("number", 0.0, 1.0),  # a share
    "factor": ("number", 0.0, None),  # a quotient that may exceed 1
    "score": ("number", 0.0, 100.0),
    "count": ("integer", 0.0, None),
    "mean": ("number", 0.0, None),  # an average of counts
    "days": ("number", 0.0, None),
    "hours": ("number", 0.0, None),
    "seconds": ("number", 0.0, None),
    "hops": ("integer", 0.0, None),
    "bits": ("number", 0.0, None),  # entropy, logarithm to base 2
    "zscore": ("number", None, None),  # standard deviations
    "correlation": ("number", -1.0, 1.0),
    "index": ("number", -1.0, 1.0),  # a signed index without unit
    "distance": ("number", 0.0, None),  # standardised distance
    "statistic": ("number", None, None),  # a test statistic
    "value": ("number", None, None),  # whatever a generated characteristic measures
}
"""Unit suffix -> type, least and greatest value (inclusive, None is open)."""

GRAIN: Final = ("client_id", "as_of_date")
"""One row per client and as-of date: the grain of every feature table."""

GRAIN_COLUMNS: Final = (
    Column("client_id", "text", "Client the row describes."),
    Column(
        "as_of_date",
        "date",
        "Monday, 00:00 UTC; only rows that happened strictly before it and were known before it count.",
    ),
)

_NAME = re.compile(r"p[1-6]_[a-z0-9]+(_[a-z0-9]+)+")
_BOOLEAN = re.compile(r"p[1-6]_(is|has)_")
_FROM_UNIT: Final = float("nan")


def feature(
    name: str,
    description: str,
    formula: str,
    *,
    null_rule: str | None = None,
    source: str = "",
    requires: Iterable[str] = (),
    dtype: DType | None = None,
    minimum: float | None = _FROM_UNIT,
    maximum: float | None = _FROM_UNIT,
) -> Column:
    """Declare one feature column; unit, type and range follow from the name unless given.

    Parameters
    ----------
    name : ``<pillar>_<measure>_<stat>_<window>_<unit>``, unit one of :data:`UNITS`; ``p4_is_...`` and
        ``p4_has_...`` are booleans and carry no unit.
    description : one sentence an analyst understands.
    formula : how it is computed, with window and null handling.
    null_rule : when it is null; None means never.
    source : paper, regulation or indicator list behind the formula.
    requires : input columns without which it is null.
    dtype, minimum, maximum : override what the unit implies; ``minimum=None`` opens the range.

    Raises
    ------
    ValueError : the name has no pillar, no known unit, or description or formula is empty.

    >>> feature("p1_inflow_sum_30d_base", "Money received in 30 days.", "sum of inbound amounts").unit
    'base'
    >>> feature("p1_inflow_sum_30d_euro", "Money received in 30 days.", "sum of inbound amounts")
    Traceback (most recent call last):
    ...
    ValueError: p1_inflow_sum_30d_euro: the last part of the name is not a known unit ('euro'); see UNITS
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name}: a feature is named <pillar>_<measure>_..._<unit>, lower case, pillar p1 to p6")
    if not description or not formula:
        raise ValueError(f"{name}: description and formula must say something")
    natural: tuple[DType, float | None, float | None]
    if _BOOLEAN.match(name):
        unit, natural = "-", ("boolean", None, None)
    else:
        unit = name.rsplit("_", 1)[1]
        if unit not in UNITS:
            raise ValueError(f"{name}: the last part of the name is not a known unit ({unit!r}); see UNITS")
        natural = UNITS[unit]
    return Column(
        name=name,
        dtype=dtype or natural[0],
        description=description,
        unit=unit,
        formula=formula,
        null_rule=null_rule,
        source=source,
        minimum=natural[1] if minimum is not None and minimum != minimum else minimum,
        maximum=natural[2] if maximum is not None and maximum != maximum else maximum,
        requires=tuple(requires),
    )


def pillar_contract(pillar: str, about: str, features: Iterable[Column]) -> TableContract:
    """Contract of ``features.feat_<pillar>``: grain columns, then ``features`` in the order given.

    ``pillar`` is the key (``p1_volume_velocity``); ``about`` completes "One row per client and as-of date:".
    """
    return TableContract(
        schema="features",
        name=f"feat_{pillar}",
        description=f"One row per client and as-of date: {about}",
        grain=GRAIN,
        columns=(*GRAIN_COLUMNS, *features),
    )
