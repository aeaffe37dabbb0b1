"""AUC of two tasks by training step: does one early stop make the seesaw?

A run keeps the parameters of one step, for both tasks. Had each task those of
its own best step, part of what one loses to the other may be gone. Here both
are compared with the single-task models, on the validation split, which has
scores of every evaluation.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

from esmm_jax.metrics import significance
from esmm_jax.reporting.gain_grid import LEVEL, verdict
from esmm_jax.reporting.grid import counted, Grid, NONE, number, text
from esmm_jax.sweeps.results import Gain
import numpy as np

Lines = Sequence[Mapping[str, Any]]
Curve = tuple[list[int], list[float]]
_DECIMALS = 4


class Stop(NamedTuple):
  """The two scores of a run by step, summed up.

  Attributes:
    selected: Step whose parameters count.
    at: Both scores there; nan where that step was not evaluated.
    steps: Best step of each.
    best: Both scores, each at its best step.
  """

  selected: int
  at: tuple[float, float]
  steps: tuple[int, int]
  best: tuple[float, float]


class Stopped(NamedTuple):
  """The runs of an arm at all seeds.

  Attributes:
    name: Texts that name the arm.
    planned: Number of seeds.
    stops: Seed -> its scores, of finished runs.
    selected: Gains of both scores over single-task models at the selected step.
    own: The same, each score at its own best step, on both sides.
  """

  name: tuple[str, ...]
  planned: int
  stops: Mapping[Any, Stop]
  selected: tuple[Gain, ...] = ()
  own: tuple[Gain, ...] = ()


def curve(lines: Lines, key: str) -> Curve:
  """Returns steps and values of a key of metrics.jsonl, without nan."""
  pairs = [
      (line['step'], line[key])
      for line in lines
      if line.get(key) is not None and not math.isnan(line[key])
  ]
  return [step for step, _ in pairs], [value for _, value in pairs]


def stop(lines: Lines, selected: int, keys: tuple[str, str]) -> Stop | None:
  """Sums up the scores of a run by step.

  >>> lines = [{'step': 1, 'a': 0.6, 'b': 0.7}, {'step': 2, 'a': 0.8, 'b': 0.5}]
  >>> stop(lines, 2, ('a', 'b'))
  Stop(selected=2, at=(0.8, 0.5), steps=(2, 1), best=(0.8, 0.7))

  Args:
    lines: Of its metrics.jsonl.
    selected: Step whose parameters count.
    keys: The two scores.

  Returns:
    None where a score was never a number. The first of equal steps is best.
  """
  curves = [dict(zip(*curve(lines, key))) for key in keys]
  if not all(curves):
    return None
  steps = [max(by_step, key=by_step.__getitem__) for by_step in curves]
  a, b = curves
  return Stop(
      selected,
      (a.get(selected, math.nan), b.get(selected, math.nan)),
      (steps[0], steps[1]),
      (a[steps[0]], b[steps[1]]),
  )


def compared(arms: Sequence[Stopped], single: Stopped) -> list[Stopped]:
  """Adds the gains over the single-task models, Holm over the arms.

  Args:
    arms: Without the single-task models.
    single: Those.
  """
  made = list(arms)
  for field in ('selected', 'own'):
    value = 'at' if field == 'selected' else 'best'
    gains = []
    for k in range(2):
      scores = [
          {seed: getattr(s, value)[k] for seed, s in arm.stops.items()}
          for arm in (*arms, single)
      ]
      pairs = [significance.paired(ours, scores[-1]) for ours in scores[:-1]]
      holm = significance.holm(p.p_t for p in pairs)
      gains.append([Gain(p, float(h), math.nan) for p, h in zip(pairs, holm)])
    made = [
        arm._replace(**{field: both}) for arm, both in zip(made, zip(*gains))
    ]
  return made


def verdicts(arm: Stopped, names: Sequence[str]) -> tuple[str, str]:
  """Judges an arm's gains at its selected step and at the best steps."""
  pairs = ([*zip(names, gains)] for gains in (arm.selected, arm.own))
  selected, own = map(verdict, pairs)
  return selected, own


