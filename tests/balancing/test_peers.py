"""Our methods and those of TorchJD and LibMTL, where these are right.

The libraries' weights and updates were computed by programs beside them, see
`tests/balancing/golden/`. Where they are wrong: `test_peers_wrong.py`.
"""

import jax
import numpy as np
import pytest
from tests.balancing.golden import compare

EXACT = 1e-9
# Label -> our method, its options, the largest relative difference of a weight.
# That of CAGrad and FairGrad is the tolerance of the libraries' solvers.
TORCHJD = {
    'UPGrad()': ('upgrad', {}, EXACT),
    'DualProj()': ('dualproj', {}, EXACT),
    'CAGrad(0.2)': ('cagrad', dict(c=0.2), 1e-3),
    'CAGrad(0.5)': ('cagrad', dict(c=0.5), 1e-3),
    'CAGrad(0.9)': ('cagrad', dict(c=0.9), 1e-3),
    'IMTLG()': ('imtl_g', {}, EXACT),
    'AlignedMTL(min)': ('aligned', {}, EXACT),
    'AlignedMTL(median)': ('aligned', dict(scale='median'), EXACT),
    'AlignedMTL(rmse)': ('aligned', dict(scale='rmse'), EXACT),
    'FairGrad(0.5)': ('fairgrad', dict(alpha=0.5), 1e-4),
    'FairGrad(1)': ('fairgrad', dict(alpha=1.0), 1e-4),
    'FairGrad(2)': ('fairgrad', dict(alpha=2.0), 1e-4),
    'NashMTL()': ('nash', {}, 1e-3),
    'PCD()': ('pcd', dict(primary='a'), 1e-6),
    'PCD(0.3)': ('pcd', dict(primary='a', tau=0.3), 1e-6),
}
# How many of the 31 answers of an iterative solver miss the method's equation
# by more than 1 %; these are not compared.
MISSED = {'FairGrad(0.5)': 0, 'FairGrad(1)': 0, 'FairGrad(2)': 0,
          'NashMTL()': 4}
POWERS = {'FairGrad(0.5)': 2.0, 'FairGrad(1)': 1.0, 'FairGrad(2)': 0.5,
          'NashMTL()': 1.0}


# Programs of more tasks take longer to compile.
TASKS = pytest.mark.parametrize(
    'nums', [(2,), pytest.param((3, 4), marks=pytest.mark.slow)],
    ids=['two tasks', 'more'])


def residual(weights, gradients, power):
  """Largest relative error of (G w)_i = w_i^-power."""
  gains = compare.gram(gradients) @ weights
  return np.max(np.abs(gains * weights**power - 1))


def cases(label, nums):
  """Gradients and TorchJD's weights, without those that are no solution."""
  rows = compare.read('torchjd')['regular']
  pairs = [(row['gradients'], compare.numbers(row['weights'][label]))
           for row in rows]
  assert len(pairs) == 31
  if label in POWERS:
    pairs = [(g, w) for g, w in pairs if residual(w, g, POWERS[label]) < 0.01]
    assert len(pairs) == 31 - MISSED[label]
  return zip(*(pair for pair in pairs if len(pair[1]) in nums))


def test_the_file_is_of_the_release():
  assert compare.read('torchjd')['versions']['torchjd'] == '0.18.0'
  assert compare.read('libmtl')['versions']['LibMTL'] == '4336804'


@TASKS
@pytest.mark.parametrize('label', TORCHJD)
def test_torchjd(label, nums):
  name, options, tolerance = TORCHJD[label]
  gradients, expected = cases(label, nums)
  got = compare.weigh(name, gradients, **options)
  for weights, wanted in zip(got, expected):
    assert compare.difference(weights, wanted) < tolerance


@pytest.mark.long
@pytest.mark.parametrize('label', TORCHJD)
def test_torchjd_in_float32(label):
  name, options, tolerance = TORCHJD[label]
  gradients, expected = cases(label, (2, 3, 4))
  got = compare.weigh(
      name, gradients, dtype='float32', pad=False, **options)
  for weights, wanted in zip(got, expected):
    assert compare.difference(weights, wanted) < max(tolerance, 1e-3)


def rows_of(library, nums):
  rows = compare.read(library)['regular']
  return [row for row in rows if len(row['gradients']) in nums]


