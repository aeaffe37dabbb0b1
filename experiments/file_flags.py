"""Flags that several programs have: paths, rows to read, calibration."""

from collections.abc import Callable, Mapping
import contextlib
import os
from typing import Any

from absl import flags
from esmm_jax import paths, replaceable, streams
from esmm_jax.entry import commands
from esmm_jax.types import InputError

_FORM = {
    'separator': "Between the columns of CSV files: a character, or 'tab'.",
    'header': "Of CSV files: 'none', or the names of the columns.",
    'encoding': 'Of CSV files: a codec of Python, as gbk.',
    'null_values': 'Texts of CSV files that are missing values; with commas.',
    'quote': "Of CSV files: a character, or 'none'.",
    'format': "'csv' or 'parquet', of files whose names do not say so.",
}


class _Path(flags.ArgumentParser):
  """Paths of this machine: `~` and `file://` are replaced."""

  def parse(self, argument: str) -> str:
    return paths.expand(argument)

  def flag_type(self) -> str:
    return 'path'


# The flags are those of the program that calls the functions.
flags.disclaim_key_flags()


def define_path(name: str, default: str | None, text: str) -> Any:
  """Defines a flag that is a path of this machine.

  Args:
    name: Of the flag.
    default: Its value where it is not set.
    text: For --help.

  Returns:
    The flag's holder.
  """
  return flags.DEFINE(_Path(), name, default, text)


def define_compilation_cache() -> None:
  """Defines --compilation_cache, which `kept_programs` reads."""
  define_path(
      'compilation_cache',
      None,
      'Folder of compiled programs, which the next run need not compile again;'
      " '' for none. Default: compiled/ in --data_dir.",
  )


def kept_programs() -> contextlib.AbstractContextManager[None]:
  """Keeps what is compiled in the block, as --compilation_cache says."""
  from esmm_jax.doctor import compiled
  from esmm_jax.storage import cache
  from esmm_jax.training import parts

  folder = flags.FLAGS.compilation_cache
  if folder is None:
    data_dir = cache.here(flags.FLAGS.data_dir or parts.DEFAULT_DATA_DIR)
    folder = os.path.join(data_dir, 'compiled')
  return compiled.kept(folder)


def define_engine(
    does: str = 'prepares data',
    workers: str = 'Processes that prepare data, which is the same to the byte.'
    ' Default: the cores, but one for each 128 MB of files of your own.',
) -> None:
  """Defines --engine, --workers and --ray_address, which `engine` reads.

  Args:
    does: Work of the engine, for --help.
    workers: Likewise, of --workers.
  """
  flags.DEFINE_enum(
      'engine',
      'local',
      ['local', 'ray'],
      f'What {does}: processes of this machine, or Ray, which pip installs with'
      " 'esmm_jax[cluster]'.",
  )
  flags.DEFINE_integer(
      'workers', None, workers, lower_bound=1, upper_bound=1024
  )
  flags.DEFINE_string(
      'ray_address',
      '',
      'Of --engine=ray: a running cluster, as 10.0.0.1:6379; default: a Ray of'
      ' its own on this machine, for the time of the command.',
  )


def engine() -> contextlib.AbstractContextManager[None]:
  """Does what is done by part as --engine, --workers and --ray_address say.

  Raises:
    InputError: The number of workers is not possible, or the address is of
      another engine.
  """
  from esmm_jax.engines import choice

  values = flags.FLAGS
  return choice.using(values.engine, values.workers, values.ray_address)


def define_tracking() -> None:
  """Defines --track and --gradient_norm, which `tracking` reads."""
  flags.DEFINE_list(
      'track',
      [],
      'Trackers that follow each run: mlflow, wandb, or MODULE:NAME of your own'
      ' (docs/tracking.md).',
  )
  flags.DEFINE_bool(
      'gradient_norm', False, 'Writes train/gradient_norm; may round otherwise.'
  )


def tracking(group: str = '') -> contextlib.AbstractContextManager[None]:
  """Has runs that are trained in the block followed, as --track says.

  Args:
    group: Folder of the sweep that they belong to; '' without one.

  Raises:
    InputError: A tracker is not known, or not installed.
  """
  from esmm_jax.tracking import using

  name = os.path.basename(os.path.abspath(group)) if group else ''
  return using(flags.FLAGS.track, name, flags.FLAGS.gradient_norm)


