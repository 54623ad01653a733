"""Contracts of the tables that belong to no single module: the calendar and what training leaves on its way.

Contracts of features and scores stand beside the function that fulfils them.
"""

from __future__ import annotations

from ml_assets.contracts.table import Column, TableContract

CLIENT = Column("client_id", "text", "Client the row describes.")
AS_OF = Column("as_of_date", "date", "As-of Monday, 00:00 UTC, exclusive end of what the row has seen.")
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
TSFRESH_SELECTION = TableContract(
    "models",
    "tsfresh_selection",
    "One row per tsfresh characteristic that the frozen selection keeps.",
    ("slot",),
    (
        Column("slot", "text", "Feature column of P3 that holds the characteristic."),
        Column("characteristic", "text", "Series, tsfresh calculator and parameters."),
    ),
)
SPLIT_PLAN = TableContract(
    "models",
    "split_plan",
    "One row per as-of date: the part it plays in the training that is under way or was last done.",
    ("as_of_date",),
    (
        AS_OF,
        Column(
            "split",
            "text",
            "Part of the calendar.",
            allowed=("train", "embargo", "validation", "test", "live"),
        ),
    ),
)


def out_of_sample_table(name: str, score: str, is_tier1: bool) -> TableContract:
    """Contract of ``models.oof_<name>``: scores by models that did not see the row; tier 2 keeps no fold and half."""
    columns = [
        CLIENT,
        AS_OF,
        Column(
            "split",
            "text",
            "train: out-of-fold by client; embargo and validation: final model.",
            allowed=("train", "embargo", "validation"),
        ),
    ]
    if is_tier1:
        columns.append(
            Column(
                "fold", "integer", "Fold that held the client out.", "count", null_rule="not a training week", minimum=0
            )
        )
    halves = {"supervised_score": "XGBoost half.", score: "Blend of both halves."}
    if is_tier1:
        halves = {"unsupervised_score": "Isolation Forest half."} | halves
    columns += [
        Column(c, "number", text, "score", null_rule="half not available", minimum=0, maximum=100)
        for c, text in halves.items()
    ]
    return TableContract(
        "models",
        f"oof_{name}",
        "One row per client and as-of date of training and validation weeks: scores by models that did not see it.",
        ("client_id", "as_of_date"),
        tuple(columns),
    )
