"""A fresh state -> one with the parameters and moments of another run.

Taken over are the parameters and running statistics that the other run chose
(its test metrics are of them), and the state of its optimizers after its last
step, with Adam's count of steps, which belongs to the moments. The rest is that
of a new run: step 0, the schedule of its own steps, random keys of its seed.
Rows of values that the other run did not have stay as they were drawn, their
moments as the optimizer begins them.
"""

from collections.abc import Mapping, Sequence
import contextlib
import os
from typing import Any

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.embeddings import files
from esmm_jax.embeddings.moving import Move, read_rows
from esmm_jax.embeddings.vectors import field_of, VECTORS
from esmm_jax.parallel import axes
from esmm_jax.schema import Field, Schema
from esmm_jax.types import InputError
from esmm_jax.warm_start.base import Base
from esmm_jax.workdir import chosen, manifest, provenance, verify
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.identity import Stamp
import jax
import numpy as np

_PARAMS = ('table', 'net', 'stats')
_MOMENTS = ('table_opt', 'net_opt')
Path = tuple[str, ...]


def take_over(
    state: Any, base: Base, schema: Schema, builder: ColumnarBuilder
) -> tuple[Any, str]:
  """Returns a state with the parameters and moments of a run.

  Args:
    state: A `TrainState` before its first step; consumed. Its replicas all get
      the same.
    base: The run.
    schema: The fields that the new run reads.
    builder: The new run's data.

  Returns:
    The state, and a line that says what was taken over.

  Raises:
    InputError: The run does not fit the data or the state, or its checkpoint is
      damaged; `state` is then not consumed.
  """
  moves = _moves(base, schema, builder)
  small, folder, best = read_checkpoint(base)
  tables = files.saved(folder)
  old = _vectors(small, best)
  _check_leaves(state, small, tables, best, base)
  _check_vectors(state, old, schema, base)

  def leaf(path: Any, x: jax.Array) -> jax.Array:
    names = axes.names(path)
    # Vectors are those of this run's file, which has those of new values too.
    if names[0] not in (*_PARAMS, *_MOMENTS) or VECTORS in names[1:2]:
      return x
    source = _source(names, best)
    if axes.axes_of(path, x) == axes.BY_ROW:
      return read_rows(folder, tables['.'.join(source)], x, moves)
    value = np.broadcast_to(_plain(small)[_without_place(source)], x.shape)
    return jax.make_array_from_callback(
        x.shape, x.sharding, lambda index: value[index]
    )

  taken = sum(m.num for m in moves)
  steps, selected = base.results['steps'], base.results['selected_step']
  line = (
      f'Beginning with {base.run}: parameters of step {selected:,}, moments of'
      f' step {steps:,}; {taken:,} rows of the tables,'
      f' {schema.num_rows - taken:,} new ones.'
  )
  return jax.tree.map_with_path(leaf, state), line


def read_checkpoint(
    base: Base,
) -> tuple[dict[Path, np.ndarray], str, bool]:
  """Reads a run's last checkpoint without its tables.

  Returns:
    Its small arrays, the folder of its tables, and whether the parameters that
    count are those of its best evaluation.

  Raises:
    InputError: It is damaged, or of another run.
  """
  checkpoints = Checkpoints(base.folder, read_only=True)
  with contextlib.closing(checkpoints):
    if checkpoints.messages:
      why = ' '.join(checkpoints.messages)
      raise InputError(f'{base.named}: {why} Train that run again.')
    small = checkpoints.restore_small()
    folder = checkpoints.tables_folder
    best = 'best.table' in files.saved(folder)
    carried = manifest.of_position(chosen.position(checkpoints))
    began = manifest.began(base.folder, carried)
    verify.checkpoint(os.path.dirname(folder), carried, began)
    stamp = Stamp(
        began.get(manifest.IDENTITY, ''),
        base.results['selected_step'],
        chosen.params_sha256(checkpoints, best),
    )
    verify.parameters(base.folder, stamp)
  return small, folder, best


def _source(names: Path, best: bool) -> Path:
  """Returns where a checkpoint has a leaf of the state."""
  part = 'best' if best and names[0] in _PARAMS else 'state'
  return (part, *names)


def _without_place(path: Path) -> Path:
  """Drops the place in a chain of optimizers.

  A chain with weight decay has the same moments one level deeper.
  """
  is_placed = path[1] == 'net_opt' and len(path) > 2 and path[2].isdigit()
  return (*path[:2], *path[3:]) if is_placed else path


def _plain(small: Mapping[Path, np.ndarray]) -> dict[Path, np.ndarray]:
  return {_without_place(path): value for path, value in small.items()}


