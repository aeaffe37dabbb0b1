"""Registries: a part is added by assignment, and none is replaced."""

import runpy

from esmm_jax import DATASETS, ESTIMATORS, METRICS, MODELS
from esmm_jax.plugins import loading
from esmm_jax.plugins.registry import one_of, Registry
from esmm_jax.types import InputError
import pytest

from tests.plugins.conftest import REGISTRIES

# Registry -> a part that it takes.
PARTS = {
    'MODELS': MODELS['mmoe'],
    'ESTIMATORS': ESTIMATORS['click_space'],
    'DATASETS': type('Mine', (DATASETS['tabular'],), {'name': 'of_a_test'}),
    'METRICS': METRICS['auc'],
    'REGRESSION_METRICS': METRICS['auc'],
    'DIRECTIONS': 'max',
}
every = pytest.mark.parametrize('name', REGISTRIES)


def assign(module, registry, name, part):
  """Assigns as the code of a module does."""
  code = 'REGISTRY[name] = part'
  exec(code, {  # noqa: S102
      '__name__': module, 'REGISTRY': registry, 'name': name, 'part': part})


@every
@pytest.mark.usefixtures('alone')
def test_a_part_is_added_and_taken_out_again(name):
  registry, before = REGISTRIES[name], dict(REGISTRIES[name])
  registry['mine'] = PARTS[name]
  assert registry['mine'] is PARTS[name] and 'mine' in registry
  assert dict(registry) == {**before, 'mine': PARTS[name]}
  assert registry.module('mine') == __name__
  assert not any(registry.module(n) for n in before)
  registry['mine'] = PARTS[name]  # A cell of a notebook may run twice.
  del registry['mine']
  assert dict(registry) == before


@every
@pytest.mark.usefixtures('alone')
def test_ours_stay(name):
  registry = REGISTRIES[name]
  ours = next(iter(registry))
  before = registry[ours]
  for change in (
      lambda: registry.update({ours: PARTS[name]}),
      lambda: assign('a.b', registry, ours, PARTS[name]),
      lambda: registry.pop(ours),
      registry.clear,
  ):
    with pytest.raises(InputError, match=f"{name}.*is this project's own"):
      change()
  assert registry[ours] is before


@every
@pytest.mark.usefixtures('alone')
def test_others_stay(name):
  registry, part = REGISTRIES[name], PARTS[name]
  assign('a.b', registry, 'mine', part)
  assign('a.b', registry, 'mine', part)
  with pytest.raises(InputError, match="is that of the module a.b already; c"):
    assign('c', registry, 'mine', part)
  assert registry.module('mine') == 'a.b'


@pytest.mark.parametrize('first', ['__main__', '<run_path>', 'script'])
def test_a_script_is_run_and_imported(alone, first):
  """One that trains with its own parts, and a config file that has some."""
  path = alone / 'script.py'
  path.write_text(
      'from esmm_jax import METRICS\n'
      'METRICS["mine"] = lambda logits, labels, where: 1.0\n')
  runpy.run_path(str(path), run_name=first)
  before = METRICS['mine']
  loading.use({'plugins': ['script']})
  assert METRICS['mine'] is not before and 'mine' in METRICS.in_use()
  runpy.run_path(str(path), run_name=first)
  assert METRICS.plugins('mine') == ['script'] and 'mine' in METRICS.in_use()
  other = alone / 'other.py'
  other.write_text(path.read_text())
  with pytest.raises(InputError, match='other takes another name'):
    runpy.run_path(str(other), run_name='other')
  loading.use({})
  assert 'mine' not in METRICS.in_use()


@every
@pytest.mark.usefixtures('alone')
@pytest.mark.parametrize('part', [None, 5, 'text'])
def test_what_is_none_of_the_kind(name, part):
  with pytest.raises(InputError, match=rf"{name}\['mine'\]: .* is no"):
    REGISTRIES[name]['mine'] = part
  assert 'mine' not in REGISTRIES[name]


@pytest.mark.usefixtures('alone')
@pytest.mark.parametrize('name', ['', 'a/b', 'a b', '1a', 'a-b', 'é', 5, None])
def test_what_is_no_name(name):
  with pytest.raises(InputError, match='a name has letters'):
    METRICS[name] = METRICS['auc']


def test_a_config_has_the_parts_of_its_plugins_alone(alone):
  for name in ('one', 'two'):
    (alone / f'{name}.py').write_text(
        f'from esmm_jax import METRICS\nMETRICS["{name}"] = METRICS["auc"]\n')
  METRICS['by_hand'] = METRICS['auc']
  loading.use({'plugins': ['one']})
  loading.use({'plugins': ['two']})
  assert {'one', 'two', 'by_hand', 'auc'} <= {*METRICS}
  own = lambda: {'one', 'two', 'by_hand', 'auc'} & {*METRICS.in_use()}
  assert own() == {'two', 'by_hand', 'auc'}
  loading.use({'plugins': ['one', 'two']})
  assert own() == {'one', 'two', 'by_hand', 'auc'}
  loading.use({})
  assert own() == {'by_hand', 'auc'}


def test_two_plugins_that_share_what_adds_the_part(alone):
  """Whichever is imported first, each of them has it."""
  (alone / 'shared.py').write_text(
      'from esmm_jax import METRICS\n'
      'def add(): METRICS["theirs"] = METRICS["auc"]\n'
      'METRICS["at_once"] = METRICS["auc"]\n')
  for name in ('one', 'two'):
    (alone / f'{name}.py').write_text('import shared\nshared.add()\n')
  for name in ('one', 'two'):
    loading.use({'plugins': [name]})
    assert {'theirs', 'at_once'} <= {*METRICS.in_use()}
  assert METRICS.plugins('at_once') == METRICS.plugins('theirs') == [
      'one', 'two']


def test_a_registry_of_texts():
  ends = Registry('ENDS', {'auc': 'max'}, one_of('max', 'min'))
  ends['mine'] = 'min'
  assert (dict(ends), repr(ends)) == (
      {'auc': 'max', 'mine': 'min'}, "ENDS['auc', 'mine']")
  with pytest.raises(InputError, match="'low' is none of 'max', 'min'"):
    ends['other'] = 'low'
