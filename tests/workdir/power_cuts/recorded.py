"""File operations of a process, as `strace` sees them, and a disk to replay.

The disk has two states: what programs see, and what is on its platters. A file
gets there by fsync, and a name by fsync of its folder; whatever else a power
cut may leave is one of `LOSSES`.
"""

import os
import random
import re
import subprocess

CALLS = (
    'openat,creat,write,pwrite64,writev,rename,renameat,renameat2,unlink,'
    'unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,ftruncate,lseek,dup,dup2,'
    'dup3,fcntl,sendfile,mmap,?link,?linkat,?symlink,?symlinkat,?truncate,'
    '?pwritev,?pwritev2,?copy_file_range,?fallocate')
# These would need more than is replayed.
UNKNOWN = {
    'creat', 'link', 'linkat', 'symlink', 'symlinkat', 'truncate', 'pwritev',
    'pwritev2', 'copy_file_range'}


def record(command, root, trace, **more):
  """Runs a command; returns its operations on files in `root`, in order."""
  done = subprocess.run(
      ['strace', '-f', '-y', '-xx', '-qq', '-s', '1000000000',
       '-e', f'trace={CALLS}', '-e', 'signal=none', '-o', trace, *command],
      capture_output=True, text=True, check=False, **more)
  assert done.returncode == 0, done.stderr
  with open(trace, encoding='ascii') as f:
    return list(_operations(f, os.fspath(root)))


def _lines(file):
  """Joins calls that other threads interrupted; in the order of their ends."""
  begun = {}
  for text in file:
    thread, text = text.rstrip('\n').split(None, 1)
    if text.endswith('<unfinished ...>'):
      begun[thread] = text.removesuffix('<unfinished ...>').rstrip()
      continue
    if text.startswith('<... '):
      rest = text.partition(' resumed>')[2]
      text = begun.pop(thread) + rest
    match = re.fullmatch(r'(\w+)\((.*?)\)\s+= (-?\d+).*', text)
    if match and int(match.group(3)) >= 0:
      yield match.group(1), match.group(2), int(match.group(3))


def _decoded(text):
  return bytes.fromhex(text.replace('\\x', ''))


def _strings(text):
  return [_decoded(s) for s in re.findall(r'"((?:\\x..)*)"', text)]


def _opened(text):
  """Paths of the open files among the arguments, ['' where there is none]."""
  paths = [
      _decoded(m.group(1)).decode() for m in re.finditer(
          r'(?:\d+|AT_FDCWD)<((?:\\x..)+)>', text)]
  return [p.removesuffix(' (deleted)') for p in paths]


def _operations(file, root):
  """Yields (call, path in root, ...); see `Disk.apply`."""
  places = {}  # Number of an open file -> [position], which copies share.
  inside = lambda path: path == root or path.startswith(root + '/')
  short = lambda path: os.path.relpath(path, root)
  for call, text, result in _lines(file):
    paths, strings = _opened(text), _strings(text)
    number = re.match(r'\d+', text)
    number = int(number.group()) if number else -1
    full = []
    if strings and call not in ('write', 'pwrite64', 'writev'):
      full = [s.decode() for s in strings]
      if call in ('openat', 'unlinkat', 'mkdirat') or 'renameat' in call:
        full = [os.path.join(p, s) for p, s in zip(paths, full)]
      if not any(map(inside, full)):
        continue
    elif not any(map(inside, paths)):
      continue
    assert call not in UNKNOWN, (call, full or paths)
    if call == 'openat':
      if 'O_WRONLY' in text or 'O_RDWR' in text:
        places[result] = ['end' if 'O_APPEND' in text else 0]
        yield 'open', short(full[0]), 'O_TRUNC' in text
    elif call in ('write', 'writev', 'pwrite64'):
      data = b''.join(strings)[:result]
      at = places[number]
      if call == 'pwrite64':
        yield 'write', short(paths[0]), int(text.rpartition(', ')[2]), data
        continue
      yield 'write', short(paths[0]), at[0], data
      if at[0] != 'end':
        at[0] += result
    elif call == 'sendfile':
      start = int(re.search(r'\[(\d+)\]', text).group(1))
      source = paths[1]
      assert inside(source), source
      yield 'copy', short(paths[0]), short(source), start, result
    elif call in ('dup', 'dup2', 'dup3') or call == 'fcntl' and 'DUPFD' in text:
      if number in places:
        places[result] = places[number]
    elif call == 'lseek':
      if number in places and places[number][0] != 'end':
        places[number][0] = result
    elif call == 'ftruncate':
      yield 'cut', short(paths[0]), int(text.rpartition(', ')[2])
    elif call == 'mmap':
      assert 'MAP_PRIVATE' in text or 'PROT_WRITE' not in text, text
    elif call in ('fsync', 'fdatasync'):
      yield 'sync', short(paths[0])
    elif call in ('mkdir', 'mkdirat'):
      yield 'mkdir', short(full[0])
    elif call in ('unlink', 'unlinkat', 'rmdir'):
      yield 'remove', short(full[0])
    elif call.startswith('rename'):
      yield 'rename', short(full[0]), short(full[1])


