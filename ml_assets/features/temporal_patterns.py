"""Laundering patterns in the order of payments: cycles, fans, gathers, scatters, layers and chains.

Rule of this file: what needs the time of payments or more than one hop of direction; every function takes one
:class:`~ml_assets.features.graph.WeekGraph` and returns one row per party, in the graph's order. A party is a
**member** of a pattern when it is one of its nodes. "Within δ" means that the latest payment of the pattern is
at most δ after its earliest.

The shapes are those of AMLworld (Altman et al. 2023, "Realistic Synthetic Financial Transactions for
Anti-Money Laundering Models", fig. 2) and of the Graph Feature Preprocessor (Blanuša et al. 2024); their static
subgraphs are in Egressy et al. 2024 ("Provably Powerful Graph Neural Networks for Directed Multigraphs").
Temporal cycles follow Kumar & Calders 2018 ("2SCENT"). Where a definition leaves room, the docstring says what
was chosen and why. Searches that could explode at hubs are bounded by configuration; each docstring states the
bound, and cycles also count the searches it cut.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit
from scipy import sparse
from scipy.sparse import csgraph

from ml_assets.features.graph import WeekGraph
from ml_assets.features.history import DAY_US

LONGEST_CYCLE = 6
"""Most payments in a cycle that the search supports."""


def temporal_cycles(graph: WeekGraph, window_days: int, max_length: int, steps_per_start: int) -> pl.DataFrame:
    """Membership in temporal cycles of 2 to ``max_length`` payments.

    A temporal cycle is a sequence of payments e1 … ek in which each payee is the next payer, the last payee is
    the first payer, no other party occurs twice, times strictly increase, and all lie within ``window_days``.
    Amounts do not matter to the count. Two payments at the same instant have no order, so where only dates are
    known a cycle takes at least one day per payment. Every sequence of payments counts once, at its earliest
    payment; parallel payments make several cycles.

    The Graph Feature Preprocessor counts otherwise, and its numbers are lower where parties pay each other more
    than once: to each payment it gives the number of different pairs (closing payment, sequence of parties) among
    the cycles the payment is on, so that parallel payments on the way are one bundle and only parallel closing
    payments count one by one. It knows no longest length, its window includes payments exactly ``window`` apart as
    ours does, and it forgets payments older than its ``time_window`` even while it is asked about them. Where no
    ordered pair pays twice, both counts are the same; tests and benchmark hold both to one plain enumerator.

    The search is depth first from each payment, inside strongly connected components, one length after the
    other, and looks at ``steps_per_start`` payments at most per starting payment: cycles found until then count,
    so that a cut costs the longest cycles first. Cycles of 2 are always exact.

    Returns
    -------
    One row per node: ``cycle_2`` … ``cycle_6`` (cycles of that length the party is a member of; 0 above
    ``max_length``), ``cycle_retained`` (over its cycles, the largest quotient of smallest over largest payment:
    1 where the same amount went round; NaN without a cycle), ``cycle_capped`` (starting payments of the party
    whose search was cut: its counts, and those of parties on the cut cycles, are then lower bounds).

    Raises
    ------
    ValueError : ``max_length`` is not within 2 to 6.
    """
    if not 2 <= max_length <= LONGEST_CYCLE:
        raise ValueError(f"cycles have 2 to {LONGEST_CYCLE} payments, not {max_length}")
    n = len(graph)
    incoming, outgoing = graph.in_events, graph.out_events
    pairs = sparse.coo_array((np.ones(len(graph.pair_source)), (graph.pair_source, graph.pair_target)), shape=(n, n))
    component = (
        csgraph.connected_components(pairs.tocsr(), directed=True, connection="strong")[1] if n else np.empty(0)
    ).astype(np.int32)
    moment, last = _moments_of(graph.event_at, graph.time_order, window_days * DAY_US)
    counts, retained, capped = _cycles(
        outgoing.start,
        _steps(outgoing.start, moment[outgoing.event], outgoing.other, component),
        outgoing.cents,
        last,
        incoming.start,
        moment[incoming.event],
        incoming.other,
        graph.out_start,
        graph.pair_target,
        graph.pair_start,
        graph.in_start,
        graph.pair_source[graph.in_order],
        moment,
        graph.event_cents,
        component,
        max_length,
        steps_per_start,
    )
    return pl.DataFrame(
        {f"cycle_{k}": counts[k] for k in range(2, LONGEST_CYCLE + 1)}
        | {"cycle_retained": retained, "cycle_capped": capped}
    )


@njit(cache=True, nogil=True)
def _after(at, low, high, moment):  # type: ignore[no-untyped-def]
    """First position in ``at[low:high]`` (sorted) later than ``moment``."""
    while low < high:
        middle = (low + high) // 2
        if at[middle] <= moment:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _moments_of(at, order, span):  # type: ignore[no-untyped-def]
    """Times as numbers without gaps, equal times alike; and per number that of the last time within ``span`` of it."""
    moment = np.empty(len(at), dtype=np.int32)
    last = np.empty(len(at), dtype=np.int32)
    first = np.empty(len(at), dtype=np.int64)
    moments = 0
    behind = 0
    for e in order:
        if moments == 0 or at[e] > first[moments - 1]:
            while behind < moments and first[behind] + span < at[e]:
                last[behind] = moments - 1
                behind += 1
            first[moments] = at[e]
            moments += 1
        moment[e] = moments - 1
    last[behind:moments] = moments - 1
    return moment, last[:moments]


@njit(cache=True, nogil=True)
def _steps(start, moment, to, component):  # type: ignore[no-untyped-def]
    """What a search reads of each payment (by payer and time), side by side in memory: a step is one cache line.

    Moment, payee (-1 where its money cannot come back to the payer), the payee's first later payment, and the end of
    the payee's payments.
    """
    steps = np.empty((len(to), 4), dtype=np.int32)
    for v in range(len(start) - 1):
        for e in range(start[v], start[v + 1]):
            w = to[e]
            steps[e, 0] = moment[e]
            steps[e, 1] = w if component[w] == component[v] else -1
            steps[e, 2] = _after(moment, start[w], start[w + 1], moment[e])
            steps[e, 3] = start[w + 1]
    return steps


@njit(cache=True, nogil=True)
def _cycles(  # type: ignore[no-untyped-def]
    o_start, o_step, o_cents, last, i_start, i_moment, i_from, p_start, p_to, p_event, q_start, q_from, p_moment,
    p_cents, component, longest, most_steps,
):  # fmt: skip
    """Search for temporal cycles from each payment, length by length; see :func:`temporal_cycles`.

    ``o_`` and ``i_`` are payments by payer and by payee in time order, ``p_`` ordered pairs by payer with their
    payments, ``q_`` the payers of each payee; times are moments, see :func:`_moments_of`. The last payment of a cycle
    is looked up by its pair, and the one before only enters parties that still pay the root later, so a step is a
    payment looked at, not a cycle found. Most steps are payments before the last: where their payer pays nobody who
    pays the root, they are only counted.
    """
    n = len(o_start) - 1
    counts = np.zeros((7, n), dtype=np.int64)
    retained = np.full(n, np.nan)
    capped = np.zeros(n, dtype=np.int64)
    on_path = np.zeros(n, dtype=np.bool_)
    # latest payment from a party straight to the root, valid where returns[v] is the root
    returns = np.full(n, -1, dtype=np.int32)
    returns_at = np.zeros(n, dtype=np.int32)
    # leads[v] is the root: v pays some party of ``returns``
    leads = np.full(n, -1, dtype=np.int32)
    path = np.empty(8, dtype=np.int64)
    made = np.empty(8, dtype=np.int64)  # payment that led to each party of the path
    cursor = np.empty(8, dtype=np.int64)
    for root in range(n):
        back = i_start[root]
        path[0] = root
        on_path[root] = True
        for first in range(o_start[root], o_start[root + 1]):
            begin = o_step[first, 0]
            end = last[begin]
            # payments of this root are in time order, so the window only moves on
            while back < i_start[root + 1] and i_moment[back] <= end:
                payer = i_from[back]
                if returns[payer] != root and component[payer] == component[root]:
                    for q in range(q_start[payer], q_start[payer + 1]):
                        leads[q_from[q]] = root
                returns[payer] = root
                returns_at[payer] = i_moment[back]
                back += 1
            v = o_step[first, 1]
            if v < 0 or back == i_start[root] or i_moment[back - 1] <= begin:
                continue
            steps = 0
            path[1] = v
            made[1] = first
            on_path[v] = True
            if returns[v] == root and returns_at[v] > begin:
                _close(1, path, made, o_step, o_cents, end, p_start, p_to, p_event, p_moment, p_cents, counts, retained)
            goes_on = True
            for length in range(3, longest + 1):
                if not goes_on:
                    break
                goes_on = False  # until a path of length - 1 payments exists at all
                depth = 1  # payments made so far
                cursor[1] = o_step[first, 2]
                while depth > 0:
                    e = cursor[depth]
                    stop = np.int64(o_step[made[depth], 3])
                    is_cut = False
                    if depth + 2 == length:
                        # all payments that could be the last but one, as far as steps allow
                        limit = min(stop, e + most_steps - steps)
                        f = e
                        while f < limit and o_step[f, 0] <= end:
                            if not goes_on and o_step[f, 1] >= 0 and not on_path[o_step[f, 1]]:
                                goes_on = True
                            f += 1
                        steps += f - e
                        is_cut = f == limit and limit < stop and o_step[limit, 0] <= end
                        if leads[path[depth]] == root:
                            for g in range(e, f):
                                w = o_step[g, 1]
                                if w >= 0 and returns[w] == root and returns_at[w] > o_step[g, 0] and not on_path[w]:
                                    path[depth + 1] = w
                                    made[depth + 1] = g
                                    _close(
                                        depth + 1, path, made, o_step, o_cents, end, p_start, p_to, p_event, p_moment,
                                        p_cents, counts, retained,
                                    )  # fmt: skip
                    elif e < stop and o_step[e, 0] <= end:
                        if steps < most_steps:
                            steps += 1
                            cursor[depth] = e + 1
                            w = o_step[e, 1]
                            if w >= 0 and not on_path[w]:
                                depth += 1
                                path[depth] = w
                                made[depth] = e
                                on_path[w] = True
                                cursor[depth] = o_step[e, 2]
                            continue
                        is_cut = True
                    if is_cut:
                        while depth > 1:
                            on_path[path[depth]] = False
                            depth -= 1
                        goes_on = False
                        capped[root] += 1
                        break
                    if depth > 1:
                        on_path[path[depth]] = False
                    depth -= 1
            on_path[v] = False
        on_path[root] = False
    return counts, retained, capped


@njit(cache=True, nogil=True)
def _close(  # type: ignore[no-untyped-def]
    depth, path, made, o_step, o_cents, end, p_start, p_to, p_event, p_moment, p_cents, counts, retained
):
    """Count every payment from ``path[depth]`` to the root until ``end`` as a cycle of the path's parties."""
    root = path[0]
    low, high = p_start[path[depth]], p_start[path[depth] + 1]
    while low < high:
        middle = (low + high) // 2
        if p_to[middle] < root:
            low = middle + 1
        else:
            high = middle
    small = large = o_cents[made[1]]
    for i in range(2, depth + 1):
        small = min(small, o_cents[made[i]])
        large = max(large, o_cents[made[i]])
    e = _after(p_moment, p_event[low], p_event[low + 1], o_step[made[depth], 0])
    found = 0
    kept = -1.0
    while e < p_event[low + 1] and p_moment[e] <= end:
        found += 1
        most = max(large, p_cents[e])
        kept = max(kept, min(small, p_cents[e]) / most if most > 0 else 1.0)
        e += 1
    if found:
        for i in range(depth + 1):
            counts[depth + 1, path[i]] += found
            if not retained[path[i]] >= kept:
                retained[path[i]] = kept


