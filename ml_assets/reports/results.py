"""Results of several runs as Markdown: the quality table and the table of where the time goes."""

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


def quality_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """AUROC and average precision with 95 % intervals on the test weeks.

    Parameters
    ----------
    summaries : name of the run -> content of its ``summary.json``.

    Returns
    -------
    Markdown, one row per run and model. A model that could not be measured shows ``n/a``.

    >>> run = {"models": {"bcrs": {"auroc": 0.9, "auroc_ci": [0.8, 0.95], "ap": None, "ap_ci": None}}}
    >>> print(quality_table({"demo": run}))
    | data | model | AUROC [95 %] | average precision [95 %] |
    |---|---|---|---|
    | demo | **B-CRS** | 0.900 [0.800, 0.950] | n/a |
    """
    lines = ["| data | model | AUROC [95 %] | average precision [95 %] |", "|---|---|---|---|"]
    for name, summary in summaries.items():
        for model, words in MODELS.items():
            if model in summary["models"]:
                m = summary["models"][model]
                cells = (_cell(m["auroc"], m["auroc_ci"]), _cell(m["ap"], m["ap_ci"]))
                lines.append(f"| {name} | {words} | {cells[0]} | {cells[1]} |")
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
