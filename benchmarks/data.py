"""Times reading the default funnel, shuffled, on one thread.

  python -m benchmarks.data --batch_size=4096

Prints one JSON object a line, for batches as they are read and for those that
carry the table rows that they touch.
"""

import time

from absl import flags
from esmm_jax.data.batching.batches import Batches

from benchmarks import common
from experiments import cli

_BATCH_SIZE = flags.DEFINE_integer('batch_size', 4096, 'Examples of a batch.')
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


if __name__ == '__main__':
  cli.run(main)
