"""Notices that what a run writes to is not there any more."""

from collections.abc import Iterable
import os

from esmm_jax import ownership
from esmm_jax.types import InputError
from esmm_jax.workdir.writer import Writer


class Standing:
  """Folders that a run writes to, as they stood when they were opened.

  One that is removed or renamed while a run trains would be made again, with
  half of a run in it.
  """

  def __init__(self, folders: Iterable[str]):
    """Notes the folders, which exist, with their markers."""
    self._folders = {
        folder: (os.stat(folder), ownership.read_marker(folder))
        for folder in folders
    }

  def check(self, writers: Iterable[Writer] = ()) -> None:
    """Compares the folders with what they were.

    Args:
      writers: Of metrics.jsonl in them.

    Raises:
      InputError: A folder or file is gone, or another one has its name.
    """
    for folder, (then, marker) in self._folders.items():
      if not _is_same(folder, then, marker):
        raise _gone(folder)
    for writer in writers:
      if writer.is_gone:
        raise _gone(writer.path)


def _is_same(folder: str, then: os.stat_result, marker: object) -> bool:
  if not os.path.isdir(folder):
    return False
  now = ownership.read_marker(folder)
  if now is not None and marker is not None:
    # The number of a folder is used again for a new one, and some file systems
    # number a folder anew; its marker stays the same.
    return now == marker
  return os.path.samestat(os.stat(folder), then)


def _gone(path: str) -> InputError:
  return InputError(
      f'{path} was removed, renamed or replaced while the run wrote to it.'
      ' Nothing more is written. Put it back under that name, and the same'
      ' command resumes from its last checkpoint.'
  )
