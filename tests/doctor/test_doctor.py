"""The doctor finds what is wrong, and says what to do."""

import collections
import importlib.metadata
import json
import os
import re
import subprocess
import sys

from esmm_jax.doctor import allocator, machine, numbers
from esmm_jax.doctor.machine import FAIL, Finding, OK, WARN
from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

from tests import ROOT

Usage = collections.namedtuple('Usage', 'total used free')


# What is installed.


def test_packages():
  (found,) = machine.requirements()
  assert (found.name, found.status) == ('packages', OK)
  for name in ('python', 'jax', 'numba', 'orbax-checkpoint'):
    assert f'{name} ' in found.found
  assert 'hypothesis' not in found.found  # Of the tests only.


def test_packages_that_do_not_fit(monkeypatch):
  version = importlib.metadata.version

  def other(name):
    if name == 'numba':
      raise importlib.metadata.PackageNotFoundError(name)
    return {'optax': '0.1', 'jaxlib': '0.0.1'}.get(name) or version(name)

  monkeypatch.setattr(importlib.metadata, 'version', other)
  found = {f.name: f for f in machine.requirements()}
  assert (found['numba'].status, found['numba'].found) == (
      FAIL, 'not installed')
  assert found['optax'].status == FAIL
  needed = re.fullmatch(r'0\.1, but (>=[\d.]+) is needed', found['optax'].found)
  assert found['optax'].advice == f"pip install 'optax{needed[1]}'"
  assert found['jaxlib'].status == WARN
  assert 'with jaxlib 0.0.1' in found['jaxlib'].found
  assert machine.failed(list(found.values()))


def test_not_installed():
  (found,) = machine.requirements('esmm_jax_of_nobody')
  assert found.status == FAIL and 'make setup' in found.advice


# The machine.


def test_devices(monkeypatch):
  monkeypatch.setattr(machine.shutil, 'which', lambda name: None)
  monkeypatch.setattr(machine.os.path, 'exists', lambda path: False)
  found = machine.devices()
  assert found.status == OK
  assert found.found.startswith(f'{jax.device_count()} x ')
  monkeypatch.setattr(machine.shutil, 'which', lambda name: '/bin/' + name)
  found = machine.devices()
  assert found.status == (WARN if jax.default_backend() == 'cpu' else OK)
  assert ('jax[cuda' in found.advice) == (found.status == WARN)


@pytest.mark.parametrize('text, status, said', [
    ('MemTotal: 9 kB\nMemAvailable:   20000000 kB\n', OK, '20.5 GB available'),
    ('MemAvailable:   2000000 kB\n', WARN, '2.0 GB available'),
    ('nothing', OK, 'unknown'),
    (None, OK, 'unknown'),
])
def test_memory(tmp_path, text, status, said):
  path = tmp_path / 'meminfo'
  if text is not None:
    path.write_text(text)
  found = machine.memory(str(path))
  assert found.status == status and found.found.startswith(said)
  assert found.found.endswith(' cores')


def test_disk(tmp_path, monkeypatch):
  folder = tmp_path / 'new' / 'runs'
  usage = lambda free: lambda path: Usage(10**12, 0, free)
  monkeypatch.setattr(machine.shutil, 'disk_usage', usage(10**11))
  found = machine.disk('workdir', str(folder))
  assert (found.name, found.status) == ('--workdir', OK)
  assert '100.0 GB free' in found.found and os.listdir(folder) == []
  monkeypatch.setattr(machine.shutil, 'disk_usage', usage(10**9))
  found = machine.disk('workdir', str(folder))
  assert found.status == WARN and '1.0 GB free' in found.found
  (tmp_path / 'file').write_text('')
  found = machine.disk('data_dir', str(tmp_path / 'file' / 'x'))
  assert found.status == FAIL and 'Not a directory' in found.found
  assert found.advice == 'Name another --data_dir.'


