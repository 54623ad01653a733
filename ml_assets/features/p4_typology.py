"""P4, typology alignment: how closely a client's payments have the forms in which money is laundered.

What belongs here: the form of payments (just under the threshold, round, repeated, in and out at once, many small
from many, all in a minute) and, for every form that fires, the transactions that show it. What does not: how much
money moves (P1), through which network (P2), at what hour (P3), against which profile (P5), in which scheme (P6).

Rules of the formulas

- Amounts are compared in integer cents, never as floats: 9,999.99 is under 10,000.00, and 9,000.00 is in the band.
- A row counts for as-of date D if ``D - days <= txn_at < D`` and ``known_date < D``. The days are part of the names.
- A cash feature is null where no row of its own window has a channel, a burst where no row has a time of day, a
  funnel where no row has a counterparty: a missing column is not a zero.
- A row without a time of day stands at 00:00 of its day; among rows of one moment, money comes in before it goes out.
- Integer codes of text are only compared for equality or used as addresses of counters; their order never matters.

A typology fires (:data:`RULES`) where its measure reaches ``fires_at`` and, where one is named, a second measure
reaches its own level: a share of nothing much is no finding. The levels are triage levels set by this project; what
the regulators name is the form, cited per rule, and not a number, except the reporting threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, ContractError, TableContract
from ml_assets.features.columns import GRAIN_COLUMNS, feature, pillar_contract
from ml_assets.features.history import DAY_US, History, Spine

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Marks = NDArray[np.uint8]

WINDOWS: Final = (7, 30, 90)
"""Days of the windows in the column names; the configuration must say the same."""
HOURS: Final = (24, 72)
"""Hours of the fund-through features, in the column names as well."""
YEAR: Final = 364
"""Days of the year-long features (Benford, reactivation), in the column names as well: 52 whole weeks."""
CASH: Final = frozenset({"cash", "atm"})
"""Channels in which money changes between cash and account."""

_FINTRAC: Final = "FINTRAC, ML/TF indicators - financial entities"
_FATF: Final = "FATF & Egmont Group, Trade-based money laundering: trends and developments (2020)"
_STRUCTURING: Final = "31 CFR 1010.314 (structuring); " + _FINTRAC + ", transactions structured below the threshold"
_SMURFING: Final = "FFIEC BSA/AML Examination Manual, Appendix G (structuring) and F (red flags); " + _FINTRAC
_THROUGH: Final = _FINTRAC + ", atypical transactional activity: funds in and out in rapid succession"
_FUNNEL: Final = "FinCEN advisory FIN-2014-A005 (funnel accounts)"
_ROUND: Final = (
    "FFIEC BSA/AML Examination Manual, Appendix F: funds transfers in large, round-dollar amounts; "
    "Nigrini, Benford's Law (Wiley 2012)"
)
_CASH_SOURCE: Final = (
    "FATF & MENAFATF, Money laundering through the physical transportation of cash (2015); " + _FINTRAC
)
_BENFORD: Final = "Nigrini, Benford's Law (Wiley 2012): first digits and mean absolute deviation"
_MIRROR: Final = "FCA final notice to Deutsche Bank AG (30 January 2017), mirror trades; " + _FINTRAC
_DORMANT: Final = _FINTRAC + ", changes in account activity: a dormant account suddenly active"
_UTURN: Final = _FATF + "; " + _FINTRAC + ", atypical transactional activity"
_AMOUNT: Final = ("amount",)
_DIRECTED: Final = ("amount", "direction")
_CASHLESS: Final = "null where no transaction of the window has a channel"
_EMPTY: Final = "null where the window holds no transaction"


def _features() -> Iterable[Column]:
    for w in (30, 90):
        yield feature(
            f"p4_near_threshold_{w}d_count",
            f"Transactions of {w} days just under the reporting threshold.",
            f"rows of [D-{w}d, D) with near_threshold_ratio x T <= amount < T, in cents",
            source=_STRUCTURING,
            requires=_AMOUNT,
        )
        yield feature(
            f"p4_near_threshold_share_{w}d_ratio",
            f"Share of the transactions of {w} days that lie just under the reporting threshold.",
            f"p4_near_threshold_{w}d_count / rows of [D-{w}d, D)",
            null_rule=_EMPTY,
            source=_STRUCTURING,
            requires=_AMOUNT,
        )
    yield feature(
        "p4_near_threshold_volume_share_90d_ratio",
        "Share of the money moved in 90 days that moved just under the reporting threshold.",
        "sum of amounts in the band / sum of amounts of [D-90d, D)",
        null_rule="null where nothing moved in the window",
        source=_STRUCTURING,
        requires=_AMOUNT,
    )
    yield feature(
        "p4_near_threshold_cash_90d_count",
        "Cash transactions of 90 days just under the reporting threshold.",
        "as p4_near_threshold_90d_count, channels cash and atm",
        null_rule=_CASHLESS,
        source=_STRUCTURING,
        requires=("amount", "channel"),
    )
    yield feature(
        "p4_near_threshold_cluster_90d_count",
        "Most transactions just under the threshold in any 7 days of the last 90.",
        "largest number of band rows whose days span fewer than 7",
        source=_STRUCTURING,
        requires=_AMOUNT,
    )
    for w in (30, 90):
        yield feature(
            f"p4_sub_threshold_day_{w}d_count",
            f"Days of {w} on which two or more payments under the threshold, in one direction, together reach it.",
            f"(day, direction) pairs of [D-{w}d, D) with n >= 2 rows of amount < T and sum >= T",
            source=_STRUCTURING + "; 24-hour rule of PCMLTFR s. 126",
            requires=_DIRECTED,
        )
        yield feature(
            f"p4_sub_threshold_cash_day_{w}d_count",
            f"Days of {w} on which two or more cash payments under the threshold together reach it.",
            f"as p4_sub_threshold_day_{w}d_count, channels cash and atm",
            null_rule=_CASHLESS,
            source=_STRUCTURING + "; 24-hour rule of PCMLTFR s. 126",
            requires=("amount", "direction", "channel"),
        )
    yield feature(
        "p4_sub_threshold_day_max_90d_factor",
        "Largest same-day sum of payments under the threshold, as a multiple of it.",
        "max over (day, direction) with n >= 2 rows under T of their sum / T; 0 where there is no such day",
        source=_STRUCTURING,
        requires=_DIRECTED,
    )
    yield feature(
        "p4_over_threshold_90d_count",
        "Transactions of 90 days at or over the reporting threshold.",
        "rows of [D-90d, D) with amount >= T",
        source="31 CFR 1010.311; PCMLTFR; Regulation (EU) 2024/1624 Art. 80",
        requires=_AMOUNT,
    )
    yield feature(
        "p4_over_threshold_cash_90d_count",
        "Cash transactions of 90 days at or over the reporting threshold.",
        "as p4_over_threshold_90d_count, channels cash and atm",
        null_rule=_CASHLESS,
        source="31 CFR 1010.311; PCMLTFR; Regulation (EU) 2024/1624 Art. 80",
        requires=("amount", "channel"),
    )
    for name, about, rule in (
        ("round_hundred", "whole hundreds", "amount mod 100 = 0"),
        ("round_thousand", "whole thousands", "amount mod 1,000 = 0"),
        ("whole_amount", "amounts without cents", "amount mod 1 = 0"),
        ("below_round", "amounts a little under a whole thousand", "amount >= 900 and amount mod 1,000 >= 900"),
        (
            "ending_mode",
            "amounts with the most frequent ending other than .00",
            "largest count of one cents ending other than 00",
        ),
    ):
        yield feature(
            f"p4_{name}_share_90d_ratio",
            f"Share of the transactions of 90 days that are {about}.",
            f"rows with {rule} / rows of [D-90d, D); amounts over 0",
            null_rule=_EMPTY,
            source=_ROUND,
            requires=_AMOUNT,
        )
    yield feature(
        "p4_round_thousand_volume_share_90d_ratio",
        "Share of the money moved in 90 days that moved in whole thousands.",
        "sum of amounts with amount mod 1,000 = 0 / sum of amounts of [D-90d, D)",
        null_rule="null where nothing moved in the window",
        source=_ROUND,
        requires=_AMOUNT,
    )
    yield feature(
        "p4_repeat_amount_share_90d_ratio",
        "Share of the transactions of 90 days whose exact amount occurs at least three times.",
        "rows whose amount in cents occurs >= 3 times in [D-90d, D) / rows",
        null_rule=_EMPTY,
        source="Nigrini, Benford's Law (Wiley 2012): number duplication",
        requires=_AMOUNT,
    )
    for h, w in ((24, 30), (72, 30), (72, 90)):
        yield feature(
            f"p4_fund_through_{h}h_{w}d_ratio",
            f"Share of the money received in {w} days that left within {h} hours.",
            f"first-in-first-out: an outflow uses up the oldest inflow of [D-{w}d, D) not older than {h} h; "
            "older money has stayed and no longer hides what follows; used-up inflow / inflow, in cents",
            null_rule="null where nothing was received in the window",
            source=_THROUGH,
            requires=_DIRECTED,
        )
    yield feature(
        "p4_cash_placed_72h_30d_ratio",
        "Share of the cash received in 30 days that left within 72 hours other than as cash.",
        "as p4_fund_through_72h_30d_ratio, inflow in cash or atm, outflow in every other known channel",
        null_rule="null where no cash was received in the window",
        source=_CASH_SOURCE,
        requires=("amount", "direction", "channel"),
    )
    yield feature(
        "p4_funnel_sender_30d_count",
        "Different payers in 30 days.",
        "distinct counterparties of inbound rows of [D-30d, D)",
        null_rule="null where no transaction of the window has a counterparty",
        source=_FUNNEL,
        requires=("counterparty_id", "direction"),
    )
    yield feature(
        "p4_funnel_payee_30d_count",
        "Different payees in 30 days.",
        "distinct counterparties of outbound rows of [D-30d, D)",
        null_rule="null where no transaction of the window has a counterparty",
        source=_FUNNEL,
        requires=("counterparty_id", "direction"),
    )
    yield feature(
        "p4_funnel_sender_country_30d_count",
        "Different countries money came from in 30 days.",
        "distinct counterparty countries of inbound rows of [D-30d, D)",
        null_rule="null where no transaction of the window has a country",
        source=_FUNNEL,
        requires=("counterparty_country", "direction"),
    )
    yield feature(
        "p4_funnel_30d_ratio",
        "Likeness to a funnel in 30 days: many payers, few payees, and as much out as in.",
        "max(0, 1 - payees/payers) x min(in, out)/max(in, out) over [D-30d, D)",
        null_rule="null where no inbound transaction of the window has a counterparty",
        source=_FUNNEL,
        requires=("counterparty_id", "amount", "direction"),
    )
    yield feature(
        "p4_smurf_sender_30d_count",
        "Different payers of small, similar amounts in 30 days.",
        "distinct counterparties of inbound rows under T within similar_amount_ratio of the median such row",
        null_rule="null where no transaction of the window has a counterparty",
        source=_SMURFING,
        requires=("counterparty_id", "amount", "direction"),
    )
    yield feature(
        "p4_smurf_share_30d_ratio",
        "Share of the money received in 30 days that came as small, similar amounts of three or more payers.",
        "sum of the rows of p4_smurf_sender_30d_count / inflow; 0 with fewer than 3 payers",
        null_rule="null where nothing was received in the window or no transaction of it has a counterparty",
        source=_SMURFING,
        requires=("counterparty_id", "amount", "direction"),
    )
    yield feature(
        "p4_u_turn_90d_ratio",
        "Share of the money received in 90 days that went back to the very payer.",
        "sum over counterparties of min(in, out) / inflow of rows with a counterparty, [D-90d, D)",
        null_rule="null where no inbound transaction of the window has a counterparty",
        source=_UTURN,
        requires=("counterparty_id", "amount", "direction"),
    )
    for w in (30, 90):
        yield feature(
            f"p4_cash_inflow_share_{w}d_ratio",
            f"Cash intensity: share of the money received in {w} days that came as cash.",
            f"inflow in cash and atm / inflow in any known channel, [D-{w}d, D)",
            null_rule="null where no inbound transaction of the window has a channel",
            source=_CASH_SOURCE,
            requires=("amount", "direction", "channel"),
        )
    yield feature(
        "p4_cash_outflow_share_90d_ratio",
        "Share of the money sent in 90 days that left as cash.",
        "outflow in cash and atm / outflow in any known channel, [D-90d, D)",
        null_rule="null where no outbound transaction of the window has a channel",
        source=_CASH_SOURCE,
        requires=("amount", "direction", "channel"),
    )
    for w in (30, 90):
        yield feature(
            f"p4_burst_max_{w}d_count",
            f"Most transactions within burst_seconds (60 s) in {w} days.",
            f"largest number of timed rows of [D-{w}d, D) whose first and last are at most burst_seconds apart",
            null_rule="null where no transaction of the window has a time of day",
            source=_FINTRAC + ", atypical transactional activity; fixed rule of this project",
            requires=("txn_date with time of day",),
        )
    yield feature(
        "p4_burst_share_90d_ratio",
        "Share of the transactions of 90 days that have a neighbour within burst_seconds (60 s).",
        "timed rows at most burst_seconds from the row before or after / timed rows of [D-90d, D)",
        null_rule="null where no transaction of the window has a time of day",
        source=_FINTRAC + ", atypical transactional activity; fixed rule of this project",
        requires=("txn_date with time of day",),
    )
    yield feature(
        "p4_max_over_median_30d_factor",
        "Largest amount of 30 days as a multiple of the client's own median.",
        "max amount of [D-30d, D) / median amount of [D-90d, D)",
        null_rule="null where 30 days hold no transaction, 90 days fewer than three, or the median is 0",
        source=_FINTRAC + ", transactions inconsistent with usual activity",
        requires=_AMOUNT,
    )
    yield feature(
        "p4_max_over_threshold_30d_factor",
        "Largest amount of 30 days as a multiple of the reporting threshold.",
        "max amount of [D-30d, D) / T; 0 where there is none",
        source="31 CFR 1010.311",
        requires=_AMOUNT,
    )
    yield feature(
        "p4_benford_mad_364d_ratio",
        "Mean distance of the shares of first digits from Benford's law over the year.",
        "sum over digits 1-9 of |share - log10(1 + 1/d)| / 9, amounts over 0 of [D-364d, D)",
        null_rule="null with fewer amounts than benford_minimum_count",
        source=_BENFORD,
        requires=_AMOUNT,
    )
    yield feature(
        "p4_benford_excess_364d_statistic",
        "First-digit distance from Benford's law beyond what so few amounts show by chance.",
        "MAD - mean over d of sqrt(2 p(1-p) / (pi n)): the MAD expected under the law at n amounts (normal "
        "approximation); above 0 departs from the law",
        null_rule="null with fewer amounts than benford_minimum_count",
        source=_BENFORD,
        requires=_AMOUNT,
    )
    yield feature(
        "p4_mirror_90d_count",
        "Pairs of an inflow and an outflow of exactly equal amount within mirror_days of each other, in 90 days.",
        "one-to-one pairs in order of time, |txn_at difference| <= mirror_days, [D-90d, D)",
        source=_MIRROR,
        requires=_DIRECTED,
    )
    yield feature(
        "p4_mirror_share_90d_ratio",
        "Share of the money received in 90 days that has a mirror outflow of equal amount.",
        "sum of mirrored inflow / inflow, [D-90d, D)",
        null_rule="null where nothing was received in the window",
        source=_MIRROR,
        requires=_DIRECTED,
    )
    yield feature(
        "p4_reactivation_gap_30d_days",
        "Longest silence that ended in the last 30 days.",
        "max whole days between a row of [D-30d, D) and the row before it, both in [D-364d, D)",
        null_rule="null where no row of the 30 days has a predecessor within the year",
        source=_DORMANT,
    )
    yield feature(
        "p4_reactivation_volume_30d_base",
        "Money moved since a silence of dormant_days or more ended in the last 30 days.",
        "sum of amounts from the first row after such a silence up to D; 0 where there was none",
        source=_DORMANT,
        requires=_AMOUNT,
    )


CONTRACT: Final = pillar_contract(
    "p4_typology", "how closely its payments have the forms in which money is laundered.", _features()
)
"""``features.feat_p4_typology``."""


@dataclass(frozen=True)
class Rule:
    """When a typology fires and how strong the hit is.

    Attributes
    ----------
    typology : name of the hit.
    measure : feature (or, with a leading underscore, internal measure) that decides.
    fires_at, saturates_at : level from which it fires, level at which strength is 1; strength is
        ``measure / saturates_at``, at most 1, so a hit that barely fires is weak but not 0.
    second, second_at : another measure that must reach a level too: money against a share of next to nothing, or
        a count against a single coincidence; empty for none.
    kernel, bit : which kernel marks the evidence, and in which bit.
    days : window of the evidence.
    evidence : which transactions are listed.
    reason : why these levels.
    source : who describes the form.
    """

    typology: str
    measure: str
    fires_at: float
    saturates_at: float
    second: str
    second_at: float
    kernel: str
    bit: int
    days: int
    evidence: str
    reason: str
    source: str


_RULES_SOURCE: Final = "triage level of this project"
RULES: Final = (
    Rule(
        "structuring", "p4_near_threshold_30d_count", 2, 6, "", 0, "structuring", 1, 30,
        "the payments in the band", "one payment under the threshold is chance, two in a month are not", _STRUCTURING,
    ),
    Rule(
        "same_day_structuring", "p4_sub_threshold_cash_day_30d_count", 1, 3, "", 0, "structuring", 2, 30,
        "the cash payments of those days", "one such day already circumvents a report", _STRUCTURING,
    ),
    Rule(
        "round_amounts", "p4_round_thousand_volume_share_90d_ratio", 0.5, 1, "_round_thousand_90d", 4, "shape", 1, 90,
        "the payments in whole thousands", "most of the money, and more than a few payments", _ROUND,
    ),
    Rule(
        "cash_intensity", "p4_cash_inflow_share_30d_ratio", 0.5, 1, "_cash_inflow_30d_threshold", 1, "shape", 2, 30,
        "the cash received", "more than half of the inflow, and at least one reporting threshold", _CASH_SOURCE,
    ),
    Rule(
        "fund_through", "p4_fund_through_72h_30d_ratio", 0.8, 1, "_inflow_30d_threshold", 1, "through", 1, 30,
        "the inflows that left and the outflows that took them",
        "four fifths of the inflow gone in three days, and at least one reporting threshold in all", _THROUGH,
    ),
    Rule(
        "cash_placement", "p4_cash_placed_72h_30d_ratio", 0.5, 1, "_cash_inflow_30d_threshold", 1, "placed", 1, 30,
        "the cash received and the payments that took it on",
        "more than half of the cash, and at least one reporting threshold", _CASH_SOURCE,
    ),
    Rule(
        "funnel_account", "p4_funnel_30d_ratio", 0.5, 1, "p4_funnel_sender_30d_count", 5, "people", 1, 30,
        "what came from and went to counterparties", "at least five payers, half as many payees, little left", _FUNNEL,
    ),
    Rule(
        "smurfing", "p4_smurf_sender_30d_count", 5, 15, "p4_smurf_share_30d_ratio", 0.5, "people", 2, 30,
        "the small, similar amounts received", "five payers of like amounts that make up half of the inflow", _SMURFING,
    ),
    Rule(
        "u_turn", "p4_u_turn_90d_ratio", 0.5, 1, "_inflow_90d_threshold", 1, "people", 4, 90,
        "payments from and to the same counterparties",
        "half of the inflow back to its payer, and at least one reporting threshold in all", _UTURN,
    ),
    Rule(
        "burst", "p4_burst_max_30d_count", 4, 10, "", 0, "burst", 1, 30,
        "the transactions of the largest burst", "four payments in a minute are rarely made by hand",
        _FINTRAC + ", atypical transactional activity",
    ),
    Rule(
        "single_large_amount", "p4_max_over_median_30d_factor", 20, 100, "p4_max_over_threshold_30d_factor", 1,
        "shape", 4, 30, "the largest payments", "twenty times the usual, and reportable in size",
        _FINTRAC + ", transactions inconsistent with usual activity",
    ),
    Rule(
        "benford_deviation", "p4_benford_excess_364d_statistic", 0.015, 0.1, "", 0, "year", 1, 364,
        "the amounts with the most over-represented first digit",
        "Nigrini's limit of nonconformity (0.015), on top of chance", _BENFORD,
    ),
    Rule(
        "mirror_transactions", "p4_mirror_share_90d_ratio", 0.3, 1, "p4_mirror_90d_count", 2, "sorted", 1, 90,
        "the pairs of equal amounts", "two pairs or more that make up a third of the inflow", _MIRROR,
    ),
    Rule(
        "dormant_reactivation", "_reactivation_30d_threshold", 1, 5, "", 0, "year", 2, 364,
        "the transactions since the silence", "a reporting threshold moved by an account that was asleep", _DORMANT,
    ),
)  # fmt: skip
"""The typologies of ``features.typology_hits``."""

HITS_CONTRACT: Final = TableContract(
    schema="features",
    name="typology_hits",
    description=(
        "One row per client, as-of date and typology that fired: how strongly, and the transactions that show it."
    ),
    grain=("client_id", "as_of_date", "typology"),
    columns=(
        *GRAIN_COLUMNS,
        Column("typology", "text", "Form of laundering that fired.", allowed=tuple(r.typology for r in RULES)),
        Column(
            "strength_ratio",
            "number",
            "Strength of the hit; 1 from the level at which the rule saturates.",
            unit="ratio",
            formula="min(1, measure / saturates_at) of the typology's rule",
            source=_RULES_SOURCE,
            minimum=0,
            maximum=1,
        ),
        Column("measure", "text", "Feature that decided; a leading underscore marks an internal measure."),
        Column("value", "number", "Value of the measure.", unit="see measure"),
        Column(
            "txn_ids",
            "text",
            "Ids of the evidence, oldest first, joined by ';'; the newest evidence_transactions (50) of them.",
        ),
        Column("txn_count", "integer", "Transactions of the evidence, before the cap.", unit="count", minimum=1),
        Column("evidence", "text", "Which transactions are listed."),
        Column("source", "text", "Who describes the form."),
    ),
)
"""``features.typology_hits``."""

_P: Final = np.log10(1 + 1 / np.arange(1, 10))
"""Benford's shares of the first digits 1 to 9."""


