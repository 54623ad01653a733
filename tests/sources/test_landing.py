"""Landing folders: whole or not at all, the same twice, nobody else's files lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from ml_assets.config import Config, SimulationConfig, SourceConfig
from ml_assets.sources import InputError, adapt, amlsim, deliver, input_listing, simulated_bank
from ml_assets.sources.landing import clean_leftovers, describe, drafted

NODES = "nodeid,isFraud,init_balance,fraudStep\n1,1,1,5\n2,1,1,-1\n"
PAYMENTS = "sourceNodeId,targetNodeId,value,time\n" + "1,2,1.25,5\n2,1,3.50,6\n" * 500


@pytest.fixture
def source(write: Callable[..., Path]) -> str:
    return f"amlsim:{write('in', {'nodes.csv': NODES, 'transactions.csv': PAYMENTS})}"


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_input_gives_the_same_bytes(source: str, tmp_path: Path) -> None:
    adapt(source, tmp_path / "a", SourceConfig())
    adapt(source, tmp_path / "b", SourceConfig())
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_unchanged_input_is_left_alone_and_changed_input_or_knobs_are_not(source: str, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    assert adapt(source, landing, SourceConfig()) is True
    assert adapt(source, landing, SourceConfig()) is False
    assert adapt(source, landing, SourceConfig(reporting_delay_days=1)) is True
    (tmp_path / "in" / "transactions.csv").write_text(PAYMENTS + "1,2,9,9\n")
    assert adapt(source, landing, SourceConfig(reporting_delay_days=1)) is True
    (landing / "transactions.parquet").unlink()
    assert adapt(source, landing, SourceConfig(reporting_delay_days=1)) is True


def test_a_crash_while_building_leaves_the_old_folder(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = tmp_path / "landing"
    adapt(source, landing, SourceConfig())
    before = content(landing)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(amlsim, "write_labels", crash)
    with pytest.raises(KeyboardInterrupt):
        adapt(source, landing, SourceConfig(reporting_delay_days=1))
    assert content(landing) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "landing"]


def test_leftovers_of_a_killed_build_are_cleared(tmp_path: Path) -> None:
    """Killed between the two renames: the old folder comes back; killed while building: the half one goes."""
    old, half = tmp_path / ".landing.old", tmp_path / ".landing.new-abc"
    for folder in (old, half):
        folder.mkdir()
        (folder / "transactions.csv").write_text(folder.name)
    clean_leftovers(tmp_path / "landing")
    assert (tmp_path / "landing" / "transactions.csv").read_text() == ".landing.old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["landing"]


def test_files_of_somebody_else_are_never_removed(source: str, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    adapt(source, landing, SourceConfig())
    (landing / "transactions_mine.csv").write_text("client_id\n")
    with pytest.raises(InputError, match=r"did not write: transactions_mine\.csv"):
        adapt(source, landing, SourceConfig(reporting_delay_days=1))
    assert (landing / "transactions_mine.csv").exists()


def test_readme_and_hidden_files_are_carried_over(source: str, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "README.md").write_text("what goes here")
    (landing / ".gitkeep").touch()
    adapt(source, landing, SourceConfig())
    assert (landing / "README.md").read_text() == "what goes here"
    assert (landing / ".gitkeep").exists()


def test_a_draft_refuses_columns_outside_the_contract(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the input contract: shoe_size"), drafted(tmp_path / "l", "x") as draft:
        draft.write(duckdb.connect(), "str_labels", "select 'C1' as client_id, 44 as shoe_size", "client_id")


def test_unknown_formats_are_met_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean amlsim"):
        adapt("amlsimm:x", tmp_path / "landing", SourceConfig())


def test_the_simulated_bank_is_delivered_once_per_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the delivery is tested here; the bank itself has its own tests."""

    def simulate(config: SimulationConfig, folder: Path, progress: object = None) -> None:
        (folder / "transactions.csv").write_text(
            f"client_id,txn_date,amount,direction\nC1,2024-01-01,{config.seed},inbound\n"
        )
        (folder / "client_profiles.csv").write_text("client_id\nC1\n")
        (folder / "str_labels.csv").write_text("client_id,str_flag,str_date\nC1,0,\n")
        (folder / "source.json").write_text(
            '{"source": "simulated", "base_currency": "EUR", "reporting_delay_days": 0}'
        )

    monkeypatch.setattr(simulated_bank, "simulate", simulate)
    landing = tmp_path / "landing"
    assert deliver("simulated", landing, Config()) is True
    assert (describe(landing)["source"], describe(landing)["base_currency"]) == ("simulated", "EUR")
    assert describe(landing)["reporting_delay_days"] == 0
    assert deliver("simulated", landing, Config()) is False
    assert deliver("simulated", landing, Config(simulation=SimulationConfig(seed=8))) is True
    assert ",8," in (landing / "transactions.csv").read_text()
    # a delivery somebody adds stays, and counts as input
    (landing / "transactions_2.csv").write_text("client_id,txn_date,amount,direction\n")
    assert deliver("simulated", landing, Config(simulation=SimulationConfig(seed=8))) is False
    assert set(input_listing("simulated", landing)) == {
        "client_profiles.csv",
        "source.json",
        "str_labels.csv",
        "transactions.csv",
        "transactions_2.csv",
    }
