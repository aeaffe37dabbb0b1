"""Times adding up what workers have counted: the vocabularies of a log's parts.

  python -m benchmarks.in_turn.merge --rows=5e6 --parts=2

Each part has `rows` different texts of some 13 letters, half of which the part
before it has, too, and its counts come as another process sends them. Prints
one JSON object a line. `merge_order` adds up in the order of the parts, as the
first pass does; `merge_tree` adds up neighbours, then their sums, and so on,
each sum sent to another process. Of `ms` `merge_ms` is for that, of the tree
`longest_ms` where a process does each sum, and `vocabulary_ms` for the rest:
what waits to be added up, and the values in the order of their ids.
`peak_bytes` is the memory above that of the messages, `message_bytes` what a
part sends and `message_ms` its worker's time to make that.
"""

from collections.abc import Callable, Sequence
import pickle
import time

from absl import flags
from esmm_jax.data.store.vocabulary import ValueCounts, Vocabulary
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

from benchmarks import common
from experiments import cli

# Messages -> all counts, and the seconds of steps that wait for one another.
Way = Callable[[Sequence[bytes]], tuple[ValueCounts, float]]
_PIECE = 131_072
_ROWS = common.define_rows('1e6', 'Different values of each part.')
_PARTS = flags.DEFINE_integer('parts', 2, 'Parts.', lower_bound=1)
flags.adopt_module_key_flags(common)


def main() -> None:
  for rows in common.counts(_ROWS.value):
    parts, seconds = [], 0.0
    for k in range(_PARTS.value):
      counts = count(k * (rows // 2), rows)
      start = time.process_time()
      parts.append(_sent(counts))
      seconds += time.process_time() - start
      del counts
    message_ms = seconds / len(parts) * 1e3
    one = measure('merge_order', in_order, parts, rows, message_ms)
    two = measure('merge_tree', as_tree, parts, rows, message_ms)
    if not one.values.equals(two.values):
      raise InputError(f'{rows} rows: the vocabularies differ.')


def count(first: int, num: int) -> ValueCounts:
  """Counts `num` different texts in any order; `first` says which ones."""
  counts = ValueCounts()
  order = np.random.default_rng(first).permutation(num) + first
  for start in range(0, num, _PIECE):
    piece = order[start : start + _PIECE] * 7919
    counts.add(pa.array(np.char.add('user_', piece.astype(str))))
  return counts


def _sent(counts: ValueCounts) -> bytes:
  """Returns counts as another process gets them."""
  return pickle.dumps(counts, pickle.HIGHEST_PROTOCOL)


def in_order(parts: Sequence[bytes]) -> tuple[ValueCounts, float]:
  """Adds up one part after the other."""
  start = time.perf_counter()
  total = ValueCounts()
  for part in parts:
    total.merge(pickle.loads(part))
  return total, time.perf_counter() - start


def as_tree(parts: Sequence[bytes]) -> tuple[ValueCounts, float]:
  """Adds up neighbours until one is left."""
  longest = 0.0
  while len(parts) > 1:
    sums, times = [], []
    for k in range(0, len(parts), 2):
      start = time.perf_counter()
      sums.append(_sent(in_order(parts[k : k + 2])[0]))
      times.append(time.perf_counter() - start)
    parts, longest = sums, longest + max(times)
  return pickle.loads(parts[0]), longest


def measure(
    name: str, way: Way, parts: Sequence[bytes], rows: int, message_ms: float
) -> Vocabulary:
  """Adds parts up one way and prints its line.

  Args:
    name: Of the line.
    way: See `Way`.
    parts: Messages of the parts.
    rows: Of each part.
    message_ms: For the line.

  Returns:
    The vocabulary of all.
  """
  peak = common.Peak()
  start, cpu = time.perf_counter(), time.process_time()
  counts, longest = way(parts)
  merged = time.perf_counter()
  vocabulary = counts.vocabulary()
  end = time.perf_counter()
  common.print_line({
      'name': name,
      'rows': rows,
      'parts': len(parts),
      'values': len(vocabulary.values),
      'ms': round((end - start) * 1e3, 3),
      'cpu_ms': round((time.process_time() - cpu) * 1e3, 3),
      'merge_ms': round((merged - start) * 1e3, 3),
      'longest_ms': round(longest * 1e3, 3),
      'vocabulary_ms': round((end - merged) * 1e3, 3),
      'peak_bytes': peak.take(),
      'message_ms': round(message_ms, 3),
      'message_bytes': round(sum(map(len, parts)) / len(parts)),
  })
  return vocabulary


if __name__ == '__main__':
  cli.run(main)
