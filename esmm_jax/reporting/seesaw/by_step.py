"""The section on AUC by training step."""

from collections.abc import Sequence
import math
import os

from esmm_jax.reporting import plots
from esmm_jax.reporting.grid import text
from esmm_jax.reporting.page.parts import Missing, Picture, Section, Table, Text
from esmm_jax.reporting.seesaw import stops
from esmm_jax.reporting.seesaw.arms import Arms
from esmm_jax.sweeps import seesaw
from esmm_jax.sweeps.results import Row

_BY_STEP = (
    'AUC on the validation split by training step, mean over seeds, of the'
    ' single-task models, the config as it is, the lowest, the middle and the'
    ' highest static ratio, and the methods.'
)


def stopped(
    arms: Arms,
) -> tuple[list[stops.Stopped], stops.Stopped | None]:
  """Returns all arms with their scores by step, and the single-task models.

  Args:
    arms: The runs. Without scores of the validation split there are none.
  """
  made = []
  for row in arms.block.rows:
    of_seeds = {}
    for seed, run in arms.finished(row).items():
      selected = int(run.value('selected_step'))
      stop = stops.stop(arms.lines[run.name], selected, _valid(arms.design))
      if stop is not None:
        of_seeds[seed] = stop
    name = stops.named(row.values)
    made.append(stops.Stopped(name, len(row.runs), of_seeds))
  single = [s for s in made if s.name[0] == seesaw.SINGLE]
  rest = [s for s in made if s.name[0] != seesaw.SINGLE]
  if not single or not any(s.stops for s in made):
    return [], None
  return stops.compared(rest, single[0]), single[0]


def section(
    arms: Arms,
    rest: Sequence[stops.Stopped],
    single: stops.Stopped | None,
    folder: str,
) -> Section:
  """Shows the AUC of each task by step, and the steps that are best.

  Args:
    arms: The runs.
    rest: As `stopped` returns them.
    single: Likewise.
    folder: Gets the picture.
  """
  title = 'AUC by step'
  if single is None:
    what = 'The validation split has no scores of both tasks by step.'
    return Section(title, [Missing(what)])
  names = arms.design.scores
  panels = {}
  for name, key in zip(names, _valid(arms.design)):
    panel = {}
    for row in _drawn(arms):
      of_seeds = [
          stops.curve(arms.lines[run.name], key)
          for run in arms.finished(row).values()
      ]
      if (line := stops.mean_curve([c for c in of_seeds if c[0]]))[0]:
        panel[_label(row)] = line
    panels[f'{name} AUC'] = panel
  path = os.path.join(folder, 'auc-by-step.png')
  plots.learning(panels, path, 'AUC on the validation split by step')
  return Section(
      title,
      [
          Text(stops.answer(rest, names)),
          Picture(path, _BY_STEP, large=True),
          Table(stops.steps_grid(rest, single, names)),
          Table(stops.gains_grid(rest, names)),
      ],
  )


def _valid(design: seesaw.Design) -> tuple[str, str]:
  x, y = design.scores
  return f'valid/{x}/auc', f'valid/{y}/auc'


def _drawn(arms: Arms) -> list[Row]:
  """Returns the rows whose curves are drawn."""
  ratios = arms.design.ratios
  middle = min(ratios, key=lambda r: abs(math.log(r)))
  some = dict.fromkeys((ratios[0], middle, ratios[-1]))
  return [
      arms.row(seesaw.SINGLE, None),
      arms.config,
      *(arms.row(seesaw.STATIC, ratio) for ratio in some),
      *arms.methods,
  ]


def _label(row: Row) -> str:
  arm, ratio = row.values
  return f'{arm} {ratio:g}' if isinstance(ratio, float) else text(arm)
