"""KuaiRand prepared by several workers: the same bytes as by one."""

import pathlib
import subprocess
import sys

from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.data.kuairand.passes import parts
from esmm_jax.engines import choice
from esmm_jax.types import InputError
import pytest

from tests import ROOT
from tests.data.kuairand.test_kuairand import EARLY_LOG, LOG, make_raw, USERS
from tests.data.kuairand.test_kuairand import VIDEOS, write_csv
from tests.data.tabular.test_workers import contents, Killing
from tests.engines import doing
from tests.engines.test_on_ray import needs_ray

pytestmark = pytest.mark.slow
LIVE = (
    'user_id:delay=10m,user_id+tab:delay=2h:last=2,tags,session=user_id,'
    'video_id:delay=7m:amounts=play_time_ms,author_id:window=2d,'
    'list=video_id:by=user_id:last=3:of=click:delay=10m')
# Name -> options.
CASES = {
    'plain': {},
    'nightly': dict(history=True, valid_days=2),
    'live days': dict(history=True, history_live=True, history_form='float'),
    'live': dict(history=LIVE, play_time=True),
    'fewer rows': dict(
        history='tags+tab,user_id', conversion='like', fit_on='train+valid',
        conversion_without_click='drop', drop_duplicates=True, min_count=3),
}


@pytest.fixture(scope='module', name='raw_dir')
def fixture_raw_dir(tmp_path_factory):
  return make_logs(tmp_path_factory.mktemp('raw') / 'KuaiRand-Pure')


@pytest.fixture(autouse=True)
def engines(monkeypatch):
  monkeypatch.setitem(choice.ENGINES, 'backwards', doing.Backwards)
  monkeypatch.setitem(choice.ENGINES, 'killing', Killing)


def make_logs(raw_dir):
  """Three logs, whose names have another order than their times; some rows are
  in two of them."""
  log = make_raw(raw_dir, n=900).log
  folder = raw_dir / 'data'
  write_csv(folder / LOG, log[:410])
  write_csv(folder / EARLY_LOG, log[400:] + log[390:405])
  write_csv(folder / 'log_standard_z.csv', log[300:303])
  return str(raw_dir)


def prepared(data_dir, raw_dir, engine, workers, **options):
  """The prepared data: path -> bytes."""
  builder = KuaiRand.from_options(
      str(data_dir), raw_dir, check_counts=False, **options)
  with choice.using(engine, workers):
    builder.prepare()
  return contents(builder.data_path)


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=() if case == 'fewer rows' else pytest.mark.long)
    for case in CASES])
def test_the_same_bytes(case, raw_dir, tmp_path, monkeypatch):
  one, two = (
      prepared(tmp_path / engine, raw_dir, engine, k, **CASES[case])
      for engine, k in (('local', 1), ('backwards', 2)))
  assert sum(path.endswith('.npy') for path in one) > 100 and one == two
  if case == 'live':
    monkeypatch.setattr(parts, 'PART_BYTES', 5000)  # Of one worker, too.
    assert prepared(tmp_path / 'c', raw_dir, 'local', 1, **CASES[case]) == one


def test_the_parts(raw_dir):
  """Whole lines, of about equal size; together the files."""
  folder = pathlib.Path(raw_dir, 'data')
  names = sorted(path.name for path in folder.glob('log_*'))
  paths = [str(folder / name) for name in (*names, USERS, VIDEOS)]
  assert [p.kind for p in parts.plan(paths, 1)] == [
      'log', 'log', 'log', 'users', 'videos']
  planned = parts.plan(paths, 2)
  assert [p.number for p in planned] == list(range(len(planned)))
  whole = ''
  for path in paths:
    pieces = [pathlib.Path(path).read_bytes()[p.low:p.high]
              for p in planned if p.path == path]
    assert b''.join(pieces) == pathlib.Path(path).read_bytes()
    assert all(piece.endswith(b'\n') for piece in pieces)
    whole += str(len(pieces))
  # Each eighth of the logs is a part: of 525, 410 and 3 rows.
  assert whole == '43111'


