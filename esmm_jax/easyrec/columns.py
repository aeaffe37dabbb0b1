"""Converts features of a pipeline config to columns of `dataset`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from esmm_jax.data.values.raw_values import SEPARATOR
from esmm_jax.easyrec.attention import attention, Pair
from esmm_jax.easyrec.features import Feature, features, groups, kind_name
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import ANY, Message

_KINDS = {
    'IdFeature': 'id', 'TagFeature': 'ids', 'SequenceFeature': 'ids',
    'RawFeature': 'float',
}
# Separators that have a name, because options stand between commas and colons.
_SPELLED = {
    ',': 'comma', ':': 'colon', '=': 'equals', ' ': 'space', '\t': 'tab',
    '\n': 'newline',
}


class _Key(NamedTuple):
  """A column of one identifier, as a sequence that attends to it reads it.

  Attributes:
    column: Its name.
    size: Options of its vocabulary.
    table: Its embedding_name.
  """

  column: str
  size: str
  table: str


class Columns:
  """Columns of the log by their kind, with the options of each.

  Attributes:
    fields: Feature -> field of the features that are carried over.
  """

  def __init__(self, notes: Notes, pairs: Mapping[str, Pair]):
    self.fields: dict[str, str] = {}
    self._notes, self._pairs = notes, pairs
    self._keys: dict[str, _Key] = {}
    self._units: list[tuple[int, ...]] = []
    self._columns: dict[str, list[str]] = {'id': [], 'ids': [], 'float': []}
    self._sizes: dict[str, int] = {}

  @property
  def section(self) -> dict[str, Any]:
    """The keys `dataset.id`, `ids` and `float`, and of attention its widths."""
    keys: dict[str, Any] = {
        f'dataset.{kind}': ','.join(texts)
        for kind, texts in self._columns.items()}
    if self._units:
      keys['model.attention_units'] = self._notes.same(
          self._units, 'attention: hidden_units', 'one width for all lists')
    return keys

  def add(self, feature: Feature) -> None:
    """Adds a feature to the columns of its kind, or notes why not."""
    line, name, message = feature.line, feature.name, feature.message
    if why := _why_not(feature):
      self._notes.add(line, name, why)
      _read_all(message)
      return
    column = feature.inputs[0]
    if column in self.fields.values():
      self._notes.add(
          line, name, f'is left out; its column {column} is a field already')
      return
    kind = _KINDS[feature.kind]
    if kind == 'float':
      options = self._number(feature)
    else:
      options, table = self._size(feature), message.get('embedding_name', '')
      key = self._key(feature, options, table) if kind == 'ids' else None
      if kind == 'id':
        self._keys[name] = _Key(column, options, table)
      if key:
        options = key.size
      elif table:
        options += f':table={table}'
      if kind == 'ids':
        options += self._list(feature, key)
    if name != column:
      self._notes.add(line, name, f'stands under its column, {column}')
    self._columns[kind].append(quoted(column) + options)
    self.fields[name] = column

  def _size(self, feature: Feature) -> str:
    """Returns the option of the size of the vocabulary."""
    message, line = feature.message, feature.line
    vocabulary = message.all('vocab_list')
    size = message.get('hash_bucket_size', 0)
    size = size or message.get('num_buckets', 0) or len(vocabulary)
    if vocabulary or message.get('vocab_file', ''):
      self._notes.add(
          line, feature.name,
          'its vocabulary is made of the training rows, not of the list there')
    if table := message.get('embedding_name', ''):
      first = self._sizes.setdefault(table, size)
      if first != size:
        self._notes.add(
            line, feature.name,
            f'{size} values became {first}, as those of its table {table}')
      size = first
    rare = message.message('ev_params').get('filter_freq', 0)
    options = f':min_count={rare}' if rare else ''
    return options + (f':max_values={size}' if size else '')

  def _key(self, feature: Feature, size: str, table: str) -> _Key | None:
    """Returns what a sequence attends to, if it can do so here.

    Args:
      feature: A list.
      size: Options of the vocabulary that it has there.
      table: Its embedding_name.
    """
    pair = self._pairs.get(feature.name)
    key = self._keys.get(pair.key) if pair else None
    if not key or feature.kind != 'SequenceFeature':
      return None
    self._units.append(pair.units)
    if table != key.table or not table or size != key.size:
      self._notes.add(
          feature.line, feature.name,
          f'its vocabulary and its embeddings are those of {key.column} here')
    self._notes.add(
        feature.line, feature.name,
        f'the weights of its entries by {key.column} are not divided by their'
        ' sum here (no softmax), and their network has PReLU and no norm')
    return key

  def _list(self, feature: Feature, key: _Key | None) -> str:
    """Returns the options of a list: combiner and length."""
    message, line = feature.message, feature.line
    sequence = feature.kind == 'SequenceFeature'
    # Attention weights sum to 1, so the mean is next to them.
    combiner = message.get('combiner', 'mean' if sequence else 'sum')
    if key:
      combiner = f'attention:target={quoted(key.column)}'
      message.get('sequence_combiner')
    elif sequence:
      self._notes.add(
          line, feature.name,
          f'attention over its entries became their {combiner}')
      message.get('sequence_combiner')
    elif combiner not in ('sum', 'mean'):
      self._notes.add(
          line, feature.name, f'combiner {combiner} became mean')
      combiner = 'mean'
    length = (
        message.get('max_seq_len', 0) or message.get('sequence_length', 0))
    if not length:
      self._notes.add(
          line, feature.name,
          'all its entries count there, here the first 50; max_len is another'
          ' number')
    options = f':combiner={combiner}' + (f':max_len={length}' if length else '')
    separator = message.get('separator', SEPARATOR)
    if len(separator) > 1:
      self._notes.add(
          line, feature.name,
          f'each character of {separator!r} separates entries there, the whole'
          ' of it here')
    if separator != SEPARATOR:
      options += f':separator={option_text(separator)}'
    if weights := message.get('kv_separator', ''):
      options += f':weights={option_text(weights)}'
    return options

  def _number(self, feature: Feature) -> str:
    """Returns the options of a number; notes what is done to it there."""
    message, line = feature.message, feature.line
    low, high = (message.get(n, 0.0, ANY) for n in ('min_val', 'max_val'))
    cuts = message.numbers('boundaries', float, ANY)
    if cuts or (message.get('num_buckets', 0) > 1 and high > low):
      self._notes.add(
          line, feature.name,
          'the embedding of its bucket became the number itself; make a column'
          ' of bucket numbers for dataset.id')
      return ''
    function = message.get('normalizer_fn', '')
    if function.endswith('log1p'):
      self._notes.add(
          line, feature.name, f'{function} became scaling=log')
      return ':scaling=log'
    before = f'{function} of it' if function else 'its value'
    if high > low:
      before = f'its share of {low} to {high}'
    self._notes.add(
        line, feature.name,
        f'{before} became a number of mean 0 and variance 1; scaling=none'
        ' leaves it as it is')
    return ''


def columns(root: Message, model: Message, notes: Notes) -> Columns:
  """Converts all features that stand in a feature group."""
  used = set().union(*groups(model).values())
  listed = features(root)
  lists = {f.name for f in listed if f.kind == 'SequenceFeature'}
  pairs = attention(model, lists)
  converted = Columns(notes, pairs)
  # A sequence is read after the key that it attends to.
  for feature in sorted(listed, key=lambda f: f.name in pairs):
    feature.message.get('embedding_dim', 0)
    if feature.name in used:
      converted.add(feature)
    else:
      notes.add(
          feature.line, feature.name,
          'is in no feature group and is left out')
      _read_all(feature.message)
  return converted


def quoted(name: str) -> str:
  """Returns the name of a column as an option of the dataset section has it.

  >>> quoted('user_id'), quoted('user:token')
  ('user_id', '"user:token"')
  """
  if not set(name) & set(',:" '):
    return name
  doubled = name.replace('"', '""')
  return f'"{doubled}"'


def option_text(separator: str) -> str:
  r"""Returns a separator as an option of a column names it.

  >>> option_text(';'), option_text(':'), option_text('\x1d')
  (';', 'colon', '\\x1d')
  """
  if separator in _SPELLED:
    return _SPELLED[separator]
  plain = separator.isascii() and separator.isprintable()
  if plain and not set(separator) & set(',:=\\ '):
    return separator
  return ''.join(f'\\x{ord(c):02x}' for c in separator)


def dimensions(root: Message, fields: dict[str, str]) -> list[int]:
  """Lists the embedding_dim of the fields that have one."""
  return [
      d for f in features(root)
      if f.name in fields and _KINDS.get(f.kind) != 'float'
      and (d := f.message.get('embedding_dim', 0))]


def _why_not(feature: Feature) -> str:
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
  if kind not in _KINDS or len(inputs) != 1 or parts:
    return (
        f'{kind} of {", ".join(inputs)} is left out{parts}; make such a column'
        ' in the log')
  return ''


def _read_all(message: Message) -> None:
  # One note says that the whole is left out.
  for field in message.fields:
    field.used = True
    if isinstance(field.value, Message):
      _read_all(field.value)
