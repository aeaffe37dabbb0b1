"""Click and conversion models in JAX.

  types, schema        names shared by all; what the columns of a data set mean
  tasks                the funnel: what is predicted, on which sample space
  data                 raw files -> columns on disk -> batches (no JAX)
  models               features -> one output for each task
  estimators           on which sample space the outputs are trained
  sampling             which impressions stand in CVR's loss, and how often
  balancing, optim     how losses are combined; how parameters move
  train_step, train    one step of all replicas; a whole run
  feeding              batches from the host, or from device memory
  protocols            published set-ups of Ali-CCP
  predict, evaluate    scores of a split; their metrics, named by sample space
  serving              a finished run -> scores of new rows; export, calibration
  metrics              exact ranking and probability metrics, significance
  sweep, replicas      sweeps as plain data; which runs go side by side
  results, report      many runs -> a table with spread, gains and tests
  figures, plots       many runs -> pictures
  page                 a run or a sweep -> one HTML file
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from esmm_jax.serving.predictor import Predictor


def load(
    run: str, batch_size: int | None = None, data_dir: str | None = None
) -> 'Predictor':
  """The predictor of a finished run; see `serving.predictor.load`.

      scores = esmm_jax.load('runs/esmm').predict(columns)
      scores['p_ctr']  # float32 [N]
  """
  from esmm_jax.serving import predictor  # JAX only where it is used.

  return predictor.load(run, batch_size, data_dir)
