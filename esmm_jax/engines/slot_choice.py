"""Slots as a command asks for them: on this machine, or of a cluster."""

import os
from typing import NamedTuple

from esmm_jax.engines.slots import Local, Slots
from esmm_jax.types import InputError


class Ask(NamedTuple):
  """Flags that say where programs run.

  Attributes:
    engine: 'local' or 'ray'.
    slots: Programs at once on this machine.
    workers: The same, of `ray`; None: as many as the cluster has room for.
    resources: Of each program, of `ray`, as 'GPU=1,CPU=4'; '' for one GPU where
      there are any, or one processor.
    address: Of the cluster; '' starts a Ray on this machine.
  """

  engine: str = 'local'
  slots: int | None = None
  workers: int | None = None
  resources: str = ''
  address: str = ''

  def check(self) -> None:
    """Raises InputError where flags contradict each other."""
    if self.engine == 'ray' and self.slots is not None:
      raise InputError(
          f'--slots={self.slots} applies only to --engine=local; with'
          ' --engine=ray, --workers sets how many groups train at once.'
      )
    if self.engine != 'ray' and self.resources:
      raise InputError(
          f'--resources={self.resources} applies only to --engine=ray, but'
          f' --engine is {self.engine}; leave one out.'
      )
    if self.slots is not None and self.slots > 1 and os.name == 'nt':
      raise InputError(
          f'--slots={self.slots}: on Windows groups train one after the other;'
          ' leave --slots out.'
      )
    if self.engine == 'ray':
      parse(self.resources)

  @property
  def several(self) -> bool:
    """True if programs run in slots, and not in this process."""
    return self.engine == 'ray' or (self.slots or 1) > 1


def opened(ask: Ask) -> Slots:
  """Opens slots.

  Raises:
    InputError: Ray is not there, or the cluster lacks the resources.
  """
  if ask.engine == 'local':
    return Local(ask.slots or 1)
  from esmm_jax.engines.ray_slots import OnRay

  return OnRay(ask.workers, parse(ask.resources), ask.address)


def parse(text: str) -> dict[str, float]:
  """Reads resources, such as 'GPU=1,CPU=4'; '' leads to {}.

  Raises:
    InputError: The text has another form, or names what a group cannot have.
  """
  from esmm_jax.engines.together import resources

  chosen = resources.parse(text)
  for name, value in chosen.items():
    if isinstance(value, str):
      raise InputError(
          f'--resources={text}: {name} applies only to training over several'
          ' machines; for a group of runs write numbers, such as GPU=1,CPU=4.'
      )
  return chosen
