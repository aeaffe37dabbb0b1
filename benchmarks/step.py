"""Times the train step of ESMM on tables of several sizes.

  python -m benchmarks.step --rows=1e5,1e6,1e7 --batch_size=4096
  python -m benchmarks.step --rows=1e6 --lists=5 --list_len=20

Prints one JSON object a line, for each of --kinds: `lazy` updates the table
rows that a batch touches and `dense` all rows, both on batches that lie on the
device; `train` is the lazy step with its input pipeline, and `resident` the
same from a training set in device memory. `matrix_share` is the rate of
floating-point operations in the towers' matrix products, as a share of the rate
that the largest of these products reaches alone, measured in turn with the
step. `cpu_ms` is the processor time of a step, all threads, and `first_seconds`
the time of the first steps, with the compilation. --mesh=REPLICAS,DATA,ROWS
takes several devices, which XLA_FLAGS=--xla_force_host_platform_device_count=8
emulates on a CPU; `bytes_exchanged` are those that a device exchanges with
others in a step.
"""

import re

from absl import flags

from esmm_jax.parallel.layout import MeshOptions

from benchmarks import common, step_parts
from benchmarks.step_parts import KINDS
from experiments import cli

_ROWS = common.define_rows('1e5,1e6,1e7', 'Rows of the embedding table.')
_BATCH_SIZE = common.define_batch_size()
_REPLICAS = flags.DEFINE_integer('replicas', 1, 'Models trained at once.')
_LISTS = flags.DEFINE_integer(
    'lists', 0, 'Of the 23 fields so many are lists, at most 22.', 0, 22
)
_LIST_LEN = flags.DEFINE_integer('list_len', 20, 'Longest list.', 1)
_KINDS = flags.DEFINE_list(
    'kinds', ['lazy', 'train', 'dense'], f'Of {", ".join(KINDS)}.'
)
flags.register_validator(
    'kinds', set(KINDS).issuperset, f'must be of {", ".join(KINDS)}.'
)
_MICRO = flags.DEFINE_integer('micro_batches', 0, 'As the config key.')
_MESH = flags.DEFINE_list(
    'mesh', ['1', '1', '1'], "Devices, as a config's mesh: replicas,data,rows."
)
flags.register_validator(
    'mesh',
    lambda sizes: re.fullmatch(r'([1-9]\d*,){3}', ','.join([*sizes, ''])),
    'must be three numbers from 1.',
)
_WINDOWS = flags.DEFINE_integer('windows', 5, 'Timed windows; median counts.')
_STEPS = flags.DEFINE_integer('steps', 40, 'Steps of a window.')
flags.adopt_module_key_flags(common)


def main() -> None:
  timing = step_parts.Timing(
      _REPLICAS.value,
      _WINDOWS.value,
      _STEPS.value,
      _MICRO.value,
      MeshOptions(*map(int, _MESH.value)),
  )
  for rows in common.counts(_ROWS.value):
    data = common.make_data(rows, _LISTS.value, _LIST_LEN.value)
    for batch_size in common.counts(_BATCH_SIZE.value):
      product = step_parts.bare_product(batch_size)
      for kind in _KINDS.value:
        step_parts.measure(
            kind, data, rows, batch_size, product, timing, lists=_LISTS.value
        )


if __name__ == '__main__':
  cli.run(main)
