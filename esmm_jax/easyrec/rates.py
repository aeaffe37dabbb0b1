"""Converts a learning rate with its decay to `learning_rate` and `schedule`."""

import math
from typing import Any

from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.options import COUNT, POSITIVE

_FORMS = (
    'constant_learning_rate', 'exponential_decay_learning_rate',
    'cosine_decay_learning_rate', 'poly_decay_learning_rate',
    'manual_step_learning_rate', 'transformer_learning_rate',
)
_RATE = 0.002  # Of every form whose rate has a default.


def rate(message: Message, steps: int, notes: Notes) -> dict[str, Any]:
  """Converts a message LearningRate.

  Args:
    message: Holds one of the forms.
    steps: Steps of the run there; 0 if it is not known.
    notes: Gets what is not carried over.
  """
  form = message.first(_FORMS)
  if not form:
    notes.add(
        message.line, 'learning_rate', f'is not there; {_RATE} is taken')
    return {'learning_rate': _RATE}
  options = message.message(form)
  if form == 'constant_learning_rate':
    first = options.get('learning_rate', _RATE, POSITIVE)
    return {'learning_rate': float(first)}
  if form == 'exponential_decay_learning_rate':
    return _exponential(options, steps, notes)
  if form == 'cosine_decay_learning_rate':
    return _cosine(options, steps, notes)
  if form == 'transformer_learning_rate':
    warmup = options.get('warmup_steps', 1)
    peak = float(options.get('learning_rate_base', 1.0, POSITIVE)) / math.sqrt(
        max(warmup, 1) * options.get('hidden_size', 1, COUNT))
    notes.add(
        options.line, form,
        f'is none of ours; its peak {peak:.3g}, after {warmup} steps, stays')
    return {'learning_rate': peak, 'schedule.warmup_steps': warmup}
  first = options.get('initial_learning_rate', _RATE, POSITIVE)
  first = float(options.get('learning_rate_base', first, POSITIVE))
  notes.add(
      options.line, form,
      f'is none of ours; the learning rate stays {first:g}.'
      " schedule.name='cosine' lets it fall")
  for field in options.fields:
    field.used = True
  return {'learning_rate': first}


def _exponential(
    options: Message, steps: int, notes: Notes
) -> dict[str, Any]:
  """Converts a rate that falls by a factor every so many steps."""
  first = float(options.get('initial_learning_rate', _RATE, POSITIVE))
  factor = float(options.get('decay_factor', 0.95))
  every = max(options.get('decay_steps', 4_000_000), 1)
  least = options.get('min_learning_rate', 0.0)
  staircase = options.get('staircase', True)
  warmup = options.get('burnin_steps', 0)
  start = float(options.get('burnin_learning_rate', 0.0))
  # There 0, the default, is no rise at all: the first rate from the beginning.
  rises = options.get('rises', False) or start > 0
  converted: dict[str, Any] = {'learning_rate': first}
  if warmup and rises:
    converted['schedule.warmup_steps'] = warmup
    if start > 0:
      notes.add(
          options.line, 'burnin_learning_rate',
          f'the rise begins at {start:g} there, near 0 here')
  if not steps:
    notes.add(
        options.line, 'decay_steps',
        'without num_steps it is not known how far it decays; the learning'
        ' rate is constant')
    return converted
  decays = max(steps - warmup, 0) / every
  # An exponential never reaches 0.
  floor = max(least / first if first else 0.0, 1e-12)
  end = max(_power(factor, math.floor(decays) if staircase else decays), floor)
  if end >= 1 and decays >= 1e-2 and staircase:
    notes.add(
        options.line, 'decay_steps',
        f'the run of {steps} steps ends before the first step down, at {every}')
  if end > 1:
    notes.add(
        options.line, 'decay_factor',
        f'{factor:g} lets the rate grow there; here it is constant')
  if end < 1:
    smooth = max(_power(factor, decays), floor)
    converted |= {'schedule.name': 'exponential', 'schedule.end_factor': smooth}
    how = 'decays smoothly,' if staircase else 'decays'
    notes.add(
        options.line, 'exponential_decay_learning_rate',
        f'{how} to {smooth:.3g} of it at the last step of the run, as after'
        f' {steps} steps there')
  return converted


def _power(factor: float, times: float) -> float:
  """Returns factor**times; infinity where that is no number of float64."""
  try:
    return factor**times
  except OverflowError:
    return math.inf


def _cosine(options: Message, steps: int, notes: Notes) -> dict[str, Any]:
  """Converts a rate that falls along a cosine to 0."""
  first = float(options.get('learning_rate_base', _RATE, POSITIVE))
  total = options.get('total_steps', 4_000_000)
  warmup = options.get('warmup_steps', 10_000)
  start = float(options.get('warmup_learning_rate', 0.0002))
  hold = options.get('hold_base_rate_steps', 0)
  converted: dict[str, Any] = {'learning_rate': first}
  if warmup:
    converted['schedule.warmup_steps'] = warmup
    notes.add(
        options.line, 'warmup_learning_rate',
        f'the rise of {warmup} steps begins at {start:g} there, near 0 here')
  if not steps:
    notes.add(
        options.line, 'total_steps',
        'without num_steps it is not known how far it decays; the learning'
        ' rate is constant')
    return converted
  share = (steps - warmup - hold) / max(total - warmup - hold, 1)
  end = 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
  if end >= 1:
    return converted
  if share < 1 or hold:
    notes.add(
        options.line, 'total_steps',
        f'the cosine falls to {end:.3g} at the last step of the run, where it'
        f' stands there after {steps} of {total} steps')
  return converted | {'schedule.name': 'cosine', 'schedule.end_factor': end}
