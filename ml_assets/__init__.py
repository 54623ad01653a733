"""What is computed: pure functions from frames to frames, without Dagster, DuckDB, clock or environment."""
