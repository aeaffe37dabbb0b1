"""Flags of a seesaw laboratory: losses, scores, ratios, methods."""

import ast
from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

from esmm_jax.tasks import spaces, Tasks
from esmm_jax.types import InputError, suggest

SECTION = 'balancing.'


class Arm(NamedTuple):
  """A method of balancing with its options.

  Attributes:
    label: As the page shows it.
    settings: Keys of the config.
  """

  label: str
  settings: Mapping[str, Any]


def pair(weights: Mapping[str, float], tasks: Tasks, named: str = ''):
  """Returns the two losses that are weighed against each other.

  Without names they are the first and the last one that is trained and is of a
  label: click and purchase of three.

  >>> from esmm_jax.sweeps.seesaw_flags import pair
  >>> from esmm_jax.tasks import FUNNEL
  >>> pair({'ctr': 1.0, 'cvr_clicked': 0.0, 'ctcvr': 1.0}, FUNNEL)
  ('ctr', 'ctcvr')

  Args:
    weights: Loss -> weight, of the run.
    tasks: Its tasks.
    named: Two losses, with a comma between; or ''.

  Raises:
    InputError: There are no two such losses.
  """
  trained = [term for term, weight in weights.items() if weight > 0]
  if not named:
    labelled = [t for t in trained if _own_space(t, tasks)]
    if len(labelled) < 2:
      raise InputError(
          'a seesaw needs two losses, but this config trains'
          f' {", ".join(trained)}. Name two of them with --tasks, and --scores,'
          ' or add a label to the data.'
      )
    return labelled[0], labelled[-1]
  names = _two('tasks', named)
  for name in names:
    if name not in weights:
      raise InputError(
          f'--tasks={named}: this config has no loss {name!r}.'
          f' {suggest(name, weights)}'
      )
    if name not in trained:
      raise InputError(
          f'--tasks={named}: loss_weights.{name} is 0, so it is not trained;'
          f' set it, or name two of {", ".join(trained)}.'
      )
  return names


def score_spaces(
    terms: Sequence[str], tasks: Tasks, choices: Sequence[str], named: str = ''
) -> tuple[str, str]:
  """Returns the spaces whose AUC are the scores of two losses.

  A loss is scored by what its task adds: that of CTCVR by CVR on clicked rows,
  for the AUC of CTCVR rises with that of CTR.

  >>> from esmm_jax.sweeps.seesaw_flags import score_spaces
  >>> from esmm_jax.tasks import FUNNEL
  >>> score_spaces(('ctr', 'ctcvr'), FUNNEL, ('ctr', 'cvr_clicked', 'ctcvr'))
  ('ctr', 'cvr_clicked')

  Args:
    terms: The two losses.
    tasks: The run's tasks.
    choices: Spaces that have an AUC.
    named: Two spaces, with a comma between; or ''.

  Raises:
    InputError: There is no such space, or both are the same.
  """
  if named:
    chosen = _two('scores', named)
    for space in chosen:
      if space not in choices:
        raise InputError(
            f'--scores={named}: there is no AUC of {space!r}.'
            f' {suggest(space, choices)}'
        )
    return chosen
  chosen = [_own_space(term, tasks) for term in terms]
  for term, space in zip(terms, chosen):
    if space not in choices:
      raise InputError(
          f'the loss {term} has no AUC of its own; name the two scores to'
          f' compare with --scores, from {", ".join(choices)}.'
      )
  if chosen[0] == chosen[1]:
    raise InputError(
        f'{terms[0]} and {terms[1]} are both scored by {chosen[0]}; name other'
        f' losses with --tasks, or two of {", ".join(choices)} with --scores.'
    )
  return chosen[0], chosen[1]


def _own_space(term: str, tasks: Tasks) -> str:
  """Returns the space in which a loss's task is scored; '' of other losses."""
  by_key = {s.key: s for s in spaces(tasks)}
  by_joint = {t.joint: t for t in tasks}
  by_name = {t.name: t for t in tasks}
  task = by_joint.get(term) or by_name.get(term.removesuffix('_entire'))
  if task is not None and task.kind == 'binary':
    parent = by_name.get(task.parent)
    return f'{task.name}_{parent.past}' if parent else task.joint
  if term in by_key and by_key[term].kind == 'binary':
    return term
  return ''


def _two(flag: str, text: str) -> tuple[str, str]:
  names = [name.strip() for name in text.split(',')]
  if len(names) != 2 or len(set(names)) != 2 or '' in names:
    raise InputError(f'--{flag}={text}: name two, with a comma between.')
  return names[0], names[1]


def arms(text: str, names: Sequence[str]) -> tuple[Arm, ...]:
  """Reads methods with their options.

  >>> from esmm_jax.sweeps.seesaw_flags import arms
  >>> _, arm = arms('pcgrad,cagrad:c=.2', ['pcgrad', 'cagrad'])
  >>> arm.label, arm.settings
  ('cagrad c=.2', {'balancing.name': 'cagrad', 'balancing.c': 0.2})

  Args:
    text: Names with commas between, each with options: 'cagrad:c=.2'; 'all'
      names all of them.
    names: The methods that there are.

  Raises:
    InputError: There is no such method, it is there twice, or an option has no
      value.
  """
  if text == 'all':
    text = ','.join(names)
  made: dict[str, Arm] = {}
  for item in filter(None, text.split(',')):
    name, *options = (part.strip() for part in item.split(':'))
    if name not in names:
      raise InputError(
          f'--methods: there is no method {name!r}. {suggest(name, names)}'
      )
    settings: dict[str, Any] = {f'{SECTION}name': name}
    for option in options:
      key, equals, value = option.partition('=')
      if not (key and equals and value):
        raise InputError(
            f'--methods: {item!r} has the option {option!r}; write NAME=VALUE,'
            ' as in cagrad:c=.2.'
        )
      settings[SECTION + key] = _literal(value)
    label = ' '.join([name, *options])
    if label in made:
      raise InputError(f'--methods: {label} is there twice.')
    made[label] = Arm(label, settings)
  return tuple(made.values())


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def ratios(text: str) -> tuple[float, ...]:
  """Reads weights of the first loss over the second.

  Raises:
    InputError: One is no positive number, one is there twice, or there are
      fewer than two.
  """
  try:
    values = [float(word) for word in text.split(',')]
  except ValueError as e:
    raise InputError(f'--ratios={text}: {e}. Write numbers, as .25,1,4.') from e
  if (
      len(values) < 2
      or len(set(values)) < len(values)
      or not all(0 < v < math.inf for v in values)
  ):
    raise InputError(
        f'--ratios={text}: give two positive numbers or more, all different.'
    )
  return tuple(sorted(values))