@njit(cache=True)
def _structuring(low30, low, high, known_day, as_of, day, cents, is_in, channel, near, limit, marks, offsets):  # type: ignore[no-untyped-def]
    """Near-threshold and same-day sums over 90 days, O(rows).

    ``channel``: -1 unknown, 1 cash, 0 other. Columns out: near 30, near 90, rows 30, rows 90, near volume, volume,
    near cash, cluster, days 30, days 90, cash days 30, cash days 90, largest day sum, over, over cash, rows with a
    channel 30, 90. Marks: bit 1 near rows of 30 days, bit 2 cash rows of same-day sums of 30 days.
    """
    n = len(as_of)
    out = np.zeros((n, 17))
    for i in range(n):
        total = np.zeros(4, dtype=np.int64)  # day sums: in, out, cash in, cash out
        count = np.zeros(4, dtype=np.int64)
        volume = np.int64(0)
        near_volume = np.int64(0)
        best = np.int64(0)
        tail = low[i]
        cluster = 0
        day_first = low[i]
        r = low[i]
        while r < high[i]:
            if known_day[r] < as_of[i]:
                c = cents[r]
                is_recent = r >= low30[i]
                volume += c
                out[i, 3] += 1
                out[i, 2] += is_recent
                if channel[r] >= 0:
                    out[i, 16] += 1
                    out[i, 15] += is_recent
                if near <= c < limit:
                    near_volume += c
                    out[i, 1] += 1
                    out[i, 0] += is_recent
                    out[i, 6] += channel[r] == 1
                    cluster += 1
                    # let the days that are 7 or more back drop out of the cluster
                    while day[r] - day[tail] >= 7:
                        if known_day[tail] < as_of[i] and near <= cents[tail] < limit:
                            cluster -= 1
                        tail += 1
                    out[i, 7] = max(out[i, 7], cluster)
                    if len(marks) and is_recent:
                        marks[offsets[i] + r - low[i]] |= 1
                if c >= limit:
                    out[i, 13] += 1
                    out[i, 14] += channel[r] == 1
                else:
                    side = 0 if is_in[r] else 1
                    total[side] += c
                    count[side] += 1
                    if channel[r] == 1:
                        total[2 + side] += c
                        count[2 + side] += 1
            r += 1
            if r == high[i] or day[r] != day[day_first]:
                is_recent = day_first >= low30[i]
                for k in range(4):
                    if count[k] >= 2:
                        if k < 2:
                            best = max(best, total[k])
                        if total[k] >= limit:
                            column = 9 if k < 2 else 11
                            out[i, column] += 1
                            out[i, column - 1] += is_recent
                            if len(marks) and is_recent and k >= 2:
                                for q in range(day_first, r):
                                    is_part = cents[q] < limit and channel[q] == 1 and is_in[q] == (k == 2)
                                    if is_part and known_day[q] < as_of[i]:
                                        marks[offsets[i] + q - low[i]] |= 2
                    total[k] = 0
                    count[k] = 0
                day_first = r
        out[i, 4] = near_volume
        out[i, 5] = volume
        out[i, 12] = best / limit
    return out


