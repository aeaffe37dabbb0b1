"""Rewrites the optimizers of TorchEasyRec in the form of EasyRec."""

from esmm_jax.easyrec.features import default_field
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Field, Message
from esmm_jax.options import POSITIVE

_RATE = 0.002
_NAMES = {'sgd_optimizer': 'momentum_optimizer'}
_DECAYS = {'adamw_optimizer': 'times the rate'}
_RENAMED = {
    'decay_size': 'decay_steps', 'warmup_learning_rate': 'burnin_learning_rate',
    'warmup_size': 'burnin_steps',
}
_RATES = (
    'constant_learning_rate', 'exponential_decay_learning_rate',
    'manual_step_learning_rate', 'cosine_annealing_learning_rate',
    'cosine_annealing_warm_restarts_learning_rate',
)


def train_config(train: Message, notes: Notes) -> Message:
  """Rewrites train_config: two optimizers, that of the embeddings first."""
  fields = []
  for name in ('sparse_optimizer', 'dense_optimizer'):
    for f in train.fields:
      if f.name == name and isinstance(f.value, Message):
        fields.append(Field(
            'optimizer_config', _optimizer(f.value, name, notes), f.line,
            False, f.name))
  for f in train.fields:
    if f.name == 'num_epochs':
      f.used = True
    elif f.name == 'grad_clipping' and isinstance(f.value, Message):
      fields += _clipping(f.value, notes)
    elif f.name not in ('sparse_optimizer', 'dense_optimizer'):
      fields.append(f)
  return Message(fields, train.line)


def _clipping(clipping: Message, notes: Notes) -> list[Field]:
  kind = clipping.enum('clipping_type', 'none')
  most = clipping.get('max_gradient', 1.0)
  norm = clipping.get('norm_type', 2.0)
  if kind == 'none':
    return []
  if kind != 'norm' or norm != 2.0:
    notes.add(
        clipping.line, 'grad_clipping',
        f'by {kind} is not carried over; clip_norm clips by the whole norm')
    return []
  notes.add(
      clipping.line, 'grad_clipping',
      'clips the gradient of the network there, with that of the embeddings'
      ' here')
  return [default_field('gradient_clipping_by_norm', most)]


def _optimizer(config: Message, part: str, notes: Notes) -> Message:
  """Rewrites an optimizer; its learning rate stands inside, as in EasyRec."""
  fields: list[Field] = []
  schedules = [f for f in config.fields if f.name in _RATES]
  for f in config.fields:
    if f.name in _RATES:
      continue
    if not f.name.endswith('_optimizer') or not isinstance(f.value, Message):
      fields.append(f)
      continue
    rate = f.value.get('lr', _RATE, POSITIVE)
    inside = [g for g in f.value.fields if g.name not in ('lr', 'momentum')]
    forms = schedules or [default_field('constant_learning_rate', Message([]))]
    learning_rate = Message(
        [_schedule(s, rate, notes) for s in forms], f.line)
    inside.append(default_field('learning_rate', learning_rate))
    if f.name.endswith('adagrad_optimizer') and not f.value.has(
        'initial_accumulator_value'):
      inside.append(default_field('initial_accumulator_value', 0.0))
    if f.name == 'sgd_optimizer':
      momentum = 0.9 if part == 'dense_optimizer' else 0.0
      inside.append(default_field(
          'momentum_optimizer_value', f.value.get('momentum', momentum)))
    if not f.value.has('weight_decay'):
      inside.append(default_field('weight_decay', 0.0))
    form = _DECAYS.get(f.name, 'in the gradient')
    inside.append(default_field('decay_form', form))
    fields.append(Field(
        _NAMES.get(f.name, f.name), Message(inside, f.line), f.line, False,
        f.name))
  return Message(fields, config.line)


def _schedule(schedule: Field, rate: float, notes: Notes) -> Field:
  """Rewrites a form of the learning rate, with the rate inside."""
  options = schedule.value
  if not isinstance(options, Message):
    options = Message([], schedule.line)
  if schedule.name == 'constant_learning_rate':
    fields = [default_field('learning_rate', rate)]
  else:
    fields = [default_field('initial_learning_rate', rate)]
    for f in options.fields:
      name = _RENAMED.get(f.name, f.name)
      fields.append(Field(name, f.value, f.line, False, f.name))
    # A rise from 0 is one here, unlike EasyRec's.
    fields.append(default_field('rises', True))
  if options.get('by_epoch', False):
    notes.add(
        schedule.line, schedule.name,
        f'goes by epochs there; here the learning rate stays {rate:g}')
    fields = [default_field('learning_rate', rate)]
    return Field(
        'constant_learning_rate', Message(fields, schedule.line),
        schedule.line, False, schedule.name)
  return Field(
      schedule.name, Message(fields, schedule.line), schedule.line, False,
      schedule.name)
