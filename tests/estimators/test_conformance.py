"""What every estimator of `ESTIMATORS` promises, under each of its options.

The cases follow from the signatures: the defaults, and each other value of a
choice or switch. Losses themselves are in the tests of the estimators.
"""

import functools

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import bind
from esmm_jax.estimators.contract import options as options_of
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Choices that need another one.
WITH = {
    ('pseudo_label', 'propensity', 'none'): {'unclicked_weight': 'one'},
}
# Term -> the outputs that it moves; all others are stopped in it.
MOVES = {
    'ctr': ('ctr',),
    'cvr_clicked': ('cvr', 'delay_rate'),
    'cvr_entire': ('cvr',),
    'ctcvr': ('ctr', 'cvr'),
    'calibrator': ('ctr', 'cvr'),
    'imputation': ('imputation',),
    'cvr_counterfactual': ('counterfactual',),
    'counterfactual_prior': ('counterfactual', 'cvr'),
    'ct_no_conversion': ('ctr', 'no_conversion'),
    'no_conversion_clicked': ('no_conversion',),
    'alignment': ('cvr', 'no_conversion'),
    'teacher': ('teacher',),
    'second_student': ('second_student',),
    'disagreement': ('cvr', 'second_student'),
    'propensity': ('propensity',),
    'balance_guesses': ('propensity',),
    'balance_weights': ('propensity',),
    'mean_guess': (),
    'delayed_positive': ('delayed_positive',),
    'real_negative': ('real_negative',),
    'delay': ('delay_rate',),
}
OTHERWISE = {
    ('end_to_end', 'ctcvr'): ('cvr',),  # Its second output is of both events.
    ('delayed_dfm', 'cvr_clicked'): ('cvr', 'delay_rate'),
}
# Columns that are no probabilities.
COLUMNS = {
    'conversion_if_clicked': [1, 1, 0, 0, 1, 1, 0, 0],
    'conversion_eventually': [0, 1, 0, 1, 1, 1, 0, 0],
    'click_age': [0.5, 3, 2, 7, 0, 1, 9, 20],
    'conversion_delay': [0, 2, 0, 9, 0, 0.7, 0, 0],
}
EXTREMES = [0.0, -0.0, 1e-6, -0.3, 0.7, -2.0, 3.0, -12.0, 17.0, 50.0, -50.0,
            88.0, -88.0, 1e4, -1e4]
ROWS = 8
CLICK = [0, 1, 0, 1, 1, 1, 0, 1]
CONVERSION = [0, 1, 0, 0, 1, 1, 0, 0]
STEP = 5


def cases():
  """(estimator, options that are set), one choice changed at a time."""
  for name, estimator in ESTIMATORS.items():
    yield name, {}
    for option, about in options_of(estimator.terms).items():
      values = about.choices or ((False, True) if about.kind is bool else ())
      for value in values:
        if value != about.default:
          yield name, {option: value, **WITH.get((name, option, value), {})}


CASES = {
    ' '.join([name, *(f'{k}={v}' for k, v in values.items())]): (name, values)
    for name, values in cases()
}
# Those whose defaults are in the fast tests; `test_estimators` has others.
OFTEN = ('ips', 'doubly_robust', 'stable_dr', 'nise', 'dcmt', 'pseudo_label')
every_case = pytest.mark.parametrize('case', [
    pytest.param(case, marks=() if case in OFTEN else pytest.mark.slow)
    for case in CASES])


@functools.cache
def bound(case):
  name, values = CASES[case]
  options = options_of(ESTIMATORS[name].terms)
  reads = [values.get(k) for k in ('propensity', 'teacher') if k in options]
  if 'frozen' in reads:
    values = values | {'frozen_run': '../frozen'}
  return bind(name, ESTIMATORS[name], values, FUNNEL)


def inputs(case, seed=0):
  """Logits and exactly the labels that the estimator says that it needs."""
  estimator, rng = bound(case), np.random.default_rng(seed)
  names = ['ctr', 'cvr', *(h.name for h in estimator.needs.heads)]
  logits = {n: rng.normal(-0.5, 1.5, ROWS).astype(np.float32) for n in names}
  columns = [*estimator.needs.truth_labels]
  columns += [f'frozen_{task}' for task in estimator.needs.frozen]
  columns += ['uniform'] * estimator.needs_uniform
  labels = {n: rng.uniform(0.02, 0.9, ROWS).astype(np.float32) for n in columns}
  labels |= {k: np.float32(v) for k, v in COLUMNS.items() if k in labels}
  if 'p_cvr_observed' in labels:  # A part of it.
    labels['p_cvr_observed'] = labels['p_cvr_clicked'] * np.float32(0.7)
  labels |= {'click': np.float32(CLICK), 'conversion': np.float32(CONVERSION)}
  return logits, labels, np.ones(ROWS, np.float32)