@njit(cache=True)
def _shape(low30, low, high, known_day, as_of, cents, is_in, channel, marks, offsets):  # type: ignore[no-untyped-def]
    """Endings of amounts, cash shares and maxima, O(rows).

    Columns out: positive rows, whole hundreds, whole thousands, without cents, below round, most frequent ending,
    thousands volume, volume, then inflow 30 / cash 30 / known-channel 30, the same for inflow 90, outflow 90, and
    the largest amount of 30 days (-1 where none). Marks: bit 1 whole thousands, bit 2 cash received in 30 days,
    bit 4 the largest amount of 30 days.
    """
    n = len(as_of)
    out = np.zeros((n, 18))
    endings = np.zeros(100, dtype=np.int64)
    sums = np.zeros(11, dtype=np.int64)
    for i in range(n):
        endings[:] = 0
        sums[:] = 0
        largest = np.int64(-1)
        for r in range(low[i], high[i]):
            if known_day[r] >= as_of[i]:
                continue
            c = cents[r]
            is_recent = r >= low30[i]
            if is_recent:
                largest = max(largest, c)
            sums[1] += c
            if c > 0:
                out[i, 0] += 1
                out[i, 1] += c % 10_000 == 0
                out[i, 3] += c % 100 == 0
                out[i, 4] += c >= 90_000 and c % 100_000 >= 90_000
                endings[c % 100] += 1
                if c % 100_000 == 0:
                    out[i, 2] += 1
                    sums[0] += c
                    if len(marks):
                        marks[offsets[i] + r - low[i]] |= 1
            at = 5 if is_in[r] else 8
            sums[at] += c
            if channel[r] >= 0:
                sums[at + 2] += c
                if channel[r] == 1:
                    sums[at + 1] += c
            if is_recent and is_in[r]:
                sums[2] += c
                if channel[r] >= 0:
                    sums[4] += c
                    if channel[r] == 1:
                        sums[3] += c
                        if len(marks):
                            marks[offsets[i] + r - low[i]] |= 2
        out[i, 5] = endings[1:].max()
        out[i, 6:17] = sums
        out[i, 17] = largest
        if len(marks) and largest >= 0:
            for r in range(low30[i], high[i]):
                if known_day[r] < as_of[i] and cents[r] == largest:
                    marks[offsets[i] + r - low[i]] |= 4
    return out


