"""The simulated log: truth, rates, ids, folders."""

import dataclasses
import zlib

from esmm_jax.data.simulator.config import checked_dial, PRESETS
from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import CART_TRUTH, simulator_schema
from esmm_jax.data.simulator.dataset import Simulator, TRUTH
from esmm_jax.data.simulator.log import HISTORY_LENGTH, Ids, Seen
from esmm_jax.data.simulator.log import SimulatedLog
from esmm_jax.data.simulator.maths import cart_probability, expected_auc
from esmm_jax.data.simulator.maths import fit_logit, hidden_quadrature, sigmoid
from esmm_jax.data.simulator.maths import zipf
from esmm_jax.data.simulator.process import BLOCK, LogProcess
from esmm_jax.schema import Field, RARE, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

pytestmark = pytest.mark.slow

SIZES = dict(num_train=400_000, num_valid=20_000, num_test=80_000)
SMALL = dict(num_train=3_000, num_valid=500, num_test=1_000)
# Hardly any item of these is seen in training.
STRANGE = dict(SMALL, users=2_000, items=50_000)


def make_log(**dials):
  return SimulatedLog(simulator_config('default', **dials))


def make_builder(tmp_path, **dials):
  dials = SMALL | dials
  return Simulator.from_options(str(tmp_path), 'default', **dials)


def assert_same(left, right):
  assert left.keys() == right.keys()
  for name, column in left.items():
    parts, others = [
        (c.values, c.offsets, c.weights) if isinstance(c, Ragged) else (c,)
        for c in (column, right[name])
    ]
    for part, other in zip(parts, others, strict=True):
      assert part.dtype == other.dtype, name
      np.testing.assert_array_equal(part, other, err_msg=name)


def logit(p):
  return special.logit(p.astype(np.float64))


@pytest.fixture(scope='module')
def plain():
  """Columns of a log without a hidden cause."""
  return make_log(**SIZES).columns(0, SIZES['num_train'])


@pytest.fixture(scope='module')
def hidden():
  return make_log(**SIZES, hidden=1.0).columns(0, SIZES['num_train'])


@pytest.fixture(scope='module')
def carts():
  """The log of `plain` with a cart between click and conversion."""
  return make_log(**SIZES, stages=3).columns(0, SIZES['num_train'])


@pytest.fixture(scope='module')
def hidden_carts():
  log = make_log(**SIZES, hidden=1.0, stages=3)
  return log.columns(0, SIZES['num_train'])


@pytest.fixture(scope='module')
def strange():
  """A log whose validation and test rows hold many unseen values."""
  return make_log(**STRANGE)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  return make_builder(tmp_path_factory.mktemp('funnel')).prepare()


# Rows.


def test_a_row_is_the_same_whatever_range_is_asked_for(strange):
  whole = strange.columns(0, 4_500)
  for start, stop in ((0, 10), (2_990, 3_010), (3_400, 3_600), (4_499, 4_500)):
    fresh = make_log(**STRANGE).columns(start, stop)
    for name, column in fresh.items():
      if isinstance(column, Ragged):
        low, high = whole[name].offsets[[start, stop]]
        expected = Ragged(
            whole[name].values[low:high],
            whole[name].offsets[start : stop + 1] - low,
            whole[name].weights[low:high],
        )
      else:
        expected = whole[name][start:stop]
      assert_same({name: column}, {name: expected})


def test_rows_are_the_same_across_blocks():
  dials = dict(num_train=2 * BLOCK, num_valid=0, num_test=10)
  whole = make_log(**dials).columns(0, 2 * BLOCK)
  part = make_log(**dials).columns(BLOCK - 5, BLOCK + 5)
  part.pop('history')
  rows = slice(BLOCK - 5, BLOCK + 5)
  assert_same(part, {name: whole[name][rows] for name in part})


def test_the_seed_decides():
  first, again, other = (
      make_log(**SMALL, seed=seed).columns(0, 4_500) for seed in (3, 3, 4)
  )
  assert_same(first, again)
  for name in ('group_user', 'item', 'p_ctr', 'click', 'gender'):
    assert (first[name] != other[name]).any(), name


def test_other_sizes_of_valid_and_test_leave_training_rows():
  small = make_log(**SMALL).columns(0, 3_000)
  large = make_log(**SMALL | dict(num_valid=0, num_test=9_000))
  assert_same(small, large.columns(0, 3_000))


def test_a_hidden_cause_changes_no_feature(plain, hidden):
  for name in ('user', 'item', 'position', 'seen_count'):
    np.testing.assert_array_equal(plain[name], hidden[name])


