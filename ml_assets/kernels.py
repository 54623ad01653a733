"""Compile every kernel ahead, into numba's cache beside the code: a part of set-up.

numba compiles a kernel when it is first called with arguments of some types, about a second each. A hundred of them
would make the first main job on a machine minutes longer than the next. Here every part that has kernels is built once
on a few made transactions, the parts side by side in processes of their own; a run then finds the kernels in the cache.

Rule of this file: it saves time and decides nothing. A kernel that is not called here is compiled where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from ml_assets.config import FeatureConfig, ModelConfig

if TYPE_CHECKING:
    from ml_assets.features.scheme_templates import Scheme

_AS_OF: Final = date(2024, 12, 30)
_ROWS: Final = 3_000
_CLIENTS: Final = 30


def transactions() -> pl.DataFrame:
    """Made rows of ``intermediate.int_transactions`` with every column filled, and some payments in circles."""
    rng = np.random.default_rng(0)
    at = np.sort(rng.integers(0, 380 * 86_400, _ROWS))
    client = rng.integers(0, _CLIENTS, _ROWS)
    # half of them among clients, or there would be no circles
    other = np.where(rng.random(_ROWS) < 0.5, rng.integers(0, _CLIENTS, _ROWS), rng.integers(100, 180, _ROWS))
    start = _AS_OF - timedelta(days=380)
    return pl.DataFrame(
        {
            "txn_id": [f"T{i}" for i in range(_ROWS)],
            "client_id": [f"C{c:04d}" for c in client],
            "counterparty_id": [f"C{c:04d}" for c in other],
            "counterparty_country": rng.choice(["CA", "CN", "AE", "US"], _ROWS),
            "counterparty_sector": rng.choice(["retail", "household", "casino", "real_estate"], _ROWS),
            "channel": rng.choice(["cash", "transfer", "wire", "card"], _ROWS),
            "currency": rng.choice(["CAD", "USD"], _ROWS),
            "direction": rng.choice(["inbound", "outbound"], _ROWS),
            "amount_base": np.rint(np.exp(rng.normal(6, 2, _ROWS)) * 100) / 100,
            "is_counterparty_client": other < _CLIENTS,
            "is_time_known": [True] * _ROWS,
            "seconds": at,
            "listed": other == 100,
        }
    ).with_columns(
        pl.col("amount_base").cast(pl.Decimal(18, 2)),
        txn_at=pl.lit(start).cast(pl.Datetime("us")) + pl.duration(seconds="seconds"),
        known_date=pl.lit(start) + pl.duration(days=pl.col("seconds") // 86_400),
        counterparty_listed_date=pl.when("listed").then(pl.lit(start)),
    )


class _World:
    """The made transactions as a pillar's arguments."""

    def __init__(self) -> None:
        from ml_assets.features.history import build_history, build_spine
        from ml_assets.features.p5_profile import WINDOW_COLUMNS

        rows = transactions()
        self.config = FeatureConfig()
        self.history = build_history(rows)
        pairs = rows.select("client_id").unique().sort("client_id").with_columns(as_of_date=pl.lit(_AS_OF))
        self.spine = build_spine(self.history, pairs)
        self.profiles = pairs.with_columns(
            industry=pl.lit("retail"),
            occupation=pl.lit(None, pl.String),
            geography=pl.lit("CA"),
            size_bucket=pl.lit("small"),
            expected_turnover=pl.lit(10_000).cast(pl.Decimal(18, 2)),
            account_age_days=pl.lit(400),
            history_days=pl.lit(380),
        )
        windows = {name: pl.lit(10) for name in (*WINDOW_COLUMNS, "baseline_weeks_count")}
        for column in ("inflow", "outflow", "cash_inflow", "cash_outflow"):
            windows[f"baseline_{column}_sum_base"] = pl.lit(100.0)
        self.windows = pairs.with_columns(**windows)


def _p1() -> None:
    from ml_assets.features import p1_volume_velocity

    world = _World()
    p1_volume_velocity._history_statistics(world.history, world.spine)