@njit(cache=True)
def _fund_through(low, high, known_day, as_of, at, cents, is_source, is_sink, reach, room, marks, offsets):  # type: ignore[no-untyped-def]
    """Cents received and cents of them sent on within ``reach`` microseconds; shapes (n, 2); O(rows).

    A queue of inflows; an outflow takes the oldest first, after those older than ``reach`` have dropped out. Among
    rows of one moment inflows go first. ``room`` is the longest window. Marks: bit 1 inflows taken from and outflows
    that took.
    """
    n = len(as_of)
    out = np.zeros((n, 2))
    queue = np.empty(room, dtype=np.int64)
    left = np.empty(room, dtype=np.int64)
    for i in range(n):
        head = 0
        end = 0
        received = np.int64(0)
        through = np.int64(0)
        r = low[i]
        while r < high[i]:
            stop = r
            while stop < high[i] and at[stop] == at[r]:
                if is_source[stop] and known_day[stop] < as_of[i]:
                    queue[end] = stop
                    left[end] = cents[stop]
                    received += cents[stop]
                    end += 1
                stop += 1
            for q in range(r, stop):
                if not is_sink[q] or known_day[q] >= as_of[i]:
                    continue
                while head < end and at[q] - at[queue[head]] > reach:
                    head += 1
                wanted = cents[q]
                while wanted > 0 and head < end:
                    taken = min(wanted, left[head])
                    left[head] -= taken
                    wanted -= taken
                    through += taken
                    if len(marks) and taken > 0:
                        marks[offsets[i] + queue[head] - low[i]] |= 1
                        marks[offsets[i] + q - low[i]] |= 1
                    if left[head] == 0:
                        head += 1
            r = stop
        out[i, 0] = received
        out[i, 1] = through
    return out


