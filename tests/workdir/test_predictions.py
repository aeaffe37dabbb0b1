"""A file of predictions that is damaged or of another run is refused."""

import json
import os

from esmm_jax.types import InputError
from esmm_jax.workdir import predictions
from esmm_jax.workdir.identity import Stamp
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.damaged import cells

RUN = Stamp('a' * 64, 7, 'b' * 64)
# Values far from each other, so that no damage is hidden by the encoding.
COLUMNS = {
    'p_ctr': np.random.default_rng(0).random(5000, np.float32),
    'click': (np.arange(5000) % 3 == 0).astype(np.int8),
    'group': np.arange(5000) // 7,
}
# Another run, its parameters, or not known to be the same.
OTHERS = [
    RUN._replace(identity='c' * 64),
    RUN._replace(params_sha256='d' * 64),
    Stamp('a' * 64, 8),
    Stamp('', 8),
]


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'run' / 'test.parquet'
  predictions.write(str(path), COLUMNS, RUN)
  return path


def read(path, names=('p_ctr', 'click', 'group'), run=RUN):
  return predictions.read(str(path), names, run)


def test_what_is_written_is_read(path, capsys):
  for names in (('p_ctr', 'click', 'group'), ('group', 'p_ctr')):
    columns = read(path, names)
    assert list(columns) == list(names)
    for name in names:
      assert columns[name].dtype == COLUMNS[name].dtype
      np.testing.assert_array_equal(columns[name], COLUMNS[name])
  assert capsys.readouterr().err == ''
  about = json.loads(parquet.read_schema(path).metadata[predictions.KEY])
  assert Stamp.from_dict(about['run']) == RUN
  assert list(about['columns']) == list(COLUMNS)


def test_parts_of_any_size_have_the_same_hash(path, monkeypatch):
  monkeypatch.setattr(predictions, '_ROWS', 777)
  sizes = [len(p['p_ctr']) for p in predictions.batches(str(path), RUN)]
  assert sum(sizes) == 5000 and len(sizes) > 3
  np.testing.assert_array_equal(read(path)['group'], COLUMNS['group'])


def test_no_rows(tmp_path):
  path = str(tmp_path / 'x.parquet')
  predictions.write(path, {k: v[:0] for k, v in COLUMNS.items()}, RUN)
  assert [len(v) for v in read(path).values()] == [0, 0, 0]


@pytest.mark.parametrize('harm', [d for d in cells.DAMAGES if d != 'absent'])
def test_damage(harm, path, tmp_path):
  other = tmp_path / 'other.parquet'
  columns = COLUMNS | {'p_ctr': COLUMNS['p_ctr'][::-1]}
  predictions.write(str(other), columns, RUN._replace(identity='c' * 64))
  assert cells.harm(harm, path, other)
  outcome = cells.attempt(lambda: read(path))
  assert outcome.numbers is None and not outcome.raised
  (line,) = outcome.said
  assert str(path) in line and 'the report makes it again' in line


@pytest.mark.parametrize('k', range(0, 100, 7))
def test_a_bit_anywhere(k, path):
  """Of the values, the pages' headers and the footer."""
  data = bytearray(path.read_bytes())
  for bit in (0, 6):
    at = len(data) * k // 100
    data[at] ^= 1 << bit
    path.write_bytes(data)
    outcome = cells.attempt(lambda: read(path))
    assert not outcome.raised
    if outcome.numbers is not None:  # A bit that nothing reads.
      assert outcome.numbers == cells.plain(COLUMNS)
    data[at] ^= 1 << bit


@pytest.mark.parametrize('run', OTHERS)
def test_another_run(run, path):
  with pytest.raises(InputError, match='parquet.* (another run|trained ag)'):
    read(path, run=run)


@pytest.mark.parametrize('run', [None, Stamp(), Stamp('a' * 64, 7), RUN])
def test_the_same_run_as_far_as_it_is_known(run, path):
  assert len(read(path, run=run)['click']) == 5000


def test_files_of_earlier_versions(path, capsys):
  table = parquet.read_table(path).replace_schema_metadata()
  parquet.write_table(table, path)
  np.testing.assert_array_equal(read(path)['p_ctr'], COLUMNS['p_ctr'])
  line = capsys.readouterr().err
  assert line.startswith('warning: ') and line.count('does not say which') == 1


def test_a_column_that_is_not_there(path):
  with pytest.raises(InputError, match="no column 'p_cvr', only p_ctr, click"):
    read(path, ['p_ctr', 'p_cvr'])


def test_metadata_of_another_program(tmp_path):
  path = tmp_path / 'x.parquet'
  for about in (b'[]', b'{', b'{"run": 3, "columns": {}}', b'{"columns": 3}'):
    table = pa.table({'p_ctr': [0.5]})
    parquet.write_table(
        table.replace_schema_metadata({predictions.KEY: about}), path)
    with pytest.raises(InputError, match='x.parquet'):
      read(path, ['p_ctr'])
  assert os.path.exists(path)
