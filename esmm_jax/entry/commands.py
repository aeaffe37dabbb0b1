"""Programs as people type them here.

In a checkout `python -m experiments.train`, of an installed package `esmm-jax
train`. Whoever started a program by `esmm-jax` reads that in a checkout too.
"""

from collections.abc import Sequence
import os
import re
import shlex
from typing import Any

from esmm_jax.entry import checkout

SCRIPT = 'esmm-jax'
_MODULE = 'python -m experiments'
_PROGRAM = re.compile(r'(?:\bpython -m\s+)?\bexperiments\.(\w+)')
_CONFIG = re.compile(r'\bconfigs/(?:tables/)?(\w+)\.py\b')
_started = {'by_script': False}


def by_script() -> None:
  """Notes that `esmm-jax` started this process."""
  _started['by_script'] = True


def are_short() -> bool:
  """Returns whether one types `esmm-jax NAME`."""
  return _started['by_script'] or not checkout.is_checkout()


def command(program: str = '') -> str:
  """Returns what starts a program.

  Args:
    program: Its name, as 'train'; '' for what lists the programs.
  """
  if are_short():
    return f'{SCRIPT} {program}'.rstrip()
  return f'{_MODULE}.{program}'.rstrip('.')


def is_one(text: str) -> bool:
  """Returns whether a text starts a program, here or elsewhere."""
  return text.startswith((f'{SCRIPT} ', f'{_MODULE}.'))


def adapted(text: str) -> str:
  """Returns a text of a program with its commands as one types them here.

  Args:
    text: With commands and configs as in a checkout, such as a docstring.
  """
  if not are_short():
    return text
  text = _PROGRAM.sub(rf'{SCRIPT} \1', text).replace(_MODULE, SCRIPT)
  return _CONFIG.sub(r'\1', text)


def example(text: str) -> str:
  """Returns the first command of a docstring, in one line, as typed here."""
  lines = iter(text.splitlines())
  for line in lines:
    if line.startswith(('  python -m ', f'  {SCRIPT} ')):
      whole = line.strip()
      while whole.endswith('\\'):
        whole = whole[:-1].rstrip() + ' ' + next(lines, '').strip()
      return adapted(whole)
  return ''


def of(spec: Any, argv: Sequence[str]) -> str:
  """Returns the command of a process, to be typed on any machine.

  Args:
    spec: `__spec__` of the program; None of a file.
    argv: The program and its arguments; --data_dir is left out, and an absolute
      path becomes its last part.
  """
  parent, _, name = (spec.name if spec else '').rpartition('.')
  if parent.removeprefix('esmm_jax.') == 'experiments':
    words = command(name).split()
  else:
    words = ['python', '-m', spec.name] if spec else ['python', argv[0]]
  for word in argv[1:]:
    key, equals, value = word.partition('=')
    if key.lstrip('-') != 'data_dir':
      words.append(f'{key}{equals}{local(value)}')
  return shlex.join(words)


def local(path: str) -> str:
  """Returns the last part of an absolute path, any other path as it is."""
  absolute = path.startswith('/')
  return os.path.basename(os.path.normpath(path)) if absolute else path
