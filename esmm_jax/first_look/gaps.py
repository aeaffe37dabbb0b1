"""Missing and unseen values of each input, by split."""

from collections.abc import Iterator, Mapping
import math

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.unseen import Counts, MISSING_NUMBERS, Share
from esmm_jax.data.tabular.unseen import SUSPICIOUS
from esmm_jax.first_look.rates import aligned

_PIECE = 1 << 16
_SHARED_PIECE = 1 << 12  # Where lists that rows share are joined to each.
# A first look at a training's data reads so many rows.
SAMPLE = 1 << 17
# Shares of two splits that differ by so much are worth a look.
DIFFERENT = 0.1
_MOST = 8


def sample_rows(builder: ColumnarBuilder) -> int:
  """Returns how many rows of a split are read before a training."""
  # Long lists that rows share are joined to each.
  return SAMPLE // 8 if builder.schema.group_part.fields else SAMPLE


def of_split(
    builder: ColumnarBuilder, split: str, most: int | None = None
) -> dict[str, Share]:
  """Returns the shares of each input.

  A missing number has become the mean of the column, so those were counted when
  a log of one's own was prepared, in the whole split; nothing is unseen there.
  Other data sets lack numbers.

  Args:
    builder: The prepared data set.
    split: `test[:10%]`, say.
    most: Rows to read, the first ones; default all.
  """
  source = builder.as_data_source(split)
  counts = Counts()
  num = len(source) if most is None else min(most, len(source))
  step = _SHARED_PIECE if builder.schema.group_part.fields else _PIECE
  for start in range(0, num, step):
    stop = min(start + step, num)
    counts.add_columns(builder.schema, source.joined(start, stop))
  return counts.shares() | _of_numbers(builder, split.partition('[')[0])


def _of_numbers(builder: ColumnarBuilder, split: str) -> dict[str, Share]:
  """Returns the shares of the columns of numbers in a whole split."""
  missing = builder.report.get(MISSING_NUMBERS, {}).get(split, {})
  return {
      f.name: Share(
          missing[f.name] / builder.info.splits[split].num_examples, math.nan
      )
      for f in builder.schema.float_fields
      if f.name in missing
  }


def table(
    shares: Mapping[str, Mapping[str, Share]],
    part: str,
    least: float = 0.0,
    width: int | None = None,
) -> list[str]:
  """Returns lines for people: a row for each input, a column for each split.

  Args:
    shares: Split -> those of its inputs.
    part: `missing` or `unseen`.
    least: Inputs whose shares differ less between two splits are left out;
      of many the `_MOST` that differ most are shown.
    width: See `rates.aligned`.
  """
  by_name = {
      name: [getattr(some[name], part) for some in shares.values()]
      for name in next(iter(shares.values()), {})
      if all(name in some for some in shares.values())
  }
  by_name = {n: x for n, x in by_name.items() if not any(map(math.isnan, x))}
  spread = {name: max(some) - min(some) for name, some in by_name.items()}
  names = [name for name in by_name if spread[name] >= least]
  if not names:
    return []
  left_out = 0
  if least and len(names) > _MOST:
    shown = sorted(names, key=spread.__getitem__, reverse=True)[:_MOST]
    left_out = len(names) - _MOST
    names = [name for name in names if name in shown]
  rows = [[part, *shares]]
  for name in names:
    rows.append([name, *(f'{value:.1%}' for value in by_name[name])])
  more = [f'and {left_out} more inputs'] if left_out else []
  return aligned(rows, width) + more


def warnings(shares: Mapping[str, Share], split: str) -> Iterator[str]:
  """Yields a line for each input whose values training mostly never saw.

  Args:
    shares: Of a split that is not trained on.
    split: Its name.
  """
  for name, share in shares.items():
    if share.unseen > SUSPICIOUS:
      yield (
          f'{share.unseen:.1%} of the values of column {name!r} in {split} are'
          ' rare or were never seen in training: the model knows nothing of'
          ' them. Is it a number of the row or of the day? Leave it out, or'
          ' lower its min_count.'
      )
