"""The simulated log as raw files of Ali-CCP.

So that one path, from raw files to a trained model, serves real and simulated
data, and the loader can be compared with the simulator. The training file holds
the rows of train and valid (a reader cuts off its own validation sessions), the
test file those of test. A session is consecutive rows of one user. The truth is
written to `truth_train/` and `truth_test/`, one file for each column, in the
order of the rows; the reader never looks there.
"""

from collections.abc import Callable, Iterator
import os
import shutil
from typing import Any

from esmm_jax.data.ali_ccp.fields import SPLITS
from esmm_jax.data.ali_ccp.writer import ONE, RANGES, RawWriter, Tokens
from esmm_jax.data.ali_ccp.writer import raw_files, tokens
from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.dataset import TRUTH
from esmm_jax.data.simulator.log import HISTORY_LENGTH
from esmm_jax.data.simulator.process import BLOCK, Impressions, LogProcess
from esmm_jax.data.simulator.world import PROFILE_SIZES, World
from esmm_jax.data.store.column_files import GrowingTable
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.types import InputError
import numpy as np

# The simulator's profile fields have the numbers of Ali-CCP's.
PROFILE = dict(
    zip(PROFILE_SIZES, ('121', '122', '124', '125', '126', '127', '128', '129'))
)


def write_raw_files(
    config: SimulatorConfig,
    folder: str,
    progress: Callable[[int], None] | None = None,
) -> None:
  """Writes the log of a config.

  A raw id is the first one of the field's range plus the simulator's number,
  in test rows too: the reader has to recognise values unseen in training.

  Args:
    config: The log; two stages.
    folder: Gets the four files and the two folders with the truth.
    progress: Called with the number of rows just written.

  Raises:
    InputError: A file or the truth exists already, or the config does not fit
      the format.
  """
  if config.stages != 2:
    raise InputError(
        f'stages is {config.stages}; the files of Ali-CCP have a click and a'
        ' conversion, so it must be 2.'
    )
  if config.is_delayed:
    raise InputError(
        f'delay_mean is {config.delay_mean:g}; the files of Ali-CCP have no'
        ' time of a conversion, so it must be 0.'
    )
  _check_sizes(config)
  for split in SPLITS:
    truth = _truth_folder(folder, split)
    for path in (*raw_files(folder, split).values(), truth):
      if os.path.lexists(path):  # Perhaps the published data.
        raise InputError(
            f'{path} already exists, and is not written over. Use another'
            ' folder.'
        )
  process = LogProcess(config)
  bounds = config.splits
  parts = {
      'train': [s for s in ('train', 'valid') if s in bounds],
      'test': [s for s in ('test',) if s in bounds],
  }
  for split in SPLITS:
    if not parts[split]:
      raise InputError(
          f'The simulated log has no rows for the file of {split}.'
      )
  complete: list[str] = []
  try:
    for k, split in enumerate(SPLITS):
      _write_split(process, config, folder, k, parts[split], progress)
      complete.append(split)
  except BaseException:  # What this call wrote, so that the next may begin.
    for split in SPLITS:
      shutil.rmtree(_truth_folder(folder, split), ignore_errors=True)
    paths = [p for s in complete for p in raw_files(folder, s).values()]
    for path in paths:
      os.remove(path)
    raise


