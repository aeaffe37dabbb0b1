"""How several devices and processes are fed, in processes of their own.

  python -m tests.parallel.feeds alike REPLICAS DATA ROWS
  python -m tests.parallel.feeds exchanged REPLICAS DATA ROWS
  python -m tests.parallel.feeds together PORT PROCESSES PROCESS FILE

with XLA_FLAGS as for `tests.parallel.meshes`. `alike` trains on batches that
devices gather and on those of the host; `exchanged` prints the bytes that are
said to be exchanged and those of the compiled programs; `together` is one of
several processes that train, and leaves the parameters in FILE.
"""

import functools
import json
import re
import sys
import tempfile

from esmm_jax.data.batching.whole import whole
from esmm_jax.optim import lazy, network
from esmm_jax.parallel import processes
from esmm_jax.parallel.layout import Layout, MeshOptions
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.feeds.gathering import gather
from esmm_jax.training.resident import Resident
from esmm_jax.training.state import init_state
from esmm_jax.training.step import train_step
import jax
import numpy as np

from tests import toy
from tests.data.batching import test_groups
from tests.parallel.meshes import COLLECTIVE, NUM_REPLICAS
from tests.training import test_feeding


def alike(*sizes):
  """The same steps by `Streamed` and by `Resident`, of one mesh."""
  layout = Layout(MeshOptions(*map(int, sizes)))
  hyper, lines = test_feeding.make_hyper(NUM_REPLICAS), {}
  for data, kind in (('toy', toy.Toy), ('runs', test_groups.Grouped)):
    with tempfile.TemporaryDirectory() as folder:
      built = kind(data_dir=folder).prepare()
      batches = test_feeding.maker(data, built, built)()
      plan = test_feeding.make_plan(batches)
      plan = plan._replace(map_replicas_sequentially=False)
      states, hashes, traces = [], [], []
      for feed_of in (Streamed, Resident):
        state = layout.placed(init_state(
            plan, batches.schema.num_rows, 4, range(NUM_REPLICAS), batches(0),
            list(hyper.loss_weights), 0.1, layout=layout))
        feed = feed_of(plan, batches, layout, 0, 25, lambda step: True)
        begin, hashes = np.asarray(state.table), [*hashes, []]
        for start, stop in ((0, 1), (1, 9), (9, 25)):
          state = feed.advance(state, start, stop, layout.put_state(hyper))
          hashes[-1].append(feed.hash_after(stop))
        traces.append(feed.traces)
        states.append((state.table, state.net, state.table_opt, state.sums))
        same = state.table.sharding == layout.shardings(state).table
        feed.close()
    a, b = (jax.tree.map(np.asarray, state) for state in states)
    worst = jax.tree.map(lambda x, y: np.abs(x - y).max(initial=0), a, b)
    held = feed._whole.slots
    lines[data] = {
        'worst': float(max(jax.tree.leaves(worst))),
        'moved': float(np.abs(a[0] - begin).max()),
        'hashes': hashes, 'traces': traces, 'stays': bool(same),
        'rows': batches.num_rows,
        'shares': [s.data.shape[0] for s in held.addressable_shards]}
  return lines


def _shares(rows, layout):
  """All rows on the devices, each with its share."""
  groups = rows.group_slots, rows.group_weights
  rows = rows._replace(group_slots=None, group_weights=None)
  pad = -len(rows.slots) % layout.num_parts
  rows = jax.tree.map(
      lambda x: np.concatenate([x, np.repeat(x[:1], pad, 0)]), rows)
  groups = layout.put_state(groups)
  return layout.put_shares(rows)._replace(
      group_slots=groups[0], group_weights=groups[1])


def _bytes(text, parts):
  """What a device gives into all collectives, by kind; 4 bytes a number."""
  total = {}
  for line in text.splitlines():
    if not (match := COLLECTIVE.search(line)):
      continue
    kind, result = match[2], line[: match.start(2)]
    num = sum(
        int(np.prod([int(n) for n in shape.split(',') if n]))
        for shape in re.findall(r'[fsu]32\[([\d,]*)\]', result))
    # Each device gets a part of such a sum, to which it gave all of them.
    num *= parts if kind == 'reduce-scatter' else 1
    total[kind] = total.get(kind, 0) + 4 * num
  return total


def exchanged(*sizes):
  """The bytes that the collectives of a step and of a batch have."""
  layout, lines = Layout(MeshOptions(*map(int, sizes))), {}
  hyper = test_feeding.make_hyper(1)
  for data, kind in (('toy', toy.Toy), ('grouped', test_groups.Grouped)):
    with tempfile.TemporaryDirectory() as folder:
      built = kind(data_dir=folder).prepare()
      batches = test_feeding.maker(data, built, built)()
      plan = test_feeding.make_plan(batches)
      plan = plan._replace(map_replicas_sequentially=False)
      state = init_state(
          plan, batches.schema.num_rows, 4, [0], batches(0),
          list(hyper.loss_weights), 0.1, layout=layout)
      feeds = [
          feed(plan, batches, layout, 0, 1) for feed in (Streamed, Resident)]
      said = [feed.exchanged(state)._asdict() for feed in feeds]
      with layout.active():
        step = jax.jit(
            functools.partial(train_step, plan=plan),
            out_shardings=layout.shardings(state))
        batch = layout.put_batch(batches(0))
        stepped = step.lower(state, batch, layout.put_state(hyper))
        gathered = jax.jit(functools.partial(
            gather, num_rows=batches.num_rows, size=16,
            num_groups=batches.group_capacity,
            capacity=batches.most_rows(batches.group_capacity),
            table_rows=batches.schema.num_rows)).lower(
                _shares(whole(batches), layout), batches.order(0)[:16], 0)
      lines[data] = {
          'said': said,
          'moves': [_bytes(p.compile().as_text(), layout.num_parts)
                    for p in (stepped, gathered)]}
      for feed in feeds:
        feed.close()
  return lines


def together(port, num, process, file):
  """Ten steps of SGD of one of several processes, on data with groups."""
  if int(num) > 1:
    processes.join(f'127.0.0.1:{port}', int(num), int(process))
  layout = Layout(MeshOptions(1, 0, 2))
  hyper = test_feeding.make_hyper(1)._replace(
      learning_rate=np.full(1, 0.1, np.float32))
  tx = network.optimizer(network.OptimizerOptions('sgd'))
  with tempfile.TemporaryDirectory() as folder:
    built = test_groups.Grouped(data_dir=folder).prepare()
    batches = test_feeding.maker('runs', None, built)()
    plan = test_feeding.make_plan(batches)._replace(
        net_tx=tx, row_tx=lazy.lazily(tx), map_replicas_sequentially=False)
    state = layout.placed(init_state(
        plan, batches.schema.num_rows, 4, [0], batches(0),
        list(hyper.loss_weights), 0.1, layout=layout))
    feed = Streamed(plan, batches, layout, 0, 10, lambda step: True)
    state = feed.advance(state, 0, 10, layout.put_state(hyper))
    lists = feed.exchanged(state).lists
    feed.close()
  whole = jax.jit(lambda x: x, out_shardings=layout.everywhere)
  arrays = [np.asarray(whole(x)) for x in jax.tree.leaves(state.params)]
  np.savez(file, *arrays)
  return {
      'hash': feed.hash_after(10), 'lists': lists, 'traces': feed.traces,
      'groups': len(batches.groups.slots)}


if __name__ == '__main__':
  programs = {'alike': alike, 'exchanged': exchanged, 'together': together}
  print(json.dumps(programs[sys.argv[1]](*sys.argv[2:])))
