"""The history of a log while it is prepared: computed, fitted, encoded, kept.

On disk, until the data is prepared: 8 bytes a row for the time and for each
key, 8 bytes for each sum of each counter, and 9 for each of its numbers.
"""

import os
from typing import Any

from esmm_jax.data.history import fitted as fields_of, specs, totals
from esmm_jax.data.history.compute import compute, Past
from esmm_jax.data.history.fitted import Fitted, Table
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.priors import Priors, QUARTER
from esmm_jax.data.history.reading import Reading
from esmm_jax.data.history.state import saved
from esmm_jax.data.history.state.saved import Saved
from esmm_jax.data.history.state.store import Keeper
from esmm_jax.data.tabular import splits
from esmm_jax.data.tabular.config import BLOCK
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.past.blocks import blocks
from esmm_jax.data.tabular.past.log_files import AllRows, first_asked
from esmm_jax.data.tabular.past.log_files import LogFiles, pieces
from esmm_jax.data.tabular.past.scratch import Scratch
from esmm_jax.data.tabular.splits import SPLITS
from esmm_jax.data.values.raw_values import Location
from esmm_jax.schema import Field
from esmm_jax.types import Columns
import numpy as np

_FOLDER = 'history-scratch'


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

  def add(
      self,
      columns: Columns,
      location: Location,
      labels: Columns,
      split: np.ndarray,
  ) -> None:
    """Adds rows in the order of the log; see `LogFiles.add`."""
    self._files.add(columns, location, labels, split)

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

  def encode(self, first: int, num: int) -> Columns:
    """Returns the columns of `num` rows of the log, from number `first` on."""
    rows = fields_of.rows_of(self._past, slice(first, first + num))
    columns = self._fitted.encode(rows)
    if self._config.has_blocks:
      time = np.asarray(self._time[first : first + num])
      clock = self._reading.clock
      columns[BLOCK] = blocks(self._config.specs, clock, time)
    self._scratch.release()
    return columns

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
      f' at {words(first)}: dataset.history counts rows of this log alone, so'
      ' keys have no past where it begins. Name the files of earlier days too,'
      ' as many as a history looks back.'
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
      ' every row. Training rows of the first day see no earlier one.'
  ]


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
