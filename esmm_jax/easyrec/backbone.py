"""Converts a backbone, a graph of blocks, where it is a model of ours.

Such are MLPs one after the other, an MMoE after them, and AITM's towers; the
first of them may read an FM of the features beside these.
"""

from typing import Any, NamedTuple

from esmm_jax.easyrec import products
from esmm_jax.easyrec.networks import Parts, relations
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.easyrec.towers import Towers
from esmm_jax.types import InputError

_LAYERS = ('MLP', 'MMoE', 'AITMTower')
_BOTH = 'output_2d_tensor_and_feature_list'


class _Path(NamedTuple):
  """The blocks between the features and an output, in order."""

  blocks: tuple[str, ...]
  mlps: dict[str, Message]
  mmoe: Message | None
  transfer: Message | None
  products: tuple[Message, ...] = ()


def network(
    model: Message, net: Message, towers: Towers, parts: Parts, notes: Notes
) -> tuple[str, dict[str, Any]]:
  """Converts a backbone with the towers on it.

  Args:
    model: `model_config`.
    net: The message with the towers.
    towers: Its towers.
    parts: Collects the options of the layers.
    notes: Gets what is not carried over.

  Returns:
    The config file; keys of the section `model`.

  Raises:
    InputError: Has a layer that no model here has; names the block.
  """
  paths = _paths(model.message('backbone'))
  order = net.messages('task_towers')
  if len(paths) not in (1, len(order)):
    raise InputError(
        f'the backbone has {len(paths)} outputs and the model {len(order)}'
        ' task_towers; there must be one output, or one for each.')
  paths *= len(order) if len(paths) == 1 else 1
  by_tower = [paths[order.index(t)] for t in towers.both]
  private = [
      parts.widths(t.message('dnn')) if t.has('dnn') else ()
      for t in towers.both]
  interaction = _interaction(paths, notes)
  if any(p.transfer for p in by_tower):
    settings = _aitm(by_tower, private, towers, parts, notes)
    return 'aitm', settings | interaction
  shared = 0
  while all(
      shared < len(p.blocks) and p.blocks[shared] == by_tower[0].blocks[shared]
      for p in by_tower):
    shared += 1
  chains = [[parts.widths(p.mlps[b]) for b in p.blocks if b in p.mlps]
            for p in by_tower]
  common = sum(b in by_tower[0].mlps for b in by_tower[0].blocks[:shared])
  units = [
      sum(chain[common:], ()) + tower for chain, tower in zip(chains, private)]
  settings = {
      'model.tower_units': notes.same(
          units, 'towers: hidden_units', 'one width for all towers'),
      'model.shared_units': sum(chains[0][:common], ()),
      'model.num_experts': 0,
  }
  if mmoe := by_tower[0].mmoe:
    settings['model.num_experts'] = mmoe.get('num_expert', 0)
    settings['model.expert_units'] = parts.widths(mmoe.message('expert_mlp'))
    mmoe.get('num_task')
  return 'dbmtl', settings | interaction | relations(towers, parts, notes)


def _interaction(paths: list[_Path], notes: Notes) -> dict[str, Any]:
  """Converts FMs beside the features; {} if there are none."""
  fms = [fm for p in paths for fm in p.products]
  if not fms:
    return {}
  name = fms[0].get('name', '')
  if not all(p.products for p in paths):
    raise InputError(
        f'line {fms[0].line}: block {name!r}, an FM, is read on the way to one'
        ' output and not to another; model.interaction is one for all.'
    )
  notes.add(
      fms[0].line, name,
      'is of all features; a number takes part times a vector of its own')
  return {'model.interaction': 'fm'}


def transfer(
    net: Message, towers: Towers, parts: Parts, notes: Notes
) -> dict[str, Any]:
  """Converts DBMTL's towers with use_ait_module to AITM."""
  empty = _Path(('bottom_dnn',), {}, None, None)
  private = [parts.widths(t.message('dnn')) for t in towers.both]
  for tower in towers.both:
    tower.get('use_ait_module', False)
    tower.all('relation_tower_names')
  bottom = [parts.widths(b) for b in net.messages('bottom_dnn')]
  settings = _aitm([empty, empty], [sum(bottom, ()) + o for o in private],
                   towers, parts, notes)
  if bottom:
    _not_shared(net.line, 'bottom_dnn', notes)
  return settings


