"""Specs -> the inputs that they make, in order."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from esmm_jax.data.history import encode
from esmm_jax.data.history.look_up import Visit
from esmm_jax.data.history.specs import Entries, IMPRESSIONS, Session, Spec
from esmm_jax.schema import Field, FIRST_KEPT
from esmm_jax.tasks import Tasks
import numpy as np


class Number(NamedTuple):
  """A number among the columns of a spec.

  Attributes:
    name: Of the column.
    form: See `Counter`.
    is_rate: Without past it has the value of the prior as a float, and is not
      missing.
  """

  name: str
  form: str
  is_rate: bool


class List(NamedTuple):
  """A list of a spec, and those beside it.

  Attributes:
    names: Of the list, the ages and, of a list of all rows, the labels.
    column: Whose table the list shares.
    max_len: Of all of them.
  """

  names: Sequence[str]
  column: str
  max_len: int


def steps(
    specs: Sequence[Spec], tasks: Tasks
) -> Iterator[str | Number | List]:
  """Yields the columns of specs in order; a text names a last label."""
  none = np.zeros(0, np.int64)
  for spec in specs:
    if isinstance(spec, Session):
      for name in encode.session(spec, Visit(none, none, none)):
        yield Number(name, spec.form, False)
    elif isinstance(spec, Entries):
      yield List(encode.list_names(spec), spec.column, spec.last)
    else:
      sums = dict.fromkeys((IMPRESSIONS, *_labels(tasks), *spec.amounts), none)
      for name in encode.counter(spec, sums, sums, tasks):
        yield Number(name, spec.form, True)
      for k in range(spec.last):
        yield f'last_label_{k + 1}_{spec.suffix}'
        yield Number(f'last_age_{k + 1}_{spec.suffix}', spec.form, False)


def _labels(tasks: Tasks) -> list[str]:
  return [rate.label for rate in encode.rates(tasks)]


def list_fields(step: List, column: Field, levels: int) -> list[Field]:
  """Makes the field of a list, and those of its ages and labels."""
  first = Field(
      step.names[0],
      'ids',
      vocab_size=column.vocab_size,
      max_len=step.max_len,
      combiner='mean',
      table=column.table,
  )
  sizes = (encode.AGES + FIRST_KEPT, levels)
  return [first] + [
      Field(name, 'ids', size, step.max_len, combiner='mean')
      for name, size in zip(step.names[1:], sizes)
  ]
