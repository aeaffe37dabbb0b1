"""Files that workers score: the same bytes, in order, after a kill."""

import os
import signal

import esmm_jax
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.files import file_hashes, row_files
from esmm_jax.engines.local import Processes
from esmm_jax.serving import BatchScorer, scored_parts, scoring
from esmm_jax.serving.predictor import Predictor
from esmm_jax.serving.workers import by_span
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.engines.doing import Backwards
from tests.serving.test_predict import write

PART_ROWS = 500


@pytest.fixture(name='predictor', scope='module')
def _predictor(finished):
  return esmm_jax.load(str(finished.folder))


@pytest.fixture(name='workers')
def _workers(finished, predictor, monkeypatch):
  """They do the last span first, and have loaded the run."""
  monkeypatch.setattr(BatchScorer, 'predictor', predictor)
  scorer = BatchScorer(str(finished.folder))
  return by_span.Workers(Backwards(2), scorer)


@pytest.fixture(name='encoded')
def _encoded(monkeypatch):
  """Rows of each part that is scored."""
  calls = []
  encode = Predictor.encode

  def counted(self, columns, *rest):
    calls.append(len(columns['user']))
    return encode(self, columns, *rest)

  monkeypatch.setattr(Predictor, 'encode', counted)
  return calls


def files(table, tmp_path, form='parquet', cuts=(0, 1100, 3000)):
  return row_files.find([write(table, tmp_path / 'in', cuts, form)])


def scored(predictor, sources, path, workers=None, **options):
  """The bytes of the output."""
  options = {'part_rows': PART_ROWS} | options
  num = scoring.score_files(
      predictor, sources, str(path), workers=workers, **options)
  assert num == parquet.read_metadata(path).num_rows
  assert not os.path.exists(f'{path}.parts')
  return path.read_bytes()


@pytest.mark.parametrize('form', ['parquet', 'csv'])
def test_the_same_bytes(form, finished, predictor, workers, tmp_path):
  sources = files(finished.table(), tmp_path, form)
  wanted = scored(predictor, sources, tmp_path / 'a.parquet')
  got = scored(predictor, sources, tmp_path / 'b.parquet', workers)
  assert got == wanted
  keyed = [
      scored(predictor, sources, tmp_path / n, w, key='user,item')
      for n, w in (('c.parquet', None), ('d.parquet', workers))]
  assert keyed[0] == keyed[1] != wanted


def test_spans(finished, tmp_path):
  """Row groups of 700 rows, parts of 500: by no span is a row read twice."""
  sources = files(finished.table(), tmp_path)
  parts = scored_parts.FileParts(
      (), (), 'none', 'product', 500, dialects.DEFAULT)

  def spans(path, cut=True):
    return [s[2:] for s in by_span._spans(parts, 0, path, cut)]

  assert spans(sources[0].path) == [(0, 1000), (1000, 1100)]
  assert spans(sources[1].path) == [(0, 1000), (1000, 1500), (1500, 1900)]
  assert spans(sources[1].path, False) == [(0, None)]
  none = tmp_path / 'none.parquet'
  parquet.write_table(finished.table(0, 0), none)
  assert spans(str(none)) == [(0, None)]
  none.write_text('PAR1')
  assert spans(str(none)) == [(0, None)]


