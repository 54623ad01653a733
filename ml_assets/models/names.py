"""The vocabulary of models: pillars, schemes, the columns that carry their scores.

Rule of this file: names only.
"""

from __future__ import annotations

from typing import Final

PILLARS: Final = ("p1_volume_velocity", "p2_network", "p3_temporal", "p4_typology", "p5_profile")
"""Keys of the five tier-1 pillars."""
SCHEME_PILLAR: Final = "p6_scheme"
"""Key of tier 2."""
SCORE_OF: Final = {p: f"s_{p[:2]}_score" for p in (*PILLARS, SCHEME_PILLAR)}
"""Pillar key -> column of its score in a wide frame: ``s_p1_score`` .. ``s_p6_score``."""
PILLAR_OF: Final = {column: pillar for pillar, column in SCORE_OF.items()}
"""Inverse of :data:`SCORE_OF`."""
SCHEME_PREFIXES: Final = {"underground_banking": "ub", "trade_based": "tb", "msb_professional": "msb"}
"""Strategic scheme -> prefix of its indicator columns, after ``p6_``."""
SCHEME_TITLE: Final = {
    "underground_banking": "underground banking",
    "trade_based": "trade-based laundering",
    "msb_professional": "professional laundering through money services businesses",
}
"""Strategic scheme -> what an investigator calls it."""
SCHEMES: Final = tuple(SCHEME_PREFIXES)
"""Strategic schemes, as score columns are prefixed."""
TITLE_OF: Final = {
    "p1": "volume and velocity",
    "p2": "network and counterparties",
    "p3": "timing",
    "p4": "typologies",
    "p5": "fit to the profile",
    "p6": "laundering schemes",
}
"""First two letters of a pillar's key -> what an investigator calls it."""
PILLAR_OF_PREFIX: Final = {p[:2]: p for p in PILLARS}
"""First two letters of a feature's name -> its pillar."""
STRATEGIES: Final = ("linear", "bayesian", "boosting")
"""Aggregations, simplest first: that order breaks ties between champions."""
BANDS: Final = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
"""Bands in ascending order of risk."""
BASE: Final = "base"
"""Name of the contribution that belongs to no pillar."""
