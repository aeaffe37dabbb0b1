"""Ali-CCP: what is prepared is what stood in the files, and nothing else."""

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

from esmm_jax.data.ali_ccp import report as reports
from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.ali_ccp.fields import BY_NAME, PRESETS, RAW_FIELDS
from esmm_jax.data.store.sessions import place
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest

from benchmarks.ali_ccp_files import random_block, write_random
from tests import ROOT
from tests.parallel import forking

pytestmark = pytest.mark.slow

SESSIONS = {'train': 60, 'test': 15}
OPTIONS = dict(valid_share=0.25, min_count=3)


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
  folder = tmp_path_factory.mktemp('raw')
  for split, num in SESSIONS.items():
    write_random(str(folder), split, num)
  return folder


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('prepared'))


@pytest.fixture(scope='module')
def ali_ccp(raw, data_dir):
  return prepare(raw, data_dir, **OPTIONS)


def prepare(raw, data_dir, **options) -> AliCcp:
  builder = AliCcp.from_options(
      data_dir=str(data_dir), raw_dir=str(raw), **options
  )
  return builder.prepare()


def written(raw_split: str):
  """What `write_random` wrote, as plain Python.

  Returns:
    Index -> {field: [(id, weight)]} of the common file, and for each skeleton
    row (click, conversion, index, {field: [(id, weight)]}).
  """
  block = random_block(raw_split, 0, SESSIONS[raw_split])

  def triples(of, i):
    found = collections.defaultdict(list)
    for t in range(of.offsets[i], of.offsets[i + 1]):
      name = RAW_FIELDS[of.field[t]].name
      found[name].append((int(of.id[t]), float(of.value[t]) / 1e5))
    return found

  keys = block.keys.tolist()
  common = {k: triples(block.common, i) for i, k in enumerate(keys)}
  skeleton = [
      (
          int(block.click[i]),
          int(block.conversion[i]),
          keys[block.segment_ids[i]],
          triples(block.skeleton, i),
      )
      for i in range(len(block.segment_ids))
  ]
  return common, skeleton


def counted(common, skeleton, keys) -> dict[str, collections.Counter]:
  """Field -> how often training rows hold each id."""
  counts = collections.defaultdict(collections.Counter)
  for click, conversion, key, own in skeleton:
    if key in keys and (click, conversion) != (0, 1):
      for of in (own, common[key]):
        for name, values in of.items():
          counts[name].update(i for i, _ in values)
  return counts


def heaviest_first(name, values):
  """The entries of a list in the order in which they are stored."""
  if not BY_NAME[name].weighted:
    return values
  return sorted(values, key=lambda v: (-np.float32(v[1]), v[0]))


def entries(column, i, weights=None):
  """(ids, weights) of row i of a stored column."""
  if isinstance(column, Ragged):
    a, b = column.offsets[i], column.offsets[i + 1]
    ids = column.values[a:b].tolist()
    if column.weights is None:
      return ids, [1.0] * len(ids)
    return ids, column.weights[a:b].tolist()
  if not column[i]:
    return [], []
  return [int(column[i])], [1.0 if weights is None else float(weights[i])]


def check_split(builder, split, common, rows, counts, dtype=np.float16):
  """Every id, weight, length, label and join of a split."""
  source = builder.as_data_source(split)
  columns, groups = source.read(0, len(source)), source.groups
  id_of = {
      f.name: {int(v): k + 2 for k, v in enumerate(builder.vocabulary(f.name))}
      for f in RAW_FIELDS
  }
  minimum = builder.builder_config.min_count

  def expected(name, values):
    ids, weights, kept = [], [], id_of[name]
    for i, w in heaviest_first(name, values):
      assert (i in kept) == (counts[name][i] >= minimum), (name, i)
      ids.append(kept.get(i, 1))
      weights.append(float(dtype(np.float32(w))))
    return ids, weights

  def check(fields, table, at, of):
    for field in fields:
      found = entries(table[field.name], at, table.get(f'{field.name}.weight'))
      assert found == expected(field.name, of.get(field.name, [])), field

  for g, key in enumerate(groups['common_feature_index'].tolist()):
    check(builder.schema.group_part.fields, groups, g, common[key])
  seen = []
  for i in range(len(source)):
    number = int(columns['sample_id'][i])
    seen.append(number)
    click, conversion, key, own = rows[number - 1]
    assert columns['click'][i] == click
    assert columns['conversion'][i] == conversion
    session = columns['session'][i]
    assert int(groups['common_feature_index'][session]) == key
    check(builder.schema.row_part.fields, columns, i, own)
  return seen


