"""Scores the rows of files, or of a split, into a file or a folder of files.

Parts of the output are finished one by one in a folder, then written into the
`targets`; after a kill the same call resumes. Memory is that of a few parts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import os
from typing import Any

from esmm_jax import locks, ownership, streams
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.quoted_names import split_names
from esmm_jax.data.files import copies, file_hashes, row_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine, InProcess, Tell
from esmm_jax.json_files import read_json, write_json
from esmm_jax.serving import inputs
from esmm_jax.serving.history import replay
from esmm_jax.serving.predictor import Predictor
from esmm_jax.serving.scored_parts import FileParts, numbered, Part
from esmm_jax.serving.targets import choice as targets
from esmm_jax.serving.targets.target import Target
from esmm_jax.serving.workers.by_span import score_by_span, Work, Workers
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, predictions
from esmm_jax.workdir.folder import differences, flatten

PART_ROWS = 1 << 18
_JOB = 'job.json'


def score_files(
    predictor: Predictor,
    sources: Sequence[row_files.File],
    output: str,
    key: str = '',
    calibrated: str = 'none',
    joint: str = 'product',
    part_rows: int = PART_ROWS,
    dialect: Dialect = dialects.DEFAULT,
    counts: Counts | None = None,
    overwrite: bool = False,
    history: str = 'auto',
    as_of: Any = None,
    workers: Workers | None = None,
    output_format: str = '',
) -> int:
  """Scores all rows of files, in their order.

  Args:
    predictor: The model.
    sources: The files.
    output: File to write, Parquet or CSV (`outputs`), or with a slash at its
      end a folder for a file of each part: the keys, or `file` and `row` (from
      0), and what `Predictor.predict` returns.
    key: Columns to copy, with commas between; '' for file and row.
    calibrated: See `Predictor.predict`.
    joint: See there.
    part_rows: Rows of a part.
    dialect: The form of CSV files.
    counts: Gets the missing and unseen values of each field.
    overwrite: Replaces `output` if it exists.
    history: Of a run with one: see `replay.prepare`.
    as_of: See there.
    workers: Those that score; None: this process does.
    output_format: Of the files of a folder; see `targets.choice.of`.

  Returns:
    The number of rows.

  Raises:
    InputError: A file lacks a column or has a value that is not possible,
      `output` exists or is no possible file, or its parts are of another job.
  """
  target = targets.of(output, output_format, overwrite)
  target.check([f.path for f in sources])
  copied = split_names(key)
  _require(predictor.names, copied, sources, dialect)
  _warn_of_copies(sources, dialect)
  states = {f.path: file_hashes.state(f.path) for f in sources}
  predictor, about = replay.prepare(predictor, sources, dialect, history, as_of)

  form = FileParts(
      tuple(predictor.names), tuple(copied), calibrated, joint, part_rows,
      dialect,
  )

  def read_whole(k: int) -> None:
    path = sources[k].path
    if file_hashes.state(path) != states[path]:
      raise InputError(
          f'{path} was changed while it was read. Delete {target.parts} and'
          ' score it again.'
      )

  def parts() -> Iterator[Part]:
    for k, file in enumerate(sources):
      yield from form.read(predictor, k, file.path)
      read_whole(k)

  def scored(tell: Tell) -> Iterator[str]:
    if workers is None:
      yield from _in_turn(parts(), target, tell)
      return
    work = Work.of(workers.scorer, predictor, form, target.parts, target.file)
    paths = [file.path for file in sources]
    yield from score_by_span(workers.engine, work, paths, tell, read_whole)

  # A part scored before a kill is of the same rows, so not their number alone.
  job = {'input': states, 'key': key, **about}
  if dialect.options:  # Absent from jobs before it was an option.
    job['form'] = dialect.options
  engine = workers.engine if workers else InProcess()
  return _score(
      predictor, job, scored, target, calibrated, joint, part_rows, engine,
      counts,
  )


def _require(
    names: Sequence[str],
    copied: Sequence[str],
    sources: Sequence[row_files.File],
    dialect: Dialect,
) -> None:
  """Refuses files that lack a column that is read or copied."""
  for file in sources:
    path, present = file.path, row_files.names(file.path, dialect)
    row_files.require(names, present, path, inputs.READS, dialect)
    row_files.require(copied, present, path, ', which --key names', dialect)


def _warn_of_copies(
    sources: Sequence[row_files.File], dialect: Dialect
) -> None:
  """Warns of files that are legitimate, but might not be meant."""
  for group in copies.copies([f.path for f in sources], dialect):
    streams.warn(
        f'{" and ".join(group)} hold the same bytes: their rows are scored'
        f' {len(group)} times, and count as often in a history.'
    )


def score_split(
    predictor: Predictor,
    builder: ColumnarBuilder,
    split: str,
    output: str,
    calibrated: str = 'none',
    joint: str = 'product',
    part_rows: int = PART_ROWS,
    overwrite: bool = False,
    output_format: str = '',
) -> int:
  """Scores a split of the run's own data set: `file` is the split's name.

  Args and Returns are those of `score_files`. With the run's own batch size the
  scores are its own to the bit, because parts are whole batches.

  Raises:
    InputError: As there; or the data is another one than the run's.
  """
  manifest.require_data(predictor.folder, builder)
  target = targets.of(output, output_format, overwrite)
  size = predictor.batch_size
  part_rows = -(-part_rows // size) * size
  source = builder.as_data_source(split)

  def parts() -> Iterator[Part]:
    for low in range(0, len(source), part_rows):
      columns = source.joined(low, low + part_rows)
      num = min(part_rows, len(source) - low)
      yield Part(
          f'{low:012d}.parquet',
          numbered(split, low, num),
          lambda _, c=columns: predictor.scores(
              predictor.outputs(c, whole=True), calibrated, joint
          ),
      )

  def scored(tell: Tell) -> Iterator[str]:
    yield from _in_turn(parts(), target, tell)

  job = {'split': split, 'rows': len(source)}
  return _score(
      predictor, job, scored, target, calibrated, joint, part_rows, InProcess()
  )


def _in_turn(
    parts: Iterator[Part], target: Target, tell: Tell
) -> Iterator[str]:
  """Scores parts in this process, and reads ahead; yields their files."""
  with contextlib.closing(prefetch(parts, lambda part: part)) as ahead:
    for part in ahead:
      yield part.finish(target.parts, target.file)
      tell(part.num_rows)


def _score(
    predictor: Predictor,
    job: Mapping[str, Any],
    scored: Callable[[Tell], Iterator[str]],
    target: Target,
    calibrated: str,
    joint: str,
    part_rows: int,
    engine: Engine,
    counts: Counts | None = None,
) -> int:
  """Scores every part that is not on disk yet, and writes the target."""
  if part_rows < 1:
    raise InputError(f'part_rows is {part_rows}; it must be at least 1.')
  target.check()
  about = predictor.about()
  if 'members' in about:
    about['members'] = sorted(about['members'])
  job = {
      **job,
      # A job resumes with the same parameters only.
      **about,
      'calibrated': calibrated,
      'joint': joint,
      'part_rows': part_rows,
  }
  if calibrated != 'none':
    job['calibration'] = predictor.calibrators(calibrated)
  with locks.held(target.parts, '--output'):
    _claim(target, json.loads(json.dumps(job)))
    bar = streams.bar(unit=' rows', unit_scale=True, disable=None)
    with bar, contextlib.closing(scored(bar.update)) as paths:
      done = list(paths)
    about = {**predictor.about(), 'calibrated': calibrated, 'joint': joint}
    num = target.write(
        done,
        engine,
        Counts() if counts is None else counts,
        predictions.metadata(predictor.stamp, about),
    )
    ownership.remove(target.parts, ownership.SCORES)
  return num


def _claim(target: Target, job: dict[str, Any]) -> None:
  """Claims a folder of parts that is new or of the same job.

  Raises:
    InputError: Its parts are of another job.
  """
  folder = target.parts
  ownership.claim(folder, ownership.SCORES, '--output')
  path = os.path.join(folder, _JOB)
  previous = read_json(path, f'Move {folder} away, and score again.')
  if previous is None:
    write_json(path, job)
    return
  same = isinstance(previous, dict) and previous.get('run') == job['run']
  if same and 'members' in job:  # Their folders may have other names.
    previous['members'] = job['members']
  if differing := differences(flatten(job), flatten(previous)):
    raise InputError(
        f'{folder} holds parts of another job: {"; ".join(differing[:5])}. Give'
        f' the same command, delete {folder}, or use another --output than'
        f' {target.path}.'
    )
