"""P5, profile consistency: does the client do what was said of it, and what its like do?

What belongs here: flows against declared turnover, sector, country, occupation and age of the account, salaries that
leave at once, silence, and the distance from the peer group. What does not: flows against the client's own past (P1),
the form of payments (P4), counterparties as a network (P2). Static risk attributes (rating, PEP, country risk) are no
features here: they are the KYC baseline that behaviour is measured against.

Rules of the formulas

- The profile is that of the spine: the newest version valid before D. A missing entry makes the features that need
  it null and leaves the others alone.
- Annualised means times 365 / days observed, where days observed is the history before D, at most the window and at
  least ``minimum_observed_days``: a young client is measured on the days it had.
- A flow compares with the profile only where its counterparty's sector or country is known, and the share is null
  where none is.
- Peers are those of the same week, so a frame holds whole weeks: every spine row of each as-of date in it. A client
  without a transaction in 90 days is no peer and has no distance. Groups fall back as in
  :mod:`ml_assets.features.peers`: from industry and size, and from the segment of an earlier week before these where
  ``peers_by_segment`` is on.
- Distances: location and scale are median and MAD, the covariance of the values so scaled (cut at 6) is shrunk after
  Ledoit and Wolf, so that a few launderers neither move the centre nor widen the normal, and groups of thirty do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.covariance import ledoit_wolf
from threadpoolctl import threadpool_limits

from ml_assets.config import FeatureConfig
from ml_assets.contracts.table import Column, ContractError
from ml_assets.features.columns import GRAIN, feature, pillar_contract
from ml_assets.features.history import Codes, History, Spine
from ml_assets.features.peers import members, peer_groups, with_segments

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WINDOWS: Final = (7, 30, 90)
"""Days of the windows in the column names; the configuration must say the same."""
HOURS: Final = (24, 72)
"""Hours in the names of the salary features."""
YEAR: Final = 364
"""Days looked back for silence, sectors and countries."""
CASH: Final = frozenset({"cash", "atm"})
"""Channels in which money changes between cash and account."""
PERSON: Final = "household"
"""Industry of private persons."""
NO_INCOME: Final = ("student", "homemaker", "unemployed")
"""Occupations without an income of their own (FINTRAC, Project ATHENA)."""
SALARY_MAXIMUM: Final = 12
"""Credits of one payer in 90 days above which it does not pay monthly: about one a week."""
CUT: Final = 6.0
"""Robust z-score at which a value is cut before the covariance is fitted; the distance itself uses it whole."""
TAIL_MAXIMUM: Final = 50.0
"""Cap of -log10 p: beyond it the chi-squared tail is far outside anything it can be trusted for."""

PROFILE_COLUMNS: Final = (
    "industry",
    "occupation",
    "geography",
    "size_bucket",
    "expected_turnover",
    "account_age_days",
    "history_days",
)
"""Columns of ``intermediate.int_client_weeks`` read, beside the grain."""
WINDOW_COLUMNS: Final = (
    *(f"{d}_{m}" for d in ("inflow", "outflow") for m in ("count_90d", "sum_30d_base", "sum_90d_base", "max_90d_base")),
    "active_days_90d_count",
)
"""Columns of ``intermediate.int_client_windows`` read, beside the grain."""

_FINTRAC: Final = "FINTRAC, ML/TF indicators - financial entities"
_TURNOVER: Final = _FINTRAC + ", transactions inconsistent with the apparent financial standing or occupation"
_SECTOR: Final = _FINTRAC + ", activity inconsistent with the type of business; FFIEC Manual, Appendix F"
_PLACE: Final = _FINTRAC + ", transactions with jurisdictions without apparent reason; FATF Recommendation 10"
_ATHENA: Final = "FINTRAC Operational Alert, Project ATHENA: students, homemakers and unemployed"
_SALARY: Final = _FINTRAC + ", funds in and out in rapid succession; the salary rule is this project's"
_AGE: Final = _FINTRAC + ", activity of newly opened accounts; FFIEC Manual, Appendix F"
_DORMANT: Final = _FINTRAC + ", changes in account activity: a dormant account suddenly active"
_PEERS: Final = (
    "Mahalanobis, Proc. Nat. Inst. Sci. India 2 (1936); Ledoit & Wolf, J. Multivariate Analysis 88 (2004); "
    "Bolton & Hand, Statistical Science 17 (2002), peer group analysis"
)
_NO_DECLARED: Final = "null where no turnover over 0 is declared"


def _features() -> Iterable[Column]:
    for direction, word, w in (("inflow", "received", 30), ("inflow", "received", 90), ("outflow", "sent", 90)):
        yield feature(
            f"p5_{direction}_over_declared_{w}d_factor",
            f"Money {word} in {w} days, scaled to a year, as a multiple of the declared annual turnover or income.",
            f"{direction} of [D-{w}d, D) x 365 / days observed / expected_turnover",
            null_rule=_NO_DECLARED,
            source=_TURNOVER,
            requires=("expected_turnover",),
        )
    yield feature(
        "p5_income_discrepancy_90d_value",
        "How far yearly inflow is from the declared turnover or income, in powers of ten; above 0 is more.",
        "log10((1 + annualised inflow of [D-90d, D)) / (1 + expected_turnover))",
        null_rule=_NO_DECLARED,
        source=_TURNOVER,
        requires=("expected_turnover",),
    )
    yield feature(
        "p5_largest_over_declared_90d_factor",
        "Largest single payment of 90 days as a multiple of the declared annual turnover or income.",
        "max amount in either direction of [D-90d, D) / expected_turnover; 0 where there is none",
        null_rule=_NO_DECLARED,
        source=_TURNOVER,
        requires=("expected_turnover",),
    )
    yield feature(
        "p5_cash_inflow_over_declared_90d_factor",
        "Cash received in 90 days, scaled to a year, as a multiple of the declared annual turnover or income.",
        "inflow in cash and atm of [D-90d, D) x 365 / days observed / expected_turnover",
        null_rule=_NO_DECLARED + ", or no transaction of the window has a channel",
        source=_TURNOVER,
        requires=("expected_turnover", "channel"),
    )
    for direction, word in (("inflow", "received"), ("outflow", "sent")):
        yield feature(
            f"p5_sector_mismatch_{direction}_90d_ratio",
            f"Share of the money a company {word} in 90 days that belongs to another sector than its own.",
            f"{direction} with counterparty_sector <> industry / {direction} with a sector, [D-90d, D)",
            null_rule=f"null for private persons, without industry, or where no {direction} has a sector",
            source=_SECTOR,
            requires=("industry", "counterparty_sector"),
        )
    for direction, word in (("inflow", "received"), ("outflow", "sent")):
        yield feature(
            f"p5_foreign_{direction}_share_90d_ratio",
            f"Share of the money {word} in 90 days whose counterparty is outside the client's own country.",
            f"{direction} with counterparty_country <> geography / {direction} with a country, [D-90d, D)",
            null_rule=f"null without geography or where no {direction} has a country",
            source=_PLACE,
            requires=("geography", "counterparty_country"),
        )
    yield feature(
        "p5_foreign_country_90d_count",
        "Different countries other than the client's own that it dealt with in 90 days.",
        "distinct counterparty_country <> geography of [D-90d, D)",
        null_rule="null without geography or where no transaction of the window has a country",
        source=_PLACE,
        requires=("geography", "counterparty_country"),
    )
    for what, column in (("sector", "counterparty_sector"), ("country", "counterparty_country")):
        yield feature(
            f"p5_new_{what}_share_30d_ratio",
            f"Share of the money moved in 30 days with a {what} the client had no dealings with in the year before.",
            f"volume of [D-30d, D) whose {column} does not occur in [D-364d, D-30d) / volume with a {what}",
            null_rule=f"null where either period has no transaction with a {what}",
            source=_SECTOR if what == "sector" else _PLACE,
            requires=(column,),
        )
    salary = (
        "salary-like: inbound of a payer with at most 12 credits in [D-90d, D), another credit of the same payer "
        "salary_gap_days before or after and within similar_amount_ratio of the larger; not for companies"
    )
    yield feature(
        "p5_salary_90d_count",
        "Salary-like credits of a private person in 90 days.",
        salary,
        null_rule="null for companies, or where no transaction of the window has a counterparty",
        source=_SALARY,
        requires=("counterparty_id", "direction"),
    )
    yield feature(
        "p5_salary_share_90d_ratio",
        "Share of the money a private person received in 90 days that came as salary-like credits.",
        f"sum of salary-like credits / inflow; {salary}",
        null_rule="null for companies, where nothing was received, or where no transaction has a counterparty",
        source=_SALARY,
        requires=("counterparty_id", "direction"),
    )
    for hours in HOURS:
        yield feature(
            f"p5_salary_left_{hours}h_90d_ratio",
            f"Salary portability: share of the salary-like credits of 90 days that left within {hours} hours.",
            f"outflows use up the oldest salary-like credit not older than {hours} h / salary-like credits; {salary}",
            null_rule="null for companies, or without a salary-like credit in the window",
            source=_SALARY,
            requires=("counterparty_id", "direction"),
        )
    yield feature(
        "p5_dormancy_364d_days",
        "Days since the client's newest transaction.",
        "D - day of the newest row; 364 where the year before D is empty",
        null_rule="null where the client never had a transaction",
        source=_DORMANT,
    )
    yield feature(
        "p5_silence_before_30d_days",
        "Days of silence before the activity of the last 30 days began.",
        "day of the first row of [D-30d, D) - day of the newest row of [D-364d, D-30d); 364 where that year is empty "
        "and the client's history is older",
        null_rule="null where 30 days hold no transaction, or nothing ever came before them",
        source=_DORMANT,
    )
    yield feature(
        "p5_turnover_per_age_90d_base",
        "Money moved in 90 days per day since the account was opened.",
        "(inflow + outflow of [D-90d, D)) / max(1, account_age_days)",
        null_rule="null where the date of onboarding is unknown",
        source=_AGE,
        requires=("onboarding_date",),
    )
    yield feature(
        "p5_new_account_volume_30d_factor",
        "Money moved in 30 days by an account younger than new_account_days, as a multiple of the reporting threshold.",
        "(inflow + outflow of [D-30d, D)) / T where account_age_days < new_account_days, else 0",
        null_rule="null where the date of onboarding is unknown",
        source=_AGE,
        requires=("onboarding_date",),
    )
    robust = "(x - median) / (IQR / 1.349), x = log10(1 + inflow + outflow of [D-90d, D))"
    alone = "null without a transaction in 90 days, with fewer than peer_minimum_clients to compare with, or IQR 0"
    yield feature(
        "p5_occupation_volume_90d_zscore",
        "Money moved in 90 days against the active clients of the same occupation in that week.",
        f"{robust}, among the same occupation; all clients where those are fewer than peer_minimum_clients",
        null_rule="null without occupation; " + alone,
        source=_TURNOVER,
        requires=("occupation",),
    )
    yield feature(
        "p5_size_volume_90d_zscore",
        "Money moved in 90 days against the active clients of the same size in that week.",
        f"{robust}, among the same size_bucket; all clients where those are fewer than peer_minimum_clients",
        null_rule="null without size; " + alone,
        source=_TURNOVER,
        requires=("size_bucket",),
    )
    yield feature(
        "p5_no_income_inflow_90d_base",
        "Money received in 90 days by a student, homemaker or unemployed client; 0 for other occupations.",
        "inflow of [D-90d, D) where occupation is one of student, homemaker, unemployed",
        null_rule="null without occupation",
        source=_ATHENA,
        requires=("occupation",),
    )
    yield feature(
        "p5_peer_mahalanobis_90d_distance",
        "Distance of the client's behaviour from that of its peers (industry and size, or segment), over all measures.",
        "sqrt(z' S^-1 z), z = robust z-scores of log10(1 + x) of inflow, outflow, transactions and largest amount, of "
        "active days, and of min(in, out)/max(in, out), over [D-90d, D); S = Ledoit-Wolf covariance of the peers' z",
        null_rule="null without a transaction in 90 days, or with fewer than peer_minimum_clients peers",
        source=_PEERS,
    )
    yield feature(
        "p5_peer_tail_90d_statistic",
        "How unlikely that distance is: 3 means one in a thousand peers.",
        "-log10 P(chi-squared with as many degrees of freedom as measures that vary > distance^2), at most 50",
        null_rule="as p5_peer_mahalanobis_90d_distance",
        source=_PEERS,
        minimum=0,
        maximum=TAIL_MAXIMUM,
    )
    yield feature(
        "p5_peer_turnover_90d_zscore",
        "Money moved in 90 days against the peers of that week.",
        f"{robust}, among the peer group of p5_peer_mahalanobis_90d_distance",
        null_rule=alone,
        source=_PEERS,
    )
    yield feature(
        "p5_cash_over_peers_90d_index",
        "Share of cash in the client's inflow, less that of the median peer.",
        "cash and atm inflow / inflow with a channel of [D-90d, D), minus the median of the peer group",
        null_rule="null where no inflow of the window has a channel, or fewer than peer_minimum_clients peers have one",
        source=_PEERS,
        requires=("channel",),
    )


CONTRACT: Final = pillar_contract(
    "p5_profile", "how its flows agree with its profile and with those of its peers.", _features()
)
"""``features.feat_p5_profile``."""


@njit(cache=True)
def _flows(  # type: ignore[no-untyped-def]
    low30, low90, low, high, known_day, as_of, day, cents, is_in, channel, sector, own_sector, sectors, country,
    own_country, countries
):  # fmt: skip
    """Flows by sector, country and channel against the profile, O(rows of the year).

    ``sector`` and ``country`` are codes, compared for equality only; ``own_*`` hold one code per pair. Columns out:
    0-3 inflow with sector, of another sector, the same of outflow (90 days); 4-7 the same by country; 8 foreign
    countries, 9 rows with a country (90 days); 10-12 volume with sector and with new sector (30 days), rows with
    sector before; 13-15 the same by country; 16 newest day, 17 newest day before the 30, 18 first day of the 30 (-1
    where none); 19 cash inflow, 20 inflow with channel, 21 rows with channel (90 days).
    """
    n = len(as_of)
    out = np.zeros((n, 22))
    sums = np.zeros(22, dtype=np.int64)
    met_sector = np.full(sectors, -1, dtype=np.int64)
    met_country = np.full(countries, -1, dtype=np.int64)
    abroad = np.full(countries, -1, dtype=np.int64)
    for i in range(n):
        sums[:] = 0
        sums[16:19] = -1
        for r in range(low[i], high[i]):
            if known_day[r] >= as_of[i]:
                continue
            c = cents[r]
            s = sector[r]
            g = country[r]
            sums[16] = day[r]
            if r < low30[i]:
                sums[17] = day[r]
                if s >= 0:
                    met_sector[s] = i
                    sums[12] += 1
                if g >= 0:
                    met_country[g] = i
                    sums[15] += 1
            else:
                if sums[18] < 0:
                    sums[18] = day[r]
                if s >= 0:
                    sums[10] += c
                    if met_sector[s] != i:
                        sums[11] += c
                if g >= 0:
                    sums[13] += c
                    if met_country[g] != i:
                        sums[14] += c
            if r < low90[i]:
                continue
            side = 0 if is_in[r] else 2
            if s >= 0:
                sums[side] += c
                if s != own_sector[i]:
                    sums[side + 1] += c
            if g >= 0:
                sums[9] += 1
                sums[4 + side] += c
                if g != own_country[i]:
                    sums[5 + side] += c
                    if abroad[g] != i:
                        abroad[g] = i
                        sums[8] += 1
            if channel[r] >= 0:
                sums[21] += 1
                if is_in[r]:
                    sums[20] += c
                    if channel[r] == 1:
                        sums[19] += c
        out[i] = sums
    return out


@njit(cache=True)
def _salaries(low, high, known_day, as_of, at, day, cents, is_in, who, least, most, alike, credits, reaches, room):  # type: ignore[no-untyped-def]
    """Salary-like credits and what of them left soon, O(rows log rows).

    ``least`` and ``most`` days between two credits of a payer, ``alike`` similar share in thousandths, ``credits``
    most credits of a payer, ``reaches`` microseconds. Columns out: rows with a counterparty, inflow, salary credits,
    their sum, and per reach what left. Codes of counterparties only group rows: sums do not depend on their order.
    """
    n = len(as_of)
    out = np.zeros((n, 4 + len(reaches)))
    rows = np.empty(room, dtype=np.int64)
    codes = np.empty(room, dtype=np.int64)
    is_salary = np.zeros(room, dtype=np.bool_)
    left = np.empty(room, dtype=np.int64)
    for i in range(n):
        m = 0
        inflow = np.int64(0)
        for r in range(low[i], high[i]):
            is_salary[r - low[i]] = False
            if known_day[r] < as_of[i]:
                out[i, 0] += who[r] >= 0
                if is_in[r]:
                    inflow += cents[r]
                    if who[r] >= 0:
                        rows[m] = r
                        codes[m] = who[r]
                        m += 1
        out[i, 1] = inflow
        order = np.argsort(codes[:m], kind="mergesort")
        a = 0
        while a < m:
            b = a
            while b < m and codes[order[b]] == codes[order[a]]:
                b += 1
            if 2 <= b - a <= credits:
                for p in range(a, b):
                    for q in range(p + 1, b):
                        first, second = rows[order[p]], rows[order[q]]
                        larger = max(cents[first], cents[second])
                        is_alike = abs(cents[first] - cents[second]) * 1000 <= alike * larger
                        if is_alike and least <= day[second] - day[first] <= most:
                            is_salary[first - low[i]] = True
                            is_salary[second - low[i]] = True
            a = b
        total = np.int64(0)
        for r in range(low[i], high[i]):
            if is_salary[r - low[i]]:
                out[i, 2] += 1
                total += cents[r]
        out[i, 3] = total
        if total == 0:
            continue
        for k in range(len(reaches)):
            gone = np.int64(0)
            for r in range(low[i], high[i]):
                left[r - low[i]] = cents[r]
            head = low[i]
            for r in range(low[i], high[i]):
                if is_in[r] or known_day[r] >= as_of[i]:
                    continue
                wanted = cents[r]
                while head < high[i] and (
                    not is_salary[head - low[i]] or left[head - low[i]] == 0 or at[r] - at[head] > reaches[k]
                ):
                    head += 1
                h = head
                # inflow of the same moment stands before the outflow, whatever its place in the order
                while wanted > 0 and h < high[i] and at[h] <= at[r]:
                    if is_salary[h - low[i]]:
                        taken = min(wanted, left[h - low[i]])
                        left[h - low[i]] -= taken
                        wanted -= taken
                        gone += taken
                    h += 1
            out[i, 4 + k] = gone
    return out


def _share(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where the whole is 0 or not known."""
    known = np.nan_to_num(whole) > 0
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=known)


