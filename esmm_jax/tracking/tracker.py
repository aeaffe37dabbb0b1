"""A tracker of runs."""

import abc
from collections.abc import Mapping
import importlib
import importlib.util
from typing import Any, NamedTuple

from esmm_jax.types import InputError


class TrackedRun(NamedTuple):
  """A run as a tracker sees it.

  Attributes:
    config: Flat key -> value, as `learning_rate` or `model.dropout`.
    workdir: Absolute path of its folder.
    name: Last part of that path.
    group: Name of the sweep that it belongs to; '' without one.
    facts: Further ones, `seed` and versions: name -> text.
    id: What `start` returned when the run began; '' the first time.
  """

  config: Mapping[str, Any]
  workdir: str
  name: str
  group: str
  facts: Mapping[str, str]
  id: str = ''


class Tracker(abc.ABC):
  """Follows one run; what its methods raise is warned of, once.

  All calls come from one thread, which is not that of the training.
  """

  package = ''  # What has to be installed, if anything.

  @classmethod
  def check(cls) -> None:
    """Raises InputError if `package` is not installed."""
    if cls.package and importlib.util.find_spec(cls.package) is None:
      raise InputError(
          f'{cls.package} is not installed: pip install'
          " 'esmm_jax[tracking]'."
      )

  @classmethod
  def library(cls) -> Any:
    """Imports `package`."""
    return importlib.import_module(cls.package)

  @abc.abstractmethod
  def start(self, run: TrackedRun) -> str:
    """Begins a tracked run, or goes on with the one that `run.id` names.

    Returns:
      Its id, which is kept in the run's folder.
    """

  @abc.abstractmethod
  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds metrics of a step; steps grow, and none comes twice.

    Args:
      step: Steps done.
      metrics: `train/...` and `valid/...`, finite numbers.
    """

  @abc.abstractmethod
  def close(self, results: Mapping[str, Any] | None) -> None:
    """Ends the tracked run.

    Args:
      results: The content of results.json; None of a run that has not finished,
        which may go on later.
    """
