"""Rewrites a pipeline config of TorchEasyRec in the form of EasyRec.

Names that differ are exchanged, and the defaults that differ are written out.
"""

from collections.abc import Callable

from esmm_jax.easyrec.features import default_field
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Field, Message, Word
from esmm_jax.easyrec.torch_features import feature_configs
from esmm_jax.easyrec.torch_training import train_config
from esmm_jax.types import InputError

_MODELS = {
    'mmoe': 'MMoE', 'ple': 'PLE', 'dbmtl': 'DBMTL',
    'simple_multi_task': 'SimpleMultiTask',
}
_NETS = {
    'mlp': 'dnn', 'expert_mlp': 'expert_dnn', 'bottom_mlp': 'bottom_dnn',
    'relation_mlp': 'relation_dnn', 'gate_mlp': 'gate_dnn',
    'task_expert_net': 'task_expert_net',
    'share_expert_net': 'share_expert_net',
}
_LOSSES = {'binary_cross_entropy': 'CLASSIFICATION'}
_INPUTS = {'CsvDataset': 'CSVInput', 'ParquetDataset': 'ParquetInput'}


def is_torch(root: Message) -> bool:
  """Tells whether a config is one of TorchEasyRec."""
  train, data = _peek(root, 'train_config'), _peek(root, 'data_config')
  feature = _peek(root, 'feature_configs')
  return (
      any(m.has(name) for m, name in (
          (train, 'sparse_optimizer'), (train, 'dense_optimizer'),
          (data, 'dataset_type')))
      or any(f.name.endswith('_feature') for f in feature.fields))


def rewritten(root: Message, notes: Notes) -> Message:
  """Returns the config in EasyRec's form.

  Raises:
    InputError: Its model is none that can be carried over.
  """
  model = _peek(root, 'model_config')
  parts = [f.name for f in model.fields if isinstance(f.value, Message)]
  name = next((p for p in parts if p in _MODELS), '')
  if not name:
    others = [p for p in parts if p not in (
        'feature_groups', 'losses', 'metrics', 'train_metrics')]
    raise InputError(
        'model_config of TorchEasyRec has'
        f' {", ".join(others) or "no model"}; of its models'
        f' {", ".join(_MODELS)} can be carried over.')
  epochs = _peek(root, 'train_config').get('num_epochs', 0)
  rewrite: dict[str, Callable[[Field], list[Field]]] = {
      'train_config': lambda f: [_with(f, train_config(f.value, notes))],
      'data_config': lambda f: [_with(f, _data(f.value, epochs))],
      'feature_configs': lambda f: [
          _with(f, m) for m in feature_configs(f.value, notes)],
      'model_config': lambda f: [_with(f, _model(f.value, name))],
      'eval_config': lambda f: [f],
  }
  fields = []
  for field in root.fields:
    change = rewrite.get(field.name)
    message = isinstance(field.value, Message)
    fields += change(field) if change and message else [field]
  if not root.has('data_config'):
    fields.append(default_field('data_config', _data(Message([]), epochs)))
  return Message(fields, root.line)


def _peek(message: Message, name: str) -> Message:
  """Returns an inner message, unlike `message` without marking it as read."""
  values = [f.value for f in message.fields if f.name == name]
  inner = values[-1] if values else None
  return inner if isinstance(inner, Message) else Message([], message.line)


def _with(field: Field, message: Message) -> Field:
  return Field(field.name, message, field.line)


def _data(data: Message, epochs: int) -> Message:
  """Rewrites data_config."""
  fields = []
  for f in data.fields:
    if f.name == 'dataset_type':
      kind = _INPUTS.get(str(f.value), str(f.value))
      fields.append(Field('input_type', Word(kind), f.line, False, f.name))
    elif f.name == 'delimiter':
      fields.append(Field('separator', f.value, f.line, False, f.name))
    elif f.name == 'sample_weight_fields':
      fields.append(Field('sample_weight', f.value, f.line, False, f.name))
    else:
      fields.append(f)
  if not data.has('batch_size'):
    fields.append(default_field('batch_size', 1024))
  if not data.has('dataset_type'):
    fields.append(default_field('input_type', Word('OdpsDataset')))
  if epochs:
    fields.append(default_field('num_epochs', epochs))
  return Message(fields, data.line)


def _model(model: Message, name: str) -> Message:
  """Rewrites model_config."""
  fields = [default_field('model_class', _MODELS[name])]
  for f in model.fields:
    fields.append(_with(f, _net(f.value, name)) if f.name == name else f)
  return Message(fields, model.line)


def _net(net: Message, name: str) -> Message:
  """Rewrites the message of a model."""
  fields = []
  for f in net.fields:
    inside = isinstance(f.value, Message)
    if inside and f.name in ('task_towers', 'extraction_networks'):
      fields.append(_with(f, _tower(f.value)))
    else:
      fields.append(_layers(f))
  # No penalty but the optimizer's; three experts unless another number is said.
  fields.append(default_field('l2_regularization', 0.0))
  if name in ('mmoe', 'dbmtl') and not net.has('num_expert'):
    fields.append(default_field('num_expert', 3))
  return Message(fields, net.line)


def _layers(field: Field) -> Field:
  """Rewrites a field that is a network; leaves any other one."""
  if field.name not in _NETS or not isinstance(field.value, Message):
    return field
  inside = list(field.value.fields)
  if not field.value.has('use_bn'):
    inside.append(default_field('use_bn', False))
  return Field(
      _NETS[field.name], Message(inside, field.value.line), field.line, False,
      field.name)


def _tower(tower: Message) -> Message:
  """Rewrites a task tower or an extraction network."""
  fields = []
  for f in tower.fields:
    if f.name == 'losses' and isinstance(f.value, Message):
      for loss in f.value.fields:
        kind = Word(_LOSSES.get(loss.name, loss.name))
        fields.append(_with(
            f, Message([Field('loss_type', kind, loss.line)], f.value.line)))
    elif f.name == 'metrics' and isinstance(f.value, Message):
      fields.append(Field(
          'metrics_set', _metric(f.value), f.line, False, f.name))
    else:
      fields.append(_layers(f))
  return Message(fields, tower.line)


def _metric(metric: Message) -> Message:
  """Rewrites a metric: a grouped AUC is EasyRec's GAUC."""
  fields = []
  for f in metric.fields:
    if f.name == 'grouped_auc' and isinstance(f.value, Message):
      group = f.value.get('grouping_key', '')
      inside = Message([
          default_field('uid_field', group, f.line),
          default_field('reduction', 'mean', f.line)], f.line)
      fields.append(Field('gauc', inside, f.line, False, f.name))
    else:
      fields.append(f)
  return Message(fields, metric.line)
