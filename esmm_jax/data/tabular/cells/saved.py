"""Inputs as `encoder.json` has them."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from esmm_jax.data.tabular.inputs import Input

# Options that earlier versions lacked; they are left out where they are unset.
_NEW = (
    'separator', 'weights', 'target', 'column', 'buckets', 'edges', 'parts'
)


def options(column: Input) -> dict[str, Any]:
  """Returns an input as JSON has it."""
  fields = {f.name: getattr(column, f.name) for f in dataclasses.fields(column)}
  fields['parts'] = [options(part) for part in column.parts]
  # A number may have no edge at all, where its buckets are one.
  return {
      k: v
      for k, v in fields.items()
      if k not in _NEW or (v is not None if k == 'edges' else v)
  }


def of_options(fields: Mapping[str, Any]) -> Input:
  """Returns the input of `options`.

  Raises:
    TypeError: There is an option that is not known.
  """
  more: dict[str, Any] = {}
  if fields.get('edges') is not None:
    more['edges'] = tuple(map(float, fields['edges']))
  if fields.get('parts'):
    more['parts'] = tuple(map(of_options, fields['parts']))
  return Input(**{**fields, **more})
