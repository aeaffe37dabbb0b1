"""Phases of a training around its loop: build, open, restore, test, write.

`train.train_replicas` calls them from top to bottom. Their order matters: what
can be refused is refused before a folder is touched, folders are locked before
they are read, and no folder is claimed for a model that cannot be initialised.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import os
from typing import Any

from esmm_jax.json_files import write_json
from esmm_jax.parallel import axes, processes
from esmm_jax.protocols import use as protocols
from esmm_jax.training import non_finite
from esmm_jax.training import program as builds
from esmm_jax.training import selection
from esmm_jax.training.clock import Clock
from esmm_jax.training.cost import flops_per_example
from esmm_jax.training.predict import common_ctr_order, SplitPredictor, Split
from esmm_jax.training.replica_run import Run
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import init_state, replica, reset_sums, TrainState
from esmm_jax.workdir import lock, manifest, provenance
from esmm_jax.workdir import stopping
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import claim, versions
import jax
import numpy as np


@dataclasses.dataclass
class Job:
  """What all phases of a training need.

  Attributes:
    program: Data, model and step, built from the configs.
    predictor: Scores a split with given parameters.
    splits: Name (`valid`, `test`) -> the split, of those that the config has.
    runs: What is of one replica alone, for each.
    pctr_of: Replica -> the other one whose pCTR it takes, or None; in the order
      in which they are tested.
    checkpoints: Those of the group.
    stop_asked: True once SIGTERM came.
    clock: Times the steps of all processes that trained this.
    traces: How often the step was compiled; the most of any process.
  """

  program: builds.Program
  predictor: SplitPredictor
  splits: dict[str, Split]
  runs: list[Run]
  pctr_of: dict[int, int | None]
  checkpoints: Checkpoints
  stop_asked: stopping.Asked
  clock: Clock
  traces: int = 0

  @property
  def common(self) -> Settings:
    """The settings that the replicas share, which the first one's say."""
    return self.runs[0].settings

  @property
  def keeps_best(self) -> bool:
    """Whether the best parameters of a run count, not its last."""
    return any(run.selection.keeps for run in self.runs)

  def active(self) -> list[int]:
    """Returns the numbers of the replicas that are still trained."""
    return [r for r, run in enumerate(self.runs) if run.active]

  def alive(self) -> list[int]:
    """Returns those that have not failed, in the order of their test."""
    return [r for r in self.pctr_of if not self.runs[r].failure]

  def save(self, state: TrainState, best: Any) -> None:
    """Writes a checkpoint of the group."""
    arrays = {'state': state, 'best': best}
    position = self.position(*self.runs)
    self.checkpoints.save(int(state.step), arrays, position)

  def position(self, *runs: Run) -> dict[str, Any]:
    """Returns what a checkpoint of these runs holds besides arrays, as JSON."""
    return {
        'runs': [run.position() for run in runs],
        'clock': self.clock.position(),
        'traces': self.traces,
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Takes over what `position` gave."""
    for run, part in zip(self.runs, position['runs'], strict=True):
      run.load(part)
    if 'clock' in position:  # Earlier versions did not write it.
      self.clock.load(position['clock'])
      self.traces = position['traces']


def build(
    settings: Sequence[Settings], data_dir: str | None
) -> tuple[builds.Program, SplitPredictor, dict[str, Split]]:
  """Builds the program of the replicas, and opens the splits it scores."""
  common = settings[0]
  program = builds.program(settings, data_dir)
  predictor = SplitPredictor(program, common.run.eval_batch_size)
  splits = {
      name: predictor.split(split)
      for name, split in common.dataset.eval_splits().items()
  }
  return program, predictor, splits


def open_job(
    built: tuple[builds.Program, SplitPredictor, dict[str, Split]],
    settings: Sequence[Settings],
    records: Sequence[dict[str, Any]],
    workdirs: Sequence[str],
    home: str | None,
    stack: contextlib.ExitStack,
) -> Job:
  """Locks the folders of the runs and opens their checkpoints.

  Args:
    built: As `build` gives it.
    settings: Of the replicas.
    records: Their configs, as config.json gets them.
    workdirs: Their folders.
    home: Folder of the group's checkpoints; None: the first of `workdirs`.
    stack: Gets what is released when the training ends.

  Raises:
    InputError: A `common_ctr` cannot be, or a folder is in use.
  """
  program, predictor, splits = built
  # Before `own_folders`: these paths lead from the folders that all share.
  pctr_of = common_ctr_order(settings, workdirs)
  shared = home or workdirs[0]
  workdirs = processes.own_folders(workdirs, stack)
  runs = [
      Run(s, r, w, 'valid' in splits)
      for s, r, w in zip(settings, records, workdirs)
  ]
  stop_asked = stack.enter_context(stopping.asked())
  for folder in processes.own_folders([*workdirs, shared], stack):
    stack.enter_context(lock.held(folder))
  checkpoints = Checkpoints(shared, program.schema.num_rows)
  clock = Clock(settings[0].training.batch_size * len(runs))
  return Job(
      program, predictor, splits, runs, pctr_of, checkpoints, stop_asked, clock
  )


def initialise_or_restore(job: Job) -> tuple[TrainState, Any]:
  """Returns the state and the best parameters so far, and opens the writers.

  Raises:
    InputError: A checkpoint is of other data, or does not fit.
  """
  program, runs, checkpoints = job.program, job.runs, job.checkpoints
  layout = program.layout
  init = functools.partial(
      init_state,
      program.plan,
      num_rows=program.schema.num_rows,
      embed_dim=job.common.model.embed_dim,
      seeds=[run.settings.training.first_seed for run in runs],
      example=program.batches(0),
      term_names=list(program.hyper.loss_weights),
      embed_scale=job.common.table.embed_init_scale,
      layout=layout,
  )
  resumes = checkpoints.latest_step is not None
  if not resumes:  # Nothing is left behind by a model that cannot be.
    state = layout.placed(init())
    best = selection.copy(state.params) if job.keeps_best else {}
  warnings = [*checkpoints.messages, *_claim(job, resumes)]
  if resumes:
    with layout.active():  # There is memory for one state, not for two.
      state = layout.abstract(jax.eval_shape(init))
    best = state.params if job.keeps_best else {}
    arrays, position = checkpoints.restore({'state': state, 'best': best})
    state, best = arrays['state'], arrays['best']
    job.load(position)
  start = int(state.step)
  for run in runs:
    run.open(start, program.total_steps, shows=run is runs[0])
  say = runs[0].writer.say
  for warning in dict.fromkeys(warnings):
    say(f'warning: {warning}')
  if start:
    say(f'Going on at step {start} of {program.total_steps}.')
  return state, best


def _claim(job: Job, resumes: bool) -> list[str]:
  """Compares what old runs began with, then writes what all begin with.

  Returns:
    Warnings: libraries of other versions.

  Raises:
    InputError: An old run began with other data; no file is changed.
  """
  builder, warnings = job.program.builder, []
  data = provenance.data(builder)
  manifests = [manifest.make(run.record, data) for run in job.runs]
  compares = resumes and processes.is_first()
  if compares:  # All of them before the schema of one is replaced.
    for run, now in zip(job.runs, manifests):
      warnings += manifest.check(run.workdir, now)
  for run, now in zip(job.runs, manifests):
    claim(
        run.record, run.workdir, job.program.schema, builder.encoder_folder
    )
    if not compares:
      manifest.write(run.workdir, now)
  return warnings


def report(
    job: Job, state: TrainState
) -> tuple[TrainState, list[dict[str, float]]]:
  """Returns the state, its sums begun anew, and each replica's losses.

  The losses are means since the last report. Replicas whose loss is not finite
  are failed in `job.runs`.
  """
  steps = int(state.since)
  sums = {k: np.asarray(v) for k, v in state.sums.items()}
  skipped = np.asarray(state.skipped)
  for run, bad, n in zip(job.runs, np.asarray(state.bad_step), skipped[0]):
    if bad >= 0 and run.active:
      run.bad_step = int(bad)
      most = f' for the {n}th time' if n else ''
      run.failure = FloatingPointError(
          f'The loss or a gradient was not finite at step {bad + 1}{most}'
          f' (looked at step {int(state.step)}). The last good checkpoint is of'
          f' step {job.checkpoints.latest_step}; lower learning_rate or set'
          ' clip_norm.'
      )
  losses = []
  for r, n in enumerate(skipped[1].tolist()):
    done = max(steps - n, 1)
    means = {f'train/{k}': float(v[r]) / done for k, v in sums.items()}
    losses.append(means | ({'train/skipped': n} if n else {}))
  return reset_sums(state, job.program.layout), losses


def write_failures(job: Job, state: TrainState) -> None:
  """Writes what failed replicas had, and fails those that take their pCTR.

  The batch is made again, so no other thread may be making batches.
  """
  runs = job.runs
  for r, run in enumerate(runs):
    if run.failure:
      batch = job.program.batches(run.bad_step)
      folder = non_finite.write(
          run.workdir, run.bad_step, batch, _params(state, r), run.lost
      )
      run.failure = FloatingPointError(f'{run.failure} See {folder}.')
  for r, source in job.pctr_of.items():  # A chain of runs fails link by link.
    if source is not None and runs[source].failure and not runs[r].failure:
      runs[r].failure = FloatingPointError(
          f'common_ctr={runs[r].settings.training.common_ctr}: that run failed,'
          ' so its pCTR cannot be taken. Mend that run, then repeat the'
          ' command.'
      )


def keep_checkpoints(job: Job, state: TrainState, best: Any) -> None:
  """Writes the checkpoint of each replica as it would have one alone.

  Before the test, whose lines in metrics.jsonl come after every checkpoint.
  """
  if len(job.runs) == 1:
    return  # It has its own.
  for r in job.alive():
    arrays = {'state': replica(state, r), 'best': best and replica(best, r)}
    run, num_rows = job.runs[r], job.program.schema.num_rows
    run.keep(int(state.step), arrays, job.position(run), num_rows)


def select(job: Job, state: TrainState, best: Any) -> dict[str, Any]:
  """Returns the parameters that the test split sees: best or last of each."""
  for run in job.runs:
    run.results = dict(run.selection.metrics)
  return selection.chosen(
      [run.selection for run in job.runs], best, state.params
  )


def test(job: Job, params: dict[str, Any], step: int) -> None:
  """Evaluates the runs on the test split, once; saves their predictions.

  Args:
    job: The training.
    params: Of all replicas, as `select` gives them.
    step: Steps done by those that did not stop early.
  """
  if 'test' not in job.splits or not job.alive():
    return
  split = job.splits['test']
  # In this order, because a run reads its sibling's predictions from disk.
  for r, metrics, outputs in job.predictor.metrics(params, split, job.alive()):
    if processes.is_first():
      metrics |= job.runs[r].save(outputs, split.observed)
    metrics = prefixed('test', metrics)
    job.runs[r].writer.write(job.runs[r].steps or step, metrics)
    job.runs[r].results |= metrics


def write_results(job: Job, state: TrainState) -> None:
  """Adds the facts of each run to its metrics, and writes results.json."""
  program, runs = job.program, job.runs
  num_rows, network_params = program.schema.num_rows, _count(state.net)
  batch_size = job.common.training.batch_size
  facts = {
      'examples_per_second': job.clock.rate,
      'num_params': state.table.shape[-1] * num_rows + network_params,
      'num_network_params': network_params,
      'flops_per_example': flops_per_example(
          program.plan, job.common.model.embed_dim, program.batches(0)
      ),
      'replicas': len(runs),
      'traces': job.traces,
      'versions': versions(),
  }
  for r in job.alive():
    run, steps = runs[r], runs[r].steps or int(state.step)
    run.results |= facts | {
        # Of all steps at that rate, those before a kill too.
        'train_seconds': steps * batch_size / job.clock.rate,
        'steps': steps,
        'selected_step': run.selection.step or steps,
        'skipped_steps': int(state.skipped[0, r]),
        'seed': run.settings.training.seed,
    }
    run.results |= protocols.summary(
        run.protocol, run.results, run.settings.dataset.section
    )
  # When all are complete: a group is finished as a whole or resumed as one.
  for r in job.alive():
    path = os.path.join(runs[r].workdir, 'results.json')
    write_json(path, runs[r].results)


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
  """Returns the metrics as `PREFIX/NAME`."""
  return {f'{prefix}/{k}': v for k, v in metrics.items()}


def _params(state: TrainState, r: int) -> dict[str, Any]:
  """The parameters of one replica, without the replica axis."""
  cut = lambda axis, x: jax.lax.index_in_dim(x, r, axis, keepdims=False)
  return axes.map_replicas(cut, state.params)


def _count(tree: Any) -> int:
  """Numbers in the parameters of one replica."""
  replicas = jax.tree.leaves(tree)[0].shape[0]
  return sum(np.size(leaf) for leaf in jax.tree.leaves(tree)) // replicas