def _aitm(
    by_tower: list[_Path], private: list[tuple[int, ...]], towers: Towers,
    parts: Parts, notes: Notes,
) -> dict[str, Any]:
  """Converts towers of which the conversion's attends to the click's."""
  chains = [
      sum((parts.widths(p.mlps[b]) for b in p.blocks if b in p.mlps), ())
      for p in by_tower]
  units = chains if any(chains) else private
  for tower, chain, after in zip(towers.both, chains, private):
    if chain and after:
      notes.add(
          tower.line, 'dnn',
          f'{after}, after the transfer, is not carried over; the output is'
          ' linear in it')
  if by_tower[0].transfer:
    raise InputError(
        f'line {by_tower[0].transfer.line}: the tower of {towers.labels[0]!r}'
        ' attends to another one; only that of the conversion does here. If it'
        ' is the conversion, list the other task_tower first.')
  stop = True
  for path in by_tower:
    if not path.transfer:
      continue
    stop = path.transfer.get('stop_gradient', True)
    if path.transfer.has('transfer_mlp'):
      width = parts.widths(path.transfer.message('transfer_mlp'))
      if width != units[1][-1:]:
        notes.add(
            path.transfer.line, 'transfer_mlp',
            f'{width} became one layer as wide as the tower')
  common = [b for b in by_tower[0].blocks
            if b in by_tower[1].blocks and b in by_tower[0].mlps]
  for block in common:
    _not_shared(by_tower[0].mlps[block].line, block, notes)
  return {
      'model.tower_units': notes.same(
          units, 'towers: hidden_units', 'one width for all towers'),
      'model.stop_gradient': stop}


def _not_shared(line: int, what: str, notes: Notes) -> None:
  notes.add(
      line, what,
      'its layers stand at the begin of each tower; AITM here shares the'
      ' embeddings alone')


def _paths(backbone: Message) -> list[_Path]:
  """Follows each output back to the features."""
  if backbone.has('packages') or backbone.has('top_mlp'):
    raise InputError(
        f'line {backbone.line}: a backbone with packages or a top_mlp cannot be'
        ' carried over.')
  blocks = {b.get('name', ''): b for b in backbone.messages('blocks')}
  outputs = (
      backbone.texts('output_blocks') or backbone.texts('concat_blocks'))
  if backbone.has('concat_blocks') and len(outputs) > 1:
    raise InputError(
        f'line {backbone.line}: concat_blocks joins {len(outputs)} blocks; one'
        ' can be carried over.')
  return [_path(name, blocks) for name in outputs or list(blocks)[-1:]]


def _path(name: str, blocks: dict[str, Message]) -> _Path:
  names: list[str] = []
  mlps: dict[str, Message] = {}
  mmoe = transfer_layer = None
  read: list[Message] = []
  while name in blocks and name not in names:
    block = blocks[name]
    names.append(name)
    layer = block.message('keras_layer')
    kind = layer.get('class_name', '')
    inputs, fms = products.divided(block, blocks)
    read += fms
    if block.has('input_layer') and not kind:
      for key in ('only_output_feature_list', _BOTH):
        block.message('input_layer').get(key)
      break
    if kind not in _LAYERS:
      raise InputError(
          f'line {block.line}: the keras_layer of block {name!r} is'
          f' {repr(str(kind)) if kind else "not there"}; of a backbone'
          f' {", ".join(_LAYERS)} can be carried over.')
    if kind == 'MLP':
      mlps[name] = layer.message('mlp')
    elif kind == 'MMoE':
      mmoe = layer.message('mmoe')
    else:
      transfer_layer = layer.message('aitm')
    if kind != 'AITMTower' and len(inputs) != 1:
      raise InputError(
          f'line {block.line}: block {name!r} has {len(inputs)} inputs; one can'
          ' be carried over.')
    block.get('merge_inputs_into_list')
    name = inputs[0].get('block_name', '') if inputs else ''
  return _Path(
      tuple(reversed(names)), mlps, mmoe, transfer_layer, tuple(read))
