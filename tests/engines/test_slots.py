"""Programs in slots of this machine."""

import contextlib
import os
import pickle
import time

from esmm_jax.cores import cores
from esmm_jax.engines import shares, slots
from esmm_jax.engines.slot_choice import Ask, parse
from esmm_jax.engines.program import Call, End
from esmm_jax.types import InputError
import pytest

from tests.engines import saying

PROGRAM = saying.__name__


def heard(opened, tasks):
  """Task -> all that it says, until all have ended."""
  told = {task: [] for task in tasks}
  deadline = time.monotonic() + 60
  while not all(ends and isinstance(ends[-1], End) for ends in told.values()):
    assert time.monotonic() < deadline, told
    for task, one in opened.hear():
      told[task].append(one)
  return list(told.values())


def test_lines_answers_and_shares(monkeypatch):
  monkeypatch.delenv('NPROC', raising=False)
  with contextlib.closing(slots.Local(2)) as opened:
    assert opened.num == 2
    tasks = [
        opened.begin(Call(PROGRAM, 'answers', {'word': word})) for word in 'ab']
    ends = heard(opened, tasks)
    for word, (*lines, end) in zip('ab', ends):
      assert sorted(lines) == [
          ('stderr', 'warning: no'), ('stdout', f'asked {word}')]
      assert end.code == 0
    chosen = [pickle.loads(end.answer) for *_, end in ends]
    every = sorted(os.sched_getaffinity(0))
    assert [set(c) for c, _ in chosen] == [
        {*every[k::2]} or {every[0]} for k in range(2)]
    # As many threads as a program that has all cores.
    assert all(e['NPROC'] == str(cores()) for _, e in chosen)
    # A slot is free again.
    (lines,) = heard(opened, [opened.begin(Call(PROGRAM, 'dies', {}))])
    assert lines == [('stdout', 'begun'), End(-9)]
    assert lines[-1].cause == 'signal 9 (SIGKILL)'


def test_stopping():
  with contextlib.closing(slots.Local(1)) as opened:
    task = opened.begin(Call(PROGRAM, 'waits', {}))
    told = []
    while not told:
      told = opened.hear()
    assert told == [(task, ('stdout', 'ready'))]
    opened.stop()
    assert heard(opened, [task]) == [[End(75)]]


def test_a_program_sees_that_it_is_alone(tmp_path):
  path = tmp_path / 'note'
  with contextlib.closing(slots.Local(1)) as opened:
    call = Call(PROGRAM, 'orphaned', {'word': str(path)})
    (ends,) = heard(opened, [opened.begin(call)])
    assert ends == [End(-9)]
  deadline = time.monotonic() + 60
  while not (path.exists() and path.read_text('utf-8')):
    assert time.monotonic() < deadline
    time.sleep(.01)


@pytest.mark.parametrize('text, expected', [
    ('', {}), ('GPU=1,CPU=4', {'GPU': 1.0, 'CPU': 4.0}),
    ('GPU=.5,big=2', {'GPU': .5, 'big': 2.0}),
])
def test_resources(text, expected):
  assert parse(text) == expected


@pytest.mark.parametrize('text', ['GPU', '=1', 'CPU=0', 'topology=2x2'])
def test_no_resources(text):
  with pytest.raises(InputError, match=f'--resources={text}: '):
    Ask('ray', resources=text).check()


@pytest.mark.parametrize('ask, words', [
    (Ask('ray', slots=2), '--slots=2 applies only to --engine=local; with'),
    (Ask(resources='GPU=1'), '--resources=GPU=1 applies only to --engine=ray'),
])
def test_flags_that_contradict_each_other(ask, words):
  with pytest.raises(InputError, match=words):
    ask.check()


def test_several():
  assert Ask('ray').several and Ask(slots=2).several
  assert not Ask().several and not Ask(slots=1).several


@pytest.fixture(name='gpus')
def _gpus(tmp_path, monkeypatch):
  """A machine where JAX has the GPUs that CUDA_VISIBLE_DEVICES names."""
  (tmp_path / 'jax_cuda13_plugin.py').touch()
  monkeypatch.syspath_prepend(tmp_path)
  for name in ('JAX_PLATFORMS', 'XLA_PYTHON_CLIENT_MEM_FRACTION'):
    monkeypatch.delenv(name, raising=False)

  def visible(text):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', text)
    return monkeypatch

  return visible


def test_each_slot_has_its_gpu(gpus):
  gpus('4,5,MIG-7')
  chosen = shares.shares(3)
  assert [s.environment for s in chosen] == [
      {'CUDA_VISIBLE_DEVICES': name} for name in ('4', '5', 'MIG-7')]
  assert not any(s.cores for s in chosen)


def test_slots_that_share_a_gpu(gpus):
  change = gpus('0,1')
  chosen = [s.environment for s in shares.shares(3)]
  assert [c['CUDA_VISIBLE_DEVICES'] for c in chosen] == ['0', '1', '0']
  # Two of them fit into .9 of its memory.
  assert {c['XLA_PYTHON_CLIENT_MEM_FRACTION'] for c in chosen} == {'0.450'}
  change.setenv('XLA_PYTHON_CLIENT_MEM_FRACTION', '.2')
  assert shares.shares(3)[0].environment == {'CUDA_VISIBLE_DEVICES': '0'}


def test_no_gpu_that_jax_would_not_use(gpus):
  gpus('').setenv('JAX_PLATFORMS', '')
  assert not shares.gpus()
  gpus('0,1').setenv('JAX_PLATFORMS', 'cpu')
  assert not shares.gpus()
  assert not any(
      'CUDA_VISIBLE_DEVICES' in s.environment for s in shares.shares(2))


def test_more_slots_than_cores():
  chosen = shares.shares(2 * cores() + 1)
  assert all(len(s.cores) == 1 for s in chosen)
  assert {s.cores[0] for s in chosen} == os.sched_getaffinity(0)


def test_threads_that_are_set_stay(monkeypatch):
  monkeypatch.setenv('NPROC', '16')
  assert shares.threads() == {'NPROC': '16'}
