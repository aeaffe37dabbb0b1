"""Warnings of `dataset.history`: numbers that would mislead without a word."""

from esmm_jax.data.tabular.dataset import Tabular
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_history import prepared, random_log, read, write


def test_what_is_one_number_in_training_is_0_and_told(tmp_path):
  """Ages of a day; their mean is one of rounding, and so is the deviation."""
  rng = np.random.default_rng(0)
  day = np.r_[np.zeros(30), np.ones(70), np.full(20, 6)].astype(int)
  log = {
      'user': [f'u{k}' for k in rng.integers(0, 4, 120)], 'item': [1] * 120,
      'time': (20220401 + day).tolist(),
      'click': rng.integers(0, 2, 120).tolist()}
  path = tmp_path / 'log.parquet'
  parquet.write_table(pa.table(log), str(path))
  data = Tabular.from_options(
      str(tmp_path / 'data'), files=str(path), id='user,item', time='time',
      split='time', valid_share=0., test_from='20220407', min_count=1,
      history='user:last=1', conversion='').prepare()
  columns, split = read(data, 120)
  assert set(columns['last_age_1_user']) == {0}
  # Training rows see one number or none, test rows another one.
  assert set(columns['last_age_1_user_bucket'][split == 'train']) == {0, 2}
  assert np.abs(columns['past_count_user']).max() < 10
  (text,) = [w for w in data.warnings if 'dataset.history' in w]
  assert "'last_age_1_user'" in text and '0 in every row' in text
  assert "'past_count_user'" not in text


def test_a_later_log_that_grows_from_a_run_has_no_earlier_past(tmp_path):
  log = random_log(6, 300)
  order = np.argsort(log['time'])
  parts = [
      write({n: [c[k] for k in rows] for n, c in log.items()},
            tmp_path / f'{name}.parquet')
      for name, rows in (('a', order[:200]), ('b', order[200:]))]
  old = prepared(tmp_path, parts[0], history='user')
  run = old.encoder_folder.rpartition('/')[0]
  texts = [
      [w for w in prepared(
          tmp_path, files, history='user', vocabulary_of=run).warnings
       if 'dataset.history counts only rows of this log' in w]
      for files in (parts[1], ','.join(parts), parts[0])]
  assert [len(some) for some in texts] == [1, 0, 0]
  assert f'the log of {run} begins at 2022-03-31 ' in texts[0][0]
  assert '\n' not in texts[0][0]


@pytest.mark.parametrize('scale, is_told', [(1, False), (1e-2, True),
                                            (1e-5, True)])
def test_means_of_numbers_below_the_steps_of_sums_are_told(
    scale, is_told, tmp_path):
  log = random_log(3, 120)
  log['price'] = [(k % 5) * scale / 10 for k in range(120)]
  path = write(log, tmp_path / 'log.parquet')
  data = prepared(tmp_path, path, history='user:delay=10m:amounts=price')
  texts = [w for w in data.warnings if "column 'price'" in w]
  assert len(texts) == is_told
  assert all('steps of 1/1024' in text for text in texts)
