"""The rows of keys in layers: a base that is mapped from files, newer ones.

A layer holds all that is known of its keys, so the newest layer that has a key
answers for it. A layer that is added takes its keys' rows along; layers of
about one size become one, so that there are few.
"""

from collections.abc import Iterator, Sequence

from esmm_jax.data.history import events, look_up
from esmm_jax.data.history.events import Events
import numpy as np

_INTEGERS = (np.int8, np.int16, np.int32, np.int64)


class Layers:
  """The events of one state; a change makes another object.

  Attributes:
    layers: The oldest first.
  """

  def __init__(self, layers: Sequence[Events]):
    """Takes the layers, one at least."""
    self.layers = tuple(layers)

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays, mapped ones too."""
    return sum(layer.nbytes for layer in self.layers)

  def find(
      self, keys: np.ndarray
  ) -> Iterator[tuple[Events, np.ndarray, np.ndarray]]:
    """Yields each layer with the questions that it answers.

    Args:
      keys: uint64 [q].

    Yields:
      The layer; the positions of its questions, int64 [p]; the index of their
      keys in it, -1 for a key that no layer has.
    """
    left = np.arange(len(keys))
    for layer in self.layers[:0:-1]:
      index = look_up.find(layer, keys[left])
      has = index >= 0
      if has.any():
        yield layer, left[has], index[has]
        left = left[~has]
    if len(left) or not len(keys):
      base = self.layers[0]
      yield base, left, look_up.find(base, keys[left])

  def add(self, new: Events) -> 'Layers':
    """Adds rows; at one time those that are there come first.

    Args:
      new: As `events.build` makes them.
    """
    if not len(new.keys):
      return self
    parts = [
        events.take(layer, index[index >= 0])
        for layer, _, index in self.find(new.keys)
    ]
    old = wide(events.join(parts))
    layers = [*self.layers, events.merge(old, new)]
    while len(layers) > 2 and len(layers[-2].keys) < 2 * len(layers[-1].keys):
      newer = layers.pop()
      layers[-1] = _joined(layers[-1], newer)
    return Layers(layers)

  def whole(self) -> Events:
    """Returns all layers as one."""
    whole = self.layers[0]
    for layer in self.layers[1:]:
      whole = _joined(wide(whole), layer)
    return whole


def narrow(some: Events) -> Events:
  """Returns events whose integers have the smallest type that holds them."""
  if some.kind.half_life:
    return some._replace(amounts=_narrow(some.amounts)[0])
  running, base = some.running, some.base
  if not some.kind.pause:  # Those of a session are times.
    running, base = _narrow(running, base)
  return some._replace(
      amounts=_narrow(some.amounts)[0], running=running, base=base
  )


def wide(some: Events) -> Events:
  """Returns events whose totals may grow."""
  dtype = some.kind.dtype
  return some._replace(
      running=some.running.astype(dtype, copy=False),
      base=some.base.astype(dtype, copy=False),
  )


def _narrow(*arrays: np.ndarray) -> list[np.ndarray]:
  low = min(int(a.min(initial=0)) for a in arrays)
  high = max(int(a.max(initial=0)) for a in arrays)
  for dtype in _INTEGERS:
    if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
      return [a.astype(dtype, copy=False) for a in arrays]
  return list(arrays)


def _joined(older: Events, newer: Events) -> Events:
  """Joins layers; of a key that both have the newer one's rows are all."""
  replaced = look_up.find(newer, older.keys) >= 0
  both = events.join([events.take(older, np.flatnonzero(~replaced)), newer])
  return events.take(both, np.argsort(both.keys))
