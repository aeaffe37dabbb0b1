r"""Programs of several emulated devices, in a process of their own.

  python -m tests.parallel.meshes rows REPLICAS DATA ROWS
  python -m tests.parallel.meshes sums REPLICAS DATA ROWS
  python -m tests.parallel.meshes train '(REPLICAS, DATA, ROWS)' FOLDER DATA_DIR
  \
      [stop] [key=value ...]

with XLA_FLAGS=--xla_force_host_platform_device_count=DEVICES. `rows` checks
`table_rows` and prints what the compiled collectives move, and `sums` the same
of a gradient; `train` trains two smoke runs side by side, in FOLDER, up to the
first checkpoint if told to stop; `config=FILE` trains those of another config.
`use FOLDER DATA_DIR` calibrates a run.
"""

import ast
import json
import os
import re
import subprocess
import sys

from tests import ROOT

NUM_ROWS, NUM_REPLICAS, WIDTH = 4097, 2, 6
COLLECTIVE = re.compile(
    r'= \(?\w+\[([\d,]*)\].* (all-gather|all-reduce|all-to-all'
    r'|collective-permute|reduce-scatter)(?:-start)?\(')


def call(*arguments, devices, module='meshes', **env):
  """The JSON that one of the programs prints last."""
  flags = f'--xla_force_host_platform_device_count={devices}'
  done = subprocess.run(
      [sys.executable, '-m', f'tests.parallel.{module}', *map(str, arguments)],
      cwd=ROOT, text=True, capture_output=True, timeout=300,
      env=dict(os.environ, JAX_PLATFORMS='cpu', XLA_FLAGS=flags, **env))
  assert done.returncode == 0, done.stdout + done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def rows(*sizes):
  from esmm_jax.embeddings import lookup as table_rows
  from esmm_jax.parallel.layout import Layout, MeshOptions
  import jax
  import numpy as np

  replicas, data, parts = map(int, sizes)
  layout = Layout(MeshOptions(replicas, data, parts))
  padded = layout.padded(NUM_ROWS)
  keys = jax.random.split(jax.random.key(3), NUM_REPLICAS)
  args = (NUM_ROWS, NUM_ROWS, WIDTH, 0.1, 256)
  whole = np.asarray(table_rows.init_table(keys, *args))
  at = np.unique(np.random.default_rng(0).integers(0, NUM_ROWS, 99))
  at = np.append(at, [NUM_ROWS, NUM_ROWS + 1]).astype(np.int32)
  with layout.active():
    by_row = layout.shardings({'table': np.zeros((1, 1, 1))})['table']
    init = jax.jit(
        lambda keys: table_rows.init_table(
            keys, NUM_ROWS, padded, WIDTH, 0.1, 256),
        out_shardings=by_row)
    table = init(layout.put_state(keys))
    moved = table_rows.mask_padding_rows(at, NUM_ROWS, padded)
    found = jax.jit(table_rows.gather_rows)(table, moved)
    any_order = np.random.default_rng(1).integers(0, NUM_ROWS, 300)
    seen = jax.jit(table_rows.lookup_rows)(table, any_order)

    def step(table, rows):
      return table_rows.scatter_rows(
          table, rows, 2 * table_rows.gather_rows(table, rows))

    compiled = jax.jit(step, out_shardings=by_row).lower(table, moved).compile()
    after = np.asarray(compiled(table, moved))
  assert (np.asarray(table)[:NUM_ROWS] == whole).all()
  assert not np.asarray(table)[NUM_ROWS:].any()
  found = np.asarray(found)
  assert (found[:-2] == whole[at[:-2]]).all() and not found[-2:].any()
  assert (np.asarray(seen) == whole[any_order]).all()
  expected = np.array(table)
  expected[at[:-2]] *= 2
  assert (after == expected).all()
  moves = [
      [int(np.prod([int(n) for n in shape.split(',') if n])), kind]
      for shape, kind in COLLECTIVE.findall(compiled.as_text())]
  return {'touched': len(at), 'table': whole.size, 'moves': moves,
          'parts': len({s.data.shape for s in table.addressable_shards}),
          'part': list(table.addressable_shards[0].data.shape)}


def sums(*sizes):
  """The sums of a gradient on CUDA, of examples that devices share."""
  from esmm_jax.embeddings import sums as row_sums
  from esmm_jax.parallel.layout import Layout, MeshOptions
  import jax
  import numpy as np

  layout = Layout(MeshOptions(*map(int, sizes)))
  rng = np.random.default_rng(0)
  index = rng.integers(0, 500, (800, 30), np.int32)
  values = rng.standard_normal((800, 30, NUM_REPLICAS, WIDTH), np.float32)
  exact = np.zeros((500, NUM_REPLICAS, WIDTH))
  np.add.at(exact, index, values.astype(np.float64))
  by_example = jax.NamedSharding(
      layout.mesh, jax.sharding.PartitionSpec(('data', 'rows')))
  with layout.active():
    arguments = jax.device_put((index, values), by_example)
    one = lambda i, v: row_sums.sums_without_contention(i, v, num=500)
    step = jax.jit(jax.vmap(one, in_axes=(None, 2), out_axes=1))
    compiled = step.lower(*arguments).compile()
    got = np.asarray(compiled(*arguments))
  moves = [
      [int(np.prod([int(n) for n in shape.split(',') if n])), kind]
      for shape, kind in COLLECTIVE.findall(compiled.as_text())]
  return {'error': float(np.abs(got - exact).max()), 'moves': moves}


def train(sizes, folder, data_dir, *settings):
  from esmm_jax.workdir.checkpoint import Checkpoints
  from esmm_jax.training.loop import train_replicas
  from experiments import load

  spec = next((s[7:] for s in settings if s.startswith('config=')), '')
  tree = load.config(spec or 'configs/esmm.py:smoke')
  names = ('mesh.replicas', 'mesh.data', 'mesh.rows')
  changes = dict(zip(names, ast.literal_eval(sizes))) | {
      'num_epochs': 1, 'optimizer.name': 'sgd', 'learning_rate': 0.1,
      'log_every': 10, 'evals_per_epoch': 2}
  changes |= {} if spec else {'dataset.num_train': 20000}
  if 'stop' in settings:
    save = Checkpoints.save

    def stop(*arguments):
      save(*arguments)
      print(json.dumps('stopped'), flush=True)
      os._exit(0)

    Checkpoints.save = stop
  for text in settings:
    if text == 'stop' or text.startswith('config='):
      continue
    key, _, value = text.partition('=')
    changes[key] = ast.literal_eval(value)
  for key, value in changes.items():
    load.set_key(tree, key, value)
  trees = [tree.copy_and_resolve_references() for _ in range(2)]
  for k, mine in enumerate(trees):
    mine.init_seed = k
  folders = [os.path.join(folder, str(k)) for k in range(2)]
  found = train_replicas(
      trees, folders, data_dir, os.path.join(folder, 'home'))
  return [
      {k: r[k] for k in ('steps', 'traces', 'num_params', 'test/ctcvr/logloss')}
      for r in found]


def use(folder, data_dir):
  """Calibrates a run and evaluates it on its test split."""
  from esmm_jax.serving.calibrate import calibrate
  import jax

  shown = calibrate(folder, data_dir)['test']['ctcvr']['none']
  return {'logloss': shown['logloss'], 'devices': len(jax.devices())}


if __name__ == '__main__':
  programs = {'rows': rows, 'sums': sums, 'train': train, 'use': use}
  result = programs[sys.argv[1]](*sys.argv[2:])
  print(json.dumps(result))
