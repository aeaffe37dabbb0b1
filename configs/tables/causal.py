"""Is causal CVR more than a loss weight?

  python -m experiments.sweep --sweep=configs/tables/causal.py:cpu \
    --workdir=runs/causal --override=evals_per_epoch=1
  python -m experiments.table --sweep=configs/tables/causal.py:cpu \
    --workdir=runs/causal
  python -m experiments.sweep --sweep=configs/tables/causal.py:kuairand \
    --workdir=runs/causal_kuairand --override=dataset.raw_dir=KuaiRand-Pure

Every weighted estimator, and what it is compared with: the naive loss at the
best of nine weights of CVR, chosen on clicked validation rows. On the simulated
funnel CVR over all impressions is compared with the truth, and `bound` is
trained on the conversion that each impression would have had. A world differs
from the first one in what its name says: the correlation of click and
conversion (rho), a hidden cause of both, a tower without a hidden layer, the
fields of the user's past dropped, the conversion rate. It is no full cross: one
at a time, and three pairs with a conversion rate of 10 %, where noise hides the
least.

`@weight` is the weight of CVR's terms over that of CTR. The default has ten
seeds of two million rows and the paper's network, `cpu` ten of 200,000 and a
small one, `kuairand` (`kuairand_cpu`: three seeds, a small network) the same
arms where no truth is known. `cpu_start` takes IPS apart in the narrow world,
with nearly constant weights that are lower, or not, in the first steps.
"""

from typing import Any, NamedTuple

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods
from esmm_jax.sweeps.points import chain, fixed, product, sweep, Sweep, zipped
from esmm_jax.sweeps.table import Choice, Column, Table

VARIANTS = ('', 'cpu', 'cpu_start', 'smoke', 'kuairand', 'kuairand_cpu')
# Half-decades: what the naive loss chooses from.
WEIGHTS = tuple(float(f'{10 ** (k / 2):.2g}') for k in range(-4, 5))
FEW_WEIGHTS = (0.1, 1.0, 10.0)
_NO_FLOOR = 1e-6  # Of a propensity; the cap or the true one bounds weights.
# All but the user's past: history, seen_category and seen_count.
_FIELDS = (
    'user', 'profile_category', 'profile_group', 'gender', 'age',
    'consumption_1', 'consumption_2', 'occupation', 'geography', 'item',
    'category', 'shop', 'brand', 'position',
)  # fmt: skip
_NARROW = {'model.tower_units': ()}
_DROPPED = {'dataset.fields': _FIELDS}
_FREQUENT = {'dataset.cvr': 0.1}
# World -> what it changes in the centre: rho .6, nothing hidden or left out, a
# conversion rate of 2 %.
WORLDS: dict[str, dict[str, Any]] = {
    'centre': {},
    'CVR 10 %': _FREQUENT,
    'hidden, CVR 10 %': {'dataset.hidden': 1.0} | _FREQUENT,
    'narrow, CVR 10 %': _NARROW | _FREQUENT,
    'dropped, CVR 10 %': _DROPPED | _FREQUENT,
    'narrow': _NARROW,
    'dropped': _DROPPED,
    'hidden': {'dataset.hidden': 1.0},
    'CVR .5 %': {'dataset.cvr': 0.005},
    'rho -.6': {'dataset.rho': -0.6},
    'rho 0': {'dataset.rho': 0.0},
    'rho .9': {'dataset.rho': 0.9},
}
IMPUTATIONS = ('dr_jl', 'plain', 'mrdr', 'dr_bias', 'dr_mse')
AUC, KL = 'test/cvr_entire/auc', 'test/cvr_entire/kl'
BIAS = 'test/cvr_entire/bias_ctr_decile_largest'
CHOICE = Choice('@weight', 'valid/cvr_clicked/logloss')


class Arm(NamedTuple):
  """A row: an estimator with some options, and the weights it chooses from.

  Attributes:
    label: Its name in the table.
    estimator: One of `ESTIMATORS`.
    options: Of `estimator_options`.
    weights: Of the estimator's own terms over that of CTR.
    term: The one loss weight that takes these values; '': all terms but `ctr`,
      whose weight is then one over them. Adam makes no difference of the two.
    truth: Whether it uses what only a simulator knows.
  """

  label: str
  estimator: str
  options: dict[str, Any] = {}
  weights: tuple[float, ...] = (1.0,)
  term: str = ''
  truth: bool = False


