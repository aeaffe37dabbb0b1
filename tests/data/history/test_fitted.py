"""The fields of a history: fitted to training rows, applied to any rows."""

from esmm_jax.data.history import hashes, language
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.compute import compute, Past
from esmm_jax.data.history.fitted import Fitted, rows_of, Table
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.spans import SECOND
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Ragged
import numpy as np
import pyarrow as pa
import pytest

N = 3000
TEXT = (
    'user,user+tab:delay=1h:last=2,video:delay=10m:form=float,'
    'tab:form=bucket:amounts=clicks+watched,session=user:pause=30m,'
    'list=video:by=user:last=4:delay=1m,'
    'list=video:by=user:last=3:of=click'
)
SPECS = language.parse(TEXT)


def _make(name, dtype, shape):
  del name
  return np.zeros(shape, dtype)


@pytest.fixture(scope='module', name='columns')
def fixture_columns():
  """Raw columns of a random log, and the number of each key."""
  rng = np.random.default_rng(0)
  click = (rng.random(N) < 0.4).astype(np.int64)
  return {
      'time': rng.integers(0, 5 * 86400, N) * SECOND,
      'user': rng.integers(0, 40, N),
      'video': rng.integers(0, 60, N),
      'tab': rng.integers(0, 3, N),
      'click': click,
      'conversion': click * (rng.random(N) < 0.5),
      'watched': rng.integers(0, 99, N) * 1024,
      'train': rng.random(N) < 0.7,
  }


@pytest.fixture(scope='module', name='past')
def fixture_past(columns) -> Past:
  none = np.zeros(N, bool)
  keys = {
      (name,): hashes.of_integers(columns[name], none)
      for name in ('user', 'video', 'tab')
  }
  keys['user', 'tab'] = hashes.joined([keys['user',], keys['tab',]])
  log = Log(
      Clock('timestamp'),
      columns['time'],
      columns['time'],
      ~none,
      {n: columns[n] for n in ('click', 'conversion', 'watched')},
      keys,
      {'video': _text_hashes(columns['video'])},
      FUNNEL,
  )
  return compute(SPECS, log, _make, priors_of(log))


@pytest.fixture(scope='module', name='vocabulary')
def fixture_vocabulary(columns) -> Vocabulary:
  """Of the first fifty videos; the others are rare."""
  return Vocabulary.fit(columns['video'][columns['video'] < 50])


@pytest.fixture(scope='module', name='fitted')
def fixture_fitted(columns, past, vocabulary) -> Fitted:
  field = Field('video', vocab_size=vocabulary.size)
  tables = {'video': Table.of(field, vocabulary)}
  return Fitted.fit(SPECS, past, columns['train'], FUNNEL, tables)


def _text_hashes(values):
  return hashes.of_texts(pa.array(values).cast(pa.string()))


def test_fields_come_in_the_order_of_the_specs(fitted):
  names = [f.name for f in fitted.fields]
  assert names[:4] == [
      'past_ctr_user', 'past_ctr_user_bucket',
      'past_cvr_user', 'past_cvr_user_bucket',
  ]
  start = names.index('last_label_1_user+tab_1h')
  assert names[start : start + 6] == [
      'last_label_1_user+tab_1h', 'last_age_1_user+tab_1h',
      'last_age_1_user+tab_1h_bucket', 'last_label_2_user+tab_1h',
      'last_age_2_user+tab_1h', 'last_age_2_user+tab_1h_bucket',
  ]
  assert 'past_ctr_video_10m' in names
  assert 'past_ctr_video_10m_bucket' not in names
  assert 'past_mean_watched_tab_bucket' in names
  assert names[-5:] == [
      'last_video_user_1m', 'last_age_video_user_1m',
      'last_label_video_user_1m',
      'last_video_user_click', 'last_age_video_user_click',
  ]


def test_numbers_are_those_of_numpy_to_the_bit(fitted, past, columns):
  encoded = fitted.encode(past)
  fields = {f.name: f for f in fitted.fields}
  compared = 0
  for name, raw in past.numbers.items():
    if name in encoded:
      rate = name.startswith('past_')
      valid = np.ones(N, bool) if rate else ~raw.missing
      some = raw.values[columns['train'] & valid]
      mean, std = some.mean(), some.std()
      wanted = np.where(valid, (raw.values - mean) / std, 0)
      assert fields[name] == Field(name, 'float')
      assert encoded[name].dtype == np.float32
      np.testing.assert_array_equal(encoded[name], wanted.astype(np.float32))
      assert fitted.scaling[name] == (mean, std)
      compared += 1
    if (bucket := f'{name}_bucket') in encoded:
      some = raw.values[columns['train'] & ~raw.missing]
      edges = np.unique(np.quantile(
          some, np.arange(1, 20) / 20, method='inverted_cdf'))
      edges = edges[edges > some.min()]
      wanted = 2 + (raw.values[:, None] >= edges).sum(axis=1)
      assert fields[bucket] == Field(bucket, vocab_size=len(edges) + 3)
      assert encoded[bucket].dtype == np.int32
      np.testing.assert_array_equal(
          encoded[bucket], np.where(raw.missing, 0, wanted))
      compared += 1
  assert compared == 2 * (3 + 5 + 3) + 3 + 2


