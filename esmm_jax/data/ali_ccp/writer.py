"""Writes simulated and random data in the raw format of Ali-CCP."""

from collections.abc import Sequence
import contextlib
import os
from typing import NamedTuple

from esmm_jax.data.ali_ccp.fields import RAW_FIELDS
from esmm_jax.data.ali_ccp.files import KINDS
from esmm_jax.types import InputError
from esmm_jax.whole_files import replacing
import numba
import numpy as np

# Field -> the first of its ids and their number, like those in public excerpts
# of the published files.
RANGES = {
    '101': (1, 445_000),
    '109_14': (445_001, 13_000),
    '110_14': (458_001, 2_980_000),
    '121': (3_438_658, 98),
    '122': (3_438_756, 13),
    '124': (3_438_769, 2),
    '125': (3_438_771, 7),
    '126': (3_438_778, 3),
    '127': (3_438_781, 3),
    '127_14': (3_438_785, 426_000),
    '128': (3_864_885, 2),
    '129': (3_864_888, 4),
    '150_14': (3_864_892, 130_000),
    '205': (4_000_000, 4_310_000),
    '206': (8_314_000, 12_900),
    '207': (8_327_000, 690_000),
    '210': (9_017_000, 113_000),
    '216': (9_130_000, 220_000),
    '301': (9_351_664, 3),
    '508': (9_351_667, 9_600),
    '509': (9_361_300, 540_000),
    '702': (9_901_300, 200_000),
    '853': (10_101_300, 100_000),
}
CODES = {f.name: k for k, f in enumerate(RAW_FIELDS)}
ONE = 100_000  # A value of 1, in the units of `Tokens`.

_BYTES_PER_TOKEN = 6 + 1 + 10 + 1 + 10 + 5 + 1
_BYTES_PER_ROW = 20 + 5 + 17 + 11 + 1

_names = [f.name.encode() for f in RAW_FIELDS]
_NAMES = np.frombuffer(b''.join(_names), np.uint8)
_NAME_ENDS = np.cumsum([0, *map(len, _names)])

_compiled = numba.njit(nogil=True, cache=True, boundscheck=True)


class Tokens(NamedTuple):
  """The triples of n rows.

  Attributes:
    offsets: int64 [n + 1], of each row.
    field: int16 [T], `CODES`.
    id: int32 [T].
    value: int32 [T], in units of 1e-5.
  """

  offsets: np.ndarray
  field: np.ndarray
  id: np.ndarray
  value: np.ndarray


def tokens(
    num_rows: int,
    parts: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
) -> Tokens:
  """Merges the values of several fields, row by row.

  Args:
    num_rows: n.
    parts: Field; rows int [t], the row of each value; ids int [t]; values int
      [t], in units of 1e-5. The values of a row are in the order of the parts,
      and a field may come several times.
  """
  row = np.concatenate([p[1] for p in parts])
  order = np.argsort(row, kind='stable')
  offsets = np.zeros(num_rows + 1, np.int64)
  np.cumsum(np.bincount(row, minlength=num_rows), out=offsets[1:])
  field = np.concatenate(
      [np.full(len(p[1]), CODES[p[0]], np.int16) for p in parts]
  )
  return Tokens(
      offsets,
      field[order],
      np.concatenate([p[2] for p in parts]).astype(np.int32)[order],
      np.concatenate([p[3] for p in parts]).astype(np.int32)[order],
  )


def raw_files(folder: str, split: str) -> dict[str, str]:
  """Returns kind -> path of the two files of a split, `train` or `test`."""
  return {
      kind: os.path.join(folder, f'{name}_{split}.csv')
      for kind, name in KINDS.items()
  }


