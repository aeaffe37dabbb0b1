"""Scores of positive and negative rows, sorted once for several metrics."""

from collections.abc import Iterator
import functools
from typing import NamedTuple

from esmm_jax.metrics.checks import is_one, same_length
from esmm_jax.types import Array, InputError
import numpy as np

_PIECE = 1 << 18


class Classes:
  """Scores of the rows of each class, in order.

  Only the order of the scores matters, so log-odds and probabilities are the
  same, as long as rounding to probabilities makes no new ties. 0 and -0 are one
  score.

  >>> from esmm_jax.metrics.classes import Classes
  >>> classes = Classes.of([3.0, 2.0, 1.0, 1.0], [1, 0, 1, 0])
  >>> classes.auc(), classes.ks()
  (0.625, 0.5)

  Attributes:
    positives: float32 or float64 [p], rising.
    negatives: The same of the others, [n].
  """

  def __init__(self, positives: np.ndarray, negatives: np.ndarray) -> None:
    """Takes scores that are sorted."""
    self.positives, self.negatives = positives, negatives

  @classmethod
  def of(
      cls, scores: Array, labels: Array, where: Array | None = None
  ) -> 'Classes':
    """Checks and sorts scores.

    Args:
      scores: See `ranking.auc`.
      labels: See there.
      where: See there.

    Raises:
      InputError: See there.
    """
    scores, positive = scored_rows(scores, labels, where)
    positives, negatives = scores[positive], scores[~positive]
    positives.sort()
    negatives.sort()
    return cls(positives, negatives)

  def auc(self) -> float:
    """Computes `ranking.auc`."""
    if not self._has_both:
      return float('nan')
    p, n = len(self.positives), len(self.negatives)
    # Python's integers where twice the pairs may pass 2 ** 63.
    kind = np.int64 if 2 * p * n < 1 << 63 else object
    twice_wins = 0
    for at, above in self._pieces():
      # Negative rows below, and those below or equal.
      twice_below = 2 * n - at.negatives - above.negatives
      gained = (at.positives - above.positives).astype(kind)
      twice_wins += int((gained * twice_below).sum())
    return twice_wins / (2 * p * n)

  def average_precision(self) -> float:
    """Computes `thresholds.average_precision`."""
    if not self._has_both:
      return float('nan')
    total = 0.0
    for at, above in self._pieces():
      precision = at.positives / (at.positives + at.negatives)
      total += float(np.sum((at.positives - above.positives) * precision))
    return total / len(self.positives)

  def recall_at(self, share: float) -> float:
    """Computes `thresholds.recall_at`."""
    if not self._has_both:
      return float('nan')
    budget = share * (len(self.positives) + len(self.negatives))
    # The lowest score whose rows the budget holds, and the next one below.
    rows = self._at.positives + self._at.negatives
    k = len(rows) - int(np.searchsorted(rows[::-1], budget, side='right'))
    if not k:
      return 1.0
    at, above = ([int(x[k - 1]) for x in c] for c in (self._at, self._above))
    gained, before = at[0] - above[0], sum(above)
    part = max(budget - before, 0.0) / (sum(at) - before)
    return (above[0] + part * gained) / len(self.positives)

  def ks(self) -> float:
    """Computes `thresholds.ks`."""
    if not self._has_both:
      return float('nan')
    p, n = len(self.positives), len(self.negatives)
    # TPR - FPR rises only where a positive row is, and so is largest there and
    # least just before.
    return max(
        float(np.abs(c.positives / p - c.negatives / n).max())
        for piece in self._pieces()
        for c in piece
    )

  @property
  def _has_both(self) -> bool:
    return bool(len(self.positives) and len(self.negatives))

  def _pieces(self) -> Iterator[tuple['_Counts', '_Counts']]:
    """Yields `_at` and `_above` in pieces, whose int64 and floats are small."""
    for k in range(0, len(self._starts), _PIECE):
      at, above = (
          _Counts(*(x[k : k + _PIECE].astype(np.int64) for x in counts))
          for counts in (self._at, self._above)
      )
      yield at, above

  @functools.cached_property
  def _starts(self) -> np.ndarray:
    return self._small(run_starts(self.positives))

  @functools.cached_property
  def _at(self) -> '_Counts':
    """Rows at each distinct positive score, or above it."""
    positives = len(self.positives) - self._starts
    return _Counts(positives, self._negatives('left'))

  @functools.cached_property
  def _above(self) -> '_Counts':
    """Rows above each distinct positive score."""
    positives = np.append(self._at.positives[1:], self._small(np.zeros(1)))
    return _Counts(positives, self._negatives('right'))

  def _negatives(self, side: str) -> np.ndarray:
    """Counts those from the left or right of each distinct positive score on.

    The smaller class is looked up in the larger: most rows are only sorted.
    """
    distinct, negatives = self.positives[self._starts], self.negatives
    if len(distinct) <= len(negatives):
      before = np.searchsorted(negatives, distinct, side=side)
    else:
      other = 'right' if side == 'left' else 'left'
      passed = np.searchsorted(distinct, negatives, side=other)
      before = np.bincount(passed, minlength=len(distinct) + 1)[:-1].cumsum()
    return len(negatives) - self._small(before)

  def _small(self, counts: np.ndarray) -> np.ndarray:
    """Converts counts of rows to int32 where they fit."""
    num = len(self.positives) + len(self.negatives)
    return counts.astype(np.int32 if num < 1 << 31 else np.int64)


class _Counts(NamedTuple):
  """Rows of each class, integers [distinct positive scores], lowest first."""

  positives: np.ndarray
  negatives: np.ndarray


def scored_rows(
    scores: Array, labels: Array, where: Array | None, *columns: np.ndarray
) -> tuple[np.ndarray, ...]:
  """Selects scores, bool labels and more columns of the rows that count.

  Args:
    scores: See `ranking.auc`.
    labels: See there.
    where: See there.
    *columns: [n] each.

  Raises:
    InputError: See there.
  """
  scores, labels = same_length(scores=scores, labels=labels)
  if where is not None:
    scores, where = same_length(scores=scores, where=where)
    keep = is_one('where', where)
    scores, labels = scores[keep], labels[keep]
    columns = tuple(x[keep] for x in columns)
  return checked_scores(scores), is_one('labels', labels), *columns


def checked_scores(scores: np.ndarray) -> np.ndarray:
  """Converts scores [n] to float32 or float64.

  Raises:
    InputError: One is nan.
  """
  if scores.dtype not in (np.float32, np.float64):
    scores = scores.astype(np.float64)
  if np.isnan(scores).any():
    raise InputError('scores hold nan.')
  return scores


def run_starts(*keys: np.ndarray) -> np.ndarray:
  """Lists the rows at which a run of equal sorted keys, [n] each, starts."""
  is_start = np.zeros(len(keys[0]), bool)
  is_start[:1] = True
  for key in keys:
    is_start[1:] |= key[1:] != key[:-1]
  return np.flatnonzero(is_start)
