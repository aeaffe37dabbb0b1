"""Trains and evaluates runs; read from top to bottom."""

from collections.abc import Mapping, Sequence
import contextlib
import functools
import os
from typing import Any

from esmm_jax import no_effect, ownership, paths
from esmm_jax.parallel import processes
from esmm_jax.protocols import use as protocols
from esmm_jax.training import job as jobs
from esmm_jax.training import parts, phases, selection
from esmm_jax.training.console import header
from esmm_jax.training.console.evaluation import line
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.job import Job
from esmm_jax.training.noting import notes
from esmm_jax.training.noting.rhythm import Rhythm
from esmm_jax.training.replica_run import check_alike
from esmm_jax.training.resident import Resident
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import TrainState
from esmm_jax.warm_start import refit_steps, resolve as warm_start
from esmm_jax.workdir import folder, stopping
from esmm_jax.workdir.mirrors import choice as mirrors
import jax


def train_and_evaluate(
    config: Any,
    workdir: str,
    data_dir: str | None = None,
    log: Any = None,
) -> dict[str, Any]:
  """Trains, selects on the validation split, evaluates on the test split once.

  The same call again resumes at the last checkpoint, and gives the numbers of
  the uninterrupted run to the bit (`tests/training/test_end_to_end.py`).

      >>> import esmm_jax
      >>> from esmm_jax.configs import esmm
      >>> config = esmm.get_config('smoke')
      >>> config.dataset.num_train = 1024
      >>> results = esmm_jax.train_and_evaluate(config, 'runs/new', 'data')
      data ...
      >>> results['steps'], results['seed']
      (2, 0)

  Args:
    config: As `configs/*.py` make it.
    workdir: Gets config.json, metrics.jsonl, results.json, checkpoints/,
      tensorboard/ and, when asked, predictions/.
    data_dir: Where prepared data lives; default ~/.cache/esmm_jax.
    log: The rows of a config of `tabular`, instead of `dataset.files`: a pandas
      or polars DataFrame, a pyarrow Table and so on, as `Predictor.predict`
      takes them; or a tuple of such, of training, validation (or None) and
      test. They are saved in `data_dir`, under a hash of their values.

  Returns:
    The content of results.json.

  Raises:
    InputError: Something in the config, the data or the workdir is wrong.
    FloatingPointError: A loss was not finite.
    Stopped: The process was asked to stop (`stopping`); the run is saved.
  """
  (result,) = train_replicas([config], [workdir], data_dir, log=log)
  if isinstance(result, FloatingPointError):
    raise result
  return result


def train_replicas(
    configs: Sequence[Any],
    workdirs: Sequence[str],
    data_dir: str | None = None,
    home: str | None = None,
    log: Any = None,
    check_idle: bool = True,
    tells: bool = True,
) -> list[dict[str, Any] | FloatingPointError]:
  """Trains several runs as replicas of one program.

  Each gives what it gives alone, up to the order in which float32 sums are
  added (`tests/training/test_replicas.py`). A replica whose loss is not finite
  fails; the others are trained to their end.

      >>> import esmm_jax
      >>> from esmm_jax.configs import esmm
      >>> configs = [esmm.get_config('smoke') for _ in range(2)]
      >>> for config, rate in zip(configs, (1e-2, 1e-3)):
      ...   config.dataset.num_train = 1024
      ...   config.learning_rate = rate
      >>> ends = esmm_jax.train_replicas(
      ...     configs, ['runs/a', 'runs/b'], 'data', home='runs/group')
      data ...
      >>> [end['replicas'] for end in ends]
      [2, 2]

  Args:
    configs: Runs of one group; see `replicas.replica_groups`.
    workdirs: The folder of each, as for `train_and_evaluate`.
    data_dir: Where prepared data lives; default ~/.cache/esmm_jax.
    home: Folder for the checkpoints of the group until it is finished; needed
      where there are several runs, and different for other groups.
    log: The rows, as for `train_and_evaluate`.
    check_idle: Whether keys that have no effect are refused; a program that
      knows which ones a person has set refuses them itself.
    tells: Whether the console gets a header, and warnings of the data.

  Returns:
    For each run the content of results.json, or why it failed.

  Raises:
    InputError: A config, the data or a folder is wrong.
    Stopped: The process was asked to stop; the runs are saved.
  """
  if log is not None:
    configs = parts.with_log(configs, log, data_dir)
  workdirs = [paths.expand(w) for w in workdirs]
  for workdir in workdirs:  # Before anything in them is read, or data prepared.
    ownership.check(workdir, ownership.RUN)
  if home and home not in workdirs:
    ownership.check(home, ownership.GROUP)
  configs = [
      warm_start.resolve(protocols.resolve(c), w)
      for c, w in zip(configs, workdirs)
  ]
  records = [folder.record(c) for c in configs]
  mirrors.begin(records, workdirs)
  results = [folder.finished(r, w) for r, w in zip(records, workdirs)]
  if None not in results:
    return [r for r in results if r is not None]
  settings = [Settings.read(c) for c in configs]
  check_alike(settings)
  for record, workdir in zip(records, workdirs):
    is_new = not os.path.exists(os.path.join(workdir, 'config.json'))
    if check_idle and is_new:
      no_effect.check(folder.flatten(record))
    if is_new and settings[0].refit:
      open_data = functools.partial(parts.dataset, data_dir=data_dir)
      refit_steps.check_data(settings[0].refit, settings[0].dataset, open_data)
  with contextlib.ExitStack() as stack:
    built = jobs.build(settings, data_dir, workdirs)
    job = jobs.open_job(built, settings, records, workdirs, home, stack)
    state, best = jobs.initialise_or_restore(job)
    for run in job.runs:
      stack.enter_context(contextlib.closing(run.writer))
    header.tell(job, state, tells)
    state, best = train(job, state, best)
    job.check_folders()
    phases.write_failures(job, state)
    phases.keep_checkpoints(job, state, best)
    params = phases.select(job, state, best)
    phases.test(job, params, int(state.step))
    job.check_folders()
    phases.write_results(job, state)
    job.checkpoints.close()
    if home and home not in workdirs and processes.is_first():
      ownership.remove(home, ownership.GROUP)
    return [run.failure or run.results for run in job.runs]


