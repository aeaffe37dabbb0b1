"""Labels of joint events: an event happens only where the one before does.

Logs break that, or leave a later event unknown (null or -1); options of the
dataset section say what such rows become.
"""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.data.values.raw_values import Location
from esmm_jax.tasks import Tasks
from esmm_jax.types import InputError
import numpy as np


class Rules(NamedTuple):
  """Rules for rows that break the order of the events.

  Attributes:
    policy: A later event without the earlier one: `error`, `drop`, `keep` or
      `click` (`store.policies`).
    unknown: A later event that is unknown: `error`; `zero`, 0 where the earlier
      event is 0 and an error where it is 1; `drop`, the same, but rows where
      the earlier event is 1 are left out.
  """

  policy: str = 'error'
  unknown: str = 'error'


def is_unknown(values: np.ndarray) -> np.ndarray:
  """Returns bool [n], where events [n] are -1 or numbers [n] are nan."""
  return np.isnan(values) if values.dtype.kind == 'f' else values == -1


def make_joint(
    values: Mapping[str, np.ndarray],
    tasks: Tasks,
    names: Mapping[str, str],
    rules: Rules,
    location: Location,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Makes labels joint.

  Args:
    values: Label -> int8 [n], 0, 1 or -1 for unknown, or of a regression
      float32 [n] with nan for unknown. Labels without parent are known.
    tasks: The tasks, parents first.
    names: Label -> what it is read from, for messages.
    rules: See there.
    location: Where the rows are, for messages.

  Returns:
    Label -> [n], known, and 0 where that of its parent is; bool [n], the rows
    that are kept.

  Raises:
    InputError: A row is not as the rules allow; names file, row and labels.
  """
  labels = dict(values)
  label_of = {t.name: t.label for t in tasks}
  pairs = [(label_of[t.parent], t.label) for t in tasks if t.parent]
  is_kept = np.ones(len(labels[tasks[0].label]), bool)
  if rules.policy == 'click':
    # A purchase makes the cart 1, which makes the click 1.
    for before, after in pairs[::-1]:
      happened = np.where(is_unknown(labels[after]), 0, labels[after])
      earlier = np.maximum(labels[before], 0)
      joint = apply_conversion_policy(earlier, happened, rules.policy)
      labels[before] = np.where(joint.unclicked, joint.click, labels[before])
  # A click of 0 makes the cart 0, which makes the purchase 0.
  for before, after in pairs:
    pair = names[before], names[after]
    at = lambda bad: location.at(np.flatnonzero(bad)[0])
    unknown = is_unknown(labels[after])
    if unknown.any():
      open_rows = unknown & is_kept & (labels[before] != 0)
      if rules.unknown == 'drop':
        is_kept &= ~open_rows
      else:
        _refuse_unknown(
            unknown & is_kept, open_rows, pair, rules.unknown, location
        )
      zero = labels[after].dtype.type(0)
      labels[after] = np.where(unknown, zero, labels[after])
    joint = apply_conversion_policy(
        labels[before], labels[after], rules.policy
    )
    unclicked = joint.unclicked & is_kept
    if rules.policy == 'error' and unclicked.any():
      value = labels[after][unclicked][0]
      raise InputError(
          f'{at(unclicked)}: {pair[1]!r} is {value:g} and {pair[0]!r} is 0.'
          ' Choose what happens to such rows with'
          ' --config.dataset.conversion_without_click: drop, keep (set the'
          ' later event to 0) or click (set the earlier event to 1).'
      )
    labels[after] = joint.conversion
    is_kept &= joint.is_kept
  return labels, is_kept


def _refuse_unknown(
    unknown: np.ndarray,
    open_rows: np.ndarray,
    pair: tuple[str, str],
    rule: str,
    location: Location,
) -> None:
  """Refuses unknown events, where the rule does."""
  before, after = pair
  if rule == 'error' and unknown.any():
    raise InputError(
        f'{location.at(np.flatnonzero(unknown)[0])}: {after!r} is null or -1,'
        ' so it is not known. Choose what happens to such rows with'
        ' --config.dataset.unknown_conversion: zero (make it 0 where'
        f' {before!r} is 0) or drop (the same, and leave out rows where'
        f' {before!r} is 1).'
    )
  if open_rows.any():
    raise InputError(
        f'{location.at(np.flatnonzero(open_rows)[0])}: {before!r} is 1 and'
        f' {after!r} is null or -1, so it is not known. Give it a value, or'
        ' leave such rows out with --config.dataset.unknown_conversion=drop.'
    )
