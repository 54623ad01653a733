"""Credit customers: the same pipeline on a loan book without payments, and an approval policy with its limits.

Rule of this file: the customer's sex is never used to form a segment or to decide, only to show how decisions fall.
The data set has no outcome, so nothing here says whether a decision was right.

Four personas were published for this data set. :data:`PUBLISHED_PERSONAS` says by what rule each counts as found;
whatever the segments are, they are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.clustering import alternatives, choose_k, fit_density, nearest
from ml_assets.segmentation.matching import new_ids
from ml_assets.segmentation.measures import Measure
from ml_assets.segmentation.personas import describe_categories, describe_traits, name_personas, wilson
from ml_assets.segmentation.preparation import fit_preparation

CREDIT_MEASURES: Final = (
    Measure("age_years", "Age, years", "senior", "young"),
    Measure("credit_amount_dm", "Credit amount, DM", "high-stakes", "small-ticket"),
    Measure("duration_months", "Duration, months", "long-term", "short-term"),
    Measure("purpose", "Purpose", is_category=True),
)
DESCRIBED: Final = ("purpose", "housing", "savings", "checking", "job", "sex")
"""Categories that describe a segment; of these only the purpose helps to form one."""

BUYERS: Final = {"car": "car borrowers", "radio/TV": "electronics buyers", "furniture/equipment": "furnishers"}
"""Purpose -> noun, used where a segment has clearly more of it than the rest."""

PUBLISHED_PERSONAS: Final = {
    "conservative seniors": "age effect at least 0.5 and no larger credit than the rest",
    "mainstream car borrowers": "clearly more car credits than the rest, credit amount effect under 0.5 either way",
    "small-ticket electronics users": "credit amount effect -0.5 or less, clearly more radio/TV credits than the rest",
    "high-stakes borrowers": "effects of credit amount and duration both at least 0.5",
}
"""Persona -> rule. Clearly more: Wilson's interval of the share lies above the share in the rest."""


@dataclass(frozen=True)
class CreditResult:
    """Segments of the credit customers: frames for tables and figures, see :mod:`ml_assets.segmentation.tables`."""

    customers: pl.DataFrame
    segments: pl.DataFrame
    selection: pl.DataFrame
    traits: pl.DataFrame
    categories: pl.DataFrame
    methods: pl.DataFrame
    published: pl.DataFrame
    policy: pl.DataFrame
    parity: pl.DataFrame
    reason: str


def _clearly_more(categories: pl.DataFrame, segment_id: str, column: str, value: str) -> bool:
    mine = categories.filter((pl.col("segment_id") == segment_id) & (pl.col("column") == column))
    hit = mine.filter(pl.col("value") == value)
    if not hit.height or hit["rest_share_ratio"][0] is None:
        return False
    low, _ = wilson(int(hit["clients_count"][0]), int(mine["clients_count"].sum()))
    return low is not None and low > hit["rest_share_ratio"][0]


def find_published(traits: pl.DataFrame, categories: pl.DataFrame, segments: tuple[str, ...]) -> pl.DataFrame:
    """Which published personas are there, by the stated rules.

    Returns
    -------
    frame : persona, rule, found_as (segment ids joined by a comma; null where none fits).
    """

    def effect(s: str, measure: str) -> float:
        d = traits.filter((pl.col("segment_id") == s) & (pl.col("measure") == measure))["cohens_d"].drop_nulls()
        return float(d[0]) if d.len() else float("nan")

    def more(s: str, value: str) -> bool:
        return _clearly_more(categories, s, "purpose", value)

    rules = {
        "conservative seniors": lambda s: effect(s, "age_years") >= 0.5 and effect(s, "credit_amount_dm") <= 0,
        "mainstream car borrowers": lambda s: more(s, "car") and abs(effect(s, "credit_amount_dm")) < 0.5,
        "small-ticket electronics users": lambda s: effect(s, "credit_amount_dm") <= -0.5 and more(s, "radio/TV"),
        "high-stakes borrowers": lambda s: effect(s, "credit_amount_dm") >= 0.5 and effect(s, "duration_months") >= 0.5,
    }
    found = [", ".join(s for s in segments if rules[p](s)) or None for p in PUBLISHED_PERSONAS]
    return pl.DataFrame(
        {"persona": list(PUBLISHED_PERSONAS), "rule": list(PUBLISHED_PERSONAS.values()), "found_as": found},
        schema={"persona": pl.String, "rule": pl.String, "found_as": pl.String},
    )


def approval_treatment(segment: pl.Series, unusual: pl.Series, traits: pl.DataFrame) -> pl.Series:
    """Who decides on an application: segments of high stakes go to a person, unusual customers to a standard review.

    Returns
    -------
    series : straight_through, standard_review or enhanced_review per customer.
    """
    manual = traits.filter(pl.col("trait") == "high-stakes")["segment_id"].to_list()
    frame = pl.DataFrame({"segment": segment, "unusual": unusual})
    return frame.select(
        pl.when(pl.col("segment").is_in(manual))
        .then(pl.lit("enhanced_review"))
        .when(pl.col("unusual"))
        .then(pl.lit("standard_review"))
        .otherwise(pl.lit("straight_through"))
        .alias("treatment")
    )["treatment"]


