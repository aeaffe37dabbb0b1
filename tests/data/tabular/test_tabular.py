"""Somebody's own log: what is prepared of a few rows, in every form of file."""

import json
import os
import pathlib
import shutil

import esmm_jax
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder, Scaling
from esmm_jax.schema import Schema
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError, Ragged
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from configs import esmm
from tests.parallel import forking

# Ten rows; the last four are no training rows.
ROWS = {
    'user': ['a', 'b', 'a', 'c', 'a', 'b', 'd', 'a', None, 'b'],
    'item': [7, 7, 9, 9, 9, 8, 7, 5, 8, 9],
    'tags': [
        ['x'], [], ['y', 'x', 'x'], None, ['x', 'y'], ['z'], ['x', 'w'], ['y'],
        [], ['z', 'x']],
    'price': [1.0, 2.0, None, 4.0, 5.0, 8.0, 1e3, None, 3.0, -1.0],
    'clicked': [1, 0, 1, 1, 0, 1, 1, 0, 1, 1],
    'bought': [1, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    'day': [1, 1, 1, 2, 2, 2, 3, 3, 4, 4],
    'part': ['train'] * 6 + ['valid'] * 2 + ['test'] * 2,
}
OPTIONS = dict(
    id='user,item', ids='tags:combiner=sum:max_len=2', float='price',
    click='clicked', conversion='bought', group='user', split='time',
    time='day', valid_from='3', test_from='4')


def table(**changes):
  columns = ROWS | changes
  return pa.table({k: v for k, v in columns.items() if v is not None})


def write(rows, path):
  """Writes a file in the form that its name says."""
  path = str(path)
  if path.endswith('.parquet'):
    parquet.write_table(rows, path)
    return path
  tags = [None if t is None else '|'.join(t) for t in rows['tags'].to_pylist()]
  k = rows.column_names.index('tags')
  rows = rows.set_column(k, 'tags', pa.array(tags, pa.string()))
  if path.endswith('.gz'):
    with pa.output_stream(path, compression='gzip') as f:
      csv.write_csv(rows, f)
  else:
    csv.write_csv(rows, path)
  return path


def prepared(tmp_path, files, **options):
  """The data set of files."""
  files = files if isinstance(files, str) else ','.join(map(str, files))
  options = OPTIONS | options
  if options['split'] != 'time':  # Those are of that rule alone.
    options |= dict(time='', valid_from='', test_from='')
  return Tabular.from_options(
      str(tmp_path / 'data'), files=files, **options).prepare()


def read(data):
  """Split -> all its columns."""
  return {
      name: (source := data.as_data_source(name)).read(0, len(source))
      for name in data.info.splits}


def assert_same(a, b):
  assert a.keys() == b.keys()
  for split in a:
    assert a[split].keys() == b[split].keys()
    for name, mine in a[split].items():
      other = b[split][name]
      if isinstance(mine, Ragged):
        np.testing.assert_array_equal(mine.offsets, other.offsets)
        assert (mine.weights is None) == (other.weights is None)
        if mine.weights is not None:
          np.testing.assert_array_equal(mine.weights, other.weights)
        mine, other = mine.values, other.values
      assert mine.dtype == other.dtype, name
      np.testing.assert_array_equal(mine, other, err_msg=name)


def test_what_is_made_of_ten_rows(tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'log.parquet'))
  found = read(data)
  train, valid, test = (found[s] for s in ('train', 'valid', 'test'))
  # a: 3 rows, b: 2; c is rare, d was never seen, 0 is missing.
  assert train['user'].tolist() == [2, 3, 2, 1, 2, 3]
  assert valid['user'].tolist() == [1, 2]
  assert test['user'].tolist() == [0, 3]
  # 9: 3 rows, 7: 2.
  assert train['item'].tolist() == [3, 3, 2, 2, 2, 1]
  assert valid['item'].tolist() == [3, 1]
  # x: 1 + 1 + 1 of the first two entries of the rows, y: 2.
  tags = train['tags']
  assert tags.offsets.tolist() == [0, 1, 1, 3, 3, 5, 6]
  assert tags.values.tolist() == [2, 3, 2, 2, 3, 1]
  assert test['tags'].values.tolist() == [1, 2]
  known = np.array([1, 2, 4, 5, 8.0])
  scaled = (ROWS['price'][3] - known.mean()) / known.std()
  assert train['price'][3] == np.float32(scaled)
  assert train['price'][2] == valid['price'][1] == 0
  assert valid['price'][0] == np.float32((1e3 - known.mean()) / known.std())
  assert train['click'].tolist() == ROWS['clicked'][:6]
  assert test['conversion'].tolist() == [1, 0]
  assert valid['row_number'].tolist() == [6, 7]
  # All users have a number, those of no training row too.
  groups = np.concatenate([f['group_key'] for f in found.values()])
  assert groups.tolist() == [1, 2, 1, 3, 1, 2, 4, 1, 0, 2]
  fields = {f.name: f for f in data.schema.fields}
  assert fields['user'].vocab_size == 4 and fields['tags'].vocab_size == 4
  assert (fields['tags'].max_len, fields['tags'].combiner) == (2, 'sum')
  assert data.report['splits']['train'] == {
      'rows': 6, 'click': 4, 'conversion': 2}


