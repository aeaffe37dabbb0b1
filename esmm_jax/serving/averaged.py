"""Several runs as one model: the mean of their log-odds.

Averaged are the log-odds of each event given the one before (`ctr` and `cvr`),
and the values of regressions. What is over all impressions (`ctcvr`) is their
product along the funnel, as of one run: p_ctcvr = p_ctr x p_cvr holds, and it
is not the mean of the runs' own `ctcvr`.
"""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

from esmm_jax.estimators import funnel
from esmm_jax.serving import members as named
from esmm_jax.serving import predictor
from esmm_jax.serving.predictor import Predictor
from esmm_jax.serving.restore import restore, Trained
from esmm_jax.tasks import Tasks
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.settings import Settings
from esmm_jax.types import Array, Batch, InputError
from esmm_jax.workdir import identity
from esmm_jax.workdir.identity import Stamp
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict


class Averaged(Predictor):
  """Scores rows with the mean of several runs; `load` is the usual way.

  It has the face of a `Predictor` of one run. Rows are encoded once, and each
  batch is computed by every member, whose parameters are all in memory. The
  gates of the members are theirs alone: an evaluation has no use of gates.

  Attributes:
    members: The runs, in the order in which they were named. It does not change
      a bit of the scores.
    folder: That of the first run: the members have its encoder and its data.
    config: That of the first run; without `common_ctr`, unless it is the run
      itself of each member.
    results: Empty, as no run has those of the mean.
  """

  def __init__(self, members: Sequence[Trained], batch_size: int | None = None):
    """Prepares the members.

    Args:
      members: The runs; one gives its own scores to the bit.
      batch_size: Rows of the largest batch; default: the first run's
        `eval_batch_size`.

    Raises:
      InputError: Two members cannot be averaged, which names what differs; or
        `batch_size` is less than 1.
    """
    named.require_alike(members)
    super().__init__(members[0], batch_size)
    self.members = tuple(members)  # type: ignore[assignment] # More of them.
    self._steps = _steps(members, self._step)
    mean = functools.partial(mean_outputs, tasks=self.schema.tasks)
    self._mean = jax.jit(mean)
    if len(members) > 1:
      self.results = {}
      self.config = _common_config(members)

  @functools.cached_property
  def stamp(self) -> Stamp:
    """The runs and their parameters, whatever their order."""
    return identity.of_members([named.stamp(member) for member in self.members])

  def about(self) -> dict[str, Any]:
    """Returns the stamp, and with several members the name of each."""
    about = super().about()
    if len(self.members) > 1:
      about['members'] = {
          name: named.stamp(member).to_dict()
          for name, member in zip(self.member_names, self.members)
      }
    return about

  @property
  def member_names(self) -> list[str]:
    """Names of the members: the last parts of their folders, made distinct."""
    return distinct_names([member.folder for member in self.members])

  def calibrators(self, kind: str) -> dict[str, Any]:
    """Refuses calibration, which is of a single run.

    Raises:
      InputError: There are several members.
    """
    if len(self.members) == 1:
      return super().calibrators(kind)
    raise InputError(
        f'calibrated={kind}: a calibration belongs to one run, but this is the'
        f' mean of {len(self.members)} runs. Leave it out.'
    )

  def _predict(self, batch: Batch) -> tuple[Any, Any]:
    """Returns the mean outputs; the use of the gates of a single member."""
    every, use = [], {}
    for member, step in zip(self.members, self._steps):
      params = member.params
      outputs, use = step(
          params['table'], params['net'], params['stats'], batch
      )
      every.append(outputs)
    if len(every) == 1:
      return every[0], use
    return self._mean(every), {}


def mean_outputs(
    members: Sequence[Mapping[str, Array]], tasks: Tasks
) -> dict[str, Array]:
  """Averages the outputs of several models.

  >>> from esmm_jax.serving.averaged import mean_outputs
  >>> from esmm_jax.tasks import FUNNEL
  >>> a, b = {'ctr': 1.0, 'cvr': -1.0}, {'ctr': -1.0, 'cvr': 1.0}
  >>> mean = mean_outputs([a, b], FUNNEL)
  >>> [round(float(mean[name]), 4) for name in ('ctr', 'cvr', 'ctcvr')]
  [0.0, 0.0, -1.0986]

  Args:
    members: Output -> float32 of any one shape: log-odds, or the values of
      regressions.
    tasks: Those of the outputs.

  Returns:
    Each task: the mean over the members. All other outputs: their products
    along the funnel. Of one member its own outputs.
  """
  if len(members) == 1:
    return dict(members[0])

  def mean(name: str) -> Array:
    # In order of size, so that the order of the members changes no bit.
    values = jnp.sort(jnp.stack([m[name] for m in members]), axis=0)
    return jnp.mean(values, axis=0)

  return funnel.outputs({t.name: mean(t.name) for t in tasks}, tasks)


def load(
    run: Any,
    batch_size: int | None = None,
    data_dir: str | None = None,
    row: str = '',
    history: str = '',
) -> Predictor:
  """Loads the predictor of a finished run, or of the mean of several.

      >>> import esmm_jax
      >>> esmm_jax.load('runs/esmm').schema.labels
      ('click', 'conversion')

  Several runs, such as the seeds of one config, are one model: the mean of
  their log-odds of a click, and of a conversion given the click; p_ctcvr is the
  product of these two probabilities (`Averaged`). They must have one schema,
  one encoder and the same data.

  Args:
    run: The run's folder. Of several: a sequence of folders; a text with commas
      between, where a name that holds a comma stands in quotes; or the folder
      of a sweep.
    batch_size: Rows of the largest batch; default: the run's eval_batch_size.
    data_dir: See `restore`.
    row: Of a sweep: the row whose runs are averaged, as its results table shows
      it, with commas between values; '': the only row.
    history: Folder of a newer history, which `save_history` wrote; '': the
      run's own.

  Raises:
    InputError: There is no finished run, or two of them cannot be averaged.
  """
  folders = named.folders(run, row)
  if len(folders) == 1:
    return predictor.load(folders[0], batch_size, data_dir, history)
  mean = Averaged([restore(f, data_dir) for f in folders], batch_size)
  if history:
    mean.load_history(history)
  return mean


def distinct_names(folders: Sequence[str]) -> list[str]:
  """Returns the shortest ends of paths that tell them apart.

  >>> distinct_names(['runs/a/seed0', 'runs/b/seed0'])
  ['a/seed0', 'b/seed0']
  """
  parts = [os.path.abspath(folder).split(os.sep) for folder in folders]
  ends = []
  for length in range(1, max(map(len, parts)) + 1):
    ends = [os.sep.join(part[-length:]) for part in parts]
    if len(set(ends)) == len(ends):
      break
  return ends


def _steps(members: Sequence[Trained], first: Any) -> list[Any]:
  """Returns the compiled step of each member; equal models share it."""
  settings = [Settings.read(member.config) for member in members]
  models = [
      (s.model, s.objective.estimator, s.objective.options) for s in settings
  ]
  steps = [first]
  for k in range(1, len(members)):
    same = models.index(models[k])
    steps.append(
        steps[same]
        if same < k
        else jax.jit(functools.partial(predict_step, plan=members[k].plan))
    )
  return steps


def _common_config(members: Sequence[Trained]) -> ConfigDict:
  """Returns the first config, without what is of one member alone."""
  config = members[0].config.copy_and_resolve_references()
  named_run = {
      os.path.normpath(m.config.get('common_ctr') or 'no run') for m in members
  }
  if 'common_ctr' in config and named_run != {'.'}:
    config.common_ctr = ''
  return config
