"""Reads features and feature groups of a pipeline config."""

from collections.abc import Iterator
import dataclasses
import re

from esmm_jax.easyrec.message import Field, Message
from esmm_jax.types import InputError

# Kind of a feature -> the key of `dataset` that has it.
KINDS = {
    'IdFeature': 'id', 'TagFeature': 'ids', 'SequenceFeature': 'ids',
    'RawFeature': 'float', 'ComboFeature': 'crosses',
}

# In the order of the enumeration FeatureType, whose numbers may be written.
_TYPES = (
    'IdFeature', 'RawFeature', 'TagFeature', 'ComboFeature', 'LookupFeature',
    'SequenceFeature', 'ExprFeature', 'PassThroughFeature',
)
_RANGE = re.compile(r'([a-zA-Z_]+)\[([0-9]+)-([0-9]+)\]')


@dataclasses.dataclass(frozen=True)
class Feature:
  """A feature of a pipeline config.

  Attributes:
    message: Its options.
    name: Its name, that of its column where it has none.
    inputs: The columns it reads.
  """

  message: Message
  name: str
  inputs: tuple[str, ...]

  @property
  def kind(self) -> str:
    """Its feature_type."""
    return kind_name(self.message.enum('feature_type', 'IdFeature'))

  @property
  def line(self) -> int:
    return self.message.line


def kind_name(value: object) -> str:
  """Returns the name of a feature type, which may be written as a number."""
  if isinstance(value, int) and 0 <= value < len(_TYPES):
    return _TYPES[value]
  return str(value)


def features(root: Message) -> list[Feature]:
  """Lists the features; one with shared_names is several."""
  messages = root.message('feature_config').messages('features')
  messages = messages + root.messages('feature_configs')
  data = root.message('data_config')
  spread = data.get('auto_expand_input_fields', False)
  listed = []
  for message in messages:
    inputs = tuple(message.texts('input_names'))
    name = message.get('feature_name', '') or (inputs or ('',))[0]
    listed.append(Feature(message, name, inputs))
    for shared in message.texts('shared_names'):
      for column in expanded(shared) if spread else [shared]:
        listed.append(Feature(message, column, (column,)))
  return listed


def expanded(name: str) -> list[str]:
  """Returns field1, field2, field3 for field[1-3].

  >>> expanded('field[1-3]')
  ['field1', 'field2', 'field3']
  >>> expanded('field')
  ['field']
  """
  if not (match := _RANGE.match(name)):
    return [name]
  start, first, last = match.groups()
  return [f'{start}{k}' for k in range(int(first), int(last) + 1)]


def groups(model: Message) -> dict[str, tuple[str, ...]]:
  """Returns feature group -> its features, those of its sequences too."""
  groups_by_name: dict[str, tuple[str, ...]] = {}
  for g in model.messages('feature_groups'):
    groups_by_name[g.get('group_name', '')] = _members(g)
  if more := _attention_maps(model.messages('seq_att_groups')):
    groups_by_name[''] = tuple(dict.fromkeys(more))
  return groups_by_name


def _members(group: Message) -> tuple[str, ...]:
  names = [n for raw in group.texts('feature_names') for n in expanded(raw)]
  return tuple(dict.fromkeys(names + sequences(group)))


def sequences(group: Message) -> list[str]:
  """Lists the features of a group's sequences, with their keys."""
  names = _attention_maps(group.messages('sequence_features'))
  for inner in group.messages('sequence_groups'):
    names += inner.texts('feature_names')
  return names


def _attention_maps(groups: list[Message]) -> list[str]:
  return [
      name
      for group in groups
      for pairs in group.messages('seq_att_map')
      for part in ('key', 'hist_seq', 'aux_hist_seq')
      for name in pairs.texts(part)
  ]


def unknown(model: Message, names: set[str]) -> None:
  """Refuses a feature group with a feature that is not there.

  Raises:
    InputError: Names the group's line and the feature.
  """
  lines = [
      (g.line, name)
      for g in model.messages('feature_groups') for name in _members(g)]
  attention = model.messages('seq_att_groups')
  lines += [(g.line, n) for g in attention for n in _attention_maps([g])]
  for line, name in lines:
    if name not in names:
      raise InputError(
          f'line {line}: feature group: {name!r} is no feature of'
          ' feature_config.')


def input_fields(data: Message) -> Iterator[tuple[str, Message]]:
  """Yields (column, options) of the columns, in the order of the file."""
  spread = data.get('auto_expand_input_fields', False)
  for message in data.messages('input_fields'):
    name = message.get('input_name', '')
    for column in expanded(name) if spread else [name]:
      yield column, message


def default_field(name: str, value: object, line: int = 0) -> Field:
  """Makes a field that is not written, with the default of its form."""
  return Field(name, value, line, used=True)


def why_not(feature: Feature) -> str:
  """Returns why a feature is left out, '' if it is not."""
  message, kind, inputs = feature.message, feature.kind, feature.inputs
  parts = ''
  if kind in ('TagFeature', 'SequenceFeature'):
    if len(inputs) == 2:
      parts = f'; the weights of {inputs[0]} in {inputs[1]} are not read'
    elif message.get('seq_multi_sep'):
      parts = '; its entries are lists'
  if kind == 'SequenceFeature':
    inner = kind_name(message.enum('sub_feature_type', 'IdFeature'))
    if inner != 'IdFeature':
      parts = f'; its entries are a {inner}'
  size = message.get('raw_input_dim', 1)
  if kind == 'RawFeature' and size > 1:
    return (
        f'its {size} numbers are left out; a column has one number, name the'
        f' {size} columns in dataset.float')
  if kind == 'ComboFeature':
    if any(message.texts('combo_input_seps')):
      parts = '; a cross is of columns of one value'
    elif len({*inputs}) != 2 or not all(inputs):
      parts = '; a cross is of two columns'
  num = 2 if kind == 'ComboFeature' else 1
  if kind not in KINDS or len(inputs) != num or parts:
    return (
        f'{kind} of {", ".join(inputs)} is left out{parts}; make such a column'
        ' in the log')
  return ''


def read_all(message: Message) -> None:
  """Marks all fields as read: one note says that the whole is left out."""
  for field in message.fields:
    field.used = True
    if isinstance(field.value, Message):
      read_all(field.value)
