"""The grid of gains over the baseline, and the verdict on two of them."""

from collections.abc import Iterable, Sequence
import math
import statistics
from typing import Any

from esmm_jax.reporting import history_notes
from esmm_jax.reporting.grid import ARROWS, counted, Grid, interval, NONE
from esmm_jax.reporting.grid import number, short, titled
from esmm_jax.sweeps.results import Block, Gain, Row
from esmm_jax.sweeps.table import Column, Table

LEVEL = 0.05


def gain_grid(
    table: Table,
    block: Block,
    columns: Sequence[Column],
    narrow: bool = False,
) -> Grid:
  """Shows mean difference to the baseline, interval and p-value of each column.

  Args:
    table: The results table.
    block: Its rows; those without gains are left out.
    columns: The columns of the block that get gains.
    narrow: Whether a star at the value stands for the p-value, standard errors
      are left out, and a number of pairs that all rows have is a note.
  """
  baseline = baseline_name(table)
  noisy = [c for c in columns if c.metric in table.test_noise and not narrow]
  judged = [c for m in table.verdict or () for c in columns if c.metric == m]
  if len(judged) != 2:  # The block may show only one of the two metrics.
    judged = []
  rows = [row for row in block.rows if row.gains]
  pairs = [_pairs(row, columns) for row in rows]
  told = narrow and len(set(pairs)) == 1
  headers = [*map(short, table.rows), *([] if told else ['pairs'])]
  for column in columns:
    headers.append(column.header + ARROWS[column.better])
    headers += [] if narrow else ['p']
    headers += ['SE: seeds / test'] if column in noisy else []
  headers += ['verdict'] if judged else []
  lines = [
      [
          *history_notes.row_texts(row),
          *([] if told else [count]),
          *_cells(row, columns, noisy, judged, narrow),
      ]
      for row, count in zip(rows, pairs)
  ]
  title = titled(table.blocks, block.values)
  notes = _notes(baseline, rows, columns, noisy, judged, narrow)
  notes += [f'Pairs of runs: {pairs[0]}.'] if told else []
  return Grid(
      f'{title}: gain over {baseline}' if title else f'Gain over {baseline}',
      headers,
      lines,
      len(table.rows),
      notes,
  )


def _pairs(row: Row, columns: Sequence[Column]) -> str:
  """Formats the number of pairs of runs of a row."""
  return counted(_most(row, columns), len(row.runs))


def _most(row: Row, columns: Sequence[Column]) -> int:
  return max(row.gains[c.metric].paired.n for c in columns)


def _cells(
    row: Row,
    columns: Sequence[Column],
    noisy: Sequence[Column],
    judged: Sequence[Column],
    narrow: bool,
) -> list[str]:
  """Returns the texts of one row of the grid, behind its name and pairs."""
  pairs, texts = _most(row, columns), []
  for column in columns:
    gain = row.gains[column.metric]
    cell, p = _gain(gain, column, pairs)
    if narrow:
      value, *rest = cell.split(' ', 1)
      texts.append(' '.join([value + star(gain), *rest]))
    else:
      texts += [cell, p]
    texts += [_errors(gain, column)] if column in noisy else []
  if judged:
    gains = [(c.header.split()[0], row.gains[c.metric]) for c in judged]
    texts.append(verdict(gains))
  return texts


def _notes(
    baseline: str,
    rows: Sequence[Row],
    columns: Sequence[Column],
    noisy: Sequence[Column],
    judged: Sequence[Column],
    narrow: bool,
) -> list[str]:
  """Returns the sentences below the grid."""
  level = number(LEVEL, 2)
  test = 'p of the paired t test after Holm over the rows of its column'
  end = f'* {test} below {level}' if narrow else f'{test}, * below {level}'
  notes = [
      f'Difference to {baseline} at the same seed: mean [95 % interval]; {end}.'
  ]
  if smallest := _detectable(rows, columns):
    notes.append(
        'Smallest difference that a paired t test with these seeds finds in 80'
        f' of 100 cases, median of the rows: {smallest}.'
    )
  if noisy:
    notes += _noise_notes(rows, noisy)
  if judged:
    first, second = (c.header for c in judged)
    notes.append(
        f'Verdict on {first} and {second}: a gain counts where its p is below'
        f' {number(LEVEL, 2)}; seesaw: one up and the other one down.'
    )
  return notes + history_notes.of_gains(rows)


