"""Ranks of planted clients, by hand."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from ml_assets.evaluation import scheme_ranks as s

D = date(2024, 6, 3)
SCHEMES = ("tide", "storm")
WEEKS = [D, D + timedelta(weeks=1)]


def scores(tide: list[list[float | None]], storm: list[list[float | None]]) -> pl.DataFrame:
    rows = [
        (f"C{c}", week, tide[w][c], storm[w][c], 2 + w, 0) for w, week in enumerate(WEEKS) for c in range(len(tide[w]))
    ]
    types = {
        "client_id": pl.String,
        "as_of_date": pl.Date,
        "tide_score": pl.Float64,
        "storm_score": pl.Float64,
        "tide_fired_count": pl.Int64,
        "storm_fired_count": pl.Int64,
    }
    return pl.DataFrame(rows, schema=types, orient="row")


def truth(start: date, end: date, **more: object) -> pl.DataFrame:
    row = {"client_id": "C0", "kind": "scheme", "pattern": "tide", "start_date": start, "end_date": end}
    return pl.DataFrame([{**row, **more}])


SCORES = scores(
    tide=[[90.0, 50.0, 40.0, None], [30.0, 50.0, 40.0, 35.0]],
    storm=[[10.0, 50.0, 40.0, 5.0], [10.0, 50.0, 40.0, 5.0]],
)


def by_scheme(ranks: pl.DataFrame) -> dict[str, dict]:
    return {r["scored_scheme"]: r for r in ranks.iter_rows(named=True)}


def test_ranks_by_hand() -> None:
    out = s.scheme_ranks(SCORES, truth(D - timedelta(days=30), D, strength=0.5), SCHEMES)
    assert out.columns == s.CONTRACT.names
    rows = by_scheme(out)
    # first week 1st of three with a score, second week 4th of four
    assert (rows["tide"]["best_rank_count"], rows["tide"]["median_rank_count"], rows["tide"]["weeks_count"]) == (
        1,
        2.5,
        2,
    )
    assert rows["tide"]["best_rank_ratio"] == 1 / 3
    assert (rows["tide"]["best_score"], rows["tide"]["most_fired_count"]) == (90.0, 3)
    assert (rows["storm"]["best_rank_count"], rows["storm"]["median_rank_count"]) == (3, 3.0)
    assert rows["tide"]["is_own"]
    assert not rows["storm"]["is_own"]
    assert rows["tide"]["is_top_scheme"]
    assert not rows["storm"]["is_top_scheme"]
    assert rows["tide"]["strength_ratio"] == 0.5


def test_only_weeks_in_sight_count() -> None:
    # begun on D: not in sight on D itself; ended SIGHT_DAYS before the second week: still in sight there
    late = by_scheme(s.scheme_ranks(SCORES, truth(D, D + timedelta(days=90)), SCHEMES))
    assert (late["tide"]["weeks_count"], late["tide"]["best_rank_count"]) == (1, 4)
    edge = WEEKS[1] - timedelta(days=s.SIGHT_DAYS)
    assert by_scheme(s.scheme_ranks(SCORES, truth(edge, edge), SCHEMES))["tide"]["weeks_count"] == 2
    before = edge - timedelta(days=1)
    assert by_scheme(s.scheme_ranks(SCORES, truth(before, before), SCHEMES))["tide"]["weeks_count"] == 1
    assert s.scheme_ranks(SCORES, truth(date(2023, 1, 2), date(2023, 1, 9)), SCHEMES).height == 0


def test_a_tie_of_best_ranks_is_broken_by_the_median() -> None:
    tied = scores(tide=[[90.0, 50.0], [10.0, 50.0]], storm=[[90.0, 50.0], [90.0, 50.0]])
    rows = by_scheme(s.scheme_ranks(tied, truth(D - timedelta(days=30), D), SCHEMES))
    assert rows["tide"]["best_rank_count"] == rows["storm"]["best_rank_count"] == 1
    assert not rows["tide"]["is_top_scheme"]
    assert rows["storm"]["is_top_scheme"]


def test_without_truth_or_without_schemes_there_is_nothing_to_rank() -> None:
    assert s.scheme_ranks(SCORES, None, SCHEMES).height == 0
    typology = truth(D - timedelta(days=30), D, kind="typology")
    assert s.scheme_ranks(SCORES, typology, SCHEMES).height == 0
    assert s.scheme_ranks(SCORES, pl.DataFrame({"client_id": ["C0"], "pattern": ["tide"]}), SCHEMES).height == 0


def test_table_of_planted_against_scoring_scheme() -> None:
    out = s.rank_table(s.scheme_ranks(SCORES, truth(D - timedelta(days=30), D), SCHEMES))
    assert out.rows() == [("tide", "storm", 1, 3.0, 3.0, 0.0, 0.0, 0.0), ("tide", "tide", 1, 1.0, 2.5, 0.0, 1.0, 1.0)]
