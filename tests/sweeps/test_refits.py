"""Refits in a results table: averaged, and compared with what they refit."""

from esmm_jax.reporting.page import provenance, refits
from esmm_jax.sweeps.points import run_name
from esmm_jax.sweeps.results import notes, tabulate
from esmm_jax.sweeps.saved_runs import find_run, OF_REFIT, run_folder
from esmm_jax.sweeps.saved_runs import SavedRun
import pytest

from tests.sweeps.test_comparable import AUC, gains, make, write

REFIT = {
    'dataset.train_split': 'train+valid',
    'dataset.valid_split': '',
    'dataset.fit_on': 'train+valid',
    'selection': {'metric': '', 'patience': 0},
}
RUN = {
    'dataset.train_split': 'train',
    'dataset.valid_split': 'valid',
    'selection': {'metric': 'valid/ctr/auc', 'patience': 0},
}
ABOUT = {
    'identity': 64 * 'a', 'step': 1234, 'params_sha256': 64 * 'b',
    'metric': 'valid/ctr/auc'}


def refit_keys(seed):
  """What a refit of the run of a seed notes."""
  return {
      'refit_identity': f'identity {seed}', 'refit_params_sha256': f'{seed}',
      'refit_step': 10 + seed, 'refit_metric': 'valid/ctr/auc',
      'refit_split': 'train', 'refit_data': '00'}


def table_of_refits():
  """Two rows of three seeds: runs, and refits of them."""
  points = [dict(point) for point in make('kind').points]
  for point in points:
    if point['kind'] == 'y':
      point['refit_of'] = f'runs/{point["seed"]}'
  return make('kind', points=points)


def write_all(tmp_path, table, **changes):
  for point in table.points:
    is_refit = 'refit_of' in point
    more = REFIT | refit_keys(point['seed']) if is_refit else RUN
    data = 'toy/2, sha256 11' if is_refit else 'toy/1, sha256 00'
    write(tmp_path, point, data=data, **(more | changes))


def test_refits_beside_their_runs(tmp_path, capsys):
  """Other data, rows and selection: `refit_of` says so."""
  table = table_of_refits()
  write_all(tmp_path, table)
  blocks = tabulate(table, str(tmp_path))
  assert notes(blocks) == [] and capsys.readouterr().err == ''
  assert gains(blocks).n == 3
  assert [row.cells[AUC].n for row in blocks[0].rows] == [3, 3]


@pytest.mark.parametrize('key, words', [
    ('batch_size', 'trained with different batch_size (7 and 64)'),
    ('dataset.min_count', 'trained on different data (sha256 11 and 00)')])
def test_another_key_is_told(tmp_path, key, words):
  table = table_of_refits()
  write_all(tmp_path, table)
  for point in table.points:
    if 'refit_of' in point:
      write(
          tmp_path, point, data='toy/2, sha256 11',
          **(REFIT | refit_keys(point['seed']) | {key: 7}))
  blocks = tabulate(table, str(tmp_path))
  assert all(words in note for note in notes(blocks)) and len(
      notes(blocks)) == 3
  assert gains(blocks).n == 0


def test_points_that_set_what_a_refit_changes(tmp_path):
  """The point of the run may name its splits and its metric."""
  table = table_of_refits()
  keys = {'dataset.valid_split': 'valid', 'selection.metric': 'valid/ctr/auc'}
  assert set(keys) < set(OF_REFIT)
  bare = next(p for p in table.points if 'refit_of' in p)
  point = bare | keys
  name = run_name(point)
  write(tmp_path, bare, name=name, **(REFIT | refit_keys(0)))
  folder = run_folder(str(tmp_path), name)
  assert find_run(str(tmp_path), name, point).problem == ''
  problem = find_run(
      str(tmp_path), name, point | {'batch_size': 7}).problem
  assert problem.startswith(f'{folder} is not the run of its point: batch_size')


def run(**results):
  config = {
      'refit_of': 'runs/a', 'dataset': {'train_split': 'train+valid'},
      'seed': 0}
  return SavedRun('b', results, config)


def test_page_of_a_refit():
  texts = dict(refits.items(run(refit_of=ABOUT)))
  assert texts['refit of'] == (
      'runs/a, identity aaaaaaaaaaaaaaaa: its step 1,234 was chosen'
      ' (valid/ctr/auc)')
  assert texts['trained on'].startswith('train+valid: no rows are held out')
  last = refits.items(run(refit_of=ABOUT | {'metric': ''}))
  assert '(the last parameters)' in dict(last)['refit of']
  assert refits.items(run(steps=3)) == []


def test_how_it_was_made_has_it():
  section = provenance.made_by(run(refit_of=ABOUT), None)
  assert 'its step 1,234 was chosen' in str(section)
  assert 'was chosen' not in str(provenance.made_by(run(steps=3), None))
