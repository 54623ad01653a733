"""Every Python knob of the project, typed, validated and frozen.

Rule of this file: knobs live here and nowhere else (SQL knobs live in ``dbt_project.yml``); each
carries its unit and its reason. A run reads this file once, where it starts, and hands the parts
on; nothing in ``ml_assets`` reaches for it. It is also the only file that reads environment
variables (prefix ``BCRS_``).
"""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ml_assets.files import replace_file

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Days = Annotated[int, Field(ge=1)]


class Profile(StrEnum):
    """Size of the simulated bank and effort of training."""

    TINY = "tiny"
    DEMO = "demo"
    BANK = "bank"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalendarConfig(_Frozen):
    """How history is cut into as-of weeks and into training, validation and test weeks."""

    horizon_days: Days = Field(28, description="Days after the as-of date in which an STR makes a client positive.")
    embargo_days: Days = Field(
        28, description="Days left out between two splits: as long as the horizon, or labels of one overlap the next."
    )
    warmup_days: Days = Field(90, description="Days of history before the first as-of date: the longest window.")
    max_weeks: Annotated[int, Field(ge=4)] = Field(
        40, description="As-of weeks kept, counted back from the newest; older history only feeds windows."
    )
    validation_ratio: Ratio = Field(0.2, description="Share of the labelled weeks used for validation.")
    test_ratio: Ratio = Field(0.25, description="Share of the labelled weeks used for the final test.")


class SourceConfig(_Frozen):
    """What adapters assume of data sets made elsewhere."""

    reporting_delay_days: Annotated[int, Field(ge=0)] = Field(
        30,
        description=(
            "Days from the laundering event to the STR. 30 days from detection is the filing limit of "
            "31 CFR 1020.320(b)(3), read 2026-11."
        ),
    )
    base_currency: str = Field("EUR", description="ISO 4217 code used where neither data nor adapter names one.")


