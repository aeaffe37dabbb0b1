"""Texts of files in results tables and pages: they stay texts."""

import base64
import hashlib
import json
import os
import re

from esmm_jax.reporting import plots, text as report
from esmm_jax.reporting.grid import Grid, in_markdown, pipes
from esmm_jax.reporting.page import parts, sweep_page
from esmm_jax.reporting.tex import tabular
from esmm_jax.sweeps.points import fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Column, Table
import numpy as np
import pytest

from tests.reporting.test_page import Page

AUC = 'test/ctr/auc'
BREAKS = ['\n', '\r', '\r\n', '\x0b', '\x0c', '\x85', '\u2028', '\u2029']
# What leaves a comment of LaTeX, a row of Markdown, an element of HTML.
HOSTILE = [
    *(f'x{gap}\\input{{/etc/passwd}}' for gap in BREAKS),
    *(f'x{gap}# Owned' for gap in BREAKS[:3]),
    '<script>owned()</script>', '<img src=http://owned onerror=owned()>',
    '![x](http://owned/x.png)', '[x](javascript:owned())', '"><b>owned',
    'x | owned | y', '\x1b]0;owned\x07', '${7*7}{{7*7}}', '$\\input{owned}$',
]


def written(folder, text):
  """The results table of runs of which every file holds a text."""
  table = Table(
      title=f'T {text}', note=f'N {text}',
      points=product(
          fixed('config', 'configs/esmm.py'),
          sweep('model.name', ['base', text]), sweep('seed', range(2))),
      columns=(Column(f'C {text}', AUC),), rows=('model.name',),
      baseline={'model.name': 'base'}, gain_columns=(AUC,))
  for k, point in enumerate(table.points):
    run = folder / 'runs' / run_name(point)
    if k == 3:
      os.makedirs(folder / 'failed')
      path = folder / 'failed' / f'{run_name(point)}.json'
      path.write_text(json.dumps({'error': text, 'message': text}))
      continue
    os.makedirs(run, exist_ok=True)
    origin = dict.fromkeys(('command', 'commit', 'data', 'device'), text)
    results = {AUC: 0.6 + k / 100, 'versions': {text: text}}
    (run / 'results.json').write_text(json.dumps(results))
    (run / 'config.json').write_text(json.dumps({'seed': point['seed']}))
    (run / 'origin.json').write_text(json.dumps([origin]))
  return table, tabulate(table, str(folder))


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_latex(text, tmp_path):
  """Each line is a comment, or one that we made, with escaped cells."""
  latex = report.latex(*written(tmp_path, text))
  assert latex.splitlines() == latex.rstrip('\n').split('\n')
  body = latex[latex.index('\\begin{table'):].splitlines()
  rest = [k for k in body if k and not k.startswith('% ')]
  for line in rest:
    if re.fullmatch(
        r'\\(top|mid|bottom)rule|\\(centering|small|footnotesize)'
        r'|\\par\\smallskip|\\setlength\{\\\w+skip\}\{4pt\}|\\label\{tab:\S+\}'
        r'|\\setlength\{\\tabcolsep\}\{3pt\}'
        r'|\\(begin|end)\{(table\*?|tabular|minipage)\}'
        r'(\{@\{\}[lr]+@\{\}\}|\[tbp\]|\{\\linewidth\})?', line):
      continue
    assert not re.search(r'\\(input|def|write)', line)
    assert not re.search(r'(?<!\\)[%#_]', line)
    assert (
        line.endswith((r' \\', '.')) or line.startswith(r'\caption{')), line
  # Two rows of means, one of gains.
  assert sum(line.endswith(r' \\') for line in rest) == 2 + 3


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_markdown(text, tmp_path):
  markdown = report.markdown(*written(tmp_path, text))
  lines = markdown.split('\n')
  assert markdown.splitlines() == lines[:-1]
  first, gains = [k for k in lines if k.startswith('#')]
  assert first == lines[0] and gains == '### Gain over name base'
  assert not re.search(r'<[A-Za-z/!?]|\]\(|\]\[', markdown)
  assert not set('\x1b\x07\x9b') & set(markdown)
  for line in lines:
    if line.startswith('|'):
      assert len(re.findall(r'(?<!\\)\|', line)) in (4, 5)


@pytest.mark.parametrize('text', HOSTILE, ids=ascii)
def test_cells(text):
  grid = Grid('', ['a', 'b'], [[text, '<.001'], ['x', '1']], 1, [])
  assert len(pipes(grid).splitlines()) == 4 and '<.001' in pipes(grid)
  assert len(tabular(grid).splitlines()) == 8
  assert in_markdown('p <.05, a < b, [1, 2] (3)') == 'p <.05, a < b, [1, 2] (3)'


@pytest.mark.parametrize('text', [
    t if k % 6 == 0 else pytest.param(t, marks=pytest.mark.slow)
    for k, t in enumerate(HOSTILE)], ids=ascii)
def test_page(text, tmp_path):
  """No text becomes an element, and names with dollars are no formulas."""
  table, _ = written(tmp_path, text)
  output = str(tmp_path / 'report.html')
  html = parts.render(sweep_page.make(table, text, str(tmp_path), output))
  plain, _ = written(tmp_path / 'plain', 'plain')
  other = parts.render(
      sweep_page.make(plain, 'plain', str(tmp_path / 'plain'), output))
  assert Page(html).tags == Page(other).tags
  assert not re.search(r'<[^>]*\son\w+=', html)
  assert all(
      link.startswith(('#', 'runs/', 'data:image/png'))
      for link in Page(html).links)


def test_what_a_page_may_do():
  """Nothing but to show its own style, and pictures that are in it."""
  html = parts.render(parts.Page('t', 's', [], []))
  policy, = re.findall(
      r'<meta http-equiv="Content-Security-Policy" content="(.*)">', html)
  style, = re.findall('<style>(.*?)</style>', html, re.DOTALL)
  digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
  assert policy.replace('&#39;', "'").split('; ') == [
      "default-src 'none'", 'img-src data:', "base-uri 'none'",
      "form-action 'none'", f"style-src 'sha256-{digest}'"]
  assert html.index(policy) < html.index('<style>')
  # The policy would forbid them.
  assert not re.search(r'style=|<script|<link|@import|url\(', html)


@pytest.mark.parametrize('name', ['$x$', r'$\notacommand$', r'a $\frac$'])
def test_pictures_show_dollar_signs(name, tmp_path):
  """matplotlib reads what is between two of them as a formula."""
  path = str(tmp_path / 'gains.png')
  plots.gains({name: {name: [0.1, 0.0, 0.2, 0.01]}}, path, name)
  assert os.path.getsize(path) > 1000
  values = np.linspace(0.9, 1.1, 20).reshape(2, 10)
  plots.cvr_by_ctr_decile_panels(
      {('', name): {name: values}}, str(tmp_path / 'd.png'), name)
