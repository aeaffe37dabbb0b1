"""Methods under a published protocol, beside the published numbers.

  python -m experiments.sweep --sweep=configs/tables/protocols.py:esmm2018 \
    --workdir=runs/esmm2018 --override=dataset.raw_dir=RAW
  python -m experiments.table --sweep=configs/tables/protocols.py:esmm2018 \
    --workdir=runs/esmm2018

The variants are the protocols (`esmm_jax/protocols/`), on the raw files of
Ali-CCP in RAW: esmm2018, easyrec10m, aitm2021 and nise. There are as many seeds
as the source has, three where it has no number. A run of esmm2018 writes the
predictions of all its test rows. The variants whose name ends in _smoke have
two seeds and tiny networks, for simulated files in that format.
"""

from typing import Any

from esmm_jax.configs import variants
from esmm_jax.configs.tables import methods
from esmm_jax.protocols import Protocol, PROTOCOLS
from esmm_jax.sweeps.points import chain, product, sweep, Sweep
from esmm_jax.sweeps.table import Column, Paper, Table, TEST_NOISE

_SMOKE = '_smoke'
VARIANTS = (*PROTOCOLS, *(name + _SMOKE for name in PROTOCOLS))
# Of UNBIAS; CTR is .04.
FLOORS = (0.01, 0.04)

_END_TO_END = {'estimator': 'end_to_end', 'loss_weights.calibrator': 0.0}
_ON_CLICKS = {
    'estimator': 'click_space',
    # Its loss of CVR is a mean over the batch.
    'estimator_options.cvr_normalization': 'impressions',
}
# Protocol -> method -> config, what makes the method, and the sizes that the
# source publishes; other sizes are the config's.
ROWS: dict[str, dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    'easyrec10m': {
        'SimpleMultiTask': ('shared_embedding', _END_TO_END, {}),
        'MMoE': ('mmoe', _END_TO_END, {}),
        'PLE': ('ple', _END_TO_END, {}),
        'ESMM': ('esmm', {}, {}),
    },
    'aitm2021': {
        'MLP': ('division', {}, {'model.tower_units': (128, 64, 32)}),
        'ESMM': ('esmm', {}, {'model.tower_units': (128, 64, 32)}),
        'OMoE': ('mmoe', _END_TO_END | {'model.one_gate': True}, {}),
        'MMoE': ('mmoe', _END_TO_END, {}),
        'PLE': ('ple', _END_TO_END, {}),
        'AITM': ('aitm', {}, {'model.tower_units': (128, 64, 32)}),
    },
    'nise': {
        'ESMM': ('esmm', {}, {'model.tower_units': (160, 80)}),
        'MMoE': (
            'mmoe',
            _ON_CLICKS,
            {
                'model.num_experts': 2,
                'model.expert_units': (80,),
                'model.tower_units': (40,),
            },
        ),
    },
}
# Of every run, beside what the source has.
OTHERS = (
    Column('CTR AUC', 'test/ctr/auc'),
    Column('CVR AUC (clicked)', 'test/cvr_clicked/auc'),
    Column('CTCVR AUC', 'test/ctcvr/auc'),
)


def get_table(variant: str = '') -> Table:
  """Makes the table in one of `VARIANTS`."""
  variants.check(variant, VARIANTS)
  protocol = PROTOCOLS[variant.removesuffix(_SMOKE)]
  small = variant.endswith(_SMOKE)
  columns = tuple(Column(m.label, f'test/{m.key}') for m in protocol.metrics)
  measured = tuple(c.metric for c in columns)
  others = tuple(c for c in OTHERS if c.metric not in measured)
  # One CTR network for all: its predictions, and so everybody's, are saved.
  saved = protocol.common_ctr
  points = _methods(protocol, small) if saved else _rows(protocol, small)
  return Table(
      title=f'Protocol {protocol.name}',
      note=_note(protocol, small),
      points=points,
      columns=columns + others,
      rows=('@method',),
      baseline={'@method': points[0]['@method']},
      gain_columns=measured,
      test_noise=tuple(m for m in measured if saved and m in TEST_NOISE),
      choice=methods.CHOICE if saved else None,
      paper=_paper(protocol),
  )


def _methods(protocol: Protocol, small: bool) -> Sweep:
  """The ESMM paper's methods, with candidates for their rates."""
  shared = methods.settings(_shared(protocol, small))
  if small:
    return methods.methods(
        'ali_ccp_smoke', FLOORS[1:], shared, 2, rates=(0.1, 1.0), copies=(5.0,)
    )
  return methods.methods('ali_ccp', FLOORS, shared, protocol.repeats or 3)


def _rows(protocol: Protocol, small: bool) -> Sweep:
  """The methods of `ROWS`, seeds outermost."""
  variant = 'ali_ccp_smoke' if small else 'ali_ccp'
  seeds = 2 if small else protocol.repeats or 3
  rows = [
      methods.settings({
          '@method': method,
          'config': f'configs/{config}.py:{variant}',
          **options,
          **({} if small else sizes),
      })
      for method, (config, options, sizes) in ROWS[protocol.name].items()
  ]
  shared = methods.settings(_shared(protocol, small))
  return product(sweep('seed', range(seeds)), shared, chain(*rows))


def _shared(protocol: Protocol, small: bool) -> dict[str, Any]:
  """Makes the settings of all runs: the protocol, and what it publishes."""
  training = {'selection.metric': ''} if small else protocol.training
  return {'protocol': protocol.name, **training}


def _paper(protocol: Protocol) -> Paper:
  keys = {m.label: f'test/{m.key}' for m in protocol.metrics}
  return Paper(
      protocol.source,
      {
          (method, keys[label]): (
              number.mean if number.std is None else (number.mean, number.std)
          )
          for method, numbers in protocol.published.items()
          for label, number in numbers.items()
      },
  )


def _note(protocol: Protocol, small: bool) -> str:
  """Spaces, words of the source, and all deviations."""
  parts = [
      f'{m.label}: {m.space}.' + (f' {m.note}' if m.note else '')
      for m in protocol.metrics
  ]
  parts += [extra.why for extra in protocol.extra]
  if small:
    parts.insert(0, 'Simulated files and tiny networks: no numbers to compare.')
  return ' '.join([*parts, 'Where ours differs:', *protocol.deviations])
