"""The runs that a person names to be averaged, and why they cannot be.

    runs/a,runs/b            folders with commas between; a name that holds a
                             comma stands in quotes: '"runs/a,1",runs/b'
    runs/table2, row mmoe    of a sweep the runs of one row
    runs/table2/groups/HASH  a group of replicas that is still there

A folder whose whole name is the text comes first, so that a run in `runs/a,b`
is that run.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from esmm_jax import histories, paths, streams
from esmm_jax.data.csv_files import quoted_names
from esmm_jax.data.tabular import encoder_hashes
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.json_files import read_json
from esmm_jax.serving.restore import Trained
from esmm_jax.sweeps import rows
from esmm_jax.sweeps.saved_runs import run_folder
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest
from esmm_jax.workdir.folder import decisive, differences
from esmm_jax.workdir.identity import RAW_DATA_KEYS, Stamp

# Keys of a data set in which members may differ: where its files lie (the data
# has a hash), and on which of its rows a member was trained.
_FREE = (
    *RAW_DATA_KEYS,
    'dataset.train_split',
    'dataset.vocabulary_of',
    'dataset.vocabulary_sha256',
)


def folders(runs: Any, row: str = '') -> list[str]:
  """Returns the folders of the runs that are named.

  Args:
    runs: A text as above, or a sequence of folders, each taken as it stands.
    row: Of a sweep, which `runs` then names: the values of the row as the
      results table shows them, with commas between. '': the only row.

  Returns:
    The folders, at least one.

  Raises:
    InputError: A name is empty, a folder is named twice or holds no run, or
      there is no such row.
  """
  if isinstance(runs, (str, os.PathLike)):
    named = _named(os.fspath(runs))
  else:
    named = [paths.expand(run) for run in runs]
  if not named or not all(named):
    raise InputError(f'--workdir={runs}: name at least one run, none empty.')
  if len(named) == 1:
    return _of_one(named[0], row)
  if row:
    raise InputError(
        f'--row={row} is of one sweep, and --workdir names {len(named)}'
        ' folders.'
    )
  real: dict[str, str] = {}
  for folder in named:
    if rows.is_sweep(folder):
      raise InputError(
          f'--workdir: {folder} is the folder of a sweep. Name it alone, with'
          ' --row, or name its runs.'
      )
    path = os.path.realpath(folder)
    if path in real:
      same = f'is the same folder as {real[path]}'
      what = 'is there twice' if real[path] == folder else same
      raise InputError(f'--workdir: {folder} {what}; name each run once.')
    real[path] = folder
  return named


def _named(text: str) -> list[str]:
  """Splits a text at its commas, unless it is the name of a folder."""
  whole = paths.expand(text)
  parts = quoted_names.split(text) if not os.path.isdir(whole) else []
  if os.path.isdir(whole) or not parts:
    if ',' in text and _all_runs(text):
      streams.warn(
          f'--workdir={text} is read as one folder, because a folder of that'
          ' name exists. To name several folders, put each in quotes.'
      )
    return [whole]
  inside = sum(part.count(',') for part in parts)
  if text.count(',') - inside != len(parts) - 1:
    raise InputError(
        f'--workdir={text}: there is an empty name between the commas. Name a'
        ' run there, or quote a name that contains a comma.'
    )
  if len(parts) == 1 and quoted_names.unquote(text) == text.strip():
    return [whole]  # As it stands, blanks too.
  return [paths.expand(quoted_names.unquote(part)) for part in parts]


def _all_runs(text: str) -> bool:
  """Returns whether all names between the commas of a text are folders."""
  try:
    names = quoted_names.split_names(text)
  except InputError:
    return False
  return all(os.path.isdir(paths.expand(name)) for name in names)


def _of_one(folder: str, row: str) -> list[str]:
  """Returns the runs of a folder: of a sweep or a group, or itself."""
  if rows.is_sweep(folder):
    return rows.folders_of_row(folder, row, quoted_names.split_names(row))
  if row:
    raise InputError(
        f'--row={row}: {folder} is not the folder of a sweep: it has no'
        ' sweep.json.'
    )
  parent, name = os.path.split(os.path.abspath(folder))
  note = os.path.join(parent, f'{name}.json')
  if os.path.basename(parent) != 'groups' or not os.path.exists(note):
    return [folder]
  names = read_json(note)
  if not isinstance(names, list) or not names or not all(map(_is_name, names)):
    return [folder]
  return [run_folder(os.path.dirname(parent), name) for name in names]


def _is_name(value: Any) -> bool:
  return isinstance(value, str) and os.path.basename(value) == value


def mean_name(names: Sequence[str]) -> str:
  """Returns a short name of the mean of runs, for tables; of one its own."""
  bases = [os.path.basename(os.path.abspath(name)) for name in names]
  return bases[0] if len(bases) == 1 else f'mean of {len(bases)}'


def stamp(member: Trained) -> Stamp:
  """Returns the stamp of a run, or of parameters alone."""
  return member.stamp or Stamp.of('', 0, member.params)


def require_alike(members: Sequence[Trained]) -> None:
  """Refuses runs whose outputs are not of the same inputs and labels.

  Raises:
    InputError: Names two of them and what differs, or of which one is a copy.
  """
  for k, two in enumerate(members):
    one = members[0]
    if differing := _difference(one, two):
      raise InputError(
          f'{one.folder} and {two.folder} cannot be averaged: {differing}.'
      )
    for other in members[:k]:
      stamps = [stamp(other), stamp(two)]
      if stamps[0].params_sha256 and stamps[0] == stamps[1]:
        raise InputError(
            f'{other.folder} and {two.folder} have the same parameters, so one'
            ' is a copy of the other. Name each run once.'
        )


def _difference(one: Trained, two: Trained) -> str:
  """Returns what of two runs differs; '' if they can be averaged."""
  knows = [histories.of_run(m.results, m.config) for m in (one, two)]
  if knows[0] != knows[1]:
    texts = [text or 'none' for text in knows]
    return f'their histories are {texts[0]} and {texts[1]}'
  first, second = one.schema, two.schema
  if first.tasks != second.tasks:
    texts = [
        ', '.join(f'{t.name} of {t.label}' for t in s.tasks)
        for s in (first, second)
    ]
    if texts[0] == texts[1]:
      texts = [str(s.tasks) for s in (first, second)]
    return f'their tasks are {texts[0]} and {texts[1]}'
  fields = [{f.name: f for f in s.fields} for s in (first, second)]
  for name in dict.fromkeys([*fields[0], *fields[1]]):
    if name not in fields[0] or name not in fields[1]:
      return f'only one of them has the field {name!r}'
    a, b = (vars(f[name]) for f in fields)
    if texts := differences(a, b):
      return f'of the field {name!r} {texts[0]}'
  if first != second:
    return 'their schemas differ'
  began = [
      manifest.began(member.folder) if member.folder else {}
      for member in (one, two)
  ]
  for key in (manifest.ENCODER, manifest.OPTIONS):
    a, b = (_encoder_hash(m, b, key) for m, b in zip((one, two), began))
    if a != b:
      return (
          f'their encoders of raw values differ ({key} is'
          f' {a[:16] or "absent"} and {b[:16] or "absent"}), so an id is'
          ' another value in each'
      )
  data = [b.get('data', '') for b in began]
  hashes = [manifest.data_hash(text) for text in data]
  if all(hashes) and hashes[0] != hashes[1]:
    return f'they were trained on other data ({data[0]} and {data[1]})'
  sections = [
      {
          key: value
          for key, value in decisive(m.config.to_dict()).items()
          if key.startswith('dataset.') and key not in _FREE
      }
      for m in (one, two)
  ]
  return '; '.join(differences(*sections)[:2])


def _encoder_hash(member: Trained, began: Mapping[str, Any], key: str) -> str:
  """Returns a hash of the encoder of a run, which an early one did not note."""
  if key in began:
    return began[key]
  path = os.path.join(member.folder, FOLDER)
  if not os.path.isdir(path):
    return ''
  return encoder_hashes.hashes(Encoder.load(path), path)[key]
