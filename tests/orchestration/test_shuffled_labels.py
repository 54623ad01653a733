"""Labels shuffled among clients teach nothing: AUROC on the test weeks is 0.5 within its interval.

The shuffle happens in the warehouse, after features and before training, so that training, validation and the final
test are the chain's own. Clients are exchanged whole, each with all of its weeks, as a report belongs to a client.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest
from chain import Run, bcrs

from ml_assets.models.tracking import champion_id

pytestmark = pytest.mark.slow

SEED = 5


def shuffle_labels(warehouse: Path) -> pl.DataFrame:
    """Exchange the labels of clients that have every week; returns the labels as they were."""
    with duckdb.connect(str(warehouse)) as con:
        labels = con.sql("from intermediate.int_client_labels order by client_id, as_of_date").pl()
        weeks = labels["as_of_date"].n_unique()
        full = labels.group_by("client_id").len().filter(pl.col("len") == weeks).select("client_id").sort("client_id")
        swap = full.with_columns(giver=full["client_id"].sample(fraction=1.0, shuffle=True, seed=SEED))
        values = [c for c in labels.columns if c not in ("client_id", "as_of_date")]
        taken = labels.rename({"client_id": "giver"}).join(swap, on="giver").select("client_id", "as_of_date", *values)
        rest = labels.join(full, on="client_id", how="anti")
        shuffled = pl.concat([taken.select(labels.columns), rest]).sort("client_id", "as_of_date")
        assert shuffled.height == labels.height
        con.register("shuffled", shuffled.to_arrow())
        con.execute("delete from intermediate.int_client_labels")
        con.execute("insert into intermediate.int_client_labels by name select * from shuffled")
    return labels


@pytest.fixture(scope="module")
def shuffled(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("shuffled") / "data"
    shutil.copytree(tiny_run.folder, folder)
    before = shuffle_labels(folder / "warehouse" / "bcrs.duckdb")
    stages = folder / "warehouse" / "stages.json"
    stages.write_text(json.dumps({**json.loads(stages.read_text()), "trained": ""}))
    run = bcrs(folder, "run", "--profile", "tiny")
    assert run.code == 0, run.output[-4000:]
    after = run.warehouse("from intermediate.int_client_labels order by client_id, as_of_date")
    assert after["is_str_within_horizon"].sum() == before["is_str_within_horizon"].sum() > 0
    assert not after.equals(before, null_equal=True)
    return run


def newest_model(run: Run) -> dict[str, object]:
    """The decision on the model trained last."""
    return run.warehouse(
        "select model_id, is_promoted from models.promotions order by decision_number desc, gate limit 1"
    ).row(0, named=True)


def test_auroc_is_a_coin_within_its_interval(shuffled: Run) -> None:
    model = newest_model(shuffled)["model_id"]
    found = shuffled.warehouse(
        "select value, low, high from models.metrics "
        f"where model_id = '{model}' and model = 'bcrs' and split = 'test' and metric = 'auroc'"
    ).row(0, named=True)
    assert found["low"] <= 0.5 <= found["high"], found


def test_another_model_was_trained(shuffled: Run, tiny_run: Run) -> None:
    assert newest_model(shuffled)["model_id"] != newest_model(tiny_run)["model_id"]


def test_the_model_that_scores_is_the_one_the_record_names(shuffled: Run, tiny_run: Run) -> None:
    newest = newest_model(shuffled)
    champion = newest["model_id"] if newest["is_promoted"] else newest_model(tiny_run)["model_id"]
    assert champion_id(shuffled.folder / "models") == champion
