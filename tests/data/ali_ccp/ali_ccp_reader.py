"""The oracle of the tests of Ali-CCP's parser: its grammar in plain Python.

It splits lines at their separators and matches whole parts, where the parser
scans bytes. It takes nothing of the parser but the layout it is given, not even
its limits, so that a mistake there is not repeated here. What must agree:

  * the damage that stands first in a line is its reason; `feature_num` is
    compared after all triples are found to be right;
  * a line that ends in its head, after what could go on, is `fields`;
  * nothing of a bad line is counted but that it is bad.
"""

from collections.abc import Iterable
import re
import struct
from typing import Any, NamedTuple

_LARGEST_ID = 16_777_215
_LARGEST_VALUE = 65_504.0

# Part of the head -> what it must be, were it not cut short.
_HEAD = {
    'sample_id': rb'[0-9]{0,18}',
    'click': rb'[01]?',
    'conversion': rb'[01]?',
    'index': rb'[0-9a-fA-F]{0,16}',
    'feature_num': rb'[0-9]{0,9}',
}
_REASONS = {'click': 'label', 'conversion': 'label'}  # Others are their names.


class Row(NamedTuple):
  """A line that is read.

  Attributes:
    line: Its number, from 1.
    sample_id: 0 in the common file, like the next two.
    click: 0 or 1.
    conversion: 0 or 1.
    key: The common feature index.
    ids: Field with one value -> its id, -1 where absent.
    weights: The weighted ones of these -> the weight, 0. where absent.
    lists: Field with several -> ids, and weights or None.
  """

  line: int
  sample_id: int
  click: int
  conversion: int
  key: int
  ids: dict[str, int]
  weights: dict[str, float]
  lists: dict[str, tuple[list[int], list[float] | None]]


class Found(NamedTuple):
  """What is met in a file; `bad` is reason -> numbers of the bad lines."""

  lines: int
  blank_lines: int
  tokens: int
  bad: dict[str, list[int]]
  unknown_fields: dict[str, int]
  duplicates: dict[str, int]
  values_not_one: dict[str, int]

  @property
  def first_bad(self) -> tuple[int, str] | None:
    """Number and reason of the first bad line."""
    return min(((n[0], r) for r, n in self.bad.items()), default=None)


class _BadLineError(Exception):
  """Its argument is the reason."""


def read(data: bytes, layout: Any) -> tuple[list[Row], Found]:
  """The rows of a file and what was met, for a `Layout`."""
  lines = data.split(b'\n')
  if not lines[-1]:
    lines.pop()
  rows = []
  blank = tokens = 0
  bad: dict[str, list[int]] = {}
  unknown: dict[str, int] = {}
  duplicates: dict[str, int] = {}
  not_one: dict[str, int] = {}
  for number, line in enumerate(lines, 1):
    line = line.removesuffix(b'\r')
    if not line:
      blank += 1
      continue
    try:
      head, triples = _parts(line, layout.skeleton)
    except _BadLineError as e:
      bad.setdefault(e.args[0], []).append(number)
      continue
    tokens += len(triples)
    _count_strangers(triples, layout, unknown)
    _count_not_one(triples, layout, not_one)
    rows.append(_row(number, head, triples, layout, duplicates))
  found = Found(len(lines), blank, tokens, bad, unknown, duplicates, not_one)
  return rows, found


def float32(value: float) -> float:
  """The nearest float32."""
  return struct.unpack('<f', struct.pack('<f', value))[0]


def plain(parts: Iterable[Any]) -> list[Row]:
  """What `read_rows` yields, in the form of `read`."""
  rows = []
  for part in parts:
    heads = zip(*(c.tolist() for c in part[:5]))
    for i, head in enumerate(heads):
      lists = {}
      for name, ragged in part.lists.items():
        a, b = ragged.offsets[i : i + 2]
        weights = ragged.weights
        lists[name] = (
            ragged.values[a:b].tolist(),
            None if weights is None else weights[a:b].tolist(),
        )
      ids = {n: int(c[i]) for n, c in part.ids.items()}
      weights = {n: float(c[i]) for n, c in part.weights.items()}
      rows.append(Row(*head, ids, weights, lists))
  return rows


