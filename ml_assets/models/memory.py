"""What tier 2 remembers: a client's pillar scores of earlier weeks.

Rule of this file: a memory of week D is made of scores of weeks before D, by the same model, and of nothing else.

Laundering lasts for weeks and the STR follows it with a delay, so *when* a pillar rose says more than that it is high:
a client whose score rose three weeks ago is about to be reported, one whose score has been high for a quarter without
a report is probably honest. Scores of single earlier weeks are kept instead of their mean, maximum or decayed sum: on
the validation weeks of every data set the single weeks ranked better than any of those, because trees form their own
means but cannot take one apart (the choice of a lag window over an aggregate: Bishop 2006, "Pattern Recognition and
Machine Learning", 13.1).
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from ml_assets.models.matrix import GRAIN
from ml_assets.models.names import PILLARS, SCORE_OF


def memory_column(pillar: str, weeks_ago: int) -> str:
    """Name of a pillar's score some weeks ago.

    >>> memory_column("p3_temporal", 2)
    's_p3_2w_ago_score'
    """
    return f"s_{pillar[:2]}_{weeks_ago}w_ago_score"


def earlier_weeks(weeks: list[date], memory_weeks: int) -> list[date]:
    """Weeks outside ``weeks`` that the memory of ``weeks`` looks at, ascending; they need not exist.

    >>> earlier_weeks([date(2024, 1, 15), date(2024, 1, 22)], 2)
    [datetime.date(2024, 1, 1), datetime.date(2024, 1, 8)]
    """
    looked_at = {w - timedelta(days=7 * k) for w in weeks for k in range(1, memory_weeks + 1)}
    return sorted(looked_at - set(weeks))


def remember(wide: pl.DataFrame, memory_weeks: int) -> pl.DataFrame:
    """Scores of S_P1..S_P5 one to ``memory_weeks`` weeks before each row.

    Parameters
    ----------
    wide : client_id, as_of_date and ``s_p1_score`` .. ``s_p5_score``: the rows asked for and those of the weeks before
        them, scored by the same model (out-of-fold in training weeks).

    Returns
    -------
    frame : client_id, as_of_date and ``s_<pillar>_<k>w_ago_score`` (0-100) of every row of ``wide``, in its order;
        null where the client has no row, or no score, in exactly that week.
    """
    scores = [SCORE_OF[p] for p in PILLARS if SCORE_OF[p] in wide.columns]
    out = wide.select(GRAIN)
    for k in range(1, memory_weeks + 1):
        past = wide.select(
            "client_id",
            pl.col("as_of_date").dt.offset_by(f"{7 * k}d"),
            *(pl.col(SCORE_OF[p]).alias(memory_column(p, k)) for p in PILLARS if SCORE_OF[p] in scores),
        )
        out = out.join(past, on=list(GRAIN), how="left", maintain_order="left")
    return out
