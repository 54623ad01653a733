"""Why a client has its score: pillar contributions and feature reasons in words.

Nothing here recomputes a score; what is explained is what was scored.
"""
