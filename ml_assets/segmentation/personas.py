"""Personas: what sets a segment apart, a name by rule, its risk, and what to do with it.

Rule of this file: a name follows from traits and nothing else, traits are effect sizes against all other clients of
the same week. Risk is described here from labels; it never forms a segment.

Effect sizes: Cohen's d with the pooled standard deviation (Cohen 1988), on the logarithm where preparation takes it;
Cliff's delta (1993), the chance to be above a client of the rest less the chance to be under, on the values as they
are. Shares carry Wilson's 95 % interval (Wilson 1927).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata
from statsmodels.stats.proportion import proportion_confint

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.measures import Measure
from ml_assets.segmentation.preparation import signed_log

BANDS = ("HIGH", "MEDIUM", "LOW", "MINIMAL")

MOSTLY = 0.8
"""Share of private persons (or companies) from which a name says so."""

TRAITS_IN_NAME = 2

TRAIT_SCHEMA = {
    "segment_id": pl.String,
    "measure": pl.String,
    "label": pl.String,
    "median": pl.Float64,
    "rest_median": pl.Float64,
    "cohens_d": pl.Float64,
    "cliffs_delta": pl.Float64,
    "trait": pl.String,
}


def cohens_d(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Difference of means in pooled standard deviations; NaN where a side has fewer than two or nothing varies.

    >>> round(cohens_d(np.array([2.0, 4.0]), np.array([0.0, 2.0])), 3)
    1.414
    """
    if len(a) < 2 or len(b) < 2:
        return float("nan")
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return float((a.mean() - b.mean()) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def cliffs_delta(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """P(a > b) - P(a < b), from ranks; NaN where a side is empty.

    >>> cliffs_delta(np.array([3.0, 4.0]), np.array([1.0, 3.0]))
    0.75
    """
    if not len(a) or not len(b):
        return float("nan")
    ranks = rankdata(np.concatenate([a, b]))[: len(a)].sum()
    u = ranks - len(a) * (len(a) + 1) / 2
    return float(2 * u / (len(a) * len(b)) - 1)


def describe_traits(
    frame: pl.DataFrame,
    segment: Sequence[str],
    measures: Sequence[Measure],
    logged: Sequence[str],
    config: SegmentConfig,
) -> pl.DataFrame:
    """Every numeric measure of every segment against the rest.

    Parameters
    ----------
    frame : one row per client. segment : segment id of every row. logged : columns compared on their logarithm.

    Returns
    -------
    frame : columns :data:`TRAIT_SCHEMA`; ``trait`` is the word of a measure whose effect reaches ``trait_effect``,
        else null; sorted by segment, strongest effect first.
    """
    ids = np.asarray(segment, dtype=object)
    rows = []
    for m in measures:
        if m.is_category or m.column not in frame.columns:
            continue
        values = frame[m.column].cast(pl.Float64).to_numpy().astype(np.float64)
        known = np.isfinite(values)
        scaled = signed_log(values) if m.column in logged else values
        for s in sorted(set(segment)):
            inside, rest = known & (ids == s), known & (ids != s)
            d = cohens_d(scaled[inside], scaled[rest])
            delta = cliffs_delta(values[inside], values[rest])
            word = ""
            if np.isfinite(d) and abs(d) >= config.trait_effect:
                word = m.high if d > 0 else m.low
            rows.append(
                {
                    "segment_id": s,
                    "measure": m.column,
                    "label": m.label,
                    "median": float(np.median(values[inside])) if inside.any() else None,
                    "rest_median": float(np.median(values[rest])) if rest.any() else None,
                    "cohens_d": d if np.isfinite(d) else None,
                    "cliffs_delta": delta if np.isfinite(delta) else None,
                    "trait": word or None,
                }
            )
    return pl.DataFrame(rows, schema=TRAIT_SCHEMA).sort(
        "segment_id", pl.col("cohens_d").abs().fill_null(-1), "measure", descending=[False, True, False]
    )


def describe_categories(frame: pl.DataFrame, segment: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Share of every value of some text columns in every segment and in the rest.

    Returns
    -------
    frame : segment_id, column, value, clients_count, share_ratio, rest_share_ratio; values some client of the segment
        has; sorted by segment, column, largest share first.
    """
    ids = pl.Series("segment_id", list(segment), dtype=pl.String)
    parts = []
    for c in columns:
        if c not in frame.columns or frame[c].null_count() == frame.height:
            continue
        table = pl.DataFrame({"segment_id": ids, "value": frame[c].cast(pl.String).fill_null("(missing)")})
        total = table.height
        sizes = table.group_by("segment_id").len("size")
        everywhere = table.group_by("value").len("everywhere")
        parts.append(
            table.group_by("segment_id", "value")
            .len("clients_count")
            .join(sizes, on="segment_id")
            .join(everywhere, on="value")
            .select(
                "segment_id",
                pl.lit(c).alias("column"),
                "value",
                pl.col("clients_count").cast(pl.Int64),
                share_ratio=pl.col("clients_count") / pl.col("size"),
                rest_share_ratio=pl.when(pl.col("size") < total).then(
                    (pl.col("everywhere").cast(pl.Int64) - pl.col("clients_count").cast(pl.Int64))
                    / (total - pl.col("size").cast(pl.Int64))
                ),
            )
        )
    schema = {
        "segment_id": pl.String,
        "column": pl.String,
        "value": pl.String,
        "clients_count": pl.Int64,
        "share_ratio": pl.Float64,
        "rest_share_ratio": pl.Float64,
    }
    if not parts:
        return pl.DataFrame(schema=schema)
    return pl.concat(parts).sort("segment_id", "column", "share_ratio", "value", descending=[False, False, True, False])


def client_noun(categories: pl.DataFrame, segment_id: str) -> str:
    """'private clients', 'business clients' or 'clients', by the share of households in the segment."""
    mine = categories.filter((pl.col("segment_id") == segment_id) & (pl.col("column") == "industry"))
    known = mine.filter(pl.col("value") != "(missing)")
    if not known.height:
        return "clients"
    private = int(known.filter(pl.col("value") == "household")["clients_count"].sum()) / int(
        known["clients_count"].sum()
    )
    if private >= MOSTLY:
        return "private clients"
    return "business clients" if private <= 1 - MOSTLY else "clients"


def name_personas(traits: pl.DataFrame, nouns: Mapping[str, str]) -> dict[str, str]:
    """A name for every segment: its strongest trait words and its noun.

    Parameters
    ----------
    traits : of :func:`describe_traits`. nouns : segment id -> 'private clients', ...; its keys are the segments.

    Returns
    -------
    dict : segment id -> name. Two words at first; segments that would share a name get further words, then their id.

    >>> rows = {"segment_id": ["S01", "S01", "S02"], "trait": ["busy", "new", None]}
    >>> name_personas(pl.DataFrame(rows), {"S01": "clients", "S02": "clients"})
    {'S01': 'Busy, new clients', 'S02': 'Average clients'}
    """
    words = {
        s: list(dict.fromkeys(traits.filter(pl.col("segment_id") == s)["trait"].drop_nulls().to_list())) for s in nouns
    }

    def compose(s: str, count: int) -> str:
        name = f"{', '.join(words[s][:count]) or 'average'} {nouns[s]}"
        return name[0].upper() + name[1:]

    names = {s: compose(s, TRAITS_IN_NAME) for s in nouns}
    longest = max((len(w) for w in words.values()), default=0)
    for count in range(TRAITS_IN_NAME + 1, longest + 1):
        twins = {n for n in names.values() if list(names.values()).count(n) > 1}
        names = {s: compose(s, count) if n in twins else n for s, n in names.items()}
    twins = {n for n in names.values() if list(names.values()).count(n) > 1}
    return {s: f"{n} ({s})" if n in twins else n for s, n in names.items()}


def wilson(hits: int, total: int) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval of a share; None where there is nobody.

    >>> [round(x, 3) for x in wilson(0, 10)]
    [0.0, 0.278]
    """
    if total <= 0:
        return None, None
    low, high = proportion_confint(hits, total, alpha=0.05, method="wilson")
    # the closed form leaves a rounding error where nobody or everybody is hit
    return float(low) if hits else 0.0, float(high) if hits < total else 1.0


def client_outcomes(memberships: pl.DataFrame, scores: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """One row per client and split: the newest week in which it could be measured, and whether an STR followed.

    Parameters
    ----------
    memberships : client_id, as_of_date, segment_id, is_unusual. scores : client_id, as_of_date, band, split.
    labels : client_id, as_of_date, is_str_within_horizon, has_prior_str, is_label_complete.

    Returns
    -------
    frame : split, client_id, segment_id, band, is_unusual, has_str; only rows with a complete label and without an
        earlier STR count; ``has_str`` is True where any of the client's weeks of the split was positive, and the row
        is then its newest positive week, so that segment and band are those before the report.
    """
    keys = ["client_id", "as_of_date"]
    return (
        memberships.join(scores.select(*keys, "band", "split"), on=keys)
        .join(
            labels.filter(pl.col("is_label_complete") & ~pl.col("has_prior_str")).select(
                *keys, "is_str_within_horizon"
            ),
            on=keys,
        )
        .with_columns(has_str=pl.col("is_str_within_horizon").fill_null(False))
        .sort("client_id", "has_str", "as_of_date")
        .group_by("split", "client_id", maintain_order=True)
        .last()
        .select("split", "client_id", "segment_id", "band", "is_unusual", "has_str")
        .sort("split", "client_id")
    )


RISK_SCHEMA = {
    "split": pl.String,
    "grouping": pl.String,
    "group": pl.String,
    "clients_count": pl.Int64,
    "str_count": pl.Int64,
    "str_ratio": pl.Float64,
    "str_low_ratio": pl.Float64,
    "str_high_ratio": pl.Float64,
    **{f"{b.lower()}_ratio": pl.Float64 for b in BANDS},
}


def risk_profiles(outcomes: pl.DataFrame) -> pl.DataFrame:
    """STR rate with Wilson's interval and share of clients in each band, by segment, by unusual or not, and overall.

    Parameters
    ----------
    outcomes : of :func:`client_outcomes`.

    Returns
    -------
    frame : columns :data:`RISK_SCHEMA`; ``grouping`` is segment, density or all. The unit is the client, once a split.
    """
    density = pl.when(pl.col("is_unusual")).then(pl.lit("unusual")).otherwise(pl.lit("usual"))
    parts = []
    for grouping, key in (("segment", pl.col("segment_id")), ("density", density), ("all", pl.lit("all"))):
        parts.append(
            outcomes.with_columns(key.alias("group"))
            .group_by("split", "group")
            .agg(
                pl.len().cast(pl.Int64).alias("clients_count"),
                pl.col("has_str").sum().cast(pl.Int64).alias("str_count"),
                *((pl.col("band") == b).mean().alias(f"{b.lower()}_ratio") for b in BANDS),
            )
            .with_columns(grouping=pl.lit(grouping))
        )
    rows = []
    for r in pl.concat(parts).sort("split", "grouping", "group").to_dicts():
        low, high = wilson(r["str_count"], r["clients_count"])
        rows.append(
            {**r, "str_ratio": r["str_count"] / r["clients_count"], "str_low_ratio": low, "str_high_ratio": high}
        )
    return pl.DataFrame(rows, schema=RISK_SCHEMA)


def grade_segments(risk: pl.DataFrame, segments: Sequence[str]) -> dict[str, str]:
    """Risk grade of every segment from its STR rate in *training* weeks.

    ``elevated`` where Wilson's interval lies above the overall rate, ``low`` where it lies under it, else
    ``ordinary``: a difference the data cannot show is none.

    Parameters
    ----------
    risk : of :func:`risk_profiles`. segments : ids to grade; those without training clients are ordinary.
    """
    train = risk.filter(pl.col("split") == "train")
    overall = train.filter(pl.col("grouping") == "all")["str_ratio"]
    grades = dict.fromkeys(segments, "ordinary")
    if not overall.len():
        return grades
    for r in train.filter((pl.col("grouping") == "segment") & pl.col("group").is_in(list(segments))).to_dicts():
        if r["str_low_ratio"] is not None and r["str_low_ratio"] > overall[0]:
            grades[r["group"]] = "elevated"
        elif r["str_high_ratio"] is not None and r["str_high_ratio"] < overall[0]:
            grades[r["group"]] = "low"
    return grades


ADVICE = {
    "pass-through": "ask for the purpose of money that leaves within days",
    "salary moves on": "ask where salaries go and who owns the receiving account",
    "above declared income": "ask for proof of income and refresh the declared turnover",
    "cash-heavy": "ask for the origin of cash",
    "cross-border": "check purpose and counterparties of payments abroad",
    "high inflow": "refresh source of funds yearly",
}
"""Trait word -> what to ask. Judgement, in the spirit of the risk factors of EBA/GL/2021/02."""

CADENCE = {
    "elevated": "Review by a person before the regular cycle",
    "ordinary": "Regular review cycle",
    "low": "Longest review cycle, alerts only",
}


def suggest_treatment(grade: str, words: Sequence[str]) -> str:
    """A sentence for people: the cadence of the grade and what the traits suggest to ask.

    >>> suggest_treatment("low", ["quiet"])
    'Longest review cycle, alerts only.'
    """
    asks = [ADVICE[w] for w in words if w in ADVICE]
    return CADENCE[grade] + ("; " + "; ".join(asks) if asks else "") + "."
