r"""Scores new rows with a finished run, or with the mean of several.

  python -m experiments.predict --workdir=runs/esmm --input='log/*.parquet' \
    --output=scores.parquet [--key=user,item] [--calibrated=platt]
  python -m experiments.predict --workdir=runs/esmm --split=test \
    --output=scores.parquet

--input is one or many Parquet or CSV files, with the columns that the data of
the run had; the output, Parquet or CSV as its ending says, has a row for each,
in their order: the key (or file and row number) and p_ctr, p_cvr, p_ctcvr.
p_cvr is given the click, of every row. Values that training never saw are
counted. --workdir=a,b,c scores with the mean of the log-odds of several runs,
and so does the folder of a sweep with --row. After a kill the same command
resumes. docs/predictions.md has the details.
"""

import time

from absl import flags

from experiments import cli, console, file_flags

file_flags.define_runs()
_INPUT, _SPLIT = file_flags.define_rows()
_OUTPUT = file_flags.define_path(
    'output', None, 'File to write: .parquet, .pq, .csv or .csv.gz.'
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

  import esmm_jax
  from esmm_jax.training import parts
  from esmm_jax.data.csv_files import quoted_names
  from esmm_jax.data.files import row_files
  from esmm_jax.data.tabular import unseen
  from esmm_jax.serving import outputs, scoring

  outputs.check(output)
  overwrite = flags.FLAGS.overwrite
  scoring.check_output(output, overwrite)
  data_dir = flags.FLAGS.data_dir
  predictor = esmm_jax.load(file_flags.runs(), _BATCH_SIZE.value, data_dir)
  form = file_flags.form(predictor.config.dataset)
  patterns = quoted_names.split_names(_INPUT.value or '')
  files = row_files.find(patterns, dialect=form)
  options = dict(
      calibrated=_CALIBRATED.value,
      joint=_JOINT.value,
      part_rows=_PART_ROWS.value,
      overwrite=overwrite,
  )
  counts = unseen.Counts()
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
        **file_flags.history_options(),
        **options,
    )
  rate = num / (time.perf_counter() - start)
  console.say(f'{output}: {num:,} rows, {rate:,.0f} rows/s')
  for line in unseen.lines(counts.shares(), predictor.unseen_in_log):
    console.say(line)


if __name__ == '__main__':
  cli.run(main)
