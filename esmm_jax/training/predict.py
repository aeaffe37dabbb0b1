"""Predictions for whole splits."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import graphlib
import os
from typing import Any, NamedTuple

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.estimators import funnel
from esmm_jax.json_files import replacing
from esmm_jax.metrics import METRICS
from esmm_jax.metrics.by_space import evaluate, Observed
from esmm_jax.tasks import spaces, Tasks
from esmm_jax.training.program import Program
from esmm_jax.training.settings import Settings
from esmm_jax.training.step import predict_step
from esmm_jax.types import Array, InputError
from esmm_jax.workdir.folder import predictions_file
import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

_IN_FLIGHT = 4
_LARGEST = 1e4  # Log-odds of a probability of 0 or 1.


class Split(NamedTuple):
  """A split to predict: its batches in file order, and what is known of it."""

  batches: Batches
  observed: Observed


def observe(
    builder: ColumnarBuilder, split: str, tasks: Tasks | None = None
) -> Observed:
  """Labels, groups and, where it is known, the truth of a split.

  Args:
    builder: The prepared data set.
    split: `test[:10%]`, say.
    tasks: Those whose labels are wanted; default: all of the data set.
  """
  schema = builder.schema
  if tasks is not None:
    schema = dataclasses.replace(schema, tasks=tasks)
  source, truth = builder.as_data_source(split), builder.truth_source(split)
  wanted = [*schema.labels, *([schema.group] if schema.group else [])]
  columns = source.read(0, len(source), wanted)
  return Observed(
      {name: columns[name] for name in schema.labels},
      columns[schema.group] if schema.group else None,
      {} if truth is None else truth.read(0, len(truth)),
      schema.tasks,
  )


class SplitPredictor:
  """Scores splits with a run's parameters."""

  def __init__(self, program: Program, batch_size: int):
    self._program = program
    self._batch_size = batch_size
    self._predict = jax.jit(
        functools.partial(predict_step, plan=program.plan),
        out_shardings=program.layout.everywhere,
    )

  def split(self, name: str) -> Split:
    """Opens a split, `valid` or `test[:10%]` say."""
    builder = self._program.builder
    batches = Batches(
        builder.as_data_source(name),
        self._program.schema,
        self._batch_size,
        shuffle=False,
        compacted=False,
    )
    tasks = self._program.schema.tasks
    return Split(batches, observe(builder, name, tasks))

  def run(
      self, params: Mapping[str, Any], split: Split
  ) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """Outputs of every row, and how the gates were used.

    Args:
      params: `table`, `net` and `stats`.
      split: What to predict.

    Returns:
      Output -> float32 [R, n]: log-odds `ctr`, `cvr` and `ctcvr`, say. Gate ->
      `load` float64 [R, E], its mean weights, and `entropy` float64 [R], their
      mean entropy in nats.
    """
    batches = split.batches
    num = params['table'].shape[1]
    out = {
        space.output: np.empty((num, batches.num_rows), np.float32)
        for space in spaces(self._program.schema.tasks)
    }
    gates: dict[str, dict[str, Array]] = {}
    pending = []

    def collect():
      start, (outputs, use) = pending.pop(0)
      for name, values in out.items():
        rows = values[:, start : start + self._batch_size]
        rows[:] = np.asarray(outputs[name])[:, : rows.shape[1]]
      for gate, sums in use.items():
        totals = gates.setdefault(gate, dict.fromkeys(sums, 0.0))
        for name, value in sums.items():
          totals[name] += np.asarray(value, np.float64) / batches.num_rows

    layout = self._program.layout
    ahead = prefetch(batches.iterate(0, len(batches)), layout.put_batch)
    for k, batch in enumerate(ahead):
      with layout.active():
        made = self._predict(
            params['table'], params['net'], params['stats'], batch
        )
      pending.append((k * self._batch_size, made))
      if len(pending) > _IN_FLIGHT:
        collect()
    while pending:
      collect()
    return out, gates

  def metrics(
      self,
      params: Mapping[str, Any],
      split: Split,
      replicas: Sequence[int] = (0,),
  ) -> Iterator[tuple[int, dict[str, float], dict[str, Array]]]:
    """Predicts a split. Gives (replica, its metrics, its outputs) of each."""
    outputs, gates = self.run(params, split)
    for r in replicas:
      mine = {k: v[r] for k, v in outputs.items()}
      metrics = evaluate(mine, split.observed)
      for gate, use in gates.items():
        metrics[f'{gate}/entropy'] = float(use['entropy'][r])
        for k, load in enumerate(use['load'][r]):
          metrics[f'{gate}/load_{k}'] = float(load)
      yield r, metrics, mine


