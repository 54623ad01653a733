import json
import math
from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from ml_assets.contracts.table import Column, TableContract
from ml_assets.explain.replay import Provenance, Replay, equal_rows, moved_features, moved_pillars, same_bits

DAY = date(2024, 6, 3)
CONTRACT = TableContract(
    "features",
    "feat",
    "One row per client and as-of date.",
    ("client_id", "as_of_date"),
    (
        Column("client_id", "text", "Client."),
        Column("as_of_date", "date", "Week."),
        Column("p1_sum_30d_base", "number", "Money out.", "base", null_rule="never"),
        Column("p1_count_30d_count", "integer", "Payments.", "count"),
        Column("p1_is_new", "boolean", "New.", null_rule="never"),
    ),
)


def features(total: float | None, count: int, is_new: bool, as_of: date = DAY) -> dict[str, pl.DataFrame]:
    rows = {
        "client_id": ["A", "B"],
        "as_of_date": [as_of, as_of],
        "p1_sum_30d_base": [1.0, total],
        "p1_count_30d_count": [1, count],
        "p1_is_new": [False, is_new],
    }
    return {"p1_volume_velocity": pl.DataFrame(rows)}


def score(value: float | None, band: str = "HIGH", rank: int | None = 1) -> dict[str, object]:
    return {"model_id": "m1", "bcrs_score": value, "band": band, "rank_in_week_count": rank}


PROVENANCE = Provenance(
    model_id="m1",
    train_weeks="2024-01-01 to 2024-03-04 (10)",
    validation_weeks="none",
    source="simulated:tiny",
    stored={"code": "aa", "configuration": "bb"},
    present={"code": "aa", "configuration": "bb"},
)
EQUAL = Replay(
    client_id="B",
    as_of=DAY,
    generation=1,
    provenance=PROVENANCE,
    published=score(0.1 + 0.2),
    rebuilt=score(0.1 + 0.2),
    equal_clients=2,
    clients=2,
    differing=moved_features(
        features(5.0, 3, True), features(5.0, 3, True), "B", DAY, {"p1_volume_velocity": CONTRACT}
    ),
)


def test_equal_means_equal_to_the_last_bit() -> None:
    assert EQUAL.is_equal
    assert not replace(EQUAL, rebuilt=score(0.3)).is_equal
    assert not replace(EQUAL, rebuilt=score(0.1 + 0.2, band="MEDIUM")).is_equal
    assert not replace(EQUAL, rebuilt=score(0.1 + 0.2, rank=2)).is_equal
    assert not replace(EQUAL, rebuilt=None).is_equal
    assert replace(EQUAL, published=score(None, rank=None), rebuilt=score(None, rank=None)).is_equal
    assert same_bits(math.nextafter(1.0, 2.0), 1.0) is False


def test_clients_of_the_week_are_counted_to_the_last_bit() -> None:
    rows = pl.DataFrame(
        {
            "client_id": ["A", "B", "C", "D"],
            "bcrs_score": [1.0, 0.3, None, 2.0],
            "band": ["LOW", "LOW", "MINIMAL", "LOW"],
            "rank_in_week_count": [1, 3, None, 2],
        }
    )
    assert equal_rows(rows, rows) == 4
    other = rows.with_columns(bcrs_score=pl.Series([1.0, 0.1 + 0.2, None, 2.0]))
    assert equal_rows(rows, other) == 3
    assert equal_rows(rows, other.with_columns(band=pl.lit("LOW"))) == 2
    assert equal_rows(rows, other.filter(pl.col("client_id") != "A")) == 2


