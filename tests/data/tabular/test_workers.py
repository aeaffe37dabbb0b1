"""A log that several workers prepare: the same bytes as of one."""

import os
import pathlib
import signal

from esmm_jax.data.files import row_files
from esmm_jax.data.tabular import rows
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.moments import Moments
from esmm_jax.data.tabular.passes import parts
from esmm_jax.data.tabular.rows import Log, Span
from esmm_jax.engines import choice
from esmm_jax.engines.local import Processes
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
import pytest

from tests.engines import doing

NUM = 240
OPTIONS = dict(
    id='user,item:table=goods', ids='tags,seen:table=goods:min_count=2',
    float='price,age:scaling=log', group='user', min_count=2, shard_rows=100)
# Name -> its options beside these.
CASES = {
    'random': dict(weight='weight'),
    'by user': dict(split_by='user', labels='weight:kind=regression:name=paid'),
    'time': dict(split='time', time='time'),
    'column': dict(split='column', split_column='part'),
    'history': dict(
        split='time', time='time', history='user:delay=10m,item,session=user',
        history_form='float'),
    'cells': dict(
        id='user,item:table=goods,price:buckets=4,age:edges=20|40.5',
        crosses='price.bucket*user:min_count=3,item*user,age.bucket*item'),
}


def log(seed=0, num=NUM):
  rng = np.random.default_rng(seed)
  some = lambda texts: np.array(texts, object)[rng.integers(0, len(texts), num)]
  click = rng.integers(0, 2, num)
  names = np.array(['train', 'Train', 'valid', 'test', 'none'])
  return pa.table({
      'user': some(['u1', 'u2', 'u3', 'u4', None]),
      'item': rng.integers(0, 30, num),
      'tags': some(['a|b', 'c', 'b|c|d', '']),
      'seen': some(['1|2', '30', '7|8|9']),
      'price': rng.lognormal(size=num),
      'age': rng.normal(40, 10, num).astype(np.float32),
      'weight': rng.uniform(.1, 3, num),
      'time': 1_650_000_000 + rng.integers(0, 10**6, num),
      'part': names[rng.choice(5, num, p=(.4, .3, .1, .15, .05))],
      'click': click,
      'conversion': click * rng.integers(0, 2, num),
  })


def write(table, folder, form):
  """Writes files; returns what dataset.files is."""
  os.makedirs(folder, exist_ok=True)
  if form == 'row groups':
    parquet.write_table(table, folder / 'log.parquet', row_group_size=23)
  cuts = {'csv': (0, 50, 50, 51, NUM), 'mixed': (0, 5, 150, 151, NUM)}
  ends = cuts.get(form, ())
  for k, (low, high) in enumerate(zip(ends, ends[1:])):
    some = table.slice(low, high - low)
    if form == 'mixed' and k % 2:
      parquet.write_table(some, folder / f'{k}.parquet', row_group_size=23)
    else:
      csv.write_csv(some, folder / f'{k}.csv')
  return str(folder / '*')


def prepared(data_dir, files, engine, workers, **options):
  """The prepared data: path -> bytes."""
  data = Tabular.from_options(str(data_dir), files=files, **options)
  with choice.using(engine, workers):
    data.prepare()
  return contents(data.data_path)


def contents(folder):
  """Path -> bytes, of all but the list that has times of files."""
  return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in pathlib.Path(folder).rglob('*')
      if path.is_file() and path.name != 'sha256.json'}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(rows, 'READ_ROWS', 16)
  monkeypatch.setitem(choice.ENGINES, 'backwards', doing.Backwards)
  monkeypatch.setitem(choice.ENGINES, 'killing', Killing)
  monkeypatch.setitem(choice.ENGINES, 'always', Always)


@pytest.mark.parametrize('case, form', [
    ('random', 'row groups'), ('random', 'csv'), ('by user', 'mixed'),
    ('time', 'csv'), ('column', 'row groups'), ('history', 'mixed'),
    ('cells', 'mixed'),
    pytest.param('history', 'row groups', marks=pytest.mark.long)])
def test_the_same_bytes(case, form, tmp_path):
  files = write(log(), tmp_path / 'log', form)
  options = OPTIONS | CASES[case]
  one, two = (
      prepared(tmp_path / engine, files, engine, k, **options)
      for engine, k in (('local', 1), ('backwards', 2)))
  assert any(path.endswith('.npy') for path in one) and one == two


def test_the_same_bytes_of_files_for_splits(tmp_path):
  paths = [write(log(k), tmp_path / f'{k}', 'csv') for k in range(2)]
  options = OPTIONS | dict(
      split='files', test_files=paths[1], valid_share=.3)
  one, two = (
      prepared(tmp_path / engine, paths[0], engine, k, **options)
      for engine, k in (('local', 1), ('backwards', 2)))
  assert one == two


def test_pieces_that_are_cut_by_their_size(tmp_path, monkeypatch):
  """A file whose rows are too large for that is one part."""
  monkeypatch.setattr(row_files, 'PIECE_BYTES', 1500)
  files = write(log(), tmp_path / 'log', 'row groups')
  one, two = (
      prepared(tmp_path / engine, files, engine, k, **OPTIONS)
      for engine, k in (('local', 1), ('backwards', 2)))
  assert one == two


def spans(paths, workers, cut_files=True):
  options = OPTIONS | dict(files=','.join(map(str, paths)))
  found = Log(Tabular.from_options('unused', **options).builder_config)
  return [part.spans for part in parts.plan(found, workers, cut_files)]


