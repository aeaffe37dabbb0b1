"""The option `dataset.history` of KuaiRand: its forms, names and protocols."""

import sys

from absl import flags
from configs import common
from esmm_jax.data.history import language
from esmm_jax.data.kuairand.config import HISTORY, KuaiRandConfig
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.types import InputError
from esmm_jax.workdir import folder
from experiments import load
from ml_collections import config_flags
import pytest

TRUE = [True, 'true', 'True', ' TRUE ', 1]
FALSE = [False, 'false', 'False', '', 0, 'none']


@pytest.mark.parametrize('value', TRUE)
def test_forms_of_true(value):
  config = KuaiRandConfig(history=value)
  assert config.history is True
  assert config.name.endswith('-history_both_20')
  assert len(config.specs) == 6
  assert config.protocol == 'nightly'


@pytest.mark.parametrize('value', FALSE)
def test_forms_of_false(value):
  config = KuaiRandConfig(history=value)
  assert config.history is False
  assert config.name == KuaiRandConfig().name
  assert (config.specs, config.protocol) == ((), '')


TEXTS = ['user_id', 'user_id:delay=10m,video_id', "list=video_id:by='user_id'"]


@pytest.mark.parametrize('text, value', [
    ('true', True), ('false', False), ('True', True), *zip(TEXTS, TEXTS)])
def test_on_the_command_line_and_in_a_sweep(text, value, monkeypatch):
  config = common.base()
  config.dataset = common.kuairand()
  argv = ['program', f'--config.dataset.history={text}']
  monkeypatch.setattr(sys, 'argv', argv)
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict('config', config, flag_values=values)
  values(argv)
  assert values.config.dataset.history == value
  swept = common.base()
  swept.dataset = common.kuairand()
  for other in (True, False, None, value):
    load.set_key(swept, 'dataset.history', other)
    assert swept.dataset.history == other


def test_a_run_records_what_earlier_versions_did():
  config = common.base()
  config.dataset = common.kuairand()
  assert 'history' not in folder.record(config)['dataset']
  config.dataset.history = True
  assert folder.record(config)['dataset']['history'] is True
  config.dataset.history = 'user_id:delay=10m'
  assert folder.record(config)['dataset']['history'] == 'user_id:delay=10m'


@pytest.mark.parametrize('value, words', [
    (3, r'dataset.history is 3; it must be true, false, or a text'),
    (['user_id'], r"is \['user_id'\]; it must be"),
    ('yes', r"names 'yes', which is no column .* of KuaiRand"),
    ('user', r"names 'user', .*[Dd]id you mean 'user_id'"),
    ('upload_age', r"names 'upload_age'"),
    ('is_click', r"names 'is_click'"),
    ('user_id+hours', r"names 'hours', .*'hour'"),
    ('list=video:by=user_id', r"names 'video', .*'video_id'"),
    ('list=tags:by=user_id', r'many tags'),
    ('list=video_id:by=tags', r'many tags'),
    ('tags:last=2', r'many tags'),
    ('session=user_id+tags', r'many tags'),
    ('user_id:amounts=likes', r"amounts names 'likes'.*is_like"),
    ('user_id:amounts=is_follow', r"amounts names 'is_follow'"),
    ('user_id:dely=10m', r"'dely' is no option here.*delay"),
    ('user_id,user_id', r'an earlier part makes too'),
])
def test_refused(tmp_path, value, words):
  with pytest.raises(InputError, match=words) as e:
    KuaiRand.from_options(str(tmp_path), history=value)
  assert '\n' not in str(e.value)


def test_history_live_is_of_days():
  KuaiRandConfig(history='user_id,video_id:delay=2d', history_live=True)
  for text in ('user_id:delay=23h', 'session=user_id', 'user_id,tab:delay=5s'):
    with pytest.raises(InputError, match='history is live, .* by itself'):
      KuaiRandConfig(history=text, history_live=True)


@pytest.mark.parametrize('options, protocol', [
    ({}, ''),
    ({'history': True}, 'nightly'),
    ({'history': True, 'history_live': True}, 'live, delay 1d'),
    ({'history': 'user_id:delay=2d'}, 'nightly'),
    ({'history': 'user_id:delay=2d', 'history_live': True}, 'live, delay 2d'),
    ({'history': 'user_id:delay=10m,tab'}, 'live, delay 10m'),
    ({'history': 'tab,session=user_id'}, 'live, delay 1d, sessions'),
])
def test_protocols(tmp_path, options, protocol):
  assert KuaiRand.from_options(str(tmp_path), **options).history == protocol


def test_folders_of_texts():
  texts = [
      'user_id', 'user_id,tab', 'tab,user_id', 'user_id:delay=10m',
      'user_id:delay=10m:last=2', 'user_id:form=float', 'user_id:strength=5',
      'session=user_id', 'list=video_id:by=user_id']
  names = [KuaiRandConfig(history=text).name for text in texts]
  names += [KuaiRandConfig(history='user_id', **other).name for other in (
      {'history_form': 'bucket'}, {'history_strength': 3.0},
      {'history_live': True}, {'valid_days': 2})]
  assert len(set(names)) == len(names)
  assert all(len(name) < 100 and '/' not in name for name in names)
  spaced = KuaiRandConfig(history=' user_id , tab ').name
  assert spaced == KuaiRandConfig(history='user_id,tab').name
  strong = KuaiRandConfig(history='user_id', history_strength=20).name
  assert strong == names[0]


def test_variants():
  configs = {
      name: load.config(f'configs/esmm.py:{name}')
      for name in common.KUAIRAND_HISTORIES
  }
  texts = {name: c.dataset.history for name, c in configs.items()}
  assert texts['kuairand'] is None
  assert texts['kuairand_history'] is True
  protocols = {
      name: KuaiRandConfig(history=text or False).protocol
      for name, text in texts.items()
  }
  assert protocols == {
      'kuairand': '',
      'kuairand_history': 'nightly',
      'kuairand_live': 'live, delay 60s, sessions',
      'kuairand_live_cautious': 'live, delay 60m',
  }
  nightly = language.parse(HISTORY)
  for name in ('kuairand_live', 'kuairand_live_cautious'):
    assert language.parse(texts[name])[: len(nightly)] == nightly
    config = configs[name]
    config.dataset.history = True
    assert config.to_dict() == configs['kuairand_history'].to_dict()
