"""The keys of a config that name another run."""

import dataclasses

from esmm_jax.options import COUNT, number, Section


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


@dataclasses.dataclass(frozen=True)
class RefitOptions(Section):
  """Keys at the top of the config; all but the first are noted by `refit`.

  Attributes:
    refit_of: Folder of a finished run that is trained anew on its rows of
      training and of validation; None or '' for none.
    refit_identity: Identity of that run.
    refit_params_sha256: Hash of the parameters that it chose.
    refit_step: Step that they are of.
    refit_metric: What chose them; '' if they are the last ones.
    refit_split: The rows that it was trained on.
    refit_data: Hash of its data.
  """

  refit_of: str | None = None
  refit_identity: str | None = None
  refit_params_sha256: str | None = None
  refit_step: int | None = number(None, COUNT)
  refit_metric: str | None = None
  refit_split: str | None = None
  refit_data: str | None = None

  def __bool__(self) -> bool:
    return bool(self.refit_of)
