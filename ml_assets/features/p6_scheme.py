"""P6, strategic scheme alignment: the computable half of Tier 2.

Rule of this file: what the catalogue in :mod:`ml_assets.features.scheme_templates` declares is computed here,
one measure per indicator, from a client's own transactions, its profile and its windows. Thresholds, reasons
and sources stay in the catalogue; models and scores stay out.

Lists consumed, all mandatory, from the two seed tables
--------------------------------------------------------
``scheme_countries`` (scheme, list_name, iso2, source, source_date), by scheme: underground_banking
``underground_banking_corridor``; trade_based ``trade_corridor``, ``shell_jurisdictions``; msb_professional
``msb_corridor``.

``scheme_sectors`` (scheme, list_name, sector, source, source_date), by scheme: underground_banking
``underground_banking_exit``, ``casino_sectors``, ``msb_sectors``, ``deposit_product_sectors``; trade_based
``trade_exposed_sectors``, ``trade_atypical_sectors``, ``domestic_operating_sectors``, ``legal_sectors``;
msb_professional ``business_flow_sectors``. Other lists in these tables are not read.

Point in time
-------------
A row counts for as-of date D only if it happened and was known strictly before D. Whether an indicator is
computable is decided by the rows of its own window (:attr:`Indicator.null_rule`): one is null where no known
row of the window carries a column it needs, never 0. Text codes serve as names only; sums run in integer
cents, or in the order of the rows, so no result depends on what later rows add to the vocabulary.

First-in-first-out matching
---------------------------
Several indicators ask how much of some credits left again as some debits within a reach. Debits in time order
use up the oldest credit not older than the reach, cent by cent; no cent is used twice. A credit and a debit of
the same instant may match, whichever comes first in the table, because sources that know only dates put both
at midnight.

Payment loops
-------------
``p6_ub_loop_value_30d_base`` uses the payment graph of the 30 days before D, all clients and counterparties
alike. A payment to v lies on a loop of at most four payments if v reaches the client again in at most three;
v does so iff v, or a party v pays, is within two payments of the client. Two hops forward and two backward are
stamped, so a client costs about the square of a degree, with degrees capped by the hub limit. Payments on a
loop need not be in time order: temporal cycles are a matter of the network pillar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.columns import feature, pillar_contract
from ml_assets.features.history import History, Spine
from ml_assets.features.scheme_templates import (
    BELOW,
    FULL_WEIGHT,
    INDICATORS,
    PREFIXES,
    ROW_COLUMNS,
    SCORE_COLUMNS,
    WEIGHTS,
    Indicator,
    Scheme,
    Template,
    indicators_of,
)

HOUR_US: Final = 3_600_000_000
"""Microseconds in an hour."""

EVIDENCE_CAP: Final = 50
"""Transaction ids kept per hit, newest first; ``txn_count`` still counts all of them."""

COUNTRY_LISTS: Final[dict[str, Scheme]] = {
    "underground_banking_corridor": Scheme.UNDERGROUND_BANKING,
    "trade_corridor": Scheme.TRADE_BASED,
    "shell_jurisdictions": Scheme.TRADE_BASED,
    "msb_corridor": Scheme.MSB_PROFESSIONAL,
}
"""Lists read from ``scheme_countries``, with the scheme under which they stand there."""

SECTOR_LISTS: Final[dict[str, Scheme]] = {
    "underground_banking_exit": Scheme.UNDERGROUND_BANKING,
    "casino_sectors": Scheme.UNDERGROUND_BANKING,
    "msb_sectors": Scheme.UNDERGROUND_BANKING,
    "deposit_product_sectors": Scheme.UNDERGROUND_BANKING,
    "trade_exposed_sectors": Scheme.TRADE_BASED,
    "trade_atypical_sectors": Scheme.TRADE_BASED,
    "domestic_operating_sectors": Scheme.TRADE_BASED,
    "legal_sectors": Scheme.TRADE_BASED,
    "business_flow_sectors": Scheme.MSB_PROFESSIONAL,
}
"""Lists read from ``scheme_sectors``, with the scheme under which they stand there."""

MEDIAN_SCORE: Final = 50.0
"""Pillar score of the median training row, on the common scale of the pillars."""

WEAK_OCCUPATIONS: Final = ("student", "homemaker", "unemployed")
"""Occupations both Athena alerts and 18/19-SIDEL-025 name for mules."""

SMALL_SIZES: Final = ("micro", "small", "medium")
"""Sizes of 'small and medium' firms in 18/19-SIDEL-025."""

PROFILE_COLUMNS: Final = {
    "industry": "industry",
    "occupation": "occupation",
    "size_bucket": "size_bucket",
    "expected_turnover": "expected_turnover",
    "onboarding_date": "account_age_days",
}
"""Input column -> column of ``profiles`` that carries it per as-of date."""


def _summary_columns() -> list[Column]:
    columns = []
    for scheme, prefix in PREFIXES.items():
        names = ", ".join(i.name for i in indicators_of(scheme))
        title = scheme.value.replace("_", " ")
        columns += [
            feature(
                f"p6_{prefix}_fired_count",
                f"Indicators of {title} at or over their threshold.",
                f"number of these at or over their threshold: {names}",
                null_rule="none of the scheme's indicators is computable",
                maximum=float(len(indicators_of(scheme))),
            ),
            feature(
                f"p6_{prefix}_computable_count",
                f"Indicators of {title} that could be computed at all.",
                f"number of these that are not null: {names}",
                maximum=float(len(indicators_of(scheme))),
            ),
            feature(
                f"p6_{prefix}_evidence_ratio",
                f"How much the indicators together say for {title}: a few that are specific say more than many shared.",
                f"1 - product over the computable indicators of (1 - weight / {FULL_WEIGHT:g} x strength), strength 1 "
                f"from the threshold on, below it {BELOW:g} x value / threshold; weights of the scheme catalogue",
                null_rule="none of the scheme's indicators is computable",
                source="judgement of this project; combination of independent evidence as a noisy or (Pearl 1988)",
            ),
        ]
    return columns


CONTRACT: Final[TableContract] = pillar_contract(
    "p6_scheme",
    "how far the client's own payments show the behaviour of three strategic laundering schemes.",
    [
        *(
            feature(
                i.name,
                i.meaning,
                f"{i.formula}; fires at {i.threshold.value:g} {i.threshold.unit.replace('_', ' ')}",
                null_rule=i.null_rule,
                source=str(i.source),
                requires=i.requires,
            )
            for i in INDICATORS
        ),
        *_summary_columns(),
    ],
)
"""``features.feat_p6_scheme``: one column per indicator, then fired and computable counts and evidence per scheme."""

HITS_CONTRACT: Final[TableContract] = TableContract(
    schema="features",
    name="scheme_hits",
    description="One row per client, as-of date and fired indicator: the value, its threshold and the transactions.",
    grain=("client_id", "as_of_date", "indicator"),
    columns=(
        Column("client_id", "text", "Client the row describes."),
        Column("as_of_date", "date", "Monday, 00:00 UTC; only rows that happened and were known before it count."),
        Column("scheme", "text", "Scheme the indicator speaks for.", allowed=tuple(s.value for s in Scheme)),
        Column("indicator", "text", "Name of the indicator.", allowed=tuple(i.name for i in INDICATORS)),
        Column("value", "number", "Value of the indicator, in the unit its name ends with."),
        Column("threshold", "number", "The indicator fires at or over this, in the same unit."),
        Column("txn_count", "integer", "Transactions that are the evidence.", unit="count", minimum=1.0),
        Column(
            "txn_ids",
            "text",
            f"Their ids, newest first, joined by ';'; the newest {EVIDENCE_CAP} where there are more.",
        ),
    ),
)
"""``features.scheme_hits``: evidence of what fired."""


# --- kernels -----------------------------------------------------------------------------------------------
# Shared arguments: ``low``/``high`` row ranges per pair; ``as_of``/``known`` days for the known-by-then test;
# ``marks`` is empty (values only) or one flag per row of all ranges laid end to end, ``offset[i]`` being where
# pair i begins. Each kernel walks its ranges once: O(rows in windows).


@njit(cache=True)
def _totals(low, high, as_of, known, cents, bits, size):  # type: ignore[no-untyped-def]
    """Sum of cents and number of rows per pair and flag (bit f of ``bits``); shapes (pairs, size)."""
    sums = np.zeros((len(low), size), dtype=np.int64)
    counts = np.zeros((len(low), size), dtype=np.int64)
    for i in range(len(low)):
        for r in range(low[i], high[i]):
            if known[r] >= as_of[i]:
                continue
            b = bits[r]
            f = 0
            while b:
                if b & 1:
                    sums[i, f] += cents[r]
                    counts[i, f] += 1
                b >>= 1
                f += 1
    return sums, counts


@njit(cache=True)
def _sum_since(low, high, as_of, known, day, since, cents, wanted):  # type: ignore[no-untyped-def]
    """Cents of the wanted rows on or after day ``since[i]``, per pair."""
    out = np.zeros(len(low), dtype=np.int64)
    for i in range(len(low)):
        for r in range(low[i], high[i]):
            if wanted[r] and day[r] >= since[i] and known[r] < as_of[i]:
                out[i] += cents[r]
    return out


@njit(cache=True)
def _match(low, high, as_of, known, at, cents, source, sink, reach, offset, marks):  # type: ignore[no-untyped-def]
    """Cents of ``source`` rows that left as ``sink`` rows within ``reach`` microseconds, first in first out."""
    out = np.zeros(len(low), dtype=np.int64)
    for i in range(len(low)):
        head = low[i]
        rest = -1  # cents left of the credit at head; -1 is not yet opened
        for j in range(low[i], high[i]):
            if not sink[j] or known[j] >= as_of[i]:
                continue
            need = cents[j]
            while need > 0 and head < high[i] and at[head] <= at[j]:
                if not source[head] or known[head] >= as_of[i] or at[head] < at[j] - reach:
                    head += 1
                    rest = -1
                    continue
                if rest < 0:
                    rest = cents[head]
                take = min(rest, need)
                out[i] += take
                need -= take
                rest -= take
                if take > 0 and len(marks):
                    marks[offset[i] + head - low[i]] = True
                    marks[offset[i] + j - low[i]] = True
                if rest == 0:
                    head += 1
                    rest = -1
    return out


@njit(cache=True)
def _partners(old, low, high, as_of, known, party, parties, wanted, mode, offset, marks):  # type: ignore[no-untyped-def]
    """Distinct counterparties of the wanted rows: all, first seen, and dealt with exactly once; shape (pairs, 3).

    ``old`` <= ``low`` begins the look-back. First seen: no row of any kind in [old, low). Exactly once: one
    wanted row in [old, high), and that in [low, high). ``mode`` 1 marks rows of first-seen, 2 of once-only ones.
    """
    out = np.zeros((len(low), 3), dtype=np.int64)
    seen = np.zeros(parties, dtype=np.int64)
    here = np.zeros(parties, dtype=np.int64)
    stamp = np.zeros(parties, dtype=np.int64)
    count = np.zeros(parties, dtype=np.int64)
    for i in range(len(low)):
        now = i + 1
        for r in range(old[i], high[i]):
            c = party[r]
            if c < 0 or known[r] >= as_of[i]:
                continue
            if r < low[i]:
                seen[c] = now
            if not wanted[r]:
                continue
            if stamp[c] != now:
                stamp[c] = now
                count[c] = 0
            count[c] += 1
            if r >= low[i] and here[c] != now:
                here[c] = now
                out[i, 0] += 1
                if seen[c] != now:
                    out[i, 1] += 1
        for r in range(low[i], high[i]):
            c = party[r]
            if c < 0 or known[r] >= as_of[i] or not wanted[r]:
                continue
            if count[c] == 1:
                out[i, 2] += 1
            if len(marks) and ((mode == 1 and seen[c] != now) or (mode == 2 and count[c] == 1)):
                marks[offset[i] + r - low[i]] = True
    return out


@njit(cache=True)
def _split_day(low, high, as_of, known, day, cents, wanted, limit, offset, marks):  # type: ignore[no-untyped-def]
    """Greatest number of wanted rows on one day that has two or more of them and sums to ``limit``; 0 if none."""
    out = np.zeros(len(low), dtype=np.int64)
    for i in range(len(low)):
        r = low[i]
        while r < high[i]:
            end = r
            rows = 0
            total = np.int64(0)
            while end < high[i] and day[end] == day[r]:
                if wanted[end] and known[end] < as_of[i]:
                    rows += 1
                    total += cents[end]
                end += 1
            if rows >= 2 and total >= limit:
                out[i] = max(out[i], rows)
                if len(marks):
                    for k in range(r, end):
                        if wanted[k] and known[k] < as_of[i]:
                            marks[offset[i] + k - low[i]] = True
            r = end
    return out


@njit(cache=True)
def _shift(low, high, as_of, known, group, groups, cents, first, second):  # type: ignore[no-untyped-def]
    """Total variation distance between the group shares of ``first`` and ``second`` rows; NaN if a side is empty."""
    out = np.full(len(low), np.nan)
    one = np.zeros(groups, dtype=np.int64)
    two = np.zeros(groups, dtype=np.int64)
    for i in range(len(low)):
        total_one = np.int64(0)
        total_two = np.int64(0)
        for r in range(low[i], high[i]):
            if group[r] < 0 or known[r] >= as_of[i]:
                continue
            if first[r]:
                one[group[r]] += cents[r]
                total_one += cents[r]
            elif second[r]:
                two[group[r]] += cents[r]
                total_two += cents[r]
        shared = 0.0
        for r in range(low[i], high[i]):  # in the order of the rows, not of the codes; each group once
            g = group[r]
            if g < 0:
                continue
            if one[g] > 0 and two[g] > 0:
                shared += min(one[g] / total_one, two[g] / total_two)
            one[g] = 0
            two[g] = 0
        if total_one > 0 and total_two > 0:
            out[i] = 1.0 - min(shared, 1.0)
    return out


@njit(cache=True)
def _entropy(low, high, as_of, known, group, groups, cents):  # type: ignore[no-untyped-def]
    """Shannon entropy in bits of cents by group; rows without a group are left out, NaN if none is left."""
    out = np.full(len(low), np.nan)
    sums = np.zeros(groups, dtype=np.int64)
    for i in range(len(low)):
        total = np.int64(0)
        for r in range(low[i], high[i]):
            if group[r] >= 0 and known[r] < as_of[i]:
                sums[group[r]] += cents[r]
                total += cents[r]
        bits = 0.0
        for r in range(low[i], high[i]):
            g = group[r]
            if g >= 0 and sums[g] > 0:
                share = sums[g] / total
                bits -= share * np.log2(share)
                sums[g] = 0
        if total > 0:
            out[i] = max(bits, 0.0)
    return out


@njit(cache=True)
def _round_trip(low, high, as_of, known, party, parties, cents, out_rows, in_rows, offset, marks):  # type: ignore[no-untyped-def]
    """Per counterparty min(paid out, received later), summed over counterparties."""
    out = np.zeros(len(low), dtype=np.int64)
    given = np.zeros(parties, dtype=np.int64)
    stamp = np.zeros(parties, dtype=np.int64)
    back = np.zeros(parties, dtype=np.int64)
    for i in range(len(low)):
        now = i + 1
        for r in range(low[i], high[i]):
            c = party[r]
            if c < 0 or known[r] >= as_of[i]:
                continue
            if stamp[c] != now:
                stamp[c] = now
                given[c] = 0
            if out_rows[r]:
                given[c] += cents[r]
            elif in_rows[r]:
                take = min(given[c], cents[r])
                if take > 0:
                    given[c] -= take
                    out[i] += take
                    back[c] = now
        if len(marks):
            for r in range(low[i], high[i]):
                c = party[r]
                if c >= 0 and back[c] == now and known[r] < as_of[i] and (out_rows[r] or in_rows[r]):
                    marks[offset[i] + r - low[i]] = True
    return out


@njit(cache=True)
def _edges(low, high, known, as_of, party, client_node, inbound, payer, payee):  # type: ignore[no-untyped-def]
    """Fill payer and payee of every row known by ``as_of`` (one day) in the clients' ranges; returns how many."""
    n = 0
    for c in range(len(low)):
        for r in range(low[c], high[c]):
            if party[r] < 0 or known[r] >= as_of or party[r] == client_node[c]:
                continue
            payer[n] = party[r] if inbound[r] else client_node[c]
            payee[n] = client_node[c] if inbound[r] else party[r]
            n += 1
    return n


