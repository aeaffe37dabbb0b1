"""Flags, data and JSON lines that the benchmarks share.

The model that they measure is ESMM with 23 fields, dimension 18 and towers of
360-200-80 units, as in the published set-ups of Ali-CCP.
"""

from collections.abc import Iterator, Mapping, Sequence
import json
import os
import resource
import threading
import time
from typing import Any

from absl import flags
from esmm_jax import streams, whole_files
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.schema import Field, Schema
from esmm_jax.types import InputError, Ragged
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa

from experiments import file_flags

NUM_FIELDS = 23
EMBED_DIM = 18
TOWER_UNITS = (360, 200, 80)
# Shares of the vocabulary that the first fields have; others share the rest.
LARGE_SHARES = (0.55, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
EXAMPLES = 1_000_000
# Rows of a log that are drawn at once, and of a row group.
PIECE = 1 << 20
# Of a table of lines, before what single ones have.
COLUMNS = (
    'name', 'rows', 'batch_size', 'replicas', 'ms', 'examples_per_second'
)
# All lines that this process has printed.
printed: list[dict[str, Any]] = []

flags.DEFINE_bool(
    'keep_scratch', True, 'Whether freed memory is kept for the next step.'
)


def define_rows(default: str, text: str) -> flags.FlagHolder:
  """Defines --rows, a list of counts such as 1e6."""
  return flags.DEFINE_list('rows', default.split(','), text)


def define_batch_size() -> flags.FlagHolder:
  """Defines --batch_size, a list of counts."""
  return flags.DEFINE_list('batch_size', ['4096'], 'Examples of a batch.')


def define_markdown() -> flags.FlagHolder:
  """Defines --markdown, a file of the printed lines."""
  return file_flags.define_path(
      'markdown', None, 'Text file that gets the lines as a table.'
  )


def check_formats(formats: Sequence[str]) -> None:
  """Refuses a value of --format that no log is written in.

  Raises:
    InputError: There is one.
  """
  for form in formats:
    if form not in ('parquet', 'csv'):
      raise InputError(f'--format={form}: it must be parquet or csv.')


def counts(texts: list[str]) -> list[int]:
  """Converts texts such as 1e6 to integers."""
  return [int(float(text)) for text in texts]


def emit(
    name: str,
    rows: int,
    batch_size: int,
    ms: float,
    *,
    examples: float | None = None,
    replicas: int = 1,
    **more: Any,
) -> None:
  """Prints a measurement as one JSON object in a line.

  Args:
    name: Of the measurement.
    rows: Of the table or of the data, by the benchmark.
    batch_size: Examples of a batch.
    ms: Milliseconds of one step or call.
    examples: Examples worked through in that time; None: `batch_size`.
    replicas: Models trained at once.
    **more: Further keys.
  """
  examples = batch_size if examples is None else examples
  line = {
      'name': name,
      'rows': rows,
      'batch_size': batch_size,
      'replicas': replicas,
      'ms': round(ms, 3),
      'examples_per_second': round(examples / ms * 1e3),
  }
  print_line(line | more)


def print_line(line: dict[str, Any]) -> None:
  """Prints one JSON object; at once, also into a pipe."""
  streams.only_prints()  # As all benchmarks do.
  printed.append(line)
  print(json.dumps(line), flush=True)


def check_markdown(path: str | None) -> None:
  """Refuses before minutes of work what cannot be written.

  Raises:
    InputError: The file exists, or its folder does not.
  """
  if path and os.path.lexists(path):
    raise InputError(f'--markdown={path} exists; remove it, or name another.')
  if path and not os.path.isdir(os.path.dirname(path) or '.'):
    raise InputError(f'--markdown={path}: there is no such folder; make it.')


def write_markdown(path: str, columns: Sequence[str] = ()) -> None:
  """Writes the lines that were printed; see `markdown`."""
  whole_files.write_text(path, markdown(printed, columns))


def markdown(
    lines: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()
) -> str:
  """Makes a table of lines.

  Args:
    lines: As they are printed.
    columns: The keys that it has; (): those of `emit`, and one for all others.
  """
  chosen = columns or COLUMNS
  rows = [[*chosen], ['---'] * len(chosen)]
  for line in lines:
    cells = ['' if line.get(c) is None else line[c] for c in chosen]
    rows.append([str(cell) for cell in cells])
  if not columns:
    more = [
        ', '.join(f'{k}={v}' for k, v in line.items() if k not in chosen)
        for line in lines
    ]
    for row, cell in zip(rows, ['more', '---', *more]):
      row.append(cell)
  return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def peak_rss() -> int:
  """Returns the most memory that this process has had, in bytes."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
  """Returns the bytes that the process has now."""
  with open('/proc/self/statm', encoding='ascii') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def write_log(path: str, form: str, pieces: Iterator[pa.Table]) -> None:
  """Writes pieces to one file.

  Args:
    path: The file.
    form: `parquet` or `csv`.
    pieces: Rows; of Parquet a row group each.
  """
  writer = None
  for piece in pieces:
    if writer is None:
      kind = parquet.ParquetWriter if form == 'parquet' else csv.CSVWriter
      writer = kind(path, piece.schema)
    writer.write_table(piece)
  writer.close()


class Peak:
  """Watches the most memory that the process has had since the last `take`."""

  def __init__(self):
    self._before = resident()
    self._most = 0
    threading.Thread(target=self._watch, daemon=True).start()

  def _watch(self):
    while True:
      self._most = max(self._most, resident())
      time.sleep(0.01)

  def take(self) -> int:
    """Returns the peak in bytes above the start, and forgets it."""
    most, self._most = max(self._most, resident()), 0
    return most - self._before


class MemorySource:
  """Columns in memory, read as a data set is."""

  def __init__(self, columns: dict[str, np.ndarray]):
    self._columns = columns

  def __len__(self) -> int:
    return len(self._columns['click'])

  def read(self, start, stop, names):
    """Returns rows [start, stop) of the named columns."""
    return {n: cut(self._columns[n], start, stop) for n in names}

  def verify(self, names):
    """Does nothing: what is in memory was made here."""


def make_data(
    num_rows: int,
    lists: int = 0,
    list_len: int = 20,
    num_fields: int = NUM_FIELDS,
    examples: int = EXAMPLES,
) -> tuple[MemorySource, Schema]:
  """Draws examples with Zipf ids, and what truth columns estimators read.

  Args:
    num_rows: Rows of the embedding table, about; those of all fields together.
    lists: So many of the fields, from the second on, are lists.
    list_len: Entries of a list, 0 to so many, each number as often.
    num_fields: At least 8.
    examples: So many.

  Returns:
    The examples and their schema.
  """
  rng = np.random.default_rng(0)
  small = num_fields - len(LARGE_SHARES)
  shares = np.asarray(LARGE_SHARES + (0.04 / small,) * small)
  sizes = np.maximum(shares / sum(shares) * num_rows, 10)
  sizes = sizes.astype(int)
  columns, fields = {}, []
  for k, size in enumerate(sizes):
    name, vocab_size = f'field_{k}', int(size)
    if 1 <= k <= lists:
      ends = np.cumsum(rng.integers(0, list_len + 1, examples))
      offsets = np.concatenate([[0], ends])
      columns[name] = Ragged(_ids(rng, size, offsets[-1]), offsets)
      fields.append(Field(name, 'ids', vocab_size, max_len=list_len))
    else:
      columns[name] = _ids(rng, size, examples)
      fields.append(Field(name, vocab_size=vocab_size))
  click = rng.random(examples) < 0.04
  columns['click'] = click.astype(np.int8)
  columns['conversion'] = (click & (rng.random(examples) < 0.1)).astype(np.int8)
  columns |= _truth(rng, columns)
  return MemorySource(columns), Schema(tuple(fields))


def _truth(
    rng: np.random.Generator, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Draws columns that a simulator knows: all that estimators may need."""
  click, conversion = columns['click'] > 0, columns['conversion'] > 0
  num = len(click)
  converts = np.where(click, conversion, rng.random(num) < 0.1)
  late = click & (rng.random(num) < 0.05)
  return {
      'conversion_if_clicked': converts.astype(np.int8),
      'conversion_eventually': (conversion | late).astype(np.int8),
      'click_age': (1.0 - rng.random(num)).astype(np.float32),
      'conversion_delay': rng.standard_exponential(num).astype(np.float32),
  }


def _ids(rng: np.random.Generator, size: int, num: int) -> np.ndarray:
  """Draws ids below `size`, small ones more often: int32 [num]."""
  return np.minimum(size ** rng.random(num), size - 1).astype(np.int32)
