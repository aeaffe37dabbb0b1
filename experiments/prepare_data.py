"""Prepares a data set, or writes simulated data as raw files.

  python -m experiments.prepare_data --dataset=ali_ccp --raw_dir=RAW
  python -m experiments.prepare_data --dataset=synthetic_funnel --as_raw \
    --raw_dir=RAW --option=preset=tiny
  python -m experiments.prepare_data --config=configs/esmm.py:tabular \
    --config.dataset.files=log.parquet --config.dataset.id=user,item

RAW holds the files as they were published; for Ali-CCP these are the four CSV
files or the two archives, which are read without unpacking them. The prepared
data goes to --data_dir. An interrupted call leaves nothing that looks finished;
a second call prepares nothing and prints the same report. With --config it is
the data that training with the same --config and --config.dataset flags reads;
training prepares it too where it is missing. --workers=N prepares a log of your
own in N processes, the same bytes.
"""

import ast
import contextlib
import os
import shutil
from typing import Any

from absl import flags
from esmm_jax import streams
from esmm_jax.printable import printable
from esmm_jax.types import InputError

from esmm_jax.experiments import cli, console, file_flags, load

cli.define_config()
cli.define_data_dir()
file_flags.define_engine()
_DATASET = flags.DEFINE_string('dataset', None, 'Name of the data set.')
_RAW_DIR = file_flags.define_path(
    'raw_dir', '', 'Folder of the raw files; --as_raw writes them there.'
)
_OPTION = flags.DEFINE_multi_string(
    'option',
    [],
    'KEY=VALUE, an option of the data set as in the config\'s section'
    ' `dataset`, for example --option=preset=aitm18. May be repeated.',
)
_AS_RAW = flags.DEFINE_boolean(
    'as_raw',
    False,
    'Write the simulated log of synthetic_funnel in the format of Ali-CCP.',
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.training import parts
  from esmm_jax.data import DATASETS

  if flags.FLAGS['config'].value is not None:
    for flag in ('dataset', 'raw_dir', 'option', 'as_raw'):
      if flags.FLAGS[flag].value:
        raise cli.UsageError(
            f'--{flag} and --config exclude each other; set one. A key of'
            ' the config is changed by --config.dataset.KEY=VALUE.'
        )
    from esmm_jax.plugins import loading as plugins
    from esmm_jax.protocols import use as protocols
    from esmm_jax.warm_start.resolve import resolve

    config = cli.require('config', 'configs/esmm.py:tabular')
    if config.get('refit_of'):
      config = load.refitted(config, '', cli.set_keys())
    plugins.use(config)
    _prepare(resolve(protocols.resolve(config)).dataset)
    return
  name = cli.require('dataset', 'ali_ccp')
  options = _options(_OPTION.value)
  if _AS_RAW.value:
    _write_raw(name, options)
    return
  if _RAW_DIR.value:
    options['raw_dir'] = _RAW_DIR.value
  parts.named(DATASETS, name, '--dataset')
  _prepare({'name': name, **options})


def _prepare(options: Any) -> None:
  """Prepares the data set of a config's section `dataset`."""
  from esmm_jax.data.store import remote_data
  from esmm_jax.training import parts

  builder = parts.data_builder(options, flags.FLAGS.data_dir)
  before = bool(builder.info.splits)
  with file_flags.engine():
    builder.prepare()
  folder = remote_data.shown(os.fspath(builder.data_path))
  console.say(f'Prepared{" before" if before else ""}: {folder}')
  for line in builder.report_lines():
    console.say(line)
  for text in builder.warnings:
    console.warn(text)
  if not builder.tells_gaps:
    _look(builder)


def _look(builder: Any) -> None:
  """Says how often each event and gap is, by split; warns of what is odd."""
  from esmm_jax.first_look import gaps, leaks, rates

  tasks, splits = builder.schema.tasks, list(builder.info.splits)
  of_splits = {s: rates.of_split(builder, s, tasks) for s in splits}
  shares = {s: gaps.of_split(builder, s) for s in splits}
  for lines in (
      rates.table(of_splits, tasks),
      gaps.table(shares, 'missing'),
      gaps.table(shares, 'unseen'),
  ):
    for line in lines:
      console.say(printable(line))
    console.say('')
  for split in splits[1:]:
    for text in gaps.warnings(shares[split], split):
      console.warn(text)
  for text in leaks.warnings(builder, splits[0], tasks):
    console.warn(text)


def _write_raw(name: str, options: dict[str, Any]) -> None:
  """Writes the simulated log as raw files of Ali-CCP."""
  from esmm_jax.data.simulator.config import simulator_config
  from esmm_jax.data.simulator.raw import write_raw_files

  if name != 'synthetic_funnel':
    raise InputError(
        f'--as_raw is for --dataset=synthetic_funnel, not {name!r}.'
    )
  folder = cli.require('raw_dir', 'raw')
  config = simulator_config(options.pop('preset', 'default'), **options)
  total = max(high for _, high in config.splits.values())
  with streams.bar(
      total=total,
      desc='Writing raw files',
      unit=' rows',
      unit_scale=True,
      disable=None,
  ) as bar:
    write_raw_files(config, folder, bar.update)
  used = sum(
      os.path.getsize(os.path.join(folder, f))
      for f in os.listdir(folder)
      if f.endswith('.csv')
  )
  free = shutil.disk_usage(folder).free
  console.say(
      f'Written: {folder}, {used / 1e6:,.0f} MB ({free / 1e9:,.0f} GB left)'
  )


def _options(texts: list[str]) -> dict[str, Any]:
  """Parses KEY=VALUE texts; numbers and booleans are written as in Python.

  Raises:
    InputError: A text has no =, or a key comes twice.
  """
  options = {}
  for text in texts:
    key, equals, value = text.partition('=')
    if not equals or not key:
      raise InputError(f'--option={text}: write KEY=VALUE, for example'
                       ' preset=aitm18.')
    if key in options:
      raise InputError(f'--option={text}: {key} is set twice.')
    options[key] = value
    # A text is taken as it stands: quotes in it are of names of columns.
    with contextlib.suppress(ValueError, SyntaxError):
      parsed = ast.literal_eval(value)
      options[key] = value if isinstance(parsed, (str, tuple)) else parsed
  return options


if __name__ == '__main__':
  cli.run(main, steps=False)
