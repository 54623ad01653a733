"""Peer groups: with whom a client is compared in a week, and what is normal among them.

Rule of this file: groups and their medians, for any feature; no feature is defined here. A group is formed in one
as-of week from that week's profiles alone, so a week needs no other week, but it needs *whole* weeks: the frame
handed in holds every spine row of each as-of date in it, or the groups mean something else.

Groups fall back where they are small: industry and size together, else industry, else size, else all clients of the
week. Industry comes before size because what an account does follows from the trade before it follows from the
turnover: a small restaurant is more like a large restaurant than like a small law firm. A client is always compared
with *all* clients of the level it fell back to, those with a group of their own included: the clients left over by
the large groups are no group of like clients.

Where ``peers_by_segment`` is on, a narrower level comes before these: clients of the same behavioural segment. Which
segment a client is in is itself found from features, so a week looks only at memberships of *earlier* weeks, found by
a fit no later than they are: there is no cycle, and nothing learned later counts.

What is normal is the median, and how far from it is usual the median absolute deviation: up to half of the group may
be launderers before either moves without bound (Hampel, J. American Statistical Association 69, 1974).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import Final, Literal

import numpy as np
import polars as pl
from joblib import Parallel, cpu_count, delayed
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.columns import GRAIN, GRAIN_COLUMNS

Level = Literal["segment", "industry_size", "industry", "size", "all"]
LEVELS: Final[tuple[Level, ...]] = ("segment", "industry_size", "industry", "size", "all")
"""Levels of comparison, narrowest first; ``segment`` only where ``peers_by_segment`` is on."""

MEMBERSHIPS: Final = pl.Schema(
    {"client_id": pl.String, "as_of_date": pl.Date, "fit_date": pl.Date, "segment_id": pl.String}
)
"""What is read of segment memberships: a client's segment in a week, and the week its fit was made on."""

GROUPS_CONTRACT: Final = TableContract(
    schema="features",
    name="peer_groups",
    description="One row per client and as-of date: the clients it is compared with in that week.",
    grain=GRAIN,
    columns=(
        *GRAIN_COLUMNS,
        Column(
            "peer_group",
            "text",
            "Name of the group: 'segment S01', 'retail, small', 'industry retail', 'size small' or 'all clients'.",
        ),
        Column(
            "peer_level",
            "text",
            "How far the group fell back; segment only where peers_by_segment is on.",
            allowed=LEVELS,
        ),
        Column("peer_count", "integer", "Clients in the group, the client itself included.", "count", minimum=1),
    ),
)
"""``features.peer_groups``."""

NORMALS_CONTRACT: Final = TableContract(
    schema="features",
    name="peer_normals",
    description="One row per as-of date, peer group and feature: what is normal among these peers in that week.",
    grain=("as_of_date", "peer_group", "feature"),
    columns=(
        Column("as_of_date", "date", "Monday, 00:00 UTC."),
        Column("peer_group", "text", "Name of the group, as in peer_groups."),
        Column("feature", "text", "Feature; booleans count as 0 and 1."),
        Column(
            "peer_median",
            "number",
            "Median of the feature among the group's clients.",
            unit="see feature",
            formula="median of the non-null values of all clients of the group's level and key in that week",
            null_rule="null where no client of the group has a value",
        ),
        Column(
            "peer_mad",
            "number",
            "Median absolute deviation of the feature among the group's clients.",
            unit="see feature",
            formula="median of |value - peer_median|, same values; times 1.4826 it estimates a standard deviation",
            null_rule="null where no client of the group has a value",
            source="Hampel, J. American Statistical Association 69 (1974)",
            minimum=0,
        ),
        Column("peer_value_count", "integer", "Clients of the group with a value.", "count", minimum=0),
    ),
)
"""``features.peer_normals``."""


def _key(level: Level) -> pl.Expr:
    """Name of the group a row belongs to at ``level``; null where its profile does not say."""
    if level == "segment":
        return pl.lit("segment ") + pl.col("segment_id")
    if level == "industry_size":
        return pl.concat_str("industry", "size_bucket", separator=", ")
    if level == "industry":
        return pl.lit("industry ") + pl.col("industry")
    if level == "size":
        return pl.lit("size ") + pl.col("size_bucket")
    return pl.lit("all clients")


def _keyed(profiles: pl.DataFrame, levels: Sequence[Level]) -> pl.DataFrame:
    """Grain and one column ``key_<level>`` per level asked for."""
    return profiles.select(
        "client_id",
        pl.col("as_of_date").cast(pl.Date),
        *(_key(level).cast(pl.String).alias(f"key_{level}") for level in levels),
    )


