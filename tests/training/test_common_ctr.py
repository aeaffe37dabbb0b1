"""The predictions of another run are read before anything is trained."""

import types

from esmm_jax.training.common_ctr import common_ctr_order
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
from pyarrow import parquet
import pytest

CLICK = np.array([0, 1, 1, 0], np.int8)
P_CTR = np.array([0.1, 0.9, 0.5, 0.0], np.float32)
SETTINGS = types.SimpleNamespace(
    training=types.SimpleNamespace(common_ctr='../other'),
    run=types.SimpleNamespace(save_predictions=True))


def table(path, **columns):
  columns = {'p_ctr': P_CTR, 'click': CLICK} | columns
  parquet.write_table(pa.table(columns), path)


def cut(path):
  table(path)
  path.write_bytes(path.read_bytes()[:-9])


DAMAGE = {
    'empty': lambda path: path.write_bytes(b''),
    'a text': lambda path: path.write_text('p_ctr,click\n0.1,0\n'),
    'cut': cut,
    'a folder': lambda path: path.mkdir(),
    'no p_ctr': lambda path: parquet.write_table(
        pa.table({'click': CLICK}), path),
    'no click': lambda path: parquet.write_table(
        pa.table({'p_ctr': P_CTR}), path),
    'texts': lambda path: table(path, p_ctr=pa.array(list('abcd'))),
    'nan': lambda path: table(path, p_ctr=P_CTR * np.float32('nan')),
    'log-odds': lambda path: table(path, p_ctr=P_CTR - 1),
    'a null': lambda path: table(path, p_ctr=pa.array([0.1, None, 0.5, 0.0])),
}


@pytest.fixture(name='path')
def _path(tmp_path):
  folder = tmp_path / 'other' / 'predictions'
  folder.mkdir(parents=True)
  return folder / 'test.parquet'


def order(path, click=CLICK):
  run = path.parent.parent.parent / 'run'
  return common_ctr_order([SETTINGS], [str(run)], click)


@pytest.mark.parametrize('case', DAMAGE)
def test_damaged_predictions_are_refused(case, path):
  DAMAGE[case](path)
  words = '(cannot be read|has no column|is damaged).* Delete '
  with pytest.raises(
      InputError, match=rf'common_ctr=\.\./other: .*test.parquet.*{words}'):
    order(path)


def test_predictions_of_other_rows_are_refused(path):
  table(path)
  assert order(path) == {0: None}
  for other in (CLICK[:3], 1 - CLICK):
    with pytest.raises(InputError, match='predictions of other rows'):
      order(path, other)
  assert order(path, None) == {0: None}  # The test split is not known.


def test_no_predictions(path):
  with pytest.raises(InputError, match='First finish that run'):
    order(path)
