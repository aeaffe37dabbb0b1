"""Published protocols: their numbers, what they fill in, what they compute."""

import importlib
import subprocess
import sys

from configs.tables import methods, protocols as tables
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.metrics import METRICS
from esmm_jax.metrics.by_space import evaluate, Observed
from esmm_jax.metrics.ranking import auc
from esmm_jax.protocols import PROTOCOLS
from esmm_jax.protocols.protocol import Published, rows, WHOLE
from esmm_jax.protocols.scoring import protocol_metrics
from esmm_jax.protocols.use import apply, changed, named, resolve, summary
from esmm_jax.sweeps.points import runs
from esmm_jax.tasks import FUNNEL, spaces
from esmm_jax.types import InputError
from ml_collections import config_dict
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests import ROOT

NAMES = ('esmm2018', 'easyrec10m', 'aitm2021', 'nise')
CVR, CTCVR = 'CVR AUC', 'CTCVR AUC'
MISNAMED = 'AUC of pCVR against the CTCVR label'
# As printed: measures, then each method's mean and deviation of each.
PRINTED = {
    'esmm2018': ((CVR, CTCVR), {
        'BASE': (0.6600, 0.0037, 0.6207, 0.0045),
        'AMAN': (0.6521, 0.0059, 0.6353, 0.0057),
        'OVERSAMPLING': (0.6718, 0.0032, 0.6305, 0.0048),
        'UNBIAS': (0.6665, 0.0028, 0.6356, 0.0070),
        'DIVISION': (0.6756, 0.0048, 0.6362, 0.0009),
        'ESMM-NS': (0.6825, 0.0044, 0.6444, 0.0062),
        'ESMM': (0.6856, 0.0037, 0.6532, 0.0049),
    }),
    'easyrec10m': (('CTR AUC', 'masked CVR AUC', CTCVR), {
        'SimpleMultiTask': (0.592606, None, None, None, 0.6306802, None),
        'MMoE': (0.5869702, None, None, None, 0.6330008, None),
        'ESMM': (0.5974812, None, 0.6841141, None, 0.6362526, None),
        'PLE': (0.5874, None, None, None, 0.6159, None),
    }),
    'aitm2021': (('click AUC', 'purchase AUC'), {
        'LightGBM': (0.5837, 0.0005, 0.5870, 0.0038),
        'MLP': (0.6048, 0.0013, 0.5806, 0.0035),
        'ESMM': (0.6022, 0.0020, 0.6291, 0.0061),
        'OMoE': (0.6049, 0.0020, 0.6405, 0.0041),
        'MMoE': (0.6047, 0.0017, 0.6420, 0.0031),
        'PLE': (0.6039, 0.0014, 0.6417, 0.0013),
        'AITM': (0.6043, 0.0016, 0.6525, 0.0024),
    }),
    'nise': ((MISNAMED,), {
        'ESMM': (0.6287, 0.0024),
        'MMoE': (0.6216, 0.0025),
        'ESCM2-IPS': (0.6411, 0.0023),
        'ESCM2-DR': (0.6182, 0.0120),
        'DCMT': (0.6407, 0.0024),
        'NISE': (0.6498, 0.0038),
    }),
}


@pytest.mark.parametrize('name', NAMES)
def test_published_numbers(name):
  """All of them and no others; in AUC, not in percent."""
  labels, table = PRINTED[name]
  found = PROTOCOLS[name].published
  assert list(found) == list(table)
  for method, cells in table.items():
    typed = {
        label: (mean, std)
        for label, mean, std in zip(labels, cells[::2], cells[1::2])
        if mean is not None
    }
    assert found[method].keys() == typed.keys()
    for label, number in found[method].items():
      assert number == pytest.approx(typed[label], abs=1e-9), (method, label)


