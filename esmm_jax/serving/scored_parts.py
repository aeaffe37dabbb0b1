"""Parts of the rows that are scored, and the file of each."""

from collections.abc import Callable, Iterator, Mapping
import json
import os
from typing import Any, NamedTuple

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.serving import joining, outputs
from esmm_jax.types import InputError
from esmm_jax.whole_files import replacing
import numpy as np
from pyarrow import parquet
import pyarrow as pa


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

  @property
  def num_rows(self) -> int:
    """The number of rows."""
    return len(next(iter(self.keys.values())))

  def finish(self, folder: str, output: str) -> str:
    """Scores the rows and writes them, unless their file is there.

    Args:
      folder: Of the file, whose metadata get the counts.
      output: The file that the part is to be joined in.

    Returns:
      Path of the file.

    Raises:
      InputError: See `scoring.score_files`; or the file is damaged.
    """
    path = os.path.join(folder, self.name)
    if os.path.exists(path):
      joining.num_rows(path)
      return path
    outputs.check_types(output, pa.table(dict(self.keys)).schema)
    counts = Counts()
    scores = self.score(counts)
    table = pa.table(with_scores(self.keys, scores))
    noted = {joining.COUNTS: json.dumps(counts.fields)}
    table = table.replace_schema_metadata(noted)
    with replacing(path) as temporary:
      parquet.write_table(table, temporary, write_page_checksum=True)
    return path


class FileParts(NamedTuple):
  """The parts of files, and how they are scored.

  Attributes:
    names: The columns that the model reads.
    copied: Those that are copied; none: file and row identify a row.
    calibrated: See `Predictor.predict`.
    joint: See there.
    rows: Rows of a part.
    dialect: The form of CSV files.
  """

  names: tuple[str, ...]
  copied: tuple[str, ...]
  calibrated: str
  joint: str
  rows: int
  dialect: Dialect

  def read(
      self,
      predictor: Any,
      file: int,
      path: str,
      first: int = 0,
      stop: int | None = None,
  ) -> Iterator[Part]:
    """Reads the parts of a file.

    Args:
      predictor: The model.
      file: Number of the file.
      path: The file.
      first: See `row_files.read`.
      stop: See there.

    Raises:
      InputError: See `row_files.read`.
      UnevenPieces: See there.
    """
    wanted = list(dict.fromkeys([*self.names, *self.copied]))
    pieces = row_files.read(
        path, wanted, self.rows, self.dialect, first, stop
    )
    for path, first, table in pieces:
      columns = {name: table[name] for name in self.names}
      keys = {name: table[name] for name in self.copied}
      yield Part(
          self.name(file, first),
          keys or numbered(path, first, len(table)),
          lambda counts, c=columns, p=path, n=first: predictor.scores(
              predictor.outputs(
                  predictor.encode(
                      c,
                      p,
                      n,
                      counts,
                      row_files.location(p, n, self.dialect),
                  )
              ),
              self.calibrated,
              self.joint,
          ),
      )

  def name(self, file: int, first: int) -> str:
    """Returns the name of the file of a part, by its first row."""
    return f'{file:05d}-{first:012d}.parquet'


def numbered(name: str, first: int, num: int) -> dict[str, Any]:
  """Numbers rows that have no key.

  Args:
    name: Of their file, or split.
    first: Number of the first row.
    num: Of rows.

  Returns:
    `file` and `row`, arrow arrays [num].
  """
  rows = pa.array(np.arange(first, first + num, dtype=np.int64))
  return {'file': pa.array([name] * num, pa.string()), 'row': rows}


def with_scores(
    keys: Mapping[str, Any], scores: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the columns of keys, then those of scores.

  Raises:
    InputError: A key has the name of a score.
  """
  if clash := keys.keys() & scores.keys():
    raise InputError(
        f'--key={clash.pop()} has the name of a score; rename it.'
    )
  return {**keys, **scores}
