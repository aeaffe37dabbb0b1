"""Variants that configs and results tables have."""

from collections.abc import Sequence


def check(name: str, names: Sequence[str]) -> None:
  """Refuses a variant that a config or results table does not have.

  Raises:
    ValueError: It has no such variant; `experiments.load` names the file.
  """
  if name not in names:
    raise ValueError(
        f'No variant {name!r}; there are {", ".join(filter(None, names))}.'
    )
