"""Random files in the raw format, of the shape and size of the published ones.

Ids, list lengths, rates, gaps and the order of fields resemble those of
Ali-CCP; labels depend on nothing. For tests and timings of the reader: the
content can be drawn again, block by block, and compared.
"""

from collections.abc import Callable
from typing import NamedTuple

from esmm_jax.data.ali_ccp.writer import CODES, ONE, RANGES, RawWriter, Tokens
from esmm_jax.data.ali_ccp.writer import tokens
import numpy as np

BLOCK = 1000  # Sessions that are drawn together.

_MEAN_ROWS = 57.9
_CTR, _CVR, _ALONE = 0.0389, 0.00535, 5.4e-6
# Field with one value -> share of the sessions that lack it.
_COMMON_GAPS = {
    '121': 0.02, '122': 0.02, '101': 0.14, '124': 0.03, '125': 0.03,
    '126': 0.4, '127': 0.05, '128': 0.04, '129': 0.2,
}  # fmt: skip
_MEAN_LENGTHS = {'150_14': 113, '127_14': 124, '109_14': 69, '110_14': 203}
_LONGEST = 1200
# Field with one value -> share of the rows that have it, weighted or not.
_MET = {'508': 0.75, '509': 0.3, '702': 0.3}
_ITEM = ('216', '205', '207')  # Functions of the item.


class Block(NamedTuple):
  """Some sessions and their rows.

  Attributes:
    keys: uint64 [G], the sessions' indices.
    segment_ids: int64 [n], each row's session.
    click: int8 [n].
    conversion: int8 [n]; a few have no click.
    common: Triples of the sessions.
    skeleton: Triples of the rows.
  """

  keys: np.ndarray
  segment_ids: np.ndarray
  click: np.ndarray
  conversion: np.ndarray
  common: Tokens
  skeleton: Tokens


def write_random(
    folder: str,
    split: str,
    num_sessions: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> int:
  """Writes the two files of a split.

  Args:
    folder: Created if it does not exist.
    split: `train` or `test`, which are drawn from different streams.
    num_sessions: Common rows; there are about 58 times as many skeleton rows.
    seed: Of all numbers.
    progress: Called with the number of skeleton rows just written.

  Returns:
    The rows of the skeleton.
  """
  row = 0
  with RawWriter(folder, split) as writer:
    for k in range(-(-num_sessions // BLOCK)):
      num = min(BLOCK, num_sessions - k * BLOCK)
      block = random_block(split, k, num, seed)
      writer.common(block.keys, block.common)
      writer.skeleton(
          np.arange(row + 1, row + 1 + len(block.segment_ids)),
          block.click,
          block.conversion,
          block.keys[block.segment_ids],
          block.skeleton,
      )
      row += len(block.segment_ids)
      if progress is not None:
        progress(len(block.segment_ids))
  return row


def random_block(split: str, block: int, num: int, seed: int = 0) -> Block:
  """Draws the `num` sessions of a block, a pure function of the arguments."""
  rng = np.random.default_rng([seed, split == 'test', block])
  keys = rng.integers(0, 2**64, num, dtype=np.uint64)
  size = rng.lognormal(np.log(_MEAN_ROWS) - 0.32, 0.8, num)
  lengths = np.clip(size, 1, 900).astype(np.int64)
  segment_ids = np.repeat(np.arange(num), lengths)
  n = len(segment_ids)
  click = (rng.random(n) < _CTR).astype(np.int8)
  conversion = ((rng.random(n) < _CVR) & (click == 1)).astype(np.int8)
  conversion[rng.random(n) < _ALONE] = 1
  common, skeleton = _common(rng, num), _skeleton(rng, n)
  return Block(keys, segment_ids, click, conversion, common, skeleton)


def _common(rng: np.random.Generator, num: int) -> Tokens:
  """Draws profiles and four long lists, 518 triples a session on average."""
  parts = []
  for field, gap in _COMMON_GAPS.items():
    has = np.flatnonzero(rng.random(num) >= gap)
    skew = 0.3 if field == '101' else 0.9
    parts.append(_unweighted(field, has, _ids(rng, field, len(has), skew)))
  scale = np.exp(rng.normal(-0.45, 0.95, num))
  for field, mean in _MEAN_LENGTHS.items():
    lengths = np.clip(rng.poisson(mean * scale), 0, _LONGEST)
    row = np.repeat(np.arange(num), lengths)
    ids = _ids(rng, field, len(row), 1.0)
    parts.append((field, row, ids, _weights(rng, len(row))))
  return tokens(num, [parts[k] for k in rng.permutation(len(parts))])


def _skeleton(rng: np.random.Generator, n: int) -> Tokens:
  """Draws the fields of rows, 13 triples a row on average.

  Field 210 comes in two parts: a reader must not rely on the values of a field
  standing side by side.
  """
  everywhere = np.arange(n)
  lengths = np.clip(rng.geometric(1 / 5.5, n), 1, 40)
  front = (lengths + 1) // 2
  parts = []
  for k in (front, lengths - front):
    row = np.repeat(everywhere, k)
    parts.append(_unweighted('210', row, _ids(rng, '210', len(row), 0.95)))
  item = _zipf(rng, RANGES['205'][1], n, 0.85)
  for k, field in enumerate(_ITEM):
    first, size = RANGES[field]
    of_item = item if field == '205' else item * (2_654_435_761 + 2 * k) // 7
    parts.insert(1, _unweighted(field, everywhere, first + of_item % size))
  for field, skew in (('301', 0.5), ('206', 1.0)):
    ids = _ids(rng, field, n, skew)
    parts.insert(1, _unweighted(field, everywhere, ids))
  for field, share in _MET.items():
    row = np.flatnonzero(rng.random(n) < share)
    ids = _ids(rng, field, len(row), 1.0)
    parts.insert(2, (field, row, ids, _weights(rng, len(row))))
  met = (rng.random(n) < 0.4) * rng.geometric(1 / 1.5, n)
  row = np.repeat(everywhere, met)
  ids = _ids(rng, '853', len(row), 1.0)
  parts.insert(2, ('853', row, ids, _weights(rng, len(row))))
  return tokens(n, parts)


def _unweighted(
    field: str, row: np.ndarray, ids: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
  """A part for `tokens` in which all weights are 1."""
  return field, row, ids, np.full(len(row), ONE, np.int32)


def _weights(rng: np.random.Generator, n: int) -> np.ndarray:
  """Draws ln(1 + count) of mostly small counts, in units of 1e-5, int32 [n]."""
  count = rng.geometric(0.25, n)
  count += (rng.random(n) < 0.02) * rng.integers(0, 3000, n)
  return np.rint(np.log1p(count) * ONE).astype(np.int32)


def _ids(
    rng: np.random.Generator, field: str, n: int, skew: float
) -> np.ndarray:
  """Draws ids of a field, int64 [n], with a skewed popularity."""
  first, size = RANGES[field]
  # A step with no factor in common with the size visits every id once.
  step = 40_503 * (2 * CODES[field] + 1)
  while np.gcd(step, size) > 1:
    step += 1
  return first + _zipf(rng, size, n, skew) * step % size


def _zipf(
    rng: np.random.Generator, size: int, n: int, skew: float
) -> np.ndarray:
  """Draws ranks below `size`, int64 [n], with P(r) about (r + 1) ** -skew."""
  u = rng.random(n)
  if skew == 1.0:
    rank = np.exp(u * np.log(size + 1)) - 1
  else:
    a = 1 - skew
    rank = (((size + 1) ** a - 1) * u + 1) ** (1 / a) - 1
  return np.minimum(rank.astype(np.int64), size - 1)