@njit(cache=True)
def _near(node, start, ends, is_hub, stamp, now):  # type: ignore[no-untyped-def]
    """Stamp every party within two steps of ``node`` along (start, ends), never through or to a hub."""
    for e in range(start[node], start[node + 1]):
        v = ends[e]
        if is_hub[v]:
            continue
        stamp[v] = now
        for f in range(start[v], start[v + 1]):
            w = ends[f]
            if w != node and not is_hub[w]:
                stamp[w] = now


@njit(cache=True)
def _closing(node, start, ends, is_hub, near, closed, now):  # type: ignore[no-untyped-def]
    """Stamp in ``closed`` the neighbours of ``node`` that are near it the other way round, or one step from such."""
    for e in range(start[node], start[node + 1]):
        v = ends[e]
        if is_hub[v]:
            continue
        hit = near[v] == now
        f = start[v]
        while not hit and f < start[v + 1]:
            w = ends[f]
            hit = w != node and not is_hub[w] and near[w] == now
            f += 1
        if hit:
            closed[v] = now


@njit(cache=True)
def _loops(  # type: ignore[no-untyped-def]
    pairs,
    client,
    client_node,
    low,
    high,
    as_of,
    known,
    party,
    inbound,
    cents,
    fore,
    fore_ends,
    rear,
    rear_ends,
    is_hub,
    behind,
    ahead,
    pays,
    paid,
    out,
    offset,
    marks,
):
    """Write min(cents out, cents in) on loops of at most four payments into ``out`` for the given pairs (one week).

    ``fore``/``rear`` and their ends are the graph by payer and by payee; the four stamp arrays are scratch.
    """
    for k in range(len(pairs)):
        i = pairs[k]
        now = i + 1
        node = client_node[client[i]]
        _near(node, rear, rear_ends, is_hub, behind, now)
        _near(node, fore, fore_ends, is_hub, ahead, now)
        _closing(node, fore, fore_ends, is_hub, behind, pays, now)
        _closing(node, rear, rear_ends, is_hub, ahead, paid, now)
        sent = np.int64(0)
        received = np.int64(0)
        for r in range(low[i], high[i]):
            c = party[r]
            if c < 0 or known[r] >= as_of[i]:
                continue
            if inbound[r] and paid[c] == now:
                received += cents[r]
            elif not inbound[r] and pays[c] == now:
                sent += cents[r]
            else:
                continue
            if len(marks):
                marks[offset[i] + r - low[i]] = True
        out[i] = min(sent, received)