@TASKS
def test_torchjd_mgda(nums):
  """Of two tasks the same; of more ours is never longer."""
  rows = rows_of('torchjd', nums)
  got = compare.weigh('mgda', [row['gradients'] for row in rows])
  for weights, row in zip(got, rows):
    gram = compare.gram(row['gradients'])
    other = compare.numbers(row['weights']['MGDA()'])
    if len(gram) == 2:
      assert compare.difference(weights, other) < EXACT
    assert weights @ gram @ weights <= other @ gram @ other * (1 + EXACT)


@pytest.mark.parametrize('label, name', [
    ('PCGrad()', 'pcgrad'),
    pytest.param('GradVac()', 'gradvac', marks=pytest.mark.slow)])
def test_random_orders(label, name):
  """With 64 keys all that the orders of TorchJD lead to, and nothing else."""
  keys = jax.random.split(jax.random.key(1), 64)
  for row in compare.read('torchjd')['orders']:
    gram = compare.gram(row['gradients'])
    num = len(gram)
    with jax.enable_x64(True):
      got, _ = compare.step(
          name, np.broadcast_to(gram, (64, num, num)), np.ones((64, num)),
          compare.init(name, num), keys)
    outcomes = np.array(row['outcomes'][label])
    gaps = np.abs(got[:, None] / outcomes - 1).max(-1)
    assert gaps.min(1).max() < 1e-7  # Each of ours is one of theirs.
    assert gaps.min(0).max() < 1e-7


def sequences(nums):
  return [x for x in compare.read('torchjd')['sequences']
          if len(x['gradients'][0]) in nums]


MEMORIES = {
    'GradVac()': ('gradvac', {}, 1e-6),
    # Their beta is the share of the new cosine, ours that of the memory.
    'GradVac(0.1)': ('gradvac', dict(beta=0.9), 1e-6),
    'PCD()': ('pcd', dict(primary='a'), 1e-6),
    'PCD(0.3, 0.5)': ('pcd', dict(primary='a', tau=0.3, beta=0.5), 1e-6),
}


# Of GradVac two tasks alone: the order of more is random.
@pytest.mark.parametrize('label, nums', [
    *[(label, (2,)) for label in MEMORIES],
    pytest.param('PCD()', (3, 4), marks=pytest.mark.slow),
    pytest.param('PCD(0.3, 0.5)', (3, 4), marks=pytest.mark.slow)])
def test_methods_with_a_memory(label, nums):
  name, options, tolerance = MEMORIES[label]
  rows = [x for x in sequences(nums) if x['label'] == label]
  assert len(rows) == len(nums)
  for row in rows:
    grams = np.stack([compare.gram(g) for g in row['gradients']])
    got = compare.follow(name, np.ones(grams.shape[:2]), grams, **options)
    for weights, expected in zip(got, row['weights']):
      assert compare.difference(weights, np.array(expected)) < tolerance


def losses_of(label):
  return [x for x in compare.read('torchjd')['losses'] if x['label'] == label]


@pytest.mark.parametrize(
    'label, name', [('UW', 'uncertainty'), ('IMTLL', 'imtl_l')])
def test_learned_scales(label, name):
  for row in losses_of(label):
    got = compare.follow(name, row['losses'], rate=row['rate'])
    np.testing.assert_allclose(got, row['weights'], rtol=1e-5)


def test_dwa():
  for row in losses_of('DWA'):
    got = compare.follow(
        'dwa', row['losses'], window=float(row['window']),
        temperature=row['temperature'])
    np.testing.assert_allclose(got, row['weights'], rtol=1e-5)


def test_famo():
  rows = [*losses_of('FAMO'), compare.read('libmtl')['famo']]
  for row in rows:
    got = compare.follow('famo', row['before'], after=row['after'])
    np.testing.assert_allclose(got, row['weights'], rtol=1e-5)


def test_stch():
  for row in losses_of('STCH'):
    got = compare.follow(
        'stch', row['losses'], mu=row['mu'], form='plain', nadir=False)
    np.testing.assert_allclose(got, row['weights'], rtol=1e-6, atol=1e-12)


def test_stch_of_libmtl():
  row = compare.read('libmtl')['stch']
  got = compare.follow(
      'stch', row['losses'], mu=row['mu'], form='log', nadir=True,
      window=float(row['warm_up']))
  np.testing.assert_allclose(got, row['weights'], rtol=1e-5)