class FeatureConfig(_Frozen):
    """Windows and thresholds of the pillars."""

    window_days: tuple[int, int, int] = Field((7, 30, 90), description="Short, middle and long window, in days.")
    baseline_days: Days = Field(364, description="The client's own trailing baseline: 52 whole weeks.")
    baseline_gap_days: Days = Field(
        28, description="Newest days kept out of the baseline, so that a burst does not become its own normal."
    )
    reporting_threshold_base: float = Field(
        10_000.0,
        gt=0,
        description=(
            "Amount that triggers a currency transaction report: 10,000 in 31 CFR 1010.311 (USD), in PCMLTFR "
            "(CAD) and in Regulation (EU) 2024/1624 Art. 80 as the cash limit (EUR); read 2026-11."
        ),
    )
    near_threshold_ratio: Ratio = Field(
        0.9, description="Lower edge of the structuring band, as a share of the reporting threshold."
    )
    burst_seconds: Annotated[int, Field(ge=1)] = Field(60, description="Gap under which payments form one burst.")
    fund_through_hours: tuple[int, int] = Field((24, 72), description="How soon inflow must leave, in hours.")
    cycle_window_days: Days = Field(14, description="All edges of a temporal cycle fall into this many days.")
    cycle_max_length: Annotated[int, Field(ge=2, le=6)] = Field(6, description="Longest cycle looked for, in edges.")
    cycle_steps_per_start: Annotated[int, Field(ge=100)] = Field(
        500,
        description="Payments looked at per first edge of a cycle: bounds hubs; searches it cut are counted.",
    )
    pattern_window_days: Days = Field(
        7, description="Span of a fan, gather-scatter or scatter-gather; AMLworld's attempts last 1 to 7 days."
    )
    pattern_hub_degree: Annotated[int, Field(ge=2)] = Field(
        100,
        description="Partners on one side above which a party is a public service (shop, utility), not a motif.",
    )
    chain_amount_tolerance_ratio: Ratio = Field(
        0.2, description="How far a payment may differ from the one it passes on: fees, exchange, a mule's commission."
    )
    chain_max_length: Annotated[int, Field(ge=2, le=20)] = Field(10, description="Longest layering chain told apart.")
    chain_steps_per_payment: Annotated[int, Field(ge=8)] = Field(
        64, description="Neighbouring payments compared per payment in chains, nearest in time first: bounds hubs."
    )
    pagerank_damping_ratio: Ratio = Field(0.85, description="Share of flow followed onward (Brin & Page 1998).")
    pagerank_tolerance: float = Field(1e-8, gt=0, description="Largest L1 distance to the exact PageRank vector.")
    betweenness_pivots: Annotated[int, Field(ge=1)] = Field(
        32, description="Sources sampled for betweenness (Brandes & Pich 2007); exact where the graph has no more."
    )
    blacklist_max_hops: Annotated[int, Field(ge=2, le=6)] = Field(
        4, description="How far the nearest blacklisted party is looked for; beyond it most banks are one component."
    )
    blacklist_path_hops: Annotated[int, Field(ge=1, le=4)] = Field(
        2,
        description=(
            "Up to how many hops the path to a blacklisted party is kept as evidence: at 3, 85 % of the clients of the "
            "simulated bank have one, through shops and utilities."
        ),
    )
    graph_seed: int = Field(11, description="Seed of sampled pivots and of community detection.")
    fatf_black_points: Annotated[int, Field(ge=0)] = Field(
        3, description="Risk points of a country on FATF's call-for-action list: counter-measures."
    )
    eu_high_risk_points: Annotated[int, Field(ge=0)] = Field(
        2, description="Points of a high-risk third country, Directive (EU) 2015/849 Art. 9: enhanced due diligence."
    )
    fatf_grey_points: Annotated[int, Field(ge=0)] = Field(
        1, description="Points of a country under FATF's increased monitoring: no enhanced measures by itself."
    )
    sanctions_points: Annotated[int, Field(ge=0)] = Field(
        1, description="Points of a country with an OFAC, UN or UK sanctions programme: usually aimed at persons."
    )
    peer_minimum_clients: Annotated[int, Field(ge=5)] = Field(
        30, description="Clients a peer group needs before its statistics are used; below it, the wider group is."
    )
    peers_by_segment: bool = Field(
        False,
        description=(
            "Compare a client first with those of the behavioural segment it was last in before the week (found by "
            "`make segments`), then by industry and size. Helps where these are missing or say little of what accounts "
            "do. Segments found anew make every feature be computed anew. Set by BCRS_PEERS_BY_SEGMENT."
        ),
    )
    benford_minimum_count: Annotated[int, Field(ge=1)] = Field(
        50, description="Amounts needed before first digits are compared with Benford's law; fewer say nothing."
    )
    mirror_days: Days = Field(3, description="Days between an inflow and the outflow of equal amount that mirrors it.")
    dormant_days: Days = Field(90, description="Days of silence after which new activity is a reactivation.")
    similar_amount_ratio: Ratio = Field(
        0.2, description="Amounts within this share of a reference amount count as similar (smurfing, salaries)."
    )
    evidence_transactions: Annotated[int, Field(ge=1)] = Field(
        50, description="Transactions listed per typology hit, the newest first kept: what a reader can go through."
    )
    new_account_days: Days = Field(180, description="Account age under which volume counts as that of a new account.")
    minimum_observed_days: Days = Field(
        30, description="Least days over which turnover is annualised: one week's flow times 52 is no year."
    )
    salary_gap_days: tuple[int, int] = Field(
        (25, 35), description="Least and greatest days between two salary-like credits of one payer: a month."
    )
    tsfresh_sample_clients: Annotated[int, Field(ge=0)] = Field(
        200, description="Training clients on which tsfresh characteristics are discovered; 0 turns discovery off."
    )
    tsfresh_max_features: Annotated[int, Field(ge=0)] = Field(12, description="Characteristics kept by relevance.")
    tsfresh_fdr_ratio: Ratio = Field(
        0.05, description="False discovery rate of the relevance test (Benjamini & Yekutieli 2001), tsfresh's default."
    )
    tsfresh_redundant_correlation: Ratio = Field(
        0.9, description="A characteristic whose rank correlation with a chosen one exceeds this adds nothing: skipped."
    )
    tsfresh_chunk_rows: Annotated[int, Field(ge=1)] = Field(
        20_000, description="Rows per chunk: three 90-day series of 8 bytes a day take 43 MB for 20,000 rows."
    )
    baseline_minimum_weeks: Annotated[int, Field(ge=2)] = Field(
        8, description="Whole baseline weeks under which a client has no normal of its own: two months."
    )
    baseline_std_floor_ratio: Ratio = Field(
        0.1,
        description=(
            "Least standard deviation of the baseline, as a share of its mean: a client whose weeks are all alike "
            "would otherwise show an infinite z-score for a cent more."
        ),
    )
    daily_minimum_days: Annotated[int, Field(ge=4)] = Field(
        14, description="Days of daily history under which autocorrelation, change point and spectrum are null."
    )
    night_hours: tuple[Annotated[int, Field(ge=0, le=23)], Annotated[int, Field(ge=0, le=23)]] = Field(
        (22, 6), description="First hour of the night and first hour after it, UTC: 22:00 to 05:59."
    )
    shift_minimum_count: Annotated[int, Field(ge=1)] = Field(
        5, description="Transactions each of two periods needs before their distributions are compared."
    )

    def meaning(self) -> dict[str, Any]:
        """The knobs that decide what a feature's value means, as plain values.

        tsfresh's are left out: they say how characteristics are found, and what was found is frozen with a model.
        """
        return {k: v for k, v in self.model_dump(mode="json").items() if not k.startswith("tsfresh_")}


