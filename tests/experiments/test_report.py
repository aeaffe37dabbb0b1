"""The report of a folder that somebody sent runs no code and shows it all."""

import json
import os
import re

from esmm_jax.sweeps import table_json
from esmm_jax.sweeps.points import run_name
import pytest

from tests.parallel import forking
from tests.reporting import test_page

TABLE_FILE = """
from tests.reporting.test_page import TABLE
open({mark!r}, 'w').close()
def get_table(variant=''):
  return TABLE
"""


@pytest.fixture(scope='module')
def report():
  with forking.Program('experiments.report') as program:
    yield program


@pytest.fixture
def folder(tmp_path):
  """A finished sweep, with a file of Python that it names."""
  test_page.write_sweep(tmp_path)
  mark = str(tmp_path / 'MARK')
  (tmp_path / 'table.py').write_text(TABLE_FILE.format(mark=mark))
  return tmp_path


def write(folder, value):
  text = value if isinstance(value, str) else json.dumps(value)
  (folder / 'sweep.json').write_text(text)


def of_today(folder):
  spec = str(folder / 'table.py')
  return {'sweep': spec, **table_json.dump(test_page.TABLE)}


def page(folder):
  return test_page.Page((folder / 'report.html').read_text('utf-8'))


def test_the_table_of_the_folder_is_that_of_the_file(report, folder):
  """With --sweep=FILE, which is run then, the page is the same."""
  write(folder, of_today(folder))
  done = report.run(f'--workdir={folder}')
  assert done.returncode == 0 and '--sweep' not in done.stderr, done.stderr
  assert not (folder / 'MARK').exists()
  first = (folder / 'report.html').read_text('utf-8')
  assert len(page(folder).tables) == 3
  done = report.run(f'--workdir={folder}', f'--sweep={folder}/table.py')
  assert done.returncode == 0 and (folder / 'MARK').exists()
  assert (folder / 'report.html').read_text('utf-8') == first


EARLIER = {
    'earlier': lambda f: {
        'sweep': str(f / 'table.py'), 'title': 't', 'points': []},
    'torn': lambda f: '{"sweep": "' + str(f / 'table.py'),
    'list': lambda f: [str(f / 'table.py')],
    'empty': lambda f: '',
    'deep': lambda f: '[' * 100_000,
    'other kind': lambda f: of_today(f) | {'columns': {'sweep': 1}},
    'other names': lambda f: of_today(f) | {'rows': ['@nothing']},
    'no points': lambda f: of_today(f) | {'points': []},
}


@pytest.mark.parametrize('case', EARLIER)
def test_without_a_table_the_runs_are_shown(case, report, folder):
  write(folder, EARLIER[case](folder))
  done = report.run(f'--workdir={folder}')
  assert done.returncode == 0, done.stderr
  warning, = (k for k in done.stderr.splitlines() if 'manifest' not in k)
  assert warning.startswith('warning: ') and '--sweep=FILE' in warning
  assert 'sweep.json' in warning
  assert not (folder / 'MARK').exists()
  shown = page(folder)
  assert '4 runs, 4 finished' in shown.words and '--sweep=FILE' in shown.words
  names = sorted(map(run_name, test_page.TABLE.points))
  rows = [[name, 'finished'] for name in names]
  assert shown.tables == [[['name', 'run'], *rows]]


SPECS = [
    '$(id)', *(pytest.param(spec, marks=pytest.mark.slow) for spec in (
        'os.system', '/dev/stdin', 'https://example.invalid/x.py',
        'configs/esmm.py', "'; rm -rf ~'"))]


@pytest.mark.parametrize('spec', SPECS)
def test_what_it_names_is_only_shown(spec, report, folder):
  """And stands between quotes in a command that somebody copies."""
  write(folder, of_today(folder) | {'sweep': spec})
  done = report.run(f'--workdir={folder}')
  assert done.returncode == 0 and '--sweep' not in done.stderr, done.stderr
  words = page(folder).words
  assert re.search(r"--sweep=(\S+|'.*') --workdir", words)
  assert '--sweep=$(' not in words and f'{spec}: 4 runs' in words


def test_control_characters_of_names_stay_out_of_the_terminal(report, tmp_path):
  """Of a folder that is no run, one that is none, and of an output."""
  odd = tmp_path / 'run\x1b]0;owned\x07\x9b2J\u202etxt'
  for _ in range(2):
    done = report.run(f'--workdir={odd}', f'--output={odd}/x\r\n.html')
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not set('\x1b\x07\x9b\u202e\r') & set(done.stderr + done.stdout)
    assert r'run\x1b]0;owned\x07\x9b2J\u202etxt' in done.stderr
    os.makedirs(odd, exist_ok=True)
