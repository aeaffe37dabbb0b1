"""Is balancing more than a loss weight?

  python -m experiments.sweep --sweep=configs/tables/balancing.py:cpu \
    --workdir=runs/balancing --override=evals_per_epoch=1
  python -m experiments.table --sweep=configs/tables/balancing.py:cpu \
    --workdir=runs/balancing
  python -m experiments.sweep --sweep=configs/tables/balancing.py:kuairand \
    --workdir=runs/balancing_kuairand --override=dataset.raw_dir=KuaiRand-Pure

Every method of `BALANCERS`, what it is compared with, and what both are seen
against: its replay, a run of the same seed that has the method's mean weights
from the first step to the last; the front of nine fixed weights; one network
for each task. The tasks are those of ESMM, CTR and CTCVR. All have the same
steps, and each row takes its learning rate from one grid, on the validation
split, replays and fixed weights too. Gains are of a method over its own replay.

A world differs from the centre (rho .6, a conversion rate of 2 %) in the
correlation of click and conversion or in the conversion rate. The default has
all methods in all worlds and architectures, on two million rows, for an
accelerator; `kuairand` the same on KuaiRand-Pure; `cpu` all methods at the
centre with ESMM's network, `FEW` in the other worlds and `FEWER` in the other
architectures, on 200,000 rows; `kuairand_cpu` the few with ESMM's network, on a
quarter of the rows. `cpu_rates` has the runs of `cpu` in a block for each rate,
so that a method and its replay share it. `cpu_controls` has what Nash-MTL does
beside moving the ratio, one thing at a time, with fixed weights (`CONTROLS`).

`cpu` is 4,590 runs: 1,440 at the centre, 720 in each other world, 570 for each
other architecture. A method's run and a replay's take 2.4 seconds of CPU time,
one with fixed weights 1.3, and 1.7 times as much without ESMM's network:
11,400 seconds, and 500 to compile 47 programs. With a process for each of two
cores (--shard=0/2, --shard=1/2) it took 100 minutes beside other jobs.
"""

from typing import Any, NamedTuple

from esmm_jax.configs import variants
from esmm_jax.configs.tables import causal, methods, networks, seesaw_weights
from esmm_jax.balancing import BALANCERS
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep, Sweep
from esmm_jax.sweeps.points import zipped
from esmm_jax.sweeps.table import Choice, Column, Front, Table

VARIANTS = (
    '', 'cpu', 'cpu_rates', 'cpu_controls', 'smoke', 'kuairand', 'kuairand_cpu',
)
RATES = (1e-3, 3e-3, 1e-2)
# Of the weight of CTR to that of CTCVR, whose loss is smaller by a factor of
# 20: from where CTR is as good as it gets to where it suffers most.
RATIOS = tuple(2.0**k for k in range(-6, 3))
# One method of each kind, and the two that need no gradient of each task.
FEW = ('random', 'uncertainty', 'pcgrad', 'mgda', 'cagrad', 'imtl_g', 'pcd')
WORLDS = ('centre', 'rho -.6', 'CVR .5 %')
MODELS = ('shared_embedding', 'shared_bottom', 'mmoe', 'ple')
KUAIRAND = ('like', 'long_view')
FEWER = ('uncertainty', 'pcgrad', 'mgda', 'cagrad', 'imtl_g')
# Of fixed weights: the scale of the update grows until the last step, as that
# of Nash-MTL's weights; and each batch's gradient has one length, which no
# gradient is below.
CONTROLS = {
    'rising rate': {'schedule.warmup_steps': 196},
    'one length': {'clip_norm': 1e-5},
}
# What has no replay: it is one, or is the front.
_FIXED = ('static', 'replay')
CTR, CVR, CTCVR = 'test/ctr/auc', 'test/cvr_entire/auc', 'test/ctcvr/auc'
CLICKED = 'test/cvr_clicked/auc'
PAIR = 'ctr|ctcvr'
NOTE = (
    'Test split, mean ± standard deviation over seeds.{} arm:'
    " method, its replay (the method's mean weights, constant, at the same seed"
    ' and learning rate), or the weight of CTR over that of CTCVR. ratio: of'
    ' the weights, CTCVR over CTR, geometric mean over steps; cosine and'
    ' conflict: of the two gradients on what the tasks share, mean and rate'
    ' below 0. Gains are over the replay of the same method.{}'
)
CHOSEN = (
    ' Each row takes the learning rate with the best CTCVR AUC on the'
    ' validation split.'
)
SIMULATED = (
    ' Each seed has a world, a data order and an initialisation of its own.'
    ' CVR (entire) is over all impressions against the truth.'
)


class Cell(NamedTuple):
  """A block of the results table.

  Attributes:
    world: One of `WORLDS`, or of `KUAIRAND`.
    model: Config of the architecture.
    balancers: Methods that are compared.
  """

  world: str
  model: str
  balancers: tuple[str, ...]


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  real = variant.startswith('kuairand')
  by_rate = variant == 'cpu_rates'
  cvr = CLICKED if real else CVR
  gains = (CTR, cvr, CTCVR)
  columns = [Column('CTR AUC', CTR), Column('CVR AUC (entire)', CVR)]
  return Table(
      title='Balancing against fixed weights',
      note=NOTE.format('' if by_rate else CHOSEN, '' if real else SIMULATED),
      points=_points('cpu' if by_rate else variant),
      columns=(
          *(c for c in columns if c.metric in gains),
          Column('CVR AUC (clicked)', CLICKED),
          Column('CTCVR AUC', CTCVR),
          Column('CTCVR log loss', 'test/ctcvr/logloss', 5),
      ),
      rows=('@method', '@arm'),
      blocks=('@world', '@model', *(['@rate'] if by_rate else [])),
      baseline={'@arm': 'replay'},
      gain_columns=gains,
      extra_columns=(
          Column('ratio', f'balancing/ratio/{PAIR}', 3, None),
          Column('cosine', f'balancing/cosine/all/{PAIR}', 3, None),
          Column('conflict', f'balancing/conflict/all/{PAIR}', 3, None),
          Column('degenerate', 'balancing/degenerate', 4, None),
          Column('seconds', 'train_seconds', 2, None),
      ),
      choice=None if by_rate else Choice('@rate', 'valid/ctcvr/auc'),
      verdict=(CTR, cvr),
      front=Front('@method', '@arm', CTR, cvr, 'single_task'),
      figures=('fronts', 'gains'),
      overview=gains,
  )