class RuleScoreConfig(_Frozen):
    """Points of the rule-based risk score: each measure gives the points of the highest step it reaches."""

    pass_through_steps: tuple[tuple[Ratio, float], ...] = Field(
        ((0.5, 15.0), (0.8, 30.0)),
        description=(
            "Share of the inflow of 90 days that left within 72 hours -> points. Judgement: half is busy, four "
            "fifths is an account that only passes money on."
        ),
    )
    income_discrepancy_steps: tuple[tuple[float, float], ...] = Field(
        ((0.18, 20.0), (0.48, 40.0)),
        description=(
            "Powers of ten by which yearly inflow exceeds the declared income -> points: 0.18 is 1.5 times, 0.48 "
            "three times. Judgement."
        ),
    )
    salary_portability_steps: tuple[tuple[Ratio, float], ...] = Field(
        ((0.5, 15.0), (0.8, 30.0)),
        description="Share of salary-like credits that left within 72 hours -> points. Judgement.",
    )


class ModelConfig(_Frozen):
    """Training effort and decision policy of both tiers."""

    seed: int = Field(20_260_101, description="Seed of every random draw in training and evaluation.")
    folds: Annotated[int, Field(ge=2)] = Field(5, description="Out-of-fold parts, grouped by client.")
    trees: Annotated[int, Field(ge=10)] = Field(200, description="Boosting rounds at most; fewer with early stopping.")
    depth: Annotated[int, Field(ge=1, le=6)] = Field(
        4, description="Tree depth; with 4, exact TreeSHAP takes a sixth of the time it takes with 6."
    )
    learning_rate: float = Field(0.08, gt=0, le=1, description="Shrinkage per boosting round.")
    isolation_trees: Annotated[int, Field(ge=10)] = Field(100, description="Isolation Forest size (Liu et al. 2008).")
    isolation_sample: Annotated[int, Field(ge=16)] = Field(256, description="Rows per isolation tree (same source).")
    alpha: Ratio = Field(0.7, description="Weight of the supervised half where validation cannot tune it.")
    alpha_grid: tuple[float, ...] = Field(
        (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), description="Weights tried per pillar on validation weeks."
    )
    negative_ratio: Annotated[int, Field(ge=1)] = Field(
        200,
        description="Negative rows kept per positive in training; the rest is dropped by seeded sampling.",
    )
    train_week_stride: Annotated[int, Field(ge=1)] = Field(
        1, description="Every n-th training week is used: neighbouring weeks share most of their windows."
    )
    bootstrap_samples: Annotated[int, Field(ge=20)] = Field(500, description="Resamples by client per interval.")
    parallel_fits: Annotated[int, Field(ge=1)] = Field(
        2, description="Fits at a time, one thread each: faster and more repeatable than threads inside a fit."
    )
    row_sample_ratio: Ratio = Field(
        0.8, description="Share of rows each tree sees (stochastic boosting, Friedman 2002)."
    )
    column_sample_ratio: Ratio = Field(0.7, description="Share of features each tree sees.")
    minimum_child_weight: float = Field(2.0, ge=0, description="Smallest sum of Hessians in a leaf.")
    l2_penalty: float = Field(3.0, ge=0, description="Ridge penalty on leaf values: positives are few.")
    histogram_bins: Annotated[int, Field(ge=16, le=256)] = Field(64, description="Bins per feature of the hist method.")
    stopping_rounds: Annotated[int, Field(ge=5)] = Field(
        20, description="Rounds without gain on an inner fold of training clients after which boosting stops."
    )
    scheme_depth: Annotated[int, Field(ge=1, le=6)] = Field(4, description="Tree depth of tier 2 (P6).")
    scheme_raw_features: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        (60, 140),
        description=(
            "How many features of P1-P5, those with the largest gain in training, a committee of tier 2 sees beside "
            "the pillar scores: one committee for each number, and one with the largest number and no scores."
        ),
    )
    scheme_weight_grid: tuple[Ratio, ...] = Field(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        description="How far the linear weights may move from their fit to P6 alone, by out-of-sample scores.",
    )
    tuning_trials: Annotated[int, Field(ge=0)] = Field(
        3, description="Settings tried per booster when they are searched for; the first are the configured ones."
    )
    tuning_minutes: float = Field(
        10.0, gt=0, description="Minutes a search may take at most per booster: a brake, not meant to be reached."
    )
    tuning_folds: Annotated[int, Field(ge=1)] = Field(3, description="Folds of training clients a trial is judged on.")
    memory_weeks: Annotated[int, Field(ge=0, le=26)] = Field(
        6, description="Earlier weeks whose pillar scores tier 2 remembers: an STR follows the act by about five."
    )
    aggregation_depth: Annotated[int, Field(ge=1, le=6)] = Field(
        2, description="Tree depth of the boosted aggregation: pairs of pillars at most."
    )
    scheme_similarity_ratio: Ratio = Field(
        0.4, description="Weight of cosine times norm in a scheme's score; the rest is the share of indicators fired."
    )
    density_floor_ratio: Ratio = Field(
        0.02, description="Uniform share mixed into each pillar's kernel density, so that no ratio is infinite."
    )
    precision_at: tuple[int, ...] = Field((10, 50, 100), description="Alerts per week for precision and recall at k.")
    reasons_per_alert: Annotated[int, Field(ge=1)] = Field(5, description="Feature reasons kept per alert.")
    alert_capacity_ratio: Ratio = Field(0.01, description="Share of scored clients investigators can work in a week.")
    medium_ratio: Ratio = Field(0.05, description="Share of clients at or above MEDIUM on validation weeks.")
    low_ratio: Ratio = Field(0.20, description="Share of clients at or above LOW on validation weeks.")
    explained_clients: Annotated[int, Field(ge=1)] = Field(
        10, description="Riskiest clients a week that get reasons besides the alerts: those the summary shows."
    )
    hysteresis_ratio: Ratio = Field(
        0.8, description="A client leaves a band only under this share of its cut, so that bands do not flicker."
    )
    rule_score: RuleScoreConfig = Field(
        RuleScoreConfig(), description="Points of the rule-based risk score, a baseline of the result tables."
    )