def common_ctr_metrics(
    outputs: dict[str, Array], observed: Observed, workdir: str, folder: str
) -> dict[str, float]:
  """CTCVR as the ESMM paper has it: own pCVR times a common network's pCTR.

  Args:
    outputs: `ctr` and `cvr`, float32 [n], log-odds; gets `ctcvr_common`.
    observed: The same rows, in the same order.
    workdir: This run's folder.
    folder: The common network's, from `workdir`.

  Returns:
    `ctcvr_common/METRIC` -> value.

  Raises:
    InputError: There are no predictions, or they are of other rows.
  """
  other = os.path.normpath(os.path.join(workdir, folder))
  if other == os.path.normpath(workdir):
    ctr = outputs['ctr']
  else:
    ctr = _saved_ctr(other, np.asarray(observed.labels['click']), folder)
  joint = funnel.joint_logit(jnp.asarray(ctr), jnp.asarray(outputs['cvr']))
  outputs['ctcvr_common'] = np.asarray(joint, np.float32)
  label = np.asarray(observed.labels['conversion'])
  return {
      f'ctcvr_common/{name}': metric(outputs['ctcvr_common'], label, None)
      for name, metric in METRICS.items()
  }


def common_ctr_order(
    settings: Sequence[Settings], workdirs: Sequence[str]
) -> dict[int, int | None]:
  """Orders replicas so that a run is tested before those that take its pCTR.

  Refuses before training what `common_ctr_metrics` would refuse after it.

  Args:
    settings: Of the replicas.
    workdirs: Their folders; `common_ctr` is a path from there.

  Returns:
    Replica -> the other replica whose pCTR it takes, or None; in an order in
    which they can be tested.

  Raises:
    InputError: A run that is named has no predictions and will have none, or
      runs name each other.
  """
  runs = [os.path.normpath(w) for w in workdirs]
  source: dict[int, int | None] = {}
  for r, replica in enumerate(settings):
    folder = replica.training.common_ctr
    run = os.path.normpath(os.path.join(runs[r], folder))
    source[r] = runs.index(run) if run in runs and run != runs[r] else None
    other = source[r]
    if other is not None and not settings[other].run.save_predictions:
      raise InputError(
          f'common_ctr={folder}: {run} does not save its predictions. Set'
          ' save_predictions=True for that run.'
      )
    if folder and run not in runs:
      _predictions(run, folder)
  needs = {r: () if s is None else (s,) for r, s in source.items()}
  try:
    order = list(graphlib.TopologicalSorter(needs).static_order())
  except graphlib.CycleError as e:
    circle = ' and '.join(sorted({runs[r] for r in e.args[1]}))
    raise InputError(
        f'common_ctr: {circle} name each other, so none can be tested first.'
        ' Let one of them name itself (common_ctr=.).'
    ) from e
  return {r: source[r] for r in order}


def _predictions(run: str, folder: str) -> str:
  """The file of a run's predictions, which must be there."""
  path = predictions_file(run)
  if not os.path.exists(path):
    raise InputError(
        f'common_ctr={folder}: there is no {path}. First finish that run, with'
        ' save_predictions=True.'
    )
  return path


def _saved_ctr(run: str, click: np.ndarray, folder: str) -> np.ndarray:
  """The click log-odds in the predictions of a run, float32 [n]."""
  from pyarrow import parquet

  path = _predictions(run, folder)
  table = parquet.read_table(path, columns=['p_ctr', 'click'])
  if not np.array_equal(table['click'].to_numpy(), click):
    raise InputError(
        f'common_ctr={folder}: {path} is of other rows than this run\'s test'
        ' split.'
    )
  p = table['p_ctr'].to_numpy().astype(np.float64)
  return np.clip(special.logit(p), -_LARGEST, _LARGEST).astype(np.float32)


def _probability(logits: Array) -> np.ndarray:
  """float32 of what is computed in float64."""
  p = special.expit(np.asarray(logits, np.float64))
  return p.astype(np.float32)


def scores(
    outputs: Mapping[str, Array], tasks: Tasks
) -> dict[str, np.ndarray]:
  """What is written and served of outputs.

  Args:
    outputs: As `evaluate` takes them.
    tasks: What they are of.

  Returns:
    `p_ctr`, `p_cvr`, `p_ctcvr` and so on, `predicted_NAME` for the values of a
    regression, float32 [n].
  """
  columns = {}
  for space in spaces(tasks):
    values = outputs[space.output]
    if space.kind == 'binary':
      columns[f'p_{space.output}'] = _probability(values)
    else:
      columns[f'predicted_{space.output}'] = np.asarray(values)
  return columns


def save_predictions(
    path: str, outputs: Mapping[str, Array], observed: Observed
) -> None:
  """Writes one row for each impression, in file order, as Parquet.

  Columns: `p_ctr`, `p_cvr`, `p_ctcvr` (float32) and so on, `predicted_NAME` for
  the values of a regression, the labels, and `group` where there is one.
  """
  import pyarrow as pa
  from pyarrow import parquet

  columns = scores(outputs, observed.tasks)
  if 'ctcvr_common' in outputs:
    columns['p_ctcvr_common'] = _probability(outputs['ctcvr_common'])
  columns |= {k: np.asarray(v) for k, v in observed.labels.items()}
  if observed.groups is not None:
    columns['group'] = np.asarray(observed.groups)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with replacing(path) as temporary:
    parquet.write_table(pa.table(columns), temporary)
