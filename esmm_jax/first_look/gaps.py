"""Missing and unseen values of each input, by split."""

from collections.abc import Iterator, Mapping

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.unseen import Counts, Share, SUSPICIOUS
from esmm_jax.first_look.rates import aligned

_PIECE = 1 << 16
_SHARED_PIECE = 1 << 12  # Where lists that rows share are joined to each.
# A first look at a training's data reads so many rows.
SAMPLE = 1 << 17


def of_split(
    builder: ColumnarBuilder, split: str, most: int | None = None
) -> dict[str, Share]:
  """Returns the shares of each input that is an id or a list of ids.

  A missing number has become the mean of the column: nothing shows it.

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
  return counts.shares()


def table(
    shares: Mapping[str, Mapping[str, Share]], part: str
) -> list[str]:
  """Returns lines for people: a row for each input, a column for each split.

  Args:
    shares: Split -> those of its inputs.
    part: `missing` or `unseen`.
  """
  names = list(next(iter(shares.values()), {}))
  if not names:
    return []
  rows = [[part, *shares]]
  for name in names:
    values = [getattr(of_split[name], part) for of_split in shares.values()]
    rows.append([name, *(f'{value:.1%}' for value in values)])
  return aligned(rows)


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
