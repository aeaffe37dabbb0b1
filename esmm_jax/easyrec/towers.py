"""Finds the towers of the click and of the conversion, and their losses."""

from typing import Any, NamedTuple

from esmm_jax.easyrec.notes import Notes
from esmm_jax.easyrec.message import Message
from esmm_jax.types import InputError

# Cross-entropies of a label of 0 or 1, as names and numbers of LossType.
_CLASSIFICATION = ('CLASSIFICATION', 'CROSS_ENTROPY_LOSS', 0, 3)
_CALIBRATOR = 'ORDER_CALIBRATE_LOSS'


class Towers(NamedTuple):
  """The two towers of a model.

  Attributes:
    click: The message of the click's tower.
    conversion: That of the conversion's.
    labels: Their columns.
  """

  click: Message
  conversion: Message
  labels: tuple[str, str]

  @property
  def both(self) -> tuple[Message, Message]:
    return self.click, self.conversion


def towers(root: Message, net: Message, name: str, notes: Notes) -> Towers:
  """Finds the towers.

  Args:
    root: The pipeline config.
    net: The message of the model.
    name: Its model_class.
    notes: Gets what nothing says.

  Raises:
    InputError: There are other than two, or one has no label.
  """
  # ESMM's towers are in this order, which is that of the labels.
  listed = (
      [net.message('cvr_tower'), net.message('ctr_tower')] if name == 'ESMM'
      else net.messages('task_towers'))
  if len(listed) != 2:
    raise InputError(
        f'the model has {len(listed)} task_towers; a click and a conversion can'
        ' be carried over.'
    )
  fields = root.message('data_config').texts('label_fields')
  labels = {}
  for k, tower in enumerate(listed):
    by_order = fields[k] if k < len(fields) else ''
    label = tower.get('label_name', '') or by_order
    if not label:
      raise InputError(f'line {tower.line}: a tower has no label_name.')
    labels[id(tower)] = label
  if name == 'ESMM':
    conversion, click = listed
  else:
    click, conversion = _in_order(listed, labels, notes)
  return Towers(
      click, conversion, (labels[id(click)], labels[id(conversion)]))


def _in_order(
    listed: list[Message], labels: dict[int, str], notes: Notes
) -> tuple[Message, Message]:
  """Returns the tower of the click and that of the conversion."""
  by_label = {labels[id(t)]: t for t in listed}
  by_name = {t.get('tower_name', ''): t for t in listed}
  for conversion in listed:
    click = by_label.get(conversion.get('task_space_indicator_label', ''))
    parents = [by_name.get(n) for n in conversion.texts('relation_tower_names')]
    click = click or next(filter(None, parents), None)
    if click is not None and click is not conversion:
      return click, conversion
  notes.add(
      listed[0].line,
      'task_towers',
      'nothing says which tower is the click; the first one is taken for it',
  )
  return listed[0], listed[1]


def losses(name: str, towers: Towers, notes: Notes) -> dict[str, Any]:
  """Converts the losses to an estimator and its weights."""
  conversion = towers.conversion
  calibrators = [_calibrator(t) for t in towers.both]
  weights = [_weight(t, notes) for t in towers.both]
  space = conversion.get('task_space_indicator_label', '')
  inside = conversion.get('in_task_space_weight', 1.0)
  outside = conversion.get('out_task_space_weight', 1.0)
  if name == 'ESMM':
    return {
        # Its label is the product of the two.
        'dataset.conversion_without_click': 'keep',
        'estimator': 'entire_space',
        'loss_weights.ctr': weights[0],
        'loss_weights.ctcvr': weights[1],
    }
  # A weight outside that is as large as inside is no task space.
  if space and outside != inside and inside > 0:
    return _in_task_space(weights, inside, outside, conversion, notes)
  notes.add(
      conversion.line,
      'label_name',
      'without a task space this tower predicts the conversion of every'
      ' impression, our pCTCVR: estimator end_to_end; pCVR is the ratio',
  )
  return {
      'estimator': 'end_to_end',
      'loss_weights.ctr': weights[0],
      'loss_weights.ctcvr': weights[1] * (inside if space else 1.0),
      'loss_weights.calibrator': float(sum(calibrators)),
  }


def _in_task_space(
    weights: list[float], inside: float, outside: float, conversion: Message,
    notes: Notes,
) -> dict[str, Any]:
  settings = {
      'estimator': 'click_space',
      'loss_weights.ctr': weights[0],
      'loss_weights.cvr_clicked': weights[1] * inside,
  }
  if outside < 1e-3 * inside:
    # Nothing is read of the conversion of other rows.
    return settings | {'dataset.conversion_without_click': 'keep'}
  notes.add(
      conversion.line,
      'out_task_space_weight',
      'un-clicked rows stand in no loss of ours with a weight;'
      ' sampling.unclicked_rate draws some of them',
  )
  return settings | {'sampling.unclicked_rate': min(1.0, outside / inside)}


def _weight(tower: Message, notes: Notes) -> float:
  """Returns the weight of a tower's cross-entropy; notes its other losses."""
  weight = float(tower.get('weight', 1.0))
  several = tower.messages('losses')
  if not several:
    loss = tower.enum('loss_type', 'CLASSIFICATION')
    if loss not in _CLASSIFICATION:
      notes.add(
          tower.line, 'loss_type', f'{loss} became the cross-entropy of 0 or 1')
    return weight
  tower.get('loss_type')
  shares = []
  for loss in several:
    kind = loss.enum('loss_type', '')
    if kind in _CLASSIFICATION:
      shares.append(float(loss.get('weight', 1.0)))
    elif kind != _CALIBRATOR:
      notes.add(
          loss.line, 'losses',
          f'{kind} is not carried over; the loss is the cross-entropy of 0 or'
          ' 1')
      for field in loss.fields:
        field.used = True
  return weight * (sum(shares) if shares else 1.0)


def _calibrator(tower: Message) -> float:
  """Returns the weight of the loss that keeps pCTCVR below pCTR."""
  return float(tower.get('weight', 1.0)) * sum(
      float(loss.get('weight', 1.0)) for loss in tower.messages('losses')
      if loss.enum('loss_type', '') == _CALIBRATOR)