def test_a_published_table_has_as_many_cells_as_columns():
  assert rows(('x', 'y'), {'m': (None, (0.5, 0.1)), 'n': (0.6, None)}) == {
      'm': {'y': Published(0.5, 0.1)}, 'n': {'x': Published(0.6)},
  }
  with pytest.raises(ValueError):
    rows(('x', 'y'), {'m': (0.5,)})


def test_names():
  assert tuple(PROTOCOLS) == NAMES
  assert all(named(name) is PROTOCOLS[name] for name in NAMES)
  assert all(PROTOCOLS[name].name == name for name in NAMES)
  assert named('') is None
  with pytest.raises(InputError, match="'aitm21'.*'aitm2021'?.*esmm2018"):
    named('aitm21')


# What they are of.

# What every run's results hold.
ALWAYS = {
    f'{space}/{metric}'
    for space in ('ctcvr_common', *(s.key for s in spaces(FUNNEL)))
    for metric in METRICS
}


@pytest.mark.parametrize('name', NAMES)
def test_every_measure_is_a_key_of_the_results(name):
  protocol = PROTOCOLS[name]
  extra = {e.key for e in protocol.extra}
  assert not extra & ALWAYS
  assert {m.key for m in protocol.metrics} <= ALWAYS | extra
  common = [m for m in protocol.metrics if m.key.startswith('ctcvr_common/')]
  assert bool(common) == protocol.common_ctr
  labels = [m.label for m in protocol.metrics]
  assert len(set(labels)) == len(labels)
  assert all(set(n) <= set(labels) for n in protocol.published.values())
  assert all(m.space for m in protocol.metrics)
  assert protocol.source and len(protocol.deviations) >= 4
  for sentence in protocol.deviations:
    assert sentence.endswith('.')


def test_spaces():
  """Who scores what, on which rows, with which pCTR."""
  keys = {n: [m.key for m in p.metrics] for n, p in PROTOCOLS.items()}
  assert keys == {
      'esmm2018': ['cvr_clicked/auc', 'ctcvr_common/auc'],
      'easyrec10m': ['ctr/auc', 'cvr_clicked/auc', 'ctcvr/auc'],
      'aitm2021': ['ctr/auc', 'ctcvr/auc'],
      'nise': ['cvr_vs_ctcvr_label/auc'],
  }
  assert [n for n in NAMES if PROTOCOLS[n].common_ctr] == ['esmm2018']
  assert [n for n in NAMES if PROTOCOLS[n].extra] == ['nise']
  # No label of it can be taken for a CVR metric.
  assert 'CVR AUC' not in {m.label for m in PROTOCOLS['nise'].metrics}


@pytest.mark.parametrize('name', NAMES)
def test_options_are_those_of_the_data_set(name, tmp_path):
  protocol = PROTOCOLS[name]
  options = protocol.options()
  for key in ('train_split', 'valid_split', 'test_split', 'fields'):
    del options[key]
  builder = AliCcp.from_options(data_dir=str(tmp_path), **options)
  config = builder.builder_config
  assert isinstance(config, AliCcpConfig) and config.sample == 1.0
  aitm = name == 'aitm2021'
  assert config.preset == ('aitm18' if aitm else 'esmm23')
  assert config.min_count == (12 if aitm else 10)
  assert config.valid_share == (0.1 if aitm else 0.05)
  assert config.conversion_without_click == 'drop'
  test = 'test[:23%]' if name == 'easyrec10m' else 'test'
  assert protocol.options()['test_split'] == test


# What a run does with them.


def unset(**options):
  """A dataset section in which nothing is set."""
  keys = (
      'raw_dir', 'preset', 'min_count', 'valid_share', 'sample',
      'conversion_without_click', 'history_length', 'train_split',
      'valid_split', 'test_split',
  )
  return dict.fromkeys(keys) | {'name': 'ali_ccp', 'fields': ()} | options


def test_apply_fills_what_is_unset():
  given = unset()
  got = apply(PROTOCOLS['aitm2021'], given)
  assert got == unset(
      preset='aitm18', min_count=12, valid_share=0.1, sample=1.0,
      conversion_without_click='drop', train_split='train',
      valid_split='valid', test_split='test',
  )
  assert given == unset()
  assert apply(PROTOCOLS['aitm2021'], got) == got


