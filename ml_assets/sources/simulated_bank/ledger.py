"""Payments as columns of arrays, and the bank's calendar from which their moments are drawn.

Rule of this file: how payments are held and when people pay; not who pays whom or how much. A payment is
told once, from the side of one client; the second side of a payment between two clients is added when
the bank is assembled.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np

from ml_assets.sources.simulated_bank.vocabulary import Array

DAY = 86_400
"""Seconds in a day."""
MONTH_DAYS = 30.4375
"""Mean length of a month, in days: rates are per month."""
AUTO = -1
"""Channel or currency that follows from the countries of the two sides (see ``bank.py``)."""
HONEST = -1
"""Case of a payment that belongs to no laundering."""
_RESOLUTION = 1 << 15


@dataclass(frozen=True)
class Payments:
    """Payments, one element per payment, all arrays of shape ``(rows,)``.

    ``client`` and ``party`` are positions in the directory of parties (clients come first), ``at`` seconds
    since the first simulated midnight, ``amount`` base-currency units, ``currency`` and ``channel`` codes or
    ``AUTO``, ``round_to`` the step to which the amount is rounded in its own currency (0: to cents), ``case``
    the position of the launderer in the plan or ``HONEST``.
    """

    client: Array
    party: Array
    at: Array
    amount: Array
    is_inbound: Array
    channel: Array
    currency: Array
    round_to: Array
    case: Array

    def __len__(self) -> int:
        return len(self.client)

    def take(self, which: Array) -> Payments:
        """The payments at positions (or under mask) ``which``."""
        return Payments(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def payments(
    client: Array,
    party: Array,
    at: Array,
    amount: Array,
    is_inbound: bool | Array,
    channel: int | Array = AUTO,
    currency: int | Array = AUTO,
    round_to: float | Array = 0.0,
    case: int | Array = HONEST,
) -> Payments:
    """Build payments of shape ``(rows,)``; scalars are spread over all rows. Units as in :class:`Payments`."""
    rows = len(client)

    def column(values: float | bool | Array, dtype: type) -> Array:
        return np.broadcast_to(np.asarray(values, dtype=dtype), rows).copy()

    return Payments(
        client=column(client, np.int32),
        party=column(party, np.int32),
        at=column(at, np.int32),
        amount=column(amount, np.float64),
        is_inbound=column(is_inbound, np.bool_),
        channel=column(channel, np.int8),
        currency=column(currency, np.int8),
        round_to=column(round_to, np.float32),
        case=column(case, np.int32),
    )


def join(blocks: list[Payments]) -> Payments:
    """All payments of ``blocks``, in the order given; no blocks give no payments."""
    if not blocks:
        nobody = np.empty(0, dtype=np.int32)
        return payments(nobody, nobody, nobody, nobody, False)
    return Payments(**{f.name: np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(Payments)})


_WEEK = {
    # weight of Monday to Sunday
    "shop": (0.9, 0.85, 0.9, 1.0, 1.35, 1.55, 0.45),
    "leisure": (0.6, 0.6, 0.7, 0.9, 1.5, 1.8, 1.1),
    "office": (1.1, 1.15, 1.1, 1.1, 1.0, 0.06, 0.03),
    "private": (1.0, 0.95, 0.95, 1.0, 1.1, 0.95, 0.85),
    "till": (1.5, 0.8, 0.8, 0.8, 1.0, 0.7, 0.0),
}
_YEAR = {
    # weight of January to December
    "shop": (0.92, 0.9, 0.97, 1.0, 1.0, 0.98, 0.97, 0.93, 0.98, 1.02, 1.12, 1.45),
    "leisure": (0.8, 0.85, 0.9, 1.0, 1.05, 1.15, 1.3, 1.3, 1.05, 0.95, 0.9, 1.2),
    "office": (1.0, 1.0, 1.08, 1.02, 1.0, 1.03, 0.92, 0.78, 1.03, 1.05, 1.05, 1.05),
    "private": (0.95, 0.95, 0.98, 1.0, 1.0, 1.0, 1.05, 1.0, 0.98, 0.98, 1.0, 1.25),
    "till": (0.9, 0.92, 0.97, 1.0, 1.05, 1.08, 1.1, 1.05, 1.0, 1.0, 1.0, 1.3),
}
_HOURS = {
    # weight of the hours 0 to 23, UTC
    "shop": (0, 0, 0, 0, 0, 0, 1, 3, 5, 7, 9, 10, 10, 8, 7, 8, 10, 12, 10, 6, 3, 1, 0.3, 0.1),
    "leisure": (2, 1, 0.5, 0.2, 0.1, 0.1, 0.3, 1, 2, 2, 3, 5, 8, 7, 4, 4, 5, 8, 12, 14, 12, 9, 6, 4),
    "office": (0, 0, 0, 0, 0, 0.3, 1, 4, 10, 13, 13, 11, 7, 9, 11, 10, 7, 3, 1, 0.5, 0.3, 0.2, 0.1, 0),
    "private": (1, 0.6, 0.4, 0.3, 0.3, 0.6, 2, 5, 6, 6, 6, 6, 7, 6, 5, 5, 6, 8, 9, 10, 9, 7, 4, 2),
    "till": (0, 0, 0, 0, 0, 0, 0, 1, 6, 12, 13, 10, 5, 6, 9, 9, 5, 1, 0, 0, 0, 0, 0, 0),
    "night_run": (0, 1, 5, 8, 8, 5, 2, 1, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
}


def _quantiles(weights: Array) -> Array:
    """Table ``q`` of shape ``(resolution,)`` with ``q[int(u * resolution)]`` distributed as ``weights``."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    u = (np.arange(_RESOLUTION) + 0.5) / _RESOLUTION
    return np.searchsorted(cumulative / cumulative[-1], u).astype(np.int16)


