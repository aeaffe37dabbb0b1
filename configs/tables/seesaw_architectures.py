"""The seesaw by architecture: each task's gain over one network for each task.

The form of Table 5 of the PLE paper (Tang et al., RecSys 2020).

  python -m experiments.sweep --workdir=runs/seesaw \
    --sweep=configs/tables/seesaw_architectures.py:cpu
  python -m experiments.table --workdir=runs/seesaw \
    --sweep=configs/tables/seesaw_architectures.py:cpu --output=runs/by_model

Eight architectures with equal weights. `cpu` is a part of the funnel with small
networks and five seeds, and shares runs with `seesaw_weights.py:cpu` in the
same workdir; the full one has ten seeds, the configs' networks, the whole
funnel and KuaiRand-Pure (give --override=dataset.raw_dir=...).
`architectures.py` has both sizes of the single task and two conversions.
"""

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods, networks, seesaw_weights
from esmm_jax.sweeps.points import chain, fixed, product, Sweep
from esmm_jax.sweeps.table import Column, Paper, Table

VARIANTS = ('', 'cpu', 'smoke')
CTR, CVR = seesaw_weights.CTR, seesaw_weights.CVR
PAPER = Paper(
    'Tang et al., RecSys 2020, Table 5, on Ali-CCP; the space of their CVR AUC'
    ' is not stated',
    {
        ('single_task', CTR): 0.6088,
        ('single_task', CVR): 0.6040,
        ('mmoe', CTR): 0.6094,
        ('mmoe', CVR): 0.5738,
        ('ple', CTR): 0.6112,
        ('ple', CVR): 0.6097,
    },
)
NOTE = (
    'AUC on the test split, mean ± standard deviation over seeds; both tasks'
    ' weigh 1. Gains are over single_task, one network for each task, CVR'
    ' trained on clicks, at the same seed.'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  return Table(
      title='Seesaw: architectures',
      note=NOTE,
      points=_points(variant),
      columns=(
          Column('CTR AUC', CTR),
          Column('CVR AUC (clicked)', CVR),
          Column('CTCVR AUC', 'test/ctcvr/auc'),
          Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
      ),
      rows=('@model',),
      blocks=('@data', '@objective'),
      baseline={'@model': 'single_task'},
      gain_columns=(CTR, CVR, 'test/cvr_entire/auc'),
      verdict=(CTR, CVR),
      paper=PAPER,
  )


def _points(variant: str) -> Sweep:
  seeds = {'': 10, 'cpu': 5, 'smoke': 2}[variant]
  models = networks.MORE_MODELS
  if variant == 'smoke':
    models = ('shared_bottom', 'mmoe')
    few = {'@data': 'tiny funnel'} | methods.FEW
    data = [('smoke', methods.settings(few))]
  elif variant == 'cpu':
    data = [('', seesaw_weights.funnel_part())]
  else:
    last = {'selection.metric': ''}
    kuairand = {'@data': 'KuaiRand-Pure long_view'} | last
    data = [
        ('kuairand', methods.settings(kuairand)),
        ('', methods.settings({'@data': 'simulated funnel'} | last)),
    ]
  sweeps = [
      seesaw_weights.cell(
          product(fixed('seed', seed), shared),
          objective,
          models,
          (1.0,),
          config,
          small=variant == 'cpu',
      )
      for seed in range(seeds)
      for config, shared in data
      for objective in seesaw_weights.OBJECTIVES
  ]
  drop = '@ratio'
  return [{k: v for k, v in p.items() if k != drop} for p in chain(*sweeps)]