def test_only_what_is_not_there_is_scored(
    finished, predictor, workers, tmp_path, encoded, monkeypatch
):
  """Parts of one process are taken up by workers, and the other way round."""
  sources = files(finished.table(), tmp_path)
  wanted = scored(predictor, sources, tmp_path / 'a.parquet')
  rows = [500, 500, 100, 500, 500, 500, 400]
  assert encoded == rows
  finish = scored_parts.Part.finish

  def stops(self, folder, output):
    if self.name == '00001-000000000500.parquet':
      raise KeyboardInterrupt
    return finish(self, folder, output)

  for first, second, done, rest in (
      (None, workers, rows[:4], [400, 500, 500]),
      (workers, None, [400, 500, 500], [500, 500, 100, 500])):
    path = tmp_path / 'b.parquet'
    encoded.clear()
    with monkeypatch.context() as patched:
      patched.setattr(scored_parts.Part, 'finish', stops)
      with pytest.raises(KeyboardInterrupt):
        scored(predictor, sources, path, first)
    assert encoded == done
    encoded.clear()
    assert scored(predictor, sources, path, second) == wanted
    # A span is read as a whole, but what is there of it is not scored again.
    assert sorted(encoded) == sorted(rest)
    os.remove(path)


def test_the_first_bad_value(finished, predictor, workers, tmp_path):
  """Although workers meet the last one first."""
  table = finished.table()
  column = table['seen_count'].to_pylist()
  for row in (720, 1050, 2950):
    column[row] = float('nan')
  at = table.column_names.index('seen_count')
  bad = table.set_column(at, 'seen_count', pa.array(column))
  sources = files(bad, tmp_path)
  errors = []
  for more in (None, workers):
    with pytest.raises(InputError, match="0.parquet, row 720: .*'seen_count'"
                      ) as error:
      scored(predictor, sources, tmp_path / 'a.parquet', more)
    errors.append(str(error.value))
  assert errors[0] == errors[1]


def test_rows_that_take_much_memory(
    finished, predictor, workers, tmp_path, monkeypatch
):
  """Parts are then those of whole files: 1900 rows in pieces of memory."""
  sources = files(finished.table(), tmp_path)
  monkeypatch.setattr(row_files, 'PIECE_BYTES', 40_000)
  wanted = scored(predictor, sources, tmp_path / 'a.parquet')
  seen = []
  monkeypatch.setattr(
      by_span, '_spans', lambda *args, f=by_span._spans: seen.append(
          args[1:4:2]) or f(*args))
  got = scored(predictor, sources, tmp_path / 'b.parquet', workers)
  assert got == wanted
  assert (1, True) in seen and (1, False) in seen


def test_what_changes_meanwhile(
    finished, predictor, workers, tmp_path, monkeypatch
):
  sources = files(finished.table(), tmp_path, cuts=(0, 600))
  params = dict(predictor.trained.params)
  params['table'] = params['table'] * 2
  again = Predictor(predictor.trained._replace(params=params, stamp=None))
  with pytest.raises(InputError, match='run: the run was trained again while'):
    scored(again, sources, tmp_path / 'a.parquet', workers)
  states = iter(['before', 'after'])
  monkeypatch.setattr(file_hashes, 'state', lambda _: next(states))
  with pytest.raises(InputError, match='0.parquet was changed while it was'):
    scored(predictor, sources, tmp_path / 'b.parquet', workers)


class Dies(by_span.Work):
  """Ends its process once, in the middle of its second span."""

  @property
  def predictor(self):
    """See the base class."""
    path = f'{self.folder}/../tried'
    with open(path, 'a', encoding='utf-8') as f:
      f.write('x')
    if os.path.getsize(path) == 2:
      os.kill(os.getpid(), signal.SIGKILL)
    return super().predictor

  def __reduce__(self):
    """See the base class."""
    return Dies, self._args


@pytest.mark.long
def test_a_killed_worker(finished, predictor, tmp_path, monkeypatch, capsys):
  sources = files(finished.table(), tmp_path)
  wanted = scored(predictor, sources, tmp_path / 'a.parquet')
  monkeypatch.setattr(scoring, 'Work', Dies)
  scorer = BatchScorer(str(finished.folder))
  engine = Processes(2)
  try:
    workers = by_span.Workers(engine, scorer)
    got = scored(predictor, sources, tmp_path / 'b.parquet', workers)
  finally:
    engine.close()
  assert got == wanted
  assert 'a worker process was lost, by signal 9' in capsys.readouterr().err