FORMS = {
    'csv': ['log.csv'],
    'gzip': ['log.csv.gz'],
    'parts': [(0, 3, 'a.parquet'), (3, 10, 'b.parquet')],
    'mixed': [(0, 7, 'a.csv'), (7, 10, 'b.parquet')],
}


TAKEN_ELSEWHERE = (
    'conversion_if_clicked p_ctr p_cvr p_cvr_clicked p_ctcvr cart'
    ' cart_if_clicked p_atr is_click is_like is_follow is_comment is_forward'
    ' is_hate long_view play_time play_time_ms profile_stay_time'
    ' comment_stay_time is_profile_enter ctcvr_label'.split()
)


@pytest.mark.parametrize(
    'kind, column', [('id', 'user'), ('ids', 'tags'), ('float', 'price')])
def test_labels_of_other_data_sets_are_names_as_any_other(
    kind, column, tmp_path):
  """What is a label there may be a feature of one's own log."""
  more = dict.fromkeys(TAKEN_ELSEWHERE, ROWS[column])
  path = write(table(**more), tmp_path / 'log.parquet')
  inputs = {'id': '', 'ids': '', 'float': ''}
  options = inputs | {kind: ','.join([column, *TAKEN_ELSEWHERE])}
  data = prepared(tmp_path, path, **options)
  for columns in read(data).values():
    for name in TAKEN_ELSEWHERE:
      assert_same(
          {'x': {'x': columns[name]}}, {'x': {'x': columns[column]}})
  some = parts.schema(data, ['play_time', 'cart'], [])
  assert [f.name for f in some.fields] == ['play_time', 'cart']
  assert Schema.from_dict(json.loads(json.dumps(some.to_dict()))) == some
  encoder = Encoder.load(os.path.join(data.encoder_folder))
  new = encoder.encode(dict.fromkeys(options[kind].split(','), table()[column]))
  assert_same({'x': {'x': new['cart']}}, {'x': {'x': new[column]}})


@pytest.mark.parametrize('kind', ['id', 'ids', 'float'])
@pytest.mark.parametrize('label', ['clicked', 'carted', 'bought'])
def test_own_labels_are_no_features(label, kind):
  labels = dict(click='clicked', cart='carted', conversion='bought')
  with pytest.raises(InputError, match=f"'{label}' is a label"):
    TabularConfig.from_options(
        {'files': 'x.csv', kind: f'other,{label}', **labels})


@pytest.mark.parametrize('form', FORMS)
def test_the_form_of_the_files_changes_nothing(form, tmp_path):
  one = prepared(tmp_path, write(table(), tmp_path / 'log.parquet'))
  files = []
  for part in FORMS[form]:
    low, high, name = (0, 10, part) if isinstance(part, str) else part
    (tmp_path / form).mkdir(exist_ok=True)
    rows = table().slice(low, high - low)
    files.append(write(rows, tmp_path / form / name))
  pattern = str(tmp_path / form / '*')
  for given in (files, pattern):
    two = prepared(tmp_path, given)
    mine, other = read(one), read(two)
    for split in mine:
      for name in ('row_number', 'file_number'):
        mine[split].pop(name), other[split].pop(name)
    assert_same(mine, other)
  assert list(two.report['files']) == sorted(files)


def test_shards_and_small_reads(tmp_path, monkeypatch):
  from esmm_jax.data.tabular import rows as tabular_rows

  path = write(table(), tmp_path / 'log.parquet')
  one = prepared(tmp_path, path)
  monkeypatch.setattr(tabular_rows, 'READ_ROWS', 3)
  two = prepared(tmp_path, path, shard_rows=2)
  assert two.info.splits['train'].shard_lengths == [2, 2, 2]
  assert_same(read(one), read(two))
  assert 'pieces' not in os.listdir(two.data_path)


