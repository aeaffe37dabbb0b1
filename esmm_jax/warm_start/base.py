"""The finished run that another one begins with, or takes something of."""

from collections.abc import Mapping
import os
from typing import Any, NamedTuple, Self

from esmm_jax import paths
from esmm_jax.checksums import hash_json, read_seal
from esmm_jax.schema import Schema
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, verify
from esmm_jax.workdir.folder import decisive, read_finished, read_schema

KEY = 'init_from'
_REMEDY = 'Train that run again.'


class Base(NamedTuple):
  """The content of a run's folder that describes it.

  Attributes:
    run: The folder, as the config names it.
    folder: The same as a path.
    config: Flat keys that identify it, `folder.decisive`.
    results: The content of results.json.
    schema: The fields that its model reads, and the tasks.
    data: Name and hash of its data.
    sha256: Fingerprint of its parameters; 16 hexadecimal digits.
    key: The key of the config that names it, for messages.
  """

  run: str
  folder: str
  config: Mapping[str, Any]
  results: Mapping[str, Any]
  schema: Schema
  data: str
  sha256: str
  key: str = KEY

  @property
  def named(self) -> str:
    """The key and the folder, for messages."""
    return f'{self.key}={self.run}'

  @property
  def encoder_folder(self) -> str:
    """Folder of its encoder, which is there if the data is the user's own."""
    return os.path.join(self.folder, 'encoder')

  @classmethod
  def open(cls, run: str, key: str = KEY, folder: str = '') -> Self:
    """Reads the folder; the checkpoint is not read.

    Args:
      run: The folder, as the config names it.
      key: The key of the config that names it, for messages.
      folder: Where it is; default: at `run`.

    Raises:
      InputError: There is no finished run with a checkpoint.
    """
    folder, named = folder or paths.expand(run), f'{key}={run}'
    config, results = (
        read_finished(folder, name, key)
        for name in ('config.json', 'results.json')
    )
    schema = read_schema(folder)
    if schema is None:
      raise InputError(
          f'{named}: an early version made that run, without a schema.'
          f' {_REMEDY}'
      )
    carried = manifest.last_carried(folder)
    began = verify.run(folder, config, schema, carried)
    if 'data' not in began:
      raise InputError(
          f'{named}: {folder}/{manifest.NAME} is missing or damaged, so it is'
          f' unknown what that run was trained on. {_REMEDY}'
      )
    flat = decisive(config)
    return cls(
        run,
        folder,
        flat,
        results,
        schema,
        began['data'],
        _fingerprint(named, folder, flat, results),
        key,
    )


def resolved(name: str, workdir: str) -> str:
  """Returns the path of a run that a config names from its own run's folder."""
  return os.path.normpath(os.path.join(workdir, paths.expand(name)))


def named_from(name: str, key: str, workdir: str) -> str:
  """Returns the same path, if it can be that of a finished run.

  Args:
    name: The folder, as the config names it.
    key: The key of the config that names it, for messages.
    workdir: Folder of the run whose config it is; '' if it has none.

  Raises:
    InputError: It is `workdir` itself, or the name leads to a run from where
      the program was started alone.
  """
  path = resolved(name, workdir)
  if workdir and path == os.path.normpath(workdir):
    raise InputError(
        f'{key}={name} is the folder of the run itself. Name another run,'
        ' which is finished.'
    )
  here = os.path.normpath(paths.expand(name))
  is_run = lambda folder: os.path.exists(os.path.join(folder, 'config.json'))
  if path != here and not is_run(path) and is_run(here):
    raise InputError(
        f'{key}={name}, relative to the folder of the run, is {path}, where'
        ' there is no run. Correct the relative path, or write'
        f' {os.path.abspath(here)}.'
    )
  return path


def _fingerprint(
    named: str,
    folder: str,
    config: Mapping[str, Any],
    results: Mapping[str, Any],
) -> str:
  """Hashes what a run was trained from and the tables that it came to.

  The same run trained again has the same; the files of the network are left
  out, because they hold times.
  """
  checkpoints = os.path.join(folder, 'checkpoints')
  names = os.listdir(checkpoints) if os.path.isdir(checkpoints) else []
  steps = [int(name) for name in names if name.isdigit()]
  last = os.path.join(checkpoints, str(max(steps, default='none')))
  sealed = read_seal(last)
  if not sealed or max(steps) < results['steps']:
    raise InputError(
        f'{named} has no checkpoint of its last step, which would hold the'
        f' parameters. {_REMEDY}'
    )
  tables = {p: s for p, s in sealed.items() if p.startswith('tables/')}
  whole = [config, results['steps'], results['selected_step'], tables]
  return hash_json(whole)[:16]
