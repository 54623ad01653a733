"""P2 · Network and counterparty: where a client stands among those who pay and are paid.

Rule of this file: read one as-of week's :class:`~ml_assets.features.graph.WeekGraph` at the clients, add what
only the client's own rows tell (countries, first-seen counterparties), and declare each feature. Definitions of
graph measures live in ``graph.py``, of patterns in ``temporal_patterns.py``; this file holds none twice.

Null rule of the pillar. A client with visible rows in the window none of which names a counterparty (and who is
nobody's counterparty either) gets null in every network feature: the network is unknown, not empty. A client
without any visible row that is nobody's counterparty gets 0 in counts and sums and null in shares, centralities
and averages. Everything is decided by rows in the client's own window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, TableContract
from ml_assets.features import graph as graphs
from ml_assets.features import temporal_patterns as patterns
from ml_assets.features.columns import feature, pillar_contract
from ml_assets.features.history import DAY_US, History, Spine

_NEEDS: Final = ("counterparty_id",)
_NEEDS_COUNTRY: Final = ("counterparty_country",)
_NEEDS_LIST: Final = ("counterparty_id", "blacklist.entity_id")
_UNKNOWN: Final = "the client has rows in the window, but no row tells a counterparty"
_NO_EDGE: Final = "no payment with a known counterparty in the window"

_ALTMAN: Final = "Altman et al. 2023 (AMLworld), fig. 2; Blanuša et al. 2024 (Graph Feature Preprocessor)"
_GFP: Final = "Blanuša et al. 2024 (Graph Feature Preprocessor), vertex statistics"
_FATF: Final = "FATF lists, Directive (EU) 2015/849 Art. 9; list vintage as in the jurisdictions seed"


def _network(name: str, description: str, formula: str, source: str = "", null_rule: str = _UNKNOWN) -> Column:
    return feature(name, description, formula, null_rule=null_rule, source=source, requires=_NEEDS)


def _exposure(name: str, description: str, formula: str, null_rule: str = _UNKNOWN) -> Column:
    return feature(
        name,
        description,
        formula,
        null_rule=f"{null_rule}; the source has no blacklist",
        source="Wolfsberg Group 2019, sanctions screening guidance; shortest paths over payments",
        requires=_NEEDS_LIST,
    )


def _side_columns(side: str, who: str, done: str) -> tuple[Column, ...]:
    return (
        *(
            _network(
                f"p2_degree_{side}_{days}d_count",
                f"Distinct {who} in the last {days} days.",
                f"distinct {who} with a visible payment in [D − {days}d, D)",
                _GFP,
            )
            for days in (7, 30, 90)
        ),
        _network(
            f"p2_strength_{side}_sum_90d_base",
            f"Money {done} in 90 days in payments with a known counterparty.",
            f"sum of amounts {done}, own transfers left out",
            "Barrat et al. 2004, node strength",
        ),
        _network(
            f"p2_counterparty_{side}_hhi_90d_ratio",
            f"Concentration of money {done} over {who}: 1 is a single one.",
            f"Σ (share of each of the {who})² of the amount {done}",
            "Herfindahl-Hirschman index, Rhoades 1993",
            f"nothing {done} in the window",
        ),
        _network(
            f"p2_counterparty_{side}_share_max_90d_ratio",
            f"Share of the largest of the {who} in the money {done}.",
            f"largest amount per counterparty / amount {done}",
            _GFP,
            f"nothing {done} in the window",
        ),
        _network(
            f"p2_counterparty_{side}_mean_90d_base",
            f"Mean amount per counterparty over {who}.",
            f"amount {done} / number of {who}",
            _GFP,
            f"no {who} in the window",
        ),
        _network(
            f"p2_counterparty_{side}_std_90d_base",
            f"Spread of the amounts per counterparty over {who}.",
            f"population standard deviation of the amount {done} per counterparty",
            _GFP,
            f"fewer than two {who} in the window",
        ),
        _network(
            f"p2_payment_{side}_skewness_90d_value",
            f"Lopsidedness of single payments {done}: far above 0 where a few large ones stand among small ones.",
            f"third standardised moment of the amounts {done} to or from known counterparties",
            _GFP,
            f"no two different amounts {done} in the window",
        ),
        _network(
            f"p2_payment_{side}_kurtosis_90d_value",
            f"Weight of rare amounts among payments {done}: 3 for a normal law, 1 for two amounts taking turns.",
            f"fourth standardised moment of the amounts {done} to or from known counterparties",
            _GFP,
            f"no two different amounts {done} in the window",
        ),
    )


_CYCLES: Final = tuple(
    _network(
        f"p2_cycle_length{k}_90d_count",
        f"Times money went round {k} parties, this client among them, in time order.",
        f"temporal cycles of {k} payments through the client in [D − 90d, D): times strictly increase, all within "
        "cycle_window_days, no party twice; a lower bound where a search was cut",
        "Kumar & Calders 2018 (2SCENT); Blanuša et al. 2024",
    )
    for k in range(2, patterns.LONGEST_CYCLE + 1)
)

CONTRACT: Final[TableContract] = pillar_contract(
    "p2_network",
    "the client's place in the directed graph of payments of the last 90 days, its counterparties and the "
    "laundering patterns it is a member of.",
    (
        *_side_columns("in", "payers", "received"),
        *_side_columns("out", "payees", "paid out"),
        _network(
            "p2_reciprocal_share_90d_ratio",
            "Share of counterparties with payments in both directions.",
            "counterparties that pay and are paid / counterparties",
            "Garlaschelli & Loffredo 2004, reciprocity",
            _NO_EDGE,
        ),
        _network(
            "p2_client_flow_share_90d_ratio",
            "Share of the money that moves between this client and other clients of the bank.",
            "flow with parties that have visible rows of their own in the window / flow",
            "",
            "no flow in the window",
        ),
        _network(
            "p2_neighbour_degree_90d_mean",
            "Counterparties its counterparties have, on average: high for shops and utilities, low for persons.",
            "mean number of distinct counterparties over the client's counterparties, both directions together",
            "Barrat et al. 2004, average neighbour degree",
            _NO_EDGE,
        ),
        _network(
            "p2_pagerank_90d_ratio",
            "Share of all money that ends up at this client if it is followed from hand to hand.",
            "PageRank weighted by amount on the directed graph, damping pagerank_damping_ratio; sums to 1",
            "Brin & Page 1998",
            _NO_EDGE,
        ),
        _network(
            "p2_pagerank_relative_90d_factor",
            "The same, as a multiple of an average party: comparable between weeks.",
            "PageRank × number of parties",
            "Brin & Page 1998",
            _NO_EDGE,
        ),
        _network(
            "p2_pagerank_reverse_relative_90d_factor",
            "How much this client is where money comes from, as a multiple of an average party.",
            "PageRank of the graph with all edges reversed × number of parties",
            "Brin & Page 1998",
            _NO_EDGE,
        ),
        _network(
            "p2_betweenness_90d_ratio",
            "How often the client lies on shortest payment paths between others (estimated).",
            "directed betweenness from betweenness_pivots sampled sources, scaled to all, over (n−1)(n−2)",
            "Brandes 2001; sampling Brandes & Pich 2007",
            _NO_EDGE,
        ),
        _network(
            "p2_clustering_90d_ratio",
            "Share of pairs of its counterparties that also deal with each other.",
            "2 × triangles / (k (k − 1)), k counterparties, direction ignored",
            "Watts & Strogatz 1998",
            "fewer than two counterparties in the window",
        ),
        _network(
            "p2_triangle_90d_count",
            "Pairs of its counterparties that also deal with each other.",
            "triangles through the client, direction ignored",
            "Watts & Strogatz 1998",
        ),
        _network(
            "p2_core_number_90d_count",
            "How deep in the densely connected part of the graph the client sits.",
            "largest k of a k-core that holds the client, direction ignored",
            "Seidman 1983; Batagelj & Zaversnik 2003",
        ),
        _network(
            "p2_community_size_90d_count",
            "Parties in the client's community of close money ties.",
            "size of its Louvain community, edges weighted by amount, resolution 1",
            "Blondel et al. 2008; Staudt & Meyerhenke 2016",
            _NO_EDGE,
        ),
        _network(
            "p2_community_within_share_90d_ratio",
            "Share of the client's flow that stays in its community.",
            "flow with members of the same Louvain community / flow",
            "Blondel et al. 2008",
            "no flow in the window",
        ),
        _network(
            "p2_first_seen_30d_count",
            "Counterparties the client had never dealt with before, last 30 days.",
            "counterparties with a visible row in [D − 30d, D) whose first row became known in that time",
            "FINTRAC, Project ATHENA 2019: many new depositors",
            _UNKNOWN,
        ),
        *(
            _network(
                f"p2_first_seen_share_{days}d_ratio",
                f"Share of the last {days} days' counterparties the client had never dealt with before.",
                f"first-seen counterparties / counterparties with a visible row in [D − {days}d, D); near 1 in the "
                "first weeks of the data",
                "FINTRAC, Project ATHENA 2019",
                "no counterparty with a known first date in the window",
            )
            for days in (30, 90)
        ),
        _network(
            "p2_first_seen_amount_share_30d_ratio",
            "Share of the last 30 days' money that moved with counterparties never dealt with before.",
            "amount with first-seen counterparties / amount with counterparties, both directions",
            "FINTRAC, Project ATHENA 2019",
            "no amount with a counterparty of known first date in the window",
        ),
        feature(
            "p2_country_distinct_90d_count",
            "Distinct counterparty countries.",
            "distinct counterparty_country over visible rows in [D − 90d, D)",
            null_rule="no visible row of the client in the window has a country",
            requires=_NEEDS_COUNTRY,
        ),
        feature(
            "p2_country_risk_weighted_90d_value",
            "Distinct counterparty countries, each weighted by its risk points.",
            "Σ over distinct countries of points: FATF black fatf_black_points (3), EU high-risk "
            "eu_high_risk_points (2), FATF grey fatf_grey_points (1), OFAC, UN or UK programme sanctions_points "
            "(1); the highest counts, 0 otherwise",
            null_rule="no visible row of the client in the window has a listed country code",
            source=_FATF,
            requires=_NEEDS_COUNTRY,
            minimum=0.0,
        ),
        feature(
            "p2_country_risk_mean_90d_value",
            "Average risk points of the countries money came from or went to, weighted by amount.",
            "Σ amount × points / Σ amount over visible rows with a country in the jurisdiction table",
            null_rule="no amount in the window has a listed country code",
            source=_FATF,
            requires=_NEEDS_COUNTRY,
            minimum=0.0,
        ),
        feature(
            "p2_country_high_risk_amount_share_90d_ratio",
            "Share of the money that moved with countries on a FATF or EU high-risk list.",
            "amount with countries on the FATF black, FATF grey or EU high-risk list / amount with known countries",
            null_rule="no amount in the window has a listed country code",
            source=_FATF,
            requires=_NEEDS_COUNTRY,
        ),
        _exposure(
            "p2_blacklist_1hop_90d_count",
            "Blacklisted parties the client dealt with directly.",
            "parties listed before D at a distance of 1 on payments, either direction",
        ),
        _exposure(
            "p2_blacklist_1hop_share_90d_ratio",
            "Share of the client's flow that was with blacklisted parties.",
            "flow with parties listed before D / flow",
            "no flow in the window",
        ),
        _exposure(
            "p2_blacklist_2hop_90d_count",
            "Blacklisted parties reached through one shared party.",
            "parties listed before D at a distance of exactly 2",
        ),
        _exposure(
            "p2_blacklist_2hop_share_90d_ratio",
            "Share of the client's flow with parties that in turn deal with a blacklisted one.",
            "flow with unlisted parties that have a payment with a listed party other than the client / flow",
            "no flow in the window",
        ),
        _exposure(
            "p2_blacklist_2hop_flow_90d_ratio",
            "The same, each shared party counted by how much of its own flow touches blacklisted ones.",
            "Σ over those parties of (share of the client's flow) × (share of the party's flow with listed parties)",
            "no flow in the window",
        ),
        _exposure(
            "p2_blacklist_distance_90d_hops",
            "Payments between the client and the nearest blacklisted party; 0 where it is itself listed.",
            "length of the shortest path, either direction; the path itself: graph.exposure_path",
            "no party listed before D within blacklist_max_hops",
        ),
        *_CYCLES,
        _network(
            "p2_cycle_retained_max_90d_ratio",
            "How completely the amount came round in the client's best-kept cycle.",
            "largest (smallest / largest payment) over the client's temporal cycles",
            "Kumar & Calders 2018",
            "no temporal cycle through the client",
        ),
        _network(
            "p2_cycle_capped_90d_count",
            "Payments of the client whose search for cycles was cut short.",
            "starting payments that reached cycle_steps_per_start; the client's cycle counts are then lower bounds",
        ),
        _network(
            "p2_fan_in_width_90d_count",
            "Most distinct payers within a few days.",
            "most distinct payers in any pattern_window_days of [D − 90d, D)",
            _ALTMAN,
        ),
        _network(
            "p2_fan_out_width_90d_count",
            "Most distinct payees within a few days.",
            "most distinct payees in any pattern_window_days of [D − 90d, D)",
            _ALTMAN,
        ),
        _network(
            "p2_gather_scatter_width_90d_count",
            "Width of a fan-in that was followed at once by a fan-out.",
            "largest k: at some t, ≥ k payers in [t − δ, t] and ≥ k payees in (t, t + δ], δ = pattern_window_days",
            _ALTMAN,
        ),
        _network(
            "p2_scatter_gather_source_width_90d_count",
            "Intermediaries through which the client's money came together again at one party.",
            "most intermediaries to one final payee, both payments within pattern_window_days of each other; "
            "parties over pattern_hub_degree left out",
            _ALTMAN,
        ),
        _network(
            "p2_scatter_gather_middle_width_90d_count",
            "Intermediaries, this client among them, between one payer and one final payee.",
            "widest scatter-gather with the client as intermediary, both payments within pattern_window_days of each "
            "other; parties over pattern_hub_degree left out",
            _ALTMAN,
        ),
        _network(
            "p2_scatter_gather_sink_width_90d_count",
            "Intermediaries through which one payer's money came together at this client.",
            "most intermediaries from one payer, both payments within pattern_window_days of each other; "
            "parties over pattern_hub_degree left out",
            _ALTMAN,
        ),
        _network(
            "p2_bipartite_30d_count",
            "Times two payers both paid the same two payees, this client among the four.",
            "2×2 bicliques through the client in [D − 30d, D), parties over pattern_hub_degree left out",
            f"{_ALTMAN}; Sanei-Mehri et al. 2018 (butterflies)",
        ),
        _network(
            "p2_stack_30d_count",
            "Times money crossed two full layers of two parties each, this client among the six.",
            "2×2×2 stacked bicliques through the client in [D − 30d, D), parties over pattern_hub_degree left out",
            _ALTMAN,
        ),
        _network(
            "p2_chain_length_max_90d_count",
            "Longest chain of parties that passed nearly the same amount on, this client among them.",
            "payments in the longest chain, each within cycle_window_days and chain_amount_tolerance_ratio of the "
            "one before; at most chain_max_length",
            "Altman et al. 2023: stack and random walk as generated",
        ),
    ),
)
"""Grain, columns and rules of ``features.feat_p2_network``."""

_JURISDICTION_FLAGS: Final = ("fatf_black", "fatf_grey", "eu_high_risk", "ofac", "un_sc", "uk_sc")


def jurisdiction_points(jurisdictions: pl.DataFrame, config: FeatureConfig) -> pl.DataFrame:
    """Risk points of each country.

    Parameters
    ----------
    jurisdictions : ``iso2`` and boolean flags ``fatf_black, fatf_grey, eu_high_risk, ofac, un_sc, uk_sc`` (an
        ``is_`` before the name is accepted); a missing flag counts as false for all.
    config : the points of each list.

    Returns
    -------
    One row per country, sorted: ``iso2``, ``points`` (the highest of its lists), ``is_high_risk`` (on a FATF or
    EU list).

    Raises
    ------
    ValueError : no ``iso2``, none of the flags, or a country twice.
    """
    renamed = jurisdictions.rename({c: c.removeprefix("is_") for c in jurisdictions.columns})
    known = [c for c in _JURISDICTION_FLAGS if c in renamed.columns]
    if "iso2" not in renamed.columns or not known:
        raise ValueError(
            f"jurisdictions need iso2 and flags ({', '.join(_JURISDICTION_FLAGS)}), not {jurisdictions.columns}"
        )
    if renamed["iso2"].is_duplicated().any():
        doubled = sorted(set(renamed["iso2"].filter(renamed["iso2"].is_duplicated())))
        raise ValueError(f"jurisdictions hold a country twice: {', '.join(doubled)}")
    points = {
        "fatf_black": config.fatf_black_points,
        "fatf_grey": config.fatf_grey_points,
        "eu_high_risk": config.eu_high_risk_points,
        "ofac": config.sanctions_points,
        "un_sc": config.sanctions_points,
        "uk_sc": config.sanctions_points,
    }
    flags = {c: pl.col(c).cast(pl.Boolean).fill_null(False) for c in known}
    on_list = [flags[c] for c in known if c in ("fatf_black", "fatf_grey", "eu_high_risk")]
    return renamed.select(
        "iso2",
        points=pl.max_horizontal([flags[c].cast(pl.Float64) * points[c] for c in known]),
        is_high_risk=pl.any_horizontal(on_list) if on_list else pl.lit(False),
    ).sort("iso2")


def build(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    *,
    first_seen: pl.DataFrame,
    jurisdictions: pl.DataFrame,
    has_blacklist: bool = True,
) -> pl.DataFrame:
    """P2 features of every (client, as-of date) of the spine.

    Parameters
    ----------
    history : cleaned transactions of the whole bank: a client's features need its neighbours' rows.
    spine : pairs asked for.
    config : windows, bounds and points.
    first_seen : client_id, counterparty_id, first_known_date; a pair that is not in it counts neither as new
        nor as old.
    jurisdictions : as in :func:`jurisdiction_points`.
    has_blacklist : whether the source has a blacklist at all; without one, exposure is null and not zero.

    Returns
    -------
    ``CONTRACT``'s columns, one row per pair, sorted.
    """
    nodes = graphs.index_nodes(history)
    spine_node = _party_numbers(nodes, spine.client_id)
    first_known = _first_known(history, first_seen)
    points, is_high_risk = _country_risk(history, jurisdictions, config)
    short, middle, days = config.window_days

    def week(graph: graphs.WeekGraph, at: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        as_of_day = graph.as_of_day
        rows = graphs.window_rows(history, as_of_day, days)
        own = spine.client[at]
        is_silent = _is_silent(history, rows, own)
        position = graph.positions(spine_node[at])
        found = _network_features(graph, position, is_silent & (position < 0), (short, middle), config)
        recent = rows[history.at[rows] >= (as_of_day - middle) * DAY_US]
        new, share, amount_share = _first_seen(history, recent, own, first_known, as_of_day - middle)
        found["p2_first_seen_30d_count"] = np.where(is_silent, np.nan, new)
        found["p2_first_seen_share_30d_ratio"] = share
        found["p2_first_seen_amount_share_30d_ratio"] = amount_share
        found["p2_first_seen_share_90d_ratio"] = _first_seen(history, rows, own, first_known, as_of_day - days)[1]
        return found | _country_features(history, rows, own, points, is_high_risk)

    columns = week_by_week(history, spine, nodes, days, [c.name for c in CONTRACT.features], week)
    if not has_blacklist:
        for name in columns:
            if name.startswith("p2_blacklist_"):
                columns[name][:] = np.nan
    values = [pl.Series(name, column).fill_nan(None) for name, column in columns.items()]
    return CONTRACT.conform(spine.frame().with_columns(values))


def week_by_week(
    history: History,
    spine: Spine,
    nodes: graphs.NodeIndex,
    days: int,
    names: list[str],
    features: Callable[[graphs.WeekGraph, NDArray[np.int64]], dict[str, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """Columns read from the graph of each week of the spine, several weeks at a time.

    Parameters
    ----------
    history, nodes : cleaned transactions and :func:`graphs.index_nodes` of them.
    spine : pairs asked for.
    days : window of the graphs.
    names : columns to keep.
    features : the columns of one week, from its graph and the positions of its pairs in the spine, one element per
        such pair; called from several threads.

    Returns
    -------
    Arrays of shape (pairs,), in the spine's order, the same bytes however many threads.
    """
    columns = {name: np.full(len(spine), np.nan) for name in names}
    weeks = np.unique(spine.as_of_day).tolist()
    payments = graphs.arrange_payments(history, nodes, weeks[0] - days, weeks[-1]) if weeks else None

    def one(as_of_day: int) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        at = np.flatnonzero(spine.as_of_day == as_of_day)
        return at, features(graphs.build_week_graph(history, nodes, as_of_day, days, payments), at)

    # a week looks at no other, and nearly all its time is in kernels that let go of the interpreter's lock
    for at, week in Parallel(n_jobs=cpu_count(), prefer="threads", return_as="generator")(
        delayed(one)(as_of_day) for as_of_day in weeks
    ):
        for name in names:
            columns[name][at] = week[name]
    return columns


def _party_numbers(nodes: graphs.NodeIndex, client_ids: pl.Series) -> NDArray[np.int64]:
    """Numbers of clients in ``nodes``, -1 where a client occurs in no row, not even as a counterparty."""
    numbered = pl.DataFrame(
        {"id": pl.Series(list(nodes.ids), dtype=pl.String), "node": np.arange(len(nodes.ids), dtype=np.int64)}
    )
    found = pl.DataFrame({"id": client_ids}).join(numbered, on="id", how="left", maintain_order="left")["node"]
    return found.fill_null(-1).to_numpy().astype(np.int64)


def _is_silent(history: History, rows: NDArray[np.int64], own: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Per spine row: has the client rows in the window, none of which names a counterparty."""
    named = rows[history.counterparty.codes[rows] >= 0]
    n = len(history.clients)
    count = _read(np.bincount(history.client[rows], minlength=n).astype(np.float64), own, 0.0)
    known = _read(np.bincount(history.client[named], minlength=n).astype(np.float64), own, 0.0)
    return (count > 0) & (known == 0)


