"""Sweeps as plain data: the configs to run.

A point describes one run: {'config': 'configs/mmoe.py:kuairand',
'estimator': 'click_space', 'seed': 3}. `config` is the config file and its
variant, every other key one of its keys, as after --config on the command
line. A key that begins with @ is a label for the table: it is neither part of
the run nor of its name.

  points = product(
      chain(
          product(fixed('@model', 'ESMM'), fixed('config', 'configs/esmm.py')),
          product(fixed('@model', 'MMoE'), fixed('config', 'configs/mmoe.py')),
      ),
      sweep('seed', range(10)),
  )

A sweep is a list of points. `configs/tables/*.py` make a results table of them
(`esmm_jax.sweeps.table`).
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import hashlib
import itertools
import json
import os
import re
from typing import Any

from esmm_jax.types import InputError

Point = dict[str, Any]
Sweep = list[Point]

_READABLE = 100  # Characters of a run's name before its hash.
# Keys whose values stay in a longer name, at its end, and characters of each.
_LAST = ('estimator', 'balancing.name', 'balancing.of', 'seed')
_EACH = 22


class _State:
  """State of the process: True where names are those of earlier versions."""

  cut_at_end = False


@contextlib.contextmanager
def naming(cut_at_end: bool) -> Iterator[None]:
  """Names runs, within the block, as a folder has them (`names.as_in`).

  Args:
    cut_at_end: Cuts long names at their end, as earlier versions did.
  """
  before, _State.cut_at_end = _State.cut_at_end, cut_at_end
  try:
    yield
  finally:
    _State.cut_at_end = before


def cuts_at_end() -> bool:
  """Returns whether names are those of earlier versions; see `naming`."""
  return _State.cut_at_end


def sweep(key: str, values: Iterable[Any]) -> Sweep:
  """Makes one point for each value of a key."""
  return _distinct([{key: _plain(key, value)} for value in values])


def fixed(key: str, value: Any) -> Sweep:
  """Makes one point that sets one key."""
  return sweep(key, [value])


def product(*sweeps: Sweep) -> Sweep:
  """Combines each point with each of the others; the last varies fastest."""
  return _distinct([_merged(parts) for parts in itertools.product(*sweeps)])


def zipped(*sweeps: Sweep) -> Sweep:
  """Merges the first points of all sweeps, then the second ones, and so on.

  Raises:
    InputError: They differ in length.
  """
  lengths = [len(s) for s in sweeps]
  if len(set(lengths)) > 1:
    raise InputError(f'zipped: the sweeps have {lengths} points; give as many.')
  return _distinct([_merged(parts) for parts in zip(*sweeps)])


def chain(*sweeps: Sweep) -> Sweep:
  """Concatenates sweeps."""
  return _distinct(list(itertools.chain(*sweeps)))


def settings(point: Mapping[str, Any]) -> Point:
  """Returns the point without its labels: the settings of the run."""
  return {k: v for k, v in point.items() if not k.startswith('@')}


def run_name(point: Mapping[str, Any]) -> str:
  """Returns a readable folder name that depends on a run's settings alone.

  Config, then the values by key, then 8 hexadecimal digits of the sha256 of the
  settings: mmoe-kuairand-estimator=click_space-seed=3-1a2b3c4d. The order of
  the point does not count. Letters, digits and the characters `_-=.+` only.
  Of a long name the middle is cut out: estimator, method of balancing, the run
  that is replayed and the seed stand at its end.
  """
  run = settings(point)
  keys = sorted(run.keys() - {'config'})
  parts = {key: _part(key, run[key]) for key in keys}
  readable = '-'.join([*_head(run), *parts.values()])
  if len(readable) > _READABLE and not _State.cut_at_end:
    last = ''.join(f'-{_short(k, parts.pop(k))}' for k in _LAST if k in parts)
    first = '-'.join([*_head(run), *parts.values()])
    # Shorter by one than those that earlier versions cut.
    readable = first[: _READABLE - 1 - len(last)] + last
  digest = hashlib.sha256(_canonical(run).encode()).hexdigest()[:8]
  return f'{_plain_name(readable)[:_READABLE]}-{digest}'


def _head(run: Mapping[str, Any]) -> list[str]:
  """Returns the name of the config file and its variant."""
  file, _, variant = str(run.get('config', '')).partition(':')
  stem = os.path.basename(file).removesuffix('.py')
  return [p for p in (stem, variant) if p]


def _part(key: str, value: Any) -> str:
  text = 'x'.join(map(str, value)) if isinstance(value, tuple) else value
  return f'{key.split(".")[-1]}={text}'


def _short(key: str, part: str) -> str:
  """Cuts a part; of the name of another run the end stays, as here."""
  if key == 'balancing.of' and len(part) > _EACH:
    return 'of=' + part[3 - _EACH :]
  return part[:_EACH]


def _plain_name(text: str) -> str:
  return re.sub(r'[^A-Za-z0-9_=.+-]', '_', text)


def runs(points: Iterable[Point]) -> dict[str, Point]:
  """Returns run name -> settings; labels alone make no other run.

  Raises:
    InputError: Two runs have the same name.
  """
  by_name: dict[str, Point] = {}
  for point in points:
    run = settings(point)
    other = by_name.setdefault(run_name(point), run)
    if _canonical(other) != _canonical(run):
      raise InputError(
          f'Two runs have the name {run_name(point)}: {other} and {run}.'
          ' Change a value of one of them.'
      )
  return by_name


def _plain(key: str, value: Any) -> Any:
  """Returns the value with lists as tuples.

  Raises:
    InputError: A config cannot hold the value.
  """
  if isinstance(value, (list, tuple)):
    return tuple(_plain(key, v) for v in value)
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise InputError(
      f'{key} is {value!r}; a point holds numbers, texts, None and tuples of'
      ' them.'
  )


def _merged(parts: Iterable[Point]) -> Point:
  """Merges points; refuses a key that two of them set."""
  merged: Point = {}
  for part in parts:
    if both := sorted(merged.keys() & part.keys()):
      raise InputError(f'{both[0]!r} is set twice: {merged} and {part}.')
    merged |= part
  return merged


def _canonical(point: Mapping[str, Any]) -> str:
  """Returns a text that is the same for equal points, in any key order."""
  return json.dumps(point, sort_keys=True, separators=(',', ':'))


def _distinct(points: Sweep) -> Sweep:
  """Returns the points; refuses one that occurs twice."""
  seen = set()
  for point in map(_canonical, points):
    if point in seen:
      raise InputError(f'The point {point} is there twice.')
    seen.add(point)
  return points
