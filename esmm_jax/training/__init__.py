"""A config becomes a trained and evaluated run.

  loop, phases   a run from top to bottom, a function a phase
  program        builds the parts of a run from its config
  state, step    what a step carries; one optimizer step of all replicas
  feeding, gathering   batches from the host, or from device memory
  predict        scores of whole splits
  selection, non_finite, memory, cost   parts of a run that stand alone
"""
