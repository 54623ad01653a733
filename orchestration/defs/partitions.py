"""The partitions of everything weekly: one per as-of Monday.

The key *is* the as-of date, the exclusive end of what a week may see, so there is no window start to
confuse it with. Partitions are dynamic because the weeks belong to the data: ingesting data registers
them, whether it is last week's bank or a simulator's year 2017.
"""

from __future__ import annotations

from datetime import date

import dagster as dg

AS_OF_WEEKS = dg.DynamicPartitionsDefinition(name="as_of_week")
"""As-of Mondays, as ``YYYY-MM-DD``."""


def register_weeks(instance: dg.DagsterInstance, weeks: list[date]) -> None:
    """Make the instance's partitions exactly ``weeks``, in ascending order.

    Dagster keeps insertion order and ranges follow it, so keys are only appended where that keeps the
    order, and otherwise written anew.
    """
    wanted = sorted(week.isoformat() for week in weeks)
    present = list(instance.get_dynamic_partitions(AS_OF_WEEKS.name or ""))
    if wanted[: len(present)] != present:
        for key in present:
            instance.delete_dynamic_partition(AS_OF_WEEKS.name or "", key)
        present = []
    instance.add_dynamic_partitions(AS_OF_WEEKS.name or "", wanted[len(present) :])


def weeks_of(context: dg.AssetExecutionContext) -> list[date]:
    """The as-of dates this step is asked for, ascending."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)
