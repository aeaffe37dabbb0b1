"""Balanced runs: the finished run whose mean weights another one replays.

  replayed   weights, towers and parts of that run
"""
