"""A published set-up as data: its data set, metrics and numbers.

No jax and no numpy, so that tables in `configs/` can read it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

SPLITS = ('train', 'valid', 'test')
# Options of every protocol: all sessions, all fields of the preset.
WHOLE = {'sample': 1.0, 'fields': ()}


class Measure(NamedTuple):
  """A number that the source publishes, and the key of ours.

  Attributes:
    label: Name of the number, for results tables and results.json. If the
      source's own word would mislead it is another one, and `note` has the
      source's.
    key: Key of our metric without its split, `cvr_clicked/auc` say.
    space: The rows and the label that it is computed on, in words.
    note: A caveat for the reader.
  """

  label: str
  key: str
  space: str
  note: str = ''


class Extra(NamedTuple):
  """A metric that only runs under this protocol compute.

  Over all rows of the test split, `output` is scored against `label`.

  Attributes:
    key: Its key without the split, NAME/METRIC with a metric of
      `esmm_jax.metrics.METRICS`. NAME names output and label, and is not one of
      the spaces that every run has.
    output: Output of the run: `ctr`, `cvr` or `ctcvr`.
    label: Label column.
    why: The reason why it is not among the metrics of every run.
  """

  key: str
  output: str
  label: str
  why: str


class Published(NamedTuple):
  """A published number.

  Attributes:
    mean: In the unit of our metric; AUC in [0, 1].
    std: Standard deviation over repetitions; None if the source has none.
  """

  mean: float
  std: float | None = None


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A published set-up: split, fields, metrics and their spaces.

  Attributes:
    name: What `config.protocol` says.
    source: Paper or page, table, and the origin of the facts.
    dataset: Options that fill in those that config.dataset leaves unset.
    metrics: The published measures, in the source's order.
    published: Method -> label of a measure -> number. Only numbers that were
      read in the source's table.
    deviations: Differences of ours with their reasons, a few sentences each.
      Facts that the source leaves open are here too.
    train_split: Used if the config leaves it unset.
    valid_split: Likewise; '' is none.
    test_split: Likewise.
    common_ctr: Whether CTCVR of every method takes the pCTR of one CTR
      network; a run then has to set `common_ctr`.
    extra: Metrics that only this protocol computes.
    training: Keys of a config -> values that the source publishes for all of
      its methods, and the choice of a step, as near to the source's as the
      validation split allows. The results tables set them; a run does not get
      them by itself.
    repeats: Runs behind a published number; None if the source is silent.
    dataset_name: The data set of the protocol.
  """

  name: str
  source: str
  dataset: Mapping[str, Any]
  metrics: tuple[Measure, ...]
  published: Mapping[str, Mapping[str, Published]]
  deviations: tuple[str, ...]
  train_split: str = 'train'
  valid_split: str = 'valid'
  test_split: str = 'test'
  common_ctr: bool = False
  extra: tuple[Extra, ...] = ()
  training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  repeats: int | None = None
  dataset_name: str = 'ali_ccp'

  def options(self) -> dict[str, Any]:
    """Returns its options of a config's `dataset` section, splits included."""
    splits = {f'{s}_split': getattr(self, f'{s}_split') for s in SPLITS}
    return {**WHOLE, **self.dataset, **splits}


def rows(
    labels: tuple[str, ...], table: Mapping[str, tuple[Any, ...]]
) -> dict[str, dict[str, Published]]:
  """Builds `Protocol.published` from a table as printed, row by row.

  Args:
    labels: Labels of the columns.
    table: Method -> a cell for each column: a number, (mean, standard
      deviation), or None if the cell is empty.
  """
  return {
      method: {
          label: Published(*(cell if isinstance(cell, tuple) else (cell,)))
          for label, cell in zip(labels, cells, strict=True)
          if cell is not None
      }
      for method, cells in table.items()
  }
