"""Computes metrics of a split's predictions by task and sample space.

Spaces are named: `ctr` and `ctcvr` are over all impressions, `cvr_clicked` over
the clicked ones, `cvr_entire` over all against the truth, where a simulator
knows it. Longer funnels follow the same rule (`tasks.spaces`). pCVR against the
CTCVR label over all impressions is not computed: it ranks plain CTR above the
truth.
"""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.metrics import METRICS
from esmm_jax.metrics.ranking import grouped_auc, weighted_auc
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.metrics.truth import kl_divergence, mean_ratio, ratio_by_decile
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array
import numpy as np
from scipy import special


# Metrics of `cvr_entire`: predicted over true, by decile of the true pCTR.
DECILE_RATIOS = tuple(f'ratio_ctr_decile_{d}' for d in range(1, 11))


class Observed(NamedTuple):
  """Labels and other columns of the rows of a split.

  >>> from esmm_jax.metrics.by_space import Observed
  >>> observed = Observed({'click': [1, 0], 'conversion': [0, 0]}, None, {})
  >>> [task.name for task in observed.tasks]
  ['ctr', 'cvr']

  Attributes:
    labels: Label column -> [n].
    groups: Keys for GAUC, [n], or None.
    truth: Truth columns, [n] each; {} where there is none.
    tasks: The tasks that the labels belong to.
    periods: Keys of the rows that AUC and GAUC compare, [n] integers or
      strings, or None: all rows.
  """

  labels: Mapping[str, Array]
  groups: Array | None
  truth: Mapping[str, Array]
  tasks: Tasks = FUNNEL
  periods: Array | None = None


def evaluate(
    outputs: Mapping[str, Array], observed: Observed, group_metrics: bool = True
) -> dict[str, float]:
  """Computes all metrics of one replica's predictions.

  Args:
    outputs: Predictions as `funnel.outputs` returns them: log-odds such as
      `ctr`, `cvr` and `ctcvr`, or values of a regression, float32 [n].
    observed: The same rows.
    group_metrics: Computes GAUC too, where there are groups.

  Returns:
    `space/metric` -> value, for example `cvr_clicked/auc`. GAUC comes with its
    coverage, the share of impressions in groups that have both classes. Where
    there are periods AUC is the mean of those of each, weighted by its rows,
    and a group of GAUC is the rows of a group in one period.

  >>> import numpy as np
  >>> from esmm_jax.metrics.by_space import evaluate, Observed
  >>> logits = {'ctr': np.array([2.0, 1.0, 3.0]),
  ...           'cvr': np.array([0.0, 1.0, 0.0]),
  ...           'ctcvr': np.array([-0.8, 0.0, -0.7])}
  >>> labels = {'click': [1, 1, 0], 'conversion': [0, 1, 0]}
  >>> scores = evaluate(logits, Observed(labels, None, {}))
  >>> scores['ctr/auc'], scores['cvr_clicked/auc'], scores['ctcvr/auc']
  (0.0, 1.0, 1.0)
  """
  labels = {k: np.asarray(v) for k, v in observed.labels.items()}
  metrics = {}
  for space in spaces(observed.tasks):
    # One space at a time: with 43 million rows each copy is 170 MB.
    scores, label = outputs[space.output], labels[space.label]
    groups, periods = observed.groups, observed.periods
    if space.given:
      where = labels[space.given] == 1
      scores, label = scores[where], label[where]
      groups = None if groups is None else groups[where]
      periods = None if periods is None else np.asarray(periods)[where]
    if space.kind == 'regression':
      for name, metric in REGRESSION_METRICS.items():
        metrics[f'{space.key}/{name}'] = metric(scores, label, None)
      continue
    for name, value in of_events(scores, label, periods).items():
      metrics[f'{space.key}/{name}'] = value
    if groups is not None and group_metrics:
      grouped = grouped_auc(scores, label, _within(groups, periods))
      metrics[f'{space.key}/gauc'] = grouped.value
      metrics[f'{space.key}/gauc_coverage'] = grouped.coverage
  for name in _outputs_with_truth(observed):
    clicked = labels['click'] == 1
    metrics |= against_truth(name, outputs[name], observed.truth, clicked)
  return metrics


