"""The schema of a data set: fields, vocabulary sizes, labels."""

from collections.abc import Collection, Sequence
import dataclasses
import functools
import hashlib
import json
from typing import Any

from esmm_jax.shared_tables import targets
from esmm_jax.tasks import FUNNEL, ordered, Task, Tasks
from esmm_jax.types import InputError, suggest

KINDS = ('id', 'ids', 'float')
COMBINERS = ('sum', 'mean', targets.ATTENTION)
MISSING = 0  # The id of a value that is absent.
RARE = 1  # The id of a value too rare to keep, or never seen in training.
FIRST_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Field:
  """One input of the model.

  >>> from esmm_jax.schema import Field
  >>> Field('tags', 'ids', vocab_size=7, max_len=2).pooled
  True

  Attributes:
    name: Column name.
    kind: `id` (one categorical value), `ids` (a list of them, of any length)
      or `float` (one number, already scaled).
    vocab_size: Number of ids: 0 is missing, 1 is rare or unseen, 2 and up are
      values of the training rows. 0 until the data is read; for `float` always
      0.
    max_len: `ids` only: a row keeps its first `max_len` entries. Lists are
      stored by falling weight, so these are the heaviest.
    weighted: Not `float`: entries carry a weight; otherwise each weighs 1. The
      weights of an `id` field are the column `NAME.weight`; it is read like a
      list of at most one entry.
    combiner: `ids` only: combines the entries of a row to one vector: `sum` is
      sum_l w_l e_l, `mean` is that over sum_l w_l, `attention` is
      sum_l a(e_l, e_t) w_l e_l, see `models.attention`. An empty list is 0.
    table: Fields with the same `table` share embeddings and id space. Default:
      the field's own name.
    by_group: All rows of a group have this value in common; it is stored once,
      in the group table (column `Schema.group` holds its row), and embedded
      once for each group of a batch. Not for `float`.
    target: Of `attention` the `id` field t, whose table it shares.
  """

  name: str
  kind: str = 'id'
  vocab_size: int = 0
  max_len: int = 1
  weighted: bool = False
  combiner: str = 'sum'
  table: str = ''
  by_group: bool = False
  target: str = ''

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise InputError(
          f'Field {self.name!r}: kind {self.kind!r} is none of {KINDS}.'
      )
    if self.combiner not in COMBINERS:
      raise InputError(
          f'Field {self.name!r}: combiner {self.combiner!r} is none of'
          f' {COMBINERS}.'
      )
    if self.kind != 'ids' and self.max_len != 1:
      raise InputError(
          f'Field {self.name!r}: max_len is for kind "ids", not {self.kind!r}.'
      )
    if self.kind == 'float' and (self.weighted or self.by_group):
      raise InputError(
          f'Field {self.name!r}: weighted and by_group are for ids, not for'
          ' kind "float".'
      )
    if self.max_len < 1:
      raise InputError(f'Field {self.name!r}: max_len must be at least 1.')
    if wrong := targets.alone(self):
      raise InputError(f'Field {self.name!r}: {wrong}')
    if not self.table:
      object.__setattr__(self, 'table', self.target or self.name)

  @property
  def pooled(self) -> bool:
    """True if its entries are multiplied by weights and added up."""
    return self.kind == 'ids' or (self.kind == 'id' and self.weighted)

  def to_dict(self) -> dict[str, Any]:
    """Returns it as JSON has it, without target as earlier versions did."""
    d = dataclasses.asdict(self)
    return d if self.target else {k: v for k, v in d.items() if k != 'target'}


def refuse_late(fields: Sequence[Field], late: Collection[str]) -> None:
  """Refuses features that are known only after the impression.

  A schema does so for its own labels and truth columns; a data set whose raw
  files have more such columns, for those.

  Args:
    fields: The features.
    late: Names of columns.

  Raises:
    InputError: A field has one of the names.
  """
  for f in fields:
    if f.name in late:
      raise InputError(
          f'Column {f.name!r} is a label or a truth column and cannot be a'
          ' feature: it is not known before the impression. Remove it from the'
          ' fields.'
      )


class SlotLayout:
  """The fields that share one array of slots, and their columns in it.

  Attributes:
    id_fields: Fields of one column each, first.
    pooled_fields: Fields of `max_len` columns each, with weights.
    columns: Field name -> its columns.
    num_slots: Number of columns.
    num_weights: Number of columns of the pooled fields, the last ones.
  """

  def __init__(self, fields: Sequence[Field]):
    ids = [f for f in fields if f.kind != 'float']
    self.id_fields = tuple(f for f in ids if not f.pooled)
    self.pooled_fields = tuple(f for f in ids if f.pooled)
    self.columns, start = {}, 0
    for f in self.fields:
      self.columns[f.name] = slice(start, start + f.max_len)
      start += f.max_len
    self.num_slots = start
    self.num_weights = start - len(self.id_fields)

  @property
  def fields(self) -> tuple[Field, ...]:
    """In the order of the columns."""
    return self.id_fields + self.pooled_fields


