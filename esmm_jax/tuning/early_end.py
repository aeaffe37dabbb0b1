"""Ends a run at an evaluation, when somebody who watches it says so.

Training asks after each evaluation but the last one. The answer is part of the
checkpoint, as that of patience is.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib

# Folder of the run, step, metrics of the evaluation -> whether the run ends.
Watch = Callable[[str, int, Mapping[str, float]], bool]


class _State:
  """State of the process: who watches its runs, if anybody does."""

  watch: Watch | None = None


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
  """Has a function asked within the block whether a run ends.

  Args:
    watch: Gets the folder of the run, the step and `valid/...` -> value.
  """
  before, _State.watch = _State.watch, watch
  try:
    yield
  finally:
    _State.watch = before


def asked(workdir: str, step: int, metrics: Mapping[str, float]) -> bool:
  """Returns whether the one who watches ends a run; False if nobody does.

  Args:
    workdir: Folder of the run.
    step: Steps done.
    metrics: Those of this evaluation.
  """
  return _State.watch is not None and _State.watch(workdir, step, metrics)
