"""Predictions over a split -> metrics by task and sample space.

Spaces are named: `ctr` and `ctcvr` are over all impressions, `cvr_clicked` over
the clicked ones, `cvr_entire` over all against the truth, where a simulator
knows it. Longer funnels follow the same rule (`tasks.spaces`). pCVR against the
CTCVR label over all impressions is not computed: it ranks plain CTR above the
truth.
"""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.metrics import METRICS
from esmm_jax.metrics.probability import (
    kl_divergence,
    mean_ratio,
    ratio_by_decile,
)
from esmm_jax.metrics.ranking import grouped_auc, weighted_auc
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array
import numpy as np
from scipy import special


# Metrics of `cvr_entire`: predicted over true, by decile of the true pCTR.
DECILE_RATIOS = tuple(f'ratio_ctr_decile_{d}' for d in range(1, 11))


class Observed(NamedTuple):
  """What is known of each row of a split.

  Attributes:
    labels: Label column -> [n].
    groups: Keys for GAUC, [n], or None.
    truth: Truth columns, [n] each; {} where there is none.
    tasks: What the labels are of.
  """

  labels: Mapping[str, Array]
  groups: Array | None
  truth: Mapping[str, Array]
  tasks: Tasks = FUNNEL


def evaluate(
    outputs: Mapping[str, Array], observed: Observed, group_metrics: bool = True
) -> dict[str, float]:
  """All metrics of one replica's predictions.

  Args:
    outputs: As `funnel.outputs` makes them: log-odds `ctr`, `cvr` and `ctcvr`,
      say, or values of a regression, float32 [n].
    observed: The same rows.
    group_metrics: Whether to compute GAUC.

  Returns:
    `space/metric` -> value, `cvr_clicked/auc` say. GAUC comes with its
    coverage, the share of impressions in groups that have both classes.
  """
  labels = {k: np.asarray(v) for k, v in observed.labels.items()}
  metrics = {}
  for space in spaces(observed.tasks):
    # One space at a time: with 43M rows a copy more is felt.
    scores, label = outputs[space.output], labels[space.label]
    groups = observed.groups
    if space.given:
      where = labels[space.given] == 1
      scores, label = scores[where], label[where]
      groups = None if groups is None else groups[where]
    if space.kind == 'regression':
      for name, metric in REGRESSION_METRICS.items():
        metrics[f'{space.key}/{name}'] = metric(scores, label, None)
      continue
    for name, metric in METRICS.items():
      metrics[f'{space.key}/{name}'] = metric(scores, label, None)
    if groups is not None and group_metrics:
      grouped = grouped_auc(scores, label, groups)
      metrics[f'{space.key}/gauc'] = grouped.value
      metrics[f'{space.key}/gauc_coverage'] = grouped.coverage
  for name in _true_after_click(observed):
    clicked = labels['click'] == 1
    metrics |= against_truth(name, outputs[name], observed.truth, clicked)
  return metrics


def _true_after_click(observed: Observed) -> list[str]:
  """Outputs given the click whose true probability is known."""
  return [
      s.output
      for s in spaces(observed.tasks)
      if s.given == 'click' and f'p_{s.output}' in observed.truth
  ]


def against_truth(
    name: str, logits: Array, truth: Mapping[str, Array], clicked: Array
) -> dict[str, float]:
  """pCVR over all impressions against P(conversion | do(click), x).

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
  predicted = special.expit(np.asarray(logits, np.float64))
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
  """The metrics of the true probabilities themselves: the ceiling.

  `ctr`, `ctcvr` and `cvr_clicked` are scored with what is true of an
  impression, and of a clicked one, given all that a model may see;
  `cvr_entire` with the conversion under do(click).
  """
  truth = {k: np.asarray(v, np.float64) for k, v in observed.truth.items()}
  logits = {
      'ctr': special.logit(truth['p_ctr']),
      'cvr': special.logit(truth['p_cvr_clicked']),
      'ctcvr': special.logit(truth['p_ctcvr']),
  }
  # In a longer funnel too: of click and conversion.
  seen = observed._replace(truth={}, tasks=FUNNEL)
  metrics = evaluate(logits, seen, group_metrics=False)
  clicked = np.asarray(observed.labels['click']) == 1
  best = special.logit(truth['p_cvr'])
  return metrics | against_truth('cvr', best, observed.truth, clicked)
