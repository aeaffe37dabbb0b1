"""Converts a pipeline config of EasyRec to settings of a config."""

from typing import Any, NamedTuple

from esmm_jax.easyrec import backbone, torch_form, training
from esmm_jax.easyrec.columns import dimensions
from esmm_jax.easyrec.dataset import dataset, row_weight
from esmm_jax.easyrec.features import groups
from esmm_jax.easyrec.networks import feature_groups, network, Parts
from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.easyrec.text_proto import parse
from esmm_jax.easyrec.towers import losses, Towers, towers
from esmm_jax.types import InputError, suggest

# model_class -> config file, and name of the message with the network.
CLASSES = {
    'ESMM': ('esmm', 'esmm'),
    'MMoE': ('mmoe', 'mmoe'),
    'PLE': ('ple', 'ple'),
    'DBMTL': ('dbmtl', 'dbmtl'),
    'SimpleMultiTask': ('shared_embedding', 'simple_multi_task'),
    # A backbone makes it DBMTL, an MMoE below towers, or AITM.
    'MultiTaskModel': ('dbmtl', 'model_params'),
}


# What a model with one label is here.
_DEEPFM = (
    " A factorization machine is model.interaction='deepfm' of any config here."
)
_HINTS = {'DeepFM': _DEEPFM, 'FM': _DEEPFM}


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
  """Converts the text of a pipeline config of EasyRec or TorchEasyRec.

  Args:
    text: In the text form of protocol buffers.

  Raises:
    InputError: The text has another form, its model is not in `CLASSES`, or
      it has other tasks than a click and a conversion.
  """
  notes, settings = Notes(), {}
  root = parse(text)
  if torch_form.is_torch(root):
    root = torch_form.rewritten(root, notes)
  model = root.message('model_config')
  name = model.get('model_class', '')
  if name not in CLASSES:
    line = model.field('model_class').line
    raise InputError(
        f'line {line}: model_config.model_class is {name!r}; of EasyRec\'s'
        f' models {", ".join(CLASSES)} can be carried over.'
        f' {suggest(name, CLASSES)}{_HINTS.get(name, "")}'
    )
  base, section = CLASSES[name]
  net = model.message(section)
  pair = towers(root, net, name, notes)
  data, fields = dataset(root, model, pair.labels, notes)
  settings |= data | row_weight(name, root, pair, notes)
  settings |= training.settings(root, notes)
  settings |= losses(name, pair, notes)
  parts = Parts(notes)
  base, layers = _layers(name, base, model, net, pair, parts, notes)
  settings |= layers | parts.style()
  if name == 'ESMM':
    settings |= feature_groups(net, groups(model), fields, notes)
  settings |= _penalties(name, model, net, settings, notes)
  if dims := dimensions(root, fields):
    settings['model.embed_dim'] = notes.same(
        dims, 'embedding_dim', 'one embedding_dim for all features')
  notes.unused(root)
  return Converted(base, settings, notes.lines)


def _layers(
    name: str, base: str, model: Message, net: Message, pair: Towers,
    parts: Parts, notes: Notes,
) -> tuple[str, dict[str, Any]]:
  """Converts the network; returns its config file and keys."""
  if model.has('backbone') or name == 'MultiTaskModel':
    if name not in ('MultiTaskModel', 'DBMTL'):
      raise InputError(
          f'line {model.line}: {name} on a backbone cannot be carried over.')
    return backbone.network(model, net, pair, parts, notes)
  if any(t.get('use_ait_module', False) for t in pair.both):
    return 'aitm', backbone.transfer(net, pair, parts, notes)
  return base, network(base, net, pair, parts, notes)


def _penalties(
    name: str, model: Message, net: Message, settings: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
  """Converts L2 of kernels and embeddings to that of a mean loss."""
  summed = settings['batch_size'] if name == 'ESMM' else 1
  # `model_params` has no default.
  default = 0.0 if name == 'MultiTaskModel' else 1e-4
  tower = net.get('l2_regularization', default) / summed
  table = model.get('embedding_regularization', 0.0) / summed
  below = ('model.group_units', 'model.expert_units', 'model.shared_units')
  if tower and any(settings.get(key) for key in below):
    notes.add(
        net.line, 'l2_regularization',
        'is on all kernels there, on those of the towers here')
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
  tower = tower or settings.get('tower_l2', 0.0)
  return {'tower_l2': tower, 'embedding_l2': table}
