"""The seesaw: CTR against CVR as the weight moves from one task to the other.

  python -m experiments.sweep --sweep=configs/tables/seesaw_weights.py:cpu \
    --workdir=runs/seesaw
  python -m experiments.table --sweep=configs/tables/seesaw_weights.py:cpu \
    --workdir=runs/seesaw

Nine ratios of the task weights, 1/8 to 32 in powers of two, for six
architectures and two objectives; each architecture's ratios are replicas of one
program. `cpu` has five seeds, small networks and a quarter of the simulated
funnel; the full one ten seeds, the configs' networks, all of the funnel and
KuaiRand-Pure (give --override=dataset.raw_dir=...).
"""

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods, networks
from esmm_jax.sweeps.points import chain, fixed, product, Sweep
from esmm_jax.sweeps.table import Column, Front, Table

VARIANTS = ('', 'cpu', 'smoke')
RATIOS = tuple(2.0**k for k in range(-3, 6))
CTR, CVR = 'test/ctr/auc', 'test/cvr_clicked/auc'
# Objective -> (estimator, the term that is weighed against ctr).
OBJECTIVES = {
    'click space': ('click_space', 'cvr_clicked'),
    'entire space': ('entire_space', 'ctcvr'),
}
NOTE = (
    'AUC on the test split, mean ± standard deviation over seeds. ratio is the'
    ' weight of the CTR loss over that of the other one: CVR on clicks, divided'
    ' by their number (click space), or CTCVR (entire space). The weights sum'
    ' to 2. Gains are over single_task, one network for each task, CVR trained'
    ' on clicks, at the same seed.'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  return Table(
      title='Seesaw: task weights',
      note=NOTE,
      points=_points(variant),
      columns=(
          Column('CTR AUC', CTR),
          Column('CVR AUC (clicked)', CVR),
          Column('CTCVR AUC', 'test/ctcvr/auc'),
          Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
      ),
      rows=('@model', '@ratio'),
      blocks=('@data', '@objective'),
      baseline={'@model': 'single_task', '@ratio': None},
      gain_columns=(CTR, CVR),
      verdict=(CTR, CVR),
      front=Front('@model', '@ratio', CTR, CVR, 'single_task'),
      figures=('fronts',),
  )


def funnel_part() -> Sweep:
  """A quarter of the funnel's training rows, in small batches."""
  return methods.settings({
      '@data': 'a quarter of the simulated funnel',
      'dataset.train_split': 'train[:25%]',
      'dataset.test_split': 'test[:40%]',
      'batch_size': 1024,
      'selection.metric': '',
  })


def _points(variant: str) -> Sweep:
  seeds = {'': 10, 'cpu': 5, 'smoke': 2}[variant]
  models, ratios = networks.MODELS, RATIOS
  if variant == 'smoke':
    models, ratios = ('shared_bottom', 'mmoe'), (0.125, 1.0, 32.0)
    few = {'@data': 'tiny funnel'} | methods.FEW
    data = [('smoke', methods.settings(few))]
  elif variant == 'cpu':
    data = [('', funnel_part())]
  else:
    last = {'selection.metric': ''}
    kuairand = {'@data': 'KuaiRand-Pure long_view'} | last
    data = [
        ('kuairand', methods.settings(kuairand)),
        ('', methods.settings({'@data': 'simulated funnel'} | last)),
    ]
  # Seeds outermost: a sweep that is cut short has whole seeds.
  return chain(*(
      cell(
          product(fixed('seed', seed), shared),
          objective,
          models,
          ratios,
          config,
          small=variant == 'cpu',
      )
      for seed in range(seeds)
      for config, shared in data
      for objective in OBJECTIVES
  ))


def cell(
    common: Sweep,
    objective: str,
    models: tuple[str, ...],
    ratios: tuple[float, ...],
    config: str,
    small: bool,
) -> Sweep:
  """Makes all models and ratios of one objective, and the single task."""
  estimator, term = OBJECTIVES[objective]
  common = product(common, fixed('@objective', objective))
  single = product(
      common,
      networks.network('single_task', config, small),
      fixed('@ratio', None),
      fixed('estimator', 'click_space'),
  )
  weights = [{'@ratio': r} | weights_of(r, term) for r in ratios]
  multi = chain(*(networks.network(m, config, small) for m in models))
  return chain(
      single,
      product(common, multi, fixed('estimator', estimator), weights),
  )


def weights_of(ratio: float, term: str) -> dict[str, float]:
  """Returns weights of ctr and `term` that have this ratio and sum to 2."""
  return {
      'loss_weights.ctr': 2 * ratio / (1 + ratio),
      f'loss_weights.{term}': 2 / (1 + ratio),
  }
