"""The meaning of each sample space and metric, in one line."""

import inspect

from esmm_jax.metrics import METRICS as BINARY
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.tasks import spaces, Tasks

SPACES = {
    'ctr': 'click, over all impressions.',
    'cvr_clicked': (
        'conversion, over the clicked impressions only: where it is observed.'
    ),
    'ctcvr': (
        'click and conversion, over all impressions; pCTCVR = pCTR × pCVR.'
    ),
    'ctcvr_common': (
        'click and conversion, over all impressions; this pCVR times the pCTR'
        ' of one common network, as in the ESMM paper.'
    ),
    'cvr_entire': (
        'conversion if it were clicked, over all impressions, against the true'
        ' probability that only the simulator knows.'
    ),
    'atr_entire': (
        'cart if it were clicked, over all impressions, against the true'
        ' probability that only the simulator knows.'
    ),
    'atr_clicked': 'cart, over the clicked impressions.',
    'ctatr': 'click and cart, over all impressions.',
    'ptr_carted': 'purchase, over the impressions put into the cart.',
    'play_time_clicked': 'ln(1 + seconds watched), over clicked impressions.',
    'ctplay_time': 'pCTR times the watch time, over all impressions.',
}

# Metric -> (header, meaning); `metric_names` has the direction.
METRICS = {
    'auc': (
        'AUC',
        'chance that a positive row scores above a negative one, over the'
        ' whole split, ties count half; .5 is chance.',
    ),
    'gauc': (
        'GAUC',
        'AUC within each user, weighted by impressions; users of one class are'
        ' left out.',
    ),
    'gauc_coverage': (
        'GAUC cover',
        'share of the impressions whose user counts in GAUC.',
    ),
    'logloss': ('log-loss', 'mean cross-entropy in nats.'),
    'normalized_entropy': (
        'NE',
        'log-loss over that of always predicting the base rate; below 1 the'
        ' model knows something.',
    ),
    'calibration': (
        'calibration',
        'predicted positives over observed ones; 1 is right, above 1 too many'
        ' are predicted.',
    ),
    'ece': (
        'ECE',
        'mean gap between predicted and observed rate over 20 bins of as many'
        ' rows.',
    ),
    'auc_pr': (
        'AUC-PR',
        'average precision: precision where each positive row is reached, in'
        ' the mean; the base rate is chance.',
    ),
    'recall_at_1pct': (
        'recall 1 %',
        'share of the positives among the 1 % of the rows with the highest'
        ' scores; .01 is chance.',
    ),
    'recall_at_10pct': (
        'recall 10 %',
        'the same of the first 10 %; .1 is chance.',
    ),
    'ks': (
        'KS',
        'largest gap between the rates of positive and of negative rows above'
        ' a threshold; 0 is chance, 1 separates them.',
    ),
    'kl': (
        'KL',
        'nats of log-loss above what the true probabilities have.',
    ),
    'ratio': (
        'pred./true',
        'mean predicted over mean true CVR, all impressions; 1 has no bias.',
    ),
    'ratio_clicked': (
        'clicked',
        'the same ratio over the clicked impressions.',
    ),
    'ratio_unclicked': (
        'un-clicked',
        'the same ratio over the impressions without click, which no log'
        ' can check.',
    ),
    'mse': ('MSE', 'mean squared error.'),
    'mae': ('MAE', 'mean absolute error.'),
    'r2': ('R²', 'share of the variance explained.'),
    'rank_correlation': (
        'rank corr.',
        "Spearman's correlation of predicted and observed.",
    ),
}


# The same of `metric_names.WEIGHTS`.
WEIGHTS = {
    'ess': (
        'eff. rows',
        'effective sample size, (Σw)² / Σw²: rows of one weight whose mean'
        ' would be as noisy.',
    ),
    'ess_share': (
        'share',
        'effective sample size over the number of clicked rows; 1 if all'
        ' weights are equal.',
    ),
    'weight_max': ('largest', 'largest weight of a clicked row.'),
    'at_floor': (
        'at floor',
        'share of the clicked rows at the floor of the propensity, or the cap'
        ' of the weight, where nothing more is corrected; – where no weight'
        ' depends on it.',
    ),
}


def of_metrics() -> dict[str, tuple[str, str]]:
  """Returns `METRICS` and those of plugins, whose docstrings say what they are.

  Returns:
    Metric -> (header, meaning), in the order in which they are shown.
  """
  every = dict(METRICS)
  for name, function in (*BINARY.items(), *REGRESSION_METRICS.items()):
    if name not in every:
      doc = inspect.getdoc(function) or 'of a plugin.'
      every[name] = (name.replace('_', ' '), doc.partition('\n')[0])
  return every


def of_space(space: str, tasks: Tasks = ()) -> str:
  """Returns the meaning of a sample space; '' if it has no entry.

  Args:
    space: Its key.
    tasks: The run's tasks, which say what the others' labels are.
  """
  labels = {s.key: (s.label, s.given) for s in spaces(tasks)}
  if space in SPACES or space not in labels:
    return SPACES.get(space, '')
  label, given = labels[space]
  return f'{label}, over ' + (f'rows with {given}.' if given else 'all rows.')