def fans(graph: WeekGraph, window_days: int) -> pl.DataFrame:
    """Widest fan-in, fan-out and gather-scatter within a sliding window δ = ``window_days``.

    One row per node. ``fan_in`` and ``fan_out``: the most distinct payers (payees) of the party within δ.
    ``gather_scatter``: the largest k such that at some moment t the party was paid by at least k parties in
    [t − δ, t] and paid at least k parties in (t, t + δ]: a fan-in followed by a fan-out of one party
    (Altman et al. 2023), as wide as its narrower half. O(payments), no bound needed.
    """
    span = window_days * DAY_US
    incoming, outgoing = graph.in_events, graph.out_events
    pairs = len(graph.pair_source)
    return pl.DataFrame(
        {
            "fan_in": _widest(incoming.start, incoming.at, incoming.pair, pairs, span),
            "fan_out": _widest(outgoing.start, outgoing.at, outgoing.pair, pairs, span),
            "gather_scatter": _gather_scatter(
                incoming.start,
                incoming.at,
                incoming.pair,
                outgoing.start,
                outgoing.at,
                outgoing.pair,
                pairs,
                span,
            ),
        }
    )


@njit(cache=True, nogil=True)
def _widest(start, at, pair, pairs, span):  # type: ignore[no-untyped-def]
    """Most distinct pairs of each node in any window of ``span``; two pointers over its payments."""
    n = len(start) - 1
    widest = np.zeros(n, dtype=np.int64)
    inside = np.zeros(pairs, dtype=np.int32)
    for v in range(n):
        low, distinct = start[v], 0
        for high in range(start[v], start[v + 1]):
            if inside[pair[high]] == 0:
                distinct += 1
            inside[pair[high]] += 1
            while at[low] < at[high] - span:
                inside[pair[low]] -= 1
                if inside[pair[low]] == 0:
                    distinct -= 1
                low += 1
            widest[v] = max(widest[v], distinct)
        for e in range(low, start[v + 1]):
            inside[pair[e]] = 0
    return widest