@njit(cache=True)
def _mark(low, high, as_of, known, wanted, offset, marks):  # type: ignore[no-untyped-def]
    """Mark the wanted rows known by then."""
    for i in range(len(low)):
        for r in range(low[i], high[i]):
            if wanted[r] and known[r] < as_of[i]:
                marks[offset[i] + r - low[i]] = True


@njit(cache=True)
def _newest(low, high, offset, marks, cap):  # type: ignore[no-untyped-def]
    """Number of marked rows per pair and the newest ``cap`` of them, newest first; -1 fills up."""
    counts = np.zeros(len(low), dtype=np.int64)
    rows = np.full((len(low), cap), -1, dtype=np.int64)
    for i in range(len(low)):
        for r in range(high[i] - 1, low[i] - 1, -1):
            if marks[offset[i] + r - low[i]]:
                if counts[i] < cap:
                    rows[i, counts[i]] = r
                counts[i] += 1
    return counts, rows


# --- the frame the measures work in ----------------------------------------------------------------------------

_NO_OFFSET: Final = np.zeros(0, dtype=np.int64)
_NO_MARKS: Final = np.zeros(0, dtype=np.bool_)
_FLAGS: Final = (
    "any",
    *ROW_COLUMNS,
    "inbound",
    "outbound",
    "wire_in",
    "wire_out",
    "wire_shell",
    "fx",
    "structured_fx",
    "corridor_in",
    "trade_in",
    "to_casino",
    "draft_to_casino",
    "atypical",
    "with_sector",
    "running_costs",
    "usd_in",
    "usd_out",
    "legal_settlement",
    "large_wire",
    "round_wire",
    "self_draft",
    "sector_in",
    "business_in",
)
"""Rows summed and counted in one pass per window; bit f of a row says whether flag f holds."""


