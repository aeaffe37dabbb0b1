"""The inputs of a log: its columns, and what is made of them."""

from collections.abc import Mapping, Sequence
import dataclasses

from esmm_jax.data.tabular.cells.buckets import SUFFIX
from esmm_jax.data.tabular.inputs import CROSSES, Input, KINDS, parse_inputs
from esmm_jax.types import InputError


def parse_all(texts: Mapping[str, str], min_count: int) -> list[Input]:
  """Parses the inputs of a log.

  Args:
    texts: `id`, `ids`, `float` and `crosses` -> its text.
    min_count: Of the columns that have none of their own.

  Raises:
    InputError: Names the column and the option that is not possible.
  """
  inputs = [
      c for kind in KINDS for c in parse_inputs(kind, texts[kind], min_count)
  ]
  crosses = parse_inputs(CROSSES, texts[CROSSES], min_count)
  return inputs + [_resolved(cross, inputs) for cross in crosses]


def _resolved(cross: Input, inputs: Sequence[Input]) -> Input:
  """Returns a cross whose parts are buckets where they have such names."""
  by_name = {c.name: c for c in inputs}
  numbers = {c.columns[0] for c in inputs if c.kind == 'float' or c.is_bucket}
  parts = []
  for part in cross.parts:
    c = by_name.get(part.name, part)
    where = f'dataset.{CROSSES}: {"*".join(p.name for p in cross.parts)!r}'
    if c.kind == 'ids':
      raise InputError(
          f'{where}: {c.name!r} is a list, of which a row has several values;'
          ' a cross is of two columns of one value.'
      )
    if c.name in numbers:
      raise InputError(
          f'{where}: {c.name!r} is a number; write'
          f' dataset.id={c.name}:buckets=10 and cross {c.name}{SUFFIX}.'
      )
    parts.append(c if c.is_bucket else part)
  return dataclasses.replace(cross, parts=tuple(parts))
