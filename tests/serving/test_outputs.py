"""The file of scores: its form, its keys, and what it may not be."""

import gzip
import json
import os

import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.serving import scoring
from esmm_jax.types import InputError
from esmm_jax.workdir import predictions
from esmm_jax.workdir.identity import Stamp
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests.parallel import forking

SCORES = ['p_ctr', 'p_cvr', 'p_ctcvr']


@pytest.fixture(scope='module')
def predictor(finished):
  return esmm_jax.load(str(finished.folder))


@pytest.fixture(scope='module')
def rows(finished):
  """Rows with keys that a CSV file could change."""
  table = finished.table(0, 50)
  keys = ['007', ' 7', '7.0', '', None, 'a,"b"', 'é\n', 'NULL', '1e3', 'nan']
  table = table.append_column('text', pa.array(keys * 5))
  table = table.append_column('number', pa.array([2**62 + 1, -1] * 25))
  return table.append_column(
      'view', pa.array(['x', None] * 25, pa.string_view()))


def scored(predictor, table, folder, name, **options):
  """Scores a table; the output as bytes."""
  path = str(folder / 'rows.parquet')
  parquet.write_table(table, path)
  output = str(folder / name)
  num = scoring.score_files(
      predictor, row_files.find([path]), output, part_rows=20, **options)
  assert num == len(table)
  assert sorted(os.listdir(folder)) == sorted(['rows.parquet', name])
  with open(output, 'rb') as f:
    return f.read()


def read(content, **types):
  return csv.read_csv(
      pa.BufferReader(content),
      parse_options=csv.ParseOptions(newlines_in_values=True),
      convert_options=csv.ConvertOptions(
          column_types=types, strings_can_be_null=True,
          quoted_strings_can_be_null=False))


@pytest.mark.parametrize('name', ['s.csv', 's.csv.gz', 's.CSV'])
def test_csv_holds_the_same_scores(name, predictor, rows, tmp_path):
  """Float32 to the last bit, and each key as it was."""
  text = scored(predictor, rows, tmp_path, name, key='text,number,view')
  text = gzip.decompress(text) if name.endswith('.gz') else text
  table = read(text, text=pa.string(), view=pa.string())
  assert table.column_names == ['text', 'number', 'view', *SCORES]
  for key in ('text', 'number', 'view'):
    assert table[key].to_pylist() == rows[key].to_pylist()
  # In parts of 20 rows: the last bit depends on the size of a batch.
  parts = [predictor.predict(rows.slice(k, 20)) for k in (0, 20, 40)]
  for score in SCORES:
    expected = np.concatenate([part[score] for part in parts])
    np.testing.assert_array_equal(
        table[score].to_numpy().astype(np.float32), expected)


def test_numbers_of_rows_as_csv(predictor, rows, tmp_path):
  table = read(scored(predictor, rows, tmp_path, 's.csv'))
  assert table.column_names == ['file', 'row', *SCORES]
  assert table['row'].to_pylist() == list(range(50))


@pytest.mark.parametrize('name', ['s.parquet', 's.pq'])
def test_parquet_keeps_types(name, predictor, rows, tmp_path):
  scored(predictor, rows, tmp_path, name, key='text, number,view')
  table = parquet.read_table(tmp_path / name)
  for key in ('text', 'number', 'view'):
    assert table[key].equals(rows[key])
  about = json.loads(table.schema.metadata[predictions.KEY])
  assert Stamp.from_dict(about['run']) == predictor.stamp
  assert (about['calibrated'], about['joint']) == ('none', 'product')


def test_keys_of_a_csv_file_stay_texts(predictor, finished, tmp_path):
  from tests.serving.test_predict import as_text

  table = as_text(finished.table(0, 3)).append_column(
      'key', pa.array(['007', '7.0', '1e3']))
  csv.write_csv(table, tmp_path / 'in.csv')
  for name in ('s.csv', 's.parquet'):
    scoring.score_files(
        predictor, row_files.find([str(tmp_path / 'in.csv')]),
        str(tmp_path / name), 'key')
  table = parquet.read_table(tmp_path / 's.parquet')
  assert table['key'].to_pylist() == ['007', '7.0', '1e3']
  lines = (tmp_path / 's.csv').read_text().splitlines()
  assert [line.partition(',')[0] for line in lines] == [
      '"key"', '"007"', '"7.0"', '"1e3"']


