"""Refuses to write a file over one that somebody else has made.

The rule of all programs: a file of --output that exists is replaced if it says
that the same program made it; any other one only with --overwrite. Links,
folders and devices are never replaced.
"""

from collections.abc import Callable
import os
import stat

from esmm_jax.types import InputError


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
