"""Variants that configs and results tables have."""

from collections.abc import Sequence

from esmm_jax.types import InputError


def check(name: str, names: Sequence[str]) -> None:
  """Refuses a variant that a config or results table does not have.

  Raises:
    InputError: It has no such variant; `experiments.load` names the file.
  """
  if name not in names:
    raise InputError(
        f'No variant {name!r}; there are {", ".join(filter(None, names))}.'
    )