@dataclasses.dataclass(frozen=True)
class Schema:
  """The fields, labels and keys of a data set.

  >>> from esmm_jax.schema import Field, Schema
  >>> schema = Schema((Field('user', vocab_size=60), Field('price', 'float')))
  >>> schema.num_rows, schema.num_slots, [t.name for t in schema.tasks]
  (60, 1, ['ctr', 'cvr'])

  Attributes:
    fields: The model's inputs.
    tasks: The tasks, parents first; they name the label columns.
    group: Column with the key (a user, a session) that GAUC groups by, or ''.
      Where fields are `by_group` it is the row of the group table.
    truth: Columns that only a simulator can know. They are stored apart and
      are never inputs of a batch.
    weight: Column with the weight of each row in the loss; '': each weighs 1.
  """

  fields: tuple[Field, ...]
  tasks: Tasks = FUNNEL
  group: str = ''
  truth: tuple[str, ...] = ()
  weight: str = ''

  def __post_init__(self) -> None:
    object.__setattr__(self, 'tasks', ordered(self.tasks))
    names = [f.name for f in self.fields]
    for name in names:
      if names.count(name) > 1:
        raise InputError(f'Field {name!r} is declared twice.')
    refuse_late(self.fields, (*self.labels, *self.truth, self.weight))
    if not self.group and any(f.by_group for f in self.fields):
      raise InputError(
          'Fields are by_group, but the schema names no group column.'
      )
    targets.check(self.fields)

  @property
  def labels(self) -> tuple[str, ...]:
    """Label columns, one for each task, in the order of the tasks."""
    return tuple(t.label for t in self.tasks)

  @functools.cached_property
  def row_part(self) -> SlotLayout:
    """The fields that each row has by itself: columns of `Batch.slots`."""
    return SlotLayout([f for f in self.fields if not f.by_group])

  @functools.cached_property
  def group_part(self) -> SlotLayout:
    """The fields that the rows of a group share: columns of `Groups.slots`."""
    return SlotLayout([f for f in self.fields if f.by_group])

  @property
  def inputs(self) -> tuple[Field, ...]:
    """The embedded fields in the order of a model's input vector."""
    return self.row_part.fields + self.group_part.fields

  @functools.cached_property
  def float_fields(self) -> tuple[Field, ...]:
    return tuple(f for f in self.fields if f.kind == 'float')

  @functools.cached_property
  def offsets(self) -> dict[str, int]:
    """Table name -> its first row in the one table that holds them all."""
    offsets, total = {}, 0
    for f in self.inputs:
      if f.table not in offsets:
        offsets[f.table] = total
        total += f.vocab_size
    return offsets

  @functools.cached_property
  def num_rows(self) -> int:
    """V, the rows of the one table; where nothing is embedded 1, never read."""
    return sum({f.table: f.vocab_size for f in self.inputs}.values()) or 1

  @property
  def num_slots(self) -> int:
    """S: ids of a row, those of its group among them."""
    return self.row_part.num_slots + self.group_part.num_slots

  @property
  def num_inputs(self) -> int:
    """Embedded vectors a row: one for each `id` and each `ids` field."""
    return len(self.inputs)

  def fingerprint(self) -> str:
    """Hashes the fields, their order and the labels; 16 hexadecimal digits.

    Vocabulary sizes, which depend on the data, do not enter.
    """
    parts = [
        [(k, v) for k, v in f.to_dict().items() if k != 'vocab_size']
        for f in self.fields
    ]
    keys = [parts, self.labels, self.group, self.truth]
    text = json.dumps(keys + [self.weight] * bool(self.weight))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def field(self, name: str) -> Field:
    for f in self.fields:
      if f.name == name:
        return f
    raise InputError(
        f'No field {name!r}; there are {[f.name for f in self.fields]}.'
    )

  def with_vocab_sizes(self, sizes: dict[str, int]) -> 'Schema':
    """Returns the schema with the vocabulary sizes of some tables filled in."""
    fields = tuple(
        dataclasses.replace(f, vocab_size=sizes.get(f.table, f.vocab_size))
        for f in self.fields
    )
    return dataclasses.replace(self, fields=fields)

  def select(self, names: Sequence[str]) -> 'Schema':
    """Returns the schema with these fields only, for feature ablations."""
    return dataclasses.replace(
        self, fields=tuple(self.field(name) for name in names)
    )

  def with_tasks(self, names: Sequence[str]) -> 'Schema':
    """Returns the schema with these tasks only.

    Raises:
      InputError: There is no such task, or the parent of one is left out.
    """
    by_name = {t.name: t for t in self.tasks}
    for name in names:
      if name not in by_name:
        raise InputError(
            f'dataset.tasks names {name!r}, which the data does not have.'
            f' {suggest(name, by_name)}'
        )
    return dataclasses.replace(self, tasks=tuple(by_name[n] for n in names))

  def to_dict(self) -> dict[str, Any]:
    d = dataclasses.asdict(self)  # Without weight as earlier versions wrote it.
    d['fields'] = tuple(f.to_dict() for f in self.fields)
    return d if self.weight else {k: v for k, v in d.items() if k != 'weight'}

  @classmethod
  def from_dict(cls, d: dict[str, Any]) -> 'Schema':
    return cls(
        fields=tuple(Field(**f) for f in d['fields']),
        tasks=tuple(Task(**t) for t in d['tasks']),
        group=d['group'],
        truth=tuple(d['truth']),
        weight=d.get('weight', ''),
    )
