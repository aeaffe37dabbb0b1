"""Converts a pipeline config of EasyRec to settings of a config."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from esmm_jax.easyrec import features, training
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.text_proto import Message, parse
from esmm_jax.types import InputError, suggest

# model_class -> config file, and name of the message with the network.
CLASSES = {
    'ESMM': ('esmm', 'esmm'),
    'MMoE': ('mmoe', 'mmoe'),
    'PLE': ('ple', 'ple'),
    'DBMTL': ('dbmtl', 'dbmtl'),
}
_ACTIVATIONS = {
    'relu': 'relu', 'leaky_relu': 'leaky_relu', 'prelu': 'prelu',
    'dice': 'dice', 'gelu': 'gelu', 'swish': 'silu', 'silu': 'silu',
    'tanh': 'tanh',
}


class Converted(NamedTuple):
  """A converted pipeline config.

  Attributes:
    base: The config file, `esmm` for configs/esmm.py.
    settings: Keys of the config -> values, on top of its variant `tabular`.
    notes: Settings that were not carried over, or not exactly, with lines.
  """

  base: str
  settings: dict[str, Any]
  notes: list[str]


def convert(text: str) -> Converted:
  """Converts the text of a pipeline config.

  Args:
    text: In the text form of protocol buffers.

  Raises:
    InputError: The text has another form, its model is not in `CLASSES`, or
      it has other tasks than a click and a conversion.
  """
  root = parse(text)
  model = root.message('model_config')
  name = model.get('model_class')
  if name not in CLASSES:
    raise InputError(
        f'model_config.model_class is {name!r}; of EasyRec\'s models'
        f' {", ".join(CLASSES)} can be carried over.'
        f' {suggest(str(name), CLASSES)}'
    )
  base, section = CLASSES[name]
  net = model.message(section)
  notes, settings = Notes(), {}
  click, conversion = _towers(net, name, notes)
  data, fields = features.dataset(root, model, click, conversion, notes)
  settings |= data
  settings |= training.settings(root, notes)
  settings |= _losses(name, click, conversion, notes)
  settings |= _network(name, net, click, conversion, notes)
  if name == 'ESMM':
    settings |= _groups(net, features.groups(model), fields, notes)
  settings |= _penalties(name, model, net, settings, notes)
  if dims := features.dimensions(root):
    settings['model.embed_dim'] = notes.same(
        dims, 'embedding_dim', 'one embedding_dim for all features')
  notes.unused(root)
  return Converted(base, settings, notes.lines)


def _towers(net: Message, name: str, notes: Notes) -> tuple[Message, Message]:
  """Finds the towers of the click and of the conversion."""
  if name == 'ESMM':
    return net.message('ctr_tower'), net.message('cvr_tower')
  towers = net.all('task_towers')
  if len(towers) != 2:
    raise InputError(
        f'the model has {len(towers)} task_towers; a click and a conversion can'
        ' be carried over.'
    )
  by_label = {t.get('label_name'): t for t in towers}
  by_name = {t.get('tower_name'): t for t in towers}
  for conversion in towers:
    click = by_label.get(conversion.get('task_space_indicator_label'))
    parents = [by_name.get(n) for n in conversion.all('relation_tower_names')]
    click = click or next(filter(None, parents), None)
    if click is not None and click is not conversion:
      return click, conversion
  notes.add(
      towers[0].line,
      'task_towers',
      'nothing says which tower is the click; the first one is taken for it',
  )
  return towers[0], towers[1]


def _losses(
    name: str, click: Message, conversion: Message, notes: Notes
) -> dict[str, Any]:
  """Converts the losses to an estimator and its weights."""
  weights = [float(t.get('weight', 1.0)) for t in (click, conversion)]
  space = conversion.get('task_space_indicator_label')
  inside = float(conversion.get('in_task_space_weight', 1.0))
  outside = float(conversion.get('out_task_space_weight', 1.0))
  for tower in (click, conversion):
    loss = tower.get('loss_type', 'CLASSIFICATION')
    if loss != 'CLASSIFICATION':
      notes.add(
          tower.line, 'loss_type', f'{loss} became the cross-entropy of 0 or 1')
  if name == 'ESMM':
    return {
        'estimator': 'entire_space',
        'loss_weights.ctr': weights[0],
        'loss_weights.ctcvr': weights[1],
    }
  if space:
    settings = {
        'estimator': 'click_space',
        'loss_weights.ctr': weights[0],
        'loss_weights.cvr_clicked': weights[1] * inside,
    }
    if outside < 1e-3 * inside:
      return settings
    notes.add(
        conversion.line,
        'out_task_space_weight',
        'un-clicked rows stand in no loss of ours with a weight;'
        ' sampling.unclicked_rate draws some of them',
    )
    return settings | {'sampling.unclicked_rate': min(1.0, outside / inside)}
  notes.add(
      conversion.line,
      'label_name',
      'without a task space this tower predicts the conversion of every'
      ' impression, our pCTCVR: estimator end_to_end; pCVR is the ratio',
  )
  return {
      'estimator': 'end_to_end',
      'loss_weights.ctr': weights[0],
      'loss_weights.ctcvr': weights[1],
      'loss_weights.calibrator': 0.0,
  }


def _network(
    name: str, net: Message, click: Message, conversion: Message, notes: Notes
) -> dict[str, Any]:
  """Converts the networks to the section `model`."""
  parts = _Parts(notes)
  settings = {'model.tower_units': parts.units(
      [t.message('dnn') for t in (click, conversion)], 'towers')}
  if groups := net.all('groups'):
    settings['model.group_units'] = parts.units(
        [g.message('dnn') for g in groups], 'groups')
  if name == 'MMoE':
    experts = net.all('experts')
    settings['model.num_experts'] = net.get('num_expert', len(experts))
    settings['model.expert_units'] = parts.units(
        net.all('expert_dnn') or [e.message('dnn') for e in experts],
        'experts')
  if name == 'PLE':
    levels = net.all('extraction_networks')
    settings['model.levels'] = len(levels)
    for key, easyrec_name in (
        ('num_task_experts', 'expert_num_per_task'),
        ('num_shared_experts', 'share_num')):
      counts = [level.get(easyrec_name, 1) for level in levels]
      settings[f'model.{key}'] = notes.same(
          counts, easyrec_name, 'one number of experts for all levels')
    nets = [
        level.message(kind) for level in levels
        for kind in ('task_expert_net', 'share_expert_net')]
    settings['model.expert_units'] = parts.units(nets, 'experts')
  if name == 'DBMTL':
    bottom = net.all('bottom_dnn')
    settings['model.shared_units'] = parts.units(bottom, 'bottom_dnn')
    settings['model.num_experts'] = net.get('num_expert', 0)
    if expert := net.all('expert_dnn'):
      settings['model.expert_units'] = parts.units(expert, 'experts')
    related = conversion.all('relation_tower_names')
    settings['model.relations'] = ('ctr -> cvr',) if related else ()
    relations = [t.message('relation_dnn') for t in (click, conversion)]
    if relations := [r for r in relations if r.fields]:
      settings['model.relation_units'] = parts.units(relations, 'relation_dnn')
  return settings | parts.style()


def _groups(
    net: Message, groups: dict[str, tuple[str, ...]], fields: dict[str, str],
    notes: Notes,
) -> dict[str, Any]:
  """Converts ESMM's networks of groups of features."""
  converted = []
  for g in net.all('groups'):
    name = g.get('input')
    if name not in groups:
      raise InputError(
          f'line {g.line}: {name!r} is no feature group.'
          f' {suggest(str(name), groups)}'
      )
    members = tuple(fields[n] for n in groups[name] if n in fields)
    if members:
      converted.append(members)
    else:
      notes.add(g.line, name, 'of this group no feature is left')
  return {'model.groups': tuple(converted)}


