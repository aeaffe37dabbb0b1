"""Checks that experiments on this machine can be trusted.

  python -m experiments.doctor [--data_dir=DIR] [--workdir=DIR] [--json]

Checks versions, devices, memory, disk and prepared data; that rows of an
embedding table are read and written correctly and fast, on a GPU also how fast
values are added to one row; the precision of products; and that the same steps
give the same bits. Names what is wrong and what to do. Exit code 1 if runs
could not be trusted.
"""

import json
import subprocess
import sys
import tempfile

from absl import flags
from esmm_jax import streams

from esmm_jax.experiments import cli, file_flags, load

cli.define_data_dir()
_WORKDIR = file_flags.define_path('workdir', 'runs', 'Folder for runs.')
_JSON = flags.DEFINE_bool('json', False, 'Prints JSON.')
_STEPS_HASH = file_flags.define_path(
    'steps_hash', None, 'Only prints the hash of a few steps on data in here.'
)
flags.adopt_module_key_flags(cli)

_COLORS = {'ok': 'green', 'warn': 'yellow', 'FAIL': 'red'}


def findings():
  """Yields what the checks found, the quick ones first."""
  from esmm_jax.storage import cache
  from esmm_jax.training import parts
  from esmm_jax.doctor import machine as checkup, numbers as checkup_numbers
  from esmm_jax.doctor import scatters as checkup_scatters

  data_dir = cache.here(flags.FLAGS.data_dir or parts.DEFAULT_DATA_DIR)
  yield from checkup.requirements()
  yield checkup.devices()
  yield checkup.memory()
  yield checkup.disk('data_dir', data_dir)
  yield checkup.disk('workdir', _WORKDIR.value)
  yield from checkup.data(data_dir)
  yield checkup_numbers.products()
  yield from checkup_numbers.rows()
  yield from checkup_scatters.contention()
  with tempfile.TemporaryDirectory() as folder:
    hashes = [steps_hash(folder), steps_hash(folder)]
    other = [sys.executable, '-m', 'esmm_jax.experiments.doctor']
    done = subprocess.run(
        [*other, f'--steps_hash={folder}'],
        capture_output=True,
        text=True,
        check=False,
    )
    hashes.append(done.stdout.strip() or done.stderr.strip())
  yield checkup_numbers.determinism(hashes)


def steps_hash(data_dir: str) -> str:
  """Returns the hash of the state after a few steps of ESMM's smoke variant."""
  from esmm_jax.doctor import numbers as checkup_numbers

  config = load.config('esmm:smoke')
  return checkup_numbers.steps_hash(config, data_dir)


def main() -> None:
  streams.only_prints()
  if _STEPS_HASH.value:
    print(steps_hash(_STEPS_HASH.value))
    return
  from esmm_jax.doctor import machine as checkup
  from rich.console import Console
  from rich.markup import escape

  console = Console(highlight=False, soft_wrap=True)
  results = []
  for f in findings():
    results.append(f)
    if _JSON.value:
      continue
    color = _COLORS[f.status]
    text = escape(f'{f.name}: {f.found}')
    console.print(f'[{color}]{f.status:4}[/] {text}')
    if f.advice:
      console.print(f'     -> {escape(f.advice)}')
  if _JSON.value:
    print(json.dumps(checkup.as_json(results), indent=2))
  if checkup.failed(results):
    sys.exit(1)


if __name__ == '__main__':
  cli.run(main)
