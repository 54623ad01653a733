"""Small constructed banks: planted groups in the columns segmentation reads."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.config import SegmentConfig
from ml_assets.segmentation.measures import CLIENT_MEASURES, Measure

SMALL = SegmentConfig(stability_resamples=5, starts=3, sample_rows=600, density_rows=600, segments_maximum=6)
MEASURES = (
    Measure("turnover", "Turnover", "rich", "poor"),
    Measure("share", "Share", "high share", "low share"),
    Measure("age", "Age", "old", "young"),
)
FIRST = date(2024, 1, 1)


def planted(groups: int, each: int, seed: int = 0, spread: float = 0.15) -> tuple[pl.DataFrame, np.ndarray]:
    """``groups`` well separated groups of ``each`` clients; turnover is log-normal, so that its logarithm is asked for.

    Returns the frame and the planted group of every row.
    """
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [3, 0, 3], [0, 3, 3], [3, 3, 0], [6, 1.5, 1.5]], dtype=float)[:groups]
    group = np.repeat(np.arange(groups), each)
    place = corners[group] + rng.normal(0, spread, (len(group), 3))
    frame = pl.DataFrame(
        {
            "client_id": [f"C{i:05d}" for i in range(len(group))],
            "turnover": np.exp(place[:, 0] * 2 + 5),
            "share": place[:, 1],
            "age": place[:, 2],
        }
    )
    return frame, group


def weeks_of(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """The same clients in ``count`` weeks."""
    return pl.concat([frame.with_columns(as_of_date=pl.lit(FIRST + timedelta(weeks=w))) for w in range(count)])


def bank(clients: int, seed: int = 0) -> pl.DataFrame:
    """Clients with every column of CLIENT_MEASURES, in three rough groups, some values missing."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, clients, p=[0.6, 0.3, 0.1])
    level = np.array([8.0, 9.0, 12.0])[kind] + rng.normal(0, 0.5, clients)
    columns = {
        "p1_inflow_sum_90d_base": np.exp(level),
        "p1_outflow_sum_90d_base": np.exp(level + rng.normal(-0.3, 0.4, clients)),
        "p4_fund_through_72h_90d_ratio": rng.beta(1 + 3 * kind, 8),
        "p1_active_days_90d_count": np.clip(rng.normal(20 + 12 * kind, 4), 1, 90),
        "p1_txn_per_active_day_90d_mean": 1 + rng.gamma(1 + kind, 0.3),
        "p5_income_discrepancy_90d_value": rng.normal(0.2 * kind, 0.2),
        "p5_salary_share_90d_ratio": np.where(kind == 2, np.nan, rng.beta(6, 2, clients)),
        "p5_salary_left_72h_90d_ratio": np.where(kind == 2, np.nan, rng.beta(1, 9, clients)),
        "account_age_days": rng.uniform(30, 5000, clients),
        "history_days": rng.uniform(30, 400, clients),
        "p4_cash_inflow_share_90d_ratio": rng.beta(1, 6, clients) * (rng.random(clients) < 0.3),
        "p5_foreign_outflow_share_90d_ratio": rng.beta(1 + kind, 12),
    }
    assert set(columns) == {m.column for m in CLIENT_MEASURES}
    return pl.DataFrame(
        {
            "client_id": [f"C{i:06d}" for i in range(clients)],
            "industry": np.where(kind == 2, "retail", "household"),
            "occupation": [None if k == 2 else "employed" for k in kind],
            "size_bucket": np.where(kind == 2, "small", "individual"),
            "risk_rating": ["low"] * clients,
            **columns,
        }
    ).with_columns(pl.selectors.float().fill_nan(None))
