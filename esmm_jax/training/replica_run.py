"""One run among the replicas of a program: its folder, selection and end."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from esmm_jax.balancing import binding as balancing
from esmm_jax.balancing.over_run import Totals
from esmm_jax.estimators import ESTIMATORS, sampling
from esmm_jax.estimators.contract import binding
from esmm_jax.metrics.by_space import Observed
from esmm_jax.parallel import processes
from esmm_jax.protocols.scoring import protocol_metrics
from esmm_jax.protocols.use import named
from esmm_jax.tasks import Tasks
from esmm_jax.training.common_ctr import common_ctr_metrics
from esmm_jax.training.predict import save_predictions
from esmm_jax.training.selection import Selection, SelectionOptions
from esmm_jax.training.settings import Settings
from esmm_jax.tracking import choice as tracking
from esmm_jax.tuning import early_end
from esmm_jax.types import Array, InputError
from esmm_jax.workdir import end_note, manifest, soundness
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.chosen import params_sha256
from esmm_jax.workdir.folder import flatten, predictions_file, versions
from esmm_jax.workdir.identity import Stamp
from esmm_jax.workdir.writer import Writer


class Run:
  """The state of one replica outside the compiled program.

  Attributes:
    settings: Its settings.
    record: Its config, as config.json holds it.
    protocol: Its protocol, or None.
    history: What its histories know, see `histories`.
    workdir: Its folder.
    selection: Which of its parameters count.
    steps: Where it stopped early; 0 while it has not.
    failure: Why it failed, if it did.
    bad_step: The step that was not finite, from 0; -1 without failure.
    lost: The losses since the last report at that step.
    results: What results.json will hold.
    writer: Its metrics; there after `open`.
    label: Before its lines; '' where it is alone.
    manifest: What it began with; there once its folder is claimed.
    stamp: Of the parameters that it chose; there before the test.
    balance: What it has on record of balancing so far.
  """

  def __init__(
      self,
      settings: Settings,
      record: dict[str, Any],
      workdir: str,
      has_valid: bool,
      tasks: Tasks,
      history: str = '',
  ):
    self.settings, self.record, self.workdir = settings, record, workdir
    self.protocol = named(settings.training.protocol)
    self.history = history
    self.selection = Selection(settings.selection, has_valid, tasks)
    self.steps = 0
    self.failure: FloatingPointError | None = None
    self.bad_step = -1
    self.lost: dict[str, float] = {}
    self.results: dict[str, Any] = {}
    self.label = ''
    self.writer: Writer
    self.manifest: dict[str, Any] = {}
    self.stamp = Stamp()
    self.balance = Totals()
    self._total = 0  # Steps of a run that does not end early.
    self._digest = ''  # Of the lines of metrics.jsonl that must be there.

  @property
  def active(self) -> bool:
    """True while it is trained."""
    return not self.failure and not self.steps

  def open(self, start: int, total: int, shows: bool) -> None:
    """Opens its files at a step; `shows` says whether it has the bar."""
    first, self._total = processes.is_first(), total
    self.writer = Writer(self.workdir, start, total, shows and first, first)
    config = flatten(self.record)
    facts = {'seed': str(self.settings.training.seed), **versions()}
    about = config, self.workdir, facts, self.writer.warn
    self.writer.begin(config, tracking.recorders(*about) if first else ())
    if self._digest not in ('', self.writer.digest) and first:
      self.writer.warn(
          f'{self.workdir}/metrics.jsonl was changed: lines up to step'
          f' {start} are missing or are not as they were written. The run'
          ' resumes; its other numbers do not depend on them.'
      )
    path, stamp = predictions_file(self.workdir), end_note.stamp(self.workdir)
    if first and self.settings.run.save_predictions:
      if wrong := soundness.damage_of_predictions(path, stamp):
        self.writer.warn(f'{wrong} It is made again.')

  def update(self, step: int, metrics: Mapping[str, float]) -> bool:
    """Records an evaluation; returns True if it is the best so far."""
    better = self.selection.update(step, metrics)
    ends = step < self._total and early_end.asked(self.workdir, step, metrics)
    if self.selection.stopped or ends:
      self.steps = step
    return better

  def position(self) -> dict[str, Any]:
    """Returns the content of a checkpoint besides arrays, as JSON."""
    balance = self.balance.position()
    return {
        'selection': self.selection.position(),
        'steps': self.steps,
        'metrics': self.writer.digest,
        'began': manifest.carried(self.manifest),
        **({'balance': balance} if balance else {}),
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Restores what `position` returned."""
    self.selection.load(position['selection'])
    self.steps = position['steps']
    self._digest = position.get('metrics', '')
    self.balance.load(position.get('balance', {}))

  def save(
      self, outputs: dict[str, Array], observed: Observed
  ) -> dict[str, float]:
    """Writes the test predictions, if asked for.

    Args:
      outputs: Output -> float32 [n]; gets `ctcvr_common` if there is one.
      observed: The same rows.

    Returns:
      The metrics that only its protocol has, and those that take another
      run's pCTR; {} without either.
    """
    more = protocol_metrics(self.protocol, outputs, observed.labels)
    if self.settings.training.common_ctr:
      more |= common_ctr_metrics(
          outputs, observed, self.workdir, self.settings.training.common_ctr
      )
    if self.settings.run.save_predictions:
      path = predictions_file(self.workdir)
      save_predictions(path, outputs, observed, self.stamp, self.history)
    return more

  def keep(
      self,
      step: int,
      arrays: Mapping[str, Any],
      position: Mapping[str, Any],
      num_rows: int,
  ) -> None:
    """Writes its own checkpoint, as it would have alone."""
    checkpoints = Checkpoints(self.workdir, num_rows)
    if checkpoints.latest_step != step:
      checkpoints.save(step, arrays, position)
    self.choose(step, checkpoints)
    checkpoints.close()

  def choose(self, step: int, checkpoints: Checkpoints) -> None:
    """Notes the stamp of the parameters that count, those of its checkpoint.

    Args:
      step: Steps done.
      checkpoints: Its own.
    """
    params = ''
    if checkpoints.latest_step == step:
      params = params_sha256(checkpoints, self.selection.keeps)
    chosen = self.selection.step or self.steps or step
    self.stamp = Stamp(self.manifest['identity'], chosen, params)


