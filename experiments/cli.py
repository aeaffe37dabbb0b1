"""Shared by the programs: flags, errors in one line, exit codes.

An error is one line on stderr that says what is wrong and what to do;
`EXIT_CODES` has the meaning of each exit code.
"""

from collections.abc import Callable, Sequence
import os
import re
import sys
from typing import Any

from absl import app, flags, logging
from esmm_jax import paths, streams, system_errors
from esmm_jax.doctor.allocator import keep_scratch, return_arrow_memory
from esmm_jax.entry import commands, shipped
from esmm_jax.plugins import flags as plugin_flags
from esmm_jax.types import InputError
from esmm_jax.workdir import stopping
from esmm_jax.workdir.stopping import Stopped
from esmm_jax.experiments import file_flags, load
from ml_collections import config_flags

HELP = ('--help', '-help', '-h', '--helpshort', '-helpshort', '--helpfull')

# docs/reports.md has the same table (`tests/experiments/test_console.py`).
EXIT_CODES = {
    0: 'done',
    1: 'something in the config, the data or a folder is wrong',
    2: 'the command line is wrong',
    3: 'a loss was not finite',
    6: 'another process of the run was lost: the same command resumes it',
    75: 'stopped by SIGTERM, SIGHUP or SIGXCPU: the same command resumes it',
    130: 'interrupted: the same command resumes from the last checkpoint',
}


# Globals of the module whose `main` runs, for its docstring and its name.
program: dict[str, Any] = {}


class UsageError(InputError):
  """The command line is wrong or lacks a flag."""


# Errors that `run` turns into a line and an exit code.
EXPECTED = (InputError, FloatingPointError, Stopped, OSError)


def define_config() -> None:
  """Defines --config=NAME[:variant] and --config.key=value."""
  config_flags.DEFINE_config_file(
      'config',
      None,
      'Config and variant: a name, as esmm:smoke, or a file, as my.py:small. A'
      ' key of it is changed by --config.key=value behind it.',
      # For loss weights of one's own labels; `_check_keys` refuses the rest.
      lock_config=False,
      accept_new_attributes=True,
  )


def define_data_dir() -> None:
  """Defines --data_dir."""
  file_flags.define_path(
      'data_dir',
      None,
      'Where prepared data lives; made on first use. Default:'
      ' ~/.cache/esmm_jax.',
  )


def require(name: str, example: str) -> Any:
  """Returns the value of a flag that must be set.

  Args:
    name: Of the flag.
    example: A value, for the message.

  Raises:
    UsageError: It is not set.
  """
  value = flags.FLAGS[name].value
  if value is None or value == '':
    doc = program.get('__doc__') or ''
    whole = commands.example(doc) or commands.adapted(f'--{name}={example}')
    raise UsageError(
        f'--{name} is not set. For example: {whole} (--help lists all flags)'
    )
  return value


def config_spec() -> str:
  """Returns --config as a path that names the config on every machine."""
  return shipped.portable(paths.expand(program['config']))


def set_keys() -> dict[str, Any]:
  """Returns the flat keys that --config.KEY=VALUE has set."""
  return dict(config_flags.get_override_values(flags.FLAGS['config']))


def typed() -> list[str]:
  """Returns the arguments of this process as they were typed."""
  return program['argv']


def command(argv: Sequence[str]) -> str:
  """Returns this command; see `commands.of`.

  Args:
    argv: The program and its arguments.
  """
  return commands.of(program.get('__spec__'), argv)


def make_folder(flag: str, path: str, *parts: str) -> None:
  """Makes the folder that a flag names, or one inside it.

  Raises:
    InputError: It cannot be made.
  """
  try:
    os.makedirs(os.path.join(path, *parts), exist_ok=True)
  except OSError as e:
    raise InputError(
        f'--{flag}={path}:'
        f' {system_errors.told(e, "Name a folder that can be written.")}'
    ) from e


