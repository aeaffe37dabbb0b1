"""Compares raw files with those that the prepared data was made from."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.types import InputError


def check_raw(
    files: Mapping[str, Mapping[str, Any]],
    present: Mapping[str, int],
    folder: str,
    raw_dir: str,
) -> None:
  """Checks the files in a data set's `raw_dir`.

  Args:
    files: Name -> facts with `bytes`, as a report holds them.
    present: See `check`.
    folder: See `check`.
    raw_dir: Folder of the files that are present.

  Raises:
    InputError: See `check`.
  """
  check(
      {name: facts['bytes'] for name, facts in files.items()},
      present,
      folder,
      f'raw files than those in {raw_dir}',
      ', or leave raw_dir empty to use what is prepared',
  )


def check(
    used: Mapping[str, int],
    present: Mapping[str, int],
    folder: str,
    which: str,
    advice: str,
) -> None:
  """Compares files by name and size.

  Args:
    used: Name -> bytes, of the files that the data was prepared from.
    present: The same, of the files that exist now.
    folder: Of the prepared data.
    which: Names the present files, for the message.
    advice: An alternative to deleting the folder, for the message.

  Raises:
    InputError: They differ; names the first file that does.
  """
  # Not by checksum: reading gigabytes of raw files would cost each run minutes.
  for name in [*used, *present]:
    if used.get(name) != present.get(name):
      then = f'{used[name]} bytes' if name in used else 'absent'
      now = f'{present[name]} bytes' if name in present else 'absent'
      raise InputError(
          f'{folder} was prepared from other {which}: {name} was {then} then'
          f' and is {now} now. Delete that folder to prepare from the new'
          f' files, use another --data_dir{advice}.'
      )
