"""Results tables and pages say what the histories of their runs know."""

import csv
import io
import json
import re

from esmm_jax import histories
from esmm_jax.reporting import history_notes, text as report
from esmm_jax.reporting.page import parts, run_page, sections, sweep_page
from esmm_jax.sweeps.points import chain, fixed, product, run_name
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.saved_runs import read_run
from esmm_jax.sweeps.table import Choice, Column, Table
from esmm_jax.tasks import FUNNEL
import pytest

LIVE = 'live, delay 10m, sessions'
SPECS = {
    'none': None, 'by day': 'user_id,video_id',
    'today': 'user_id:delay=10m,session=user_id:pause=30m',
}
KNOWN = {'none': '', 'by day': 'nightly', 'today': LIVE}
AUC = 'test/ctr/auc'
LINE = (
    f'Row 1 has no history; row 2 is nightly; row 3 is {LIVE}: it knows labels'
    ' of the test days. Do not compare them with each other.')


def points(names):
  return chain(*(
      product(
          fixed('@row', name), fixed('config', 'configs/esmm.py:kuairand'),
          fixed('dataset.history', SPECS[name]), fixed('seed', seed))
      for name in names for seed in ((0, 1) if name == 'today' else (0,))))


def table(names, **changes):
  options = dict(
      title='Histories', points=points(names), rows=('@row',),
      columns=(Column('CTR AUC', AUC),), baseline={'@row': names[0]},
      gain_columns=(AUC,))
  return Table(**options | changes)


@pytest.fixture
def root(tmp_path):
  """The runs of all points, as if they were finished."""
  for point in points(list(SPECS)):
    folder = tmp_path / 'runs' / run_name(point)
    folder.mkdir(parents=True)
    known = KNOWN[point['@row']]
    (folder / 'results.json').write_text(json.dumps(
        {AUC: 0.5, 'valid/ctr/auc': 0.6} | ({'history': known} if known else {})
    ))
    (folder / 'config.json').write_text(json.dumps({
        'seed': point['seed'], 'model': {'name': 'esmm'}, 'estimator': 'e',
        'dataset': {'name': 'kuairand', 'history': point['dataset.history']},
    }))
  return tmp_path


def test_a_results_table_of_both_says_so(root):
  both = table(list(SPECS))
  blocks = tabulate(both, str(root))
  assert [row.history for row in blocks[0].rows] == list(KNOWN.values())
  assert history_notes.comparisons(both, blocks) == [LINE]
  markdown = report.markdown(both, blocks)
  means, gains = markdown.split('### ')[:2]
  assert means.count(LINE) == 1 and LINE not in gains
  named = re.findall(r'^\| ((?:none|by day|today)[^|]*?) *\|', markdown, re.M)
  rows = ['none', 'by day [nightly]', f'today [{LIVE}]']
  assert named == rows + rows[1:]
  assert f'today [{LIVE}]: its gain is over runs that have no history' in gains
  assert 'by day [nightly]: its gain' not in gains
  assert f'- History: {LIVE} (2 of 4 runs)' in markdown
  latex = report.latex(both, blocks)
  assert LINE in latex and f'today [{LIVE}]' in latex
  lines = list(csv.DictReader(io.StringIO(report.to_csv(both, blocks))))
  assert [x['history'] for x in lines] == list(KNOWN.values())


@pytest.mark.parametrize('names, line', [
    (['none'], ''),
    (['none', 'by day'], f'History: {histories.meaning("nightly")}'),
    (['today'], f'History: {histories.meaning(LIVE)}'),
])
def test_a_results_table_of_one_protocol(root, names, line):
  one = table(names)
  blocks = tabulate(one, str(root))
  assert history_notes.comparisons(one, blocks) == []
  markdown = report.markdown(one, blocks)
  assert line in markdown and 'Do not compare' not in markdown
  assert ('istory' in markdown.replace('Histories', '')) == bool(line)
  assert ('history' in report.to_csv(one, blocks)) == bool(line)


def test_blocks_of_both(root):
  """Each has one protocol; the table compares them."""
  several = table(
      ['by day', 'today'], rows=('config',), blocks=('@row',), baseline=None,
      gain_columns=())
  blocks = tabulate(several, str(root))
  line = (
      f'Table by day is nightly; table today is {LIVE}: it knows labels of the'
      ' test days. Do not compare them with each other.')
  assert history_notes.comparisons(several, blocks) == [line]
  assert report.markdown(several, blocks).count(line) == 2  # Below each.


def test_a_choice_between_both(root):
  seeds = [p for p in points(['by day', 'today']) if not p['seed']]
  choice = Table(
      title='Choice', points=[{**p, '@row': 'ESMM'} for p in seeds],
      rows=('@row',), columns=(Column('CTR AUC', AUC),),
      choice=Choice('dataset.history', 'valid/ctr/auc', 'max'))
  # The folders are named by points, whose labels do not count.
  (block,) = tabulate(choice, str(root))
  (note,) = block.rows[0].notes
  assert note.startswith(f'Candidate {SPECS["by day"]} is nightly; candidate')


def test_what_is_not_finished_is_not_compared(root):
  other = root / 'other'
  both = table(['by day', 'today'])
  (other / 'runs').mkdir(parents=True)
  (point,) = points(['by day'])
  only = root / 'runs' / run_name(point)
  name = only.name
  (other / 'runs' / name).symlink_to(only)
  blocks = tabulate(both, str(other))
  assert history_notes.comparisons(both, blocks) == []
  assert 'Do not compare' not in report.markdown(both, blocks)


def test_the_page_of_a_sweep(root, tmp_path):
  both = table(list(SPECS))
  page = sweep_page.make(
      both, 'T', str(root), str(tmp_path / 'a.html'), str(tmp_path))
  html = parts.render(page)
  assert html.count(f'<p class="note">{LINE}</p>') == 1
  # Each run in the list of runs, and the rows of means and gains.
  assert html.count(f'today [{LIVE}]</td>') == 4
  page = sweep_page.make_without_table(str(root), str(tmp_path / 'a.html'), '')
  rows = page.sections[1].parts[0].grid.rows
  assert sorted(name.partition(' [')[2] for name, _ in rows) == [
      '', f'{LIVE}]', f'{LIVE}]', 'nightly]']


@pytest.mark.parametrize('name', SPECS)
def test_the_page_of_a_run(root, name):
  known = KNOWN[name]
  folder = root / 'runs' / run_name(points([name])[0])
  page = run_page.make(str(folder), folder=str(root))
  html = parts.render(page)
  assert page.subtitle.endswith(f', history {known}' if known else 'seed 0')
  line = f'<p>History: {histories.meaning(known)}</p>'
  assert (line in html) == bool(known)
  assert ('>history<' in html) == bool(known)


def test_a_run_of_an_earlier_version(tmp_path):
  """It lacks the key; its config tells."""
  for live, known in ((None, 'nightly'), (True, 'live, delay 1d')):
    config = {'dataset': {
        'name': 'kuairand', 'history': True, 'history_live': live}}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'results.json').write_text(json.dumps({AUC: 0.5}))
    assert read_run(str(tmp_path)).history == known


@pytest.mark.parametrize('history, told', [(LIVE, True), ('nightly', False)])
def test_a_page_says_which_rows_the_gauc_of_a_live_run_compares(history, told):
  results = {AUC: 0.7, 'test/ctr/gauc': 0.6}
  for values, is_there in ((results, told), ({AUC: 0.7}, False)):
    text = str(sections.metrics(values, FUNNEL, history))
    assert ('that lie within one delay' in text) == is_there
    assert f'History: {history}' in text
