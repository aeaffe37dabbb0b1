"""Any row range of the simulated log, as columns of ids, labels and truth.

An id is the value + 2. Values that no training row holds are 1 in validation
and test rows, as they are in real data: the vocabulary is of training rows.
"""

from collections.abc import Iterator
import functools

from esmm_jax.data.simulator.config import FunnelConfig
from esmm_jax.data.simulator.process import BLOCK, FunnelProcess
from esmm_jax.data.simulator.process import Impressions, NUM_POSITIONS
from esmm_jax.data.simulator.world import FunnelWorld
from esmm_jax.data.store.columns import concatenate
from esmm_jax.schema import FIRST_KEPT, MISSING, RARE
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np

HISTORY_LENGTH = 8


class Seen:
  """Which values the training rows hold.

  Attributes:
    num_rows: Training rows looked at, from the first one on.
    user: bool [users].
    item: bool [items].
    position: bool [positions].
    met: bool [categories], the values of `seen_category`.
  """

  def __init__(self, world: FunnelWorld):
    self._category = world.category
    self.num_rows = 0
    self.user = np.zeros(world.num_users, bool)
    self.item = np.zeros(world.num_items, bool)
    self.position = np.zeros(NUM_POSITIONS, bool)
    self.met = np.zeros(world.num_categories, bool)

  def add(self, shown: Impressions, first_row: int) -> None:
    """Takes training rows in, if those before them are in."""
    if first_row > self.num_rows:
      return
    self.user[shown.user] = True
    self.item[shown.item] = True
    self.position[shown.position] = True
    self.met[self._category[shown.item[shown.seen_count > 0]]] = True
    self.num_rows = max(self.num_rows, first_row + len(shown.user))


class Ids:
  """The id of each value of each field.

  Attributes:
    user: Field -> int32 [users], the fields that follow from the user.
    item: Field -> int32 [items], the fields that follow from the item.
    position: int32 [positions].
    seen_category: int32 [categories].
    history: int32 [users, L], ids of the table of `category`.
    history_weight: float32 [users, L].
    history_length: int32 [users], the entries that a user has.
    history_kept: bool [users, L], where these are.
  """

  def __init__(self, world: FunnelWorld, seen: Seen | None = None):
    """Gives each value its id; 1 where it is not among those `seen`."""
    everyone = np.arange(world.num_users)
    everything = np.arange(world.num_items)
    users = None if seen is None else seen.user
    items = None if seen is None else seen.item
    self.user = {'user': _encode(everyone, _held(everyone, users))}
    for field, values in world.profile.items():
      self.user[field] = _encode(values, _held(values, users))
    self.item = {'item': _encode(everything, _held(everything, items))}
    for field, values in (('shop', world.shop), ('brand', world.brand)):
      self.item[field] = _encode(values, _held(values, items))
    history, self.history_weight, self.history_length = world.history_table(
        HISTORY_LENGTH
    )
    self.history_kept = (
        np.arange(HISTORY_LENGTH) < self.history_length[:, None]
    )
    known = None
    if seen is not None:  # Items and histories share the table of categories.
      known = np.zeros(world.num_categories, bool)
      known[world.category[items]] = True
      known[history[users][self.history_kept[users]]] = True
    self.item['category'] = _encode(world.category, known)
    self.history = _encode(history, known)
    self.seen_category = _encode(
        np.arange(world.num_categories), None if seen is None else seen.met
    )
    self.position = _encode(
        np.arange(NUM_POSITIONS), None if seen is None else seen.position
    )


