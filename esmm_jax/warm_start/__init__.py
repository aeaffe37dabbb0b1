"""A run that begins with another one, `init_from`, or refits it, `refit_of`.

  options      the config's keys
  base         the run that it begins with: its config, schema and checkpoint
  resolve      completes the config, refuses one that does not fit
  refit        completes the config of a run that trains another one anew
  refit_steps  its rows and its steps
  takeover     a fresh state -> one with the parameters and moments of the base
"""