def _read(values: NDArray[np.float64], at: NDArray[np.integer], missing: float) -> NDArray[np.float64]:
    """``values[at]`` with ``missing`` where ``at`` is negative."""
    if not len(values):
        return np.full(len(at), missing)
    return np.where(at >= 0, values[np.maximum(at, 0)], missing)


def _network_features(
    graph: graphs.WeekGraph,
    position: NDArray[np.int64],
    is_unknown: NDArray[np.bool_],
    recent_days: tuple[int, int],
    config: FeatureConfig,
) -> dict[str, NDArray[np.float64]]:
    """Graph measures read at the clients' positions (-1: not in the graph); names as in the contract."""
    short, middle = recent_days
    vertex = graphs.vertex_statistics(graph, recent_days)
    payment = graphs.payment_statistics(graph)
    triangle = graphs.clustering(graph)
    community = graphs.communities(graph, config.graph_seed)
    listed = graphs.blacklist_exposure(graph, config.blacklist_max_hops)
    cycle = patterns.temporal_cycles(
        graph, config.cycle_window_days, config.cycle_max_length, config.cycle_steps_per_start
    )
    fan = patterns.fans(graph, config.pattern_window_days)
    scatter = patterns.scatter_gather(graph, config.pattern_window_days, config.pattern_hub_degree)
    layer = patterns.layers(graph, middle, config.pattern_hub_degree)
    chain = patterns.chains(
        graph,
        config.cycle_window_days,
        config.chain_amount_tolerance_ratio,
        config.chain_max_length,
        config.chain_steps_per_payment,
    )
    rank = graphs.pagerank(graph, config.pagerank_damping_ratio, config.pagerank_tolerance)
    origin = graphs.pagerank(graph, config.pagerank_damping_ratio, config.pagerank_tolerance, reverse=True)
    hops = listed["hops"].to_numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mutual = (vertex["mutual"] / vertex["neighbours"]).to_numpy()

    zero_without_edge: dict[str, pl.Series | NDArray[np.generic]] = {
        "p2_triangle_90d_count": triangle["triangles"],
        "p2_core_number_90d_count": graphs.core_number(graph),
        "p2_blacklist_1hop_90d_count": listed["listed_1hop"],
        "p2_blacklist_2hop_90d_count": listed["listed_2hop"],
        "p2_cycle_capped_90d_count": cycle["cycle_capped"],
        "p2_fan_in_width_90d_count": fan["fan_in"],
        "p2_fan_out_width_90d_count": fan["fan_out"],
        "p2_gather_scatter_width_90d_count": fan["gather_scatter"],
        "p2_scatter_gather_source_width_90d_count": scatter["scatter_gather_source"],
        "p2_scatter_gather_middle_width_90d_count": scatter["scatter_gather_middle"],
        "p2_scatter_gather_sink_width_90d_count": scatter["scatter_gather_sink"],
        "p2_bipartite_30d_count": layer["bipartite"],
        "p2_stack_30d_count": layer["stack"],
        "p2_chain_length_max_90d_count": chain["chain"],
    }
    null_without_edge: dict[str, pl.Series | NDArray[np.generic]] = {
        "p2_reciprocal_share_90d_ratio": mutual,
        "p2_client_flow_share_90d_ratio": vertex["client_share"],
        "p2_neighbour_degree_90d_mean": vertex["neighbour_degree"],
        "p2_pagerank_90d_ratio": rank,
        "p2_pagerank_relative_90d_factor": rank * len(graph),
        "p2_pagerank_reverse_relative_90d_factor": origin * len(graph),
        "p2_betweenness_90d_ratio": graphs.betweenness(graph, config.betweenness_pivots, config.graph_seed),
        "p2_clustering_90d_ratio": triangle["clustering"],
        "p2_community_size_90d_count": community["community_size"],
        "p2_community_within_share_90d_ratio": community["within_share"],
        "p2_blacklist_1hop_share_90d_ratio": listed["share_1hop"],
        "p2_blacklist_2hop_share_90d_ratio": listed["share_2hop"],
        "p2_blacklist_2hop_flow_90d_ratio": listed["flow_2hop"],
        "p2_blacklist_distance_90d_hops": np.where(hops < 0, np.nan, hops),
        "p2_cycle_retained_max_90d_ratio": cycle["cycle_retained"],
    }
    for side in ("in", "out"):
        zero_without_edge |= {
            f"p2_degree_{side}_7d_count": vertex[f"{side}_degree_{short}d"],
            f"p2_degree_{side}_30d_count": vertex[f"{side}_degree_{middle}d"],
            f"p2_degree_{side}_90d_count": vertex[f"{side}_degree"],
            f"p2_strength_{side}_sum_90d_base": vertex[f"{side}_sum"],
        }
        null_without_edge |= {
            f"p2_counterparty_{side}_hhi_90d_ratio": vertex[f"{side}_hhi"],
            f"p2_counterparty_{side}_share_max_90d_ratio": vertex[f"{side}_max_share"],
            f"p2_counterparty_{side}_mean_90d_base": vertex[f"{side}_mean"],
            f"p2_counterparty_{side}_std_90d_base": vertex[f"{side}_std"],
            f"p2_payment_{side}_skewness_90d_value": payment[f"{side}_payment_skewness"],
            f"p2_payment_{side}_kurtosis_90d_value": payment[f"{side}_payment_kurtosis"],
        }
    for k in range(2, patterns.LONGEST_CYCLE + 1):
        zero_without_edge[f"p2_cycle_length{k}_90d_count"] = cycle[f"cycle_{k}"]

    out = {}
    for missing, group in ((0.0, zero_without_edge), (np.nan, null_without_edge)):
        for name, values in group.items():
            found = _read(np.asarray(values, dtype=np.float64), position, missing)
            out[name] = np.where(is_unknown, np.nan, found)
    return out


