"""Histories when scores are asked for: looked up, observed, replayed.

  state      a run's history: looks rows up, takes observed ones
  remembers  the part of a `Predictor` that has one
  replay     files whose rows see the earlier ones among them
  kit        raw rows of an export of such a run, without this package
"""