ARMS = (
    Arm('naive', 'click_space', weights=WEIGHTS, term='cvr_clicked'),
    Arm('ESMM', 'entire_space', weights=FEW_WEIGHTS),
    Arm('ESMM + clicks', 'entire_space', {}, FEW_WEIGHTS, 'cvr_clicked'),
    Arm('SNIPS', 'ips', {'normalization': 'self'}, FEW_WEIGHTS),
    Arm('IPS', 'ips', weights=FEW_WEIGHTS),
    Arm('IPS, floor .1', 'ips', {'propensity_floor': 0.1}),
    Arm(
        'IPS, cap 15',
        'ips',
        {'propensity_floor': _NO_FLOOR, 'weight_cap': 15.0},
    ),
    Arm(
        'IPS, true p', 'ips',
        {'propensity': 'true', 'propensity_floor': _NO_FLOOR}, truth=True,
    ),
    *(
        Arm(
            f'DR {name}', 'doubly_robust', {'imputation': name},
            FEW_WEIGHTS if name == 'dr_jl' else (1.0,),
        )
        for name in IMPUTATIONS
    ),
    Arm('DR, error head', 'doubly_robust', {'error_head': True}),
    Arm('ESCM2', 'escm2', {'propensity_floor': 0.1}, FEW_WEIGHTS),
    Arm('DCMT', 'dcmt'),
    Arm('ChorusCVR', 'chorus'),
    Arm('bound', 'conversion_if_clicked', truth=True),
)  # fmt: skip
# An own propensity starts at .5, so its weights at 2; the true one does not.
STARTS = (
    *(arm for arm in ARMS if arm.label in ('naive', 'IPS')),
    Arm('floor .2', 'ips', {'propensity_floor': 0.2}, FEW_WEIGHTS),
    Arm(
        'true p, floor .2', 'ips',
        {'propensity': 'true', 'propensity_floor': 0.2}, FEW_WEIGHTS,
    ),
    Arm(
        'true p, floor .2, warm-up', 'ips',
        {
            'propensity': 'true',
            'propensity_floor': 0.2,
            'warmup_steps': 50.0,
        },
        FEW_WEIGHTS,
    ),
    Arm('bound', 'conversion_if_clicked', {}, FEW_WEIGHTS),
)  # fmt: skip
NOTE = (
    'Test split, mean ± standard deviation over seeds{}. weight is that of the'
    " CVR terms over CTR's; each row takes the one with the least log loss of"
    ' CVR on clicked validation rows. Gains are over the naive loss at the'
    ' weight that it chose.'
)
SIMULATED = (
    ', each with a world, a data order and an initialisation of its own. CVR is'
    ' over all impressions against the truth; bias is the largest difference of'
    ' mean predicted and mean true CVR in a decile of the true CTR'
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  if variant.startswith('kuairand'):
    return _kuairand(variant)
  columns = (
      Column('CVR AUC (entire)', AUC),
      Column('KL, nats', KL, 5),
      Column('bias', BIAS),
      Column('predicted / true', 'test/cvr_entire/ratio', 2),
      Column('CTR AUC', 'test/ctr/auc'),
      Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
  )
  return _table(
      'Is causal CVR more than a loss weight?',
      NOTE.format(SIMULATED),
      _simulated(variant),
      columns,
      (AUC, KL, BIAS),
  )


def _table(
    title: str,
    note: str,
    points: Sweep,
    columns: tuple[Column, ...],
    gains: tuple[str, ...],
) -> Table:
  return Table(
      title=title,
      note=note,
      points=points,
      columns=columns,
      rows=('@arm',),
      blocks=('@world',),
      baseline={'@arm': 'naive'},
      gain_columns=gains,
      choice=CHOICE,
      figures=('gains',),
      overview=gains,
  )


def _simulated(variant: str) -> Sweep:
  # Worlds outermost: a sweep that is cut short has whole ones, the first ones
  # being those that matter most.
  seeds = range(2 if variant == 'smoke' else 10)
  worlds, arms, config = WORLDS, ARMS, ''
  shared: dict[str, Any] = {'selection.metric': '', 'dataset.ctr': 0.1}
  if variant == 'smoke':  # An arm of each estimator.
    config, worlds = 'smoke', {'centre': {}}
    first = {arm.estimator: arm for arm in reversed(ARMS)}
    arms = tuple(
        arm._replace(weights=(0.1, 1.0) if arm.weights[1:] else (1.0,))
        for arm in ARMS
        if arm is first[arm.estimator]
    )
    shared = methods.FEW | {'dataset.ctr': 0.1}
  if variant == 'cpu_start':
    arms, worlds = STARTS, {'narrow': WORLDS['narrow']}
  if variant.startswith('cpu'):
    shared |= methods.SMALL | {
        'batch_size': 1024,
        'learning_rate': 3e-3,
        'dataset.num_train': 200_000,
        'dataset.num_valid': 40_000,
        'dataset.num_test': 40_000,
        'dataset.users': 2_000,
        'dataset.items': 5_000,
    }
  data = zipped(sweep('seed', seeds), sweep('dataset.seed', seeds))
  return chain(*(
      product(
          fixed('@world', world),
          data,
          methods.settings(shared | changes),
          _arms(arms, config),
      )
      for world, changes in worlds.items()
  ))


def _arms(arms: tuple[Arm, ...], variant: str) -> Sweep:
  """Makes the points of all arms, with their weights."""
  config = 'configs/esmm.py' + (f':{variant}' if variant else '')
  rows = []
  for arm in arms:
    options = {f'estimator_options.{k}': v for k, v in arm.options.items()}
    row = methods.settings(
        {'@arm': arm.label, 'config': config, 'estimator': arm.estimator}
        | options
    )
    weights = [{'@weight': w} | _weight(arm, w) for w in arm.weights]
    rows.append(product(row, weights))
  return chain(*rows)


def _weight(arm: Arm, value: float) -> dict[str, float]:
  if arm.term:
    return {f'loss_weights.{arm.term}': value}
  return {'loss_weights.ctr': 1 / value}


def _kuairand(variant: str) -> Table:
  """Makes the table on KuaiRand, without the arms that need a truth."""
  small = variant == 'kuairand_cpu'
  shared = {'selection.metric': ''} | (methods.SMALL if small else {})
  arms = tuple(arm for arm in ARMS if not arm.truth)
  metrics = ('test/cvr_clicked/auc', 'test/ctcvr/auc', 'test/ctcvr/logloss')
  headers = ('CVR AUC (clicked)', 'CTCVR AUC', 'CTCVR log loss')
  return _table(
      'Is causal CVR more than a loss weight? KuaiRand-Pure',
      NOTE.format(''),
      product(
          [
              {'@world': name, 'dataset.conversion': name}
              for name in ('long_view', 'like')
          ],
          sweep('seed', range(3 if small else 10)),
          methods.settings(shared),
          _arms(arms, 'kuairand'),
      ),
      (*map(Column, headers, metrics), Column('CTR AUC', 'test/ctr/auc')),
      metrics,
  )
