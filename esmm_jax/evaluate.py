"""Predictions over a split -> metrics by task and sample space.

Spaces are named: `ctr` and `ctcvr` are over all impressions, `cvr_clicked` over
the clicked ones, `cvr_entire` over all against the truth, where a simulator
knows it. pCVR against the CTCVR label over all impressions is not computed: it
ranks plain CTR above the truth.
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
from esmm_jax.types import Array
import numpy as np


class Observed(NamedTuple):
  """What is known of each row of a split.

  Attributes:
    labels: `click` and `conversion`, [n].
    groups: Keys for GAUC, [n], or None.
    truth: Truth columns, [n] each; {} where there is none.
  """

  labels: Mapping[str, Array]
  groups: Array | None
  truth: Mapping[str, Array]


def sigmoid(logits: Array) -> np.ndarray:
  """Probabilities, float64, without overflow."""
  x = np.asarray(logits, np.float64)
  small = np.exp(-np.abs(x))
  return np.where(x >= 0, 1.0, small) / (1.0 + small)


def evaluate(
    logits: Mapping[str, Array], observed: Observed, group_metrics: bool = True
) -> dict[str, float]:
  """All metrics of one replica's predictions.

  Args:
    logits: `ctr`, `cvr` and `ctcvr`, log-odds, float32 [n].
    observed: The same rows.
    group_metrics: Whether to compute GAUC.

  Returns:
    `task/metric` -> value. GAUC comes with its coverage, the share of
    impressions in groups that have both classes.
  """
  click = np.asarray(observed.labels['click'])
  conversion = np.asarray(observed.labels['conversion'])
  clicked = click == 1
  # One task at a time: with 43M rows a copy more is felt.
  cases = {
      'ctr': (logits['ctr'], click, None),
      'cvr_clicked': (logits['cvr'], conversion, clicked),
      'ctcvr': (logits['ctcvr'], conversion, None),
  }
  metrics = {}
  for task, (scores, labels, where) in cases.items():
    groups = observed.groups
    if where is not None:
      scores, labels = scores[where], labels[where]
      groups = None if groups is None else groups[where]
    for name, metric in METRICS.items():
      metrics[f'{task}/{name}'] = metric(scores, labels, None)
    if groups is not None and group_metrics:
      grouped = grouped_auc(scores, labels, groups)
      metrics[f'{task}/gauc'] = grouped.value
      metrics[f'{task}/gauc_coverage'] = grouped.coverage
  if observed.truth:
    metrics |= against_truth(logits['cvr'], observed.truth, clicked)
  return metrics


def against_truth(
    cvr_logits: Array, truth: Mapping[str, Array], clicked: Array
) -> dict[str, float]:
  """pCVR over all impressions against P(conversion | do(click), x).

  Args:
    cvr_logits: float32 [n].
    truth: `p_cvr` and `p_ctr`, [n].
    clicked: bool [n].

  Returns:
    `cvr_entire/auc` (against the probabilities, so without label noise), `kl`
    (mean, nats), `ratio` (mean predicted over mean true) over all rows, the
    clicked and the others, and by decile of the true pCTR, lowest first.
  """
  p_cvr = np.asarray(truth['p_cvr'], np.float64)
  predicted = sigmoid(cvr_logits)
  metrics = {
      'auc': weighted_auc(cvr_logits, p_cvr, 1.0 - p_cvr),
      'kl': kl_divergence(p_cvr, cvr_logits),
      'ratio': mean_ratio(predicted, p_cvr),
      'ratio_clicked': mean_ratio(predicted, p_cvr, clicked),
      'ratio_unclicked': mean_ratio(predicted, p_cvr, ~clicked),
  }
  deciles = ratio_by_decile(predicted, p_cvr, np.asarray(truth['p_ctr']))
  for k, ratio in enumerate(deciles.ratio):
    metrics[f'ratio_ctr_decile_{k + 1}'] = float(ratio)
  return {f'cvr_entire/{name}': value for name, value in metrics.items()}


def oracle_metrics(observed: Observed) -> dict[str, float]:
  """The metrics of the true probabilities themselves: the ceiling.

  `ctr`, `ctcvr` and `cvr_clicked` are scored with what is true of an
  impression, and of a clicked one, given all that a model may see;
  `cvr_entire` with the conversion under do(click).
  """
  truth = {k: np.asarray(v, np.float64) for k, v in observed.truth.items()}
  logit = lambda p: np.log(p) - np.log1p(-p)
  logits = {
      'ctr': logit(truth['p_ctr']),
      'cvr': logit(truth['p_cvr_clicked']),
      'ctcvr': logit(truth['p_ctcvr']),
  }
  metrics = evaluate(logits, observed._replace(truth={}), group_metrics=False)
  clicked = np.asarray(observed.labels['click']) == 1
  return metrics | against_truth(logit(truth['p_cvr']), observed.truth, clicked)
