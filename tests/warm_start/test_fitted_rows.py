"""Data that is fitted on its rows of training and of validation."""

from esmm_jax.data.kuairand.config import KuaiRandConfig
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.data.kuairand import test_kuairand as kuairand

BOTH = 'train+valid'
OPTIONS = dict(
    id='user', float='price', click='clicked', conversion='bought',
    split='column', split_column='part', min_count=1)
PARTS = ['train'] * 8 + ['valid'] * 4 + ['test'] * 4
LOG = {
    'user': [*'aabbccaa', *'dedb', *'aefd'],
    'price': [1.0, 2, 3, 4, 5, 6, 7, 8, 20, 30, 40, 50, 0, 1, 100, 9],
    'clicked': [1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0],
    'bought': [1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0],
    'part': PARTS,
}


@pytest.fixture(scope='module')
def logs(tmp_path_factory):
  """The log fitted on the training rows, and on those of validation too."""
  root = tmp_path_factory.mktemp('log')
  parquet.write_table(pa.table(LOG), root / 'log.parquet')
  options = OPTIONS | {'files': str(root / 'log.parquet')}
  return [
      Tabular.from_options(str(root / 'data'), **options, **more).prepare()
      for more in ({}, {'fit_on': BOTH})]


def rows(builder, split):
  source = builder.as_data_source(split)
  return source.read(0, len(source))


def test_vocabulary_of_a_log(logs):
  """d and e come in rows of validation, f in those of test alone."""
  before, after = (Encoder.load(b.encoder_folder) for b in logs)
  assert sorted(before.values('user')) == [*'abc']
  assert sorted(after.values('user')) == [*'abcde']
  ids = [rows(b, 'test')['user'] for b in logs]
  known = [[i > 1 for i in values] for values in ids]
  assert known == [[True, False, False, False], [True, True, False, True]]


def test_rare_values_are_counted_on_both(tmp_path):
  """e comes once in each: twice in both together."""
  users = [*'aabbccae', *'dedb', *'aefd']
  parquet.write_table(pa.table(LOG | {'user': users}), tmp_path / 'l.parquet')
  options = OPTIONS | {
      'files': str(tmp_path / 'l.parquet'), 'min_count': 2, 'fit_on': BOTH}
  builder = Tabular.from_options(str(tmp_path / 'data'), **options).prepare()
  encoder = Encoder.load(builder.encoder_folder)
  assert sorted(encoder.values('user')) == [*'abcde']


def test_scaling_of_a_log(logs):
  for builder, fitted in zip(logs, (LOG['price'][:8], LOG['price'][:12])):
    scaling = Encoder.load(builder.encoder_folder).scaling('price')
    assert (scaling.mean, scaling.std) == pytest.approx(
        (np.mean(fitted), np.std(fitted)))


@pytest.mark.parametrize('split', ['train', 'valid', 'test'])
def test_rows_and_labels_of_a_log_stay(logs, split):
  before, after = (rows(b, split) for b in logs)
  for name in ('row_number', 'file_number', 'click', 'conversion'):
    np.testing.assert_array_equal(before[name], after[name])
  numbers = [k for k, part in enumerate(PARTS) if part == split]
  assert after['row_number'].tolist() == numbers


def test_names_of_prepared_data():
  """Those of before, where the option is not used."""
  options = dict(
      files='s3://bucket/log.parquet', id='user,item', click='clicked',
      conversion='bought')
  names = [
      TabularConfig.from_options(options | more).name
      for more in ({}, {'fit_on': 'train'}, {'fit_on': BOTH})]
  assert names[0] == names[1] == '05387a222530' != names[2]
  kept = 'long_view-test2-valid1-min2-keep_unclicked'
  assert KuaiRandConfig(fit_on='train').name == KuaiRandConfig().name == kept
  assert KuaiRandConfig(fit_on=BOTH).name == f'{kept}-fit_train_valid'


REFUSED = [
    (dict(fit_on='valid'), "dataset.fit_on is 'valid', which is not known"),
    (dict(fit_on='valid+train'), 'train, train\\+valid'),
    (dict(fit_on='all'), 'which is not known'),
    (dict(fit_on=BOTH, split='files', split_column='', test_files='t.csv'),
     'this log has no validation split; leave dataset.fit_on out'),
    (dict(fit_on=BOTH, split='random', split_column='', valid_share=0),
     'this log has no validation split'),
]


@pytest.mark.parametrize('options, words', REFUSED)
def test_refused(options, words):
  with pytest.raises(InputError, match=words) as error:
    TabularConfig.from_options(OPTIONS | {'files': 'x.parquet'} | options)
  assert '\n' not in str(error.value)


def test_refused_of_kuairand():
  with pytest.raises(InputError, match="fit_on is 'all', which is not known"):
    KuaiRandConfig(fit_on='all')


@pytest.fixture(scope='module')
def fake(tmp_path_factory):
  return kuairand.make_raw(tmp_path_factory.mktemp('raw') / 'KuaiRand-Pure')


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('prepared'))


def test_kuairand(fake, data_dir):
  """Vocabulary and scaling of both; the rows of each split stay."""
  options = dict(min_count=20, valid_days=2, test_days=1)
  (before, old, split), (after, new, same) = [
      (b, *kuairand.read(b.prepare()))
      for b in (kuairand.KuaiRand.from_options(
          data_dir, fake.raw_dir, **options, **more)
                for more in ({}, {'fit_on': BOTH}))]
  assert (split == same).all()
  for name in ('row', 'log_file', 'click', 'conversion', 'day', 'group_user'):
    np.testing.assert_array_equal(old[name], new[name])
  fitted = old['day'] < kuairand.DAYS[-1]
  counts = np.bincount(old['group_user'][fitted])
  kept = {u for u, n in enumerate(counts) if n >= 20}
  seen = set(new['group_user'][new['user_id'] > 1].tolist())
  assert seen == kept
  assert seen > set(old['group_user'][old['user_id'] > 1].tolist())
  values = [
      None if v is None else np.log1p(v)
      for v in kuairand.raw_values(fake, 'follow_user_num')]
  numbers = [v for v, f in zip(values, fitted) if f and v is not None]
  scaling = after.report['scaling']['follow_user_num']
  assert scaling['mean'] == pytest.approx(np.mean(numbers))
  assert before.report['scaling']['follow_user_num'] != scaling


def test_history_of_kuairand(fake, data_dir):
  """Rows of validation see all days before theirs, as training rows do.

  Those of the second day of validation see the first one; the formula is typed
  again.
  """
  _, columns, past, _ = kuairand.history_of(
      fake.raw_dir, data_dir, valid_days=2, test_days=2, history_form='float',
      fit_on=BOTH)
  values = []
  for row in fake.log:
    day = min(row['date'], kuairand.DAYS[-2])
    before = [r for r in fake.log if r['date'] < day]
    own = [r for r in before if r['user_id'] == row['user_id']]
    prior = (sum(r['is_click'] for r in before) + 0.5) / (len(before) + 1)
    rate = (sum(r['is_click'] for r in own) + 20 * prior) / (len(own) + 20)
    values.append(np.log(rate / (1 - rate)) - np.log(prior / (1 - prior)))
  values, fitted = np.array(values), columns['day'] < kuairand.DAYS[-2]
  mean, std = values[fitted].mean(), values[fitted].std()
  np.testing.assert_allclose(
      past['past_ctr_user_id'], (values - mean) / std, atol=1e-4)
