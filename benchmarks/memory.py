"""Measures the memory that large tables and their optimizers take.

  python -m benchmarks.memory --rows=1e6,1e7 \
    --table_optimizer=adam,adam_bfloat16,rowwise_adagrad

Prints one JSON object a line: peaks in bytes while a table is initialised,
copied, stepped, saved and restored, and the times of these. `said_bytes` is the
estimate by which `experiments.train` refuses a table that cannot fit. A process
of its own measures each size and optimizer, because a peak never falls, and
another one restores what the first has saved.
"""

from collections.abc import Iterator
import json
import socket
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags
from esmm_jax.types import InputError

from benchmarks import common
from experiments import cli

_ROWS = common.define_rows('1e6,1e7', 'Rows of the table.')
_TABLE_OPTIMIZER = flags.DEFINE_list(
    'table_optimizer',
    ['adam', 'rowwise_adagrad'],
    "A config's table_optimizer, or adam_bfloat16.",
)
_PROCESSES = flags.DEFINE_integer(
    'processes', 1, 'Processes that share the rows of the table.'
)
cli.define_data_dir()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(common)


def main() -> None:
  for rows in common.counts(_ROWS.value):
    for name in _TABLE_OPTIMIZER.value:
      common.print_line(measure(rows, name))


def measure(rows: int, optimizer: str) -> dict[str, Any]:
  """Measures one size with one optimizer, as the first process sees it.

  The checkpoint takes scratch space in --data_dir.
  """
  num = _PROCESSES.value
  line = {'name': 'memory', 'rows': rows, 'optimizer': optimizer}
  line['processes'] = num
  with tempfile.TemporaryDirectory(dir=flags.FLAGS.data_dir) as folder:
    for part in ('train', 'restore'):
      outputs = _run_processes((part, str(rows), optimizer, folder), num)
      line |= json.loads(next(outputs).splitlines()[-1])
  return line


def _run_processes(arguments: tuple[str, ...], num: int) -> Iterator[str]:
  """Runs `num` connected processes and returns what each printed.

  Raises:
    InputError: One of them failed.
  """
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = str(s.getsockname()[1])
  program = [sys.executable, '-m', 'benchmarks.memory_process', *arguments]
  processes = [
      subprocess.Popen(
          [*program, port, str(num), str(k)],
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
      )
      for k in range(num)
  ]
  outputs = [p.communicate() for p in processes]
  for process, (_, errors) in zip(processes, outputs):
    if process.returncode:
      raise InputError(f'{arguments[1]} rows: {errors.strip()[-500:]}')
  return (output for output, _ in outputs)


if __name__ == '__main__':
  cli.run(main)
