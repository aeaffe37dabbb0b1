"""Training from device memory is the training that streams its batches.

Compiled as here, without most optimizations, one replica is trained alike to
the bit; otherwise XLA adds up some sums in another order inside the loop.
"""

import functools
import threading
import types

from esmm_jax.data.batching import order as order_lib
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.whole import most_bytes, narrow, whole
from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.estimators.contract import bind
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy, network
from esmm_jax.parallel.layout import Layout
from esmm_jax.sweeps.replicas import replica_groups
from esmm_jax.training import resident
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.resident import Resident
from esmm_jax.training.resident import gather
from esmm_jax.training.loop import next_multiple, train_and_evaluate
from esmm_jax.training.state import TracedHyperparameters, init_state, StepSpec
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy as toy_lib
from tests.data.batching import test_groups
from tests.training.test_end_to_end import fingerprint, metrics, results
from tests.training.test_whole_runs import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')
grouped = test_groups.grouped
SIZE = 16  # 150 rows are ten batches, 101 are seven; the last has 6, or 5.


@pytest.fixture(params=['toy', 'grouped', 'runs'])
def make(request, toy, grouped):
  """Makes the batches of a data set; `runs` keeps pieces of sessions."""
  return maker(request.param, toy, grouped)


def maker(data, toy, grouped):
  if data == 'toy':
    return functools.partial(
        Batches, toy.as_data_source('train'), toy_lib.SCHEMA, SIZE, seed=3,
        truth=toy.truth_source('train'),
        truth_labels=('conversion_if_clicked',))
  return functools.partial(
      Batches, grouped.as_data_source('train'), test_groups.SCHEMA, SIZE,
      seed=3, group_run=4 if data == 'runs' else 1)


@pytest.mark.parametrize('block, window', [(4096, 64), (7, 3), (10, 1)])
@pytest.mark.parametrize('shuffle', [True, False])
def test_the_order_is_that_of_the_batches(
    make, block, window, shuffle, monkeypatch
):
  monkeypatch.setattr(order_lib, 'BLOCK', block)
  monkeypatch.setattr(order_lib, 'WINDOW', window)
  batches = make(shuffle=shuffle, compacted=False)
  rows = whole(make(compacted=False))
  orders = [batches.order(epoch) for epoch in range(3)]
  for epoch, order in enumerate(orders):
    assert sorted(order.tolist()) == list(range(batches.num_rows))
    for k in range(len(batches)):
      batch = batches(epoch * len(batches) + k)
      at = order[k * SIZE : (k + 1) * SIZE]
      real = batch.where > 0
      np.testing.assert_array_equal(batch.slots[real], rows.slots[at])
      np.testing.assert_array_equal(batch.weights[real], rows.weights[at])
      np.testing.assert_array_equal(batch.floats[real], rows.floats[at])
      for name, label in batch.labels.items():
        np.testing.assert_array_equal(label[real], rows.labels[name][at])
      if rows.segment_ids is not None:
        np.testing.assert_array_equal(
            batch.groups.slots[batch.groups.segment_ids[real]],
            rows.group_slots[rows.segment_ids[at]])
  assert (orders[0].tolist() == orders[1].tolist()) != shuffle


def test_what_is_held(make):
  batches = make()
  rows = whole(batches)
  assert rows.slots.dtype == np.int32 and rows.floats.dtype == np.float32
  assert {label.dtype for label in rows.labels.values()} == {np.dtype(np.int8)}
  # The toy's weights need all of float32; the sessions' are stored in half.
  half = rows.segment_ids is not None
  assert rows.weights.dtype == (np.float16 if half else np.float32)
  total = sum(x.nbytes for x in jax.tree.leaves(rows))
  assert total + 8 * batches.num_rows <= most_bytes(batches) < 2 * total


def test_numbers_are_held_exactly():
  for values, small in (
      ([0, 1, 127], True), ([0, 128], False), ([0.5], False), ([1e9], False)):
    values = np.array(values, np.float32)
    held = narrow(values, np.int8)
    assert held.dtype == (np.int8 if small else np.float32)
    np.testing.assert_array_equal(held, values)


@pytest.mark.slow
@pytest.mark.parametrize('compacted', [True, False])
def test_batches_of_the_device_are_those_of_the_host(make, compacted):
  """Bit for bit, padding too; only there is more room for table rows."""
  batches = make(compacted=compacted)
  rows = whole(batches)
  num_rows = batches.schema.num_rows
  order = batches.order(1).astype(np.int32)
  order = np.append(order, np.repeat(order[-1:], -len(order) % SIZE))
  room = batches.most_rows(batches.group_capacity) if compacted else 0
  on_device = jax.jit(functools.partial(
      gather, num_rows=batches.num_rows, size=SIZE,
      num_groups=batches.group_capacity, capacity=room, table_rows=num_rows))
  for k in range(len(batches)):
    got = on_device(jax.device_put(rows), order, k)
    want = batches(len(batches) + k)
    if compacted:
      num = (want.rows < num_rows).sum()
      np.testing.assert_array_equal(got.rows[:num], want.rows[:num])
      assert (np.diff(got.rows) > 0).all() and len(got.rows) == room
      assert (got.rows[num:] >= num_rows).all()
    want = want._replace(rows=got.rows)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
      assert a.dtype == b.dtype
      np.testing.assert_array_equal(a, b)


