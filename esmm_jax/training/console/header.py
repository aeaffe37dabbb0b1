"""The header of a training: its data, model, steps and folder."""

from collections.abc import Iterator, Mapping
import os

from esmm_jax import histories
from esmm_jax.data.tabular.unseen import Share
from esmm_jax.first_look import gaps, leaks, rates
from esmm_jax.parallel import processes
from esmm_jax.printable import printable
from esmm_jax.training import parts
from esmm_jax.training.console import columns
from esmm_jax.training.job import Job
from esmm_jax.training.state import count, TrainState
from esmm_jax.warm_start import refit_steps
import jax

# Fewer steps teach a network little.
FEW_STEPS = 100
_Gaps = Mapping[str, Mapping[str, Share]]


def tell(job: Job, state: TrainState, tells: bool) -> None:
  """Prints the header, and warnings of the data.

  Args:
    job: The training, before its first step.
    state: Of all replicas.
    tells: Whether the console gets the header, and warnings of the data. A
      run that resumes has said them.
  """
  writer = job.runs[0].writer
  if knows := histories.meaning(job.runs[0].history):
    writer.say(f'history: {knows}')
  refit, split = job.common.refit, job.common.dataset.train_split
  rows, steps = job.program.batches.num_rows, job.program.total_steps
  if text := refit_steps.line(refit, split, rows, steps):
    writer.say(text)
  if tells and not int(state.step) and processes.is_first():
    shares = _gaps(job)
    for text in lines(job, state, shares):
      writer.say(text)
    for text in warnings(job, shares):
      job.warn(text)


def _gaps(job: Job) -> dict[str, dict[str, Share]]:
  """Returns split -> the shares of the inputs in its first rows."""
  builder, dataset = job.program.builder, job.common.dataset
  splits = {'train': dataset.train_split}
  splits |= parts.eval_splits(dataset, builder)
  most = gaps.sample_rows(builder)
  names = {f.name for f in job.program.schema.fields}
  return {
      name: {
          field: share
          for field, share in gaps.of_split(builder, split, most).items()
          if field in names
      }
      for name, split in splits.items()
  }


def _data(job: Job, shares: _Gaps) -> Iterator[str]:
  """Yields the rows and rates of the splits, and gaps that differ in them."""
  tasks = job.program.schema.tasks
  train = job.common.dataset.train_split
  of_splits = {'train': rates.of_split(job.program.builder, train, tasks)}
  for name, split in job.splits.items():  # Their labels are in memory.
    of_splits[name] = rates.of_labels(split.observed.labels, tasks)
  width = columns.width() - 2
  yield from rates.table(of_splits, tasks, width)
  for part in ('missing', 'unseen'):
    yield from gaps.table(shares, part, gaps.DIFFERENT, width)


def lines(job: Job, state: TrainState, shares: _Gaps) -> Iterator[str]:
  """Yields the header: data, rates, model, steps, device, folder.

  Args:
    job: The training, before its first step.
    state: Of all replicas.
    shares: Split -> its inputs' shares of missing and unseen values.
  """
  builder = job.program.builder
  num = len(job.program.schema.fields)
  yield columns.joined(
      f'data    {builder.name}, {num} inputs:',
      [f' {os.fspath(builder.data_path)}'],
  )
  for text in _data(job, shares):
    yield f'  {printable(text)}'
  in_table = state.table.shape[-1] * job.program.schema.num_rows
  whole = in_table + count(state.net)
  yield columns.joined(
      f'model   {job.common.model.name}, {job.common.objective.estimator}:',
      [f' {whole:,} parameters,', f' {in_table:,} of them in the table'],
  )
  total, few = job.program.total_steps, []
  if total < FEW_STEPS:
    few = [f' (fewer than {FEW_STEPS}: too few to learn much)']
  batch = job.common.training.batch_size
  yield columns.joined(f'steps   {total:,} of {batch:,} examples', few)
  metric = job.runs[0].selection.metric
  if metric:
    yield f'best    by {metric}'
  devices = job.program.layout.num_devices
  yield f'device  {devices} x {jax.devices()[0].device_kind}'
  yield f'folder  {job.runs[0].workdir}'


def warnings(job: Job, shares: _Gaps) -> Iterator[str]:
  """Yields what is suspicious in the data, from the first rows of it.

  Args:
    job: The training.
    shares: See `lines`.
  """
  builder, dataset = job.program.builder, job.common.dataset
  tasks = job.program.schema.tasks
  names = {f.name for f in job.program.schema.fields}
  yield from leaks.warnings(builder, dataset.train_split, tasks, names)
  if 'test' in shares:
    yield from gaps.warnings(shares['test'], dataset.test_split)
