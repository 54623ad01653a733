"""Segments and personas: groups of clients that behave alike, what sets each apart, and a policy on top of them.

Rule of this room: segments are read from features that exist; no feature is defined here. Nothing here sees a label
but the functions that describe or simulate (``personas``, ``policy``): segments are found without labels, on training
weeks only. Frames in, frames out: no warehouse, no file, no clock; seeds come from the configuration.
"""
