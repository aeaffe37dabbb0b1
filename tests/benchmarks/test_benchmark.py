"""The benchmarks' lines: each program, of the smallest sizes."""

import ast
import json
import re

from benchmarks import common, gpu_parts
from esmm_jax.entry import commands
import pytest

from tests import ROOT
from tests.parallel import forking

PROGRAMS = [
    '.'.join(path.relative_to(ROOT / 'benchmarks').with_suffix('').parts)
    for path in sorted((ROOT / 'benchmarks').rglob('*.py'))
    if 'cli.run(' in path.read_text('utf-8')]

LINE = {
    'name', 'rows', 'batch_size', 'replicas', 'ms', 'examples_per_second'}
STEP = LINE | {
    'ms_min', 'ms_max', 'traces', 'gflops', 'bare_product_gflops',
    'matrix_share', 'table_bytes', 'peak_rss_bytes', 'cpu_ms',
    'first_seconds', 'lists', 'devices', 'bytes_exchanged'}
SMALL = ('--rows=1000', '--batch_size=64', '--steps=2', '--windows=1')
# Case -> program, arguments, names of the lines, their keys; a list: of each.
COMMANDS = {
    'step': ('step', ('--kinds=train', *SMALL), ['train'], STEP),
    'lists': (
        'step', ('--kinds=train', '--lists=2', '--list_len=3', *SMALL),
        ['train'], STEP),
    'dense': (
        'step', ('--kinds=lazy,dense', *SMALL), ['step_lazy', 'step_dense'],
        STEP),
    'balancing': (
        'balancing', (
            '--rows=1000', '--batch_size=64', '--models=mmoe', '--rounds=1',
            '--methods=pcgrad', '--window=1'),
        ['mmoe_static', 'mmoe_pcgrad'], LINE | {'ratio', 'traces', 'gram'}),
    'growth': (
        'in_turn.growth', (
            '--rows=1000', '--batch_size=64', '--rounds=1', '--seconds=0',
            '--axes=replicas,estimators,balancers', '--estimators=delayed_dfm',
            '--balancers=famo'),
        ['base', 'replicas_4', 'replicas_16', 'delayed_dfm', 'famo'],
        LINE | {
            'cpu_ms', 'work', 'ratio', 'cpu_ratio', 'exponent', 'cpu_exponent',
            'batch_ms', 'batch_exponent'}),
    'auc': ('auc', ('--rows=1e3',), ['auc'], LINE | {'auc', 'peak_rss_bytes'}),
    'memory': (
        'memory', ('--rows=1000', '--table_optimizer=adam'), ['memory'], {
            'name', 'rows', 'optimizer', 'processes', 'ms', 'init_bytes',
            'best_bytes', 'step_bytes', 'save_seconds', 'save_bytes',
            'said_bytes', 'restore_seconds', 'restore_bytes'}),
    'log': (
        'log', ('--rows=1e3',), ['prepare', 'score'] * 2,
        LINE | {'format', 'bytes', 'peak_rss_bytes'}),
    'merge': (
        'in_turn.merge', ('--rows=1e3', '--parts=3'),
        ['merge_order', 'merge_tree'], {
            'name', 'rows', 'parts', 'values', 'ms', 'cpu_ms', 'merge_ms',
            'longest_ms', 'vocabulary_ms', 'peak_bytes', 'message_ms',
            'message_bytes'}),
    'prepare': (
        'in_turn.prepare', ('--rows=1e3', '--files=2'), ['prepare'] * 4, {
            'name', 'rows', 'format', 'bytes', 'engine', 'workers', 'ms',
            *(f'{p}_{key}' for p in ('count', 'encode') for key in (
                'ms', 'rows_per_second', 'rows_per_cpu_second',
                'cpu_seconds')),
            'cpu_seconds', 'peak_rss_bytes', 'prepared_bytes', 'digest'}),
    'data': (
        'data', ('--processes=2',),
        ['data_read', 'data_compacted', 'data_shared'], [
            LINE | {'columns', 'cpu_seconds'},
            LINE | {'columns', 'cpu_seconds'},
            LINE | {'processes', 'part_ms', 'join_ms', 'message_bytes'}]),
    'vocabulary': (
        'vocabulary', ('--rows=100', '--batch_size=1,200'), ['vocabulary'] * 2,
        LINE | {'first_ms', 'bytes_per_value'}),
    'predict': (
        'predict', ('--rows=10',), ['predict', 'predict_exported'], LINE | {
            'ms_95', 'ms_first', 'calls', 'program_bytes', 'params_bytes',
            'cpu_seconds_per_million'}),
}
QUICK = ('auc',)
SUMS = [
    f'sums_{draw}_{way}' for draw in ('uniform', 'zipf', 'two')
    for way in ('ours', 'xla')]


@pytest.mark.slow
@pytest.mark.parametrize('case', [
    n if n in QUICK else pytest.param(n, marks=pytest.mark.long)
    for n in COMMANDS])
def test_lines(case, tmp_path):
  name, arguments, names, keys = COMMANDS[case]
  if name in ('data', 'in_turn.prepare', 'log', 'memory'):
    arguments = (*arguments, f'--data_dir={tmp_path}')
  with forking.Program(f'benchmarks.{name}') as program:
    done = program.run(*arguments)
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  assert [line['name'] for line in lines] == names
  every = keys if isinstance(keys, list) else [keys] * len(lines)
  for line, of_line in zip(lines, every, strict=True):
    assert set(line) == of_line
    assert line['rows'] > 0 and line['ms'] > 0


