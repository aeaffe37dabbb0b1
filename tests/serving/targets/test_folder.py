"""A folder of scores: the rows of one file, its order, kills, other files."""

import gzip
import json
import os

import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.serving import BatchScorer, joining, scored_parts, scoring
from esmm_jax.serving.targets import folder as folders
from esmm_jax.serving.workers import by_span
from esmm_jax.types import InputError
import pandas as pd
import polars as pl
from pyarrow import dataset, parquet
import pyarrow as pa
import pytest

from tests.engines.doing import Backwards
from tests.serving.test_predict import write

# Parts of 500 rows of files of 1100 and 1900 rows.
ROWS = [500, 500, 100, 500, 500, 500, 400]


@pytest.fixture(name='predictor', scope='module')
def _predictor(finished):
  return esmm_jax.load(str(finished.folder))


@pytest.fixture(name='workers')
def _workers(finished, predictor, monkeypatch):
  """They do the last part first, and have loaded the run."""
  monkeypatch.setattr(BatchScorer, 'predictor', predictor)
  return by_span.Workers(Backwards(2), BatchScorer(str(finished.folder)))


@pytest.fixture(name='sources', scope='module')
def _sources(finished, tmp_path_factory):
  return row_files.find(
      [write(finished.table(), tmp_path_factory.mktemp('in'))])


def score(predictor, sources, path, workers=None, **options):
  options = {'part_rows': 500} | options
  return scoring.score_files(
      predictor, sources, os.fspath(path), workers=workers, **options)


def content(folder):
  """Name -> bytes of all that stands in a folder."""
  return {
      p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()
  } | {p.name: None for p in folder.iterdir() if p.is_dir()}


def names(num, form='parquet'):
  return [folders.SUCCESS, *(f'part-{k:05d}.{form}' for k in range(num))]