# File, line, and what it becomes; by what is told.
BAD = {
    "4_21_pure.csv, row 300, field 'is_click': 2 is not allowed": [
        (EARLY_LOG, 300, ('is_click', '2')), (LOG, 3, ('is_click', '7')),
        (EARLY_LOG, 310, ('is_click', '3'))],
    # Columns are looked at one after the other.
    "4_21_pure.csv, row 400, field 'user_id': the field is empty": [
        (EARLY_LOG, 400, ('user_id', '')), (EARLY_LOG, 20, ('tab', ''))],
    # Text that cannot be read comes before values that may not be.
    "4_21_pure.csv, row 450, field 'tab': 'x' is not a whole number": [
        (EARLY_LOG, 450, ('tab', 'x')), (EARLY_LOG, 20, ('user_id', '-1')),
        (EARLY_LOG, 460, ('tab', 'y'))],
    "4_21_pure.csv, row 200, field 'is_rand': the row has 13 fields, the head":
        [(EARLY_LOG, 200, 'short'), (EARLY_LOG, 300, 'short')],
    "4_21_pure.csv, row 333, field 'is_rand': the row has 13 fields": [
        (EARLY_LOG, 333, 'quote'), (EARLY_LOG, 450, ('tab', 'x'))],
    "4_21_pure.csv, row 400: the line ends in a carriage return": [
        (EARLY_LOG, 7, ('tab', 'x')), (EARLY_LOG, 400, 'return')],
    '4_21_pure.csv, row 525, field .*: the file ends here, in the middle': [
        (EARLY_LOG, -1, 'cut'), (EARLY_LOG, 7, ('tab', 'x'))],
    "4_21_pure.csv, row 222, field 'date': 20220431 is no date of the": [
        (EARLY_LOG, 222, ('date', '20220431')), (LOG, 9, ('tab', 'x'))],
    "4_21_pure.csv, row 1, field 'long_view': no such column": [
        (EARLY_LOG, 1, ('long_view', 'view')), (EARLY_LOG, 7, ('tab', 'x'))],
    '4_21_pure.csv: no rows after the header': [
        (EARLY_LOG, 0, 'header'), (LOG, 9, ('tab', 'x'))],
    "5_08_pure.csv, row 9, field 'tab'": [
        (LOG, 9, ('tab', 'x')), (USERS, 3, ('user_id', 'x'))],
    "user_features_pure.csv, row 3, field 'user_id'": [
        (USERS, 3, ('user_id', '0')), (VIDEOS, 1, 'header')],
    "video_features_basic_pure.csv, row 5, field 'upload_dt': 'x' is not a": [
        (VIDEOS, 5, ('upload_dt', 'x'))],
}


def damage(raw_dir, changes):
  """Changes files; lines are counted from 1, the last one is -1."""
  for name, line, change in changes:
    path = pathlib.Path(raw_dir, 'data', name)
    lines = path.read_text().splitlines(keepends=True)
    at = line - (line > 0)
    names, fields = (lines[k].rstrip('\n').split(',') for k in (0, at))
    if change == 'header':
      lines[1:] = []
    elif change == 'short':
      lines[at] = ','.join(fields[:-1]) + '\n'
    elif change == 'quote':  # A value with a line break.
      fields[-2] = '"1'
      lines[at] = ','.join(fields[:-1]) + '\n'
      lines[at + 1] = '",' + lines[at + 1]
    elif change == 'return':
      lines[at] = lines[at].replace('\n', '\r')
    elif change == 'cut':
      lines[at] = lines[at][:-3]
    else:
      fields[names.index(change[0])] = change[1]
      lines[at] = ','.join(fields) + '\n'
    path.write_text(''.join(lines), newline='')


def refusal(data_dir, raw_dir, engine, workers):
  with pytest.raises(InputError) as error:
    prepared(data_dir, raw_dir, engine, workers)
  assert not list(data_dir.rglob('*.npy'))
  return str(error.value)


@pytest.mark.parametrize('told', BAD)
def test_the_first_bad_value(told, tmp_path):
  raw_dir = make_logs(tmp_path / 'raw')
  damage(raw_dir, BAD[told])
  one, two = (
      refusal(tmp_path / engine, raw_dir, engine, k)
      for engine, k in (('local', 1), ('backwards', 4)))
  assert one == two
  with pytest.raises(InputError, match=told):
    raise InputError(one)


@pytest.mark.long
def test_processes(raw_dir, tmp_path, capsys):
  """Of two workers, of four, and where one is killed in each pass."""
  options = CASES['live']
  one = prepared(tmp_path / '1', raw_dir, 'local', 1, **options)
  for k in (2, 4):
    assert prepared(tmp_path / f'{k}', raw_dir, 'local', k, **options) == one
  assert prepared(tmp_path / 'k', raw_dir, 'killing', 2, **options) == one
  again = 'by signal 9 (SIGKILL); another one does part 2 of '
  assert capsys.readouterr().err.count(again) == 3
  damage(raw_dir, [(EARLY_LOG, 300, ('tab', 'x'))])
  assert 'row 300' in refusal(tmp_path / 'bad', raw_dir, 'local', 2)


@pytest.mark.long
def test_workers_have_no_jax():
  code = (
      'import sys\n'
      'from esmm_jax.data.kuairand.passes import count, encode, read\n'
      'print("jax" in sys.modules)')
  done = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True,
      check=True)
  assert done.stdout == 'False\n'


# In a process of its own: Ray leaves threads and handlers behind.
PREPARE = """
import pathlib, sys
from tests.data.kuairand import test_workers as log

folder = pathlib.Path(sys.argv[1])
raw_dir = log.make_logs(folder / 'raw')
options = log.CASES['live']
one = log.prepared(folder / '1', raw_dir, 'local', 1, **options)
assert one == log.prepared(folder / '2', raw_dir, 'ray', 2, **options) != {}
print('done')
"""


@needs_ray
@pytest.mark.long
def test_ray(tmp_path):
  done = subprocess.run(
      [sys.executable, '-c', PREPARE, str(tmp_path)], cwd=ROOT, text=True,
      capture_output=True, check=False)
  assert (done.returncode, done.stdout[-5:]) == (0, 'done\n'), done.stderr