def _parts(line: bytes, skeleton: bool):
  """The head's parts by name, and the triples (name, id, value).

  Raises:
    _BadLineError: It is not of the grammar.
  """
  names = list(_HEAD) if skeleton else ['index', 'feature_num']
  parts = line.split(b',', len(names))
  head = {}
  for k, (name, part) in enumerate(zip(names, parts)):
    reason = _REASONS.get(name, name)
    if not re.fullmatch(_HEAD[name], part):
      raise _BadLineError(reason)
    if k == len(parts) - 1:
      raise _BadLineError('fields')
    if not part:
      raise _BadLineError(reason)
    head[name] = part
  text = parts[-1]
  triples = [_triple(t) for t in text.split(b'\x01')] if text else []
  if len(triples) != int(head['feature_num']):
    raise _BadLineError('feature_num')
  return head, triples


def _triple(text: bytes) -> tuple[str, int, float]:
  """Name, id and value.

  Raises:
    _BadLineError: It is not of the grammar.
  """
  name, there, rest = text.partition(b'\x02')
  if not there or not re.fullmatch(rb'[0-9]{1,3}(_[0-9]{1,2})?', name):
    raise _BadLineError('field')
  digits = re.match(rb'[0-9]*', rest)[0]
  # Nine digits say enough; `int` refuses thousands of them.
  raw_id = int(digits.lstrip(b'0')[:9] or b'0')
  if raw_id > _LARGEST_ID:
    raise _BadLineError('id_range')
  if not digits or rest[len(digits) : len(digits) + 1] != b'\x03':
    raise _BadLineError('id')
  return name.decode(), raw_id, _value(rest[len(digits) + 1 :])


def _value(text: bytes) -> float:
  """The number that the text is.

  Raises:
    _BadLineError: It is not of the grammar.
  """
  number = re.match(rb'([0-9]+)(\.[0-9]*)?', text)
  if not number:
    raise _BadLineError('value')
  decimals = (number[2] or b'')[1:]
  if (
      len((number[1] + decimals).lstrip(b'0')) > 15
      or len(decimals) > 22
      or number[2] == b'.'
  ):
    raise _BadLineError('value')
  value = float(number[0])
  if value > _LARGEST_VALUE:
    raise _BadLineError('value_range')
  if len(number[0]) < len(text):
    raise _BadLineError('value')
  return value


def _count_strangers(triples, layout, unknown: dict[str, int]) -> None:
  """Adds the triples of fields that the layout does not have."""
  known = {*layout.singles, *layout.lists, *layout.ignored}
  for name, _, _ in triples:
    if name not in known:
      unknown[name] = unknown.get(name, 0) + 1


def _count_not_one(triples, layout, not_one: dict[str, int]) -> None:
  """Adds the values other than 1 of fields that are read without weights."""
  read_fields = {*layout.singles, *layout.lists} - layout.weighted
  for name, _, value in triples:
    if name in read_fields and value != 1.0:
      not_one[name] = not_one.get(name, 0) + 1


def _row(number, head, triples, layout, duplicates: dict[str, int]) -> Row:
  """The row; adds to the duplicates."""
  of = {name: [] for name in layout.singles + layout.lists}
  for name, raw_id, value in triples:
    if name in of:
      of[name].append((raw_id, float32(value)))
  ids, weights, lists = {}, {}, {}
  for name in layout.singles:
    values = of[name]
    if name not in layout.last and len(values) > 1:
      duplicates[name] = duplicates.get(name, 0) + len(values) - 1
    one = (-1, 0.0)
    if values:
      one = values[-1 if name in layout.last else 0]
    ids[name] = one[0]
    if name in layout.weighted:
      weights[name] = one[1]
  for name in layout.lists:
    values = of[name]
    weighed = None
    if name in layout.weighted:
      values = sorted(values, key=lambda v: (-v[1], v[0]))
      weighed = [w for _, w in values]
    lists[name] = [i for i, _ in values], weighed
  numbers = [int(head.get(n, 0)) for n in ('sample_id', 'click', 'conversion')]
  return Row(number, *numbers, int(head['index'], 16), ids, weights, lists)
