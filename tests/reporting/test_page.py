"""The pages of runs and sweeps: what they say, what they lack, how they do.

The runs are folders written by hand, so each number in a page is known.
"""

import base64
from html.parser import HTMLParser
import json
import os
import re

from esmm_jax.reporting.page import parts, run_page, sweep_page
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.table import Column, Paper, Table
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}
NASTY = '<script>alert("x")</script> & \'y\''
RESULTS = {
    'valid/ctr/auc': 0.61234567,
    'test/ctr/auc': 0.64321,
    'test/ctr/logloss': 0.0123456,
    'test/ctr/calibration': 1.25,
    'test/cvr_clicked/auc': 0.7001,
    'test/ctcvr/auc': None,
    'test/cvr_entire/auc': 0.55556,
    'test/cvr_entire/kl': 0.004321,
    'test/cvr_entire/ratio': 1.5,
    **{f'test/cvr_entire/ratio_ctr_decile_{d}': 2 - d / 10
       for d in range(1, 11)},
    'test/gate_ctr/entropy': 0.5,
    'test/gate_ctr/load_0': 0.25,
    'test/gate_ctr/load_1': 0.75,
    'versions': {'jax': '1.2.3'},
    'steps': 1200, 'selected_step': 600, 'num_params': 1234567,
    'replicas': 1, 'seed': 3,
}  # fmt: skip
CONFIG = {
    'seed': 3,
    'init_seed': None,
    'estimator': 'entire_space',
    'model': {'name': 'mmoe', 'tower_units': [4, 2]},
    'dataset': {'name': 'synthetic_funnel', 'raw_dir': ''},
}
LINES = [
    {'step': 300, 'train/loss': 0.9, 'train/ctr': 0.5},
    {'step': 600, 'train/loss': 0.8, 'train/ctr': 0.4, 'valid/ctr/logloss': 0.3,
     'valid/ctr/auc': 0.61234567},
    {'step': 1200, 'train/loss': 0.7, 'train/ctr': 0.3,
     'valid/ctr/logloss': 0.35, 'valid/ctr/auc': 0.6},
]  # fmt: skip
SCORES = {'logloss': 0.2, 'calibration': 1.1, 'ece': 0.01, 'auc': 0.64}
CALIBRATION = {
    'version': 1,
    'fitted_on': 'valid',
    'rows': {'ctr': 12345},
    'tasks': {'ctr': {'platt': {'slope': 1.0, 'intercept': 0.0}}},
    'test': {'ctr': {'none': SCORES, 'platt': SCORES | {'logloss': 0.1}}},
}
ORIGIN = {
    'command': 'python -m experiments.train --config=configs/mmoe.py',
    'commit': 'abc123', 'device': '1 x cpu', 'data': 'funnel, sha256 0f',
}  # fmt: skip


class Page(HTMLParser):
  """Reads a page; fails where a tag is not closed.

  Attributes:
    text: All of its text.
    links: Values of href and src.
    tables: Rows of cells, one list a table.
    tags: Names of all tags.
  """

  def __init__(self, html):
    super().__init__()
    self.text, self.links, self.tables = '', [], []
    self.tags, self._open, self.titles = set(), [], {}
    self.feed(html)
    self.close()
    assert self._open == []

  def handle_starttag(self, tag, attrs):
    self.tags.add(tag)
    attrs = dict(attrs)
    self.links += [attrs[k] for k in ('href', 'src') if k in attrs]
    if tag not in VOID:
      self._open.append(tag)
    if tag == 'table':
      self.tables.append([])
    if tag == 'tr':
      self.tables[-1].append([])
    if tag in ('td', 'th'):
      self.tables[-1][-1].append('')
      self._title = attrs.get('title')

  def handle_endtag(self, tag):
    if tag not in VOID:
      assert self._open.pop() == tag
      self.text += ' ' if tag in ('dt', 'dd', 'td', 'th') else ''

  def handle_data(self, data):
    self.text += '' if 'style' in self._open else data
    if {'td', 'th'} & set(self._open):
      self.tables[-1][-1][-1] += data
      if self._title:
        self.titles[data] = self._title

  @property
  def words(self):
    """The text in single spaces."""
    return ' '.join(self.text.split())