def define_runs() -> None:
  """Defines --workdir, of one or several finished runs, and --row."""
  flags.DEFINE_string(
      'workdir',
      None,
      'Folder of a finished run; of several, with commas between, or of a'
      ' sweep, with --row: the mean of their log-odds.',
  )
  flags.DEFINE_string(
      'row',
      '',
      'Of a sweep: the row whose runs are averaged, as its table shows it, with'
      ' commas between values; needless if there is one.',
  )


def runs() -> list[str]:
  """Returns the folders that --workdir and --row name.

  Raises:
    InputError: See `members.folders`.
  """
  from esmm_jax.serving import members

  flag = flags.FLAGS['workdir']
  if flag.present > 1:  # As a shell makes it of --workdir=runs/{a,b}.
    streams.warn(
        f'--workdir is given {flag.present} times, and the last one counts,'
        f' {flag.value}. Several runs stand in one, with commas between.'
    )
  return members.folders(flag.value, flags.FLAGS.row)


def define_form() -> None:
  """Defines --separator, --header and so on, of CSV files."""
  for name, text in _FORM.items():
    more = '' if name == 'format' else ' Default: that of the run.'
    flags.DEFINE_string(name, None, text + more)


def define_rows() -> tuple[Any, Any]:
  """Defines --input and --split; returns their holders."""
  return (
      flags.DEFINE_string(
          'input',
          None,
          'Files, folders, globs, remote paths of fsspec; with commas between.',
      ),
      flags.DEFINE_string(
          'split',
          None,
          "Instead of --input: a split of the run's data, as test.",
      ),
  )


def define_calibration() -> tuple[Any, Any]:
  """Defines --calibrated and --joint; returns their holders."""
  return (
      flags.DEFINE_enum(
          'calibrated',
          'none',
          ['none', 'platt', 'isotonic'],
          f'Calibration, after {commands.command("calibrate")}.',
      ),
      flags.DEFINE_enum(
          'joint',
          'product',
          ['product', 'own'],
          'Calibrated p_ctcvr: product of p_ctr and p_cvr, or calibrated by'
          ' itself.',
      ),
  )


def define_history() -> tuple[Any, Any]:
  """Defines --history and --as_of; returns their holders."""
  return (
      flags.DEFINE_enum(
          'history',
          'auto',
          ['auto', 'replay', 'store'],
          'Of runs with dataset.history: replay counts the earlier rows of the'
          ' files, which need labels; store looks up what the run knows and no'
          ' more; auto replays files that have the labels.',
      ),
      flags.DEFINE_string(
          'as_of',
          None,
          'Of the same: the present, for rows of later times. A time, or a'
          " split of the run's data, as test: nothing of its days is known.",
      ),
  )


def refuse_history_of_split() -> None:
  """Refuses --history and --as_of beside --split.

  Raises:
    InputError: The rows of a split have the history that they were made with.
  """
  for name in ('history', 'as_of'):
    if flags.FLAGS.split and flags.FLAGS[name].present:
      raise InputError(
          f'--{name} is of files (--input): the rows of a split have the'
          ' history that they were prepared with.'
      )


def history_options() -> dict[str, Any]:
  """Returns --history and --as_of, as `score_files` takes them."""
  return {n: flags.FLAGS[n].value for n in ('history', 'as_of')}


def define_overwrite() -> None:
  """Defines --overwrite, which `check_output` asks."""
  flags.DEFINE_bool(
      'overwrite',
      False,
      'Whether a file of --output that exists is replaced, whoever made it.',
  )


def check_output(
    path: str, is_ours: Callable[[str], bool] | None = None
) -> None:
  """Refuses an output that exists, unless the same program made it.

  Args:
    path: The file to write, as --output or its default has it.
    is_ours: See `replaceable.require`.

  Raises:
    InputError: It is somebody else's, and --overwrite is not set; or no file.
  """
  replaceable.require(path, is_ours, flags.FLAGS.overwrite)


def form(dataset: Mapping[str, Any]) -> Any:
  """Returns the form of CSV files: that of a run, changed by the flags.

  Args:
    dataset: The section `dataset` of the run's config.

  Raises:
    InputError: A flag has a value that is not possible.
  """
  from esmm_jax.data.csv_files.dialect import Dialect

  options = {n: dataset.get(n) for n in _FORM}
  if options['format'] == 'parquet':  # What is Parquet shows in its content.
    options['format'] = None
  given = {n: flags.FLAGS[n].value for n in _FORM}
  options |= {n: v for n, v in given.items() if v is not None}
  return Dialect.read(options, prefix='--')
