"""Flags, data and JSON lines that the benchmarks share.

The model that they measure is ESMM with 23 fields, dimension 18 and towers of
360-200-80 units, as in the published set-ups of Ali-CCP.
"""

import json
import os
import resource
from typing import Any

from absl import flags
from esmm_jax import streams
from esmm_jax.data.store.columns import cut
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Ragged
import numpy as np

NUM_FIELDS = 23
EMBED_DIM = 18
TOWER_UNITS = (360, 200, 80)
# Shares of the vocabulary that the fields have: three large, many small.
SHARES = (0.55, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01) + (0.04 / 16,) * 16
EXAMPLES = 1_000_000
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


def peak_rss() -> int:
  """Returns the most memory that this process has had, in bytes."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
  """Returns the bytes that the process has now."""
  with open('/proc/self/statm', encoding='ascii') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


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
    num_rows: int, lists: int = 0, list_len: int = 20
) -> tuple[MemorySource, Schema]:
  """Draws 1M examples with Zipf ids.

  Args:
    num_rows: Rows of the embedding table, about; those of all fields together.
    lists: So many of the 23 fields, from the second on, are lists.
    list_len: Entries of a list, 0 to so many, each number as often.

  Returns:
    The examples and their schema.
  """
  rng = np.random.default_rng(0)
  sizes = np.maximum((np.asarray(SHARES) / sum(SHARES) * num_rows), 10)
  sizes = sizes.astype(int)
  columns, fields = {}, []
  for k, size in enumerate(sizes):
    name, vocab_size = f'field_{k}', int(size)
    if 1 <= k <= lists:
      ends = np.cumsum(rng.integers(0, list_len + 1, EXAMPLES))
      offsets = np.concatenate([[0], ends])
      columns[name] = Ragged(_ids(rng, size, offsets[-1]), offsets)
      fields.append(Field(name, 'ids', vocab_size, max_len=list_len))
    else:
      columns[name] = _ids(rng, size, EXAMPLES)
      fields.append(Field(name, vocab_size=vocab_size))
  click = rng.random(EXAMPLES) < 0.04
  columns['click'] = click.astype(np.int8)
  columns['conversion'] = (click & (rng.random(EXAMPLES) < 0.1)).astype(np.int8)
  return MemorySource(columns), Schema(tuple(fields))


def _ids(rng: np.random.Generator, size: int, num: int) -> np.ndarray:
  """Draws ids below `size`, small ones more often: int32 [num]."""
  return np.minimum(size ** rng.random(num), size - 1).astype(np.int32)
