"""Checks estimators that plugins add to `ESTIMATORS`."""

from typing import Any

from esmm_jax.estimators.contract import keys
from esmm_jax.estimators.contract.estimator import Estimator
from esmm_jax.types import InputError


def wrong(value: Any) -> str:
  """Returns what is wrong with an estimator of a plugin, or ''.

  Its options and terms are keys of every config made from then on, so they are
  read when it is added.
  """
  if not isinstance(value, Estimator):
    return f'{value!r} is no Estimator.'
  try:
    keys.option_types({'': value})
    num = len(keys.terms({'': value}))
  except InputError as e:
    return str(e)
  except Exception as e:  # Whatever somebody's code does.
    return (
        f'its options or weights cannot be read: {type(e).__name__}: {e}. Where'
        ' tasks do not suit it, its weights raise an InputError.'
    )
  return '' if num else 'it has no terms for any tasks.'
