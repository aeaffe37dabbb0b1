"""The store answers what the columns of the log hold, to the bit."""

import copy
import shutil

from esmm_jax.data.history import compute, hashes, language, log
from esmm_jax.data.history.state import store_files
from esmm_jax.data.history.state import store
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.reading import Reading, Rows
from esmm_jax.data.history.spans import DAY, SECOND
from esmm_jax.data.store.feature_columns import take
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest

NUM = 1500
BEGIN = 1_650_000_000 * SECOND
FIRST = BEGIN + 4 * DAY + 1234 * SECOND
HISTORY = (
    'user,user:delay=10m:last=3,user+tab:delay=1h:window=6h,tags:delay=2d,'
    'tags:delay=1h:half_life=3h,user:delay=1h:half_life=2h,'
    'session=user:pause=30m,list=item:by=user:last=4:of=click:delay=1m,'
    'list=item:by=tab:last=3:delay=1d,tab:window=2d,tab:delay=500ms'
)


def hashed(values):
  return hashes.of_integers(values, values < 0)


class World:
  """A random log; `zone` and `seed` make others."""

  def __init__(self, seed=0, history=HISTORY):
    r = np.random.default_rng(seed)
    self.time = BEGIN + r.integers(0, 6 * 86_400, NUM) * SECOND
    click = r.integers(0, 2, NUM).astype(np.int8)
    self.amounts = {'click': click, 'conversion': click * r.integers(0, 2, NUM)}
    user, tab = r.integers(-1, 40, NUM), r.integers(0, 5, NUM)
    offsets = np.append(0, np.cumsum(r.integers(0, 4, NUM)))
    tags = Ragged(hashed(r.integers(0, 9, offsets[-1])), offsets)
    self.keys = {
        ('user',): hashed(user),
        ('user', 'tab'): hashes.joined([hashed(user), hashed(tab)]),
        ('tags',): tags,
        ('tab',): hashed(tab),
    }
    self.entries = {'item': hashed(r.integers(0, 50, NUM))}
    specs = language.parse(history)
    clock = Clock('number', 'seconds', '+08:00')
    self.reading = Reading(specs, FUNNEL, 'time', clock)

  def rows(self, index):
    """The rows as `Reading.read` makes them."""
    return Rows(
        self.time[index],
        None,
        self.keys_of(index),
        {name: values[index] for name, values in self.entries.items()},
        {name: values[index] for name, values in self.amounts.items()},
    )

  def keys_of(self, index):
    return {
        name: take(k, index) if isinstance(k, Ragged) else k[index]
        for name, k in self.keys.items()
    }

  def computed(self, is_event=None, asked=None, first=FIRST):
    """The columns of the whole log, and the store at its end."""
    is_event = np.ones(NUM, bool) if is_event is None else is_event
    rows = log.Log(
        self.reading.clock,
        self.time,
        self.time if asked is None else asked,
        is_event,
        self.amounts,
        self.keys,
        self.entries,
        FUNNEL,
    )
    keeper = store.Keeper(self.reading, first)
    priors = log.priors_of(rows)
    past = compute.compute(
        self.reading.specs,
        rows,
        lambda name, dtype, shape: np.zeros(shape, dtype),
        priors,
        keeper.add,
        first,
    )
    until = int(self.time[is_event].max())
    return past, keeper.store(priors, until, {'test': first})


def assert_same(whole, some, index):
  """`some` are the rows `index` of `whole`, in every bit."""
  assert whole.numbers.keys() == some.numbers.keys()
  for name, (values, missing) in whole.numbers.items():
    assert np.array_equal(missing[index], some.numbers[name].missing), name
    both = values[index], some.numbers[name].values
    bits = [a.view(np.int64) for a in both]
    assert np.array_equal(*bits), name
  for kind in ('codes', 'lists'):
    held, other = getattr(whole, kind), getattr(some, kind)
    assert held.keys() == other.keys()
    for name, values in held.items():
      assert values.dtype == other[name].dtype
      assert np.array_equal(values[index], other[name]), name


@pytest.fixture(scope='module')
def world():
  return World()


@pytest.fixture(scope='module')
def whole(world):
  return world.computed()


def held_out(world, first=FIRST, seed=3):
  index = np.flatnonzero(world.time >= first)
  np.random.default_rng(seed).shuffle(index)
  return index


@pytest.mark.parametrize('size', [1, 7, 10_000])
def test_rows_of_any_order_and_batch(world, whole, size):
  past, held = whole
  index = held_out(world)[: 40 if size == 1 else NUM]
  for low in range(0, len(index), size):
    some = index[low : low + size]
    answer = held.past(world.time[some], world.keys_of(some))
    assert_same(past, answer, some)


def test_saved_and_loaded(world, whole, tmp_path):
  past, held = whole
  store_files.save(held, tmp_path / 'a')
  loaded = store_files.load(tmp_path / 'a')
  index = held_out(world)
  answer = loaded.past(world.time[index], world.keys_of(index))
  assert_same(past, answer, index)
  assert loaded.reading == world.reading and loaded.facts == held.facts
  assert loaded.num_keys == held.num_keys
  assert loaded.fingerprint() == held.fingerprint()
  store_files.save(loaded, tmp_path / 'b')
  hashes_of = [store_files.sha256(tmp_path / n) for n in 'ab']
  assert hashes_of[0] == hashes_of[1]


