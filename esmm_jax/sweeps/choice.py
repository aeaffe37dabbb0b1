"""Chooses among a row's candidates on the validation split.

Every candidate is judged by the mean of one validation metric over the same
seeds, those that all candidates have. A candidate whose runs are not finished
is thus neither helped nor harmed by the seeds it lacks. One with a finished run
whose metric is no number is not chosen: its mean would be that of its good
seeds.
"""

from collections.abc import Iterable, Mapping
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
    undefined: Candidates whose metric is no number at some seed.
  """

  value: Any
  taken: bool
  means: dict[Any, Summary]
  seeds: int
  planned: int
  undefined: tuple[Any, ...] = ()

  @property
  def fewer(self) -> bool:
    """True if candidates were compared on fewer seeds than planned."""
    return len(self.means) > 1 and self.seeds < self.planned


def choose(
    values: Mapping[Any, Mapping[Any, float | None]], mode: str
) -> Chosen:
  """Takes the candidate with the best mean, the first of equal ones.

  Args:
    values: Candidate -> seed -> metric, None where the run is not finished, nan
      where it is no number. A single candidate is always chosen.
    mode: 'max' or 'min'.

  Returns:
    The choice; nothing is chosen if the candidates share no finished seed.
  """
  planned = dict.fromkeys(itertools.chain.from_iterable(values.values()))
  if len(values) == 1:
    ((value, by_seed),) = values.items()
    means = {value: _mean(by_seed.values())}
    return Chosen(value, True, means, means[value].n, len(planned))
  undefined = tuple(
      value
      for value, by_seed in values.items()
      if any(v is not None and math.isnan(v) for v in by_seed.values())
  )
  judged = {v: by_seed for v, by_seed in values.items() if v not in undefined}
  common = [
      seed
      for seed in planned
      if all(by_seed.get(seed) is not None for by_seed in judged.values())
  ]
  means = {
      value: _mean(judged[value][seed] for seed in common)
      if value in judged
      else summarize([])
      for value in values
  }
  if not common or not judged:
    return Chosen(None, False, means, 0, len(planned), undefined)
  sign = {'max': 1, 'min': -1}[mode]
  best = max(judged, key=lambda value: sign * means[value].mean)
  return Chosen(best, True, means, len(common), len(planned), undefined)


def _mean(values: Iterable[float | None]) -> Summary:
  return summarize(math.nan if v is None else v for v in values)
