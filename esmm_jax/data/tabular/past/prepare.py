"""The history of a log while it is prepared: computed, fitted, encoded, kept.

On disk, until the data is prepared: 8 bytes a row for the time and for each
key, 8 bytes for each sum of each counter, and 9 for each of its numbers.
"""

from collections.abc import Sequence
import itertools
import os
from typing import Any, NamedTuple

from esmm_jax.data.history import encode, fitted as fields_of
from esmm_jax.data.history import specs, totals
from esmm_jax.data.history.blocks import blocks
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.compute import compute, Past
from esmm_jax.data.history.fitted import Fitted, Table
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.priors import Priors, QUARTER
from esmm_jax.data.history.reading import Reading
from esmm_jax.data.history.specs import Spec
from esmm_jax.data.history.state import saved
from esmm_jax.data.history.state.saved import Saved
from esmm_jax.data.history.state.store import Keeper
from esmm_jax.data.store.scratch import release, Scratch
from esmm_jax.data.tabular import splits
from esmm_jax.data.tabular.config import BLOCK
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.moments import Moments
from esmm_jax.data.tabular.past.log_files import AllRows, first_asked
from esmm_jax.data.tabular.past.log_files import LogFiles, pieces
from esmm_jax.data.tabular.splits import SPLITS
from esmm_jax.schema import Field
from esmm_jax.types import Columns
import numpy as np

_FOLDER = 'history-scratch'
_FEW_STEPS = encode.FRACTION / 64


class History:
  """The history of a log.

  Attributes:
    fields: Its fields; () before `fit`.
    warnings: Texts for people.
  """

  def __init__(self, config: Any, reading: Reading, folder: str):
    """Prepares for the rows.

    Args:
      config: A `TabularConfig`.
      reading: Of the log.
      folder: Of the prepared data; gets files that `close` removes.
    """
    self._config, self._reading = config, reading
    self._scratch = Scratch(os.path.join(folder, _FOLDER))
    self._files = LogFiles(reading, self._scratch)
    self._past: Past | None = None
    self._time: np.ndarray | None = None
    self._fitted: Fitted | None = None
    self.fields: tuple[Field, ...] = ()
    self.warnings: list[str] = []

  @property
  def reading(self) -> Reading:
    """Names the columns that the history reads."""
    return self._reading

  @property
  def folder(self) -> str:
    """See `LogFiles.folder`."""
    return self._files.folder

  def add(self, num: int) -> None:
    """Takes so many parts, which are written; see `LogFiles.add`."""
    self._files.add(num)

  def fit(self, encoder: Encoder, base: Saved | None, folder: str) -> None:
    """Computes the history of all rows and fits its fields.

    Args:
      encoder: Of the inputs, whose tables lists share.
      base: Of the run whose encoder has grown; None fits anew.
      folder: Of the encoder; gets what a run keeps of the history.
    """
    config, scratch = self._config, self._scratch
    every = self._files.close(self._asked_at_once())
    self._time = every.log.time
    self.warnings = _late(every, config, self._reading)
    self.warnings += _coarse(every, self._reading)
    firsts, since, until = _times(every)
    priors = priors_of(every.log)
    scratch.release()
    keeper = Keeper(self._reading, since)
    self._past = compute(
        config.specs,
        every.log,
        scratch.make,
        priors,
        keeper.add,
        since,
        scratch.release,
    )
    fields = [encoder.schema.field(name) for name in self._reading.entries]
    tables = {
        f.name: Table.of(f, encoder.vocabulary(f.table)) for f in fields
    }
    if base:
      self._fitted = base.fitted.grown(tables)
      self.warnings += _without(base, priors, config, self._reading)
    else:
      self._fitted = Fitted.fit(
          config.specs,
          self._past,
          splits.fitted(every.split, config.fit_on),
          config.tasks,
          tables,
          scratch.release,
          of_one=0.0,
      )
      self.warnings += _of_one(self._fitted)
    self.fields = self._fitted.fields
    store = keeper.store(priors, until, firsts)
    saved.save(Saved(self._fitted, store), folder)

  def encoding(self) -> 'Encoding':
    """Returns what encodes the rows, for any process of this machine."""
    blocks_of = (self._time, self._reading.clock)
    if not self._config.has_blocks:
      blocks_of = None
    return Encoding(self._past, self._fitted, self._config.specs, blocks_of)

  def close(self) -> None:
    """Removes the files."""
    self._past = self._time = None
    self._scratch.remove()

  def _asked_at_once(self) -> list[int]:
    """Lists the splits whose rows see nothing of each other.

    Those of the nightly protocol that are not trained on.
    """
    if specs.protocol(self._config.specs) != specs.NIGHTLY:
      return []
    trained = self._config.fit_on.split('+')
    return [k for k, name in enumerate(SPLITS) if name not in trained]