class RawWriter:
  """Writes the two files of a split; they get their names when complete.

  Use it in a `with` block: an exception removes them.
  """

  def __init__(self, folder: str, split: str):
    """Creates the folder; `split` is `train` or `test`."""
    os.makedirs(folder, exist_ok=True)
    self._paths = raw_files(folder, split)
    self._files = {}

  def __enter__(self) -> 'RawWriter':
    with contextlib.ExitStack() as stack:
      for k, path in self._paths.items():
        temporary = stack.enter_context(replacing(path))
        self._files[k] = stack.enter_context(open(temporary, 'wb'))
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *error) -> None:
    self._stack.__exit__(*error)

  def common(self, keys: np.ndarray, triples: Tokens) -> None:
    """Appends common rows.

    Args:
      keys: uint64 [n], their indices.
      triples: Their triples.
    """
    none = np.zeros(0, np.int64)
    self._write('common', keys, triples, none, none.astype(np.int8))

  def skeleton(
      self,
      sample_id: np.ndarray,
      click: np.ndarray,
      conversion: np.ndarray,
      keys: np.ndarray,
      triples: Tokens,
  ) -> None:
    """Appends skeleton rows.

    Args:
      sample_id: int64 [n].
      click: int [n], 0 or 1.
      conversion: int [n], 0 or 1.
      keys: uint64 [n], the indices of their sessions.
      triples: Their triples.
    """
    labels = np.stack([click, conversion], axis=1).astype(np.int8)
    self._write('skeleton', keys, triples, sample_id, labels)

  def _write(
      self,
      kind: str,
      keys: np.ndarray,
      triples: Tokens,
      sample_id: np.ndarray,
      labels: np.ndarray,
  ) -> None:
    """Appends rows to a file; those of the common file have no sample_id."""
    if len(triples.id) and (triples.id.min() < 0 or triples.value.min() < 0):
      raise InputError('Ids and values of raw files must not be negative.')
    # The longest text possible: the compiled loop cannot grow it.
    num_bytes = len(keys) * _BYTES_PER_ROW + len(triples.id) * _BYTES_PER_TOKEN
    text = np.empty(num_bytes, np.uint8)
    end = _format(
        text, keys, sample_id, labels.reshape(-1), *triples, _NAMES, _NAME_ENDS
    )
    self._files[kind].write(memoryview(text)[:end])


@_compiled
def _put_number(text, p, x):
  """Writes a number >= 0 in decimal. Returns the next position."""
  digits = 1
  rest = x // 10
  while rest > 0:
    digits += 1
    rest //= 10
  for k in range(digits):
    text[p + digits - 1 - k] = 48 + x % 10
    x //= 10
  return p + digits


@_compiled
def _put_value(text, p, x):
  """Writes x / 1e5 with at least one decimal and no other trailing zeros."""
  p = _put_number(text, p, x // 100_000)
  text[p] = 46
  p += 1
  x %= 100_000
  unit = 10_000
  while True:
    text[p] = 48 + x // unit
    p += 1
    x %= unit
    if x == 0:
      return p
    unit //= 10


@_compiled
def _format(
    text, keys, sample_id, labels, offsets, field, ids, values, names, ends
):
  """Writes rows; those of the skeleton have sample ids. Returns the length."""
  p = 0
  for r in range(keys.size):
    if sample_id.size:
      p = _put_number(text, p, sample_id[r])
      for k in range(2):
        text[p] = 44
        text[p + 1] = 48 + labels[2 * r + k]
        p += 2
      text[p] = 44
      p += 1
    for k in range(16):
      h = (keys[r] >> np.uint64(60 - 4 * k)) & np.uint64(15)
      text[p] = 48 + h if h < 10 else 87 + h
      p += 1
    text[p] = 44
    p = _put_number(text, p + 1, offsets[r + 1] - offsets[r])
    text[p] = 44
    p += 1
    for t in range(offsets[r], offsets[r + 1]):
      if t > offsets[r]:
        text[p] = 1
        p += 1
      for k in range(ends[field[t]], ends[field[t] + 1]):
        text[p] = names[k]
        p += 1
      text[p] = 2
      p = _put_number(text, p + 1, ids[t])
      text[p] = 3
      p = _put_value(text, p + 1, values[t])
    text[p] = 10
    p += 1
  return p