def run(
    main: Callable[..., Any], positional: bool = False, steps: bool = True
) -> None:
  """Parses the flags, calls `main` and turns its errors into one line.

  Args:
    main: Called without arguments, or with argv if `positional`.
    positional: Whether there may be arguments that are no flags.
    steps: Whether the program runs steps of a model; their scratch memory is
      then kept for the next one.
  """
  streams.guard()
  names = main.__globals__
  names['__doc__'] = commands.adapted(names.get('__doc__') or '')
  program.update(names)
  logging.set_verbosity(logging.ERROR)

  def guarded(argv):
    if len(argv) > 1 and not positional:
      _exit(2, f'unexpected argument {argv[1]!r}; flags begin with --.')
    wanted = 'keep_scratch' not in flags.FLAGS or flags.FLAGS.keep_scratch
    if steps and wanted:
      keep_scratch()
    return_arrow_memory()
    try:
      with stopping.ending():
        main(*([argv] if positional else []))
    except UsageError as e:
      _exit(2, str(e))
    except InputError as e:
      _exit(1, str(e))
    except FloatingPointError as e:
      _exit(3, str(e))
    except Stopped as e:
      _exit(e.code, str(e))
    except OSError as e:
      _exit(1, _of_system(e))
    except MemoryError as e:
      why = str(e) or 'none is left'
      _exit(1, f'not enough memory: {why}. Take a machine with more of it.')
    except KeyboardInterrupt:
      _exit(130, 'interrupted; the same command resumes where it stopped.')

  try:
    app.run(guarded, flags_parser=_parse)
  except SystemExit as e:
    error = streams.lost()
    if error and not e.code:
      _exit(1, f'stdout: {system_errors.told(error)}')
    raise


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a mistake in them is one line, not a traceback."""
  if any(a in HELP for a in argv):
    streams.only_prints()
    try:
      return app.parse_flags_with_usage(argv)
    except SystemExit:
      sys.exit(0)  # absl exits with 1, though it did what was asked.
  program['argv'] = list(argv)
  # In place: the flag of the config reads its keys from sys.argv.
  try:
    words = plugin_flags.from_words(_with_one_config(argv))
  except InputError as e:
    _exit(1, str(e))
  config = _load_config(words)  # Its errors name it as it was typed.
  argv[:] = [_with_full_key(arg) for arg in words]
  if config is not None:
    _check_keys(argv, config)
    argv[:] = load.last_of_tuples(argv, config)
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    _exit(2, f'{e}')


def _load_config(argv: list[str]) -> Any:
  """Loads the config that --config names, before any key is changed."""
  for arg in argv:
    if arg.lstrip('-').startswith('config='):
      try:
        return load.config(arg.split('=', 1)[1])
      except InputError as e:
        _exit(2, str(e))
  return None


def _with_one_config(argv: Sequence[str]) -> list[str]:
  """Joins `--config FILE` to one word, and keeps the last one alone.

  A second one would lose the keys that were changed.
  """
  words, rest = list(argv[:1]), list(argv[1:])
  specs = []
  while rest:
    word = rest.pop(0)
    if word in ('--config', '-config') and rest:
      word = f'--config={rest.pop(0)}'
    if re.match('--?config=', word):
      specs.append(word)
    else:
      words.append(word)
  return [*words[:1], *specs[-1:], *words[1:]]


def _with_full_key(arg: str) -> str:
  """Completes `--config.log_every=20` to `--config.run.log_every=20`.

  --config becomes the path of a file: its flag reads the file itself.
  """
  if arg.lstrip('-').startswith('config='):
    name, _, spec = arg.partition('=')
    program['config'] = spec
    return f'{name}={shipped.find(spec, "config")}'
  flag = re.match(r'--?(no)?config\.', arg)
  return flag[0] + load.full_key(arg[flag.end() :]) if flag else arg


def _check_keys(argv: list[str], config: Any) -> None:
  """Refuses a --config.key that the config lacks; suggests a similar one."""
  for arg in argv:
    if not arg.startswith('--config.'):
      continue
    name, _, value = arg.partition('=')
    try:
      load.check_key(config, name[len('--config.') :])
    except load.SectionError as e:  # The value is what is wrong.
      _exit(2, f'{name}={value}: {e}')
    except InputError as e:
      _exit(2, f'{name}: {e}')


def _of_system(error: OSError) -> str:
  """Describes what the operating system refused, and what to do."""
  said = system_errors.line(error, 'Look at that file or folder.')
  return f'{said} The same command resumes where it stopped.'


def _exit(code: int, message: str) -> None:
  streams.complain(f'error: {message}')
  jax = sys.modules.get('jax')
  if jax and jax.distributed.is_initialized():
    sys.stdout.flush()
    os._exit(code)  # Others may wait for ever, and JAX for them.
  sys.exit(code)
