"""The section of a page on the weights of the tasks and their gradients."""

from collections.abc import Iterable, Mapping, Sequence
import math
from typing import Any

from esmm_jax.metric_names import Balance, BALANCING, PARTS
from esmm_jax.reporting import plots
from esmm_jax.reporting.grid import Grid, NONE
from esmm_jax.reporting.page.parts import Missing, Picture, Section, Table
from esmm_jax.reporting.page.parts import Terms, Text
from esmm_jax.reporting.plots.balance import CONFLICT, COSINE, NORMS, RATIO

Lines = Sequence[Mapping[str, Any]]
Curve = tuple[list[int], list[float]]
Panels = dict[str, dict[str, Curve]]
TITLE = 'Balance of the tasks'
# Name in a record -> the panel of the picture.
_PANELS = {
    'ratio': RATIO, 'cosine': COSINE, 'norm_ratio': NORMS, 'conflict': CONFLICT
}  # fmt: skip
_OF_PAIRS = ('cosine', 'norm_ratio', 'conflict')
_SHOWN = 6  # Pairs in the picture.
_MEANINGS = (
    (RATIO, 'weight of the first task named over that of the second.'),
    (
        COSINE,
        'of the angle between the gradients of both tasks on a part of the'
        ' parameters that they share; below 0 a step for one task alone makes'
        ' the loss of the other larger.',
    ),
    (NORMS, 'length of the gradient of the first over that of the second.'),
    (CONFLICT, 'share of the steps whose cosine is below 0.'),
    (
        'part',
        'tables: the rows of embedding tables that a batch touches; trunk:'
        ' shared networks and experts; gates; towers: those that several tasks'
        ' train; all: all of these.',
    ),
    ('share', 'weight of a task over the sum of all weights.'),
    ('in a batch', 'share of the steps whose batch had rows of the task.'),
)


def section(
    lines: Lines,
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    path: str,
) -> Section:
  """Shows the weights and gradients of the tasks along training.

  Args:
    lines: Those of metrics.jsonl; without records of balancing the section is
      empty.
    results: The content of results.json; {} of an unfinished run.
    config: The content of config.json.
    path: The picture to write.
  """
  keys = dict.fromkeys(key for line in lines for key in line)
  records = {
      Balance.of(key): _curve(lines, key)
      for key in keys
      if key.startswith(f'train/{BALANCING}')
  }
  if not records:
    return Section(TITLE, [])
  name = (config.get('balancing') or {}).get('name') or 'static'
  parts: list[Any] = [Text(_about(name))]
  whole = {
      Balance.of(key): math.nan if value is None else value
      for key, value in results.items()
      if key.startswith(BALANCING)
  }
  rate = whole.get(Balance('degenerate', '', ()), 0.0)
  if rate > 0:
    parts.append(
        Missing(
            f'In {100 * rate:.3g} % of the steps the method {name} had no'
            ' solution, and the tasks had the weight 1.'
        )
    )
  pairs = curves(records)
  if pairs:
    parts.append(_picture(pairs, results, path))
  parts += _tables(whole)
  parts.append(Terms(_MEANINGS))
  return Section(TITLE, parts)


def _about(name: str) -> str:
  text = (
      f'The method {name} weighs the tasks. A point is the mean over the steps'
      ' since the line before in metrics.jsonl; that of a ratio is geometric.'
  )
  if name in ('static', 'replay'):
    return text
  return text + (
      ' Do the changes of the weights matter, or their mean alone? A run with'
      ' constant weights at that mean tells: the same command in another'
      ' --workdir with --config.balancing.name=replay and'
      ' --config.balancing.of=RUN, the path from there to this run.'
  )


def curves(records: Mapping[Balance, Curve]) -> dict[str, Panels]:
  """Returns pair -> panel -> part -> (steps, values).

  Args:
    records: What metrics.jsonl has of balancing, by step.
  """
  pairs: dict[tuple[str, ...], Panels] = {}
  for part in ('', *PARTS):
    for key, curve in records.items():
      if key.name in _PANELS and key.part == part and len(key.terms) == 2:
        panels = pairs.setdefault(key.terms, {})
        panels.setdefault(_PANELS[key.name], {})[part or 'all'] = curve
  return {_named(pair): panels for pair, panels in pairs.items()}