class FunnelLog:
  """The rows of a config's log; any range of them, always the same."""

  def __init__(self, config: FunnelConfig):
    self.config = config
    self.process = FunnelProcess(config)
    self._seen = Seen(self.process.world)

  def columns(self, start: int, stop: int) -> Columns:
    """Rows [start, stop): training, then validation, then test rows.

    The first call for rows after the training rows goes through the training
    impressions that have not been asked for yet, to know their values.

    Args:
      start: First row.
      stop: One past the last row.

    Returns:
      The columns of `SyntheticFunnel`, features, labels and truth.

    Raises:
      InputError: The range is empty or reaches beyond the log.
    """
    num_rows = max(high for _, high in self.config.splits.values())
    if not 0 <= start < stop <= num_rows:
      raise InputError(
          f'Rows {start} to {stop} of the funnel; there are {num_rows}.'
      )
    pieces = []
    for split, (low, high) in self.config.splits.items():
      for block, rows in _blocks(max(start, low), min(stop, high)):
        pieces.append(self._piece(split, block, rows))
    return {
        name: concatenate([piece[name] for piece in pieces])
        for name in pieces[0]
    }

  def _piece(self, split: str, block: int, rows: slice) -> Columns:
    """The columns of some rows of one block, all of one split."""
    uniform = split == 'test' and self.config.uniform_test
    shown, outcomes = self.process.simulate(block, uniform)
    shown = Impressions(*(array[rows] for array in shown))
    if split == 'train':
      self._seen.add(shown, block * BLOCK + rows.start)
      ids = self._training_ids
    else:
      ids = self._evaluation_ids
    columns = _features(ids, self.process.world, shown)
    columns |= {
        n: a[rows] for n, a in outcomes._asdict().items() if a is not None
    }
    columns['conversion'] = columns['click'] * columns['conversion_if_clicked']
    if 'cart_if_clicked' in columns:
      columns['cart'] = columns['click'] * columns['cart_if_clicked']
    return columns

  @functools.cached_property
  def _training_ids(self) -> Ids:
    return Ids(self.process.world)

  @functools.cached_property
  def _evaluation_ids(self) -> Ids:
    for block, rows in _blocks(self._seen.num_rows, self.config.num_train):
      shown = self.process.expose(block)
      self._seen.add(
          Impressions(*(array[rows] for array in shown)),
          block * BLOCK + rows.start,
      )
    return Ids(self.process.world, self._seen)


def _features(ids: Ids, world: FunnelWorld, shown: Impressions) -> Columns:
  """The feature columns and the group column of impressions."""
  # As intp, which `take` needs; `take` is many times faster than [].
  user, item = shown.user.astype(np.intp), shown.item.astype(np.intp)
  columns: Columns = {name: of.take(user) for name, of in ids.user.items()}
  columns |= {name: of.take(item) for name, of in ids.item.items()}
  columns['position'] = ids.position.take(shown.position)
  category = world.category.take(item)
  columns['seen_category'] = np.where(
      shown.seen_count > 0, ids.seen_category.take(category), MISSING
  )
  columns['seen_count'] = shown.seen_count
  offsets = np.zeros(len(user) + 1, np.int64)
  np.cumsum(ids.history_length.take(user), out=offsets[1:])
  kept = ids.history_kept.take(user, axis=0)
  columns['history'] = Ragged(
      ids.history.take(user, axis=0)[kept],
      offsets,
      ids.history_weight.take(user, axis=0)[kept],
  )
  columns['group_user'] = shown.user
  return columns


def _encode(values: np.ndarray, known: np.ndarray | None) -> np.ndarray:
  """Ids of values; 1 where known[value] is False. No `known`: all are."""
  ids = values.astype(np.int32) + FIRST_KEPT
  return ids if known is None else np.where(known[values], ids, RARE)


def _held(values: np.ndarray, seen: np.ndarray | None) -> np.ndarray | None:
  """Which values belong to a user or item that was seen.

  Args:
    values: int [n], the value of each user or item.
    seen: bool [n], or None where all count as seen.

  Returns:
    bool [largest value + 1], or None.
  """
  if seen is None:
    return None
  known = np.zeros(values.max() + 1, bool)
  known[values[seen]] = True
  return known


def _blocks(start: int, stop: int) -> Iterator[tuple[int, slice]]:
  """Blocks that rows [start, stop) lie in, and the rows of each."""
  if start >= stop:
    return
  for block in range(start // BLOCK, -(-stop // BLOCK)):
    low = max(start - block * BLOCK, 0)
    yield block, slice(low, min(stop - block * BLOCK, BLOCK))