@njit(cache=True, nogil=True)
def _gather_scatter(i_start, i_at, i_pair, o_start, o_at, o_pair, pairs, span):  # type: ignore[no-untyped-def]
    """Per node the best min(distinct payers in [t-span, t], distinct payees in (t, t+span]), t a receipt's time."""
    n = len(i_start) - 1
    best = np.zeros(n, dtype=np.int64)
    paid_by = np.zeros(pairs, dtype=np.int32)
    paying = np.zeros(pairs, dtype=np.int32)
    for v in range(n):
        low, gathered = i_start[v], 0
        out_low = out_high = o_start[v]
        scattered = 0
        for high in range(i_start[v], i_start[v + 1]):
            t = i_at[high]
            if paid_by[i_pair[high]] == 0:
                gathered += 1
            paid_by[i_pair[high]] += 1
            while i_at[low] < t - span:
                paid_by[i_pair[low]] -= 1
                if paid_by[i_pair[low]] == 0:
                    gathered -= 1
                low += 1
            while out_high < o_start[v + 1] and o_at[out_high] <= t + span:
                if paying[o_pair[out_high]] == 0:
                    scattered += 1
                paying[o_pair[out_high]] += 1
                out_high += 1
            while out_low < out_high and o_at[out_low] <= t:
                paying[o_pair[out_low]] -= 1
                if paying[o_pair[out_low]] == 0:
                    scattered -= 1
                out_low += 1
            best[v] = max(best[v], min(gathered, scattered))
        for e in range(low, i_start[v + 1]):
            paid_by[i_pair[e]] = 0
        for e in range(out_low, out_high):
            paying[o_pair[e]] = 0
    return best


