"""A run's folder and its mirror: never an older over a newer one."""

import json

from esmm_jax import checksums, ownership
from esmm_jax.storage import faults, remote
from esmm_jax.types import InputError
from esmm_jax.workdir.mirrors import choice
from esmm_jax.workdir.mirrors.mirror import Mirror
import pytest

from tests.storage import stores

CONFIG = {'dataset': {'name': 'a'}, 'model': {'name': 'b'}, 'seed': 1}


def run(folder, *steps, config=CONFIG, finished=False):
  """A workdir with checkpoints of these steps."""
  ownership.claim(str(folder), ownership.RUN)
  (folder / 'config.json').write_text(json.dumps(config))
  for step in steps:
    checkpoint(folder, step)
  if finished:
    (folder / 'results.json').write_text('{}')
  return folder


def checkpoint(folder, step, sealed=True):
  path = folder / 'checkpoints' / str(step)
  (path / 'arrays').mkdir(parents=True, exist_ok=True)
  (path / 'arrays' / 'x').write_text(f'step {step}')
  (path / 'same').write_text('same')
  if sealed:
    checksums.seal(str(path))
  with open(folder / 'metrics.jsonl', 'a', encoding='utf-8') as f:
    f.write(f'{step}\n')


def content(folder):
  return {str(p.relative_to(folder)): p.read_text()
          for p in folder.rglob('*') if p.is_file()}


def test_a_lost_machine(url, tmp_path):
  """What was not complete, locks and signs of life stay behind."""
  folder = run(tmp_path / 'a', 10, 20)
  wanted = content(folder)
  checkpoint(folder, 30, sealed=False)
  (folder / 'metrics.jsonl').write_text('10\n20\n')
  (folder / '.lock').write_text('process 1')
  (folder / '.x.partial').write_text('half')
  (folder / '.processes').mkdir()
  (folder / '.processes' / '0').write_text('here')
  Mirror(url, str(folder)).saved(pytest.fail)
  other = tmp_path / 'b'
  ownership.claim(str(other), ownership.RUN)  # As a job of several does.
  (other / '.processes').mkdir()
  (other / '.processes' / '0').write_text('other')
  Mirror(url, str(other)).begin(CONFIG)
  assert content(other) == wanted | {'.processes/0': 'other'}
  Mirror(url, str(other)).begin(CONFIG)  # It is the same run.
  checkpoint(other, 30)
  Mirror(url, str(other)).finish()
  with pytest.raises(InputError, match='is at step 30, and --workdir=.* at'
                     ' step 20. Use an empty --workdir'):
    Mirror(url, str(folder)).begin(CONFIG)
  with pytest.raises(InputError, match='another one goes on with the run'):
    Mirror(url, str(folder)).saved(pytest.fail)
  assert json.loads(remote.read(f'{url}/.esmm_jax.json'))['step'] == 30


def test_the_end_is_later_than_its_step(url, tmp_path):
  run(tmp_path / 'a', 10, finished=True)
  Mirror(url, str(tmp_path / 'a')).finish()
  (tmp_path / 'a' / 'results.json').unlink()
  with pytest.raises(InputError, match=r'is at its end \(step 10\)'):
    Mirror(url, str(tmp_path / 'a')).begin(CONFIG)


def test_a_restoring_that_was_cut_begins_anew(url, tmp_path, monkeypatch):
  folder = run(tmp_path / 'a', 10, 20)
  Mirror(url, str(folder)).saved(pytest.fail)
  other = tmp_path / 'b'
  with monkeypatch.context() as patch:
    stores.Failing(patch, 'get_file', OSError('down'), 99)
    with pytest.raises(faults.StoreError, match='down'):
      Mirror(url, str(other)).begin(CONFIG)
  (other / 'config.json').write_text('half')
  Mirror(url, str(other)).begin(CONFIG)
  assert content(other) == content(folder)


def test_contents_are_there_once_and_old_ones_go(url, tmp_path):
  folder = run(tmp_path / 'a', 10)
  mirror = Mirror(url, str(folder))
  sizes = []
  for step in (20, 30, 40, 50):
    mirror.saved(pytest.fail)
    checkpoint(folder, step)
    checkpoints = folder / 'checkpoints'
    for name in (step - 10, f'{step - 10}.seal.json'):
      path = checkpoints / str(name)
      path.rename(tmp_path / f'removed {name}')
    sizes.append(len(stores.names(url)))
  # List, marker, config; seal, metrics and x of a state and of the one before.
  assert sizes == [1 + 2 + 1 + 3, *[1 + 2 + 1 + 2 * 3] * 3]
  before = stores.names(url)
  mirror.saved(pytest.fail)
  after = stores.names(url)
  mirror.saved(pytest.fail)  # Nothing is new.
  assert stores.names(url) == after != before


@pytest.mark.parametrize('config, words', [
    (CONFIG | {'seed': 2}, 'another config: seed is 2 here and 1 there'),
    (CONFIG, 'is of another run, though of the same config')])
def test_mirrors_of_other_runs(config, words, url, tmp_path):
  Mirror(url, str(run(tmp_path / 'a', 10))).saved(pytest.fail)
  other = run(tmp_path / 'b', 20, config=config)
  with pytest.raises(InputError, match=words):
    Mirror(url, str(other)).begin(config)


def test_an_empty_workdir_is_not_filled_with_another_config(url, tmp_path):
  Mirror(url, str(run(tmp_path / 'a', 10))).saved(pytest.fail)
  with pytest.raises(InputError, match='another config'):
    Mirror(url, str(tmp_path / 'b')).begin(CONFIG | {'seed': 2})
  assert not (tmp_path / 'b').exists()


def test_a_store_that_is_down(url, tmp_path, monkeypatch):
  """The run goes on, and says so; at its end it is an error."""
  folder = run(tmp_path / 'a', 10)
  said = []
  with monkeypatch.context() as patch:
    stores.Failing(patch, 'put_file', OSError('down'), 10**6)
    Mirror(url, str(folder)).saved(said.append)
    with pytest.raises(InputError, match='the run is finished in .*, but it is'
                       ' not in the mirror: .*down'):
      Mirror(url, str(folder)).finish()
  (line,) = said
  assert line.startswith('step 10 is not in the mirror: ')
  assert stores.names(url) == []
  Mirror(url, str(folder)).saved(pytest.fail)
  assert f'{url}/.esmm_jax.json'.endswith(stores.names(url)[0])


@pytest.mark.parametrize('workdirs, words', [
    (['a', 'b'], 'is of one run, and 2 are trained together'),
    (['s3://bucket/run'], '--workdir=s3://bucket/run is remote.*--mirror')])
def test_what_cannot_have_a_mirror(workdirs, words, url):
  with pytest.raises(InputError, match=words):
    with choice.using(url):
      choice.begin([CONFIG] * len(workdirs), workdirs)


@pytest.mark.parametrize('name, words', [
    ('/shared/run', 'is no URL'), ('ssh://host/run', 'is not opened')])
def test_what_is_no_mirror(name, words):
  with pytest.raises(InputError, match=words):
    with choice.using(name):
      pass


def test_a_mirror_is_copied_to_at_the_end_of_the_block(url, tmp_path):
  folder = run(tmp_path / 'a', 10)
  with choice.using(url):
    choice.begin([CONFIG], [str(folder)])
    choice.saved(pytest.fail)
    (folder / 'results.json').write_text('{}')
  assert json.loads(remote.read(f'{url}/.esmm_jax.json'))['finished']
  choice.saved(pytest.fail)  # Outside nothing is copied.
