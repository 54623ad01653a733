"""Where planted clients stand under each scheme's score: only for banks whose truth is known.

Rule of this file: the truth of a simulator is read here to measure, and nowhere to compute; nothing is fitted. A scheme
score is good if a client that follows the scheme stands at the top of its week under this scheme's score, and not under
the others'. Scores of two schemes are not on one scale, so ranks are compared, never scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import polars as pl

from ml_assets.contracts.table import Column, TableContract

SIGHT_DAYS: Final = 28
"""Days after its end during which an activity still lies in the 30-day windows: four whole weeks."""

CONTRACT: Final = TableContract(
    schema="evaluation",
    name="scheme_ranks",
    description=(
        "One row per client planted with a scheme and scheme that scores it: its rank among all clients of the week, "
        "on the as-of dates on which its activity was in sight."
    ),
    grain=("client_id", "planted_scheme", "scored_scheme"),
    columns=(
        Column("client_id", "text", "Planted client."),
        Column("planted_scheme", "text", "Scheme the simulator planted."),
        Column("scored_scheme", "text", "Scheme whose score ranks the client."),
        Column("is_own", "boolean", "True where both are the same."),
        Column(
            "strength_ratio", "number", "How strongly the client follows the scheme.", "ratio",
            null_rule="null where the truth does not say",
        ),
        Column("weeks_count", "integer", "As-of dates on which the activity was in sight.", "count", minimum=1),
        Column(
            "best_rank_count", "integer", "Best rank on these dates, 1 is the highest score.", "count",
            formula="least over these dates of 1 + clients of the week with a higher score",
            null_rule="null where the client never had this score", minimum=1,
        ),
        Column(
            "median_rank_count", "number", "Median rank on these dates.", "count",
            null_rule="as best_rank_count", minimum=1,
        ),
        Column(
            "best_rank_ratio", "number", "Best rank over the clients of that week: 0.01 is the top hundredth.", "ratio",
            null_rule="as best_rank_count", minimum=0, maximum=1,
        ),
        Column("best_score", "number", "Highest score on these dates.", "score", null_rule="as best_rank_count",
               minimum=0, maximum=100),
        Column("most_fired_count", "integer", "Most indicators of the scheme that fired on one date.", "count",
               null_rule="null where none was computable", minimum=0),
        Column(
            "is_top_scheme", "boolean",
            "True where no other scheme ranks the client higher (best rank; the median rank where those tie).",
            null_rule="as best_rank_count",
        ),
    ),
)  # fmt: skip
"""``evaluation.scheme_ranks``."""


def scheme_ranks(scores: pl.DataFrame, truth: pl.DataFrame | None, schemes: Sequence[str]) -> pl.DataFrame:
    """Ranks of planted clients under every scheme's score.

    Parameters
    ----------
    scores : client_id, as_of_date, ``<scheme>_score`` and ``<scheme>_fired_count``; whole weeks.
    truth : client_id, kind, pattern, start_date, end_date and perhaps strength; rows of kind ``scheme`` count. None
        where the source has no truth.
    schemes : names, as in ``pattern`` and in the columns.

    Returns
    -------
    Rows of :data:`CONTRACT`; none where nobody was planted with one of the schemes, or never in sight.
    """
    if truth is None or not {"kind", "pattern", "start_date", "end_date"} <= set(truth.columns):
        return CONTRACT.empty()
    planted = truth.filter((pl.col("kind") == "scheme") & pl.col("pattern").is_in(list(schemes))).select(
        "client_id",
        pl.col("pattern").alias("planted_scheme"),
        pl.col("start_date", "end_date").cast(pl.Date),
        (pl.col("strength") if "strength" in truth.columns else pl.lit(None)).cast(pl.Float64).alias("strength_ratio"),
    )
    parts = []
    for scheme in schemes:
        score = pl.col(f"{scheme}_score")
        ranked = scores.select(
            "client_id",
            "as_of_date",
            score.alias("score"),
            pl.col(f"{scheme}_fired_count").alias("fired"),
            score.rank("min", descending=True).over("as_of_date").alias("rank"),
            score.count().over("as_of_date").alias("clients"),
        )
        in_sight = planted.join(ranked, on="client_id").filter(
            (pl.col("as_of_date") > pl.col("start_date"))
            & (pl.col("as_of_date") <= pl.col("end_date") + timedelta(days=SIGHT_DAYS))
        )
        parts.append(
            in_sight.group_by("client_id", "planted_scheme").agg(
                pl.lit(scheme).alias("scored_scheme"),
                pl.col("strength_ratio").first(),
                pl.col("as_of_date").n_unique().alias("weeks_count"),
                pl.col("rank").min().alias("best_rank_count"),
                pl.col("rank").median().alias("median_rank_count"),
                (pl.col("rank") / pl.col("clients")).min().alias("best_rank_ratio"),
                pl.col("score").max().alias("best_score"),
                pl.col("fired").max().alias("most_fired_count"),
            )
        )
    per_client = ["client_id", "planted_scheme"]
    best, middle = pl.col("best_rank_count"), pl.col("median_rank_count")
    least = best == best.min().over(per_client)
    return CONTRACT.conform(
        pl.concat(parts).with_columns(
            (pl.col("planted_scheme") == pl.col("scored_scheme")).alias("is_own"),
            pl.when(best.is_not_null())
            .then(least & (middle == pl.when(least).then(middle).min().over(per_client)))
            .alias("is_top_scheme"),
        )
    )


def rank_table(ranks: pl.DataFrame) -> pl.DataFrame:
    """Planted scheme against scoring scheme.

    One row per pair, sorted: ``clients``, ``median_best_rank``, ``median_rank`` (of the clients' medians),
    ``in_top_hundredth`` (share of the clients whose best rank lies in the top 1 % of its week), ``is_top`` (share of
    the clients that no other scheme ranks higher on their best date) and ``is_top_by_median`` (the same by the median
    rank of all dates: a best rank of many weeks is an extreme, and extremes tie at 1).
    """
    middle = pl.col("median_rank_count")
    return (
        ranks.with_columns((middle == middle.min().over("client_id", "planted_scheme")).alias("is_top_by_median"))
        .group_by("planted_scheme", "scored_scheme")
        .agg(
            pl.len().alias("clients"),
            pl.col("best_rank_count").median().alias("median_best_rank"),
            pl.col("median_rank_count").median().alias("median_rank"),
            (pl.col("best_rank_ratio") <= 0.01).mean().alias("in_top_hundredth"),
            pl.col("is_top_scheme").mean().alias("is_top"),
            pl.col("is_top_by_median").mean(),
        )
        .sort("planted_scheme", "scored_scheme")
    )
