"""Types shared by every layer: axis letters, the batch, the input error.

Axis letters, used in every shape comment of the package:

  B  examples of a batch          R  replicas trained side by side
  S  slots (id columns) a row     L  entries of a list field
  F  fields                       D  embedding dimension
  U  table rows a batch touches   V  rows of the embedding table
  N  float fields                 G  groups of a batch

This module imports neither jax nor anything of the package, so that the data
layer can use it.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
from typing import Any, NamedTuple

import numpy as np

# A numpy or jax array. jax.Array is not named: see the module docstring.
Array = Any

# Task name (`ctr`, `cvr`) -> log-odds, shape [B], float32.
Logits = Mapping[str, Array]

# Label name (`click`, `conversion`) -> 0. or 1., or the label of a regression,
# shape [B], float32.
Labels = Mapping[str, Array]

# Term name -> (sum of the loss over the term's sample space, size of that
# space), both scalars. The term's value is sum / count, 0 for an empty space.
LossTerms = Mapping[str, tuple[Array, Array]]


# Names in a message.
_MOST = 200


class InputError(ValueError):
  """An input of the user is wrong; the message names it and the remedy.

  >>> from esmm_jax.schema import Field
  >>> Field('tags', 'ids', max_len=0)
  Traceback (most recent call last):
    ...
  esmm_jax.types.InputError: Field 'tags': max_len must be at least 1.

  Command-line programs print it as one line, without a traceback.
  """


def similar(
    name: str, names: Iterable[str], cutoff: float = 0.6
) -> str | None:
  """Returns the name that is most like another one, or None.

  Args:
    name: What somebody wrote.
    names: What they may have meant.
    cutoff: See `difflib.get_close_matches`; upper and lower case are alike.

  >>> similar('USER', ['user', 'item']), similar('usr', ['user'], 0.9)
  ('user', None)
  """
  names = list(names)
  same = [n for n in names if n.casefold() == name.casefold()]
  near = same or difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
  return near[0] if near else None


def suggest(name: str, names: Iterable[str]) -> str:
  """Returns the end of a message: a similar name, if any, and all names.

  >>> suggest('usr', ['user', 'item', 'a,b'])
  "Did you mean 'user'? There are: 'a,b', item, user."
  >>> suggest('AUC', ['ece', 'auc'])
  "Did you mean 'auc'? There are: auc, ece."
  """
  if not (names := sorted(names)):
    return 'There are none.'
  near = similar(str(name), names)
  hint = f'Did you mean {near!r}? ' if near is not None else ''
  shown = [repr(n) if _is_odd(n) else n for n in names[:_MOST]]
  more = f' and {len(names) - _MOST} more' if len(names) > _MOST else ''
  return f'{hint}There are: {", ".join(shown)}{more}.'


def _is_odd(name: str) -> bool:
  """Returns whether it is not clear in a list where a name begins and ends."""
  blanks = any(c in ' ,:"\'' for c in name)
  return not name or blanks or not name.isprintable()


class Groups(NamedTuple):
  """The inputs that the examples of a group share, each group once.

  Attributes:
    slots: int32 [G, S], like `Batch.slots`, for the fields that are `by_group`.
      Padding repeats the first group.
    weights: float32 [G, W].
    segment_ids: int32 [B], the group of each example, a row of `slots`.
  """

  slots: Array
  weights: Array
  segment_ids: Array


class Batch(NamedTuple):
  """One training or evaluation batch, in the form that the step takes.

  Attributes:
    rows: int32 [U], the table rows that the batch touches, ascending and
      unique; padded with ids at or past V, which a scatter drops.
    slots: int32 [B, S], for each id of each example its index in `rows`. First
      one column for each `id` field, then `max_len` columns for each pooled
      field (`Schema.row_part`). Without compaction `rows` is empty and slots
      are rows of the table itself.
    weights: float32 [B, W], the weights of the list entries (the last W
      columns of `slots`); 0 marks padding.
    floats: float32 [B, N], the float fields.
    labels: label name -> float32 [B]; of data with weights of rows also
      `Schema.weight`.
    where: float32 [B], 1 for an example, 0 for padding of the last batch.
    groups: The groups of data with fields that are `by_group`, else None.
    vectors: Name -> float32 [B, d], vectors that are not trained, which a
      program looks up (`embeddings.vectors`); {} as the data layer makes it.
  """

  rows: Array
  slots: Array
  weights: Array
  floats: Array
  labels: dict[str, Array]
  where: Array
  groups: Groups | None = None
  vectors: Mapping[str, Array] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
  """Rows of lists of different lengths.

  Attributes:
    values: int32 [T], the lists one after the other.
    offsets: int64 [n + 1], list i is values[offsets[i]:offsets[i + 1]].
    weights: float32 or float16 [T], or None where every entry weighs 1.
  """

  values: np.ndarray
  offsets: np.ndarray
  weights: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.offsets) - 1


# Column name -> array [n], or Ragged of n rows.
Columns = dict[str, np.ndarray | Ragged]
