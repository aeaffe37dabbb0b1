"""Converts train_config and data_config: optimizer, schedule, batches."""

from typing import Any

from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.text_proto import Message

_OPTIMIZERS = {
    'adam_optimizer': 'adam', 'lazy_adam_optimizer': 'adam',
    'adam_async_optimizer': 'adam', 'adagrad_optimizer': 'adagrad',
    'momentum_optimizer': 'sgd', 'adamw_optimizer': 'adam',
}
_RENAMED = {'beta1': 'b1', 'beta2': 'b2', 'epsilon': 'eps'}
_MANY = 1000  # EasyRec's configs set 10,000 epochs and end by the steps.


def settings(root: Message, notes: Notes) -> dict[str, Any]:
  """Converts to the top-level keys of a config."""
  data, train = root.message('data_config'), root.message('train_config')
  converted: dict[str, Any] = {'batch_size': data.get('batch_size', 32)}
  epochs, steps = data.get('num_epochs', 0), train.get('num_steps', 0)
  if 0 < epochs < _MANY:
    converted['num_epochs'] = epochs
  if steps:
    notes.add(
        train.line, 'num_steps',
        f'a run has whole epochs; set num_epochs to about {steps} x'
        f' {converted["batch_size"]} / rows of the log')
  converted |= _optimizer(train, steps, notes)
  if clip := train.get('gradient_clipping_by_norm', 0.0):
    converted['clip_norm'] = float(clip)
  if seed := train.get('seed'):
    converted['seed'] = seed
  return converted


def _optimizer(train: Message, steps: int, notes: Notes) -> dict[str, Any]:
  configs = train.all('optimizer_config')
  if not configs:
    return {}
  if len(configs) > 1:
    notes.add(
        configs[0].line, 'optimizer_config',
        'of several the last one is taken; table_optimizer is that of the'
        ' embeddings')
  config = configs[-1]
  for easyrec_name, optimizer in _OPTIMIZERS.items():
    if not (options := config.message(easyrec_name)).fields:
      continue
    converted: dict[str, Any] = {'optimizer.name': optimizer}
    for name, key in _RENAMED.items():
      if (value := options.get(name)) is not None:
        converted[f'optimizer.{key}'] = float(value)
    if optimizer == 'sgd':
      momentum = options.get('momentum_optimizer_value', 0.9)
      converted['optimizer.momentum'] = float(momentum)
    if decay := options.get('weight_decay'):
      converted['weight_decay'] = float(decay)
    if first := options.get('initial_accumulator_value'):
      converted['optimizer.initial_accumulator'] = float(first)
    return converted | _rate(options.message('learning_rate'), steps, notes)
  notes.add(config.line, 'optimizer_config', 'is none of ours; Adam is taken')
  return {}


def _rate(rate: Message, steps: int, notes: Notes) -> dict[str, Any]:
  """Converts learning rate and schedule."""
  constant = rate.message('constant_learning_rate')
  if constant.fields:
    return {'learning_rate': float(constant.get('learning_rate', 0.002))}
  decay = rate.message('exponential_decay_learning_rate')
  if not decay.fields:
    return {}
  first = float(decay.get('initial_learning_rate', 0.002))
  factor = float(decay.get('decay_factor', 0.95))
  every = decay.get('decay_steps', 8_000_000)
  least = float(decay.get('min_learning_rate', 0.0))
  converted: dict[str, Any] = {'learning_rate': first}
  if warmup := decay.get('burnin_steps', 0):
    converted['schedule.warmup_steps'] = warmup
    decay.get('burnin_learning_rate')
  if not steps:
    notes.add(
        decay.line, 'decay_steps',
        'without num_steps it is not known how far it decays; the learning'
        ' rate is constant')
    return converted
  end = max(factor ** (steps / every), least / first)
  if end < 1:
    converted |= {'schedule.name': 'exponential', 'schedule.end_factor': end}
    notes.add(
        decay.line, 'exponential_decay_learning_rate',
        f'decays smoothly, to {end:.3g} of it at the last step of the run,'
        f' as after {steps} steps there')
  return converted
