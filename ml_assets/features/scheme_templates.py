"""Scheme templates: what each strategic laundering scheme looks like, as data.

Rule of this file: the signatures, the indicators with every threshold, and what is *not* covered; no
transaction is touched here. :mod:`ml_assets.features.p6_scheme` computes what is declared here, and the
catalogue page is printed from it.

How a threshold is read: the alerts describe behaviour and almost never name a number. Where a number comes
from an alert its reason says so; every other number is this project's judgement and its reason says why it
was set there. Money limits are multiples of the configured reporting threshold, so that they move with the
currency. Country and sector lists are seed tables (``scheme_countries``, ``scheme_sectors``), never code.

An origin is never an indicator by itself: each indicator that looks at a country list is a conjunction with
behaviour (money from there *left again* within days, *and* ...). Its value is 0 where the behaviour is absent,
whatever share of the money came from a listed country.

Sources
-------
* FINTRAC operational alert *Professional money laundering through trade and money services businesses*,
  reference 18/19-SIDEL-025, 18 July 2018.
* FINTRAC operational alert *Laundering the proceeds of crime through a casino-related underground banking
  scheme* (Project Athena), 10 December 2019.
* FINTRAC operational alert *Updated indicators: Laundering the proceeds of crime through underground banking
  schemes* (Project Athena), reference FINTRAC-2023-OA002, July 2023 (the alert names no day; 1 July is stored).
* FINTRAC sectoral and geographic advisory *Underground Banking through Unregistered Money Services
  Businesses*, 5 May 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final


class Scheme(StrEnum):
    """The three strategic schemes; the value is the word used in tables."""

    UNDERGROUND_BANKING = "underground_banking"
    TRADE_BASED = "trade_based"
    MSB_PROFESSIONAL = "msb_professional"


PREFIXES: Final[dict[Scheme, str]] = {
    Scheme.UNDERGROUND_BANKING: "ub",
    Scheme.TRADE_BASED: "tb",
    Scheme.MSB_PROFESSIONAL: "msb",
}
"""Column prefix of each scheme, after ``p6_``."""

SCORE_COLUMNS: Final = ("s_p1_score", "s_p2_score", "s_p3_score", "s_p4_score", "s_p5_score")
"""Pillar scores S_P1..S_P5 as columns, 0-100, in the order of the signatures."""


@dataclass(frozen=True)
class Source:
    """Where a statement comes from: reference and date of publication."""

    reference: str
    published: date

    def __str__(self) -> str:
        return f"{self.reference} ({self.published.isoformat()})"


TRADE_MSB: Final = Source("FINTRAC operational alert 18/19-SIDEL-025", date(2018, 7, 18))
CASINO: Final = Source("FINTRAC operational alert on casino-related underground banking (Athena)", date(2019, 12, 10))
UNDERGROUND: Final = Source("FINTRAC operational alert FINTRAC-2023-OA002 (Athena update)", date(2023, 7, 1))
UNREGISTERED: Final = Source("FINTRAC advisory on underground banking through unregistered MSBs", date(2022, 5, 5))


@dataclass(frozen=True)
class Limit:
    """One number with its unit, its reason, and the alert whose behaviour it puts into a number.

    ``unit`` is ``reporting_thresholds`` (multiples of the configured threshold, resolved by :meth:`resolve`)
    or the unit of what is compared: ratio, factor, count, bits, days, hours, base.
    """

    name: str
    value: float
    unit: str
    reason: str
    source: Source

    def resolve(self, reporting_threshold_base: float) -> float:
        """The number to compare with: base-currency money for ``reporting_thresholds``, else ``value`` itself.

        >>> CORRIDOR_MINIMUM.resolve(10_000.0)
        10000.0
        """
        return self.value * reporting_threshold_base if self.unit == "reporting_thresholds" else self.value


CORRIDOR_MINIMUM: Final = Limit(
    "minimum_inflow",
    1.0,
    "reporting_thresholds",
    "Below one reporting threshold in the window a share says little, and families' remittances would fire.",
    UNDERGROUND,
)
TURNOVER_FLOOR: Final = Limit(
    "turnover_floor",
    1.0,
    "reporting_thresholds",
    "Least declared annual turnover divided by: a declared 0 would turn any ordinary month into infinity.",
    UNDERGROUND,
)
TRADE_MINIMUM: Final = Limit(
    "minimum_value",
    5.0,
    "reporting_thresholds",
    "The alert speaks of large-value transfers in steps of about US$50,000: five reporting thresholds.",
    TRADE_MSB,
)
TRADE_SHARE: Final = Limit(
    "minimum_turnover_share",
    1 / 6,
    "ratio",
    "Large is relative: two months of the declared turnover are large for a firm too small for five thresholds.",
    TRADE_MSB,
)
TRADE_FLOOR: Final = Limit(
    "least_minimum",
    0.5,
    "reporting_thresholds",
    "However small the firm, under half a reporting threshold a share rests on one or two invoices.",
    TRADE_MSB,
)
TRADE_SIZE: Final = (TRADE_MINIMUM, TRADE_SHARE, TRADE_FLOOR)
"""What the minimum value is made of: the least of the minimum and the share of the declared turnover, not under the
floor; the minimum itself where no turnover is declared."""
BASELINE_WEEKS: Final = Limit(
    "minimum_baseline_weeks",
    8.0,
    "count",
    "A client's own normal over less than eight whole weeks is one or two salary cycles, not a normal.",
    TRADE_MSB,
)
JUMP: Final = 0.75
"""Share w / (w + own mean): 0.75 is three times the own mean, 0.5 is the own mean."""


@dataclass(frozen=True)
class Indicator:
    """One computable indicator: a column of ``features.feat_p6_scheme``.

    Attributes
    ----------
    scheme : the scheme it speaks for.
    name : column name, ``p6_<prefix>_<measure>_<window>_<unit>``.
    meaning : one sentence an analyst understands.
    formula : how it is computed, conditions included; where a condition does not hold the value is 0.
    window_days : rows with as-of - window <= txn_at < as-of.
    threshold : it fires at or above this number.
    evidence : which of the client's own transactions are handed to the investigator.
    source : the alert that describes the behaviour.
    requires : input columns without which it is null.
    conditions : further numbers its formula uses, each with its reason.
    extra_null_rule : when it is null besides missing columns; empty if never.
    weight : how much it says for this scheme rather than for another or for an honest client; None counts as 1.
    """

    scheme: Scheme
    name: str
    meaning: str
    formula: str
    window_days: int
    threshold: Limit
    evidence: str
    source: Source
    requires: tuple[str, ...]
    conditions: tuple[Limit, ...] = ()
    extra_null_rule: str = ""
    weight: Limit | None = None

    def condition(self, name: str) -> Limit:
        """The condition called ``name``.

        Raises
        ------
        KeyError : the indicator has no such condition.
        """
        for limit in self.conditions:
            if limit.name == name:
                return limit
        raise KeyError(f"{self.name} has no condition {name!r}")

    @property
    def null_rule(self) -> str:
        """When the column is null, in words."""
        optional = [c for c in self.requires if c not in ("amount", "direction", "txn_date")]
        rows = [c for c in optional if c in ROW_COLUMNS]
        profile = [c for c in optional if c not in ROW_COLUMNS]
        parts = [f"no known transaction in the {self.window_days} days before the as-of date"]
        if rows:
            parts.append(f"or none of them has {', or none has '.join(rows)}")
        if profile:
            parts.append(f"or the client's {' or '.join(profile)} is unknown")
        if self.extra_null_rule:
            parts.append(f"or {self.extra_null_rule}")
        return "; ".join(parts)


ROW_COLUMNS: Final = ("counterparty_id", "counterparty_country", "counterparty_sector", "channel", "currency")
"""Input columns of a transaction that a source may lack."""

_MONEY: Final = ("amount", "direction", "txn_date")


def _limit(name: str, value: float, unit: str, reason: str, source: Source) -> Limit:
    return Limit(name, value, unit, reason, source)


def _underground_banking() -> tuple[Indicator, ...]:
    s = Scheme.UNDERGROUND_BANKING
    return (
        Indicator(
            s,
            "p6_ub_pass_through_30d_ratio",
            "Share of the money received that left again within days: the account is a pipe.",
            "first-in-first-out: cents received that left by any payment within the reach / cents received; 0 below "
            "the minimum inflow",
            30,
            _limit("fires", 0.9, "ratio", "Nine tenths gone within days leaves no room for living on it.", UNDERGROUND),
            "credits and debits matched by the first-in-first-out rule",
            UNDERGROUND,
            _MONEY,
            (
                _limit(
                    "reach", 120, "hours", "Short period of time in the alert; five days span a weekend.", UNDERGROUND
                ),
                CORRIDOR_MINIMUM,
            ),
        ),
        Indicator(
            s,
            "p6_ub_corridor_exit_30d_base",
            "Money wired in from the corridor that left within days to real estate, investment, automotive or legal.",
            "first-in-first-out: cents of inbound wires from underground_banking_corridor that left to "
            "underground_banking_exit sectors within the reach",
            30,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "A reportable amount went through; rent and fees stay below.",
                UNDERGROUND,
            ),
            "corridor wires and the payments to exit sectors matched to them",
            UNDERGROUND,
            (*_MONEY, "channel", "counterparty_country", "counterparty_sector"),
            (
                _limit(
                    "reach",
                    240,
                    "hours",
                    "Within a short period of time; ten days cover a closing or a purchase.",
                    UNDERGROUND,
                ),
            ),
        ),
        Indicator(
            s,
            "p6_ub_corridor_onward_30d_ratio",
            "Share of money wired in from the corridor that was passed on at once to others than the exit sectors.",
            "first-in-first-out: cents of inbound wires from underground_banking_corridor that left within the reach "
            "to any other sector / cents of those wires; 0 below the minimum inflow",
            30,
            _limit(
                "fires", 0.8, "ratio", "Four fifths passed on at once: the client keeps a fee or nothing.", UNDERGROUND
            ),
            "corridor wires and the payments matched to them",
            UNDERGROUND,
            (*_MONEY, "channel", "counterparty_country", "counterparty_sector"),
            (
                _limit(
                    "reach",
                    72,
                    "hours",
                    "Immediately transferred in the alert; three days span a weekend.",
                    UNDERGROUND,
                ),
                CORRIDOR_MINIMUM,
            ),
        ),
        Indicator(
            s,
            "p6_ub_msb_sender_30d_base",
            "Money wired in by money services businesses abroad that left again within days.",
            "first-in-first-out: cents of inbound wires from msb_sectors that left by any payment within the reach",
            30,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "A remittance to live on is smaller and is not passed on.",
                UNDERGROUND,
            ),
            "wires from money services businesses and the payments matched to them",
            UNDERGROUND,
            (*_MONEY, "channel", "counterparty_sector"),
            (_limit("reach", 120, "hours", "As for pass-through.", UNDERGROUND),),
        ),
        Indicator(
            s,
            "p6_ub_cash_to_draft_30d_base",
            "Cash deposits turned into bank drafts within five days by a student, homemaker or unemployed client.",
            "first-in-first-out: cents of cash deposits that left as bank drafts within the reach; 0 for other "
            "occupations",
            30,
            _limit(
                "fires",
                0.5,
                "reporting_thresholds",
                "Half the reporting threshold: split deposits stay under it, honest cash of these occupations far.",
                CASINO,
            ),
            "cash deposits and the drafts matched to them",
            CASINO,
            (*_MONEY, "channel", "occupation"),
            (_limit("reach", 120, "hours", "The alert's mules turn cash into drafts at once; five days.", CASINO),),
        ),
        Indicator(
            s,
            "p6_ub_casino_over_turnover_90d_factor",
            "Payments to casinos, put on a year, over the declared annual turnover or income.",
            "cents to casino_sectors x 365/90 / max(expected_turnover, turnover floor)",
            90,
            _limit("fires", 0.5, "factor", "Half of a declared income gambled away cannot last.", CASINO),
            "payments to casinos",
            CASINO,
            (*_MONEY, "counterparty_sector", "expected_turnover"),
            (TURNOVER_FLOOR,),
        ),
        Indicator(
            s,
            "p6_ub_first_seen_depositors_30d_count",
            "Persons and firms that paid a private client for the first time: the account of a money mule.",
            "distinct counterparties with an inbound payment in the window and no known payment with the client in the "
            "rest of the baseline year; 0 for clients that are not households",
            30,
            _limit(
                "fires",
                10,
                "count",
                "Many third-party deposits; a private account sees a few new payers a month.",
                UNREGISTERED,
            ),
            "inbound payments of first-seen depositors",
            UNREGISTERED,
            (*_MONEY, "counterparty_id", "industry"),
        ),
        Indicator(
            s,
            "p6_ub_deposit_round_trip_90d_base",
            "Money put into a deposit or investment product and taken back from the same house within the window.",
            "per counterparty of deposit_product_sectors: min(cents paid out, cents received later), summed",
            90,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "The alert's guaranteed investment certificates are bought with money meant for property.",
                UNDERGROUND,
            ),
            "payments to and from the houses the money came back from",
            UNDERGROUND,
            (*_MONEY, "counterparty_id", "counterparty_sector"),
        ),
        Indicator(
            s,
            "p6_ub_loop_value_30d_base",
            "Money that left into and came back from loops of two to four payments through shared parties.",
            "min(cents paid to, cents received from) parties on a directed loop of 2-4 payments through the client in "
            "the window's payment graph; parties with more neighbours than the hub limit are not followed",
            30,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "Friends settling bills stay below; settlement between brokers does not.",
                UNDERGROUND,
            ),
            "the client's own payments on such loops",
            UNDERGROUND,
            (*_MONEY, "counterparty_id"),
            (
                _limit(
                    "hub", 50, "count", "Shops, employers and utilities connect everybody to everybody.", UNDERGROUND
                ),
            ),
        ),
        Indicator(
            s,
            "p6_ub_volume_over_profile_90d_factor",
            "Money received, put on a year, over the declared annual turnover or income.",
            "inflow_sum_90d_base x 365/90 / max(expected_turnover, turnover floor)",
            90,
            _limit(
                "fires",
                3.0,
                "factor",
                "Three times the declaration: beyond a bonus, a sale or a good season.",
                UNDERGROUND,
            ),
            "inbound payments",
            UNDERGROUND,
            (*_MONEY, "expected_turnover"),
            (TURNOVER_FLOOR,),
        ),
        Indicator(
            s,
            "p6_ub_draft_to_casino_90d_base",
            "Bank drafts paid to casinos.",
            "cents of outbound drafts to casino_sectors",
            90,
            _limit("fires", 1.0, "reporting_thresholds", "Drafts replaced reportable cash at casino cages.", CASINO),
            "drafts to casinos",
            CASINO,
            (*_MONEY, "channel", "counterparty_sector"),
        ),
    )


def _trade_based() -> tuple[Indicator, ...]:
    s = Scheme.TRADE_BASED
    trader = "; 0 for clients outside trade_exposed_sectors"
    company = "; 0 for private persons"
    return (
        Indicator(
            s,
            "p6_tb_small_exposed_wires_90d_factor",
            "Wires of a small or medium firm in an exposed trade, put on a year, over its declared turnover.",
            "max(inbound, outbound wire cents) x 365/90 / max(expected_turnover, turnover floor); 0 unless industry "
            "is in trade_exposed_sectors and the size is micro, small or medium",
            90,
            _limit("fires", 1.5, "factor", "Wires alone at one and a half times the declared turnover.", TRADE_MSB),
            "international wires",
            TRADE_MSB,
            (*_MONEY, "channel", "industry", "size_bucket", "expected_turnover"),
            (TURNOVER_FLOOR,),
        ),
        Indicator(
            s,
            "p6_tb_sudden_wires_30d_ratio",
            "Sudden large wires in, against the client's own twelve months.",
            "w / (w + m): w inbound wire cents of 30 days, m the own mean per 30 days over the baseline's whole weeks; "
            "0 below the minimum value",
            30,
            _limit("fires", JUMP, "ratio", "Sudden inflow: at least three times the own mean.", TRADE_MSB),
            "inbound wires",
            TRADE_MSB,
            (*_MONEY, "channel"),
            (*TRADE_SIZE, BASELINE_WEEKS),
            "fewer than eight whole baseline weeks are known",
        ),
        Indicator(
            s,
            "p6_tb_corridor_mismatch_90d_ratio",
            "Wires come from some countries of the trade corridor and leave at once to others.",
            "min(total variation distance between the country shares of corridor wires in and out, first-in-first-out "
            "share of corridor wires in that left by corridor wire within the reach); 0 below the minimum value"
            + company,
            90,
            _limit(
                "fires",
                0.8,
                "ratio",
                "Payers and payees hardly share a country and hardly anything stays for costs.",
                TRADE_MSB,
            ),
            "corridor wires matched by the first-in-first-out rule",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_country", "industry"),
            (
                _limit("reach", 240, "hours", "Trade credit runs for weeks; ten days is money passing.", TRADE_MSB),
                *TRADE_SIZE,
            ),
        ),
        Indicator(
            s,
            "p6_tb_shell_share_90d_ratio",
            "Share of wires with shell jurisdictions, where wired money also leaves again within days.",
            "wire cents with shell_jurisdictions / wire cents; 0 unless inbound wires reach the minimum value and the "
            "first-in-first-out share of them that left by wire within the reach is at least the least through-flow",
            90,
            _limit("fires", 0.25, "ratio", "A quarter of the wires: a pattern rather than one supplier.", TRADE_MSB),
            "wires with shell jurisdictions",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_country"),
            (
                _limit("reach", 240, "hours", "As for the corridor mismatch.", TRADE_MSB),
                _limit(
                    "least_through_flow",
                    0.7,
                    "ratio",
                    "The country alone is no indicator; a trading margin and "
                    "costs leave less than 0.7 to pass on so soon.",
                    TRADE_MSB,
                ),
                *TRADE_SIZE,
            ),
        ),
        Indicator(
            s,
            "p6_tb_round_wires_90d_ratio",
            "Share of large wires that are round or close to a multiple of 50,000.",
            "wires at or over the reporting threshold that are a multiple of 1,000 or within the tolerance of one "
            "of the increment / such wires; 0 below the minimum count",
            90,
            _limit(
                "fires",
                0.5,
                "ratio",
                "Invoices with tax, freight and discount are rarely round; half is a habit.",
                TRADE_MSB,
            ),
            "round wires",
            TRADE_MSB,
            (*_MONEY, "channel"),
            (
                _limit("increment", 50_000, "base", "Increments of approximately US$50,000 in the alert.", TRADE_MSB),
                _limit(
                    "tolerance", 500, "base", "Approximately: one percent of the increment, either side.", TRADE_MSB
                ),
                _limit("round_to", 1_000, "base", "Round figures in the alert, at the size of a wire.", TRADE_MSB),
                _limit("minimum_count", 3, "count", "One or two round payments are no habit.", TRADE_MSB),
            ),
        ),
        Indicator(
            s,
            "p6_tb_atypical_sectors_90d_ratio",
            "Share of a trading firm's money that moves with sectors a trader has little to do with.",
            "cents with trade_atypical_sectors / cents with a known sector; 0 below the minimum value" + trader,
            90,
            _limit("fires", 0.25, "ratio", "A quarter: business outside the norm for the sector.", TRADE_MSB),
            "payments with atypical sectors",
            TRADE_MSB,
            (*_MONEY, "counterparty_sector", "industry"),
            TRADE_SIZE,
        ),
        Indicator(
            s,
            "p6_tb_no_running_costs_90d_ratio",
            "Share of a firm's payments that are neither wages, rent, utilities nor tax at home, where it wires money.",
            "1 - outbound non-wire cents to domestic_operating_sectors / outbound cents; 0 unless inbound or outbound "
            "wires reach the minimum value" + company,
            90,
            _limit(
                "fires",
                0.99,
                "ratio",
                "No business activities in Canada: under one percent goes to running a firm.",
                TRADE_MSB,
            ),
            "outbound payments",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_sector", "industry"),
            TRADE_SIZE,
        ),
        Indicator(
            s,
            "p6_tb_usd_flow_through_30d_ratio",
            "US-dollar wires leave as fast as they come, with next to no residual.",
            "min(in, out) / max(in, out) of US-dollar wire cents; 0 below the minimum value",
            30,
            _limit(
                "fires",
                0.95,
                "ratio",
                "Money is transferred out as quickly as it flows in: residual under 5 %.",
                TRADE_MSB,
            ),
            "US-dollar wires",
            TRADE_MSB,
            (*_MONEY, "channel", "currency"),
            TRADE_SIZE,
        ),
        Indicator(
            s,
            "p6_tb_one_off_partners_90d_count",
            "Trading partners a firm wired with exactly once in its known year: many unrelated partners.",
            "distinct counterparties with a wire in the window and no other wire in the baseline year" + company,
            90,
            _limit(
                "fires",
                10,
                "count",
                "Trade lives on repeated orders; ten one-off partners a quarter do not.",
                TRADE_MSB,
            ),
            "wires with one-off partners",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_id", "industry"),
        ),
        Indicator(
            s,
            "p6_tb_legal_settlement_90d_base",
            "Trade money moved by wire, draft or cheque through the account of a legal professional.",
            "cents in and out with legal_sectors by wire, draft or cheque" + trader,
            90,
            _limit(
                "fires",
                5.0,
                "reporting_thresholds",
                "Fees stay below five reporting thresholds; settlements do not.",
                TRADE_MSB,
            ),
            "wires, drafts and cheques with legal professionals",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_sector", "industry"),
        ),
        Indicator(
            s,
            "p6_tb_cash_to_corridor_30d_base",
            "Cash deposits wired to countries of the trade corridor within days: the peso exchange's way in.",
            "first-in-first-out: cents of cash deposits that left by wire to trade_corridor within the reach",
            30,
            _limit(
                "fires", 1.0, "reporting_thresholds", "A reportable amount of cash went abroad as trade.", TRADE_MSB
            ),
            "cash deposits and the wires matched to them",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_country"),
            (_limit("reach", 240, "hours", "As for the corridor mismatch.", TRADE_MSB),),
        ),
    )


def _msb_professional() -> tuple[Indicator, ...]:
    s = Scheme.MSB_PROFESSIONAL
    person = "; 0 for clients that are not households"
    return (
        Indicator(
            s,
            "p6_msb_jump_scatter_30d_count",
            "New payees paid while money received jumps over the client's own normal.",
            "distinct payees not seen in the rest of the baseline year; 0 unless inflow reaches the minimum value and "
            "w / (w + m) the jump, w inflow_sum_30d_base, m the own mean per 30 days of the baseline's whole weeks",
            30,
            _limit(
                "fires",
                5,
                "count",
                "Multiple unrelated third parties; a household adds one or two a month.",
                TRADE_MSB,
            ),
            "payments to payees not seen before",
            TRADE_MSB,
            (*_MONEY, "counterparty_id"),
            (
                _limit("jump", JUMP, "ratio", "Sudden inflow: at least three times the own mean.", TRADE_MSB),
                *TRADE_SIZE,
                BASELINE_WEEKS,
            ),
            "fewer than eight whole baseline weeks are known",
        ),
        Indicator(
            s,
            "p6_msb_fan_out_30d_count",
            "Third parties paid by wire, cheque or bank draft.",
            "distinct payees of outbound wires, cheques and drafts, the client itself not counted",
            30,
            _limit(
                "fires",
                10,
                "count",
                "The alert's instruments; wages and bills go by transfer and direct debit.",
                TRADE_MSB,
            ),
            "outbound wires, cheques and drafts",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_id"),
        ),
        Indicator(
            s,
            "p6_msb_currency_churn_30d_count",
            "Currency exchange transactions.",
            "rows with channel fx",
            30,
            _limit("fires", 8, "count", "Numerous currency exchanges: two a week, every week.", TRADE_MSB),
            "currency exchanges",
            TRADE_MSB,
            (*_MONEY, "channel"),
        ),
        Indicator(
            s,
            "p6_msb_currency_entropy_90d_bits",
            "How evenly money is spread over currencies, for clients that exchange currency.",
            "Shannon entropy of cents by currency; 0 below the minimum number of exchanges",
            90,
            _limit(
                "fires",
                1.0,
                "bits",
                "One bit is two currencies in equal parts: dollars for dollars or euros.",
                TRADE_MSB,
            ),
            "currency exchanges",
            TRADE_MSB,
            (*_MONEY, "channel", "currency"),
            (_limit("minimum_exchanges", 3, "count", "A journey needs one or two exchanges.", TRADE_MSB),),
        ),
        Indicator(
            s,
            "p6_msb_personal_as_msb_30d_ratio",
            "A private account with many payers and payees where everything passes through: a hidden exchange.",
            "first-in-first-out: cents received that left within the reach / cents received; 0 below the minimum "
            "number of distinct payers or payees" + person,
            30,
            _limit("fires", 0.9, "ratio", "Nine tenths pass through: what is left is a fee.", TRADE_MSB),
            "credits and debits matched by the first-in-first-out rule",
            TRADE_MSB,
            (*_MONEY, "counterparty_id", "industry"),
            (
                _limit("reach", 120, "hours", "As for pass-through.", TRADE_MSB),
                _limit(
                    "minimum_parties",
                    10,
                    "count",
                    "A household is paid by a few; ten payers and ten payees are a counter.",
                    TRADE_MSB,
                ),
            ),
        ),
        Indicator(
            s,
            "p6_msb_structured_exchange_30d_count",
            "Currency exchanges just under the reporting threshold.",
            "rows with channel fx and near-threshold ratio x threshold <= amount < threshold, in cents",
            30,
            _limit("fires", 2, "count", "One may be chance; two in a month avoid a report.", TRADE_MSB),
            "exchanges just under the threshold",
            TRADE_MSB,
            (*_MONEY, "channel"),
        ),
        Indicator(
            s,
            "p6_msb_weak_profile_volume_90d_factor",
            "Money received by a student, homemaker or unemployed client, put on a year, over the declared income.",
            "inflow_sum_90d_base x 365/90 / max(expected_turnover, turnover floor); 0 for other occupations",
            90,
            _limit(
                "fires",
                2.0,
                "factor",
                "The alert's occupations; twice the declaration already asks for a source.",
                TRADE_MSB,
            ),
            "inbound payments",
            TRADE_MSB,
            (*_MONEY, "occupation", "expected_turnover"),
            (TURNOVER_FLOOR,),
        ),
        Indicator(
            s,
            "p6_msb_wires_to_drafts_30d_base",
            "Wires from several senders depleted through bank drafts.",
            "first-in-first-out: cents of inbound wires that left as drafts within the reach; 0 below the minimum "
            "number of distinct wire senders",
            30,
            _limit(
                "fires", 1.0, "reporting_thresholds", "A reportable amount turned from wires into drafts.", TRADE_MSB
            ),
            "wires and the drafts matched to them",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_id"),
            (
                _limit("reach", 240, "hours", "Then depletes these amounts; ten days.", TRADE_MSB),
                _limit(
                    "minimum_senders",
                    3,
                    "count",
                    "Multiple sources: more than an employer and a relative.",
                    TRADE_MSB,
                ),
            ),
        ),
        Indicator(
            s,
            "p6_msb_self_drafts_90d_base",
            "Bank drafts made out to or received from the client itself.",
            "cents of drafts whose counterparty is the client; 0 below the minimum count",
            90,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "Many self-addressed bank drafts of a reportable sum.",
                TRADE_MSB,
            ),
            "self-addressed drafts",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_id"),
            (_limit("minimum_count", 2, "count", "One self-draft moves a deposit to another bank.", TRADE_MSB),),
        ),
        Indicator(
            s,
            "p6_msb_same_day_cash_30d_count",
            "Most cash deposits on one day, each under the reporting threshold and together at or over it.",
            "greatest number of cash deposits under the threshold on a day whose sum reaches it, in cents; 0 if no day "
            "has two or more",
            30,
            _limit(
                "fires",
                2,
                "count",
                "Two deposits under the limit that together reach it are a split deposit.",
                TRADE_MSB,
            ),
            "cash deposits of such days",
            TRADE_MSB,
            (*_MONEY, "channel"),
        ),
        Indicator(
            s,
            "p6_msb_mixed_flows_90d_ratio",
            "Personal and business money mixed on a private account.",
            "2 x min(b, 1 - b), b the share of inbound cents with known sector that comes from business_flow_sectors; "
            "0 below the minimum number of distinct business payers" + person,
            90,
            _limit("fires", 0.5, "ratio", "At least a quarter of each kind.", UNREGISTERED),
            "inbound payments from business sectors",
            UNREGISTERED,
            (*_MONEY, "counterparty_id", "counterparty_sector", "industry"),
            (_limit("minimum_payers", 3, "count", "A salary and a side job are two.", UNREGISTERED),),
        ),
        Indicator(
            s,
            "p6_msb_new_account_volume_90d_factor",
            "Money received on a new account, put on a year, over the declared turnover or income.",
            "inflow_sum_90d_base x 365/90 / max(expected_turnover, turnover floor); 0 for older accounts",
            90,
            _limit("fires", 2.0, "factor", "Twice the declaration before the first half year is over.", TRADE_MSB),
            "inbound payments",
            TRADE_MSB,
            (*_MONEY, "expected_turnover", "onboarding_date"),
            (
                TURNOVER_FLOOR,
                _limit(
                    "new_account", 180, "days", "Half a year: mules' accounts are opened for the purpose.", TRADE_MSB
                ),
            ),
        ),
        Indicator(
            s,
            "p6_msb_corridor_payout_30d_base",
            "Money wired in from the listed jurisdictions and paid out within days to many parties.",
            "first-in-first-out: cents of inbound wires from msb_corridor that left by wire, draft, cheque or transfer "
            "within the reach; 0 below the minimum number of distinct payees of such payments",
            30,
            _limit(
                "fires",
                1.0,
                "reporting_thresholds",
                "One or two large transfers, then multiple cheques and drafts.",
                TRADE_MSB,
            ),
            "corridor wires and the payments matched to them",
            TRADE_MSB,
            (*_MONEY, "channel", "counterparty_id", "counterparty_country"),
            (
                _limit(
                    "reach", 240, "hours", "Ten days: what is paid on in this time was never meant to stay.", TRADE_MSB
                ),
                _limit("minimum_payees", 5, "count", "Multiple third parties; a family's bills are fewer.", TRADE_MSB),
            ),
        ),
    )


SHARED, TYPICAL, SPECIFIC = 1.0, 2.0, 3.0
_WEIGHT_REASONS: Final = {
    SHARED: "Shared: other schemes and many honest clients show the same; it says how much, not which.",
    TYPICAL: "Typical: the alert leads with it, but other schemes or some trades show it too.",
    SPECIFIC: "Specific: the method of this scheme itself; hardly anyone else does it.",
}
WEIGHTS: Final[Mapping[str, float]] = {
    "p6_ub_pass_through_30d_ratio": SHARED,
    "p6_ub_corridor_exit_30d_base": SPECIFIC,
    "p6_ub_corridor_onward_30d_ratio": TYPICAL,
    "p6_ub_msb_sender_30d_base": TYPICAL,
    "p6_ub_cash_to_draft_30d_base": SPECIFIC,
    "p6_ub_casino_over_turnover_90d_factor": SPECIFIC,
    "p6_ub_first_seen_depositors_30d_count": TYPICAL,
    "p6_ub_deposit_round_trip_90d_base": TYPICAL,
    "p6_ub_loop_value_30d_base": SHARED,
    "p6_ub_volume_over_profile_90d_factor": SHARED,
    "p6_ub_draft_to_casino_90d_base": SPECIFIC,
    "p6_tb_small_exposed_wires_90d_factor": TYPICAL,
    "p6_tb_sudden_wires_30d_ratio": TYPICAL,
    "p6_tb_corridor_mismatch_90d_ratio": SPECIFIC,
    "p6_tb_shell_share_90d_ratio": SPECIFIC,
    "p6_tb_round_wires_90d_ratio": SPECIFIC,
    "p6_tb_atypical_sectors_90d_ratio": TYPICAL,
    "p6_tb_no_running_costs_90d_ratio": SHARED,
    "p6_tb_usd_flow_through_30d_ratio": SPECIFIC,
    "p6_tb_one_off_partners_90d_count": TYPICAL,
    "p6_tb_legal_settlement_90d_base": SHARED,
    "p6_tb_cash_to_corridor_30d_base": TYPICAL,
    "p6_msb_jump_scatter_30d_count": SPECIFIC,
    "p6_msb_fan_out_30d_count": TYPICAL,
    "p6_msb_currency_churn_30d_count": TYPICAL,
    "p6_msb_currency_entropy_90d_bits": TYPICAL,
    "p6_msb_personal_as_msb_30d_ratio": SPECIFIC,
    "p6_msb_structured_exchange_30d_count": SPECIFIC,
    "p6_msb_weak_profile_volume_90d_factor": SHARED,
    "p6_msb_wires_to_drafts_30d_base": SPECIFIC,
    "p6_msb_self_drafts_90d_base": SPECIFIC,
    "p6_msb_same_day_cash_30d_count": TYPICAL,
    "p6_msb_mixed_flows_90d_ratio": SHARED,
    "p6_msb_new_account_volume_90d_factor": SHARED,
    "p6_msb_corridor_payout_30d_base": TYPICAL,
}
"""How much each indicator says for its own scheme: judgement on three levels, each with its reason."""


def _weighed(indicator: Indicator) -> Indicator:
    level = WEIGHTS[indicator.name]
    return replace(indicator, weight=_limit("weight", level, "weight", _WEIGHT_REASONS[level], indicator.source))


FULL_WEIGHT: Final = 6.0
"""Weight at which one fired indicator alone would be certainty: twice the greatest weight, so that a specific indicator
alone is even odds and two of them three to one."""
BELOW: Final = 0.5
"""Strength to which an indicator rises in proportion until it fires: just under a threshold is not nothing."""

INDICATORS: Final[tuple[Indicator, ...]] = tuple(
    _weighed(i) for i in (*_underground_banking(), *_trade_based(), *_msb_professional())
)
"""The catalogue: every computable indicator, in column order."""


def indicators_of(scheme: Scheme) -> tuple[Indicator, ...]:
    """Indicators of one scheme, in column order."""
    return tuple(i for i in INDICATORS if i.scheme == scheme)


@dataclass(frozen=True)
class Template:
    """A scheme's signature over the pillars: how strongly each pillar shows it, with the reason.

    ``weights`` and ``reasons`` follow :data:`SCORE_COLUMNS`. Weights are judgement on a scale of 0 (says
    nothing) to 5 (the scheme cannot hide there); only their direction matters.
    """

    scheme: Scheme
    title: str
    weights: tuple[float, float, float, float, float]
    reasons: tuple[str, str, str, str, str]
    sources: tuple[Source, ...]

    @property
    def signature(self) -> tuple[float, ...]:
        """The weights as a unit vector.

        >>> round(sum(x * x for x in TEMPLATES[Scheme.TRADE_BASED].signature), 12)
        1.0
        """
        norm = math.sqrt(sum(w * w for w in self.weights))
        return tuple(w / norm for w in self.weights)


TEMPLATES: Final[Mapping[Scheme, Template]] = {
    Scheme.UNDERGROUND_BANKING: Template(
        Scheme.UNDERGROUND_BANKING,
        "Underground banking",
        (2, 3, 1, 5, 4),
        (
            "Volume rises, but each account is kept moderate by using many.",
            "Shared counterparties, many depositors, loops between brokers.",
            "Ordinary hours and rhythm: deposits and drafts are made at counters.",
            "Pass-through, cash to drafts and split deposits are the method itself.",
            "Students, homemakers and the unemployed move what they could not earn.",
        ),
        (CASINO, UNREGISTERED, UNDERGROUND),
    ),
    Scheme.TRADE_BASED: Template(
        Scheme.TRADE_BASED,
        "Trade-based laundering",
        (5, 1, 3, 2, 5),
        (
            "Sudden large wires against the own year.",
            "Few, distant partners: little structure inside one bank's view.",
            "Dormant companies wake; flows come in bursts around settlements.",
            "Round amounts and flow-through, without cash or splitting.",
            "Sectors, countries and missing running costs contradict the declared trade.",
        ),
        (TRADE_MSB,),
    ),
    Scheme.MSB_PROFESSIONAL: Template(
        Scheme.MSB_PROFESSIONAL,
        "Professional laundering through money services businesses",
        (4, 5, 3, 4, 1),
        (
            "Inflow jumps and is paid out at once.",
            "Many in, many out: the counter of a money services business.",
            "Exchanges and deposits repeat through the day and the week.",
            "Amounts just under the threshold, several deposits a day.",
            "The declared business often is a money services business: the profile hides it.",
        ),
        (TRADE_MSB, UNREGISTERED),
    ),
}
"""The three templates by scheme."""


@dataclass(frozen=True)
class NotCovered:
    """An indicator of an alert that cannot be computed from the input contract, and what it would need."""

    scheme: Scheme
    name: str
    needs: str
    source: Source


NOT_COVERED: Final[tuple[NotCovered, ...]] = (
    NotCovered(
        Scheme.TRADE_BASED, "over- and under-invoicing", "invoices with goods, quantity and unit price", TRADE_MSB
    ),
    NotCovered(Scheme.TRADE_BASED, "phantom shipment", "bills of lading, customs declarations", TRADE_MSB),
    NotCovered(Scheme.TRADE_BASED, "multiple invoicing", "invoice numbers in the payment reference", TRADE_MSB),
    NotCovered(Scheme.TRADE_BASED, "falsely described goods", "goods descriptions, customs codes", TRADE_MSB),
    NotCovered(
        Scheme.TRADE_BASED,
        "bank account in one jurisdiction, registered address in another",
        "the counterparty's bank country beside its registered country; one country column cannot tell them apart",
        TRADE_MSB,
    ),
    NotCovered(Scheme.TRADE_BASED, "credit card overpayments", "credit card account balances", TRADE_MSB),
    NotCovered(Scheme.TRADE_BASED, "imported currency", "cross-border currency reports", TRADE_MSB),
    NotCovered(
        Scheme.UNDERGROUND_BANKING, "remitting party not named", "originator fields of the wire message", UNDERGROUND
    ),
    NotCovered(Scheme.UNDERGROUND_BANKING, "stated purpose against use", "payment purpose text", UNDERGROUND),
    NotCovered(Scheme.UNDERGROUND_BANKING, "adverse media", "a media screening feed", UNDERGROUND),
    NotCovered(Scheme.UNDERGROUND_BANKING, "no online presence of the sender", "web presence checks", UNDERGROUND),
    NotCovered(
        Scheme.UNDERGROUND_BANKING,
        "business funded by its directors",
        "links of directors and signatories",
        UNDERGROUND,
    ),
    NotCovered(Scheme.UNDERGROUND_BANKING, "play at the casino", "casino disbursement and table records", CASINO),
    NotCovered(
        Scheme.MSB_PROFESSIONAL,
        "several occupations, addresses or telephone numbers",
        "identity data across banks",
        TRADE_MSB,
    ),
    NotCovered(Scheme.MSB_PROFESSIONAL, "customer of many banks", "accounts at other institutions", TRADE_MSB),
    NotCovered(Scheme.MSB_PROFESSIONAL, "deposits at several branches on one day", "branch of the deposit", TRADE_MSB),
    NotCovered(
        Scheme.MSB_PROFESSIONAL,
        "account closed to avoid questions",
        "closing dates and due-diligence requests",
        TRADE_MSB,
    ),
)
"""What the alerts name and our columns cannot show."""