class EvaluationConfig(_Frozen):
    """Effort of the evidence report: resamples, the points of its curves, and how much its refits may cost."""

    bootstrap_samples: Annotated[int, Field(ge=20)] = Field(500, description="Resamples by client of the main tables.")
    experiment_samples: Annotated[int, Field(ge=20)] = Field(
        200, description="Resamples by client per variant of an experiment: there are over a hundred variants."
    )
    capacity_ratios: tuple[Ratio, ...] = Field(
        (
            0.001,
            0.002,
            0.003,
            0.005,
            0.0075,
            0.01,
            0.015,
            0.02,
            0.025,
            0.03,
            0.04,
            0.05,
            0.06,
            0.08,
            0.1,
            0.125,
            0.15,
            0.2,
            0.25,
            0.35,
            0.5,
        ),
        description="Shares of clients alerted a week at which recall is read: 21 points, dense where banks work.",
    )
    few_clients: Annotated[int, Field(ge=1)] = Field(
        30, description="Clients under which a group of the parity table is flagged: its interval says little."
    )
    few_positive_clients: Annotated[int, Field(ge=1)] = Field(
        5, description="Clients with an STR under which the recall of a group is flagged."
    )
    ablation_rows: Annotated[int, Field(ge=1_000)] = Field(
        100_000,
        description="Training rows per refit of a combination of pillars; every positive and a sample of negatives.",
    )
    refit_clients: Annotated[int, Field(ge=20)] = Field(
        800,
        description="Negative clients that refits learn from and are measured on, besides every positive one, with "
        "all their weeks: tier 2 remembers earlier weeks.",
    )
    refit_trees: Annotated[int, Field(ge=10)] = Field(60, description="Boosting rounds at most in refits.")
    refit_folds: Annotated[int, Field(ge=2)] = Field(
        2, description="Out-of-fold parts in refits; with two, half the rounds are taken and none is spent on stopping."
    )
    refit_negative_ratio: Annotated[int, Field(ge=1)] = Field(
        20, description="Negative rows per positive in refits: there are about twenty of them."
    )
    learning_points: Annotated[int, Field(ge=2)] = Field(4, description="Points of the learning curve.")
    label_delay_days: tuple[Days, ...] = Field(
        (30, 60), description="Days by which reports become known later in the test of robustness."
    )
    label_noise_ratios: tuple[Ratio, ...] = Field(
        (0.05, 0.1, 0.2), description="Shares of positive training clients whose report is taken away."
    )


class Threshold(_Frozen):
    """A limit that a validator will ask about: its value, why, who says so and when it was set."""

    value: float
    unit: str
    reason: str
    source: str
    decided: date = Field(description="Day the value was set; to be reviewed within a year.")


_OWN_JUDGEMENT = "own judgement; replace it by the bank's own once a year of weeks is on record"
_PSI_SOURCE = (
    "rule of thumb: Lewis (1994), An Introduction to Credit Scoring; Siddiqi (2006), Credit Risk Scorecards, ch. 6"
)


