"""The key `model.vectors`, and what a run notes beside it.

    video_id:file=videos.parquet,author_id:file=authors.npz:frozen=False

Frozen vectors are an input of their own, projected to `embed_dim`; others
are the first rows of the column's table, which is trained as always.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from esmm_jax.data.csv_files.quoted_names import colon_hint, split, unquote
from esmm_jax.types import InputError, suggest

# Keys of the section `model`: the text, and what `resolve` notes.
VECTORS = 'vectors'
SHA256, FORM = 'vectors_sha256', 'vectors_form'
KEYS = (VECTORS, SHA256, FORM)
_OPTIONS = ('file', 'frozen')
_TRUTH = {'True': True, 'true': True, 'False': False, 'false': False}


@dataclasses.dataclass(frozen=True)
class Request:
  """Vectors that are asked for.

  Attributes:
    column: The field.
    file: Path of the file.
    frozen: False: they are the first rows of the column's table.
  """

  column: str
  file: str
  frozen: bool = True

  @property
  def named(self) -> str:
    """The key and the column, for messages."""
    return f'model.{VECTORS}: {self.column}'


def parse(text: Any) -> list[Request]:
  """Parses the key; None or '' is no vectors.

  >>> parse('item:file=a.npz:frozen=False')
  [Request(column='item', file='a.npz', frozen=False)]

  Raises:
    InputError: Names the part that is not possible.
  """
  if text is None:
    return []
  if not isinstance(text, str):
    raise InputError(
        f'model.{VECTORS} is {text!r}; it must be a text such as'
        " 'item:file=vectors.parquet'."
    )
  try:
    requests = [_parse_one(part) for part in split(text)]
  except InputError as e:
    raise InputError(f'model.{VECTORS}: {e}') from e
  names = [r.column for r in requests]
  for name in names:
    if names.count(name) > 1:
      raise InputError(f'model.{VECTORS} names the column {name!r} twice.')
  return requests


def _parse_one(part: str) -> Request:
  name, *texts = split(part, ':') or ['']
  if part.startswith(':'):
    name = ''
  options: dict[str, str] = {}
  for text in texts:
    key, equals, value = text.partition('=')
    if key not in _OPTIONS or not equals:
      raise InputError(
          f'{part!r}: {text!r} is no option of vectors; write KEY=VALUE'
          f'{colon_hint(name, text)}, a file with a colon in quotes.'
          f' {suggest(key, _OPTIONS)}'
      )
    if key in options:
      raise InputError(f'{part!r}: {key!r} is set twice.')
    options[key] = unquote(value)
  if not unquote(name) or not options.get('file'):
    raise InputError(
        f'{part!r} names no {"file" if unquote(name) else "column"}; write'
        ' COLUMN:file=FILE.'
    )
  frozen = options.get('frozen', 'True')
  if frozen not in _TRUTH:
    raise InputError(f'{part!r}: frozen is {frozen!r}; write True or False.')
  return Request(unquote(name), options['file'], _TRUTH[frozen])


def of_model(options: Mapping[str, Any]) -> list[Request]:
  """Returns what the section `model` of a config asks for."""
  return parse(options.get(VECTORS))


def others(options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the options of the section `model` that are the model's own."""
  return {k: v for k, v in options.items() if k not in KEYS}


def dims(options: Mapping[str, Any]) -> dict[str, int]:
  """Returns column -> numbers of its vectors, as `resolve` has noted them."""
  form = options.get(FORM) or ()
  return dict(zip([r.column for r in of_model(options)], map(int, form)))
