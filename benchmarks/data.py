"""Times reading the default funnel, shuffled, on one thread.

  python -m benchmarks.data --batch_size=4096

Prints one JSON object a line, for batches as they are read and for those that
carry the table rows that they touch; with --processes=2,8 also for the part of
one of so many processes, which reads it (`part_ms`) and joins what all touch
(`join_ms`). `message_bytes` are those that each sends for that.
"""

import time

from absl import flags
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.shared import SharedBatches
import numpy as np

from benchmarks import common
from experiments import cli

_BATCH_SIZE = flags.DEFINE_integer('batch_size', 4096, 'Examples of a batch.')
_PROCESSES = flags.DEFINE_list(
    'processes', [], 'Processes that share a batch; several numbers.'
)
# Of whose parts the times are, and whose lists are joined.
_PARTS, _JOINED = 64, 8
cli.define_data_dir()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(common)


def main() -> None:
  from esmm_jax.training import parts

  builder = parts.dataset(
      {'name': 'synthetic_funnel', 'preset': 'default'}, flags.FLAGS.data_dir
  )
  source = builder.as_data_source('train')
  batch_size = _BATCH_SIZE.value
  for name, compacted in (('data_read', False), ('data_compacted', True)):
    batches = Batches(source, builder.schema, batch_size, compacted=compacted)
    batches(0)
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches.iterate(0, len(batches)):
      del batch
    seconds = time.perf_counter() - start
    common.emit(
        name,
        len(source),
        batch_size,
        seconds / len(batches) * 1e3,
        examples=len(source) / len(batches),
        columns=len(builder.schema.fields) + len(builder.schema.labels),
        cpu_seconds=round(time.process_time() - cpu, 2),
    )
  for num in common.counts(_PROCESSES.value):
    measure_parts(batches, num, len(source))


def measure_parts(batches: Batches, num: int, rows: int) -> None:
  """Times what one of several processes does for a batch, on one thread."""
  every = [SharedBatches(batches, k, num) for k in range(num)]
  steps = range(min(_PARTS, len(batches)))
  start = time.process_time()
  parts = [every[0].part(step) for step in steps]
  part_ms = (time.process_time() - start) / len(steps) * 1e3
  messages = [
      np.stack([one.part(step).message for one in every])
      for step in steps[:_JOINED]
  ]
  start = time.process_time()
  for part, lists in zip(parts, messages):
    every[0].joined(part, lists)
  join_ms = (time.process_time() - start) / len(messages) * 1e3
  common.emit(
      'data_shared',
      rows,
      batches.batch_size,
      part_ms + join_ms,
      processes=num,
      part_ms=round(part_ms, 3),
      join_ms=round(join_ms, 3),
      message_bytes=parts[0].message.nbytes,
  )


if __name__ == '__main__':
  cli.run(main)