@njit(cache=True)
def _burst(low30, low, high, known_day, as_of, at, is_timed, reach, room, marks, offsets):  # type: ignore[no-untyped-def]
    """Bursts of timed rows, O(rows). Columns out: timed rows 30, timed rows 90, largest burst 30, largest burst 90,
    rows with a neighbour. ``reach`` in microseconds. Marks: bit 1 rows of the newest largest burst of 30 days.
    """
    n = len(as_of)
    out = np.zeros((n, 5))
    rows = np.empty(room, dtype=np.int64)
    for i in range(n):
        m = 0
        recent = 0
        for r in range(low[i], high[i]):
            if is_timed[r] and known_day[r] < as_of[i]:
                rows[m] = r
                m += 1
                recent += r >= low30[i]
        first = 0
        first_recent = m - recent
        best_low = 0
        for k in range(m):
            while at[rows[k]] - at[rows[first]] > reach:
                first += 1
            out[i, 3] = max(out[i, 3], k - first + 1)
            if k >= m - recent:
                first_recent = max(first_recent, first)
                if k - first_recent + 1 >= out[i, 2]:
                    out[i, 2] = k - first_recent + 1
                    best_low = first_recent
            is_near = k > 0 and at[rows[k]] - at[rows[k - 1]] <= reach
            if k < m - 1 and at[rows[k + 1]] - at[rows[k]] <= reach:
                is_near = True
            out[i, 4] += is_near
        out[i, 0] = recent
        out[i, 1] = m
        if len(marks):
            for k in range(best_low, best_low + int(out[i, 2])):
                marks[offsets[i] + rows[k] - low[i]] |= 1
    return out