def _write_split(
    process: LogProcess,
    config: SimulatorConfig,
    folder: str,
    k: int,
    splits: list[str],
    progress: Callable[[int], None] | None,
) -> None:
  """Writes the files of `SPLITS[k]`, which hold `splits` of the log."""
  history = process.world.history_table(HISTORY_LENGTH)
  truth = GrowingTable(_truth_folder(folder, SPLITS[k]))
  row = session = 0
  with RawWriter(folder, SPLITS[k]) as writer:
    for shown, outcomes in _blocks(process, config, splits):
      n = len(shown.user)
      starts = np.ones(n, bool)
      starts[1:] = shown.user[1:] != shown.user[:-1]
      first = np.flatnonzero(starts)
      # A bijection of (seed, file, session): no two sessions share an index.
      keys = session_hash(
          (np.uint64(config.seed) << np.uint64(34))
          + (np.uint64(k) << np.uint64(33))
          + (session + np.arange(len(first), dtype=np.uint64))
      )
      writer.common(
          keys, _common_triples(process.world, history, shown.user[first])
      )
      writer.skeleton(
          np.arange(row + 1, row + 1 + n),
          outcomes['click'],
          outcomes['click'] * outcomes['conversion_if_clicked'],
          keys[np.cumsum(starts) - 1],
          _skeleton_triples(process.world, shown),
      )
      truth.append({name: outcomes[name] for name in TRUTH})
      row += n
      session += len(first)
      if progress is not None:
        progress(n)
  truth.close()


def _blocks(
    process: LogProcess, config: SimulatorConfig, splits: list[str]
) -> Iterator[tuple[Impressions, dict[str, Any]]]:
  """Simulates the rows of some splits, in order, one block at a time."""
  for split in splits:
    low, high = config.splits[split]
    uniform = split == 'test' and config.uniform_test
    for block in range(low // BLOCK, -(-high // BLOCK)):
      rows = slice(
          max(low - block * BLOCK, 0), min(high - block * BLOCK, BLOCK)
      )
      shown, outcomes = process.simulate(block, uniform)
      yield (
          Impressions(*(a[rows] for a in shown)),
          {
              n: a[rows]
              for n, a in outcomes._asdict().items()
              if a is not None
          },
      )


def _common_triples(
    world: World,
    history: tuple[np.ndarray, np.ndarray, np.ndarray],
    user: np.ndarray,
) -> Tokens:
  """Returns the common triples of sessions of users, int32 [n]."""
  session = np.arange(len(user))
  parts = [_part('101', session, user)]
  parts += [
      _part(PROFILE[name], session, values[user])
      for name, values in world.profile.items()
  ]
  categories, weights, lengths = history
  is_entry = np.arange(categories.shape[1]) < lengths[user][:, None]
  parts.append(
      _part(
          '109_14',
          np.repeat(session, lengths[user]),
          categories[user][is_entry],
          weights[user][is_entry],
      )
  )
  return tokens(len(user), parts)


def _skeleton_triples(world: World, shown: Impressions) -> Tokens:
  """Returns the triples of skeleton rows."""
  row = np.arange(len(shown.item))
  met = np.flatnonzero(shown.seen_count > 0)
  category = world.category[shown.item]
  return tokens(
      len(row),
      [
          _part('205', row, shown.item),
          _part('206', row, category),
          _part('207', row, world.shop[shown.item]),
          _part('216', row, world.brand[shown.item]),
          _part('301', row, shown.position),
          _part('508', met, category[met], shown.seen_count[met]),
      ],
  )


def _part(
    field: str,
    row: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
  """Returns a part of `tokens` from the simulator's numbers and weights [t]."""
  units = np.full(len(row), ONE, np.int32)
  if weight is not None:
    units = np.rint(weight.astype(np.float64) * ONE).astype(np.int32)
  return field, row, RANGES[field][0] + value.astype(np.int64), units


def _check_sizes(config: SimulatorConfig) -> None:
  """Refuses a world with more values than a field of the format has ids.

  Raises:
    InputError: Names the field.
  """
  sizes = {
      '101': config.num_users,
      '109_14': config.num_categories,
      '205': config.num_items,
      '206': config.num_categories,
      '207': config.num_shops,
      '216': config.num_brands,
      '508': config.num_categories,
  }
  for field, size in sizes.items():
    if size > RANGES[field][1]:
      raise InputError(
          f'The simulated log has {size} values of field {field}; the format'
          f' has room for {RANGES[field][1]}. Use fewer users or items.'
      )


def _truth_folder(folder: str, split: str) -> str:
  return os.path.join(folder, f'truth_{split}')
