"""Histories of a log whose labels are coin flips tell nothing of them."""

from esmm_jax.data.history import language
from esmm_jax.data.history.blocks import Dated
from esmm_jax.data.kuairand import dataset
from esmm_jax.data.kuairand.rows import Ends, SPLITS
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
  number = Ends.of(set(date.tolist()), config).split_of(date)
  splits = {name: number == k for k, name in enumerate(SPLITS)}
  split = None if live else number
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


LIVE = 'user_id:delay=20s,user_id:delay=30s:last=1:amounts=none'


def flip(raw_dir):
  """Makes raw files of visits with labels by chance, and returns the folder."""
  rng = np.random.default_rng(3)
  fake = test_kuairand.make_raw(raw_dir, n=14_000)
  start = 1650816000000  # Midnight of the first day in China.
  for k, row in enumerate(fake.log):
    day = test_kuairand.DAYS.index(row['date'])
    row['time_ms'] = start + 10**3 * (86_400 * day + 2 * (k % 2100))
    # Three users at a time, for 200 seconds.
    row['user_id'] = int(3 * (k // 100) + rng.integers(3)) % 60
    row['is_click'] = int(rng.integers(2))
    row['long_view'] = row['is_click'] * int(rng.integers(2))
  path = raw_dir / 'data' / test_kuairand.LOG
  test_kuairand.write_csv(path, fake.log)
  return fake.raw_dir


@pytest.mark.slow
def test_a_live_history_of_random_labels(tmp_path):
  """GAUC is of rows that know nothing of each other's labels."""
  builder = dataset.KuaiRand.from_options(
      str(tmp_path / 'd'), flip(tmp_path / 'raw'), history=LIVE,
      history_form='float').prepare()
  assert (builder.period, builder.group_period) == ('', 'block')
  for split in ('train', 'valid', 'test'):
    observed = observe(builder, split)
    source = builder.as_data_source(split)
    columns = source.read(0, len(source))
    np.testing.assert_array_equal(observed.group_periods, columns['block'])
    for name in ('past_ctr_user_id_20s', 'last_label_1_user_id_30s'):
      score = columns[name].astype(np.float32)
      scores = {k: score for k in ('ctr', 'cvr', 'ctcvr')}
      values = evaluate(scores, observed)
      assert values['ctr/gauc_coverage'] > 0.5
      # Of 1,800 rows 0.014 is a standard deviation.
      for key in ('ctr/auc', 'ctr/gauc'):
        assert values[key] == pytest.approx(0.5, abs=0.045), (split, name, key)
      blind = evaluate(scores, observed._replace(group_periods=None))
      if name.startswith('past'):
        assert blind['ctr/gauc'] < 0.47, split


def test_blocks_end_with_the_delay_and_the_day():
  days = np.array([1, 1, 1, 2, 1, 2])
  time = np.array([0, 9_999, 10_000, 19_999, 86_399_999, 86_400_000])
  date, ns = 20220500 + days, time * 10**6
  def of(text):
    specs = language.parse(text)
    # As of two workers, of which the second has the earlier days.
    one, two = (
        Dated.of(specs, date[some], ns[some])
        for some in (slice(3, None), slice(3)))
    return one.merge(two).numbers(specs, date, ns).tolist()
  assert of('user_id:delay=10s,tab,session=user_id') == [0, 0, 1, 3, 2, 4]
  assert of('user_id:delay=1h') == [0, 0, 0, 2, 1, 3]
  assert of('user_id,session=user_id') == [0, 0, 0, 1, 0, 1]
  assert of('session=user_id') == [0, 0, 0, 1, 0, 1]