@njit(cache=True)
def _sorted(low, high, known_day, as_of, at, cents, is_in, reach, room, marks, offsets):  # type: ignore[no-untyped-def]
    """Median, repeated amounts and mirror pairs over 90 days, O(rows log rows).

    Columns out: rows, median in cents (NaN where none), rows whose amount occurs at least 3 times, mirror pairs,
    mirrored cents, inflow cents. Rows are sorted by amount, stably, so that equal amounts stay in order of time.
    Marks: bit 1 rows of mirror pairs.
    """
    n = len(as_of)
    out = np.zeros((n, 6))
    rows = np.empty(room, dtype=np.int64)
    values = np.empty(room, dtype=np.int64)
    for i in range(n):
        m = 0
        inflow = np.int64(0)
        for r in range(low[i], high[i]):
            if known_day[r] < as_of[i]:
                rows[m] = r
                values[m] = cents[r]
                if is_in[r]:
                    inflow += cents[r]
                m += 1
        out[i, 0] = m
        out[i, 1] = np.nan
        out[i, 5] = inflow
        if m == 0:
            continue
        order = np.argsort(values[:m], kind="mergesort")
        out[i, 1] = (values[order[(m - 1) // 2]] + values[order[m // 2]]) / 2
        mirrored = np.int64(0)
        a = 0
        while a < m:
            b = a
            while b < m and values[order[b]] == values[order[a]]:
                b += 1
            if b - a >= 3:
                out[i, 2] += b - a
            # two pointers over the inflows and the outflows of this amount, each in order of time
            p = a
            q = a
            while values[order[a]] > 0:
                while p < b and not is_in[rows[order[p]]]:
                    p += 1
                while q < b and is_in[rows[order[q]]]:
                    q += 1
                if p >= b or q >= b:
                    break
                apart = at[rows[order[q]]] - at[rows[order[p]]]
                if apart < -reach:
                    q += 1
                elif apart > reach:
                    p += 1
                else:
                    out[i, 3] += 1
                    mirrored += values[order[a]]
                    if len(marks):
                        marks[offsets[i] + rows[order[p]] - low[i]] |= 1
                        marks[offsets[i] + rows[order[q]] - low[i]] |= 1
                    p += 1
                    q += 1
            a = b
        out[i, 4] = mirrored
    return out


@njit(cache=True)
def _people(  # type: ignore[no-untyped-def]
    low30, low, high, known_day, as_of, cents, is_in, who, codes, country, countries, limit, alike, room, marks, offsets
):
    """Counterparties: funnel and smurfing over 30 days, U-turns over 90, O(rows log rows).

    ``who`` and ``country`` are codes used as addresses only, ``codes`` and ``countries`` how many there are,
    ``alike`` the similar share in thousandths. Columns out: rows 30 with a counterparty, with a country, payers,
    payees, payer countries, inbound rows 30 with a counterparty, inflow 30, outflow 30, smurf payers, smurf cents,
    U-turn cents 90, inflow 90 with a counterparty. Marks: bit 1 rows of 30 days with a counterparty, bit 2 small
    similar inflow, bit 4 rows of 90 days of counterparties on both sides.
    """
    n = len(as_of)
    out = np.zeros((n, 12))
    seen_in = np.full(codes, -1, dtype=np.int64)
    seen_out = np.full(codes, -1, dtype=np.int64)
    seen_small = np.full(codes, -1, dtype=np.int64)
    met = np.full(codes, -1, dtype=np.int64)
    came = np.zeros(codes, dtype=np.int64)
    went = np.zeros(codes, dtype=np.int64)
    seen_country = np.full(countries, -1, dtype=np.int64)
    small = np.empty(room, dtype=np.int64)
    for i in range(n):
        m = 0
        inflow = np.int64(0)
        outflow = np.int64(0)
        known_inflow = np.int64(0)
        for r in range(low[i], high[i]):
            if known_day[r] >= as_of[i]:
                continue
            w = who[r]
            if w >= 0:
                if met[w] != i:
                    met[w] = i
                    came[w] = 0
                    went[w] = 0
                if is_in[r]:
                    came[w] += cents[r]
                    known_inflow += cents[r]
                else:
                    went[w] += cents[r]
            if r < low30[i]:
                continue
            if w >= 0:
                out[i, 0] += 1
                if len(marks):
                    marks[offsets[i] + r - low[i]] |= 1
            g = country[r]
            out[i, 1] += g >= 0
            if not is_in[r]:
                outflow += cents[r]
                if w >= 0 and seen_out[w] != i:
                    seen_out[w] = i
                    out[i, 3] += 1
                continue
            inflow += cents[r]
            if w >= 0:
                out[i, 5] += 1
                if seen_in[w] != i:
                    seen_in[w] = i
                    out[i, 2] += 1
                if cents[r] < limit:
                    small[m] = cents[r]
                    m += 1
            if g >= 0 and seen_country[g] != i:
                seen_country[g] = i
                out[i, 4] += 1
        similar = np.int64(0)
        if m:
            middle = np.sort(small[:m])[(m - 1) // 2]
            for r in range(low30[i], high[i]):
                w = who[r]
                if known_day[r] >= as_of[i] or not is_in[r] or w < 0 or cents[r] >= limit:
                    continue
                if abs(cents[r] - middle) * 1000 <= alike * middle:
                    similar += cents[r]
                    if len(marks):
                        marks[offsets[i] + r - low[i]] |= 2
                    if seen_small[w] != i:
                        seen_small[w] = i
                        out[i, 8] += 1
        turned = np.int64(0)
        for r in range(low[i], high[i]):
            w = who[r]
            if known_day[r] < as_of[i] and w >= 0:
                if len(marks) and came[w] > 0 and went[w] > 0:
                    marks[offsets[i] + r - low[i]] |= 4
                if met[w] == i and not len(marks):
                    turned += min(came[w], went[w])
                    met[w] = -1  # counted once
        out[i, 6] = inflow
        out[i, 7] = outflow
        out[i, 9] = similar
        out[i, 10] = turned
        out[i, 11] = known_inflow
    return out


@njit(cache=True)
def _year(low30, low, high, known_day, as_of, day, cents, digit, benford, dormant_days, marks, offsets):  # type: ignore[no-untyped-def]
    """First digits and silences over the year, O(rows).

    Columns out: amounts over 0, MAD from ``benford`` (NaN where none), longest gap that ended in 30 days (-1 where
    none), cents since the first gap of ``dormant_days`` that ended in 30 days. Marks: bit 1 amounts with the most
    over-represented first digit, bit 2 rows since the gap.
    """
    n = len(as_of)
    out = np.zeros((n, 4))
    counts = np.zeros(10, dtype=np.int64)
    for i in range(n):
        counts[:] = 0
        previous = -1
        gap = -1
        woke = high[i]
        since = np.int64(0)
        for r in range(low[i], high[i]):
            if known_day[r] >= as_of[i]:
                continue
            counts[digit[r]] += 1
            if r >= low30[i] and previous >= 0:
                gap = max(gap, day[r] - previous)
                if day[r] - previous >= dormant_days and woke == high[i]:
                    woke = r
            previous = day[r]
            if r >= woke:
                since += cents[r]
                if len(marks):
                    marks[offsets[i] + r - low[i]] |= 2
        total = counts[1:].sum()
        out[i, 0] = total
        out[i, 1] = np.nan
        if total:
            distance = 0.0
            most = 0
            excess = -1.0
            for d in range(9):
                off = counts[d + 1] / total - benford[d]
                distance += abs(off)
                if off > excess:
                    excess = off
                    most = d + 1
            out[i, 1] = distance / 9
            if len(marks):
                for r in range(low[i], high[i]):
                    if known_day[r] < as_of[i] and digit[r] == most:
                        marks[offsets[i] + r - low[i]] |= 1
        out[i, 2] = gap
        out[i, 3] = since
    return out


def _first_digit(cents: Ints) -> NDArray[np.int8]:
    """First digit of each amount, 0 for 0: exact, because a power of ten is compared, no logarithm taken."""
    power = np.ones_like(cents)
    for _ in range(18):
        power = np.where(cents // power >= 10, power * 10, power)
    return (cents // power).astype(np.int8)


class _Rows:
    """One build's arrays: rows of the history as the kernels want them, and the kernels bound to them."""

    def __init__(self, history: History, config: FeatureConfig) -> None:
        if config.window_days != WINDOWS or config.fund_through_hours != HOURS:
            raise ContractError(
                f"P4 names its windows {WINDOWS} and hours {HOURS} in its columns; the configuration says "
                f"{config.window_days} and {config.fund_through_hours}. Change the names and the knobs together."
            )
        self.history = history
        self.config = config
        self.cents: Ints = np.abs(np.rint(history.amount * 100)).astype(np.int64)
        self.limit = round(config.reporting_threshold_base * 100)
        self.near = -(-round(config.near_threshold_ratio * 1_000_000) * self.limit // 1_000_000)
        is_cash = history.channel.mask_of(CASH)
        self.channel = np.where(history.channel.codes < 0, -1, is_cash.astype(np.int8)).astype(np.int8)
        self.digit = _first_digit(self.cents)

    def windows(self, client: NDArray[np.int32], as_of: NDArray[np.int32]) -> tuple[Ints, Ints, Ints, Ints]:
        """First rows of the 30, 90 and 364-day windows and the row after the newest, one per pair."""
        low30, high = self.history.window(client, as_of, 30)
        low90, _ = self.history.window(client, as_of, 90)
        low364, _ = self.history.window(client, as_of, YEAR)
        return low30, low90, low364, high

    def run(
        self, kernel: str, client: NDArray[np.int32], as_of: NDArray[np.int32], days: int = 30, hours: int = 72,
        *, is_marking: bool = False,
    ) -> tuple[Floats, Marks, Ints, Ints]:  # fmt: skip
        """One kernel over pairs: its columns and, if marking, the marks of the rows of its window.

        Marks of pair i are ``marks[offsets[i]:offsets[i + 1]]``, for the rows from ``low[i]`` on; the last two
        results are ``offsets`` and ``low``.
        """
        h, c = self.history, self.config
        low30, low90, low364, high = self.windows(client, as_of)
        low = {30: low30, 90: low90, YEAR: low364}[{"through": days, "placed": 30, "year": YEAR}.get(kernel, 90)]
        offsets = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)
        room = int((high - low).max(initial=0))
        marks: Marks = np.zeros(int(offsets[-1]) if is_marking else 0, dtype=np.uint8)
        base = (high, h.known_day, as_of)
        end = (marks, offsets)
        if kernel == "structuring":
            out = _structuring(
                low30, low, *base, h.day, self.cents, h.is_inbound, self.channel, self.near, self.limit, *end
            )
        elif kernel == "shape":
            out = _shape(low30, low, *base, self.cents, h.is_inbound, self.channel, *end)
        elif kernel == "through":
            out = _fund_through(
                low, *base, h.at, self.cents, h.is_inbound, ~h.is_inbound, hours * 3_600_000_000, room, *end
            )
        elif kernel == "placed":
            source, sink = h.is_inbound & (self.channel == 1), ~h.is_inbound & (self.channel == 0)
            out = _fund_through(low, *base, h.at, self.cents, source, sink, hours * 3_600_000_000, room, *end)
        elif kernel == "burst":
            out = _burst(low30, low, *base, h.at, h.is_time_known, c.burst_seconds * 1_000_000, room, *end)
        elif kernel == "sorted":
            out = _sorted(low, *base, h.at, self.cents, h.is_inbound, c.mirror_days * DAY_US, room, *end)
        elif kernel == "people":
            out = _people(
                low30, low, *base, self.cents, h.is_inbound, h.counterparty.codes, len(h.counterparty.values),
                h.country.codes, len(h.country.values), self.limit, round(c.similar_amount_ratio * 1000), room, *end,
            )  # fmt: skip
        else:
            out = _year(low30, low, *base, h.day, self.cents, self.digit, _P, c.dormant_days, *end)
        return out, marks, offsets, low


def _share(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _only(values: Floats, condition: NDArray[np.bool_]) -> Floats:
    """Values where the condition holds, NaN elsewhere."""
    return np.where(condition, values, np.nan)


def _measure(rows: _Rows, spine: Spine) -> dict[str, Floats]:
    """All features and the internal measures (leading underscore) of :data:`RULES`; one array of len(spine) each."""
    config, limit = rows.config, rows.limit
    pairs = (spine.client, spine.as_of_day)
    s = rows.run("structuring", *pairs)[0].T
    f = rows.run("shape", *pairs)[0].T
    b = rows.run("burst", *pairs)[0].T
    o = rows.run("sorted", *pairs)[0].T
    p = rows.run("people", *pairs)[0].T
    y = rows.run("year", *pairs)[0].T
    placed = rows.run("placed", *pairs)[0].T
    m: dict[str, Floats] = {}
    m["p4_near_threshold_30d_count"], m["p4_near_threshold_90d_count"] = s[0], s[1]
    m["p4_near_threshold_share_30d_ratio"] = _share(s[0], s[2])
    m["p4_near_threshold_share_90d_ratio"] = _share(s[1], s[3])
    m["p4_near_threshold_volume_share_90d_ratio"] = _share(s[4], s[5])
    m["p4_near_threshold_cash_90d_count"] = _only(s[6], s[16] > 0)
    m["p4_near_threshold_cluster_90d_count"] = s[7]
    m["p4_sub_threshold_day_30d_count"], m["p4_sub_threshold_day_90d_count"] = s[8], s[9]
    m["p4_sub_threshold_cash_day_30d_count"] = _only(s[10], s[15] > 0)
    m["p4_sub_threshold_cash_day_90d_count"] = _only(s[11], s[16] > 0)
    m["p4_sub_threshold_day_max_90d_factor"] = s[12]
    m["p4_over_threshold_90d_count"] = s[13]
    m["p4_over_threshold_cash_90d_count"] = _only(s[14], s[16] > 0)
    for k, name in enumerate(("round_hundred", "round_thousand", "whole_amount", "below_round", "ending_mode"), 1):
        m[f"p4_{name}_share_90d_ratio"] = _share(f[k], f[0])
    m["p4_round_thousand_volume_share_90d_ratio"] = _share(f[6], f[7])
    m["_round_thousand_90d"] = f[2]
    m["_inflow_30d_threshold"], m["_cash_inflow_30d_threshold"] = f[8] / limit, f[9] / limit
    m["_inflow_90d_threshold"] = f[11] / limit
    m["p4_cash_inflow_share_30d_ratio"] = _share(f[9], f[10])
    m["p4_cash_inflow_share_90d_ratio"] = _share(f[12], f[13])
    m["p4_cash_outflow_share_90d_ratio"] = _share(f[15], f[16])
    for hours, days in ((24, 30), (72, 30), (72, 90)):
        received, through = rows.run("through", *pairs, days=days, hours=hours)[0].T
        m[f"p4_fund_through_{hours}h_{days}d_ratio"] = _share(through, received)
    m["p4_cash_placed_72h_30d_ratio"] = _share(placed[1], placed[0])
    m["p4_funnel_sender_30d_count"] = _only(p[2], p[0] > 0)
    m["p4_funnel_payee_30d_count"] = _only(p[3], p[0] > 0)
    m["p4_funnel_sender_country_30d_count"] = _only(p[4], p[1] > 0)
    balance = _share(np.minimum(p[6], p[7]), np.maximum(p[6], p[7]))
    m["p4_funnel_30d_ratio"] = _only(np.maximum(0.0, 1 - _share(p[3], p[2])) * balance, p[5] > 0)
    m["p4_smurf_sender_30d_count"] = _only(p[8], p[0] > 0)
    m["p4_smurf_share_30d_ratio"] = _only(_share(np.where(p[8] >= 3, p[9], 0.0), p[6]), p[0] > 0)
    m["p4_u_turn_90d_ratio"] = _share(p[10], p[11])
    m["p4_burst_max_30d_count"], m["p4_burst_max_90d_count"] = _only(b[2], b[0] > 0), _only(b[3], b[1] > 0)
    m["p4_burst_share_90d_ratio"] = _share(b[4], b[1])
    m["p4_max_over_median_30d_factor"] = _only(_share(f[17], o[1]), (f[17] >= 0) & (o[0] >= 3))
    m["p4_max_over_threshold_30d_factor"] = np.maximum(f[17], 0.0) / limit
    m["p4_repeat_amount_share_90d_ratio"] = _share(o[2], o[0])
    m["p4_mirror_90d_count"] = o[3]
    m["p4_mirror_share_90d_ratio"] = _share(o[4], o[5])
    has_digits = y[0] >= config.benford_minimum_count
    m["p4_benford_mad_364d_ratio"] = _only(y[1], has_digits)
    chance = np.sqrt(2 * _P * (1 - _P) / np.pi).mean() / np.sqrt(np.maximum(y[0], 1))
    m["p4_benford_excess_364d_statistic"] = _only(y[1] - chance, has_digits)
    m["p4_reactivation_gap_30d_days"] = _only(y[2], y[2] >= 0)
    m["p4_reactivation_volume_30d_base"] = y[3] / 100
    m["_reactivation_30d_threshold"] = y[3] / limit
    return m


def _as_features(spine: Spine, measures: dict[str, Floats]) -> pl.DataFrame:
    columns = [pl.Series(n, v).fill_nan(None) for n, v in measures.items() if not n.startswith("_")]
    return CONTRACT.conform(spine.frame().with_columns(columns))


def _as_hits(rows: _Rows, spine: Spine, measures: dict[str, Floats]) -> pl.DataFrame:
    parts = [_hits_of(rows, spine, measures, rule) for rule in RULES]
    return HITS_CONTRACT.conform(pl.concat([HITS_CONTRACT.empty(), *parts]))


def _hits_of(rows: _Rows, spine: Spine, measures: dict[str, Floats], rule: Rule) -> pl.DataFrame:
    """Hits of one typology, columns of :data:`HITS_CONTRACT`: the kernel runs again, on the firing pairs only."""
    value = measures[rule.measure]
    fires = value >= rule.fires_at
    if rule.second:
        fires &= measures[rule.second] >= rule.second_at
    at = np.flatnonzero(fires)
    _, marks, offsets, low = rows.run(
        rule.kernel, spine.client[at], spine.as_of_day[at], days=rule.days, is_marking=True
    )
    marked = np.flatnonzero(marks & rule.bit)
    pair = np.searchsorted(offsets, marked, side="right") - 1
    row = low[pair] + marked - offsets[pair]
    in_window = row >= rows.history.window(spine.client[at], spine.as_of_day[at], rule.days)[0][pair]
    pair, row = pair[in_window], row[in_window]
    cap = rows.config.evidence_transactions
    evidence = (
        pl.DataFrame({"pair": pair, "txn_id": pl.Series(rows.history.txn_id[row], dtype=pl.String)})
        .group_by("pair", maintain_order=True)
        .agg(pl.len().alias("txn_count"), pl.col("txn_id").tail(cap))
        .with_columns(pl.col("txn_id").list.join(";").alias("txn_ids"))
    )
    strength = np.minimum(1.0, value[at] / rule.saturates_at)
    return (
        spine.frame()[at]
        .with_columns(
            pl.Series("pair", np.arange(len(at))),
            pl.lit(rule.typology).alias("typology"),
            pl.Series("strength_ratio", strength),
            pl.lit(rule.measure).alias("measure"),
            pl.Series("value", value[at]),
            pl.lit(rule.evidence).alias("evidence"),
            pl.lit(rule.source).alias("source"),
        )
        .join(evidence, on="pair", how="inner")
        .select(pl.col(c.name) for c in HITS_CONTRACT.columns)
        .cast({"txn_count": pl.Int64})
    )


def build(history: History, spine: Spine, config: FeatureConfig) -> pl.DataFrame:
    """Features of :data:`CONTRACT`, one row per pair of the spine, sorted by client and as-of date.

    Parameters
    ----------
    history : transactions of at least 364 days before the oldest as-of date, as far as they exist.
    spine : the pairs asked for.
    config : windows, thresholds and levels.

    Raises
    ------
    ContractError : the configuration's windows or hours are not those of the column names.
    """
    return _as_features(spine, _measure(_Rows(history, config), spine))


def hits(history: History, spine: Spine, config: FeatureConfig) -> pl.DataFrame:
    """Typologies that fired (:data:`RULES`) with their evidence, rows of :data:`HITS_CONTRACT`; arguments as build."""
    rows = _Rows(history, config)
    return _as_hits(rows, spine, _measure(rows, spine))


def build_with_hits(history: History, spine: Spine, config: FeatureConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """:func:`build` and :func:`hits` on one computation of the measures: half the time of calling both."""
    rows = _Rows(history, config)
    measures = _measure(rows, spine)
    return _as_features(spine, measures), _as_hits(rows, spine, measures)
