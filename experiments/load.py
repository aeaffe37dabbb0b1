"""Config files, table files, and the config of a point of a sweep."""

import ast
from collections.abc import Mapping, Sequence
import contextlib
import os
import runpy
import traceback
from typing import Any

from esmm_jax import streams
from esmm_jax.entry import shipped
from esmm_jax.json_files import read_json
from esmm_jax.plugins import flags as plugin_flags, loading as plugins
from esmm_jax.protocols import use as protocols
from esmm_jax.sweeps.config_keys import check_key, full_key, has_key, is_term
from esmm_jax.sweeps.config_keys import SectionError, set_key
from esmm_jax.sweeps.points import runs, settings
from esmm_jax.sweeps.table import Table
from esmm_jax.types import InputError, suggest
from esmm_jax.workdir import folder, identity
from esmm_jax.workdir.folder import flatten
from ml_collections import config_dict

__all__ = ['check_key', 'full_key', 'has_key', 'is_term', 'SectionError']
_RAW_DIR = 'dataset.raw_dir'


def config(spec: str) -> config_dict.ConfigDict:
  """Loads the config of FILE[:variant], or NAME[:variant] of configs/.

  Raises:
    InputError: There is no such file or variant, or the file is wrong.
  """
  tree = _call(spec, 'get_config', 'config')
  if plugins.load(tree.get(plugins.KEY)):  # Its keys are those of what it adds.
    tree = _call(spec, 'get_config', 'config')
  return tree


def refitted(
    tree: config_dict.ConfigDict, workdir: str, keys: Mapping[str, Any]
) -> config_dict.ConfigDict:
  """Returns the config of the run that `refit_of` names, for this machine.

  Args:
    tree: Names the run; its section `run` is taken.
    workdir: Folder of the refit; '' if it has none.
    keys: Flat keys that a person has set.

  Raises:
    InputError: There is no such run, or the config contradicts it.
  """
  from esmm_jax.serving.restore import to_config
  from esmm_jax.warm_start import refit

  run = tree.refit_of
  saved = refit.config_of(run, workdir, keys)
  now, then = flatten(tree.to_dict()), flatten(saved)
  for key in ('model.name', 'estimator', 'dataset.name'):
    if now.get(key) != then.get(key):
      raise InputError(
          f'refit_of={run}: {key} is {now.get(key)} in --config and'
          f' {then.get(key)} there. Name the config file and variant of that'
          ' run.'
      )
  result = to_config(saved)
  with result.unlocked():
    result.refit_of, result.run = run, tree.run
    moved = {key: keys[key] for key in identity.RAW_DATA_KEYS if key in keys}
    result.update_from_flattened_dict(moved)
  return result


def table(spec: str) -> Table:
  """Loads the table of FILE[:variant], or NAME[:variant] of configs/tables/.

  Raises:
    InputError: There is no such file or variant, or the file is wrong.
  """
  made = _call(spec, 'get_table', 'sweep')
  of_points = [
      {k: v for k, v in p.items() if k in ('config', plugins.KEY)}
      for p in made.points
  ]
  before = len(plugins.PLUGINS.modules)
  for values in {repr(values): values for values in of_points}.values():
    with contextlib.suppress(InputError):  # The runs will say it.
      point(values)
  if len(plugins.PLUGINS.modules) > before:  # What is best in its columns.
    made = _call(spec, 'get_table', 'sweep')
  return made


def _call(spec: str, function: str, flag: str) -> Any:
  """Calls function(variant) of the Python file that `spec` names."""
  path, _, variant = shipped.find(spec, flag).partition(':')
  try:
    module = runpy.run_path(path)
    if function not in module:
      raise InputError(f'the file has no {function}(variant).')
    return module[function](*filter(None, [variant]))
  except InputError as e:
    raise InputError(f'--{flag}={spec}: {e}') from e
  except (Exception, SystemExit) as e:  # Whatever somebody's file does.
    raise InputError(f'--{flag}={spec}: {_told(e, path)}') from e


def _told(error: BaseException, path: str) -> str:
  """Returns an error of a Python file with the line of the file, if it has one.

  Args:
    error: What running the file raised.
    path: The file.
  """
  lines = [
      frame.lineno
      for frame in traceback.extract_tb(error.__traceback__)
      if frame.filename == path
  ]
  named = type(error).__name__ == 'NoVariant'  # Of `configs.variants`.
  where = f'line {lines[-1]}: ' if lines and not named else ''
  if isinstance(error, (TypeError, ValueError, SyntaxError, ImportError)):
    return f'{where}{error}'  # Says by itself what is wrong.
  return f'{where}{type(error).__name__}: {error}'


def point(values: Mapping[str, Any]) -> config_dict.ConfigDict:
  """Builds the config of a point: its file and variant, with its keys set.

  Raises:
    InputError: There is no such file, variant or key, or a value is of another
      type.
  """
  modules = plugins.names(values.get(plugins.KEY))
  plugins.load(modules)  # Their keys are in the config then.
  tree = config(values['config'])
  for key, value in settings(values).items():
    value = modules if key == plugins.KEY else value
    if key != 'config':
      try:
        set_key(tree, key, value)
      except InputError as e:
        raise InputError(f'{values["config"]}: {e}') from e
  return tree


