"""A past score beside its reconstruction: equal or not, and what moved.

Rule of this file: it compares what it is handed and computes no score. Equal means equal to the last bit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from ml_assets.contracts.table import TableContract
from ml_assets.models.matrix import GRAIN
from ml_assets.models.names import PILLAR_OF, SCORE_OF

MOVED = pl.Schema(
    {
        "pillar": pl.String,
        "feature": pl.String,
        "description": pl.String,
        "unit": pl.String,
        "before": pl.Float64,
        "after": pl.Float64,
    }
)
"""Columns of :func:`moved_features`."""

PILLARS_MOVED = pl.Schema({"pillar": pl.String, "before": pl.Float64, "after": pl.Float64})
"""Columns of :func:`moved_pillars`."""


def same_bits(left: float | None, right: float | None) -> bool:
    """Equal to the last bit; null equals null only.

    >>> same_bits(0.1 + 0.2, 0.3), same_bits(0.0, -0.0), same_bits(None, None), same_bits(None, 0.0)
    (False, False, True, False)
    """
    if left is None or right is None:
        return left is right
    return struct.pack("<d", left) == struct.pack("<d", right)


@dataclass(frozen=True)
class Provenance:
    """What made a score and what would make it now.

    ``stored`` and ``present`` map code, features, configuration and tsfresh selection to a hash or text.
    """

    model_id: str
    train_weeks: str
    validation_weeks: str
    source: str
    stored: Mapping[str, str]
    present: Mapping[str, str]

    @property
    def changed(self) -> list[str]:
        """What is no longer as it was when the model was made."""
        return [name for name, value in self.stored.items() if self.present.get(name) != value]


@dataclass(frozen=True)
class Replay:
    """One client's past score, as published and as rebuilt.

    ``published`` and ``rebuilt`` hold bcrs_score, band, rank_in_week_count. ``equal_clients`` of ``clients`` of the
    week were rebuilt to the last bit. ``late`` counts the client's transactions of before the as-of date that were
    learned on or after it; ``hindsight`` is the score with them, None where there are none.
    """

    client_id: str
    as_of: date
    generation: int
    provenance: Provenance
    published: Mapping[str, object]
    rebuilt: Mapping[str, object] | None
    equal_clients: int
    clients: int
    differing: pl.DataFrame
    late: int = 0
    late_base: float = 0.0
    hindsight: Mapping[str, object] | None = None
    features_moved: pl.DataFrame | None = None
    pillars_moved: pl.DataFrame | None = None

    @property
    def is_equal(self) -> bool:
        """The rebuilt score, band and rank are the published ones."""
        if self.rebuilt is None:
            return False
        return (
            same_bits(_number(self.published["bcrs_score"]), _number(self.rebuilt["bcrs_score"]))
            and self.published["band"] == self.rebuilt["band"]
            and self.published["rank_in_week_count"] == self.rebuilt["rank_in_week_count"]
        )

    def sentences(self) -> list[str]:
        """The finding in words."""
        who = f"Client {self.client_id} as of {self.as_of}"
        if self.is_equal:
            words = [
                f"{who}: the score rebuilt from what was known then equals the published one byte for byte "
                f"({_shown(self.published)})."
            ]
        elif self.rebuilt is None:
            words = [f"{who}: published as {_shown(self.published)}, but the client is not in the week rebuilt."]
        else:
            words = [f"{who}: published as {_shown(self.published)}, rebuilt as {_shown(self.rebuilt)}."]
        words.append(f"{self.equal_clients} of {self.clients} clients of the week were rebuilt to the last bit.")
        if self.provenance.changed:
            words.append(
                f"Changed since model {self.provenance.model_id} was made: {', '.join(self.provenance.changed)}"
                + ("." if self.is_equal else ", which can be why.")
            )
        if not self.is_equal and self.rebuilt is not None:
            names = self.differing["feature"].head(5).to_list()
            words.append(
                f"{self.differing.height} features of the client differ from the ones on file: {', '.join(names)}."
                if names
                else "No feature on file differs: what differs is the model's code or the rows of other clients."
            )
        words += self._late_sentences()
        return words

    def to_json(self) -> str:
        """The finding for other programs: figures, hashes, what moved and the sentences."""
        tables = {
            "differing": self.differing,
            "features_moved": self.features_moved,
            "pillars_moved": self.pillars_moved,
        }
        scores = {"published": self.published, "rebuilt": self.rebuilt, "hindsight": self.hindsight}
        shown = ("model_id", "bcrs_score", "band", "rank_in_week_count")
        return json.dumps(
            {
                "client_id": self.client_id,
                "as_of_date": str(self.as_of),
                "generation": self.generation,
                "is_equal": self.is_equal,
                "equal_clients": self.equal_clients,
                "clients": self.clients,
                "late_transactions": self.late,
                "late_amount_base": self.late_base,
                "stored": dict(self.provenance.stored),
                "changed": self.provenance.changed,
                **{name: None if s is None else {k: s[k] for k in shown} for name, s in scores.items()},
                **{name: None if t is None else t.to_dicts() for name, t in tables.items()},
                "sentences": self.sentences(),
            },
            indent=1,
            ensure_ascii=False,
        )

    def _late_sentences(self) -> list[str]:
        if not self.late:
            return ["No transaction of this client from before that date was learned later."]
        words = [
            f"{self.late} transactions of this client from before that date ({self.late_base:,.2f} in base currency) "
            "were learned on it or later: they could not count and did not."
        ]
        if self.hindsight is not None and self.rebuilt is not None and self.features_moved is not None:
            words.append(
                f"Had they been known, the score would have been {_shown(self.hindsight)} instead of "
                f"{_shown(self.rebuilt)}; {self.features_moved.height} features move."
            )
        return words


def _number(value: object) -> float | None:
    return None if value is None else float(str(value)) if not isinstance(value, float) else value


def _shown(score: Mapping[str, object]) -> str:
    value = _number(score["bcrs_score"])
    return f"{'no score' if value is None else repr(value)}, {score['band']}, rank {score['rank_in_week_count']}"


def equal_rows(published: pl.DataFrame, rebuilt: pl.DataFrame) -> int:
    """Clients of a week whose score, band and rank are the same to the last bit.

    Parameters
    ----------
    published, rebuilt : client_id, bcrs_score, band, rank_in_week_count; one row per client of one week.
    """
    columns = ["bcrs_score", "band", "rank_in_week_count"]
    both = published.select("client_id", *columns).join(
        rebuilt.select("client_id", *columns), on="client_id", how="inner", suffix="_rebuilt"
    )
    # reinterpreted as integers, -0.0 and 0.0 are two numbers
    bits = [both[c].reinterpret(signed=True) for c in ("bcrs_score", "bcrs_score_rebuilt")]
    same = bits[0].eq_missing(bits[1])
    for column in columns[1:]:
        same &= both[column].eq_missing(both[f"{column}_rebuilt"])
    return int(same.sum())


def moved_features(
    before: Mapping[str, pl.DataFrame],
    after: Mapping[str, pl.DataFrame],
    client_id: str,
    as_of: date,
    contracts: Mapping[str, TableContract],
    used: Mapping[str, Sequence[str]] | None = None,
) -> pl.DataFrame:
    """Features of one client and week whose values differ, by pillar.

    Parameters
    ----------
    before, after : pillar key -> feature rows, other weeks are left aside.
    used : names to look at per pillar; all where None.

    Returns
    -------
    frame : as :data:`MOVED`, largest relative change first.
    """
    rows = []
    for pillar, contract in contracts.items():
        left, right = (
            f[pillar].filter((pl.col("client_id") == client_id) & (pl.col("as_of_date") == as_of))
            for f in (before, after)
        )
        if left.is_empty() or right.is_empty():
            continue
        names = used.get(pillar, ()) if used is not None else [c.name for c in contract.features]
        for column in contract.features:
            if column.name not in names or column.name in GRAIN or column.dtype not in {"number", "integer", "boolean"}:
                continue
            values = [f[column.name].cast(pl.Float64).fill_nan(None).item() for f in (left, right)]
            if not same_bits(*values):
                rows.append((pillar, column.name, column.description, column.unit, *values))
    frame = pl.DataFrame(rows, schema=MOVED, orient="row")
    size = pl.max_horizontal(pl.col("before").abs(), pl.col("after").abs())
    change = (pl.col("after").fill_null(0.0) - pl.col("before").fill_null(0.0)).abs() / size
    return frame.sort(change.fill_nan(0.0).fill_null(0.0), "feature", descending=[True, False])


def moved_pillars(before: pl.DataFrame, after: pl.DataFrame, client_id: str) -> pl.DataFrame:
    """Pillar scores of one client that differ.

    Parameters
    ----------
    before, after : client_id, ``s_p1_score`` .. ``s_p6_score`` of one week.

    Returns
    -------
    frame : as :data:`PILLARS_MOVED`, largest change first.
    """
    left, right = (f.filter(pl.col("client_id") == client_id) for f in (before, after))
    rows = [
        (PILLAR_OF[c], left[c].item(), right[c].item())
        for c in SCORE_OF.values()
        if left.height and right.height and not same_bits(left[c].item(), right[c].item())
    ]
    frame = pl.DataFrame(rows, schema=PILLARS_MOVED, orient="row")
    return frame.sort((pl.col("after") - pl.col("before")).abs(), "pillar", descending=[True, False], nulls_last=True)
