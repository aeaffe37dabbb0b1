"""Trains and evaluates one run; read from top to bottom."""

from collections.abc import Mapping, Sequence
import contextlib
import functools
import math
import os
import shutil
import time
from typing import Any

from esmm_jax import build, lock, manifest, non_finite, provenance, selection
from esmm_jax import processes, stopping
from esmm_jax import workdir as workdir_
from esmm_jax.checkpoint import Checkpoints
from esmm_jax.cost import flops_per_example
from esmm_jax.feeding import Resident, Streamed
from esmm_jax.predict import common_ctr_order, Predictor
from esmm_jax.protocols import use as protocols
from esmm_jax.run import line, Run
from esmm_jax.sharding import Layout
from esmm_jax.train_state import init_state, replica, reset_sums, TrainState
from esmm_jax.writer import write_json
import jax
import numpy as np


def train_and_evaluate(
    config: Any, workdir: str, data_dir: str | None = None
) -> dict[str, Any]:
  """Trains, selects on the validation split, evaluates on the test split once.

  The same call again goes on where the last checkpoint left, and gives the
  numbers of the uninterrupted run to the bit (`tests/test_end_to_end.py`).

  Args:
    config: As `configs/*.py` make it.
    workdir: Gets config.json, metrics.jsonl, results.json, checkpoints/,
      tensorboard/ and, when asked, predictions/.
    data_dir: Where prepared data lives; default ~/.cache/esmm_jax.

  Returns:
    What results.json holds.

  Raises:
    InputError: Something in the config, the data or the workdir is wrong.
    FloatingPointError: A loss was not finite.
    Stopped: The process got SIGTERM; the run is saved.
  """
  (result,) = train_replicas([config], [workdir], data_dir)
  if isinstance(result, FloatingPointError):
    raise result
  return result


def train_replicas(
    configs: Sequence[Any],
    workdirs: Sequence[str],
    data_dir: str | None = None,
    home: str | None = None,
) -> list[dict[str, Any] | FloatingPointError]:
  """Trains several runs as replicas of one program.

  Each gives what it gives alone, up to the order in which float32 sums are
  added (`tests/test_replicas.py`). A replica whose loss is not finite fails;
  the others go on.

  Args:
    configs: Runs of one group; see `replicas.replica_groups`.
    workdirs: The folder of each, as for `train_and_evaluate`.
    data_dir: As there.
    home: Folder for the checkpoints of the group until it is finished; needed
      where there are several runs, and different for other groups.

  Returns:
    For each run what results.json holds, or why it failed.

  Raises:
    InputError: As `train_and_evaluate`.
    Stopped: As there.
  """
  configs = [protocols.resolve(c) for c in configs]
  results = [workdir_.finished(c, w) for c, w in zip(configs, workdirs)]
  if None not in results:
    return results
  with contextlib.ExitStack() as stack:
    return _train(configs, workdirs, data_dir, home, stack)