def test_remote_files(tmp_path):
  import fsspec

  with fsspec.open('memory://logs/log.parquet', 'wb') as f:
    parquet.write_table(table(), f)
  local = write(table(), tmp_path / 'log.parquet')
  assert_same(
      read(prepared(tmp_path, 'memory://logs/*.parquet')),
      read(prepared(tmp_path, local)))


@pytest.mark.parametrize('options, days', [
    (dict(split='column', split_column='part'), [6, 2, 2]),
    (dict(valid_from='', test_from='', valid_share=0.2, test_share=0.2),
     [6, 2, 2]),
    (dict(valid_from='2'), [3, 5, 2]),
    # Rows of one time stay together, in the later split.
    (dict(valid_from='', test_from='', valid_share=0.2, test_share=0.1),
     [6, 2, 2]),
    (dict(valid_from='', valid_share=0.0), [8, 2]),
    (dict(valid_from='', test_from='', valid_share=0.0, test_share=0.2),
     [8, 2]),
    # With test_from the share is of the rows before it.
    (dict(valid_from='', valid_share=0.25), [6, 2, 2]),
    (dict(valid_from='', valid_share=0.5, test_from='3'), [3, 3, 4]),
])
def test_the_rules_of_splits(options, days, tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'x.parquet'), **options)
  assert [s.num_examples for s in data.info.splits.values()] == days


def test_the_order_of_the_files_changes_no_id(tmp_path):
  parts = [table().slice(0, 4), table().slice(4)]
  paths = [write(p, tmp_path / f'{k}.csv') for k, p in enumerate(parts)]
  one, two = (prepared(tmp_path, p) for p in (paths, paths[::-1]))
  assert one.data_path != two.data_path
  for split, columns in read(one).items():
    other = read(two)[split]
    place = lambda c: np.lexsort((c['row_number'], c['file_number']))
    for data in (columns, other):  # As the files are named.
      names = list(one.report['files'])
      there = list((one if data is columns else two).report['files'])
      number = np.array([names.index(n) for n in there])
      data['file_number'] = number[data['file_number']]
    for name in ('user', 'item', 'group_key', 'click', 'price'):
      a, b = columns[name][place(columns)], other[name][place(other)]
      np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)


def test_the_same_options_are_the_same_data():
  """Numbers on a command line, texts in a config."""
  config = dict(id='a', time='t', split='time')
  typed = TabularConfig.from_options(
      config | dict(valid_from=20220503, test_share=0))
  written = TabularConfig.from_options(
      config | dict(valid_from='20220503', test_share=0.0))
  assert typed.name == written.name
  other = TabularConfig.from_options(config | dict(valid_from='20220504'))
  assert other.name != written.name


@pytest.mark.slow
def test_prepare_data_is_what_training_reads(tmp_path):
  path, data = str(tmp_path / 'log.csv'), str(tmp_path / 'data')
  csv.write_csv(many(), path)
  with forking.Program('experiments.prepare_data') as program:
    given = [f'--option={k}={v}' for k, v in RANDOM.items()]
    done = program.run(
        '--dataset=tabular', f'--data_dir={data}', f'--option=files={path}',
        '--option=valid_share=0.2', *given)
    assert 'Prepared: ' in done.stdout, done.stderr
    keys = [f'--config.dataset.{k}={v}' for k, v in RANDOM.items()]
    config = [
        '--config=configs/esmm.py:tabular', f'--data_dir={data}',
        f'--config.dataset.files={path}', '--config.dataset.valid_share=0.2']
    done = program.run(*config, *keys)
    assert 'Prepared before: ' in done.stdout, done.stderr
    assert 'train: ' in done.stdout
    done = program.run(*config, '--dataset=tabular')
    assert done.returncode == 2 and 'exclude each other' in done.stderr
  folder = parts.data_builder(
      config_of(path, **{'dataset.valid_share': 0.2}).dataset, data)
  assert folder.info.splits['valid'].num_examples > 700


def test_dates(tmp_path):
  days = [f'2022-04-0{d}' for d in ROWS['day']]
  ways = [days, pa.array(days).cast(pa.timestamp('s'))]
  for k, way in enumerate(ways):
    path = write(table(day=way), tmp_path / f'log{k}.parquet')
    data = prepared(
        tmp_path, path, valid_from='2022-04-03', test_from='2022-04-04')
    lengths = [s.num_examples for s in data.info.splits.values()]
    assert lengths == [6, 2, 2]


