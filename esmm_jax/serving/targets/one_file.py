"""One file of all scores; its parts lie in a folder beside it."""

from collections.abc import Mapping, Sequence
import os

from esmm_jax import replaceable
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine
from esmm_jax.serving import joining, outputs
from esmm_jax.serving.targets.target import Target
from esmm_jax.types import InputError


class OneFile(Target):
  """A Parquet or CSV file, as its ending says."""

  @classmethod
  def of(cls, path: str, form: str, overwrite: bool) -> 'OneFile':
    """Returns that of a path; see `choice.of`."""
    if form:
      raise InputError(
          f'--output_format={form} applies to a folder, but --output={path} is'
          ' a file, whose ending sets the format. Leave --output_format out, or'
          ' end the name of a folder with /.'
      )
    return cls(path, f'{path}.parts', path, overwrite)

  def _check_name(self, sources: Sequence[str]) -> None:
    """See the base class."""
    outputs.check(self.path, sources)

  def _check_absent(self) -> None:
    """See the base class."""
    # It is there if the job was killed between joining and removing the parts;
    # without them nothing tells the scores of this program from others.
    is_file = os.path.isfile(self.path)
    joined = is_file and joining.is_joined(self.path, self.parts)
    replaceable.require(self.path, overwrite=self.overwrite or joined)

  def write(
      self,
      done: Sequence[str],
      engine: Engine,
      counts: Counts,
      metadata: Mapping[bytes, bytes],
  ) -> int:
    """See the base class; this process joins the parts."""
    del engine
    return joining.join(done, self.file, self.parts, counts, metadata)
