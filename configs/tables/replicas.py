"""Time saved by replicas: eight weights of ESMM, side by side or one by one.

  time python -m experiments.sweep --sweep=configs/tables/replicas.py \
    --workdir=runs/side_by_side
  time python -m experiments.sweep --sweep=configs/tables/replicas.py \
    --workdir=runs/one_by_one --replicas=1
  python -m experiments.table --sweep=configs/tables/replicas.py \
    --workdir=runs/one_by_one

A quarter of the simulated funnel and the small network (dimension 8, towers
64-32); `paper` has the paper's network (18, 360-200-80), `smoke` the tiny
funnel. Both workdirs give the same table but for the seconds.
"""

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods, networks, seesaw_weights
from esmm_jax.sweeps.points import fixed, product
from esmm_jax.sweeps.table import Column, Table

VARIANTS = ('', 'paper', 'smoke')
RATIOS = tuple(2.0**k for k in range(-3, 5))


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  if variant == 'smoke':
    network = networks.network('esmm', 'smoke', small=False)
    data = methods.settings(methods.FEW)
  else:
    network = networks.network('esmm', '', small=not variant)
    data = [
        {k: v for k, v in point.items() if k != '@data'}
        for point in seesaw_weights.funnel_part()
    ]
    data = product(data, fixed('evals_per_epoch', 1))
  weights = [
      {'@ratio': r} | seesaw_weights.weights_of(r, 'ctcvr') for r in RATIOS
  ]
  return Table(
      title='Replicas',
      note='Seconds are of the training steps alone, a share for each replica.',
      points=product(fixed('seed', 0), network, data, weights),
      columns=(
          Column('CTR AUC', 'test/ctr/auc'),
          Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
      ),
      rows=('@ratio',),
      extra_columns=(
          Column('replicas', 'replicas', 0, None),
          Column('seconds', 'train_seconds', 2, None),
      ),
  )
