"""What a published set-up is: its data, its metrics and its numbers.

No jax and no numpy, so that tables in `configs/` can read it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

SPLITS = ('train', 'valid', 'test')
# Of every protocol: all sessions, all fields of the preset.
WHOLE = {'sample': 1.0, 'fields': ()}


class Measure(NamedTuple):
  """A number that the source publishes, and the key of ours.

  Attributes:
    label: What the number is, for tables and results.json. Where the source's
      own word would mislead, another one; `note` then has the source's.
    key: Key of our metric without its split, `cvr_clicked/auc` say.
    space: The rows and the label that it is computed on, in words.
    note: What else a reader has to know.
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
      `esmm_jax.metrics.METRICS`. NAME says output and label, and is not one of
      the spaces that every run has.
    output: Output of the run: `ctr`, `cvr` or `ctcvr`.
    label: Label column.
    why: Why it is not among the metrics of every run.
  """

  key: str
  output: str
  label: str
  why: str


class Published(NamedTuple):
  """A published number.

  Attributes:
    mean: In the unit of our metric; AUC in [0, 1].
    std: Standard deviation over repetitions; None where none is given.
  """

  mean: float
  std: float | None = None


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A published set-up: split, fields, metrics and their spaces.

  Attributes:
    name: What `config.protocol` says.
    source: Paper or page, table, and where the facts come from.
    dataset: Options that are used where config.dataset leaves them unset.
    metrics: What is published, in the source's order.
    published: Method -> label of a measure -> number. Only what was read in
      the source's table.
    deviations: Where ours differs, and why; one sentence each, or a few. What
      the source does not say is here too.
    train_split: Used where the config leaves it unset.
    valid_split: Likewise; '' is none.
    test_split: Likewise.
    common_ctr: Whether CTCVR of every method takes the pCTR of one CTR
      network; a run then has to set `common_ctr`.
    extra: Metrics that only this protocol computes.
    training: Keys of a config -> values: what the source publishes for all of
      its methods, and the choice of a step, as near to the source's as the
      validation split allows. The tables set them; a run does not get them by
      itself.
    repeats: Runs behind a published number; None where it is not said.
    dataset_name: The data set that it is of.
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
    """All that it says of a config's `dataset` section, splits included."""
    splits = {f'{s}_split': getattr(self, f'{s}_split') for s in SPLITS}
    return {**WHOLE, **self.dataset, **splits}


def rows(
    labels: tuple[str, ...], table: Mapping[str, tuple[Any, ...]]
) -> dict[str, dict[str, Published]]:
  """`Protocol.published` from a table as printed, row by row.

  Args:
    labels: Of the columns.
    table: Method -> a cell for each column: a number, (mean, standard
      deviation), or None where the source has nothing.
  """
  return {
      method: {
          label: Published(*(cell if isinstance(cell, tuple) else (cell,)))
          for label, cell in zip(labels, cells, strict=True)
          if cell is not None
      }
      for method, cells in table.items()
  }
