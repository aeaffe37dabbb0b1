r"""Lists that are texts: of JSON, Python, NumPy and DuckDB.

    [1, 2]   ["a", "b"]            JSON, and what pandas writes of Python lists
    ['a', "it's", None]            Python
    [1 2 3]   [1.  2.5]   ['a' 'b']   NumPy, in a CSV file of pandas
    [a, b]   ['it\'s', NULL]       DuckDB

A text counts as such a list if it begins with [; then all texts of its column
must be such lists or empty. None, null, NULL, nan and NaN are missing entries.
"""

import json
import re

from esmm_jax.data.values.casts import refuse
from esmm_jax.data.values.location import Location
import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?'
_NUMBERS = rf'^\[\s*(?:{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER})*)?\s*\]$'
_MISSING = ('None', 'null', 'NULL', 'nan', 'NaN')
_TOKEN = re.compile(
    r"""(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<comma>,)|(?P<blank>\s+)|(?P<bare>[^\s,'"\[\]]+)""",
    re.S,
)
_SEPARATE = re.compile(f'{_NUMBER}|None|nan')
_WRAPPED = re.compile(r'np\.\w+\(([^()]*)\)')  # As NumPy shows its numbers.
_ESCAPE = re.compile(r'\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)', re.S)
_ESCAPES = {'n': '\n', 't': '\t', 'r': '\r'}
_MUST = (
    'a list like [1, 2] or ["a", "b"], as a text that begins with [; if it is'
    ' none, give the column its separator, as in :separator=pipe'
)


def holds(array: pa.Array) -> bool:
  """Returns whether some of trimmed strings are such lists."""
  return bool(pc.any(pc.starts_with(array, '[')).as_py())


def parse(array: pa.Array, location: Location) -> pa.Array:
  """Parses lists.

  Args:
    array: Trimmed strings [n]; null is an empty list.
    location: The column's.

  Returns:
    Lists of strings [n], or nulls.

  Raises:
    InputError: A text is no such list.
  """
  is_list = pc.fill_null(pc.starts_with(array, '['), True)
  must = (
      'a list in [ and ], as others of the column are, or the column needs its'
      ' separator, as in :separator=pipe'
  )
  refuse(pc.invert(is_list), array, must, location)
  if pc.all(pc.match_substring_regex(array, _NUMBERS)).as_py():
    inner = pc.ascii_trim(array, '[] \t\r\n')
    inner = pc.replace_substring_regex(inner, r'\s*,\s*|\s+', ' ')
    # An empty list has no entry, not one that is empty.
    inner = pc.if_else(pc.equal(inner, ''), pa.scalar(None, pa.string()), inner)
    return pc.split_pattern(inner, ' ')
  rows = []
  for k, text in enumerate(array.to_pylist()):
    entries = None if text is None else _entries(text)
    if text is not None and entries is None:
      raise location.refusal(k, text, _MUST)
    rows.append(entries)
  return pa.array(rows, pa.list_(pa.string()))


def _entries(text: str) -> list[str | None] | None:
  """Returns the entries of one list; None if the text is none."""
  try:
    # JSON first: it is fast, and has escapes of its own.
    read = json.loads(
        text, parse_int=str, parse_float=str, parse_constant=_missing
    )
  except (ValueError, RecursionError):
    return _tolerant(_WRAPPED.sub(r'\1', text))
  if any(isinstance(v, (list, dict)) for v in read):
    return None
  return [None if v is None else str(v) for v in read]


def _missing(constant: str) -> str | None:
  return None if constant == 'NaN' else constant


def _tolerant(text: str) -> list[str | None] | None:
  """Reads lists with other quotes than JSON's, without, or without commas."""
  if not text.endswith(']'):
    return None
  groups: list[list[tuple[str, str]]] = [[]]  # Tokens between commas.
  at, end = 1, len(text) - 1
  while at < end:
    token = _TOKEN.match(text, at, end)
    if token is None:
      return None
    at = token.end()
    if token.lastgroup == 'comma':
      groups.append([])
    else:
      groups[-1].append((token.lastgroup, token[0]))
  if len(groups) == 1:
    if not _words(groups[0]):
      return []
    if all(_is_separate(*token) for token in _words(groups[0])):
      groups = [[token] for token in _words(groups[0])]
  try:
    return [_entry(group) for group in groups]
  except ValueError:
    return None


def _words(group: list[tuple[str, str]]) -> list[tuple[str, str]]:
  return [token for token in group if token[0] != 'blank']


def _is_separate(kind: str, word: str) -> bool:
  """Returns whether a token is an entry of a list without commas."""
  return kind == 'quoted' or bool(_SEPARATE.fullmatch(word))


def _entry(group: list[tuple[str, str]]) -> str | None:
  """Returns the entry that tokens between two commas are.

  Raises:
    ValueError: They are none.
  """
  words = _words(group)
  if len(words) == 1 and words[0][0] == 'quoted':
    return _ESCAPE.sub(_unescaped, words[0][1][1:-1])
  entry = ''.join(word for _, word in group).strip()
  if (
      not words
      or any(kind == 'quoted' for kind, _ in words)
      or '...' in entry  # NumPy left entries out.
      or '(' in entry  # datetime.date(2022, 4, 9)
  ):
    raise ValueError(entry)
  return None if entry in _MISSING else entry


def _unescaped(escape: re.Match[str]) -> str:
  code = escape[1]
  if len(code) > 1:
    return chr(int(code[1:], 16))
  return _ESCAPES.get(code, code)
