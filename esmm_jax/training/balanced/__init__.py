"""Balanced runs: what they leave on record, and the run that one replays.

  whole_run  the record of a run in its results, and a line about it
  replayed   the mean weights of a finished run
"""
