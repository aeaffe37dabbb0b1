"""Predicts the rows of a split with the parameters of a finished run."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import tempfile
from typing import Any

from esmm_jax import system_errors
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.embeddings import files
from esmm_jax.json_files import with_tuples
from esmm_jax.plugins import loading as plugins
from esmm_jax.schema import Schema
from esmm_jax.training.frozen.plan import plan
from esmm_jax.training.frozen.run import FrozenRun, KEY, of_runs, PREFIX
from esmm_jax.training.predict import IN_FLIGHT, probability
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.program import Program, program
from esmm_jax.training.settings import Settings
from esmm_jax.types import Batch, InputError
from esmm_jax.warm_start.takeover import read_checkpoint
from esmm_jax.workdir import folder, manifest, trees
import jax
import numpy as np

# Rows that are predicted at once. It is no option: products of other shapes are
# rounded in another way, and a run that resumes has to have the same labels.
_BATCH = 8192


def with_labels(
    settings: Sequence[Settings], data_dir: str | None, workdirs: Sequence[str]
) -> Program:
  """Builds the program of runs, with the labels that their frozen run predicts.

  Args:
    settings: Of the replicas.
    data_dir: Where prepared data lives; None takes the default.
    workdirs: Their folders, from which relative paths to that run lead.

  Raises:
    InputError: A name, an option, the data or the frozen run cannot be.
  """
  # Before data is prepared, which may take long.
  frozen = of_runs(settings, workdirs)
  if frozen is None:
    return program(settings, data_dir)
  made = program(settings, data_dir, functools.partial(labels, frozen))
  return made._replace(frozen=frozen.noted)


def labels(
    frozen: FrozenRun,
    builder: ColumnarBuilder,
    split: str,
    schema: Schema,
    tasks: Sequence[str],
) -> dict[str, np.ndarray]:
  """Predicts every row of a split.

  Each process predicts all rows, on one of its devices, because it may be asked
  for any of them. The columns are in temporary files that are mapped into
  memory and that no other process sees; 4 bytes for each row and task.

  Args:
    frozen: The run.
    builder: The prepared data.
    split: `train[:10%]`, say.
    schema: Of the run that is trained.
    tasks: Those whose predictions are needed.

  Returns:
    `frozen_TASK` -> the probability of its event given the one before, float32
    [number of rows], in file order.

  Raises:
    InputError: The run does not predict the tasks or is of other data, its
      checkpoint is damaged, or there is no room for temporary files.
  """
  frozen.check_outputs(tasks, schema)
  frozen.check_data(builder)
  rows = Batches(
      builder.as_data_source(split),
      frozen.base.schema,
      _BATCH,
      shuffle=False,
      compacted=False,
  )
  with _Columns(tasks) as columns:
    for piece in _predicted(frozen, rows, tasks):
      columns.append(piece)
    return columns.mapped()


def _predicted(
    frozen: FrozenRun, rows: Batches, tasks: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
  """Yields task -> probabilities of the rows of each batch, float32."""
  device = jax.local_devices()[0]
  run = frozen.base.folder
  config = folder.read_finished(run, 'config.json', KEY)
  with plugins.borrowed(config, run):
    plugins.compare(run, manifest.began(run).get('versions', {}), config)
    chosen = plan(Settings.read(with_tuples(config)), frozen.base.schema)
  predict = jax.jit(functools.partial(predict_step, plan=chosen))
  params = _params(frozen, device)
  pending: list[tuple[int, Mapping[str, Any]]] = []

  def collect() -> dict[str, np.ndarray]:
    num, outputs = pending.pop(0)
    return {t: probability(outputs[t][0])[:num] for t in tasks}

  def moved(batch: Batch) -> tuple[int, Batch]:
    return int(batch.where.sum()), jax.device_put(batch, device)

  for num, batch in prefetch(rows.iterate(0, len(rows)), moved):
    outputs, _ = predict(params['table'], params['net'], params['stats'], batch)
    pending.append((num, outputs))
    if len(pending) > IN_FLIGHT:
      yield collect()
  while pending:
    yield collect()


def _params(frozen: FrozenRun, device: jax.Device) -> dict[str, Any]:
  """Reads the parameters that the run chose, on one device of this process."""
  small, tables, best = read_checkpoint(frozen.base)
  part = 'best' if best else 'state'
  chosen = trees.nested(small)[part]
  here = jax.sharding.SingleDeviceSharding(device)
  entry = files.saved(tables)[f'{part}.table']
  if entry.shape[1] != 1:
    raise InputError(
        f'{frozen.base.named}: its checkpoint is of {entry.shape[1]} replicas;'
        ' name the folder of one of the runs.'
    )
  rest = {'net': chosen['net'], 'stats': chosen.get('stats') or {}}
  return {'table': files.read(tables, entry, here)} | jax.device_put(rest, here)


class _Columns:
  """Columns that are written to temporary files piece by piece."""

  def __init__(self, tasks: Sequence[str]):
    self._tasks, self._num, self._files = tasks, 0, {}

  def __enter__(self) -> '_Columns':
    with _told():
      for task in self._tasks:
        self._files[task] = tempfile.TemporaryFile()
    return self

  def __exit__(self, *error: Any) -> None:
    for file in self._files.values():  # What is mapped stays mapped.
      file.close()

  def append(self, piece: Mapping[str, np.ndarray]) -> None:
    """Adds the next rows."""
    with _told():
      for task, values in piece.items():
        self._files[task].write(values.astype(np.float32).tobytes())
    self._num += len(next(iter(piece.values())))

  def mapped(self) -> dict[str, np.ndarray]:
    """Returns the columns, by the names of their labels."""
    with _told():
      for file in self._files.values():
        file.flush()
      return {
          f'{PREFIX}{task}': np.asarray(
              np.memmap(file, np.float32, 'r', shape=(self._num,))
          )
          for task, file in self._files.items()
      }


@contextlib.contextmanager
def _told() -> Iterator[None]:
  """Says in one line why a temporary file cannot be."""
  try:
    yield
  except OSError as e:
    raise InputError(
        f'Predictions of {KEY} cannot be written to {tempfile.gettempdir()}:'
        f' {system_errors.told(e)} Or name another folder by TMPDIR.'
    ) from e
