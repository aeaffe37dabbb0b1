"""Histories of a log whose labels are coin flips tell nothing of them.

A column of a row is made of labels that were known before it, so it says
nothing of a random label of its own: AUC is 1/2. But what is compared matters.
An earlier label of the same key is in the column of its later rows, and within
the rows of one key that is a bias of AUC by itself: a positive row raises the
later ones above it, a negative one lowers them. A column that is used with a
positive weight has then an AUC below 1/2 inside a key, one with a negative
weight above it. Over all rows, pairs of one user are one in so many users, so
the pooled AUC and that by day do not show it.

  nightly   Rows of a held-out split are asked for at its first time
            (`plan.capped`). No row sees another one of its split, so AUC is 1/2
            by user as well. Without the cap, a test split of two days sees
            itself, and its AUC by user is below 1/2.
  live      Rows see earlier rows of their split, as they would be served. AUC
            by user is then biased as above: with random labels it is below 1/2
            for a model that trusts a user's past, so on real ones it says less
            than the model knows. It compares runs of one protocol only. The
            exact check here is that of a martingale: the sum of (column - its
            earlier mean) x (label - rate) of a user, in order of time, has mean
            0 whatever came before.

On rows that a model is fitted to, AUC is above 1/2 for chance as well, so there
the log-likelihood is compared with that of no columns: a chi-square.
"""

from esmm_jax.data.history import hashes, plan
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.log import Log
from esmm_jax.tasks import FUNNEL
import numpy as np
import pytest

from tests.data.history.logs import A_DAY, MINUTE, past_of, START

NIGHTLY = 'user,user+tab:delay=1d:window=3d,item:half_life=2d'
LIVE = ('user:delay=10m:last=3,user+tab:delay=1h:window=2d,'
        'item:delay=1h:half_life=1d,session=user:pause=30m,user')
TRAIN, VALID, TEST = range(3)
SPLITS = {'train': TRAIN, 'valid': VALID, 'test': TEST}
MOST = 4.0  # Standard errors.
NUM, USERS = 9000, 300


