"""Files whose rows are looked up in a run's history, and in the files' own.

Where the files have labels, all their rows are added to a copy of the history
first; each row then asks for it at its own time, and so sees the earlier rows
of the files whose delay is over, in whatever order the files hold them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esmm_jax import streams
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.history import specs
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.reading import Rows
from esmm_jax.data.tabular.rows import Chunk
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.options import check_choice
from esmm_jax.serving.history.state import History
from esmm_jax.serving.labelled import Reader
from esmm_jax.types import InputError
import numpy as np

MODES = ('auto', 'replay', 'store')
_ROWS = 1 << 18
_WHY = ', which the history of the run reads'


def prepare(
    predictor: Any,
    files: Sequence[row_files.File],
    dialect: Dialect,
    mode: str = 'auto',
    as_of: Any = None,
) -> tuple[Any, dict[str, Any]]:
  """Prepares a model for the rows of files; says what is done in a line.

  Args:
    predictor: The model; its own history is not changed.
    files: The files.
    dialect: The form of CSV files.
    mode: `replay` counts the rows of the files themselves, which need labels;
      `store` looks up what the run knows, and no more; `auto` replays if all
      files have the labels.
    as_of: See `Predictor.as_of`; None or '': that of the predictor.

  Returns:
    A predictor with the history that the rows see, also where rows of a request
    are in different pieces; what the history is made of, for jobs that resume,
    {} without one.

  Raises:
    InputError: A file lacks a column, a value is of another kind, or the model
      has no history and one is asked for.
  """
  check_choice('--history', mode, MODES)
  if predictor.history is None:
    if mode != 'auto' or as_of:
      predictor.require_history('--history and --as_of')
    return predictor, {}
  history = predictor.history.copied()
  if as_of:
    history.as_of = history.present(as_of)
  lacks = _lacking(predictor, files, dialect)
  replays = mode == 'replay' or (mode == 'auto' and not lacks)
  if mode == 'replay' and lacks:
    raise InputError(
        f'{lacks}, which a replay counts. --history=store looks up what the run'
        ' knows, and counts nothing of the files.'
    )
  counts = (0, 0)
  if replays or history.reading.request:
    counts = _read(predictor, history, files, dialect, replays)
  about = {
      'mode': 'replay' if replays else 'store',
      'state': predictor.history.store.fingerprint(),
      'as_of': history.as_of,
  }
  streams.say(_line(predictor.history, history.as_of, lacks, replays, counts))
  return predictor.with_history(history), {'history': about}


def told(predictor: Any, about: Mapping[str, Any]) -> dict[str, str]:
  """Returns what an evaluation tells of its history; {} without one.

  Args:
    predictor: As `prepare` returned it.
    about: As `prepare` returned it.

  Returns:
    `history_rows`, `replay` or `store`; `history_as_of`, a time in words.
  """
  if not about:
    return {}
  as_of = predictor.history.as_of
  words = predictor.history.reading.clock.words
  noted = {} if as_of is None else {'history_as_of': words(as_of)}
  return {'history_rows': about['history']['mode'], **noted}


def _lacking(
    predictor: Any, files: Sequence[row_files.File], dialect: Dialect
) -> str:
  """Names a file that lacks a column of a replay, and the column; or ''."""
  for file in files:
    present = row_files.names(file.path, dialect)
    for name in _counted(predictor):
      if name not in present:
        return f'{file.path} has no column {name!r}'
  return ''


def _counted(predictor: Any) -> list[str]:
  """Returns the columns that the rows of a replay add."""
  numbers = predictor.history.reading.numbers
  return list(dict.fromkeys([*Reader(predictor).labels, *numbers]))


def _read(
    predictor: Any,
    history: History,
    files: Sequence[row_files.File],
    dialect: Dialect,
    replays: bool,
) -> tuple[int, int]:
  """Reads the files once: their rows into a history, first times of requests.

  Returns:
    The number of rows that were counted, and that the history had.
  """
  reading = history.reading
  for file in files:
    present = row_files.names(file.path, dialect)
    row_files.require(history.names, present, file.path, _WHY, dialect)
  log_until, seen = history.store.facts.log_until, history.store.seen
  counted = had = 0
  hashes, times = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
  names = list(reading.columns)
  if replays:
    more = predictor.names if seen.parts else []
    names = list(dict.fromkeys([*names, *_counted(predictor), *more]))
  reader = Reader(predictor)
  for chunk in _chunks(files, names, dialect):
    labels, kept = _labels(reader, chunk) if replays else (None, None)
    rows = reading.read(chunk.columns, chunk.location, labels)
    if reading.request:
      first = _first_times(rows)
      hashes.append(first[0])
      times.append(first[1])
    if replays:
      new = kept & (rows.time > log_until)
      if seen.parts:
        new &= ~seen.has(predictor.identities(rows, chunk))
      counted, had = counted + int(new.sum()), had + int((kept & ~new).sum())
      history.add(rows, np.flatnonzero(new))
  if reading.request:
    history.requests = _earliest(np.concatenate(hashes), np.concatenate(times))
  return counted, had


def _labels(
    reader: Reader, chunk: Chunk
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  try:
    return reader.labels_of(chunk)
  except InputError as e:
    raise InputError(
        f'{e} Or leave the labels of the files unread, with --history=store:'
        ' nothing of them is then counted.'
    ) from e


def _chunks(
    files: Sequence[row_files.File], names: list[str], dialect: Dialect
) -> Iterator[Chunk]:
  for file in files:
    for path, first, table in row_files.read(file.path, names, _ROWS, dialect):
      columns = {name: table[name] for name in names}
      at = row_files.location(path, first, dialect)
      yield Chunk(columns, at, 0, first, first, LEFT_OUT)


def _first_times(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
  return _earliest(rows.request, rows.time)


def _earliest(
    hashes: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns distinct hashes, ascending, and the first time of each."""
  order = np.lexsort((times, hashes))
  order = order[hashes[order] != NO_KEY]
  distinct, first = np.unique(hashes[order], return_index=True)
  return distinct, times[order][first]


def _line(
    history: History,
    as_of: int | None,
    lacks: str,
    replays: bool,
    counts: tuple[int, int],
) -> str:
  """Says what was done with the rows that count, and those that it had."""
  words, (counted, had) = history.reading.clock.words, counts
  end = words(history.store.until)
  observed = bool(history.store.seen.parts)
  if replays:
    which = 'that it had not' if observed else f'after its end ({end})'
    text = f'history: replayed, {counted:,} labelled rows {which} count'
  else:
    why = f', as {lacks}' if lacks else ''
    text = f'history: looked up; it ends at {end}, and no row of the input'
    text += f' counts{why}'
  if had:
    which = 'that it had' if observed else 'up to then'
    text += f'; {had:,} rows {which} were looked up and not counted again'
  if as_of is not None:
    return f'{text}; asked for as of {words(as_of)}'
  nightly = specs.protocol(history.reading.specs) == specs.NIGHTLY
  if had and nightly and 'test' in history.store.facts.firsts:
    text += ', each at its own day; --as_of=test asks as the test split did'
  return text