class MonitoringConfig(_Frozen):
    """When a week differs from the training weeks by so much that a person should look."""

    psi_bins: Annotated[int, Field(ge=3)] = Field(
        10, description="Equal-count bins of the training weeks' distribution, frozen with the model."
    )
    psi_watch: Threshold = Threshold(
        value=0.1,
        unit="PSI",
        reason="under it a distribution has not moved noticeably",
        source=_PSI_SOURCE,
        decided=date(2026, 11, 21),
    )
    psi_drift: Threshold = Threshold(
        value=0.25,
        unit="PSI",
        reason="from it on a distribution has moved so far that scores may no longer mean what they meant",
        source=_PSI_SOURCE,
        decided=date(2026, 11, 21),
    )
    psi_gross: Threshold = Threshold(
        value=1.0,
        unit="PSI",
        reason="hardly any overlap is left: a broken feed rather than changed behaviour",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    noise_confidence: Ratio = Field(
        0.999,
        description=(
            "A PSI counts only above this quantile of what equal distributions give by chance, chi2(bins - 1) x "
            "(1/n + 1/m): Yurdakul & Naranjo (2020), Statistical properties of the population stability index."
        ),
    )
    null_drift: Threshold = Threshold(
        value=0.1,
        unit="change of the share of missing values",
        reason="one client in ten lost or gained a family of features: a source column came or went",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    null_gross: Threshold = Threshold(
        value=0.5,
        unit="change of the share of missing values",
        reason="half the clients lost or gained a family of features",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    amount_drift: Threshold = Threshold(
        value=0.5,
        unit="log10 units of the mean amount of a currency",
        reason="a factor of three; weeks of ordinary payments differ by a few hundredths",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    amount_gross: Threshold = Threshold(
        value=1.0,
        unit="log10 units of the mean amount of a currency",
        reason="a factor of ten or more is a changed unit (cents for units, thousands for units), not behaviour",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    amount_sigma: Annotated[float, Field(gt=0)] = Field(
        4.0, description="Standard errors a currency's shift must exceed: five payments a week are noisy."
    )
    amount_minimum_count: Annotated[int, Field(ge=2)] = Field(
        5, description="Payments of a currency in a week under which its level is not judged."
    )
    explanation_drift: Threshold = Threshold(
        value=0.2,
        unit="Jensen-Shannon distance, base 2, 0-1",
        reason="alerts are raised by a different mix of pillars than the week before",
        source="distance: Endres & Schindelin (2003); value: " + _OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    explanation_gross: Threshold = Threshold(
        value=0.5,
        unit="Jensen-Shannon distance, base 2, 0-1",
        reason="alerts of one week and the next have hardly a reason in common",
        source="distance: Endres & Schindelin (2003); value: " + _OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    explanation_minimum_alerts: Annotated[int, Field(ge=1)] = Field(
        10, description="Alerts a week needs, in both weeks, before their mix of pillars is compared."
    )
    label_drift: Threshold = Threshold(
        value=0.5,
        unit="share of the training weeks' reports per client and week",
        reason="half the usual reports: labels arrive late or the feed has stopped, and metrics measure the feed",
        source=_OWN_JUDGEMENT,
        decided=date(2026, 11, 21),
    )
    label_weeks: Annotated[int, Field(ge=1)] = Field(
        8, description="Weeks over which arriving reports are counted: a single week holds too few."
    )
    score_reference_weeks: Annotated[int, Field(ge=1)] = Field(
        4, description="Newest validation weeks whose scores are the reference of score drift."
    )
    reference_clients: Annotated[int, Field(ge=100)] = Field(
        20_000, description="Clients the frozen bins are made from at most, every n-th by id: more move no edge."
    )


class ThresholdConfig(_Frozen):
    """Above/below-the-line testing of the alert cut."""

    confidence_ratio: Ratio = Field(
        0.95, description="Confidence of sample sizes and of bounds on a stratum's share of productive reviews."
    )
    tolerable_ratio: Ratio = Field(
        0.05,
        description=(
            "Share of productive reviews a stratum below the line may hold and still stay below it; own judgement, "
            "2026-11: the bank's risk appetite replaces it."
        ),
    )
    strata_edges: tuple[float, ...] = Field(
        (0.4, 0.6, 0.8, 1.0, 1.3, 1.8),
        description="Edges of the strata as multiples of the cut; 1, the line, has to be among them.",
    )
    review_hours: Annotated[float, Field(gt=0)] = Field(
        4.0, description="Hours one review takes; an assumption to be replaced by the bank's time sheets."
    )
    day_hours: Annotated[float, Field(gt=0)] = Field(7.5, description="Hours of review in an analyst's day.")
    productive_outcomes: tuple[str, ...] = Field(
        ("str_filed", "escalated", "true_positive", "suspicious"),
        description="Outcomes of a review, in lower case, that count as productive; all others do not.",
    )
    seed: int = Field(20_260_102, description="Seed of the sample drawn from each stratum.")

    @model_validator(mode="after")
    def _line_is_an_edge(self) -> Self:
        if 1.0 not in self.strata_edges or list(self.strata_edges) != sorted(set(self.strata_edges)):
            raise ValueError("strata_edges has to ascend and to hold 1.0, the line itself.")
        return self


class SimulationConfig(_Frozen):
    """The simulated bank."""

    clients: Annotated[int, Field(ge=50)] = Field(4_000, description="Clients of the bank.")
    start_date: date = Field(date(2024, 1, 1), description="First simulated day.")
    days: Annotated[int, Field(ge=60)] = Field(546, description="Simulated days.")
    launderer_ratio: Ratio = Field(0.04, description="Share of clients that launder at some time.")
    undetected_ratio: Ratio = Field(0.25, description="Share of launderers that never get an STR.")
    wrong_str_ratio: Ratio = Field(0.004, description="Share of honest clients that get an STR all the same.")
    seed: int = Field(7, description="Seed of the whole simulation.")


Treatment = Literal["straight_through", "standard_review", "enhanced_review"]
"""What a policy does with a client: nothing, a look by a person, enhanced due diligence by a person."""

BandPolicy = dict[Literal["HIGH", "MEDIUM", "LOW", "MINIMAL"], Treatment]


class PolicyConfig(_Frozen):
    """Who is worked by whom: a treatment per grade of segment and band."""

    by_grade: dict[Literal["low", "ordinary", "elevated"], BandPolicy] = Field(
        {
            "low": {
                "HIGH": "enhanced_review",
                "MEDIUM": "standard_review",
                "LOW": "straight_through",
                "MINIMAL": "straight_through",
            },
            "ordinary": {
                "HIGH": "enhanced_review",
                "MEDIUM": "standard_review",
                "LOW": "straight_through",
                "MINIMAL": "straight_through",
            },
            "elevated": {
                "HIGH": "enhanced_review",
                "MEDIUM": "enhanced_review",
                "LOW": "standard_review",
                "MINIMAL": "straight_through",
            },
        },
        description="Treatment by the segment's risk grade (from training weeks) and the client's band. Judgement.",
    )
    by_segment: dict[str, BandPolicy] = Field(
        {}, description="Treatment by segment id and band where a person decided otherwise; wins over the grade's."
    )
    reviews_unusual: bool = Field(
        True, description="Unusual clients (density noise) are reviewed by a person at LOW and above."
    )
    published_automated_ratio: Ratio = Field(
        0.80, description="Share automated published for a retail bank's segments: compared with, not fitted to."
    )
    published_manual_ratio: Ratio = Field(
        0.13, description="Share sent to a person there; the rest is standard review. Compared with, not fitted to."
    )
    prior_clients: float = Field(
        200.0, gt=0, description="Clients of the overall STR rate mixed into a segment's own rate: shrinks small ones."
    )


class SegmentConfig(_Frozen):
    """How clients are cut into segments and what counts as a trait."""

    seed: int = Field(31, description="Seed of every draw in segmentation.")
    segments_minimum: Annotated[int, Field(ge=2)] = Field(
        3, description="Fewest segments tried: two cannot tell more than one cut of one measure does."
    )
    segments_maximum: Annotated[int, Field(ge=2)] = Field(
        10, description="Most segments tried: more personas than a person keeps in mind serve no policy."
    )
    starts: Annotated[int, Field(ge=1)] = Field(5, description="k-means++ starts per fit, the best kept.")
    skew_limit: float = Field(
        1.0, gt=0, description="Absolute skewness above which a logarithm is tried (Bulmer 1979)."
    )
    missing_limit_ratio: Ratio = Field(0.6, description="Measures missing for more clients than this are left out.")
    redundant_correlation: Ratio = Field(
        0.95, description="A measure whose rank correlation with an earlier one exceeds this would count it twice."
    )
    clip_zscore: float = Field(
        4.0, gt=0, description="Scaled measures are cut here, so that no single client makes a segment of its own."
    )
    variance_kept_ratio: Ratio = Field(
        1.0, description="Share of variance kept by principal components before clustering; 1 does not reduce."
    )
    category_weight: float = Field(
        0.5, gt=0, description="Weight of one category as a whole beside one scaled number (1: equal variance)."
    )
    mini_batch_rows: Annotated[int, Field(ge=100)] = Field(
        20_000, description="Clients above which mini-batch k-means (Sculley 2010) replaces the full one."
    )
    sample_rows: Annotated[int, Field(ge=100)] = Field(
        3_000, description="Clients at most for silhouettes, bootstrap stability, mixtures and HDBSCAN: cost is square."
    )
    density_rows: Annotated[int, Field(ge=100)] = Field(
        3_000, description="Clients at most whose density DBSCAN learns; all others are compared with its core clients."
    )
    stability_resamples: Annotated[int, Field(ge=2)] = Field(
        15, description="Bootstrap resamples per number of segments; the mean's error is near 0.02."
    )
    stability_minimum: Ratio = Field(
        0.75, description="Mean adjusted Rand index under which a cut counts as unstable (Hennig 2007 uses 0.75)."
    )
    smallest_share_ratio: Ratio = Field(0.01, description="Least share of clients of a segment worth a policy.")
    refit_weeks: Annotated[int, Field(ge=1)] = Field(
        8, description="Training weeks between two fits; segments are matched to earlier ones and keep their ids."
    )
    match_distance: float = Field(
        1.0, gt=0, description="Greatest distance between matched centroids, root mean square per scaled measure."
    )
    trait_effect: float = Field(
        0.5, gt=0, description="Absolute Cohen's d from which a difference is a trait: medium (Cohen 1988)."
    )
    bootstrap_samples: Annotated[int, Field(ge=20)] = Field(300, description="Resamples by client of the policy curve.")
    policy: PolicyConfig = PolicyConfig()

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.segments_maximum < self.segments_minimum:
            msg = f"segments_maximum ({self.segments_maximum}) is under segments_minimum ({self.segments_minimum})."
            raise ValueError(msg)
        return self


class GovernanceConfig(_Frozen):
    """When a newly trained model may replace the champion, and when a model may score a week."""

    promotion_samples: Annotated[int, Field(ge=20)] = Field(
        500, description="Resamples by client of the paired comparison of challenger and champion."
    )
    calibration_factor: float = Field(
        2.0,
        gt=1,
        description=(
            "Expected over observed reports on held-out weeks may lie between 1 / this and this; outside it counts as "
            "uncalibrated unless the interval of the difference holds zero. Judgement: half or double the work."
        ),
    )
    promotion_psi: float = Field(
        0.25,
        gt=0,
        description="Largest PSI of the challenger's scores against the champion's (Siddiqi 2006: 0.25 is a shift).",
    )
    promotion_rank_correlation: Ratio = Field(
        0.6,
        description=(
            "Least Spearman correlation of both models' scores on held-out rows: under it another client list, not a "
            "retrained one. Judgement: two designs on the same small bank agreed to 0.95."
        ),
    )
    model_age_days: Days = Field(
        365,
        description=(
            "Oldest model that may score: days from the last week whose labels it learned from to the as-of date. "
            "A fresh model is four to eight months old already: embargoes and test weeks lie between."
        ),
    )
    support_weeks: Annotated[int, Field(ge=1)] = Field(
        6, description="Training weeks, evenly spaced, whose values are the training support: neighbours are alike."
    )
    support_tail_ratio: Ratio = Field(
        0.001, description="Share cut off at either end of a feature's training values before the range is taken."
    )
    support_widening: float = Field(
        0.5, ge=0, description="Widening of the range at either end, as a multiple of its width."
    )
    support_values_ratio: Ratio = Field(
        0.005,
        description=(
            "Largest share of values of a week outside the training support; five published and simulated sources "
            "stay under 0.0015, weeks or months after training."
        ),
    )
    support_client_ratio: Ratio = Field(
        0.02, description="Share of a client's values outside above which the client itself is outside."
    )
    support_clients_ratio: Ratio = Field(
        0.015,
        description=(
            "Largest share of clients outside in a week; the same sources stay under 0.01, and payments of one "
            "currency that a tenth of the clients used in a month, times 100, give 0.025."
        ),
    )
    support_minimum_clients: Annotated[int, Field(ge=1)] = Field(
        5,
        description=(
            "A handful of odd clients is no broken feed: so many with the most values outside are left away from the "
            "share of values, and fewer outside never refuse a week."
        ),
    )


class Config(_Frozen):
    """All knobs of one run."""

    profile: Profile = Profile.DEMO
    calendar: CalendarConfig = CalendarConfig()
    source: SourceConfig = SourceConfig()
    features: FeatureConfig = FeatureConfig()
    models: ModelConfig = ModelConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    thresholds: ThresholdConfig = ThresholdConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    simulation: SimulationConfig = SimulationConfig()
    segments: SegmentConfig = SegmentConfig()
    governance: GovernanceConfig = GovernanceConfig()

    @model_validator(mode="after")
    def _embargo_covers_horizon(self) -> Self:
        if self.calendar.embargo_days < self.calendar.horizon_days:
            msg = (
                f"embargo_days ({self.calendar.embargo_days}) is shorter than horizon_days "
                f"({self.calendar.horizon_days}): labels of one split would reach into the next. Raise embargo_days."
            )
            raise ValueError(msg)
        return self


def load_config(profile: Profile | str) -> Config:
    """Return the knobs of a profile.

    >>> load_config("tiny").simulation.clients
    250
    >>> load_config("huge")
    Traceback (most recent call last):
    ...
    ValueError: 'huge' is not a valid Profile
    """
    profile = Profile(profile)
    if profile is Profile.TINY:
        return Config(
            profile=profile,
            calendar=CalendarConfig(max_weeks=30),
            features=FeatureConfig(tsfresh_sample_clients=40, tsfresh_max_features=4),
            models=ModelConfig(
                trees=30,
                folds=3,
                isolation_trees=30,
                bootstrap_samples=60,
                tuning_trials=1,
                scheme_raw_features=(20,),
            ),
            evaluation=EvaluationConfig(
                bootstrap_samples=200,
                experiment_samples=100,
                refit_clients=150,
                refit_trees=20,
                learning_points=2,
                label_delay_days=(30,),
                label_noise_ratios=(0.2,),
            ),
            simulation=SimulationConfig(clients=250, days=364, launderer_ratio=0.16),
        )
    if profile is Profile.BANK:
        return Config(
            profile=profile,
            features=FeatureConfig(tsfresh_sample_clients=400),
            models=ModelConfig(trees=300, bootstrap_samples=300, tuning_trials=4),
            evaluation=EvaluationConfig(bootstrap_samples=300, experiment_samples=100, refit_clients=3_000),
            simulation=SimulationConfig(clients=50_000, days=546, launderer_ratio=0.02),
        )
    return Config(profile=profile)


class Settings(BaseSettings):
    """Where a run keeps its state and what it reads: ``BCRS_*`` environment variables, else the last run's choice.

    The main job writes its choice to ``<data_dir>/settings.json``, so that the UI, the schedules and the
    sensor go on with what was run last.
    """

    model_config = SettingsConfigDict(env_prefix="BCRS_", frozen=True, extra="ignore")

    profile: Profile = Field(Profile.DEMO, description="Size and effort: tiny, demo or bank.")
    data_dir: Path = Field(Path("data"), description="Folder of the landing area, warehouse, models and reports.")
    source: str = Field(
        "simulated",
        description="What the main job reads: simulated, folder:<path> or <format>:<path> (amlsim, amlgentex, ...).",
    )
    peers_by_segment: bool = Field(
        False, description="Turns FeatureConfig.peers_by_segment on; remembered, so 0 turns it off again."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the choice of the last run."""
        remembered = Path(os.environ.get("BCRS_DATA_DIR", "data")).expanduser() / "settings.json"
        return init_settings, env_settings, JsonConfigSettingsSource(settings_cls, json_file=remembered)

    def remember(self) -> None:
        """Write profile, source and peers_by_segment to ``<data_dir>/settings.json``, atomically."""
        choice = {
            "profile": self.profile.value,
            "source": self.source,
            "peers_by_segment": self.peers_by_segment,
        }
        replace_file(self.root / "settings.json", json.dumps(choice, indent=2))

    @property
    def root(self) -> Path:
        """Absolute data folder."""
        return self.data_dir.expanduser().resolve()

    @property
    def landing(self) -> Path:
        """Folder that receives input files in the contract's form."""
        return self.root / "landing"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that only the running job opens."""
        return self.root / "warehouse" / "bcrs.duckdb"

    @property
    def dbt(self) -> Path:
        """Folders in which dbt's calls work; what stays there is of calls that failed."""
        return self.root / "dbt"

    @property
    def serving(self) -> Path:
        """The DuckDB file analysts and pages open: marts of the last good run."""
        return self.root / "serving" / "marts_serving.duckdb"

    @property
    def models(self) -> Path:
        """Folder of saved models, one sub-folder per model id."""
        return self.root / "models"

    @property
    def published(self) -> Path:
        """Folder of scores as they were first published, one file per week and generation; only added to."""
        return self.root / "published"

    @property
    def memberships(self) -> Path:
        """Who was in which segment in which week, as the segments job last found it; outlives the warehouse."""
        return self.root / "segments" / "memberships.parquet"

    @property
    def replay(self) -> Path:
        """Folder in which a past week is rebuilt."""
        return self.root / "replay"

    @property
    def reports(self) -> Path:
        """Folder of summaries and pages."""
        return self.root / "reports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance."""
        return self.root / "dagster_home"

    def config(self) -> Config:
        """Knobs of the chosen profile, with peers by segment where that is chosen."""
        config = load_config(self.profile)
        if not self.peers_by_segment:
            return config
        return config.model_copy(update={"features": config.features.model_copy(update={"peers_by_segment": True})})


def search_path() -> str:
    """``PATH`` with the running interpreter's folder first, so that its own dbt is found without an activated shell."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
