"""Refuses keys of a config that are set and that no part of the run reads.

A key that a run does not have is refused where its section is read; a key that
it has, and that another key makes idle, is refused here, before a new run
begins. Runs that have begun are not asked again.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from esmm_jax.no_effect.objectives import Idle, of_objective
from esmm_jax.types import InputError

# Optimizer -> the keys of its section that it reads.
OPTIMIZER_KEYS = {
    'adam': ('b1', 'b2', 'eps'),
    'adagrad': ('initial_accumulator', 'eps'),
    'sgd': ('momentum',),
    'rowwise_adagrad': ('initial_accumulator', 'eps'),
}
# Data sets without a column of attention, but for those of a person's log.
_OURS = ('ali_ccp', 'kuairand', 'synthetic_funnel', 'tabular')
_CSV = ('separator', 'header', 'encoding', 'null_values', 'quote')


def check(
    flat: Mapping[str, Any],
    file: Mapping[str, Any] | None = None,
    elsewhere: Container[tuple[str, str]] = (),
) -> None:
  """Refuses a value that asks for something and has no effect.

  A value that only the change of another key has made idle is none that was
  asked for: that the file's momentum is idle once --config.optimizer.name is
  adam needs no word.

  Args:
    flat: The config of a new run, with dotted keys (`folder.flatten`).
    file: The same as its file makes it; what differs was set by a person.
    elsewhere: Values that other runs of a sweep read (`anywhere`).

  Raises:
    InputError: Names the key and the one that makes it idle.
  """
  absent = object()
  of_file = {idle.key for idle in _idle(file)} if file is not None else None
  for idle in _idle(flat):
    value = flat.get(idle.key)
    default = idle.quiet[:1] if idle.quiet else ()
    typed = file is not None and value not in (
        None, *default, file.get(idle.key, absent)
    )
    loud = idle.quiet is not None and value not in idle.quiet
    loud &= (idle.key, repr(value)) not in elsewhere
    if typed or loud and (of_file is None or idle.key in of_file):
      left = 'as it is in the config file' if typed else 'at its default'
      raise InputError(
          f'{idle.key} is {value!r}, which has no effect: {idle.why}. Leave'
          f' {idle.key} {left}, or change the other.'
      )


def anywhere(configs: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
  """Returns the values that at least one of several configs reads.

  A sweep over optimizers and momenta has points in which the momentum is idle.

  Args:
    configs: As `flat` of `check`.

  Returns:
    Each key that is idle in one of the configs, with the text of each value
    that it has in one where it is not.
  """
  configs = list(configs)
  idle: list[set[str]] = [{i.key for i in _idle(flat)} for flat in configs]
  keys: set[str] = set().union(*idle)
  return {
      (key, repr(flat.get(key)))
      for flat, unread in zip(configs, idle)
      for key in keys - unread
  }


def _idle(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the keys that the other ones make idle."""
  yield from _of_optimizers(flat)
  yield from _of_training(flat)
  yield from of_objective(flat)
  yield from _of_model(flat)
  name = flat.get('dataset.name')
  if name == 'tabular':
    yield from _of_log(flat)
  elif name == 'kuairand' and not flat.get('dataset.history'):
    for key, default in (
        ('history_form', 'both'),
        ('history_strength', 20.0),
        ('history_live', False),
    ):
      why = 'dataset.history is not set'
      yield Idle(f'dataset.{key}', why, (default, None))
  elif name == 'ali_ccp' and flat.get('dataset.preset') == 'aitm18':
    why = "dataset.preset is 'aitm18', whose fields have no lists and weights"
    yield Idle('dataset.weight_dtype', why, ('float16', None))
    yield Idle('dataset.history_length', why, (None, 4))
  elif name == 'synthetic_funnel' and flat.get('dataset.candidates') == 1:
    why = 'dataset.candidates is 1, so there is nothing to choose from'
    yield Idle('dataset.policy', why)


def _of_optimizers(flat: Mapping[str, Any]) -> Iterator[Idle]:
  name = _text(flat.get('optimizer.name', 'adam'))
  table = _text(flat.get('table_optimizer')) or name
  used = {k for n in (name, table) for k in OPTIMIZER_KEYS.get(n, ())}
  why = f'optimizer.name is {name!r}'
  if table != name:
    why += f' and table_optimizer {table!r}'
  for key, quiet in (
      ('b1', (0.9, 0.0)),
      ('b2', (0.999,)),
      ('eps', (1e-8,)),
      ('initial_accumulator', (0.1,)),
      ('momentum', (0.0,)),
  ):
    if key not in used:
      readers = [n for n, keys in OPTIMIZER_KEYS.items() if key in keys]
      s = '' if len(readers) > 1 else 's'
      read = f'{why}, and only {", ".join(readers)} read{s} it'
      yield Idle(f'optimizer.{key}', read, (*quiet, None))
  schedule = flat.get('schedule.name', 'constant')
  if schedule == 'constant':
    why = "schedule.name is 'constant', which does not end lower"
    yield Idle('schedule.end_factor', why, (0.01, 1.0, None))