def read(page):
  return Page(parts.render(page))


def check_alone(page):
  """Nothing is fetched and nothing runs."""
  assert 'script' not in page.tags and 'link' not in page.tags
  for link in page.links:
    assert link.startswith(('#', 'data:image/png;base64,')) or (
        '//' not in link and ':' not in link and not link.startswith('/')
    ), link
  for link in page.links:
    if link.startswith('data:'):
      picture = base64.b64decode(link.partition(',')[2])
      assert picture.startswith(b'\x89PNG')


def write_run(
    folder, skip=(), config=CONFIG, results=RESULTS, lines=LINES):
  os.makedirs(folder, exist_ok=True)
  files = {
      'config.json': config, 'results.json': results,
      'calibration.json': CALIBRATION, 'origin.json': [ORIGIN],
  }  # fmt: skip
  for name, value in files.items():
    if name not in skip:
      (folder / name).write_text(json.dumps(value))
  if 'metrics.jsonl' not in skip:
    (folder / 'metrics.jsonl').write_text(
        ''.join(json.dumps(line) + '\n' for line in lines))
  if 'predictions' not in skip:
    (folder / 'predictions').mkdir(exist_ok=True)
    n = np.arange(1000)
    p = (0.05 + 0.9 * n / 1000).astype(np.float32)
    parquet.write_table(
        pa.table(dict(
            p_ctr=p, p_cvr=p, p_ctcvr=p * p, click=(n % 2).astype(np.int8),
            conversion=(n % 4 == 1).astype(np.int8))),
        folder / 'predictions' / 'test.parquet')
  return str(folder)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that has everything, and its page."""
  folder = tmp_path_factory.mktemp('runs') / 'mmoe'
  truth = lambda low, high: {'p_cvr': np.full(high - low, 0.5)}
  return folder, read(run_page.make(write_run(folder), truth))


def test_numbers_of_a_run_are_those_of_its_results(whole):
  _, page = whole
  rows = page.tables[0]
  assert [row[0] for row in rows] == ['space', 'ctr', 'cvr_clicked', 'ctcvr']
  assert rows[1][1:3] == ['click', '1,000']
  test = page.tables[1]
  assert test == [
      ['space', 'AUC', 'log-loss', 'calibration'],
      ['ctr', '0.6432', '0.012346', '1.2500'],
      ['cvr_clicked', '0.7001', '', ''],
      ['ctcvr', '–', '', ''],
  ]
  assert page.tables[2] == [
      ['space', 'AUC', 'KL', 'pred./true'],
      ['cvr_entire', '0.5556', '0.004321', '1.5000'],
  ]
  assert page.tables[3] == [['space', 'AUC'], ['ctr', '0.6123']]
  # In full under the mouse.
  assert page.titles['0.012346'] == '0.0123456'
  assert page.titles['0.6432'] == '0.64321'
  assert page.words.startswith('Run mmoe')
  assert 'ctr AUC 0.6432 all impressions' in page.words
  assert 'mmoe, estimator entire_space, data synthetic_funnel, seed 3' in (
      page.words)


def test_sections_of_a_run(whole):
  folder, page = whole
  check_alone(page)
  gates = page.tables[6]
  assert gates == [
      ['gate', 'entropy, nats', 'expert 0', 'expert 1'],
      ['gate_ctr', '0.5000', '0.2500', '0.7500'],
  ]
  assert page.tables[5] == [
      ['space', 'probabilities', 'log-loss', 'calibration', 'ECE', 'AUC'],
      ['ctr', 'as trained', '0.2000', '1.1000', '0.010000', '0.6400'],
      ['ctr', 'Platt', '0.1000', '1.1000', '0.010000', '0.6400'],
  ]
  assert 'Fitted on the valid split (ctr 12,345)' in page.words
  for text in (
      'The 1,000 rows of the test split in 20 bins',
      'The dotted line is step 600', 'commit abc123', 'jax 1.2.3',
      'parameters 1,234,567', ORIGIN['command'], "model.name = 'mmoe'",
      'conversion, over the clicked impressions only',
  ):
    assert text in page.words
  assert sorted(os.listdir(folder / 'plots')) == [
      'calibrated.png', 'calibration.png', 'cvr-by-ctr-decile.png', 'gates.png',
      'learning.png', 'observed-cvr.png']
  assert sum(link.startswith('data:') for link in page.links) == 6
  assert 'no calibration.json' not in page.words
  # Every heading of the navigation is there.
  anchors = [link[1:] for link in page.links if link.startswith('#')]
  assert len(anchors) == 8


def test_a_run_that_lacks_everything_says_how_to_get_it(tmp_path):
  workdir = write_run(
      tmp_path / 'new',
      skip=('results.json', 'metrics.jsonl', 'predictions', 'calibration.json',
            'origin.json'))
  page = read(run_page.make(workdir))
  check_alone(page)
  assert 'has not reached its first report' in page.words
  assert f'experiments.train --config=FILE --workdir={workdir}' in page.words
  assert 'metrics.jsonl has no line yet' in page.words
  assert f'experiments.report --workdir={workdir}' in page.words
  assert f'experiments.calibrate --workdir={workdir}' in page.words
  assert 'The command was not recorded' in page.words
  assert page.tables == []
  assert not os.path.exists(tmp_path / 'new' / 'plots')


def test_an_unfinished_run_has_its_curves_and_its_command(tmp_path):
  workdir = write_run(
      tmp_path / 'half', skip=('results.json', 'predictions'))
  page = read(run_page.make(workdir, no_predictions='Not before the end.'))
  assert 'not finished; its last line is of step 1,200' in page.words
  assert page.words.count(ORIGIN['command']) == 2
  assert page.words.count('Not before the end.') == 2
  assert os.listdir(tmp_path / 'half' / 'plots') == ['learning.png']


def test_one_evaluation_is_no_curve(whole, tmp_path):
  page = read(run_page.make(
      write_run(tmp_path / 'once', skip=('predictions',), lines=LINES[:2])))
  text = 'evaluated once, so it has points and no curve'
  assert text in page.words and text not in whole[1].words
  assert '--config.evals_per_epoch=4' in page.words


def test_panels_are_of_losses(tmp_path, monkeypatch):
  """What a step notes beside them has none."""
  more = {'batch_hash': 7, 'skipped': 1, 'learning_rate': 0.1,
          'gradient_norm': 2.0, 'balancing/total': 2.0}
  lines = [r | {f'train/{k}': v for k, v in more.items()} for r in LINES]
  calls, draws = [], run_page.plots.learning
  monkeypatch.setattr(run_page.plots, 'learning', lambda panels, *rest: (
      calls.append(panels), draws(panels, *rest)))
  run_page.make(write_run(tmp_path / 'r', skip=('predictions',), lines=lines))
  assert list(*calls) == [
      'all terms: loss, nats', 'ctr: loss, nats', 'AUC on the validation split']


def test_everything_is_escaped(tmp_path):
  config = CONFIG | {
      'estimator': NASTY, 'model': {'name': NASTY, NASTY: NASTY}}
  html = parts.render(
      run_page.make(write_run(
          tmp_path / '<b>run', config=config,
          skip=('predictions', 'metrics.jsonl'))))
  page = Page(html)
  check_alone(page)
  assert '<script' not in html and '<b>' not in html
  assert NASTY in page.text  # As a reader sees it.
  assert page.words.startswith('Run <b>run')


def test_other_seeds(tmp_path):
  for seed, auc in ((3, 0.6), (4, 0.7), (5, 0.8)):
    write_run(
        tmp_path / f's{seed}', skip=('predictions', 'calibration.json'),
        config=CONFIG | {'seed': seed}, results={'test/ctr/auc': auc})
  other = CONFIG | {'seed': 6, 'estimator': 'click_space'}
  write_run(
      tmp_path / 'other', config=other, results={'test/ctr/auc': 0.1})
  page = read(run_page.make(str(tmp_path / 's4')))
  assert page.tables[1:] == [[
      ['space', 'metric', 'this run', 'mean ± std', 'n'],
      ['ctr', 'AUC', '0.7000', '.7000 ± .1000', '3'],
  ]]
  assert 'The 3 finished runs' in page.words and '(3, 4, 5)' in page.words


def test_a_folder_of_nothing(tmp_path):
  with pytest.raises(InputError, match='no run has begun'):
    run_page.make(str(tmp_path))


TABLE = Table(
    title='Two models <small>',
    points=product(
        chain(
            product(
                fixed('@model', 'A&B'),
                fixed('config', 'configs/mmoe.py')),
            product(
                fixed('@model', 'C'),
                fixed('config', 'configs/ple.py'))),
        sweep('seed', range(2))),
    columns=(Column('CTR AUC', 'test/ctr/auc'),),
    rows=('@model',),
    baseline={'@model': 'A&B'},
    gain_columns=('test/ctr/auc',),
    paper=Paper('A paper', {('C', 'test/ctr/auc'): 0.7123}),
)


def write_sweep(workdir, skip=()):
  for k, point in enumerate(TABLE.points):
    if k not in skip:
      folder = workdir / 'runs' / run_name(point)
      os.makedirs(folder)
      results = {'test/ctr/auc': 0.6 + 0.02 * k, 'versions': {'jax': '1'}}
      (folder / 'results.json').write_text(json.dumps(results))
      config = {'seed': point['seed'], 'model': {'name': point['@model']}}
      (folder / 'config.json').write_text(json.dumps(config))
      (folder / 'origin.json').write_text(json.dumps([ORIGIN]))


def test_a_sweep(tmp_path):
  """AUC .60 .62 and .64 .66: means .61 and .65, each ± .0141; gain .04."""
  write_sweep(tmp_path)
  name = run_name(TABLE.points[3])
  (tmp_path / 'runs' / name / 'report.html').write_text('')
  output = str(tmp_path / 'pages' / 'all.html')
  page = read(sweep_page.make(TABLE, 'f.py:cpu', str(tmp_path), output))
  check_alone(page)
  means, gains, runs = page.tables
  assert means == [
      ['model', 'n', 'CTR AUC ↑', 'paper'],
      ['A&B', '2', '.6100 ± .0141', '–'],
      ['C', '2', '.6500 ± .0141', '.7123'],
  ]
  assert gains[1][0] == 'C' and '+.0400' in ' '.join(gains[1])
  assert runs[0] == ['model', 'seed', 'run', 'CTR AUC']
  assert runs[4] == ['C', '1', 'finished', '0.6600']
  assert page.titles['0.6600'] == repr(0.6 + 0.02 * 3)
  assert 'f.py:cpu: 4 runs, 4 finished' in page.words
  assert 'Command: ' + ORIGIN['command'] in page.words
  assert 'resumes' not in page.words
  assert os.listdir(tmp_path / 'plots') == ['gains.png']
  links = [k for k in page.links if k.startswith('..')]
  first = run_name(TABLE.points[0]).replace('=', '%3D')
  last = name.replace('=', '%3D')
  assert links[0] == f'../runs/{first}'
  assert links[3] == f'../runs/{last}/report.html'


def test_a_sweep_that_is_not_finished(tmp_path):
  write_sweep(tmp_path, skip=(1, 3))
  os.makedirs(tmp_path / 'failed')
  failed = tmp_path / 'failed' / f'{run_name(TABLE.points[1])}.json'
  failed.write_text(json.dumps({'error': 'FloatingPointError'}))
  page = read(sweep_page.make(
      TABLE, 'f.py:cpu', str(tmp_path), str(tmp_path / 'report.html')))
  assert '2 of 4 runs are finished, 1 failed' in page.words
  command = f'experiments.sweep --sweep=f.py:cpu --workdir={tmp_path}'
  assert command in page.words
  states = [row[2] for row in page.tables[-1][1:]]
  assert states == [
      'finished', 'failed: FloatingPointError', 'finished', 'to do']
  assert sweep_page.begun(TABLE, str(tmp_path)) == [
      run_name(TABLE.points[k]) for k in (0, 2)]


def test_written_whole_or_not_at_all(tmp_path):
  page = parts.Page('T', '', [], [])
  path = tmp_path / 'a' / 'b.html'
  parts.write(page, str(path))
  assert re.match(r'<!DOCTYPE html>', path.read_text('utf-8'))
  assert os.listdir(tmp_path / 'a') == ['b.html']
  with pytest.raises(InputError, match='File exists .* use another name'):
    parts.write(page, str(path / 'c.html'))