def _policy_table(customers: pl.DataFrame, automated: float, manual: float) -> pl.DataFrame:
    """Customers and money by treatment, for the segment policy and for the published split by credit amount."""
    place = (customers["credit_amount_dm"].rank("ordinal") - 0.5) / customers.height
    split = (
        pl.when(pl.col("place") <= automated)
        .then(pl.lit("straight_through"))
        .when(pl.col("place") > 1 - manual)
        .then(pl.lit("enhanced_review"))
        .otherwise(pl.lit("standard_review"))
    )
    both = [
        customers.with_columns(policy=pl.lit("by_segment")),
        customers.with_columns(place=place)
        .with_columns(policy=pl.lit("published_split_by_amount"), treatment=split)
        .drop("place"),
    ]
    amount = pl.col("credit_amount_dm").fill_null(0.0)
    return (
        pl.concat(both)
        .group_by("policy", "treatment")
        .agg(
            customers_count=pl.len().cast(pl.Int64),
            customers_ratio=pl.len() / customers.height,
            amount_ratio=amount.sum() / max(float(customers["credit_amount_dm"].sum()), 1e-9),
        )
        .sort("policy", "treatment")
    )


def segment_credit(frame: pl.DataFrame, config: SegmentConfig) -> CreditResult:
    """Segment credit customers, name personas and apply the approval policy.

    Parameters
    ----------
    frame : customer_id, age_years, sex, job, housing, savings, checking, credit_amount_dm, duration_months, purpose;
        one row per customer.

    Raises
    ------
    SegmentationError : no customer, or nothing that tells them apart.
    """
    frame = frame.sort("customer_id")
    preparation = fit_preparation(frame, CREDIT_MEASURES, config)
    matrix = preparation.transform(frame)
    choice, methods = alternatives(matrix, choose_k(matrix, config), config)
    ids = new_ids(choice.k)
    segment = pl.Series("segment_id", list(ids)).gather(pl.Series(nearest(matrix, choice.centroids)[0]))
    unusual = pl.Series("is_unusual", fit_density(matrix, config).is_unusual(matrix))
    traits = describe_traits(frame, segment.to_list(), CREDIT_MEASURES, preparation.logged, config)
    categories = describe_categories(frame, segment.to_list(), DESCRIBED)
    names = name_personas(traits, {s: _noun(categories, s) for s in ids})
    customers = frame.select("customer_id", "sex", "credit_amount_dm").with_columns(
        segment, unusual, treatment=approval_treatment(segment, unusual, traits)
    )
    policy = _policy_table(customers, config.policy.published_automated_ratio, config.policy.published_manual_ratio)
    return CreditResult(
        customers=customers.drop("sex", "credit_amount_dm"),
        segments=_segments(frame, segment, names, dict(zip(ids, choice.jaccard.tolist(), strict=True))),
        selection=choice.table,
        traits=traits,
        categories=categories,
        methods=methods,
        published=find_published(traits, categories, ids),
        policy=policy,
        parity=_parity(customers),
        reason=choice.reason,
    )


def _noun(categories: pl.DataFrame, segment_id: str) -> str:
    return next((n for p, n in BUYERS.items() if _clearly_more(categories, segment_id, "purpose", p)), "borrowers")


def _segments(
    frame: pl.DataFrame, segment: pl.Series, names: Mapping[str, str], jaccard: Mapping[str, float]
) -> pl.DataFrame:
    return (
        frame.with_columns(segment)
        .group_by("segment_id")
        .agg(
            clients_count=pl.len().cast(pl.Int64),
            share_ratio=pl.len() / frame.height,
            median_age_years=pl.col("age_years").median(),
            median_credit_amount_dm=pl.col("credit_amount_dm").median(),
            median_duration_months=pl.col("duration_months").median(),
            top_purpose=pl.col("purpose").drop_nulls().mode().sort().first(),
        )
        .with_columns(
            persona=pl.col("segment_id").replace_strict(dict(names), return_dtype=pl.String),
            stability=pl.col("segment_id").replace_strict(dict(jaccard), return_dtype=pl.Float64).fill_nan(None),
        )
        .sort("segment_id")
    )


def _parity(customers: pl.DataFrame) -> pl.DataFrame:
    """Share decided without a person, by sex, with Wilson's interval: shown, never used."""
    rows = []
    counts = customers.group_by(pl.col("sex").fill_null("(missing)")).agg(
        n=pl.len(), automated=(pl.col("treatment") == "straight_through").sum()
    )
    for r in counts.sort("sex").to_dicts():
        low, high = wilson(int(r["automated"]), int(r["n"]))
        rows.append(
            {
                "sex": r["sex"],
                "customers_count": int(r["n"]),
                "automated_ratio": float(np.divide(r["automated"], r["n"])),
                "low": low,
                "high": high,
            }
        )
    schema = {
        "sex": pl.String,
        "customers_count": pl.Int64,
        "automated_ratio": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)
