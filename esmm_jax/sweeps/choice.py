"""Which of a row's candidates the validation split chooses.

Every candidate is judged by the mean of one validation metric over the same
seeds, those that all candidates have. A candidate whose runs are not finished
is so neither helped nor harmed by the seeds it lacks.
"""

from collections.abc import Mapping
import math
from typing import Any, NamedTuple

from esmm_jax.metrics.significance import summarize, Summary


class Chosen(NamedTuple):
  """A choice and what it was made of.

  Attributes:
    value: The candidate taken; None also where none could be.
    taken: Whether one was: not where the candidates have no seed in common.
    means: Candidate -> its metric over the common seeds; over all its seeds
      where it is the only one.
    seeds: How many the choice was made on.
    planned: How many there are once all runs are finished.
  """

  value: Any
  taken: bool
  means: dict[Any, Summary]
  seeds: int
  planned: int

  @property
  def fewer(self) -> bool:
    """Whether there was something to choose, on fewer seeds than planned."""
    return len(self.means) > 1 and self.seeds < self.planned


def choose(values: Mapping[Any, Mapping[Any, float]], mode: str) -> Chosen:
  """Takes the candidate with the best mean, the first of equal ones.

  Args:
    values: Candidate -> seed -> metric, nan where the run is not finished. One
      candidate is taken whatever it has.
    mode: 'max' or 'min'.
  """
  planned = dict.fromkeys(seed for own in values.values() for seed in own)
  if len(values) == 1:
    ((value, own),) = values.items()
    means = {value: summarize(own.values())}
    return Chosen(value, True, means, means[value].n, len(planned))
  common = [
      seed
      for seed in planned
      if not any(math.isnan(own.get(seed, math.nan)) for own in values.values())
  ]
  means = {
      value: summarize(own[seed] for seed in common)
      for value, own in values.items()
  }
  if not common:
    return Chosen(None, False, means, 0, len(planned))
  sign = {'max': 1, 'min': -1}[mode]
  best = max(means, key=lambda value: sign * means[value].mean)
  return Chosen(best, True, means, len(common), len(planned))
