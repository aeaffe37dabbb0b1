"""Resources of each process of a run, as Ray names them."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.engines.together import ray_train
from esmm_jax.types import InputError


def parse(text: str) -> dict[str, Any]:
  """Reads --resources=GPU=1,CPU=4.

  Returns:
    Name -> number, and `ray_train.TEXTS` -> text.

  Raises:
    InputError: It is not so.
  """
  resources: dict[str, Any] = {}
  for part in filter(None, text.split(',')):
    name, _, value = part.partition('=')
    try:
      if name in resources:
        raise ValueError('twice')
      if name in ray_train.TEXTS and value:
        resources[name] = value
        continue
      number = float(value)
      if not name or not 0 < number < float('inf'):
        raise ValueError('not positive')
    except ValueError as e:
      raise InputError(
          f'--resources={text}: {part} must be NAME=NUMBER, as GPU=1,CPU=4, the'
          ' number positive and the name there once.'
      ) from e
    # Ray counts accelerators in whole numbers.
    resources[name] = int(number) if number.is_integer() else number
  return resources


def share(cpus: Sequence[float], num: int) -> int:
  """Returns the processors of each of several processes, as many as can be.

  Args:
    cpus: Processors of each machine.
    num: Number of processes, each on one machine.

  Returns:
    1 where there are fewer processors than processes.
  """
  most = int(max(cpus, default=1))
  fits = lambda c: sum(int(n) // c for n in cpus) >= num
  return next((c for c in range(most, 1, -1) if fits(c)), 1)
