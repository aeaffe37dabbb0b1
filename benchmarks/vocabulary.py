"""Times looking identifiers up in a vocabulary, by its size.

  python -m benchmarks.vocabulary --rows=1e4,1e6 --batch_size=1,131072

Prints one JSON object a line for each. `rows` are the kept values and
`batch_size` the identifiers of a call, drawn evenly, so that few occur twice.
`first_ms` is of the first call, in which the look-up is made, and
`bytes_per_value` what it takes of memory.
"""

import time

from absl import flags
from esmm_jax.data.store.vocabulary import Vocabulary
import numpy as np
import pyarrow as pa

from benchmarks import common
from experiments import cli

_REPEATS = 20
_ROWS = common.define_rows('1e4,1e6', 'Values of the vocabulary.')
_BATCH_SIZE = flags.DEFINE_list(
    'batch_size', ['1', '131072'], 'Identifiers of a call.'
)
flags.adopt_module_key_flags(common)


def main() -> None:
  for rows in common.counts(_ROWS.value):
    values = pa.array([f'user_{7919 * k}' for k in range(rows)])
    for size in common.counts(_BATCH_SIZE.value):
      measure(values, size)


def measure(values: pa.Array, size: int) -> None:
  """Measures calls of one size and prints their line."""
  vocabulary = Vocabulary(values)
  rng = np.random.default_rng(0)
  drawn = values.take(pa.array(rng.integers(0, len(values), size)))
  before, start = common.resident(), time.perf_counter()
  vocabulary.encode(drawn)
  first, taken = time.perf_counter() - start, common.resident() - before
  times = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    vocabulary.encode(drawn)
    times.append(time.perf_counter() - start)
  common.emit(
      'vocabulary',
      len(values),
      size,
      float(np.median(times)) * 1e3,
      first_ms=round(first * 1e3, 3),
      bytes_per_value=round(max(taken, 0) / len(values)),
  )


if __name__ == '__main__':
  cli.run(main)
