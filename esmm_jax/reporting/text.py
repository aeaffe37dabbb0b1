"""A results table as text: Markdown, CSV and LaTeX.

Each block becomes up to five grids: mean ± standard deviation over seeds; the
choice on the validation split, with all candidates; the gains over the baseline
at the same seed, with their 95 % interval and p-value; and the fronts of its
curves, with the margins of other points over one. At the end may be grids of
the gains of all blocks. CSV has one line for each cell, in full precision.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import math
import os
import re
from typing import Any

from esmm_jax import histories
from esmm_jax.metrics.significance import summarize
from esmm_jax.reporting import history_notes, tex
from esmm_jax.reporting.choice_grid import choice_grid
from esmm_jax.reporting.front_grid import front_grid
from esmm_jax.reporting.gain_grid import gain_grid
from esmm_jax.reporting.grid import Grid, in_markdown, pipes, short
from esmm_jax.reporting.margin_grid import margin_grid
from esmm_jax.reporting.means_grid import means_grid, published
from esmm_jax.reporting.overview_grid import overview_grid
from esmm_jax.sweeps.results import Block, notes, Row
from esmm_jax.sweeps.saved_runs import SavedRun
from esmm_jax.sweeps.table import Table

_LISTED = 10  # Missing runs that are named.
_NOISE = ('se_seeds', 'se_test', 'combined_low', 'combined_high')


def grids(table: Table, blocks: Sequence[Block]) -> list[Grid]:
  """Makes the grids of all blocks, in order."""
  return [grid for grid, _ in _grids(table, blocks)]


def _grids(
    table: Table, blocks: Sequence[Block], narrow: bool = False
) -> list[tuple[Grid, bool]]:
  """Makes the grids, and tells which ones are of gains.

  Args:
    table: The results table.
    blocks: Its blocks.
    narrow: Whether gains have their narrow form.
  """
  result = []
  for block in blocks:
    means = means_grid(table, block)
    means.notes.extend(history_notes.below(table, blocks, block))
    result.append((means, False))
    if any(row.chosen and len(row.candidates) > 1 for row in block.rows):
      result.append((choice_grid(table, block), False))
    columns = [c for c in block.columns if c.metric in table.gain_columns]
    if columns and any(row.gains for row in block.rows):
      result.append((gain_grid(table, block, columns, narrow), True))
    if table.front is not None:
      result.append((front_grid(table, block), False))
      margins = margin_grid(table, block)
      result.extend([(margins, False)] if margins.rows else [])
  for column in table.columns:
    if column.metric in table.overview and _has_gain(blocks, column.metric):
      result.append((overview_grid(table, blocks, column), True))
  return result


def _has_gain(blocks: Sequence[Block], metric: str) -> bool:
  return any(metric in row.gains for block in blocks for row in block.rows)


def markdown(
    table: Table, blocks: Sequence[Block], pictures: Iterable[str] = ()
) -> str:
  """Writes the whole results table with its provenance as Markdown.

  Args:
    table: The results table.
    blocks: Its rows, with their runs.
    pictures: Files in the same folder, shown below the grids.
  """
  notes = [in_markdown(line) for line in table.note.split('\n')]
  notes = [re.sub(r'^ *#', r'\#', line) for line in notes]  # No heading.
  parts = [f'## {in_markdown(table.title)}']
  parts += ['\n'.join(notes)] if table.note else []
  for grid in grids(table, blocks):
    title = in_markdown(grid.title)
    parts += [*([f'### {title}'] if title else []), pipes(grid)]
    parts += map(in_markdown, grid.notes)
  for name in map(os.path.basename, pictures):
    parts.append(f'![{os.path.splitext(name)[0]}]({name})')
  facts = [f'- {in_markdown(line)}' for line in provenance(blocks)]
  return '\n\n'.join([*parts, '\n'.join(facts)]) + '\n'


def latex(table: Table, blocks: Sequence[Block]) -> str:
  """Writes a float (package booktabs) for each grid; comments have the rest.

  Gains fit a column of a paper with two: value and star, the interval below;
  p-values and standard errors are in the CSV.
  """
  parts = [tex.comment(table.title), tex.PREAMBLE]
  labels: set[str] = set()
  for grid, narrow in _grids(table, blocks, narrow=True):
    parts.append(tex.floats(grid, table.title, labels, narrow))
  facts = map(tex.comment, provenance(blocks))
  return '\n\n'.join([*parts, '\n'.join(facts)]) + '\n'


def to_csv(table: Table, blocks: Sequence[Block]) -> str:
  """Writes a line for each block, row and metric; empty without a number.

  What runs have on record of balancing stands behind the table's columns. With
  histories there is a column `history` behind those that name the row.
  Results tables with a choice have the column `chosen` too: 1 or 0 in the lines
  of the candidates on the validation split, empty in all others.
  """
  out = io.StringIO()
  keys = [*table.blocks, *table.rows]
  headers = 'metric planned n mean std paper_mean paper_std pairs gain'.split()
  headers += 'gain_std gain_low gain_high p_t p_holm p_wilcoxon'.split()
  headers.append('p_wilcoxon_holm')
  headers += ['detectable', *(_NOISE if table.test_noise else ())]
  with_history = any(row.history for block in blocks for row in block.rows)
  keys += [histories.KEY] if with_history else []
  if table.choice:
    keys.append(table.choice.key)
    headers.append('chosen')
  writer = csv.writer(out, lineterminator='\n')
  writer.writerow([*map(short, keys), *headers])
  for block in blocks:
    for row in block.rows:
      names = [*block.values, *row.values]
      names += [row.history] if with_history else []
      columns = [c.metric for c in (*block.columns, *block.extra_columns)]
      for metric in (*columns, *row.records(columns)):
        numbers = _numbers(table, row, metric)
        if row.chosen:
          taken = [row.chosen.value]
          writer.writerow([*names, *taken, metric, *numbers, ''])
        else:
          writer.writerow([*names, metric, *numbers])
      if row.chosen and table.choice:
        for value, summary in row.chosen.means.items():
          numbers = _texts([row.chosen.planned, summary.n, *summary[:2]])
          numbers += [''] * (len(headers) - 6)
          mark = int(row.chosen.taken and value == row.chosen.value)
          line = [*names, value, table.choice.metric, *numbers, mark]
          writer.writerow(line)
  return out.getvalue()


def _numbers(table: Table, row: Row, metric: str) -> list[str]:
  """Returns the cells of a CSV line, in the order of the headers."""
  cell = row.cells.get(metric)
  if cell is None:
    cell = summarize(run.value(metric) for run in row.runs.values())
  numbers = [len(row.runs), cell.n, *cell[:2]]
  numbers += published(table, row, metric)
  gain = row.gains.get(metric)
  if gain:
    p = gain.paired
    numbers += [p.n, p.mean, p.std, p.low, p.high, p.p_t, gain.p_holm]
    numbers += [p.p_wilcoxon, gain.p_wilcoxon_holm]
    numbers += [gain.minimum_detectable_difference]
  else:
    numbers += [math.nan] * 10
  if table.test_noise:
    if gain and metric in table.test_noise:
      numbers += [gain.seed_error, gain.test_error.mean, *gain.combined]
    else:
      numbers += [math.nan] * len(_NOISE)
  return _texts(numbers)


def _texts(numbers: Iterable[float]) -> list[str]:
  return ['' if math.isnan(x) else repr(x) for x in numbers]


def provenance(blocks: Sequence[Block]) -> list[str]:
  """Lists commands, commits, data and devices of the runs, and missing runs."""
  runs = {
      run.name: run
      for block in blocks
      for row in block.rows
      for candidate in row.candidates.values()
      for run in candidate.values()
  }
  finished = [run for run in runs.values() if run.results is not None]
  lines = []
  known = [run.history or 'none' for run in finished]
  if set(known) == {'none'}:
    known = []
  for title, values in (
      ('History', known),
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
    why = f', {run.problem}' if run.problem else why
    lines.append(f'Missing: {run.name}{why}')
  if len(missing) > _LISTED:
    lines.append(f'Missing: {len(missing) - _LISTED} more')
  told = {run.problem for run in missing}
  lines += [f'Note: {note}' for note in notes(blocks) if note not in told]
  return lines


def _origins(runs: Iterable[SavedRun], key: str) -> list[str]:
  """Returns a fact of each run, joined if it was resumed under another one."""
  texts = (' then '.join(dict.fromkeys(o[key] for o in r.origin)) for r in runs)
  return [fact or 'not recorded' for fact in texts]


def _versions(results: Mapping[str, Any]) -> str:
  versions = results.get('versions', {})
  return ', '.join(f'{k} {v}' for k, v in versions.items()) or 'not recorded'