def _to_cents(amount: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(amount * 100).astype(np.int64)


def _lists(frame: pl.DataFrame, column: str, wanted: Mapping[str, Scheme], table: str) -> dict[str, frozenset[str]]:
    """Members of each wanted list.

    Raises
    ------
    ValueError : a list is missing or empty.
    """
    found = {}
    for name, scheme in wanted.items():
        rows = frame.filter((pl.col("list_name") == name) & (pl.col("scheme") == scheme.value))
        found[name] = frozenset(rows[column].drop_nulls().to_list())
    empty = [f"{wanted[name].value}/{name}" for name, members in found.items() if not members]
    if empty:
        raise ValueError(f"{table} has no rows for {', '.join(empty)}: the seed must hold every list P6 reads")
    return found


def _number(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Column as floats, NaN for null; all NaN where the frame lacks it."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


@dataclass(frozen=True)
class _Rows:
    """What depends on the history alone: cents, named row masks, graph names of the clients."""

    history: History
    config: FeatureConfig
    countries: Mapping[str, frozenset[str]]
    sectors: Mapping[str, frozenset[str]]
    cents: NDArray[np.int64]
    _masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Rows called ``name``, see :meth:`_make`."""
        if name not in self._masks:
            self._masks[name] = self._make(name)
        return self._masks[name]

    def _make(self, name: str) -> NDArray[np.bool_]:
        h, m = self.history, self.mask
        match name:
            case "any":
                return np.ones(len(h), dtype=np.bool_)
            case "counterparty_id":
                return h.counterparty.codes >= 0
            case "counterparty_country":
                return h.country.codes >= 0
            case "counterparty_sector" | "with_sector":
                return h.sector.codes >= 0
            case "channel":
                return h.channel.codes >= 0
            case "currency":
                return h.currency.codes >= 0
            case "inbound":
                return h.is_inbound
            case "outbound":
                return ~h.is_inbound
            case "wire":
                return h.channel.mask_of(["wire"])
            case "draft":
                return h.channel.mask_of(["draft"])
            case "fx":
                return h.channel.mask_of(["fx"])
            case "wire_in":
                return m("wire") & m("inbound")
            case "wire_out":
                return m("wire") & m("outbound")
            case "draft_out":
                return m("draft") & m("outbound")
            case "cash_in":
                return h.channel.mask_of(["cash", "atm"]) & m("inbound")
            case "small_cash_in":
                return m("cash_in") & (self.cents < self.cents_of(self.config.reporting_threshold_base))
            case "corridor_in":
                return m("wire_in") & h.country.mask_of(self.countries["underground_banking_corridor"])
            case "to_exit":
                return m("outbound") & h.sector.mask_of(self.sectors["underground_banking_exit"])
            case "not_to_exit":
                return m("outbound") & ~m("to_exit")
            case "msb_in":
                return m("wire_in") & h.sector.mask_of(self.sectors["msb_sectors"])
            case "to_casino":
                return m("outbound") & h.sector.mask_of(self.sectors["casino_sectors"])
            case "draft_to_casino":
                return m("to_casino") & m("draft")
            case "deposit_out":
                return m("outbound") & h.sector.mask_of(self.sectors["deposit_product_sectors"])
            case "deposit_in":
                return m("inbound") & h.sector.mask_of(self.sectors["deposit_product_sectors"])
            case "trade_in":
                return m("wire_in") & h.country.mask_of(self.countries["trade_corridor"])
            case "trade_out":
                return m("wire_out") & h.country.mask_of(self.countries["trade_corridor"])
            case "wire_shell":
                return m("wire") & h.country.mask_of(self.countries["shell_jurisdictions"])
            case "atypical":
                return h.sector.mask_of(self.sectors["trade_atypical_sectors"])
            case "running_costs":
                return m("outbound") & ~m("wire") & h.sector.mask_of(self.sectors["domestic_operating_sectors"])
            case "usd":
                return m("wire") & h.currency.mask_of(["USD"])
            case "usd_in":
                return m("usd") & m("inbound")
            case "usd_out":
                return m("usd") & m("outbound")
            case "legal_settlement":
                return h.channel.mask_of(["wire", "draft", "cheque"]) & h.sector.mask_of(self.sectors["legal_sectors"])
            case "large_wire":
                return m("wire") & (self.cents >= self.cents_of(self.config.reporting_threshold_base))
            case "round_wire":
                return m("large_wire") & self._is_round()
            case "structured_fx":
                limit = self.config.reporting_threshold_base
                edge = self.cents_of(limit * self.config.near_threshold_ratio)
                return m("fx") & (self.cents >= edge) & (self.cents < self.cents_of(limit))
            case "self":
                return self.history.counterparty.codes == self.client_nodes[self.history.client]
            case "self_draft":
                return m("self") & m("draft")
            case "fan_out":
                return m("outbound") & h.channel.mask_of(["wire", "draft", "cheque"]) & ~m("self")
            case "payout":
                return m("outbound") & h.channel.mask_of(["wire", "draft", "cheque", "transfer"]) & ~m("self")
            case "other_out":
                return m("outbound") & ~m("self")
            case "other_in":
                return m("inbound") & ~m("self")
            case "msb_corridor_in":
                return m("wire_in") & h.country.mask_of(self.countries["msb_corridor"])
            case "sector_in":
                return m("inbound") & m("with_sector")
            case "business_in":
                return m("inbound") & h.sector.mask_of(self.sectors["business_flow_sectors"])
        raise KeyError(name)

    def _is_round(self) -> NDArray[np.bool_]:
        limits = {c.name: c.value for c in _BY_NAME["p6_tb_round_wires_90d_ratio"].conditions}
        step, tolerance = self.cents_of(limits["increment"]), self.cents_of(limits["tolerance"])
        off = self.cents % step
        close = (np.minimum(off, step - off) <= tolerance) & (self.cents >= step - tolerance)
        return close | (self.cents % self.cents_of(limits["round_to"]) == 0)

    @staticmethod
    def cents_of(base: float) -> int:
        """Base-currency amount in cents."""
        return round(base * 100)

    @property
    def client_nodes(self) -> NDArray[np.int32]:
        """Graph name of each client: its code as a counterparty, or a number of its own past all of them."""
        values, clients = self.history.counterparty.values, self.history.clients
        own = np.arange(len(clients), dtype=np.int32) + len(values)
        if not len(values) or not len(clients):
            return own
        at = np.minimum(np.searchsorted(values, clients), len(values) - 1)
        return np.where(values[at] == clients, at, own).astype(np.int32)

    @property
    def flags(self) -> NDArray[np.int64]:
        """Bit f of each row: flag f of :data:`_FLAGS` holds."""
        bits = np.zeros(len(self.history), dtype=np.int64)
        for f, name in enumerate(_FLAGS):
            bits |= self.mask(name).astype(np.int64) << f
        return bits


_BY_NAME: Final = {i.name: i for i in INDICATORS}

_Marked = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]
"""low, high, offset and marks of the evidence rows of some pairs."""


@dataclass(frozen=True)
class _Pairs:
    """(client, as-of) pairs with their profile and windows; measures read rows through it. Shapes (pairs,)."""

    rows: _Rows
    bits: NDArray[np.int64]
    client: NDArray[np.int32]
    as_of: NDArray[np.int32]
    profiles: pl.DataFrame
    windows: pl.DataFrame
    _cache: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)

    def take(self, index: NDArray[np.int64]) -> _Pairs:
        """Only the pairs at ``index``."""
        return replace(
            self,
            client=self.client[index],
            as_of=self.as_of[index],
            profiles=self.profiles[index],
            windows=self.windows[index],
            _cache={},
        )

    def span(self, days: int, gap_days: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row ranges of [as-of - days, as-of - gap)."""
        return self.rows.history.window(self.client, self.as_of, days, gap_days)

    def _all(self, days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        key = ("totals", days)
        if key not in self._cache:
            low, high = self.span(days)
            known = self.rows.history.known_day
            self._cache[key] = _totals(low, high, self.as_of, known, self.rows.cents, self.bits, len(_FLAGS))
        return self._cache[key]

    def total(self, flag: str, days: int) -> NDArray[np.int64]:
        """Cents of the rows with ``flag``."""
        return self._all(days)[0][:, _FLAGS.index(flag)]

    def count(self, flag: str, days: int) -> NDArray[np.int64]:
        """Number of rows with ``flag``."""
        return self._all(days)[1][:, _FLAGS.index(flag)]

    def marks(self, days: int) -> _Marked:
        """Row ranges of the window and an empty mark for each of their rows."""
        low, high = self.span(days)
        offset = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)
        return low, high, offset[:-1], np.zeros(int(offset[-1]), dtype=np.bool_)

    # -- measures with evidence: ``marked`` None gives values only

    def matched(self, source: str, sink: str, hours: float, days: int, marked: _Marked | None = None) -> NDArray:
        """Cents of ``source`` rows that left as ``sink`` rows within ``hours``, first in first out."""
        low, high = self.span(days)
        h, m = self.rows.history, self.rows.mask
        offset, marks = (marked[2], marked[3]) if marked else (_NO_OFFSET, _NO_MARKS)
        reach = round(hours * HOUR_US)
        return _match(
            low, high, self.as_of, h.known_day, h.at, self.rows.cents, m(source), m(sink), reach, offset, marks
        )

    def partners(self, wanted: str, days: int, mode: int = 0, marked: _Marked | None = None) -> NDArray[np.int64]:
        """Distinct, first-seen and once-only counterparties of the wanted rows; shape (pairs, 3)."""
        low, high = self.span(days)
        old, _ = self.span(max(days, self.rows.config.baseline_days))
        h = self.rows.history
        offset, marks = (marked[2], marked[3]) if marked else (_NO_OFFSET, _NO_MARKS)
        party, parties = h.counterparty.codes, max(len(h.counterparty.values), 1)
        wanted_rows = self.rows.mask(wanted)
        return _partners(old, low, high, self.as_of, h.known_day, party, parties, wanted_rows, mode, offset, marks)

    def split_day(self, days: int, marked: _Marked | None = None) -> NDArray[np.int64]:
        """Most cash deposits on a day, each under the reporting threshold, together at or over it."""
        low, high = self.span(days)
        h = self.rows.history
        offset, marks = (marked[2], marked[3]) if marked else (_NO_OFFSET, _NO_MARKS)
        limit = self.rows.cents_of(self.rows.config.reporting_threshold_base)
        wanted = self.rows.mask("small_cash_in")
        return _split_day(low, high, self.as_of, h.known_day, h.day, self.rows.cents, wanted, limit, offset, marks)

    def round_trip(self, days: int, marked: _Marked | None = None) -> NDArray[np.int64]:
        """Cents put into a deposit product and taken back from the same counterparty."""
        low, high = self.span(days)
        h, m = self.rows.history, self.rows.mask
        offset, marks = (marked[2], marked[3]) if marked else (_NO_OFFSET, _NO_MARKS)
        party, parties = h.counterparty.codes, max(len(h.counterparty.values), 1)
        return _round_trip(
            low,
            high,
            self.as_of,
            h.known_day,
            party,
            parties,
            self.rows.cents,
            m("deposit_out"),
            m("deposit_in"),
            offset,
            marks,
        )

    def loops(self, days: int, hub: float, marked: _Marked | None = None) -> NDArray[np.int64]:
        """Cents on payment loops of at most four payments, the smaller of out and in; one graph per as-of week."""
        h = self.rows.history
        low, high = self.span(days)
        offset, marks = (marked[2], marked[3]) if marked else (_NO_OFFSET, _NO_MARKS)
        names = self.rows.client_nodes
        size = len(h.counterparty.values) + len(h.clients)
        out = np.zeros(len(self.client), dtype=np.int64)
        scratch = [np.zeros(max(size, 1), dtype=np.int64) for _ in range(4)]
        everyone = np.arange(len(h.clients), dtype=np.int32)
        party = h.counterparty.codes
        for day in np.unique(self.as_of):
            pairs = np.flatnonzero((self.as_of == day) & (self.client >= 0))
            week = h.window(everyone, np.full(len(everyone), day, dtype=np.int32), days)
            room = int((week[1] - week[0]).sum())
            if not len(pairs) or not room:
                continue
            payer, payee = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
            n = _edges(week[0], week[1], h.known_day, day, party, names, h.is_inbound, payer, payee)
            keys = np.unique(payer[:n] * size + payee[:n])  # both sides of a payment between clients are one edge
            payer, payee = keys // size, keys % size
            back = np.argsort(payee, kind="stable")
            fore = np.concatenate([[0], np.cumsum(np.bincount(payer, minlength=size))]).astype(np.int64)
            rear = np.concatenate([[0], np.cumsum(np.bincount(payee, minlength=size))]).astype(np.int64)
            is_hub = (np.diff(fore) > hub) | (np.diff(rear) > hub)
            _loops(
                pairs,
                self.client,
                names,
                low,
                high,
                self.as_of,
                h.known_day,
                party,
                h.is_inbound,
                self.rows.cents,
                fore,
                payee,
                rear,
                payer[back],
                is_hub,
                scratch[0],
                scratch[1],
                scratch[2],
                scratch[3],
                out,
                offset,
                marks,
            )
        return out

    def picked(self, wanted: NDArray[np.bool_], marked: _Marked) -> None:
        """Mark the wanted rows."""
        low, high, offset, marks = marked
        _mark(low, high, self.as_of, self.rows.history.known_day, wanted, offset, marks)

    # -- profile and windows: NaN is unknown

    def is_one_of(self, column: str, values: tuple[str, ...] | frozenset[str]) -> NDArray[np.float64]:
        """1 or 0, NaN where the profile's column is unknown."""
        if column not in self.profiles.columns:
            return np.full(len(self.client), np.nan)
        known = self.profiles[column].cast(pl.String)
        return known.is_in(sorted(values)).cast(pl.Float64).fill_null(np.nan).to_numpy()

    @property
    def is_household(self) -> NDArray[np.float64]:
        """1 for private persons."""
        return self.is_one_of("industry", ("household",))

    @property
    def is_company(self) -> NDArray[np.float64]:
        """1 for all but private persons."""
        return 1.0 - self.is_household

    @property
    def is_trader(self) -> NDArray[np.float64]:
        """1 for firms in an exposed trade."""
        return self.is_one_of("industry", self.rows.sectors["trade_exposed_sectors"])

    def over_turnover(self, cents: NDArray, days: int, floor_base: float) -> NDArray[np.float64]:
        """Cents of ``days`` put on a year over the declared annual turnover, at least ``floor_base``."""
        declared = np.rint(_number(self.profiles, "expected_turnover") * 100)
        return cents * 365.0 / (days * np.maximum(declared, floor_base * 100))

    def window_cents(self, column: str) -> NDArray[np.float64]:
        """Money column of ``windows`` in cents, NaN where unknown."""
        return np.rint(_number(self.windows, column) * 100)

    def over_own_mean(self, recent: NDArray, days: int, past: NDArray, minimum_weeks: float) -> NDArray[np.float64]:
        """w / (w + m), m the mean per ``days`` of ``past`` cents over the baseline's whole weeks; NaN if too few."""
        weeks = _number(self.windows, "baseline_weeks_count")
        scaled = recent * weeks * 7.0
        share = _ratio(scaled, scaled + past * float(days))
        return np.where(np.isnan(scaled) | np.isnan(past) | ~(weeks >= minimum_weeks), np.nan, share)


def _where(value: NDArray, *conditions: NDArray) -> NDArray[np.float64]:
    """``value`` where every condition holds, else 0; NaN where value or condition is unknown (conditions: 0/1/NaN)."""
    out = value.astype(np.float64)
    for condition in conditions:
        held = condition.astype(np.float64)
        out = np.where(np.isnan(held) | np.isnan(out), np.nan, np.where(held > 0, out, 0.0))
    return out


_Value = Callable[[_Pairs, Indicator], NDArray]
_Evidence = Callable[[_Pairs, Indicator, _Marked], object]


def _limit(p: _Pairs, i: Indicator, name: str) -> float:
    return i.condition(name).resolve(p.rows.config.reporting_threshold_base)


def _reaches(p: _Pairs, i: Indicator, cents: NDArray, name: str) -> NDArray[np.bool_]:
    """Are ``cents`` at or over the money condition ``name``."""
    return cents >= p.rows.cents_of(_limit(p, i, name))


def _reaches_size(p: _Pairs, i: Indicator, cents: NDArray) -> NDArray[np.bool_]:
    """Are ``cents`` at or over the minimum value for a client of this size (``scheme_templates.TRADE_SIZE``)."""
    most, least = p.rows.cents_of(_limit(p, i, "minimum_value")), p.rows.cents_of(_limit(p, i, "least_minimum"))
    declared = np.rint(_number(p.profiles, "expected_turnover") * 100 * _limit(p, i, "minimum_turnover_share"))
    return cents >= np.where(np.isnan(declared), most, np.clip(declared, least, most))


def _rows_of(name: str) -> _Evidence:
    def mark(p: _Pairs, i: Indicator, marked: _Marked) -> None:
        p.picked(p.rows.mask(name), marked)

    return mark


def _matched_of(source: str, sink: str) -> _Evidence:
    def mark(p: _Pairs, i: Indicator, marked: _Marked) -> None:
        p.matched(source, sink, _limit(p, i, "reach"), i.window_days, marked)

    return mark


def _base_matched(source: str, sink: str) -> _Value:
    def value(p: _Pairs, i: Indicator) -> NDArray:
        return p.matched(source, sink, _limit(p, i, "reach"), i.window_days) / 100

    return value


def _base_total(flag: str) -> _Value:
    def value(p: _Pairs, i: Indicator) -> NDArray:
        return p.total(flag, i.window_days) / 100

    return value


def _row_count(flag: str) -> _Value:
    def value(p: _Pairs, i: Indicator) -> NDArray:
        return p.count(flag, i.window_days)

    return value


def _pass_through(p: _Pairs, i: Indicator) -> NDArray:
    inflow = p.total("inbound", i.window_days)
    left = p.matched("inbound", "outbound", _limit(p, i, "reach"), i.window_days)
    return _where(_ratio(left, inflow), _reaches(p, i, inflow, "minimum_inflow"))


def _corridor_onward(p: _Pairs, i: Indicator) -> NDArray:
    inflow = p.total("corridor_in", i.window_days)
    left = p.matched("corridor_in", "not_to_exit", _limit(p, i, "reach"), i.window_days)
    return _where(_ratio(left, inflow), _reaches(p, i, inflow, "minimum_inflow"))


def _cash_to_draft(p: _Pairs, i: Indicator) -> NDArray:
    left = p.matched("cash_in", "draft_out", _limit(p, i, "reach"), i.window_days)
    return _where(left / 100, p.is_one_of("occupation", WEAK_OCCUPATIONS))


def _casino_over_turnover(p: _Pairs, i: Indicator) -> NDArray:
    return p.over_turnover(p.total("to_casino", i.window_days), i.window_days, _limit(p, i, "turnover_floor"))


def _first_seen_depositors(p: _Pairs, i: Indicator) -> NDArray:
    return _where(p.partners("other_in", i.window_days)[:, 1], p.is_household)


def _deposit_round_trip(p: _Pairs, i: Indicator) -> NDArray:
    return p.round_trip(i.window_days) / 100


def _loop_value(p: _Pairs, i: Indicator) -> NDArray:
    return p.loops(i.window_days, _limit(p, i, "hub")) / 100


def _volume_over_profile(p: _Pairs, i: Indicator) -> NDArray:
    return p.over_turnover(p.window_cents("inflow_sum_90d_base"), i.window_days, _limit(p, i, "turnover_floor"))


def _small_exposed_wires(p: _Pairs, i: Indicator) -> NDArray:
    wires = np.maximum(p.total("wire_in", i.window_days), p.total("wire_out", i.window_days))
    factor = p.over_turnover(wires, i.window_days, _limit(p, i, "turnover_floor"))
    return _where(factor, p.is_trader, p.is_one_of("size_bucket", SMALL_SIZES))


def _sudden_wires(p: _Pairs, i: Indicator) -> NDArray:
    h, config = p.rows.history, p.rows.config
    recent = p.total("wire_in", i.window_days)
    low, high = p.span(config.baseline_days, config.baseline_gap_days)
    weeks = np.nan_to_num(_number(p.windows, "baseline_weeks_count")).astype(np.int64)
    since = p.as_of - config.baseline_gap_days - 7 * weeks
    past = _sum_since(low, high, p.as_of, h.known_day, h.day, since, p.rows.cents, p.rows.mask("wire_in"))
    share = p.over_own_mean(recent, i.window_days, past, _limit(p, i, "minimum_baseline_weeks"))
    return _where(share, _reaches_size(p, i, recent))


def _corridor_mismatch(p: _Pairs, i: Indicator) -> NDArray:
    h, m = p.rows.history, p.rows.mask
    low, high = p.span(i.window_days)
    groups = max(len(h.country.values), 1)
    distance = _shift(
        low, high, p.as_of, h.known_day, h.country.codes, groups, p.rows.cents, m("trade_in"), m("trade_out")
    )
    inflow = p.total("trade_in", i.window_days)
    through = _ratio(p.matched("trade_in", "trade_out", _limit(p, i, "reach"), i.window_days), inflow)
    value = np.minimum(np.nan_to_num(distance), through)
    return _where(value, _reaches_size(p, i, inflow), p.is_company)


def _shell_share(p: _Pairs, i: Indicator) -> NDArray:
    inflow, outflow = p.total("wire_in", i.window_days), p.total("wire_out", i.window_days)
    through = _ratio(p.matched("wire_in", "wire_out", _limit(p, i, "reach"), i.window_days), inflow)
    share = _ratio(p.total("wire_shell", i.window_days), inflow + outflow)
    return _where(share, _reaches_size(p, i, inflow), through >= _limit(p, i, "least_through_flow"))


def _round_wires(p: _Pairs, i: Indicator) -> NDArray:
    large, even = p.count("large_wire", i.window_days), p.count("round_wire", i.window_days)
    return _where(_ratio(even, large), even >= _limit(p, i, "minimum_count"))


def _atypical_sectors(p: _Pairs, i: Indicator) -> NDArray:
    whole = p.total("with_sector", i.window_days)
    share = _ratio(p.total("atypical", i.window_days), whole)
    return _where(share, _reaches_size(p, i, whole), p.is_trader)


def _no_running_costs(p: _Pairs, i: Indicator) -> NDArray:
    outflow = p.total("outbound", i.window_days)
    other = outflow - p.total("running_costs", i.window_days)
    wires = np.maximum(p.total("wire_in", i.window_days), p.total("wire_out", i.window_days))
    return _where(_ratio(other, outflow), _reaches_size(p, i, wires), p.is_company)


def _usd_flow_through(p: _Pairs, i: Indicator) -> NDArray:
    inflow, outflow = p.total("usd_in", i.window_days), p.total("usd_out", i.window_days)
    share = _ratio(np.minimum(inflow, outflow), np.maximum(inflow, outflow))
    return _where(share, _reaches_size(p, i, inflow))


def _one_off_partners(p: _Pairs, i: Indicator) -> NDArray:
    return _where(p.partners("wire", i.window_days)[:, 2], p.is_company)


def _legal_settlement(p: _Pairs, i: Indicator) -> NDArray:
    return _where(p.total("legal_settlement", i.window_days) / 100, p.is_trader)


def _jump_scatter(p: _Pairs, i: Indicator) -> NDArray:
    recent = p.window_cents("inflow_sum_30d_base")
    past = p.window_cents("baseline_inflow_sum_base")
    jump = p.over_own_mean(recent, i.window_days, past, _limit(p, i, "minimum_baseline_weeks"))
    jumped = np.where(np.isnan(jump), np.nan, jump >= _limit(p, i, "jump"))
    return _where(p.partners("other_out", i.window_days)[:, 1], _reaches_size(p, i, recent), jumped)


def _fan_out(p: _Pairs, i: Indicator) -> NDArray:
    return p.partners("fan_out", i.window_days)[:, 0]


def _currency_entropy(p: _Pairs, i: Indicator) -> NDArray:
    h = p.rows.history
    low, high = p.span(i.window_days)
    bits = _entropy(low, high, p.as_of, h.known_day, h.currency.codes, max(len(h.currency.values), 1), p.rows.cents)
    return _where(bits, p.count("fx", i.window_days) >= _limit(p, i, "minimum_exchanges"))


def _personal_as_msb(p: _Pairs, i: Indicator) -> NDArray:
    left = p.matched("inbound", "outbound", _limit(p, i, "reach"), i.window_days)
    parties = np.minimum(p.partners("other_in", i.window_days)[:, 0], p.partners("other_out", i.window_days)[:, 0])
    share = _ratio(left, p.total("inbound", i.window_days))
    return _where(share, parties >= _limit(p, i, "minimum_parties"), p.is_household)


def _weak_profile_volume(p: _Pairs, i: Indicator) -> NDArray:
    return _where(_volume_over_profile(p, i), p.is_one_of("occupation", WEAK_OCCUPATIONS))


def _wires_to_drafts(p: _Pairs, i: Indicator) -> NDArray:
    left = p.matched("wire_in", "draft_out", _limit(p, i, "reach"), i.window_days)
    return _where(left / 100, p.partners("wire_in", i.window_days)[:, 0] >= _limit(p, i, "minimum_senders"))


def _self_drafts(p: _Pairs, i: Indicator) -> NDArray:
    enough = p.count("self_draft", i.window_days) >= _limit(p, i, "minimum_count")
    return _where(p.total("self_draft", i.window_days) / 100, enough)


def _same_day_cash(p: _Pairs, i: Indicator) -> NDArray:
    return p.split_day(i.window_days)


def _mixed_flows(p: _Pairs, i: Indicator) -> NDArray:
    whole, business = p.total("sector_in", i.window_days), p.total("business_in", i.window_days)
    mixed = 2 * _ratio(np.minimum(business, whole - business), whole)
    payers = p.partners("business_in", i.window_days)[:, 0]
    return _where(mixed, payers >= _limit(p, i, "minimum_payers"), p.is_household)


def _new_account_volume(p: _Pairs, i: Indicator) -> NDArray:
    age = _number(p.profiles, "account_age_days")
    is_new = np.where(np.isnan(age), np.nan, age <= _limit(p, i, "new_account"))
    return _where(_volume_over_profile(p, i), is_new)


def _corridor_payout(p: _Pairs, i: Indicator) -> NDArray:
    left = p.matched("msb_corridor_in", "payout", _limit(p, i, "reach"), i.window_days)
    return _where(left / 100, p.partners("payout", i.window_days)[:, 0] >= _limit(p, i, "minimum_payees"))


def _mark_first_seen(wanted: str) -> _Evidence:
    def mark(p: _Pairs, i: Indicator, marked: _Marked) -> None:
        p.partners(wanted, i.window_days, 1, marked)

    return mark


def _mark_once(p: _Pairs, i: Indicator, marked: _Marked) -> None:
    p.partners("wire", i.window_days, 2, marked)


def _mark_round_trip(p: _Pairs, i: Indicator, marked: _Marked) -> None:
    p.round_trip(i.window_days, marked)


def _mark_loops(p: _Pairs, i: Indicator, marked: _Marked) -> None:
    p.loops(i.window_days, _limit(p, i, "hub"), marked)


def _mark_split_days(p: _Pairs, i: Indicator, marked: _Marked) -> None:
    p.split_day(i.window_days, marked)


_MEASURES: Final[Mapping[str, tuple[_Value, _Evidence]]] = {
    "p6_ub_pass_through_30d_ratio": (_pass_through, _matched_of("inbound", "outbound")),
    "p6_ub_corridor_exit_30d_base": (_base_matched("corridor_in", "to_exit"), _matched_of("corridor_in", "to_exit")),
    "p6_ub_corridor_onward_30d_ratio": (_corridor_onward, _matched_of("corridor_in", "not_to_exit")),
    "p6_ub_msb_sender_30d_base": (_base_matched("msb_in", "outbound"), _matched_of("msb_in", "outbound")),
    "p6_ub_cash_to_draft_30d_base": (_cash_to_draft, _matched_of("cash_in", "draft_out")),
    "p6_ub_casino_over_turnover_90d_factor": (_casino_over_turnover, _rows_of("to_casino")),
    "p6_ub_first_seen_depositors_30d_count": (_first_seen_depositors, _mark_first_seen("other_in")),
    "p6_ub_deposit_round_trip_90d_base": (_deposit_round_trip, _mark_round_trip),
    "p6_ub_loop_value_30d_base": (_loop_value, _mark_loops),
    "p6_ub_volume_over_profile_90d_factor": (_volume_over_profile, _rows_of("inbound")),
    "p6_ub_draft_to_casino_90d_base": (_base_total("draft_to_casino"), _rows_of("draft_to_casino")),
    "p6_tb_small_exposed_wires_90d_factor": (_small_exposed_wires, _rows_of("wire")),
    "p6_tb_sudden_wires_30d_ratio": (_sudden_wires, _rows_of("wire_in")),
    "p6_tb_corridor_mismatch_90d_ratio": (_corridor_mismatch, _matched_of("trade_in", "trade_out")),
    "p6_tb_shell_share_90d_ratio": (_shell_share, _rows_of("wire_shell")),
    "p6_tb_round_wires_90d_ratio": (_round_wires, _rows_of("round_wire")),
    "p6_tb_atypical_sectors_90d_ratio": (_atypical_sectors, _rows_of("atypical")),
    "p6_tb_no_running_costs_90d_ratio": (_no_running_costs, _rows_of("outbound")),
    "p6_tb_usd_flow_through_30d_ratio": (_usd_flow_through, _rows_of("usd")),
    "p6_tb_one_off_partners_90d_count": (_one_off_partners, _mark_once),
    "p6_tb_legal_settlement_90d_base": (_legal_settlement, _rows_of("legal_settlement")),
    "p6_tb_cash_to_corridor_30d_base": (_base_matched("cash_in", "trade_out"), _matched_of("cash_in", "trade_out")),
    "p6_msb_jump_scatter_30d_count": (_jump_scatter, _mark_first_seen("other_out")),
    "p6_msb_fan_out_30d_count": (_fan_out, _rows_of("fan_out")),
    "p6_msb_currency_churn_30d_count": (_row_count("fx"), _rows_of("fx")),
    "p6_msb_currency_entropy_90d_bits": (_currency_entropy, _rows_of("fx")),
    "p6_msb_personal_as_msb_30d_ratio": (_personal_as_msb, _matched_of("inbound", "outbound")),
    "p6_msb_structured_exchange_30d_count": (_row_count("structured_fx"), _rows_of("structured_fx")),
    "p6_msb_weak_profile_volume_90d_factor": (_weak_profile_volume, _rows_of("inbound")),
    "p6_msb_wires_to_drafts_30d_base": (_wires_to_drafts, _matched_of("wire_in", "draft_out")),
    "p6_msb_self_drafts_90d_base": (_self_drafts, _rows_of("self_draft")),
    "p6_msb_same_day_cash_30d_count": (_same_day_cash, _mark_split_days),
    "p6_msb_mixed_flows_90d_ratio": (_mixed_flows, _rows_of("business_in")),
    "p6_msb_new_account_volume_90d_factor": (_new_account_volume, _rows_of("inbound")),
    "p6_msb_corridor_payout_30d_base": (_corridor_payout, _matched_of("msb_corridor_in", "payout")),
}
"""Indicator -> how its value is computed and how its evidence rows are marked."""


def _prepare(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    profiles: pl.DataFrame,
    windows: pl.DataFrame,
    scheme_countries: pl.DataFrame,
    scheme_sectors: pl.DataFrame,
) -> _Pairs:
    rows = _Rows(
        history=history,
        config=config,
        countries=_lists(scheme_countries, "iso2", COUNTRY_LISTS, "scheme_countries"),
        sectors=_lists(scheme_sectors, "sector", SECTOR_LISTS, "scheme_sectors"),
        cents=_to_cents(history.amount),
    )
    pairs = spine.frame()

    def beside(frame: pl.DataFrame) -> pl.DataFrame:
        keyed = frame.with_columns(pl.col("as_of_date").cast(pl.Date))
        return pairs.join(keyed, on=["client_id", "as_of_date"], how="left", maintain_order="left", validate="m:1")

    return _Pairs(rows, rows.flags, spine.client, spine.as_of_day, beside(profiles), beside(windows))


def _values(pairs: _Pairs) -> dict[str, NDArray[np.float64]]:
    """Value of every indicator per pair, NaN where it is null by its own rule."""
    out = {}
    for i in INDICATORS:
        value = np.asarray(_MEASURES[i.name][0](pairs, i), dtype=np.float64)
        is_null = pairs.count("any", i.window_days) == 0
        for column in i.requires:
            if column in ROW_COLUMNS:
                is_null |= pairs.count(column, i.window_days) == 0
            elif column in PROFILE_COLUMNS:
                name = PROFILE_COLUMNS[column]
                known = pairs.profiles[name].is_not_null().to_numpy() if name in pairs.profiles.columns else False
                is_null |= ~np.broadcast_to(known, is_null.shape)
        out[i.name] = np.where(is_null, np.nan, value)
    return out


def _threshold(i: Indicator, config: FeatureConfig) -> float:
    return i.threshold.resolve(config.reporting_threshold_base)


def _fired(i: Indicator, value: NDArray[np.float64], config: FeatureConfig) -> NDArray[np.bool_]:
    """At or over the threshold; money compares in cents, NaN never fires."""
    limit = _threshold(i, config)
    if i.name.endswith("_base"):
        return np.rint(value * 100) >= round(limit * 100)
    return value >= limit


def _feature_frame(spine: Spine, config: FeatureConfig, values: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    frame = spine.frame().with_columns(pl.Series(name, value, nan_to_null=True) for name, value in values.items())
    counts = []
    for scheme, prefix in PREFIXES.items():
        fired = np.zeros(len(spine), dtype=np.int64)
        computable = np.zeros(len(spine), dtype=np.int64)
        doubt = np.ones(len(spine))
        for i in indicators_of(scheme):
            value = values[i.name]
            has_fired = _fired(i, value, config)
            fired += has_fired
            computable += ~np.isnan(value)
            below = BELOW * np.clip(np.nan_to_num(value) / _threshold(i, config), 0.0, 1.0)
            doubt *= 1.0 - WEIGHTS[i.name] / FULL_WEIGHT * np.where(has_fired, 1.0, below)
        counts += [
            pl.Series(f"p6_{prefix}_fired_count", np.where(computable == 0, np.nan, fired), nan_to_null=True),
            pl.Series(f"p6_{prefix}_computable_count", computable),
            pl.Series(f"p6_{prefix}_evidence_ratio", np.where(computable == 0, np.nan, 1.0 - doubt), nan_to_null=True),
        ]
    return CONTRACT.conform(frame.with_columns(counts))


def _hit_frame(
    spine: Spine, config: FeatureConfig, pairs: _Pairs, values: dict[str, NDArray[np.float64]]
) -> pl.DataFrame:
    frame = spine.frame()
    parts = [HITS_CONTRACT.empty()]
    for name, value in values.items():
        i = _BY_NAME[name]
        index = np.flatnonzero(_fired(i, value, config))
        if not len(index):
            continue
        some = pairs.take(index)
        marked = some.marks(i.window_days)
        _MEASURES[name][1](some, i, marked)
        counts, rows = _newest(marked[0], marked[1], marked[2], marked[3], EVIDENCE_CAP)
        at, column = np.nonzero(rows >= 0)
        ids = (
            pl.DataFrame({"pair": at, "txn_id": pairs.rows.history.txn_id[rows[at, column]].astype(str)})
            .group_by("pair", maintain_order=True)
            .agg(pl.col("txn_id").str.join(";"))
        )
        parts.append(
            frame[index]
            .with_columns(
                pl.lit(i.scheme.value).alias("scheme"),
                pl.lit(name).alias("indicator"),
                pl.Series("value", value[index]),
                pl.lit(_threshold(i, config), dtype=pl.Float64).alias("threshold"),
                pl.Series("txn_count", counts),
                pl.Series("pair", np.arange(len(index))),
            )
            .join(ids, on="pair", how="left", maintain_order="left")
            .select(*HITS_CONTRACT.names[:-1], pl.col("txn_id").alias("txn_ids"))
        )
    return HITS_CONTRACT.conform(pl.concat(parts, how="vertical"))


def build(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    *,
    profiles: pl.DataFrame,
    windows: pl.DataFrame,
    scheme_countries: pl.DataFrame,
    scheme_sectors: pl.DataFrame,
) -> pl.DataFrame:
    """Indicators of the three schemes, one row per pair of the spine.

    Parameters
    ----------
    history, spine : transactions and the (client, as-of date) pairs asked for.
    config : reporting threshold, near-threshold ratio and baseline.
    profiles : client_id, as_of_date and industry, occupation, size_bucket, expected_turnover, account_age_days
        (``intermediate.int_client_weeks``); a missing row or column is unknown.
    windows : client_id, as_of_date and inflow_sum_30d_base, inflow_sum_90d_base, baseline_weeks_count,
        baseline_inflow_sum_base (``intermediate.int_client_windows``).
    scheme_countries, scheme_sectors : the seed lists, see the module's text.

    Returns
    -------
    DataFrame of :data:`CONTRACT`, sorted by client and date. An indicator is null by its
    :attr:`Indicator.null_rule`; ``fired_count`` is null where no indicator of the scheme is computable.

    Raises
    ------
    ValueError : a seed list is missing.
    """
    pairs = _prepare(history, spine, config, profiles, windows, scheme_countries, scheme_sectors)
    return _feature_frame(spine, config, _values(pairs))


def hits(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    *,
    profiles: pl.DataFrame,
    windows: pl.DataFrame,
    scheme_countries: pl.DataFrame,
    scheme_sectors: pl.DataFrame,
) -> pl.DataFrame:
    """The fired indicators with the transactions that are their evidence.

    Arguments as for :func:`build`; the same values and thresholds.

    Returns
    -------
    DataFrame of :data:`HITS_CONTRACT`, one row per client, as-of date and fired indicator, sorted so. Evidence
    holds the client's own rows only, newest first, at most :data:`EVIDENCE_CAP` ids.

    Raises
    ------
    ValueError : a seed list is missing.
    """
    pairs = _prepare(history, spine, config, profiles, windows, scheme_countries, scheme_sectors)
    return _hit_frame(spine, config, pairs, _values(pairs))


def build_with_hits(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    *,
    profiles: pl.DataFrame,
    windows: pl.DataFrame,
    scheme_countries: pl.DataFrame,
    scheme_sectors: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """:func:`build` and :func:`hits` with every value computed once: (features, hits), arguments as there."""
    pairs = _prepare(history, spine, config, profiles, windows, scheme_countries, scheme_sectors)
    values = _values(pairs)
    return _feature_frame(spine, config, values), _hit_frame(spine, config, pairs, values)


def _scores(pillar_scores: pl.DataFrame) -> NDArray[np.float64]:
    """Pillar scores as (rows, 5), NaN where null or the column is missing."""
    columns = [_number(pillar_scores, c) for c in SCORE_COLUMNS]
    return np.stack(columns, axis=1) if len(pillar_scores) else np.zeros((0, len(SCORE_COLUMNS)))


def similarity(pillar_scores: pl.DataFrame, templates: Mapping[Scheme, Template]) -> pl.DataFrame:
    """Angle and size of each client's pillar vector against every scheme's signature.

    Parameters
    ----------
    pillar_scores : client_id, as_of_date and ``s_p1_score`` .. ``s_p5_score`` (0-100; a pillar without a score
        is null, or its column is missing).
    templates : :data:`ml_assets.features.scheme_templates.TEMPLATES` or a part of it.

    Returns
    -------
    DataFrame, one row per row of ``pillar_scores``, in its order: client_id, as_of_date,
    ``<scheme>_cosine_ratio`` (0-1), ``pillar_norm_score`` (0-100) and ``present_pillars_count``.

    A pillar counts with what its score lies above :data:`MEDIAN_SCORE`, put on 0-100: a score at or under the median
    of the training rows says nothing of any scheme, and five medians would point nearly the same way as each
    signature. The vector is taken over the *present* pillars only, and the signature over the same ones, so a missing
    pillar is neither 0 nor a guess. ``pillar_norm_score`` is the Euclidean norm over the square root of the
    present pillars, which keeps it 0-100 however many there are. Cosine and norm are null where no pillar is present;
    both are 0 where none lies above the median: nothing points anywhere. With one pillar above it the cosine is the
    signature's share of that pillar: read it together with the norm and the fired counts.
    """
    scores = _scores(pillar_scores)
    here = ~np.isnan(scores)
    above = np.maximum(scores - MEDIAN_SCORE, 0.0) * (100.0 / (100.0 - MEDIAN_SCORE))
    filled = np.where(here, above, 0.0)
    present = here.sum(axis=1)
    norm = np.sqrt((filled * filled).sum(axis=1))
    out = {}
    for scheme, template in templates.items():
        signature = np.where(here, np.array(template.signature), 0.0)
        lengths = norm * np.sqrt((signature * signature).sum(axis=1))
        empty = np.where(present > 0, 0.0, np.nan)
        cosine = np.divide((filled * signature).sum(axis=1), lengths, out=empty, where=lengths > 0)
        out[f"{scheme.value}_cosine_ratio"] = np.minimum(cosine, 1.0)
    size = np.divide(norm, np.sqrt(present), out=np.full(len(norm), np.nan), where=present > 0)
    return pillar_scores.select("client_id", "as_of_date").with_columns(
        *(pl.Series(name, value, nan_to_null=True) for name, value in out.items()),
        pl.Series("pillar_norm_score", size, nan_to_null=True),
        pl.Series("present_pillars_count", present.astype(np.int64)),
    )


def interactions(pillar_scores: pl.DataFrame) -> pl.DataFrame:
    """Products of every two pillar scores, each score first divided by 100, so 0-1.

    Parameters
    ----------
    pillar_scores : as for :func:`similarity`.

    Returns
    -------
    DataFrame, one row per row of ``pillar_scores``, in its order: client_id, as_of_date and the ten columns
    ``p1_x_p2_ratio`` .. ``p4_x_p5_ratio``; null where either score is.
    """
    scores = _scores(pillar_scores) / 100.0
    products = [
        pl.Series(f"p{a + 1}_x_p{b + 1}_ratio", scores[:, a] * scores[:, b], nan_to_null=True)
        for a in range(len(SCORE_COLUMNS))
        for b in range(a + 1, len(SCORE_COLUMNS))
    ]
    return pillar_scores.select("client_id", "as_of_date").with_columns(products)


__all__ = [
    "CONTRACT",
    "COUNTRY_LISTS",
    "EVIDENCE_CAP",
    "HITS_CONTRACT",
    "SECTOR_LISTS",
    "build",
    "build_with_hits",
    "hits",
    "interactions",
    "similarity",
]