def terms_of(case, logits, labels, where, traced):
  """Term -> (sum, count), [2]."""
  estimator = bound(case)
  more = {'step': jnp.int32(STEP)} if estimator.sees_step else {}
  terms = estimator.terms(logits, labels, where, **traced, **more)
  return {k: jnp.stack([jnp.asarray(x) for x in v]) for k, v in terms.items()}


@functools.cache
def compiled(case):
  """`terms_of` and its derivative: term -> output -> [2, B]."""

  def run(logits, labels, where, traced):
    function = functools.partial(
        terms_of, case, labels=labels, where=where, traced=traced)
    return function(logits), jax.jacrev(function)(logits)

  return jax.jit(run)


def computed(case, logits, labels, where, traced=None):
  traced = bound(case).traced if traced is None else traced
  traced = {k: np.float32(v) for k, v in traced.items()}
  return jax.device_get(compiled(case)(logits, labels, where, traced))


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b, rtol=1e-5, atol=1e-5):
  close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
  jax.tree.map(close, a, b)


@every_case
def test_the_terms_are_those_of_the_default_weights(case):
  """With no label that the estimator does not say that it needs."""
  logits, labels, where = inputs(case)
  estimator = bound(case)
  more = {'step': 0} if estimator.sees_step else {}
  terms = estimator.terms(logits, labels, where, **estimator.traced, **more)
  assert terms.keys() == estimator.weights.keys()
  assert min(estimator.weights.values()) >= 0 < max(estimator.weights.values())
  for total, count in terms.values():
    assert jnp.shape(total) == jnp.shape(count) == ()
    assert jnp.asarray(total).dtype == jnp.asarray(count).dtype == jnp.float32
  assert {'ctr', 'cvr'}.isdisjoint(h.name for h in estimator.needs.heads)


@every_case
def test_extreme_logits_are_finite(case):
  logits, labels, where = inputs(case)
  for shift in range(len(EXTREMES)):
    for j, name in enumerate(logits):
      at = (shift * (1 + 2 * j) + np.arange(ROWS) * (1 + j)) % len(EXTREMES)
      logits[name] = np.float32(EXTREMES)[at]
    for x in jax.tree.leaves(computed(case, logits, labels, where)):
      assert np.isfinite(x).all()


@every_case
def test_batches_without_clicks_and_without_rows(case):
  logits, labels, where = inputs(case)
  none = labels | {'click': 0 * where, 'conversion': 0 * where}
  terms, gradients = computed(case, logits, none, where)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((terms, gradients)))
  if 'cvr_clicked' in terms:
    assert terms['cvr_clicked'][0] == 0
    assert not any(g[0].any() for g in gradients['cvr_clicked'].values())
  for x in jax.tree.leaves(computed(case, logits, labels, 0 * where)):
    assert not x.any()


@every_case
def test_sums_and_counts_add_up_over_parts(case):
  """And so do their gradients, so that a batch can be worked through so."""
  logits, labels, where = inputs(case)
  whole = computed(case, logits, labels, where)
  for part in ([1] * 4 + [0] * 4, [1] + [0] * 7, [1, 0] * 4):
    part = np.float32(part)
    one, two = (
        computed(case, logits, labels, where * mask)
        for mask in (part, 1 - part)
    )
    assert_close(jax.tree.map(np.add, one, two), whole)


@every_case
def test_padding_changes_nothing(case):
  logits, labels, where = inputs(case)
  where[[2, 5]] = 0
  expected = computed(case, logits, labels, where)
  for garbage in (0.0, 3.3, 88.0, -1e4):
    for column in (*logits.values(), *labels.values()):
      column[[2, 5]] = [garbage, -garbage]
    terms, gradients = computed(case, logits, labels, where)
    assert_same(terms, expected[0])
    for name, of_term in gradients.items():
      for output, values in of_term.items():
        assert not values[:, [2, 5]].any(), (name, output)
        at = np.flatnonzero(where)
        assert_same(values[:, at], expected[1][name][output][:, at])


