"""Measures on a GPU what docs/scale.md says of one, in six minutes at most.

  python -m benchmarks.gpu --markdown=gpu.md

Prints one JSON object a line: the gradient of rows as the step computes it on
CUDA and as XLA would, by how often a row is taken; SGD against a CPU; the step
by batch size and replicas, resident and streamed; the kernels of a step and the
share of time without any; peak memory; a whole run. Without a GPU it says so
and measures nothing; `--platform=cpu --tiny` tries all parts on a CPU.
"""

from collections.abc import Callable, Iterator
import functools
import sys
import time

from absl import flags
from esmm_jax import streams
import jax

from benchmarks import common, gpu_parts
from experiments import cli

_PLATFORM = flags.DEFINE_enum(
    'platform', 'gpu', ['gpu', 'cpu'], 'What it is measured on.'
)
_TINY = flags.DEFINE_bool('tiny', False, 'Tries all parts, with little work.')
_SECONDS = flags.DEFINE_float(
    'seconds', 330.0, 'No part begins later; those left out are named.'
)
_MARKDOWN = common.define_markdown()
cli.define_data_dir()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(cli)


def parts(work: gpu_parts.Work) -> Iterator[tuple[str, Callable[[], None]]]:
  """Yields each part and its name, what is least known first."""
  data = common.make_data(work.rows)
  middle = work.batch_sizes[min(1, len(work.batch_sizes) - 1)]
  yield 'sums', lambda: gpu_parts.time_sums(middle)
  yield 'parity', lambda: gpu_parts.compare_with_cpu(data, work)
  yield 'profile', lambda: gpu_parts.profile_step(data, work, middle)
  for kind in ('resident', 'train'):
    for num in work.replicas:
      for size in work.batch_sizes:
        yield f'{kind} {size} x {num}', functools.partial(
            gpu_parts.time_step, kind, data, work, size, num
        )
    if kind == 'resident':
      yield 'funnel', lambda: gpu_parts.run_funnel(work, flags.FLAGS.data_dir)
  yield 'memory', gpu_parts.print_memory


def main() -> None:
  streams.only_prints()
  common.check_markdown(_MARKDOWN.value)
  if _PLATFORM.value == 'cpu':
    jax.config.update('jax_platforms', 'cpu')
  elif jax.default_backend() == 'cpu':
    print('There is no GPU that JAX can use, so nothing is measured.')
    return
  device = jax.devices()[0]
  common.print_line({
      'name': 'device', 'kind': device.device_kind,
      'platform': device.platform, 'jax': jax.__version__,
  })
  end, failed = time.monotonic() + _SECONDS.value, False
  for name, part in parts(gpu_parts.TINY if _TINY.value else gpu_parts.FULL):
    if time.monotonic() > end:
      common.print_line({'name': 'left_out', 'part': name})
    else:
      failed |= not gpu_parts.tried(name, part)
  if _MARKDOWN.value:
    common.write_markdown(_MARKDOWN.value)
  if failed:
    sys.exit(1)


if __name__ == '__main__':
  cli.run(main)
