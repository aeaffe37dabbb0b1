"""Converts columns and features of a pipeline config to `dataset`."""

from typing import Any

from esmm_jax.data.files.raw_values import SEPARATOR
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.text_proto import Message
from esmm_jax.types import InputError

_KINDS = {
    'IdFeature': 'id', 'TagFeature': 'ids', 'SequenceFeature': 'ids',
    'RawFeature': 'float',
}


def dataset(
    root: Message, model: Message, click: Message, conversion: Message,
    notes: Notes,
) -> tuple[dict[str, Any], dict[str, str]]:
  """Converts files, labels and features to the section `dataset`.

  Returns:
    The section; feature -> field of the features that are carried over.
  """
  data = root.message('data_config')
  section = {
      'dataset.files': _path(root, 'train_input_path'),
      'dataset.click': _label(click),
      'dataset.conversion': _label(conversion),
      'dataset.valid_split': '',
      'selection.metric': '',
  }
  if test := _path(root, 'eval_input_path'):
    section |= {'dataset.split': 'files', 'dataset.test_files': test}
  data.all('label_fields')
  kind = str(data.get('input_type', 'CSVInput'))
  header = data.get('with_header', False)
  if kind.startswith('CSV') and not header:
    names = [f.get('input_name') for f in data.all('input_fields')]
    notes.add(
        data.line, 'input_type',
        'EasyRec\'s CSV files have no line with the names; ours must begin with'
        f' {",".join(names)}')
  if (separator := data.get('separator', ',')) != ',':
    notes.add(
        data.line, 'separator',
        f'{separator!r}: fields must be separated by commas')
  used = set().union(*groups(model).values())
  columns: dict[str, list[str]] = {'id': [], 'ids': [], 'float': []}
  fields: dict[str, str] = {}
  for feature in _features(root):
    _add(feature, used, columns, fields, notes)
  defined = {_name(feature) for feature in _features(root)}
  for missing in sorted(used - defined):
    raise InputError(
        f'feature group: {missing!r} is no feature of feature_config.')
  section |= {
      f'dataset.{kind}': ','.join(names) for kind, names in columns.items()}
  return section, fields


def dimensions(root: Message) -> list[int]:
  """Lists the embedding_dim of all features that have one."""
  return [d for f in _features(root) if (d := f.get('embedding_dim'))]


def groups(model: Message) -> dict[str, tuple[str, ...]]:
  """Returns feature group -> its features."""
  groups_by_name = {}
  for g in model.all('feature_groups'):
    groups_by_name[g.get('group_name')] = tuple(g.all('feature_names'))
    g.get('wide_deep')
  return groups_by_name


def _features(root: Message) -> list[Message]:
  inside = root.message('feature_config').all('features')
  return inside + root.all('feature_configs')


def _name(feature: Message) -> str:
  return feature.get('feature_name') or (feature.all('input_names') or [''])[0]


def _add(
    feature: Message, used: set[str], columns: dict[str, list[str]],
    fields: dict[str, str], notes: Notes,
) -> None:
  """Adds a feature to the columns of its kind."""
  name, kind = _name(feature), str(feature.get('feature_type', 'IdFeature'))
  feature.get('embedding_dim')
  if name not in used:
    notes.add(feature.line, name, 'is in no feature group and is left out')
    return
  inputs = feature.all('input_names')
  if kind not in _KINDS or len(inputs) != 1:
    notes.add(
        feature.line, name,
        f'{kind} of {", ".join(inputs)} is left out; make such a column in the'
        ' log')
    return
  column_kind, options = _KINDS[kind], ''
  if column_kind != 'float':
    size = feature.get('hash_bucket_size') or feature.get('num_buckets') or 0
    if size:
      options += f':max_values={size}'
    if table := feature.get('embedding_name'):
      options += f':table={table}'
    if combiner := feature.get('combiner'):
      options += f':combiner={combiner}' if column_kind == 'ids' else ''
    if column_kind == 'ids':
      length = feature.get('sequence_length')
      options += f':max_len={length}' if length else ''
      separator = feature.get('separator', SEPARATOR)
      if separator != SEPARATOR:
        notes.add(
            feature.line, name, f'its separator {separator!r} must be | in CSV'
            ' files; in Parquet, lists')
  if name != inputs[0]:
    notes.add(
        feature.line, name, f'stands under its column, {inputs[0]}')
  columns[column_kind].append(inputs[0] + options)
  fields[name] = inputs[0]


def _label(tower: Message) -> str:
  if not (label := tower.get('label_name')):
    raise InputError(f'line {tower.line}: a tower has no label_name.')
  return str(label)


def _path(root: Message, name: str) -> str:
  return ','.join(str(p) for p in root.all(name))
