"""Scores of new rows with a finished run.

  restore          a run's folder -> config, schema, model, chosen parameters
  inputs           columns as people have them -> ids and numbers (no JAX)
  model_inputs     ids and numbers -> dense arrays -> the batch of a model
  predictor        columns -> probabilities, in batches of a few sizes
  members          the runs that a person names, and why they are not averaged
  averaged         the mean of several runs, with the face of a predictor
  calibrators      Platt and isotonic: the fitted maps, and fitting one
  calibrate        fits the calibrators of a run on its validation split
  labelled         raw labelled rows -> encoded columns and labels
  evaluation       metrics of labelled rows, or of a split; segments: by value
  scoring          a stream of rows -> one file, resumes after a kill
  scored_parts     the parts of that stream, and the file of each
  workers          the same in several processes; `BatchScorer`
  joining          their files -> the file
  outputs          the file of scores, Parquet or CSV
  run_predictions  predictions and truth of a run's own test split
  exporting        the model as StableHLO that runs without this package
  exported         its folder, checked before anything of it is read
  kit              what encodes and serves rows there, without this package

`esmm_jax.load(run)` returns a `Predictor`, of several runs an `Averaged`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
  """Imports `BatchScorer` when it is first used: modules here import JAX."""
  if name != 'BatchScorer':
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from esmm_jax.serving.workers.batch_scorer import BatchScorer

  return BatchScorer
