"""Chooses among a row's candidates on the validation split.

Every candidate is judged by the mean of one validation metric over the same
seeds, those that all candidates have. A candidate whose runs are not finished
is thus neither helped nor harmed by the seeds it lacks.
"""

from collections.abc import Mapping
import itertools
import math
from typing import Any, NamedTuple

from esmm_jax.metrics.significance import summarize, Summary


class Chosen(NamedTuple):
  """A choice and the means that decided it.

  Attributes:
    value: The chosen candidate; None where none could be chosen.
    taken: False where the candidates have no seed in common.
    means: Candidate -> metric over the common seeds; over all its seeds if it
      is the only candidate.
    seeds: Number of seeds behind the choice.
    planned: Number of seeds once all runs are finished.
  """

  value: Any
  taken: bool
  means: dict[Any, Summary]
  seeds: int
  planned: int

  @property
  def fewer(self) -> bool:
    """True if candidates were compared on fewer seeds than planned."""
    return len(self.means) > 1 and self.seeds < self.planned


def choose(values: Mapping[Any, Mapping[Any, float]], mode: str) -> Chosen:
  """Takes the candidate with the best mean, the first of equal ones.

  Args:
    values: Candidate -> seed -> metric, nan where the run is not finished. A
      single candidate is always chosen.
    mode: 'max' or 'min'.

  Returns:
    The choice; nothing is chosen if the candidates share no finished seed.
  """
  planned = dict.fromkeys(itertools.chain.from_iterable(values.values()))
  if len(values) == 1:
    ((value, by_seed),) = values.items()
    means = {value: summarize(by_seed.values())}
    return Chosen(value, True, means, means[value].n, len(planned))
  common = [
      seed
      for seed in planned
      if not any(
          math.isnan(by_seed.get(seed, math.nan)) for by_seed in values.values()
      )
  ]
  means = {
      value: summarize(by_seed[seed] for seed in common)
      for value, by_seed in values.items()
  }
  if not common:
    return Chosen(None, False, means, 0, len(planned))
  sign = {'max': 1, 'min': -1}[mode]
  best = max(means, key=lambda value: sign * means[value].mean)
  return Chosen(best, True, means, len(common), len(planned))
