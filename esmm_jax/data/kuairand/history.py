"""Out-of-time encodings: click rates of a key before the day of a row.

A target encoding replaces a key (a user, a video, a tag) by the click rate seen
with it. Counted over all training rows it contains the label of the row itself,
and a model that trusts it fails on new rows. Here a row of day d sees rows of
the days before d and nothing else, as in a system that updates its counts every
night. So no row sees its own day, whatever its split. The caller's `day`
decides if rows of the second test day see the first: if they do, AUC and GAUC
must be computed within a day (`rows.first_days` says why).

For each key, with n impressions, c clicks and v conversions before day d:

  past_ctr_KEY    logit((c + m p) / (n + m)) - logit(p)
  past_cvr_KEY    logit((v + m q) / (c + m)) - logit(q)
  past_count_KEY  log(1 + n)

with m pseudo-counts, p = (C + 1/2) / (N + 1) the click rate over all rows
before d, and q likewise the conversion rate of clicked rows. The difference to
the prior removes the drift of the whole log; it is 0 for a key without past.
Counts do grow with time: later rows have more past than training rows had. A
list is encoded by the sums of n, c and v over its entries.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import InputError, Ragged
import numpy as np

NO_KEY = -1  # A key below 0 is missing: it has no past.


class Past(NamedTuple):
  """The encodings of one key, missing where there is no past to count.

  Attributes:
    ctr: float64 [n], missing where the key has no earlier impression.
    cvr: float64 [n], missing where the key has no earlier click.
    count: float64 [n], missing where the key has no earlier impression.
  """

  ctr: Values
  cvr: Values
  count: Values


def sums_before(
    key: np.ndarray, day: np.ndarray, amounts: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Sums amounts over the rows of the same key on earlier days, for each row.

  Args:
    key: Integers [n].
    day: Any numbers that grow with time, [n].
    amounts: Integer arrays [n].

  Returns:
    For each of `amounts` an int64 array [n].
  """
  order = np.lexsort((day, key))
  k, d = key[order], day[order]
  first_of_key = np.ones(len(k), bool)
  first_of_key[1:] = k[1:] != k[:-1]
  first_of_day = first_of_key.copy()
  first_of_day[1:] |= d[1:] != d[:-1]
  # Index of the first row of each row's key, and of its key and day.
  index = np.arange(len(k))
  key_start = np.maximum.accumulate(np.where(first_of_key, index, 0))
  day_start = np.maximum.accumulate(np.where(first_of_day, index, 0))
  sums = []
  for amount in amounts:
    total = np.zeros(len(k) + 1, np.int64)
    np.cumsum(amount[order], out=total[1:])
    out = np.empty(len(k), np.int64)
    out[order] = total[day_start] - total[key_start]
    sums.append(out)
  return sums


def out_of_time(
    keys: Mapping[str, np.ndarray | Ragged],
    day: np.ndarray,
    click: np.ndarray,
    conversion: np.ndarray,
    strength: float,
) -> dict[str, Past]:
  """Encodes each key of each row by the labels of earlier days.

  `tests/data/kuairand/test_history.py` compares it with a slow loop, and checks
  that the labels of day d change no encoding of a row of day d or before.

  Args:
    keys: Name -> integers [n] with `NO_KEY` for a missing one, or `Ragged`
      lists of such integers.
    day: Any numbers that grow with time, [n].
    click: 0 or 1, [n].
    conversion: The joint label, 0 or 1, [n].
    strength: The pseudo-counts m; above 0.

  Returns:
    Key name -> its encodings.

  Raises:
    InputError: `strength` is not above 0.
  """
  if strength <= 0:
    raise InputError(
        f'History strength is {strength}; the pseudo-counts must be above 0.'
    )
  amounts = [np.ones(len(day), np.int64), click, conversion]
  prior = sums_before(np.zeros(len(day), np.int8), day, amounts)
  encodings = {}
  for name, key in keys.items():
    if isinstance(key, Ragged):
      sums = _sums_of_lists(key, day, amounts)
    else:
      sums = sums_before(key, day, amounts)
      sums = [np.where(key < 0, 0, s) for s in sums]
    n, c, v = sums
    encodings[name] = Past(
        ctr=Values(_smoothed(c, n, prior[1], prior[0], strength), n == 0),
        cvr=Values(_smoothed(v, c, prior[2], prior[1], strength), c == 0),
        count=Values(np.log1p(n), n == 0),
    )
  return encodings


def _smoothed(
    part: np.ndarray,
    whole: np.ndarray,
    all_part: np.ndarray,
    all_whole: np.ndarray,
    strength: float,
) -> np.ndarray:
  """Computes smoothed log-odds of part / whole, less those of the prior."""
  prior = (all_part + 0.5) / (all_whole + 1)
  rate = (part + strength * prior) / (whole + strength)
  return np.log(rate / (1 - rate)) - np.log(prior / (1 - prior))


def _sums_of_lists(
    lists: Ragged, day: np.ndarray, amounts: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Adds `sums_before` of every entry up over the entries of each row."""
  row = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
  sums = sums_before(lists.values, day[row], [a[row] for a in amounts])
  totals = []
  for entry_sums in sums:
    ends = np.zeros(len(entry_sums) + 1, np.int64)
    np.cumsum(np.where(lists.values < 0, 0, entry_sums), out=ends[1:])
    totals.append(ends[lists.offsets[1:]] - ends[lists.offsets[:-1]])
  return totals
