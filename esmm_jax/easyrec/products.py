"""Finds the FM blocks of a backbone, which `model.interaction='fm'` is here."""

from collections.abc import Mapping

from esmm_jax.easyrec.message import Message
from esmm_jax.types import InputError

FM = 'FM'


def divided(
    block: Message, blocks: Mapping[str, Message]
) -> tuple[list[Message], list[Message]]:
  """Divides the inputs of a block into the others, and blocks that are FMs.

  Args:
    block: A block with a layer.
    blocks: Name -> block, all of the backbone.

  Returns:
    Messages of inputs, and blocks.

  Raises:
    InputError: An FM is not one of all pairs of the features beside it, with
      a number for each dimension.
  """
  inputs, products = [], []
  for read in block.messages('inputs'):
    for key in ('feature_group_name', 'block_name', 'input_slice'):
      read.get(key)
    other = blocks.get(read.get('block_name', ''))
    if other is not None and _kind(other) == FM:
      products.append(other)
    else:
      inputs.append(read)
  for fm in products:
    _check(fm, block, inputs, blocks)
  return inputs, products


def _check(
    fm: Message, block: Message, beside: list[Message],
    blocks: Mapping[str, Message],
) -> None:
  """Refuses an FM that is none here; marks its settings as read."""
  name = fm.get('name', '')
  if not fm.message('keras_layer').message('fm').get('use_variant', False):
    raise InputError(
        f'line {fm.line}: block {name!r} is an FM without use_variant: true,'
        " which gives one number; model.interaction='fm' has one for each"
        ' dimension.'
    )
  inside = fm.messages('inputs')
  for read in inside:
    read.get('input_slice')
  features = [_features(read, blocks) for read in inside]
  if len(beside) != 1 or not features or features != [
      _features(beside[0], blocks)
  ] or not features[0]:
    raise InputError(
        f'line {fm.line}: block {name!r}, an FM, can be carried over where'
        f' {block.get("name", "")!r} reads it beside the same features alone.'
    )


def _kind(block: Message) -> str:
  return block.message('keras_layer').get('class_name', '')


def _features(read: Message, blocks: Mapping[str, Message]) -> str:
  """Returns the feature group of an input; '' if it is none."""
  block = blocks.get(read.get('block_name', ''))
  if block is not None:
    inside = block.messages('inputs')
    if _kind(block) or not block.has('input_layer') or len(inside) != 1:
      return ''
    read = inside[0]
  return read.get('feature_group_name', '') or read.get('block_name', '')