def test_the_parts(tmp_path):
  write(log(), tmp_path, 'row groups')
  path = tmp_path / 'log.parquet'
  assert spans([path], 1) == spans([path], 4, False) == [(Span(0),)]
  # Behind the beginnings of groups, 23, 46 and so on, at multiples of 16.
  cuts = [-(-begin // 16) * 16 for begin in range(0, NUM - 16, 23)]
  whole = [(Span(0, a, b),) for a, b in zip(cuts, [*cuts[1:], NUM])]
  assert spans([path], 16) == whole
  four = spans([path], 1000)
  assert four == whole
  two = spans([path], 2)
  assert 4 <= len(two) <= 8
  assert two[0][0].first == 0 and two[-1][0].stop == NUM
  assert [s.stop for (s,) in two[:-1]] == [s.first for (s,) in two[1:]]
  write(log(), tmp_path / 'csv', 'csv')
  # Bytes: 50 of 240 rows, none, 1 and 189; four parts for each worker.
  files = sorted((tmp_path / 'csv').iterdir())
  assert spans(files, 2) == [(Span(0),), (Span(1), Span(2)), (Span(3),)]


def test_sums_of_floats_have_the_bits_of_one_pass():
  numbers = np.random.default_rng(0).lognormal(size=100)
  one, first, second = Moments(True), Moments(True), Moments(True)
  for k, values in enumerate(np.split(numbers, 5)):
    one.add(values)
    (first if k < 2 else second).add(values)
  total = Moments(True)
  total.merge(first)
  total.merge(second)
  assert (total.mean, total.std) == (one.mean, one.std)
  assert total.farthest(0, 1) == one.farthest(0, 1)
  logs = np.log1p(numbers)
  np.testing.assert_allclose([one.mean, one.std], [logs.mean(), logs.std()])


# What is wrong with each file -> its column, a row and the value there.
BAD = [
    {1: ('click', 7, '2'), 3: ('click', 0, '3')},
    {3: ('price', 40, 'much')},
    {0: ('conversion', 3, ''), 3: ('price', 2, 'x')},
    {3: ('weight', 50, '-1')},
    {2: ('quote', 0, '"'), 3: ('price', 2, 'x')},
    {0: ('time', 20, 'x'), 3: ('time', 0, 'y')},
    {3: ('time', 5, '2022-04-01')},
    {1: ('missing', 0, ''), 3: ('price', 2, 'x')},
    {0: ('price', 2, 'x'), 1: ('missing', 0, '')},
]


@pytest.mark.parametrize('bad', BAD)
def test_the_first_bad_value(bad, tmp_path):
  columns = {column for column, _, _ in bad.values()}
  case = CASES['time' if 'time' in columns else 'random']
  options = OPTIONS | case | dict(weight='weight')
  for k in range(4):
    some = log().slice(60 * k, 60).to_pydict()
    column, row, value = bad.get(k, ('', 0, ''))
    if column == 'missing':
      del some['age']
    elif column and column != 'quote':
      some[column] = list(map(str, some[column]))
      some[column][row] = value
    csv.write_csv(pa.table(some), tmp_path / f'{k}.csv')
    if column == 'quote':
      with open(tmp_path / f'{k}.csv', 'a', encoding='utf-8') as f:
        f.write('"')
  words = []
  for engine, workers in (('local', 1), ('backwards', 4)):
    with pytest.raises(InputError) as error:
      prepared(
          tmp_path / engine, str(tmp_path / '*.csv'), engine, workers,
          **options)
    words.append(str(error.value))
    assert not list((tmp_path / engine).rglob('*.partial'))
  assert words[0] == words[1] and f'{min(bad)}.csv' in words[0]


class Killing(Processes):
  """Processes of which that of the second part is killed once in each pass."""

  times = 1

  def __init__(self, workers, address=''):
    super().__init__(workers)

  def map(self, function, shared, parts, folder, tell):
    """See the base class."""
    note = os.path.join(folder, f'note-{function.__name__}')
    whole = self.times, note, function, shared
    yield from super().map(killed_in_the_middle, whole, parts, folder, tell)
    pathlib.Path(note).unlink(missing_ok=True)


class Always(Killing):
  times = 9


def killed_in_the_middle(whole, part, tell):
  """Calls a function; kills the process where it tells of rows, or ends."""
  times, note, function, shared = whole

  def die(num_rows):
    tell(num_rows)
    if part.number == 1:
      with open(note, 'a', encoding='utf-8') as f:
        f.write('x')
      if os.path.getsize(note) <= times:
        os.kill(os.getpid(), signal.SIGKILL)

  result = function(shared, part, die)
  die(0)
  return result


@pytest.mark.long
def test_a_worker_that_is_killed(tmp_path, capsys):
  files = write(log(), tmp_path / 'log', 'csv')
  one, two = (
      prepared(tmp_path / engine, files, engine, k, **OPTIONS)
      for engine, k in (('local', 1), ('killing', 2)))
  assert one == two
  again = 'by signal 9 (SIGKILL); another one does part 2 of 3 again.'
  assert capsys.readouterr().err.count(again) == 3  # In each pass.


@pytest.mark.long
def test_workers_that_are_killed_each_time(tmp_path):
  files = write(log(), tmp_path / 'log', 'csv')
  with pytest.raises(InputError, match='SIGKILL.*3 times at part 2 of 3'):
    prepared(tmp_path / 'data', files, 'always', 2, **OPTIONS)
  assert not [
      name for _, _, names in os.walk(tmp_path / 'data') for name in names
      if name.endswith(('.npy', '.pickle', '.json'))]


@pytest.mark.long
@pytest.mark.parametrize('case, form', [
    ('random', 'csv'), ('history', 'row groups')])
def test_the_same_bytes_of_processes(case, form, tmp_path):
  files = write(log(), tmp_path / 'log', form)
  options = OPTIONS | CASES[case]
  one, two, four = (
      prepared(tmp_path / f'{k}', files, 'local', k, **options)
      for k in (1, 2, 4))
  assert one == two == four
