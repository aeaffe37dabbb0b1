"""ESMM: the README's results on KuaiRand-Pure and on the simulated funnel.

  python -m experiments.sweep --sweep=configs/tables/esmm.py \
    --workdir=runs/esmm_table --override=dataset.raw_dir=KuaiRand-Pure
  python -m experiments.table --sweep=configs/tables/esmm.py \
    --workdir=runs/esmm_table

The variants `kuairand` and `funnel` are its two parts, `smoke` the second one
on the tiny funnel in a minute.
"""

from esmm_jax.configs import variants
from esmm_jax.sweeps.points import chain, fixed, product, sweep, Sweep, zipped
from esmm_jax.sweeps.table import Column, Table

VARIANTS = ('', 'kuairand', 'funnel', 'smoke')
CONVERSIONS = ('like', 'long_view')
COLUMNS = (
    Column('CTR AUC', 'test/ctr/auc'),
    Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
    Column('CTCVR AUC', 'test/ctcvr/auc'),
    Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
    Column('KL, nats', 'test/cvr_entire/kl', 5, 'lower'),
    Column('predicted / true', 'test/cvr_entire/ratio', 2, None),
    Column('un-clicked', 'test/cvr_entire/ratio_unclicked', 2, None),
)
NOTE = (
    'Test split, mean ± standard deviation over seeds. CVR (clicked) is over'
    ' clicked impressions; CVR (entire), KL and the ratios of mean predicted to'
    ' mean true CVR are over all impressions against the true probability.'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  parts = []
  if variant in ('', 'kuairand'):
    parts.append(_kuairand(3))
  if variant in ('', 'funnel'):
    settings = {
        'dataset.num_train': 1_000_000,
        'dataset.num_valid': 100_000,
        'dataset.num_test': 500_000,
        'evals_per_epoch': 1,  # The last parameters count.
    }
    parts.append(_funnel('configs/esmm.py', settings, 3))
  if variant == 'smoke':
    parts.append(_funnel('configs/esmm.py:smoke', {}, 2))
  return Table(
      title='ESMM',
      note=NOTE,
      points=chain(*parts),
      columns=COLUMNS,
      rows=('@row',),
      blocks=('@data',),
  )


def _kuairand(seeds: int) -> Sweep:
  """ESMM, with a CVR term on clicks, and with out-of-time history too."""
  esmm = 'configs/esmm.py:kuairand'
  rows = chain(
      product(fixed('@row', 'ESMM'), fixed('config', esmm)),
      product(
          fixed('@row', 'ESMM + CVR term on clicks'),
          fixed('config', esmm),
          fixed('loss_weights.cvr_clicked', 1.0),
      ),
      product(
          fixed('@row', 'the same, out-of-time history'),
          fixed('config', esmm + '_history'),
      ),
  )
  data = chain(*(
      product(
          fixed('@data', f'KuaiRand-Pure {c}'), fixed('dataset.conversion', c)
      )
      for c in CONVERSIONS
  ))
  return product(sweep('seed', range(seeds)), data, rows)


def _funnel(config: str, settings: dict[str, int], seeds: int) -> Sweep:
  """One network, four objectives; each seed has a world of its own."""
  objectives = chain(
      product(
          fixed('@row', 'entire_space (ESMM)'),
          fixed('estimator', 'entire_space'),
      ),
      product(
          fixed('@row', 'click_space'), fixed('estimator', 'click_space')
      ),
      product(
          fixed('@row', 'BASE (click_space, loss_weights.ctr=0)'),
          fixed('estimator', 'click_space'),
          fixed('loss_weights.ctr', 0.0),
      ),
      product(
          fixed('@row', 'conversion_if_clicked (bound)'),
          fixed('estimator', 'conversion_if_clicked'),
      ),
  )
  worlds = zipped(
      sweep('seed', range(seeds)), sweep('dataset.seed', range(seeds))
  )
  of_all = [fixed(key, value) for key, value in settings.items()]
  data = product(fixed('@data', 'simulated funnel, a world a seed'), *of_all)
  return product(worlds, fixed('config', config), data, objectives)
