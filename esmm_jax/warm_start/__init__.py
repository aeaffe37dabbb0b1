"""A run that begins with the parameters of another one: `init_from`.

  options   the config's keys
  base      the run that it begins with: its config, schema and checkpoint
  resolve   completes the config, refuses one that does not fit
  takeover  a fresh state -> one with the parameters and moments of the base
"""
