"""Times preparing a log of one's own and scoring a file, and their memory.

  python -m benchmarks.log --rows=1e6,1e7 --format=parquet,csv --data_dir=DIR

Draws a log (two identifiers of 1e6 and 2e5 values, a category, a list of up to
five tags, a number and a time), and runs `experiments.prepare_data` and
`experiments.predict` on it as a user does, each in a process of its own. Prints
one JSON object a line for each: `peak_rss_bytes` is that of the process, with
all it imports. The run that scores is of the first rows. With --history the log
is prepared twice more, split by time: without a history and with that one.
"""

from collections.abc import Iterator
import os
import subprocess
import sys
import tempfile
import time

from absl import flags
from esmm_jax.data.tabular.rows import READ_ROWS
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

from benchmarks import common
from experiments import cli

TRAIN_ROWS = 20_000
BATCH_SIZE = 512
EVAL_BATCH_SIZE = 8192
DATASET = (
    'id=user,item,category',
    'ids=tags',
    'float=price:scaling=log',
    'click=clicked',
    'conversion=bought',
)

_ROWS = common.define_rows('1e6', 'Rows of the log.')
_HISTORY = flags.DEFINE_string('history', '', "Of the log: 'user:delay=10m'.")
_FORMAT = flags.DEFINE_list('format', ['parquet', 'csv'], 'Of the files.')
cli.define_data_dir()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(common)


def main() -> None:
  common.check_formats(_FORMAT.value)
  for rows in common.counts(_ROWS.value):
    for form in _FORMAT.value:
      with tempfile.TemporaryDirectory(dir=flags.FLAGS.data_dir) as folder:
        measure(rows, form, folder)


def measure(rows: int, form: str, folder: str) -> None:
  """Measures one size of one kind of file and prints its lines.

  Args:
    rows: Of the log.
    form: `parquet` or `csv`.
    folder: Takes the log and all that is made of it.
  """
  log = os.path.join(folder, f'log.{form}')
  first = os.path.join(folder, f'first.{form}')
  common.write_log(first, form, draw(min(rows, TRAIN_ROWS)))
  common.write_log(log, form, draw(rows))
  data = f'--data_dir={folder}/data'
  config = ['--config=configs/esmm.py:tabular', data]
  config += [f'--config.dataset.{option}' for option in DATASET]
  _run(
      'experiments.train', *config, f'--config.dataset.files={first}',
      f'--workdir={folder}/run', f'--config.batch_size={BATCH_SIZE}',
      '--config.model.embed_dim=8',
      f'--config.eval_batch_size={EVAL_BATCH_SIZE}',
  )
  prepare = 'experiments.prepare_data', *config, f'--config.dataset.files={log}'
  by_time = prepare + tuple(
      f'--config.dataset.{option}=time' for option in ('split', 'time')
  )
  history = *by_time, f'--config.dataset.history={_HISTORY.value}'
  for name, batch, program in (
      ('prepare', READ_ROWS, prepare),
      *([
          ('prepare_by_time', READ_ROWS, by_time),
          ('prepare_history', READ_ROWS, history),
      ] if _HISTORY.value else []),
      ('score', EVAL_BATCH_SIZE, (
          'experiments.predict', f'--workdir={folder}/run', f'--input={log}',
          f'--output={folder}/scores.{form}',
      )),
  ):
    seconds, peak = _run(*program)
    common.emit(
        name, rows, batch, seconds * 1e3, examples=rows, format=form,
        bytes=os.path.getsize(log), peak_rss_bytes=peak,
    )


def draw(rows: int) -> Iterator[pa.Table]:
  """Draws a log, a piece at a time."""
  rng = np.random.default_rng(0)
  for start in range(0, rows, common.PIECE):
    num = min(common.PIECE, rows - start)
    clicked = rng.random(num) < 0.2
    bought = clicked & (rng.random(num) < 0.1)
    category = rng.integers(0, 300, num)
    tags = rng.integers(0, 5000, (num, 5))
    tags = [
        '|'.join(map(str, row[:length]))
        for row, length in zip(tags.tolist(), rng.integers(0, 6, num))
    ]
    yield pa.table({
        'user': (1e6 ** rng.random(num)).astype(np.int64),
        'item': (2e5 ** rng.random(num)).astype(np.int64),
        'category': pa.array(np.char.add('c', category.astype(str))),
        'tags': tags,
        'price': np.round(np.exp(rng.normal(2, 1, num)), 2),
        'time': np.arange(start, start + num) + 1_650_000_000,
        'clicked': clicked.astype(np.int8),
        'bought': bought.astype(np.int8),
    })


def _run(program: str, *arguments: str) -> tuple[float, int]:
  """Runs a program; returns its seconds and its peak memory in bytes.

  Raises:
    InputError: It failed.
  """
  with tempfile.TemporaryFile('w+') as errors:
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, '-m', program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    # Not `wait`: the memory of this child alone.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      errors.seek(0)
      raise InputError(f'{program}: {errors.read().strip()[-500:]}')
  return seconds, usage.ru_maxrss * 1024


if __name__ == '__main__':
  cli.run(main)