def _only(values: Floats, condition: NDArray[np.bool_]) -> Floats:
    """Values where the condition holds, NaN elsewhere."""
    return np.where(condition, values, np.nan)


def _own_codes(values: pl.Series, codes: Codes) -> NDArray[np.int32]:
    """Code of each profile entry among the codes of transactions: -1 if null, -2 if no transaction has it."""
    known = {v: codes.code_of(v) for v in values.drop_nulls().unique().to_list()}
    if not known:
        return np.full(len(values), -1, dtype=np.int32)
    return values.replace_strict(known, default=-1, return_dtype=pl.Int32).to_numpy().astype(np.int32)


def _beside(spine: Spine, frame: pl.DataFrame, columns: Iterable[str], what: str) -> pl.DataFrame:
    """The wanted columns of ``frame``, one row per pair in the spine's order."""
    columns = list(columns)
    missing = [c for c in (*GRAIN, *columns) if c not in frame.columns]
    if missing:
        raise ContractError(f"{what} lack the columns {', '.join(missing)}")
    frame = frame.select("client_id", pl.col("as_of_date").cast(pl.Date), *columns)
    joined = spine.frame().join(frame, on=list(GRAIN), how="left", maintain_order="left", validate="1:1")
    return joined.with_columns(pl.selectors.decimal().cast(pl.Float64))


