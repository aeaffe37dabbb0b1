"""Tells what this program made from what is somebody else's.

A folder that a program makes gets a marker, `.esmm_jax.json`, with its kind.
In a folder without one, nothing is written over and nothing is removed: it is
refused if something stands there under a name that the program would write.
Files under other names are nobody's concern; they stay. Folders of versions
that wrote no marker are known by what they hold.
"""

from collections.abc import Callable, Iterator
import contextlib
import fnmatch
import os
import shutil
import stat
from typing import Any, NamedTuple
import uuid

from esmm_jax import locks, system_errors
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray

MARKER = '.esmm_jax.json'


class Kind(NamedTuple):
  """A kind of folder.

  Attributes:
    name: What it is the folder of, for people and in the marker.
    files: Names, or patterns of names, of the files that are written into it.
    folders: The same of folders in it.
    is_earlier: Path -> True for one that a version without markers made.
    holds_only: Nothing but these names belongs into it, so that it is refused
      with any other one if it has no marker.
  """

  name: str
  files: tuple[str, ...]
  folders: tuple[str, ...]
  is_earlier: Callable[[str], bool]
  holds_only: bool = False


def _json(*path: str) -> Any:
  """Reads JSON; None where there is none that can be read."""
  try:
    with open(os.path.join(*path), encoding='utf-8') as f:
      return parse_json(f.read())
  except (OSError, ValueError, RecursionError):  # Nested without end.
    return None


def _has(value: Any, *keys: str) -> bool:
  return isinstance(value, dict) and all(key in value for key in keys)


def _is_run(folder: str) -> bool:
  config, origin = _json(folder, 'config.json'), _json(folder, 'origin.json')
  sections = _has(config, 'dataset', 'model') and all(
      isinstance(config[s], dict) for s in ('dataset', 'model')
  )
  return (
      sections
      or _has(_json(folder, 'manifest.json'), 'config_sha256', 'data')
      # A run of a sweep that was killed before it began has no other file.
      or isinstance(origin, list)
      and bool(origin)
      and all(_has(entry, 'command', 'commit') for entry in origin)
  )


def _is_group(folder: str) -> bool:
  names = _names(os.path.join(folder, 'checkpoints'))
  return any(fnmatch.fnmatch(name, '[0-9]*.seal.json') for name in names)


def _is_sweep(folder: str) -> bool:
  if _has(_json(folder, 'sweep.json'), 'sweep', 'points'):
    return True
  runs = os.path.join(folder, 'runs')  # Where sweep.json is lost or torn.
  return any(is_ours(os.path.join(runs, n), RUN) for n in _names(runs))


def _is_scores(folder: str) -> bool:
  return _has(_json(folder, 'job.json'), 'run', 'part_rows')


_TABLE = ('table.md', 'table.csv', 'table.tex')
_PICTURES = tuple(
    f'{stem}.{ending}'
    for stem in ('front*', 'training-size*', 'cvr-by-ctr-decile', 'gains*')
    for ending in ('png', 'pdf')
)
RUN = Kind(
    'run',
    (
        'config.json', 'schema.json', 'manifest.json', 'results.json',
        'metrics.jsonl', 'calibration.json', 'evaluation.json', 'origin.json',
        'report.html',
    ),
    (
        'checkpoints', 'encoder', 'predictions', 'plots', 'tensorboard',
        'non_finite', 'tracking', '.processes',
    ),
    _is_run,
)
GROUP = Kind('group of runs', (), ('checkpoints', '.processes'), _is_group)
SWEEP = Kind(
    'sweep',
    (
        *('sweep.json', 'report.html', 'seesaw.html', 'seesaw.csv'),
        *('seesaw.json', *_TABLE, *_PICTURES),
    ),
    ('runs', 'groups', 'failed', 'compiled', 'plots'),
    _is_sweep,
)
TABLE = Kind('results table', (*_TABLE, *_PICTURES), (), lambda folder: False)
DEMO = Kind(
    'demo',
    ('cvr_by_ctr_decile.png',),
    ('entire_space', 'click_space'),
    lambda folder: is_ours(os.path.join(folder, 'entire_space'), RUN),
)
SCORES = Kind(
    'scoring job',
    ('job.json', 'joined.json', 'joined', '[0-9]*.parquet'),
    (),
    _is_scores,
    holds_only=True,
)


def is_ours(folder: str, kind: Kind) -> bool:
  """Returns True for a folder with the marker of a kind, or an earlier one."""
  marked = _marked(folder)
  return marked == kind.name if marked else kind.is_earlier(folder)


