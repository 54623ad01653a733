"""Rebuilding a past week from what was known then, and holding it against what was published.

Rule of this file: it opens the warehouse read-only and writes into its own folder. The past is made by leaving out,
from the cleaned tables, every row learned on the as-of date or later; from there the chain's own dbt models, pillar
functions and scoring run on that past as they do on the present. The whole week is rebuilt, because one client's
network features need the transactions of all.

Cleaning itself is not repeated: a rejected row is no input, and a row's cleaned form depends on no later row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from ml_assets.dbt_environment import DBT_PARSE
from ml_assets.explain.replay import (
    Provenance,
    Replay,
    equal_rows,
    moved_features,
    moved_pillars,
)
from ml_assets.features.peers import memberships_hash
from ml_assets.features.tsfresh_engine import FrozenSelection
from ml_assets.models.ledger import generations, read_published
from ml_assets.models.memory import earlier_weeks
from ml_assets.models.names import SCHEME_PILLAR
from ml_assets.models.pipeline import ScoredWeeks, score_weeks
from ml_assets.models.registry import ModelBundle, config_hash, load_bundle
from orchestration.defs.features import BUILDS
from orchestration.defs.memberships import read_memberships
from orchestration.defs.reading import forget_history, read_history, read_spine, read_weeks
from orchestration.defs.resources import CONFIG, DBT_PROJECT, SETTINGS, Warehouse, release_files
from orchestration.defs.training import CONTRACTS, FEATURE_HASH, code_hash, read_selection
from orchestration.defs.warehouse import MANIFEST

SELECTED = ("path:models/intermediate/unpartitioned", "path:models/intermediate/weekly")
"""dbt models between the cleaned tables and the features."""

SEEDS = ("jurisdictions", "scheme_countries", "scheme_sectors")


class ReplayError(RuntimeError):
    """A past score cannot be rebuilt; says why and what to do."""


@dataclass(frozen=True)
class Week:
    """One week rebuilt: features by pillar key (P1-P5 also of the weeks that are remembered), and scores."""

    features: dict[str, pl.DataFrame]
    scored: ScoredWeeks

    def of(self, client_id: str) -> Mapping[str, object] | None:
        """Score of one client; None where the client is not in the week."""
        rows = self.scored.scores.filter(pl.col("client_id") == client_id)
        return rows.row(0, named=True) if rows.height else None


def _copy_past(source: Path, target: Path, weeks: list[date], learned_early: str | None) -> None:
    """Write the cleaned tables as they were known before the last of ``weeks`` into a new warehouse file.

    ``learned_early`` names a client whose transactions count from the day they happened, whenever they were learned.
    """
    as_of = weeks[-1]
    release_files()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    known = "case when client_id = ? then txn_date else known_date end"
    with duckdb.connect(str(target)) as con:
        past = target.stem
        try:
            # under its own name: dbt's views write the catalogue's name out
            con.execute(f"attach '{source}' as \"{source.stem}\" (read_only)")
        except duckdb.IOException as error:
            raise ReplayError(
                f"The warehouse {source} is in use by a running job ({str(error).splitlines()[0]}). Try again when it "
                "has ended."
            ) from error
        con.execute(f'use "{source.stem}"')
        for schema in ("staging", "intermediate", "seeds", "raw"):
            con.execute(f"create schema {past}.{schema}")
        con.execute(
            f"create table {past}.staging.stg_transactions as select * replace ({known} as known_date) "
            f"from staging.stg_transactions where {known} < ? and txn_date < ?",
            [learned_early, learned_early, as_of, as_of],
        )
        con.execute(
            f"create table {past}.staging.stg_client_profiles as from staging.stg_client_profiles "
            "where coalesce(known_from, date '1900-01-01') < ?",
            [as_of],
        )
        con.execute(
            f"create table {past}.staging.stg_blacklist as from staging.stg_blacklist "
            "where coalesce(listed_date, date '1900-01-01') < ?",
            [as_of],
        )
        con.execute(
            f"create table {past}.intermediate.requested_weeks as select unnest(?::date[]) as as_of_date", [weeks]
        )
        con.execute(f"create table {past}.raw.deliveries as from raw.deliveries")
        for seed in SEEDS:
            con.execute(f"create table {past}.seeds.{seed} as from seeds.{seed}")


def _run_dbt(warehouse: Path) -> None:
    """Spine and windows of the requested week, by the chain's own models."""
    folder, target = warehouse.parent, warehouse.parent / "target"
    target.mkdir(parents=True, exist_ok=True)
    # the checkout's parse, which the command finds in its target folder: reading the project again takes eight seconds
    shutil.copy(MANIFEST.parent / DBT_PARSE, target)
    command = [
        *("bcrs-dbt", "--quiet", "run", "--select", *SELECTED),
        *("--project-dir", str(DBT_PROJECT.project_dir), "--profiles-dir", str(DBT_PROJECT.profiles_dir)),
        *("--log-path", str(folder / "logs")),
    ]
    environment = {**os.environ, "BCRS_WAREHOUSE": str(warehouse), "DBT_TARGET_PATH": str(target)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReplayError(f"dbt could not rebuild the windows:\n{(done.stdout + done.stderr)[-2000:]}")


def rebuild_week(
    bundle: ModelBundle,
    as_of: date,
    before: pl.DataFrame | None,
    memberships: pl.DataFrame | None = None,
    learned_early: str | None = None,
) -> Week:
    """Features and scores of one week from what was known before it.

    Parameters
    ----------
    bundle : the model that scored the week; its own configuration and tsfresh selection are used.
    before : client_id and band of the week before, as hysteresis found them; None at the start.
    memberships : segments the peers were formed by, of :func:`_memberships_of`.
    learned_early : as in :func:`_copy_past`.
    """
    copy = SETTINGS.replay / "past.duckdb"
    # an earlier week that was never scored was not there to be remembered
    remembered = earlier_weeks([as_of], bundle.config.models.memory_weeks)
    weeks = [*(w for w in remembered if generations(SETTINGS.published, w)), as_of]
    _copy_past(SETTINGS.warehouse, copy, weeks, learned_early)
    # dbt's parse writes the catalogue's name out, which is that of the file
    target = copy.replace(SETTINGS.replay / SETTINGS.warehouse.name)
    _run_dbt(target)
    past = Warehouse(path=str(target))
    forget_history()
    history = read_history(past, weeks)
    # a champion scores on what the features were made with, even where it was trained without
    config = bundle.config.features.model_copy(update={"peers_by_segment": memberships is not None})
    features = {}
    for pillar, (build, inputs) in BUILDS.items():
        asked = [as_of] if pillar == SCHEME_PILLAR else weeks
        frames = inputs(past, asked)
        if "selection" in frames:
            frames["selection"] = FrozenSelection.from_json(bundle.selection) if bundle.selection else None
        if "memberships" in frames:
            frames["memberships"] = memberships
        built = build(history, read_spine(past, history, asked), config, **frames)
        features[pillar] = built[0] if isinstance(built, tuple) else built
    return Week(features, score_weeks(bundle, features, before))


def _memberships_of(week: pl.DataFrame, as_of: date) -> pl.DataFrame | None:
    """Segment memberships a published week was made with; None where its peers were formed without.

    Raises
    ------
    ReplayError : those on file are others, or there are none.
    """
    wanted = week["segments_hash"][0]
    if wanted is None:
        return None
    found = read_memberships(SETTINGS.memberships)
    if memberships_hash(found, as_of) != wanted:
        raise ReplayError(
            f"The scores as of {as_of} compare clients with peers of their segment, and the memberships they were made "
            f"with (hash {wanted[:10]}) are not the ones on file: segments were found anew since (make segments). "
            "They are not kept, so this publication cannot be rebuilt."
        )
    return found


def _provenance(bundle: ModelBundle) -> Provenance:
    def span(weeks: tuple[date, ...]) -> str:
        return f"{weeks[0]} to {weeks[-1]} ({len(weeks)})" if weeks else "none"

    selection = read_selection()
    return Provenance(
        model_id=bundle.model_id,
        train_weeks=span(bundle.plan.train_weeks),
        validation_weeks=span(bundle.plan.validation_weeks),
        source=bundle.source,
        stored={
            "code": bundle.code_hash,
            "feature definitions": bundle.feature_hash,
            "configuration": config_hash(bundle.config),
            "tsfresh selection": bundle.selection,
        },
        present={
            "code": code_hash(),
            "feature definitions": FEATURE_HASH,
            "configuration": config_hash(CONFIG),
            "tsfresh selection": selection.to_json() if selection else "",
        },
    )


def _late(client_id: str, as_of: date) -> tuple[int, float]:
    """Transactions of the client from before the as-of date that were learned on it or later."""
    row = Warehouse(path=str(SETTINGS.warehouse)).read(
        "select count(*) as late, coalesce(sum(amount_base), 0)::double as amount from intermediate.int_transactions "
        "where client_id = ? and txn_date < ? and known_date >= ?",
        [client_id, as_of, as_of],
    )
    return int(row["late"].item()), float(row["amount"].item())


def replay(client_id: str, as_of: date, generation: int | None = None) -> Replay:
    """Rebuild a client's past score and compare it with the published one.

    Parameters
    ----------
    generation : which publication of the week; the newest where None.

    Raises
    ------
    ReplayError : the week or the client was never published, its segment memberships are gone, the warehouse is busy,
        dbt failed.
    RegistryError : the model of the time is gone or changed.
    """
    if not SETTINGS.warehouse.exists():
        raise ReplayError("There is no warehouse yet: run the main job first (make run).")
    ledger = read_published(SETTINGS.published, as_of)
    if ledger.is_empty():
        days = sorted({p.name.split(".")[0] for p in SETTINGS.published.glob("*.parquet")})
        spans = (
            f"Published weeks: {days[0]} to {days[-1]}, Mondays." if days else "Nothing was published yet: make run."
        )
        raise ReplayError(f"No scores were published as of {as_of}. {spans}")
    number = generation if generation is not None else int(ledger["generation_number"].cast(pl.Int64).to_numpy().max())
    week = ledger.filter(pl.col("generation_number") == number)
    if week.is_empty():
        raise ReplayError(f"The week {as_of} has no generation {number}.")
    row = week.filter(pl.col("client_id") == client_id)
    if row.is_empty():
        raise ReplayError(f"Client {client_id!r} had no score as of {as_of}.")
    published = row.row(0, named=True)
    bundle = load_bundle(SETTINGS.models, published["model_id"])
    before = week.filter(pl.col("previous_band").is_not_null()).select("client_id", band=pl.col("previous_band"))
    memberships = _memberships_of(week, as_of)
    past = rebuild_week(bundle, as_of, before if before.height else None, memberships)
    used = {p: list(m.features) for p, m in bundle.tier1.items()} | {SCHEME_PILLAR: list(bundle.tier2.features)}
    warehouse = Warehouse(path=str(SETTINGS.warehouse))
    on_file = {
        p: read_weeks(warehouse, c.address, [as_of]) for p, c in CONTRACTS.items() if warehouse.exists(c.address)
    }
    contracts = {p: c for p, c in CONTRACTS.items() if p in on_file}
    found = Replay(
        client_id=client_id,
        as_of=as_of,
        generation=number,
        provenance=_provenance(bundle),
        published=published,
        rebuilt=past.of(client_id),
        equal_clients=equal_rows(week, past.scored.scores),
        clients=week.height,
        differing=moved_features(on_file, past.features, client_id, as_of, contracts, used),
    )
    late, amount = _late(client_id, as_of)
    if not late or found.rebuilt is None:
        return found
    known = rebuild_week(bundle, as_of, before if before.height else None, memberships, learned_early=client_id)
    return Replay(
        **{
            **vars(found),
            "late": late,
            "late_base": amount,
            "hindsight": known.of(client_id),
            "features_moved": moved_features(past.features, known.features, client_id, as_of, CONTRACTS, used),
            "pillars_moved": moved_pillars(past.scored.wide, known.scored.wide, client_id),
        }
    )
