"""One file of all scores at a URL, written here first and then copied."""

from collections.abc import Mapping, Sequence

from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine
from esmm_jax.serving import outputs
from esmm_jax.serving.targets.one_file import OneFile


class AtUrl(OneFile):
  """A Parquet or CSV file at a URL; `file` and its parts are on this machine.

  So a job resumes on the machine where it was begun.
  """

  def __init__(self, path: str, parts: str, file: str, overwrite: bool):
    del parts, file
    local = outputs.here(path)
    super().__init__(path, f'{local}.parts', local, overwrite)

  def _check_absent(self) -> None:
    """See the base class; the file of this machine is ours."""
    outputs.refuse_existing(self.path, self.overwrite)

  def write(
      self,
      done: Sequence[str],
      engine: Engine,
      counts: Counts,
      metadata: Mapping[bytes, bytes],
  ) -> int:
    """See the base class; this process joins the parts and copies the file."""
    num = super().write(done, engine, counts, metadata)
    outputs.deliver(self.file, self.path, self.overwrite)
    return num