def _train(
    configs: Sequence[Any],
    workdirs: Sequence[str],
    data_dir: str | None,
    home: str | None,
    stack: contextlib.ExitStack,
) -> list[dict[str, Any] | FloatingPointError]:
  """`train_replicas` of runs of which one at least is not finished."""
  # Build.
  config = configs[0]  # What they have in common is read from it.
  program = build.program(configs, data_dir)
  data = provenance.data(program.builder)
  layout, batches = program.layout, program.batches
  predictor = Predictor(program, config.eval_batch_size)
  splits = {
      name: predictor.split(split)
      for name in ('valid', 'test')
      if (split := config.dataset[f'{name}_split'])
  }
  # Before `own_folders`: the paths lead from the folders that all share.
  pctr_of = common_ctr_order(configs, workdirs)
  shared = home or workdirs[0]
  workdirs = processes.own_folders(workdirs, stack)
  runs = [Run(c, w, 'valid' in splits) for c, w in zip(configs, workdirs)]
  example = batches(0)

  # Initialise.
  asked = stack.enter_context(stopping.asked())
  for folder in processes.own_folders([*workdirs, shared], stack):
    stack.enter_context(lock.held(folder))
  num_rows = program.schema.num_rows
  init = functools.partial(
      init_state,
      program.plan,
      num_rows=num_rows,
      embed_dim=config.model.embed_dim,
      seeds=[run.init_seed for run in runs],
      example=example,
      term_names=list(program.hyper.loss_weights),
      embed_scale=config.embed_init_scale,
      layout=layout,
  )
  keeps = any(run.selection.keeps for run in runs)
  checkpoints = Checkpoints(shared, num_rows)
  if checkpoints.latest_step is None:
    state = layout.placed(init())
    best = selection.copy(state.params) if keeps else {}
  for run in runs:  # Nothing is left behind by a model that cannot be.
    encoder = program.builder.encoder_folder
    workdir_.claim(run.config, run.workdir, program.schema, encoder)

  # Restore.
  warnings = list(checkpoints.messages)
  for run in runs:
    mine = manifest.make(run.config, data)
    if checkpoints.latest_step is None or not processes.is_first():
      manifest.write(run.workdir, mine)
    else:
      warnings += manifest.check(run.workdir, mine)
  if checkpoints.latest_step is not None:
    with layout.active():  # There is memory for one state, not for two.
      state = layout.abstract(jax.eval_shape(init))
    best = state.params if keeps else {}
    arrays, position = checkpoints.restore({'state': state, 'best': best})
    state, best = arrays['state'], arrays['best']
    for run, mine in zip(runs, position['runs'], strict=True):
      run.load(mine)
  start = int(state.step)
  for run in runs:
    run.open(start, program.total_steps, shows=run is runs[0])
  front = runs[0].writer
  for warning in dict.fromkeys(warnings):
    front.say(f'warning: {warning}')
  if start:
    front.say(f'Going on at step {start} of {program.total_steps}.')

  # Train.
  every = max(1, math.ceil(batches.steps_per_epoch / config.evals_per_epoch))
  log = config.log_every
  clock = Clock(config.batch_size * len(runs))
  kind = Resident if program.resident else Streamed
  total = program.total_steps
  reported = lambda n: n in (_after(n - 1, every), _after(n - 1, log), total)
  hyper = layout.put_state(program.hyper)
  feed = kind(program.plan, batches, layout, start, total, reported)
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(feed))
    for run in runs:
      stack.enter_context(contextlib.closing(run.writer))
    step = start
    while step < total and any(run.active for run in runs):
      stop = min(_after(step, every), _after(step, log), total)
      if step == start:  # The step that is compiled, by itself: see `Clock`.
        stop = start + 1
      state = feed.advance(state, step, stop, hyper)
      clock.tick(state, stop - step)
      step = stop
      evaluating = step % every == 0 or step == total
      if not evaluating and step % log:
        continue
      state, losses = _report(
          state, runs, checkpoints.latest_step, layout
      )
      stop_now = processes.any_of(bool(asked))
      batch_hash = feed.hash_after(step)
      losses = [mine | {'train/batch_hash': batch_hash} for mine in losses]
      clock.measure()
      for r, run in enumerate(runs):
        if run.bad_step >= 0 and not run.lost:
          run.lost = losses[r]
      active = [r for r, run in enumerate(runs) if run.active]
      if not active:
        break
      front.progress(step, losses[active[0]]['train/loss'], clock.rate)
      if not evaluating:
        for r in active:
          runs[r].writer.write(step, losses[r])
        if stop_now:
          _save(checkpoints, step, state, best, runs)
          raise _stopped(step, total)
        continue
      with clock.paused():
        valid = {}
        if 'valid' in splits:
          found = predictor.metrics(state.params, splits['valid'], active)
          valid = {r: m for r, m, _ in found}
        better = [False] * len(runs)
        for r in active:
          metrics = losses[r] | _prefixed('valid', valid.get(r, {}))
          better[r] = runs[r].update(step, metrics)
          epoch = step / batches.steps_per_epoch
          front.say(runs[r].label + line(step, epoch, metrics))
          runs[r].writer.write(step, metrics)
        if any(better):
          best = selection.merge(best, state.params, better)
        _save(checkpoints, step, state, best, runs)
        if stop_now or processes.any_of(bool(asked)):
          raise _stopped(step, total)

    # Evaluate.
    # What a restored state says.
    _report(state, runs, checkpoints.latest_step, layout)
    feed.close()  # Batches are made by one thread at a time.
    for r, run in enumerate(runs):
      if run.failure:
        folder = non_finite.write(
            run.workdir,
            run.bad_step,
            batches(run.bad_step),
            _params(state, r),
            run.lost,
        )
        run.failure = FloatingPointError(f'{run.failure} See {folder}.')
    for r, source in pctr_of.items():  # A chain of runs fails link by link.
      if source is not None and runs[source].failure and not runs[r].failure:
        runs[r].failure = FloatingPointError(
            f'common_ctr={runs[r].config.common_ctr}: that run failed, so its'
            ' pCTR cannot be taken. Mend that run, then the same command.'
        )
    alive = [r for r in pctr_of if not runs[r].failure]
    for r in alive:
      runs[r].results = dict(runs[r].selection.metrics)
    if 'test' in splits and alive:
      chosen = selection.chosen(
          [run.selection for run in runs], best, state.params
      )
      found = predictor.metrics(chosen, splits['test'], alive)
      for r, metrics, outputs in found:
        if processes.is_first():
          metrics |= runs[r].save(outputs, splits['test'].observed)
        metrics = _prefixed('test', metrics)
        runs[r].writer.write(runs[r].steps or int(state.step), metrics)
        runs[r].results |= metrics
    network_params = _count(state.net)
    facts = {
        'examples_per_second': clock.rate,
        'num_params': state.table.shape[-1] * num_rows + network_params,
        'num_network_params': network_params,
        'flops_per_example': flops_per_example(
            program.plan, config.model.embed_dim, example
        ),
        'replicas': len(runs),
        'traces': feed.traces,
        'versions': workdir_.versions(),
    }
    for r in alive:
      steps = runs[r].steps or int(state.step)
      runs[r].results |= facts | {
          # Of all steps at that rate: no compilation, no evaluation.
          'train_seconds': steps * config.batch_size / clock.rate,
          'steps': steps,
          'selected_step': runs[r].selection.step or steps,
          'skipped_steps': int(state.skipped[0, r]),
          'seed': runs[r].config.seed,
      }
      runs[r].results |= protocols.summary(
          runs[r].protocol, runs[r].results, runs[r].config.dataset
      )
      if len(runs) > 1:
        runs[r].keep(replica(state, r), best and replica(best, r), num_rows)
    for r in alive:
      path = os.path.join(runs[r].workdir, 'results.json')
      write_json(path, runs[r].results)
  checkpoints.close()
  if home and home not in workdirs and processes.is_first():
    shutil.rmtree(home)
  return [run.failure or run.results for run in runs]