def test_a_list_is_no_key_of_csv(predictor, rows, tmp_path):
  words = "a CSV file cannot hold column 'history' of type list<"
  with pytest.raises(InputError, match=words):
    scored(predictor, rows, tmp_path, 's.csv', key='history')
  table = pa.table({'history': rows['history']})
  (tmp_path / 'b').mkdir()
  scored(predictor, rows, tmp_path / 'b', 's.parquet', key='history')
  output = parquet.read_table(tmp_path / 'b' / 's.parquet')
  assert output.select(['history']).to_pydict() == table.to_pydict()


REFUSED = {
    's.txt': r'one of \.parquet, \.pq, \.csv, \.csv\.gz',
    's': 'the ending sets the format',
    's.parquet.gz': 'the ending sets the format',
    'folder': 'folder is a folder; name a file, as in .*folder/scores.parquet',
    '': 'is the folder of .*in.parquet of --input; name|contains folder, which',
    'ssh://host/s.csv': 'of a file system that is not opened',
    's3://user:word@bucket/s.csv': 'holds a password',
    'in.parquet': 'in.parquet of --input, which is never overwritten',
    'link.parquet': 'in.parquet of --input, which is never overwritten',
}


@pytest.mark.parametrize('name', REFUSED)
def test_outputs_that_cannot_be(name, predictor, finished, rows, tmp_path):
  """Refused before a part is scored; nothing is written."""
  parquet.write_table(rows, tmp_path / 'in.parquet')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'link.parquet').symlink_to(tmp_path / 'in.parquet')
  before = sorted(os.listdir(tmp_path))
  output = name if '://' in name else f'{tmp_path}/{name}'
  files = row_files.find([str(tmp_path / 'in.parquet')])
  with pytest.raises(InputError, match=REFUSED[name]):
    scoring.score_files(predictor, files, output)
  assert sorted(os.listdir(tmp_path)) == before
  if 'never' not in REFUSED[name]:
    with pytest.raises(InputError, match=REFUSED[name]):
      scoring.score_split(predictor, finished.builder(), 'test', output)
  assert parquet.read_table(tmp_path / 'in.parquet').equals(rows)


def test_counts_survive_a_kill(predictor, rows, tmp_path, monkeypatch):
  """Those of the parts that were there are added up too."""
  k = rows.column_names.index('user')
  users = pa.array([1] * 15 + [0] * 5 + [5] * 30)
  parquet.write_table(rows.set_column(k, 'user', users), tmp_path / 'a.parquet')
  files = row_files.find([str(tmp_path / 'a.parquet')])
  whole, killed = Counts(), Counts()
  scoring.score_files(
      predictor, files, str(tmp_path / 'w.csv'), part_rows=20, counts=whole)
  assert whole.fields['user'] == [50, 5, 45, 15]
  assert whole.shares()['user'] == (0.1, 1 / 3)
  with monkeypatch.context() as patched:
    patched.setattr(scoring.ownership, 'remove', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      scoring.score_files(
          predictor, files, str(tmp_path / 'k.csv'), part_rows=20)
  scoring.score_files(
      predictor, files, str(tmp_path / 'k.csv'), part_rows=20, counts=killed)
  assert killed.fields == whole.fields
  assert (tmp_path / 'k.csv').read_bytes() == (tmp_path / 'w.csv').read_bytes()


@pytest.mark.slow
def test_the_command_says_what_was_unseen(finished, rows, tmp_path):
  k = rows.column_names.index('user')
  parquet.write_table(
      rows.set_column(k, 'user', pa.array([1] * 40 + [0] * 10)),
      tmp_path / 'a.parquet')
  same = (f'--workdir={finished.folder}', f'--input={tmp_path}/a.parquet')
  with forking.Program('experiments.predict') as program:
    done = program.run(*same, f'--output={tmp_path}/s.xlsx')
    assert done.returncode == 1 and 'one of .parquet' in done.stderr
    assert not (tmp_path / 's.xlsx.parts').exists()
    done = program.run(*same, f'--output={tmp_path}/s.csv', '--key=no')
    assert done.returncode == 1
    assert "there is no column 'no', which --key names" in done.stderr
    done = program.run(*same, f'--output={tmp_path}/s.csv', '--key=text,number')
  assert done.returncode == 0, done.stderr
  assert 's.csv: 50 rows' in done.stdout
  assert 'rare or never seen in training: user 100.0%' in done.stdout
  assert "warning: 100.0% of the values of column 'user'" in done.stdout
  assert (tmp_path / 's.csv').read_text().startswith('"text","number","p_ctr"')
