"""The finished run whose predictions another one is trained with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.estimators.contract.estimator import FROZEN_RUN
from esmm_jax.schema import Schema
from esmm_jax.tasks import Space, spaces
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
from esmm_jax.warm_start.base import Base, named_from, resolved
from esmm_jax.workdir import end_note, manifest, provenance

KEY = f'estimator_options.{FROZEN_RUN}'
PREFIX = 'frozen_'


class FrozenRun(NamedTuple):
  """A finished run, and what is noted of it.

  Attributes:
    base: Its folder, config and schema.
    noted: What a run that is trained with its predictions notes in its
      manifest: the stamp of its parameters, and their fingerprint.
  """

  base: Base
  noted: Mapping[str, Any]

  @classmethod
  def open(cls, name: str, workdir: str = '') -> Self:
    """Reads the folder of a run; its checkpoint is not read.

    Args:
      name: The folder, as the config names it: from `workdir`, if it is a
        relative path.
      workdir: Folder of the run whose config it is.

    Raises:
      InputError: There is no finished run with a checkpoint, or it is
        `workdir` itself.
    """
    path = named_from(name, KEY, workdir)
    base = Base.open(name, KEY, path)
    stamp = end_note.stamp(path)
    return cls(base, {**stamp.to_dict(), 'fingerprint': base.sha256})

  def check_outputs(self, tasks: Sequence[str], schema: Schema) -> None:
    """Refuses tasks that the run does not predict, or predicts as others.

    Args:
      tasks: Those whose predictions are needed.
      schema: Of the run that is trained with them.

    Raises:
      InputError: Names the first one.
    """
    there, here = _outputs(self.base.schema), _outputs(schema)
    for task in tasks:
      space = there.get(task)
      if space is None or space.kind != 'binary':
        names = [name for name, s in there.items() if s.kind == 'binary']
        raise InputError(
            f'{self.base.named} does not predict {task} as a probability, which'
            f' the estimator needs; it predicts {", ".join(names)}. Name a run'
            ' that does.'
        )
      mine = here.get(task, space)
      if (mine.label, mine.given) != (space.label, space.given):
        raise InputError(
            f'{self.base.named}: {task} is {_event(mine)} here and'
            f' {_event(space)} there. Name a run with the same task.'
        )

  def check_data(self, builder: ColumnarBuilder) -> None:
    """Refuses a run on other data than that which is trained on.

    Args:
      builder: The prepared data.

    Raises:
      InputError: Columns, vocabularies or fields are others.
    """
    base, named = self.base, self.base.named
    data = provenance.data(builder)
    remedy = 'Its predictions have to be of the rows that are trained on.'
    if manifest.data_hash(data) != manifest.data_hash(base.data):
      raise InputError(
          f'{named}: the data is {data} here and {base.data} there. {remedy}'
          ' Name a run on this data.'
      )
    now = builder.encoder_hashes()[manifest.ENCODER]
    then = manifest.began(base.folder).get(manifest.ENCODER, now)
    if now != then:
      raise InputError(
          f'{named}: the encoder of the data is {now[:16]} here and'
          f' {then[:16]} there: other values have the same ids. {remedy} Name a'
          ' run on this data.'
      )
    fields = {f.name: f for f in builder.schema.fields}
    for field in base.schema.fields:
      if fields.get(field.name) != field:
        raise InputError(
            f'{named}: field {field.name!r} has other options there than in the'
            f' data {data}. {remedy} Train that run again.'
        )


def name_of(settings: Sequence[Settings]) -> str:
  """Returns the frozen run that configs name; '' for none.

  Raises:
    InputError: Replicas name several.
  """
  names = {str(s.objective.options.get(FROZEN_RUN) or '') for s in settings}
  if len(names) > 1:
    raise InputError(
        f'{KEY}: runs that are trained side by side have one frozen run, and'
        f' these name {", ".join(sorted(n or "none" for n in names))}. Train'
        ' them apart.'
    )
  return names.pop()


def of_runs(
    settings: Sequence[Settings], workdirs: Sequence[str]
) -> FrozenRun | None:
  """Opens the frozen run of replicas; None if they name none.

  Args:
    settings: Of the replicas.
    workdirs: Their folders.

  Raises:
    InputError: It cannot be, or is not the same run for all of them.
  """
  name = name_of(settings)
  if not name:
    return None
  folders = {resolved(name, workdir) for workdir in workdirs}
  if len(folders) > 1:
    raise InputError(
        f'{KEY}={name} leads from the folders of the runs to'
        f' {" and ".join(sorted(folders))}; runs that are trained side by side'
        ' have one frozen run. Name it by its whole path.'
    )
  (first, *_) = [FrozenRun.open(name, w) for w in workdirs]
  return first


def refused(
    builder: ColumnarBuilder, split: str, schema: Schema, tasks: Sequence[str]
) -> dict[str, Any]:
  """Returns no labels, for programs that open no frozen run.

  Raises:
    InputError: Some are needed.
  """
  del builder, split, schema
  if tasks:
    raise InputError(
        f'The estimator reads what {KEY} predicts of {", ".join(tasks)}, and'
        ' only training opens that run. Train it, or use another estimator.'
    )
  return {}


def _outputs(schema: Schema) -> dict[str, Space]:
  return {space.output: space for space in spaces(schema.tasks)}


def _event(space: Space) -> str:
  return f'{space.label} given {space.given}' if space.given else space.label
