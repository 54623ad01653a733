"""Results of several runs as Markdown: quality, size, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODELS = {
    "bcrs": "**B-CRS**",
    "bcrs_linear": "B-CRS, linear",
    "bcrs_boosting": "B-CRS, boosting",
    "bcrs_bayesian": "B-CRS, Bayesian",
    "flat_xgboost": "flat XGBoost",
    "static_kyc": "static KYC",
    "volume_only": "volume only",
    "fixed_rules": "fixed rules",
    "rule_risk_score": "rule-based risk score",
}
"""Models in the order of the tables, with the words shown."""


def _cell(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def quality_table(
    summaries: Mapping[str, Mapping[str, Any]], paired: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None
) -> str:
    """AUROC and average precision with 95 % intervals on the test weeks, and what B-CRS gains on each other model.

    Parameters
    ----------
    summaries : name of the run -> content of its ``summary.json``.
    paired : name of the run -> model -> ``ap`` and ``ap_ci`` of B-CRS less the model, of its ``results.json``; runs
        without a report are absent.

    Returns
    -------
    Markdown, one row per run and model. A model that could not be measured shows ``n/a``; a gain that was not
    measured is left empty.

    >>> run = {"models": {"bcrs": {"auroc": 0.9, "auroc_ci": [0.8, 0.95], "ap": None, "ap_ci": None}}}
    >>> print(quality_table({"demo": run}))
    | data | model | AUROC [95 %] | average precision [95 %] | B-CRS less this, paired [95 %] |
    |---|---|---|---|---|
    | demo | **B-CRS** | 0.900 [0.800, 0.950] | n/a |  |
    """
    lines = [
        "| data | model | AUROC [95 %] | average precision [95 %] | B-CRS less this, paired [95 %] |",
        "|---|---|---|---|---|",
    ]
    for name, summary in summaries.items():
        gains = (paired or {}).get(name, {})
        for model, words in MODELS.items():
            if model in summary["models"]:
                m, gain = summary["models"][model], gains.get(model)
                cells = (_cell(m["auroc"], m["auroc_ci"]), _cell(m["ap"], m["ap_ci"]))
                shown = "" if gain is None or gain["ap"] is None else _cell(gain["ap"], gain["ap_ci"])
                lines.append(f"| {name} | {words} | {cells[0]} | {cells[1]} | {shown} |")
    return "\n".join(lines)


def size_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """What went into each run, and the seconds of its stages, those of the report included where it was made.

    >>> run = {"rows_in": 12000, "rows_quarantined": 3, "clients": 50, "weeks": 9, "seconds": {"stages": {"a": 1.4}}}
    >>> print(size_table({"demo": run}))
    | data | rows in | quarantined | clients | as-of weeks | all stages, s |
    |---|---|---|---|---|---|
    | demo | 12,000 | 3 | 50 | 9 | 1 |
    """
    lines = ["| data | rows in | quarantined | clients | as-of weeks | all stages, s |", "|---|---|---|---|---|---|"]
    for name, s in summaries.items():
        counts = [f"{s[key]:,}" for key in ("rows_in", "rows_quarantined", "clients", "weeks")]
        lines.append(f"| {name} | {' | '.join(counts)} | {sum(s['seconds']['stages'].values()):.0f} |")
    return "\n".join(lines)


def time_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Seconds by step, one column per run, slowest step of the first run first; ``–`` where a step did not run.

    >>> print(time_table({"demo": {"seconds": {"steps": {"a": 1.0, "b": 2.5}}}}))
    | step | demo, s |
    |---|---|
    | b | 2.5 |
    | a | 1.0 |
    | **all** | 3.5 |
    """
    steps: dict[str, float] = {}
    for summary in summaries.values():
        for step, seconds in summary["seconds"]["steps"].items():
            steps.setdefault(step, seconds)
    ordered = sorted(steps, key=lambda s: (-steps[s], s))
    lines = [
        "| step | " + " | ".join(f"{name}, s" for name in summaries) + " |",
        "|---" * (len(summaries) + 1) + "|",
    ]
    for step in ordered:
        taken = [s["seconds"]["steps"].get(step) for s in summaries.values()]
        lines.append(f"| {step} | " + " | ".join("–" if t is None else f"{t:.1f}" for t in taken) + " |")
    sums = [sum(s["seconds"]["steps"].values()) for s in summaries.values()]
    lines.append("| **all** | " + " | ".join(f"{t:.1f}" for t in sums) + " |")
    return "\n".join(lines)
