"""Reads target attention over sequences from feature groups: DIN."""

from collections.abc import Container, Iterator
from typing import NamedTuple

from esmm_jax.easyrec.message import Message
from esmm_jax.options import WIDTH

# Of EasyRec's `seq_dnn` where it is not written; the last is the output.
_DEFAULT = (128, 64, 32, 1)


class Pair(NamedTuple):
  """A sequence and the feature that its entries are compared with.

  Attributes:
    sequence: Feature.
    key: Feature.
    units: Hidden widths of the network that compares them.
  """

  sequence: str
  key: str
  units: tuple[int, ...]


def attention(model: Message, sequences: Container[str]) -> dict[str, Pair]:
  """Returns sequence -> its pair, of those that attend to one key.

  Args:
    model: `model_config`.
    sequences: Features that are sequences.
  """
  pairs: dict[str, Pair] = {}
  several = set()
  for pair in _pairs(model, sequences):
    if pairs.setdefault(pair.sequence, pair).key != pair.key:
      several.add(pair.sequence)
  return {name: pair for name, pair in pairs.items() if name not in several}


def _pairs(model: Message, sequences: Container[str]) -> Iterator[Pair]:
  groups = model.messages('feature_groups')
  for maps in model.messages('seq_att_groups'):
    yield from _of_maps(maps)
  for group in groups:
    for maps in group.messages('sequence_features'):
      yield from _of_maps(maps)
    yield from _of_encoders(group, sequences)


def _of_maps(maps: Message) -> Iterator[Pair]:
  """Yields the pairs of EasyRec's maps; keys and sequences go in order."""
  units = _DEFAULT
  if maps.has('seq_dnn'):
    units = tuple(maps.message('seq_dnn').numbers('hidden_units', int, WIDTH))
  for one in maps.messages('seq_att_map'):
    keys, histories = one.texts('key'), one.texts('hist_seq')
    if len(keys) == len(histories):
      for key, sequence in zip(keys, histories):
        yield Pair(sequence, key, units[:-1])


def _of_encoders(group: Message, sequences: Container[str]) -> Iterator[Pair]:
  """Yields the pairs of TorchEasyRec's encoders of a feature group."""
  for encoder in (f for f in group.fields if f.name == 'sequence_encoders'):
    inside = getattr(encoder.value, 'fields', [])
    for din in (f for f in inside if f.name == 'din_encoder'):
      written = {f.name: f.value for f in getattr(din.value, 'fields', [])}
      for part in group.messages('sequence_groups'):
        if written.get('input') not in (None, part.get('group_name', '')):
          continue
        names = part.texts('feature_names')
        lists = [n for n in names if n in sequences]
        keys = [n for n in names if n not in sequences]
        if len(keys) != len(lists):
          continue
        encoder.used = din.used = True
        din.value.get('input')
        mlp = din.value.message('attn_mlp')
        units = tuple(mlp.numbers('hidden_units', int, WIDTH))
        for key, sequence in zip(keys, lists):
          yield Pair(sequence, key, units)
