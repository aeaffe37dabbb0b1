"""The console: lines, bars, help, exit codes."""

import io
import os
import re
import subprocess
import sys
import time

from absl import flags
from esmm_jax.entry import commands
from esmm_jax.training.console.evaluation import line
from esmm_jax.types import InputError
from esmm_jax.workdir.writer import Writer
from experiments import __main__ as programs
from experiments import cli, console
from hypothesis import given, strategies as st
import pytest

from tests import ROOT

METRICS = {
    'train/loss': 0.16987,
    'valid/ctr/auc': 0.65936,
    'valid/ctr/logloss': 0.15969,
    'valid/cvr_clicked/auc': 0.61206,
    'valid/ctcvr/auc': 0.75122,
    'valid/ctcvr/logloss': 0.010133,
    'valid/cvr_entire/auc': 0.63627,
    'valid/gate_ctr/load_0': 0.2,
}


@pytest.mark.parametrize('width, texts', [
    (100, ['step 1,860 epoch 0.76 ctcvr/logloss 0.01013 loss 0.1699 | auc ctr'
           ' 0.6594 cvr_clicked 0.6121', '  ctcvr 0.7512']),
    (80, ['step 1,860 epoch 0.76 ctcvr/logloss 0.01013 loss 0.1699 | auc ctr'
          ' 0.6594', '  cvr_clicked 0.6121 ctcvr 0.7512']),
    (120, ['step 1,860 epoch 0.76 ctcvr/logloss 0.01013 loss 0.1699 | auc ctr'
           ' 0.6594 cvr_clicked 0.6121 ctcvr 0.7512'])])
def test_an_evaluation(width, texts):
  text = line(1860, 0.758, METRICS, 'valid/ctcvr/logloss', width)
  assert text.splitlines() == texts


@pytest.mark.parametrize('selects, begins', [
    ('valid/cvr_clicked/auc', ' cvr_clicked/auc 0.6121 loss 0.1699 | auc ctr'),
    ('', ' loss 0.1699 | auc ctr'), ('valid/none/auc', ' loss 0.1699')])
def test_the_metric_that_selects_comes_first(selects, begins):
  text = line(2, 1.0, METRICS, selects, 200)
  assert text.startswith('step 2 epoch 1.00' + begins)
  assert text.endswith(' logloss 0.01013')
  assert text.count('0.6121') == 1


