"""Predictions of a finished run's test split, and the truth of its rows."""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.json_files import read_json
from esmm_jax.reporting.page.scores import Truth
from esmm_jax.training import parts
from esmm_jax.training import program as programs
from esmm_jax.training.settings import Settings
from esmm_jax.training.predict import Predictor, save_predictions
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, provenance
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import predictions_file
from ml_collections import config_dict


def config_of(config: Mapping[str, Any]) -> config_dict.ConfigDict:
  """The config that config.json holds; lists as the tuples that they were."""

  def plain(value: Any) -> Any:
    if isinstance(value, dict):
      return {k: plain(v) for k, v in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list) else value

  return config_dict.ConfigDict(plain(dict(config)))


def predict_test(
    config: Mapping[str, Any], workdir: str, data_dir: str | None
) -> str:
  """Scores the test split with the last checkpoint's chosen parameters.

  Args:
    config: What config.json holds.
    workdir: Of the finished run; gets predictions/test.parquet.
    data_dir: Where prepared data lies.

  Returns:
    The file.

  Raises:
    InputError: There is no test split or no checkpoint, or the data is not
      there.
  """
  options = config_of(config)
  split = options.dataset.test_split
  if not split:
    raise InputError('The config names no test split.')
  checkpoints = Checkpoints(workdir, read_only=True)
  try:
    if checkpoints.latest_step is None:
      raise InputError(f'{workdir} has no checkpoint.')
    arrays = checkpoints.restore_as_saved()
  except (KeyError, ValueError) as e:
    raise InputError(
        f'the checkpoint of {workdir} cannot be read, perhaps because another'
        f' version wrote it ({str(e).splitlines()[0]}).'
    ) from e
  finally:
    checkpoints.close()
  state, best = arrays['state'], arrays.get('best')
  params = {k: (best or state).get(k) or {} for k in ('net', 'stats')}
  params['table'] = (best or state)['table']
  settings = Settings.read(options)
  program = programs.program([settings], data_dir)
  predictor = Predictor(program, settings.run.eval_batch_size)
  part = predictor.split(split)
  outputs, _ = predictor.run(params, part)
  path = predictions_file(workdir)
  save_predictions(path, {k: v[0] for k, v in outputs.items()}, part.observed)
  return path


def truth_of(
    config: Mapping[str, Any], workdir: str, data_dir: str | None
) -> Truth | None:
  """Reads the true CVR of the test split's rows; None where it is not known.

  Args:
    config: What config.json holds.
    workdir: The run's folder.
    data_dir: Where prepared data lies.

  Raises:
    InputError: The data is not there, or other than the run's.
  """
  options = config_of(config)
  builder = parts.dataset(options.dataset, data_dir)
  began = read_json(os.path.join(workdir, manifest.NAME)) or {}
  if began and began['data'] != provenance.data(builder):
    raise InputError(
        f'the run had the data {began["data"]}, here is'
        f' {provenance.data(builder)}. Name its --data_dir.'
    )
  source = builder.truth_source(options.dataset.test_split)
  if source is None or 'p_cvr' not in builder.schema.truth:
    return None
  return lambda low, high: source.read(low, high, ['p_cvr'])
