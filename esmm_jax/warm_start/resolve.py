"""Completes a config that names another run.

`init_from` is a path; the run's identity has fingerprints instead, so that
another path to the same run makes no other run, and another run at the same
path does. They are noted in config.json, so a run that has begun resumes after
the other one is deleted. `refit` does the same for `refit_of`.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import paths
from esmm_jax.data.tabular import encoder_hashes, growing
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import FOLDER
from esmm_jax.json_files import read_json
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.optim.tables import optimizer_name, TableOptions
from esmm_jax.pretrained import resolve as vectors
from esmm_jax.types import InputError
from esmm_jax.warm_start import refit
from esmm_jax.warm_start.base import Base
from esmm_jax.workdir import manifest
from esmm_jax.workdir.folder import decisive, flatten, record

INIT, INIT_SHA256 = 'init_from', 'init_sha256'
VOCABULARY = 'dataset.vocabulary_of'
VOCABULARY_SHA256 = 'dataset.vocabulary_sha256'
# Keys of the model that change no parameter and not what one means.
# Vectors of new values may come; `takeover` compares those of the old ones.
_FREE_MODEL = (
    'dropout', 'gate_dropout', 'dtype', 'initializer', 'vectors_sha256'
)
_SAME = ('estimator', 'dataset.name', 'dataset.fields', 'dataset.tasks')
_SPLITS = ('train_split', 'valid_split', 'test_split')
# Keys of a data set that may differ; of others all but the splits. A user or
# item of the simulator is the same one in every log of its world.
_WORLD = ('dataset.preset', 'dataset.seed', 'dataset.users', 'dataset.items')


def resolve(config: Any, workdir: str = '') -> Any:
  """Notes the fingerprints of the run that a config begins with or refits.

  And the checksum of its vectors, `pretrained.resolve`. Idempotent. A config
  that names no run and no vectors is returned as it is.

  Args:
    config: A ConfigDict, resolved by its protocol; it is not modified.
    workdir: Folder of the new run, which need not exist; '' if it has none.

  Returns:
    The config with `init_sha256` and, on a log of the user's own,
    `dataset.vocabulary_of` and `dataset.vocabulary_sha256`; and as
    `refit.resolve` has it.

  Raises:
    InputError: There is no such run, or its parameters do not fit the config.
  """
  config = vectors.resolve(config, workdir)
  return refit.resolve(_with_fingerprints(config, workdir), workdir)


def _with_fingerprints(config: Any, workdir: str) -> Any:
  """Returns the config with those of `init_from`, if it is set."""
  run = config.get(INIT)
  vocabulary = config.dataset.get('vocabulary_of')
  if not run and not vocabulary:
    return config
  if run and os.path.realpath(paths.expand(run)) == (
      os.path.realpath(workdir or os.devnull)
  ):
    raise InputError(
        f'init_from={run} is the folder of the run itself. Use another'
        ' --workdir.'
    )
  try:
    noted = _fingerprints(config, run, vocabulary)
  except InputError:
    noted = _noted_before(config, workdir)
    if noted is None:
      raise
  filled = config.copy_and_resolve_references()
  with filled.unlocked():
    for key, value in noted.items():
      filled.update_from_flattened_dict({key: value})
  return filled


def _fingerprints(
    config: Any, run: str | None, vocabulary: str | None
) -> dict[str, str]:
  """Returns the keys that are noted, of runs that are there."""
  noted = {}
  if run and vocabulary not in (None, '', run):
    raise InputError(
        f'dataset.vocabulary_of={vocabulary} and init_from={run} are different'
        ' runs; leave dataset.vocabulary_of out, since init_from sets it.'
    )
  if run:
    base = Base.open(run)
    check(config, base)
    noted[INIT_SHA256] = base.sha256
    if config.dataset.name == 'tabular':
      vocabulary = run
  if vocabulary:
    noted[VOCABULARY] = vocabulary
    noted[VOCABULARY_SHA256] = growing.fingerprint(vocabulary)
    # Ids of another encoder would be other rows of that run's tables.
    folder = paths.expand(vocabulary)
    hashes = encoder_hashes.hashes(
        growing.load(vocabulary), os.path.join(folder, FOLDER)
    )
    manifest.require_encoder(folder, hashes)
  return noted


def _noted_before(config: Any, workdir: str) -> dict[str, str] | None:
  """Returns the keys that a run noted when it began; None if it did not."""
  saved = workdir and read_json(os.path.join(workdir, 'config.json'))
  flat = flatten(saved or {})
  now = flatten(record(config))
  run, vocabulary = now.get(INIT), now.get(VOCABULARY)
  if not flat or flat.get(INIT) != run:
    return None
  if vocabulary and flat.get(VOCABULARY) != vocabulary:
    return None
  keys = (INIT_SHA256, VOCABULARY, VOCABULARY_SHA256)
  return {key: flat[key] for key in keys if key in flat}


def check(config: Any, base: Base) -> None:
  """Refuses a config that the parameters of a run do not fit.

  What the data decides, vocabularies say, is compared when it is prepared
  (`takeover`).

  Args:
    config: A ConfigDict.
    base: The run.

  Raises:
    InputError: Names the first key or column that differs.
  """
  where = f'init_from={base.run}'
  now = decisive(record(config))
  tabular = now['dataset.name'] == base.config['dataset.name'] == 'tabular'
  for key in _must_agree(now, base.config):
    here, there = _value(now, key), _value(base.config, key)
    if here != there:
      here, there = ('unset' if v is None else v for v in (here, there))
      raise InputError(
          f'{where}: {key} is {here} here but {there} in that run. A run with'
          ' init_from has the same model, estimator, optimizers and inputs. Set'
          f' {key} as in that run, or leave init_from out.'
      )
  if tabular:
    left_out = (*_SPLITS, 'name', 'fields', 'tasks', 'vocabulary_of')
    options = {
        k: v
        for k, v in config.dataset.to_dict().items()
        if v is not None and k not in left_out
    }
    log = TabularConfig.from_options(options)
    growing.check_inputs(log.inputs, growing.load(base.run), where)
    chosen = config.dataset.tasks
    tasks = [t.name for t in log.tasks if not chosen or t.name in chosen]
    if tasks != (there := [t.name for t in base.schema.tasks]):
      raise InputError(
          f'{where}: the tasks are {", ".join(tasks)} here but'
          f' {", ".join(there)} in that run. Use the labels of that run, or'
          ' leave init_from out.'
      )


def _must_agree(
    now: Mapping[str, Any], then: Mapping[str, Any]
) -> list[str]:
  """Lists the flat keys that must agree, the most telling first."""
  free = [f'model.{name}' for name in _FREE_MODEL]
  both = sorted(now.keys() | then.keys())
  keys = [*_SAME, 'model.name']
  keys += [k for k in both if k.startswith('model.') and k not in free]
  keys += [_OPTIMIZER, _TABLE_OPTIMIZER, 'table_moments', _MOMENTUM]
  name = now['dataset.name']
  if name == 'synthetic_funnel':
    keys += _WORLD
  elif name != 'tabular':
    splits = [f'dataset.{s}' for s in (*_SPLITS, 'raw_dir')]
    keys += [k for k in both if k.startswith('dataset.') and k not in splits]
  return list(dict.fromkeys(keys))


_OPTIMIZER, _TABLE_OPTIMIZER = 'optimizer.name', 'table_optimizer'
_MOMENTUM = 'optimizer.momentum'


def _value(flat: Mapping[str, Any], key: str) -> Any:
  """Returns a key's value, as what it comes to."""
  defaults = {f'optimizer.{k}': v for k, v in vars(OptimizerOptions()).items()}
  defaults |= vars(TableOptions())
  value = flat.get(key, defaults.get(key))
  if key == _TABLE_OPTIMIZER:
    table = TableOptions(table_optimizer=value)
    return optimizer_name(table, OptimizerOptions(_value(flat, _OPTIMIZER)))
  if key == _MOMENTUM:
    names = [_value(flat, k) for k in (_OPTIMIZER, _TABLE_OPTIMIZER)]
    # Only a trace that is there or not is another state.
    return ('above 0' if value else '0') if 'sgd' in names else 'unused'
  return value
