"""A run whose folder is taken away while it trains ends soon, in one line."""

import os
import shutil

from esmm_jax.training.feeding import Streamed
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.predict import SplitPredictor
from esmm_jax.types import InputError
import pytest

from tests.training import test_end_to_end as whole_runs
from tests.training.test_end_to_end import fingerprint, metrics
from tests.training.test_killed import short

data_dir = whole_runs.data_dir


def renamed(folder):
  os.rename(folder, f'{folder}_moved')


def copied(folder):
  renamed(folder)
  shutil.copytree(f'{folder}_moved', folder)


def emptied(folder):
  renamed(folder)
  os.mkdir(folder)


def no_metrics(folder):
  os.remove(os.path.join(folder, 'metrics.jsonl'))


# What is done -> what the path has then.
TAKEN = {
    renamed: None,
    shutil.rmtree: None,
    emptied: [],
    copied: ['9'],
    no_metrics: ['5'],
}


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize('take', TAKEN, ids=lambda take: take.__name__)
def test_between_two_checkpoints(data_dir, tmp_path, monkeypatch, take):
  """At step 6 of 20, with a checkpoint of step 5."""
  folder = str(tmp_path / 'run')
  advance = Streamed.advance

  def taken(self, state, start, stop, hyper):
    if start == 6:
      take(folder)
    return advance(self, state, start, stop, hyper)

  monkeypatch.setattr(Streamed, 'advance', taken)
  with pytest.raises(InputError) as e:
    train_and_evaluate(short(), folder, data_dir)
  for part in (folder, 'removed, renamed or replaced', 'same command'):
    assert part in str(e.value)
  if TAKEN[take] is None:
    assert not os.path.exists(folder)
  elif take is emptied:
    assert os.listdir(folder) == []
  else:
    checkpoints = os.listdir(os.path.join(folder, 'checkpoints'))
    assert '5' in checkpoints and '15' not in checkpoints
  assert not os.path.exists(os.path.join(folder, 'results.json'))


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_put_back_it_resumes(data_dir, tmp_path, monkeypatch):
  """Taken while it evaluates; no bit of the run differs in the end."""
  whole, folder = str(tmp_path / 'whole'), str(tmp_path / 'run')
  train_and_evaluate(short(), whole, data_dir)
  metrics_of, calls = SplitPredictor.metrics, []

  def taken(self, *arguments):
    calls.append(1)
    if len(calls) == 2:
      renamed(folder)
    return metrics_of(self, *arguments)

  with monkeypatch.context() as m:
    m.setattr(SplitPredictor, 'metrics', taken)
    with pytest.raises(InputError, match='removed, renamed or replaced'):
      train_and_evaluate(short(), folder, data_dir)
  assert not os.path.exists(folder)
  os.rename(f'{folder}_moved', folder)
  train_and_evaluate(short(), folder, data_dir)
  assert fingerprint(folder) == fingerprint(whole)
  assert metrics(folder) == metrics(whole)