def test_nightly_held_out_rows_are_asked_for_together(world):
  asked = world.time.copy()
  asked[asked >= FIRST] = asked[asked >= FIRST].min()
  past, _ = world.computed(asked=asked)
  _, held = world.computed()
  index = held_out(world)
  assert_same(past, held.past(asked[index], world.keys_of(index)), index)


@pytest.mark.parametrize('order', ['time', 'random'])
def test_observed_rows_are_those_of_the_log(world, whole, order, tmp_path):
  past, _ = whole
  _, held = world.computed(is_event=world.time < FIRST)
  store_files.save(held, tmp_path / 'begin')
  held = store_files.load(tmp_path / 'begin')
  index = held_out(world)
  if order == 'time':
    index = index[np.argsort(world.time[index], kind='stable')]
  identity = hashed(np.arange(NUM))
  low, r = 0, np.random.default_rng(0)
  while low < len(index):
    some = index[low : low + int(r.integers(1, 90))]
    report = held.observe(world.rows(some), identity[some])
    assert report == (len(some), 0, 0)
    low += len(some)
  answer = held.past(world.time[index], world.keys_of(index))
  assert_same(past, answer, index)
  assert held.until == world.time.max()
  store_files.save(held, tmp_path / 'end')
  loaded = store_files.load(tmp_path / 'end')
  assert_same(past, loaded.past(world.time[index], world.keys_of(index)), index)
  # Nothing counts twice: neither what was observed nor what the log had.
  report = loaded.observe(world.rows(index), identity[index])
  assert report == (0, 0, len(index))
  old = np.flatnonzero(world.time < FIRST)
  assert loaded.observe(world.rows(old), identity[old]) == (0, len(old), 0)
  assert_same(past, loaded.past(world.time[index], world.keys_of(index)), index)


def test_a_row_is_seen_when_its_delay_is_over():
  world = World(history='user:delay=10m')
  _, held = world.computed()
  at = np.array([world.time.max() + DAY])
  key = hashed(np.array([777]))
  row = Rows(
      at, None, {('user',): key}, {},
      {'click': np.ones(1, np.int8), 'conversion': np.zeros(1, np.int8)},
  )
  assert held.observe(row).added == 1
  for after, clicks in ((0, 0), (599, 0), (600, 1), (7200, 1)):
    past = held.past(at + after * SECOND, {('user',): key})
    assert past.numbers['past_count_user_10m'].values[0] == np.log1p(clicks)


def test_trimmed_state_is_smaller_and_answers_the_same(world, whole, tmp_path):
  past, held = whole
  later = FIRST + DAY
  store_files.save(held, tmp_path / 'a', since=later)
  trimmed = store_files.load(tmp_path / 'a')
  assert trimmed.nbytes < held.nbytes and trimmed.since == later
  index = held_out(world, later)
  answer = trimmed.past(world.time[index], world.keys_of(index))
  assert_same(past, answer, index)


def test_times_before_the_store_are_refused(world, whole):
  _, held = whole
  index = np.array([0])
  message = 'earliest time that this run can answer is 2022-04-19 13:40:34'
  with pytest.raises(InputError, match=message):
    held.past(np.array([FIRST - 1]), world.keys_of(index))


def test_an_old_store_says_its_age(world, whole):
  _, held = whole
  late = world.time.max() + 3 * DAY
  assert held.age_warning(np.array([late])).endswith(
      ' +08:00, 3 days before these rows'
  )
  assert not held.age_warning(np.array([held.until + 3600 * SECOND]))


def test_every_damaged_file_is_refused(tmp_path):
  _, held = World(history='user:last=1,tab:half_life=1d').computed()
  store_files.save(held, tmp_path / 'sound')
  names = sorted(p.name for p in (tmp_path / 'sound').iterdir())
  assert len(names) == 19
  for number, name in enumerate(names):
    for damage in ('changed', 'cut', 'removed'):
      folder = tmp_path / f'{number}-{damage}'
      shutil.copytree(tmp_path / 'sound', folder)
      file = folder / name
      content = bytearray(file.read_bytes())
      content[-2] ^= 1
      if damage == 'removed':
        file.unlink()
      else:
        file.write_bytes(content if damage == 'changed' else content[:-3])
      with pytest.raises(InputError) as error:
        store_files.load(folder)
      assert '\n' not in str(error.value)
      shutil.rmtree(folder)


def test_observing_copies_nothing_back(world, whole):
  """Readers of the base, and another store on it, see no row of this one."""
  past, held = whole
  other = copy.copy(held)
  index = held_out(world)
  rows = world.rows(index)._replace(time=world.time[index] + 30 * DAY)
  assert other.observe(rows).added == len(index)
  assert_same(past, held.past(world.time[index], world.keys_of(index)), index)