def _float(series: pl.Series) -> Floats:
    """Values as floats, null as NaN."""
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)


def _against(frame: pl.DataFrame, value: str, key: str, config: FeatureConfig) -> Floats:
    """Robust z-score of ``value`` among the rows of the same week and ``key``, or of the week where those are few.

    Rows without a value are no peers; NaN where value or key is null, peers are too few or all alike.
    """
    wide, narrow = ["as_of_date"], ["as_of_date", key]
    x = pl.col(value)

    def statistics(keys: list[str], name: str) -> list[pl.Expr]:
        iqr = x.quantile(0.75, "linear") - x.quantile(0.25, "linear")
        return [
            x.count().over(keys).alias(f"{name}_count"),
            x.median().over(keys).alias(f"{name}_median"),
            iqr.over(keys).alias(f"{name}_iqr"),
        ]

    table = frame.select(value, key, *statistics(narrow, "narrow"), *statistics(wide, "wide"))
    has_narrow = table["narrow_count"].to_numpy() >= config.peer_minimum_clients
    has_wide = table["wide_count"].to_numpy() >= config.peer_minimum_clients
    median = np.where(has_narrow, _float(table["narrow_median"]), _float(table["wide_median"]))
    iqr = np.where(has_narrow, _float(table["narrow_iqr"]), _float(table["wide_iqr"]))
    applies = table[key].is_not_null().to_numpy() & (has_narrow | has_wide)
    return _only(_zscore(_float(table[value]), median, iqr), applies)