@pytest.mark.parametrize('start, stop', [(-1, 5), (5, 5), (9, 3), (0, 4_501)])
def test_rows_that_are_not_there(strange, start, stop):
  with pytest.raises(InputError, match='there are 4500'):
    strange.columns(start, stop)


# Truth.


@pytest.mark.parametrize('which', ['plain', 'hidden'])
def test_rates_and_aucs_are_as_the_dials_say(which, request):
  columns = request.getfixturevalue(which)
  would = columns['conversion_if_clicked']
  # Sessions share a user, so the error is above the binomial one.
  assert columns['click'].mean() == pytest.approx(0.04, rel=0.03)
  assert columns['p_ctr'].mean() == pytest.approx(0.04, rel=0.03)
  assert would.mean() == pytest.approx(0.02, rel=0.04)
  assert columns['p_cvr'].mean() == pytest.approx(0.02, rel=0.04)
  auc_ctr = metrics.roc_auc_score(columns['click'], columns['p_ctr'])
  assert auc_ctr == pytest.approx(0.75, abs=0.01)
  auc_cvr = metrics.roc_auc_score(would, columns['p_cvr'])
  assert auc_cvr == pytest.approx(0.80, abs=0.012)


@pytest.mark.parametrize('which', ['plain', 'hidden'])
def test_frequencies_match_the_truth(which, request):
  """Sums of (outcome - probability) over bins of the probability, in sigmas."""
  columns = request.getfixturevalue(which)
  click = columns['click'].astype(bool)
  would = columns['conversion_if_clicked']
  for outcome, p, where in (
      (columns['click'], columns['p_ctr'], None),
      (would, columns['p_cvr'], None),
      (columns['conversion'], columns['p_ctcvr'], None),
      (would, columns['p_cvr_clicked'], click),
  ):
    if where is not None:
      outcome, p = outcome[where], p[where]
    p = p.astype(np.float64)
    for rows in np.array_split(np.argsort(p), 5):
      variance = np.sum(p[rows] * (1 - p[rows]))
      z = np.sum(outcome[rows] - p[rows]) / np.sqrt(variance)
      assert abs(z) < 3.5


def test_without_a_hidden_cause_clicks_tell_nothing(plain):
  np.testing.assert_array_equal(
      plain['p_ctcvr'], plain['p_ctr'] * plain['p_cvr']
  )
  np.testing.assert_array_equal(plain['p_cvr_clicked'], plain['p_cvr'])


def test_with_a_hidden_cause_clicked_rows_convert_more(hidden):
  np.testing.assert_allclose(
      hidden['p_cvr_clicked'] * hidden['p_ctr'], hidden['p_ctcvr'], rtol=1e-6
  )
  assert (hidden['p_cvr_clicked'] > hidden['p_cvr']).all()
  assert hidden['p_cvr_clicked'].mean() > 1.5 * hidden['p_cvr'].mean()
  clicked = hidden['click'] == 1
  would = hidden['conversion_if_clicked']
  assert would[clicked].mean() > 1.5 * hidden['p_cvr'][clicked].mean()


