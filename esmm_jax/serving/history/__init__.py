"""What was known of rows before them, when scores are asked for.

  state      a run's history: looks rows up, takes observed ones
  remembers  the part of a `Predictor` that has one
  replay     files whose rows see the earlier ones among them
"""
