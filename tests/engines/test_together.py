"""Processes that are started for one run: ends, losses, the console, flags.

Real ones, of a program without JAX, on this machine; with Ray those of
`test_ray_training`.
"""

import signal

from esmm_jax.engines.together import attempts, starting
from esmm_jax.engines.together import resources as all_resources
from esmm_jax.engines.together.local import LocalGroup
from esmm_jax.engines.together.process import END, ERR, Event, GONE, OUT
from esmm_jax.types import InputError
import pytest

from tests.parallel import forking

SIGKILL = -int(signal.SIGKILL)


class Asked:
  """A wish to stop that comes at the n-th look."""

  name = 'SIGTERM'

  def __init__(self, number=0):
    self._left = number

  def __bool__(self):
    self._left -= 1
    return self._left < 0

NEVER = Asked(10 ** 9)


class Script(attempts.Group):
  """Events that are written down, one list for each call."""

  def __init__(self, script, calls):
    self._script, self._calls = list(script), calls

  def events(self):
    return [Event(*e) for e in self._script.pop(0)] if self._script else []

  def stop(self):
    self._calls.append('stop')

  def close(self):
    self._calls.append('close')


def attempt(scripts, max_failures=0, asked=NEVER):
  """(exit code, calls of the groups) of attempts."""
  scripts, calls = list(scripts), []
  code = attempts.run(
      lambda: Script(scripts.pop(0), calls), 2, max_failures, asked)
  assert not scripts
  return code, calls


DONE = [[(0, END, 0), (1, END, 0)]]
KILLED = [[(1, END, SIGKILL)], [(0, END, 6)]]
LAST = ('--max_failures=%d allows no further attempt. The same command goes on'
        ' from the last checkpoint.')


@pytest.mark.parametrize('events, code, said', [
    ([(0, END, 0), (1, END, 0)], 0, ''),
    # Of an error that both have the first one has said it.
    ([(0, ERR, 'error: x.'), (0, END, 1), (1, ERR, 'error: x.'), (1, END, 1)],
     1, 'error: x.\n'),
    ([(0, ERR, 'error: not finite'), (0, END, 3), (1, END, 3)], 3,
     'error: not finite\n'),
    # The first one lost the other, which had an error of its own.
    ([(0, END, 6), (1, ERR, 'error: no disk'), (1, END, 1)], 1,
     '[process 1] error: no disk\n'),
    ([(1, END, 1), (1, ERR, 'late'), (0, END, 6)], 1, '[process 1] late\n'),
    # What comes of a kill is no error of its own.
    ([(1, END, SIGKILL), (0, ERR, 'noise'), (0, END, 1)], 6,
     'noise\nerror: process 1 was lost, by signal 9 (SIGKILL); ' + LAST % 0),
    ([(0, END, 6), (1, END, 6)], 6,
     'error: process 0 has lost another one; ' + LAST % 0),
    ([(0, GONE, 'with its worker'), (1, END, 6)], 6,
     'error: process 0 was lost, with its worker; ' + LAST % 0),
    ([(1, END, 75), (0, END, 75)], 6,
     'error: process 1 was stopped by its machine; ' + LAST % 0),
])
def test_exit_codes(events, code, said, capfd):
  assert attempt([[events]]) == (code, ['close'])
  assert capfd.readouterr().err.strip() == said.strip()


def test_starts_again(capfd):
  assert attempt([KILLED, KILLED, DONE], 2) == (0, ['close'] * 3)
  assert capfd.readouterr().err.splitlines() == [
      'warning: process 1 was lost, by signal 9 (SIGKILL). All start again at'
      f' the last checkpoint (failure {n} of 2).' for n in (1, 2)]
  assert attempt([KILLED] * 3, 2)[0] == 6
  assert (LAST % 2) in capfd.readouterr().err
  assert attempt([KILLED] * 5 + [DONE], -1)[0] == 0
  # An error is none that starts again.
  assert attempt([KILLED, [[(0, END, 3)], [(1, END, 3)]]], 2)[0] == 3


@pytest.mark.parametrize('events, code, said', [
    ([(0, END, 75), (1, END, 75)], 75, ''),
    ([(0, END, 0), (1, END, 0)], 0, ''),
    # SIGTERM before the program could note it.
    ([(0, END, -15), (1, END, 75)], 75, 'error: stopped by SIGTERM before'),
    ([(0, END, 3), (1, END, 3)], 3, ''),
])
def test_asked_to_stop(events, code, said, capfd):
  script = [[[(0, OUT, 'step 1')], events]]
  assert attempt(script, 3, Asked(1)) == (code, ['stop', 'close'])
  out, err = capfd.readouterr()
  assert out == 'step 1\n' and err.startswith(said) and (said or not err)