def check_alike(settings: Sequence[Settings]) -> None:
  """Refuses runs of one program that differ in what it has only one of.

  Args:
    settings: One for each replica.

  Raises:
    InputError: Two do; names the section.
  """

  def shared(s: Settings) -> Settings:
    estimator = ESTIMATORS.get(s.objective.estimator)  # Refused later if None.
    traced = binding.traced_options(estimator) if estimator else []
    options = {k: v for k, v in s.objective.options.items() if k not in traced}
    method, free_of_method = s.balancing, balancing.traced_options(s.balancing)
    fixed = {k: v for k, v in method.options.items() if k not in free_of_method}
    free = dict(init_seed=None, learning_rate=1.0, common_ctr='')
    return dataclasses.replace(
        s,
        training=dataclasses.replace(s.training, **free),
        objective=dataclasses.replace(
            s.objective,
            options=options,
            loss_weights={},
            sampling=sampling.NONE,
        ),
        # Of replays `balanced.replayed` compares what they replay.
        balancing=dataclasses.replace(
            method, options=fixed, of='RUN' if method.of else ''
        ),
        selection=SelectionOptions(),
        run=dataclasses.replace(s.run, save_predictions=False),
    )

  first = shared(settings[0])
  for k, other in enumerate(settings[1:], 1):
    for field in dataclasses.fields(Settings):
      one, two = (getattr(s, field.name) for s in (first, shared(other)))
      if one != two:
        raise InputError(
            f'runs 0 and {k} of one program differ in their settings of'
            f' {field.name!r}: {_difference(one, two)}. They may differ in what'
            ' `sweeps.replicas` lists alone; train them apart (--replicas=1).'
        )


def _difference(one: Any, two: Any) -> str:
  """Names the first of the settings that differ, with both values."""
  if dataclasses.is_dataclass(one):
    one, two = vars(one), vars(two)
  if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
    return f'{one!r} and {two!r}'
  (name, *_) = [
      name for name in {**one, **two} if one.get(name) != two.get(name)
  ]
  return f'{name}: {_difference(one.get(name), two.get(name))}'
