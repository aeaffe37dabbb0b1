"""Compiled programs of earlier runs, so that the next one begins sooner.

JAX reads and writes them in a folder of this process alone, which begins with
what earlier processes left in a shared one and whose new files are added to
that at the end, each with its checksum in its name. So a process that is
killed, a full disk or a damaged file costs a compilation and never a number:
what does not have its checksum is not loaded, and is removed.

A compiled program is code that the process runs. So the shared folder has to
belong to the user, and nobody else may write to it; and it has a part for each
kind of processor and number of cores, which decide what is compiled.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import platform
import stat
import tempfile

from esmm_jax import streams, system_errors

# Bytes that a part of the folder may take; the oldest programs leave first.
LIMIT = 100_000_000
_END = '-cache'  # Of the names that JAX gives.


@contextlib.contextmanager
def kept(folder: str | None, limit: int = LIMIT) -> Iterator[None]:
  """Keeps the programs that JAX compiles in this block for other processes.

  Numbers do not depend on it: the same code runs. It does nothing where JAX has
  a folder already, as of the variable JAX_COMPILATION_CACHE_DIR.

  Args:
    folder: The shared folder, which need not exist; None or '': none.
    limit: Bytes that this machine's part of it may take.
  """
  if not folder or _has_one():
    yield
    return
  shared = os.path.join(folder, _machine())
  try:
    sound = _sound(_own_folder(shared)) if os.path.lexists(shared) else {}
    local = tempfile.TemporaryDirectory(prefix='esmm_jax_compiled_')
  except OSError as e:
    _warn(folder, e)
    yield
    return
  with local:
    for name, path in sound.items():
      with contextlib.suppress(OSError):  # Then it is compiled again.
        os.symlink(os.path.abspath(path), os.path.join(local.name, name))
    _use(local.name)
    try:
      yield
    finally:
      _use(None)
      try:
        # No folder is made for a run that is refused.
        if new := _compiled_here(local.name):
          _add(new, _own_folder(shared))
          _shrink(shared, limit)
      except OSError as e:
        _warn(folder, e)


def _has_one() -> bool:
  import jax

  return bool(jax.config.jax_compilation_cache_dir)


def _use(folder: str | None) -> None:
  """Lets JAX read programs from a folder, and write all of them there."""
  from jax.experimental.compilation_cache import compilation_cache
  import jax

  # Paths of other caches would be in the names, and this one is new each time.
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  jax.config.update('jax_compilation_cache_dir', folder)
  compilation_cache.reset_cache()  # It would stay with the folder before.


def _machine() -> str:
  """Returns a name for what compilation depends on beside the program."""
  facts = [platform.machine(), platform.processor(), os.cpu_count()]
  facts += [os.environ.get('NPROC', '')]  # As XLA counts cores.
  with contextlib.suppress(AttributeError):  # Not on Linux.
    facts += [len(os.sched_getaffinity(0))]
  with contextlib.suppress(OSError):
    with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as f:
      for line in iter(f.readline, '\n'):  # Of the first core.
        name = line.partition(':')[0].strip()
        facts += [line] if name in ('model name', 'flags', 'Features') else []
        if not line:
          break
  return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _own_folder(folder: str) -> str:
  """Makes a folder that others cannot write to, or checks that it is one.

  Raises:
    OSError: It cannot be made, or is somebody else's.
  """
  os.makedirs(os.path.dirname(folder), exist_ok=True)
  with contextlib.suppress(FileExistsError):
    os.mkdir(folder, 0o700)
  found = os.lstat(folder)
  others = stat.S_IWGRP | stat.S_IWOTH
  is_own = not hasattr(os, 'geteuid') or found.st_uid == os.geteuid()
  if not is_own or not stat.S_ISDIR(found.st_mode) or found.st_mode & others:
    raise OSError(
        f'{folder} is no folder, belongs to somebody else, or others may write'
        ' to it.'
    )
  return folder


def _entries(shared: str) -> list[tuple[str, str, str]]:
  """Lists (path, JAX's name, checksum) of the programs of a folder."""
  entries = []
  for file in sorted(os.listdir(shared)):
    name, _, checksum = file.rpartition('.')
    if name.endswith(_END):
      entries.append((os.path.join(shared, file), name, checksum))
  return entries


def _sound(shared: str) -> dict[str, str]:
  """Returns JAX's name -> file of the sound programs; removes the others."""
  sound = {}
  for path, name, checksum in _entries(shared):
    with contextlib.suppress(OSError):  # Another process has removed it, say.
      with open(path, 'rb') as f:
        is_sound = hashlib.file_digest(f, 'sha256').hexdigest() == checksum
      if is_sound:
        sound[name] = path
      else:
        os.remove(path)
  return sound


def _compiled_here(local: str) -> list[str]:
  """Lists the files that are not those of the shared folder."""
  files = [os.path.join(local, name) for name in sorted(os.listdir(local))]
  return [f for f in files if f.endswith(_END) and not os.path.islink(f)]


def _add(files: list[str], shared: str) -> None:
  """Copies files to the shared folder, each as a whole or not at all."""
  there = {name for _, name, _ in _entries(shared)}
  for path in files:
    name = os.path.basename(path)
    if name in there:
      continue
    with open(path, 'rb') as f:
      content = f.read()
    checksum = hashlib.sha256(content).hexdigest()
    with tempfile.NamedTemporaryFile(dir=shared, delete=False) as f:
      try:
        f.write(content)
        f.flush()
        os.replace(f.name, os.path.join(shared, f'{name}.{checksum}'))
      except OSError:
        os.remove(f.name)
        raise


def _shrink(shared: str, limit: int) -> None:
  """Removes the oldest files until the others take at most `limit` bytes."""
  files = []
  for file in os.scandir(shared):
    with contextlib.suppress(FileNotFoundError):
      files.append((file.stat().st_mtime_ns, file.path, file.stat().st_size))
  size = sum(num for _, _, num in files)
  for _, path, num in sorted(files):
    if size <= limit:
      return
    with contextlib.suppress(FileNotFoundError):
      os.remove(path)
    size -= num


def _warn(folder: str, error: OSError) -> None:
  streams.warn(
      f'compiled programs are not kept in {folder}: {system_errors.told(error)}'
      ' The run goes on. --compilation_cache=FOLDER names another one, and'
      " --compilation_cache='' none."
  )
