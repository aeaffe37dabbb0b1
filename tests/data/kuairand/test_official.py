"""Files with an official name: whole, whole days, an example, or refused."""

import collections
import os
import pathlib

from esmm_jax.data.kuairand import official
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.data.kuairand.test_kuairand import LOG, make_raw, real_raw_dir

LATE = official.LATE_LOG


def dates(days=official.ROWS_OF_DAY):
  """The column of dates of a log with so many rows of each day."""
  return np.repeat(list(days), list(days.values()))


def outcome(name, num_rows, log=None):
  days = None if log is None else collections.Counter(log.tolist())
  try:
    said = official.check(f'/raw/{name}', name, num_rows, days)
  except InputError as e:
    assert f'/raw/{name} has {num_rows:,} rows' in str(e)
    assert f'the official file {official.ROWS[name]:,}' in str(e)
    assert 'check_counts=False' in str(e)
    return 'refused'
  if ' each complete: it ends with ' in said:
    return 'days'
  return 'example' if said else 'sound'


@pytest.mark.parametrize('name', official.ROWS)
def test_shares_of_a_file(name):
  """Of every official file, without its days."""
  whole = official.ROWS[name]
  for num_rows, expected in {
      whole: 'sound', whole - 1: 'refused', whole + 1: 'refused',
      2 * whole: 'refused', whole // 2: 'refused', whole // 4: 'example',
      1: 'example', 10 * whole: 'refused'}.items():
    assert outcome(name, num_rows) == expected, num_rows


@pytest.mark.parametrize('num_days', range(1, 12))
def test_days_of_the_late_log(num_days):
  """Whole ones are a sound log, which a line says unless they are all; one row
  less or more is refused."""
  log = dates(dict(list(official.ROWS_OF_DAY.items())[:num_days]))
  whole = 'sound' if num_days == 11 else 'days'
  assert outcome(LATE, len(log), log) == whole
  expected = 'refused' if num_days > 1 else 'example'
  assert outcome(LATE, len(log) - 1, log[:-1]) == expected
  assert outcome(LATE, len(log) + 1, np.append(log, log[-1])) == expected


def test_the_log_is_there_twice():
  log = np.tile(dates(), 2)
  assert outcome(LATE, len(log), log) == 'refused'


def test_the_day_is_named():
  log = collections.Counter(dates()[:100_000].tolist())
  with pytest.raises(InputError, match=r'\(of 20220501 5,216, and that 20,790'):
    official.check('x', LATE, 100_000, log)


def test_other_names_are_not_compared():
  days = {20220425: 7}
  assert official.check('x', 'log_standard_mine.csv', 7, days) == ''


@pytest.mark.parametrize('share, refused', [(1.0, True), (0.6, True),
                                            (0.4, False), (0.0, False)])
def test_a_copy_beside_the_log(share, refused):
  rng = np.random.default_rng(0)
  one, two = (
      {'user_id': rng.integers(0, 50, 1000),
       'video_id': rng.integers(0, 9, 1000),
       'time_ms': 1650812741436 + rng.integers(0, 10**7, 1000)}
      for _ in range(2))
  for name, column in two.items():
    column[:int(share * 1000)] = one[name][:int(share * 1000)]
  names = LATE, 'log_standard_4_22 (1).csv'
  logs = list(zip(names, map(official.mixed, (one, two))))
  if not refused:
    official.refuse_copies(logs)
    return
  with pytest.raises(InputError, match='count twice') as e:
    official.refuse_copies(logs)
  assert all(name in str(e.value) for name in names)


@pytest.mark.slow
def test_a_copy_in_the_folder(tmp_path):
  fake = make_raw(tmp_path / 'raw')
  path = pathlib.Path(fake.raw_dir, 'data', LOG)
  copy = path.with_name('log_standard_copy.csv')
  copy.write_bytes(path.read_bytes())
  with pytest.raises(InputError, match='log_standard_copy.csv'):
    KuaiRand.from_options(str(tmp_path / 'a'), fake.raw_dir).prepare()


@pytest.mark.slow
def test_an_example_is_said(tmp_path):
  """And only where the rows are compared; the data is the same."""
  fake = make_raw(tmp_path / 'raw')
  builder = KuaiRand.from_options(str(tmp_path / 'a'), fake.raw_dir).prepare()
  assert [w.split(' has ')[0] for w in builder.warnings] == [
      os.path.join(fake.raw_dir, 'data', name)
      for name in (LOG, official.USERS, official.VIDEOS)]
  assert builder.warnings[0].endswith(
      f'has {len(fake.log):,} rows, and the official file 295,497: it is taken'
      ' for an example of that file.')
  again = KuaiRand.from_options(
      str(tmp_path / 'b'), fake.raw_dir, check_counts=False).prepare()
  assert again.warnings == []
  assert again.builder_config.name == builder.builder_config.name
  assert again.columns_sha256 == builder.columns_sha256


@pytest.mark.slow
@pytest.mark.parametrize('how, says', [
    ('cut', 'has 92,530 rows, and the official file 295,497 (of 20220430'),
    ('twice', 'has 370,122 rows, and the official file 295,497 (of 20220425'),
])
def test_the_real_log_is_changed(tmp_path, how, says):
  """Cut at the end of a line, and appended to itself: sound CSV files."""
  (tmp_path / 'raw' / 'data').mkdir(parents=True)
  for path in pathlib.Path(real_raw_dir(), 'data').glob('*.csv'):
    (tmp_path / 'raw' / 'data' / path.name).symlink_to(path)
  path = tmp_path / 'raw' / 'data' / LOG
  header, *rows = path.read_bytes().splitlines(keepends=True)
  path.unlink()
  rows = rows[:len(rows) // 2] if how == 'cut' else rows * 2
  path.write_bytes(b''.join([header, *rows]))
  with pytest.raises(InputError) as e:
    KuaiRand.from_options(str(tmp_path), str(tmp_path / 'raw')).prepare()
  assert says in str(e.value) and str(path) in str(e.value)
  assert not list(tmp_path.glob('kuairand/*/1*'))


@pytest.mark.slow
@pytest.mark.parametrize('name', [LOG, official.USERS, official.VIDEOS])
@pytest.mark.parametrize('how', ['all', 'some', 'last'])
def test_carriage_returns_alone(tmp_path, name, how):
  fake = make_raw(tmp_path / 'raw')
  path = pathlib.Path(fake.raw_dir, 'data', name)
  text, row = path.read_bytes(), 1
  if how == 'all':
    text = text.replace(b'\n', b'\r')
  elif how == 'some':
    head, _, tail = text.partition(b'\n')
    text, row = head + b'\n' + tail.replace(b'\n', b'\r', 3), 2
  else:
    text, row = text[:-1] + b'\r', text.count(b'\n')
  path.write_bytes(text)
  with pytest.raises(InputError) as e:
    KuaiRand.from_options(str(tmp_path), fake.raw_dir).prepare()
  assert f'{path}, row {row}: the line ends in a carriage' in str(e.value)
  assert '\n' not in str(e.value)