def test_an_evaluation_has_the_width_of_the_terminal(monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  narrow = line(1860, 0.758, METRICS)
  monkeypatch.setenv('COLUMNS', '200')
  assert narrow.count('\n') == 1 and '\n' not in line(1860, 0.758, METRICS)


@given(st.integers(0, 10**9), st.integers(0, 12), st.integers(1, 24))
def test_no_number_is_cut(step, num, width):
  """Each metric stands there whole, in lines of 80 columns."""
  tasks = {f'valid/{"t" * width}{k}/auc': 0.5 for k in range(num)}
  text = line(step, 999.99, {'train/loss': 1234.5} | tasks, width=80)
  assert max(map(len, text.splitlines())) <= 80
  assert text.count(' 0.5000') == num
  assert all(x.startswith('  ') for x in text.splitlines()[1:])


def test_of_many_tasks_the_first_are_shown():
  tasks = {f'valid/task{k}/auc': k / 100 for k in range(38)}
  text = line(2, 1.0, {'train/loss': 1.0} | tasks, width=80)
  assert text.endswith('task11 0.1100 and 26 more in metrics.jsonl')
  assert 'task12' not in text and text.count('\n') == 2


@pytest.mark.parametrize('columns', ['20', '40'])
def test_a_tiny_terminal(columns, monkeypatch):
  """Lines of 40 columns, also where the terminal has fewer."""
  monkeypatch.setenv('COLUMNS', columns)
  assert line(1860, 0.758, METRICS).splitlines() == [
      'step 1,860 epoch 0.76 loss 0.1699',
      '  auc ctr 0.6594 cvr_clicked 0.6121',
      '  ctcvr 0.7512 logloss 0.01013']


def results_of(names, monkeypatch, capsys, columns):
  monkeypatch.setenv('COLUMNS', str(columns))
  keys = [f'test/{s}/{m}' for s in ('ctr', 'cvr_clicked')
          for m in ('auc', 'gauc', 'logloss', 'calibration')]
  result = dict.fromkeys(keys, 0.123456) | {
      'steps': 4, 'selected_step': 2, 'num_params': 9, 'examples_per_second': 1}
  console.print_results({name: result for name in names})
  return capsys.readouterr().out


@pytest.mark.parametrize('columns, tables', [(80, 1), (40, 2)])
def test_the_table_of_a_long_name(columns, tables, monkeypatch, capsys):
  """Alone it stands once, behind the numbers; others go on below."""
  name = 'a_name_' * 12
  text = results_of([name], monkeypatch, capsys, columns)
  joined = text.replace('\n', '')
  assert joined.count(f'{name}: 4') == 1 and joined.count('a_name_') == 12
  assert text.count('0.1235') == 8
  assert text.count(' task ') == tables
  assert max(map(len, text.splitlines())) <= columns
  text = results_of([name, 'b'], monkeypatch, capsys, columns)
  folded = ''.join(x[16:50].strip() for x in text.splitlines())
  assert name in folded and text.count('0.1235') == 16


class Terminal(io.StringIO):
  """A stderr that says it is a terminal."""

  def isatty(self):
    return True


def progress(workdir, monkeypatch, stderr, shows=True):
  """Ten steps of a run, 20 seconds each, an evaluation after the fifth."""
  now = [1000.0]
  monkeypatch.setattr(sys, 'stderr', stderr)
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  writer = Writer(os.fspath(workdir), 0, 1000, shows)
  for step in range(100, 1001, 100):
    now[0] += 20
    writer.progress(step, 0.25, 5120.0)
    if step == 500:
      writer.say('step 500')
  writer.close()
  return stderr.getvalue()


def test_a_log_file_gets_lines(tmp_path, monkeypatch, capsys):
  """Every half minute, so after 40, 80, ... seconds; not at the end."""
  text = progress(tmp_path, monkeypatch, io.StringIO())
  assert '\r' not in text and '\x1b' not in text
  assert text.splitlines() == [
      f'step {n} of 1,000 ({n // 10} %) loss 0.2500, 5,120 examples/s, about'
      f' {left} left'
      for n, left in ((200, '02:40'), (400, '02:00'), (600, '01:20'),
                      (800, '00:40'))]
  assert capsys.readouterr().out == 'step 500\n'


def test_other_replicas_are_silent(tmp_path, monkeypatch):
  assert progress(tmp_path, monkeypatch, io.StringIO(), shows=False) == ''


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
  text = progress(tmp_path, monkeypatch, Terminal())
  assert '\r' in text and '1000/1000' in text
  assert 'examples/s, about' not in text


def test_exit_codes_are_documented():
  table = re.findall(
      r'^\| (\d+) \| (.*) \|$', (ROOT / 'docs/reports.md').read_text(), re.M)
  assert {int(code): text for code, text in table} == cli.EXIT_CODES


def test_the_list_of_programs(capsys):
  assert programs.main([]) == 0
  text = capsys.readouterr().out
  for name in ('demo', 'train', 'report', 'sweep', 'table', 'doctor'):
    assert re.search(rf'^  {name} +[A-Z].*\.$', text, re.M), name
  for code, meaning in cli.EXIT_CODES.items():
    assert f'{code:3}  {meaning}' in text
  assert 'cli' not in programs.programs()
  assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['train', '--config=a b'],
         "with a dot: python -m experiments.train '--config=a b'"),
        (['trian'], "there is no program 'trian'. Did you mean 'train'?"),
    ],
)
def test_not_a_program(arguments, said, capsys):
  assert programs.main(arguments) == 2
  out, err = capsys.readouterr()
  assert out == '' and said in err and err.count('\n') == 1


