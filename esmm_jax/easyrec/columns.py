"""Converts features of a pipeline config to columns of `dataset`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from esmm_jax.data.tabular.cells.buckets import shown, SUFFIX
from esmm_jax.data.values.raw_values import SEPARATOR
from esmm_jax.easyrec.attention import attention, Pair
from esmm_jax.easyrec.buckets import cuts, edges
from esmm_jax.easyrec.features import Feature, features, groups, KINDS
from esmm_jax.easyrec.features import read_all, why_not
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import ANY, Message
from esmm_jax.easyrec.spelling import option_text, quoted, quoted_part


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
    inputs: The columns that these are made of.
  """

  def __init__(self, notes: Notes, pairs: Mapping[str, Pair]):
    self.fields: dict[str, str] = {}
    self.inputs: set[str] = set()
    self._notes, self._pairs = notes, pairs
    self._keys: dict[str, _Key] = {}
    self._units: list[tuple[int, ...]] = []
    self._crosses: list[Feature] = []
    # Columns of lists and of numbers, of which there is no cross.
    self._no_parts: dict[str, str] = {}
    self._columns: dict[str, list[str]] = {
        'id': [], 'ids': [], 'float': [], 'crosses': []}
    self._sizes: dict[str, int] = {}

  @property
  def section(self) -> dict[str, Any]:
    """The keys `dataset.id`, `ids`, `float`; and of crosses and attention."""
    keys: dict[str, Any] = {
        f'dataset.{kind}': ','.join(texts)
        for kind, texts in self._columns.items()
        if texts or kind != 'crosses'}
    if self._units:
      keys['model.attention_units'] = self._notes.same(
          self._units, 'attention: hidden_units', 'one width for all lists')
    return keys

  def add(self, feature: Feature) -> None:
    """Adds a feature to the columns of its kind, or notes why not."""
    line, name, message = feature.line, feature.name, feature.message
    if why := why_not(feature):
      self._notes.add(line, name, why)
      read_all(message)
      return
    kind = KINDS[feature.kind]
    if kind == 'crosses':
      self._crosses.append(feature)
      return
    column = field = feature.inputs[0]
    if kind != 'id':
      self._no_parts[column] = 'list' if kind == 'ids' else 'number'
    bounds = edges(message) if kind == 'float' else ()
    if bounds:
      field = f'{column}{SUFFIX}'
    if field in self.fields.values():
      self._notes.add(
          line, name, f'is left out; its column {column} is a field already')
      return
    if bounds:
      kind, options = 'id', f':edges={"|".join(map(shown, bounds))}'
    elif kind == 'float':
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
    self._carry(feature, kind, quoted(column) + options, field)

  def add_crosses(self) -> None:
    """Adds the crosses, once the kinds of all columns are clear."""
    for feature in self._crosses:
      field = '_x_'.join(feature.inputs)
      bad = [c for c in feature.inputs if c in self._no_parts]
      why = ''
      if bad:
        why = (
            f'is left out; {bad[0]} is a {self._no_parts[bad[0]]}, and a cross'
            ' is of two columns of one value')
      elif field in self.fields.values():
        why = f'is left out; {field} is a field already'
      if why:
        self._notes.add(feature.line, feature.name, why)
        read_all(feature.message)
        continue
      feature.message.get('combo_join_sep', '')
      text = '*'.join(map(quoted_part, feature.inputs))
      self._carry(feature, 'crosses', text + self._size(feature), field)

  def _carry(self, feature: Feature, kind: str, text: str, field: str) -> None:
    """Writes a feature into the section."""
    if feature.name != field:
      is_column = field == feature.inputs[0]
      what = f'its column, {field}' if is_column else f'the name {field}'
      self._notes.add(feature.line, feature.name, f'stands under {what}')
    self._columns[kind].append(text)
    self.fields[feature.name] = field
    self.inputs.update(feature.inputs)

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
    if cuts(message):  # Of the normalised number.
      self._notes.add(
          line, feature.name,
          'the embedding of its bucket became the number itself, because'
          ' normalizer_fn comes first there; write dataset.id=COLUMN:edges=...'
          ' of the number as it is in the log')
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
      read_all(feature.message)
  converted.add_crosses()
  return converted


def dimensions(root: Message, fields: dict[str, str]) -> list[int]:
  """Lists the embedding_dim of the fields that have one."""
  return [
      d for f in features(root)
      if f.name in fields
      and (KINDS.get(f.kind) != 'float' or fields[f.name].endswith(SUFFIX))
      and (d := f.message.get('embedding_dim', 0))]
