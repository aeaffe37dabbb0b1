"""The mirror of what is trained: chosen for a block of code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from typing import Any

from esmm_jax import paths
from esmm_jax.parallel import processes
from esmm_jax.storage import remote
from esmm_jax.types import InputError
from esmm_jax.workdir.mirrors.mirror import Mirror

_ADVICE = (
    'Use one of a file system that is mounted; --mirror of experiments.train'
    ' copies the run to a URL at each checkpoint.'
)


class _State:
  """State of the process: what the innermost `using` asks for."""

  url = ''
  mirror: Mirror | None = None  # In the first process, once it is opened.


@contextlib.contextmanager
def using(url: str) -> Iterator[None]:
  """Copies the run that is trained within the block to a URL.

  An empty workdir is filled from there. At the end of the block the finished
  run is copied.

  >>> from esmm_jax.workdir.mirrors import choice
  >>> with choice.using('s3://bucket/runs/esmm'):
  ...   pass  # train_and_evaluate(config, 'runs/esmm')

  Args:
    url: A folder on an object store; '' for no mirror.

  Raises:
    InputError: It is no URL, or of a file system that is not opened; or the
      finished run cannot be copied.
  """
  if url and not remote.is_remote(url):
    raise InputError(
        f'--mirror={url} is no URL, as s3://bucket/runs/esmm. A folder that'
        ' several machines share can be the --workdir itself.'
    )
  if url:
    paths.file_system(url)
  before = _State.url, _State.mirror
  _State.url, _State.mirror = url.rstrip('/'), None
  try:
    yield
    if _State.mirror:
      _State.mirror.finish()
  finally:
    _State.url, _State.mirror = before


def begin(
    records: Sequence[Mapping[str, Any]], workdirs: Sequence[str]
) -> None:
  """Opens the mirror that was chosen, and fills an empty workdir from it.

  Args:
    records: The configs of the runs that are trained together.
    workdirs: Their folders.

  Raises:
    InputError: A folder is remote; or a mirror is chosen, and there are several
      runs, or see `Mirror.begin`.
  """
  for workdir in workdirs:
    refuse_remote(workdir)
  if not _State.url:
    return
  if len(workdirs) != 1:
    raise InputError(
        f'--mirror={_State.url} is of one run, and {len(workdirs)} are trained'
        ' together. Leave it out, or train each by itself.'
    )
  with processes.first_alone('mirror'):
    if processes.is_first():
      mirror = Mirror(_State.url, workdirs[0])
      mirror.begin(records[0])
      _State.mirror = mirror


def saved(warn: Callable[[str], None]) -> None:
  """Copies a checkpoint that was just written; see `Mirror.saved`."""
  if _State.mirror:
    _State.mirror.saved(warn)


def refuse_remote(workdir: str) -> None:
  """Refuses a URL as the folder of a run.

  Raises:
    InputError: It is one.
  """
  paths.refuse_remote(workdir, '--workdir', _ADVICE)
