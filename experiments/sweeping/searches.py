"""The question of a search: the config, what varies, the metric."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import shlex
from typing import Any

from esmm_jax.entry import commands
from esmm_jax.types import InputError

from esmm_jax.experiments import load
from esmm_jax.experiments.sweeping.seesaws import machine_keys

NAME = 'tune.json'
# Keys and sections that the search sets, or that name other runs.
_NOT_SEARCHED = {
    'dataset.valid_split': 'all trials are compared on the same rows',
    'dataset.test_split': 'no trial sees the test split',
    'selection.': 'all trials are compared by the same metric',
    'run.': 'it is of the machine, and changes no number',
    'common_ctr': 'it names a run whose test split was predicted',
}


@dataclasses.dataclass(frozen=True)
class Design:
  """The question of a search.

  Attributes:
    spec: File and variant of the config.
    keys: Flat keys that were set on the command line.
    machine: Flat keys of the machine, of the config.
    space: The dimensions.
    metric: Metric of the validation split that is searched for.
    mode: 'min' or 'max', which end of it is best.
  """

  spec: str
  keys: Mapping[str, Any]
  machine: Mapping[str, Any]
  space: Sequence[Any]
  metric: str
  mode: str

  def point(self, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the point of a trial, which has no test split."""
    keys = {k: v for k, v in self.keys.items() if k not in self.machine}
    return {
        'config': self.spec, **keys, **params, 'dataset.test_split': ''
    }

  def command(
      self, params: Mapping[str, Any], workdir: str, data_dir: str | None
  ) -> str:
    """Returns the command that trains a trial and tests it once."""
    settings = {**self.keys, **params}
    more = [f'--data_dir={data_dir}'] if data_dir else []
    return shlex.join([
        *commands.command('train').split(),
        f'--config={self.spec}',
        *(f'--config.{key}={value}' for key, value in settings.items()),
        f'--workdir={workdir}',
        *more,
    ])


def design(
    config: Any,
    spec: str,
    keys: Mapping[str, Any],
    texts: Sequence[str],
    data_dir: str | None,
) -> Design:
  """Makes the question of a search, and refuses one that cannot be asked.

  Args:
    config: The config with the keys that were set.
    spec: Its file and variant.
    keys: The flat keys that were set.
    texts: The search space, see `space.read`.
    data_dir: Folder of prepared data; None: the default one.

  Raises:
    InputError: A key is not in the config or is not to be searched, a value is
      of another type, or the config has no validation metric.
  """
  from esmm_jax.tuning import space as spaces
  from esmm_jax.workdir.folder import flatten

  space = []
  for dimension in spaces.read(texts):
    _check_key(config, keys, dimension.key)
    dimension = spaces.typed(dimension, lambda key: _kind(config, key))
    for value in dimension.ends:
      _set(config.copy_and_resolve_references(), dimension.key, value)
    space.append(dimension)
  if 'dataset.test_split' in keys:
    raise InputError(
        'the search has no test split; leave --config.dataset.test_split for'
        ' the command of the best trial that it prints.'
    )
  chosen = _metric(config, data_dir)
  machine = machine_keys(config)
  machine['run.save_predictions'] = False  # There are no rows to predict.
  flat = flatten(config.to_dict())
  own = {k: flat.get(k, v) for k, v in keys.items()}
  return Design(spec, own, machine, space, chosen.metric, chosen.mode)


def _metric(config: Any, data_dir: str | None) -> Any:
  """Returns the metric that selects, as a `Choice`.

  Raises:
    InputError: None does.
  """
  from esmm_jax.metrics import choosing
  from esmm_jax.protocols import use as protocols
  from esmm_jax.training import parts
  from esmm_jax.training.settings import Settings

  resolved = protocols.resolve(config)
  settings = Settings.read(resolved)
  builder = parts.data_builder(resolved.dataset.to_dict(), data_dir)
  schema = parts.schema(
      builder, settings.dataset.fields, settings.dataset.tasks
  )
  has_valid = 'valid' in parts.eval_splits(settings.dataset, builder)
  asked = settings.selection
  chosen = choosing.resolve(asked.metric, asked.mode, has_valid, schema.tasks)
  if not chosen.metric:
    raise InputError(
        'a search compares its trials by selection.metric on the validation'
        ' split, and the config has none. Make such a split'
        ' (dataset.valid_split, dataset.valid_share) and leave'
        ' selection.metric unset, or name one, as valid/ctcvr/auc.'
    )
  return chosen


def settle(asked: Mapping[str, Any], workdir: str) -> None:
  """Writes what a search asks for, or compares it with what is there.

  Args:
    asked: As JSON.
    workdir: Folder of the search.

  Raises:
    InputError: The folder is of another search.
  """
  from esmm_jax.json_files import read_json, to_json, write_json

  path = os.path.join(workdir, NAME)
  before, now = read_json(path), to_json(asked)
  if before is None:
    write_json(path, now)
    return
  for key, value in now.items():
    if not isinstance(before, dict) or before.get(key) != value:
      old = before.get(key) if isinstance(before, dict) else before
      raise InputError(
          f'--workdir={workdir} is of a search with the {key} {old}, and this'
          f' one has {value}. Name another folder; --trials alone may grow.'
      )


def _check_key(config: Any, keys: Mapping[str, Any], key: str) -> None:
  """Refuses a key that cannot be searched."""
  full = load.full_key(key)
  for prefix, why in _NOT_SEARCHED.items():
    if full == prefix or prefix.endswith('.') and full.startswith(prefix):
      raise InputError(f'--space={key}: {why}.')
  if key in keys:
    raise InputError(
        f'--space={key}: --config.{key} sets it; leave one of them out.'
    )
  try:
    load.check_key(config, key)
  except InputError as e:
    raise InputError(f'--space={key}: {e}') from e


def _kind(config: Any, key: str) -> Any:
  """Returns the type of a key's value; float of a loss weight."""
  section, _, name = key.rpartition('.')
  node = config
  for part in section.split('.') if section else ():
    node = node[part]
  return node.get_type(name) if name in node else float


def _set(config: Any, key: str, value: Any) -> None:
  """Sets a key of a copy, to find out whether it can have the value."""
  try:
    load.set_key(config, key, value)
  except InputError as e:
    raise InputError(f'--space={e}') from e
