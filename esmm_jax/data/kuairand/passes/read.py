"""The first pass: text of the files -> columns of the log, checked.

What is told of wrong files is what one pass would tell, whoever met it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
import contextlib
import itertools
import os
import shutil
from typing import Any, NamedTuple

from esmm_jax.data.files.checked_csv import no_rows, read_lines
from esmm_jax.data.files.line_problems import Problem
from esmm_jax.data.kuairand import official, tables
from esmm_jax.data.kuairand.config import CONVERSIONS, KuaiRandConfig
from esmm_jax.data.kuairand.passes.parts import Lines, LOG, Part, plan
from esmm_jax.data.kuairand.raw import LOG_COLUMNS, look_up, REPAIR
from esmm_jax.data.kuairand.raw import to_days, to_yyyymmdd
from esmm_jax.data.kuairand.rows import join_labels
from esmm_jax.data.kuairand.tables import Tables
from esmm_jax.data.store.column_files import GrowingTable
from esmm_jax.data.store.columns import open_folder
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.types import Columns
import numpy as np

MIXED = 'mixed'
# Of the columns that are smaller in files than int64.
_TYPES = {
    'user_id': np.int32,
    'video_id': np.int32,
    'date': np.int32,
    'hourmin': np.int16,
    'is_click': np.int8,
    'is_like': np.int8,
    'long_view': np.int8,
}
_DATES = 1 << 10  # Rank of dates that are none, behind those of values.


class _Facts(NamedTuple):
  """Facts of a part of a log.

  Attributes:
    num_lines: See `checked_csv.Read`.
    problem: See there.
    num_rows: Its rows.
    time: The smallest time_ms.
    days: yyyymmdd -> rows.
    kept_days: The same of those rows that the policy for labels keeps.
  """

  num_lines: int
  problem: Problem | None = None
  num_rows: int = 0
  time: int = 0
  days: Counter[int] = Counter()
  kept_days: Counter[int] = Counter()


class _File(NamedTuple):
  """A log file; by rising time.

  Attributes:
    time: The smallest time_ms.
    name: Of the file.
    rows: The folder of each part -> its rows.
  """

  time: int
  name: str
  rows: dict[str, int]


class RawLog(NamedTuple):
  """The log, in files, and the tables.

  Attributes:
    log_files: Names of the log files, in time order.
    parts: The parts, in that order.
    num_rows: Of the log.
    days: yyyymmdd -> rows that the policy for labels keeps.
    tables: The users and videos.
    warnings: A line for each file that is a small part of the official one.
  """

  log_files: list[str]
  parts: list[Part]
  num_rows: int
  days: Counter[int]
  tables: Tables
  warnings: list[str]

  def columns(self, names: Sequence[str]) -> Iterator[tuple[Part, Columns]]:
    """Yields the parts and some of their columns, mapped from files."""
    for part in self.parts:
      columns = open_folder(part.folder)
      yield part, {name: columns[name] for name in names}

  def take(self, names: Sequence[str], rows: np.ndarray) -> Columns:
    """Returns columns of rows of the log, whose numbers ascend."""
    pieces: dict[str, list[np.ndarray]] = {
        name: [np.zeros(0, np.int64)] for name in names
    }
    for part, columns in self.columns(names):
      num = len(columns[names[0]])
      low, high = np.searchsorted(rows, [part.first, part.first + num])
      for name, column in columns.items():
        pieces[name].append(column[rows[low:high] - part.first])
    return {name: np.concatenate(some) for name, some in pieces.items()}


def _read(shared: tuple[KuaiRandConfig, str], part: Lines, tell: Tell) -> Any:
  """Reads a table, or a part of a log into a folder of its number."""
  config, folder = shared
  if part.kind != LOG:
    return tables.read(part.path, part.kind)
  read = read_lines(part.path, LOG_COLUMNS, part.low, part.high)
  if read.problem:
    return _Facts(read.num_lines, read.problem)
  log: Columns = {
      name: column.values.astype(_TYPES.get(name, np.int64))
      for name, column in read.columns.items()
  }
  dates = log['date']
  bad = np.flatnonzero(to_yyyymmdd(to_days(dates)) != dates)
  if len(bad):
    what = f'{dates[bad[0]]} is no date of the form yyyymmdd'
    line = int(bad[0]) + 1 + (not part.low)
    return _Facts(read.num_lines, Problem(_DATES, line, 'date', what))
  num = len(dates)
  is_kept = join_labels(log, config).is_kept
  log[MIXED] = official.mixed(log)
  path = _path(folder, part)
  shutil.rmtree(path, ignore_errors=True)  # Of a worker that was lost.
  table = GrowingTable(path)
  table.append(log)
  table.close()
  tell(num)
  return _Facts(
      read.num_lines,
      None,
      num,
      int(log['time_ms'].min()) if num else np.iinfo(np.int64).max,
      _counts(dates),
      _counts(dates[is_kept]),
  )


def _path(folder: str, part: Lines) -> str:
  return os.path.join(folder, f'{part.number:05d}')


def _counts(dates: np.ndarray) -> Counter[int]:
  counts = np.unique(dates, return_counts=True)
  return Counter(dict(zip(*map(np.ndarray.tolist, counts))))


def read(
    engine: Engine,
    paths: Sequence[str],
    config: KuaiRandConfig,
    folder: str,
    tell: Tell,
) -> RawLog:
  """Reads the files of `raw.find_files`.

  Args:
    engine: Reads the parts.
    paths: The files.
    config: Of the data set.
    folder: Gets the columns of the log, and files of the engine.
    tell: Gets rows as they are read.

  Raises:
    InputError: A file is damaged or has a value that is not allowed; names the
      row and the field. Or it has other rows than the official file, or those
      of another log.
  """
  logs: list[_File] = []
  days_kept: Counter[int] = Counter()
  warnings: list[str] = []

  def check(path: str, num: int, days: Counter[int] | None) -> None:
    if config.check_counts:
      name = os.path.basename(path)
      warnings.append(official.check(path, name, num, days))

  planned = plan(paths, engine.workers)
  with contextlib.closing(
      engine.map(_read, (config, folder), planned, folder, tell)
  ) as results:
    by_file = itertools.groupby(planned[:-2], lambda part: part.path)
    for path, parts in by_file:
      some = list(parts)
      facts = _of_file(path, zip(some, results))
      days = sum((one.days for one in facts), Counter())
      check(path, sum(one.num_rows for one in facts), days)
      days_kept += sum((one.kept_days for one in facts), Counter())
      rows = {_path(folder, p): f.num_rows for p, f in zip(some, facts)}
      time = min(one.time for one in facts)
      logs.append(_File(time, os.path.basename(path), rows))
    logs.sort(key=lambda log: log[:2])
    if config.check_counts:
      official.refuse_copies([(log.name, _mixed(log)) for log in logs])
    both = Tables(*results)
  for path, table in zip(paths[-2:], both):
    check(path, len(next(iter(table.values())).values), None)
  parts, num_rows = _in_order(logs)
  names = [log.name for log in logs]
  said = list(filter(None, warnings))
  return RawLog(names, parts, num_rows, days_kept, both, said)


def _of_file(
    path: str, results: Iterator[tuple[Lines, _Facts]]
) -> list[_Facts]:
  """Returns the facts of the parts of a log; raises its problem."""
  facts: list[_Facts] = []
  worst: tuple[Problem, int] | None = None
  before = 0
  for _, one in results:
    if one.problem and (not worst or one.problem.rank < worst[0].rank):
      worst = one.problem, before
    before += one.num_lines
    facts.append(one)
  problem = no_rows(before)
  if problem and (not worst or problem.rank < worst[0].rank):
    worst = problem, 0
  if worst:
    raise worst[0].error(path, REPAIR, worst[1])
  return facts


def _in_order(logs: Sequence[_File]) -> tuple[list[Part], int]:
  """Returns the parts of the logs in their order, and the number of rows."""
  parts: list[Part] = []
  first = 0
  for k, log in enumerate(logs):
    line = 2
    for folder, num in log.rows.items():
      if num:  # Else it is the header.
        parts.append(Part(len(parts), folder, k, line, first))
      line += num
      first += num
  return parts, first


def _mixed(log: _File) -> np.ndarray:
  """Returns a number of each row of a log, see `official.mixed`."""
  folders = [folder for folder, num in log.rows.items() if num]
  return np.concatenate([open_folder(path)[MIXED] for path in folders])


def repeated(log: RawLog) -> np.ndarray:
  """Returns the rows with the user, video and time of an earlier row.

  Their numbers in the log, int64, ascending.
  """
  numbers = np.concatenate([c[MIXED] for _, c in log.columns([MIXED])])
  numbers.sort()  # In place: they are many.
  twice = np.unique(numbers[1:][numbers[1:] == numbers[:-1]])
  del numbers
  rows = np.concatenate([
      part.first + np.flatnonzero(look_up(twice, columns[MIXED]) >= 0)
      for part, columns in log.columns([MIXED])
  ])
  names = ['user_id', 'video_id', 'time_ms']
  keys = list(log.take(names, rows).values())
  order = np.lexsort(keys)
  same = np.ones(max(len(order) - 1, 0), bool)
  for key in keys:
    same &= key[order[1:]] == key[order[:-1]]
  return np.sort(rows[order[1:][same]])


def days_of_rows(
    log: RawLog, config: KuaiRandConfig, rows: np.ndarray
) -> set[int]:
  """Returns the days, yyyymmdd, of the rows that the options keep.

  Args:
    log: The log.
    config: Has the policies.
    rows: What `repeated` returns.
  """
  days = Counter(log.days)
  if config.drop_duplicates:
    names = ['date', 'is_click', CONVERSIONS[config.conversion]]
    columns = log.take(names, rows)
    is_kept = join_labels(columns, config).is_kept
    days -= Counter(columns['date'][is_kept].tolist())
  return set(days)
