"""A run that begins with another one, `init_from`, or refits it, `refit_of`.

  options   the config's keys
  base      the run that it begins with: its config, schema and checkpoint
  resolve   completes the config, refuses one that does not fit
  refit     the config and the steps of a run that trains another one anew
  takeover  a fresh state -> one with the parameters and moments of the base
"""
