"""Scores the rows of files, or of a split, into one file.

Parts of the output are finished one by one in the folder `OUTPUT.parts`, then
joined; after a kill the same call resumes. Memory is that of a few parts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import os
from typing import Any, NamedTuple

from esmm_jax import locks, ownership, replaceable, streams
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.quoted_names import split_names
from esmm_jax.data.files import file_hashes, row_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.json_files import read_json, write_json
from esmm_jax.serving import inputs, joining, outputs
from esmm_jax.serving.history import replay
from esmm_jax.serving.predictor import Predictor
from esmm_jax.types import InputError
from esmm_jax.whole_files import replacing
from esmm_jax.workdir import manifest, predictions
from esmm_jax.workdir.folder import differences, flatten
import numpy as np
from pyarrow import parquet
import pyarrow as pa

PART_ROWS = 1 << 18
_JOB = 'job.json'


class Part(NamedTuple):
  """Rows that are scored together.

  Attributes:
    name: Name of its file.
    keys: The columns that identify the rows.
    score: Computes `p_ctr` and so on, float32 [n] each; adds the missing and
      unseen values of the rows to the counts.
  """

  name: str
  keys: Mapping[str, Any]
  score: Callable[[Counts], Mapping[str, np.ndarray]]


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
) -> int:
  """Scores all rows of files, in their order.

  Args:
    predictor: The model.
    sources: The files.
    output: File to write, Parquet or CSV (`outputs`): the keys, or `file` and
      `row` (from 0), and what `Predictor.predict` returns.
    key: Columns to copy, with commas between; '' for file and row.
    calibrated: See `Predictor.predict`.
    joint: See there.
    part_rows: Rows of a part.
    dialect: The form of CSV files.
    counts: Gets the missing and unseen values of each field.
    overwrite: Replaces `output` if it exists.
    history: Of a run with one: see `replay.prepare`.
    as_of: See there.

  Returns:
    The number of rows.

  Raises:
    InputError: A file lacks a column or has a value that is not possible,
      `output` exists or is no possible file, or its parts are of another job.
  """
  outputs.check(output, [f.path for f in sources])
  copied = split_names(key)
  wanted = list(dict.fromkeys([*predictor.names, *copied]))
  _require(predictor.names, copied, sources, dialect)
  states = {f.path: file_hashes.state(f.path) for f in sources}
  predictor, about = replay.prepare(predictor, sources, dialect, history, as_of)

  def parts() -> Iterator[Part]:
    for k, file in enumerate(sources):
      pieces = row_files.read(file.path, wanted, part_rows, dialect)
      for path, first, table in pieces:
        columns = {name: table[name] for name in predictor.names}
        keys = {name: table[name] for name in copied}
        yield Part(
            f'{k:05d}-{first:012d}.parquet',
            keys or _numbered(path, first, len(table)),
            lambda counts, c=columns, p=path, n=first: predictor.scores(
                predictor.outputs(
                    predictor.encode(
                        c, p, n, counts, row_files.location(p, n, dialect)
                    )
                ),
                calibrated,
                joint,
            ),
        )
      if file_hashes.state(file.path) != states[file.path]:
        raise InputError(
            f'{file.path} was changed while it was read. Delete {output}.parts'
            ' and score it again.'
        )

  # A part scored before a kill is of the same rows, so not their number alone.
  job = {'input': states, 'key': key, **about}
  if dialect.options:  # Absent from jobs before it was an option.
    job['form'] = dialect.options
  return _score(
      predictor, job, parts, output, calibrated, joint, part_rows, overwrite,
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


def score_split(
    predictor: Predictor,
    builder: ColumnarBuilder,
    split: str,
    output: str,
    calibrated: str = 'none',
    joint: str = 'product',
    part_rows: int = PART_ROWS,
    overwrite: bool = False,
) -> int:
  """Scores a split of the run's own data set: `file` is the split's name.

  Args and Returns are those of `score_files`. With the run's own batch size the
  scores are its own to the bit, because parts are whole batches.

  Raises:
    InputError: As there; or the data is another one than the run's.
  """
  manifest.require_data(predictor.folder, builder)
  size = predictor.batch_size
  part_rows = -(-part_rows // size) * size
  source = builder.as_data_source(split)

  def parts() -> Iterator[Part]:
    for low in range(0, len(source), part_rows):
      columns = source.joined(low, low + part_rows)
      num = min(part_rows, len(source) - low)
      yield Part(
          f'{low:012d}.parquet',
          _numbered(split, low, num),
          lambda _, c=columns: predictor.scores(
              predictor.outputs(c, whole=True), calibrated, joint
          ),
      )

  job = {'split': split, 'rows': len(source)}
  return _score(
      predictor, job, parts, output, calibrated, joint, part_rows, overwrite
  )


def _score(
    predictor: Predictor,
    job: Mapping[str, Any],
    parts: Callable[[], Iterator[Part]],
    output: str,
    calibrated: str,
    joint: str,
    part_rows: int,
    overwrite: bool,
    counts: Counts | None = None,
) -> int:
  """Scores every part that is not on disk yet, and joins them."""
  if part_rows < 1:
    raise InputError(f'part_rows is {part_rows}; it must be at least 1.')
  outputs.check(output)
  check_output(output, overwrite)
  folder = f'{output}.parts'
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
  with locks.held(folder, '--output'):
    _claim(folder, json.loads(json.dumps(job)), output)
    done = []
    ahead = prefetch(parts(), lambda part: part)
    bar = streams.bar(unit=' rows', unit_scale=True, disable=None)
    with bar, contextlib.closing(ahead):
      for part in ahead:
        path = os.path.join(folder, part.name)
        if not os.path.exists(path):
          _score_part(part, path, output)
        done.append(path)
        bar.update(joining.num_rows(path))
    about = {**predictor.about(), 'calibrated': calibrated, 'joint': joint}
    num = joining.join(
        done,
        output,
        folder,
        Counts() if counts is None else counts,
        predictions.metadata(predictor.stamp, about),
    )
    ownership.remove(folder, ownership.SCORES)
  return num


def check_output(output: str, overwrite: bool) -> None:
  """Refuses an output that exists, and parts that no job of ours has made.

  Args:
    output: The file to write.
    overwrite: Whether it may be replaced.

  Raises:
    InputError: One of them is somebody else's.
  """
  folder = f'{output}.parts'
  ownership.check(folder, ownership.SCORES, '--output')
  # It is there if the job was killed between joining and removing the parts;
  # without them nothing tells the scores of this program from others.
  joined = os.path.isfile(output) and joining.is_joined(output, folder)
  replaceable.require(output, overwrite=overwrite or joined)


def _score_part(part: Part, path: str, output: str) -> None:
  """Scores a part and writes it, with its counts as metadata."""
  outputs.check_types(output, pa.table(dict(part.keys)).schema)
  counts = Counts()
  scores = part.score(counts)
  if clash := part.keys.keys() & scores.keys():
    raise InputError(
        f'--key={clash.pop()} has the name of a score; rename it.'
    )
  table = pa.table({**part.keys, **scores})
  noted = {joining.COUNTS: json.dumps(counts.fields)}
  table = table.replace_schema_metadata(noted)
  with replacing(path) as temporary:
    parquet.write_table(table, temporary, write_page_checksum=True)


def _claim(folder: str, job: dict[str, Any], output: str) -> None:
  """Claims a folder of parts that is new or of the same job.

  Raises:
    InputError: Its parts are of another job.
  """
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
        f' {output}.'
    )


def _numbered(name: str, first: int, num: int) -> dict[str, Any]:
  """Numbers rows that have no key: `file` and `row` [num]."""
  rows = pa.array(np.arange(first, first + num, dtype=np.int64))
  return {'file': pa.array([name] * num, pa.string()), 'row': rows}
