"""Tables and pictures for people, made from values handed in.

Rule of this room: it formats; it neither queries nor computes a score.
"""
