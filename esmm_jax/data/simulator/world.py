"""The users and items of the simulator.

Users and items have latent factors, different ones for clicks and conversions.
A factor is a sum of one term for each profile field, category, shop or brand
and an individual term: fields tell much, ids more.
"""

from typing import NamedTuple

from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.maths import session_dot, zipf
import numpy as np

PROFILE_SIZES = {
    'profile_category': 98,
    'profile_group': 13,
    'gender': 2,
    'age': 7,
    'consumption_1': 3,
    'consumption_2': 3,
    'occupation': 2,
    'geography': 4,
}

SESSION = 8  # Consecutive impressions of one user.

_DIM = 8  # Of the latent factors.
_MAX_MEETINGS = 80  # Most draws of a category for a user's history.


class Factors(NamedTuple):
  """Latent factors of users and items for one kind of event.

  Attributes:
    user: float32 [users, D].
    item: float32 [items, D].
    user_level: float32 [users].
    item_level: float32 [items].
  """

  user: np.ndarray
  item: np.ndarray
  user_level: np.ndarray
  item_level: np.ndarray

  def match(
      self, user: np.ndarray, item: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Matches users with items.

    Args:
      user: intp [n], whole sessions.
      item: intp [n].

    Returns:
      Dot products of their factors, float32 [n], and sums of their levels,
      float32 [n].
    """
    product = session_dot(
        self.user.take(user[::SESSION], axis=0), self.item.take(item, axis=0)
    )
    return product, self.user_level.take(user) + self.item_level.take(item)


class World:
  """Users and items; a pure function of the dials.

  It depends on `seed`, `users` and `items` only (these two follow `num_train`
  where they are 0). Users, items, categories... are numbered from 0, the most
  popular first.

  Attributes:
    num_users: Users.
    num_items: Items.
    num_categories: Categories of items.
    profile: Field -> int32 [users], below `PROFILE_SIZES[field]`.
    category: int32 [items].
    shop: int32 [items].
    brand: int32 [items].
    click: Factors of clicks.
    conversion: Factors of conversions, which prices influence too.
    price: float32 [items].
    budget: float32 [users]; a price near the budget converts best.
    activity_ends: float64 [users], cumulative shares of all sessions.
    history_user: int32 [H], ascending: with `history_category`, the pairs of a
      user and a category that the user met before the log starts.
    history_category: int32 [H], ascending for each user.
    history_weight: float32 [H], ln(1 + times met).
  """

  def __init__(self, config: SimulatorConfig):
    self.num_users, self.num_items = config.num_users, config.num_items
    self.num_categories = config.num_categories
    rng = np.random.default_rng([config.seed, 1])
    self._draw_fields(rng, config.num_shops, config.num_brands)
    self.click = self._draw_factors(rng)
    self.conversion = self._draw_factors(rng)
    self._draw_prices(rng)
    # Sessions a user: heavy-tailed, as in real logs.
    activity = np.exp(0.8 * rng.standard_normal(self.num_users))
    self.activity_ends = np.cumsum(activity / activity.sum())
    self._draw_histories(rng)

  def seen_count(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Looks up how often users met the categories of items before the log.

    Args:
      user: int32 [n]; equal users side by side are fastest.
      item: int32 [n].

    Returns:
      float32 [n], ln(1 + times met); 0 where never.
    """
    key = user.astype(np.int64) * self.num_categories
    key += self.category.take(item)
    index = np.searchsorted(self._history_keys, key)
    index = np.minimum(index, len(self._history_keys) - 1)
    met = self._history_keys.take(index) == key
    return self.history_weight.take(index) * met

  def spare(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Computes budgets of users less prices of items, [n], float32 [n]."""
    return self.budget.take(user) - self.price.take(item)

  def history_table(
      self, max_len: int
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the heaviest categories of each user's history.

    Args:
      max_len: L, the most categories of a user.

    Returns:
      categories int32 [users, L] and their weights float32 [users, L], by
      falling weight, then category; the number of them, int32 [users] (at
      least 1). Entries past it are 0.
    """
    order = np.lexsort(
        (self.history_category, -self.history_weight, self.history_user)
    )
    user = self.history_user  # The order of users is the same after sorting.
    count = np.bincount(user, minlength=self.num_users)
    start = np.cumsum(count) - count
    rank = np.arange(len(user)) - start[user]
    heaviest = rank < max_len
    categories = np.zeros((self.num_users, max_len), np.int32)
    weights = np.zeros((self.num_users, max_len), np.float32)
    entry = user[heaviest], rank[heaviest]
    categories[entry] = self.history_category[order[heaviest]]
    weights[entry] = self.history_weight[order[heaviest]]
    return categories, weights, np.minimum(count, max_len).astype(np.int32)

  def _draw_fields(
      self, rng: np.random.Generator, num_shops: int, num_brands: int
  ) -> None:
    self._num_shops, self._num_brands = num_shops, num_brands
    self.profile = {}
    for field, size in PROFILE_SIZES.items():
      value = (rng.random(self.num_users) ** 1.6 * size).astype(np.int32)
      self.profile[field] = np.minimum(value, size - 1)
    self.category = zipf(rng, self.num_categories, self.num_items, 0.7)
    # The items of a category are in a few shops and of a few brands.
    wide = self.category.astype(np.int64)
    near = max(8, num_shops // self.num_categories * 2)
    shop = wide * 7919 + zipf(rng, near, self.num_items, 0.8)
    near = max(8, num_brands // self.num_categories * 3)
    brand = wide * 104729 + zipf(rng, near, self.num_items, 0.8)
    self.shop = (shop % num_shops).astype(np.int32)
    self.brand = (brand % num_brands).astype(np.int32)

  def _draw_factors(self, rng: np.random.Generator) -> Factors:
    user = 0.6 * _normal(rng, self.num_users, _DIM)
    for field in ('profile_group', 'gender', 'age', 'consumption_2'):
      user += 0.5 * self._effect(rng, field, _DIM)
    item = 0.4 * _normal(rng, self.num_items, _DIM)
    item += 0.8 * _normal(rng, self.num_categories, _DIM)[self.category]
    item += 0.4 * _normal(rng, self._num_shops, _DIM)[self.shop]
    user_level = 0.6 * _normal(rng, self.num_users)
    for field in ('age', 'consumption_1', 'geography'):
      user_level += 0.5 * self._effect(rng, field)
    item_level = 0.6 * _normal(rng, self.num_items)
    item_level += 0.6 * _normal(rng, self.num_categories)[self.category]
    item_level += 0.5 * _normal(rng, self._num_brands)[self.brand]
    scale = np.float32(_DIM**-0.25)
    return Factors(user * scale, item * scale, user_level, item_level)

  def _draw_prices(self, rng: np.random.Generator) -> None:
    self.price = 0.3 * _normal(rng, self.num_items)
    self.price += 0.8 * _normal(rng, self.num_categories)[self.category]
    self.price += 0.4 * _normal(rng, self._num_brands)[self.brand]
    self.budget = 0.4 * _normal(rng, self.num_users)
    self.budget += 0.7 * self._effect(rng, 'consumption_1')
    self.budget += 0.4 * self._effect(rng, 'consumption_2')

  def _draw_histories(self, rng: np.random.Generator) -> None:
    """Draws meetings with the better liked of two popular categories."""
    length = np.clip(rng.lognormal(2.3, 0.7, self.num_users), 1, _MAX_MEETINGS)
    length = length.astype(np.int64)
    user = np.repeat(np.arange(self.num_users, dtype=np.int64), length)
    first, second = zipf(rng, self.num_categories, (2, len(user)), 0.6)
    count = np.bincount(self.category, minlength=self.num_categories)
    mean = np.stack(
        [
            np.bincount(self.category, column, self.num_categories)
            / np.maximum(count, 1)
            for column in self.click.item.T
        ],
        axis=1,
    ).astype(np.float32)
    taste = self.click.user.take(user, axis=0)
    likes_first = session_dot(taste, mean.take(first, axis=0))
    likes_first -= session_dot(taste, mean.take(second, axis=0))
    met = np.where(likes_first > 0, first, second)
    keys, times = np.unique(
        user * self.num_categories + met, return_counts=True
    )
    times = times + rng.geometric(0.4, len(keys)) - 1
    self._history_keys = keys
    self.history_user = (keys // self.num_categories).astype(np.int32)
    self.history_category = (keys % self.num_categories).astype(np.int32)
    self.history_weight = np.log1p(times).astype(np.float32)

  def _effect(
      self, rng: np.random.Generator, field: str, *dims: int
  ) -> np.ndarray:
    """Draws a normal effect for each value of a profile field.

    Returns:
      float32 [users, *dims], the effect of each user's value.
    """
    return _normal(rng, PROFILE_SIZES[field], *dims)[self.profile[field]]


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
  return rng.standard_normal(shape, dtype=np.float32)