def of_events(
    logits: Array, labels: Array, periods: Array | None = None
) -> dict[str, float]:
  """Computes `METRICS` of one task.

  Args:
    logits: float32 [n].
    labels: 0 or 1 [n].
    periods: See `Observed`.
  """
  values = {n: metric(logits, labels, None) for n, metric in METRICS.items()}
  if periods is not None:
    values['auc'] = grouped_auc(logits, labels, periods).value
  return values


def _within(groups: Array, periods: Array | None) -> Array:
  """Returns keys [n] that are one where group and period are."""
  if periods is None:
    return groups
  group, period = (
      np.unique(x, return_inverse=True)[1] for x in (groups, periods)
  )
  return group * (period.max(initial=0) + 1) + period


def _outputs_with_truth(observed: Observed) -> list[str]:
  """Lists the outputs given the click whose true probability is a column."""
  return [
      s.output
      for s in spaces(observed.tasks)
      if s.given == 'click' and f'p_{s.output}' in observed.truth
  ]


def against_truth(
    name: str, logits: Array, truth: Mapping[str, Array], clicked: Array
) -> dict[str, float]:
  """Compares pCVR over all impressions with P(conversion | do(click), x).

  Args:
    name: `cvr`, or another event after the click.
    logits: float32 [n].
    truth: `p_NAME` and `p_ctr`, [n].
    clicked: bool [n].

  Returns:
    `cvr_entire/auc` (against the probabilities, so without label noise), `kl`
    (mean, nats), `ratio` (mean predicted over mean true) over all rows, the
    clicked and the others, and by decile of the true pCTR, lowest first.
  """
  true = np.asarray(truth[f'p_{name}'], np.float64)
  # The sigmoid, but not scipy's expit: its last bit differs, and results stay
  # what earlier versions wrote.
  x = np.asarray(logits, np.float64)
  small = np.exp(-np.abs(x))
  predicted = np.where(x >= 0, 1.0, small) / (1.0 + small)
  metrics = {
      'auc': weighted_auc(logits, true, 1.0 - true),
      'kl': kl_divergence(true, logits),
      'ratio': mean_ratio(predicted, true),
      'ratio_clicked': mean_ratio(predicted, true, clicked),
      'ratio_unclicked': mean_ratio(predicted, true, ~clicked),
  }
  deciles = ratio_by_decile(predicted, true, np.asarray(truth['p_ctr']))
  metrics |= dict(zip(DECILE_RATIOS, map(float, deciles.ratio), strict=True))
  return {f'{name}_entire/{key}': value for key, value in metrics.items()}


def oracle_metrics(observed: Observed) -> dict[str, float]:
  """Computes the metrics of the true probabilities themselves: the ceiling.

  `ctr`, `ctcvr` and `cvr_clicked` are scored with the probabilities of an
  impression, and of a clicked one, given all features of a model; `cvr_entire`
  with the probability of a conversion under do(click).

  Args:
    observed: A split whose truth has `p_ctr`, `p_cvr_clicked`, `p_ctcvr` and
      `p_cvr`.

  Returns:
    `space/metric` -> value, without GAUC.
  """
  truth = {k: np.asarray(v, np.float64) for k, v in observed.truth.items()}
  logits = {
      'ctr': special.logit(truth['p_ctr']),
      'cvr': special.logit(truth['p_cvr_clicked']),
      'ctcvr': special.logit(truth['p_ctcvr']),
  }
  # Truth columns are of click and conversion, in a longer funnel too.
  two_tasks = observed._replace(truth={}, tasks=FUNNEL)
  metrics = evaluate(logits, two_tasks, group_metrics=False)
  clicked = np.asarray(observed.labels['click']) == 1
  best = special.logit(truth['p_cvr'])
  return metrics | against_truth('cvr', best, observed.truth, clicked)
