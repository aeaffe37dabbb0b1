"""From a finished run to scores of new rows.

  restore      a run's folder -> config, schema, model and chosen parameters
  inputs       columns as people have them -> ids and numbers (no JAX)
  predictor    columns -> probabilities, in batches of a few sizes
  calibration  Platt and isotonic, fitted on the validation split
  calibrating  the same of a whole run, kept in its folder
  files        Parquet and CSV files as a stream of rows (no JAX)
  scoring      such a stream -> one Parquet file of scores, goes on after a kill
  exporting    the model as StableHLO that runs without this package

`esmm_jax.load(run)` gives a `Predictor`.
"""
