"""The interface of what scores are written into."""

import abc
from collections.abc import Mapping, Sequence

from esmm_jax import ownership
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine


class Target(abc.ABC):
  """Takes the scores of a job.

  Attributes:
    path: As `--output` names it.
    parts: Folder of the parts that are scored, until the job is done.
    file: Name of a file that is written; its ending says its form.
    overwrite: Whether what exists is replaced.
  """

  def __init__(self, path: str, parts: str, file: str, overwrite: bool):
    self.path, self.parts, self.file = path, parts, file
    self.overwrite = overwrite

  def check(self, sources: Sequence[str] = ()) -> None:
    """Refuses what cannot be written, before anything is scored.

    Args:
      sources: The files that are read.

    Raises:
      InputError: It is remote, one of the sources, of another form than can be
        written, or exists; or the parts are somebody else's.
    """
    self._check_name(sources)
    ownership.check(self.parts, ownership.SCORES, '--output')
    self._check_absent()

  @abc.abstractmethod
  def _check_name(self, sources: Sequence[str]) -> None:
    """Refuses a path that can be no output."""

  @abc.abstractmethod
  def _check_absent(self) -> None:
    """Refuses to write over what stands there."""

  @abc.abstractmethod
  def write(
      self,
      done: Sequence[str],
      engine: Engine,
      counts: Counts,
      metadata: Mapping[bytes, bytes],
  ) -> int:
    """Writes the scores of all parts; adds up their counts.

    Args:
      done: The files of the parts, in the order of the rows.
      engine: Its workers may write.
      counts: Gets those of the parts.
      metadata: Of the files that are written, if they are Parquet.

    Returns:
      The number of rows.

    Raises:
      InputError: There is no part, one is damaged, or their types differ.
    """
