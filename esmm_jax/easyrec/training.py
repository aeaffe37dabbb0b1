"""Converts train_config and data_config: optimizer, schedule, batches."""

from typing import Any, NamedTuple

from esmm_jax.easyrec import rates
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.options import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, Range
from esmm_jax.options import SEED  # fmt: skip

_Option = tuple[str, float, Range]
_ADAM = {'beta1': ('b1', 0.9, BELOW_ONE), 'beta2': ('b2', 0.999, BELOW_ONE)}
_MOMENTUM = {'momentum_optimizer_value': ('momentum', 0.9, BELOW_ONE)}
# Message -> our optimizer, field -> (our key, default, range), weight_decay.
_OPTIMIZERS: dict[str, tuple[str, dict[str, _Option], float]] = {
    'adam_optimizer': ('adam', _ADAM, 0.0),
    'lazy_adam_optimizer': ('adam', _ADAM, 0.0),
    'adam_async_optimizer': ('adam', _ADAM, 0.0),
    'adamw_optimizer': ('adam', _ADAM, 1e-6),
    'adam_asyncw_optimizer': ('adam', _ADAM, 1e-6),
    'adagrad_optimizer': (
        'adagrad',
        {'initial_accumulator_value': (
            'initial_accumulator', 0.1, NOT_NEGATIVE)}, 0.0),
    'rowwise_adagrad_optimizer': (
        'rowwise_adagrad',
        {'initial_accumulator_value': (
            'initial_accumulator', 0.0, NOT_NEGATIVE)}, 0.0),
    'momentum_optimizer': ('sgd', _MOMENTUM, 0.0),
    'momentumw_optimizer': ('sgd', _MOMENTUM, 1e-6),
    # Without counterpart: Adam is taken, at their rate.
    'rms_prop_optimizer': ('', {}, 0.0),
    'ftrl_optimizer': ('', {}, 0.0),
    'lars_sgd_optimizer': ('', {}, 0.0),
    'lamb_optimizer': ('', {}, 0.0),
    'partial_rowwise_lamb_optimizer': ('', {}, 0.0),
    'partial_rowwise_adam_optimizer': ('', {}, 0.0),
}
_MANY = 1000  # EasyRec's configs set 10,000 epochs and end by the steps.


class _Optimizer(NamedTuple):
  name: str
  settings: dict[str, float]
  rate: dict[str, Any]
  decay: dict[str, float]


def settings(root: Message, notes: Notes) -> dict[str, Any]:
  """Converts to the top-level keys of a config."""
  data, train = root.message('data_config'), root.message('train_config')
  converted: dict[str, Any] = {'batch_size': data.get('batch_size', 32, COUNT)}
  epochs, steps = data.get('num_epochs', 0), train.get('num_steps', 0)
  if 0 < epochs < _MANY:
    converted['num_epochs'] = epochs
  if steps:
    notes.add(
        train.line, 'num_steps',
        f'a run has whole epochs; set num_epochs to about {steps} x'
        f' {converted["batch_size"]} / rows of the log')
  elif not 0 < epochs < _MANY:
    notes.add(
        data.line, 'num_epochs',
        'without it and without num_steps a run there has no end; here it has'
        ' one epoch')
  converted |= _optimizers(train, steps, notes)
  if clip := train.get('gradient_clipping_by_norm', 0.0):
    converted['clip_norm'] = float(clip)
  if train.has('seed'):
    converted['seed'] = train.get('seed', 0, SEED)
  return converted


def _optimizers(train: Message, steps: int, notes: Notes) -> dict[str, Any]:
  """Converts one optimizer, or that of the embeddings and that of the rest."""
  configs = train.messages('optimizer_config')
  if not configs:
    notes.add(
        train.line, 'optimizer_config',
        'is not there; Adam with learning_rate 0.001 is taken')
    return {}
  if len(configs) > 2:
    notes.add(
        configs[0].line, 'optimizer_config',
        'of several the last two are taken, for the embeddings and the rest')
  several = [_optimizer(c, steps, notes) for c in configs[-2:]]
  network = several[-1]
  name = 'adagrad' if network.name == 'rowwise_adagrad' else network.name
  converted = {'optimizer.name': name} | network.settings
  converted |= network.decay | network.rate
  table = several[0]
  if table.name != name:
    converted['table_optimizer'] = table.name
  for key, value in table.settings.items():
    if converted.setdefault(key, value) != value:
      notes.add(
          configs[-2].line, key,
          f'{value} of the embeddings became {converted[key]}; one section'
          ' optimizer has the settings of both')
  if table.rate != network.rate:
    notes.add(
        configs[-2].line, 'learning_rate',
        f'{_shown(table.rate)} of the embeddings became'
        f' {_shown(network.rate)}; there is one learning rate')
  return converted


def _shown(rate: dict[str, Any]) -> str:
  return ', '.join(f'{k.rpartition(".")[2]} {v}' for k, v in rate.items())


def _optimizer(config: Message, steps: int, notes: Notes) -> _Optimizer:
  """Converts one optimizer."""
  kind = config.first(_OPTIMIZERS)
  if not kind:
    notes.add(
        config.line, 'optimizer_config',
        'names no optimizer; Adam with learning_rate 0.001 is taken')
    return _Optimizer('adam', {}, {}, {})
  name, fields, decay = _OPTIMIZERS[kind]
  options = config.message(kind)
  if not name:
    name = 'adam'
    notes.add(config.line, kind, 'is none of ours; Adam is taken')
  converted = {
      f'optimizer.{key}': float(options.get(field, default, allowed))
      for field, (key, default, allowed) in fields.items()}
  if options.has('epsilon') and name == 'adam' and fields:
    converted['optimizer.eps'] = float(options.get('epsilon', 0.0, POSITIVE))
  rate = rates.rate(options.message('learning_rate'), steps, notes)
  decay = float(options.get('weight_decay', decay))
  first = rate['learning_rate']
  return _Optimizer(
      name, converted, rate, _decay(kind, options, decay, first, notes))


def _decay(
    kind: str, options: Message, decay: float, rate: float, notes: Notes
) -> dict[str, float]:
  """Converts the decay of the weights.

  TensorFlow's decoupled decay takes its share of the weight at each step, ours
  (PyTorch's) that share times the learning rate.
  """
  if not decay:
    return {}
  form = options.get('decay_form', 'of a step')
  if form == 'in the gradient':
    notes.add(
        options.line, 'weight_decay',
        f'{decay} of all weights became tower_l2, of the kernels of the towers')
    return {'tower_l2': decay}
  if form == 'times the rate':
    return {'weight_decay': decay}
  notes.add(
      options.line, kind,
      f'takes {decay:g} of every weight at each step, here weight_decay times'
      ' the learning rate of the kernels of the network; embeddings do not'
      ' decay')
  return {'weight_decay': decay / rate}