class _File:

  def __init__(self):
    self.data, self.durable = bytearray(), b''

  def sync(self):
    self.durable = bytes(self.data)


class _Folder:

  def __init__(self):
    self.names, self.durable = {}, {}

  def sync(self):
    self.durable = dict(self.names)


def _old(file):
  return file.durable


def _new(file):
  return bytes(file.data)


def _torn(file):
  """Half of what is not on the disk yet; what is appended harms nothing."""
  safe = len(file.durable) if file.data.startswith(file.durable) else 0
  return bytes(file.data[: (safe + len(file.data)) // 2])


# What a power cut may leave: names as they were synchronised or as programs
# saw them last, and the same of the data.
LOSSES = {
    'all is lost that was not synchronised': (False, _old),
    'new names are there, without their data': (True, _old),
    'new names are there, with half of their data': (True, _torn),
    'the data is there, without new names': (False, _new),
    'nothing is lost': (True, _new),
}
CHANCE = 'each file and folder by chance'


class Disk:
  """A folder on a disk."""

  def __init__(self):
    self._root = _Folder()

  def apply(self, call, path, *more):
    """Does an operation of `record`."""
    folder, name = self._at(os.path.dirname(path)), os.path.basename(path)
    if call == 'sync':
      self._at(path).sync()
    elif call == 'mkdir':
      folder.names[name] = _Folder()
    elif call == 'remove':
      del folder.names[name]
    elif call == 'rename':
      target = self._at(os.path.dirname(more[0]))
      target.names[os.path.basename(more[0])] = folder.names.pop(name)
    elif call == 'open':
      file = folder.names.setdefault(name, _File())
      if more[0]:
        file.data.clear()
    elif call == 'cut':
      del folder.names[name].data[more[0]:]
    else:
      if call == 'copy':
        source, start, size = more
        data, start = self._at(source).data[start:start + size], start
      else:
        start, data = more
      file = folder.names.get(name)
      if file is not None:  # A file without a name is lost.
        start = len(file.data) if start == 'end' else start
        file.data.extend(bytes(max(0, start - len(file.data))))
        file.data[start:start + len(data)] = data

  def after(self, loss, seed=0):
    """Path -> bytes of each file, None of each folder, after a power cut."""
    rng = random.Random(seed)
    tree = {}

    def add(path, node):
      by_chance = loss == CHANCE
      names, data = rng.choice(
          list(LOSSES.values())) if by_chance else LOSSES[loss]
      if isinstance(node, _File):
        tree[path] = data(node)
        return
      if path:
        tree[path] = None
      for name, inner in (node.names if names else node.durable).items():
        add(os.path.join(path, name), inner)

    add('', self._root)
    return tree

  def _at(self, path):
    node = self._root
    for name in path.split('/'):
      if name not in ('', '.'):
        node = node.names[name]
    return node