def scatter_gather(graph: WeekGraph, window_days: int, hub_degree: int) -> pl.DataFrame:
    """Width of scatter-gather patterns by role: one payer, many intermediaries, one final payee.

    For payer u and final payee w ≠ u, an intermediary m counts if some payment u→m and some payment m→w are at
    most ``window_days`` apart. The width is the number of distinct intermediaries. The two payments may come in
    either order: intermediaries are often funded afterwards, and in the published AMLworld attempts about half
    the legs run that way. Parties that pay or are paid by more than ``hub_degree`` parties in the graph have no
    part in a pattern: everybody's customers meet again at the same shop. That bounds the work, too, at
    ``hub_degree`` steps per pair.

    One row per node: ``scatter_gather_source``, ``scatter_gather_middle``, ``scatter_gather_sink``, the widest
    pattern in which the party has that role. Width 1 is a mere chain of three parties.
    """
    is_hub = (np.diff(graph.out_start) > hub_degree) | (np.diff(graph.in_start) > hub_degree)
    source, middle, sink = _scatter_gather(
        graph.out_start,
        graph.pair_target,
        graph.pair_start,
        graph.event_at,
        window_days * DAY_US,
        is_hub,
    )
    return pl.DataFrame({"scatter_gather_source": source, "scatter_gather_middle": middle, "scatter_gather_sink": sink})


