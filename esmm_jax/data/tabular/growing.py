"""A vocabulary that grows from another run's: `dataset.vocabulary_of`.

The ids of the other run's values stay, whether they are in the new log or not;
its numbers keep their scaling. New values follow with the next ids.
"""

from collections.abc import Sequence
import os
from typing import Any

from esmm_jax import paths
from esmm_jax.checksums import hash_json
from esmm_jax.data.history.state import saved
from esmm_jax.data.history.state.saved import Saved
from esmm_jax.data.tabular.cells.buckets import shown
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.types import InputError


def base(config: Any) -> Encoder | None:
  """Reads the encoder that a log's options name; None without one.

  Args:
    config: A `TabularConfig`.

  Raises:
    InputError: It is not there, is not the one of the fingerprint, or reads
      other columns.
  """
  run, noted = config.vocabulary_of, config.vocabulary_sha256
  if not run:
    return None
  now = fingerprint(run)
  where = f'dataset.vocabulary_of={run}'
  if noted != now:
    raise InputError(
        f'{where}: its encoder is {now}, but this run began with {noted}; that'
        ' run was trained again. Use another --workdir.'
    )
  encoder = load(run)
  check_inputs(config.inputs, encoder, where)
  return encoder


def history(config: Any) -> Saved | None:
  """Reads the history of the run that a log's options name; None without one.

  Its scaling of numbers and its buckets stay.

  Args:
    config: A `TabularConfig`.

  Raises:
    InputError: The run's history is of other columns.
  """
  run = config.vocabulary_of
  if not run:
    return None
  before = saved.load(_folder(run))
  specs = before.store.reading.specs if before else ()
  if tuple(specs) != tuple(config.specs):
    says = 'no history' if not specs else 'another history'
    raise InputError(
        f'dataset.vocabulary_of={run}: that run has {says}, but dataset.history'
        f' is {config.history!r}; set dataset.history, history_form and'
        ' history_strength as in that run.'
    )
  return before


def new_values(old: Encoder, new: Encoder) -> dict[str, int]:
  """Counts the values that each table has more: table -> number."""
  return {
      f.table: f.vocab_size - old.vocabulary(f.table).size
      for f in new.schema.inputs
  }


def load(run: str) -> Encoder:
  """Reads the encoder of a run.

  Raises:
    InputError: The run has none.
  """
  return Encoder.load(_folder(run))


def fingerprint(run: str) -> str:
  """Hashes the encoder of a run, and the scaling of its history.

  Returns:
    16 hexadecimal digits.

  Raises:
    InputError: The run has none.
  """
  sha256 = load(run).sha256()
  if history := saved.load_fitted(_folder(run)):
    sha256 = hash_json([sha256, history.sha256()])
  return sha256[:16]


def check_inputs(inputs: Sequence[Input], base: Encoder, where: str) -> None:
  """Refuses columns that are read otherwise than by an encoder.

  `min_count` and `max_values` may differ: they choose the new values.

  Args:
    inputs: The columns.
    base: The encoder that is to grow.
    where: Begins the message; names the option and the run.

  Raises:
    InputError: Names the first column that differs.
  """
  names, others = ([c.name for c in cs] for cs in (inputs, base.inputs))
  for name in names:
    if name not in others:
      raise InputError(
          f'{where}: that run has no column {name!r}; its columns are'
          f' {", ".join(others)}. Name the same columns in the same order.'
      )
  for name in others:
    if name not in names:
      raise InputError(
          f'{where}: that run has a column {name!r}, which is not named here.'
          ' Name the same columns in the same order.'
      )
  for c, other in zip(inputs, base.inputs):
    if c.name != other.name:
      raise InputError(
          f'{where}: column {c.name!r} is at the position where that run has'
          f' {other.name!r}. Name the same columns in the same order.'
      )
    if _reads(c) != _reads(other):
      raise InputError(
          f'{where}: column {c.name!r} has the options {_options(c)}, but'
          f' {_options(other)} in that run; write the options of that run.'
      )


def _reads(column: Input) -> tuple:
  """Returns the options of a column that must agree."""
  # Edges that were fitted are those of the other run.
  edges = None if column.buckets else column.edges
  parts = tuple(map(_reads, column.parts))
  bucket = column.columns, column.buckets, edges
  return column.field(), column.scaling, *bucket, parts


def _options(column: Input) -> str:
  """Describes the options of a column that must agree."""
  if column.parts:
    return ' * '.join(map(_options, column.parts))
  if column.buckets:
    return f'buckets={column.buckets} of {column.column}'
  if column.edges is not None:
    return f'edges={"|".join(map(shown, column.edges))} of {column.column}'
  if column.kind == 'float':
    return f'float, scaling={column.scaling}'
  text = f'{column.kind}, table={column.table}'
  if column.kind == 'ids':
    text += f', max_len={column.max_len}, combiner={column.combiner}'
    text += f', target={column.target}' if column.target else ''
    text += ', weights' if column.weights else ', no weights'
  return text


def _folder(run: str) -> str:
  folder = os.path.join(paths.expand(run), FOLDER)
  if not os.path.isdir(folder):
    raise InputError(
        f'dataset.vocabulary_of={run}: there is no {folder}. Name the folder of'
        ' a run on a log of your own (dataset.name=tabular).'
    )
  return folder