def test_random_weights_have_the_same_moments():
  row = compare.read('torchjd')['random']
  num = 20_000
  keys = jax.random.split(jax.random.key(2), num)
  got, _ = compare.step(
      'random', np.ones((num, 3, 3)), np.ones((num, 3)), (), keys,
      dtype='float32')
  # Five standard errors of the difference of two means of so many draws.
  error = 5 * np.sqrt(2 * 0.05 / num)
  np.testing.assert_allclose(got.mean(0), row['mean'], atol=error)
  np.testing.assert_allclose(np.cov(got.T), row['covariance'], atol=error)


def test_pcgrad_of_libmtl():
  """Of two tasks: the order of more is random, and has its own tests."""
  rows = rows_of('libmtl', (2,))
  got = compare.weigh('pcgrad', [x['gradients'] for x in rows])
  for weights, row in zip(got, rows):
    np.testing.assert_allclose(
        weights @ np.array(row['gradients']), row['updates']['PCGrad'],
        rtol=1e-4)


# Label -> our method, its options, the tolerance.
LIBMTL = {
    'CAGrad 0': ('cagrad', dict(c=0.5, rescale='none'), 1e-2),
    'CAGrad 1': ('cagrad', dict(c=0.5, rescale='square'), 1e-2),
    'CAGrad 2': ('cagrad', dict(c=0.5, rescale='sum'), 1e-2),
    'IMTL': ('imtl_g', {}, 1e-6),
    'Aligned_MTL': ('aligned', {}, 1e-6),
    'FairGrad 1': ('fairgrad', dict(alpha=1.0), 1e-4),
    'FairGrad 2': ('fairgrad', dict(alpha=2.0), 1e-4),
}


@TASKS
@pytest.mark.parametrize('label', LIBMTL)
def test_libmtl(label, nums):
  """The same update, relative to the longest part that it is made of."""
  name, options, tolerance = LIBMTL[label]
  rows = rows_of('libmtl', nums)
  got = compare.weigh(
      name, [x['gradients'] for x in rows], [x['losses'] for x in rows],
      **options)
  for weights, row in zip(got, rows):
    gradients = np.array(row['gradients'])
    if name == 'aligned':  # LibMTL has the sum, ours and TorchJD the mean.
      weights = weights * len(weights)
    update = weights @ gradients
    size = np.abs(weights) @ np.linalg.norm(gradients, axis=1)
    gap = np.linalg.norm(update - compare.numbers(row['updates'][label]))
    assert gap < tolerance * size


@TASKS
@pytest.mark.parametrize('divisor', ['none', 'l2', 'loss', 'loss+'])
def test_mgda_of_libmtl(divisor, nums):
  """Where the shorter of two gradients is all, LibMTL takes .999 of it."""
  rows = rows_of('libmtl', nums)
  got = compare.weigh(
      'mgda', [x['gradients'] for x in rows], [x['losses'] for x in rows],
      normalize=divisor)
  for weights, row in zip(got, rows):
    gradients = np.array(row['gradients'])
    norms = np.linalg.norm(gradients, axis=1)
    losses = np.array(row['losses'])
    sizes = {'none': 1, 'l2': norms, 'loss': losses, 'loss+': losses * norms}
    sizes = sizes[divisor] * np.ones(len(weights))
    if len(weights) == 2:
      shares = weights * sizes
      ends = np.where(shares < 0.5, 0.001, 0.999)
      at_end = shares.min() < 1e-12
      weights = np.where(at_end, ends, shares) / sizes
    size = np.abs(weights) @ norms
    update = compare.numbers(row['updates'][f'MGDA {divisor}'])
    gap = np.linalg.norm(weights @ gradients - update)
    # Of more tasks its search ends before the minimum.
    assert gap < (1e-6 if len(weights) == 2 else 0.05) * size


def test_gradnorm_of_libmtl_ends_at_the_same_weights():
  row = compare.read('libmtl')['gradnorm']
  # Those of the first step are what the later ones are compared with.
  losses = np.array([np.ones(3), *[row['losses']] * 3000])
  got = compare.follow(
      'gradnorm', losses, compare.gram(row['gradients']), window=1.0,
      alpha=row['alpha'], rate=0.003)
  np.testing.assert_allclose(got[-1], row['weights'], rtol=0.05)
