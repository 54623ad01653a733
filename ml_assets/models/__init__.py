"""Both tiers, their aggregation and what decides about them.

What belongs here: the calendar and its splits, the pillar models, tier 2, aggregation, calibration, bands,
baselines, the registry. Nothing here looks at a test week: :mod:`ml_assets.evaluation.final_test` is the only
place that does. Nothing here knows Dagster or DuckDB; frames come in, frames and models go out.
"""
