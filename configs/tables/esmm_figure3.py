"""Figure 3 of the ESMM paper: AUC by the size of the training set.

  python -m experiments.sweep --sweep=configs/tables/esmm_figure3.py:cpu \
    --workdir=runs/table2
  python -m experiments.table --sweep=configs/tables/esmm_figure3.py:cpu \
    --workdir=runs/table2 --output=runs/figure3

The seven methods with 1, 20, 40 and 100 % of the simulated funnel's training
rows (the first ones of the log), validation and test rows always the same. With
the workdir of `esmm_table2.py:funnel_cpu` the runs at 100 % are shared. The
paper's figure is on its own product's log; its numbers are read off the PDF, to
about .001. `cpu` has three seeds and the small network, the full one ten and
the paper's network.
"""

from esmm_jax.configs import variants
from esmm_jax.configs.tables import esmm_table2, methods
from esmm_jax.sweeps.points import chain, fixed, product, Sweep
from esmm_jax.sweeps.table import Column, Paper, Table

VARIANTS = ('', 'cpu', 'smoke')
SHARES = (0.01, 0.2, 0.4, 1.0)
NOTE = (
    'Test split, mean ± standard deviation over seeds; share of the training'
    ' rows. CVR is over clicked impressions; CTCVR is over all of them, with'
    ' the pCTR of one CTR network trained on as many rows. Rates are chosen for'
    ' each share by the CVR AUC on the validation split.'
)
# x 100, at 1, 20, 40 and 100 %.
_FIGURE_3 = {
    'BASE': ((66.0, 71.6, 72.6, 74.6), (62.1, 68.8, 70.1, 72.5)),
    'AMAN': ((65.2, 72.7, 74.0, 75.2), (63.5, 69.4, 71.6, 73.3)),
    'OVERSAMPLING': ((67.2, 72.6, 73.4, 75.3), (63.0, 69.5, 71.5, 73.2)),
    'UNBIAS': ((66.7, 72.6, 72.9, 75.2), (63.5, 69.7, 70.3, 73.1)),
    'DIVISION': ((67.6, 72.6, 73.6, 75.2), (63.6, 69.8, 71.1, 73.2)),
    'ESMM-NS': ((68.3, 73.4, 74.6, 76.0), (64.4, 70.1, 71.9, 73.7)),
    'ESMM': ((68.6, 74.1, 75.2, 76.8), (65.3, 71.2, 72.7, 74.8)),
}
PAPER = Paper(
    'Ma et al., SIGIR 2018, Figure 3, read off; on their product log',
    {
        (f'{method}, {share}', metric): value / 100
        for method, curves in _FIGURE_3.items()
        for metric, curve in zip((methods.CVR, methods.CTCVR), curves)
        for share, value in zip(SHARES, curve)
    },
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  points = _smoke() if variant == 'smoke' else _funnel(variant == 'cpu')
  plotted = {m for m, _ in PAPER.values}
  points = [p for p in points if f'{p["@method"]}, {p["@share"]}' in plotted]
  return Table(
      title='ESMM, Figure 3',
      note=NOTE,
      points=points,
      columns=(
          Column('CVR AUC', methods.CVR),
          Column('CTCVR AUC', methods.CTCVR),
          Column('CVR AUC (entire)', 'test/cvr_entire/auc'),
      ),
      rows=('@method', '@share'),
      blocks=('@data',),
      baseline={'@method': 'BASE'},
      gain_columns=(methods.CVR, methods.CTCVR),
      choice=methods.CHOICE,
      paper=PAPER,
      figures=('training_size',),
  )


def _funnel(small: bool) -> Sweep:
  shared = methods.settings(
      esmm_table2.FUNNEL | (methods.SMALL if small else {})
  )
  return chain(*(
      methods.methods(
          '',
          (0.01, 0.04),
          product(fixed('@data', 'simulated funnel'), shared, _share(share)),
          3 if small else 10,
      )
      for share in SHARES
  ))


def _smoke() -> Sweep:
  whole = methods.FEW
  part = whole | {'dataset.train_split': 'train[:10%]'}
  label = {'@data': 'tiny funnel'}
  return chain(*(
      methods.methods(
          'smoke',
          (0.02,),
          methods.settings(label | {'@share': share} | rows),
          2,
          rates=(0.1,),
          copies=(5.0,),
      )
      for share, rows in ((0.2, part), (1.0, whole))
  ))


def _share(share: float) -> Sweep:
  """Sets the part of the training rows; a share of 1 leaves the config's."""
  label = fixed('@share', share)
  if share == 1.0:
    return label
  split = f'train[:{round(100 * share)}%]'
  return product(label, fixed('dataset.train_split', split))
