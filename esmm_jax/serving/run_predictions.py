"""Predictions of a finished run's test split, and the truth of its rows."""

from collections.abc import Callable, Mapping
from typing import Any

from esmm_jax.metrics.by_space import Observed
from esmm_jax.plugins import loading as plugins
from esmm_jax.serving.predictor import load, Predictor
from esmm_jax.serving.restore import to_config
from esmm_jax.training import parts
from esmm_jax.training.predict import observe, save_predictions
from esmm_jax.training.predict import split_metrics
from esmm_jax.types import Array, InputError
from esmm_jax.workdir import manifest
from esmm_jax.workdir.folder import predictions_file


def predict_test(
    workdir: str, data_dir: str | None, path: str = ''
) -> str:
  """Writes the predictions that the run would have saved itself.

  They are those of `config.save_predictions`, to the bit: the chosen
  parameters, in batches of `eval_batch_size`.

  Args:
    workdir: Folder of the finished run.
    data_dir: Folder of the prepared data.
    path: File to write; '': predictions/test.parquet of the run.

  Returns:
    Path of the file.

  Raises:
    InputError: There is no test split, no sound checkpoint or no data.
  """
  path = path or predictions_file(workdir)
  _predict(load(workdir, data_dir=data_dir), data_dir, path)
  return path


def score_test(
    predictor: Predictor, data_dir: str | None, path: str
) -> dict[str, Any]:
  """Writes the predictions of the test split, and computes their metrics.

  Args:
    predictor: Of a run, or the mean of several.
    data_dir: Folder of the prepared data.
    path: File to write.

  Returns:
    `test/space/metric` as in results.json, without the use of gates.

  Raises:
    InputError: There is no test split or no data.
  """
  outputs, observed = _predict(predictor, data_dir, path)
  metrics = split_metrics(outputs, observed, {})
  return {f'test/{name}': value for name, value in metrics.items()}


def _predict(
    predictor: Predictor, data_dir: str | None, path: str
) -> tuple[dict[str, Array], Observed]:
  """Writes the predictions of the test split; returns outputs and labels."""
  split = predictor.config.dataset.test_split
  if not split:
    raise InputError('The config names no test split.')
  builder = parts.dataset(predictor.config.dataset, data_dir)
  manifest.require_data(predictor.folder, builder)
  outputs = predictor.split_outputs(builder, split)
  observed = observe(builder, split, predictor.schema.tasks)
  save_predictions(
      path, outputs, observed, predictor.stamp, predictor.history_protocol
  )
  return outputs, observed


def open_truth(
    config: Mapping[str, Any], workdir: str, data_dir: str | None
) -> Callable[[int, int], Mapping[str, Array]] | None:
  """Opens the true CVR of the test split's rows.

  Args:
    config: The content of config.json.
    workdir: The run's folder.
    data_dir: Folder of the prepared data.

  Returns:
    (first row, row behind the last) -> `p_cvr` [n] of these rows; None where
    the truth is not known.

  Raises:
    InputError: The data is not there, or other than the run's.
  """
  plugins.use(config, workdir)
  dataset = to_config(config).dataset
  builder = parts.dataset(dataset, data_dir)
  manifest.require_data(workdir, builder)
  source = builder.truth_source(dataset.test_split)
  if source is None or 'p_cvr' not in builder.schema.truth:
    return None
  return lambda low, high: source.read(low, high, ['p_cvr'])
