"""Balancing: combines the losses of the tasks.

  static   a fixed weight for each term
"""
