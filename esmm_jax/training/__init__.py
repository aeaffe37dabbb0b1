"""A config becomes a trained and evaluated run.

  loop        a run from top to bottom, a function a phase
  job         the phases before the loop: build, open, initialise or restore
  phases      those around and after it: report, select, test, write
  settings    the config as typed sections; parts: what their names stand for
  program     builds the parts of a run from its settings
  state       the state and the specification of a step
  step, gradients   one optimizer step of all replicas
  feeding, resident   batches from the host, or from device memory
  prediction  scores of a batch
  predict, common_ctr   scores of whole splits; CTCVR with another run's pCTR
  replica_run   the state of one replica outside the compiled program
  selection, non_finite, memory, clock, cost   parts that stand alone
"""
