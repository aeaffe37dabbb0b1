"""Rewrites the features of TorchEasyRec in the form of EasyRec."""

from esmm_jax.easyrec.features import default_field
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Field, Message, Word

_RENAMED = {
    'pooling': 'combiner', 'normalizer': 'normalizer_fn',
    'value_dim': 'raw_input_dim', 'sequence_length': 'max_seq_len',
}
# Between the values of a field of several, ASCII's group separator.
_SEPARATOR = '\x1d'
# Feature's message -> type; any other one is left out under its name.
_TYPES = {
    'id_feature': 'IdFeature', 'raw_feature': 'RawFeature',
    'sequence_id_feature': 'SequenceFeature',
    'combo_feature': 'ComboFeature', 'lookup_feature': 'LookupFeature',
    'expr_feature': 'ExprFeature',
}
# Of no meaning for a log whose columns are read as they are.
_NEEDLESS = (
    'embedding_constraints', 'data_type', 'fg_value_type', 'use_mask',
    'asset_dir', 'sequence_fields', 'stub_type',
)


def feature_configs(config: Message, notes: Notes) -> list[Message]:
  """Rewrites a message FeatureConfig; a sequence of features is several."""
  listed = []
  for f in config.fields:
    if not isinstance(f.value, Message):
      continue
    if f.name == 'sequence_feature' and f.value.has('features'):
      listed += _sequence(f.value, notes)
    else:
      listed.append(_feature(f.name, f.value, notes))
  return listed


def _feature(kind: str, options: Message, notes: Notes) -> Message:
  """Rewrites a feature."""
  name = options.get('feature_name', '')
  inputs = [text.rpartition(':')[2] for text in options.texts('expression')]
  several = kind == 'id_feature' and (
      options.get('value_dim', 0) > 1 or options.get('weighted', False)
      or options.has('separator'))
  type_name = 'TagFeature' if several else _TYPES.get(kind, kind)
  fields = [
      default_field('feature_name', name),
      default_field('feature_type', Word(type_name)),
      *(default_field('input_names', column) for column in inputs or [name])]
  if kind == 'id_feature' and not several and not options.has('value_dim'):
    notes.add(
        0, 'id_feature',
        'a field may hold several values there; here it is one value of'
        ' dataset.id. Name a column with lists in dataset.ids')
  if kind == 'raw_feature' and options.has('boundaries'):
    notes.add(
        0, 'boundaries',
        'a number that is one is in the bucket above it here')
  for f in options.fields:
    if f.name in _NEEDLESS or f.name in ('feature_name', 'expression'):
      f.used = True
    elif f.name == 'default_value':
      f.used = True
      if f.value not in ('', '0'):
        notes.add(
            f.line, name,
            f'an empty field is {f.value!r} there, here a missing value')
    elif f.name == 'weighted' or (
        f.name == 'value_dim' and kind != 'raw_feature'):
      f.used = True
    elif f.name in ('zch', 'dynamicemb') and isinstance(f.value, Message):
      fields.append(_capacity(f, name, notes))
    else:
      fields.append(Field(
          _RENAMED.get(f.name, f.name), f.value, f.line, False, f.name))
  if options.get('weighted', False):
    fields.append(default_field('kv_separator', ':'))
  if several and not options.has('separator'):
    fields.append(default_field('separator', _SEPARATOR))
  if kind == 'sequence_id_feature':
    # What is between the entries; `separator` is inside of one.
    fields = [f for f in fields if f.name not in ('separator', 'combiner')]
    between = options.get('sequence_delim', ';')
    fields.append(default_field('separator', between))
  return Message(fields, options.line)


def _capacity(field: Field, name: str, notes: Notes) -> Field:
  """Rewrites a table without collisions as one of so many values."""
  options = field.value
  size = options.get('zch_size', 0) or options.get('max_capacity', 0)
  for inner in options.fields:
    inner.used = True
  notes.add(
      field.line, name,
      f'the {size} values of {field.name} are the most frequent ones of the'
      ' training rows here')
  return default_field('num_buckets', size)


def _sequence(options: Message, notes: Notes) -> list[Message]:
  """Rewrites a sequence of features as one list for each of them."""
  start = options.get('sequence_name', '')
  length = options.get('sequence_length', 0)
  separator = options.get('sequence_delim', ';')
  listed = []
  for config in options.messages('features'):
    for f in config.fields:
      if not isinstance(f.value, Message):
        continue
      inner = _feature('sequence_id_feature', f.value, notes)
      column = f'{start}__{f.value.get("feature_name", "")}'
      fields = [
          g for g in inner.fields
          if g.name not in ('feature_name', 'input_names', 'separator')]
      fields += [
          default_field('feature_name', column),
          default_field('input_names', column),
          default_field('separator', separator)]
      if length:
        fields.append(default_field('max_seq_len', length))
      if f.name != 'id_feature':
        sub = Word(_TYPES.get(f.name, f.name))
        fields.append(default_field('sub_feature_type', sub))
      listed.append(Message(fields, f.line))
  return listed
