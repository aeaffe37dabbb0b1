r"""Evaluates a finished run, or the mean of several, on new labelled rows.

  python -m experiments.evaluate --workdir=runs/esmm --input='new/*.parquet'
  python -m experiments.evaluate --workdir=runs/esmm --split=test --by=tab

--input is one or many Parquet or CSV files with the columns that the run's log
had, those of the labels too. The metrics are those of training, by sample
space; --by=COLUMN adds those of its most frequent values, --by=unseen:COLUMN
those of the rows whose ids training saw, and did not see. They are printed and
written to --output, by default WORKDIR/evaluation.json. --workdir=a,b,c takes
the mean of the log-odds of several runs, and so does the folder of a sweep with
--row.
docs/after_the_first_run.md has the details.
"""

from collections.abc import Iterator, Mapping
import math
import os
from typing import Any

from absl import flags
from esmm_jax import paths, streams

from esmm_jax.experiments import cli, console, file_flags

file_flags.define_runs()
_INPUT, _SPLIT = file_flags.define_rows()
_OUTPUT = file_flags.define_path(
    'output', None, 'JSON file to write; default: WORKDIR/evaluation.json.'
)
_BY = flags.DEFINE_string(
    'by',
    '',
    'Column whose most frequent values get metrics of their own; unseen:COLUMN:'
    ' ids that training has seen, and has not.',
)
_CALIBRATED, _JOINT = file_flags.define_calibration()
file_flags.define_history()
cli.define_data_dir()
file_flags.define_overwrite()
file_flags.define_form()
flags.adopt_module_key_flags(cli)


def main() -> None:
  folders, output = _runs_and_output()

  import esmm_jax
  from esmm_jax import histories
  from esmm_jax.data.csv_files import quoted_names
  from esmm_jax.data.files import row_files
  from esmm_jax.json_files import write_json
  from esmm_jax.serving import evaluation, members
  from esmm_jax.training import parts

  data_dir = flags.FLAGS.data_dir
  predictor = esmm_jax.load(folders, data_dir=data_dir)
  if _CALIBRATED.value != 'none':  # Before all rows are scored.
    predictor.calibrators(_CALIBRATED.value)
  form = file_flags.form(predictor.config.dataset)
  patterns = quoted_names.split_names(_INPUT.value or '')
  files = row_files.find(patterns, dialect=form)
  options = (_by(), _CALIBRATED.value, _JOINT.value)
  if _SPLIT.value:
    builder = parts.dataset(predictor.config.dataset, data_dir)
    _warn_of_trained(predictor, builder, _SPLIT.value)
    result = evaluation.evaluate_split(
        predictor, builder, _SPLIT.value, *options
    )
    what: dict[str, Any] = {'split': _SPLIT.value}
  else:
    result = evaluation.evaluate_files(
        predictor, files, form, *options, **file_flags.history_options()
    )
    what = {'input': [file.path for file in files]}
  what |= {
      'run': folders[0] if len(folders) == 1 else folders,
      'selected_step': predictor.results.get('selected_step'),
      'calibrated': _CALIBRATED.value,
  }
  told = {k: v for k, v in predictor.about().items() if k == 'members'}
  protocol = predictor.history_protocol
  write_json(output, what | told | histories.noted(protocol) | result)
  name = members.mean_name(folders)
  title = f'split {_SPLIT.value}' if _SPLIT.value else _INPUT.value
  title = f'{title}: {result["rows"]:,} rows'
  _print(name, title, protocol, result, predictor.unseen_in_log)
  console.say(f'Written: {output}')


def _runs_and_output() -> tuple[list[str], str]:
  """Returns the folders of the runs and the file to write, checked.

  Raises:
    InputError: A flag is missing, or goes with none of the others.
  """
  cli.require('workdir', 'runs/esmm')
  if bool(_INPUT.value) == bool(_SPLIT.value):
    raise cli.UsageError(
        'set one of --input (labelled files) and --split (of the data of the'
        ' run).'
    )
  folders = file_flags.runs()
  if len(folders) > 1 and not _OUTPUT.value:
    raise cli.UsageError(
        '--output is not set: the mean of several runs has no folder. Name a'
        ' JSON file.'
    )
  file_flags.refuse_history_of_split()
  output = _OUTPUT.value or os.path.join(folders[0], 'evaluation.json')
  paths.refuse_remote(
      os.path.dirname(output), '--output', 'Name a file of it, and copy it.'
  )
  if _OUTPUT.value and not os.path.isdir(os.path.dirname(output) or '.'):
    raise cli.InputError(
        f'--output={output}: there is no folder {os.path.dirname(output)}.'
    )
  file_flags.check_output(output, _is_evaluation)
  return folders, output


