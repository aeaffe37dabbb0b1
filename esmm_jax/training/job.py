"""Phases of a training before its loop: build, open, initialise or restore.

Their order matters: what can be refused is refused before a folder is touched,
folders are locked before they are read, and no folder is claimed for a model
that cannot be initialised.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import os
from typing import Any

from esmm_jax import locks, ownership
from esmm_jax.data.store.split_parts import shared_rows
from esmm_jax.parallel import processes
from esmm_jax.training import parts, program as programs, selection
from esmm_jax.training.balanced import idle, replayed
from esmm_jax.training.clock import Clock
from esmm_jax.training.common_ctr import common_ctr_order
from esmm_jax.training.frozen.columns import with_labels
from esmm_jax.training.initial import begun, initial, placed
from esmm_jax.training.noting import notes
from esmm_jax.training.predict import Split, SplitPredictor
from esmm_jax.training.replica_run import Run
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import TrainState
from esmm_jax.workdir import chosen, end_note, manifest, provenance
from esmm_jax.workdir import soundness, stopping, verify
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import claim
from esmm_jax.workdir.mirrors import choice as mirrors
from esmm_jax.workdir.standing import Standing
import jax


@dataclasses.dataclass
class Job:
  """The parts that all phases of a training share.

  Attributes:
    program: Data, model and step, built from the configs.
    predictor: Scores a split with given parameters.
    splits: Name (`valid`, `test`) -> the split, of those that the config has.
    runs: What is of one replica alone, for each.
    pctr_of: Replica -> the other one whose pCTR it takes, or None; in the order
      in which they are tested.
    checkpoints: Those of the group.
    stop_asked: True once a signal asked to stop.
    clock: Times the steps of all processes that trained this.
    standing: The folders that are written to.
    traces: How often the step was compiled; the most of any process.
    warned: Warnings that people have seen.
  """

  program: programs.Program
  predictor: SplitPredictor
  splits: dict[str, Split]
  runs: list[Run]
  pctr_of: dict[int, int | None]
  checkpoints: Checkpoints
  stop_asked: stopping.Asked
  clock: Clock
  standing: Standing
  traces: int = 0
  warned: set[str] = dataclasses.field(default_factory=set)

  def warn(self, text: str) -> None:
    """Prints a warning, once."""
    if text not in self.warned:
      self.warned.add(text)
      self.runs[0].writer.warn(text)

  @property
  def common(self) -> Settings:
    """The settings that the replicas share, which the first one's say."""
    return self.runs[0].settings

  @property
  def keeps_best(self) -> bool:
    """True if the best parameters of a run count, not its last."""
    return any(run.selection.keeps for run in self.runs)

  def active(self) -> list[int]:
    """Returns the numbers of the replicas that are still trained."""
    return [r for r, run in enumerate(self.runs) if run.active]

  def alive(self) -> list[int]:
    """Returns those that have not failed, in the order of their test."""
    return [r for r in self.pctr_of if not self.runs[r].failure]

  def check_folders(self) -> None:
    """Raises an error if what is written to is gone: see `Standing`."""
    self.standing.check(run.writer for run in self.runs)

  def save(self, state: TrainState, best: Any) -> None:
    """Writes a checkpoint of the group.

    Raises:
      InputError: A folder is gone, or the disk or the mirror refuses it.
    """
    self.check_folders()
    arrays = {'state': notes.without(state), 'best': best}
    self.checkpoints.save(int(state.step), arrays, self.position(*self.runs))
    mirrors.saved(self.warn)

  def position(self, *runs: Run) -> dict[str, Any]:
    """Returns what a checkpoint of these runs holds besides arrays, as JSON."""
    return {
        'runs': [run.position() for run in runs],
        'clock': self.clock.position(),
        'traces': self.traces,
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Takes over what `position` gave."""
    for run, part in zip(self.runs, position['runs'], strict=True):
      run.load(part)
    if 'clock' in position:  # Earlier versions did not write it.
      self.clock.load(position['clock'])
      self.traces = position['traces']


def build(
    settings: Sequence[Settings],
    data_dir: str | None,
    workdirs: Sequence[str] = (),
) -> tuple[programs.Program, SplitPredictor, dict[str, Split]]:
  """Builds the program of the replicas, and opens the splits it scores."""
  # Before data is prepared, which may take long.
  workdirs = workdirs or [''] * len(settings)
  settings, runs = replayed.resolve(settings, workdirs)
  common = settings[0]
  program = with_labels(settings, data_dir, workdirs)
  program = program._replace(replayed=runs)
  replayed.check(program, settings)
  objectives = [s.objective for s in settings]
  predictor = SplitPredictor(program, common.run.eval_batch_size, objectives)
  wanted = parts.eval_splits(common.dataset, program.builder)
  splits = {name: predictor.split(split) for name, split in wanted.items()}
  return program, predictor, splits


def open_job(
    built: tuple[programs.Program, SplitPredictor, dict[str, Split]],
    settings: Sequence[Settings],
    records: Sequence[dict[str, Any]],
    workdirs: Sequence[str],
    home: str | None,
    stack: contextlib.ExitStack,
) -> Job:
  """Locks the folders of the runs and opens their checkpoints.

  Args:
    built: As `build` gives it.
    settings: Of the replicas.
    records: Their configs, as config.json gets them.
    workdirs: Their folders.
    home: Folder of the group's checkpoints; None: the first of `workdirs`.
    stack: Gets what is released when the training ends.

  Raises:
    InputError: A `common_ctr` cannot be, or a folder is in use.
  """
  program, predictor, splits = built
  # Before `own_folders`: these paths lead from the folders that all share.
  labels = splits['test'].observed.labels if 'test' in splits else {}
  pctr_of = common_ctr_order(settings, workdirs, labels.get('click'))
  shared = home or workdirs[0]
  workdirs = processes.own_folders(workdirs, stack)
  data = 'valid' in splits, program.schema.tasks, program.builder.history
  runs = [Run(s, r, w, *data) for s, r, w in zip(settings, records, workdirs)]
  stop_asked = stack.enter_context(stopping.asked())
  locked = processes.own_folders([*workdirs, shared], stack)
  for folder in locked:
    stack.enter_context(locks.held(folder))
    kind = ownership.RUN if folder in workdirs else ownership.GROUP
    ownership.claim(folder, kind)
  checkpoints = Checkpoints(shared, program.schema.num_rows)
  for workdir in workdirs:  # Its numbers would be those of no checkpoint.
    warning = soundness.withdraw(
        workdir, checkpoints.latest_step, len(runs) == 1
    )
    if warning and not checkpoints.messages:  # They would say it again.
      checkpoints.messages.append(warning)
  standing = Standing(dict.fromkeys([*locked, shared]))
  clock = Clock(settings[0].training.batch_size * len(runs))
  return Job(
      program, predictor, splits, runs, pctr_of, checkpoints, stop_asked, clock,
      standing,
  )


def initialise_or_restore(job: Job) -> tuple[TrainState, Any]:
  """Returns the state and the best parameters so far, and opens the writers.

  Raises:
    InputError: A checkpoint is of other data, or does not fit.
  """
  program, runs, checkpoints = job.program, job.runs, job.checkpoints
  layout = program.layout
  init = functools.partial(initial, program, [run.settings for run in runs])
  resumes, begins = checkpoints.latest_step is not None, []
  unread = []
  if not resumes:  # Nothing is left behind by a model that cannot be.
    state = replayed.with_weights(init(), program)
    unread = idle.warnings(program, [run.settings for run in runs], state)
    state, begins, more = begun(placed(state, program), program, job.common)
    unread += more
    best = selection.copy(state.params) if job.keeps_best else {}
  warnings = [*checkpoints.messages, *_manifests(job), *unread]
  _claim(job)
  warnings += program.builder.warnings
  dataset = job.common.dataset
  splits = parts.eval_splits(dataset, program.builder)
  splits = {'train': dataset.train_split, **splits}
  warnings += shared_rows(splits, program.builder.num_shared)
  warnings += [w for run in runs for w in run.selection.warnings]
  if resumes:
    with layout.active():  # There is memory for one state, not for two.
      state = layout.abstract(jax.eval_shape(init))
    best = state.params if job.keeps_best else {}
    arrays, position = checkpoints.restore({'state': state, 'best': best})
    state, best = arrays['state'], arrays['best']
    job.load(position)
  start = int(state.step)
  for run in runs:
    run.open(start, program.total_steps, shows=run is runs[0])
  for warning in dict.fromkeys(warnings):
    job.warn(warning)
  for line in begins:
    runs[0].writer.say(line)
  if start:
    runs[0].writer.say(f'Going on at step {start} of {program.total_steps}.')
  return state, best


def _manifests(job: Job) -> list[str]:
  """Notes what each run begins with; compares it with what an old one did.

  Returns:
    Warnings: libraries of other versions.

  Raises:
    InputError: An old run began with other data, or the checkpoint is of
      another run; no file is changed.
  """
  checkpoints, program, warnings = job.checkpoints, job.program, []
  data = provenance.fingerprint(program.builder)
  about = data, program.schema
  resumes = checkpoints.latest_step is not None
  position = chosen.position(checkpoints) if resumes else {}
  for number, run in enumerate(job.runs):
    taken = replayed.taken(program, number)
    run.manifest = manifest.make(run.record, *about, taken)
    if resumes and processes.is_first():
      carried = manifest.of_position(position, number)
      step = os.path.dirname(checkpoints.tables_folder)
      about_it = run.workdir, run.manifest, carried, step
      run.manifest, more = verify.resume(*about_it)
      warnings += more
  return warnings


def _claim(job: Job) -> None:
  """Writes what all runs begin with."""
  for run in job.runs:
    claim(
        run.record,
        run.workdir,
        job.program.schema,
        job.program.builder.encoder_folder,
    )
    run.manifest = end_note.reopened(run.manifest, run.workdir)
    manifest.write(run.workdir, run.manifest)
