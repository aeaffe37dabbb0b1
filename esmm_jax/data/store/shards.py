"""Writes a shard of a split: a folder of columns, checked before."""

import os

from esmm_jax.data.store.checks import check_columns
from esmm_jax.data.store.columns import write_column
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError

TRUTH = 'truth'


def write_shard(path: str, schema: Schema, columns: Columns) -> int:
  """Checks one shard's columns and writes them. Returns the bytes written.

  Raises:
    InputError: A column is missing or has another length, an id is outside its
      vocabulary, or a label is not of its task's kind (`check_columns`).
  """
  num_rows = len(columns[schema.labels[0]])
  check_columns(schema, columns, os.path.basename(path), 0)
  os.makedirs(os.path.join(path, TRUTH) if schema.truth else path)
  total = 0
  for name, column in columns.items():
    if len(column) != num_rows:
      raise InputError(
          f'{path}: column {name!r} has {len(column)} rows, not {num_rows}.'
      )
    folder = os.path.join(path, TRUTH) if name in schema.truth else path
    total += write_column(folder, name, column)
  return total
