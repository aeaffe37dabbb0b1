"""A table of runs as text: Markdown, CSV and LaTeX.

Each block becomes two grids: mean ± standard deviation over seeds, and the
gains over the baseline at the same seed, with their 95 % interval and p-value.
CSV has one line for each cell, in full precision.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import math
import re
import statistics
from typing import Any

from esmm_jax.grid import Grid, pipes, tabular
from esmm_jax.metrics.significance import Summary
from esmm_jax.results import Block, Gain, Row, Run
from esmm_jax.sweep import Column, Table

NONE = '–'
FEWER = '†'
ARROWS = {'higher': ' ↑', 'lower': ' ↓', None: ''}
LEVEL = 0.05
_LISTED = 10  # Missing runs that are named.


def grids(table: Table, blocks: Sequence[Block]) -> list[Grid]:
  """The grids of all blocks, in order."""
  found = []
  for block in blocks:
    found.append(_means(table, block))
    columns = [c for c in block.columns if c.metric in table.gain_columns]
    if columns and any(row.gains for row in block.rows):
      found.append(_gains(table, block, columns))
  return found


def markdown(table: Table, blocks: Sequence[Block]) -> str:
  """The whole table, with what it was made by."""
  parts = [f'## {table.title}', *filter(None, [table.note])]
  for grid in grids(table, blocks):
    parts += [*([f'### {grid.title}'] if grid.title else []), pipes(grid)]
    parts += grid.notes
  facts = [f'- {line}' for line in provenance(blocks)]
  return '\n\n'.join([*parts, '\n'.join(facts)]) + '\n'


def latex(table: Table, blocks: Sequence[Block]) -> str:
  """One tabular (package booktabs) for each grid; the rest as comments."""
  parts = [f'% {table.title}']
  for grid in grids(table, blocks):
    notes = [f'% {note}' for note in grid.notes]
    parts.append('\n'.join([f'% {grid.title}', tabular(grid), *notes]))
  facts = [f'% {line}' for line in provenance(blocks)]
  return '\n\n'.join([*parts, '\n'.join(facts)]) + '\n'


def to_csv(table: Table, blocks: Sequence[Block]) -> str:
  """One line for each block, row and metric; empty where there is no number."""
  out = io.StringIO()
  keys = [_short(k) for k in (*table.blocks, *table.rows)]
  writer = csv.writer(out, lineterminator='\n')
  writer.writerow(
      [*keys, *'metric planned n mean std paper_mean paper_std pairs gain'
       ' gain_std gain_low gain_high p_t p_holm p_wilcoxon detectable'.split()]
  )
  for block in blocks:
    for row in block.rows:
      for column in (*block.columns, *block.extra_columns):
        numbers = [len(row.runs), row.cells[column.metric].n]
        numbers += row.cells[column.metric][:2]
        numbers += _published(table, row, column.metric)
        gain = row.gains.get(column.metric)
        if gain:
          p = gain.paired
          numbers += [p.n, p.mean, p.std, p.low, p.high, p.p_t, gain.p_holm]
          numbers += [p.p_wilcoxon, gain.detectable]
        else:
          numbers += [math.nan] * 9
        texts = ['' if math.isnan(x) else repr(x) for x in numbers]
        writer.writerow([*block.values, *row.values, column.metric, *texts])
  return out.getvalue()


def provenance(blocks: Sequence[Block]) -> list[str]:
  """What the numbers were made by, and which runs are missing."""
  runs = {
      run.name: run
      for block in blocks
      for row in block.rows
      for run in row.runs.values()
  }
  finished = [run for run in runs.values() if run.results is not None]
  lines = []
  for title, values in (
      ('Command', _origins(finished, 'command')),
      ('Commit', _origins(finished, 'commit')),
      ('Data', _origins(finished, 'data')),
      ('Device', _origins(finished, 'device')),
      ('Versions', (_versions(run.results or {}) for run in finished)),
  ):
    counts = Counter(values)
    for value, count in sorted(counts.items()):
      several = f' ({count} of {len(finished)} runs)' if len(counts) > 1 else ''
      lines.append(f'{title}: {value}{several}')
  lines.append(f'Runs: {len(finished)} of {len(runs)} finished')
  missing = [run for run in runs.values() if run.results is None]
  for run in missing[:_LISTED]:
    why = f', {run.failure}, see failed/{run.name}.json' if run.failure else ''
    lines.append(f'Missing: {run.name}{why}')
  if len(missing) > _LISTED:
    lines.append(f'Missing: {len(missing) - _LISTED} more')
  return lines


def number(value: float, decimals: int, sign: str = '') -> str:
  """A number as tables have it: .7317, 1.02, 12,345; '–' for nan."""
  if math.isnan(value):
    return NONE
  text = f'{value:{sign},.{decimals}f}'
  return re.sub(r'^([+-]?)0\.', r'\1.', text)


def spread(summary: Summary, decimals: int) -> str:
  """Mean ± standard deviation; the mean alone where there is one value."""
  mean = number(summary.mean, decimals)
  if math.isnan(summary.std):
    return mean
  return f'{mean} ± {number(summary.std, decimals)}'


def _means(table: Table, block: Block) -> Grid:
  headers = [*map(_short, table.rows), 'n']
  published = table.paper.values if table.paper else {}
  in_paper = {metric for _, metric in published}
  for column in block.columns:
    headers.append(column.header + ARROWS[column.better])
    if column.metric in in_paper:
      headers.append('paper')
  headers += [c.header + ARROWS[c.better] for c in block.extra_columns]
  rows = []
  for row in block.rows:
    texts = [*map(_text, row.values), _count(row)]
    for column in block.columns:
      texts.append(_mean(row, column))
      if column.metric in in_paper:
        theirs = Summary(*_published(table, row, column.metric), 1)
        texts.append(spread(theirs, column.decimals))
    for column in block.extra_columns:
      summary = row.cells[column.metric]._replace(std=math.nan)
      texts.append(spread(summary, column.decimals))
    rows.append(texts)
  notes = []
  if any(row.missing for row in block.rows):
    notes.append(f'{FEWER} of fewer runs than planned; see the column n.')
  if 'paper' in headers:
    notes.append(f'paper: {table.paper.source}.')
  title = _title(table.blocks, block.values)
  return Grid(title, headers, rows, len(table.rows), notes)


def _gains(table: Table, block: Block, columns: Sequence[Column]) -> Grid:
  headers = [*map(_short, table.rows), 'pairs']
  for column in columns:
    headers += [column.header + ARROWS[column.better], 'p']
  rows = []
  for row in block.rows:
    if not row.gains:
      continue
    pairs = max(row.gains[c.metric].paired.n for c in columns)
    planned = len(row.runs)
    count = str(pairs)
    if pairs < planned:
      count = f'{pairs}, missing {planned - pairs} of {planned}'
    texts = [*map(_text, row.values), count]
    for column in columns:
      texts += _gain(row.gains[column.metric], column, pairs)
    rows.append(texts)
  over = _named(table.baseline or {})
  title = _title(table.blocks, block.values)
  notes = [
      f'Difference to {over} at the same seed: mean [95 % interval]; p of the'
      ' paired t test after Holm over the rows of its column, * below'
      f' {number(LEVEL, 2)}.'
  ]
  if smallest := _detectable(block.rows, columns):
    notes.append(
        'Smallest difference that a paired t test with these seeds finds in 80'
        f' of 100 cases, median of the rows: {smallest}.'
    )
  title = f'{title}: gain over {over}' if title else f'Gain over {over}'
  return Grid(title, headers, rows, len(table.rows), notes)


def _detectable(rows: Iterable[Row], columns: Iterable[Column]) -> str:
  texts = []
  for column in columns:
    found = [r.gains[column.metric].detectable for r in rows if r.gains]
    found = [x for x in found if not math.isnan(x)]
    if found:
      median = number(statistics.median(found), column.decimals)
      texts.append(f'{column.header} {median}')
  return ', '.join(texts)


def _mean(row: Row, column: Column) -> str:
  summary = row.cells[column.metric]
  there = len(row.runs) - row.missing
  if not there:
    return 'missing'
  text = spread(summary, column.decimals)
  if 0 < summary.n < there:
    text += f' (n={summary.n})'
  return text + (FEWER if row.missing else '')


def _count(row: Row) -> str:
  planned = len(row.runs)
  if not row.missing:
    return str(planned)
  return f'{planned - row.missing}, missing {row.missing} of {planned}'


def _gain(gain: Gain, column: Column, pairs: int) -> tuple[str, str]:
  p = gain.paired
  text = number(p.mean, column.decimals, '+')
  if not math.isnan(p.low):
    low = number(p.low, column.decimals, '+')
    text += f' [{low}, {number(p.high, column.decimals, "+")}]'
  if 0 < p.n < pairs:
    text += f' (n={p.n})'
  if math.isnan(gain.p_holm):
    return text, NONE
  star = '*' if gain.p_holm < LEVEL else ''
  small = gain.p_holm < 0.001
  return text, ('<.001' if small else number(gain.p_holm, 3)) + star


def _published(table: Table, row: Row, metric: str) -> tuple[float, float]:
  values = table.paper.values if table.paper else {}
  value = values.get((row.name, metric), math.nan)
  return value if isinstance(value, tuple) else (value, math.nan)


def _origins(runs: Iterable[Run], key: str) -> list[str]:
  """A fact of each run; all of them where it was begun under several."""
  texts = (' then '.join(dict.fromkeys(o[key] for o in r.origin)) for r in runs)
  return [text or 'not recorded' for text in texts]


def _versions(results: Mapping[str, Any]) -> str:
  versions = results.get('versions', {})
  return ', '.join(f'{k} {v}' for k, v in versions.items()) or 'not recorded'


def _short(key: str) -> str:
  return key.removeprefix('@').split('.')[-1]


def _text(value: Any) -> str:
  return NONE if value is None else str(value)


def _title(keys: Iterable[str], values: Iterable[Any]) -> str:
  """'KuaiRand-Pure like, estimator click_space'; labels without their key."""
  return ', '.join(
      _text(v) if k.startswith('@') else f'{_short(k)} {_text(v)}'
      for k, v in zip(keys, values)
  )


def _named(baseline: Mapping[str, Any]) -> str:
  """'single_task (estimator click_space)': the labels, then the other keys."""
  labels = [k for k in baseline if k.startswith('@')]
  others = [k for k in baseline if not k.startswith('@')]
  name = _title(labels, (baseline[k] for k in labels))
  rest = _title(others, (baseline[k] for k in others))
  return f'{name} ({rest})' if name and rest else name or rest