def test_files_of_splits(tmp_path):
  parts = [(0, 6), (6, 8), (8, 10)]
  paths = [
      write(table().slice(a, b - a), tmp_path / f'{a}.csv') for a, b in parts]
  data = prepared(
      tmp_path, paths[0], split='files', valid_files=paths[1],
      test_files=paths[2])
  by_time = prepared(tmp_path, write(table(), tmp_path / 'log.csv'))
  mine, other = read(data), read(by_time)
  for split in mine:
    for name in ('row_number', 'file_number'):
      mine[split].pop(name), other[split].pop(name)
  assert_same(mine, other)


def many(num=4000):
  """A log in which the item decides."""
  rng = np.random.default_rng(0)
  item = rng.integers(0, 20, num)
  click = (rng.random(num) < 0.1 + 0.04 * item).astype(int)
  return pa.table({
      'user': [f'u{k}' for k in rng.integers(0, 300, num)], 'item': item,
      'clicked': click, 'bought': click * (rng.random(num) < 0.4).astype(int)})


RANDOM = dict(
    id='user,item', click='clicked', conversion='bought', group='user')


def test_a_random_split(tmp_path):
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(many(), path)
  make = lambda **more: Tabular.from_options(
      str(tmp_path / 'data'), files=path, **RANDOM, **more).prepare()
  data = make()
  sizes = {k: s.num_examples for k, s in data.info.splits.items()}
  assert sum(sizes.values()) == 4000
  for name in ('valid', 'test'):
    assert abs(sizes[name] - 400) < 4 * np.sqrt(4000 * 0.1 * 0.9)
  other = make(split_seed=1)
  rows = [d.as_data_source('test').read(0, 9)['row_number'] for d in
          (data, other)]
  assert rows[0].tolist() != rows[1].tolist()
  by_user = read(make(split_by='user', test_share=0.3))
  users = [set(c['group_key'].tolist()) for c in by_user.values()]
  assert not users[0] & users[1] and not users[0] & users[2]
  assert abs(len(users[2]) - 90) < 4 * np.sqrt(300 * 0.3 * 0.7)


def config_of(path, **more):
  config = esmm.get_config('tabular')
  config.dataset.update(files=path, **RANDOM)
  config.update(batch_size=128, num_epochs=3, learning_rate=3e-2)
  config.model.update(embed_dim=4, tower_units=(8,))
  config.update_from_flattened_dict(more)
  return config


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_a_run_on_it_and_its_predictions(tmp_path):
  path, run = str(tmp_path / 'log.csv'), str(tmp_path / 'run')
  csv.write_csv(many(), path)
  config = config_of(path, save_predictions=True)
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  assert results['test/ctr/auc'] > 0.6 and results['test/ctr/gauc'] > 0.5
  # Neither log nor prepared data are needed any more.
  data = parts.dataset(config.dataset, str(tmp_path / 'data'))
  test = data.as_data_source('test')
  rows = test.read(0, len(test))['row_number']
  shutil.rmtree(tmp_path / 'data')
  raw = many().take(rows)
  os.remove(path)
  model = esmm_jax.load(run)
  assert model.names == ['user', 'item']
  saved = parquet.read_table(tmp_path / 'run/predictions/test.parquet')
  scores = model.predict(raw)
  for name in ('p_ctr', 'p_cvr', 'p_ctcvr'):
    np.testing.assert_allclose(scores[name], saved[name], rtol=1e-5)
  # A new user is a rare one; whatever kind of number an item is.
  new = model.predict({'user': ['nobody', None], 'item': ['3', 3.0]})
  old = model.predict({'user': ['somebody', ''], 'item': [3, 3]})
  np.testing.assert_array_equal(new['p_cvr'], old['p_cvr'])
  with pytest.raises(InputError, match=r"row 1: column 'item' is 3.5; it must"):
    model.predict({'user': ['a', 'b'], 'item': [1.0, 3.5]})
  with pytest.raises(InputError, match="no column 'item'"):
    model.predict({'user': ['a']})
  os.truncate(os.path.join(run, 'encoder', 'vocabulary-001.parquet'), 40)
  with pytest.raises(InputError, match='vocabulary-001.parquet cannot be read'):
    esmm_jax.load(run)