def test_what_is_set_wins():
  """Zero, False and '' are set."""
  mine = dict(
      min_count=0, sample=0.1, valid_split='', test_split='test[:1%]',
      conversion_without_click='keep', fields=('205',),
  )
  protocol = PROTOCOLS['easyrec10m']
  got = apply(protocol, unset(**mine))
  assert {k: got[k] for k in mine} == mine
  assert (got['preset'], got['train_split']) == ('esmm23', 'train')
  # min_count is not of this protocol, so it is no change of it.
  del mine['min_count']
  assert changed(protocol, got) == mine


def test_without_a_protocol_only_splits_are_filled():
  got = apply(None, unset(preset='aitm18', test_split='test[:5%]'))
  assert got == unset(
      preset='aitm18', train_split='train', valid_split='valid',
      test_split='test[:5%]',
  )
  funnel = {'name': 'synthetic_funnel', 'preset': None, 'valid_split': ''}
  filled = {'train_split': 'train', 'test_split': 'test'}
  assert apply(None, funnel) == funnel | filled


def test_another_data_set_is_refused():
  with pytest.raises(InputError, match="'nise'.*'ali_ccp'.*'kuairand'"):
    apply(PROTOCOLS['nise'], unset(name='kuairand'))
  lacking = unset()
  del lacking['history_length']
  with pytest.raises(InputError, match='dataset.history_length'):
    apply(PROTOCOLS['nise'], lacking)


def test_resolve_fills_a_config_and_leaves_it():
  placeholder = config_dict.placeholder
  section = {
      k: placeholder(float if k in ('valid_share', 'sample') else str)
      for k, v in unset().items()
      if v is None
  }
  section |= {
      'min_count': placeholder(int), 'history_length': placeholder(int),
      'name': 'ali_ccp', 'fields': (),
  }
  config = config_dict.ConfigDict({'protocol': 'nise', 'dataset': section})
  config.dataset.sample = 0.5
  config.lock()
  got = resolve(config)
  assert config.dataset.preset is None and got.protocol == 'nise'
  assert got.dataset.to_dict() == apply(PROTOCOLS['nise'], unset(sample=0.5))
  assert resolve(got).to_dict() == got.to_dict()


def test_summary():
  protocol = PROTOCOLS['esmm2018']
  options = apply(protocol, unset())
  results = {
      'test/cvr_clicked/auc': 0.7, 'test/ctcvr_common/auc': 0.6,
      'valid/cvr_clicked/auc': 0.8,
  }
  assert summary(protocol, results, options) == {
      'protocol': 'esmm2018', 'protocol/CVR AUC': 0.7,
      'protocol/CTCVR AUC': 0.6,
  }
  del results['test/ctcvr_common/auc']
  assert summary(protocol, results, options | {'sample': 0.1}) == {
      'protocol': 'esmm2018', 'protocol/CVR AUC': 0.7,
      'protocol/missing': ['CTCVR AUC'], 'protocol/changed': {'sample': 0.1},
  }
  assert summary(None, results, options) == {}
  assert WHOLE['sample'] == 1.0


# The metric that only one of them has.


def test_the_extra_metric():
  """As scikit-learn has it, over all rows; it is not CVR on clicks."""
  rng = np.random.default_rng(0)
  n = 5_000
  click = (rng.random(n) < 0.3).astype(np.float32)
  conversion = click * (rng.random(n) < 0.2).astype(np.float32)
  cvr = (rng.normal(size=n) + conversion + click).astype(np.float32)
  outputs = {'ctr': -cvr, 'cvr': cvr, 'ctcvr': -cvr}
  labels = {'click': click, 'conversion': conversion}
  got = protocol_metrics(PROTOCOLS['nise'], outputs, labels)
  expected = roc_auc_score(conversion, cvr)
  assert got == {'cvr_vs_ctcvr_label/auc': pytest.approx(expected, abs=1e-12)}
  clicked = roc_auc_score(conversion[click == 1], cvr[click == 1])
  assert abs(expected - clicked) > 0.05
  for name in (*NAMES[:-1], ''):
    assert protocol_metrics(named(name), outputs, labels) == {}
  always = evaluate(outputs, Observed(labels, None, {}))
  assert 'cvr_vs_ctcvr_label/auc' not in always
  assert always['cvr_clicked/auc'] == pytest.approx(clicked, abs=1e-12)