@njit(cache=True, nogil=True)
def _near(at, a, a_end, b, b_end, span):  # type: ignore[no-untyped-def]
    """Do the sorted times ``at[a:a_end]`` and ``at[b:b_end]`` hold two that are at most ``span`` apart."""
    while a < a_end and b < b_end:
        gap = at[a] - at[b]
        if -span <= gap <= span:
            return True
        if gap < 0:
            a += 1
        else:
            b += 1
    return False


@njit(cache=True, nogil=True)
def _scatter_gather(start, target, pair_start, at, span, is_hub):  # type: ignore[no-untyped-def]
    """Two passes per payer: count intermediaries per final payee, then hand each intermediary its widest count."""
    n = len(start) - 1
    source = np.zeros(n, dtype=np.int64)
    middle = np.zeros(n, dtype=np.int64)
    sink = np.zeros(n, dtype=np.int64)
    width = np.zeros(n, dtype=np.int64)
    reached = np.empty(n, dtype=np.int64)
    for u in range(n):
        if is_hub[u]:
            continue
        touched = 0
        widest = 0
        for step in range(2):
            if step == 1 and widest < 2:
                break
            for p in range(start[u], start[u + 1]):
                m = target[p]
                if is_hub[m]:
                    continue
                for q in range(start[m], start[m + 1]):
                    w = target[q]
                    if w == u or is_hub[w] or (step == 1 and width[w] <= middle[m]):
                        continue
                    if not _near(at, pair_start[p], pair_start[p + 1], pair_start[q], pair_start[q + 1], span):
                        continue
                    if step == 1:
                        middle[m] = width[w]
                        continue
                    middle[m] = max(middle[m], 1)
                    if width[w] == 0:
                        reached[touched] = w
                        touched += 1
                    width[w] += 1
                    widest = max(widest, width[w])
        source[u] = max(source[u], widest)
        for i in range(touched):
            w = reached[i]
            sink[w] = max(sink[w], width[w])
            width[w] = 0
    return source, middle, sink


def layers(graph: WeekGraph, recent_days: int, hub_degree: int) -> pl.DataFrame:
    """Membership in bipartite and stacked layers over the newest ``recent_days``.

    The graph here holds each ordered pair with a payment in ``[as_of - recent_days, as_of)``, less the pairs
    whose payer pays, or whose payee is paid by, more than ``hub_degree`` parties in that time: a landlord's or
    a shop's customers are no layer. One row per node:

    ``bipartite``: 2×2 bicliques (two payers that both pay the same two payees, "butterflies", Sanei-Mehri et
    al. 2018) of which the party is a payer or a payee: the smallest complete bipartite pattern of Altman et al.
    ``stack``: two bicliques one upon the other, 2×2×2 (two sources, both paying the same two intermediaries,
    both paying the same two sinks; all six parties distinct), of which the party is a member in any role.

    Work is at most ``hub_degree`` steps per pair, for each of the two directions.
    """
    n = len(graph)
    keep = graph.event_at[graph.pair_start[1:] - 1] >= (graph.as_of_day - recent_days) * DAY_US
    source, target = graph.pair_source[keep], graph.pair_target[keep]
    pays, paid = np.bincount(source, minlength=n), np.bincount(target, minlength=n)
    small = (pays[source] <= hub_degree) & (paid[target] <= hub_degree)
    source, target = source[small], target[small]
    out_start = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))]).astype(np.int64)
    in_start = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n))]).astype(np.int64)
    payer = source[np.argsort(target, kind="stable")]
    bipartite = _shared_pairs(out_start, target, in_start, payer) + _shared_pairs(in_start, payer, out_start, target)
    return pl.DataFrame({"bipartite": bipartite, "stack": _stacks(out_start, target, in_start, payer)})


@njit(cache=True, nogil=True)
def _shared_pairs(out_start, target, in_start, payer):  # type: ignore[no-untyped-def]
    """Per payee, the sum over other payees of (payers in common choose 2)."""
    n = len(out_start) - 1
    count = np.zeros(n, dtype=np.int64)
    common = np.zeros(n, dtype=np.int64)
    reached = np.empty(n, dtype=np.int64)
    for a in range(n):
        if in_start[a + 1] - in_start[a] < 2:
            continue
        touched = 0
        for i in range(in_start[a], in_start[a + 1]):
            s = payer[i]
            for j in range(out_start[s], out_start[s + 1]):
                b = target[j]
                if b == a:
                    continue
                if common[b] == 0:
                    reached[touched] = b
                    touched += 1
                common[b] += 1
        for i in range(touched):
            b = reached[i]
            count[a] += common[b] * (common[b] - 1) // 2
            common[b] = 0
    return count