def test_values_of_held_out_rows_change_nothing_that_is_fitted(
    fitted, past, columns, vocabulary
):
  held_out = ~columns['train']
  changed = rows_of(past, slice(None))
  for raw in changed.numbers.values():
    raw.values[held_out] += 100  # Views: put back below.
  try:
    field = Field('video', vocab_size=vocabulary.size)
    tables = {'video': Table.of(field, vocabulary)}
    again = Fitted.fit(SPECS, changed, columns['train'], FUNNEL, tables)
  finally:
    for raw in changed.numbers.values():
      raw.values[held_out] -= 100
  assert again.sha256() == fitted.sha256()


def test_lists_share_the_table_and_hold_the_last_videos(
    fitted, past, columns, vocabulary
):
  fields = {f.name: f for f in fitted.fields}
  field = fields['last_video_user_1m']
  assert (field.table, field.vocab_size, field.max_len, field.combiner) == (
      'video', vocabulary.size, 4, 'mean')
  # Fields of one table must agree on its size.
  Schema((Field('video', vocab_size=vocabulary.size), *fitted.fields))
  encoded = fitted.encode(past)
  ids = vocabulary.encode(columns['video'])
  assert (ids == 1).any()
  level = 2 + columns['click'] + columns['conversion']
  time, user = columns['time'], columns['user']
  for row in range(0, N, 37):
    before = np.flatnonzero(
        (user == user[row]) & (time <= time[row] - 60 * SECOND))
    before = before[np.argsort(time[before], kind='stable')][::-1]
    assert _list(encoded['last_video_user_1m'], row) == (
        ids[before[:4]].tolist())
    assert _list(encoded['last_label_video_user_1m'], row) == (
        level[before[:4]].tolist())
    days = time // (86400 * SECOND)
    clicks = np.flatnonzero(
        (user == user[row]) & (days < days[row]) & (columns['click'] == 1))
    clicks = clicks[np.argsort(time[clicks], kind='stable')][::-1]
    assert _list(encoded['last_video_user_click'], row) == (
        ids[clicks[:3]].tolist())


def _list(column: Ragged, row: int) -> list[int]:
  return column.values[column.offsets[row] : column.offsets[row + 1]].tolist()


def test_a_value_that_is_missing_stays_in_its_list(fitted, past):
  lists = {n: v[:1].copy() for n, v in past.lists.items()}
  lists['last_video_user_1m'][:] = [[0, 0, 0, 0]]
  lists['last_age_video_user_1m'][:] = [[5, 6, 0, 0]]
  lists['last_label_video_user_1m'][:] = [[3, 2, 0, 0]]
  encoded = fitted.encode(rows_of(past, slice(1))._replace(lists=lists))
  assert _list(encoded['last_video_user_1m'], 0) == [0, 0]
  assert _list(encoded['last_age_video_user_1m'], 0) == [5, 6]
  assert _list(encoded['last_label_video_user_1m'], 0) == [3, 2]


def test_missing_ages_and_gaps_are_0_and_rates_those_of_the_prior(
    fitted, past
):
  encoded = fitted.encode(past)
  gap = past.numbers['session_gap_user_30m']
  assert gap.missing.any()
  assert (encoded['session_gap_user_30m'][gap.missing] == 0).all()
  assert (encoded['session_gap_user_30m_bucket'][gap.missing] == 0).all()
  rate = past.numbers['past_ctr_user']
  mean, std = fitted.scaling['past_ctr_user']
  assert rate.missing.any()
  np.testing.assert_allclose(
      encoded['past_ctr_user'][rate.missing], -mean / std, rtol=1e-6)
  assert (encoded['past_ctr_user_bucket'][rate.missing] == 0).all()


def test_saved_and_loaded_it_encodes_any_rows_to_the_same_bits(
    fitted, past, tmp_path
):
  fitted.save(tmp_path)
  loaded = Fitted.load(tmp_path)
  assert loaded.fields == fitted.fields
  assert loaded.sha256() == fitted.sha256()
  rows = np.arange(7, N, 11)
  whole, some = fitted.encode(past), loaded.encode(rows_of(past, rows))
  assert list(whole) == list(some) == [f.name for f in fitted.fields]
  for name, column in some.items():
    if isinstance(column, Ragged):
      lists = [_list(whole[name], row) for row in rows]
      assert [_list(column, k) for k in range(len(rows))] == lists
      assert column.values.dtype == np.int32
    else:
      np.testing.assert_array_equal(column, whole[name][rows])


def test_a_changed_array_of_values_is_refused(fitted, tmp_path):
  """It would give the lists of served rows other ids."""
  fitted.save(tmp_path)
  (path,) = tmp_path.glob('history_values_0.npy')
  content = bytearray(path.read_bytes())
  content[-5] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match='history_values_0.npy is not as it was'):
    Fitted.load(tmp_path)


def test_the_hash_changes_with_what_is_fitted(fitted, past, columns):
  other = Fitted.fit(
      language.parse('user'), past, columns['train'], FUNNEL)
  fewer = Fitted.fit(
      language.parse('user'), past, columns['time'] < 3 * 86400 * SECOND,
      FUNNEL)
  assert len({fitted.sha256(), other.sha256(), fewer.sha256()}) == 3
