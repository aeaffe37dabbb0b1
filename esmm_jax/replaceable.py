"""Refuses to write a file over one that somebody else has made.

The rule of all programs: a file of --output that exists is replaced if it says
that the same program made it; any other one only with --overwrite. Links,
folders and devices are never replaced.
"""

from collections.abc import Callable
import os
import re
import shutil
import stat

from esmm_jax import checksums
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray, new_folder


def require(
    path: str,
    is_ours: Callable[[str], bool] | None = None,
    overwrite: bool = False,
    flag: str = '--output',
) -> None:
  """Refuses a path where something stands that may not be written over.

  Args:
    path: The file to write.
    is_ours: Path -> True for a file that the same program made; None where a
      file of its form cannot say it.
    overwrite: Whether any file may be replaced.
    flag: The flag that names the path, for messages.

  Raises:
    InputError: A file stands there, or a link, a folder, a device.
  """
  try:
    mode = os.lstat(path).st_mode
  except (FileNotFoundError, NotADirectoryError):
    return
  where = f'{flag}={path}'
  if stat.S_ISLNK(mode):
    raise InputError(
        f'{where} is a symbolic link, which is not followed. Name the file'
        ' itself.'
    )
  if stat.S_ISDIR(mode):
    raise InputError(f'{where} is a folder; name a file.')
  if not stat.S_ISREG(mode):
    raise InputError(f'{where} is no file that can be replaced; name another.')
  if overwrite or (is_ours and is_ours(path)):
    return
  made = ', and this program has not made it' if is_ours else ''
  raise InputError(
      f'{where} exists{made}. Name another file, or add --overwrite to replace'
      ' it.'
  )


def begins_with(path: str, *texts: str) -> bool:
  """Returns whether one of some texts stands at the beginning of a file.

  Args:
    path: The file; one that cannot be read has none of them.
    texts: Any of them within the first 4,096 bytes counts.
  """
  try:
    with open(path, 'rb') as f:
      start = f.read(4096).decode('utf-8', 'replace')
  except OSError:
    return False
  return any(text in start for text in texts)


def copy_folder(folder: str, to: str, ours: re.Pattern[str]) -> None:
  """Copies a folder, whole or not at all, over one of the same kind alone.

  A copy that is there already is left as it is.

  Args:
    folder: The folder.
    to: The name of the copy.
    ours: Names of files that such a folder may have, besides those of `folder`.

  Raises:
    InputError: There is another file in `to`.
  """
  written = set(os.listdir(folder))
  for name in os.listdir(to) if os.path.isdir(to) else ():
    if name not in written and not ours.fullmatch(name) and not is_stray(name):
      raise InputError(
          f'{os.path.join(to, name)} was not made by this program, which is to'
          ' replace that folder. Move it away.'
      )
  if os.path.isdir(to) and not checksums.difference(folder, to):
    return
  with new_folder(to) as temporary:
    shutil.copytree(folder, temporary, dirs_exist_ok=True)
    shutil.rmtree(to, ignore_errors=True)