def test_why_it_is_no_metric_of_cvr():
  """The true CVR loses against the true CTR, which says nothing of CVR."""
  rng = np.random.default_rng(1)
  n = 200_000
  p = 1 / (1 + np.exp(-rng.normal(-1.5, 1.2, n)))
  r = 1 / (1 + np.exp(-rng.normal(-1.5, 0.6, n)))
  conversion = (rng.random(n) < p) & (rng.random(n) < r)

  def score(values):
    labels = {'conversion': conversion}
    (value,) = protocol_metrics(
        PROTOCOLS['nise'], {'cvr': np.log(values)}, labels).values()
    return value

  assert score(p * r) > score(p) > score(r) + 0.02
  assert score(r) == auc(r, conversion)


# The tables.


@pytest.mark.parametrize('name', NAMES)
def test_table(name):
  protocol = PROTOCOLS[name]
  table, small = tables.get_table(name), tables.get_table(name + '_smoke')
  headers = [c.header for c in table.columns]
  assert headers[: len(protocol.metrics)] == [m.label for m in protocol.metrics]
  seeds = {p['seed'] for p in table.points}
  assert len(seeds) == (protocol.repeats or 3)
  assert len(runs(table.points)) == len(table.points)
  assert {p['protocol'] for p in table.points + small.points} == {name}
  for key, value in protocol.training.items():
    assert {p[key] for p in table.points} == {value}
  methods_run = {p['@method'] for p in table.points}
  assert methods_run - {'UNBIAS, weighting'} <= set(protocol.published)
  assert methods_run == {p['@method'] for p in small.points}
  for point in small.points:
    assert point['config'].endswith('.py:ali_ccp_smoke')
  number = table.paper.values['ESMM', f'test/{protocol.metrics[0].key}']
  published = protocol.published['ESMM'][protocol.metrics[0].label]
  expected = (published.mean, published.std)
  assert number == (expected[0] if published.std is None else expected)
  assert all(sentence in table.note for sentence in protocol.deviations)


def test_unknown_variant_is_refused():
  with pytest.raises(ValueError, match="'nise_smke'.*nise_smoke"):
    tables.get_table('nise_smke')


def test_the_two_tables_of_the_paper_agree():
  theirs = tables.get_table('esmm2018').paper.values
  ours = methods.TABLE_2.values
  assert ours == theirs and len(ours) == 14
  assert ours['ESMM', methods.CVR] == pytest.approx((0.6856, 0.0037))
  assert ours['BASE', methods.CTCVR] == pytest.approx((0.6207, 0.0045))


@pytest.mark.parametrize(
    'module, absent',
    [
        ('esmm_jax.protocols', ['jax', 'scipy', 'tensorflow_datasets']),
        ('esmm_jax.protocols.use', ['jax', 'scipy', 'ml_collections']),
        ('esmm_jax.protocols.scoring', ['jax', 'tensorflow']),
        ('configs.tables.protocols', ['jax', 'scipy', 'ml_collections']),
    ],
)
def test_what_an_import_brings_along(module, absent):
  assert importlib.import_module(module)
  program = (
      f'import {module}, sys\n'
      f'print([m for m in {absent} if m in sys.modules])'
  )
  done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True, text=True, cwd=ROOT, check=False)
  assert (done.returncode, done.stdout.strip()) == (0, '[]'), done.stderr
