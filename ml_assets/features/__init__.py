"""Features of a client as of a Monday: one pillar, one file.

Rule of this room: a module gets frames and configuration and returns a frame that fulfils its
``CONTRACT``; it reads no clock, environment, file or connection, and no pillar imports another. What
pillars share (sorted history, window slices, the graph) lives in ``history.py`` and ``graph.py``.

The point-in-time law: a row counts for as-of date ``D`` only if it happened before ``D`` **and** was
known before ``D``. ``history.py`` enforces it in one place.
"""