class Encoding(NamedTuple):
  """The history of all rows, in files, and how it is encoded.

  Attributes:
    past: The history.
    fitted: Its fields.
    specs: See `history.specs`.
    blocks_of: Times of all rows and their clock, for `history.blocks`; None
      where GAUC needs none.
  """

  past: Past
  fitted: Fitted
  specs: Sequence[Spec]
  blocks_of: tuple[np.ndarray, Clock] | None

  def encode(self, first: int, num: int) -> Columns:
    """Returns the columns of `num` rows of the log, from number `first` on."""
    rows = fields_of.rows_of(self.past, slice(first, first + num))
    columns = self.fitted.encode(rows)
    if self.blocks_of is not None:
      times, clock = self.blocks_of
      time = np.asarray(times[first : first + num])
      columns[BLOCK] = blocks(self.specs, clock, time)
    self._release()
    return columns

  def _release(self) -> None:
    """Gives the memory of mapped pages back."""
    past = self.past
    numbers = itertools.chain.from_iterable(past.numbers.values())
    release(itertools.chain(numbers, past.codes.values(), past.lists.values()))
    release([] if self.blocks_of is None else self.blocks_of[:1])


def _without(
    base: Saved, priors: Priors, config: Any, reading: Reading
) -> list[str]:
  """Warns of a log that has none of the past that the run before knew."""
  ends = base.store.priors.quarter, priors.quarter
  if not all(map(len, ends)):
    return []
  before, first = (int(quarter[0]) * QUARTER for quarter in ends)
  if first <= before:
    return []
  words = reading.clock.words
  return [
      f'the log of {config.vocabulary_of} begins at {words(before)}, this one'
      f' at {words(first)}: dataset.history counts only rows of this log, so'
      ' its first rows have no past. Also name the files of earlier days, as'
      ' many as the history looks back.'
  ]


def _of_one(fitted: Fitted) -> list[str]:
  """Warns of numbers that the training rows give no measure for."""
  names = [repr(n) for n, scaling in fitted.scaling.items() if not scaling.std]
  if not names:
    return []
  more = f' and {len(names) - 3} more' if len(names) > 3 else ''
  return [
      f'columns of dataset.history that are one number in all training rows:'
      f' {", ".join(names[:3])}{more}. They tell the model nothing and are 0 in'
      ' every row. Train on more days, look back less far, or leave them out.'
  ]


def _coarse(every: AllRows, reading: Reading) -> list[str]:
  """Warns of numbers that differ by few of the steps that sums count in."""
  texts = []
  for name in reading.numbers:
    amounts, moments = every.log.amounts[name], Moments()
    for low, high in pieces(len(amounts)):
      moments.add(amounts[low:high].astype(np.float64))
    if moments.num > 1 and moments.std < _FEW_STEPS:
      texts.append(
          f'the numbers of column {name!r} have a deviation below 1/64, and'
          ' their means in dataset.history are of steps of'
          f' 1/{encode.FRACTION}. Write them in a smaller unit, times 1000 say.'
      )
  return texts


def _times(every: AllRows) -> tuple[dict[str, int], int, int]:
  """Returns the times of the store: see `store.Facts`.

  It answers from the first row of the test split on, or of validation; without
  both from the end of the log on.
  """
  log, split = every
  firsts = {}
  for number, name in enumerate(SPLITS[1:], 1):
    first = first_asked(log, split, number)
    if first is not None:
      firsts[name] = first
  until = end = totals.NEVER
  for low, high in pieces(len(split)):
    end = max(end, int(log.time[low:high].max()))
    time = log.time[low:high][log.is_event[low:high]]
    until = max(until, int(time.max(initial=totals.NEVER)))
  since = firsts.get('test', firsts.get('valid', end + 1))
  return firsts, since, until


def _late(every: AllRows, config: Any, reading: Reading) -> list[str]:
  """Warns of training rows that come after rows of a held-out split."""
  if config.split == 'time':
    return []
  first, name = _first_held_out(every)
  if first is None:
    return []
  num = 0
  for low, high in pieces(len(every.split)):
    later = every.log.time[low:high] > first
    num += int((later & (every.split[low:high] == 0)).sum())
  if not num:
    return []
  return [
      f'{num:,} training rows are later than the first row of the split'
      f' {name!r} ({reading.clock.words(first)}): what they know of the past'
      " has labels of that split. Split in time, with dataset.split='time' say."
  ]


def _first_held_out(every: AllRows) -> tuple[int | None, str]:
  log: Log = every.log._replace(asked=every.log.time)
  firsts = [
      (first, name)
      for number, name in enumerate(SPLITS[1:], 1)
      if (first := first_asked(log, every.split, number)) is not None
  ]
  return min(firsts, default=(None, ''))