def _p2() -> None:
    from ml_assets.features import blacklist_paths, p2_network

    world = _World()
    first_seen = world.profiles.select(
        "client_id", counterparty_id=pl.lit("C0100"), first_known_date=pl.lit(_AS_OF - timedelta(days=300))
    )
    jurisdictions = pl.DataFrame({"iso2": ["AE"], "fatf_black": [True]})
    p2_network.build(
        world.history, world.spine, world.config, first_seen=first_seen, jurisdictions=jurisdictions, has_blacklist=True
    )
    blacklist = pl.DataFrame(
        {"entity_id": ["C0100"], "list_name": ["made"], "listed_date": [_AS_OF - timedelta(days=300)]}
    )
    blacklist_paths.build(world.history, world.spine, world.config, blacklist=blacklist)


def _p3() -> None:
    from ml_assets.features import p3_temporal
    from ml_assets.features import tsfresh_engine as engine

    world = _World()
    p3_temporal.build(world.history, world.spine, world.config)
    series = engine.daily_series(world.history, world.spine)
    with_twin = [(c, p) for c, p in engine.CANDIDATES if engine.twin_of(c, p) is not None]
    for at in range(0, len(with_twin), engine.MAX_SLOTS):
        some = tuple(
            engine.Characteristic("inflow", c, tuple(sorted(p.items())), 0.0)
            for c, p in with_twin[at : at + engine.MAX_SLOTS]
        )
        engine.compute(engine.FrozenSelection(some, 0, 0, 0, 0, 0.05, ""), series)


def _p4() -> None:
    from ml_assets.features import p4_typology

    world = _World()
    p4_typology.build_with_hits(world.history, world.spine, world.config)


def _p5() -> None:
    from ml_assets.features import p5_profile, peers

    world = _World()
    features = p5_profile.build(
        world.history, world.spine, world.config, profiles=world.profiles, windows=world.windows
    )
    peers.normals(features, world.profiles, peers.peer_groups(world.profiles, world.config))


def _p6() -> None:
    from ml_assets.features import p6_scheme

    world = _World()

    def listed(lists: Mapping[str, Scheme], column: str, member: str) -> pl.DataFrame:
        return pl.DataFrame([{"scheme": scheme.value, "list_name": k, column: member} for k, scheme in lists.items()])

    p6_scheme.build_with_hits(
        world.history,
        world.spine,
        world.config,
        profiles=world.profiles,
        windows=world.windows,
        scheme_countries=listed(p6_scheme.COUNTRY_LISTS, "iso2", "CN"),
        scheme_sectors=listed(p6_scheme.SECTOR_LISTS, "sector", "casino"),
    )


def _models() -> None:
    from ml_assets.models.boosting import fit_grouped
    from ml_assets.models.isolation import fit_forest

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, 4)).astype(np.float32)
    config = ModelConfig(trees=10, isolation_trees=10)
    fit_forest(matrix, config)[0].score(matrix)
    fold = np.arange(200, dtype=np.int32) % 2
    boost, _ = fit_grouped(matrix, matrix[:, 0] > 1, fold, fold >= 0, 0.0, ("a", "b", "c", "d"), config)
    boost.contributions(matrix)


def _metrics() -> None:
    from ml_assets.evaluation.evidence import false_positives_at
    from ml_assets.evaluation.metrics import draw, ranking_metrics

    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"client_id": [f"C{i % 10}" for i in range(50)], "as_of_date": _AS_OF, "is_positive": rng.random(50) < 0.2}
    )
    sample = draw(rows, 10, 0)
    score = rng.random(50)
    ranking_metrics(score, sample.positive, sample.client, sample.multiplicity)
    false_positives_at(sample, score, np.ones(11))


PARTS: Final[dict[str, Callable[[], Any]]] = {
    "p4": _p4,
    "p3": _p3,
    "p2": _p2,
    "p6": _p6,
    "p5": _p5,
    "p1": _p1,
    "models": _models,
    "metrics": _metrics,
}
"""What is compiled together, the longest first."""


def compile_part(name: str) -> str:
    """Call every kernel of one of :data:`PARTS`; returns its name."""
    PARTS[name]()
    return name


def compile_all() -> Iterator[str]:
    """Compile all parts, as many side by side as there are cores; yields each part's name when it is done."""
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=os.cpu_count() or 1, return_as="generator_unordered", pre_dispatch="all", batch_size=1)(
        delayed(compile_part)(name) for name in PARTS
    )
