"""Architectures: the gain of each task over one network for each task.

Ten architectures, trained over the entire space (CTR and CTCVR) and on the
click space (CTR, and CVR on clicks), on KuaiRand-Pure with two conversions and
on the simulated funnel.

  python -m experiments.sweep --sweep=configs/tables/architectures.py:cpu \
    --workdir=runs/architectures --override=dataset.raw_dir=KuaiRand-Pure
  python -m experiments.table --sweep=configs/tables/architectures.py:cpu \
    --workdir=runs/architectures

`smoke` takes two minutes: three architectures on the tiny funnel, two seeds.
`cpu` has three seeds and part of the funnel; the full table has ten seeds.
"""

from esmm_jax.configs import variants
from esmm_jax.sweeps.points import chain, fixed, product, sweep, Sweep
from esmm_jax.sweeps.table import Column, Table

VARIANTS = ('', 'cpu', 'smoke')
MODELS = (
    'single_task',
    'shared_embedding',
    'shared_bottom',
    'mmoe',
    'ple',
    'dbmtl',
    'aitm',
    'stem',
    'adatt',
)
SMOKE_MODELS = ('single_task', 'shared_embedding', 'mmoe')
ESTIMATORS = ('entire_space', 'click_space')
# Network parameters that a second single-task row is scaled to, by the config's
# variant: those of mmoe there (`num_network_params` of its results.json).
MATCHED_PARAMS = {'': 447_498, 'kuairand': 335_394}
# The last parameters count, as in the numbers of docs/results.md.
ONE_EVALUATION = fixed('evals_per_epoch', 1)

COLUMNS = (
    Column('CTR AUC', 'test/ctr/auc'),
    Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
    Column('CTCVR AUC', 'test/ctcvr/auc'),
    Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
)
EXTRAS = (
    Column('network parameters', 'num_network_params', 0, None),
    Column('FLOPs/example', 'flops_per_example', 0, None),
    Column('seconds', 'train_seconds', 1, None),
)
NOTE = (
    'AUC on the test split, mean ± standard deviation over seeds. A seed sets'
    ' data order and initialisation, and all rows share it; the test rows are'
    ' the same for all, so their own noise is not in the spread. CVR (clicked)'
    ' is over clicked impressions, CVR (entire) over all of them against the'
    ' true probability, which only the simulator knows. FLOPs are of a'
    ' prediction.'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  models = SMOKE_MODELS if variant == 'smoke' else MODELS
  seeds = {'': 10, 'cpu': 3, 'smoke': 2}[variant]
  # Seeds outermost: a sweep that is cut short has whole seeds.
  points = product(sweep('seed', range(seeds)), _cells(models, _data(variant)))
  return Table(
      title='Architectures',
      note=NOTE,
      points=points,
      columns=COLUMNS,
      rows=('@model',),
      blocks=('@data', 'estimator'),
      baseline={'@model': 'single_task', 'estimator': 'click_space'},
      gain_columns=tuple(c.metric for c in COLUMNS),
      extra_columns=EXTRAS,
  )


def _data(variant: str) -> list[tuple[str, Sweep]]:
  """Returns (variant of the configs, points) of each data set."""
  if variant == 'smoke':
    return [('smoke', fixed('@data', 'tiny funnel'))]
  funnel = product(fixed('@data', 'simulated funnel'), ONE_EVALUATION)
  if variant == 'cpu':
    funnel = product(
        fixed('@data', 'a quarter of the simulated funnel'),
        ONE_EVALUATION,
        fixed('dataset.train_split', 'train[:25%]'),
        fixed('dataset.test_split', 'test[:40%]'),
    )
  kuairand = chain(*(
      product(
          fixed('@data', f'KuaiRand-Pure {conversion}'),
          fixed('dataset.conversion', conversion),
      )
      for conversion in ('like', 'long_view')
  ))
  return [('kuairand', kuairand), ('', funnel)]


def _cells(models: tuple[str, ...], data: list[tuple[str, Sweep]]) -> Sweep:
  """Every model, estimator and data set, at one seed."""
  sweeps = []
  for variant, points in data:
    rows = [_row(m, m, variant) for m in models]
    if size := MATCHED_PARAMS.get(variant):
      row = _row('single_task, matched', 'single_task', variant)
      rows.insert(1, product(row, fixed('model.match_params', size)))
    sweeps.append(product(points, chain(*rows), sweep('estimator', ESTIMATORS)))
  return chain(*sweeps)


def _row(label: str, model: str, variant: str) -> Sweep:
  file = f'configs/{model}.py'
  config = f'{file}:{variant}' if variant else file
  return product(fixed('@model', label), fixed('config', config))
