"""The points and results tables of the seesaw laboratory, of any data set.

Two losses of a run are weighed against each other, by static weights and by
the methods of `balancing`; two scores say what the weights trade. All tables
are of the same runs (`experiments.seesaw`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from esmm_jax.sweeps.points import Point, product, run_name, sweep, Sweep
from esmm_jax.sweeps.seesaw_flags import Arm, SECTION
from esmm_jax.sweeps.table import Column, Front, Table

ARM, RATIO = '@arm', '@ratio'
SINGLE, STATIC, CONFIG = 'single_task', 'static', 'config'
METHOD, REPLAY, AS_IT_IS = 'method', 'replay', 'as it is'
# Of both spaces, beside AUC.
CALIBRATION = ('calibration', 'ece', 'normalized_entropy')
_HEADERS = {'ece': 'ECE', 'normalized_entropy': 'NE'}
RATE = 'examples_per_second'


class Design(NamedTuple):
  """Arms, scores and seeds of a laboratory.

  Attributes:
    base: The config and its keys, a point without a seed.
    single: The same of the single-task models.
    terms: The two losses that are weighed.
    weights: Their weights as the config has them.
    scores: The spaces of the two scores.
    others: Spaces whose AUC is shown too.
    ratios: Weights of the first loss over the second, ascending.
    seeds: Number of seeds.
    arms: Methods of balancing.
  """

  base: Point
  single: Point
  terms: tuple[str, str]
  weights: tuple[float, float]
  scores: tuple[str, str]
  others: tuple[str, ...]
  ratios: tuple[float, ...]
  seeds: int
  arms: tuple[Arm, ...]

  @property
  def metrics(self) -> tuple[str, str]:
    """The two scores on the test split."""
    x, y = self.scores
    return f'test/{x}/auc', f'test/{y}/auc'


class Tables(NamedTuple):
  """Results tables of the same runs.

  Attributes:
    front: All arms; gains over the single-task models.
    config: All others; gains over the config as it is.
    replays: Methods; gains over their replays. None without methods.
    calibration: All arms.
    cost: All arms.
  """

  front: Table
  config: Table
  replays: Table | None
  calibration: Table
  cost: Table


def points(design: Design) -> Sweep:
  """Makes the points of all arms, whole seeds one after the other."""
  made: Sweep = []
  for seed in sweep('seed', range(design.seeds)):
    base = product([design.base], [seed])
    made += product([design.single], [seed], _named(SINGLE, None))
    for ratio in design.ratios:
      weights = weights_of(ratio, design.terms, design.weights)
      made += product(
          [_without(base[0], weights) | weights], _named(STATIC, ratio)
      )
    for arm in design.arms:
      (method,) = product(base, [dict(arm.settings)], _named(arm.label, METHOD))
      replayed = {
          f'{SECTION}name': 'replay',
          f'{SECTION}of': f'../{run_name(method)}',
      }
      made.append(method)
      made += product(base, [replayed], _named(arm.label, REPLAY))
    # Last: the figure takes its legend from the first points beside the front.
    made += product(base, _named(CONFIG, AS_IT_IS))
  return made


def _named(arm: str, ratio: Any) -> Sweep:
  return [{ARM: arm, RATIO: ratio}]


def _without(point: Point, keys: Mapping[str, Any]) -> Point:
  return {k: v for k, v in point.items() if k not in keys}


def weights_of(
    ratio: float, terms: tuple[str, str], weights: tuple[float, float]
) -> dict[str, float]:
  """Returns weights of two losses of this ratio; their sum stays as it is.

  >>> from esmm_jax.sweeps.seesaw import weights_of
  >>> weights_of(3.0, ('ctr', 'ctcvr'), (1.0, 1.0))
  {'loss_weights.ctr': 1.5, 'loss_weights.ctcvr': 0.5}
  """
  total = sum(weights)
  values = total * ratio / (1 + ratio), total / (1 + ratio)
  return {f'loss_weights.{t}': v for t, v in zip(terms, values)}


def tables(design: Design, title: str, note: str) -> Tables:
  """Makes the results tables of a design.

  Args:
    design: What is compared.
    title: Of the page.
    note: Below it.
  """
  every = points(design)
  x, y = design.metrics
  pair_of = tuple(Column(f'{s} AUC', f'test/{s}/auc') for s in design.scores)
  others = [Column(f'{s} AUC', f'test/{s}/auc') for s in design.others]
  gains = dict(
      columns=pair_of, rows=(ARM, RATIO), gain_columns=(x, y), verdict=(x, y)
  )
  methods = {arm.label for arm in design.arms}
  of_methods = [p for p in every if p[ARM] in methods]
  single = [p for p in every if p[ARM] != SINGLE]
  calibration = [
      Column(f'{s} {_HEADERS.get(name, name)}', f'test/{s}/{name}')
      for s in design.scores if not s.endswith('_entire')
      for name in CALIBRATION
  ]  # fmt: skip
  cost = (
      Column('examples/s', RATE, 0),
      Column('side by side', 'replicas', 0),
      Column('steps', 'steps', 0),
      Column('parameters', 'num_params', 0),
  )
  plain = dict(points=every, rows=(ARM, RATIO))
  return Tables(
      Table(
          title,
          every,
          **gains | {'columns': (*pair_of, *others)},
          note=note,
          baseline={ARM: SINGLE, RATIO: None},
          front=Front(ARM, RATIO, x, y, SINGLE),
      ),
      Table(
          title,
          single,
          **gains,
          baseline={ARM: CONFIG, RATIO: AS_IT_IS},
      ),
      Table(title, of_methods, **gains, baseline={RATIO: REPLAY})
      if of_methods
      else None,
      Table('Calibration', columns=tuple(calibration), **plain),
      Table('Cost', columns=cost, **plain),
  )