def override(
    trees: Mapping[str, config_dict.ConfigDict], texts: list[str]
) -> None:
  """Sets each KEY=VALUE in every config that has the key.

  Args:
    trees: Run name -> config.
    texts: As on the command line; numbers, tuples and None as Python has them.

  Raises:
    InputError: A text has no =, no config has the key, or the value is of
      another type.
  """
  for text in texts:
    key, equals, value = text.partition('=')
    if not equals:
      raise InputError(
          f'--override={text}: write KEY=VALUE, for example'
          ' dataset.raw_dir=KuaiRand-Pure.'
      )
    matching = [tree for tree in trees.values() if has_key(tree, key)]
    if not matching and trees:
      keys = {k for tree in trees.values() for k in flatten(tree.to_dict())}
      raise InputError(
          f'--override={text}: no config of the sweep has the key {key!r}.'
          f' {suggest(key, keys)}'
      )
    for tree in matching:
      set_key(tree, key, _parsed(tree, key, value))


def todays_configs(
    table: Table, workdir: str
) -> dict[str, dict[str, Any]] | None:
  """Returns the configs that the points of a sweep have today.

  Args:
    table: Its results table.
    workdir: Its folder, whose sweep.json has what --override changed.

  Returns:
    Run -> flat config, as `folder.decisive` returns it; None where they are not
    known: of a sweep of an earlier version, or if a config file is gone.
  """
  try:
    sweep = read_json(os.path.join(workdir, 'sweep.json'))
    if not isinstance(sweep, dict) or 'override' not in sweep:
      return None
    texts = list(map(str, sweep['override']))
    plugin_flags.from_overrides(texts)
    configs = {name: point(p) for name, p in runs(table.points).items()}
    override(configs, texts)
    return {
        name: folder.decisive(folder.record(_resolved(tree)))
        for name, tree in configs.items()
    }
  except (InputError, TypeError) as e:
    streams.warn(
        f'the runs in {workdir} are not compared with their points: {e}'
    )
    return None


def _resolved(tree: config_dict.ConfigDict) -> config_dict.ConfigDict:
  """Returns a config as its run has it, but for what it notes of others."""
  tree = protocols.resolve(tree)
  if tree.get('refit_of'):
    from esmm_jax.warm_start import refit  # It imports the data sets.

    tree = refit.on_all_rows(tree)
  return tree


def finished(tree: config_dict.ConfigDict, workdir: str) -> bool:
  """Returns whether a run is finished, also after its raw data has moved.

  The path of the raw data is no part of the run: config.json of an unfinished
  run gets the new one.

  Raises:
    InputError: The folder is of a run with another config.
  """
  saved = read_json(os.path.join(workdir, 'config.json'))
  as_saved = tree.copy_and_resolve_references()
  moved = saved is not None and has_key(tree, _RAW_DIR)
  if moved:
    as_saved.dataset.raw_dir = flatten(saved).get(_RAW_DIR)
  done = folder.finished(folder.record(as_saved), workdir) is not None
  if moved and not done:
    folder.claim(folder.record(tree), workdir)
  return done


def _parsed(tree: config_dict.ConfigDict, key: str, text: str) -> Any:
  """Parses a value from the command line; a key of type str takes it as is."""
  if key == plugins.KEY:
    return plugin_flags.parsed(text)
  section, _, name = full_key(key).rpartition('.')
  if (tree[section] if section else tree).get_type(name) is str:
    return text
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text  # set_key names the type that it must have.


def last_of_tuples(argv: Sequence[str], config: Any) -> list[str]:
  """Leaves all but the last flag of each tuple out.

  A flag of a single value takes the last one by itself; those of a tuple would
  be joined: (16,) and then (32,) to (16, 32).

  Args:
    argv: The program and its arguments, with full keys (`full_key`).
    config: As its file makes it; tells which keys are tuples.
  """
  kept, seen = [], set()
  words = list(argv)
  while words:
    # From behind: a value that stands alone comes before its flag.
    word = words.pop()
    flag = words[-1] if words else ''
    if '=' not in flag and _is_tuple(flag, config):
      pair, name = [words.pop(), word], flag
    else:
      pair, name = [word], word.partition('=')[0]
    name = name.lstrip('-')
    if _is_tuple(f'--{name}', config):
      if name in seen:
        continue
      seen.add(name)
    kept.append(pair)
  return [word for pair in reversed(kept) for word in pair]


def _is_tuple(flag: str, config: Any) -> bool:
  """Returns whether `--config.key` names a key whose value is a tuple."""
  key = flag.lstrip('-')
  if not flag.startswith('-') or not key.startswith('config.'):
    return False
  key = key.removeprefix('config.')
  if not has_key(config, key) or is_term(config, key):
    return False
  for name in key.split('.'):
    config = config[name]
  return isinstance(config, (tuple, list))
