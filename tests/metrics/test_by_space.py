"""Metrics are of the space that their name says."""

from esmm_jax.metrics.by_space import evaluate, Observed, oracle_metrics
import numpy as np
import pytest
from scipy.special import expit as sigmoid
from sklearn.metrics import log_loss, roc_auc_score

RNG = np.random.default_rng(0)
N = 4000
TRUE = {
    'p_ctr': RNG.uniform(0.05, 0.6, N),
    'p_cvr': RNG.uniform(0.05, 0.7, N),
}
TRUE['p_ctcvr'] = TRUE['p_ctr'] * TRUE['p_cvr']
TRUE['p_cvr_clicked'] = TRUE['p_cvr']
CLICK = (RNG.random(N) < TRUE['p_ctr']).astype(np.int8)
CONVERSION = CLICK * (RNG.random(N) < TRUE['p_cvr']).astype(np.int8)
OBSERVED = Observed(
    {'click': CLICK, 'conversion': CONVERSION}, RNG.integers(0, 40, N), TRUE
)
LOGITS = {
    name: RNG.standard_normal(N).astype(np.float32)
    for name in ('ctr', 'cvr', 'ctcvr')
}


def test_spaces():
  metrics = evaluate(LOGITS, OBSERVED)
  clicked = CLICK == 1
  expected = {
      'ctr': (CLICK, LOGITS['ctr']),
      'cvr_clicked': (CONVERSION[clicked], LOGITS['cvr'][clicked]),
      'ctcvr': (CONVERSION, LOGITS['ctcvr']),
  }
  for task, (labels, logits) in expected.items():
    p = sigmoid(logits)
    auc = roc_auc_score(labels, logits)
    assert metrics[f'{task}/auc'] == pytest.approx(auc)
    assert metrics[f'{task}/logloss'] == pytest.approx(log_loss(labels, p))
    ratio = p.sum() / labels.sum()
    assert metrics[f'{task}/calibration'] == pytest.approx(ratio)
    assert 0 < metrics[f'{task}/gauc_coverage'] <= 1


def test_cvr_over_the_entire_space_is_against_the_truth():
  metrics = evaluate(LOGITS, OBSERVED)
  p, q = sigmoid(LOGITS['cvr']), TRUE['p_cvr']
  kl = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
  assert metrics['cvr_entire/kl'] == pytest.approx(kl.mean())
  for name, rows in {
      'ratio': slice(None),
      'ratio_clicked': CLICK == 1,
      'ratio_unclicked': CLICK == 0,
  }.items():
    expected = p[rows].mean() / q[rows].mean()
    assert metrics[f'cvr_entire/{name}'] == pytest.approx(expected)
  # Deciles by the true pCTR, lowest first.
  lowest = np.argsort(TRUE['p_ctr'])[: N // 10]
  assert metrics['cvr_entire/ratio_ctr_decile_1'] == pytest.approx(
      p[lowest].mean() / q[lowest].mean()
  )


def test_nothing_scores_cvr_against_joint_labels_over_all_impressions():
  """That number ranks plain CTR above the true CVR; see the module."""
  metrics = evaluate(LOGITS, OBSERVED)
  wrong = roc_auc_score(CONVERSION, LOGITS['cvr'])
  assert not any(abs(v - wrong) < 1e-9 for v in metrics.values())


def test_without_truth_there_is_no_entire_space_cvr():
  metrics = evaluate(LOGITS, OBSERVED._replace(truth={}, groups=None))
  assert not any(k.startswith('cvr_entire') for k in metrics)
  assert not any('gauc' in k for k in metrics)


def test_gauc_may_have_periods_of_its_own():
  stretch, day = np.arange(N) // 50, np.arange(N) // 1000
  alone = evaluate(LOGITS, OBSERVED)
  own = evaluate(LOGITS, OBSERVED._replace(group_periods=stretch))
  # As if each group were as many groups.
  pairs = OBSERVED.groups * 100 + stretch
  wanted = evaluate(LOGITS, OBSERVED._replace(groups=pairs))
  assert own == wanted
  assert own['ctr/auc'] == alone['ctr/auc']
  assert own['cvr_clicked/gauc'] != alone['cvr_clicked/gauc']
  both = evaluate(
      LOGITS, OBSERVED._replace(periods=day, group_periods=stretch))
  days = evaluate(LOGITS, OBSERVED._replace(periods=day))
  assert both['ctcvr/auc'] == days['ctcvr/auc']
  assert both['ctcvr/gauc'] == own['ctcvr/gauc'] != days['ctcvr/gauc']
  nothing = OBSERVED._replace(groups=None, group_periods=stretch)
  assert not any('gauc' in key for key in evaluate(LOGITS, nothing))


def test_the_truth_scores_as_the_truth():
  metrics = oracle_metrics(OBSERVED)
  assert metrics['cvr_entire/kl'] == pytest.approx(0, abs=1e-12)
  assert metrics['cvr_entire/ratio'] == pytest.approx(1)
  assert metrics['cvr_entire/auc'] > evaluate(LOGITS, OBSERVED)[
      'cvr_entire/auc'
  ]
  assert metrics['ctr/calibration'] == pytest.approx(1, abs=0.1)