def _first_known(history: History, first_seen: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys ``client code × counterparty codes + counterparty code``, sorted, and the day each pair became known."""

    def number(column: str, values: NDArray[np.object_]) -> pl.Expr:
        # through an enumeration, as histories encode: half the time of a join
        ids = pl.Enum(pl.Series(list(values), dtype=pl.String))
        return pl.col(column).cast(ids, strict=False).to_physical().cast(pl.Int64)

    counterparties = history.counterparty.values
    pairs = first_seen.select(
        key=number("client_id", history.clients) * len(counterparties) + number("counterparty_id", counterparties),
        day=pl.col("first_known_date").cast(pl.Date).to_physical().cast(pl.Int64),
    ).drop_nulls()
    if not (pairs["key"].diff().drop_nulls() > 0).all():  # the warehouse gives each pair once and in order
        pairs = pairs.group_by("key").agg(pl.col("day").min()).sort("key")
    return pairs["key"].to_numpy(), pairs["day"].to_numpy()


def _totals(key: NDArray[np.int64], cents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys, sorted, and the cents of each."""
    order = np.argsort(key, kind="stable")
    key, cents = key[order], cents[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.empty(0, np.int64)
    return key[first], np.add.reduceat(cents, first) if len(first) else np.empty(0, np.int64)


def _sum_by(party: NDArray[np.int64], values: NDArray[np.generic], n: int) -> NDArray[np.float64]:
    """Sums per party; exact and free of order, as the values are whole numbers."""
    return np.bincount(party, weights=values.astype(np.float64), minlength=n).astype(np.float64)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _first_seen(
    history: History,
    rows: NDArray[np.int64],
    own: NDArray[np.int32],
    first_known: tuple[NDArray[np.int64], NDArray[np.int64]],
    from_day: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per spine row: counterparties of the visible ``rows`` whose pair became known on ``from_day`` or later.

    Their number, their share of the counterparties, and their share of the amount.
    """
    codes, values = history.counterparty.codes, max(len(history.counterparty.values), 1)
    rows = rows[codes[rows] >= 0]
    cents = np.rint(history.amount[rows] * 100).astype(np.int64)
    key, total = _totals(history.client[rows].astype(np.int64) * values + codes[rows], cents)
    keys, known_day = first_known
    at = np.minimum(np.searchsorted(keys, key), max(len(keys) - 1, 0))
    is_dated = keys[at] == key if len(keys) else np.zeros(len(key), dtype=np.bool_)
    key, total, at = key[is_dated], total[is_dated], at[is_dated]
    is_new = known_day[at] >= from_day
    client, n = key // values, len(history.clients)
    new, all_ = _sum_by(client, is_new, n), _sum_by(client, np.ones(len(key)), n)
    amount = _share(_sum_by(client, np.where(is_new, total, 0), n), _sum_by(client, total, n))
    return _read(new, own, 0.0), _read(_share(new, all_), own, np.nan), _read(amount, own, np.nan)


def _country_risk(
    history: History, jurisdictions: pl.DataFrame, config: FeatureConfig
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points per country code (NaN where the country is not in the table), and whether it is on a high-risk list."""
    codes = pl.DataFrame({"iso2": pl.Series(list(history.country.values), dtype=pl.String)})
    found = codes.join(jurisdiction_points(jurisdictions, config), on="iso2", how="left", maintain_order="left")
    points = found["points"].fill_null(np.nan).to_numpy().astype(np.float64)
    return points, found["is_high_risk"].fill_null(False).to_numpy().astype(np.bool_)


def _country_features(
    history: History,
    rows: NDArray[np.int64],
    own: NDArray[np.int32],
    points: NDArray[np.float64],
    is_high_risk: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """Distinct and risk-weighted countries over the visible ``rows``."""
    codes, values, n = history.country.codes, max(len(history.country.values), 1), len(history.clients)
    rows = rows[codes[rows] >= 0]
    cents = np.rint(history.amount[rows] * 100).astype(np.int64)
    key, total = _totals(history.client[rows].astype(np.int64) * values + codes[rows], cents)
    client, country = key // values, key % values
    distinct = _sum_by(client, np.ones(len(key)), n)
    is_rated = np.isfinite(points[country]) if len(points) else np.zeros(0, dtype=np.bool_)
    client, country, total = client[is_rated], country[is_rated], total[is_rated]
    rated = _sum_by(client, np.ones(len(client)), n)
    amount = _sum_by(client, total, n)
    weighted = np.where(rated > 0, _sum_by(client, points[country], n), np.nan)
    out = {
        "p2_country_distinct_90d_count": np.where(distinct > 0, distinct, np.nan),
        "p2_country_risk_weighted_90d_value": weighted,
        "p2_country_risk_mean_90d_value": _share(_sum_by(client, total * points[country], n), amount),
        "p2_country_high_risk_amount_share_90d_ratio": _share(
            _sum_by(client, np.where(is_high_risk[country], total, 0), n), amount
        ),
    }
    return {name: _read(column, own, np.nan) for name, column in out.items()}