class Flipped:
  """A log of nine days, five of them training, with labels drawn at random."""

  def __init__(self, seed, text, cap=False, ahead=0):
    rng = np.random.default_rng(seed)
    # Users come in visits, so that minutes count.
    visits = START + rng.integers(0, 9 * A_DAY, NUM // 4)
    time = np.repeat(visits, 4) + rng.integers(0, 40 * MINUTE, NUM)
    user = np.repeat(rng.integers(0, USERS, NUM // 4), 4)
    tab, item = rng.integers(0, 4, NUM), rng.integers(0, 60, NUM)
    self.click = (rng.random(NUM) < 0.4).astype(np.int64)
    conversion = self.click * rng.integers(0, 2, NUM)
    clock = Clock('number', 'milliseconds', 'Europe/Berlin')
    self.day = clock.days(time)
    self.day -= self.day.min()
    self.split = np.where(self.day < 5, TRAIN, np.where(
        self.day < 7, VALID, TEST))
    asked = time + ahead
    if cap:
      asked = plan.capped(asked, self.split, [VALID, TEST])
    none = np.zeros(NUM, bool)
    user_key, tab_key, item_key = (
        hashes.of_integers(some, none) for some in (user, tab, item))
    self.user, self.time = user, time
    self.past = past_of(text, Log(
        clock, time, asked, ~none,
        {'click': self.click, 'conversion': conversion},
        {('user',): user_key, ('item',): item_key,
         ('user', 'tab'): hashes.joined([user_key, tab_key])},
        {}, FUNNEL), form='float')
    columns = [c for n, c in self.past.items() if not n.endswith(' raw')]
    columns = np.nan_to_num(np.stack(columns, axis=1))
    train = self.split == TRAIN
    std = np.maximum(columns[train].std(axis=0), 1e-9)
    columns = (columns - columns[train].mean(axis=0)) / std
    columns = np.concatenate([np.ones((NUM, 1)), columns], axis=1)
    self.weights = fitted(columns[train], self.click[train])
    self.score = columns @ self.weights

  def rows(self, split):
    return np.flatnonzero(self.split == SPLITS[split])

  def z(self, split, group, score=None):
    """Standard errors from 1/2 of the AUC within groups."""
    rows = self.rows(split)
    score = self.score if score is None else score
    return mann_whitney(score[rows], self.click[rows], group[rows])

  def gain(self):
    """Twice the log-likelihood over that of a rate alone, in train."""
    train = self.rows('train')
    label, rate = self.click[train], self.click[train].mean()
    p = 1 / (1 + np.exp(-self.score[train]))
    log = np.where(label, np.log(p / rate), np.log((1 - p) / (1 - rate)))
    return 2 * log.sum()


def fitted(columns, label):
  """Weights of a logistic regression, by Newton's method."""
  weights = np.zeros(columns.shape[1])
  for _ in range(8):
    p = 1 / (1 + np.exp(-columns @ weights))
    hessian = (columns * (p * (1 - p))[:, None]).T @ columns
    hessian += 1e-3 * np.eye(len(weights))
    weights += np.linalg.solve(hessian, columns.T @ (label - p))
  return weights


def mann_whitney(score, label, group):
  """(AUC - 1/2) / its standard error, of pairs within groups; ties are half.

  For one group without ties this is Hanley and McNeil's error at 1/2.
  """
  _, group = np.unique(group, return_inverse=True)
  order = np.lexsort((score, group))
  score, positive, group = score[order], label[order] > 0, group[order]
  begins = np.ones(len(order), bool)
  begins[1:] = (score[1:] != score[:-1]) | (group[1:] != group[:-1])
  tie = np.cumsum(begins) - 1
  sizes = np.bincount(tie)
  ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[tie]
  total = np.bincount(group)
  ranks -= (np.cumsum(total) - total)[group]  # Of each group.
  n = np.bincount(group, positive)
  m = total - n
  excess = np.bincount(group, positive * ranks) - n * (n + 1) / 2 - n * m / 2
  tied = np.bincount(group[begins], sizes**3 - sizes)
  tied = tied / np.maximum(total * (total - 1), 1)
  variance = (n * m / 12 * (total + 1 - tied)).sum()
  return excess.sum() / np.sqrt(variance) if variance else 0.0


def martingale(log, split, score):
  """The same of a user's rows in order of time, for columns that see them."""
  rows = log.rows(split)
  rows = rows[np.lexsort((log.time[rows], log.user[rows]))]
  rate, total, squares = log.click[log.split == TRAIN].mean(), 0.0, 0.0
  ends = 1 + np.flatnonzero(np.diff(log.user[rows]))
  for some in np.split(rows, ends):
    means = np.cumsum(score[some]) / np.arange(1, len(some) + 1)
    predicted = score[some][1:] - means[:-1]
    total += (predicted * (log.click[some][1:] - rate)).sum()
    squares += (predicted**2).sum() * rate * (1 - rate)
  return total / np.sqrt(squares)


def test_standard_errors_are_those_of_hanley_and_mcneil():
  rng = np.random.default_rng(0)
  score, label = rng.random(200), np.arange(200) % 3 == 0
  n, m = label.sum(), (~label).sum()
  auc = (score[label][:, None] > score[~label]).mean()
  q = 1 / 3 - 1 / 4  # Q1 = Q2 = 1/3 at an area of 1/2.
  error = np.sqrt((1 / 4 + (n - 1) * q + (m - 1) * q) / (n * m))
  assert mann_whitney(score, label, np.zeros(200)) == pytest.approx(
      (auc - 0.5) / error)


@pytest.fixture(scope='module', params=[0, 1])
def nightly(request):
  return Flipped(request.param, NIGHTLY, cap=True)


@pytest.fixture(scope='module', params=[0, 1])
def live(request):
  return Flipped(request.param, LIVE)


def check(log, splits=('valid', 'test')):
  """AUC of the model and of each column, pooled and by day."""
  pooled = np.zeros(NUM)
  for split in splits:
    assert abs(log.z(split, pooled)) < MOST, split
    assert abs(log.z(split, log.day)) < MOST, split
  for split in SPLITS:
    for name, column in log.past.items():
      column = np.nan_to_num(column)
      for group in (pooled, log.day):
        assert abs(log.z(split, group, column)) < MOST, (split, name)
  freedom = len(log.weights) - 1
  assert log.gain() < freedom + MOST * np.sqrt(2 * freedom)


def test_nightly(nightly):
  check(nightly)
  by_user_and_day = nightly.user * 100 + nightly.day
  for name, column in [('model', nightly.score), *nightly.past.items()]:
    column = np.nan_to_num(column)
    for split in ('valid', 'test'):
      assert abs(nightly.z(split, nightly.user, column)) < MOST, (split, name)
    # Rows of training are not capped; a day of them does not see itself.
    assert abs(nightly.z('train', by_user_and_day, column)) < MOST, name
  # Within a split, a user has one past.
  for split in ('valid', 'test'):
    rows = nightly.rows(split)
    past = nightly.past['past_ctr_user raw'][rows]
    pairs = np.stack([nightly.user[rows], past])
    assert len(np.unique(pairs, axis=1).T) == len(np.unique(pairs[0]))


def test_live(live):
  check(live)
  for split in SPLITS:
    # The model was fitted to the labels of training rows.
    model = [] if split == 'train' else [('model', live.score)]
    for name, column in [*model, *live.past.items()]:
      z = martingale(live, split, np.nan_to_num(column).astype(float))
      assert abs(z) < MOST, (split, name)


def test_live_by_user_is_biased_as_the_docstring_says(live):
  column = live.past['past_ctr_user_10m raw']
  for split in SPLITS:
    assert live.z(split, live.user, column) < -MOST
    assert live.z(split, live.user, -column) > MOST


@pytest.mark.parametrize('ahead', [10 * MINUTE, 60 * MINUTE])
def test_a_row_that_sees_itself_is_noticed(ahead):
  """As with a delay of 0."""
  log = Flipped(0, LIVE, ahead=ahead)
  for split in ('valid', 'test'):
    assert log.z(split, np.zeros(NUM)) > 2 * MOST
    assert log.z(split, log.day) > 2 * MOST
    assert martingale(
        log, split, log.past['past_ctr_user_10m raw']) > 2 * MOST
  assert log.gain() > 200
  with pytest.raises(AssertionError):
    check(log)


def test_a_test_split_that_sees_itself_is_noticed():
  """Nightly, without the cap: its second day sees the first."""
  log = Flipped(0, NIGHTLY)
  for split in ('valid', 'test'):
    assert log.z(split, log.user, log.past['past_ctr_user raw']) < -MOST
    # Its days alone do not see themselves.
    assert abs(log.z(split, log.user * 100 + log.day,
                     log.past['past_ctr_user raw'])) < MOST