def verdict(gains: Sequence[tuple[str, Gain]]) -> str:
  """Judges two gains together.

  Args:
    gains: Two (name, gain) pairs of metrics of which more is better.

  Returns:
    'seesaw' where both are beyond noise, that is p_holm < LEVEL, with opposite
    signs; 'both up' or 'both down' with the same one; 'CTR up', say, where only
    one is; else 'noise'. '–' where a gain has no p-value.
  """
  if any(math.isnan(gain.p_holm) for _, gain in gains):
    return NONE
  beyond = [
      (name, 'up' if gain.paired.mean > 0 else 'down')
      for name, gain in gains
      if gain.p_holm < LEVEL
  ]
  if not beyond:
    return 'noise'
  if len(beyond) == 1:
    return ' '.join(beyond[0])
  directions = {direction for _, direction in beyond}
  return 'seesaw' if len(directions) == 2 else f'both {directions.pop()}'


def _gain(gain: Gain, column: Column, pairs: int) -> tuple[str, str]:
  """Formats difference and p-value; n where fewer pairs have the metric."""
  p = gain.paired
  cell = interval(p.mean, p.low, p.high, column.decimals)
  if 0 < p.n < pairs:
    cell += f' (n={p.n})'
  if math.isnan(gain.p_holm):
    return cell, NONE
  small = gain.p_holm < 0.001
  return cell, ('<.001' if small else number(gain.p_holm, 3)) + star(gain)


def star(gain: Gain) -> str:
  """Returns '*' of a gain beyond noise, else ''."""
  return '*' if gain.p_holm < LEVEL else ''


def _errors(gain: Gain, column: Column) -> str:
  """Formats both standard errors; n where predictions were not saved."""
  both = (gain.seed_error, gain.test_error.mean)
  cell = ' / '.join(number(x, column.decimals) for x in both)
  n = gain.test_error.n
  return f'{cell} (n={n})' if 0 < n < gain.paired.n else cell


def _noise_notes(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
  notes = [
      'SE: standard errors of the difference. Seeds: standard deviation over'
      ' the root of the pairs; the interval and p are of it alone. Test:'
      ' DeLong, of the test rows, mean over seeds. A 95 % interval with both'
      ' is about ± twice the root of the sum of their squares. Where each seed'
      ' has test rows of its own, the first holds both already.'
  ]
  gains = [row.gains[c.metric] for row in rows for c in columns]
  if any(gain.test_error.n < gain.paired.n for gain in gains):
    notes.append(
        f'{NONE} or (n=) behind the slash: save_predictions was off in a run,'
        ' or a class has fewer than two test rows.'
    )
  return notes


def _detectable(rows: Iterable[Row], columns: Iterable[Column]) -> str:
  """Formats the median minimum detectable difference of each column."""
  texts = [(c.header, detectable(rows, c)) for c in columns]
  return ', '.join(f'{name} {text}' for name, text in texts if text != NONE)


def detectable(rows: Iterable[Row], column: Column) -> str:
  """Formats the median over rows of the smallest gain that tests find."""
  gains = [row.gains.get(column.metric) for row in rows]
  differences = [g.minimum_detectable_difference for g in gains if g]
  differences = [x for x in differences if not math.isnan(x)]
  if not differences:
    return NONE
  return number(statistics.median(differences), column.decimals)


def baseline_name(table: Table) -> str:
  """Returns 'single_task (estimator click_space)': labels, then other keys."""
  # None marks a key that other rows have and the baseline lacks.
  baseline: dict[str, Any] = {
      k: v for k, v in (table.baseline or {}).items() if v is not None
  }
  labels = [k for k in baseline if k.startswith('@')]
  others = [k for k in baseline if not k.startswith('@')]
  name = titled(labels, (baseline[k] for k in labels))
  rest = titled(others, (baseline[k] for k in others))
  return f'{name} ({rest})' if name and rest else name or rest