@njit(cache=True, nogil=True)
def _common(start, other, a, b, skip_a, skip_b, out):  # type: ignore[no-untyped-def]
    """Sorted entries in both rows a and b but neither ``skip_a`` nor ``skip_b``, into ``out``; their number."""
    i, j, k = start[a], start[b], 0
    while i < start[a + 1] and j < start[b + 1]:
        if other[i] == other[j]:
            if other[i] != skip_a and other[i] != skip_b:
                out[k] = other[i]
                k += 1
            i += 1
            j += 1
        elif other[i] < other[j]:
            i += 1
        else:
            j += 1
    return k


@njit(cache=True, nogil=True)
def _stacks(out_start, target, in_start, payer):  # type: ignore[no-untyped-def]
    """2×2×2 stacks per node: found at each pair of intermediaries that share two payers and two payees."""
    n = len(out_start) - 1
    count = np.zeros(n, dtype=np.int64)
    common = np.zeros(n, dtype=np.int64)
    reached = np.empty(n, dtype=np.int64)
    sources = np.empty(n, dtype=np.int64)
    sinks = np.empty(n, dtype=np.int64)
    is_sink = np.zeros(n, dtype=np.bool_)
    for a in range(n):
        if in_start[a + 1] - in_start[a] < 2 or out_start[a + 1] - out_start[a] < 2:
            continue
        touched = 0
        for i in range(in_start[a], in_start[a + 1]):
            s = payer[i]
            for j in range(out_start[s], out_start[s + 1]):
                b = target[j]
                if b <= a or out_start[b + 1] - out_start[b] < 2:
                    continue
                if common[b] == 0:
                    reached[touched] = b
                    touched += 1
                common[b] += 1
        for t in range(touched):
            b = reached[t]
            enough = common[b] >= 2
            common[b] = 0
            if not enough:
                continue
            s_count = _common(in_start, payer, a, b, a, b, sources)
            w_count = _common(out_start, target, a, b, a, b, sinks)
            if s_count < 2 or w_count < 2:
                continue
            # a party that is source and sink at once may take one role at a time
            both = 0
            for i in range(w_count):
                is_sink[sinks[i]] = True
            for i in range(s_count):
                both += 1 if is_sink[sources[i]] else 0
            total = _choices(s_count, w_count, both)
            count[a] += total
            count[b] += total
            for i in range(s_count):
                s = sources[i]
                count[s] += _partnered(s_count, w_count, both, 1 if is_sink[s] else 0)
                if is_sink[s]:
                    count[s] += _partnered(w_count, s_count, both, 1)
                    is_sink[s] = False  # counted in both roles: the loop over sinks skips it
            for i in range(w_count):
                w = sinks[i]
                if is_sink[w]:
                    count[w] += _partnered(w_count, s_count, both, 0)
                    is_sink[w] = False
    return count


@njit(cache=True, nogil=True)
def _pairs_of(k):  # type: ignore[no-untyped-def]
    return k * (k - 1) // 2 if k > 1 else 0


@njit(cache=True, nogil=True)
def _partnered(own, other, both, dual):  # type: ignore[no-untyped-def]
    """Ways to choose a second party of the own side and two of the other, all distinct, given one own party."""
    rest_both = both - dual
    return (own - 1 - rest_both) * _pairs_of(other - dual) + rest_both * _pairs_of(other - dual - 1)


@njit(cache=True, nogil=True)
def _choices(sources, sinks, both):  # type: ignore[no-untyped-def]
    """Ways to choose two sources and two sinks, all distinct, when ``both`` parties are on both sides."""
    plain = sources - both
    return (
        _pairs_of(plain) * _pairs_of(sinks)
        + plain * both * _pairs_of(sinks - 1)
        + _pairs_of(both) * _pairs_of(sinks - 2)
    )


