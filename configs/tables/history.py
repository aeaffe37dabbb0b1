"""History on KuaiRand-Pure: by day and of the last hour, at ten seeds.

  python -m experiments.sweep --sweep=configs/tables/history.py \
    --workdir=runs/history --override=dataset.raw_dir=KuaiRand-Pure
  python -m experiments.table --sweep=configs/tables/history.py \
    --workdir=runs/history

Nightly is the baseline: nothing of a row's own day is known. The other two rows
know labels of the test days, of rows at least 10 or 60 minutes older than the
one that is scored (the first also the user's last three labels, a minute old,
and the session); their gains say what that is worth, not which is the better
model. `sizes` compares towers and forms of the nightly history by validation
alone. `smoke` is one seed.
"""

from esmm_jax.configs import variants
from esmm_jax.sweeps.points import chain, fixed, product, sweep, Sweep
from esmm_jax.sweeps.table import Column, Table

VARIANTS = ('', 'sizes', 'smoke')
CONVERSIONS = ('long_view', 'like')
SPACES = ('ctr', 'cvr_clicked', 'ctcvr')
HEADERS = ('CTR AUC', 'CVR AUC (clicked)', 'CTCVR AUC')
PROTOCOLS = {
    'nightly': 'kuairand_history',
    'live, 10 minutes': 'kuairand_live',
    'live, 60 minutes': 'kuairand_live_cautious',
}
SIZES = ((256, 128), (128, 64))
FORMS = ('both', 'float')


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  seeds = 1 if variant == 'smoke' else 10
  if variant == 'sizes':
    return _sizes(seeds)
  metrics = [f'test/{space}/auc' for space in SPACES]
  return Table(
      title='History on KuaiRand-Pure: what the last hour brings',
      note=(
          'Test split, mean ± standard deviation over seeds, parameters chosen'
          ' on the validation day. Gains are over nightly at the same seed. The'
          ' live rows know labels of the test days that nightly does not.'
      ),
      points=_points(
          [
              product(
                  fixed('@history', name),
                  fixed('config', f'configs/esmm.py:{config}'),
              )
              for name, config in PROTOCOLS.items()
          ],
          seeds,
          fixed('save_predictions', True),
      ),
      columns=tuple(map(Column, HEADERS, metrics)),
      rows=('@history',),
      blocks=('@conversion',),
      baseline={'@history': 'nightly'},
      gain_columns=tuple(metrics),
      test_noise=tuple(metrics),
  )


def _sizes(seeds: int) -> Table:
  metrics = [f'valid/{space}/auc' for space in SPACES]
  return Table(
      title='Nightly history on KuaiRand-Pure: towers and forms',
      note='Validation day. Gains are over towers 256-128 and both forms.',
      points=_points(
          [
              product(
                  fixed('@towers', '-'.join(map(str, SIZES[k]))),
                  fixed('@form', FORMS[k]),
                  fixed('config', 'configs/esmm.py:kuairand_history'),
                  fixed('model.tower_units', SIZES[k]),
                  fixed('dataset.history_form', FORMS[k]),
              )
              for k in range(2)
          ],
          seeds,
      ),
      columns=tuple(map(Column, HEADERS, metrics)),
      rows=('@towers', '@form'),
      blocks=('@conversion',),
      baseline={'@towers': '256-128', '@form': 'both'},
      gain_columns=tuple(metrics),
      extra_columns=(Column('examples/s', 'examples_per_second', 0),),
  )


def _points(rows: list[Sweep], seeds: int, *more: Sweep) -> Sweep:
  data = [
      product(
          fixed('@conversion', conversion),
          fixed('dataset.conversion', conversion),
      )
      for conversion in CONVERSIONS
  ]
  return product(
      sweep('seed', range(seeds)), chain(*data), chain(*rows), *more
  )