def known_memberships(memberships: pl.DataFrame | None, before: date | None = None) -> pl.DataFrame:
    """Memberships a week may look at.

    Parameters
    ----------
    memberships : columns of :data:`MEMBERSHIPS`, others are left alone; None where there are none.
    before : memberships of this week and later are left out; None leaves none out.

    Returns
    -------
    Columns of :data:`MEMBERSHIPS`, sorted by client and as-of date, without rows of a fit later than their own week:
    they would carry what was not known then.
    """
    if memberships is None:
        return MEMBERSHIPS.to_frame()
    rows = memberships.select(pl.col(n).cast(t) for n, t in MEMBERSHIPS.items())
    kept = rows.filter(pl.col("fit_date") <= pl.col("as_of_date"))
    if before is not None:
        kept = kept.filter(pl.col("as_of_date") < before)
    return kept.sort("client_id", "as_of_date")


def memberships_hash(memberships: pl.DataFrame | None, before: date | None = None) -> str | None:
    """Hash of the memberships' values, whatever file or order they come in; None where there are none.

    Parameters
    ----------
    memberships, before : as for :func:`known_memberships`.
    """
    known = known_memberships(memberships, before)
    return hashlib.sha256(known.write_csv().encode()).hexdigest() if known.height else None


def with_segments(profiles: pl.DataFrame, memberships: pl.DataFrame | None) -> pl.DataFrame:
    """Put beside every client the segment it was last in *before* the week.

    Parameters
    ----------
    profiles : client_id, as_of_date and any other columns.
    memberships : as for :func:`known_memberships`, one row per client and as-of date.

    Returns
    -------
    ``profiles`` in its order with ``segment_id``: of the client's newest membership with an as-of date before the
    row's own; null where there is none.

    >>> from datetime import date
    >>> rows = {"client_id": ["a", "a"], "as_of_date": [date(2024, 3, 4), date(2024, 3, 11)]}
    >>> found = pl.DataFrame(rows).with_columns(fit_date=date(2024, 3, 4), segment_id=pl.Series(["S01", "S02"]))
    >>> with_segments(pl.DataFrame(rows), found)["segment_id"].to_list()
    [None, 'S01']
    """
    rows = profiles.select("client_id", pl.col("as_of_date").cast(pl.Date)).with_row_index("row").sort("as_of_date")
    found = rows.join_asof(
        known_memberships(memberships).drop("fit_date").sort("as_of_date"),
        on="as_of_date",
        by="client_id",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return profiles.with_columns(found.sort("row")["segment_id"])


def peer_groups(profiles: pl.DataFrame, config: FeatureConfig) -> pl.DataFrame:
    """The peer group of every client and as-of date.

    Parameters
    ----------
    profiles : client_id, as_of_date, industry, size_bucket; whole weeks, one row per client and as-of date. With
        ``peers_by_segment`` also segment_id (:func:`with_segments`).
    config : ``peer_minimum_clients`` is the least size of a group below the level of all clients;
        ``peers_by_segment`` puts the level ``segment`` first.

    Returns
    -------
    Rows of :data:`GROUPS_CONTRACT`, one per row of ``profiles``. A client without segment, industry or size falls
    back. The last level is used whatever its size: ``peer_count`` tells a reader to distrust it.

    >>> from datetime import date
    >>> rows = {"client_id": ["a", "b"], "industry": ["retail"] * 2, "size_bucket": ["small"] * 2}
    >>> frame = pl.DataFrame(rows).with_columns(as_of_date=date(2024, 3, 4))
    >>> peer_groups(frame, FeatureConfig(peer_minimum_clients=5))["peer_group"].to_list()
    ['all clients', 'all clients']
    """
    levels = LEVELS if config.peers_by_segment else LEVELS[1:]
    keyed = _keyed(profiles, levels)
    group, level_name, count = pl.lit(None, pl.String), pl.lit(None, pl.String), pl.lit(None, pl.Int64)
    for level in reversed(levels):
        key = pl.col(f"key_{level}")
        size = pl.len().over("as_of_date", f"key_{level}").cast(pl.Int64)
        fits = key.is_not_null() & ((size >= config.peer_minimum_clients) | pl.lit(level == "all"))
        group = pl.when(fits).then(key).otherwise(group)
        level_name = pl.when(fits).then(pl.lit(level)).otherwise(level_name)
        count = pl.when(fits).then(size).otherwise(count)
    return GROUPS_CONTRACT.conform(
        keyed.select(*GRAIN, group.alias("peer_group"), level_name.alias("peer_level"), count.alias("peer_count"))
    )


def members(profiles: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Which clients each group in use is made of.

    Parameters
    ----------
    profiles, groups : argument and result of :func:`peer_groups`.

    Returns
    -------
    as_of_date, peer_group, client_id: one row per group that some client is compared with and client in it, sorted.
    """
    used = groups.select("as_of_date", "peer_group", "peer_level").unique()
    # a level nobody is compared at asks for no column, but one level is needed to say what comes out
    met = set(used["peer_level"]) | {"all"}
    levels = [level for level in LEVELS if level in met]
    keyed = _keyed(profiles, levels)
    parts = [
        used.filter(pl.col("peer_level") == level).join(
            keyed.select("as_of_date", "client_id", pl.col(f"key_{level}").alias("peer_group")),
            on=["as_of_date", "peer_group"],
        )
        for level in levels
    ]
    return (
        pl.concat(parts).select("as_of_date", "peer_group", "client_id").sort("as_of_date", "peer_group", "client_id")
    )


FEATURES_AT_ONCE: Final = 16
"""Features whose values stand as doubles in memory at a time, per core."""


@njit(cache=True, nogil=True)
def _medians(values, offsets, rows):  # type: ignore[no-untyped-def]
    """Median, median absolute deviation and number of values per group and feature, shape (groups, features).

    ``values`` has one row per feature and one column per client, NaN for null; the clients of group g are
    ``rows[offsets[g]:offsets[g + 1]]``. NaN where a group has no value. O(group members x features).
    """
    groups, features = len(offsets) - 1, values.shape[0]
    median = np.full((groups, features), np.nan)
    deviation = np.full((groups, features), np.nan)
    count = np.zeros((groups, features), dtype=np.int64)
    buffer = np.empty(len(rows))
    for f in range(features):
        for g in range(groups):
            n = 0
            for r in range(offsets[g], offsets[g + 1]):
                x = values[f, rows[r]]
                if not np.isnan(x):
                    buffer[n] = x
                    n += 1
            count[g, f] = n
            if n == 0:
                continue
            middle = np.median(buffer[:n])
            median[g, f] = middle
            for k in range(n):
                buffer[k] = abs(buffer[k] - middle)
            deviation[g, f] = np.median(buffer[:n])
    return median, deviation, count


def normals(features: pl.DataFrame, profiles: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Median and spread of every feature among the peers.

    Parameters
    ----------
    features : grain and any numeric or boolean columns; whole weeks.
    profiles, groups : argument and result of :func:`peer_groups`, for the same weeks.

    Returns
    -------
    Rows of :data:`NORMALS_CONTRACT`: one per as-of date, group in use and feature. Join to a client by its group
    (:func:`beside`).
    """
    names = [n for n, t in features.schema.items() if n not in GRAIN and (t.is_numeric() or t == pl.Boolean)]
    if not names:
        return NORMALS_CONTRACT.empty()
    values = features.sort(list(GRAIN))
    numbered = values.select(GRAIN).with_row_index("row")
    belongs = members(profiles, groups).join(numbered, on=list(GRAIN), maintain_order="left")
    sizes = belongs.group_by("as_of_date", "peer_group", maintain_order=True).len()
    offsets = np.concatenate([[0], np.cumsum(sizes["len"].to_numpy())]).astype(np.int64)
    rows = belongs["row"].to_numpy().astype(np.int64)

    def some(of: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        matrix = values.select(pl.col(of).cast(pl.Float64).fill_null(float("nan"))).to_numpy().T
        return _medians(np.ascontiguousarray(matrix), offsets, rows)  # type: ignore[no-any-return]

    # some features at a time: as doubles all of them are as large as the pillar's table again
    parts = [names[at : at + FEATURES_AT_ONCE] for at in range(0, len(names), FEATURES_AT_ONCE)]
    done = Parallel(n_jobs=cpu_count(), prefer="threads")(delayed(some)(of) for of in parts)
    median, deviation, count = (np.concatenate(arrays, axis=1) for arrays in zip(*done, strict=True))
    at = np.repeat(np.arange(sizes.height), len(names))
    return NORMALS_CONTRACT.conform(
        sizes.select("as_of_date", "peer_group")[at].with_columns(
            feature=pl.Series(names * sizes.height, dtype=pl.String),
            peer_median=pl.Series(median.ravel()),
            peer_mad=pl.Series(deviation.ravel()),
            peer_value_count=pl.Series(count.ravel()),
        )
    )


def beside(rows: pl.DataFrame, groups: pl.DataFrame, peer_normals: pl.DataFrame) -> pl.DataFrame:
    """What is normal among the peers of some clients, one column per feature.

    Parameters
    ----------
    rows : client_id, as_of_date.
    groups : rows of :data:`GROUPS_CONTRACT`, at least for ``rows``.
    peer_normals : rows of :data:`NORMALS_CONTRACT`, at least for the groups of ``rows``.

    Returns
    -------
    One row per row of ``rows``, sorted by grain: the peers' median of every feature in ``peer_normals``, null where
    no peer has a value or the client has no group.
    """
    keys = ["as_of_date", "peer_group"]
    own = rows.select(GRAIN).sort(list(GRAIN)).join(groups.select(*GRAIN, "peer_group"), on=list(GRAIN), how="left")
    names = peer_normals["feature"].unique().sort().to_list()
    wanted = peer_normals.join(own.select(keys).unique(), on=keys, how="semi")
    medians = wanted.pivot("feature", on_columns=names, index=keys, values="peer_median")
    return own.join(medians, on=keys, how="left").select(*GRAIN, *names).sort(list(GRAIN))
