"""Rates, gaps and columns that know the label, of small logs."""

import dataclasses

from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.first_look import gaps, leaks, rates
from esmm_jax.metrics.ranking import auc
import numpy as np
import pytest


def prepare(tmp_path, **more):
  """2,000 rows: train, valid and test by the column `split`."""
  rng = np.random.default_rng(0)
  num = 2000
  click = (rng.random(num) < 0.3).astype(int)
  frame = {
      'user': rng.integers(0, 40, num),
      'click': click,
      'conversion': click * (rng.random(num) < 0.4),
      'split': np.repeat(['train', 'valid', 'test'], [1200, 300, 500]),
      **{name: make(rng, click) for name, make in more.items()},
  }
  inputs = ','.join(['user', *more])
  return frame, Tabular.from_frame(
      frame, str(tmp_path), id=inputs, split='column',
      split_column='split').prepare()


def test_rates(tmp_path):
  frame, builder = prepare(tmp_path)
  tasks = builder.schema.tasks
  of_splits = {}
  for name, rows in (
      ('train', slice(0, 1200)), ('test', slice(1500, None)),
      ('train[:50%]', slice(0, 600))):
    got = of_splits[name] = rates.of_split(builder, name, tasks)
    click = int(frame['click'][rows].sum())
    assert got.rows == len(frame['click'][rows])
    assert got.tasks['ctr'] == (click, got.rows)
    assert got.tasks['cvr'] == (int(frame['conversion'][rows].sum()), click)
  lines = rates.table(of_splits, tasks)
  assert [line.split('  ')[0] for line in lines] == [
      '', 'rows', 'click', 'conversion of click']
  assert len({len(line) for line in lines}) == 1
  click = of_splits['train'].tasks['ctr']
  assert f'{click.positives:,} ({click.positives / 12:.2f}%)' in lines[2]


def test_rates_of_labels_in_memory(tmp_path):
  frame, builder = prepare(tmp_path)
  tasks = builder.schema.tasks
  labels = {k: frame[k][1500:] for k in ('click', 'conversion')}
  assert rates.of_labels(labels, tasks) == rates.of_split(
      builder, 'test', tasks)


def test_a_narrow_terminal_has_names_in_lines_of_their_own():
  rows = [['', 'train', 'test'], ['conversion of click', '1,234', '5']]
  assert rates.aligned(rows, 33) == [
      '                     train  test', 'conversion of click  1,234     5']
  assert rates.aligned(rows, 31) == [
      '  train  test', 'conversion of click', '  1,234     5']


def test_gaps_that_differ():
  """Of ten inputs the eight that differ most, in their order."""
  some = lambda late: {
      f'f{k}': gaps.Share(0.5, late * k / 10) for k in range(11)}
  shares = {'train': some(0), 'test': some(1)}
  assert gaps.table(shares, 'missing', 0.1) == []
  lines = gaps.table(shares, 'unseen', 0.1)
  assert lines[0].split() == ['unseen', 'train', 'test']
  assert [x.split()[0] for x in lines[1:-1]] == [f'f{k}' for k in range(3, 11)]
  assert lines[-1] == 'and 2 more inputs'
  assert len(gaps.table(shares, 'unseen')) == 12


@pytest.mark.parametrize('rate, text', [
    ((1234, 24_680), '1,234 (5.00%)'), ((0, 0), '0'), ((0, 9), '0 (0.0000%)'),
    ((2, 10_000), '2 (0.0200%)'), ((7, 7), '7 (100.00%)')])
def test_a_rate_in_words(rate, text):
  assert str(rates.Rate(*rate)) == text


def test_a_long_split_is_read_in_pieces(tmp_path, monkeypatch):
  _, builder = prepare(tmp_path)
  tasks = builder.schema.tasks
  whole = rates.of_split(builder, 'train', tasks)
  shares = gaps.of_split(builder, 'train')
  monkeypatch.setattr(rates, '_PIECE', 7)
  monkeypatch.setattr(gaps, '_PIECE', 7)
  assert rates.of_split(builder, 'train', tasks) == whole
  assert gaps.of_split(builder, 'train') == shares


def test_gaps(tmp_path):
  """A column that is another one in every row, one that is half missing."""
  def half(rng, click):
    del rng
    return [None if k % 2 else 'x' for k in range(len(click))]

  _, builder = prepare(
      tmp_path, number=lambda rng, click: np.arange(len(click)), half=half)
  shares = {s: gaps.of_split(builder, s) for s in ('train', 'test')}
  assert shares['test']['number'] == (0, 1)
  assert shares['train']['half'] == (0.5, 0)
  assert gaps.table(shares, 'missing') == [
      'missing  train   test', 'user      0.0%   0.0%', 'number    0.0%   0.0%',
      'half     50.0%  50.0%']
  (text,) = gaps.warnings(shares['test'], 'test')
  assert text.startswith("100.0% of the values of column 'number' in test are")


