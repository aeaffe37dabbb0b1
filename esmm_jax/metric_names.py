"""Names of all metrics, with the end at which each one is best.

A key of results is SPLIT/SPACE/METRIC, `valid/ctcvr/auc`. `metrics.by_space`
computes them; the selection of parameters, results tables and reports take the
direction from here, so that they cannot disagree.
"""

from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from esmm_jax.plugins.registry import one_of, Registry

# Metric -> 'max', 'min', or '' where neither end is best: a ratio is right at
# 1, and a coverage only says how much another metric rests on.
BINARY: Mapping[str, str] = {
    'auc': 'max',
    'logloss': 'min',
    'normalized_entropy': 'min',
    'calibration': '',
    'ece': 'min',
    'auc_pr': 'max',
    'recall_at_1pct': 'max',
    'recall_at_10pct': 'max',
    'ks': 'max',
}
# Where rows have groups, beside those.
GROUPED: Mapping[str, str] = {'gauc': 'max', 'gauc_coverage': ''}
REGRESSION: Mapping[str, str] = {
    'mse': 'min',
    'mae': 'min',
    'r2': 'max',
    'rank_correlation': 'max',
    'calibration': '',
}
# Predicted over true, by decile of the true pCTR.
DECILE_RATIOS = tuple(f'ratio_ctr_decile_{d}' for d in range(1, 11))
# Predicted minus true there, and the largest of the ten without its sign.
DECILE_BIASES = tuple(f'bias_ctr_decile_{d}' for d in range(1, 11))
LARGEST_BIAS = 'bias_ctr_decile_largest'
# Of `cvr_entire`, where the true probabilities are known.
ENTIRE: Mapping[str, str] = {
    'auc': 'max',
    'kl': 'min',
    'ratio': '',
    'ratio_clicked': '',
    'ratio_unclicked': '',
    **dict.fromkeys(DECILE_RATIOS, ''),
    **dict.fromkeys(DECILE_BIASES, ''),
    LARGEST_BIAS: 'min',
}
# Of a term of the loss that weights clicked rows, not of a space: TERM/ess.
WEIGHTS: Mapping[str, str] = {
    'ess': '',
    'ess_share': '',
    'weight_max': '',
    'at_floor': '',
}
# Of a step of training, train/NAME; every other one is a loss.
RATE, NORM = 'learning_rate', 'gradient_norm'
NO_LOSSES = ('batch_hash', 'skipped', RATE, NORM)
# Of weights and gradients of the tasks, means over the steps of training
# (`balancing.records`): balancing/total, balancing/share/TERM,
# balancing/cosine/PART/TERM|TERM and so on.
BALANCING = 'balancing/'
# Parts of the parameters that tasks share; `all` is all of them.
PARTS = ('all', 'tables', 'trunk', 'gates', 'towers')
# All of this project; plugins add theirs to DIRECTIONS.
OURS: Mapping[str, str] = {
    **BINARY,
    **GROUPED,
    **REGRESSION,
    **ENTIRE,
    **WEIGHTS,
}
DIRECTIONS: MutableMapping[str, str] = Registry(
    'DIRECTIONS',
    OURS,
    one_of('max', 'min', ''),
)


def direction(key: str) -> str:
  """Returns the best end of a metric.

  >>> from esmm_jax.metric_names import direction
  >>> direction('valid/ctcvr/auc'), direction('ece'), direction('num_params')
  ('max', 'min', '')

  Args:
    key: A metric, or a key that ends in one.

  Returns:
    'max', 'min', or '' where neither is best or the metric is not known.
  """
  if key.startswith(BALANCING):  # It ends in names of terms.
    return ''
  return DIRECTIONS.get(key.rpartition('/')[2], '')


class Balance(NamedTuple):
  """The parts of a key `balancing/...`.

  Attributes:
    name: What it is of: `share`, `cosine` and so on.
    part: One of `PARTS`, or '' where it is not of one.
    terms: None, one, or two terms.
  """

  name: str
  part: str
  terms: tuple[str, ...]

  @classmethod
  def of(cls, key: str) -> 'Balance':
    """Takes a key apart.

    >>> Balance.of('balancing/cosine/trunk/ctr|ctcvr')
    Balance(name='cosine', part='trunk', terms=('ctr', 'ctcvr'))

    Args:
      key: Of results.json; in metrics.jsonl it has `train/` before it.
    """
    name, *rest = key.partition(BALANCING)[2].split('/')
    # Else a single one is a term, which may have the name of a part.
    part = rest.pop(0) if len(rest) > 1 or name == 'total' and rest else ''
    return cls(name, part, tuple('/'.join(rest).split('|')) if rest else ())
