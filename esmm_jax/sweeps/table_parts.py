"""Columns and other parts of a results table; `sweeps.table` has the table."""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

from esmm_jax.metric_names import direction

# Best end of a metric -> the direction in which a column is better.
BETTER = {'max': 'higher', 'min': 'lower', '': None}


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a results table.

  >>> from esmm_jax.sweeps.table import Column
  >>> Column('log loss', 'test/ctr/logloss').better
  'lower'

  Attributes:
    header: Text at the top of the column.
    metric: Key of results.json.
    decimals: Digits after the point.
    better: 'higher', 'lower', or None where neither is. Default: what the name
      of the metric says.
  """

  header: str
  metric: str
  decimals: int = 4
  better: str | None = 'as named'

  def __post_init__(self):
    if self.better == 'as named':
      object.__setattr__(self, 'better', BETTER[direction(self.metric)])


class Paper(NamedTuple):
  """Published numbers to compare ours with.

  Attributes:
    source: Paper, table and data.
    values: (row, metric) -> number or (mean, standard deviation), in the unit
      of our metric. The name of a row is the values of its keys, joined by
      ', '.
  """

  source: str
  values: Mapping[tuple[str, str], float | tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Choice:
  """A value that each row chooses for itself, on the validation split.

  Attributes:
    key: Key of the points whose values are the candidates; a point without it
      has None.
    metric: Key of results.json that begins with 'valid/'. The value with the
      best mean over the seeds that all of the row's values have is chosen, the
      first of equal ones.
    mode: 'max' or 'min'; selects the best mean. Default: what the name of the
      metric says.
  """

  key: str
  metric: str
  mode: str = ''

  def __post_init__(self):
    if not self.mode:
      object.__setattr__(self, 'mode', direction(self.metric))


class Front(NamedTuple):
  """Rows that are the points of curves in the plane of two metrics.

  A series whose values of `along` are texts is no curve: it has a point for
  each of them, which is compared with the curve, one in each block then.

  Attributes:
    series: Key of the rows that names the curve.
    along: Key of the rows that orders its points, such as the weight of a loss.
    x: Metric, one of the columns; higher is better.
    y: Metric, one of the columns; higher is better.
    single: Value of `series` of the reference, one row a block; its `along` is
      None.
  """

  series: str
  along: str
  x: str
  y: str
  single: Any
