"""Copies a run's folder to a URL, and takes it from there."""

from collections.abc import Callable, Mapping
import os
import shutil
import tempfile
from typing import Any

from esmm_jax import ownership, streams, whole_files
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.storage import faults, remote, snapshots
from esmm_jax.storage.snapshots import Files, Snapshot
from esmm_jax.types import InputError
from esmm_jax.workdir import folder
from esmm_jax.workdir.mirrors import contents

_CONFIG = 'config.json'
_NOTE = '.restoring.json'  # There while a workdir is filled.
_OLD = 'old'  # Key of the contents that the state before had.


class Mirror:
  """The mirror of a run; of several processes the first one has it."""

  def __init__(self, url: str, workdir: str):
    self._url, self._workdir = url, workdir

  def begin(self, record: Mapping[str, Any]) -> None:
    """Takes the run from the mirror, if the workdir is empty.

    Args:
      record: The config, as config.json has it.

    Raises:
      InputError: The mirror is of another run, or further than the workdir.
    """
    snapshot = snapshots.read(self._url, ownership.RUN.name)
    if snapshot is None:
      remote.size(remote.join(self._url, _CONFIG))  # Whether it can be read.
      return
    self._check_config(snapshot, record)
    note = os.path.join(self._workdir, _NOTE)
    if contents.is_empty(self._workdir) or os.path.exists(note):
      self._restore(snapshot)
      return
    self._check_run(snapshot)
    now = contents.progress(self._workdir)
    if _progress(snapshot) > now:
      raise InputError(
          f'--mirror={self._url} is at {_words(*_progress(snapshot))}, and'
          f' --workdir={self._workdir} at {_words(*now)}. Use an'
          ' empty --workdir, which is filled from the mirror, or another'
          ' --mirror.'
      )

  def saved(self, warn: Callable[[str], None]) -> None:
    """Copies a checkpoint that was just written, and all else.

    Args:
      warn: Gets a line where the store fails; the next checkpoint tries again.

    Raises:
      InputError: Somebody else wrote to the mirror.
    """
    try:
      self._push()
    except faults.StoreError as e:
      step, _ = contents.progress(self._workdir)
      warn(
          f'step {step} is not in the mirror: {e} The run goes on; the next'
          ' checkpoint is copied again.'
      )

  def finish(self) -> None:
    """Copies a finished run.

    Raises:
      InputError: It cannot be copied. The run itself is finished.
    """
    try:
      self._push()
    except faults.StoreError as e:
      raise InputError(
          f'the run is finished in {self._workdir}, but it is not in the'
          f' mirror: {e}'
      ) from e

  def _check_config(
      self, snapshot: Snapshot, record: Mapping[str, Any]
  ) -> None:
    """Refuses a mirror of a run with another config."""
    data = b''
    if _CONFIG in snapshot.files:
      data = remote.read(snapshot.object(_CONFIG)) or b''
    try:
      saved = parse_json(data.decode())
    except ValueError as e:
      raise InputError(
          f'--mirror={self._url}: its {_CONFIG} is missing or damaged. Use'
          ' another --mirror.'
      ) from e
    now, then = (folder.decisive(dict(c)) for c in (record, saved))
    if differing := folder.differences(now, then):
      raise InputError(
          f'--mirror={self._url} holds a run with another config:'
          f' {"; ".join(differing[:5])}. Use another --mirror.'
      )

  def _check_run(self, snapshot: Snapshot) -> None:
    """Refuses a mirror of another folder, whose run has the same config."""
    if snapshot.about.get('id', '') != self._id():
      raise InputError(
          f'--mirror={self._url} is of another run, though of the same config,'
          f' than --workdir={self._workdir}. Use another --mirror; or an empty'
          ' --workdir, which is filled from it.'
      )

  def _restore(self, snapshot: Snapshot) -> None:
    """Makes the workdir what the mirror has; after a kill it is begun anew."""
    whole_files.make_folders(self._workdir)
    note = os.path.join(self._workdir, _NOTE)
    write_json(note, {'url': self._url})
    with tempfile.TemporaryDirectory(
        whole_files.SUFFIX, '.mirror.', self._workdir
    ) as temporary:
      snapshots.fetch(snapshot, snapshot.files, temporary)
      # The marker last: what has none is refused without a mirror.
      names = os.listdir(temporary)
      for name in sorted(names, key=lambda n: (n == ownership.MARKER, n)):
        to = os.path.join(self._workdir, name)
        if os.path.isdir(to):
          shutil.rmtree(to)
        os.rename(os.path.join(temporary, name), to)
    whole_files.synchronise_all(self._workdir)
    os.remove(note)
    streams.progress(
        f'{self._workdir} is filled from {self._url}:'
        f' {_words(*_progress(snapshot))}.'
    )

  def _push(self) -> None:
    """Copies what the mirror does not have, then the list."""
    before = snapshots.read(self._url, ownership.RUN.name)
    progress = contents.progress(self._workdir)
    if before is not None:
      self._check_run(before)
      if _progress(before) > progress:
        raise InputError(
            f'--mirror={self._url} is at {_words(*_progress(before))} by now,'
            f' and this process at {_words(*progress)}: another one goes on'
            ' with the run. Nothing was copied; stop one of the two.'
        )
    with tempfile.TemporaryDirectory(
        whole_files.SUFFIX, '.mirror.', self._workdir
    ) as frozen:
      files, sources = contents.collect(self._workdir, frozen)
      if before is not None and before.files == files:
        return
      new, stored = _digests(files), _digests(before.files if before else {})
      step, is_finished = progress
      about = {
          'kind': ownership.RUN.name,
          'id': self._id(),
          'step': step,
          'finished': is_finished,
          _OLD: sorted(stored - new),
      }
      snapshots.write(
          Snapshot(self._url, files, about), sources.__getitem__, stored
      )
    if before is not None:
      # Whoever reads the state before may do so until the next one is there.
      for digest in set(before.about.get(_OLD, ())) - new - stored:
        remote.remove(remote.join(self._url, 'files', digest))

  def _id(self) -> str:
    """Returns the number of the workdir, which its copies have too."""
    marker = ownership.read_marker(self._workdir)
    return str(marker.get('id', '')) if isinstance(marker, dict) else ''


def _digests(files: Files) -> set[str]:
  return {digest for _, digest in files.values()}


def _progress(snapshot: Snapshot) -> tuple[int, bool]:
  about = snapshot.about
  return int(about.get('step', -1)), bool(about.get('finished'))


def _words(step: int, is_finished: bool) -> str:
  if is_finished:
    return f'its end (step {step})'
  return f'step {step}' if step >= 0 else 'its beginning'
