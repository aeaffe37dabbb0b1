"""The steps at which a training reports, and evaluates."""

import math
from typing import Any, NamedTuple

from esmm_jax.training.job import Job


class Rhythm(NamedTuple):
  """The steps at which a training reports, and evaluates.

  Attributes:
    every: Steps between two evaluations.
    log: Steps between two reports.
    total: Steps of the whole run, the last of which has both.
  """

  every: int
  log: int
  total: int

  @classmethod
  def of(cls, job: Job) -> 'Rhythm':
    """Returns that of a training."""
    program, common = job.program, job.common
    length = program.batches.steps_per_epoch
    every = max(1, math.ceil(length / common.training.evals_per_epoch))
    return cls(every, common.run.log_every, program.total_steps)

  def reports(self, step: Any) -> Any:
    """Returns whether there is a report after `step` steps; may be traced."""
    regular = (step % self.every == 0) | (step % self.log == 0)
    return regular | (step == self.total)

  def evaluates(self, step: int) -> bool:
    """Returns whether there is an evaluation after `step` steps."""
    return step % self.every == 0 or step == self.total