def train(job: Job, state: TrainState, best: Any) -> tuple[TrainState, Any]:
  """Runs the loop: steps, reports, evaluations, checkpoints.

  Args:
    job: The training.
    state: Where it begins; consumed.
    best: The best parameters so far, {} where none are kept.

  Returns:
    The last state and the best parameters.

  Raises:
    Stopped: The process was asked to stop (`stopping`); the run is saved.
  """
  program, rhythm = job.program, Rhythm.of(job)
  every, log, total = rhythm
  hyper = program.layout.put_state(program.hyper)
  step = start = int(state.step)
  state = notes.begun(state, program.layout)
  kind = Resident if program.resident else Streamed
  feed = kind(
      program.plan, program.batches, program.layout, start, total,
      rhythm.reports,
  )
  phases.tell_exchanged(job, feed.exchanged(state))
  # Batches are made by one thread at a time: the one that works ahead has to
  # end before `phases` makes the batch of a failure or of an example again.
  with contextlib.closing(feed):
    job.clock.start()
    while step < total and job.active():
      stop = min(next_multiple(step, every), next_multiple(step, log), total)
      if step == start:  # By itself, because it is compiled: see `clock`.
        stop = start + 1
      state = feed.advance(state, step, stop, hyper)
      job.clock.count(stop - step)
      if step == start:
        jax.block_until_ready(state.step)
        job.clock.read()
      job.traces = max(job.traces, feed.traces)
      step = stop
      if rhythm.reports(step):
        batch_hash = feed.hash_after(step)
        evaluates = rhythm.evaluates(step)
        state, best = _look(job, state, best, evaluates, batch_hash)
  phases.report(job, state)  # A state that was restored may hold a failure.
  return notes.without(state), best


def _look(
    job: Job,
    state: TrainState,
    best: Any,
    evaluates: bool,
    batch_hash: int,
) -> tuple[TrainState, Any]:
  """Writes a report; evaluates, saves and stops where it is time.

  Raises:
    InputError: A folder of the runs is gone.
    Stopped: The process was asked to stop (`stopping`); the run is saved.
  """
  job.stop_asked.check()
  job.check_folders()
  state, losses = phases.report(job, state)
  # Of all processes, so that they save the same step.
  stops = processes.any_of(bool(job.stop_asked))
  losses = [means | {'train/batch_hash': batch_hash} for means in losses]
  job.clock.read()  # The report waited for the steps.
  for run, means in zip(job.runs, losses):
    if run.bad_step >= 0 and not run.lost:
      run.lost = means
  active = job.active()
  if not active:
    return state, best
  step, total = int(state.step), job.program.total_steps
  for r in active:
    job.runs[r].balance.add(step, losses[r])
  loss = losses[active[0]]['train/loss']
  job.runs[0].writer.progress(step, loss, job.clock.rate)
  if evaluates:
    with job.clock.paused():
      best = _evaluate(job, state, best, losses)
      job.save(state, best)
      stops = stops or processes.any_of(bool(job.stop_asked))
  else:
    for r in active:
      job.runs[r].writer.write(step, losses[r])
    if stops:
      job.save(state, best)
  if stops:
    raise _stopped(job.stop_asked.name, step, total)
  return state, best


def _evaluate(
    job: Job,
    state: TrainState,
    best: Any,
    losses: Sequence[Mapping[str, float]],
) -> Any:
  """Evaluates on the validation split; returns the best parameters so far."""
  runs, active, valid = job.runs, job.active(), {}
  if 'valid' in job.splits:
    scored = job.predictor.metrics(
        state.params,
        job.splits['valid'],
        active,
        runs[0].writer.evaluating('valid'),
    )
    valid = {r: metrics for r, metrics, _ in scored}
    phases.warn_of_undefined(job, 'valid', valid.values())
  better = [False] * len(runs)
  step = int(state.step)
  epoch = step / job.program.batches.steps_per_epoch
  for r in active:
    metrics = {**losses[r], **phases.prefixed('valid', valid.get(r, {}))}
    better[r] = runs[r].update(step, notes.left_out(metrics))
    metric = runs[r].selection.metric
    runs[0].writer.say(runs[r].label + line(step, epoch, metrics, metric))
    runs[r].writer.write(step, metrics)
  return selection.merge(best, state.params, better) if any(better) else best


def _stopped(name: str, step: int, total: int) -> stopping.Stopped:
  return stopping.Stopped(
      f'stopped by {name}, saved at step {step} of {total}; the same command'
      ' resumes it.'
  )


def next_multiple(step: int, every: int) -> int:
  """Returns the next multiple of `every`."""
  return (step // every + 1) * every
