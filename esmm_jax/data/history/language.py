"""The language of `dataset.history`: columns of the past, with commas between.

    user                        rates and counts of the user, of earlier days
    user:delay=10m:last=3       of rows that are 10 minutes old; and the last 3
    user+tab:delay=1h           of rows with the same user and the same tab
    video:window=7d             of the last 7 days only
    video:half_life=2d          older rows count less
    user:amounts=clicks+watched the click rate, and the mean of a number
    session=user:pause=30m      position and times inside a session; no labels
    list=item:by=user:last=20:of=click:delay=1m      the last 20 clicked items

Names with a comma, colon or plus stand in quotes, as in the other options.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from esmm_jax.data.csv_files.quoted_names import colon_hint, split, unquote
from esmm_jax.data.history import spans
from esmm_jax.data.history.specs import Counter, DAY, Entries, FORMS
from esmm_jax.data.history.specs import IMPRESSIONS, names, Session, Spec
from esmm_jax.options import check_choice, check_number, POSITIVE, Range
from esmm_jax.types import InputError, suggest

_LAST, _LIST = Range(0, 100), Range(1, 1000)
_STRENGTH = Range(1e-6, POSITIVE.high)
_BEFORE_NAMES = '=+'  # Behind them a name may stand in quotes.
# Amount as people say it -> the label.
_PLURALS = {'clicks': 'click', 'carts': 'cart', 'conversions': 'conversion'}


def parse(
    text: str,
    labels: Sequence[str] = ('click', 'conversion'),
    form: str = 'both',
    strength: float = 20.0,
) -> tuple[Spec, ...]:
  """Parses `dataset.history`.

  Args:
    text: See the module.
    labels: The binary labels of the log, earlier events first.
    form: Of the specs that have none of their own.
    strength: The same.

  Raises:
    InputError: Names the part that is not possible.
  """
  try:
    parts = split(text, ',', _BEFORE_NAMES)
  except InputError as e:
    raise InputError(f'dataset.history: {e}') from e
  if text and not parts:
    raise InputError(
        f'dataset.history: {text!r} names no key; write one, {"user"!r} say, or'
        ' leave it empty.'
    )
  specs: list[Spec] = []
  for part in parts:
    try:
      spec = _parse(part, tuple(labels), form, strength)
    except InputError as e:
      raise InputError(f'dataset.history: {part!r}: {e}') from e
    specs.append(spec)
    _refuse_twins(specs, part, tuple(labels))
  return tuple(specs)


def _refuse_twins(
    specs: Sequence[Spec], part: str, labels: tuple[str, ...]
) -> None:
  """Refuses the last spec if an earlier one makes a column of its own."""
  *others, spec = specs
  columns = set(_names(spec, labels))
  for other in others:
    twice = columns.intersection(_names(other, labels))
    if twice or _plain(other) == _plain(spec):
      # A rate has the name of its task, which is not known here.
      rates = tuple(f'past_{label}_' for label in labels)
      twice = {name for name in twice if not name.startswith(rates)}
      name = f', {min(twice)!r}' if twice else ''
      raise InputError(
          f'dataset.history: {part!r} makes columns that an earlier part makes'
          f' too{name}; write both as one, or with another delay or key.'
      )


def _names(spec: Spec, labels: tuple[str, ...]) -> list[str]:
  """Lists columns of a spec, those of rates by the names of the labels."""
  sums = []
  for name in getattr(spec, 'amounts', ()):
    is_number = name not in (IMPRESSIONS, *labels)
    plain = 'count' if name == IMPRESSIONS else name
    sums.append(f'mean_{name}' if is_number else plain)
  return names(spec, sums)


def _plain(spec: Spec) -> tuple[Any, ...]:
  """Returns all that tells columns apart: 60s is 1m, 24h is no calendar day."""
  spans_of = [
      (span.ns, span.days) if span else None
      for name in ('delay', 'window', 'half_life', 'pause')
      for span in [getattr(spec, name, None)]
  ]
  names_of = [getattr(spec, name, '') for name in ('key', 'column', 'only')]
  return (type(spec), *names_of, *spans_of)


def _parse(
    part: str, labels: tuple[str, ...], form: str, strength: float
) -> Spec:
  first, *rest = split(part, ':', _BEFORE_NAMES)
  pairs = _pairs(first, rest)
  kinds = {'session': _session, 'list': _entries}
  head, equals, value = first.partition('=')
  if equals and head.strip() in kinds:
    return kinds[head.strip()](value, pairs, labels, form)
  if equals and first[0] not in '"\'':
    raise InputError(
        f'{first!r} is no key. {suggest(head.strip(), kinds)} A column whose'
        ' name has an equals sign stands in quotes.'
    )
  return _counter(first, pairs, labels, form, strength)


def _counter(
    key: str,
    pairs: dict[str, str],
    labels: tuple[str, ...],
    form: str,
    strength: float,
) -> Counter:
  allowed = [f.name for f in dataclasses.fields(Counter) if f.name != 'key']
  _refuse_others(pairs, allowed)
  options: dict[str, Any] = {'form': form, 'strength': strength}
  for name in ('delay', 'window', 'half_life'):
    if name in pairs:
      options[name] = spans.parse(pairs[name])
  if 'last' in pairs:
    options['last'] = _number(pairs['last'], 'last', int, _LAST)
  if 'strength' in pairs:
    strength = _number(pairs['strength'], 'strength', float, _STRENGTH)
    options['strength'] = strength
  if 'form' in pairs:
    options['form'] = pairs['form']
  check_choice('form', options['form'], FORMS)
  options['amounts'] = _amounts(pairs.get('amounts', ''), labels)
  counter = Counter(_key(key), **options)
  if counter.window and counter.half_life:
    raise InputError('window and half_life are both set; choose one.')
  if not counter.amounts and not counter.last:
    raise InputError('amounts=none and last=0 leave nothing; leave it out.')
  days = counter.delay.days
  if days and counter.window and not counter.window.days:
    raise InputError(
        f'delay={counter.delay} is by day; the window must be whole days too.'
    )
  return counter


def _amounts(text: str, labels: tuple[str, ...]) -> tuple[str, ...]:
  if not text:
    return (IMPRESSIONS, *labels)
  if text == 'none':
    return ()
  # A column of numbers that is called `clicks` stands in quotes.
  amounts = [
      _PLURALS[n] if _PLURALS.get(n) in labels else unquote(n)
      for n in _joined(text, 'amounts')
  ]
  for name in amounts:
    if amounts.count(name) > 1:
      raise InputError(f'amounts names {name!r} twice; write it once.')
  return tuple(amounts)


def _joined(text: str, what: str) -> list[str]:
  """Splits names with a plus between, each with its quotes."""
  parts = split(text, '+')
  if not parts or ''.join(text.split()) != ''.join('+'.join(parts).split()):
    raise InputError(
        f'{text!r} lacks a name in the {what}; write one on each side of a +.'
    )
  return parts


def _session(
    key: str, pairs: dict[str, str], labels: tuple[str, ...], form: str
) -> Session:
  del labels
  _refuse_others(pairs, ['pause', 'form'])
  form = pairs.get('form', form)
  check_choice('form', form, FORMS)
  return Session(_key(key), spans.parse(pairs.get('pause', '30m')), form)


def _entries(
    column: str, pairs: dict[str, str], labels: tuple[str, ...], form: str
) -> Entries:
  del form
  _refuse_others(pairs, ['by', 'delay', 'last', 'of'])
  if 'by' not in pairs:
    raise InputError('the list has no key; write by=user, say.')
  only = pairs.get('of', 'all')
  if only != 'all':
    only = _PLURALS[only] if _PLURALS.get(only) in labels else only
    check_choice('of', only, ('all', *labels))
  _check_name(unquote(column))
  return Entries(
      unquote(column),
      _key(pairs['by']),
      spans.parse(pairs['delay']) if 'delay' in pairs else DAY,
      _number(pairs.get('last', '20'), 'last', int, _LIST),
      '' if only == 'all' else only,
  )


def _key(text: str) -> tuple[str, ...]:
  key = tuple(unquote(name) for name in _joined(text, 'key'))
  for name in key:
    if key.count(name) > 1:
      raise InputError(f'the key names {name!r} twice; write it once.')
    _check_name(name)
  return key


def _check_name(name: str) -> None:
  """Refuses names of which no column can be made."""
  if not name:
    raise InputError('the name of a column is empty; write one.')
  if '/' in name:
    raise InputError(
        f'column {name!r} has a / in its name, which a name of a column of the'
        ' history cannot have; rename it.'
    )


def _pairs(first: str, rest: Sequence[str]) -> dict[str, str]:
  pairs: dict[str, str] = {}
  for text in rest:
    key, equals, value = text.partition('=')
    if not equals or not value.strip() or not key.strip():
      raise InputError(
          f'{text!r} is no option; write KEY=VALUE{colon_hint(first, text)}.'
      )
    if key.strip() in pairs:
      raise InputError(f'{key.strip()!r} is set twice; set it once.')
    pairs[key.strip()] = value.strip()
  return pairs


def _refuse_others(pairs: dict[str, str], allowed: Sequence[str]) -> None:
  for key in pairs:
    if key not in allowed:
      raise InputError(f'{key!r} is no option here. {suggest(key, allowed)}')


def _number(text: str, key: str, kind: type, allowed: Range) -> Any:
  try:
    value = kind(text)
  except ValueError as e:
    word = 'whole number' if kind is int else 'number'
    raise InputError(f'{key} is {text!r}, which is no {word}.') from e
  check_number(key, value, allowed)
  return value
