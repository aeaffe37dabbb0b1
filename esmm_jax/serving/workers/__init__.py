"""Scoring in several processes: ours, of Ray, or of another engine.

In comes a run by its name, so that each process loads it once; rows, or spans
of files; out come the same rows with scores.
"""
