"""Predictions for whole splits."""

from collections.abc import Mapping
import functools
import os
from typing import Any, NamedTuple

from esmm_jax.build import Program
from esmm_jax.data.batches import Batches, prefetch
from esmm_jax.data.columnar import ColumnarBuilder
from esmm_jax.evaluate import evaluate, Observed, sigmoid
from esmm_jax.train_step import predict_step
from esmm_jax.types import Array
import jax
import numpy as np

_IN_FLIGHT = 4


class Split(NamedTuple):
  """A split to predict: its batches in file order, and what is known of it."""

  batches: Batches
  observed: Observed


def observe(builder: ColumnarBuilder, split: str) -> Observed:
  """Labels, groups and, where it is known, the truth of a split."""
  schema = builder.schema
  source, truth = builder.as_data_source(split), builder.truth_source(split)
  wanted = [*schema.labels, *([schema.group] if schema.group else [])]
  columns = source.read(0, len(source), wanted)
  return Observed(
      {name: columns[name] for name in schema.labels},
      columns[schema.group] if schema.group else None,
      {} if truth is None else truth.read(0, len(truth)),
  )


class Predictor:
  """Scores splits with a run's parameters."""

  def __init__(self, program: Program, batch_size: int):
    self._program = program
    self._batch_size = batch_size
    self._predict = jax.jit(functools.partial(predict_step, plan=program.plan))

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
    return Split(batches, observe(builder, name))

  def logits(self, params: Mapping[str, Any], split: Split) -> dict[str, Array]:
    """Log-odds of every row.

    Args:
      params: `table`, `net` and `stats`.
      split: What to predict.

    Returns:
      `ctr`, `cvr` and `ctcvr`, float32 [R, n].
    """
    batches = split.batches
    num = params['table'].shape[1]
    out = {
        task: np.empty((num, batches.num_rows), np.float32)
        for task in ('ctr', 'cvr', 'ctcvr')
    }
    pending = []

    def collect():
      start, logits = pending.pop(0)
      for task, values in out.items():
        rows = values[:, start : start + self._batch_size]
        rows[:] = np.asarray(logits[task])[:, : rows.shape[1]]

    ahead = prefetch(
        batches.iterate(0, len(batches)), self._program.layout.put_batch
    )
    for k, batch in enumerate(ahead):
      logits = self._predict(
          params['table'], params['net'], params['stats'], batch
      )
      pending.append((k * self._batch_size, logits))
      if len(pending) > _IN_FLIGHT:
        collect()
    while pending:
      collect()
    return out

  def metrics(
      self, logits: Mapping[str, Array], split: Split, replica: int = 0
  ) -> dict[str, float]:
    """The metrics of one replica's logits."""
    return evaluate({k: v[replica] for k, v in logits.items()}, split.observed)


def save_predictions(
    path: str, logits: Mapping[str, Array], observed: Observed
) -> None:
  """Writes one row for each impression, in file order, as Parquet.

  Columns: `p_ctr`, `p_cvr`, `p_ctcvr` (float32), the labels, and `group` where
  there is one.
  """
  import pyarrow as pa
  from pyarrow import parquet

  columns = {
      f'p_{task}': sigmoid(v[0]).astype(np.float32)
      for task, v in logits.items()
  }
  columns |= {k: np.asarray(v) for k, v in observed.labels.items()}
  if observed.groups is not None:
    columns['group'] = np.asarray(observed.groups)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  temporary = path + '.tmp'
  parquet.write_table(pa.table(columns), temporary)
  os.replace(temporary, path)
