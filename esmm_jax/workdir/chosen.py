"""The run of a checkpoint, and the hash of the parameters that it chose."""

from collections.abc import Mapping
import hashlib
import json
import os
from typing import Any

from esmm_jax.checksums import read_seal
from esmm_jax.embeddings import files
from esmm_jax.parallel import axes
from esmm_jax.workdir import identity
from esmm_jax.workdir.checkpoint import Checkpoints
import jax

_PART = 1 << 26  # Bytes that are read at a time.


def position(checkpoints: Checkpoints) -> dict[str, Any]:
  """Reads the position of the last checkpoint; {} if it cannot be read.

  Args:
    checkpoints: They have a step.
  """
  folder = os.path.dirname(checkpoints.tables_folder)
  try:
    with open(
        os.path.join(folder, 'position', 'metadata'), encoding='utf-8'
    ) as f:
      value = json.load(f)
  except (OSError, ValueError):
    return {}  # To restore it says why.
  return value if isinstance(value, dict) else {}


def params_sha256(
    checkpoints: Checkpoints,
    best: bool,
    params: Mapping[str, Any] | None = None,
) -> str:
  """Returns `identity.hash_params` of a run's own last checkpoint.

  The seal has the hash of the table, unless several devices wrote it.

  Args:
    checkpoints: They have a step, of one replica.
    best: Hashes the parameters of the best evaluation, not the last ones.
    params: These parameters, if they have been read (`restore_params`); of them
      `net` and `stats` are hashed.

  Returns:
    sha256, 64 hexadecimal digits; '' where several processes train, of which
    each has a part of what is read.
  """
  if jax.process_count() > 1:
    return ''
  part = 'best' if best else 'state'
  if params is None:
    small = {
        path[1:]: value
        for path, value in checkpoints.restore_small().items()
        if path[0] == part and path[1] in ('net', 'stats')
    }
  else:
    rest = {name: params[name] for name in ('net', 'stats')}
    small = {
        axes.names(path): value
        for path, value in jax.tree.leaves_with_path(rest)
    }
  leaves = {
      '.'.join(path): identity.about(value) for path, value in small.items()
  }
  folder = checkpoints.tables_folder
  table = files.saved(folder)[f'{part}.table']
  sealed = read_seal(os.path.dirname(folder))
  leaves['table'] = identity.about(table, _digest(folder, table, sealed))
  return identity.combine(leaves)


def _digest(
    folder: str, table: files.Saved, sealed: Mapping[str, list[Any]]
) -> str:
  """Hashes the values of a table in the order of its rows."""
  shards = sorted(table.shards, key=lambda name: table.shards[name])
  noted = sealed.get(f'tables/{shards[0]}')
  if len(shards) == 1 and noted:
    return noted[1]
  whole = hashlib.sha256()
  for name in shards:
    with open(os.path.join(folder, name), 'rb') as f:
      while part := f.read(_PART):
        whole.update(part)
  return whole.hexdigest()
