"""Predictions for whole splits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.store.checks import check_labels
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.metrics.by_space import each_alone, evaluate, Observed
from esmm_jax.metrics.gates import gate_metrics, mean_gates
from esmm_jax.metrics.weights import RowWeights
from esmm_jax.tasks import spaces, Tasks
from esmm_jax.training import parts
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.program import Program
from esmm_jax.training.settings import ObjectiveOptions
from esmm_jax.types import Array
from esmm_jax.workdir import predictions
from esmm_jax.workdir.identity import Stamp
import jax
import numpy as np
from scipy import special

# Batches that are predicted before the first is read back.
IN_FLIGHT = 4


class Split(NamedTuple):
  """A split to predict: its batches in file order, and what is known of it."""

  batches: Batches
  observed: Observed


def observe(
    builder: ColumnarBuilder, split: str, tasks: Tasks | None = None
) -> Observed:
  """Reads labels, groups and, where it is known, the truth of a split.

  Args:
    builder: The prepared data set.
    split: `test[:10%]`, say.
    tasks: Those whose labels are wanted; default: all of the data set.

  Raises:
    InputError: A label is not of its task's kind, or a column is damaged.
  """
  schema = builder.schema
  if tasks is not None:
    schema = dataclasses.replace(schema, tasks=tasks)
  source, truth = builder.as_data_source(split), builder.truth_source(split)
  keys = (schema.group, builder.period, builder.group_period)
  wanted = [*schema.labels, *dict.fromkeys(filter(None, keys))]
  columns = source.read(0, len(source), wanted)
  check_labels(schema, columns, str(source), 0)
  groups = None
  if schema.group:
    groups = each_alone(columns[schema.group], builder.no_group)
  return Observed(
      {name: columns[name] for name in schema.labels},
      groups,
      {} if truth is None else truth.read(0, len(truth)),
      schema.tasks,
      columns[builder.period] if builder.period else None,
      columns[builder.group_period] if builder.group_period else None,
  )


class SplitPredictor:
  """Scores splits with a run's parameters."""

  def __init__(
      self,
      program: Program,
      batch_size: int,
      objectives: Sequence[ObjectiveOptions] = (),
  ):
    """Compiles nothing yet.

    Args:
      program: Of the run.
      batch_size: Rows of a batch.
      objectives: Of each replica; without them `metrics` has no weights of
        clicked rows.
    """
    self._program = program
    tasks = program.schema.tasks
    self._row_weights = [
        RowWeights.of(parts.estimator(o, tasks)) for o in objectives
    ]
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
      self,
      params: Mapping[str, Any],
      split: Split,
      tell: Callable[[int, int], None] = lambda done, rows: None,
  ) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """Predicts every row, and averages the use of the gates.

    Args:
      params: `table`, `net` and `stats`.
      split: What to predict.
      tell: Gets the rows that are done, of how many.

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
    uses: list[dict[str, dict[str, Array]]] = []
    pending = []

    def collect():
      start, (outputs, use) = pending.pop(0)
      for name, values in out.items():
        rows = values[:, start : start + self._batch_size]
        rows[:] = np.asarray(outputs[name])[:, : rows.shape[1]]
      uses.append(jax.tree.map(np.asarray, use))
      tell(min(start + self._batch_size, batches.num_rows), batches.num_rows)

    layout = self._program.layout
    ahead = prefetch(batches.iterate(0, len(batches)), layout.put_batch)
    for k, batch in enumerate(ahead):
      with layout.active():
        outputs = self._predict(
            params['table'], params['net'], params['stats'], batch
        )
      pending.append((k * self._batch_size, outputs))
      if len(pending) > IN_FLIGHT:
        collect()
    while pending:
      collect()
    return out, mean_gates(uses, batches.num_rows)

  def metrics(
      self,
      params: Mapping[str, Any],
      split: Split,
      replicas: Sequence[int] = (0,),
      tell: Callable[[int, int], None] = lambda done, rows: None,
  ) -> Iterator[tuple[int, dict[str, float], dict[str, Array]]]:
    """Predicts a split; yields (replica, its metrics, its outputs) of each."""
    outputs, gates = self.run(params, split, tell)
    for r in replicas:
      scores_of_one = {k: v[r] for k, v in outputs.items()}
      weights = self._row_weights[r] if self._row_weights else None
      observed = split.observed
      metrics = split_metrics(scores_of_one, observed, gates, r, weights)
      yield r, metrics, scores_of_one


def split_metrics(
    outputs: Mapping[str, Array],
    observed: Observed,
    gates: Mapping[str, Mapping[str, Array]],
    r: int = 0,
    row_weights: RowWeights | None = None,
) -> dict[str, float]:
  """Computes the metrics of one replica's predictions, and of its gates.

  Args:
    outputs: See `by_space.evaluate`.
    observed: See there.
    gates: See `gates.mean_gates`.
    r: The replica that `gates` are wanted of.
    row_weights: See `by_space.evaluate`.
  """
  metrics = evaluate(outputs, observed, row_weights=row_weights)
  return metrics | gate_metrics(gates, r)


def probability(logits: Array) -> np.ndarray:
  """Returns the sigmoid, computed in float64, as float32."""
  p = special.expit(np.asarray(logits, np.float64))
  return p.astype(np.float32)


def scores(
    outputs: Mapping[str, Array], tasks: Tasks
) -> dict[str, np.ndarray]:
  """Computes the columns that are written and served.

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
      columns[f'p_{space.output}'] = probability(values)
    else:
      columns[f'predicted_{space.output}'] = np.asarray(values)
  return columns


def save_predictions(
    path: str,
    outputs: Mapping[str, Array],
    observed: Observed,
    stamp: Stamp,
    history: str = '',
) -> None:
  """Writes one row for each impression, in file order, as Parquet.

  Columns: `p_ctr`, `p_cvr`, `p_ctcvr` (float32) and so on, `predicted_NAME` for
  the values of a regression, the labels, and `group` where there is one.

  Args:
    path: The file.
    outputs: As `scores` takes them.
    observed: The same rows.
    stamp: Of the run and the parameters that they are of.
    history: What the histories of the run know, see `histories`.
  """
  columns = scores(outputs, observed.tasks)
  if 'ctcvr_common' in outputs:
    columns['p_ctcvr_common'] = probability(outputs['ctcvr_common'])
  columns |= {k: np.asarray(v) for k, v in observed.labels.items()}
  if observed.groups is not None:
    columns['group'] = np.asarray(observed.groups)
  predictions.write(path, columns, stamp, history)
