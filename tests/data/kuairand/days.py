"""Histories by day of columns, without files."""

from typing import NamedTuple

from esmm_jax.data.history import hashes
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.compute import compute
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.plan import capped
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import Counter, IMPRESSIONS
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Ragged
import numpy as np

NO_KEY = -1


class Past(NamedTuple):
  """The encodings of one key."""

  ctr: Values
  cvr: Values
  count: Values


def history_of(keys, day, click, conversion, strength, split=None):
  """Key -> `Past`; a row sees the days before its own.

  Args:
    keys: Name -> integers [n], `NO_KEY` for none, or `Ragged` lists of such.
    day: Any numbers that grow with time, [n].
    click: 0 or 1, [n].
    conversion: 0 or 1, [n].
    strength: Pseudo-counts.
    split: Integers [n]; rows of the splits 1 and 2 see nothing of theirs.
  """
  time = np.unique(day, return_inverse=True)[1] * DAY
  asked = time if split is None else capped(time, split, (1, 2))
  amounts = {'click': click, 'conversion': conversion}
  specs = [
      Counter((name,), amounts=(IMPRESSIONS, *amounts), strength=strength)
      for name in keys
  ]
  log = Log(
      Clock('date'), time, asked, np.ones(len(time), bool), amounts,
      {(name,): _hashed(key) for name, key in keys.items()}, {}, FUNNEL)
  past = compute(
      specs, log, lambda name, dtype, shape: np.zeros(shape, dtype),
      priors_of(log))
  return {
      name: Past(*(past.numbers[f'past_{s}_{name}'] for s in Past._fields))
      for name in keys
  }


def _hashed(key):
  if isinstance(key, Ragged):
    return Ragged(_hashed(key.values), key.offsets)
  return hashes.of_integers(key, key < 0)