def _zscore(values: Floats, median: Floats, iqr: Floats) -> Floats:
    """Robust z-scores, NaN where the interquartile range is 0.

    In numpy and not in polars on purpose: polars multiplies by the reciprocal where it holds a column as one repeated
    value, so that the last bit of a quotient would depend on which other rows are computed.
    """
    return _share(values - median, iqr / 1.349)


def mahalanobis(peers: Floats, clients: Floats) -> tuple[Floats, int]:
    """Distance of each client from its peers.

    Parameters
    ----------
    peers : shape (m, p), the measures of the group.
    clients : shape (n, p), the rows to measure.

    Returns
    -------
    Distances, shape (n,), and how many measures vary among the peers: the others are left out. With none, zeros.

    Location is the median, scale 1.4826 MAD (the standard deviation where the MAD is 0: half of the peers alike),
    covariance that of the peers' scaled values, cut at :data:`CUT`, shrunk after Ledoit and Wolf (2004).
    """
    center = np.median(peers, axis=0)
    scale = 1.4826 * np.median(np.abs(peers - center), axis=0)
    spread = np.sqrt(((peers - center) ** 2).mean(axis=0))
    # values that differ by rounding alone do not vary
    scale = np.where(scale > 1e-9, scale, spread)
    varies = scale > 1e-9
    if not varies.any():
        return np.zeros(len(clients)), 0
    z = ((peers - center) / np.where(varies, scale, 1.0))[:, varies]
    covariance, _ = ledoit_wolf(np.clip(z, -CUT, CUT), assume_centered=True)
    own = ((clients - center) / np.where(varies, scale, 1.0))[:, varies]
    squared = np.einsum("ij,jk,ik->i", own, np.linalg.pinv(covariance, hermitian=True), own)
    return np.sqrt(np.maximum(squared, 0.0)), int(varies.sum())