@pytest.mark.slow
@pytest.mark.long
def test_what_several_devices_exchange():
  with forking.Program(
      'benchmarks.step',
      XLA_FLAGS='--xla_force_host_platform_device_count=4') as program:
    done = program.run('--kinds=resident', '--mesh=1,2,2', *SMALL)
    again = program.run('--kinds=resident', '--mesh=1,4', *SMALL)
  assert done.returncode == 0, done.stderr
  (line,) = map(json.loads, done.stdout.splitlines())
  assert set(line) == STEP and line['devices'] == 4
  # The network, and of each row that 64 examples may touch 18 numbers four
  # times: the gradient, and the row with Adam's two moments; of an example 23
  # ids and two labels.
  _, schema = common.make_data(1000, examples=64)
  rows = sum(min(64, field.vocab_size) for field in schema.fields)
  assert line['bytes_exchanged'] == 4 * (
      475_522 + rows * 18 * 4 + 64 * (23 + 2))
  assert again.returncode == 2 and 'three numbers from 1' in again.stderr


@pytest.mark.slow
@pytest.mark.long
def test_all_parts_for_a_gpu_on_a_cpu(tmp_path):
  table = tmp_path / 'table.md'
  with forking.Program('benchmarks.gpu') as program:
    done = program.run(
        '--platform=cpu', '--tiny', f'--data_dir={tmp_path}',
        f'--markdown={table}')
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  names = [line['name'] for line in lines]
  assert names == [
      'device', *SUMS, 'parity', 'profile', 'resident', 'resident', 'funnel',
      'train', 'train', 'device_memory']
  by_name = dict(zip(names, lines))
  for name in (*SUMS, 'resident', 'train', 'funnel'):
    assert LINE <= set(by_name[name]) and by_name[name]['ms'] > 0
  assert by_name['resident']['replicas'] == by_name['train']['replicas'] == 2
  parity = by_name['parity']
  assert parity['as_on_cpu'] and parity['largest_difference'] <= 1e-5
  assert parity['moved'] > 1e-3
  assert by_name['profile']['why']  # No kernels on a CPU.
  rows = table.read_text('utf-8').splitlines()
  assert rows[0].startswith('| name | rows | batch_size | replicas | ms |')
  assert [row.split(' | ')[0][2:] for row in rows[2:]] == names


@pytest.mark.slow
@pytest.mark.long
def test_without_a_gpu_nothing_is_measured(tmp_path):
  with forking.Program('benchmarks.gpu') as program:
    done = program.run(f'--markdown={tmp_path / "table.md"}')
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        'There is no GPU that JAX can use, so nothing is measured.\n')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'table.md').touch()
    done = program.run(f'--markdown={tmp_path / "table.md"}')
  assert done.returncode == 1 and 'exists; remove it' in done.stderr


def test_what_a_device_cannot_do_is_a_line(capsys):
  """A part without memory; the next ones follow."""

  def fail():
    raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory\nmore')

  assert not gpu_parts.tried('train 65536 x 16', fail)
  assert gpu_parts.tried('next', list)
  assert json.loads(capsys.readouterr().out) == {
      'name': 'failed', 'part': 'train 65536 x 16',
      'why': 'RESOURCE_EXHAUSTED: Out of memory'}


def test_the_share_of_time_without_kernels():
  """Of 0 to 20: nothing runs from 4 to 6 and from 10 to 17."""
  spans = [(17, 20), (0, 4), (6, 10), (7, 9)]
  assert gpu_parts.idle_share(spans) == 9 / 20
  assert gpu_parts.idle_share([(3, 3)]) == 0


def test_a_table_of_lines():
  line = {'name': 'step', 'rows': 8, 'ms': 0.5, 'traces': 1, 'kind': 'x'}
  assert common.markdown([line]) == (
      '| name | rows | batch_size | replicas | ms | examples_per_second | more'
      ' |\n| --- | --- | --- | --- | --- | --- | --- |\n'
      '| step | 8 |  |  | 0.5 |  | traces=1, kind=x |\n')
  assert common.markdown([line, {'ms': None}], ('ms', 'name')) == (
      '| ms | name |\n| --- | --- |\n| 0.5 | step |\n|  |  |\n')


@pytest.mark.parametrize('name', PROGRAMS)
def test_each_program_has_an_example(name):
  """Its docstring begins with a command, whose flags it has."""
  sources = [
      (ROOT / path).read_text('utf-8') for path in (
          f'benchmarks/{name.replace(".", "/")}.py', 'benchmarks/common.py',
          'experiments/cli.py')]
  doc = ast.get_docstring(ast.parse(sources[0]), clean=False)
  example = commands.example(doc)
  assert example.startswith(f'python -m benchmarks.{name} --')
  for flag in re.findall(r'--(\w+)', example):
    assert f"'{flag}'" in ''.join(sources), flag


def test_the_programs():
  assert {program for program, *_ in COMMANDS.values()} <= set(PROGRAMS)
