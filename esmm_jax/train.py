"""Trains and evaluates one run; read from top to bottom."""

from collections.abc import Mapping
import contextlib
import functools
import math
import os
import time
from typing import Any

from esmm_jax import build, workdir as workdirs
from esmm_jax.checkpoint import Checkpoints
from esmm_jax.cost import flops_per_example
from esmm_jax.data.batches import prefetch
from esmm_jax.predict import Predictor, save_predictions
from esmm_jax.selection import Selection
from esmm_jax.train_state import Hyper, init_state, reset_sums, TrainState
from esmm_jax.train_step import train_step
from esmm_jax.writer import write_json, Writer
import jax
import jax.numpy as jnp
import numpy as np

_LINE = 100  # Columns of an evaluation's line.


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
  """
  results = workdirs.finished(config, workdir)
  if results is not None:
    return results

  # Build.
  program = build.program(config, data_dir)
  layout, batches = program.layout, program.batches
  predictor = Predictor(program, config.eval_batch_size)
  splits = {
      name: predictor.split(split)
      for name in ('valid', 'test')
      if (split := config.dataset[f'{name}_split'])
  }
  selection = Selection(config.selection, 'valid' in splits)
  hyper = Hyper(
      jnp.asarray([config.learning_rate], jnp.float32),
      {k: jnp.asarray([w], jnp.float32) for k, w in program.weights.items()},
  )
  step_fn = jax.jit(
      functools.partial(train_step, plan=program.plan),
      donate_argnums=0,
      out_shardings=layout.state_sharding,
  )

  # Initialise.
  workdirs.claim(config, workdir)
  state = init_state(
      program.plan,
      num_rows=program.schema.num_rows,
      embed_dim=config.model.embed_dim,
      seeds=[config.seed if config.init_seed is None else config.init_seed],
      example=batches(0),
      term_names=list(program.weights),
      embed_scale=config.embed_init_scale,
  )
  state = layout.put_state(state)
  network_params = _count(state.net)
  best = selection.start(state)

  # Restore.
  checkpoints = Checkpoints(workdir)
  if checkpoints.latest_step is not None:
    arrays, position = checkpoints.restore({'state': state, 'best': best})
    state, best = arrays['state'], arrays['best']
    selection.load(position)
  start = int(state.step)
  writer = Writer(workdir, start, program.total_steps)
  if start:
    writer.say(f'Going on at step {start} of {program.total_steps}.')

  # Train.
  evals = config.evals_per_epoch
  every = max(1, math.ceil(batches.steps_per_epoch / evals))
  clock = Clock(config.batch_size)
  ahead = prefetch(
      batches.iterate(start, program.total_steps), layout.put_batch
  )
  with contextlib.closing(writer), contextlib.closing(ahead):
    for step in range(start + 1, program.total_steps + 1):
      if selection.stopped:
        break
      state = step_fn(state, next(ahead), hyper)
      clock.tick(state)
      evaluating = step % every == 0 or step == program.total_steps
      if not evaluating and step % config.log_every:
        continue
      state, metrics = _report(state, checkpoints, step, clock)
      writer.progress(step, metrics['train/loss'], clock.rate)
      if evaluating:
        with clock.paused():
          if 'valid' in splits:
            valid, _ = predictor.metrics(state.params, splits['valid'])
            metrics |= _prefixed('valid', valid)
          best = selection.update(step, metrics, state, best)
          writer.say(_line(step, step / batches.steps_per_epoch, metrics))
          writer.write(step, metrics)
          arrays = {'state': state, 'best': best}
          checkpoints.save(step, arrays, selection.position())
      else:
        writer.write(step, metrics)

    # Evaluate.
    results = dict(selection.metrics)
    if 'test' in splits:
      chosen = selection.choose(state, best)
      test, outputs = predictor.metrics(chosen, splits['test'])
      test = _prefixed('test', test)
      writer.write(int(state.step), test)
      results |= test
      if config.save_predictions:
        path = os.path.join(workdir, 'predictions', 'test.parquet')
        save_predictions(path, outputs, splits['test'].observed)
    results |= {
        'examples_per_second': clock.rate,
        # Of all steps at that rate: no compilation, no evaluation.
        'train_seconds': int(state.step) * config.batch_size / clock.rate,
        'num_params': _count(state.table) + network_params,
        'num_network_params': network_params,
        'flops_per_example': flops_per_example(
            program.plan, config.model.embed_dim, batches(0)
        ),
        'steps': int(state.step),
        'selected_step': selection.step or int(state.step),
        'seed': config.seed,
        'traces': step_fn._cache_size(),
        'versions': workdirs.versions(),
    }
    write_json(os.path.join(workdir, 'results.json'), results)
  checkpoints.close()
  return results


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

  def tick(self, state: TrainState) -> None:
    """Counts a step; the first is waited for and not counted."""
    if self._start is None:
      jax.block_until_ready(state.step)
      self._start = time.perf_counter()
    else:
      self._steps += 1

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


def _report(
    state: TrainState, checkpoints: Checkpoints, step: int, clock: Clock
) -> tuple[TrainState, dict[str, float]]:
  """Losses since the last report.

  Raises:
    FloatingPointError: One of them was not finite.
  """
  steps = int(state.since)
  sums = {k: float(v[0]) for k, v in state.sums.items()}
  clock.measure()
  bad = int(state.bad_step[0])
  if bad >= 0:
    raise FloatingPointError(
        f'The loss was not finite at step {bad + 1} (steps {step - steps + 1}'
        f' to {step} were checked). The last good checkpoint is of step'
        f' {checkpoints.latest_step}; lower learning_rate or set clip_norm.'
    )
  metrics = {f'train/{k}': v / steps for k, v in sums.items()}
  return reset_sums(state), metrics


def _prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
  return {f'{prefix}/{k}': v for k, v in metrics.items()}


def _count(tree: Any) -> int:
  """Numbers in the parameters of one replica."""
  replicas = jax.tree.leaves(tree)[0].shape[1 if hasattr(tree, 'shape') else 0]
  return sum(np.size(leaf) for leaf in jax.tree.leaves(tree)) // replicas


def _line(step: int, epoch: float, metrics: Mapping[str, float]) -> str:
  """An evaluation in at most 100 columns."""
  text = f'step {step:,} epoch {epoch:.2f} loss {metrics["train/loss"]:.4f}'
  for wanted in ('auc', 'mse'):
    values = [
        f' {key.split("/")[1]} {value:.4f}'
        for key, value in metrics.items()
        if key.startswith('valid/')
        and key.endswith(f'/{wanted}')
        and '_entire/' not in key
    ]
    text += f' | {wanted}{"".join(values)}' if values else ''
  if 'valid/ctcvr/logloss' in metrics:
    text += f' logloss {metrics["valid/ctcvr/logloss"]:.5f}'
  return text if len(text) <= _LINE else text[: _LINE - 3] + '...'