def _peer_distance(spine: Spine, measures: Floats, is_active: NDArray[np.bool_], profiles: pl.DataFrame,
                   config: FeatureConfig) -> tuple[Floats, Floats, pl.DataFrame]:  # fmt: skip
    """Distance and tail of each pair, NaN where it has none, and the groups of the active pairs.

    One covariance per week and group in use; rows of a group are in the order of client ids, so that sums do not
    depend on which other weeks are computed.
    """
    distance, tail = np.full(len(spine), np.nan), np.full(len(spine), np.nan)
    indexed = profiles.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row")).filter(pl.Series(is_active))
    groups = peer_groups(indexed, config)
    if not len(groups):
        return distance, tail, groups
    keys = ["as_of_date", "peer_group"]
    index = indexed.select(*GRAIN, "row")
    of_group = members(indexed, groups).join(index, on=list(GRAIN)).sort(*keys, "client_id")
    peers = {k: g["row"].to_numpy() for k, g in of_group.partition_by(keys, as_dict=True).items()}
    big = groups.filter(pl.col("peer_count") >= config.peer_minimum_clients).join(index, on=list(GRAIN))
    with threadpool_limits(1):
        for key, group in big.sort(*keys, "client_id").partition_by(keys, as_dict=True).items():
            at = group["row"].to_numpy()
            distance[at], freedom = mahalanobis(measures[peers[key]], measures[at])
            if freedom:
                tail[at] = np.minimum(-chi2.logsf(distance[at] ** 2, freedom) / np.log(10), TAIL_MAXIMUM)
            else:
                tail[at] = 0.0
    return distance, np.maximum(tail, 0.0), groups