def test_a_full_disk(tmp_path, monkeypatch):
  def full(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(machine.os, 'fsync', full)
  found = machine.disk('workdir', str(tmp_path))
  assert found.status == FAIL and 'No space left' in found.found
  assert os.listdir(tmp_path) == []


def test_a_disk_that_loses_bytes(tmp_path, monkeypatch):
  def replace(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
      b.write(a.read()[:-1])

  monkeypatch.setattr(machine.os, 'replace', replace)
  found = machine.disk('workdir', str(tmp_path))
  assert found.status == FAIL and 'other bytes' in found.found
  assert os.listdir(tmp_path) == []


def test_data(tmp_path):
  (found,) = machine.data(str(tmp_path))
  assert found == Finding('data', OK, 'nothing is prepared')
  done = tmp_path / 'toy' / 'small' / '1.0.0'
  done.mkdir(parents=True)
  (done / 'dataset_info.json').write_bytes(b'x' * 3_000_000)
  (tmp_path / 'toy' / 'incomplete.AB_1.0.0' / 'x').mkdir(parents=True)
  (tmp_path / 'toy' / '.1.0.0.ab12.partial' / 'x').mkdir(parents=True)
  ready, *left = machine.data(str(tmp_path))
  assert ready.found == 'toy/small/1.0.0 (3 MB)'
  assert [f.status for f in left] == [WARN, WARN]
  assert '.1.0.0.ab12.partial is not complete' in left[0].found
  assert 'incomplete.AB_1.0.0 is not complete' in left[1].found


# The numbers.


SIZES = (5000, 20_000)


def test_rows_of_a_table():
  (found,) = numbers.rows(sizes=SIZES)
  assert found.name == 'table rows' and found.found.startswith('right; 4096')
  assert found.status in (OK, WARN)  # It depends on the time.


@pytest.mark.parametrize('take, put', [
    (lambda t, at: gather_rows(t, at) + 1e-6, scatter_rows),
    (lambda t, at: gather_rows(t, at)[::-1], scatter_rows),
    (gather_rows, lambda t, at, new: scatter_rows(t, at[:-9], new[:-9])),
    (gather_rows, lambda t, at, new: t.at[at].set(new, mode='clip')),
])
def test_wrong_rows(take, put):
  (found,) = numbers.rows(take, put, sizes=SIZES)
  assert found.status == FAIL and 'wrongly' in found.found
  assert 'another jaxlib' in found.advice


@pytest.mark.parametrize('times, status', [
    ((1.0, 2.0, 1.0), OK), ((1.0, 30.0, 1.0), WARN), ((30.0, 30.0, 0.1), WARN),
])
def test_slow_rows(times, status):
  """Of a small table, of a large one, and NumPy's of the large one."""
  remaining = iter(times)
  (found,) = numbers.rows(
      sizes=SIZES, seconds=lambda step, table: next(remaining))
  assert found.status == status
  assert f'{times[1] / times[0]:.1f} times that of 5,000' in found.found


def test_products():
  assert numbers.products(np.matmul).status == OK
  rounded = lambda a, b: jnp.matmul(
      a.astype(jnp.bfloat16), b.astype(jnp.bfloat16),
      preferred_element_type=jnp.float32)
  found = numbers.products(rounded)
  assert found.status == WARN
  assert 'JAX_DEFAULT_MATMUL_PRECISION=float32' in found.advice


@pytest.mark.parametrize('hashes, said', [
    ('aab', 'other bits in another process'),
    ('aba', 'other bits in one process'),
    ('abb', 'other bits in another process and in one process'),
])
def test_determinism(hashes, said):
  assert numbers.determinism(list('aaa')).status == OK
  found = numbers.determinism(list(hashes))
  assert found.status == FAIL and found.found.endswith(said)


@pytest.mark.long
def test_the_program(tmp_path):
  done = subprocess.run(
      [
          sys.executable, '-m', 'experiments.doctor', '--json',
          f'--data_dir={tmp_path / "data"}', f'--workdir={tmp_path / "runs"}',
      ],
      cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
  found = {f['name']: f for f in json.loads(done.stdout)}
  assert set(found) == {
      'packages', 'devices', 'memory', '--data_dir', '--workdir', 'data',
      'products', 'table rows', 'determinism'}
  assert found['determinism']['status'] == OK
  assert done.returncode == any(f['status'] == FAIL for f in found.values())


# Memory.


def test_arrow_returns_memory():
  before = pa.default_memory_pool()
  try:
    is_there = 'jemalloc' in pa.supported_memory_backends()
    assert allocator.return_arrow_memory() == is_there
    name = 'jemalloc' if is_there else before.backend_name
    assert pa.default_memory_pool().backend_name == name
  finally:
    pa.set_memory_pool(before)