def test_the_encoder_is_kept(tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'log.csv'))
  encoder = Encoder.load(data.encoder_folder)
  assert encoder.values('user') == ['a', 'b']
  assert encoder.values('item') == ['9', '7']
  assert encoder.raw_names == ['user', 'item', 'tags', 'price']
  encoder.select(['item']).save(str(tmp_path / 'again'))
  again = Encoder.load(str(tmp_path / 'again'))
  assert again.encode({'item': [9, 1]})['item'].tolist() == [2, 1]
  path = tmp_path / 'again' / 'encoder.json'
  about = json.loads(path.read_text())
  path.write_text(json.dumps(about | {'version': 2}))
  with pytest.raises(InputError, match='encoder.json cannot be read'):
    Encoder.load(str(tmp_path / 'again'))


def test_what_is_prepared_is_of_these_files(tmp_path):
  path = write(table(), tmp_path / 'log.csv')
  data = prepared(tmp_path, path)
  again = prepared(tmp_path, path)
  assert again.data_path == data.data_path
  whole = pathlib.Path(path).read_bytes()
  pathlib.Path(path).write_bytes(whole.replace(b'a', b'b'))
  with pytest.raises(InputError, match='log.csv has as many .* other content'):
    prepared(tmp_path, path)
  pathlib.Path(path).write_bytes(whole)
  prepared(tmp_path, path)
  os.remove(path)
  prepared(tmp_path, path)  # It is not needed any more.
  write(table().slice(0, 8), path)
  with pytest.raises(InputError, match='prepared from other files:.*log.csv'):
    prepared(tmp_path, path)


def test_a_file_that_is_gone_and_one_that_was_changed(tmp_path):
  """Of several files those that are left are compared."""
  paths = [
      write(table().slice(k, 5), tmp_path / f'{k}.csv') for k in (0, 5)]
  prepared(tmp_path, paths)
  os.remove(paths[1])
  prepared(tmp_path, paths)
  path = pathlib.Path(paths[0])
  whole = path.read_bytes()
  path.write_bytes(whole.replace(b'a', b'b'))
  with pytest.raises(InputError, match='0.csv has as many .* other content'):
    prepared(tmp_path, paths)
  path.write_bytes(whole + whole)
  with pytest.raises(InputError, match='0.csv was .* bytes then'):
    prepared(tmp_path, paths)


@pytest.mark.parametrize('change', ['value', 'order', 'scaling', 'table'])
def test_encoders_are_told_apart_by_their_values(change, tmp_path):
  encoder = prepared(tmp_path, write(table(), tmp_path / 'log.csv'))
  one = Encoder.load(encoder.encoder_folder)
  assert one.sha256() == encoder.encoder_hashes()['encoder_sha256']
  one.save(str(tmp_path / 'copy'))
  assert Encoder.load(str(tmp_path / 'copy')).sha256() == one.sha256()
  user = one.values('user')
  vocabularies = {t: Vocabulary(pa.array(one.values(t)))
                  for t in ('user', 'item', 'tags')}
  scalings = {'price': Scaling(3.0, 2.0)}
  make = lambda: Encoder(
      one.inputs, one.schema, vocabularies, scalings).sha256()
  before = make()
  if change == 'value':
    vocabularies['user'] = Vocabulary(pa.array([*user[:-1], 'ab']))
  elif change == 'order':
    vocabularies['user'] = Vocabulary(pa.array(user[::-1]))
  elif change == 'scaling':
    scalings['price'] = Scaling(3.0, 2.5)
  else:
    vocabularies['user'], vocabularies['item'] = (
        vocabularies['item'], vocabularies['user'])
  assert make() != before
  # Where one value ends and the next begins counts.
  tags = vocabularies['tags'].values.to_pylist()
  joined = make()
  other = [''.join(tags[:2]), '', *tags[2:]]
  vocabularies['tags'] = Vocabulary(pa.array(other))
  assert make() != joined


def test_columns_of_one_table(tmp_path):
  path = write(table(), tmp_path / 'log.csv')
  data = prepared(
      tmp_path, path, id='user:table=w,part:table=w:min_count=1', ids='tags',
      min_count=1)
  encoder = Encoder.load(data.encoder_folder)
  assert encoder.values('w') == ['train', 'a', 'b', 'c']
  assert data.schema.offsets == {'w': 0, 'tags': 6}
  assert TabularConfig(id='a:max_values=3').inputs[0].max_values == 3
