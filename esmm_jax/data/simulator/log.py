"""Any row range of the simulated log, as columns of ids, labels and truth.

An id is the value + 2. Values that no training row has are 1 in validation and
test rows, as in real data: the vocabulary is that of the training rows.
"""

from collections.abc import Iterator
import functools

from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.delay import Delays
from esmm_jax.data.simulator.process import BLOCK, Impressions
from esmm_jax.data.simulator.process import LogProcess, NUM_POSITIONS
from esmm_jax.data.simulator.world import World
from esmm_jax.data.store.columns import concatenate_rows
from esmm_jax.schema import FIRST_KEPT, MISSING, RARE
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np

HISTORY_LENGTH = 8


class Seen:
  """The values of the training rows.

  Attributes:
    num_rows: The training row up to which all were added.
    user: bool [users].
    item: bool [items].
    position: bool [positions].
    met: bool [categories], the values of `seen_category`.
  """

  def __init__(self, world: World, num_rows: int = 0):
    """Prepares for the training rows from `num_rows` on."""
    self._category = world.category
    self.num_rows = num_rows
    self.user = np.zeros(world.num_users, bool)
    self.item = np.zeros(world.num_items, bool)
    self.position = np.zeros(NUM_POSITIONS, bool)
    self.met = np.zeros(world.num_categories, bool)

  def add(self, shown: Impressions, first_row: int) -> None:
    """Adds training rows, unless rows before them are missing."""
    if first_row > self.num_rows:
      return  # `num_rows` would no longer say which rows are missing.
    self.user[shown.user] = True
    self.item[shown.item] = True
    self.position[shown.position] = True
    self.met[self._category[shown.item[shown.seen_count > 0]]] = True
    self.num_rows = max(self.num_rows, first_row + len(shown.user))

  def merge(self, other: 'Seen') -> None:
    """Adds the values of the rows that follow."""
    for name in ('user', 'item', 'position', 'met'):
      getattr(self, name)[:] |= getattr(other, name)
    self.num_rows = other.num_rows


class Ids:
  """The id of each value of each field.

  Attributes:
    user: Field -> int32 [users], the fields that follow from the user.
    item: Field -> int32 [items], the fields that follow from the item.
    position: int32 [positions].
    seen_category: int32 [categories].
    history: int32 [users, L], ids of the table of `category`.
    history_weight: float32 [users, L].
    history_length: int32 [users], the entries of each user.
    is_entry: bool [users, L], True for these entries, False for padding.
  """

  def __init__(self, world: World, seen: Seen | None = None):
    """Computes the ids.

    Args:
      world: Users and items.
      seen: The values of the training rows, others get id 1; None: no value
        does.
    """
    all_users = np.arange(world.num_users)
    all_items = np.arange(world.num_items)
    users = None if seen is None else seen.user
    items = None if seen is None else seen.item
    self.user = {
        field: _encode(values, _values_of(values, users))
        for field, values in {'user': all_users, **world.profile}.items()
    }
    self.item = {
        field: _encode(values, _values_of(values, items))
        for field, values in (
            ('item', all_items), ('shop', world.shop), ('brand', world.brand)
        )
    }
    history, self.history_weight, self.history_length = world.history_table(
        HISTORY_LENGTH
    )
    self.is_entry = np.arange(HISTORY_LENGTH) < self.history_length[:, None]
    categories = None
    if seen is not None:
      # Items and histories share the embeddings of categories, so an id that
      # either of them trains is not rare in the other.
      categories = np.zeros(world.num_categories, bool)
      categories[world.category[items]] = True
      categories[history[users][self.is_entry[users]]] = True
    self.item['category'] = _encode(world.category, categories)
    self.history = _encode(history, categories)
    self.seen_category = _encode(
        np.arange(world.num_categories), None if seen is None else seen.met
    )
    self.position = _encode(
        np.arange(NUM_POSITIONS), None if seen is None else seen.position
    )


