"""Wiring: what runs when, on which data. An asset's body is a read, one call into ``ml_assets``, a write.

Rule of this room: nothing here computes; what is computed lives in ``ml_assets`` and ``dbt_project``.
"""
