"""Contracts of the Python-made tables that are not feature tables: calendar, scores of both tiers, reasons, metrics.

Feature contracts stand beside the pillar that fulfils them.
"""

from __future__ import annotations

from ml_assets.contracts.table import Column, TableContract

CLIENT = Column("client_id", "text", "Client the row describes.")
AS_OF = Column("as_of_date", "date", "As-of Monday, 00:00 UTC, exclusive end of what the row has seen.")
MODEL = Column("model_id", "text", "Model that made the score; its card is in the model registry.")
BANDS = ("HIGH", "MEDIUM", "LOW", "MINIMAL")
SCHEMES = ("underground_banking", "trade_based", "msb_professional")
SPLITS = ("train", "embargo", "validation", "test", "live")
PILLARS = ("p1_volume_velocity", "p2_network", "p3_temporal", "p4_typology", "p5_profile")
"""Keys of the five behavioural pillars, in their order."""


def _score(name: str, description: str, null_rule: str | None = None) -> Column:
    return Column(name, "number", description, "score", null_rule=null_rule, minimum=0, maximum=100)


AS_OF_WEEKS_TABLE = TableContract(
    "intermediate",
    "as_of_weeks",
    "One row per as-of date of the data set's calendar.",
    ("as_of_date",),
    (
        AS_OF,
        Column("week_index", "integer", "Number of the week, oldest is 0.", "count", minimum=0),
        Column("is_label_complete", "boolean", "True where the whole label horizon lies inside known labels."),
    ),
)
CALENDAR_PLAN = TableContract(
    "intermediate",
    "calendar_plan",
    "One row: the dates the calendar was planned from and the effective horizon, embargo and warm-up.",
    ("first_date",),
    (
        Column("first_date", "date", "Day of the oldest kept transaction."),
        Column("last_date", "date", "Day of the newest kept transaction."),
        Column("label_end_date", "date", "Last day for which STRs count as known."),
        Column("horizon_days", "integer", "Days after the as-of date in which an STR counts.", "days", minimum=1),
        Column("embargo_days", "integer", "Days left out between splits.", "days", minimum=1),
        Column("warmup_days", "integer", "Days of history before the first as-of date.", "days", minimum=1),
        Column("notes", "text", "What was shrunk and why; empty where nothing was."),
    ),
)
REQUESTED_WEEKS = TableContract(
    "intermediate",
    "requested_weeks",
    "One row per as-of date that the running step replaces.",
    ("as_of_date",),
    (AS_OF,),
)


def tier1_table(pillar: str) -> TableContract:
    """Contract of ``tier1.tier1_<pillar>``."""
    unavailable = "the pillar has no usable feature in this data set"
    return TableContract(
        "tier1",
        f"tier1_{pillar}",
        f"One row per client and as-of date: both halves and the blend of pillar {pillar}.",
        ("client_id", "as_of_date"),
        (
            CLIENT,
            AS_OF,
            MODEL,
            _score("supervised_score", "XGBoost half, on the scale of training quantiles.", "no labels or no feature"),
            _score("unsupervised_score", "Isolation Forest half, on the same scale.", unavailable),
            _score("pillar_score", "alpha * supervised + (1 - alpha) * unsupervised.", unavailable),
        ),
    )


