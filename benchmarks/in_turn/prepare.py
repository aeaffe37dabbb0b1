"""Times the passes in which a log is prepared, by engine and workers.

  python -m benchmarks.in_turn.prepare --rows=1e7 \
    --arms=local:1,local:2,ray:2 --data_dir=DIR

Draws a log of ten columns, as one Parquet file of row groups of 2^20 rows and
as --files CSV files, and prepares it with each of --arms in turn (ENGINE:N, of
N workers), each in a process of its own. Prints one JSON object a line: the
whole in `ms`, and for each pass, `count` and `encode`, the milliseconds, rows a
second by the clock and a second of processors, and the processor seconds of
each process: the program, the workers, and of Ray the rest together. Workers
start within the first pass. `peak_rss_bytes` is the most that each process had,
`bytes` the size of the log, `prepared_bytes` that of what is made of it, whose
hash is `digest`: the same for each of a log's arms. --logs=FOLDER keeps the
logs there for another time. Needs Linux.
"""

from collections.abc import Iterator, Mapping
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags
from esmm_jax import checksums
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

from benchmarks import common
from benchmarks.in_turn.prepare_process import PASSES
from experiments import cli, file_flags

DATASET = {
    'name': 'tabular',
    'id': 'user,item,category,city,device',
    'float': 'price:scaling=log,age',
    'time': 'time',
    'click': 'clicked',
    'conversion': 'bought',
}
USERS, ITEMS = 1_000_000, 200_000
# They have the times of the log's files.
_OWN = ('raw_files.json', 'sha256.json', '.esmm_jax.json')

_ROWS = common.define_rows('1e6', 'Rows of the log.')
_FORMAT = flags.DEFINE_list('format', ['parquet', 'csv'], 'Of the files.')
_ARMS = flags.DEFINE_list(
    'arms', ['local:1', 'local:2'], 'ENGINE:WORKERS; engines: local, ray.'
)
_FILES = flags.DEFINE_integer('files', 8, 'CSV files.', lower_bound=1)
_SPLIT = flags.DEFINE_string(
    'split', 'random', 'Of the log; random or time.'
)
_LOGS = file_flags.define_path(
    'logs', None, 'Folder that keeps the logs. Default: they are removed.'
)
_ROUNDS = flags.DEFINE_integer('rounds', 1, 'Turns.', lower_bound=1)
cli.define_data_dir()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(common)


def main() -> None:
  common.check_formats(_FORMAT.value)
  arms = [_arm(text) for text in _ARMS.value]
  for rows in common.counts(_ROWS.value):
    for form in _FORMAT.value:
      with tempfile.TemporaryDirectory(dir=flags.FLAGS.data_dir) as folder:
        logs = _LOGS.value or folder
        files, num_bytes = log_files(rows, form, logs)
        for _ in range(_ROUNDS.value):
          for arm in arms:
            line = {'name': 'prepare', 'rows': rows, 'format': form}
            line |= {'bytes': num_bytes}
            common.print_line(line | measure(files, arm, rows, folder))


def _arm(text: str) -> tuple[str, int]:
  """Parses one of --arms."""
  engine, _, workers = text.partition(':')
  if not workers.isdigit() or not int(workers):
    raise InputError(f'--arms={text}: write ENGINE:WORKERS, as local:2.')
  return engine, int(workers)


def draw(rows: int) -> Iterator[pa.Table]:
  """Draws a log of ten columns, a piece at a time; small ids more often."""
  rng = np.random.default_rng(0)
  names = {
      name: pa.array([f'{name}_{7919 * k % 10**7}' for k in range(num)])
      for name, num in (('user', USERS), ('category', 300), ('city', 2000))
  }
  names['device'] = pa.array(['phone', 'tablet', 'desktop', 'tv'])
  for start in range(0, rows, common.PIECE):
    num = min(common.PIECE, rows - start)
    clicked = rng.random(num) < 0.2
    ids = {
        name: values.take(
            pa.array((len(values) ** rng.random(num)).astype(np.int64) - 1)
        )
        for name, values in names.items()
    }
    yield pa.table({
        **ids,
        'item': (ITEMS ** rng.random(num)).astype(np.int64),
        'price': np.round(np.exp(rng.normal(2, 1, num)), 2),
        'age': rng.integers(16, 90, num),
        'time': np.arange(start, start + num) + 1_650_000_000,
        'clicked': clicked.astype(np.int8),
        'bought': (clicked & (rng.random(num) < 0.1)).astype(np.int8),
    })


