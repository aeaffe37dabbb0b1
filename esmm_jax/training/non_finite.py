"""Losses and gradients that are not finite: noticed, skipped, written down.

`non_finite='stop'` ends a run at the first such step. With 'skip' the step
changes nothing of the replica: parameters, moments and statistics stay, and it
is counted; `non_finite_ceiling` says how many there may be. Adam's count of
steps, which replicas share, advances if one of them does.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.json_files import write_json
from esmm_jax.types import Array, Batch
from esmm_jax.whole_files import replacing
import jax
import jax.numpy as jnp
import numpy as np

FOLDER = 'non_finite'


def good(loss: Array, net_grads: Any, row_grads: Array) -> Array:
  """Returns which replicas have a finite loss and finite gradients, bool [R].

  A sum of numbers is finite only if they are (or overflows, which is no better
  where squares of gradients are kept).

  Args:
    loss: float32 [R].
    net_grads: Each leaf [R, ...].
    row_grads: float32 [U, R, D].
  """
  total = loss + row_grads.sum(axis=(0, 2))
  for leaf in jax.tree.leaves(net_grads):
    total += leaf.reshape(len(loss), -1).sum(axis=1)
  return jnp.isfinite(total)


def write(
    workdir: str,
    step: int,
    batch: Batch,
    params: Mapping[str, Any],
    losses: Mapping[str, float],
) -> str:
  """Writes what a run that is not finite had, for inspection.

  Args:
    workdir: The run's folder; gets `non_finite/` with `batch.npz`, `state.npz`
      and `report.json`.
    step: The step, from 0.
    batch: Its batch.
    params: `table`, `net` and `stats` of the replica as they are now, which is
      after the step: the gradient may have reached all of them.
    losses: Means since the last report.

  Returns:
    The folder.
  """
  folder = os.path.join(workdir, FOLDER)
  os.makedirs(folder, exist_ok=True)
  arrays = {
      'rows': batch.rows, 'slots': batch.slots, 'weights': batch.weights,
      'floats': batch.floats, 'where': batch.where,
  }
  arrays |= {f'label.{name}': label for name, label in batch.labels.items()}
  if batch.groups is not None:
    arrays |= {f'groups.{n}': a for n, a in batch.groups._asdict().items()}
  _save(os.path.join(folder, 'batch.npz'), **arrays)
  rows = batch.rows if len(batch.rows) else np.unique(batch.slots)
  table = params['table']
  rows = np.asarray(rows)[np.asarray(rows) < len(table)]
  arrays_of_state = {'table': np.asarray(table[rows]), 'net': params['net']}
  leaves = {
      jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(
          arrays_of_state | {'stats': params['stats']}
      )
  }
  _save(os.path.join(folder, 'state.npz'), table_rows=rows, **leaves)
  count = lambda array: int(np.count_nonzero(~np.isfinite(array)))
  write_json(
      os.path.join(folder, 'report.json'),
      {
          'step': step,
          'losses': {name: repr(value) for name, value in losses.items()},
          'batch': {
              name: n
              for name, array in arrays.items()
              if (n := count(array))
          },
          'parameters': {
              name: n for name, leaf in leaves.items() if (n := count(leaf))
          },
          'note': (
              'Counts are of numbers that are not finite. The parameters are'
              ' those after the step; the last checkpoint is from before it,'
              ' and the same command resumes there.'
          ),
      },
  )
  return folder


def _save(path: str, **arrays: np.ndarray) -> None:
  """Writes arrays, whole or not at all."""
  with replacing(path) as temporary:
    with open(temporary, 'wb') as f:  # By a name, NumPy would add `.npz` to it.
      np.savez(f, **arrays)
