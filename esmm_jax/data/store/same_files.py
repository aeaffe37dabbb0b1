"""Whether prepared data was made from the files that are there now."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.types import InputError


def check_raw(
    files: Mapping[str, Mapping[str, Any]],
    there: Mapping[str, int],
    folder: str,
    raw_dir: str,
) -> None:
  """`check` of the files in a data set's `raw_dir`.

  Args:
    files: Name -> facts with `bytes`, as a report has them.
    there: See `check`.
    folder: See `check`.
    raw_dir: Where those that are there are.
  """
  check(
      {name: facts['bytes'] for name, facts in files.items()},
      there,
      folder,
      f'raw files than those in {raw_dir}',
      ', or leave raw_dir empty to use what is prepared',
  )


def check(
    used: Mapping[str, int],
    there: Mapping[str, int],
    folder: str,
    which: str,
    advice: str,
) -> None:
  """Compares files by name and size.

  Args:
    used: Name -> bytes, of those that the data was prepared from.
    there: Of those that are there.
    folder: Of the prepared data.
    which: What those that are there are called.
    advice: What else can be done than to delete the folder.

  Raises:
    InputError: They differ; names the first one.
  """
  for name in [*used, *there]:
    if used.get(name) != there.get(name):
      then = f'{used[name]} bytes' if name in used else 'absent'
      now = f'{there[name]} bytes' if name in there else 'absent'
      raise InputError(
          f'{folder} was prepared from other {which}: {name} was {then} then'
          f' and is {now} now. Delete that folder to prepare from the new'
          f' files, use another --data_dir{advice}.'
      )
