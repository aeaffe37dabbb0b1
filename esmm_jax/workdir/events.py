"""Writes TensorBoard events, which stop nothing when they cannot be written."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import math
import os
import socket
import time
from typing import Any

from esmm_jax import system_errors

_VERSION = 'brain.Event:2'
_EVERY = 120.0  # Seconds between flushes to the disk.


class Events:
  """The TensorBoard events of a run.

  They are written by the caller's thread: tensorboardX's own dies at its first
  failed write, after which ten more events fill its queue, and the next one
  waits for ever. The events are the same.
  """

  def __init__(
      self, folder: str, start_step: int, warn: Callable[[str], None]
  ):
    """Opens a file of events in a folder, which is made.

    Args:
      folder: The folder.
      start_step: Steps done; TensorBoard hides what it has of later ones.
      warn: Gets a line if something cannot be written; then nothing is any
        more.
    """
    self._folder, self._warn = folder, warn
    self._file = None
    self._flushed = -math.inf
    self._begun = False
    with self._giving_up():
      self._open(start_step)

  def _open(self, start_step: int) -> None:
    # They import slowly.
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter

    os.makedirs(self._folder, exist_ok=True)
    # TensorBoard finds it by this name, and sorts by the time.
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self._file = RecordWriter(os.path.join(self._folder, name))
    self._put(Event(file_version=_VERSION))
    if start_step:
      start = SessionLog(status=SessionLog.START)
      self._put(Event(file_version=_VERSION), start_step + 1)
      self._put(Event(session_log=start), start_step + 1)
    self._file.flush()

  def add(self, name: str, value: float, step: int) -> None:
    """Adds a number of a step."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    if self._file is None:
      return
    with self._giving_up():
      # tensorboardX's `scalar` would write _ for the | of a pair of terms.
      scalar = Summary.Value(tag=name, simple_value=value)
      self._put(Event(summary=Summary(value=[scalar])), step)
      if time.monotonic() - self._flushed > _EVERY:
        self._flushed = time.monotonic()
        self._file.flush()

  def begin(self, hparams: Mapping[str, Any]) -> None:
    """Says what TensorBoard's tab HPARAMS shows of a run.

    Its metrics there are all scalars of the run; TensorBoard finds them itself,
    and the values of all runs, where no run says what its experiment is.

    Args:
      hparams: Flat key -> value of its config.
    """
    from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

    start = SessionStartInfo(start_time_secs=time.time())
    for key, value in hparams.items():
      if isinstance(value, bool):
        start.hparams[key].bool_value = value
      elif isinstance(value, (int, float)):
        start.hparams[key].number_value = value
      else:
        start.hparams[key].string_value = str(value)
    self._add_session('session_start_info', start)
    self._begun = True

  def end(self, finished: bool) -> None:
    """Says in the same tab whether the run has finished."""
    from tensorboardX.proto import api_pb2
    from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

    name = 'STATUS_SUCCESS' if finished else 'STATUS_FAILURE'
    status = api_pb2.Status.Value(name)
    if self._begun:
      end = SessionEndInfo(status=status, end_time_secs=time.time())
      self._add_session('session_end_info', end)

  def _add_session(self, name: str, info: Any) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    if self._file is None:
      return
    data = HParamsPluginData(**{name: info}).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name='hparams', content=data)
    value = Summary.Value(
        tag=f'_hparams_/{name}', metadata=SummaryMetadata(plugin_data=plugin)
    )
    with self._giving_up():
      self._put(Event(summary=Summary(value=[value])))

  def close(self) -> None:
    """Closes the file."""
    if self._file is not None:
      with self._giving_up():
        file, self._file = self._file, None
        file.close()

  def _put(self, event: Any, step: int = 0) -> None:
    event.wall_time, event.step = time.time(), step
    self._file.write(event.SerializeToString())

  @contextlib.contextmanager
  def _giving_up(self) -> Iterator[None]:
    try:
      yield
    except OSError as e:
      file, self._file = self._file, None
      with contextlib.suppress(OSError):  # It is closed all the same.
        if file is not None:
          file.close()
      self._warn(
          f'{self._folder}: no more TensorBoard events are written, while the'
          ' run continues; metrics.jsonl has them all.'
          f' {system_errors.told(e)}'
      )