def balancers() -> tuple[str, ...]:
  """Returns the methods that have a replay, in the order of the registry."""
  return tuple(name for name in BALANCERS if name not in _FIXED)


def cells(variant: str) -> list[Cell]:
  """Returns the blocks of a variant, those that matter most first."""
  every = balancers()
  few, fewer = (
      tuple(name for name in every if name in names) for names in (FEW, FEWER)
  )
  if variant == 'smoke':
    return [Cell('centre', MODELS[0], ('uncertainty', 'pcgrad'))]
  if variant == 'cpu_controls':
    return [Cell(WORLDS[0], MODELS[0], ('imtl_g', 'nash'))]
  if variant == 'cpu':
    others = [Cell(world, MODELS[0], few) for world in WORLDS[1:]]
    others += [Cell(WORLDS[0], model, fewer) for model in MODELS[1:]]
    return [Cell(WORLDS[0], MODELS[0], every), *others]
  if variant == 'kuairand_cpu':
    return [Cell(world, MODELS[0], few) for world in KUAIRAND]
  worlds = KUAIRAND if variant else WORLDS
  return [Cell(w, m, every) for w in worlds for m in MODELS]


def _points(variant: str) -> Sweep:
  # Seeds inside: a sweep that is cut short has whole blocks, the first ones
  # being those that matter most.
  seeds = range(2 if variant == 'smoke' else 10)
  data = sweep('seed', seeds)
  if not variant.startswith('kuairand'):
    data = zipped(data, sweep('dataset.seed', seeds))
  return chain(*(
      _arms(variant, cell, product(_data(variant, cell), [seed]))
      for cell in cells(variant)
      for seed in data
  ))


def _data(variant: str, cell: Cell) -> Sweep:
  """Makes the one point of a block's data and labels."""
  point = {'@world': cell.world, '@model': cell.model, 'selection.metric': ''}
  if variant.startswith('kuairand'):
    point['dataset.conversion'] = cell.world
    if variant == 'kuairand_cpu':
      point['dataset.train_split'] = 'train[:25%]'
    return methods.settings(point)
  point |= {'dataset.ctr': 0.1} | causal.WORLDS[cell.world]
  if variant == 'smoke':
    point |= methods.FEW
  elif variant.startswith('cpu'):
    point |= {
        'batch_size': 1024,
        'dataset.num_train': 200_000,
        'dataset.num_valid': 100_000,
        'dataset.num_test': 40_000,
        'dataset.users': 2_000,
        'dataset.items': 5_000,
    }
  return methods.settings(point)


def _arms(variant: str, cell: Cell, common: Sweep) -> Sweep:
  """Makes all points of a block at one seed, each at every learning rate."""
  few = variant == 'smoke'
  rates = [
      {'@rate': rate, 'learning_rate': rate}
      for rate in (RATES[1:] if few else RATES)
  ]
  ratios = RATIOS[::4] if few else RATIOS
  network = lambda model, estimator: product(
      common, _network(model, variant), fixed('estimator', estimator), rates
  )
  shared = network(cell.model, 'entire_space')
  weights = [
      {'@method': 'static', '@arm': ratio}
      | seesaw_weights.weights_of(ratio, 'ctcvr')
      for ratio in ratios
  ]
  single = {'@method': 'single_task', '@arm': None}
  return chain(
      product(network('single_task', 'click_space'), [single]),
      product(shared, weights),
      product(shared, _controls() if variant == 'cpu_controls' else []),
      *(
          _with_replay(point, name)
          for name in cell.balancers
          for point in shared
      ),
  )


def _controls() -> Sweep:
  """Makes the points of `CONTROLS` at the weights around Nash-MTL's ratio."""
  return [
      {'@method': name, '@arm': f'CTR x {ratio:g}'}  # A text: no curve.
      | changes
      | seesaw_weights.weights_of(ratio, 'ctcvr')
      for name, changes in CONTROLS.items()
      for ratio in RATIOS[3:6]
  ]


def _with_replay(point: dict[str, Any], name: str) -> Sweep:
  """Makes a method's point and that of its replay."""
  method = point | {'@method': name, '@arm': 'method', 'balancing.name': name}
  replay = point | {
      '@method': name,
      '@arm': 'replay',
      'balancing.name': 'replay',
      'balancing.of': f'../{run_name(method)}',
  }
  return [method, replay]


def _network(model: str, variant: str) -> Sweep:
  """Makes an architecture's point, without its label."""
  config = 'kuairand' if variant.startswith('kuairand') else ''
  config = 'smoke' if variant == 'smoke' else config
  (point,) = networks.network(model, config, small='cpu' in variant)
  return [{k: v for k, v in point.items() if k != '@model'}]
