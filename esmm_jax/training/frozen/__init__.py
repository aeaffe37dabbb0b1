"""The predictions of a finished run for the rows that another one trains on.

An estimator asks for them (`Needs.frozen`), and `estimator_options.frozen_run`
names the run: its pCTR and pCVR come as the labels `frozen_ctr`, `frozen_cvr`.

  plan     model and outputs of a finished run
  run      the run that a config names, and whether it fits
  columns  predicts the rows with its parameters
"""
