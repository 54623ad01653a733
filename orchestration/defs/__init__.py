"""Dagster definitions, one file per layer or kind of definition."""
