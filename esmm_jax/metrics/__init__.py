"""Metrics of a whole split; numpy in float64, no jax.

  ranking      AUC (exact, mergeable, against true probabilities), grouped AUC
  probability  log loss, normalized entropy, calibration; KL and ratios against
               the truth
  significance  mean and spread over seeds, paired tests, DeLong, bootstrap
  fronts       two scores traded against each other: front, area, ellipse

METRICS are those of one task: name -> function(logits, labels, where) -> float
with float [n] log-odds, 0 or 1 [n] labels, and 0 or 1 [n] `where`, None for all
rows. Each returns nan where no row counts. A new metric is one file and one
line here; the conformance tests of test_metrics_probability.py then hold it.

The sample space is the caller's: select its rows by `where`, and name it in the
key (`test/cvr_clicked/auc`).
"""

from collections.abc import Callable

from esmm_jax.metrics import probability, ranking
from esmm_jax.types import Array

METRICS: dict[str, Callable[[Array, Array, Array | None], float]] = {
    'auc': ranking.auc,
    'logloss': probability.log_loss,
    'normalized_entropy': probability.normalized_entropy,
    'calibration': probability.calibration,
    'ece': probability.expected_calibration_error,
}