@pytest.mark.parametrize('name', programs.programs())
def test_each_program_says_what_to_type(name):
  """Its docstring begins with a command, whose flags it has."""
  example = commands.example(programs.programs()[name])
  assert example.startswith(f'python -m experiments.{name}')
  source = ''.join(
      (ROOT / 'experiments' / f'{module}.py').read_text('utf-8')
      for module in (name, 'cli', 'file_flags'))
  for flag in re.findall(r'--(\w+)', example):
    assert f"'{flag}'" in source, flag


def test_example_command():
  assert commands.example(
      'A.\n\n  python -m experiments.a --b=c \\\n    --d=e\n  python -m f\n'
  ) == 'python -m experiments.a --b=c --d=e'
  assert commands.example('No command.') == ''


def test_a_flag_that_is_not_set(monkeypatch):
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'Folder.', flag_values=values)
  values(['program'])
  monkeypatch.setattr(cli.flags, 'FLAGS', values)
  doc = 'A.\n\n  python -m experiments.a --workdir=runs/a\n'
  monkeypatch.setattr(cli, 'program', {'__doc__': doc})
  with pytest.raises(cli.UsageError) as e:
    cli.require('workdir', 'runs/b')
  assert str(e.value) == (
      '--workdir is not set. For example: python -m experiments.a'
      ' --workdir=runs/a (--help lists all flags)')
  assert isinstance(e.value, InputError)
  monkeypatch.setattr(cli, 'program', {})
  with pytest.raises(cli.UsageError, match='For example: --workdir=runs/b '):
    cli.require('workdir', 'runs/b')


def test_command(monkeypatch):
  """Without what is only of this machine."""
  monkeypatch.setattr(cli, 'program', {})
  argv = ['t.py', '--workdir=/home/me/runs/s', '--data_dir=/x', '--config=a b',
          '--norm']
  assert cli.command(argv) == "python t.py --workdir=s '--config=a b' --norm"
  monkeypatch.setattr(cli, 'program', vars(programs))
  assert cli.command(['t.py']) == 'python -m experiments.__main__'


def start(*arguments):
  return subprocess.run(
      [sys.executable, '-m', *arguments], capture_output=True, text=True,
      cwd=ROOT,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'}, timeout=120, check=False)


CALLS = {
    'help': (
        ['experiments.report', '--help'], 0,
        '--workdir: Folder of a finished', ''),
    'the list': (['experiments'], 0, 'Exit codes:', ''),
    'no flags': (
        ['experiments.report'], 2, '',
        'error: --workdir is not set. For example: python -m'
        ' experiments.report --workdir=runs/esmm'),
    'unknown flag': (
        ['experiments.report', '--wrkdir=x'], 2, '',
        "error: Unknown command line flag 'wrkdir'"),
    'no such folder': (
        ['experiments.report', '--workdir=/no/such'], 1, '',
        'error: --workdir=/no/such: there is no config.json'),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    'case',
    ['no flags', 'no such folder', *(
        pytest.param(case, marks=pytest.mark.long)
        for case in ('help', 'the list', 'unknown flag'))])
def test_exit_codes(case):
  arguments, code, out, err = CALLS[case]
  done = start(*arguments)
  assert done.returncode == code, done.stderr
  assert out in done.stdout and err in done.stderr
  if code:
    assert done.stderr.count('\n') == 1, done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize('name', programs.programs())
def test_each_program_has_help(name):
  done = start(f'experiments.{name}', '--help')
  assert done.returncode == 0, done.stderr
  assert f'python -m experiments.{name}' in done.stdout


@pytest.mark.long
@pytest.mark.parametrize('name', ('train', 'sweep', 'table', 'prepare_data',
                                  'report'))
def test_each_program_without_flags(name):
  done = start(f'experiments.{name}')
  assert done.returncode == 2, done.stderr
  assert f'python -m experiments.{name}' in done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