class _Parts:
  """Collects widths of networks, and settings that all of them share."""

  def __init__(self, notes: Notes):
    self._notes = notes
    self._rates: list[float] = []
    self._normed: list[bool] = []
    self._activations: list[str] = []

  def units(self, networks: Sequence[Message], what: str) -> tuple[int, ...]:
    """Returns the hidden widths, those of the first network if they differ."""
    widths = []
    for network in networks:
      widths.append(tuple(network.all('hidden_units')))
      self._rates += network.all('dropout_ratio') or [0.0]
      self._normed.append(bool(network.get('use_bn', True)))
      self._activations.append(str(network.get('activation', 'relu')))
    return self._notes.same(
        widths or [()], f'{what}: hidden_units', f'one width for all {what}')

  def style(self) -> dict[str, Any]:
    """Returns dropout, norm and activation of the whole network."""
    activation = self._notes.same(
        self._activations, 'activation', 'one activation for all')
    short = activation.rpartition('.')[2].lower()
    if short not in _ACTIVATIONS:
      self._notes.add(0, 'activation', f'{activation!r} became relu')
    normed = self._notes.same(self._normed, 'use_bn', 'one norm for all')
    rate = self._notes.same(self._rates, 'dropout_ratio', 'one dropout for all')
    return {
        'model.activation': _ACTIVATIONS.get(short, 'relu'),
        'model.norm': 'batch' if normed else 'none',
        'model.dropout': float(rate),
    }


def _penalties(
    name: str, model: Message, net: Message, settings: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
  """Converts L2 of kernels and embeddings to that of a mean loss."""
  summed = settings['batch_size'] if name == 'ESMM' else 1
  tower = float(net.get('l2_regularization', 1e-4)) / summed
  table = float(model.get('embedding_regularization', 0.0)) / summed
  if summed > 1:
    notes.add(
        net.line,
        'l2_regularization',
        'EasyRec\'s ESMM loss is a sum over the batch, ours a mean: penalties'
        f' are divided by the batch size, {summed}',
    )
  if table:
    notes.add(
        model.line,
        'embedding_regularization',
        'is on what is looked up there and on each row that a batch touches'
        ' here; look at the scale',
    )
  return {'tower_l2': tower, 'embedding_l2': table}