class Calendar:
    """The simulated days: seasons, weekdays, months and hours, as tables to draw from."""

    def __init__(self, start: date, days: int) -> None:
        self.start = start
        self.days = days
        every = [start + timedelta(days=i) for i in range(days)]
        self.weekday = np.array([d.weekday() for d in every], dtype=np.int8)
        month = np.array([d.month - 1 for d in every])
        self._days: dict[str, Array] = {}
        self._share_before: dict[str, Array] = {}
        for rhythm, week in _WEEK.items():
            weights = np.array(week)[self.weekday] * np.array(_YEAR[rhythm])[month]
            self._days[rhythm] = _quantiles(weights)
            self._share_before[rhythm] = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
        self._hours = {name: _quantiles(np.array(w)) for name, w in _HOURS.items()}
        # offset of the first of each month that touches the simulated days; the first one may lie before day 0
        first = date(start.year, start.month, 1)
        firsts = []
        while (first - start).days < days:
            firsts.append(first)
            first = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        self.month_start = np.array([(d - start).days for d in firsts], dtype=np.int32)
        self.month_number = np.array([d.month for d in firsts], dtype=np.int8)

    def moments(self, rng: np.random.Generator, day: Array, hours: str) -> Array:
        """Seconds since the first midnight on the given days, hour by the named profile. Shape of ``day``."""
        hour = self._hours[hours][rng.integers(0, _RESOLUTION, len(day), dtype=np.int32)].astype(np.int32)
        return day.astype(np.int32) * DAY + hour * 3600 + rng.integers(0, 3600, len(day), dtype=np.int32)

    def scatter(
        self, rng: np.random.Generator, rate: Array, first_day: Array, rhythm: str, hours: str | None = None
    ) -> tuple[Array, Array]:
        """Draw a Poisson number of moments for each owner.

        Parameters
        ----------
        rate : events per month, shape ``(owners,)``.
        first_day : first day on which each owner can pay; negative counts as day 0. Shape ``(owners,)``.
        rhythm, hours : names of the season/weekday profile and of the hour profile (default: same name).

        Returns
        -------
        owner (position in ``rate``) and moment in seconds, one element per event, owners in order.
        """
        before = self._share_before[rhythm][np.clip(first_day, 0, self.days)]
        counts = rng.poisson(rate * (self.days / MONTH_DAYS) * (1.0 - before))
        owner = np.repeat(np.arange(len(rate), dtype=np.int32), counts)
        low = before[owner].astype(np.float32)
        u = low + (np.float32(1.0) - low) * rng.random(len(owner), dtype=np.float32)
        place = np.minimum((u * _RESOLUTION).astype(np.int32), _RESOLUTION - 1)
        return owner, self.moments(rng, self._days[rhythm][place], hours or rhythm)

    def monthly(
        self, rng: np.random.Generator, first_day: Array, day_of_month: Array, hours: str, jitter_days: int = 0
    ) -> tuple[Array, Array, Array]:
        """One moment per owner and month, moved from a weekend to the Friday before it.

        Parameters
        ----------
        first_day : as in :meth:`scatter`. Shape ``(owners,)``.
        day_of_month : 0-27, shape ``(owners,)``.
        jitter_days : payments come up to this many days later.

        Returns
        -------
        owner, moment in seconds, number of the month 1-12; one element per payment.
        """
        owners, months = len(first_day), len(self.month_start)
        owner = np.repeat(np.arange(owners, dtype=np.int32), months)
        day = np.tile(self.month_start, owners) + np.repeat(day_of_month, months)
        number = np.tile(self.month_number, owners)
        if jitter_days:
            day = day + rng.integers(0, jitter_days + 1, len(day))
        inside = (day >= np.maximum(first_day, 0)[owner]) & (day < self.days)
        owner, day, number = owner[inside], day[inside], number[inside]
        day = np.maximum(day - np.maximum(self.weekday[day].astype(np.int32) - 4, 0), 0)
        return owner, self.moments(rng, day, hours), number


def quota(rng: np.random.Generator, weights: Array, total: int) -> Array:
    """Split ``total`` over classes in proportion to ``weights`` and shuffle: codes of shape ``(total,)``.

    Every class with a positive weight gets at least one member where ``total`` allows, so that small banks
    hold every kind.
    """
    share = np.asarray(weights, dtype=np.float64)
    exact = share / share.sum() * total
    counts = np.floor(exact).astype(np.int64)
    if total >= int((share > 0).sum()):
        counts = np.where(share > 0, np.maximum(counts, 1), 0)
    while counts.sum() > total:
        counts[int(np.argmax(counts))] -= 1
    for at in np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]:
        counts[at] += 1
    return rng.permutation(np.repeat(np.arange(len(share)), counts))
