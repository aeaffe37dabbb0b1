"""The identity of a run, and of what is made with its parameters.

A run's identity is one hash of what decides its numbers: its config, the schema
of its inputs, the encoder of its raw columns and its data. `manifest.json` has
it, with the hashes of the four parts, from the run's first step on; each of its
checkpoints carries it. What is made with a trained run (a calibration,
predictions, an export) carries a `Stamp`: the identity, the step and a hash of
the parameters. `require` compares it where such a thing is read again.
"""

from collections.abc import Iterator, Mapping, Sequence
import hashlib
from typing import Any, NamedTuple

from esmm_jax import streams
from esmm_jax.checksums import hash_json
from esmm_jax.types import InputError
import numpy as np

# Keys that say where raw data lies, which is no part of what a run is: the data
# has a hash.
RAW_DATA_KEYS = (
    'dataset.raw_dir',
    'dataset.files',
    'dataset.valid_files',
    'dataset.test_files',
)
# What an identity is of, in the order in which differences are told.
PARTS = ('config', 'schema', 'encoder', 'data')
# Bytes of a parameter that are hashed at a time, copies where it is on a GPU.
_PIECE = 1 << 26
# Warnings that people have seen: one run is looked at in several places.
_said: set[str] = set()


class Stamp(NamedTuple):
  """The run and the parameters that something was made with.

  Attributes:
    identity: Of the run, as `of_parts` returns it; '' where it is not known,
      of a run that an earlier version trained or of a model without a run.
    step: The step that the run chose, after which it had the parameters; 0
      where it is not known, of a run that is not finished.
    params_sha256: As `hash_params` returns it; '' where it is not known.
  """

  identity: str = ''
  step: int = 0
  params_sha256: str = ''

  @classmethod
  def of(cls, identity: str, step: int, params: Mapping[str, Any]) -> 'Stamp':
    """Returns the stamp of parameters; reads all of them once.

    Args:
      identity: Of the run.
      step: See the attribute.
      params: `table`, `net` and `stats` as a run chose them.
    """
    return cls(identity, step, hash_params(params))

  @classmethod
  def from_dict(cls, value: Any) -> 'Stamp':
    """Reads what `to_dict` returned.

    Raises:
      ValueError: It is something else.
    """
    try:
      stamp = cls(**value)
    except TypeError as e:
      raise ValueError(f'{value!r} is no stamp of a run') from e
    for name, kind in cls.__annotations__.items():
      if type(getattr(stamp, name)) is not kind:
        raise ValueError(f'{name}={getattr(stamp, name)!r} is no {kind}')
    return stamp

  def to_dict(self) -> dict[str, Any]:
    """Returns it as JSON has it."""
    return self._asdict()


def of_parts(hashes: Mapping[str, str]) -> str:
  """Returns the identity of a run.

  Args:
    hashes: Each of `PARTS` -> its hash; '' for a part that the run lacks.

  Returns:
    sha256, 64 hexadecimal digits.
  """
  return hash_json({part: hashes[part] for part in PARTS})


def of_members(stamps: Sequence[Stamp]) -> Stamp:
  """Returns the stamp of several runs whose outputs are averaged.

  Args:
    stamps: Of the runs; their order does not count. One is its own stamp.

  Returns:
    Hashes of theirs, '' where one does not know it; no step.
  """
  if len(stamps) == 1:
    return stamps[0]
  hashes = []
  for values in ([s.identity for s in stamps], [s[2] for s in stamps]):
    hashes.append(hash_json(sorted(values)) if all(values) else '')
  return Stamp(hashes[0], 0, hashes[1])


def hash_params(params: Mapping[str, Any]) -> str:
  """Hashes the names, types, shapes and values of parameters.

  It is a pass over the table, 1.3 s for 1 GB on one core; for parameters of a
  checkpoint the seal has the hash already (`chosen.params_sha256`).

  Args:
    params: A tree of arrays: `table`, `net` and `stats`.

  Returns:
    sha256, 64 hexadecimal digits.
  """
  import jax  # Results tables, which need no parameters, do without.

  return combine({
      jax.tree_util.keystr(path, simple=True, separator='.'): about(leaf)
      for path, leaf in jax.tree.leaves_with_path(dict(params))
  })


def about(array: Any, sha256: str = '') -> list[Any]:
  """Returns type, shape and sha256 of an array's values in C order.

  Args:
    array: With `dtype` and `shape`; of NumPy or JAX unless `sha256` is given.
    sha256: The hash of its values, if it is known.
  """
  if not sha256:
    whole = hashlib.sha256()
    for piece in _pieces(array):
      whole.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8))
    sha256 = whole.hexdigest()
  return [str(array.dtype), list(array.shape), sha256]


def combine(leaves: Mapping[str, list[Any]]) -> str:
  """Returns what `hash_params` does, of name -> `about` each parameter."""
  return hash_json(dict(leaves))


def say_once(warning: str) -> None:
  """Prints a warning on stderr, once in a process."""
  if warning not in _said:
    _said.add(warning)
    streams.warn(warning)


def require(
    path: str, value: Any, run: Stamp, remedy: str, has: str = 'it'
) -> None:
  """Refuses what was made with another run or with other parameters.

  Args:
    path: The file or folder that is read, for messages.
    value: Its stamp as `Stamp.to_dict` returned it; None if it has none, as
      those of earlier versions, which prints a warning.
    run: The stamp of the run that it is read for.
    remedy: A sentence for the error: what to do.
    has: What is of the run, for messages, such as 'its calibration'.

  Raises:
    InputError: Names the path and what differs.
  """
  if value is None:
    say_once(
        f'{path} does not say which run made it, as in earlier versions: it may'
        ' belong to another run.'
    )
    return
  try:
    stamp = Stamp.from_dict(value)
  except ValueError as e:
    raise InputError(f'{path} is damaged: {e}. {remedy}') from e
  if differing := difference(stamp, run):
    raise InputError(f'{path}: {has} is of {differing}. {remedy}')


def difference(stamp: Stamp, run: Stamp) -> str:
  """Compares two stamps; what either does not know does not count.

  Args:
    stamp: Of the thing that is read.
    run: Of the run that it is read for.

  Returns:
    'another run, ...' or 'other parameters of this run, ...'; '' if they agree.
  """
  if stamp.identity and run.identity and stamp.identity != run.identity:
    return (
        f'another run, whose identity is {stamp.identity[:16]}; that of this'
        f' run is {run.identity[:16]}'
    )
  both = stamp.params_sha256 and run.params_sha256
  differs = stamp.params_sha256 != run.params_sha256
  if not both:
    differs = bool(stamp.step and run.step) and stamp.step != run.step
  if differs:
    then, now = (s.params_sha256[:16] or 'unknown' for s in (stamp, run))
    return (
        'other parameters of this run, which was trained again: its step was'
        f' {stamp.step} with the sha256 {then}, and is now {run.step} with'
        f' {now}'
    )
  return ''


def _pieces(leaf: Any) -> Iterator[np.ndarray]:
  """Yields an array in pieces along its first axis, on the host."""
  if leaf.ndim == 0 or leaf.nbytes <= _PIECE:
    yield np.asarray(leaf)
    return
  rows = max(1, _PIECE * len(leaf) // leaf.nbytes)
  # On the CPU NumPy has a view of a JAX array; slices would be compiled.
  on_host = isinstance(leaf, np.ndarray) or (
      len(leaf.devices()) == 1
      and next(iter(leaf.devices())).platform == 'cpu'
  )
  leaf = np.asarray(leaf) if on_host else leaf
  for low in range(0, len(leaf), rows):
    yield np.asarray(leaf[low : low + rows])