def build(
    history: History,
    spine: Spine,
    config: FeatureConfig,
    *,
    profiles: pl.DataFrame,
    windows: pl.DataFrame,
    memberships: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Features of :data:`CONTRACT`, one row per pair of the spine, sorted by client and as-of date.

    Parameters
    ----------
    history : transactions of at least 364 days before the oldest as-of date, as far as they exist.
    spine : the pairs asked for: **whole weeks**, every client of each as-of date, because peers are those of the week.
    config : windows, thresholds, peer minimum.
    profiles : rows of ``intermediate.int_client_weeks`` (:data:`PROFILE_COLUMNS`), one per pair.
    windows : rows of ``intermediate.int_client_windows`` (:data:`WINDOW_COLUMNS`), one per pair.
    memberships : segments of clients in any weeks (``peers.MEMBERSHIPS``), read where ``peers_by_segment`` is on; a
        week uses those of earlier weeks alone. None where no segments were found yet: nobody has one.

    Raises
    ------
    ContractError : a column is missing, or the configuration's windows or hours are not those of the column names.
    """
    if config.window_days != WINDOWS or config.fund_through_hours != HOURS:
        raise ContractError(
            f"P5 names its windows {WINDOWS} and hours {HOURS} in its columns; the configuration says "
            f"{config.window_days} and {config.fund_through_hours}. Change the names and the knobs together."
        )
    profile = _beside(spine, profiles, PROFILE_COLUMNS, "profiles")
    window = _beside(spine, windows, WINDOW_COLUMNS, "windows")
    flows, salaries = _from_rows(history, spine, config, profile)
    m = {**_turnover(profile, window, flows, config), **_places(profile, flows), **_salary(profile, salaries)}
    m |= {**_silence(spine, profile, flows), **_ages(profile, window, config)}
    peered = with_segments(profile, memberships) if config.peers_by_segment else profile
    m |= _peers(spine, peered, window, flows, config)
    columns = [pl.Series(name, values).fill_nan(None) for name, values in m.items()]
    return CONTRACT.conform(spine.frame().with_columns(columns))


def _from_rows(history: History, spine: Spine, config: FeatureConfig, profile: pl.DataFrame) -> tuple[Floats, Floats]:
    """Columns of :func:`_flows` and :func:`_salaries`, one row of results per column."""
    cents: Ints = np.abs(np.rint(history.amount * 100)).astype(np.int64)
    channel = np.where(history.channel.codes < 0, -1, history.channel.mask_of(CASH).astype(np.int8)).astype(np.int8)
    low30, high = history.window(spine.client, spine.as_of_day, 30)
    low90, _ = history.window(spine.client, spine.as_of_day, 90)
    low364, _ = history.window(spine.client, spine.as_of_day, YEAR)
    flows = _flows(
        low30, low90, low364, high, history.known_day, spine.as_of_day, history.day, cents, history.is_inbound, channel,
        history.sector.codes, _own_codes(profile["industry"], history.sector), len(history.sector.values),
        history.country.codes, _own_codes(profile["geography"], history.country), len(history.country.values),
    )  # fmt: skip
    reaches = np.array([h * 3_600_000_000 for h in HOURS], dtype=np.int64)
    salaries = _salaries(
        low90, high, history.known_day, spine.as_of_day, history.at, history.day, cents, history.is_inbound,
        history.counterparty.codes, *config.salary_gap_days, round(config.similar_amount_ratio * 1000),
        SALARY_MAXIMUM, reaches, int((high - low90).max(initial=0)),
    )  # fmt: skip
    return flows.T, salaries.T


def _turnover(profile: pl.DataFrame, window: pl.DataFrame, flows: Floats, config: FeatureConfig) -> dict[str, Floats]:
    """Flows over the declared turnover."""
    declared = _float(profile["expected_turnover"])
    declared = _only(declared, np.nan_to_num(declared) > 0)
    seen = np.nan_to_num(_float(profile["history_days"]), nan=90.0)
    yearly = {w: 365 / np.clip(seen, min(config.minimum_observed_days, w), w) for w in (30, 90)}
    inflow = {w: _float(window[f"inflow_sum_{w}d_base"]) for w in (30, 90)}
    largest = np.fmax(_float(window["inflow_max_90d_base"]), _float(window["outflow_max_90d_base"]))
    return {
        "p5_inflow_over_declared_30d_factor": inflow[30] * yearly[30] / declared,
        "p5_inflow_over_declared_90d_factor": inflow[90] * yearly[90] / declared,
        "p5_outflow_over_declared_90d_factor": _float(window["outflow_sum_90d_base"]) * yearly[90] / declared,
        "p5_income_discrepancy_90d_value": np.log10((1 + inflow[90] * yearly[90]) / (1 + declared)),
        "p5_largest_over_declared_90d_factor": np.nan_to_num(largest) / declared,
        "p5_cash_inflow_over_declared_90d_factor": _only(flows[19] / 100 * yearly[90] / declared, flows[21] > 0),
    }


def _places(profile: pl.DataFrame, flows: Floats) -> dict[str, Floats]:
    """Sectors and countries of the flows against the profile and against the year before."""
    is_company = (profile["industry"] != PERSON).fill_null(False).to_numpy()
    has_home = profile["geography"].is_not_null().to_numpy()
    return {
        "p5_sector_mismatch_inflow_90d_ratio": _only(_share(flows[1], flows[0]), is_company),
        "p5_sector_mismatch_outflow_90d_ratio": _only(_share(flows[3], flows[2]), is_company),
        "p5_foreign_inflow_share_90d_ratio": _only(_share(flows[5], flows[4]), has_home),
        "p5_foreign_outflow_share_90d_ratio": _only(_share(flows[7], flows[6]), has_home),
        "p5_foreign_country_90d_count": _only(flows[8], has_home & (flows[9] > 0)),
        "p5_new_sector_share_30d_ratio": _only(_share(flows[11], flows[10]), flows[12] > 0),
        "p5_new_country_share_30d_ratio": _only(_share(flows[14], flows[13]), flows[15] > 0),
    }


def _salary(profile: pl.DataFrame, salaries: Floats) -> dict[str, Floats]:
    """Salary-like credits and how fast they leave; a client of unknown industry counts as a person."""
    is_company = (profile["industry"] != PERSON).fill_null(False).to_numpy()
    applies = ~is_company & (salaries[0] > 0)
    out = {
        "p5_salary_90d_count": _only(salaries[2], applies),
        "p5_salary_share_90d_ratio": _only(_share(salaries[3], salaries[1]), applies),
    }
    for k, hours in enumerate(HOURS):
        out[f"p5_salary_left_{hours}h_90d_ratio"] = _only(_share(salaries[4 + k], salaries[3]), applies)
    return out


def _silence(spine: Spine, profile: pl.DataFrame, flows: Floats) -> dict[str, Floats]:
    """Days without a transaction, now and before the newest activity."""
    seen = _float(profile["history_days"])
    newest, before, first = flows[16], flows[17], flows[18]
    dormancy = np.where(newest >= 0, spine.as_of_day - newest, _only(np.full(len(spine), float(YEAR)), seen >= YEAR))
    silence = np.where(before >= 0, first - before, _only(np.full(len(spine), float(YEAR)), seen >= YEAR))
    return {
        "p5_dormancy_364d_days": dormancy,
        "p5_silence_before_30d_days": _only(silence, first >= 0),
    }


def _ages(profile: pl.DataFrame, window: pl.DataFrame, config: FeatureConfig) -> dict[str, Floats]:
    """Volume against the age of the account and against an occupation without income."""
    age = _float(profile["account_age_days"])
    volume = {w: _float(window[f"inflow_sum_{w}d_base"]) + _float(window[f"outflow_sum_{w}d_base"]) for w in (30, 90)}
    new = np.where(age < config.new_account_days, volume[30] / config.reporting_threshold_base, 0.0)
    without = profile["occupation"].is_in(NO_INCOME).fill_null(False).to_numpy()
    has_occupation = profile["occupation"].is_not_null().to_numpy()
    inflow = _float(window["inflow_sum_90d_base"])
    return {
        "p5_turnover_per_age_90d_base": volume[90] / np.maximum(age, 1.0),
        "p5_new_account_volume_30d_factor": _only(new, ~np.isnan(age)),
        "p5_no_income_inflow_90d_base": _only(np.where(without, inflow, 0.0), has_occupation),
    }


def _peers(
    spine: Spine, profile: pl.DataFrame, window: pl.DataFrame, flows: Floats, config: FeatureConfig
) -> dict[str, Floats]:
    """Distances from clients of the same occupation, size and peer group in the same week."""
    inflow, outflow = _float(window["inflow_sum_90d_base"]), _float(window["outflow_sum_90d_base"])
    count = _float(window["inflow_count_90d"]) + _float(window["outflow_count_90d"])
    largest = np.fmax(_float(window["inflow_max_90d_base"]), _float(window["outflow_max_90d_base"]))
    is_active = np.nan_to_num(count) > 0
    balance = np.nan_to_num(_share(np.minimum(inflow, outflow), np.maximum(inflow, outflow)))
    measures = np.column_stack(
        [
            *(np.log10(1 + np.nan_to_num(x)) for x in (inflow, outflow, count, largest)),
            np.nan_to_num(_float(window["active_days_90d_count"])),
            balance,
        ]
    )
    distance, tail, groups = _peer_distance(spine, measures, is_active, profile, config)
    table = profile.select(*GRAIN, "occupation", "size_bucket").with_columns(
        pl.Series("volume", _only(np.log10(1 + inflow + outflow), is_active)).fill_nan(None),
        pl.Series("cash_share", _share(flows[19], flows[20])).fill_nan(None),
    )
    return {
        "p5_occupation_volume_90d_zscore": _against(table, "volume", "occupation", config),
        "p5_size_volume_90d_zscore": _against(table, "volume", "size_bucket", config),
        "p5_peer_mahalanobis_90d_distance": distance,
        "p5_peer_tail_90d_statistic": tail,
        **_beside_peers(table, profile, groups, config),
    }


def _beside_peers(
    table: pl.DataFrame, profile: pl.DataFrame, groups: pl.DataFrame, config: FeatureConfig
) -> dict[str, Floats]:
    """Turnover and cash share against the median of the peer group."""
    keys = ["as_of_date", "peer_group"]
    volume, cash = pl.col("volume"), pl.col("cash_share")
    normal = (
        members(profile, groups)
        .join(table, on=list(GRAIN))
        .group_by(keys)
        .agg(
            volume.count().alias("volumes"),
            volume.median().alias("volume_median"),
            (volume.quantile(0.75, "linear") - volume.quantile(0.25, "linear")).alias("volume_iqr"),
            cash.count().alias("cashes"),
            cash.median().alias("cash_median"),
        )
    )
    beside = (
        table.join(groups, on=list(GRAIN), how="left", maintain_order="left")
        .join(normal, on=keys, how="left", maintain_order="left")
        .select("volume", "cash_share", "volumes", "volume_median", "volume_iqr", "cashes", "cash_median")
    )
    score = _zscore(_float(beside["volume"]), _float(beside["volume_median"]), _float(beside["volume_iqr"]))
    return {
        "p5_peer_turnover_90d_zscore": _only(score, _float(beside["volumes"]) >= config.peer_minimum_clients),
        "p5_cash_over_peers_90d_index": _only(
            _float(beside["cash_share"]) - _float(beside["cash_median"]),
            _float(beside["cashes"]) >= config.peer_minimum_clients,
        ),
    }
