"""Converts files, labels and columns of a pipeline config to `dataset`."""

import os
from typing import Any

from esmm_jax.easyrec.columns import columns
from esmm_jax.easyrec.features import features, input_fields, unknown
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.easyrec.spelling import quoted
from esmm_jax.easyrec.towers import Towers

_PATHS = {
    'train': ('train_input_path', 'parquet_train_input'),
    'eval': ('eval_input_path', 'parquet_eval_input'),
}
_OTHER_INPUTS = ('kafka', 'datahub', 'hive', 'binary')
_FIELD_OPTIONS = {
    'user_define_fn': 'make such a column in the log',
    'user_define_fn_path': 'make such a column in the log',
    'ignore_val': 'rows with such a label are not left out',
    'input_dim': 'a field has one value',
    'input_shape': 'a field has one value',
}


def dataset(
    root: Message, model: Message, labels: tuple[str, str], notes: Notes
) -> tuple[dict[str, Any], dict[str, str]]:
  """Converts files, labels and features to the section `dataset`.

  Args:
    root: The pipeline config.
    model: Its `model_config`.
    labels: Columns of the click and of the conversion.
    notes: Gets what is not carried over.

  Returns:
    The section; feature -> field of the features that are carried over.
  """
  data = root.message('data_config')
  section: dict[str, Any] = {
      'dataset.files': _path(root, 'train'),
      'dataset.click': quoted(labels[0]),
      'dataset.conversion': quoted(labels[1]),
      'dataset.valid_split': '',
      'selection.metric': '',
      # Each value has its embedding there, however rare it is.
      'dataset.min_count': 1,
  }
  if not section['dataset.files']:
    notes.add(0, 'train_input_path', 'is not there; set dataset.files')
  if test := _path(root, 'eval'):
    section |= {'dataset.split': 'files', 'dataset.test_files': test}
  section |= _file_form(root, data, section, notes)
  if group := _group(root, model, notes):
    section['dataset.group'] = quoted(group)
  _early_stop(root, notes)
  unknown(model, {f.name for f in features(root)})
  converted = columns(root, model, notes)
  _field_options(data, {*converted.inputs, *labels}, notes)
  return section | converted.section, converted.fields


def row_weight(
    name: str, root: Message, towers: Towers, notes: Notes
) -> dict[str, Any]:
  """Converts sample_weight, where a loss there is weighted by it."""
  data = root.message('data_config')
  weight = data.get('sample_weight', '')
  use = [t.get('use_sample_weight', True) for t in towers.both]
  if not weight:
    return {}
  if name == 'ESMM' or not any(use):
    notes.add(
        data.line, 'sample_weight', 'no loss there is weighted, none is here')
    return {}
  if not all(use):
    notes.add(
        data.line, 'sample_weight',
        'is on the loss of one tower there, on both here')
  return {'dataset.weight': quoted(weight)}


def _path(root: Message, split: str) -> str:
  return ','.join(
      path for name in _PATHS[split] for path in root.texts(name))


def _file_form(
    root: Message, data: Message, section: dict[str, Any], notes: Notes
) -> dict[str, Any]:
  """Converts the form of the files, or notes what is not read."""
  kind = str(data.enum('input_type', 'CSVInput'))
  paths = [
      path for key in ('dataset.files', 'dataset.test_files')
      for path in str(section.get(key, '')).split(',') if path]
  for start in _OTHER_INPUTS:
    for split in _PATHS:
      if root.has(f'{start}_{split}_input'):
        root.get(f'{start}_{split}_input')
        notes.add(
            0, f'{start}_{split}_input',
            'cannot be read; write its rows to CSV or Parquet files')
  if not kind.startswith(('CSV', 'Parquet', 'Criteo', 'HiveParquet')):
    notes.add(
        data.line, 'input_type',
        f'{kind} cannot be read; write its rows to CSV or Parquet files')
  if not kind.startswith('CSV'):
    return {}
  form: dict[str, Any] = {}
  names = [name for name, _ in input_fields(data)]
  if not data.get('with_header', False):
    if names:
      form['dataset.header'] = ','.join(map(quoted, names))
    else:
      notes.add(
          data.line, 'input_fields',
          'are not there; name the columns of the files in dataset.header')
  if (separator := data.get('separator', ',')) != ',':
    plain = separator.isprintable() and separator != ' '
    form['dataset.separator'] = separator if plain else _escaped(separator)
    if len(separator) > 1:
      notes.add(
          data.line, 'separator',
          f'{separator!r} is no single character; write the files with one')
  if any(not os.path.splitext(path)[1] for path in paths):
    form['dataset.format'] = 'csv'
  return form


def _escaped(text: str) -> str:
  return ''.join(f'\\x{ord(c):02x}' for c in text)


def _group(root: Message, model: Message, notes: Notes) -> str:
  """Finds the column that a grouped AUC is of, '' if there is none."""
  columns_of_groups = []
  for message in [root.message('eval_config'), *_towers(model)]:
    for metric in message.messages('metrics_set'):
      for field in metric.fields:
        field.used = True  # All metrics are computed, on the space of each.
      for name, option in (
          ('gauc', 'uid_field'), ('session_auc', 'session_id_field')):
        if metric.has(name):
          options = metric.message(name)
          columns_of_groups.append(options.get(option, ''))
          reduction = options.get('reduction', 'mean')
          if reduction != 'mean_by_sample_num':
            notes.add(
                options.line, name,
                f'{reduction} became the mean weighted by impressions')
  if not columns_of_groups:
    return ''
  return notes.same(columns_of_groups, 'gauc', 'one dataset.group')


def _towers(model: Message) -> list[Message]:
  return [
      tower
      for field in model.fields if isinstance(field.value, Message)
      for name in ('task_towers', 'ctr_tower', 'cvr_tower')
      for tower in field.value.messages(name)]


def _early_stop(root: Message, notes: Notes) -> None:
  """Notes the rules by which a step is chosen."""
  export = root.message('export_config')
  if export.get('enable_early_stop', False):
    notes.add(
        export.line, 'enable_early_stop',
        'no run stops by test rows; add dataset.valid_files, selection.metric'
        ' and selection.patience')
  elif export.get('exporter_type', 'final') == 'best':
    notes.add(
        export.line, 'exporter_type',
        'the last parameters count; with dataset.valid_files and'
        ' selection.metric the best ones do')
  for field in export.fields:
    field.used = True


def _field_options(data: Message, used: set[str], notes: Notes) -> None:
  """Notes what is done to a column there before it is a feature."""
  for name, message in input_fields(data):
    default = str(message.get('default_val', ''))
    if default and name in used:
      notes.add(
          message.line, name,
          f'an empty field is {default!r} there, here a missing value')
    for option, why in _FIELD_OPTIONS.items():
      if (value := message.get(option)) not in (None, 1) and name in used:
        notes.add(
            message.line, name, f'{option} {value} is not carried over; {why}')
