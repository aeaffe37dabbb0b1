"""Keys of estimators and balancing that are set and others make idle."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# Option -> values that configs of this project set.
_FLOORS = (0.01, 0.1, 0.02, None)
_OF_CONFIGS: Mapping[str, tuple[Any, ...]] = {
    'propensity_floor': _FLOORS,
    'form': ('rejection',),
    'teacher': ('click_head', 'frozen'),
    'unclicked_weight': ('inverse', 'uncertainty'),
    'gamma': (1.0, 0.5),
    'propensity': ('own', 'none'),
    'error_head': (True,),
}
_WEIGHTS = ('propensity', 'propensity_floor')
_CAPPED = (*_WEIGHTS, 'weight_cap')
_IPS = (*_CAPPED, 'warmup_steps', 'normalization')
# Estimator -> the terms without which the options behind them do nothing.
_READERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    'unbias': (('cvr_clicked',), ('form', 'propensity_floor')),
    'ips': (('cvr_clicked',), _IPS),
    'escm2': (('cvr_clicked',), _IPS),
    'doubly_robust': (('cvr_entire', 'imputation'), (*_CAPPED, 'error_head')),
    'nise': (('cvr_entire',), ('stop_label', 'alpha', 'beta')),
    'dcmt': (('cvr_clicked', 'cvr_counterfactual'), _WEIGHTS),
    'chorus': (
        ('cvr_clicked', 'no_conversion_clicked', 'alignment'), _WEIGHTS
    ),
    'pseudo_label': (
        ('cvr_entire', 'second_student'),
        (*_WEIGHTS, 'teacher', 'unclicked_weight', 'gamma'),
    ),
    'delayed_naive': (('cvr_clicked',), ('stream',)),
    'delayed_es_dfm': (('cvr_clicked',), ('auxiliaries',)),
    'delayed_defuse': (('cvr_clicked',), ('auxiliaries',)),
}
# Methods of balancing whose weights are known before a step: they weigh the
# loss, and gradients are compared where they are measured alone.
WITHOUT_GRADIENTS = ('static', 'random', 'uncertainty', 'imtl_l', 'dwa')


class Idle(NamedTuple):
  """A key that has no effect.

  Attributes:
    key: In the flat config.
    why: The other key and its value; ends the sentence.
    quiet: Values that are no choice of a person: the default, and what configs
      of this project set. None: any, unless the config's file is known.
  """

  key: str
  why: str
  quiet: tuple[Any, ...] | None = (None,)


def of_objective(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the idle keys of the estimator, its terms and their rows."""
  yield from _of_terms(flat)
  yield from _of_weightless_terms(flat)
  yield from _of_propensities(flat)
  yield from _of_imputation(flat)
  if flat.get('estimator') == 'pseudo_label':
    yield from _of_pseudo_labels(flat)
  yield from _of_balancing(flat)


def _of_terms(flat: Mapping[str, Any]) -> Iterator[Idle]:
  estimator = flat.get('estimator')
  weight = flat.get('loss_weights.cvr_clicked')
  by_default = estimator == 'entire_space'
  if weight == 0 or (weight is None and by_default):
    why = 'loss_weights.cvr_clicked is 0'
    if weight is None:
      why += f' by default with estimator={estimator!r}'
    why += ', and sampling is of that loss'
    yield Idle('sampling.unclicked_rate', why, (0.0, None))
    yield Idle('sampling.conversion_copies', why, (1.0, None))
  # Terms on a part of the impressions have the name of that part behind _.
  on_parts = [
      key
      for key, value in flat.items()
      if key.startswith('loss_weights.') and '_' in key[13:] and value
  ]
  if by_default and not on_parts:
    why = (
        "estimator='entire_space' has no loss on a part of the impressions"
        ' unless loss_weights.cvr_clicked or the like is set'
    )
    yield Idle('estimator_options.cvr_normalization', why, ('clicks', None))


def _name(flat: Mapping[str, Any]) -> str:
  """Returns the estimator; one of a wrong type is refused elsewhere."""
  name = flat.get('estimator')
  return name if isinstance(name, str) else ''


