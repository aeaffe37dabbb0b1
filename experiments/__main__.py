"""Lists the programs and what to type next; starts one, of `esmm-jax`.

  python -m experiments
"""

import ast
import os
import runpy
import shlex
import sys

from esmm_jax import streams, system_errors
from esmm_jax.entry import commands
from esmm_jax.types import suggest

from esmm_jax.experiments import cli

# In the order in which one meets them; others follow by name.
FIRST = (
    *('demo', 'train', 'report', 'evaluate', 'calibrate', 'predict', 'export'),
    *('sweep', 'table', 'prepare_data', 'doctor'),
)
HIDDEN = ('cli', 'console', 'file_flags', 'load')


def programs() -> dict[str, str]:
  """Returns program -> its docstring, read without importing it."""
  folder = os.path.dirname(os.path.abspath(__file__))
  docs = {}
  for file in os.listdir(folder):
    name = file.removesuffix('.py')
    if name.startswith('_') or name in HIDDEN or name == file:
      continue
    with open(os.path.join(folder, file), encoding='utf-8') as f:
      tree = ast.parse(f.read())
    docs[name] = ast.get_docstring(tree, clean=False) or ''
  return {name: docs[name] for name in (*FIRST, *sorted(docs))}


def text() -> str:
  """Returns the list, first commands and the exit codes."""
  lines = ['Click and conversion models in JAX. Programs:', '']
  for name, doc in programs().items():
    lines.append(f'  {name:14} {doc.partition(chr(10))[0]}')
  lines += ['', 'To begin with, in a few seconds:', '']
  lines += [
      '  python -m experiments.train --config=configs/esmm.py:smoke'
      ' --workdir=runs/s',
      '  python -m experiments.report --workdir=runs/s',
  ]
  lines += ['', f'{commands.command("NAME")} --help lists its flags.']
  lines += ['Exit codes:', '']
  lines += [f'  {code:3}  {text}' for code, text in cli.EXIT_CODES.items()]
  return commands.adapted('\n'.join(lines))


def main(arguments: list[str]) -> int:
  """Prints the list, or what a misspelt program may have meant."""
  streams.guard()
  streams.only_prints()
  wrong = [a for a in arguments if a not in cli.HELP and a != 'help']
  if not wrong:
    print(text())
    if error := streams.lost():
      streams.complain(f'error: stdout: {system_errors.told(error)}')
    return 1 if error else 0
  name, *rest = wrong
  if name in programs():
    whole = f'{commands.command(name)} {shlex.join(rest)}'.rstrip()
    streams.complain(f'error: with a dot: {whole}')
  else:
    streams.complain(
        f'error: there is no program {name!r}. {suggest(name, programs())}'
    )
  return 2


def script() -> int:
  """Starts the program that the first argument names: `esmm-jax train`."""
  commands.by_script()
  name, *rest = *sys.argv[1:], ''
  if name == 'help':  # Of a program, as `--help` behind it.
    name, rest = rest[0], ['--help', '']
  if name not in programs():
    return main(sys.argv[1:])
  sys.argv = [f'{commands.SCRIPT} {name}', *rest[:-1]]
  # As `python -m` does: absl shows docstring and flags of what is __main__.
  module = f'{__name__.rpartition(".")[0]}.{name}'
  runpy.run_module(module, run_name='__main__', alter_sys=True)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
