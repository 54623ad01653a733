"""What people and other programs talk to. Nothing here writes to the warehouse except by starting Dagster jobs."""
