"""Policies for rows that convert without the event that must come before.

Labels are of joint events (`esmm_jax.tasks`): a conversion is a click AND a
conversion. Raw logs break that, so each data set has an option that says what
such a row becomes.
"""

from typing import NamedTuple

import numpy as np

# Without `error`: only a reader that knows the row's file and number can raise.
POLICIES = ('drop', 'keep', 'click')


class JointLabels(NamedTuple):
  """Labels that respect the order of the events.

  Attributes:
    click: [n], the label of the earlier event, 0 or 1, in its own dtype.
    conversion: [n], the label of the later event, 1 only where `click` is.
    unclicked: bool [n], rows that had a conversion without click.
    is_kept: bool [n], rows that the policy does not drop.
  """

  click: np.ndarray
  conversion: np.ndarray
  unclicked: np.ndarray
  is_kept: np.ndarray


def apply_conversion_policy(
    click: np.ndarray, conversion: np.ndarray, policy: str
) -> JointLabels:
  """Makes the labels of an earlier and a later event joint.

  Args:
    click: Integers 0 or 1 [n], the earlier event.
    conversion: Integers 0 or 1 [n], the later event, or numbers that are not 0
      where it happened.
    policy: `drop` leaves the rows out, `keep` makes their conversion 0, `click`
      makes their click 1. Any other policy treats them as `keep` does; the
      caller has to look at `unclicked`.

  Returns:
    The labels, and which rows had a conversion without click.
  """
  unclicked = (conversion != 0) & (click == 0)
  is_kept = np.ones(len(click), bool)
  if policy == 'click':
    click = np.where(unclicked, click.dtype.type(1), click)
  else:
    # Dropped rows too: some callers select the rows only afterwards.
    conversion = np.where(unclicked, conversion.dtype.type(0), conversion)
    if policy == 'drop':
      is_kept = ~unclicked
  return JointLabels(click, conversion, unclicked, is_kept)
