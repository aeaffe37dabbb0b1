"""Metrics of a whole split; numpy in float64, no jax.

  ranking       AUC (exact, against true probabilities), grouped AUC
  thresholds    average precision (AUC-PR), recall at a budget, KS
  probability   log loss, normalized entropy, calibration
  truth         KL divergence and ratios against true probabilities
  regression    errors, rank correlation and calibration of predicted values
  significance  mean and spread over seeds, paired tests, DeLong
  fronts        two scores traded against each other: front, area, ellipse
  front_margin  how far a model lies beyond such a front
  score_pairs   checks and bootstrap of these two
  one_task      all metrics of one task's rows
  by_space      those of every task, by sample space
  weights       of clicked rows in a loss: effective sample size, largest
  gates         the use of a model's gates
  choosing      the one that selects the parameters of a run
  undefined     those that are no numbers, and why
  checks        validation of their inputs
  classes       scores of both classes, sorted once for those of ranks
  packing       rows as integers, to sort them fast
  side_by_side  parts of an evaluation on several cores

METRICS are those of one task: name -> function(logits, labels, where) -> float
with float [n] log-odds, 0 or 1 [n] labels, and 0 or 1 [n] `where`, None for all
rows. Each returns nan where no row counts. A new metric is one file, one line
here and one in `metric_names`; the conformance tests of
tests/metrics/test_probability.py then hold it.

The caller chooses the sample space: select its rows by `where`, and name it in
the key (`test/cvr_clicked/auc`).

  >>> logits, labels = [2.0, 1.0, -1.0, -3.0], [1, 0, 1, 0]
  >>> {name: round(metric(logits, labels, None), 3)
  ...  for name, metric in METRICS.items() if name != 'normalized_entropy'}
  {'auc': 0.75, 'logloss': 0.701, 'calibration': 0.964, 'ece': 0.407, \
'auc_pr': 0.833, 'recall_at_1pct': 0.02, 'recall_at_10pct': 0.2, 'ks': 0.5}
"""

from collections.abc import Callable

from esmm_jax.metrics import probability, ranking, thresholds
from esmm_jax.plugins.registry import function_of, Registry
from esmm_jax.types import Array

Metric = Callable[[Array, Array, Array | None], float]
# Plugins add to it.
METRICS: Registry[Metric] = Registry(
    'METRICS',
    {
        'auc': ranking.auc,
        'logloss': probability.log_loss,
        'normalized_entropy': probability.normalized_entropy,
        'calibration': probability.calibration,
        'ece': probability.expected_calibration_error,
        'auc_pr': thresholds.average_precision,
        'recall_at_1pct': thresholds.recall_at_1pct,
        'recall_at_10pct': thresholds.recall_at_10pct,
        'ks': thresholds.ks,
    },
    function_of('logits', 'labels', 'where'),
)
