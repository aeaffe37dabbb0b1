"""Writes a config file from a pipeline config of EasyRec.

  python -m experiments.import_easyrec --input=esmm.config --output=my_esmm.py
  python -m experiments.train --config=my_esmm.py --workdir=runs/my_esmm

Reads ESMM, MMoE, PLE, DBMTL, SimpleMultiTask and AITM with a click and a
conversion, and such models of TorchEasyRec. An option that cannot be carried
over, or not exactly, is printed with its line and noted in the file.
docs/easyrec.md has the table of options.
"""

from collections.abc import Iterable
import os
import shlex
import tempfile
import textwrap
from typing import Any

from absl import flags
from esmm_jax import system_errors
from esmm_jax.entry import commands
from esmm_jax.printable import printable

from esmm_jax.experiments import cli, console, file_flags, load

_INPUT = file_flags.define_path('input', None, 'Pipeline config of EasyRec.')
_OUTPUT = file_flags.define_path(
    'output', None, 'Config file to write, NAME.py.'
)
file_flags.define_overwrite()
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax import whole_files

  path = cli.require('input', 'esmm.config')
  output = cli.require('output', 'my_esmm.py')
  if not output.endswith('.py'):
    raise cli.InputError(f'--output={output}: its name must end in .py.')
  file_flags.check_output(output)
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
    converted, file = checked(text, os.path.basename(path), output)
  except cli.InputError as e:
    raise cli.InputError(f'{path}: {e}') from e
  try:
    whole_files.write_text(output, file)
  except OSError as e:
    raise cli.InputError(f'--output={output}: {system_errors.told(e)}') from e
  for note in converted.notes:
    console.say(note)
  num = len(converted.settings)
  console.say(f'{output}: configs/{converted.base}.py with {num} settings')


def checked(text: str, source: str, output: str) -> tuple[Any, str]:
  """Converts a pipeline config, and loads what is to be written.

  Args:
    text: The pipeline config.
    source: Its name.
    output: Path of the config file.

  Returns:
    What `convert` returns; the text of the config file.

  Raises:
    InputError: The pipeline config cannot be converted, or a run would refuse
      the config.
  """
  from esmm_jax.easyrec import convert

  from esmm_jax.experiments.sweeping import checks

  converted = convert(text)
  file = _file(converted, source, output)
  try:
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'config.py')
      with open(path, 'w', encoding='utf-8') as f:
        f.write(file)
      try:
        config = load.config(path)
      except cli.InputError as e:  # Without the name of a file that is no more.
        raise cli.InputError(str(e.__cause__ or e)) from e
      checks.run_keys(config, folder, {})
  except cli.InputError as e:
    raise cli.InputError(
        f'what is to be written would be refused: {e} Change that setting'
        ' there, then import it again.'
    ) from e
  return converted, file


def _file(converted, source: str, output: str) -> str:
  """Formats the config as a Python file."""
  name = os.path.basename(output).removesuffix('.py')
  command = shlex.join([
      *commands.command('train').split(), f'--config={output}',
      f'--workdir=runs/{name}'])
  doc = [f'From {source} of EasyRec.', '', f'  {command}', '']
  for note in converted.notes:
    doc += textwrap.wrap(
        note, 78, initial_indent='- ', subsequent_indent='  ')
  settings = [f'      {k!r}: {v!r},' for k, v in converted.settings.items()]
  return '\n'.join([
      f'"""{_in_docstring(doc)}', '"""', '',
      f'from esmm_jax.configs import {converted.base}', '', '',
      'def get_config():',
      f"  config = {converted.base}.get_config('tabular')",
      '  config.update_from_flattened_dict({', *settings, '  })',
      '  return config', ''])


def _in_docstring(lines: Iterable[str]) -> str:
  """Joins lines as they must stand in a docstring, which none of them ends."""
  text = '\n'.join(line.replace('\n', ' ') for line in lines)
  text = printable(text)
  return text.replace('\\', '\\\\').replace('"', '\\"')


if __name__ == '__main__':
  cli.run(main)
