"""Completes a config that names files of vectors.

A path says where a file lies; the run's identity has its checksum instead. It
is noted in config.json with the sizes of the vectors, so a run that has begun,
whose checkpoint holds them, goes on when the file is gone.
"""

import os
from typing import Any

from esmm_jax import paths
from esmm_jax.checksums import hash_json
from esmm_jax.json_files import read_json
from esmm_jax.pretrained import files, options
from esmm_jax.pretrained.options import FORM, SHA256, VECTORS
from esmm_jax.types import InputError


def resolve(config: Any, workdir: str = '') -> Any:
  """Notes checksum and sizes of the vectors that a config names.

  Idempotent. A config that names none is returned as it is.

  Args:
    config: A ConfigDict; it is not modified.
    workdir: Folder of the run, which need not exist; '' if it has none.

  Returns:
    The config with `model.vectors_sha256` and `model.vectors_form`.

  Raises:
    InputError: A file cannot be read or is not as the run noted it, or a vector
      that is trained has not `model.embed_dim` numbers.
  """
  model = config.model
  requests = options.parse(model.get(VECTORS))
  if not requests:
    return config
  noted = _noted(config, workdir)
  if noted is None or _are_there(requests):
    about = [files.about(r.file) for r in requests]
    _check_sizes(requests, about, model.embed_dim)
    whole = [[r.column, r.frozen, a.sha256] for r, a in zip(requests, about)]
    noted = {SHA256: hash_json(whole), FORM: tuple(a.dim for a in about)}
  if model.get(SHA256) not in (None, noted[SHA256]):
    raise InputError(
        f'model.{VECTORS}={model[VECTORS]}: the vectors are not those that the'
        f' config notes, whose sha256 is {model[SHA256][:16]}, not'
        f' {noted[SHA256][:16]}. Put the files back, or leave'
        f' model.{SHA256} away in another --workdir.'
    )
  filled = config.copy_and_resolve_references()
  with filled.unlocked():
    filled.model.update(noted)
  return filled


def _are_there(requests: list[options.Request]) -> bool:
  return all(os.path.exists(paths.expand(r.file)) for r in requests)


def _noted(config: Any, workdir: str) -> dict[str, Any] | None:
  """Returns what the run noted when it began; None if it did not."""
  saved = workdir and read_json(os.path.join(workdir, 'config.json'))
  model = saved.get('model') if isinstance(saved, dict) else None
  if not isinstance(model, dict) or SHA256 not in model:
    return None
  if model.get(VECTORS) != config.model[VECTORS]:
    return None
  return {SHA256: model[SHA256], FORM: tuple(model[FORM])}


def _check_sizes(
    requests: list[options.Request], about: list[files.About], embed_dim: int
) -> None:
  for request, one in zip(requests, about):
    if not request.frozen and one.dim != embed_dim:
      raise InputError(
          f'{request.named}: the vectors of {request.file} have {one.dim}'
          f' numbers and model.embed_dim is {embed_dim}; rows of the table that'
          ' are trained have as many. Set model.embed_dim so, or frozen=True,'
          ' which projects them.'
      )
