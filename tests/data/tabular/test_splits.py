"""Splits of somebody's own log, and what its training rows cannot teach."""

import pathlib

from esmm_jax.data.tabular import splits
import numpy as np
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import many, prepared, RANDOM, ROWS, table
from tests.data.tabular.test_tabular import read, write
from esmm_jax.types import InputError

NAMES = {
    'train': ['train', 'Train', 'TRAIN', 'training'],
    'valid': ['valid', 'validation', 'val', 'dev', 'EVAL', 'Validation'],
    'test': ['test', 'TEST', 'Testing'],
}


@pytest.mark.parametrize('split, name', [
    (split, name) for split, names in NAMES.items() for name in names])
def test_names_that_people_give_to_splits(split, name):
  position, others = splits.of_names(pa.array([name, None, 'x', name, 'x']))
  k = splits.SPLITS.index(split)
  assert position.tolist() == [k, -1, -1, k, -1]
  assert others == {'': 1, 'x': 2}
  assert splits.describe(others) == "'x' (2), no value (1)"


def of_parts(tmp_path, names):
  path = write(table(part=names), tmp_path / 'log.csv')
  return prepared(
      tmp_path, path, split='column', split_column='part', min_count=1)


def sizes(data):
  return {k: s.num_examples for k, s in data.info.splits.items()}


def test_other_names_are_told_with_their_rows(tmp_path):
  names = ['Train'] * 5 + ['holdout', 'val', 'dev', 'TEST', 'test']
  data = of_parts(tmp_path, names)
  assert sizes(data) == {'train': 5, 'valid': 2, 'test': 2}
  (text,) = data.warnings
  assert text.startswith('1 rows are left out, because column'
                         " 'part' contains 'holdout' (1), which name no split")
  assert data.report['other_splits'] == {'holdout': 1}
  assert data.report['left_out'] == 1


def test_splits_by_their_plain_names_are_as_before(tmp_path):
  data = of_parts(tmp_path, ROWS['part'])
  assert sizes(data) == {'train': 6, 'valid': 2, 'test': 2}
  assert data.warnings == [] and data.report['other_splits'] == {}
  # Data of a version that knew these names only has no such entry.
  data.report.pop('other_splits')
  assert data.warnings == []
  data.report['left_out'] = 3
  (text,) = data.warnings
  assert 'earlier version prepared this log and left out 3 rows' in text


def test_no_training_rows(tmp_path):
  with pytest.raises(InputError, match="split 'train' is empty.*Column 'part'"
                     r" holds 'A' \(7\), 'B' \(2\); write train \(training\)"):
    of_parts(tmp_path, ['A'] * 7 + ['B'] * 2 + ['test'])


def test_too_few_rows(tmp_path):
  path = write(table(), tmp_path / 'log.csv')
  with pytest.raises(InputError, match="split 'test' is empty; none of the 10 r"
                     'ows fell into it. It gets 1e-06 of the rows, by chance'):
    prepared(tmp_path, path, split='random', valid_share=0, test_share=1e-6)
  path = write(table().slice(0, 0), tmp_path / 'none.csv')
  with pytest.raises(InputError, match='the files of dataset.files hold no ro'):
    prepared(tmp_path, path, split='random')


def two_files(tmp_path):
  rows = many(3000)
  return [write_csv(rows.slice(0, 2400), tmp_path / 'train.csv'),
          write_csv(rows.slice(2400), tmp_path / 'test.csv')]


def write_csv(rows, path):
  from pyarrow import csv
  csv.write_csv(rows, path)
  return str(path)


def test_files_of_training_and_test(tmp_path):
  """All rows of the training file are trained on, unless a share is named."""
  train, test = two_files(tmp_path)
  plain = dict(RANDOM, ids='', float='', split='files', test_files=test)
  data = prepared(tmp_path, train, **plain)
  assert sizes(data) == {'train': 2400, 'test': 600}
  parts = prepared(tmp_path, train, **plain, valid_share=0.2)
  found = sizes(parts)
  assert found['test'] == 600 and found['train'] + found['valid'] == 2400
  assert abs(found['valid'] - 480) < 4 * np.sqrt(2400 * 0.2 * 0.8)
  # Which rows does not depend on the test file.
  other = write_csv(many(50), tmp_path / 'other.csv')
  again = prepared(
      tmp_path, train, **plain | {'test_files': other}, valid_share=0.2)
  rows = [read(d)['valid']['row_number'] for d in (parts, again)]
  np.testing.assert_array_equal(*rows)
  # Users stay together.
  users = prepared(
      tmp_path, train, **plain, valid_share=0.2, split_by='user')
  keys = [set(c['group_key'].tolist()) for c in read(users).values()]
  assert not keys[0] & keys[1] and keys[0] & keys[2]
  moved = prepared(
      tmp_path, train, **plain, valid_share=0.2, split_by='user', split_seed=1)
  assert set(read(moved)['valid']['group_key'].tolist()) != keys[1]


# Changes of the ten rows, and what is said of the training rows.
QUIET = dict(min_count=1)
SAID = {
    'nothing': ({}, QUIET, []),
    'all clicked': (dict(clicked=[1] * 10), QUIET, [
        "label click ('clicked') is 1 in all 6 training rows: ctr has"]),
    'all bought': (dict(bought=ROWS['clicked']), QUIET, [
        "conversion ('bought') is 1 in all 4 training rows with click 1: cvr"]),
    'missing': (dict(user=[None] * 10, price=[np.nan] * 10), QUIET, [
        "column 'user' has no value in any training row",
        "column 'price' has no value in any training row",
        "10 of 10 rows have no value in column 'user' (dataset.group)"]),
    'one value': (dict(user=['u'] * 6 + ['v'] * 4, price=[2.5] * 10), QUIET, [
        "column 'user' is 'u' in all training rows: it tells the model nothing",
        "column 'price' is 2.5 in all training rows"]),
    'no entries': (
        dict(tags=pa.array([[]] * 10, pa.list_(pa.string()))), QUIET,
        ["column 'tags' has no value in any training row"]),
    'one entry': (dict(tags=[['x']] * 10), QUIET, ["column 'tags' is 'x' in"]),
    'all rare': ({}, dict(min_count=4), [
        f"column '{name}' has no value that is in min_count=4 training rows"
        for name in ('user', 'item', 'tags')]),
    'no group': (
        dict(visit=['v', None, 'w'] * 3 + ['w']), QUIET | {'group': 'visit'},
        ["3 of 10 rows have no value in column 'visit' (dataset.group)"]),
    'one or missing': (
        dict(user=['u'] * 5 + [None] + ['u'] * 4), QUIET, []),
}


@pytest.mark.parametrize('case', SAID)
def test_what_the_training_rows_cannot_teach(case, tmp_path):
  changes, options, texts = SAID[case]
  path = write(table(**changes), tmp_path / 'log.parquet')
  data = prepared(tmp_path, path, **options)
  if case == 'all rare':  # Three of the four users are kept by two rows.
    texts = [t for t in texts if 'tags' not in t or len(data.warnings) == 3]
  assert len(data.warnings) == len(texts), data.warnings
  for said, text in zip(data.warnings, texts):
    assert text in said
  # They are kept with the data; a log without any has no such entry.
  again = prepared(tmp_path, path, **options)
  assert again.warnings == data.warnings
  metadata = pathlib.Path(data.data_path, 'metadata.json').read_text('utf-8')
  assert ('"warnings"' in metadata) == bool(texts)