@pytest.mark.slow
def test_every_value_of_every_row(ali_ccp):
  common, skeleton = written('train')
  keys = np.array(list(common), np.uint64)
  split = place(keys, (0.75, 0.25), 1.0).split
  train = {int(k) for k, s in zip(keys, split) if s == 0}
  counts = counted(common, skeleton, train)
  found = {
      s: check_split(ali_ccp, s, common, skeleton, counts)
      for s in ('train', 'valid')
  }
  every = {
      k + 1
      for k, (click, conversion, _, _) in enumerate(skeleton)
      if (click, conversion) != (0, 1)
  }
  assert sorted(found['train'] + found['valid']) == sorted(every)
  assert {skeleton[i - 1][2] for i in found['train']} <= train
  assert not {skeleton[i - 1][2] for i in found['valid']} & train
  common, skeleton = written('test')
  tested = check_split(ali_ccp, 'test', common, skeleton, counts)
  assert len(tested) == sum(
      (click, conversion) != (0, 1) for click, conversion, _, _ in skeleton
  )


def test_ids_are_by_falling_count(ali_ccp):
  common, skeleton = written('train')
  keys = np.array(list(common), np.uint64)
  split = place(keys, (0.75, 0.25), 1.0).split
  train = {int(k) for k, s in zip(keys, split) if s == 0}
  counts = counted(common, skeleton, train)
  for name in ('101', '109_14', '205', '210', '301', '508', '853'):
    ranked = sorted(
        (i for i, n in counts[name].items() if n >= 3),
        key=lambda i: (-counts[name][i], i),
    )
    assert ali_ccp.vocabulary(name).tolist() == ranked
    assert ali_ccp.report['vocab_sizes'][name] == len(ranked) + 2


def test_sessions_stand_together_in_the_order_of_their_hash(ali_ccp):
  source = ali_ccp.as_data_source('train')
  columns = source.read(0, len(source))
  session = columns['session']
  keys = source.groups['common_feature_index'][session]
  order = place(keys, (0.75, 0.25), 1.0).order
  assert (np.diff(order.astype(object)) >= 0).all()
  same = np.diff(session) == 0
  assert (np.diff(columns['sample_id'])[same] > 0).all()
  # A part is not the head of the file.
  part = ali_ccp.as_data_source('train[:30%]')
  ids = part.read(0, len(part))['sample_id']
  assert ids.max() > 0.8 * columns['sample_id'].max()


def test_a_sample_is_the_first_part(raw, ali_ccp, tmp_path):
  small = prepare(raw, tmp_path, sample=0.5, **OPTIONS)
  ids = lambda source: source.read(0, len(source))['sample_id'].tolist()
  for split in ('train', 'valid', 'test'):
    part, whole = (ids(b.as_data_source(split)) for b in (small, ali_ccp))
    assert 0 < len(part) < len(whole) and part == whole[: len(part)]
  dropped = small.report['read']['train']['rows_not_sampled']
  assert dropped > 0
  rows = small.report['splits']
  assert rows['train']['rows'] + rows['valid']['rows'] + dropped <= (
      small.report['read']['train']['rows_read']
  )


