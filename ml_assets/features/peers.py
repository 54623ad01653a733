"""Peer groups: with whom a client is compared in a week, and what is normal among them.

Rule of this file: groups and their medians, for any feature; no feature is defined here. A group is formed in one
as-of week from that week's profiles alone, so a week needs no other week, but it needs *whole* weeks: the frame
handed in holds every spine row of each as-of date in it, or the groups mean something else.

Groups fall back where they are small: industry and size together, else size, else all clients of the week. A client
is always compared with *all* clients of the level it fell back to, those with a group of their own included: the
clients left over by the large groups are no group of like clients.
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.columns import GRAIN, GRAIN_COLUMNS

Level = Literal["industry_size", "size", "all"]
LEVELS: Final[tuple[Level, ...]] = ("industry_size", "size", "all")
"""Levels of comparison, narrowest first."""

GROUPS_CONTRACT: Final = TableContract(
    schema="features",
    name="peer_groups",
    description="One row per client and as-of date: the clients it is compared with in that week.",
    grain=GRAIN,
    columns=(
        *GRAIN_COLUMNS,
        Column("peer_group", "text", "Name of the group: 'retail, small', 'size small' or 'all clients'."),
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
            "peer_iqr",
            "number",
            "Interquartile range of the feature among the group's clients.",
            unit="see feature",
            formula="75th minus 25th percentile, linear interpolation (Hyndman & Fan 1996, type 7)",
            null_rule="null where no client of the group has a value",
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


def normals(features: pl.DataFrame, profiles: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Median and spread of every feature among the peers.

    Parameters
    ----------
    features : grain and any numeric or boolean columns; whole weeks.
    profiles, groups : argument and result of :func:`peer_groups`, for the same weeks.

    Returns
    -------
    Rows of :data:`NORMALS_CONTRACT`: one per as-of date, group in use and feature. Join to a client by its group.
    """
    names = [n for n in features.columns if n not in GRAIN]
    if not names:
        return NORMALS_CONTRACT.empty()
    values = members(profiles, groups).join(
        features.with_columns(pl.col(names).cast(pl.Float64).fill_nan(None)), on=list(GRAIN), how="left"
    )
    statistics = {
        "peer_median": pl.col(names).median(),
        "peer_iqr": pl.col(names).quantile(0.75, "linear") - pl.col(names).quantile(0.25, "linear"),
        "peer_value_count": pl.col(names).count().cast(pl.Int64),
    }
    keys = ["as_of_date", "peer_group"]
    out: pl.DataFrame | None = None
    for name, expression in statistics.items():
        part = (
            values.group_by(keys)
            .agg(expression)
            .unpivot(on=names, index=keys, variable_name="feature", value_name=name)
        )
        out = part if out is None else out.join(part, on=[*keys, "feature"])
    assert out is not None
    return NORMALS_CONTRACT.conform(out)