def steps_grid(
    arms: Sequence[Stopped], single: Stopped, names: Sequence[str]
) -> Grid:
  """Shows the selected step beside the best one of each task.

  Args:
    arms: All but the single-task models.
    single: Those.
    names: Of the two scores.
  """
  x, y = names
  rows = []
  for arm in (single, *arms):
    stops = list(arm.stops.values())
    texts = [*arm.name, counted(len(stops), arm.planned)]
    if not stops:
      rows.append([*texts, 'missing', *[NONE] * 4])
      continue
    lost = np.array([s.best for s in stops]) - np.array([s.at for s in stops])
    rows.append([
        *texts,
        _mean_of([s.selected for s in stops], 0),
        _mean_of([s.steps[0] for s in stops], 0),
        _mean_of([s.steps[1] for s in stops], 0),
        _mean_of(lost[:, 0], _DECIMALS),
        _mean_of(lost[:, 1], _DECIMALS),
    ])
  headers = [
      *('arm', 'ratio', 'n', 'selected step', f'best step {x}'),
      *(f'best step {y}', f'{x} given up', f'{y} given up'),
  ]
  notes = [
      'Validation split, means over seeds. Given up: the score at its own best'
      ' step less that at the selected step, which both tasks share. The best'
      ' of several noisy evaluations is optimistic.'
  ]
  return Grid('Steps', headers, rows, 2, notes)


def gains_grid(arms: Sequence[Stopped], names: Sequence[str]) -> Grid:
  """Shows the gains at the selected step and at each task's own best step."""
  x, y = names
  rows = []
  for arm in arms:
    selected, own = verdicts(arm, names)
    cells = [
        _gain(of[k]) for k in range(2) for of in (arm.selected, arm.own)
    ]
    pairs = max(g.paired.n for g in (*arm.selected, *arm.own))
    rows.append([
        *arm.name, counted(pairs, arm.planned), *cells, selected, own,
    ])  # fmt: skip
  headers = [
      *('arm', 'ratio', 'pairs', f'{x}: one stop', 'own best'),
      *(f'{y}: one stop', 'own best', 'verdict: one stop', 'own best'),
  ]
  notes = [
      'Mean gain over single_task at the same seed, validation split, once at'
      ' the step that each run selected, once at the best step of each task, on'
      f' both sides; * p of the paired t test below {number(LEVEL, 2)} after'
      ' Holm over the arms. A seesaw that is gone at the own best steps was'
      ' made by the'
      ' one stop.'
  ]
  return Grid('Gains with one stop and with two', headers, rows, 2, notes)


def _gain(gain: Gain) -> str:
  star = '*' if gain.p_holm < LEVEL else ''
  return number(gain.paired.mean, _DECIMALS, '+') + star


def answer(arms: Sequence[Stopped], names: Sequence[str]) -> str:
  """Says whether one early stop makes the seesaw."""
  judged = [verdicts(arm, names) for arm in arms]
  if any(NONE in both for both in judged):
    return 'One early stop: with one seed there is no test.'
  before = [own for selected, own in judged if selected == 'seesaw']
  if not before:
    count = sum(own == 'seesaw' for _, own in judged)
    return (
        'One early stop: no arm seesaws at its selected step on the validation'
        f' split beyond noise, and {count or "none"} at the best step of each'
        ' task.'
    )
  gone = sum(own != 'seesaw' for own in before)
  return (
      f'One early stop: of {len(before)} arms that seesaw at their selected'
      f' step on the validation split, {len(before) - gone} do so too with each'
      f' task at its own best step; {gone or "none"} of the seesaws is made by'
      ' the one stop.'
  )


def mean_curve(curves: Sequence[Curve]) -> Curve:
  """Averages curves of several seeds at the steps that all of them have.

  >>> mean_curve([([1, 2], [0.5, 0.75]), ([2, 3], [0.25, 1.0])])
  ([2], [0.5])
  """
  by_step = [dict(zip(*c)) for c in curves]
  if not by_step:
    return [], []
  common = sorted(set.intersection(*map(set, by_step)))
  return common, [float(np.mean([c[s] for c in by_step])) for s in common]


def named(values: Sequence[Any]) -> tuple[str, ...]:
  """Returns values of a row as texts."""
  return tuple(map(text, values))


def _mean_of(values: Sequence[float], decimals: int) -> str:
  return number(significance.summarize(values).mean, decimals)
