"""Sweeps as plain data: which configs to run, and the table they make.

A point says what one run is: {'config': 'configs/mmoe.py:kuairand',
'estimator': 'click_space', 'seed': 3}. `config` is the config file and its
variant, every other key one of its keys, as behind --config on the command
line. A key that begins with @ is a label for the table: it is neither part of
the run nor of its name.

  points = product(
      chain(
          product(fixed('@model', 'ESMM'), fixed('config', 'configs/esmm.py')),
          product(fixed('@model', 'MMoE'), fixed('config', 'configs/mmoe.py')),
      ),
      sweep('seed', range(10)),
  )

A sweep is a list of points. `configs/tables/*.py` make a `Table` of them.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import itertools
import json
import os
import re
from typing import Any, NamedTuple

from esmm_jax.types import InputError

Point = dict[str, Any]
Sweep = list[Point]

# Metrics whose standard error over test rows is known: `esmm_jax.test_noise`.
TEST_NOISE = tuple(
    f'test/{space}/auc'
    for space in ('ctr', 'cvr_clicked', 'ctcvr', 'ctcvr_common')
)
# Pictures that a table can have: `esmm_jax.figures`.
FIGURES = ('fronts', 'training_size', 'cvr_by_ctr_decile')
_READABLE = 100  # Characters of a run's name before its hash.


def sweep(key: str, values: Iterable[Any]) -> Sweep:
  """One point for each value of a key."""
  return _distinct([{key: _plain(key, value)} for value in values])


def fixed(key: str, value: Any) -> Sweep:
  """One point that sets one key."""
  return sweep(key, [value])


def product(*sweeps: Sweep) -> Sweep:
  """Every combination of a point from each sweep; the last varies fastest."""
  return _distinct([_merged(parts) for parts in itertools.product(*sweeps)])


def zipped(*sweeps: Sweep) -> Sweep:
  """The first points of all sweeps together, then the second ones, and so on.

  Raises:
    InputError: They differ in length.
  """
  lengths = [len(s) for s in sweeps]
  if len(set(lengths)) > 1:
    raise InputError(f'zipped: the sweeps have {lengths} points; give as many.')
  return _distinct([_merged(parts) for parts in zip(*sweeps)])


def chain(*sweeps: Sweep) -> Sweep:
  """The points of all sweeps, one sweep after the other."""
  return _distinct(list(itertools.chain(*sweeps)))


def settings(point: Mapping[str, Any]) -> Point:
  """The point without its labels: all that makes the run."""
  return {k: v for k, v in point.items() if not k.startswith('@')}


def run_name(point: Mapping[str, Any]) -> str:
  """The folder name of a point's run, readable and of its settings alone.

  Config, then the values by key, then 8 hexadecimal digits of the sha256 of the
  settings: mmoe-kuairand-estimator=click_space-seed=3-1a2b3c4d. The order of
  the point does not count. Letters, digits and the characters `_-=.+` only.
  """
  run = settings(point)
  file, _, variant = str(run.get('config', '')).partition(':')
  stem = os.path.basename(file).removesuffix('.py')
  parts = [p for p in (stem, variant) if p]
  for key, value in sorted(run.items()):
    if key != 'config':
      text = 'x'.join(map(str, value)) if isinstance(value, tuple) else value
      parts.append(f'{key.split(".")[-1]}={text}')
  readable = re.sub(r'[^A-Za-z0-9_=.+-]', '_', '-'.join(parts))[:_READABLE]
  digest = hashlib.sha256(_canonical(run).encode()).hexdigest()[:8]
  return f'{readable}-{digest}'


def runs(points: Iterable[Point]) -> dict[str, Point]:
  """Run name -> settings; points that differ in labels alone share a run.

  Raises:
    InputError: Two runs have one name.
  """
  found: dict[str, Point] = {}
  for point in points:
    run = settings(point)
    other = found.setdefault(run_name(point), run)
    if _canonical(other) != _canonical(run):
      raise InputError(
          f'Two runs have the name {run_name(point)}: {other} and {run}.'
          ' Change a value of one of them.'
      )
  return found


class Column(NamedTuple):
  """A column of a table.

  Attributes:
    header: What stands above it.
    metric: Key of results.json.
    decimals: Digits behind the point.
    better: 'higher', 'lower', or None where neither is.
  """

  header: str
  metric: str
  decimals: int = 4
  better: str | None = 'higher'


class Paper(NamedTuple):
  """Published numbers that stand beside ours.

  Attributes:
    source: Paper, table and data.
    values: (row, metric) -> number or (mean, standard deviation), in the unit
      of our metric. A row's name is the values of its keys, joined by ', '.
  """

  source: str
  values: Mapping[tuple[str, str], float | tuple[float, float]]


class Choice(NamedTuple):
  """A value that each row chooses for itself, on the validation split.

  Attributes:
    key: Key of the points whose values are the candidates; a point without it
      has None.
    metric: Key of results.json that begins with 'valid/'. The value with the
      best mean over the seeds that all of the row's values have is taken, the
      first of equal ones.
    mode: 'max' or 'min', which mean is the best.
  """

  key: str
  metric: str
  mode: str = 'max'


class Front(NamedTuple):
  """Rows that are the points of curves in the plane of two metrics.

  Attributes:
    series: Key of the rows that names the curve.
    along: Key of the rows that orders its points, the weight of a loss say.
    x: Metric, one of the columns; higher is better.
    y: Likewise.
    single: Value of `series` of the reference, one row a block; its `along` is
      None.
  """

  series: str
  along: str
  x: str
  y: str
  single: Any


@dataclasses.dataclass(frozen=True)
class Table:
  """Which runs a table is made of, and how.

  Attributes:
    title: Its heading.
    points: The runs. One row holds the points that agree in `rows` and
      `blocks`; they differ in `seed`, and in the key of `choice`.
    columns: Shown as mean and standard deviation over seeds. A column that no
      run of a block has is left out there.
    rows: Keys of the points that name a row.
    blocks: Keys of the points; each combination of their values is a table of
      its own.
    seed: Key that numbers the repetitions of a row.
    baseline: Keys and values of the row that gains are measured against. A key
      of `rows` or `blocks` that is not named is as in the row itself, so that
      {'@model': 'single_task'} is the single task in the same block. None: no
      gains.
    gain_columns: Metrics, each one of `columns`, that get a gain: the
      difference to the baseline's run of the same seed.
    extra_columns: Facts shown as their mean alone.
    paper: Published numbers, if there are.
    note: What a reader has to know; stands under the title.
    choice: What each row chooses on the validation split, if anything.
    test_noise: Those of `gain_columns` whose gain gets a standard error of the
      test rows too; each one of `TEST_NOISE`.
    verdict: Two of `gain_columns`, CTR and CVR AUC say: whether one task gains
      while the other one loses.
    front: The curves that the rows make, if they do.
    figures: Each one of `FIGURES`.
  """

  title: str
  points: Sweep
  columns: tuple[Column, ...]
  rows: tuple[str, ...]
  blocks: tuple[str, ...] = ()
  seed: str = 'seed'
  baseline: Mapping[str, Any] | None = None
  gain_columns: tuple[str, ...] = ()
  extra_columns: tuple[Column, ...] = ()
  paper: Paper | None = None
  note: str = ''
  choice: Choice | None = None
  test_noise: tuple[str, ...] = ()
  verdict: tuple[str, str] | None = None
  front: Front | None = None
  figures: tuple[str, ...] = ()

  def __post_init__(self):
    from esmm_jax import table_checks  # It knows this module.

    table_checks.check(self)

  def cell(self, point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What a point is in the table: its row, block and seed."""
    return tuple(
        (k, point[k]) for k in (*self.blocks, *self.rows, self.seed)
    )

  def candidate(self, point: Mapping[str, Any]) -> Any:
    """The point's value of what the row chooses; None without a choice."""
    return point.get(self.choice.key) if self.choice else None

  def baseline_cell(
      self, point: Mapping[str, Any]
  ) -> tuple[tuple[str, Any], ...]:
    """The same of the point that `point` is compared with."""
    return self.cell({**point, **(self.baseline or {})})


def _plain(key: str, value: Any) -> Any:
  """The value, lists as tuples.

  Raises:
    InputError: It is not one that a config can hold.
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
  merged: Point = {}
  for part in parts:
    if both := sorted(merged.keys() & part.keys()):
      raise InputError(f'{both[0]!r} is set twice: {merged} and {part}.')
    merged |= part
  return merged


def _canonical(point: Mapping[str, Any]) -> str:
  return json.dumps(point, sort_keys=True, separators=(',', ':'))


def _first_double(items: Iterable[Any]) -> Any:
  seen = set()
  for item in items:
    if item in seen:
      return item
    seen.add(item)
  return None


def _distinct(points: Sweep) -> Sweep:
  double = _first_double(map(_canonical, points))
  if double is not None:
    raise InputError(f'The point {double} is there twice.')
  return points