def chains(
    graph: WeekGraph, window_days: int, tolerance: float, max_length: int, steps_per_payment: int
) -> pl.DataFrame:
    """Longest layering chain through each party: payments passed on at nearly the same amount.

    A chain is a sequence of payments in which each payee is the next payer, each payment comes strictly later
    than the one before but at most ``window_days`` later, differs from it by at most ``tolerance`` of it, and
    does not go straight back to the party it came from. Longer loops may repeat a party. Lengths are counted
    up to ``max_length``. This is the shape of AMLworld's stacks and random walks as published: one payment in,
    one payment out per party. One row per node: ``chain`` (payments in the longest chain through the party: 1
    where nothing was passed on).

    Per payment the ``steps_per_payment`` nearest payments in time at either end are compared: at busier
    parties the length is a lower bound.
    """
    incoming, outgoing = graph.in_events, graph.out_events
    tolerated = round(tolerance * 1000)
    source = graph.pair_source[graph.event_pair]
    target = graph.pair_target[graph.event_pair]
    span = window_days * DAY_US
    ended = _chain_lengths(
        graph.time_order, source, target, graph.event_at, graph.event_cents,
        incoming.start, incoming.at, incoming.other, incoming.cents, incoming.event,
        span, tolerated, max_length, steps_per_payment, True,
    )  # fmt: skip
    begun = _chain_lengths(
        # payments of one moment never follow each other, so their order does not matter
        graph.time_order[::-1], target, source, graph.event_at, graph.event_cents,
        outgoing.start, outgoing.at, outgoing.other, outgoing.cents, outgoing.event,
        span, tolerated, max_length, steps_per_payment, False,
    )  # fmt: skip
    return pl.DataFrame({"chain": _longest_through(source, target, ended, begun, max_length, len(graph))})


@njit(cache=True, nogil=True)
def _longest_through(source, target, ended, begun, longest, n):  # type: ignore[no-untyped-def]
    """Per party the longest chain through a payment it made or received, from those that end and begin with it."""
    chain = np.zeros(n, dtype=np.int64)
    for e in range(len(source)):
        through = min(ended[e] + begun[e] - 1, longest)
        chain[source[e]] = max(chain[source[e]], through)
        chain[target[e]] = max(chain[target[e]], through)
    return chain


@njit(cache=True, nogil=True)
def _chain_lengths(  # type: ignore[no-untyped-def]
    order, near, far, at, cents, start, by_at, by_other, by_cents, by_event,
    span, tolerated, longest, most_steps, forward,
):  # fmt: skip
    """Longest chain ending (forward) or beginning (backward) with each payment; ``order`` runs along the chain.

    ``near`` is the end of each payment at which the chain goes on, ``far`` the other; ``by_`` arrays hold the
    payments by the party at their own joint, in time order. Lengths are kept in that order, too, so that the payments
    compared with one lie side by side.
    """
    n = len(at)
    length = np.empty(n, dtype=np.int64)
    by_length = np.empty(n, dtype=np.int8)
    place = np.empty(n, dtype=np.int32)
    for i in range(n):
        place[by_event[i]] = i
    # per party the first of its payments that is not before (forward) or is after (backward) the payment looked at
    ahead = start[:-1].copy() if forward else start[1:].copy()
    for o in range(n):
        e = order[o]
        v = near[e]
        edge = ahead[v]
        if forward:  # receipts of the payer before this payment, newest first
            while edge < start[v + 1] and by_at[edge] < at[e]:
                edge += 1
            i, step, end = edge - 1, -1, max(start[v], edge - most_steps) - 1
        else:  # payments of the payee after this one, oldest first
            while edge > start[v] and by_at[edge - 1] > at[e]:
                edge -= 1
            i, step, end = edge, 1, min(start[v + 1], edge + most_steps)
        ahead[v] = edge
        best = 1
        while i != end and best < longest and abs(by_at[i] - at[e]) <= span:
            if by_length[i] >= best:
                earlier, later = (by_cents[i], cents[e]) if forward else (cents[e], by_cents[i])
                # a payment straight back to the party at the far end is no step of a chain
                if abs(later - earlier) * 1000 <= tolerated * earlier and by_other[i] != far[e]:
                    best = min(longest, by_length[i] + 1)
            i += step
        length[e] = best
        by_length[place[e]] = best
    return length
