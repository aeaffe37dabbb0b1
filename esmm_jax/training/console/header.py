"""The header of a training: its data, model, steps and folder."""

from collections.abc import Iterator
import os

from esmm_jax import histories
from esmm_jax.first_look import gaps, leaks, rates
from esmm_jax.parallel import processes
from esmm_jax.printable import printable
from esmm_jax.training import parts
from esmm_jax.training.job import Job
from esmm_jax.training.state import count, TrainState
from esmm_jax.warm_start import refit_steps
import jax

# Fewer steps teach a network little.
FEW_STEPS = 100


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
    for text in lines(job, state):
      writer.say(text)
    for text in warnings(job):
      job.warn(text)


def lines(job: Job, state: TrainState) -> Iterator[str]:
  """Yields the header: data, rates, model, steps, device, folder.

  Args:
    job: The training, before its first step.
    state: Of all replicas.
  """
  builder, dataset = job.program.builder, job.common.dataset
  tasks = job.program.schema.tasks
  num = len(job.program.schema.fields)
  yield f'data    {builder.name}, {num} inputs: {os.fspath(builder.data_path)}'
  splits = {
      'train': dataset.train_split,
      **parts.eval_splits(dataset, builder),
  }
  of_splits = {
      name: rates.of_split(builder, split, tasks)
      for name, split in splits.items()
  }
  for text in rates.table(of_splits, tasks):
    yield f'  {printable(text)}'
  in_table = state.table.shape[-1] * job.program.schema.num_rows
  whole = in_table + count(state.net)
  yield (
      f'model   {job.common.model.name}, {job.common.objective.estimator}:'
      f' {whole:,} parameters, {in_table:,} of them in the table'
  )
  total, few = job.program.total_steps, ''
  if total < FEW_STEPS:
    few = f' (fewer than {FEW_STEPS}: they teach little)'
  batch = job.common.training.batch_size
  yield f'steps   {total:,} of {batch:,} examples{few}'
  metric = job.runs[0].selection.metric
  if metric:
    yield f'best    by {metric}'
  devices = job.program.layout.num_devices
  yield f'device  {devices} x {jax.devices()[0].device_kind}'
  yield f'folder  {job.runs[0].workdir}'


def warnings(job: Job) -> Iterator[str]:
  """Yields what is suspicious in the data, from the first rows of it."""
  builder, dataset = job.program.builder, job.common.dataset
  tasks = job.program.schema.tasks
  yield from leaks.warnings(builder, dataset.train_split, tasks)
  if 'test' in job.splits:
    split, most = dataset.test_split, gaps.SAMPLE
    if builder.schema.group_part.fields:  # Their long lists are joined to rows.
      most //= 8
    yield from gaps.warnings(gaps.of_split(builder, split, most), split)