def _named(pair: Sequence[str]) -> str:
  """Names a pair of terms as its ratios are: the second over the first."""
  return f'{pair[1]} : {pair[0]}'


def _curve(lines: Lines, key: str) -> Curve:
  pairs = [(r['step'], r[key]) for r in lines if r.get(key) is not None]
  return [s for s, _ in pairs], [v for _, v in pairs]


def _picture(
    pairs: Mapping[str, Panels], results: Mapping[str, Any], path: str
) -> Picture:
  """Draws the pairs; of many those with the highest conflict rate."""
  worst = sorted(pairs, key=lambda pair: -_conflict(pairs[pair]))[:_SHOWN]
  shown = {pair: pairs[pair] for pair in pairs if pair in worst}
  selected = results.get('selected_step')
  title = f'{TITLE}, {next(iter(shown))}' if len(shown) == 1 else TITLE
  plots.balance(shown, path, title, selected)
  caption = (
      'Weight ratio, cosine, norm ratio and conflict rate along training, by'
      ' part of the parameters that the tasks share. The grey line is where'
      ' tasks have equal weights, equal norms, or gradients at right angles.'
  )
  if selected:
    caption += (
        f' The dotted line is step {selected:,}, whose parameters the test'
        ' split saw.'
    )
  if len(shown) < len(pairs):
    caption += (
        f' Of {len(pairs)} pairs the {_SHOWN} with the highest conflict rate'
        ' are shown.'
    )
  return Picture(path, caption, large=True)


def _conflict(panels: Panels) -> float:
  """Returns the mean conflict rate of a pair; 0 where it is not known."""
  _, values = panels.get(CONFLICT, {}).get('all', ([], []))
  return sum(values) / len(values) if values else 0.0


def _tables(whole: Mapping[Balance, float]) -> list[Table]:
  """Shows the means of the whole run: of each term, then of each pair."""
  tables = []
  shares = [key for key in whole if key.name == 'share']
  if shares:
    parts = [p for p in ('', *PARTS) if any(k.part == p for k in shares)]
    columns = {f'share, {p}' if p else 'share': ('share', p) for p in parts}
    columns['in a batch'] = 'present', ''
    rows = {term: [*term] for term in dict.fromkeys(k.terms for k in shares)}
    keys = [[Balance(*c, term) for c in columns.values()] for term in rows]
    tables.append(
        _table('Weights', ['term', *columns], rows.values(), keys, whole)
    )
  pairs = dict.fromkeys(k.terms for k in whole if k.name == 'cosine')
  rows = {
      (pair, part): [_named(pair), part]
      for pair in pairs
      for part in PARTS
      if Balance('cosine', part, pair) in whole
  }
  if rows:
    keys = [[Balance(n, p, pair) for n in _OF_PAIRS] for pair, p in rows]
    headers = ['pair', 'part', *(_PANELS[n] for n in _OF_PAIRS)]
    tables.append(_table('Gradients', headers, rows.values(), keys, whole))
  return tables


def _table(
    title: str,
    headers: Sequence[str],
    names: Iterable[Sequence[str]],
    keys: Sequence[Sequence[Balance]],
    whole: Mapping[Balance, float],
) -> Table:
  """Shows values by name, with all their digits on hover.

  Args:
    title: Above it.
    headers: Of the names and of the keys.
    names: Texts that a row begins with.
    keys: What each row shows behind them; '-' where there is none.
    whole: The values.
  """
  rows, exact = [], {}
  for i, (name, of_row) in enumerate(zip(names, keys, strict=True)):
    values = [whole.get(key, math.nan) for key in of_row]
    rows.append([*name, *map(_digits, values)])
    for j, value in enumerate(values, len(name)):
      if not math.isnan(value):
        exact[i, j] = repr(value)
  num_left = len(headers) - len(keys[0])
  title = f'{title}, means of the run'
  return Table(Grid(title, [*headers], rows, num_left, []), exact=exact)


def _digits(value: float) -> str:
  return NONE if math.isnan(value) else f'{value:.4g}'
