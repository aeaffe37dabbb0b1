"""What the programs share: flags, errors in one line, tables, exit codes.

Exit codes: 0 done, 1 the input is wrong (one line on stderr says what and what
to do), 2 the command line is wrong, 3 a loss was not finite.
"""

from collections.abc import Callable, Mapping
import difflib
import sys
from typing import Any

from absl import app, flags, logging
from esmm_jax.types import InputError
from ml_collections import config_dict, config_flags

SHOWN = ('auc', 'gauc', 'logloss', 'calibration')
SHOWN_ENTIRE = ('auc', 'kl', 'ratio', 'ratio_clicked', 'ratio_unclicked')


def define_config() -> None:
  """Defines --config=FILE[:variant] and --config.key=value."""
  config_flags.DEFINE_config_file(
      'config',
      None,
      'Config file and variant, for example configs/esmm.py:smoke. A key of it'
      ' is changed by --config.key=value behind it.',
  )


def define_data_dir() -> None:
  """Defines --data_dir."""
  flags.DEFINE_string(
      'data_dir',
      None,
      'Where prepared data lives; made on first use. Default:'
      ' ~/.cache/esmm_jax.',
  )


def require(name: str, example: str) -> Any:
  """The value of a flag that must be set."""
  value = flags.FLAGS[name].value
  if value is None or value == '':
    raise InputError(f'--{name} is not set; for example --{name}={example}.')
  return value


def run(main: Callable[..., Any], positional: bool = False) -> None:
  """Parses the flags, runs, and turns an InputError into one line.

  Args:
    main: Called without arguments, or with argv if `positional`.
    positional: Whether there may be arguments that are no flags.
  """

  logging.set_verbosity(logging.WARNING)

  def guarded(argv):
    if len(argv) > 1 and not positional:
      _exit(2, f'unexpected argument {argv[1]!r}; flags begin with --.')
    try:
      main(*([argv] if positional else []))
    except InputError as e:
      _exit(1, str(e))
    except FloatingPointError as e:
      _exit(3, str(e))
    except KeyboardInterrupt:
      _exit(130, 'interrupted; the same command goes on where it stopped.')

  app.run(guarded, flags_parser=_parse)


def print_results(runs: Mapping[str, Mapping[str, Any]]) -> None:
  """One table of test metrics for each task, runs below each other."""
  from rich.console import Console
  from rich.table import Table

  console = Console(soft_wrap=True)
  for task in ('ctr', 'cvr_clicked', 'ctcvr', 'cvr_entire'):
    names = SHOWN_ENTIRE if task == 'cvr_entire' else SHOWN
    keys = [f'test/{task}/{n}' for n in names]
    keys = [k for k in keys if any(r.get(k) is not None for r in runs.values())]
    if not keys:
      continue
    table = Table(title=f'test/{task}', title_justify='left')
    table.add_column('run')
    for key in keys:
      table.add_column(key.rsplit('/', 1)[1], justify='right')
    for run_name, results in runs.items():
      table.add_row(run_name, *[_number(results.get(k)) for k in keys])
    console.print(table)
  for run_name, results in runs.items():
    if results.get('examples_per_second'):
      rate = f'{results["examples_per_second"]:,.0f} examples/s'
      console.print(
          f'{run_name}: {results["steps"]:,} steps, selected'
          f' {results["selected_step"]:,}, {results["num_params"]:,}'
          f' parameters, {rate}',
          highlight=False,
      )


def _number(value: float | None) -> str:
  if value is None:
    return '-'
  return f'{value:.4f}' if abs(value) >= 0.05 else f'{value:.6f}'


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a mistake in them is one line, not a traceback."""
  try:
    return app.parse_flags_with_usage(argv)
  except (AttributeError, KeyError) as e:
    _exit(2, _unknown_key(argv) or f'--config: {e}')
  except (OSError, ValueError, TypeError, InputError) as e:
    _exit(2, f'--config: {e}')


def _unknown_key(argv: list[str]) -> str | None:
  """Names the --config.key that the config lacks, and the near one."""
  config = flags.FLAGS['config'].value if 'config' in flags.FLAGS else None
  if config is None:
    return None
  for arg in argv:
    if not arg.startswith('--config.'):
      continue
    node = config
    for part in arg[len('--config.') :].split('=')[0].split('.'):
      known = list(node) if isinstance(node, config_dict.ConfigDict) else []
      if part in known:
        node = node[part]
        continue
      near = difflib.get_close_matches(part, known, n=1)
      hint = f' did you mean {near[0]!r}?' if near else ''
      return (
          f'{arg.split("=")[0]}: the config has no key {part!r};{hint} There'
          f' are: {", ".join(sorted(known))}.'
      )
  return None


def _exit(code: int, message: str) -> None:
  print('error: ' + ' '.join(message.split()), file=sys.stderr)
  sys.exit(code)
