"""Inputs that know the label: a single one of them ranks nearly perfectly."""

from collections.abc import Container, Iterator

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.metrics.ranking import auc
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import Tasks
from esmm_jax.types import Columns, Ragged
import numpy as np

# A single input that ranks this well is probably a form of the label.
SUSPICIOUS = 0.95
# Fewer rows of a class say nothing.
_FEWEST = 20
# Rows that are read: one half tells rates, the other one is ranked by them.
SAMPLE = 1 << 16
# The same where rows share lists, which are joined to each: of Ali-CCP 500
# entries a row.
_SHARED_SAMPLE = 1 << 12
# Rows with the mean rate that each value gets beside its own.
_PRIOR = 5.0


def single_aucs(
    builder: ColumnarBuilder, split: str, tasks: Tasks
) -> dict[tuple[str, str], float]:
  """Computes how well each input ranks each event alone.

  Ids are ranked by their rate in other rows, the two halves of the sample for
  each other; lists by the mean rate of their entries; numbers by themselves,
  in the better direction.

  Args:
    builder: The prepared data set.
    split: The rows, of which the first ones are read, `SAMPLE` at most.
    tasks: The binary ones count, each where its parent's label is 1.

  Returns:
    (input, label) -> AUC in [0, 1]; without those of too few rows of a class.
  """
  source = builder.as_data_source(split)
  schema = builder.schema
  most = _SHARED_SAMPLE if schema.group_part.fields else SAMPLE
  num = min(most, len(source))
  columns = source.joined(0, num)
  parents = {t.name: t.label for t in tasks}
  aucs = {}
  half, every = np.arange(num) % 2 == 0, np.ones(num, bool)
  for task in tasks:
    if task.kind != 'binary':
      continue
    label = columns[task.label] == 1
    where = columns[parents[task.parent]] == 1 if task.parent else every
    positives = int((label & where).sum())
    if min(positives, int(where.sum()) - positives) < _FEWEST:
      continue
    for field in _inputs(schema):
      scores = _scores(field, columns, label, where, half)
      aucs[field.name, task.label] = auc(scores, label, where)
  return aucs


def _inputs(schema: Schema) -> tuple[Field, ...]:
  return schema.inputs + schema.float_fields


def _scores(
    field: Field,
    columns: Columns,
    label: np.ndarray,
    where: np.ndarray,
    half: np.ndarray,
) -> np.ndarray:
  """Returns the score of each row, float64 [n], from this input alone."""
  column = columns[field.name]
  if field.kind == 'float':
    scores = np.nan_to_num(np.asarray(column, np.float64))
    return scores if auc(scores, label, where) >= 0.5 else -scores
  scores = np.zeros(len(label))
  for of, by in ((half, ~half), (~half, half)):
    rates = _rates(column, field.vocab_size, label, where & by)
    if isinstance(column, Ragged):
      ends = np.concatenate([[0.0], np.cumsum(rates[column.values])])
      totals = ends[column.offsets[1:]] - ends[column.offsets[:-1]]
      means = totals / np.maximum(np.diff(column.offsets), 1)
      scores[of] = means[of]
    else:
      scores[of] = rates[column[of]]
  return scores


def _rates(
    column: np.ndarray | Ragged,
    vocab_size: int,
    label: np.ndarray,
    where: np.ndarray,
) -> np.ndarray:
  """Returns the smoothed rate of each id, float64 [V], in some rows."""
  values = column
  if isinstance(column, Ragged):
    lengths = np.diff(column.offsets)
    values = column.values
    label, where = np.repeat(label, lengths), np.repeat(where, lengths)
  shown = np.bincount(values[where], minlength=vocab_size)
  hits = np.bincount(values[where & label], minlength=vocab_size)
  mean = hits.sum() / max(shown.sum(), 1)
  return (hits + _PRIOR * mean) / (shown + _PRIOR)


def warnings(
    builder: ColumnarBuilder,
    split: str,
    tasks: Tasks,
    inputs: Container[str] | None = None,
) -> Iterator[str]:
  """Yields a line for each input that alone ranks an event above `SUSPICIOUS`.

  Args:
    builder: See `single_aucs`.
    split: See there.
    tasks: See there.
    inputs: Names of those that a model reads; None: all.
  """
  for (name, label), value in single_aucs(builder, split, tasks).items():
    if value > SUSPICIOUS and (inputs is None or name in inputs):
      yield (
          f'column {name!r} alone ranks {label!r} with an AUC of {value:.3f}.'
          ' Does it know the label? Leave it out if its value is not there'
          ' before the impression is shown.'
      )
