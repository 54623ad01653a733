"""Measuring what the models do: metrics with intervals, and the one look at the test weeks.

Nothing here fits anything.
"""