def check(
    folder: str, kind: Kind, flag: str = '--workdir', overwrite: bool = False
) -> None:
  """Refuses a folder in which something would be written over.

  Args:
    folder: The folder, which need not exist.
    kind: What it is to be.
    flag: The flag that names it, for messages; '' for none.
    overwrite: Takes the files in it that are not ours, but no link.

  Raises:
    InputError: It has no marker, and something stands in it under a name of
      `kind`; it is of another kind; a name of `kind` is a symbolic link, or a
      file where a folder should be, or the other way round; or it cannot be
      looked at. The line names what stands there.
  """
  where = f'{flag}={folder}' if flag else folder
  marked = _marked(folder)
  if marked and marked != kind.name:
    raise InputError(
        f'{where} is the folder of a {marked}, not of a {kind.name}. Name'
        ' another folder.'
    )
  # A link that a user names is followed; the name of parts is not the user's.
  is_link = os.path.islink(folder) and kind.holds_only
  if os.path.lexists(folder) and (is_link or not os.path.isdir(folder)):
    raise InputError(
        f'{where} is no folder, or a symbolic link. Move it away, or name'
        ' another folder.'
    )
  try:
    entries = list(_entries(folder, kind))
    for path, is_folder in entries:
      _refuse_other_type(path, is_folder, where)
    if marked or overwrite or kind.is_earlier(folder):
      return
    for path, is_folder in entries:
      if not is_folder or any(not is_stray(n) for n in os.listdir(path)):
        raise _foreign(path, kind, where)
  except OSError as e:
    raise InputError(
        f'{where}: {system_errors.line(e, "Name another folder.")}'
    ) from e
  if kind.holds_only:
    for name in _names(folder):
      if not is_stray(name) and name not in (MARKER, locks.NAME):
        raise _foreign(os.path.join(folder, name), kind, where)


def claim(
    folder: str, kind: Kind, flag: str = '--workdir', overwrite: bool = False
) -> None:
  """Makes a folder of a kind with its marker, or takes one that is ours.

  Args:
    folder: The folder; it may exist, empty or with files of other names.
    kind: What it is to be.
    flag: The flag that names it, for messages.
    overwrite: Takes the files in it that are not ours.

  Raises:
    InputError: As `check`; or it cannot be made.
  """
  check(folder, kind, flag, overwrite)
  if _marked(folder):
    return
  try:
    os.makedirs(folder, exist_ok=True)
    # The number tells it from another folder that gets its name later.
    marker = {'kind': kind.name, 'id': uuid.uuid4().hex}
    write_json(os.path.join(folder, MARKER), marker)
  except OSError as e:
    why = system_errors.told(e, 'Name a folder that can be written.')
    raise InputError(f'{flag}={folder}: {why}') from e


def remove(folder: str, kind: Kind) -> None:
  """Removes what a folder of a kind holds under its names, then the folder.

  What stands there under other names stays, and the folder with it.

  Args:
    folder: The folder; one that is not ours is left as it is.
    kind: Its kind.
  """
  if os.path.islink(folder) or not is_ours(folder, kind):
    return
  for path, is_folder in _entries(folder, kind):
    if os.path.islink(path) or os.path.isdir(path) != is_folder:
      continue
    if is_folder:
      shutil.rmtree(path)
    elif os.path.basename(path) != MARKER:
      os.remove(path)
  # The marker last: a kill before leaves a folder that is still ours.
  for name in (locks.NAME, MARKER):
    with contextlib.suppress(FileNotFoundError):
      os.remove(os.path.join(folder, name))
  with contextlib.suppress(OSError):  # It is not empty.
    os.rmdir(folder)


def read_marker(folder: str) -> Any:
  """Reads the marker of a folder; None where there is none to be read."""
  return _json(folder, MARKER)


def _entries(folder: str, kind: Kind) -> Iterator[tuple[str, bool]]:
  """Yields (path, is to be a folder) of what stands under a kind's names."""
  try:
    names = sorted(os.listdir(folder))
  except (FileNotFoundError, NotADirectoryError):
    return
  for name in names:
    for patterns, is_folder in ((kind.files, False), (kind.folders, True)):
      if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
        yield os.path.join(folder, name), is_folder
    if name == MARKER:
      yield os.path.join(folder, name), False


def _refuse_other_type(path: str, is_folder: bool, where: str) -> None:
  """Refuses a link, a pipe, and a file where a folder should be."""
  mode = os.lstat(path).st_mode
  if stat.S_ISLNK(mode):
    raise InputError(
        f'{where}: {path} is a symbolic link, and what is behind it might be'
        " somebody else's. Remove the link, or name another folder."
    )
  if not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
    wanted = 'folder' if is_folder else 'file'
    raise InputError(
        f'{where}: {path} is no {wanted}, as this program would write one of'
        ' that name. Move it away, or name another folder.'
    )


def _foreign(path: str, kind: Kind, where: str) -> InputError:
  return InputError(
      f'{where} is no folder of a {kind.name} (it has no {MARKER}), and {path}'
      ' stands there, which would be written over. Move it away, or name'
      ' another folder.'
  )


def _marked(folder: str) -> str:
  """Returns the kind that a folder's marker names; '' without one."""
  marker = _json(folder, MARKER)
  return str(marker['kind']) if _has(marker, 'kind') else ''


def _names(folder: str) -> list[str]:
  try:
    return sorted(os.listdir(folder))
  except OSError:
    return []