def _of_weightless_terms(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the options that only terms of weight 0 read."""
  estimator = _name(flat)
  terms, names = _READERS.get(estimator, ((), ()))
  weights = [flat.get(f'loss_weights.{term}') for term in terms]
  option = lambda name: flat.get(f'estimator_options.{name}')
  # The second student's loss is 0 without uncertainty.
  if estimator == 'pseudo_label' and option('unclicked_weight') != (
      'uncertainty'
  ):
    terms, weights = terms[:1], weights[:1]
  if terms and all(weight == 0 for weight in weights):
    why = f'{", ".join(f"loss_weights.{t}" for t in terms)}'
    why += f' {"is" if len(terms) == 1 else "are"} 0, and only these terms'
    why += ' read it'
    for name in names:
      quiet = (None, *_OF_CONFIGS.get(name, ()))
      yield Idle(f'estimator_options.{name}', why, quiet)
  if estimator == 'pseudo_label' and option('gamma') == 0:
    why = 'estimator_options.gamma is 0, so unclicked rows have no loss'
    for name in ('teacher', 'unclicked_weight'):
      yield Idle(f'estimator_options.{name}', why, (None, *_OF_CONFIGS[name]))
  if estimator == 'stable_dr':
    why = 'it trains nothing: the mean of the guesses has no gradient'
    yield Idle('loss_weights.mean_guess', why, (0.0, None))


def _of_propensities(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the idle keys of weights 1 / max(p, floor, 1 / cap)."""
  option = lambda name: flat.get(f'estimator_options.{name}')
  if option('propensity') == 'none':
    why = "estimator_options.propensity is 'none', so all weights are 1"
    for name in ('propensity_floor', 'weight_cap', 'warmup_steps'):
      quiet = _FLOORS if name == 'propensity_floor' else (None,)
      yield Idle(f'estimator_options.{name}', why, quiet)
    return
  floor, cap = option('propensity_floor'), option('weight_cap')
  floor = 0.01 if floor is None else floor
  numbers = isinstance(floor, int | float) and isinstance(cap, int | float)
  if not numbers or not floor > 0:  # Unset, or refused elsewhere.
    return
  if floor * cap < 1 and floor > 0.01:  # A lower one makes way for a cap.
    why = f'estimator_options.weight_cap is {cap:g}, which is below 1 / floor'
    yield Idle('estimator_options.propensity_floor', why, _FLOORS)
  elif floor * cap > 1:
    why = f'estimator_options.propensity_floor is {floor:g}'
    why += f', so no weight is above {1 / floor:g}'
    yield Idle('estimator_options.weight_cap', why)


def _of_imputation(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the idle keys of the loss of an imputation model."""
  option = lambda name: flat.get(f'estimator_options.{name}')
  if flat.get('estimator') not in ('doubly_robust', 'stable_dr'):
    return
  if flat.get('loss_weights.imputation') == 0:
    why = 'loss_weights.imputation is 0, so nothing trains the guesses'
    for name in ('imputation', 'imputation_normalization', 'dr_mse_gamma'):
      # With what the config of ESCM2-DR sets.
      yield Idle(f'estimator_options.{name}', why, (None, 'impressions'))
  elif (name := option('imputation') or 'dr_jl') != 'dr_mse':
    why = f"estimator_options.imputation is {name!r}, and only 'dr_mse' mixes"
    yield Idle('estimator_options.dr_mse_gamma', why)


def _of_pseudo_labels(flat: Mapping[str, Any]) -> Iterator[Idle]:
  ratio, teacher = 'estimator_options.uncertainty_ratio', 'loss_weights.teacher'
  second = ('loss_weights.second_student', 'loss_weights.disagreement')
  for option, default, reader, keys in (
      ('unclicked_weight', 'inverse', 'uncertainty', (ratio, *second)),
      ('teacher', 'click_head', 'click_head', (teacher,)),
  ):
    value = flat.get(f'estimator_options.{option}') or default
    why = f'estimator_options.{option} is {value!r}, not {reader!r}'
    for key in keys if value != reader else ():
      # With what the config of UKD sets.
      yield Idle(key, why, (None, 0.0, 0.2, 1.0, 100.0))


def _of_balancing(flat: Mapping[str, Any]) -> Iterator[Idle]:
  """Yields the idle keys of the section `balancing`."""
  option = lambda name: flat.get(f'balancing.{name}')
  name, measures = option('name') or 'static', bool(option('measure'))
  if name == 'static':
    why = "balancing.name is 'static', whose weights are those of loss_weights"
    for key in ('towers', 'parts'):
      yield Idle(f'balancing.{key}', why)
    if not measures:
      why += ', and nothing is measured'
      yield Idle('balancing.terms', why, (None, (), []))
  if name == 'replay':
    why = "balancing.name is 'replay', which has that of the run balancing.of"
    for key in ('towers', 'parts'):
      yield Idle(f'balancing.{key}', why)
  one_loss = option('towers') in (None, 'weighted')
  one_loss &= option('parts') in (None, 'all')
  if name in WITHOUT_GRADIENTS and one_loss and not measures:
    why = f'balancing.name is {name!r}, which compares no gradients'
    yield Idle('balancing.gram', why)