def test_the_hidden_truth_is_an_integral(hidden):
  """p_ctcvr = E_H sigmoid(a + H) sigmoid(b + H), on a fine grid."""
  process = LogProcess(simulator_config('default', **SIZES, hidden=1.0))
  impressions, outcomes = process.simulate(0)
  a, b = (x[:200, None].astype(float) for x in process.logits(impressions))
  h = np.linspace(-9, 9, 2001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  p_a, p_b = special.expit(a + h), special.expit(b + h)
  for name, p in (('p_ctr', p_a), ('p_cvr', p_b), ('p_ctcvr', p_a * p_b)):
    expected = (p * density).sum(axis=1)
    np.testing.assert_allclose(getattr(outcomes, name)[:200], expected, 1e-4)
    same = getattr(outcomes, name)[:200]
    np.testing.assert_array_equal(hidden[name][:200], same)


@pytest.mark.parametrize(
    'hidden, checksums',
    [
        (0.0, (1238761413, 3077526583, 2453220956, 9965995)),
        (1.0, (1238761413, 3077526583, 2467280334, 982537804)),
    ],
)
@pytest.mark.parametrize('stages', [2, 3])
def test_published_rows_stay(stages, hidden, checksums):
  """Checksums of columns as they were before there were stages."""
  log = make_log(**SMALL, hidden=hidden, stages=stages)
  columns = log.columns(0, 4_500)
  names = ('group_user', 'item', 'click', 'conversion_if_clicked')
  for name, checksum in zip(names, checksums, strict=True):
    assert zlib.crc32(columns[name].tobytes()) == checksum, name


def test_conversion_needs_a_click(plain):
  would = plain['conversion_if_clicked']
  np.testing.assert_array_equal(plain['conversion'], plain['click'] * would)
  assert ((plain['click'] == 0) & (would == 1)).any()
  for name in ('click', 'conversion', 'conversion_if_clicked'):
    assert plain[name].dtype == np.int8


@pytest.mark.parametrize('rho', [-1.0, -0.6, 0.0, 0.6, 1.0])
def test_rho_is_the_correlation_of_the_logits(rho):
  process = LogProcess(simulator_config('default', **SMALL, rho=rho))
  a, b = process.logits(process.calibration_draw())
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(rho, abs=1e-5)
  a, b = process.logits(process.simulate(0)[0])
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(rho, abs=0.03)


def test_rho_in_the_columns(plain):
  a, b = logit(plain['p_ctr']), logit(plain['p_cvr'])
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.6, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    'dials',
    [
        dict(ctr=0.9, cvr=0.5, auc_ctr=0.51, auc_cvr=0.999),
        dict(ctr=1e-4, cvr=1e-4, hidden=3),
        dict(policy=0, candidates=1),
        dict(policy=100, candidates=2),
        dict(users=5, items=20),
        dict(stages=3, cvr=0.9, auc_cvr=0.999),
        dict(stages=3, cvr=1e-4, hidden=3),
    ],
)
def test_extreme_dials_give_clean_numbers(dials):
  columns = make_log(**SMALL, **dials).columns(0, 4_500)
  probabilities = [name for name in columns if name.startswith('p_')]
  assert len(probabilities) == 4 + ('stages' in dials)
  for name in probabilities:
    assert columns[name].dtype == np.float32
    assert (columns[name] > 0).all() and (columns[name] < 1).all(), name
  assert np.isfinite(columns['seen_count']).all()


