"""A simulated log that several workers write: the bytes of one."""

import os

from esmm_jax.data.simulator.dataset import Simulator
from esmm_jax.engines import choice
import pytest

from tests.data.simulator.logs import SMALL
from tests.data.tabular.test_workers import contents, Killing
from tests.engines import doing

# Few items of training rows are in the first shard alone.
DELAYED = dict(
    preset='cart', items=50_000, hidden=.5, uniform_test=True, delay_mean=2.,
    delay_window=5., delay_spread=.5)


def prepared(data_dir, engine, workers, **dials):
  """The prepared data: path -> bytes."""
  data = Simulator.from_options(str(data_dir), **SMALL | dials)
  with choice.using(engine, workers):
    data.prepare()
  assert not [n for n in os.listdir(data.data_path) if 'shard-' in n]
  return contents(data.data_path)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr('esmm_jax.data.simulator.dataset.SHARD_ROWS', 700)
  monkeypatch.setitem(choice.ENGINES, 'backwards', doing.Backwards)
  monkeypatch.setitem(choice.ENGINES, 'killing', Killing)


@pytest.mark.slow
@pytest.mark.parametrize('dials', [
    DELAYED, pytest.param(dict(num_valid=0), marks=pytest.mark.long)])
def test_the_same_bytes(dials, tmp_path):
  one, three = (
      prepared(tmp_path / engine, engine, k, **dials)
      for engine, k in (('local', 1), ('backwards', 3)))
  assert one == three
  assert len({p.split('/')[0] for p in one if 'train.columns' in p}) == 5


@pytest.mark.long
def test_the_same_bytes_of_processes(tmp_path, capsys):
  one, two, killed = (
      prepared(tmp_path / f'{engine}-{k}', engine, k, **DELAYED)
      for engine, k in (('local', 1), ('local', 2), ('killing', 2)))
  assert one == two == killed
  # In training and test rows: those for validation are one part.
  lost = capsys.readouterr().err.count('another one does part 2 of ')
  assert lost == 2
