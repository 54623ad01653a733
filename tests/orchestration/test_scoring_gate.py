"""The gate stands before every score, stops the run in words, and lets ordinary weeks pass."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from ml_assets.evaluation.metrics import METRICS_CONTRACT
from ml_assets.models.registry import RegistryError
from ml_assets.models.splits import SplitPlan
from ml_assets.models.support import Range, Support
from orchestration.definitions import defs
from orchestration.defs import scoring_gate, training
from orchestration.defs.partitions import AS_OF_WEEKS
from orchestration.defs.resources import Warehouse
from orchestration.defs.training import PROMOTIONS_KEY

DAY = date(2024, 6, 3)
PILLAR = "p1_volume_velocity"
PLAN = SplitPlan(
    train_weeks=(DAY - timedelta(days=70),),
    embargo_weeks=(),
    validation_weeks=(DAY - timedelta(days=35),),
    test_weeks=(),
    live_weeks=(),
    horizon_days=28,
    embargo_days=28,
    rows={},
    positives={},
    is_supervised=True,
)


class Written:
    """A warehouse that keeps what is written."""

    def __init__(self) -> None:
        self.frames: dict[str, pl.DataFrame] = {}

    def replace_weeks(self, contract, frame: pl.DataFrame, weeks: list[date]) -> int:
        self.frames[contract.address] = contract.conform(frame)
        return frame.height


def ask(monkeypatch: pytest.MonkeyPatch, factor: float, plan: SplitPlan = PLAN, support: bool = True):
    """Run the gate on one week of 200 clients of whom a tenth has ``factor`` times the usual values."""
    values = np.random.default_rng(1).lognormal(3, 0.3, (200, 4))
    ranges = {f"f{i}": Range(float(values[:, i].min()), float(values[:, i].max()), False) for i in range(4)}
    values[:20] *= factor
    model = SimpleNamespace(
        model_id="m1", plan=plan, support=Support({PILLAR: ranges}) if support else None, tier1={}, tier2=None
    )
    frame = pl.DataFrame({f"f{i}": values[:, i] for i in range(4)}).select(
        pl.Series("client_id", [f"C{i:03d}" for i in range(200)]), pl.lit(DAY).alias("as_of_date"), pl.all()
    )
    monkeypatch.setattr(scoring_gate, "scoring_model", lambda: model)
    monkeypatch.setattr(scoring_gate, "week_batches", lambda _, weeks: [weeks])
    monkeypatch.setattr(scoring_gate, "read_weeks", lambda *_: frame)
    monkeypatch.setattr(scoring_gate, "weeks_of", lambda _: [*plan.train_weeks, DAY])
    warehouse = Written()
    body = scoring_gate.input_support.op.compute_fn.decorated_fn  # type: ignore[attr-defined]
    events = list(body(None, warehouse))
    return next(e for e in events if isinstance(e, dg.AssetCheckResult)), warehouse.frames["scores.input_support"]


def words(check: dg.AssetCheckResult) -> str:
    metadata: Mapping[str, object] = check.metadata or {}
    value = metadata["problems"]
    return str(getattr(value, "value", value))


def test_an_ordinary_week_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    check, rows = ask(monkeypatch, 1.0)
    assert check.passed
    assert words(check) == "none"
    # weeks the model was trained on are its support and have no row
    assert rows.select("as_of_date", "outside_ratio", "model_age_days").rows() == [(DAY, 0.0, 35)]


def test_a_changed_unit_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    check, rows = ask(monkeypatch, 100.0)
    assert not check.passed
    assert rows["clients_outside_ratio"].item() == pytest.approx(0.1)
    assert "10.00% of the clients of 2024-06-03" in words(check)
    assert "newest delivery" in words(check)


def test_an_old_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = PLAN.model_copy(
        update={"train_weeks": (DAY - timedelta(days=900),), "validation_weeks": (DAY - timedelta(days=371),)}
    )
    check, _ = ask(monkeypatch, 1.0, long_ago)
    assert not check.passed
    assert "too old" in words(check)
    assert "371 days" in words(check)


def test_a_model_without_support_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegistryError, match="without its training support: retrain"):
        ask(monkeypatch, 1.0, support=False)


def test_the_gate_stands_between_features_and_every_pillar_score() -> None:
    graph = defs.resolve_asset_graph()
    pillars = [k for k in graph.get_all_asset_keys() if k.path[0] == "tier1"]
    assert len(pillars) == 5
    for key in pillars:
        assert {scoring_gate.SUPPORT_KEY, PROMOTIONS_KEY} <= set(graph.get(key).parent_keys)
    check = next(iter(scoring_gate.input_support.check_specs))
    assert check.blocking
    assert graph.get(scoring_gate.SUPPORT_KEY).partitions_def == AS_OF_WEEKS


def test_published_scores_are_kept_after_they_are_served() -> None:
    graph = defs.resolve_asset_graph()
    assert dg.AssetKey(["serving", "marts_serving"]) in graph.get(scoring_gate.PUBLISHED_KEY).parent_keys
    for job in ("weekly_score", "new_week"):
        selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
        assert {scoring_gate.PUBLISHED_KEY, scoring_gate.SUPPORT_KEY} <= selected


def test_a_refusal_reaches_the_terminal_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.main_job import _first_failure

    metadata = {"problems": dg.MetadataValue.text("Model m1 is too old: retrain.")}
    refused = SimpleNamespace(
        passed=False, blocking=True, asset_key=scoring_gate.SUPPORT_KEY, check_name="model_may_score", metadata=metadata
    )
    warned = SimpleNamespace(**{**vars(refused), "blocking": False, "metadata": {}})
    result = SimpleNamespace(get_asset_check_evaluations=lambda: [warned, refused], all_events=[])
    where, message = _first_failure(result)  # type: ignore[arg-type]
    assert where == "scores/input_support (model_may_score)"
    assert message == "Model m1 is too old: retrain."


def test_figures_of_a_champion_that_stays_survive_a_new_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new warehouse knows only the challenger's; the summary shows those of the model that scores."""
    warehouse = Warehouse(path=str(tmp_path / "bcrs.duckdb"))

    def figures(model_id: str, value: float) -> list[dict[str, Any]]:
        row = {"model_id": model_id, "model": "bcrs", "split": "test", "metric": "auroc", "value": value}
        return [{**row, "low": value, "high": value, "reason": None}]

    def row(model_id: str, value: float) -> pl.DataFrame:
        return METRICS_CONTRACT.conform(pl.DataFrame(figures(model_id, value)))

    warehouse.replace_model(METRICS_CONTRACT, row("new", 0.6), "new")
    monkeypatch.setattr(training, "read_card", lambda _, model_id: {"metrics": figures(model_id, 0.9)})
    training._recall(warehouse, "old")
    training._recall(warehouse, "new")
    found = warehouse.read(f"select model_id, value from {METRICS_CONTRACT.address} order by model_id").rows()
    assert found == [("new", 0.6), ("old", 0.9)], "known figures are not replaced by the card's"
