"""Phases of a training around its loop: report, select, test, write.

`loop.train_replicas` calls them from top to bottom, those of `job` first.
"""

from collections.abc import Iterable, Mapping
import os
from typing import Any

from esmm_jax import histories, system_errors
from esmm_jax.balancing import records
from esmm_jax.balancing.over_run import told
from esmm_jax.embeddings.vectors import sizes_of, zeros
from esmm_jax.json_files import write_json
from esmm_jax.metrics.undefined import undefined
from esmm_jax.parallel import axes, processes
from esmm_jax.plugins import loading as plugins
from esmm_jax.protocols import use as protocols
from esmm_jax.training import non_finite, selection
from esmm_jax.training.feeds.traffic import Traffic
from esmm_jax.training.job import Job
from esmm_jax.training.noting import notes
from esmm_jax.training.state import count, replica, reset_sums
from esmm_jax.training.state import StepSpec, TrainState
from esmm_jax.types import Batch
from esmm_jax.warm_start import refit_steps
from esmm_jax.workdir import end_note
from esmm_jax.workdir.folder import versions
import jax
import jax.numpy as jnp
import numpy as np

# Examples whose operations are counted.
_EXAMPLES = 64


def tell_exchanged(job: Job, exchanged: Traffic) -> None:
  """Says what a step exchanges, if there are several devices."""
  layout = job.program.layout
  if layout.num_devices > 1:
    job.runs[0].writer.say(exchanged.line(layout))


def report(
    job: Job, state: TrainState
) -> tuple[TrainState, list[dict[str, float]]]:
  """Returns the state, its sums begun anew, and each replica's losses.

  The losses are means since the last report, beside the notes of the last step.
  Replicas whose loss is not finite are failed in `job.runs`.
  """
  steps = int(state.steps_since_report)
  sums = {k: np.asarray(v) for k, v in state.sums.items()}
  noted = notes.of_report(job.program, state)
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
    means = records.reported({k: float(v[r]) / done for k, v in sums.items()})
    means |= {k: float(v[r]) for k, v in noted.items()}
    means = prefixed('train', means)
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
      try:
        folder = non_finite.write(
            run.workdir, run.bad_step, batch, _params(state, r), run.lost
        )
        run.failure = FloatingPointError(f'{run.failure} See {folder}.')
      except OSError as e:  # What failed is told all the same.
        job.warn(system_errors.line(e))
  for r, source in job.pctr_of.items():  # A chain of runs fails link by link.
    if source is not None and runs[source].failure and not runs[r].failure:
      runs[r].failure = FloatingPointError(
          f'common_ctr={runs[r].settings.training.common_ctr}: that run failed,'
          ' so its pCTR cannot be taken. Mend that run, then repeat the'
          ' command.'
      )


def warn_of_undefined(
    job: Job, split: str, scored: Iterable[Mapping[str, float]]
) -> None:
  """Says which metrics of a split are no numbers.

  Args:
    job: The training.
    split: `valid` or `test`.
    scored: The metrics of replicas on that split.
  """
  for metrics in scored:
    for line in undefined(metrics, job.splits[split].observed, split):
      job.warn(line)


def keep_checkpoints(job: Job, state: TrainState, best: Any) -> None:
  """Writes the checkpoint of each replica as it would have one alone.

  Before the test, whose lines in metrics.jsonl come after every checkpoint, and
  whose predictions carry the stamp of the parameters.
  """
  if len(job.runs) == 1:
    for r in job.alive():  # It has its own.
      job.runs[r].choose(int(state.step), job.checkpoints)
    return
  for r in job.alive():
    arrays = {'state': replica(state, r), 'best': best and replica(best, r)}
    run, num_rows = job.runs[r], job.program.schema.num_rows
    run.keep(int(state.step), arrays, job.position(run), num_rows)


def select(job: Job, state: TrainState, best: Any) -> dict[str, Any]:
  """Returns the parameters that the test split sees: best or last of each."""
  for run in job.runs:
    run.results = dict(run.selection.metrics)
    if run.selection.is_blind:
      job.warn(
          f'{run.label}{run.selection.metric}, the selection metric, was never'
          ' a number: the last parameters are kept.'
      )
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
  scored = job.predictor.metrics(
      params, split, job.alive(), job.runs[0].writer.evaluating('test')
  )
  for r, metrics, outputs in scored:
    warn_of_undefined(job, 'test', [metrics])
    if processes.is_first():
      metrics |= job.runs[r].save(outputs, split.observed)
    metrics = prefixed('test', metrics)
    job.runs[r].writer.write(job.runs[r].steps or step, metrics)
    job.runs[r].results |= metrics


def write_results(job: Job, state: TrainState) -> None:
  """Adds the facts of each run to its metrics, and writes results.json."""
  program, runs = job.program, job.runs
  network_params = count(state.net)
  # A log of numbers alone has a table of one row that nothing reads.
  num_rows = program.schema.num_rows if program.schema.inputs else 0
  batch_size = job.common.training.batch_size
  facts = {
      'examples_per_second': job.clock.rate,
      'num_params': state.table.shape[-1] * num_rows + network_params,
      'num_network_params': network_params,
      'flops_per_example': flops_per_example(
          program.plan,
          job.common.model.embed_dim,
          zeros(sizes_of(state.stats), program.batches(0)),
      ),
      'replicas': len(runs),
      'traces': job.traces,
      'versions': versions() | plugins.versions(runs[0].record),
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
        **refit_steps.facts(run.settings.refit),
    }
    if whole := run.balance.means():
      run.results |= whole
      runs[0].writer.say(run.label + told(run.settings.balancing.name, whole))
    run.results |= histories.noted(run.history)
    run.results |= protocols.summary(
        run.protocol, run.results, run.settings.dataset.section
    )
  # When all are complete: a group is finished as a whole or resumed as one.
  for r in job.alive():
    run = runs[r]
    end_note.write(
        run.workdir, run.manifest, run.results, run.writer.digest, run.stamp
    )
  for r in job.alive():
    path = os.path.join(runs[r].workdir, end_note.RESULTS)
    write_json(path, runs[r].results)
    runs[r].writer.end(runs[r].results)


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
  """Returns the metrics as `PREFIX/NAME`."""
  return {f'{prefix}/{k}': v for k, v in metrics.items()}


def _params(state: TrainState, r: int) -> dict[str, Any]:
  """Returns the parameters of one replica, without the replica axis."""
  cut = lambda axis, x: jax.lax.index_in_dim(x, r, axis, keepdims=False)
  return axes.map_replicas(cut, state.params)


def flops_per_example(plan: StepSpec, embed_dim: int, example: Batch) -> float:
  """Operations of the forward pass, as XLA counts them before optimization.

  A product of [a, b] and [b, c] counts 2 a b c; additions, activations and
  norms count one an element and more. A training step takes about three times
  as many. Lookups count nothing, nor do heads, which no prediction reads.

  Args:
    plan: Says the model.
    embed_dim: D.
    example: Any batch, for the shapes.
  """
  table = jax.ShapeDtypeStruct(
      (_EXAMPLES, plan.model.row_width(embed_dim)), jnp.float32
  )
  batch = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((_EXAMPLES, *x.shape[1:]), x.dtype),
      example,
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  model = plan.model.clone(heads=())
  variables = jax.eval_shape(model.init, key, table, batch)
  lowered = jax.jit(model.apply).lower(variables, table, batch)
  return lowered.cost_analysis()['flops'] / _EXAMPLES