def test_report(raw, ali_ccp):
  path = os.path.join(ali_ccp.data_path, 'report.json')
  with open(path, encoding='utf-8') as f:
    report = json.load(f)
  assert report == json.loads(json.dumps(ali_ccp.report))
  _, skeleton = written('train')
  read = report['read']['train']
  assert read['rows_read'] == len(skeleton)
  assert read['clicks_read'] == sum(r[0] for r in skeleton)
  assert read['conversions_read'] == sum(r[1] for r in skeleton)
  for name, file in report['files'].items():
    data = (raw / name).read_bytes()
    assert file == {
        'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()
    }
  assert len(report['files']) == 4
  splits = report['splits']
  for split in ('train', 'valid', 'test'):
    source = ali_ccp.as_data_source(split)
    columns = source.joined(0, len(source))
    assert splits[split]['rows'] == len(source)
    assert splits[split]['clicks'] == columns['click'].sum()
    assert splits[split]['sessions'] == len(np.unique(columns['session']))
    for field in ali_ccp.schema.fields:
      found = splits[split]['fields'][field.name]
      c = columns[field.name]
      if field.kind == 'ids':
        lengths = np.diff(c.offsets)
        assert found['mean_length'] == pytest.approx(lengths.mean())
        assert found['longest'] >= lengths.max()
        filled, rare = (lengths > 0).mean(), (c.values == 1).mean()
      else:
        filled = (c != 0).mean()
        rare = (c[c != 0] == 1).mean()
      assert found['rows_with_value'] == pytest.approx(filled)
      assert found['rare'] == pytest.approx(rare)
  text = '\n'.join(ali_ccp.report_lines())
  for part in (f'{len(skeleton):,}', 'sha256', '109_14', 'shop, met before'):
    assert part in text


@pytest.mark.parametrize('name', PRESETS)
def test_presets_are_frozen(name):
  preset = PRESETS[name]
  assert preset.schema.fingerprint() == preset.fingerprint
  assert len(preset.schema.fields) == int(name[-2:])
  assert preset.min_count == {'esmm23': 10, 'aitm18': 11}[name]


def test_aitm18_has_one_value_a_field(raw, tmp_path):
  small = prepare(raw, tmp_path, preset='aitm18', min_count=1, valid_share=0.0)
  assert set(small.info.splits) == {'train', 'test'}
  names = [f.name for f in small.schema.fields]
  assert names == [
      '101', '121', '122', '124', '125', '126', '127', '128', '129', '205',
      '206', '207', '216', '301', '508', '509', '702', '853',
  ]
  common, skeleton = written('train')
  source = small.as_data_source('train')
  columns = source.joined(0, len(source))
  vocabulary = {n: small.vocabulary(n) for n in names}
  for i in range(len(source)):
    _, _, key, own = skeleton[columns['sample_id'][i] - 1]
    for name in names:
      values = (own | common[key]).get(name, [])
      # 853 may have several; like AITM's script we take the last one.
      raw_id = values[-1][0] if values else None
      k = columns[name][i]
      assert k != 1 and raw_id == (vocabulary[name][k - 2] if k else None)


def test_another_reading_of_the_lists(ali_ccp, data_dir):
  again = AliCcp.from_options(data_dir=data_dir, history_length=5, **OPTIONS)
  lengths = {f.name: f.max_len for f in again.schema.fields}
  assert lengths['109_14'] == lengths['150_14'] == 5 and lengths['210'] == 8
  whole = {f.name: f.max_len for f in ali_ccp.schema.fields}
  assert whole['109_14'] == 16
  with pytest.raises(InputError, match='history_length is 0'):
    AliCcp.from_options(data_dir=data_dir, history_length=0)


# The policies, on files written by hand.

COMMON = '{0},2,101\x025\x031.0\x01109_14\x027\x03{1}\n'
SKELETON = '{0},{1},{2},{3},2,205\x029\x031.0\x01301\x0211\x031.0\n'


def by_hand(folder, train_common, train_skeleton) -> str:
  os.makedirs(folder, exist_ok=True)
  texts = {
      'common_features_train.csv': train_common,
      'sample_skeleton_train.csv': train_skeleton,
      'common_features_test.csv': COMMON.format('ab', 1.5),
      'sample_skeleton_test.csv': SKELETON.format(1, 1, 0, 'ab'),
  }
  for name, text in texts.items():
    with open(os.path.join(folder, name), 'w', encoding='ascii') as f:
      f.write(text)
  return str(folder)


@pytest.mark.parametrize(
    'policy, labels',
    [
        ('drop', {1: (1, 0), 3: (1, 1)}),
        ('keep', {1: (1, 0), 2: (0, 0), 3: (1, 1)}),
        ('click', {1: (1, 0), 2: (1, 1), 3: (1, 1)}),
    ],
)
def test_a_conversion_without_click(tmp_path, policy, labels):
  rows = [(1, 1, 0), (2, 0, 1), (3, 1, 1)]
  raw = by_hand(
      tmp_path / 'raw',
      COMMON.format('ab', 1.5),
      ''.join(SKELETON.format(*r, 'ab') for r in rows),
  )
  data = prepare(
      raw, tmp_path / 'data', conversion_without_click=policy, valid_share=0.0
  )
  found = data.as_data_source('train').read(0, 9)
  assert {
      int(i): (int(c), int(v))
      for i, c, v in zip(
          found['sample_id'], found['click'], found['conversion'])
  } == labels
  read = data.report['read']['train']
  assert read['conversions_without_click'] == 1 and read['rows_read'] == 3


