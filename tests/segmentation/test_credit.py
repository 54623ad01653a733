from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from segment_world import SMALL

from ml_assets.segmentation import tables
from ml_assets.segmentation.credit import PUBLISHED_PERSONAS, segment_credit
from ml_assets.segmentation.preparation import SegmentationError
from ml_assets.sources.errors import InputError
from ml_assets.sources.german_credit import COLUMNS, read_german_credit


def write(folder: Path, each: int = 60, **changed: object) -> Path:
    """A file in the published form: seniors, small-ticket electronics, high stakes; planted clearly."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], each)
    n = len(kind)
    purpose = np.where(kind == 1, "radio/TV", np.where(kind == 2, "business", "car"))
    frame = pl.DataFrame(
        {
            "": range(n),
            "Age": np.round(np.array([62, 26, 36])[kind] + rng.normal(0, 2, n)).astype(int),
            "Sex": np.where(rng.random(n) < 0.5, "male", "female"),
            "Job": rng.integers(0, 4, n),
            "Housing": np.where(kind == 0, "own", "rent"),
            "Saving accounts": np.where(rng.random(n) < 0.2, "NA", "little"),
            "Checking account": np.where(rng.random(n) < 0.4, "NA", "moderate"),
            "Credit amount": np.round(np.exp(np.array([7.0, 7.0, 9.0])[kind] + rng.normal(0, 0.2, n))).astype(int),
            "Duration": np.round(np.array([12, 12, 40])[kind] + rng.normal(0, 2, n)).astype(int),
            "Purpose": purpose,
        }
    )
    frame.with_columns(**changed).write_csv(folder / "german_credit_data.csv")
    return folder


def test_file_is_read_named_and_na_is_null(tmp_path: Path) -> None:
    frame = read_german_credit(write(tmp_path))
    assert frame.columns == ["customer_id", *COLUMNS.values()]
    assert frame["savings"].null_count() > 0
    assert frame["customer_id"][0] == "00001"
    assert set(frame["job"]) <= {"unskilled, not resident", "unskilled", "skilled", "highly skilled"}


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_german_credit(tmp_path / "nowhere")
    write(tmp_path, Age=pl.lit("old"))
    with pytest.raises(InputError, match="'old'"):
        read_german_credit(tmp_path)
    pl.DataFrame({"Age": [1]}).write_csv(tmp_path / "german_credit_data.csv")
    with pytest.raises(InputError, match="Sex"):
        read_german_credit(tmp_path)


def test_planted_personas_are_found_and_others_are_not(tmp_path: Path) -> None:
    result = segment_credit(read_german_credit(write(tmp_path)), SMALL)
    found = dict(result.published.select("persona", "found_as").rows())
    assert set(found) == set(PUBLISHED_PERSONAS)
    assert result.segments.height == 3
    names = dict(result.segments.select("segment_id", "persona").rows())
    assert "senior" in names[found["conservative seniors"] or ""].lower()
    assert "electronics buyers" in names[found["small-ticket electronics users"] or ""]
    assert "high-stakes" in names[found["high-stakes borrowers"] or ""].lower()
    # cars are the seniors' here, at small amounts: no mainstream car borrowers were planted
    assert found["mainstream car borrowers"] is None
    assert result.segments["stability"].min() > 0.95


def test_policy_sends_high_stakes_to_a_person_and_accounts_for_everyone(tmp_path: Path) -> None:
    frame = read_german_credit(write(tmp_path))
    result = segment_credit(frame, SMALL)
    tables.CREDIT_CUSTOMERS.conform(result.customers)
    tables.CREDIT_SEGMENTS.conform(result.segments)
    for policy in result.policy.partition_by("policy"):
        assert policy["customers_count"].sum() == frame.height
        assert policy["amount_ratio"].sum() == pytest.approx(1)
    stakes = result.published.filter(pl.col("persona") == "high-stakes borrowers")["found_as"].item()
    manual = result.customers.filter(pl.col("treatment") == "enhanced_review")
    assert set(manual["segment_id"]) == {stakes}
    assert result.parity["customers_count"].sum() == frame.height


def test_sex_changes_no_segment_and_no_decision(tmp_path: Path) -> None:
    frame = read_german_credit(write(tmp_path))
    swapped = frame.with_columns(sex=pl.when(pl.col("sex") == "male").then(pl.lit("female")).otherwise(pl.lit("male")))
    assert segment_credit(frame, SMALL).customers.equals(segment_credit(swapped, SMALL).customers)


def test_missing_categories_and_one_customer(tmp_path: Path) -> None:
    frame = read_german_credit(write(tmp_path, each=20)).with_columns(purpose=pl.lit(None, pl.String))
    assert segment_credit(frame, SMALL).segments["top_purpose"].null_count() == 3
    with pytest.raises(SegmentationError):
        segment_credit(frame[:1], SMALL)
