"""Metrics of the rows of each value of a column, or of seen and unseen ids."""

from collections.abc import Mapping
from typing import Any

from esmm_jax import schema as schemas
from esmm_jax.metrics.by_space import evaluate, Observed
from esmm_jax.schema import Schema
from esmm_jax.tasks import spaces
from esmm_jax.types import Array, Columns, InputError, Ragged, suggest
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Segments with metrics of their own, the largest ones.
MOST = 20
# A segment with fewer rows of a class than these is called small: the standard
# error of an AUC is then a tenth and more.
FEW = 10
MISSING, RARE, SEEN = '(missing)', '(rare or unseen)', 'seen'
# `unseen:FIELD` divides by whether training has seen the ids of a field.
UNSEEN = 'unseen:'


def codes(texts: pa.Array) -> np.ndarray:
  """Numbers the values of texts [n] from 1; 0 for null."""
  index = texts.dictionary_encode().indices
  return pc.add(pc.fill_null(index, -1), 1).to_numpy(zero_copy_only=False)


def unseen_field(schema: Schema, by: str) -> str:
  """Returns the field of `unseen:FIELD`; '' if `by` is a column.

  Args:
    schema: Of the model.
    by: As `--by` has it.

  Raises:
    InputError: The model has no such field of ids.
  """
  if not by.startswith(UNSEEN):
    return ''
  name = by.removeprefix(UNSEEN).strip()
  fields = [f.name for f in schema.inputs if f.kind != 'float']
  if name not in fields:
    raise InputError(
        f'--by={by}: {name!r} is not an id field that the model reads, and'
        f' {UNSEEN} needs one. {suggest(name, fields)}'
    )
  return name


def texts_of_unseen(columns: Columns, field: str) -> pa.Array:
  """Says of rows whether training has seen their ids.

  Args:
    columns: Encoded columns.
    field: One of single ids or of lists.

  Returns:
    Texts [n]: `RARE` where the id, or one of the list, came fewer times than
    the vocabulary's `min_count` in training; `MISSING` without one; `SEEN`.
  """
  column = columns[field]
  if isinstance(column, Ragged):
    rare = np.append(0, np.cumsum(np.asarray(column.values) == schemas.RARE))
    is_rare = np.diff(rare[column.offsets]) > 0
    is_missing = np.diff(column.offsets) == 0
  else:
    ids = np.asarray(column)
    is_rare, is_missing = ids == schemas.RARE, ids == schemas.MISSING
  kind = np.where(is_missing, 1, np.where(is_rare, 2, 0))
  return pa.array([SEEN, MISSING, RARE], pa.string()).take(pa.array(kind))


def texts_of_split(predictor: Any, columns: Columns, by: str) -> pa.Array:
  """Returns a column of a split as texts.

  Args:
    predictor: Of the run, whose encoder has the texts of ids.
    columns: Of rows of the split.
    by: The column, or `unseen:FIELD`.

  Raises:
    InputError: There is no such column of whole numbers, or no such field.
  """
  if field := unseen_field(predictor.schema, by):
    return texts_of_unseen(columns, field)
  whole = [
      name
      for name, c in columns.items()
      if not isinstance(c, Ragged) and c.dtype.kind in 'iub'
  ]
  if by not in whole:
    raise InputError(
        f'--by={by}: with --split, name a column with one id or whole number'
        f' per row. {suggest(by, whole)}'
    )
  values = np.asarray(columns[by])
  names = predictor.texts(by)
  if names is None:
    return pc.cast(pa.array(values), pa.string())
  return pa.array([MISSING, RARE, *names], pa.string()).take(pa.array(values))


def metrics(
    outputs: Mapping[str, Array], observed: Observed, by: str, texts: pa.Array
) -> dict[str, Any]:
  """Computes the metrics of the largest segments.

  Args:
    outputs: See `by_space.evaluate`.
    observed: The same rows.
    by: The column that divides them.
    texts: Its values, [n].

  Returns:
    `by/COLUMN=VALUE/` and then `rows`, `small` (whether a space of it has fewer
    than `FEW` rows of a class) and `space/metric`; `by/COLUMN/others` and
    `by/COLUMN/other_rows`, how many segments have none and their rows.
  """
  texts = pc.fill_null(texts, MISSING)
  index = codes(texts) - 1
  names = texts.dictionary_encode().dictionary.to_pylist()
  sizes = np.bincount(index, minlength=len(names))
  order = sorted(range(len(names)), key=lambda k: (-sizes[k], names[k]))
  result: dict[str, Any] = {}
  for k in order[:MOST]:
    rows = np.flatnonzero(index == k)
    part = Observed(
        {name: np.asarray(v)[rows] for name, v in observed.labels.items()},
        _taken(observed.groups, rows),
        {name: np.asarray(v)[rows] for name, v in observed.truth.items()},
        observed.tasks,
        _taken(observed.periods, rows),
        _taken(observed.group_periods, rows),
    )
    prefix = f'by/{by}={names[k]}'
    result[f'{prefix}/rows'] = len(rows)
    result[f'{prefix}/small'] = _is_small(part)
    scores = {name: np.asarray(v)[rows] for name, v in outputs.items()}
    for key, value in evaluate(scores, part).items():
      result[f'{prefix}/{key}'] = value
  result[f'by/{by}/others'] = len(order[MOST:])
  result[f'by/{by}/other_rows'] = int(sizes[order[MOST:]].sum())
  return result


def _taken(keys: Any, rows: np.ndarray) -> np.ndarray | None:
  return None if keys is None else np.asarray(keys)[rows]


def _is_small(observed: Observed) -> bool:
  for space in spaces(observed.tasks):
    label = observed.labels[space.label]
    if space.given:
      label = label[observed.labels[space.given] == 1]
    if space.kind == 'regression':
      if len(label) < FEW:
        return True
      continue
    if min((label == 1).sum(), (label == 0).sum()) < FEW:
      return True
  return False


def names(evaluation: Mapping[str, Any]) -> list[str]:
  """Returns the segments of an evaluation, `COLUMN=VALUE`, largest first."""
  end = '/small'
  return [
      key[len('by/') : -len(end)]
      for key in evaluation
      if key.startswith('by/') and key.endswith(end)
  ]