@pytest.mark.parametrize(
    'policy, rows', [('drop', [1, 3]), ('keep', [1, 2, 3])]
)
def test_an_index_without_common_row(tmp_path, policy, rows):
  text = (
      SKELETON.format(1, 1, 0, 'ab')
      + SKELETON.format(2, 1, 0, 'cd')
      + SKELETON.format(3, 1, 0, 'ab')
  )
  raw = by_hand(tmp_path / 'raw', COMMON.format('ab', 1.5), text)
  with pytest.raises(InputError) as e:
    prepare(raw, tmp_path / 'data', valid_share=0.0)
  for part in ('sample_skeleton_train.csv, line 2', 'cd', "'drop'", 'cut off'):
    assert part in str(e.value)
  data = prepare(
      raw, tmp_path / 'data', without_common=policy, valid_share=0.0,
      min_count=2,
  )
  source = data.as_data_source('train')
  columns = source.joined(0, 9)
  assert columns['sample_id'].tolist() == sorted(
      rows, key=lambda i: place(
          np.array([0xCD if i == 2 else 0xAB], np.uint64), (1.0,), 1.0
      ).order[0])
  # User 5 has two rows; the third one counts for its own fields if it is kept.
  two = {2: 0} if policy == 'keep' else {}
  for i, user in zip(columns['sample_id'].tolist(), columns['101'].tolist()):
    assert user == two.get(i, 2)
  assert data.report['read']['train']['rows_without_common'] == 1
  assert data.report['splits']['train']['rows'] == len(rows)


def test_an_index_with_two_common_rows(tmp_path):
  common = COMMON.format('cd', 9.5) + COMMON.format('ab', 1.5) + (
      COMMON.format('AB', 2.5)
  )
  text = SKELETON.format(1, 1, 0, 'ab') + SKELETON.format(2, 1, 0, 'cd')
  raw = by_hand(tmp_path / 'raw', common, text)
  with pytest.raises(InputError, match='common_features_train.csv, line 3'):
    prepare(raw, tmp_path / 'data', valid_share=0.0)
  data = prepare(raw, tmp_path / 'data', valid_share=0.0, bad_lines='drop')
  found = data.as_data_source('train').joined(0, 9)
  weights = dict(zip(found['sample_id'].tolist(), found['109_14'].weights))
  assert weights == {1: 1.5, 2: 9.5}
  text = data.report['text']['common_features_train.csv']
  assert text['bad_lines'] == {'duplicate': 1}


def test_a_bad_line(tmp_path):
  text = SKELETON.format(1, 1, 0, 'ab') + SKELETON.format(2, 7, 0, 'ab')
  raw = by_hand(tmp_path / 'raw', COMMON.format('ab', 1.5), text)
  with pytest.raises(InputError, match='sample_skeleton_train.csv, line 2'):
    prepare(raw, tmp_path / 'data', valid_share=0.0)
  assert not list((tmp_path / 'data').rglob('*.npy'))
  data = prepare(raw, tmp_path / 'data', valid_share=0.0, bad_lines='drop')
  assert data.report['splits']['train']['rows'] == 1
  text = data.report['text']['sample_skeleton_train.csv']
  assert text['bad_lines'] == {'label': 1}
  assert text['first_bad']['label']['line'] == 2