def _save(
    checkpoints: Checkpoints,
    step: int,
    state: TrainState,
    best: Any,
    runs: Sequence[Run],
) -> None:
  checkpoints.save(
      step,
      {'state': state, 'best': best},
      {'runs': [run.position() for run in runs]},
  )


def _stopped(step: int, total: int) -> stopping.Stopped:
  return stopping.Stopped(
      f'stopped by SIGTERM, saved at step {step} of {total}; the same command'
      ' goes on.'
  )


class Clock:
  """Examples trained a second, without compilation and evaluation.

  Attributes:
    rate: As of the last `measure`; nan before.
  """

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._start = None
    self._steps = 0
    self.rate = math.nan

  def tick(self, state: TrainState, steps: int) -> None:
    """Counts steps; those of the first call are waited for and not counted."""
    if self._start is None:
      jax.block_until_ready(state.step)
      self._start = time.perf_counter()
    else:
      self._steps += steps

  def measure(self) -> None:
    """Takes the rate; the steps so far must be done."""
    if self._steps:
      seconds = time.perf_counter() - self._start
      self.rate = self._steps * self._batch_size / seconds

  @contextlib.contextmanager
  def paused(self):
    """Time in here does not count."""
    before = time.perf_counter()
    yield
    self._start += time.perf_counter() - before


def _after(step: int, every: int) -> int:
  """The next multiple of `every`."""
  return (step // every + 1) * every


def _report(
    state: TrainState,
    runs: Sequence[Run],
    good_step: int | None,
    layout: Layout,
) -> tuple[TrainState, list[dict[str, float]]]:
  """Each replica's losses since the last report; notes those not finite."""
  steps = int(state.since)
  sums = {k: np.asarray(v) for k, v in state.sums.items()}
  skipped = np.asarray(state.skipped)
  for run, bad, n in zip(runs, np.asarray(state.bad_step), skipped[0]):
    if bad >= 0 and run.active:
      run.bad_step = int(bad)
      most = f' for the {n}th time' if n else ''
      run.failure = FloatingPointError(
          f'The loss or a gradient was not finite at step {bad + 1}{most}'
          f' (looked at step {int(state.step)}). The last good checkpoint is of'
          f' step {good_step}; lower learning_rate or set clip_norm.'
      )
  losses = []
  for r, n in enumerate(skipped[1].tolist()):
    done = max(steps - n, 1)
    mine = {f'train/{k}': float(v[r]) / done for k, v in sums.items()}
    losses.append(mine | ({'train/skipped': n} if n else {}))
  return reset_sums(state, layout), losses


def _params(state: TrainState, r: int) -> dict[str, Any]:
  """The parameters of one replica, without the replica axis."""
  at = lambda tree: jax.tree.map(lambda x: x[r], tree)
  return {
      'table': state.table[:, r],
      'net': at(state.net),
      'stats': at(state.stats),
  }


def _prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
  return {f'{prefix}/{k}': v for k, v in metrics.items()}


def _count(tree: Any) -> int:
  """Numbers in the parameters of one replica."""
  replicas = jax.tree.leaves(tree)[0].shape[0]
  return sum(np.size(leaf) for leaf in jax.tree.leaves(tree)) // replicas
