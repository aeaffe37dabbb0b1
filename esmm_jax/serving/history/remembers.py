"""The part of a `Predictor` whose run has a history."""

from collections.abc import Mapping
import copy
import os
from typing import Any

from esmm_jax import histories, paths, streams
from esmm_jax.data.files import frames
from esmm_jax.data.history.priors import QUARTER
from esmm_jax.data.history.reading import Rows
from esmm_jax.data.history.state import saved, store_files
from esmm_jax.data.history.state.seen import Seen
from esmm_jax.data.history.state.store import Observed, Store
from esmm_jax.data.tabular.rows import Chunk
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.values.raw_values import Location
from esmm_jax.serving import inputs, labelled
from esmm_jax.serving.evaluation import PIECE
from esmm_jax.serving.history.state import History, identities
from esmm_jax.types import InputError
from esmm_jax.whole_files import new_folder
import numpy as np

# Rows of a stream that are observed at once.
_ROWS = 1 << 18


class Remembers:
  """The part of a `Predictor` that looks rows up and learns of new ones.

  Attributes:
    history: The run's history; None if its model reads none.
  """

  history: History | None = None

  def _read_history(self, encoder: str) -> None:
    """Reads the history in the folder of an encoder, if the model has one."""
    held = saved.load(encoder)
    if held is None:
      return
    fields = {field.name for field in self.schema.fields}
    if fields & {field.name for field in held.fitted.fields}:
      self.history = History(held)
      more = [n for n in self.history.names if n not in self.names]
      self.names = [*self.names, *more]

  @property
  def piece_rows(self) -> int:
    """Rows of a stream that are read at once."""
    if self.history is not None and self.history.reading.request:
      return 1 << 62  # The rows of a request are asked for together.
    return PIECE * self.batch_size

  @property
  def history_protocol(self) -> str:
    """The protocol of the run's histories, see `histories`; '' without any."""
    return histories.of_run(self.trained.results, self.trained.config)

  @property
  def as_of(self) -> int | None:
    """The present, for rows of later times; nanoseconds since 1970, or None.

    Set to a split of the run's data (`test`), rows are asked for as those of
    the split were: a nightly history has nothing of the split's own days. Set
    to a time, as the column of times has them, nothing after it is known. None
    asks for each row at its own time.
    """
    return self.require_history('as_of').as_of

  @as_of.setter
  def as_of(self, value: Any) -> None:
    history = self.require_history('as_of')
    history.as_of = None if value is None else history.present(value)

  def require_history(self, what: str) -> History:
    """Returns the history.

    Args:
      what: Begins the message.

    Raises:
      InputError: The model reads none.
    """
    if self.history is None:
      raise InputError(
          f'{what}: the model has no history. That of a run with'
          ' dataset.history on a log of its own (tabular) has one.'
      )
    return self.history

  def observe(self, columns: Any, where: str = 'columns') -> Observed:
    """Brings the history up to date with rows whose labels are known.

    A later `predict` sees them as soon as their delay is over. They may come in
    any order and late. Left out, with a warning, are rows that the run's log
    has already (no newer than its end), and rows that were observed before:
    those that agree in time and all other columns but the labels. Rows of one
    call that agree are all added, as those of a log.

    Args:
      columns: Rows as `predict` takes them, with the columns of the labels.
      where: Name of the rows in messages.

    Returns:
      How many rows were added, and left out.

    Raises:
      InputError: The model has no history, a column is missing, or a value or
        label is not possible.
    """
    seen = self.require_history('observe').store.seen
    total = Observed(0, 0, 0)
    if isinstance(columns, (list, tuple)) and not columns:
      return total  # Of no rows nothing tells the columns.
    for first, piece in frames.pieces(columns, None, _ROWS, where):
      # Rows of one call that agree all count, in whatever pieces they come.
      earlier = seen if first else None
      report = self._observe(piece.columns, Location(where, first), earlier)
      total = Observed(*(a + b for a, b in zip(total, report)))
    for num, why in (
        (total.in_log, 'are no newer than the log of the run, which has them'),
        (total.again, 'were observed before'),
    ):
      if num:
        streams.warn(f'{where}: {num:,} rows are left out: they {why}.')
    return total

  def _observe(
      self, columns: Mapping[str, Any], location: Location, seen: Seen | None
  ) -> Observed:
    """Observes rows of one piece, but those in `seen`, see `Store`."""
    reader = labelled.Reader(self)
    reader.check(list(columns), location.where)
    more = [n for n in self.history.reading.numbers if n not in reader.names]
    names = [*reader.names, *more]
    columns = frames.read(columns, names, location.where, inputs.READS).columns
    chunk = Chunk(
        columns, location, 0, location.first, location.first, LEFT_OUT
    )
    labels, is_kept = reader.labels_of(chunk)
    return self.history.observe(
        columns, location, labels, is_kept, self._encoder.inputs, seen
    )

  def identities(self, rows: Rows, chunk: Chunk) -> np.ndarray:
    """Hashes what tells rows of a chunk apart; see `state.identities`."""
    encoder = self._encoder
    return identities(rows, encoder.inputs, chunk.columns, chunk.location)

  def save_history(self, folder: str, since: Any = None) -> None:
    """Writes the history as it is now; `load(run, history=folder)` reads it.

    Args:
      folder: Must not exist.
      since: The earliest time that it is to answer, see `as_of`; what was
        before becomes sums, which makes it smaller. None: as now.

    Raises:
      InputError: The model has no history, or the folder exists.
    """
    history = self.require_history('save_history')
    folder = paths.expand(folder)
    if not folder:
      raise InputError("save_history('') names no folder.")
    if os.path.lexists(folder):
      raise InputError(f'{folder} exists. Name another folder.')
    time = None if since is None else history.moment(since, 'since')
    os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
    with new_folder(folder) as temporary:
      store_files.save(history.store, temporary, time)

  def load_history(self, folder: str) -> None:
    """Reads a history that `save_history` wrote, of this run.

    Args:
      folder: The folder.

    Raises:
      InputError: It holds none, was changed, or is of another log.
    """
    history = self.require_history(f'history={folder}')
    store = store_files.load(paths.expand(folder))
    if not _is_of_log(store, history.store):
      raise InputError(
          f'history={folder} is of another run: other histories, or another'
          ' log. Use one that this run saved.'
      )
    self.history = history.copied(store=store)

  def with_history(self, history: History) -> Any:
    """Returns a predictor of the same model that has another history."""
    other = copy.copy(self)
    other.history = history
    return other


def _is_of_log(store: Store, other: Store) -> bool:
  """Returns True if two stores have grown out of the log of one run.

  Compared are the histories, the times, and the sums of the log: of other
  labels they are others.
  """
  facts = [(s.facts.log_until, dict(s.facts.firsts)) for s in (store, other)]
  if store.reading != other.reading or facts[0] != facts[1]:
    return False
  sums = []
  for priors in (store.priors, other.priors):
    # Later quarters may have observed rows.
    end = np.searchsorted(priors.quarter, store.facts.log_until // QUARTER)
    sums.append((priors.quarter[:end], priors.sums[:end]))
  return all(map(np.array_equal, *sums))
