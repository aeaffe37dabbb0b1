"""Notices that what a run writes to is not there any more."""

import os
from typing import Any

from esmm_jax import ownership
from esmm_jax.types import InputError


class Standing:
  """Notices that folders which are written to are no longer there.

  A folder that is removed or renamed while a run trains would be made again,
  with half of a run in it.
  """

  def __init__(self):
    self._folders: dict[str, tuple[os.stat_result, Any]] = {}

  def add(self, folder: str) -> None:
    """Notes a folder with its marker."""
    marker = ownership.read_marker(folder)
    self._folders[folder] = os.stat(folder), marker

  def check(self) -> None:
    """Compares the folders with what they were.

    Raises:
      InputError: One of them is gone, or another one has its name.
    """
    for folder, (then, marker) in self._folders.items():
      try:
        # Some file systems number a folder anew; its marker stays the same.
        if os.path.samestat(os.stat(folder), then) or (
            marker is not None and ownership.read_marker(folder) == marker
        ):
          continue
      except (FileNotFoundError, NotADirectoryError):
        pass
      raise gone(folder)


def gone(path: str) -> InputError:
  """Returns the error of a file or folder that was taken away from a run."""
  return InputError(
      f'{path} was removed, renamed or replaced while the run wrote to it.'
      ' Nothing more is written. Put it back under that name, and the same'
      ' command resumes from its last checkpoint.'
  )