def local(word, folder, max_failures=0, asked=NEVER):
  """Exit code of `saying` in two processes."""
  program = starting.program(
      'tests.engines.saying_in_run', ['saying', word, str(folder)], 2)
  return attempts.run(
      lambda: LocalGroup(program), 2, max_failures, asked)


def times(folder):
  """Times that each process was started."""
  return [len((folder / str(k)).read_text('utf-8')) for k in (0, 1)]


def test_local_processes(tmp_path, capfd):
  """The console is that of the first one; the other one's when it fails."""
  assert local('end', tmp_path) == 0 and times(tmp_path) == [1, 1]
  out, err = capfd.readouterr()
  assert out.startswith('0 of 2 at 127.0.0.1, GPU') and out.count('\n') == 1
  assert "typed ['saying', 'end'" in out and err == 'and on stderr\n'
  assert local('fail', tmp_path) == 3 and times(tmp_path) == [2, 2]
  err = capfd.readouterr().err
  assert '[process 1] and on stderr\n[process 1] ' in err
  assert '[process 1] error: it is wrong.\n' in err


@pytest.mark.long
def test_a_lost_process_of_this_machine(tmp_path, monkeypatch):
  monkeypatch.setattr(attempts, '_GRACE', 0.5)
  assert local('die', tmp_path, 1) == 0 and times(tmp_path) == [2, 2]
  assert local('always', tmp_path, 1) == 6 and times(tmp_path) == [4, 4]
  # SIGTERM reaches all, after they have begun.
  assert local('wait', tmp_path, 1, Asked(20)) == 75


@pytest.mark.parametrize('text, expected', [
    ('', {}),
    ('GPU=1,CPU=4', {'GPU': 1, 'CPU': 4}),
    ('CPU=0.5', {'CPU': 0.5}),
    ('TPU=4,topology=4x4,accelerator_type=TPU-V6E',
     {'TPU': 4, 'topology': '4x4', 'accelerator_type': 'TPU-V6E'}),
    ('GPU', None), ('GPU=', None), ('GPU=0', None), ('GPU=-1', None),
    ('GPU=x', None), ('GPU=inf', None), ('GPU=1,GPU=1', None), ('=1', None),
    ('topology=', None),
])
def test_resources(text, expected):
  if expected is None:
    with pytest.raises(InputError, match=f'--resources={text}: '):
      all_resources.parse(text)
  else:
    assert all_resources.parse(text) == expected


@pytest.mark.parametrize('cpus, num, share', [
    ([8], 2, 4), ([8], 3, 2), ([2], 2, 1), ([2], 4, 1), ([], 2, 1),
    # A machine each; two each; three on four machines.
    ([16] * 4, 4, 16), ([16] * 4, 8, 8), ([16] * 4, 3, 16),
    # 5 + 2 of them: what a process on the small one leaves free counts too.
    ([16, 6], 7, 3), ([0, 4], 2, 2),
])
def test_share(cpus, num, share):
  assert all_resources.share(cpus, num) == share
  if share > 1:  # And not one more.
    assert sum(n // share for n in cpus) >= num > sum(
        n // (share + 1) for n in cpus)


def test_the_flags_of_a_process():
  typed = [
      'train.py', '--config=c', '--engine', 'ray', '-workers=2', '--workdir',
      'w', '--ray_address=a:1', '--num_processes=2', '--max_failures', '-1',
      '--resources=CPU=1', '--peer_timeout=9']
  program = starting.program('m', typed, 2)
  assert program.argv == [
      'train.py', '--config=c', '--workdir', 'w', '--peer_timeout=9']
  assert program.typed == typed


@pytest.mark.parametrize('flags, words', [
    ('--num_processes=2', 'need --coordinator; or --engine=ray or'),
    ('--engine=ray --process_id=0', 'need --coordinator; or --engine=ray or'),
    ('--engine=ray --num_processes=2 --coordinator=127.0.0.1:9999'
     ' --process_id=0', '--coordinator=127.0.0.1:9999 is of a process that'
     ' somebody starts'),
    ('--max_failures=2', '--max_failures=2 is of processes that are started'),
    ('--engine=ray --resources=GPU=1 --num_processes=1',
     '--resources=GPU=1 is of processes that are started'),
    ('--engine=local --num_processes=2 --resources=GPU=1',
     '--resources=GPU=1 applies only to --engine=ray'),
    ('--engine=ray --num_processes=2 --resources=GPU',
     '--resources=GPU: GPU must be NAME=NUMBER'),
    ('--engine=local --num_processes=2 --ray_address=x:1',
     '--ray_address=x:1 applies only to --engine=ray'),
])
def test_refused(flags, words, tmp_path):
  with forking.Program('experiments.train') as program:
    done = program.run(
        '--config=configs/esmm.py:smoke', f'--workdir={tmp_path / "run"}',
        f'--data_dir={tmp_path / "data"}', *flags.split())
  assert done.returncode == 1 and done.stdout == ''
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ') and words in line
  assert not (tmp_path / 'run').exists()
