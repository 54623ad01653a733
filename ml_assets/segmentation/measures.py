"""What clients are segmented by: columns of the feature tables, with the words a persona's name is made of.

Rule of this file: a measure names a column that another table defines, and never a formula of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Measure:
    """One input of a segmentation.

    Attributes
    ----------
    column : name of the column, as its own table calls it.
    label : what it is, for people.
    high, low : word for a segment that has clearly more, clearly less of it than the rest; empty: no word.
    source : ``schema.table`` the column comes from; empty where the frame is handed in.
    is_category : a text of few values instead of a number.
    is_described_only : shown and compared, but not used to find segments.
    stands_in_for : used only where that other column is not usable.
    """

    column: str
    label: str
    high: str = ""
    low: str = ""
    source: str = ""
    is_category: bool = False
    is_described_only: bool = False
    stands_in_for: str = ""


P1: Final = "features.feat_p1_volume_velocity"
P4: Final = "features.feat_p4_typology"
P5: Final = "features.feat_p5_profile"
SPINE: Final = "intermediate.int_client_weeks"

CLIENT_MEASURES: Final = (
    Measure("p1_inflow_sum_90d_base", "Money in, 90 days", "high inflow", "low inflow", P1),
    Measure("p1_outflow_sum_90d_base", "Money out, 90 days", "high outflow", "low outflow", P1),
    Measure(
        "p4_fund_through_72h_90d_ratio", "Pass-through: inflow gone within 72 h", "pass-through", "money stays", P4
    ),
    Measure("p1_active_days_90d_count", "Active days of 90", "busy", "quiet", P1),
    Measure(
        "p1_txn_per_active_day_90d_mean",
        "Velocity: payments per active day",
        "many payments a day",
        "few at a time",
        P1,
    ),
    Measure(
        "p5_income_discrepancy_90d_value",
        "Income discrepancy, powers of ten",
        "above declared income",
        "within declared income",
        P5,
    ),
    Measure("p5_salary_share_90d_ratio", "Salary share of the inflow", "salaried", "little salary", P5),
    Measure(
        "p5_salary_left_72h_90d_ratio", "Salary portability: gone within 72 h", "salary moves on", "salary stays", P5
    ),
    Measure("account_age_days", "Account age, days", "long-standing", "recent", SPINE),
    Measure(
        "history_days",
        "Client age: days since first known payment",
        "long-known",
        "recent",
        SPINE,
        stands_in_for="account_age_days",
    ),
    Measure("p4_cash_inflow_share_90d_ratio", "Cash share of the inflow", "cash-heavy", "cashless", P4),
    Measure("p5_foreign_outflow_share_90d_ratio", "Foreign share of the outflow", "cross-border", "domestic", P5),
)
"""The measures the two earlier systems used (flows, pass-through, velocity, income discrepancy, salary portability,
account and client age), as this warehouse's features, and cash and foreign shares beside them.

A person's age is not in the input contract: client age is the time since the first known payment."""

PROFILE_COLUMNS: Final = ("industry", "occupation", "size_bucket", "risk_rating")
"""Profile columns that describe a segment and never form it."""