def test_moved_features_are_named_largest_change_first() -> None:
    contracts = {"p1_volume_velocity": CONTRACT}
    moved = moved_features(features(100.0, 3, False), features(101.0, 6, True), "B", DAY, contracts)
    assert moved.select("feature", "before", "after").rows() == [
        ("p1_is_new", 0.0, 1.0),
        ("p1_count_30d_count", 3.0, 6.0),
        ("p1_sum_30d_base", 100.0, 101.0),
    ]
    assert moved["description"][2] == "Money out."
    used = {"p1_volume_velocity": ["p1_sum_30d_base"]}
    assert moved_features(features(None, 3, False), features(101.0, 6, True), "B", DAY, contracts, used).height == 1
    assert moved_features(features(1.0, 3, False), features(2.0, 6, True), "A", DAY, contracts).is_empty()
    assert moved_features(features(1.0, 3, False), features(2.0, 3, False), "Z", DAY, contracts).is_empty()


def test_only_the_asked_week_is_compared() -> None:
    earlier = date(2024, 5, 27)
    both = {p: pl.concat([f, features(9.0, 9, True, earlier)[p]]) for p, f in features(5.0, 3, False).items()}
    contracts = {"p1_volume_velocity": CONTRACT}
    assert moved_features(both, features(5.0, 3, False), "B", DAY, contracts).is_empty()


def test_moved_pillars_leave_equal_ones_out() -> None:
    columns = {f"s_p{i}_score": [50.0, 50.0] for i in range(1, 7)}
    before = pl.DataFrame({"client_id": ["A", "B"], **columns})
    after = before.with_columns(s_p2_score=pl.Series([50.0, 55.0]), s_p4_score=pl.Series([50.0, 70.0]))
    assert moved_pillars(before, after, "B")["pillar"].to_list() == ["p4_typology", "p2_network"]
    assert moved_pillars(before, after, "A").is_empty()


def test_an_equal_score_is_said_to_be_equal() -> None:
    words = EQUAL.sentences()
    assert "equals the published one byte for byte (0.30000000000000004, HIGH, rank 1)" in words[0]
    assert "2 of 2 clients" in words[1]
    assert words[-1] == "No transaction of this client from before that date was learned later."


def test_another_score_is_explained() -> None:
    changed = replace(PROVENANCE, present={"code": "zz", "configuration": "bb"})
    contracts = {"p1_volume_velocity": CONTRACT}
    differing = moved_features(features(5.0, 3, True), features(6.0, 3, True), "B", DAY, contracts)
    found = replace(EQUAL, provenance=changed, rebuilt=score(0.4), differing=differing, equal_clients=1)
    words = " ".join(found.sentences())
    assert "published as 0.30000000000000004, HIGH, rank 1, rebuilt as 0.4, HIGH, rank 1" in words
    assert "Changed since model m1 was made: code, which can be why." in words
    assert "1 features of the client differ from the ones on file: p1_sum_30d_base." in words
    gone = replace(EQUAL, rebuilt=None)
    assert "not in the week rebuilt" in gone.sentences()[0]


def test_late_transactions_are_told_with_what_they_would_have_moved() -> None:
    contracts = {"p1_volume_velocity": CONTRACT}
    found = replace(
        EQUAL,
        late=2,
        late_base=9000.5,
        hindsight=score(0.9),
        features_moved=moved_features(features(5.0, 3, True), features(9.0, 5, True), "B", DAY, contracts),
        pillars_moved=pl.DataFrame({"pillar": ["p1_volume_velocity"], "before": [1.0], "after": [2.0]}),
    )
    words = found.sentences()
    assert found.is_equal
    assert "2 transactions of this client from before that date (9,000.50 in base currency)" in words[-2]
    assert "would have been 0.9, HIGH, rank 1 instead of" in words[-1]
    assert "2 features move" in words[-1]


@pytest.mark.parametrize("late", [0, 2])
def test_the_finding_as_json(late: int) -> None:
    found = json.loads(replace(EQUAL, late=late).to_json())
    assert found["is_equal"] is True
    assert found["published"]["bcrs_score"] == 0.1 + 0.2
    assert found["stored"] == {"code": "aa", "configuration": "bb"}
    assert found["hindsight"] is None