def _of_training(flat: Mapping[str, Any]) -> Iterator[Idle]:
  if flat.get('non_finite', 'stop') != 'skip':
    why = "non_finite is 'stop', and only 'skip' counts steps"
    yield Idle('non_finite_ceiling', why, (100, None))
  if flat.get('selection.metric') == '':
    why = "selection.metric is '', so no metric selects"
    yield Idle('selection.mode', why, None)
  if flat.get('dataset.test_split') == '':
    why = "dataset.test_split is '', so there are no rows to predict"
    yield Idle('common_ctr', why, ('', None))
    yield Idle('run.save_predictions', why, (False, None))


def _of_model(flat: Mapping[str, Any]) -> Iterator[Idle]:
  name = flat.get('model.name')
  if not flat.get('model.cross_layers'):
    yield Idle('model.cross_rank', 'model.cross_layers is 0', (0, None))
  unused = {'model.attention_units'}  # Without dropout and norm.
  attends = 'combiner=attention' in _text(flat.get('dataset.ids'))
  if not attends and flat.get('dataset.name') in _OURS:
    why = 'no column of dataset.ids has combiner=attention'
    yield Idle('model.attention_units', why, (None,))
  if name in ('dbmtl', 'mmoe'):
    num = flat.get('model.num_experts', 0 if name == 'dbmtl' else 4)
    num = num if isinstance(num, int) else 2  # Refused elsewhere.
    if num < 2:
      why = f'model.num_experts is {num}, so no gate chooses'
      yield Idle('model.gate_dropout', why, (0.0, None))
    if num < 1:
      unused.add('model.expert_units')
      yield Idle('model.expert_units', 'model.num_experts is 0', None)
  if name == 'shared_embedding' and not flat.get('model.groups'):
    unused.add('model.group_units')
    yield Idle('model.group_units', 'model.groups is empty', None)
  units = {
      key: value
      for key, value in flat.items()
      if key.startswith('model.') and key.endswith('_units')
      and key not in unused
  }
  layers = name == 'aitm' or flat.get('model.cross_layers')
  if 'model.tower_units' in units and not any(units.values()) and not layers:
    why = f'{" and ".join(units)} {"is" if len(units) == 1 else "are"} empty'
    why += ', so there are no hidden layers'
    yield Idle('model.dropout', why, (0.0, 0.2, None))
    yield Idle('model.norm', why, ('none', None))
    yield Idle('model.activation', why, ('relu', None))
    plain = name in ('shared_embedding', 'single_task', 'shared_bottom')
    if plain and not attends:
      yield Idle('model.dtype', why, ('float32', None))  # Others have gates.


def _text(value: Any) -> str:
  return value if isinstance(value, str) else ''


def _of_log(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the idle keys of a log of one's own."""
  # A value of a wrong type is refused where its section is read.
  get = lambda option: _text(flat.get(f'dataset.{option}'))
  if not get('id') and not get('ids') and not get('crosses'):
    why = 'dataset.id and dataset.ids are empty, so nothing is embedded'
    yield Idle('dataset.min_count', why, (2, None))
    yield Idle('table_optimizer', why, ('', None))
    yield Idle('table_moments', why, ('float32', None))
    yield Idle('embedding_l2', why, (0.0, None))
    yield Idle('embed_init_scale', why, (0.01, None))
    if flat.get('model.interaction') in ('none', None):
      yield Idle('model.embed_dim', why, None)
  after = ':after=' in get('labels')
  if not after and not (get('click') and (get('cart') or get('conversion'))):
    why = 'no label comes after another one (dataset.conversion, labels)'
    yield Idle('dataset.conversion_without_click', why, ('error', None))
    yield Idle('dataset.unknown_conversion', why, ('error', None))
  files = [get(option) for option in ('files', 'valid_files', 'test_files')]
  names = ','.join(filter(None, files)).split(',')
  names = [name.strip().strip('"\'') for name in names]
  form, why = get('format'), 'dataset.files names Parquet files alone'
  if form:
    why = f'dataset.format is {form!r}'
  if form == 'parquet' or not form and all(
      name.endswith('.parquet') for name in names
  ):
    for option in _CSV:
      yield Idle(f'dataset.{option}', why, ('', None))
