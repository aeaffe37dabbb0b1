"""The ESMM paper's methods as points, on the data sets that we have.

Not a table itself; `esmm_table2`, `esmm_figure3` and `selection_bias` use it.
"""

from typing import Any

from esmm_jax.protocols import PROTOCOLS
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep, Sweep
from esmm_jax.sweeps.table import Choice, Paper

RATES = (0.1, 0.2, 0.5, 1.0)
COPIES = (2.0, 3.0, 5.0, 10.0)
CVR, CTCVR = 'test/cvr_clicked/auc', 'test/ctcvr_common/auc'
OWN_CTCVR = 'test/ctcvr/auc'
CHOICE = Choice('@rate', 'valid/cvr_clicked/auc', 'max')

TABLE_2 = Paper(
    'Ma et al., SIGIR 2018, Table 2, on Ali-CCP; other data than ours',
    {
        (method, f'test/{measure.key}'): cells[measure.label]
        for method, cells in PROTOCOLS['esmm2018'].published.items()
        for measure in PROTOCOLS['esmm2018'].metrics
    },
)

# Networks that a CPU trains fast, for the variants `cpu`.
SMALL = {'model.embed_dim': 8, 'model.tower_units': (64, 32)}
# Of the tiny funnel, for the variants `smoke`.
FEW = {'selection.metric': '', 'dataset.train_split': 'train[:50%]'}


def settings(values: dict[str, Any]) -> Sweep:
  """Makes one point with all of these keys."""
  return product(*(fixed(key, value) for key, value in values.items()))


def methods(
    variant: str,
    floors: tuple[float, ...],
    shared: Sweep,
    seeds: int,
    rates: tuple[float, ...] = RATES,
    copies: tuple[float, ...] = COPIES,
) -> Sweep:
  """Makes the points of all methods, with their candidates, at every seed.

  Args:
    variant: Of the configs.
    floors: Candidates for UNBIAS.
    shared: One point, with the settings of all of them.
    seeds: Number of seeds.
    rates: Candidates for AMAN.
    copies: Candidates for OVERSAMPLING.
  """
  sweeps = []
  for seed in range(seeds):
    common = product(fixed('seed', seed), shared)
    base = _one(common, 'BASE', 'base', variant, {'common_ctr': '.'})
    ctr = f'../{run_name(base[0])}'
    others = [
        _one(common, *method, {'common_ctr': ctr}, candidates)
        for method, candidates in (
            (
                ('AMAN', 'aman', variant),
                sweep('sampling.unclicked_rate', rates),
            ),
            (
                ('OVERSAMPLING', 'oversampling', variant),
                sweep('sampling.conversion_copies', copies),
            ),
            (('UNBIAS', 'unbias', variant), _floors('rejection', floors)),
            (
                ('UNBIAS, weighting', 'unbias', variant),
                _floors('weighting', floors),
            ),
            (('DIVISION', 'division', variant), None),
            (('ESMM-NS', 'esmm_ns', variant), None),
            (('ESMM', 'esmm', variant), None),
        )
    ]
    sweeps.append(chain(base, *others))
  return chain(*sweeps)


def _one(
    shared: Sweep,
    label: str,
    file: str,
    variant: str,
    more: dict[str, Any],
    candidates: Sweep | None = None,
) -> Sweep:
  """Makes the points of a method; its candidates get the label @rate."""
  config = f'configs/{file}.py' + (f':{variant}' if variant else '')
  points = product(
      fixed('@method', label),
      fixed('config', config),
      shared,
      settings(more | {'save_predictions': True}),
  )
  if candidates is None:
    return points
  labelled = [point | {'@rate': _value(point)} for point in candidates]
  return product(points, labelled)


def _value(point: dict[str, Any]) -> Any:
  """Returns the candidate of a point: its one number."""
  (value,) = [v for v in point.values() if not isinstance(v, str)]
  return value


def _floors(form: str, floors: tuple[float, ...]) -> Sweep:
  return product(
      fixed('estimator_options.form', form),
      sweep('estimator_options.propensity_floor', floors),
  )