def test_missing_numbers(tmp_path):
  """They are counted before they become the mean; by split, in any order."""
  rng = np.random.default_rng(0)
  split = rng.permutation(np.repeat(['train', 'valid', 'test'], [90, 50, 60]))
  price = rng.normal(size=200)
  price[split == 'test'] = np.where(np.arange(60) < 36, np.nan, 1.0)
  price[np.flatnonzero(split == 'train')[:9]] = np.nan
  frame = {
      'price': price, 'user': np.arange(200) % 5, 'split': split,
      'click': np.arange(200) % 3 == 0, 'conversion': np.arange(200) % 6 == 0}
  builder = Tabular.from_frame(
      frame, str(tmp_path), id='user', float='price', split='column',
      split_column='split').prepare()
  shares = {s: gaps.of_split(builder, s) for s in ('train', 'valid', 'test')}
  assert [some['price'].missing for some in shares.values()] == [0.1, 0, 0.6]
  assert gaps.of_split(builder, 'test[:10%]', 1)['price'].missing == 0.6
  assert gaps.table(shares, 'missing')[-1].split() == [
      'price', '10.0%', '0.0%', '60.0%']
  assert len(gaps.table(shares, 'unseen')) == 2  # Only `user`.
  assert not list(gaps.warnings(shares['test'], 'test'))


def test_a_sample_is_the_first_rows(tmp_path):
  frame, builder = prepare(
      tmp_path, late=lambda rng, click: np.where(
          np.arange(len(click)) < 1600, 'x', 'y'))
  del frame
  assert gaps.of_split(builder, 'test', 100)['late'] == (0, 0)
  assert gaps.of_split(builder, 'test')['late'] == (0, 0.8)


def test_a_column_that_knows_the_label(tmp_path):
  _, builder = prepare(
      tmp_path,
      seconds=lambda rng, click: np.where(click, rng.integers(1, 9, 2000), 0),
      noise=lambda rng, click: rng.integers(0, 5, 2000))
  tasks = builder.schema.tasks
  aucs = leaks.single_aucs(builder, 'train', tasks)
  assert aucs['seconds', 'click'] == 1
  assert 0.4 < aucs['noise', 'click'] < 0.6
  (text,) = leaks.warnings(builder, 'train', tasks)
  assert not list(leaks.warnings(builder, 'train', tasks, ['noise']))
  assert text.startswith(
      "column 'seconds' alone ranks 'click' with an AUC of 1.000.")


def test_numbers_and_lists_and_too_few(tmp_path):
  """By hand: a number in the better direction, a list by its mean rate."""
  rng = np.random.default_rng(1)
  num = 4000
  click = (rng.random(num) < 0.3).astype(int)
  minus = -click + 0.1 * rng.random(num)
  lists = [['a', 'b'] if c else ['b', 'c'] for c in click]
  conversion = click.copy()
  conversion[np.flatnonzero(click)[19:]] = 0  # 19 positives.
  builder = Tabular.from_frame(
      dict(click=click, conversion=conversion, minus=minus, lists=lists,
           split=['train'] * 3000 + ['test'] * 1000),
      str(tmp_path), id='', float='minus', ids='lists', split='column',
      split_column='split').prepare()
  aucs = leaks.single_aucs(builder, 'train', builder.schema.tasks)
  assert set(aucs) == {('lists', 'click'), ('minus', 'click')}
  assert aucs['minus', 'click'] == auc(-minus[:3000], click[:3000]) == 1
  assert aucs['lists', 'click'] == 1


def test_a_rate_is_of_other_rows(tmp_path):
  """A value of its own in each row knows nothing of the label."""
  num = 1200
  click = np.arange(num) % 3 == 0
  builder = Tabular.from_frame(
      dict(own=[f'{k}' for k in range(num)], click=click, conversion=click),
      str(tmp_path), id='own:min_count=1', split='random').prepare()
  assert builder.schema.field('own').vocab_size > 900
  aucs = leaks.single_aucs(builder, 'train', builder.schema.tasks)
  assert aucs['own', 'click'] < 0.6


def test_regressions_have_no_rate(tmp_path):
  _, builder = prepare(tmp_path)
  tasks = tuple(
      dataclasses.replace(t, kind='regression') if t.parent else t
      for t in builder.schema.tasks)
  lines = rates.table({'train': rates.of_split(builder, 'train', tasks)}, tasks)
  assert [line.split()[0] for line in lines] == ['train', 'rows', 'click']