def _warn_of_trained(predictor: Any, builder: Any, split: str) -> None:
  """Says how many rows of a split a refit was trained on."""
  refits = {
      member.config.dataset.train_split: member.folder
      for member in predictor.members
      if member.results.get('refit_of')
  }  # Whoever names the training split of another run knows.
  for trained, folder in refits.items():
    name = 'this run' if len(predictor.members) == 1 else folder
    if num := builder.num_shared(trained, split):
      streams.warn(
          f'{name} is a refit, trained on {trained!r}: {num:,} rows of'
          f' {split!r} are among them, and what is measured there promises too'
          ' much.'
      )


def _is_evaluation(path: str) -> bool:
  """Returns whether a file is an evaluation that this program has written."""
  from esmm_jax.json_files import read_json

  try:
    saved = read_json(path)
  except cli.InputError:
    return False
  keys = ('run', 'selected_step', 'calibrated', 'rows')
  return isinstance(saved, dict) and all(key in saved for key in keys)


def _by() -> str:
  """Returns the column of --by without the quotes that a name may have."""
  from esmm_jax.data.csv_files import quoted_names

  return quoted_names.unquote(_BY.value)


def _print(
    name: str,
    title: str,
    protocol: str,
    result: Mapping[str, Any],
    in_log: Mapping[str, Any],
) -> None:
  """Prints the metrics, of segments too, and what to know about the rows."""
  from esmm_jax import histories
  from esmm_jax.serving import segments

  metrics = _of(result, '') | histories.noted(protocol)
  console.print_results({name: metrics}, title, console.WITH_RANKS)
  parts = {
      part: _of(result, f'by/{part}/')
      for part in segments.names(result)
      if not result[f'by/{part}/small']
  }
  if parts:
    console.print_results(parts, f'by {_by()}')
  if knows := histories.meaning(protocol):
    console.say(f'history: {knows}')
  for line in _notes(result, in_log):
    console.say(line)


def _of(result: Mapping[str, Any], prefix: str) -> dict[str, Any]:
  """Returns the metrics behind a prefix, `test/space/metric` -> value."""
  metrics = {}
  for key, value in result.items():
    name = key.removeprefix(prefix)
    # The value of another segment may begin with this one's and a slash.
    if key.startswith(prefix) and name.count('/') == 1:
      metrics[f'test/{name}'] = value
  return metrics


def _notes(
    result: Mapping[str, Any], in_log: Mapping[str, Any]
) -> Iterator[str]:
  """Yields what to know about the rows, a line each."""
  from esmm_jax.data.tabular import unseen
  from esmm_jax.serving import segments

  if result['left_out']:
    yield (
        f'left out, by the rule for conversions without a click:'
        f' {result["left_out"]:,} rows'
    )
  undefined = [
      key.partition('/')[0]
      for key, value in result.items()
      if key.count('/') == 1 and key.endswith('/auc') and math.isnan(value)
  ]
  if undefined:
    yield (
        'not defined, because all rows of the space have one label: AUC of'
        f' {", ".join(undefined)}'
    )
  small = [
      f'{part} ({result[f"by/{part}/rows"]:,} rows)'
      for part in segments.names(result)
      if result[f'by/{part}/small']
  ]
  if small:
    yield (
        f'not shown, with fewer than {segments.FEW} rows of a class in some'
        f' space: {", ".join(small)}'
    )
  others = f'by/{_by()}/others'
  if result.get(others):
    rows = result[f'by/{_by()}/other_rows']
    yield (
        f'not evaluated: {result[others]:,} smaller segments with {rows:,} rows'
        ' in all'
    )
  start = 'missing/'
  shares = {
      name: unseen.Share(result[f'missing/{name}'], result[f'unseen/{name}'])
      for name in (k[len(start) :] for k in result if k.startswith(start))
  }
  yield from unseen.lines(shares, in_log)


if __name__ == '__main__':
  cli.run(main)
