"""Peer groups: with whom a client is compared in a week, and what is normal among them.

Rule of this file: groups and their medians, for any feature; no feature is defined here. A group is formed in one
as-of week from that week's profiles alone, so a week needs no other week, but it needs *whole* weeks: the frame
handed in holds every spine row of each as-of date in it, or the groups mean something else.

Groups fall back where they are small: industry and size together, else industry, else size, else all clients of the
week. Industry comes before size because what an account does follows from the trade before it follows from the
turnover: a small restaurant is more like a large restaurant than like a small law firm. A client is always compared
with *all* clients of the level it fell back to, those with a group of their own included: the clients left over by
the large groups are no group of like clients.

What is normal is the median, and how far from it is usual the median absolute deviation: up to half of the group may
be launderers before either moves without bound (Hampel, J. American Statistical Association 69, 1974).
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import polars as pl
from numba import njit

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.columns import GRAIN, GRAIN_COLUMNS

Level = Literal["industry_size", "industry", "size", "all"]
LEVELS: Final[tuple[Level, ...]] = ("industry_size", "industry", "size", "all")
"""Levels of comparison, narrowest first."""

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
            "Name of the group: 'retail, small', 'industry retail', 'size small' or 'all clients'.",
        ),
        Column("peer_level", "text", "How far the group fell back.", allowed=LEVELS),
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
    if level == "industry_size":
        return pl.concat_str("industry", "size_bucket", separator=", ")
    if level == "industry":
        return pl.lit("industry ") + pl.col("industry")
    if level == "size":
        return pl.lit("size ") + pl.col("size_bucket")
    return pl.lit("all clients")


def _keyed(profiles: pl.DataFrame) -> pl.DataFrame:
    """Grain and one column ``key_<level>`` per level."""
    return profiles.select(
        "client_id",
        pl.col("as_of_date").cast(pl.Date),
        *(_key(level).cast(pl.String).alias(f"key_{level}") for level in LEVELS),
    )


def peer_groups(profiles: pl.DataFrame, config: FeatureConfig) -> pl.DataFrame:
    """The peer group of every client and as-of date.

    Parameters
    ----------
    profiles : client_id, as_of_date, industry, size_bucket; whole weeks, one row per client and as-of date.
    config : ``peer_minimum_clients`` is the least size of a group below the level of all clients.

    Returns
    -------
    Rows of :data:`GROUPS_CONTRACT`, one per row of ``profiles``. A client without industry or size falls back. The
    last level is used whatever its size: ``peer_count`` tells a reader to distrust it.

    >>> from datetime import date
    >>> rows = {"client_id": ["a", "b"], "industry": ["retail"] * 2, "size_bucket": ["small"] * 2}
    >>> frame = pl.DataFrame(rows).with_columns(as_of_date=date(2024, 3, 4))
    >>> peer_groups(frame, FeatureConfig(peer_minimum_clients=5))["peer_group"].to_list()
    ['all clients', 'all clients']
    """
    keyed = _keyed(profiles)
    group, level_name, count = pl.lit(None, pl.String), pl.lit(None, pl.String), pl.lit(None, pl.Int64)
    for level in reversed(LEVELS):
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
    keyed = _keyed(profiles)
    parts = [
        used.filter(pl.col("peer_level") == level).join(
            keyed.select("as_of_date", "client_id", pl.col(f"key_{level}").alias("peer_group")),
            on=["as_of_date", "peer_group"],
        )
        for level in LEVELS
    ]
    return (
        pl.concat(parts).select("as_of_date", "peer_group", "client_id").sort("as_of_date", "peer_group", "client_id")
    )


@njit(cache=True)
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
    parts = [NORMALS_CONTRACT.empty()]
    belongs = members(profiles, groups)
    values = features.select(*GRAIN, pl.col(names).cast(pl.Float64)).sort(list(GRAIN))
    # week by week: the values of one week as one matrix, whatever number of weeks is asked for
    for week in belongs["as_of_date"].unique().sort() if names else []:
        now = pl.col("as_of_date") == week
        here = values.filter(now).with_row_index("row")
        of_group = belongs.filter(now).join(here.select("client_id", "row"), on="client_id", maintain_order="left")
        sizes = of_group.group_by("peer_group", maintain_order=True).len()
        offsets = np.concatenate([[0], np.cumsum(sizes["len"].to_numpy())]).astype(np.int64)
        matrix = np.ascontiguousarray(here.select(names).fill_null(float("nan")).to_numpy().T)
        median, deviation, count = _medians(matrix, offsets, of_group["row"].to_numpy().astype(np.int64))
        parts.append(
            pl.DataFrame(
                {
                    "as_of_date": pl.repeat(week, median.size, dtype=pl.Date, eager=True),
                    "peer_group": pl.Series(np.repeat(sizes["peer_group"].to_numpy(), len(names)), dtype=pl.String),
                    "feature": pl.Series(names * sizes.height, dtype=pl.String),
                    "peer_median": median.ravel(),
                    "peer_mad": deviation.ravel(),
                    "peer_value_count": count.ravel(),
                }
            )
        )
    return NORMALS_CONTRACT.conform(pl.concat(parts))


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