def test_a_policy_follows_taste_and_uniform_ignores_popularity():
  log = make_log(**SMALL, uniform_test=True)
  logged = log.columns(0, 3_500)
  uniform = log.columns(3_500, 4_500)
  items = log.config.num_items
  assert (logged['item'] < items // 10).mean() > 0.3
  shown, _ = log.process.simulate(0, uniform=True)
  assert shown.item.mean() == pytest.approx(items / 2, rel=0.02)
  np.testing.assert_array_equal(uniform['group_user'], shown.user[3_500:4_500])
  assert uniform['p_ctr'].mean() < logged['p_ctr'].mean()
  assert_same(
      make_log(**SMALL).columns(0, 3_000),
      make_log(**SMALL, uniform_test=True).columns(0, 3_000),
  )


# Three stages.


@pytest.mark.parametrize(
    'two, three', [('plain', 'carts'), ('hidden', 'hidden_carts')]
)
def test_a_cart_changes_nothing_else(two, three, request):
  two, three = (request.getfixturevalue(name) for name in (two, three))
  assert three.keys() - two.keys() == {'cart', *CART_TRUTH}
  assert_same(two, {name: three[name] for name in two})


@pytest.mark.parametrize('which', ['carts', 'hidden_carts'])
def test_a_purchase_needs_a_cart_and_a_cart_a_click(which, request):
  columns = request.getfixturevalue(which)
  click, cart = columns['click'], columns['cart']
  np.testing.assert_array_equal(cart, click * columns['cart_if_clicked'])
  for name in ('cart', 'cart_if_clicked'):
    assert columns[name].dtype == np.int8
    assert set(np.unique(columns[name])) == {0, 1}
  for above, below in (
      ('click', 'cart'),
      ('cart', 'conversion'),
      ('cart_if_clicked', 'conversion_if_clicked'),
      ('p_atr', 'p_cvr'),
  ):
    assert (columns[above] >= columns[below]).all(), (above, below)
    assert (columns[above] > columns[below]).any(), (above, below)
  assert columns['p_atr'].dtype == np.float32
  assert columns['p_atr'].max() < 1


def gamma_again(process, impressions):
  """0.45 + 0.12 tanh(standardised budget - price), in float64."""

  def spare(shown):
    world = process.world
    return world.budget[shown.user].astype(float) - world.price[shown.item]

  logged = spare(process.calibration_draw())
  w = (spare(impressions) - logged.mean()) / logged.std()
  return 0.45 + 0.12 * np.tanh(w)


def test_p_atr_is_a_power_of_p_cvr(carts):
  process = LogProcess(simulator_config('default', **SIZES, stages=3))
  shown, outcomes = process.simulate(0)
  gamma = gamma_again(process, shown)
  np.testing.assert_allclose(process.cart_exponent(shown), gamma, 1e-5)
  p = outcomes.p_cvr.astype(float)
  np.testing.assert_allclose(outcomes.p_atr, p**gamma, 1e-4)
  np.testing.assert_array_equal(outcomes.p_atr, carts['p_atr'][:BLOCK])
  # P(purchase | cart) is the rest of the exponent.
  rest = outcomes.p_cvr / outcomes.p_atr
  np.testing.assert_allclose(rest, p ** (1 - gamma), 1e-4)
  # What is too dear is carted more and bought from the cart less.
  assert gamma.min() > 0.33 and gamma.max() < 0.57
  dear = gamma < 0.4
  for low, high in ((0.005, 0.01), (0.02, 0.03)):
    alike = (p > low) & (p < high)
    cart, bought = outcomes.p_atr[alike], rest[alike]
    assert cart[dear[alike]].mean() > 1.2 * cart[~dear[alike]].mean()
    assert bought[dear[alike]].mean() < 0.8 * bought[~dear[alike]].mean()


def test_carts_are_ranked_by_more_than_conversions(carts):
  cart = carts['cart_if_clicked']
  own = metrics.roc_auc_score(cart, carts['p_atr'])
  assert own > metrics.roc_auc_score(cart, carts['p_cvr']) + 0.02


def test_the_rate_of_carts(carts):
  clicked = carts['click'] == 1
  p = carts['p_atr'][clicked].astype(float)
  error = np.sqrt(np.sum(p * (1 - p)))
  assert abs(carts['cart'][clicked].sum() - p.sum()) < 3.5 * error
  assert 0.1 < p.mean() < 0.3


@pytest.mark.parametrize(
    'which, outcome, p, given',
    [
        ('carts', 'cart', 'p_atr', 'click'),
        ('carts', 'cart_if_clicked', 'p_atr', None),
        ('carts', 'conversion', 'p_ptr', 'cart'),
        ('hidden_carts', 'cart_if_clicked', 'p_atr', None),
    ],
)
def test_carts_match_the_truth_in_every_decile(
    which, outcome, p, given, request
):
  """In sigmas of the binomial error; p_ptr is P(purchase | cart)."""
  columns = request.getfixturevalue(which)
  columns = columns | dict(p_ptr=columns['p_cvr'] / columns['p_atr'])
  where = columns[given] == 1 if given else slice(None)
  outcome, p = columns[outcome][where], columns[p][where].astype(float)
  for rows in np.array_split(np.argsort(p), 10):
    variance = np.sum(p[rows] * (1 - p[rows]))
    z = np.sum(outcome[rows] - p[rows]) / np.sqrt(variance)
    assert abs(z) < 3.5


@pytest.mark.slow
@pytest.mark.parametrize('hidden', [1.0, 3.0])
def test_hidden_p_atr_is_an_integral(hidden):
  """p_atr = E_H sigmoid(b + hidden H)^gamma, on a fine grid."""
  dials = dict(SMALL, hidden=hidden, stages=3)
  process = LogProcess(simulator_config('default', **dials))
  shown, outcomes = process.simulate(0)
  b = process.logits(shown)[1][:200, None].astype(float)
  gamma = gamma_again(process, shown)[:200, None]
  h = np.linspace(-9, 9, 2001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  expected = (special.expit(b + hidden * h) ** gamma * density).sum(axis=1)
  np.testing.assert_allclose(outcomes.p_atr[:200], expected, 1e-4)


def test_clicks_tell_of_carts_only_by_a_hidden_cause(carts, hidden_carts):
  for columns, more in ((carts, False), (hidden_carts, True)):
    clicked = columns['click'] == 1
    observed = columns['cart'][clicked].mean()
    assert (observed > 1.2 * columns['p_atr'][clicked].mean()) == more


def test_a_cart_probability_is_between_p_and_1():
  for dtype in (np.float32, np.float64):
    top = 1 - np.finfo(dtype).epsneg
    p = np.array([1e-35, 1e-9, 0.02, 0.5, top - np.finfo(dtype).epsneg, top])
    p = p.astype(dtype)
    for gamma in (0.33, 0.45, 0.57, 0.999):
      cart = cart_probability(p, np.full(len(p), gamma, dtype))
      assert cart.dtype == dtype
      assert (cart >= p).all() and (cart < 1).all()
      np.testing.assert_allclose(cart, p.astype(float) ** gamma, 1e-5)


def test_tasks_and_truth_of_each_number_of_stages():
  two, three = (
      simulator_schema(simulator_config('tiny', stages=n)) for n in (2, 3)
  )
  assert (two.tasks, two.truth) == (FUNNEL, TRUTH)
  assert three.tasks == CART_FUNNEL
  assert three.labels == ('click', 'cart', 'conversion')
  assert three.truth == (*TRUTH, 'p_atr', 'cart_if_clicked')
  assert two.fields == three.fields
  for name in ('cart', 'cart_if_clicked', 'p_atr'):
    with pytest.raises(InputError, match='cannot be a feature'):
      Schema(
          (*three.fields, Field(name, 'float')), three.tasks, truth=three.truth
      )


def test_a_prepared_cart(tmp_path):
  builder = Simulator.from_options(str(tmp_path), 'cart', **SMALL)
  assert builder.prepare().schema == simulator_schema(builder.builder_config)
  expected, start = builder.columns(0, 4_500), 0
  for split, num_rows in (('train', 3_000), ('valid', 500), ('test', 1_000)):
    source, truth = builder.as_data_source(split), builder.truth_source(split)
    assert set(truth.names) == {*TRUTH, *CART_TRUTH}
    rows = slice(start, start + num_rows)
    cart = source.read(0, num_rows)['cart']
    np.testing.assert_array_equal(cart, expected['cart'][rows])
    columns = truth.read(0, num_rows)
    for name in CART_TRUTH:
      np.testing.assert_array_equal(columns[name], expected[name][rows])
    counts = builder.report[split]
    assert counts['carts'] == cart.sum()
    assert counts['clicks'] > counts['carts'] > counts['conversions']
    start += num_rows


# Ids and lists.


def test_ids_are_within_the_vocabulary(strange):
  schema = simulator_schema(strange.config)
  columns = strange.columns(0, 4_500)
  for field in schema.inputs:
    column = columns[field.name]
    ids = column.values if isinstance(column, Ragged) else column
    assert ids.dtype == np.int32
    assert ids.max() < field.vocab_size
    assert ids.min() >= (0 if field.name == 'seen_category' else 1)
  missing = columns['seen_category'] == 0
  np.testing.assert_array_equal(missing, columns['seen_count'] == 0)
  assert 0 < missing.mean() < 1


def test_unseen_values_are_1_after_training_and_nowhere_else(strange):
  schema = simulator_schema(strange.config)
  train, rest = strange.columns(0, 3_000), strange.columns(3_000, 4_500)
  world = strange.process.world
  shown = strange.process.expose(0)
  raw = dict(world.profile, user=np.arange(world.num_users))
  raw = {name: values[shown.user[:4_500]] for name, values in raw.items()}
  for name, values in (
      ('item', np.arange(world.num_items)),
      ('shop', world.shop),
      ('brand', world.brand),
  ):
    raw[name] = values[shown.item[:4_500]]
  for name, values in raw.items():
    np.testing.assert_array_equal(train[name], values[:3_000] + 2, name)
    known = np.isin(values[3_000:], values[:3_000])
    expected = np.where(known, values[3_000:] + 2, RARE)
    np.testing.assert_array_equal(rest[name], expected, name)
  assert (rest['item'] == RARE).mean() > 0.3
  assert (rest['user'] == RARE).any()
  # Tables of several fields, and lists: seen in any of a table's fields.
  for table in {field.table for field in schema.row_part.id_fields}:
    fields = [
        f.name
        for f in schema.inputs
        if f.table == table
    ]
    seen = np.unique(np.concatenate([flat(train[name]) for name in fields]))
    assert RARE not in seen
    for name in fields:
      assert np.isin(flat(rest[name]), np.append(seen, [0, RARE])).all(), name
  assert (rest['seen_category'] == RARE).any()
  assert len(np.unique(rest['group_user'])) > len(np.unique(rest['user']))


def test_items_and_histories_share_the_known_categories(strange):
  world, seen = strange.process.world, Seen(strange.process.world)
  seen.user[7] = seen.item[11] = True
  ids = Ids(world, seen)
  met = world.history_table(HISTORY_LENGTH)[0][7, : ids.history_length[7]]
  known = np.append(met, world.category[11])
  expected = np.where(
      np.isin(world.category, known), world.category + 2, RARE
  )
  np.testing.assert_array_equal(ids.item['category'], expected)
  histories = ids.history[ids.is_entry]
  assert set(histories.tolist()) == {RARE, *(known + 2).tolist()}
  assert (ids.user['user'] == RARE).sum() == world.num_users - 1
  assert (ids.seen_category == RARE).all()


def flat(column):
  return column.values if isinstance(column, Ragged) else column


def test_histories_are_sorted_and_agree_with_seen_category(plain):
  log = make_log(**SIZES)
  world = log.process.world
  history = plain['history']
  assert history.values.dtype == np.int32
  assert history.weights.dtype == np.float32
  lengths = np.diff(history.offsets)
  assert lengths.min() >= 1 and lengths.max() == HISTORY_LENGTH
  weight_of = {
      (user, category): weight
      for user, category, weight in zip(
          world.history_user.tolist(),
          world.history_category.tolist(),
          world.history_weight,
      )
  }
  for row in range(0, 4_000, 9):
    entries = slice(*history.offsets[row : row + 2])
    ids, weights = history.values[entries], history.weights[entries]
    user = int(plain['group_user'][row])
    pairs = list(zip(-weights, ids))
    assert pairs == sorted(pairs)
    own = world.history_user == user
    everything = sorted(
        zip(-world.history_weight[own], world.history_category[own] + 2)
    )
    assert pairs == everything[:HISTORY_LENGTH]
    category = int(plain['category'][row]) - 2
    count = weight_of.get((user, category), 0)
    assert plain['seen_count'][row] == np.float32(count)
    assert plain['seen_category'][row] == (category + 2 if count else 0)


def test_zipf():
  rng = np.random.default_rng(0)
  for exponent in (0.0, 0.85, 1.0, 1.5):
    draw = zipf(rng, 1000, (2, 50_000), exponent)
    assert draw.shape == (2, 50_000) and draw.dtype == np.int32
    assert draw.min() == 0 and draw.max() <= 999
    x = np.arange(1, 1002.0)
    power = 1 - exponent
    ends = np.log(x) if not power else (x**power - 1) / power
    expected = (ends[100] - ends[0]) / (ends[-1] - ends[0])
    assert (draw < 100).mean() == pytest.approx(expected, abs=0.01)


def test_sigmoid_has_no_limits():
  for dtype in (np.float32, np.float64):
    logits = np.array([-1e6, -90, -20, 0, 3, 20, 1e6], dtype)
    p = sigmoid(logits)
    assert p.dtype == dtype
    assert (p > 0).all() and (p < 1).all()
    np.testing.assert_allclose(p[2:5], special.expit(logits[2:5]), 1e-6)


@pytest.mark.parametrize('hidden', [0.3, 1.0, 2.0, 3.0])
def test_quadrature(hidden):
  logits = np.linspace(-12, 4, 50)[:, None]
  h = np.linspace(-9, 9, 4001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  expected = (special.expit(logits + hidden * h) * density).sum(axis=1)
  nodes, weights = hidden_quadrature(hidden)
  found = (special.expit(logits + nodes) * weights).sum(axis=1)
  np.testing.assert_allclose(found, expected, 1e-5)


def test_expected_auc_is_over_all_pairs():
  p = np.random.default_rng(0).random(200).round(1) * 0.5 + 0.1
  wins = np.sign(p[:, None] - p) / 2 + 0.5
  pairs = p[:, None] * (1 - p)
  expected = np.sum(wins * pairs) / np.sum(pairs)
  assert expected_auc(np.sort(p)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('hidden', [0.0, 1.0])
def test_fit_logit(hidden):
  score = np.random.default_rng(0).standard_normal(1 << 16)
  intercept, spread = fit_logit(score, 0.1, 0.7, hidden)
  nodes, weights = hidden_quadrature(hidden)
  logits = intercept + spread * score[:, None] + nodes
  p = (special.expit(logits) * weights).sum(axis=1)
  assert p.mean() == pytest.approx(0.1, rel=1e-3)
  assert expected_auc(np.sort(p)) == pytest.approx(0.7, abs=1e-4)


# Presets, dials and folders.


@pytest.mark.parametrize(
    'preset, dials, name',
    [
        ('default', {}, 'default'),
        ('default', dict(rho=0.3, seed=2), 'default-rho_0.3-seed_2'),
        ('default', dict(seed=2.0, rho=0.30), 'default-rho_0.3-seed_2'),
        ('default', dict(rho=0.60, seed=0, ctr=None), 'default'),
        ('anti', dict(rho=-1), 'anti-rho_-1'),
        ('anti', dict(rho=-0.0), 'anti-rho_0'),
        ('mnar', dict(hidden=1), 'mnar'),
        ('tiny', dict(uniform_test=True), 'tiny-uniform_test_true'),
        ('large', dict(num_train=10**6), 'large-num_train_1000000'),
        ('tiny', dict(ctr=1e-5), 'tiny-ctr_1e-05'),
        ('tiny', dict(stages=3, seed=1), 'tiny-stages_3-seed_1'),
        ('cart', dict(stages=3), 'cart'),
        ('default', dict(stages=2), 'default'),
        ('tiny', dict(cvr=np.float64(0.1) + 0.2), None),
    ],
)
def test_the_folder_names_the_dials(tmp_path, preset, dials, name):
  name = name or 'tiny-cvr_0.30000000000000004'
  builder = Simulator.from_options(str(tmp_path), preset, **dials)
  expected = tmp_path / 'synthetic_funnel' / name / '1.1.0'
  assert builder.data_dir == str(expected)


def test_dials_apply_and_presets_differ():
  config = simulator_config('tiny', rho=0.3, users=7, uniform_test=1)
  assert (config.rho, config.users, config.uniform_test) == (0.3, 7, True)
  assert (config.num_train, config.num_users) == (140_000, 7)
  tiny = PRESETS['tiny']
  assert tiny.num_train + tiny.num_valid + tiny.num_test == 200_000
  assert PRESETS['default'].splits == {
      'train': (0, 2_000_000),
      'valid': (2_000_000, 2_200_000),
      'test': (2_200_000, 3_200_000),
  }
  assert PRESETS['sparse'].cvr == 0.005
  assert PRESETS['anti'].rho == -0.6
  assert PRESETS['mnar'].hidden == 1
  assert PRESETS['cart'].stages == 3
  assert {p.stages for p in PRESETS.values() if p.name != 'cart'} == {2}
  assert PRESETS['large'].num_train == 40_000_000


def test_long_names_end_in_a_hash():
  dials = {
      f.name: getattr(PRESETS['tiny'], f.name)
      for f in dataclasses.fields(PRESETS['tiny'])
      if f.name in ('rho', 'hidden', 'ctr', 'cvr', 'auc_ctr', 'auc_cvr')
  }
  dials = {name: value / 3 + 0.34 for name, value in dials.items()}
  dials['policy'], dials['uniform_test'] = 1 / 3, True
  dials |= dict(users=123_456_789, items=123_456_789, seed=2**62)
  name = simulator_config('tiny', **dials).name
  assert len(name) == len('tiny-') + 32
  assert name == simulator_config('tiny', **dials).name
  assert name != simulator_config('tiny', **dials | dict(seed=1 + 2**62)).name


@pytest.mark.parametrize(
    'dial, value, message',
    [
        ('rho', 1.01, 'from -1 to 1'),
        ('rho', float('nan'), 'from -1 to 1'),
        ('rho', '0.3', 'a number'),
        ('ctr', 0, 'strictly between 0 and 1'),
        ('ctr', 1.0, 'strictly between 0 and 1'),
        ('cvr', -0.1, 'strictly between 0 and 1'),
        ('auc_ctr', 0.5, 'strictly between 0.5 and 1'),
        ('auc_cvr', 1, 'strictly between 0.5 and 1'),
        ('num_train', 0, 'a whole number from 1'),
        ('num_valid', -1, 'a whole number from 0'),
        ('num_test', 1.5, 'a whole number from 0'),
        ('users', -3, 'from 0'),
        ('items', float('inf'), 'a whole number'),
        ('candidates', 0, 'from 1'),
        ('policy', -1, 'from 0'),
        ('hidden', 3.5, 'from 0 to 3'),
        ('stages', 1, 'a whole number from 2 to 3'),
        ('stages', 4, 'a whole number from 2 to 3'),
        ('stages', 2.5, 'a whole number from 2 to 3'),
        ('seed', -1, 'from 0'),
        ('seed', True, 'a whole number'),
        ('uniform_test', 2, 'True or False'),
    ],
)
def test_bad_dials_are_named(dial, value, message):
  with pytest.raises(InputError, match=message) as error:
    Simulator.from_options(None, 'tiny', **{dial: value})
  assert repr(dial) in str(error.value)
  with pytest.raises(InputError, match=message):
    dataclasses.replace(PRESETS['tiny'], name='other', **{dial: value})


def test_dials_keep_their_type():
  assert isinstance(checked_dial('rho', 1), float)
  assert isinstance(checked_dial('users', np.float32(3)), int)


def test_unknown_names_suggest_the_near_one():
  with pytest.raises(InputError, match="Did you mean 'default'.*large.*tiny"):
    Simulator.from_options(preset='defualt')
  with pytest.raises(InputError, match="No dial 'roh'.*Did you mean 'rho'"):
    Simulator.from_options(roh=0.1)


def test_an_auc_out_of_reach_is_named():
  dials = dict(auc_ctr=1 - 1e-9, hidden=3)
  with pytest.raises(InputError, match="'auc_ctr'.*Lower"):
    LogProcess(simulator_config('default', **SMALL, **dials))


# The prepared data set.


def test_prepared_rows_are_the_rows_of_the_log(built):
  expected = built.columns(0, 4_500)
  start = 0
  for split, num_rows in (('train', 3_000), ('valid', 500), ('test', 1_000)):
    source, truth = built.as_data_source(split), built.truth_source(split)
    assert len(source) == len(truth) == num_rows
    columns = source.read(0, num_rows) | truth.read(0, num_rows)
    assert columns.keys() == expected.keys()
    for name, column in columns.items():
      if not isinstance(column, Ragged):
        rows = expected[name][start : start + num_rows]
        np.testing.assert_array_equal(column, rows)
    assert built.report[split]['rows'] == num_rows
    assert built.report[split]['clicks'] == columns['click'].sum()
    assert 'carts' not in built.report[split]
    start += num_rows
  history = built.as_data_source('train').read(0, 3_000)['history']
  end = expected['history'].offsets[3_000]
  np.testing.assert_array_equal(
      history.weights, expected['history'].weights[:end]
  )
  assert built.report['train']['unseen_users'] == 0
  assert built.report['test']['unseen_items'] > 0


def test_the_truth_is_apart(built):
  schema, source = built.schema, built.as_data_source('train')
  assert schema == simulator_schema(built.builder_config)
  assert not set(TRUTH) & set(source.names)
  assert not set(TRUTH) & {field.name for field in schema.fields}
  assert set(built.truth_source('train').names) == set(TRUTH)
  assert schema.truth == TRUTH
  for name in (*TRUTH, 'click', 'conversion'):
    with pytest.raises(InputError, match='cannot be a feature'):
      Schema((*schema.fields, Field(name, 'float')), truth=schema.truth)


def test_the_schema(built):
  schema = built.schema
  assert schema.group == 'group_user'
  assert 'group_user' not in {field.name for field in schema.fields}
  assert 'group_user' in built.as_data_source('test').names
  assert schema.labels == ('click', 'conversion')
  assert schema.field('history').table == 'category'
  assert schema.field('seen_category').table == 'seen_category'
  assert schema.field('user').vocab_size == 2_000 + 2
  assert schema.field('gender').vocab_size == 2 + 2
  assert len(schema.row_part.id_fields) == 15 and len(schema.float_fields) == 1


def test_slices_of_splits(built):
  train = built.as_data_source('train').read(0, 3_000, ['item'])['item']
  tenth = built.as_data_source('train[:10%]')
  np.testing.assert_array_equal(tenth.read(0, 300)['item'], train[:300])
  assert len(tenth) == 300
  both = built.as_data_source('train+valid')
  assert len(both) == 3_500
  valid = built.as_data_source('valid').read(0, 500)['item']
  np.testing.assert_array_equal(both.read(2_990, 3_500)['item'][10:], valid)
  assert len(built.truth_source('train+valid')) == 3_500


def test_a_split_of_no_rows_is_left_out(tmp_path):
  builder = make_builder(tmp_path, num_valid=0).prepare()
  assert sorted(builder.info.splits) == ['test', 'train']


def test_several_shards(tmp_path, monkeypatch, built):
  monkeypatch.setattr('esmm_jax.data.simulator.dataset.SHARD_ROWS', 1_024)
  builder = make_builder(tmp_path).prepare()
  assert builder.info.splits['train'].shard_lengths == [1_024, 1_024, 952]
  for split, num_rows in (('train', 3_000), ('test', 1_000)):
    assert_same(
        builder.as_data_source(split).read(0, num_rows),
        built.as_data_source(split).read(0, num_rows),
    )


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
  columns = SimulatedLog.columns

  def fail_in_test_rows(self, start, stop):
    if start >= 3_500:
      raise KeyboardInterrupt
    return columns(self, start, stop)

  with monkeypatch.context() as patch:
    patch.setattr(SimulatedLog, 'columns', fail_in_test_rows)
    with pytest.raises(KeyboardInterrupt):
      make_builder(tmp_path).prepare()
  builder = make_builder(tmp_path)
  assert not builder.info.splits
  builder.prepare()
  assert len(builder.as_data_source('test')) == 1_000
  assert len(make_builder(tmp_path).as_data_source('train')) == 3_000