def log_files(rows: int, form: str, logs: str) -> tuple[str, int]:
  """Writes a log, if it is not there.

  Args:
    rows: Of the log.
    form: `parquet` or `csv`.
    logs: Folder that gets a folder with its files.

  Returns:
    The pattern of their names, and their bytes.
  """
  name = form if form == 'parquet' else f'{form}-{_FILES.value}'
  folder = os.path.join(logs, f'{name}-{rows}')
  if not os.path.isdir(folder):
    os.makedirs(logs, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=logs) as unfinished:
      _write(rows, form, unfinished)
      os.rename(unfinished, folder)
      os.mkdir(unfinished)  # It is removed.
  pattern = os.path.join(folder, f'*.{form}')
  return pattern, sum(map(os.path.getsize, glob.glob(pattern)))


def _write(rows: int, form: str, folder: str) -> None:
  """Writes a log: a Parquet file, or CSV files of as many rows."""
  if form == 'parquet':
    common.write_log(os.path.join(folder, '0.parquet'), form, draw(rows))
    return
  table = pa.concat_tables(draw(rows))
  size = -(-rows // _FILES.value)
  for k, start in enumerate(range(0, rows, size)):
    path = os.path.join(folder, f'{k:03}.csv')
    common.write_log(path, form, iter([table.slice(start, size)]))


def measure(
    files: str, arm: tuple[str, int], rows: int, folder: str
) -> dict[str, Any]:
  """Prepares the log in a process; returns what it took.

  Raises:
    InputError: It failed.
  """
  data_dir = os.path.join(folder, 'data')
  options = DATASET | {'files': files, 'split': _SPLIT.value}
  if _SPLIT.value != 'time':
    del options['time']  # It is of no use then.
  engine, workers = arm
  request = {'options': options, 'data_dir': data_dir, 'engine': engine}
  command = [sys.executable, '-m', 'benchmarks.in_turn.prepare_process']
  done = subprocess.run(
      [*command, json.dumps(request | {'workers': workers})],
      capture_output=True, text=True, check=False,
  )
  if done.returncode:
    raise InputError(f'{engine}:{workers}: {done.stderr.strip()[-500:]}')
  said = json.loads(done.stdout.splitlines()[-1])
  digest, num_bytes = _contents(data_dir)
  shutil.rmtree(data_dir)
  line = {'engine': engine, 'workers': workers, 'ms': said['ms']}
  for name in PASSES:
    line |= _of_pass(name, said[name], rows)
  return line | {
      'cpu_seconds': said['cpu_seconds'],
      'peak_rss_bytes': said['peak_rss_bytes'],
      'prepared_bytes': num_bytes,
      'digest': digest,
  }


def _of_pass(name: str, said: Mapping[str, Any], rows: int) -> dict[str, Any]:
  """Returns the keys of a pass."""
  cpu = said['cpu_seconds']
  seconds = cpu['program'] + sum(cpu['workers']) + cpu['ray']
  return {
      f'{name}_ms': said['ms'],
      f'{name}_rows_per_second': round(rows / said['ms'] * 1e3),
      f'{name}_rows_per_cpu_second': round(rows / max(seconds, 1e-2)),
      f'{name}_cpu_seconds': cpu,
  }


def _contents(data_dir: str) -> tuple[str, int]:
  """Returns a hash of the prepared files, and their bytes."""
  files = {
      path: file
      for path, file in checksums.contents(data_dir).items()
      if os.path.basename(path) not in _OWN and not path.endswith('.lock')
  }
  return checksums.hash_json(files)[:12], sum(num for num, _ in files.values())


if __name__ == '__main__':
  cli.run(main)
