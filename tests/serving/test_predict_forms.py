"""Files to score in any form of CSV: a run keeps that of its log."""

import json
import shutil

from esmm_jax.training.loop import train_and_evaluate
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import config_of, many
from tests.parallel import forking

pytestmark = pytest.mark.slow
NAMES = ['用户 id', '商品,物', '点击', '转化']


def encoded(rows, path, codec, separator='\t', header=False):
  table = zip(*rows.to_pydict().values())
  lines = [rows.column_names] if header else []
  lines += [[str(v) for v in row] for row in table]
  text = ''.join(separator.join(row) + '\n' for row in lines)
  path.write_bytes(text.encode(codec))
  return str(path)


@pytest.fixture(name='run', scope='module')
def _run(tmp_path_factory):
  """A run on a log in GBK, with tabs and no header, in `part-00000`."""
  home = tmp_path_factory.mktemp('forms')
  rows = many(2000).rename_columns(NAMES)
  path = encoded(rows, home / 'part-00000', 'gbk')
  config = config_of(path, **{'num_epochs': 1})
  config.dataset.update(
      id='用户 id,"商品,物"', click='点击', conversion='转化',
      group='用户 id', encoding='gbk', separator='tab', format='csv',
      header='用户 id,"商品,物",点击,转化')
  train_and_evaluate(config, str(home / 'run'), str(home / 'data'))
  shutil.rmtree(home / 'data')
  return home


@pytest.fixture(name='program', scope='module')
def _program(run):
  with forking.Program('experiments.predict', HOME=str(run)) as program:
    yield program


def score(program, run, name, *flags):
  done = program.run('--workdir=~/run', f'--input={name}', '--output=~/out.parq'
                     'uet', *flags)
  if done.returncode:
    return done.stderr
  out = run / 'out.parquet'
  scores = parquet.read_table(out).drop_columns(['file'])
  out.unlink()
  return scores


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_the_form_of_the_run_and_others(run, program):
  rows = many(300).rename_columns(NAMES)
  parquet.write_table(rows, run / 'new.parquet')
  wanted = score(program, run, '~/new.parquet')
  assert wanted.num_rows == 300
  encoded(rows, run / 'part-00001', 'gbk')
  assert score(program, run, '~/part-00001') == wanted
  (run / 'folder').mkdir()
  shutil.copy(run / 'part-00001', run / 'folder')
  (run / 'folder/_SUCCESS').touch()
  assert score(program, run, '~/folder') == wanted
  encoded(rows, run / 'new.csv', 'utf-8', ';', header=True)
  assert 'line 1: ' in score(program, run, '~/new.csv', '--separator=;')
  flags = ('--separator=;', '--encoding=utf-8', '--header=')
  assert score(program, run, '~/new.csv', *flags) == wanted
  said = score(program, run, '~/new.csv', *flags[1:])
  assert "set --separator=';'" in said and "no column '用户 id'" in said
  assert "--encoding is 'utf9'" in score(
      program, run, '~/new.csv', '--encoding=utf9')


@pytest.mark.usefixtures('quick_test')
def test_missing_values_of_a_file_to_score(run, program):
  rows = many(50).rename_columns(NAMES)
  rows = rows.set_column(0, NAMES[0], pa.nulls(50, pa.string()))
  parquet.write_table(rows, run / 'null.parquet')
  wanted = score(program, run, '~/null.parquet')
  rows = rows.set_column(0, NAMES[0], pa.array(['-'] * 50))
  csv.write_csv(rows, run / 'null.csv', csv.WriteOptions(delimiter='\t'))
  text = (run / 'null.csv').read_text().partition('\n')[2]
  (run / 'null.csv').write_text(text)
  more = ('--encoding=utf-8',)
  assert score(program, run, '~/null.csv', *more, '--null_values=-') == wanted
  assert score(program, run, '~/null.csv', *more) != wanted


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_evaluation_reads_the_form_of_the_run_too(run):
  rows = many(300).rename_columns(NAMES)
  parquet.write_table(rows, run / 'labelled.parquet')
  encoded(rows, run / 'part-00002', 'gbk')
  encoded(rows, run / 'a,b.csv', 'utf-8', ';', header=True)
  flags = ('--separator=;', '--encoding=utf-8', '--header=')
  results = []
  with forking.Program('experiments.evaluate', HOME=str(run)) as program:
    for name, *more in (
        ('~/labelled.parquet',), ('~/part-00002',), ('"~/a,b.csv"', *flags)):
      done = program.run(
          '--workdir=~/run', f'--input={name}', '--output=~/e.json', *more)
      assert done.returncode == 0, done.stderr
      result = json.loads((run / 'e.json').read_text('utf-8'))
      results.append({k: v for k, v in result.items() if k != 'input'})
    assert results[0]['rows'] == 300 and results[1:] == results[:1] * 2
    done = program.run('--workdir=~/run', '--input=~/labelled.parquet',
                       '--output=~/e.json', '--by="商品,物"')
    assert done.returncode == 0 and '商品,物=3 (8 rows)' in done.stdout
    done = program.run('--workdir=~/run', '--input="~/a,b.csv"', '--header=',
                       '--encoding=utf-8')
    assert "set --separator=';'" in done.stderr


def test_the_line_of_a_bad_value(run, program):
  """Empty lines count, and the header where there is one."""
  text = 'u1\t7\t0\t0\n\nu2\t7\t0\t0\n1.23e+18\t7\t0\t0\n'
  (run / 'bad.csv').write_text(text)
  said = score(program, run, '~/bad.csv')
  assert "bad.csv, line 4: column '用户 id' is '1.23e+18'" in said
  shutil.rmtree(run / 'out.parquet.parts')
  (run / 'bad.csv').write_text('\t'.join(NAMES) + '\n' + text)
  said = score(program, run, '~/bad.csv', '--header=', '--encoding=utf-8')
  assert "bad.csv, line 5: column '用户 id' is '1.23e+18'" in said
  shutil.rmtree(run / 'out.parquet.parts')