def make_plan(batches, name='entire_space', dense=False, **more):
  schema = batches.schema
  tx = network.optimizer(network.OptimizerOptions('adam'))
  estimator = bind(name, ESTIMATORS[name], {}, schema.tasks)
  return StepSpec(
      model=MODELS['shared_embedding'](schema, (8, 4), dropout=0.2),
      terms=estimator.terms,
      outputs=functools.partial(funnel.outputs, tasks=schema.tasks),
      row_tx=(lazy.densely if dense else lazy.lazily)(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      dense=dense,
      map_replicas_sequentially=True,
      **more,
  )


def beginning(plan, batches, hyper):
  num = len(hyper.learning_rate)
  return Layout().put_state(init_state(
      plan, batches.schema.num_rows, 4, list(range(num)), batches(0),
      list(hyper.loss_weights), 0.1))


def make_hyper(num, name='entire_space'):
  weights = ESTIMATORS[name].weights(toy_lib.SCHEMA.tasks)
  return TracedHyperparameters(
      jnp.linspace(0.01, 0.02, num),
      {k: jnp.full(num, 0.5 + k.startswith('c')) for k in weights})


def trained(kind, plan, batches, hyper, stops):
  """The state after the last of some stops, and how often it was compiled."""
  state = beginning(plan, batches, hyper)
  feed = kind(plan, batches, Layout(), 0, stops[-1])
  for start, stop in zip([0, *stops], stops):
    state = feed.advance(state, start, stop, hyper)
  feed.close()
  return state, feed.traces


def assert_same(a, b, tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      x, y = jax.random.key_data(x), jax.random.key_data(y)
    if tolerance:
      np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
    else:
      np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    'data, name, num, dense, parts',
    [
        # Learns from labels of the truth.
        pytest.param(
            'toy', 'conversion_if_clicked', 1, False, 1,
            marks=pytest.mark.long),
        # Draws random numbers.
        pytest.param('toy', 'unbias', 2, True, 1, marks=pytest.mark.long),
        pytest.param(
            'grouped', 'entire_space', 1, True, 1, marks=pytest.mark.long),
        pytest.param(
            'runs', 'entire_space', 3, False, 4, marks=pytest.mark.long),
    ],
)
def test_training_is_the_same(data, name, num, dense, parts, toy, grouped):
  """65 steps, from six to nine epochs and a part of the next."""
  batches = maker(data, toy, grouped)(compacted=not dense)
  plan = make_plan(
      batches, name, dense, needs_uniform=ESTIMATORS[name].needs_uniform,
      micro_batches=parts)
  hyper = make_hyper(num, name)
  want, _ = trained(Streamed, plan, batches, hyper, [1, 65])
  # Room for one group is too little: it has to grow.
  batches.group_capacity = min(batches.group_capacity, 1)
  got, traces = trained(Resident, plan, batches, hyper, [1, 3, 20, 65])
  assert traces <= 2 if batches.groups else traces == 1
  assert got.step == 65 and np.isfinite(got.sums['loss']).all()
  assert_same(got, want, 0 if num == 1 else 1e-5)
  assert abs(want.table - beginning(plan, batches, hyper).table).max() > 0.05


@pytest.mark.slow
def test_one_trace_and_going_on(toy, grouped, monkeypatch):
  """One for any number of steps; a new feed goes on inside an epoch."""
  calls, step = [], resident.train_step
  monkeypatch.setattr(
      resident, 'train_step', lambda *a, **k: calls.append(1) or step(*a, **k))
  batches = maker('runs', toy, grouped)()
  plan, hyper = make_plan(batches), make_hyper(1)
  before = threading.active_count()
  feed = Resident(plan, batches, Layout(), 0, 40)
  state = feed.advance(beginning(plan, batches, hyper), 0, 1, hyper)
  first = len(calls)
  for start, stop in ((1, 3), (3, 4), (4, 13)):
    state = feed.advance(state, start, stop, hyper)
  middle = jax.tree.map(jnp.copy, state)
  for start, stop in ((13, 25), (25, 40)):
    state = feed.advance(state, start, stop, hyper)
  assert state.step == 40 and len(calls) == first >= 1 == feed.traces
  feed.close()
  assert threading.active_count() == before
  feed = Resident(plan, batches, Layout(), 13, 40)
  assert_same(feed.advance(middle, 13, 40, hyper), state, 0)
  feed.close()


# The choice.


def on_device(stats):
  device = types.SimpleNamespace(memory_stats=lambda: stats)
  devices = types.SimpleNamespace(flat=[device])
  return types.SimpleNamespace(
      num_devices=1, num_parts=1, num_processes=1,
      mesh=types.SimpleNamespace(devices=devices))


def test_auto_streams_on_a_cpu(make):
  assert not resident.is_resident('auto', make(), Layout())
  assert resident.is_resident('on', make(), Layout())
  assert not resident.is_resident('off', make(), Layout())


def test_auto_looks_at_the_memory(make, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  batches = make()
  needed = most_bytes(batches)
  chosen = lambda choice, stats: resident.is_resident(
      choice, batches, on_device(stats)
  )
  assert chosen('auto', {'bytes_limit': 4 * needed})
  assert not chosen('auto', {'bytes_limit': 4 * needed - 1})
  assert chosen('auto', None) and chosen('auto', {})
  assert chosen('on', {'bytes_limit': needed})
  assert not chosen('off', {'bytes_limit': 4 * needed})
  with pytest.raises(InputError, match="device_resident.*101|150 rows.*'off'"):
    chosen('on', {'bytes_limit': needed - 1})


def test_several_devices_and_processes(make, monkeypatch):
  """Devices hold a share each, if asked to; processes read instead."""
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  batches = make()
  share = most_bytes(batches, 2)
  groups = batches.groups
  everywhere = 8 * batches.num_rows + (
      groups.slots.nbytes + groups.weights.nbytes if groups else 0)
  rest = most_bytes(batches) - everywhere
  assert abs(share - everywhere - rest / 2) <= rest / batches.num_rows
  several = on_device({'bytes_limit': share})
  several.num_devices = several.num_parts = 2
  assert not resident.is_resident('auto', batches, several)
  resident.check_choice('on', several)
  assert resident.is_resident('on', batches, several)
  several.num_parts = 1  # Its devices are of replicas.
  with pytest.raises(InputError, match='GB on a device. do not fit'):
    resident.is_resident('on', batches, several)
  several.num_processes = 2
  with pytest.raises(InputError, match="device_resident is 'on'.*2 processes"):
    resident.check_choice('on', several)
  for choice in ('auto', 'off'):
    resident.check_choice(choice, several)


def test_runs_that_differ_in_it_are_not_replicas():
  configs = {
      choice: flatten(smoke('esmm', device_resident=choice).to_dict())
      for choice in ('auto', 'on', 'off')}
  assert replica_groups(configs, 8) == [['auto'], ['on'], ['off']]


# Whole runs: the tiny funnel, 10 steps an epoch, the last with 392 rows.


def short(choice, **more):
  return smoke('esmm', **{
      'device_resident': choice, 'log_every': 3, 'evals_per_epoch': 2,
      'dataset.num_train': 5000, 'model.dropout': 0.1, **more})


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def test_a_bad_choice_is_named(data_dir, tmp_path):
  words = "device_resident is 'onn'.*Did you mean 'on'"
  with pytest.raises(InputError, match=words):
    train_and_evaluate(short('onn'), str(tmp_path), data_dir)


@pytest.mark.long
def test_whole_runs(data_dir, tmp_path, monkeypatch):
  """The same reports and results; cut off and gone on, the same to the bit."""
  folders = {name: str(tmp_path / name) for name in ('off', 'on', 'cut')}
  done = {
      choice: train_and_evaluate(short(choice), folders[choice], data_dir)
      for choice in ('off', 'on')}
  assert [run['traces'] for run in done.values()] == [1, 1]
  for a, b in zip(
      metrics(folders['off']), metrics(folders['on']), strict=True):
    # Some metrics are undefined on so few rows.
    assert {k for k in a if a[k] is None} == {k for k in b if b[k] is None}
    number = lambda line: {k: v for k, v in line.items() if v is not None}
    assert number(a) == pytest.approx(number(b), rel=1e-4)
  steps = [line['step'] for line in metrics(folders['on'])]
  assert steps == [3, 5, 6, 9, 10, 12, 15, 18, 20, steps[-1]]
  assert done['on']['examples_per_second'] > 0

  advance = Resident.advance

  def cut_off(self, state, start, stop, hyper):
    if stop > 18:  # The last evaluation was at step 15.
      raise KeyboardInterrupt
    return advance(self, state, start, stop, hyper)

  monkeypatch.setattr(Resident, 'advance', cut_off)
  with pytest.raises(KeyboardInterrupt):
    train_and_evaluate(short('on'), folders['cut'], data_dir)
  monkeypatch.undo()
  train_and_evaluate(short('on'), folders['cut'], data_dir)
  assert fingerprint(folders['cut']) == fingerprint(folders['on'])
  assert results(folders['cut']) == results(folders['on'])
  assert metrics(folders['cut']) == metrics(folders['on'])


@pytest.mark.slow
def test_a_loss_that_is_not_finite(data_dir, tmp_path, monkeypatch):
  """Both ways name the same step; they look at the same one."""
  found = {}
  for choice in ('off', 'on'):
    with pytest.raises(FloatingPointError, match='looked at step') as e:
      train_and_evaluate(
          short(choice, learning_rate=1e30), str(tmp_path / choice), data_dir)
    found[choice] = str(e.value).split(' See ')[0]
  assert found['on'] == found['off']


def test_the_next_stop():
  assert [next_multiple(k, 3) for k in range(5)] == [3, 3, 3, 6, 6]
  assert next_multiple(6, 1) == 7
