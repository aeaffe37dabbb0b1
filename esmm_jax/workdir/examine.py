"""Looks for the last sound checkpoint, and sets aside what is none.

What does not verify is moved to `checkpoints/damaged`, where Orbax does not see
it. Nothing is removed before a newer checkpoint is complete, and then only what
consists of files that a checkpoint of ours has.
"""

from collections.abc import Sequence
import os
import shutil

from esmm_jax import checksums, system_errors
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray

ASIDE = 'damaged'
# What is directly in a checkpoint; one that was not sealed has no other list.
_PARTS = {'_CHECKPOINT_METADATA', 'arrays', 'position', 'tables'}


def examine(folder: str) -> tuple[int | None, list[tuple[str, str]]]:
  """Finds the last sound checkpoint, and what is none.

  Those before it are not read, but they must have a seal: Orbax would remove
  what is not ours as the oldest.

  Args:
    folder: `checkpoints` of a run, which need not exist.

  Returns:
    Its step or None, and (name in the folder, what is wrong in a sentence).

  Raises:
    OSError: A file cannot be read, whatever is in it.
  """
  bad: list[tuple[str, str]] = []
  names = os.listdir(folder) if os.path.isdir(folder) else []
  steps = sorted((n for n in names if _is_number(n)), key=int)
  sound = None
  while steps:
    name = steps.pop()
    path = os.path.join(folder, name)
    wrong = _wrong(path, sound is None)
    if not wrong and sound is None:
      sound = int(name)
    elif wrong:
      instead = 'there is no earlier one'
      if sound is not None or steps:
        instead = f'step {steps[-1] if sound is None else sound} is used'
      bad.append((
          name,
          f'The checkpoint {path} is damaged: {wrong}. It is not used;'
          f' {instead}.',
      ))
  return sound, bad


def _is_number(name: str) -> bool:
  return name.isascii() and name.isdecimal()


def _wrong(path: str, reads: bool) -> str:
  """Returns what is wrong with a checkpoint, '' if nothing is.

  Args:
    path: Its folder.
    reads: Reads all of it; otherwise it need only have a seal.
  """
  if os.path.islink(path):
    return 'it is a symbolic link'
  if str(int(os.path.basename(path))) != os.path.basename(path):
    return 'no checkpoint has such a name'
  if reads or not checksums.is_sealed(path):
    return checksums.damage(path)
  return ''


def set_aside(folder: str, names: Sequence[str]) -> list[str]:
  """Moves checkpoints that are not sound out of the sight of Orbax.

  Args:
    folder: `checkpoints` of a run.
    names: What is to be moved.

  Returns:
    The paths where they are now.

  Raises:
    InputError: They cannot be moved.
  """
  aside, moved = os.path.join(folder, ASIDE), []
  if names and os.path.islink(aside):
    raise InputError(
        f'{aside} is a symbolic link, so damaged checkpoints are not moved'
        ' there. Remove the link.'
    )
  try:
    for name in names:
      os.makedirs(aside, exist_ok=True)
      to, number = os.path.join(aside, name), 1
      while os.path.lexists(to) or checksums.is_sealed(to):
        number += 1
        to = os.path.join(aside, f'{name}-{number}')
      # The folder first: a seal alone is of no use, and is removed.
      os.rename(os.path.join(folder, name), to)
      if checksums.is_sealed(os.path.join(folder, name)):
        checksums.move_seal(os.path.join(folder, name), to)
      moved.append(to)
    if os.path.isdir(folder):
      checksums.remove_stray(folder)
  except OSError as e:
    raise InputError(
        f'A damaged checkpoint in {folder} cannot be moved to {aside}:'
        f' {system_errors.told(e)} It is left as it is.'
    ) from e
  return moved


def retire(folder: str, number: int) -> None:
  """Removes old checkpoints, now that a newer one is complete.

  What was set aside goes too. A folder that holds a file which no checkpoint of
  ours has stays as it is.

  Args:
    folder: `checkpoints` of a run.
    number: How many checkpoints are left.
  """
  names = [
      name
      for name in os.listdir(folder)
      if _is_number(name) and checksums.is_sealed(os.path.join(folder, name))
  ]
  for name in sorted(names, key=int)[:-number]:
    if _is_ours(path := os.path.join(folder, name)):
      shutil.rmtree(path)
  checksums.remove_stray(folder)
  aside = os.path.join(folder, ASIDE)
  if os.path.islink(aside) or not os.path.isdir(aside):
    return
  for name in os.listdir(aside):
    if _is_ours(path := os.path.join(aside, name)):
      shutil.rmtree(path)
  checksums.remove_stray(aside)
  if not os.listdir(aside):
    os.rmdir(aside)


def _is_ours(path: str) -> bool:
  """Returns True for a folder that holds nothing but files of a checkpoint."""
  if os.path.islink(path) or not os.path.isdir(path):
    return False
  if listed := checksums.read_seal(path, strict=False):
    return checksums.holds_only(path, listed)
  names = {n for n in os.listdir(path) if not is_stray(n)}
  return bool(names) and names <= _PARTS