class SimulatedLog:
  """The rows of a config's log: any range of them, reproducible to the bit.

  Attributes:
    config: The dials.
    process: Draws the impressions.
    seen: The values of training rows, as far as they are there.
  """

  def __init__(self, config: SimulatorConfig):
    self.config = config
    self.process = LogProcess(config)
    self._delays = Delays(config, self.process) if config.is_delayed else None
    self.seen = Seen(self.process.world)

  def columns(self, start: int, stop: int) -> Columns:
    """Simulates rows [start, stop): training, validation, then test rows.

    The first call for rows after the training rows also simulates the training
    impressions that no call has asked for yet, to know their values.

    Args:
      start: First row.
      stop: One past the last row.

    Returns:
      The columns of `Simulator`: features, labels and truth.

    Raises:
      InputError: The range is empty or reaches beyond the log.
    """
    num_rows = max(high for _, high in self.config.splits.values())
    if not 0 <= start < stop <= num_rows:
      raise InputError(
          f'Rows {start} to {stop} of the simulated log; there are {num_rows}.'
      )
    pieces = []
    for split, (low, high) in self.config.splits.items():
      for block, rows in _blocks(max(start, low), min(stop, high)):
        pieces.append(self._piece(split, block, rows))
    return concatenate_rows(pieces)

  def _piece(self, split: str, block: int, rows: slice) -> Columns:
    """Simulates the columns of some rows of one block, all of one split."""
    uniform = split == 'test' and self.config.uniform_test
    shown, outcomes = self.process.simulate(block, uniform)
    delayed: Columns = {}
    if self._delays is not None:
      delayed = self._delays.columns(block, shown, outcomes)
    shown = Impressions(*(array[rows] for array in shown))
    if split == 'train':
      self.seen.add(shown, block * BLOCK + rows.start)
      ids = self._training_ids
    else:
      ids = self._evaluation_ids
    columns = _features(ids, self.process.world, shown)
    columns |= {
        n: a[rows] for n, a in outcomes._asdict().items() if a is not None
    }
    columns |= {name: array[rows] for name, array in delayed.items()}
    columns['conversion'] = columns['click'] * columns['conversion_if_clicked']
    if delayed and split == 'train':
      columns['conversion'] = columns['conversion_observed']
    if 'cart_if_clicked' in columns:
      columns['cart'] = columns['click'] * columns['cart_if_clicked']
    return columns

  @functools.cached_property
  def _training_ids(self) -> Ids:
    return Ids(self.process.world)

  @functools.cached_property
  def _evaluation_ids(self) -> Ids:
    for block, rows in _blocks(self.seen.num_rows, self.config.num_train):
      shown = self.process.expose(block)
      self.seen.add(
          Impressions(*(array[rows] for array in shown)),
          block * BLOCK + rows.start,
      )
    return Ids(self.process.world, self.seen)


def _features(ids: Ids, world: World, shown: Impressions) -> Columns:
  """Encodes impressions as feature columns and the group column."""
  # As intp, which `take` needs; `take` is many times faster than [].
  user, item = shown.user.astype(np.intp), shown.item.astype(np.intp)
  columns: Columns = {n: by_user.take(user) for n, by_user in ids.user.items()}
  columns |= {n: by_item.take(item) for n, by_item in ids.item.items()}
  columns['position'] = ids.position.take(shown.position)
  category = world.category.take(item)
  columns['seen_category'] = np.where(
      shown.seen_count > 0, ids.seen_category.take(category), MISSING
  )
  columns['seen_count'] = shown.seen_count
  offsets = np.zeros(len(user) + 1, np.int64)
  np.cumsum(ids.history_length.take(user), out=offsets[1:])
  is_entry = ids.is_entry.take(user, axis=0)
  columns['history'] = Ragged(
      ids.history.take(user, axis=0)[is_entry],
      offsets,
      ids.history_weight.take(user, axis=0)[is_entry],
  )
  columns['group_user'] = shown.user
  return columns


def _encode(values: np.ndarray, in_training: np.ndarray | None) -> np.ndarray:
  """Returns ids of values, int32; 1 where in_training[value] is False.

  Without `in_training` no value is rare.
  """
  ids = values.astype(np.int32) + FIRST_KEPT
  if in_training is None:
    return ids
  return np.where(in_training[values], ids, RARE)


def _values_of(
    values: np.ndarray, seen: np.ndarray | None
) -> np.ndarray | None:
  """Returns the values of the users or items that were seen.

  Args:
    values: int [n], the value of each user or item.
    seen: bool [n], or None where all count as seen.

  Returns:
    bool [largest value + 1], or None.
  """
  if seen is None:
    return None
  in_training = np.zeros(values.max() + 1, bool)
  in_training[values[seen]] = True
  return in_training


def _blocks(start: int, stop: int) -> Iterator[tuple[int, slice]]:
  """Yields the blocks of rows [start, stop), and the rows of each."""
  if start >= stop:
    return
  for block in range(start // BLOCK, -(-stop // BLOCK)):
    low = max(start - block * BLOCK, 0)
    yield block, slice(low, min(stop - block * BLOCK, BLOCK))
