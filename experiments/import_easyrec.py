"""Writes a config file from a pipeline config of EasyRec.

  python -m experiments.import_easyrec --input=esmm.config --output=my_esmm.py
  python -m experiments.train --config=my_esmm.py --workdir=runs/my_esmm

Reads ESMM, MMoE, PLE, DBMTL, SimpleMultiTask and AITM with a click and a
conversion, and such models of TorchEasyRec. An option that cannot be carried
over, or not exactly, is printed with its line and noted in the file.
docs/easyrec.md has the table of options.
"""

import os
import textwrap

from absl import flags
from esmm_jax import system_errors

from experiments import cli, console, file_flags

_INPUT = file_flags.define_path('input', None, 'Pipeline config of EasyRec.')
_OUTPUT = file_flags.define_path(
    'output', None, 'Config file to write, NAME.py.'
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.easyrec import convert

  path = cli.require('input', 'esmm.config')
  output = cli.require('output', 'my_esmm.py')
  if not output.endswith('.py'):
    raise cli.InputError(f'--output={output}: its name must end in .py.')
  if os.path.exists(output):
    raise cli.InputError(f'--output={output} exists; name another file.')
  try:
    with open(path, encoding='utf-8') as f:
      text = f.read()
  except UnicodeDecodeError as e:
    raise cli.InputError(f'--input={path} cannot be read: {e}') from e
  except OSError as e:
    raise cli.InputError(
        f'--input={path} cannot be read: {system_errors.told(e)}'
    ) from e
  try:
    converted = convert(text)
  except cli.InputError as e:
    raise cli.InputError(f'{path}: {e}') from e
  try:
    with open(output, 'x', encoding='utf-8') as f:
      f.write(_file(converted, os.path.basename(path), output))
  except OSError as e:
    raise cli.InputError(f'--output={output}: {system_errors.told(e)}') from e
  for note in converted.notes:
    console.say(note)
  num = len(converted.settings)
  console.say(f'{output}: configs/{converted.base}.py with {num} settings')


def _file(converted, source: str, output: str) -> str:
  """Formats the config as a Python file."""
  name = os.path.basename(output).removesuffix('.py')
  lines = [f'"""From {source} of EasyRec.', '']
  lines += [
      f'  python -m experiments.train --config={output} --workdir=runs/{name}',
      '']
  for note in converted.notes:
    lines += textwrap.wrap(
        note.replace('\\', '/').replace('"""', "'''"), 78,
        initial_indent='- ', subsequent_indent='  ')
  lines += [
      '"""', '', f'from configs import {converted.base}', '', '',
      'def get_config():', f"  config = {converted.base}.get_config('tabular')",
      '  config.update_from_flattened_dict({']
  lines += [f'      {k!r}: {v!r},' for k, v in converted.settings.items()]
  return '\n'.join([*lines, '  })', '  return config', ''])


if __name__ == '__main__':
  cli.run(main)
