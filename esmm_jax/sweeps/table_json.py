"""A results table as JSON, for the folder of its sweep.

What reads the folder later thus needs no file of Python that the folder names:
a folder may come from somebody else, and reading it runs no code of theirs.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

from esmm_jax.json_files import read_json
from esmm_jax.sweeps.points import run_name
from esmm_jax.sweeps.table import Table
from esmm_jax.sweeps.table_parts import Choice, Column, Front, Paper
from esmm_jax.types import InputError

NAME = 'sweep.json'
_TEXTS = ('title', 'seed', 'note')
_LISTS = ('rows', 'blocks', 'gain_columns', 'test_noise', 'figures')
_LATER = ('overview',)  # Folders of earlier versions lack these lists.
_COLUMNS = ('columns', 'extra_columns')


def dump(table: Table) -> dict[str, Any]:
  """Returns a results table as JSON can hold it."""
  data: dict[str, Any] = {
      name: getattr(table, name) for name in (*_TEXTS, *_LISTS, *_LATER)
  }
  data['points'] = [
      {'name': run_name(point), 'point': point} for point in table.points
  ]
  for name in _COLUMNS:
    data[name] = [dataclasses.asdict(c) for c in getattr(table, name)]
  data['baseline'] = table.baseline and dict(table.baseline)
  data['verdict'] = table.verdict
  data['choice'] = table.choice and dataclasses.asdict(table.choice)
  data['front'] = table.front and table.front._asdict()
  if table.paper:
    values = [[*key, value] for key, value in table.paper.values.items()]
    data['paper'] = {'source': table.paper.source, 'values': values}
  return data


def load(data: Any) -> Table:
  """Returns the results table that `dump` made JSON of.

  Args:
    data: As it was read; of any form, as the file may be anybody's.

  Raises:
    InputError: It is no such table; says what of it.
  """
  data = _mapping('the table', data)
  parts: dict[str, Any] = {n: _typed(n, data.get(n), str) for n in _TEXTS}
  parts |= {n: _texts(n, data.get(n)) for n in _LISTS}
  parts |= {n: _texts(n, data.get(n, [])) for n in _LATER}
  for name in _COLUMNS:
    parts[name] = tuple(_column(c) for c in _list(name, data.get(name)))
  parts['points'] = [_point(p) for p in _list('points', data.get('points'))]
  for name, read in _OPTIONAL.items():
    if data.get(name) is not None:
      parts[name] = read(data[name])
  return Table(**parts)


def read(workdir: str) -> tuple[Table, str]:
  """Reads the results table in the sweep.json of a folder.

  Args:
    workdir: Folder of a sweep.

  Returns:
    The table, and the text that --sweep had, or the command of a laboratory.

  Raises:
    InputError: There is none, as in folders of earlier versions, or the file is
      damaged.
  """
  path = os.path.join(workdir, NAME)
  saved = read_json(path, 'The same sweep command writes it again.')
  if not isinstance(saved, dict) or 'columns' not in saved:
    raise InputError(f'{path} holds no results table.')
  try:
    return load(saved), str(saved.get('sweep', ''))
  except InputError as e:
    raise InputError(f'{path} holds no results table: {e}') from e


def _point(data: Any) -> dict[str, Any]:
  entry = _mapping('points', data)
  point = _values('point', entry.get('point'))
  if not isinstance(point.get('config', ''), str):
    raise InputError(f'config of the point {point} is no text.')
  # Guards the names of folders too: a run's name is made of its point alone.
  if entry.get('name') != run_name(point):
    raise InputError(f'the point {point} is not that of the run beside it.')
  return point


def _column(data: Any) -> Column:
  entry = _mapping('column', data)
  better = entry.get('better')
  return Column(
      _typed('header', entry.get('header'), str),
      _typed('metric', entry.get('metric'), str),
      min(max(_typed('decimals', entry.get('decimals'), int), 0), 20),
      None if better is None else _typed('better', better, str),
  )


def _paper(data: Any) -> Paper:
  entry = _mapping('paper', data)
  values = {}
  for item in _list('paper', entry.get('values')):
    row, metric, value = _of_length(3, 'paper', item)
    if isinstance(value, list):
      value = tuple(_number('paper', v) for v in _of_length(2, 'paper', value))
    else:
      value = _number('paper', value)
    values[_typed('paper', row, str), _typed('paper', metric, str)] = value
  return Paper(_typed('source', entry.get('source'), str), values)


def _choice(data: Any) -> Choice:
  entry = _mapping('choice', data)
  names = ('key', 'metric', 'mode')
  return Choice(*(_typed(n, entry.get(n), str) for n in names))


def _front(data: Any) -> Front:
  entry = _mapping('front', data)
  names = ('series', 'along', 'x', 'y')
  texts = [_typed(n, entry.get(n), str) for n in names]
  return Front(*texts, single=_value('single', entry.get('single')))


def _verdict(data: Any) -> tuple[str, ...]:
  return _texts('verdict', _of_length(2, 'verdict', data))


def _values(name: str, data: Any) -> dict[str, Any]:
  return {k: _value(k, v) for k, v in _mapping(name, data).items()}


def _value(name: str, data: Any) -> Any:
  """Returns the value of a point: a number, a text, None or a tuple of them."""
  if isinstance(data, list):
    return tuple(_value(name, v) for v in data)
  if data is None or isinstance(data, (bool, int, float, str)):
    return data
  raise InputError(f'{name} is {_shown(data)}, which is no value of a point.')


def _texts(name: str, data: Any) -> tuple[str, ...]:
  return tuple(_typed(name, v, str) for v in _list(name, data))


def _number(name: str, data: Any) -> float:
  if isinstance(data, bool) or not isinstance(data, (int, float)):
    raise InputError(f'{name} has {_shown(data)}, which is no number.')
  return data


def _typed(name: str, data: Any, kind: type) -> Any:
  if not isinstance(data, kind) or isinstance(data, bool):
    raise InputError(f'{name} is {_shown(data)}, which is no {kind.__name__}.')
  return data


def _list(name: str, data: Any) -> Sequence[Any]:
  return _typed(name, data, list)


def _mapping(name: str, data: Any) -> Mapping[str, Any]:
  return _typed(name, data, dict)


def _of_length(length: int, name: str, data: Any) -> Sequence[Any]:
  if len(_list(name, data)) != length:
    raise InputError(f'{name} has {_shown(data)}, which are not {length} items')
  return data


def _shown(data: Any) -> str:
  text = repr(data)
  return text if len(text) <= 60 else text[:57] + '...'


# Field of the table -> what reads it, where it is set.
_OPTIONAL: Mapping[str, Callable[[Any], Any]] = {
    'baseline': lambda data: _values('baseline', data),
    'verdict': _verdict,
    'choice': _choice,
    'front': _front,
    'paper': _paper,
}
