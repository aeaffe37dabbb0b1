"""A folder of scores, as Spark writes one: a file of each part, and `_SUCCESS`.

What is scored lies in `_parts` until all of it is there; then each part is
written under its last name, by the workers that scored, and `_SUCCESS` comes
last. Names that begin with `_` are no data for Spark, Hive and Arrow.
"""

from collections.abc import Mapping, Sequence
import json
import os
import re
import stat
from typing import Any, NamedTuple

from esmm_jax import system_errors
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.options import check_choice
from esmm_jax.serving import joining, outputs
from esmm_jax.serving.targets.target import Target
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray, replacing
from esmm_jax.workdir import predictions
import pyarrow as pa

SUCCESS = '_SUCCESS'
FORMS = ('parquet', 'csv', 'csv.gz')
_PARTS = '_parts'
_NAME = re.compile(r'part-\d{5,}\.(parquet|csv|csv\.gz)')
_KEY = predictions.KEY.decode()


class Folder(Target):
  """Files `part-00000.parquet` and so on, in the order of the rows.

  Attributes:
    form: One of `FORMS`.
  """

  def __init__(self, path: str, parts: str, file: str, overwrite: bool):
    super().__init__(path, parts, file, overwrite)
    self.form = os.path.basename(file).partition('.')[2]

  @classmethod
  def of(cls, path: str, form: str, overwrite: bool) -> 'Folder':
    """Returns that of a path; see `choice.of`."""
    if form:
      check_choice('--output_format', form, FORMS)
    else:
      name = path.rstrip(f'/{os.sep}').lower()
      endings = (f for f in FORMS if name.endswith(f'.{f}'))
      form = next(endings, FORMS[0])
    file = os.path.join(path, _name(0, 1, form))
    return cls(path, os.path.join(path, _PARTS), file, overwrite)

  def _check_name(self, sources: Sequence[str]) -> None:
    """See the base class."""
    outputs.check(self.file)
    inside = os.path.realpath(self.path)
    for source in sources:
      if os.path.realpath(os.path.dirname(source)) == inside:
        raise InputError(
            f'--output={self.path} is the folder of {source} of --input; name'
            ' another folder.'
        )

  def _check_absent(self) -> None:
    """See the base class; a folder is replaced if it holds nothing else."""
    try:
      names = sorted(os.listdir(self.path))
    except FileNotFoundError:
      return
    except OSError as e:
      why = system_errors.told(e, 'Name another folder.')
      raise InputError(f'--output={self.path}: {why}') from e
    finished = _finished(self.path)
    writing = os.path.isfile(self._note)
    for name in names:
      if name == _PARTS or is_stray(name):
        continue
      is_ours = name in finished or (writing and _is_name(name))
      if not is_ours or not _is_file(os.path.join(self.path, name)):
        raise InputError(
            f'--output={self.path} contains {name}, which this program did not'
            ' write. Name a new or empty folder.'
        )
    if finished and not writing and not self.overwrite:
      raise InputError(
          f'--output={self.path} holds finished scores. Name another folder, or'
          ' add --overwrite to replace them.'
      )

  @property
  def _note(self) -> str:
    """A file that is there from when the last names are written."""
    return os.path.join(self.parts, joining.NOTE)

  def write(
      self,
      done: Sequence[str],
      engine: Engine,
      counts: Counts,
      metadata: Mapping[bytes, bytes],
  ) -> int:
    """See the base class."""
    schema = joining.schema(done, self.path, metadata)
    self._check_absent()  # Much may have happened since.
    write_json(self._note, {'files': len(done)})
    for name in os.listdir(self.path):
      if _is_name(name):
        os.remove(os.path.join(self.path, name))
    names = [_name(k, len(done), self.form) for k in range(len(done))]
    last = _Last(os.path.abspath(self.path), schema)
    files = zip(map(os.path.abspath, done), names)
    num = 0
    for rows, of_part in engine.map(
        write_part, last, list(files), self.parts, lambda rows: None
    ):
      num += rows
      counts.add_all(of_part)
    about = {
        'rows': num,
        'files': len(names),
        'format': self.form,
        _KEY: json.loads(metadata[predictions.KEY]),
    }
    write_json(os.path.join(self.path, SUCCESS), about)
    return num


class _Last(NamedTuple):
  """The settings that all parts of a folder share.

  Attributes:
    folder: The folder.
    schema: Of all files, with the metadata.
  """

  folder: str
  schema: pa.Schema


def write_part(
    last: _Last, part: tuple[str, str], tell: Tell
) -> tuple[int, Mapping[str, Any]]:
  """Writes a part under its last name; returns its rows and counts."""
  del tell
  source, name = part
  path = os.path.join(last.folder, name)
  table, counts = joining.read_part(source)
  with replacing(path) as temporary:
    with outputs.opened(temporary, path, last.schema) as write:
      joining.write(table, last.schema, write, source)
  return table.num_rows, counts


def _name(k: int, num: int, form: str) -> str:
  """Returns the name of file k of `num`; their order is that of the names."""
  return f'part-{k:0{max(5, len(str(num - 1)))}d}.{form}'


def _is_name(name: str) -> bool:
  """Returns whether a file of this program may have a name."""
  return name == SUCCESS or bool(_NAME.fullmatch(name))


def _finished(folder: str) -> set[str]:
  """Returns the files of a folder that a job has finished; else none."""
  try:
    with open(os.path.join(folder, SUCCESS), encoding='utf-8') as f:
      about = parse_json(f.read())
    num, form = about['files'], about['format']
    if not isinstance(about[_KEY], dict):
      return set()
    return {SUCCESS, *(_name(k, num, form) for k in range(num))}
  except (OSError, ValueError, RecursionError, KeyError, TypeError):
    return set()


def _is_file(path: str) -> bool:
  """Returns whether a path is a file, and no link to one."""
  return stat.S_ISREG(os.lstat(path).st_mode)
