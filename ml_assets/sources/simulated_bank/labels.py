"""Who was reported, and when.

Rule of this file: suspicious transaction reports, right and wrong. Right ones were dated by the plan; wrong
ones fall on honest clients, mostly on look-alikes and soon after an honest episode, and are spread over history
where the client has none.
"""

from __future__ import annotations

import numpy as np

from ml_assets.config import SimulationConfig
from ml_assets.sources.simulated_bank.launderers import Plan, choose
from ml_assets.sources.simulated_bank.lookalikes import NO_EPISODE, Episodes
from ml_assets.sources.simulated_bank.population import IS_LOOKALIKE, Population
from ml_assets.sources.simulated_bank.vocabulary import Array

_LOOKALIKE_WEIGHT = 9.0


def report_days(
    rng: np.random.Generator, population: Population, episodes: Episodes, plan: Plan, config: SimulationConfig
) -> Array:
    """Day of the report per client, -1 for none; shape ``(clients,)``."""
    n = len(population)
    days = config.days
    is_honest = np.ones(n, dtype=bool)
    is_honest[plan.client] = False
    has_episode = episodes.kind != NO_EPISODE
    looks_bad = IS_LOOKALIKE[population.archetype] | has_episode
    known_long_enough = population.onboard_day < days * 0.6
    weight = np.where(is_honest & known_long_enough, np.where(looks_bad, _LOOKALIKE_WEIGHT, 1.0), 0.0)
    wrong = choose(rng, weight, round(config.wrong_str_ratio * int(is_honest.sum())))

    low = np.maximum(population.onboard_day[wrong] + 30, min(30, days // 3))
    spread = (rng.permutation(len(wrong)) + rng.random(len(wrong))) / max(len(wrong), 1)
    day = low + spread * np.maximum(days - 1 - low, 0)
    after_episode = episodes.day[wrong] + rng.integers(10, 50, len(wrong))
    day = np.where(has_episode[wrong] & (after_episode < days), after_episode, day)

    out = np.full(n, -1, dtype=np.int64)
    out[plan.client] = plan.str_day
    out[wrong] = np.minimum(np.rint(day), days - 1).astype(np.int64)
    return out
