"""Two texts -> the text of the pair."""

import pyarrow as pa
import pyarrow.compute as pc

_JOIN, _ESCAPE = '*', '\\'


def texts(first: pa.Array, second: pa.Array) -> pa.Array:
  r"""Returns the text of each pair; null where one of the two is.

  A `*` or backslash inside of a value stands behind a backslash, so that
  different pairs have different texts.

  Args:
    first: Strings [n].
    second: Strings [n].

  >>> texts(pa.array(['a', 'a*b', None]), pa.array(['b*c', 'c', 'd'])).tolist()
  ['a*b\\*c', 'a\\*b*c', None]
  """
  return pc.binary_join_element_wise(_plain(first), _plain(second), _JOIN)


def _plain(array: pa.Array) -> pa.Array:
  """Escapes the characters that have a meaning in a pair."""
  for character in (_ESCAPE, _JOIN):
    array = pc.replace_substring(array, character, _ESCAPE + character)
  return array
