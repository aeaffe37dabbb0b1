"""The keys of a config that name the run it begins with."""

import dataclasses

from esmm_jax.options import Section


@dataclasses.dataclass(frozen=True)
class InitOptions(Section):
  """Keys at the top of the config.

  Attributes:
    init_from: Folder of a finished run whose parameters and moments of the
      optimizers this run begins with; None or '' for none.
    init_sha256: Fingerprint of that run, which `resolve` notes.
  """

  init_from: str | None = None
  init_sha256: str | None = None
