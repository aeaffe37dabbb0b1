"""The dials of the simulator, their presets and folder names."""

import dataclasses

from esmm_jax.data.simulator.config import checked_dial, PRESETS
from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import Simulator
from esmm_jax.types import InputError
import numpy as np
import pytest


@pytest.mark.parametrize(
    'preset, dials, name',
    [
        ('default', {}, 'default'),
        ('default', dict(rho=0.3, seed=2), 'default-rho_0.3-seed_2'),
        ('default', dict(seed=2.0, rho=0.30), 'default-rho_0.3-seed_2'),
        ('default', dict(rho=0.60, seed=0, ctr=None), 'default'),
        ('anti', dict(rho=-1), 'anti-rho_-1'),
        ('anti', dict(rho=-0.0), 'anti-rho_0'),
        ('mnar', dict(hidden=1), 'mnar'),
        ('tiny', dict(uniform_test=True), 'tiny-uniform_test_true'),
        ('large', dict(num_train=10**6), 'large-num_train_1000000'),
        ('tiny', dict(ctr=1e-5), 'tiny-ctr_1e-05'),
        ('tiny', dict(stages=3, seed=1), 'tiny-stages_3-seed_1'),
        ('cart', dict(stages=3), 'cart'),
        ('default', dict(stages=2), 'default'),
        ('tiny', dict(cvr=np.float64(0.1) + 0.2), None),
    ],
)
def test_the_folder_names_the_dials(tmp_path, preset, dials, name):
  name = name or 'tiny-cvr_0.30000000000000004'
  builder = Simulator.from_options(str(tmp_path), preset, **dials)
  expected = tmp_path / 'synthetic_funnel' / name / '1.1.0'
  assert builder.data_dir == str(expected)


def test_dials_apply_and_presets_differ():
  config = simulator_config('tiny', rho=0.3, users=7, uniform_test=1)
  assert (config.rho, config.users, config.uniform_test) == (0.3, 7, True)
  assert (config.num_train, config.num_users) == (140_000, 7)
  tiny = PRESETS['tiny']
  assert tiny.num_train + tiny.num_valid + tiny.num_test == 200_000
  assert PRESETS['default'].splits == {
      'train': (0, 2_000_000),
      'valid': (2_000_000, 2_200_000),
      'test': (2_200_000, 3_200_000),
  }
  assert PRESETS['sparse'].cvr == 0.005
  assert PRESETS['anti'].rho == -0.6
  assert PRESETS['mnar'].hidden == 1
  assert PRESETS['cart'].stages == 3
  assert {p.stages for p in PRESETS.values() if p.name != 'cart'} == {2}
  assert PRESETS['large'].num_train == 40_000_000


def test_long_names_end_in_a_hash():
  dials = {
      f.name: getattr(PRESETS['tiny'], f.name)
      for f in dataclasses.fields(PRESETS['tiny'])
      if f.name in ('rho', 'hidden', 'ctr', 'cvr', 'auc_ctr', 'auc_cvr')
  }
  dials = {name: value / 3 + 0.34 for name, value in dials.items()}
  dials['policy'], dials['uniform_test'] = 1 / 3, True
  dials |= dict(users=123_456_789, items=123_456_789, seed=2**62)
  name = simulator_config('tiny', **dials).name
  assert len(name) == len('tiny-') + 32
  assert name == simulator_config('tiny', **dials).name
  assert name != simulator_config('tiny', **dials | dict(seed=1 + 2**62)).name


@pytest.mark.parametrize(
    'dial, value, message',
    [
        ('rho', 1.01, 'from -1 to 1'),
        ('rho', float('nan'), 'from -1 to 1'),
        ('rho', '0.3', 'a number'),
        ('ctr', 0, 'strictly between 0 and 1'),
        ('ctr', 1.0, 'strictly between 0 and 1'),
        ('cvr', -0.1, 'strictly between 0 and 1'),
        ('auc_ctr', 0.5, 'strictly between 0.5 and 1'),
        ('auc_cvr', 1, 'strictly between 0.5 and 1'),
        ('num_train', 0, 'a whole number from 1'),
        ('num_valid', -1, 'a whole number from 0'),
        ('num_test', 1.5, 'a whole number from 0'),
        ('users', -3, 'from 0'),
        ('items', float('inf'), 'a whole number'),
        ('candidates', 0, 'from 1'),
        ('policy', -1, 'from 0'),
        ('hidden', 3.5, 'from 0 to 3'),
        ('stages', 1, 'a whole number from 2 to 3'),
        ('stages', 4, 'a whole number from 2 to 3'),
        ('stages', 2.5, 'a whole number from 2 to 3'),
        ('seed', -1, 'from 0'),
        ('seed', True, 'a whole number'),
        ('uniform_test', 2, 'True or False'),
    ],
)
def test_bad_dials_are_named(dial, value, message):
  with pytest.raises(InputError, match=message) as error:
    Simulator.from_options(None, 'tiny', **{dial: value})
  assert repr(dial) in str(error.value)
  with pytest.raises(InputError, match=message):
    dataclasses.replace(PRESETS['tiny'], name='other', **{dial: value})


def test_dials_keep_their_type():
  assert isinstance(checked_dial('rho', 1), float)
  assert isinstance(checked_dial('users', np.float32(3)), int)


def test_unknown_names_suggest_the_near_one():
  with pytest.raises(InputError, match="Did you mean 'default'.*large.*tiny"):
    Simulator.from_options(preset='defualt')
  with pytest.raises(InputError, match="No dial 'roh'.*Did you mean 'rho'"):
    Simulator.from_options(roh=0.1)
