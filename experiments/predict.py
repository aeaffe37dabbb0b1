r"""Scores new rows with a finished run, or with the mean of several.

  python -m experiments.predict --workdir=runs/esmm --input='log/*.parquet' \
    --output=scores.parquet [--key=user,item] [--calibrated=platt]
  python -m experiments.predict --workdir=runs/esmm --split=test \
    --output=scores.parquet

--input is one or many Parquet or CSV files, with the columns that the data of
the run had; the output, Parquet or CSV as its ending says, or a folder of such
files (--output=scores/), has a row for each, in their order: the key (or file
and row number) and p_ctr, p_cvr, p_ctcvr. p_cvr is given the click, of every
row. Values that training never saw are counted. --workdir=a,b,c scores with the
mean of the log-odds of several runs, and so does the folder of a sweep with
--row. After a kill the same command resumes. --workers=N scores files in N
processes, --engine=ray on a cluster.
docs/predictions.md and docs/cluster.md have the details.
"""

from collections.abc import Iterator
import contextlib
import time
from typing import Any

from absl import flags

from esmm_jax.experiments import cli, console, file_flags

file_flags.define_runs()
_INPUT, _SPLIT = file_flags.define_rows()
_OUTPUT = file_flags.define_path(
    'output',
    None,
    'File to write: .parquet, .pq, .csv or .csv.gz, or a URL of one as'
    ' s3://bucket/scores.parquet; or a folder, with / at its end, for a file of'
    ' each part.',
)
_FORMAT = flags.DEFINE_enum(
    'output_format',
    None,
    ['parquet', 'csv', 'csv.gz'],
    'Of the files of a folder. Default: as its name ends (scores.csv/), else'
    ' parquet.',
)
_KEY = flags.DEFINE_string(
    'key',
    '',
    'Columns of the input to copy, with commas between; default: file and row'
    ' number.',
)
_CALIBRATED, _JOINT = file_flags.define_calibration()
file_flags.define_history()
_BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', None, 'Rows of a batch; default: the eval_batch_size.'
)
_PART_ROWS = flags.DEFINE_integer(
    'part_rows', 1 << 18, 'Rows of a part; a killed command repeats one.'
)
cli.define_data_dir()
file_flags.define_engine(
    'scores files',
    'Processes that score files, each with the model in its memory; the scores'
    ' are the same to the bit. Default: one; of Ray all processors.',
)
file_flags.define_overwrite()
file_flags.define_form()
flags.adopt_module_key_flags(cli)


def main() -> None:
  cli.require('workdir', 'runs/esmm')
  output = cli.require('output', 'scores.parquet')
  if bool(_INPUT.value) == bool(_SPLIT.value):
    raise cli.InputError(
        'set one of --input (files) and --split (of the data of the run).'
    )
  if _SPLIT.value and _KEY.value:
    raise cli.InputError('--key is of files; a split has row numbers.')
  file_flags.refuse_history_of_split()
  if _SPLIT.value and _are_workers():
    raise cli.InputError(
        '--engine=ray and --workers are of files (--input): a split is scored'
        ' by one process.'
    )

  from esmm_jax.data.tabular import unseen
  from esmm_jax.serving.targets import choice

  form = _FORMAT.value or ''
  choice.of(output, form, flags.FLAGS.overwrite).check()
  counts = unseen.Counts()
  with _workers() as workers:
    num, rate, in_log = _score(output, counts, workers)
  console.say(f'{output}: {num:,} rows, {rate:,.0f} rows/s')
  for line in unseen.lines(counts.shares(), in_log):
    console.say(line)


def _are_workers() -> bool:
  """Returns whether other processes than this one are to score."""
  return flags.FLAGS.engine != 'local' or (flags.FLAGS.workers or 1) > 1


@contextlib.contextmanager
def _workers() -> Iterator[Any]:
  """Opens the workers, before JAX has threads; None: this process scores."""
  if not _are_workers():
    with file_flags.engine():  # Refuses what is of other engines.
      yield None
    return
  from esmm_jax.engines import choice
  from esmm_jax.serving import BatchScorer
  from esmm_jax.serving.workers.by_span import Workers

  scorer = BatchScorer(
      file_flags.runs(),
      batch_size=_BATCH_SIZE.value,
      data_dir=flags.FLAGS.data_dir,
  )
  with file_flags.engine(), choice.opened(0) as engine:
    yield Workers(engine, scorer)


def _score(output: str, counts: Any, workers: Any) -> tuple[int, float, Any]:
  """Scores; returns the rows, rows a second, and the run's `unseen_in_log`."""
  import esmm_jax
  from esmm_jax.training import parts
  from esmm_jax.data.csv_files import quoted_names
  from esmm_jax.data.files import row_files
  from esmm_jax.serving import scoring

  data_dir = flags.FLAGS.data_dir
  predictor = esmm_jax.load(file_flags.runs(), _BATCH_SIZE.value, data_dir)
  form = file_flags.form(predictor.config.dataset)
  patterns = quoted_names.split_names(_INPUT.value or '')
  files = row_files.find(patterns, dialect=form)
  options = dict(
      calibrated=_CALIBRATED.value,
      joint=_JOINT.value,
      part_rows=_PART_ROWS.value,
      overwrite=flags.FLAGS.overwrite,
      output_format=_FORMAT.value or '',
  )
  start = time.perf_counter()
  if _SPLIT.value:
    builder = parts.dataset(predictor.config.dataset, data_dir)
    num = scoring.score_split(
        predictor, builder, _SPLIT.value, output, **options
    )
  else:
    num = scoring.score_files(
        predictor,
        files,
        output,
        _KEY.value,
        dialect=form,
        counts=counts,
        workers=workers,
        **file_flags.history_options(),
        **options,
    )
  rate = num / (time.perf_counter() - start)
  return num, rate, predictor.unseen_in_log


if __name__ == '__main__':
  cli.run(main)