def test_weights_in_float32(tmp_path):
  raw = by_hand(
      tmp_path / 'raw',
      COMMON.format('ab', 1.09861),
      SKELETON.format(1, 1, 0, 'ab'),
  )
  for dtype in ('float16', 'float32'):
    data = prepare(raw, tmp_path / 'd', weight_dtype=dtype, valid_share=0.0)
    (weight,) = data.as_data_source('train').groups['109_14'].weights
    assert weight.dtype == dtype and weight == np.dtype(dtype).type(1.09861)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(preset='esmm32'), ["'esmm32'", "'esmm23'"]),
        (dict(valid_share=1.0), ['dataset.valid_share is 1.0', 'in [0, 1).']),
        (dict(sample=0.0), ['dataset.sample is 0.0', 'in (0, 1].']),
        (dict(bad_lines='ignore'), ['bad_lines', "'ignore'", 'drop, error']),
        (dict(without_common='x'), ['without_common', 'keep']),
        (dict(conversion_without_click='x'), ['click, drop, keep']),
        (dict(min_count=-1), ['min_count is -1', 'in [1, ']),
        (dict(smaple=0.5), ['smaple', 'sample']),
    ],
)
def test_options_that_cannot_be(tmp_path, options, words):
  with pytest.raises(InputError) as e:
    AliCcp.from_options(data_dir=str(tmp_path), **options)
  assert all(w in str(e.value) for w in words), str(e.value)


def test_other_files_are_refused(raw, tmp_path):
  mine = tmp_path / 'raw'
  shutil.copytree(raw, mine)
  prepare(mine, tmp_path / 'd', **OPTIONS)
  with open(mine / 'common_features_test.csv', 'ab') as f:
    f.write(b'\n')
  with pytest.raises(InputError, match='common_features_test.csv was'):
    prepare(mine, tmp_path / 'd', **OPTIONS)
  again = AliCcp.from_options(data_dir=str(tmp_path / 'd'), **OPTIONS)
  assert again.info.splits['train'].num_examples > 0


def test_unprepared_without_raw_files(tmp_path):
  with pytest.raises(InputError, match='raw_dir is not set'):
    AliCcp.from_options(data_dir=str(tmp_path)).prepare()


def test_published_counts():
  good = {
      'train': dict(
          rows_read=42_300_135, clicks_read=1_644_256, conversions_read=9_032,
          conversions_without_click=230),
      'test': dict(
          rows_read=43_016_840, clicks_read=1_673_447, conversions_read=9_421,
          conversions_without_click=226),
  }
  for split, facts in good.items():
    reports.check_published(split, facts)
    for name in facts:
      bad = facts | {name: facts[name] - 1}
      with pytest.raises(InputError, match='check_counts=False'):
        reports.check_published(split, bad)
    few = facts | {'rows_read': 1000}
    reports.check_published(split, few)
  # After dropping: the rows that three public sources agree on.
  dropped = lambda f: f['rows_read'] - f['conversions_without_click']
  assert dropped(good['train']) == 42_299_905
  assert dropped(good['test']) == 43_016_614


def test_the_same_again(raw, ali_ccp, tmp_path):
  """Threads change nothing."""
  again = prepare(raw, tmp_path, threads=1, **OPTIONS)
  theirs = {}
  for root, _, files in os.walk(ali_ccp.data_path):
    for name in files:
      path = os.path.join(root, name)
      theirs[os.path.relpath(path, ali_ccp.data_path)] = path
  assert len(theirs) > 50
  for name, path in theirs.items():
    if name.endswith('.npy') or name == 'report.json':
      with open(path, 'rb') as a, open(again.data_path / name, 'rb') as b:
        assert a.read() == b.read(), name


@pytest.mark.long
def test_a_killed_preparation_leaves_nothing_that_is_taken_for_finished(
    tmp_path,
):
  raw = tmp_path / 'raw'
  write_random(str(raw), 'train', 1500)
  write_random(str(raw), 'test', 5)
  arguments = [
      '--dataset=ali_ccp', f'--raw_dir={raw}',
      f'--data_dir={tmp_path / "data"}',
  ]
  process = subprocess.Popen(
      [sys.executable, '-m', 'experiments.prepare_data', *arguments],
      cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  data = tmp_path / 'data'
  while process.poll() is None and not list(data.rglob('temporary')):
    time.sleep(0.02)
  process.kill()
  process.wait()
  assert list(data.rglob('temporary')), 'it ended too early to be killed'
  assert not AliCcp.from_options(data_dir=str(data)).info.splits
  with forking.Program('experiments.prepare_data') as program:
    for said in ('Prepared: ', 'Prepared before: '):
      done = program.run(*arguments)
      assert done.returncode == 0, done.stderr
      assert done.stdout.startswith(said)
  assert not list(data.rglob('temporary'))
  assert not list(data.rglob('*incomplete*'))
  assert 'Reading' not in done.stderr
