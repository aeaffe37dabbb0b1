"""Config keys and results as trackers take them."""

from collections.abc import Mapping
import math
from typing import Any

from esmm_jax import paths

_LENGTH = 500  # Characters of a value that any tracker takes.
_ALONG = ('train/', 'valid/')


def values(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the keys of a config that a tracker gets.

  Keys that are named like a credential are left out; URLs that hold one are
  refused before (`paths.refuse_credentials`).

  >>> from esmm_jax.tracking import contents
  >>> contents.values({'seed': 1, 'mine.api_token': 'x'})
  {'seed': 1}

  Args:
    config: Flat key -> value.
  """
  return {k: v for k, v in config.items() if not paths.is_credential(k)}


def texts(config: Mapping[str, Any]) -> dict[str, str]:
  """Returns the same as short texts."""
  return {key: _short(value) for key, value in values(config).items()}


def final(results: Mapping[str, Any]) -> dict[str, float]:
  """Returns the numbers of results.json.

  Those of the evaluation that was selected get `selected/` before them: their
  own names are those of curves.

  >>> from esmm_jax.tracking import contents
  >>> contents.final({'valid/ctr/auc': .7, 'test/ctr/auc': .6, 'steps': 9})
  {'selected/valid/ctr/auc': 0.7, 'test/ctr/auc': 0.6, 'steps': 9.0}

  Args:
    results: Its content.
  """
  return {
      f'selected/{key}' if key.startswith(_ALONG) else key: float(value)
      for key, value in results.items()
      if is_number(key, value)
  }


def is_number(key: str, value: Any) -> bool:
  """Returns whether a metric is a finite number, and no hash."""
  kind = isinstance(value, (int, float)) and not isinstance(value, bool)
  return kind and math.isfinite(value) and not key.endswith('_hash')


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= _LENGTH else text[: _LENGTH - 3] + '...'
