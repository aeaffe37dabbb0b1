"""Variants that configs and results tables have."""

from collections.abc import Sequence


class NoVariant(ValueError):
  """A file has no variant of a name; no line of the file is wrong."""


def check(name: str, names: Sequence[str]) -> None:
  """Refuses a variant that a config or results table does not have.

  Raises:
    NoVariant: It has no such variant; `experiments.load` names the file.
  """
  if name not in names:
    raise NoVariant(
        f'No variant {name!r}; there are {", ".join(filter(None, names))}.'
    )
