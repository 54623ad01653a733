"""Blacklist exposure as evidence: the shortest path of payments from a client to each listed party near it.

Rule of this file: paths only. How exposure is measured is a matter of the network pillar (P2), whose distance in hops
is the shortest of these paths; who is listed is a matter of the source's blacklist.

A party is listed at as-of date D if its first listing is dated before D. A payment is an edge, whatever its direction,
if D - 90 days <= txn_at < D and it was known before D, as for P2. Paths are
kept up to ``blacklist_path_hops``: at two, an investigator can ask the party in between; at three, nearly every client
of a bank is connected with nearly every listed party through some utility. Among equally short paths the one is taken
whose busiest party in between has the fewest partners, because a shared tenant says more than a shared
telephone company; then the first in order of ids.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features.columns import GRAIN_COLUMNS
from ml_assets.features.graph import NEVER_DAY, index_nodes, window_rows
from ml_assets.features.history import History, Spine

Ints = NDArray[np.int64]

_NO_STEP: Final = "null where the client itself is the listed party"

CONTRACT: Final = TableContract(
    schema="features",
    name="blacklist_paths",
    description=(
        "One row per client, as-of date and listed party near it: the shortest path of payments between the two."
    ),
    grain=("client_id", "as_of_date", "entity_id"),
    columns=(
        *GRAIN_COLUMNS,
        Column("entity_id", "text", "Listed party at the end of the path."),
        Column(
            "path_hops",
            "integer",
            "Payments between the client and the listed party; 0 where the client itself is listed.",
            unit="hops",
            formula="length of the shortest path over payments of [D-90d, D), either direction",
            minimum=0,
        ),
        Column("path_ids", "text", "Parties on the path, from the client to the listed party, joined by ';'."),
        Column(
            "busiest_partner_count",
            "integer",
            "Partners of the busiest party in between: a few is a person, hundreds are a shop or a utility.",
            unit="count",
            formula="greatest number of neighbours among the parties strictly between the two, in the same window",
            null_rule="null where nobody is in between",
            minimum=2,
        ),
        Column("list_names", "text", "Lists that name the party by then, joined by ';'.", null_rule="list not named"),
        Column("listed_date", "date", "Day of the first listing.", null_rule="date not given"),
        Column(
            "txn_count",
            "integer",
            "The client's own payments with the next party on the path, in the window.",
            unit="count",
            null_rule=_NO_STEP + ", or where only the other side's account shows the payment",
            minimum=1,
        ),
        Column(
            "txn_sum_base",
            "number",
            "Money of these payments, both directions together.",
            unit="base",
            null_rule="as txn_count",
            minimum=0,
        ),
        Column(
            "txn_ids",
            "text",
            "Ids of these payments, oldest first, joined by ';'; the newest evidence_transactions (50) of them.",
            null_rule="as txn_count",
        ),
    ),
)
"""``features.blacklist_paths``."""


@njit(cache=True)
def _reach(indptr, indices, origin, hops, level, busiest, before, queue):  # type: ignore[no-untyped-def]
    """Breadth-first from ``origin`` up to ``hops``: fills the scratch arrays, returns how many nodes are reached.

    ``level`` must hold -1 everywhere; reached nodes stand in ``queue``, nearest first. ``before`` is the next node
    towards the origin, ``busiest`` the greatest degree strictly between node and origin (0 with nobody between).
    A node's predecessor is final when it is taken from the queue, because all of the level before have been.
    """
    level[origin] = 0
    busiest[origin] = 0
    before[origin] = origin
    queue[0] = origin
    head, tail = 0, 1
    while head < tail:
        v = queue[head]
        head += 1
        if level[v] == hops:
            break
        through = busiest[v] if v == origin else max(busiest[v], indptr[v + 1] - indptr[v])
        for e in range(indptr[v], indptr[v + 1]):
            w = indices[e]
            if level[w] < 0:
                level[w] = level[v] + 1
                busiest[w] = through
                before[w] = v
                queue[tail] = w
                tail += 1
            elif level[w] == level[v] + 1 and (through < busiest[w] or (through == busiest[w] and v < before[w])):
                busiest[w] = through
                before[w] = v
    return tail


def _neighbours(own: Ints, other: Ints, n: int) -> tuple[Ints, Ints]:
    """Symmetric adjacency as offsets and sorted neighbours."""
    once = np.unique(np.minimum(own, other) * n + np.maximum(own, other))
    keys = np.sort(np.concatenate([once, once % n * n + once // n]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(keys // n, minlength=n))]).astype(np.int64)
    return indptr, keys % n


def _paths(indptr: Ints, indices: Ints, listed: Ints, is_client: NDArray[np.bool_], hops: int) -> pl.DataFrame:
    """One row per client node and listed node within ``hops``: hops, busiest, nodes ``step_0`` .. ``step_<hops>``."""
    n = len(indptr) - 1
    level = np.full(n, -1, dtype=np.int64)
    busiest, before, queue = (np.zeros(n, dtype=np.int64) for _ in range(3))
    parts = []
    for origin in listed.tolist():
        reached = queue[: _reach(indptr, indices, origin, hops, level, busiest, before, queue)].copy()
        ends = reached[is_client[reached]]
        steps = [ends]
        for _ in range(hops):
            steps.append(np.where(steps[-1] < 0, -1, np.where(steps[-1] == origin, -1, before[steps[-1]])))
        parts.append(np.column_stack([np.full(len(ends), origin), level[ends], busiest[ends], *steps]).astype(np.int64))
        level[reached] = -1
    names = ["listed", "hops", "busiest", *(f"step_{k}" for k in range(hops + 1))]
    return pl.DataFrame(np.concatenate(parts) if parts else np.empty((0, len(names)), dtype=np.int64), schema=names)


def build(history: History, spine: Spine, config: FeatureConfig, *, blacklist: pl.DataFrame) -> pl.DataFrame:
    """Paths from the spine's clients to listed parties, one row per client, as-of date and listed party in reach.

    Parameters
    ----------
    history : cleaned transactions of the whole bank: paths run through other clients' payments.
    spine : pairs asked for.
    config : window, hops and number of transactions listed.
    blacklist : entity_id, list_name, listed_date; one row per entity and list.

    Returns
    -------
    Rows of :data:`CONTRACT`, sorted; a client without a listed party in reach has none.
    """
    parts = [CONTRACT.empty()]
    if not blacklist.height or not len(history):
        return parts[0]
    nodes = index_nodes(history)
    ids = pl.DataFrame({"node": np.arange(len(nodes.ids)), "id": pl.Series(list(nodes.ids), dtype=pl.String)})
    wanted = spine.frame().with_columns(pl.Series("day", spine.as_of_day))
    for as_of_day in np.unique(spine.as_of_day).tolist():
        clients = wanted.filter(pl.col("day") == as_of_day)
        found = _week(history, nodes.client_node, nodes.counterparty_node, ids, clients, as_of_day, config)
        if found is not None:
            parts.append(found.join(_listings(blacklist, clients["as_of_date"][0]), on="entity_id", how="left"))
    return CONTRACT.conform(pl.concat([p.select(CONTRACT.names) for p in parts], how="vertical_relaxed"))


def _listings(blacklist: pl.DataFrame, as_of_date: date) -> pl.DataFrame:
    """entity_id, list_names, listed_date of the listings dated before the as-of date."""
    known = blacklist.with_columns(pl.col("listed_date").cast(pl.Date)).filter(pl.col("listed_date") < as_of_date)
    return known.group_by("entity_id").agg(
        pl.col("list_name").drop_nulls().unique().sort().str.join(";").replace("", None).alias("list_names"),
        pl.col("listed_date").min(),
    )


def _week(
    history: History,
    client_node: Ints,
    counterparty_node: Ints,
    ids: pl.DataFrame,
    clients: pl.DataFrame,
    as_of_day: int,
    config: FeatureConfig,
) -> pl.DataFrame | None:
    """Paths of one as-of date without the words about the listings; None where no listed party has a payment."""
    rows = window_rows(history, as_of_day, config.window_days[2])
    rows = rows[history.counterparty.codes[rows] >= 0]
    own, other = client_node[history.client[rows]], counterparty_node[history.counterparty.codes[rows]]
    # own transfers tell nothing, of who is listed neither: the network pillar leaves them out as well
    kept = own != other
    rows, own, other = rows[kept], own[kept], other[kept]
    listed_day = np.full(ids.height, NEVER_DAY, dtype=np.int64)
    np.minimum.at(listed_day, other, history.listed_day[rows])
    listed = np.flatnonzero(listed_day < as_of_day)
    if not len(listed):
        return None
    indptr, indices = _neighbours(own, other, ids.height)
    asked = clients.select("client_id", "as_of_date").join(ids, left_on="client_id", right_on="id")
    is_client = np.zeros(ids.height, dtype=np.bool_)
    is_client[asked["node"].to_numpy()] = True
    hops = config.blacklist_path_hops
    paths = _paths(indptr, indices, listed, is_client, hops)
    names = ids["id"]
    steps = [_named(names, paths[f"step_{k}"]).alias(f"name_{k}") for k in range(hops + 1)]
    worded = paths.with_columns(
        *steps,
        _named(names, paths["listed"]).alias("entity_id"),
        pl.when(pl.col("busiest") > 0).then("busiest").alias("busiest_partner_count"),
        pl.col("hops").alias("path_hops"),
    ).with_columns(pl.concat_str([s.name for s in steps], separator=";", ignore_nulls=True).alias("path_ids"))
    return worded.join(asked, left_on="step_0", right_on="node").join(
        _own_payments(history, rows, own, other, worded, config), on=["step_0", "step_1"], how="left"
    )


def _named(names: pl.Series, nodes: pl.Series) -> pl.Series:
    """Ids of node numbers; null where the number is -1."""
    found = names.gather(np.maximum(nodes.to_numpy(), 0))
    return pl.select(pl.when(nodes >= 0).then(found)).to_series()


def _own_payments(
    history: History, rows: Ints, own: Ints, other: Ints, paths: pl.DataFrame, config: FeatureConfig
) -> pl.DataFrame:
    """The client's own payments with the next party: step_0, step_1, txn_count, txn_sum_base, txn_ids."""
    asked = paths["step_0"].to_numpy()
    is_near = np.zeros(int(max(own.max(initial=0), asked.max(initial=0))) + 1, dtype=np.bool_)
    is_near[asked] = True
    at = np.flatnonzero(is_near[own])
    pairs = pl.DataFrame({"step_0": own[at], "step_1": other[at], "row": rows[at]})
    near = pairs.join(paths.select("step_0", "step_1").unique(), on=["step_0", "step_1"], how="semi").sort("row")
    at = near["row"].to_numpy()
    found = (
        near.with_columns(
            pl.Series("cents", np.abs(np.rint(history.amount[at] * 100)).astype(np.int64)),
            pl.Series("txn_id", history.txn_id[at].astype(object), dtype=pl.String),
        )
        .group_by("step_0", "step_1", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("txn_count"),
            pl.col("cents").sum(),
            pl.col("txn_id").tail(config.evidence_transactions).str.join(";").alias("txn_ids"),
        )
    )
    # in numpy: polars multiplies by the reciprocal, which is off by a bit
    return found.with_columns(pl.Series("txn_sum_base", found["cents"].to_numpy() / 100)).drop("cents")
