"""Selection bias: CVR over all impressions, where the truth is known.

  python -m experiments.sweep --sweep=configs/tables/selection_bias.py:cpu \
    --workdir=runs/bias
  python -m experiments.table --sweep=configs/tables/selection_bias.py:cpu \
    --workdir=runs/bias

On the simulated funnel, rho is the correlation of the click and the conversion
log-odds over impressions (selection that the features explain) and hidden the
strength of a common cause that no feature shows. BASE, ESMM-NS, ESMM and the
bound: the network of ESMM trained on the conversion that each impression would
have had. Each seed has a world of its own. `cpu` has three seeds, half a
million training rows and the small network; the full one ten, two million and
the paper's network.
"""

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods
from esmm_jax.sweeps.points import chain, fixed, product, sweep, Sweep, zipped
from esmm_jax.sweeps.table import Column, Table

VARIANTS = ('', 'cpu', 'smoke')
RHO = (-0.6, 0.0, 0.3, 0.6, 0.9)
HIDDEN = (0.0, 1.0)
COLUMNS = (
    Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
    Column('KL, nats', 'test/cvr_entire/kl', 5, 'lower'),
    Column('predicted / true', 'test/cvr_entire/ratio', 2, None),
    Column('clicked', 'test/cvr_entire/ratio_clicked', 2, None),
    Column('un-clicked', 'test/cvr_entire/ratio_unclicked', 2, None),
    Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
)
NOTE = (
    'Test split, mean ± standard deviation over seeds, each with a world, a'
    ' data order and an initialisation of its own. CVR (entire) is over all'
    ' impressions against the true probability of a conversion if clicked;'
    ' predicted / true is the mean of pCVR over that of the truth, over all'
    ' impressions, the clicked and the un-clicked ones.'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  rhos, hidden, seeds = RHO, HIDDEN, {'': 10, 'cpu': 3, 'smoke': 2}[variant]
  if variant == 'smoke':
    rhos = (0.6,)
  shared = methods.FEW if variant == 'smoke' else {'selection.metric': ''}
  if variant == 'cpu':
    shared |= methods.SMALL | {
        'batch_size': 1024,
        'dataset.num_train': 500_000,
        'dataset.num_valid': 50_000,
        'dataset.num_test': 200_000,
    }
  worlds = product(
      zipped(sweep('seed', range(seeds)), sweep('dataset.seed', range(seeds))),
      sweep('dataset.rho', rhos),
      sweep('dataset.hidden', hidden),
  )
  config = 'smoke' if variant == 'smoke' else ''
  return Table(
      title='Selection bias',
      note=NOTE,
      points=product(worlds, _estimators(config), methods.settings(shared)),
      columns=COLUMNS,
      rows=('@method',),
      blocks=('dataset.rho', 'dataset.hidden'),
      baseline={'@method': 'BASE'},
      gain_columns=('test/cvr_entire/auc', 'test/cvr_entire/kl'),
      figures=('cvr_by_ctr_decile',),
  )


def _estimators(variant: str) -> Sweep:
  files = {'BASE': 'base', 'ESMM-NS': 'esmm_ns', 'ESMM': 'esmm'}
  rows = []
  for label, file in (files | {'bound': 'esmm'}).items():
    config = f'configs/{file}.py' + (f':{variant}' if variant else '')
    row = product(fixed('@method', label), fixed('config', config))
    if label == 'bound':
      row = product(row, fixed('estimator', 'conversion_if_clicked'))
    rows.append(row)
  return chain(*rows)
