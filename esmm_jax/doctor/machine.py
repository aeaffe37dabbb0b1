"""Checks of the machine and its packages, for `experiments.doctor`.

A check returns a `Finding` and changes nothing. Those of the numbers are in
`numbers`.
"""

from collections.abc import Iterator, Mapping
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from typing import Any, NamedTuple

from esmm_jax.cores import cores
from esmm_jax.whole_files import replacing, SUFFIX
import jax
from packaging.requirements import Requirement

OK, WARN, FAIL = 'ok', 'warn', 'FAIL'
_GB = 1e9
_PROBE_BYTES = 16 << 20
_LITTLE_DISK, _LITTLE_MEMORY = 5 * _GB, 4 * _GB


class Finding(NamedTuple):
  """The result of a check.

  Attributes:
    name: Name of the check.
    status: `OK`, `WARN` or `FAIL`.
    found: The result in words.
    advice: The remedy; '' if all is well.
  """

  name: str
  status: str
  found: str
  advice: str = ''


def requirements(package: str = 'esmm_jax') -> Iterator[Finding]:
  """Checks Python and the packages; those that fit share one finding."""
  try:
    wanted = importlib.metadata.requires(package) or []
    python = importlib.metadata.metadata(package)['Requires-Python']
  except importlib.metadata.PackageNotFoundError:
    yield Finding(
        'packages', FAIL, f'{package} is not installed', 'make setup, or pip'
        ' install -e .'
    )
    return
  fitting = []
  for text in [f'python{python or ""}', *wanted]:
    need = Requirement(text)
    if need.marker is not None and not need.marker.evaluate({'extra': ''}):
      continue
    if need.name == 'python':
      version = platform.python_version()
      advice = f'Make the environment with a Python {need.specifier}.'
    else:
      advice = f"pip install '{need}'"
      try:
        version = importlib.metadata.version(need.name)
      except importlib.metadata.PackageNotFoundError:
        yield Finding(need.name, FAIL, 'not installed', advice)
        continue
    if need.specifier.contains(version, prereleases=True):
      fitting.append(f'{need.name} {version}')
    else:
      found = f'{version}, but {need.specifier} is needed'
      yield Finding(need.name, FAIL, found, advice)
  yield Finding('packages', OK, ', '.join(fitting))
  versions = [importlib.metadata.version(n) for n in ('jax', 'jaxlib')]
  if len(set(versions)) > 1:
    yield Finding(
        'jaxlib',
        WARN,
        'jax {} with jaxlib {}'.format(*versions),
        f"pip install 'jaxlib=={versions[0]}'",
    )


def devices() -> Finding:
  """Checks the devices of JAX, and whether it leaves a GPU unused."""
  all_devices = jax.devices()
  kinds = ', '.join(sorted({d.device_kind for d in all_devices}))
  stats = all_devices[0].memory_stats() or {}
  text = f'{len(all_devices)} x {kinds} ({jax.default_backend()})'
  if 'bytes_limit' in stats:
    text += f', {stats["bytes_limit"] / _GB:.0f} GB each'
  unused = jax.default_backend() == 'cpu' and (
      shutil.which('nvidia-smi') or os.path.exists('/dev/nvidia0')
  )
  if unused:
    return Finding(
        'devices',
        WARN,
        f'{text}; there is an NVIDIA GPU that JAX does not use',
        "pip install 'esmm_jax[cuda12]', from a checkout '.[cuda12]', and leave"
        ' JAX_PLATFORMS unset.',
    )
  return Finding('devices', OK, text)


def memory(path: str = '/proc/meminfo') -> Finding:
  """Checks the available memory, and the cores that this process may use."""
  num = cores()
  try:
    with open(path, encoding='ascii') as f:
      lines = dict(line.split(':', 1) for line in f)
    free = int(lines['MemAvailable'].split()[0]) * 1024
  except (OSError, ValueError, KeyError):
    return Finding('memory', OK, f'unknown, {num} cores')
  text = f'{free / _GB:.1f} GB available, {num} cores'
  if free < _LITTLE_MEMORY:
    return Finding(
        'memory', WARN, text, 'Close other programs; the large tests take 3 GB.'
    )
  return Finding('memory', OK, text)


def disk(flag: str, folder: str) -> Finding:
  """Checks that a folder can be written, renamed in and read back.

  Args:
    flag: The flag that names it.
    folder: The folder; it is made if it is not there.
  """
  name = f'--{flag}'
  data = os.urandom(1 << 20) * (_PROBE_BYTES >> 20)
  try:
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    # Under names that nothing has, in a folder of this process alone.
    with tempfile.TemporaryDirectory(SUFFIX, '.doctor.', folder) as own:
      start = time.perf_counter()
      with replacing(os.path.join(own, 'probe')) as temporary:
        with open(temporary, 'wb') as f:
          f.write(data)
      seconds = time.perf_counter() - start
      with open(os.path.join(own, 'probe'), 'rb') as f:
        is_same = f.read() == data
  except OSError as e:
    return Finding(
        name, FAIL, f'{folder}: {e.strerror}', f'Name another {name}.'
    )
  if not is_same:
    return Finding(
        name, FAIL, f'{folder}: other bytes are read than were written',
        f'Do not trust this disk; name another {name}.'
    )
  speed = len(data) / seconds / 1e6
  text = f'{folder}: {free / _GB:.1f} GB free, written at {speed:.0f} MB/s'
  if free < _LITTLE_DISK:
    return Finding(name, WARN, text, f'Make room, or name another {name}.')
  return Finding(name, OK, text)


def data(data_dir: str) -> Iterator[Finding]:
  """Lists prepared data sets, and remains of killed preparations."""
  ready, left = [], []
  for root, folders, files in os.walk(data_dir):
    name = os.path.basename(root)
    # Earlier versions prepared in folders of the first name.
    if name.startswith('incomplete.') or name.endswith(SUFFIX):
      left.append(root)
      folders.clear()
    elif 'dataset_info.json' in files:
      folders.clear()
      size = sum(
          os.path.getsize(os.path.join(r, f))
          for r, _, names in os.walk(root)
          for f in names
      )
      name = os.path.relpath(root, data_dir)
      ready.append(f'{name} ({size / 1e6:.0f} MB)')
  yield Finding('data', OK, ', '.join(sorted(ready)) or 'nothing is prepared')
  for folder in sorted(left):
    yield Finding(
        'data',
        WARN,
        f'{folder} is not complete',
        'If it is not in work now, the next preparation of that data removes'
        ' it, or delete it; it is not used.',
    )


def failed(findings: list[Finding]) -> bool:
  """Returns True if runs on this machine cannot be trusted."""
  return any(f.status == FAIL for f in findings)


def as_json(findings: list[Finding]) -> list[Mapping[str, Any]]:
  """Converts findings for `--json`."""
  return [f._asdict() for f in findings]