def _check_leaves(
    state: Any,
    small: Mapping[Path, np.ndarray],
    tables: Mapping[str, files.Saved],
    best: bool,
    base: Base,
) -> None:
  """Refuses a checkpoint with other arrays, or of other shapes.

  Raises:
    InputError: Names the first array that differs.
  """
  there = {
      path: (value.shape, value.dtype)
      for path, value in _plain(small).items()
      if path[1] in (*_PARAMS, *_MOMENTS)
      and VECTORS not in path[2:3]
      and path[0] == _source(path[1:], best)[0]
  }
  # Rows differ; `_moves` has compared them.
  there |= {
      tuple(name.split('.')): (('rows', *entry.shape[1:]), entry.dtype)
      for name, entry in tables.items()
      if name.partition('.')[0] == _source(tuple(name.split('.'))[1:], best)[0]
  }
  here = {}
  for path, leaf in jax.tree.leaves_with_path(state):
    names = axes.names(path)
    if names[0] in (*_PARAMS, *_MOMENTS) and VECTORS not in names[1:2]:
      kind = axes.axes_of(path, leaf)
      shape = list(leaf.shape)
      if kind == axes.BY_ROW:
        shape[0] = 'rows'
      if kind.replica is not None:
        shape[kind.replica] = 1
      source = _without_place(_source(names, best))
      here[source] = (tuple(shape), leaf.dtype)
  for path in sorted(here.keys() | there.keys()):
    if here.get(path) != there.get(path):
      raise InputError(
          f'init_from={base.run}: {".".join(path[1:])} is'
          f' {_described(here.get(path))} here and'
          f' {_described(there.get(path))} there; the two runs have different'
          ' networks or optimizers. Give both the same config.'
      )


def _vectors(
    small: Mapping[Path, np.ndarray], best: bool
) -> dict[str, np.ndarray]:
  """Returns the vectors that are not trained of the old run, [V, d] each."""
  first = (*_source(('stats',), best), VECTORS)
  return {p[3]: value[0] for p, value in small.items() if p[:3] == first}


def _check_vectors(
    state: Any, old: Mapping[str, np.ndarray], schema: Schema, base: Base
) -> None:
  """Refuses vectors of a value other than those that the run was trained on.

  Raises:
    InputError: Names the first column and how many differ.
  """
  for name, then in old.items():
    now = np.asarray(state.stats[VECTORS][name][0, : len(then)])
    differ = then.any(axis=1) & (now != then).any(axis=1)
    if differ.any():
      raise InputError(
          f'init_from={base.run}: model.vectors: column'
          f' {field_of(schema, name).name!r} has another vector here than there'
          f' for {np.count_nonzero(differ)} values, as that of id'
          f' {np.argmax(differ)}. A run goes on with the vectors that it had;'
          ' those of new values may come.'
      )


def _described(array: tuple[Sequence[Any], Any] | None) -> str:
  return 'absent' if array is None else f'{array[1]} {list(array[0])}'


def _moves(
    base: Base, schema: Schema, builder: ColumnarBuilder
) -> list[Move]:
  """Returns the row of each of the old run's values in the new tables.

  Raises:
    InputError: The fields, tasks or vocabularies do not fit.
  """
  where = f'init_from={base.run}'
  for new, old in zip(schema.fields, base.schema.fields):
    if _without_size(new) != _without_size(old):
      raise InputError(
          f'{where}: field {new.name!r} is at the position of {old.name!r} in'
          ' that run, or has other options. Give both runs the same fields.'
      )
  names = [[f.name for f in s.fields] for s in (schema, base.schema)]
  tasks = [[t.name for t in s.tasks] for s in (schema, base.schema)]
  for what, (new, old) in (('fields', names), ('tasks', tasks)):
    if new != old:
      raise InputError(
          f'{where}: the {what} are {new} here but {old} in that run; both runs'
          ' need the same.')
  grows = bool(builder.encoder_folder)
  if grows:
    _check_values(where, base, builder)
  elif base.config['dataset.name'] != 'synthetic_funnel':
    data = provenance.data(builder)
    if data != base.data:
      raise InputError(
          f'{where}: the data is {data} here but {base.data} in that run, so'
          ' the same ids may mean other values. Name a run on the same data.'
      )
  moves = {}
  for new, old in zip(schema.inputs, base.schema.inputs):
    if new.vocab_size != old.vocab_size and not grows:
      raise InputError(
          f'{where}: field {new.name!r} has {new.vocab_size} ids here but'
          f' {old.vocab_size} in that run; the vocabulary of this data set'
          ' cannot grow. Name a run on the same data.'
      )
    source, target = base.schema.offsets[old.table], schema.offsets[new.table]
    moves[new.table] = Move(source, target, old.vocab_size)
  return sorted(moves.values(), key=lambda m: m.target)


def _without_size(field: Field) -> dict[str, Any]:
  return {k: v for k, v in vars(field).items() if k != 'vocab_size'}


def _check_values(where: str, base: Base, builder: ColumnarBuilder) -> None:
  """Refuses data whose ids do not continue those of the run."""
  old, new = Encoder.load(base.encoder_folder), builder.encoder_folder
  encoder = Encoder.load(new)
  for table in dict.fromkeys(f.table for f in old.schema.inputs):
    values = old.vocabulary(table).values
    now = encoder.vocabulary(table).values
    if not now.slice(0, len(values)).equals(values.cast(now.type)):
      raise InputError(
          f'{where}: the ids of table {table!r} in {new} are not those of that'
          ' run. Delete that folder; it is prepared again.'
      )
