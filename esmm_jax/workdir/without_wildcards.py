"""Another path of a folder, for libraries that take its name for a pattern.

Orbax lists parts of a checkpoint by globbing its path as it stands: in a folder
`lr[0.1]` it finds none, and leaves out of the checkpoint what it did not find.
"""

import glob
import os
import tempfile
import weakref

# Linux shows here what a process has opened.
_OPENED = '/proc/self/fd'


class Folder:
  """A folder under a path that has no character of a pattern.

  Attributes:
    path: The folder's own path if it has none; else one through the list of
      opened files of this process, or, where the system has no such list,
      through a symbolic link in a temporary folder.
  """

  def __init__(self, path: str):
    """Makes the path; the folder must exist if its name needs another one."""
    self.path = path
    self._undo = lambda: None
    if glob.escape(path) == path:
      return
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    opened = os.path.join(_OPENED, str(number))
    if os.path.isdir(os.path.join(opened, '')):
      self.path = opened
      self._undo = weakref.finalize(self, os.close, number)
      return
    os.close(number)
    temporary = tempfile.TemporaryDirectory(prefix='esmm_jax_')
    self.path = os.path.join(temporary.name, 'folder')
    os.symlink(path, self.path)
    self._undo = temporary.cleanup

  def close(self) -> None:
    """Frees what the path leads through; it is no path any more."""
    self._undo()