def test_names_in_order():
  """Also where five digits are not enough."""
  for num in (1, 99_999, 100_000, 100_001, 10**6 + 1):
    some = sorted({0, 1, 9_999, num // 2, num - 2, num - 1} & {*range(num)})
    written = [folders._name(k, num, 'csv') for k in some]
    assert written == sorted(written)
  assert folders._name(7, 8, 'csv') == 'part-00007.csv'
  assert folders._name(7, 10**6, 'csv') == 'part-000007.csv'


@pytest.mark.parametrize('form', folders.FORMS)
def test_the_rows_of_one_file(form, predictor, sources, workers, tmp_path):
  """In one process and by workers the same bytes."""
  whole = tmp_path / f'whole.{form}'
  counts = [Counts() for _ in range(3)]
  score(predictor, sources, whole, counts=counts[0])
  one, other = tmp_path / f'one.{form}', tmp_path / 'other'
  assert score(predictor, sources, f'{one}/', counts=counts[1]) == 3000
  assert score(
      predictor, sources, f'{other}/', workers, counts=counts[2],
      output_format=form) == 3000
  assert counts[0].fields == counts[1].fields == counts[2].fields != {}
  assert content(one) == content(other)
  assert sorted(content(one)) == names(len(ROWS), form)
  about = json.loads((one / folders.SUCCESS).read_text())
  assert {k: about[k] for k in ('rows', 'files', 'format')} == {
      'rows': 3000, 'files': len(ROWS), 'format': form}
  files = sorted(one.glob('part-*'))
  if form == 'parquet':
    parts = [parquet.read_table(f) for f in files]
    assert [len(p) for p in parts] == ROWS
    table = parquet.read_table(whole)
    assert pa.concat_tables(parts).equals(table, check_metadata=True)
    assert about['esmm_jax'] == json.loads(table.schema.metadata[b'esmm_jax'])
  else:
    read = gzip.decompress if form == 'csv.gz' else bytes
    texts = [read(f.read_bytes()).splitlines(True) for f in files]
    assert [len(t) - 1 for t in texts] == ROWS
    lines = read(whole.read_bytes()).splitlines(True)
    assert sum((t[1:] for t in texts), texts[0][:1]) == lines
    assert {t[0] for t in texts} == {lines[0]}


def test_what_others_read(predictor, sources, tmp_path):
  """`_SUCCESS` is no data, for us neither."""
  score(predictor, sources, tmp_path / 'whole.parquet', key='user,item')
  wanted = parquet.read_table(tmp_path / 'whole.parquet')
  folder = tmp_path / 'scores'
  score(predictor, sources, f'{folder}/', key='user,item')
  assert dataset.dataset(folder).to_table().equals(wanted)
  assert pa.Table.from_pandas(
      pd.read_parquet(folder), preserve_index=False).equals(wanted)
  assert pl.read_parquet(folder / '*.parquet').to_arrow().equals(wanted)
  found = [f.path for f in row_files.find([str(folder)])]
  assert [os.path.basename(f) for f in found] == names(len(ROWS))[1:]


def test_a_split(finished, predictor, tmp_path):
  args = predictor, finished.builder(), 'test'
  scoring.score_split(*args, str(tmp_path / 's.parquet'), part_rows=1000)
  num = scoring.score_split(*args, f'{tmp_path}/s/', part_rows=1000)
  assert num == 3000 and sorted(content(tmp_path / 's')) == names(3)
  assert dataset.dataset(tmp_path / 's').to_table().equals(
      parquet.read_table(tmp_path / 's.parquet'))


@pytest.mark.parametrize('by_workers', [False, True])
def test_it_goes_on_after_a_kill(
    by_workers, predictor, sources, workers, tmp_path, monkeypatch
):
  """Parts that are there are not scored again, whenever the kill came."""
  workers = workers if by_workers else None
  whole, folder = tmp_path / 'whole', tmp_path / 'killed'
  score(predictor, sources, f'{whole}/')
  rows = []
  encode = type(predictor).encode
  monkeypatch.setattr(
      type(predictor), 'encode',
      lambda self, columns, *rest: rows.append(len(columns['user']))
      or encode(self, columns, *rest))

  def killed(module, name, when):
    """Scores until a call of a function for which `when` is true."""
    function = getattr(module, name)

    def stops(*args):
      if when(*args):
        raise KeyboardInterrupt
      return function(*args)

    with monkeypatch.context() as patched:
      patched.setattr(module, name, stops)
      with pytest.raises(KeyboardInterrupt):
        score(predictor, sources, f'{folder}/', workers)

  def finishes(part, *_):
    return part.name == '00001-000000000500.parquet'

  killed(scored_parts.Part, 'finish', finishes)
  first = len(rows)
  assert 0 < first < len(ROWS) and content(folder) == {'_parts': None}
  # In the middle of the last names; before and after `_SUCCESS`.
  killed(folders, 'write_part', lambda _, part, __: part[1][5:10] == '00004')
  assert sorted(rows) == sorted(ROWS)  # Each once.
  assert folders.SUCCESS not in content(folder)
  assert any(n.startswith('part-') for n in content(folder))
  killed(folders, 'write_json', lambda path, _: path.endswith('_SUCCESS'))
  assert sorted(content(folder)) == ['_parts', *names(len(ROWS))[1:]]
  killed(scoring.ownership, 'remove', lambda *_: True)
  assert sorted(content(folder)) == sorted([*names(len(ROWS)), '_parts'])
  with pytest.raises(InputError, match='_parts holds parts of another job: ke'):
    score(predictor, sources, f'{folder}/', workers, key='user')
  assert score(predictor, sources, f'{folder}/', workers) == 3000
  assert len(rows) == len(ROWS) and content(folder) == content(whole)


def test_what_stands_there(predictor, sources, tmp_path):
  """Finished scores are replaced on request; other files are never touched."""
  folder = tmp_path / 'scores'
  score(predictor, sources, f'{folder}/')
  with pytest.raises(InputError, match='holds finished scores. Name another'):
    score(predictor, sources, f'{folder}/')
  options = dict(part_rows=1000, overwrite=True, output_format='csv')
  score(predictor, sources, f'{folder}/', **options)
  assert sorted(content(folder)) == names(4, 'csv')
  (folder / '.DS_Store').write_text('')
  score(predictor, sources, f'{folder}/', **options | {'part_rows': 2000})
  assert sorted(content(folder)) == ['.DS_Store', *names(2, 'csv')]
  for name in ('notes.txt', 'part-00002.csv', 'part-00000.parquet', 'a/'):
    path = folder / name
    path.mkdir() if name[-1] == '/' else path.write_text('mine')
    before = content(folder)
    with pytest.raises(InputError, match=f'contains {path.name}, which this'):
      score(predictor, sources, f'{folder}/', **options)
    assert content(folder) == before
    path.rmdir() if name[-1] == '/' else path.unlink()
  os.rename(folder / 'part-00001.csv', tmp_path / 'mine.csv')
  (folder / 'part-00001.csv').symlink_to(tmp_path / 'mine.csv')
  with pytest.raises(InputError, match='contains part-00001.csv, which'):
    score(predictor, sources, f'{folder}/', **options)


@pytest.mark.parametrize('success', [None, '', '{}', '[1]', '{"files": 2}', (
    '{"files": 2, "format": "parquet", "esmm_jax": 3}')])
def test_the_output_of_another_program(success, predictor, sources, tmp_path):
  """Spark's has the same names."""
  folder = tmp_path / 'scores'
  folder.mkdir()
  if success is not None:
    (folder / folders.SUCCESS).write_text(success)
  (folder / 'part-00000.parquet').write_text('theirs')
  before = content(folder)
  first = folders.SUCCESS if success is not None else 'part-00000.parquet'
  for overwrite in (False, True):
    with pytest.raises(InputError, match=f'contains {first}, which this pr'):
      score(predictor, sources, f'{folder}/', overwrite=overwrite)
  assert content(folder) == before


def test_a_file_that_comes_meanwhile(predictor, sources, tmp_path, monkeypatch):
  folder = tmp_path / 'scores'
  schema = joining.schema

  def comes(*args):
    (folder / 'part-00000.parquet').write_text('theirs')
    return schema(*args)

  monkeypatch.setattr(joining, 'schema', comes)
  with pytest.raises(InputError, match='contains part-00000.parquet, which'):
    score(predictor, sources, f'{folder}/')
  assert (folder / 'part-00000.parquet').read_text() == 'theirs'


def test_refused(predictor, sources, tmp_path):
  with pytest.raises(InputError, match='--output_format=csv applies to'):
    score(predictor, sources, tmp_path / 's.csv', output_format='csv')
  with pytest.raises(InputError, match="--output_format is 'xml', which is"):
    score(predictor, sources, f'{tmp_path}/s/', output_format='xml')
  with pytest.raises(InputError, match="/s/part-00000.csv: a CSV file cannot"):
    score(predictor, sources, f'{tmp_path}/s/', output_format='csv',
          key='history')
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(InputError, match='--output=.*/file/: .*irectory'):
    score(predictor, sources, f'{tmp_path}/file/')
  with pytest.raises(InputError, match='a folder at a URL is not'):
    score(predictor, sources, 's3://bucket/scores/')


@pytest.mark.parametrize('form', folders.FORMS[:2])
def test_keys_of_two_types(form, finished, predictor, workers, tmp_path):
  """All files have the type of the first; or are refused as one file is."""
  table = finished.table(0, 900)
  wide = table.append_column('id', pa.array(range(900), pa.int64()))
  narrow = wide.set_column(
      wide.column_names.index('id'), 'id', pa.array(range(900), pa.int16()))
  for k, part in enumerate((wide.slice(0, 600), narrow.slice(600))):
    parquet.write_table(part, tmp_path / f'{k}.parquet')
  sources = row_files.find([f'{tmp_path}/*.parquet'])
  (tmp_path / 'out').mkdir()
  score(predictor, sources, tmp_path / f'out/a.{form}', key='id')
  for name, by in (('b', None), ('c', workers)):
    score(predictor, sources, f'{tmp_path}/out/{name}.{form}/', by, key='id')
  one, other = tmp_path / f'out/b.{form}', tmp_path / f'out/c.{form}'
  assert content(one) == content(other)
  whole, parts = (
      dataset.dataset(p, format=form).to_table() for p in (
          tmp_path / f'out/a.{form}', one))
  assert parts.equals(whole) and parts['id'].to_pylist() == [*range(900)]
  texts = wide.set_column(
      wide.column_names.index('id'), 'id', pa.array(['x'] * 900))
  parquet.write_table(texts, tmp_path / '1.parquet')
  with pytest.raises(InputError, match='has another type than in the first'):
    score(predictor, sources, f'{tmp_path}/out/d.{form}/', workers, key='id')


def test_copies_are_files_of_their_own(finished, predictor, tmp_path, capsys):
  """Each row is scored under the name of its file, with a warning."""
  for name in ('a', 'b', 'c'):
    table = finished.table(0, 90) if name < 'c' else finished.table(90, 99)
    parquet.write_table(table, tmp_path / f'{name}.parquet')
  sources = row_files.find([f'{tmp_path}/*.parquet'])
  assert score(predictor, sources, f'{tmp_path}/scores/') == 189
  a, b, _ = (f.path for f in sources)
  assert capsys.readouterr().err.splitlines()[0] == (
      f'warning: {a} and {b} hold the same bytes: their rows are scored 2'
      ' times, and count as often in a history.')
  one, other, _ = (
      parquet.read_table(f) for f in sorted((tmp_path / 'scores').glob('p*')))
  assert one.drop_columns('file').equals(other.drop_columns('file'))
  assert {*one['file'].to_pylist(), *other['file'].to_pylist()} == {a, b}
