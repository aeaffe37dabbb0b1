"""Converts networks of a pipeline config to the section `model`."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.easyrec.towers import Towers
from esmm_jax.options import BELOW_ONE, WIDTH
from esmm_jax.types import InputError, suggest

_ACTIVATIONS = {
    'relu': 'relu', 'leakyrelu': 'leaky_relu', 'prelu': 'prelu',
    'dice': 'dice', 'gelu': 'gelu', 'swish': 'silu', 'silu': 'silu',
    'tanh': 'tanh',
}


def network(
    base: str, net: Message, towers: Towers, parts: 'Parts', notes: Notes
) -> dict[str, Any]:
  """Converts the network of a model.

  Args:
    base: The config file.
    net: The message of the model.
    towers: Its towers.
    parts: Collects the options of the layers.
    notes: Gets what is not carried over.
  """
  settings: dict[str, Any] = {'model.tower_units': parts.units(
      [t.message('dnn') for t in towers.both], 'towers')}
  if groups := net.messages('groups'):
    settings['model.group_units'] = parts.units(
        [g.message('dnn') for g in groups], 'groups')
  if base == 'mmoe':
    settings |= _mmoe(net, parts)
  if base == 'ple':
    settings |= _ple(net, parts, notes)
  if base == 'dbmtl':
    settings |= _dbmtl(net, parts) | relations(towers, parts, notes)
  return settings


def _mmoe(net: Message, parts: 'Parts') -> dict[str, Any]:
  experts = [e.message('dnn') for e in net.messages('experts')]
  num = net.get('num_expert', 0) if net.has('expert_dnn') else len(experts)
  if num < 1:
    raise InputError(
        f'line {net.line}: num_expert is {num}; such a model needs one at'
        ' least.')
  return {
      'model.num_experts': num,
      'model.expert_units': parts.units(
          net.messages('expert_dnn') or experts, 'experts')}


def _ple(net: Message, parts: 'Parts', notes: Notes) -> dict[str, Any]:
  levels = net.messages('extraction_networks')
  if not levels:
    raise InputError(f'line {net.line}: the model has no extraction_networks.')
  settings: dict[str, Any] = {'model.levels': len(levels)}
  for key, easyrec_name in (
      ('num_task_experts', 'expert_num_per_task'),
      ('num_shared_experts', 'share_num')):
    counts = [level.get(easyrec_name, 0) for level in levels]
    settings[f'model.{key}'] = notes.same(
        counts, easyrec_name, 'one number of experts for all levels')
  nets = [
      level.message(kind) for level in levels
      for kind in ('task_expert_net', 'share_expert_net') if level.has(kind)]
  return settings | {'model.expert_units': parts.units(nets, 'experts')}


def _dbmtl(net: Message, parts: 'Parts') -> dict[str, Any]:
  settings: dict[str, Any] = {
      'model.shared_units': parts.units(
          net.messages('bottom_dnn'), 'bottom_dnn')}
  # Without the experts' network there are none, whatever their number.
  num = net.get('num_expert', 0)
  expert = net.messages('expert_dnn')
  settings['model.num_experts'] = num if expert else 0
  if expert:
    settings['model.expert_units'] = parts.units(expert, 'experts')
  return settings


def relations(
    towers: Towers, parts: 'Parts', notes: Notes
) -> dict[str, Any]:
  """Converts the relation networks of DBMTL.

  A tower without such a network reads no other one, whatever it names.
  """
  tasks = {
      t.get('tower_name', ''): task
      for t, task in zip(towers.both, ('ctr', 'cvr'))}
  edges, nets, without = [], [], []
  for tower, task in zip(towers.both, ('ctr', 'cvr')):
    parents = tower.texts('relation_tower_names')
    if not tower.has('relation_dnn'):
      without.append(tower)
      continue
    nets.append(tower.message('relation_dnn'))
    edges += [f'{tasks[p]} -> {task}' for p in parents if p in tasks]
  for tower in without if nets else []:
    notes.add(
        tower.line, tower.get('tower_name', ''),
        'has no relation_dnn there; here all towers have the same')
  return {
      'model.relations': tuple(edges),
      'model.relation_units': parts.units(nets, 'relation_dnn')}


def feature_groups(
    net: Message, groups: dict[str, tuple[str, ...]], fields: dict[str, str],
    notes: Notes,
) -> dict[str, Any]:
  """Converts ESMM's networks of groups of features.

  Args:
    net: The message of the model.
    groups: Feature group -> its features.
    fields: Feature -> field of those that are carried over.
    notes: Gets a group of which nothing is left.

  Raises:
    InputError: A network names no feature group.
  """
  converted = []
  for g in net.messages('groups'):
    name = g.get('input', '')
    if name not in groups:
      raise InputError(
          f'line {g.line}: {name!r} is no feature group.'
          f' {suggest(name, groups)}'
      )
    members = tuple(fields[n] for n in groups[name] if n in fields)
    if members:
      converted.append(members)
    else:
      notes.add(g.line, name, 'of this group no feature is left')
  return {'model.groups': tuple(converted)}


class Parts:
  """Collects widths of networks, and settings that all of them share."""

  def __init__(self, notes: Notes):
    self._notes = notes
    self._rates: list[float] = []
    self._norms: list[str] = []
    self._activations: list[str] = []

  def widths(self, network: Message) -> tuple[int, ...]:
    """Returns the hidden widths of a network and collects its settings."""
    units = tuple(network.numbers('hidden_units', int, WIDTH))
    if units:
      self._rates += network.numbers('dropout_ratio', float, BELOW_ONE) or [0.0]
      batch, layer = network.get('use_bn', True), network.get('use_ln', False)
      self._norms.append('layer' if layer else 'batch' if batch else 'none')
      activation = network.get('activation', 'relu')
      self._activations.append(activation.rpartition('.')[2])
    return units

  def units(self, networks: Sequence[Message], what: str) -> tuple[int, ...]:
    """Returns the hidden widths, those of the first network if they differ."""
    widths = [self.widths(network) for network in networks]
    return self._notes.same(
        widths or [()], f'{what}: hidden_units', f'one width for all {what}')

  def style(self) -> dict[str, Any]:
    """Returns dropout, norm and activation of the whole network."""
    activation = self._notes.same(
        self._activations or ['relu'], 'activation', 'one activation for all')
    short = activation.lower().replace('_', '')
    if short not in _ACTIVATIONS:
      self._notes.add(0, 'activation', f'{activation!r} became relu')
    norm = self._notes.same(
        self._norms or ['none'], 'use_bn', 'one norm for all')
    rate = self._notes.same(
        self._rates or [0.0], 'dropout_ratio', 'one dropout for all')
    return {
        'model.activation': _ACTIVATIONS.get(short, 'relu'),
        'model.norm': norm,
        'model.dropout': float(rate),
    }
