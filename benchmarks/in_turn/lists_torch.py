"""Times a step with lists beside the same model in torch.

  python -m benchmarks.in_turn.lists_torch --torch_python=PYTHON

PYTHON is one that has torch (`pip install torch`), which this project does not
need. Prints one JSON object a line: `train` is ours with its input pipeline,
`step_lazy` ours on batches that lie on the device, `torch_bags` and
`torch_mixed` torch in two forms (see `torch_step`), on batches that are made
before. All take windows of --seconds in turn, on all cores that this process
may use. `ratio` and `cpu_ratio` are the examples a second, and those a second
of processor time, over those of torch in the same round, of the form that is
better there: the median over the rounds.
"""

import json
import os
import subprocess
import sys
import tempfile

from absl import flags
from esmm_jax.schema import Schema
from esmm_jax.types import InputError
import numpy as np

from benchmarks import common
from benchmarks.in_turn import arms
from experiments import cli, file_flags

_ROWS = common.define_rows('2.98e6', 'Rows of the embedding table.')
_BATCH_SIZE = common.define_batch_size()
_LISTS = flags.DEFINE_integer(
    'lists', 5, 'Of the 23 fields so many are lists, at most 22.', 0, 22
)
_LIST_LEN = flags.DEFINE_integer('list_len', 20, 'Longest list.', 1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Timed windows of each.', 1)
_SECONDS = flags.DEFINE_float('seconds', 5.0, 'Of a window.', 0.0)
_PYTHON = file_flags.define_path(
    'torch_python', sys.executable, 'A Python that has torch.'
)
flags.adopt_module_key_flags(common)
EXAMPLES = 1 << 18
# In torch; they come again.
DISTINCT = 16
FORMS = ('bags', 'mixed')
# As `keep_scratch` has it for ours: 2 to 4 % for torch.
MEMORY = {
    'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
    'MALLOC_TRIM_THRESHOLD_': str((1 << 31) - 1),
    'MALLOC_ARENA_MAX': '1',
}
PROGRAM = os.path.join(os.path.dirname(__file__), 'torch_step.py')


class Torch:
  """A process with torch that takes windows of some seconds."""

  def __init__(self, path: str, form: str, seconds: float):
    """Starts it, and takes a window that is not counted.

    Args:
      path: Of the file that `write_batches` made.
      form: Of `FORMS`.
      seconds: Of a window.
    """
    self._seconds = seconds
    self._process = subprocess.Popen(
        [_PYTHON.value, PROGRAM, path, form],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | MEMORY,
    )
    self.take_window()

  def take_window(self) -> tuple[float, float]:
    """Returns milliseconds of a step, by the clock and of the processors.

    Raises:
      InputError: The process has ended.
    """
    print(self._seconds, file=self._process.stdin, flush=True)
    line = self._process.stdout.readline()
    if not line:
      raise InputError(f'{_PYTHON.value} {PROGRAM} ended; it says above why.')
    done = json.loads(line)
    return tuple(done[k] / done['steps'] * 1e3 for k in ('wall', 'cpu'))

  def close(self) -> None:
    """Ends it."""
    self._process.communicate()


def check_torch(python: str) -> None:
  """Refuses a Python without torch.

  Raises:
    InputError: So it is, or there is no such program.
  """
  call = [python, '-c', 'import torch']
  try:
    code = subprocess.run(
        call, stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).returncode
  except OSError:
    code = 1
  if code:
    raise InputError(
        f'--torch_python={python} is no Python with torch; make an environment'
        ' with `pip install torch numpy` and name its Python.'
    )


def write_batches(
    path: str, data: tuple[common.MemorySource, Schema], size: int
) -> None:
  """Writes batches as `torch_step` reads them.

  Args:
    path: An .npz file.
    data: As `common.make_data` makes it.
    size: Examples of a batch.
  """
  source, schema = data
  first_rows = np.cumsum([0, *(f.vocab_size for f in schema.fields)])
  arrays = {
      'num_rows': schema.num_rows,
      'width': common.EMBED_DIM,
      'num_fields': len(schema.fields),
      'units': np.array(common.TOWER_UNITS),
      'num_batches': DISTINCT,
  }
  names = [f.name for f in schema.fields]
  for k in range(DISTINCT):
    start = k * size % (len(source) - size + 1)
    columns = source.read(start, start + size, names + list(schema.labels))
    single, lists, lengths = [], [], []
    for field, first_row in zip(schema.fields, first_rows):
      column = columns[field.name]
      if field.pooled:
        lists.append(column.values.astype(np.int64) + first_row)
        lengths.append(np.diff(column.offsets))
      else:
        single.append(column.astype(np.int64) + first_row)
    joined = np.concatenate([[0], *lengths])
    # Lists of one field stand together: what comes out is [F', B].
    arrays |= {
        f'single_{k}': np.stack(single, 1),
        f'lists_{k}': np.concatenate(lists or [np.zeros(0, np.int64)]),
        f'starts_{k}': np.cumsum(joined)[:-1],
    }
    for name in schema.labels:
      arrays[f'{name}_{k}'] = columns[name].astype(np.float32)
  np.savez(path, **arrays)


def report(
    times: dict[str, np.ndarray], rows: int, size: int
) -> None:
  """Prints a line for each.

  Args:
    times: Name -> milliseconds of a step, [rounds, 2], as `arms.turns`.
    rows: Rows of the embedding table.
    size: Examples of a batch.
  """
  best = np.min([v for k, v in times.items() if k.startswith('torch')], axis=0)
  for name, each in times.items():
    ms, cpu_ms = np.median(each, axis=0)
    common.emit(
        name,
        rows,
        size,
        float(ms),
        cpu_ms=round(float(cpu_ms), 3),
        ratio=round(arms.ratio(best[:, 0], each[:, 0]), 3),
        cpu_ratio=round(arms.ratio(best[:, 1], each[:, 1]), 3),
        lists=_LISTS.value,
        list_len=_LIST_LEN.value,
    )


def main() -> None:
  check_torch(_PYTHON.value)
  seconds = _SECONDS.value
  for rows in common.counts(_ROWS.value):
    data = common.make_data(
        rows, _LISTS.value, _LIST_LEN.value, examples=EXAMPLES
    )
    for size in common.counts(_BATCH_SIZE.value):
      with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'batches.npz')
        write_batches(path, data, size)
        compared = {
            f'torch_{form}': Torch(path, form, seconds) for form in FORMS
        }
      for name, kind in (('train', 'train'), ('step_lazy', 'lazy')):
        compared[name] = arms.Arm(
            arms.Case(), data, size, seconds=seconds, kind=kind
        )
      times = arms.turns(list(compared.values()), _ROUNDS.value)
      report(dict(zip(compared, times)), rows, size)
      for each in compared.values():
        each.close()


if __name__ == '__main__':
  cli.run(main)