TIER2_TABLE = TableContract(
    "tier2",
    "tier2_scheme",
    "One row per client and as-of date: likeness to each laundering scheme and the scheme pillar P6.",
    ("client_id", "as_of_date"),
    (
        CLIENT,
        AS_OF,
        MODEL,
        *(
            column
            for scheme in SCHEMES
            for column in (
                Column(
                    f"{scheme}_cosine_ratio",
                    "number",
                    f"Cosine of the five pillar scores with the signature of {scheme}.",
                    "ratio",
                    null_rule="no pillar score",
                    minimum=0,
                    maximum=1,
                ),
                Column(f"{scheme}_fired_count", "integer", f"Indicators of {scheme} that fired.", "count", minimum=0),
                _score(f"{scheme}_score", f"Likeness to {scheme}: cosine, norm and fired share.", "no pillar score"),
            )
        ),
        _score("supervised_score", "Tier-2 model on its training-quantile scale.", "no labels"),
        _score("scheme_score", "S_P6: the scheme pillar.", "no pillar score"),
    ),
)
CLIENT_SCORES = TableContract(
    "scores",
    "client_scores",
    "One row per client and as-of date: three aggregations, the calibrated B-CRS, its band and the alert.",
    ("client_id", "as_of_date"),
    (
        CLIENT,
        AS_OF,
        MODEL,
        _score("linear_score", "Weighted linear aggregation.", "no pillar score"),
        _score("boosting_score", "Gradient boosting aggregation.", "no labels or no pillar score"),
        _score("bayesian_score", "Bayesian aggregation.", "no labels or no pillar score"),
        Column("champion", "text", "Aggregation with the best average precision on validation weeks."),
        Column(
            "bcrs_probability_ratio",
            "number",
            "Calibrated probability of an STR within the horizon.",
            "ratio",
            null_rule="no labels to calibrate on",
            minimum=0,
            maximum=1,
        ),
        _score("bcrs_score", "B-CRS: the calibrated probability, 0-100.", "no pillar score"),
        Column("band", "text", "Risk band after hysteresis.", allowed=BANDS),
        Column("rank_in_week_count", "integer", "1 is the riskiest client of the week.", "count", minimum=1),
        Column("is_alert", "boolean", "True within the week's alert capacity."),
        Column("split", "text", "Part the week plays for the model that scored it.", allowed=SPLITS),
    ),
)
PILLAR_CONTRIBUTIONS = TableContract(
    "scores",
    "pillar_contributions",
    "One row per client above MINIMAL, as-of date and pillar: its share of the champion's raw score.",
    ("client_id", "as_of_date", "pillar"),
    (
        CLIENT,
        AS_OF,
        Column("pillar", "text", "Pillar key, or 'base' for the constant."),
        Column("contribution", "number", "Additive contribution to the raw score.", "log-odds"),
    ),
)
ALERT_REASONS = TableContract(
    "scores",
    "alert_reasons",
    "One row per alert and reason, strongest first.",
    ("client_id", "as_of_date", "reason_rank"),
    (
        CLIENT,
        AS_OF,
        Column("reason_rank", "integer", "1 is the strongest reason.", "count", minimum=1),
        Column("pillar", "text", "Pillar the reason comes from."),
        Column("feature", "text", "Feature behind the reason."),
        Column("value", "number", "The feature's value.", "see feature", null_rule="absence itself is the reason"),
        Column("own_normal", "number", "The client's mean over earlier weeks.", "see feature", null_rule="first week"),
        Column("peer_normal", "number", "Median of the peer group that week.", "see feature", null_rule="no peers"),
        Column("contribution", "number", "Contribution to the raw score.", "log-odds"),
        Column("reason_text", "text", "The reason in words."),
    ),
)
METRICS = TableContract(
    "models",
    "metrics",
    "One row per model, split and metric, with its 95 % interval.",
    ("model", "split", "metric"),
    (
        Column("model", "text", "bcrs, one of its aggregations, or a baseline."),
        Column("split", "text", "validation or test."),
        Column("metric", "text", "auroc, average_precision, brier, precision and recall at capacity, counts."),
        Column("value", "number", "Point estimate.", "-", null_rule="not computable; the reason says why"),
        Column(
            "low", "number", "Lower end of the 95 % bootstrap interval, resampled by client.", "-", null_rule="none"
        ),
        Column("high", "number", "Upper end of the interval.", "-", null_rule="none"),
        Column("reason", "text", "Why a value is missing.", null_rule="value present"),
        Column("model_id", "text", "Model that was measured."),
    ),
)