@every_case
def test_a_row_of_weight_2_is_two_rows(case):
  logits, labels, where = inputs(case)
  for column in (*logits.values(), *labels.values()):
    column[7] = column[3]
  twice = computed(case, logits, labels, where)
  where[[3, 7]] = 2, 0
  once = computed(case, logits, labels, where)
  assert_close(once[0], twice[0])
  where[[3, 7]] = 1
  tripled = computed(case, logits, labels, 3 * where)
  assert_close(tripled, jax.tree.map(lambda x: 3 * x, twice))


@every_case
def test_a_term_moves_the_outputs_that_it_says_and_no_other(case):
  """Nor has a count a gradient, where it is divided by."""
  logits, labels, where = inputs(case)
  _, gradients = computed(case, logits, labels, where)
  for term, of_term in gradients.items():
    moves = OTHERWISE.get((CASES[case][0], term), MOVES[term])
    expected = {output for output in moves if output in logits}
    moved = {output for output, g in of_term.items() if g[0].any()}
    # A term that the options leave out moves nothing.
    left_out = not computed(case, logits, labels, where)[0][term][0]
    assert moved == (set() if left_out else expected), term
    assert not any(g[1].any() for g in of_term.values()), term


@every_case
def test_traced_options_are_numbers_or_arrays(case):
  logits, labels, where = inputs(case)
  estimator = bound(case)
  assert all(type(v) is float for v in estimator.traced.values())
  expected = jax.jit(
      functools.partial(terms_of, case, traced=estimator.traced)
  )(logits, labels, where)
  assert_close(computed(case, logits, labels, where)[0], expected, 1e-6, 1e-6)


def traced_options():
  for name, estimator in ESTIMATORS.items():
    for option, about in options_of(estimator.terms).items():
      if about.traced:
        yield name, option, about


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, option, about', [pytest.param(*t, id=' '.join(t[:2]))
                            for t in traced_options()])
def test_every_traced_option_has_an_effect(name, option, about):
  """In some case of its estimator, on a term or on its weight."""
  low, high = about.allowed.low, min(about.allowed.high, 20.0)
  for case in (c for c, (n, _) in CASES.items() if n == name):
    estimator = bound(case)
    logits, labels, where = inputs(case)
    for share in (0.02, 0.3, 0.9):
      traced = estimator.traced | {option: low + share * (high - low)}
      one, two = (
          computed(case, logits, labels, where, t)[0]
          for t in (estimator.traced, traced))
      if any(np.any(one[k] != two[k]) for k in one):
        return
      if estimator.rescale:
        means = {k: v[0] / v[1] for k, v in one.items()}
        one, two = (
            estimator.rescale(means, **t) for t in (estimator.traced, traced))
        if any(one[k] != two[k] for k in one):
          return
  raise AssertionError('It changes nothing.')


def options():
  for name, estimator in ESTIMATORS.items():
    for option, about in options_of(estimator.terms).items():
      yield pytest.param(name, option, about, id=f'{name} {option}')


@pytest.mark.parametrize('name, option, about', list(options()))
def test_bad_options_are_refused_with_their_key_and_range(name, option, about):
  if about.choices:
    wrong, words = ['nothing', 1, ''], about.choices[0]
  elif about.kind is bool:
    wrong, words = ['yes', 1, 0.5], 'bool'
  elif about.allowed:
    a = about.allowed
    wrong, words = ['many', float('nan'), True, float('inf')], ''
    wrong += [a.low - 1] + ([a.low] if a.open_low else [])
    wrong += [10 * a.high] if a.high < 1e30 else []
  for value in wrong:
    with pytest.raises(InputError) as refused:
      bind(name, ESTIMATORS[name], {option: value}, FUNNEL)
    text = str(refused.value)
    assert f'estimator_options.{option}' in text and words in text, value
    assert '\n' not in text
    if about.allowed and isinstance(value, float) and value == value:
      assert f'{about.allowed.low:g}' in text, text
  with pytest.raises(InputError, match=f'{option}_ is set.*Did you mean'):
    bind(name, ESTIMATORS[name], {f'{option}_': 1}, FUNNEL)


def test_an_option_of_one_name_means_one_thing():
  """The same kind and range in all estimators that have it."""
  seen = {}
  for name, estimator in ESTIMATORS.items():
    for option, about in options_of(estimator.terms).items():
      kind = (about.kind, about.allowed, about.traced)
      assert seen.setdefault(option, kind) == kind, (name, option)
