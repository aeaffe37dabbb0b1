"""Histories of a log whose labels are coin flips tell nothing of them."""

from esmm_jax.data.kuairand import dataset
from esmm_jax.data.kuairand.rows import split_by_day
from esmm_jax.metrics.by_space import evaluate, Observed
from esmm_jax.training.predict import observe
import numpy as np
import pytest

from tests.data.kuairand import test_kuairand
from tests.data.kuairand.days import history_of

USERS, DAYS, A_DAY = 3000, 8, 3 * 3000
KEYS = ('ctr', 'cvr_clicked', 'ctcvr')


def flipped(valid_days, test_days, live, num_users=USERS):
  """Log-odds that are the user's past, and what is observed, by split."""
  rng = np.random.default_rng(valid_days)
  num = DAYS * A_DAY
  date = np.repeat(20220501 + np.arange(DAYS), A_DAY)
  user = rng.integers(0, num_users, num)
  click = rng.integers(0, 2, num)
  conversion = click * rng.integers(0, 2, num)
  config = dataset.KuaiRandConfig(
      valid_days=valid_days, test_days=test_days, history=True,
      history_live=live)
  splits = split_by_day(date, config)
  split = None if live else splits['valid'] + 2 * splits['test']
  past = history_of(
      {'user': user}, date, click, conversion, 20.0, split)['user']
  logits = {'ctr': past.ctr.values, 'cvr': past.cvr.values}
  logits['ctcvr'] = logits['ctr'] + logits['cvr']
  labels = {'click': click, 'conversion': conversion}

  def of(rows, by_day):
    return evaluate(
        {k: v[rows] for k, v in logits.items()},
        Observed(
            {k: v[rows] for k, v in labels.items()}, user[rows], {},
            periods=date[rows] if by_day else None))

  return {name: of(rows, live or name == 'train')
          for name, rows in splits.items()}, splits, of


@pytest.mark.parametrize('live', [False, True])
@pytest.mark.parametrize('valid_days, test_days', [(1, 1), (2, 2), (3, 2)])
def test_no_metric_sees_more_than_chance(valid_days, test_days, live):
  metrics, _, _ = flipped(valid_days, test_days, live)
  for split, values in metrics.items():
    for key in KEYS:
      assert values[f'{key}/auc'] == pytest.approx(0.5, abs=0.025), (split, key)
      # Fewer rows have a pair in their group.
      assert values[f'{key}/gauc'] == pytest.approx(0.5, abs=0.05), (split, key)


def test_across_days_a_live_history_ranks_by_labels():
  """The reason for periods: the same rows, all days compared."""
  _, splits, of = flipped(2, 2, True)
  for split in ('valid', 'test'):
    assert of(splits[split], False)['ctr/gauc'] < 0.45
  _, splits, of = flipped(2, 2, True, num_users=3)
  assert of(splits['test'], True)['ctr/auc'] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize('options', [
    dict(valid_days=2), dict(valid_days=3, test_days=1),
    dict(valid_days=2, history_live=True)])
def test_prepared_data_of_random_labels(options, tmp_path):
  """The encodings as they are stored, of the fake files' random clicks."""
  fake = test_kuairand.make_raw(tmp_path / 'raw', n=6000)
  builder = dataset.KuaiRand.from_options(
      str(tmp_path / 'd'), fake.raw_dir, history=True, history_form='float',
      min_count=20, **options).prepare()
  live = options.get('history_live', False)
  assert builder.period == ('day' if live else '')
  assert ('capped' in builder.builder_config.name) == (not live)
  for split in ('valid', 'test'):
    observed = observe(builder, split)
    source = builder.as_data_source(split)
    columns = source.read(0, len(source))
    assert (observed.periods is not None) == live
    if live:
      np.testing.assert_array_equal(observed.periods, columns['day'])
    score = columns['past_ctr_user_id']
    values = evaluate({k: score for k in ('ctr', 'cvr', 'ctcvr')}, observed)
    assert values['ctr/gauc'] == pytest.approx(0.5, abs=0.05)
    assert values['ctr/auc'] == pytest.approx(0.5, abs=0.05)
    by_user = {}
    for user, day, past in zip(
        columns['group_user'], columns['day'], score):
      by_user.setdefault((user, day if live else 0), set()).add(past)
    # Within a split, or its day, a user has one past.
    assert all(len(pasts) == 1 for pasts in by_user.values())
