"""Restores from a finished run's folder all that prediction needs."""

from collections.abc import Mapping
import contextlib
from typing import Any, NamedTuple

from esmm_jax.json_files import with_tuples
from esmm_jax.metrics.weights import RowWeights
from esmm_jax.plugins import loading as plugins
from esmm_jax.schema import Schema
from esmm_jax.training import parts
from esmm_jax.training.frozen.plan import plan, without_heads
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import StepSpec
from esmm_jax.types import InputError
from esmm_jax.workdir import chosen, manifest, verify
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import read_finished, read_schema
from esmm_jax.workdir.identity import Stamp
from ml_collections import ConfigDict


class Trained(NamedTuple):
  """A model and the parameters that a run chose.

  Attributes:
    config: The run's config.
    schema: The fields that the model reads, and the tasks.
    plan: Model and outputs; its optimizers are None.
    params: `table` float32 [V, 1, .], `net` and `stats`, each leaf [1, ...];
      without the towers of the estimator's heads, which only training needs.
    results: The content of results.json.
    folder: The run's folder; '' if the model is not of a run.
    stamp: Of the run and these parameters.
    row_weights: Of its estimator, if it weights clicked rows.
  """

  config: ConfigDict
  schema: Schema
  plan: StepSpec
  params: Mapping[str, Any]
  results: Mapping[str, Any] = {}
  folder: str = ''
  stamp: Stamp | None = None
  row_weights: RowWeights | None = None


def restore(run: str, data_dir: str | None = None) -> Trained:
  """Restores a finished run with the parameters behind its test metrics.

  Those are of the evaluation that was best on the validation split, or the last
  ones if none is selected (`selection.metric=''`). A run that was trained
  beside others has its own checkpoint, so there is always one replica.

  Args:
    run: The run's folder.
    data_dir: Folder of the prepared data; only read for runs that were made
      before runs kept their schema.

  Raises:
    InputError: There is no finished run, or its checkpoint is damaged.
  """
  saved = read_finished(run, 'config.json', '--workdir')
  results = read_finished(run, 'results.json', '--workdir')
  verify.run(run, saved)  # First, because a changed config says other things.
  plugins.use(saved, run)
  config = to_config(saved)
  schema = _schema(run, config, data_dir)
  settings = Settings.read(config)
  selects = settings.selection.keeps
  if settings.selection.metric is None:  # Then the validation split decides.
    selects = any(key.startswith('valid/') for key in results)
  params, stamp = _params(run, selects, results, saved)
  params = without_heads(params, settings, schema)
  model = plan(settings, schema)
  weights = RowWeights.of(parts.estimator(settings.objective, schema.tasks))
  return Trained(config, schema, model, params, results, run, stamp, weights)


def to_config(value: Mapping[str, Any]) -> ConfigDict:
  """Builds a config from the content of config.json.

  JSON has no tuples: all lists become the tuples that configs have.
  """
  return ConfigDict(with_tuples(value))


def _schema(run: str, config: ConfigDict, data_dir: str | None) -> Schema:
  """Returns the run's schema, that of its data for runs that kept none."""
  if schema := read_schema(run):
    return schema
  data = parts.dataset(config.dataset, data_dir)
  manifest.require_data(run, data)
  return parts.schema(data, config.dataset.fields, config.dataset.tasks)


def _params(
    run: str, selects: bool, results: Mapping[str, Any], config: dict[str, Any]
) -> tuple[dict[str, Any], Stamp]:
  """Restores the chosen parameters on one device, and their stamp.

  Args:
    run: The run's folder.
    selects: Whether the run selects an evaluation: the best parameters then
      lie beside the last ones.
    results: The content of results.json.
    config: That of config.json.

  Raises:
    InputError: The checkpoint is damaged, absent or of another run; or the
      run's config or schema is.
  """
  with contextlib.closing(Checkpoints(run, read_only=True)) as checkpoints:
    step = checkpoints.latest_step
    if step is None or step < results['steps']:
      why = ' '.join(checkpoints.messages)
      raise InputError(
          f'--workdir={run} has no intact checkpoint of its last step. {why}'
          ' Repeat the training command, which finishes the run from the'
          ' remaining checkpoint.'
      )
    carried = manifest.of_position(chosen.position(checkpoints))
    began = verify.run(run, config, read_schema(run), carried)
    plugins.compare(run, began.get('versions', {}), config)
    try:
      params = checkpoints.restore_params(selects)
      params_sha256 = chosen.params_sha256(checkpoints, selects, params)
    except (KeyError, ValueError) as e:
      raise InputError(
          f'the checkpoint of {run} cannot be read, perhaps because another'
          f' version wrote it ({str(e).splitlines()[0]}). Train again.'
      ) from e
  if params['table'].shape[1] != 1:
    raise InputError(
        f'{run}/checkpoints is of {params["table"].shape[1]} replicas; name'
        ' the folder of one of the runs.'
    )
  identity = began.get(manifest.IDENTITY, '')
  stamp = Stamp(identity, results.get('selected_step', 0), params_sha256)
  verify.parameters(run, stamp)
  return params, stamp
