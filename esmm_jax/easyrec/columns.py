"""Converts features of a pipeline config to columns of `dataset`."""

from esmm_jax.data.tabular.cells.buckets import shown, SUFFIX
from esmm_jax.data.values.raw_values import SEPARATOR
from esmm_jax.easyrec.buckets import cuts, edges
from esmm_jax.easyrec.features import Feature, features, groups, kind_name
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import ANY, Message

_KINDS = {
    'IdFeature': 'id', 'TagFeature': 'ids', 'SequenceFeature': 'ids',
    'RawFeature': 'float', 'ComboFeature': 'crosses',
}
# Separators that have a name, because options stand between commas and colons.
_SPELLED = {
    ',': 'comma', ':': 'colon', '=': 'equals', ' ': 'space', '\t': 'tab',
    '\n': 'newline',
}


class Columns:
  """Columns of the log by their kind, with the options of each.

  Attributes:
    fields: Feature -> field of the features that are carried over.
    inputs: The columns that these are made of.
  """

  def __init__(self, notes: Notes):
    self.fields: dict[str, str] = {}
    self.inputs: set[str] = set()
    self._notes = notes
    self._crosses: list[Feature] = []
    # Columns of lists and of numbers, of which there is no cross.
    self._no_parts: dict[str, str] = {}
    self._columns: dict[str, list[str]] = {
        'id': [], 'ids': [], 'float': [], 'crosses': []}
    self._sizes: dict[str, int] = {}

  @property
  def section(self) -> dict[str, str]:
    """The keys `dataset.id`, `ids` and `float`, `crosses` if there is one."""
    return {
        f'dataset.{kind}': ','.join(texts)
        for kind, texts in self._columns.items()
        if texts or kind != 'crosses'}

  def add(self, feature: Feature) -> None:
    """Adds a feature to the columns of its kind, or notes why not."""
    line, name, message = feature.line, feature.name, feature.message
    if why := _why_not(feature):
      self._notes.add(line, name, why)
      _read_all(message)
      return
    kind = _KINDS[feature.kind]
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
      options = self._size(feature)
      if table := message.get('embedding_name', ''):
        options += f':table={table}'
      if kind == 'ids':
        options += self._list(feature)
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
        _read_all(feature.message)
        continue
      feature.message.get('combo_join_sep', '')
      text = '*'.join(map(_quoted_part, feature.inputs))
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

  def _list(self, feature: Feature) -> str:
    """Returns the options of a list: combiner and length."""
    message, line = feature.message, feature.line
    sequence = feature.kind == 'SequenceFeature'
    # Attention weights sum to 1, so the mean is next to them.
    combiner = message.get('combiner', 'mean' if sequence else 'sum')
    if sequence:
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
  converted = Columns(notes)
  for feature in features(root):
    feature.message.get('embedding_dim', 0)
    if feature.name in used:
      converted.add(feature)
    else:
      notes.add(
          feature.line, feature.name,
          'is in no feature group and is left out')
      _read_all(feature.message)
  converted.add_crosses()
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


def _quoted_part(name: str) -> str:
  """Returns the name of a column as a cross has it."""
  return f'"{name}"' if '*' in name and '"' not in name else quoted(name)


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
      if f.name in fields
      and (_KINDS.get(f.kind) != 'float' or fields[f.name].endswith(SUFFIX))
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
  if kind == 'ComboFeature':
    if any(message.texts('combo_input_seps')):
      parts = '; a cross is of columns of one value'
    elif len({*inputs}) != 2 or not all(inputs):
      parts = '; a cross is of two columns'
  num = 2 if kind == 'ComboFeature' else 1
  if kind not in _KINDS or len(inputs) != num or parts:
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
